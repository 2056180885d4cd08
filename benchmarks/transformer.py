"""A causal Transformer on 8×8 binary digits: its samplers beside one full pass a pixel, its likelihood beside torch.nn.

The samplers get the same uniforms and give the same sample, in double precision, from a model trained for a moment.
"""

from functools import partial

import torch
from run import Row
from torch import Tensor, nn

from dgmlib import data
from dgmlib.sequential import jacobi_sample, naive_sample
from dgmlib.train import fit, gradient_step
from dgmlib.transformer import CausalTransformer, causal_mask


class TorchTransformer(nn.Module):
    """The same network from torch.nn's own layers, with the weights of ours."""

    def __init__(self, ours: CausalTransformer):
        super().__init__()
        width, n_heads = ours.place.shape[1], ours.blocks[0].attention.n_heads
        options = {"batch_first": True, "norm_first": True, "dropout": 0.0, "activation": "gelu"}
        layer = nn.TransformerEncoderLayer(width, n_heads, 4 * width, **options)
        self.ours = ours
        self.stack = nn.TransformerEncoder(layer, len(ours.blocks), enable_nested_tensor=False).to(ours.place)
        for block, theirs in zip(ours.blocks, self.stack.layers, strict=True):
            theirs.self_attn.in_proj_weight.data = block.attention.qkv.weight.data
            theirs.self_attn.in_proj_bias.data = block.attention.qkv.bias.data
            pairs = (
                (theirs.self_attn.out_proj, block.attention.out),
                (theirs.linear1, block.mlp[0]),
                (theirs.linear2, block.mlp[2]),
                (theirs.norm1, block.norm_1),
                (theirs.norm2, block.norm_2),
            )
            for peer, mine in pairs:
                peer.load_state_dict(mine.state_dict())
        self.mask = ~causal_mask(ours.length, ours.length)

    def log_prob(self, x: Tensor) -> Tensor:
        start = self.ours.start.weight.expand(len(x), 1, -1)
        rows = torch.cat([start, self.ours.token(x[:, :-1])], 1) + self.ours.place
        logits = self.ours.head(self.ours.norm(self.stack(rows, mask=self.mask, is_causal=True)))
        return -nn.functional.cross_entropy(logits.transpose(1, 2), x, reduction="none").sum(1)


class Written(nn.Module):
    """The same network with a layer's attention spelt out as nanoGPT has it, with the weights of ours."""

    def __init__(self, ours: CausalTransformer):
        super().__init__()
        self.ours = ours

    def log_prob(self, x: Tensor) -> Tensor:
        ours = self.ours
        h = torch.cat([ours.start.weight.expand(len(x), 1, -1), ours.token(x[:, :-1])], 1) + ours.place
        for block in ours.blocks:
            b, t, c = h.shape
            q, k, v = block.attention.qkv(block.norm_1(h)).split(c, 2)
            q, k, v = (part.view(b, t, block.attention.n_heads, -1).transpose(1, 2) for part in (q, k, v))
            seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + block.attention.out(seen.transpose(1, 2).contiguous().view(b, t, c))
            h = h + block.mlp[2](nn.functional.gelu(block.mlp[0](block.norm_2(h))))
        logits = ours.head(ours.norm(h))
        return -nn.functional.cross_entropy(logits.transpose(1, 2), x, reduction="none").sum(1)


def trained(generator: torch.Generator) -> tuple[CausalTransformer, Tensor]:
    """A model after 200 steps, and the images it was trained on."""
    images = (data.load("digits").train.flatten(1) >= 8).long()
    torch.manual_seed(0)
    model = CausalTransformer(2, 64, width=32, n_heads=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    step = gradient_step(model, lambda model, x: -model.log_prob(x), optimizer)
    fit(step, data.Batches(images, batch_size=64, generator=generator), 200)
    return model.double(), images


def rows(generator: torch.Generator) -> list[Row]:
    model, images = trained(generator)
    u = torch.rand(64, 64, generator=generator, dtype=torch.float64)
    passes = jacobi_sample(model.draw, u)[1]
    peer, batch = TorchTransformer(model), images[:64]

    def no_grad(law: CausalTransformer | TorchTransformer) -> Tensor:
        with torch.no_grad():
            return law.log_prob(batch)

    def gradient(law: CausalTransformer | TorchTransformer) -> Tensor:
        return torch.autograd.grad(law.log_prob(batch).mean(), model.token.weight)[0]

    def naive() -> Tensor:
        return naive_sample(model.draw, u)

    def step(law: CausalTransformer | Written, x: Tensor) -> Tensor:
        return torch.autograd.grad(law.log_prob(x).mean(), list(law.parameters()))[1]  # of the token vectors

    long = []
    for length in (64, 256, 784):  # in single precision, as one trains
        law, x = CausalTransformer(2, length, width=64, n_heads=4), torch.randint(2, (8, length), generator=generator)
        what = f"loss and gradient of a Transformer, 8 × {length} tokens"
        sides = (partial(step, side, x) for side in (law, Written(law)))
        long.append((what, "nanoGPT's layer, spelt out", *sides))

    return [
        *long,
        ("64 digits from a Transformer, cached", "one full pass a pixel", lambda: model.sample_from(u), naive),
        (
            f"64 digits from a Transformer, Jacobi, {passes} passes",
            "one full pass a pixel",
            lambda: jacobi_sample(model.draw, u)[0],
            naive,
        ),
        (
            "log-likelihood of 64 digits, Transformer",
            "torch.nn.TransformerEncoder",
            lambda: no_grad(model),
            lambda: no_grad(peer),
        ),
        (
            "its gradient",
            "torch.nn.TransformerEncoder",
            lambda: gradient(model),
            lambda: gradient(peer),
        ),
    ]
