"""Wrong variants of `dgmlib.sampling` (chapter 01)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
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

PROPOSAL = f64((0.2, 0.5, 0.3, 0.0), (0.1, 0.1, 0.4, 0.4), (0.3, 0.3, 0.3, 0.1), (0.0, 0.6, 0.2, 0.2))
WEIGHTS = f64(1.0, 2.0, 5.0, 0.5)
UNIFORMS = f64(0.01, 0.2, 0.45, 0.7, 0.98)
PAIRS = f64((0.3, 0.1), (0.8, 0.65), (0.05, 0.9))
NARROW = GaussianMixture([0.5, 0.5], [[-1.0], [0.5]], [[[0.09]], [[0.25]]])
WIDE = GaussianMixture([1.0], [[0.0]], [[[1.44]]])
POINTS = f64((-1.2,), (-0.9,), (0.1,), (0.6,), (2.0,))


def keep_probability(log_target, proposal, log_bound: float, x: Tensor) -> Tensor:
    """The chance that rejection sampling keeps a proposal `x`: f(x) / (M q(x))."""
    return (log_target(x) - proposal.log_prob(x) - log_bound).exp()


SUBJECTS = (
    subject(
        "inverse-cdf",
        inverse_cdf,
        ((lambda x: 1 - torch.exp(-2 * x), UNIFORMS, 0.0, 40.0),),
        {
            "E0-02": lambda cdf, u, low, high: u,
            "inverse-cdf-survival": edit("cdf(middle) >= u", "cdf(middle) >= 1 - u"),
            "inverse-cdf-forward": lambda cdf, u, low, high: cdf(u),
        },
    ),
    subject(
        "categorical",
        categorical_from_uniforms,
        ((f64(0.1, 0.0, 0.35, 0.15, 0.4), UNIFORMS),),
        {
            "slices-rounded-up": edit("right=True)", "right=True) + 1"),
            "categorical-unsorted-edges": lambda probs, u: (probs <= u[:, None]).sum(1).clamp(max=len(probs) - 1),
        },
    ),
    subject(
        "box-muller",
        box_muller,
        ((PAIRS,),),
        {
            "box-muller-no-root": edit(".sqrt()", ""),
            "box-muller-half": edit("-2 * torch", "-torch"),
            "box-muller-half-turn": edit("2 * math.pi", "math.pi"),
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
        ((WEIGHTS, PROPOSAL), (f64(3.0, 1.0), f64((0.5, 0.5), (0.9, 0.1)))),
        {
            "metropolis-no-proposal-ratio": edit(
                "torch.minimum(flow, flow.mT) / probs[:, None]", "proposal * (probs / probs[:, None]).clamp(max=1)"
            ),
            "metropolis-upside-down": edit(
                "torch.minimum(flow, flow.mT) / probs[:, None]",
                "proposal * torch.where(flow.mT > 0, flow / flow.mT, 0.0).clamp(max=1)",
            ),
            "metropolis-rejects-lost": edit(
                "return moves + (1 - moves.sum(1)).diag()",
                "moves = moves + proposal.diagonal().diag()\n    return moves / moves.sum(1, keepdim=True)",
            ),
        },
    ),
    subject(
        "bridge-mass",
        bridge_mass,
        ((2.0, 2.0), (2.0, 5.0), (1.0, 20.0)),
        {
            "bridge-one-side": edit("return math", "return 0.5 * math"),
            "bridge-whole-gap": edit("erf(half_gap", "erf(2 * half_gap"),
            "bridge-inverted": edit("half_gap / lipschitz /", "lipschitz / half_gap /"),
        },
    ),
)
