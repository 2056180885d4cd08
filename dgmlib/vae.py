"""Variational autoencoders and their bounds, held against the truth in two worlds where it is known (chapter 09).

A `VAE` is a prior N(0, I), a decoder p(x | z) and an encoder q(z | x) = N(mean(x), diag(exp(log_var(x)))). Objectives
return one value per example, in nats; importance samples stand along a first axis of their own: `(k, batch)`.

Data are read where their likelihood is taken: a Bernoulli law refuses pixels that are not 0/1. What networks make of
them is not read: NaN in a mean, a log-variance, a latent or a log-weight comes out as NaN.

`python -m dgmlib.vae --data binarized_mnist` trains, evaluates, samples and saves; run again, it resumes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import (
    bernoulli,
    by_blocks,
    checked,
    need_between,
    need_broadcast,
    need_count,
    need_finite,
    need_levels,
    need_like,
    need_one_dtype,
    need_option,
    need_shape,
    need_symmetric,
    randn_like,
)
from dgmlib.nets import MLP
from dgmlib.vi import iwae_bound, log_mean_exp
from dgmlib.worlds import LOG_2PI, GaussianMixture, LinearGaussian

Gaussian = tuple[Float[Tensor, "batch k"], Float[Tensor, "batch k"]]  # mean, log-variance of each coordinate

LogVar = Float[Tensor, "*#batch #d"] | Float[Tensor, ""]  # one a coordinate, or one for all

# --- the pieces -----------------------------------------------------------------------------------------------------


@checked
def normal_log_prob(
    x: Float[Tensor, "*#batch d"], mean: Float[Tensor, "*#batch d"], log_var: LogVar
) -> Float[Tensor, "*batch"]:
    """log N(x; mean, diag(exp(log_var))), summed over the last axis, in nats; all three broadcast.

    Implements :eq:`eq-vae-gaussian`. The normalisation -log_var/2 counts once a coordinate, broadcast or not.

    >>> normal_log_prob(torch.zeros(2), torch.zeros(2), torch.zeros(2))  # -log(2 pi)
    tensor(-1.8379)
    """
    need_broadcast(x=x, mean=mean, log_var=log_var)
    return -0.5 * (LOG_2PI + log_var + (x - mean).square() * (-log_var).exp()).sum(-1)


@checked
def bernoulli_log_prob(x: Float[Tensor, "*#batch d"], logits: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """sum_i x_i log sigmoid(l_i) + (1 - x_i) log sigmoid(-l_i): the log-mass of 0/1 pixels, in nats.

    Implements :eq:`eq-vae-bernoulli`. Summed over pixels. Grey x in between are refused, as the same expression is no
    log-density: see `continuous_bernoulli_log_norm`.

    >>> bernoulli_log_prob(torch.ones(3), torch.zeros(3)).exp()  # three fair coins
    tensor(0.1250)
    """
    need_levels("x", x, 2), need_broadcast(x=x, logits=logits)
    return (x * logits - F.softplus(logits)).sum(-1)


@checked
def continuous_bernoulli_log_norm(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log C with C = 1 / (integral over [0, 1] of p^x (1 - p)^(1 - x)), p = sigmoid(logits).

    Implements :eq:`eq-vae-continuous-bernoulli`: log(2 u / tanh u) with u = logits / 2. The log-density of a grey x in
    [0, 1] is x logits - softplus(logits) + log C.
    Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli".

    >>> round(continuous_bernoulli_log_norm(torch.zeros(1)).exp().item(), 4)  # p^x (1 - p)^(1 - x) is 1/2
    2.0
    """
    u = logits.abs() / 2
    near = u < 1e-2  # u / tanh u = 1 + u^2/3 - u^4/45 + ..., where the quotient would be 0/0
    series = u.square() / 3 - u.pow(4) / 45
    safe = torch.where(near, 1.0, u)
    return math.log(2) + torch.where(near, series.log1p(), (safe / safe.tanh()).log())


@checked
def kl_standard_normal(mean: Float[Tensor, "*batch k"], log_var: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """KL(N(mean, diag(exp(log_var))) || N(0, I)) = sum (mean^2 + var - 1 - log var) / 2, in nats.

    Implements :eq:`eq-vae-kl`. Summed over latent coordinates, never averaged. Kingma & Welling (2014), appendix B.

    >>> kl_standard_normal(torch.tensor([3.0, 4.0]), torch.zeros(2))  # (3^2 + 4^2) / 2
    tensor(12.5000)
    """
    return 0.5 * (mean.square() + log_var.expm1() - log_var).sum(-1)


@checked
def kl_diagonal(
    mean: Float[Tensor, "*batch k"],
    log_var: Float[Tensor, "*batch k"],
    prior_mean: Float[Tensor, "*#batch k"],
    prior_log_var: Float[Tensor, "*#batch k"],
) -> Float[Tensor, "*batch"]:
    """KL between Gaussians of diagonal covariance, summed over coordinates, in nats.

    Implements :eq:`eq-vae-kl-diagonal`. `dgmlib.divergences.kl_gaussian` has the same for full covariances.

    >>> kl_diagonal(torch.tensor([3.0]), torch.zeros(1), torch.tensor([2.0]), torch.zeros(1))
    tensor(0.5000)
    """
    need_broadcast(mean=mean, prior_mean=prior_mean, prior_log_var=prior_log_var)
    return kl_standard_normal((mean - prior_mean) * (-0.5 * prior_log_var).exp(), log_var - prior_log_var)


@checked
def reparameterise(
    mean: Float[Tensor, "batch k"],
    log_var: Float[Tensor, "batch k"],
    n_samples: int = 1,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples batch k"]:
    """z = mean + exp(log_var / 2) eps, eps ~ N(0, I): draws that gradients pass through, `(n_samples, batch, k)`.

    Implements :eq:`eq-vae-reparameterise`. The noise is fresh for every example, coordinate and sample.

    >>> reparameterise(torch.zeros(5, 2), torch.zeros(5, 2), n_samples=3).shape
    torch.Size([3, 5, 2])
    """
    # The batch comes first while noise is drawn, for randn_like deals its rows out to processes.
    noise = randn_like(mean[:, None].expand(-1, need_count("n_samples", n_samples), -1), generator=generator)
    return mean + (0.5 * log_var).exp() * noise.transpose(0, 1)


# --- the model ------------------------------------------------------------------------------------------------------


class VAE(nn.Module):
    """p(z) = N(0, I), a decoder and an encoder that are MLPs with the hidden sizes mirrored.

    `likelihood` is "bernoulli" (0/1 data, the decoder gives logits) or "gaussian" (it gives means; one variance for
    all pixels, `noise_var`, fixed, or learned when None). A learned variance starts at `start_var`, the pixels' own
    variance over the data, say: started at 1, right for data scaled to unit variance, it takes Adam long to come down
    to that of faces in [0, 1]. `hidden=()` makes both maps affine.

    Its methods, and what uses them, refuse data and latents of another shape or dtype.
    Kingma & Welling (2014); Rezende, Mohamed & Wierstra (2014).

    >>> model, x = VAE(d=3, k=2, hidden=()), torch.ones(1, 3)
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> mean, log_var = model.encode(x)
    >>> model.pixel_means(mean).tolist()
    [[0.5, 0.5, 0.5]]
    >>> round(model.log_likelihood(x, mean).exp().item(), 4), round(model.log_prob_is(x, 4).exp().item(), 4)
    (0.125, 0.125)
    >>> round(model.log_joint(x, mean).item(), 4)  # -log 8 - log(2 pi)
    -3.9173
    >>> model.sample(10).shape, model.sample_prior(10).shape
    (torch.Size([10, 3]), torch.Size([10, 2]))
    """

    @checked
    def __init__(
        self,
        d: int,
        k: int,
        hidden: Sequence[int] = (400,),
        *,
        likelihood: str = "bernoulli",
        noise_var: float | None = None,
        start_var: float = 1.0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ):
        super().__init__()
        self.d, self.k = need_count("d", d), need_count("k", k)
        self.likelihood = need_option("likelihood", likelihood, ("bernoulli", "gaussian"))
        self.encoder = MLP([d, *hidden, 2 * k], activation)
        self.decoder = MLP([k, *reversed(hidden), d], activation)
        if noise_var is None:
            need_between("start_var", start_var, 0.0, math.inf, open_ends=True)
            start = torch.tensor(math.log(start_var))
            self.log_noise_var = nn.Parameter(start) if likelihood == "gaussian" else None
        else:
            need_option("likelihood beside a noise_var", likelihood, ("gaussian",))
            need_between("noise_var", noise_var, 0.0, math.inf, open_ends=True)
            self.register_buffer("log_noise_var", torch.tensor(math.log(noise_var)))

    @checked
    def encode(self, x: Float[Tensor, "batch d"]) -> Gaussian:
        """Mean and log-variance of q(z | x), each `(batch, k)`."""
        mean, log_var = self.encoder(need_like("x", x, self.encoder[0].weight)).chunk(2, -1)
        return mean, log_var

    @checked
    def pixel_means(self, z: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch d"]:
        """E[x | z]."""
        outputs = self.decoder(need_like("z", z, self.decoder[0].weight))
        return outputs.sigmoid() if self.likelihood == "bernoulli" else outputs

    @checked
    def log_likelihood(self, x: Float[Tensor, "batch d"], z: Float[Tensor, "*samples batch k"]) -> Tensor:
        """log p(x | z) for each sample and example, `(*samples, batch)`."""
        outputs = self.decoder(need_like("z", z, self.decoder[0].weight))
        if self.likelihood == "bernoulli":
            return bernoulli_log_prob(x, outputs)
        return normal_log_prob(x, outputs, self.log_noise_var)

    @checked
    def log_joint(self, x: Float[Tensor, "batch d"], z: Float[Tensor, "*samples batch k"]) -> Tensor:
        """log p(x, z) for each sample and example."""
        return self.log_likelihood(x, z) - 0.5 * (LOG_2PI + z.square()).sum(-1)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws from the model: a latent from the prior, then pixels from the decoder."""
        means = self.pixel_means(self.sample_prior(n, generator=generator))
        if self.likelihood == "bernoulli":
            return bernoulli(means, generator=generator)
        return means + (0.5 * self.log_noise_var).exp() * randn_like(means, generator=generator)

    @checked
    def sample_prior(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n k"]:
        """`n` latents from N(0, I)."""
        like = self.decoder[0].weight
        return torch.randn(need_count("n", n), self.k, generator=generator, dtype=like.dtype, device=like.device)

    @checked
    @torch.no_grad()
    def log_prob_is(
        self,
        x: Float[Tensor, "batch d"],
        n_samples: int,
        *,
        widen: float = 1.0,
        chunk: int = 50,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """The importance-sampled log p(x), `chunk` of the `n_samples` at a time: unbiased for p, low for log p.

        Implements :eq:`eq-vae-importance`. The proposal is q(z | x) with its standard deviations times `widen`: the
        estimate is as honest with any, and less low with a little more than 1, as encoders are too sure of themselves.
        Not differentiable. Rows are decoded in blocks (`dgmlib.core.BLOCK`), which changes the memory only.
        """

        def log_sum(x: Tensor, z: Tensor, mean: Tensor, log_var: Tensor) -> Float[Tensor, " batch"]:
            return _log_ratio(self, x, z.transpose(0, 1), mean, log_var).logsumexp(0)

        mean, log_var = _proposal(self, x, widen)
        widest, parts = max(len(weight) for weight in self.parameters() if weight.ndim), []
        for first in range(0, need_count("n_samples", n_samples), need_count("chunk", chunk)):
            z = reparameterise(mean, log_var, min(chunk, n_samples - first), generator=generator)
            parts.append(by_blocks(log_sum, 4 * len(z) * widest, x, z.transpose(0, 1), mean, log_var))
        return torch.stack(parts).logsumexp(0) - math.log(n_samples)


# --- objectives -----------------------------------------------------------------------------------------------------


@checked
def elbo_terms(
    model: VAE, x: Float[Tensor, "batch d"], *, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """(distortion, rate): -log p(x | z) at one draw z from q(z | x), and KL(q(z | x) || p(z)) in closed form, in nats.

    Implements :eq:`eq-vae-rate-distortion`.

    >>> model = VAE(d=3, k=2, hidden=())
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> distortion, rate = elbo_terms(model, torch.ones(1, 3))
    >>> round(distortion.item(), 4), rate.item()  # log 8, and nothing said of x
    (2.0794, 0.0)
    """
    mean, log_var = model.encode(x)
    z = reparameterise(mean, log_var, generator=generator)[0]
    return -model.log_likelihood(x, z), kl_standard_normal(mean, log_var)


@checked
def elbo(
    model: VAE, x: Float[Tensor, "batch d"], *, beta: float = 1.0, generator: torch.Generator | None = None
) -> Float[Tensor, " batch"]:
    """log p(x | z) - beta KL(q(z | x) || p(z)) at one draw z from q(z | x): to be maximised, one value per example.

    Implements :eq:`eq-vae-elbo`. With beta = 1 (and above) its expectation is at most log p(x); below 1 it bounds
    nothing. Higgins et al. (2017) for beta.

    >>> model = VAE(d=3, k=2, hidden=())
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> round(elbo(model, torch.ones(1, 3)).item(), 4)  # log(1/8)
    -2.0794
    """
    need_between("beta", beta, 0.0, math.inf)
    distortion, rate = elbo_terms(model, x, generator=generator)
    return -distortion - beta * rate


@checked
def log_weights(
    model: VAE,
    x: Float[Tensor, "batch d"],
    n_samples: int,
    *,
    widen: float = 1.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples batch"]:
    """log p(x, z) - log q(z | x) at `n_samples` draws z from q(z | x), its deviations times `widen`, for each example.

    Implements :eq:`eq-vae-log-weights`. Feed it to `vi.iwae_bound`, `vi.log_prob_is` or `renyi_bound`.

    >>> model = VAE(d=3, k=2, hidden=())
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> log_weights(model, torch.ones(1, 3), n_samples=2).exp().detach()  # p(x) each, for q is the posterior
    tensor([[0.1250],
            [0.1250]])
    """
    mean, log_var = _proposal(model, x, widen)
    return _log_ratio(model, x, reparameterise(mean, log_var, n_samples, generator=generator), mean, log_var)


def _proposal(model: VAE, x: Float[Tensor, "batch d"], widen: float) -> Gaussian:
    need_between("widen", widen, 0.0, math.inf, open_ends=True)
    mean, log_var = model.encode(x)
    return mean, log_var + 2 * math.log(widen)


def _log_ratio(model: VAE, x: Tensor, z: Tensor, mean: Tensor, log_var: Tensor) -> Float[Tensor, "samples batch"]:
    return model.log_joint(x, z) - normal_log_prob(z, mean, log_var)


@checked
def iwae(
    model: VAE, x: Float[Tensor, "batch d"], n_samples: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, " batch"]:
    """log (1/K) sum_k p(x, z_k) / q(z_k | x) with its plain (pathwise) gradient. Burda, Grosse & Salakhutdinov (2016).

    Implements :eq:`eq-vae-iwae`.

    >>> model = VAE(d=3, k=2, hidden=())
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> round(iwae(model, torch.ones(1, 3), n_samples=4).exp().item(), 4)
    0.125
    """
    return iwae_bound(log_weights(model, x, n_samples, generator=generator))


@checked
def dreg(
    model: VAE, x: Float[Tensor, "batch d"], n_samples: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, " batch"]:
    """The value of `iwae` with the doubly reparameterised gradient of the encoder, whose noise shrinks as K grows.

    Implements :eq:`eq-vae-dreg`: the decoder's gradient is weighted by the normalised weights, what reaches the encoder
    through z by their squares, and the encoder inside log q is held fixed. Tucker, Lawson, Gu & Maddison (2019).

    >>> model = VAE(d=3, k=2, hidden=())
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> round(dreg(model, torch.ones(1, 3), n_samples=4).exp().item(), 4)
    0.125
    """
    mean, log_var = model.encode(x)
    z = reparameterise(mean, log_var, n_samples, generator=generator)
    log_w = model.log_joint(x, z) - normal_log_prob(z, mean.detach(), log_var.detach())
    share = log_w.detach().softmax(0)
    if z.requires_grad:
        z.register_hook(lambda gradient: share[..., None] * gradient)  # the second factor of the square
    surrogate = (share * log_w).sum(0)
    return iwae_bound(log_w.detach()) + surrogate - surrogate.detach()


@checked
def renyi_bound(log_weights: Float[Tensor, "samples batch"], alpha: float) -> Float[Tensor, " batch"]:
    """log of the power mean of the weights with exponent 1 - alpha: log((1/K) sum w^(1 - alpha)) / (1 - alpha).

    Implements :eq:`eq-vae-renyi`. alpha = 0 is the IWAE bound, alpha = 1 (the limit) the mean log-weight, alpha = 1 - n
    is CUBO_n. In the limit of many samples below log p for alpha in (0, 1], above it for alpha < 0; a finite sample
    of the latter is no upper bound. Li & Turner (2016); Dieng et al. (2017).

    >>> log_w = torch.tensor([[1.0], [3.0]]).log()
    >>> [round(renyi_bound(log_w, alpha).exp().item(), 4) for alpha in (1, 0, -1)]  # geometric to quadratic mean
    [1.7321, 2.0, 2.2361]
    """
    need_between("alpha", alpha, -math.inf, math.inf, open_ends=True)
    if alpha == 1:
        return log_weights.mean(0)
    best = (log_weights.amax(0) if alpha < 1 else log_weights.amin(0)).detach()
    best = best.clamp(min=torch.finfo(best.dtype).min)
    shifted = (1 - alpha) * (log_weights - best)
    lost = shifted.expm1().mean(0)  # near alpha = 1 the log of a mean power, itself near 1, has few digits left
    near = lost > -0.5
    log_mean = torch.where(near, torch.where(near, lost, 0.0).log1p(), log_mean_exp(shifted, 0))
    return best + log_mean / (1 - alpha)


# --- what the encoder does to the data as a whole -------------------------------------------------------------------


@checked
def aggregate_log_prob(
    z: Float[Tensor, "n k"], mean: Float[Tensor, "data k"], log_var: Float[Tensor, "data k"]
) -> Float[Tensor, " n"]:
    """log q(z), q(z) = (1/N) sum_i q(z | x_i): the mixture of the encoder's Gaussians over a data set.

    Implements :eq:`eq-vae-aggregate`. Differences are taken before squares: where q is sharp, the digits of a small
    |z - m|^2 are lost in |z|^2 - 2 z m + |m|^2. Without gradients, rows of z go in blocks (`dgmlib.core.BLOCK`).

    >>> aggregate_log_prob(torch.zeros(1, 1), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))  # log N(0; 1, 1)
    tensor([-1.4189])
    """

    def log_q(z: Tensor) -> Float[Tensor, " n"]:
        return log_mean_exp(normal_log_prob(z[:, None], mean, log_var), 1)

    return by_blocks(log_q, 3 * mean.numel(), z)


@checked
def fit_prior(codes: Float[Tensor, "n k"], n_components: int, *, seed: int = 0) -> GaussianMixture:
    """A mixture of full-covariance Gaussians fitted to draws from q(z), to sample from in the prior's place.

    Implements :eq:`eq-vae-ex-post`. Ghosh et al. (2020), "From variational to deterministic autoencoders".

    >>> prior = fit_prior(torch.tensor([[0.0], [2.0]]), n_components=1)  # N(1, 1)
    >>> round(prior.log_prob(torch.ones(1, 1)).item(), 4)
    -0.9189
    """
    need_between("seed", seed, 0, 2**32 - 1)
    points = need_finite("codes", codes).double().cpu().numpy()
    need_between("n_components", need_count("n_components", n_components), 1, len(points))
    from sklearn.mixture import GaussianMixture as Fit

    fit = Fit(n_components, max_iter=300, random_state=seed).fit(points)
    return GaussianMixture(
        *(torch.from_numpy(x).to(codes.device) for x in (fit.weights_, fit.means_, fit.covariances_))
    )


@checked
def unit_activity(mean: Float[Tensor, "data k"]) -> Float[Tensor, " k"]:
    """Var_x(E_q[z_u | x]) of each latent coordinate: the unit is called active above 0.01.

    Implements :eq:`eq-vae-activity`. Burda et al. (2016), section 5.2.

    >>> unit_activity(torch.tensor([[0.0, 1.0], [2.0, 1.0]])).tolist()  # the second says the same of every datum
    [1.0, 0.0]
    """
    return mean.var(0, unbiased=False)


# --- world 1: a linear decoder, where everything is known -----------------------------------------------------------


@checked
def water_filling(
    eigenvalues: Float[Tensor, " d"], noise_var: float, k: int | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(rate, distortion) of the best linear VAE with decoder variance `noise_var` and `k` latents (None: no limit).

    Implements :eq:`eq-vae-water`: of the k largest, a direction of variance l > noise_var is coded with log(l /
    noise_var)/2 nats and leaves the squared error noise_var; every other is given up, and leaves l.

    >>> water_filling(torch.tensor([4.0, 1.5, 0.25]), noise_var=1.0, k=1)  # log(4)/2, and 1 + 1.5 + 0.25
    (tensor(0.6931), tensor(2.7500))
    """
    need_between("noise_var", noise_var, 0.0, math.inf, open_ends=True)
    ordered = need_finite("eigenvalues", eigenvalues).sort(descending=True).values
    if ordered[-1] < -1e-5 * ordered[0].abs():
        raise ValueError(f"eigenvalues has a negative entry ({ordered[-1]:.3g}), expected those of a covariance")
    k = len(ordered) if k is None else need_count("k", k)
    coded = (ordered > noise_var) & (torch.arange(len(ordered), device=ordered.device) < k)
    rate = 0.5 * (ordered[coded] / noise_var).log().sum()
    return rate, torch.where(coded, noise_var, ordered).sum()


@checked
def ppca(cov: Float[Tensor, "d d"], k: int, noise_var: float | None = None) -> tuple[Float[Tensor, "d k"], float]:
    """(W, noise_var) that maximise the likelihood of N(mean, W W^T + noise_var I) on data of covariance `cov`.

    Implements :eq:`eq-vae-ppca`: the k leading eigenvectors times sqrt(eigenvalue - noise_var), 0 where that is
    negative; the best noise_var (when None) is the mean of the other eigenvalues. Any rotation W R is as likely, but
    only this one has a diagonal posterior. Tipping & Bishop (1999).

    >>> weight, noise_var = ppca(torch.diag(torch.tensor([5.0, 1.0])), k=1)
    >>> round((weight @ weight.T)[0, 0].item(), 4), round(noise_var, 4)
    (4.0, 1.0)
    """
    need_one_dtype(cov=cov)
    values, vectors = torch.linalg.eigh(need_symmetric("cov", cov))
    need_between("k", need_count("k", k), 1, len(values) - (noise_var is None))
    values, vectors = values.flip(0), vectors.flip(1)
    if noise_var is None:
        noise_var = values[k:].mean().item()
    need_between("noise_var", noise_var, 0.0, math.inf, open_ends=True)
    return vectors[:, :k] * (values[:k] - noise_var).clamp(min=0).sqrt(), noise_var


@checked
def best_linear_encoder(world: LinearGaussian, x: Float[Tensor, "batch d"]) -> Gaussian:
    """(mean, log_var) of the Gaussian with diagonal covariance that is nearest, in KL(q || posterior), to p(z | x).

    Implements :eq:`eq-vae-linear-encoder`: the posterior's mean, and one over the diagonal of its precision.

    >>> world, x = LinearGaussian([[2.0]], [0.0], noise_std=1.0), torch.tensor([[5.0]])
    >>> mean, log_var = best_linear_encoder(world, x)
    >>> round(mean.item(), 4), round(log_var.exp().item(), 4)  # 2 x / 5, and 1/5
    (2.0, 0.2)
    """
    mean, _ = world.posterior(x)
    precision = 1 + world.weight.square().sum(0) / world.noise_std**2
    return mean, -precision.log().expand_as(mean)


@checked
def linear_elbo(
    world: LinearGaussian,
    x: Float[Tensor, "batch d"],
    mean: Float[Tensor, "batch k"],
    log_var: Float[Tensor, "batch k"],
) -> Float[Tensor, " batch"]:
    """The ELBO of a linear-Gaussian model under q = N(mean, diag(exp(log_var))), with no sampling.

    Implements :eq:`eq-vae-linear-elbo`: E_q|x - W z - mu|^2 = |x - W mean - mu|^2 + sum_j var_j |w_j|^2.

    >>> world, x = LinearGaussian([[2.0]], [0.0], noise_std=1.0), torch.tensor([[5.0]])
    >>> bound = linear_elbo(world, x, *best_linear_encoder(world, x))
    >>> torch.allclose(bound, world.log_prob(x))  # with one latent the posterior is diagonal
    True
    """
    need_finite("x", need_shape("x", x, (len(x), world.d))), need_shape("mean", mean, (len(x), world.k))
    need_one_dtype(world=world.weight, mean=mean, log_var=log_var)
    error = (x - world.mean - mean @ world.weight.T).square().sum(-1) + log_var.exp() @ world.weight.square().sum(0)
    noise_var = world.noise_std**2
    log_lik = -0.5 * (world.d * (LOG_2PI + math.log(noise_var)) + error / noise_var)
    return log_lik - kl_standard_normal(mean, log_var)


# --- world 2: two latents, where everything is a sum over a grid ----------------------------------------------------


@checked
@torch.no_grad()
def grid_log_joint(model: VAE, x: Float[Tensor, "batch d"], axis: Float[Tensor, " n"]) -> Float[Tensor, "batch n n"]:
    """log p(x, z) at every point z = (axis[i], axis[j]) of the grid, for a Bernoulli VAE with two latents.

    Implements :eq:`eq-vae-grid-joint`. `axis` holds equally spaced points and serves both latents; one pass of the
    decoder serves all examples.

    >>> model = VAE(d=3, k=2, hidden=())
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever z; q(z | x) = p(z)
    >>> log_joint = grid_log_joint(model, torch.ones(1, 3), torch.tensor([-1.0, 0.0, 1.0]))
    >>> round(log_joint[0, 1, 1].item(), 4)  # at z = 0: -log 8 - log(2 pi)
    -3.9173
    """
    if (model.k, model.likelihood) != (2, "bernoulli"):
        raise ValueError(f"model has {model.k} latents and a {model.likelihood} likelihood, expected 2 and bernoulli")
    need_levels("x", need_shape("x", x, (len(x), model.d)), 2)
    need_one_dtype(model=model.decoder[0].weight, x=x, axis=axis)
    z = torch.cartesian_prod(_need_even("axis", axis), axis)
    logits = model.decoder(z)
    log_prior = -LOG_2PI - 0.5 * z.square().sum(1)
    return (x @ logits.T + (log_prior - F.softplus(logits).sum(1))).view(len(x), len(axis), len(axis))


@checked
def grid_evidence(log_joint: Float[Tensor, "batch n n"], axis: Float[Tensor, " n"]) -> Float[Tensor, " batch"]:
    """log p(x) = log of the integral of p(x, z), by the rule of equal weights on the grid.

    Implements :eq:`eq-vae-grid-evidence`. Its error falls exponentially with the spacing while the posterior lies well
    inside the grid and is wider than the spacing.

    >>> axis = torch.linspace(-6, 6, 61)
    >>> log_joint = -(axis[:, None].square() + axis.square())[None] / 2
    >>> round(grid_evidence(log_joint, axis).exp().item(), 4)  # 2 pi
    6.2832
    """
    _need_even("axis", axis)
    return log_joint.flatten(1).logsumexp(1) + 2 * torch.log(axis[1] - axis[0])


def _need_even(name: str, axis: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    gaps = axis.diff()
    if not (len(axis) > 1 and (gaps > 0).all() and gaps.max() < 1.01 * gaps.min()):
        raise ValueError(f"{name} has {len(axis)} points, expected two or more that rise by equal steps")
    return axis


@checked
def grid_elbo(
    log_joint: Float[Tensor, "batch n n"],
    axis: Float[Tensor, " n"],
    mean: Float[Tensor, "batch 2"],
    log_var: Float[Tensor, "batch 2"],
) -> Float[Tensor, " batch"]:
    """E_q[log p(x, z)] + H(q) for q = N(mean, diag(exp(log_var))): no sampling, differentiable in q.

    Implements :eq:`eq-vae-grid-elbo`. q factorises, so the average is q_1^T (log joint) q_2.

    >>> axis = torch.linspace(-6, 6, 61)
    >>> log_joint = -(axis[:, None].square() + axis.square())[None] / 2
    >>> grid_elbo(log_joint, axis, torch.zeros(1, 2), torch.zeros(1, 2))  # tight, as q is the posterior: log(2 pi)
    tensor([1.8379])
    """
    _need_even("axis", axis), need_one_dtype(log_joint=log_joint, axis=axis, mean=mean, log_var=log_var)
    log_q = -0.5 * (axis - mean[..., None]).square() * (-log_var[..., None]).exp()
    q = log_q.softmax(-1)  # (batch, 2, n); normalised on the grid, where the sum is the integral to rounding
    average = torch.einsum("bi,bij,bj->b", q[:, 0], log_joint, q[:, 1])
    return average + (1 + LOG_2PI) + 0.5 * log_var.sum(1)


@checked
def best_ellipse(
    log_joint: Float[Tensor, "batch n n"],
    axis: Float[Tensor, " n"],
    mean: Float[Tensor, "batch 2"],
    log_var: Float[Tensor, "batch 2"],
    *,
    n_steps: int = 200,
    learning_rate: float = 0.05,
) -> Gaussian:
    """The best diagonal Gaussian of each example, found from (mean, log_var) by Adam on `grid_elbo`.

    Implements :eq:`eq-vae-gaps`. What the encoder loses against it is the amortisation gap; what it still loses against
    log p(x), the approximation gap. An example keeps its start if that was better. Cremer, Li & Duvenaud (2018).

    >>> axis, start = torch.linspace(-6, 6, 61), (torch.ones(1, 2), torch.zeros(1, 2))
    >>> log_joint = -(axis[:, None].square() + axis.square())[None] / 2
    >>> best = best_ellipse(log_joint, axis, *start, n_steps=10)
    >>> bool(grid_elbo(log_joint, axis, *best) > grid_elbo(log_joint, axis, *start))
    True
    """
    need_between("learning_rate", learning_rate, 0.0, math.inf, open_ends=True)
    need_finite("log_joint", log_joint), need_finite("mean", mean), need_finite("log_var", log_var)
    start = [part.detach() for part in (mean, log_var)]
    parts = [part.clone().requires_grad_() for part in start]
    optimizer = torch.optim.Adam(parts, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, need_count("n_steps", n_steps))
    for _ in range(n_steps):
        optimizer.zero_grad()
        (-grid_elbo(log_joint, axis, *parts).sum()).backward()
        optimizer.step()
        schedule.step()
    better = grid_elbo(log_joint, axis, *parts) > grid_elbo(log_joint, axis, *start)
    return tuple(torch.where(better[:, None], new.detach(), old) for new, old in zip(parts, start, strict=True))


if __name__ == "__main__":  # python -m dgmlib.vae
    from dgmlib.commands import run

    run("vae")
