"""Codes: vectors rounded to the nearest of a few, and images as grids of codes that a prior can draw (chapter 11).

Codes are integers 0 to n_codes - 1, codebooks `(n_codes, d)`. Objectives return one value per example, in nats.

`python -m dgmlib.discrete --data mnist` trains a VQ-VAE, then a prior over its codes; draws, judges and saves; run
again, it resumes.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.choices import straight_through
from dgmlib.core import (
    by_blocks,
    can_read,
    checked,
    distances,
    need_between,
    need_count,
    need_finite,
    need_levels,
    need_like,
    need_shape,
)
from dgmlib.nets import Residual
from dgmlib.transformer import CausalTransformer

# --- quantisation ---------------------------------------------------------------------------------------------------


@checked
def nearest_code(z: Float[Tensor, "*batch d"], codebook: Float[Tensor, "k d"]) -> Int64[Tensor, "*batch"]:
    """Which row of `codebook` each vector is nearest to. Implements :eq:`eq-dis-nearest`.

    The first of several at the same distance. Rows go in blocks (`dgmlib.core.BLOCK`).

    >>> nearest_code(torch.tensor([[0.2], [0.9]]), codebook=torch.tensor([[0.0], [1.0]]))
    tensor([0, 1])
    """
    if can_read(z):
        need_finite("z", z), need_finite("codebook", codebook)
    with torch.no_grad():
        rows = z.reshape(-1, z.shape[-1])
        return by_blocks(lambda rows: distances(rows, codebook).argmin(1), len(codebook), rows).view(z.shape[:-1])


@checked
def vq_penalties(
    z: Float[Tensor, "*batch d"], code: Float[Tensor, "*batch d"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """(|sg z - e|^2, |z - sg e|^2): what moves the code to the encoder's outputs, and these to the code.

    Implements :eq:`eq-dis-vq-penalties`. Equal in value; sg holds its argument fixed. van den Oord, Vinyals &
    Kavukcuoglu (2017).

    >>> vq_penalties(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.5]]))
    (tensor([2.2500]), tensor([2.2500]))
    """
    return (z.detach() - code).square().sum(-1), (z - code.detach()).square().sum(-1)


@checked
def averaged_codebook(
    codebook: Float[Tensor, "k d"],
    counts: Float[Tensor, " k"],
    z: Float[Tensor, "n d"],
    decay: float,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """(codebook, counts) after a batch, each code the running mean of what was assigned to it.

    Implements :eq:`eq-dis-averaged`. `counts` are the running numbers of vectors a code was given. With decay 0 a step
    of Lloyd's algorithm (k-means); a code that is never nearest stays where it is. van den Oord et al. (2017).

    >>> codebook, z = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [3.0]])
    >>> codebook, counts = averaged_codebook(codebook, torch.zeros(2), z, decay=0.0)
    >>> codebook.tolist(), counts.tolist()
    ([[2.0], [10.0]], [2.0, 0.0])
    """
    need_between("decay", decay, 0.0, 1.0), need_finite("counts", counts)
    given = F.one_hot(nearest_code(z, codebook), len(codebook)).to(z.dtype)  # (n, k)
    new_counts = decay * counts + (1 - decay) * given.sum(0)
    sums = decay * counts[:, None] * codebook + (1 - decay) * given.T @ z
    return torch.where(new_counts[:, None] > 0, sums / new_counts[:, None], codebook), new_counts


@checked
def perplexity(codes: Int64[Tensor, "*batch"], n_codes: int) -> Float[Tensor, ""]:
    """exp of the entropy of the codes' frequencies: how many codes are in use, counted by their use.

    Implements :eq:`eq-dis-perplexity`. From 1 to `n_codes`. Raises ValueError (a code out of range).

    >>> round(perplexity(torch.tensor([0, 0, 1, 1]), n_codes=3).item(), 4)
    2.0
    """
    need_count("n_codes", n_codes)
    need_levels("codes", codes, n_codes)
    p = codes.flatten().bincount(minlength=n_codes).double() / codes.numel()
    return torch.special.entr(p).sum().exp()


@checked
def lloyd_max(k: int, n_steps: int = 2000) -> tuple[Float[Tensor, " k"], Float[Tensor, ""], Float[Tensor, ""]]:
    """(levels, mean squared error, entropy in nats) of the best quantiser of N(0, 1) to k levels, float64.

    Implements :eq:`eq-dis-lloyd`: cells end half-way between levels, each level is the mean of its cell; iterated, by
    closed forms of the normal law. For N(0, 1) there is one such quantiser. Lloyd (1982), Max (1960).

    >>> levels, error, entropy = lloyd_max(2, n_steps=2)
    >>> round(levels[1].item(), 4), round(error.item(), 4)  # sqrt(2/pi), and 1 - 2/pi
    (0.7979, 0.3634)
    """
    need_count("k", k), need_count("n_steps", n_steps)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    levels = normal.icdf((torch.arange(k, dtype=torch.float64) + 0.5) / k)
    infinite = torch.full((1,), math.inf, dtype=torch.float64)
    for _ in range(n_steps):
        edges = torch.cat([-infinite, (levels[1:] + levels[:-1]) / 2, infinite])
        mass = normal.cdf(edges).diff()
        levels = -normal.log_prob(edges).exp().diff() / mass
    return levels, 1 - mass @ levels.square(), torch.special.entr(mass).sum()


# --- VQ-VAE ---------------------------------------------------------------------------------------------------------


class VQVAE(nn.Module):
    """Images to a grid of codes and back: convolutions, the nearest of `n_codes` vectors at each place, convolutions.

    `shape` is (height, width) of grey images `(batch, 1, height, width)`, floating, of the values 0 to levels - 1; each
    of `widths` halves the sides (rounding up). A pixel is predicted by a softmax over its levels: with the codes of
    `encode` and a prior over codes, `log_prob_bound` bounds log p(x). van den Oord, Vinyals & Kavukcuoglu (2017).

    >>> model, x = VQVAE((4, 4), levels=3, n_codes=5, d_code=2, widths=(4,)), torch.zeros(1, 1, 4, 4)
    >>> model.n_places, model.outputs(x).shape, model.encode(x).shape, model.pixel_means(model.encode(x)).shape
    (4, torch.Size([1, 4, 2]), torch.Size([1, 4]), torch.Size([1, 1, 4, 4]))
    >>> prior = CausalTransformer(n_values=5, length=4, width=4, depth=1, n_heads=1)
    >>> for p in (*model.parameters(), *prior.parameters()): p.data *= 0  # nothing but fair dice
    >>> round(model.loss_terms(x)["distortion"].item(), 4), round(model.log_prob_bound(x, prior).item(), 4)
    (17.5778, -24.0155)
    >>> model.restart(x) < 5, model.codebook.tolist() == [[0.0, 0.0]] * 5  # some were in use; all outputs are 0
    (True, True)
    """

    @checked
    def __init__(
        self,
        shape: tuple[int, int],
        levels: int,
        n_codes: int,
        *,
        d_code: int = 16,
        widths: Sequence[int] = (32, 64),
        n_blocks: int = 1,
    ):
        super().__init__()
        self.levels, d_code = need_count("levels", levels, 2), need_count("d_code", d_code)
        n_codes, n_blocks = need_count("n_codes", n_codes), need_count("n_blocks", n_blocks, 0)
        self.sides = [tuple(need_count("shape", side) for side in shape)]
        if not widths:
            raise ValueError("widths is empty, expected the channels after one halving or more")
        for width in widths:
            need_count("widths", width)
            self.sides.append(tuple((side + 1) // 2 for side in self.sides[-1]))
        top = widths[-1]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip((1, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(b, 4 * a, 3, padding=1) for a, b in zip((levels, *widths), widths, strict=False)
        )
        self.before = nn.Sequential(*(_block(top) for _ in range(n_blocks)), nn.SiLU(), nn.Conv2d(top, d_code, 1))
        self.after = nn.Sequential(nn.Conv2d(d_code, top, 3, padding=1), *(_block(top) for _ in range(n_blocks)))
        self.codebook = nn.Parameter(torch.randn(n_codes, d_code))

    @property
    def n_places(self) -> int:
        """How many codes an image has."""
        return math.prod(self.sides[-1])

    @checked
    def outputs(self, x: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, "batch places d"]:
        """The encoder's vectors, before the nearest code takes their place."""
        need_shape("x", need_like("x", x, self.codebook), (len(x), 1, *self.sides[0]))
        h = 2 * need_levels("x", x, self.levels) / (self.levels - 1) - 1
        for i, conv in enumerate(self.down):
            h = conv(F.silu(h) if i else h)
        return self.before(h).flatten(2).mT

    @checked
    def encode(self, x: Float[Tensor, "batch 1 h w"]) -> Int64[Tensor, "batch places"]:
        """The codes of each image, row by row: a choice, with no chance in it."""
        return nearest_code(self.outputs(x), self.codebook)

    @checked
    def logits(self, vectors: Float[Tensor, "batch places d"]) -> Float[Tensor, "batch h w levels"]:
        """What the decoder makes of vectors, codes or not: logits of each pixel's levels.

        >>> model = VQVAE((4, 4), levels=3, n_codes=5, d_code=2, widths=(4,))
        >>> model.logits(torch.zeros(1, 4, 2)).shape
        torch.Size([1, 4, 4, 3])
        """
        need_shape("vectors", vectors, (len(vectors), self.n_places, self.codebook.shape[1]))
        h = self.after(need_like("vectors", vectors, self.codebook).mT.unflatten(2, self.sides[-1]))
        for conv, (height, width) in zip(reversed(self.up), reversed(self.sides[:-1]), strict=True):
            h = F.pixel_shuffle(conv(F.silu(h)), 2)[:, :, :height, :width]
        return h.movedim(1, -1)

    @checked
    def log_likelihood(
        self, x: Float[Tensor, "batch 1 h w"], vectors: Float[Tensor, "batch places d"]
    ) -> Float[Tensor, " batch"]:
        """log p(x | vectors), the mass of grey levels, in nats.

        >>> model = VQVAE((4, 4), levels=3, n_codes=5, d_code=2, widths=(4,))
        >>> model.log_likelihood(torch.zeros(5, 1, 4, 4), torch.zeros(5, 4, 2)).shape
        torch.Size([5])
        """
        need_shape("x", x, (len(x), 1, *self.sides[0]))
        log_p = self.logits(vectors).log_softmax(-1)
        return log_p.gather(-1, need_levels("x", x, self.levels)[:, 0].long()[..., None]).flatten(1).sum(1)

    @checked
    def pixel_means(self, codes: Int64[Tensor, "batch places"]) -> Float[Tensor, "batch 1 h w"]:
        """E[x | codes], in grey levels."""
        need_levels("codes", need_shape("codes", codes, (len(codes), self.n_places)), len(self.codebook))
        p = self.logits(self.codebook[codes]).softmax(-1)
        return (p @ torch.arange(self.levels, dtype=p.dtype, device=p.device))[:, None]

    @checked
    def loss_terms(self, x: Float[Tensor, "batch 1 h w"], *, beta: float = 0.25) -> dict[str, Float[Tensor, " batch"]]:
        """What is minimised, "loss" = "distortion" + codebook penalty + beta "commitment", and its parts, in nats.

        Implements :eq:`eq-dis-vq-loss`. The encoder has the decoder's gradient straight through the choice, and the
        commitment; the codebook has its own penalty only.
        """
        need_between("beta", beta, 0.0, math.inf)
        z = self.outputs(x)
        code = self.codebook[nearest_code(z.detach(), self.codebook.detach())]
        pull, commitment = (penalty.sum(1) for penalty in vq_penalties(z, code))
        distortion = -self.log_likelihood(x, straight_through(code, z))
        return {"loss": distortion + pull + beta * commitment, "distortion": distortion, "commitment": commitment}

    @checked
    def log_prob_bound(self, x: Float[Tensor, "batch 1 h w"], prior: CausalTransformer) -> Float[Tensor, " batch"]:
        """log p(x | codes) + log p(codes) at the encoder's codes: one term of the sum that p(x) is.

        Implements :eq:`eq-dis-vq-bound`.
        """
        codes = self.encode(x)
        return self.log_likelihood(x, self.codebook[codes]) + prior.log_prob(codes)

    @checked
    @torch.no_grad()
    def restart(self, x: Float[Tensor, "batch 1 h w"], *, generator: torch.Generator | None = None) -> int:
        """Put every code that no place of `x` is nearest to on an encoder output of `x` drawn at random; how many."""
        z = self.outputs(x).flatten(0, 1)
        used = nearest_code(z, self.codebook).bincount(minlength=len(self.codebook))
        dead = (used == 0).nonzero()[:, 0]
        device = z.device if generator is None else generator.device
        chosen = torch.randint(len(z), (len(dead),), generator=generator, device=device).to(z.device)
        self.codebook[dead] = z[chosen]
        return len(dead)


def _block(width: int) -> Residual:
    return Residual(
        nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1))
    )


if __name__ == "__main__":  # python -m dgmlib.discrete
    from dgmlib.commands import run

    run("discrete")
