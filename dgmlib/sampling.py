"""Exact draws from uniform numbers: by inverting a distribution function, by counting, by rejecting."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dgmlib.core import Density, need_count, need_probabilities, need_tensor


def _need_unit(name: str, u: Tensor) -> Tensor:
    need_tensor(name, u)
    if not ((u >= 0) & (u < 1)).all():
        raise ValueError(f"{name} reaches from {u.min():.3g} to {u.max():.3g}, expected numbers in [0, 1)")
    return u


def inverse_cdf(
    cdf: Callable[[Tensor], Tensor], u: Float[Tensor, "*shape"], low: float, high: float
) -> Float[Tensor, "*shape"]:
    """The smallest x in [low, high] with F(x) >= u, by bisection down to rounding: F^{-1}(U) has law F.

    `cdf` works elementwise and rises from F(low) <= u to F(high) >= u. Raises ValueError where it does not.
    """
    _need_unit("u", u)
    grid = cdf(torch.linspace(low, high, 257, dtype=u.dtype, device=u.device))
    if not (grid.diff() >= -8 * torch.finfo(u.dtype).eps).all():
        raise ValueError("cdf falls somewhere between low and high, expected a non-decreasing function")
    if u.min() < grid[0] or u.max() > grid[-1]:
        raise ValueError(
            f"cdf runs from {grid[0]:.3g} to {grid[-1]:.3g} on [{low}, {high}], expected it to cover u "
            f"({u.min():.3g} to {u.max():.3g})"
        )
    below, above = torch.full_like(u, low), torch.full_like(u, high)
    for _ in range(2 - int(math.log2(torch.finfo(u.dtype).eps))):  # each step halves the bracket
        middle = (below + above) / 2
        reached = cdf(middle) >= u
        below, above = torch.where(reached, below, middle), torch.where(reached, middle, above)
    return above


def categorical_from_uniforms(probs: Float[Tensor, " k"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The index whose slice of [0, 1) holds each u, #{j : p_1 + ... + p_j <= u}: the same u give the same draws."""
    edges = need_probabilities("probs", probs, 1).to(torch.float64).cumsum(0)
    edges = edges / edges[-1]  # rounding must not leave a gap below 1
    return torch.searchsorted(edges, _need_unit("u", u).to(torch.float64), right=True)


def categorical(probs: Float[Tensor, " k"], n: int, *, generator: torch.Generator | None = None) -> Int[Tensor, " n"]:
    """`n` independent indices, index j with probability probs[j]."""
    need_count("n", n)
    u = torch.rand(n, generator=generator, dtype=torch.float64, device=need_tensor("probs", probs, 1).device)
    return categorical_from_uniforms(probs, u)


def rejection(
    log_target: Callable[[Tensor], Tensor],
    proposal: Density,
    log_bound: float,
    n: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, float]:
    """`n` exact draws from the law proportional to exp(log_target), and the share of proposals accepted.

    A proposal x ~ q is kept with probability f(x) / (M q(x)), M = exp(log_bound); for a normalised target the share is
    1/M on average. Raises ValueError as soon as a proposal shows f > M q (the draws would follow min(f, M q)), and when
    fewer than one proposal in ten thousand is kept. (von Neumann, 1951.)
    """
    need_count("n", n)
    kept: list[Tensor] = []
    accepted = proposed = 0
    while accepted < n:
        x = proposal.sample(max(n, 1000), generator=generator)
        log_ratio = log_target(x) - proposal.log_prob(x) - log_bound
        if torch.isnan(log_ratio).any():
            raise ValueError("log_target is NaN at a proposal, expected a number or minus infinity")
        if log_ratio.max() > 1e-9:
            raise ValueError(
                f"log_bound is {log_bound:.6g}, expected at least {log_bound + float(log_ratio.max()):.6g}"
            )
        u = torch.rand(log_ratio.shape, generator=generator, dtype=log_ratio.dtype, device=log_ratio.device)
        keep = u.log() < log_ratio
        kept.append(x[keep])
        accepted += int(keep.sum())
        proposed += len(x)
        if proposed >= 1_000_000 and accepted < 1e-4 * proposed:
            raise ValueError(
                f"log_bound keeps {accepted} of {proposed} proposals, expected one in ten thousand or more"
            )
    return torch.cat(kept)[:n], accepted / proposed
