"""Wrong variants of `dgmlib.transformer` and `dgmlib.sequential` (chapter 05)."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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


# --- variants that need more than one expression --------------------------------------------------------------------


def _without_scale(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return attention(q * math.sqrt(q.shape[-1]), k, v, mask)


def _masked_with_zero(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return (q @ k.mT / math.sqrt(q.shape[-1]) * mask).softmax(-1) @ v


def _masked_after(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return attention_weights(q, k).mul(mask) @ v


def _softmax_over_queries(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -math.inf)
    return scores.softmax(-2) @ v


def _log_prob(x: Tensor) -> Tensor:
    return MODEL.log_prob(x)


def _scored(logits: Tensor, x: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, x[..., None])[..., 0].sum(-1)


def _rows(x: Tensor) -> Tensor:
    """What the blocks are fed if nothing is shifted: token i in row i."""
    return MODEL.token(x) + MODEL.place


def _not_shifted(x: Tensor) -> Tensor:
    return _scored(MODEL._forward(_rows(x)), x)


def _shifted_twice(x: Tensor) -> Tensor:
    start = MODEL.start.weight.expand(len(x), 1, -1)
    return _scored(MODEL._forward(torch.cat([start, start, MODEL.token(x[:, :-2])], 1) + MODEL.place), x)


def _no_start(x: Tensor) -> Tensor:
    return MODEL.token_log_probs(x)[:, 1:].sum(-1)


def _mean_over_tokens(x: Tensor) -> Tensor:
    return MODEL.log_prob(x) / x.shape[1]


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


def _cached(u: Tensor, place: Callable[[int], int], last: Callable[[int], int]) -> Tensor:
    """Step i adds the vector of place(i), keeps every row's keys and values, and reads those of rows below last(i)."""
    x = torch.zeros(u.shape, dtype=torch.int64)
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in MODEL.blocks]
    row = MODEL.start.weight.expand(len(u), 1, -1)
    for i in range(u.shape[1]):
        h = row + MODEL.place[place(i)]
        for block, memory in zip(MODEL.blocks, kept, strict=True):
            q, k, v = block.attention.heads(block.norm_1(h))
            memory.append((k, v))
            keys, values = (torch.cat(part, 2) for part in zip(*memory[: last(i)], strict=True))
            h = h + block.attention.out(attention(q, keys, values).transpose(1, 2).flatten(2))
            h = h + block.mlp(block.norm_2(h))
        x[:, i] = categorical_draw(MODEL.head(MODEL.norm(h))[:, 0], u[:, i])
        row = MODEL.token(x[:, i, None])
    return x


def _edges(logits: Tensor) -> Tensor:
    return logits.softmax(-1).cumsum(-1)


def _chain(x: Tensor, u: Tensor) -> Tensor:
    """A noisy copy of the left neighbour: one pass of a model that needs no network."""
    left = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    return (u < 0.25 + 0.5 * left).to(u.dtype)


def _jacobi(u: Tensor) -> Tensor:
    return jacobi_sample(_chain, u)[0]


SUBJECTS = (
    Subject(
        "attention",
        attention,
        ((QUERIES, KEYS, VALUES, MASK),),
        (
            Bug(
                "attention-no-scale",
                "The scores are not divided by sqrt(d).",
                _without_scale,
                name="scores not scaled",
                symptom="weights of nearly 0 and 1 from the start, and no gradient",
                place="the division of the scores",
                cure="divide by the root of the width: q k^T / sqrt(d)",
            ),
            Bug(
                "attention-scale-by-d",
                "Divided by d instead of its root.",
                lambda q, k, v, mask: attention(q / math.sqrt(q.shape[-1]), k, v, mask),
                name="divided by d",
                symptom="weights nearly uniform",
                place="the power of d",
                cure="divide by the root: q k^T / sqrt(d)",
            ),
            Bug(
                "attention-mask-zero",
                "Masked scores are set to 0, and exp(0) = 1 is a weight like any other.",
                _masked_with_zero,
                name="masked with zero",
                symptom="the future shows through; the loss falls below the entropy",
                place="the value given to masked scores",
                cure="set them to minus infinity, so that exp gives 0",
            ),
            Bug(
                "attention-mask-after",
                "The mask is laid upon the weights after the softmax: they no longer sum to one.",
                _masked_after,
                name="masked after the softmax",
                symptom="early rows are too small, and the future sits in every denominator",
                place="the order of mask and softmax",
                cure="mask the scores with minus infinity, then take the softmax",
            ),
            Bug(
                "attention-softmax-axis",
                "Softmax over the queries.",
                _softmax_over_queries,
                name="softmax over queries",
                symptom="the columns sum to one, not the rows",
                place="the axis of the softmax",
                cure="softmax along the keys, the last axis",
            ),
            Bug(
                "attention-mask-transposed",
                "The mask is upper triangular: every position looks ahead.",
                lambda q, k, v, mask: attention(q, k, v, mask.mT),
                name="mask transposed",
                symptom="perfect training, senseless samples",
                place="the axes of the mask",
                cure="True where key <= query",
            ),
            Bug(
                "attention-mask-strict",
                "The mask excludes the position itself, so that the first row looks nowhere.",
                lambda q, k, v, mask: attention(q, k, v, mask.tril(-1)),
                name="oneself masked out",
                symptom="NaN in the first row",
                place="the diagonal of the mask",
                cure="shift the input, not the mask",
            ),
        ),
    ),
    Subject(
        "transformer",
        _log_prob,
        ((SEQUENCES,),),
        (
            Bug(
                "transformer-not-shifted",
                "Token i is fed to the row that predicts it.",
                _not_shifted,
                name="inputs not shifted",
                symptom="a loss near 0; the probabilities sum to more than one",
                place="the tokens fed to each row",
                cure="prepend a start token, drop the last",
            ),
            Bug(
                "transformer-shifted-twice",
                "Both the loader and the model shift: row i sees x_0 to x_{i-2}.",
                _shifted_twice,
                name="shifted twice",
                symptom="a proper law that ignores each token's neighbour",
                place="the shift, in the loader and in the model",
                cure="shift once: row i sees x_0 to x_{i-1}",
            ),
            Bug(
                "transformer-not-causal",
                "No mask: every row sees the whole sequence.",
                _not_causal,
                name="no mask",
                symptom="a loss below the entropy; the probabilities do not sum to one",
                place="the mask of every block",
                cure="attend to j <= i only, in every block",
            ),
            Bug(
                "transformer-no-start",
                "The first token is not scored, as nothing precedes it.",
                _no_start,
                name="first token free",
                symptom="the probabilities sum to the number of values",
                place="the sum over tokens",
                cure="a start token predicts it",
            ),
            Bug(
                "transformer-mean",
                "The mean over tokens is called a log-likelihood.",
                _mean_over_tokens,
                name="mean over tokens",
                symptom="the probabilities sum to more than one",
                place="the reduction over tokens",
                cure="sum over tokens",
            ),
        ),
        of=CausalTransformer.log_prob,
    ),
    Subject(
        "kv-cache",
        _sample_from,
        ((U,),),
        (
            Bug(
                "cache-position-behind",
                "The cached step adds the place of the token before it: the first place is used twice.",
                lambda u: _cached(u, lambda i: max(i - 1, 0), lambda i: i + 1),
                name="place of the token before",
                symptom="samples look nearly right; cached and full logits differ",
                place="the place added in a cached step",
                cure="step i adds place i",
            ),
            Bug(
                "cache-forgets-newest",
                "Attention reads the cache before the new key and value are stored.",
                lambda u: _cached(u, lambda i: i, lambda i: max(i, 1)),
                name="newest key missing",
                symptom="each token is drawn blind to the one before it",
                place="the order of storing and reading",
                cure="append, then attend",
            ),
            Bug(
                "cache-place-stuck",
                "Every cached step is given place 0, its index within a pass of one row.",
                lambda u: _cached(u, lambda i: 0, lambda i: i + 1),
                name="always place 0",
                symptom="right for the first token only",
                place="the place added in a cached step",
                cure="add the place in the sequence",
            ),
        ),
        of=CausalTransformer.sample_from,
    ),
    Subject(
        "inverse-draw",
        categorical_draw,
        ((LOGITS, UNIFORMS),),
        (
            Bug(
                "draw-argmax",
                "The most probable value, whatever u.",
                lambda logits, u: logits.argmax(-1),
                name="the likeliest value",
                symptom="one sample, again and again",
                place="the use of u",
                cure="count the edges below u",
            ),
            Bug(
                "draw-off-by-one",
                "Counts the edges up to the first above u: value 0 never occurs.",
                lambda logits, u: ((_edges(logits) <= u[..., None]).sum(-1) + 1).clamp(max=logits.shape[-1] - 1),
                name="one too high",
                symptom="every token is one too high",
                place="the count of edges",
                cure="count the edges at or below u",
            ),
            Bug(
                "draw-unnormalised",
                "The logits are taken for probabilities.",
                lambda logits, u: (logits.exp().cumsum(-1)[..., :-1] <= u[..., None]).sum(-1),
                name="logits not normalised",
                symptom="the first values too often",
                place="the numbers that are accumulated",
                cure="softmax first, then the running sum",
            ),
            Bug(
                "draw-reversed",
                "1 - u for u: the same law, another sample.",
                lambda logits, u: categorical_draw(logits, 1 - u),
                name="u turned round",
                symptom="frequencies right, samples unlike those of the loop",
                place="u or 1 - u",
                cure="one convention in every sampler: count the edges at or below u",
            ),
        ),
    ),
    Subject(
        "jacobi",
        _jacobi,
        ((U,),),
        (
            Bug(
                "jacobi-one-pass",
                "A single pass over a blank canvas is taken for a sample.",
                lambda u: _chain(torch.zeros_like(u), u),
                name="one pass",
                symptom="every position drawn as if all before it were 0",
                place="the stopping rule",
                cure="repeat x <- f(x, u) until nothing changes",
            ),
            Bug(
                "jacobi-fresh-noise",
                "New uniforms in every pass: a Markov chain, not a fixed point.",
                lambda u: _chain(_chain(torch.zeros_like(u), u.flip(0)), u),
                name="fresh noise in each pass",
                symptom="never settles",
                place="the uniforms of each pass",
                cure="keep the same uniforms in all passes",
            ),
            Bug(
                "jacobi-order",
                "The loop begins with the second position and comes to the first in the end.",
                lambda u: naive_sample(_chain, u, order=(*range(1, u.shape[1]), 0)),
                name="first position last",
                symptom="each value is drawn from a law given values not drawn yet",
                place="the order of the loop",
                cure="first to last",
            ),
        ),
        of=jacobi_sample,
    ),
)

SLIPS = {
    "equivariance-is-invariance": Slip(
        "Permuted inputs taken to leave the outputs where they were.",
        name="permuted inputs, same outputs",
        holds="outputs are permuted along with the inputs",
        misleads="after pooling over positions it is invariance",
    ),
    "score-variance-one": Slip(
        "The product of two random vectors of d coordinates taken to have variance 1, not d.",
        name="product of variance one",
        holds="q . k of d coordinates of variance one has variance d",
        misleads="at d = 1",
    ),
    "attention-forgets": Slip(
        "Attention taken to forget like a recurrence, by a factor at every step.",
        name="attention forgets by a factor",
        holds="its weights depend on the content and the place, and may rest on the first token",
        misleads="learned weights often do favour the recent past",
    ),
    "heads-see-ahead": Slip(
        "Attention without a mask: every position reads the whole sequence.",
        name="no mask",
        holds="mask every score with key > query",
        misleads="the loss falls below the entropy, which looks like success",
    ),
    "loader-shifts-ahead": Slip(
        "The loader hands over the next tokens: row i reads what it predicts.",
        name="loader hands over the answers",
        holds="row i is fed x_{i-1} and predicts x_i",
        misleads="the loss falls to zero, which looks like success",
    ),
    "loader-shifts-too": Slip(
        "The loader shifts the tokens, and the model shifts them again: row i never sees x_{i-1}.",
        name="shifted twice",
        holds="shift once, in the loader or in the model",
        misleads="the law is proper, and only worse",
    ),
    "transformer-no-residual": Slip(
        "A block that does not add what it read: only the MLP's output goes on.",
        name="nothing added back",
        holds="x + attention(x), then + mlp: each branch is added to what it read",
        misleads="a shallow block still learns",
    ),
    "jacobi-passes-all": Slip(
        "A fixed-point iteration taken to need a pass for each position.",
        name="a pass for each position",
        holds="the iteration ends when nothing changes, after at most as many passes and mostly far fewer",
        misleads="its bound is the number of positions",
    ),
    "rate-without-context": Slip(
        "The entropy of single letters taken for the entropy rate.",
        name="entropy of single letters",
        holds="the rate is the entropy of a letter given all before it, never more",
        misleads="letters drawn independently",
    ),
    "perplexity-of-bits": Slip(
        "Nats a sequence taken for bits a character.",
        name="nats a sequence for bits a character",
        holds="divide by the length and by log 2, then take 2 to that",
        misleads="both are called loss",
    ),
    "rotation-entropy": Slip(
        "A rotated law taken to have another entropy.",
        name="a rotation changes entropy",
        holds="a one-to-one map of the states leaves the entropy as it was",
        misleads="the model's cost does change",
    ),
    "rotation-for-free": Slip(
        "A model of upright images taken to price rotated ones at their own entropy.",
        name="rotated images at no extra cost",
        holds="a model of upright images pays cross-entropy: the entropy plus a KL",
        misleads="the rotated law's own entropy is the same",
    ),
    "turn-mean-of-logs": Slip(
        "The mean of the log-likelihoods of the four turns, which belongs to no law.",
        name="mean of the logs of four turns",
        holds="the law of a random turn is log of the mean of the four likelihoods",
        misleads="for images that look alike in all four",
    ),
    "zoom-more-nats": Slip(
        "A zoomed image taken to cost more nats because it has more pixels.",
        name="more pixels, more nats",
        holds="a zoom that only repeats pixels is one-to-one: the same nats, fewer per pixel",
        misleads="per pixel and per image are easily mixed",
    ),
}
