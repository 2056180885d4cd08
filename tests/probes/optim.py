"""Example calls of `dgmlib.optim`."""

from exact import f64

from dgmlib import optim

THETA, GRADIENT = f64((1.0, 2.0), (0.5, -1.0)), f64((0.1, 0.3), (0.0, 1.0))
OPEN = {key: {"NaN", "infinite"} for key in ("theta", "gradient", "velocity", "moments")}  # a diverging run shows

CALLS = {
    "sgd_step": (
        optim.sgd_step,
        {"theta": THETA, "gradient": GRADIENT, "velocity": GRADIENT, "step_size": 0.1, "momentum": 0.9},
        OPEN,
    ),
    "adam_step": (
        optim.adam_step,
        {
            "theta": THETA,
            "gradient": GRADIENT,
            "moments": (GRADIENT, GRADIENT**2),
            "t": 3,
            "step_size": 0.1,
            "betas": (0.9, 0.99),
            "eps": 1e-8,
            "weight_decay": 0.1,
        },
        OPEN | {"eps": {"zero"}},
    ),
    "contraction": (optim.contraction, {"curvature": f64(0.5, 2.0), "step_size": 0.1, "momentum": 0.5}),
    "best_momentum": (optim.best_momentum, {"low": 0.5, "high": 2.0}),
    "sgd_variance": (
        optim.sgd_variance,
        {"curvature": f64(0.5, 2.0), "step_size": 0.1, "noise_var": 1.0, "momentum": 0.5},
    ),
    "product_flow": (optim.product_flow, {"start": 0.1, "target": 2.0, "time": f64(0.0, 1.0)}),
}
