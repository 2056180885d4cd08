"""The chapter runner: what makes a chapter stale, what a run leaves behind, and that nothing is lost when it stops."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = {
    "__init__.py": '__version__ = "1"\n',
    "core.py": '"""Core."""\n\nSIDE = 2\n',
    "area.py": '"""Area."""\n\nfrom .core import SIDE\n\n\ndef area():\n    """Square."""\n    return SIDE**2\n',
    "plots.py": "COLOUR = 1\n",
    "notebook.py": "from dgmlib import plots\n\n\ndef diagnose(*_):\n    pass\n\n\ndef source_markdown(name):\n"
    "    import importlib, inspect\n\n    module, function = name.split(':')\n"
    "    return inspect.getsource(getattr(importlib.import_module(module), function))\n",
    "bugs/__init__.py": "def Subject(*parts):\n    pass\n",
    "bugs/area.py": "from dgmlib.bugs import Subject\n\nSUBJECTS = (Subject('area', 1), Subject('side', 2))\n",
}
SHOW = (
    "from IPython.display import display\nfrom dgmlib.notebook import source_markdown\n"
    "name = 'dgmlib.area:area'\n"
    "display({'text/markdown': source_markdown(name)}, raw=True, metadata={'dgmlib': {'source': name}})"
)


def notebook(*cells: str) -> dict:
    cells = [
        {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": source}
        for i, source in enumerate(cells)
    ]
    metadata = {
        "accelerator": "GPU",
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "version": "3.99"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {}},
    }
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


class Tree:
    """A small course of one chapter, with its own runner."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("results", "_static", "*.md"))
        for name, text in LIBRARY.items():
            self.write(f"dgmlib/{name}", text)
        self.chapter = root / "chapters" / "01_area.ipynb"
        self.chapter.parent.mkdir()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def cells(self, *sources: str) -> None:
        self.chapter.write_text(json.dumps(notebook("import dgmlib", *sources)))

    def command(self, *arguments: str) -> list:
        return [sys.executable, self.root / "book" / "run.py", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "DGM_BUDGET": "cpu"}
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, env=environment, timeout=120)

    @property
    def read(self) -> dict:
        return json.loads(self.chapter.read_text())


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    tree = Tree(tmp_path_factory.mktemp("ran"))
    tree.cells("from dgmlib.area import area\n\nprint(area())", SHOW)
    result = tree.run()
    assert result.returncode == 0, result.stderr
    return tree.root


@pytest.fixture
def fresh(ran, tree):
    """A tree whose chapter has been run."""
    shutil.copytree(ran / "chapters", tree.root / "chapters", dirs_exist_ok=True)
    return tree


def test_a_run_keeps_outputs_and_drops_what_differs_from_run_to_run(fresh):
    first = fresh.read
    assert first["cells"][1]["outputs"][0]["text"] == ["4\n"]
    assert [cell["id"] for cell in first["cells"]] == ["c0", "c1", "c2"]
    assert [cell["execution_count"] for cell in first["cells"]] == [1, 2, 3]
    assert all(cell["metadata"] == {} for cell in first["cells"])
    assert set(first["metadata"]) == {"accelerator", "dgmlib", "kernelspec", "language_info"}
    assert first["metadata"]["language_info"] == {"name": "python", "pygments_lexer": "ipython3"}
    record = first["metadata"]["dgmlib"]
    assert (record["budget"], record["device"]) == ("cpu", "cpu")
    assert {"python", "torch", "numpy"} <= record["versions"].keys()
    assert fresh.run("--all").returncode == 0
    second = fresh.read
    for same in (first, second):
        del same["metadata"]["dgmlib"]["seconds"], same["metadata"]["dgmlib"]["date"]
    assert first == second


@pytest.mark.parametrize(
    ("name", "old", "new", "stale"),
    [
        ("dgmlib/core.py", "SIDE = 2", "SIDE = 3", True),
        ("dgmlib/core.py", "SIDE = 2", "SIDE = 2\nOTHER = 3", False),
        ("chapters/01_area.ipynb", "print(area())", "print(area() + 1)", True),
    ],
)
def test_stale_is_what_would_change_the_outputs(fresh, name, old, new, stale):
    path = fresh.root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    result = fresh.run("--check")
    assert result.returncode == int(stale), result.stderr
    assert ("01_area is stale" in result.stdout) == stale


def test_a_diagnosed_bug_belongs_to_the_chapter(tree):
    tree.cells("from dgmlib.area import area\nfrom dgmlib.notebook import diagnose\ndiagnose('area', area)")
    assert tree.run().returncode == 0
    tree.write("dgmlib/bugs/area.py", LIBRARY["bugs/area.py"].replace("2", "3"))
    assert tree.run("--check").returncode == 0
    tree.write("dgmlib/bugs/area.py", LIBRARY["bugs/area.py"].replace("1", "3"))
    assert tree.run("--check").returncode == 1


def test_shown_source_is_refreshed_without_running(fresh):
    ran = fresh.read["metadata"]["dgmlib"]
    text = LIBRARY["area.py"].replace("Square.", "The square.")
    fresh.write("dgmlib/area.py", text)
    assert fresh.run("--check").returncode == 1
    assert "shown source refreshed" in fresh.run().stdout
    assert "The square." in "".join(fresh.read["cells"][2]["outputs"][0]["data"]["text/markdown"])
    assert fresh.read["metadata"]["dgmlib"] == ran
    assert fresh.run("--check").returncode == 0


def test_a_failing_chapter_is_named_and_left_alone(tree):
    tree.cells("print(1)", "raise ValueError('no such luck')")
    before = tree.chapter.read_bytes()
    result = tree.run()
    assert result.returncode == 1
    assert "01_area: cell 2" in result.stderr and "ValueError: no such luck" in result.stderr
    assert tree.chapter.read_bytes() == before


def test_a_notebook_edited_while_it_runs_is_left_alone(tree):
    tree.cells("from pathlib import Path\np = Path('01_area.ipynb')\np.write_text(p.read_text() + ' ')")
    edited = tree.chapter.read_text() + " "
    result = tree.run()
    assert result.returncode == 1 and "edited while it ran" in result.stderr
    assert tree.chapter.read_text() == edited


class Waiting:
    """A run whose chapter writes down its kernel and that kernel's parent, then waits at a gate."""

    def __init__(self, tree: Tree):
        self.started, self.gate = tree.root / "started", tree.root / "go"
        tree.cells(
            "print(1)",
            f"import os, time\nfrom pathlib import Path\nPath('new').write_text(f'{{os.getpid()}} {{os.getppid()}}')\n"
            f"os.replace('new', {str(self.started)!r})\n"
            f"while not Path({str(self.gate)!r}).exists():\n    time.sleep(0.05)",
        )
        self.process = subprocess.Popen(
            tree.command(), start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` has its jobs ignore Ctrl-C
        )  # fmt: skip
        until(self.started.exists)
        self.helpers = [psutil.Process(int(pid)) for pid in self.started.read_text().split()]


def until(holds, seconds=60) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_midway_nothing_is_lost_and_a_second_run_works(tree, stop):
    waiting = Waiting(tree)
    process, gate, before = waiting.process, waiting.gate, tree.chapter.read_bytes()
    os.killpg(process.pid, stop)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert tree.chapter.read_bytes() == before
    assert os.listdir(tree.chapter.parent) == [tree.chapter.name]
    gate.touch()
    assert tree.run().returncode == 0
    assert tree.read["cells"][1]["outputs"][0]["text"] == ["1\n"]


def test_a_killed_runner_leaves_nobody_who_would_change_a_chapter(tree):
    waiting, before = Waiting(tree), tree.chapter.read_bytes()
    waiting.process.kill()  # it alone
    waiting.process.communicate(timeout=60)
    waiting.gate.touch()  # the chapter could now run to its end
    until(lambda: all(map(gone, waiting.helpers)))
    assert tree.chapter.read_bytes() == before
    assert tree.run().returncode == 0


def test_of_two_runners_the_second_waits_and_finds_all_done(tree):
    first = Waiting(tree)
    second = subprocess.Popen(tree.command(), stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    assert "this one waits for it" in second.stdout.readline()
    assert second.poll() is None
    first.gate.touch()
    said, complained = first.process.communicate(timeout=60)
    assert first.process.returncode == 0 and "01_area: " in said and "Traceback" not in complained
    assert (second.communicate(timeout=60)[0], second.returncode) == ("", 0)


def test_unknown_chapter_and_broken_notebook_are_refused_in_a_sentence(fresh):
    result = fresh.run("99")
    assert result.returncode == 2 and "no chapter 99 among 01" in result.stderr
    fresh.chapter.write_text(fresh.chapter.read_text()[:100])
    result = fresh.run()
    assert result.returncode == 1 and "01_area.ipynb: not a notebook that can be read" in result.stderr
    assert "Traceback" not in result.stderr
