"""Wrong variants of `dgmlib.divergences` (chapter 03)."""

import math

import torch
from torch import Tensor
from torch.special import xlogy

from dgmlib.bugs import Bug, Slip, Subject
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

CHAPTER = "03"


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
            Bug(
                "entropy-sign",
                "The minus is dropped: the logs are negative.",
                lambda p: -entropy(p),
                name="minus dropped",
                symptom="negative for every law that is not certain",
                place="the sign in front of the sum",
                cure="-sum p log p",
            ),
            Bug(
                "entropy-bits",
                "Base 2 where the course, and `log`, mean nats.",
                lambda p: entropy(p) / math.log(2),
                name="bits for nats",
                symptom="too large by 1/log 2 = 1.44; a fair coin has 1, not 0.693",
                place="the base of the logarithm",
                cure="natural logarithm: -sum p log p in nats",
            ),
            Bug(
                "entropy-mean",
                "`.mean(-1)` for `.sum(-1)`: the weights p are in the terms already.",
                lambda p: entropy(p) / p.shape[-1],
                name="mean over states",
                symptom="falls when impossible states are appended",
                place="the reduction over states",
                cure="sum over states: the weights p are in the terms already",
            ),
            Bug(
                "entropy-nan",
                "0 log 0 left to floating point, which makes it 0 times -inf.",
                lambda p: -(p * p.log()).sum(-1),
                name="zero times minus infinity",
                symptom="NaN as soon as a state is impossible",
                place="p log p at p = 0",
                cure="use xlogy(p, p), which is 0 there",
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
                name="the model not in the log",
                symptom="does not depend on the model",
                place="what stands inside the logarithm",
                cure="average log q under p: -sum p log q",
            ),
            Bug(
                "cross-entropy-swapped",
                "Arguments exchanged, as the (input, target) order of loss functions invites.",
                lambda p, q: cross_entropy(q, p),
                name="arguments exchanged",
                symptom="infinite as soon as the data miss a state",
                place="the order of data and model",
                cure="average under the data, log of the model: -sum p log q",
            ),
            Bug(
                "cross-entropy-kl",
                "The entropy of p subtracted: that is KL.",
                kl_divergence,
                name="entropy subtracted",
                symptom="zero at q = p",
                place="the entropy of p",
                cure="leave the entropy in: -sum p log q",
            ),
            Bug(
                "cross-entropy-bits",
                "Base 2 where nats are meant.",
                lambda p, q: cross_entropy(p, q) / math.log(2),
                name="bits for nats",
                symptom="too large by 1.44",
                place="the base of the logarithm",
                cure="natural logarithm: -sum p log q in nats",
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
                name="the laws exchanged",
                symptom="infinite where q has mass and p has none, finite the other way; fits one mode",
                place="the law under which one averages",
                cure="average under the first argument: sum p log(p/q)",
            ),
            Bug(
                "E3-021",
                "Bits announced or returned where the logarithm is natural, or the other way round.",
                lambda p, q: kl_divergence(p, q) / math.log(2),
                name="bits for nats",
                symptom="too large by 1/log 2 = 1.44",
                place="the base of the logarithm",
                cure="nats; divide by log 2 only under a name that says bits",
            ),
            Bug(
                "E3-022",
                "The sum over states is missing: a vector of terms, some negative.",
                lambda p, q: xlogy(p, p) - xlogy(p, q),
                name="sum over states missing",
                symptom="negative entries; one number a state",
                place="the reduction over states",
                cure="sum over states: .sum(-1)",
            ),
            Bug(
                "kl-mean",
                "Mean over states: the default reduction of torch's kl_div, which its own documentation warns of.",
                lambda p, q: kl_divergence(p, q) / p.shape[-1],
                name="mean over states",
                symptom="falls when impossible states are appended",
                place="the reduction over states",
                cure="sum over states, mean over the batch",
            ),
            Bug(
                "kl-cross-entropy",
                "The entropy of p is not subtracted: same gradient in q, another number.",
                cross_entropy,
                name="entropy not subtracted",
                symptom="KL(p || p) > 0",
                place="the term sum p log p",
                cure="subtract entropy(p) from the cross-entropy",
            ),
            Bug(
                "kl-symmetrised",
                "Both directions added (Jeffreys), because a distance should be symmetric.",
                lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
                name="both directions added",
                symptom="symmetric in p and q",
                place="the second average",
                cure="average under p alone: sum p log(p/q)",
            ),
            Bug(
                "kl-sign",
                "The ratio upside down under p: E_p log q/p. Logged so in PyTorch-VAE (AntixK #68).",
                lambda p, q: -kl_divergence(p, q),
                name="ratio upside down",
                symptom="negative, zero only at p = q",
                place="the ratio inside the logarithm",
                cure="p over q: sum p log(p/q)",
            ),
            Bug(
                "kl-nan",
                "0 log 0 left to floating point, which makes it 0 times -inf.",
                lambda p, q: (p * (p / q).log()).sum(-1),
                name="zero times minus infinity",
                symptom="NaN as soon as p misses a state",
                place="p log p at p = 0",
                cure="use xlogy(p, p) - xlogy(p, q)",
            ),
            Bug(
                "kl-no-log",
                "torch's kl_div fed with q where it wants log q.",
                lambda p, q: (xlogy(p, p) - p * q).sum(-1),
                name="q where log q is wanted",
                symptom="KL(p || p) is not 0, often negative",
                place="the first argument of torch's kl_div",
                cure="pass q.log() to kl_div, with p as the target",
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
                name="Jeffreys for Jensen-Shannon",
                symptom="exceeds log 2; infinite on different supports",
                place="the law that each is compared with",
                cure="compare each law with the mixture: KL(p || m)/2 + KL(q || m)/2",
            ),
            Bug(
                "js-sum-not-half",
                "The two KLs are added, not averaged.",
                lambda p, q: 2 * js_divergence(p, q),
                name="added, not averaged",
                symptom="2 log 2 on disjoint laws",
                place="the weights of the two KLs",
                cure="halve the sum: KL(p || m)/2 + KL(q || m)/2",
            ),
            Bug(
                "js-log2",
                "Base 2, where the bound is 1, not log 2.",
                lambda p, q: js_divergence(p, q) / math.log(2),
                name="bits for nats",
                symptom="1 on disjoint laws",
                place="the base of the logarithm",
                cure="natural logarithm, with which the bound is log 2",
            ),
            Bug(
                "js-root",
                "The Jensen-Shannon distance: SciPy's `jensenshannon` returns the root.",
                lambda p, q: js_divergence(p, q).sqrt(),
                name="distance for divergence",
                symptom="0.83 on disjoint laws",
                place="the root at the end",
                cure="square what SciPy returns",
            ),
            Bug(
                "js-unhalved-mixture",
                "m = p + q, which is no law: the log 4 of the GAN value function is lost here.",
                _js_unhalved_mixture,
                name="mixture not halved",
                symptom="-log 2 for equal laws, 0 for disjoint ones",
                place="the mixture m",
                cure="m = (p + q)/2",
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
                name="orders exchanged",
                symptom="tends to KL(q || p) as alpha tends to 1",
                place="the powers of p and q",
                cure="alpha on p, 1 - alpha on q: log sum p^alpha q^(1 - alpha)/(alpha - 1)",
            ),
            Bug(
                "renyi-prefactor",
                "Amari's prefactor 1/(alpha (alpha - 1)).",
                lambda p, q, alpha: renyi_divergence(p, q, alpha) / alpha,
                name="Amari's prefactor",
                symptom="at alpha 2, half of log(1 + chi^2)",
                place="the factor in front of the logarithm",
                cure="1/(alpha - 1)",
            ),
            Bug(
                "renyi-sign",
                "1/(1 - alpha), right for Rényi's entropy.",
                lambda p, q, alpha: -renyi_divergence(p, q, alpha),
                name="sign of Rényi's entropy",
                symptom="negative, zero only at p = q",
                place="the sign of the prefactor",
                cure="1/(alpha - 1), not 1/(1 - alpha)",
            ),
            Bug(
                "renyi-tsallis",
                "The logarithm is left out: Tsallis' relative entropy.",
                lambda p, q, alpha: (_power_sum(p, q, alpha) - 1) / (alpha - 1),
                name="logarithm left out",
                symptom="not additive over independent pairs",
                place="what is done with the sum of powers",
                cure="take its log: log sum p^alpha q^(1 - alpha)/(alpha - 1)",
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
                name="whole L1 distance",
                symptom="2 on disjoint laws: no difference of probabilities",
                place="the factor in front of the sum",
                cure="halve it: sum |p - q|/2",
            ),
            Bug(
                "tv-max",
                "The largest difference over states, not over events.",
                lambda p, q: (p - q).abs().amax(-1),
                name="the worst state",
                symptom="too small when the surplus lies on several states",
                place="maximum over states, where events are meant",
                cure="half the sum: sum |p - q|/2",
            ),
            Bug(
                "tv-l2",
                "Euclidean distance for half the L1 distance.",
                lambda p, q: (p - q).square().sum(-1).sqrt(),
                name="Euclidean distance",
                symptom="tends to 0 on ever finer grids",
                place="the power of the differences",
                cure="absolute values: sum |p - q|/2",
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
                name="root taken",
                symptom="exceeds the total variation of close laws",
                place="the root at the end",
                cure="leave the square: 1 - sum sqrt(p q)",
            ),
            Bug(
                "hellinger-no-half",
                "sum (sqrt p - sqrt q)^2, another convention: range [0, 2].",
                lambda p, q: (p.sqrt() - q.sqrt()).square().sum(-1),
                name="half left out",
                symptom="2 on disjoint laws",
                place="the factor in front of the sum",
                cure="halve it: sum (sqrt p - sqrt q)^2/2",
            ),
            Bug(
                "hellinger-affinity",
                "The Bhattacharyya coefficient itself, not one minus it.",
                lambda p, q: (p * q).sqrt().sum(-1),
                name="affinity for distance",
                symptom="1 for equal laws",
                place="the subtraction from one",
                cure="1 - sum sqrt(p q)",
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
                name="divided by the first law",
                symptom="infinite where p misses a state of q",
                place="the denominator",
                cure="divide by the second law: sum (p - q)^2/q",
            ),
            Bug(
                "chi-squared-no-square",
                "|p - q|/q, unsquared: that sums |u - 1| over states.",
                lambda p, q: ((p - q).abs() / q).sum(-1),
                name="difference not squared",
                symptom="linear, not quadratic, near p = q",
                place="the power of the difference",
                cure="square it: sum (p - q)^2/q",
            ),
            Bug(
                "chi-squared-uncentred",
                "sum p^2/q without the -1.",
                lambda p, q: (p.square() / q).sum(-1),
                name="one not subtracted",
                symptom="1 for equal laws",
                place="the constant at the end",
                cure="subtract 1: sum p^2/q - 1",
            ),
            Bug(
                "chi-squared-symmetric",
                "Divided by p + q: triangular discrimination, symmetric although it divides and multiplies (E3-020).",
                lambda p, q: ((p - q).square() / (p + q)).sum(-1),
                name="divided by both laws",
                symptom="at most 2",
                place="the denominator",
                cure="divide by q alone: sum (p - q)^2/q",
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
                name="unseen mass is free",
                symptom="0.25 instead of 0.5 for (1/2, 1/2) against (1, 0); even negative with f(u) = u log u",
                place="the states where q is zero",
                cure="add the slope of f at infinity times p(q = 0)",
            ),
            Bug(
                "f-divergence-swapped",
                "f(q/p) averaged under p: the divergence of the exchanged laws.",
                lambda p, q, generator: f_divergence(q, p, generator),
                name="laws exchanged",
                symptom="u log u gives the reverse KL",
                place="both the ratio and the weight",
                cure="q f(p/q), summed over states",
            ),
            Bug(
                "f-divergence-ratio",
                "The ratio upside down under the right average: E_q f(q/p).",
                lambda p, q, generator: (q * GENERATORS[generator].f(q / p)).sum(-1),
                name="ratio upside down",
                symptom="negative values: E_q(q/p) is not 1, so Jensen's bound is not f(1)",
                place="the argument of f",
                cure="f(p/q) under q",
            ),
            Bug(
                "f-divergence-under-p",
                "Averaged under p: f(u) = u log u already carries the u.",
                lambda p, q, generator: (p * GENERATORS[generator].f(p / q)).sum(-1),
                name="averaged under p",
                symptom="large where the ratio is",
                place="the weight of each state",
                cure="average under q: sum q f(p/q)",
            ),
            Bug(
                "f-divergence-unweighted",
                "A plain sum of f(p/q) over states.",
                lambda p, q, generator: GENERATORS[generator].f(p / q).sum(-1),
                name="states not weighted",
                symptom="changes when a state is split in two",
                place="the weight of each state",
                cure="weight by q: sum q f(p/q)",
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
                name="distances forgotten",
                symptom="does not change when the points are scaled",
                place="the width of each gap",
                cure="weight by the gaps: sum |F - G| (x_{i+1} - x_i)",
            ),
            Bug(
                "wasserstein-cramer",
                "The squared difference of the distribution functions: Cramér's distance.",
                lambda points, p, q: ((p - q).cumsum(-1)[..., :-1].square() * points.diff()).sum(-1),
                name="difference squared",
                symptom="too small for laws that overlap",
                place="the power of F - G",
                cure="absolute difference: sum |F - G| (x_{i+1} - x_i)",
            ),
            Bug(
                "wasserstein-pointwise",
                "Masses compared point by point, without accumulating: mass moved two points costs as one.",
                lambda points, p, q: ((p - q)[..., :-1].abs() * points.diff()).sum(-1),
                name="masses not accumulated",
                symptom="saturates as laws move apart",
                place="the running sum before the absolute value",
                cure="cumsum first: compare the distribution functions F and G",
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
                name="samples not sorted",
                symptom="positive between a sample and its own shuffle",
                place="the pairing of the two samples",
                cure="sort both, then pair them in order",
            ),
            Bug(
                "wasserstein-no-root",
                "W^order for W.",
                lambda x, y, order: wasserstein_samples(x, y, order) ** order,
                name="root not taken",
                symptom="in squared units for order 2",
                place="the power at the end",
                cure="take the root: (mean |x - y|^order)^(1/order)",
            ),
            Bug(
                "wasserstein-sum",
                "Sum over the sample for its mean.",
                lambda x, y, order: wasserstein_samples(x, y, order) * x.shape[-1] ** (1 / order),
                name="sum over the sample",
                symptom="grows with the sample",
                place="the reduction over pairs",
                cure="take the mean: (mean |x - y|^order)^(1/order)",
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
                name="root taken",
                symptom="no polynomial in p: its slope jumps at p = q",
                place="the root at the end",
                cure="leave the square",
            ),
            Bug(
                "mmd-cross-once",
                "The cross term once: it stands twice in the square.",
                lambda gram, p, q: mmd_squared(gram, p, q) + torch.einsum("...i,ij,...j->...", p, gram, q),
                name="cross term once",
                symptom="positive for p = q",
                place="the factor of the cross term",
                cure="p K p - 2 p K q + q K q",
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
                name="half left out",
                symptom="twice Hyvärinen's objective plus its constant",
                place="the factor in front of the square",
                cure="halve it: |s_p - s_q|^2/2",
            ),
            Bug(
                "fisher-mean",
                "Mean over coordinates, as mse_loss does.",
                lambda score_p, score_q: fisher_divergence(score_p, score_q) / score_p.shape[-1],
                name="mean over coordinates",
                symptom="halves when a matching coordinate is appended to one",
                place="the reduction over coordinates",
                cure="sum over coordinates: |s_p - s_q|^2/2",
            ),
            Bug(
                "fisher-batch",
                "One number for the batch: nothing is left to average or weight.",
                lambda score_p, score_q: fisher_divergence(score_p, score_q).mean(),
                name="batch averaged away",
                symptom="one number, shape (), where the batch has one for each example",
                place="the reduction over the batch",
                cure="one value per example",
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
                name="half lost",
                symptom="twice a Monte Carlo estimate",
                place="the factor in front of all four terms",
                cure="divide by 2",
            ),
            Bug(
                "gaussian-kl-squared-scale",
                "Variances taken for standard deviations and squared, as `logvar**2` in released VAEs (keras #3383).",
                lambda mean_p, cov_p, mean_q, cov_q: kl_gaussian(mean_p, cov_p @ cov_p, mean_q, cov_q @ cov_q),
                name="variances squared",
                symptom="right only at unit variance",
                place="the reading of the second parameter",
                cure="covariances in the second slot of N(mean, cov)",
            ),
            Bug(
                "gaussian-kl-reversed",
                "KL(q || p): prior and posterior exchanged.",
                lambda mean_p, cov_p, mean_q, cov_q: kl_gaussian(mean_q, cov_q, mean_p, cov_p),
                name="laws exchanged",
                symptom="explodes for a narrow p, hardly minds a wide one",
                place="the order of the two laws",
                cure="the law one averages under comes first",
            ),
            Bug(
                "gaussian-kl-trace-inverted",
                "tr(cov_p^-1 cov_q) in an otherwise right formula.",
                _gaussian_inverted_trace,
                name="trace upside down",
                symptom="negative values",
                place="which covariance is inverted in the trace",
                cure="tr(cov_q^-1 cov_p)",
            ),
            Bug(
                "gaussian-kl-no-d",
                "The -d (the -1 of each coordinate) is lost: a constant, invisible to training.",
                _gaussian_without_d,
                name="dimension not subtracted",
                symptom="d/2 for equal laws",
                place="the constant -d",
                cure="subtract d, one for each coordinate",
            ),
            Bug(
                "gaussian-kl-log-det-sign",
                "log det cov_p - log det cov_q: the sign of the log-variance term.",
                _gaussian_log_det_sign,
                name="sign of the log-determinants",
                symptom="variances collapse in training",
                place="the order of the two log-determinants",
                cure="log det cov_q - log det cov_p",
            ),
            Bug(
                "gaussian-kl-no-log-det",
                "The log-determinants are left out.",
                _gaussian_without_log_det,
                name="no log-determinants",
                symptom="negative for p narrower than q; variances collapse",
                place="the two log-determinants",
                cure="add log det cov_q - log det cov_p",
            ),
            Bug(
                "gaussian-kl-euclidean",
                "The means are compared without cov_q^-1: right for a standard normal q only.",
                _gaussian_euclidean_shift,
                name="distance of means not scaled",
                symptom="changes with the unit of x",
                place="the metric of the squared distance",
                cure="(m_q - m_p)^T cov_q^-1 (m_q - m_p)",
            ),
            Bug(
                "gaussian-kl-diagonal",
                "Off-diagonal covariances are dropped.",
                _gaussian_diagonal,
                name="only the diagonals",
                symptom="changes under a rotation of x",
                place="the off-diagonal entries of both covariances",
                cure="use the full covariances in trace, distance and determinant",
            ),
            Bug(
                "gaussian-kl-mean-over-d",
                "Mean over latent coordinates for their sum: KL weighted by 1/d (keras-io #270, keras #6015).",
                lambda *laws: kl_gaussian(*laws) / laws[0].shape[-1],
                name="mean over coordinates",
                symptom="posterior too narrow, samples from the prior poor",
                place="the reduction over coordinates",
                cure="sum over coordinates, mean over the batch",
            ),
            Bug(
                "gaussian-kl-batch-sum",
                "Summed over the batch too (podgorskiy/VAE #1): its weight depends on the batch size.",
                lambda *laws: kl_gaussian(*laws).sum(),
                name="summed over the batch",
                symptom="doubles with the batch",
                place="the reduction over the batch",
                cure="one value per example",
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
                name="sign turned",
                symptom="negative mean",
                place="the order of the two logs",
                cure="log p - log q",
            ),
            Bug(
                "kl-terms-absolute",
                "Absolute values, because KL is not negative: single terms may be.",
                lambda log_p, log_q: (log_p - log_q).abs(),
                name="absolute values",
                symptom="biased upwards",
                place="what is done with negative terms",
                cure="leave the signs, or use kl_terms_nonnegative",
            ),
            Bug(
                "kl-terms-clamped",
                "Negative terms set to zero, for the same reason.",
                lambda log_p, log_q: (log_p - log_q).clamp(min=0),
                name="negative terms cut off",
                symptom="biased upwards",
                place="what is done with negative terms",
                cure="leave the signs: only the mean is known to be non-negative",
            ),
            Bug(
                "kl-terms-weighted",
                "p(x) (log p - log q) at draws from p: weighted by p twice, a sum's formula used on samples.",
                lambda log_p, log_q: log_p.exp() * (log_p - log_q),
                name="weighted twice",
                symptom="changes with the unit of x",
                place="the factor p(x) in front of each term",
                cure="the draws are the weights: take the plain mean of log p - log q",
            ),
            Bug(
                "kl-terms-squared",
                "(log p - log q)^2/2: low variance, but biased unless p and q are close.",
                lambda log_p, log_q: (log_p - log_q).square() / 2,
                name="half the square",
                symptom="wrong mean far from p = q",
                place="the function of the log-ratio",
                cure="use kl_terms_nonnegative, which has one sign and no bias",
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
                name="ratio upside down",
                symptom="mean is chi^2(p || q) - KL(p || q)",
                place="the ratio r at draws from p",
                cure="r = q/p, whose mean under p is 1",
            ),
            Bug(
                "kl-control-no-one",
                "r - log r: the control variate is not centred.",
                lambda log_p, log_q: kl_terms_nonnegative(log_p, log_q) + 1,
                name="one not subtracted",
                symptom="1 for equal laws",
                place="the constant of the control variate",
                cure="subtract 1: r - 1 - log r",
            ),
            Bug(
                "kl-control-sign",
                "1 - r - log r: also unbiased, and of either sign again.",
                lambda log_p, log_q: -(log_q - log_p).expm1() - (log_q - log_p),
                name="sign of the control",
                symptom="negative terms",
                place="the sign of r - 1",
                cure="r - 1 - log r, which is never negative",
            ),
        ),
    ),
)

SLIPS = {
    "js-no-root": Slip(
        "The triangle inequality claimed for JS itself, not for its square root.",
        name="JS itself a distance",
        holds="the root of JS obeys the triangle inequality, JS itself does not",
        misleads="between laws far apart, where JS is near log 2 and the inequality happens to hold",
    ),
    "w2-unsquared": Slip(
        "W_2 for half its square in Talagrand's inequality.",
        name="distance not squared",
        holds="Talagrand: W_2^2/2 <= KL(q || N(0, I))",
        misleads="for distances near 2, where W_2 and W_2^2/2 agree",
    ),
    "fisher-half-twice": Slip(
        "The logarithmic Sobolev inequality with half of the constant it has.",
        name="half of the constant",
        holds="KL(q || N(0, I)) <= I/2, I the plain relative Fisher information; no further half where I has its own",
        misleads="conventions of I differ by a factor of 2",
    ),
    "processing-gains": Slip(
        "The data-processing inequality turned round.",
        name="processing gains information",
        holds="a divergence never grows when both laws pass through one channel",
        misleads="because a good feature makes the difference easier to see",
    ),
    "expectation-under-q": Slip(
        "An average under the second law where the first is meant.",
        name="the wrong average",
        holds="KL(p || q) averages log(p/q) under p",
        misleads="near p = q, where both directions agree",
    ),
    "kl-terms-signed": Slip(
        "Single log-ratios taken to be non-negative because their mean is.",
        name="each term non-negative",
        holds="only the mean of log(p/q) under p is non-negative",
        misleads="single draws are then clipped, which biases the mean upwards",
    ),
    "grows-with-d": Slip(
        "The price of 99 % garbage taken to grow with the dimension; it is at most log 100.",
        name="the price of garbage grows with d",
        holds="a mixture that keeps 1 % of the truth pays at most log 100 nats in all, in any dimension",
        misleads="quoted per dimension the price even vanishes",
    ),
    "typical-per-dimension": Slip(
        "The gap between mode and typical draw, d/2, quoted for one coordinate.",
        name="gap of the mode for one coordinate",
        holds="the log-density at the mode exceeds that of a typical draw by d/2 nats, 1/2 for each coordinate",
        misleads="in high dimension the mode is then taken for typical",
    ),
}
