"""Evidence that cannot be computed: estimated by weights, bounded by variational laws, followed uphill (chapter 08).

Shapes: latents z are `(k, batch, latent)`, K draws for each datum; whatever is computed of them is `(k, batch)`; bounds
and estimates of log p(x) are `(batch,)`, one a datum. A Gaussian q(z | x) is a mean `(batch, latent)` and a lower
triangular root `chol` of its covariance `(batch, latent, latent)`. Everything is in nats.

Log-weights, draws and noise are computed, not data: NaN among them is not looked for, and comes out as NaN.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib.core import (
    can_read,
    checked,
    need_between,
    need_cholesky,
    need_count,
    need_finite,
    need_one_dtype,
    need_probabilities,
    need_shape,
    need_tensor,
    randn_like,
)
from dgmlib.divergences import kl_gaussian
from dgmlib.worlds import LOG_2PI, LinearGaussian

# --- weights: log w = log p(x, z) - log q(z | x) --------------------------------------------------------------------


@checked
def log_mean_exp(log_weights: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "..."]:
    """log of the mean of exp(log_weights) along `dim`, without overflow: -inf where every weight is zero.

    Implements :eq:`eq-log-mean-exp`.

    >>> log_mean_exp(torch.tensor([1.0, 2.0]).log(), 0).exp()
    tensor(1.5000)
    """
    need_between("dim", dim, -log_weights.ndim, log_weights.ndim - 1)
    return torch.logsumexp(log_weights, dim) - math.log(log_weights.shape[dim])


@checked
def log_prob_is(log_weights: Float[Tensor, "k batch"]) -> Float[Tensor, " batch"]:
    """log of (1/K) sum_k w_k, w_k = p(x, z_k) / q(z_k | x) at K draws from q: an estimate of log p(x), one a datum.

    Implements :eq:`eq-importance`. The mean inside is unbiased for p(x) if q > 0 wherever p(x, z) > 0; its logarithm
    is biased downwards. Estimates from disjoint halves combine: `log_mean_exp` of the two.

    >>> log_prob_is(torch.tensor([[1.0], [3.0]]).log())  # log 2
    tensor([0.6931])
    """
    return log_mean_exp(log_weights, 0)


@checked
def iwae_bound(log_weights: Float[Tensor, "k batch"]) -> Float[Tensor, " batch"]:
    """The same number as `log_prob_is`, read as one draw of a lower bound: its mean is at most log p(x), rising with K.

    Implements :eq:`eq-iwae-bound`. K = 1 is the ELBO. Burda, Grosse and Salakhutdinov, 2016.

    >>> log_w = torch.tensor([[1.0], [3.0]]).log()
    >>> iwae_bound(log_w), log_w.mean(0)  # never below the ELBO of the same draws
    (tensor([0.6931]), tensor([0.5493]))
    """
    return log_prob_is(log_weights)


@checked
def effective_sample_size(log_weights: Float[Tensor, "k batch"]) -> Float[Tensor, " batch"]:
    """(sum_k w_k)^2 / sum_k w_k^2, between 1 and K; 0 where every weight is zero. Implements :eq:`eq-ess`. Kong, 1992.

    It measures the spread of the weights that were drawn: it cannot see a region that q never visits.

    >>> round(effective_sample_size(torch.tensor([[1.0], [1.0], [0.0]]).log()).item(), 4)
    2.0
    """
    total = torch.logsumexp(log_weights, 0)
    size = (2 * total - torch.logsumexp(2 * log_weights, 0)).exp()
    return torch.where(total == -math.inf, 0.0, size)


@checked
def elbo(log_joint: Float[Tensor, "k batch"], log_q: Float[Tensor, "k batch"]) -> Float[Tensor, " batch"]:
    """(1/K) sum_k [log p(x, z_k) - log q(z_k | x)] at K draws from q: unbiased for the evidence lower bound.

    Implements :eq:`eq-elbo`. Jordan et al., 1999.

    >>> elbo(torch.tensor([[-1.0], [-2.0]]), torch.tensor([[-0.5], [-0.5]])).tolist()
    [-1.0]
    """
    return (log_joint - log_q).mean(0)


@checked
def renyi2_gaussian(
    mean_p: Float[Tensor, "*batch d"],
    cov_p: Float[Tensor, "*batch_p d d"],
    mean_q: Float[Tensor, "*batch d"],
    cov_q: Float[Tensor, "*batch_q d d"],
) -> Float[Tensor, "..."]:
    """D_2(p || q) = log E_q (p/q)^2 for Gaussians: exp(D_2) - 1 is the relative variance of one importance weight.

    Implements :eq:`eq-renyi2-gaussian`. Infinite unless 2 cov_q - cov_p is positive definite: a proposal with less
    than half the variance, in any direction, has weights of infinite variance.

    >>> zero, one, eye = torch.zeros(1), torch.ones(1), torch.eye(1)
    >>> round(renyi2_gaussian(one, eye, zero, eye).item(), 4), renyi2_gaussian(zero, eye, zero, 0.4 * eye).item()
    (1.0, inf)
    """
    need_finite("mean_p", mean_p), need_finite("mean_q", mean_q)
    need_one_dtype(mean_p=mean_p, cov_p=cov_p, mean_q=mean_q, cov_q=cov_q)
    need_cholesky("cov_p", cov_p), need_cholesky("cov_q", cov_q)
    root, failed = torch.linalg.cholesky_ex(2 * cov_q - cov_p)
    root = torch.where((failed > 0)[..., None, None], torch.eye(root.shape[-1]).to(root), root)
    shift = torch.linalg.solve_triangular(root, (mean_p - mean_q)[..., None], upper=False).square().sum((-2, -1))
    log_det = torch.logdet(cov_q) - torch.logdet(cov_p) / 2 - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.where(failed > 0, math.inf, log_det + shift)


# --- Gaussian variational laws --------------------------------------------------------------------------------------


@checked
def gaussian_sample(
    mean: Float[Tensor, "batch d"],
    chol: Float[Tensor, "batch d d"],
    n_samples: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "k batch d"]:
    """`n_samples` draws z = mean + chol eps, eps ~ N(0, I), differentiable in both parameters.

    >>> gaussian_sample(torch.zeros(5, 2), torch.eye(2).expand(5, 2, 2), n_samples=3).shape
    torch.Size([3, 5, 2])
    """
    like = mean[:, None].expand(-1, need_count("n_samples", n_samples), -1)
    return reparameterize(mean, chol, randn_like(like, generator=generator).movedim(1, 0))


@checked
def reparameterize(
    mean: Float[Tensor, "batch d"], chol: Float[Tensor, "batch d d"], noise: Float[Tensor, "k batch d"]
) -> Float[Tensor, "k batch d"]:
    """z = mean + chol noise: a deterministic function of the parameters and of noise that knows nothing of them.

    Implements :eq:`eq-reparameterisation`. Kingma and Welling, 2014.

    >>> reparameterize(torch.tensor([[1.0]]), torch.tensor([[[2.0]]]), torch.tensor([[[-1.0]], [[1.0]]])).flatten()
    tensor([-1.,  3.])
    """
    need_one_dtype(mean=mean, chol=chol, noise=noise)
    return mean + torch.einsum("bij,kbj->kbi", chol, noise)


@checked
def gaussian_log_prob(
    z: Float[Tensor, "k batch d"], mean: Float[Tensor, "batch d"], chol: Float[Tensor, "batch d d"]
) -> Float[Tensor, "k batch"]:
    """log N(z; mean, chol chol^T) of each draw. Implements :eq:`eq-gaussian-log-prob`.

    >>> gaussian_log_prob(torch.zeros(1, 1, 2), torch.zeros(1, 2), torch.eye(2)[None])  # -log(2 pi)
    tensor([[-1.8379]])
    """
    need_one_dtype(z=z, mean=mean, chol=chol)
    noise = torch.linalg.solve_triangular(chol, (z - mean).permute(1, 2, 0), upper=False)  # (batch, d, k)
    log_det = _log_det(chol)
    return (-noise.square().sum(1) / 2 - mean.shape[1] * LOG_2PI / 2 - log_det[:, None]).T


@checked
def gaussian_entropy(chol: Float[Tensor, "batch d d"]) -> Float[Tensor, " batch"]:
    """d/2 log(2 pi e) + log|det chol|, the entropy of N(., chol chol^T). Implements :eq:`eq-gaussian-entropy`.

    >>> gaussian_entropy(torch.eye(1)[None])  # log(2 pi e)/2
    tensor([1.4189])
    """
    return chol.shape[-1] * (LOG_2PI + 1) / 2 + _log_det(chol)


def _log_det(chol: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    """log |det|: a root may have a negative diagonal."""
    return chol.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


# --- a model whose evidence is known --------------------------------------------------------------------------------


@checked
def standard_normal_log_prob(z: Float[Tensor, "k batch d"]) -> Float[Tensor, "k batch"]:
    """log N(z; 0, I), the prior of the latents.

    >>> standard_normal_log_prob(torch.zeros(1, 1, 2))  # -log(2 pi)
    tensor([[-1.8379]])
    """
    return -(z.square().sum(-1) + z.shape[-1] * LOG_2PI) / 2


@checked
def log_likelihood_linear(
    world: LinearGaussian, x: Float[Tensor, "batch d"], z: Float[Tensor, "k batch latent"]
) -> Float[Tensor, "k batch"]:
    """log p(x | z) = log N(x; W z + mu, sigma^2 I) of a `LinearGaussian`. Implements :eq:`eq-linear-likelihood`.

    >>> world, x = LinearGaussian([[2.0]], [0.0], noise_std=1.0), torch.tensor([[5.0]], dtype=torch.float64)
    >>> z = torch.full((1, 1, 1), 2.5, dtype=torch.float64)  # W z = x
    >>> round(log_likelihood_linear(world, x, z).item(), 4)
    -0.9189
    """
    need_shape("x", x, (len(x), world.d)), need_shape("z", z, (len(z), len(x), world.k))
    need_one_dtype(world=world.weight, z=z), need_finite("x", x)
    residual = (x - world.mean - z @ world.weight.T) / world.noise_std
    return -residual.square().sum(-1) / 2 - world.d * (LOG_2PI / 2 + math.log(world.noise_std))


@checked
def elbo_linear(
    world: LinearGaussian,
    x: Float[Tensor, "batch d"],
    mean: Float[Tensor, "batch latent"],
    chol: Float[Tensor, "batch latent latent"],
) -> Float[Tensor, " batch"]:
    """The ELBO of q = N(mean, chol chol^T) in a `LinearGaussian`, in closed form: no sample is drawn.

    Implements :eq:`eq-elbo-linear`: log p(x | z) at the mean, less tr(W C W^T)/(2 sigma^2), less KL(q || N(0, I)).

    >>> world, x = LinearGaussian([[2.0]], [0.0], noise_std=1.0), torch.tensor([[5.0]], dtype=torch.float64)
    >>> mean, cov = world.posterior(x)
    >>> torch.allclose(elbo_linear(world, x, mean, cov.sqrt()[None]), world.log_prob(x))  # tight at the posterior
    True
    """
    need_one_dtype(world=world.weight, mean=mean, chol=chol), need_finite("mean", mean), need_finite("chol", chol)
    blur = (world.weight @ chol).square().sum((-2, -1)) / (2 * world.noise_std**2)
    identity = torch.eye(world.k, dtype=mean.dtype, device=mean.device)
    rate = kl_gaussian(mean, chol @ chol.mT, torch.zeros_like(mean[0]), identity)
    return log_likelihood_linear(world, x, mean[None])[0] - blur - rate


# --- gradients of an expectation ------------------------------------------------------------------------------------

Values = Callable[[Tensor], Tensor]  # (n, d) -> (n,)


def need_positive(name: str, x: Tensor) -> Tensor:
    """Return `x` if its values are positive and finite. Raises ValueError.

    >>> need_positive("std", torch.tensor([0.0, 1.0]))
    Traceback (most recent call last):
    ValueError: std reaches from 0 to 1, expected positive finite numbers
    """
    if can_read(x) and not ((x > 0) & (x < math.inf)).all():
        raise ValueError(f"{name} reaches from {x.min():.3g} to {x.max():.3g}, expected positive finite numbers")
    return x


def one_a_row(f: Values, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """f(z), refused by name unless it is one number a row: a column would be spread over a square.

    >>> one_a_row(lambda z: z.sum(1), torch.ones(3, 2)).tolist()
    [2.0, 2.0, 2.0]
    """
    return need_shape("f(z)", need_tensor("f(z)", f(z)), (len(z),))


@checked
def pathwise_gradient(
    f: Values, mean: Float[Tensor, " d"], std: Float[Tensor, " d"], noise: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """One estimate a row of the gradient of E f(z), z = mean + std noise, in mean and in std, through f's slope.

    Implements :eq:`eq-pathwise`. Unbiased when f is differentiable and does not jump; for a step it returns 0.

    >>> noise = torch.tensor([[-1.0], [1.0]])  # of mean 0 and variance 1, as that of the law
    >>> in_mean, in_std = pathwise_gradient(lambda z: z.square().sum(1), torch.ones(1), torch.ones(1), noise)
    >>> in_mean.mean().item(), in_std.mean().item()  # of mean^2 + std^2
    (2.0, 2.0)
    """
    need_positive("std", std)
    slope = torch.func.grad(lambda z: one_a_row(f, z).sum())(mean + std * noise)
    return slope, slope * noise


@checked
def score_function_gradient(
    f: Values,
    mean: Float[Tensor, " d"],
    std: Float[Tensor, " d"],
    noise: Float[Tensor, "n d"],
    baseline: float | Float[Tensor, " d"] = 0.0,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """One estimate a row of the same gradient from f's values alone: (f(z) - baseline) grad log q(z).

    Implements :eq:`eq-score-function`. Unbiased for any f, and for any baseline that does not look at the row it
    multiplies. Williams, 1992.

    >>> noise = torch.tensor([[-1.0], [1.0]])
    >>> in_mean, in_std = score_function_gradient(lambda z: z.sum(1), torch.ones(1), torch.ones(1), noise)
    >>> in_mean.mean().item(), in_std.mean().item()  # of the mean
    (1.0, 0.0)
    """
    need_positive("std", std)
    advantage = one_a_row(f, mean + std * noise)[:, None] - baseline
    return advantage * noise / std, advantage * (noise.square() - 1) / std


@checked
def best_baseline(
    values: Float[Tensor, " n"], score: Float[Tensor, "n d"], weights: Float[Tensor, " n"]
) -> Float[Tensor, " d"]:
    """E[f s^2] / E[s^2] for each coordinate s of the score: the constant that makes the estimate vary least.

    Implements :eq:`eq-best-baseline`. `weights` are the probabilities of the rows. It is not E f.

    >>> best_baseline(torch.tensor([1.0, 3.0]), torch.tensor([[1.0], [2.0]]), torch.tensor([0.5, 0.5]))  # E f is 2
    tensor([2.6000])
    """
    need_finite("values", values), need_finite("score", score)
    squares = need_probabilities("weights", weights)[:, None] * score.square()
    need_positive("the mean square of score", squares.sum(0))
    return (squares * values[:, None]).sum(0) / squares.sum(0)


# --- fitting q ------------------------------------------------------------------------------------------------------


@checked
def svi(
    log_joint: Values,
    mean: Float[Tensor, "batch d"],
    log_std: Float[Tensor, "batch d"],
    n_steps: int,
    step_size: float = 0.05,
    n_samples: int = 8,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "batch d"], Float[Tensor, "batch d"]]:
    """Climb the ELBO of a diagonal Gaussian q for each datum by itself, from the given start: (mean, log_std).

    Implements :eq:`eq-svi`. `log_joint` maps z `(k, batch, d)` to log p(x, z) `(k, batch)`. The gradient is pathwise,
    without the score of q, whose mean is zero ("sticking the landing": Roeder, Wu and Duvenaud, 2017), so that its
    noise vanishes where q is the posterior. Adam's step sizes fall to zero along a cosine.

    >>> mean, log_std = svi(standard_normal_log_prob, torch.ones(1, 1), torch.zeros(1, 1), 30, step_size=0.1)
    >>> bool(mean.abs() < 0.5)
    True
    """
    need_count("n_steps", n_steps)
    need_between("step_size", step_size, 0.0, math.inf, open_ends=True)
    need_one_dtype(mean=mean, log_std=log_std), need_finite("mean", mean), need_finite("log_std", log_std)
    mean, log_std = (part.detach().clone().requires_grad_() for part in (mean, log_std))
    optimizer = torch.optim.Adam([mean, log_std], lr=step_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        chol = torch.diag_embed(log_std.exp())
        z = gaussian_sample(mean, chol, n_samples, generator=generator)
        log_p = need_shape("log_joint(z)", need_tensor("log_joint(z)", log_joint(z)), tuple(z.shape[:2]))
        bound = elbo(log_p, gaussian_log_prob(z, mean.detach(), chol.detach()))
        optimizer.zero_grad()
        (-bound.sum()).backward()
        optimizer.step()
        schedule.step()
    return mean.detach(), log_std.detach()


@checked
def cavi_gaussian(
    mean: Float[Tensor, " d"], precision: Float[Tensor, "d d"], start: Float[Tensor, " d"], n_sweeps: int
) -> Float[Tensor, "sweeps d"]:
    """Coordinate ascent on a factorised q for the target N(mean, precision^-1): the means after each sweep, and before.

    Implements :eq:`eq-cavi`: m_i <- mean_i - sum_{j != i} precision_ij (m_j - mean_j) / precision_ii, one coordinate at
    a time. The variance of factor i is 1 / precision_ii from the first update on.

    >>> cavi_gaussian(torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.ones(2), n_sweeps=1).tolist()
    [[1.0, 1.0], [-0.5, 0.25]]
    """
    need_count("n_sweeps", n_sweeps), need_one_dtype(mean=mean, precision=precision, start=start)
    need_finite("mean", mean), need_finite("start", start), need_cholesky("precision", precision)
    path = [start]
    for _ in range(n_sweeps):
        offset = path[-1] - mean
        for i in range(len(mean)):
            offset[i] -= precision[i] @ offset / precision[i, i]
        path.append(mean + offset)
    return torch.stack(path)


class MixturePosterior(NamedTuple):
    """q(pi) = Dirichlet(concentration), q(mu_j) = N(mean_j, variance_j I), q(c_i = j) = responsibilities[i, j].

    >>> x = torch.tensor([[-4.0], [4.0]])
    >>> found = cavi_mixture(x, torch.eye(2), 1.0, prior_std=1.0, noise_std=1.0, n_sweeps=1)
    >>> found.concentration.tolist(), found.variance.tolist()  # one datum each
    ([2.0, 2.0], [0.5, 0.5])
    """

    responsibilities: Float[Tensor, "n k"]
    concentration: Float[Tensor, " k"]
    mean: Float[Tensor, "k d"]
    variance: Float[Tensor, " k"]
    elbo: Float[Tensor, " sweeps"]


@checked
def cavi_mixture(
    x: Float[Tensor, "n d"],
    responsibilities: Float[Tensor, "n k"],
    concentration: float,
    prior_std: float,
    noise_std: float,
    n_sweeps: int,
) -> MixturePosterior:
    """Coordinate ascent for a Bayesian mixture: pi ~ Dirichlet, mu_j ~ N(0, prior_std^2 I), x_i ~ N(mu_c, noise^2 I).

    Implements :eq:`eq-cavi-mixture`. Starts from `responsibilities`; `elbo` holds the bound on log p(x) after each
    sweep, which never falls. With a small `concentration` components that are not needed lose their data.
    Attias, 1999.

    >>> x = torch.tensor([[-4.0], [4.0]])
    >>> found = cavi_mixture(x, torch.eye(2), 1.0, prior_std=1.0, noise_std=1.0, n_sweeps=1)
    >>> found.mean.tolist()  # half-way between the datum and the prior's mean
    [[-2.0], [2.0]]
    """
    d, r = need_finite("x", x).shape[1], need_probabilities("responsibilities", responsibilities)
    need_one_dtype(x=x, responsibilities=r)
    for name, value in (("concentration", concentration), ("prior_std", prior_std), ("noise_std", noise_std)):
        need_between(name, value, 0.0, math.inf, open_ends=True)
    prior = x.new_full((r.shape[1],), concentration)
    bounds = []
    for _ in range(need_count("n_sweeps", n_sweeps)):
        alpha = prior + r.sum(0)
        variance = 1 / (1 / prior_std**2 + r.sum(0) / noise_std**2)
        mean = variance[:, None] * (r.T @ x) / noise_std**2
        log_pi = torch.digamma(alpha) - torch.digamma(alpha.sum())
        square = (x[:, None] - mean).square().sum(-1) + d * variance  # E |x_i - mu_j|^2
        fit = -square / (2 * noise_std**2) - d * (LOG_2PI / 2 + math.log(noise_std))
        r = (log_pi + fit).softmax(-1)
        rate_pi = _log_beta(prior) - _log_beta(alpha) + (alpha - prior) @ log_pi
        ratio = variance / prior_std**2
        rate_mu = (mean.square().sum(-1) / prior_std**2 + d * (ratio - 1 - ratio.log())).sum() / 2
        bounds.append((r * (log_pi + fit)).sum() + torch.special.entr(r).sum() - rate_pi - rate_mu)
    return MixturePosterior(r, alpha, mean, variance, torch.stack(bounds))


def _log_beta(alpha: Tensor) -> Tensor:
    return torch.lgamma(alpha).sum() - torch.lgamma(alpha.sum())


# --- annealed importance sampling -----------------------------------------------------------------------------------


@checked
def tempered_posterior(
    world: LinearGaussian, x: Float[Tensor, "batch d"], beta: float
) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "latent latent"]]:
    """Mean and covariance of the law proportional to p(z) p(x | z)^beta: the prior at 0, the posterior at 1.

    Implements :eq:`eq-tempered`: S = (I + beta W^T W / sigma^2)^-1, m = beta S W^T (x - mu) / sigma^2.

    >>> world, x = LinearGaussian([[2.0]], [0.0], noise_std=1.0), torch.tensor([[5.0]], dtype=torch.float64)
    >>> mean, cov = tempered_posterior(world, x, beta=1.0)
    >>> round(mean.item(), 4), round(cov.item(), 4)  # 2 x / 5, and 1/5
    (2.0, 0.2)
    """
    need_between("beta", beta, 0.0, 1.0)
    need_finite("x", need_shape("x", x, (len(x), world.d)))
    slope = beta / world.noise_std**2
    identity = torch.eye(world.k, dtype=world.weight.dtype, device=world.weight.device)
    cov = torch.cholesky_inverse(torch.linalg.cholesky(identity + slope * world.weight.T @ world.weight))
    return slope * (x - world.mean) @ world.weight @ cov, cov


@checked
def tempered_step(
    world: LinearGaussian,
    x: Float[Tensor, "batch d"],
    z: Float[Tensor, "k batch latent"],
    beta: float,
    persistence: float,
    noise: Float[Tensor, "k batch latent"],
) -> Float[Tensor, "k batch latent"]:
    """One step of a Markov chain that leaves `tempered_posterior` exactly as it is, whatever `persistence` in [0, 1].

    Implements :eq:`eq-tempered-step`: m + persistence (z - m) + sqrt(1 - persistence^2) chol(S) noise.

    >>> world, x = LinearGaussian([[2.0]], [0.0], noise_std=1.0), torch.tensor([[5.0]], dtype=torch.float64)
    >>> z = torch.zeros(1, 1, 1, dtype=torch.float64)
    >>> round(tempered_step(world, x, z, beta=1.0, persistence=0.5, noise=z).item(), 4)  # half-way to the mean, 2
    1.0
    """
    need_between("persistence", persistence, 0.0, 1.0)
    mean, cov = tempered_posterior(world, x, beta)
    need_shape("z", z, (len(z), *mean.shape)), need_one_dtype(world=world.weight, z=z, noise=noise)
    fresh = noise @ torch.linalg.cholesky(cov).T
    return mean + persistence * (z - mean) + math.sqrt(1 - persistence**2) * fresh


@checked
def annealed_importance(
    log_likelihood: Values,
    z: Float[Tensor, "k batch latent"],
    kernel: Callable[..., Tensor],
    betas: Float[Tensor, " steps"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "k batch"]:
    """log weights of annealed importance sampling: sum over t of (beta_t - beta_{t-1}) log p(x | z_{t-1}).

    Implements :eq:`eq-ais`. `z` are draws from the law tempered by betas[0]; `kernel(z, beta, generator)` leaves
    the law tempered by beta as it is. exp(log w) has mean Z(betas[-1]) / Z(betas[0]): p(x) from 0 to 1, starting at
    the prior, and 1 / p(x) from 1 to 0, starting at the posterior, which bounds log p(x) from above. Neal, 2001.

    >>> z, betas = torch.zeros(2, 1, 1), torch.tensor([0.0, 0.5, 1.0])
    >>> annealed_importance(lambda z: z[..., 0] - 3.0, z, lambda z, beta, generator: z, betas).tolist()
    [[-3.0], [-3.0]]
    """
    if len(betas) < 2:
        raise ValueError("betas has one entry, expected a path of at least two")
    if not ((betas >= 0) & (betas <= 1)).all():
        raise ValueError(f"betas reaches from {betas.min():.3g} to {betas.max():.3g}, expected numbers in [0, 1]")
    log_weights = torch.zeros_like(z[..., 0])
    steps = list(pairwise(betas.tolist()))
    for t, (here, there) in enumerate(steps):
        values = need_tensor("log_likelihood(z)", log_likelihood(z))
        need_shape("log_likelihood(z)", values, tuple(log_weights.shape))
        log_weights = log_weights + (there - here) * values
        if t + 1 < len(steps):
            z = need_shape("kernel(z)", need_tensor("kernel(z)", kernel(z, there, generator)), tuple(z.shape))
    return log_weights
