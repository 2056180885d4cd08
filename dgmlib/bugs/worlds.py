"""Wrong variants of `dgmlib.worlds` (chapter A)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import subject
from dgmlib.worlds import (
    LOG_2PI,
    Circle,
    DiscreteLaw,
    GaussianMixture,
    Grid2d,
    LinearGaussian,
    OrnsteinUhlenbeck,
    bars_and_stripes,
    condition,
    gaussian_product,
    schur_complement,
    time_reversal,
)

CHAPTER = "A"


def _f64(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- Gaussian algebra -----------------------------------------------------------------------------------------------


def _condition_uncut(mean, cov, given, value):
    keep = [i for i in range(len(mean)) if i not in given]
    return condition(mean, cov, given, value)[0], cov[keep][:, keep]


def _condition_sign(mean, cov, given, value):
    keep = [i for i in range(len(mean)) if i not in given]
    return condition(mean, cov, given, value)[0], 2 * cov[keep][:, keep] - schur_complement(cov, given)


def _condition_uncentred(mean, cov, given, value):
    return condition(mean, cov, given, value + mean[given])


def _product_as_sum(mean_a, cov_a, mean_b, cov_b):
    return mean_a + mean_b, cov_a + cov_b, gaussian_product(mean_a, cov_a, mean_b, cov_b)[2]


def _product_unscaled(mean_a, cov_a, mean_b, cov_b):
    mean, cov, log_scale = gaussian_product(mean_a, cov_a, mean_b, cov_b)
    return mean, cov, torch.zeros_like(log_scale)


_COV = _f64([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 1.5]])
_MEAN = _f64([1.0, -1.0, 0.5])


# --- linear-Gaussian ------------------------------------------------------------------------------------------------


def _linear_posterior(model, x, variance, prior_precision=1.0):
    gram = model.weight.T @ model.weight
    cov = torch.linalg.inv(prior_precision * torch.eye(model.k, dtype=torch.float64) + gram / variance)
    return (x - model.mean) @ model.weight @ cov / variance, cov


_LINEAR = LinearGaussian([[1.0, 0.2], [-0.5, 0.8], [0.3, 1.1]], [0.5, 0.0, -1.0], 0.6)
_X3 = _f64([[0.3, -1.0, 0.7], [1.5, 0.4, -0.2]])


# --- mixture --------------------------------------------------------------------------------------------------------


def _tweedie(mixture, x, alpha, sigma, weight, scale, noised=True):
    score = (mixture.noised(alpha, sigma) if noised else mixture).score(x)
    return (x + weight * score) / scale


def noised_log_prob(mixture, alpha, sigma, x):
    """Log density of alpha x_0 + sigma eps at `x`."""
    return mixture.noised(alpha, sigma).log_prob(x)


def _noised(mixture, x, mean_rate, cov_rate, variance):
    eye = torch.eye(mixture.d, dtype=torch.float64)
    return GaussianMixture(
        mixture.weights, mean_rate * mixture.means, cov_rate * mixture.covs + variance * eye
    ).log_prob(x)


_MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [2.0, 0.0]], [[[0.5, 0.2], [0.2, 0.4]], [[0.3, 0.0], [0.0, 0.6]]])
_X2 = _f64([[0.3, -1.0], [1.5, 0.4], [-0.7, 0.9]])


# --- bits, plane, Ornstein-Uhlenbeck, circle, chain -----------------------------------------------------------------


def _grid_posterior(grid, log_likelihood, log_cell, prior):
    log_joint = log_likelihood + prior * (-LOG_2PI - 0.5 * grid.points.square().sum(1))
    return log_joint.logsumexp(-1) + log_cell, log_joint.softmax(-1)


_GRID = Grid2d(6.0, 41)
_LIKELIHOOD = torch.distributions.Normal(_GRID.points @ _LINEAR.weight.T + _LINEAR.mean, 0.6)
_GRID_VALUES = _LIKELIHOOD.log_prob(_X3[:, None]).sum(-1)


def _transition(ou, x, t, variance):
    return ou.transition(x, t)[0], torch.tensor(variance, dtype=torch.float64)


def _circle(circle, x, exponent, bessel_argument):
    r = torch.linalg.vector_norm(x, dim=1)
    bessel = torch.special.i0(r / bessel_argument).log()
    return -exponent * math.log(2 * math.pi * circle.sigma**2) - (r**2 + 1) / (2 * circle.sigma**2) + bessel


_CHAIN = _f64([[0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.4, 0.1, 0.5]])

SUBJECTS = (
    subject(
        "gaussian-condition",
        condition,
        ((_MEAN, _COV, [2], _f64([1.2])), (_MEAN, _COV, [2, 0], _f64([1.2, -0.4]))),
        {
            "condition-covariance-uncut": _condition_uncut,
            "schur-sign": _condition_sign,
            "condition-value-uncentred": _condition_uncentred,
        },
    ),
    subject(
        "gaussian-product",
        gaussian_product,
        ((_MEAN, _COV, -_MEAN, 0.5 * _COV + torch.eye(3, dtype=torch.float64)),),
        {
            "product-as-sum": _product_as_sum,
            "product-scale-forgotten": _product_unscaled,
        },
    ),
    subject(
        "linear-posterior",
        LinearGaussian.posterior,
        ((_LINEAR, _X3),),
        {
            "posterior-sigma-for-variance": lambda model, x: _linear_posterior(model, x, model.noise_std),
            "posterior-prior-forgotten": lambda model, x: _linear_posterior(
                model, x, model.noise_std**2, prior_precision=0.0
            ),
        },
    ),
    subject(
        "noised-mixture",
        noised_log_prob,
        ((_MIXTURE, 0.6, 0.7, _X2),),
        {
            "noised-means-unscaled": lambda mixture, alpha, sigma, x: _noised(mixture, x, 1.0, alpha**2, sigma**2),
            "noised-alpha-for-square": lambda mixture, alpha, sigma, x: _noised(mixture, x, alpha, alpha, sigma**2),
            "noised-sigma-for-variance": lambda mixture, alpha, sigma, x: _noised(mixture, x, alpha, alpha**2, sigma),
        },
        of=GaussianMixture.noised,
    ),
    subject(
        "mixture-denoiser",
        GaussianMixture.denoiser,
        ((_MIXTURE, _X2, 0.6, 0.7),),
        {
            "tweedie-alpha-forgotten": lambda mixture, x, alpha, sigma: _tweedie(
                mixture, x, alpha, sigma, sigma**2, 1.0
            ),
            "tweedie-sigma-for-variance": lambda mixture, x, alpha, sigma: _tweedie(
                mixture, x, alpha, sigma, sigma, alpha
            ),
            "tweedie-sign": lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, -(sigma**2), alpha),
            "tweedie-clean-score": lambda mixture, x, alpha, sigma: _tweedie(
                mixture, x, alpha, sigma, sigma**2, alpha, noised=False
            ),
        },
    ),
    subject(
        "bit-entropy",
        DiscreteLaw.entropy,
        ((bars_and_stripes(),), (DiscreteLaw([0.125, 0.25, 0.5, 0.125]),)),
        {
            "entropy-bits": lambda law: torch.special.entr(law.probs).sum() / math.log(2),
        },
    ),
    subject(
        "grid-posterior",
        Grid2d.posterior,
        ((_GRID, _GRID_VALUES),),
        {
            "grid-cell-forgotten": lambda grid, values: _grid_posterior(grid, values, 0.0, 1.0),
            "grid-prior-forgotten": lambda grid, values: _grid_posterior(grid, values, grid.log_cell, 0.0),
        },
    ),
    subject(
        "ou-transition",
        OrnsteinUhlenbeck.transition,
        ((OrnsteinUhlenbeck(0.8, 1.3, 0.5), _f64([-1.0, 2.0]), 0.7),),
        {
            "ou-two-forgotten": lambda ou, x, t: _transition(
                ou, x, t, ou.diffusion**2 * -math.expm1(-2 * ou.rate * t) / ou.rate
            ),
            "ou-decay-once": lambda ou, x, t: _transition(
                ou, x, t, ou.diffusion**2 * -math.expm1(-ou.rate * t) / (2 * ou.rate)
            ),
            "ou-brownian": lambda ou, x, t: _transition(ou, x, t, ou.diffusion**2 * t),
        },
    ),
    subject(
        "circle-log-prob",
        Circle.log_prob,
        ((Circle(0.6), _X2),),
        {
            "circle-normaliser-of-a-line": lambda circle, x: _circle(circle, x, 0.5, circle.sigma**2),
            "circle-bessel-sigma": lambda circle, x: _circle(circle, x, 1.0, circle.sigma),
        },
    ),
    subject(
        "time-reversal",
        time_reversal,
        ((_CHAIN,),),
        {
            "reversal-transposed": lambda transition: transition.T / transition.T.sum(1, keepdim=True),
        },
    ),
)
