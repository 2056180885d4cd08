"""Wrong variants of `dgmlib.factorisations` (chapter 01)."""

import itertools

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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
                name="rows counted in full",
                symptom="one number too many for each row of each table",
                place="the number of free values in a row",
                cure="(k - 1) k^m",
            ),
            Bug(
                "count-states-times-parents",
                "k m for k^m: a table has a row for each combination of its parents.",
                lambda parents, levels=2: sum((levels - 1) * max(1, levels * len(family)) for family in parents),
                name="k m for k^m",
                symptom="a table of d variables would be affordable",
                place="the number of rows of a table",
                cure="(k - 1) k^m: one row for each combination of the m parents",
            ),
            Bug(
                "E3-003",
                "255 levels for 256: the levels are 0 to 255.",
                lambda parents, levels: parameter_count(parents, levels - 1),
                name="255 levels",
                symptom="16,581,375 colours",
                place="the number of levels, counted from zero",
                cure="count the zero: 0 to 255 are 256 levels, and 256^3 = 16,777,216 colours",
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
                name="marginals multiplied",
                symptom="right for independent variables only",
                place="what each factor is conditioned on",
                cure="condition on what came before: prod p(x_i | x_<i)",
            ),
            Bug(
                "chain-rule-order-ignored",
                "Conditions in the natural order whatever order was asked for.",
                lambda law, order: chain_rule(law, sorted(order)),
                name="natural order throughout",
                symptom="right in sum, each factor wrong",
                place="the variables before i, in this order",
                cure="condition on the variables before it in the order that was asked for",
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
                name="the third group not seen",
                symptom="colliders look independent, chains dependent",
                place="what is given",
                cure="H(ac) + H(bc) - H(abc) - H(c)",
            ),
            Bug(
                "information-no-h-of-c",
                "Forgets the last entropy, H(c).",
                lambda law, a, b, given=(): (
                    conditional_information(law, a, b, given) + (law.marginal(given).entropy() if len(given) else 0)
                ),
                name="H(c) forgotten",
                symptom="not zero for variables independent given c",
                place="the last of the four entropies",
                cure="subtract H(c): H(ac) + H(bc) - H(abc) - H(c)",
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
                name="first symbol free",
                symptom="sums to k over all sequences",
                place="the factor of the first symbol",
                cure="add log p(x_1)",
            ),
            Bug(
                "markov-transposed",
                "Reads the table the wrong way round: p(before | after).",
                lambda chain, x: _markov(chain, x, chain.initial, chain.transition.mT),
                name="table transposed",
                symptom="right for symmetric tables",
                place="the axes of the table",
                cure="rows are where one comes from: log transition[before, after]",
            ),
            Bug(
                "markov-stationary-start",
                "Starts in the stationary law, whatever the first symbol's law is.",
                lambda chain, x: _markov(chain, x, stationary(chain.transition), chain.transition),
                name="stationary start",
                symptom="right for long sequences, wrong at their beginning",
                place="the law of the first symbol",
                cure="use the chain's own initial law, initial[x_1]",
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
                name="two parents exchanged",
                symptom="right for symmetric tables",
                place="the order of a table's axes",
                cure="index the table in the order in which the parents are listed",
            ),
            Bug(
                "network-ones-only",
                "Uses p(x_i = 1) whatever x_i is.",
                _ones_only,
                name="zeros scored as ones",
                symptom="does not sum to one",
                place="the value of the child",
                cure="p for a one, 1 - p for a zero",
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
                name="connectivity without colliders",
                symptom="rain and burst pipes cause each other",
                place="what happens at a common child",
                cure="keep only ancestors of what is asked or seen, then marry parents, then cut at what is seen",
            ),
            Bug(
                "moral-everything",
                "Marries the parents of every child, of those too of which nothing has been seen.",
                _answers(_moral_everything),
                name="all parents married",
                symptom="no two causes of one effect are ever independent",
                place="which nodes remain before marrying",
                cure="drop first what is no ancestor of a, b or the seen, then marry parents",
            ),
        ),
        of=d_separated,
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
                name="everybody joined to the root",
                symptom="a tree, though not the heaviest",
                place="the end of each new edge that lies in the tree",
                cure="take the heaviest edge from anyone reached to anyone new",
            ),
            Bug(
                "tree-best-partner",
                "Gives each variable its best partner, without asking whether that closes a cycle.",
                lambda information: (information - 1e9 * torch.eye(len(information))).argmax(1)[1:].double(),
                name="best partners, cycles or not",
                symptom="two variables are each other's parent; the rest hangs in the air",
                place="the condition on the new edge",
                cure="only edges that lead from a reached variable to a new one",
            ),
            Bug(
                "tree-lightest",
                "Minimises the weight, as a spanning tree of distances would.",
                lambda information: parents_of_tree(-information),
                name="lightest tree",
                symptom="the tree of the weakest dependences",
                place="the sign of the weights",
                cure="take the largest mutual information: it is to be kept, not avoided",
            ),
        ),
        of=best_tree,
    ),
)

SLIPS = {
    "markov-always": Slip(
        "Every sequence taken for a Markov chain.",
        name="every sequence is Markov",
        holds="a chain of order one holds only if x_{t+1} and x_{<t} are independent given x_t",
        misleads="pairs of neighbours fit perfectly, longer stretches do not",
    ),
    "network-parents-forgotten": Slip(
        "A child drawn from its marginal instead of given its parents.",
        name="child drawn from its marginal",
        holds="draw x_i from p(x_i | parents), parents first",
        misleads="single frequencies come out right, pairs do not",
    ),
    "tree-counts-all-pairs": Slip(
        "The information of all pairs subtracted, not of the d - 1 edges of a tree.",
        name="all pairs subtracted",
        holds="KL(p || tree) = sum of entropies - H(p) - the informations of the d - 1 edges",
        misleads="with two variables, which have one pair",
    ),
    "naive-bayes-fills-in": Slip(
        "A missing pixel replaced by a guess, where its factor should simply be left out.",
        name="a missing pixel guessed",
        holds="leave its factor out: summing over the pixel gives 1",
        misleads="a guess counts as evidence and makes the class too sure",
    ),
    "missing-as-zero": Slip(
        "A missing value read as a zero.",
        name="missing read as zero",
        holds="sum over what was not seen",
        misleads="where zeros are common, so that few notice",
    ),
    "lda-no-offset": Slip(
        "The log-odds of two Gaussians without their constant.",
        name="log-odds without the constant",
        holds="the offset holds -(m_1^T S^{-1} m_1 - m_0^T S^{-1} m_0)/2 + log(pi_1/pi_0)",
        misleads="for classes of equal size placed symmetrically about the origin",
    ),
    "posterior-joint": Slip(
        "The joint p(x, y) taken for the posterior: not divided by the evidence.",
        name="joint for posterior",
        holds="divide by the evidence p(x), the sum of the joint over y",
        misleads="the arg max is the same",
    ),
    "logistic-gradient-sign": Slip(
        "(p - y)(1, x) for the gradient of log p: that is the gradient of the loss.",
        name="gradient of the loss",
        holds="the gradient of log p is (y - p)(1, x)",
        misleads="with descent and ascent mixed, where two signs cancel",
    ),
    "xor-solved": Slip(
        "Exclusive or thought to be within reach of linear log-odds.",
        name="a line solves exclusive or",
        holds="no linear log-odds separates it: a product feature or a hidden layer is needed",
        misleads="three of four points can be right",
    ),
}
