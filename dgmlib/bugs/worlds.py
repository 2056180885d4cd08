"""Wrong variants of `dgmlib.worlds`."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.worlds import (
    LOG_2PI,
    Circle,
    DiscreteLaw,
    GaussianMixture,
    Grid2d,
    LinearGaussian,
    OrnsteinUhlenbeck,
    bars_and_stripes,
    condition,
    gaussian_product,
    schur_complement,
    time_reversal,
)


def _f64(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- Gaussian algebra -----------------------------------------------------------------------------------------------


def _condition_uncut(mean, cov, given, value):
    keep = [i for i in range(len(mean)) if i not in given]
    return condition(mean, cov, given, value)[0], cov[keep][:, keep]


def _condition_sign(mean, cov, given, value):
    keep = [i for i in range(len(mean)) if i not in given]
    return condition(mean, cov, given, value)[0], 2 * cov[keep][:, keep] - schur_complement(cov, given)


def _condition_uncentred(mean, cov, given, value):
    return condition(mean, cov, given, value + mean[given])


def _product_as_sum(mean_a, cov_a, mean_b, cov_b):
    return mean_a + mean_b, cov_a + cov_b, gaussian_product(mean_a, cov_a, mean_b, cov_b)[2]


def _product_unscaled(mean_a, cov_a, mean_b, cov_b):
    mean, cov, log_scale = gaussian_product(mean_a, cov_a, mean_b, cov_b)
    return mean, cov, torch.zeros_like(log_scale)


_COV = _f64([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 1.5]])
_MEAN = _f64([1.0, -1.0, 0.5])


# --- linear-Gaussian ------------------------------------------------------------------------------------------------


def _linear_posterior(model, x, variance, prior_precision=1.0):
    gram = model.weight.T @ model.weight
    cov = torch.linalg.inv(prior_precision * torch.eye(model.k, dtype=torch.float64) + gram / variance)
    return (x - model.mean) @ model.weight @ cov / variance, cov


_LINEAR = LinearGaussian([[1.0, 0.2], [-0.5, 0.8], [0.3, 1.1]], [0.5, 0.0, -1.0], 0.6)
_X3 = _f64([[0.3, -1.0, 0.7], [1.5, 0.4, -0.2]])


# --- mixture --------------------------------------------------------------------------------------------------------


def _tweedie(mixture, x, alpha, sigma, weight, scale, noised=True):
    score = (mixture.noised(alpha, sigma) if noised else mixture).score(x)
    return (x + weight * score) / scale


def noised_log_prob(mixture, alpha, sigma, x):
    """Log density of alpha x_0 + sigma eps at `x`."""
    return mixture.noised(alpha, sigma).log_prob(x)


def _noised(mixture, x, mean_rate, cov_rate, variance):
    eye = torch.eye(mixture.d, dtype=torch.float64)
    return GaussianMixture(
        mixture.weights, mean_rate * mixture.means, cov_rate * mixture.covs + variance * eye
    ).log_prob(x)


_MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [2.0, 0.0]], [[[0.5, 0.2], [0.2, 0.4]], [[0.3, 0.0], [0.0, 0.6]]])
_X2 = _f64([[0.3, -1.0], [1.5, 0.4], [-0.7, 0.9]])


# --- bits, plane, Ornstein-Uhlenbeck, circle, chain -----------------------------------------------------------------


def _grid_posterior(grid, log_likelihood, log_cell, prior):
    log_joint = log_likelihood + prior * (-LOG_2PI - 0.5 * grid.points.square().sum(1))
    return log_joint.logsumexp(-1) + log_cell, log_joint.softmax(-1)


_GRID = Grid2d(6.0, 41)
_LIKELIHOOD = torch.distributions.Normal(_GRID.points @ _LINEAR.weight.T + _LINEAR.mean, 0.6)
_GRID_VALUES = _LIKELIHOOD.log_prob(_X3[:, None]).sum(-1)


def _transition(ou, x, t, variance):
    return ou.transition(x, t)[0], torch.tensor(variance, dtype=torch.float64)


def _circle(circle, x, exponent, bessel_argument):
    r = torch.linalg.vector_norm(x, dim=1)
    bessel = torch.special.i0(r / bessel_argument).log()
    return -exponent * math.log(2 * math.pi * circle.sigma**2) - (r**2 + 1) / (2 * circle.sigma**2) + bessel


_CHAIN = _f64([[0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.4, 0.1, 0.5]])

SUBJECTS = (
    Subject(
        name="gaussian-condition",
        right=condition,
        probes=((_MEAN, _COV, [2], _f64([1.2])), (_MEAN, _COV, [2, 0], _f64([1.2, -0.4]))),
        bugs=(
            Bug(
                "condition-covariance-uncut",
                "Moves the mean but keeps the marginal covariance, as if what was seen said nothing about the spread.",
                _condition_uncut,
                symptom="the conditional is as wide as the marginal",
                cure="subtract cross · D⁻¹ · crossᵀ",
            ),
            Bug(
                "schur-sign",
                "Adds the explained covariance where the Schur complement subtracts it.",
                _condition_sign,
                symptom="an observation widens the law",
                cure="A − B D⁻¹ Bᵀ",
            ),
            Bug(
                "condition-value-uncentred",
                "Multiplies the gain with the value seen instead of its distance from its mean.",
                _condition_uncentred,
                symptom="right in every test whose mean is zero",
                cure="subtract the mean of what is given",
            ),
        ),
    ),
    Subject(
        name="gaussian-product",
        right=gaussian_product,
        probes=((_MEAN, _COV, -_MEAN, 0.5 * _COV + torch.eye(3, dtype=torch.float64)),),
        bugs=(
            Bug(
                "product-as-sum",
                "Adds means and covariances: the law of the sum of two variables, not the product of two densities.",
                _product_as_sum,
                symptom="two sources together are vaguer than each alone",
                cure="add precisions",
            ),
            Bug(
                "product-scale-forgotten",
                "Takes the product of two densities for a density: its integral, the overlap of the two, is dropped.",
                _product_unscaled,
                symptom="posteriors are right, evidences are not",
                cure="log c = log N(a; b, A + B)",
            ),
        ),
    ),
    Subject(
        name="linear-posterior",
        right=LinearGaussian.posterior,
        probes=((_LINEAR, _X3),),
        bugs=(
            Bug(
                "posterior-sigma-for-variance",
                "Divides by σ where the posterior of a linear-Gaussian model divides by σ².",
                lambda model, x: _linear_posterior(model, x, model.noise_std),
                symptom="right when σ = 1",
                cure="σ is a standard deviation; the precision of the noise is 1/σ²",
            ),
            Bug(
                "posterior-prior-forgotten",
                "Least squares instead of Bayes: the identity, which is the prior's precision, is left out.",
                lambda model, x: _linear_posterior(model, x, model.noise_std**2, prior_precision=0.0),
                symptom="latents overshoot the more, the noisier the data",
                cure="I + WᵀW/σ²",
            ),
        ),
    ),
    Subject(
        name="noised-mixture",
        right=noised_log_prob,
        probes=((_MIXTURE, 0.6, 0.7, _X2),),
        bugs=(
            Bug(
                "noised-means-unscaled",
                "Widens the components but leaves the means where they were: noise of rate σ added at signal rate 1.",
                lambda mixture, alpha, sigma, x: _noised(mixture, x, 1.0, alpha**2, sigma**2),
                symptom="the modes do not move towards the origin",
                cure="α μ",
            ),
            Bug(
                "noised-alpha-for-square",
                "Scales a covariance by α instead of α².",
                lambda mixture, alpha, sigma, x: _noised(mixture, x, alpha, alpha, sigma**2),
                symptom="right at α = 0 and α = 1",
                cure="α² Σ + σ² I",
            ),
            Bug(
                "noised-sigma-for-variance",
                "Adds σ where a variance is wanted.",
                lambda mixture, alpha, sigma, x: _noised(mixture, x, alpha, alpha**2, sigma),
                symptom="right when σ = 1",
                cure="α² Σ + σ² I",
            ),
        ),
    ),
    Subject(
        name="mixture-denoiser",
        right=GaussianMixture.denoiser,
        probes=((_MIXTURE, _X2, 0.6, 0.7),),
        bugs=(
            Bug(
                "tweedie-alpha-forgotten",
                "Tweedie's formula without the division by the signal rate, as it stands for variance-exploding noise.",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, sigma**2, 1.0),
                symptom="denoised points are α times too close to the origin",
                cure="(x + σ² score) / α",
            ),
            Bug(
                "tweedie-sigma-for-variance",
                "Multiplies the score by σ instead of σ².",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, sigma, alpha),
                symptom="denoises too much below σ = 1, too little above",
                cure="(x + σ² score) / α",
            ),
            Bug(
                "tweedie-sign",
                "Walks down the density.",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, -(sigma**2), alpha),
                symptom="denoising adds noise",
                cure="the score points uphill: add it",
            ),
            Bug(
                "tweedie-clean-score",
                "Takes the score of the clean law instead of that of the noised one.",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, sigma**2, alpha, noised=False),
                symptom="right as σ goes to 0, overshoots beyond",
                cure="the score at the noise level of x",
            ),
        ),
    ),
    Subject(
        name="bit-entropy",
        right=DiscreteLaw.entropy,
        probes=((bars_and_stripes(),), (DiscreteLaw([0.125, 0.25, 0.5, 0.125]),)),
        bugs=(
            Bug(
                "entropy-bits",
                "Takes the logarithm to base 2 where nats are meant.",
                lambda law: torch.special.entr(law.probs).sum() / math.log(2),
                symptom="1.44 times too large",
                cure="log is natural; bits are said as such",
            ),
        ),
    ),
    Subject(
        name="grid-posterior",
        right=Grid2d.posterior,
        probes=((_GRID, _GRID_VALUES),),
        bugs=(
            Bug(
                "grid-cell-forgotten",
                "Sums the integrand over the grid without the area of a cell.",
                lambda grid, values: _grid_posterior(grid, values, 0.0, 1.0),
                symptom="the evidence grows with the grid; the posterior is right",
                cure="add the log area of a cell",
            ),
            Bug(
                "grid-prior-forgotten",
                "Integrates the likelihood alone.",
                lambda grid, values: _grid_posterior(grid, values, grid.log_cell, 0.0),
                symptom="the evidence grows with the extent",
                cure="p(x) = ∫ p(x | z) p(z) dz",
            ),
        ),
    ),
    Subject(
        name="ou-transition",
        right=OrnsteinUhlenbeck.transition,
        probes=((OrnsteinUhlenbeck(0.8, 1.3, 0.5), _f64([-1.0, 2.0]), 0.7),),
        bugs=(
            Bug(
                "ou-two-forgotten",
                "Divides by the rate instead of twice the rate.",
                lambda ou, x, t: _transition(ou, x, t, ou.diffusion**2 * -math.expm1(-2 * ou.rate * t) / ou.rate),
                symptom="the stationary law is √2 too wide",
                cure="g²(1 − exp(−2κt)) / (2κ)",
            ),
            Bug(
                "ou-decay-once",
                "Lets the variance relax at the rate of the mean: exp(−κt) for exp(−2κt).",
                lambda ou, x, t: _transition(ou, x, t, ou.diffusion**2 * -math.expm1(-ou.rate * t) / (2 * ou.rate)),
                symptom="right at t = 0 and t = ∞ only",
                cure="a variance scales with the square",
            ),
            Bug(
                "ou-brownian",
                "Takes the variance of Brownian motion: one Euler step, however long.",
                lambda ou, x, t: _transition(ou, x, t, ou.diffusion**2 * t),
                symptom="right for small steps, unbounded for long ones",
                cure="g²(1 − exp(−2κt)) / (2κ)",
            ),
        ),
    ),
    Subject(
        name="circle-log-prob",
        right=Circle.log_prob,
        probes=((Circle(0.6), _X2),),
        bugs=(
            Bug(
                "circle-normaliser-of-a-line",
                "Normalises the noise as in one dimension: the circle is a curve, but the noise has two coordinates.",
                lambda circle, x: _circle(circle, x, 0.5, circle.sigma**2),
                symptom="the density does not integrate to one; the score is right",
                cure="−log 2πσ² in the plane",
            ),
            Bug(
                "circle-bessel-sigma",
                "Gives the Bessel function r/σ instead of r/σ².",
                lambda circle, x: _circle(circle, x, 1.0, circle.sigma),
                symptom="right when σ = 1",
                cure="the exponent is x·x₀/σ²",
            ),
        ),
    ),
    Subject(
        name="time-reversal",
        right=time_reversal,
        probes=((_CHAIN,),),
        bugs=(
            Bug(
                "reversal-transposed",
                "Transposes the transition matrix and rescales its rows: Bayes' rule with a uniform prior.",
                lambda transition: transition.T / transition.T.sum(1, keepdim=True),
                symptom="right only when the stationary law is uniform",
                cure="weight by the stationary law: πⱼ Pⱼᵢ / πᵢ",
            ),
        ),
    ),
)

# Wrong statements that no function computes.
SLIPS = {
    "evidence-at-the-prior-mean": "The likelihood at the latent's mean for its average over the latent.",
    "mixture-mean-of-logs": "The mean of the components' log-densities for the log of their mean.",
    "score-weighted-by-the-prior": "The components' scores averaged with prior weights, not with the responsibilities.",
    "mmse-of-a-line": "The error of the best straight-line guess for that of the best guess.",
    "marginal-bits-exchanged": "A table of two bits read with its axes exchanged.",
    "leftover-for-information": "What one variable leaves open about the other, for what it tells.",
    "pairs-tell-all": "Pairwise informations of 0 read as independence.",
    "edges-for-centres": "A sum over the edges of cells for the sum over their centres.",
    "step-for-stationary-variance": "The variance of one step's noise for that of the process.",
    "nearest-for-the-mean": "The nearest clean point for the mean of all that could have been.",
    "one-step-for-stationary": "One step from the uniform law taken for the law that stands still.",
    "flux-unweighted": "Transition probabilities subtracted without the stationary law's weights.",
}
