"""Wrong variants of `dgmlib.divergences` (chapter 03)."""

import torch

from dgmlib.bugs import edit, f64, subject
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

P, Q = f64((0.5, 0.25, 0.15, 0.1), (0.7, 0.1, 0.1, 0.1)), f64((0.2, 0.3, 0.1, 0.4), (0.1, 0.2, 0.3, 0.4))
P_ZERO, Q_ZERO = f64((0.5, 0.5, 0.0))[0], f64((0.6, 0.1, 0.3))[0]
LAWS = ((P, Q), (P_ZERO, Q_ZERO))
LOGS = (f64((-1.0, -0.3, -2.0, -4.0))[0], f64((-1.5, -0.2, -1.0, -6.5))[0])

SUBJECTS = (
    subject(
        "entropy",
        entropy,
        ((P,), (P_ZERO,)),
        {
            "entropy-sign": edit("return -", "return "),
            "entropy-bits": edit(".sum(-1)", ".sum(-1) / math.log(2)"),
            "entropy-mean": edit(".sum(-1)", ".mean(-1)"),
            "entropy-nan": edit('_x_log_y(need_probabilities("p", p), p)', "(p * p.log())"),
        },
    ),
    subject(
        "cross-entropy",
        cross_entropy,
        LAWS,
        {
            "E3-024": edit("_x_log_y(p, q)", "_x_log_y(p, p)"),
            "cross-entropy-swapped": edit("_x_log_y(p, q)", "_x_log_y(q, p)"),
            "cross-entropy-kl": edit("-_x_log_y(p, q)", "(_x_log_y(p, p) - _x_log_y(p, q))"),
            "cross-entropy-bits": edit(".sum(-1)", ".sum(-1) / math.log(2)"),
        },
    ),
    subject(
        "kl",
        kl_divergence,
        LAWS,
        {
            "E0-28": edit("_x_log_y(p, p) - _x_log_y(p, q)", "_x_log_y(q, q) - _x_log_y(q, p)"),
            "E3-021": edit(".sum(-1)", ".sum(-1) / math.log(2)"),
            "E3-022": edit(".sum(-1)", ""),
            "kl-mean": edit(".sum(-1)", ".mean(-1)"),
            "kl-cross-entropy": edit("_x_log_y(p, p) - ", "-"),
            "kl-symmetrised": lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
            "kl-sign": edit("return (", "return -("),
            "kl-nan": edit("_x_log_y(p, p) - _x_log_y(p, q)", "p * (p / q).log()"),
            "kl-no-log": edit("_x_log_y(p, q)", "p * q"),
        },
    ),
    subject(
        "js",
        js_divergence,
        LAWS,
        {
            "E3-067": lambda p, q: kl_divergence(p, q) + kl_divergence(q, p),
            "js-sum-not-half": edit("halves.sum(-1) / 2", "halves.sum(-1)"),
            "js-log2": edit(".clamp(min=0)", ".clamp(min=0) / math.log(2)"),
            "js-root": edit(".clamp(min=0)", ".clamp(min=0).sqrt()"),
            "js-unhalved-mixture": edit(
                "2 * p / total", "p / total", "2 * q / total", "q / total", ".clamp(min=0)", ""
            ),
        },
    ),
    subject(
        "renyi",
        renyi_divergence,
        ((P, Q, 0.3), (P, Q, 2.0), (P_ZERO, Q_ZERO, 0.3)),
        {
            "renyi-swapped": edit("p, q = _pair", "q, p = _pair"),
            "renyi-prefactor": edit("/ (alpha - 1)", "/ (alpha * (alpha - 1))"),
            "renyi-sign": edit("/ (alpha - 1)", "/ (1 - alpha)"),
            "renyi-tsallis": edit("near, far)", "near, far).expm1()"),
        },
    ),
    subject(
        "tv",
        total_variation,
        LAWS,
        {
            "tv-l1": edit(" / 2", ""),
            "tv-max": edit(".sum(-1) / 2", ".amax(-1)"),
            "tv-l2": edit("abs().sum(-1) / 2", "square().sum(-1).sqrt()"),
        },
    ),
    subject(
        "hellinger",
        hellinger_squared,
        LAWS,
        {
            "hellinger-root": edit(
                "return (root_p - root_q).square().sum(-1) / 2",
                "return ((root_p - root_q).square().sum(-1) / 2).sqrt()",
            ),
            "hellinger-no-half": edit(" / 2", ""),
            "hellinger-affinity": edit("(root_p - root_q).square().sum(-1) / 2", "(p * q).sqrt().sum(-1)"),
        },
    ),
    subject(
        "chi-squared",
        chi_squared,
        LAWS,
        {
            "chi-squared-neyman": edit("p, q = _pair", "q, p = _pair"),
            "chi-squared-no-square": edit("(p - q).square()", "(p - q).abs()"),
            "chi-squared-uncentred": edit("(p - q).square()", "p.square()"),
            "chi-squared-symmetric": edit("> 0, q, 1.0", "> 0, p + q, 1.0"),
        },
    ),
    subject(
        "f-divergence",
        f_divergence,
        (
            (P, Q, "kl"),
            (P, Q, "chi squared"),
            (f64((0.5, 0.5))[0], f64((1.0, 0.0))[0], "total variation"),
            (Q_ZERO, P_ZERO, "js"),
        ),
        {
            "E3-070": edit("(inside + outside)", "inside"),
            "f-divergence-swapped": edit("p, q = _pair", "q, p = _pair"),
            "f-divergence-ratio": lambda p, q, generator: (q * GENERATORS[generator].f(q / p)).sum(-1),
            "f-divergence-under-p": lambda p, q, generator: (p * GENERATORS[generator].f(p / q)).sum(-1),
            "f-divergence-unweighted": lambda p, q, generator: GENERATORS[generator].f(p / q).sum(-1),
        },
    ),
    subject(
        "wasserstein",
        wasserstein_1,
        (
            (f64((0.0, 0.5, 2.0, 2.2))[0], P, Q),
            (f64((-3.0, 1.0, 1.5))[0], P_ZERO, Q_ZERO),
        ),
        {
            "wasserstein-unit-gaps": edit(".abs() * gaps", ".abs()"),
            "wasserstein-cramer": edit(".abs() * gaps", ".square() * gaps"),
            "wasserstein-pointwise": edit(".cumsum(-1)", ""),
        },
    ),
    subject(
        "wasserstein-samples",
        wasserstein_samples,
        tuple((f64((0.3, -1.0, 2.0, 0.9))[0], f64((5.0, -2.0, 0.1, 4.0))[0], order) for order in (1.0, 2.0)),
        {
            "wasserstein-unsorted": edit('"x", x).sort(-1).values', '"x", x)', '"y", y).sort(-1).values', '"y", y)'),
            "wasserstein-no-root": edit("gaps, order, dim=-1)", "gaps, order, dim=-1) ** order", "** (1 / order)", ""),
            "wasserstein-sum": edit(" / x.shape[-1] ** (1 / order)", ""),
        },
    ),
    subject(
        "mmd",
        mmd_squared,
        ((torch.exp(-f64((0.0, 0.4, 1.0), (0.4, 0.0, 0.3), (1.0, 0.3, 0.0))), P_ZERO, Q_ZERO),),
        {
            "mmd-root": edit("gram), p - q)", "gram), p - q).sqrt()"),
            "mmd-cross-once": lambda gram, p, q: (
                mmd_squared(gram, p, q) + torch.einsum("...i,ij,...j->...", p, gram, q)
            ),
        },
    ),
    subject(
        "fisher-divergence",
        fisher_divergence,
        ((f64((1.0, -2.0, 0.5), (0.3, 0.1, -0.7)), f64((0.4, -1.0, 0.0), (1.3, 0.2, 0.9))),),
        {
            "fisher-no-half": edit(" / 2", ""),
            "fisher-mean": edit(".sum(-1)", ".mean(-1)"),
            "fisher-batch": edit(".sum(-1)", ".sum(-1).mean()"),
        },
    ),
    subject(
        "gaussian-kl",
        kl_gaussian,
        (
            (
                f64((1.0, -0.5))[0],
                f64((1.5, 0.4), (0.4, 0.7)),
                f64((0.2, 0.3))[0],
                f64((0.8, -0.3), (-0.3, 2.0)),
            ),
            (
                f64((0.3, -1.2, 0.4), (0.0, 0.5, 2.0)),
                torch.diag_embed(f64((0.5, 1.7, 0.3), (2.0, 0.4, 1.1))),
                f64((0.0, 0.0, 0.0), (1.0, 0.2, 0.3)),
                torch.diag_embed(f64((1.0, 1.0, 1.0), (0.6, 3.0, 0.9))),
            ),
        ),
        {
            "gaussian-kl-no-half": edit("log_det) / 2", "log_det)"),
            "gaussian-kl-squared-scale": edit(
                '"cov_p", cov_p', '"cov_p", cov_p @ cov_p', '"cov_q", cov_q', '"cov_q", cov_q @ cov_q'
            ),
            "gaussian-kl-reversed": edit("chol_p, chol_q = ", "chol_q, chol_p = "),
            "gaussian-kl-trace-inverted": edit("solve(chol_q, chol_p,", "solve(chol_p, chol_q,"),
            "gaussian-kl-no-d": edit(" - mean_p.shape[-1]", ""),
            "gaussian-kl-log-det-sign": edit("+ log_det", "- log_det"),
            "gaussian-kl-no-log-det": edit(" + log_det", ""),
            "gaussian-kl-euclidean": edit(
                "solve(chol_q, (mean_q - mean_p)[..., None], upper=False).square().sum((-2, -1))",
                "(mean_q - mean_p).square().sum(-1)",
            ),
            "gaussian-kl-diagonal": edit(
                *('"cov_p", cov_p', '"cov_p", cov_p.diagonal(dim1=-2, dim2=-1).diag_embed()'),
                *('"cov_q", cov_q', '"cov_q", cov_q.diagonal(dim1=-2, dim2=-1).diag_embed()'),
            ),
            "gaussian-kl-mean-over-d": edit("log_det) / 2", "log_det) / (2 * mean_p.shape[-1])"),
            "gaussian-kl-batch-sum": edit("log_det) / 2", "log_det).sum() / 2"),
        },
    ),
    subject(
        "kl-terms",
        kl_terms,
        (LOGS,),
        {
            "kl-terms-sign": edit("log_p - log_q", "log_q - log_p"),
            "kl-terms-absolute": edit("log_p - log_q", "(log_p - log_q).abs()"),
            "kl-terms-clamped": edit("log_p - log_q", "(log_p - log_q).clamp(min=0)"),
            "kl-terms-weighted": edit("log_p - log_q", "log_p.exp() * (log_p - log_q)"),
            "kl-terms-squared": edit("log_p - log_q", "(log_p - log_q).square() / 2"),
        },
    ),
    subject(
        "kl-control",
        kl_terms_nonnegative,
        (LOGS,),
        {
            "kl-control-inverted": edit("log_r = -kl", "log_r = kl"),
            "kl-control-no-one": edit("log_r.expm1()", "log_r.exp()"),
            "kl-control-sign": edit("return log_r", "return -log_r"),
        },
    ),
)
