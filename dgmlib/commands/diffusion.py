"""python -m dgmlib.diffusion: train a U-Net to denoise, bound its likelihood, judge its samples (chapter 22)."""

import argparse
import math

import torch
from torch import Tensor, nn

from dgmlib import data, plots
from dgmlib.classifier import load_classifier, unit_scale
from dgmlib.commands.runs import (
    Clock,
    Trained,
    n_parameters,
    number,
    run_options,
    run_parser,
    save_figure,
    save_result,
    whole,
)
from dgmlib.core import (
    Schedule,
    data_parallel,
)
from dgmlib.diffusion import (
    ancestral,
    bits_per_dim_terms,
    clipped,
    draw_times,
    error_curve,
    to_unit,
    v_loss,
)
from dgmlib.metrics import nearest
from dgmlib.nets import UNet
from dgmlib.noising import (
    Cosine,
    Linear,
    denoiser_from_v,
    optimal_variances,
    reverse_variances,
    time_grid,
)
from dgmlib.train import EMA, fit, gradient_step, join_processes

SCHEDULES = {"cosine": Cosine, "linear": Linear}


def train(options: argparse.Namespace, images: data.Images, schedule: Schedule) -> Trained:
    """The averaged network, which predicts v, minus its last validation loss, and the time that training took."""
    torch.manual_seed(options.seed)
    device, clock = images.train.device, Clock()
    model = UNet(1, options.widths, n_blocks=options.blocks, fold=options.fold)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, options.steps, pct_start=0.05)
    noise, ema = torch.Generator(device).manual_seed(options.seed), EMA(model)

    def loss(network: nn.Module, x: Tensor, *, generator: torch.Generator) -> Tensor:
        x0 = to_unit(x, images.levels)
        t, _ = draw_times(x0, 1000, generator=generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            return v_loss(network, x0, t, schedule, generator=generator)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        generator = torch.Generator(device).manual_seed(1)
        return {"valid loss": loss(ema.model, images.valid[:500], generator=generator).mean().item()}

    step = gradient_step(model, loss, optimizer, clip=1.0, ema=ema, schedule=rate, generator=noise)
    seed = torch.Generator().manual_seed(options.seed)
    batches = data.Batches(images.train, batch_size=options.batch_size, generator=seed)
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    often = {"every": 500, "evaluate": evaluate, "evaluate_every": 1000}
    history = fit(step, batches, options.steps, state={**step.state, "clock": clock}, **files, **often)
    loss_then = history["valid loss"][-1]
    print(f"validation loss {loss_then:.4f}; {clock.minutes.processor:.1f} minutes of processor time")
    return Trained(ema.model, -loss_then, clock.minutes)


def main(arguments: list[str] | None = None) -> None:
    """Train a U-Net to denoise, bound its likelihood in bits per dimension, judge samples, and save all that."""
    parser = run_parser("dgmlib.diffusion", main.__doc__)
    parser.add_argument("--data", choices=["mnist", "fashion", "digits"], default="mnist")
    parser.add_argument("--widths", type=whole(1), nargs="+", default=[64, 128], help="channels of each level")
    parser.add_argument("--blocks", type=whole(1), default=1, help="residual blocks of each level, down and up")
    parser.add_argument("--fold", type=whole(1), default=2, help="squares of this side are folded into channels first")
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine")
    parser.add_argument("--steps", type=whole(1), default=8000)
    parser.add_argument("--batch-size", type=whole(1), default=64)
    parser.add_argument("--lr", type=number(above=0), default=2e-3)
    parser.add_argument("--bfloat16", action="store_true", help="multiply matrices in half precision while training")
    parser.add_argument("--samples", type=whole(1), default=1000)
    parser.add_argument("--sample-steps", type=whole(1), default=100)
    parser.add_argument(
        "--bound-steps", type=whole(2), default=1000, help="steps of the chain whose bound is estimated"
    )
    parser.add_argument("--bound-images", type=whole(1), default=32, help="images at each of these steps")
    free = ("samples", "sample_steps", "bound_steps", "bound_images")
    options = run_options(parser, arguments, "diffusion_{data}", free)

    join_processes()
    images, schedule = data.load(options.data, options.device), SCHEDULES[options.schedule]()
    trained = train(options, images, schedule)
    if data_parallel()[0] == 0:
        report(options, trained, schedule, images)


@torch.no_grad()
def report(options: argparse.Namespace, trained: Trained, schedule: Schedule, images: data.Images) -> None:
    """Draw samples and have them judged, bound the likelihood, write all down and draw a figure."""
    import matplotlib.pyplot as plt

    noise, shape = torch.Generator(images.test.device).manual_seed(options.seed), images.test.shape[1:]
    denoiser, clock = clipped(denoiser_from_v(trained.model, schedule)), Clock()
    start = torch.randn(options.samples, *shape, generator=noise, device=images.test.device)
    grid = time_grid(options.sample_steps)
    samples = [ancestral(denoiser, x, schedule, grid, generator=noise) for x in start.split(250)]
    samples = ((torch.cat(samples) + 1) / 2).clamp(0, 1)
    drawing = clock.minutes
    test, training = (unit_scale(x, images.levels) for x in (images.test, images.train))
    near, near_test = (
        nearest(x.flatten(1), training.flatten(1))[0].median().item() for x in (samples, test[: len(samples)])
    )
    print(f"median distance to the nearest training image: samples {near:.3f}, test images {near_test:.3f}")
    shared = {
        "data": options.data,
        "model": f"U-Net {'-'.join(map(str, options.widths))}, {options.fold}×{options.fold} folds, {options.schedule}",
        "parameters": n_parameters(trained.model),
    }
    title = f"{options.samples:,} samples in {options.sample_steps} steps"
    if options.data != "fashion":
        judge = load_classifier(options.data, test.device)
        share, counts = judge.recognised(samples)
        real, classes = judge.recognised(test).share, counts / counts.sum().clamp(min=1)
        print(f"recognised: {share:.1%} (test images: {real:.1%}); by class {counts.tolist()}")
        title += f": {share:.0%} recognised (test images: {real:.0%})"
        save_result(
            options,
            title="Samples of a diffusion model",
            measure=f"share of {options.samples:,} samples, {options.sample_steps} ancestral steps, given to a class "
            "with probability 0.9",
            ours=share,
            also={
                "real test images": real,
                "share of the rarest class": classes.min().item(),
                "share of the commonest class": classes.max().item(),
                "median distance to the nearest training image": near,
                "that of test images": near_test,
            },
            minutes=trained.minutes.plus(drawing),
            suffix="_samples",
            **shared,
        )

    times = time_grid(options.bound_steps, options.bound_steps)
    scaled = {split: to_unit(getattr(images, split), images.levels) for split in ("train", "test")}
    curves = {
        split: error_curve(denoiser, x, schedule, times, options.bound_images, generator=noise)
        for split, x in scaled.items()
    }
    variances = {kind: reverse_variances(schedule, times, kind) for kind in ("forward", "posterior")}
    variances["best"] = optimal_variances(schedule, times, curves["train"].mean(1))
    shown = data.subset(scaled["test"], min(len(test), 2000), generator=torch.Generator().manual_seed(0))
    bits = {
        kind: bits_per_dim_terms(
            denoiser, shown, curves["test"], schedule, times, chosen, images.levels, generator=noise
        )
        for kind, chosen in variances.items()
    }
    totals = {kind: draws.sum(1) for kind, draws in bits.items()}
    mean, error = totals["best"].mean().item(), totals["best"].std().item() / math.sqrt(options.bound_images)
    terms = bits["best"].mean(0)
    early = options.bound_steps // 100
    parts = {"L_0": terms[:1], f"L_1 to L_{early}": terms[1 : 1 + early], "later": terms[1 + early : -1]}
    parts["L_T"] = terms[-1:]
    spent = ", ".join(f"{name} {part.sum():.3f}" for name, part in parts.items())
    ladder = ", ".join(f"{kind} {total.mean():.3f}" for kind, total in totals.items())
    print(f"bits per dimension at most {mean:.3f} ± {error:.3f} ({spent}); by variance: {ladder}")
    save_result(
        options,
        title="Denoising diffusion",
        measure=f"bound in bits per dimension, test images, {options.bound_steps:,} steps",
        ours=mean,
        also={
            "standard error": error,
            **{f"of which {name}": part.sum().item() for name, part in parts.items()},
            "with DDPM's variance beta": totals["forward"].mean().item(),
            "with DDPM's variance beta-tilde": totals["posterior"].mean().item(),
        },
        table="MNIST, 256 grey levels" if options.data == "mnist" else None,
        minutes=trained.minutes,
        **shared,
    )

    plots.style()
    figure, axes = plt.subplots(2, 1, figsize=(7, 4.6), height_ratios=[5, 4])
    plots.show_images(samples[:120], ncols=20, title=title, ax=axes[0])
    for kind, color in (("forward", "noise"), ("posterior", "latent"), ("best", "model")):
        spent = bits[kind].mean(0)[:-1].flip(0).cumsum(0).flip(0)  # of steps t, ..., T: L_{t-1}, ..., L_{T-1}
        axes[1].plot(range(1, len(times)), spent, color=plots.COLORS[color], label=f"{kind}: {spent[0]:.2f}")
    axes[1].set(xscale="log", xlabel="step t", ylabel="bits per dimension\nfrom step t on", ylim=(0, None))
    axes[1].legend(title="reverse variance")
    save_figure(options, figure)
