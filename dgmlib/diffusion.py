"""Denoising diffusion: the losses, the bound and the samplers of a chain that `dgmlib.noising` describes (chapter 22).

Whatever the network predicts, the bound and the samplers take a denoiser: `denoiser(x, t) -> x0_hat`, t (batch,) in
[0, 1]. Times run from 0 (data) to 1 (noise); `times` are those visited, falling to 0. NaN in data, states and
predictions passes through.

`python -m dgmlib.diffusion --data mnist` trains, samples, bounds the likelihood and saves; run again, it resumes.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dgmlib.classifier import unit_scale
from dgmlib.core import (
    Schedule,
    can_read,
    checked,
    need_between,
    need_count,
    need_finite,
    need_shape,
    rand_like,
    randn_like,
    uniform_dtype,
)
from dgmlib.noising import (
    Denoiser,
    PerStep,
    Steps,
    Time,
    ancestral_steps,
    ddim_steps,
    expected_terms,
    need_entries,
    need_from_zero,
    need_positive,
    need_times,
    posterior,
    q_sample,
    rates,
    transition,
)
from dgmlib.sampling import categorical_from_uniforms
from dgmlib.vae import normal_log_prob

# --- losses ---------------------------------------------------------------------------------------------------------


@checked
def draw_times(
    x0: Float[Tensor, "batch d *event"],
    n_steps: int,
    probs: Float[Tensor, " steps"] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """(t, weight): for each example a step of 1/n_steps, ..., 1, by default uniform, and what keeps the mean unbiased.

    Implements :eq:`eq-diff-importance`: step i has probability probs[i-1] and weight 1 / (n_steps probs[i-1]). `probs`
    in proportion to the root mean square of each step's loss makes the spread least. For half-precision x0 both are in
    single precision, as bfloat16 has 500 of the 1,000 steps. Raises ValueError (`probs` not above 0, or not n_steps).
    Nichol & Dhariwal (2021), section 3.3.

    >>> t, weight = draw_times(torch.zeros(5, 2), n_steps=4)
    >>> set(t.tolist()) <= {0.25, 0.5, 0.75, 1.0}, weight.tolist()
    (True, [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    u = rand_like(x0.flatten(1)[:, 0].to(uniform_dtype(x0.dtype)), generator=generator)
    if need_count("n_steps", n_steps) and probs is None:
        step, weight = (u * n_steps).long(), torch.ones_like(u)
    else:
        step = categorical_from_uniforms(need_positive("probs", need_shape("probs", probs, (n_steps,))), u)
        weight = (1 / (n_steps * probs[step])).to(u.dtype)
    return ((step + 1).double() / n_steps).to(u.dtype), weight


@checked
def eps_loss(
    network: Denoiser,
    x0: Float[Tensor, "batch d *event"],
    t: Float[Tensor, " batch"],
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " batch"]:
    """Squared error of a guess of the noise at time t, averaged over the event: 1 for a network that answers 0.

    Implements :eq:`eq-diff-simple`: with t from `draw_times`, DDPM's L_simple.

    >>> from dgmlib.noising import Cosine
    >>> x0, t, schedule = torch.zeros(4, 2), torch.full((4,), 0.5), Cosine()
    >>> loss = eps_loss(lambda x, t: x / schedule.sigma(t)[:, None], x0, t, schedule)  # right where x_0 = 0
    >>> bool((loss < 1e-6).all())
    True
    """
    x, eps = q_sample(x0, t, schedule, generator=generator)
    guess = need_shape("the network's answer", network(x, t), tuple(x.shape))
    return (guess - eps).square().flatten(1).mean(1)


@checked
def v_loss(
    network: Denoiser,
    x0: Float[Tensor, "batch d *event"],
    t: Float[Tensor, " batch"],
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " batch"]:
    """Squared error of a guess of v = alpha eps - sigma x_0 at time t, averaged over the event.

    Implements :eq:`eq-diff-v-loss`: (SNR + 1) times the error in x_0, so that no level is forgotten.
    Salimans & Ho (2022).

    >>> from dgmlib.noising import Cosine
    >>> x0, t, schedule = torch.zeros(4, 2), torch.full((4,), 0.5), Cosine()
    >>> loss = v_loss(lambda x, t: x * (schedule.alpha(t) / schedule.sigma(t))[:, None], x0, t, schedule)
    >>> bool((loss < 1e-6).all())
    True
    """
    x, eps = q_sample(x0, t, schedule, generator=generator)
    alpha, sigma = rates(schedule, t, x0)
    guess = need_shape("the network's answer", network(x, t), tuple(x.shape))
    return (guess - (alpha * eps - sigma * x0)).square().flatten(1).mean(1)


class Weights(NamedTuple):
    """What the squared error of each prediction counts in the bound's term.

    >>> from dgmlib.noising import Tabulated
    >>> schedule = Tabulated([0.5, 0.5])  # alpha^2 is 1, 1/2, 1/4
    >>> [round(weight.item(), 4) for weight in bound_weights(schedule, s=0.5, t=1.0)]
    [0.3333, 1.0, 0.25, 0.75]
    """

    x0: Tensor
    eps: Tensor
    v: Tensor
    score: Tensor


@checked
def bound_weights(
    schedule: Schedule, s: Time, t: Time, variance: Float[Tensor, "*times"] | float | None = None
) -> Weights:
    """The factors w with KL = w |error|^2 + constant, for the step from t to s and each of the four predictions.

    Implements :eq:`eq-diff-weights`. `variance` is that of the reverse step, by default the posterior's, for which the
    factor of x_0 is (SNR_s - SNR_t)/2: that has s > 0. Raises ValueError (times, a variance not above 0).

    >>> from dgmlib.noising import Tabulated
    >>> schedule = Tabulated([0.5, 0.5])  # alpha^2 is 1, 1/2, 1/4
    >>> round(bound_weights(schedule, s=0.5, t=1.0).x0.item(), 4)  # (1 - 1/3)/2, the SNR being 1 and 1/3
    0.3333
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _, c_0, least = posterior(schedule, s, t)
    if variance is None:
        variance = need_positive("the posterior's variance", least)
    w = c_0.square() / (2 * need_positive("variance", variance))
    ratio = (sigma / alpha).square()
    return Weights(w, w * ratio, w * sigma.square() / (alpha.square() + sigma.square()).square(), w * ratio * sigma**2)


# --- the bound ------------------------------------------------------------------------------------------------------


@checked
def prior_kl(x0: Float[Tensor, "batch d *event"], schedule: Schedule, t: float = 1.0) -> Float[Tensor, " batch"]:
    """L_T = KL(q(x_T | x_0) || N(0, I)) in nats: what the chain still knows of x_0 when it ends.

    Implements :eq:`eq-diff-prior-term`. Raises ValueError (a time without noise).

    >>> from dgmlib.noising import Tabulated
    >>> schedule = Tabulated([0.5, 0.5])  # alpha^2 is 1, 1/2, 1/4
    >>> round(prior_kl(torch.zeros(1, 1), schedule).item(), 4)  # of N(0, 3/4) to N(0, 1)
    0.0188
    """
    alpha, sigma = float(schedule.alpha(t)), need_positive(f"sigma at t = {t}", float(schedule.sigma(t)))
    constant = sigma**2 - 1 - 2 * math.log(sigma)
    return 0.5 * ((alpha * x0).square() + constant).flatten(1).sum(1)


@checked
def step_kl(
    x0: Float[Tensor, "batch d *event"],
    guess: Float[Tensor, "batch d *event"],
    schedule: Schedule,
    s: float,
    t: float,
    variance: Float[Tensor, "..."] | float,
) -> Float[Tensor, " batch"]:
    """KL(q(x_s | x_t, x_0) || N(c_x x_t + c_0 guess, variance)) in nats: a term of the bound, x_t already averaged out.

    Implements :eq:`eq-diff-kl-term`. `guess` is the denoiser's answer at x_t; `variance` is a number or `(*event)`.
    Raises ValueError (times that are not 0 < s < t, a variance not above 0).

    >>> from dgmlib.noising import Tabulated
    >>> kl = step_kl(torch.zeros(1, 1), torch.ones(1, 1), Tabulated([0.5, 0.5]), s=0.5, t=1.0, variance=1 / 3)
    >>> round(kl.item(), 4)  # an error of 1, at the posterior's own variance: (1 - 1/3)/2
    0.3333
    """
    need_positive("s", s), _need_variance(variance, x0)
    _, c_0, least = (float(number) for number in posterior(schedule, s, t))
    ratio = least / torch.as_tensor(variance, dtype=x0.dtype, device=x0.device)
    error = (c_0 * (x0 - guess)).square() * (ratio / least)
    return 0.5 * (error + (ratio - 1 - ratio.log())).flatten(1).sum(1)


def _need_variance(variance: Tensor | float, x: Tensor) -> None:
    if isinstance(variance, Tensor) and variance.ndim:
        need_shape("variance", variance, tuple(x.shape[1:]))
    need_positive("variance", variance)


def _need_variances(variances: PerStep, n: int) -> None:
    for variance in need_entries("variances", variances, n):
        need_positive("variances", variance)


def _log_normal(x: Tensor, mean: Tensor, variance: Tensor | float) -> Float[Tensor, " batch"]:
    _need_variance(variance, x)
    log_var = torch.as_tensor(variance, dtype=x.dtype, device=x.device).log().expand_as(x)
    return normal_log_prob(x.flatten(1), mean.flatten(1), log_var.flatten(1))


@checked
def discretized_log_prob(
    x: Float[Tensor, "batch d *event"],
    mean: Float[Tensor, "batch d *event"],
    variance: Float[Tensor, "..."] | float,
    levels: int,
) -> Float[Tensor, " batch"]:
    """The log-mass that N(mean, variance) gives to the cell of each grey value, summed over the event, in nats.

    Implements :eq:`eq-diff-decoder`. x stands on `levels` equally spaced values from -1 to 1; the outer cells reach to
    infinity, so the masses sum to one. Raises ValueError (x elsewhere, `variance` no number or `(*event)` above 0).
    Ho et al. (2020), section 3.3.

    >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
    >>> round(discretized_log_prob(x, torch.zeros(3, 1), 1.0, levels=3).exp().sum().item(), 4)
    1.0
    """
    half = 1 / (need_count("levels", levels, 2) - 1)
    level = (x + 1) / (2 * half)
    if can_read(x) and not ((level - level.round()).abs() < 1e-3).logical_and(x.abs() < 1 + half / 2).all():
        raise ValueError(f"x has values off the {levels} levels from -1 to 1, expected grey values scaled by to_unit")
    _need_variance(variance, x)
    x, mean = x.to(uniform_dtype(x.dtype)), mean.to(uniform_dtype(mean.dtype))
    std = torch.as_tensor(variance, dtype=x.dtype, device=x.device).sqrt()
    low = torch.where(x < half - 1, -math.inf, (x - half - mean) / std)
    high = torch.where(x > 1 - half, math.inf, (x + half - mean) / std)
    low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)  # the tail where digits survive
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return (log_high + torch.log(-torch.expm1(log_low - log_high))).flatten(1).sum(1)


@checked
def kl_terms(
    denoiser: Denoiser,
    path: Float[Tensor, "states batch d *event"],
    schedule: Schedule,
    times: Sequence[float],
    variances: PerStep,
    *,
    levels: int | None = None,
) -> Float[Tensor, "batch states"]:
    """(L_0, L_1, ..., L_T) of each example in nats: their sum is an unbiased draw of -ELBO.

    Implements :eq:`eq-diff-elbo-kl`. `path` (see `forward_path`, or independent `q_sample`s) holds the states at
    `times`, x_0 last; `variances` one entry a step, `(*event)` or a number. L_0 is minus the log-density of x_0 given
    the first noisy state, or its log-mass when x_0 is an image of so many `levels`. Raises ValueError (times that do
    not fall to 0, a number of states or variances that is not theirs).

    >>> from dgmlib.noising import Tabulated, reverse_variances
    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]
    >>> variances = reverse_variances(schedule, times, "posterior")  # 1/3, 1/2
    >>> terms = kl_terms(lambda x, t: torch.zeros_like(x), torch.zeros(3, 1, 1), schedule, times, variances)
    >>> round(terms[0, 0].item(), 4), round(terms[0, 2].item(), 4)  # log(pi)/2, and that of prior_kl
    (0.5724, 0.0188)
    """
    times = need_times(times, 0.0)
    *noisy, x0 = need_entries("path", path, len(times), "time")
    _need_variances(variances, len(noisy))
    terms = [prior_kl(x0, schedule, times[0])]
    for x, (t, s), variance in zip(noisy, pairwise(times), variances, strict=True):
        guess = need_shape("the denoiser's answer", denoiser(x, x.new_full((len(x),), t)), tuple(x.shape))
        if s > 0:
            terms.append(step_kl(x0, guess, schedule, s, t, variance))
        elif levels is None:
            terms.append(-_log_normal(x0, guess, variance))
        else:
            terms.append(-discretized_log_prob(x0, guess, variance, levels))
    return torch.stack(terms[::-1], 1)


@checked
def joint_terms(
    denoiser: Denoiser,
    path: Float[Tensor, "states batch d *event"],
    schedule: Schedule,
    times: Sequence[float],
    variances: PerStep,
) -> Float[Tensor, "batch states"]:
    """log q(x_t | x_s) - log p(x_s | x_t) for every step, and -log p(x_T): the bound before any integral is done.

    Implements :eq:`eq-diff-elbo-joint`. Their sum has the mean of that of `kl_terms`, but each is far noisier. The path
    must be one of `forward_path`; columns and refusals as in `kl_terms`.

    >>> from dgmlib.noising import Tabulated, reverse_variances
    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]
    >>> variances = reverse_variances(schedule, times, "forward")
    >>> terms = joint_terms(lambda x, t: torch.zeros_like(x), torch.zeros(3, 1, 1), schedule, times, variances)
    >>> round(terms.sum().item(), 4)  # no step surprises; log(2 pi)/2 for x_T
    0.9189
    """
    times = need_times(times, 0.0)
    need_entries("path", path, len(times), "time"), _need_variances(variances, len(times) - 1)
    terms = [-_log_normal(path[0], torch.zeros_like(path[0]), 1.0)]
    for (x, below), (t, s), variance in zip(pairwise(path), pairwise(times), variances, strict=True):
        c_x, c_0, _ = (float(number) for number in posterior(schedule, s, t))
        scale, added = (float(number) for number in transition(schedule, s, t))
        mean = c_x * x + c_0 * denoiser(x, x.new_full((len(x),), t))
        terms.append(_log_normal(x, scale * below, added) - _log_normal(below, mean, variance))
    return torch.stack(terms[::-1], 1)


@checked
@torch.no_grad()
def error_curve(
    denoiser: Denoiser,
    x0: Float[Tensor, "batch d *event"],
    schedule: Schedule,
    times: Sequence[float],
    n: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "steps n"]:
    """|x_0 - x0_hat|^2 / d at each of times[:-1], `n` examples drawn anew for each: all that the bound asks of data.

    Implements :eq:`eq-diff-error-curve`. The mean of a row feeds `optimal_variances` and `expected_terms`.
    Float64, on the CPU, as the schedule's own numbers are.

    >>> from dgmlib.noising import Cosine
    >>> error_curve(lambda x, t: torch.zeros_like(x), torch.ones(4, 2), Cosine(), [1.0, 0.5, 0.0], n=3).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    need_count("n", n)
    rows = []
    for t in need_times(times)[:-1]:
        x = x0[torch.randint(len(x0), (n,), generator=generator, device=x0.device)]
        clock = x.new_full((n,), t)
        guess = denoiser(q_sample(x, clock, schedule, generator=generator)[0], clock)
        need_shape("the denoiser's answer", guess, tuple(x.shape))
        rows.append((x - guess).double().square().flatten(1).mean(1))
    return torch.stack(rows).cpu()


# --- samplers -------------------------------------------------------------------------------------------------------


@checked
@torch.no_grad()
def walk(
    denoiser: Denoiser,
    x: Float[Tensor, "batch d *event"],
    times: Sequence[float],
    steps: Steps,
    *,
    generator: torch.Generator | None = None,
    callback: Callable[[Tensor, float], None] | None = None,
) -> Float[Tensor, "batch d *event"]:
    """Take the steps x <- c_x x + c_0 denoiser(x, t) + sqrt(variance) z from `x`, which stands at times[0].

    `callback(x, t)` sees each state arrived at, and its time. Not differentiable. Raises ValueError (as many steps as
    times, a variance below 0, NaN in `x`).

    >>> steps = Steps(c_x=torch.tensor([0.5]), c_0=torch.tensor([1.0]), variance=torch.tensor([0.0]))
    >>> walk(lambda x, t: torch.ones_like(x), torch.full((1, 1), 4.0), [1.0, 0.0], steps).tolist()
    [[3.0]]
    """
    times = need_times(times)
    need_finite("x", x), need_entries("steps", steps.c_x, len(times) - 1)
    clock = torch.tensor(times, dtype=x.dtype, device=x.device)[:, None].expand(-1, len(x))
    numbers = [column.tolist() if isinstance(column, Tensor) and column.ndim == 1 else column for column in steps]
    for i, (c_x, c_0, variance) in enumerate(zip(*numbers, strict=True)):
        guess = need_shape("the denoiser's answer", denoiser(x, clock[i]), tuple(x.shape))
        x = torch.add(c_x * x, guess, alpha=c_0)
        need_from_zero("variance", variance)
        if isinstance(variance, Tensor):
            x = x + variance.sqrt().to(x) * randn_like(x, generator=generator)
        elif variance > 0:
            x.add_(randn_like(x, generator=generator), alpha=math.sqrt(variance))
        if callback is not None:
            callback(x, times[i + 1])
    return x


@checked
def ancestral(
    denoiser: Denoiser,
    x: Float[Tensor, "batch d *event"],
    schedule: Schedule,
    times: Sequence[float],
    *,
    variance: str | PerStep = "posterior",
    generator: torch.Generator | None = None,
    callback: Callable[[Tensor, float], None] | None = None,
) -> Float[Tensor, "batch d *event"]:
    """DDPM's sampler from `x`, which stands at times[0], to times[-1]: see `ancestral_steps` and `walk`.

    Ho, Jain & Abbeel (2020), algorithm 2.

    >>> from dgmlib.noising import Cosine
    >>> x = ancestral(lambda x, t: torch.full_like(x, 3.5), torch.randn(2, 1), Cosine(), [1.0, 0.5, 0.0])
    >>> x.flatten()  # who knows that the data are one point arrives there
    tensor([3.5000, 3.5000])
    """
    return walk(denoiser, x, times, ancestral_steps(schedule, times, variance), generator=generator, callback=callback)


@checked
def ddim(
    denoiser: Denoiser,
    x: Float[Tensor, "batch d *event"],
    schedule: Schedule,
    times: Sequence[float],
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    callback: Callable[[Tensor, float], None] | None = None,
) -> Float[Tensor, "batch d *event"]:
    """DDIM's sampler from `x`, which stands at times[0], to times[-1]: see `ddim_steps` and `walk`.

    Song, Meng & Ermon (2021), equation 12.

    >>> from dgmlib.noising import Cosine
    >>> x = ddim(lambda x, t: torch.full_like(x, 3.5), torch.randn(2, 1), Cosine(), [1.0, 0.5, 0.0])
    >>> x.flatten()  # who knows that the data are one point arrives there
    tensor([3.5000, 3.5000])
    """
    return walk(denoiser, x, times, ddim_steps(schedule, times, eta), generator=generator, callback=callback)


@checked
def clipped(denoiser: Denoiser) -> Denoiser:
    """The same guesses, kept in [-1, 1] where the data live: that can only bring them nearer.

    >>> clipped(lambda x, t: 2 * x)(torch.tensor([[-3.0, 0.25]]), torch.ones(1))
    tensor([[-1.0000,  0.5000]])
    """
    return lambda x, t, **condition: denoiser(x, t, **condition).clamp(-1, 1)


@checked
def to_unit(x: UInt8[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """Grey values 0 to levels - 1 as numbers from -1 to 1.

    >>> to_unit(torch.tensor([0, 1, 2], dtype=torch.uint8), levels=3).tolist()
    [-1.0, 0.0, 1.0]
    """
    return 2 * unit_scale(x, levels) - 1


@checked
@torch.no_grad()
def bits_per_dim_terms(
    denoiser: Denoiser,
    x0: Float[Tensor, "batch d *event"],
    errors: Float[Tensor, "steps n"],
    schedule: Schedule,
    times: Sequence[float],
    variances: Float[Tensor, " steps"],
    levels: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n states"]:
    """`n` independent draws of (L_0, ..., L_T) in bits per dimension, on the masses of images with grey `levels`.

    Implements :eq:`eq-diff-bits`. `errors` is the `error_curve` of images like `x0`, of which each draw takes an equal
    share for its L_0. Raises ValueError (fewer images than draws, and as `expected_terms`, `discretized_log_prob`).

    >>> from dgmlib.noising import Tabulated, reverse_variances
    >>> schedule, times = Tabulated([0.5, 0.5]), [1.0, 0.5, 0.0]
    >>> x0, errors, variances = torch.ones(4, 2), torch.zeros(2, 4), reverse_variances(schedule, times, "posterior")
    >>> terms = bits_per_dim_terms(lambda x, t: torch.ones_like(x), x0, errors, schedule, times, variances, 2)
    >>> terms.shape, round(terms[0, -1].item(), 4)  # L_T: log2(4/3)/2 for data of mean square 1
    (torch.Size([4, 3]), 0.2075)
    """
    need_between("the number of columns of errors", errors.shape[1], 1, len(need_finite("x0", x0)))
    power = x0.double().square().mean().item()
    terms = torch.stack([expected_terms(column, schedule, times, variances, power) for column in errors.unbind(1)])
    x0 = x0[: len(x0) // len(terms) * len(terms)]
    clock = x0.new_full((len(x0),), times[-2])
    guess = denoiser(q_sample(x0, clock, schedule, generator=generator)[0], clock)
    log_mass = discretized_log_prob(x0.double(), guess.double(), variances[-1].item(), levels)
    terms[:, 0] = -log_mass.view(len(terms), -1).mean(1).cpu() / x0[0].numel()
    return terms / math.log(2)


if __name__ == "__main__":  # python -m dgmlib.diffusion
    from dgmlib.commands import run

    run("diffusion")
