"""Recurrent networks against torch's cells, double loops over pixels, sums over all strings, and autograd."""

import math

import pytest
import torch
from exact import close, normal, rng
from torch import nn

from dgmlib import recurrence
from dgmlib.pixelcnn import receptive_field
from dgmlib.recurrence import DiagonalLSTM, PixelRNN, Recurrent
from dgmlib.worlds import bit_states


def made(kind, *args, seed=0, **options):
    torch.manual_seed(seed)
    return kind(*args, **options).double()


# --- cells ----------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-rnn-update")
@pytest.mark.notes("N3-049", "H3-10")
def test_a_plain_update_is_torchs():
    cell = nn.RNNCell(3, 4).double()
    x, h = normal(5, 3), normal(5, 4, seed=1)
    ours = recurrence.rnn_update(x, h, cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh)
    close(ours, cell(x, h))


@pytest.mark.equation("eq-lstm")
@pytest.mark.notes("N4-006", "H4-04")
def test_an_lstm_update_is_torchs():
    cell = nn.LSTMCell(3, 4).double()
    x, h, c = normal(5, 3), normal(5, 4, seed=1), normal(5, 4, seed=2)
    gates = x @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias_ih + cell.bias_hh
    for ours, theirs in zip(recurrence.lstm_update(gates, c), cell(x, (h, c)), strict=True):
        close(ours, theirs)
    spread = recurrence.lstm_update(gates[:, :, None].expand(-1, -1, 6), c[:, :, None].expand(-1, -1, 6))
    close(spread[0][:, :, 4], cell(x, (h, c))[0])


@pytest.mark.equation("eq-lstm-path")
@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_a_memory_decays_by_the_forget_gate_alone(bias):
    start = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    c = start
    for _ in range(7):
        _, c = recurrence.lstm_update(torch.tensor([[0.0, bias, 0.0, 0.0]], dtype=torch.float64), c)
    close(torch.autograd.grad(c.sum(), start)[0], [[(1 + math.exp(-bias)) ** -7]])


# --- sequences ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-rnn")
@pytest.mark.notes("N3-048", "N3-049", "E3-015")
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_all_strings_sum_to_one_and_each_bit_sees_those_before_it(cell):
    law, strings = made(Recurrent, 8, 5, cell), bit_states(8)
    close(law.log_prob(strings).exp().sum(), 1.0)
    jacobian = torch.autograd.functional.jacobian(lambda row: law.logits(row[None])[0], strings[77])
    assert torch.equal((jacobian != 0).double(), torch.ones(8, 8, dtype=torch.float64).tril(-1))
    sizes = {sum(p.numel() for p in Recurrent(length, 16, "rnn").parameters()) for length in (1, 10, 1000)}
    assert sizes == {2 * 16 + 16 + 16 * 16 + 17}


def test_a_sequence_is_read_by_torchs_lstm():
    law = made(Recurrent, 6, 4)
    peer = nn.LSTM(2, 4, batch_first=True).double()
    with torch.no_grad():
        peer.weight_ih_l0.copy_(law.inputs.weight)
        peer.weight_hh_l0.copy_(law.memory.weight)
        peer.bias_ih_l0.copy_(law.inputs.bias)
        peer.bias_hh_l0.zero_()
    x = bit_states(6)[::7]
    entries = torch.zeros(len(x), 6, 2, dtype=torch.float64)
    entries[:, 0, 1] = 1
    entries[:, 1:, 0] = x[:, :-1]
    logits = law.head(peer(entries)[0])[..., 0]
    close(law.logits(x), logits)
    close(law.log_prob(x), -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1))


@pytest.mark.notes("N3-048", "N3-049", "N4-022", "H3-10")
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_samples_follow_the_law(cell, n=40_000):
    """Pearson's statistic of 16 strings: fails by chance once in 10^9."""
    law = made(Recurrent, 4, 3, cell, seed=2)
    with torch.no_grad():
        for p in law.parameters():
            p.mul_(3)
    x = law.sample(n, generator=rng(1))
    assert x.shape == (n, 4) and x.dtype == torch.float64
    counts = (x @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long().bincount(minlength=16)
    expected = n * law.log_prob(bit_states(4)).exp().detach()
    assert ((counts - expected) ** 2 / expected).sum() < 74.0  # chi-squared with 15 degrees of freedom


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-skew", "eq-unskew")
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 1, 4, 2), (1, 2, 1, 3), (1, 1, 5, 1)])
def test_skewing_moves_row_r_by_r(shape):
    x = normal(*shape)
    skewed = recurrence.skew(x)
    assert skewed.shape == (*shape[:3], shape[2] + shape[3] - 1)
    for r in range(shape[2]):
        assert torch.equal(skewed[:, :, r, r : r + shape[3]], x[:, :, r])
        assert (skewed[:, :, r, :r] == 0).all() and (skewed[:, :, r, r + shape[3] :] == 0).all()
    assert torch.equal(recurrence.unskew(skewed), x)


@pytest.mark.equation("eq-diagonal")
@pytest.mark.notes("N4-022", "H4-11")
def test_a_diagonal_lstm_is_a_double_loop_over_pixels():
    layer, x = made(DiagonalLSTM, 2, 3), normal(1, 2, 3, 4)
    above, left = layer.memory.weight.unbind(2)
    weight, bias = layer.inputs.weight[:, :, 0, 0], layer.inputs.bias
    zero = torch.zeros(3, dtype=torch.float64)
    state = {(r, c): (zero, zero) for r in range(-1, 3) for c in range(-1, 4)}
    for r in range(3):
        for c in range(4):
            gates = weight @ x[0, :, r, c] + above @ state[r - 1, c][0] + left @ state[r, c - 1][0] + bias
            i, f, g, o = gates.chunk(4)
            kept = f.sigmoid() * state[r, c - 1][1] + i.sigmoid() * g.tanh()
            state[r, c] = o.sigmoid() * kept.tanh(), kept
            close(layer(x)[0, :, r, c], state[r, c][0])


@pytest.mark.equation("eq-diagonal-reach")
@pytest.mark.notes("N4-022", "H4-11")
@pytest.mark.parametrize("place", [(3, 2), (0, 0), (0, 4), (5, 0), (5, 6)])
def test_a_pixel_rnn_sees_every_pixel_before(place):
    seen = receptive_field(made(PixelRNN, (1, 6, 7), 4), *place)[0]
    order = torch.arange(42).view(6, 7)
    assert torch.equal(seen, (order < order[place]).double())


@pytest.mark.notes("N4-022")
def test_a_pixel_rnn_sums_to_one_and_samples_by_fixed_point():
    model = made(PixelRNN, (1, 2, 3), 5)
    close(model.log_prob(bit_states(6).view(-1, 1, 2, 3)).exp().sum(), 1.0)
    draws = [model.sample(20, generator=rng(1), method=method) for method in ("naive", "jacobi")]
    assert torch.equal(*draws)
    grey = made(PixelRNN, (1, 1, 2), 5, levels=5)
    pairs = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)).double().view(-1, 1, 1, 2)
    close(grey.log_prob(pairs).exp().sum(), 1.0)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Recurrent(0, 4), ValueError, "length is 0, expected at least 1"),
        (lambda: Recurrent(4, 0), ValueError, "hidden is 0, expected at least 1"),
        (lambda: Recurrent(4, 2.0), TypeError, "hidden is 2.0, expected an int"),
        (lambda: Recurrent(4, 2, "gru"), ValueError, "cell is 'gru', expected one of 'rnn', 'lstm'"),
        (lambda: Recurrent(4, 2).log_prob(torch.zeros(4)), ValueError, "x has shape (4,), expected 2 axes"),
        (lambda: Recurrent(4, 2).log_prob(torch.zeros(1, 4).long()), TypeError, "x has dtype torch.int64"),
        (
            lambda: Recurrent(4, 2).log_prob(torch.full((1, 4), 16.0)),
            ValueError,
            "x has values from 16 to 16",
        ),
        (lambda: Recurrent(4, 2).log_prob(torch.full((1, 4), 0.5)), ValueError, "x has values between whole numbers"),
        (lambda: Recurrent(4, 2).sample(0), ValueError, "n is 0, expected at least 1"),
        (lambda: recurrence.lstm_update(torch.zeros(1, 7), torch.zeros(1, 2)), ValueError, "gates has shape (1, 7)"),
        (lambda: recurrence.lstm_update([0.0], torch.zeros(1, 2)), TypeError, "gates is a list"),
        (lambda: recurrence.skew(torch.zeros(2, 3)), ValueError, "x has shape (2, 3), expected 4 axes"),
        (lambda: recurrence.unskew(torch.zeros(1, 1, 4, 3)), ValueError, "the width of x, less the skewing, is 0"),
        (lambda: PixelRNN((3, 4, 4), 4), ValueError, "the number of channels is 3, expected one of 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, error, sentence, untyped):
    with pytest.raises(error) as refusal:
        call()
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)
