"""Example calls of `dgmlib.sequential`."""

from exact import f64

from dgmlib import sequential

U = f64((0.2, 0.7, 0.4), (0.1, 0.6, 0.9))


def draw(x, u):
    return (u < 0.5).to(u.dtype)


CALLS = {
    "categorical_draw": (sequential.categorical_draw, {"logits": f64((0.3, 0.1), (0.2, -0.4)), "u": U[:, 0]}),
    "naive_sample": (sequential.naive_sample, {"draw": draw, "uniforms": U, "order": [0, 2, 1]}),
    "jacobi_sample": (
        sequential.jacobi_sample,
        {"draw": draw, "uniforms": U, "start": U.round()},
        {"start": {"NaN", "infinite"}},
    ),
}
