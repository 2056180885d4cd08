"""Wrong variants of `dgmlib.choices` (chapter 11)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import Bug, Subject
from dgmlib.choices import (
    bit_entropy,
    bit_score,
    gumbel_softmax,
    label_sum,
    leave_one_out,
    plane_gradient,
    relaxed_bits,
    straight_through,
    surrogate,
)


def _rows(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


LOGITS, BITS = _rows((0.8, -0.4, 1.5)), _rows((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0))
VALUES = _rows((-1.0, 2.0), (0.5, -0.3), (3.0, 0.7))
NOISE = _rows((0.3, -0.2, 1.1), (2.0, 0.1, -0.6))
BOUNDS = _rows((-20.0, -18.5, -25.0), (-17.0, -16.8, -16.9))

# --- subjects that are gradients ------------------------------------------------------------------------------------


def gradients(make, *inputs: Tensor) -> tuple[Tensor, ...]:
    """What autograd gives each input for the sum of `make(*inputs)`; 0 where nothing arrives."""
    with torch.enable_grad():
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        made = torch.autograd.grad(make(*leaves).sum(), leaves, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, made, strict=True))


def _surrogate_gradients(values: Tensor, log_q: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda v, q: surrogate(v, q, 0.5), values, log_q)


def _not_detached(values: Tensor, log_q: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda v, q: v + (v - 0.5) * q, values, log_q)


def _st_gradients(soft: Tensor) -> tuple[Tensor, ...]:
    hard = (soft > 0.5).to(soft.dtype)
    return straight_through(hard, soft), *gradients(lambda s: straight_through(hard, s).square(), soft)


def _st_missing(soft: Tensor) -> tuple[Tensor, ...]:
    hard = (soft > 0.5).to(soft.dtype)
    return hard, torch.zeros_like(soft)


def _st_soft(soft: Tensor) -> tuple[Tensor, ...]:
    return soft, *gradients(lambda s: s.square(), soft)


SUBJECTS = (
    Subject(
        "bit-score",
        bit_score,
        ((BITS, LOGITS),),
        (
            Bug(
                "bit-score-sign",
                "Probability minus bit: descent climbs.",
                lambda z, logits: logits.sigmoid() - z,
                "the objective falls at every step",
                "z - sigmoid(logits)",
            ),
            Bug(
                "bit-score-in-probability",
                "The derivative in the probability, used as that in the logit.",
                lambda z, logits: (z - logits.sigmoid()) / (logits.sigmoid() * (-logits).sigmoid()),
                "gradients explode for sure bits",
                "multiply by p (1 - p)",
            ),
        ),
    ),
    Subject(
        "leave-one-out",
        leave_one_out,
        ((VALUES,),),
        (
            Bug(
                "baseline-own-sample",
                "The mean of all draws, the judged one among them (visdial-rl #13 is of this family).",
                lambda values: values.mean(0).expand_as(values),
                "(K - 1)/K of the gradient: half of it at K = 2",
                "leave the draw out of its own baseline",
            ),
            Bug(
                "leave-one-out-divisor",
                "The others' sum divided by K.",
                lambda values: (values.sum(0) - values) / len(values),
                "unbiased still, and noisier than it need be",
                "divide by K - 1",
            ),
        ),
    ),
    Subject(
        "plane-gradient",
        plane_gradient,
        ((_rows((-1.0, 0.5, 2.0))[0], BITS, LOGITS[0], 0.3, _rows((0.7, -1.2, 0.4))[0]),),
        (
            Bug(
                "control-not-added-back",
                "The plane is subtracted from the values and its own gradient forgotten.",
                lambda values, z, logits, height, slope: (
                    plane_gradient(values, z, logits, height, slope) - slope * logits.sigmoid() * (1 - logits.sigmoid())
                ),
                "little variance, and the wrong mean",
                "add the gradient of what was subtracted",
            ),
            Bug(
                "control-not-centred",
                "The plane through the origin of z, its gradient that of the plane through the mean times nothing.",
                lambda values, z, logits, height, slope: (
                    (values - height - z @ slope)[:, None] * bit_score(z, logits) + slope
                ),
                "biased where sigmoid' is not 1",
                "slope times sigmoid'(logits)",
            ),
        ),
    ),
    Subject(
        "surrogate-gradient",
        _surrogate_gradients,
        ((VALUES, -VALUES.square() - 1),),
        (
            Bug(
                "surrogate-not-detached",
                "The advantage is left attached (fast_abs_rl #49): the values' own gradient is multiplied by log q.",
                _not_detached,
                "a gradient that grows with the number of latents",
                "detach values - baseline",
            ),
            Bug(
                "surrogate-sign",
                "The score-function term of a loss added to an objective.",
                lambda values, log_q: gradients(lambda v, q: 2 * v - surrogate(v, q, 0.5), values, log_q),
                "the encoder is driven away from good latents",
                "one sign for both terms",
            ),
        ),
    ),
    Subject(
        "gumbel-softmax",
        gumbel_softmax,
        ((LOGITS, NOISE, 0.4),),
        (
            Bug(
                "temperature-on-logits-only",
                "The noise is not divided by the temperature: at low ones it no longer matters.",
                lambda logits, gumbels, temperature: (logits / temperature + gumbels).softmax(-1),
                "the arg max is not a draw from softmax(logits)",
                "divide the sum",
            ),
            Bug(
                "temperature-multiplied",
                "Multiplied by the temperature.",
                lambda logits, gumbels, temperature: ((logits + gumbels) * temperature).softmax(-1),
                "softer as the temperature falls",
                "divide",
            ),
            Bug(
                "gumbel-missing",
                "A softmax of the logits and no draw at all.",
                lambda logits, gumbels, temperature: (logits / temperature).softmax(-1).expand_as(gumbels),
                "every sample is the same",
                "add Gumbel noise",
            ),
        ),
    ),
    Subject(
        "relaxed-bits",
        relaxed_bits,
        ((LOGITS, NOISE, 0.4),),
        (
            Bug(
                "relaxed-temperature-on-logits",
                "The logit alone is divided by the temperature.",
                lambda logits, logistic, temperature: (logits / temperature + logistic).sigmoid(),
                "one half is exceeded with the wrong probability",
                "divide the sum",
            ),
        ),
    ),
    Subject(
        "straight-through",
        _st_gradients,
        ((NOISE.sigmoid(),),),
        (
            Bug(
                "hard-without-straight-through",
                "The hard sample as it is: a step function has slope 0.",
                _st_missing,
                "the encoder's gradient is 0 and nothing complains",
                "hard + soft - soft.detach()",
            ),
            Bug(
                "straight-through-soft",
                "The relaxed sample in the forward pass too.",
                _st_soft,
                "the decoder never meets a code",
                "hard + soft - soft.detach()",
            ),
        ),
    ),
    Subject(
        "latent-bit-entropy",
        bit_entropy,
        ((LOGITS,),),
        (
            Bug(
                "bit-entropy-half",
                "Only the term of a one, -p log p.",
                lambda logits: -logits.sigmoid() * F.logsigmoid(logits),
                "not symmetric in the bit",
                "both values of the bit",
            ),
        ),
    ),
    Subject(
        "label-sum",
        label_sum,
        ((BOUNDS, _rows((1.0, 0.0, -2.0), (0.1, 0.2, 0.0))),),
        (
            Bug(
                "label-entropy-dropped",
                "The average bound without the entropy of q(y | x).",
                lambda bounds, logits: (logits.softmax(1) * bounds).sum(1),
                "the classifier becomes sure of everything, at once",
                "add H(q)",
            ),
            Bug(
                "label-uniform-average",
                "Every label counted alike.",
                lambda bounds, logits: bounds.mean(1),
                "the classifier learns nothing from images without labels",
                "weigh by q(y | x)",
            ),
            Bug(
                "label-argmax",
                "The likeliest label only.",
                lambda bounds, logits: bounds.gather(1, logits.argmax(1, keepdim=True))[:, 0],
                "a first guess is never revised",
                "sum over the labels",
            ),
        ),
    ),
)

SLIPS = {
    "clever-baseline-unbiased": "A baseline that depends on the draw taken to leave the mean alone.",
    "relaxed-then-rounded": "A relaxed sample rounded before it is used: a step function has slope 0.",
    "own-sample-unbiased": "A baseline that holds the judged draw taken to leave the mean alone.",
    "value-at-the-mean": "The value at the mean of the bits for the mean of the values.",
    "exact-gradient-of-the-mean": "The gradient of f at the mean of the bits, for that of the mean of f.",
    "baseline-biases": "A constant baseline said to bias the gradient.",
    "best-plane-is-tangent": "The tangent plane taken for the control variate of least variance.",
    "relaxation-unbiased": "The relaxed gradient taken for an unbiased one.",
    "straight-through-unbiased": "The straight-through gradient taken for an unbiased one.",
    "policy-reward-to-come-only-first": "The whole reward credited to the first choice alone.",
    "gumbel-max-uniform": "Arg max of logits plus uniform noise, for a draw from softmax(logits).",
    "elbo-above-evidence": "The bound on the evidence, the wrong way round.",
    "elbo-without-entropy": "A lower bound whose rate forgets the entropy of q.",
    "labels-prior-forgotten": "log p(y) left out of the labelled bound.",
}
