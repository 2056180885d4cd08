"""Wrong variants of `dgmlib.worlds` (chapter A)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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

CHAPTER = "A"


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
                name="marginal covariance kept",
                symptom="the conditional is as wide as the marginal",
                place="the covariance of the conditional",
                cure="subtract cross · D⁻¹ · crossᵀ",
            ),
            Bug(
                "schur-sign",
                "Adds the explained covariance where the Schur complement subtracts it.",
                _condition_sign,
                name="plus for minus",
                symptom="an observation widens the law",
                place="the sign of the Schur complement's second term",
                cure="A − B D⁻¹ Bᵀ",
            ),
            Bug(
                "condition-value-uncentred",
                "Multiplies the gain with the value seen instead of its distance from its mean.",
                _condition_uncentred,
                name="value not centred",
                symptom="right in every test whose mean is zero",
                place="the vector that the gain multiplies",
                cure="subtract the mean of what is given: m_a + B D⁻¹ (value − m_b)",
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
                name="law of the sum",
                symptom="two sources together are vaguer than each alone",
                place="what is added",
                cure="add precisions, and weigh the means by them",
            ),
            Bug(
                "product-scale-forgotten",
                "Takes the product of two densities for a density: its integral, the overlap of the two, is dropped.",
                _product_unscaled,
                name="overlap forgotten",
                symptom="posteriors are right, evidences are not",
                place="the constant beside the density",
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
                name="deviation for variance",
                symptom="right when σ = 1",
                place="the power of σ",
                cure="σ is a standard deviation; the precision of the noise is 1/σ²",
            ),
            Bug(
                "posterior-prior-forgotten",
                "Least squares instead of Bayes: the identity, which is the prior's precision, is left out.",
                lambda model, x: _linear_posterior(model, x, model.noise_std**2, prior_precision=0.0),
                name="no shrinkage",
                symptom="latents overshoot the more, the noisier the data",
                place="the identity in the precision",
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
                name="means not scaled",
                symptom="the modes do not move towards the origin",
                place="the means of the components",
                cure="scale the means by the signal rate: α μ",
            ),
            Bug(
                "noised-alpha-for-square",
                "Scales a covariance by α instead of α².",
                lambda mixture, alpha, sigma, x: _noised(mixture, x, alpha, alpha, sigma**2),
                name="rate for its square",
                symptom="right at α = 0 and α = 1",
                place="the power of α on the covariance",
                cure="α² Σ + σ² I",
            ),
            Bug(
                "noised-sigma-for-variance",
                "Adds σ where a variance is wanted.",
                lambda mixture, alpha, sigma, x: _noised(mixture, x, alpha, alpha**2, sigma),
                name="deviation for variance",
                symptom="right when σ = 1",
                place="the power of σ in what is added",
                cure="α² Σ + σ² I",
            ),
        ),
        of=GaussianMixture.noised,
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
                name="not divided by the signal rate",
                symptom="denoised points are α times too close to the origin",
                place="the division at the end",
                cure="(x + σ² score) / α",
            ),
            Bug(
                "tweedie-sigma-for-variance",
                "Multiplies the score by σ instead of σ².",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, sigma, alpha),
                name="deviation for variance",
                symptom="denoises too much below σ = 1, too little above",
                place="the power of σ in front of the score",
                cure="(x + σ² score) / α",
            ),
            Bug(
                "tweedie-sign",
                "Walks down the density.",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, -(sigma**2), alpha),
                name="score subtracted",
                symptom="denoising adds noise",
                place="the sign of the score",
                cure="the score points uphill: add it, (x + σ² score) / α",
            ),
            Bug(
                "tweedie-clean-score",
                "Takes the score of the clean law instead of that of the noised one.",
                lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, sigma**2, alpha, noised=False),
                name="score of the clean law",
                symptom="right as σ goes to 0, overshoots beyond",
                place="the law whose score is taken",
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
                name="bits for nats",
                symptom="1.44 times too large",
                place="the base of the logarithm",
                cure="natural logarithm: −Σ p log p in nats",
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
                name="area of a cell forgotten",
                symptom="the evidence grows with the grid; the posterior is right",
                place="the element of the integral",
                cure="add the log area of a cell",
            ),
            Bug(
                "grid-prior-forgotten",
                "Integrates the likelihood alone.",
                lambda grid, values: _grid_posterior(grid, values, grid.log_cell, 0.0),
                name="prior left out",
                symptom="the evidence grows with the extent",
                place="the integrand",
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
                name="2 forgotten",
                symptom="the stationary law is √2 too wide",
                place="the denominator of the variance",
                cure="g²(1 − exp(−2κt)) / (2κ)",
            ),
            Bug(
                "ou-decay-once",
                "Lets the variance relax at the rate of the mean: exp(−κt) for exp(−2κt).",
                lambda ou, x, t: _transition(ou, x, t, ou.diffusion**2 * -math.expm1(-ou.rate * t) / (2 * ou.rate)),
                name="variance relaxes like the mean",
                symptom="right at t = 0 and t = ∞ only",
                place="the exponent in the variance",
                cure="a variance scales with the square",
            ),
            Bug(
                "ou-brownian",
                "Takes the variance of Brownian motion: one Euler step, however long.",
                lambda ou, x, t: _transition(ou, x, t, ou.diffusion**2 * t),
                name="one Euler step",
                symptom="right for small steps, unbounded for long ones",
                place="the variance as a function of t",
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
                name="normaliser of a line",
                symptom="the density does not integrate to one; the score is right",
                place="the power of 2πσ²",
                cure="subtract log 2πσ², as the noise has two coordinates",
            ),
            Bug(
                "circle-bessel-sigma",
                "Gives the Bessel function r/σ instead of r/σ².",
                lambda circle, x: _circle(circle, x, 1.0, circle.sigma),
                name="deviation for variance",
                symptom="right when σ = 1",
                place="the argument of the Bessel function",
                cure="I₀(r/σ²), from the exponent x·x₀/σ²",
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
                name="transposed only",
                symptom="right only when the stationary law is uniform",
                place="the weights of Bayes' rule",
                cure="weight by the stationary law: πⱼ Pⱼᵢ / πᵢ",
            ),
        ),
    ),
)

# Wrong statements that no function computes.
SLIPS = {
    "evidence-at-the-prior-mean": Slip(
        "The likelihood at the latent's mean for its average over the latent.",
        name="likelihood at the mean",
        holds="p(x) averages the likelihood over the latent",
        misleads="with a decoder that hardly moves",
    ),
    "mixture-mean-of-logs": Slip(
        "The mean of the components' log-densities for the log of their mean.",
        name="mean of the logs",
        holds="log of the weighted mean of the densities",
        misleads="near one component that outweighs the rest it is far off, between equals it is near",
    ),
    "score-weighted-by-the-prior": Slip(
        "The components' scores averaged with prior weights, not with responsibilities.",
        name="prior weights for the scores",
        holds="weigh the components' scores by their responsibilities at x",
        misleads="between the components, where responsibilities are near the weights",
    ),
    "mmse-of-a-line": Slip(
        "The error of the best straight-line guess for that of the best guess.",
        name="a straight line is best",
        holds="the best guess is the posterior mean, curved unless all is Gaussian",
        misleads="at weak signals, where both agree",
    ),
    "marginal-bits-exchanged": Slip(
        "A table of two bits read with its axes exchanged.",
        name="axes exchanged",
        holds="rows are the first bit, columns the second",
        misleads="in symmetric tables",
    ),
    "leftover-for-information": Slip(
        "What one variable leaves open about the other, for what it tells.",
        name="what is left for what is told",
        holds="I(x; y) = H(y) - H(y | x)",
        misleads="for a fair bit of which half is told",
    ),
    "pairs-tell-all": Slip(
        "Pairwise informations of 0 read as independence.",
        name="pairs tell all",
        holds="parity: every pair is independent, three together are not",
        misleads="pairwise tables look perfectly random",
    ),
    "edges-for-centres": Slip(
        "A sum over the edges of cells for the sum over their centres.",
        name="edges for centres",
        holds="sum over the centres of the cells",
        misleads="on fine grids the shift is small",
    ),
    "step-for-stationary-variance": Slip(
        "The variance of one step's noise for that of the process.",
        name="one step's noise for the spread",
        holds="the stationary variance sums the noise of all steps, each shrunk by those after it",
        misleads="with quick decay, which forgets all but the last",
    ),
    "nearest-for-the-mean": Slip(
        "The nearest clean point for the mean of all that could have been.",
        name="nearest for the mean",
        holds="the best guess averages all clean points, each by its posterior",
        misleads="at little noise, when one point remains",
    ),
    "one-step-for-stationary": Slip(
        "One step from the uniform law taken for the law that stands still.",
        name="one step stands still",
        holds="iterate until pi P = pi",
        misleads="with chains that mix in one step",
    ),
    "flux-unweighted": Slip(
        "Transition probabilities subtracted without the stationary law's weights.",
        name="flux not weighted",
        holds="the flux is pi_i P_ij - pi_j P_ji",
        misleads="with a uniform stationary law",
    ),
}
