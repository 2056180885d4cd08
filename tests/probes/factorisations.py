"""Example calls of `dgmlib.factorisations`."""

import torch
from exact import f64, normal, rng

from dgmlib import factorisations as fac
from dgmlib.data import target
from dgmlib.worlds import DiscreteLaw

PARENTS = [(), (0,), (0, 1)]
LAW = DiscreteLaw([0.1, 0.02, 0.2, 0.08, 0.05, 0.25, 0.12, 0.18])
BITS, EVEN = (normal(8, 3) > 0).double(), torch.full((8,), 1 / 8, dtype=torch.float64)
TABLES = [f64(0.3)[0], f64(0.2, 0.7), f64((0.2, 0.7), (0.4, 0.9))]
NETWORK = fac.BayesianNetwork(PARENTS, TABLES)
INITIAL, TRANSITION = f64(0.3, 0.7), f64((0.9, 0.1), (0.4, 0.6))
CHAIN, WORDS = fac.MarkovChain(INITIAL, TRANSITION, 4), torch.randint(0, 2, (5, 4), generator=rng(0))
PLANE, POINTS = fac.CountedPlane(torch.ones(4, 4).double(), 2.0, 1.0), normal(5, 2).clamp(-1, 1)

CALLS = {
    "topological_order": (fac.topological_order, {"parents": PARENTS}),
    "parameter_count": (fac.parameter_count, {"parents": PARENTS, "levels": 2}),
    "d_separated": (fac.d_separated, {"parents": PARENTS, "a": {0}, "b": {1}, "given": {2}}),
    "chain_rule": (fac.chain_rule, {"law": LAW, "order": [0, 1, 2]}),
    "conditional_information": (fac.conditional_information, {"law": LAW, "a": [0], "b": [1], "given": [2]}),
    "pairwise_information": (fac.pairwise_information, {"x": BITS, "weights": EVEN, "smoothing": 0.1}),
    "best_tree": (fac.best_tree, {"information": f64((0.0, 1.0), (1.0, 0.0))}),
    "BayesianNetwork": (fac.BayesianNetwork, {"parents": PARENTS, "tables": TABLES}),
    "BayesianNetwork.log_prob": (NETWORK.log_prob, {"x": BITS}),
    "BayesianNetwork.sample": (NETWORK.sample, {"n": 3, "generator": rng(0)}),
    "MarkovChain": (fac.MarkovChain, {"initial": INITIAL, "transition": TRANSITION, "length": 4}),
    "MarkovChain.log_prob": (CHAIN.log_prob, {"x": WORDS}),
    "MarkovChain.sample": (CHAIN.sample, {"n": 3, "generator": rng(0)}),
    "mixture_from_uniforms": (
        fac.mixture_from_uniforms,
        {"mixture": target(), "u": torch.rand(5, 2, generator=rng(0), dtype=torch.float64)},
    ),
    "CountedPlane": (fac.CountedPlane, {"counts": torch.ones(4, 4).double(), "extent": 2.0, "smoothing": 1.0}),
    "CountedPlane.log_prob": (PLANE.log_prob, {"x": POINTS}),
    "CountedPlane.sample": (PLANE.sample, {"n": 3, "generator": rng(0)}),
}
