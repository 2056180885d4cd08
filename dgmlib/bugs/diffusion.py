"""Wrong variants of `dgmlib.noising` and `dgmlib.diffusion` (chapter 22)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import subject
from dgmlib.core import Schedule
from dgmlib.diffusion import bound_weights, discretized_log_prob, step_kl
from dgmlib.noising import (
    Steps,
    Tabulated,
    ancestral_steps,
    ddim_steps,
    entropy_from_mmse,
    posterior,
    q_sample,
    time_grid,
    transition,
    variance_price,
    x0_from_score,
    x0_from_v,
)

CHAPTER = "22"


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


BETA = torch.linspace(1e-3, 0.2, 50, dtype=torch.float64)
TABLE = Tabulated(BETA)
GRIDS = (time_grid(13, 50), time_grid(7, 50, "leading"), time_grid(6, 50, "linspace"))
X, X0, GUESS = _t((0.3, -1.2), (0.9, 0.1)), _t((0.5, -1.0), (1.0, -0.2)), _t((0.4, -0.7), (1.0, 0.2))
LOG_SNR = torch.linspace(-10, 10, 41, dtype=torch.float64)


# --- variants that need more than one expression --------------------------------------------------------------------


def _one_step(schedule: Tabulated) -> float:
    return 1 / (len(schedule._log_alpha) - 1)


def _alpha_bar(beta: Tensor) -> Tensor:
    return Tabulated(beta).discretize(len(beta)).alpha_bar


def _shifted(beta: Tensor) -> Tensor:
    return (1 - beta).cumprod(0)


def _marginal(schedule: Schedule, t: float) -> tuple[float, float]:
    """(mean, standard deviation) of x_t given x_0 = 1."""
    return float(schedule.alpha(t)), float(schedule.sigma(t))


def _beta(schedule: Tabulated, t: float) -> float:
    """beta of the step that ends at t."""
    return float(transition(schedule, t - _one_step(schedule), t)[1])


def _one_row_early(schedule: Tabulated, t: float) -> tuple[float, float]:
    return _marginal(schedule, t - _one_step(schedule))


def _posterior(schedule: Schedule, s: float, t: float) -> Steps:
    return posterior(schedule, s, t)


def _mean_at_t(schedule: Schedule, s: float, t: float) -> Steps:
    right = posterior(schedule, s, t)
    return right._replace(c_0=schedule.alpha(t) * right.c_0 / schedule.alpha(s))


def _swapped(schedule: Schedule, s: float, t: float) -> Steps:
    c_x, c_0, variance = posterior(schedule, s, t)
    return Steps(c_0, c_x, variance)


def _unstrided(schedule: Schedule, times: list[float]) -> Steps:
    """The time before is t - 1/T, whatever was skipped (diffusers, before `previous_timestep`)."""
    t = _t(*times[:-1])
    s = (t - _one_step(schedule)).clamp(min=0)
    return _as_lists(posterior(schedule, s, t))


def _even_stride(schedule: Schedule, times: list[float]) -> Steps:
    """The time before is t - T // n: right only for grids of equal, whole steps."""
    t = _t(*times[:-1])
    stride = round(1 / _one_step(schedule)) // (len(times) - 1) * _one_step(schedule)
    return _as_lists(posterior(schedule, (t - stride).clamp(min=0), t))


def _beta_of_one_step(schedule: Schedule, times: list[float]) -> Steps:
    """Strided alpha-bar beside the beta of a single step."""
    s, t = _t(*times[1:]), _t(*times[:-1])
    beta = transition(schedule, (t - _one_step(schedule)).clamp(min=0), t)[1]
    kept, total = schedule.sigma(s).square(), schedule.sigma(t).square()
    scale = (1 - beta).sqrt()
    return _as_lists(Steps(scale * kept / total, schedule.alpha(s) * beta / total, beta * kept / total))


def _noise_at_the_end(schedule: Schedule, times: list[float]) -> Steps:
    steps = ancestral_steps(schedule, times)
    added = float(transition(schedule, times[-1], times[-2])[1])
    return _as_lists(steps._replace(variance=[*steps.variance[:-1], added]))


def _variance_as_deviation(schedule: Schedule, times: list[float]) -> Steps:
    steps = ancestral_steps(schedule, times)
    return _as_lists(steps._replace(variance=[v**2 for v in steps.variance]))


def _ancestral(schedule: Schedule, times: list[float]) -> Steps:
    return _as_lists(ancestral_steps(schedule, times))


def _as_lists(steps: Steps) -> Steps:
    return Steps(*(column if isinstance(column, Tensor) else _t(*column) for column in steps))


def _ddim(schedule: Schedule, times: list[float], eta: float) -> Steps:
    return ddim_steps(schedule, times, eta)


def _ddim_one_step_noise(schedule: Schedule, times: list[float], eta: float) -> Steps:
    """sigma_t of the unstrided chain in a strided walk."""
    s, t = _t(*times[1:]), _t(*times[:-1])
    fresh = eta**2 * posterior(schedule, (t - _one_step(schedule)).clamp(min=0), t).variance
    c_x = (schedule.sigma(s).square() - fresh).clamp(min=0).sqrt() / schedule.sigma(t)
    return Steps(c_x, schedule.alpha(s) - c_x * schedule.alpha(t), fresh)


def _ddim_noise_not_taken_off(schedule: Schedule, times: list[float], eta: float) -> Steps:
    return ddim_steps(schedule, times)._replace(variance=ddim_steps(schedule, times, eta).variance)


def _ddim_variance_linear(schedule: Schedule, times: list[float], eta: float) -> Steps:
    return ddim_steps(schedule, times, math.sqrt(eta))


def _set_alpha_to_one(schedule: Schedule, times: list[float], eta: float) -> Steps:
    right = ddim_steps(schedule, times, eta)
    c_0 = right.c_0.clone()
    c_0[-1] = schedule.alpha(times[-2])
    return right._replace(c_0=c_0)


def _eps_loss(x0: Tensor, t: Tensor, seed: int) -> Tensor:
    """The loss of the network that solves for the noise exactly, knowing x_0: zero."""
    x, eps = q_sample(x0, t, TABLE, generator=torch.Generator().manual_seed(seed))
    return _loss_of_exact(x, eps, x0, t)


def _loss_of_exact(x: Tensor, target: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = TABLE.alpha(t)[:, None], TABLE.sigma(t)[:, None]
    return ((x - alpha * x0) / sigma - target).square().mean(1)


def _fresh_noise(x0: Tensor, t: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x, _ = q_sample(x0, t, TABLE, generator=generator)
    return _loss_of_exact(x, torch.randn(x.shape, generator=generator, dtype=x.dtype), x0, t)


def _time_off_by_one(x0: Tensor, t: Tensor, seed: int) -> Tensor:
    x, eps = q_sample(x0, t, TABLE, generator=torch.Generator().manual_seed(seed))
    return _loss_of_exact(x, eps, x0, t - 1 / len(BETA))


def _one_noise_for_all(x0: Tensor, t: Tensor, seed: int) -> Tensor:
    x, eps = q_sample(x0, t, TABLE, generator=torch.Generator().manual_seed(seed))
    return _loss_of_exact(x, eps[:1].expand_as(eps), x0, t)


def _weights(schedule: Schedule, s: float, t: float, variance: Tensor | None = None) -> Tensor:
    return torch.stack(tuple(bound_weights(schedule, s, t, variance)))


def _kl(x0: Tensor, guess: Tensor, schedule: Schedule, s: float, t: float, variance: float | Tensor) -> Tensor:
    return step_kl(x0, guess, schedule, s, t, variance)


def _kl_without_constant(
    x0: Tensor, guess: Tensor, schedule: Schedule, s: float, t: float, variance: float | Tensor
) -> Tensor:
    _, c_0, _ = posterior(schedule, s, t)
    return ((c_0 * (x0 - guess)).square() / (2 * variance)).sum(1)


def _kl_reversed(x0: Tensor, guess: Tensor, schedule: Schedule, s: float, t: float, variance: float | Tensor) -> Tensor:
    _, c_0, least = posterior(schedule, s, t)
    ratio = variance / least
    return 0.5 * ((c_0 * (x0 - guess)).square() / least + ratio - 1 - ratio.log()).sum(1)


def _open_cells(x: Tensor, mean: Tensor, variance: float | Tensor, levels: int) -> Tensor:
    law = torch.distributions.Normal(mean, math.sqrt(variance))
    half = 1 / (levels - 1)
    return (law.cdf(x + half) - law.cdf(x - half)).log().sum(1)


def _density_for_mass(x: Tensor, mean: Tensor, variance: float | Tensor, levels: int) -> Tensor:
    return torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).sum(1)


SUBJECTS = (
    subject(
        "diffusion-alpha-bar",
        _alpha_bar,
        ((BETA,),),
        {
            "E3-140": lambda beta: torch.cat([_t(1.0), (1 - beta).prod().expand(len(beta))]),
            "diffusion-table-without-one": lambda beta: torch.cat([_shifted(beta), _shifted(beta)[-1:]]),
            "diffusion-sum-for-product": lambda beta: torch.cat([_t(1.0), 1 - beta.cumsum(0)]),
            "diffusion-alpha-for-alpha-bar": lambda beta: torch.cat([_t(1.0), 1 - beta]),
        },
        of=Tabulated,
    ),
    subject(
        "diffusion-marginal",
        _marginal,
        ((TABLE, 0.4), (TABLE, 1.0)),
        {
            "diffusion-variance-for-deviation": lambda schedule, t: (
                _marginal(schedule, t)[0],
                _marginal(schedule, t)[1] ** 2,
            ),
            "diffusion-signal-not-rooted": lambda schedule, t: (
                _marginal(schedule, t)[0] ** 2,
                _marginal(schedule, t)[1],
            ),
            "diffusion-one-row-early": _one_row_early,
            "E4-37": lambda schedule, t: (1 - _beta(schedule, t), _beta(schedule, t)),
        },
        of=Tabulated,
    ),
    subject(
        "diffusion-posterior",
        _posterior,
        ((TABLE, 0.38, 0.4), (TABLE, 0.2, 0.5)),
        {
            "diffusion-beta-for-beta-tilde": lambda schedule, s, t: posterior(schedule, s, t)._replace(
                variance=transition(schedule, s, t)[1]
            ),
            "diffusion-alpha-bar-t": _mean_at_t,
            "diffusion-means-swapped": _swapped,
            "diffusion-s-for-t": lambda schedule, s, t: Steps(
                *(
                    number * schedule.sigma(t).square() / schedule.sigma(s).square()
                    for number in posterior(schedule, s, t)
                )
            ),
        },
        of=posterior,
    ),
    subject(
        "diffusion-tweedie",
        x0_from_score,
        ((X, GUESS, 0.8, 0.6),),
        {
            "diffusion-tweedie-without-alpha": lambda x, score, alpha, sigma: x + sigma**2 * score,
            "diffusion-tweedie-deviation": lambda x, score, alpha, sigma: (x + sigma * score) / alpha,
            "diffusion-tweedie-sign": lambda x, score, alpha, sigma: (x - sigma**2 * score) / alpha,
        },
    ),
    subject(
        "diffusion-v",
        x0_from_v,
        ((X, GUESS, 0.8, 0.6), (X, GUESS, 0.5, 1.2)),
        {
            "diffusion-v-sign": lambda x, v, alpha, sigma: (alpha * x + sigma * v) / (alpha**2 + sigma**2),
            "diffusion-v-not-on-the-circle": lambda x, v, alpha, sigma: alpha * x - sigma * v,
            "diffusion-v-as-eps": lambda x, v, alpha, sigma: (x - sigma * v) / alpha,
        },
    ),
    subject(
        "ancestral-steps",
        _ancestral,
        tuple((TABLE, times) for times in GRIDS),
        {
            "diffusion-previous-is-t-minus-one": _unstrided,
            "diffusion-even-stride": _even_stride,
            "diffusion-strided-alpha-bar": _beta_of_one_step,
            "diffusion-noise-at-the-end": _noise_at_the_end,
            "diffusion-deviation-is-variance": _variance_as_deviation,
            "E0-64": lambda schedule, times: _as_lists(ancestral_steps(schedule, times, [0.0] * (len(times) - 1))),
            "diffusion-forward-variance": lambda schedule, times: _as_lists(
                ancestral_steps(schedule, times, "forward")
            ),
        },
        of=ancestral_steps,
    ),
    subject(
        "ddim-steps",
        _ddim,
        tuple((TABLE, times, eta) for times in GRIDS for eta in (0.0, 0.5)),
        {
            "diffusion-ddim-one-step-noise": _ddim_one_step_noise,
            "diffusion-ddim-noise-not-taken-off": _ddim_noise_not_taken_off,
            "diffusion-ddim-eta-on-the-variance": _ddim_variance_linear,
            "diffusion-ddim-final-alpha": _set_alpha_to_one,
        },
        of=ddim_steps,
    ),
    subject(
        "diffusion-noise-target",
        _eps_loss,
        ((X0, _t(0.4, 0.9), 3),),
        {
            "E3-145": _fresh_noise,
            "diffusion-time-off-by-one": _time_off_by_one,
            "diffusion-one-noise-for-all": _one_noise_for_all,
        },
        of=q_sample,
    ),
    subject(
        "diffusion-weights",
        _weights,
        ((TABLE, 0.38, 0.4), (TABLE, 0.2, 0.5)),
        {
            "E3-143": lambda schedule, s, t, variance=None: torch.ones(4, dtype=torch.float64),
            "diffusion-weights-no-half": lambda schedule, s, t, variance=None: 2 * _weights(schedule, s, t, variance),
            "diffusion-weights-next-step": lambda schedule, s, t, variance=None: _weights(
                schedule, t, 2 * t - s, variance
            ),
            "diffusion-weights-beta": lambda schedule, s, t: torch.stack(
                tuple(bound_weights(schedule, s, t, transition(schedule, s, t)[1]))
            ),
        },
        of=bound_weights,
    ),
    subject(
        "diffusion-kl-term",
        _kl,
        ((X0, GUESS, TABLE, 0.38, 0.4, 0.02), (X0, GUESS, TABLE, 0.2, 0.5, 0.3)),
        {
            "diffusion-kl-no-constant": _kl_without_constant,
            "diffusion-kl-reversed": _kl_reversed,
            "diffusion-kl-mean-over-pixels": lambda x0, *rest: _kl(x0, *rest) / x0.shape[1],
            "E3-142": lambda *step: -_kl(*step),
        },
        of=step_kl,
    ),
    subject(
        "diffusion-decoder",
        discretized_log_prob,
        ((_t((-1.0, 0.5), (1.0, 0.0)), _t((-0.9, 0.4), (0.7, 0.1)), 0.04, 17),),
        {
            "diffusion-decoder-open": _open_cells,
            "diffusion-decoder-density": _density_for_mass,
            "diffusion-decoder-half-cell": lambda x, mean, variance, levels: discretized_log_prob(
                x, mean, variance, 2 * levels - 1
            ),
        },
    ),
    subject(
        "diffusion-immse",
        entropy_from_mmse,
        ((LOG_SNR, 0.3 / (1 + 0.5 * LOG_SNR.exp()), 0.8), (LOG_SNR, 0.3 / (1 + 0.5 * LOG_SNR.exp()), 1.7, 3)),
        {
            "diffusion-immse-no-half": lambda log_snr, mmse, variance, d=1: (
                2 * entropy_from_mmse(log_snr, mmse, variance, d) - 0.5 * d * (1 + math.log(2 * math.pi * variance))
            ),
            "diffusion-immse-log-measure": lambda log_snr, mmse, variance, d=1: (
                0.5 * d * (1 + math.log(2 * math.pi * variance))
                - 0.5 * torch.trapezoid(d * variance / (1 + variance * log_snr.exp()) - mmse, log_snr)
            ),
        },
    ),
    subject(
        "diffusion-price",
        variance_price,
        ((_t(0.2, 0.5), _t(0.3, 0.4)),),
        {
            "diffusion-price-turned-round": lambda best, used: variance_price(used, best),
            "diffusion-price-arithmetic": lambda best, used: (used - best).abs() / best,
        },
    ),
)
