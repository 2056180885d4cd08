"""Example calls of `dgmlib.estimation`."""

import torch
from exact import f64, rng

from dgmlib import estimation

BITS = f64((0, 1, 1), (1, 0, 1), (0, 0, 1), (1, 1, 0))
GREY = torch.tensor([[0, 1], [2, 1], [2, 0]])
TABLE = f64((0.2, 0.3, 0.5), (0.6, 0.3, 0.1))
X = torch.randn(6, 2, generator=rng(0), dtype=torch.float64)
Y, EYE = X[:, 0] - X[:, 1], torch.eye(2, dtype=torch.float64)


def loss(theta):
    return theta.square().sum()


def log_prob(theta, x):
    return -(x - theta).square().sum()


CALLS = {
    "bernoulli_mle": (estimation.bernoulli_mle, {"x": BITS}),
    "categorical_mle": (estimation.categorical_mle, {"x": GREY, "levels": 3}),
    "gaussian_mle": (estimation.gaussian_mle, {"x": X}),
    "least_squares": (estimation.least_squares, {"features": X, "y": Y}),
    "gradient_descent": (estimation.gradient_descent, {"loss": loss, "start": Y, "step_size": 0.1, "n_steps": 3}),
    "newton": (estimation.newton, {"loss": loss, "start": Y, "n_steps": 3}),
    "score_moments": (
        estimation.score_moments,
        {"log_prob": log_prob, "theta": X[0], "x": X[:3], "weights": TABLE[0]},
        {key: {"one column more", "one row more"} for key in ("theta", "x")},  # the sizes are log_prob's own affair
    ),
    "sandwich": (estimation.sandwich, {"score_second_moment": EYE, "curvature": 2 * EYE}),
    "monte_carlo": (estimation.monte_carlo, {"values": Y}),
    "beta_posterior": (estimation.beta_posterior, {"x": BITS, "a": 0.5, "b": 0.5}),
    "beta_mode": (estimation.beta_mode, {"a": 2.0, "b": 3.0, "jacobian_power": 0.5}),
    "categorical_predictive": (
        estimation.categorical_predictive,
        {"x": GREY, "levels": 3, "concentration": 0.5},
    ),
    "normal_posterior": (
        estimation.normal_posterior,
        {"x": Y, "variance": 1.0, "prior_mean": 0.5, "prior_variance": 2.0},
    ),
    "gaussian_map": (estimation.gaussian_map, {"x": X, "scale": 1.0, "degrees": 3.0}),
    "ridge": (estimation.ridge, {"features": X, "y": Y, "penalty": 0.1}),
    "soft_threshold": (estimation.soft_threshold, {"u": X, "threshold": 0.1}, {"threshold": {"infinite"}}),
    "lasso": (estimation.lasso, {"features": X, "y": Y, "penalty": 0.1, "n_sweeps": 3}),
    "bernoulli_log_prob": (estimation.bernoulli_log_prob, {"x": BITS, "probs": TABLE[0]}),
    "categorical_log_prob": (estimation.categorical_log_prob, {"x": GREY, "probs": TABLE}),
    "bits_per_dim": (estimation.bits_per_dim, {"log_prob": Y, "d": 3, "levels": 2}, {"log_prob": {"NaN", "infinite"}}),
    "code_lengths": (estimation.code_lengths, {"p": TABLE[0]}),
    "predicted_zero_share": (estimation.predicted_zero_share, {"x": BITS}),
}
