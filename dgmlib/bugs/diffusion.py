"""Wrong variants of `dgmlib.noising` and `dgmlib.diffusion` (chapter 22)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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
    Subject(
        "diffusion-alpha-bar",
        _alpha_bar,
        ((BETA,),),
        (
            Bug(
                "E3-140",
                "The product runs to T whatever t is: every x_t is the last one.",
                lambda beta: torch.cat([_t(1.0), (1 - beta).prod().expand(len(beta))]),
                name="the product runs to T",
                symptom="the loss stays near 1 for every t, and looks like a hard problem",
                place="the upper end of the product",
                cure="the product runs to t",
            ),
            Bug(
                "diffusion-table-without-one",
                "The table starts at the first step, so row t holds step t + 1 (the off-by-one of half the trackers).",
                lambda beta: torch.cat([_shifted(beta), _shifted(beta)[-1:]]),
                name="table without its first row",
                symptom="beta-tilde of the first step is not 0; samples stay grainy",
                place="row 0 of the table",
                cure="keep T + 1 rows: alpha-bar_0 = 1 stands in row 0",
            ),
            Bug(
                "diffusion-sum-for-product",
                "1 - sum of beta: the first-order expansion.",
                lambda beta: torch.cat([_t(1.0), 1 - beta.cumsum(0)]),
                name="sum for product",
                symptom="negative after a while, so that roots are NaN",
                place="cumsum where cumprod belongs",
                cure="multiply: alpha-bar_t = prod_{s <= t} (1 - beta_s)",
            ),
            Bug(
                "diffusion-alpha-for-alpha-bar",
                "1 - beta_t alone, without the steps before.",
                lambda beta: torch.cat([_t(1.0), 1 - beta]),
                name="one step only",
                symptom="x_T is still an image",
                place="the product over earlier steps",
                cure="multiply the steps up to t: alpha-bar_t = prod_{s <= t} (1 - beta_s)",
            ),
        ),
        of=Tabulated,
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
                name="variance times the noise",
                symptom="too little noise in the middle of the chain",
                place="the factor of the noise in q_sample",
                cure="take the root: sqrt(1 - alpha-bar_t)",
            ),
            Bug(
                "diffusion-signal-not-rooted",
                "alpha-bar multiplies the data instead of its root.",
                lambda schedule, t: (_marginal(schedule, t)[0] ** 2, _marginal(schedule, t)[1]),
                name="alpha-bar times the data",
                symptom="the variance of standardised data is not kept",
                place="the factor of x_0 in q_sample",
                cure="take the root: sqrt(alpha-bar_t)",
            ),
            Bug(
                "diffusion-one-row-early",
                "q_sample reads row t - 1 (ilvr_adm #13): the network is told t and shown the step before.",
                _one_row_early,
                name="one row early",
                symptom="a perfect loss, grainy samples",
                place="the index into the table",
                cure="one index for one time",
            ),
            Bug(
                "E4-37",
                "Two conventions in one line: alpha_t multiplies the data where its root belongs, beta_t the noise.",
                lambda schedule, t: (1 - _beta(schedule, t), _beta(schedule, t)),
                name="alpha and its root mixed",
                symptom="the squares do not add to one",
                place="the letters alpha, alpha-bar and beta of two papers",
                cure="alpha^2 + sigma^2 = 1, with alpha the root of the product",
            ),
        ),
        of=Tabulated,
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
                name="forward variance",
                symptom="a KL that is never zero",
                place="the variance of q(x_s | x_t, x_0)",
                cure="beta-tilde = beta (1 - alpha-bar_s)/(1 - alpha-bar_t)",
            ),
            Bug(
                "diffusion-alpha-bar-t",
                "alpha-bar_t for alpha-bar_s in the factor of x_0.",
                _mean_at_t,
                name="alpha-bar at the start of the step",
                symptom="the averaged posterior is not the marginal",
                place="the factor of x_0 in the mean",
                cure="use the time of arrival: sqrt(alpha-bar_s) beta / (1 - alpha-bar_t)",
            ),
            Bug(
                "diffusion-means-swapped",
                "The factors of x_t and x_0 are exchanged.",
                _swapped,
                name="factors of x_t and x_0 exchanged",
                symptom="jumps to x_0 at once",
                place="the order of the two coefficients of the mean",
                cure="c_x = sqrt(1 - beta)(1 - alpha-bar_s)/(1 - alpha-bar_t) for x_t: far from the data it is near 1",
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
                name="noise of the wrong time",
                symptom="the weights do not fit the marginals",
                place="the denominators",
                cure="divide by 1 - alpha-bar_t, the noise where the step starts",
            ),
        ),
        of=posterior,
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
                name="not divided by alpha",
                symptom="the guess is too small by alpha",
                place="the division at the end",
                cure="divide by alpha: x_0 = (x + sigma^2 s)/alpha",
            ),
            Bug(
                "diffusion-tweedie-deviation",
                "sigma for sigma^2: the score is not the noise (score_sde #26).",
                lambda x, score, alpha, sigma: (x + sigma * score) / alpha,
                name="sigma for its square",
                symptom="right at sigma = 1 only",
                place="the factor of the score",
                cure="multiply by sigma^2: the score is -eps/sigma",
            ),
            Bug(
                "diffusion-tweedie-sign",
                "The score points to the data, and is subtracted.",
                lambda x, score, alpha, sigma: (x - sigma**2 * score) / alpha,
                name="score subtracted",
                symptom="samples fly apart",
                place="the sign of the score",
                cure="add it: (x + sigma^2 s)/alpha",
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
                name="plus for minus",
                symptom="the noise is added again",
                place="the sign of sigma v",
                cure="subtract: x_0 = (alpha x - sigma v)/(alpha^2 + sigma^2)",
            ),
            Bug(
                "diffusion-v-not-on-the-circle",
                "The formula of alpha^2 + sigma^2 = 1 on a schedule that does not keep it.",
                lambda x, v, alpha, sigma: alpha * x - sigma * v,
                name="the circle taken for granted",
                symptom="right on the circle only",
                place="the denominator",
                cure="divide by alpha^2 + sigma^2",
            ),
            Bug(
                "diffusion-v-as-eps",
                "A network trained on v, read as a network trained on the noise.",
                lambda x, v, alpha, sigma: (x - sigma * v) / alpha,
                name="velocity read as noise",
                symptom="saturated, blotchy samples",
                place="the conversion from the network's output to x_0",
                cure="convert by what was trained: x_0 = (alpha x - sigma v)/(alpha^2 + sigma^2) for v",
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
                name="the time before is t - 1",
                symptom="with few steps the samples stay noisy",
                place="the earlier time of each pair",
                cure="pass both times",
            ),
            Bug(
                "diffusion-even-stride",
                "The time before is t - T//n (diffusers #11347, #14357): wrong if n does not divide T, or on linspace.",
                _even_stride,
                name="one stride for all steps",
                symptom="5e-3 to 5e-2 off the marginal of a point mass",
                place="the earlier time of each pair",
                cure="pass both times, times[i] and times[i + 1], and compute no stride",
            ),
            Bug(
                "diffusion-strided-alpha-bar",
                "Strided alpha-bar beside the beta of one step (diffusers PR #3006; ddpm-torch #9).",
                _beta_of_one_step,
                name="beta of one step in a long one",
                symptom="too little noise is taken off",
                place="beta in the coefficients",
                cure="beta between the two times: 1 - alpha-bar_t/alpha-bar_s",
            ),
            Bug(
                "diffusion-noise-at-the-end",
                "Fresh noise in the last step too.",
                _noise_at_the_end,
                name="noise in the last step",
                symptom="grain of size sqrt(beta_1)",
                place="the variance of the last row",
                cure="the last mean is the answer",
            ),
            Bug(
                "diffusion-deviation-is-variance",
                "The variance multiplies the noise (learned_range read without its log, diffusers #2090).",
                _variance_as_deviation,
                name="variance times the noise",
                symptom="too smooth: most of the spread is lost",
                place="the factor of z in the step",
                cure="take the root: sqrt(variance) z",
            ),
            Bug(
                "E0-64",
                "Only the mean: 'the way back just removes noise'.",
                lambda schedule, times: _as_lists(ancestral_steps(schedule, times, [0.0] * (len(times) - 1))),
                name="no noise on the way back",
                symptom="N(m, v) shrinks towards m",
                place="the added term of each step",
                cure="add sqrt(variance) z in every step but the last",
            ),
            Bug(
                "diffusion-forward-variance",
                "beta asked for where beta-tilde is meant: right for N(0, I), wrong for a point.",
                lambda schedule, times: _as_lists(ancestral_steps(schedule, times, "forward")),
                name="beta for beta-tilde",
                symptom="a point mass is blurred on the way",
                place="the choice of the step's variance",
                cure="say which of the two: beta-tilde if x_0 is known, beta if it is N(0, I)",
            ),
        ),
        of=ancestral_steps,
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
                name="eta's noise of a single step",
                symptom="eta = 1 is not DDPM when steps are skipped",
                place="the posterior variance under eta",
                cure="use both visited times: eta^2 beta-tilde between times[i + 1] and times[i]",
            ),
            Bug(
                "diffusion-ddim-noise-not-taken-off",
                "Fresh noise is added and the old one kept whole: the variance grows.",
                _ddim_noise_not_taken_off,
                name="old noise kept whole",
                symptom="brighter grain with larger eta",
                place="the factor of the predicted noise",
                cure="sqrt(sigma_s^2 - fresh), so that both together have variance sigma_s^2",
            ),
            Bug(
                "diffusion-ddim-eta-on-the-variance",
                "eta multiplies the variance instead of the deviation.",
                _ddim_variance_linear,
                name="eta not squared",
                symptom="right at 0 and 1 only",
                place="the power of eta",
                cure="eta^2 on the variance, eta on the deviation",
            ),
            Bug(
                "diffusion-ddim-final-alpha",
                "The last step aims at the first noisy level, not at the data (set_alpha_to_one, diffusers #5921).",
                _set_alpha_to_one,
                name="the last step stops short",
                symptom="a last image too pale by alpha_1",
                place="alpha at the time of arrival of the last step",
                cure="use alpha-bar_0 = 1 in the last step",
            ),
        ),
        of=ddim_steps,
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
                name="a fresh draw as target",
                symptom="the loss ends at exactly 1: the best guess is 0",
                place="the noise that is compared with the output",
                cure="keep the noise that q_sample used, and predict it",
            ),
            Bug(
                "diffusion-time-off-by-one",
                "The network reads t - 1 where x_t was made at t.",
                _time_off_by_one,
                name="the network told t - 1",
                symptom="a floor under the loss, largest at small t",
                place="the time handed to the network",
                cure="one index for one time",
            ),
            Bug(
                "diffusion-one-noise-for-all",
                "One draw of the noise, broadcast over the batch in the target.",
                _one_noise_for_all,
                name="one noise for the batch",
                symptom="loss near 2 but for one example",
                place="the shape of the target",
                cure="noise in the shape of the batch, in x_t and in the target alike",
            ),
        ),
        of=q_sample,
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
                name="all weights one",
                symptom="a 'bound' that does not depend on the schedule",
                place="the weight in front of each squared error",
                cure="(SNR_s - SNR_t)/2 for an error in x_0, and its conversions for eps, v and the score",
            ),
            Bug(
                "diffusion-weights-no-half",
                "The half is lost.",
                lambda schedule, s, t, variance=None: 2 * _weights(schedule, s, t, variance),
                name="the half lost",
                symptom="twice the KL",
                place="the factor of 1/(2 variance) in a Gaussian KL",
                cure="halve: (SNR_s - SNR_t)/2",
            ),
            Bug(
                "diffusion-weights-next-step",
                "SNR_t - SNR_{t+1}: the difference on the wrong side.",
                lambda schedule, s, t, variance=None: _weights(schedule, t, 2 * t - s, variance),
                name="difference on the wrong side",
                symptom="too small everywhere",
                place="the two times of the SNR",
                cure="from the earlier to the later time of the same step: (SNR_s - SNR_t)/2",
            ),
            Bug(
                "diffusion-weights-beta",
                "With the variance beta in the place of beta-tilde.",
                lambda schedule, s, t: torch.stack(tuple(bound_weights(schedule, s, t, transition(schedule, s, t)[1]))),
                name="beta for beta-tilde",
                symptom="smaller, most of all near the data",
                place="the variance in the denominator",
                cure="divide by the variance of the step that is really used",
            ),
        ),
        of=bound_weights,
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
                name="only the squared error",
                symptom="a bound that a larger variance always improves",
                place="the terms of the two variances",
                cure="add (r - 1 - log r)/2 for each coordinate, r = posterior variance over the model's",
            ),
            Bug(
                "diffusion-kl-reversed",
                "KL(model || posterior).",
                _kl_reversed,
                name="KL the wrong way round",
                symptom="explodes near the data",
                place="the order of the two laws",
                cure="average under q: KL(q(x_s | x_t, x_0) || p(x_s | x_t))",
            ),
            Bug(
                "diffusion-kl-mean-over-pixels",
                "The mean over coordinates for their sum.",
                lambda x0, *rest: _kl(x0, *rest) / x0.shape[1],
                name="mean over pixels",
                symptom="does not grow with the image",
                place="the reduction over coordinates",
                cure="sum over coordinates, mean over the batch",
            ),
            Bug(
                "E3-142",
                "The sign: what is minimised is minus the ELBO.",
                lambda *step: -_kl(*step),
                name="plus the ELBO as the loss",
                symptom="negative, where a sum of KLs cannot be; descent makes the model worse",
                place="the sign of the whole",
                cure="the loss is -ELBO, a sum of KLs, none of them negative",
            ),
        ),
        of=step_kl,
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
                name="outer cells closed off",
                symptom="masses sum to less than one",
                place="the cells at -1 and at 1",
                cure="let the outer cells reach to minus and plus infinity",
            ),
            Bug(
                "diffusion-decoder-density",
                "The density in the place of the mass: bits per dimension of a number that is none.",
                _density_for_mass,
                name="density for mass",
                symptom="negative code lengths",
                place="log_prob at the grey level",
                cure="integrate over the cell: cdf(x + h) - cdf(x - h), h = 1/(levels - 1)",
            ),
            Bug(
                "diffusion-decoder-half-cell",
                "Cells of half the width.",
                lambda x, mean, variance, levels: discretized_log_prob(x, mean, variance, 2 * levels - 1),
                name="cells half as wide",
                symptom="masses sum to about a half",
                place="the half-width of a cell",
                cure="1/(levels - 1) to either side, as neighbours lie 2/(levels - 1) apart",
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
                name="area without its half",
                symptom="a gap twice too large",
                place="the factor in front of the integral",
                cure="halve: the entropy is that of N(0, v), minus half the area between the two error curves",
            ),
            Bug(
                "diffusion-immse-log-measure",
                "Integrated over log-SNR without the factor SNR.",
                lambda log_snr, mmse, variance, d=1: (
                    0.5 * d * (1 + math.log(2 * math.pi * variance))
                    - 0.5 * torch.trapezoid(d * variance / (1 + variance * log_snr.exp()) - mmse, log_snr)
                ),
                name="measure of log-SNR",
                symptom="grows with the left end of the grid",
                place="the element of the integral",
                cure="d(SNR) = SNR d(log SNR): multiply the integrand by exp(log_snr)",
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
                name="ratio upside down",
                symptom="too large a variance seems dearer than too small a one",
                place="the ratio r inside (r - 1 - log r)/2",
                cure="r = best/used: the true variance over the one assumed",
            ),
            Bug(
                "diffusion-price-arithmetic",
                "The difference of the variances, relative.",
                lambda best, used: (used - best).abs() / best,
                name="relative difference",
                symptom="not zero to second order at the optimum",
                place="the function of the two variances",
                cure="(r - 1 - log r)/2 with r = best/used",
            ),
        ),
    ),
)

SLIPS = {
    "diffusion-leading-for-trailing": Slip(
        "The grid that ends at the first step, for the one that begins at the last.",
        name="grid from the wrong end",
        holds="a trailing grid begins at T, a leading one ends at the first step and begins below T",
        misleads="with many steps, where both grids nearly agree",
    ),
    "diffusion-stride-rounded-down": Slip(
        "T // n as the stride of every grid.",
        name="one stride, rounded down",
        holds="the stride varies when n does not divide T: pass both times of each step",
        misleads="with round numbers such as 50 of 1,000",
    ),
    "diffusion-eps-for-v": Slip(
        "The noise as the target of a network that predicts v.",
        name="noise as the target of v",
        holds=(
            "v = alpha eps - sigma x_0; it is the noise only where there is no signal mixed in, at alpha = 1 and "
            "sigma = 0"
        ),
        misleads="losses look alike; samples are blotched",
    ),
    "diffusion-v-of-unit-data": Slip(
        "The velocity taken to have variance 1 whatever the variance of the data.",
        name="velocity of variance one",
        holds="Var v = alpha^2 + sigma^2 Var x_0, one on the circle only for data of variance one",
        misleads="with data in [-1, 1], whose variance is less",
    ),
    "diffusion-fresh-target": Slip(
        "A fresh draw as the target, not the noise that made x_t.",
        name="a fresh draw as target",
        holds="the target is the very noise that made x_t",
        misleads="the loss ends at exactly 1, which looks like a hard problem",
    ),
    "diffusion-noise-for-score": Slip(
        "The noise, (alpha x_0 - x)/sigma but for its sign, taken for the score.",
        name="noise taken for the score",
        holds="score = -E[eps | x]/sigma",
        misleads="at sigma = 1, where the score is minus the expected noise",
    ),
    "diffusion-v-turned-round": Slip(
        "sigma x_0 - alpha eps for alpha eps - sigma x_0.",
        name="sign of the velocity",
        holds="v = alpha eps - sigma x_0",
        misleads="a network can learn either; read the other way it adds the noise again",
    ),
    "diffusion-letters-mixed": Slip(
        "One paper's alpha is another's alpha squared: the square of a product forgotten.",
        name="alpha for its square",
        holds=(
            "one paper's alpha_t is a step's 1 - beta_t, another's the root of the whole product: square or take "
            "roots when translating"
        ),
        misleads="formulas look alike, and agree at t = 0",
    ),
    "diffusion-loss-compares-schedules": Slip(
        "A lower loss taken for a better schedule: the weights differ.",
        name="a lower loss is a better schedule",
        holds="the simple loss weighs noise levels as its schedule visits them; compare the bound, or samples",
        misleads="when schedules are tuned on the training loss",
    ),
    "diffusion-reverse-always-gaussian": Slip(
        "The reverse step taken to be Gaussian at any beta.",
        name="reverse steps are Gaussian",
        holds=(
            "they are so in the limit of small beta, or for Gaussian data; a long step back from a mixture has "
            "several modes"
        ),
        misleads="with few steps, where the samples blur",
    ),
    "diffusion-marginal-any-T": Slip(
        "The betas of a thousand steps cut short: the chain ends before the noise.",
        name="a thousand steps' betas cut short",
        holds="rescale beta when T changes, so that alpha-bar_T stays near 0",
        misleads="samples start from N(0, I), which the chain never reached",
    ),
    "diffusion-stationary-reversal": Slip(
        "The reversal of the stationary chain used before the chain is stationary.",
        name="stationary reversal too early",
        holds="the reversal needs the marginals p_t; the stationary law is right only once the chain has reached it",
        misleads="near the noise end, where both agree",
    ),
    "diffusion-markov-marginal": Slip(
        "The present forgotten too: the next state drawn from its marginal.",
        name="the present forgotten",
        holds="Markov: given the present, the past says no more; the present itself still counts",
        misleads="marginals come out right, paths do not",
    ),
    "diffusion-noise-without-shrinking": Slip(
        "Noise added to an image that was not shrunk: the variance grows.",
        name="image not shrunk",
        holds="x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) z keeps variance one",
        misleads="over one step, where the growth is small",
    ),
    "diffusion-independent-times": Slip(
        "Two times of one path taken for independent.",
        name="two times independent",
        holds="Cov(x_s, x_t) = alpha_t/alpha_s times Var x_s for s < t",
        misleads="each time alone has the right law",
    ),
    "diffusion-half-log-snr": Slip(
        "log(alpha/sigma) for log(alpha^2/sigma^2).",
        name="half the log-SNR",
        holds="log SNR = log(alpha^2/sigma^2) = 2 log(alpha/sigma)",
        misleads="only where its value counts: weights and grids; zero is the same",
    ),
    "diffusion-time-reversed": Slip(
        "Noise taken to move the law away from N(0, I).",
        name="noise moves away from N(0, I)",
        holds="each step brings the law nearer: KL(p_t || N(0, I)) falls",
        misleads="when t runs from noise to data in another paper",
    ),
    "diffusion-squared-rate": Slip(
        "exp(-integral of beta) for alpha, which is its root.",
        name="the square for alpha",
        holds="alpha = exp(-(1/2) integral of beta), and alpha-bar = alpha^2",
        misleads="near t = 0, where both are 1",
    ),
    "diffusion-cosine-squared": Slip(
        "The cosine schedule's alpha-bar taken for alpha.",
        name="cosine schedule's square",
        holds="the cosine squared is alpha-bar; alpha is the cosine itself",
        misleads="at both ends, where 0 and 1 are their own squares",
    ),
    "diffusion-prior-variance-only": Slip(
        "The last term of the bound without the mean of q(x_T | x_0).",
        name="prior term without the mean",
        holds="KL(q(x_T | x_0) || N(0, I)) = (alpha^2 |x_0|^2 + d (sigma^2 - 1 - log sigma^2))/2",
        misleads="when alpha_T is small, which is when the term is small too",
    ),
    "diffusion-mean-of-modes": Slip(
        "The plain mean of the components' answers, whatever the noisy value says of them.",
        name="answers averaged alike",
        holds="E[x_0 | x_t] weighs each component by its responsibility for x_t",
        misleads="at the noisiest times, where responsibilities are the weights",
    ),
    "diffusion-no-spread": Slip(
        "A variance without the spread of what it averages over.",
        name="no spread between components",
        holds="total variance = mean of the variances + variance of the means",
        misleads="with one component",
    ),
    "diffusion-dropped-prior-term": Slip(
        "L_T left out of the bound.",
        name="L_T left out",
        holds="the bound holds KL(q(x_T | x_0) || p(x_T)), small only if the chain ends in noise",
        misleads="with short chains the 'bound' is too good",
    ),
    "diffusion-dropped-decoder-term": Slip(
        "L_0 left out of the bound.",
        name="L_0 left out",
        holds="the bound holds -log p(x_0 | x_1), the price of the last step to the pixels",
        misleads="a number without it is no code length",
    ),
    "diffusion-turned-without-marginals": Slip(
        "A forward step turned round by Bayes without the marginals.",
        name="Bayes without the marginals",
        holds="q(x_s | x_t) = q(x_t | x_s) q(x_s)/q(x_t)",
        misleads="near N(0, I), where the marginals are equal",
    ),
    "diffusion-quadratic-without-trace": Slip(
        "Half the variance of a quadratic form.",
        name="quadratic form's variance halved",
        holds="Var(z^T A z) = 2 tr A^2 for z ~ N(0, I) and symmetric A",
        misleads="when error bars of traces are set",
    ),
    "diffusion-variances-exchanged": Slip(
        "Two variances exchanged.",
        name="two estimators exchanged",
        holds=(
            "one term varies less as a divergence, a whole trajectory less as log-ratios of transitions, whose noises "
            "cancel"
        ),
        misleads="each is the better one somewhere",
    ),
    "diffusion-top-layer-only": Slip(
        "The rate of the last layer alone, for that of all layers.",
        name="last layer's rate only",
        holds="the bound pays a KL for every step",
        misleads="the last layer's KL is nearly zero, and so the 'bound' looks superb",
    ),
    "diffusion-mean-without-sigma": Slip(
        "The predicted noise subtracted without its division by sigma.",
        name="not divided by sigma",
        holds="mean = (x_t - beta_t/sigma_t eps)/sqrt(1 - beta_t)",
        misleads="at late times, where sigma is near 1",
    ),
    "diffusion-weight-without-alpha": Slip(
        "The weight of the noise error without 1/alpha_t.",
        name="weight without 1/alpha_t",
        holds="beta_t^2/(2 variance alpha_t sigma_t^2), alpha_t = 1 - beta_t the shrinkage of one step squared",
        misleads="with small betas, where it is near 1",
    ),
    "diffusion-weights-not-inverse": Slip(
        "Importance weights multiplied by the probability instead of divided by it.",
        name="multiplied by the probability",
        holds="divide by the probability with which a step was drawn",
        misleads="with uniform draws it is only a factor",
    ),
    "diffusion-unweighted-importance": Slip(
        "Steps drawn unevenly and not weighted.",
        name="uneven draws not weighted",
        holds="weight each drawn term by 1/(T p_t)",
        misleads="training goes on, on another objective",
    ),
    "diffusion-mean-of-extremes": Slip(
        "The mean of the two usual variances for the best one.",
        name="the mean of the two variances",
        holds=(
            "the best variance is beta-tilde plus what is unknown of x_0, squared factor included: between the two "
            "for standardised data, rarely midway"
        ),
        misleads="where beta and beta-tilde are close",
    ),
    "diffusion-no-gap": Slip(
        "The bound taken to be tight because the denoiser is perfect.",
        name="a perfect denoiser leaves no gap",
        holds=(
            "the gap is the KL of the true reverse step from a Gaussian: zero only for Gaussian data or endless steps"
        ),
        misleads="when the bound is taken for the likelihood",
    ),
    "diffusion-error-at-the-clean-end": Slip(
        "The error of a step read at its clean end.",
        name="error read at the clean end",
        holds="the step from t to s uses the denoiser at t, its noisy end",
        misleads="with many steps, where both ends agree",
    ),
    "diffusion-mean-image": Slip(
        "The mean of the training set for the perfect denoiser.",
        name="the mean image as denoiser",
        holds="E[x_0 | x_t] weighs the images by how well they explain x_t",
        misleads="at the noisiest times, where all weigh alike",
    ),
    "diffusion-time-not-in-steps": Slip(
        "Times in [0, 1] fed to waves made for steps up to 1,000.",
        name="times in [0, 1] fed to slow waves",
        holds="multiply t by 1,000 first, as the frequencies were chosen for step numbers",
        misleads="the network still learns, and hardly tells times apart",
    ),
    "diffusion-nats-for-bits": Slip(
        "Nats called bits.",
        name="nats called bits",
        holds="divide by log 2",
        misleads="by a factor of 1.44 in one's own favour",
    ),
}
