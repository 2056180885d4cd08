"""python -m dgmlib.autoregressive: train FVSBN, NADE or MADE, find the exact likelihood (chapter 04)."""

import argparse

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dgmlib import data, plots
from dgmlib.autoregressive import FVSBN, MADE, NADE, Autoregressive
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
from dgmlib.train import EMA, gradient_step, join_processes


def build(options: argparse.Namespace, d: int) -> Autoregressive:
    """The model that the command line asks for."""
    if options.model == "fvsbn":
        return FVSBN(d)
    if options.model == "nade":
        return NADE(d, *options.hidden)
    generator = torch.Generator().manual_seed(options.seed)
    return MADE(d, options.hidden, n_masks=options.masks, generator=generator)


def negative_log_prob(
    model: Autoregressive, x: UInt8[Tensor, "batch d"], *, generator: torch.Generator
) -> Float[Tensor, " batch"]:
    """The loss of one batch of bits; a MADE of several masks takes one of them."""
    x = x.to(model.bias.dtype)
    if not isinstance(model, MADE):
        return -model.log_prob(x)
    k = torch.randint(model.n_masks, (), generator=generator, device=generator.device)
    return -model.log_prob(x, degrees=model.degrees(int(k)))


@torch.no_grad()
def mean_log_prob(model: Autoregressive, x: UInt8[Tensor, "n 1 h w"], batch_size: int = 200) -> float:
    """The average log-likelihood of bits, in nats an image."""
    parts = [model.log_prob(part.to(model.bias.dtype)).double() for part in x.flatten(1).split(batch_size)]
    return torch.cat(parts).mean().item()


def train(options: argparse.Namespace, images: data.Images) -> Trained:
    """The model of the best validation epoch, and the time that training took."""
    torch.manual_seed(options.seed)
    flat, device = images.train.flatten(1), images.train.device
    model = build(options, flat.shape[1]).to(device)
    with torch.no_grad():  # start from independent pixels
        model.bias[:, 0] = torch.logit(flat.float().mean(0).clamp(0.001, 0.999))
    epoch = len(flat) // options.batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * epoch)
    noise = torch.Generator().manual_seed(options.seed)
    step = gradient_step(model, negative_log_prob, optimizer, ema=EMA(model), schedule=schedule, generator=noise)
    batches = data.Batches(flat, batch_size=options.batch_size, generator=torch.Generator().manual_seed(options.seed))

    def score(model: Autoregressive) -> float:
        return mean_log_prob(model, images.valid)

    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    best = fit_best(step, batches, options.epochs * epoch, score, every=epoch, **files)
    print(f"validation log-likelihood of the best epoch: {best.score:.2f}")
    return best


def main(arguments: list[str] | None = None) -> None:
    """Train an autoregressive model of bits, find its exact test likelihood, draw from it, and save all that."""
    parser = run_parser("dgmlib.autoregressive", main.__doc__)
    parser.add_argument("--model", choices=["fvsbn", "nade", "made"], default="nade")
    parser.add_argument(
        "--hidden", type=whole(1), nargs="+", default=[500], help="units of NADE, or of each MADE layer"
    )
    parser.add_argument("--masks", type=whole(1), default=1, help="orders and connectivities of MADE")
    parser.add_argument("--epochs", type=whole(1), default=60)
    parser.add_argument("--batch-size", type=whole(1), default=100)
    parser.add_argument("--lr", type=number(above=0), default=1e-3)
    options = run_options(parser, arguments, name="{model}_binarized_mnist")
    if options.model == "nade" and len(options.hidden) > 1:
        parser.error(
            f"argument --hidden: {len(options.hidden)} sizes were given, expected one, since a NADE has one layer"
        )

    join_processes()
    images = data.load("binarized_mnist", options.device)
    best = train(options, images)
    if data_parallel()[0] == 0:
        report(options, best, images)


@torch.no_grad()
def report(options: argparse.Namespace, best: Trained, images: data.Images) -> None:
    """Find the likelihood of the test images, write it down, and draw samples and completions."""
    import matplotlib.pyplot as plt

    model, shape = best.model, images.test.shape[1:]
    nll = -mean_log_prob(model, images.test)
    print(f"test NLL {nll:.2f} nats, exact; {best.minutes.processor:.1f} minutes of training (processor time)")
    sizes = "" if options.model == "fvsbn" else f" {images.test[0].numel()}-{'-'.join(map(str, options.hidden))}"
    save_result(
        options,
        title="Autoregressive model of bits",
        model=options.model.upper() + sizes + f", {options.masks} masks" * (options.masks > 1),
        parameters=n_parameters(model),
        data="binarized mnist",
        measure=f"test NLL in nats, {len(images.test):,} images, exact",
        ours=nll,
        also={f"validation NLL of the best epoch of {options.epochs}": -best.score},
        table="binarised MNIST",
        minutes=best.minutes,
    )
    plots.style()
    noise = torch.Generator(images.test.device).manual_seed(options.seed)
    rows = {"samples": model.sample(60, generator=noise)}
    if options.masks == 1:
        half = images.test[:: max(1, len(images.test) // 20)][:20].flatten(1).to(model.bias.dtype)
        finished = [model.sample(len(half), given=half[:, : half.shape[1] // 2], generator=noise) for _ in range(2)]
        rows["test images; upper halves kept, the rest drawn, twice"] = torch.cat([half, *finished])
    figure, axes = plt.subplots(len(rows), 1, figsize=(7, 1.5 * len(rows)), squeeze=False)
    for (title, x), ax in zip(rows.items(), axes[:, 0], strict=True):
        plots.show_images(x.view(-1, *shape), ncols=20, title=title, ax=ax)
    save_figure(options, figure)
