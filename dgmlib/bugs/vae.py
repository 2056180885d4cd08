"""Wrong variants of `dgmlib.vae` (chapter 09)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
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
                "(k - 1)/2 for q = prior",
                "subtract 1 for each coordinate",
            ),
            Bug(
                "E0-43",
                "The standard deviation stands where the variance belongs.",
                lambda mean, log_var: 0.5 * (mean.square() + (0.5 * log_var).exp() - 1 - 0.5 * log_var).sum(-1),
                "right only at unit variance",
                "exp(log_var) is the variance",
            ),
            Bug(
                "vae-kl-squared-log-variance",
                "`logvar**2` for the variance (keras #3383).",
                lambda mean, log_var: 0.5 * (mean.square() + log_var.square() - 1 - log_var).sum(-1),
                "-1/2 a coordinate for q = prior",
                "exp(log_var)",
            ),
            Bug(
                "vae-kl-mean",
                "Mean over latent coordinates for their sum (keras-io #270): the KL weighted by 1/k.",
                lambda mean, log_var: kl_standard_normal(mean, log_var) / mean.shape[-1],
                "halves when an idle coordinate is added to one",
                "sum over coordinates, mean over the batch",
            ),
            Bug(
                "vae-kl-batch-sum",
                "Summed over the batch too (podgorskiy/VAE #1): its weight depends on the batch size.",
                lambda mean, log_var: kl_standard_normal(mean, log_var).sum(),
                "doubles with the batch",
                "one value per example",
            ),
            Bug(
                "vae-kl-negative",
                "-KL, logged as KL (AntixK/PyTorch-VAE #68).",
                lambda mean, log_var: -kl_standard_normal(mean, log_var),
                "negative values",
                "mean^2 + var - 1 - log_var",
            ),
            Bug(
                "vae-kl-reversed",
                "KL(p || q): prior and encoder exchanged.",
                lambda mean, log_var: 0.5 * ((mean.square() + 1) * (-log_var).exp() - 1 + log_var).sum(-1),
                "explodes for a narrow q",
                "average under q",
            ),
            Bug(
                "vae-kl-no-half",
                "The half is lost: beta = 2 without saying so.",
                lambda mean, log_var: 2 * kl_standard_normal(mean, log_var),
                "twice a Monte Carlo estimate",
                "halve it",
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
                "above log p(x), and unbounded",
                "subtract the KL",
            ),
            Bug(
                "E0-40",
                "E_q[log p(x, z)] - KL: the joint already holds the prior, which now counts twice.",
                _prior_twice,
                "below log p(x) even at the exact posterior",
                "log p(x | z) beside the KL",
            ),
            Bug(
                "E0-26",
                "log E_q[p(x | z)] - KL: the log outside the average.",
                _log_outside,
                "may exceed log p(x)",
                "average the logs",
            ),
            Bug(
                "vae-no-trace",
                "Decoded at the mean code: nothing is paid for the spread of q.",
                _without_trace,
                "above log p(x); variances stay at those of the prior",
                "average over draws, or add sum_j var_j |w_j|^2",
            ),
            Bug(
                "vae-mean-over-pixels",
                "The likelihood is averaged over pixels, the KL is not (`mse_loss`): sigma^2 times d.",
                _mean_over_pixels,
                "every latent dies",
                "sum over pixels",
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
                "the draws' variance is the square of what the KL charges for",
                "exp(log_var / 2)",
            ),
            Bug(
                "vae-one-noise",
                "One noise vector for the whole batch, broadcast.",
                _one_noise,
                "loss looks normal; the gradient's variance does not fall with the batch size",
                "noise in the shape of the batch",
            ),
            Bug(
                "vae-no-noise",
                "The mean code is decoded.",
                lambda mean, log_var, k, generator: mean.expand(k, *mean.shape),
                "an autoencoder with a penalty; no bound",
                "draw",
            ),
            Bug(
                "vae-log-var-as-sd",
                "log_var itself multiplies the noise.",
                lambda mean, log_var, k, generator: (
                    mean + log_var * _drawn(torch.zeros_like(mean), torch.zeros_like(mean), k, generator)
                ),
                "no noise at unit variance",
                "exp(log_var / 2)",
            ),
        ),
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
                "grows like log K",
                "subtract log K inside",
            ),
            Bug(
                "vae-renyi-order",
                "The power is alpha instead of 1 - alpha.",
                lambda log_w, alpha: log_mean_exp(alpha * log_w, 0) / alpha if alpha else log_w.mean(0),
                "alpha = 0 gives the ELBO",
                "w^(1 - alpha)",
            ),
            Bug(
                "vae-renyi-no-root",
                "Not divided by 1 - alpha.",
                lambda log_w, alpha: log_mean_exp((1 - alpha) * log_w, 0),
                "right at alpha = 0 only",
                "take the root",
            ),
            Bug(
                "vae-mean-of-logs",
                "Mean of the log weights: the ELBO, whatever alpha (generative-tf #1).",
                lambda log_w, alpha: log_w.mean(0),
                "does not tighten with K",
                "average the weights, then take the log",
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
                "no unit ever dies",
                "log(l/sigma^2)/2 above water",
            ),
            Bug(
                "vae-water-drops",
                "Coded directions are taken to be perfect: their error sigma^2 each is forgotten.",
                _drops,
                "distortion 0 when all are coded",
                "add sigma^2 for each coded direction",
            ),
            Bug(
                "vae-water-never-dry",
                "Every direction is coded, also those below the level.",
                _never_dry,
                "negative rates",
                "only l > sigma^2",
            ),
            Bug(
                "vae-water-sd",
                "sigma for sigma^2: the level is the square root.",
                lambda eigenvalues, noise_var: water_filling(eigenvalues, math.sqrt(noise_var)),
                "too few units below a level of one, too many above it",
                "the level is the variance",
            ),
        ),
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
                "far too low between clusters",
                "log of the mean density",
            ),
            Bug(
                "vae-aggregate-sum",
                "Sum over the data for their mean.",
                lambda z, mean, log_var: aggregate_log_prob(z, mean, log_var) + math.log(len(mean)),
                "integrates to N",
                "subtract log N",
            ),
            Bug(
                "vae-aggregate-prior",
                "The prior in its place.",
                lambda z, mean, log_var: -0.5 * (LOG_2PI + z.square()).sum(-1),
                "no holes",
                "average the encoder's laws",
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
                "a density that integrates to less than one half",
                "add the log of the constant",
            ),
            Bug(
                "continuous-bernoulli-sign",
                "The integral for its inverse.",
                lambda logits: -continuous_bernoulli_log_norm(logits),
                "integrates to even less",
                "log C = -log of the integral",
            ),
            Bug(
                "continuous-bernoulli-logit",
                "tanh of the whole logit.",
                lambda logits: continuous_bernoulli_log_norm(2 * logits),
                "right at p = 1/2 only",
                "halve the logit",
            ),
        ),
    ),
)

SLIPS = {
    "decoder-columns-for-rows": "The decoder's matrix applied by columns: pixel i reads the weights of latent i.",
    "vae-mean-for-sum": "The mean loss taken for the sum over the data set.",
    "log-of-the-mean-likelihood": "The log of the mean likelihood for the mean of its logs: no term of the ELBO.",
    "ppca-mean-over-all": "The noise variance as the mean of all eigenvalues, not of the discarded ones.",
    "posterior-marginal-variance": "The posterior's marginal variances for the best diagonal ones, which are narrower.",
    "activity-unnormalised": "The variance that the decoder adds, taken for that of the mean codes.",
    "vae-sum-for-mean": "A sum where a mean is meant: over pixels in a variance, over weights in an estimate.",
    "plug-in-mean-codes": "Errors measured at the mean code, without the spread of q.",
    "grid-axes-exchanged": "The two axes of the latent grid exchanged.",
    "grid-one-spacing": "The cell of a plane's grid as one spacing, not its square.",
    "entropy-of-one-coordinate": "The entropy of one latent for that of two.",
    "weight-without-prior": "The weight p(x | z)/q(z | x): the prior is forgotten.",
    "streaming-mean-of-chunks": "Streamed weights divided by the chunk's size instead of the number of samples.",
    "iwae-gap-without-half": "The gap of the K-sample bound without its half.",
    "dreg-weights-not-squared": "The encoder's path weighted by the normalised weights, not by their squares.",
    "ex-post-all-of-the-misfit": "A fitted prior taken for perfect: the gain is the misfit minus what the fit leaves.",
    "ex-post-one-gaussian": "One Gaussian fitted to codes that lie in clusters.",
    "beta-scales-deviation": "Beta taken to scale the standard deviation of the decoder, not its variance.",
    "batch-noise-exchanged": "Shared noise expected to average out over the batch like fresh noise, or the reverse.",
    "rotation-is-free": "A rotation of the latents taken to cost a diagonal encoder nothing.",
    "rotation-half": "The price of a rotation halved.",
}
