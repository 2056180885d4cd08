"""Checks that can fail: what they say of what holds, of what does not, and of a call that makes no sense."""

import math
from unittest import mock

import numpy as np
import pytest
import torch

from dgmlib import bugs, checking
from dgmlib.checking import Check, CheckFailed


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def check():
    return Check()


KL = next(bug.name for subject in bugs.subjects().values() for bug in subject.bugs if bug.id == "E0-28")
HOLDS = [
    (lambda c: c.equal("eq-a", 0.875, 0.875), "✓ 0.8750 = 0.8750"),
    (lambda c: c.equal("eq-a", 0.875, 0.875, wrong={"E0-28": 1.221}), "✓ 0.8750 = 0.8750; rejects " + KL + " (1.221)"),
    (
        lambda c: c.equal("eq-a", 1, 1.25, atol=0.5, wrong={"x": 4, "y": -math.inf}),
        "✓ 1.0 ≈ 1.2; rejects x (4.0); y (-inf)",
    ),
    (lambda c: c.equal("eq-a of 0", 3e-10, t(0.0)[0]), "✓ of 0: 0 = 0"),
    (lambda c: c.equal("eq-a", 100.0, 101.0, rtol=0.01), "✓ 100 ≈ 101"),
    (lambda c: c.equal("eq-a", math.inf, np.float64("inf"), wrong={"x": 1.0}), "✓ inf = inf; rejects x (1.000)"),
    (lambda c: c.equal("eq-a", t(1.0, 2.0), np.array([1.0, 2.0])), "✓ both sides are [1.000, 2.000]"),
    (
        lambda c: c.equal("eq-a", torch.arange(5), torch.arange(5.0).double(), wrong={"x": torch.ones(5).double()}),
        "✓ both sides are [0, 1.000, 2.000, …] (5 values); rejects x (off by up to 3.000)",
    ),
    # Every digit of single precision may differ on another machine.
    (
        lambda c: c.equal("eq-a", torch.tensor(1.0), 1.0, atol=1e-5, wrong={"x": 2.0}),
        "✓ both sides agree; rejects x",
    ),
    (lambda c: c.equal("eq-a", 1.0, 1.0, wrong={"x": torch.tensor(2.0)}), "✓ 1.000 = 1.000; rejects x"),
    # Rounding noise moves no digit, not even where 1.0625 is rounded to 4.
    (lambda c: c.chain("eq-a", [1.0625, 1.06249999999999, 1.06250000000001]), "✓ 1.062 = 1.062 = 1.062"),
    (lambda c: c.chain("eq-a", [t(1.0, 2.0)] * 3), "✓ all 3 lines are [1.000, 2.000]"),
    (lambda c: c.at_most("eq-a", 0.5, 0.7), "✓ 0.5000 ≤ 0.7000"),
    (lambda c: c.at_most("eq-a", 0.0, 0.7), "✓ 0 ≤ 0.7000"),
    (
        lambda c: c.at_most("eq-a", 0.5, 0.5, wrong={"x": (0.6, 0.5)}),
        "✓ 0.5000 ≤ 0.5000; rejects x (0.6000 > 0.5000)",
    ),
    (lambda c: c.at_most("eq-a", 0.6, 0.5, slack=0.2), "✓ 0.6 ≤ 0.5"),
    # No digit that the tolerance does not resolve, and none of what rounding leaves of 0.
    (lambda c: c.equal("eq-a", 1.2345678e-6, 1.2345e-6), "✓ 1.235e-06 ≈ 1.234e-06"),
    (lambda c: c.equal("eq-a", 3.21e-8, 3.24e-8, wrong={"x": 5.5e-9}), "✓ 3.2e-08 = 3.2e-08; rejects x (5e-09)"),
    (lambda c: c.equal("eq-a", 2.0, 2.0, atol=1e-3, wrong={"x": 1.23456}), "✓ 2.000 = 2.000; rejects x (1.235)"),
    (lambda c: c.equal("eq-a", 0.5, 0.5004, atol=2e-3), "✓ 0.500 = 0.500"),
    (
        lambda c: c.equal("eq-a", t(0.0, 0.5), t(4e-4, 0.5), atol=1e-3, wrong={"x": t(0.0, 0.61234)}),
        "✓ both sides are [0, 0.500]; rejects x (off by up to 0.112)",
    ),
    (lambda c: c.at_most("eq-a", 4.4e-16, 1e-3), "✓ 0 ≤ 0.001000"),
    (
        lambda c: c.at_most("eq-a", 1.5e-8, 1e-3, wrong={"x": (0.1, -3e-17)}),
        "✓ 0 ≤ 0.001000; rejects x (0.1000 > 0)",
    ),
    (lambda c: c.at_most("eq-a", 1.0 + 1e-7, 1.0, slack=1e-6), "✓ 1.000 ≤ 1.000"),
    (lambda c: c.at_most("eq-a", torch.tensor(0.5), 0.7), "✓ holds"),
    (
        lambda c: c.at_most("eq-a", t(0.1, 0.2), 1, wrong={"x": (t(1.0, 2.0, 3.0), 1.5)}),
        "✓ holds in both cases; rejects x (broken in 2 of 3 cases)",
    ),
    (lambda c: c.at_most("eq-a", t(0.1, 0.2), t(0.1, math.inf)), "✓ holds in both cases"),
    (
        lambda c: c.estimate("eq-a", np.arange(100) % 2, 0.5, wrong={"x": 0.8, "y": math.nan}),
        "✓ 0.5000, and the mean of 100 samples agrees within 5 standard errors; rejects x (0.8000); y (nan)",
    ),
    (
        lambda c: c.estimate("eq-a", torch.full((100,), 0.1), torch.tensor(0.1).item()),
        "✓ 0.1000, and the mean of 100 samples agrees within 5 standard errors",
    ),
    (
        lambda c: c.equal("eq-a", torch.ones(2, 3).double(), torch.ones(2, 3).double()),
        "✓ both sides are [1.000, 1.000, 1.000, …] (2 × 3 values)",
    ),
    # The name's other words; a name in the museum; a name of the check's own, in words.
    (lambda c: c.equal("eq-a, by hand: and twice", 1.0, 1.0), "✓ by hand: and twice: 1.000 = 1.000"),
    (
        lambda c: c.equal("eq-a", 1.0, 1.0, wrong={"entropy-bits": 2.0, "twice-the-half": 3.0}),
        "✓ 1.000 = 1.000; rejects bits for nats (2.000); twice the half (3.000)",
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


def test_in_a_notebook_the_line_is_an_output_that_knows_its_equation(check, monkeypatch, capsys):
    shown = mock.Mock()
    monkeypatch.setattr(checking, "in_kernel", lambda: True)
    monkeypatch.setattr(checking, "display", shown)
    check.equal("eq-kl, discrete", 1.0, 1.0, wrong={"E0-28": 2.0, "upside-down": 3.0})
    shown.assert_called_once_with(
        {"text/plain": f"✓ discrete: 1.000 = 1.000; rejects {KL} (2.000); upside down (3.000)"},
        raw=True,
        metadata={"dgmlib": {"check": "eq-kl", "rejects": ["E0-28", "upside-down"]}},
    )
    with pytest.raises(CheckFailed):
        check.equal("eq-kl", 1.0, 2.0)
    assert shown.call_count == 1 and capsys.readouterr().out == ""


def test_a_console_of_another_encoding_gets_the_line_too(check, monkeypatch):
    said = []

    def print_ascii(line):
        said.append(line.encode("ascii").decode())

    monkeypatch.setattr("builtins.print", print_ascii)
    check.at_most("eq-a", 0.5, 0.7)
    assert said == ["ok 0.5000 <= 0.7000"]
