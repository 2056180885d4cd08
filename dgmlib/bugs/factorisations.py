"""Wrong variants of `dgmlib.factorisations` (chapter 01)."""

import itertools

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.factorisations import (
    BayesianNetwork,
    MarkovChain,
    best_tree,
    chain_rule,
    conditional_information,
    d_separated,
    parameter_count,
)
from dgmlib.worlds import DiscreteLaw, bit_states, stationary


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


EARLIER = [tuple(range(i)) for i in range(6)]
CHAIN = MarkovChain(_t(0.3, 0.7), _t((0.9, 0.1), (0.4, 0.6)), 4)
WORDS = bit_states(4).long()
GRAPH = [(), (), (0, 1), (2,), (2,)]
NETWORK = BayesianNetwork(GRAPH, [_t(0.3)[0], _t(0.6)[0], _t((0.1, 0.7), (0.8, 0.2)), _t(0.25, 0.9), _t(0.6, 0.05)])
UNEVEN = DiscreteLaw([0.1, 0.02, 0.2, 0.08, 0.05, 0.25, 0.12, 0.18])
PAIRS = _t((0.0, 5.0, 1.0, 4.0), (5.0, 0.0, 3.0, 2.0), (1.0, 3.0, 0.0, 6.0), (4.0, 2.0, 6.0, 0.0))


def _collider_forgotten(parents, a, b, given=()):
    """Plain connectivity of the graph once `given` is deleted: parents are not married, ancestors not singled out."""
    edges = {(i, j) for i, family in enumerate(parents) for j in family}
    edges |= {(j, i) for i, j in edges}
    reached = set(a)
    while not (grown := reached | {j for i, j in edges if i in reached and j not in given}) == reached:
        reached = grown
    return reached.isdisjoint(b)


def _moral_everything(parents, a, b, given=()):
    """Marries all parents, those of unseen children too."""
    d = len(parents)
    edges = {pair for i in range(d) for pair in itertools.permutations([i, *parents[i]], 2)}
    reached = set(a)
    while not (grown := reached | {j for i, j in edges if i in reached and j not in given}) == reached:
        reached = grown
    return reached.isdisjoint(b)


def _answers(separated):
    """All questions about GRAPH with at most three variables seen, as a vector."""

    def ask(parents):
        d = len(parents)
        return torch.tensor(
            [
                separated(parents, {a}, {b}, set(given))
                for a, b in itertools.combinations(range(d), 2)
                for r in range(d - 1)
                for given in itertools.combinations(sorted(set(range(d)) - {a, b}), r)
            ]
        ).double()

    return ask


def all_separations(parents) -> Tensor:
    """1 for every pair and every seen set that the graph separates."""
    return _answers(d_separated)(parents)


def _markov(chain: MarkovChain, x: Tensor, start: Tensor, transition: Tensor) -> Tensor:
    return start[x[:, 0]].log() + transition[x[:, :-1], x[:, 1:]].log().sum(1)


def _ones_only(network: BayesianNetwork, x: Tensor) -> Tensor:
    total = torch.zeros_like(x[:, 0])
    for family, table in zip(network.parents, network.tables, strict=True):
        total = total + table[tuple(x[:, j].long() for j in family)].log()
    return total


def parents_of_tree(information: Tensor) -> Tensor:
    """The parent of each variable but the root, as numbers."""
    return torch.tensor([family[0] for family in best_tree(information)[1:]]).double()


SUBJECTS = (
    Subject(
        name="parameter-count",
        right=parameter_count,
        probes=((EARLIER, 3), ([()] * 5, 4), ([(), (0,), (1,), (0, 2)], 3)),
        bugs=(
            Bug(
                "count-no-sum-to-one",
                "Counts all probabilities of a row, though each row sums to one.",
                lambda parents, levels=2: sum(levels ** (len(family) + 1) for family in parents),
                symptom="one number too many for each row of each table",
                cure="(k - 1) k^m",
            ),
            Bug(
                "count-states-times-parents",
                "k m for k^m: a table has a row for each combination of its parents.",
                lambda parents, levels=2: sum((levels - 1) * max(1, levels * len(family)) for family in parents),
                symptom="a table of d variables would be affordable",
                cure="(k - 1) k^m",
            ),
            Bug(
                "E3-003",
                "255 levels for 256: the levels are 0 to 255.",
                lambda parents, levels: parameter_count(parents, levels - 1),
                symptom="16,581,375 colours",
                cure="count the zero",
            ),
        ),
    ),
    Subject(
        name="chain-rule",
        right=chain_rule,
        probes=((UNEVEN, (0, 1, 2)), (UNEVEN, (2, 0, 1))),
        bugs=(
            Bug(
                "chain-rule-marginals",
                "Multiplies marginals: the conditioning on what came before is left out.",
                lambda law, order: torch.stack([law.marginal([i]).log_prob(law.states[:, [i]]) for i in order]),
                symptom="right for independent variables only",
                cure="p(x_i | x_<i)",
            ),
            Bug(
                "chain-rule-order-ignored",
                "Conditions in the natural order whatever order was asked for.",
                lambda law, order: chain_rule(law, sorted(order)),
                symptom="right in sum, each factor wrong",
                cure="condition on the variables before it in this order",
            ),
        ),
    ),
    Subject(
        name="conditional-information",
        right=conditional_information,
        probes=((UNEVEN, [0], [1], [2]), (UNEVEN, [0], [2], [1]), (UNEVEN, [0], [1], [])),
        bugs=(
            Bug(
                "information-unconditional",
                "Mutual information with the third group averaged out, not seen.",
                lambda law, a, b, given=(): law.mutual_information(a, b),
                symptom="colliders look independent, chains dependent",
                cure="H(ac) + H(bc) - H(abc) - H(c)",
            ),
            Bug(
                "information-no-h-of-c",
                "Forgets the last entropy, H(c).",
                lambda law, a, b, given=(): (
                    conditional_information(law, a, b, given) + (law.marginal(given).entropy() if len(given) else 0)
                ),
                symptom="never zero",
                cure="subtract H(c)",
            ),
        ),
    ),
    Subject(
        name="markov-log-prob",
        right=MarkovChain.log_prob,
        probes=((CHAIN, WORDS),),
        bugs=(
            Bug(
                "markov-no-start",
                "Leaves out the law of the first symbol.",
                lambda chain, x: _markov(chain, x, torch.ones(2, dtype=torch.float64), chain.transition),
                symptom="sums to k over all sequences",
                cure="add log p(x_1)",
            ),
            Bug(
                "markov-transposed",
                "Reads the table the wrong way round: p(before | after).",
                lambda chain, x: _markov(chain, x, chain.initial, chain.transition.mT),
                symptom="right for symmetric tables",
                cure="rows are where one comes from",
            ),
            Bug(
                "markov-stationary-start",
                "Starts in the stationary law, whatever the first symbol's law is.",
                lambda chain, x: _markov(chain, x, stationary(chain.transition), chain.transition),
                symptom="right for long sequences, wrong at their beginning",
                cure="use the initial law",
            ),
        ),
    ),
    Subject(
        name="network-log-prob",
        right=BayesianNetwork.log_prob,
        probes=((NETWORK, bit_states(5)),),
        bugs=(
            Bug(
                "network-parents-exchanged",
                "Reads a table with its two parents exchanged.",
                lambda network, x: BayesianNetwork([(), (), (1, 0), (2,), (2,)], network.tables).log_prob(x),
                symptom="right for symmetric tables",
                cure="axes in the order of the parents",
            ),
            Bug(
                "network-ones-only",
                "Uses p(x_i = 1) whatever x_i is.",
                _ones_only,
                symptom="does not sum to one",
                cure="1 - p for a zero",
            ),
        ),
    ),
    Subject(
        name="d-separation",
        right=all_separations,
        probes=((GRAPH,), ([(), (0,), (1,), (2, 0)],)),
        bugs=(
            Bug(
                "collider-forgotten",
                "Plain connectivity: a path through a common child counts although nothing about the child is known.",
                _answers(_collider_forgotten),
                symptom="rain and burst pipes cause each other",
                cure="marry the parents of what is seen, and keep ancestors only",
            ),
            Bug(
                "moral-everything",
                "Marries the parents of every child, of those too of which nothing has been seen.",
                _answers(_moral_everything),
                symptom="no two causes of one effect are ever independent",
                cure="drop what is no ancestor of a, b or the seen",
            ),
        ),
    ),
    Subject(
        name="best-tree",
        right=parents_of_tree,
        probes=((PAIRS,),),
        bugs=(
            Bug(
                "tree-star",
                "Joins everybody to the root.",
                lambda information: torch.zeros(len(information) - 1, dtype=torch.float64),
                symptom="a tree, not the heaviest",
                cure="the best edge from anyone reached to anyone new",
            ),
            Bug(
                "tree-best-partner",
                "Gives each variable its best partner, without asking whether that closes a cycle.",
                lambda information: (information - 1e9 * torch.eye(len(information))).argmax(1)[1:].double(),
                symptom="two variables are each other's parent; the rest hangs in the air",
                cure="only edges that reach a new variable",
            ),
            Bug(
                "tree-lightest",
                "Minimises the weight, as a spanning tree of distances would.",
                lambda information: parents_of_tree(-information),
                symptom="the tree of the weakest dependences",
                cure="information is to be kept, not avoided",
            ),
        ),
    ),
)

SLIPS = {
    "markov-always": "Every sequence taken for a Markov chain.",
    "network-parents-forgotten": "A child drawn from its marginal instead of given its parents.",
    "tree-counts-all-pairs": "The information of all pairs subtracted, not of the d - 1 edges of a tree.",
    "naive-bayes-fills-in": "A missing pixel replaced by a guess, where its factor should simply be left out.",
    "missing-as-zero": "A missing value read as a zero.",
    "lda-no-offset": "The log-odds of two Gaussians without their constant.",
    "posterior-joint": "The joint p(x, y) taken for the posterior: not divided by the evidence.",
    "logistic-gradient-sign": "(p - y)(1, x) for the gradient of log p: that is the gradient of the loss.",
    "xor-solved": "Exclusive or thought to be within reach of linear log-odds.",
}
