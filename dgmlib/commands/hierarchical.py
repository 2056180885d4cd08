"""python -m dgmlib.hierarchical: train a hierarchical VAE, count the units it uses (chapter 10)."""

import argparse
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib import data, plots
from dgmlib.commands.runs import (
    Trained,
    dataset,
    fit_best,
    load_data,
    n_parameters,
    number,
    run_options,
    run_parser,
    save_figure,
    save_result,
    whole,
)
from dgmlib.commands.vae import best_width, importance_nll, test_rows
from dgmlib.core import data_parallel
from dgmlib.hierarchical import INFERENCES, HierarchicalVAE, WarmUp, elbo, unit_statistics
from dgmlib.train import EMA, gradient_step, join_processes


def negative_elbo(
    model: HierarchicalVAE, x: Float[Tensor, "batch d"], *, warm_up: WarmUp, floor: float, generator: torch.Generator
) -> Float[Tensor, " batch"]:
    """The loss of one batch."""
    return -elbo(model, x, beta=warm_up(), floor=floor, generator=generator)


def train(options: argparse.Namespace, images: data.Images) -> Trained:
    """The model of the best validation epoch, and the time that training took."""
    torch.manual_seed(options.seed)
    flat, device = data.fixed_binarisation(images.train, images.levels), images.train.device
    model = HierarchicalVAE(flat.shape[1], options.latents, options.hidden, inference=options.inference).to(device)
    with torch.no_grad():  # the decoder starts from the mean image instead of a grey one
        model.down[0][-1].bias.copy_(torch.logit(flat.mean(0).clamp(0.001, 0.999)))
    batch_size = min(options.batch_size, len(flat))
    epoch = len(flat) // batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * epoch, eta_min=0.02 * options.lr)
    warm_up = WarmUp(options.warm_up * epoch).to(device)
    loss = partial(negative_elbo, warm_up=warm_up, floor=options.free_bits)
    noise = torch.Generator(device).manual_seed(options.seed)
    step = gradient_step(model, loss, optimizer, ema=EMA(model), schedule=schedule, generator=noise)
    step.state["warm_up"] = warm_up

    def score(model: HierarchicalVAE) -> float:
        noise = torch.Generator(device).manual_seed(1)
        valid = data.fixed_binarisation(images.valid, images.levels).split(1000)
        return torch.cat([elbo(model, x, generator=noise) for x in valid]).mean().item()

    batches = data.Batches(flat, batch_size=batch_size, generator=torch.Generator().manual_seed(options.seed))
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    best = fit_best(step, batches, options.epochs * epoch, score, every=epoch, **files)
    print(f"validation bound of the best epoch: {best.score:.2f}")
    return best


def main(arguments: list[str] | None = None) -> None:
    """Train a hierarchical VAE, estimate its test likelihood by importance sampling, draw from it, and save that."""
    parser = run_parser("dgmlib.hierarchical", main.__doc__)
    parser.add_argument("--data", type=dataset("binarized_mnist", "digits"), default="binarized_mnist")
    parser.add_argument(
        "--latents", type=whole(1), nargs="+", default=[100, 50], help="units of each layer, bottom first"
    )
    parser.add_argument("--hidden", type=whole(1), nargs="+", default=[400, 200], help="hidden units below each layer")
    parser.add_argument("--inference", choices=INFERENCES, default="top_down")
    parser.add_argument("--warm-up", type=whole(1), default=50, help="epochs until the rates count fully, at least 1")
    parser.add_argument(
        "--free-bits", type=number(at_least=0), default=0.0, help="nats that a layer may cost for nothing"
    )
    parser.add_argument("--epochs", type=whole(1), default=100)
    parser.add_argument("--batch-size", type=whole(1), default=100)
    parser.add_argument("--lr", type=number(above=0), default=1e-3)
    parser.add_argument("--eval-samples", type=whole(1), default=200, help="importance samples of the test likelihood")
    parser.add_argument(
        "--test-images", type=whole(1), help="judge on so many test images, drawn with a seed; default: all"
    )
    options = run_options(parser, arguments, "hierarchical_{data}", free=("eval_samples", "test_images"))
    if len(options.latents) != len(options.hidden):
        sizes = f"{len(options.latents)} latents, {len(options.hidden)} hidden"
        parser.error(f"arguments --latents and --hidden: {sizes} were given, expected one of each a layer")

    join_processes()
    images = load_data(options)
    if isinstance(images, data.Table):
        parser.error(f"argument --data: {options.data} holds real numbers, expected images")
    best = train(options, images)
    if data_parallel()[0] == 0:
        report(options, best, images)


@torch.no_grad()
def report(options: argparse.Namespace, best: Trained, images: data.Images) -> None:
    """Estimate the likelihood, count the units that are used, write both down and draw a figure."""
    import matplotlib.pyplot as plt

    model, test, shape = best.model, test_rows(options, images), images.test.shape[1:]
    widen = best_width(model, images, options)
    nll, widened = (importance_nll(model, test, options, width) for width in (1.0, widen))
    noise = torch.Generator(test.device).manual_seed(options.seed)
    bound = torch.cat([elbo(model, x, generator=noise) for x in test.split(100)]).mean().item()
    rates, activities = unit_statistics(model, test, generator=noise)
    also = {
        f"with its deviations times {widen:g}, which validation images prefer": widened,
        "-ELBO": -bound,
        "units that cost more than 0.01 nats, bottom layer first": ", ".join(
            f"{int((rate > 0.01).sum())} of {len(rate)}" for rate in rates
        ),
        "units whose mean code varies by more than 0.01": ", ".join(
            f"{int((activity > 0.01).sum())}" for activity in activities
        ),
        "nats a layer costs": ", ".join(f"{rate.sum():.1f}" for rate in rates),
    }
    measure = f"test NLL in nats, {len(test):,} images, {options.eval_samples:,} importance samples of the encoder"
    print(f"{nll:.2f}: {measure}; {also}; {best.minutes.processor:.1f} minutes of training (processor time)")
    layers = "-".join(map(str, (test.shape[1], *options.hidden))), "+".join(map(str, options.latents))
    save_result(
        options,
        title="Hierarchical variational autoencoder",
        model=f"HVAE {layers[0]}, latents {layers[1]} ({options.inference.replace('_', '-')})",
        parameters=n_parameters(model),
        data=images.name.replace("_", " "),
        measure=measure,
        ours=nll,
        also=also,
        table=None if options.test_images else {"binarized_mnist": "binarised MNIST"}.get(options.data),
        minutes=best.minutes,
    )
    plots.style()
    figure, axes = plt.subplots(3, 1, figsize=(7, 5.4), height_ratios=(3, 5, 3))
    free = model.pixel_means(model.sample_latents(60, generator=noise)[0]).view(-1, *shape)
    plots.show_images(free, ncols=20, title="samples", ax=axes[0])
    top = model.sample_latents(20, generator=noise)[-1].repeat(5, 1)
    same = model.pixel_means(model.sample_latents(100, top, generator=noise)[0]).view(-1, *shape)
    plots.show_images(same, ncols=20, title="one draw of the top layer a column, all below it drawn anew", ax=axes[1])
    for t, (rate, name) in enumerate(zip(rates, ("model", "latent", "noise", "data"), strict=False)):
        ordered = rate.sort(descending=True).values.clamp(min=1e-4).cpu()
        axes[2].semilogy(ordered, "o", markersize=3, color=plots.COLORS[name], label=f"layer {t + 1}")
    axes[2].axhline(0.01, color=plots.COLORS["muted"])
    axes[2].set(xlabel="unit, by rank", ylabel="nats it costs")
    axes[2].legend()
    save_figure(options, figure)
