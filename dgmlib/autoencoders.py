"""Autoencoders of every kind: what each of them forces into its code (chapter 07).

An `Autoencoder` is an encoder and a decoder, nothing more; what it learns is decided by its loss::

    model = dense_autoencoder([64, 128, 8])
    loss = lambda model, x: reconstruction_error(model, x)                                     # a bottleneck
    loss = lambda model, x, generator: denoising_error(model, x, 0.3, generator=generator)     # denoising
    loss = lambda model, x: reconstruction_error(model, x) + 0.1 * contraction(model.encode, x)  # contractive

Objectives and networks do not look at values: a NaN in goes to NaN out.
The linear autoencoder is a pair of matrices, decoder U (d, k) and encoder V (k, d), on centred data of covariance S.
"""

import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dgmlib.core import (
    checked,
    distances,
    need_between,
    need_count,
    need_finite,
    need_like,
    need_precise,
    need_shape,
    need_symmetric,
    need_tensor,
    randn_like,
)
from dgmlib.nets import MLP
from dgmlib.worlds import LOG_2PI

# --- the linear autoencoder -----------------------------------------------------------------------------------------


@checked
def principal_axes(cov: Float[Tensor, "d d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """(variances, axes): the eigenvalues of `cov`, largest first, and its eigenvectors as columns in that order.

    Implements :eq:`eq-ae-pca`. Raises ValueError (not square, asymmetric, NaN).

    >>> principal_axes(torch.diag(torch.tensor([1.0, 4.0])))[0].tolist()
    [4.0, 1.0]
    """
    values, vectors = torch.linalg.eigh(need_symmetric("cov", cov))
    return values.flip(0), vectors.flip(1)


@checked
def linear_loss(
    decoder: Float[Tensor, "d k"], encoder: Float[Tensor, "k d"], cov: Float[Tensor, "d d"]
) -> Float[Tensor, ""]:
    """E ||x - U V x||^2 = tr (I - U V) S (I - U V)^T over centred data of covariance S: one number, not one a datum.

    Implements :eq:`eq-ae-linear-loss`. Raises ValueError (shapes). Baldi & Hornik (1989).

    >>> cov, first = torch.diag(torch.tensor([4.0, 1.0])), torch.eye(2)[:, :1]
    >>> linear_loss(first, first.mT, cov).item()
    1.0
    """
    need_like("encoder", encoder, need_like("decoder", decoder, cov))
    residual = torch.eye(len(cov), dtype=cov.dtype, device=cov.device) - decoder @ encoder
    return (residual @ cov * residual).sum()


@checked
def nested_loss(
    decoder: Float[Tensor, "d k"], encoder: Float[Tensor, "k d"], cov: Float[Tensor, "d d"]
) -> Float[Tensor, ""]:
    """The mean of `linear_loss` over codes cut after their first 1, 2, ..., k numbers: one number.

    Implements :eq:`eq-ae-nested`. Its minima are the principal axes themselves, in order, each up to its scale. Raises
    ValueError (shapes). Rippel, Gelbart & Adams (2014), "Learning ordered representations with nested dropout".

    >>> cov = torch.diag(torch.tensor([4.0, 1.0]))
    >>> nested_loss(torch.eye(2), torch.eye(2), cov).item()  # the mean of 1 and 0
    0.5
    """
    return torch.stack([linear_loss(decoder[:, :j], encoder[:j], cov) for j in range(1, len(encoder) + 1)]).mean()


@checked
def critical_point(
    cov: Float[Tensor, "d d"], which: Sequence[int], mixing: Float[Tensor, "k k"] | None = None
) -> tuple[Float[Tensor, "d k"], Float[Tensor, "k d"]]:
    """(U, V) = (E A, A^{-1} E^T), E the principal axes numbered `which`, from 0: where `linear_loss` has no slope.

    Implements :eq:`eq-ae-critical`. `mixing` is A, any invertible matrix, the identity when None. The minimum is at
    `which` = 0, ..., k - 1, and every other choice is a saddle. Raises ValueError. Baldi & Hornik (1989).

    >>> cov = torch.diag(torch.tensor([4.0, 1.0]))
    >>> linear_loss(*critical_point(cov, [0]), cov).item(), linear_loss(*critical_point(cov, [1]), cov).item()
    (1.0, 4.0)
    """
    which = list(which)
    if not which or len(set(which)) < len(which) or not set(which) <= set(range(len(cov))):
        raise ValueError(f"which is {which}, expected some of 0 to {len(cov) - 1}, each once")
    axes = principal_axes(cov)[1][:, which]
    if mixing is None:
        return axes, axes.mT
    need_shape("mixing", need_finite("mixing", need_like("mixing", mixing, cov)), (len(which),) * 2)
    encoder, singular = torch.linalg.solve_ex(mixing, axes.mT)
    if singular:
        raise ValueError("mixing is singular, expected an invertible matrix")
    return axes @ mixing, encoder


@checked
def decayed_optimum(cov: Float[Tensor, "d d"], k: int, decay: float) -> Float[Tensor, "d k"]:
    """The U that, with V = U^T, minimises linear_loss(U, V) + decay (||U||^2 + ||V||^2).

    Implements :eq:`eq-ae-decay`: axis j times (1 - decay / variance_j)^0.5, or 0 where its variance is below `decay`.
    U R with any rotation R is as good. Raises ValueError (a negative decay, more units than dimensions).
    Kunin, Bloom, Goeva & Seed (2019), "Loss landscapes of regularized linear autoencoders".

    >>> cov = torch.diag(torch.tensor([4.0, 1.0])).double()
    >>> decayed_optimum(cov, k=2, decay=2.0).abs().round(decimals=4).tolist()
    [[0.7071, 0.0], [0.0, 0.0]]
    """
    variances, axes = principal_axes(cov)
    need_between("k", need_count("k", k), 1, len(cov))
    share = 1 - need_between("decay", decay, 0.0, math.inf) / variances[:k].clamp(min=torch.finfo(cov.dtype).tiny)
    return axes[:, :k] * share.clamp(min=0).sqrt()


@checked
def principal_angles(a: Float[Tensor, "d k"], b: Float[Tensor, "d k"]) -> Float[Tensor, " k"]:
    """The angles between the spaces that the columns of `a` and of `b` span, in radians, smallest first.

    Implements :eq:`eq-ae-angles`, by sines and cosines together, which is exact for small angles too. Raises ValueError
    (shapes, NaN, columns that are linearly dependent). Björck & Golub (1973).

    >>> angle = principal_angles(torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0], [1.0]])).item()
    >>> round(math.degrees(angle), 3)
    45.0
    """
    need_like("b", b, need_precise("a", a))
    for name, x in (("a", a), ("b", b)):
        need_finite(name, x)
        if torch.linalg.matrix_rank(x) < x.shape[1]:
            raise ValueError(f"{name} has linearly dependent columns, expected {x.shape[1]} independent ones")
    a, b = torch.linalg.qr(a).Q, torch.linalg.qr(b).Q
    cosines = torch.linalg.svdvals(a.mT @ b)
    sines = torch.linalg.svdvals(b - a @ (a.mT @ b)).flip(0)
    return torch.atan2(sines, cosines)


# --- the model ------------------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """Two networks: `encoder` maps data (batch, d) to codes (batch, k), `decoder` maps codes back to data.

    `model(x)` is the reconstruction, `model.encode` and `model.decode` are its halves.

    >>> model = Autoencoder(nn.Linear(64, 8), nn.Linear(8, 64))
    >>> x = torch.zeros(3, 64)
    >>> model.encode(x).shape, torch.equal(model(x), model.decode(model.encode(x)))
    (torch.Size([3, 8]), True)
    """

    @checked
    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(part, nn.Module):
                raise TypeError(f"{name} is a {type(part).__name__}, expected a torch Module")
        self.encoder, self.decoder = encoder, decoder

    @checked
    def encode(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch k"]:
        """The code of each datum."""
        return self.encoder(x)

    @checked
    def decode(self, z: Float[Tensor, "batch k"]) -> Float[Tensor, "batch d"]:
        """What each code stands for."""
        if isinstance(self.decoder, MLP):  # which would call it x
            need_shape("z", need_like("z", z, self.decoder[0].weight), (len(z), self.decoder.d_in))
        return self.decoder(z)

    @checked
    def forward(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """g(f(x))."""
        return self.decode(self.encode(x))


@checked
def dense_autoencoder(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    code: Callable[[], nn.Module] = nn.Identity,
) -> Autoencoder:
    """An autoencoder of fully connected layers: `sizes` from the data to the code, and back again.

    `dense_autoencoder([64, 128, 8])` is 64-128-8-128-64. `activation` stands between the layers, `code` acts on the
    code, the output is linear. Raises ValueError, TypeError (sizes).

    >>> model = dense_autoencoder([64, 128, 8])
    >>> [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    [128, 8, 128, 64]
    """
    return Autoencoder(MLP(sizes, activation).append(code()), MLP(list(reversed(sizes)), activation))


@checked
def lipschitz_bound(network: nn.Module) -> Float[Tensor, ""]:
    """The product of the spectral norms of a network's linear maps: no two inputs end up further apart than that times
    their distance.

    Implements :eq:`eq-ae-lipschitz`. For layers in sequence whose activations have slopes between -1 and 1 (ReLU, tanh,
    sigmoid). Raises ValueError (no linear map).

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> net[0].weight = net[2].weight = nn.Parameter(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    >>> round(lipschitz_bound(net).item(), 4)
    9.0
    """
    norms = [torch.linalg.matrix_norm(m.weight, 2) for m in network.modules() if isinstance(m, nn.Linear)]
    if not norms:
        raise ValueError("network has no nn.Linear, expected at least one")
    return torch.stack(norms).prod()


class IndexCode:
    """The autoencoder that learns nothing: an example's code is its number, the decoder reads it out of a list.

    Codes between two numbers decode to a mixture of the two neighbours in the list. `examples` is (n, d), n >= 2.

    >>> code = IndexCode(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> code.encode(torch.tensor([[0.9, 0.8]])).tolist(), code.decode(torch.tensor([[0.5]])).tolist()
    ([[1.0]], [[0.5, 0.5]])
    """

    @checked
    def __init__(self, examples: Float[Tensor, "n d"]):
        self.examples, self.d = need_finite("examples", need_precise("examples", examples)), examples.shape[1]
        need_between("the number of examples", len(examples), 2, math.inf)

    @checked
    def encode(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch 1"]:
        """The number, from 0, of the nearest example. Implements :eq:`eq-ae-index`. Raises ValueError (shape, NaN)."""
        need_finite("x", need_like("x", x, self.examples))
        return distances(x, self.examples).argmin(1, keepdim=True).to(x.dtype)

    @checked
    def decode(self, z: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch d"]:
        """The example of that number; in between, a straight line from one to the next; beyond the ends, the end.

        Raises ValueError (shape, NaN).
        """
        position = need_finite("z", need_like("z", z, self.examples)).clamp(0, len(self.examples) - 1)
        before = position.long().clamp(max=len(self.examples) - 2)[:, 0]
        return torch.lerp(self.examples[before], self.examples[before + 1], position - before[:, None])


# --- objectives -----------------------------------------------------------------------------------------------------


@checked
def reconstruction_error(model: nn.Module, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
    """||x - g(f(x))||^2 for each example, summed over coordinates.

    Implements :eq:`eq-ae-loss`. Raises ValueError (shapes, the model's output among them).

    >>> reconstruction_error(nn.ReLU(), torch.tensor([[1.0, -2.0]])).tolist()
    [4.0]
    """
    return (x - _reconstruction(model, x)).square().sum(1)


def _reconstruction(model: nn.Module, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
    return need_shape("model(x)", need_tensor("model(x)", model(x)), tuple(x.shape))


@checked
def denoising_error(
    model: nn.Module, x: Float[Tensor, "batch d"], noise_std: float, *, generator: torch.Generator | None = None
) -> Float[Tensor, " batch"]:
    """||x - r(x + noise_std eps)||^2 at one draw of eps ~ N(0, I) an example: corrupted input, clean target.

    Implements :eq:`eq-ae-denoising`. Raises ValueError (a noise_std below 0; shapes, the model's output among them).
    Vincent et al. (2008).

    >>> denoising_error(nn.ReLU(), torch.tensor([[1.0, -2.0]]), noise_std=0.0).tolist()
    [4.0]
    """
    need_between("noise_std", noise_std, 0.0, math.inf)
    noisy = x + noise_std * randn_like(x, generator=generator)
    return (x - _reconstruction(model, noisy)).square().sum(1)


@checked
def contraction(encoder: Callable[[Tensor], Tensor], x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
    """||df/dx||_F^2 at each example: how much a small step of the input moves the code, by autograd.

    Implements :eq:`eq-ae-contraction`. `encoder` maps (batch, d) to (batch, k), row by row. Differentiable; costs k
    backward passes. Raises ValueError (codes without two axes, NaN: a slope of 0 or 1 would not show it). Rifai et al.
    (2011), "Contractive auto-encoders".

    >>> contraction(lambda x: 2 * x, torch.ones(1, 3)).tolist()
    [12.0]
    """
    need_tensor("encoder(x)", encoder(need_finite("x", x)[:1]), 2)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: encoder(row[None])[0]))(x)
    return jacobian.square().sum((1, 2))


@checked
def sigmoid_contraction(weight: Float[Tensor, "k d"], codes: Float[Tensor, "batch k"]) -> Float[Tensor, " batch"]:
    """`contraction` of codes h = sigmoid(W x + b) without autograd: sum_j (h_j (1 - h_j))^2 ||w_j||^2.

    Implements :eq:`eq-ae-contraction-sigmoid`. Raises ValueError (shapes).

    >>> sigmoid_contraction(torch.tensor([[4.0, 0.0]]), torch.tensor([[0.5]])).tolist()
    [1.0]
    """
    need_like("codes", codes, weight)
    return (codes * (1 - codes)).square() @ weight.square().sum(1)


@checked
def sparsity_kl(codes: Float[Tensor, "batch k"], rate: float) -> Float[Tensor, ""]:
    """A batch statistic, one number: sum_j KL(rate || mean activation of unit j), two coins, for codes in (0, 1).

    Implements :eq:`eq-ae-sparsity-kl`. Zero iff every unit is on at the `rate` on average, whatever it does on each
    example; infinite for a unit that is always 0 or always 1, NaN for one whose mean lies outside [0, 1]. Raises
    ValueError (a rate outside (0, 1)). Ng (2011), "Sparse autoencoder".

    >>> sparsity_kl(torch.tensor([[0.2], [0.8]]), rate=0.5).item()
    0.0
    """
    need_between("rate", rate, 0.0, 1.0, open_ends=True)
    mean = codes.mean(0)
    return (rate * (rate / mean).log() + (1 - rate) * ((1 - rate) / (1 - mean)).log()).sum()


@checked
def l1_penalty(codes: Float[Tensor, "batch k"], dictionary: Float[Tensor, "d k"]) -> Float[Tensor, " batch"]:
    """sum_j |z_j| ||u_j|| for each example, u_j the column of the linear decoder that unit j writes.

    Implements :eq:`eq-ae-l1`. With ||u_j|| it does not change when a code is divided, and its column multiplied, by the
    same number; without it a network makes the penalty as small as it likes that way. Raises ValueError (shapes).

    >>> l1_penalty(torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.0], [4.0, 1.0]])).tolist()
    [7.0]
    """
    return need_like("codes", codes, dictionary).abs() @ dictionary.norm(dim=0)


# --- stacks, one layer at a time ------------------------------------------------------------------------------------


@checked
def greedy_layers(
    x: Float[Tensor, "n d"],
    sizes: Sequence[int],
    train: Callable[[Autoencoder, Tensor], object],
    activation: Callable[[], nn.Module] = nn.Sigmoid,
) -> list[Autoencoder]:
    """One-hidden-layer autoencoders of the given sizes, each trained to reproduce the codes of the one below.

    `train(layer, inputs)` trains one of them; those below are done and stay as they are.
    `sizes` starts with d. Raises ValueError, TypeError. Bengio, Lamblin, Popovici & Larochelle (2007).

    >>> layers = greedy_layers(torch.zeros(5, 8), [8, 4, 2], train=lambda layer, inputs: None)
    >>> [layer.encoder[0].out_features for layer in layers]
    [4, 2]
    """
    need_shape("x", x, (len(x), sizes[0] if sizes else 0))
    layers, codes = [], x
    for d, k in pairwise(sizes):
        layer = dense_autoencoder([d, k], code=activation).to(x)
        train(layer, codes)
        layers.append(layer)
        codes = layer.encode(codes).detach()
    if not layers:
        raise ValueError(f"sizes is {list(sizes)}, expected the size of the data and of one layer or more")
    return layers


@checked
def stacked(layers: Sequence[Autoencoder]) -> Autoencoder:
    """The deep autoencoder made of trained layers: up through all encoders, down through all decoders.

    It shares their weights. Raises ValueError (no layer).

    >>> deep = stacked([dense_autoencoder([8, 4]), dense_autoencoder([4, 2])])
    >>> deep.encode(torch.zeros(5, 8)).shape, deep(torch.zeros(5, 8)).shape
    (torch.Size([5, 2]), torch.Size([5, 8]))
    """
    if not layers:
        raise ValueError("layers is empty, expected one autoencoder or more")
    return Autoencoder(
        nn.Sequential(*(layer.encoder for layer in layers)),
        nn.Sequential(*(layer.decoder for layer in reversed(layers))),
    )


# --- what the codes are used for ------------------------------------------------------------------------------------


@checked
def wiener_filter(cov: Float[Tensor, "d d"], noise_std: float) -> Float[Tensor, "d d"]:
    """S (S + noise_std^2 I)^{-1}: the linear map that best undoes noise, and for Gaussian data the best map there is.

    Implements :eq:`eq-ae-wiener`. For centred data of covariance S. Raises ValueError (a noise_std of 0 or below).

    >>> wiener_filter(torch.tensor([[3.0]]), noise_std=1.0).tolist()
    [[0.75]]
    """
    need_between("noise_std", noise_std, 0.0, math.sqrt(sys.float_info.max), open_ends=True)
    need_symmetric("cov", cov)
    noisy = cov + noise_std**2 * torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    return torch.linalg.solve(noisy, cov).mT


@checked
def psnr(x: Float[Tensor, "batch d"], y: Float[Tensor, "batch d"], peak: float = 1.0) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio in decibels: 10 log10(peak^2 / mean squared error over the pixels of one image).

    Implements :eq:`eq-ae-psnr`. Infinite for equal images. Raises ValueError (shapes, a peak of 0
    or below).

    >>> round(psnr(torch.zeros(1, 4), torch.full((1, 4), 0.1)).item(), 3)
    20.0
    """
    need_between("peak", peak, 0.0, math.inf, open_ends=True)
    return 20 * math.log10(peak) - 10 * (x - y).square().mean(1).log10()


@checked
def code_length(
    codes: Float[Tensor, "batch k"], mean: Float[Tensor, " k"], std: Float[Tensor, " k"], step: float
) -> Float[Tensor, " batch"]:
    """Bits that store each code, its numbers rounded to multiples of `step`, under a Gaussian for each coordinate.

    Implements :eq:`eq-ae-bits`: -log2 of the Gaussian's mass on the cells that the code falls in, computed in float64.
    An arithmetic coder attains it up to a bit or two an image. Raises ValueError (shapes, a step or a deviation that is
    not positive).

    >>> half = math.sqrt(2) * torch.special.erfinv(torch.tensor(0.5)).item()  # N(0, 1) has mass 1/2 in (-half, half)
    >>> round(code_length(torch.zeros(1, 3), torch.zeros(3), torch.ones(3), step=2 * half).item(), 4)
    3.0
    """
    need_between("step", step, 0.0, math.inf, open_ends=True)
    need_between("the smallest std", float(std.min()), 0.0, math.inf, open_ends=True)
    x, width = codes.double(), step / std.double()  # of a cell, in standard deviations
    centre = ((torch.round(x / step) * step - mean) / std).abs()
    # The cell, reflected into the lower tail; of a narrow one only the density and its curvature are left.
    upper, lower = torch.special.log_ndtr(width / 2 - centre), torch.special.log_ndtr(-width / 2 - centre)
    wide = upper + torch.log1p(-(lower - upper).exp())
    narrow = width.log() - 0.5 * (LOG_2PI + centre.square()) + width.square() * (centre.square() - 1) / 24
    log_mass = torch.where(width * centre.clamp(min=1) > 1e-3, wide, narrow)
    return (-log_mass.sum(1) / math.log(2)).to(codes.dtype)


@checked
def orbit_variance(orbits: Float[Tensor, "n orbit d"]) -> Float[Tensor, " n"]:
    """The mean squared distance of an orbit's members from their mean: what a code that cannot tell them apart costs.

    Implements :eq:`eq-ae-invariance`. `orbits[i]` holds all versions of datum i, equally likely. Raises ValueError.

    >>> orbit_variance(torch.tensor([[[-1.0], [1.0]]])).tolist()
    [1.0]
    """
    return (orbits - orbits.mean(1, keepdim=True)).square().sum(2).mean(1)
