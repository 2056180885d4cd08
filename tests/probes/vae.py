"""Example calls of `dgmlib.vae`."""

import torch
from exact import f64, normal, rng
from torch import nn

from dgmlib import vae
from dgmlib.worlds import LinearGaussian

torch.manual_seed(0)
WORLD = LinearGaussian([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5]], [0.1, -0.2, 0.3], 0.6)
MODEL = vae.VAE(6, 2, (5,)).double()
X, MEAN, LOG_VAR, BITS = normal(4, 3), normal(4, 2), normal(4, 2, seed=1), (normal(4, 6) > 0).double()
AXIS, TABLE = torch.linspace(-3, 3, 7, dtype=torch.float64), normal(4, 7, 7)
ANY = {"NaN", "infinite"}  # what networks make of data is not read: see the module
LAW, BOTH = {"mean": MEAN, "log_var": LOG_VAR}, {"mean": ANY, "log_var": ANY}
DATA = {"model": MODEL, "x": BITS}

CALLS = {
    "normal_log_prob": (vae.normal_log_prob, {"x": X, "mean": X, "log_var": X}, BOTH | {"x": ANY}),
    "bernoulli_log_prob": (vae.bernoulli_log_prob, {"x": BITS[:, :3], "logits": X}, {"logits": ANY}),
    "continuous_bernoulli_log_norm": (vae.continuous_bernoulli_log_norm, {"logits": X}, {"logits": ANY}),
    "kl_standard_normal": (vae.kl_standard_normal, LAW, BOTH),
    "kl_diagonal": (
        vae.kl_diagonal,
        LAW | {"prior_mean": MEAN, "prior_log_var": LOG_VAR},
        BOTH | {"prior_mean": ANY, "prior_log_var": ANY},
    ),
    "reparameterise": (vae.reparameterise, LAW | {"n_samples": 2, "generator": rng(0)}, BOTH),
    "VAE": (
        vae.VAE,
        {"d": 6, "k": 2, "hidden": (5,), "likelihood": "gaussian", "start_var": 0.5, "activation": nn.ReLU},
    ),
    "VAE.encode": (MODEL.encode, {"x": BITS}, {"x": ANY}),
    "VAE.pixel_means": (MODEL.pixel_means, {"z": MEAN}, {"z": ANY}),
    "VAE.log_likelihood": (MODEL.log_likelihood, {"x": BITS, "z": MEAN}, {"z": ANY}),
    "VAE.log_joint": (MODEL.log_joint, {"x": BITS, "z": MEAN}, {"z": ANY}),
    "VAE.sample": (MODEL.sample, {"n": 2, "generator": rng(0)}),
    "VAE.sample_prior": (MODEL.sample_prior, {"n": 2, "generator": rng(0)}),
    "VAE.log_prob_is": (MODEL.log_prob_is, {"x": BITS, "n_samples": 3, "widen": 1.1, "chunk": 2}),
    "elbo_terms": (vae.elbo_terms, DATA | {"generator": rng(0)}),
    "elbo": (vae.elbo, DATA | {"beta": 0.5, "generator": rng(0)}),
    "log_weights": (vae.log_weights, DATA | {"n_samples": 2, "widen": 1.1, "generator": rng(0)}),
    "iwae": (vae.iwae, DATA | {"n_samples": 2, "generator": rng(0)}),
    "dreg": (vae.dreg, DATA | {"n_samples": 2, "generator": rng(0)}),
    "renyi_bound": (vae.renyi_bound, {"log_weights": X, "alpha": 0.5}, {"log_weights": ANY}),
    "aggregate_log_prob": (vae.aggregate_log_prob, {"z": MEAN} | LAW, BOTH | {"z": ANY}),
    "fit_prior": (vae.fit_prior, {"codes": normal(30, 2), "n_components": 2, "seed": 0}),
    "unit_activity": (vae.unit_activity, {"mean": MEAN}, {"mean": ANY}),
    "water_filling": (vae.water_filling, {"eigenvalues": f64(3.0, 1.0, 0.2), "noise_var": 0.5, "k": 2}),
    "ppca": (vae.ppca, {"cov": torch.diag(f64(3.0, 1.0, 0.2)), "k": 1, "noise_var": 0.1}),
    "best_linear_encoder": (vae.best_linear_encoder, {"world": WORLD, "x": X}),
    "linear_elbo": (vae.linear_elbo, {"world": WORLD, "x": X} | LAW, BOTH),
    "grid_log_joint": (vae.grid_log_joint, DATA | {"axis": AXIS}),
    "grid_evidence": (vae.grid_evidence, {"log_joint": TABLE, "axis": AXIS}, {"log_joint": ANY}),
    "grid_elbo": (vae.grid_elbo, {"log_joint": TABLE, "axis": AXIS} | LAW, BOTH | {"log_joint": ANY}),
    "best_ellipse": (
        vae.best_ellipse,
        {"log_joint": TABLE, "axis": AXIS, "n_steps": 2, "learning_rate": 0.1} | LAW,
    ),
}
UNPROBED: dict[str, str] = {}
