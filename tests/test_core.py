"""The shared ideas: shares of a batch, coin flips, and refusals that name the argument."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import beartype
import jaxtyping
import numpy as np
import pytest
import torch
import torch.distributed as dist
from exact import f64
from jaxtyping import Float, Float32, Int64, Integer, UInt8
from torch import Tensor

from dgmlib import core
from dgmlib.core import (
    Density,
    Schedule,
    Transform,
    bernoulli,
    checked,
    data_parallel,
    global_batch,
    need_between,
    need_count,
    need_finite,
    need_levels,
    need_like,
    need_option,
    need_probabilities,
    need_shape,
    need_tensor,
    rand_like,
    randn_like,
    share,
)

X = torch.arange(6, dtype=torch.float64).view(3, 2)
Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


# --- annotations ----------------------------------------------------------------------------------------------------


@checked
def annotated(
    x: Float[Tensor, "batch d"] | None = None,
    y: Float[Tensor, "batch d"] | None = None,
    *more: Int64[Tensor, " batch"],
    a: float = 1.0,
    n: int | None = None,
    flag: bool = False,
    kind: str = "",
    rows: Float[Tensor, "*batch d"] | float = 0.0,
    image: UInt8[Tensor, "n 1 side side"] | None = None,
    shifted: Float[Tensor, "*#lead e"] | None = None,
    shift: Float[Tensor, "*#lead e"] | None = None,
    small: Float32[Tensor, "..."] | None = None,
    label: Integer[Tensor, "batch _"] | None = None,
    any_tensor: Tensor = X,
    generator: torch.Generator | None = None,
    f: Callable[[Tensor], Tensor] = torch.tanh,
    widths: Sequence[int] = (),
    pair: tuple[Float[Tensor, " d"], float] | None = None,
    module: torch.nn.Module | None = None,
    device: torch.device | str = "cpu",
    written: "Float[Tensor, ' d'] | int" = 0,
    unknown: TypeVar("T") = X,
):
    return "ran"


REFUSED = {  # arguments, and what is said of them
    "None": (((X, None), {"any_tensor": None}), TypeError, "any_tensor is a NoneType, expected a torch.Tensor"),
    "a list": ((([1.0],), {}), TypeError, "x is a list, expected a torch.Tensor or None"),
    "an array": (((np.ones((3, 2)),), {}), TypeError, "x is a ndarray, expected a torch.Tensor or None"),
    "a string": ((("x",), {}), TypeError, "x is 'x', expected a torch.Tensor or None"),
    "whole": (((X.long(),), {}), TypeError, "x has dtype torch.int64, expected a floating dtype"),
    "complex": (((X.to(torch.complex64),), {}), TypeError, "x has dtype torch.complex64, expected a floating dtype"),
    "half": (((), {"small": X.half()}), TypeError, "small has dtype torch.float16, expected torch.float32"),
    "bytes": (((), {"image": X}), TypeError, "image has dtype torch.float64, expected torch.uint8"),
    "labels": (((), {"label": X}), TypeError, "label has dtype torch.float64, expected an integer dtype"),
    "rank": (((X[0],), {}), ValueError, "x has shape (2,), expected 2 axes: (batch, d)"),
    "empty": (((X[:0],), {}), ValueError, "x has shape (0, 2), expected at least one element"),
    "two sizes": (((X, X[:, :1]), {}), ValueError, "y has shape (3, 1), expected (3, 2)"),
    "of several": (((X, X, X[:, 0].long(), X[0].long()), {}), ValueError, "more[1] has shape (2,), expected (3,)"),
    "rank after": (((X, X[0]), {}), ValueError, "y has shape (2,), expected 2 axes: (3, 2)"),
    "one letter": (
        ((), {"image": X.byte().view(3, 1, 2, 1)}),
        ValueError,
        "image has shape (3, 1, 2, 1), expected (3, 1, 2, 2)",
    ),
    "one is one": (
        ((), {"image": X.byte().view(1, 3, 2, 1)}),
        ValueError,
        "image has shape (1, 3, 2, 1), expected (1, 1, 2, 2)",
    ),
    "last of any": (((X,), {"rows": X.mT}), ValueError, "rows has shape (2, 3), expected (2, 2)"),
    "first of two": (((X,), {"label": X.mT.long()}), ValueError, "label has shape (2, 3), expected (3, 3)"),
    "rank of broadcast": (
        ((X, None), {"shifted": torch.ones(3, 4), "shift": torch.ones(2, 4)}),
        ValueError,
        "shift has",
    ),
    "no axis": (((X,), {"rows": X[0, 0]}), ValueError, "rows has shape (), expected (*batch, 2)"),
    "NaN": (((), {"a": math.nan}), ValueError, "a is nan, expected a number"),
    "NumPy's NaN": (((), {"a": np.float32("nan")}), ValueError, "a is nan, expected a number"),
    "NaN or tensor": (((), {"rows": math.nan}), ValueError, "rows is nan, expected a number"),
    "a flag for a number": (((), {"a": True}), TypeError, "a is True, expected a number"),
    "a tensor for a number": (((), {"a": X[0, 0]}), TypeError, "a is a Tensor, expected a number"),
    "imaginary": (((), {"a": 1j}), TypeError, "a is a complex, expected a number"),
    "fraction": (((), {"n": 2.0}), TypeError, "n is 2.0, expected an int or None"),
    "a flag for a count": (((), {"n": True}), TypeError, "n is True, expected an int or None"),
    "a number for a flag": (((), {"flag": 1}), TypeError, "flag is 1, expected a bool"),
    "a number for a name": (((), {"kind": 1}), TypeError, "kind is 1, expected a string"),
    "tensor or number": (((), {"rows": "x"}), TypeError, "rows is 'x', expected a torch.Tensor or a number"),
    "a seed": (((), {"generator": 0}), TypeError, "generator is 0, expected a Generator or None"),
    "no generator": (((), {"generator": np.random.default_rng()}), TypeError, "generator is a Generator, expected"),
    "no function": (((), {"f": 3}), TypeError, "f is 3, expected a function"),
    "no sequence": (((), {"widths": 3}), TypeError, "widths is 3, expected a sequence"),
    "letters": (((), {"widths": "abc"}), TypeError, "widths is 'abc', expected a sequence"),
    "an entry": (((), {"widths": [3, 2.0]}), TypeError, "widths[1] is 2.0, expected an int"),
    "one of a pair": (((X,), {"pair": (X[:, 0], 1.0)}), ValueError, "pair[0] has shape (3,), expected (2,)"),
    "the other": (((), {"pair": (X[0], None)}), TypeError, "pair[1] is None, expected a number"),
    "one alone": (((), {"pair": (X[0],)}), ValueError, "pair has 1 entries, expected 2"),
    "no module": (((), {"module": 3}), TypeError, "module is 3, expected a Module or None"),
    "no device": (((), {"device": "gpu"}), ValueError, "device is 'gpu', expected a device as torch names it"),
    "as written": (((X,), {"written": X[:, 0]}), ValueError, "written has shape (3,), expected (2,)"),
    "a name too many": (((), {"nothing": 3}), TypeError, "got an unexpected keyword argument 'nothing'"),
}


@pytest.mark.parametrize("arguments, error, sentence", REFUSED.values(), ids=REFUSED)
def test_what_is_not_as_annotated_is_refused(untyped, arguments, error, sentence):
    args, kwargs = arguments
    for _ in range(2):  # what was refused once is refused again
        with pytest.raises(error) as refusal:
            annotated(*args, **kwargs)
        assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize("jaxtyped", [False, True])
def test_letters_are_those_of_one_call(jaxtyped):
    """Also where the caller is itself under jaxtyping's eyes, with letters of its own."""

    def caller(x: Float[Tensor, "d batch"]):
        return annotated(x.mT, x.mT)

    if jaxtyped:
        caller = jaxtyping.jaxtyped(typechecker=beartype.beartype)(caller)
    assert caller(X) == "ran"
    with pytest.raises(ValueError, match=r"y has shape \(3, 2\), expected \(2, 3\)"):
        annotated(X.mT, X)


def test_what_is_as_annotated_runs():
    rows = X[:, 0].long()
    for args in ((), (X,), (X, X), (X, X, rows, rows), (X.half(),), (torch.nn.Parameter(X),), (X.to("meta"),)):
        for _ in range(2):
            assert annotated(*args) == "ran"
    options = [
        {"a": 1}, {"a": math.inf}, {"a": np.float64(0.5)}, {"a": np.int64(1)}, {"n": np.int32(3)},
        {"flag": np.bool_(1)}, {"written": X[0]}, {"device": torch.device("cpu")}, {"module": torch.nn.ReLU()},
        {"shifted": torch.ones(3, 4), "shift": torch.ones(4)}, {"shifted": X[:1], "shift": torch.ones(5, 2, 2)},
        {"rows": 0.3}, {"rows": X}, {"rows": X[0]}, {"rows": torch.ones(3, 5, 2)}, {"label": torch.ones(3, 7).int()},
        {"image": torch.ones(2, 1, 5, 5).byte()}, {"generator": torch.Generator()}, {"f": lambda x: x},
        {"f": torch.nn.Tanh}, {"widths": [1, 2]}, {"widths": range(3)}, {"pair": (X[0], 2)},
        {"module": torch.tanh}, {"unknown": 3},
    ]  # fmt: skip
    for option in options:
        for _ in range(2):
            assert annotated(X, **option) == "ran"


def test_a_prompt_may_be_empty_in_its_own_axis_only(untyped):
    @checked
    def length(given: Float[Tensor, "n known"]) -> int:
        return given.shape[1]

    assert length(torch.empty(3, 0)) == 0 and length(X) == 2
    for shape in ((0, 2), (0, 0), (0,)):
        with pytest.raises(ValueError, match=r"given has shape .*, expected at least one element"):
            length(torch.empty(shape))


class Sized(torch.nn.Module):
    def __init__(self, d, weights=None):
        super().__init__()
        self.d, self.k = d, weights

    @checked
    def forward(self, x: Float[Tensor, "*batch d"], k: Float[Tensor, " k"] | None = None) -> Float[Tensor, "d e"]:
        return x

    @staticmethod
    @checked
    def free(x: Float[Tensor, " d"]) -> Tensor:
        return x


def test_a_letter_of_a_method_is_an_attribute(untyped):
    for model in (Sized(2), Sized(4), Sized(2, X)):
        model(torch.ones(3, model.d), torch.ones(7))
        model(torch.ones(model.d))
        model.free(torch.ones(9))
        with pytest.raises(ValueError, match=rf"x has shape \(3, 3\), expected \(3, {model.d}\)"):
            model(torch.ones(3, 3))
    model.d = 3
    model(torch.ones(3, 3))


def test_inside_a_compiled_function_or_a_transform_nothing_is_checked(untyped):
    @checked
    def rows(x: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        return x.square().sum(-1)

    whole = torch.compile(lambda x: rows(x[0]) + rows(x).sum(), backend="eager", fullgraph=True)
    assert torch.equal(whole(X), rows(X).sum() + X[0].square().sum())
    assert torch.equal(torch.vmap(rows)(X), rows(X))
    assert torch.equal(torch.func.grad(rows)(X[0]), 2 * X[0])
    with pytest.raises(ValueError, match="2 axes"):
        rows(X[0])


def test_two_dtypes_are_one_sentence_wherever_torch_meets_them(untyped):
    @checked
    def both(x: Float[Tensor, " n"], weight: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
        return weight @ x

    @checked
    def other(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return x.view(7)

    assert torch.equal(both(X[0], X[:2]), X[:2] @ X[0])
    sentence = r"x has dtype torch.float64, weight has dtype torch.float32, expected .*both can compute with"
    with pytest.raises(TypeError, match=sentence):
        both(X[0], X[:2].float())
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        other(X[0])


def test_a_checked_function_keeps_its_name_and_signature():
    assert annotated.__name__ == "annotated" and "batch d" in str(annotated.__annotations__["x"])
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        randn_like()


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bernoulli_has_its_rate_in_half_precision(dtype, n=1_000_000):
    probs = torch.full((n,), 0.001, dtype=dtype)
    x = bernoulli(probs, generator=torch.Generator().manual_seed(0))
    p = float(probs[0])
    assert x.dtype == dtype and abs(float(x.double().mean()) - p) < Z * math.sqrt(p * (1 - p) / n)


def test_bernoulli_passes_on_what_is_no_probability():
    x = bernoulli(f64(math.nan, -0.1, 1.1, math.inf, 0.0, 1.0))
    assert x[:4].isnan().all() and x[4:].tolist() == [0, 1]


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
        (lambda: need_between("x", math.inf, 0, math.inf), ValueError, "x is inf, expected a number in [0, inf)"),
        (lambda: need_between("x", -math.inf, -math.inf, 0), ValueError, "x is -inf, expected a number in (-inf, 0]"),
        (lambda: need_between("x", math.nan, 0, 1), ValueError, "x is nan, expected a number in [0, 1]"),
        (
            lambda: need_like("x", X, X.float()),
            TypeError,
            "x has dtype torch.float64, expected torch.float32 like the module's parameters",
        ),
        (lambda: need_like("x", X.to("meta"), X), TypeError, "x is on meta, expected cpu like the module's parameters"),
        (
            lambda: need_levels("x", torch.tensor([0, 16]), 2),
            ValueError,
            "x has values from 0 to 16, expected whole numbers from 0 to 1",
        ),
        (lambda: need_levels("x", torch.tensor([-1.0, 1.0]), 2), ValueError, "x has values from -1 to 1, expected"),
        (lambda: need_levels("x", torch.tensor([math.nan, 1.0]), 2), ValueError, "x has values from nan to nan"),
        (lambda: need_levels("x", torch.tensor([0.5, 1.0]), 2), ValueError, "x has values between whole numbers"),
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
    assert type(need_count("n", np.int64(3))) is int
    assert need_levels("x", integers, 2) is integers and need_levels("x", x, 2) is x
    assert need_levels("x", x.to("meta"), 2).is_meta and need_finite("x", x.to("meta")).is_meta
    assert need_like("x", x, torch.ones(())) is x
    with torch.autocast("cpu"):
        need_like("x", x.bfloat16(), x)
    assert need_option("kind", "a", ("a", "b")) == "a"
    assert need_option("kind", 3, {3: "x"}) == 3
    p = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert need_probabilities("p", p) is p
    assert need_probabilities("p", p, 2) is p


@pytest.mark.parametrize("dtype, states", [(torch.float64, 3), (torch.float32, 100), (torch.bfloat16, 4)])
def test_probabilities_may_be_off_by_rounding_and_no_more(dtype, states):
    allowed = 1e-6 + (10 + 4 * states) * torch.finfo(dtype).eps
    accepted, refused = torch.zeros(2, states, dtype=dtype)
    accepted[:2] = torch.tensor([0.5, 0.5 + 0.9 * allowed], dtype=torch.float64)
    refused[:2] = torch.tensor([0.5, 0.5 + 1.15 * allowed], dtype=torch.float64)
    need_probabilities("p", accepted)
    need_probabilities("p", accepted[None])  # the allowance grows with the states, not with the batch
    with pytest.raises(ValueError, match="p sums to one only within"):
        need_probabilities("p", refused)


# --- values and blocks ----------------------------------------------------------------------------------------------


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
