"""Wrong variants of `dgmlib.estimation` (chapter 03)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
from dgmlib.estimation import (
    bernoulli_log_prob,
    beta_mode,
    beta_posterior,
    bits_per_dim,
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

POINTS = f64([1.0, 2.0], [-0.5, 0.3], [2.5, 1.1], [0.2, -1.4], [3.0, 0.9])
BITS = f64([1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0])
GREY = torch.tensor([[0, 2], [3, 2], [1, 2], [0, 1], [0, 3]])
VALUES = f64(0.3, -1.2, 4.0, 2.2, 0.7, 1.9)
TARGETS = f64(1.0, -2.0, 0.5, 3.0, 1.2)
A, B = f64([2.0, 0.3], [0.3, 0.8]), f64([1.5, -0.4], [-0.4, 2.2])


def _skewed_quadratic(theta: Tensor) -> Tensor:
    return theta @ A @ theta / 2 + theta.pow(4).sum() / 10 - theta[0]


def _normal_log_prob(theta: Tensor, x: Tensor) -> Tensor:
    return -(x - theta[0]).square() * torch.exp(-2 * theta[1]) / 2 - theta[1]


SUBJECTS = (
    subject(
        "gaussian-mle",
        gaussian_mle,
        ((POINTS,), (VALUES[:, None],)),
        {
            "E0-11": edit("/ x.shape[0]", "/ (x.shape[0] - 1)"),
            "gaussian-mle-uncentred": edit("centred.T @ centred", "x.T @ x"),
            "gaussian-mle-std": edit(
                "centred.T @ centred / x.shape[0]", "(centred.T @ centred / x.shape[0]).diagonal().sqrt().diag()"
            ),
            "gaussian-mle-sum": edit(" / x.shape[0]", ""),
        },
    ),
    subject(
        "least-squares",
        least_squares,
        ((POINTS, TARGETS),),
        {
            "least-squares-ridge": lambda features, y: ridge(features, y, 1e-3),
            "least-squares-marginal": lambda features, y: (features.T @ y) / features.square().sum(0),
        },
    ),
    subject(
        "newton",
        newton,
        ((_skewed_quadratic, f64(1.5, -0.5), 2),),
        {
            "newton-no-inverse": edit("torch.linalg.solve(hessian, gradient)", "hessian @ gradient"),
            "newton-diagonal": edit("torch.linalg.solve(hessian, gradient)", "gradient / hessian.diagonal()"),
            "newton-sign": edit("path[-1] - torch", "path[-1] + torch"),
        },
    ),
    subject(
        "fisher-information",
        score_moments,
        ((_normal_log_prob, f64(0.4, 0.2), VALUES, f64(0.3, 0.1, 0.05, 0.15, 0.2, 0.2)),),
        {
            "fisher-information-mean-first": edit(
                'torch.einsum("n,ni,nj->ij", weights, scores, scores)',
                "torch.outer(weights @ scores, weights @ scores)",
            ),
            "fisher-information-sign": edit('-torch.einsum("n,nij', 'torch.einsum("n,nij'),
            "fisher-information-unweighted": edit(
                'need_probabilities("weights", weights), ', "weights = torch.full_like(weights, 1 / len(weights))\n    "
            ),
        },
    ),
    subject(
        "sandwich",
        sandwich,
        ((B, A),),
        {
            "sandwich-inverse-curvature": edit("bread @ score_second_moment @ bread", "bread"),
            "sandwich-inverse-score": edit(
                "bread @ score_second_moment @ bread", "torch.linalg.inv(score_second_moment)"
            ),
            "sandwich-inside-out": edit(
                "    bread, ", "    score_second_moment, curvature = curvature, score_second_moment\n    bread, "
            ),
            "sandwich-no-inverse": edit(
                "bread @ score_second_moment @ bread", "curvature @ score_second_moment @ curvature"
            ),
        },
    ),
    subject(
        "monte-carlo",
        monte_carlo,
        ((VALUES,),),
        {
            "monte-carlo-std": edit(" / math.sqrt(values.shape[0])", ""),
            "monte-carlo-biased": edit("values.std()", "values.std(correction=0)"),
            "monte-carlo-variance": edit("values.std() / math.sqrt(values.shape[0])", "values.var() / values.shape[0]"),
            "monte-carlo-over-n": edit("math.sqrt(values.shape[0])", "values.shape[0]"),
        },
    ),
    subject(
        "beta-posterior",
        beta_posterior,
        ((BITS, 2.0, 5.0),),
        {
            "beta-posterior-swapped": edit("a + ones, b + x.shape[0] - ones", "a + x.shape[0] - ones, b + ones"),
            "beta-posterior-shares": edit(
                "(bernoulli_mle(x) * x.shape[0]).round()", "bernoulli_mle(x)", "b + x.shape[0]", "b + 1"
            ),
            "beta-posterior-n": edit("b + x.shape[0] - ones", "b + torch.full_like(ones, x.shape[0])"),
        },
    ),
    subject(
        "map",
        beta_mode,
        ((4.0, 8.0, 0.0), (4.0, 8.0, 1.0), (f64(2.5, 6.0), f64(3.0, 2.2), 0.5)),
        {
            "E0-12": edit("a - 1 + jacobian_power, b - 1 + jacobian_power", "a - 1, b - 1"),
            "map-mean": edit("inner_a / (inner_a + inner_b)", "a / (a + b)"),
            "map-jacobian-inverted": edit("a - 1 + jacobian_power, b - 1 + j", "a - 1 - jacobian_power, b - 1 - j"),
            "map-add-one": edit("a - 1 + jacobian_power, b - 1 + j", "a + 1 + jacobian_power, b + 1 + j"),
        },
    ),
    subject(
        "categorical-predictive",
        categorical_predictive,
        ((GREY, 4, 1.5), (GREY, 5, 2.0)),
        {
            "predictive-numerator-only": edit("(x.shape[0] + levels * concentration)", "x.shape[0]"),
            "predictive-one-count": edit("levels * concentration", "concentration"),
            "predictive-mode": edit(
                "+ concentration)", "+ concentration - 1)", "levels * concentration", "levels * (concentration - 1)"
            ),
            "predictive-shared": edit(
                "+ concentration)", "+ concentration / levels)", "levels * concentration", "concentration"
            ),
            "predictive-none": edit("double() + concentration", "double()", " + levels * concentration", ""),
        },
    ),
    subject(
        "normal-posterior",
        normal_posterior,
        ((VALUES, 1.7, 0.5, 0.6),),
        {
            "normal-posterior-one-datum": edit('len(need_finite("x", x))', "1", "x.sum()", "x.mean()"),
            "normal-posterior-squared-scale": edit(
                "    posterior_variance = 1 / (1",
                "    variance, prior_variance = variance**2, prior_variance**2\n    posterior_variance = 1 / (1",
            ),
            "normal-posterior-weights": edit(
                "prior_mean / prior_variance + x.sum() / variance",
                "prior_mean * len(x) / variance + x.mean() / prior_variance",
            ),
            "normal-posterior-predictive": edit(
                "variance), posterior_variance", "variance), posterior_variance + variance"
            ),
        },
    ),
    subject(
        "gaussian-map",
        gaussian_map,
        ((POINTS, 0.7, 9.0),),
        {
            "gaussian-map-mean": edit("degrees + d + 1", "degrees - d - 1"),
            "gaussian-map-no-prior": lambda x, scale, degrees: gaussian_mle(x),
            "gaussian-map-one-datum": edit("n * cov", "cov", "(n + degrees", "(1 + degrees"),
        },
    ),
    subject(
        "ridge",
        ridge,
        ((POINTS, TARGETS, 0.8),),
        {
            "ridge-mean-loss": edit("penalty * identity", "len(y) * penalty * identity"),
            "ridge-over-n": edit("penalty * identity", "penalty / len(y) * identity"),
            "ridge-half-loss": edit("penalty * identity", "2 * penalty * identity"),
            "ridge-squared": edit("penalty * identity", "penalty**2 * identity"),
        },
    ),
    subject(
        "soft-threshold",
        soft_threshold,
        ((f64(-2.0, -0.3, 0.0, 0.4, 3.0), 0.5),),
        {
            "soft-threshold-hard": edit(
                'need_finite("u", u).sign() * (u.abs() - threshold).clamp(min=0)',
                "torch.where(u.abs() > threshold, u, 0.0)",
            ),
            "soft-threshold-one-sided": edit('need_finite("u", u).sign() * (u.abs() - threshold)', "(u - threshold)"),
            "soft-threshold-no-clamp": edit(".clamp(min=0)", ""),
        },
    ),
    subject(
        "lasso",
        lasso,
        ((POINTS, TARGETS, 0.5),),
        {
            "lasso-mean-loss": edit("penalty / squares[j]", "len(y) * penalty / squares[j]"),
            "lasso-whole-square": edit("penalty / squares[j]", "penalty / 2 / squares[j]"),
            "lasso-thresholded-fit": lambda features, y, penalty: soft_threshold(least_squares(features, y), penalty),
        },
    ),
    subject(
        "bernoulli-log-prob",
        bernoulli_log_prob,
        ((BITS, f64(0.8, 0.3, 0.4, 0.1)), (BITS, f64(0.6, 0.5, 0.2, 0.05))),
        {
            "bernoulli-mean": edit(".sum(-1)", ".mean(-1)"),
            "bernoulli-sign": edit("return torch", "return -torch"),
            "bernoulli-ones-only": edit("torch.where(x == 1, probs, 1 - probs).log()", "torch.special.xlogy(x, probs)"),
            "bernoulli-double-sigmoid": edit("probs, 1 - probs)", "probs.sigmoid(), 1 - probs.sigmoid())"),
            "bernoulli-batch-mean": edit(".sum(-1)", ".sum(-1).mean()"),
        },
    ),
    subject(
        "bits-per-dim",
        bits_per_dim,
        ((f64(-310.0, -402.5), 64, 16), (f64(-20.0, 3.0), 12, 256)),
        {
            "bits-nats": edit("(d * math.log(2)) + math.log2(levels)", "d + math.log(levels)"),
            "bits-no-offset": edit(" + math.log2(levels)", ""),
            "bits-offset-sign": edit("+ math.log2(levels)", "- math.log2(levels)"),
            "bits-per-image": edit("(d * math.log(2)) +", "math.log(2) + d *"),
            "bits-offset-over-d": edit("math.log2(levels)", "math.log2(levels) / d"),
            "bits-sign": edit("return -log_prob", "return log_prob"),
        },
    ),
    subject(
        "code-length",
        code_lengths,
        ((f64(0.55, 0.2, 0.15, 0.1),),),
        {
            "code-length-rounded": edit(".ceil()", ".round()"),
            "code-length-ideal": edit(".ceil()", ""),
            "code-length-nats": edit(".log2()", ".log()"),
            "code-length-uniform": lambda p: torch.full_like(p, math.ceil(math.log2(len(p)))),
        },
    ),
    subject(
        "predicted-zeros",
        predicted_zero_share,
        ((BITS,),),
        {
            "predicted-zeros-on-train": lambda x: 0.0,
            "predicted-zeros-pixels": edit("owner.any(-1)", "(sole_one | sole_zero)"),
            "predicted-zeros-ones-only": edit(" | ((x == 0) & sole_zero)", ""),
        },
    ),
)
