"""The form of a chapter: how long it is, what it holds, what folds; and the one count by which all this is told."""

import json
import subprocess
import sys
from pathlib import Path

import counts
import lesson
import pytest
from course import Chapter, Course, read_chapter, source

ROOT = Path(__file__).resolve().parents[1]
COURSE = Course(ROOT)
OLD_FORM = {"01", "02", "03", "04", "05", "06", "07", "08", "10", "11", "A"}
DIRECTIVES = {"admonition", "dropdown", "exercise", "figure", "note"}
LIMITS = {"words": 4000, "equations": 30, "lines": 350, "longest": 25, "build": 45, "minutes": 75, "mistakes": 3}
NEEDED = {"proof": 1, "computation": 1, "debugging": 1, "implement": 1, "change": 1}


def chapters(without: set[str] = frozenset()) -> list:
    return [pytest.param(c, id=c.slug) for c in COURSE.chapters.values() if c.home not in without]


def form_faults(chapter: Chapter, planned: str | None) -> list[str]:
    """What a chapter in the form must not be, one sentence each; `planned` is its title in book/chapters.csv."""
    found = counts.count(chapter)
    faults = [
        f"{name}: {getattr(found, name):.0f}, at most {limit}"
        for name, limit in LIMITS.items()
        if getattr(found, name) > limit
    ]
    for i, cell in enumerate(chapter.cells):
        wide = max(map(len, source(cell).splitlines()), default=0)
        if cell["cell_type"] == "code" and wide > 72 and "import dgmlib\n" not in source(cell):
            faults.append(f"cell {i}: {wide} columns, at most 72")
        if source(cell).startswith("predict(") and not counts.tags(cell) & counts.FOLDING:
            faults.append(f"cell {i}: shows the answer to its question in its code; tag it hide-input")
    if ": " not in chapter.title or not chapter.title.endswith("?"):
        faults.append(f"its title is {chapter.title!r}, expected what it is about, a colon and a question")
    if chapter.is_companion:
        return faults
    if chapter.number.isdigit() and not chapter.title.startswith(f"{planned}: "):
        faults.append(f"its title does not begin with {planned!r}, as book/chapters.csv has it")
    if sum("build" in counts.tags(cell) for cell in chapter.cells) != 1:
        faults.append("no cell, or more than one, is tagged build")
    if found.loop is None or found.loop >= 900:
        faults.append(f"the first training loop stands after word {found.loop}, expected before 900")
    if found.samples is None or found.samples >= 1200:
        faults.append(f"the reader's own samples come after word {found.samples}, expected before 1200")
    if found.predictions < 5:
        faults.append(f"{found.predictions} predictions, at least 5")
    if found.exercises < 7:
        faults.append(f"{found.exercises} exercises, at least 7")
    if found.stars["★"] < 2:
        faults.append(f"{found.stars['★']} exercises of one star, at least 2")
    faults += [f"no exercise to {kind}" for kind, least in NEEDED.items() if found.kinds[kind] < least]
    return faults


def exercise_faults(chapter: Chapter) -> list[str]:
    """Each exercise is one cell; a folded solution follows it, and its code is tagged so that it folds too."""
    faults = [
        f"cell {cell}: {{{name}}}, a directive that JupyterLab does not know"
        for name, _, _, cell in chapter.directives
        if name not in DIRECTIVES and not name.startswith("prf:")
    ]
    begins = [cell for name, _, _, cell in chapter.directives if name == "exercise"]
    solved = [cell for name, title, _, cell in chapter.directives if (name, title) == ("dropdown", "Solution")]
    for start, end in zip(begins, [*begins[1:], len(chapter.cells)], strict=True):
        answers = [cell for cell in solved if start <= cell < end]
        if not answers:
            faults.append(f"cell {start}: an exercise without :::{{dropdown}} Solution")
            continue
        for i, code in chapter.code:
            own = counts.tags(chapter.cells[i])
            if start < i < answers[0] and not own & {"starter", "hide-cell"}:
                faults.append(f"cell {i}: before a solution, and neither starter nor hide-cell")
            if answers[0] < i < _end(chapter, answers[0], end) and code.strip() and "solution" not in own:
                faults.append(f"cell {i}: the code of a solution, not tagged solution")
    return faults


def _end(chapter: Chapter, start: int, end: int) -> int:
    """Where the code after a solution ends: at the next prose."""
    later = [i for i in range(start + 1, end) if chapter.cells[i]["cell_type"] == "markdown"]
    return later[0] if later else end


@pytest.mark.parametrize("chapter", chapters(without=set()))
def test_a_chapter_keeps_the_form_and_those_that_do_not_yet_are_listed(chapter):
    planned = next((row["title"] for row in COURSE.plan if row["number"] == chapter.number), None)
    found = form_faults(chapter, planned)
    assert found if chapter.number in OLD_FORM else found == []


@pytest.mark.parametrize("chapter", chapters())
def test_exercises_and_directives(chapter):
    assert exercise_faults(chapter) == []


@pytest.mark.parametrize("chapter", chapters())
def test_what_folds_is_marked_so_for_every_surface(chapter):
    text = chapter.path.read_text(encoding="utf-8")
    assert lesson.fold_chapter(text) == text, f"run `python book/lesson.py --fold {chapter.number}`"


# --- the count itself -------------------------------------------------------------------------------------------------

PROSE = """# Noise: what is $x$ made of?

<!-- N3-065 a comment of many words -->
Three plain words, and $a = b + c$ is none; see {eq}`eq-x`, {doc}`that page <09_vae>` and `a code span`.

$$
x = y
$$ (eq-x)

:::{dropdown} For the curious: more
Folded away.

$$ 1 = 1 $$ (eq-folded)
:::

:::{admonition} A common mistake
:class: mistake
Four words stand here.
:::

```python
not = prose
```

:::{figure} ../x.png
:alt: A picture
Two words
:::
"""
TRAIN = "for x in batches:\n    loss(x).backward()\n\n    step()"


def made(tmp_path: Path, *cells: tuple, name: str = "03_x") -> Chapter:
    """A chapter of (text) and (code, tags …) cells."""
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": cell[0]}
        if cell[0].startswith(("#", ":", "Some"))
        else {"cell_type": "code", "metadata": {"tags": list(cell[1:])}, "source": cell[0], "outputs": []}
        for cell in cells
    ]
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}}))
    return read_chapter(path)


def test_words_are_those_that_show():
    """Heading, sentence (in which a role that shows a number is one), the box's title and words, the caption."""
    assert counts.words("\n".join(counts.main_path(PROSE))) == 5 + 14 + (3 + 4) + 2


def test_a_chapter_is_counted(tmp_path):
    references = ":::{note}\nTwo words\n:::\n\n## References\n\nNobody (1900), a paper of many words."
    chapter = made(
        tmp_path,
        (PROSE,),
        ("import torch", "hide-cell"),
        (TRAIN, "proof"),
        ("a = 1\n\n\nb = 2",),
        ("Some words more.",),
        (TRAIN, "build"),
        ("predict('how far', answer=1)", "hide-input"),
        (":::{exercise} One\n:label: ex-1\n\n★ *Proof and computation.* Do it.\n:::",),
        ("def answer(): ...", "starter"),
        (":::{dropdown} Solution\nSo.\n:::",),
        ("answer = 3", "solution"),
        (references,),
    )
    chapter.cells[6]["outputs"] = [{"output_type": "display_data", "data": {"image/png": ""}}]
    found = counts.count(chapter)
    before = counts.words("\n".join(counts.main_path(PROSE))) + 3
    assert (found.loop, found.samples) == (before, before)
    assert found.words == before + 1 + 5 + 2  # the exercise's title and its words, the note's words; no references
    assert (found.equations, found.figures, found.mistakes, found.predictions) == (1, 2, 1, 1)
    assert (found.lines, found.longest, found.build) == (2 + 3 + 1, 2, 3)
    assert (found.exercises, found.stars["★"]) == (1, 1)
    assert found.kinds == {"proof": 1, "computation": 1}
    assert found.minutes == found.words / 200 + 0.75 * 3 + 6 / 25


def test_the_first_loop_is_one_that_shows_and_trains(tmp_path):
    chapter = made(tmp_path, ("for x in y:\n    pass",), ("loss.backward()",), (TRAIN, "proof"), ("# Two words",))
    assert counts.count(chapter).loop is None
    chapter = made(tmp_path, ("# Two words",), (f"if True:\n    {TRAIN!r}\nwhile f():\n    g().backward()",))
    assert counts.count(chapter).loop == 2


def test_the_inspector_sees_what_is_not_in_the_form(tmp_path):
    chapter = made(
        tmp_path,
        ("# A question?\n\n" + "word " * 9001 + "\n\n$$ x $$ (eq-a)" * 31,),
        ("x = 1  # " + 70 * "-",),
        ("\n".join(["y = 1"] * 351),),
        ("\n".join(["z = 1"] * 46), "build"),
        *[(":::{admonition} Mistake\n:class: mistake\nNo.\n:::",)] * 4,
        (":::{exercise}\n★ *Warm-up.* Go.\n:::",),
    )
    found = "\n".join(form_faults(chapter, "Something"))
    for complaint in [
        "words: 90",
        "equations: 31",
        "lines: 39",
        "longest: 351",
        "build: 46",
        "minutes: ",
        "mistakes: 4",
        "79 columns",
        "its title is 'A question?'",
        "does not begin with 'Something'",
        "after word 90",
        "0 predictions",
        "1 exercises, at least 7",
        "1 exercises of one star",
        "no exercise to implement",
    ]:
        assert complaint in found, complaint
    companion = made(tmp_path, ("# More: why?",), name="03b_more")
    assert companion.is_companion and form_faults(companion, None) == []


def test_the_inspector_sees_an_exercise_that_is_not(tmp_path):
    chapter = made(
        tmp_path,
        (":::{exercise}\nOne.\n:::",),
        (":::{exercise}\nTwo.\n:::",),
        ("starter()",),
        (":::{dropdown} Solution\nSo.\n:::",),
        ("answer()",),
        ("Some more.",),
        ("after()",),
        (":::{correction} E0-01\nNo.\n:::",),
    )
    assert exercise_faults(chapter) == [
        "cell 7: {correction}, a directive that JupyterLab does not know",
        "cell 0: an exercise without :::{dropdown} Solution",
        "cell 2: before a solution, and neither starter nor hide-cell",
        "cell 4: the code of a solution, not tagged solution",
    ]


def test_folding_marks_what_its_tags_say_and_nothing_else():
    cell = {"cell_type": "code", "metadata": {"tags": ["proof"], "jupyter": {"outputs_hidden": True}}}
    folded = lesson.fold(cell)["metadata"]
    assert folded["jupyter"] == {"outputs_hidden": True, "source_hidden": True} and folded["cellView"] == "form"
    assert lesson.fold({"metadata": folded}) == {"metadata": folded}
    folded["tags"] = ["starter"]
    assert lesson.fold({"metadata": folded})["metadata"] == {"tags": ["starter"], "jupyter": {"outputs_hidden": True}}


def test_the_command_prints_a_line_for_each_chapter_named():
    command = [sys.executable, ROOT / "book" / "lesson.py"]
    told = subprocess.run([*command, "03", "A"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(told) == 3 and told[1].startswith("03 ") and told[2].startswith("A ")
    assert str(counts.count(COURSE.chapters["03"]).words) in told[1]
    unknown = subprocess.run([*command, "99"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 1 and "no chapter 99" in unknown.stderr
