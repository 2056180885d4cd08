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
from dgmlib.bugs import Bug, Subject


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
    Subject(
        "linear-autoencoder-loss",
        linear_loss,
        ((DECODER, ENCODER, COV),),
        (
            Bug(
                "linear-loss-one-residual",
                "tr (I - U V) S: right at the critical points only, and unbounded below elsewhere.",
                _one_residual,
                "the loss goes below zero",
                "the residual stands on both sides of S",
            ),
            Bug(
                "linear-loss-mean-over-pixels",
                "Divided by d: the same minima, until a second term stands beside it.",
                lambda decoder, encoder, cov: linear_loss(decoder, encoder, cov) / len(cov),
            ),
        ),
    ),
    Subject(
        "nested-loss",
        nested_loss,
        ((DECODER, ENCODER, COV),),
        (
            Bug(
                "nested-is-plain",
                "Only the whole code is scored: the symmetry between units stays.",
                linear_loss,
                "units in no order",
            ),
            Bug(
                "nested-each-alone",
                "Each unit scored alone instead of each prefix: all units become the first axis.",
                lambda decoder, encoder, cov: torch.stack(
                    [linear_loss(decoder[:, j : j + 1], encoder[j : j + 1], cov) for j in range(len(encoder))]
                ).mean(),
                "equal units",
            ),
        ),
    ),
    Subject(
        "decayed-optimum",
        lambda cov, decay: (u := decayed_optimum(cov, 2, decay)) @ u.T,  # without the signs of eigenvectors
        ((COV, 0.3),),
        (
            Bug(
                "decay-forgotten",
                "The plain principal axes.",
                lambda cov, decay: (u := decayed_optimum(cov, 2, 0.0)) @ u.T,
            ),
            Bug(
                "decay-halved",
                "A decay of gamma taken for the gamma / 2 that optimisers mean: their gradient is gamma U.",
                lambda cov, decay: (u := decayed_optimum(cov, 2, decay / 2)) @ u.T,
            ),
        ),
    ),
    Subject(
        "principal-angles",
        principal_angles,
        ((DECODER, ENCODER.T),),
        (
            Bug(
                "angles-of-columns",
                "The angle between first column and first column, second and second: axes, not spaces.",
                lambda a, b: ((a / a.norm(dim=0)) * (b / b.norm(dim=0))).sum(0).abs().arccos(),
                "two bases of one space look different",
                "orthonormalise first",
            ),
        ),
    ),
    Subject(
        "denoising-error",
        _denoising,
        ((ENCODER.T @ DECODER.T, X, 0.5, torch.Generator().manual_seed(0)),),
        (
            Bug(
                "denoise-noisy-target",
                "Compared with the noisy input: a plain autoencoder on noisy data, and the identity is best.",
                _noisy_target,
                "the loss falls to zero and the noise stays in",
                "noisy input, clean target",
            ),
            Bug(
                "denoise-shared-noise",
                "One draw of noise for the whole batch.",
                _shared_noise,
                "the gradient's variance does not fall with the batch",
            ),
            Bug("denoise-variance-for-sd", "The variance where the standard deviation belongs.", _variance_for_sd),
        ),
    ),
    Subject(
        "jacobian-penalty",
        _jacobian_penalty,
        ((WEIGHT, BIAS, X),),
        (
            Bug(
                "contraction-of-the-sum",
                "The gradient of the sum of the codes, squared: units cancel each other.",
                _of_the_sum,
                "a small penalty and an encoder that is not stiff",
                "one backward pass a unit, or the closed form",
            ),
        ),
    ),
    Subject(
        "sigmoid-contraction",
        sigmoid_contraction,
        ((WEIGHT, CODES),),
        (
            Bug(
                "contraction-no-square",
                "h (1 - h) without the square.",
                lambda weight, codes: (codes * (1 - codes)) @ weight.square().sum(1),
            ),
            Bug(
                "contraction-no-weights",
                "The weights left out: a penalty on unsaturated units only.",
                lambda weight, codes: (codes * (1 - codes)).square().sum(1),
            ),
        ),
    ),
    Subject(
        "sparsity-kl",
        sparsity_kl,
        ((CODES, 0.05),),
        (
            Bug(
                "sparsity-reversed",
                "KL(mean activation || rate): the laws exchanged.",
                lambda codes, rate: _kl(codes.mean(0), rate).sum(),
            ),
            Bug(
                "sparsity-each-example",
                "Each activation pulled to the rate instead of their mean: all units say the same to everything.",
                lambda codes, rate: _kl(rate, codes).mean(0).sum(),
                "codes that carry nothing",
                "average over the batch first",
            ),
        ),
    ),
    Subject(
        "l1-penalty",
        l1_penalty,
        ((CODES, DECODER),),
        (
            Bug(
                "l1-free-scale",
                "sum |z| alone: codes shrink, the decoder grows, the penalty vanishes.",
                lambda codes, dictionary: codes.abs().sum(1),
                "ever larger decoder weights, no zeros",
                "weigh |z_j| by the length of its column",
            ),
        ),
    ),
    Subject(
        "wiener-filter",
        wiener_filter,
        ((COV, 0.7),),
        (
            Bug(
                "wiener-sd-for-variance",
                "The standard deviation added to the variances of S.",
                lambda cov, noise_std: wiener_filter(cov, noise_std**0.5),
            ),
            Bug(
                "wiener-inverse-only",
                "(S + noise_std^2 I)^{-1} alone: that whitens.",
                lambda cov, noise_std: torch.linalg.inv(cov + noise_std**2 * torch.eye(len(cov), dtype=cov.dtype)),
            ),
        ),
    ),
    Subject(
        "psnr",
        psnr,
        ((X, CODES @ ENCODER),),
        (
            Bug("psnr-twenty", "20 log10 for a squared error: twice the decibels.", lambda x, y: 2 * psnr(x, y)),
            Bug(
                "psnr-sum",
                "The sum of squared errors for their mean: worse with every pixel.",
                lambda x, y: -10 * (x - y).square().sum(1).log10(),
            ),
        ),
    ),
    Subject(
        "quantised-code-length",
        code_length,
        ((X, _t(0.1, 0.0, -0.2), _t(1.0, 0.5, 0.8), 0.4),),
        (
            Bug(
                "bits-of-a-density",
                "-log2 of the density for that of a cell's mass: it depends on units, and may be negative.",
                _density_bits,
                "fewer bits for finer steps",
                "the density times the step, or better the cell's mass",
            ),
            Bug("code-length-in-nats", "Nats called bits.", lambda *a: code_length(*a) * math.log(2)),
        ),
    ),
    Subject(
        "orbit-variance",
        orbit_variance,
        ((torch.stack([X, X.flip(1), -X], 1),),),
        (
            Bug(
                "orbit-from-the-first",
                "The distance from the first version for that from the mean: too dear.",
                lambda orbits: (orbits - orbits[:, :1]).square().sum(2).mean(1),
            ),
            Bug(
                "orbit-mean-over-pixels",
                "Averaged over pixels, beside errors that are summed.",
                lambda orbits: orbit_variance(orbits) / orbits.shape[2],
            ),
        ),
    ),
)

SLIPS = {
    "plain-axes-for-decayed": "The plain principal axes taken for a minimum under weight decay.",
    "reconstruction-mean-over-pixels": "The mean over pixels for the sum: a second term beside it weighs d times more.",
    "gradient-without-two": "The factor 2 of a square's derivative left out.",
    "pca-ascending": "Eigenvectors in the order in which `eigh` returns them: the least variance first.",
    "critical-not-inverse": "The transpose of the mixing matrix for its inverse: right for rotations only.",
    "critical-keeps-the-least": "The directions of least variance kept.",
    "saddles-are-minima": "A point without slope taken for a minimum.",
    "arc-uncentred": "The second moment for the variance of data whose mean is not zero.",
    "residual-sd-for-variance": "The residual divided by the standard deviation instead of by the variance.",
    "residual-sign": "The score pointing away from the data.",
    "small-noise-no-curvature": "Denoising taken for contraction where the reconstruction is not good.",
    "penalty-fixes-scale": "A penalty on the encoder alone taken to be independent of how the code is scaled.",
    "soft-is-ridge": "An absolute value taken to shrink by a factor, as a square does.",
    "lipschitz-frobenius": "The Frobenius norm for the spectral norm: a bound still, but too loose.",
    "compression-is-the-law": "The reconstructions taken to have the law of the data.",
    "wasserstein-of-independent-pairs": "The cost of independent pairs for the least one: equal laws lie apart.",
    "law-of-codes-does-not-matter": "Any law for the codes taken to be as good as theirs.",
    "redundancy-without-half": "The factor 1/2 of the Gaussian's entropy left out.",
}
