"""`tests/mutants.py` itself, on a package of three functions: good tests kill its mutants, idle ones let them live."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

HERE = Path(__file__).resolve().parent

SUMS = '''
"""Sums."""


def total(values: list[float]) -> float:
    """The sum of `values`, which must not be empty (message: 1 + 1)."""
    if len(values) == 0:
        raise ValueError(f"values has {len(values) + 0} entries, expected at least 1")
    result = 0.0
    for value in values:
        result += value
    return result


def countdown(n: int) -> int:
    """How many steps lead from n to 0."""
    steps = 0
    while n > 0:
        n -= 1
        steps += 1
    return steps


def gap(a: float, b: float) -> float:
    """a - b."""
    return a - b
'''
GOOD = """
import pytest
from tiny.sums import countdown, gap, total

def test_total():
    assert total([1.5, 2.0]) == 3.5 and total([2.0]) == 2.0
    with pytest.raises(ValueError):
        total([])

def test_countdown():
    assert [countdown(n) for n in (0, 1, 5)] == [0, 1, 5]

def test_gap():
    assert gap(3.0, 1.0) == 2.0
"""
IDLE = """
from tiny.sums import countdown, gap, total

def test_runs():
    total([1.5]), gap(3.0, 1.0)
"""


def tree(root: Path, tests: str) -> Path:
    for name, text in {"tiny/__init__.py": "", "tiny/sums.py": SUMS, "tests/test_sums.py": tests}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def run(root: Path) -> subprocess.CompletedProcess[str]:
    options = ["--root", root, "--package", "tiny", "--seed", "3", "--n", "100", "--least-limit", "6"]
    return subprocess.run(
        [sys.executable, HERE / "mutants.py", *map(str, options)], capture_output=True, text=True, timeout=200
    )


def test_every_mutant_of_a_well_tested_package_is_killed_and_a_hang_counts(tmp_path):
    done = run(tree(tmp_path, GOOD))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hung      sums:" in done.stdout, "n -= 1 turned into n += 1 or deleted never ends"
    assert re.search(r"killed (\d+) of \1 \(100\.0%\)", done.stdout), done.stdout


def test_mutants_survive_idle_tests_unless_explained(tmp_path):
    done = run(tree(tmp_path, IDLE))
    assert done.returncode == 1, done.stdout + done.stderr
    pairs = re.findall(r"^survived: .*\n  - (.*)\n  \+ (.*)$", done.stdout, re.MULTILINE)
    assert ("return a - b", "return (a + b)") in pairs
    with (tmp_path / "tests" / "equivalent_mutants.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["module", "original", "mutated", "why"])
        rows.writerows(["sums", before, after, "no test looks"] for before, after in pairs)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(pairs)} equivalent" in done.stdout


def test_a_red_start_is_said(tmp_path):
    done = run(tree(tmp_path, "def test_red():\n    assert False\n"))
    assert done.returncode == 1
    assert done.stderr.strip() == "without a mutant these fail: tests/test_sums.py"


def test_the_draw_is_repeatable_and_leaves_messages_and_docstrings_alone(tmp_path):
    root = tree(tmp_path, GOOD)
    drawn = mutants.draw(root, "tiny", seed=3, n=100, only=[])
    assert drawn == mutants.draw(root, "tiny", seed=3, n=100, only=[])
    assert drawn != mutants.draw(root, "tiny", seed=4, n=100, only=[])
    assert {mutant.kind for mutant in drawn} >= {"operator", "comparison", "constant", "deletion", "negated result"}
    for mutant in drawn:
        assert mutant.source != SUMS
        assert len(mutant.source.splitlines()) == len(SUMS.splitlines())
        assert "message: 1 + 1" in mutant.source
        assert "{len(values) + 0} entries" in mutant.source or mutant.before.startswith("if len(values)")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("f(a, b)", {"f(b, a)"}),
        ("f(*a, b)", set()),
        ("f('x', b)", set()),
        ("x.log()", {"x"}),
        ("a ** b", {"a * b"}),
        ("a @ b", set()),
        ("0", {"1", "-1"}),
        ("a < b", {"a <= b", "a >= b"}),
        ("not a", {"a"}),
        ("True", {"False"}),
        ("'text'", set()),
    ],
)
def test_the_edits_of_an_expression(expression, expected):
    node = mutants.ast.parse(expression, mode="eval").body
    assert {mutants.ast.unparse(edit) for _, edit in mutants._expression_edits(node)} == expected


def test_every_explained_survivor_still_names_a_line_of_the_library():
    with (HERE / "equivalent_mutants.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = mutants.modules_of(HERE.parent, "dgmlib")
    for row in rows:
        lines = map(str.strip, files[row["module"]].read_text(encoding="utf-8").splitlines())
        assert row["original"] in lines, f"{row['original']!r} is gone from {row['module']}"
        assert len(row["why"]) > 20, f"{row['mutated']!r} is not explained"
