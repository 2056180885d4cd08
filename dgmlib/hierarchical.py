"""Hierarchies of latents: a chain of Gaussians where every number is known, and hierarchical VAEs (chapter 10).

The model is a Markov chain z_T -> ... -> z_1 -> x. Lists run upwards: entry t - 1 belongs to layer t. The encoder may
walk the chain upwards (`bottom_up`), downwards (`top_down`, the ladder), or give each layer its law from x alone
(`factorised`). Objectives return one value per example, in nats.

Data are read where their likelihood is taken: pixels that are not 0/1 are refused. What networks make of them is not
read: NaN in a mean, a log-variance, a latent or a rate comes out as NaN.

`python -m dgmlib.hierarchical --data binarized_mnist` trains, evaluates, samples and saves; run again, it resumes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dgmlib import vae
from dgmlib.core import (
    Density,
    bernoulli,
    by_blocks,
    checked,
    need_between,
    need_cholesky,
    need_count,
    need_finite,
    need_like,
    need_one_dtype,
    need_option,
    need_shape,
    need_tensor,
    randn_like,
)
from dgmlib.nets import MLP
from dgmlib.vae import bernoulli_log_prob, kl_diagonal, normal_log_prob
from dgmlib.worlds import LOG_2PI, GaussianMixture

# --- a hierarchy where everything is known --------------------------------------------------------------------------


class Kernel(NamedTuple):
    """One Gaussian step a -> b: b given a is N(weight a + shift, cov). `weight` is (d_b, d_a).

    >>> weight, shift, cov = Kernel(weight=2 * torch.eye(1), shift=torch.ones(1), cov=torch.eye(1))
    >>> weight @ torch.tensor([3.0]) + shift  # the mean of b where a is 3
    tensor([7.])
    """

    weight: Float[Tensor, "b a"]
    shift: Float[Tensor, " b"]
    cov: Float[Tensor, "b b"]


@checked
def _need_step(
    weight: Float[Tensor, "b a"],
    shift: Float[Tensor, " b"],
    kernel_cov: Float[Tensor, "b b"],
    mean: Float[Tensor, " a"],
    cov: Float[Tensor, "a a"],
) -> None:
    need_one_dtype(weight=weight, shift=shift, kernel_cov=kernel_cov, mean=mean, cov=cov)
    need_finite("weight", weight), need_finite("shift", shift), need_finite("kernel_cov", kernel_cov)
    need_finite("mean", mean), need_finite("cov", cov)


@checked
def push(kernel: Kernel, mean: Float[Tensor, " a"], cov: Float[Tensor, "a a"]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of b when a has `mean` and `cov`.

    Implements :eq:`eq-hier-push`.

    >>> push(Kernel(2 * torch.eye(1), torch.ones(1), torch.eye(1)), torch.tensor([3.0]), torch.eye(1))
    (tensor([7.]), tensor([[5.]]))
    """
    _need_step(*kernel, mean, cov)
    return kernel.weight @ mean + kernel.shift, kernel.weight @ cov @ kernel.weight.mT + kernel.cov


@checked
def reverse(kernel: Kernel, mean: Float[Tensor, " a"], cov: Float[Tensor, "a a"]) -> Kernel:
    """The step b -> a of the same pair, when a has `mean` and `cov`: Bayes' rule.

    Implements :eq:`eq-hier-reverse`.

    >>> back = reverse(Kernel(2 * torch.eye(1), torch.zeros(1), torch.eye(1)), torch.zeros(1), torch.eye(1))
    >>> back.weight, back.cov  # 2/5 and 1/5
    (tensor([[0.4000]]), tensor([[0.2000]]))
    """
    mean_b, cov_b = push(kernel, mean, cov)
    need_cholesky("the cov of b", cov_b)
    gain = torch.linalg.solve(cov_b, kernel.weight @ cov).mT  # cov W^T (W cov W^T + C)^{-1}
    return Kernel(gain, mean - gain @ mean_b, cov - gain @ kernel.weight @ cov)


class LinearChain(Density):
    """z_T ~ N(0, I), then Gaussian steps z_T -> ... -> z_1 -> x with linear means: a hierarchy with known evidence.

    `kernels` run upwards: the first is p(x | z_1), the last p(z_{T-1} | z_T). Computes in float64. Raises ValueError
    (no kernel, shapes, or one whose output is not the input of the one below).

    >>> chain = LinearChain([([[1.0]], [0.0], [[1.0]])] * 2)  # z_2 ~ N(0, 1), then unit noise twice
    >>> [cov.item() for mean, cov in chain.marginals()]  # of x, z_1, z_2
    [3.0, 2.0, 1.0]
    >>> round(chain.log_prob(torch.zeros(1, 1)).item(), 4)  # log N(0; 0, 3)
    -1.4682
    >>> round(chain.posterior()[0].weight.item(), 4), chain.sample(5).shape  # E[z_1 | x] = 2 x / 3
    (0.6667, torch.Size([5, 1]))
    """

    @checked
    def __init__(self, kernels: Sequence[Sequence[Tensor | list]]):
        if not kernels:
            raise ValueError("kernels is empty, expected at least p(x | z_1)")
        self.kernels: list[Kernel] = []
        for i, parts in enumerate(kernels):
            name = f"kernels[{i}]"
            weight, shift, cov = (need_finite(name, torch.as_tensor(part, dtype=torch.float64)) for part in parts)
            rows, columns = need_tensor(f"the weight of {name}", weight, 2).shape
            if self.kernels:
                need_shape(f"the weight of {name}", weight, (self.kernels[-1].weight.shape[1], columns))
            need_shape(f"the shift of {name}", shift, (rows,))
            need_cholesky(f"the cov of {name}", need_shape(f"the cov of {name}", cov, (rows, rows)))
            self.kernels.append(Kernel(weight, shift, cov))
        self.d, self.n_layers = len(self.kernels[0].shift), len(self.kernels)

    def marginals(self) -> list[tuple[Tensor, Tensor]]:
        """(mean, cov) of x, z_1, ..., z_T under the model."""
        weight = self.kernels[-1].weight
        laws = [(weight.new_zeros(weight.shape[1]), _eye(weight.shape[1], weight))]
        for kernel in reversed(self.kernels):
            laws.insert(0, push(kernel, *laws[0]))
        return laws

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """The evidence log p(x): x is Gaussian, whatever the depth.

        Implements :eq:`eq-hier-evidence`.
        """
        mean, cov = self.marginals()[0]
        return GaussianMixture([1.0], mean[None], cov[None]).log_prob(x)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws of x, from the top down."""
        weight = self.kernels[-1].weight
        shape = (need_count("n", n), weight.shape[1])
        z = torch.randn(shape, generator=generator, dtype=weight.dtype, device=weight.device)
        for kernel in reversed(self.kernels):
            mean = z @ kernel.weight.mT + kernel.shift
            z = mean + randn_like(mean, generator=generator) @ torch.linalg.cholesky(kernel.cov).mT
        return z

    def posterior(self) -> list[Kernel]:
        """p(z_1 | x), p(z_2 | z_1), ..., p(z_T | z_{T-1}): each step of the chain, reversed at its own marginal.

        Implements :eq:`eq-hier-posterior`. Their product is p(z_1, ..., z_T | x).
        """
        return [reverse(kernel, *law) for kernel, law in zip(self.kernels, self.marginals()[1:], strict=True)]


@checked
def turned(upwards: Sequence[Kernel]) -> list[Kernel]:
    """The encoder q(z_1 | x) q(z_2 | z_1) ... written from the top: the same law, read in the other direction.

    Implements :eq:`eq-hier-turned`. Entry t - 1 is q(z_t | z_{t+1}, x), a step from the vector (z_{t+1}, x); the last
    is q(z_T | x).

    >>> chain = LinearChain([([[1.0]], [0.0], [[1.0]])] * 2)  # z_2 ~ N(0, 1), then unit noise twice
    >>> round(turned(chain.posterior())[-1].weight.item(), 4)  # E[z_2 | x] = x / 3
    0.3333
    """
    if not upwards:
        raise ValueError("upwards is empty, expected at least q(z_1 | x)")
    slope, shift, cov = upwards[0]  # q(z_t | x) = N(slope x + shift, cov)
    downwards = []
    for kernel in upwards[1:]:
        back = reverse(kernel, shift, cov)
        own = slope - back.weight @ kernel.weight @ slope
        downwards.append(Kernel(torch.cat([back.weight, own], 1), back.shift, back.cov))
        shift, cov = push(kernel, shift, cov)
        slope = kernel.weight @ slope
    return [*downwards, Kernel(slope, shift, cov)]


@checked
def factorised(chain: LinearChain) -> list[Kernel]:
    """The best encoder q(z_1 | x) q(z_2 | x) ... whose layers do not know of each other, in the form of `turned`.

    Implements :eq:`eq-hier-factorised`: each layer keeps the posterior's mean, and has its block of the precision.

    >>> chain = LinearChain([([[1.0]], [0.0], [[1.0]])] * 2)  # z_2 ~ N(0, 1), then unit noise twice
    >>> [round(kernel.cov.item(), 4) for kernel in factorised(chain)]  # the true variances are 2/3 and 2/3
    [0.5, 0.5]
    """
    exact, layers = chain.posterior(), []
    for t, below in enumerate(chain.kernels):
        slope, shift = (exact[t].weight @ slope, push(exact[t], shift, cov)[0]) if t else exact[0][:2]
        last = t + 1 == chain.n_layers
        above = _eye(len(slope), slope) if last else chain.kernels[t + 1].cov
        precision = torch.linalg.inv(above) + below.weight.mT @ torch.linalg.solve(below.cov, below.weight)
        blind = slope.new_zeros(len(slope), 0 if last else chain.kernels[t + 1].weight.shape[1])
        cov = torch.linalg.inv(precision)
        layers.append(Kernel(torch.cat([blind, slope], 1), shift, cov))
    return layers


class Terms(NamedTuple):
    """The ELBO taken apart, in nats: it is minus `distortion` minus the sum of `rates`.

    >>> distortion, rates = Terms(torch.tensor([3.0]), torch.tensor([[1.0, 0.5]]))
    >>> -distortion - rates.sum(1)
    tensor([-4.5000])
    """

    distortion: Float[Tensor, " batch"]
    rates: Float[Tensor, "batch layers"]


@checked
def linear_terms(chain: LinearChain, encoder: Sequence[Kernel], x: Float[Tensor, "batch d"]) -> Terms:
    """-E_q log p(x | z_1), and for each layer E_q KL(q(z_t | z_{t+1}, x) || p(z_t | z_{t+1})), with no sampling.

    Implements :eq:`eq-hier-linear-terms`. `encoder` is in the form of `turned`.

    >>> chain = LinearChain([([[1.0]], [0.0], [[1.0]])] * 2)  # z_2 ~ N(0, 1), then unit noise twice
    >>> x = torch.ones(1, 1, dtype=torch.float64)
    >>> distortion, rates = linear_terms(chain, turned(chain.posterior()), x)
    >>> torch.allclose(-distortion - rates.sum(1), chain.log_prob(x))  # tight at the posterior
    True
    """
    x = need_finite("x", need_shape("x", x, (len(x), chain.d))).to(torch.float64)
    if len(encoder) != chain.n_layers:
        raise ValueError(f"encoder has {len(encoder)} layers, expected {chain.n_layers} as the chain")
    rates, mean, cov = [], x.new_zeros(len(x), 0), x.new_zeros(0, 0)  # of the layer above: over the top there is none
    for t in reversed(range(chain.n_layers)):
        k, n_above = len(encoder[t].shift), mean.shape[1]
        need_shape(f"encoder[{t}].weight", encoder[t].weight, (k, n_above + chain.d))
        own, outside = encoder[t].weight.split([n_above, chain.d], 1)
        top = Kernel(x.new_zeros(k, n_above), x.new_zeros(k), _eye(k, x))
        model = chain.kernels[t + 1] if t + 1 < chain.n_layers else top
        tilt, seen = own - model.weight, x @ outside.mT + encoder[t].shift
        apart = seen + mean @ tilt.mT - model.shift
        spread = encoder[t].cov + tilt @ cov @ tilt.mT
        rates.insert(0, _half_quadratic(apart, spread, model.cov) - 0.5 * (k + torch.logdet(encoder[t].cov)))
        mean, cov = seen + mean @ own.mT, own @ cov @ own.mT + encoder[t].cov
    decoder = chain.kernels[0]
    error = x - mean @ decoder.weight.mT - decoder.shift
    surprise = _half_quadratic(error, decoder.weight @ cov @ decoder.weight.mT, decoder.cov)
    return Terms(surprise + 0.5 * chain.d * LOG_2PI, torch.stack(rates, 1))


def _half_quadratic(mean: Float[Tensor, "batch k"], spread: Tensor, cov: Tensor) -> Float[Tensor, " batch"]:
    """(log det cov + E v^T cov^{-1} v) / 2 for v of mean `mean` and covariance `spread`."""
    precision = torch.linalg.inv(cov)
    return 0.5 * (torch.logdet(cov) + (mean @ precision * mean).sum(1) + (precision * spread).sum())


def _eye(k: int, like: Tensor) -> Float[Tensor, "k k"]:
    return torch.eye(k, dtype=like.dtype, device=like.device)


# --- the pieces -----------------------------------------------------------------------------------------------------

Law = tuple[Float[Tensor, "*batch k"], Float[Tensor, "*batch k"]]  # mean and log-variance of each coordinate


@checked
def combine(first: Law, second: Law) -> Law:
    """Mean and log-variance of the normalised product of two diagonal Gaussians: precisions add and weigh the means.

    Implements :eq:`eq-hier-combine`. Sønderby et al. (2016), "Ladder variational autoencoders".

    >>> mean, log_var = combine((torch.zeros(1), torch.zeros(1)), (torch.tensor([3.0]), torch.zeros(1)))
    >>> mean, log_var.exp()
    (tensor([1.5000]), tensor([0.5000]))
    """
    (mean_a, log_var_a), (mean_b, log_var_b) = first, second
    log_var = -torch.logaddexp(-log_var_a, -log_var_b)
    return mean_a * (log_var - log_var_a).exp() + mean_b * (log_var - log_var_b).exp(), log_var


@checked
def floored(rates: Float[Tensor, "batch layers"], floor: float) -> Float[Tensor, "batch layers"]:
    """Each layer's rate, but at least `floor` nats: below it a layer costs the same whether it speaks or not.

    Implements :eq:`eq-hier-free-bits`. Kingma et al. (2016), "free bits", here per example.

    >>> floored(torch.tensor([[0.1, 2.0]]), floor=0.5)
    tensor([[0.5000, 2.0000]])
    """
    return rates.clamp(min=need_between("floor", floor, 0.0, math.inf))


class WarmUp(nn.Module):
    """The weight of the rates in training: 0 at the first call, 1 from call `n_calls` + 1 on, a straight line between.

    Bowman et al. (2016); Sønderby et al. (2016).

    >>> weight = WarmUp(2)
    >>> [weight().item() for call in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """

    @checked
    def __init__(self, n_calls: int):
        super().__init__()
        self.n_calls = need_count("n_calls", n_calls)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self) -> Float[Tensor, ""]:
        """The weight at this call.

        Implements :eq:`eq-hier-warm-up`.
        """
        beta = (self.calls / self.n_calls).clamp(max=1)
        self.calls += 1
        return beta


# --- the model ------------------------------------------------------------------------------------------------------

INFERENCES = ("top_down", "bottom_up", "factorised")


class Layer(NamedTuple):
    """One layer: its draws, its law q in the encoder, and its law p in the model, given those above.

    >>> layers = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3)).infer(torch.ones(5, 4))
    >>> [tuple(layer.z.shape) for layer in layers]
    [(1, 5, 2), (1, 5, 1)]
    """

    z: Float[Tensor, "samples batch k"]
    q: Law
    p: Law


class HierarchicalVAE(nn.Module):
    """p(z_T) = N(0, I), p(z_t | z_{t+1}) diagonal Gaussians, p(x | z_1) coins, and an encoder for all layers.

    `latents` and `hidden` run upwards: layer t has `latents[t - 1]` units, and `hidden[t - 1]` hidden ones stand
    between it and what is below. One layer is `dgmlib.vae.VAE`. Encoders: "bottom_up", q(z_1 | x) q(z_2 | z_1) ...;
    "top_down", a way up without draws, then on the way down the model's own p(z_t | z_{t+1}) times what x says, by
    `combine`; "factorised", q(z_1 | x) q(z_2 | x) ....

    Raises: TypeError, ValueError (sizes; `inference` unknown; data of another shape or dtype).

    >>> model, x = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3), inference="bottom_up"), torch.ones(1, 4)
    >>> for p in model.parameters(): p.data *= 0  # four fair coins, whatever z; q(z | x) = p(z)
    >>> z = [layer.z[0] for layer in model.infer(x)]
    >>> round(model.log_likelihood(x, z[0]).exp().item(), 4), round(model.log_prob_is(x, 4).exp().item(), 4)
    (0.0625, 0.0625)
    >>> round(model.log_joint(x, [0 * z[0], 0 * z[1]]).item(), 4)  # -log 16 - 3 log(2 pi)/2
    -5.5294
    >>> [mean.shape for mean, log_var in model.prior(z)], model.pixel_means(z[0]).tolist()
    ([torch.Size([1, 2]), torch.Size([1, 1])], [[0.5, 0.5, 0.5, 0.5]])
    >>> [part.shape for part in model.sample_latents(5)], model.sample(5).shape
    ([torch.Size([5, 2]), torch.Size([5, 1])], torch.Size([5, 4]))
    """

    @checked
    def __init__(
        self,
        d: int,
        latents: Sequence[int] = (100, 50),
        hidden: Sequence[int] = (400, 200),
        *,
        inference: str = "top_down",
        activation: Callable[[], nn.Module] = nn.ReLU,
    ):
        super().__init__()
        if not latents or len(latents) != len(hidden):
            raise ValueError(f"latents has {len(latents)} and hidden {len(hidden)} entries, expected as many, and some")
        self.d, self.latents = need_count("d", d), tuple(need_count("latents", k) for k in latents)
        for size in hidden:
            need_count("hidden", size)
        self.inference = need_option("inference", inference, INFERENCES)
        inputs = [d, *(latents if inference == "bottom_up" else hidden)[:-1]]
        outputs = [d, *(2 * k for k in latents[:-1])]
        self.up = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), activation()) for a, b in zip(inputs, hidden, strict=True)
        )
        self.heads = nn.ModuleList(nn.Linear(h, 2 * k) for h, k in zip(hidden, latents, strict=True))
        self.down = nn.ModuleList(
            MLP([k, h, out], activation) for k, h, out in zip(latents, hidden, outputs, strict=True)
        )

    @checked
    def prior(self, z: Sequence[Tensor]) -> list[Law]:
        """Mean and log-variance of each layer in the model, given the draws `z` of all: zeros for the top."""
        if len(z) != len(self.latents):
            raise ValueError(f"z has {len(z)} layers, expected {len(self.latents)}")
        below = [tuple(down(above).chunk(2, -1)) for down, above in zip(self.down[1:], z[1:], strict=True)]
        return [*below, (torch.zeros_like(z[-1]), torch.zeros_like(z[-1]))]

    @checked
    def infer(
        self,
        x: Float[Tensor, "batch d"],
        n_samples: int = 1,
        *,
        widen: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> list[Layer]:
        """`n_samples` draws of all layers from q(z_1, ..., z_T | x).

        Implements :eq:`eq-hier-infer`. `widen` multiplies q's deviations, on a way down not beyond those of p.
        """
        return self._walk(x, self._noise(x, n_samples, generator), widen)

    def _noise(self, x: Tensor, n_samples: int, generator: torch.Generator | None) -> list[Tensor]:
        """What the walk draws of each layer, `(batch, n_samples, k)`, in its order."""
        need_like("x", x, self.heads[0].weight)
        order = range(len(self.latents)) if self.inference == "bottom_up" else reversed(range(len(self.latents)))
        like = x[:, None, :1].expand(-1, need_count("n_samples", n_samples), -1)
        drawn = {t: randn_like(like.expand(-1, -1, self.latents[t]), generator=generator) for t in order}
        return [drawn[t] for t in range(len(self.latents))]

    def _walk(self, x: Float[Tensor, "batch d"], noise: Sequence[Tensor], widen: float) -> list[Layer]:
        need_between("widen", widen, 0.0, math.inf, open_ends=True)
        shape = (noise[0].shape[1], len(x), -1)
        if self.inference == "bottom_up":
            z, laws = [], []
            for up, head, drawn in zip(self.up, self.heads, noise, strict=True):
                q = head(up(z[-1] if z else x)).expand(shape).chunk(2, -1)
                laws.append(_wider(q, widen))
                z.append(_draw(laws[-1], drawn))
            return [Layer(*parts) for parts in zip(z, laws, self.prior(z), strict=True)]
        evidence, layers = [], []
        for up, head in zip(self.up, self.heads, strict=True):
            x = up(x)
            evidence.append(head(x).expand(shape).chunk(2, -1))
        p = tuple(torch.zeros_like(part) for part in evidence[-1])
        for t in reversed(range(len(evidence))):
            q = combine(evidence[t], p) if layers and self.inference == "top_down" else evidence[t]
            q = _wider(q, widen, p[1])
            layers.insert(0, Layer(_draw(q, noise[t]), q, p))
            if t:
                p = self.down[t](layers[0].z).chunk(2, -1)
        return layers

    @checked
    def log_likelihood(self, x: Float[Tensor, "batch d"], z: Float[Tensor, "*samples batch k"]) -> Tensor:
        """log p(x | z_1) for each sample and example, `(*samples, batch)`."""
        need_shape("z", z, (*z.shape[:-1], self.latents[0]))
        return bernoulli_log_prob(x, self.down[0](need_like("z", z, self.heads[0].weight)))

    @checked
    def log_joint(self, x: Float[Tensor, "batch d"], z: Sequence[Float[Tensor, "*samples batch _"]]) -> Tensor:
        """log p(x, z_1, ..., z_T) for each sample and example.

        Implements :eq:`eq-hier-joint`.
        """
        laws = zip(z, self.prior(z), strict=True)
        return self.log_likelihood(x, z[0]) + sum(normal_log_prob(part, *law) for part, law in laws)

    @checked
    def sample_latents(
        self, n: int, top: Float[Tensor, "n k"] | None = None, *, generator: torch.Generator | None = None
    ) -> list[Float[Tensor, "n _"]]:
        """`n` draws of all layers from the model; `top`, when given, stands for z_T."""
        like = self.heads[-1].weight
        shape = (need_count("n", n), self.latents[-1])
        if top is None:
            top = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
        z = [need_shape("top", need_like("top", top, like), shape)]
        for down in reversed(self.down[1:]):
            mean, log_var = down(z[0]).chunk(2, -1)
            z.insert(0, mean + (0.5 * log_var).exp() * randn_like(mean, generator=generator))
        return z

    @checked
    def pixel_means(self, z: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch d"]:
        """E[x | z_1]."""
        need_shape("z", z, (*z.shape[:-1], self.latents[0]))
        return self.down[0](need_like("z", z, self.heads[0].weight)).sigmoid()

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws from the model: latents from the top down, then pixels."""
        return bernoulli(self.pixel_means(self.sample_latents(n, generator=generator)[0]), generator=generator)

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

        Rows go in blocks (`dgmlib.core.BLOCK`), which changes the memory only.
        """

        def log_sum(x: Tensor, *noise: Tensor) -> Float[Tensor, " batch"]:
            return _log_ratio(self, x, self._walk(x, noise, widen)).logsumexp(0)

        widest, parts = max(len(weight) for weight in self.parameters()), []
        for first in range(0, need_count("n_samples", n_samples), need_count("chunk", chunk)):
            noise = self._noise(x, min(chunk, n_samples - first), generator)
            parts.append(by_blocks(log_sum, 4 * noise[0].shape[1] * widest, x, *noise))
        return torch.stack(parts).logsumexp(0) - math.log(n_samples)


def _draw(law: Law, noise: Float[Tensor, "batch samples k"]) -> Float[Tensor, "samples batch k"]:
    """One reparameterised draw for each sample and example, of noise whose rows processes and blocks can share."""
    mean, log_var = law
    return mean + (0.5 * log_var).exp() * noise.transpose(0, 1)


def _wider(law: Law, widen: float, limit: Tensor | None = None) -> Law:
    """The law with its deviations times `widen`; with a `limit`, no log-variance is brought above that."""
    mean, log_var = law
    wide = log_var + 2 * math.log(widen)
    return mean, wide if limit is None else torch.minimum(wide, torch.maximum(log_var, limit))


# --- objectives -----------------------------------------------------------------------------------------------------


@checked
def log_weights(
    model: HierarchicalVAE,
    x: Float[Tensor, "batch d"],
    n_samples: int,
    *,
    widen: float = 1.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples batch"]:
    """log p(x, z_1, ..., z_T) - log q(z_1, ..., z_T | x) at `n_samples` draws from q, for each example.

    Implements :eq:`eq-hier-log-weights`.

    >>> model = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3), inference="bottom_up")
    >>> for p in model.parameters(): p.data *= 0  # four fair coins, whatever z; q(z | x) = p(z)
    >>> round(log_weights(model, torch.ones(1, 4), n_samples=1).exp().item(), 4)  # p(x), for q is the posterior
    0.0625
    """
    return _log_ratio(model, x, model.infer(x, n_samples, widen=widen, generator=generator))


def _log_ratio(model: HierarchicalVAE, x: Tensor, layers: Sequence[Layer]) -> Float[Tensor, "samples batch"]:
    ratios = (normal_log_prob(z, *p) - normal_log_prob(z, *q) for z, q, p in layers)
    return model.log_likelihood(x, layers[0].z) + sum(ratios)


@checked
def unit_rates(model: HierarchicalVAE, layers: Sequence[Layer]) -> list[Float[Tensor, "samples batch _"]]:
    """What each unit costs at these draws, in nats: KL(q || p) in closed form where p is known before z is drawn.

    Implements :eq:`eq-hier-unit-rates`. A bottom-up q is drawn before what is above it: there log q - log p at the
    draw, which may be negative; except for the top layer.

    >>> model = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3))
    >>> for p in model.parameters(): p.data *= 0  # four fair coins; q(z_1 | z_2, x) = N(0, I/2)
    >>> below, top = unit_rates(model, model.infer(torch.ones(1, 4)))
    >>> below.detach(), top.shape  # KL(N(0, 1/2), N(0, 1)) = (log 2 - 1/2)/2 each
    (tensor([[[0.0966, 0.0966]]]), torch.Size([1, 1, 1]))
    """
    rates = []
    for z, q, p in layers:
        z, q, p = z[..., None], [part[..., None] for part in q], [part[..., None] for part in p]
        drawn = model.inference == "bottom_up" and len(rates) + 1 < len(layers)
        rates.append(normal_log_prob(z, *q) - normal_log_prob(z, *p) if drawn else kl_diagonal(*q, *p))
    return rates


@checked
def elbo_terms(
    model: HierarchicalVAE, x: Float[Tensor, "batch d"], *, generator: torch.Generator | None = None
) -> Terms:
    """-log p(x | z_1) and each layer's rate, at one draw of all layers from the encoder.

    Implements :eq:`eq-hier-terms`.

    >>> model = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3))
    >>> for p in model.parameters(): p.data *= 0  # four fair coins; q(z_1 | z_2, x) = N(0, I/2)
    >>> distortion, rates = elbo_terms(model, torch.ones(1, 4))
    >>> round(distortion.item(), 4), round(rates[0, 0].item(), 4)  # log 16, and log 2 - 1/2
    (2.7726, 0.1931)
    """
    layers = model.infer(x, generator=generator)
    rates = [rate[0].sum(-1) for rate in unit_rates(model, layers)]
    return Terms(-model.log_likelihood(x, layers[0].z[0]), torch.stack(rates, 1))


@checked
def elbo(
    model: HierarchicalVAE,
    x: Float[Tensor, "batch d"],
    *,
    beta: float | Float[Tensor, ""] = 1.0,
    floor: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " batch"]:
    """Minus the distortion, minus beta times the rates, each layer's at least `floor` nats: to be maximised.

    Implements :eq:`eq-hier-elbo`. With beta = 1 and floor = 0 its expectation is at most log p(x).

    >>> model = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3))
    >>> for p in model.parameters(): p.data *= 0  # four fair coins; q(z_1 | z_2, x) = N(0, I/2)
    >>> round(elbo(model, torch.ones(1, 4)).item(), 4)  # log(1/16) - (log 2 - 1/2)
    -2.9657
    """
    if not isinstance(beta, Tensor):
        need_between("beta", beta, 0.0, math.inf)
    distortion, rates = elbo_terms(model, x, generator=generator)
    return -distortion - beta * (floored(rates, floor) if floor else rates).sum(1)  # rates at a draw may be negative


@checked
@torch.no_grad()
def unit_statistics(
    model: HierarchicalVAE,
    x: Float[Tensor, "data d"],
    n_samples: int = 10,
    *,
    batch_size: int = 100,
    generator: torch.Generator | None = None,
) -> tuple[list[Float[Tensor, " _"]], list[Float[Tensor, " _"]]]:
    """For each layer: the mean rate of each unit, in nats, and the variance over the data of its mean code.

    Implements :eq:`eq-hier-active`. The second is chapter 09's activity, which counts a unit that merely repeats the
    layer above; the first does not.

    >>> model = HierarchicalVAE(4, latents=(2, 1), hidden=(3, 3))
    >>> for p in model.parameters(): p.data *= 0  # four fair coins; q(z_1 | z_2, x) = N(0, I/2)
    >>> rates, activity = unit_statistics(model, torch.eye(4))
    >>> rates[0], activity[0].tolist()  # paid for, and says nothing of the data
    (tensor([0.0966, 0.0966]), [0.0, 0.0])
    """
    rates, codes = [[] for _ in model.latents], [[] for _ in model.latents]
    for part in x.split(need_count("batch_size", batch_size)):
        layers = model.infer(part, n_samples, generator=generator)
        for t, rate in enumerate(unit_rates(model, layers)):
            rates[t].append(rate.mean(0))
            codes[t].append(layers[t].q[0].mean(0))
    return [torch.cat(rate).mean(0) for rate in rates], [vae.unit_activity(torch.cat(code)) for code in codes]


if __name__ == "__main__":  # python -m dgmlib.hierarchical
    from dgmlib.commands import run

    run("hierarchical")
