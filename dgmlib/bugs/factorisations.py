"""Wrong variants of `dgmlib.factorisations` (chapter 01)."""

import itertools

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
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

CHAPTER = "01"

EARLIER = [tuple(range(i)) for i in range(6)]
CHAIN = MarkovChain(f64(0.3, 0.7), f64((0.9, 0.1), (0.4, 0.6)), 4)
WORDS = bit_states(4).long()
GRAPH = [(), (), (0, 1), (2,), (2,)]
NETWORK = BayesianNetwork(
    GRAPH, [f64(0.3)[0], f64(0.6)[0], f64((0.1, 0.7), (0.8, 0.2)), f64(0.25, 0.9), f64(0.6, 0.05)]
)
UNEVEN = DiscreteLaw([0.1, 0.02, 0.2, 0.08, 0.05, 0.25, 0.12, 0.18])
PAIRS = f64((0.0, 5.0, 1.0, 4.0), (5.0, 0.0, 3.0, 2.0), (1.0, 3.0, 0.0, 6.0), (4.0, 2.0, 6.0, 0.0))


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


def parents_of_tree(information: Tensor) -> Tensor:
    """The parent of each variable but the root, as numbers."""
    return torch.tensor([family[0] for family in best_tree(information)[1:]]).double()


SUBJECTS = (
    subject(
        "parameter-count",
        parameter_count,
        ((EARLIER, 3), ([()] * 5, 4), ([(), (0,), (1,), (0, 2)], 3)),
        {
            "count-no-sum-to-one": edit("(levels - 1) * levels ** len(family)", "levels ** (len(family) + 1)"),
            "count-states-times-parents": edit("levels ** len(family)", "max(1, levels * len(family))"),
            "E3-003": edit("(levels - 1) * levels **", "(levels - 2) * (levels - 1) **"),
        },
    ),
    subject(
        "chain-rule",
        chain_rule,
        ((UNEVEN, (0, 1, 2)), (UNEVEN, (2, 0, 1))),
        {
            "chain-rule-marginals": lambda law, order: torch.stack(
                [law.marginal([i]).log_prob(law.states[:, [i]]) for i in order]
            ),
            "chain-rule-order-ignored": edit("    prefixes = ", "    order = sorted(order)\n    prefixes = "),
        },
    ),
    subject(
        "conditional-information",
        conditional_information,
        ((UNEVEN, [0], [1], [2]), (UNEVEN, [0], [2], [1]), (UNEVEN, [0], [1], [])),
        {
            "information-unconditional": lambda law, a, b, given=(): law.mutual_information(a, b),
            "information-no-h-of-c": lambda law, a, b, given=(): (
                conditional_information(law, a, b, given) + (law.marginal(given).entropy() if len(given) else 0)
            ),
        },
    ),
    subject(
        "markov-log-prob",
        MarkovChain.log_prob,
        ((CHAIN, WORDS),),
        {
            "markov-no-start": edit(
                "self.initial[tuple(x[:, : self.order].mT)].log()", "torch.zeros(1, dtype=self.initial.dtype)"
            ),
            "markov-transposed": edit("t + 1].mT", "t + 1].flip(1).mT"),
            "markov-stationary-start": lambda chain, x: _markov(
                chain, x, stationary(chain.transition), chain.transition
            ),
        },
    ),
    subject(
        "network-log-prob",
        BayesianNetwork.log_prob,
        ((NETWORK, bit_states(5)),),
        {
            "network-parents-exchanged": edit("_place(x, family)", "_place(x, family[::-1])"),
            "network-ones-only": edit("torch.where(x[:, i] == 1, p, 1 - p)", "p"),
        },
    ),
    subject(
        "d-separation",
        all_separations,
        ((GRAPH,), ([(), (0,), (1,), (2, 0)],)),
        {
            "collider-forgotten": edit(
                *("relevant = a | b | given", "relevant = set(range(len(parents)))"),
                *(
                    "itertools.permutations([i, *parents[i]], 2)",
                    "[pair for j in parents[i] for pair in ((i, j), (j, i))]",
                ),
            ),
            "moral-everything": edit("relevant = a | b | given", "relevant = set(range(len(parents)))"),
        },
        of=d_separated,
    ),
    subject(
        "best-tree",
        parents_of_tree,
        ((PAIRS,),),
        {
            "tree-star": lambda information: torch.zeros(len(information) - 1, dtype=torch.float64),
            "tree-best-partner": lambda information: (
                (information - 1e9 * torch.eye(len(information))).argmax(1)[1:].double()
            ),
            "tree-lightest": lambda information: parents_of_tree(-information),
        },
        of=best_tree,
    ),
)
