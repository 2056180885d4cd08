"""Wrong variants of `dgmlib.estimation` (chapter 03)."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.special import xlogy

from dgmlib.bugs import Bug, Subject
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
                "a likelihood below the maximum; n = 1 gives NaN",
                "divide by n",
            ),
            Bug(
                "gaussian-mle-uncentred",
                "Second moments for central ones.",
                _gaussian_uncentred,
                "grows when the data are shifted",
                "subtract the mean",
            ),
            Bug(
                "gaussian-mle-std",
                "Standard deviations where N(mean, cov) wants a covariance.",
                _gaussian_root,
                "in the unit of x, not its square",
                "leave the square",
            ),
            Bug(
                "gaussian-mle-sum",
                "The scatter matrix, not divided by n.",
                lambda x: (x.mean(0), gaussian_mle(x)[1] * x.shape[0]),
                "grows with n",
                "divide by n",
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
                "residuals not orthogonal to the features",
                "pseudo-inverse",
            ),
            Bug(
                "least-squares-marginal",
                "Each weight fitted alone, as if the features were orthogonal.",
                lambda features, y: (features.T @ y) / features.square().sum(0),
                "right only for orthogonal features",
                "solve the normal equations",
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
                "more than one step on a quadratic",
                "solve(H, gradient)",
            ),
            Bug(
                "newton-diagonal",
                "Only the diagonal of the Hessian is inverted.",
                _newton_diagonal,
                "more than one step on a tilted quadratic",
                "solve(H, gradient)",
            ),
            Bug("newton-sign", "Steps uphill.", _newton_ascent, "the loss grows", "subtract the step"),
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
                "0 at the maximum",
                "square first, then average",
            ),
            Bug(
                "fisher-information-sign",
                "E[Hessian] without its minus.",
                _moments_curvature_sign,
                "negative definite at a maximum",
                "-E[Hessian]",
            ),
            Bug(
                "fisher-information-unweighted",
                "Points counted alike, whatever their probability.",
                _moments_unweighted,
                "mean score not 0 at the true parameter",
                "weight by the law of x",
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
                "intervals that miss under misspecification",
                "A^-1 B A^-1",
            ),
            Bug(
                "sandwich-inverse-score",
                "B^-1 alone, the outer-product estimate.",
                lambda second_moment, curvature: torch.linalg.inv(second_moment),
                "too small where the data spread more than the model",
                "A^-1 B A^-1",
            ),
            Bug(
                "sandwich-inside-out",
                "Bread and filling exchanged: B^-1 A B^-1.",
                lambda second_moment, curvature: sandwich(curvature, second_moment),
                "shrinks as the scores spread",
                "the curvature is the bread",
            ),
            Bug(
                "sandwich-no-inverse",
                "A B A.",
                lambda second_moment, curvature: curvature @ second_moment @ curvature,
                "in the unit of 1/theta",
                "invert A",
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
                "does not shrink with n",
                "divide by sqrt(n)",
            ),
            Bug(
                "monte-carlo-biased",
                "Variance divided by n: NumPy's default.",
                lambda values: (values.mean(), values.std(correction=0) / math.sqrt(len(values))),
                "too small by sqrt(1 - 1/n)",
                "divide by n - 1",
            ),
            Bug(
                "monte-carlo-variance",
                "s^2/n without the root.",
                lambda values: (values.mean(), values.var() / len(values)),
                "in squared units; ten times the draws shrink it tenfold",
                "take the root",
            ),
            Bug(
                "monte-carlo-over-n",
                "s/n.",
                lambda values: (values.mean(), values.std() / len(values)),
                "intervals miss ever more often as n grows",
                "divide by sqrt(n)",
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
                "mean moves away from the data",
                "a + ones, b + zeros",
            ),
            Bug(
                "beta-posterior-shares",
                "Shares added where counts belong.",
                lambda x, a, b: (a + x.mean(0), b + 1 - x.mean(0)),
                "does not sharpen with n",
                "add counts",
            ),
            Bug(
                "beta-posterior-n",
                "b + n: the ones counted among the failures too.",
                lambda x, a, b: (a + x.sum(0), b + torch.full_like(x.sum(0), len(x))),
                "mean below one half for all-one data",
                "b + n - ones",
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
                "the same peak whatever one plots against",
                "multiply the density by dp/dphi",
            ),
            Bug(
                "map-mean",
                "The posterior mean for its mode.",
                lambda a, b, jacobian_power: a / (a + b),
                "differs from the MLE under a flat prior",
                "(a - 1)/(a + b - 2)",
            ),
            Bug(
                "map-jacobian-inverted",
                "Divided by dp/dphi instead of multiplied.",
                lambda a, b, jacobian_power: beta_mode(a, b, -jacobian_power),
                "the peak moves the wrong way",
                "density in phi = density in p times dp/dphi",
            ),
            Bug(
                "map-add-one",
                "Laplace's a + 1 and b + 1 where the mode subtracts one.",
                lambda a, b, jacobian_power: beta_mode(a + 2, b + 2, jacobian_power),
                "too close to one half",
                "subtract one",
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
                "sums to more than one",
                "n + levels * concentration",
            ),
            Bug(
                "predictive-one-count",
                "n + concentration below the line: one pseudo-count for all levels.",
                lambda x, levels, concentration: (
                    _numerator_only(x, levels, concentration) * len(x) / (len(x) + concentration)
                ),
                "sums to more than one",
                "n + levels * concentration",
            ),
            Bug(
                "predictive-mode",
                "The posterior mode plugged in: concentration - 1 pseudo-counts.",
                _dirichlet_mode,
                "zeros at concentration 1",
                "the posterior mean",
            ),
            Bug(
                "predictive-shared",
                "The concentration divided among the levels: another prior.",
                lambda x, levels, concentration: categorical_predictive(x, levels, concentration / levels),
                "unseen levels are too rare",
                "`concentration` is one level's",
            ),
            Bug(
                "predictive-none",
                "No prior at all: a grey level not seen in training is impossible.",
                lambda x, levels, concentration: categorical_mle(x, levels),
                "log-likelihood -inf on new data",
                "add the concentration",
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
                "does not sharpen with n",
                "n/variance",
            ),
            Bug(
                "normal-posterior-squared-scale",
                "Variances taken for standard deviations and squared.",
                lambda x, variance, prior_mean, prior_variance: normal_posterior(
                    x, variance**2, prior_mean, prior_variance**2
                ),
                "right only at unit variances",
                "variances in the second slot",
            ),
            Bug(
                "normal-posterior-weights",
                "The two weights of the mean are exchanged.",
                _weights_exchanged,
                "tends to the prior mean as n grows",
                "weight data by n/variance",
            ),
            Bug(
                "normal-posterior-predictive",
                "The predictive variance for the posterior's.",
                _predictive,
                "tends to `variance`, not to 0",
                "add `variance` for a new datum only",
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
                "too large; undefined for few degrees",
                "n + degrees + d + 1",
            ),
            Bug(
                "gaussian-map-no-prior",
                "The maximum-likelihood covariance: singular for n <= d.",
                lambda x, scale, degrees: gaussian_mle(x),
                "infinite likelihood on few data",
                "add scale I",
            ),
            Bug(
                "gaussian-map-one-datum",
                "S for n S: the prior never fades.",
                _averaged_covariance,
                "does not tend to S as n grows",
                "n S",
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
                "shrinks as much at any n",
                "sum of squares",
            ),
            Bug(
                "ridge-over-n",
                "The penalty divided by n beside a sum of squares.",
                lambda features, y, penalty: ridge(features, y, penalty / len(y)),
                "hardly shrinks",
                "sum of squares plus penalty |w|^2",
            ),
            Bug(
                "ridge-half-loss",
                "Half the sum of squares beside the whole penalty.",
                lambda features, y, penalty: ridge(features, y, 2 * penalty),
                "shrinks twice as much",
                "both with the half, or both without",
            ),
            Bug(
                "ridge-squared",
                "penalty^2 for penalty: a standard deviation taken for a variance.",
                lambda features, y, penalty: ridge(features, y, penalty**2),
                "right only at 1",
                "noise variance over prior variance",
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
                "jumps at the threshold",
                "subtract the threshold",
            ),
            Bug(
                "soft-threshold-one-sided",
                "relu(u - threshold): negative values are lost.",
                lambda u, threshold: (u - threshold).clamp(min=0),
                "no negative weight",
                "sign(u) times relu(|u| - threshold)",
            ),
            Bug(
                "soft-threshold-no-clamp",
                "Values below the threshold change sign.",
                lambda u, threshold: u.sign() * (u.abs() - threshold),
                "no zero but at 0",
                "clamp at 0",
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
                "too many zeros",
                "penalty = n alpha",
            ),
            Bug(
                "lasso-whole-square",
                "|y - features w|^2 without its half beside the whole penalty.",
                lambda features, y, penalty: lasso(features, y, penalty / 2),
                "shrinks half as much",
                "half the sum of squares",
            ),
            Bug(
                "lasso-thresholded-fit",
                "The least-squares weights soft-thresholded: right only for orthonormal features.",
                lambda features, y, penalty: soft_threshold(least_squares(features, y), penalty),
                "residuals correlate with the features by more than the penalty",
                "coordinate descent",
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
                "a KL beside it weighs d times too much",
                "sum over pixels",
            ),
            Bug(
                "bernoulli-sign",
                "The loss for the log-likelihood.",
                lambda x, probs: -bernoulli_log_prob(x, probs),
                "positive: a mass above one",
                "drop the minus",
            ),
            Bug(
                "bernoulli-ones-only",
                "x log p without (1 - x) log(1 - p).",
                lambda x, probs: xlogy(x, probs).sum(-1),
                "best at probs = 1 everywhere",
                "both terms",
            ),
            Bug(
                "bernoulli-double-sigmoid",
                "Probabilities taken for logits (torchgan #116).",
                lambda x, probs: bernoulli_log_prob(x, probs.sigmoid()),
                "no pixel's probability of a one below one half",
                "probabilities in, or logits throughout",
            ),
            Bug(
                "bernoulli-batch-mean",
                "One number for the batch.",
                lambda x, probs: bernoulli_log_prob(x, probs).mean(),
                "shape ()",
                "one value per example",
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
                "too small by log 2",
                "divide by log 2",
            ),
            Bug(
                "bits-no-offset",
                "The price of rescaling grey levels to [0, 1] is left out (openai/glow #51, score_sde #51).",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d),
                "8 bits too good: often negative",
                "+ log2(levels)",
            ),
            Bug(
                "bits-offset-sign",
                "The offset is subtracted.",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d) - math.log2(levels),
                "16 bits too good",
                "+ log2(levels)",
            ),
            Bug(
                "bits-per-image",
                "Per image, not per coordinate.",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d, levels) * d,
                "grows with the image",
                "divide by d",
            ),
            Bug(
                "bits-offset-over-d",
                "The offset is divided by d with the rest: it is paid in every coordinate.",
                lambda log_prob, d, levels: bits_per_dim(log_prob, d) + math.log2(levels) / d,
                "nearly 8 bits too good",
                "offset outside the division",
            ),
            Bug(
                "bits-sign",
                "log2 p for -log2 p.",
                lambda log_prob, d, levels: bits_per_dim(-log_prob, d, levels),
                "better models pay more",
                "minus",
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
                "sum of 2^-length above 1",
                "round up",
            ),
            Bug(
                "code-length-ideal",
                "Not rounded: no code has fractional words.",
                lambda p: -p.log2(),
                "fractional lengths",
                "round up",
            ),
            Bug(
                "code-length-nats",
                "Natural logarithm, rounded up: codewords too short.",
                lambda p: (-p.log()).ceil(),
                "Kraft's sum above 1",
                "log2",
            ),
            Bug(
                "code-length-uniform",
                "The same length for every state.",
                lambda p: torch.full_like(p, math.ceil(math.log2(len(p)))),
                "no saving on frequent states",
                "-log2 p, rounded up",
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
                "0, whatever the data",
                "leave each image out in turn",
            ),
            Bug(
                "predicted-zeros-pixels",
                "The share of pixels with a lonely value, not of images that own one.",
                lambda x: ((x.sum(0) == 1) | (x.sum(0) == len(x) - 1)).double().mean().item(),
                "depends on d, not on n",
                "count owners",
            ),
            Bug(
                "predicted-zeros-ones-only",
                "Only a lonely one counts: a lonely zero leaves 1 - p = 0 just as well.",
                lambda x: ((x == 1) & (x.sum(0) == 1)).any(-1).double().mean().item(),
                "too small",
                "both values",
            ),
        ),
    ),
)

SLIPS = {
    "add-one-for-the-maximum": "Laplace's add-one rule quoted as the maximum of the likelihood.",
    "gradient-ascent": "A step along the gradient of a loss, not against it.",
    "optimism-half": "k/2n for the gap between training and test score: one of its two halves forgotten.",
    "sigma-for-variance": "The information of a Gaussian mean as 1/sigma, not 1/sigma^2.",
    "prior-ignored": "The posterior mean quoted as the share of successes.",
    "unpenalised": "The normal equations of plain least squares, claimed for the lasso's active weights.",
    "ridge-shrinkage": "The proportional shrinkage of ridge for the lasso's soft threshold.",
    "nll-no-half": "(y - f)^2/sigma^2 without its half beside log sigma (bugs of released VAE losses).",
    "logits-as-probabilities": "Logits summed as if they were log-probabilities (torchgan #116).",
}
