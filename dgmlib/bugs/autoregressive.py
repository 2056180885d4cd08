"""Wrong variants of `dgmlib.autoregressive` and `dgmlib.heads` (chapter 04)."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.autoregressive import MADE, NADE, draw_degrees, masks
from dgmlib.bugs import Bug, Subject
from dgmlib.heads import Bernoulli, MixtureOfGaussians

DEGREES = [draw_degrees(5, (8, 6)), draw_degrees(4, (), order=[2, 0, 3, 1])]


def _filled(model: torch.nn.Module) -> torch.nn.Module:
    """The model with parameters that do not depend on a generator."""
    with torch.no_grad():
        for k, p in enumerate(model.double().parameters()):
            p.copy_((torch.arange(p.numel(), dtype=torch.float64) * 2.4 + k).sin().view(p.shape))
    return model


NADE_6 = _filled(NADE(6, 4))
MANY = _filled(MADE(4, (9,), n_masks=3, generator=torch.Generator().manual_seed(0)))
BITS = torch.tensor([[1.0, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 1]], dtype=torch.float64)


# --- variants that need more than one expression --------------------------------------------------------------------


def _hidden_strict(degrees: list[Tensor]) -> list[Tensor]:
    return [*(after[:, None] > before for before, after in pairwise(degrees)), degrees[0][:, None] > degrees[-1]]


def _nade(model: NADE, x: Tensor, shift: int = 0, later: bool = False) -> Tensor:
    inputs = x[..., None] * model.w
    a = torch.cumsum(inputs, 1) + model.c
    if later:
        a = inputs.sum(1, keepdim=True) + 2 * model.c - a
    elif not shift:
        a = a - inputs
    return torch.einsum("bdh,dph->bdp", a.sigmoid(), model.v) + model.bias


def _shared_read(model: NADE, x: Tensor) -> Tensor:
    a = torch.cumsum(F.pad(x[:, :-1, None] * model.w[:-1], (0, 0, 1, 0)), 1) + model.c
    return torch.einsum("bdh,dph->bdp", a.sigmoid(), model.w[:, None]) + model.bias


def _mean_of_logs(model: MADE, x: Tensor) -> Tensor:
    return torch.stack([model.log_prob(x, degrees=model.degrees(k)) for k in range(model.n_masks)]).mean(0)


def _weights_not_normalised(x: Tensor, params: Tensor) -> Tensor:
    weights = params.chunk(3, -1)[0]
    return MixtureOfGaussians(weights.shape[-1]).log_prob(x, params) + weights.logsumexp(-1)


def _mean_of_means(x: Tensor, params: Tensor) -> Tensor:
    weights, means, log_stds = params.chunk(3, -1)
    share = weights.softmax(-1)
    mean, std = (share * means).sum(-1), (share * log_stds.exp()).sum(-1)
    return torch.distributions.Normal(mean, std).log_prob(x)


def _variance_for_std(x: Tensor, params: Tensor) -> Tensor:
    weights, means, log_stds = params.chunk(3, -1)
    return MixtureOfGaussians(weights.shape[-1]).log_prob(x, torch.cat([weights, means, log_stds / 2], -1))


SUBJECTS = (
    Subject(
        name="made-masks",
        right=masks,
        probes=tuple((degrees,) for degrees in DEGREES),
        bugs=(
            Bug(
                id="made-output-not-strict",
                story="Every mask uses >=, the output's too, so output i sees input i.",
                wrong=lambda degrees: [a[:, None] >= b for b, a in pairwise([*degrees, degrees[0]])],
                symptom="the loss falls below the entropy; samples are noise",
                cure="strictly greater at the output",
            ),
            Bug(
                id="made-hidden-strict",
                story="Every mask uses >, the hidden ones too.",
                wrong=_hidden_strict,
                symptom="sums to one, but output i does not see input i - 1 any more",
                cure="greater or equal between hidden layers",
            ),
            Bug(
                id="made-mask-transposed",
                story="The masks are made for x W and not for W x.",
                wrong=lambda degrees: [mask.T for mask in masks(degrees)],
                symptom="shapes clash, or, where layers are square, the order is reversed",
                cure="one row for each unit after",
            ),
        ),
    ),
    Subject(
        name="nade",
        right=NADE.params,
        probes=((NADE_6, BITS),),
        bugs=(
            Bug(
                id="nade-sees-itself",
                story="The running sum takes x_i in before it is read, so conditional i knows its answer.",
                wrong=lambda model, x: _nade(model, x, shift=1),
                symptom="a cost below the entropy; sampling and scoring disagree",
                cure="read first, then add",
            ),
            Bug(
                id="nade-sees-the-rest",
                story="The sum runs over the pixels after i.",
                wrong=lambda model, x: _nade(model, x, later=True),
                symptom="scores well, cannot be sampled from first to last",
                cure="sum over j < i",
            ),
            Bug(
                id="nade-tied",
                story="The output reads the hidden layer with the input's weights.",
                wrong=_shared_read,
                symptom="about a nat worse than published on MNIST",
                cure="two matrices",
            ),
        ),
    ),
    Subject(
        name="made-ensemble",
        right=MADE.log_prob,
        probes=((MANY, BITS[:, :4]),),
        bugs=(
            Bug(
                id="ensemble-mean-of-logs",
                story="The log-likelihoods of the masks are averaged, not their likelihoods.",
                wrong=_mean_of_logs,
                symptom="the ensemble is no better than its average member; the law sums to less than one",
                cure="log of the mean probability",
            ),
        ),
    ),
    Subject(
        name="bernoulli-head",
        right=Bernoulli().log_prob,
        probes=((BITS[0], (2 * BITS[1] - 0.7)[:, None]),),
        bugs=(
            Bug(
                id="double-sigmoid",
                story="A probability is passed on where a logit is expected (as pytorch-generative's NADE did).",
                wrong=lambda x, params: Bernoulli().log_prob(x, params.sigmoid()),
                symptom="every pixel is on with a probability between 0.5 and 0.73: samples are half white",
                cure="logits everywhere, one sigmoid at the end",
            ),
            Bug(
                id="bernoulli-ones-only",
                story="x log p, without the term of the zeros.",
                wrong=lambda x, params: x * F.logsigmoid(params[..., 0]),
                symptom="the loss goes to zero, every pixel to white",
                cure="both terms",
            ),
        ),
    ),
    Subject(
        name="mixture-head",
        right=MixtureOfGaussians(2).log_prob,
        probes=(
            (
                torch.tensor([0.3, -1.0], dtype=torch.float64),
                torch.tensor([[0.5, -0.2, 1.0, -1.0, 0.1, -0.3], [1.0, 0.4, 0.0, 2.0, -0.5, 0.2]], dtype=torch.float64),
            ),
        ),
        bugs=(
            Bug(
                id="mixture-weights-not-normalised",
                story="The logits of the weights are taken for log-weights.",
                wrong=_weights_not_normalised,
                symptom="the loss falls without end",
                cure="log_softmax over components",
            ),
            Bug(
                id="mixture-of-parameters",
                story="Means and deviations are averaged, and one Gaussian is scored.",
                wrong=_mean_of_means,
                symptom="two modes become one, between them",
                cure="average densities, by logsumexp",
            ),
            Bug(
                id="mixture-variance-for-std",
                story="The network's log standard deviation is read as a log variance.",
                wrong=_variance_for_std,
                symptom="trains, but samples are too wide or too narrow",
                cure="say which it is, and use it the same way in log_prob and draw",
            ),
        ),
    ),
)

SLIPS = {
    "table-zero-over-one": "The odds of a one are zeros over ones.",
    "ar-sees-itself": "A conditional has its own pixel among its features.",
    "fvsbn-learns-parity": "Logistic conditionals reach the entropy of the parity law.",
    "order-is-free": "Since the chain rule holds in every order, a family of conditionals is as good in every order.",
    "parity-for-free": "Finite weights taken to reach the entropy of the parity law exactly.",
    "made-degrees-up-to-d": "Hidden units are given degrees up to d: those of degree d reach no output.",
    "nade-dense": "NADE multiplies all earlier pixels anew for each conditional.",
    "plain-autoencoder": "The outputs of an autoencoder are taken for conditionals.",
}
