"""Wrong variants of `dgmlib.mixtures` (chapter 06)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.mixtures import Bernoullis, Gaussians, elbo, evidence, factor_step, floored, responsibilities


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


WEIGHTS, LOG_P = _t(0.2, 0.8), _t((-1.0, -2.0), (0.5, -0.3), (-4.0, 0.2))
LOG_JOINT, Q = WEIGHTS.log() + LOG_P, _t((0.3, 0.7), (0.9, 0.1), (0.5, 0.5))
X = _t((0.0, 1.0), (2.0, -1.0), (1.0, 3.0), (-2.0, 0.5), (0.7, 0.9))
COUNTS = _t((0.9, 0.1), (0.2, 0.8), (0.5, 0.5), (0.7, 0.3), (0.4, 0.6))
BITS, OLD_MEANS = (X > 0.6).double(), _t((0.5, 0.5), (-1.0, 0.0))
COV, LOADING, NOISE = (
    _t((2.0, 0.5, 0.3), (0.5, 1.0, -0.2), (0.3, -0.2, 1.5)),
    _t((1.0,), (0.4,), (-0.3,)),
    _t(0.7, 0.9, 1.1),
)


def _m_step(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The M step of a full mixture as plain tensors; `means` are the old ones, which it must not use."""
    eye = torch.eye(x.shape[1], dtype=x.dtype).expand(len(means), -1, -1)
    new = Gaussians(torch.full((len(means),), 1 / len(means), dtype=x.dtype), means, eye).maximised(x, counts)
    return new.weights, new.means, new.covs


def _about_old(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, new, covs = _m_step(x, counts, means)
    return weights, new, covs + torch.einsum("ki,kj->kij", new - means, new - means)


def _unbiased(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, new, covs = _m_step(x, counts, means)
    size = counts.sum(0)[:, None, None]
    return weights, new, covs * size / (size - 1)


def _by_all(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, new, covs = _m_step(x, counts, means)
    return weights, new * weights[:, None], covs * weights[:, None, None]


def _hard(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _m_step(x, (counts == counts.max(1, keepdim=True).values).to(x.dtype), means)


def _coins(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    start = Bernoullis(WEIGHTS, torch.full((2, x.shape[1]), 0.5, dtype=x.dtype), prior_counts=0.7)
    best = start.maximised(x, counts)
    return best.weights, best.probs


def _factor_parts(cov: Tensor, weight: Tensor, noise: Tensor, spread: float = 1.0, late: bool = False):
    """The factor step with its parts exchangeable."""
    scaled = weight / noise[:, None]
    posterior = torch.linalg.inv(torch.eye(weight.shape[1], dtype=cov.dtype) + weight.T @ scaled)
    gain = posterior @ scaled.T
    cross = cov @ gain.T
    new = torch.linalg.solve(spread * posterior + gain @ cross, cross.T).T
    return new, (cov - (weight if late else new) @ cross.T).diagonal(), factor_step(cov, weight, noise)[2]


SUBJECTS = (
    Subject(
        "mixture-evidence",
        evidence,
        ((LOG_JOINT,),),
        (
            Bug(
                "evidence-sum-of-logs",
                "sum_k log p(x, z = k): the logarithm does not pass through a sum.",
                lambda joint: joint.sum(1),
                "falls with every component that is added",
                "log of the sum",
            ),
            Bug(
                "evidence-best-component",
                "The largest term for the sum: never above the evidence, and up to log K below.",
                lambda joint: joint.max(1).values,
            ),
            Bug("evidence-mean", "The mean over components: log K too low.", lambda joint: joint.exp().mean(1).log()),
        ),
    ),
    Subject(
        "mixture-posterior",
        lambda weights, log_p: responsibilities(weights.log() + log_p),
        ((WEIGHTS, LOG_P),),
        (
            Bug(
                "posterior-no-prior",
                "p(x | z) normalised over z: the weights of the components are left out.",
                lambda weights, log_p: log_p.softmax(1),
                "rare components claim too much",
            ),
            Bug(
                "posterior-over-data",
                "Normalised over the data instead of over the components.",
                lambda weights, log_p: (weights.log() + log_p).softmax(0),
            ),
            Bug(
                "posterior-hard",
                "All of each datum given to its likeliest component: k-means, not EM.",
                lambda weights, log_p: torch.nn.functional.one_hot((weights.log() + log_p).argmax(1), 2).to(
                    log_p.dtype
                ),
            ),
        ),
    ),
    Subject(
        "mixture-elbo",
        elbo,
        ((LOG_JOINT, Q),),
        (
            Bug(
                "mixture-elbo-no-entropy",
                "E_q log p(x, z) alone: its maximum over q is a hard assignment.",
                lambda joint, q: (q * joint).sum(1),
                "below the evidence even at the posterior",
            ),
            Bug(
                "mixture-elbo-entropy-sign",
                "The entropy subtracted.",
                lambda joint, q: (q * (joint + q.log())).sum(1),
            ),
            Bug(
                "mixture-elbo-log-outside",
                "log E_q p(x, z): the log outside the mean, no bound on anything.",
                lambda joint, q: (q * joint.exp()).sum(1).log(),
            ),
        ),
    ),
    Subject(
        "mixture-m-step",
        _m_step,
        ((X, COUNTS, OLD_MEANS),),
        (
            Bug(
                "E4-09",
                "The covariance taken about the old mean: too large by the step's own square.",
                _about_old,
                "EM is slower, and its fixed points are still right",
                "means first, then covariances about the new means",
            ),
            Bug("m-step-unbiased", "N_k - 1 for N_k: not the maximiser, and EM may descend.", _unbiased),
            Bug(
                "m-step-by-all",
                "Divided by N instead of by N_k: means shrink towards the origin.",
                _by_all,
                "all means near zero",
            ),
            Bug("m-step-hard", "Responsibilities rounded to 0 and 1 before they are used.", _hard),
        ),
    ),
    Subject(
        "variance-floor",
        lambda covs, floor: floored(covs, floor, matrices=True),
        ((_t(((1.0, 0.5), (0.5, 0.3)), ((0.01, 0.0), (0.0, 2.0))), 0.1),),
        (
            Bug(
                "floor-added",
                "The floor added to every variance: a ridge, which no likelihood under the bound asks for.",
                lambda covs, floor: covs + floor * torch.eye(covs.shape[-1], dtype=covs.dtype),
                "well-determined components are widened too",
            ),
            Bug(
                "floor-diagonal",
                "Only the diagonal is clamped: a narrow oblique direction passes.",
                lambda covs, floor: covs + torch.diag_embed((floor - covs.diagonal(dim1=1, dim2=2)).clamp(min=0)),
            ),
        ),
    ),
    Subject(
        "coin-step",
        _coins,
        ((BITS, COUNTS),),
        (
            Bug(
                "coins-one-count",
                "prior_counts added to the heads but once to the total, where it belongs twice.",
                lambda x, c: (_coins(x, c)[0], (c.T @ x + 0.7) / (c.sum(0)[:, None] + 0.7)),
                "probabilities above 1",
            ),
            Bug(
                "coins-no-prior",
                "Plain frequencies: a pixel never seen lit makes every new image that has it impossible.",
                lambda x, c: (_coins(x, c)[0], c.T @ x / c.sum(0)[:, None]),
                "test likelihood of zero",
            ),
        ),
    ),
    Subject(
        "factor-step",
        factor_step,
        ((COV, LOADING, NOISE),),
        (
            Bug(
                "factor-no-posterior-spread",
                "E[z z^T | x] taken for E[z | x] E[z | x]^T: the posterior's covariance is missing.",
                lambda *a: _factor_parts(*a, spread=0.0),
                "the noise is estimated too small, the loadings too large",
            ),
            Bug(
                "factor-old-loadings",
                "The noise computed with the old loadings.",
                lambda *a: _factor_parts(*a, late=True),
            ),
        ),
    ),
)

SLIPS = {
    "continuous-unweighted": "The values of a continuous cause all given the same weight, whatever its law.",
    "joint-without-prior": "p(x | z) taken for the joint p(x, z): the table does not add up to one.",
    "mixture-sd-for-variance": "The variance used as the standard deviation of a component.",
    "seeding-by-distance": "The next first mean drawn by distance instead of by its square.",
    "seeding-uniform": "First means drawn uniformly from the data.",
    "bic-no-penalty": "Models of different size compared by their training likelihood.",
    "completion-by-the-prior": "Unseen pixels filled with the mixture's mean, whatever was seen.",
    "mixture-variance-within": "The variance of a mixture without that of its means.",
    "em-rate-complete": "The speed of EM taken from the information of complete data: convergence in one step.",
    "weights-are-copies-squared": "A datum of weight 2 counted four times.",
    "kmeans-is-em": "Lloyd's iteration taken for EM at any variance.",
}
