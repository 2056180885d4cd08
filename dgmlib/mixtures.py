"""Mixtures and the EM algorithm: a law with a hidden cause, climbed by filling the cause in (chapter 06)::

    start = gaussians(x, 10, covariance="full", floor=1e-3)
    mixture, climb = expectation_maximisation(start, x)

A mixture is a module, whose numbers EM replaces. It knows its `log_joint(x)`, log p(z = k) + log p(x | z = k), and its
own M step, `maximised(x, counts)`; all else they share. Factor analysis, whose hidden cause is a vector, has its step
at the end.

`python -m dgmlib.mixtures --data binarized_mnist` fits a mixture of coins, judges it exactly and saves; it resumes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import (
    Density,
    bernoulli,
    can_read,
    checked,
    distances,
    need_between,
    need_count,
    need_finite,
    need_levels,
    need_like,
    need_option,
    need_precise,
    need_probabilities,
    need_shape,
    need_symmetric,
)
from dgmlib.sampling import categorical
from dgmlib.worlds import LOG_2PI

COVARIANCES = ("full", "tied", "diagonal", "spherical")

# --- a hidden cause: evidence, posterior, bound ---------------------------------------------------------------------


@checked
def evidence(log_joint: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """log p(x) = log sum_k p(x, z = k), stable for any size of the terms; minus infinity for an impossible row, and NaN
    passes through. Implements :eq:`eq-mix-evidence`.

    >>> round(evidence(torch.tensor([[0.25, 0.5]]).log()).exp().item(), 4)
    0.75
    """
    return log_joint.logsumexp(1)


@checked
def responsibilities(log_joint: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """p(z = k | x) of each row, by Bayes: the E step. NaN passes through, and is what an impossible row, minus infinity
    everywhere, has for a posterior. Implements :eq:`eq-mix-responsibilities`.

    >>> responsibilities(torch.tensor([[0.25, 0.75]]).double().log()).round(decimals=4).tolist()
    [[0.25, 0.75]]
    """
    return log_joint.softmax(1)


@checked
def elbo(log_joint: Float[Tensor, "n k"], q: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """sum_k q_k (log p(x, z = k) - log q_k): a lower bound on log p(x) for any law q of each row's cause.

    Implements :eq:`eq-mix-elbo`. Terms with q_k = 0 are 0; elsewhere NaN in `log_joint` passes through. Raises
    ValueError (shapes, q no probabilities).

    >>> log_joint = torch.tensor([[0.25, 0.25]]).log()  # log p(x) = log 1/2
    >>> bounds = [elbo(log_joint, torch.tensor([q])).item() for q in ([0.5, 0.5], [1.0, 0.0])]
    >>> [round(bound / math.log(2), 4) for bound in bounds]
    [-1.0, -2.0]
    """
    need_probabilities("q", q)
    return torch.where(q > 0, q * log_joint, 0.0).sum(1) + torch.special.entr(q).sum(1)


# --- the climb ------------------------------------------------------------------------------------------------------


class Climb(NamedTuple):
    """What `expectation_maximisation` saw: `log_likelihood[t]`, the mean of log p(x) (data weights counted) under the
    parameters before step t + 1, the last entry under those returned; `objective[t]`, what EM climbs: that plus the
    parameters' `log_prior` shared out among the data; `converged`, whether the objective rose by less than `tol` in
    the end.

    >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> climb = expectation_maximisation(gaussians(x, x[::2]), x)[1]
    >>> climb.converged, bool((climb.objective.diff() > -1e-6).all())
    (True, True)
    """

    log_likelihood: Float[Tensor, " steps"]
    objective: Float[Tensor, " steps"]
    converged: bool


@checked
def em_step(
    mixture: "Mixture", x: Float[Tensor, "n d"], data_weights: Float[Tensor, " n"] | None = None
) -> tuple["Mixture", Float[Tensor, ""]]:
    """(the mixture after one E and one M step, the mean log-likelihood before it).

    Implements :eq:`eq-mix-em`. A datum of weight 2 counts as two. Raises ValueError (a datum that no component can
    produce, and so without a posterior; what the mixture's `log_joint` and `maximised` refuse).

    >>> one = Gaussians(torch.ones(1), torch.tensor([[5.0]]), torch.ones(1, 1, 1))
    >>> better, before = em_step(one, torch.tensor([[0.0], [2.0]]))
    >>> better.means.tolist(), better.covs.tolist()
    ([[1.0]], [[[1.0]]])
    """
    log_joint = mixture.log_joint(x)
    log_prob = evidence(log_joint)
    impossible = int((log_prob == -math.inf).sum())
    if impossible:
        raise ValueError(f"x has {impossible} rows of probability 0, expected data that some component can produce")
    log_likelihood = _mean(log_prob, data_weights)
    counts = log_joint.sub_(log_prob[:, None]).exp_()
    return mixture.maximised(x, counts if data_weights is None else counts * data_weights[:, None]), log_likelihood


def _mean(log_prob: Float[Tensor, " n"], data_weights: Float[Tensor, " n"] | None) -> Float[Tensor, ""]:
    """The mean over the data, each counted by its weight."""
    if data_weights is None:
        return log_prob.mean()
    need_finite("data_weights", need_like("data_weights", data_weights, log_prob))
    if (data_weights < 0).any() or not data_weights.any():
        raise ValueError("data_weights has a negative entry or no positive one, expected weights of data")
    return data_weights @ log_prob / data_weights.sum()


@checked
def expectation_maximisation(
    start: "Mixture",
    x: Float[Tensor, "n d"],
    *,
    data_weights: Float[Tensor, " n"] | None = None,
    n_steps: int = 100,
    tol: float = 1e-3,
) -> tuple["Mixture", Climb]:
    """Alternate E and M steps from `start` until the objective rises by less than `tol` nats a datum, or `n_steps`.

    The objective is the mean log-likelihood plus the mixture's `log_prior` divided by the number of data (by the sum
    of their weights). It never falls, and ends at a stationary point, which need be no maximum. Without a prior it is
    the likelihood; with prior counts the likelihood by itself may fall. A floor leaves the objective as it is: it
    restricts the parameters, the start's too. Raises ValueError (shapes, NaN, a component that collapsed).

    >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]]).double()
    >>> mixture, climb = expectation_maximisation(gaussians(x, x[::2]), x)
    >>> mixture.means.round(decimals=4).tolist(), climb.converged
    ([[0.5], [10.5]], True)
    """
    need_count("n_steps", n_steps)
    need_between("tol", tol, 0.0, math.inf)
    size = len(x) if data_weights is None else data_weights.sum()
    mixture, seen, climbed, converged = start, [], [], False
    for _ in range(n_steps):
        following, log_likelihood = em_step(mixture, x, data_weights)
        seen.append(log_likelihood)
        climbed.append(log_likelihood + mixture.log_prior() / size)
        converged = len(climbed) > 1 and float(climbed[-1] - climbed[-2]) < tol
        if converged:
            break
        mixture = following
    else:
        seen.append(_mean(mixture.log_prob(x), data_weights))
        climbed.append(seen[-1] + mixture.log_prior() / size)
    return mixture, Climb(torch.stack(seen), torch.stack(climbed), converged)


@checked
def best_of(
    start: Callable[[], "Mixture"],
    x: Float[Tensor, "n d"],
    n_init: int = 10,
    *,
    data_weights: Float[Tensor, " n"] | None = None,
    n_steps: int = 100,
    tol: float = 1e-3,
) -> tuple["Mixture", Climb]:
    """The highest of `n_init` climbs of `expectation_maximisation`, each from a `start()` of its own.

    A climb that is refused, as one in which a component collapses, is left out; if all are, the last refusal is raised.

    >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0], [20.0], [21.0]])
    >>> mixture, climb = best_of(lambda: gaussians(x, 3, floor=0.01), x)
    >>> mixture.means.flatten().sort().values.round(decimals=3).tolist()
    [0.5, 10.5, 20.5]
    """
    climbs: list[tuple[Mixture, Climb]] = []
    for _ in range(need_count("n_init", n_init)):
        try:
            climbs.append(expectation_maximisation(start(), x, data_weights=data_weights, n_steps=n_steps, tol=tol))
        except ValueError as error:
            refusal = error
    if not climbs:
        raise refusal
    return max(climbs, key=lambda found: float(found[1].objective[-1]))


@checked
def kmeans_plus_plus(
    x: Float[Tensor, "n d"], k: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "k d"]:
    """`k` distinct rows of `x` as first means: each drawn with probability proportional to its squared distance from
    the nearest one drawn before.

    Implements :eq:`eq-mix-seeding`. Raises ValueError (fewer than `k` distinct rows). Arthur & Vassilvitskii (2007).

    >>> sorted(kmeans_plus_plus(torch.tensor([[1.0], [2.0], [1.0]]), k=2).tolist())
    [[1.0], [2.0]]
    """
    need_finite("x", need_precise("x", x))
    need_finite("x squared", x.square())
    need_count("k", k)
    first = torch.randint(len(x), (1,), generator=generator, device=x.device)
    means, distance = [x[first[0]]], torch.full((len(x),), math.inf, dtype=x.dtype, device=x.device)
    while len(means) < k:
        distance = torch.minimum(distance, (x - means[-1]).square().sum(1))
        if not distance.any():
            raise ValueError(f"x has {len(means)} distinct rows, expected at least k = {k}")
        # By inversion: what `torch.multinomial` draws from a seed depends on torch's version.
        up_to = distance.cumsum(0)
        u = torch.rand((), generator=generator, dtype=x.dtype, device=x.device)
        means.append(x[torch.searchsorted(up_to, u * up_to[-1], right=True).clamp(max=len(x) - 1)])
    return torch.stack(means)


@checked
def kmeans(
    x: Float[Tensor, "n d"], means: Float[Tensor, "k d"], n_steps: int = 100
) -> tuple[Float[Tensor, "k d"], Int[Tensor, " n"]]:
    """(means, the nearest mean of each row) after Lloyd's iteration: EM in the limit of vanishing variance.

    Implements :eq:`eq-mix-kmeans`. Stops when no row changes its mean; a mean without rows stays. Raises ValueError.

    >>> means, label = kmeans(torch.tensor([[0.0], [1.0], [10.0], [11.0]]), torch.tensor([[0.0], [1.0]]))
    >>> means.tolist(), label.tolist()
    ([[0.5], [10.5]], [0, 0, 1, 1])
    """
    need_finite("x", need_precise("x", x))
    need_finite("means", need_like("means", means, x))
    label = torch.full((len(x),), -1, device=x.device)
    for _ in range(need_count("n_steps", n_steps)):
        before, label = label, distances(x, means).argmin(1)
        if torch.equal(before, label):
            break
        one_hot = F.one_hot(label, len(means)).to(x.dtype)
        # Each row as seen from its own mean: far from the origin a sum of the rows themselves would lose digits.
        means = means + one_hot.T @ (x - means[label]) / one_hot.sum(0)[:, None].clamp(min=1)
    return means, label


# --- mixtures -------------------------------------------------------------------------------------------------------


def _need_counts(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """(expected number of data of each component, their shares), from soft counts `(n, k)`."""
    low, high = need_finite("counts", need_like("counts", counts, x)).aminmax()
    if low < 0 or high == 0:
        raise ValueError("counts has a negative entry or no positive one, expected numbers of data")
    size = counts.sum(0)
    return size, size / size.sum()


class Mixture(nn.Module, Density):
    """sum_k w_k p_k(x): what all mixtures share. `weights` (k,), probabilities of the cause.

    The numbers are buffers: they move with `.to`, and `state_dict` holds them.

    >>> mixture = Bernoullis(torch.tensor([0.5, 0.5]), torch.tensor([[1.0], [0.5]]))
    >>> isinstance(mixture, Mixture), round(mixture.log_prob(torch.ones(1, 1)).exp().item(), 4)
    (True, 0.75)
    >>> mixture.maximised(torch.ones(2, 1), torch.ones(2, 2)).probs.tolist()  # counts: of each row, one for each cause
    [[1.0], [1.0]]
    """

    weights: Float[Tensor, " k"]
    k: int
    d: int

    @checked
    def log_joint(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log w_k + log p_k(x)."""
        raise NotImplementedError

    @checked
    def maximised(self, x: Float[Tensor, "n d"], counts: Float[Tensor, "n k"]) -> "Mixture":
        """The mixture that maximises sum_nk counts_nk log p(x_n, z = k) + log_prior: the M step."""
        raise NotImplementedError

    def log_prior(self) -> Float[Tensor, ""]:
        """log p(parameters) up to a constant: 0, unless the M step heeds a prior."""
        return self.weights.new_zeros(())

    @checked
    def log_prob(self, x: Float[Tensor, "n d"], **condition: Any) -> Float[Tensor, " n"]:
        """log p(x), nats."""
        return evidence(self.log_joint(x))


class Gaussians(Mixture):
    """A mixture of Gaussians in the precision of its arguments.

    `weights` (k,), `means` (k, d), `covs` by kind of `covariance`: "full" (k, d, d), "tied" (d, d), "diagonal" (k, d),
    "spherical" (k,). `floor` >= 0 bounds every variance in every direction from below, here and in each M step, which
    bounds the likelihood from above; 0 is plain maximum likelihood. Raises ValueError (shapes, weights, a covariance
    that is singular: the component has collapsed).

    >>> two = Gaussians(torch.tensor([0.5, 0.5]), torch.tensor([[-1.0], [1.0]]), torch.ones(2), covariance="spherical")
    >>> joint = two.log_joint(torch.zeros(1, 1))
    >>> torch.equal(joint[:, 0], joint[:, 1]), two.full_covs().shape, two.sample(5).shape
    (True, torch.Size([2, 1, 1]), torch.Size([5, 1]))
    """

    @checked
    def __init__(
        self,
        weights: Float[Tensor, " k"],
        means: Float[Tensor, "k d"],
        covs: Float[Tensor, "..."],
        *,
        covariance: str = "full",
        floor: float = 0.0,
    ):
        super().__init__()
        self.k, self.d = k, d = means.shape
        shapes = dict(zip(COVARIANCES, ((k, d, d), (d, d), (k, d), (k,)), strict=True))
        self.covariance = need_option("covariance", covariance, COVARIANCES)
        need_shape(
            "covs", need_finite("covs", need_like("covs", covs, need_like("means", means, weights))), shapes[covariance]
        )
        self.floor = need_between("floor", floor, 0.0, math.inf)
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("covs", floored(covs, floor, matrices=covariance in ("full", "tied")))
        self._prepare()
        self.register_load_state_dict_post_hook(_prepare_again)

    def _apply(self, *args: Any, **kwargs: Any) -> "Gaussians":  # what `.to` and its kin come down to
        super()._apply(*args, **kwargs)._prepare()
        return self

    def _prepare(self) -> None:
        """Each component's whitening map and minus half its log-determinant: what log_joint needs of the numbers."""
        need_probabilities("weights", self.weights)
        need_finite("means", need_precise("means", self.means))
        covs, d = self.covs, self.d
        if self.covariance in ("full", "tied"):
            chol, failed = torch.linalg.cholesky_ex(covs)
            eye = torch.eye(d, dtype=covs.dtype, device=covs.device)
            self._whiten = torch.linalg.solve_triangular(chol, eye.expand_as(chol), upper=False).mT
            half_log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        else:
            failed = covs <= 0
            half_log_det = covs.log().sum(-1) / 2 if self.covariance == "diagonal" else covs.log() * d / 2
        if failed.any() or not half_log_det.isfinite().all():
            raise ValueError(
                f"covs has a singular {self.covariance} covariance: a component has collapsed, expected positive "
                "definite ones (a floor above 0 keeps them so)"
            )
        self._log_norm = (self.weights.log() - half_log_det - d / 2 * LOG_2PI).expand(self.k)

    @checked
    def log_joint(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log w_k + log N(x; mean_k, cov_k). Implements :eq:`eq-mix-gaussians`. Raises ValueError (shape, NaN)."""
        need_finite("x", need_like("x", x, self.means))
        if self.covariance == "full":
            offsets = ((x - mean) @ whiten for mean, whiten in zip(self.means, self._whiten, strict=True))
            distance = torch.stack([torch.linalg.vecdot(offset, offset) for offset in offsets]).T
        elif self.covariance == "tied":  # whitened from one centre for all, for which single precision is too coarse
            centre, whiten = self.means.double().mean(0), self._whiten.double()
            distance = distances((x.double() - centre) @ whiten, (self.means.double() - centre) @ whiten).square()
            distance = distance.to(x.dtype)
        else:
            distance = _scaled_squares(x, self.means, 1 / self.covs.view(self.k, -1))
        return distance.mul_(-0.5).add_(self._log_norm)

    @checked
    def maximised(self, x: Float[Tensor, "n d"], counts: Float[Tensor, "n k"]) -> "Gaussians":
        """Weighted shares, means and covariances about the *new* means. Implements :eq:`eq-mix-m-step`.

        A component without data keeps its mean and covariance at weight 0. Raises ValueError (shapes, NaN, negative
        counts, a component that collapsed).
        """
        need_finite("x", need_like("x", x, self.means))
        size, weights = _need_counts(x, counts)
        alive = size > 0
        share = counts / size.clamp(min=torch.finfo(x.dtype).tiny)  # of each component's data, sums to 1
        centre = x.mean(0)
        offset = x - centre
        means = torch.where(alive[:, None], centre + share.T @ offset, self.means)
        if self.covariance in ("diagonal", "spherical"):
            squares, shift = share.T @ offset.square(), (means - centre).square()
            variances = squares - shift  # unless these cancel, as in a narrow component among far ones
            if not can_read(x) or (squares > variances / _loss(x.dtype))[alive].any():
                variances = torch.stack([s @ (x - mean).square() for mean, s in zip(means, share.T, strict=True)])
            covs = variances if self.covariance == "diagonal" else variances.mean(1)
            covs = torch.where(alive.view(-1, *[1] * (covs.ndim - 1)), covs, self.covs)
        elif self.covariance == "tied":
            covs = sum(w * self._scatter(x, mean, s) for w, mean, s in zip(weights, means, share.T, strict=True))
        else:
            covs = torch.stack([self._scatter(x, mean, s) for mean, s in zip(means, share.T, strict=True)])
            covs = torch.where(alive[:, None, None], covs, self.covs)
        return Gaussians(weights, means, covs, covariance=self.covariance, floor=self.floor)

    @staticmethod
    def _scatter(x: Tensor, mean: Tensor, share: Tensor) -> Tensor:
        """The weighted covariance about `mean`."""
        offset = x - mean
        return (offset * share[:, None]).T @ offset

    def full_covs(self) -> Float[Tensor, "k d d"]:
        """Every component's covariance as a matrix, whatever the kind."""
        if self.covariance in ("full", "tied"):
            return self.covs.expand(self.k, self.d, self.d)
        return torch.diag_embed(self.covs.view(self.k, -1).expand(self.k, self.d))

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws: a component by its weight, then a Gaussian draw within it."""
        component = categorical(self.weights, n, generator=generator)
        noise = torch.randn(n, self.d, generator=generator, dtype=self.means.dtype, device=self.means.device)
        chol = torch.linalg.cholesky(self.full_covs())
        return self.means[component] + torch.einsum("nij,nj->ni", chol[component], noise)


def _prepare_again(mixture: Gaussians, _: Any) -> None:
    mixture._prepare()


def _loss(dtype: torch.dtype) -> float:
    """How small a difference may be beside its terms: a third of the digits may cancel."""
    return torch.finfo(dtype).eps ** (1 / 3)


def _scaled_squares(x: Tensor, means: Tensor, precisions: Tensor) -> Float[Tensor, "n k"]:
    """sum_i (x_i - mean_ki)^2 precision_ki, where `precisions` is (k, d), or (k, 1) for one in all directions.

    By the products x^2 - 2 x mean + mean^2 about the data's centre, in double precision; by the differences themselves
    where these products could cancel: small variances, far apart.
    """
    if can_read(x):
        centre = x.double().mean(0)
        scaled, about, points = precisions.double(), means.double() - centre, x.double() - centre
        reach = torch.maximum(points.abs().amax(0), about.abs()).square()
        if (reach * scaled).sum(1).max() * _loss(torch.float64) < 1:
            squares = points.square() if scaled.shape[1] == x.shape[1] else points.square().sum(1, keepdim=True)
            distance = torch.addmm(squares @ scaled.T, points, (about * scaled).T, alpha=-2)
            return distance.add_((about.square() * scaled).sum(1)).clamp_(min=0).to(x.dtype)
    if precisions.shape[1] < x.shape[1]:
        return distances(x, means).square() * precisions.T
    parts = (((x - mean) * scale.sqrt()).square().sum(1) for mean, scale in zip(means, precisions, strict=True))
    return torch.stack(list(parts)).T


@checked
def floored(covs: Float[Tensor, "*shape"], floor: float, *, matrices: bool) -> Float[Tensor, "*shape"]:
    """The covariances that maximise a Gaussian likelihood with scatter `covs` when no variance may lie below `floor`.

    Implements :eq:`eq-mix-floor`: eigenvalues (`matrices`), or the variances themselves, raised to `floor`. Raises
    ValueError (a negative floor, NaN).

    >>> floored(torch.tensor([4.0, 0.01]), 0.5, matrices=False).tolist()
    [4.0, 0.5]
    """
    need_between("floor", floor, 0.0, math.inf)
    if not matrices:
        return need_finite("covs", need_precise("covs", covs)).clamp(min=floor)
    need_symmetric("covs", covs)
    if floor == 0:
        return covs
    values, vectors = torch.linalg.eigh((covs + covs.mT) / 2)
    return vectors @ (values.clamp(min=floor)[..., None] * vectors.mT)


@checked
def gaussians(
    x: Float[Tensor, "n d"],
    means: Float[Tensor, "k d"] | int,
    *,
    covariance: str = "full",
    floor: float = 0.0,
    generator: torch.Generator | None = None,
) -> Gaussians:
    """A start for EM: each row given to its nearest mean by `kmeans`, then one M step.

    A number in place of `means` has `kmeans_plus_plus` draw so many, with `generator`. Raises ValueError (shapes,
    `covariance`, a cluster with a singular covariance while floor = 0).

    >>> start = gaussians(torch.tensor([[0.0], [2.0], [8.0]]), torch.tensor([[0.0], [9.0]]), covariance="tied")
    >>> start.means.tolist(), start.weights.double().round(decimals=4).tolist()
    ([[1.0], [8.0]], [0.6667, 0.3333])
    """
    means, label = kmeans(x, means if isinstance(means, Tensor) else kmeans_plus_plus(x, means, generator=generator))
    k, d = means.shape
    eye = torch.eye(d, dtype=x.dtype, device=x.device)
    units = {"full": eye.expand(k, d, d), "tied": eye, "diagonal": eye[:1].new_ones(k, d), "spherical": x.new_ones(k)}
    unit = units[need_option("covariance", covariance, COVARIANCES)]
    start = Gaussians(x.new_full((k,), 1 / k), means, unit, covariance=covariance, floor=floor)
    return start.maximised(x, F.one_hot(label, k).to(x.dtype))


class Bernoullis(Mixture):
    """A mixture of independent coins: sum_k w_k prod_i probs_ki^x_i (1 - probs_ki)^(1 - x_i), x in {0, 1}^d.

    `prior_counts` a >= 0 adds a heads and a tails to each coin in the M step: the mode under a Beta(a + 1, a + 1)
    prior, which keeps probabilities inside (0, 1); EM then climbs the likelihood times that prior, and the likelihood
    alone may fall. Raises ValueError (shapes, probabilities). Juan & Vidal (2002).

    >>> coins = Bernoullis(torch.tensor([0.5, 0.5]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    >>> x = torch.tensor([[1.0, 0.0]])
    >>> coins.log_prob(x).item(), coins.completed(x, seen=x).tolist()
    (-inf, [[1.0, 1.0]])
    >>> coin = Bernoullis(torch.ones(1), torch.tensor([[0.5]]), prior_counts=1.0)
    >>> coin.maximised(torch.ones(2, 1), counts=torch.ones(2, 1)).probs.tolist()  # (2 + 1) / (2 + 2)
    [[0.75]]
    """

    @checked
    def __init__(self, weights: Float[Tensor, " k"], probs: Float[Tensor, "k d"], *, prior_counts: float = 0.0):
        super().__init__()
        self.register_buffer("weights", need_probabilities("weights", need_precise("weights", weights)))
        self.register_buffer("probs", need_finite("probs", need_like("probs", probs, weights)))
        need_between("the smallest of probs", probs.min().item(), 0.0, 1.0)
        need_between("the largest of probs", probs.max().item(), 0.0, 1.0)
        self.prior_counts = need_between("prior_counts", prior_counts, 0.0, math.inf)
        self.k, self.d = probs.shape

    @checked
    def log_joint(self, x: Float[Tensor, "n d"], seen: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n k"]:
        """log w_k + sum_i log Bernoulli(x_i; probs_ki), over the pixels with `seen` 1 only, if given.

        Implements :eq:`eq-mix-bernoullis`. An unseen pixel is summed out exactly, by leaving it out; an image with a
        pixel that a component never shows has minus infinity there. Raises ValueError (shapes, entries of `x` or of
        `seen` other than 0 and 1).
        """
        need_levels("x", need_like("x", x, self.probs), 2)
        seen = torch.ones_like(x) if seen is None else need_levels("seen", need_like("seen", seen, x), 2)
        least = torch.finfo(x.dtype).min / (2 * self.d)  # for log 0: multiplied by a pixel that is 0 it must give 0
        log_on, log_off = (p.log().clamp(min=least) for p in (self.probs, 1 - self.probs))
        log_coins = (seen * x) @ log_on.T + (seen * (1 - x)) @ log_off.T
        return self.weights.log() + log_coins.masked_fill(log_coins < least / 2, -math.inf)

    @checked
    def maximised(self, x: Float[Tensor, "n d"], counts: Float[Tensor, "n k"]) -> "Bernoullis":
        """Shares and weighted means, with `prior_counts` heads and tails added. Implements :eq:`eq-mix-coin-step`.

        Raises ValueError (shapes, entries of `x` other than 0 and 1, negative counts).
        """
        need_levels("x", need_like("x", x, self.probs), 2)
        size, weights = _need_counts(x, counts)
        total = (size + 2 * self.prior_counts)[:, None]
        probs = (counts.T @ x + self.prior_counts) / total.clamp(min=torch.finfo(x.dtype).tiny)
        probs = torch.where(total > 0, probs, self.probs).clamp(max=1)
        return Bernoullis(weights, probs, prior_counts=self.prior_counts)

    def log_prior(self) -> Float[Tensor, ""]:
        """sum_ki prior_counts (log probs_ki + log(1 - probs_ki)): the logarithm of its Beta prior, up to a constant."""
        return sum(torch.xlogy(self.prior_counts, p).sum() for p in (self.probs, 1 - self.probs))

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws: a component by its weight, then a toss of each of its coins."""
        component = categorical(self.weights, n, generator=generator)
        return bernoulli(self.probs[component], generator=generator)

    @checked
    def completed(self, x: Float[Tensor, "n d"], seen: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """P(x_i = 1 | the seen pixels) where `seen` is 0, and x itself where it is 1; NaN if what is seen cannot be.

        Raises what `log_joint` raises.
        """
        hidden = responsibilities(self.log_joint(x, seen)) @ self.probs
        return torch.where(seen > 0, x, hidden)


# --- a hidden vector ------------------------------------------------------------------------------------------------


@checked
def factor_step(
    cov: Float[Tensor, "d d"],
    weight: Float[Tensor, "d k"],
    noise: Float[Tensor, " d"],
    *,
    isotropic: bool = False,
    floor: float = 0.0,
) -> tuple[Float[Tensor, "d k"], Float[Tensor, " d"], Float[Tensor, ""]]:
    """(weight, noise) after one EM step for x = W z + eps, z ~ N(0, I), eps ~ N(0, diag(noise)), on centred data of
    covariance `cov`; and the mean log-likelihood before the step, in nats.

    Implements :eq:`eq-mix-factor-step`. `isotropic` keeps one noise for all coordinates: probabilistic PCA. `floor`
    bounds the noise from below, which a coordinate that never varies needs: without, its noise collapses to 0. Raises
    ValueError (shapes, NaN, noise that is not positive or collapses). Rubin & Thayer (1982); Tipping & Bishop (1999).

    >>> cov, weight, noise = torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([1.0])  # at the maximum
    >>> [part.round(decimals=4).tolist() for part in factor_step(cov, weight, noise)[:2]]
    [[[1.0]], [1.0]]
    """
    d, k = weight.shape
    need_symmetric("cov", cov)
    for name, x in (("weight", weight), ("noise", noise)):
        need_finite(name, need_like(name, x, cov))
    need_between("the smallest noise", float(noise.min()), 0.0, math.inf, open_ends=True)
    need_between("floor", floor, 0.0, math.inf)
    model = weight @ weight.T + torch.diag(noise)
    chol, failed = torch.linalg.cholesky_ex(model)
    if failed or not chol.isfinite().all():
        raise ValueError("weight and noise make a covariance that is singular or infinite, expected more noise")
    fit = torch.cholesky_solve(cov, chol).trace()
    log_likelihood = -0.5 * (d * LOG_2PI + 2 * chol.diagonal().log().sum() + fit)
    scaled = weight / noise[:, None]
    posterior_cov = torch.linalg.inv(torch.eye(k, dtype=cov.dtype, device=cov.device) + weight.T @ scaled)
    gain = posterior_cov @ scaled.T  # E[z | x] = gain x
    cross = cov @ gain.T  # E[x z^T]
    weight = torch.linalg.solve(posterior_cov + gain @ cross, cross.T).T
    noise = (cov - weight @ cross.T).diagonal()
    noise = (noise.mean().expand(d) if isotropic else noise).clamp(min=floor)
    if not noise.all():
        raise ValueError(
            f"noise has collapsed to 0 in {int((noise == 0).sum())} of {d} coordinates, expected data that vary in "
            "each (a floor above 0 keeps it positive)"
        )
    return weight, noise, log_likelihood


if __name__ == "__main__":  # python -m dgmlib.mixtures
    from dgmlib.commands import run

    run("mixtures")
