"""Example calls of `dgmlib.worlds`."""

import torch
from exact import f64, rng

from dgmlib import worlds

X = f64((1.0, 2.0), (0.5, -1.0), (0.0, 3.0))
EYE, COV = torch.eye(2, dtype=torch.float64), f64((2.0, 0.5), (0.5, 1.0))
LINEAR = worlds.LinearGaussian([[1.0], [0.5]], [0.1, 0.0], 0.5)
MIXTURE = worlds.GaussianMixture([0.3, 0.7], [[0.0, 1.0], [2.0, 0.0]], torch.stack([EYE, COV]))
LAW = worlds.even_parity(3)
GRID, OU, CIRCLE = worlds.Grid2d(4.0, 5), worlds.OrnsteinUhlenbeck(1.0, 0.5), worlds.Circle(0.3)
CHAIN = f64((0.5, 0.5), (0.2, 0.8))
NOISE = {"alpha": 0.8, "sigma": 0.6}

CALLS = {
    "schur_complement": (worlds.schur_complement, {"matrix": COV, "drop": [1]}),
    "condition": (worlds.condition, {"mean": X[0], "cov": COV, "given": [1], "value": f64(0.3)}),
    "gaussian_product": (worlds.gaussian_product, {"mean_a": X[0], "cov_a": COV, "mean_b": X[1], "cov_b": EYE}),
    "LinearGaussian": (worlds.LinearGaussian, {"weight": f64((1.0,), (0.5,)), "mean": X[0], "noise_std": 0.5}),
    "LinearGaussian.log_prob": (LINEAR.log_prob, {"x": X}),
    "LinearGaussian.score": (LINEAR.score, {"x": X}),
    "LinearGaussian.posterior": (LINEAR.posterior, {"x": X}),
    "LinearGaussian.sample": (LINEAR.sample, {"n": 3, "generator": rng(0)}),
    "GaussianMixture": (
        worlds.GaussianMixture,
        {"weights": f64(0.3, 0.7), "means": X[:2], "covs": torch.stack([EYE, COV])},
    ),
    "GaussianMixture.log_prob": (MIXTURE.log_prob, {"x": X}),
    "GaussianMixture.responsibilities": (MIXTURE.responsibilities, {"x": X}),
    "GaussianMixture.score": (MIXTURE.score, {"x": X}),
    "GaussianMixture.sample": (MIXTURE.sample, {"n": 3, "generator": rng(0)}),
    "GaussianMixture.noised": (MIXTURE.noised, NOISE),
    "GaussianMixture.denoiser": (MIXTURE.denoiser, {"x": X, **NOISE}),
    "GaussianMixture.mmse": (MIXTURE.mmse, NOISE),
    "bit_states": (worlds.bit_states, {"d": 3}),
    "DiscreteLaw": (worlds.DiscreteLaw, {"probs": f64(0.1, 0.2, 0.3, 0.4)}),
    "DiscreteLaw.log_prob": (LAW.log_prob, {"x": f64((0, 1, 1))}),
    "DiscreteLaw.sample": (LAW.sample, {"n": 3, "generator": rng(0)}),
    "DiscreteLaw.marginal": (LAW.marginal, {"bits": [2, 0]}),
    "DiscreteLaw.conditional": (LAW.conditional, {"given": {0: 1}}),
    "DiscreteLaw.mutual_information": (LAW.mutual_information, {"a": [0], "b": [1, 2]}),
    "even_parity": (worlds.even_parity, {"d": 3}),
    "Grid2d": (worlds.Grid2d, {"extent": 4.0, "n": 5, "device": "cpu"}),
    "Grid2d.integrate": (GRID.integrate, {"log_f": GRID.points.sum(1)}, {"log_f": {"NaN", "infinite"}}),
    "Grid2d.posterior": (GRID.posterior, {"log_likelihood": GRID.points.T}, {"log_likelihood": {"NaN", "infinite"}}),
    "OrnsteinUhlenbeck": (worlds.OrnsteinUhlenbeck, {"rate": 1.0, "diffusion": 0.5, "mean": 0.1}),
    "OrnsteinUhlenbeck.transition": (OU.transition, {"x": X, "t": 0.5}),
    "OrnsteinUhlenbeck.autocovariance": (OU.autocovariance, {"lag": X}),
    "OrnsteinUhlenbeck.sample": (OU.sample, {"times": f64(0.0, 0.5), "n": 3, "start": 0.1, "generator": rng(0)}),
    "Circle": (worlds.Circle, {"sigma": 0.3}),
    "Circle.log_prob": (CIRCLE.log_prob, {"x": X}),
    "Circle.denoiser": (CIRCLE.denoiser, {"x": X}),
    "Circle.score": (CIRCLE.score, {"x": X}),
    "Circle.sample": (CIRCLE.sample, {"n": 3, "generator": rng(0)}),
    "stationary": (worlds.stationary, {"transition": CHAIN}),
    "time_reversal": (worlds.time_reversal, {"transition": CHAIN}),
    "net_flux": (worlds.net_flux, {"transition": CHAIN}),
}
