"""python -m dgmlib.estimation: what maximum likelihood calls impossible on binary images (chapter 03)."""

import math

import torch

from dgmlib import data, plots
from dgmlib.commands.runs import Clock, run_options, run_parser, save_figure, save_result
from dgmlib.estimation import bernoulli_log_prob, bernoulli_mle, beta_posterior, predicted_zero_share


def main(arguments: list[str] | None = None) -> None:
    """Zeros of the maximum-likelihood Bernoulli model on a binary image set, predicted and counted."""
    import matplotlib.pyplot as plt

    parser = run_parser("dgmlib.estimation", main.__doc__)
    parser.add_argument("--data", default="binarized_mnist", choices=["binarized_mnist"])
    options = run_options(parser, arguments, "zeros_{data}")

    clock = Clock()
    images = data.load(options.data)
    train, test = images.train.flatten(1).double(), images.test.flatten(1).double()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(options.seed))
    sizes, rows = [100, 1000, 10_000, len(train)], []
    for n in sizes:
        subset = train[order[:n]]
        impossible = (bernoulli_log_prob(test, bernoulli_mle(subset)) == -math.inf).double().mean().item()
        a, b = beta_posterior(subset, 0.1, 0.1)
        smoothed = -bernoulli_log_prob(test, a / (a + b))
        rows.append((predicted_zero_share(subset), impossible, smoothed.mean().item()))
        print(f"n = {n:6}: impossible {impossible:.3%}, predicted {rows[-1][0]:.3%}; smoothed {rows[-1][2]:.2f} nats")
    print(f"the first 1,000 test images alone: {smoothed[:1000].mean():.2f} nats")

    save_result(
        options,
        title="Zeros of a maximum-likelihood model",
        model=f"independent Bernoulli pixels, Beta(0.1, 0.1) prior, n = {len(train):,}",
        parameters=train.shape[1],
        data=options.data.replace("_", " "),
        measure=f"test NLL in nats, {len(test):,} images, exact",
        ours=rows[-1][2],
        also={
            "the first 1,000 test images alone": smoothed[:1000].mean().item(),
            **{
                f"share called impossible without the prior, n = {n:,}": row[1]
                for n, row in zip(sizes, rows, strict=True)
            },
        },
        table="binarised MNIST",
        minutes=clock.minutes,
    )
    plots.style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    left.loglog(
        sizes, [row[0] for row in rows], "o--", color=plots.COLORS["model"], label="predicted from the training set"
    )
    left.loglog(sizes, [row[1] for row in rows], "s-", color=plots.COLORS["data"], label="counted on the test set")
    for n, row in zip(sizes, rows, strict=True):
        left.annotate(f"{row[1]:.2%}", (n, row[1]), textcoords="offset points", xytext=(6, 6), fontsize=8)
    left.set(xlabel="training images", ylabel="share with probability zero")
    left.legend(fontsize=8)
    right.semilogx(sizes, [row[2] for row in rows], "o-", color=plots.COLORS["model"], label="all 10,000")
    right.axhline(
        smoothed[:1000].mean().item(), color=plots.COLORS["wrong"], linestyle=":", label="first 1,000 only, n = 50,000"
    )
    right.set(xlabel="training images", ylabel="smoothed test NLL, nats")
    right.legend(fontsize=8)
    save_figure(options, figure)
