"""Example calls of `dgmlib.diffusion`."""

from functools import partial

import torch
from exact import f64

from dgmlib import diffusion, noising

X, GUESS = f64((1.0, -0.5), (0.0, 0.5), (-1.0, 1.0)), f64((0.8, -0.4), (0.1, 0.3), (-0.7, 0.9))
T, TIMES, VARIANCES = f64(0.2, 0.5, 0.9), [0.9, 0.5, 0.0], f64(0.3, 0.1)
SCHEDULE, GENERATOR = noising.Linear(), torch.Generator()
PATH = torch.stack([X, GUESS, X])
PASSES = {"NaN", "infinite"}  # data, states and predictions
SAMPLER = {"schedule": SCHEDULE, "times": TIMES, "generator": GENERATOR}


def network(x, t):
    return 0.5 * x


def count(x, t):
    pass


TERMS = {"denoiser": network, "path": PATH, "schedule": SCHEDULE, "times": TIMES, "variances": VARIANCES}
LOSS = {"network": network, "x0": X, "t": T, "schedule": SCHEDULE, "generator": GENERATOR}
CALLS = {
    "draw_times": (
        diffusion.draw_times,
        {"x0": X, "n_steps": 2, "probs": f64(0.3, 0.7), "generator": GENERATOR},
        {"x0": PASSES},
    ),
    "eps_loss": (diffusion.eps_loss, LOSS, {"x0": PASSES}),
    "v_loss": (diffusion.v_loss, LOSS, {"x0": PASSES}),
    "bound_weights": (diffusion.bound_weights, {"schedule": SCHEDULE, "s": 0.2, "t": 0.5, "variance": 0.1}),
    "prior_kl": (diffusion.prior_kl, {"x0": X, "schedule": SCHEDULE, "t": 0.9}, {"x0": PASSES}),
    "step_kl": (
        diffusion.step_kl,
        {"x0": X, "guess": GUESS, "schedule": SCHEDULE, "s": 0.2, "t": 0.5, "variance": VARIANCES},
        {"x0": PASSES, "guess": PASSES},
    ),
    "discretized_log_prob": (
        diffusion.discretized_log_prob,
        {"x": X, "mean": GUESS, "variance": 0.1, "levels": 5},
        {"mean": PASSES},
    ),
    "kl_terms": (diffusion.kl_terms, TERMS | {"levels": 5}, {"path": PASSES}),
    "joint_terms": (diffusion.joint_terms, TERMS, {"path": PASSES}),
    "error_curve": (
        diffusion.error_curve,
        {"denoiser": network, "x0": X, "n": 2, **SAMPLER},
        {"x0": PASSES},
    ),
    "walk": (
        partial(diffusion.walk, steps=noising.ddim_steps(SCHEDULE, TIMES)),
        {
            "denoiser": network,
            "x": X,
            "times": TIMES,
            "generator": GENERATOR,
            "callback": count,
        },
    ),
    "ancestral": (diffusion.ancestral, {"denoiser": network, "x": X, "variance": VARIANCES, **SAMPLER}),
    "ddim": (diffusion.ddim, {"denoiser": network, "x": X, "eta": 0.5, **SAMPLER}),
    "clipped": (diffusion.clipped, {"denoiser": network}),
    "to_unit": (diffusion.to_unit, {"x": torch.tensor([0, 3, 4], dtype=torch.uint8), "levels": 5}),
    "bits_per_dim_terms": (
        diffusion.bits_per_dim_terms,
        {
            "denoiser": network,
            "x0": X,
            "errors": f64((0.2, 0.3), (0.1, 0.2)),
            "variances": VARIANCES,
            "levels": 5,
            **SAMPLER,
        },
    ),
}
