"""Wrong variants of `dgmlib.vae` (chapter 09)."""

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
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

MEAN, LOG_VAR = f64((0.5, -1.0, 2.0), (0.1, 0.3, -0.4)), f64((-0.7, 0.7, 0.1), (-2.0, 0.4, -0.3))
WORLD = LinearGaussian([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5]], [0.1, -0.2, 0.3], 0.6)
POINTS = f64((1.0, -0.5, 0.8), (0.0, 2.0, -1.0))
LOG_WEIGHTS = f64((-3.0, -1.0), (-2.0, -4.0), (-7.0, -1.5))


def _log_outside(world: LinearGaussian, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    cov = world.noise_std**2 * torch.eye(world.d, dtype=x.dtype)
    smeared = cov + world.weight @ torch.diag_embed(log_var.exp()) @ world.weight.T
    law = torch.distributions.MultivariateNormal(world.mean + mean @ world.weight.T, smeared)
    return law.log_prob(x) - kl_standard_normal(mean, log_var)


def _drawn(mean: Tensor, log_var: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    return reparameterise(mean, log_var, n_samples, generator=generator)


SUBJECTS = (
    subject(
        "vae-kl",
        kl_standard_normal,
        ((MEAN, LOG_VAR),),
        {
            "E0-29": edit(
                "(mean.square() + log_var.expm1() - log_var).sum(-1)",
                "((mean.square() + log_var.exp() - log_var).sum(-1) - 1)",
            ),
            "E0-43": edit("log_var.expm1() - log_var", "(0.5 * log_var).expm1() - 0.5 * log_var"),
            "vae-kl-squared-log-variance": edit("log_var.expm1()", "log_var.square() - 1"),
            "vae-kl-mean": edit(".sum(-1)", ".mean(-1)"),
            "vae-kl-batch-sum": edit(".sum(-1)", ".sum()"),
            "vae-kl-negative": edit("return 0.5", "return -0.5"),
            "vae-kl-reversed": edit(
                "mean.square() + log_var.expm1() - log_var", "(mean.square() + 1) * (-log_var).exp() - 1 + log_var"
            ),
            "vae-kl-no-half": edit("0.5 * ", ""),
        },
    ),
    subject(
        "vae-linear-elbo",
        linear_elbo,
        ((WORLD, POINTS, MEAN[:, :2], LOG_VAR[:, :2]),),
        {
            "E1-07": edit("log_lik - kl", "log_lik + kl"),
            "E0-40": edit("log_lik - kl", "log_lik - 0.5 * (LOG_2PI + mean.square() + log_var.exp()).sum(-1) - kl"),
            "E0-26": _log_outside,
            "vae-no-trace": edit(" + log_var.exp() @ world.weight.square().sum(0)", ""),
            "vae-mean-over-pixels": edit("log_lik - kl", "log_lik / world.d - kl"),
        },
    ),
    subject(
        "vae-reparameterise",
        _drawn,
        ((MEAN, LOG_VAR, 2, torch.Generator().manual_seed(0)),),
        {
            "E0-43": edit("(0.5 * log_var).exp()", "log_var.exp()"),
            "vae-one-noise": edit("noise.transpose(0, 1)", "noise.transpose(0, 1)[:, :1]"),
            "vae-no-noise": edit("(0.5 * log_var).exp() * noise", "0.0 * noise"),
            "vae-log-var-as-sd": edit("(0.5 * log_var).exp()", "log_var"),
        },
        of=reparameterise,
    ),
    subject(
        "vae-renyi",
        renyi_bound,
        ((LOG_WEIGHTS, 0.5), (LOG_WEIGHTS, -1.0), (LOG_WEIGHTS, 0.0)),
        {
            "vae-no-log-k": edit("+ log_mean /", "+ (log_mean + math.log(len(log_weights))) /"),
            "vae-renyi-order": lambda log_w, alpha: log_mean_exp(alpha * log_w, 0) / alpha if alpha else log_w.mean(0),
            "vae-renyi-no-root": lambda log_w, alpha: log_mean_exp((1 - alpha) * log_w, 0),
            "vae-mean-of-logs": lambda log_w, alpha: log_w.mean(0),
        },
    ),
    subject(
        "vae-water",
        water_filling,
        ((f64((4.0, 2.0, 0.5, 0.1))[0], 0.6),),
        {
            "vae-water-half-log": edit("(ordered[coded] / noise_var)", "(1 + ordered / noise_var)"),
            "vae-water-drops": edit("torch.where(coded, noise_var, ordered)", "torch.where(coded, 0.0, ordered)"),
            "vae-water-never-dry": edit("(ordered > noise_var) & ", ""),
            "vae-water-sd": edit("    coded = ", "    noise_var = math.sqrt(noise_var)\n    coded = "),
        },
    ),
    subject(
        "vae-aggregate",
        aggregate_log_prob,
        ((f64((0.0, 0.0, 1.0), (0.3, -1.0, 0.0)), MEAN, LOG_VAR),),
        {
            "vae-aggregate-mean-of-logs": edit(
                "log_mean_exp(normal_log_prob(z[:, None], mean, log_var), 1)",
                "normal_log_prob(z[:, None], mean, log_var).mean(1)",
            ),
            "vae-aggregate-sum": edit("log_var), 1)", "log_var), 1) + math.log(len(mean))"),
            "vae-aggregate-prior": lambda z, mean, log_var: -0.5 * (LOG_2PI + z.square()).sum(-1),
        },
    ),
    subject(
        "continuous-bernoulli",
        continuous_bernoulli_log_norm,
        ((f64((0.0, 0.4, -3.0, 12.0)),),),
        {
            "E0-32": torch.zeros_like,
            "continuous-bernoulli-sign": lambda logits: -continuous_bernoulli_log_norm(logits),
            "continuous-bernoulli-logit": edit("logits.abs() / 2", "logits.abs()"),
        },
    ),
)
