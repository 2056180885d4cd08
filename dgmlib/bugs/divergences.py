"""Wrong variants of `dgmlib.divergences` (chapter 03)."""

import math

import torch
from torch import Tensor
from torch.special import xlogy

from dgmlib.bugs import subject
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
    subject(
        "entropy",
        entropy,
        ((P,), (P_ZERO,)),
        {
            "entropy-sign": lambda p: -entropy(p),
            "entropy-bits": lambda p: entropy(p) / math.log(2),
            "entropy-mean": lambda p: entropy(p) / p.shape[-1],
            "entropy-nan": lambda p: -(p * p.log()).sum(-1),
        },
    ),
    subject(
        "cross-entropy",
        cross_entropy,
        LAWS,
        {
            "E3-024": lambda p, q: entropy(p),
            "cross-entropy-swapped": lambda p, q: cross_entropy(q, p),
            "cross-entropy-kl": kl_divergence,
            "cross-entropy-bits": lambda p, q: cross_entropy(p, q) / math.log(2),
        },
    ),
    subject(
        "kl",
        kl_divergence,
        LAWS,
        {
            "E0-28": lambda p, q: kl_divergence(q, p),
            "E3-021": lambda p, q: kl_divergence(p, q) / math.log(2),
            "E3-022": lambda p, q: xlogy(p, p) - xlogy(p, q),
            "kl-mean": lambda p, q: kl_divergence(p, q) / p.shape[-1],
            "kl-cross-entropy": cross_entropy,
            "kl-symmetrised": lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
            "kl-sign": lambda p, q: -kl_divergence(p, q),
            "kl-nan": lambda p, q: (p * (p / q).log()).sum(-1),
            "kl-no-log": lambda p, q: (xlogy(p, p) - p * q).sum(-1),
        },
    ),
    subject(
        "js",
        js_divergence,
        LAWS,
        {
            "E3-067": lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
            "js-sum-not-half": lambda p, q: 2 * js_divergence(p, q),
            "js-log2": lambda p, q: js_divergence(p, q) / math.log(2),
            "js-root": lambda p, q: js_divergence(p, q).sqrt(),
            "js-unhalved-mixture": _js_unhalved_mixture,
        },
    ),
    subject(
        "renyi",
        renyi_divergence,
        ((P, Q, 0.3), (P, Q, 2.0), (P_ZERO, Q_ZERO, 0.3)),
        {
            "renyi-swapped": lambda p, q, alpha: _power_sum(p, q, 1 - alpha).log() / (alpha - 1),
            "renyi-prefactor": lambda p, q, alpha: renyi_divergence(p, q, alpha) / alpha,
            "renyi-sign": lambda p, q, alpha: -renyi_divergence(p, q, alpha),
            "renyi-tsallis": lambda p, q, alpha: (_power_sum(p, q, alpha) - 1) / (alpha - 1),
        },
    ),
    subject(
        "tv",
        total_variation,
        LAWS,
        {
            "tv-l1": lambda p, q: (p - q).abs().sum(-1),
            "tv-max": lambda p, q: (p - q).abs().amax(-1),
            "tv-l2": lambda p, q: (p - q).square().sum(-1).sqrt(),
        },
    ),
    subject(
        "hellinger",
        hellinger_squared,
        LAWS,
        {
            "hellinger-root": lambda p, q: hellinger_squared(p, q).sqrt(),
            "hellinger-no-half": lambda p, q: (p.sqrt() - q.sqrt()).square().sum(-1),
            "hellinger-affinity": lambda p, q: (p * q).sqrt().sum(-1),
        },
    ),
    subject(
        "chi-squared",
        chi_squared,
        LAWS,
        {
            "chi-squared-neyman": lambda p, q: chi_squared(q, p),
            "chi-squared-no-square": lambda p, q: ((p - q).abs() / q).sum(-1),
            "chi-squared-uncentred": lambda p, q: (p.square() / q).sum(-1),
            "chi-squared-symmetric": lambda p, q: ((p - q).square() / (p + q)).sum(-1),
        },
    ),
    subject(
        "f-divergence",
        f_divergence,
        (
            (P, Q, "kl"),
            (P, Q, "chi squared"),
            (_law((0.5, 0.5))[0], _law((1.0, 0.0))[0], "total variation"),
            (Q_ZERO, P_ZERO, "js"),
        ),
        {
            "E3-070": _without_singular_part,
            "f-divergence-swapped": lambda p, q, generator: f_divergence(q, p, generator),
            "f-divergence-ratio": lambda p, q, generator: (q * GENERATORS[generator].f(q / p)).sum(-1),
            "f-divergence-under-p": lambda p, q, generator: (p * GENERATORS[generator].f(p / q)).sum(-1),
            "f-divergence-unweighted": lambda p, q, generator: GENERATORS[generator].f(p / q).sum(-1),
        },
    ),
    subject(
        "wasserstein",
        wasserstein_1,
        (
            (_law((0.0, 0.5, 2.0, 2.2))[0], P, Q),
            (_law((-3.0, 1.0, 1.5))[0], P_ZERO, Q_ZERO),
        ),
        {
            "wasserstein-unit-gaps": lambda points, p, q: (p - q).cumsum(-1).abs().sum(-1),
            "wasserstein-cramer": lambda points, p, q: ((p - q).cumsum(-1)[..., :-1].square() * points.diff()).sum(-1),
            "wasserstein-pointwise": lambda points, p, q: ((p - q)[..., :-1].abs() * points.diff()).sum(-1),
        },
    ),
    subject(
        "wasserstein-samples",
        wasserstein_samples,
        tuple((_law((0.3, -1.0, 2.0, 0.9))[0], _law((5.0, -2.0, 0.1, 4.0))[0], order) for order in (1.0, 2.0)),
        {
            "wasserstein-unsorted": lambda x, y, order: (x - y).abs().pow(order).mean(-1).pow(1 / order),
            "wasserstein-no-root": lambda x, y, order: wasserstein_samples(x, y, order) ** order,
            "wasserstein-sum": lambda x, y, order: wasserstein_samples(x, y, order) * x.shape[-1] ** (1 / order),
        },
    ),
    subject(
        "mmd",
        mmd_squared,
        ((torch.exp(-_law((0.0, 0.4, 1.0), (0.4, 0.0, 0.3), (1.0, 0.3, 0.0))), P_ZERO, Q_ZERO),),
        {
            "mmd-root": lambda gram, p, q: mmd_squared(gram, p, q).sqrt(),
            "mmd-cross-once": lambda gram, p, q: (
                mmd_squared(gram, p, q) + torch.einsum("...i,ij,...j->...", p, gram, q)
            ),
        },
    ),
    subject(
        "fisher-divergence",
        fisher_divergence,
        ((_law((1.0, -2.0, 0.5), (0.3, 0.1, -0.7)), _law((0.4, -1.0, 0.0), (1.3, 0.2, 0.9))),),
        {
            "fisher-no-half": lambda score_p, score_q: (score_p - score_q).square().sum(-1),
            "fisher-mean": lambda score_p, score_q: fisher_divergence(score_p, score_q) / score_p.shape[-1],
            "fisher-batch": lambda score_p, score_q: fisher_divergence(score_p, score_q).mean(),
        },
    ),
    subject(
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
        {
            "gaussian-kl-no-half": lambda *laws: 2 * kl_gaussian(*laws),
            "gaussian-kl-squared-scale": lambda mean_p, cov_p, mean_q, cov_q: kl_gaussian(
                mean_p, cov_p @ cov_p, mean_q, cov_q @ cov_q
            ),
            "gaussian-kl-reversed": lambda mean_p, cov_p, mean_q, cov_q: kl_gaussian(mean_q, cov_q, mean_p, cov_p),
            "gaussian-kl-trace-inverted": _gaussian_inverted_trace,
            "gaussian-kl-no-d": _gaussian_without_d,
            "gaussian-kl-log-det-sign": _gaussian_log_det_sign,
            "gaussian-kl-no-log-det": _gaussian_without_log_det,
            "gaussian-kl-euclidean": _gaussian_euclidean_shift,
            "gaussian-kl-diagonal": _gaussian_diagonal,
            "gaussian-kl-mean-over-d": lambda *laws: kl_gaussian(*laws) / laws[0].shape[-1],
            "gaussian-kl-batch-sum": lambda *laws: kl_gaussian(*laws).sum(),
        },
    ),
    subject(
        "kl-terms",
        kl_terms,
        (LOGS,),
        {
            "kl-terms-sign": lambda log_p, log_q: log_q - log_p,
            "kl-terms-absolute": lambda log_p, log_q: (log_p - log_q).abs(),
            "kl-terms-clamped": lambda log_p, log_q: (log_p - log_q).clamp(min=0),
            "kl-terms-weighted": lambda log_p, log_q: log_p.exp() * (log_p - log_q),
            "kl-terms-squared": lambda log_p, log_q: (log_p - log_q).square() / 2,
        },
    ),
    subject(
        "kl-control",
        kl_terms_nonnegative,
        (LOGS,),
        {
            "kl-control-inverted": lambda log_p, log_q: kl_terms_nonnegative(log_q, log_p),
            "kl-control-no-one": lambda log_p, log_q: kl_terms_nonnegative(log_p, log_q) + 1,
            "kl-control-sign": lambda log_p, log_q: -(log_q - log_p).expm1() - (log_q - log_p),
        },
    ),
)
