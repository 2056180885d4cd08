"""dgmlib beside its peers: `make bench`. The same work, outputs asserted equal, one thread.

A row is the median over 11 interleaved pairs of (peer's seconds / ours), so that a busy moment falls on both. At least
0.9 is parity; a lower row ends the run with status 1. The table is printed and kept in `results.json`.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import scipy
import sklearn
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from dgmlib.divergences import js_divergence, kl_gaussian, wasserstein_1, wasserstein_samples
from dgmlib.vae import VAE, elbo, iwae, kl_standard_normal
from dgmlib.worlds import GaussianMixture

PAIRS = 11
PARITY = 0.9
SECONDS_A_SIDE = 0.05  # calls are repeated to fill this, so that the clock's own cost does not count

Work = Callable[[], object]
Row = tuple[str, str, Work, Work]  # what, the peer, our work, the peer's


def rows(generator: torch.Generator) -> list[Row]:
    """Each row: from the same plain inputs to the same numbers; the mixtures, built once, are built beforehand."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def covariances(n: int, d: int) -> torch.Tensor:
        root = normal(n, d, d)
        return root @ root.mT / d + torch.eye(d, dtype=torch.float64)

    def kl_rows(n: int, d: int) -> Row:
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

    k, d, n = 8, 2, 20_000
    weights, means, covs, data = normal(k).softmax(-1), 3 * normal(k, d), covariances(k, d), 3 * normal(n, d)
    ours = GaussianMixture(weights, means, covs)
    peer = SklearnMixture(k)
    peer.weights_, peer.means_, peer.covariances_ = weights.numpy(), means.numpy(), covs.numpy()
    peer.precisions_cholesky_ = torch.linalg.cholesky(covs).inverse().mT.numpy()
    torch_peer = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covs))
    mixture = f"log-density of {n} points under {k} Gaussians, d = {d}"

    return [
        kl_rows(512, 2),
        kl_rows(512, 32),
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
        (
            mixture,
            "sklearn GaussianMixture.score_samples",
            lambda: ours.log_prob(data),
            lambda: peer.score_samples(data),
        ),
        (mixture, "torch MixtureSameFamily.log_prob", lambda: ours.log_prob(data), lambda: torch_peer.log_prob(data)),
        *vae_rows(generator),
    ]


def vae_rows(generator: torch.Generator) -> list[Row]:
    """A VAE 784-400-40 on a batch of 100, beside the same lines written with torch.distributions on the same noise."""
    model = VAE(784, 40, (400,)).double()
    x = (torch.rand(100, 784, generator=generator) < 0.2).double()
    mean, log_var = (torch.randn(5000, 40, generator=generator, dtype=torch.float64) for _ in range(2))

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    def posterior() -> Normal:
        mean, log_var = model.encoder(x).chunk(2, -1)
        return Normal(mean, (0.5 * log_var).exp())

    def peer_log_weights(k: int) -> Tensor:
        q, prior = posterior(), Independent(Normal(torch.zeros(40, dtype=torch.float64), 1.0), 1)
        noise = torch.randn(100, k, 40, generator=seeded(), dtype=torch.float64).transpose(0, 1)
        z = q.mean + q.stddev * noise
        likelihood = Independent(Bernoulli(logits=model.decoder(z)), 1).log_prob(x)
        return likelihood + prior.log_prob(z) - Independent(q, 1).log_prob(z)

    def peer_elbo() -> Tensor:
        q = posterior()
        torch.manual_seed(1)
        likelihood = Independent(Bernoulli(logits=model.decoder(q.rsample())), 1).log_prob(x)
        return likelihood - torch_kl(q, Normal(torch.zeros_like(q.mean), 1.0)).sum(-1)

    def step(objective: Callable[[], Tensor]) -> Tensor:
        return torch.autograd.grad(-objective().mean(), model.encoder[0].weight)[0]

    def likelihood(objective: Callable[[], Tensor]) -> Tensor:
        with torch.no_grad():
            return objective()

    return [
        (
            "KL of 5000 diagonal Gaussians from N(0, I), d = 40",
            "torch.distributions.kl_divergence",
            lambda: kl_standard_normal(mean, log_var),
            lambda: torch_kl(Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros_like(mean), 1.0)).sum(-1),
        ),
        (
            "ELBO of a VAE and its gradient, batch 100",
            "torch.distributions",
            lambda: step(lambda: elbo(model, x, generator=seeded())),
            lambda: step(peer_elbo),
        ),
        (
            "IWAE-5 bound of a VAE and its gradient, batch 100",
            "torch.distributions",
            lambda: step(lambda: iwae(model, x, 5, generator=seeded())),
            lambda: step(lambda: peer_log_weights(5).logsumexp(0) - np.log(5)),
        ),
        (
            "importance-sampled likelihood, 50 samples, batch 100",
            "torch.distributions",
            lambda: model.log_prob_is(x, 50, generator=seeded()),
            lambda: likelihood(lambda: peer_log_weights(50).logsumexp(0) - np.log(50)),
        ),
    ]


def seconds(work: Work, repeats: int) -> float:
    """Wall-clock seconds of one call, averaged over `repeats` calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def measure(what: str, peer: str, ours: Work, theirs: Work) -> dict[str, object]:
    """One row of the table. Raises AssertionError if the two sides do not compute the same numbers."""
    np.testing.assert_allclose(
        np.asarray(ours()), np.asarray(theirs()), rtol=1e-9, atol=1e-12, err_msg=f"{what}: {peer}"
    )
    ours_repeats, theirs_repeats = (max(1, int(SECONDS_A_SIDE / seconds(work, 3))) for work in (ours, theirs))
    pairs = [(seconds(ours, ours_repeats), seconds(theirs, theirs_repeats)) for _ in range(PAIRS)]
    return {
        "what": what,
        "peer": peer,
        "ours_ms": round(1e3 * statistics.median(mine for mine, _ in pairs), 4),
        "peer_ms": round(1e3 * statistics.median(other for _, other in pairs), 4),
        "ratio": round(statistics.median(other / mine for mine, other in pairs), 3),
    }


def main() -> int:
    torch.set_num_threads(1)
    table = [measure(*row) for row in rows(torch.Generator().manual_seed(0))]
    print(f"{'work':58} {'peer':40} {'ours':>9} {'peer':>9}  peer/ours")
    for row in table:
        verdict = "" if row["ratio"] >= PARITY else "  below parity"
        times = f"{row['ours_ms']:6.2f} ms {row['peer_ms']:6.2f} ms"
        print(f"{row['what']:58} {row['peer']:40} {times}  {row['ratio']:.2f}{verdict}")
    versions = {module.__name__: module.__version__ for module in (torch, np, scipy, sklearn)}
    record = {
        "date": str(date.today()),
        "machine": platform.machine(),
        "threads": 1,
        "versions": versions,
        "rows": table,
    }
    Path(__file__).with_name("results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["ratio"] >= PARITY for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
