"""python -m dgmlib.vae: train a VAE, estimate its likelihood, draw from it (chapter 09).

Images are bits, made so by their grey values; a table of real numbers is standardised and has Gaussian noise.
"""

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dgmlib import data, plots
from dgmlib.classifier import load_classifier
from dgmlib.commands.runs import (
    Trained,
    dataset,
    fit_best,
    load_data,
    n_parameters,
    number,
    rows_figure,
    run_options,
    run_parser,
    save_figure,
    save_result,
    save_samples,
    whole,
)
from dgmlib.core import bernoulli, data_parallel
from dgmlib.train import EMA, gradient_step, join_processes
from dgmlib.vae import VAE, dreg, elbo, fit_prior, iwae, reparameterise, unit_activity

WIDTHS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)  # factors for the encoder's deviations, as a proposal
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
TABLES = {"binarized_mnist": "binarised MNIST", "mnist": "MNIST, binarised afresh"}
OBJECTIVES = {"elbo": lambda model, x, _, generator: elbo(model, x, generator=generator), "iwae": iwae, "dreg": dreg}


def negative_bound(
    model: VAE,
    x: UInt8[Tensor, "batch d"] | Float[Tensor, "batch d"],
    *,
    levels: int | None,
    n_samples: int,
    objective: str,
    generator: torch.Generator,
) -> Float[Tensor, " batch"]:
    """The loss of one batch of grey levels; if there are more than two, each pixel is made 0/1 by a fresh draw.

    `levels` None: of real numbers, which are taken as they are.
    """
    if levels is not None:
        x = x.to(torch.get_default_dtype()) / (levels - 1)
        x = x if levels == 2 else bernoulli(x, generator=generator)
    return -OBJECTIVES[objective](model, x, n_samples, generator=generator)


def judged(images: data.Images | data.Table, split: str) -> Float[Tensor, "n d"]:
    """The rows on which a likelihood is taken: bits drawn once and for all, or standardised numbers."""
    if isinstance(images, data.Table):
        return getattr(images.standardised(), split)
    return data.fixed_binarisation(getattr(images, split), images.levels)


def train(options: argparse.Namespace, images: data.Images | data.Table) -> Trained:
    """The model of the best validation epoch, and the time that training took."""
    torch.manual_seed(options.seed)
    real, device = isinstance(images, data.Table), images.train.device
    flat, levels = (judged(images, "train"), None) if real else (images.train.flatten(1), images.levels)
    settings = {"activation": ACTIVATIONS[options.activation], "likelihood": "gaussian" if real else "bernoulli"}
    model = VAE(flat.shape[1], options.latents, options.hidden, **settings).to(device)
    if not real:
        with torch.no_grad():  # the decoder starts from the mean image instead of a grey one
            model.decoder[-1].bias.copy_(torch.logit((flat.float().mean(0) / (levels - 1)).clamp(0.001, 0.999)))
    batch_size = min(options.batch_size, len(flat))
    epoch = len(flat) // batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * epoch, eta_min=0.02 * options.lr)
    bound = OBJECTIVES[options.objective]
    loss = partial(negative_bound, levels=levels, n_samples=options.samples, objective=options.objective)
    noise = torch.Generator(device).manual_seed(options.seed)
    step = gradient_step(model, loss, optimizer, ema=EMA(model), schedule=schedule, generator=noise)

    def score(model: VAE) -> float:
        noise = torch.Generator(device).manual_seed(1)
        valid = judged(images, "valid").split(1000)
        return torch.cat([bound(model, x, options.samples, generator=noise) for x in valid]).mean().item()

    batches = data.Batches(flat, batch_size=batch_size, generator=torch.Generator().manual_seed(options.seed))
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    best = fit_best(step, batches, options.epochs * epoch, score, every=epoch, **files)
    print(f"validation bound of the best epoch: {best.score:.2f}")
    return best


def main(arguments: list[str] | None = None) -> None:
    """Train a VAE, estimate its test likelihood by importance sampling, draw from it, and save all that."""
    parser = run_parser("dgmlib.vae", main.__doc__)
    parser.add_argument(
        "--data", type=dataset(*data.SETS), default="binarized_mnist", help="an image set, or the path of your own data"
    )
    parser.add_argument("--latents", type=whole(1), default=40)
    parser.add_argument("--hidden", type=whole(1), nargs="+", default=[400])
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    parser.add_argument("--objective", choices=OBJECTIVES, default="elbo")
    parser.add_argument("--samples", type=whole(1), default=1, help="importance samples of the objective")
    parser.add_argument("--epochs", type=whole(1), default=100)
    parser.add_argument("--batch-size", type=whole(1), default=100)
    parser.add_argument("--lr", type=number(above=0), default=1e-3)
    parser.add_argument("--eval-samples", type=whole(1), default=200, help="importance samples of the test likelihood")
    parser.add_argument(
        "--test-images", type=whole(1), help="judge on so many test images, drawn with a seed; default: all"
    )
    parser.add_argument("--judge", choices=["digits", "mnist"], help="let this classifier recognise 2,000 samples")
    options = run_options(parser, arguments, "vae_{data}", free=("eval_samples", "test_images", "judge"))

    join_processes()
    images = load_data(options)
    if options.judge and isinstance(images, data.Table):
        parser.error(f"argument --judge: {options.data} holds no images, expected images beside a classifier")
    best = train(options, images)
    if data_parallel()[0] == 0:
        report(options, best, images)


def test_rows(options: argparse.Namespace, images: data.Images | data.Table) -> Float[Tensor, "n d"]:
    """The test set that judges a run: all of it, or as much as the options ask for, drawn with a seed."""
    test = judged(images, "test")
    n = options.test_images
    return test if n is None else data.subset(test, n, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def importance_nll(model: nn.Module, x: Float[Tensor, "n d"], options: argparse.Namespace, widen: float) -> float:
    """Mean negative log-likelihood by importance samples of the encoder, its deviations times `widen`, in nats."""
    noise = torch.Generator(x.device).manual_seed(options.seed)  # the same noise for every factor
    parts = [model.log_prob_is(part, options.eval_samples, widen=widen, generator=noise) for part in x.split(100)]
    return -torch.cat(parts).mean().item()


def best_width(model: nn.Module, images: data.Images | data.Table, options: argparse.Namespace) -> float:
    """The one of `WIDTHS` that bounds 500 validation images most tightly."""
    valid = judged(images, "valid")
    valid = data.subset(valid, min(500, len(valid)), generator=torch.Generator().manual_seed(0))
    return min(WIDTHS, key=lambda widen: importance_nll(model, valid, options, widen))


@torch.no_grad()
def report(options: argparse.Namespace, best: Trained, images: data.Images | data.Table) -> None:
    """Estimate the likelihood, let the classifier judge samples, write both down and draw a figure."""
    import matplotlib.pyplot as plt

    model, test, tabular = best.model, test_rows(options, images), isinstance(images, data.Table)
    shape = images.shape if tabular else images.test.shape[1:]
    of = "rows" if tabular else "images"
    unit = images.std.log().sum().item() if tabular else 0.0  # of the rows as they came, in nats above the standardised
    noise, batches = torch.Generator(test.device).manual_seed(options.seed), test.split(100)

    def mean(values: Iterable[Tensor]) -> float:
        return torch.cat(list(values)).mean().item()

    widen = best_width(model, images, options)
    nll, widened = (importance_nll(model, test, options, width) + unit for width in (1.0, widen))
    bound = mean(elbo(model, x, generator=noise) for x in batches) - unit
    active = int((unit_activity(torch.cat([model.encode(x)[0] for x in batches])) > 0.01).sum())
    proposal = f"its deviations times {widen:g}, which validation images prefer"
    print(f"test NLL {nll:.2f} nats, {options.eval_samples} importance samples of the encoder; -ELBO {-bound:.2f}")
    print(f"{widened:.2f} with {proposal}; {active} of {options.latents} units active")
    train = judged(images, "train")
    codes = torch.cat([reparameterise(*model.encode(x), generator=noise)[0] for x in train.split(1000)])
    mended = fit_prior(codes[torch.randperm(len(codes), generator=noise, device=noise.device)[:20_000]], 10)
    fitted = mended.sample(2000, generator=noise).to(codes.dtype)
    latents = {"the prior": model.sample_prior(2000, generator=noise), "ten Gaussians fitted to the codes": fitted}
    samples = {name: model.pixel_means(z).view(-1, *shape) for name, z in latents.items()}
    if tabular:
        save_samples(options, images.restored(model.sample(2000, generator=noise)).view(-1, *shape))
    elif isinstance(options.data, Path):
        save_samples(options, samples["the prior"])
    titles = {name: f"latents from {name}" for name in samples}
    trained_on = options.objective + f"-{options.samples}" * (options.objective != "elbo")
    shared = {
        "model": f"VAE {test.shape[1]}-{'-'.join(map(str, options.hidden))}-{options.latents} ({trained_on})",
        "parameters": n_parameters(model),
        "data": images.name.replace("_", " "),
        "minutes": best.minutes,
    }
    if options.judge:
        judge = load_classifier(options.judge, test.device)
        real = judge.recognised(test.view(-1, *shape)).share
        verdicts = {name: judge.recognised(x) for name, x in samples.items()}
        for name, verdict in verdicts.items():
            by_class = f"by class {verdict.counts.tolist()}"
            print(f"recognised, latents from {name}: {verdict.share:.1%} (test images: {real:.1%}); {by_class}")
            titles[name] += f": {verdict.share:.0%} recognised (test images: {real:.0%})"
        share, counts = verdicts["the prior"]
        mended_share = verdicts["ten Gaussians fitted to the codes"].share
        save_result(
            options,
            title="Samples of a VAE, recognised",
            measure="share of 2,000 decoder means at draws from the prior given to a class with probability 0.9",
            ours=share,
            also={
                "share of the rarest class": (counts.min() / counts.sum().clamp(min=1)).item(),
                "latents from ten Gaussians fitted to training codes": mended_share,
                "real test images": real,
            },
            suffix="_samples",
            **shared,
        )
    save_result(
        options,
        title="Variational autoencoder",
        measure=f"test NLL in nats, {len(test):,} {of}, {options.eval_samples:,} importance samples of the encoder",
        ours=nll,
        also={f"with {proposal}": widened, "-ELBO": -bound, "units active": active},
        table=None if options.test_images else TABLES.get(options.data),  # published rows are of all test images
        **shared,
    )
    plots.style()
    if tabular:
        drawn = {"test rows": test, "drawn from the model": model.sample(len(test), generator=noise)}
        save_figure(options, rows_figure({name: images.restored(x) for name, x in drawn.items()}, images.columns))
        return
    figure, axes = plt.subplots(3, 1, figsize=(7, 4.2))
    shown = test[:: max(1, len(test) // 20)][:20]  # spread over the set, which may be sorted by class
    pairs = torch.cat([shown, model.pixel_means(model.encode(shown)[0])]).view(-1, *shape)
    plots.show_images(pairs, ncols=20, title="test images, and decoder means at their encoder means", ax=axes[0])
    for name, ax in zip(samples, axes[1:], strict=True):
        plots.show_images(samples[name][:60], ncols=20, title=titles[name], ax=ax)
    save_figure(options, figure)
