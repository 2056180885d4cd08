"""python -m dgmlib.discrete: train a VQ-VAE and a prior over its codes, judge its samples (chapter 11)."""

import argparse
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dgmlib import data, plots
from dgmlib.classifier import load_classifier
from dgmlib.commands.runs import (
    Clock,
    Minutes,
    Trained,
    fit_best,
    n_parameters,
    number,
    run_options,
    run_parser,
    save_figure,
    save_result,
    whole,
)
from dgmlib.core import bernoulli, data_parallel
from dgmlib.discrete import VQVAE, perplexity
from dgmlib.train import EMA, gradient_step, join_processes
from dgmlib.transformer import CausalTransformer


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


def train_codes(options: argparse.Namespace, images: data.Images) -> Trained:
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
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    return fit_best(step, batches, n_steps, score, every=min(500, n_steps), **files)


def train_prior(options: argparse.Namespace, images: data.Images, codes: VQVAE) -> Trained:
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
    files = {"checkpoint": path, "identity": options.identity}
    return fit_best(step, batches, n_steps, score, every=min(500, n_steps), **files)


def main(arguments: list[str] | None = None) -> None:
    """Train a VQ-VAE and a prior over its codes, bound the likelihood, have samples judged, and save all that."""
    parser = run_parser("dgmlib.discrete", main.__doc__)
    parser.add_argument("--data", choices=["mnist", "fashion", "digits"], default="mnist")
    parser.add_argument("--codes", type=whole(1), default=128, help="entries of the codebook")
    parser.add_argument("--d-code", type=whole(1), default=16)
    parser.add_argument("--widths", type=whole(1), nargs="+", default=[32, 64, 64], help="channels after each halving")
    parser.add_argument("--blocks", type=whole(1), default=1, help="residual blocks on either side of the codes")
    parser.add_argument("--beta", type=number(at_least=0), default=0.25, help="weight of the commitment")
    parser.add_argument("--epochs", type=number(above=0), default=6)
    parser.add_argument("--prior-width", type=whole(1), default=128)
    parser.add_argument("--prior-depth", type=whole(1), default=3)
    parser.add_argument("--prior-epochs", type=number(above=0), default=16)
    parser.add_argument("--batch-size", type=whole(1), default=64)
    parser.add_argument("--lr", type=number(above=0), default=2e-3)
    parser.add_argument("--samples", type=whole(1), default=1000)
    options = run_options(parser, arguments, "vqvae_{data}", free=("samples",))

    join_processes()
    images = data.load(options.data, options.device)
    codes = train_codes(options, images)
    prior = train_prior(options, images, codes.model)
    if data_parallel()[0] == 0:
        report(options, codes.model, prior.model, images, codes.minutes.plus(prior.minutes))


@torch.no_grad()
def report(
    options: argparse.Namespace, codes: VQVAE, prior: CausalTransformer, images: data.Images, minutes: Minutes
) -> None:
    """Bound the test likelihood, draw codes and decode them, have the images judged, write all down, draw a figure."""
    import matplotlib.pyplot as plt

    test, top = images.test.float(), codes.levels - 1
    if images.levels == 256:
        test = data.fixed_binarisation(images.test, images.levels).view(test.shape)
    choices = torch.cat([codes.encode(x) for x in test.split(500)])
    bounds = torch.cat([codes.log_prob_bound(x, prior) for x in test.split(500)])
    rates = torch.cat([-prior.log_prob(x) for x in choices.split(500)])
    used, in_use = len(choices.unique()), perplexity(choices, options.codes).item()
    use = {f"of {options.codes} codes in use on test images": used, "perplexity of the codes": in_use}
    clock = Clock()
    noise = torch.Generator(test.device).manual_seed(options.seed)
    drawn = torch.cat([prior.sample(n, generator=noise) for n in _parts(options.samples, 250)])
    samples = torch.cat([codes.pixel_means(x) for x in drawn.split(250)]) / top
    drawing = clock.minutes
    nll, rate = -bounds.mean().item(), rates.mean().item()
    print(f"test NLL at most {nll:.2f} nats: {nll - rate:.2f} given the codes, {rate:.2f} for the codes")
    print(f"{used} of {options.codes} codes in use, perplexity {in_use:.1f}")
    shared = {
        "data": options.data,
        "model": f"VQ-VAE, {codes.n_places} codes of {options.codes}; causal Transformer {options.prior_depth}×"
        f"{options.prior_width}",
        "parameters": n_parameters(codes, prior),
    }
    title = f"{options.samples:,} samples"
    if options.data != "fashion":
        judge = load_classifier(options.data, test.device)
        share, counts = judge.recognised(samples.clamp(0, 1))
        real, classes = judge.recognised(images.test / (images.levels - 1)).share, counts / counts.sum().clamp(min=1)
        print(f"recognised: {share:.1%} (test images: {real:.1%}); by class {counts.tolist()}")
        title += f": {share:.0%} recognised (test images: {real:.0%})"
        save_result(
            options,
            title="Samples of a VQ-VAE with a prior",
            measure=f"share of {options.samples:,} samples (decoder means at codes drawn from the prior) given to a "
            "class with probability 0.9",
            ours=share,
            also={
                "real test images": real,
                "share of the rarest class": classes.min().item(),
                "share of the commonest class": classes.max().item(),
            },
            minutes=minutes.plus(drawing),
            suffix="_samples",
            **shared,
        )
    save_result(
        options,
        title="VQ-VAE",
        measure=f"bound on the test NLL in nats, {len(test):,} images",
        ours=nll,
        also={"of which given the codes": nll - rate, "of which for the codes": rate, **use},
        table="MNIST, binarised afresh" if options.data == "mnist" else None,
        minutes=minutes,
        **shared,
    )
    plots.style()
    figure, axes = plt.subplots(2, 1, figsize=(7, 3.4), height_ratios=[2, 5])
    shown = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:20].to(test.device)
    pairs = torch.cat([test[shown], codes.pixel_means(choices[shown])]) / top
    plots.show_images(pairs.clamp(0, 1), ncols=20, title="test images, and what their codes decode to", ax=axes[0])
    plots.show_images(samples[:100].clamp(0, 1), ncols=20, title=title, ax=axes[1])
    save_figure(options, figure)


def _parts(n: int, size: int) -> list[int]:
    return [min(size, n - first) for first in range(0, n, size)]
