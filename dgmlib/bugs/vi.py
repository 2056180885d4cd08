"""Wrong variants of `dgmlib.vi` (chapter 08)."""

import torch

from dgmlib.bugs import edit, f64, subject
from dgmlib.vi import (
    annealed_importance,
    best_baseline,
    cavi_gaussian,
    effective_sample_size,
    elbo,
    elbo_linear,
    gaussian_entropy,
    gaussian_log_prob,
    log_prob_is,
    pathwise_gradient,
    renyi2_gaussian,
    reparameterize,
    score_function_gradient,
    tempered_posterior,
    tempered_step,
)
from dgmlib.worlds import LinearGaussian

CHAPTER = "08"

WORLD = LinearGaussian([[1.0, 0.3], [0.2, -0.8], [0.5, 0.5]], [0.1, 0.2, 0.3], 0.6)
X = f64((0.5, -0.2, 1.0), (2.0, 1.0, -0.4))
MEAN, CHOL = f64((0.1, -0.4), (0.7, 0.3)), f64(((0.8, 0.0), (0.3, 0.6)), ((0.5, 0.0), (-0.4, 1.2)))
Z = f64(((0.2, 0.1), (-0.6, 1.0)), ((1.1, -0.7), (0.4, 0.0)), ((-0.9, 0.5), (0.3, -1.4)))
LOG_JOINT, LOG_Q = f64((-3.0, -1.0), (-5.0, -0.5), (-2.0, -4.0)), f64((-1.0, -0.8), (-0.2, -2.0), (-1.7, -0.6))
LOG_WEIGHTS = LOG_JOINT - LOG_Q
COV_P, COV_Q = f64((1.0, 0.2), (0.2, 0.7)), f64((1.4, -0.1), (-0.1, 0.9))
GRADIENT = (
    lambda z: (z * z).sum(1) + z[:, 0],
    f64(1.0, -0.5),
    f64(0.7, 1.3),
    f64((0.3, -1.1), (1.6, 0.2), (-0.8, 0.9)),
)
BETAS = f64(0.0, 0.1, 0.4, 1.0)
AIS = (lambda z: -z.square().sum(-1), Z, lambda z, beta, generator: z / (1 + beta), BETAS)
RENYI = (f64(0.3, -0.2), COV_P, f64(-0.1, 0.4), COV_Q)

SUBJECTS = (
    subject(
        "importance-evidence",
        log_prob_is,
        ((LOG_WEIGHTS,),),
        {
            "is-mean-of-logs": edit("log_mean_exp(log_weights, 0)", "log_weights.mean(0)"),
            "is-no-k": edit("log_mean_exp(log_weights, 0)", "log_weights.logsumexp(0)"),
            "E3-031": edit("log_mean_exp(log_weights, 0)", "log_weights[0]"),
            "is-averaged-over-data": edit(
                "(log_weights, 0)", "(log_weights.flatten(), 0).expand(log_weights.shape[1])"
            ),
        },
    ),
    subject(
        "effective-sample-size",
        effective_sample_size,
        ((LOG_WEIGHTS,),),
        {
            "ess-no-square": edit("2 * total - ", "-"),
            "ess-share": edit("0.0, size", "0.0, size / len(log_weights)"),
            "ess-perplexity": lambda w: torch.special.entr(w.softmax(0)).sum(0).exp(),
        },
    ),
    subject(
        "elbo",
        elbo,
        ((LOG_JOINT, LOG_Q),),
        {
            "elbo-no-entropy": edit("(log_joint - log_q)", "log_joint"),
            "elbo-entropy-sign": edit("- log_q", "+ log_q"),
            "elbo-log-mean-exp": edit("(log_joint - log_q).mean(0)", "log_mean_exp(log_joint - log_q, 0)"),
            "elbo-mean-over-batch": edit(".mean(0)", ".mean()"),
            "elbo-loss": edit("log_joint - log_q", "log_q - log_joint"),
        },
    ),
    subject(
        "renyi2-gaussian",
        renyi2_gaussian,
        (RENYI,),
        {
            "renyi2-swapped": edit(
                '    need_finite("mean_p"', '    cov_p, cov_q = cov_q, cov_p\n    need_finite("mean_p"'
            ),
            "renyi2-half-shift": edit("+ shift", "+ shift / 2"),
        },
    ),
    subject(
        "gaussian-log-density",
        gaussian_log_prob,
        ((Z, MEAN, CHOL),),
        {
            "gaussian-log-density-covariance": edit(
                "    noise = ", "    chol = torch.linalg.cholesky(chol @ chol.mT @ chol @ chol.mT)\n    noise = "
            ),
            "gaussian-log-density-no-det": edit(" - log_det[:, None]", ""),
            "gaussian-log-density-no-2pi": edit(" - mean.shape[1] * LOG_2PI / 2", ""),
        },
    ),
    subject(
        "gaussian-entropy",
        gaussian_entropy,
        ((CHOL,),),
        {
            "gaussian-entropy-no-e": edit("(LOG_2PI + 1)", "LOG_2PI"),
            "gaussian-entropy-half-det": edit("_log_det(chol)", "_log_det(chol) / 2"),
        },
    ),
    subject(
        "reparameterize",
        reparameterize,
        ((MEAN, CHOL, Z),),
        {
            "E4-22": edit(
                'torch.einsum("bij,kbj->kbi", chol, noise)',
                "(chol @ chol.mT).diagonal(dim1=-2, dim2=-1).sqrt() * noise",
            ),
            "reparameterize-variance": edit("chol, noise)", "chol @ chol.mT, noise)"),
            "reparameterize-transposed": edit('"bij,', '"bji,'),
            "reparameterize-one-noise": edit("chol, noise)", "chol, noise[:, :1].expand_as(noise))"),
        },
    ),
    subject(
        "elbo-linear",
        elbo_linear,
        ((WORLD, X, MEAN, CHOL),),
        {
            "elbo-linear-no-blur": edit(" - blur", ""),
            "elbo-linear-reconstruction-only": edit(" - rate", ""),
        },
    ),
    subject(
        "pathwise-gradient",
        pathwise_gradient,
        (GRADIENT,),
        {
            "pathwise-std-without-noise": edit("slope * noise", "slope"),
            "pathwise-std-in-mean": edit("return slope,", "return slope * std,"),
        },
    ),
    subject(
        "score-function-gradient",
        score_function_gradient,
        (GRADIENT,),
        {
            "score-function-no-score": edit("noise / std,", "noise,", "- 1) / std", "- 1)"),
            "score-function-std-no-one": edit("(noise.square() - 1)", "noise.square()"),
            "score-function-own-baseline": edit("- baseline", "- one_a_row(f, mean + std * noise)[:, None]"),
        },
    ),
    subject(
        "best-baseline",
        best_baseline,
        ((f64(1.0, 4.0, 0.5), f64((0.3, -1.0), (1.2, 0.1), (-0.4, 0.8)), f64(0.2, 0.3, 0.5)),),
        {
            "best-baseline-mean": edit(
                "(squares * values[:, None]).sum(0) / squares.sum(0)", "(weights @ values).expand(score.shape[1])"
            ),
        },
    ),
    subject(
        "cavi-gaussian",
        cavi_gaussian,
        ((f64(1.0, -1.0, 0.5), f64((2.0, 0.9, 0.3), (0.9, 1.0, -0.2), (0.3, -0.2, 1.5)), f64(0.0, 0.0, 0.0), 3),),
        {
            "cavi-simultaneous": edit(
                "for i in range(len(mean)):\n            offset[i] -= precision[i] @ offset / precision[i, i]",
                "offset = offset - precision @ offset / precision.diagonal()",
            ),
            "cavi-covariance": edit(
                "    path = [start]", "    precision = torch.linalg.inv(precision)\n    path = [start]"
            ),
        },
    ),
    subject(
        "tempered-posterior",
        tempered_posterior,
        ((WORLD, X, 0.4),),
        {
            "tempered-prior-too": edit("slope = beta /", "slope = 1 /", "@ cov, cov", "@ cov, cov / beta"),
            "tempered-mean-unscaled": edit("return slope *", "return 1 / world.noise_std**2 *"),
        },
    ),
    subject(
        "tempered-step",
        tempered_step,
        ((WORLD, X, Z, 0.4, 0.6, Z.flip(0)),),
        {
            "tempered-step-linear-mix": edit("math.sqrt(1 - persistence**2)", "(1 - persistence)"),
            "tempered-step-no-recentring": edit("mean + persistence * (z - mean)", "persistence * z"),
        },
    ),
    subject(
        "annealed-importance",
        annealed_importance,
        (AIS,),
        {
            "ais-late-weight": edit(
                *("        values = ", "        z = kernel(z, there, generator)\n        values = "),
                *("if t + 1 < len(steps):", "if False:"),
            ),
            "ais-whole-power": edit("(there - here) * values", "there * values"),
        },
    ),
)
