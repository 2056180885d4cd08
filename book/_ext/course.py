"""What the course's own files say: chapters, equations, checks, items of the notes. Read from text; nothing is run."""

import ast
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

LABEL = re.compile(r"\$\$\s*\(([\w:-]+)\)\s*$")
ITEM = r"[NHE]\d-\d+"
ITEMS = re.compile(rf"<!--\s*({ITEM}(?:\s+{ITEM})*)\s*-->")
CITED = re.compile(r":eq:`(?:[^`<]*<)?([\w:-]+)>?`")
CHECKS = {"equal", "chain", "at_most", "estimate"}
FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})\s*(.*)$")
NUMBER = r"\d+[a-z]?|[A-Z]"  # "09"; "09b", its companion; "A", an appendix


@dataclass(frozen=True)
class Place:
    """A spot in a chapter: `section` counts its headings from 0, `cell` its cells."""

    chapter: str
    section: int
    cell: int


@dataclass(frozen=True)
class Check:
    label: str  # first word of its name
    wrong: tuple[str, ...]  # ids of the wrong forms it rejects
    place: Place


@dataclass(frozen=True)
class Correction:
    """What book/corrections/NN.md says of one item: a quotation, what holds, and the checks that decide."""

    id: str
    quote: str
    body: str
    checks: tuple[str, ...]  # labels on its `Check:` line
    items: tuple[str, ...]  # of the notes, itself and those that a comment in it names
    chapter: str  # "03"


@dataclass
class Chapter:
    """One notebook, scanned."""

    path: Path
    notebook: dict
    sections: list[str] = field(default_factory=list)  # headings, as Markdown
    equations: dict[str, Place] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)  # labels defined a second time
    items: list[tuple[str, Place]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    directives: list[tuple[str, str, str, int]] = field(default_factory=list)  # name, argument, body, cell

    @property
    def slug(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.slug.split("_")[0]

    @property
    def home(self) -> str:
        """The number of the chapter that a companion belongs to; a chapter's own."""
        return self.number[:2]

    @property
    def is_companion(self) -> bool:
        return self.number != self.home

    @property
    def title(self) -> str:
        return self.sections[0] if self.sections else self.slug

    @property
    def cells(self) -> list[dict]:
        return self.notebook["cells"]

    @property
    def record(self) -> dict:
        """What the runner wrote when it last ran the chapter; {} if it never did."""
        return self.notebook["metadata"].get("dgmlib", {})

    @property
    def made(self) -> list[tuple[int, str, dict]]:
        """What each check said when the chapter last ran: its cell, its line, the equation and the ids it rejected."""
        outputs = [(i, output) for i, cell in enumerate(self.cells) for output in cell.get("outputs", [])]
        marked = [(i, output, output.get("metadata", {}).get("dgmlib", {})) for i, output in outputs]
        return [(i, "".join(output["data"]["text/plain"]), mark) for i, output, mark in marked if "check" in mark]

    @property
    def code(self) -> list[tuple[int, str]]:
        return [(i, source(cell)) for i, cell in enumerate(self.cells) if cell["cell_type"] == "code"]


def short(title: str) -> str:
    """The part of a chapter's title before its question."""
    return title.partition(": ")[0]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def without_magics(code: str) -> str:
    return "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines())


def read_chapter(path: Path) -> Chapter:
    """Scan one notebook. Raises ValueError naming the file when it is not one."""
    try:
        chapter = Chapter(path, json.loads(path.read_text(encoding="utf-8")))
        for number, cell in enumerate(chapter.cells):
            if cell["cell_type"] == "markdown":
                _scan_markdown(chapter, number, source(cell))
            elif cell["cell_type"] == "code":
                place = Place(chapter.slug, max(0, len(chapter.sections) - 1), number)
                chapter.checks += _scan_checks(without_magics(source(cell)), place)
    except (KeyError, TypeError, ValueError, SyntaxError) as bad:
        raise ValueError(f"{path}: not a notebook that can be read ({type(bad).__name__}: {bad})") from bad
    return chapter


def _scan_markdown(chapter: Chapter, cell: int, text: str) -> None:
    fences: list[tuple[str, str, str, list[str]]] = []  # marker, directive, argument, body so far
    for line in text.splitlines():
        place = Place(chapter.slug, max(0, len(chapter.sections) - 1), cell)
        fence = FENCE.match(line)
        if fence and fences and not fence[2] and fence[1].startswith(fences[-1][0]):
            _, name, argument, body = fences.pop()
            for outer in fences:
                outer[3].append(line)
            if name:
                chapter.directives.append((name, argument, "\n".join(body), cell))
            continue
        for outer in fences:
            outer[3].append(line)
        in_code = bool(fences) and fences[-1][0][0] != ":"
        if fence and not in_code:
            name, _, argument = fence[2].partition("}")
            fences.append((fence[1], name.lstrip("{") if name.startswith("{") else "", argument.strip(), []))
            continue
        if in_code:
            continue
        if not fences and (heading := re.match(r"#{1,6}\s+(.*?)\s*#*\s*$", line)):
            chapter.sections.append(heading[1])
            place = Place(chapter.slug, len(chapter.sections) - 1, cell)
        if label := LABEL.search(line):
            if label[1] in chapter.equations:
                chapter.repeated.append(label[1])
            chapter.equations[label[1]] = place
        for ids in ITEMS.findall(line):
            chapter.items += [(item, place) for item in ids.split()]


def read_corrections(path: Path) -> list[Correction]:
    """The corrections of one chapter's file.

    Each is a heading `## E0-30`, the quotation as a blockquote, what holds, and a last line `Check: eq-label …`. Raises
    ValueError naming the file and the heading when one is not.
    """
    before, *parts = re.split(r"^## (E\S+)[ \t]*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if before.strip():
        raise ValueError(f"{path}: it begins with {before.split()[0]!r}, expected a heading such as ## E0-30")
    found = []
    for id, part in zip(parts[::2], parts[1::2], strict=True):
        form = re.fullmatch(r"\s*((?:> [^\n]*\n)+)\n(.+?)(?:\n\nCheck: ([^\n]+))?\s*", ITEMS.sub("", part), re.DOTALL)
        if form is None:
            raise ValueError(f"{path}: {id} is not a quotation (> …), what holds, and a line Check: eq-…")
        quote = " ".join(line.removeprefix("> ") for line in form[1].splitlines())
        checks = (form[3] or "").replace(",", " ").split()
        items = [id, *" ".join(ITEMS.findall(part)).split()]
        found.append(Correction(id, quote, form[2].strip(), tuple(checks), tuple(items), path.stem))
    return found


def _scan_checks(code: str, place: Place) -> Iterator[Check]:
    for call in ast.walk(ast.parse(code)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
            continue
        if call.func.attr in CHECKS and isinstance(call.func.value, ast.Name) and call.func.value.id == "check":
            name = call.args[0].values[0] if isinstance(call.args[0], ast.JoinedStr) else call.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value:
                wrong = [k.value for k in call.keywords if k.arg == "wrong" and isinstance(k.value, ast.Dict)]
                ids = [key.value for form in wrong for key in form.keys if isinstance(key, ast.Constant)]
                yield Check(name.value.split()[0].rstrip(",:"), tuple(ids), place)


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Course:
    """The tree under `root`, read lazily and once."""

    def __init__(self, root: Path):
        self.root = Path(root)

    @cached_property
    def plan(self) -> list[dict[str, str]]:
        """Rows of book/chapters.csv: number, slug, title, question, part, needs, keywords."""
        return _read_csv(self.root / "book" / "chapters.csv")

    @cached_property
    def notes(self) -> dict[str, dict[str, str]]:
        """Rows of book/notes.csv by id, in its order: id, kind, severity, note, heading, chapter."""
        return {row["id"]: row for row in _read_csv(self.root / "book" / "notes.csv")}

    @cached_property
    def chapters(self) -> dict[str, Chapter]:
        """Written chapters by number ("03", "09b", "A"), in reading order."""
        paths = sorted((self.root / "chapters").glob("[0-9A-Z]*_*.ipynb"))
        return {chapter.number: chapter for chapter in map(read_chapter, paths)}

    def title_of(self, number: str) -> str | None:
        """What a chapter is called without its question: as planned, else by its page; None if there is none."""
        planned = next((row["title"] for row in self.plan if row["number"] == number), None)
        return planned or (number in self.chapters and short(self.chapters[number].title)) or None

    @cached_property
    def equations(self) -> dict[str, Place]:
        return {label: place for chapter in self.chapters.values() for label, place in chapter.equations.items()}

    @cached_property
    def checks(self) -> list[Check]:
        return [check for chapter in self.chapters.values() for check in chapter.checks]

    @cached_property
    def corrections(self) -> list[Correction]:
        paths = sorted((self.root / "book" / "corrections").glob("*.md"))
        return [correction for path in paths for correction in read_corrections(path)]

    def family(self, number: str) -> list[Chapter]:
        """A chapter and its companions: what one defines, treats and checks counts for all."""
        return [chapter for chapter in self.chapters.values() if chapter.home == number[:2]]

    def runs(self, number: str, label: str) -> Check | None:
        """The first check of `label` in a chapter or its companions."""
        return next((c for chapter in self.family(number) for c in chapter.checks if c.label == label), None)

    def place(self, correction: Correction) -> Place | None:
        """Where the corrected matter is treated: beside the equation of its first check, or where that check is run."""
        found = [self.equations.get(label) or self.runs(correction.chapter, label) for label in correction.checks[:1]]
        if found and found[0]:
            return getattr(found[0], "place", found[0])
        return next((Place(chapter.slug, 0, 0) for chapter in self.family(correction.chapter)), None)

    @cached_property
    def treated(self) -> dict[str, list[Place]]:
        """Where each item of the notes stands: comments beside the text, and corrections."""
        found = [pair for chapter in self.chapters.values() for pair in chapter.items]
        found += [(item, self.place(correction)) for correction in self.corrections for item in correction.items]
        places: dict[str, list[Place]] = {}
        for item, place in found:
            if place:  # else of a chapter to come
                places.setdefault(item, []).append(place)
        return places

    @cached_property
    def functions(self) -> list[tuple[str, str, bool]]:
        """(qualified name, label, implemented rather than just cited) for every equation in dgmlib's docstrings."""
        found = []
        for path in sorted((self.root / "dgmlib").rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            module = ".".join(part for part in parts if part != "__init__")
            found += _scan_docstrings(ast.parse(path.read_text(encoding="utf-8")), module)
        return found

    @cached_property
    def tests(self) -> list[tuple[str, str, str]]:
        """(test, marker, argument) for the `equation` and `notes` markers in tests/."""
        found = []
        for path in sorted((self.root / "tests").rglob("test_*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            name = path.relative_to(self.root).as_posix()
            found += [(f"{name}::{test}" if test else name, *mark) for test, mark in _scan_marks(tree)]
        return found

    def marked(self, marker: str, argument: str) -> list[str]:
        return sorted({test for test, kind, value in self.tests if (kind, value) == (marker, argument)})

    def implementing(self, label: str) -> list[str]:
        return [name for name, cited, implemented in self.functions if implemented and cited == label]

    def checked_in(self, label: str) -> str | None:
        """The first chapter that checks the equation."""
        return next((check.place.chapter for check in self.checks if check.label == label), None)

    def settled(self, item: str) -> bool:
        """Does a check or a test carry this item's id?

        That is: a test's `notes` marker, a mention in a cell that checks (say as a wrong form), a correction's `Check:`
        line, or a comment beside a numbered equation (each of which has a check).
        """
        for chapter in self.chapters.values():
            beside = {place.cell for place in chapter.equations.values()}
            checking = {check.place.cell for check in chapter.checks}
            if any(id == item and place.cell in beside for id, place in chapter.items):
                return True
            if any(i in checking and re.search(rf"\b{item}\b", code) for i, code in chapter.code):
                return True
        if any(correction.id == item and correction.checks for correction in self.corrections):
            return True
        return bool(self.marked("notes", item))

    def problems(self) -> list[str]:
        """Everything that would leave a hole in a derived page, one sentence each."""
        checked = {check.label for check in self.checks}
        known = self.equations.keys()
        found = [
            f"chapters/{chapter.slug}: the equation label {label} is defined twice"
            for chapter in self.chapters.values()
            for label in chapter.repeated
        ]
        found += [
            f"chapters/{place.chapter}: the equation {label} has no check; name one after it"
            for label, place in self.equations.items()
            if label.startswith("eq-") and label not in checked
        ]
        found += [
            f"chapters/{check.place.chapter}: a check names {check.label}, which no chapter defines"
            for check in self.checks
            if check.label.startswith("eq-") and check.label not in known
        ]
        found += [
            f"{name}: its docstring cites {label}, which no chapter defines"
            for name, label, _ in self.functions
            if label not in known
        ]
        found += [
            f"{test}: its marker names {value}, which no chapter defines"
            for test, kind, value in self.tests
            if kind == "equation" and value not in known
        ]
        found += [
            f"{test}: its marker names {value}, which book/notes.csv does not list"
            for test, kind, value in self.tests
            if kind == "notes" and value not in self.notes
        ]
        found += [
            f"chapters/{place.chapter}: {item} is not in book/notes.csv"
            for item, places in self.treated.items()
            for place in places
            if item not in self.notes
        ]
        found += [
            f"book/corrections/{correction.chapter}.md: {correction.id} names the check {label}, which neither its "
            "chapter nor a companion of it runs"
            for correction in self.corrections
            for label in correction.checks
            if not self.runs(correction.chapter, label)
        ]
        ids = [correction.id for correction in self.corrections]
        found += [f"book/corrections: {id} stands twice" for id in sorted({id for id in ids if ids.count(id) > 1})]
        found += [
            f"chapters/{chapter.slug}: a companion of {chapter.home}, which is not written"
            for chapter in self.chapters.values()
            if chapter.is_companion and chapter.home not in self.chapters
        ]
        return found


def _scan_docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str, bool]]:
    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, str, bool]]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            implemented = {label for part in re.findall(r"Implements\b([^.]*)", text) for label in CITED.findall(part)}
            for label in dict.fromkeys(CITED.findall(text)):
                yield name, label, label in implemented
        for child in ast.iter_child_nodes(node):
            yield from walk(child, f"{name}.{child.name}" if hasattr(child, "name") else name)

    yield from walk(tree, module)


def _scan_marks(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    owner = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                for inner in ast.walk(decorator):
                    owner[inner] = node.name
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("pytest.mark.equation", "pytest.mark.notes"):
            for argument in call.args:
                if isinstance(argument, ast.Constant):
                    yield owner.get(call, ""), (call.func.attr, argument.value)
