"""Wrong variants of `dgmlib.recurrence` (chapter 05)."""

import torch
from torch.nn import functional as F

from dgmlib.bugs import edit, subject
from dgmlib.recurrence import lstm_update, rnn_update, skew

CHAPTER = "05"

GATES = torch.tensor(
    [[0.3, -1.0, 0.8, 1.7, -0.4, 0.9, 0.2, -1.3], [1.1, 0.5, -0.6, -2.0, 2.0, 0.1, -0.7, 0.4]], dtype=torch.float64
)
CELL = torch.tensor([[0.7, -1.2], [1.9, 0.3]], dtype=torch.float64)
IMAGE = torch.arange(1, 13, dtype=torch.float64).view(1, 1, 3, 4)
STEP = (
    torch.tensor([[0.2, -1.0, 0.4]], dtype=torch.float64),
    torch.tensor([[0.5, -0.3]], dtype=torch.float64),
    torch.tensor([[1.0, 0.3, -0.2], [-0.6, 0.1, 0.9]], dtype=torch.float64),
    torch.tensor([[0.8, -0.5], [0.2, 0.4]], dtype=torch.float64),
    torch.tensor([0.1, -0.2], dtype=torch.float64),
)

SUBJECTS = (
    subject(
        "rnn-update",
        rnn_update,
        (STEP,),
        {
            "rnn-no-memory": edit(" + h @ weight_h.T", ""),
            "rnn-transposed": edit("weight_h.T", "weight_h"),
            "rnn-linear": edit("torch.tanh", ""),
        },
    ),
    subject(
        "lstm-update",
        lstm_update,
        ((GATES, CELL),),
        {
            "lstm-gate-order": edit("i, f, g, o =", "i, f, o, g ="),
            "lstm-forget-for-input": edit("i, f, g, o =", "f, i, g, o ="),
            "lstm-no-tanh": edit("c.tanh()", "c"),
            "lstm-coupled": edit("f.sigmoid() * c", "(1 - i.sigmoid()) * c"),
        },
    ),
    subject(
        "skew",
        skew,
        ((IMAGE,),),
        {
            "skew-left": lambda x: skew(x.flip(2)).flip(2),
            "skew-not-at-all": lambda x: F.pad(x, (0, x.shape[2] - 1)),
            "skew-wrapped": lambda x: F.pad(
                torch.stack([row.roll(r, -1) for r, row in enumerate(x.unbind(2))], 2), (0, x.shape[2] - 1)
            ),
        },
    ),
)
