"""Wrong variants of `dgmlib.optim` (chapter 02)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.optim import adam_step, best_momentum, contraction, product_flow, sgd_step, sgd_variance


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
    Subject(
        "momentum-step",
        _sgd,
        ((THETA, GRADIENT, VELOCITY),),
        (
            Bug(
                "momentum-averaged",
                "The velocity as a running mean, (1 - momentum) times the gradient: a ten times shorter step at 0.9.",
                lambda x, g, v: (x - 0.1 * (0.9 * v + 0.1 * g), 0.9 * v + 0.1 * g),
                "needs a ten times larger step than the books say",
            ),
            Bug(
                "momentum-late",
                "The velocity before this gradient has entered it moves the parameters.",
                lambda x, g, v: (x - 0.1 * v, 0.9 * v + g),
                "the first step does nothing; diverges earlier",
            ),
            Bug(
                "momentum-ascent",
                "Plus for minus: the loss is climbed.",
                lambda x, g, v: (x + 0.1 * (0.9 * v + g), 0.9 * v + g),
                "the loss explodes",
            ),
            Bug("momentum-nesterov", "Nesterov's variant where the heavy ball was meant.", _nesterov),
        ),
    ),
    Subject(
        "adam-step",
        _adam,
        ((THETA, GRADIENT, MOMENTS, 3),),
        (
            Bug(
                "adam-no-correction",
                "The means are used before they have filled: m is 10 % of the gradient, the root of v 3 % of its size.",
                lambda *a: _adam_parts(*a, correct=False),
                "first steps three times too long",
                "divide by 1 - beta^t",
            ),
            Bug(
                "adam-late-correction",
                "t off by one in the bias correction.",
                lambda *a: _adam_parts(*a, late=1),
                "the first step is a quarter short",
            ),
            Bug(
                "adam-eps-inside",
                "eps under the root: with 1e-8 there, gradients below 1e-4 are damped.",
                lambda *a: _adam_parts(*a, inside=True),
            ),
            Bug(
                "adam-no-root",
                "Divided by the mean square, not by its root: the step grows as the gradient shrinks.",
                lambda *a: _adam_parts(*a, root=False),
                "explodes near a minimum",
            ),
            Bug(
                "adam-decay-in-gradient",
                "Weight decay added to the gradient, which then divides it by its own size.",
                lambda *a: _adam_parts(*a, coupled=True),
                "weights with large gradients are hardly decayed",
                "theta <- (1 - step_size decay) theta, apart from the gradient (AdamW)",
            ),
        ),
    ),
    Subject(
        "momentum-contraction",
        contraction,
        ((CURVATURE, 0.3, 0.5), (CURVATURE, 0.2, 0.0)),
        (
            Bug(
                "contraction-of-plain-descent",
                "|1 - step_size curvature|, momentum or not.",
                lambda c, h, m: (1 - h * c).abs(),
            ),
            Bug(
                "contraction-momentum-for-root",
                "momentum for its square root where the roots are complex: twice too fast.",
                lambda c, h, m: torch.where((1 + m - h * c) ** 2 > 4 * m, contraction(c, h, m), m),
            ),
            Bug(
                "contraction-signed",
                "1 - step_size curvature without the modulus: seems to converge ever faster as the step grows.",
                lambda c, h, m: torch.where(h * c > 1 + m, -contraction(c, h, m), contraction(c, h, m)),
                "negative 'rates'",
            ),
        ),
    ),
    Subject(
        "best-momentum",
        best_momentum,
        ((1.0, 9.0), (0.5, 50.0)),
        (
            Bug(
                "best-momentum-no-root",
                "The condition number where its square root stands: 0.64 for 0.25 at a condition of 9.",
                lambda low, high: (4 / (math.sqrt(low) + math.sqrt(high)) ** 2, ((high - low) / (high + low)) ** 2),
            ),
            Bug(
                "best-momentum-plain-step",
                "The best step of plain descent, 2 / (low + high), kept with momentum.",
                lambda low, high: (2 / (low + high), best_momentum(low, high)[1]),
            ),
            Bug(
                "best-momentum-unsquared",
                "The contraction reported as the momentum, of which it is the root.",
                lambda low, high: (best_momentum(low, high)[0], math.sqrt(best_momentum(low, high)[1])),
            ),
        ),
    ),
    Subject(
        "sgd-variance",
        sgd_variance,
        ((CURVATURE, 0.2, 0.5), (CURVATURE, 0.1, 2.0, 0.9)),
        (
            Bug(
                "sgd-variance-small-step",
                "step_size noise_var / (2 curvature (1 - momentum)): the limit of small steps, used for any.",
                lambda c, h, v, m=0.0: h * v / (2 * c * (1 - m)),
                "the noise of the steepest direction is underrated",
            ),
            Bug(
                "sgd-variance-one-step",
                "step_size^2 noise_var, the noise of one step, as if the past were forgotten.",
                lambda c, h, v, m=0.0: torch.full_like(c, h * h * v),
            ),
            Bug(
                "sgd-variance-no-momentum",
                "Momentum taken to smooth the noise away for free: it multiplies the variance by about 1 / (1 - m).",
                lambda c, h, v, m=0.5: h * v / (c * (2 - h * c)) * (1 - m),
            ),
        ),
    ),
    Subject(
        "product-flow",
        product_flow,
        ((0.01, 1.5, _t(0.0, 0.5, 1.0, 3.0)),),
        (
            Bug(
                "product-flow-half-rate",
                "e^(-s t): the rate of one factor, where both move.",
                lambda u, s, t: product_flow(u, s, t / 2),
            ),
            Bug(
                "product-flow-linear",
                "s - (s - u) e^(-s t): a single weight learning the same target leaves its start at full speed.",
                lambda u, s, t: s - (s - u) * torch.exp(-s * t),
                "no plateau",
            ),
        ),
    ),
)

SLIPS = {
    "descent-stable-to-one": "Descent is said to diverge beyond 1 / curvature: that is beyond 2 / curvature.",
    "descent-by-the-steepest": "The step 1 / largest curvature reported as the fastest.",
    "adam-first-step-scales": "Adam's first step is expected to grow with the gradient.",
    "saddle-for-minimum": "A point without gradient is taken for a minimum.",
}
