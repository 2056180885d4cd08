"""Reading and running a chapter leaves no difference that `make clean-outputs` does not take back."""

import copy
import json
import subprocess
from pathlib import Path

import pytest
from clean import clean, cleaned

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = min((ROOT / "chapters").glob("*.ipynb"), key=lambda path: path.stat().st_size)
BAR = {"name": "stderr", "output_type": "stream", "text": ["  5%|▌         | 21/400 [00:00<00:01, 208.77it/s]"]}


def run_once(notebook: dict) -> dict:
    """What JupyterLab saves after a reader ran all cells."""
    notebook = copy.deepcopy(notebook)
    notebook["metadata"] |= {"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.12.1"}}
    for count, cell in enumerate(notebook["cells"], 7):
        cell["metadata"]["trusted"] = True
        if cell["cell_type"] == "code":
            cell["metadata"] |= {"execution": {"iopub.execute_input": "2026-01-02"}, "collapsed": False}
            cell["execution_count"] = count
            cell["outputs"] = [BAR, *cell["outputs"]]
    return notebook


@pytest.fixture
def committed(tmp_path):
    """A chapter in a repository of its own."""
    path = tmp_path / "chapters" / CHAPTER.name
    path.parent.mkdir()
    path.write_bytes(CHAPTER.read_bytes())
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "A chapter"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return path


def test_a_chapter_that_was_only_read_and_run_becomes_the_committed_file(committed):
    before = committed.read_bytes()
    committed.write_text(json.dumps(run_once(json.loads(before))), encoding="utf-8")
    assert clean(committed)
    assert committed.read_bytes() == before
    assert not clean(committed)


def test_what_was_edited_stays_and_is_all_that_differs(committed):
    before = json.loads(committed.read_bytes())
    now = run_once(before)
    prose, code = (next(c for c in now["cells"] if c["cell_type"] == kind) for kind in ("markdown", "code"))
    prose["source"], code["source"] = ["Another text."], ["1 + 1"]
    new = {"cell_type": "markdown", "id": "new", "metadata": {}, "source": ["A note."]}
    now["cells"].append(new)
    after = cleaned(now, before)
    assert after["metadata"] == before["metadata"]
    assert after["cells"][-1] == new
    changed = [a for a, b in zip(after["cells"], before["cells"], strict=False) if a != b]
    assert [cell["source"] for cell in changed] == [["Another text."], ["1 + 1"]]
    assert BAR not in changed[1]["outputs"] and "execution" not in changed[1]["metadata"]


def test_a_chapter_that_was_never_committed_is_left_as_it_is(committed):
    other = committed.with_name("99_new.ipynb")
    other.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="not in the last commit"):
        clean(other)
