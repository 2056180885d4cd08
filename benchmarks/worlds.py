"""The log-density of a Gaussian mixture, beside scikit-learn and torch.distributions; each is built beforehand."""

import torch
from run import Row
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from dgmlib.worlds import GaussianMixture


def rows(generator: torch.Generator) -> list[Row]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    k, d, n = 8, 2, 20_000
    root = normal(k, d, d)
    covs = root @ root.mT / d + torch.eye(d, dtype=torch.float64)
    weights, means, data = normal(k).softmax(-1), 3 * normal(k, d), 3 * normal(n, d)
    ours = GaussianMixture(weights, means, covs)
    peer = SklearnMixture(k)
    peer.weights_, peer.means_, peer.covariances_ = weights.numpy(), means.numpy(), covs.numpy()
    peer.precisions_cholesky_ = torch.linalg.cholesky(covs).inverse().mT.numpy()
    torch_peer = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covs))
    what = f"log-density of {n} points under {k} Gaussians, d = {d}"
    return [
        (
            what,
            "sklearn GaussianMixture.score_samples",
            lambda: ours.log_prob(data),
            lambda: peer.score_samples(data.numpy()),
        ),
        (what, "torch MixtureSameFamily.log_prob", lambda: ours.log_prob(data), lambda: torch_peer.log_prob(data)),
    ]
