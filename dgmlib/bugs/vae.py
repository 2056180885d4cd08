"""Wrong variants of `dgmlib.vae` (chapter 09)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.vae import (
    aggregate_log_prob,
    continuous_bernoulli_log_norm,
    kl_standard_normal,
    linear_elbo,
    renyi_bound,
    reparameterise,
    water_filling,
)
from dgmlib.vi import log_mean_exp
from dgmlib.worlds import LOG_2PI, LinearGaussian

CHAPTER = "09"


def _rows(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


MEAN, LOG_VAR = _rows((0.5, -1.0, 2.0), (0.1, 0.3, -0.4)), _rows((-0.7, 0.7, 0.1), (-2.0, 0.4, -0.3))
WORLD = LinearGaussian([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5]], [0.1, -0.2, 0.3], 0.6)
POINTS = _rows((1.0, -0.5, 0.8), (0.0, 2.0, -1.0))
LOG_WEIGHTS = _rows((-3.0, -1.0), (-2.0, -4.0), (-7.0, -1.5))


# --- variants that need more than one expression --------------------------------------------------------------------


def _parts(world: LinearGaussian, x: Tensor, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    kl = kl_standard_normal(mean, log_var)
    return linear_elbo(world, x, mean, log_var) + kl, kl


def _prior_twice(world: LinearGaussian, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    log_prior = -0.5 * (LOG_2PI + mean.square() + log_var.exp()).sum(-1)
    return linear_elbo(world, x, mean, log_var) + log_prior


def _log_outside(world: LinearGaussian, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    cov = world.noise_std**2 * torch.eye(world.d, dtype=x.dtype)
    smeared = cov + world.weight @ torch.diag_embed(log_var.exp()) @ world.weight.T
    law = torch.distributions.MultivariateNormal(world.mean + mean @ world.weight.T, smeared)
    return law.log_prob(x) - kl_standard_normal(mean, log_var)


def _without_trace(world: LinearGaussian, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    trace = log_var.exp() @ world.weight.square().sum(0) / (2 * world.noise_std**2)
    return linear_elbo(world, x, mean, log_var) + trace


def _mean_over_pixels(world: LinearGaussian, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    log_lik, kl = _parts(world, x, mean, log_var)
    return log_lik / world.d - kl


def _drawn(mean: Tensor, log_var: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    return reparameterise(mean, log_var, n_samples, generator=generator)


def _one_noise(mean: Tensor, log_var: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    noise = _drawn(torch.zeros_like(mean), torch.zeros_like(log_var), n_samples, generator)
    return mean + (0.5 * log_var).exp() * noise[:, :1]


def _half_log(eigenvalues: Tensor, noise_var: float) -> tuple[Tensor, Tensor]:
    return 0.5 * (1 + eigenvalues / noise_var).log().sum(), water_filling(eigenvalues, noise_var)[1]


def _drops(eigenvalues: Tensor, noise_var: float) -> tuple[Tensor, Tensor]:
    rate, _ = water_filling(eigenvalues, noise_var)
    return rate, eigenvalues[eigenvalues <= noise_var].sum()


def _never_dry(eigenvalues: Tensor, noise_var: float) -> tuple[Tensor, Tensor]:
    every = torch.full_like(eigenvalues, noise_var)
    return 0.5 * (eigenvalues / noise_var).log().sum(), every.sum()


SUBJECTS = (
    Subject(
        "vae-kl",
        kl_standard_normal,
        ((MEAN, LOG_VAR),),
        (
            Bug(
                "E0-29",
                "The prior is written N(0, 1), and a single 1 is subtracted for all coordinates together.",
                lambda mean, log_var: 0.5 * ((mean.square() + log_var.exp() - log_var).sum(-1) - 1),
                name="one 1 for all coordinates",
                symptom="(k - 1)/2 for q = prior",
                place="the constant -1",
                cure="subtract 1 for each coordinate: sum_j (m_j^2 + v_j - 1 - log v_j)/2",
            ),
            Bug(
                "E0-43",
                "The standard deviation stands where the variance belongs.",
                lambda mean, log_var: 0.5 * (mean.square() + (0.5 * log_var).exp() - 1 - 0.5 * log_var).sum(-1),
                name="deviation for variance",
                symptom="right only at unit variance",
                place="the reading of log_var",
                cure="exp(log_var) is the variance, exp(log_var / 2) the deviation",
            ),
            Bug(
                "vae-kl-squared-log-variance",
                "`logvar**2` for the variance (keras #3383).",
                lambda mean, log_var: 0.5 * (mean.square() + log_var.square() - 1 - log_var).sum(-1),
                name="squared log-variance",
                symptom="-1/2 a coordinate for q = prior",
                place="the variance term",
                cure="exp(log_var)",
            ),
            Bug(
                "vae-kl-mean",
                "Mean over latent coordinates for their sum (keras-io #270): the KL weighted by 1/k.",
                lambda mean, log_var: kl_standard_normal(mean, log_var) / mean.shape[-1],
                name="mean over coordinates",
                symptom="halves when an idle coordinate is added to one",
                place="the reduction over coordinates",
                cure="sum over coordinates, mean over the batch",
            ),
            Bug(
                "vae-kl-batch-sum",
                "Summed over the batch too (podgorskiy/VAE #1): its weight depends on the batch size.",
                lambda mean, log_var: kl_standard_normal(mean, log_var).sum(),
                name="summed over the batch",
                symptom="doubles with the batch",
                place="the reduction over the batch",
                cure="one value per example",
            ),
            Bug(
                "vae-kl-negative",
                "-KL, logged as KL (AntixK/PyTorch-VAE #68).",
                lambda mean, log_var: -kl_standard_normal(mean, log_var),
                name="sign turned",
                symptom="negative values",
                place="the sign of the whole",
                cure="sum_j (m_j^2 + v_j - 1 - log v_j)/2, which is never negative",
            ),
            Bug(
                "vae-kl-reversed",
                "KL(p || q): prior and encoder exchanged.",
                lambda mean, log_var: 0.5 * ((mean.square() + 1) * (-log_var).exp() - 1 + log_var).sum(-1),
                name="laws exchanged",
                symptom="explodes for a narrow q",
                place="the order of the two laws",
                cure="average under q: KL(q(z | x) || p(z))",
            ),
            Bug(
                "vae-kl-no-half",
                "The half is lost: beta = 2 without saying so.",
                lambda mean, log_var: 2 * kl_standard_normal(mean, log_var),
                name="half lost",
                symptom="twice a Monte Carlo estimate",
                place="the factor in front of the sum",
                cure="halve it: sum_j (m_j^2 + v_j - 1 - log v_j)/2",
            ),
        ),
    ),
    Subject(
        "vae-linear-elbo",
        linear_elbo,
        ((WORLD, POINTS, MEAN[:, :2], LOG_VAR[:, :2]),),
        (
            Bug(
                "E1-07",
                "+ KL: the objective rewards running away from the prior.",
                lambda *q: sum(_parts(*q)),
                name="KL added",
                symptom="above log p(x), and unbounded",
                place="the sign of the KL",
                cure="subtract the KL: E_q log p(x | z) - KL",
            ),
            Bug(
                "E0-40",
                "E_q[log p(x, z)] - KL: the joint already holds the prior, which now counts twice.",
                _prior_twice,
                name="prior counted twice",
                symptom="below log p(x) even at the exact posterior",
                place="the joint inside the average",
                cure="log p(x | z) beside the KL, or log p(x, z) beside the entropy of q",
            ),
            Bug(
                "E0-26",
                "log E_q[p(x | z)] - KL: the log outside the average.",
                _log_outside,
                name="logarithm outside the average",
                symptom="may exceed log p(x)",
                place="the order of average and logarithm",
                cure="average the logs: E_q log p(x | z)",
            ),
            Bug(
                "vae-no-trace",
                "Decoded at the mean code: nothing is paid for the spread of q.",
                _without_trace,
                name="mean code decoded",
                symptom="above log p(x); variances stay at those of the prior",
                place="the spread of q in the reconstruction",
                cure="average over draws, or subtract sum_j var_j |w_j|^2/(2 sigma^2)",
            ),
            Bug(
                "vae-mean-over-pixels",
                "The likelihood is averaged over pixels, the KL is not (`mse_loss`): sigma^2 times d.",
                _mean_over_pixels,
                name="mean over pixels",
                symptom="every latent dies",
                place="the reduction over pixels",
                cure="sum over pixels, mean over the batch",
            ),
        ),
    ),
    Subject(
        "vae-reparameterise",
        _drawn,
        ((MEAN, LOG_VAR, 2, torch.Generator().manual_seed(0)),),
        (
            Bug(
                "E0-43",
                "sigma for sigma^2: exp(log_var) used as the standard deviation.",
                lambda mean, log_var, k, generator: _drawn(mean, 2 * log_var, k, generator),
                name="variance as deviation",
                symptom="the draws' variance is the square of what the KL charges for",
                place="the factor of the noise",
                cure="exp(log_var / 2)",
            ),
            Bug(
                "vae-one-noise",
                "One noise vector for the whole batch, broadcast.",
                _one_noise,
                name="one noise for the batch",
                symptom="loss looks normal; the gradient's variance does not fall with the batch size",
                place="the shape of the noise",
                cure="noise in the shape of the batch, a fresh row for each datum",
            ),
            Bug(
                "vae-no-noise",
                "The mean code is decoded.",
                lambda mean, log_var, k, generator: mean.expand(k, *mean.shape),
                name="no noise",
                symptom="an autoencoder with a penalty; no bound",
                place="the added term of the draw",
                cure="draw: mean + exp(log_var / 2) eps",
            ),
            Bug(
                "vae-log-var-as-sd",
                "log_var itself multiplies the noise.",
                lambda mean, log_var, k, generator: (
                    mean + log_var * _drawn(torch.zeros_like(mean), torch.zeros_like(mean), k, generator)
                ),
                name="log-variance as deviation",
                symptom="no noise at unit variance",
                place="the factor of the noise",
                cure="exp(log_var / 2)",
            ),
        ),
        of=reparameterise,
    ),
    Subject(
        "vae-renyi",
        renyi_bound,
        ((LOG_WEIGHTS, 0.5), (LOG_WEIGHTS, -1.0), (LOG_WEIGHTS, 0.0)),
        (
            Bug(
                "vae-no-log-k",
                "Sum for mean: log K too high (AntixK/PyTorch-VAE #34).",
                lambda log_w, alpha: ((1 - alpha) * log_w).logsumexp(0) / (1 - alpha),
                name="log K forgotten",
                symptom="grows like log K",
                place="the mean over weights",
                cure="subtract log K inside",
            ),
            Bug(
                "vae-renyi-order",
                "The power is alpha instead of 1 - alpha.",
                lambda log_w, alpha: log_mean_exp(alpha * log_w, 0) / alpha if alpha else log_w.mean(0),
                name="order alpha for 1 - alpha",
                symptom="alpha = 0 gives the ELBO",
                place="the power of the weights",
                cure="log mean w^(1 - alpha)/(1 - alpha)",
            ),
            Bug(
                "vae-renyi-no-root",
                "Not divided by 1 - alpha.",
                lambda log_w, alpha: log_mean_exp((1 - alpha) * log_w, 0),
                name="root not taken",
                symptom="right at alpha = 0 only",
                place="the division at the end",
                cure="divide by 1 - alpha",
            ),
            Bug(
                "vae-mean-of-logs",
                "Mean of the log weights: the ELBO, whatever alpha (generative-tf #1).",
                lambda log_w, alpha: log_w.mean(0),
                name="mean of the logs",
                symptom="does not tighten with K",
                place="the order of mean and logarithm",
                cure="average the weights, then take the log",
            ),
        ),
    ),
    Subject(
        "vae-water",
        lambda eigenvalues, noise_var: water_filling(eigenvalues, noise_var),
        ((_rows((4.0, 2.0, 0.5, 0.1))[0], 0.6),),
        (
            Bug(
                "vae-water-half-log",
                "log(1 + l/sigma^2)/2 a unit: the capacity of a channel, not the rate of this code.",
                _half_log,
                name="a channel's capacity",
                symptom="no unit ever dies",
                place="the argument of the logarithm",
                cure="log(l/sigma^2)/2 for each l above the level, 0 below it",
            ),
            Bug(
                "vae-water-drops",
                "Coded directions are taken to be perfect: their error sigma^2 each is forgotten.",
                _drops,
                name="coded means perfect",
                symptom="distortion 0 when all are coded",
                place="the error of the coded directions",
                cure="add sigma^2 for each coded direction",
            ),
            Bug(
                "vae-water-never-dry",
                "Every direction is coded, also those below the level.",
                _never_dry,
                name="nothing below water",
                symptom="negative rates",
                place="the directions below the level",
                cure="only l > sigma^2 are coded, all others cost nothing and lose l",
            ),
            Bug(
                "vae-water-sd",
                "sigma for sigma^2: the level is the square root.",
                lambda eigenvalues, noise_var: water_filling(eigenvalues, math.sqrt(noise_var)),
                name="deviation as the level",
                symptom="too few units below a level of one, too many above it",
                place="the height of the level",
                cure="the level is the variance sigma^2",
            ),
        ),
        of=water_filling,
    ),
    Subject(
        "vae-aggregate",
        aggregate_log_prob,
        ((_rows((0.0, 0.0, 1.0), (0.3, -1.0, 0.0)), MEAN, LOG_VAR),),
        (
            Bug(
                "vae-aggregate-mean-of-logs",
                "Mean of the log densities: a product of experts, not a mixture.",
                lambda z, mean, log_var: torch.stack(
                    [
                        torch.distributions.Normal(m, (0.5 * s).exp()).log_prob(z).sum(-1)
                        for m, s in zip(mean, log_var, strict=True)
                    ]
                ).mean(0),
                name="mean of the logs",
                symptom="far too low between clusters",
                place="the order of mean and logarithm",
                cure="log of the mean density: logsumexp over the data, minus log N",
            ),
            Bug(
                "vae-aggregate-sum",
                "Sum over the data for their mean.",
                lambda z, mean, log_var: aggregate_log_prob(z, mean, log_var) + math.log(len(mean)),
                name="log N forgotten",
                symptom="integrates to N",
                place="the mean over data",
                cure="subtract log N",
            ),
            Bug(
                "vae-aggregate-prior",
                "The prior in its place.",
                lambda z, mean, log_var: -0.5 * (LOG_2PI + z.square()).sum(-1),
                name="prior in its place",
                symptom="no holes between the clusters of codes, and no misfit ever",
                place="the law that is averaged",
                cure="average the encoder's laws: (1/N) sum_n q(z | x_n)",
            ),
        ),
    ),
    Subject(
        "continuous-bernoulli",
        continuous_bernoulli_log_norm,
        ((_rows((0.0, 0.4, -3.0, 12.0)),),),
        (
            Bug(
                "E0-32",
                "No constant at all: grey values are fed to a Bernoulli.",
                torch.zeros_like,
                name="no constant",
                symptom="a density that integrates to less than one half",
                place="the normaliser",
                cure="add log C(p), log of 2 artanh(1 - 2p)/(1 - 2p), which is log 2 at p = 1/2",
            ),
            Bug(
                "continuous-bernoulli-sign",
                "The integral for its inverse.",
                lambda logits: -continuous_bernoulli_log_norm(logits),
                name="constant upside down",
                symptom="integrates to even less",
                place="the sign of the log-constant",
                cure="log C = -log of the integral of p^x (1 - p)^(1 - x)",
            ),
            Bug(
                "continuous-bernoulli-logit",
                "tanh of the whole logit.",
                lambda logits: continuous_bernoulli_log_norm(2 * logits),
                name="logit not halved",
                symptom="right at p = 1/2 only",
                place="the argument of tanh",
                cure="halve the logit: C = 2 u/tanh u with u = logit/2",
            ),
        ),
    ),
)

SLIPS = {
    "decoder-columns-for-rows": Slip(
        "The decoder's matrix applied by columns: pixel i reads the weights of latent i.",
        name="matrix by columns",
        holds="pixel i reads row i of W: x = W z + b",
        misleads="with square W it runs",
    ),
    "vae-mean-for-sum": Slip(
        "The mean loss taken for the sum over the data set.",
        name="mean for sum",
        holds="the sum over the data set is N times the mean",
        misleads="as an objective both have the same optimum",
    ),
    "log-of-the-mean-likelihood": Slip(
        "The log of the mean likelihood for the mean of its logs: no term of the ELBO.",
        name="log of the mean",
        holds="the ELBO holds the mean of the logs, which is no more",
        misleads="with a sure encoder both agree",
    ),
    "ppca-mean-over-all": Slip(
        "The noise variance as the mean of all eigenvalues, not of the discarded ones.",
        name="mean over all eigenvalues",
        holds="the noise variance is the mean of the discarded eigenvalues",
        misleads="with eigenvalues nearly equal",
    ),
    "posterior-marginal-variance": Slip(
        "The posterior's marginal variances for the best diagonal ones, which are narrower.",
        name="marginal for best diagonal",
        holds="the best diagonal q has variances 1/(precision)_jj, the conditional ones",
        misleads="with a diagonal posterior",
    ),
    "activity-unnormalised": Slip(
        "The variance that the decoder adds, taken for that of the mean codes.",
        name="variance added by the decoder",
        holds="the mean code's variance is 1 - sigma^2/l, that of what the decoder adds l - sigma^2",
        misleads="both are zero for a dead unit",
    ),
    "vae-sum-for-mean": Slip(
        "A sum where a mean is meant: over pixels in a variance, over weights in an estimate.",
        name="sum for mean",
        holds="a variance is a mean of squares, and an estimate a mean of weights",
        misleads="the optimum over other parameters is the same",
    ),
    "plug-in-mean-codes": Slip(
        "Errors measured at the mean code, without the spread of q.",
        name="errors at the mean code",
        holds="average over draws of q, which adds the spread through the decoder",
        misleads="reconstructions look better than the bound says",
    ),
    "grid-axes-exchanged": Slip(
        "The two axes of the latent grid exchanged.",
        name="axes exchanged",
        holds="read the table with its axes in the order in which they were built",
        misleads="with tables that are symmetric",
    ),
    "grid-one-spacing": Slip(
        "The cell of a plane's grid as one spacing, not its square.",
        name="one spacing for a cell",
        holds="a cell's area is the spacing squared",
        misleads="at spacing one",
    ),
    "entropy-of-one-coordinate": Slip(
        "The entropy of one latent for that of two.",
        name="one latent's entropy",
        holds="independent latents add: (k/2) log(2 pi e)",
        misleads="with one latent",
    ),
    "weight-without-prior": Slip(
        "The weight p(x | z)/q(z | x): the prior is forgotten.",
        name="prior forgotten in the weight",
        holds="w = p(x | z) p(z)/q(z | x)",
        misleads="with an encoder near the prior",
    ),
    "streaming-mean-of-chunks": Slip(
        "Streamed weights divided by the chunk's size instead of the number of samples.",
        name="divided by the chunk",
        holds="divide by the number of all samples, log K, once",
        misleads="with one chunk",
    ),
    "iwae-gap-without-half": Slip(
        "The gap of the K-sample bound without its half.",
        name="gap without its half",
        holds="the gap is about Var(w)/(2 K) for weights of mean one",
        misleads="its rate 1/K is right",
    ),
    "dreg-weights-not-squared": Slip(
        "The encoder's path weighted by the normalised weights, not by their squares.",
        name="weights not squared",
        holds="the doubly reparameterised gradient weighs the path by the squared normalised weights",
        misleads="with K = 1 both are one",
    ),
    "ex-post-all-of-the-misfit": Slip(
        "A fitted prior taken for perfect: the gain is the misfit minus what the fit leaves.",
        name="a perfect fit",
        holds="the gain is the misfit before minus the misfit after",
        misleads="with a flexible fit little is left",
    ),
    "ex-post-one-gaussian": Slip(
        "One Gaussian fitted to codes that lie in clusters.",
        name="one Gaussian for clusters",
        holds="fit a mixture: one Gaussian still draws between the clusters",
        misleads="mean and covariance come out right",
    ),
    "beta-scales-deviation": Slip(
        "Beta taken to scale the standard deviation of the decoder, not its variance.",
        name="beta on the deviation",
        holds="beta multiplies the decoder's variance",
        misleads="at beta = 1",
    ),
    "batch-noise-exchanged": Slip(
        "Shared noise expected to average out over the batch like fresh noise, or the reverse.",
        name="shared and fresh noise exchanged",
        holds="fresh noise averages out like 1/batch, shared noise does not",
        misleads="with a batch of one",
    ),
    "rotation-is-free": Slip(
        "A rotation of the latents taken to cost a diagonal encoder nothing.",
        name="rotation is free",
        holds="a diagonal encoder pays as soon as the posterior is not diagonal in the rotated axes",
        misleads="the prior and the decoder's law do not change",
    ),
    "rotation-half": Slip(
        "The price of a rotation halved.",
        name="price halved",
        holds="the price is (1/2)(sum_j log precision_jj - log det precision), whole",
        misleads="its order is right",
    ),
}
