"""Wrong variants of `dgmlib.divergences` (chapter 03)."""

import math

import torch
from torch import Tensor
from torch.special import xlogy

from dgmlib.bugs import Bug, Subject
from dgmlib.divergences import (
    GENERATORS,
    chi_squared,
    cross_entropy,
    entropy,
    f_divergence,
    fisher_divergence,
    hellinger_squared,
    js_divergence,
    kl_divergence,
    kl_gaussian,
    kl_terms,
    kl_terms_nonnegative,
    mmd_squared,
    renyi_divergence,
    total_variation,
    wasserstein_1,
    wasserstein_samples,
)


def _law(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


P, Q = _law((0.5, 0.25, 0.15, 0.1), (0.7, 0.1, 0.1, 0.1)), _law((0.2, 0.3, 0.1, 0.4), (0.1, 0.2, 0.3, 0.4))
P_ZERO, Q_ZERO = _law((0.5, 0.5, 0.0))[0], _law((0.6, 0.1, 0.3))[0]
LAWS = ((P, Q), (P_ZERO, Q_ZERO))
LOGS = (_law((-1.0, -0.3, -2.0, -4.0))[0], _law((-1.5, -0.2, -1.0, -6.5))[0])


# --- variants that need more than one expression --------------------------------------------------------------------


def _js_unhalved_mixture(p: Tensor, q: Tensor) -> Tensor:
    m = p + q
    return (xlogy(p, p) - xlogy(p, m) + xlogy(q, q) - xlogy(q, m)).sum(-1) / 2


def _power_sum(p: Tensor, q: Tensor, alpha: float) -> Tensor:
    return (p.pow(alpha) * q.pow(1 - alpha)).sum(-1)


def _without_singular_part(p: Tensor, q: Tensor, generator: str) -> Tensor:
    seen = q > 0
    inside = q * GENERATORS[generator].f(p / torch.where(seen, q, 1.0))
    return torch.where(seen, inside, 0.0).sum(-1)


def _gaussian_parts(mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> tuple[Tensor, Tensor, int, Tensor]:
    shift = mean_q - mean_p
    return (
        torch.linalg.solve(cov_q, cov_p).diagonal(dim1=-2, dim2=-1).sum(-1),
        (shift * torch.linalg.solve(cov_q, shift)).sum(-1),
        shift.shape[-1],
        torch.logdet(cov_q) - torch.logdet(cov_p),
    )


def _gaussian_without_d(*laws: Tensor) -> Tensor:
    trace, shift, _, log_det = _gaussian_parts(*laws)
    return (trace + shift + log_det) / 2


def _gaussian_log_det_sign(*laws: Tensor) -> Tensor:
    trace, shift, d, log_det = _gaussian_parts(*laws)
    return (trace + shift - d - log_det) / 2


def _gaussian_without_log_det(*laws: Tensor) -> Tensor:
    trace, shift, d, _ = _gaussian_parts(*laws)
    return (trace + shift - d) / 2


def _gaussian_inverted_trace(mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> Tensor:
    _, shift, d, log_det = _gaussian_parts(mean_p, cov_p, mean_q, cov_q)
    return (_gaussian_parts(mean_q, cov_q, mean_p, cov_p)[0] + shift - d + log_det) / 2


def _gaussian_euclidean_shift(mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> Tensor:
    trace, _, d, log_det = _gaussian_parts(mean_p, cov_p, mean_q, cov_q)
    return (trace + (mean_q - mean_p).square().sum(-1) - d + log_det) / 2


def _gaussian_diagonal(mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> Tensor:
    def keep_diagonal(cov: Tensor) -> Tensor:
        return torch.diag_embed(cov.diagonal(dim1=-2, dim2=-1))

    return kl_gaussian(mean_p, keep_diagonal(cov_p), mean_q, keep_diagonal(cov_q))


# --- the table ------------------------------------------------------------------------------------------------------

SUBJECTS = (
    Subject(
        "entropy",
        entropy,
        ((P,), (P_ZERO,)),
        (
            Bug("entropy-sign", "The minus is dropped: the logs are negative.", lambda p: -entropy(p), "H < 0", "-sum"),
            Bug(
                "entropy-bits",
                "Base 2 where the course, and `log`, mean nats.",
                lambda p: entropy(p) / math.log(2),
                "too large by 1/log 2 = 1.44; a fair coin has 1, not 0.693",
                "natural logarithm",
            ),
            Bug(
                "entropy-mean",
                "`.mean(-1)` for `.sum(-1)`: the weights p are in the terms already.",
                lambda p: entropy(p) / p.shape[-1],
                "falls when impossible states are appended",
                "sum over states",
            ),
            Bug(
                "entropy-nan",
                "0 log 0 left to floating point, which makes it 0 times -inf.",
                lambda p: -(p * p.log()).sum(-1),
                "NaN as soon as a state is impossible",
                "xlogy",
            ),
        ),
    ),
    Subject(
        "cross-entropy",
        cross_entropy,
        LAWS,
        (
            Bug(
                "E3-024",
                "E_p log p for E_p log q: what the mean log-likelihood of data tends to has the model inside the log.",
                lambda p, q: entropy(p),
                "does not depend on the model",
                "average log q under p",
            ),
            Bug(
                "cross-entropy-swapped",
                "Arguments exchanged, as the (input, target) order of loss functions invites.",
                lambda p, q: cross_entropy(q, p),
                "infinite as soon as the data miss a state",
                "average under the data, log of the model",
            ),
            Bug(
                "cross-entropy-kl",
                "The entropy of p subtracted: that is KL.",
                kl_divergence,
                "zero at q = p",
                "leave the entropy in",
            ),
            Bug(
                "cross-entropy-bits",
                "Base 2 where nats are meant.",
                lambda p, q: cross_entropy(p, q) / math.log(2),
                "too large by 1.44",
                "natural logarithm",
            ),
        ),
    ),
    Subject(
        "kl",
        kl_divergence,
        LAWS,
        (
            Bug(
                "E0-28",
                "The two laws exchanged: the price of coding p with q's code read as q with p's. "
                "Likelihood minimises KL(data || model), not the reverse (E3-056).",
                lambda p, q: kl_divergence(q, p),
                "infinite where q has mass and p has none, finite the other way; fits one mode",
                "average under the first argument",
            ),
            Bug(
                "E3-021",
                "Bits announced or returned where the logarithm is natural, or the other way round.",
                lambda p, q: kl_divergence(p, q) / math.log(2),
                "too large by 1/log 2 = 1.44",
                "nats; divide by log 2 only under a name that says bits",
            ),
            Bug(
                "E3-022",
                "The sum over states is missing: a vector of terms, some negative.",
                lambda p, q: xlogy(p, p) - xlogy(p, q),
                "negative entries; one number a state",
                ".sum(-1)",
            ),
            Bug(
                "kl-mean",
                "Mean over states: the default reduction of torch's kl_div, which its own documentation warns of.",
                lambda p, q: kl_divergence(p, q) / p.shape[-1],
                "falls when impossible states are appended",
                "sum over states, mean over the batch",
            ),
            Bug(
                "kl-cross-entropy",
                "The entropy of p is not subtracted: same gradient in q, another number.",
                cross_entropy,
                "KL(p || p) > 0",
                "subtract entropy(p)",
            ),
            Bug(
                "kl-symmetrised",
                "Both directions added (Jeffreys), because a distance should be symmetric.",
                lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
                "symmetric in p and q",
                "average under p alone",
            ),
            Bug(
                "kl-sign",
                "The ratio upside down under p: E_p log q/p. Logged so in PyTorch-VAE (AntixK #68).",
                lambda p, q: -kl_divergence(p, q),
                "negative",
                "p over q",
            ),
            Bug(
                "kl-nan",
                "0 log 0 left to floating point, which makes it 0 times -inf.",
                lambda p, q: (p * (p / q).log()).sum(-1),
                "NaN as soon as p misses a state",
                "xlogy",
            ),
            Bug(
                "kl-no-log",
                "torch's kl_div fed with q where it wants log q.",
                lambda p, q: (xlogy(p, p) - p * q).sum(-1),
                "KL(p || p) is not 0, often negative",
                "pass q.log()",
            ),
        ),
    ),
    Subject(
        "js",
        js_divergence,
        LAWS,
        (
            Bug(
                "E3-067",
                "'Symmetric KL' taken at its word: Jeffreys' divergence, unbounded, at least four times as large.",
                lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
                "exceeds log 2; infinite on different supports",
                "compare each law with the mixture m",
            ),
            Bug(
                "js-sum-not-half",
                "The two KLs are added, not averaged.",
                lambda p, q: 2 * js_divergence(p, q),
                "2 log 2 on disjoint laws",
                "halve the sum",
            ),
            Bug(
                "js-log2",
                "Base 2, where the bound is 1, not log 2.",
                lambda p, q: js_divergence(p, q) / math.log(2),
                "1 on disjoint laws",
                "natural logarithm",
            ),
            Bug(
                "js-root",
                "The Jensen-Shannon distance: SciPy's `jensenshannon` returns the root.",
                lambda p, q: js_divergence(p, q).sqrt(),
                "0.83 on disjoint laws",
                "square it",
            ),
            Bug(
                "js-unhalved-mixture",
                "m = p + q, which is no law: the log 4 of the GAN value function is lost here.",
                _js_unhalved_mixture,
                "-log 2 for equal laws, 0 for disjoint ones",
                "m = (p + q)/2",
            ),
        ),
    ),
    Subject(
        "renyi",
        renyi_divergence,
        ((P, Q, 0.3), (P, Q, 2.0), (P_ZERO, Q_ZERO, 0.3)),
        (
            Bug(
                "renyi-swapped",
                "Orders exchanged: p^(1 - alpha) q^alpha.",
                lambda p, q, alpha: _power_sum(p, q, 1 - alpha).log() / (alpha - 1),
                "tends to KL(q || p) as alpha tends to 1",
                "alpha on p, 1 - alpha on q",
            ),
            Bug(
                "renyi-prefactor",
                "Amari's prefactor 1/(alpha (alpha - 1)).",
                lambda p, q, alpha: renyi_divergence(p, q, alpha) / alpha,
                "at alpha 2, half of log(1 + chi^2)",
                "1/(alpha - 1)",
            ),
            Bug(
                "renyi-sign",
                "1/(1 - alpha), right for Rényi's entropy.",
                lambda p, q, alpha: -renyi_divergence(p, q, alpha),
                "negative",
                "1/(alpha - 1)",
            ),
            Bug(
                "renyi-tsallis",
                "The logarithm is left out: Tsallis' relative entropy.",
                lambda p, q, alpha: (_power_sum(p, q, alpha) - 1) / (alpha - 1),
                "not additive over independent pairs",
                "log of the sum",
            ),
        ),
    ),
    Subject(
        "tv",
        total_variation,
        LAWS,
        (
            Bug(
                "tv-l1",
                "The plain L1 distance, without the half.",
                lambda p, q: (p - q).abs().sum(-1),
                "2 on disjoint laws: no difference of probabilities",
                "halve it",
            ),
            Bug(
                "tv-max",
                "The largest difference over states, not over events.",
                lambda p, q: (p - q).abs().amax(-1),
                "too small when the surplus lies on several states",
                "half the sum",
            ),
            Bug(
                "tv-l2",
                "Euclidean distance for half the L1 distance.",
                lambda p, q: (p - q).square().sum(-1).sqrt(),
                "tends to 0 on ever finer grids",
                "absolute values",
            ),
        ),
    ),
    Subject(
        "hellinger",
        hellinger_squared,
        LAWS,
        (
            Bug(
                "hellinger-root",
                "H for H^2.",
                lambda p, q: hellinger_squared(p, q).sqrt(),
                "exceeds the total variation of close laws",
                "leave the square",
            ),
            Bug(
                "hellinger-no-half",
                "sum (sqrt p - sqrt q)^2, another convention: range [0, 2].",
                lambda p, q: (p.sqrt() - q.sqrt()).square().sum(-1),
                "2 on disjoint laws",
                "halve it",
            ),
            Bug(
                "hellinger-affinity",
                "The Bhattacharyya coefficient itself, not one minus it.",
                lambda p, q: (p * q).sqrt().sum(-1),
                "1 for equal laws",
                "1 - sum sqrt(p q)",
            ),
        ),
    ),
    Subject(
        "chi-squared",
        chi_squared,
        LAWS,
        (
            Bug(
                "chi-squared-neyman",
                "Divided by p (Neyman) instead of q (Pearson).",
                lambda p, q: chi_squared(q, p),
                "infinite where p misses a state of q",
                "divide by the second law",
            ),
            Bug(
                "chi-squared-no-square",
                "|p - q|/q, unsquared: that sums |u - 1| over states.",
                lambda p, q: ((p - q).abs() / q).sum(-1),
                "linear, not quadratic, near p = q",
                "square the difference",
            ),
            Bug(
                "chi-squared-uncentred",
                "sum p^2/q without the -1.",
                lambda p, q: (p.square() / q).sum(-1),
                "1 for equal laws",
                "subtract 1",
            ),
            Bug(
                "chi-squared-symmetric",
                "Divided by p + q: triangular discrimination, symmetric although it divides and multiplies (E3-020).",
                lambda p, q: ((p - q).square() / (p + q)).sum(-1),
                "at most 2",
                "divide by q",
            ),
        ),
    ),
    Subject(
        "f-divergence",
        f_divergence,
        (
            (P, Q, "kl"),
            (P, Q, "chi squared"),
            (_law((0.5, 0.5))[0], _law((1.0, 0.0))[0], "total variation"),
            (Q_ZERO, P_ZERO, "js"),
        ),
        (
            Bug(
                "E3-070",
                "Jensen's sum runs over q > 0 only: mass of p that q cannot see costs nothing.",
                _without_singular_part,
                "0.25 instead of 0.5 for (1/2, 1/2) against (1, 0); even negative with f(u) = u log u",
                "add the slope of f at infinity times p(q = 0)",
            ),
            Bug(
                "f-divergence-swapped",
                "f(q/p) averaged under p: the divergence of the exchanged laws.",
                lambda p, q, generator: f_divergence(q, p, generator),
                "u log u gives the reverse KL",
                "q f(p/q)",
            ),
            Bug(
                "f-divergence-ratio",
                "The ratio upside down under the right average: E_q f(q/p).",
                lambda p, q, generator: (q * GENERATORS[generator].f(q / p)).sum(-1),
                "negative values: E_q(q/p) is not 1, so Jensen's bound is not f(1)",
                "f(p/q)",
            ),
            Bug(
                "f-divergence-under-p",
                "Averaged under p: f(u) = u log u already carries the u.",
                lambda p, q, generator: (p * GENERATORS[generator].f(p / q)).sum(-1),
                "large where the ratio is",
                "average under q",
            ),
            Bug(
                "f-divergence-unweighted",
                "A plain sum of f(p/q) over states.",
                lambda p, q, generator: GENERATORS[generator].f(p / q).sum(-1),
                "changes when a state is split in two",
                "weight by q",
            ),
        ),
    ),
    Subject(
        "wasserstein",
        wasserstein_1,
        (
            (_law((0.0, 0.5, 2.0, 2.2))[0], P, Q),
            (_law((-3.0, 1.0, 1.5))[0], P_ZERO, Q_ZERO),
        ),
        (
            Bug(
                "wasserstein-unit-gaps",
                "The distances between points are forgotten: states numbered 0, 1, 2, ...",
                lambda points, p, q: (p - q).cumsum(-1).abs().sum(-1),
                "does not change when the points are scaled",
                "weight by the gaps",
            ),
            Bug(
                "wasserstein-cramer",
                "The squared difference of the distribution functions: Cramér's distance.",
                lambda points, p, q: ((p - q).cumsum(-1)[..., :-1].square() * points.diff()).sum(-1),
                "too small for laws that overlap",
                "absolute difference",
            ),
            Bug(
                "wasserstein-pointwise",
                "Masses compared point by point, without accumulating: mass moved two points costs as one.",
                lambda points, p, q: ((p - q)[..., :-1].abs() * points.diff()).sum(-1),
                "saturates as laws move apart",
                "cumsum first",
            ),
        ),
    ),
    Subject(
        "wasserstein-samples",
        wasserstein_samples,
        tuple((_law((0.3, -1.0, 2.0, 0.9))[0], _law((5.0, -2.0, 0.1, 4.0))[0], order) for order in (1.0, 2.0)),
        (
            Bug(
                "wasserstein-unsorted",
                "The samples are paired as they came: the cost of one coupling, not of the best.",
                lambda x, y, order: (x - y).abs().pow(order).mean(-1).pow(1 / order),
                "positive between a sample and its own shuffle",
                "sort both",
            ),
            Bug(
                "wasserstein-no-root",
                "W^order for W.",
                lambda x, y, order: wasserstein_samples(x, y, order) ** order,
                "in squared units for order 2",
                "take the root",
            ),
            Bug(
                "wasserstein-sum",
                "Sum over the sample for its mean.",
                lambda x, y, order: wasserstein_samples(x, y, order) * x.shape[-1] ** (1 / order),
                "grows with the sample",
                "mean",
            ),
        ),
    ),
    Subject(
        "mmd",
        mmd_squared,
        ((torch.exp(-_law((0.0, 0.4, 1.0), (0.4, 0.0, 0.3), (1.0, 0.3, 0.0))), P_ZERO, Q_ZERO),),
        (
            Bug(
                "mmd-root",
                "MMD for MMD^2.",
                lambda gram, p, q: mmd_squared(gram, p, q).sqrt(),
                "no polynomial in p",
                "leave the square",
            ),
            Bug(
                "mmd-cross-once",
                "The cross term once: it stands twice in the square.",
                lambda gram, p, q: mmd_squared(gram, p, q) + torch.einsum("...i,ij,...j->...", p, gram, q),
                "positive for p = q",
                "minus twice the cross term",
            ),
        ),
    ),
    Subject(
        "fisher-divergence",
        fisher_divergence,
        ((_law((1.0, -2.0, 0.5), (0.3, 0.1, -0.7)), _law((0.4, -1.0, 0.0), (1.3, 0.2, 0.9))),),
        (
            Bug(
                "fisher-no-half",
                "Without the half of score matching's convention.",
                lambda score_p, score_q: (score_p - score_q).square().sum(-1),
                "twice Hyvärinen's objective plus its constant",
                "halve it",
            ),
            Bug(
                "fisher-mean",
                "Mean over coordinates, as mse_loss does.",
                lambda score_p, score_q: fisher_divergence(score_p, score_q) / score_p.shape[-1],
                "halves when a matching coordinate is appended to one",
                "sum over coordinates",
            ),
            Bug(
                "fisher-batch",
                "One number for the batch: nothing is left to average or weight.",
                lambda score_p, score_q: fisher_divergence(score_p, score_q).mean(),
                "shape ()",
                "one value per example",
            ),
        ),
    ),
    Subject(
        "gaussian-kl",
        kl_gaussian,
        (
            (
                _law((1.0, -0.5))[0],
                _law((1.5, 0.4), (0.4, 0.7)),
                _law((0.2, 0.3))[0],
                _law((0.8, -0.3), (-0.3, 2.0)),
            ),
            (
                _law((0.3, -1.2, 0.4), (0.0, 0.5, 2.0)),
                torch.diag_embed(_law((0.5, 1.7, 0.3), (2.0, 0.4, 1.1))),
                _law((0.0, 0.0, 0.0), (1.0, 0.2, 0.3)),
                torch.diag_embed(_law((1.0, 1.0, 1.0), (0.6, 3.0, 0.9))),
            ),
        ),
        (
            Bug(
                "gaussian-kl-no-half",
                "The leading half is lost.",
                lambda *laws: 2 * kl_gaussian(*laws),
                "twice a Monte Carlo estimate",
                "divide by 2",
            ),
            Bug(
                "gaussian-kl-squared-scale",
                "Variances taken for standard deviations and squared, as `logvar**2` in released VAEs (keras #3383).",
                lambda mean_p, cov_p, mean_q, cov_q: kl_gaussian(mean_p, cov_p @ cov_p, mean_q, cov_q @ cov_q),
                "right only at unit variance",
                "covariances in the second slot of N(mean, cov)",
            ),
            Bug(
                "gaussian-kl-reversed",
                "KL(q || p): prior and posterior exchanged.",
                lambda mean_p, cov_p, mean_q, cov_q: kl_gaussian(mean_q, cov_q, mean_p, cov_p),
                "explodes for a narrow p, hardly minds a wide one",
                "the law one averages under comes first",
            ),
            Bug(
                "gaussian-kl-trace-inverted",
                "tr(cov_p^-1 cov_q) in an otherwise right formula.",
                _gaussian_inverted_trace,
                "negative values",
                "tr(cov_q^-1 cov_p)",
            ),
            Bug(
                "gaussian-kl-no-d",
                "The -d (the -1 of each coordinate) is lost: a constant, invisible to training.",
                _gaussian_without_d,
                "d/2 for equal laws",
                "subtract d",
            ),
            Bug(
                "gaussian-kl-log-det-sign",
                "log det cov_p - log det cov_q: the sign of the log-variance term.",
                _gaussian_log_det_sign,
                "variances collapse in training",
                "log det cov_q - log det cov_p",
            ),
            Bug(
                "gaussian-kl-no-log-det",
                "The log-determinants are left out.",
                _gaussian_without_log_det,
                "negative for p narrower than q; variances collapse",
                "add log det cov_q - log det cov_p",
            ),
            Bug(
                "gaussian-kl-euclidean",
                "The means are compared without cov_q^-1: right for a standard normal q only.",
                _gaussian_euclidean_shift,
                "changes with the unit of x",
                "distance in the metric cov_q^-1",
            ),
            Bug(
                "gaussian-kl-diagonal",
                "Off-diagonal covariances are dropped.",
                _gaussian_diagonal,
                "changes under a rotation of x",
                "full covariances",
            ),
            Bug(
                "gaussian-kl-mean-over-d",
                "Mean over latent coordinates for their sum: KL weighted by 1/d (keras-io #270, keras #6015).",
                lambda *laws: kl_gaussian(*laws) / laws[0].shape[-1],
                "posterior too narrow, samples from the prior poor",
                "sum over coordinates, mean over the batch",
            ),
            Bug(
                "gaussian-kl-batch-sum",
                "Summed over the batch too (podgorskiy/VAE #1): its weight depends on the batch size.",
                lambda *laws: kl_gaussian(*laws).sum(),
                "doubles with the batch",
                "one value per example",
            ),
        ),
    ),
    Subject(
        "kl-terms",
        kl_terms,
        (LOGS,),
        (
            Bug(
                "kl-terms-sign",
                "log q - log p at draws from p: its mean is -KL.",
                lambda log_p, log_q: log_q - log_p,
                "negative mean",
                "log p - log q",
            ),
            Bug(
                "kl-terms-absolute",
                "Absolute values, because KL is not negative: single terms may be.",
                lambda log_p, log_q: (log_p - log_q).abs(),
                "biased upwards",
                "leave the signs, or use kl_terms_nonnegative",
            ),
            Bug(
                "kl-terms-clamped",
                "Negative terms set to zero, for the same reason.",
                lambda log_p, log_q: (log_p - log_q).clamp(min=0),
                "biased upwards",
                "leave the signs",
            ),
            Bug(
                "kl-terms-weighted",
                "p(x) (log p - log q) at draws from p: weighted by p twice, a sum's formula used on samples.",
                lambda log_p, log_q: log_p.exp() * (log_p - log_q),
                "changes with the unit of x",
                "the draws are the weights",
            ),
            Bug(
                "kl-terms-squared",
                "(log p - log q)^2/2: low variance, but biased unless p and q are close.",
                lambda log_p, log_q: (log_p - log_q).square() / 2,
                "wrong mean far from p = q",
                "kl_terms_nonnegative has the same sign and no bias",
            ),
        ),
    ),
    Subject(
        "kl-control",
        kl_terms_nonnegative,
        (LOGS,),
        (
            Bug(
                "kl-control-inverted",
                "r = p/q at draws from p, whose mean is not 1.",
                lambda log_p, log_q: kl_terms_nonnegative(log_q, log_p),
                "mean is chi^2(p || q) - KL(p || q)",
                "r = q/p",
            ),
            Bug(
                "kl-control-no-one",
                "r - log r: the control variate is not centred.",
                lambda log_p, log_q: kl_terms_nonnegative(log_p, log_q) + 1,
                "1 for equal laws",
                "subtract 1",
            ),
            Bug(
                "kl-control-sign",
                "1 - r - log r: also unbiased, and of either sign again.",
                lambda log_p, log_q: -(log_q - log_p).expm1() - (log_q - log_p),
                "negative terms",
                "r - 1 - log r",
            ),
        ),
    ),
)

SLIPS = {
    "js-no-root": "The triangle inequality claimed for JS itself, not for its square root.",
    "w2-unsquared": "W_2 for half its square in Talagrand's inequality.",
    "fisher-half-twice": "The logarithmic Sobolev inequality with half of the constant it has.",
    "processing-gains": "The data-processing inequality turned round.",
    "expectation-under-q": "An average under the second law where the first is meant.",
    "kl-terms-signed": "Single log-ratios taken to be non-negative because their mean is.",
    "grows-with-d": "The price of 99 % garbage taken to grow with the dimension; it is at most log 100.",
    "typical-per-dimension": "The gap between mode and typical draw, d/2, quoted for one coordinate.",
}
