"""Autoregressive models: one network that is d conditional distributions (chapter 04).

p(x) = prod_i p(x_i | x_<i). A model's `params(x)` holds what the output law (a head) needs for every conditional, from
one pass; `steps(n)` finds them one after another, each in a fraction of a pass, for sampling and coding.

`python -m dgmlib.autoregressive --model nade` trains, evaluates, samples and saves; run again, it resumes.
"""

import math
from abc import abstractmethod
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dgmlib.core import (
    BLOCK,
    Density,
    by_blocks,
    checked,
    need_between,
    need_count,
    need_levels,
    need_shape,
    need_unit,
    uniform_dtype,
)
from dgmlib.heads import Bernoulli, Head
from dgmlib.vi import log_mean_exp

Steps = Generator[tuple[int, Tensor], Tensor | None, None]

# --- what the models share ------------------------------------------------------------------------------------------


class Autoregressive(nn.Module, Density):
    """p(x) = prod_i p(x_i | the coordinates before it), exactly: a density whose factors a network computes.

    A model has `d`, `head`, a parameter `bias` `(d, head.n_params)` of the conditionals, `params` and `steps`.
    `condition` is what `params` and `steps` take besides (a MADE's degrees). Likelihoods are computed in blocks of rows
    where no gradient is recorded. A bit or level that is none is refused; NaN in a real number passes through.

    >>> model, x = FVSBN(2), torch.tensor([[0.0, 1.0]])  # two fair coins, before training
    >>> round(model.log_prob(x).exp().item(), 4), model.conditional_log_probs(x).exp().detach()
    (0.25, tensor([[0.5000, 0.5000]]))
    >>> u = torch.tensor([[0.4, 0.6]])
    >>> model.draw(x, u).tolist(), model.sample(1, uniforms=u).tolist()  # 1 where u < 1/2
    ([[1.0, 0.0]], [[1.0, 0.0]])
    """

    d: int
    head: Head
    bias: nn.Parameter

    @abstractmethod
    def params(self, x: Float[Tensor, "batch d"], **condition: Any) -> Float[Tensor, "batch d p"]:
        """What the head needs for every conditional, in one pass: row i is a function of what precedes x_i."""

    @abstractmethod
    def steps(self, n: int, **condition: Any) -> Steps:
        """A coroutine through the conditionals in their order, for a batch of `n`.

        It yields (i, params of x_i given what it was sent, `(n, p)`) and is then sent the `n` values of x_i.
        """

    @checked
    def conditional_log_probs(self, x: Float[Tensor, "batch d"], **condition: Any) -> Float[Tensor, "batch d"]:
        """log p(x_i | what precedes it), each coordinate by itself, in nats."""
        return by_blocks(lambda x: self.head.log_prob(x, self.params(x, **condition)), self._held, x)

    @property
    def _held(self) -> int:
        """About how many numbers a row takes on its way to its likelihood."""
        return 4 * self.d * self.head.n_params

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"], **condition: Any) -> Float[Tensor, " batch"]:
        """log p(x) = sum_i log p(x_i | x_<i), exact, in nats.

        Implements :eq:`eq-ar-chain`. Raises ValueError, TypeError (shape, dtype, values of `x`).
        """
        return self.conditional_log_probs(x, **condition).sum(1)

    @checked
    def draw(
        self, x: Float[Tensor, "batch d"], u: Float[Tensor, "batch d"], **condition: Any
    ) -> Float[Tensor, "batch d"]:
        """What each u_i selects from p(x_i | x_<i), in one full pass: the callable of `dgmlib.sequential`."""
        return self.head.draw(self.params(x.to(self.bias.dtype), **condition), u)

    @checked
    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        uniforms: Float[Tensor, "n d"] | None = None,
        given: Float[Tensor, "n known"] | None = None,
        **condition: Any,
    ) -> Float[Tensor, "n d"]:
        """`n` exact draws, coordinate after coordinate: x_i is the value that u_i selects from p(x_i | x_<i).

        Implements :eq:`eq-ar-sample`. `uniforms` are drawn when None; `given` holds the first coordinates, in the order
        of the model, when those are known: the draw is then from p(the others | given), still exact.

        Raises: ValueError (shape, values, more given than there are), TypeError (dtype).
        """
        need_count("n", n)
        if uniforms is None:
            options = {"dtype": uniform_dtype(self.bias.dtype), "device": self.bias.device}
            uniforms = torch.rand(n, self.d, generator=generator, **options)
        need_unit("uniforms", need_shape("uniforms", uniforms, (n, self.d)))
        known = 0 if given is None else need_shape("given", given, (n, min(given.shape[1], self.d))).shape[1]
        if known and self.head.levels is not None:
            need_levels("given", given, self.head.levels)
        x, value, steps = self.bias.new_empty(n, self.d), None, self.steps(n, **condition)
        for t in range(self.d):
            i, params = steps.send(value)
            value = given[:, t] if t < known else self.head.draw(params, uniforms[:, i])
            x[:, i] = value = value.to(x.dtype)
        return x


# --- tables and logistic regressions --------------------------------------------------------------------------------


class Table(Autoregressive):
    """Every conditional of d bits has its own number for every prefix: 2^d - 1 numbers, any law at all.

    The logit of x_i = 1 after the prefix x_<i stands at 2^(i-1) - 1 + (the prefix read as a binary number), i from 1.

    >>> table, x = Table(2).fit(torch.ones(4, 2)), torch.ones(1, 2)
    >>> table.entries(x).tolist(), table.params(x).sigmoid().flatten().detach()  # (4 + 1/2) / (4 + 1)
    ([[0, 2]], tensor([0.9000, 0.9000]))
    >>> i, params = next(table.steps(1))
    >>> i, round(params.sigmoid().item(), 4), round(table.log_prob(x).exp().item(), 4)
    (0, 0.9, 0.81)
    """

    @checked
    def __init__(self, d: int):
        super().__init__()
        self.d, self.head = int(need_between("d", need_count("d", d), 1, 20)), Bernoulli()
        self.bias = nn.Parameter(torch.zeros(2**d - 1, 1))

    @checked
    def params(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d 1"]:
        """The entry of each prefix."""
        return self.bias[self.entries(x)]

    @checked
    def entries(self, x: Float[Tensor, "batch d"]) -> Int64[Tensor, "batch d"]:
        """Where the number of each conditional stands."""
        bits, entry = need_levels("x", x, 2).long(), [torch.zeros_like(x[:, 0], dtype=torch.long)]
        for i in range(self.d - 1):
            entry.append(2 * entry[-1] + 1 + bits[:, i])
        return torch.stack(entry, 1)

    @checked
    def steps(self, n: int) -> Steps:
        """See `Autoregressive.steps`."""
        entry = torch.zeros(n, dtype=torch.long, device=self.bias.device)
        for i in range(self.d):
            x = yield i, self.bias[entry]
            entry = 2 * entry + 1 + x.long()

    @checked
    @torch.no_grad()
    def fit(self, x: Float[Tensor, "n d"], pseudo_count: float = 0.5) -> "Table":
        """The most likely table for the rows of `x`, each prefix having seen `pseudo_count` zeros and ones besides.

        Implements :eq:`eq-ar-table`: odds (ones + a) / (zeros + a) after each prefix. Returns the table itself.
        """
        need_between("pseudo_count", pseudo_count, 0.0, math.inf, open_ends=True)
        entry = self.entries(x).flatten()
        counts = [torch.zeros_like(self.bias[:, 0]) + pseudo_count for _ in range(2)]
        for value, count in enumerate(counts):
            count.index_add_(0, entry, (x.flatten() == value).to(count.dtype))
        self.bias[:, 0] = counts[1].log() - counts[0].log()
        return self


class FVSBN(Autoregressive):
    """One logistic regression for each bit on those before it: d (d + 1) / 2 numbers, a strictly triangular matrix.

    Frey (1998), "Graphical models for machine learning and digital communication".

    >>> model = FVSBN(2)
    >>> model.weight.data[1, 0] = math.log(3)
    >>> model.params(torch.ones(1, 2)).sigmoid().flatten().detach()  # p(x_2 = 1 given x_1 = 1) = 3/4
    tensor([0.5000, 0.7500])
    >>> steps = model.steps(1)
    >>> next(steps)[0], round(steps.send(torch.ones(1))[1].sigmoid().item(), 4)
    (0, 0.75)
    """

    @checked
    def __init__(self, d: int):
        super().__init__()
        self.d, self.head = need_count("d", d), Bernoulli()
        self.weight, self.bias = nn.Parameter(torch.zeros(d, d)), nn.Parameter(torch.zeros(d, 1))

    @checked
    def params(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d 1"]:
        """Logits b_i + sum_{j < i} W_ij x_j. Implements :eq:`eq-ar-fvsbn`."""
        return (x @ self.weight.tril(-1).T + self.bias[:, 0])[..., None]

    @checked
    def steps(self, n: int) -> Steps:
        """See `Autoregressive.steps`."""
        logits = self.bias.expand(-1, n).clone()
        weight = self.weight.tril(-1)
        for i in range(self.d):
            x = yield i, logits[i, :, None]
            logits.addr_(weight[:, i], x)


# --- NADE -----------------------------------------------------------------------------------------------------------


class NADE(Autoregressive):
    """One hidden layer for each coordinate, all sharing their weights: h_i = sigmoid(c + sum_{j < i} x_j w_j).

    `w` `(d, hidden)` and `c` feed the hidden layers, `v` `(d, p, hidden)` and `bias` read them. With a Gaussian or a
    mixture for a head this is RNADE. Larochelle & Murray (2011).

    >>> from dgmlib.worlds import bit_states
    >>> model, x = NADE(3, hidden=4), bit_states(3).float()
    >>> round(model.log_prob(x).exp().sum().item(), 4), model.params(x).shape, model.sample(5).shape
    (1.0, torch.Size([8, 3, 1]), torch.Size([5, 3]))
    >>> i, params = next(model.steps(5))
    >>> i, params.shape
    (0, torch.Size([5, 1]))
    """

    @checked
    def __init__(self, d: int, hidden: int, *, head: Head | None = None):
        super().__init__()
        self.d, self.head = need_count("d", d), head or Bernoulli()
        p, std = self.head.n_params, 1 / math.sqrt(need_count("hidden", hidden))
        self.w, self.c = nn.Parameter(torch.empty(d, hidden).uniform_(-std, std)), nn.Parameter(torch.zeros(hidden))
        self.v = nn.Parameter(torch.empty(d, p, hidden).uniform_(-std, std))
        self.bias = nn.Parameter(torch.zeros(d, p))

    @checked
    def params(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d p"]:
        """b_i + V_i sigmoid(c + sum_{j < i} x_j w_j) for every i.

        Implements :eq:`eq-nade`. On a CPU, bits go through `SparseNADE`; otherwise all hidden layers are made at once.
        """
        if isinstance(self.head, Bernoulli) and x.device.type == "cpu" and not x.requires_grad:
            return SparseNADE.apply(x, self.w, self.c, self.v[:, 0])[..., None] + self.bias
        inputs = x / self.head.scale
        a = torch.cumsum(F.pad(inputs[:, :-1, None] * self.w[:-1], (0, 0, 1, 0)), 1) + self.c
        return torch.einsum("bdh,dph->bdp", a.sigmoid(), self.v) + self.bias

    @property
    def _held(self) -> int:
        return super()._held + 3 * self.w.numel()

    @checked
    def steps(self, n: int) -> Steps:
        """See `Autoregressive.steps`."""
        a = self.c.expand(n, -1).clone()
        for i in range(self.d):
            x = yield i, torch.addmm(self.bias[i], a.sigmoid(), self.v[i].T)
            a.addr_(x / self.head.scale, self.w[i])


class SparseNADE(torch.autograd.Function):
    """`apply(x, w, c, v)`: NADE's logits without their bias, computing a hidden layer only where one changes.

    Pixels go in chunks, whose hidden layers, from the one that enters the chunk, are one matrix product, and whose
    logits are another. The gradients run back over the chunks; there is none for x. Rows go in blocks that hold as many
    numbers as `dgmlib.core.BLOCK`; where one block is not enough, the gradients make its hidden layers anew.

    >>> w = torch.ones(2, 1, requires_grad=True)
    >>> logits = SparseNADE.apply(torch.ones(1, 2), w, torch.zeros(1), torch.ones(2, 1))
    >>> logits.detach(), torch.autograd.grad(logits.sum(), w)[0][0]  # sigmoid at 0 and 1, its slope at 1
    (tensor([[0.5000, 0.7311]]), tensor([0.1966]))
    """

    CHUNK = 16

    @staticmethod
    @checked
    def forward(ctx: Any, x: Tensor, w: Tensor, c: Tensor, v: Tensor) -> Tensor:
        """The logits, block by block."""
        layers = int(x.count_nonzero()) + len(x) * math.ceil(x.shape[1] / SparseNADE.CHUNK)
        ctx.rows = math.ceil(len(x) / math.ceil(layers * w.shape[1] / BLOCK))
        ctx.save_for_backward(x, w, c, v)
        logits = []
        for rows in x.split(ctx.rows):
            block, chunks = SparseNADE.walk(rows, w, c, v)
            logits.append(block)
        ctx.chunks = chunks if len(logits) == 1 else None
        return torch.cat(logits)

    @staticmethod
    @checked
    def walk(x: Tensor, w: Tensor, c: Tensor, v: Tensor) -> tuple[Tensor, list[tuple]]:
        """The logits, chunk by chunk, and what their gradients need of each."""
        n, d = x.shape
        first = torch.arange(n)[:, None]
        a, logits, chunks = c.expand(n, -1), torch.empty_like(x), []
        for start in range(0, d, SparseNADE.CHUNK):
            part = slice(start, start + SparseNADE.CHUNK)
            here = x[:, part]
            before = here[:, :-1]  # without columns where the last chunk is one pixel wide
            row, at = before.nonzero(as_tuple=True)  # each of these pixels makes a new hidden layer
            seen = here[row] * (torch.arange(here.shape[1]) <= at[:, None])
            h = torch.cat([a, torch.addmm(a[row], seen, w[part])]).sigmoid_()
            made = (before != 0).sum(1)
            count = (before != 0).flatten().cumsum(0).view(before.shape)
            new = count > (made.cumsum(0) - made)[:, None]  # the row has had a one in this chunk
            layer = torch.cat([first, torch.where(new, n - 1 + count, first)], 1)  # which row of h each pixel reads
            logits[:, part] = (h @ v[part].T).gather(0, layer)
            chunks.append((part, row, seen, h, layer))
            a = torch.addmm(a, here, w[part])
        return logits, chunks

    @staticmethod
    @checked
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        """The gradients in w, c and v, from the last chunk to the first.

        Implements :eq:`eq-nade-backward`, summing over the pixels that share a hidden layer first.
        """
        x, w, c, v = ctx.saved_tensors
        grad_w, grad_c, grad_v = torch.zeros_like(w), torch.zeros_like(c), torch.zeros_like(v)
        for rows, grad_rows in zip(x.split(ctx.rows), grad.split(ctx.rows), strict=True):
            grad_a = rows.new_zeros(len(rows), w.shape[1])
            for part, row, seen, h, layer in reversed(ctx.chunks or SparseNADE.walk(rows, w, c, v)[1]):
                grad_z = h.new_zeros(len(h), layer.shape[1]).scatter_(0, layer, grad_rows[:, part])
                grad_v[part] += grad_z.T @ h
                grad_h = torch.ops.aten.sigmoid_backward(grad_z @ v[part], h)
                entering, made = grad_h[: len(rows)], grad_h[len(rows) :]
                grad_w[part] += torch.addmm(rows[:, part].T @ grad_a, seen.T, made)
                grad_a = (grad_a + entering).index_add_(0, row, made)
            grad_c += grad_a.sum(0)
        return None, grad_w, grad_c, grad_v


# --- MADE -----------------------------------------------------------------------------------------------------------


@checked
def draw_degrees(
    d: int,
    hidden: Sequence[int],
    *,
    order: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> list[Int64[Tensor, " _"]]:
    """A number for every input and hidden unit: a unit of degree m sees the first m inputs of the order.

    Implements :eq:`eq-made-degrees`. `order` lists the inputs from first to last (None: 0 to d - 1); its degrees are 1
    to d. Hidden degrees lie in 1 to d - 1: spread evenly without a `generator`; with one, drawn uniformly from the
    least degree below upwards.

    Raises: ValueError (`order` is no permutation).

    >>> draw_degrees(3, hidden=[4])
    [tensor([1, 2, 3]), tensor([1, 1, 2, 2])]
    """
    order = list(range(need_count("d", d, 2))) if order is None else list(order)
    if sorted(order) != list(range(d)):
        raise ValueError(f"order is {order[:5]}..., expected each of 0 to {d - 1} once")
    degrees = [torch.empty(d, dtype=torch.long)]
    degrees[0][order] = torch.arange(1, d + 1)
    for width in hidden:
        if generator is None:
            degrees.append(torch.arange(need_count("hidden", width)) * (d - 1) // width + 1)
        else:
            least = min(int(degrees[-1].min()), d - 1)
            degrees.append(torch.randint(least, d, (need_count("hidden", width),), generator=generator))
    return degrees


@checked
def masks(degrees: Sequence[Int64[Tensor, " _"]]) -> list[Bool[Tensor, "_ _"]]:
    """Which weights of each layer stay: degree after >= degree before, and for the outputs, strictly greater.

    Implements :eq:`eq-made-masks`.

    >>> [mask.tolist() for mask in masks(draw_degrees(2, hidden=[1]))]  # x_2 alone sees x_1, through one unit
    [[[True, False]], [[False], [True]]]
    """
    if not degrees:
        raise ValueError("degrees is empty, expected those of the inputs at least")
    hidden = [after[:, None] >= before for before, after in pairwise(degrees)]
    return [*hidden, degrees[0][:, None] > degrees[-1]]


class MADE(Autoregressive):
    """A fully connected ReLU network whose weights are masked so that output i is a function of what precedes x_i.

    With `n_masks` above 1 there are so many orders and connectivities, drawn from `generator`, on the same weights, and
    the model is their mixture: p(x) = mean_k p_k(x), of which `degrees=model.degrees(k)` singles out p_k. Other degrees
    may be passed as well: a fresh order for each batch is order-agnostic training. The mixture has a `log_prob` and
    samples, but no order: `conditional_log_probs` and `draw` want degrees, `params` and `steps` are p_0's without.

    Germain, Gregor, Murray & Larochelle (2015), "MADE: masked autoencoder for distribution estimation".

    >>> from dgmlib.worlds import bit_states
    >>> model, x = MADE(3, hidden=[8], n_masks=2), bit_states(3).float()
    >>> degrees = model.degrees(1)
    >>> [round(log_p.exp().sum().item(), 4) for log_p in (model.log_prob(x), model.log_prob(x, degrees=degrees))]
    [1.0, 1.0]
    >>> model.params(x).shape, model.conditional_log_probs(x, degrees=degrees).shape, model.sample(5).shape
    (torch.Size([8, 3, 1]), torch.Size([8, 3]), torch.Size([5, 3]))
    >>> order = [i for i, unit in enumerate(model.degrees(0)[0]) if unit == 1]
    >>> next(model.steps(5))[0] in order, model.draw(x, 0.5 * x, degrees=degrees).shape
    (True, torch.Size([8, 3]))
    """

    @checked
    def __init__(
        self,
        d: int,
        hidden: Sequence[int],
        *,
        head: Head | None = None,
        order: Sequence[int] | None = None,
        n_masks: int = 1,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.d, self.hidden, self.head = need_count("d", d, 2), tuple(hidden), head or Bernoulli()
        self.n_masks = need_count("n_masks", n_masks)
        if self.n_masks == 1:
            drawn = [draw_degrees(d, hidden, order=order)]
        elif order is None:
            orders = [torch.randperm(d, generator=generator).tolist() for _ in range(n_masks)]
            source = generator or torch.default_generator
            drawn = [draw_degrees(d, hidden, order=order, generator=source) for order in orders]
        else:
            raise ValueError(f"order came with n_masks {n_masks}, expected no order, as each mask draws its own")
        for layer, degrees in enumerate(zip(*drawn, strict=True)):
            self.register_buffer(f"degrees_{layer}", torch.stack(degrees))
        sizes = [d, *hidden, d * self.head.n_params]
        layers = [nn.Linear(before, after) for before, after in pairwise(sizes)]
        self.weights = nn.ParameterList(layer.weight for layer in layers)
        self.biases = nn.ParameterList(layer.bias for layer in layers[:-1])
        self.bias = nn.Parameter(torch.zeros(d, self.head.n_params))
        for layer, mask in enumerate(self._masks(self.degrees(0))):
            self.register_buffer(f"mask_{layer}", mask.to(self.bias.dtype), persistent=False)
        self.register_load_state_dict_post_hook(_renew_masks)

    @checked
    def degrees(self, k: int) -> list[Int64[Tensor, " _"]]:
        """The degrees of the k-th mask, inputs first."""
        need_between("k", k, 0, self.n_masks - 1)
        return [getattr(self, f"degrees_{layer}")[k] for layer in range(1 + len(self.hidden))]

    @checked
    def params(
        self, x: Float[Tensor, "batch d"], *, degrees: Sequence[Int64[Tensor, " _"]] | None = None
    ) -> Float[Tensor, "batch d p"]:
        """The masked network. Implements :eq:`eq-made`. `degrees` are those of the first mask if None."""
        masks = [getattr(self, f"mask_{layer}") for layer in range(len(self.weights))]
        masks = masks if degrees is None else self._masks(degrees)
        *hidden, last = zip(self.weights, masks, [*self.biases, self.bias.flatten()], strict=True)
        h = x if self.head.scale == 1 else x / self.head.scale
        for weight, mask, bias in hidden:
            h = F.linear(h, weight * mask, bias).relu()
        weight, mask, bias = last
        return F.linear(h, weight * mask, bias).unflatten(1, (self.d, -1))

    def _masks(self, degrees: Sequence[Tensor]) -> list[Tensor]:
        """As `masks`, with a row for each output of the head."""
        *hidden, last = masks(degrees)
        return [*hidden, last.repeat_interleave(self.head.n_params, 0)]

    @checked
    def log_prob(
        self, x: Float[Tensor, "batch d"], *, degrees: Sequence[Int64[Tensor, " _"]] | None = None
    ) -> Float[Tensor, " batch"]:
        """log p(x), exact, in nats: under given `degrees` one network, else the mixture of all masks.

        Implements :eq:`eq-made-ensemble`: the log of the mean probability, which is at least the mean of the logs.
        """
        if degrees is not None or self.n_masks == 1:
            return super().log_prob(x, degrees=degrees)
        return log_mean_exp(
            torch.stack([super(MADE, self).log_prob(x, degrees=self.degrees(k)) for k in range(self.n_masks)]), 0
        )

    @checked
    def conditional_log_probs(
        self, x: Float[Tensor, "batch d"], *, degrees: Sequence[Int64[Tensor, " _"]] | None = None
    ) -> Float[Tensor, "batch d"]:
        """log p(x_i | what precedes it in the order of the degrees), each by itself, in nats. See the class."""
        self._need_one_order("conditional_log_probs", degrees)
        return super().conditional_log_probs(x, degrees=degrees)

    @checked
    def draw(
        self,
        x: Float[Tensor, "batch d"],
        u: Float[Tensor, "batch d"],
        *,
        degrees: Sequence[Int64[Tensor, " _"]] | None = None,
    ) -> Float[Tensor, "batch d"]:
        """As in `Autoregressive`, in the order of the degrees. See the class."""
        self._need_one_order("draw", degrees)
        return super().draw(x, u, degrees=degrees)

    def _need_one_order(self, what: str, degrees: object) -> None:
        if degrees is None and self.n_masks > 1:
            raise ValueError(
                f"{what} came without degrees, expected degrees, as each of {self.n_masks} masks has its own order"
            )

    @checked
    def steps(self, n: int, *, degrees: Sequence[Int64[Tensor, " _"]] | None = None) -> Steps:
        """Each hidden unit is computed once, as soon as the last input it sees is known: one pass in all, not d.

        These are the steps of :eq:`eq-made-incremental`. With units sorted by degree, those that step t can compute
        are a slice.
        """
        degrees = self.degrees(0) if degrees is None else degrees
        sorts = [m.argsort(stable=True) for m in degrees]
        known = [torch.bincount(m, minlength=self.d + 1).cumsum(0).tolist() for m in degrees]  # units of degree <= t
        layers = [
            (weight[after][:, before], bias[after, None])
            for weight, bias, (before, after) in zip(self.weights, self.biases, pairwise(sorts), strict=False)
        ]
        last = self.weights[-1].unflatten(0, (self.d, -1))[..., sorts[-1]]
        h = [self.bias.new_empty(len(m), n) for m in degrees]  # inputs and hidden layers, units first
        for t, i in enumerate(sorts[0].tolist()):
            ready = known[-1][t]
            x = yield i, (last[i, :, :ready] @ h[-1][:ready] + self.bias[i, :, None]).T
            h[0][t] = x / self.head.scale
            for k, (weight, bias) in enumerate(layers):
                new, below = slice(known[k + 1][t], known[k + 1][t + 1]), known[k][t + 1]
                h[k + 1][new] = torch.addmm(bias[new], weight[new, :below], h[k][:below]).relu()

    @checked
    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        uniforms: Float[Tensor, "n d"] | None = None,
        given: Float[Tensor, "n known"] | None = None,
        degrees: Sequence[Int64[Tensor, " _"]] | None = None,
    ) -> Float[Tensor, "n d"]:
        """`n` exact draws, as in `Autoregressive.sample`; of several masks, each draw is given one at random."""
        if degrees is not None or self.n_masks == 1:
            return super().sample(n, generator=generator, uniforms=uniforms, given=given, degrees=degrees)
        if uniforms is not None or given is not None:
            self._need_one_order("uniforms or given", None)
        which = torch.randint(self.n_masks, (need_count("n", n),), generator=generator, device=self.bias.device)
        x = self.bias.new_empty(n, self.d)
        for k in which.unique().tolist():
            rows = which == k
            x[rows] = super().sample(int(rows.sum()), generator=generator, degrees=self.degrees(k))
        return x


def _renew_masks(model: MADE, _: object) -> None:
    for layer, mask in enumerate(model._masks(model.degrees(0))):
        getattr(model, f"mask_{layer}").copy_(mask)


if __name__ == "__main__":  # python -m dgmlib.autoregressive
    from dgmlib.commands import run

    run("autoregressive")
