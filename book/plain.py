"""Builds the plain edition: every chapter for readers that know no MyST, as Colab, GitHub and VS Code: `make plain`.

References become numbers, with links into the published book once the repository has an address; directives become
headings, block quotes and `<details>`; code and outputs stay, and the cells that the book folds have a title for Colab.
"""

import argparse
import base64
import copy
import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book" / "_ext")]

from address import is_first_cell  # noqa: E402
from course import Chapter, Course, source  # noqa: E402
from folds import proof_summary  # noqa: E402
from labels import Labels, option  # noqa: E402
from lesson import fold  # noqa: E402

COMMENT = re.compile(r"^[ \t]*<!--.*?-->[ \t]*(?:\n|\Z)|[ \t]*<!--.*?-->", re.DOTALL | re.MULTILINE)
DIRECTIVE = re.compile(r"(:{3,}|`{3,}|~{3,})\{([\w:-]+)\}[ \t]*(.*)")
CODE = re.compile(r"\s*(`{3,}|~{3,})")
TOKEN = re.compile(
    r"""
    ^[ ]*(?P<fence>`{3,}|~{3,})(?!\{).*?^[ ]*(?P=fence)[`~]*[ ]*$
  | \{(?P<role>[a-z:]+)\}`(?P<target>[^`]+)`
  | (?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)
  | \$\$(?P<display>.+?)\$\$(?P<labelled>[ \t]*\((?P<label>[\w:-]+)\))?
  | (?<![!\\])\[(?P<text>[^\[\]]*)\]\((?P<file>[\w./-]+\.(?:md|ipynb))?(?:\#(?P<anchor>[\w:-]+))?\)
  | \\(?P<macro>[A-Za-z]+)
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
NOTES = {"note", "tip", "important", "warning", "caution", "attention", "hint", "seealso", "danger", "error"}
FOLDED = {"solution": "Solution", "hide-cell": "Code that the next cells use", "hide-input": "Code"}


class Edition:
    """One chapter, rewritten. Raises ValueError for a directive, role or label that it does not know."""

    def __init__(self, chapter: Chapter, labels: Labels):
        self.chapter, self.labels = chapter, labels
        self.unlabelled = dict.fromkeys(("exercise", "figure"), 0)
        self.attachments: dict[str, dict[str, str]] = {}

    def notebook(self) -> dict:
        made = {**self.chapter.notebook, "cells": []}
        for cell in self.chapter.cells:
            made["cells"] += self.cell(copy.deepcopy(cell))
        return made

    def cell(self, cell: dict) -> Iterator[dict]:
        """What a cell becomes: nothing where only comments stood, two where a figure has a caption."""
        if cell["cell_type"] == "markdown":
            self.attachments = {}
            text = self.text(source(cell))
            if text:
                yield cell | {"source": text} | ({"attachments": self.attachments} if self.attachments else {})
            return
        if cell["cell_type"] == "code" and (title := folded(cell)):
            cell["source"] = f"#@title {title}\n{source(cell)}"
            cell = fold(cell)
        yield cell
        if figure := cell["metadata"].get("mystnb", {}).get("figure"):
            caption = self.caption(figure.get("name"), self.inline(figure["caption"]))
            yield {"cell_type": "markdown", "id": f"{cell['id'][:56]}-caption", "metadata": {}, "source": caption}

    # --- text ---------------------------------------------------------------------------------------------------------

    def text(self, markdown: str) -> str:
        """A cell's Markdown without MyST."""
        return re.sub(r"\n{3,}", "\n\n", self.blocks(self.inline(COMMENT.sub("", markdown)))).strip()

    def inline(self, markdown: str) -> str:
        """References resolved, labels of equations turned into tags, the book's own TeX commands spelt out."""
        return TOKEN.sub(self.token, markdown)

    def token(self, found: re.Match) -> str:
        if found["role"]:
            return self.role(found["role"], " ".join(found["target"].split()))
        if found["macro"]:
            meant = self.labels.macros.get(found["macro"])
            bare = meant is None or found.string[found.start() - 1 : found.start()] not in ("^", "_")
            return found[0] if meant is None else meant if bare else f"{{{meant}}}"
        if found["display"] is not None:
            maths = self.inline(found["display"])
            return f"$${tagged(maths, self.number(found['label'])) if found['label'] else maths}$$"
        if found["file"] or found["anchor"]:
            return self.reference(found["text"], found["file"], found["anchor"])
        return found[0]

    def role(self, name: str, target: str) -> str:
        """What {name}`target` reads as."""
        named = re.fullmatch(r"(.*\S)\s*<([^<>]+)>", target)
        shown, label = named.groups() if named else ("", target)
        if name == "eq":
            return self.linked(f"({self.number(label)})", self.home(label), f"equation-{label}")
        if name in ("ref", "numref", "prf:ref"):
            number = f"{self.known(self.labels.kinds, label)} {self.number(label)}"
            return self.linked(
                shown.replace("{number}", number).replace("%s", number) or number, self.home(label), label
            )
        if name == "doc":
            page = label.removeprefix("/").removesuffix(".ipynb") if "/" in label else f"chapters/{label}"
            return self.linked(shown or self.known(self.labels.titles, page), page)
        if name == "chapter":
            brief = len(label.split()) > 1
            chapters = [(number, *self.labels.chapter(number)) for number in label.split()]
            return " · ".join(
                self.linked(number if brief else title if page else f"{title} (to come)", page)
                for number, title, page in chapters
            )
        if name == "cite":
            works = [self.known(self.labels.works, key.strip()) for key in label.split(",")]
            return f"({'; '.join(self.linked(cited, 'book/bibliography') for cited, _ in works)})"
        raise ValueError(f"chapters/{self.chapter.slug}: the plain edition knows no role {{{name}}}")

    def reference(self, shown: str, file: str | None, anchor: str | None) -> str:
        """What [shown](file#anchor) reads as."""
        if file is None:
            return self.role("eq" if anchor.startswith("eq-") else "ref", f"{shown} <{anchor}>" if shown else anchor)
        path = (ROOT / "chapters" / file).resolve().relative_to(ROOT).with_suffix("").as_posix()
        return self.linked(shown, path, anchor)

    def linked(self, shown: str, page: str | None, anchor: str | None = None) -> str:
        """A link into the published book if there is one, else the text alone."""
        url = page and self.labels.page(page)
        return f"[{shown}]({url}{f'#{anchor}' if anchor else ''})" if url else shown

    def known(self, table: dict, label: str):
        if label not in table:
            raise ValueError(f"chapters/{self.chapter.slug}: {label} stands nowhere in the course")
        return table[label]

    def number(self, label: str) -> str:
        return self.known(self.labels.numbers, label)

    def home(self, label: str) -> str:
        return f"chapters/{self.known(self.labels.homes, label)}"

    # --- directives ---------------------------------------------------------------------------------------------------

    def blocks(self, markdown: str) -> str:
        """The text with its directives spelt out in plain Markdown and `<details>`, from the outside in."""
        lines, done, at = markdown.split("\n"), [], 0
        while at < len(lines):
            opening, code = DIRECTIVE.fullmatch(lines[at].strip()), CODE.match(lines[at])
            end = at
            if opening or code:
                mark = opening[1] if opening else code[1]
                closing = re.compile(rf"\s*{mark[0]}{{{len(mark)},}}\s*")
                end = next((i for i in range(at + 1, len(lines)) if closing.fullmatch(lines[i])), len(lines))
            if opening:
                done += ["", self.directive(opening[2], opening[3], "\n".join(lines[at + 1 : end])), ""]
            else:
                done += lines[at : end + 1]
            at = end + 1
        return "\n".join(done)

    def directive(self, name: str, argument: str, body: str) -> str:
        options = re.match(r"(?:\s*:[\w-]+:.*(?:\n|\Z))*", body)[0]
        text = self.blocks(body[len(options) :].strip())
        if name == "dropdown" or "dropdown" in (option(options, "class") or ""):
            return details(argument or name.capitalize(), text)
        if name == "exercise":
            return f"### {self.counted('exercise', 'Exercise', option(options, 'label'))}. {argument}\n\n{text}"
        if name == "figure":
            return (
                f"{self.image(argument, option(options, 'alt') or '')}\n\n{self.caption(option(options, 'name'), text)}"
            )
        if name == "admonition":
            return quoted(f"**{argument}**", text)
        if name in NOTES:
            return quoted(f"**{name.capitalize()}**", f"{argument}\n{text}".strip())
        if name.startswith("prf:"):
            label = option(options, "label")
            number = f" {self.number(label)}" if label and name != "prf:proof" else ""
            title = f" ({argument})" if argument else ""
            return quoted(f"**{name.removeprefix('prf:').capitalize()}{number}{title}.**", text)
        raise ValueError(f"chapters/{self.chapter.slug}: the plain edition knows no directive {{{name}}}")

    def counted(self, kind: str, shown: str, label: str | None) -> str:
        return f"{shown} {self.number(label)}" if label else shown

    def caption(self, name: str | None, text: str) -> str:
        text = " ".join(text.split())
        return f"**{self.counted('figure', 'Fig.', name)}** {text}" if text or name else ""

    def image(self, file: str, alt: str) -> str:
        """A figure by its address in the repository, or in the notebook itself while there is none."""
        path = (ROOT / "chapters" / file).resolve()
        if self.labels.address:
            raw = self.labels.address.replace("https://github.com/", "https://raw.githubusercontent.com/")
            return f"![{alt}]({raw}/main/{path.relative_to(ROOT).as_posix()})"
        self.attachments[path.name] = {"image/png": base64.b64encode(path.read_bytes()).decode("ascii")}
        return f"![{alt}](attachment:{path.name})"


def tagged(maths: str, number: str) -> str:
    """An equation with its number, on a line of its own where the equation has several."""
    if "\n" not in maths:
        return f"{maths.rstrip()} \\tag{{{number}}} "
    body, _, end = maths.rpartition("\n")
    indent = re.match(r"[ \t]*", maths.strip("\n"))[0]
    return f"{body}\n{indent}\\tag{{{number}}}\n{end}" if not end.strip() else f"{maths} \\tag{{{number}}}"


def details(title: str, text: str) -> str:
    return f"<details>\n<summary><b>{html.escape(title, quote=False)}</b></summary>\n\n{text}\n\n</details>"


def quoted(title: str, text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in f"{title}\n\n{text}".split("\n"))


def folded(cell: dict) -> str | None:
    """The line that stands for a folded cell; None if the cell stands open."""
    tags = cell["metadata"].get("tags", [])
    if "proof" in tags:
        return proof_summary(cell["outputs"])
    if "hide-input" in tags and is_first_cell(source(cell)):
        return "Setup"
    if "hide-input" in tags and any("image/png" in output.get("data", {}) for output in cell["outputs"]):
        return "The figure's code"
    return next((FOLDED[tag] for tag in tags if tag in FOLDED), None)


def write(folder: Path, labels: Labels | None = None) -> None:
    """Write every chapter's plain edition into `folder`, and remove those of chapters that are gone."""
    labels = labels or Labels(Course(ROOT))
    made = {chapter.path.name: Edition(chapter, labels).notebook() for chapter in labels.course.chapters.values()}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ipynb"):
        if old.name not in made:
            old.unlink()
    for name, notebook in made.items():
        (folder / name).write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "_build" / "plain")
    write(folder := parser.parse_args().folder)
    print(f"{len(list(folder.glob('*.ipynb')))} chapters in {folder}")
