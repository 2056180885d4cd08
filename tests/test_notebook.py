"""What a reader touches: the run, checks that can fail, diagnosis, sliders without a kernel, shown source."""

import ast
import html
import inspect
import io
import json
import math
import re
import textwrap
from base64 import b64decode
from functools import partialmethod
from unittest import mock

import ipywidgets
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
import tqdm.auto
import tqdm.std
from kernel import Kernel
from nbclient import NotebookClient
from PIL import Image

from dgmlib import bugs, divergences, notebook
from dgmlib.bugs import Bug, Subject
from dgmlib.notebook import Check, CheckFailed, Run, diagnose, explore, setup, show_source, source_markdown


@pytest.fixture(autouse=True)
def unchanged():
    """`setup` changes figure defaults and progress bars for the process; give them back."""
    with (
        plt.rc_context(),
        mock.patch.object(tqdm.std.tqdm, "__init__", tqdm.std.tqdm.__init__),
        mock.patch.object(tqdm.auto.tqdm, "__init__", tqdm.auto.tqdm.__init__),
    ):
        yield
    plt.close("all")


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


# --- the run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name in ("DGM_BUDGET", "DGM_SEED", "DGM_STATIC"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


def test_setup_reads_the_environment_and_prints_nothing(environment, capsys):
    environment()
    assert setup() == Run(torch.device("cpu"), "cpu", 0)
    environment(DGM_BUDGET="smoke", DGM_SEED="7")
    run = setup()
    assert (run.budget, run.seed, run.device.type) == ("smoke", 7, "cpu")
    assert run.pick(smoke=1, cpu=2, gpu=3) == 1
    assert capsys.readouterr() == ("", "")


def test_the_gpu_budget_takes_cuda_when_there_is_one(environment, monkeypatch):
    environment(DGM_BUDGET="gpu")
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert setup().device.type == device


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_generators_live_on_the_runs_device(environment):
    environment(DGM_BUDGET="gpu")
    run = setup()
    assert run.generator().device.type == "cuda"
    assert torch.equal(*(torch.randn(5, generator=run.generator(1), device="cuda") for _ in range(2)))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DGM_BUDGET", "full", "'smoke', 'cpu', 'gpu'"),
        ("DGM_BUDGET", "", "'smoke', 'cpu', 'gpu'"),
        ("DGM_SEED", "-1", "a non-negative int"),
        ("DGM_SEED", "1.5", "a non-negative int"),
        ("DGM_SEED", str(2**64), "a non-negative int"),
    ],
)
def test_a_bad_variable_is_named(environment, name, value, expected):
    environment(**{name: value})
    with pytest.raises(ValueError, match=f"{name} is '{value}', expected .*{expected}"):
        setup()


def test_setup_seeds_the_global_generator_and_leaves_the_default_dtype(environment):
    environment(DGM_SEED="3")
    setup()
    first = torch.rand(4)
    setup()
    assert torch.equal(first, torch.rand(4)) and first.dtype == torch.float32


def test_streams_are_reproducible_and_differ():
    run = Run(torch.device("cpu"), "cpu", 0)
    draws = [torch.rand(8, generator=g) for g in (run.generator(), run.generator(), run.generator(1))]
    draws.append(torch.rand(8, generator=Run(torch.device("cpu"), "gpu", 1).generator(0, device="cpu")))
    assert torch.equal(draws[0], draws[1])
    assert len({tuple(draw.tolist()) for draw in draws}) == 3  # seed 0 stream 1 is not seed 1 stream 0
    with pytest.raises(ValueError, match="stream is -1"):
        run.generator(-1)


def test_bars_are_silent_only_in_the_book(environment, monkeypatch, capsys):
    for bar in (
        tqdm.std.tqdm,
        tqdm.auto.tqdm,
    ):  # as they are without TQDM_DISABLE, which tqdm reads when it is imported
        monkeypatch.setattr(bar, "__init__", partialmethod(bar.__init__, disable=False))
    environment()
    setup()
    list(tqdm.std.tqdm(range(2)))
    assert "2/2" in capsys.readouterr().err
    environment(DGM_STATIC="1")
    setup()
    list(tqdm.std.tqdm(range(2)))
    list(tqdm.auto.tqdm(range(2)))
    assert capsys.readouterr() == ("", "")


def test_a_notebook_stores_palette_figures():
    cells = [
        "from dgmlib.notebook import setup\nrun = setup()",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "plt.plot([1, 2]);",
    ]
    ran = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(ran, timeout=120, kernel_name="python3", kernel_manager_class=Kernel).execute()
    first, shown, left = (cell.outputs for cell in ran.cells)
    assert not first
    assert len(shown) == len(left) == 1
    image = Image.open(io.BytesIO(b64decode(shown[0].data["image/png"])))
    assert image.mode == "P" and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert shown[0].data == left[0].data


# --- checks ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def check():
    return Check()


HOLDS = [
    (lambda c: c.equal("eq-a", 0.875, 0.875), "✓ eq-a: 0.8750 = 0.8750"),
    (lambda c: c.equal("eq-a", 0.875, 0.875, wrong={"E0-28": 1.221}), "✓ eq-a: 0.8750 = 0.8750, rejects E0-28 (1.221)"),
    (
        lambda c: c.equal("eq-a", 1, 1.25, atol=0.5, wrong={"x": 4, "y": -math.inf}),
        "✓ eq-a: 1.0 ≈ 1.2, rejects x (4.0), y (-inf)",
    ),
    (lambda c: c.equal("eq-a of 0", 3e-10, t(0.0)[0]), "✓ eq-a of 0: 0 = 0"),
    (lambda c: c.equal("eq-a", 100.0, 101.0, rtol=0.01), "✓ eq-a: 100 ≈ 101"),
    (lambda c: c.equal("eq-a", math.inf, np.float64("inf"), wrong={"x": 1.0}), "✓ eq-a: inf = inf, rejects x (1.000)"),
    (lambda c: c.equal("eq-a", t(1.0, 2.0), np.array([1.0, 2.0])), "✓ eq-a: [1.000, 2.000] (2,) on both sides"),
    (
        lambda c: c.equal("eq-a", torch.arange(5), torch.arange(5.0).double(), wrong={"x": torch.ones(5).double()}),
        "✓ eq-a: [0, 1.000, 2.000, …] (5,) on both sides, rejects x (off by up to 3.000)",
    ),
    # Every digit of single precision may differ on another machine.
    (
        lambda c: c.equal("eq-a", torch.tensor(1.0), 1.0, atol=1e-5, wrong={"x": 2.0}),
        "✓ eq-a: both sides agree, rejects x",
    ),
    (lambda c: c.equal("eq-a", 1.0, 1.0, wrong={"x": torch.tensor(2.0)}), "✓ eq-a: 1.000 = 1.000, rejects x"),
    # Rounding noise moves no digit, not even where 1.0625 is rounded to 4.
    (lambda c: c.chain("eq-a", [1.0625, 1.06249999999999, 1.06250000000001]), "✓ eq-a: 1.062 = 1.062 = 1.062"),
    (lambda c: c.chain("eq-a", [t(1.0, 2.0)] * 3), "✓ eq-a: [1.000, 2.000] (2,) on all 3 lines"),
    (lambda c: c.at_most("eq-a", 0.5, 0.7), "✓ eq-a: 0.5000 ≤ 0.7000"),
    (lambda c: c.at_most("eq-a", 0.0, 0.7), "✓ eq-a: 0 ≤ 0.7000"),
    (
        lambda c: c.at_most("eq-a", 0.5, 0.5, wrong={"x": (0.6, 0.5)}),
        "✓ eq-a: 0.5000 ≤ 0.5000, rejects x (0.6000 > 0.5000)",
    ),
    (lambda c: c.at_most("eq-a", 0.6, 0.5, slack=0.2), "✓ eq-a: 0.6 ≤ 0.5"),
    # No digit that the tolerance does not resolve, and none of what rounding leaves of 0.
    (lambda c: c.equal("eq-a", 1.2345678e-6, 1.2345e-6), "✓ eq-a: 1.235e-06 ≈ 1.234e-06"),
    (lambda c: c.equal("eq-a", 3.21e-8, 3.24e-8, wrong={"x": 5.5e-9}), "✓ eq-a: 3.2e-08 = 3.2e-08, rejects x (5e-09)"),
    (lambda c: c.equal("eq-a", 2.0, 2.0, atol=1e-3, wrong={"x": 1.23456}), "✓ eq-a: 2.000 = 2.000, rejects x (1.235)"),
    (lambda c: c.equal("eq-a", 0.5, 0.5004, atol=2e-3), "✓ eq-a: 0.500 = 0.500"),
    (
        lambda c: c.equal("eq-a", t(0.0, 0.5), t(4e-4, 0.5), atol=1e-3, wrong={"x": t(0.0, 0.61234)}),
        "✓ eq-a: [0, 0.500] (2,) on both sides, rejects x (off by up to 0.112)",
    ),
    (lambda c: c.at_most("eq-a", 4.4e-16, 1e-3), "✓ eq-a: 0 ≤ 0.001000"),
    (
        lambda c: c.at_most("eq-a", 1.5e-8, 1e-3, wrong={"x": (0.1, -3e-17)}),
        "✓ eq-a: 0 ≤ 0.001000, rejects x (0.1000 > 0)",
    ),
    (lambda c: c.at_most("eq-a", 1.0 + 1e-7, 1.0, slack=1e-6), "✓ eq-a: 1.000 ≤ 1.000"),
    (lambda c: c.at_most("eq-a", torch.tensor(0.5), 0.7), "✓ eq-a: holds in 1 case"),
    (
        lambda c: c.at_most("eq-a", t(0.1, 0.2), 1, wrong={"x": (t(1.0, 2.0, 3.0), 1.5)}),
        "✓ eq-a: holds in 2 cases, rejects x (2 of 3 cases)",
    ),
    (lambda c: c.at_most("eq-a", t(0.1, 0.2), t(0.1, math.inf)), "✓ eq-a: holds in 2 cases"),
    (
        lambda c: c.estimate("eq-a", np.arange(100) % 2, 0.5, wrong={"x": 0.8, "y": math.nan}),
        "✓ eq-a: 0.5000 within 5 standard errors of the mean of 100 samples, rejects x (0.8000), y (nan)",
    ),
    (
        lambda c: c.estimate("eq-a", torch.full((100,), 0.1), torch.tensor(0.1).item()),
        "✓ eq-a: 0.1000 within 5 standard errors of the mean of 100 samples",
    ),
]


@pytest.mark.parametrize(("call", "line"), HOLDS, ids=range(len(HOLDS)))
def test_a_check_that_holds_prints_one_line(check, capsys, call, line):
    call(check)
    assert capsys.readouterr().out == line + "\n"
    assert [record.passed for record in check.log] == [True]


FAILS = [
    (lambda c: c.equal("eq-a", 1.0, 1.1), "lhs 1.000 ≠ rhs 1.100, off by up to 0.1000"),
    (lambda c: c.equal("eq-a", 1.0, 1.0 + 2e-9), "≠"),
    (lambda c: c.equal("eq-a", 100.0, 101.1, rtol=0.01), "≠"),
    (lambda c: c.equal("eq-a", math.nan, math.nan), "lhs nan ≠ rhs nan"),
    (lambda c: c.equal("eq-a", t(1.0, math.nan), t(1.0, math.nan)), "≠"),
    (lambda c: c.equal("eq-a", math.inf, 1.0, rtol=0.5), "≠"),
    (lambda c: c.equal("eq-a", 1.0, math.inf, rtol=0.5), "≠"),
    (lambda c: c.equal("eq-a", math.inf, -math.inf), "≠"),
    # Shapes that would have broadcast.
    (
        lambda c: c.equal("eq-a", torch.ones(3, 1).double(), torch.ones(3).double()),
        r"lhs has shape \(3, 1\), expected \(3,\)",
    ),
    (lambda c: c.equal("eq-a", torch.ones(3).double(), 1.0), r"lhs has shape \(3,\), expected \(\) like rhs"),
    # Wrong forms that would have passed.
    (
        lambda c: c.equal("eq-a", 1.0, 1.0, wrong={"E0-40": 1.0 + 5e-10}),
        r"the wrong form E0-40 \(1.000\) would have passed",
    ),
    (lambda c: c.equal("eq-a", 1.0, 1.0, wrong={"x": 2.0, "y": 1.0, "z": 1.0}), r"y \(1.000\) and z \(1.000\) would"),
    (lambda c: c.equal("eq-a", math.inf, math.inf, wrong={"x": math.nan}), r"x \(nan\) would have passed"),
    (lambda c: c.equal("eq-a", math.inf, math.inf, wrong={"x": -math.inf}), "would have passed"),
    (
        lambda c: c.equal("eq-a", torch.tensor(1.0), 1.0, atol=1e-5, wrong={"x": 1.0}),
        "the wrong form x would have passed",
    ),
    (lambda c: c.equal("eq-a", 1.0, 1.5, atol=1.0, wrong={"x": 2.2}), "would have passed"),  # far from one side only
    (lambda c: c.chain("eq-a", [1.0, 1.0, 2.0]), "line 2 1.000 ≠ line 3 2.000"),
    (lambda c: c.chain("eq-a", [1.0, 2.0, 2.0], wrong={"x": 3.0}), "line 1 1.000 ≠ line 2 2.000"),
    (lambda c: c.chain("eq-a", [1.0, 1.0, 1.0], wrong={"x": 1.0}), "would have passed"),
    (lambda c: c.at_most("eq-a", 0.7, 0.5), "0.7000 > 0.5000"),
    (lambda c: c.at_most("eq-a", math.nan, 0.5), "nan > 0.5000"),
    (lambda c: c.at_most("eq-a", 2e-16, 0.0), "2.000e-16 > 0"),
    (lambda c: c.equal("eq-a", t(1.0, 1.0), t(0.5, 3e-15)), r"lhs \[1.000, 1.000\] \(2,\) ≠ rhs \[0.5000, 0\] \(2,\)"),
    (lambda c: c.equal("eq-a", 1.0, 1.2345, atol=0.1), "lhs 1.000 ≠ rhs 1.234, off by up to 0.2345"),
    (lambda c: c.at_most("eq-a", t(0.1, 0.9, math.nan), 0.5), "broken in 2 of 3 cases"),
    (lambda c: c.at_most("eq-a", t(0.1, 0.2), t(0.5)), r"small has shape \(2,\), expected \(1,\) like large"),
    (lambda c: c.at_most("eq-a", t(0.1, 0.2), t(0.5)[0]), "small has shape"),
    (lambda c: c.at_most("eq-a", 0.1, 0.5, wrong={"x": (0.2, 0.5)}), "would have passed"),
    (lambda c: c.at_most("eq-a", 0.1, math.inf, wrong={"x": (math.nan, 0.5)}), "would have passed"),
    (lambda c: c.at_most("eq-a", 0.1, 0.5, slack=1.0, wrong={"x": (0.9, 0.5)}), "would have passed"),
    (lambda c: c.estimate("eq-a", np.arange(100) % 2, 0.76), "0.5, is 5.17 standard errors from 0.7600"),
    (lambda c: c.estimate("eq-a", np.ones(100), 1.0 + 1e-6), "standard errors"),
    (lambda c: c.estimate("eq-a", np.full(100, math.nan), 1.0), "nan"),
    (lambda c: c.estimate("eq-a", np.ones(100), math.nan), "nan"),
    (lambda c: c.estimate("eq-a", np.arange(100) % 2, 0.5, wrong={"x": 0.7}), r"x \(0.7000\) would have passed"),
]


@pytest.mark.parametrize(("call", "message"), FAILS, ids=range(len(FAILS)))
def test_a_check_that_does_not_hold_says_why(check, capsys, call, message):
    with pytest.raises(CheckFailed, match=f"✗ eq-a: .*{message}"):
        call(check)
    assert capsys.readouterr().out == ""
    assert [(record.label, record.passed) for record in check.log] == [("eq-a", False)]


REFUSED = [
    (
        lambda c: c.equal("eq-a", torch.tensor(1.0), 1.0),
        TypeError,
        "lhs is torch.float32, expected torch.float64, or atol",
    ),
    (lambda c: c.equal("eq-a", 1.0, np.float32(1.0)), TypeError, "rhs is torch.float32"),
    (lambda c: c.equal("eq-a", torch.tensor(1.0).half(), 1.0, atol=1e-3), TypeError, "lhs is torch.float16"),
    (lambda c: c.equal("eq-a", None, 1.0), TypeError, "lhs is a NoneType, expected a number"),
    (lambda c: c.equal("eq-a", [1.0], [1.0]), TypeError, "lhs is a list, expected"),
    (lambda c: c.equal("eq-a", torch.zeros(1) * 1j, 1.0), TypeError, "expected real numbers"),
    (lambda c: c.equal("eq-a", t(), t()), TypeError, "expected real numbers"),
    (lambda c: c.equal("eq-a", 1.0, 1.0, atol=math.nan), ValueError, "atol is nan"),
    (lambda c: c.equal("eq-a", 1.0, 1.0, atol=math.inf), ValueError, "atol is inf"),
    (lambda c: c.equal("eq-a", 1.0, 1.0, rtol=-1.0), ValueError, "rtol is -1.0"),
    (lambda c: c.equal("eq-a", 1.0, 1.0, wrong={1: 2.0}), TypeError, "wrong"),
    (
        lambda c: c.equal("eq-a", t(1.0), t(1.0), wrong={"x": 2.0}),
        ValueError,
        r"wrong\['x'\] has shape \(\), expected \(1,\)",
    ),
    (lambda c: c.equal(" ", 1.0, 1.0), ValueError, "name is ' ', expected the label of an equation"),
    (lambda c: c.chain("eq-a", [1.0]), ValueError, "lines has 1 entries, expected at least 2"),
    (lambda c: c.at_most("eq-a", 1.0, 2.0, slack=-0.1), ValueError, "slack is -0.1"),
    (lambda c: c.at_most("eq-a", 1.0, 2.0, wrong={"x": 3.0}), TypeError, "wrong"),
    (lambda c: c.at_most("eq-a", 1.0, 2.0, wrong={"x": (t(1.0, 2.0), t(1.0))}), ValueError, "has shape"),
    (lambda c: c.estimate("eq-a", np.ones(99), 1.0), ValueError, r"samples has shape \(99,\), expected \(n,\)"),
    (lambda c: c.estimate("eq-a", np.ones((100, 1)), 1.0), ValueError, "samples has shape"),
    (lambda c: c.estimate("eq-a", np.ones(100), t(1.0)), ValueError, r"truth has shape \(1,\), expected one number"),
    (lambda c: c.estimate("eq-a", np.ones(100), 1.0, wrong={"x": t(1.0)}), ValueError, "one number"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_a_call_that_makes_no_sense_is_refused(check, call, error, message):
    with pytest.raises(error, match=message) as refused:
        call(check)
    assert not isinstance(refused.value, CheckFailed) and not check.log


def test_the_log_says_what_was_rejected(check):
    check.equal("eq-kl, discrete", 1.0, 1.0, wrong={"E0-28": 2.0, "kl-reversed": 3.0})
    with pytest.raises(CheckFailed):
        check.equal("eq-kl", 1.0, 1.0, wrong={"E0-28": 2.0, "kl-reversed": 1.0})
    assert [(r.label, r.passed, r.rejects) for r in check.log] == [
        ("eq-kl", True, ("E0-28", "kl-reversed")),
        ("eq-kl", False, ("E0-28",)),
    ]


def test_an_estimate_tells_a_biased_sampler_from_a_right_one(check):
    """A right mean fails with probability 5.7e-7; the wrong one lies 30 standard errors away."""
    samples = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    check.estimate("eq-a", samples, 0.0, wrong={"x": 0.3})
    with pytest.raises(CheckFailed, match="standard errors"):
        check.estimate("eq-a", samples + 0.3, 0.0)


# --- which mistake is mine? -----------------------------------------------------------------------------------------


def doubled(x):
    return 2 * x.sum(1)


@pytest.fixture
def museum(monkeypatch):
    probes = ((t([1.0, 2.0], [3.0, 4.0]),), (t([0.0, 0.5]),))
    told = {"name": "one too many", "symptom": "never zero", "place": "the constant", "cure": "subtract it."}
    shifted = Bug("shifted", "One too many.", lambda x: 2 * x.sum(1) + 1, **told)
    mean = Bug("E0-1", "Averaged", lambda x: x.mean(1), **told | {"cure": "double the sum"})
    subjects = {"doubled": Subject("doubled", doubled, probes, (shifted, mean))}
    monkeypatch.setattr(bugs, "subjects", lambda: subjects)
    return subjects["doubled"]


def spoiled(x):
    x *= 2
    return x.sum(1)


@pytest.mark.parametrize(
    ("function", "verdict", "sentence"),
    [
        (lambda x: x.sum(1) + x.sum(1), "right", "is right."),
        (spoiled, "right", "is right."),  # writes into its argument
        (lambda x: doubled(x.float()), "right", "is right."),  # within single precision
        (lambda x: 2 * x.sum(1) + 1, "known bug", "equals the known mistake shifted: One too many. Cure: subtract it."),
        (lambda x: x.float().mean(1), "known bug", "equals the known mistake E0-1: Averaged. Cure: double the sum."),
        (lambda x: doubled(x) / math.log(2), "unknown", "is 1.4427 × the right value: bits for nats?"),
        (lambda x: -doubled(x), "unknown", "is -1 × the right value: the sign is wrong."),
        (lambda x: doubled(x) * 3, "unknown", "is 3 × the right value."),
        (lambda x: 1e-3 * doubled(x) + 1e-5 * x.sum(1) ** 2, "unknown", "is off by up to "),  # no one ratio
        (lambda x: doubled(x) - 0.5, "unknown", "is the right value -0.5."),
        (lambda x: doubled(x) ** 2, "unknown", "is off by up to 182, and equals no known mistake."),
        (lambda x: doubled(x).sum(), "unknown", "returns one number where one value per example was expected."),
        (lambda x: doubled(x)[:, None], "unknown", r"returns shape (2, 1) where (2,) was expected."),
        (lambda x: (doubled(x), 0.0), "unknown", "returns 4 results on the probes where 2 were expected."),
        (lambda x: doubled(x) / 0, "unknown", "gives 3 NaN or infinite values where finite ones were expected."),
        (lambda x: x.missing, "error", "raises AttributeError: 'Tensor' object has no attribute 'missing'."),
        (lambda x: None, "error", "raises TypeError: the result is a NoneType, expected a number or a tensor."),
        (lambda: None, "error", "raises TypeError: "),
    ],
)
def test_diagnose_names_the_mistake(museum, capsys, function, verdict, sentence):
    diagnosis = diagnose("doubled", function)
    assert diagnosis.verdict == verdict
    assert capsys.readouterr().out.startswith(f"doubled: your function {sentence}")
    assert (diagnosis.bug is not None) == (verdict == "known bug")
    assert torch.equal(museum.probes[0][0], t([1.0, 2.0], [3.0, 4.0]))


@pytest.mark.parametrize(
    ("tell", "sentence"),
    [
        ("symptom", "equals a known mistake. Symptom: never zero."),
        ("place", "equals a known mistake. Place: the constant."),
        ("cure", "equals a known mistake. Cure: subtract it."),
        ("all", "equals the known mistake shifted: One too many. Cure: subtract it."),
    ],
)
def test_diagnose_tells_one_thing_at_a_time(museum, capsys, tell, sentence):
    assert diagnose("doubled", lambda x: 2 * x.sum(1) + 1, tell=tell).bug.id == "shifted"
    assert diagnose("doubled", doubled, tell=tell).verdict == "right"
    assert capsys.readouterr().out == f"doubled: your function {sentence}\ndoubled: your function is right.\n"


def test_diagnose_sees_a_result_that_is_missing(monkeypatch, capsys):
    pair = Subject("pair", lambda x: (x, x), ((1.0,),), ())
    monkeypatch.setattr(bugs, "subjects", lambda: {"pair": pair})
    assert diagnose("pair", lambda x: x).verdict == "unknown"
    assert "returns 1 results on the probes where 2 were expected" in capsys.readouterr().out


def test_diagnose_knows_where_infinity_is_right(monkeypatch, capsys):
    subjects = {"log": Subject("log", torch.log, ((t(0.0, 2.0, 3.0),),), ())}
    monkeypatch.setattr(bugs, "subjects", lambda: subjects)
    for function in (torch.log, torch.log2, lambda x: x.clamp(min=0.1).log()):
        diagnose("log", function)
    assert capsys.readouterr().out.splitlines() == [
        "log: your function is right.",
        "log: your function is 1.4427 × the right value: bits for nats?",
        "log: your function is -2.303 where -inf was expected.",
    ]


def test_diagnose_gives_each_call_the_same_noise(monkeypatch, capsys):
    generator = torch.Generator().manual_seed(0)
    draw = lambda n, generator: torch.randn(n, generator=generator, dtype=torch.float64)  # noqa: E731
    monkeypatch.setattr(bugs, "subjects", lambda: {"draw": Subject("draw", draw, ((3, generator),), ())})
    assert diagnose("draw", draw).verdict == diagnose("draw", draw).verdict == "right"


def test_diagnose_refuses_what_it_does_not_know(museum):
    with pytest.raises(ValueError, match="subject is 'tripled', expected one of 'doubled'"):
        diagnose("tripled", doubled)
    with pytest.raises(TypeError, match="function"):
        diagnose("doubled", 3.0)
    with pytest.raises(ValueError, match="tell is 'hint', expected one of 'all', 'symptom', 'place', 'cure'"):
        diagnose("doubled", doubled, tell="hint")


# --- sliders --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(environment, monkeypatch):
    """`explore` as in the book; returns its HTML and the data of its script."""
    environment(DGM_STATIC="1")
    shown = mock.Mock()
    monkeypatch.setattr(notebook, "display", shown)

    def make(*args, **kwargs):
        explore(*args, **kwargs)
        assert shown.call_args.kwargs == {"raw": True}  # else the notebook shows the dictionary
        markup = shown.call_args.args[0]["text/html"]
        return markup, json.loads(re.search(r"= (\{.*\});\n", markup)[1])

    return make


def line(sigma, k=1):
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, sigma], [0, k])
    return figure


def decoded(data):
    return Image.open(io.BytesIO(b64decode(data)))


def test_the_first_frame_stands_in_the_image_itself(page):
    markup, data = page(line, alt="a line to {sigma} < {k}", sigma=[0.5, 1.0, 2.0], k=["a", "b"])
    image = re.search(r'<img src="data:image/png;base64,([^"]+)" width="200" height="100" alt="([^"]*)"', markup)
    assert html.unescape(image[2]) == data["alts"][0] == "a line to 0.5 < a"
    assert decoded(image[1]).mode == "P" and decoded(image[1]).size == (200, 100)
    assert len(data["frames"]) == 5 and len(data["alts"]) == 6
    assert data["alts"][-1] == "a line to 2.0 < b" and data["texts"] == [["0.5", "1", "2"], ["a", "b"]]
    assert len({image[1], *data["frames"]}) == 6
    assert not plt.get_fignums()


def test_frames_stand_in_the_order_of_the_script(page):
    """frame = index of the first slider × stops of the second + index of the second."""
    _, data = page(line, alt="{sigma} {k}", sigma=[1, 2], k=[3, 4, 5])
    assert data["alts"] == ["1 3", "1 4", "1 5", "2 3", "2 4", "2 5"]
    alone = mock.Mock(return_value=line(2, 4))
    _, same = page(alone, alt="{sigma}", sigma=[0, 1])
    assert data["frames"][4 - 1] == same["frames"][0]


def test_the_smoke_budget_draws_only_the_ends(page, monkeypatch):
    monkeypatch.setenv("DGM_BUDGET", "smoke")
    _, data = page(line, alt="{sigma} {k}", sigma=[1, 2, 3], k=[4])
    assert data["alts"] == ["1 4", "3 4"] and data["texts"] == [["1", "3"], ["4"]]


def test_a_slider_is_labelled_and_hidden_where_scripts_do_not_run(page):
    markup, _ = page(line, alt="{sigma}", sigma=[0.25, 1.0])
    assert '<label>sigma <input type="range" min="0" max="1" step="1" value="0" aria-valuetext="0.25"' in markup
    assert "<div hidden>" in markup and "background:#fff" in markup
    assert "http" not in markup and "src=" in markup


def test_the_page_is_the_same_on_every_run_and_its_own(page):
    first, again, other = (page(line, alt="{sigma}", sigma=s)[0] for s in ([1, 2], [1, 2], [1, 3]))
    names = [re.search('data-explore="(\\w+)"', markup)[1] for markup in (first, again, other)]
    assert first == again and names[0] == names[1] != names[2]


def test_text_cannot_close_the_script(page):
    markup, data = page(line, alt='</script> "{k}"', sigma=[1, 2], k=["</script>"])
    assert markup.count("</script>") == 1 and data["alts"][0] == '</script> "</script>"'
    markup, data = page(line, alt="{k}", sigma=[1, 2], k=["<!--<script>"])  # which would swallow the rest of the page
    assert markup.count("<script") == 1 and "<!--" not in markup and data["alts"][0] == "<!--<script>"


@pytest.mark.parametrize(
    ("sliders", "draw", "alt", "error", "message"),
    [
        ({}, line, "x", ValueError, "sliders is {}, expected at least one"),
        ({"sigma": []}, line, "x", ValueError, "expected at least one keyword with the values"),
        ({"sigma": range(25)}, line, "x", ValueError, "sliders make 25 frames, expected at most 24"),
        ({"sigma": range(5), "k": range(5)}, line, "x", ValueError, "sliders make 25 frames"),
        ({"sigma": [1]}, line, "{rho}", ValueError, "alt names 'rho', expected only sigma in braces"),
        ({"sigma": [1]}, lambda sigma: None, "x", TypeError, "draw returned a NoneType, expected a matplotlib Figure"),
        (
            {"sigma": [1, 2]},
            lambda sigma: plt.figure(figsize=(sigma, 1)),
            "x",
            ValueError,
            r"figures of 2 sizes, \[\(100, 100\), \(200, 100\)\] pixels",
        ),
        (
            {"sigma": [1, 2]},
            lambda sigma: plt.figure(figsize=(6, 6)).figimage(np.random.default_rng(sigma).random((600, 600))).figure,
            "x",
            ValueError,
            r"the 2 frames weigh \d+ KB, expected at most 300 KB",
        ),
    ],
)
def test_a_slider_that_would_not_do_is_refused(page, sliders, draw, alt, error, message):
    with pytest.raises(error, match=message):
        page(draw, alt=alt, **sliders)


def test_live_a_slider_is_a_widget(environment, monkeypatch):
    environment()
    shown, made = mock.Mock(), []
    monkeypatch.setattr(notebook, "display", shown)
    monkeypatch.setattr(ipywidgets, "interact", lambda function, **controls: made.append((function, controls)))
    explore(line, alt="{sigma}", sigma=np.array([0.5, 2.0]), k=[1, 2])
    function, controls = made[0]
    assert {type(control) for control in controls.values()} == {ipywidgets.SelectionSlider}
    assert controls["sigma"].options == (("0.5", 0.5), ("2", 2.0)) and controls["sigma"].value == 0.5
    function(sigma=2.0, k=1)
    assert isinstance(shown.call_args.args[0], plt.Figure) and not plt.get_fignums()


# --- shown source ---------------------------------------------------------------------------------------------------


def documented(x):
    """The first line,
    with what belongs to it.

    Args:
        x: not shown.
    """

    def inner():
        r"""One line."""
        return x

    class Held:
        """First.

        Second.
        """

        kept = 1

    return inner, Held  # a comment


def test_source_is_shown_with_short_docstrings():
    shown = source_markdown(f"{__name__}:documented")
    assert shown == (
        '```python\ndef documented(x):\n    """The first line,\n    with what belongs to it."""\n\n'
        '    def inner():\n        r"""One line."""\n        return x\n\n'
        '    class Held:\n        """First."""\n\n        kept = 1\n\n    return inner, Held  # a comment\n```'
    )


SHOWN = [name for name, held in vars(divergences).items() if getattr(held, "__module__", "") == divergences.__name__]


@pytest.mark.parametrize("name", [name for name in SHOWN if name[0].islower()])
def test_what_is_shown_is_the_code_that_runs(name):
    function = getattr(divergences, name)
    body = source_markdown(f"dgmlib.divergences:{name}").removeprefix("```python\n").removesuffix("\n```")
    whole = (ast.parse(textwrap.dedent(inspect.getsource(function))), ast.parse(body))
    without = [ast.dump(ast.Module([*tree.body[0].body[1:], tree.body[0].args], [])) for tree in whole]
    assert without[0] == without[1]


def test_shown_source_names_itself(monkeypatch):
    shown = mock.Mock()
    monkeypatch.setattr(notebook, "display", shown)
    show_source(notebook.Run.pick)
    source = "dgmlib.notebook:Run.pick"
    shown.assert_called_once_with(
        {"text/markdown": source_markdown(source)}, raw=True, metadata={"dgmlib": {"source": source}}
    )
    assert "def pick(self, *, smoke: Any" in source_markdown(source)
    show_source(Run)
    assert shown.call_args.kwargs["metadata"] == {"dgmlib": {"source": "dgmlib.notebook:Run"}}


def test_what_has_no_source_is_refused():
    with pytest.raises(TypeError):
        show_source(3)
    with pytest.raises(AttributeError):
        source_markdown("dgmlib.notebook:nothing")
