"""Wrong variants of `dgmlib.pixelcnn` (chapter 05)."""

import torch
from torch import Tensor

from dgmlib.bugs import edit, subject
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


def _copy_log_prob(x: Tensor) -> Tensor:
    return CopyRule(x.shape[-1]).log_prob(x)


SUBJECTS = (
    subject(
        "causal-mask",
        causal_mask,
        ((3, 3, "A", 3, 6, 3), (5, 3, "B", 3, 3, 3), (1, 3, "A", 1, 2, 1), (3, 3, "B", 2, 2, 1)),
        {
            "E3-016": lambda rows, columns, kind, c_in, c_out, channels=1: torch.ones(c_out, c_in, rows, columns),
            "mask-b-first": edit('theirs.T < ours if kind == "A" else theirs.T <= ours', "theirs.T <= ours"),
            "mask-a-always": edit('theirs.T < ours if kind == "A" else theirs.T <= ours', "theirs.T < ours"),
            "mask-rows-below": edit("mask[:, :, row, :column] = 1", "mask[:, :, row:, :column] = 1"),
            "mask-row-right": edit("mask[:, :, row, :column] = 1", "mask[:, :, row] = 1"),
            "mask-no-left": edit("    mask[:, :, row, :column] = 1\n", ""),
            "mask-one-channel": edit("torch.arange(c)[:, None] * channels // c", "0 * torch.arange(c)[:, None]"),
            "mask-blue-first": edit("return mask", "return mask.flip(0, 1)"),
        },
    ),
    subject(
        "logistic-mixture",
        logistic_mixture_log_prob,
        ((LEVELS, PARAMS, 8),),
        {
            "logistic-density": edit(
                "torch.where(first, log_above, torch.where(last, log_below, middle))",
                "-2 * F.softplus((x[..., None] - means) * inverse) + (x[..., None] - means) * inverse - log_scales",
            ),
            "logistic-no-half-lines": edit(
                "torch.where(first, log_above, torch.where(last, log_below, middle))", "middle"
            ),
            "logistic-mean-of-logs": edit(
                "(logits.log_softmax(-1) + log_mass).logsumexp(-1)", "(logits.softmax(-1) * log_mass).sum(-1)"
            ),
            "logistic-off-by-half": edit("+ 0.5 - means", "+ 1 - means", "- 0.5 - means", "- means"),
            "logistic-scale-sign": edit("(-log_scales)", "log_scales"),
        },
    ),
    subject(
        "gated-unit",
        gated_unit,
        ((PREACTIVATIONS,),),
        {
            "gate-halves-exchanged": edit("a[:, 0::2].tanh() * a[:, 1::2]", "a[:, 1::2].tanh() * a[:, 0::2]"),
            "gate-halves-not-pairs": edit("a[:, 0::2]", "a.chunk(2, 1)[0]", "a[:, 1::2]", "a.chunk(2, 1)[1]"),
            "gate-missing": edit(" * a[:, 1::2].sigmoid()", ""),
        },
    ),
    subject(
        "copy-rule",
        _copy_log_prob,
        ((COPIED,),),
        {
            "copy-every-pixel": edit("return log_coins +", "return log_coins + self.copies * math.log(self.keep) +"),
            "copy-from-the-left": edit("x[..., 1:, :-2] == x[..., :-1, 2:]", "x[..., 1:, 2:] == x[..., :-1, :-2]"),
            "copy-next-column": edit(
                *("x[..., 1:, :-2] == x[..., :-1, 2:]", "x[..., 1:, :-1] == x[..., :-1, 1:]"),
                *("(self.size - 1) * (self.size - 2)", "(self.size - 1) ** 2"),
                of=CopyRule,
            ),
        },
        of=CopyRule.log_prob,
    ),
)
