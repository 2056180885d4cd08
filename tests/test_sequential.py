"""The samplers of autoregressive models: the naive loop is the definition, the others must give its sample."""

import itertools
import math

import pytest
import torch
from exact import f64

from dgmlib import sequential
from dgmlib.bugs import wrong
from dgmlib.sequential import categorical_draw, jacobi_sample, naive_sample


def uniforms(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chain(x, u):
    """Each bit copies its left neighbour with probability 0.9; the first one's neighbour is 0."""
    left = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    return (u < 0.1 + 0.8 * left).to(u.dtype)


def running(x, u):
    """Each value depends on all before it, and is not binary."""
    before = torch.cat([torch.zeros_like(x[:, :1]), x.cumsum(1)[:, :-1]], 1)
    return torch.floor(3 * torch.frac(u + 0.37 * before))


def by_hand(u):
    """The chain drawn bit after bit, without the library."""
    x = torch.zeros_like(u)
    for row in range(len(u)):
        left = 0.0
        for i in range(u.shape[1]):
            left = float(u[row, i] < 0.1 + 0.8 * left)
            x[row, i] = left
    return x


# --- inversion ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-draw")
def test_a_draw_is_the_slice_that_holds_u():
    probs = f64((0.2, 0.5, 0.3), (0.6, 0.0, 0.4))
    u = f64((0.0, 0.19, 0.21, 0.69, 0.71, 0.9999999), (0.0, 0.59, 0.61, 0.3, 0.99, 0.6 + 1e-9))
    got = categorical_draw(probs.log()[:, None].expand(2, 6, 3), u)
    assert got.tolist() == [[0, 0, 1, 1, 2, 2], [0, 0, 2, 0, 2, 2]] and got.dtype == torch.int64
    assert categorical_draw(probs.log()[:, None].expand(2, 6, 3) + 7, u).equal(got)  # logits, up to a constant


@pytest.mark.equation("eq-draw")
def test_an_edge_belongs_to_the_value_above_it_and_rounding_stays_inside():
    logits = torch.zeros(4, 4, dtype=torch.float64)
    assert categorical_draw(logits, f64(0.0, 0.25, 0.5, 0.75)).tolist() == [0, 1, 2, 3]
    for k in (3, 7, 100):
        logits = torch.zeros(1, k)
        assert categorical_draw(logits, torch.tensor([1 - 2**-24])).item() == k - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_rounding_leaves_below_one_goes_to_a_value_with_mass(dtype):
    """Edges of 1,000 equal slices end short of 1, where values without any mass stand."""
    for k in (3, 7, 49, 100, 1000):
        logits = torch.cat([torch.zeros(1, k), torch.full((1, 3), -math.inf)], 1).to(dtype)
        for u in (0.0, 0.999, 1 - 2**-24):
            assert categorical_draw(logits, torch.tensor([u])).item() < k
        assert categorical_draw(logits, torch.tensor([1 - 2**-24])).item() == k - 1
        close_to_one = torch.tensor([1 - 1e-12], dtype=torch.float64)
        assert categorical_draw(logits, close_to_one).item() == k - 1


def test_draws_have_the_law_of_the_softmax():
    logits = f64(0.3, -1.0, 2.0, 0.0)
    n = 100_000
    counts = categorical_draw(logits.expand(n, 4), uniforms(n)).bincount(minlength=4)
    probs = logits.exp() / logits.exp().sum()
    deviation = (counts - n * probs).abs() / (n * probs * (1 - probs)).sqrt()
    assert deviation.max() < 5.5  # four two-sided tests: fails by chance with probability below 2e-7


# --- the loop and the fixed point -----------------------------------------------------------------------------------


@pytest.mark.equation("eq-one-at-a-time")
def test_the_loop_draws_one_after_the_other():
    u = uniforms(50, 12)
    assert naive_sample(chain, u).equal(by_hand(u))
    backwards = naive_sample(lambda x, v: chain(x.flip(1), v.flip(1)).flip(1), u, order=range(11, -1, -1))
    assert backwards.equal(by_hand(u.flip(1)).flip(1))
    assert not naive_sample(chain, u, order=range(11, -1, -1)).equal(by_hand(u))


@pytest.mark.equation("eq-one-at-a-time")
@pytest.mark.parametrize("layout", ["plain", "channels last"])
def test_the_loop_makes_one_pass_a_position_and_keeps_the_events_shape(layout):
    u = uniforms(3, 2, 2, 3)
    if layout == "channels last":
        u = u.contiguous(memory_format=torch.channels_last)
    passes = []

    def draw(x, v):
        passes.append(x.clone())
        assert x.shape == v.shape == u.shape
        return running(x.flatten(1), v.flatten(1)).view(u.shape).long()

    x = naive_sample(draw, u)
    assert len(passes) == 12 and x.dtype == torch.int64 and x.shape == u.shape
    assert running(x.flatten(1).double(), u.flatten(1)).equal(x.flatten(1).double())  # the fixed point
    for i, (earlier, later) in enumerate(itertools.pairwise(passes)):  # before each pass, one value more is there
        assert (earlier != later).flatten(1)[:, :i].sum() == 0 == later.flatten(1)[:, i + 1 :].sum()


@pytest.mark.equation("eq-jacobi")
@pytest.mark.parametrize("draw", [chain, running])
def test_jacobi_gives_the_loops_sample_from_any_guess(draw):
    u = uniforms(40, 15)
    target = naive_sample(draw, u)
    for start in (None, target, torch.ones_like(u), uniforms(40, 15, seed=1).round()):
        x, passes = jacobi_sample(draw, u, start=start)
        assert x.equal(target) and 1 <= passes <= 15
    assert jacobi_sample(draw, u, start=target)[1] == 1  # one pass proves a sample


@pytest.mark.equation("eq-jacobi")
def test_jacobi_counts_the_longest_memory():
    """A uniform below 0.1 or above 0.9 forgets the past: as many passes as the longest run of copies, and a proof."""
    u = f64([0.5, 0.5, 0.05, 0.5, 0.5, 0.5, 0.95, 0.5])
    assert by_hand(u).tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]]
    assert jacobi_sample(chain, u)[1] == 5  # the 1 is born in pass 1, copied in passes 2, 3, 4; pass 5 changes nothing
    assert jacobi_sample(lambda x, v: (v < 0.5).double(), u)[1] == 2  # independent: one pass and its proof
    calls = []
    slow = lambda x, v: calls.append(1) or (1 - torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1))  # noqa: E731
    x, passes = jacobi_sample(slow, uniforms(2, 8), start=torch.ones(2, 8, dtype=torch.float64))
    assert x.tolist() == [[1, 0] * 4] * 2 and passes == len(calls) <= 8  # alternation: as slow as the loop, not slower


def test_the_last_of_d_passes_needs_no_proof():
    u = f64([0.05, 0.5, 0.5, 0.5])
    x, passes = jacobi_sample(chain, u)
    assert x.tolist() == [[1, 1, 1, 1]] and passes == 4


def test_wrong_samplers_are_told_apart():
    u = uniforms(30, 10)
    assert not torch.equal(wrong("jacobi", "jacobi-one-pass")(u), by_hand(u))
    assert not torch.equal(wrong("jacobi", "jacobi-order")(u), by_hand(u))


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: categorical_draw(torch.zeros(3, 4), torch.zeros(4)),
            ValueError,
            r"u has shape \(4,\), expected \(3,\)",
        ),
        (lambda: categorical_draw(torch.zeros(3, 4), torch.zeros(3).long()), TypeError, "u has dtype torch.int64"),
        (lambda: categorical_draw([0.0], torch.zeros(3)), TypeError, "logits is a list"),
        (
            lambda: categorical_draw(torch.full((1, 4), math.nan), torch.zeros(1)),
            ValueError,
            "logits has a row with NaN",
        ),
        (lambda: categorical_draw(torch.full((1, 4), -math.inf), torch.zeros(1)), ValueError, "logits has a row with"),
        (lambda: categorical_draw(torch.zeros(1, 4), torch.ones(1)), ValueError, "u reaches from 1 to 1, expected"),
        (lambda: categorical_draw(torch.zeros(1, 4), torch.full((1,), math.nan)), ValueError, "u reaches from nan"),
        (lambda: naive_sample(chain, torch.ones(3, 4)), ValueError, "uniforms reaches from 1 to 1, expected numbers"),
        (lambda: jacobi_sample(chain, -torch.ones(3, 4)), ValueError, "uniforms reaches from -1 to -1, expected"),
        (lambda: naive_sample(chain, torch.zeros(3)), ValueError, r"uniforms has shape \(3,\), expected \(batch"),
        (lambda: naive_sample(chain, torch.zeros(3, 4).long()), TypeError, "uniforms has dtype torch.int64"),
        (lambda: naive_sample(chain, torch.zeros(0, 4)), ValueError, "uniforms has shape"),
        (lambda: naive_sample(chain, torch.zeros(3, 4), order=(0, 1, 2)), ValueError, "order is .*each of 0 to 3 once"),
        (lambda: naive_sample(chain, torch.zeros(3, 2), order=(1, 1)), ValueError, "order is .*each of 0 to 1 once"),
        (lambda: jacobi_sample(chain, torch.zeros(3)), ValueError, r"uniforms has shape \(3,\)"),
        (lambda: jacobi_sample(chain, torch.zeros(3, 4), start=torch.zeros(3)), ValueError, "start has shape"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, error, words, untyped):
    with pytest.raises(error, match=words):
        call()


def test_everything_public_is_tested_here():
    assert {n for n in dir(sequential) if n.endswith(("_sample", "_draw"))} == {
        "categorical_draw", "jacobi_sample", "naive_sample",
    }  # fmt: skip
