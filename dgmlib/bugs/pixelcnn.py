"""Wrong variants of `dgmlib.pixelcnn` (chapter 05)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import subject
from dgmlib.pixelcnn import CopyRule, causal_mask, gated_unit, logistic_mixture_log_prob

CHAPTER = "05"

LEVELS = torch.tensor([0.0, 3.0, 7.0, 2.0], dtype=torch.float64)
PARAMS = torch.tensor(
    [
        [0.4, -0.3, 1.0, 5.5, 0.2, -0.6],
        [0.0, 1.0, 2.5, 3.5, -1.0, 0.5],
        [1.2, 0.1, 6.0, 8.5, 0.7, 1.1],
        [-0.5, 0.5, -2.0, 4.0, 0.3, -0.2],
    ],
    dtype=torch.float64,
)
PREACTIVATIONS = torch.tensor([[0.3, -1.0, 0.8, 1.7], [1.1, 0.5, -0.6, -2.0]], dtype=torch.float64)
COPIED = torch.tensor(
    [
        [[[0.0, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 1]]],
        [[[1.0, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0] * 4]],
    ],
    dtype=torch.float64,
)


# --- variants that need more than one expression --------------------------------------------------------------------


def _edited_mask(edit):
    """`causal_mask`, then `edit(mask, centre row, centre column)` in place."""

    def mask(rows, columns, kind, c_in, c_out, channels=1):
        right = causal_mask(rows, columns, kind, c_in, c_out, channels)
        edit(right, rows // 2, columns // 2)
        return right

    return mask


def _row_through_centre(mask: Tensor, row: int, column: int) -> None:
    mask[:, :, row + 1 :, :column] = 1


def _nothing_left(mask: Tensor, row: int, column: int) -> None:
    mask[:, :, row, :column] = 0


def _all_of_the_row(mask: Tensor, row: int, column: int) -> None:
    mask[:, :, row, column + 1 :] = 1


def _sharp_mixture(x: Tensor, params: Tensor, levels: int) -> Tensor:
    logits, means, log_scales = params.chunk(3, -1)
    z = (x[..., None] - means) * (-log_scales).exp()
    density = F.logsigmoid(z) + F.logsigmoid(-z) - log_scales
    return (logits.log_softmax(-1) + density).logsumexp(-1)


def _no_half_lines(x: Tensor, params: Tensor, levels: int) -> Tensor:
    return logistic_mixture_log_prob(x + 1, params + _shift(params), levels + 2)


def _shift(params: Tensor) -> Tensor:
    k = params.shape[-1] // 3
    return torch.tensor([0.0] * k + [1.0] * k + [0.0] * k, dtype=params.dtype)


def _mean_of_logs(x: Tensor, params: Tensor, levels: int) -> Tensor:
    logits, means, log_scales = params.chunk(3, -1)
    parts = [
        logistic_mixture_log_prob(x, torch.stack([torch.zeros_like(m), m, s], -1), levels)
        for m, s in zip(means.unbind(-1), log_scales.unbind(-1), strict=True)
    ]
    return (logits.softmax(-1) * torch.stack(parts, -1)).sum(-1)


def _off_by_half(x: Tensor, params: Tensor, levels: int) -> Tensor:
    logits, means, log_scales = params.chunk(3, -1)
    above, below = (((x[..., None] + edge - means) * (-log_scales).exp()).sigmoid() for edge in (1, 0))
    below = torch.where((x == 0)[..., None], 0.0, below)
    above = torch.where((x == levels - 1)[..., None], 1.0, above)
    return (logits.softmax(-1) * (above - below)).sum(-1).log()


def _copies(x: Tensor, dr: int, dc: int) -> Tensor:
    """log p if the pixel `dr` rows up and `dc` columns to the right were copied."""
    size, law = x.shape[-1], CopyRule(x.shape[-1])
    pairs = (size - dr) * (size - dc)
    kept = (x[..., dr:, : size - dc] == x[..., : size - dr, dc:]).flatten(1).sum(1).to(x.dtype)
    coins = (size**2 - pairs) * torch.log(torch.tensor(2.0, dtype=x.dtype))
    keep = torch.tensor(law.keep, dtype=x.dtype)
    return kept * keep.log() + (pairs - kept) * (1 - keep).log() - coins


def _copy_log_prob(x: Tensor) -> Tensor:
    return CopyRule(x.shape[-1]).log_prob(x)


SUBJECTS = (
    subject(
        "causal-mask",
        causal_mask,
        ((3, 3, "A", 3, 6, 3), (5, 3, "B", 3, 3, 3), (1, 3, "A", 1, 2, 1), (3, 3, "B", 2, 2, 1)),
        {
            "E3-016": lambda rows, columns, kind, c_in, c_out, channels=1: torch.ones(c_out, c_in, rows, columns),
            "mask-b-first": lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                rows, columns, "B", c_in, c_out, channels
            ),
            "mask-a-always": lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                rows, columns, "A", c_in, c_out, channels
            ),
            "mask-rows-below": _edited_mask(_row_through_centre),
            "mask-row-right": _edited_mask(_all_of_the_row),
            "mask-no-left": _edited_mask(_nothing_left),
            "mask-one-channel": lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                rows, columns, kind, c_in * channels, c_out * channels
            )[:c_out, :c_in],
            "mask-blue-first": lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                rows, columns, kind, c_in, c_out, channels
            ).flip(0, 1),
        },
    ),
    subject(
        "logistic-mixture",
        logistic_mixture_log_prob,
        ((LEVELS, PARAMS, 8),),
        {
            "logistic-density": _sharp_mixture,
            "logistic-no-half-lines": _no_half_lines,
            "logistic-mean-of-logs": _mean_of_logs,
            "logistic-off-by-half": _off_by_half,
            "logistic-scale-sign": lambda x, params, levels: logistic_mixture_log_prob(
                x, torch.cat([*params.chunk(3, -1)[:2], -params.chunk(3, -1)[2]], -1), levels
            ),
        },
    ),
    subject(
        "gated-unit",
        gated_unit,
        ((PREACTIVATIONS,),),
        {
            "gate-halves-exchanged": lambda a: gated_unit(a.unflatten(1, (-1, 2)).flip(2).flatten(1)),
            "gate-halves-not-pairs": lambda a: a.chunk(2, 1)[0].tanh() * a.chunk(2, 1)[1].sigmoid(),
            "gate-missing": lambda a: a[:, 0::2].tanh(),
        },
    ),
    subject(
        "copy-rule",
        _copy_log_prob,
        ((COPIED,),),
        {
            "copy-every-pixel": lambda x: (
                _copy_log_prob(x) + CopyRule(x.shape[-1]).copies * torch.log(torch.tensor(0.95)).double()
            ),
            "copy-from-the-left": lambda x: _copies(x.flip(3), 1, 2),
            "copy-next-column": lambda x: _copies(x, 1, 1),
        },
        of=CopyRule.log_prob,
    ),
)
