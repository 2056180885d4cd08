"""Wrong variants of `dgmlib.optim` (chapter 02)."""

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
from dgmlib.optim import adam_step, best_momentum, contraction, product_flow, sgd_step, sgd_variance

CHAPTER = "02"

THETA, GRADIENT, VELOCITY = f64(1.0, -2.0, 0.5), f64(0.3, 1.0, -0.7), f64(0.2, -0.4, 0.6)
MOMENTS = (f64(0.1, 0.5, -0.2), f64(0.2, 0.9, 0.05))
CURVATURE = f64(0.1, 1.0, 3.0, 7.0)


def _sgd(theta: Tensor, gradient: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    return sgd_step(theta, gradient, velocity, step_size=0.1, momentum=0.9)


def _adam(theta: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], t: int):
    return adam_step(theta, gradient, moments, t, step_size=0.1, eps=1e-3, weight_decay=0.2)


SUBJECTS = (
    subject(
        "momentum-step",
        _sgd,
        ((THETA, GRADIENT, VELOCITY),),
        {
            "momentum-averaged": edit("+ gradient", "+ (1 - momentum) * gradient"),
            "momentum-late": edit(
                *("    velocity = momentum * velocity + gradient\n", ""),
                *("velocity, velocity", "velocity, momentum * velocity + gradient"),
            ),
            "momentum-ascent": edit("theta - ", "theta + "),
            "momentum-nesterov": edit("* velocity, velocity", "* (gradient + momentum * velocity), velocity"),
        },
        of=sgd_step,
    ),
    subject(
        "adam-step",
        _adam,
        ((THETA, GRADIENT, MOMENTS, 3),),
        {
            "adam-no-correction": edit(" / (1 - beta1**t)", "", " / (1 - beta2**t)", ""),
            "adam-late-correction": edit("beta1**t", "beta1 ** (t + 1)", "beta2**t", "beta2 ** (t + 1)"),
            "adam-eps-inside": edit(".sqrt() + eps)", " + eps).sqrt()"),
            "adam-no-root": edit(".sqrt()", ""),
            "adam-decay-in-gradient": edit(
                *("    m = beta1", "    gradient = gradient + weight_decay * theta\n    m = beta1"),
                *("(1 - step_size * weight_decay) * theta", "theta"),
            ),
        },
        of=adam_step,
    ),
    subject(
        "momentum-contraction",
        contraction,
        ((CURVATURE, 0.3, 0.5), (CURVATURE, 0.2, 0.0)),
        {
            "contraction-of-plain-descent": lambda c, h, m: (1 - h * c).abs(),
            "contraction-momentum-for-root": edit("math.sqrt(momentum)", "momentum"),
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
            "best-momentum-no-root": edit("(b - a) / (b + a)", "(high - low) / (high + low)"),
            "best-momentum-plain-step": edit("4 / (a + b) ** 2", "2 / (low + high)"),
            "best-momentum-unsquared": edit("((b - a) / (b + a)) ** 2", "(b - a) / (b + a)"),
        },
    ),
    subject(
        "sgd-variance",
        sgd_variance,
        ((CURVATURE, 0.2, 0.5), (CURVATURE, 0.1, 2.0, 0.9)),
        {
            "sgd-variance-small-step": edit(
                "* (1 + momentum) / ((1 - momentum) * curvature * room)", "/ (2 * (1 - momentum) * curvature)"
            ),
            "sgd-variance-one-step": lambda c, h, v, m=0.0: torch.full_like(c, h * h * v),
            "sgd-variance-no-momentum": lambda c, h, v, m=0.5: h * v / (c * (2 - h * c)) * (1 - m),
        },
    ),
    subject(
        "product-flow",
        product_flow,
        ((0.01, 1.5, f64(0.0, 0.5, 1.0, 3.0)),),
        {
            "product-flow-half-rate": edit("-2 * target", "-target"),
            "product-flow-linear": lambda u, s, t: s - (s - u) * torch.exp(-s * t),
        },
    ),
)
