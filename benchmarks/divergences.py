"""Divergences between laws, beside SciPy and torch.distributions."""

import torch
from run import Row
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.distributions import kl_divergence as torch_kl

from dgmlib.divergences import js_divergence, kl_gaussian, wasserstein_1, wasserstein_samples


def rows(generator: torch.Generator) -> list[Row]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def covariances(n: int, d: int) -> Tensor:
        root = normal(n, d, d)
        return root @ root.mT / d + torch.eye(d, dtype=torch.float64)

    def kl_row(n: int, d: int) -> Row:
        mean_p, mean_q, cov_p, cov_q = normal(n, d), normal(n, d), covariances(n, d), covariances(n, d)
        return (
            f"KL of {n} pairs of Gaussians, d = {d}",
            "torch.distributions.kl_divergence",
            lambda: kl_gaussian(mean_p, cov_p, mean_q, cov_q),
            lambda: torch_kl(MultivariateNormal(mean_p, cov_p), MultivariateNormal(mean_q, cov_q)),
        )

    p, q = normal(1000, 256).softmax(-1), normal(1000, 256).softmax(-1)
    x, y = normal(20_000), normal(20_000) + 0.5
    points = torch.linspace(-5, 5, 4096, dtype=torch.float64)
    law_p, law_q = normal(4096).softmax(-1), normal(4096).softmax(-1)

    return [
        kl_row(512, 2),
        kl_row(512, 32),
        (
            "Jensen-Shannon of 1000 pairs of 256 states",
            "scipy.spatial.distance.jensenshannon",
            lambda: js_divergence(p, q),
            lambda: jensenshannon(p.numpy(), q.numpy(), axis=-1) ** 2,
        ),
        (
            "W1 between two samples of 20000 numbers",
            "scipy.stats.wasserstein_distance",
            lambda: wasserstein_samples(x, y),
            lambda: wasserstein_distance(x.numpy(), y.numpy()),
        ),
        (
            "W1 between two laws on 4096 points",
            "scipy.stats.wasserstein_distance",
            lambda: wasserstein_1(points, law_p, law_q),
            lambda: wasserstein_distance(points.numpy(), points.numpy(), law_p.numpy(), law_q.numpy()),
        ),
    ]
