"""Wrong variants of `dgmlib.vi` (chapter 08)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import subject
from dgmlib.vi import (
    annealed_importance,
    best_baseline,
    cavi_gaussian,
    effective_sample_size,
    elbo,
    elbo_linear,
    gaussian_entropy,
    gaussian_log_prob,
    log_likelihood_linear,
    log_prob_is,
    pathwise_gradient,
    renyi2_gaussian,
    reparameterize,
    score_function_gradient,
    tempered_posterior,
    tempered_step,
)
from dgmlib.worlds import LinearGaussian

CHAPTER = "08"


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


WORLD = LinearGaussian([[1.0, 0.3], [0.2, -0.8], [0.5, 0.5]], [0.1, 0.2, 0.3], 0.6)
X = _t((0.5, -0.2, 1.0), (2.0, 1.0, -0.4))
MEAN, CHOL = _t((0.1, -0.4), (0.7, 0.3)), _t(((0.8, 0.0), (0.3, 0.6)), ((0.5, 0.0), (-0.4, 1.2)))
Z = _t(((0.2, 0.1), (-0.6, 1.0)), ((1.1, -0.7), (0.4, 0.0)), ((-0.9, 0.5), (0.3, -1.4)))
LOG_JOINT, LOG_Q = _t((-3.0, -1.0), (-5.0, -0.5), (-2.0, -4.0)), _t((-1.0, -0.8), (-0.2, -2.0), (-1.7, -0.6))
LOG_WEIGHTS = LOG_JOINT - LOG_Q
COV_P, COV_Q = _t((1.0, 0.2), (0.2, 0.7)), _t((1.4, -0.1), (-0.1, 0.9))
GRADIENT = (lambda z: (z * z).sum(1) + z[:, 0], _t(1.0, -0.5), _t(0.7, 1.3), _t((0.3, -1.1), (1.6, 0.2), (-0.8, 0.9)))
BETAS = _t(0.0, 0.1, 0.4, 1.0)
AIS = (lambda z: -z.square().sum(-1), Z, lambda z, beta, generator: z / (1 + beta), BETAS)
RENYI = (_t(0.3, -0.2), COV_P, _t(-0.1, 0.4), COV_Q)


# --- variants that need more than one expression --------------------------------------------------------------------


def _jacobi(mean: Tensor, precision: Tensor, start: Tensor, n_sweeps: int) -> Tensor:
    path = [start]
    for _ in range(n_sweeps):
        offset = path[-1] - mean
        path.append(mean + offset - precision @ offset / precision.diagonal())
    return torch.stack(path)


def _by_covariance(mean: Tensor, precision: Tensor, start: Tensor, n_sweeps: int) -> Tensor:
    return cavi_gaussian(mean, torch.linalg.inv(precision), start, n_sweeps)


def _late_weights(log_likelihood, z: Tensor, kernel, betas: Tensor) -> Tensor:
    total = torch.zeros_like(z[..., 0])
    for here, there in zip(betas[:-1].tolist(), betas[1:].tolist(), strict=True):
        z = kernel(z, there, None)
        total = total + (there - here) * log_likelihood(z)
    return total


def _whole_powers(log_likelihood, z: Tensor, kernel, betas: Tensor) -> Tensor:
    total = torch.zeros_like(z[..., 0])
    for there in betas[1:].tolist():
        total = total + there * log_likelihood(z)
        z = kernel(z, there, None)
    return total


def _own_baseline(f, mean: Tensor, std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    values = f(mean + std * noise)[:, None]
    return (values - values) * noise, (values - values) * noise


# --- the table ------------------------------------------------------------------------------------------------------

SUBJECTS = (
    subject(
        "importance-evidence",
        log_prob_is,
        ((LOG_WEIGHTS,),),
        {
            "is-mean-of-logs": lambda w: w.mean(0),
            "is-no-k": lambda w: w.logsumexp(0),
            "E3-031": lambda w: w[0],
            "is-averaged-over-data": lambda w: (w.logsumexp((0, 1)) - math.log(w.numel())).expand(w.shape[1]),
        },
    ),
    subject(
        "effective-sample-size",
        effective_sample_size,
        ((LOG_WEIGHTS,),),
        {
            "ess-no-square": lambda w: 1 / (2 * w).exp().sum(0),
            "ess-share": lambda w: effective_sample_size(w) / len(w),
            "ess-perplexity": lambda w: torch.special.entr(w.softmax(0)).sum(0).exp(),
        },
    ),
    subject(
        "elbo",
        elbo,
        ((LOG_JOINT, LOG_Q),),
        {
            "elbo-no-entropy": lambda joint, q: joint.mean(0),
            "elbo-entropy-sign": lambda joint, q: (joint + q).mean(0),
            "elbo-log-mean-exp": lambda joint, q: log_prob_is(joint - q),
            "elbo-mean-over-batch": lambda joint, q: (joint - q).mean(),
            "elbo-loss": lambda joint, q: (q - joint).mean(0),
        },
    ),
    subject(
        "renyi2-gaussian",
        renyi2_gaussian,
        (RENYI,),
        {
            "renyi2-swapped": lambda mp, cp, mq, cq: renyi2_gaussian(mq, cq, mp, cp),
            "renyi2-half-shift": lambda mp, cp, mq, cq: (
                (renyi2_gaussian(mp, cp, mq, cq) + renyi2_gaussian(torch.zeros_like(mp), cp, 0 * mq, cq)) / 2
            ),
        },
    ),
    subject(
        "gaussian-log-density",
        gaussian_log_prob,
        ((Z, MEAN, CHOL),),
        {
            "gaussian-log-density-covariance": lambda z, m, c: gaussian_log_prob(
                z, m, torch.linalg.cholesky(c @ c.mT @ c @ c.mT)
            ),
            "gaussian-log-density-no-det": lambda z, m, c: (
                gaussian_log_prob(z, m, c) + c.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            ),
            "gaussian-log-density-no-2pi": lambda z, m, c: gaussian_log_prob(z, m, c) + math.log(2 * math.pi),
        },
    ),
    subject(
        "gaussian-entropy",
        gaussian_entropy,
        ((CHOL,),),
        {
            "gaussian-entropy-no-e": lambda c: gaussian_entropy(c) - c.shape[-1] / 2,
            "gaussian-entropy-half-det": lambda c: gaussian_entropy(c) - c.diagonal(dim1=-2, dim2=-1).log().sum(-1) / 2,
        },
    ),
    subject(
        "reparameterize",
        reparameterize,
        ((MEAN, CHOL, Z),),
        {
            "E4-22": lambda m, c, e: m + (c @ c.mT).diagonal(dim1=-2, dim2=-1).sqrt() * e,
            "reparameterize-variance": lambda m, c, e: m + torch.einsum("bij,kbj->kbi", c @ c.mT, e),
            "reparameterize-transposed": lambda m, c, e: m + torch.einsum("bji,kbj->kbi", c, e),
            "reparameterize-one-noise": lambda m, c, e: reparameterize(m, c, e[:, :1].expand_as(e)),
        },
    ),
    subject(
        "elbo-linear",
        elbo_linear,
        ((WORLD, X, MEAN, CHOL),),
        {
            "elbo-linear-no-blur": lambda w, x, m, c: (
                elbo_linear(w, x, m, c) + (w.weight @ c).square().sum((-2, -1)) / (2 * w.noise_std**2)
            ),
            "elbo-linear-reconstruction-only": lambda w, x, m, c: (
                log_likelihood_linear(w, x, m[None])[0] - (w.weight @ c).square().sum((-2, -1)) / (2 * w.noise_std**2)
            ),
        },
    ),
    subject(
        "pathwise-gradient",
        pathwise_gradient,
        (GRADIENT,),
        {
            "pathwise-std-without-noise": lambda *a: (pathwise_gradient(*a)[0], pathwise_gradient(*a)[0]),
            "pathwise-std-in-mean": lambda f, m, s, e: (
                pathwise_gradient(f, m, s, e)[0] * s,
                pathwise_gradient(f, m, s, e)[1],
            ),
        },
    ),
    subject(
        "score-function-gradient",
        score_function_gradient,
        (GRADIENT,),
        {
            "score-function-no-score": lambda f, m, s, e: tuple(g * s for g in score_function_gradient(f, m, s, e)),
            "score-function-std-no-one": lambda f, m, s, e: (
                score_function_gradient(f, m, s, e)[0],
                f(m + s * e)[:, None] * e.square() / s,
            ),
            "score-function-own-baseline": _own_baseline,
        },
    ),
    subject(
        "best-baseline",
        best_baseline,
        ((_t(1.0, 4.0, 0.5), _t((0.3, -1.0), (1.2, 0.1), (-0.4, 0.8)), _t(0.2, 0.3, 0.5)),),
        {
            "best-baseline-mean": lambda f, s, w: (w @ f).expand(s.shape[1]),
        },
    ),
    subject(
        "cavi-gaussian",
        cavi_gaussian,
        ((_t(1.0, -1.0, 0.5), _t((2.0, 0.9, 0.3), (0.9, 1.0, -0.2), (0.3, -0.2, 1.5)), _t(0.0, 0.0, 0.0), 3),),
        {
            "cavi-simultaneous": _jacobi,
            "cavi-covariance": _by_covariance,
        },
    ),
    subject(
        "tempered-posterior",
        tempered_posterior,
        ((WORLD, X, 0.4),),
        {
            "tempered-prior-too": lambda w, x, b: (w.posterior(x)[0], w.posterior(x)[1] / b),
            "tempered-mean-unscaled": lambda w, x, b: (
                tempered_posterior(w, x, b)[0] / b,
                tempered_posterior(w, x, b)[1],
            ),
        },
    ),
    subject(
        "tempered-step",
        tempered_step,
        ((WORLD, X, Z, 0.4, 0.6, Z.flip(0)),),
        {
            "tempered-step-linear-mix": lambda w, x, z, b, r, e: tempered_step(
                w, x, z, b, r, e * (1 - r) / math.sqrt(1 - r * r)
            ),
            "tempered-step-no-recentring": lambda w, x, z, b, r, e: (
                tempered_step(w, x, z, b, r, e) - (1 - r) * tempered_posterior(w, x, b)[0]
            ),
        },
    ),
    subject(
        "annealed-importance",
        annealed_importance,
        (AIS,),
        {
            "ais-late-weight": _late_weights,
            "ais-whole-power": _whole_powers,
        },
    ),
)
