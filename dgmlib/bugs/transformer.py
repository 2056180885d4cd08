"""Wrong variants of `dgmlib.transformer` and `dgmlib.sequential` (chapter 05)."""

import itertools

import torch
from torch import Tensor

from dgmlib.bugs import edit, subject
from dgmlib.sequential import categorical_draw, jacobi_sample, naive_sample
from dgmlib.transformer import CausalTransformer, attention, attention_weights, causal_mask

CHAPTER = "05"

QUERIES, KEYS, VALUES = (
    torch.sin(torch.arange(n, n + 12, dtype=torch.float64).square()).reshape(4, 3) for n in (1, 20, 40)
)
MASK = causal_mask(4, 4)
SEQUENCES = torch.tensor(list(itertools.product((0, 1), repeat=5)))
LOGITS = 2 * torch.cos(torch.arange(24, dtype=torch.float64)).reshape(6, 4)
UNIFORMS = torch.tensor([0.03, 0.3, 0.42, 0.61, 0.87, 0.999], dtype=torch.float64)
U = torch.frac(0.618034 * torch.arange(1, 41, dtype=torch.float64).square()).reshape(8, 5)


def _fixed_model() -> CausalTransformer:
    """A model whose weights are the same on every machine: waves instead of draws."""
    with torch.random.fork_rng(devices=[]):  # its construction draws, which no import should
        model = CausalTransformer(2, 5, width=8, depth=2, n_heads=2).double()
    with torch.no_grad():
        for n, weight in enumerate(model.parameters()):
            wave = torch.arange(weight.numel(), dtype=torch.float64).add(17 * n).square().sin()
            weight.copy_(wave.reshape(weight.shape) * (0.9 if weight.ndim == 2 else 0.3) + (weight.ndim == 1) * 0.7)
    return model.requires_grad_(False)


MODEL = _fixed_model()


def _log_prob(x: Tensor) -> Tensor:
    return MODEL.log_prob(x)


def _scored(logits: Tensor, x: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, x[..., None])[..., 0].sum(-1)


def _not_causal(x: Tensor) -> Tensor:
    start = MODEL.start.weight.expand(len(x), 1, -1)
    rows = torch.cat([start, MODEL.token(x[:, :-1])], 1) + MODEL.place
    for block in MODEL.blocks:
        q, k, v = block.attention.heads(block.norm_1(rows))
        rows = rows + block.attention.out(attention(q, k, v).transpose(1, 2).flatten(2))
        rows = rows + block.mlp(block.norm_2(rows))
    return _scored(MODEL.head(MODEL.norm(rows)), x)


def _sample_from(u: Tensor) -> Tensor:
    return MODEL.sample_from(u)


def _forgetful(u: Tensor) -> Tensor:
    """Step i keeps every row's keys and values, and reads those of the rows before it."""
    x = torch.zeros(u.shape, dtype=torch.int64)
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in MODEL.blocks]
    row = MODEL.start.weight.expand(len(u), 1, -1)
    for i in range(u.shape[1]):
        h = row + MODEL.place[i]
        for block, memory in zip(MODEL.blocks, kept, strict=True):
            q, k, v = block.attention.heads(block.norm_1(h))
            memory.append((k, v))
            keys, values = (torch.cat(part, 2) for part in zip(*memory[: max(i, 1)], strict=True))
            h = h + block.attention.out(attention(q, keys, values).transpose(1, 2).flatten(2))
            h = h + block.mlp(block.norm_2(h))
        x[:, i] = categorical_draw(MODEL.head(MODEL.norm(h))[:, 0], u[:, i])
        row = MODEL.token(x[:, i, None])
    return x


def _chain(x: Tensor, u: Tensor) -> Tensor:
    """A noisy copy of the left neighbour: one pass of a model that needs no network."""
    left = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    return (u < 0.25 + 0.5 * left).to(u.dtype)


def _jacobi(u: Tensor) -> Tensor:
    return jacobi_sample(_chain, u)[0]


SUBJECTS = (
    subject(
        "attention",
        attention,
        ((QUERIES, KEYS, VALUES, MASK),),
        {
            "attention-no-scale": edit("(q / math.sqrt(q.shape[-1]))", "q", of=attention_weights),
            "attention-scale-by-d": edit("math.sqrt(q.shape[-1])", "q.shape[-1]", of=attention_weights),
            "attention-mask-zero": edit(
                *("+ torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -math.inf)", "* mask"),
                of=attention_weights,
            ),
            "attention-mask-after": edit("(q, k, mask)", "(q, k).mul(mask)"),
            "attention-softmax-axis": edit("softmax(-1)", "softmax(-2)", of=attention_weights),
            "attention-mask-transposed": edit("(q, k, mask)", "(q, k, mask.mT)"),
            "attention-mask-strict": edit("(q, k, mask)", "(q, k, mask.tril(-1))"),
        },
    ),
    subject(
        "transformer",
        _log_prob,
        ((SEQUENCES,),),
        {
            "transformer-not-shifted": edit(
                "torch.cat([start, self.token(x[:, :-1].long())], 1)",
                "self.token(x.long())",
                of=CausalTransformer.logits,
            ),
            "transformer-shifted-twice": edit(
                "[start, self.token(x[:, :-1]", "[start, start, self.token(x[:, :-2]", of=CausalTransformer.logits
            ),
            "transformer-not-causal": _not_causal,
            "transformer-no-start": edit(".sum(-1)", "[:, 1:].sum(-1)"),
            "transformer-mean": edit(".sum(-1)", ".mean(-1)"),
        },
        of=CausalTransformer.log_prob,
    ),
    subject(
        "kv-cache",
        _sample_from,
        ((U,),),
        {
            "cache-position-behind": edit("self.place[i]", "self.place[max(i - 1, 0)]"),
            "cache-forgets-newest": _forgetful,
            "cache-place-stuck": edit("self.place[i]", "self.place[0]"),
        },
        of=CausalTransformer.sample_from,
    ),
    subject(
        "inverse-draw",
        categorical_draw,
        ((LOGITS, UNIFORMS),),
        {
            "draw-argmax": lambda logits, u: logits.argmax(-1),
            "draw-off-by-one": edit(".sum(-1)", ".sum(-1).add(1).clamp(max=logits.shape[-1] - 1)"),
            "draw-unnormalised": lambda logits, u: (logits.exp().cumsum(-1)[..., :-1] <= u[..., None]).sum(-1),
            "draw-reversed": edit('need_unit("u", u)', '(1 - need_unit("u", u))'),
        },
    ),
    subject(
        "jacobi",
        _jacobi,
        ((U,),),
        {
            "jacobi-one-pass": lambda u: _chain(torch.zeros_like(u), u),
            "jacobi-fresh-noise": lambda u: _chain(_chain(torch.zeros_like(u), u.flip(0)), u),
            "jacobi-order": lambda u: naive_sample(_chain, u, order=(*range(1, u.shape[1]), 0)),
        },
        of=jacobi_sample,
    ),
)
