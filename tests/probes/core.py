"""Example calls of `dgmlib.core`."""

from exact import f64, rng

from dgmlib import core

X = f64((0.1, 0.9), (0.5, 1.0), (0.0, 0.3))
ANY = {"NaN", "infinite"}  # of which nothing but the shape, the dtype and the device is read

CALLS = {
    "randn_like": (core.randn_like, {"x": X, "generator": rng(0)}, {"x": ANY}),
    "rand_like": (core.rand_like, {"x": X, "generator": rng(0)}, {"x": ANY}),
    "distances": (core.distances, {"x": X, "y": X[:2]}, {key: {"NaN", "infinite"} for key in "xy"}),
    "bernoulli": (core.bernoulli, {"probs": X, "generator": rng(0)}, {"probs": ANY | {"negative"}}),
}
REFUSALS = (
    "need_between need_broadcast need_cholesky need_count need_finite need_levels need_like need_option need_pixels "
    "need_one_dtype need_precise need_probabilities need_shape need_symmetric need_tensor need_unit"
)
UNPROBED = dict.fromkeys(REFUSALS.split(), "a refusal itself") | {
    "checked": "a decorator",
    "share": "of a batch in data-parallel training, for the library itself",
    "global_batch": "a context, for the library itself",
    "by_blocks": "of evaluations, for the library itself",
    "uniform_dtype": "of draws, for the library itself",
    "can_read": "part of a refusal",
}
