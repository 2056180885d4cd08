"""The course's Sphinx extension: derived pages, corrections, links between equations, code and checks, offline MathJax.

Facts come from `course`, text of the derived pages from `pages`; here they meet Sphinx.
"""

import importlib.util
import io
import re
import shutil
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TextIO

import citations
from counts import count
from course import ITEMS, NUMBER, Chapter, Course, short
from docutils import nodes
from folds import setup_folds
from pages import api_pages, fill, function_link, mistake_anchor
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.search import IndexBuilder
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)

# --- in the chapters -------------------------------------------------------------------------------------------------


class ChapterRole(SphinxRole):
    """{chapter}`14` links to the chapter, or names it while it is to come; {chapter}`14 15` gives the numbers alone."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        numbers = self.text.split()
        found: list[nodes.Node] = []
        for number in numbers:
            found += [nodes.Text(" · ")] * bool(found) + [self._chapter(number, brief=len(numbers) > 1)]
        return found, []

    def _chapter(self, number: str, brief: bool) -> nodes.Node:
        if self.env.course.title_of(number) is None:
            logger.warning("no chapter %s in book/chapters.csv", number, location=self.get_location())
        return chapter_node(self.env, number, brief)


def chapter_node(env, number: str, brief: bool = False) -> nodes.Node:
    """A link to the chapter, or its name while it is to come; its number alone if `brief`."""
    title = env.course.title_of(number)
    name = number if brief else f"{number} {title}"
    if chapter := env.course.chapters.get(number):
        link = _reference(f"{chapter.slug}-s0", nodes.inline("", name), env.docname)
        link["reftitle"] = title
        return link
    if brief:
        return nodes.abbreviation("", name, explanation=f"{title} (to come)", classes=["to-come"])
    return nodes.inline("", f"{name} (to come)", classes=["to-come"])


def _anchor(env, name: str, node_id: str) -> None:
    """Make `[text](#name)` and {ref}`text <name>` lead to `node_id` of the page being read."""
    env.get_domain("std").anonlabels[name.lower()] = (env.docname, node_id)


def _reference(name: str, shown: nodes.Node, docname: str) -> addnodes.pending_xref:
    return addnodes.pending_xref(
        "",
        shown,
        refdomain="std",
        reftype="ref",
        reftarget=name.lower(),
        refexplicit=True,
        refwarn=True,
        refdoc=docname,
    )


def finish_chapter(app: Sphinx, doctree: nodes.document) -> None:
    """Anchors for headings, checks and items of the notes; links of equations and of checks' lines; head and foot."""
    env = app.env
    if env.docname == env.config.root_doc:
        planned = [row for row in env.course.plan if row["number"] not in env.course.chapters]
        _searchable(doctree, {f"chapter-{row['number']}": keywords(row) for row in planned})
    if env.docname == "book/corrections":
        anchor_corrections(env, doctree)
    if not env.docname.startswith("chapters/"):
        return
    chapter = env.course.chapters[Path(env.docname).name.split("_")[0]]
    sections = [
        node for node in doctree.findall(nodes.section) if isinstance(node.parent, nodes.document | nodes.section)
    ]
    for i, section in enumerate(sections):  # directives such as exercises hold sections that are no headings
        _anchor(env, f"{chapter.slug}-s{i}", section["ids"][0])
    row = next((row for row in env.course.plan if row["number"] == chapter.number), None)
    if row:
        _searchable(doctree, {"": keywords(row)})
    _shorten(env, env.docname)
    containers = {node["cell_index"]: node for node in doctree.findall(nodes.container) if "cell_index" in node}
    for label in dict.fromkeys(check.label for check in chapter.checks):
        first = next(check.place.cell for check in chapter.checks if check.label == label)
        if first in containers:
            containers[first]["ids"].append(f"check-{label}")
            _anchor(env, f"check-{chapter.slug}-{label}", f"check-{label}")
    for cell, container in containers.items():
        _link_checks(env, chapter, cell, container)
    for node in list(doctree.findall(nodes.raw)):
        if node.get("format") == "html" and (found := ITEMS.findall(node.astext())):
            ids = [f"note-{item}" for item in " ".join(found).split()]
            node.replace_self(nodes.target(ids=ids))
    for node in list(doctree.findall(nodes.math_block)):
        if node.get("label") in env.course.equations:
            node.parent.insert(node.parent.index(node) + 1, _equation_links(env, node["label"]))
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            logger.warning("a figure has no alternative text", location=image)
    sections[0].insert(1, _head(env, chapter))
    if chapter.record:
        sections[0].append(_foot(chapter))


def _link_checks(env, chapter, cell: int, container: nodes.Node) -> None:
    """Each line of a check as a paragraph: the number of its equation, and the mistakes that it rejects, are links."""
    told = [(text, made) for number, text, made in chapter.made if number == cell]
    bundles = [node for node in container.findall(nodes.container) if node.get("nb_element") == "mime_bundle"]
    for bundle in bundles:
        if told and bundle.astext() == told[0][0]:
            bundle.replace_self(_check_line(env, told[0][0], **told.pop(0)[1]))


def _check_line(env, text: str, check: str, rejects: list[str]) -> nodes.Node:
    line = nodes.paragraph(classes=["check-line"])
    line += nodes.Text("✓ ")
    if check in env.course.equations:
        number = nodes.inline("", f"({check})")
        options = {"refdomain": "math", "reftype": "eq", "reftarget": check, "refexplicit": False, "refwarn": True}
        line += [addnodes.pending_xref("", number, refdoc=env.docname, **options), nodes.Text(" ")]
    said, rejecting, wrong = text.removeprefix("✓ ").rpartition("; rejects ") if rejects else (text[2:], "", "")
    line += nodes.Text(said + rejecting)
    for i, (id, form) in enumerate(zip(rejects, wrong.split("; "), strict=True) if rejects else ()):
        name, bracket, value = form.rpartition(" (") if form.endswith(")") and " (" in form else (form, "", "")
        target = mistake_anchor(env.course, id)
        shown = nodes.inline("", name)
        line += [nodes.Text("; ")] * bool(i) + [_reference(target, shown, env.docname) if target else shown]
        line += nodes.Text(bracket + value)
    return line


def _searchable(doctree: nodes.document, words: dict[str, list[str]]) -> None:
    """Main entries of the search index by anchor: a query that equals one finds its page first."""
    entries = [("single", word, anchor, "main", None) for anchor, listed in words.items() for word in listed]
    doctree.next_node(nodes.section).append(addnodes.index(entries=entries))


def keywords(row: dict[str, str]) -> list[str]:
    """What a chapter is looked up by: its short title and its key words, in American spelling too.

    >>> keywords({"title": "Optimisation", "keywords": "SGD; initialisation"})
    ['Optimisation', 'SGD', 'initialisation', 'Optimization', 'initialization']
    """
    words = [row["title"], *filter(None, map(str.strip, row["keywords"].split(";")))]
    american = [re.sub(r"(?<=[^aeiou])is(?=ation|ed|ing|e\b)", "iz", word) for word in words]
    return list(dict.fromkeys(words + american))


def _shorten(env, docname: str) -> None:
    """The contents show a title's first half; the page and the search show all of it."""
    env.titles[docname] = env.titles[docname].deepcopy()  # it is the long title's own node
    for title in [env.titles[docname], next(env.tocs[docname].findall(nodes.reference), None)]:
        text = title and title.next_node(nodes.Text)
        if text and ": " in text:
            text.parent.children[text.parent.index(text) :] = [nodes.Text(text.partition(": ")[0])]


def anchor_corrections(env, doctree: nodes.document) -> None:
    """Turn each comment `<!-- correction E0-30 -->` into the anchor `correction-E0-30`."""
    for node in list(doctree.findall(nodes.raw)):
        if found := re.fullmatch(r"<!-- correction (\S+) -->", node.astext().strip()):
            name = f"correction-{found[1]}"
            node.replace_self(nodes.target(ids=[name]))
            _anchor(env, name, name)


def _equation_links(env, label: str) -> nodes.Node:
    line = nodes.paragraph(classes=["equation-links"])
    for name in env.course.implementing(label):
        shown = nodes.literal("", name.removeprefix("dgmlib."))
        if not function_link(name).startswith("{"):
            line += [shown, nodes.Text(" · ")]
            continue
        link = addnodes.pending_xref(
            "", shown, refdomain="py", reftype="obj", reftarget=name, refexplicit=True, refwarn=True, refdoc=env.docname
        )
        line += [link, nodes.Text(" · ")]
    if home := env.course.checked_in(label):
        line += _reference(f"check-{home}-{label}", nodes.inline("", "checked"), env.docname)
    return line


def _head(env, chapter: Chapter) -> nodes.Node:
    """How long the page is, by the count that the tests hold it to, and what it needs."""
    counts, course = count(chapter), env.course
    minutes = f"{round(counts.minutes)} minutes to read"
    if (seconds := chapter.record.get("seconds")) is not None:
        minutes += f" and {_minutes(seconds)} to run"
    line = nodes.paragraph(
        "", f"{counts.words:,} words · {minutes} · {counts.equations} equations", classes=["lesson-head"]
    )
    if chapter.is_companion:
        line += [nodes.Text(" · a companion of "), *_links(env, [chapter.home])]
    else:
        needs = next((row["needs"].split() for row in course.plan if row["number"] == chapter.number), [])
        line += [nodes.Text(" · needs "), *_links(env, needs)] if needs else []
        rest = [other.number for other in course.family(chapter.number) if other.is_companion]
        line += [nodes.Text(" · more in "), *_links(env, rest)] if rest else []
    return line


def _minutes(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _links(env, numbers: list[str]) -> list[nodes.Node]:
    found: list[nodes.Node] = []
    for number in numbers:
        found += [nodes.Text(", ")] * bool(found) + [chapter_node(env, number)]
    return found


def _foot(chapter: Chapter) -> nodes.Node:
    record = chapter.record
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    text = (
        f"Run on {record['date']} with the {record['budget']} budget on {record['device']} in {record['seconds']} s; "
        f"{versions}; code {record['hash'][:12]}. Run it again with "
    )
    again = nodes.literal("", f"python book/run.py --all {chapter.number}")
    return nodes.paragraph("", "", nodes.Text(text), again, nodes.Text("."), classes=["provenance"])


# --- the book --------------------------------------------------------------------------------------------------------


def fill_page(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname.startswith("book/"):
        source[0] = fill(source[0], app.env.course)


def escape_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are written to be read: |x| and p_ mean themselves, not reStructuredText's substitutions and links."""
    runs = groupby(zip(lines, code(lines), strict=True), itemgetter(1))
    texts = [(shown, "\n".join(line for line, _ in run)) for shown, run in runs]
    lines[:] = "\n".join(text if shown else escaped(text) for shown, text in texts).split("\n")


def code(lines: list[str]) -> list[bool]:
    """Which lines of a docstring are code, in which no character is markup: after "::", and examples with results."""
    found, literal, example = [], False, False
    for line in lines:
        literal = literal and not line[:1].strip()
        example = bool(line.strip()) and (example or line.startswith(">>>"))
        found.append(literal or example)
        literal = literal or line.endswith("::")
    return found


def escaped(text: str) -> str:
    """Prose, with the characters that mean themselves escaped."""
    parts = re.split(r"(``.+?``|`[^`]*`)", text, flags=re.S)
    parts[::2] = [re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]  # `Tensor`s
    return "".join(parts)


def read_course(app: Sphinx, env, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Read the course anew, complain of its gaps, and name the pages that show something that has changed."""
    env.course = Course(Path(app.srcdir))
    for problem in env.course.problems():
        logger.warning(problem)
    before = getattr(env, "course_shown", {})
    env.course_shown = {docname: shown(env, docname) for docname in env.found_docs}
    return [docname for docname, text in env.course_shown.items() if text != before.get(docname)]


def shown(env, docname: str) -> str:
    """What a page shows of other files."""
    course = env.course
    if docname.startswith("book/"):
        return fill(Path(env.doc2path(docname)).read_text(encoding="utf-8"), course)
    chapter = course.chapters[Path(docname).name.split("_")[0]]
    links = [(label, course.implementing(label), course.checked_in(label)) for label in chapter.equations]
    mistakes = [mistake_anchor(course, id) for _, _, made in chapter.made for id in made["rejects"]]
    return repr((links, mistakes, course.plan, [(other.slug, other.title) for other in course.chapters.values()]))


def note_reading(app: Sphinx, env, docnames: list[str]) -> None:
    env.course_read = bool(docnames)


def forget_course(app: Sphinx, env) -> list[str]:
    """Drop what is read anew each time; write every page if one was read, since its numbers may stand on any other."""
    del env.course
    return list(env.found_docs) if env.course_read else []


def begin(app: Sphinx) -> None:
    """Start from nothing if the last build did not end well.

    Its faulty pages would not be read again, and pass; and if it was killed while it wrote, some pages are missing.
    """
    mark = _mark(app)
    if mark.exists():
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def end(app: Sphinx, failed: Exception | None) -> None:
    if not failed and not app._warncount:
        _mark(app).unlink()


def _mark(app: Sphinx) -> Path:
    return Path(app.doctreedir) / "unfinished"


def number_by_file(collector: TocTreeCollector, env) -> list[str]:
    """Make chapters/03_x chapter 3, chapters/09b_x its companion 9b and chapters/A_x appendix A.

    Figures and equations are numbered after them, and the contents show what stands before a title's question.
    """
    for docname, contents in env.tocs.items():
        match = re.match(rf"chapters/({NUMBER})_", docname)
        if not match:
            continue
        first = int(match[1]) if match[1].isdigit() else match[1].lstrip("0")
        title, *sections = contents.findall(nodes.reference)
        none = dict.fromkeys(["", *(section["anchorname"] for section in sections)])
        numbers = env.toc_secnumbers.get(docname) or none  # a companion stands deeper than is numbered
        before = len(numbers[""] or ())
        env.toc_secnumbers[docname] = {a: n and (first, *n[before:]) for a, n in numbers.items()} | {"": (first,)}
        title["secnumber"] = env.titles[docname]["secnumber"] = [first]
        for section in sections:
            if section.get("secnumber"):
                section["secnumber"] = [first, *section["secnumber"][before:]]
        if ": " in title.astext():
            title.children = [nodes.Text(short(title.astext()))]
    return _assign_figure_numbers(collector, env) if env.course_read else []  # it loads every page


_assign_figure_numbers = TocTreeCollector.assign_figure_numbers


def load_index(index: IndexBuilder, stream: TextIO, format: object) -> None:
    """Load the search index with its entries too: Sphinx keeps those of the pages it writes now, no others."""
    text = stream.read()
    _load_index(index, io.StringIO(text), format)
    frozen, entries = format.loads(text), {}
    for name, places in frozen["indexentries"].items():
        for number, anchor, main in places:
            entries.setdefault(frozen["docnames"][number], []).append((name, anchor, "main" * main))
    index._index_entries.update({docname: entries[docname] for docname in entries.keys() & index.env.all_docs.keys()})


_load_index = IndexBuilder.load


def write_api_pages(root: Path) -> None:
    """A page a module into book/api, which git ignores: a page is touched only when its text changes."""
    folder, pages = root / "book" / "api", api_pages(root)
    folder.mkdir(exist_ok=True)
    for old in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in pages}:
        old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def copy_mathjax(app: Sphinx, failed: Exception | None) -> None:
    """MathJax from the sphinx-mathjax-offline package: only what TeX input and CHTML output load, 2 of its 24 MB."""
    if failed or app.builder.format != "html":
        return
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(package / "tex-chtml.js", target)
    for folder in ("output/chtml/fonts", "input/tex/extensions"):
        shutil.copytree(package / folder, target / folder, dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    sys.path.insert(0, str(app.srcdir))  # autodoc documents the dgmlib beside the chapters
    write_api_pages(Path(app.srcdir))
    citations.register()
    TocTreeCollector.assign_figure_numbers = number_by_file
    IndexBuilder.load = load_index
    app.add_role("chapter", ChapterRole())
    app.connect("env-get-outdated", read_course)
    app.connect("env-before-read-docs", note_reading)
    app.connect("source-read", fill_page)
    app.connect("doctree-read", finish_chapter)
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)  # before napoleon
    setup_folds(app)
    app.connect("env-updated", forget_course)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", end)
    begin(app)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
