"""Wrong variants of `dgmlib.autoencoders` (chapter 07)."""

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
from dgmlib.bugs import edit, f64, subject

CHAPTER = "07"

COV = f64((2.0, 0.6, 0.1), (0.6, 1.0, -0.2), (0.1, -0.2, 0.5))
DECODER, ENCODER = f64((0.9, 0.2), (0.1, -0.7), (0.4, 0.3)), f64((0.8, 0.3, 0.1), (-0.1, 0.6, 0.5))
X = f64((0.3, -1.0, 0.7), (1.2, 0.4, -0.5), (-0.6, 0.1, 0.9))
WEIGHT, BIAS = f64((1.0, -0.5, 0.3), (0.2, 0.8, -1.1)), f64(0.1, -0.3)
CODES = f64((0.2, 0.9), (0.05, 0.4), (0.6, 0.1))


def _denoising(weight: Tensor, x: Tensor, noise_std: float, generator: torch.Generator) -> Tensor:
    """`denoising_error` of the map x -> W x."""
    model = torch.nn.Linear(*weight.shape, bias=False, device="meta")
    model.weight = torch.nn.Parameter(weight)
    return denoising_error(model, x, noise_std, generator=generator)


def _jacobian_penalty(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return sigmoid_contraction(weight, torch.sigmoid(x @ weight.T + bias))


SUBJECTS = (
    subject(
        "linear-autoencoder-loss",
        linear_loss,
        ((DECODER, ENCODER, COV),),
        {
            "linear-loss-one-residual": edit("(residual @ cov * residual).sum()", "(residual @ cov).trace()"),
            "linear-loss-mean-over-pixels": edit(".sum()", ".sum() / len(cov)"),
        },
    ),
    subject(
        "nested-loss",
        nested_loss,
        ((DECODER, ENCODER, COV),),
        {
            "nested-is-plain": linear_loss,
            "nested-each-alone": edit("decoder[:, :j], encoder[:j]", "decoder[:, j - 1 : j], encoder[j - 1 : j]"),
        },
    ),
    subject(
        "decayed-optimum",
        lambda cov, decay: (u := decayed_optimum(cov, 2, decay)) @ u.T,
        ((COV, 0.3),),
        {
            "decay-forgotten": edit('need_between("decay", decay, 0.0, math.inf)', "0.0"),
            "decay-halved": edit("math.inf) / variances", "math.inf) / 2 / variances"),
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
            "denoise-noisy-target": edit("(x - _recon", "(noisy - _recon"),
            "denoise-shared-noise": edit("randn_like(x,", "randn_like(x[:1],"),
            "denoise-variance-for-sd": edit("noise_std * randn", "noise_std**2 * randn"),
        },
        of=denoising_error,
    ),
    subject(
        "jacobian-penalty",
        _jacobian_penalty,
        ((WEIGHT, BIAS, X),),
        {
            "contraction-of-the-sum": edit(
                "(codes * (1 - codes)).square() @ weight.square().sum(1)",
                "((codes * (1 - codes)) @ weight).square().sum(1)",
            ),
        },
        of=sigmoid_contraction,
    ),
    subject(
        "sigmoid-contraction",
        sigmoid_contraction,
        ((WEIGHT, CODES),),
        {
            "contraction-no-square": edit(".square() @", " @"),
            "contraction-no-weights": edit(" @ weight.square().sum(1)", ".sum(1)"),
        },
    ),
    subject(
        "sparsity-kl",
        sparsity_kl,
        ((CODES, 0.05),),
        {
            "sparsity-reversed": edit("mean = codes.mean(0)", "rate, mean = codes.mean(0), rate"),
            "sparsity-each-example": edit(
                "codes.mean(0)", "codes", "mean)).log()).sum()", "mean)).log()).mean(0).sum()"
            ),
        },
    ),
    subject(
        "l1-penalty",
        l1_penalty,
        ((CODES, DECODER),),
        {
            "l1-free-scale": edit(" @ dictionary.norm(dim=0)", ".sum(1)"),
        },
    ),
    subject(
        "wiener-filter",
        wiener_filter,
        ((COV, 0.7),),
        {
            "wiener-sd-for-variance": edit("noise_std**2", "noise_std"),
            "wiener-inverse-only": edit("torch.linalg.solve(noisy, cov).mT", "torch.linalg.inv(noisy)"),
        },
    ),
    subject(
        "psnr",
        psnr,
        ((X, CODES @ ENCODER),),
        {
            "psnr-twenty": edit("- 10 *", "- 20 *"),
            "psnr-sum": edit(".mean(1)", ".sum(1)"),
        },
    ),
    subject(
        "quantised-code-length",
        code_length,
        ((X, f64(0.1, 0.0, -0.2), f64(1.0, 0.5, 0.8), 0.4),),
        {
            "bits-of-a-density": edit(
                "torch.where(width * centre.clamp(min=1) > 1e-3, wide, narrow)",
                "-0.5 * (LOG_2PI + centre.square()) - std.log()",
            ),
            "code-length-in-nats": edit(" / math.log(2)", ""),
        },
    ),
    subject(
        "orbit-variance",
        orbit_variance,
        ((torch.stack([X, X.flip(1), -X], 1),),),
        {
            "orbit-from-the-first": edit("orbits.mean(1, keepdim=True)", "orbits[:, :1]"),
            "orbit-mean-over-pixels": edit(".sum(2)", ".mean(2)"),
        },
    ),
)
