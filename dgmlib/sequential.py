"""Exact samples of autoregressive models from uniform numbers, each sampler a function of one callable (chapter 05).

The callable is one full pass of a model, `draw(x, u)`: for every position i at once the value that u_i selects from the
law of x_i given x_<i, by inversion of its distribution function. Shapes of x, u and the result are `(batch, *event)`.
Where two samplers meet the same uniforms they give the same sample, up to draws that rounding can tip: uniforms within
the passes' rounding error of an edge, one in a million in single precision.

Edges of half-precision laws are added up in single precision, and uniforms for them are drawn in it.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from dgmlib.core import can_read, checked, need_unit, uniform_dtype

Draw = Callable[[Shaped[Tensor, "batch *event"], Float[Tensor, "batch *event"]], Shaped[Tensor, "batch *event"]]


@checked
def categorical_draw(logits: Float[Tensor, "*shape k"], u: Float[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The value whose slice of [0, 1) holds each u: #{j < k - 1 : p_0 + ... + p_j <= u}, p = softmax(logits).

    Implements :eq:`eq-draw`. Rounding at u near 1 ends in the last value that has mass, never outside.

    Raises: ValueError (`u` of another shape or not in [0, 1), logits without a softmax), TypeError (not floating).

    >>> categorical_draw(torch.zeros(3, 2), torch.tensor([0.1, 0.4, 0.9]))
    tensor([0, 0, 1])
    """
    edges = logits.to(uniform_dtype(logits.dtype)).softmax(-1).cumsum(-1)
    if can_read(edges) and edges[..., -1].isnan().any():
        raise ValueError("logits has a row with NaN, +inf or nothing but -inf, expected logits of a law")
    return (edges <= (need_unit("u", u) * edges[..., -1])[..., None]).sum(-1)  # rounding leaves no gap below 1


@checked
def naive_sample(
    draw: Draw, uniforms: Float[Tensor, "batch *event"], *, order: Sequence[int] | None = None
) -> Shaped[Tensor, "batch *event"]:
    """One full pass for each position, of which one value is kept: the definition of ancestral sampling.

    Implements :eq:`eq-one-at-a-time`. `order` lists the positions of the flattened event from first to last generated;
    None is raster order. d passes.

    Raises: ValueError (`order` is no permutation, uniforms outside [0, 1)), TypeError (`uniforms` not floating).

    >>> copy = lambda x, u: torch.cat([u[:, :1].round(), x[:, :-1]], 1)  # a coin, then each as the one before
    >>> naive_sample(copy, torch.tensor([[0.9, 0.1, 0.1]])).tolist()
    [[1.0, 1.0, 1.0]]
    """
    d = _event_size(uniforms)
    order = range(d) if order is None else order
    if sorted(order) != list(range(d)):
        raise ValueError(f"order is {list(order)[:5]}..., expected each of 0 to {d - 1} once")
    x = torch.zeros(uniforms.shape, dtype=uniforms.dtype, device=uniforms.device)
    for i in order:
        proposed = draw(x, uniforms)
        x = x.to(proposed.dtype)
        x.flatten(1)[:, i] = proposed.flatten(1)[:, i]  # flatten of a contiguous tensor is a view
    return x


@checked
def jacobi_sample(
    draw: Draw, uniforms: Float[Tensor, "batch *event"], *, start: Shaped[Tensor, "batch *event"] | None = None
) -> tuple[Shaped[Tensor, "batch *event"], int]:
    """(x, passes): the fixed point x = draw(x, u), found by iterating it on all positions at once from `start`.

    Implements :eq:`eq-jacobi`. Position i of the order is right after i passes whatever the guess, so that at most d
    are made; a pass that changes nothing proves the sample and ends the search. `start` is zero if None.
    Song, Meng, Liao & Ermon (2021); Wiggers & Hoogeboom (2020).

    Raises: ValueError (`start` of another shape, uniforms outside [0, 1)), TypeError (`uniforms` not floating).

    >>> copy = lambda x, u: torch.cat([u[:, :1].round(), x[:, :-1]], 1)  # a coin, then each as the one before
    >>> x, passes = jacobi_sample(copy, torch.tensor([[0.1, 0.9, 0.9]]))
    >>> x.tolist(), passes  # the first guess was right, and a pass proves it
    ([[0.0, 0.0, 0.0]], 1)
    """
    d = _event_size(uniforms)
    x = torch.zeros_like(uniforms) if start is None else start
    for passes in range(1, d + 1):
        before, x = x, draw(x, uniforms)
        if (x == before).all():
            return x, passes
    return x, d


def _event_size(uniforms: Tensor) -> int:
    if uniforms.ndim < 2:
        raise ValueError(f"uniforms has shape {tuple(uniforms.shape)}, expected (batch, *event)")
    return need_unit("uniforms", uniforms)[0].numel()
