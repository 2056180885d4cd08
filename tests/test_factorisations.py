"""Laws taken apart: counts are exact, factors multiply back, graphs promise what the tables keep."""

import itertools
import math

import networkx
import pytest
import scipy.stats
import torch
from exact import f64, rng
from sklearn.metrics import mutual_info_score

from dgmlib.data import target
from dgmlib.divergences import kl_divergence
from dgmlib.factorisations import (
    BayesianNetwork,
    CountedPlane,
    MarkovChain,
    best_tree,
    chain_rule,
    conditional_information,
    d_separated,
    mixture_from_uniforms,
    pairwise_information,
    parameter_count,
    topological_order,
)
from dgmlib.worlds import DiscreteLaw, GaussianMixture, bars_and_stripes, bit_states

LEVEL = 1e-8  # chance that one of these seeded tests of a right sampler fails
GRAPH = [(), (), (0, 1), (2,), (2,)]


def passes_chi_square(counts, probs):
    counts, probs = counts.double(), torch.as_tensor(probs, dtype=torch.float64)
    assert (counts[probs == 0] == 0).all()
    counts, probs = counts[probs > 0], probs[probs > 0]
    statistic = float(((counts - counts.sum() * probs) ** 2 / (counts.sum() * probs)).sum())
    return statistic < scipy.stats.chi2.isf(LEVEL, len(probs) - 1)


def random_law(d, seed=0):
    return DiscreteLaw(torch.rand(2**d, generator=rng(seed), dtype=torch.float64).pow(2).softmax(0))


def random_graph(d, seed):
    """A random acyclic graph in a random order of the variables, parents shuffled."""
    g = rng(seed)
    order = torch.randperm(d, generator=g).tolist()
    parents = [()] * d
    for place, i in enumerate(order):
        parents[i] = tuple(j for j in order[:place] if torch.rand((), generator=g) < 0.45)
    return parents


def random_tables(parents, seed):
    g = rng(seed)
    return [0.05 + 0.9 * torch.rand((2,) * len(family), generator=g, dtype=torch.float64) for family in parents]


# --- graphs ---------------------------------------------------------------------------------------------------------


def test_topological_order_puts_parents_first_and_small_indices_early():
    assert topological_order([(2,), (), (1,), ()]) == [1, 2, 0, 3]
    assert topological_order([()] * 4) == [0, 1, 2, 3]
    for seed in range(20):
        parents = random_graph(8, seed)
        order = topological_order(parents)
        assert sorted(order) == list(range(8))
        assert all(order.index(j) < order.index(i) for i in range(8) for j in parents[i])


@pytest.mark.parametrize(
    ("parents", "complaint"),
    [
        ([(1,), (0,)], r"parents has a cycle before or among the variables \[0, 1\]"),
        ([(), (2,), (1,), (2,)], r"parents has a cycle before or among the variables \[1, 2, 3\]"),
        ([(0,)], "parents has a cycle"),
        ([(), (5,)], r"parents\[1\] is \[5\], expected different indices from 0 to 1"),
        ([(), (-1,)], r"parents\[1\] is \[-1\]"),
        ([(), (0, 0)], r"parents\[1\] is \[0, 0\]"),
    ],
)
@pytest.mark.notes("E3-005")
def test_what_is_no_acyclic_graph_is_refused(parents, complaint, untyped):
    with pytest.raises(ValueError, match=complaint):
        topological_order(parents)


@pytest.mark.equation("eq-count")
@pytest.mark.notes("E3-003", "E3-004", "N3-009")
def test_parameters_are_counted_exactly(untyped):
    everything_before = [tuple(range(i)) for i in range(768)]
    assert parameter_count([()], levels=256**3) == 16_777_215
    assert parameter_count(everything_before, 256) == 256**768 - 1  # an integer of 1850 digits
    assert parameter_count([()] * 768, 256) == 195_840
    assert parameter_count([(), *[(i,) for i in range(9)]]) == 2 * 10 - 1
    assert parameter_count([(), (0,), (0, 1), (0,)], 3) == 2 * (1 + 3 + 9 + 3)
    with pytest.raises(ValueError, match="levels is 1, expected at least 2"):
        parameter_count([()], 1)
    with pytest.raises(TypeError, match=r"levels is 2.5, expected an int"):
        parameter_count([()], 2.5)
    with pytest.raises(ValueError, match="cycle"):
        parameter_count([(1,), (0,)])


@pytest.mark.equation("eq-d-separation")
@pytest.mark.notes("N3-017", "H3-04")
def test_d_separation_agrees_with_networkx_on_random_graphs():
    for seed in range(12):
        parents = random_graph(6, seed)
        graph = networkx.DiGraph([(j, i) for i, family in enumerate(parents) for j in family])
        graph.add_nodes_from(range(6))
        for a, b in itertools.permutations(range(6), 2):
            rest = sorted(set(range(6)) - {a, b})
            for given in itertools.chain.from_iterable(itertools.combinations(rest, r) for r in range(4)):
                wanted = networkx.is_d_separator(graph, {a}, {b}, set(given))
                assert d_separated(parents, {a}, {b}, given) == wanted, (parents, a, b, given)


def test_d_separation_of_groups():
    assert not d_separated(GRAPH, [0, 1], [3])
    assert d_separated(GRAPH, [0, 1], [3, 4], [2])
    assert d_separated(GRAPH, {0}, {1})
    assert not d_separated(GRAPH, {0}, {1}, {3})  # a descendant of the collider opens it


@pytest.mark.parametrize(
    ("a", "b", "given"),
    [
        ({0}, {0}, ()),
        (set(), {1}, ()),
        ({0}, set(), ()),
        ({0}, {1}, {0}),
        ({0}, {1}, {1}),
        ({0}, {7}, ()),
        ({0}, {1}, {9}),
    ],
)
def test_questions_about_overlapping_or_missing_variables_are_refused(a, b, given):
    with pytest.raises(ValueError, match=r"a, b, given are .* expected disjoint sets of variables"):
        d_separated(GRAPH, a, b, given)


# --- laws on bits ---------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-chain-rule")
@pytest.mark.notes("N3-011", "N4-013")
@pytest.mark.parametrize("law", [random_law(4), bars_and_stripes()], ids=["positive", "with zeros"])
def test_the_chain_rule_holds_in_every_order(law):
    for order in itertools.permutations(range(4)):
        rows = chain_rule(law, order)
        assert rows.shape == (4, 16) and (rows <= 1e-12).all() and not rows.isnan().any()
        torch.testing.assert_close(rows.sum(0), law.probs.log(), atol=1e-12, rtol=0)
        first = law.marginal([order[0]]).probs[law.states[:, order[0]].long()]
        torch.testing.assert_close(rows[0], first.log())


def test_each_factor_is_a_conditional():
    law = random_law(3, 1)
    rows = chain_rule(law, (2, 0, 1))
    table = law.probs.view(2, 2, 2)
    second = table.sum(1) / table.sum((0, 1))  # p(x_0 | x_2)
    torch.testing.assert_close(rows[1].exp().view(2, 2, 2), second[:, None, :].expand(2, 2, 2))


def test_a_factor_after_an_impossible_one_is_zero():
    rows = chain_rule(DiscreteLaw([0.5, 0.5, 0.0, 0.0]), (0, 1))
    assert rows[0].tolist()[2:] == [-math.inf, -math.inf] and rows[1].tolist()[2:] == [0.0, 0.0]


def test_a_parent_that_is_no_index_is_refused():
    with pytest.raises(TypeError, match=r"parents\[1\]\[0\] is 0.0, expected an int"):
        topological_order([(), (0.0,)])


@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1), (0, 1, 3), (0, 1, 2, 3)])
def test_an_order_that_is_none_is_refused(order):
    with pytest.raises(ValueError, match="expected each of 0 to 2 once"):
        chain_rule(random_law(3), order)


@pytest.mark.equation("eq-conditional-information")
def test_conditional_information_is_an_average_of_divergences():
    law = random_law(5, 2)
    for a, b, given in (([0], [1], [2]), ([0, 3], [1], [4, 2]), ([4], [2, 1], [])):
        total = f64(0.0)[0]
        for values in itertools.product((0, 1), repeat=len(given)):
            seen = law.conditional(dict(zip(given, values, strict=True))) if given else law
            left = [i for i in range(5) if i not in given]
            share = law.marginal(given).log_prob(f64(values)).exp()[0] if given else 1.0
            total += share * seen.mutual_information([left.index(i) for i in a], [left.index(i) for i in b])
        torch.testing.assert_close(conditional_information(law, a, b, given), total, atol=1e-12, rtol=0)


@pytest.mark.equation("eq-conditional-information")
def test_two_corners_of_bars_and_stripes_share_most_once_the_rest_is_seen():
    law = bars_and_stripes()
    assert float(conditional_information(law, [0], [3])) == pytest.approx(0.05663301226513249)
    assert float(conditional_information(law, [0], [3], [1, 2])) == pytest.approx(2 / 3 * math.log(2))


@pytest.mark.equation("eq-network")
@pytest.mark.equation("eq-d-separation")
def test_random_networks_keep_every_promise_of_their_graph():
    for seed in range(5):
        parents = random_graph(5, seed)
        law = DiscreteLaw(BayesianNetwork(parents, random_tables(parents, seed)).log_prob(bit_states(5)).exp())
        for a, b in itertools.combinations(range(5), 2):
            rest = sorted(set(range(5)) - {a, b})
            for given in itertools.chain.from_iterable(itertools.combinations(rest, r) for r in range(4)):
                information = float(conditional_information(law, [a], [b], list(given)))
                # random tables never cancel to zero, and never come below 1e-9 with these seeds
                assert d_separated(parents, {a}, {b}, given) == (information < 1e-12)


def test_pairwise_information_agrees_with_scikit_learn():
    x = (torch.rand(300, 4, generator=rng(3)) < f64(0.2, 0.5, 0.6, 0.9)).double()
    x[:, 2] = torch.where(torch.rand(300, generator=rng(4)) < 0.8, x[:, 1], x[:, 2])
    ours = pairwise_information(x)
    for i, j in itertools.product(range(4), repeat=2):
        assert float(ours[i, j]) == pytest.approx(mutual_info_score(x[:, i].numpy(), x[:, j].numpy()), abs=1e-12)
    law = random_law(4, 5)
    weighted = pairwise_information(law.states, law.probs)
    for i, j in itertools.combinations(range(4), 2):
        torch.testing.assert_close(weighted[i, j], law.mutual_information([i], [j]), atol=1e-12, rtol=0)
    twice = pairwise_information(torch.cat([x, x]))
    torch.testing.assert_close(twice, ours, atol=1e-12, rtol=0)


def test_pairwise_information_with_smoothing_counts_one_more_of_each_pair():
    x = f64((0, 1), (1, 1), (1, 1), (0, 0), (1, 0))
    extra = torch.cat([x, bit_states(2), bit_states(2)])
    torch.testing.assert_close(pairwise_information(x, smoothing=2.0), pairwise_information(extra))
    certain = pairwise_information(f64((1, 0), (1, 1)))
    assert certain.isfinite().all() and certain[0].abs().max() < 1e-12


@pytest.mark.equation("eq-best-tree")
def test_the_best_tree_is_the_heaviest_of_all():
    for seed in range(10):
        weights = torch.rand(5, 5, generator=rng(seed), dtype=torch.float64)
        weights = weights + weights.T
        tree = best_tree(weights)
        assert tree[0] == () and all(len(family) == 1 for family in tree[1:])
        topological_order(tree)
        ours = sum(float(weights[i, family[0]]) for i, family in enumerate(tree) if family)
        graph = networkx.Graph()
        graph.add_weighted_edges_from((i, j, float(weights[i, j])) for i, j in itertools.combinations(range(5), 2))
        assert ours == pytest.approx(networkx.maximum_spanning_tree(graph).size("weight"))
    assert best_tree(f64((1.0,))[:, :1]) == [()]


@pytest.mark.equation("eq-best-tree")
@pytest.mark.equation("eq-world-tree")
def test_the_best_tree_recovers_a_tree_and_loses_what_is_left():
    parents = [(), (0,), (1,), (1,), (0,)]
    law = DiscreteLaw(BayesianNetwork(parents, random_tables(parents, 6)).log_prob(bit_states(5)).exp())
    assert best_tree(pairwise_information(law.states, law.probs)) == parents
    bars = bars_and_stripes()
    tree = best_tree(pairwise_information(bars.states, bars.probs))
    lost = kl_divergence(bars.probs, BayesianNetwork.fit(bars.states, tree, bars.probs).log_prob(bars.states).exp())
    assert float(lost) == pytest.approx(0.8108779, abs=1e-4)


def test_information_that_is_no_square_is_refused(untyped):
    with pytest.raises(ValueError, match=r"information has shape \(2, 3\), expected \(2, 2\)"):
        best_tree(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="information is asymmetric by 1, expected symmetric matrices"):
        best_tree(f64((0.0, 1.0), (0.0, 0.0)))
    with pytest.raises(ValueError, match="information has 1 NaN or infinite values"):
        best_tree(f64((0.0, math.nan), (1.0, 0.0)))


# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-network")
@pytest.mark.notes("N3-016", "E3-005")
def test_a_network_is_the_product_of_its_factors():
    for seed in range(5):
        parents = random_graph(5, seed + 50)
        tables = random_tables(parents, seed)
        network = BayesianNetwork(parents, tables)
        for x in bit_states(5)[::3]:
            bits = x.long().tolist()
            wanted = 1.0
            for i, family in enumerate(parents):
                p = float(tables[i][tuple(bits[j] for j in family)])
                wanted *= p if bits[i] else 1 - p
            assert float(network.log_prob(x[None])) == pytest.approx(math.log(wanted))
        assert float(network.log_prob(bit_states(5)).exp().sum()) == pytest.approx(1)


@pytest.mark.equation("eq-network")
def test_ancestral_samples_have_the_law():
    network = BayesianNetwork([(2, 1), (), (1,)], [f64((0.1, 0.6), (0.9, 0.3)), f64(0.3)[0], f64(0.8, 0.1)])
    x = network.sample(20_000, generator=rng(7))
    counts = torch.bincount((x @ f64(4, 2, 1)).long(), minlength=8)
    assert passes_chi_square(counts, network.log_prob(bit_states(3)).exp())
    exchanged = BayesianNetwork([(1, 2), (), (1,)], network.tables)
    assert not passes_chi_square(counts, exchanged.log_prob(bit_states(3)).exp())


def test_a_network_fitted_to_a_law_holds_its_conditionals():
    law = random_law(4, 8)
    complete = BayesianNetwork.fit(law.states, [(), (0,), (0, 1), (1, 0, 2)], law.probs)
    torch.testing.assert_close(complete.log_prob(law.states), law.probs.log(), atol=1e-12, rtol=0)
    apart = BayesianNetwork.fit(law.states, [()] * 4, law.probs)
    torch.testing.assert_close(
        apart.log_prob(law.states), sum(chain_rule(law, (i, *[j for j in range(4) if j != i]))[0] for i in range(4))
    )


def test_a_network_fitted_to_rows_counts_and_smooths():
    x = f64((0, 1), (0, 0), (0, 1), (1, 1))
    network = BayesianNetwork.fit(x, [(), (0,)], smoothing=1.0)
    torch.testing.assert_close(network.tables[0], f64((1 + 1) / (4 + 2))[0])
    torch.testing.assert_close(network.tables[1], f64((2 + 1) / (3 + 2), (1 + 1) / (1 + 2)))
    unseen = BayesianNetwork.fit(f64((0, 1), (0, 1)), [(), (0,)])
    torch.testing.assert_close(unseen.tables[1], f64(1.0, 0.5))
    single = BayesianNetwork.fit(x.float(), [(), (0,)], smoothing=0.5)
    assert single.tables[1].dtype == single.sample(3).dtype == single.log_prob(x.float()).dtype == torch.float32


def test_networks_refuse(untyped):
    half = torch.tensor(0.5)
    with pytest.raises(ValueError, match="tables has 1 entries, expected one for each of 2 variables"):
        BayesianNetwork([(), ()], [half])
    with pytest.raises(ValueError, match=r"tables\[1\] has shape \(\), expected \(2,\)"):
        BayesianNetwork([(), (0,)], [half, half])
    with pytest.raises(ValueError, match=r"tables\[0\] has entries outside \[0, 1\]"):
        BayesianNetwork([()], [torch.tensor(1.5)])
    with pytest.raises(ValueError, match=r"tables\[0\] has entries outside \[0, 1\]"):
        BayesianNetwork([()], [torch.tensor(-0.5)])
    with pytest.raises(ValueError, match=r"tables\[0\] has 1 NaN"):
        BayesianNetwork([()], [torch.tensor(math.nan)])
    network = BayesianNetwork([(), ()], [half, half])
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\), expected \(1, 2\)"):
        network.log_prob(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="x has entries other than 0 and 1"):
        network.log_prob(torch.full((1, 2), 0.5))
    with pytest.raises(ValueError, match="n is 0"):
        network.sample(0)
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\), expected \(3, 1\)"):
        BayesianNetwork.fit(x, [()])
    with pytest.raises(ValueError, match="smoothing is -1"):
        BayesianNetwork.fit(x, [(), ()], smoothing=-1)
    with pytest.raises(ValueError, match=r"weights has shape \(2,\), expected \(3,\)"):
        BayesianNetwork.fit(x, [(), ()], torch.tensor([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"smoothing is -0.5"):
        pairwise_information(x, smoothing=-0.5)
    with pytest.raises(TypeError, match=r"x has dtype torch.int64"):
        pairwise_information(torch.zeros(3, 2, dtype=torch.long))


# --- chains ---------------------------------------------------------------------------------------------------------


def chain_by_hand(chain, x):
    p = float(chain.initial[tuple(x[: chain.order])])
    for t in range(chain.order, len(x)):
        p *= float(chain.transition[tuple(x[t - chain.order : t + 1])])
    return p


def random_chain(k, order, length, seed=0):
    g = rng(seed)
    initial = torch.rand(k**order, generator=g, dtype=torch.float64).softmax(0).view((k,) * order)
    transition = (3 * torch.rand((k,) * (order + 1), generator=g, dtype=torch.float64)).softmax(-1)
    return MarkovChain(initial, transition, length)


@pytest.mark.equation("eq-markov")
@pytest.mark.notes("N3-015")
@pytest.mark.parametrize(("k", "order"), [(3, 0), (3, 1), (2, 2), (2, 3)])
def test_a_chain_sums_to_one_and_draws_what_it_scores(k, order):
    chain = random_chain(k, order, 4, seed=order)
    words = torch.tensor(list(itertools.product(range(k), repeat=4)))
    probs = chain.log_prob(words).exp()
    assert float(probs.sum()) == pytest.approx(1)
    for i in (0, 5, len(words) - 1):
        assert float(probs[i]) == pytest.approx(chain_by_hand(chain, words[i].tolist()))
    x = chain.sample(20_000, generator=rng(9))
    counts = torch.bincount(x @ k ** torch.arange(3, -1, -1), minlength=k**4)
    assert passes_chi_square(counts, probs)
    assert not passes_chi_square(counts, random_chain(k, order, 4, seed=order + 20).log_prob(words).exp())
    assert torch.equal(chain.sample(9, generator=rng(1)), chain.sample(9, generator=rng(1)))


@pytest.mark.equation("eq-markov")
def test_the_future_of_a_chain_sees_the_past_only_through_the_present():
    law = DiscreteLaw(random_chain(2, 1, 4).log_prob(bit_states(4).long()).exp())
    assert float(conditional_information(law, [0, 1], [3], [2]).abs()) < 1e-12
    longer = DiscreteLaw(random_chain(2, 2, 4).log_prob(bit_states(4).long()).exp())
    assert float(conditional_information(longer, [0], [2], [1])) > 1e-3
    assert float(conditional_information(longer, [0], [3], [1, 2]).abs()) < 1e-12


def test_a_chain_is_fitted_by_counting():
    symbols = torch.tensor([0, 1, 0, 1, 2, 0])
    chain = MarkovChain.fit(symbols, 3, order=1, length=5, smoothing=0.5)
    assert chain.length == 5
    torch.testing.assert_close(chain.initial, f64(2, 2, 1) / 5)  # each symbol that has a successor
    torch.testing.assert_close(chain.transition[0], f64(0.5, 2.5, 0.5) / 3.5)
    torch.testing.assert_close(chain.transition[1], f64(1.5, 0.5, 1.5) / 3.5)
    torch.testing.assert_close(chain.transition[2], f64(1.5, 0.5, 0.5) / 2.5)
    pairs = MarkovChain.fit(symbols, 3, order=2, length=4, smoothing=1e-9)
    assert float(pairs.transition[0, 1, 2]) == pytest.approx(0.5) and float(pairs.initial[0, 1]) == pytest.approx(0.5)
    alone = MarkovChain.fit(symbols, 3, order=0, length=4, smoothing=1.0)
    torch.testing.assert_close(alone.transition, f64(4, 3, 2) / 9)
    assert float(alone.log_prob(torch.tensor([[0, 0, 1, 2]]))) == pytest.approx(math.log(16 * 3 * 2 / 9**4))


def test_chains_refuse(untyped):
    law, table = f64(0.5, 0.5), f64((0.9, 0.1), (0.4, 0.6))
    with pytest.raises(ValueError, match=r"initial has shape \(3,\), expected \(2,\)"):
        MarkovChain(f64(0.2, 0.3, 0.5), table, 3)
    with pytest.raises(ValueError, match="transition sums to one only within"):
        MarkovChain(law, table.T, 3)
    with pytest.raises(ValueError, match="initial sums to one only within"):
        MarkovChain(law / 2, table, 3)
    with pytest.raises(ValueError, match=r"transition has shape \(2, 3\), expected \(3, 3\)"):
        MarkovChain(law, f64((0.2, 0.3, 0.5), (1.0, 0.0, 0.0)), 3)
    with pytest.raises(ValueError, match="length is 0, expected at least 1"):
        MarkovChain(law, table, 0)
    with pytest.raises(ValueError, match="length is 1, expected at least 2"):
        MarkovChain(law.expand(2, 2) / 2, table.expand(2, 2, 2), 1)
    chain = MarkovChain(law, table, 3)
    with pytest.raises(ValueError, match=r"x has shape \(1, 2\), expected \(1, 3\)"):
        chain.log_prob(torch.zeros(1, 2, dtype=torch.long))
    for bad in (2, -1):
        with pytest.raises(ValueError, match=r"x has symbols from .* expected 0 to 1"):
            chain.log_prob(torch.tensor([[0, 0, bad]]))
        with pytest.raises(ValueError, match=r"symbols run from .* expected 0 to 1"):
            MarkovChain.fit(torch.tensor([0, 1, bad]), 2, 1, 3, 1.0)
    with pytest.raises(ValueError, match=r"smoothing is 0.0, expected a number in \(0"):
        MarkovChain.fit(torch.tensor([0, 1]), 2, 1, 3, 0.0)
    with pytest.raises(ValueError, match="order is -1"):
        MarkovChain.fit(torch.tensor([0, 1]), 2, -1, 3, 1.0)
    with pytest.raises(ValueError, match="n is 0"):
        chain.sample(0)


# --- the plane ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-rosenblatt")
def test_uniforms_become_the_target_and_can_be_read_back():
    law = target()
    u = torch.rand(500, 2, generator=rng(10), dtype=torch.float64)
    x = mixture_from_uniforms(law, u)
    std = law.covs.diagonal(dim1=-2, dim2=-1).sqrt()
    first = (law.weights * torch.special.ndtr((x[:, :1] - law.means[:, 0]) / std[:, 0])).sum(1)
    torch.testing.assert_close(first, u[:, 0], atol=1e-10, rtol=0)
    # the Jacobian of u -> x is triangular, so its determinant is 1 / p(x)
    slope = torch.zeros(500, 2, dtype=torch.float64)
    for i in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[i] = 1e-6
        inner = u.clamp(1e-3, 1 - 1e-3)
        moved = mixture_from_uniforms(law, inner + shift) - mixture_from_uniforms(law, inner - shift)
        slope[:, i] = moved[:, i] / 2e-6
        assert (moved[:, :i] == 0).all() and (moved[:, i] > 0).all()
    at = law.log_prob(mixture_from_uniforms(law, u.clamp(1e-3, 1 - 1e-3)))
    near = (slope.log().sum(1) + at).abs()
    assert float(near.median()) < 1e-6 and float((near < 1e-2).double().mean()) > 0.97  # steep where the law is thin


def test_uniforms_become_a_correlated_gaussian_in_three_dimensions():
    mean, cov = f64(0.5, -1.0, 2.0), f64((1.0, 0.5, 0.2), (0.5, 2.0, -0.3), (0.2, -0.3, 0.5))
    u = torch.rand(50, 3, generator=rng(11), dtype=torch.float64)
    x = mixture_from_uniforms(GaussianMixture([1.0], mean[None], cov[None]), u)
    wanted = mean + torch.special.ndtri(u) @ torch.linalg.cholesky(cov).T
    torch.testing.assert_close(x, wanted, atol=1e-9, rtol=0)
    two = GaussianMixture([0.3, 0.7], [[-100.0], [100.0]], [[[1.0]], [[4.0]]])
    z = mixture_from_uniforms(two, f64((0.15,), (0.65,)))
    torch.testing.assert_close(z, f64((-100.0,), (100.0,)), atol=1e-9, rtol=0)


def test_uniforms_outside_the_interval_or_of_another_dimension_are_refused(untyped):
    with pytest.raises(ValueError, match=r"u has shape \(4, 3\), expected \(4, 2\)"):
        mixture_from_uniforms(target(), torch.rand(4, 3))
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\)"):
        mixture_from_uniforms(target(), torch.full((4, 2), 1.0))
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\)"):
        mixture_from_uniforms(target(), torch.full((4, 2), math.nan))


def test_a_counted_plane_holds_the_frequencies():
    x = f64((-1.5, -0.5), (-1.5, 0.5), (-1.2, -0.1), (1.9, 1.9))
    plane = CountedPlane.fit(x, bins=4, extent=2.0, smoothing=0.5)  # cells of side 1
    assert float(plane.first[0]) == pytest.approx((3 + 2) / (4 + 8)) and float(plane.first[1]) == pytest.approx(2 / 12)
    assert float(plane.second[0, 1]) == pytest.approx((2 + 0.5) / (3 + 2))
    at = plane.log_prob(f64((-1.01, -0.99), (0.1, 0.1), (2.1, 0.0), (0.0, -2.001)))
    torch.testing.assert_close(at.exp(), f64(5 / 12 * 2.5 / 5, 2 / 12 * 0.25, 0, 0))
    finer = CountedPlane.fit(x, bins=8, extent=2.0, smoothing=0.5)
    cells = torch.cartesian_prod(*[(torch.arange(8, dtype=torch.float64) + 0.5) / 2 - 2] * 2)
    assert float(finer.log_prob(cells).exp().sum() / 4) == pytest.approx(1)


def test_a_counted_plane_draws_from_its_cells():
    plane = CountedPlane(f64((3, 1), (0, 4)), extent=1.0, smoothing=0.25)
    x = plane.sample(20_000, generator=rng(12))
    assert x.dtype == torch.float64 and x.min() >= -1 and x.max() <= 1
    counts = torch.bincount((2 * (x[:, 0] > 0) + (x[:, 1] > 0)).long(), minlength=4)
    assert passes_chi_square(counts, f64(3.25, 1.25, 0.25, 4.25) / 9)
    inside = (x[(x < 0).all(1)] + 1).flatten()
    assert passes_chi_square(torch.histc(inside, 10, 0, 1), torch.full((10,), 0.1))
    lopsided = CountedPlane(f64((1, 9), (1, 1)), extent=1.0, smoothing=0.25)
    assert not passes_chi_square(counts, (lopsided.first[:, None] * lopsided.second).flatten())


def test_counted_planes_refuse(untyped):
    with pytest.raises(ValueError, match=r"counts has shape \(2, 3\), expected \(2, 2\)"):
        CountedPlane(torch.zeros(2, 3), 1.0, 1.0)
    with pytest.raises(ValueError, match="extent is 0"):
        CountedPlane(torch.zeros(2, 2), 0.0, 1.0)
    with pytest.raises(ValueError, match="smoothing is 0"):
        CountedPlane(torch.zeros(2, 2), 1.0, 0.0)
    with pytest.raises(ValueError, match=r"the smallest of counts is -1.0"):
        CountedPlane(-torch.ones(2, 2), 1.0, 1.0)
    with pytest.raises(ValueError, match="x has 1 NaN"):
        CountedPlane(torch.zeros(2, 2), 1.0, 1.0).log_prob(f64((math.nan, 0.0)))
    with pytest.raises(ValueError, match=r"x reaches 3, expected points inside extent = 2.0"):
        CountedPlane.fit(f64((0.0, -3.0)), 4, 2.0, 1.0)
    with pytest.raises(ValueError, match="x reaches 2, expected points inside extent"):
        CountedPlane.fit(f64((0.0, 2.0)), 4, 2.0, 1.0)
    with pytest.raises(ValueError, match="x has 1 NaN"):
        CountedPlane.fit(f64((0.0, math.nan)), 4, 2.0, 1.0)
    with pytest.raises(ValueError, match="bins is 0"):
        CountedPlane.fit(f64((0.0, 1.0)), 0, 2.0, 1.0)
    with pytest.raises(ValueError, match="n is 0"):
        CountedPlane(torch.ones(2, 2), 1.0, 1.0).sample(0)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\), expected \(1, 2\)"):
        CountedPlane(torch.ones(2, 2), 1.0, 1.0).log_prob(torch.zeros(1, 3))
