"""How far apart two laws are: definitions and closed forms (chapter 03).

A discrete law is a probability vector along the last axis; leading axes are a batch, and every divergence returns one
value per row. A density on a fine grid, times the cell's volume, is such a vector too. Everything is in nats.
Laws are checked; of log-densities and scores, NaN and infinity pass through.
Dual and variational forms live where they are used: f-divergences in chapter 15, transport in 16, scores in 20.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import xlogy

from dgmlib.core import checked, need_between, need_cholesky, need_finite, need_option, need_probabilities

Law = Float[Tensor, "*batch states"]
Value = Float[Tensor, "*batch"]


def _pair(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    return need_probabilities("p", p), need_probabilities("q", q)


def _x_log_y(x: Tensor, y: Tensor) -> Tensor:
    """x log y with 0 log 0 = 0, also in its gradient (xlogy alone gives 0/0 there)."""
    return xlogy(x, torch.where((x > 0) | (y > 0), y, 1.0))


# --- Shannon's quantities -------------------------------------------------------------------------------------------


@checked
def entropy(p: Law) -> Value:
    """H(p) = -sum_x p(x) log p(x), in nats; 0 log 0 = 0.

    Implements :eq:`eq-entropy`.

    >>> round(entropy(torch.tensor([0.5, 0.5, 0.0])).item(), 4)  # log 2
    0.6931
    """
    return -_x_log_y(need_probabilities("p", p), p).sum(-1)


@checked
def cross_entropy(p: Law, q: Law) -> Value:
    """H(p, q) = -sum_x p(x) log q(x): the mean negative log-likelihood of q on data from p, in nats.

    Implements :eq:`eq-cross-entropy`. Infinite where p has mass and q has none.

    >>> round(cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).item(), 4)
    0.6931
    """
    p, q = _pair(p, q)
    return -_x_log_y(p, q).sum(-1)


@checked
def kl_divergence(p: Law, q: Law) -> Value:
    """KL(p || q) = sum_x p(x) log p(x)/q(x), in nats: zero iff p = q, infinite where p has mass and q has none.

    Implements :eq:`eq-kl`. Kullback and Leibler, 1951.

    >>> p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    >>> round(kl_divergence(p, q).item(), 4), kl_divergence(q, p).item()
    (0.6931, inf)
    """
    p, q = _pair(p, q)
    return (_x_log_y(p, p) - _x_log_y(p, q)).sum(-1)


@checked
def js_divergence(p: Law, q: Law) -> Value:
    """JS(p, q) = KL(p || m)/2 + KL(q || m)/2 with m = (p + q)/2, in nats: symmetric, at most log 2.

    Implements :eq:`eq-js`. Lin, 1991. Its square root is a metric.

    >>> round(js_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item(), 4)
    0.6931
    """
    p, q = _pair(p, q)
    total = p + q
    total = torch.where(total > 0, total, 1.0)
    halves = _x_log_y(p, 2 * p / total) + _x_log_y(q, 2 * q / total)  # p/m before the log: m may underflow, p not
    return (halves.sum(-1) / 2).clamp(min=0)  # rounding below 0 would spoil the root


@checked
def renyi_divergence(p: Law, q: Law, alpha: float) -> Value:
    """D_alpha(p || q) = log(sum_x p(x)^alpha q(x)^(1 - alpha)) / (alpha - 1), for 0 < alpha != 1, in nats.

    Implements :eq:`eq-renyi`. Rényi, 1961. Tends to KL(p || q) as alpha tends to 1, and grows with alpha. Near 1 it is
    summed as log(1 + sum_x p(x) ((q/p)^(1 - alpha) - 1)), which loses no digits.

    >>> p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    >>> round(renyi_divergence(p, q, alpha=2.0).item(), 4) == round(math.log(4 / 3), 4)
    True
    """
    p, q = _pair(p, q)
    if alpha == 1:
        raise ValueError("alpha is 1, expected another order: the limit there is kl_divergence")
    need_between("alpha", alpha, 0, math.inf, open_ends=True)
    seen = p > 0
    log_p, log_q = (torch.where(seen, law, 1.0).log() for law in (p, q))  # 1.0: no 0/0 in the gradient of what is cut
    tilt = torch.where(seen, (1 - alpha) * (log_q - log_p), 0.0)
    slight = (tilt.abs() < 1).all(-1, keepdim=True)
    near = (p * torch.where(slight, tilt, 0.0).expm1()).sum(-1).log1p()
    far = torch.where(seen, alpha * log_p + (1 - alpha) * log_q, -torch.inf).logsumexp(-1)
    return torch.where(slight[..., 0], near, far) / (alpha - 1)


# --- the f-family ---------------------------------------------------------------------------------------------------


@checked
def total_variation(p: Law, q: Law) -> Value:
    """TV(p, q) = sum_x |p(x) - q(x)| / 2, the largest difference any event can have: in [0, 1].

    Implements :eq:`eq-tv`.

    >>> total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).item()
    0.5
    """
    p, q = _pair(p, q)
    return (p - q).abs().sum(-1) / 2


@checked
def hellinger_squared(p: Law, q: Law) -> Value:
    """H^2(p, q) = 1 - sum_x sqrt(p(x) q(x)), in [0, 1]; its root is a metric.

    Implements :eq:`eq-hellinger`. Summed as (sqrt p - sqrt q)^2 / 2, which loses no digits when p and q are close.

    >>> hellinger_squared(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item()
    1.0
    """
    p, q = _pair(p, q)
    root_p, root_q = (torch.where(p + q > 0, law, 1.0).sqrt() for law in (p, q))  # 1.0: no 0/0 in the gradient
    return (root_p - root_q).square().sum(-1) / 2


@checked
def chi_squared(p: Law, q: Law) -> Value:
    """chi^2(p || q) = sum_x (p(x) - q(x))^2 / q(x) (Pearson): infinite where p has mass and q has none.

    Implements :eq:`eq-chi-squared`.

    >>> chi_squared(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).item()
    1.0
    """
    p, q = _pair(p, q)
    return ((p - q).square() / torch.where(p + q > 0, q, 1.0)).sum(-1)


@dataclass(frozen=True)
class Generator:
    """A convex f with f(1) = 0, and what it charges for mass that q cannot see: slope = lim f(u)/u as u grows.

    >>> mine = Generator(lambda u: (u - 1).square(), slope=math.inf)
    >>> f_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]), mine).item()
    1.0
    """

    f: Callable[[Tensor], Tensor]
    slope: float


GENERATORS = {
    "kl": Generator(lambda u: _x_log_y(u, u), math.inf),
    "reverse kl": Generator(lambda u: -u.log(), 0.0),
    "js": Generator(lambda u: (_x_log_y(u, u) - (u + 1) * ((u + 1) / 2).log()) / 2, math.log(2) / 2),
    "total variation": Generator(lambda u: (u - 1).abs() / 2, 0.5),
    "hellinger squared": Generator(lambda u: (u.sqrt() - 1).square() / 2, 0.5),
    "chi squared": Generator(lambda u: (u - 1).square(), math.inf),
}


@checked
def f_divergence(p: Law, q: Law, generator: str | Generator) -> Value:
    """D_f(p || q) = sum over q(x) > 0 of q(x) f(p(x)/q(x)), plus the slope of f at infinity times p(q = 0).

    Implements :eq:`eq-f-divergence`. `generator` names an entry of `GENERATORS` or is a `Generator`.
    Ali and Silvey, 1966; Csiszár, 1967. Without the second term the "divergence" can be negative. Computed in float64;
    where p/q overflows even there, q counts as 0.

    >>> p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    >>> f_divergence(p, q, "total variation").item(), f_divergence(p, q, "kl").item()
    (0.5, inf)
    """
    p, q = _pair(p, q)
    if not isinstance(generator, Generator):
        generator = GENERATORS[need_option("generator", generator, GENERATORS)]
    dtype, p, q = torch.promote_types(p.dtype, q.dtype), p.double(), q.double()
    seen = (q > 0) & (p / q < torch.inf)
    ratio = torch.where(seen, p / torch.where(seen, q, 1.0), 1.0)
    inside = torch.where(seen, q * generator.f(ratio), 0.0)
    unseen = ~seen & (p > 0)  # 0 times an infinite slope is 0 here, in value and in gradient
    outside = torch.where(unseen, torch.where(unseen, p, 1.0) * generator.slope, 0.0)
    return (inside + outside).sum(-1).to(dtype)


# --- laws on a space with a geometry --------------------------------------------------------------------------------


@checked
def wasserstein_1(points: Float[Tensor, " states"], p: Law, q: Law) -> Value:
    """W_1(p, q) = integral of |F_p - F_q| for laws on the line that sit on the same increasing `points`.

    Implements :eq:`eq-wasserstein`. In the units of `points`; a metric, finite whatever the supports.

    >>> points = torch.tensor([0.0, 1.0, 3.0])
    >>> wasserstein_1(points, torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])).item()
    3.0
    """
    p, q = _pair(p, q)
    gaps = points.diff()
    if not (gaps > 0).all():
        raise ValueError("points are not increasing, expected strictly increasing positions")
    return ((p - q).cumsum(-1)[..., :-1].abs() * gaps).sum(-1)


@checked
def wasserstein_samples(x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"], order: float = 1.0) -> Value:
    """W_order between two samples of the line of equal size: match them in sorted order (quantile to quantile).

    Implements :eq:`eq-wasserstein-quantile`: (mean |x_(i) - y_(i)|^order)^(1/order), `order` >= 1; inf: largest gap.

    >>> wasserstein_samples(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 1.0])).item()
    1.0
    """
    need_between("order", min(order, sys.float_info.max), 1, math.inf)
    gaps = need_finite("x", x).sort(-1).values - need_finite("y", y).sort(-1).values
    return torch.linalg.vector_norm(gaps, order, dim=-1) / x.shape[-1] ** (1 / order)


@checked
def mmd_squared(gram: Float[Tensor, "states states"], p: Law, q: Law) -> Value:
    """MMD^2(p, q) = sum_xy (p - q)(x) k(x, y) (p - q)(y) for laws on the points whose kernel matrix is `gram`.

    Implements :eq:`eq-mmd`. Gretton et al., 2012. Zero only for p = q iff the kernel is characteristic.

    >>> mmd_squared(torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item()
    2.0
    """
    p, q = _pair(p, q)
    return torch.einsum("...i,ij,...j->...", p - q, need_finite("gram", gram), p - q)


@checked
def fisher_divergence(score_p: Float[Tensor, "batch d"], score_q: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
    """Half the squared distance of two scores at points drawn from p; its mean over p is the Fisher divergence.

    Implements :eq:`eq-fisher-divergence`: E_p |grad log p(x) - grad log q(x)|^2 / 2, in nats per squared unit of x.

    >>> fisher_divergence(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item()
    12.5
    """
    return (score_p - score_q).square().sum(-1) / 2


# --- Gaussians, and estimates from samples --------------------------------------------------------------------------


@checked
def kl_gaussian(
    mean_p: Float[Tensor, "*batch_p d"],
    cov_p: Float[Tensor, "*batch_p d d"],
    mean_q: Float[Tensor, "*batch_q d"],
    cov_q: Float[Tensor, "*batch_q d d"],
) -> Float[Tensor, "..."]:
    """KL(N(mean_p, cov_p) || N(mean_q, cov_q)) in closed form, in nats; covariances, not standard deviations.
    The batches broadcast against each other.

    Implements :eq:`eq-kl-gaussian`:
    (tr(cov_q^-1 cov_p) + |mean_q - mean_p|^2 in the metric cov_q^-1 - d + log det cov_q - log det cov_p) / 2.
    Raises ValueError if a covariance is not symmetric positive definite.

    >>> kl_gaussian(torch.zeros(1), torch.eye(1), torch.ones(1), torch.eye(1)).item()
    0.5
    """
    need_finite("mean_p", mean_p), need_finite("mean_q", mean_q)
    chol_p, chol_q = need_cholesky("cov_p", cov_p), need_cholesky("cov_q", cov_q)
    solve = torch.linalg.solve_triangular
    trace = solve(chol_q, chol_p, upper=False).square().sum((-2, -1))
    shift = solve(chol_q, (mean_q - mean_p)[..., None], upper=False).square().sum((-2, -1))
    log_det = 2 * (chol_q.diagonal(dim1=-2, dim2=-1).log() - chol_p.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
    return (trace + shift - mean_p.shape[-1] + log_det) / 2


@checked
def kl_terms(log_p: Float[Tensor, " batch"], log_q: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """log p(x) - log q(x) at draws x from p: unbiased for KL(p || q), one term an example, of either sign.

    Implements :eq:`eq-kl-monte-carlo`.

    >>> kl_terms(torch.tensor([-1.0, -3.0]), torch.tensor([-2.0, -2.0])).tolist()
    [1.0, -1.0]
    """
    return log_p - log_q


@checked
def kl_terms_nonnegative(log_p: Float[Tensor, " batch"], log_q: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """r - 1 - log r with r = q(x)/p(x) at draws x from p: the same mean, since E_p r = 1, and no negative term.

    Implements :eq:`eq-kl-control`. E_p r = 1 needs q to put no mass where p has none. The variance is infinite when
    E_p r^2 is, and can exceed that of `kl_terms` long before.

    >>> log_p, log_q = torch.tensor([-1.0, -3.0]), torch.tensor([-2.0, -2.0])
    >>> bool((kl_terms_nonnegative(log_p, log_q) > 0).all())
    True
    """
    log_r = -kl_terms(log_p, log_q)
    return log_r.expm1() - log_r
