"""Other machines: a HOME that cannot be written, a foreign kernel called python3, a console of another encoding."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_run import Tree

from dgmlib.bugs import Bug, Subject
from dgmlib.notebook import Check, bugs, diagnose

ROOT = Path(__file__).resolve().parents[1]
DRAWS = "import sys\nimport matplotlib.pyplot\n\nprint(sys.executable)"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No folder can be made in HOME, not even by root, and "python3" is a kernel that never answers."""
    spec = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-c", "raise SystemExit", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Another", "language": "python"}))
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/nobody")
    monkeypatch.setenv("JUPYTER_PATH", str(spec.parents[2]))


def test_the_runner_stores_what_this_interpreter_prints_and_no_warning(elsewhere, tmp_path):
    tree = Tree(tmp_path / "course")
    tree.cells(DRAWS)
    ran = tree.run()
    assert ran.returncode == 0, ran.stderr
    (output,) = tree.read["cells"][1]["outputs"]
    assert output["text"] == [f"{sys.executable}\n"]


def test_a_chapter_is_compared_in_this_interpreter_and_without_warning(elsewhere, tmp_path):
    output = nbformat.v4.new_output("stream", text=f"{sys.executable}\n")
    cell = nbformat.v4.new_code_cell(DRAWS, execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "drawn.ipynb")
    command = [sys.executable, *"-m pytest -p conftest -p no:cacheprovider --nbval --nbval-current-env".split()]
    ran = subprocess.run([*command, tmp_path / "drawn.ipynb"], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_of_another_encoding_gets_the_sentence_all_the_same(encoding, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", console)
    Check().equal("eq-a of β̃", 1.0, 1.25, atol=0.5)
    Check().at_most("eq-a", 0.5, 0.75)
    told = {"name": "counted twice", "symptom": "twice too large", "place": "the factor", "cure": "z ~ π once"}
    bug = Bug("twice", "Counts z ~ π twice", lambda x: 2 * x, **told)
    monkeypatch.setattr(bugs, "subjects", lambda: {"one": Subject("one", lambda x: x, ((1.0,),), (bug,))})
    assert diagnose("one", lambda x: 2 * x).verdict == "known bug"
    console.flush()
    assert console.buffer.getvalue().decode(encoding).splitlines() == [
        r"ok of \u03b2\u0303: 1.0 ~ 1.2",
        "ok 0.5000 <= 0.7500",
        r"one: your function equals the known mistake twice: Counts z ~ \u03c0 twice. Cure: z ~ \u03c0 once.",
    ]
