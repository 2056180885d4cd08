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
from dgmlib.bugs import Bug, Slip, Subject

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
    Subject(
        "linear-autoencoder-loss",
        linear_loss,
        ((DECODER, ENCODER, COV),),
        (
            Bug(
                "linear-loss-one-residual",
                "tr (I - U V) S: right at the critical points only, and unbounded below elsewhere.",
                _one_residual,
                name="the residual once",
                symptom="the loss goes below zero",
                place="the second residual, to the right of S",
                cure="write the residual on both sides: tr (I - UV) S (I - UV)^T",
            ),
            Bug(
                "linear-loss-mean-over-pixels",
                "Divided by d: the same minima, until a second term stands beside it.",
                lambda decoder, encoder, cov: linear_loss(decoder, encoder, cov) / len(cov),
                name="mean over pixels",
                symptom="the loss is d times smaller, so a penalty beside it weighs d times more",
                place="the reduction over pixels",
                cure="sum over pixels: tr (I - UV) S (I - UV)^T, not divided by d",
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
                name="only the whole code scored",
                symptom="units in no order: rotating the code leaves the loss as it was",
                place="the sum over prefixes of the code",
                cure="average the loss over all prefixes: the first unit, the first two, up to all k",
            ),
            Bug(
                "nested-each-alone",
                "Each unit scored alone instead of each prefix: all units become the first axis.",
                lambda decoder, encoder, cov: torch.stack(
                    [linear_loss(decoder[:, j : j + 1], encoder[j : j + 1], cov) for j in range(len(encoder))]
                ).mean(),
                name="each unit scored alone",
                symptom="all units equal, each of them the first axis",
                place="the slice of the code, [j : j + 1]",
                cure="score prefixes, [: j + 1], not single units",
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
                name="no shrinkage",
                symptom="the optimum does not move with the decay; its gradient is not zero",
                place="the eigenvalues of U U^T",
                cure="axis j times (1 - decay / variance_j)^0.5, and 0 where its variance is below the decay",
            ),
            Bug(
                "decay-halved",
                "A decay of gamma taken for the gamma / 2 that optimisers mean: their gradient is gamma U.",
                lambda cov, decay: (u := decayed_optimum(cov, 2, decay / 2)) @ u.T,
                name="half the decay",
                symptom="the gradient of the penalised loss is not zero at the claimed optimum",
                place="the factor 2 of the derivative of gamma |U|^2",
                cure="use gamma for a penalty gamma |U|^2; an optimiser's weight decay lambda is gamma = lambda / 2",
            ),
        ),
        of=decayed_optimum,
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
                name="angles between columns",
                symptom="two bases of one space look different",
                place="the columns, taken in their given order",
                cure="make both bases orthonormal, then take the arccos of the singular values of Q_a^T Q_b",
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
                name="noisy target",
                symptom="the loss falls to zero and the noise stays in",
                place="the target of the squared error",
                cure="noisy input, clean target: |x - g(x + noise)|^2",
            ),
            Bug(
                "denoise-shared-noise",
                "One draw of noise for the whole batch.",
                _shared_noise,
                name="one noise for the batch",
                symptom="the gradient's variance does not fall with the batch",
                place="the shape of the noise",
                cure="draw noise in the shape of x, a fresh row for each example",
            ),
            Bug(
                "denoise-variance-for-sd",
                "The variance where the standard deviation belongs.",
                _variance_for_sd,
                name="variance for deviation",
                symptom="below 1 too little noise is added, so the error is too small",
                place="the factor in front of the noise",
                cure="multiply by noise_std, not by its square",
            ),
        ),
        of=denoising_error,
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
                name="gradient of the sum of codes",
                symptom="a small penalty and an encoder that is not stiff",
                place="the sum over units, taken before the square",
                cure="one backward pass a unit, or the closed form",
            ),
        ),
        of=sigmoid_contraction,
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
                name="slope not squared",
                symptom="the penalty is too large, and differs from autograd's squared Jacobian",
                place="the factor h (1 - h)",
                cure="square the slope as well: sum_j (h_j (1 - h_j))^2 |w_j|^2",
            ),
            Bug(
                "contraction-no-weights",
                "The weights left out: a penalty on unsaturated units only.",
                lambda weight, codes: (codes * (1 - codes)).square().sum(1),
                name="weights left out",
                symptom="scaling the weights at fixed codes leaves the penalty as it was",
                place="the squared length of each row of W",
                cure="multiply by |w_j|^2: sum_j (h_j (1 - h_j))^2 |w_j|^2",
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
                name="laws exchanged",
                symptom="zero at the rate as it should be, with another value everywhere else",
                place="the order of the two arguments of KL",
                cure="KL(rate || mean activation): the wished-for rate comes first",
            ),
            Bug(
                "sparsity-each-example",
                "Each activation pulled to the rate instead of their mean: all units say the same to everything.",
                lambda codes, rate: _kl(rate, codes).mean(0).sum(),
                name="each example pulled to the rate",
                symptom="codes that carry nothing",
                place="the order of mean and KL",
                cure="average over the batch first, then KL(rate || mean activation)",
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
                name="scale left free",
                symptom="ever larger decoder weights, no zeros",
                place="the length of the dictionary's columns",
                cure="weigh |z_j| by the length of its column: sum_j |z_j| |d_j|",
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
                name="deviation added to variances",
                symptom="right at noise_std = 1 only; below it denoises too much",
                place="the multiple of the identity that is added to S",
                cure="S (S + noise_std^2 I)^{-1}",
            ),
            Bug(
                "wiener-inverse-only",
                "(S + noise_std^2 I)^{-1} alone: that whitens.",
                lambda cov, noise_std: torch.linalg.inv(cov + noise_std**2 * torch.eye(len(cov), dtype=cov.dtype)),
                name="S left out",
                symptom="with weak noise the filter does not tend to the identity",
                place="the factor S in front of the inverse",
                cure="S (S + noise_std^2 I)^{-1}",
            ),
        ),
    ),
    Subject(
        "psnr",
        psnr,
        ((X, CODES @ ENCODER),),
        (
            Bug(
                "psnr-twenty",
                "20 log10 for a squared error: twice the decibels.",
                lambda x, y: 2 * psnr(x, y),
                name="20 for 10",
                symptom="twice the decibels of any published table",
                place="the factor in front of log10",
                cure="10 log10 of a squared error, 20 of its root",
            ),
            Bug(
                "psnr-sum",
                "The sum of squared errors for their mean: worse with every pixel.",
                lambda x, y: -10 * (x - y).square().sum(1).log10(),
                name="sum over pixels",
                symptom="worse with every pixel; may be negative for good pictures",
                place="the reduction of the squared error",
                cure="take the mean over pixels: -10 log10(mean (x - y)^2)",
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
                name="density for mass",
                symptom="finer steps cost no more bits, and the number of bits may be negative",
                place="the log of a density, where a probability is needed",
                cure="-log2 of the mass of the cell, about the density times the step",
            ),
            Bug(
                "code-length-in-nats",
                "Nats called bits.",
                lambda *a: code_length(*a) * math.log(2),
                name="nats called bits",
                symptom="too small by log 2 = 0.69",
                place="the base of the logarithm",
                cure="divide nats by log 2",
            ),
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
                name="distance from the first version",
                symptom="about twice the variance for independent versions",
                place="the centre that is subtracted",
                cure="subtract the mean over the orbit",
            ),
            Bug(
                "orbit-mean-over-pixels",
                "Averaged over pixels, beside errors that are summed.",
                lambda orbits: orbit_variance(orbits) / orbits.shape[2],
                name="mean over pixels",
                symptom="d times smaller than the errors that stand beside it",
                place="the reduction over pixels",
                cure="sum over pixels, mean over the orbit",
            ),
        ),
    ),
)

SLIPS = {
    "plain-axes-for-decayed": Slip(
        "The plain principal axes taken for a minimum under weight decay.",
        name="axes that weight decay leaves alone",
        holds="with decay each kept axis shrinks, and an axis of variance below the decay is given up",
        misleads="when weights are decayed and the answer is compared with plain principal components",
    ),
    "reconstruction-mean-over-pixels": Slip(
        "The mean over pixels for the sum: a second term beside it weighs d times more.",
        name="mean over pixels",
        holds="sum the squared errors over pixels, take the mean over examples",
        misleads="when a KL or a decay is added, whose weight then depends on the image's size",
    ),
    "gradient-without-two": Slip(
        "The factor 2 of a square's derivative left out.",
        name="the 2 of a square forgotten",
        holds="the derivative of u^2 is 2 u",
        misleads="descent still arrives, with half the step; beside a second term it arrives elsewhere",
    ),
    "pca-ascending": Slip(
        "Eigenvectors in the order in which `eigh` returns them: the least variance first.",
        name="smallest axes first",
        holds="the principal axes are the eigenvectors of the largest eigenvalues: reverse the order of eigh",
        misleads="in code that takes the first k columns",
    ),
    "critical-not-inverse": Slip(
        "The transpose of the mixing matrix for its inverse: right for rotations only.",
        name="transpose for inverse",
        holds="at a critical point U = E M and V = M^{-1} E^T; M^T only when M is a rotation",
        misleads="with orthonormal examples, where both agree",
    ),
    "critical-keeps-the-least": Slip(
        "The directions of least variance kept.",
        name="least variance kept",
        holds="the minimum keeps the k directions of the largest variance",
        misleads="all sets of axes are critical points, so a zero gradient does not tell",
    ),
    "saddles-are-minima": Slip(
        "A point without slope taken for a minimum.",
        name="a saddle called a minimum",
        holds="only the set of the k largest axes is a minimum; every other critical point has a way down",
        misleads="when training stalls on a plateau and is stopped there",
    ),
    "arc-uncentred": Slip(
        "The second moment for the variance of data whose mean is not zero.",
        name="second moment for variance",
        holds="E (x - m)^2 = E x^2 - m^2",
        misleads="with data not centred, where the mean passes for structure",
    ),
    "residual-sd-for-variance": Slip(
        "The residual divided by the standard deviation instead of by the variance.",
        name="divided by the deviation",
        holds="score = (E[x | noisy] - noisy) / sigma^2",
        misleads="at sigma = 1, where both agree",
    ),
    "residual-sign": Slip(
        "The score pointing away from the data.",
        name="the score with the wrong sign",
        holds="reconstruction minus input, over sigma^2, points towards the data",
        misleads="in samplers, which then flee from the data",
    ),
    "small-noise-no-curvature": Slip(
        "Denoising taken for contraction where the reconstruction is not good.",
        name="denoising is contraction",
        holds=(
            "the expansion in sigma^2 also holds the residual times the second derivative; it drops out where the "
            "residual is zero"
        ),
        misleads="early in training, when residuals are large",
    ),
    "penalty-fixes-scale": Slip(
        "A penalty on the encoder alone taken to be independent of how the code is scaled.",
        name="a penalty on one side fixes the scale",
        holds="shrinking the encoder and growing the decoder leaves the error as it was and lowers the penalty",
        misleads="with weights neither tied nor decayed on both sides",
    ),
    "soft-is-ridge": Slip(
        "An absolute value taken to shrink by a factor, as a square does.",
        name="an absolute value shrinks by a factor",
        holds="|z| subtracts the threshold and gives exact zeros; z^2 multiplies and gives none",
        misleads="when sparse codes are expected from weight decay",
    ),
    "lipschitz-frobenius": Slip(
        "The Frobenius norm for the spectral norm: a bound still, but too loose.",
        name="Frobenius for spectral norm",
        holds="the Lipschitz constant of a linear map is its largest singular value, at most the Frobenius norm",
        misleads="by up to the root of the rank when bounds are quoted",
    ),
    "compression-is-the-law": Slip(
        "The reconstructions taken to have the law of the data.",
        name="reconstructions have the data's law",
        holds="a lossy code draws its reconstructions together: they have less variance than the data",
        misleads="when an autoencoder's outputs are judged as samples",
    ),
    "wasserstein-of-independent-pairs": Slip(
        "The cost of independent pairs for the least one: equal laws lie apart.",
        name="cost of unmatched pairs",
        holds="the distance is the least cost over all pairings of the two laws",
        misleads="a law then lies apart from itself, by its own spread",
    ),
    "law-of-codes-does-not-matter": Slip(
        "Any law for the codes taken to be as good as theirs.",
        name="any law for the codes",
        holds="samples have the data's law only if codes are drawn as the encoder leaves them",
        misleads="when a standard normal is decoded by a plain autoencoder",
    ),
    "redundancy-without-half": Slip(
        "The factor 1/2 of the Gaussian's entropy left out.",
        name="entropy without its half",
        holds="a Gaussian's entropy is (1/2) log det(2 pi e S), and so is every difference of them",
        misleads="bits come out doubled, and their order stays right",
    ),
}
