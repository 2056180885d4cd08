"""Wrong variants of `dgmlib.mixtures` (chapter 06)."""

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
from dgmlib.mixtures import Bernoullis, Gaussians, elbo, evidence, factor_step, floored, responsibilities

CHAPTER = "06"

WEIGHTS, LOG_P = f64(0.2, 0.8), f64((-1.0, -2.0), (0.5, -0.3), (-4.0, 0.2))
LOG_JOINT, Q = WEIGHTS.log() + LOG_P, f64((0.3, 0.7), (0.9, 0.1), (0.5, 0.5))
X = f64((0.0, 1.0), (2.0, -1.0), (1.0, 3.0), (-2.0, 0.5), (0.7, 0.9))
COUNTS = f64((0.9, 0.1), (0.2, 0.8), (0.5, 0.5), (0.7, 0.3), (0.4, 0.6))
BITS, OLD_MEANS = (X > 0.6).double(), f64((0.5, 0.5), (-1.0, 0.0))
COV, LOADING, NOISE = (
    f64((2.0, 0.5, 0.3), (0.5, 1.0, -0.2), (0.3, -0.2, 1.5)),
    f64((1.0,), (0.4,), (-0.3,)),
    f64(0.7, 0.9, 1.1),
)


def _m_step(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The M step of a full mixture as plain tensors; `means` are the old ones, which it must not use."""
    eye = torch.eye(x.shape[1], dtype=x.dtype).expand(len(means), -1, -1)
    new = Gaussians(torch.full((len(means),), 1 / len(means), dtype=x.dtype), means, eye).maximised(x, counts)
    return new.weights, new.means, new.covs


def _coins(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    start = Bernoullis(WEIGHTS, torch.full((2, x.shape[1]), 0.5, dtype=x.dtype), prior_counts=0.7)
    best = start.maximised(x, counts)
    return best.weights, best.probs


SUBJECTS = (
    subject(
        "mixture-evidence",
        evidence,
        ((LOG_JOINT,),),
        {
            "evidence-sum-of-logs": edit("logsumexp(1)", "sum(1)"),
            "evidence-best-component": edit("logsumexp(1)", "max(1).values"),
            "evidence-mean": edit("logsumexp(1)", "exp().mean(1).log()"),
        },
    ),
    subject(
        "mixture-posterior",
        lambda weights, log_p: responsibilities(weights.log() + log_p),
        ((WEIGHTS, LOG_P),),
        {
            "posterior-no-prior": lambda weights, log_p: log_p.softmax(1),
            "posterior-over-data": edit("softmax(1)", "softmax(0)"),
            "posterior-hard": lambda weights, log_p: torch.nn.functional.one_hot(
                (weights.log() + log_p).argmax(1), 2
            ).to(log_p.dtype),
        },
        of=responsibilities,
    ),
    subject(
        "mixture-elbo",
        elbo,
        ((LOG_JOINT, Q),),
        {
            "mixture-elbo-no-entropy": edit(" + torch.special.entr(q).sum(1)", ""),
            "mixture-elbo-entropy-sign": edit("+ torch.special", "- torch.special"),
            "mixture-elbo-log-outside": lambda joint, q: (q * joint.exp()).sum(1).log(),
        },
    ),
    subject(
        "mixture-m-step",
        _m_step,
        ((X, COUNTS, OLD_MEANS),),
        {
            "E4-09": edit(
                "[self._scatter(x, mean, s) for mean, s in zip(means,",
                "[self._scatter(x, mean, s) for mean, s in zip(self.means,",
            ),
            "m-step-unbiased": edit(
                "(weights, means, covs,", "(weights, means, covs * (size / (size - 1))[:, None, None],"
            ),
            "m-step-by-all": edit("means, covs, cov", "means * weights[:, None], covs * weights[:, None, None], cov"),
            "m-step-hard": edit(
                "size, weights = ",
                "counts = (counts == counts.max(1, keepdim=True).values).to(x.dtype)\n        size, weights = ",
            ),
        },
        of=Gaussians.maximised,
    ),
    subject(
        "variance-floor",
        lambda covs, floor: floored(covs, floor, matrices=True),
        ((f64(((1.0, 0.5), (0.5, 0.3)), ((0.01, 0.0), (0.0, 2.0))), 0.1),),
        {
            "floor-added": lambda covs, floor: covs + floor * torch.eye(covs.shape[-1], dtype=covs.dtype),
            "floor-diagonal": lambda covs, floor: (
                covs + torch.diag_embed((floor - covs.diagonal(dim1=1, dim2=2)).clamp(min=0))
            ),
        },
        of=floored,
    ),
    subject(
        "coin-step",
        _coins,
        ((BITS, COUNTS),),
        {
            "coins-one-count": edit("2 * self.prior_counts", "self.prior_counts"),
            "coins-no-prior": edit("@ x + self.prior_counts", "@ x", " + 2 * self.prior_counts", ""),
        },
        of=Bernoullis.maximised,
    ),
    subject(
        "factor-step",
        factor_step,
        ((COV, LOADING, NOISE),),
        {
            "factor-no-posterior-spread": edit("posterior_cov + gain @ cross", "gain @ cross"),
            "factor-old-loadings": edit(
                *("    weight = torch.linalg", "    old, weight = weight, torch.linalg"),
                *("(cov - weight @ cross.T)", "(cov - old @ cross.T)"),
            ),
        },
    ),
)
