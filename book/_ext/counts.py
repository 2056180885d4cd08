"""How long a chapter is and how it is built, by one count for the page's head, the tests and `python book/lesson.py`.

The main path is what a reader meets without unfolding anything. Words: prose there, with neither comments, mathematics,
blocks of code nor the references. Equations: numbered displays. Lines: code in cells that do not fold, blank ones not.
"""

import ast
import re
from collections import Counter
from dataclasses import dataclass, field

from course import FENCE, LABEL, Chapter, source, without_magics

FOLDING = {"hide-cell", "hide-input", "proof", "solution"}  # tags of code that no surface shows unasked
UNSEEN = {"hide-cell", "proof", "solution"}  # whose outputs fold as well
KINDS = ("warm-up", "proof", "computation", "debugging", "implement", "change")


@dataclass
class Counts:
    words: int = 0
    equations: int = 0
    figures: int = 0
    lines: int = 0
    longest: int = 0  # lines of the longest lesson cell
    build: int = 0  # lines of the cell that builds the model; 0 if there is none
    loop: int | None = None  # words before the first training loop
    samples: int | None = None  # words before the reader's own samples, which end the build cell
    predictions: int = 0
    mistakes: int = 0  # corrections that stand in the chapter
    stars: Counter[str] = field(default_factory=Counter)  # exercises by number of stars
    kinds: Counter[str] = field(default_factory=Counter)  # exercises by kind; one may be of two
    exercises: int = 0

    @property
    def minutes(self) -> float:
        """To read: 200 words a minute, 45 seconds an equation or figure, 25 lines of code a minute."""
        return self.words / 200 + 0.75 * (self.equations + self.figures) + self.lines / 25


def tags(cell: dict) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def lines_of(cell: dict) -> int:
    return sum(bool(line.strip()) for line in source(cell).splitlines())


def count(chapter: Chapter) -> Counts:
    found, cited = Counts(), False
    for cell in chapter.cells:
        if cell["cell_type"] == "markdown":
            cited = _count_prose(found, source(cell), cited)
        elif cell["cell_type"] == "code":
            _count_code(found, cell)
    for name, _, body, _ in chapter.directives:
        if name == "exercise":
            _count_exercise(found, body)
        found.mistakes += name == "admonition" and re.search(r"^:class:.*\bmistake\b", body, re.M) is not None
    return found


def _count_prose(found: Counts, text: str, cited: bool) -> bool:
    """Add one cell of prose; are we among the references, now and after it?"""
    kept = []
    for line in main_path(text):
        if heading := re.match(r"#{1,6}\s+(.*)", line):
            cited = heading[1].strip() == "References"
        if not cited:
            kept.append(line)
            found.equations += bool(LABEL.search(line))
            found.figures += "![" in line
    found.figures += len(re.findall(r"^:{3,}\{figure\}", text, re.MULTILINE))
    found.words += words("\n".join(kept))
    return cited


def main_path(text: str) -> list[str]:
    """The lines of a cell that show without unfolding anything: no comments, no blocks of code, no options."""
    kept: list[str] = []
    fences: list[tuple[str, bool]] = []  # its marker, and whether what it holds shows
    for line in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).splitlines():
        fence = FENCE.match(line)
        if fence and fences and not fence[2] and fence[1].startswith(fences[-1][0]):
            fences.pop()
            continue
        shows = all(shown for _, shown in fences)
        if fence:
            name, _, argument = fence[2].partition("}")
            known = name.startswith("{") and name != "{dropdown"
            fences.append((fence[1], known))
            if shows and known and name != "{figure":
                kept.append(argument)
        elif shows and not (fences and re.match(r"\s*:[\w-]+:", line)):
            kept.append(line)
    return kept


def words(text: str) -> int:
    """Words of Markdown without its mathematics; a role, a code span or a link's text count as what they show."""
    text = re.sub(r"\$\$.*?\$\$\s*(\([\w:-]+\))?|(?<!\\)\$[^$]*\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\{[\w:]+\}`(?:([^`<]+?)\s*<[^`]*>|[^`]*)`", lambda role: role[1] or "role", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def _count_code(found: Counts, cell: dict) -> None:
    own, size, text = tags(cell), lines_of(cell), without_magics(source(cell))
    tree = ast.parse(text)
    if not own & UNSEEN:
        found.figures += any(_is_picture(output.get("data", {})) for output in cell.get("outputs", []))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        found.predictions += sum(call.func.id == "predict" for call in calls)
    if own & FOLDING:
        return
    found.lines += size
    if "build" in own:
        found.build = size
        found.samples = found.words if found.samples is None else found.samples
    elif "starter" not in own:
        found.longest = max(found.longest, size)
    if found.loop is None and ("build" in own or _trains(tree)):
        found.loop = found.words


def _is_picture(data: dict) -> bool:
    return "image/png" in data or "<img" in "".join(data.get("text/html", ""))


def _trains(tree: ast.Module) -> bool:
    """Does a loop in it call `.backward()`?"""
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "backward"
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For | ast.While)
        for call in ast.walk(loop)
    )


def _count_exercise(found: Counts, body: str) -> None:
    """Add an exercise, whose body begins like `★★ *Debugging.*`."""
    found.exercises += 1
    lines = [line for line in body.splitlines() if line.strip() and not line.startswith(":")]
    if form := re.match(r"\s*(★{1,3})?\s*\*([^*]+)\*", lines[0] if lines else ""):
        found.stars[form[1] or ""] += 1
        found.kinds.update(kind for kind in KINDS if kind in form[2].lower())
