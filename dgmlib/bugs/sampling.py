"""Wrong variants of `dgmlib.sampling` (chapter 01)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import subject
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
    subject(
        "inverse-cdf",
        inverse_cdf,
        ((lambda x: 1 - torch.exp(-2 * x), UNIFORMS, 0.0, 40.0),),
        {
            "E0-02": lambda cdf, u, low, high: u,
            "inverse-cdf-survival": _survival,
            "inverse-cdf-forward": lambda cdf, u, low, high: cdf(u),
        },
    ),
    subject(
        "categorical",
        categorical_from_uniforms,
        ((_t(0.1, 0.0, 0.35, 0.15, 0.4), UNIFORMS),),
        {
            "slices-rounded-up": lambda probs, u: categorical_from_uniforms(probs, u) + 1,
            "categorical-unsorted-edges": lambda probs, u: (probs <= u[:, None]).sum(1).clamp(max=len(probs) - 1),
        },
    ),
    subject(
        "box-muller",
        box_muller,
        ((PAIRS,),),
        {
            "box-muller-no-root": lambda u: box_muller(u) * (-2 * torch.log1p(-u[:, :1])).sqrt(),
            "box-muller-half": lambda u: box_muller(u) / math.sqrt(2),
            "box-muller-half-turn": lambda u: box_muller(torch.stack([u[:, 0], u[:, 1] / 2], 1)),
        },
    ),
    subject(
        "rejection",
        keep_probability,
        ((NARROW.log_prob, WIDE, math.log(3.0), POINTS),),
        {
            "rejection-keeps-all": lambda f, q, log_bound, x: keep_probability(f, q, 0.0, x).clamp(max=1),
            "rejection-no-proposal": lambda f, q, log_bound, x: (f(x) - log_bound).exp(),
            "rejection-inverted": lambda f, q, log_bound, x: (1 / keep_probability(f, q, log_bound, x)).clamp(max=1),
        },
        of=rejection,
    ),
    subject(
        "metropolis-kernel",
        metropolis_kernel,
        ((WEIGHTS, PROPOSAL), (_t(3.0, 1.0), _t((0.5, 0.5), (0.9, 0.1)))),
        {
            "metropolis-no-proposal-ratio": _no_proposal_ratio,
            "metropolis-upside-down": _upside_down,
            "metropolis-rejects-lost": _rejects_lost,
        },
    ),
    subject(
        "bridge-mass",
        bridge_mass,
        ((2.0, 2.0), (2.0, 5.0), (1.0, 20.0)),
        {
            "bridge-one-side": lambda half_gap, lipschitz: bridge_mass(half_gap, lipschitz) / 2,
            "bridge-whole-gap": lambda half_gap, lipschitz: bridge_mass(2 * half_gap, lipschitz),
            "bridge-inverted": lambda half_gap, lipschitz: bridge_mass(lipschitz, half_gap),
        },
    ),
)
