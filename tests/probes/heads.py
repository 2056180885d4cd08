"""Example calls of `dgmlib.heads` and `dgmlib.sequential`'s inversion."""

from exact import f64

from dgmlib import heads

U, BITS, P = f64(0.2, 0.7), f64(0.0, 1.0), f64((0.3, -0.2, 1.0), (0.0, 0.1, 0.2))
PASSES = {"NaN", "infinite", "negative"}
LAW = {"params": {"NaN", "infinite"}}
HEADS = {
    "Bernoulli": (heads.Bernoulli(), P[:, :1]),
    "Categorical": (heads.Categorical(3), P),
    "Gaussian": (heads.Gaussian(), P[:, :2]),
    "MixtureOfGaussians": (heads.MixtureOfGaussians(1), P),
}
CALLS = {
    "Categorical": (heads.Categorical, {"levels": 3}),
    "MixtureOfGaussians": (heads.MixtureOfGaussians, {"k": 2}),
}
for name, (head, params) in HEADS.items():
    CALLS[f"{name}.log_prob"] = (
        head.log_prob,
        {"x": BITS, "params": params},
        LAW if head.levels else LAW | {"x": PASSES},
    )
    CALLS[f"{name}.draw"] = (head.draw, {"params": params, "u": U}, LAW)
UNPROBED = {"Bernoulli": "takes nothing", "Gaussian": "takes nothing"}
