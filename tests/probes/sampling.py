"""Example calls of `dgmlib.sampling`."""

import torch
from exact import f64, rng

from dgmlib import data, sampling

TABLE = torch.randn(9, 2, generator=rng(1))
U = f64(0.1, 0.4, 0.9)
PLANE = data.ring()
KERNEL = f64((0.5, 0.5, 0.0), (0.2, 0.3, 0.5), (0.1, 0.4, 0.5))

CALLS = {
    "inverse_cdf": (sampling.inverse_cdf, {"cdf": lambda x: x.clamp(0, 1), "u": U, "low": 0.0, "high": 1.0}),
    "categorical_from_uniforms": (sampling.categorical_from_uniforms, {"probs": f64(0.3, 0.7), "u": U}),
    "categorical": (sampling.categorical, {"probs": f64(0.3, 0.7), "n": 5, "generator": rng(0)}),
    "box_muller": (sampling.box_muller, {"u": f64((0.1, 0.3), (0.5, 0.9))}),
    "rejection": (
        sampling.rejection,
        {"log_target": PLANE.log_prob, "proposal": PLANE, "log_bound": 0.5, "n": 5, "generator": rng(0)},
    ),
    "metropolis_kernel": (sampling.metropolis_kernel, {"probs": f64(0.2, 0.3, 0.5), "proposal": KERNEL}),
    "metropolis": (
        sampling.metropolis,
        {"log_target": PLANE.log_prob, "x": f64((0.0, 3.0)), "step_size": 0.5, "n_steps": 3, "generator": rng(0)},
    ),
    "bridge_mass": (sampling.bridge_mass, {"half_gap": 1.0, "lipschitz": 2.0}),
    "copula_sample": (
        sampling.copula_sample,
        {"table": TABLE, "n": 4, "generator": rng(0)},
    ),
}
