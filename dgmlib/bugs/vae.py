"""Wrong variants of `dgmlib.vae` (chapter 09)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import subject
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
    subject(
        "vae-kl",
        kl_standard_normal,
        ((MEAN, LOG_VAR),),
        {
            "E0-29": lambda mean, log_var: 0.5 * ((mean.square() + log_var.exp() - log_var).sum(-1) - 1),
            "E0-43": lambda mean, log_var: 0.5 * (mean.square() + (0.5 * log_var).exp() - 1 - 0.5 * log_var).sum(-1),
            "vae-kl-squared-log-variance": lambda mean, log_var: (
                0.5 * (mean.square() + log_var.square() - 1 - log_var).sum(-1)
            ),
            "vae-kl-mean": lambda mean, log_var: kl_standard_normal(mean, log_var) / mean.shape[-1],
            "vae-kl-batch-sum": lambda mean, log_var: kl_standard_normal(mean, log_var).sum(),
            "vae-kl-negative": lambda mean, log_var: -kl_standard_normal(mean, log_var),
            "vae-kl-reversed": lambda mean, log_var: (
                0.5 * ((mean.square() + 1) * (-log_var).exp() - 1 + log_var).sum(-1)
            ),
            "vae-kl-no-half": lambda mean, log_var: 2 * kl_standard_normal(mean, log_var),
        },
    ),
    subject(
        "vae-linear-elbo",
        linear_elbo,
        ((WORLD, POINTS, MEAN[:, :2], LOG_VAR[:, :2]),),
        {
            "E1-07": lambda *q: sum(_parts(*q)),
            "E0-40": _prior_twice,
            "E0-26": _log_outside,
            "vae-no-trace": _without_trace,
            "vae-mean-over-pixels": _mean_over_pixels,
        },
    ),
    subject(
        "vae-reparameterise",
        _drawn,
        ((MEAN, LOG_VAR, 2, torch.Generator().manual_seed(0)),),
        {
            "E0-43": lambda mean, log_var, k, generator: _drawn(mean, 2 * log_var, k, generator),
            "vae-one-noise": _one_noise,
            "vae-no-noise": lambda mean, log_var, k, generator: mean.expand(k, *mean.shape),
            "vae-log-var-as-sd": lambda mean, log_var, k, generator: (
                mean + log_var * _drawn(torch.zeros_like(mean), torch.zeros_like(mean), k, generator)
            ),
        },
        of=reparameterise,
    ),
    subject(
        "vae-renyi",
        renyi_bound,
        ((LOG_WEIGHTS, 0.5), (LOG_WEIGHTS, -1.0), (LOG_WEIGHTS, 0.0)),
        {
            "vae-no-log-k": lambda log_w, alpha: ((1 - alpha) * log_w).logsumexp(0) / (1 - alpha),
            "vae-renyi-order": lambda log_w, alpha: log_mean_exp(alpha * log_w, 0) / alpha if alpha else log_w.mean(0),
            "vae-renyi-no-root": lambda log_w, alpha: log_mean_exp((1 - alpha) * log_w, 0),
            "vae-mean-of-logs": lambda log_w, alpha: log_w.mean(0),
        },
    ),
    subject(
        "vae-water",
        lambda eigenvalues, noise_var: water_filling(eigenvalues, noise_var),
        ((_rows((4.0, 2.0, 0.5, 0.1))[0], 0.6),),
        {
            "vae-water-half-log": _half_log,
            "vae-water-drops": _drops,
            "vae-water-never-dry": _never_dry,
            "vae-water-sd": lambda eigenvalues, noise_var: water_filling(eigenvalues, math.sqrt(noise_var)),
        },
        of=water_filling,
    ),
    subject(
        "vae-aggregate",
        aggregate_log_prob,
        ((_rows((0.0, 0.0, 1.0), (0.3, -1.0, 0.0)), MEAN, LOG_VAR),),
        {
            "vae-aggregate-mean-of-logs": lambda z, mean, log_var: torch.stack(
                [
                    torch.distributions.Normal(m, (0.5 * s).exp()).log_prob(z).sum(-1)
                    for m, s in zip(mean, log_var, strict=True)
                ]
            ).mean(0),
            "vae-aggregate-sum": lambda z, mean, log_var: aggregate_log_prob(z, mean, log_var) + math.log(len(mean)),
            "vae-aggregate-prior": lambda z, mean, log_var: -0.5 * (LOG_2PI + z.square()).sum(-1),
        },
    ),
    subject(
        "continuous-bernoulli",
        continuous_bernoulli_log_norm,
        ((_rows((0.0, 0.4, -3.0, 12.0)),),),
        {
            "E0-32": torch.zeros_like,
            "continuous-bernoulli-sign": lambda logits: -continuous_bernoulli_log_norm(logits),
            "continuous-bernoulli-logit": lambda logits: continuous_bernoulli_log_norm(2 * logits),
        },
    ),
)
