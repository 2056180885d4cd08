"""Wrong variants of `dgmlib.noising` and `dgmlib.diffusion` (chapter 22)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
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


def _kl(x0: Tensor, guess: Tensor, schedule: Schedule, s: float, t: float, variance: float) -> Tensor:
    return step_kl(x0, guess, schedule, s, t, variance)


def _kl_without_constant(x0: Tensor, guess: Tensor, schedule: Schedule, s: float, t: float, variance: float) -> Tensor:
    _, c_0, _ = posterior(schedule, s, t)
    return ((c_0 * (x0 - guess)).square() / (2 * variance)).sum(1)


def _kl_reversed(x0: Tensor, guess: Tensor, schedule: Schedule, s: float, t: float, variance: float) -> Tensor:
    _, c_0, least = posterior(schedule, s, t)
    ratio = variance / least
    return 0.5 * ((c_0 * (x0 - guess)).square() / least + ratio - 1 - ratio.log()).sum(1)


def _open_cells(x: Tensor, mean: Tensor, variance: float, levels: int) -> Tensor:
    law = torch.distributions.Normal(mean, math.sqrt(variance))
    half = 1 / (levels - 1)
    return (law.cdf(x + half) - law.cdf(x - half)).log().sum(1)


def _density_for_mass(x: Tensor, mean: Tensor, variance: float, levels: int) -> Tensor:
    return torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).sum(1)


SUBJECTS = (
    Subject(
        "diffusion-alpha-bar",
        _alpha_bar,
        ((BETA,),),
        (
            Bug(
                "E3-140",
                "The product runs to T whatever t is: every x_t is the last one.",
                lambda beta: torch.cat([_t(1.0), (1 - beta).prod().expand(len(beta))]),
                "the loss stays near 1 for every t, and looks like a hard problem",
                "the product runs to t",
            ),
            Bug(
                "diffusion-table-without-one",
                "The table starts at the first step, so row t holds step t + 1 (the off-by-one of half the trackers).",
                lambda beta: torch.cat([_shifted(beta), _shifted(beta)[-1:]]),
                "beta-tilde of the first step is not 0; samples stay grainy",
                "keep T + 1 rows with alpha-bar_0 = 1",
            ),
            Bug(
                "diffusion-sum-for-product",
                "1 - sum of beta: the first-order expansion.",
                lambda beta: torch.cat([_t(1.0), 1 - beta.cumsum(0)]),
                "negative after a while",
                "multiply",
            ),
            Bug(
                "diffusion-alpha-for-alpha-bar",
                "1 - beta_t alone, without the steps before.",
                lambda beta: torch.cat([_t(1.0), 1 - beta]),
                "x_T is still an image",
                "multiply the steps up to t",
            ),
        ),
    ),
    Subject(
        "diffusion-marginal",
        _marginal,
        ((TABLE, 0.4), (TABLE, 1.0)),
        (
            Bug(
                "diffusion-variance-for-deviation",
                "1 - alpha-bar multiplies the noise: sigma squared for sigma (ddpm-torch #9).",
                lambda schedule, t: (_marginal(schedule, t)[0], _marginal(schedule, t)[1] ** 2),
                "too little noise in the middle of the chain",
                "its square root",
            ),
            Bug(
                "diffusion-signal-not-rooted",
                "alpha-bar multiplies the data instead of its root.",
                lambda schedule, t: (_marginal(schedule, t)[0] ** 2, _marginal(schedule, t)[1]),
                "the variance of standardised data is not kept",
                "the square root",
            ),
            Bug(
                "diffusion-one-row-early",
                "q_sample reads row t - 1 (ilvr_adm #13): the network is told t and shown the step before.",
                _one_row_early,
                "a perfect loss, grainy samples",
                "one index for one time",
            ),
            Bug(
                "E4-37",
                "Two conventions in one line: alpha_t multiplies the data where its root belongs, beta_t the noise.",
                lambda schedule, t: (1 - _beta(schedule, t), _beta(schedule, t)),
                "the squares do not add to one",
                "alpha^2 + sigma^2 = 1 with the product's root",
            ),
        ),
    ),
    Subject(
        "diffusion-posterior",
        _posterior,
        ((TABLE, 0.38, 0.4), (TABLE, 0.2, 0.5)),
        (
            Bug(
                "diffusion-beta-for-beta-tilde",
                "The forward variance: what x_0 says about x_s is forgotten.",
                lambda schedule, s, t: posterior(schedule, s, t)._replace(variance=transition(schedule, s, t)[1]),
                "a KL that is never zero",
                "times (1 - alpha-bar_s)/(1 - alpha-bar_t)",
            ),
            Bug(
                "diffusion-alpha-bar-t",
                "alpha-bar_t for alpha-bar_s in the factor of x_0.",
                _mean_at_t,
                "the averaged posterior is not the marginal",
                "the root of alpha-bar at the time of arrival",
            ),
            Bug(
                "diffusion-means-swapped",
                "The factors of x_t and x_0 are exchanged.",
                _swapped,
                "jumps to x_0 at once",
                "far from the data x_t weighs more",
            ),
            Bug(
                "diffusion-s-for-t",
                "The noise of time s in every denominator.",
                lambda schedule, s, t: Steps(
                    *(
                        number * schedule.sigma(t).square() / schedule.sigma(s).square()
                        for number in posterior(schedule, s, t)
                    )
                ),
                "the weights do not fit the marginals",
                "divide by 1 - alpha-bar_t",
            ),
        ),
    ),
    Subject(
        "diffusion-tweedie",
        x0_from_score,
        ((X, GUESS, 0.8, 0.6),),
        (
            Bug(
                "diffusion-tweedie-without-alpha",
                "x + sigma^2 s: Tweedie's formula of a chain that does not shrink the data.",
                lambda x, score, alpha, sigma: x + sigma**2 * score,
                "the guess is too small by alpha",
                "divide by alpha",
            ),
            Bug(
                "diffusion-tweedie-deviation",
                "sigma for sigma^2: the score is not the noise (score_sde #26).",
                lambda x, score, alpha, sigma: (x + sigma * score) / alpha,
                "right at sigma = 1 only",
                "the score is -eps/sigma",
            ),
            Bug(
                "diffusion-tweedie-sign",
                "The score points to the data, and is subtracted.",
                lambda x, score, alpha, sigma: (x - sigma**2 * score) / alpha,
                "samples fly apart",
                "add it",
            ),
        ),
    ),
    Subject(
        "diffusion-v",
        x0_from_v,
        ((X, GUESS, 0.8, 0.6), (X, GUESS, 0.5, 1.2)),
        (
            Bug(
                "diffusion-v-sign",
                "alpha x + sigma v.",
                lambda x, v, alpha, sigma: (alpha * x + sigma * v) / (alpha**2 + sigma**2),
                "the noise is added again",
                "minus",
            ),
            Bug(
                "diffusion-v-not-on-the-circle",
                "The formula of alpha^2 + sigma^2 = 1 on a schedule that does not keep it.",
                lambda x, v, alpha, sigma: alpha * x - sigma * v,
                "right on the circle only",
                "divide by alpha^2 + sigma^2",
            ),
            Bug(
                "diffusion-v-as-eps",
                "A network trained on v, read as a network trained on the noise.",
                lambda x, v, alpha, sigma: (x - sigma * v) / alpha,
                "saturated, blotchy samples",
                "convert by what was trained",
            ),
        ),
    ),
    Subject(
        "ancestral-steps",
        _ancestral,
        tuple((TABLE, times) for times in GRIDS),
        (
            Bug(
                "diffusion-previous-is-t-minus-one",
                "The time before is taken to be t - 1 although steps are skipped (diffusers #2585, #9261).",
                _unstrided,
                "with few steps the samples stay noisy",
                "pass both times",
            ),
            Bug(
                "diffusion-even-stride",
                "The time before is t - T//n (diffusers #11347, #14357): wrong if n does not divide T, or on linspace.",
                _even_stride,
                "5e-3 to 5e-2 off the marginal of a point mass",
                "pass both times",
            ),
            Bug(
                "diffusion-strided-alpha-bar",
                "Strided alpha-bar beside the beta of one step (diffusers PR #3006; ddpm-torch #9).",
                _beta_of_one_step,
                "too little noise is taken off",
                "beta between the two times: 1 - alpha-bar_t/alpha-bar_s",
            ),
            Bug(
                "diffusion-noise-at-the-end",
                "Fresh noise in the last step too.",
                _noise_at_the_end,
                "grain of size sqrt(beta_1)",
                "the last mean is the answer",
            ),
            Bug(
                "diffusion-deviation-is-variance",
                "The variance multiplies the noise (learned_range read without its log, diffusers #2090).",
                _variance_as_deviation,
                "too smooth: most of the spread is lost",
                "its square root",
            ),
            Bug(
                "E0-64",
                "Only the mean: 'the way back just removes noise'.",
                lambda schedule, times: _as_lists(ancestral_steps(schedule, times, [0.0] * (len(times) - 1))),
                "N(m, v) shrinks towards m",
                "add sqrt(variance) z in every step but the last",
            ),
            Bug(
                "diffusion-forward-variance",
                "beta asked for where beta-tilde is meant: right for N(0, I), wrong for a point.",
                lambda schedule, times: _as_lists(ancestral_steps(schedule, times, "forward")),
                "a point mass is blurred on the way",
                "say which of the two",
            ),
        ),
    ),
    Subject(
        "ddim-steps",
        _ddim,
        tuple((TABLE, times, eta) for times in GRIDS for eta in (0.0, 0.5)),
        (
            Bug(
                "diffusion-ddim-one-step-noise",
                "eta's noise from the unstrided chain (CoursIA PR #16158).",
                _ddim_one_step_noise,
                "eta = 1 is not DDPM when steps are skipped",
                "the strided alpha-bar in both factors",
            ),
            Bug(
                "diffusion-ddim-noise-not-taken-off",
                "Fresh noise is added and the old one kept whole: the variance grows.",
                _ddim_noise_not_taken_off,
                "brighter grain with larger eta",
                "sqrt(sigma_s^2 - fresh) for the old noise",
            ),
            Bug(
                "diffusion-ddim-eta-on-the-variance",
                "eta multiplies the variance instead of the deviation.",
                _ddim_variance_linear,
                "right at 0 and 1 only",
                "eta^2",
            ),
            Bug(
                "diffusion-ddim-final-alpha",
                "The last step aims at the first noisy level, not at the data (set_alpha_to_one, diffusers #5921).",
                _set_alpha_to_one,
                "a last image too pale by alpha_1",
                "alpha-bar_0 = 1",
            ),
        ),
    ),
    Subject(
        "diffusion-noise-target",
        _eps_loss,
        ((X0, _t(0.4, 0.9), 3),),
        (
            Bug(
                "E3-145",
                "The target is a fresh draw, not the noise that made x_t.",
                _fresh_noise,
                "the loss ends at exactly 1: the best guess is 0",
                "keep the noise of q_sample",
            ),
            Bug(
                "diffusion-time-off-by-one",
                "The network reads t - 1 where x_t was made at t.",
                _time_off_by_one,
                "a floor under the loss, largest at small t",
                "one index for one time",
            ),
            Bug(
                "diffusion-one-noise-for-all",
                "One draw of the noise, broadcast over the batch in the target.",
                _one_noise_for_all,
                "loss near 2 but for one example",
                "noise in the shape of the batch",
            ),
        ),
    ),
    Subject(
        "diffusion-weights",
        _weights,
        ((TABLE, 0.38, 0.4), (TABLE, 0.2, 0.5)),
        (
            Bug(
                "E3-143",
                "All weights one: the simple loss taken for the bound.",
                lambda schedule, s, t, variance=None: torch.ones(4, dtype=torch.float64),
                "a 'bound' that does not depend on the schedule",
                "(SNR_s - SNR_t)/2 for x_0, and its conversions",
            ),
            Bug(
                "diffusion-weights-no-half",
                "The half is lost.",
                lambda schedule, s, t, variance=None: 2 * _weights(schedule, s, t, variance),
                "twice the KL",
                "halve",
            ),
            Bug(
                "diffusion-weights-next-step",
                "SNR_t - SNR_{t+1}: the difference on the wrong side.",
                lambda schedule, s, t, variance=None: _weights(schedule, t, 2 * t - s, variance),
                "too small everywhere",
                "SNR_s - SNR_t",
            ),
            Bug(
                "diffusion-weights-beta",
                "With the variance beta in the place of beta-tilde.",
                lambda schedule, s, t: torch.stack(tuple(bound_weights(schedule, s, t, transition(schedule, s, t)[1]))),
                "smaller, most of all near the data",
                "divide by the variance that is used",
            ),
        ),
    ),
    Subject(
        "diffusion-kl-term",
        _kl,
        ((X0, GUESS, TABLE, 0.38, 0.4, 0.02), (X0, GUESS, TABLE, 0.2, 0.5, 0.3)),
        (
            Bug(
                "diffusion-kl-no-constant",
                "The squared error alone: right only when the variances agree.",
                _kl_without_constant,
                "a bound that a larger variance always improves",
                "add (r - 1 - log r)/2 for each coordinate",
            ),
            Bug(
                "diffusion-kl-reversed",
                "KL(model || posterior).",
                _kl_reversed,
                "explodes near the data",
                "average under q",
            ),
            Bug(
                "diffusion-kl-mean-over-pixels",
                "The mean over coordinates for their sum.",
                lambda x0, *rest: _kl(x0, *rest) / x0.shape[1],
                "does not grow with the image",
                "sum",
            ),
            Bug(
                "E3-142",
                "The sign: what is minimised is minus the ELBO.",
                lambda *step: -_kl(*step),
                "negative",
                "the loss is a sum of KLs",
            ),
        ),
    ),
    Subject(
        "diffusion-decoder",
        discretized_log_prob,
        ((_t((-1.0, 0.5), (1.0, 0.0)), _t((-0.9, 0.4), (0.7, 0.1)), 0.04, 17),),
        (
            Bug(
                "diffusion-decoder-open",
                "The outer cells stop: mass beyond the darkest and the lightest grey belongs to nobody.",
                _open_cells,
                "masses sum to less than one",
                "let the outer cells reach to infinity",
            ),
            Bug(
                "diffusion-decoder-density",
                "The density in the place of the mass: bits per dimension of a number that is none.",
                _density_for_mass,
                "negative code lengths",
                "integrate over the cell",
            ),
            Bug(
                "diffusion-decoder-half-cell",
                "Cells of half the width.",
                lambda x, mean, variance, levels: discretized_log_prob(x, mean, variance, 2 * levels - 1),
                "masses sum to about a half",
                "1/(levels - 1) to either side",
            ),
        ),
    ),
    Subject(
        "diffusion-immse",
        entropy_from_mmse,
        ((LOG_SNR, 0.3 / (1 + 0.5 * LOG_SNR.exp()), 0.8), (LOG_SNR, 0.3 / (1 + 0.5 * LOG_SNR.exp()), 1.7, 3)),
        (
            Bug(
                "diffusion-immse-no-half",
                "The area without its half.",
                lambda log_snr, mmse, variance, d=1: (
                    2 * entropy_from_mmse(log_snr, mmse, variance, d) - 0.5 * d * (1 + math.log(2 * math.pi * variance))
                ),
                "a gap twice too large",
                "halve",
            ),
            Bug(
                "diffusion-immse-log-measure",
                "Integrated over log-SNR without the factor SNR.",
                lambda log_snr, mmse, variance, d=1: (
                    0.5 * d * (1 + math.log(2 * math.pi * variance))
                    - 0.5 * torch.trapezoid(d * variance / (1 + variance * log_snr.exp()) - mmse, log_snr)
                ),
                "grows with the left end of the grid",
                "d(SNR) = SNR d(log SNR)",
            ),
        ),
    ),
    Subject(
        "diffusion-price",
        variance_price,
        ((_t(0.2, 0.5), _t(0.3, 0.4)),),
        (
            Bug(
                "diffusion-price-turned-round",
                "used/best for best/used.",
                lambda best, used: variance_price(used, best),
                "too large a variance seems dearer than too small a one",
                "the true spread over the one assumed",
            ),
            Bug(
                "diffusion-price-arithmetic",
                "The difference of the variances, relative.",
                lambda best, used: (used - best).abs() / best,
                "not zero to second order at the optimum",
                "(r - 1 - log r)/2",
            ),
        ),
    ),
)

SLIPS = {
    "diffusion-leading-for-trailing": "The grid that ends at the first step, for the one that begins at the last.",
    "diffusion-stride-rounded-down": "T // n as the stride of every grid.",
    "diffusion-eps-for-v": "The noise as the target of a network that predicts v.",
    "diffusion-v-of-unit-data": "The velocity taken to have variance 1 whatever the variance of the data.",
    "diffusion-fresh-target": "A fresh draw as the target, not the noise that made x_t.",
    "diffusion-noise-for-score": "The noise, (alpha x_0 - x)/sigma but for its sign, taken for the score.",
    "diffusion-v-turned-round": "sigma x_0 - alpha eps for alpha eps - sigma x_0.",
    "diffusion-letters-mixed": "One paper's alpha is another's alpha squared: the square of a product forgotten.",
    "diffusion-loss-compares-schedules": "A lower loss taken for a better schedule: the weights differ.",
    "diffusion-reverse-always-gaussian": "The reverse step taken to be Gaussian at any beta.",
    "diffusion-marginal-any-T": "The betas of a thousand steps cut short: the chain ends before the noise.",
    "diffusion-stationary-reversal": "The reversal of the stationary chain used before the chain is stationary.",
    "diffusion-markov-marginal": "The present forgotten too: the next state drawn from its marginal.",
    "diffusion-noise-without-shrinking": "Noise added to an image that was not shrunk: the variance grows.",
    "diffusion-independent-times": "Two times of one path taken for independent.",
    "diffusion-half-log-snr": "log(alpha/sigma) for log(alpha^2/sigma^2).",
    "diffusion-time-reversed": "Noise taken to move the law away from N(0, I).",
    "diffusion-squared-rate": "exp(-integral of beta) for alpha, which is its root.",
    "diffusion-cosine-squared": "The cosine schedule's alpha-bar taken for alpha.",
    "diffusion-prior-variance-only": "The last term of the bound without the mean of q(x_T | x_0).",
    "diffusion-mean-of-modes": "The plain mean of the components' answers, whatever the noisy value says of them.",
    "diffusion-no-spread": "A variance without the spread of what it averages over.",
    "diffusion-dropped-prior-term": "L_T left out of the bound.",
    "diffusion-dropped-decoder-term": "L_0 left out of the bound.",
    "diffusion-turned-without-marginals": "A forward step turned round by Bayes without the marginals.",
    "diffusion-quadratic-without-trace": "Half the variance of a quadratic form.",
    "diffusion-variances-exchanged": "Two variances exchanged.",
    "diffusion-top-layer-only": "The rate of the last layer alone, for that of all layers.",
    "diffusion-mean-without-sigma": "The predicted noise subtracted without its division by sigma.",
    "diffusion-weight-without-alpha": "The weight of the noise error without 1/alpha_t.",
    "diffusion-weights-not-inverse": "Importance weights multiplied by the probability instead of divided by it.",
    "diffusion-unweighted-importance": "Steps drawn unevenly and not weighted.",
    "diffusion-mean-of-extremes": "The mean of the two usual variances for the best one.",
    "diffusion-no-gap": "The bound taken to be tight because the denoiser is perfect.",
    "diffusion-error-at-the-clean-end": "The error of a step read at its clean end.",
    "diffusion-mean-image": "The mean of the training set for the perfect denoiser.",
    "diffusion-time-not-in-steps": "Times in [0, 1] fed to waves made for steps up to 1,000.",
    "diffusion-nats-for-bits": "Nats called bits.",
}
