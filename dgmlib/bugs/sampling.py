"""Wrong variants of `dgmlib.sampling` (chapter 01)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.sampling import box_muller, bridge_mass, categorical_from_uniforms, inverse_cdf, metropolis_kernel
from dgmlib.worlds import GaussianMixture


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


PROPOSAL = _t((0.2, 0.5, 0.3, 0.0), (0.1, 0.1, 0.4, 0.4), (0.3, 0.3, 0.3, 0.1), (0.0, 0.6, 0.2, 0.2))
WEIGHTS = _t(1.0, 2.0, 5.0, 0.5)
UNIFORMS = _t(0.01, 0.2, 0.45, 0.7, 0.98)
PAIRS = _t((0.3, 0.1), (0.8, 0.65), (0.05, 0.9))
NARROW = GaussianMixture([0.5, 0.5], [[-1.0], [0.5]], [[[0.09]], [[0.25]]])
WIDE = GaussianMixture([1.0], [[0.0]], [[[1.44]]])
POINTS = _t((-1.2,), (-0.9,), (0.1,), (0.6,), (2.0,))


def keep_probability(log_target, proposal, log_bound: float, x: Tensor) -> Tensor:
    """The chance that rejection sampling keeps a proposal `x`: f(x) / (M q(x))."""
    return (log_target(x) - proposal.log_prob(x) - log_bound).exp()


def _metropolis(weights: Tensor, proposal: Tensor, ratio: Tensor, stay: bool = True) -> Tensor:
    moves = proposal * ratio.clamp(max=1)
    moves = moves - moves.diagonal().diag()
    return moves + (1 - moves.sum(1)).diag() if stay else moves + proposal.diagonal().diag()


def _ratio(weights: Tensor, proposal: Tensor) -> Tensor:
    flow = weights[:, None] * proposal
    return torch.where(flow > 0, flow.mT / flow, 0.0)


def _no_proposal_ratio(weights: Tensor, proposal: Tensor) -> Tensor:
    return _metropolis(weights, proposal, weights / weights[:, None])


def _upside_down(weights: Tensor, proposal: Tensor) -> Tensor:
    ratio = _ratio(weights, proposal)
    return _metropolis(weights, proposal, torch.where(ratio > 0, 1 / ratio, 0.0))


def _rejects_lost(weights: Tensor, proposal: Tensor) -> Tensor:
    moves = _metropolis(weights, proposal, _ratio(weights, proposal), stay=False)
    return moves / moves.sum(1, keepdim=True)


def _survival(cdf, u: Tensor, low: float, high: float) -> Tensor:
    return inverse_cdf(cdf, 1 - u, low, high)


SUBJECTS = (
    Subject(
        name="inverse-cdf",
        right=inverse_cdf,
        probes=((lambda x: 1 - torch.exp(-2 * x), UNIFORMS, 0.0, 40.0),),
        bugs=(
            Bug(
                "E0-02",
                "Feeds inputs to p and takes them for samples: the u come out as they went in.",
                lambda cdf, u, low, high: u,
                symptom="samples have the law of the inputs, whatever p says",
                cure="F^{-1}(u): randomness in, x out",
            ),
            Bug(
                "inverse-cdf-survival",
                "Inverts 1 - F. As good when u is fresh and random; not when the same u must give the same draw.",
                _survival,
                symptom="coupled samples run in opposite directions",
                cure="the smallest x with F(x) >= u",
            ),
            Bug(
                "inverse-cdf-forward",
                "Applies F where its inverse is meant.",
                lambda cdf, u, low, high: cdf(u),
                symptom="all samples lie in [0, 1]",
                cure="solve F(x) = u for x",
            ),
        ),
    ),
    Subject(
        name="categorical",
        right=categorical_from_uniforms,
        probes=((_t(0.1, 0.0, 0.35, 0.15, 0.4), UNIFORMS),),
        bugs=(
            Bug(
                "slices-rounded-up",
                "Counts from one: every draw is the next symbol.",
                lambda probs, u: categorical_from_uniforms(probs, u) + 1,
                symptom="index out of range, once in a while",
                cure="the number of slices that end at or before u",
            ),
            Bug(
                "categorical-unsorted-edges",
                "Compares u with the probabilities themselves, not with their running sum.",
                lambda probs, u: (probs <= u[:, None]).sum(1).clamp(max=len(probs) - 1),
                symptom="right for one state, wrong frequencies otherwise",
                cure="cumsum first",
            ),
        ),
    ),
    Subject(
        name="box-muller",
        right=box_muller,
        probes=((PAIRS,),),
        bugs=(
            Bug(
                "box-muller-no-root",
                "Takes -2 log(1 - u) for the radius: it is its square.",
                lambda u: box_muller(u) * (-2 * torch.log1p(-u[:, :1])).sqrt(),
                symptom="the tails are those of an exponential law",
                cure="the radius is a square root",
            ),
            Bug(
                "box-muller-half",
                "Forgets the 2 under the root.",
                lambda u: box_muller(u) / math.sqrt(2),
                symptom="variance one half",
                cure="P(R^2 > s) = exp(-s / 2)",
            ),
            Bug(
                "box-muller-half-turn",
                "Lets the angle run over half a circle.",
                lambda u: box_muller(torch.stack([u[:, 0], u[:, 1] / 2], 1)),
                symptom="the second number is never negative",
                cure="2 pi u",
            ),
        ),
    ),
    Subject(
        name="rejection",
        right=keep_probability,
        probes=((NARROW.log_prob, WIDE, math.log(3.0), POINTS),),
        bugs=(
            Bug(
                "rejection-keeps-all",
                "Compares with min(1, f/q): M is forgotten. Peaks of f above q are cut off, the rest is right.",
                lambda f, q, log_bound, x: keep_probability(f, q, 0.0, x).clamp(max=1),
                symptom="samples follow min(f, q)",
                cure="divide by M >= max f/q",
            ),
            Bug(
                "rejection-no-proposal",
                "Keeps with probability f/M: right for a flat proposal only.",
                lambda f, q, log_bound, x: (f(x) - log_bound).exp(),
                symptom="samples follow f q: the middle is visited twice over",
                cure="f / (M q)",
            ),
            Bug(
                "rejection-inverted",
                "Keeps what the target does not want: M q / f.",
                lambda f, q, log_bound, x: (1 / keep_probability(f, q, log_bound, x)).clamp(max=1),
                symptom="everything is kept",
                cure="f / (M q)",
            ),
        ),
    ),
    Subject(
        name="metropolis-kernel",
        right=metropolis_kernel,
        probes=((WEIGHTS, PROPOSAL), (_t(3.0, 1.0), _t((0.5, 0.5), (0.9, 0.1)))),
        bugs=(
            Bug(
                "metropolis-no-proposal-ratio",
                "Metropolis for an asymmetric proposal, without Hastings' factor q(x|x')/q(x'|x).",
                _no_proposal_ratio,
                symptom="walkers gather where the proposal likes to go",
                cure="p(x') q(x|x') / (p(x) q(x'|x))",
            ),
            Bug(
                "metropolis-upside-down",
                "The ratio is inverted: prefers to go where p is small.",
                _upside_down,
                symptom="the walk avoids the modes",
                cure="the new state stands in the numerator",
            ),
            Bug(
                "metropolis-rejects-lost",
                "Proposes until something is accepted and records only moves. A refused step counts: one stays.",
                _rejects_lost,
                symptom="too little time in the modes",
                cure="write the old state down again",
            ),
        ),
    ),
    Subject(
        name="bridge-mass",
        right=bridge_mass,
        probes=((2.0, 2.0), (2.0, 5.0), (1.0, 20.0)),
        bugs=(
            Bug(
                "bridge-one-side",
                "Phi(a/L) - 1/2: from the middle to one island only.",
                lambda half_gap, lipschitz: bridge_mass(half_gap, lipschitz) / 2,
                symptom="half of the bridge",
                cure="2 Phi(a/L) - 1",
            ),
            Bug(
                "bridge-whole-gap",
                "Puts the whole gap 2a where half of it belongs.",
                lambda half_gap, lipschitz: bridge_mass(2 * half_gap, lipschitz),
                symptom="a bound that a clipped line violates",
                cure="the islands end at -a and a",
            ),
            Bug(
                "bridge-inverted",
                "L/a for a/L: steeper maps would spill more.",
                lambda half_gap, lipschitz: bridge_mass(lipschitz, half_gap),
                symptom="grows with the slope",
                cure="a / L",
            ),
        ),
    ),
)

SLIPS = {
    "product-of-dependent-events": "P(A) P(B) for P(A and B) of events that are not independent.",
    "bayes-prior-forgotten": "A posterior from the likelihood alone, as if all causes were equally frequent.",
    "rejection-rate-unnormalised": "1/M for the share kept, when the target is not normalised.",
    "rejection-rate-one-dimension": "The acceptance rate of one coordinate quoted for all of them.",
    "rosenblatt-marginals": "Each coordinate sent through its own marginal CDF: a copula of nothing.",
    "metropolis-rate-half": "One of the two wedges in which a Gaussian walk is accepted.",
    "metropolis-accepts-all": "A random walk that never refuses: its variance grows for ever.",
    "pushforward-no-stretch": "The density of z carried over to x without the slope of the map.",
    "coupling-shuffled": "W_1 of two laws taken as the mean distance of unmatched draws.",
    "copula-independent": "Columns drawn each on its own: right marginals, no table.",
}
