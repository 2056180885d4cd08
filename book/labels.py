"""What a label stands for outside the built book: numbers of equations, exercises and figures, authors and years.

The book is numbered by Sphinx; other surfaces show notebooks one at a time, and read their numbers here.
"""

import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book" / "_ext")]

from citations import CourseStyle  # noqa: E402
from course import Chapter, Course  # noqa: E402
from pybtex.database import parse_file  # noqa: E402
from pybtex.richtext import Text  # noqa: E402


@dataclass(frozen=True)
class Labels:
    """Every label of the course that has a number, and what its text refers to."""

    course: Course
    config: dict = field(default_factory=lambda: yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8")))

    @cached_property
    def numbers(self) -> dict[str, str]:
        """What stands in the book for a label: "9.3" for an equation, an exercise or a figure."""
        found: dict[str, str] = {}
        for chapter in self.course.chapters.values():
            for names in ([*chapter.equations], exercises(chapter), figures(chapter), *items(chapter).values()):
                found |= {name: f"{bare(chapter)}.{i}" for i, name in enumerate(names, 1) if name}
        return found

    @cached_property
    def homes(self) -> dict[str, str]:
        """The chapter, by its file's name, in which each label stands."""
        return {
            name: chapter.slug
            for chapter in self.course.chapters.values()
            for name in [*chapter.equations, *labels(chapter), *filter(None, figures(chapter))]
        }

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What each label that is no equation's names: "Exercise", "Fig.", "Theorem"."""
        chapters = self.course.chapters.values()
        found = {name: "Fig." for chapter in chapters for name in figures(chapter) if name}
        directives = [directive for chapter in chapters for directive in chapter.directives]
        return found | {
            label: name.removeprefix("prf:").capitalize()
            for name, _, body, _ in directives
            if (label := option(body, "label"))
        }

    @cached_property
    def macros(self) -> dict[str, str]:
        """The TeX commands that only the book's MathJax knows, and what they stand for."""
        return self.config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]

    @cached_property
    def address(self) -> str | None:
        """Where the repository is, once it is anywhere."""
        return self.config.get("repository", {}).get("url")

    def page(self, name: str) -> str | None:
        """The published page of `name`, such as "book/equations", once the repository has an address."""
        if self.address is None:
            return None
        owner, repository = self.address.split("/")[-2:]
        return f"https://{owner.lower()}.github.io/{repository}/{name}.html"

    @cached_property
    def titles(self) -> dict[str, str]:
        """What a page is called, by its name: "chapters/09_variational_autoencoders" or "book/equations"."""
        pages = {f"book/{page.stem}": page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("*.md")}
        headings = {name: re.search(r"^# +(.+)$", text, re.MULTILINE) for name, text in pages.items()}
        chapters = {f"chapters/{chapter.slug}": chapter.title for chapter in self.course.chapters.values()}
        return chapters | {name: heading[1] for name, heading in headings.items() if heading}

    def chapter(self, number: str) -> tuple[str, str | None]:
        """What chapter `number` is called, "14 Generative adversarial networks", and its page; None if to come."""
        chapter = self.course.chapters.get(number)
        return f"{number} {self.course.title_of(number)}", chapter and f"chapters/{chapter.slug}"

    @cached_property
    def works(self) -> dict[str, tuple[str, str]]:
        """How the book cites every entry of the bibliography, "Uria et al., 2016", and its title."""
        style = CourseStyle()
        entries = style.sort(parse_file(str(ROOT / "book" / "references.bib"), bib_format="bibtex").entries.values())
        titles = [str(Text.from_latex(entry.fields["title"])) for entry in entries]
        cited = zip(style.format_labels(entries), titles, strict=True)
        return dict(zip((entry.key for entry in entries), cited, strict=True))


def bare(chapter: Chapter) -> str:
    """A chapter's number as its equations bear it: "9", "9b", "A"."""
    return chapter.number.lstrip("0")


def labels(chapter: Chapter) -> list[str]:
    return [label for _, _, body, _ in chapter.directives if (label := option(body, "label"))]


def exercises(chapter: Chapter) -> list[str | None]:
    return [option(body, "label") for name, _, body, _ in chapter.directives if name == "exercise"]


def figures(chapter: Chapter) -> list[str | None]:
    """The names of a chapter's figures in order, None for those that have a caption alone."""
    named = [(cell, option(body, "name")) for name, _, body, cell in chapter.directives if name == "figure"]
    for number, cell in enumerate(chapter.cells):
        if figure := cell["metadata"].get("mystnb", {}).get("figure"):
            named.append((number, figure.get("name")))
    return [name for _, name in sorted(named, key=lambda pair: pair[0])]


def items(chapter: Chapter) -> dict[str, list[str | None]]:
    """The labels of theorems, lemmas and their kin by kind."""
    found: dict[str, list[str | None]] = {}
    for name, _, body, _ in chapter.directives:
        if name.startswith("prf:") and name != "prf:proof":
            found.setdefault(name, []).append(option(body, "label"))
    return found


def option(body: str, key: str) -> str | None:
    """The value of `:key: value` at a directive's head."""
    found = re.search(rf"\A(?:\s*:[\w-]+:.*\n)*?\s*:{key}:[ \t]*(\S.*)$", body, re.MULTILINE)
    return found and found[1].strip()
