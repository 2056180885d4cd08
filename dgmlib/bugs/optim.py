"""Wrong variants of `dgmlib.optim` (chapter 02)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import subject
from dgmlib.optim import adam_step, best_momentum, contraction, product_flow, sgd_step, sgd_variance

CHAPTER = "02"


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


THETA, GRADIENT, VELOCITY = _t(1.0, -2.0, 0.5), _t(0.3, 1.0, -0.7), _t(0.2, -0.4, 0.6)
MOMENTS = (_t(0.1, 0.5, -0.2), _t(0.2, 0.9, 0.05))
CURVATURE = _t(0.1, 1.0, 3.0, 7.0)


def _sgd(theta: Tensor, gradient: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    return sgd_step(theta, gradient, velocity, step_size=0.1, momentum=0.9)


def _adam(theta: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], t: int):
    return adam_step(theta, gradient, moments, t, step_size=0.1, eps=1e-3, weight_decay=0.2)


def _adam_parts(theta, gradient, moments, t, correct=True, late=0, inside=False, coupled=False, root=True):
    """The same step with its parts exchangeable."""
    if coupled:
        gradient = gradient + 0.2 * theta
    m, v = 0.9 * moments[0] + 0.1 * gradient, 0.999 * moments[1] + 0.001 * gradient**2
    m_hat, v_hat = (m / (1 - 0.9 ** (t + late)), v / (1 - 0.999 ** (t + late))) if correct else (m, v)
    scale = (v_hat + 1e-3).sqrt() if inside else (v_hat.sqrt() if root else v_hat) + 1e-3
    return theta * (1 if coupled else 0.98) - 0.1 * m_hat / scale, (m, v)


def _nesterov(theta: Tensor, gradient: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    velocity = 0.9 * velocity + gradient
    return theta - 0.1 * (gradient + 0.9 * velocity), velocity


SUBJECTS = (
    subject(
        "momentum-step",
        _sgd,
        ((THETA, GRADIENT, VELOCITY),),
        {
            "momentum-averaged": lambda x, g, v: (x - 0.1 * (0.9 * v + 0.1 * g), 0.9 * v + 0.1 * g),
            "momentum-late": lambda x, g, v: (x - 0.1 * v, 0.9 * v + g),
            "momentum-ascent": lambda x, g, v: (x + 0.1 * (0.9 * v + g), 0.9 * v + g),
            "momentum-nesterov": _nesterov,
        },
        of=sgd_step,
    ),
    subject(
        "adam-step",
        _adam,
        ((THETA, GRADIENT, MOMENTS, 3),),
        {
            "adam-no-correction": lambda *a: _adam_parts(*a, correct=False),
            "adam-late-correction": lambda *a: _adam_parts(*a, late=1),
            "adam-eps-inside": lambda *a: _adam_parts(*a, inside=True),
            "adam-no-root": lambda *a: _adam_parts(*a, root=False),
            "adam-decay-in-gradient": lambda *a: _adam_parts(*a, coupled=True),
        },
        of=adam_step,
    ),
    subject(
        "momentum-contraction",
        contraction,
        ((CURVATURE, 0.3, 0.5), (CURVATURE, 0.2, 0.0)),
        {
            "contraction-of-plain-descent": lambda c, h, m: (1 - h * c).abs(),
            "contraction-momentum-for-root": lambda c, h, m: torch.where(
                (1 + m - h * c) ** 2 > 4 * m, contraction(c, h, m), m
            ),
            "contraction-signed": lambda c, h, m: torch.where(
                h * c > 1 + m, -contraction(c, h, m), contraction(c, h, m)
            ),
        },
    ),
    subject(
        "best-momentum",
        best_momentum,
        ((1.0, 9.0), (0.5, 50.0)),
        {
            "best-momentum-no-root": lambda low, high: (
                4 / (math.sqrt(low) + math.sqrt(high)) ** 2,
                ((high - low) / (high + low)) ** 2,
            ),
            "best-momentum-plain-step": lambda low, high: (2 / (low + high), best_momentum(low, high)[1]),
            "best-momentum-unsquared": lambda low, high: (
                best_momentum(low, high)[0],
                math.sqrt(best_momentum(low, high)[1]),
            ),
        },
    ),
    subject(
        "sgd-variance",
        sgd_variance,
        ((CURVATURE, 0.2, 0.5), (CURVATURE, 0.1, 2.0, 0.9)),
        {
            "sgd-variance-small-step": lambda c, h, v, m=0.0: h * v / (2 * c * (1 - m)),
            "sgd-variance-one-step": lambda c, h, v, m=0.0: torch.full_like(c, h * h * v),
            "sgd-variance-no-momentum": lambda c, h, v, m=0.5: h * v / (c * (2 - h * c)) * (1 - m),
        },
    ),
    subject(
        "product-flow",
        product_flow,
        ((0.01, 1.5, _t(0.0, 0.5, 1.0, 3.0)),),
        {
            "product-flow-half-rate": lambda u, s, t: product_flow(u, s, t / 2),
            "product-flow-linear": lambda u, s, t: s - (s - u) * torch.exp(-s * t),
        },
    ),
)
