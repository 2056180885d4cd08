"""The noising chain and all that is known of its reversal in closed form: no network in this file (chapter 22).

Time runs from 0 (data) to 1 (noise). A `Schedule` says how much of each is left: x_t = alpha(t) x_0 + sigma(t) eps. A
denoiser is a callable `denoiser(x, t, **condition)` of x `(batch, *event)` and t `(batch,)` that guesses x_0;
`denoiser_from_eps`, `denoiser_from_v` and `denoiser_from_score` make one of a network that predicts something else.
`times` are those a sampler visits, falling to 0: a list of floats, in the order of the walk. NaN in states and
predictions passes through; times, rates and variances are read, but for tensors of them on an accelerator, where a look
would stall it: there a time outside [0, 1] gives NaN.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib.core import (
    Schedule,
    can_read,
    checked,
    need_between,
    need_count,
    need_finite,
    need_option,
    need_shape,
    need_tensor,
    randn_like,
)
from dgmlib.worlds import LOG_2PI, GaussianMixture

Denoiser = Callable[..., Tensor]
PerStep = Float[Tensor, "steps ..."] | Sequence[Float[Tensor, "..."] | float]  # a number or (*event) for each step
Time = Float[Tensor, "*times"] | float
Rate = Float[Tensor, "..."] | float  # a number, or (batch, 1, ...): as many axes as what it multiplies

# --- schedules ------------------------------------------------------------------------------------------------------


class VariancePreserving(Schedule):
    """alpha^2 + sigma^2 = 1: a schedule that is all in log alpha(t) and its derivative, which subclasses give.

    >>> schedule = Tabulated([0.75])  # alpha = 1/2 at t = 1
    >>> [round(rate.item(), 4) for rate in (*schedule.alpha_sigma(1.0), schedule.dalpha(1.0), schedule.dsigma(1.0))]
    [0.5, 0.866, -0.3466, 0.2001]
    >>> round(schedule.log_snr(1.0).item(), 4)  # log(1/3)
    -1.0986
    """

    @checked
    def log_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """log alpha at float64 times."""
        raise NotImplementedError

    @checked
    def dlog_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """Its derivative in t."""
        raise NotImplementedError

    @checked
    def alpha(self, t: Time) -> Tensor:
        """exp(log_alpha)."""
        return _like(t, self.log_alpha(_float64("t", t)).exp())

    @checked
    def sigma(self, t: Time) -> Tensor:
        """sqrt(1 - alpha^2), with all digits of a small one."""
        return _like(t, _noise(self.log_alpha(_float64("t", t))))

    @checked
    def alpha_sigma(self, t: Time) -> tuple[Tensor, Tensor]:
        """Both from one log_alpha."""
        log_alpha = self.log_alpha(_float64("t", t))
        return _like(t, log_alpha.exp()), _like(t, _noise(log_alpha))

    @checked
    def dalpha(self, t: Time) -> Tensor:
        """alpha times the derivative of its logarithm."""
        u = _float64("t", t)
        return _like(t, self.log_alpha(u).exp() * self.dlog_alpha(u))

    @checked
    def dsigma(self, t: Time) -> Tensor:
        """-alpha alpha' / sigma, since alpha^2 + sigma^2 does not move: infinite at t = 0."""
        u = _float64("t", t)
        log_alpha = self.log_alpha(u)
        return _like(t, -(2 * log_alpha).exp() * self.dlog_alpha(u) / _noise(log_alpha))

    @checked
    def log_snr(self, t: Time) -> Tensor:
        """log(alpha^2 / sigma^2) from one log_alpha. Implements :eq:`eq-diff-snr`."""
        log_alpha = self.log_alpha(_float64("t", t))
        return _like(t, 2 * (log_alpha - _noise(log_alpha).log()))


class Linear(VariancePreserving):
    """The rate of noise rises linearly, beta(t) = beta_0 + (beta_1 - beta_0) t, and log alpha = -(integral of beta)/2.

    The defaults are DDPM's 1e-4 to 0.02 a step of a thousand, as a rate per unit of
    time, so that the chain ends in the same noise with any number of steps. Ho et al. (2020); Song et al. (2021).

    >>> schedule, t = Linear(beta_0=1.0, beta_1=4.0), torch.ones(1)
    >>> schedule.log_alpha(t), schedule.dlog_alpha(t).tolist()  # minus half of beta's integral, minus half of beta
    (tensor([-1.2500]), [-2.0])
    """

    @checked
    def __init__(self, beta_0: float = 0.1, beta_1: float = 20.0):
        self.beta_0 = need_between("beta_0", beta_0, 0.0, math.inf)
        self.beta_1 = need_positive("beta_1", need_between("beta_1", beta_1, beta_0, math.inf))

    @checked
    def log_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """Minus half the integral of beta from 0 to t. Implements :eq:`eq-diff-linear`."""
        return -0.5 * t * (self.beta_0 + 0.5 * (self.beta_1 - self.beta_0) * t)

    @checked
    def dlog_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """-beta(t)/2."""
        return -0.5 * (self.beta_0 + (self.beta_1 - self.beta_0) * t)


class Cosine(VariancePreserving):
    """alpha(t) = cos(angle(t)) / cos(angle(0)), angle(t) = (t + s)/(1 + s) pi/2, kept above `floor`.

    Without the floor alpha(1) = 0, and no guess of the noise there says anything of
    x_0; Nichol & Dhariwal (2021) clip beta for the same reason.

    >>> schedule, t = Cosine(s=0.0), torch.tensor([0.5])
    >>> schedule.log_alpha(t), schedule.dlog_alpha(t)  # log cos(pi/4), -pi/2 tan(pi/4)
    (tensor([-0.3466]), tensor([-1.5708]))
    """

    @checked
    def __init__(self, s: float = 0.008, floor: float = 1e-4):
        self.s = need_between("s", s, 0.0, 1.0)
        self.floor = need_between("floor", floor, 0.0, 1.0, open_ends=True)

    def _angle(self, t: Tensor) -> Tensor:
        return (t + self.s) / (1 + self.s) * (math.pi / 2)

    @checked
    def log_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """The logarithm of the quotient of cosines, or of the floor. Implements :eq:`eq-diff-cosine`."""
        return (self._angle(t).cos() / math.cos(self.s / (1 + self.s) * math.pi / 2)).clamp(self.floor, 1.0).log()

    @checked
    def dlog_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """-angle' tan(angle); 0 on the floor."""
        slope = -self._angle(t).tan() * math.pi / 2 / (1 + self.s)
        return torch.where(self.log_alpha(t) > math.log(self.floor), slope, 0.0)


class Tabulated(VariancePreserving):
    """DDPM's own way to say a schedule: `beta` (T,), the noise of each step; between steps log alpha is linear in t.

    alpha(t/T)^2 is the product of 1 - beta_s for s = 1 .. t.

    >>> schedule, t = Tabulated([0.5, 0.5]), torch.tensor([0.0, 0.5, 1.0])
    >>> schedule.alpha(t).square(), schedule.sigma(t).square()  # products of 1 - beta, and what they leave
    (tensor([1.0000, 0.5000, 0.2500]), tensor([0.0000, 0.5000, 0.7500]))
    >>> round(schedule.log_alpha(t)[1].item(), 4), round(schedule.dlog_alpha(t)[1].item(), 4)  # log(1/2)/2 a step
    (-0.3466, -0.6931)
    """

    @checked
    def __init__(self, beta: Float[Tensor, " steps"] | Sequence[float]):
        beta = need_finite("beta", need_tensor("beta", torch.as_tensor(beta, dtype=torch.float64), 1))
        for end in beta.aminmax():
            need_between("beta", float(end), 0.0, 1.0, open_ends=True)
        slope = 0.5 * torch.log1p(-beta)
        self._log_alpha = torch.cat([beta.new_zeros(1), slope.cumsum(0)])
        self._slope = torch.cat([slope, slope[-1:]])  # t = 1 stands in the last row, which no step follows

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """How many steps t has come, and how many of them are whole."""
        place = t * (len(self._log_alpha) - 1)
        return place, place.long().clamp(0, len(self._slope) - 1)

    @checked
    def log_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """Linear between the rows of the table. Implements :eq:`eq-diff-alpha-bar`."""
        place, row = self._place(t)
        return torch.addcmul(self._log_alpha.to(t.device).take(row), self._slope.to(t.device).take(row), place - row)

    @checked
    def dlog_alpha(self, t: Float[Tensor, "*times"]) -> Tensor:
        """The slope of the step that t lies in."""
        return self._slope.to(t.device).take(self._place(t)[1]) * (len(self._log_alpha) - 1)


def _float64(name: str, t: Time) -> Tensor:
    """Times as float64: refused outside [0, 1], or NaN on an accelerator."""
    if not isinstance(t, Tensor):
        return torch.tensor(need_between(name, t, 0.0, 1.0), dtype=torch.float64)
    u = t.double()
    if u.device.type != "cpu":
        return torch.where((u >= 0) & (u <= 1), u, math.nan)
    if can_read(u) and not ((u >= 0) & (u <= 1)).all():
        raise ValueError(f"{name} reaches from {u.min():.4g} to {u.max():.4g}, expected numbers in [0, 1]")
    return u


def _interval(s: Time, t: Time) -> tuple[Tensor, Tensor]:
    """(s, t) as float64 if every s comes before its t."""
    s, t = _float64("s", s), _float64("t", t)
    if can_read(t) and (late := s >= t).any():
        first, last = (number.expand(late.shape)[late][0] for number in (s, t))
        raise ValueError(f"s is {first:.4g} where t is {last:.4g}, expected each s before its t")
    return s, t


def need_positive(name: str, value: Rate) -> Rate:
    """Return `value` if it is positive and finite. Raises ValueError. A tensor is read on a CPU only.

    >>> need_positive("sigma", 0.0)
    Traceback (most recent call last):
    ValueError: sigma is 0.0, expected a number in (0.0, inf)
    """
    if not isinstance(value, Tensor):
        return need_between(name, value, 0.0, math.inf, open_ends=True)
    if value.device.type == "cpu" and can_read(value) and not ((value > 0) & (value < math.inf)).all():
        raise ValueError(f"{name} reaches from {value.min():.4g} to {value.max():.4g}, expected positive numbers")
    return value


def need_from_zero(name: str, value: Rate) -> None:
    """Raise ValueError unless `value` is 0 or more, and finite. A tensor is read on a CPU only.

    >>> need_from_zero("variance", -1.0)
    Traceback (most recent call last):
    ValueError: variance reaches from -1 to -1, expected numbers from 0 on
    """
    numbers = torch.as_tensor(value)
    if numbers.device.type == "cpu" and can_read(numbers) and not ((numbers >= 0) & (numbers < math.inf)).all():
        raise ValueError(f"{name} reaches from {numbers.min():.4g} to {numbers.max():.4g}, expected numbers from 0 on")


def _like(t: Time, value: Tensor) -> Tensor:
    return value.to(t.dtype) if isinstance(t, Tensor) else value


def _noise(log_alpha: Tensor) -> Tensor:
    return (-torch.expm1(2 * log_alpha)).sqrt()  # sqrt(1 - alpha^2) without losing the digits of a small sigma


# --- forward --------------------------------------------------------------------------------------------------------


@checked
def rates(schedule: Schedule, t: Float[Tensor, " batch"], x: Float[Tensor, "batch *event"]) -> tuple[Tensor, Tensor]:
    """(alpha(t), sigma(t)) of each example, shaped to multiply `x`.

    >>> alpha, sigma = rates(Tabulated([0.75]), torch.ones(2), torch.zeros(2, 3, 4))
    >>> alpha.shape, alpha.flatten(), sigma.flatten()
    (torch.Size([2, 1, 1]), tensor([0.5000, 0.5000]), tensor([0.8660, 0.8660]))
    """
    alpha, sigma = (rate.to(x.dtype).view(-1, *[1] * (x.ndim - 1)) for rate in schedule.alpha_sigma(t))
    return alpha, sigma


@checked
def q_sample(
    x0: Float[Tensor, "batch *event"],
    t: Float[Tensor, " batch"],
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "batch *event"], Float[Tensor, "batch *event"]]:
    """(x_t, eps) with x_t = alpha(t) x_0 + sigma(t) eps: any time at once, without walking there.

    Implements :eq:`eq-diff-marginal`. The loss compares a guess with this same eps.

    >>> x0, schedule = torch.ones(2, 3), Tabulated([0.75])
    >>> x, eps = q_sample(x0, torch.ones(2), schedule)
    >>> torch.allclose(x, 0.5 * x0 + 0.75**0.5 * eps)
    True
    """
    alpha, sigma = rates(schedule, t, x0)
    eps = randn_like(x0, generator=generator)
    return (alpha * x0).addcmul_(sigma, eps), eps


@checked
def transition(schedule: Schedule, s: Time, t: Time) -> tuple[Tensor, Tensor]:
    """(scale, variance) of q(x_t | x_s) = N(scale x_s, variance I) for s < t, float64.

    Implements :eq:`eq-diff-transition`: scale = alpha_t / alpha_s and variance = sigma_t^2 - scale^2 sigma_s^2.
    Raises ValueError (times outside [0, 1] or in the wrong order).

    >>> scale, variance = transition(Tabulated([0.5, 0.5]), s=0.5, t=1.0)
    >>> round(scale.item(), 4), round(variance.item(), 4)  # sqrt(1 - beta), beta
    (0.7071, 0.5)
    """
    s, t = _interval(s, t)
    scale = schedule.alpha(t) / schedule.alpha(s)
    return scale, schedule.sigma(t).square() - (scale * schedule.sigma(s)).square()


@checked
def forward_path(
    x0: Float[Tensor, "batch *event"],
    schedule: Schedule,
    times: Sequence[float],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "states batch *event"]:
    """One walk of the noising chain through `times`, in their order: noise first, x_0 last.

    Implements :eq:`eq-diff-chain`. Each state is drawn from the one after it in the list. Raises ValueError (times that
    do not fall to 0).

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> path = forward_path(torch.ones(4, 2), schedule, times)
    >>> path.shape, bool((path[-1] == 1).all())
    (torch.Size([3, 4, 2]), True)
    """
    times = need_times(times, 0.0)
    path = [x0]
    for t, s in reversed(list(pairwise(times))):
        scale, variance = (float(number) for number in transition(schedule, s, t))
        path.append(scale * path[-1] + math.sqrt(variance) * randn_like(x0, generator=generator))
    return torch.stack(path[::-1])


class Steps(NamedTuple):
    """x_s = c_x x_t + c_0 x0_hat + sqrt(variance) z: one step of a sampler, or all (steps,) of them, in their order.

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> ddim_steps(schedule, times).variance.tolist()
    [0.0, 0.0]
    """

    c_x: Tensor
    c_0: Tensor
    variance: PerStep


@checked
def posterior(schedule: Schedule, s: Time, t: Time) -> Steps:
    """q(x_s | x_t, x_0) = N(c_x x_t + c_0 x_0, variance I) for s < t, float64.

    Implements :eq:`eq-diff-posterior`. All three follow from the two marginals and the step between, however far apart
    s and t are; with s = (i-1)/T, t = i/T the variance is DDPM's beta-tilde. Raises ValueError (times outside [0, 1] or
    in the wrong order). Kingma et al. (2021), appendix A.

    >>> [round(number.item(), 4) for number in posterior(Tabulated([0.5, 0.5]), s=0.5, t=1.0)]
    [0.4714, 0.4714, 0.3333]
    """
    s, t = _interval(s, t)
    scale, added = transition(schedule, s, t)
    kept, total = schedule.sigma(s).square(), schedule.sigma(t).square()
    return Steps(scale * kept / total, schedule.alpha(s) * added / total, added * kept / total)


# --- one prediction, four names -------------------------------------------------------------------------------------


def _need_rates(x: Tensor, alpha: Rate, sigma: Rate, name: str, divisor: Rate) -> None:
    """What is divided by must be positive; rates of a batch need the axes of x, or they would multiply its columns."""
    need_positive(name, divisor)
    for name, rate in (("alpha", alpha), ("sigma", sigma)):
        need_from_zero(name, rate)
        if isinstance(rate, Tensor) and rate.ndim not in (0, x.ndim):
            raise ValueError(f"{name} has shape {tuple(rate.shape)}, expected a number or {x.ndim} axes as x has")


@checked
def x0_from_eps(
    x: Float[Tensor, "*shape"], eps: Float[Tensor, "*shape"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "*shape"]:
    """(x - sigma eps) / alpha. Implements :eq:`eq-diff-eps`.

    >>> x0_from_eps(torch.tensor([1.1]), torch.tensor([1.0]), alpha=0.6, sigma=0.8)
    tensor([0.5000])
    """
    _need_rates(x, alpha, sigma, "alpha", alpha)
    return (x - sigma * eps) / alpha


@checked
def eps_from_x0(
    x: Float[Tensor, "*shape"], x0: Float[Tensor, "*shape"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "*shape"]:
    """(x - alpha x_0) / sigma. Implements :eq:`eq-diff-eps`.

    >>> eps_from_x0(torch.tensor([1.0]), torch.tensor([1.0]), alpha=0.6, sigma=0.8)
    tensor([0.5000])
    """
    _need_rates(x, alpha, sigma, "sigma", sigma)
    return (x - alpha * x0) / sigma


@checked
def x0_from_v(
    x: Float[Tensor, "*shape"], v: Float[Tensor, "*shape"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "*shape"]:
    """(alpha x - sigma v) / (alpha^2 + sigma^2), for v = alpha eps - sigma x_0. Implements :eq:`eq-diff-v`.

    >>> x0_from_v(torch.tensor([1.1]), torch.tensor([0.2]), alpha=0.6, sigma=0.8)
    tensor([0.5000])
    """
    _need_rates(x, alpha, sigma, "alpha^2 + sigma^2", alpha**2 + sigma**2)
    return (alpha * x - sigma * v) / (alpha**2 + sigma**2)


@checked
def v_from_x0(
    x: Float[Tensor, "*shape"], x0: Float[Tensor, "*shape"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "*shape"]:
    """alpha eps - sigma x_0 with eps = (x - alpha x_0) / sigma. Implements :eq:`eq-diff-v`.

    >>> v_from_x0(torch.tensor([1.1]), torch.tensor([0.5]), alpha=0.6, sigma=0.8)
    tensor([0.2000])
    """
    _need_rates(x, alpha, sigma, "sigma", sigma)
    return (alpha * x - (alpha**2 + sigma**2) * x0) / sigma


@checked
def x0_from_score(
    x: Float[Tensor, "*shape"], score: Float[Tensor, "*shape"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "*shape"]:
    """(x + sigma^2 score) / alpha: Tweedie's formula with a signal rate. Implements :eq:`eq-diff-score`.

    >>> x0_from_score(torch.tensor([1.1]), torch.tensor([-1.25]), alpha=0.6, sigma=0.8)
    tensor([0.5000])
    """
    _need_rates(x, alpha, sigma, "alpha", alpha)
    return (x + sigma**2 * score) / alpha


@checked
def score_from_x0(
    x: Float[Tensor, "*shape"], x0: Float[Tensor, "*shape"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "*shape"]:
    """(alpha x_0 - x) / sigma^2, which is -eps / sigma. Implements :eq:`eq-diff-score`.

    >>> score_from_x0(torch.tensor([1.1]), torch.tensor([0.5]), alpha=0.6, sigma=0.8)
    tensor([-1.2500])
    """
    _need_rates(x, alpha, sigma, "sigma", sigma)
    return (alpha * x0 - x) / sigma**2


def _as_denoiser(network: Denoiser, schedule: Schedule, convert: Callable[..., Tensor]) -> Denoiser:
    def denoiser(x: Tensor, t: Tensor, **condition: Any) -> Tensor:
        return convert(x, network(x, t, **condition), *rates(schedule, t, x))

    return denoiser


@checked
def denoiser_from_eps(network: Denoiser, schedule: Schedule) -> Denoiser:
    """The denoiser of a network that predicts the noise. It divides by alpha: see `Cosine` for t = 1.

    >>> schedule = Tabulated([0.64])  # alpha = 0.6 at t = 1
    >>> denoiser_from_eps(lambda x, t: torch.ones_like(x), schedule)(torch.tensor([[1.1]]), torch.ones(1))
    tensor([[0.5000]])
    """
    return _as_denoiser(network, schedule, x0_from_eps)


@checked
def denoiser_from_v(network: Denoiser, schedule: Schedule) -> Denoiser:
    """The denoiser of a network that predicts v = alpha eps - sigma x_0. It divides by nothing that vanishes.

    >>> schedule = Tabulated([0.64])  # alpha = 0.6 at t = 1
    >>> denoiser_from_v(lambda x, t: torch.full_like(x, 0.2), schedule)(torch.tensor([[1.1]]), torch.ones(1))
    tensor([[0.5000]])
    """
    return _as_denoiser(network, schedule, x0_from_v)


@checked
def denoiser_from_score(network: Denoiser, schedule: Schedule) -> Denoiser:
    """The denoiser of a network that predicts the score of p_t.

    >>> schedule = Tabulated([0.64])  # alpha = 0.6 at t = 1
    >>> denoiser_from_score(lambda x, t: torch.full_like(x, -1.25), schedule)(torch.tensor([[1.1]]), torch.ones(1))
    tensor([[0.5000]])
    """
    return _as_denoiser(network, schedule, x0_from_score)


# --- where a sampler stops, how it steps ------------------------------------------------------------------------------


@checked
def need_times(times: Sequence[float] | Float[Tensor, " states"], end: float | None = None) -> list[float]:
    """`times` as floats if there are two or more, falling strictly within [0, 1], to `end`. Raises ValueError.

    >>> need_times([0.5, 1.0])
    Traceback (most recent call last):
    ValueError: times has 2 entries from [0.5] to [1.0], expected two or more, falling
    """
    times = [need_between("times", float(t), 0.0, 1.0) for t in times]
    if len(times) < 2 or any(s >= t for t, s in pairwise(times)):
        raise ValueError(
            f"times has {len(times)} entries from {times[:1]} to {times[-1:]}, expected two or more, falling"
        )
    if end is not None and times[-1] != end:
        raise ValueError(f"times falls to {times[-1]}, expected to {end}")
    return times


def need_entries(name: str, entries: Any, n: int, what: str = "step") -> Any:
    """Return `entries` if there is one for each of `n` steps, or of what else there is. Raises ValueError.

    >>> need_entries("variances", [0.1], 2)
    Traceback (most recent call last):
    ValueError: variances has 1 entries, expected one for each of 2 steps
    """
    if len(entries) != n:
        raise ValueError(f"{name} has {len(entries)} entries, expected one for each of {n} {what}s")
    return entries


@checked
def time_grid(n_steps: int, T: int = 1000, spacing: str = "trailing") -> list[float]:
    """`n_steps` of the times 1/T, ..., 1 in falling order, then 0: where a sampler of so many steps stops.

    Implements :eq:`eq-diff-grid`. "trailing" counts down from T by T/n_steps, "leading" up from 1 by the whole part of
    T/n_steps, "linspace" spreads from T to 1. Only trailing and linspace start at noise. Lin et al. (2024).

    >>> time_grid(4), time_grid(4, spacing="leading")
    ([1.0, 0.75, 0.5, 0.25, 0.0], [0.751, 0.501, 0.251, 0.001, 0.0])
    """
    need_between("n_steps", need_count("n_steps", n_steps), 1, need_count("T", T))
    if need_option("spacing", spacing, ("trailing", "leading", "linspace")) == "trailing":
        visited = [round(T - i * T / n_steps) for i in range(n_steps)]
    elif spacing == "leading":
        visited = [1 + i * (T // n_steps) for i in reversed(range(n_steps))]
    else:
        visited = [round(T - i * (T - 1) / max(n_steps - 1, 1)) for i in range(n_steps)]
    return [i / T for i in visited] + [0.0]


def _ends(times: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(s, t) of every step, float64."""
    times = torch.tensor(need_times(times), dtype=torch.float64)
    return times[1:], times[:-1]


@checked
def ancestral_steps(schedule: Schedule, times: Sequence[float], variance: str | PerStep = "posterior") -> Steps:
    """The posterior's mean with the guess in the place of x_0, and a variance of one's choice.

    Implements :eq:`eq-diff-ancestral`. `variance` is "posterior", "forward", or one number or `(*event)` for each step,
    0 or above. A step that arrives at sigma = 0 adds no noise: its mean is the answer.

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> ancestral_steps(schedule, times).variance.round(decimals=4).tolist()  # the last step adds no noise
    [0.3333, 0.0]
    """
    s, t = _ends(times)
    c_x, c_0, least = posterior(schedule, s, t)
    chosen = reverse_variances(schedule, times, variance) if isinstance(variance, str) else variance
    chosen = chosen.tolist() if isinstance(chosen, Tensor) and chosen.ndim == 1 else list(chosen)
    need_entries("variance", chosen, len(t))
    fresh = [0.0 if last else v for v, last in zip(chosen, (least == 0).tolist(), strict=True)]
    for v in fresh:
        need_from_zero("variance", v)
    numbers = not any(isinstance(v, Tensor) and v.ndim for v in fresh)
    return Steps(c_x, c_0, torch.tensor(fresh, dtype=torch.float64) if numbers else fresh)


@checked
def ddim_steps(schedule: Schedule, times: Sequence[float], eta: float = 0.0) -> Steps:
    """The same marginals with eta times the posterior's standard deviation as fresh noise, 0 to 1.

    Implements :eq:`eq-diff-ddim`. eta = 1 is `ancestral_steps`; eta = 0 is deterministic. The variance is that between
    the two times visited, however far apart. Song, Meng & Ermon (2021).

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> ddim_steps(schedule, times).c_x.round(decimals=4).tolist()  # the ratio of sigmas
    [0.8165, 0.0]
    """
    s, t = _ends(times)
    fresh = need_between("eta", eta, 0.0, 1.0) ** 2 * posterior(schedule, s, t).variance
    c_x = (schedule.sigma(s).square() - fresh).clamp(min=0).sqrt() / schedule.sigma(t)
    return Steps(c_x, schedule.alpha(s) - c_x * schedule.alpha(t), fresh)


# --- the reverse variance ---------------------------------------------------------------------------------------------


@checked
def reverse_variances(schedule: Schedule, times: Sequence[float], kind: str) -> Float[Tensor, " steps"]:
    """DDPM's two choices for each step: "forward" (beta) or "posterior" (beta-tilde), float64.

    Implements :eq:`eq-diff-variances`. The last step to t = 0, whose beta-tilde is 0 and gives no density, has beta in
    both. "forward" is best for N(0, I) data, "posterior" for a single point; every other law lies between.

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> reverse_variances(schedule, times, "posterior").round(decimals=4).tolist()
    [0.3333, 0.5]
    """
    s, t = _ends(times)
    forward = transition(schedule, s, t)[1]
    if need_option("kind of variance", kind, ("forward", "posterior")) == "forward":
        return forward
    least = posterior(schedule, s, t).variance
    return torch.where(least > 0, least, forward)


@checked
def optimal_variances(
    schedule: Schedule, times: Sequence[float], errors: Float[Tensor, "steps *event"]
) -> Float[Tensor, "steps *event"]:
    """The best variance of each step, beta-tilde + c_0^2 E|x_0 - x0_hat|^2 / d, from the denoiser's squared errors.

    Implements :eq:`eq-diff-optimal-variance`. `errors` `(steps, *event)`: at the start t of each step, per coordinate
    or averaged over all, and so is the result. Bao et al. (2022), "Analytic-DPM".

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> optimal_variances(schedule, times, torch.tensor([0.9, 0.1])).round(decimals=4).tolist()  # 1/3 + 2/9 * 0.9
    [0.5333, 0.1]
    """
    s, t = _ends(times)
    need_from_zero("errors", need_shape("errors", errors, (len(t), *errors.shape[1:])))
    _, c_0, least = (
        number.view(-1, *[1] * (errors.ndim - 1)).to(errors.device) for number in posterior(schedule, s, t)
    )
    return least + c_0.square() * errors.double()


@checked
def variance_price(best: Float[Tensor, "*steps"], used: Float[Tensor, "*steps"]) -> Float[Tensor, "*steps"]:
    """Nats per dimension that a step loses by `used` in the place of `best`: (r - 1 - log r)/2 with r = best/used.

    Implements :eq:`eq-diff-price`.

    >>> variance_price(best=torch.tensor(1.0), used=torch.tensor(2.0))  # (log 2 - 1/2)/2
    tensor(0.0966)
    """
    need_positive("best", best), need_positive("used", used)
    ratio = best / used
    return 0.5 * (ratio - 1 - ratio.log())


# --- laws whose denoiser is known -------------------------------------------------------------------------------------


@checked
def mixture_denoiser(law: GaussianMixture, schedule: Schedule) -> Denoiser:
    """The perfect denoiser E[x_0 | x_t] of a mixture of Gaussians, one of point masses included; float64.

    Implements :eq:`eq-diff-perfect`.

    >>> denoiser = mixture_denoiser(GaussianMixture([1.0], [[0.0]], [[[1.0]]]), Tabulated([0.75]))
    >>> round(denoiser(torch.tensor([[3.0]]), torch.ones(1)).item(), 4)  # alpha x for N(0, 1)
    1.5
    """

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        guess = torch.empty_like(x, dtype=torch.float64)
        for time in t.unique().tolist():
            here = t == time
            guess[here] = law.denoiser(x[here], float(schedule.alpha(time)), float(schedule.sigma(time)))
        return guess

    return denoiser


@checked
def copier_weights(
    x: Float[Tensor, "batch *event"], data: Float[Tensor, "n *event"], alpha: Rate, sigma: Rate
) -> Float[Tensor, "batch n"]:
    """p(x_0 = data[i] | x_t = x) if the data law is the training set itself: the softmax of
    -|x - alpha x_i|^2 / (2 sigma^2).

    Implements :eq:`eq-diff-copier`. alpha and sigma > 0 are numbers or (batch, 1).

    >>> copier_weights(torch.zeros(1, 1), torch.tensor([[-1.0], [1.0]]), alpha=0.6, sigma=0.8)
    tensor([[0.5000, 0.5000]])
    """
    flat, points = x.flatten(1).double(), data.flatten(1).double()  # expanded squares lose digits in float32
    _need_rates(flat, alpha, sigma, "sigma", sigma)
    match = alpha * (flat @ points.T) - 0.5 * alpha**2 * points.square().sum(1)  # |x|^2 is the same for all
    return (match / sigma**2).softmax(1).to(x.dtype)


@checked
def copier(data: Float[Tensor, "n *event"], schedule: Schedule) -> Denoiser:
    """The denoiser that minimises every training loss exactly: the mean of the training set under `copier_weights`.

    Implements :eq:`eq-diff-copying`. A sampler that follows it returns training examples and nothing else.

    >>> denoiser = copier(torch.tensor([[-1.0], [1.0]]), Tabulated([0.75]))
    >>> denoiser(torch.tensor([[1.5]]), torch.ones(1))  # tanh(alpha x / sigma^2) = tanh(1)
    tensor([[0.7616]])
    """

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (rate.flatten(1) for rate in rates(schedule, t, x.flatten(1)))
        return (copier_weights(x, data, alpha, sigma) @ data.flatten(1)).view_as(x)

    return denoiser


@checked
def expected_terms(
    errors: Float[Tensor, " steps"],
    schedule: Schedule,
    times: Sequence[float],
    variances: Float[Tensor, " steps"],
    power: float,
) -> Float[Tensor, " states"]:
    """The means of (L_0, ..., L_T) in nats per dimension, from the error curve alone.

    Implements :eq:`eq-diff-expected-terms`. `errors` are E|x_0 - x0_hat|^2 / d at times[:-1], `power` is E|x_0|^2 / d.
    Raises ValueError (shapes, times that do not fall to 0, variances not above 0).

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> variances = reverse_variances(schedule, times, "posterior")
    >>> terms = expected_terms(torch.tensor([0.9, 0.0]), schedule, times, variances, power=0.0)
    >>> terms.round(decimals=4).tolist()  # log(pi)/2, 0.9 (1 - 1/3)/2, of N(0, 3/4) to N(0, 1)
    [0.5724, 0.3, 0.0188]
    """
    s, t = _ends(need_times(times, 0.0))
    _, c_0, least = posterior(schedule, s, t)
    need_from_zero("errors", need_shape("errors", errors, (len(t),))), need_positive("variances", variances)
    need_from_zero("power", power)
    wrong = c_0.square() * errors.double() / variances
    ratio = least[:-1] / variances[:-1]
    steps = 0.5 * (wrong[:-1] + ratio - 1 - ratio.log())
    decoder = 0.5 * (wrong[-1:] + variances[-1:].log() + LOG_2PI)
    noise = schedule.sigma(t[:1]).square()
    prior = 0.5 * (schedule.alpha(t[:1]).square() * power + noise - 1 - noise.log())
    return torch.cat([prior, steps, decoder]).flip(0)


@checked
def gaussian_moments(
    steps: Steps,
    schedule: Schedule,
    times: Sequence[float],
    mean: float,
    variance: float,
    start: tuple[float, float] = (0.0, 1.0),
) -> tuple[Float[Tensor, " states"], Float[Tensor, " states"]]:
    """Mean and variance, at each visited time, of a sampler with the perfect denoiser of data N(mean, variance).

    Implements :eq:`eq-diff-moments`: the denoiser is affine, x0_hat = mean + gain (x - alpha mean) with gain = alpha
    variance / (alpha^2 variance + sigma^2), so the law stays Gaussian. `start` is the (mean, variance) at times[0].

    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]  # alpha^2 is 1, 1/2, 1/4
    >>> steps = ancestral_steps(schedule, times, "forward")
    >>> means, variances = gaussian_moments(steps, schedule, times, mean=0.0, variance=1.0)
    >>> variances.round(decimals=4).tolist()  # exact for N(0, 1) until the last step, which adds no noise
    [1.0, 1.0, 0.5]
    """
    _, t = _ends(times)
    alpha, noise = schedule.alpha(t), schedule.sigma(t).square()
    need_from_zero("variance", variance), need_between("mean", mean, -math.inf, math.inf, open_ends=True)
    gain = alpha * variance / (alpha.square() * variance + noise)
    slope = steps.c_x + steps.c_0 * gain
    shift = steps.c_0 * mean * (1 - gain * alpha)
    need_entries("steps", steps.c_x, len(t))
    means, variances = [float(start[0])], [float(start[1])]
    for a, b, fresh in zip(slope.tolist(), shift.tolist(), steps.variance, strict=True):
        means.append(a * means[-1] + b)
        variances.append(a**2 * variances[-1] + float(fresh))
    return torch.tensor(means, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64)


@checked
def entropy_from_mmse(
    log_snr: Float[Tensor, " n"], mmse: Float[Tensor, " n"], variance: float, d: int = 1
) -> Float[Tensor, ""]:
    """The differential entropy of the data in nats, from the least squared error at every noise level.

    Implements :eq:`eq-diff-immse`: h = (d/2) log(2 pi e v) - 1/2 int [d v / (1 + v g) - mmse(g)] dg over the
    signal-to-noise ratio g = exp(log_snr), by the trapezoid rule on the grid given. `variance` v is any positive number
    (the curve of N(0, v I) is the reference); the tails left out must be small. Guo, Shamai & Verdu (2005).

    >>> log_snr = torch.linspace(-5, 5, 11)
    >>> round(entropy_from_mmse(log_snr, 1 / (1 + log_snr.exp()), variance=1.0).item(), 4)  # log(2 pi e)/2
    1.4189
    """
    need_positive("variance", variance)
    need_count("d", d), need_from_zero("mmse", mmse)
    if can_read(log_snr) and not (log_snr.diff() > 0).all():
        raise ValueError("log_snr falls or stands still somewhere, expected a rising grid")
    snr = log_snr.exp()
    excess = d * variance / (1 + variance * snr) - mmse
    return 0.5 * d * (LOG_2PI + 1 + math.log(variance)) - 0.5 * torch.trapezoid(excess * snr, log_snr)
