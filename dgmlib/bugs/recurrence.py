"""Wrong variants of `dgmlib.recurrence` (chapter 05)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dgmlib.bugs import Bug, Slip, Subject
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
    Subject(
        "rnn-update",
        rnn_update,
        (STEP,),
        (
            Bug(
                "rnn-no-memory",
                "The summary does not enter its own update.",
                lambda x, h, weight_x, weight_h, bias: torch.tanh(x @ weight_x.T + bias),
                name="no memory",
                symptom="a Markov chain of order one",
                place="the term of the old summary",
                cure="add W_h h: tanh(W_x x + W_h h + b)",
            ),
            Bug(
                "rnn-transposed",
                "W_h applied from the wrong side: runs, as it is square.",
                lambda x, h, weight_x, weight_h, bias: torch.tanh(x @ weight_x.T + h @ weight_h + bias),
                name="matrix from the wrong side",
                symptom="trains well; loads no weights of another library",
                place="the transpose of W_h",
                cure="h @ weight_h.T",
            ),
            Bug(
                "rnn-linear",
                "tanh forgotten.",
                lambda x, h, weight_x, weight_h, bias: x @ weight_x.T + h @ weight_h.T + bias,
                name="no squashing",
                symptom="the summary grows without bound as soon as an eigenvalue of W_h leaves the unit circle",
                place="the activation",
                cure="squash: tanh(W_x x + W_h h + b)",
            ),
        ),
    ),
    Subject(
        "lstm-update",
        lstm_update,
        ((GATES, CELL),),
        (
            Bug(
                "lstm-gate-order",
                "Gates read in the order i, f, o, g of other libraries.",
                lambda gates, c: _gates_in_order(gates, c, (0, 1, 3, 2)),
                name="gates in another order",
                symptom="weights of torch.nn.LSTM give other outputs",
                place="the order of the four blocks",
                cure="i, f, g, o, as in torch",
            ),
            Bug(
                "lstm-forget-for-input",
                "Input and forget gates exchanged.",
                lambda gates, c: _gates_in_order(gates, c, (1, 0, 2, 3)),
                name="forget and input exchanged",
                symptom="a bias of the forget gate makes the cell forget",
                place="which gate multiplies which term",
                cure="c' = f c + i g",
            ),
            Bug(
                "lstm-no-tanh",
                "h = o c: the cell is not squashed on its way out.",
                _no_tanh,
                name="cell not squashed",
                symptom="outputs above one",
                place="the way out of the cell",
                cure="h = o tanh(c)",
            ),
            Bug(
                "lstm-coupled",
                "f = 1 - i: another cell (Greff et al. 2017), which cannot both keep and add.",
                _coupled,
                name="gates coupled",
                symptom="cannot count",
                place="the forget gate",
                cure="give forgetting a gate of its own: c' = f c + i g",
            ),
        ),
    ),
    Subject(
        "skew",
        skew,
        ((IMAGE,),),
        (
            Bug(
                "skew-left",
                "Rows moved the other way: columns become anti-diagonals.",
                lambda x: skew(x.flip(2)).flip(2),
                name="skewed to the left",
                symptom="a pixel waits for one that comes after it",
                place="the direction of the shift",
                cure="row r moves r places to the right",
            ),
            Bug(
                "skew-not-at-all",
                "The image padded, not skewed: all of a column at once.",
                lambda x: F.pad(x, (0, x.shape[2] - 1)),
                name="not skewed",
                symptom="the rows above are seen one column late",
                place="the shift of each row",
                cure="shift row r by r places to the right",
            ),
            Bug(
                "skew-wrapped",
                "`roll` on the unpadded image: rows bite their own tail.",
                lambda x: F.pad(
                    torch.stack([row.roll(r, -1) for r, row in enumerate(x.unbind(2))], 2), (0, x.shape[2] - 1)
                ),
                name="wrapped round",
                symptom="the end of a row is read at its beginning: the future",
                place="the width before rolling",
                cure="pad first to width + height - 1, then roll",
            ),
        ),
    ),
)

SLIPS = {
    "recurrent-dropout-everywhere": (
        Slip(
            "Dropout on the recurrent path taken to cost a memory one chance in all, not one a step.",
            name="one chance in all",
            holds="dropout at rate p on the recurrent path keeps a memory over T steps with probability (1 - p)^T",
            misleads="over short sequences",
        )
    ),
    "rnn-summary-is-lossless": Slip(
        "The summary taken for the whole past: a gradient that does not decay.",
        name="a lossless summary",
        holds="the gradient over many steps is a product of Jacobians, and decays where their norms are below one",
        misleads="the summary could hold the past; training does not find out how",
    ),
    "lstm-remembers-all": Slip(
        "A forget gate of one half taken for a memory.",
        name="a half-open gate remembers",
        holds="a forget gate f keeps f^T after T steps: 1/2 forgets within a few",
        misleads="it forgets more slowly than a squashed recurrence",
    ),
}
