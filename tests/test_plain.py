"""The plain edition, which Colab, GitHub and VS Code show: no MyST is left in it, and it runs and prints the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from course import Course, read_chapter, source
from labels import Labels
from nbconvert import HTMLExporter
from plain import Edition

ROOT = Path(__file__).resolve().parents[1]
LABELS = Labels(Course(ROOT))
FASTEST = "A"  # of the chapters, to run
# Roles, directives, options, labels of equations, comments, and commands that only the book's MathJax knows.
MYST = re.compile(
    r"\{[a-z:]+\}(?:`|<code>)|:::|^(?:<p>)?:[\w-]+:|\$\$ *\([\w:-]+\)|\beq-[a-z]|<!--|&lt;!--"
    rf"|\\(?:{'|'.join(LABELS.macros)})(?![A-Za-z])",
    re.MULTILINE,
)


def shown(cells: list[dict]) -> str:
    """The prose of a notebook as nbconvert shows it, without links' addresses."""
    prose = [cell | {"source": source(cell)} for cell in cells if cell["cell_type"] == "markdown"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.from_dict(cell) for cell in prose])
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    return re.sub(r'(?:href|src)="[^"]*"', "", page)


@pytest.mark.parametrize("number", LABELS.course.chapters)
def test_no_myst_is_left(number):
    chapter = LABELS.course.chapters[number]
    assert MYST.search(shown(chapter.cells)), "the pattern itself must bite"
    assert MYST.findall(shown(Edition(chapter, LABELS).notebook()["cells"])) == []


@pytest.mark.parametrize("number", LABELS.course.chapters)
def test_code_and_outputs_are_the_chapters_own(number):
    chapter = LABELS.course.chapters[number]
    made = Edition(chapter, LABELS).notebook()
    nbformat.validate(nbformat.from_dict(made))
    plain_code, code = ([c for c in cells if c["cell_type"] == "code"] for cells in (made["cells"], chapter.cells))
    for new, old in zip(plain_code, code, strict=True):
        title, _, rest = source(new).partition("\n")
        is_folded = {"proof", "solution", "hide-cell", "hide-input"} & set(old["metadata"].get("tags", []))
        assert (rest if title.startswith("#@title ") else source(new)) == source(old)
        assert title.startswith("#@title ") == bool(is_folded) == (new["metadata"].get("cellView") == "form")
        assert new["metadata"].get("jupyter", {}).get("source_hidden", False) == bool(is_folded)
        assert new["outputs"] == old["outputs"] and new["execution_count"] == old["execution_count"]


def test_a_plain_chapter_runs_and_prints_the_same(tmp_path):
    subprocess.run([sys.executable, ROOT / "book" / "plain.py", tmp_path], check=True)
    chapter = LABELS.course.chapters[FASTEST]
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"),
        *("--rootdir", ROOT, "--confcutdir", ROOT, "--nbval", "--nbval-current-env"),
        f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}",
        tmp_path / chapter.path.name,
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert f"{len(chapter.code)} passed" in run.stdout


# --- one of each ------------------------------------------------------------------------------------------------------


@pytest.fixture
def edition(tmp_path):
    """What a text of a chapter becomes, before the repository has an address or with one."""

    def make(text: str, address: str | None = None) -> str:
        path = tmp_path / "09_stub.ipynb"
        cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}
        path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
        config = LABELS.config | ({"repository": {"url": address}} if address else {})
        labels = Labels(LABELS.course, config)
        labels.numbers.update({"eq-here": "9.1", "ex-here": "9.2", "fig-here": "9.3", "thm-here": "9.4"})
        labels.kinds.update({"thm-here": "Theorem", "fig-here": "Fig.", "ex-here": "Exercise"})
        labels.homes.update(dict.fromkeys(("eq-here", "ex-here", "fig-here", "thm-here"), "09_stub"))
        return Edition(read_chapter(path), labels).text(text)

    return make


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("By {eq}`eq-here`.", "By (9.1)."),
        ("As [above](#eq-here), [](#eq-here).", "As (9.1), (9.1)."),
        ("{ref}`An exercise <ex-here>` and {prf:ref}`thm-here`", "An exercise and Theorem 9.4"),
        ("See {numref}`fig-here`.", "See Fig. 9.3."),
        ("{cite}`kullback1951information`", "(Kullback & Leibler, 1951)"),
        ("{doc}`the runs </book/reproductions>`, {doc}`/book/equations`", "the runs, Equation index"),
        ("{chapter}`30` and {chapter}`01 30`", "30 Responsible use, measured (to come) and 01 · 30"),
        ("$$ \\E[x] = 1 $$ (eq-here)", "$$ \\mathbb{E}[x] = 1 \\tag{9.1} $$"),
        ("$$\nx = \\R\n$$ (eq-here)", "$$\nx = \\mathbb{R}\n\\tag{9.1}\n$$"),
        (
            "$x^\\R$ and `{eq}` and\n```\n:::{note}\n$\\R$\n```",
            "$x^{\\mathbb{R}}$ and `{eq}` and\n```\n:::{note}\n$\\R$\n```",
        ),
        ("a <!-- N0-001\nN0-002 -->\nb", "a\nb"),
        (":::{exercise} Why?\n:label: ex-here\n\n★ Say why.\n:::", "### Exercise 9.2. Why?\n\n★ Say why."),
        (
            ":::{dropdown} Hint\nBy {eq}`eq-here`.\n:::",
            "<details>\n<summary><b>Hint</b></summary>\n\nBy (9.1).\n\n</details>",
        ),
        (":::{admonition} A mistake\n:class: mistake\n\nNo.\n:::", "> **A mistake**\n>\n> No."),
        (
            "::::{note}\n:::{dropdown} In\nx\n:::\n::::",
            "> **Note**\n>\n> <details>\n> <summary><b>In</b></summary>\n>\n> x\n>\n> </details>",
        ),
        (":::{prf:theorem} Bayes\n:label: thm-here\n\nYes.\n:::", "> **Theorem 9.4 (Bayes).**\n>\n> Yes."),
        (":::{prf:proof}\nYes.\n:::", "> **Proof.**\n>\n> Yes."),
    ],
)
def test_each_form_reads_without_myst(edition, text, becomes):
    assert edition(text) == becomes


def test_links_lead_into_the_published_book_once_there_is_one(edition):
    address = "https://github.com/Owner/course"
    book = "https://owner.github.io/course"
    assert edition("{eq}`eq-here`", address) == f"[(9.1)]({book}/chapters/09_stub.html#equation-eq-here)"
    assert edition("{doc}`it </book/bugs>`", address) == f"[it]({book}/book/bugs.html)"
    assert edition("[it](../book/reproductions.md)", address) == f"[it]({book}/book/reproductions.html)"
    raw = "https://raw.githubusercontent.com/Owner/course/main/book/results/a.png"
    assert edition(":::{figure} ../book/results/a.png\n:alt: A.\n\nB.\n:::", address).startswith(f"![A.]({raw})")


@pytest.mark.parametrize("text", ["{eq}`eq-none`", "{cite}`nobody1900`", "{sub}`2`", ":::{card} x\n:::"])
def test_what_it_does_not_know_is_refused(edition, text):
    with pytest.raises(ValueError, match="chapters/09_stub: "):
        edition(text)
