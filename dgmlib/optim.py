"""Optimisers as pure functions, and what is known exactly about them on a quadratic.

`torch.optim` trains the course's models; these few lines are what it computes, number for number. NaN and infinity in
parameters and gradients pass through a step.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib.core import checked, need_between, need_count, need_finite, need_precise

# --- one step -------------------------------------------------------------------------------------------------------


BELOW_ONE = math.nextafter(1.0, 0.0)


def _need_range(step_size: float, momentum: float = 0.0) -> None:
    need_between("step_size", step_size, 0.0, math.inf)
    need_between("momentum", momentum, 0.0, BELOW_ONE)


@checked
def sgd_step(
    theta: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    velocity: Float[Tensor, "*shape"],
    *,
    step_size: float,
    momentum: float = 0.0,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """(theta, velocity) after v <- momentum v + gradient, theta <- theta - step_size v.

    Implements :eq:`eq-opt-momentum`. `velocity` starts at zero; `momentum` in [0, 1), 0 is plain descent. Equals
    `torch.optim.SGD`. NaN in a tensor passes through. Raises ValueError (shapes, ranges). Polyak (1964).

    >>> theta, gradient, velocity = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([0.0])
    >>> [part.tolist() for part in sgd_step(theta, gradient, velocity, step_size=0.25)]
    [[0.5], [2.0]]
    """
    _need_range(step_size, momentum)
    velocity = momentum * velocity + gradient
    return theta - step_size * velocity, velocity


@checked
def adam_step(
    theta: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    moments: tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]],
    t: int,
    *,
    step_size: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Float[Tensor, "*shape"], tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]]:
    """(theta, (m, v)) after step t = 1, 2, ... of Adam, `moments` starting at zeros.

    Implements :eq:`eq-opt-adam`. m and v are running means of the gradient and of its square, each divided by the
    weight 1 - beta^t that has come in so far. `weight_decay` shrinks theta apart from the gradient (AdamW). Equals
    `torch.optim.Adam`, or `AdamW` with weight decay. NaN in a tensor passes through, and `eps` = 0 makes it where no
    gradient was ever but 0. Raises ValueError (shapes, ranges), TypeError (`t` no int, moments in half precision).
    Kingma & Ba (2015); Loshchilov & Hutter (2019).

    >>> theta, gradient, zero = torch.tensor([1.0]), torch.tensor([-5.0]), torch.tensor([0.0])
    >>> theta, moments = adam_step(theta, gradient, (zero, zero), t=1, step_size=0.1)
    >>> round(theta.item(), 4)  # step_size against the sign of the gradient, whatever its size
    1.1
    """
    _need_range(step_size)
    need_between("eps", eps, 0.0, math.inf)
    need_between("weight_decay", weight_decay, 0.0, math.inf)
    need_count("t", t)
    for i, moment in enumerate(moments):  # in half precision a mean of a thousand steps stands still
        need_precise(f"moments[{i}]", moment)
    (m, v), (beta1, beta2) = moments, (need_between("betas", beta, 0.0, BELOW_ONE) for beta in betas)
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    update = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps)
    return (1 - step_size * weight_decay) * theta - step_size * update, (m, v)


# --- quadratics -----------------------------------------------------------------------------------------------------


@checked
def contraction(curvature: Float[Tensor, "*shape"], step_size: float, momentum: float = 0.0) -> Float[Tensor, "*shape"]:
    """By how much the error along an axis of the given curvature shrinks a step in the long run (above 1: it grows).

    Implements :eq:`eq-opt-roots`: the larger modulus of the two roots r of r^2 - (1 + momentum - step_size curvature) r
    + momentum = 0. Raises ValueError (ranges, NaN). Polyak (1964).

    >>> contraction(torch.tensor([1.0, 2.0, 5.0]), step_size=0.5).tolist()
    [0.5, 0.0, 1.5]
    """
    _need_range(step_size, momentum)
    b = 1 + momentum - step_size * need_finite("curvature", curvature)
    gap = b**2 - 4 * momentum
    return torch.where(gap > 0, (b.abs() + gap.clamp(min=0).sqrt()) / 2, math.sqrt(momentum))  # else a complex pair


@checked
def best_momentum(low: float, high: float) -> tuple[float, float]:
    """(step_size, momentum) of the fastest heavy ball on a quadratic with curvatures in [low, high], 0 < low <= high.

    Implements :eq:`eq-opt-best`: each step then shrinks every error by sqrt(momentum) in the long run. Raises
    ValueError. Polyak (1964).

    >>> best_momentum(1.0, 9.0)
    (0.25, 0.25)
    """
    need_between("low", low, 0.0, math.inf, open_ends=True)
    a, b = math.sqrt(low), math.sqrt(need_between("high", high, low, math.inf))
    return 4 / (a + b) ** 2, ((b - a) / (b + a)) ** 2


@checked
def sgd_variance(
    curvature: Float[Tensor, "*shape"], step_size: float, noise_var: float, momentum: float = 0.0
) -> Float[Tensor, "*shape"]:
    """Stationary variance of theta when each gradient of a quadratic carries independent noise of variance noise_var.

    Implements :eq:`eq-opt-noise`. Infinite where the step is too large to settle. Raises ValueError (ranges, NaN).

    >>> sgd_variance(torch.tensor([1.0, 3.0]), step_size=1.0, noise_var=1.0).tolist()
    [1.0, inf]
    """
    _need_range(step_size, momentum)
    need_between("noise_var", noise_var, 0.0, math.inf)
    room = 2 * (1 + momentum) - step_size * need_finite("curvature", curvature)
    variance = step_size * noise_var * (1 + momentum) / ((1 - momentum) * curvature * room)
    return torch.where((room > 0) & (curvature > 0), variance, math.inf)


# --- the product of two weights -------------------------------------------------------------------------------------


@checked
def product_flow(start: float, target: float, time: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """u = ab at each time of the gradient flow of (target - ab)^2 / 2 from a = b, ab = start > 0; target > 0.

    Implements :eq:`eq-opt-product`: a logistic curve, slow at first, since near a = b = 0 the gradient is near zero.
    Raises ValueError (ranges, NaN). Saxe, McClelland & Ganguli (2014).

    >>> product_flow(0.01, 4.0, torch.tensor([0.0, 10.0]).double()).round(decimals=4).tolist()
    [0.01, 4.0]
    """
    need_between("start", start, 0.0, math.inf, open_ends=True)
    need_between("target", target, 0.0, math.inf, open_ends=True)
    need_finite("time", time)
    return target / (1 + (target / start - 1) * torch.exp(-2 * target * time))
