"""Wrong variants of `dgmlib.estimation` (chapter 03)."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.special import xlogy

from dgmlib.bugs import subject
from dgmlib.estimation import (
    bernoulli_log_prob,
    beta_mode,
    beta_posterior,
    bits_per_dim,
    categorical_mle,
    categorical_predictive,
    code_lengths,
    gaussian_map,
    gaussian_mle,
    lasso,
    least_squares,
    monte_carlo,
    newton,
    normal_posterior,
    predicted_zero_share,
    ridge,
    sandwich,
    score_moments,
    soft_threshold,
)

CHAPTER = "03"

_float64 = partial(torch.tensor, dtype=torch.float64)

POINTS = _float64([[1.0, 2.0], [-0.5, 0.3], [2.5, 1.1], [0.2, -1.4], [3.0, 0.9]])
BITS = _float64([[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]])
GREY = torch.tensor([[0, 2], [3, 2], [1, 2], [0, 1], [0, 3]])
VALUES = _float64([0.3, -1.2, 4.0, 2.2, 0.7, 1.9])
TARGETS = _float64([1.0, -2.0, 0.5, 3.0, 1.2])
A, B = _float64([[2.0, 0.3], [0.3, 0.8]]), _float64([[1.5, -0.4], [-0.4, 2.2]])


# --- variants that need more than one expression --------------------------------------------------------------------


def _gaussian_uncentred(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.T @ x / x.shape[0]


def _gaussian_root(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, cov = gaussian_mle(x)
    return mean, cov.diagonal().sqrt().diag()


def _numerator_only(x: Tensor, levels: int, concentration: float) -> Tensor:
    n = x.shape[0]
    return (categorical_mle(x, levels) * n + concentration) / n


def _dirichlet_mode(x: Tensor, levels: int, concentration: float) -> Tensor:
    n = x.shape[0]
    return (categorical_mle(x, levels) * n + concentration - 1) / (n + levels * (concentration - 1))


def _weights_exchanged(x: Tensor, variance: float, prior_mean: float, prior_variance: float) -> tuple[Tensor, Tensor]:
    posterior_variance = normal_posterior(x, variance, prior_mean, prior_variance)[1]
    weight = posterior_variance / prior_variance
    return (1 - weight) * prior_mean + weight * x.mean(), posterior_variance


def _one_datum(x: Tensor, variance: float, prior_mean: float, prior_variance: float) -> tuple[Tensor, Tensor]:
    return normal_posterior(x.mean()[None], variance, prior_mean, prior_variance)


def _predictive(x: Tensor, variance: float, prior_mean: float, prior_variance: float) -> tuple[Tensor, Tensor]:
    posterior_mean, posterior_variance = normal_posterior(x, variance, prior_mean, prior_variance)
    return posterior_mean, posterior_variance + variance


def _inverse_wishart_mean(x: Tensor, scale: float, degrees: float) -> tuple[Tensor, Tensor]:
    return gaussian_map(x, scale, degrees - 2 * (x.shape[1] + 1))


def _averaged_covariance(x: Tensor, scale: float, degrees: float) -> tuple[Tensor, Tensor]:
    mean, cov = gaussian_mle(x)
    return mean, (cov + scale * torch.eye(x.shape[1], dtype=x.dtype)) / (1 + degrees + x.shape[1] + 1)


def _newton_without_inverse(loss, start: Tensor, n_steps: int) -> Tensor:
    path = [start]
    for _ in range(n_steps):
        path.append(path[-1] - torch.func.jacrev(torch.func.grad(loss))(path[-1]) @ torch.func.grad(loss)(path[-1]))
    return torch.stack(path)


def _newton_diagonal(loss, start: Tensor, n_steps: int) -> Tensor:
    path = [start]
    for _ in range(n_steps):
        path.append(
            path[-1] - torch.func.grad(loss)(path[-1]) / torch.func.jacrev(torch.func.grad(loss))(path[-1]).diagonal()
        )
    return torch.stack(path)


def _newton_ascent(loss, start: Tensor, n_steps: int) -> Tensor:
    path = [start]
    for _ in range(n_steps):
        path.append(2 * path[-1] - newton(loss, path[-1], 1)[1])
    return torch.stack(path)


def _moments_with_mean_outside(log_prob, theta: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score, _, curvature = score_moments(log_prob, theta, x, weights)
    return score, torch.outer(score, score), curvature


def _moments_curvature_sign(log_prob, theta: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score, second_moment, curvature = score_moments(log_prob, theta, x, weights)
    return score, second_moment, -curvature


def _moments_unweighted(log_prob, theta: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return score_moments(log_prob, theta, x, torch.full_like(weights, 1 / len(weights)))


def _skewed_quadratic(theta: Tensor) -> Tensor:
    return theta @ A @ theta / 2 + theta.pow(4).sum() / 10 - theta[0]


def _normal_log_prob(theta: Tensor, x: Tensor) -> Tensor:
    return -(x - theta[0]).square() * torch.exp(-2 * theta[1]) / 2 - theta[1]


# --- the table ------------------------------------------------------------------------------------------------------

SUBJECTS = (
    subject(
        "gaussian-mle",
        gaussian_mle,
        ((POINTS,), (VALUES[:, None],)),
        {
            "E0-11": lambda x: (x.mean(0), gaussian_mle(x)[1] * x.shape[0] / (x.shape[0] - 1)),
            "gaussian-mle-uncentred": _gaussian_uncentred,
            "gaussian-mle-std": _gaussian_root,
            "gaussian-mle-sum": lambda x: (x.mean(0), gaussian_mle(x)[1] * x.shape[0]),
        },
    ),
    subject(
        "least-squares",
        least_squares,
        ((POINTS, TARGETS),),
        {
            "least-squares-ridge": lambda features, y: ridge(features, y, 1e-3),
            "least-squares-marginal": lambda features, y: (features.T @ y) / features.square().sum(0),
        },
    ),
    subject(
        "newton",
        newton,
        ((_skewed_quadratic, _float64([1.5, -0.5]), 2),),
        {
            "newton-no-inverse": _newton_without_inverse,
            "newton-diagonal": _newton_diagonal,
            "newton-sign": _newton_ascent,
        },
    ),
    subject(
        "fisher-information",
        score_moments,
        ((_normal_log_prob, _float64([0.4, 0.2]), VALUES, _float64([0.3, 0.1, 0.05, 0.15, 0.2, 0.2])),),
        {
            "fisher-information-mean-first": _moments_with_mean_outside,
            "fisher-information-sign": _moments_curvature_sign,
            "fisher-information-unweighted": _moments_unweighted,
        },
    ),
    subject(
        "sandwich",
        sandwich,
        ((B, A),),
        {
            "sandwich-inverse-curvature": lambda second_moment, curvature: torch.linalg.inv(curvature),
            "sandwich-inverse-score": lambda second_moment, curvature: torch.linalg.inv(second_moment),
            "sandwich-inside-out": lambda second_moment, curvature: sandwich(curvature, second_moment),
            "sandwich-no-inverse": lambda second_moment, curvature: curvature @ second_moment @ curvature,
        },
    ),
    subject(
        "monte-carlo",
        monte_carlo,
        ((VALUES,),),
        {
            "monte-carlo-std": lambda values: (values.mean(), values.std()),
            "monte-carlo-biased": lambda values: (values.mean(), values.std(correction=0) / math.sqrt(len(values))),
            "monte-carlo-variance": lambda values: (values.mean(), values.var() / len(values)),
            "monte-carlo-over-n": lambda values: (values.mean(), values.std() / len(values)),
        },
    ),
    subject(
        "beta-posterior",
        beta_posterior,
        ((BITS, 2.0, 5.0),),
        {
            "beta-posterior-swapped": lambda x, a, b: beta_posterior(1 - x, a, b),
            "beta-posterior-shares": lambda x, a, b: (a + x.mean(0), b + 1 - x.mean(0)),
            "beta-posterior-n": lambda x, a, b: (a + x.sum(0), b + torch.full_like(x.sum(0), len(x))),
        },
    ),
    subject(
        "map",
        beta_mode,
        ((4.0, 8.0, 0.0), (4.0, 8.0, 1.0), (_float64([2.5, 6.0]), _float64([3.0, 2.2]), 0.5)),
        {
            "E0-12": lambda a, b, jacobian_power: beta_mode(a, b),
            "map-mean": lambda a, b, jacobian_power: a / (a + b),
            "map-jacobian-inverted": lambda a, b, jacobian_power: beta_mode(a, b, -jacobian_power),
            "map-add-one": lambda a, b, jacobian_power: beta_mode(a + 2, b + 2, jacobian_power),
        },
    ),
    subject(
        "categorical-predictive",
        categorical_predictive,
        ((GREY, 4, 1.5), (GREY, 5, 2.0)),
        {
            "predictive-numerator-only": _numerator_only,
            "predictive-one-count": lambda x, levels, concentration: (
                _numerator_only(x, levels, concentration) * len(x) / (len(x) + concentration)
            ),
            "predictive-mode": _dirichlet_mode,
            "predictive-shared": lambda x, levels, concentration: categorical_predictive(
                x, levels, concentration / levels
            ),
            "predictive-none": lambda x, levels, concentration: categorical_mle(x, levels),
        },
    ),
    subject(
        "normal-posterior",
        normal_posterior,
        ((VALUES, 1.7, 0.5, 0.6),),
        {
            "normal-posterior-one-datum": _one_datum,
            "normal-posterior-squared-scale": lambda x, variance, prior_mean, prior_variance: normal_posterior(
                x, variance**2, prior_mean, prior_variance**2
            ),
            "normal-posterior-weights": _weights_exchanged,
            "normal-posterior-predictive": _predictive,
        },
    ),
    subject(
        "gaussian-map",
        gaussian_map,
        ((POINTS, 0.7, 9.0),),
        {
            "gaussian-map-mean": _inverse_wishart_mean,
            "gaussian-map-no-prior": lambda x, scale, degrees: gaussian_mle(x),
            "gaussian-map-one-datum": _averaged_covariance,
        },
    ),
    subject(
        "ridge",
        ridge,
        ((POINTS, TARGETS, 0.8),),
        {
            "ridge-mean-loss": lambda features, y, penalty: ridge(features, y, penalty * len(y)),
            "ridge-over-n": lambda features, y, penalty: ridge(features, y, penalty / len(y)),
            "ridge-half-loss": lambda features, y, penalty: ridge(features, y, 2 * penalty),
            "ridge-squared": lambda features, y, penalty: ridge(features, y, penalty**2),
        },
    ),
    subject(
        "soft-threshold",
        soft_threshold,
        ((_float64([-2.0, -0.3, 0.0, 0.4, 3.0]), 0.5),),
        {
            "soft-threshold-hard": lambda u, threshold: torch.where(u.abs() > threshold, u, 0.0),
            "soft-threshold-one-sided": lambda u, threshold: (u - threshold).clamp(min=0),
            "soft-threshold-no-clamp": lambda u, threshold: u.sign() * (u.abs() - threshold),
        },
    ),
    subject(
        "lasso",
        lasso,
        ((POINTS, TARGETS, 0.5),),
        {
            "lasso-mean-loss": lambda features, y, penalty: lasso(features, y, penalty * len(y)),
            "lasso-whole-square": lambda features, y, penalty: lasso(features, y, penalty / 2),
            "lasso-thresholded-fit": lambda features, y, penalty: soft_threshold(least_squares(features, y), penalty),
        },
    ),
    subject(
        "bernoulli-log-prob",
        bernoulli_log_prob,
        ((BITS, _float64([0.8, 0.3, 0.4, 0.1])), (BITS, _float64([0.6, 0.5, 0.2, 0.05]))),
        {
            "bernoulli-mean": lambda x, probs: bernoulli_log_prob(x, probs) / x.shape[1],
            "bernoulli-sign": lambda x, probs: -bernoulli_log_prob(x, probs),
            "bernoulli-ones-only": lambda x, probs: xlogy(x, probs).sum(-1),
            "bernoulli-double-sigmoid": lambda x, probs: bernoulli_log_prob(x, probs.sigmoid()),
            "bernoulli-batch-mean": lambda x, probs: bernoulli_log_prob(x, probs).mean(),
        },
    ),
    subject(
        "bits-per-dim",
        bits_per_dim,
        ((_float64([-310.0, -402.5]), 64, 16), (_float64([-20.0, 3.0]), 12, 256)),
        {
            "bits-nats": lambda log_prob, d, levels: -log_prob / d + math.log(levels),
            "bits-no-offset": lambda log_prob, d, levels: bits_per_dim(log_prob, d),
            "bits-offset-sign": lambda log_prob, d, levels: bits_per_dim(log_prob, d) - math.log2(levels),
            "bits-per-image": lambda log_prob, d, levels: bits_per_dim(log_prob, d, levels) * d,
            "bits-offset-over-d": lambda log_prob, d, levels: bits_per_dim(log_prob, d) + math.log2(levels) / d,
            "bits-sign": lambda log_prob, d, levels: bits_per_dim(-log_prob, d, levels),
        },
    ),
    subject(
        "code-length",
        code_lengths,
        ((_float64([0.55, 0.2, 0.15, 0.1]),),),
        {
            "code-length-rounded": lambda p: (-p.log2()).round(),
            "code-length-ideal": lambda p: -p.log2(),
            "code-length-nats": lambda p: (-p.log()).ceil(),
            "code-length-uniform": lambda p: torch.full_like(p, math.ceil(math.log2(len(p)))),
        },
    ),
    subject(
        "predicted-zeros",
        predicted_zero_share,
        ((BITS,),),
        {
            "predicted-zeros-on-train": lambda x: 0.0,
            "predicted-zeros-pixels": lambda x: ((x.sum(0) == 1) | (x.sum(0) == len(x) - 1)).double().mean().item(),
            "predicted-zeros-ones-only": lambda x: ((x == 1) & (x.sum(0) == 1)).any(-1).double().mean().item(),
        },
    ),
)
