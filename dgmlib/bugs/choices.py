"""Wrong variants of `dgmlib.choices` (chapter 11)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import Bug, Slip, Subject
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
                name="probability minus bit",
                symptom="the objective falls at every step",
                place="the sign of the difference",
                cure="bit minus probability: z - sigmoid(logits)",
            ),
            Bug(
                "bit-score-in-probability",
                "The derivative in the probability, used as that in the logit.",
                lambda z, logits: (z - logits.sigmoid()) / (logits.sigmoid() * (-logits).sigmoid()),
                name="derivative in the probability",
                symptom="gradients explode for sure bits",
                place="the inner derivative of the sigmoid",
                cure="multiply by p (1 - p), which leaves z - p",
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
                name="the judged draw in its baseline",
                symptom="(K - 1)/K of the gradient: half of it at K = 2",
                place="the mean over draws that is subtracted",
                cure="leave the draw out of its own baseline",
            ),
            Bug(
                "leave-one-out-divisor",
                "The others' sum divided by K.",
                lambda values: (values.sum(0) - values) / len(values),
                name="divided by K",
                symptom="unbiased still, and noisier than it need be",
                place="the number that the others' sum is divided by",
                cure="divide by K - 1, the number of the others",
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
                name="control's gradient forgotten",
                symptom="little variance, and the wrong mean",
                place="the term that is added after the average",
                cure="add the exact gradient of the plane: slope * p (1 - p)",
            ),
            Bug(
                "control-not-centred",
                "The plane through the origin of z, its gradient that of the plane through the mean times nothing.",
                lambda values, z, logits, height, slope: (
                    (values - height - z @ slope)[:, None] * bit_score(z, logits) + slope
                ),
                name="gradient of the plane not scaled",
                symptom="biased where sigmoid' is not 1",
                place="the factor of the slope in what is added back",
                cure="slope times sigmoid'(logits), which is p (1 - p)",
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
                name="advantage left attached",
                symptom="a gradient that grows with the number of latents",
                place="the first factor of the score term",
                cure="detach values - baseline",
            ),
            Bug(
                "surrogate-sign",
                "The score-function term of a loss added to an objective.",
                lambda values, log_q: gradients(lambda v, q: 2 * v - surrogate(v, q, 0.5), values, log_q),
                name="score term subtracted",
                symptom="the encoder is driven away from good latents",
                place="the sign in front of (values - baseline) log q",
                cure="values + detach(values - baseline) log q: one sign for both terms",
            ),
        ),
        of=surrogate,
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
                name="noise not divided",
                symptom="the arg max is not a draw from softmax(logits)",
                place="the bracket around logits + noise",
                cure="divide the sum: softmax((logits + gumbels) / temperature)",
            ),
            Bug(
                "temperature-multiplied",
                "Multiplied by the temperature.",
                lambda logits, gumbels, temperature: ((logits + gumbels) * temperature).softmax(-1),
                name="multiplied by the temperature",
                symptom="softer as the temperature falls",
                place="the side on which the temperature stands",
                cure="divide: softmax((logits + gumbels) / temperature)",
            ),
            Bug(
                "gumbel-missing",
                "A softmax of the logits and no draw at all.",
                lambda logits, gumbels, temperature: (logits / temperature).softmax(-1).expand_as(gumbels),
                name="no noise",
                symptom="every sample is the same",
                place="the argument of the softmax",
                cure="add Gumbel noise before dividing: (logits + gumbels) / temperature",
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
                name="noise not divided",
                symptom="one half is exceeded with the wrong probability",
                place="the bracket around logit + logistic noise",
                cure="divide the sum: sigmoid((logits + logistic) / temperature)",
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
                name="hard sample without a gradient",
                symptom="the encoder's gradient is 0 and nothing complains",
                place="the way back through the rounding",
                cure="hard + soft - soft.detach()",
            ),
            Bug(
                "straight-through-soft",
                "The relaxed sample in the forward pass too.",
                _st_soft,
                name="soft in the forward pass",
                symptom="the decoder never meets a code",
                place="the value handed to the decoder",
                cure="hard + soft - soft.detach()",
            ),
        ),
        of=straight_through,
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
                name="only the term of a one",
                symptom="not symmetric in the bit",
                place="the sum over the two values of the bit",
                cure="both terms: -p log p - (1 - p) log(1 - p)",
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
                name="no entropy of the labels",
                symptom="the classifier becomes sure of everything, at once",
                place="the term beside the average of the bounds",
                cure="add the entropy: sum_y q(y | x) (bound_y - log q(y | x))",
            ),
            Bug(
                "label-uniform-average",
                "Every label counted alike.",
                lambda bounds, logits: bounds.mean(1),
                name="labels counted alike",
                symptom="the classifier learns nothing from images without labels",
                place="the weights of the average over labels",
                cure="weigh each label's bound by q(y | x)",
            ),
            Bug(
                "label-argmax",
                "The likeliest label only.",
                lambda bounds, logits: bounds.gather(1, logits.argmax(1, keepdim=True))[:, 0],
                name="the likeliest label only",
                symptom="a first guess is never revised",
                place="the sum over labels",
                cure="sum over all labels, each with its weight q(y | x)",
            ),
        ),
    ),
)

SLIPS = {
    "clever-baseline-unbiased": Slip(
        "A baseline that depends on the draw taken to leave the mean alone.",
        name="a baseline that sees the draw",
        holds="only a baseline independent of the draw leaves the mean of the score term alone",
        misleads="variance falls too, and a bias goes unseen",
    ),
    "relaxed-then-rounded": Slip(
        "A relaxed sample rounded before it is used: a step function has slope 0.",
        name="rounded without a way back",
        holds="a rounded value has slope 0 everywhere; use hard + soft - soft.detach()",
        misleads="the loss still falls, as the decoder learns",
    ),
    "own-sample-unbiased": Slip(
        "A baseline that holds the judged draw taken to leave the mean alone.",
        name="the judged draw in its baseline",
        holds="the draw's own share shrinks the gradient to (K - 1)/K of itself",
        misleads="the direction is right, so training goes on",
    ),
    "value-at-the-mean": Slip(
        "The value at the mean of the bits for the mean of the values.",
        name="value at the mean",
        holds="E f(z) is not f(E z), except for linear f",
        misleads="for sure bits, where both agree",
    ),
    "exact-gradient-of-the-mean": Slip(
        "The gradient of f at the mean of the bits, for that of the mean of f.",
        name="gradient at the mean",
        holds="the derivative of E f(z) in a bit's logit is p (1 - p) times the difference of f at 1 and at 0",
        misleads="it equals the slope at the mean only if f has no curvature",
    ),
    "baseline-biases": Slip(
        "A constant baseline said to bias the gradient.",
        name="a constant baseline biases",
        holds="E of the score is 0, so a constant times it adds nothing to the mean",
        misleads="variance is what it changes",
    ),
    "best-plane-is-tangent": Slip(
        "The tangent plane taken for the control variate of least variance.",
        name="the tangent is the best control",
        holds="the least variance has the least-squares fit weighted by the squared score",
        misleads="near enough to a plane the two agree",
    ),
    "relaxation-unbiased": Slip(
        "The relaxed gradient taken for an unbiased one.",
        name="relaxed gradient unbiased",
        holds=(
            "it is the gradient of the relaxed objective, whose bias goes only as the temperature falls, while its "
            "variance grows"
        ),
        misleads="at middling temperatures, where training looks smooth",
    ),
    "straight-through-unbiased": Slip(
        "The straight-through gradient taken for an unbiased one.",
        name="straight-through unbiased",
        holds="it is exact for f linear in the code, and not in general",
        misleads="it works in practice, so the bias is not looked for",
    ),
    "policy-reward-to-come-only-first": Slip(
        "The whole reward credited to the first choice alone.",
        name="only the first choice credited",
        holds="every choice is credited with the reward that follows it",
        misleads="the first step learns and the others do not",
    ),
    "gumbel-max-uniform": Slip(
        "Arg max of logits plus uniform noise, for a draw from softmax(logits).",
        name="uniform noise for Gumbel",
        holds="arg max of logits + Gumbel noise has the law softmax(logits); uniform noise has another",
        misleads="the order of frequencies stays right",
    ),
    "elbo-above-evidence": Slip(
        "The bound on the evidence, the wrong way round.",
        name="the bound turned round",
        holds="ELBO = log p(x) - KL(q || posterior) <= log p(x)",
        misleads="when losses, which are minus the bound, are compared",
    ),
    "elbo-without-entropy": Slip(
        "A lower bound whose rate forgets the entropy of q.",
        name="no entropy of q",
        holds="E_q log p(x, z) + H(q): the entropy is part of the bound",
        misleads="it is still a lower bound for discrete z, only looser, and makes q sure of itself",
    ),
    "labels-prior-forgotten": Slip(
        "log p(y) left out of the labelled bound.",
        name="label prior left out",
        holds="the labelled bound holds log p(y), a constant only if labels are equally frequent",
        misleads="when labelled and unlabelled bounds are added",
    ),
}
