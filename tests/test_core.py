"""The shared ideas: shares of a batch, coin flips, and refusals that name the argument."""

import math

import pytest
import torch
import torch.distributed as dist

from dgmlib import core
from dgmlib.core import (
    Density,
    Schedule,
    Transform,
    bernoulli,
    data_parallel,
    global_batch,
    need_between,
    need_count,
    need_finite,
    need_option,
    need_probabilities,
    need_shape,
    need_tensor,
    rand_like,
    randn_like,
    share,
)

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


# --- interfaces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", [Density, Transform, Schedule])
def test_interfaces_are_abstract(interface):
    with pytest.raises(TypeError, match="abstract"):
        interface()


class Circular(Schedule):
    """alpha = cos, sigma = sin of an angle that grows to `end`; a `stretch` above 1 breaks alpha^2 + sigma^2 = 1."""

    def __init__(self, end, stretch=1.0):
        self.end, self.stretch = end, stretch

    def alpha(self, t):
        return self.stretch * torch.cos(self.end * torch.as_tensor(t, dtype=torch.float64))

    def sigma(self, t):
        return torch.sin(self.end * torch.as_tensor(t, dtype=torch.float64))

    def dalpha(self, t):
        return -self.end * self.sigma(t)

    def dsigma(self, t):
        return self.end * self.alpha(t)


@pytest.mark.equation("eq-diff-tables")
@pytest.mark.equation("eq-diff-snr")
def test_a_schedule_has_a_signal_to_noise_ratio_and_tables():
    schedule = Circular(1.2)
    close = torch.testing.assert_close
    angle = 1.2 * torch.arange(5, dtype=torch.float64) / 4
    close(schedule.log_snr(0.5), -2 * angle[2].tan().log())
    alpha_bar, beta, beta_tilde = schedule.discretize(4)
    close(alpha_bar, angle.cos().square())
    close(beta[1:], 1 - alpha_bar[1:] / alpha_bar[:-1])
    close(beta_tilde[2:], beta[2:] * (1 - alpha_bar[1:-1]) / (1 - alpha_bar[2:]))
    assert beta[0] == beta_tilde[0] == beta_tilde[1] == 0 and alpha_bar[0] == 1
    for stretch in (1.001, 0.999):
        with pytest.raises(ValueError, match=r"differs from 1 by .*, expected a variance-preserving schedule"):
            Circular(1.2, stretch).discretize(4)
    assert Circular(1.2, 1 + 1e-10).discretize(1).beta.shape == (2,)  # rounding is forgiven
    with pytest.raises(ValueError, match="n_steps is 0, expected at least 1"):
        schedule.discretize(0)


# --- noise ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 64, 100, 1297])
def test_shares_cover_the_batch_once_and_evenly(monkeypatch, world, n):
    rows, sizes = [], []
    for rank in range(world):
        monkeypatch.setattr(core, "data_parallel", lambda rank=rank: (rank, world))
        mine = list(range(n))[share(n)]
        rows += mine
        sizes.append(len(mine))
    assert rows == list(range(n))
    assert max(sizes) - min(sizes) <= 1


def test_alone_a_process_has_everything():
    assert data_parallel() == (0, 1)
    assert share(5) == slice(0, 5)


def test_data_parallel_reads_the_process_group(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 3)
    monkeypatch.setattr(dist, "get_world_size", lambda: 8)
    assert data_parallel() == (3, 8)
    assert share(16) == slice(6, 8)
    monkeypatch.setattr(dist, "is_available", lambda: False)
    assert data_parallel() == (0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_has_its_law(dtype):
    n, probs = 100_000, torch.tensor([0.0, 1e-3, 0.3, 0.5, 0.9, 1.0], dtype=dtype)
    x = bernoulli(probs.expand(n, 6), generator=torch.Generator().manual_seed(0))
    assert x.dtype == dtype and x.shape == (n, 6)
    assert ((x == 0) | (x == 1)).all()
    assert (x[:, 0] == 0).all() and (x[:, -1] == 1).all()
    error = (x.mean(0) - probs).abs()
    assert (error <= Z * (probs * (1 - probs) / n).sqrt() + 1e-7).all()


def test_bernoulli_entries_are_independent():
    n = 100_000
    x = bernoulli(torch.full((n, 2), 0.3, dtype=torch.float64), generator=torch.Generator().manual_seed(1)) - 0.3
    for product in (x[:, 0] * x[:, 1], x[1:, 0] * x[:-1, 0]):
        assert abs(product.mean()) < Z * 0.21 / math.sqrt(n - 1)


def test_bernoulli_never_draws_what_has_no_probability(monkeypatch):
    monkeypatch.setattr(core, "rand_like", lambda probs, generator=None: torch.zeros_like(probs))  # its lowest value
    assert bernoulli(torch.tensor([0.0, 1e-9])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("draw, reference", [(randn_like, torch.randn), (rand_like, torch.rand)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_like_its_argument(draw, reference, dtype):
    x = torch.zeros(5, 2, dtype=dtype)
    noise = draw(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noise, reference(5, 2, generator=torch.Generator().manual_seed(0), dtype=dtype))
    torch.manual_seed(3)
    ours = draw(x)
    torch.manual_seed(3)
    assert torch.equal(ours, reference(5, 2, dtype=dtype))


@pytest.mark.parametrize("draw", [randn_like, rand_like, lambda x, generator: bernoulli(x + 0.5, generator=generator)])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_draw_together_what_one_would_draw_alone(monkeypatch, draw, world):
    alone = draw(torch.zeros(7, 2), generator=torch.Generator().manual_seed(0))
    parts = []
    for rank in range(world):
        monkeypatch.setattr(core, "data_parallel", lambda rank=rank: (rank, world))
        with global_batch(7):
            mine = torch.zeros(7, 2)[share(7)]
            parts.append(draw(mine, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.cat(parts), alone)


def test_outside_a_global_batch_noise_is_local_again(monkeypatch):
    monkeypatch.setattr(core, "data_parallel", lambda: (1, 2))
    with global_batch(4):
        pass
    with pytest.raises(KeyError), global_batch(4):
        raise KeyError
    assert randn_like(torch.zeros(3)).shape == (3,)


def test_rows_that_are_no_share_are_refused(monkeypatch):
    monkeypatch.setattr(core, "data_parallel", lambda: (1, 2))
    for draw in (randn_like, rand_like, bernoulli):
        with global_batch(4), pytest.raises(ValueError, match=r"^x has shape \(3, 2\), expected \(2, 2\)"):
            draw(torch.zeros(3, 2))


def test_bernoulli_repeats_with_its_generator():
    probs = torch.full((50,), 0.5)
    draws = [bernoulli(probs, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    torch.manual_seed(3)
    assert torch.equal(bernoulli(probs, generator=torch.Generator().manual_seed(1)), draws[0])


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        (lambda: need_tensor("x", [1.0]), TypeError, "x is a list, expected a torch.Tensor"),
        (
            lambda: need_tensor("x", torch.ones(2).long()),
            TypeError,
            "x has dtype torch.int64, expected a floating dtype",
        ),
        (lambda: need_tensor("x", torch.ones(2, 3), 1), ValueError, "x has shape (2, 3), expected 1 axes"),
        (lambda: need_tensor("x", torch.ones(0, 3)), ValueError, "x has shape (0, 3), expected at least one element"),
        (lambda: need_shape("x", torch.ones(2), (2, 1)), ValueError, "x has shape (2,), expected (2, 1)"),
        (
            lambda: need_finite("x", torch.tensor([1.0, math.nan, -math.inf])),
            ValueError,
            "x has 2 NaN or infinite values among 3, expected finite ones",
        ),
        (lambda: need_between("x", 1.5, 0, 1), ValueError, "x is 1.5, expected a number in [0, 1]"),
        (lambda: need_between("x", -0.1, 0, 1), ValueError, "x is -0.1, expected a number in [0, 1]"),
        (lambda: need_between("x", 0, 0, 1, open_ends=True), ValueError, "x is 0, expected a number in (0, 1)"),
        (lambda: need_between("x", 1, 0, 1, open_ends=True), ValueError, "x is 1, expected a number in (0, 1)"),
        (lambda: need_between("x", math.nan, 0, 1), ValueError, "x is nan, expected a number in [0, 1]"),
        (lambda: need_count("n", 2.0), TypeError, "n is 2.0, expected an int"),
        (lambda: need_count("n", True), TypeError, "n is True, expected an int"),
        (lambda: need_count("n", 0), ValueError, "n is 0, expected at least 1"),
        (lambda: need_count("n", 2, 3), ValueError, "n is 2, expected at least 3"),
        (lambda: need_option("kind", "c", {"a": 1, "b": 2}), ValueError, "kind is 'c', expected one of 'a', 'b'"),
        (
            lambda: need_probabilities("p", torch.tensor([1.2, -0.2])),
            ValueError,
            "p has a negative entry (-0.2), expected probabilities",
        ),
        (
            lambda: need_probabilities("p", torch.tensor([[0.5, 0.5], [0.5, 0.25]])),
            ValueError,
            "p sums to one only within 0.25, expected probabilities along the last axis",
        ),
        (lambda: need_probabilities("p", torch.tensor([0.75, 0.75])), ValueError, "p sums to one only within 0.5"),
        (lambda: need_probabilities("p", torch.tensor([math.nan, 1.0])), ValueError, "p has 1 NaN or infinite values"),
        (lambda: need_probabilities("p", torch.tensor(1.0)), ValueError, "p is a single number"),
        (lambda: need_probabilities("p", torch.ones(2, 1), 1), ValueError, "p has shape (2, 1), expected 1 axes"),
        (lambda: need_probabilities("p", torch.tensor([1])), TypeError, "p has dtype torch.int64"),
    ],
)
def test_refusal_says_what_came_and_what_was_expected(untyped, call, error, sentence):
    with pytest.raises(error) as refusal:
        call()
    assert str(refusal.value).startswith(sentence)


def test_what_is_right_comes_back_unchanged():
    x = torch.ones(2, 3)
    assert need_tensor("x", x) is x
    assert need_tensor("x", x, 2) is x
    integers = torch.ones(2).long()
    assert need_tensor("x", integers, floating=False) is integers
    assert need_shape("x", x, (2, 3)) is x
    assert need_shape("x", x, x.shape) is x
    assert need_finite("x", x) is x
    assert need_between("x", 0.0, 0.0, 1.0) == 0 and need_between("x", 1.0, 0.0, 1.0) == 1
    assert need_between("x", 0.5, 0.0, math.inf, open_ends=True) == 0.5
    assert need_count("n", 1) == 1 and need_count("n", 0, 0) == 0 and need_count("n", 3, 3) == 3
    assert need_option("kind", "a", ("a", "b")) == "a"
    assert need_option("kind", 3, {3: "x"}) == 3
    p = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert need_probabilities("p", p) is p
    assert need_probabilities("p", p, 2) is p


@pytest.mark.parametrize("dtype, states", [(torch.float64, 3), (torch.float32, 100), (torch.bfloat16, 4)])
def test_probabilities_may_be_off_by_rounding_and_no_more(dtype, states):
    allowed = 1e-5 + 4 * states * torch.finfo(dtype).eps
    accepted, refused = torch.zeros(2, states, dtype=dtype)
    accepted[:2] = torch.tensor([0.5, 0.5 + 0.9 * allowed])
    refused[:2] = torch.tensor([0.5, 0.5 + 1.15 * allowed])
    need_probabilities("p", accepted)
    need_probabilities("p", accepted[None])  # the allowance grows with the states, not with the batch
    with pytest.raises(ValueError, match="p sums to one only within"):
        need_probabilities("p", refused)


# --- levels and blocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_levels_are_whole_numbers_below_n(dtype):
    x = torch.tensor([0, 3, 16], dtype=dtype)
    assert core.need_levels("x", x, 17) is x
    with pytest.raises(ValueError, match=r"^x reaches from 0 to 16, expected integers from 0 to 15$"):
        core.need_levels("x", x, 16)


@pytest.mark.parametrize(
    "values, sentence",
    [
        ([0.0, 0.25, 1.0], "x reaches from 0 to 1 with 0.25 among them, expected integers from 0 to 16"),
        ([0.0, math.nan], "x reaches from nan to nan with nan among them, expected integers from 0 to 16"),
        ([-1.0, 2.0], "x reaches from -1 to 2, expected integers from 0 to 16"),
        ([math.inf, 2.0], "x reaches from 2 to inf, expected integers from 0 to 16"),
    ],
)
def test_what_is_no_level_is_named(values, sentence):
    with pytest.raises(ValueError) as refusal:
        core.need_levels("x", torch.tensor(values), 17)
    assert str(refusal.value) == sentence


def test_values_are_not_read_where_there_are_none_or_torch_traces():
    x = torch.full((2, 3), 0.5)
    assert core.can_read(x) and not core.can_read(x.to("meta"))
    core.need_levels("x", x.to("meta"), 2)
    torch.func.vmap(lambda row: core.need_levels("x", row, 2))(x)
    assert torch.compile(lambda x: core.need_levels("x", x, 2) + 1, backend="eager")(x).eq(1.5).all()


def test_blocks_bound_what_is_held_and_change_nothing(monkeypatch):
    seen = []

    def f(x, label):
        seen.append(len(x))
        return x.sum(1) if label is None else x.sum(1) + label

    x, label = torch.arange(20.0).view(10, 2), torch.arange(10)
    monkeypatch.setattr(core, "BLOCK", 40)
    with torch.no_grad():
        assert torch.equal(core.by_blocks(f, 10, x, label), x.sum(1) + label) and seen == [4, 4, 2]
        assert torch.equal(core.by_blocks(f, 10, x, None), x.sum(1))
        assert torch.equal(core.by_blocks(f, 1000, x, None), x.sum(1)) and seen[-10:] == [1] * 10
        core.by_blocks(f, 1, x, label)
    assert seen[-1] == 10
    core.by_blocks(f, 10, x, label)  # a gradient would be recorded
    assert seen[-1] == 10
