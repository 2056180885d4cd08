"""Example calls of `dgmlib.vi`."""

import torch
from exact import f64, normal, rng

from dgmlib import vi
from dgmlib.worlds import LinearGaussian

WORLD = LinearGaussian([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5]], [0.1, -0.2, 0.3], 0.6)
X, MEAN, Z, WEIGHTS = normal(4, 3), normal(4, 2), normal(5, 4, 2), normal(3, 4)
EYE = torch.eye(2, dtype=torch.float64)
CHOL = 0.7 * EYE.repeat(4, 1, 1)
STD = f64(1.0, 2.0)
ANY = {"NaN", "infinite"}  # log-weights, draws and noise are computed, not data: see the module


def height(z):
    return z.sum(-1)


def bowl(z):
    return -z.square().sum(-1)


CALLS = {
    "log_mean_exp": (vi.log_mean_exp, {"log_weights": WEIGHTS, "dim": 0}, {"log_weights": ANY}),
    "log_prob_is": (vi.log_prob_is, {"log_weights": WEIGHTS}, {"log_weights": ANY}),
    "iwae_bound": (vi.iwae_bound, {"log_weights": WEIGHTS}, {"log_weights": ANY}),
    "effective_sample_size": (vi.effective_sample_size, {"log_weights": WEIGHTS}, {"log_weights": ANY}),
    "elbo": (vi.elbo, {"log_joint": WEIGHTS, "log_q": WEIGHTS + 1}, {"log_joint": ANY, "log_q": ANY}),
    "renyi2_gaussian": (vi.renyi2_gaussian, {"mean_p": X[0, :2], "cov_p": EYE, "mean_q": X[1, :2], "cov_q": 2 * EYE}),
    "gaussian_sample": (
        vi.gaussian_sample,
        {"mean": MEAN, "chol": CHOL, "n_samples": 3, "generator": rng(0)},
        {"mean": ANY, "chol": ANY},
    ),
    "reparameterize": (
        vi.reparameterize,
        {"mean": MEAN, "chol": CHOL, "noise": Z},
        {"mean": ANY, "chol": ANY, "noise": ANY},
    ),
    "gaussian_log_prob": (
        vi.gaussian_log_prob,
        {"z": Z, "mean": MEAN, "chol": CHOL},
        {"z": ANY, "mean": ANY, "chol": ANY},
    ),
    "gaussian_entropy": (vi.gaussian_entropy, {"chol": CHOL}, {"chol": ANY}),
    "standard_normal_log_prob": (vi.standard_normal_log_prob, {"z": Z}, {"z": ANY}),
    "log_likelihood_linear": (vi.log_likelihood_linear, {"world": WORLD, "x": X, "z": Z}, {"z": ANY}),
    "elbo_linear": (vi.elbo_linear, {"world": WORLD, "x": X, "mean": MEAN, "chol": CHOL}),
    "pathwise_gradient": (
        vi.pathwise_gradient,
        {"f": height, "mean": MEAN[0], "std": STD, "noise": MEAN},
        {"mean": ANY, "noise": ANY},
    ),
    "score_function_gradient": (
        vi.score_function_gradient,
        {"f": height, "mean": MEAN[0], "std": STD, "noise": MEAN, "baseline": 0.5},
        {"mean": ANY, "noise": ANY, "baseline": {"infinite", "minus infinity"}},
    ),
    "best_baseline": (vi.best_baseline, {"values": STD, "score": X[:2], "weights": f64(0.5, 0.5)}),
    "svi": (
        vi.svi,
        {"log_joint": bowl, "mean": MEAN, "log_std": MEAN, "n_steps": 2, "step_size": 0.1, "n_samples": 2},
    ),
    "cavi_gaussian": (vi.cavi_gaussian, {"mean": STD, "precision": EYE, "start": MEAN[0], "n_sweeps": 2}),
    "cavi_mixture": (
        vi.cavi_mixture,
        {
            "x": X,
            "responsibilities": torch.full((4, 2), 0.5, dtype=torch.float64),
            "concentration": 1.0,
            "prior_std": 2.0,
            "noise_std": 0.5,
            "n_sweeps": 2,
        },
    ),
    "tempered_posterior": (vi.tempered_posterior, {"world": WORLD, "x": X, "beta": 0.5}),
    "tempered_step": (
        vi.tempered_step,
        {"world": WORLD, "x": X, "z": Z, "beta": 0.5, "persistence": 0.5, "noise": Z},
        {"z": ANY, "noise": ANY},
    ),
    "annealed_importance": (
        vi.annealed_importance,
        {"log_likelihood": bowl, "z": Z, "kernel": lambda z, beta, generator: z, "betas": f64(0.0, 0.5, 1.0)},
        {"z": ANY},
    ),
}
UNPROBED = {"need_positive": "a refusal itself", "one_a_row": "a refusal itself"}
