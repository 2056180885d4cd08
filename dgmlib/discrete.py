"""Codes: vectors rounded to the nearest of a few, and images as grids of codes that a prior can draw (chapter 11).

Codes are integers 0 to n_codes - 1, codebooks `(n_codes, d)`. Objectives return one value per example, in nats.

`python -m dgmlib.discrete --data mnist` trains a VQ-VAE, then a prior over its codes; draws, judges and saves; run
again, it resumes.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib import data
from dgmlib.choices import straight_through
from dgmlib.classifier import load_classifier
from dgmlib.core import (
    bernoulli,
    by_blocks,
    can_read,
    checked,
    data_parallel,
    need_between,
    need_count,
    need_finite,
    need_levels,
    need_like,
    need_shape,
)
from dgmlib.metrics import distances
from dgmlib.nets import Residual
from dgmlib.runs import BestModel, fit_best, run_options, run_parser
from dgmlib.train import EMA, gradient_step, join_processes, save_result
from dgmlib.transformer import CausalTransformer
from dgmlib.vae import fixed_binarisation

# --- quantisation ---------------------------------------------------------------------------------------------------


@checked
def nearest_code(z: Float[Tensor, "*batch d"], codebook: Float[Tensor, "k d"]) -> Int64[Tensor, "*batch"]:
    """Which row of `codebook` each vector is nearest to. Implements :eq:`eq-dis-nearest`.

    The first of several at the same distance. Rows go in blocks (`dgmlib.core.BLOCK`).
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
        """What the decoder makes of vectors, codes or not: logits of each pixel's levels."""
        need_shape("vectors", vectors, (len(vectors), self.n_places, self.codebook.shape[1]))
        h = self.after(need_like("vectors", vectors, self.codebook).mT.unflatten(2, self.sides[-1]))
        for conv, (height, width) in zip(reversed(self.up), reversed(self.sides[:-1]), strict=True):
            h = F.pixel_shuffle(conv(F.silu(h)), 2)[:, :, :height, :width]
        return h.movedim(1, -1)

    @checked
    def log_likelihood(
        self, x: Float[Tensor, "batch 1 h w"], vectors: Float[Tensor, "batch places d"]
    ) -> Float[Tensor, " batch"]:
        """log p(x | vectors), the mass of grey levels, in nats."""
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
        need_between("beta", beta, 0.0, sys.float_info.max)
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


# --- python -m dgmlib.discrete: the measured run of chapter 11 ------------------------------------------------------


def pixel_levels(
    x: UInt8[Tensor, "batch 1 h w"], levels: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "batch 1 h w"]:
    """Grey images as a VQ-VAE takes them: 256 levels made 0/1 by a draw for each pixel, fewer as they are."""
    x = x.to(torch.get_default_dtype())
    return bernoulli(x / 255, generator=generator) if levels == 256 else x


class restarting_step(gradient_step):
    """A `gradient_step` of a `VQVAE` that, every `every` steps until step `last`, restarts the codes not in use.

    Every process restarts from the same rows of `images`, chosen by the number of the step, so that all stay alike.
    """

    def __init__(self, model: VQVAE, *args: Any, images: Tensor, levels: int, every: int, last: int, **kwargs: Any):
        super().__init__(model, *args, **kwargs)
        self.images, self.levels, self.every, self.last = images, levels, every, last

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        made = self.schedule.last_epoch  # steps, which a checkpoint of the schedule holds
        if made % self.every == 0 and made < self.last:
            rows = torch.Generator().manual_seed(made)
            x = data.subset(self.images, min(512, len(self.images)), generator=rows)
            noise = torch.Generator(x.device).manual_seed(made)
            self.model.restart(pixel_levels(x, self.levels, generator=noise), generator=rows)
        return super().__call__(batch)


def train_codes(options: argparse.Namespace, images: data.Images) -> BestModel:
    """Train the VQ-VAE; the one with the best validation likelihood given the codes, and its processor time."""
    torch.manual_seed(options.seed)
    device, levels = images.train.device, images.levels
    model = VQVAE(
        tuple(images.train.shape[2:]),
        2 if levels == 256 else levels,
        options.codes,
        d_code=options.d_code,
        widths=options.widths,
        n_blocks=options.blocks,
    ).to(device)
    epoch = len(images.train) // options.batch_size
    n_steps = max(1, round(options.epochs * epoch))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=True)

    def loss(model: VQVAE, x: Tensor, *, generator: torch.Generator) -> dict[str, Tensor]:
        return model.loss_terms(pixel_levels(x, levels, generator=generator), beta=options.beta)

    def score(model: VQVAE) -> float:
        noise = torch.Generator(device).manual_seed(1)
        x = pixel_levels(images.valid[:2000], levels, generator=noise).split(500)
        return torch.cat([-model.loss_terms(part)["distortion"] for part in x]).mean().item()

    step = restarting_step(
        model,
        loss,
        optimizer,
        clip=10.0,
        ema=EMA(model),
        generator=torch.Generator(device).manual_seed(options.seed),
        schedule=torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, n_steps, pct_start=0.05),
        images=images.train,
        levels=levels,
        every=100,
        last=n_steps // 2,
    )
    seed = torch.Generator().manual_seed(options.seed)
    batches = data.Batches(images.train, batch_size=options.batch_size, generator=seed)
    return fit_best(step, batches, n_steps, score, every=min(500, n_steps), checkpoint=options.checkpoint)


def train_prior(options: argparse.Namespace, images: data.Images, codes: VQVAE) -> BestModel:
    """Train a causal Transformer on the codes that the frozen `codes` gives to training images."""
    torch.manual_seed(options.seed)
    device, levels = images.train.device, images.levels
    model = CausalTransformer(
        len(codes.codebook), codes.n_places, width=options.prior_width, depth=options.prior_depth, n_heads=4
    ).to(device)
    n_steps = max(1, round(options.prior_epochs * (len(images.train) // options.batch_size)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01, fused=True)

    def loss(model: CausalTransformer, x: Tensor, *, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            choices = codes.encode(pixel_levels(x, levels, generator=generator))
        return -model.log_prob(choices)

    @torch.no_grad()
    def score(model: CausalTransformer) -> float:
        noise = torch.Generator(device).manual_seed(1)
        x = pixel_levels(images.valid[:2000], levels, generator=noise).split(500)
        return torch.cat([model.log_prob(codes.encode(part)) for part in x]).mean().item()

    step = gradient_step(
        model,
        loss,
        optimizer,
        clip=1.0,
        ema=EMA(model),
        generator=torch.Generator(device).manual_seed(options.seed),
        schedule=torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, n_steps, pct_start=0.05),
    )
    seed = torch.Generator().manual_seed(options.seed + 1)
    batches = data.Batches(images.train, batch_size=options.batch_size, generator=seed)
    path = options.checkpoint.with_name(f"{options.checkpoint.stem}_prior{options.checkpoint.suffix}")
    return fit_best(step, batches, n_steps, score, every=min(500, n_steps), checkpoint=path)


def main(arguments: list[str] | None = None) -> None:
    """Train a VQ-VAE and a prior over its codes, bound the likelihood, have samples judged, and save all that."""
    parser = run_parser("dgmlib.discrete", main.__doc__)
    parser.add_argument("--data", choices=["mnist", "fashion", "digits"], default="mnist")
    parser.add_argument("--codes", type=int, default=128, help="entries of the codebook")
    parser.add_argument("--d-code", type=int, default=16)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 64], help="channels after each halving")
    parser.add_argument("--blocks", type=int, default=1, help="residual blocks on either side of the codes")
    parser.add_argument("--beta", type=float, default=0.25, help="weight of the commitment")
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--prior-width", type=int, default=128)
    parser.add_argument("--prior-depth", type=int, default=3)
    parser.add_argument("--prior-epochs", type=float, default=16)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--samples", type=int, default=1000)
    options = run_options(parser, arguments, name="vqvae_{data}")

    join_processes()
    images = data.load(options.data, options.device)
    codes = train_codes(options, images)
    prior = train_prior(options, images, codes.model)
    if data_parallel()[0] == 0:
        report(options, codes.model, prior.model, images, (codes.seconds.item() + prior.seconds.item()) / 60)


@torch.no_grad()
def report(
    options: argparse.Namespace, codes: VQVAE, prior: CausalTransformer, images: data.Images, minutes: float
) -> None:
    """Bound the test likelihood, draw codes and decode them, have the images judged, write all down, draw a figure."""
    import matplotlib.pyplot as plt

    from dgmlib import plots

    test, top = images.test.float(), codes.levels - 1
    if images.levels == 256:
        test = fixed_binarisation(images.test, images.levels).view(test.shape)
    choices = torch.cat([codes.encode(x) for x in test.split(500)])
    bounds = torch.cat([codes.log_prob_bound(x, prior) for x in test.split(500)])
    rates = torch.cat([-prior.log_prob(x) for x in choices.split(500)])
    used, in_use = len(choices.unique()), perplexity(choices, options.codes).item()
    use = f"{used} of {options.codes} codes in use on test images, perplexity {in_use:.1f}"
    clock = time.process_time()
    noise = torch.Generator(test.device).manual_seed(options.seed)
    drawn = torch.cat([prior.sample(n, generator=noise) for n in _parts(options.samples, 250)])
    samples = torch.cat([codes.pixel_means(x) for x in drawn.split(250)]) / top
    drawing = (time.process_time() - clock) / 60
    nll, rate = -bounds.mean().item(), rates.mean().item()
    print(f"test NLL at most {nll:.2f} nats: {nll - rate:.2f} given the codes, {rate:.2f} for the codes; {use}")
    shared = {
        "data": options.data,
        "model": f"VQ-VAE, {codes.n_places} codes of {options.codes}; causal Transformer {options.prior_depth}×"
        f"{options.prior_width}",
        "command": options.command,
        "device": f"{test.device.type}, threads: {torch.get_num_threads()}",
        "seeds": [options.seed],
    }
    title = f"{options.samples:,} samples"
    if options.data != "fashion":
        judge = load_classifier(options.data, test.device)
        share, counts = judge.recognised(samples.clamp(0, 1))
        real, classes = judge.recognised(images.test / (images.levels - 1)).share, counts / counts.sum().clamp(min=1)
        print(f"recognised: {share:.1%} (test images: {real:.1%}); by class {counts.tolist()}")
        title += f": {share:.0%} recognised (test images: {real:.0%})"
        what = (
            f"share of {options.samples:,} samples (decoder means at codes drawn from the prior) given to a class with "
        )
        what += f"probability 0.9 (real test images: {real:.3f}); classes have from {classes.min():.1%} to "
        what += f"{classes.max():.1%} of them; {use}"
        path = options.out / f"{options.name}_samples.json"
        save_result(
            path,
            title="Samples of a VQ-VAE with a prior",
            metric=what,
            ours=[share],
            minutes=minutes + drawing,
            published=None,
            **shared,
        )
    what = f"bound on the test NLL in nats, {len(test):,} images: {nll - rate:.2f} given the codes, {rate:.2f} for the "
    what += f"codes; {use}"
    path = options.out / f"{options.name}.json"
    save_result(path, title="VQ-VAE", metric=what, ours=[nll], minutes=minutes, published=options.published, **shared)
    plots.style()
    figure, axes = plt.subplots(2, 1, figsize=(7, 3.4), height_ratios=[2, 5])
    shown = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:20].to(test.device)
    pairs = torch.cat([test[shown], codes.pixel_means(choices[shown])]) / top
    plots.show_images(pairs.clamp(0, 1), ncols=20, title="test images, and what their codes decode to", ax=axes[0])
    plots.show_images(samples[:100].clamp(0, 1), ncols=20, title=title, ax=axes[1])
    figure.savefig(options.out / f"{options.name}.png", dpi=100)
    plt.close(figure)


def _parts(n: int, size: int) -> list[int]:
    return [min(size, n - first) for first in range(0, n, size)]


if __name__ == "__main__":
    main()
