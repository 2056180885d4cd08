"""Wrong variants of `dgmlib.vi` (chapter 08)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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

CHAPTER = "08"


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
                name="mean of the logs",
                symptom="does not improve with K",
                place="the order of mean and logarithm",
                cure="log of the mean of the weights",
            ),
            Bug(
                "is-no-k",
                "The sum of the weights: -log K is missing.",
                lambda w: w.logsumexp(0),
                name="log K forgotten",
                symptom="grows as log K",
                place="the mean over weights",
                cure="log of the mean of the weights: logsumexp minus log K",
            ),
            Bug(
                "E3-031",
                "p(x, z)/q(z) inside the sum without the index j: one draw used K times.",
                lambda w: w[0],
                name="one draw used K times",
                symptom="the variance does not fall with K",
                place="the index of the draw inside the sum",
                cure="a fresh z_j for every term: log mean_j p(x, z_j)/q(z_j)",
            ),
            Bug(
                "is-averaged-over-data",
                "The mean over the batch is taken inside the logarithm too.",
                lambda w: (w.logsumexp((0, 1)) - math.log(w.numel())).expand(w.shape[1]),
                name="averaged over data inside the log",
                symptom="every datum has the same evidence",
                place="the axes of the logsumexp",
                cure="logsumexp over the draws only, one value for each datum",
            ),
        ),
    ),
    Subject(
        "effective-sample-size",
        effective_sample_size,
        ((LOG_WEIGHTS,),),
        (
            Bug(
                "ess-no-square",
                "1 / sum of w^2 with weights not normalised.",
                lambda w: 1 / (2 * w).exp().sum(0),
                name="weights not normalised",
                symptom="scaling all weights changes the effective size",
                place="the sum of the weights",
                cure="(sum w)^2 / sum w^2",
            ),
            Bug(
                "ess-share",
                "Divided by K: a share, called a size.",
                lambda w: effective_sample_size(w) / len(w),
                name="a share called a size",
                symptom="never above one",
                place="the division by K",
                cure="(sum w)^2 / sum w^2, between 1 and K",
            ),
            Bug(
                "ess-perplexity",
                "exp of the entropy of the weights: also between 1 and K, and always larger.",
                lambda w: torch.special.entr(w.softmax(0)).sum(0).exp(),
                name="perplexity of the weights",
                symptom="larger than (sum w)^2 / sum w^2 for all uneven weights",
                place="the function of the normalised weights",
                cure="1 / sum of the squared normalised weights",
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
                name="no entropy of q",
                symptom="std of q falls to 0, the 'bound' exceeds log p(x)",
                place="the term -log q",
                cure="subtract log q(z): mean of log p(x, z) - log q(z)",
            ),
            Bug(
                "elbo-entropy-sign",
                "+ log q: rewards a narrow q twice.",
                lambda joint, q: (joint + q).mean(0),
                name="entropy subtracted",
                symptom="the variance of q falls to 0 and the objective diverges",
                place="the sign of log q",
                cure="subtract log q(z): mean of log p(x, z) - log q(z)",
            ),
            Bug(
                "elbo-log-mean-exp",
                "The logarithm outside the mean: the IWAE bound, not the ELBO.",
                lambda joint, q: log_prob_is(joint - q),
                name="logarithm outside the mean",
                symptom="grows with the number of draws",
                place="the order of mean and logarithm",
                cure="average the log weights",
            ),
            Bug(
                "elbo-mean-over-batch",
                "One number for the whole batch, where an objective returns one value an example.",
                lambda joint, q: (joint - q).mean(),
                name="batch averaged away",
                symptom="shape () where the data have a batch",
                place="the reduction over the batch",
                cure="mean over the draws only: one value per example",
            ),
            Bug(
                "elbo-loss",
                "The loss, minus the bound, returned as the bound.",
                lambda joint, q: (q - joint).mean(0),
                name="loss for bound",
                symptom="falls as q gets better",
                place="the sign of the whole",
                cure="log p(x, z) - log q(z), to be maximised",
            ),
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
                name="laws exchanged",
                symptom=(
                    "infinite when the proposal has more than twice the target's variance, where the weights are tame"
                ),
                place="the order of target and proposal",
                cure="the target's square over the proposal: log of the integral of p^2/q",
            ),
            Bug(
                "renyi2-half-shift",
                "The shift halved, as in KL: two shifted unit Gaussians have e^{delta^2}, not its root.",
                lambda mp, cp, mq, cq: (
                    (renyi2_gaussian(mp, cp, mq, cq) + renyi2_gaussian(torch.zeros_like(mp), cp, 0 * mq, cq)) / 2
                ),
                name="shift halved",
                symptom=(
                    "shifted unit Gaussians get half of their divergence; the variance of weights looks tamer than it "
                    "is"
                ),
                place="the factor of the squared distance",
                cure="e^{delta^2} for unit Gaussians delta apart: the shift counts whole",
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
                name="covariance for its root",
                symptom="right at unit covariance only",
                place="the reading of chol",
                cure="pass the Cholesky factor: x = mean + chol eps",
            ),
            Bug(
                "gaussian-log-density-no-det",
                "The log-determinant is missing: the density does not integrate to one.",
                lambda z, m, c: gaussian_log_prob(z, m, c) + c.diagonal(dim1=-2, dim2=-1).log().sum(-1),
                name="no log-determinant",
                symptom="q shrinks without limit",
                place="the term of the volume",
                cure="subtract sum_j log chol_jj",
            ),
            Bug(
                "gaussian-log-density-no-2pi",
                "d/2 log 2 pi is missing.",
                lambda z, m, c: gaussian_log_prob(z, m, c) + math.log(2 * math.pi),
                name="2 pi forgotten",
                symptom="too large by 0.92 for each coordinate; the density integrates to (2 pi)^{d/2}",
                place="the constant",
                cure="subtract (d/2) log(2 pi)",
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
                name="e forgotten",
                symptom="too small by 1/2 for each coordinate",
                place="the constant",
                cure="(d/2) log(2 pi e) + sum_j log chol_jj",
            ),
            Bug(
                "gaussian-entropy-half-det",
                "Half the log-determinant of the root: that half belongs to the covariance.",
                lambda c: gaussian_entropy(c) - c.diagonal(dim1=-2, dim2=-1).log().sum(-1) / 2,
                name="half of the root's determinant",
                symptom="right at unit determinant only",
                place="the factor of sum_j log chol_jj",
                cure="sum_j log chol_jj whole: it is half the log-determinant of the covariance",
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
                name="correlations lost",
                symptom="a diagonal covariance whatever chol is",
                place="the matrix in front of the noise",
                cure="mean + chol eps, with the whole triangle",
            ),
            Bug(
                "reparameterize-variance",
                "Noise scaled by the covariance, not by its root.",
                lambda m, c, e: m + torch.einsum("bij,kbj->kbi", c @ c.mT, e),
                name="covariance for its root",
                symptom="right at unit covariance only; elsewhere the draws' covariance is squared",
                place="the matrix in front of the noise",
                cure="mean + chol eps",
            ),
            Bug(
                "reparameterize-transposed",
                "chol^T eps: the covariance becomes chol^T chol.",
                lambda m, c, e: m + torch.einsum("bji,kbj->kbi", c, e),
                name="transposed root",
                symptom="variances of single coordinates are wrong as soon as chol has an off-diagonal entry",
                place="the side from which chol is applied",
                cure="chol eps: row i of chol with eps",
            ),
            Bug(
                "reparameterize-one-noise",
                "One eps for the whole batch: correct for each datum, and correlated across data.",
                lambda m, c, e: reparameterize(m, c, e[:, :1].expand_as(e)),
                name="one noise for the batch",
                symptom="gradient noise does not fall with the batch size",
                place="the shape of the noise",
                cure="a fresh eps for each datum",
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
                name="spread of q is free",
                symptom="above log p(x) for a wide q",
                place="the trace in the expected log-likelihood",
                cure="subtract tr(W C W^T)/(2 sigma^2), C the covariance of q",
            ),
            Bug(
                "elbo-linear-reconstruction-only",
                "The KL to the prior is dropped: an autoencoder's loss.",
                lambda w, x, m, c: (
                    log_likelihood_linear(w, x, m[None])[0]
                    - (w.weight @ c).square().sum((-2, -1)) / (2 * w.noise_std**2)
                ),
                name="no KL",
                symptom="the best q is a point",
                place="the KL to the prior",
                cure="subtract KL(q(z) || p(z))",
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
                name="noise missing in the deviation's slope",
                symptom="both gradients are equal; a finite difference in std disagrees",
                place="the inner derivative dz/dstd",
                cure="multiply by eps: mean of f'(z) eps",
            ),
            Bug(
                "pathwise-std-in-mean",
                "dz/dmean taken for std: it is 1.",
                lambda f, m, s, e: (pathwise_gradient(f, m, s, e)[0] * s, pathwise_gradient(f, m, s, e)[1]),
                name="deviation in the mean's slope",
                symptom="too small by std for a narrow q; a finite difference in mean disagrees",
                place="the inner derivative dz/dmean",
                cure="dz/dmean = 1: mean of f'(z)",
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
                name="not divided by the deviation",
                symptom="right at std = 1 only",
                place="the derivative of log q in mean and in std",
                cure="f eps/std for the mean, f (eps^2 - 1)/std for the deviation",
            ),
            Bug(
                "score-function-std-no-one",
                "eps^2 / std for the derivative of log q in std: the -1 of the normaliser is missing.",
                lambda f, m, s, e: (
                    score_function_gradient(f, m, s, e)[0],
                    f(m + s * e)[:, None] * e.square() / s,
                ),
                name="normaliser forgotten",
                symptom="adding a constant to f moves the mean of the gradient in std",
                place="the derivative of log q in std",
                cure="f (eps^2 - 1)/std",
            ),
            Bug(
                "score-function-own-baseline",
                "A baseline that is the sample's own value: unbiased baselines must not see the row they multiply.",
                _own_baseline,
                name="own value as baseline",
                symptom="the gradient is zero",
                place="the rows that make the baseline",
                cure="let the baseline be a constant, or the mean of the other rows",
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
                name="plain mean of the rewards",
                symptom="larger variance than the best constant",
                place="the weights of the mean",
                cure="E[f s^2]/E[s^2], for each coordinate of the score s",
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
                name="all factors at once",
                symptom="oscillation for strong correlations",
                place="the means used within a sweep",
                cure="one factor at a time, each from the newest means of the others",
            ),
            Bug(
                "cavi-covariance",
                "The covariance where the precision is meant.",
                _by_covariance,
                name="covariance for precision",
                symptom="fixed point right, path wrong, and slower or faster than it should be",
                place="the matrix of the update",
                cure="m_i - sum_{j != i} L_ij (z_j - m_j)/L_ii, with the precision L",
            ),
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
                name="prior tempered too",
                symptom="at beta = 0 the covariance is infinite, not the prior's",
                place="what beta multiplies",
                cure="the likelihood only: precision I + beta W^T W/sigma^2",
            ),
            Bug(
                "tempered-mean-unscaled",
                "beta in the covariance only.",
                lambda w, x, b: (tempered_posterior(w, x, b)[0] / b, tempered_posterior(w, x, b)[1]),
                name="mean not tempered",
                symptom="at beta = 0 the mean is not the prior's 0",
                place="beta in front of the data's term of the mean",
                cure="mean = cov beta W^T (x - mu)/sigma^2",
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
                name="noise too weak",
                symptom="annealed weights biased",
                place="the factor of the noise",
                cure="sqrt(1 - rho^2) in front of the noise",
            ),
            Bug(
                "tempered-step-no-recentring",
                "rho z + noise: the chain forgets the mean and settles around 0.",
                lambda w, x, z, b, r, e: tempered_step(w, x, z, b, r, e) - (1 - r) * tempered_posterior(w, x, b)[0],
                name="mean forgotten",
                symptom="the chain settles at the wrong place, and annealed weights are biased",
                place="the point towards which it relaxes",
                cure="mean + rho (z - mean) + sqrt(1 - rho^2) noise",
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
                name="weighed after the move",
                symptom="biased, less so with many temperatures",
                place="the order of weighing and moving",
                cure="weigh at the old point, then move at the new temperature",
            ),
            Bug(
                "ais-whole-power",
                "beta_t log p(x | z) where the difference beta_t - beta_{t-1} is meant.",
                _whole_powers,
                name="whole power for a difference",
                symptom="falls without limit as temperatures are added",
                place="the power of the likelihood in each weight",
                cure="(beta_t - beta_{t-1}) log p(x | z)",
            ),
        ),
    ),
)

SLIPS = {
    "posterior-mean-likelihood": Slip(
        "The mean likelihood under the posterior taken for the evidence.",
        name="averaged under the posterior",
        holds="the evidence averages the likelihood under the prior",
        misleads="a posterior that equals the prior",
    ),
    "best-completion": Slip(
        "The likeliest value of what was not seen, in place of the sum over all values.",
        name="best value for the sum",
        holds="what was not seen is summed over, sum_z p(x, z)",
        misleads="one value that holds nearly all the mass",
    ),
    "average-under-the-prior": Slip(
        "Fisher's identity with causes from the prior, which have not looked at x.",
        name="causes from the prior",
        holds="Fisher's identity: grad log p(x) = E of grad log p(x, z) under p(z | x)",
        misleads="data that say little about their cause",
    ),
    "marginal-sum-of-logs": Slip(
        "The sum over latents taken outside the logarithm.",
        name="sum of the logs",
        holds="log sum_z p(x, z): the sum stands inside",
        misleads="with one latent value",
    ),
    "no-noise-in-the-covariance": Slip(
        "The decoder's noise left out of the covariance of x.",
        name="noise left out",
        holds="Cov x = W W^T + sigma^2 I",
        misleads="with little noise",
    ),
    "likelihood-variance-for-sigma": Slip(
        "The variance handed over where the standard deviation is meant.",
        name="variance for deviation",
        holds="torch's Normal takes the standard deviation",
        misleads="at sigma = 1",
    ),
    "posterior-without-prior": Slip(
        "The decoder inverted by least squares: no shrinkage towards the prior.",
        name="no shrinkage",
        holds="the posterior's precision is I + W^T W/sigma^2",
        misleads="with little noise, when the prior hardly counts",
    ),
    "kl-for-chi": Slip(
        "The variance of a weight taken for a KL divergence; it is a chi-squared.",
        name="KL for chi-squared",
        holds="the relative variance of a weight is chi^2(p || q)",
        misleads="near p = q, where chi^2 is about 2 KL",
    ),
    "is-cost-linear": Slip(
        "The price of prior sampling taken to be linear in the posterior's precision.",
        name="cost linear in the precision",
        holds="with d latents it grows like the power d/2 of the posterior's precision",
        misleads="with two latents, where the power is one",
    ),
    "tail-of-the-other-law": Slip(
        "The tail index of the weights computed with target and proposal exchanged.",
        name="tail of the other law",
        holds="for a proposal of deviation s < 1 and a unit target P(w > t) falls like t^(-1/(1 - s^2))",
        misleads="with s near 1 both indices are large",
    ),
    "jensen-for-a-convex-function": Slip(
        "Jensen's inequality in the direction of the logarithm, for the exponential.",
        name="Jensen turned round",
        holds="E exp(X) >= exp(E X), as exp is convex",
        misleads="for a variable that hardly varies",
    ),
    "jensen-gap-without-half": Slip(
        "The bias of a logarithm quoted as the relative variance, not half of it.",
        name="gap without its half",
        holds="E log w is about log E w - Var(w)/(2 (E w)^2)",
        misleads="its order is right",
    ),
    "entropy-counted-thrice": Slip(
        "The entropy added where it is in the sum already.",
        name="entropy added again",
        holds="E_q log p(x, z) + H(q): once",
        misleads="its gradient still points to wider q",
    ),
    "gap-to-the-prior": Slip(
        "The bound's gap taken for the KL to the prior: that is the rate.",
        name="gap taken for the rate",
        holds="log p(x) - ELBO = KL(q || posterior); the KL to the prior is the rate",
        misleads="with a likelihood that says nothing, where posterior and prior agree",
    ),
    "principle-kl-reversed": Slip(
        "The variational principle with the KL's arguments exchanged.",
        name="KL the other way round",
        holds="the ELBO is lowered by KL(q || posterior), averaged under q",
        misleads="near the optimum both are small",
    ),
    "elbo-plus-kl": Slip(
        "Reconstruction plus KL to the prior.",
        name="KL added",
        holds="reconstruction minus KL(q || prior)",
        misleads="when losses and bounds are mixed",
    ),
    "update-with-the-joint": Slip(
        "Factors set to the marginals of the target: optimal for the other KL.",
        name="marginals as factors",
        holds="log q_i = E_{others} log p(x, z) + const; marginals are best for KL(p || q)",
        misleads="with independent coordinates",
    ),
    "gap-with-marginals": Slip(
        "The mean-field gap computed for the marginal variances.",
        name="gap with marginal variances",
        holds="the best factors have the conditional variances, 1/precision_ii",
        misleads="with weak correlations",
    ),
    "directions-exchanged": Slip(
        "Marginal variances for reverse KL, conditional ones for forward KL.",
        name="two directions exchanged",
        holds="KL(q || p) gives conditional variances, KL(p || q) marginal ones",
        misleads="with independent coordinates",
    ),
    "fourth-moment-without-six": Slip(
        "E z^4 = m^4 + m^2 v + 3 v^2: the factor 6 is missing.",
        name="6 forgotten",
        holds="E z^4 = m^4 + 6 m^2 v + 3 v^2",
        misleads="at mean zero",
    ),
    "mixture-without-label-entropy": Slip(
        "A mixture's bound without the entropy of the assignments.",
        name="no entropy of the labels",
        holds="add -sum r log r over the responsibilities r",
        misleads="with sure assignments, whose entropy is nearly zero",
    ),
    "mixture-plug-in-weights": Slip(
        "log E pi for E log pi in a mixture's bound.",
        name="log E for E log",
        holds="E log pi_k = digamma(a_k) - digamma(sum a)",
        misleads="with many data",
    ),
    "mixture-no-label-switching": Slip(
        "A factorised q taken to cover every labelling of a mixture.",
        name="one q covers all labellings",
        holds="a factorised q covers one of the K! labellings: the gap holds up to log K!",
        misleads="with well separated clusters predictions do not suffer",
    ),
    "natural-gradient-plain": Slip(
        "The plain gradient, not divided by the Fisher information.",
        name="plain gradient",
        holds="divide by the Fisher information: F^{-1} gradient",
        misleads="where the information is near one",
    ),
    "samples-held-constant": Slip(
        "Draws treated as constants: the gradient in their law is lost.",
        name="draws held constant",
        holds="reparameterise: the draws move with the parameters",
        misleads="the remaining gradient is not zero, only another",
    ),
    "implicit-gradient-sign": Slip(
        "The minus of implicit differentiation dropped.",
        name="minus forgotten",
        holds="dz/dtheta = -(dF/dtheta)/(dF/dz)",
        misleads="its size is right",
    ),
    "pathwise-always-better": Slip(
        "The variances of the two gradients of a sine exchanged.",
        name="pathwise always wins",
        holds="for a fast sine the score function's variance is the smaller",
        misleads="for smooth integrands pathwise does win",
    ),
    "score-term-kept": Slip(
        "The score of q kept in the pathwise gradient, where it is pure noise.",
        name="score kept in the path",
        holds="its mean is zero: drop it, and the noise vanishes as q nears the posterior",
        misleads="means agree, so only the variance tells",
    ),
    "one-q-for-all": Slip(
        "One variational law for all data.",
        name="one law for all data",
        holds="each datum has its own posterior, q(z | x)",
        misleads="with data that say little",
    ),
    "amortisation-euclidean": Slip(
        "An encoder's error measured without the posterior's precision.",
        name="error not scaled",
        holds="a mean off by delta costs delta^T precision delta/2",
        misleads="at precision one",
    ),
    "amortisation-more-data-worse": Slip(
        "The amortisation gap taken to grow with the training set.",
        name="gap grows with data",
        holds="on fresh data the gap falls as the training set grows",
        misleads="on the training set, which an encoder learns by heart as long as it is small",
    ),
    "ais-no-gap": Slip(
        "log w of annealing taken to be unbiased for log p(x).",
        name="log w unbiased",
        holds="E w = p(x), so E log w <= log p(x)",
        misleads="with many temperatures the gap is small",
    ),
    "ais-gap-reversed": Slip(
        "The gap of annealing upwards computed with the KLs of the way down.",
        name="gap of the way down",
        holds="the gap of the way up sums KL(p_{t-1} || p_t)",
        misleads="with fine steps both agree",
    ),
    "ais-gap-quadratic": Slip(
        "The gap of annealing taken to fall like 1/T^2.",
        name="gap like 1/T^2",
        holds="the gap falls like 1/T",
        misleads="both vanish in the end",
    ),
    "ais-gap-root": Slip(
        "The gap of annealing taken to fall like 1/sqrt(T).",
        name="gap like 1/sqrt(T)",
        holds="the gap falls like 1/T",
        misleads="both vanish in the end",
    ),
    "thermodynamic-posterior-only": Slip(
        "The mean log-likelihood under the posterior, for the integral over temperatures.",
        name="posterior's end only",
        holds="log p(x) is the integral of the mean log-likelihood over beta from 0 to 1",
        misleads="it is an upper bound: the mean rises with beta",
    ),
    "thermodynamic-prior-only": Slip(
        "The mean log-likelihood under the prior, for the integral over temperatures.",
        name="prior's end only",
        holds="log p(x) is the integral of the mean log-likelihood over beta from 0 to 1",
        misleads="it is a lower bound: the mean rises with beta",
    ),
    "sign-of-the-determinant": Slip(
        "The log-determinant of the posterior added where it is subtracted.",
        name="sign of the determinant",
        holds="at the mode log p(x, z) = log p(x) - (1/2) log det(2 pi S), S the covariance of the posterior",
        misleads="where det(2 pi S) is one",
    ),
}
