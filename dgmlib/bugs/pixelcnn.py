"""Wrong variants of `dgmlib.pixelcnn` (chapter 05)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import Bug, Subject
from dgmlib.pixelcnn import CopyRule, causal_mask, gated_unit, logistic_mixture_log_prob

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
    Subject(
        "causal-mask",
        causal_mask,
        ((3, 3, "A", 3, 6, 3), (5, 3, "B", 3, 3, 3), (1, 3, "A", 1, 2, 1), (3, 3, "B", 2, 2, 1)),
        (
            Bug(
                "E3-016",
                "No mask: the usual convolution, which sees the pixel it predicts and those after it.",
                lambda rows, columns, kind, c_in, c_out, channels=1: torch.ones(c_out, c_in, rows, columns),
                "likelihoods that do not sum to one; a loss below the entropy",
                "mask the kernel in training as in sampling",
            ),
            Bug(
                "mask-b-first",
                "Mask B in the first layer: every pixel predicts itself.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, "B", c_in, c_out, channels
                ),
                "the loss goes to zero",
                "A in the first layer",
            ),
            Bug(
                "mask-a-always",
                "Mask A in every layer: the centre is dropped once a layer.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, "A", c_in, c_out, channels
                ),
                "legal, and blind to its nearest neighbours in depth",
                "B after the first layer",
            ),
            Bug(
                "mask-rows-below",
                "Slices exchanged: the left of the rows below is open (j-min/PixelCNN #3).",
                _edited_mask(_row_through_centre),
                "the first pixel of the next row is known before it is drawn",
                "mask[row + 1 :] = 0",
            ),
            Bug(
                "mask-row-right",
                "The whole row of the centre is open.",
                _edited_mask(_all_of_the_row),
                "a loss below the entropy, samples of noise",
                "mask[row, column + 1 :] = 0",
            ),
            Bug(
                "mask-no-left",
                "The left of the centre's own row is closed too.",
                _edited_mask(_nothing_left),
                "rows that ignore their own beginning",
                "mask[row, :column] = 1",
            ),
            Bug(
                "mask-one-channel",
                "The centre treats red, green and blue alike.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, kind, c_in * channels, c_out * channels
                )[:c_out, :c_in],
                "with B every channel predicts itself, with A none sees another",
                "compare the channels of the two features",
            ),
            Bug(
                "mask-blue-first",
                "Channels in the order blue, green, red while they are drawn red first.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, kind, c_in, c_out, channels
                ).flip(0, 1),
                "sums to one, and samples of the wrong law",
                "mask and sampler share one order",
            ),
        ),
    ),
    Subject(
        "logistic-mixture",
        logistic_mixture_log_prob,
        ((LEVELS, PARAMS, 8),),
        (
            Bug(
                "logistic-density",
                "The density at the level for the mass of its interval.",
                _sharp_mixture,
                "unbounded as scales shrink",
                "a difference of two distribution functions",
            ),
            Bug(
                "logistic-no-half-lines",
                "The first and the last level get their interval only.",
                _no_half_lines,
                "sums to less than one; black and white are too dear",
                "half-lines at both ends",
            ),
            Bug(
                "logistic-mean-of-logs",
                "The weighted mean of the components' logs.",
                _mean_of_logs,
                "a product of experts, unnormalised",
                "log of the weighted mean",
            ),
            Bug(
                "logistic-off-by-half",
                "The interval [x, x + 1) for [x - 1/2, x + 1/2).",
                _off_by_half,
                "sums to one; all means come out half a level high",
                "edges at half-integers",
            ),
            Bug(
                "logistic-scale-sign",
                "Multiplied by the scale instead of divided.",
                lambda x, params, levels: logistic_mixture_log_prob(
                    x, torch.cat([*params.chunk(3, -1)[:2], -params.chunk(3, -1)[2]], -1), levels
                ),
                "sums to one; wide where it should be sharp",
                "exp(-log_scale)",
            ),
        ),
    ),
    Subject(
        "gated-unit",
        gated_unit,
        ((PREACTIVATIONS,),),
        (
            Bug(
                "gate-halves-exchanged",
                "The sigmoid on the features, the tanh on the gates.",
                lambda a: gated_unit(a.unflatten(1, (-1, 2)).flip(2).flatten(1)),
                "trains; loads no weights",
                "tanh of the even, sigmoid of the odd",
            ),
            Bug(
                "gate-halves-not-pairs",
                "Halves for pairs: with colours, features of one channel are gated by another's.",
                lambda a: a.chunk(2, 1)[0].tanh() * a.chunk(2, 1)[1].sigmoid(),
                "red sees green",
                "neighbours belong together",
            ),
            Bug(
                "gate-missing",
                "No gate.",
                lambda a: a[:, 0::2].tanh(),
                "a plain network of half the width",
                "multiply by the sigmoid",
            ),
        ),
    ),
    Subject(
        "copy-rule",
        _copy_log_prob,
        ((COPIED,),),
        (
            Bug(
                "copy-every-pixel",
                "A copied pixel counted also where there is none to copy.",
                lambda x: _copy_log_prob(x) + CopyRule(x.shape[-1]).copies * torch.log(torch.tensor(0.95)).double(),
                "sums to less than one",
                "coins at the edge",
            ),
            Bug(
                "copy-from-the-left",
                "The copied pixel above and to the left: a plain stack sees it.",
                lambda x: _copies(x.flip(3), 1, 2),
                "no price of the blind spot",
                "column c + 2",
            ),
            Bug(
                "copy-next-column",
                "One column to the right, not two: within sight of a 3 x 3 kernel.",
                lambda x: _copies(x, 1, 1),
                "no price of the blind spot",
                "column c + 2",
            ),
        ),
    ),
)

SLIPS = {
    "blind-spot-by-depth": "More layers taken to fill the blind spot.",
    "reach-counts-future": "Pixels after the predicted one counted among its predecessors.",
    "cache-before-draw": "A row cache that keeps the pixel as it was before it was drawn.",
    "colour-marginals": "The channels of a pixel as if they were independent given the pixels before.",
    "copy-price-in-bits": "The price of the blind spot in bits, read as nats.",
}
