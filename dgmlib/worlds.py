"""The six worlds of the appendix: laws simple enough that every question about them has an exact answer.

A world computes and returns float64, whatever comes in: it is the ruler, and a ruler has fine marks. The Gaussian
algebra and the Markov chain keep the precision of their arguments.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib.core import (
    Density,
    checked,
    need_between,
    need_cholesky,
    need_count,
    need_finite,
    need_option,
    need_probabilities,
    need_shape,
    need_tensor,
)
from dgmlib.sampling import categorical

LOG_2PI = math.log(2 * math.pi)


def _float64(name: str, value: Tensor | list, ndim: int) -> Tensor:
    """`value` as a finite float64 tensor with `ndim` axes."""
    try:
        x = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is no array of numbers, expected one with {ndim} axes") from None
    return need_finite(name, need_tensor(name, x, ndim))


def _points(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`x` as finite float64 points."""
    return need_finite("x", x).to(torch.float64)


def _solve(name: str, matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^{-1} right, for a block of the argument `name`."""
    solution, failed = torch.linalg.solve_ex(need_finite(name, matrix), right)
    if failed.any():
        raise ValueError(f"{name} has a singular block, expected one that can be inverted")
    return solution


def _eye(d: int, like: Tensor) -> Float[Tensor, "d d"]:
    return torch.eye(d, dtype=torch.float64, device=like.device)


# --- Gaussian algebra -----------------------------------------------------------------------------------------------


def _split(name: str, d: int, drop: Sequence[int]) -> tuple[list[int], list[int]]:
    """The indices of range(d) not in `drop`, the argument `name`, and `drop` as a list."""
    drop = list(drop)
    if not drop or len(set(drop)) != len(drop) or not set(drop) < set(range(d)):
        raise ValueError(f"{name} is {drop}, expected some but not all of 0 to {d - 1}, each once")
    return [i for i in range(d) if i not in drop], drop


@checked
def schur_complement(matrix: Float[Tensor, "d d"], drop: Sequence[int]) -> Float[Tensor, "rest rest"]:
    """A - B D^{-1} B^T, where D is the block of `drop` and A that of the other indices.

    Implements :eq:`eq-world-schur`. For a covariance it is the covariance of the rest given `drop`; it is also the
    inverse of the block of the inverse.

    >>> schur_complement(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), drop=[1]).tolist()
    [[1.5]]
    """
    keep, drop = _split("drop", len(need_finite("matrix", matrix)), drop)
    cross = matrix[keep][:, drop]
    return matrix[keep][:, keep] - cross @ _solve("matrix", matrix[drop][:, drop], matrix[drop][:, keep])


@checked
def condition(
    mean: Float[Tensor, " d"], cov: Float[Tensor, "d d"], given: Sequence[int], value: Float[Tensor, " g"]
) -> tuple[Float[Tensor, " rest"], Float[Tensor, "rest rest"]]:
    """Mean and covariance of N(mean, cov)'s other coordinates once those in `given` equal `value`.

    Implements :eq:`eq-world-conditional`.

    >>> cov = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> [part.tolist() for part in condition(torch.zeros(2), cov, given=[1], value=torch.tensor([2.0]))]
    [[1.0], [[1.5]]]
    """
    keep, given = _split("given", len(need_finite("mean", mean)), given)
    need_finite("value", need_shape("value", value, (len(given),))), need_finite("cov", cov)
    surprise = _solve("cov", cov[given][:, given], value - mean[given])
    return mean[keep] + cov[keep][:, given] @ surprise, schur_complement(cov, given)


@checked
def gaussian_product(
    mean_a: Float[Tensor, " d"], cov_a: Float[Tensor, "d d"], mean_b: Float[Tensor, " d"], cov_b: Float[Tensor, "d d"]
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"], Float[Tensor, ""]]:
    """(m, C, log c) with N(x; a, A) N(x; b, B) = c N(x; m, C). Implements :eq:`eq-world-product`.

    >>> one = torch.eye(1)
    >>> mean, cov, log_c = gaussian_product(torch.tensor([0.0]), one, torch.tensor([2.0]), one)
    >>> mean.tolist(), cov.tolist(), round(float(log_c), 4)  # log N(2; 0, 2)
    ([1.0], [[0.5]], -2.2655)
    """
    need_finite("mean_a", mean_a), need_finite("mean_b", mean_b)
    need_cholesky("cov_a", cov_a), need_cholesky("cov_b", cov_b)
    gain = torch.linalg.solve(cov_a + cov_b, cov_a).mT  # A (A + B)^{-1}
    overlap = torch.distributions.MultivariateNormal(mean_b, cov_a + cov_b).log_prob(mean_a)
    return mean_a + gain @ (mean_b - mean_a), cov_a - gain @ cov_a, overlap


# --- 1: a linear-Gaussian latent model ------------------------------------------------------------------------------


class LinearGaussian(Density):
    """x = W z + mu + sigma eps with z ~ N(0, I_k), eps ~ N(0, I_d): a one-layer decoder whose evidence is known.

    `weight` (d, k), `mean` (d,), `noise_std` sigma > 0. (Probabilistic PCA: Tipping and Bishop, 1999.)

    >>> world = LinearGaussian([[1.0], [1.0], [1.0]], mean=[0.0, 0.0, 0.0], noise_std=1.0)
    >>> [part.tolist() for part in world.posterior(torch.ones(1, 3))]
    [[[0.75]], [[0.25]]]
    >>> x = world.sample(5)
    >>> world.log_prob(x).shape, world.score(x).shape
    (torch.Size([5]), torch.Size([5, 3]))
    """

    @checked
    def __init__(self, weight: Float[Tensor, "d k"] | list, mean: Float[Tensor, " d"] | list, noise_std: float):
        self.weight = _float64("weight", weight, 2)
        self.d, self.k = self.weight.shape
        self.mean = need_shape("mean", _float64("mean", mean, 1), (self.d,))
        self.noise_std = need_between("noise_std", float(noise_std), 0.0, math.inf, open_ends=True)
        self.cov = self.weight @ self.weight.T + noise_std**2 * _eye(self.d, self.weight)
        self._evidence = GaussianMixture([1.0], self.mean[None], self.cov[None])

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """The evidence log N(x; mu, W W^T + sigma^2 I). Implements :eq:`eq-world-linear-evidence`."""
        return self._evidence.log_prob(x)

    @checked
    def score(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """-(W W^T + sigma^2 I)^{-1} (x - mu). Implements :eq:`eq-world-linear-score`."""
        return self._evidence.score(x)

    @checked
    def posterior(self, x: Float[Tensor, "batch d"]) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "k k"]]:
        """(m(x), S) with p(z | x) = N(z; m(x), S): S = (I + W^T W / sigma^2)^{-1}, m = S W^T (x - mu) / sigma^2.

        Implements :eq:`eq-world-linear-posterior`.
        """
        precision = _eye(self.k, self.weight) + self.weight.T @ self.weight / self.noise_std**2
        cov = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        return (_points(x) - self.mean) @ self.weight @ cov / self.noise_std**2, cov

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws, latent first."""
        need_count("n", n)
        z = torch.randn(n, self.k, generator=generator, dtype=torch.float64, device=self.mean.device)
        noise = torch.randn(n, self.d, generator=generator, dtype=torch.float64, device=self.mean.device)
        return z @ self.weight.T + self.mean + self.noise_std * noise


# --- 2: a Gaussian mixture at every noise level ---------------------------------------------------------------------


class GaussianMixture(Density):
    """p(x) = sum_k w_k N(x; mu_k, Sigma_k), closed under x -> alpha x + sigma eps.

    `weights` (k,) are probabilities, `means` (k, d), `covs` (k, d, d) symmetric and positive definite, or exactly
    zero: a point mass, which can be sampled and noised but has no density. Raises ValueError otherwise.

    >>> points = GaussianMixture([0.5, 0.5], means=[[-1.0], [1.0]], covs=[[[0.0]], [[0.0]]])
    >>> x = torch.tensor([[0.5]])
    >>> round(points.denoiser(x, alpha=1.0, sigma=1.0).item(), 4), round(math.tanh(0.5), 4)
    (0.4621, 0.4621)
    >>> noisy = points.noised(alpha=1.0, sigma=1.0)
    >>> noisy.responsibilities(torch.zeros(1, 1)).round(decimals=4).tolist()
    [[0.5, 0.5]]
    >>> x = noisy.sample(5)
    >>> noisy.log_prob(x).shape, noisy.score(x).shape
    (torch.Size([5]), torch.Size([5, 1]))
    """

    @checked
    def __init__(
        self,
        weights: Float[Tensor, " k"] | list,
        means: Float[Tensor, "k d"] | list,
        covs: Float[Tensor, "k d d"] | list,
    ):
        self.weights = need_probabilities("weights", _float64("weights", weights, 1))
        k = len(self.weights)
        self.means = _float64("means", means, 2)
        self.d = self.means.shape[1]
        need_shape("means", self.means, (k, self.d))
        self.covs = need_shape("covs", _float64("covs", covs, 3), (k, self.d, self.d))
        asymmetry = float((self.covs - self.covs.mT).abs().max())
        if asymmetry > 1e-10 * max(1.0, float(self.covs.abs().max())):
            raise ValueError(f"covs is asymmetric by {asymmetry:.3g}, expected symmetric matrices")
        self.chol, failed = torch.linalg.cholesky_ex(self.covs)
        self._point_mass = (self.covs == 0).all(-1).all(-1)
        self.chol = torch.where(self._point_mass[:, None, None], 0.0, self.chol)
        bad = (failed > 0) & ~self._point_mass
        if bad.any():
            raise ValueError(f"covs[{int(bad.nonzero()[0])}] is not positive definite, expected that or exactly zero")

    def _log_joint(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch k"]:
        """log w_k + log N(x; mu_k, Sigma_k)."""
        if self._point_mass.any():
            raise ValueError("covs has a zero matrix, a point mass, expected a density: call noised first")
        offset = (_points(x)[:, None] - self.means).permute(1, 2, 0)  # (k, d, batch)
        white = torch.linalg.solve_triangular(self.chol, offset, upper=False)
        log_det = self.chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (self.weights.log() - log_det - 0.5 * self.d * LOG_2PI) - 0.5 * white.square().sum(1).T

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """log p(x) in nats. Implements :eq:`eq-world-mixture`."""
        return self._log_joint(x).logsumexp(-1)

    @checked
    def responsibilities(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch k"]:
        """p(k | x), the posterior probability of each component. Implements :eq:`eq-world-responsibility`."""
        return self._log_joint(x).softmax(-1)

    @checked
    def score(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """grad_x log p(x) = sum_k p(k | x) Sigma_k^{-1} (mu_k - x). Implements :eq:`eq-world-mixture-score`."""
        responsibilities = self.responsibilities(x)
        offset = (self.means - _points(x)[:, None]).permute(1, 2, 0)  # (k, d, batch)
        pull = torch.cholesky_solve(offset, self.chol)
        return torch.einsum("bk,kdb->bd", responsibilities, pull)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws: a component by its weight, then a Gaussian draw within it."""
        component = categorical(self.weights, n, generator=generator)
        noise = torch.randn(n, self.d, generator=generator, dtype=torch.float64, device=self.means.device)
        return self.means[component] + torch.einsum("nij,nj->ni", self.chol[component], noise)

    @checked
    def noised(self, alpha: float, sigma: float) -> "GaussianMixture":
        """The law of alpha x + sigma eps, eps ~ N(0, I): again a mixture. Implements :eq:`eq-world-noised`."""
        alpha = need_between("alpha", float(alpha), -math.inf, math.inf, open_ends=True)
        sigma = need_between("sigma", float(sigma), 0.0, math.inf)
        covs = alpha**2 * self.covs + sigma**2 * _eye(self.d, self.means)
        return GaussianMixture(self.weights, alpha * self.means, covs)

    def _posterior(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        """p(k | x_t) (batch, k) and E[x_0 | x_t, k] (batch, k, d) for x_t = alpha x_0 + sigma eps."""
        noised = self.noised(alpha, sigma)
        offset = (_points(x)[:, None] - noised.means).permute(1, 2, 0)  # (k, d, batch)
        regression = alpha * self.covs @ torch.cholesky_solve(offset, noised.chol)
        return noised.responsibilities(x), self.means + regression.permute(2, 0, 1)

    @checked
    def denoiser(self, x: Float[Tensor, "batch d"], alpha: float, sigma: float) -> Float[Tensor, "batch d"]:
        """E[x_0 | alpha x_0 + sigma eps = x], the least-squares denoiser. Implements :eq:`eq-world-denoiser`."""
        responsibilities, guesses = self._posterior(x, alpha, sigma)
        return torch.einsum("bk,bkd->bd", responsibilities, guesses)

    @checked
    def mmse(self, alpha: float, sigma: float) -> Float[Tensor, ""]:
        """E||x_0 - E[x_0 | x_t]||^2, the least squared error of any denoiser, by quadrature for d <= 2.

        Implements :eq:`eq-world-mmse`. The trapezoid rule runs over +-8.5 standard deviations of each noised component,
        where it converges exponentially. Raises ValueError for d > 2.

        >>> normal = GaussianMixture([1.0], means=[[0.0]], covs=[[[1.0]]])
        >>> round(normal.mmse(alpha=1.0, sigma=1.0).item(), 4)
        0.5
        """
        if self.d > 2:
            raise ValueError(f"the mixture has dimension {self.d}, expected at most 2: mmse is a quadrature")
        noised = self.noised(alpha, sigma)
        axis = torch.linspace(-8.5, 8.5, 1701 if self.d == 1 else 341, dtype=torch.float64, device=self.means.device)
        grid = torch.cartesian_prod(*[axis] * self.d).reshape(-1, self.d)
        density = (-0.5 * grid.square().sum(1)).softmax(0)
        explained = alpha**2 * self.covs @ torch.cholesky_solve(self.covs, noised.chol)
        within = (self.covs - explained).diagonal(dim1=-2, dim2=-1).sum(-1)
        between = torch.zeros_like(within)
        for k in range(len(self.weights)):
            responsibilities, guesses = self._posterior(noised.means[k] + grid @ noised.chol[k].T, alpha, sigma)
            mean = torch.einsum("mk,mkd->md", responsibilities, guesses)
            spread = (guesses - mean[:, None]).square().sum(-1)
            between[k] = density @ (responsibilities * spread).sum(-1)
        return self.weights @ (within + between)


# --- 3: every state of at most 16 bits ------------------------------------------------------------------------------


@checked
def bit_states(d: int) -> Float[Tensor, "states d"]:
    """All 2^d vectors of d bits (d <= 16), counting upwards with the first bit the most significant.

    >>> bit_states(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    if need_count("d", d) > 16:
        raise ValueError(f"d is {d}, expected at most 16: 2^d states are listed")
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=d)), dtype=torch.float64)


def _need_bits(name: str, bits: Sequence[int], d: int) -> None:
    if not bits or len(set(bits)) < len(bits) or not set(bits) <= set(range(d)):
        raise ValueError(f"{name} is {list(bits)}, expected some of 0 to {d - 1}, each once")


class DiscreteLaw(Density):
    """A law on d <= 16 bits given by its whole table: `probs` (2^d,) in the order of `bit_states(d)`.

    >>> law = DiscreteLaw([0.5, 0.0, 0.25, 0.25])  # of 00, 01, 10, 11
    >>> law.marginal([1]).probs.tolist(), law.conditional({0: 1}).probs.tolist()
    ([0.75, 0.25], [0.5, 0.5])
    >>> round(law.entropy().item() / math.log(2), 4), round(law.mutual_information([0], [1]).item() / math.log(2), 4)
    (1.5, 0.3113)
    >>> law.log_prob(torch.tensor([[0.0, 1.0]])).item(), law.sample(3).shape
    (-inf, torch.Size([3, 2]))
    """

    @checked
    def __init__(self, probs: Float[Tensor, " states"] | list):
        self.probs = need_probabilities("probs", _float64("probs", probs, 1))
        self.d = len(self.probs).bit_length() - 1
        if self.d < 1 or len(self.probs) != 2**self.d:
            raise ValueError(f"probs has {len(self.probs)} entries, expected a power of two, 2 or more")
        self.states = bit_states(self.d).to(self.probs.device)

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """log p(x) of each row of bits, minus infinity off the support."""
        x = _points(x)
        if not ((x == 0) | (x == 1)).all():
            raise ValueError("x has entries other than 0 and 1, expected bits")
        place = 2.0 ** torch.arange(self.d - 1, -1, -1, dtype=torch.float64, device=x.device)
        return self.probs.log()[(x @ place).long()]

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` rows of bits."""
        return self.states[categorical(self.probs, n, generator=generator)]

    @checked
    def marginal(self, bits: Sequence[int]) -> "DiscreteLaw":
        """The law of the listed bits, in that order. Implements :eq:`eq-world-marginal`."""
        table = self.probs.reshape([2] * self.d)
        _need_bits("bits", bits, self.d)
        others = [i for i in range(self.d) if i not in bits]
        return DiscreteLaw(table.permute(*bits, *others).reshape(2 ** len(bits), -1).sum(1))

    @checked
    def conditional(self, given: dict[int, int]) -> "DiscreteLaw":
        """The law of the other bits once bit i equals given[i]. Implements :eq:`eq-world-bit-conditional`."""
        _split("given", self.d, list(given))
        for value in given.values():
            need_option("given", value, (0, 1))
        joint = self.probs.reshape([2] * self.d)[tuple(given.get(i, slice(None)) for i in range(self.d))].flatten()
        if joint.sum() == 0:
            raise ValueError(f"given is {given}, expected an event of positive probability")
        return DiscreteLaw(joint / joint.sum())

    def entropy(self) -> Float[Tensor, ""]:
        """H(p) = -sum p log p in nats. Implements :eq:`eq-world-entropy`."""
        return torch.special.entr(self.probs).sum()

    @checked
    def mutual_information(self, a: Sequence[int], b: Sequence[int]) -> Float[Tensor, ""]:
        """I(x_a; x_b) = H(x_a) + H(x_b) - H(x_a, x_b) in nats. Implements :eq:`eq-world-information`."""
        for name, bits in (("a", a), ("b", b), ("a and b", [*a, *b])):
            _need_bits(name, bits, self.d)
        return self.marginal(a).entropy() + self.marginal(b).entropy() - self.marginal([*a, *b]).entropy()


def bars_and_stripes() -> DiscreteLaw:
    """The six 2 x 2 images whose rows, or whose columns, are constant, equally likely; bits in reading order.

    >>> int((bars_and_stripes().probs > 0).sum())
    6
    """
    x = bit_states(4)
    rows = (x[:, 0] == x[:, 1]) & (x[:, 2] == x[:, 3])
    columns = (x[:, 0] == x[:, 2]) & (x[:, 1] == x[:, 3])
    return DiscreteLaw((rows | columns).to(torch.float64) / 6)


@checked
def even_parity(d: int) -> DiscreteLaw:
    """Uniform on the d-bit vectors with an even number of ones; any d - 1 of its bits are independent fair coins.

    >>> even_parity(2).probs.tolist()
    [0.5, 0.0, 0.0, 0.5]
    """
    return DiscreteLaw((bit_states(d).sum(1) % 2 == 0).to(torch.float64) / 2 ** (d - 1))


# --- 4: quadrature on a plane, for a network with two inputs --------------------------------------------------------


class Grid2d:
    """An n x n midpoint rule on the square [-extent, extent]^2: `points` (n^2, 2) and `log_cell`, log area of a cell.

    For a smooth function that has died out at the edge its error falls faster than any power of the cell's side.

    >>> grid = Grid2d(6.0, n=50)
    >>> log_normal = -LOG_2PI - grid.points.square().sum(1) / 2
    >>> abs(float(grid.integrate(log_normal))) < 1e-6
    True
    >>> log_evidence, cells = grid.posterior(torch.zeros(1, 2500))
    >>> cells.shape, round(float(cells.sum()), 4)
    (torch.Size([1, 2500]), 1.0)
    """

    @checked
    def __init__(self, extent: float, n: int, device: torch.device | str | None = None):
        self.extent = need_between("extent", float(extent), 0.0, math.inf, open_ends=True)
        self.n = need_count("n", n, at_least=2)
        self.log_cell = 2 * math.log(2 * extent / n)
        axis = ((torch.arange(n, dtype=torch.float64, device=device) + 0.5) * 2 / n - 1) * extent
        self.points = torch.cartesian_prod(axis, axis)

    @checked
    def integrate(self, log_f: Float[Tensor, "*batch points"]) -> Float[Tensor, "*batch"]:
        """log of the integral of exp(log_f) over the square, for values at `points`. Implements :eq:`eq-world-grid`."""
        need_shape("log_f", log_f, (*log_f.shape[:-1], self.n**2))
        return log_f.to(torch.float64).logsumexp(-1) + self.log_cell

    @checked
    def posterior(
        self, log_likelihood: Float[Tensor, "batch points"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch points"]]:
        """log p(x) = log int p(x | z) N(z; 0, I) dz, and p(z | x) as a probability of each cell.

        Implements :eq:`eq-world-grid-evidence`. `log_likelihood` is log p(x_i | z) at every grid point z.
        """
        need_shape("log_likelihood", log_likelihood, (len(log_likelihood), self.n**2))
        log_prior = -LOG_2PI - 0.5 * self.points.square().sum(1)
        log_joint = log_likelihood.to(torch.float64) + log_prior
        log_evidence = self.integrate(log_joint)
        return log_evidence, (log_joint + self.log_cell - log_evidence[:, None]).exp()


# --- 5: Ornstein-Uhlenbeck, or AR(1) in continuous time -------------------------------------------------------------


class OrnsteinUhlenbeck:
    """dx = -rate (x - mean) dt + diffusion dB: the linear SDE. Seen every h it is AR(1) with coefficient exp(-rate h).

    `rate` > 0 in 1/time, `diffusion` > 0. (Uhlenbeck and Ornstein, 1930.)

    >>> process = OrnsteinUhlenbeck(rate=1.0, diffusion=2.0)
    >>> mean, variance = process.transition(torch.tensor([3.0]), t=math.log(2))
    >>> round(mean.item(), 4), round(variance.item(), 4), process.autocovariance(torch.zeros(1)).item()
    (1.5, 1.5, 2.0)
    >>> process.sample(torch.tensor([0.0, 1.0]), 3, start=5.0)[:, 0].tolist()
    [5.0, 5.0, 5.0]
    """

    @checked
    def __init__(self, rate: float, diffusion: float, mean: float = 0.0):
        self.rate = need_between("rate", float(rate), 0.0, math.inf, open_ends=True)
        self.diffusion = need_between("diffusion", float(diffusion), 0.0, math.inf, open_ends=True)
        self.mean = need_between("mean", float(mean), -math.inf, math.inf, open_ends=True)

    @checked
    def transition(self, x: Float[Tensor, "*shape"], t: float) -> tuple[Float[Tensor, "*shape"], Float[Tensor, ""]]:
        """Mean and variance of x(s + t) given x(s) = x, exact for every t >= 0.

        Implements :eq:`eq-world-transition`.
        """
        t = torch.tensor(need_between("t", float(t), 0.0, math.inf), dtype=torch.float64, device=x.device)
        mean = self.mean + torch.exp(-self.rate * t) * (_points(x) - self.mean)
        return mean, -torch.expm1(-2 * self.rate * t) * self.diffusion**2 / (2 * self.rate)

    @checked
    def autocovariance(self, lag: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Cov(x(s), x(s + lag)) in the stationary law, its variance at lag 0.

        Implements :eq:`eq-world-autocovariance`.
        """
        return self.diffusion**2 / (2 * self.rate) * torch.exp(-self.rate * need_finite("lag", lag).abs())

    @checked
    def sample(
        self,
        times: Float[Tensor, " T"],
        n: int,
        *,
        start: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n T"]:
        """`n` exact paths at increasing `times`, from x(times[0]) = start or, without it, from the stationary law."""
        if (need_finite("times", times).diff() <= 0).any():
            raise ValueError("times do not increase, expected strictly increasing ones")
        if start is not None:
            need_between("start", start, -math.inf, math.inf)
        shape = (need_count("n", n), len(times))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64, device=times.device)
        spread = self.diffusion / math.sqrt(2 * self.rate)
        path = [self.mean + spread * noise[:, 0] if start is None else torch.full_like(noise[:, 0], start)]
        for i, step in enumerate(times.diff().tolist(), start=1):
            mean, variance = self.transition(path[-1], step)
            path.append(mean + variance.sqrt() * noise[:, i])
        return torch.stack(path, 1)


# --- 6: the circle --------------------------------------------------------------------------------------------------


class Circle(Density):
    """x = x_0 + sigma eps, x_0 uniform on the unit circle of the plane: a manifold whose noisy density is known.

    >>> circle, x = Circle(0.1), torch.tensor([[2.0, 0.0]])
    >>> circle.denoiser(x).round(decimals=3).tolist()
    [[0.997, 0.0]]
    >>> bool(circle.score(x)[0, 0] < 0), circle.log_prob(circle.sample(5)).shape
    (True, torch.Size([5]))
    """

    d = 2

    @checked
    def __init__(self, sigma: float):
        self.sigma = need_between("sigma", float(sigma), 0.0, math.inf, open_ends=True)

    @checked
    def log_prob(self, x: Float[Tensor, "batch 2"]) -> Float[Tensor, " batch"]:
        """-log(2 pi sigma^2) - (r^2 + 1) / (2 sigma^2) + log I_0(r / sigma^2), r = ||x||.

        Implements :eq:`eq-world-circle`.
        """
        r = torch.linalg.vector_norm(_points(x), dim=1)
        # i0e(u) = exp(-u) I_0(u) stays finite, and completes the square
        bessel = torch.special.i0e(r / self.sigma**2).log()
        return bessel - LOG_2PI - 2 * math.log(self.sigma) - (r - 1).square() / (2 * self.sigma**2)

    @checked
    def denoiser(self, x: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch 2"]:
        """E[x_0 | x] = (x / r) I_1(r / sigma^2) / I_0(r / sigma^2). Implements :eq:`eq-world-circle-denoiser`."""
        x = _points(x)
        r = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=1e-150)
        u = r / self.sigma**2
        return x / r * torch.special.i1e(u) / torch.special.i0e(u)

    @checked
    def score(self, x: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch 2"]:
        """grad_x log p(x) = (E[x_0 | x] - x) / sigma^2. Implements :eq:`eq-world-circle-score`."""
        return (self.denoiser(x) - x) / self.sigma**2

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        """`n` draws: an angle, then the noise."""
        need_count("n", n)
        device = None if generator is None else generator.device
        angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64, device=device)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64, device=device)
        return torch.stack([angle.cos(), angle.sin()], 1) + self.sigma * noise


# --- a Markov chain with a few states -------------------------------------------------------------------------------


@checked
def stationary(transition: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
    """The law pi with pi P = pi, for P[i, j] = p(j | i). Implements :eq:`eq-world-stationary`.

    Solves (I - P + 1 1^T)^T pi = 1. Raises ValueError when pi is not unique.

    >>> stationary(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).double()).round(decimals=4).tolist()
    [0.3333, 0.6667]
    """
    need_probabilities("transition", transition)
    system = torch.eye(len(transition), dtype=transition.dtype, device=transition.device) - transition + 1
    if torch.linalg.matrix_rank(system) < len(transition):
        raise ValueError("transition falls apart into closed classes, expected a single stationary law")
    return torch.linalg.solve(system.mT, torch.ones_like(system[0]))


@checked
def time_reversal(transition: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """p(previous = j | now = i) = pi_j P_ji / pi_i of the stationary chain. Implements :eq:`eq-world-reversal`.

    >>> cycle = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    >>> torch.allclose(time_reversal(cycle), cycle.T)
    True
    """
    pi = stationary(transition)
    return pi * transition.mT / pi[:, None]


@checked
def net_flux(transition: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """pi_i P_ij - pi_j P_ji: zero everywhere exactly under detailed balance. Implements :eq:`eq-world-flux`.

    >>> cycle = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]).double()
    >>> net_flux(cycle)[0].round(decimals=4).tolist()
    [0.0, 0.3333, -0.3333]
    """
    flow = stationary(transition)[:, None] * transition
    return flow - flow.mT
