"""Wrong variants of `dgmlib.estimation` (chapter 03)."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.special import xlogy

from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.estimation import (
    bernoulli_log_prob,
    beta_mode,
    beta_posterior,
    bits_per_dim,
    categorical_mle,
    categorical_predictive,
    code_lengths,
    gaussian_map,
    gaussian_mle,
    lasso,
    least_squares,
    monte_carlo,
    newton,
    normal_posterior,
    predicted_zero_share,
    ridge,
    sandwich,
    score_moments,
    soft_threshold,
)

CHAPTER = "03"

_float64 = partial(torch.tensor, dtype=torch.float64)

POINTS = _float64([[1.0, 2.0], [-0.5, 0.3], [2.5, 1.1], [0.2, -1.4], [3.0, 0.9]])
BITS = _float64([[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]])
GREY = torch.tensor([[0, 2], [3, 2], [1, 2], [0, 1], [0, 3]])
VALUES = _float64([0.3, -1.2, 4.0, 2.2, 0.7, 1.9])
TARGETS = _float64([1.0, -2.0, 0.5, 3.0, 1.2])
A, B = _float64([[2.0, 0.3], [0.3, 0.8]]), _float64([[1.5, -0.4], [-0.4, 2.2]])


# --- variants that need more than one expression --------------------------------------------------------------------


def _gaussian_uncentred(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.T @ x / x.shape[0]


def _gaussian_root(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, cov = gaussian_mle(x)
    return mean, cov.diagonal().sqrt().diag()


def _numerator_only(x: Tensor, levels: int, concentration: float) -> Tensor:
    n = x.shape[0]
    return (categorical_mle(x, levels) * n + concentration) / n


def _dirichlet_mode(x: Tensor, levels: int, concentration: float) -> Tensor:
    n = x.shape[0]
    return (categorical_mle(x, levels) * n + concentration - 1) / (n + levels * (concentration - 1))


def _weights_exchanged(x: Tensor, variance: float, prior_mean: float, prior_variance: float) -> tuple[Tensor, Tensor]:
    posterior_variance = normal_posterior(x, variance, prior_mean, prior_variance)[1]
    weight = posterior_variance / prior_variance
    return (1 - weight) * prior_mean + weight * x.mean(), posterior_variance


def _one_datum(x: Tensor, variance: float, prior_mean: float, prior_variance: float) -> tuple[Tensor, Tensor]:
    return normal_posterior(x.mean()[None], variance, prior_mean, prior_variance)


def _predictive(x: Tensor, variance: float, prior_mean: float, prior_variance: float) -> tuple[Tensor, Tensor]:
    posterior_mean, posterior_variance = normal_posterior(x, variance, prior_mean, prior_variance)
    return posterior_mean, posterior_variance + variance


def _inverse_wishart_mean(x: Tensor, scale: float, degrees: float) -> tuple[Tensor, Tensor]:
    return gaussian_map(x, scale, degrees - 2 * (x.shape[1] + 1))


def _averaged_covariance(x: Tensor, scale: float, degrees: float) -> tuple[Tensor, Tensor]:
    mean, cov = gaussian_mle(x)
    return mean, (cov + scale * torch.eye(x.shape[1], dtype=x.dtype)) / (1 + degrees + x.shape[1] + 1)


def _newton_without_inverse(loss, start: Tensor, n_steps: int) -> Tensor:
    path = [start]
    for _ in range(n_steps):
        path.append(path[-1] - torch.func.jacrev(torch.func.grad(loss))(path[-1]) @ torch.func.grad(loss)(path[-1]))
    return torch.stack(path)


def _newton_diagonal(loss, start: Tensor, n_steps: int) -> Tensor:
    path = [start]
    for _ in range(n_steps):
        path.append(
            path[-1] - torch.func.grad(loss)(path[-1]) / torch.func.jacrev(torch.func.grad(loss))(path[-1]).diagonal()
        )
    return torch.stack(path)


def _newton_ascent(loss, start: Tensor, n_steps: int) -> Tensor:
    path = [start]
    for _ in range(n_steps):
        path.append(2 * path[-1] - newton(loss, path[-1], 1)[1])
    return torch.stack(path)


def _moments_with_mean_outside(log_prob, theta: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score, _, curvature = score_moments(log_prob, theta, x, weights)
    return score, torch.outer(score, score), curvature


def _moments_curvature_sign(log_prob, theta: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score, second_moment, curvature = score_moments(log_prob, theta, x, weights)
    return score, second_moment, -curvature


def _moments_unweighted(log_prob, theta: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return score_moments(log_prob, theta, x, torch.full_like(weights, 1 / len(weights)))


def _skewed_quadratic(theta: Tensor) -> Tensor:
    return theta @ A @ theta / 2 + theta.pow(4).sum() / 10 - theta[0]


def _normal_log_prob(theta: Tensor, x: Tensor) -> Tensor:
    return -(x - theta[0]).square() * torch.exp(-2 * theta[1]) / 2 - theta[1]


# --- the table ------------------------------------------------------------------------------------------------------

SUBJECTS = (
    Subject(
        "gaussian-mle",
        gaussian_mle,
        ((POINTS,), (VALUES[:, None],)),
        (
            Bug(
                "E0-11",
                "Divided by n - 1: unbiased, but not the maximum of the likelihood. torch's var, std and cov do it.",
                lambda x: (x.mean(0), gaussian_mle(x)[1] * x.shape[0] / (x.shape[0] - 1)),
                name="divided by n - 1",
                symptom="a likelihood below the maximum; n = 1 gives NaN",
                place="the divisor of the squared deviations",
                cure="divide by n",
            ),
            Bug(
                "gaussian-mle-uncentred",
                "Second moments for central ones.",
                _gaussian_uncentred,
                name="mean not subtracted",
                symptom="grows when the data are shifted",
                place="the deviations inside the product",
                cure="subtract the mean first: mean of (x - m)(x - m)^T",
            ),
            Bug(
                "gaussian-mle-std",
                "Standard deviations where N(mean, cov) wants a covariance.",
                _gaussian_root,
                name="deviations for a covariance",
                symptom="in the unit of x, not its square",
                place="the root at the end",
                cure="leave the square: N(mean, cov) wants a covariance",
            ),
            Bug(
                "gaussian-mle-sum",
                "The scatter matrix, not divided by n.",
                lambda x: (x.mean(0), gaussian_mle(x)[1] * x.shape[0]),
                name="not divided",
                symptom="grows with n",
                place="the divisor of the scatter",
                cure="divide by n",
            ),
        ),
    ),
    Subject(
        "least-squares",
        least_squares,
        ((POINTS, TARGETS),),
        (
            Bug(
                "least-squares-ridge",
                "A small multiple of I added 'for stability': another estimator.",
                lambda features, y: ridge(features, y, 1e-3),
                name="a little ridge",
                symptom="residuals not orthogonal to the features",
                place="the matrix that is inverted",
                cure="use the pseudo-inverse, which needs no penalty",
            ),
            Bug(
                "least-squares-marginal",
                "Each weight fitted alone, as if the features were orthogonal.",
                lambda features, y: (features.T @ y) / features.square().sum(0),
                name="features fitted one by one",
                symptom="right only for orthogonal features",
                place="the off-diagonal entries of X^T X",
                cure="solve the normal equations X^T X w = X^T y",
            ),
        ),
    ),
    Subject(
        "newton",
        newton,
        ((_skewed_quadratic, _float64([1.5, -0.5]), 2),),
        (
            Bug(
                "newton-no-inverse",
                "H times the gradient, not H^-1 times.",
                _newton_without_inverse,
                name="Hessian not inverted",
                symptom="more than one step on a quadratic",
                place="the product of Hessian and gradient",
                cure="solve: theta - H^{-1} gradient",
            ),
            Bug(
                "newton-diagonal",
                "Only the diagonal of the Hessian is inverted.",
                _newton_diagonal,
                name="only the diagonal inverted",
                symptom="more than one step on a tilted quadratic",
                place="the off-diagonal entries of the Hessian",
                cure="solve with the whole Hessian: theta - H^{-1} gradient",
            ),
            Bug(
                "newton-sign",
                "Steps uphill.",
                _newton_ascent,
                name="steps uphill",
                symptom="the loss grows",
                place="the sign of the step",
                cure="subtract the step: theta - H^{-1} gradient",
            ),
        ),
    ),
    Subject(
        "fisher-information",
        score_moments,
        ((_normal_log_prob, _float64([0.4, 0.2]), VALUES, _float64([0.3, 0.1, 0.05, 0.15, 0.2, 0.2])),),
        (
            Bug(
                "fisher-information-mean-first",
                "The square of the mean score for the mean of its square: zero at the optimum.",
                _moments_with_mean_outside,
                name="squared after averaging",
                symptom="0 at the maximum",
                place="the order of square and average",
                cure="square first, then average: E[s s^T]",
            ),
            Bug(
                "fisher-information-sign",
                "E[Hessian] without its minus.",
                _moments_curvature_sign,
                name="minus forgotten",
                symptom="negative definite at a maximum",
                place="the sign of the mean Hessian",
                cure="-E[Hessian of log p]",
            ),
            Bug(
                "fisher-information-unweighted",
                "Points counted alike, whatever their probability.",
                _moments_unweighted,
                name="points counted alike",
                symptom="mean score not 0 at the true parameter",
                place="the weights of the average",
                cure="weight by the law of x",
            ),
        ),
    ),
    Subject(
        "sandwich",
        sandwich,
        ((B, A),),
        (
            Bug(
                "sandwich-inverse-curvature",
                "A^-1 alone: right if the model is (A = B), the assumption behind most printed error bars (E3-057).",
                lambda second_moment, curvature: torch.linalg.inv(curvature),
                name="curvature alone",
                symptom="intervals that miss under misspecification",
                place="the filling B, the second moment of the scores",
                cure="A^-1 B A^-1",
            ),
            Bug(
                "sandwich-inverse-score",
                "B^-1 alone, the outer-product estimate.",
                lambda second_moment, curvature: torch.linalg.inv(second_moment),
                name="scores alone",
                symptom="too small where the data spread more than the model",
                place="the curvature A",
                cure="A^-1 B A^-1",
            ),
            Bug(
                "sandwich-inside-out",
                "Bread and filling exchanged: B^-1 A B^-1.",
                lambda second_moment, curvature: sandwich(curvature, second_moment),
                name="bread and filling exchanged",
                symptom="shrinks as the scores spread",
                place="which matrix is inverted",
                cure="the curvature is the bread: A^-1 B A^-1",
            ),
            Bug(
                "sandwich-no-inverse",
                "A B A.",
                lambda second_moment, curvature: curvature @ second_moment @ curvature,
                name="nothing inverted",
                symptom="in the unit of 1/theta",
                place="the two outer factors",
                cure="invert A: A^-1 B A^-1",
            ),
        ),
    ),
    Subject(
        "monte-carlo",
        monte_carlo,
        ((VALUES,),),
        (
            Bug(
                "monte-carlo-std",
                "The spread of the values for the error of their mean.",
                lambda values: (values.mean(), values.std()),
                name="spread for error",
                symptom="does not shrink with n",
                place="the division by the number of draws",
                cure="divide by sqrt(n): s/sqrt(n)",
            ),
            Bug(
                "monte-carlo-biased",
                "Variance divided by n: NumPy's default.",
                lambda values: (values.mean(), values.std(correction=0) / math.sqrt(len(values))),
                name="variance divided by n",
                symptom="too small by sqrt(1 - 1/n)",
                place="the divisor of the variance",
                cure="divide by n - 1",
            ),
            Bug(
                "monte-carlo-variance",
                "s^2/n without the root.",
                lambda values: (values.mean(), values.var() / len(values)),
                name="root not taken",
                symptom="in squared units; ten times the draws shrink it tenfold",
                place="the power of the error",
                cure="take the root: s/sqrt(n)",
            ),
            Bug(
                "monte-carlo-over-n",
                "s/n.",
                lambda values: (values.mean(), values.std() / len(values)),
                name="divided by n",
                symptom="intervals miss ever more often as n grows",
                place="the power of n",
                cure="divide by sqrt(n)",
            ),
        ),
    ),
    Subject(
        "beta-posterior",
        beta_posterior,
        ((BITS, 2.0, 5.0),),
        (
            Bug(
                "beta-posterior-swapped",
                "Zeros counted as successes.",
                lambda x, a, b: beta_posterior(1 - x, a, b),
                name="zeros as successes",
                symptom="mean moves away from the data",
                place="which count goes to which parameter",
                cure="a + ones, b + zeros",
            ),
            Bug(
                "beta-posterior-shares",
                "Shares added where counts belong.",
                lambda x, a, b: (a + x.mean(0), b + 1 - x.mean(0)),
                name="shares for counts",
                symptom="does not sharpen with n",
                place="the reduction over data",
                cure="add counts: sum, not mean",
            ),
            Bug(
                "beta-posterior-n",
                "b + n: the ones counted among the failures too.",
                lambda x, a, b: (a + x.sum(0), b + torch.full_like(x.sum(0), len(x))),
                name="all counted as failures",
                symptom="mean below one half for all-one data",
                place="what is added to b",
                cure="b + n - ones",
            ),
        ),
    ),
    Subject(
        "map",
        beta_mode,
        ((4.0, 8.0, 0.0), (4.0, 8.0, 1.0), (_float64([2.5, 6.0]), _float64([3.0, 2.2]), 0.5)),
        (
            Bug(
                "E0-12",
                "The Jacobian is forgotten: the mode in p read as the mode in any coordinate.",
                lambda a, b, jacobian_power: beta_mode(a, b),
                name="Jacobian forgotten",
                symptom="the same peak whatever one plots against",
                place="the change of variables",
                cure="multiply the density by dp/dphi, then find the peak",
            ),
            Bug(
                "map-mean",
                "The posterior mean for its mode.",
                lambda a, b, jacobian_power: a / (a + b),
                name="mean for mode",
                symptom="differs from the MLE under a flat prior",
                place="the formula for the peak of a Beta law",
                cure="(a - 1)/(a + b - 2)",
            ),
            Bug(
                "map-jacobian-inverted",
                "Divided by dp/dphi instead of multiplied.",
                lambda a, b, jacobian_power: beta_mode(a, b, -jacobian_power),
                name="Jacobian upside down",
                symptom="the peak moves the wrong way",
                place="the power of dp/dphi",
                cure="density in phi = density in p times dp/dphi",
            ),
            Bug(
                "map-add-one",
                "Laplace's a + 1 and b + 1 where the mode subtracts one.",
                lambda a, b, jacobian_power: beta_mode(a + 2, b + 2, jacobian_power),
                name="one added",
                symptom="too close to one half",
                place="the sign of the one",
                cure="subtract one: (a - 1)/(a + b - 2)",
            ),
        ),
    ),
    Subject(
        "categorical-predictive",
        categorical_predictive,
        ((GREY, 4, 1.5), (GREY, 5, 2.0)),
        (
            Bug(
                "predictive-numerator-only",
                "Pseudo-counts are added above the line, not below.",
                _numerator_only,
                name="pseudo-counts above the line only",
                symptom="sums to more than one",
                place="the denominator",
                cure="n + levels * concentration below the line",
            ),
            Bug(
                "predictive-one-count",
                "n + concentration below the line: one pseudo-count for all levels.",
                lambda x, levels, concentration: (
                    _numerator_only(x, levels, concentration) * len(x) / (len(x) + concentration)
                ),
                name="one pseudo-count for all levels",
                symptom="sums to more than one",
                place="the denominator",
                cure="n + levels * concentration below the line",
            ),
            Bug(
                "predictive-mode",
                "The posterior mode plugged in: concentration - 1 pseudo-counts.",
                _dirichlet_mode,
                name="mode for mean",
                symptom="zeros at concentration 1",
                place="the pseudo-counts, one too few in each level",
                cure="the posterior mean: (count + concentration)/(n + levels * concentration)",
            ),
            Bug(
                "predictive-shared",
                "The concentration divided among the levels: another prior.",
                lambda x, levels, concentration: categorical_predictive(x, levels, concentration / levels),
                name="concentration divided up",
                symptom="unseen levels are too rare",
                place="the meaning of `concentration`",
                cure="`concentration` is one level's",
            ),
            Bug(
                "predictive-none",
                "No prior at all: a grey level not seen in training is impossible.",
                lambda x, levels, concentration: categorical_mle(x, levels),
                name="no prior",
                symptom="log-likelihood -inf on new data",
                place="the pseudo-counts",
                cure="add the concentration to every level's count",
            ),
        ),
    ),
    Subject(
        "normal-posterior",
        normal_posterior,
        ((VALUES, 1.7, 0.5, 0.6),),
        (
            Bug(
                "normal-posterior-one-datum",
                "The sample mean treated as one datum: n is forgotten in the precision.",
                _one_datum,
                name="n forgotten",
                symptom="does not sharpen with n",
                place="the precision that the data bring",
                cure="n/variance, not 1/variance",
            ),
            Bug(
                "normal-posterior-squared-scale",
                "Variances taken for standard deviations and squared.",
                lambda x, variance, prior_mean, prior_variance: normal_posterior(
                    x, variance**2, prior_mean, prior_variance**2
                ),
                name="variances squared",
                symptom="right only at unit variances",
                place="the reading of the two variances",
                cure="variances in the second slot",
            ),
            Bug(
                "normal-posterior-weights",
                "The two weights of the mean are exchanged.",
                _weights_exchanged,
                name="weights exchanged",
                symptom="tends to the prior mean as n grows",
                place="the weights in the posterior mean",
                cure="weight the data by n/variance, the prior mean by 1/prior_variance",
            ),
            Bug(
                "normal-posterior-predictive",
                "The predictive variance for the posterior's.",
                _predictive,
                name="predictive variance",
                symptom="tends to `variance`, not to 0",
                place="the term that is added to the variance",
                cure="add `variance` for a new datum only",
            ),
        ),
    ),
    Subject(
        "gaussian-map",
        gaussian_map,
        ((POINTS, 0.7, 9.0),),
        (
            Bug(
                "gaussian-map-mean",
                "The inverse-Wishart's mean, n + degrees - d - 1 below the line, for its mode.",
                _inverse_wishart_mean,
                name="mean for mode",
                symptom="too large; undefined for few degrees",
                place="the degrees below the line",
                cure="n + degrees + d + 1",
            ),
            Bug(
                "gaussian-map-no-prior",
                "The maximum-likelihood covariance: singular for n <= d.",
                lambda x, scale, degrees: gaussian_mle(x),
                name="no prior",
                symptom="infinite likelihood on few data",
                place="the scale that is added above the line",
                cure="add scale I, and divide by n + degrees + d + 1",
            ),
            Bug(
                "gaussian-map-one-datum",
                "S for n S: the prior never fades.",
                _averaged_covariance,
                name="scatter of one datum",
                symptom="does not tend to S as n grows",
                place="the factor n of the sample covariance",
                cure="n S above the line, not S",
            ),
        ),
    ),
    Subject(
        "ridge",
        ridge,
        ((POINTS, TARGETS, 0.8),),
        (
            Bug(
                "ridge-mean-loss",
                "Mean squared error plus penalty |w|^2: the penalty grows with n.",
                lambda features, y, penalty: ridge(features, y, penalty * len(y)),
                name="mean of squares",
                symptom="shrinks as much at any n",
                place="the reduction over data",
                cure="the sum of squares plus penalty |w|^2",
            ),
            Bug(
                "ridge-over-n",
                "The penalty divided by n beside a sum of squares.",
                lambda features, y, penalty: ridge(features, y, penalty / len(y)),
                name="penalty divided by n",
                symptom="hardly shrinks",
                place="the weight of the penalty",
                cure="sum of squares plus penalty |w|^2",
            ),
            Bug(
                "ridge-half-loss",
                "Half the sum of squares beside the whole penalty.",
                lambda features, y, penalty: ridge(features, y, 2 * penalty),
                name="half a loss, a whole penalty",
                symptom="shrinks twice as much",
                place="the factor in front of the sum of squares",
                cure="both with the half, or both without",
            ),
            Bug(
                "ridge-squared",
                "penalty^2 for penalty: a standard deviation taken for a variance.",
                lambda features, y, penalty: ridge(features, y, penalty**2),
                name="penalty squared",
                symptom="right only at 1",
                place="the power of the penalty",
                cure="penalty = noise variance over prior variance, as it is",
            ),
        ),
    ),
    Subject(
        "soft-threshold",
        soft_threshold,
        ((_float64([-2.0, -0.3, 0.0, 0.4, 3.0]), 0.5),),
        (
            Bug(
                "soft-threshold-hard",
                "Values beyond the threshold are kept as they are: the minimiser for another penalty.",
                lambda u, threshold: torch.where(u.abs() > threshold, u, 0.0),
                name="hard threshold",
                symptom="jumps at the threshold",
                place="values beyond the threshold",
                cure="subtract the threshold from their size: sign(u) (|u| - threshold)",
            ),
            Bug(
                "soft-threshold-one-sided",
                "relu(u - threshold): negative values are lost.",
                lambda u, threshold: (u - threshold).clamp(min=0),
                name="negative values lost",
                symptom="no negative weight",
                place="values below minus the threshold",
                cure="sign(u) times relu(|u| - threshold)",
            ),
            Bug(
                "soft-threshold-no-clamp",
                "Values below the threshold change sign.",
                lambda u, threshold: u.sign() * (u.abs() - threshold),
                name="values below the threshold flip",
                symptom="no zero but at 0",
                place="values within the threshold",
                cure="clamp at 0: sign(u) relu(|u| - threshold)",
            ),
        ),
    ),
    Subject(
        "lasso",
        lasso,
        ((POINTS, TARGETS, 0.5),),
        (
            Bug(
                "lasso-mean-loss",
                "scikit-learn's alpha goes with |y - features w|^2/(2 n).",
                lambda features, y, penalty: lasso(features, y, penalty * len(y)),
                name="mean of squares",
                symptom="too many zeros",
                place="the reduction over data, or the meaning of alpha",
                cure="penalty = n alpha, for half the sum of squares",
            ),
            Bug(
                "lasso-whole-square",
                "|y - features w|^2 without its half beside the whole penalty.",
                lambda features, y, penalty: lasso(features, y, penalty / 2),
                name="square not halved",
                symptom="shrinks half as much",
                place="the factor in front of the sum of squares",
                cure="half the sum of squares plus penalty |w|_1",
            ),
            Bug(
                "lasso-thresholded-fit",
                "The least-squares weights soft-thresholded: right only for orthonormal features.",
                lambda features, y, penalty: soft_threshold(least_squares(features, y), penalty),
                name="threshold after the fit",
                symptom="residuals correlate with the features by more than the penalty",
                place="the order of fitting and thresholding",
                cure="coordinate descent: threshold each weight's own residual in turn",
            ),
        ),
    ),
    Subject(
        "bernoulli-log-prob",
        bernoulli_log_prob,
        ((BITS, _float64([0.8, 0.3, 0.4, 0.1])), (BITS, _float64([0.6, 0.5, 0.2, 0.05]))),
        (
            Bug(
                "bernoulli-mean",
                "Mean over pixels, the default reduction of a cross-entropy loss: nats per pixel.",
                lambda x, probs: bernoulli_log_prob(x, probs) / x.shape[1],
                name="mean over pixels",
                symptom="a KL beside it weighs d times too much",
                place="the reduction over pixels",
                cure="sum over pixels",
            ),
            Bug(
                "bernoulli-sign",
                "The loss for the log-likelihood.",
                lambda x, probs: -bernoulli_log_prob(x, probs),
                name="loss for log-likelihood",
                symptom="positive: a mass above one",
                place="the sign of the whole",
                cure="drop the minus: x log p + (1 - x) log(1 - p)",
            ),
            Bug(
                "bernoulli-ones-only",
                "x log p without (1 - x) log(1 - p).",
                lambda x, probs: xlogy(x, probs).sum(-1),
                name="zeros not scored",
                symptom="best at probs = 1 everywhere",
                place="the term of the zeros",
                cure="keep both terms: x log p + (1 - x) log(1 - p)",
            ),
            Bug(
                "bernoulli-double-sigmoid",
                "Probabilities taken for logits (torchgan #116).",
                lambda x, probs: bernoulli_log_prob(x, probs.sigmoid()),
                name="two sigmoids",
                symptom="no pixel's probability of a one below one half",
                place="the argument: probability or logit",
                cure="probabilities in, or logits throughout",
            ),
            Bug(
                "bernoulli-batch-mean",
                "One number for the batch.",
                lambda x, probs: bernoulli_log_prob(x, probs).mean(),
                name="batch averaged away",
                symptom="one number, shape (), where the batch has one for each example",
                place="the reduction over the batch",
                cure="one value per example",
            ),
        ),
    ),
    Subject(
        "bits-per-dim",
        bits_per_dim,
        ((_float64([-310.0, -402.5]), 64, 16), (_float64([-20.0, 3.0]), 12, 256)),
        (
            Bug(
                "bits-nats",
                "Nats under a name that says bits.",
                lambda log_prob, d, levels: -log_prob / d + math.log(levels),
                name="nats called bits",
                symptom="too small by log 2",
                place="the base of the logarithm",
                cure="divide by log 2",
            ),
            Bug(
                "bits-no-offset",
                "The price of rescaling grey levels to [0, 1] is left out (openai/glow #51, score_sde #51).",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d),
                name="rescaling is free",
                symptom="8 bits too good: often negative",
                place="the offset of the grey levels",
                cure="+ log2(levels)",
            ),
            Bug(
                "bits-offset-sign",
                "The offset is subtracted.",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d) - math.log2(levels),
                name="offset subtracted",
                symptom="16 bits too good",
                place="the sign of the offset",
                cure="+ log2(levels)",
            ),
            Bug(
                "bits-per-image",
                "Per image, not per coordinate.",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d, levels) * d,
                name="not divided by d",
                symptom="grows with the image",
                place="the division by the number of coordinates",
                cure="divide -log2 p by d, then add log2(levels)",
            ),
            Bug(
                "bits-offset-over-d",
                "The offset is divided by d with the rest: it is paid in every coordinate.",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d) + math.log2(levels) / d,
                name="offset divided by d",
                symptom="nearly 8 bits too good",
                place="the bracket around the offset",
                cure="add the offset outside the division: -log2 p/d + log2(levels)",
            ),
            Bug(
                "bits-sign",
                "log2 p for -log2 p.",
                lambda log_prob, d, levels: bits_per_dim(-log_prob, d, levels),
                name="minus forgotten",
                symptom="better models pay more",
                place="the sign of the log-density",
                cure="minus: -log2 p/d + log2(levels)",
            ),
        ),
    ),
    Subject(
        "code-length",
        code_lengths,
        ((_float64([0.55, 0.2, 0.15, 0.1]),),),
        (
            Bug(
                "code-length-rounded",
                "Rounded to nearest: Kraft's sum can exceed one, so no prefix code has these lengths.",
                lambda p: (-p.log2()).round(),
                name="rounded to nearest",
                symptom="sum of 2^-length above 1",
                place="the rounding",
                cure="round up: ceil(-log2 p)",
            ),
            Bug(
                "code-length-ideal",
                "Not rounded: no code has fractional words.",
                lambda p: -p.log2(),
                name="not rounded",
                symptom="fractional lengths",
                place="the rounding",
                cure="round up: ceil(-log2 p)",
            ),
            Bug(
                "code-length-nats",
                "Natural logarithm, rounded up: codewords too short.",
                lambda p: (-p.log()).ceil(),
                name="nats for bits",
                symptom="Kraft's sum above 1",
                place="the base of the logarithm",
                cure="ceil(-log2 p)",
            ),
            Bug(
                "code-length-uniform",
                "The same length for every state.",
                lambda p: torch.full_like(p, math.ceil(math.log2(len(p)))),
                name="one length for all",
                symptom="no saving on frequent states",
                place="the dependence on p",
                cure="ceil(-log2 p), one length for each state",
            ),
        ),
    ),
    Subject(
        "predicted-zeros",
        predicted_zero_share,
        ((BITS,),),
        (
            Bug(
                "predicted-zeros-on-train",
                "Counted on the images that were fitted, which are never impossible.",
                lambda x: 0.0,
                name="counted on the fitted images",
                symptom="0, whatever the data",
                place="which images the fit has seen",
                cure="leave each image out in turn",
            ),
            Bug(
                "predicted-zeros-pixels",
                "The share of pixels with a lonely value, not of images that own one.",
                lambda x: ((x.sum(0) == 1) | (x.sum(0) == len(x) - 1)).double().mean().item(),
                name="pixels counted, not images",
                symptom="depends on d, not on n",
                place="what is counted",
                cure="count the images that own a value no other image has",
            ),
            Bug(
                "predicted-zeros-ones-only",
                "Only a lonely one counts: a lonely zero leaves 1 - p = 0 just as well.",
                lambda x: ((x == 1) & (x.sum(0) == 1)).any(-1).double().mean().item(),
                name="lonely zeros forgotten",
                symptom="too small",
                place="the value of the lonely pixel",
                cure="both values: a lonely one and a lonely zero",
            ),
        ),
    ),
)

SLIPS = {
    "add-one-for-the-maximum": Slip(
        "Laplace's add-one rule quoted as the maximum of the likelihood.",
        name="add-one for the maximum",
        holds="the likelihood is largest at the plain shares; add-one is a posterior mean under a flat prior",
        misleads="with many data, where both agree",
    ),
    "gradient-ascent": Slip(
        "A step along the gradient of a loss, not against it.",
        name="a step uphill",
        holds="descend: theta - step * gradient of the loss",
        misleads="when log-likelihood and loss change places",
    ),
    "optimism-half": Slip(
        "k/2n for the gap between training and test score: one of its two halves forgotten.",
        name="half of the optimism",
        holds="k/2n is the training score's gain and k/2n the test score's loss: k/n between them, per datum",
        misleads="one half is what each theorem speaks of",
    ),
    "sigma-for-variance": Slip(
        "The information of a Gaussian mean as 1/sigma, not 1/sigma^2.",
        name="information as 1/sigma",
        holds="the information of a Gaussian mean is 1/sigma^2",
        misleads="at sigma = 1",
    ),
    "prior-ignored": Slip(
        "The posterior mean quoted as the share of successes.",
        name="prior ignored",
        holds="the posterior mean is (a + successes)/(a + b + n)",
        misleads="with many data, where the prior has faded",
    ),
    "unpenalised": Slip(
        "The normal equations of plain least squares, claimed for the lasso's active weights.",
        name="normal equations of plain least squares",
        holds="the active weights of the lasso obey X^T (y - X w) = penalty sign(w)",
        misleads="with a small penalty",
    ),
    "ridge-shrinkage": Slip(
        "The proportional shrinkage of ridge for the lasso's soft threshold.",
        name="ridge's shrinkage for the lasso's",
        holds="with orthonormal features the lasso subtracts the penalty, ridge divides by 1 + penalty",
        misleads="for a weight of 1 + penalty both give 1",
    ),
    "nll-no-half": Slip(
        "(y - f)^2/sigma^2 without its half beside log sigma (bugs of released VAE losses).",
        name="half left out",
        holds="(y - f)^2/(2 sigma^2) + log sigma",
        misleads="the best sigma is then sqrt 2 too large, and the fit of f is the same",
    ),
    "logits-as-probabilities": Slip(
        "Logits summed as if they were log-probabilities (torchgan #116).",
        name="logits as log-probabilities",
        holds="log_softmax, or logsigmoid, comes first",
        misleads="the arg max is the same",
    ),
}
