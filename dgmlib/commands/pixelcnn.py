"""python -m dgmlib.pixelcnn: train a gated PixelCNN, find its exact likelihood (chapter 05)."""

import argparse
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from dgmlib import data, plots
from dgmlib.commands.runs import (
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
from dgmlib.core import (
    data_parallel,
)
from dgmlib.pixelcnn import GatedPixelCNN, PixelModel
from dgmlib.train import EMA, gradient_step, join_processes


@torch.no_grad()
def mean_log_prob(model: PixelModel, x: UInt8[Tensor, "n channels height width"], batch_size: int = 200) -> float:
    """The mean of log p over a set of images, in nats."""
    return torch.cat([model.log_prob(part.float()) for part in x.split(batch_size)]).mean().item()


def train(options: argparse.Namespace, images: data.Images) -> Trained:
    """The model that was the best on validation images, and how long training took."""
    torch.manual_seed(options.seed)
    shape = tuple(images.train.shape[1:])
    model = GatedPixelCNN(shape, options.features, options.depth, kernel=options.kernel, levels=images.levels)
    model = model.to(images.train.device)
    epoch = len(images.train) // options.batch_size
    n_steps = max(1, round(options.epochs * epoch))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps, eta_min=0.02 * options.lr)
    step = gradient_step(
        model, lambda model, x: -model.log_prob(x.float()), optimizer, clip=1.0, ema=EMA(model), schedule=schedule
    )
    valid = data.subset(images.valid, min(1000, len(images.valid)), generator=torch.Generator().manual_seed(0))
    noise = torch.Generator().manual_seed(options.seed)
    batches = data.Batches(images.train, batch_size=options.batch_size, generator=noise)
    score = partial(mean_log_prob, x=valid)
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    return fit_best(step, batches, n_steps, score, every=min(epoch, 500), **files)


def main(arguments: list[str] | None = None) -> None:
    """Train a gated PixelCNN, measure its exact test likelihood, draw from it, and save all that."""
    parser = run_parser("dgmlib.pixelcnn", main.__doc__)
    parser.add_argument("--data", choices=["binarized_mnist", "digits"], default="binarized_mnist")
    parser.add_argument("--features", type=whole(1), default=64)
    parser.add_argument("--depth", type=whole(1), default=12)
    parser.add_argument("--kernel", type=whole(1), default=5)
    parser.add_argument("--epochs", type=number(above=0), default=40)
    parser.add_argument("--batch-size", type=whole(1), default=64)
    parser.add_argument("--lr", type=number(above=0), default=1e-3)
    options = run_options(parser, arguments, name="pixelcnn_{data}")

    join_processes()
    images = data.load(options.data, options.device)
    best = train(options, images)
    if data_parallel()[0] == 0:
        report(options, best, images)


def report(options: argparse.Namespace, best: Trained, images: data.Images) -> None:
    """Measure the test likelihood, write it down and draw a figure."""
    import matplotlib.pyplot as plt

    nll = -mean_log_prob(best.model, images.test)
    print(f"test NLL {nll:.2f} nats (exact); {best.minutes.processor:.1f} minutes of training (processor time)")
    save_result(
        options,
        title="Gated PixelCNN",
        model=f"{options.depth} layers of {options.features} features, {options.kernel}×{options.kernel}",
        parameters=n_parameters(best.model),
        data=options.data.replace("_", " "),
        measure=f"test NLL in nats, {len(images.test):,} images, exact",
        ours=nll,
        table="binarised MNIST" if options.data == "binarized_mnist" else None,
        minutes=best.minutes,
    )
    noise = torch.Generator(images.test.device).manual_seed(options.seed)
    drawn = best.model.sample(40, generator=noise, method="cached")
    plots.style()
    figure, axes = plt.subplots(2, 1, figsize=(7, 3.2))
    rows = {"test images": images.test[:40], f"samples; test NLL {nll:.2f} nats": drawn}
    for (title, x), ax in zip(rows.items(), axes, strict=True):
        plots.show_images(x.float() / (images.levels - 1), ncols=20, title=title, ax=ax)
    save_figure(options, figure)
