"""Draws from uniform numbers: inverting, counting, rejecting, walking; and what a continuous map of noise reaches."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dgmlib.core import Density, checked, need_between, need_count, need_finite, need_probabilities, need_unit


@checked
def inverse_cdf(
    cdf: Callable[[Tensor], Tensor], u: Float[Tensor, "*shape"], low: float, high: float
) -> Float[Tensor, "*shape"]:
    """The smallest x in [low, high] with F(x) >= u, by bisection down to rounding: F^{-1}(U) has law F.

    Implements :eq:`eq-inverse-cdf`. `cdf` works elementwise and rises from F(low) <= u to F(high) >= u; it may hold
    one distribution function for each element of u, broadcasting its argument against the shape of u. Raises
    ValueError where it does not.

    >>> round(inverse_cdf(torch.square, torch.tensor([0.25]), 0.0, 1.0).item(), 4)
    0.5
    """
    need_unit("u", u)
    need_between("high", high, need_between("low", low, -math.inf, math.inf, open_ends=True), math.inf)
    grid = cdf(torch.linspace(low, high, 257, dtype=u.dtype, device=u.device).view(-1, *[1] * u.ndim))
    if not (grid.diff(dim=0) >= -8 * torch.finfo(u.dtype).eps).all():
        raise ValueError("cdf falls somewhere between low and high, expected a non-decreasing function")
    if (u < grid[0]).any() or (u > grid[-1]).any():
        raise ValueError(
            f"cdf runs from {grid[0].max():.3g} to {grid[-1].min():.3g} on [{low}, {high}], expected it to cover u "
            f"({u.min():.3g} to {u.max():.3g})"
        )
    below, above = torch.full_like(u, low), torch.full_like(u, high)
    for _ in range(2 - int(math.log2(torch.finfo(u.dtype).eps))):  # each step halves the bracket
        middle = (below + above) / 2
        reached = cdf(middle) >= u
        below, above = torch.where(reached, below, middle), torch.where(reached, middle, above)
    return above


@checked
def categorical_from_uniforms(probs: Float[Tensor, " k"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The index whose slice of [0, 1) holds each u, #{j : p_1 + ... + p_j <= u}: the same u give the same draws.

    Implements :eq:`eq-slices`.

    >>> categorical_from_uniforms(torch.tensor([0.5, 0.5]), torch.tensor([0.1, 0.5, 0.9])).tolist()
    [0, 1, 1]
    """
    edges = need_probabilities("probs", probs, 1).to(torch.float64).cumsum(0)
    edges = edges / edges[-1]  # rounding must not leave a gap below 1
    return torch.searchsorted(edges, need_unit("u", u).to(torch.float64).contiguous(), right=True)


@checked
def categorical(probs: Float[Tensor, " k"], n: int, *, generator: torch.Generator | None = None) -> Int[Tensor, " n"]:
    """`n` independent indices, index j with probability probs[j].

    >>> categorical(torch.tensor([0.0, 1.0]), 3).tolist()
    [1, 1, 1]
    """
    need_count("n", n)
    u = torch.rand(n, generator=generator, dtype=torch.float64, device=probs.device)
    return categorical_from_uniforms(probs, u)


@checked
def box_muller(u: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """Two independent N(0, 1) from two uniforms: radius sqrt(-2 log(1 - u_1)), angle 2 pi u_2.

    Implements :eq:`eq-box-muller`. (Box and Muller, 1958.)

    >>> box_muller(torch.tensor([[1 - math.exp(-0.5), 0.0]]).double()).round(decimals=4).tolist()
    [[1.0, 0.0]]
    """
    radius, angle = (-2 * torch.log1p(-need_unit("u", u)[:, 0])).sqrt(), 2 * math.pi * u[:, 1]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


@checked
def rejection(
    log_target: Callable[[Tensor], Tensor],
    proposal: Density,
    log_bound: float,
    n: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, float]:
    """`n` exact draws from the law proportional to exp(log_target), and the share of proposals accepted.

    Implements :eq:`eq-rejection`. A proposal x ~ q is kept with probability f(x) / (M q(x)), M = exp(log_bound); for a
    normalised target the share is 1/M on average. Raises ValueError as soon as a proposal shows f > M q (the draws
    would follow min(f, M q)), and when fewer than one proposal in ten thousand is kept. (von Neumann, 1951.)

    >>> from dgmlib.worlds import DiscreteLaw
    >>> always_one = lambda x: x[:, 0].log()
    >>> x, share = rejection(always_one, DiscreteLaw([0.5, 0.5]), math.log(2), 3)
    >>> x.tolist()
    [[1.0], [1.0], [1.0]]
    """
    need_count("n", n), need_between("log_bound", log_bound, -math.inf, math.inf, open_ends=True)
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


# --- walking --------------------------------------------------------------------------------------------------------


@checked
def metropolis_kernel(probs: Float[Tensor, " k"], proposal: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """P[i, j], the chance to stand on j one Metropolis-Hastings step after i, for a walk that proposes by `proposal`.

    Implements :eq:`eq-metropolis`. Moves i -> j with chance q_ij min(1, p_j q_ji / (p_i q_ij)), else stays. `probs` are
    all positive and may lack their normalisation; the rows of `proposal` are laws. (Hastings, 1970.)

    >>> metropolis_kernel(torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.0, 1.0], [0.5, 0.5]]
    """
    if not (need_finite("probs", probs) > 0).all():
        raise ValueError(f"probs reaches down to {probs.min():.3g}, expected weights above zero")
    flow = probs[:, None] * need_probabilities("proposal", proposal)  # p_i q_ij
    moves = torch.minimum(flow, flow.mT) / probs[:, None]
    moves = moves - moves.diagonal().diag()
    return moves + (1 - moves.sum(1)).diag()


@checked
def metropolis(
    log_target: Callable[[Tensor], Tensor],
    x: Float[Tensor, "chains d"],
    step_size: float,
    n_steps: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "steps chains d"], Float[Tensor, " chains"]]:
    """Random walks that visit places as often as exp(log_target) says: all positions, and each walk's accepted share.

    Proposes x' ~ N(x, step_size^2 I), and goes there with probability min(1, p(x') / p(x)), else stays: the start, then
    `n_steps` more positions. Needs no normalisation, and forgets its start only in the long run. (Metropolis et al.,
    1953.) Raises ValueError where a walk starts outside the support.

    >>> path, share = metropolis(lambda x: -x.square().sum(1) / 2, torch.zeros(5, 1), step_size=1.0, n_steps=10)
    >>> path.shape, share.shape
    (torch.Size([11, 5, 1]), torch.Size([5]))
    """
    need_finite("x", x)
    need_between("step_size", step_size, 0.0, math.inf, open_ends=True)
    here = log_target(x)
    if not (here > -math.inf).all():
        raise ValueError("log_target is NaN or minus infinity where a walk starts, expected a point of the support")
    path, accepted = [x], torch.zeros_like(here)
    for _ in range(need_count("n_steps", n_steps)):
        x_new = x + step_size * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        there = log_target(x_new)
        u = torch.rand(here.shape, generator=generator, dtype=x.dtype, device=x.device)
        goes = u.log() < there - here
        x, here = torch.where(goes[:, None], x_new, x), torch.where(goes, there, here)
        path.append(x)
        accepted += goes
    return torch.stack(path), accepted / n_steps


# --- pushing noise through a map ------------------------------------------------------------------------------------


@checked
def bridge_mass(half_gap: float, lipschitz: float) -> float:
    """The least probability in (-a, a) of f(z), z ~ N(0, I), that a symmetric choice leaves an L-Lipschitz f.

    Implements :eq:`eq-bridge`: 2 Phi(a / L) - 1 when P(f <= -a) = P(f >= a), a = `half_gap`, in any dimension of z.
    Attained by f(z) = clip(L z_1, -a, a). (Borell, 1975; Sudakov and Tsirelson, 1978.)

    >>> round(bridge_mass(half_gap=1.0, lipschitz=1.0), 4)
    0.6827
    """
    need_between("half_gap", half_gap, 0.0, math.inf, open_ends=True)
    need_between("lipschitz", lipschitz, 0.0, math.inf, open_ends=True)
    return math.erf(half_gap / lipschitz / math.sqrt(2))


@checked
def copula_sample(
    table: Float[Tensor, "rows columns"], n: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "n columns"]:
    """`n` new rows of a table: correlated Gaussians, sent column by column through the table's own quantiles.

    Implements :eq:`eq-copula`. Every value drawn occurs in its column; the Gaussians have the correlations of the
    table's normal scores Phi^{-1}((rank - 1/2) / rows), equal values sharing their mean rank. (Nelsen, 2006.) Few
    values in a column blunt its correlations. Raises ValueError where a column is constant, or where columns determine
    one another.

    >>> table = torch.tensor([[0.0, 3.0], [1.0, 5.0], [2.0, 4.0]])
    >>> set(copula_sample(table, 50)[:, 1].tolist()) <= {3.0, 4.0, 5.0}
    True
    """
    rows, columns = need_finite("table", table).shape
    if (table == table[0]).all(0).any():
        raise ValueError("table has a column with a single value, expected columns that vary")
    values = table.mT.contiguous()
    ordered = values.sort().values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    correlation = torch.corrcoef(torch.special.ndtri((below + up_to).to(table.dtype) / (2 * rows))).view(2 * [columns])
    chol, failed = torch.linalg.cholesky_ex(correlation)
    if failed:
        raise ValueError("table has columns whose ranks determine one another, expected none that is redundant")
    noise = torch.randn(need_count("n", n), columns, generator=generator, dtype=table.dtype, device=table.device)
    place = (torch.special.ndtr(noise @ chol.mT) * rows).long().clamp(max=rows - 1)
    return ordered.mT.gather(0, place)
