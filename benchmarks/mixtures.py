"""EM and its relatives beside scikit-learn: the same starts, the same iterations, the same parameters in the end."""

import warnings
from functools import partial

import numpy as np
import torch
from run import Row
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor

from dgmlib.mixtures import Gaussians, expectation_maximisation
from dgmlib.vae import ppca
from dgmlib.worlds import LinearGaussian


def rows(generator: torch.Generator) -> list[Row]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    n, d, k, n_steps = 100_000, 16, 20, 3
    centres = 2 * normal(k, d)
    x = centres[torch.randint(k, (n,), generator=generator)] + normal(n, d)
    weights, means = torch.full((k,), 1 / k, dtype=torch.float64), centres + 0.3 * normal(k, d)
    units = {"full": torch.eye(d).expand(k, d, d), "diagonal": torch.ones(k, d), "spherical": torch.ones(k)}
    starts = {kind: Gaussians(weights, means, unit.double(), covariance=kind) for kind, unit in units.items()}
    start = starts["full"]

    def ours(kind: str) -> Tensor:
        fitted, _ = expectation_maximisation(starts[kind], x, n_steps=n_steps, tol=0.0)
        return torch.cat([fitted.means.flatten(), fitted.covs.flatten()])

    def theirs(kind: str) -> np.ndarray:
        peer = SklearnMixture(
            k,
            covariance_type="diag" if kind == "diagonal" else kind,
            weights_init=weights.numpy(),
            means_init=means.numpy(),
            precisions_init=starts[kind].covs.numpy(),  # of the identity, which is its own inverse
            reg_covar=0.0,
            max_iter=n_steps,
            tol=0.0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer.fit(x.numpy())
        return np.concatenate([peer.means_.ravel(), peer.covariances_.ravel()])

    scored = SklearnMixture(k)
    scored.weights_, scored.means_, scored.covariances_ = weights.numpy(), means.numpy(), start.covs.numpy()
    scored.precisions_cholesky_ = start.covs.numpy()
    wide = normal(20_000, 64) @ normal(64, 64)

    pca = PCA(8).fit(wide.numpy())
    weight, noise_var = ppca(wide.T.cov(), 8)
    law = LinearGaussian(weight, wide.mean(0), noise_var**0.5)

    return [
        *(
            (
                f"{n_steps} EM steps, {k} {kind} Gaussians on {n} × {d}",
                "sklearn GaussianMixture.fit",
                partial(ours, kind),
                partial(theirs, kind),
            )
            for kind in starts
        ),
        (
            f"log-density of {n} × {d} under {k} Gaussians",
            "sklearn GaussianMixture.score_samples",
            lambda: start.log_prob(x),
            lambda: scored.score_samples(x.numpy()),
        ),
        (
            "log-density of 20,000 × 64 under probabilistic PCA",
            "sklearn PCA.score_samples",
            lambda: law.log_prob(wide),
            lambda: pca.score_samples(wide.numpy()),
        ),
    ]
