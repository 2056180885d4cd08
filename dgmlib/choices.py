"""Gradients through choices: score functions, control variates, relaxations; VAEs with bits and labels (chapter 11).

Bits are 0/1 in floating point, `(…, bits)`, with q(z) = prod_i Bernoulli(z_i; sigmoid(logits_i)). Estimates of a
gradient stand one a row. Objectives return one value per example, in nats.

Data are read where their likelihood is taken: pixels that are not 0/1 are refused. Logits, noise and values of f are
not read: NaN among them comes out as NaN.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import (
    Density,
    checked,
    need_between,
    need_broadcast,
    need_count,
    need_levels,
    need_like,
    need_one_dtype,
    need_option,
    rand_like,
)
from dgmlib.nets import MLP
from dgmlib.sequential import categorical_draw
from dgmlib.vae import bernoulli_log_prob, kl_standard_normal, reparameterise
from dgmlib.vi import one_a_row
from dgmlib.worlds import bit_states

Values = Callable[[Tensor], Tensor]  # (n, bits) -> (n,)

# --- gradients from values: the score function ----------------------------------------------------------------------


@checked
def bit_score(z: Float[Tensor, "*batch bits"], logits: Float[Tensor, "*#batch bits"]) -> Float[Tensor, "*batch bits"]:
    """The gradient of log q(z) in the logits: z - sigmoid(logits). Implements :eq:`eq-dis-bit-score`.

    >>> bit_score(torch.tensor([1.0, 0.0]), torch.zeros(2))
    tensor([ 0.5000, -0.5000])
    """
    need_broadcast(z=z, logits=logits)
    return z - logits.sigmoid()


@checked
def exact_gradient(f: Values, logits: Float[Tensor, " bits"]) -> Float[Tensor, " bits"]:
    """The gradient of E_q f(z) in the logits, by summing over all 2^bits states.

    Implements :eq:`eq-dis-exact`. For at most 16 bits.

    >>> exact_gradient(lambda z: z.sum(1), torch.zeros(2))  # sigmoid' at 0
    tensor([0.2500, 0.2500])
    """
    states = bit_states(len(logits)).to(logits)
    q = bernoulli_log_prob(states, logits.expand_as(states)).exp()
    return (q * one_a_row(f, states)) @ bit_score(states, logits)


@checked
def score_function_gradient(
    values: Float[Tensor, " n"],
    score: Float[Tensor, "n d"],
    baseline: Float[Tensor, "..."] | float = 0.0,
) -> Float[Tensor, "n d"]:
    """(f(z) - baseline) grad log q(z), one estimate of grad E_q f a row; f need not be differentiable, nor even known.

    Implements :eq:`eq-dis-score-function`. Unbiased for a baseline that does not look at the row it stands in: a
    number, or one number a row. Also called REINFORCE and policy gradient. Williams (1992).

    >>> score_function_gradient(torch.tensor([3.0, 1.0]), torch.tensor([[0.5], [-0.5]]), baseline=2.0)
    tensor([[0.5000],
            [0.5000]])
    """
    _need_within("baseline", baseline, values.shape)
    return (values - baseline)[:, None] * score


@checked
def leave_one_out(values: Float[Tensor, "k *batch"]) -> Float[Tensor, "k *batch"]:
    """For each of K draws the mean of the K - 1 others: a baseline that knows the problem and not the draw.

    Implements :eq:`eq-dis-leave-one-out`. Raises ValueError (fewer than two draws). Kool, van Hoof & Welling (2019).

    >>> leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
    tensor([4.0000, 3.5000, 1.5000])
    """
    k = len(values)
    if k < 2:
        raise ValueError(f"values has {k} draws, expected at least 2, as each is judged by the others")
    return (values.sum(0) - values) / (k - 1)


@checked
def plane_gradient(
    values: Float[Tensor, " n"],
    z: Float[Tensor, "n bits"],
    logits: Float[Tensor, " bits"],
    height: Float[Tensor, ""] | float,
    slope: Float[Tensor, " bits"],
) -> Float[Tensor, "n bits"]:
    """Score-function estimates of what the plane height + slope (z - mean) leaves of f, plus the plane's own gradient.

    Implements :eq:`eq-dis-control`: a control variate. Unbiased for any plane that was chosen without looking at z: f's
    tangent at the mean (Gu, Levine, Sutskever & Mnih, 2016, "MuProp"), or one fitted to other values.

    >>> z = torch.tensor([[0.0], [1.0]])
    >>> plane_gradient(z[:, 0], z, torch.zeros(1), height=0.5, slope=torch.ones(1))  # f is the plane: no variance
    tensor([[0.2500],
            [0.2500]])
    """
    need_one_dtype(values=values, z=z, logits=logits, slope=slope)
    mean = logits.sigmoid()
    plane = height + (z - mean) @ slope
    return score_function_gradient(values - plane, bit_score(z, logits)) + slope * mean * (1 - mean)


@checked
def surrogate(
    values: Float[Tensor, "*shape"], log_q: Float[Tensor, "*shape"], baseline: Float[Tensor, "..."] | float = 0.0
) -> Float[Tensor, "*shape"]:
    """`values`, with the gradient (values - baseline) grad log q added to their own: what autograd is to be given.

    Implements :eq:`eq-dis-surrogate`. The advantage in front of grad log q is held fixed.

    >>> log_q = torch.tensor([-1.0], requires_grad=True)
    >>> surrogate(torch.tensor([3.0]), log_q, baseline=0.5).sum().backward()
    >>> log_q.grad
    tensor([2.5000])
    """
    _need_within("baseline", baseline, values.shape)
    return values + (values - baseline).detach() * (log_q - log_q.detach())


def _need_within(name: str, x: Tensor | float, shape: torch.Size) -> None:
    """Refuse a tensor that would spread values of that shape to more of them."""
    ours = getattr(x, "shape", torch.Size())
    if len(ours) > len(shape) or any(a not in (1, b) for a, b in zip(ours[::-1], shape[::-1], strict=False)):
        raise ValueError(f"{name} has shape {tuple(ours)}, expected one number, or {tuple(shape)}")


# --- gradients through a relaxation ---------------------------------------------------------------------------------


@checked
def gumbel_like(x: Float[Tensor, "*shape"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*shape"]:
    """Draws of -log(-log u), u uniform: the Gumbel law. Implements :eq:`eq-dis-gumbel`.

    >>> draws = gumbel_like(torch.zeros(100_000))
    >>> bool(abs(draws.mean() - 0.5772) < 0.05)  # Euler's constant
    True
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    u = rand_like(wide, generator=generator).clamp(min=torch.finfo(wide.dtype).tiny)
    return -(-u.log()).log().to(x.dtype)


@checked
def logistic_like(x: Float[Tensor, "*shape"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*shape"]:
    """Draws of log u - log(1 - u), u uniform: the law of the difference of two Gumbels.

    >>> draws = logistic_like(torch.zeros(100_000))
    >>> bool(abs(draws.mean()) < 0.1), bool(abs(draws.var() - math.pi**2 / 3) < 0.3)
    (True, True)
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.logit(rand_like(wide, generator=generator), eps=torch.finfo(wide.dtype).eps / 2).to(x.dtype)


@checked
def gumbel_softmax(
    logits: Float[Tensor, "*#batch k"], gumbels: Float[Tensor, "*batch k"], temperature: float
) -> Float[Tensor, "*batch k"]:
    """softmax((logits + gumbels) / temperature): a point of the simplex near one of its corners.

    Implements :eq:`eq-dis-gumbel-softmax`. Its largest entry is an exact draw from softmax(logits), whatever the
    temperature. Jang, Gu & Poole (2017); Maddison, Mnih & Teh (2017).

    >>> gumbel_softmax(torch.zeros(2), torch.tensor([1.0, 3.0]).log(), temperature=1.0)
    tensor([0.2500, 0.7500])
    """
    need_between("temperature", temperature, 0.0, math.inf, open_ends=True)
    need_broadcast(logits=logits, gumbels=gumbels)
    return ((logits + gumbels) / temperature).softmax(-1)


@checked
def relaxed_bits(
    logits: Float[Tensor, "*#batch bits"], logistic: Float[Tensor, "*batch bits"], temperature: float
) -> Float[Tensor, "*batch bits"]:
    """sigmoid((logits + logistic) / temperature): `gumbel_softmax` of two values, of which the second's share.

    Implements :eq:`eq-dis-relaxed-bits`. It exceeds 1/2 with probability sigmoid(logits).

    >>> relaxed_bits(torch.zeros(1), torch.tensor([3.0]).log(), temperature=1.0)
    tensor([0.7500])
    """
    need_between("temperature", temperature, 0.0, math.inf, open_ends=True)
    need_broadcast(logits=logits, logistic=logistic)
    return ((logits + logistic) / temperature).sigmoid()


@checked
def straight_through(hard: Float[Tensor, "*shape"], soft: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value of `hard` with the gradient of `soft`. Implements :eq:`eq-dis-straight-through`.

    Bengio, Leonard & Courville (2013).

    >>> soft = torch.tensor([0.3], requires_grad=True)
    >>> bit = straight_through(torch.tensor([1.0]), soft)
    >>> bit.item(), torch.autograd.grad(bit, soft)[0].item()
    (1.0, 1.0)
    """
    return hard.detach() + (soft - soft.detach())


@checked
def relaxed_gradient(
    f: Values,
    logits: Float[Tensor, " bits"],
    logistic: Float[Tensor, "n bits"],
    temperature: float,
    hard: bool = False,
) -> Float[Tensor, "n bits"]:
    """One estimate a row of grad E_q f(z) through the slope of f at relaxed bits; with `hard`, at the bits themselves.

    Implements :eq:`eq-dis-relaxed-gradient`. Biased at every temperature: `relaxed_moments` says by how much.

    >>> relaxed_gradient(lambda z: z.sum(1), torch.zeros(1), torch.zeros(1, 1), temperature=1.0)  # sigmoid' at 0
    tensor([[0.2500]])
    """

    def total(logits: Tensor) -> Tensor:
        soft = relaxed_bits(logits, logistic, temperature)
        return one_a_row(f, straight_through((soft > 0.5).to(soft.dtype), soft) if hard else soft).sum()

    return torch.func.grad(total)(logits.expand_as(logistic))


@checked
def straight_through_gradient(
    f: Values, logits: Float[Tensor, " bits"], z: Float[Tensor, "n bits"]
) -> Float[Tensor, "n bits"]:
    """The slope of f at the bits z, times sigmoid'(logits), one estimate a row: as if z were its own probability.

    Implements :eq:`eq-dis-straight-through-gradient`. Its bias is that of f's slope at the ends of each edge of the
    cube, against the difference of f along it: none for an f that is linear in each bit.

    >>> straight_through_gradient(lambda z: z.sum(1), torch.zeros(1), torch.tensor([[1.0]]))
    tensor([[0.2500]])
    """

    def total(logits: Tensor) -> Tensor:
        return one_a_row(f, straight_through(z, logits.sigmoid())).sum()

    return torch.func.grad(total)(logits.expand_as(z))


@checked
def relaxed_moments(
    slope: Float[Tensor, " bits"],
    curvature: Float[Tensor, "bits bits"],
    logits: Float[Tensor, " bits"],
    temperature: float,
    hard: bool = False,
) -> tuple[Float[Tensor, " bits"], Float[Tensor, " bits"]]:
    """(mean, variance) of `relaxed_gradient` for f(z) = slope z + z curvature z / 2, with no sampling.

    Implements :eq:`eq-dis-relaxed-moments`: the coordinates are independent and f is quadratic, so that integrals over
    one bit's noise are all it takes. `curvature` is symmetric.

    >>> mean, variance = relaxed_moments(torch.ones(1), torch.zeros(1, 1), torch.zeros(1), temperature=1.0)
    >>> mean, variance  # 1/6, where the gradient is 1/4; 1/30 - 1/36
    (tensor([0.1667]), tensor([0.0056]))
    """
    need_one_dtype(slope=slope, curvature=curvature, logits=logits)
    if not torch.equal(curvature, curvature.mT):
        raise ValueError("curvature is not symmetric, expected the second derivatives of f")
    need_between("temperature", temperature, 0.0, math.inf, open_ends=True)
    # Noise -logits +- e^x: the trapezoidal rule in x is exact to rounding, also across the jump of a hard bit.
    x = torch.arange(-38, 4.5, 0.05, dtype=logits.dtype, device=logits.device)
    distance = torch.cat([-x.exp(), x.exp()])[:, None]  # (nodes, 1), of logits + noise from 0
    density = torch.exp(-F.softplus(distance - logits) - F.softplus(logits - distance))
    weight = 0.05 * distance.abs() * density  # (nodes, bits)
    soft = (distance / temperature).sigmoid()
    rate = (soft * (1 - soft) / temperature).expand_as(weight)  # of the relaxed bit, in its logit
    bit = ((distance > 0).to(soft.dtype) if hard else soft).expand_as(weight)

    def average(values: Tensor) -> Float[Tensor, " bits"]:
        return (weight * values).sum(0)

    own, mean = curvature.diagonal(), average(bit)
    others = curvature - torch.diag(own)
    rest = slope + others @ mean  # the slope's part that the bit itself does not enter: its mean, and its variance
    spread = others.square() @ (average(bit.square()) - mean.square())
    first = rest * average(rate) + own * average(rate * bit)
    second = (rest.square() + spread) * average(rate.square()) + own.square() * average((rate * bit).square())
    return first, second + 2 * own * rest * average(rate.square() * bit) - first.square()


# --- a VAE whose latents are bits, so few that its evidence is a sum ------------------------------------------------

ESTIMATORS = ("exact", "score", "leave-one-out", "relaxed", "straight-through")


class BitVAE(nn.Module, Density):
    """`bits` fair coins (at most 16), a decoder to the logits of d binary pixels, an encoder to the bits' logits.

    Both are MLPs, with the hidden sizes mirrored. 2^bits states are listed wherever a sum is exact.

    >>> model, x = BitVAE(d=3, bits=2), torch.ones(1, 3)
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever the latents
    >>> round(model.log_prob(x).exp().item(), 4), round(model.elbo(x, "exact").exp().item(), 4)
    (0.125, 0.125)
    >>> model.table(x).shape, model.log_likelihood(x, torch.zeros(5, 1, 2)).shape, model.sample(5).shape
    (torch.Size([4, 1]), torch.Size([5, 1]), torch.Size([5, 3]))
    """

    @checked
    def __init__(self, d: int, bits: int, hidden: Sequence[int] = (128,)):
        super().__init__()
        self.d, self.bits = need_count("d", d), need_count("bits", bits)
        need_between("bits", bits, 1, 16)
        self.encoder = MLP([d, *hidden, bits])
        self.decoder = MLP([bits, *reversed(hidden), d])

    @checked
    def log_likelihood(self, x: Float[Tensor, "batch d"], z: Float[Tensor, "*samples batch bits"]) -> Tensor:
        """log p(x | z) for each sample and example, at bits or at anything between them."""
        return bernoulli_log_prob(x, self.decoder(need_like("z", z, self.decoder[0].weight)))

    @checked
    def table(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "states batch"]:
        """log p(x | z) for every state z, decoding each state once for all examples."""
        need_levels("x", need_like("x", x, self.decoder[0].weight), 2)
        logits = self.decoder(self._states())
        return logits @ x.T - F.softplus(logits).sum(1, keepdim=True)

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """log p(x), exact: a mixture of 2^bits images of coins. Implements :eq:`eq-dis-evidence`."""
        return self.table(x).logsumexp(0) - self.bits * math.log(2)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws: coins for the bits, then coins for the pixels."""
        like, shape = self.decoder[0].weight, (need_count("n", n), self.bits + self.d)
        u = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
        means = self.decoder((u[:, : self.bits] < 0.5).to(like.dtype)).sigmoid()
        return (u[:, self.bits :] < means).to(like.dtype)

    @checked
    def elbo(
        self,
        x: Float[Tensor, "batch d"],
        estimator: str,
        *,
        n_samples: int = 4,
        temperature: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """E_q log p(x | z) - KL(q || coins), the first term summed ("exact") or estimated from `n_samples` draws.

        Implements :eq:`eq-dis-elbo`. What the estimators differ in is the gradient that reaches the encoder:
        "score" and "leave-one-out" are unbiased, "relaxed" (of another objective, at relaxed bits) and
        "straight-through" are not.
        """
        need_option("estimator", estimator, ESTIMATORS)
        logits = self.encoder(need_like("x", x, self.encoder[0].weight))
        rate = (math.log(2) - bit_entropy(logits)).sum(-1)
        if estimator == "exact":
            states = self._states()[:, None].expand(-1, len(x), -1)
            log_q = bernoulli_log_prob(states, logits.expand_as(states))  # (states, batch)
            return (log_q.exp() * self.table(x)).sum(0) - rate
        like = logits[:, None].expand(-1, need_count("n_samples", n_samples), -1)
        noise = logistic_like(like, generator=generator).transpose(0, 1)  # (samples, batch, bits)
        soft = relaxed_bits(logits, noise, temperature)
        hard = (soft > 0.5).to(soft.dtype)
        if estimator in ("relaxed", "straight-through"):
            passed = soft if estimator == "relaxed" else straight_through(hard, logits.sigmoid().expand_as(hard))
            return self.log_likelihood(x, passed).mean(0) - rate
        values = self.log_likelihood(x, hard)
        baseline = leave_one_out(values) if estimator == "leave-one-out" else 0.0
        return surrogate(values, bernoulli_log_prob(hard, logits.expand_as(hard)), baseline).mean(0) - rate

    def _states(self) -> Float[Tensor, "states bits"]:
        return bit_states(self.bits).to(self.decoder[0].weight)


@checked
def bit_entropy(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The entropy of a bit with these logits, in nats: softplus(l) - l sigmoid(l). Implements :eq:`eq-dis-entropy`.

    >>> bit_entropy(torch.zeros(1))  # log 2
    tensor([0.6931])
    """
    return F.softplus(logits) - logits * logits.sigmoid()


# --- a VAE that knows some labels -----------------------------------------------------------------------------------


class LabelVAE(nn.Module):
    """p(y) uniform, p(z) = N(0, I), p(x | y, z) binary pixels; q(y | x) a classifier, q(z | x, y) a Gaussian.

    Labels are one-hot rows where they enter a network. Kingma, Rezende, Mohamed & Welling (2014).

    >>> model, x = LabelVAE(d=3, k=2, n_classes=4), torch.ones(1, 3)
    >>> for p in model.parameters(): p.data *= 0  # three fair coins, whatever the latents
    >>> round(model.labelled_elbo(x, torch.tensor([0])).item(), 4)  # log p(x, y) = -log(8 * 4)
    -3.4657
    >>> round(model.unlabelled_elbo(x).item(), 4)  # -log 8
    -2.0794
    """

    @checked
    def __init__(self, d: int, k: int, hidden: Sequence[int] = (128,), n_classes: int = 10):
        super().__init__()
        self.d, self.k, self.n_classes = need_count("d", d), need_count("k", k), need_count("n_classes", n_classes, 2)
        self.classifier = MLP([d, *hidden, n_classes])
        self.encoder = MLP([d + n_classes, *hidden, 2 * k])
        self.decoder = MLP([k + n_classes, *reversed(hidden), d])

    @checked
    def labelled_elbo(
        self, x: Float[Tensor, "batch d"], label: Int64[Tensor, " batch"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """A draw of the bound on log p(x, y): log p(x | y, z) + log p(y) - KL(q(z | x, y) || p(z)).

        Implements :eq:`eq-dis-labelled`.
        """
        need_like("x", x, self.encoder[0].weight), need_levels("label", label, self.n_classes)
        y = F.one_hot(label, self.n_classes).to(x.dtype)
        mean, log_var = self.encoder(torch.cat([x, y], 1)).chunk(2, 1)
        z = reparameterise(mean, log_var, generator=generator)[0]
        log_lik = bernoulli_log_prob(x, self.decoder(torch.cat([z, y], 1)))
        return log_lik - math.log(self.n_classes) - kl_standard_normal(mean, log_var)

    @checked
    def unlabelled_elbo(
        self,
        x: Float[Tensor, "batch d"],
        *,
        n_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """The bound on log p(x), `label_sum` of the bounds with each label, or its estimate from `n_samples` labels.

        The sum costs `n_classes` encoders and decoders a datum and has no variance in the label; the estimate's
        gradient is `leave_one_out`'s.
        """
        logits = self.classifier(need_levels("x", need_like("x", x, self.encoder[0].weight), 2))
        if n_samples is None:
            label = torch.arange(self.n_classes, device=x.device).repeat(len(x))
            each = self.labelled_elbo(x.repeat_interleave(self.n_classes, 0), label, generator=generator)
            return label_sum(each.view(-1, self.n_classes), logits)
        like = logits[:, :1].expand(-1, need_count("n_samples", n_samples, 2))
        label = categorical_draw(logits[:, None].expand(-1, n_samples, -1), rand_like(like, generator=generator))
        each = self.labelled_elbo(x.repeat_interleave(n_samples, 0), label.flatten(), generator=generator)
        values, log_q = each.view(-1, n_samples).T, logits.log_softmax(1)  # (samples, batch), (batch, classes)
        drawn = surrogate(values, log_q.gather(1, label).T, leave_one_out(values)).mean(0)
        return drawn - (log_q.exp() * log_q).sum(1)


@checked
def label_sum(
    bounds: Float[Tensor, "batch classes"], logits: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    """sum_y q(y) bound(y) + H(q) with q = softmax(logits), in nats: no label is drawn.

    Implements :eq:`eq-dis-unlabelled`. At most log sum_y exp bound(y), which it is for q proportional to exp bound.

    >>> bounds = torch.tensor([[1.0, 3.0]]).log()
    >>> label_sum(bounds, logits=bounds)  # q is the posterior: log(1 + 3)
    tensor([1.3863])
    """
    log_q = logits.log_softmax(1)
    return (log_q.exp() * (bounds - log_q)).sum(1)
