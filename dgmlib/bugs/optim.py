"""Wrong variants of `dgmlib.optim` (chapter 02)."""

import math

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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
    Subject(
        "momentum-step",
        _sgd,
        ((THETA, GRADIENT, VELOCITY),),
        (
            Bug(
                "momentum-averaged",
                "The velocity as a running mean, (1 - momentum) times the gradient: a ten times shorter step at 0.9.",
                lambda x, g, v: (x - 0.1 * (0.9 * v + 0.1 * g), 0.9 * v + 0.1 * g),
                name="velocity averaged",
                symptom="needs a ten times larger step than the books say",
                place="the factor in front of the gradient",
                cure="v = momentum v + gradient, with no factor 1 - momentum",
            ),
            Bug(
                "momentum-late",
                "The velocity before this gradient has entered it moves the parameters.",
                lambda x, g, v: (x - 0.1 * v, 0.9 * v + g),
                name="old velocity used",
                symptom="the first step does nothing; diverges earlier",
                place="the order of the two updates",
                cure="first v = momentum v + gradient, then theta - step_size v",
            ),
            Bug(
                "momentum-ascent",
                "Plus for minus: the loss is climbed.",
                lambda x, g, v: (x + 0.1 * (0.9 * v + g), 0.9 * v + g),
                name="uphill",
                symptom="the loss explodes",
                place="the sign of the step",
                cure="theta - step_size v",
            ),
            Bug(
                "momentum-nesterov",
                "Nesterov's variant where the heavy ball was meant.",
                _nesterov,
                name="Nesterov for the heavy ball",
                symptom="the first step is 1 + momentum times as long",
                place="the velocity in the step: with or without a look ahead",
                cure="theta - step_size v, with v = momentum v + gradient",
            ),
        ),
        of=sgd_step,
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
                name="means not corrected",
                symptom="first steps three times too long",
                place="the division by 1 - beta^t",
                cure="divide by 1 - beta^t",
            ),
            Bug(
                "adam-late-correction",
                "t off by one in the bias correction.",
                lambda *a: _adam_parts(*a, late=1),
                name="step counted from one too many",
                symptom="the first step is a quarter short",
                place="the t in 1 - beta^t",
                cure="count the first step as t = 1",
            ),
            Bug(
                "adam-eps-inside",
                "eps under the root: with 1e-8 there, gradients below 1e-4 are damped.",
                lambda *a: _adam_parts(*a, inside=True),
                name="eps under the root",
                symptom="training stalls where gradients fall below sqrt(eps)",
                place="the bracket under the root",
                cure="add eps after the root: sqrt(v) + eps",
            ),
            Bug(
                "adam-no-root",
                "Divided by the mean square, not by its root: the step grows as the gradient shrinks.",
                lambda *a: _adam_parts(*a, root=False),
                name="root not taken",
                symptom="explodes near a minimum",
                place="the denominator",
                cure="divide by the root: m/(sqrt(v) + eps)",
            ),
            Bug(
                "adam-decay-in-gradient",
                "Weight decay added to the gradient, which then divides it by its own size.",
                lambda *a: _adam_parts(*a, coupled=True),
                name="decay inside the gradient",
                symptom="weights with large gradients are hardly decayed",
                place="where the decay enters",
                cure="theta <- (1 - step_size decay) theta, apart from the gradient (AdamW)",
            ),
        ),
        of=adam_step,
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
                name="momentum ignored",
                symptom="the rate says divergence where momentum converges",
                place="the roots of the recursion with momentum",
                cure="the larger modulus of the roots of r^2 - (1 + momentum - step_size curvature) r + momentum",
            ),
            Bug(
                "contraction-momentum-for-root",
                "momentum for its square root where the roots are complex: twice too fast.",
                lambda c, h, m: torch.where((1 + m - h * c) ** 2 > 4 * m, contraction(c, h, m), m),
                name="root not taken",
                symptom="measured convergence is half as fast as claimed",
                place="the modulus of complex roots",
                cure="sqrt(momentum) where the roots are complex",
            ),
            Bug(
                "contraction-signed",
                "1 - step_size curvature without the modulus: seems to converge ever faster as the step grows.",
                lambda c, h, m: torch.where(h * c > 1 + m, -contraction(c, h, m), contraction(c, h, m)),
                name="no modulus",
                symptom="negative 'rates'",
                place="the sign of the root",
                cure="take the modulus: max |r|",
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
                name="condition not rooted",
                symptom="more momentum than is best, and slower at the end",
                place="the root of the condition number",
                cure="momentum = ((sqrt(high) - sqrt(low))/(sqrt(high) + sqrt(low)))^2",
            ),
            Bug(
                "best-momentum-plain-step",
                "The best step of plain descent, 2 / (low + high), kept with momentum.",
                lambda low, high: (2 / (low + high), best_momentum(low, high)[1]),
                name="step of plain descent",
                symptom="slower than the best pair; the step is too short",
                place="the step size",
                cure="step = 4/(sqrt(low) + sqrt(high))^2",
            ),
            Bug(
                "best-momentum-unsquared",
                "The contraction reported as the momentum, of which it is the root.",
                lambda low, high: (best_momentum(low, high)[0], math.sqrt(best_momentum(low, high)[1])),
                name="square forgotten",
                symptom="too much momentum: the iterates overshoot and turn",
                place="the power of the contraction",
                cure="momentum is the square of the contraction per step",
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
                name="limit of small steps",
                symptom="the noise of the steepest direction is underrated",
                place="the denominator",
                cure="keep the term in the step: without momentum step noise_var/(curvature (2 - step curvature))",
            ),
            Bug(
                "sgd-variance-one-step",
                "step_size^2 noise_var, the noise of one step, as if the past were forgotten.",
                lambda c, h, v, m=0.0: torch.full_like(c, h * h * v),
                name="the past forgotten",
                symptom="the variance does not depend on the curvature",
                place="the geometric sum over past steps",
                cure="sum the past: without momentum step noise_var/(curvature (2 - step curvature))",
            ),
            Bug(
                "sgd-variance-no-momentum",
                "Momentum taken to smooth the noise away for free: it multiplies the variance by about 1 / (1 - m).",
                lambda c, h, v, m=0.5: h * v / (c * (2 - h * c)) * (1 - m),
                name="momentum smooths for free",
                symptom="too small by about (1 - momentum)^2",
                place="the side on which 1 - momentum stands",
                cure="for small steps step noise_var/(2 curvature (1 - momentum)): momentum adds noise",
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
                name="rate of one factor",
                symptom="learns at half the measured speed",
                place="the exponent",
                cure="e^(-2 s t), as both factors move",
            ),
            Bug(
                "product-flow-linear",
                "s - (s - u) e^(-s t): a single weight learning the same target leaves its start at full speed.",
                lambda u, s, t: s - (s - u) * torch.exp(-s * t),
                name="one weight for two",
                symptom="no plateau",
                place="the equation of the flow",
                cure="du/dt = 2 u (s - u): slow near 0, which gives the plateau",
            ),
        ),
    ),
)

SLIPS = {
    "descent-stable-to-one": Slip(
        "Descent is said to diverge beyond 1 / curvature: that is beyond 2 / curvature.",
        name="unstable beyond 1/curvature",
        holds="descent converges for steps below 2/curvature",
        misleads="between the two it converges, with changing signs",
    ),
    "descent-by-the-steepest": Slip(
        "The step 1 / largest curvature reported as the fastest.",
        name="1/largest curvature is fastest",
        holds="the fastest single step is 2/(smallest + largest curvature)",
        misleads="with equal curvatures both solve in one step",
    ),
    "adam-first-step-scales": Slip(
        "Adam's first step is expected to grow with the gradient.",
        name="Adam's first step grows with the gradient",
        holds="after correction it is step_size times the gradient's sign, up to eps",
        misleads="the gradients of plain descent do scale",
    ),
    "saddle-for-minimum": Slip(
        "A point without gradient is taken for a minimum.",
        name="a flat point is a minimum",
        holds="look at the curvature: a saddle has a direction down",
        misleads="training stands still there for a long time",
    ),
}
