"""python -m dgmlib.mixtures: fit a mixture of coins to bits, or of Gaussians to a table, by EM (chapter 06)."""

import copy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib import data, plots
from dgmlib.commands.runs import (
    Clock,
    dataset,
    load_data,
    number,
    rows_figure,
    run_options,
    run_parser,
    save_figure,
    save_result,
    save_samples,
    whole,
)
from dgmlib.mixtures import COVARIANCES, Bernoullis, Mixture, em_step, gaussians
from dgmlib.train import fit


class EMRun:
    """EM as a step that `train.fit` can repeat, save and resume."""

    def __init__(self, start: Mixture, x: Float[Tensor, "n d"]):
        self.x, self.mixture = x, copy.deepcopy(start)
        self.state = {"mixture": self.mixture, "clock": Clock()}

    def __call__(self, batch: tuple) -> dict[str, Tensor]:
        following, log_likelihood = em_step(self.mixture, self.x)
        self.mixture.load_state_dict(following.state_dict())
        return {"nll": -log_likelihood}


def main(arguments: list[str] | None = None) -> None:
    """Fit a mixture of coins to binarised images, or one of Gaussians to a table of standardised numbers, by EM; write
    down its exact test likelihood, its prototypes, and draws."""
    parser = run_parser("dgmlib.mixtures", main.__doc__)
    parser.add_argument(
        "--data", type=dataset(*data.SETS), default="binarized_mnist", help="an image set, or the path of your own data"
    )
    parser.add_argument("--components", type=whole(1), default=500)
    parser.add_argument("--steps", type=whole(1), default=60)
    parser.add_argument("--prior-counts", type=number(at_least=0), default=0.1, help="of coins")
    parser.add_argument("--covariance", choices=COVARIANCES, default="full", help="of Gaussians")
    parser.add_argument("--floor", type=number(at_least=0), default=1e-3, help="of variances, in standardised units")
    options = run_options(parser, arguments, name="coins_{data}_{components}", free=("steps",))

    images, generator, k = load_data(options), torch.Generator().manual_seed(options.seed), options.components
    if k > len(images.train):
        parser.error(
            f"argument --components: {k} were given, expected at most one of {len(images.train)} training rows"
        )
    if real := isinstance(images, data.Table):
        scaled = images.standardised()
        train, test = scaled.train.double(), scaled.test.double()
        start: Mixture = gaussians(train, k, covariance=options.covariance, floor=options.floor, generator=generator)
        kind = f"{options.covariance} covariances, floor {options.floor:g}"
    else:
        train, test = (data.fixed_binarisation(x, images.levels).float() for x in (images.train, images.test))
        probs = 0.25 + 0.5 * data.subset(train, k, generator=generator)
        start = Bernoullis(train.new_full((k,), 1 / k), probs, prior_counts=options.prior_counts)
        kind = f"{options.prior_counts:g} prior counts"
    step = EMRun(start, train)
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    fit(step, None, options.steps, **files, every=10, log_every=1)
    mixture, of = step.mixture, "rows" if real else "images"
    nll = -torch.cat([mixture.log_prob(part) for part in test.split(1000)]).double().mean().item()
    nll += images.std.log().sum().item() if real else 0.0  # of the rows as they came
    print(f"test NLL {nll:.2f} nats, exact, {len(test):,} {of}")
    save_result(
        options,
        title="Mixture of Gaussians" if real else "Mixture of Bernoullis",
        model=f"{k} components, EM, {options.steps} steps, {kind}",
        parameters=k - 1 + sum(x.numel() for name, x in mixture.state_dict().items() if name != "weights"),
        data=images.name.replace("_", " "),
        measure=f"test NLL in nats, {len(test):,} {of}, exact",
        ours=nll,
        table="binarised MNIST" if options.data == "binarized_mnist" else None,
        minutes=step.state["clock"].minutes,
    )
    plots.style()
    noise = torch.Generator(train.device).manual_seed(0)
    if isinstance(options.data, Path):
        drawn = mixture.sample(2000, generator=noise)
        shape = images.shape if real else images.test.shape[1:]
        save_samples(options, (images.restored(drawn) if real else drawn).view(-1, *shape))
    if real:
        parts = {"test rows": test, "drawn from the mixture": drawn[: len(test)], "means": mixture.means}
        save_figure(options, rows_figure({name: images.restored(x) for name, x in parts.items()}, images.columns))
        return
    shown = torch.cat([mixture.probs[:40], mixture.sample(20, generator=noise)])
    axes = plots.show_images(shown.view(-1, *images.test.shape[1:]), ncols=20, title="prototypes; last row: draws")
    save_figure(options, axes.figure)
