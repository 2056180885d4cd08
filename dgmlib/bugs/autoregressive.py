"""Wrong variants of `dgmlib.autoregressive` and `dgmlib.heads` (chapter 04)."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.autoregressive import MADE, NADE, draw_degrees, masks
from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.heads import Bernoulli, MixtureOfGaussians

CHAPTER = "04"

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
                "made-output-not-strict",
                "Every mask uses >=, the output's too, so output i sees input i.",
                lambda degrees: [a[:, None] >= b for b, a in pairwise([*degrees, degrees[0]])],
                name="output mask not strict",
                symptom="the loss falls below the entropy; samples are noise",
                place="the comparison in the output's mask",
                cure="write > at the output: degree of output i strictly greater than that of the hidden unit",
            ),
            Bug(
                "made-hidden-strict",
                "Every mask uses >, the hidden ones too.",
                _hidden_strict,
                name="hidden masks strict",
                symptom="sums to one, but output i does not see input i - 1 any more",
                place="the comparison between hidden layers",
                cure="write >= between hidden layers: degrees may be equal there",
            ),
            Bug(
                "made-mask-transposed",
                "The masks are made for x W and not for W x.",
                lambda degrees: [mask.T for mask in masks(degrees)],
                name="masks transposed",
                symptom="shapes clash, or, where layers are square, the order is reversed",
                place="the axes of each mask",
                cure="one row for each unit after, one column for each unit before, as in W x",
            ),
        ),
    ),
    Subject(
        name="nade",
        right=NADE.params,
        probes=((NADE_6, BITS),),
        bugs=(
            Bug(
                "nade-sees-itself",
                "The running sum takes x_i in before it is read, so conditional i knows its answer.",
                lambda model, x: _nade(model, x, shift=1),
                name="its own pixel in the sum",
                symptom="a cost below the entropy; sampling and scoring disagree",
                place="the place of the addition in the loop over pixels",
                cure="read first, then add",
            ),
            Bug(
                "nade-sees-the-rest",
                "The sum runs over the pixels after i.",
                lambda model, x: _nade(model, x, later=True),
                name="the pixels after it",
                symptom="scores well, cannot be sampled from first to last",
                place="the range of the running sum",
                cure="sum over j < i: a_i = c + sum_{j < i} w_j x_j",
            ),
            Bug(
                "nade-tied",
                "The output reads the hidden layer with the input's weights.",
                _shared_read,
                name="input and output weights tied",
                symptom="about a nat worse than published on MNIST",
                place="the matrix that reads the hidden layer",
                cure="use two matrices: W for the sum over earlier pixels, V for the output",
            ),
        ),
    ),
    Subject(
        name="made-ensemble",
        right=MADE.log_prob,
        probes=((MANY, BITS[:, :4]),),
        bugs=(
            Bug(
                "ensemble-mean-of-logs",
                "The log-likelihoods of the masks are averaged, not their likelihoods.",
                _mean_of_logs,
                name="mean of the logs",
                symptom="the ensemble is no better than its average member; the law sums to less than one",
                place="the order of mean and logarithm over masks",
                cure="log of the mean probability: logsumexp over masks, minus log of their number",
            ),
        ),
    ),
    Subject(
        name="bernoulli-head",
        right=Bernoulli().log_prob,
        probes=((BITS[0], (2 * BITS[1] - 0.7)[:, None]),),
        bugs=(
            Bug(
                "double-sigmoid",
                "A probability is passed on where a logit is expected (as pytorch-generative's NADE did).",
                lambda x, params: Bernoulli().log_prob(x, params.sigmoid()),
                name="two sigmoids",
                symptom="every pixel is on with a probability between 0.5 and 0.73: samples are half white",
                place="the argument of the likelihood: probability or logit",
                cure="logits everywhere, one sigmoid at the end",
            ),
            Bug(
                "bernoulli-ones-only",
                "x log p, without the term of the zeros.",
                lambda x, params: x * F.logsigmoid(params[..., 0]),
                name="zeros not scored",
                symptom="the loss goes to zero, every pixel to white",
                place="the term of the zeros, (1 - x) log(1 - p)",
                cure="keep both terms: x log p + (1 - x) log(1 - p)",
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
                "mixture-weights-not-normalised",
                "The logits of the weights are taken for log-weights.",
                _weights_not_normalised,
                name="weights not normalised",
                symptom="the loss falls without end",
                place="the logits of the weights, before the logsumexp",
                cure="take log_softmax over components",
            ),
            Bug(
                "mixture-of-parameters",
                "Means and deviations are averaged, and one Gaussian is scored.",
                _mean_of_means,
                name="parameters averaged",
                symptom="two modes become one, between them",
                place="the average over components: of means, or of densities",
                cure="average densities, by logsumexp over log weight + log density",
            ),
            Bug(
                "mixture-variance-for-std",
                "The network's log standard deviation is read as a log variance.",
                _variance_for_std,
                name="deviation read as variance",
                symptom="trains, but samples are too wide or too narrow",
                place="the reading of the third output, log sigma or log sigma^2",
                cure="say which it is, and use it the same way in log_prob and draw",
            ),
        ),
    ),
)

SLIPS = {
    "table-zero-over-one": Slip(
        "The odds of a one are zeros over ones.",
        name="odds upside down",
        holds="the odds of a one are ones over zeros, p / (1 - p)",
        misleads="in tables of two values, where the picture is only negated",
    ),
    "ar-sees-itself": Slip(
        "A conditional has its own pixel among its features.",
        name="a pixel among its own features",
        holds="conditional i may depend on x_1 to x_{i-1} only",
        misleads="the loss falls to zero and nothing can be sampled",
    ),
    "fvsbn-learns-parity": Slip(
        "Logistic conditionals reach the entropy of the parity law.",
        name="logistic conditionals learn parity",
        holds="a logistic unit is monotone in each input, and parity is not: its cost stays above the entropy",
        misleads="because all lower-order statistics are matched",
    ),
    "order-is-free": Slip(
        "Since the chain rule holds in every order, a family of conditionals is as good in every order.",
        name="every order is as good",
        holds="the chain rule holds in any order, a restricted family of conditionals does not",
        misleads="when a model's order is changed and its cost moves",
    ),
    "parity-for-free": Slip(
        "Finite weights taken to reach the entropy of the parity law exactly.",
        name="finite weights reach the entropy",
        holds="probabilities of 0 and 1 need infinite logits; finite weights come near the entropy and stay above it",
        misleads="when a bound is asserted as an equality",
    ),
    "made-degrees-up-to-d": Slip(
        "Hidden units are given degrees up to d: those of degree d reach no output.",
        name="hidden degrees up to d",
        holds="the degrees go from 1 to d - 1: a unit of degree d may feed no output",
        misleads="nothing breaks, but units are wasted",
    ),
    "nade-dense": Slip(
        "NADE multiplies all earlier pixels anew for each conditional.",
        name="each sum from scratch",
        holds="a running sum costs O(d h) for all conditionals together, not O(d^2 h)",
        misleads="results agree; only time tells",
    ),
    "plain-autoencoder": Slip(
        "The outputs of an autoencoder are taken for conditionals.",
        name="reconstructions as conditionals",
        holds="without masks every output sees its own pixel, so the product is no probability",
        misleads="the cost goes to zero, below any entropy",
    ),
}
