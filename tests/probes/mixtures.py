"""Example calls of `dgmlib.mixtures`."""

import torch
from exact import f64, normal, rng

from dgmlib import mixtures as mix

X, Q = normal(8, 2), normal(8, 2, seed=1).softmax(1)
BITS, HALF = (X > 0).double(), f64(0.5, 0.5)
FULL = {"weights": HALF, "means": f64((0.0, 1.0), (1.0, -1.0)), "covs": torch.eye(2).double().expand(2, 2, 2)}
GAUSSIANS = mix.Gaussians(**FULL)
COINS = mix.Bernoullis(HALF, f64((0.2, 0.7), (0.6, 0.4)), prior_counts=0.1)
COV, LOADINGS = f64((2.0, 0.5), (0.5, 1.0)), f64((1.0,), (0.4,))
ANY = {"NaN", "infinite"}

CALLS = {
    "evidence": (mix.evidence, {"log_joint": X}, {"log_joint": ANY}),
    "responsibilities": (mix.responsibilities, {"log_joint": X}, {"log_joint": ANY}),
    "elbo": (mix.elbo, {"log_joint": X, "q": Q}, {"log_joint": ANY}),
    "em_step": (mix.em_step, {"mixture": GAUSSIANS, "x": X, "data_weights": torch.ones(8).double()}),
    "expectation_maximisation": (
        mix.expectation_maximisation,
        {"start": COINS, "x": BITS, "data_weights": torch.ones(8).double(), "n_steps": 3, "tol": 1e-3},
    ),
    "best_of": (
        mix.best_of,
        {
            "start": lambda: COINS,
            "x": BITS,
            "n_init": 2,
            "data_weights": torch.ones(8).double(),
            "n_steps": 3,
            "tol": 1e-3,
        },
    ),
    "kmeans_plus_plus": (mix.kmeans_plus_plus, {"x": X, "k": 2, "generator": rng(0)}),
    "kmeans": (mix.kmeans, {"x": X, "means": X[:2], "n_steps": 3}),
    "Gaussians": (mix.Gaussians, FULL | {"covariance": "full", "floor": 0.1}),
    "Gaussians.log_joint": (GAUSSIANS.log_joint, {"x": X}),
    "Gaussians.maximised": (GAUSSIANS.maximised, {"x": X, "counts": Q}),
    "Gaussians.sample": (GAUSSIANS.sample, {"n": 3, "generator": rng(0)}),
    "floored": (mix.floored, {"covs": COV, "floor": 0.1, "matrices": True}),
    "gaussians": (mix.gaussians, {"x": X, "means": X[:2], "covariance": "diagonal", "floor": 0.1, "generator": rng(0)}),
    "Bernoullis": (mix.Bernoullis, {"weights": HALF, "probs": COINS.probs, "prior_counts": 0.1}),
    "Bernoullis.log_joint": (COINS.log_joint, {"x": BITS, "seen": BITS}),
    "Bernoullis.maximised": (COINS.maximised, {"x": BITS, "counts": Q}),
    "Bernoullis.sample": (COINS.sample, {"n": 3, "generator": rng(0)}),
    "Bernoullis.completed": (COINS.completed, {"x": BITS, "seen": BITS}),
    "factor_step": (
        mix.factor_step,
        {"cov": COV, "weight": LOADINGS, "noise": f64(0.5, 0.7), "isotropic": False, "floor": 0.1},
    ),
}
