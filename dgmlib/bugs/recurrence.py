"""Wrong variants of `dgmlib.recurrence` (chapter 05)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import subject
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


def _gates_in_order(gates: Tensor, c: Tensor, order: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    parts = gates.chunk(4, 1)
    return lstm_update(torch.cat([parts[i] for i in order], 1), c)


def _no_tanh(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    h, c = lstm_update(gates, c)
    return h / c.tanh() * c, c


def _coupled(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, _, g, o = gates.chunk(4, 1)
    return lstm_update(torch.cat([i, -i, g, o], 1), c)


SUBJECTS = (
    subject(
        "rnn-update",
        rnn_update,
        (STEP,),
        {
            "rnn-no-memory": lambda x, h, weight_x, weight_h, bias: torch.tanh(x @ weight_x.T + bias),
            "rnn-transposed": lambda x, h, weight_x, weight_h, bias: torch.tanh(x @ weight_x.T + h @ weight_h + bias),
            "rnn-linear": lambda x, h, weight_x, weight_h, bias: x @ weight_x.T + h @ weight_h.T + bias,
        },
    ),
    subject(
        "lstm-update",
        lstm_update,
        ((GATES, CELL),),
        {
            "lstm-gate-order": lambda gates, c: _gates_in_order(gates, c, (0, 1, 3, 2)),
            "lstm-forget-for-input": lambda gates, c: _gates_in_order(gates, c, (1, 0, 2, 3)),
            "lstm-no-tanh": _no_tanh,
            "lstm-coupled": _coupled,
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
