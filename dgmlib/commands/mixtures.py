"""python -m dgmlib.mixtures: fit a mixture of coins to binary images by EM (chapter 06)."""

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib import data, plots
from dgmlib.commands.runs import Clock, number, run_options, run_parser, save_figure, save_result, whole
from dgmlib.mixtures import Bernoullis, em_step
from dgmlib.train import fit


class CoinRun:
    """EM for coins as a step that `train.fit` can repeat, save and resume."""

    def __init__(self, start: Bernoullis, x: Float[Tensor, "n d"]):
        self.x, self.prior_counts = x, start.prior_counts
        self.state = {"weights": start.weights.clone(), "probs": start.probs.clone(), "clock": Clock()}

    @property
    def mixture(self) -> Bernoullis:
        """The mixture as it stands."""
        return Bernoullis(self.state["weights"], self.state["probs"], prior_counts=self.prior_counts)

    def __call__(self, batch: tuple) -> dict[str, Tensor]:
        following, log_likelihood = em_step(self.mixture, self.x)
        self.state["weights"].copy_(following.weights)
        self.state["probs"].copy_(following.probs)
        return {"nll": -log_likelihood}


def main(arguments: list[str] | None = None) -> None:
    """Fit a mixture of coins to binarised images by EM; write down its exact test likelihood, and its prototypes."""
    parser = run_parser("dgmlib.mixtures", main.__doc__)
    parser.add_argument("--data", choices=["binarized_mnist", "mnist", "fashion", "digits"], default="binarized_mnist")
    parser.add_argument("--components", type=whole(1), default=500)
    parser.add_argument("--steps", type=whole(1), default=60)
    parser.add_argument("--prior-counts", type=number(at_least=0), default=0.1)
    options = run_options(parser, arguments, name="coins_{data}_{components}", free=("steps",))

    images, generator = data.load(options.data, options.device), torch.Generator().manual_seed(options.seed)
    train, test = (data.fixed_binarisation(x, images.levels).float() for x in (images.train, images.test))
    k = options.components
    probs = 0.25 + 0.5 * data.subset(train, k, generator=generator)
    start = Bernoullis(train.new_full((k,), 1 / k), probs, prior_counts=options.prior_counts)
    step = CoinRun(start, train)
    files = {"checkpoint": options.checkpoint, "identity": options.identity}
    fit(step, None, options.steps, **files, every=10, log_every=1)
    mixture = step.mixture
    nll = -torch.cat([mixture.log_prob(part) for part in test.split(1000)]).double().mean().item()
    print(f"test NLL {nll:.2f} nats, exact, {len(test):,} images")
    save_result(
        options,
        title="Mixture of Bernoullis",
        model=f"{k} components, EM, {options.steps} steps, {options.prior_counts:g} prior counts",
        parameters=k - 1 + mixture.probs.numel(),
        data=options.data.replace("_", " "),
        measure=f"test NLL in nats, {len(test):,} images, exact",
        ours=nll,
        table="binarised MNIST" if options.data == "binarized_mnist" else None,
        minutes=step.state["clock"].minutes,
    )
    plots.style()
    shown = torch.cat([mixture.probs[:40], mixture.sample(20, generator=torch.Generator(train.device).manual_seed(0))])
    axes = plots.show_images(shown.view(-1, *images.test.shape[1:]), ncols=20, title="prototypes; last row: draws")
    save_figure(options, axes.figure)
