"""Example calls of `dgmlib.hierarchical`."""

import torch
from exact import f64, normal, rng
from torch import Tensor, nn

from dgmlib import hierarchical as hier

torch.manual_seed(0)
EYE = torch.eye(2, dtype=torch.float64)
STEP = hier.Kernel(normal(2, 2), normal(2), EYE)
CHAIN = hier.LinearChain([(normal(3, 2), f64(0, 1, 2), torch.eye(3).double()), STEP])
MODEL = hier.HierarchicalVAE(6, (2, 3), (5, 4)).double()
X, BITS, Z1, Z2 = normal(4, 3), (normal(4, 6) > 0).double(), normal(4, 2), normal(4, 3)
DATA = {"model": MODEL, "x": BITS}
ANY = {"NaN", "infinite"}  # what networks make of data is not read: see the module


def push(weight: Tensor, shift: Tensor, kernel_cov: Tensor, mean: Tensor, cov: Tensor):
    return hier.push(hier.Kernel(weight, shift, kernel_cov), mean, cov)


def reverse(weight: Tensor, shift: Tensor, kernel_cov: Tensor, mean: Tensor, cov: Tensor):
    return hier.reverse(hier.Kernel(weight, shift, kernel_cov), mean, cov)


PARTS = {"weight": STEP.weight, "shift": STEP.shift, "kernel_cov": STEP.cov, "mean": Z1[0], "cov": EYE}
CALLS = {
    "push": (push, PARTS),
    "reverse": (reverse, PARTS),
    "LinearChain": (hier.LinearChain, {"kernels": [tuple(STEP)]}),
    "LinearChain.log_prob": (CHAIN.log_prob, {"x": X}),
    "LinearChain.sample": (CHAIN.sample, {"n": 2, "generator": rng(0)}),
    "turned": (hier.turned, {"upwards": CHAIN.posterior()}),
    "factorised": (hier.factorised, {"chain": CHAIN}),
    "linear_terms": (hier.linear_terms, {"chain": CHAIN, "encoder": hier.turned(CHAIN.posterior()), "x": X}),
    "combine": (hier.combine, {"first": (Z1, Z1), "second": (Z1, Z1 + 1)}),
    "floored": (hier.floored, {"rates": Z1, "floor": 0.5}, {"rates": ANY}),
    "WarmUp": (hier.WarmUp, {"n_calls": 3}),
    "HierarchicalVAE": (
        hier.HierarchicalVAE,
        {"d": 6, "latents": (2, 3), "hidden": (5, 4), "inference": "top_down", "activation": nn.ReLU},
    ),
    "HierarchicalVAE.prior": (MODEL.prior, {"z": [Z1, Z2]}),
    "HierarchicalVAE.infer": (
        MODEL.infer,
        {"x": BITS, "n_samples": 2, "widen": 1.1, "generator": rng(0)},
        {"x": ANY},
    ),
    "HierarchicalVAE.log_likelihood": (MODEL.log_likelihood, {"x": BITS, "z": Z1}, {"z": ANY}),
    "HierarchicalVAE.log_joint": (MODEL.log_joint, {"x": BITS, "z": [Z1, Z2]}),
    "HierarchicalVAE.sample_latents": (
        MODEL.sample_latents,
        {"n": 4, "top": Z2, "generator": rng(0)},
        {"top": ANY},
    ),
    "HierarchicalVAE.pixel_means": (MODEL.pixel_means, {"z": Z1}, {"z": ANY}),
    "HierarchicalVAE.sample": (MODEL.sample, {"n": 2, "generator": rng(0)}),
    "HierarchicalVAE.log_prob_is": (MODEL.log_prob_is, {"x": BITS, "n_samples": 3, "widen": 1.1, "chunk": 2}),
    "log_weights": (hier.log_weights, DATA | {"n_samples": 2, "widen": 1.1, "generator": rng(0)}),
    "unit_rates": (hier.unit_rates, {"model": MODEL, "layers": MODEL.infer(BITS)}),
    "elbo_terms": (hier.elbo_terms, DATA | {"generator": rng(0)}),
    "elbo": (hier.elbo, DATA | {"beta": 0.5, "floor": 0.1, "generator": rng(0)}),
    "unit_statistics": (hier.unit_statistics, DATA | {"n_samples": 2, "batch_size": 2}, {"x": ANY}),
}
UNPROBED: dict[str, str] = {}
