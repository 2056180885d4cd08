"""Wrong variants of `dgmlib.sampling` (chapter 01)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.sampling import (
    box_muller,
    bridge_mass,
    categorical_from_uniforms,
    inverse_cdf,
    metropolis_kernel,
    rejection,
)
from dgmlib.worlds import GaussianMixture

CHAPTER = "01"


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
                name="inputs taken for samples",
                symptom="samples have the law of the inputs, whatever p says",
                place="what is done with the uniform numbers",
                cure="send them through the inverse: x = F^{-1}(u)",
            ),
            Bug(
                "inverse-cdf-survival",
                "Inverts 1 - F. As good when u is fresh and random; not when the same u must give the same draw.",
                _survival,
                name="survival function inverted",
                symptom="coupled samples run in opposite directions",
                place="u or 1 - u",
                cure="the smallest x with F(x) >= u",
            ),
            Bug(
                "inverse-cdf-forward",
                "Applies F where its inverse is meant.",
                lambda cdf, u, low, high: cdf(u),
                name="F for its inverse",
                symptom="all samples lie in [0, 1]",
                place="the direction of the map",
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
                name="counted from one",
                symptom="index out of range, once in a while",
                place="the first index",
                cure="the number of slices that end at or before u, counted from zero",
            ),
            Bug(
                "categorical-unsorted-edges",
                "Compares u with the probabilities themselves, not with their running sum.",
                lambda probs, u: (probs <= u[:, None]).sum(1).clamp(max=len(probs) - 1),
                name="not accumulated",
                symptom="right for one state, wrong frequencies otherwise",
                place="the edges that u is compared with",
                cure="compare with cumsum(probs)",
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
                name="radius not rooted",
                symptom="the tails are those of an exponential law",
                place="the radius",
                cure="take the root: R = sqrt(-2 log(1 - u))",
            ),
            Bug(
                "box-muller-half",
                "Forgets the 2 under the root.",
                lambda u: box_muller(u) / math.sqrt(2),
                name="2 forgotten under the root",
                symptom="variance one half",
                place="the factor of the logarithm",
                cure="P(R^2 > s) = exp(-s / 2)",
            ),
            Bug(
                "box-muller-half-turn",
                "Lets the angle run over half a circle.",
                lambda u: box_muller(torch.stack([u[:, 0], u[:, 1] / 2], 1)),
                name="half a turn",
                symptom="the second number is never negative",
                place="the angle",
                cure="let it run over the whole circle: 2 pi u",
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
                name="M forgotten",
                symptom="samples follow min(f, q)",
                place="the bound in the denominator",
                cure="keep with probability f/(M q), M >= max f/q",
            ),
            Bug(
                "rejection-no-proposal",
                "Keeps with probability f/M: right for a flat proposal only.",
                lambda f, q, log_bound, x: (f(x) - log_bound).exp(),
                name="proposal forgotten",
                symptom="samples follow f q: the middle is visited twice over",
                place="the proposal's density in the denominator",
                cure="keep with probability f/(M q)",
            ),
            Bug(
                "rejection-inverted",
                "Keeps what the target does not want: M q / f.",
                lambda f, q, log_bound, x: (1 / keep_probability(f, q, log_bound, x)).clamp(max=1),
                name="ratio upside down",
                symptom="everything is kept",
                place="which density stands above",
                cure="keep with probability f/(M q)",
            ),
        ),
        of=rejection,
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
                name="proposals not balanced",
                symptom="walkers gather where the proposal likes to go",
                place="the ratio of the proposals",
                cure="p(x') q(x|x') / (p(x) q(x'|x))",
            ),
            Bug(
                "metropolis-upside-down",
                "The ratio is inverted: prefers to go where p is small.",
                _upside_down,
                name="ratio upside down",
                symptom="the walk avoids the modes",
                place="the numerator of the ratio",
                cure="the new state above: min(1, p(x') q(x|x')/(p(x) q(x'|x)))",
            ),
            Bug(
                "metropolis-rejects-lost",
                "Proposes until something is accepted and records only moves. A refused step counts: one stays.",
                _rejects_lost,
                name="refusals not recorded",
                symptom="too little time in the modes",
                place="what is written down after a refusal",
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
                name="one side only",
                symptom="half of the bridge",
                place="the two tails of the interval",
                cure="2 Phi(a/L) - 1",
            ),
            Bug(
                "bridge-whole-gap",
                "Puts the whole gap 2a where half of it belongs.",
                lambda half_gap, lipschitz: bridge_mass(2 * half_gap, lipschitz),
                name="the whole gap",
                symptom="a bound that a clipped line violates",
                place="the half-width of the gap",
                cure="a is half of the gap: the islands end at -a and a",
            ),
            Bug(
                "bridge-inverted",
                "L/a for a/L: steeper maps would spill more.",
                lambda half_gap, lipschitz: bridge_mass(lipschitz, half_gap),
                name="ratio upside down",
                symptom="grows with the slope",
                place="the argument of Phi",
                cure="a / L: steeper maps spill less",
            ),
        ),
    ),
)

SLIPS = {
    "product-of-dependent-events": Slip(
        "P(A) P(B) for P(A and B) of events that are not independent.",
        name="dependence ignored",
        holds="P(A and B) = P(A) P(B | A)",
        misleads="for independent events, where it is right",
    ),
    "bayes-prior-forgotten": Slip(
        "A posterior from the likelihood alone, as if all causes were equally frequent.",
        name="prior forgotten",
        holds="posterior = likelihood times prior over evidence",
        misleads="with causes equally frequent",
    ),
    "rejection-rate-unnormalised": Slip(
        "1/M for the share kept, when the target is not normalised.",
        name="1/M as the share kept",
        holds="the share kept is Z/M, Z the integral of the target",
        misleads="for a normalised target",
    ),
    "rejection-rate-one-dimension": Slip(
        "The acceptance rate of one coordinate quoted for all of them.",
        name="one coordinate's rate for all",
        holds="the rate of d independent coordinates is the d-th power",
        misleads="in one dimension it is a good rate",
    ),
    "rosenblatt-marginals": Slip(
        "Each coordinate sent through its own marginal CDF: a copula of nothing.",
        name="each through its own CDF",
        holds="use the conditional CDFs, F(x_i | x_<i)",
        misleads="marginals come out uniform, and dependence stays",
    ),
    "metropolis-rate-half": Slip(
        "One of the two wedges in which a Gaussian walk is accepted.",
        name="one of two wedges",
        holds="a Gaussian walk is accepted in both: twice the angle",
        misleads="the value lies between 0 and 1 as well",
    ),
    "metropolis-accepts-all": Slip(
        "A random walk that never refuses: its variance grows for ever.",
        name="never refused",
        holds="refusals are what makes the target stationary",
        misleads="over few steps the spread looks right",
    ),
    "pushforward-no-stretch": Slip(
        "The density of z carried over to x without the slope of the map.",
        name="no stretch",
        holds="p(x) = p(z) |dz/dx|",
        misleads="for maps of slope one",
    ),
    "coupling-shuffled": Slip(
        "W_1 of two laws taken as the mean distance of unmatched draws.",
        name="draws not matched",
        holds="W_1 is the least mean distance: sort both samples first",
        misleads="for laws far apart on the line every pairing costs the same",
    ),
    "copula-independent": Slip(
        "Columns drawn each on its own: right marginals, no table.",
        name="columns drawn alone",
        holds="draw rows, or couple the columns by a copula",
        misleads="all marginals are right",
    ),
}
