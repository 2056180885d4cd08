"""Wrong variants of `dgmlib.noising` and `dgmlib.diffusion` (chapter 22)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
from dgmlib.core import Schedule
from dgmlib.diffusion import bound_weights, discretized_log_prob, step_kl
from dgmlib.noising import (
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

BETA = torch.linspace(1e-3, 0.2, 50, dtype=torch.float64)
TABLE = Tabulated(BETA)
GRIDS = (time_grid(13, 50), time_grid(7, 50, "leading"), time_grid(6, 50, "linspace"))
X, X0, GUESS = f64((0.3, -1.2), (0.9, 0.1)), f64((0.5, -1.0), (1.0, -0.2)), f64((0.4, -0.7), (1.0, 0.2))
LOG_SNR = torch.linspace(-10, 10, 41, dtype=torch.float64)
T = "(len(schedule._log_alpha) - 1)"


def _one_step(schedule: Tabulated) -> float:
    return 1 / (len(schedule._log_alpha) - 1)


def _alpha_bar(beta: Tensor) -> Tensor:
    return Tabulated(beta).discretize(len(beta)).alpha_bar


def _marginal(schedule: Schedule, t: float) -> tuple[float, float]:
    """(mean, standard deviation) of x_t given x_0 = 1."""
    return float(schedule.alpha(t)), float(schedule.sigma(t))


def _beta(schedule: Tabulated, t: float) -> float:
    """beta of the step that ends at t."""
    return float(transition(schedule, t - _one_step(schedule), t)[1])


def _eps_loss(x0: Tensor, t: Tensor, seed: int, early: float = 0.0) -> Tensor:
    """The loss of the network that solves for the noise exactly, knowing x_0: zero."""
    x, eps = q_sample(x0, t, TABLE, generator=torch.Generator().manual_seed(seed))
    alpha, sigma = TABLE.alpha(t - early)[:, None], TABLE.sigma(t - early)[:, None]
    return ((x - alpha * x0) / sigma - eps).square().mean(1)


def _weights(schedule: Schedule, s: float, t: float, variance: Tensor | None = None) -> Tensor:
    return torch.stack(tuple(bound_weights(schedule, s, t, variance)))


SUBJECTS = (
    subject(
        "diffusion-alpha-bar",
        _alpha_bar,
        ((BETA,),),
        {
            "E3-140": lambda beta: torch.cat([f64(1.0), (1 - beta).prod().expand(len(beta))]),
            "diffusion-table-without-one": lambda beta: torch.cat([bar := (1 - beta).cumprod(0), bar[-1:]]),
            "diffusion-sum-for-product": lambda beta: torch.cat([f64(1.0), 1 - beta.cumsum(0)]),
            "diffusion-alpha-for-alpha-bar": lambda beta: torch.cat([f64(1.0), 1 - beta]),
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
            "diffusion-one-row-early": lambda schedule, t: _marginal(schedule, t - _one_step(schedule)),
            "E4-37": lambda schedule, t: (1 - _beta(schedule, t), _beta(schedule, t)),
        },
        of=Tabulated,
    ),
    subject(
        "diffusion-posterior",
        posterior,
        ((TABLE, 0.38, 0.4), (TABLE, 0.2, 0.5)),
        {
            "diffusion-beta-for-beta-tilde": edit("added * kept / total", "added"),
            "diffusion-alpha-bar-t": edit("schedule.alpha(s)", "schedule.alpha(t)"),
            "diffusion-means-swapped": edit(
                "scale * kept / total, schedule.alpha(s) * added / total",
                "schedule.alpha(s) * added / total, scale * kept / total",
            ),
            "diffusion-s-for-t": edit(
                "kept, total = schedule.sigma(s).square(), schedule.sigma(t)", "kept = total = schedule.sigma(s)"
            ),
        },
    ),
    subject(
        "diffusion-tweedie",
        x0_from_score,
        ((X, GUESS, 0.8, 0.6),),
        {
            "diffusion-tweedie-without-alpha": edit(" / alpha", ""),
            "diffusion-tweedie-deviation": edit("sigma**2", "sigma"),
            "diffusion-tweedie-sign": edit("x + sigma", "x - sigma"),
        },
    ),
    subject(
        "diffusion-v",
        x0_from_v,
        ((X, GUESS, 0.8, 0.6), (X, GUESS, 0.5, 1.2)),
        {
            "diffusion-v-sign": edit("- sigma * v", "+ sigma * v"),
            "diffusion-v-not-on-the-circle": edit(" / (alpha**2 + sigma**2)", ""),
            "diffusion-v-as-eps": edit("(alpha * x - sigma * v) / (alpha**2 + sigma**2)", "(x - sigma * v) / alpha"),
        },
    ),
    subject(
        "ancestral-steps",
        ancestral_steps,
        tuple((TABLE, times) for times in GRIDS),
        {
            "diffusion-previous-is-t-minus-one": edit(
                *("s, t = _ends(times)", f"_, t = _ends(times)\n    s = (t - 1 / {T}).clamp(min=0)"),
                *("reverse_variances(schedule, times, variance)", "least"),
            ),
            "diffusion-even-stride": edit(
                *("s, t = _ends(times)", f"_, t = _ends(times)\n    s = (t - {T} // len(t) / {T}).clamp(min=0)"),
                *("reverse_variances(schedule, times, variance)", "least"),
            ),
            "diffusion-strided-alpha-bar": edit(
                "scale, added = transition(schedule, s, t)",
                f"added = transition(schedule, (t - 1 / {T}).clamp(min=0), t)[1]\n    scale = (1 - added).sqrt()",
                of=posterior,
            ),
            "diffusion-noise-at-the-end": edit("0.0 if last else v", "v"),
            "diffusion-deviation-is-variance": edit("0.0 if last else v", "0.0 if last else v**2"),
            "E0-64": edit("0.0 if last else v", "0.0"),
            "diffusion-forward-variance": edit("(schedule, times, variance)", '(schedule, times, "forward")'),
        },
    ),
    subject(
        "ddim-steps",
        ddim_steps,
        tuple((TABLE, times, eta) for times in GRIDS for eta in (0.0, 0.5)),
        {
            "diffusion-ddim-one-step-noise": edit(
                "posterior(schedule, s, t)", f"posterior(schedule, (t - 1 / {T}).clamp(min=0), t)"
            ),
            "diffusion-ddim-noise-not-taken-off": edit(
                "schedule.sigma(s).square() - fresh", "schedule.sigma(s).square()"
            ),
            "diffusion-ddim-eta-on-the-variance": edit(" ** 2 * posterior", " * posterior"),
            "diffusion-ddim-final-alpha": edit("schedule.alpha(s) -", "schedule.alpha(torch.cat([s[:-1], t[-1:]])) -"),
        },
    ),
    subject(
        "diffusion-noise-target",
        _eps_loss,
        ((X0, f64(0.4, 0.9), 3),),
        {
            "E3-145": edit("eps), eps", "eps), randn_like(x0, generator=generator)"),
            "diffusion-time-off-by-one": lambda x0, t, seed: _eps_loss(x0, t, seed, early=1 / len(BETA)),
            "diffusion-one-noise-for-all": edit("eps), eps", "eps), eps[:1].expand_as(eps)"),
        },
        of=q_sample,
    ),
    subject(
        "diffusion-weights",
        _weights,
        ((TABLE, 0.38, 0.4), (TABLE, 0.2, 0.5)),
        {
            "E3-143": lambda schedule, s, t, variance=None: torch.ones(4, dtype=torch.float64),
            "diffusion-weights-no-half": edit('(2 * need_positive("variance", variance))', "variance"),
            "diffusion-weights-next-step": lambda schedule, s, t, variance=None: _weights(
                schedule, t, 2 * t - s, variance
            ),
            "diffusion-weights-beta": edit(
                'need_positive("the posterior\'s variance", least)', "transition(schedule, s, t)[1]"
            ),
        },
        of=bound_weights,
    ),
    subject(
        "diffusion-kl-term",
        step_kl,
        ((X0, GUESS, TABLE, 0.38, 0.4, 0.02), (X0, GUESS, TABLE, 0.2, 0.5, 0.3)),
        {
            "diffusion-kl-no-constant": edit(" + (ratio - 1 - ratio.log())", ""),
            "diffusion-kl-reversed": edit(
                "error = (c_0", "ratio = 1 / ratio\n    error = (c_0", "(ratio / least)", "1 / least"
            ),
            "diffusion-kl-mean-over-pixels": edit(".sum(1)", ".mean(1)"),
            "E3-142": edit("return 0.5", "return -0.5"),
        },
    ),
    subject(
        "diffusion-decoder",
        discretized_log_prob,
        ((f64((-1.0, 0.5), (1.0, 0.0)), f64((-0.9, 0.4), (0.7, 0.1)), 0.04, 17),),
        {
            "diffusion-decoder-open": edit(
                *("torch.where(x < half - 1, -math.inf, (x - half - mean) / std)", "(x - half - mean) / std"),
                *("torch.where(x > 1 - half, math.inf, (x + half - mean) / std)", "(x + half - mean) / std"),
            ),
            "diffusion-decoder-density": lambda x, mean, variance, levels: (
                torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).sum(1)
            ),
            "diffusion-decoder-half-cell": edit(", 2) - 1)", ", 2) - 1) / 2"),
        },
    ),
    subject(
        "diffusion-immse",
        entropy_from_mmse,
        ((LOG_SNR, 0.3 / (1 + 0.5 * LOG_SNR.exp()), 0.8), (LOG_SNR, 0.3 / (1 + 0.5 * LOG_SNR.exp()), 1.7, 3)),
        {
            "diffusion-immse-no-half": edit("- 0.5 * torch", "- torch"),
            "diffusion-immse-log-measure": edit("excess * snr", "excess"),
        },
    ),
    subject(
        "diffusion-price",
        variance_price,
        ((f64(0.2, 0.5), f64(0.3, 0.4)),),
        {
            "diffusion-price-turned-round": edit("best / used", "used / best"),
            "diffusion-price-arithmetic": edit("0.5 * (ratio - 1 - ratio.log())", "(used - best).abs() / best"),
        },
    ),
)
