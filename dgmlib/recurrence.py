"""Recurrent networks as exact densities of sequences, and, along diagonals, of images (chapter 05)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import Density, bernoulli, checked, need_count, need_levels, need_option, need_shape
from dgmlib.pixelcnn import Features, Image, MaskedConv2d, PixelModel, shift_down

# --- sequences --------------------------------------------------------------------------------------------------------


@checked
def rnn_update(
    x: Float[Tensor, "batch d"],
    h: Float[Tensor, "batch k"],
    weight_x: Float[Tensor, "k d"],
    weight_h: Float[Tensor, "k k"],
    bias: Float[Tensor, " k"],
) -> Float[Tensor, "batch k"]:
    """h' = tanh(W_x x + W_h h + b): the summary after one more input. Elman (1990).

    Implements :eq:`eq-rnn-update`.

    >>> rnn_update(torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1))
    tensor([[0.7616]])
    """
    return torch.tanh(x @ weight_x.T + h @ weight_h.T + bias)


@checked
def lstm_update(
    gates: Float[Tensor, "batch four_k *event"], c: Float[Tensor, "batch k *event"]
) -> tuple[Float[Tensor, "batch k *event"], Float[Tensor, "batch k *event"]]:
    """(h', c'): c' = f c + i g and h' = o tanh(c'), from the pre-activations of i, f, g, o stacked along axis 1.

    Implements :eq:`eq-lstm`: i, f, o = sigmoid, g = tanh of their parts, in the order of `torch.nn.LSTM`.
    Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for the gate f.

    >>> lstm_update(torch.zeros(1, 4), torch.ones(1, 1))  # gates half open: tanh(1/2)/2, and 1/2
    (tensor([[0.2311]]), tensor([[0.5000]]))
    """
    need_shape("gates", gates, (c.shape[0], 4 * c.shape[1], *c.shape[2:]))
    i, f, g, o = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class Recurrent(nn.Module, Density):
    """A law of 0/1 sequences: one cell for every step, whose summary of x_<t predicts x_t.

    `cell` is "rnn" or "lstm", `hidden` the size of the summary. The parameters fit sequences of any length; `length` is
    that of a sample.

    >>> from dgmlib.worlds import bit_states
    >>> model, x = Recurrent(length=3, hidden=4), bit_states(3).float()
    >>> round(model.log_prob(x).exp().sum().item(), 4), model.logits(x).shape, model.sample(5).shape
    (1.0, torch.Size([8, 3]), torch.Size([5, 3]))
    >>> [part.shape for part in model.step(*model.start(5))]
    [torch.Size([5]), torch.Size([5, 4]), torch.Size([5, 4])]
    """

    @checked
    def __init__(self, length: int, hidden: int, cell: str = "lstm"):
        super().__init__()
        self.length, self.hidden = need_count("length", length), need_count("hidden", hidden)
        self.cell = need_option("cell", cell, ("rnn", "lstm"))
        gates = hidden * (4 if cell == "lstm" else 1)
        self.inputs = nn.Linear(2, gates)  # the bit before, and whether there is none
        self.memory = nn.Linear(hidden, gates, bias=False)
        self.head = nn.Linear(hidden, 1)

    @checked
    def start(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The input of the first step and the empty summary."""
        like = self.head.weight
        first = torch.stack([like.new_zeros(need_count("n", n)), like.new_ones(n)], 1)
        return first, like.new_zeros(n, self.hidden), like.new_zeros(n, self.hidden)

    @checked
    def step(
        self, x: Float[Tensor, "batch 2"], h: Float[Tensor, "batch hidden"], c: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
        """The logit of the next bit, and the summary (h, c); the plain cell leaves c alone."""
        if self.cell == "lstm":
            h, c = lstm_update(self.inputs(x) + self.memory(h), c)
        else:
            h = rnn_update(x, h, self.inputs.weight, self.memory.weight, self.inputs.bias)
        return self.head(h)[:, 0], h, c

    @checked
    def logits(self, x: Float[Tensor, "batch t"]) -> Float[Tensor, "batch t"]:
        """The logit of every bit given those before it."""
        entry, h, c = self.start(len(x))
        logits = []
        for bit in x.unbind(1):
            logit, h, c = self.step(entry, h, c)
            logits.append(logit)
            entry = torch.stack([bit, torch.zeros_like(bit)], 1)
        return torch.stack(logits, 1)

    @checked
    def log_prob(self, x: Float[Tensor, "batch t"]) -> Float[Tensor, " batch"]:
        """sum_t log p(x_t | x_<t) in nats. Implements :eq:`eq-rnn`. Raises ValueError (values that are no bits)."""
        logits = self.logits(need_levels("x", x, 2))
        return (x * logits - F.softplus(logits)).sum(1)

    @checked
    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n length"]:
        """`n` draws: each step costs one step, for the summary is all it needs of the past."""
        entry, h, c = self.start(need_count("n", n))
        bits = []
        for _ in range(self.length):
            logit, h, c = self.step(entry, h, c)
            bits.append(bernoulli(logit.sigmoid(), generator=generator))
            entry = torch.stack([bits[-1], torch.zeros_like(logit)], 1)
        return torch.stack(bits, 1)


# --- images -----------------------------------------------------------------------------------------------------------


@checked
def skew(x: Image) -> Float[Tensor, "batch channels height skewed"]:
    """Row r moved r places to the right, zeros in the gaps: what were diagonals are columns now.

    Implements :eq:`eq-skew`.

    >>> skew(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).tolist()
    [[[[1.0, 2.0, 0.0], [0.0, 3.0, 4.0]]]]
    """
    height, width = x.shape[2:]
    return F.pad(x, (0, height)).flatten(2)[:, :, : height * (width + height - 1)].unflatten(2, (height, -1))


@checked
def unskew(x: Float[Tensor, "batch channels height skewed"]) -> Image:
    """The image that `skew` made into `x`. Implements :eq:`eq-unskew`.

    >>> unskew(torch.tensor([[[[1.0, 2.0, 0.0], [0.0, 3.0, 4.0]]]])).tolist()
    [[[[1.0, 2.0], [3.0, 4.0]]]]
    """
    height, skewed = x.shape[2:]
    width = need_count("the width of x, less the skewing,", skewed - height + 1)
    return F.pad(x.flatten(2), (0, height)).unflatten(2, (height, -1))[..., :width]


class DiagonalLSTM(nn.Module):
    """An LSTM whose pixel (r, c) continues from (r - 1, c) and (r, c - 1): it sees all that is above and to the left.

    One step does a whole diagonal. van den Oord, Kalchbrenner & Kavukcuoglu (2016).

    >>> layer, x = DiagonalLSTM(1, hidden=2), torch.zeros(1, 1, 2, 2, requires_grad=True)
    >>> (torch.autograd.grad(layer(x)[0, :, 1, 0].sum(), x)[0] != 0).tolist()  # sees what is above, and itself
    [[[[True, False], [True, False]]]]
    """

    @checked
    def __init__(self, c_in: int, hidden: int):
        super().__init__()
        self.inputs = nn.Conv2d(need_count("c_in", c_in), 4 * need_count("hidden", hidden), 1)
        self.memory = nn.Conv1d(hidden, 4 * hidden, 2, bias=False)

    @checked
    def forward(self, x: Image) -> Features:
        """The features of every pixel."""
        gates = skew(self.inputs(x))
        h = c = gates.new_zeros(len(x), self.memory.in_channels, x.shape[2])
        columns = []
        for gate in gates.unbind(3):
            h, c = lstm_update(gate + self.memory(F.pad(h, (1, 0))), c)
            columns.append(h)
        return unskew(torch.stack(columns, 3))


class PixelRNN(PixelModel):
    """A diagonal LSTM from the left and one from the right: every prediction sees every pixel before it.

    The one from the right reads the rows above only, which is why its input is the image one row lower. One channel.

    >>> from dgmlib.pixelcnn import receptive_field
    >>> receptive_field(PixelRNN((1, 2, 3), hidden=2), row=1, column=1)[0].tolist()  # all pixels before it
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """

    @checked
    def __init__(self, shape: tuple[int, int, int], hidden: int, *, levels: int = 2):
        need_option("the number of channels", shape[0], (1,))
        super().__init__(shape, levels, features=need_count("hidden", hidden))
        self.first = MaskedConv2d(1, hidden, 3, 3, "A")
        self.left, self.right = DiagonalLSTM(hidden, hidden), DiagonalLSTM(1, hidden)

    @checked
    def features(self, x: Image, label: None) -> Features:
        """See `PixelModel.features`."""
        return self.left(self.first(x)) + self.right(shift_down(x).flip(3)).flip(3)
