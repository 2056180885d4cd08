"""How a joint law is cut into factors: parameter counts, the chain rule, graphs, chains, and what each choice costs."""

import heapq
import itertools
import math
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dgmlib.core import (
    Density,
    checked,
    need_between,
    need_count,
    need_finite,
    need_like,
    need_probabilities,
    need_shape,
    need_symmetric,
)
from dgmlib.sampling import categorical_from_uniforms, inverse_cdf
from dgmlib.worlds import DiscreteLaw, GaussianMixture

Parents = Sequence[Sequence[int]]
"""A directed graph: the parents of variable 0, of variable 1, and so on."""

# --- graphs ---------------------------------------------------------------------------------------------------------


@checked
def topological_order(parents: Parents) -> list[int]:
    """The variables in an order that puts parents first, smallest index first where there is a choice.

    Raises ValueError when a parent is no variable, stands twice, or the graph has a cycle.

    >>> topological_order([[1], [], [0, 1]])
    [1, 0, 2]
    """
    d = len(parents)
    for i, family in enumerate(parents):
        if len(set(family)) != len(family) or not all(isinstance(j, int) and 0 <= j < d for j in family):
            raise ValueError(f"parents[{i}] is {list(family)}, expected different indices from 0 to {d - 1}")
    children: list[list[int]] = [[] for _ in range(d)]
    for i, family in enumerate(parents):
        for j in family:
            children[j].append(i)
    waiting_for = [len(family) for family in parents]
    ready = [i for i in range(d) if not waiting_for[i]]  # a heap: it is sorted
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for child in children[order[-1]]:
            waiting_for[child] -= 1
            if not waiting_for[child]:
                heapq.heappush(ready, child)
    if len(order) < d:
        stuck = [i for i in range(d) if waiting_for[i]]
        raise ValueError(f"parents has a cycle before or among the variables {stuck}, expected an acyclic graph")
    return order


@checked
def parameter_count(parents: Parents, levels: int = 2) -> int:
    """How many free probabilities the factors p(x_i | parents) have, `levels` values each: an exact integer.

    Implements :eq:`eq-count`: sum_i (k - 1) k^{number of parents}. No parents at all: independence. All earlier
    variables: the whole table, k^d - 1.

    >>> parameter_count([[], [], []]), parameter_count([[], [0], [0, 1]])
    (3, 7)
    """
    topological_order(parents)
    need_count("levels", levels, at_least=2)
    return sum((levels - 1) * levels ** len(family) for family in parents)


@checked
def d_separated(parents: Parents, a: Collection[int], b: Collection[int], given: Collection[int] = ()) -> bool:
    """Does the graph alone make x_a and x_b independent once x_given is known?

    The premise of :eq:`eq-d-separation`. Keep the three sets and their ancestors, marry the parents of every child,
    forget the arrows, take `given` away: separated if no path is left from a to b. (Lauritzen et al., 1990.)

    >>> collider = [[], [], [0, 1]]
    >>> d_separated(collider, [0], [1]), d_separated(collider, [0], [1], given=[2])
    (True, False)
    """
    topological_order(parents)
    for name, group in (("a", a), ("b", b), ("given", given)):
        if not all(isinstance(i, int) for i in group):
            raise TypeError(f"{name} is a {type(group).__name__}, expected a set of variables' indices")
    a, b, given = set(a), set(b), set(given)
    if not a or not b or a & b or (a | b) & given or not a | b | given <= set(range(len(parents))):
        raise ValueError(f"a, b, given are {a}, {b}, {given}, expected disjoint sets of variables, a and b not empty")
    relevant = a | b | given
    while not (grown := relevant.union(*(parents[i] for i in relevant))) == relevant:
        relevant = grown
    neighbours: dict[int, set[int]] = {i: set() for i in relevant}
    for i in relevant:
        for u, v in itertools.permutations([i, *parents[i]], 2):
            neighbours[u].add(v)
    reached = set(a)
    while not (grown := reached.union(*(neighbours[i] for i in reached)) - given) == reached:
        reached = grown
    return reached.isdisjoint(b)


# --- laws on bits ---------------------------------------------------------------------------------------------------


@checked
def chain_rule(law: DiscreteLaw, order: Sequence[int]) -> Float[Tensor, "d states"]:
    """log p(x_i | the bits before it in `order`) at every state, one row for each bit in that order.

    Implements :eq:`eq-chain-rule`; the rows add up to log p(x). Where the bits before have probability zero the
    conditional is undefined and 0 is returned: the row that made them impossible holds minus infinity already.

    >>> from dgmlib.worlds import even_parity
    >>> rows = chain_rule(even_parity(2), [0, 1])  # a fair coin, and its copy
    >>> rows.exp().round(decimals=4).tolist()
    [[0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 1.0]]
    """
    if sorted(order) != list(range(law.d)):
        raise ValueError(f"order is {list(order)}, expected each of 0 to {law.d - 1} once")
    prefixes = [law.marginal(order[: i + 1]).log_prob(law.states[:, order[: i + 1]]) for i in range(law.d)]
    before = [torch.zeros_like(prefixes[0]), *prefixes[:-1]]
    rows = [torch.where(p.isinf(), 0.0, here - p) for here, p in zip(prefixes, before, strict=True)]
    return torch.stack(rows)


@checked
def conditional_information(
    law: DiscreteLaw, a: Sequence[int], b: Sequence[int], given: Sequence[int] = ()
) -> Float[Tensor, ""]:
    """I(x_a; x_b | x_given) in nats: 0 exactly when the two groups are independent for every value of the third.

    Implements :eq:`eq-conditional-information`.

    >>> from dgmlib.worlds import even_parity
    >>> law = even_parity(3)
    >>> abs(conditional_information(law, [0], [1]).item()) < 1e-12
    True
    >>> round(conditional_information(law, [0], [1], given=[2]).item() / math.log(2), 4)
    1.0
    """
    if not given:
        return law.mutual_information(a, b)
    return law.mutual_information(a, [*b, *given]) - law.mutual_information(a, given)


@checked
def pairwise_information(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None = None, smoothing: float = 0.0
) -> Float[Tensor, "d d"]:
    """I(x_i; x_j) in nats of every pair of bits under the rows of `x`, H(x_i) on the diagonal.

    `weights` are the probabilities of the rows, equal ones if absent; `smoothing` is added to each of the four counts
    of a pair (to both counts of a single bit, twice that: its pairs then agree with it). Raises ValueError (entries
    other than 0 and 1, weights that are no probabilities, a negative smoothing).

    >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double()
    >>> (pairwise_information(x) / math.log(2)).round(decimals=4).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    weights = _weights(x, weights)
    need_between("smoothing", smoothing, 0.0, math.inf)
    ones, total = (weights @ x) + 2 * smoothing, weights.sum() + 4 * smoothing
    both = (weights * x.mT) @ x + smoothing
    single = torch.stack([1 - ones / total, ones / total])  # (2, d)
    pairs = torch.stack([total - ones[:, None] - ones + both, ones - both, ones[:, None] - both, both]) / total
    entropy = torch.special.entr(single).sum(0)
    information = entropy[:, None] + entropy - torch.special.entr(pairs.clamp(min=0)).sum(0)
    return information - information.diagonal().diag() + entropy.diag()


@checked
def best_tree(information: Float[Tensor, "d d"]) -> list[tuple[int, ...]]:
    """Parents of the tree, rooted at 0, whose edges have the greatest sum of pairwise information.

    Implements :eq:`eq-best-tree`: no other law in which each variable looks at one other is closer in KL. Ties go to
    the edge found first. Raises ValueError (not square, asymmetric, NaN). (Chow and Liu, 1968.)

    >>> best_tree(torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.6, 0.2], [0.3, 0.2, 0.6]]))
    [(), (2,), (0,)]
    """
    d = len(need_symmetric("information", information))
    parents: list[tuple[int, ...]] = [()] * d
    gain, best = information[0].clone(), [0] * d
    gain[0] = -torch.inf
    for _ in range(d - 1):
        i = int(gain.argmax())
        parents[i] = (best[i],)
        gain[i] = -torch.inf
        for j in range(d):
            if information[i, j] > gain[j] > -torch.inf:
                gain[j], best[j] = information[i, j], i
    return parents


def _weights(x: Tensor, weights: Tensor | None) -> Float[Tensor, " n"]:
    if not ((x == 0) | (x == 1)).all():
        raise ValueError("x has entries other than 0 and 1, expected bits")
    if weights is None:
        return x.new_ones(len(x))
    return need_probabilities("weights", need_like("weights", weights, x))


class BayesianNetwork(Density):
    """p(x) = prod_i p(x_i | parents) over d bits, along a directed acyclic graph.

    `tables[i]` has one axis of size 2 for each parent of i, in the order of `parents[i]`, and holds p(x_i = 1 | them).
    Raises ValueError: a cycle, a table of the wrong shape, an entry outside [0, 1].

    >>> copy = BayesianNetwork([[], [0]], [torch.tensor(0.5), torch.tensor([0.0, 1.0])])
    >>> copy.log_prob(torch.tensor([[1.0, 1.0], [1.0, 0.0]])).exp().tolist()
    [0.5, 0.0]
    >>> x = copy.sample(10)
    >>> torch.equal(x[:, 0], x[:, 1])
    True
    """

    @checked
    def __init__(self, parents: Parents, tables: Sequence[Float[Tensor, "..."]]):
        self.order = topological_order(parents)
        self.parents, self.d = [tuple(family) for family in parents], len(parents)
        if len(tables) != self.d:
            raise ValueError(f"tables has {len(tables)} entries, expected one for each of {self.d} variables")
        for i, (table, family) in enumerate(zip(tables, parents, strict=True)):
            need_shape(f"tables[{i}]", need_finite(f"tables[{i}]", table), (2,) * len(family))
            if not ((table >= 0) & (table <= 1)).all():
                raise ValueError(f"tables[{i}] has entries outside [0, 1], expected probabilities of a one")
        self.tables = list(tables)

    @classmethod
    @checked
    def fit(
        cls, x: Float[Tensor, "n d"], parents: Parents, weights: Float[Tensor, " n"] | None = None, smoothing: float = 0
    ) -> "BayesianNetwork":
        """The network closest in KL to the rows of `x`: each table holds their conditional frequencies.

        `weights` are the probabilities of the rows, equal ones if absent; `smoothing` is added to the counts of zeros
        and of ones. A combination of parents that never occurs gets 1/2.

        >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> [table.tolist() for table in BayesianNetwork.fit(x, [[], [0]]).tables]
        [0.5, [0.0, 1.0]]
        """
        weights = _weights(x, weights)
        need_between("smoothing", smoothing, 0.0, math.inf)
        need_shape("x", x, (len(x), len(parents)))
        tables = []
        for i, family in enumerate(parents):
            place, size = _place(x, family), 2 ** len(family)
            ones = torch.bincount(place, weights * x[:, i], size) + smoothing
            total = torch.bincount(place, weights, size) + 2 * smoothing
            share = torch.where(total > 0, ones / total, 0.5).clamp(max=1)  # a ratio of two sums may round above one
            tables.append(share.to(x.dtype).view((2,) * len(family)))
        return cls(parents, tables)

    @checked
    def log_prob(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """log p(x) in nats of each row of bits. Implements :eq:`eq-network`."""
        _weights(x, None)
        total = torch.zeros_like(x[:, 0])
        for i, (family, table) in enumerate(zip(self.parents, self.tables, strict=True)):
            p = table.flatten()[_place(x, family)]
            total = total + torch.where(x[:, i] == 1, p, 1 - p).log()
        return total

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` rows by ancestral sampling: parents first, then each child given what they came out as."""
        table = self.tables[0]
        u = torch.rand(need_count("n", n), self.d, generator=generator, dtype=table.dtype, device=table.device)
        x = torch.zeros_like(u)
        for i in self.order:
            x[:, i] = (u[:, i] < self.tables[i].flatten()[_place(x, self.parents[i])]).to(x.dtype)
        return x


def _place(x: Tensor, family: Sequence[int]) -> Int[Tensor, " n"]:
    """Which entry of a flattened table each row's parents point at."""
    place = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for j in family:
        place = 2 * place + x[:, j].long()
    return place


# --- chains of symbols ----------------------------------------------------------------------------------------------


class MarkovChain(Density):
    """A sequence of `length` symbols 0 to k - 1 in which each looks at the `order` symbols before it.

    `initial` has `order` axes of size k: the joint law of the first symbols. `transition` has one more: the law of the
    next symbol along its last axis. Raises ValueError when the shapes do not fit or a row is no law.

    >>> flips = MarkovChain(torch.tensor([0.5, 0.5]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), length=4)
    >>> flips.log_prob(torch.tensor([[0, 1, 0, 1], [0, 0, 1, 0]])).exp().tolist()
    [0.5, 0.0]
    >>> bool((flips.sample(5).diff(dim=1) != 0).all())
    True
    """

    @checked
    def __init__(self, initial: Float[Tensor, "..."], transition: Float[Tensor, "..."], length: int):
        self.k = need_probabilities("transition", transition).shape[-1]
        self.order = transition.ndim - 1
        need_shape("transition", transition, (self.k,) * (self.order + 1))
        need_shape("initial", initial, (self.k,) * self.order)
        need_probabilities("initial", initial.flatten())
        self.initial, self.transition = initial, transition
        self.length = need_count("length", length, at_least=max(1, self.order))

    @classmethod
    @checked
    def fit(cls, symbols: Int[Tensor, " n"], k: int, order: int, length: int, smoothing: float) -> "MarkovChain":
        """Count which symbol follows which `order` symbols; `smoothing` > 0 is added to every count.

        Raises ValueError (symbols that are none or too few, ranges).

        >>> chain = MarkovChain.fit(torch.tensor([0, 1, 0, 1, 0]), k=2, order=1, length=4, smoothing=1.0)
        >>> chain.transition.tolist()
        [[0.25, 0.75], [0.75, 0.25]]
        """
        if not 0 <= int(symbols.min()) <= int(symbols.max()) < need_count("k", k):
            raise ValueError(f"symbols run from {symbols.min()} to {symbols.max()}, expected 0 to {k - 1}")
        need_between("smoothing", smoothing, 0.0, math.inf, open_ends=True)
        need_between("order", need_count("order", order, at_least=0), 0, len(symbols) - 1)
        windows = symbols.long().unfold(0, order + 1, 1)
        place = windows @ (k ** torch.arange(order, -1, -1, device=symbols.device))
        counts = torch.bincount(place, minlength=k ** (order + 1)).view((k,) * (order + 1)).to(torch.float64)
        initial = counts.sum(-1) / counts.sum()
        return cls(initial, (counts + smoothing) / (counts.sum(-1, keepdim=True) + k * smoothing), length)

    @checked
    def log_prob(self, x: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
        """log p(x_1, ..., x_m) + sum_t log p(x_t | the m symbols before) in nats. Implements :eq:`eq-markov`."""
        if not 0 <= int(x.min()) <= int(x.max()) < self.k:
            raise ValueError(f"x has symbols from {x.min()} to {x.max()}, expected 0 to {self.k - 1}")
        total = self.initial[tuple(x[:, : self.order].mT)].log().expand(len(x))
        for t in range(self.order, self.length):
            total = total + self.transition[tuple(x[:, t - self.order : t + 1].mT)].log()
        return total

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Int[Tensor, "n length"]:
        """`n` sequences, symbol after symbol."""
        u = torch.rand(need_count("n", n), self.length, generator=generator, dtype=torch.float64)
        u = u.to(self.transition.device)
        start = categorical_from_uniforms(self.initial.flatten(), u[:, 0])
        x = [start // self.k ** (self.order - 1 - i) % self.k for i in range(self.order)]
        for t in range(self.order, self.length):
            edges = self.transition[tuple(x[t - self.order :])].to(torch.float64).cumsum(-1).expand(n, self.k)
            x.append((edges / edges[:, -1:] <= u[:, t, None]).sum(-1))
        return torch.stack(x, 1)


# --- the chain rule in the plane and beyond -------------------------------------------------------------------------


@checked
def mixture_from_uniforms(mixture: GaussianMixture, u: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Uniform noise carried to draws from a Gaussian mixture, one coordinate after another.

    Implements :eq:`eq-rosenblatt`: x_i = F_i^{-1}(u_i | x_1, ..., x_{i-1}). Given the earlier coordinates the next one
    is a mixture on the line, whose distribution function is known. The map is exact, increasing in its own coordinate,
    and one to one where the density is positive. (Rosenblatt, 1952.)

    >>> from dgmlib.worlds import GaussianMixture
    >>> normal = GaussianMixture([1.0], means=[[2.0, 3.0]], covs=[[[1.0, 0.5], [0.5, 1.0]]])
    >>> mixture_from_uniforms(normal, torch.tensor([[0.5, 0.5]])).round(decimals=4).tolist()
    [[2.0, 3.0]]
    """
    need_shape("u", u, (len(u), mixture.d))
    spread = mixture.covs.diagonal(dim1=-2, dim2=-1).sqrt()
    low, high = float((mixture.means - 9 * spread).min()), float((mixture.means + 9 * spread).max())
    log_weights = mixture.weights.log().expand(len(u), -1)  # of the components, given the coordinates so far
    white, x = mixture.means.new_zeros(len(u), len(mixture.weights), 0), []
    for i in range(mixture.d):
        mean = mixture.means[:, i] + (mixture.chol[:, i, :i] * white).sum(-1)  # (n, components)
        std, share = mixture.chol[:, i, i], log_weights.softmax(-1)
        x.append(
            inverse_cdf(
                lambda x, mean=mean, std=std, share=share: (
                    share * torch.special.ndtr((x[..., None] - mean) / std)
                ).sum(-1),
                u[:, i].to(mean.dtype),
                low,
                high,
            )
        )
        z = (x[-1][:, None] - mean) / std
        log_weights = log_weights - 0.5 * z.square() - std.log()
        white = torch.cat([white, z[..., None]], -1)
    return torch.stack(x, 1)


class CountedPlane(Density):
    """p(x_1) p(x_2 | x_1) by counting: a square [-extent, extent]^2 cut into bins x bins cells, flat on each cell.

    The smallest autoregressive model of a continuous law: one table for the first coordinate, one for the second given
    the bin of the first. `counts` (bins, bins), its first axis the first coordinate; `smoothing` > 0 is added to each.
    Raises ValueError (not square, a negative or NaN count, ranges).

    >>> plane = CountedPlane(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), extent=1.0, smoothing=1.0)
    >>> plane.log_prob(torch.tensor([[-0.5, -0.5], [2.0, 0.0]])).exp().double().round(decimals=4).tolist()
    [0.5, 0.0]
    >>> bool((plane.sample(10).abs() <= 1).all())
    True
    """

    @checked
    def __init__(self, counts: Float[Tensor, "bins bins"], extent: float, smoothing: float):
        self.bins, self.extent = len(counts), need_between("extent", extent, 0.0, float("inf"), open_ends=True)
        need_finite("counts", counts)
        need_between("the smallest of counts", float(counts.min()), 0.0, math.inf)
        need_between("smoothing", smoothing, 0.0, math.inf, open_ends=True)
        self.first = (counts.sum(1) + smoothing * self.bins) / (counts.sum() + smoothing * self.bins**2)
        self.second = (counts + smoothing) / (counts.sum(1, keepdim=True) + smoothing * self.bins)

    @classmethod
    @checked
    def fit(cls, x: Float[Tensor, "n 2"], bins: int, extent: float, smoothing: float) -> "CountedPlane":
        """Count the rows of `x` in each cell. Raises ValueError when one lies outside the square.

        >>> x = torch.tensor([[-0.5, -0.5], [0.5, 0.5]])
        >>> CountedPlane.fit(x, bins=2, extent=1.0, smoothing=1.0).first.tolist()
        [0.5, 0.5]
        """
        need_between("extent", extent, 0.0, float("inf"), open_ends=True)
        cell = _cell(need_finite("x", x), need_count("bins", bins), extent)
        if ((cell < 0) | (cell >= bins)).any():
            raise ValueError(f"x reaches {x.abs().max():.3g}, expected points inside extent = {extent}")
        counts = torch.bincount(cell[:, 0] * bins + cell[:, 1], minlength=bins**2).view(bins, bins)
        return cls(counts.to(torch.float64), extent, smoothing)

    @checked
    def log_prob(self, x: Float[Tensor, "batch 2"]) -> Float[Tensor, " batch"]:
        """log p(x_1) + log p(x_2 | x_1), minus infinity outside the square. Raises ValueError (shape, NaN)."""
        cell = _cell(need_finite("x", x), self.bins, self.extent)
        inside = ((cell >= 0) & (cell < self.bins)).all(1)
        i, j = cell.clamp(0, self.bins - 1).unbind(1)
        mass = self.first[i] * self.second[i, j] * (self.bins / (2 * self.extent)) ** 2
        return mass.log().masked_fill(~inside, -torch.inf)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        """`n` draws: a bin of the first coordinate, a bin of the second given it, a point in the cell."""
        u = torch.rand(need_count("n", n), 4, generator=generator, dtype=torch.float64).to(self.first.device)
        i = categorical_from_uniforms(self.first, u[:, 0])
        edges = self.second[i].cumsum(1)
        j = (edges / edges[:, -1:] <= u[:, 1:2]).sum(1)
        return self.extent * (2 * (torch.stack([i, j], 1) + u[:, 2:]) / self.bins - 1)


def _cell(x: Tensor, bins: int, extent: float) -> Int[Tensor, "n 2"]:
    return ((x + extent) * (bins / (2 * extent))).floor().clamp(-1, bins).long()
