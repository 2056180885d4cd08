"""Wrong variants of `dgmlib.choices` (chapter 11)."""

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
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

CHAPTER = "11"

LOGITS, BITS = f64((0.8, -0.4, 1.5)), f64((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0))
VALUES = f64((-1.0, 2.0), (0.5, -0.3), (3.0, 0.7))
NOISE = f64((0.3, -0.2, 1.1), (2.0, 0.1, -0.6))
BOUNDS = f64((-20.0, -18.5, -25.0), (-17.0, -16.8, -16.9))

# --- subjects that are gradients ------------------------------------------------------------------------------------


def gradients(make, *inputs: Tensor) -> tuple[Tensor, ...]:
    """What autograd gives each input for the sum of `make(*inputs)`; 0 where nothing arrives."""
    with torch.enable_grad():
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        made = torch.autograd.grad(make(*leaves).sum(), leaves, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, made, strict=True))


def _surrogate_gradients(values: Tensor, log_q: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda v, q: surrogate(v, q, 0.5), values, log_q)


def _st_gradients(soft: Tensor) -> tuple[Tensor, ...]:
    hard = (soft > 0.5).to(soft.dtype)
    return straight_through(hard, soft), *gradients(lambda s: straight_through(hard, s).square(), soft)


SUBJECTS = (
    subject(
        "bit-score",
        bit_score,
        ((BITS, LOGITS),),
        {
            "bit-score-sign": edit("z - logits.sigmoid()", "logits.sigmoid() - z"),
            "bit-score-in-probability": edit(
                "z - logits.sigmoid()", "(z - logits.sigmoid()) / (logits.sigmoid() * (-logits).sigmoid())"
            ),
        },
    ),
    subject(
        "leave-one-out",
        leave_one_out,
        ((VALUES,),),
        {
            "baseline-own-sample": edit("(values.sum(0) - values) / (k - 1)", "values.mean(0).expand_as(values)"),
            "leave-one-out-divisor": edit("(k - 1)", "k"),
        },
    ),
    subject(
        "plane-gradient",
        plane_gradient,
        ((f64((-1.0, 0.5, 2.0))[0], BITS, LOGITS[0], 0.3, f64((0.7, -1.2, 0.4))[0]),),
        {
            "control-not-added-back": edit(" + slope * mean * (1 - mean)", ""),
            "control-not-centred": edit("(z - mean) @ slope", "z @ slope", " * mean * (1 - mean)", ""),
        },
    ),
    subject(
        "surrogate-gradient",
        _surrogate_gradients,
        ((VALUES, -VALUES.square() - 1),),
        {
            "surrogate-not-detached": edit(".detach() * (log_q - log_q.detach())", " * log_q"),
            "surrogate-sign": edit("values + (values", "values - (values"),
        },
        of=surrogate,
    ),
    subject(
        "gumbel-softmax",
        gumbel_softmax,
        ((LOGITS, NOISE, 0.4),),
        {
            "temperature-on-logits-only": edit("(logits + gumbels) / temperature", "logits / temperature + gumbels"),
            "temperature-multiplied": edit("/ temperature", "* temperature"),
            "gumbel-missing": edit("(logits + gumbels)", "logits.expand_as(gumbels)"),
        },
    ),
    subject(
        "relaxed-bits",
        relaxed_bits,
        ((LOGITS, NOISE, 0.4),),
        {
            "relaxed-temperature-on-logits": edit(
                "(logits + logistic) / temperature", "logits / temperature + logistic"
            ),
        },
    ),
    subject(
        "straight-through",
        _st_gradients,
        ((NOISE.sigmoid(),),),
        {
            "hard-without-straight-through": edit("(soft - soft.detach())", "0 * soft"),
            "straight-through-soft": edit("hard.detach() + (soft - soft.detach())", "soft"),
        },
        of=straight_through,
    ),
    subject(
        "latent-bit-entropy",
        bit_entropy,
        ((LOGITS,),),
        {
            "bit-entropy-half": edit(
                "F.softplus(logits) - logits * logits.sigmoid()", "-logits.sigmoid() * F.logsigmoid(logits)"
            ),
        },
    ),
    subject(
        "label-sum",
        label_sum,
        ((BOUNDS, f64((1.0, 0.0, -2.0), (0.1, 0.2, 0.0))),),
        {
            "label-entropy-dropped": edit("(bounds - log_q)", "bounds"),
            "label-uniform-average": edit("(log_q.exp() * (bounds - log_q)).sum(1)", "bounds.mean(1)"),
            "label-argmax": lambda bounds, logits: bounds.gather(1, logits.argmax(1, keepdim=True))[:, 0],
        },
    ),
)
