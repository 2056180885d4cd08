"""Example calls of `dgmlib.noising`."""

from functools import partial

import torch
from exact import f64

from dgmlib import noising
from dgmlib.worlds import GaussianMixture

X, ROWS = f64((0.3, -0.2), (1.0, 0.5), (0.1, 0.4)), f64((0.7, 0.1), (-0.5, 0.2), (0.3, 0.3))
T, TIMES, VARIANCES = f64(0.2, 0.5, 0.9), [0.9, 0.5, 0.0], f64(0.3, 0.1)
SCHEDULE = noising.Linear()
STEPS = noising.ddim_steps(SCHEDULE, TIMES)
LAW = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[[0.04]], [[0.04]]])
PASSES = {"NaN", "infinite"}  # states and predictions
RATES = {"alpha": 0.8, "sigma": 0.6}


def network(x, t):
    return x


def converted(function, name):
    return (function, {"x": X, name: ROWS, **RATES}, {"x": PASSES, name: PASSES})


CALLS = {
    "Linear": (noising.Linear, {"beta_0": 0.1, "beta_1": 20.0}),
    "VariancePreserving.alpha": (SCHEDULE.alpha, {"t": T}),
    "VariancePreserving.sigma": (SCHEDULE.sigma, {"t": T}),
    "VariancePreserving.alpha_sigma": (SCHEDULE.alpha_sigma, {"t": T}),
    "VariancePreserving.dalpha": (SCHEDULE.dalpha, {"t": T}),
    "VariancePreserving.dsigma": (SCHEDULE.dsigma, {"t": T}),
    "VariancePreserving.log_snr": (SCHEDULE.log_snr, {"t": T}),
    "Cosine": (noising.Cosine, {"s": 0.008, "floor": 1e-4}),
    "Tabulated": (noising.Tabulated, {"beta": f64(0.1, 0.2)}),
    "rates": (noising.rates, {"schedule": SCHEDULE, "t": T, "x": X}, {"x": PASSES}),
    "q_sample": (
        noising.q_sample,
        {"x0": X, "t": T, "schedule": SCHEDULE, "generator": torch.Generator()},
        {"x0": PASSES},
    ),
    "transition": (noising.transition, {"schedule": SCHEDULE, "s": T - 0.1, "t": T}),
    "forward_path": (
        noising.forward_path,
        {"x0": X, "schedule": SCHEDULE, "times": TIMES, "generator": torch.Generator()},
        {"x0": PASSES},
    ),
    "posterior": (noising.posterior, {"schedule": SCHEDULE, "s": 0.1, "t": 0.5}),
    "x0_from_eps": converted(noising.x0_from_eps, "eps"),
    "eps_from_x0": converted(noising.eps_from_x0, "x0"),
    "x0_from_v": converted(noising.x0_from_v, "v"),
    "v_from_x0": converted(noising.v_from_x0, "x0"),
    "x0_from_score": converted(noising.x0_from_score, "score"),
    "score_from_x0": converted(noising.score_from_x0, "x0"),
    "denoiser_from_eps": (noising.denoiser_from_eps, {"network": network, "schedule": SCHEDULE}),
    "denoiser_from_v": (noising.denoiser_from_v, {"network": network, "schedule": SCHEDULE}),
    "denoiser_from_score": (noising.denoiser_from_score, {"network": network, "schedule": SCHEDULE}),
    "need_times": (noising.need_times, {"times": TIMES}),
    "time_grid": (noising.time_grid, {"n_steps": 5, "T": 10, "spacing": "trailing"}),
    "ancestral_steps": (noising.ancestral_steps, {"schedule": SCHEDULE, "times": TIMES, "variance": VARIANCES}),
    "ddim_steps": (noising.ddim_steps, {"schedule": SCHEDULE, "times": TIMES, "eta": 0.5}),
    "reverse_variances": (noising.reverse_variances, {"schedule": SCHEDULE, "times": TIMES, "kind": "forward"}),
    "optimal_variances": (noising.optimal_variances, {"schedule": SCHEDULE, "times": TIMES, "errors": VARIANCES}),
    "variance_price": (noising.variance_price, {"best": VARIANCES, "used": 2 * VARIANCES}),
    "mixture_denoiser": (noising.mixture_denoiser, {"law": LAW, "schedule": SCHEDULE}),
    "copier_weights": (
        noising.copier_weights,
        {"x": X, "data": ROWS, "alpha": 0.8, "sigma": 0.6},
        {"x": PASSES, "data": PASSES},
    ),
    "copier": (noising.copier, {"data": ROWS, "schedule": SCHEDULE}, {"data": PASSES}),
    "expected_terms": (
        noising.expected_terms,
        {"errors": VARIANCES, "schedule": SCHEDULE, "times": TIMES, "variances": VARIANCES, "power": 0.5},
    ),
    "gaussian_moments": (
        partial(noising.gaussian_moments, STEPS),
        {"schedule": SCHEDULE, "times": TIMES, "mean": 0.5, "variance": 0.3},
    ),
    "entropy_from_mmse": (
        noising.entropy_from_mmse,
        {"log_snr": f64(-3.0, 0.0, 3.0), "mmse": f64(0.9, 0.5, 0.1), "variance": 1.0, "d": 1},
    ),
}
for name, schedule in {
    "Linear": SCHEDULE,
    "Cosine": noising.Cosine(),
    "Tabulated": noising.Tabulated([0.1, 0.2]),
}.items():
    CALLS[f"{name}.log_alpha"] = (schedule.log_alpha, {"t": T}, {"t": PASSES | {"negative"}})
    CALLS[f"{name}.dlog_alpha"] = (schedule.dlog_alpha, {"t": T}, {"t": PASSES | {"negative"}})
UNPROBED = {
    "VariancePreserving": "has no schedule of its own",
    "VariancePreserving.log_alpha": "for its subclasses to give",
    "VariancePreserving.dlog_alpha": "for its subclasses to give",
    "need_positive": "a check",
    "need_from_zero": "a check",
    "need_entries": "a check",
}
