"""Wrong variants of `dgmlib.vi` (chapter 08)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.vi import (
    annealed_importance,
    best_baseline,
    cavi_gaussian,
    effective_sample_size,
    elbo,
    elbo_linear,
    gaussian_entropy,
    gaussian_log_prob,
    log_likelihood_linear,
    log_prob_is,
    pathwise_gradient,
    renyi2_gaussian,
    reparameterize,
    score_function_gradient,
    tempered_posterior,
    tempered_step,
)
from dgmlib.worlds import LinearGaussian


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


WORLD = LinearGaussian([[1.0, 0.3], [0.2, -0.8], [0.5, 0.5]], [0.1, 0.2, 0.3], 0.6)
X = _t((0.5, -0.2, 1.0), (2.0, 1.0, -0.4))
MEAN, CHOL = _t((0.1, -0.4), (0.7, 0.3)), _t(((0.8, 0.0), (0.3, 0.6)), ((0.5, 0.0), (-0.4, 1.2)))
Z = _t(((0.2, 0.1), (-0.6, 1.0)), ((1.1, -0.7), (0.4, 0.0)), ((-0.9, 0.5), (0.3, -1.4)))
LOG_JOINT, LOG_Q = _t((-3.0, -1.0), (-5.0, -0.5), (-2.0, -4.0)), _t((-1.0, -0.8), (-0.2, -2.0), (-1.7, -0.6))
LOG_WEIGHTS = LOG_JOINT - LOG_Q
COV_P, COV_Q = _t((1.0, 0.2), (0.2, 0.7)), _t((1.4, -0.1), (-0.1, 0.9))
GRADIENT = (lambda z: (z * z).sum(1) + z[:, 0], _t(1.0, -0.5), _t(0.7, 1.3), _t((0.3, -1.1), (1.6, 0.2), (-0.8, 0.9)))
BETAS = _t(0.0, 0.1, 0.4, 1.0)
AIS = (lambda z: -z.square().sum(-1), Z, lambda z, beta, generator: z / (1 + beta), BETAS)
RENYI = (_t(0.3, -0.2), COV_P, _t(-0.1, 0.4), COV_Q)


# --- variants that need more than one expression --------------------------------------------------------------------


def _jacobi(mean: Tensor, precision: Tensor, start: Tensor, n_sweeps: int) -> Tensor:
    path = [start]
    for _ in range(n_sweeps):
        offset = path[-1] - mean
        path.append(mean + offset - precision @ offset / precision.diagonal())
    return torch.stack(path)


def _by_covariance(mean: Tensor, precision: Tensor, start: Tensor, n_sweeps: int) -> Tensor:
    return cavi_gaussian(mean, torch.linalg.inv(precision), start, n_sweeps)


def _late_weights(log_likelihood, z: Tensor, kernel, betas: Tensor) -> Tensor:
    total = torch.zeros_like(z[..., 0])
    for here, there in zip(betas[:-1].tolist(), betas[1:].tolist(), strict=True):
        z = kernel(z, there, None)
        total = total + (there - here) * log_likelihood(z)
    return total


def _whole_powers(log_likelihood, z: Tensor, kernel, betas: Tensor) -> Tensor:
    total = torch.zeros_like(z[..., 0])
    for there in betas[1:].tolist():
        total = total + there * log_likelihood(z)
        z = kernel(z, there, None)
    return total


def _own_baseline(f, mean: Tensor, std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    values = f(mean + std * noise)[:, None]
    return (values - values) * noise, (values - values) * noise


# --- the table ------------------------------------------------------------------------------------------------------

SUBJECTS = (
    Subject(
        "importance-evidence",
        log_prob_is,
        ((LOG_WEIGHTS,),),
        (
            Bug(
                "is-mean-of-logs",
                "The mean of the log weights, which is the ELBO, reported as an estimate of log p(x).",
                lambda w: w.mean(0),
                "does not improve with K",
                "log of the mean of the weights",
            ),
            Bug("is-no-k", "The sum of the weights: -log K is missing.", lambda w: w.logsumexp(0), "grows as log K"),
            Bug(
                "E3-031",
                "p(x, z)/q(z) inside the sum without the index j: one draw used K times.",
                lambda w: w[0],
                "the variance does not fall with K",
                "a fresh z for every term",
            ),
            Bug(
                "is-averaged-over-data",
                "The mean over the batch is taken inside the logarithm too.",
                lambda w: (w.logsumexp((0, 1)) - math.log(w.numel())).expand(w.shape[1]),
                "every datum has the same evidence",
            ),
        ),
    ),
    Subject(
        "effective-sample-size",
        effective_sample_size,
        ((LOG_WEIGHTS,),),
        (
            Bug("ess-no-square", "1 / sum of w^2 with weights not normalised.", lambda w: 1 / (2 * w).exp().sum(0)),
            Bug("ess-share", "Divided by K: a share, called a size.", lambda w: effective_sample_size(w) / len(w)),
            Bug(
                "ess-perplexity",
                "exp of the entropy of the weights: also between 1 and K, and always larger.",
                lambda w: torch.special.entr(w.softmax(0)).sum(0).exp(),
            ),
        ),
    ),
    Subject(
        "elbo",
        elbo,
        ((LOG_JOINT, LOG_Q),),
        (
            Bug(
                "elbo-no-entropy",
                "E_q log p(x, z) alone: nothing keeps q from shrinking to the mode.",
                lambda joint, q: joint.mean(0),
                "std of q falls to 0, the 'bound' exceeds log p(x)",
                "- log q(z)",
            ),
            Bug(
                "elbo-entropy-sign",
                "+ log q: rewards a narrow q twice.",
                lambda joint, q: (joint + q).mean(0),
                "diverges",
            ),
            Bug(
                "elbo-log-mean-exp",
                "The logarithm outside the mean: the IWAE bound, not the ELBO.",
                lambda joint, q: log_prob_is(joint - q),
            ),
            Bug(
                "elbo-mean-over-batch",
                "One number for the whole batch, where an objective returns one value an example.",
                lambda joint, q: (joint - q).mean(),
            ),
            Bug("elbo-loss", "The loss, minus the bound, returned as the bound.", lambda joint, q: (q - joint).mean(0)),
        ),
    ),
    Subject(
        "renyi2-gaussian",
        renyi2_gaussian,
        (RENYI,),
        (
            Bug(
                "renyi2-swapped",
                "Target and proposal exchanged.",
                lambda mp, cp, mq, cq: renyi2_gaussian(mq, cq, mp, cp),
            ),
            Bug(
                "renyi2-half-shift",
                "The shift halved, as in KL: two shifted unit Gaussians have e^{delta^2}, not its root.",
                lambda mp, cp, mq, cq: (
                    (renyi2_gaussian(mp, cp, mq, cq) + renyi2_gaussian(torch.zeros_like(mp), cp, 0 * mq, cq)) / 2
                ),
            ),
        ),
    ),
    Subject(
        "gaussian-log-density",
        gaussian_log_prob,
        ((Z, MEAN, CHOL),),
        (
            Bug(
                "gaussian-log-density-covariance",
                "The covariance given where its root is meant.",
                lambda z, m, c: gaussian_log_prob(z, m, torch.linalg.cholesky(c @ c.mT @ c @ c.mT)),
            ),
            Bug(
                "gaussian-log-density-no-det",
                "The log-determinant is missing: the density does not integrate to one.",
                lambda z, m, c: gaussian_log_prob(z, m, c) + c.diagonal(dim1=-2, dim2=-1).log().sum(-1),
                "q shrinks without limit",
            ),
            Bug(
                "gaussian-log-density-no-2pi",
                "d/2 log 2 pi is missing.",
                lambda z, m, c: gaussian_log_prob(z, m, c) + math.log(2 * math.pi),
            ),
        ),
    ),
    Subject(
        "gaussian-entropy",
        gaussian_entropy,
        ((CHOL,),),
        (
            Bug(
                "gaussian-entropy-no-e",
                "log sqrt(2 pi) for log sqrt(2 pi e).",
                lambda c: gaussian_entropy(c) - c.shape[-1] / 2,
            ),
            Bug(
                "gaussian-entropy-half-det",
                "Half the log-determinant of the root: that half belongs to the covariance.",
                lambda c: gaussian_entropy(c) - c.diagonal(dim1=-2, dim2=-1).log().sum(-1) / 2,
            ),
        ),
    ),
    Subject(
        "reparameterize",
        reparameterize,
        ((MEAN, CHOL, Z),),
        (
            Bug(
                "E4-22",
                "Each coordinate scaled by its standard deviation: the correlations of q are lost.",
                lambda m, c, e: m + (c @ c.mT).diagonal(dim1=-2, dim2=-1).sqrt() * e,
                "a diagonal covariance whatever chol is",
                "chol eps",
            ),
            Bug(
                "reparameterize-variance",
                "Noise scaled by the covariance, not by its root.",
                lambda m, c, e: m + torch.einsum("bij,kbj->kbi", c @ c.mT, e),
            ),
            Bug(
                "reparameterize-transposed",
                "chol^T eps: the covariance becomes chol^T chol.",
                lambda m, c, e: m + torch.einsum("bji,kbj->kbi", c, e),
            ),
            Bug(
                "reparameterize-one-noise",
                "One eps for the whole batch: correct for each datum, and correlated across data.",
                lambda m, c, e: reparameterize(m, c, e[:, :1].expand_as(e)),
                "gradient noise does not fall with the batch size",
            ),
        ),
    ),
    Subject(
        "elbo-linear",
        elbo_linear,
        ((WORLD, X, MEAN, CHOL),),
        (
            Bug(
                "elbo-linear-no-blur",
                "log p(x | z) at the mean of q only: the spread of q costs nothing.",
                lambda w, x, m, c: (
                    elbo_linear(w, x, m, c) + (w.weight @ c).square().sum((-2, -1)) / (2 * w.noise_std**2)
                ),
                "above log p(x) for a wide q",
            ),
            Bug(
                "elbo-linear-reconstruction-only",
                "The KL to the prior is dropped: an autoencoder's loss.",
                lambda w, x, m, c: (
                    log_likelihood_linear(w, x, m[None])[0]
                    - (w.weight @ c).square().sum((-2, -1)) / (2 * w.noise_std**2)
                ),
                "the best q is a point",
            ),
        ),
    ),
    Subject(
        "pathwise-gradient",
        pathwise_gradient,
        (GRADIENT,),
        (
            Bug(
                "pathwise-std-without-noise",
                "dz/dstd taken for 1: it is eps.",
                lambda *a: (pathwise_gradient(*a)[0], pathwise_gradient(*a)[0]),
            ),
            Bug(
                "pathwise-std-in-mean",
                "dz/dmean taken for std: it is 1.",
                lambda f, m, s, e: (pathwise_gradient(f, m, s, e)[0] * s, pathwise_gradient(f, m, s, e)[1]),
            ),
        ),
    ),
    Subject(
        "score-function-gradient",
        score_function_gradient,
        (GRADIENT,),
        (
            Bug(
                "score-function-no-score",
                "f times the noise: the division by std is missing.",
                lambda f, m, s, e: tuple(g * s for g in score_function_gradient(f, m, s, e)),
            ),
            Bug(
                "score-function-std-no-one",
                "eps^2 / std for the derivative of log q in std: the -1 of the normaliser is missing.",
                lambda f, m, s, e: (
                    score_function_gradient(f, m, s, e)[0],
                    f(m + s * e)[:, None] * e.square() / s,
                ),
            ),
            Bug(
                "score-function-own-baseline",
                "A baseline that is the sample's own value: unbiased baselines must not see the row they multiply.",
                _own_baseline,
                "the gradient is zero",
            ),
        ),
    ),
    Subject(
        "best-baseline",
        best_baseline,
        ((_t(1.0, 4.0, 0.5), _t((0.3, -1.0), (1.2, 0.1), (-0.4, 0.8)), _t(0.2, 0.3, 0.5)),),
        (
            Bug(
                "best-baseline-mean",
                "E f: the mean of the rewards, not their mean weighted by the squared score.",
                lambda f, s, w: (w @ f).expand(s.shape[1]),
                "larger variance than the best constant",
            ),
        ),
    ),
    Subject(
        "cavi-gaussian",
        cavi_gaussian,
        ((_t(1.0, -1.0, 0.5), _t((2.0, 0.9, 0.3), (0.9, 1.0, -0.2), (0.3, -0.2, 1.5)), _t(0.0, 0.0, 0.0), 3),),
        (
            Bug(
                "cavi-simultaneous",
                "All factors at once from the old means (Jacobi): the bound need not rise, and may diverge.",
                _jacobi,
                "oscillation for strong correlations",
                "one factor at a time",
            ),
            Bug("cavi-covariance", "The covariance where the precision is meant.", _by_covariance),
        ),
    ),
    Subject(
        "tempered-posterior",
        tempered_posterior,
        ((WORLD, X, 0.4),),
        (
            Bug(
                "tempered-prior-too",
                "The whole joint raised to beta, prior included: at beta = 0 it is no density.",
                lambda w, x, b: (w.posterior(x)[0], w.posterior(x)[1] / b),
            ),
            Bug(
                "tempered-mean-unscaled",
                "beta in the covariance only.",
                lambda w, x, b: (tempered_posterior(w, x, b)[0] / b, tempered_posterior(w, x, b)[1]),
            ),
        ),
    ),
    Subject(
        "tempered-step",
        tempered_step,
        ((WORLD, X, Z, 0.4, 0.6, Z.flip(0)),),
        (
            Bug(
                "tempered-step-linear-mix",
                "1 - rho in front of the noise: the chain's variance shrinks by (1 - rho)/(1 + rho).",
                lambda w, x, z, b, r, e: tempered_step(w, x, z, b, r, e * (1 - r) / math.sqrt(1 - r * r)),
                "annealed weights biased",
                "sqrt(1 - rho^2)",
            ),
            Bug(
                "tempered-step-no-recentring",
                "rho z + noise: the chain forgets the mean and settles around 0.",
                lambda w, x, z, b, r, e: tempered_step(w, x, z, b, r, e) - (1 - r) * tempered_posterior(w, x, b)[0],
            ),
        ),
    ),
    Subject(
        "annealed-importance",
        annealed_importance,
        (AIS,),
        (
            Bug(
                "ais-late-weight",
                "The weight is taken after the move: it belongs to the draw before.",
                _late_weights,
                "biased, less so with many temperatures",
                "weigh, then move",
            ),
            Bug(
                "ais-whole-power",
                "beta_t log p(x | z) where the difference beta_t - beta_{t-1} is meant.",
                _whole_powers,
                "falls without limit as temperatures are added",
            ),
        ),
    ),
)

SLIPS = {
    "posterior-mean-likelihood": "The mean likelihood under the posterior taken for the evidence.",
    "best-completion": "The likeliest value of what was not seen, in place of the sum over all values.",
    "average-under-the-prior": "Fisher's identity with causes from the prior, which have not looked at x.",
    "marginal-sum-of-logs": "The sum over latents taken outside the logarithm.",
    "no-noise-in-the-covariance": "The decoder's noise left out of the covariance of x.",
    "likelihood-variance-for-sigma": "The variance handed over where the standard deviation is meant.",
    "posterior-without-prior": "The decoder inverted by least squares: no shrinkage towards the prior.",
    "kl-for-chi": "The variance of a weight taken for a KL divergence; it is a chi-squared.",
    "is-cost-linear": "The price of prior sampling taken to be linear in the posterior's precision.",
    "tail-of-the-other-law": "The tail index of the weights computed with target and proposal exchanged.",
    "jensen-for-a-convex-function": "Jensen's inequality in the direction of the logarithm, for the exponential.",
    "jensen-gap-without-half": "The bias of a logarithm quoted as the relative variance, not half of it.",
    "entropy-counted-thrice": "The entropy added where it is in the sum already.",
    "gap-to-the-prior": "The bound's gap taken for the KL to the prior: that is the rate.",
    "principle-kl-reversed": "The variational principle with the KL's arguments exchanged.",
    "elbo-plus-kl": "Reconstruction plus KL to the prior.",
    "update-with-the-joint": "Factors set to the marginals of the target: optimal for the other KL.",
    "gap-with-marginals": "The mean-field gap computed for the marginal variances.",
    "directions-exchanged": "Marginal variances for reverse KL, conditional ones for forward KL.",
    "fourth-moment-without-six": "E z^4 = m^4 + m^2 v + 3 v^2: the factor 6 is missing.",
    "mixture-without-label-entropy": "A mixture's bound without the entropy of the assignments.",
    "mixture-plug-in-weights": "log E pi for E log pi in a mixture's bound.",
    "mixture-no-label-switching": "A factorised q taken to cover every labelling of a mixture.",
    "natural-gradient-plain": "The plain gradient, not divided by the Fisher information.",
    "samples-held-constant": "Draws treated as constants: the gradient in their law is lost.",
    "implicit-gradient-sign": "The minus of implicit differentiation dropped.",
    "pathwise-always-better": "The variances of the two gradients of a sine exchanged.",
    "score-term-kept": "The score of q kept in the pathwise gradient, where it is pure noise.",
    "one-q-for-all": "One variational law for all data.",
    "amortisation-euclidean": "An encoder's error measured without the posterior's precision.",
    "amortisation-more-data-worse": "The amortisation gap taken to grow with the training set.",
    "ais-no-gap": "log w of annealing taken to be unbiased for log p(x).",
    "ais-gap-reversed": "The gap of annealing upwards computed with the KLs of the way down.",
    "ais-gap-quadratic": "The gap of annealing taken to fall like 1/T^2.",
    "ais-gap-root": "The gap of annealing taken to fall like 1/sqrt(T).",
    "thermodynamic-posterior-only": "The mean log-likelihood under the posterior, for the integral over temperatures.",
    "thermodynamic-prior-only": "The mean log-likelihood under the prior, for the integral over temperatures.",
    "sign-of-the-determinant": "The log-determinant of the posterior added where it is subtracted.",
}
