"""Wrong variants of `dgmlib.autoregressive` and `dgmlib.heads` (chapter 04)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.autoregressive import MADE, NADE, draw_degrees, masks
from dgmlib.bugs import edit, subject
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


def _mixture_log_prob(x: Tensor, params: Tensor) -> Tensor:
    return MixtureOfGaussians(params.shape[-1] // 3).log_prob(x, params)


def _mean_of_means(x: Tensor, params: Tensor) -> Tensor:
    weights, means, log_stds = params.chunk(3, -1)
    share = weights.softmax(-1)
    mean, std = (share * means).sum(-1), (share * log_stds.exp()).sum(-1)
    return torch.distributions.Normal(mean, std).log_prob(x)


SUBJECTS = (
    subject(
        "made-masks",
        masks,
        tuple((degrees,) for degrees in DEGREES),
        {
            "made-output-not-strict": edit("[:, None] > degrees", "[:, None] >= degrees"),
            "made-hidden-strict": edit("after[:, None] >= before", "after[:, None] > before"),
            "made-mask-transposed": edit(
                "[*hidden, degrees[0][:, None] > degrees[-1]]",
                "[m.T for m in (*hidden, degrees[0][:, None] > degrees[-1])]",
            ),
        },
    ),
    subject(
        "nade",
        NADE.params,
        ((NADE_6, BITS),),
        {
            "nade-sees-itself": lambda model, x: _nade(model, x, shift=1),
            "nade-sees-the-rest": lambda model, x: _nade(model, x, later=True),
            "nade-tied": _shared_read,
        },
    ),
    subject(
        "made-ensemble",
        MADE.log_prob,
        ((MANY, BITS[:, :4]),),
        {
            "ensemble-mean-of-logs": edit("log_mean_exp(", "torch.mean("),
        },
    ),
    subject(
        "bernoulli-head",
        Bernoulli().log_prob,
        ((BITS[0], (2 * BITS[1] - 0.7)[:, None]),),
        {
            "double-sigmoid": edit("params[..., 0]", "params[..., 0].sigmoid()"),
            "bernoulli-ones-only": edit("F.logsigmoid((2 * x - 1) * params", "x * F.logsigmoid(params"),
        },
    ),
    subject(
        "mixture-head",
        _mixture_log_prob,
        (
            (
                torch.tensor([0.3, -1.0], dtype=torch.float64),
                torch.tensor([[0.5, -0.2, 1.0, -1.0, 0.1, -0.3], [1.0, 0.4, 0.0, 2.0, -0.5, 0.2]], dtype=torch.float64),
            ),
        ),
        {
            "mixture-weights-not-normalised": edit("weights.log_softmax(-1)", "weights"),
            "mixture-of-parameters": _mean_of_means,
            "mixture-variance-for-std": edit(
                "        log_normal", "        log_stds = log_stds / 2\n        log_normal"
            ),
        },
        of=MixtureOfGaussians.log_prob,
    ),
)
