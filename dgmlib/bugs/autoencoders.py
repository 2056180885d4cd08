"""Wrong variants of `dgmlib.autoencoders` (chapter 07)."""

import math

import torch
from torch import Tensor

from dgmlib.autoencoders import (
    code_length,
    decayed_optimum,
    denoising_error,
    l1_penalty,
    linear_loss,
    nested_loss,
    orbit_variance,
    principal_angles,
    psnr,
    sigmoid_contraction,
    sparsity_kl,
    wiener_filter,
)
from dgmlib.bugs import subject

CHAPTER = "07"


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


COV = _t((2.0, 0.6, 0.1), (0.6, 1.0, -0.2), (0.1, -0.2, 0.5))
DECODER, ENCODER = _t((0.9, 0.2), (0.1, -0.7), (0.4, 0.3)), _t((0.8, 0.3, 0.1), (-0.1, 0.6, 0.5))
X = _t((0.3, -1.0, 0.7), (1.2, 0.4, -0.5), (-0.6, 0.1, 0.9))
WEIGHT, BIAS = _t((1.0, -0.5, 0.3), (0.2, 0.8, -1.1)), _t(0.1, -0.3)
CODES = _t((0.2, 0.9), (0.05, 0.4), (0.6, 0.1))


def _one_residual(decoder: Tensor, encoder: Tensor, cov: Tensor) -> Tensor:
    return torch.trace((torch.eye(len(cov), dtype=cov.dtype) - decoder @ encoder) @ cov)


def _denoising(weight: Tensor, x: Tensor, noise_std: float, generator: torch.Generator) -> Tensor:
    """`denoising_error` of the map x -> W x."""
    model = torch.nn.Linear(*weight.shape, bias=False, device="meta")
    model.weight = torch.nn.Parameter(weight)
    return denoising_error(model, x, noise_std, generator=generator)


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def _noisy_target(weight: Tensor, x: Tensor, noise_std: float, generator: torch.Generator) -> Tensor:
    noisy = x + noise_std * _noise(x, generator)
    return (noisy - noisy @ weight.T).square().sum(1)


def _shared_noise(weight: Tensor, x: Tensor, noise_std: float, generator: torch.Generator) -> Tensor:
    return (x - (x + noise_std * _noise(x[:1], generator)) @ weight.T).square().sum(1)


def _variance_for_sd(weight: Tensor, x: Tensor, noise_std: float, generator: torch.Generator) -> Tensor:
    return (x - (x + noise_std**2 * _noise(x, generator)) @ weight.T).square().sum(1)


def _jacobian_penalty(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return sigmoid_contraction(weight, torch.sigmoid(x @ weight.T + bias))


def _of_the_sum(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    codes = torch.sigmoid(x @ weight.T + bias)
    return ((codes * (1 - codes)) @ weight).square().sum(1)


def _kl(a: Tensor | float, b: Tensor | float) -> Tensor:
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()


def _density_bits(codes: Tensor, mean: Tensor, std: Tensor, step: float) -> Tensor:
    offset = (torch.round(codes / step) * step - mean) / std
    return (0.5 * offset.square() + std.log() + 0.5 * math.log(2 * math.pi)).sum(1) / math.log(2)


SUBJECTS = (
    subject(
        "linear-autoencoder-loss",
        linear_loss,
        ((DECODER, ENCODER, COV),),
        {
            "linear-loss-one-residual": _one_residual,
            "linear-loss-mean-over-pixels": lambda decoder, encoder, cov: linear_loss(decoder, encoder, cov) / len(cov),
        },
    ),
    subject(
        "nested-loss",
        nested_loss,
        ((DECODER, ENCODER, COV),),
        {
            "nested-is-plain": linear_loss,
            "nested-each-alone": lambda decoder, encoder, cov: torch.stack(
                [linear_loss(decoder[:, j : j + 1], encoder[j : j + 1], cov) for j in range(len(encoder))]
            ).mean(),
        },
    ),
    subject(
        "decayed-optimum",
        lambda cov, decay: (u := decayed_optimum(cov, 2, decay)) @ u.T,
        ((COV, 0.3),),
        {
            "decay-forgotten": lambda cov, decay: (u := decayed_optimum(cov, 2, 0.0)) @ u.T,
            "decay-halved": lambda cov, decay: (u := decayed_optimum(cov, 2, decay / 2)) @ u.T,
        },
        of=decayed_optimum,
    ),
    subject(
        "principal-angles",
        principal_angles,
        ((DECODER, ENCODER.T),),
        {
            "angles-of-columns": lambda a, b: ((a / a.norm(dim=0)) * (b / b.norm(dim=0))).sum(0).abs().arccos(),
        },
    ),
    subject(
        "denoising-error",
        _denoising,
        ((ENCODER.T @ DECODER.T, X, 0.5, torch.Generator().manual_seed(0)),),
        {
            "denoise-noisy-target": _noisy_target,
            "denoise-shared-noise": _shared_noise,
            "denoise-variance-for-sd": _variance_for_sd,
        },
        of=denoising_error,
    ),
    subject(
        "jacobian-penalty",
        _jacobian_penalty,
        ((WEIGHT, BIAS, X),),
        {
            "contraction-of-the-sum": _of_the_sum,
        },
        of=sigmoid_contraction,
    ),
    subject(
        "sigmoid-contraction",
        sigmoid_contraction,
        ((WEIGHT, CODES),),
        {
            "contraction-no-square": lambda weight, codes: (codes * (1 - codes)) @ weight.square().sum(1),
            "contraction-no-weights": lambda weight, codes: (codes * (1 - codes)).square().sum(1),
        },
    ),
    subject(
        "sparsity-kl",
        sparsity_kl,
        ((CODES, 0.05),),
        {
            "sparsity-reversed": lambda codes, rate: _kl(codes.mean(0), rate).sum(),
            "sparsity-each-example": lambda codes, rate: _kl(rate, codes).mean(0).sum(),
        },
    ),
    subject(
        "l1-penalty",
        l1_penalty,
        ((CODES, DECODER),),
        {
            "l1-free-scale": lambda codes, dictionary: codes.abs().sum(1),
        },
    ),
    subject(
        "wiener-filter",
        wiener_filter,
        ((COV, 0.7),),
        {
            "wiener-sd-for-variance": lambda cov, noise_std: wiener_filter(cov, noise_std**0.5),
            "wiener-inverse-only": lambda cov, noise_std: torch.linalg.inv(
                cov + noise_std**2 * torch.eye(len(cov), dtype=cov.dtype)
            ),
        },
    ),
    subject(
        "psnr",
        psnr,
        ((X, CODES @ ENCODER),),
        {
            "psnr-twenty": lambda x, y: 2 * psnr(x, y),
            "psnr-sum": lambda x, y: -10 * (x - y).square().sum(1).log10(),
        },
    ),
    subject(
        "quantised-code-length",
        code_length,
        ((X, _t(0.1, 0.0, -0.2), _t(1.0, 0.5, 0.8), 0.4),),
        {
            "bits-of-a-density": _density_bits,
            "code-length-in-nats": lambda *a: code_length(*a) * math.log(2),
        },
    ),
    subject(
        "orbit-variance",
        orbit_variance,
        ((torch.stack([X, X.flip(1), -X], 1),),),
        {
            "orbit-from-the-first": lambda orbits: (orbits - orbits[:, :1]).square().sum(2).mean(1),
            "orbit-mean-over-pixels": lambda orbits: orbit_variance(orbits) / orbits.shape[2],
        },
    ),
)
