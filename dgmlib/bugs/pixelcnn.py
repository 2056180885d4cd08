"""Wrong variants of `dgmlib.pixelcnn` (chapter 05)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import Bug, Slip, Subject
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
    Subject(
        "causal-mask",
        causal_mask,
        ((3, 3, "A", 3, 6, 3), (5, 3, "B", 3, 3, 3), (1, 3, "A", 1, 2, 1), (3, 3, "B", 2, 2, 1)),
        (
            Bug(
                "E3-016",
                "No mask: the usual convolution, which sees the pixel it predicts and those after it.",
                lambda rows, columns, kind, c_in, c_out, channels=1: torch.ones(c_out, c_in, rows, columns),
                name="no mask",
                symptom="likelihoods that do not sum to one; a loss below the entropy",
                place="the kernel, at and after its centre",
                cure="mask the kernel in training as in sampling",
            ),
            Bug(
                "mask-b-first",
                "Mask B in the first layer: every pixel predicts itself.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, "B", c_in, c_out, channels
                ),
                name="mask B first",
                symptom="the loss goes to zero",
                place="the kind of the first layer's mask",
                cure="A in the first layer, B in all that follow",
            ),
            Bug(
                "mask-a-always",
                "Mask A in every layer: the centre is dropped once a layer.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, "A", c_in, c_out, channels
                ),
                name="mask A always",
                symptom="legal, and blind to its nearest neighbours in depth",
                place="the kind of the later layers' masks",
                cure="B after the first layer: features at the centre hold earlier pixels only",
            ),
            Bug(
                "mask-rows-below",
                "Slices exchanged: the left of the rows below is open (j-min/PixelCNN #3).",
                _edited_mask(_row_through_centre),
                name="rows below open",
                symptom="the first pixel of the next row is known before it is drawn",
                place="the slice of the rows below the centre",
                cure="close them whole: mask[row + 1 :] = 0",
            ),
            Bug(
                "mask-row-right",
                "The whole row of the centre is open.",
                _edited_mask(_all_of_the_row),
                name="whole row open",
                symptom="a loss below the entropy, samples of noise",
                place="the slice to the right of the centre",
                cure="mask[row, column + 1 :] = 0",
            ),
            Bug(
                "mask-no-left",
                "The left of the centre's own row is closed too.",
                _edited_mask(_nothing_left),
                name="left of the row closed",
                symptom="rows that ignore their own beginning",
                place="the slice to the left of the centre",
                cure="mask[row, :column] = 1",
            ),
            Bug(
                "mask-one-channel",
                "The centre treats red, green and blue alike.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, kind, c_in * channels, c_out * channels
                )[:c_out, :c_in],
                name="channels treated alike",
                symptom="with B every channel predicts itself, with A none sees another",
                place="the block of the centre, channel by channel",
                cure="compare the channels: A lets c_in < c_out see, B c_in <= c_out",
            ),
            Bug(
                "mask-blue-first",
                "Channels in the order blue, green, red while they are drawn red first.",
                lambda rows, columns, kind, c_in, c_out, channels=1: causal_mask(
                    rows, columns, kind, c_in, c_out, channels
                ).flip(0, 1),
                name="channels in reverse",
                symptom="sums to one, and samples of the wrong law",
                place="the order of the channels at the centre",
                cure="mask and sampler share one order: red, green, blue",
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
                name="density for mass",
                symptom="unbounded as scales shrink",
                place="the function of the level",
                cure="a difference of two distribution functions: F(x + 1/2) - F(x - 1/2)",
            ),
            Bug(
                "logistic-no-half-lines",
                "The first and the last level get their interval only.",
                _no_half_lines,
                name="ends not open",
                symptom="sums to less than one; black and white are too dear",
                place="the first and the last level",
                cure="half-lines at both ends",
            ),
            Bug(
                "logistic-mean-of-logs",
                "The weighted mean of the components' logs.",
                _mean_of_logs,
                name="mean of the logs",
                symptom="a product of experts, unnormalised",
                place="the order of mean and logarithm",
                cure="log of the weighted mean: logsumexp over log weight + log mass",
            ),
            Bug(
                "logistic-off-by-half",
                "The interval [x, x + 1) for [x - 1/2, x + 1/2).",
                _off_by_half,
                name="off by half a level",
                symptom="sums to one; all means come out half a level high",
                place="the edges of the interval",
                cure="edges at half-integers: [x - 1/2, x + 1/2)",
            ),
            Bug(
                "logistic-scale-sign",
                "Multiplied by the scale instead of divided.",
                lambda x, params, levels: logistic_mixture_log_prob(
                    x, torch.cat([*params.chunk(3, -1)[:2], -params.chunk(3, -1)[2]], -1), levels
                ),
                name="multiplied by the scale",
                symptom="sums to one; wide where it should be sharp",
                place="the sign of log_scale in the exponent",
                cure="divide: (x - mean) exp(-log_scale)",
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
                name="tanh and sigmoid exchanged",
                symptom="trains; loads no weights",
                place="which half goes through which function",
                cure="tanh of the even features, sigmoid of the odd ones",
            ),
            Bug(
                "gate-halves-not-pairs",
                "Halves for pairs: with colours, features of one channel are gated by another's.",
                lambda a: a.chunk(2, 1)[0].tanh() * a.chunk(2, 1)[1].sigmoid(),
                name="halves for pairs",
                symptom="red sees green",
                place="how features and gates are paired",
                cure="neighbours belong together: a[:, 0::2] with a[:, 1::2]",
            ),
            Bug(
                "gate-missing",
                "No gate.",
                lambda a: a[:, 0::2].tanh(),
                name="no gate",
                symptom="a plain network of half the width",
                place="the second factor",
                cure="multiply: tanh(even) times sigmoid(odd)",
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
                name="copies where there is nothing",
                symptom="sums to less than one",
                place="the pixels at the edge",
                cure="a fair coin, log(1/2), where there is no pixel to copy",
            ),
            Bug(
                "copy-from-the-left",
                "The copied pixel above and to the left: a plain stack sees it.",
                lambda x: _copies(x.flip(3), 1, 2),
                name="copied from the left",
                symptom="no price of the blind spot",
                place="the column of the copied pixel",
                cure="copy from the row above, two columns to the right: column c + 2",
            ),
            Bug(
                "copy-next-column",
                "One column to the right, not two: within sight of a 3 x 3 kernel.",
                lambda x: _copies(x, 1, 1),
                name="copied from one column on",
                symptom="no price of the blind spot",
                place="the column of the copied pixel",
                cure="copy from the row above, two columns to the right: column c + 2",
            ),
        ),
        of=CopyRule.log_prob,
    ),
)

SLIPS = {
    "blind-spot-by-depth": Slip(
        "More layers taken to fill the blind spot.",
        name="depth fills the blind spot",
        holds="a plain stack never sees it, however deep; two stacks, vertical and horizontal, do",
        misleads="the rest of the past is reached by depth",
    ),
    "reach-counts-future": Slip(
        "Pixels after the predicted one counted among its predecessors.",
        name="future counted as past",
        holds="only pixels above, and to the left in the same row, may be reached",
        misleads="counts of a full kernel are easier",
    ),
    "cache-before-draw": Slip(
        "A row cache that keeps the pixel as it was before it was drawn.",
        name="cache filled too early",
        holds="store the row after its pixel has been drawn",
        misleads="the first pixel of each row comes out right",
    ),
    "colour-marginals": Slip(
        "The channels of a pixel as if they were independent given the pixels before.",
        name="channels independent",
        holds="green is drawn given red, blue given both",
        misleads="grey images, where one channel tells all, hide it least",
    ),
    "copy-price-in-bits": Slip(
        "The price of the blind spot in bits, read as nats.",
        name="bits read as nats",
        holds="n bits are n log 2 = 0.69 n nats",
        misleads="both are called the price",
    ),
}
