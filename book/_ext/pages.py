"""Markdown of the derived pages. Each function takes the course and returns the text that replaces one

`<!-- generated: name -->` line of a page in book/.
"""

import ast
import csv
import importlib
import re
from collections.abc import Callable, Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import samples
from counts import count
from course import Correction, Course, Place, short

from dgmlib import results

NOTES = {
    "N0": "General lecture notes",
    "N1": "The generative problem",
    "N2": "Three eras",
    "N3": "Stanford CS236, lectures 1 to 16",
    "N4": "Notes for deep generative model learning",
}
NAMES = {"iwae": "IWAE", "dreg": "DReG"}


def section_link(course: Course, place: Place) -> str:
    """Chapter number and heading, linked to the heading."""
    number = place.chapter.split("_")[0]
    title = course.chapters[number].sections[place.section]
    return f"{number} [{title}](#{place.chapter.lower()}-s{place.section})"


def check_link(chapter: str, label: str, text: str) -> str:
    """To the first cell of the chapter whose check guards `label`."""
    return f"[{text}](#check-{chapter.lower()}-{label.lower()})"


def correction_checks(course: Course, correction: Correction) -> str:
    """The checks of a correction: equation numbers, or names where a check guards something else."""
    runs = [(label, course.runs(correction.chapter, label)) for label in correction.checks]
    return ", ".join(
        f"{{eq}}`{label}`" if label in course.equations else check_link(check.place.chapter, label, f"`{label}`")
        for label, check in runs
        if check
    )


def mistake_anchor(course: Course, id: str) -> str | None:
    """Where a known mistake is told: in the museum, or among the corrections; None where it is a check's own."""
    museum = importlib.import_module("dgmlib.bugs").by_chapter().values()
    if any(id in slips or any(id == bug.id for one in subjects for bug in one.bugs) for subjects, slips in museum):
        return f"museum-bug-{id.lower()}"
    return f"correction-{id.lower()}" if any(id == one.id for one in course.corrections) else None


def function_link(name: str) -> str:
    shown = name.removeprefix("dgmlib.")
    unlisted = name.startswith("dgmlib.bugs.") or any(part.startswith("_") for part in name.split("."))
    return f"`{shown}`" if unlisted else f"{{py:obj}}`{shown} <{name}>`"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    return [*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows), ""]


def equation_index(course: Course) -> Iterator[str]:
    for chapter in course.chapters.values():
        rows = []
        for label, place in chapter.equations.items():
            functions = [function_link(name) for name in course.implementing(label)]
            checks = [check for check in course.checks if check.label == label]
            homes = dict.fromkeys(check.place.chapter for check in checks)
            links = [check_link(home, label, f"in {home.split('_')[0]}") for home in homes]
            rejected = sorted({wrong for check in checks for wrong in check.wrong})
            tests = [f"`{test.removeprefix('tests/').replace('.py', '')}`" for test in course.marked("equation", label)]
            rows.append(
                [
                    f"{{eq}}`{label}` `{label}`",
                    section_link(course, place).partition(" ")[2],
                    ", ".join(functions) or "–",
                    ", ".join(links) + (f"; rejects {', '.join(rejected)}" if rejected else "") or "–",
                    ", ".join(tests) or "–",
                ]
            )
        if rows:
            yield f"## {chapter.number} {short(chapter.title)}\n"
            yield from table(["equation", "section", "functions", "checks", "tests"], rows)
    if not course.equations:
        yield "No chapter defines an equation yet.\n"


def reading_the_notes(course: Course) -> Iterator[str]:
    done = sum(item in course.treated for item in course.notes)
    yield f"So far {done} of {len(course.notes)} items are treated.\n"
    for note, title in NOTES.items():
        yield f"## {title}\n"
        yield from _headings(course, note)


def _headings(course: Course, note: str) -> list[str]:
    by_heading: dict[str, list[dict]] = {}
    for row in course.notes.values():
        if row["note"] == note:
            by_heading.setdefault(row["heading"], []).append(row)
    lines = []
    for heading, rows in by_heading.items():
        treated = [row["id"] for row in rows if row["id"] in course.treated]
        links = dict.fromkeys(section_link(course, course.treated[item][0]) for item in treated)
        waiting = sorted({row["chapter"] for row in rows if row["id"] not in course.treated})
        to_come = [f"{{chapter}}`{number}`" for number in waiting]
        where = "; ".join([*links, *to_come])
        lines.append([escape(heading, quote=False), f"{len(treated)} / {len(rows)}", where])
    return table(["heading of the notes", "items treated", "where"], lines)


def corrections(course: Course) -> Iterator[str]:
    found = {correction.id: correction for correction in course.corrections}
    counts = {kind: sum(row["severity"] == kind for row in course.notes.values()) for kind in ("false", "misleading")}
    yield (
        f"The notes hold {counts['false']} false and {counts['misleading']} misleading statements that the course "
        f"corrects; {sum(course.notes[item]['severity'] != 'typo' for item in found)} of these stand below so far.\n"
    )
    slips = []
    for note in NOTES:
        heading = f"## {NOTES[note]}\n"
        for item, row in course.notes.items():
            if item not in found or row["note"] != note:
                continue
            correction = found[item]
            place = course.place(correction)
            where = section_link(course, place) if place else f"{{chapter}}`{correction.chapter}`"
            anchor = f"<!-- correction {item} -->"
            if row["severity"] == "typo":
                slips.append([f"{anchor}{item}", correction.quote, " ".join(correction.body.split()), where])
                continue
            if heading:
                yield heading
                heading = ""
            checks = correction_checks(course, correction)
            yield f"{anchor}\n\n### {item}: {escape(row['heading'], quote=False)}\n"
            yield f"*{row['severity'].capitalize()}.* {where}.{checks and f' Check: {checks}.'}\n"
            yield f"> {correction.quote}\n\n{correction.body}\n"
    if slips:
        yield ":::{dropdown} Slips of the pen\n"
        yield from table(["id", "the notes", "what holds", "where"], slips)
        yield ":::\n"


def published(course: Course, name: str) -> list[list[str]]:
    """The rows of one table of book/published.csv: value, model, what kind of number it is, where it was read."""
    with (course.root / "book" / "published.csv").open(encoding="utf-8", newline="") as file:
        return [
            [row["value"], row["model"], row["kind"], row["source"] + (" †" if row["transcribed"] else "")]
            for row in csv.DictReader(file)
            if row["table"] == name
        ]


def readable(model: str) -> str:
    """What a run calls its model, in words.

    >>> readable("HVAE 784-400-200, latents 100+50 (top-down)"), readable("VAE 784-400-40 (dreg-5)")
    ('hierarchical VAE 784 → 400 → 200, latents 100 + 50 (top-down)', 'VAE 784 → 400 → 40, by DReG with 5 samples')
    """
    model = re.sub(r"(?<=\d)([-+])(?=\d)", lambda sign: {"-": " → ", "+": " + "}[sign[1]], model)
    model = re.sub(r" \((iwae|dreg)-(\d+)\)", lambda of: f", by {NAMES[of[1]]} with {of[2]} samples", model)
    return model.replace(" (elbo)", "").replace("HVAE", "hierarchical VAE")


def value_of(run: results.Run) -> str:
    """The mean, with its spread over the seeds where there are several."""
    return run.result.partition(" (")[0]


def seeds_of(run: results.Run) -> str:
    seeds = ", ".join(str(row["seed"]) for row in run.rows)
    minutes = run.minutes_of("processor")
    spent = "" if minutes == "–" else f"; {minutes} min" + " each" * (len(run.rows) > 1)
    return f"seed{'s' * (len(run.rows) > 1)} {seeds}{spent}"


def reproductions(course: Course) -> Iterator[str]:
    """A table a data set, ours ranked among the published; other measures; what no commit holds; each run, folded."""
    runs = results.read(course.root / "book" / "results")
    clean, dirty = [run for run in runs if run.clean], [run for run in runs if not run.clean]
    if not runs:
        yield "No long run has been recorded yet.\n"
    for name in dict.fromkeys(run.table for run in clean if run.table):
        yield f"## {name[0].upper() + name[1:]}\n"
        rows = published(course, name)
        for run in (run for run in clean if run.table == name):
            ours = f"**{readable(run.model)}** ({run.title[0].lower() + run.title[1:]})"
            rows.append([f"**{value_of(run)}**", ours, run.measure, f"this course: {seeds_of(run)}"])
        rows.sort(key=lambda row: float(re.search(r"[\d.]+", row[0])[0]))
        ranked = [[str(rank), *row] for rank, row in enumerate(rows, 1)]
        yield from table(["rank", "value", "model", "kind", "source"], ranked)
    apart = {"Other measures": [run for run in clean if not run.table], "Made from code that no commit holds": dirty}
    for heading, listed in apart.items():
        if listed:
            yield f"## {heading}\n"
            rows = [[value_of(r), readable(r.model), f"{r.title}: {r.measure}", seeds_of(r)] for r in listed]
            yield from table(["value", "model", "what was measured", "run"], rows)
    if runs:
        yield "## Every run\n"
    for run in [*clean, *dirty]:
        yield f":::{{dropdown}} {run.title}: {readable(run.model)}, {run.data}"
        yield from details(course, run)
        yield ":::\n"


def details(course: Course, run: results.Run) -> Iterator[str]:
    """One run: what it measured, on what, by which command, and its figure."""
    verdict = f"**{run.result}**" if run.clean else f"{run.result}, {results.UNCOMMITTED}"
    yield f"{run.measure[0].upper() + run.measure[1:]}: {verdict}.\n"
    if run.also:
        rows = [[what, ", ".join(results.told(row["also"][what]) for row in run.rows)] for what in run.also]
        yield from table(["also measured", "result of each seed" if len(run.rows) > 1 else "result"], rows)
    facts = [f"{run.parameters:,} parameters", f"{run.device}, {run.threads} thread" + "s" * (run.threads > 1)]
    facts += [f"torch {run.versions['torch']}, Python {run.versions['python']}"]
    spent = {"processor": run.minutes_of("processor"), "on the wall": run.minutes_of("wall")}
    facts += [f"{minutes} minutes a seed ({clock})" for clock, minutes in spent.items() if minutes != "–"]
    yield "; ".join(facts) + ".\n"
    for row in run.rows:
        commit = f"`{row['commit'][:10]}`" + ", changed since," * row["commit"].endswith("-dirty")
        yield f"Made on {row['date']} at commit {commit} by\n\n```text\n{row['command']}\n```\n"
    if (course.root / "book" / "results" / f"{run.name}.png").exists():
        yield f"![Figure of the run: {run.title}](results/{run.name}.png)\n"


def plain(text: str) -> str:
    """Text of the museum as Markdown: formulas as they are typed, code spans as they are marked."""
    spans = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(span if span[:1] == "`" else re.sub(r"([\\*_\[\]<>$~{}|^#])", r"\\\1", span) for span in spans)


def bug_museum(course: Course) -> Iterator[str]:
    """An index of the chapters, then each chapter's functions with their wrong variants, and its wrong statements."""
    museum = importlib.import_module("dgmlib.bugs").by_chapter()

    def seen_by(id: str) -> list[str]:
        """The checks that reject it; where a cell builds its wrong forms apart, the chapter alone."""
        seen = [(c.label, c.place.chapter) for c in course.checks if id in c.wrong]
        links = [check_link(home, label, f"{label} in {home.split('_')[0]}") for label, home in dict.fromkeys(seen)]
        if links:
            return links
        named = [k for k, chapter in course.chapters.items() if any(f'"{id}"' in code for _, code in chapter.code)]
        return [f"a check of chapter {number}" for number in named]

    anchored: set[str] = set()

    def entry(known: Any, id: str, parts: dict[str, str], seen: list[str], diff: str = "") -> Iterator[str]:
        if id not in anchored:  # some stand under two functions
            yield f"(museum-bug-{id.lower()})="
        anchored.add(id)
        yield f"#### {plain(known.name)} `{id}`\n"
        yield f"{plain(known.story)}\n"
        if diff:
            yield f"```diff\n{diff}\n```\n"
        yield from (f"- *{part}:* {plain(text)}" for part, text in parts.items())
        yield f"- *Seen by:* {', '.join(seen)}\n"

    yield ":::{dropdown} Index"
    for number, (subjects, slips) in museum.items():
        links = [f"[{subject.name.replace('-', ' ')}](#museum-{subject.name})" for subject in subjects]
        links += [f"[wrong statements](#museum-statements-{number.lower()})"] * bool(slips)
        yield f"{course.title_of(number)}\n: {', '.join(links)}\n"
    yield ":::\n"
    for number, (subjects, slips) in museum.items():
        count = sum(len(subject.bugs) for subject in subjects)
        known = [f"{count} mistakes in {len(subjects)} functions"] + [f"{len(slips)} wrong statements"] * bool(slips)
        yield f"(museum-{number.lower()})=\n## {number} {course.title_of(number)}\n"
        yield f"::::{{dropdown}} {' and '.join(known)}"
        for subject in subjects:
            yield f"(museum-{subject.name})=\n### {subject.name.replace('-', ' ')}\n"
            yield f"The right one: {function_link(subject.function)}. Yours: `diagnose({subject.name!r}, yours)`.\n"
            for bug in subject.bugs:
                parts = {"Symptom": bug.symptom, "Look at": bug.place, "Cure": bug.cure}
                yield from entry(bug, bug.id, parts, [*seen_by(bug.id), "`tests/test_bugs.py`"], bug.diff())
        if slips:
            yield f"(museum-statements-{number.lower()})=\n### wrong statements\n"
            yield "Forms of an identity or an inequality that no function computes.\n"
            for id, slip in slips.items():
                parts = {"What holds": slip.holds, "Misleads": slip.misleads}
                yield from entry(slip, id, parts, seen_by(id) or ["no check of a chapter"])
        yield "::::\n"


def modules(root: Path) -> dict[str, str]:
    """First line of the docstring of each public module of dgmlib, by name."""
    paths = {path.stem: path for path in (root / "dgmlib").glob("[!_]*.py")}
    paths["bugs"] = root / "dgmlib" / "bugs" / "__init__.py"
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in sorted(paths.items())}
    return {name: (ast.get_docstring(tree) or "").partition("\n\n")[0].rstrip(":") for name, tree in trees.items()}


def api(course: Course) -> Iterator[str]:
    rows = [[f"{{doc}}`{name} <api/{name}>`", plain(line)] for name, line in modules(course.root).items()]
    yield from table(["module", "what it holds"], rows)


def api_pages(root: Path) -> dict[str, str]:
    """A page a module, which Sphinx fills from the docstrings."""
    page = "# {0}\n\n```{{eval-rst}}\n.. automodule:: dgmlib.{0}\n   :members:\n```\n"
    return {name: page.format(name) for name in modules(root)}


def chapter_table(course: Course) -> Iterator[str]:
    for part, rows in groupby(course.plan, key=lambda row: row["part"]):
        lines = []
        for row in rows:
            chapter = course.chapters.get(row["number"])
            seconds = chapter.record.get("seconds") if chapter else None
            lines.append(
                [
                    f'<span id="chapter-{row["number"]}"></span>{{chapter}}`{row["number"]}`',
                    row["question"],
                    row["needs"].replace(" ", ", ") or "–",
                    f"{max(1, round(count(chapter).minutes))} min" if chapter else "–",
                    "–" if seconds is None else f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s",
                ]
            )
        yield f"### {part}\n"
        yield from table(["chapter", "question", "needs", "to read", "to run"], lines)


PATHS = {
    "In the order of the notes": (
        "01 04 05 03 06 08 09 12 13 14 15 16 17 18 19 20 21 22 23 28",
        "the course beside the notes it grew out of.",
    ),
    "One weekend": ("01 03 06 09 12 14 20 22", "one chapter of each family. Skip the exercises, predict every figure."),
    "Without likelihoods": (
        "01 02 14 15 16 17 18 20 21 24 28",
        "models judged by a critic, by an energy's slope, or by their samples alone.",
    ),
    "Straight to diffusion": ("01 02 03 06 08 09 20 22 24", "what the chapter on diffusion stands on, and no more."),
}


def paths(course: Course) -> Iterator[str]:
    """Three ways through the chapters that are written; a way with fewer than four of its own waits for them."""
    walked = {name: [n for n in numbers.split() if n in course.chapters] for name, (numbers, _) in PATHS.items()}
    for name in [name for name, numbers in walked.items() if len(numbers) >= 4][:3]:
        yield f"{name}\n: {{chapter}}`{' '.join(walked[name])}`: {PATHS[name][1]}\n"


def landing_samples(course: Course) -> Iterator[str]:
    yield samples.strip(course)


def chapter_graph(course: Course) -> Iterator[str]:
    """Prerequisites as an SVG: parts from top to bottom, depth from left to right, links on what is written."""
    rows = {row["number"]: row for row in course.plan}
    depth: dict[str, int] = {}
    for number, row in rows.items():  # the plan lists a chapter after what it needs
        depth[number] = 1 + max((depth[need] for need in row["needs"].split()), default=-1)
    parts = list(dict.fromkeys(row["part"] for row in rows.values()))
    spot: dict[str, tuple[int, int]] = {}
    lanes: list[str] = []  # the last chapter in each row; a row goes on only with what needs that chapter
    for part in parts:
        first = len(lanes)
        for number, row in rows.items():
            if row["part"] != part:
                continue
            lane = next((i for i in range(first, len(lanes)) if lanes[i] in row["needs"].split()), len(lanes))
            lanes[lane : lane + 1] = [number]
            spot[number] = (depth[number] * 76 + 40, lane * 58 + 36)
    width, height = max(x for x, _ in spot.values()) + 40, max(y for _, y in spot.values()) + 36
    summary = "; ".join(
        f"{number} {row['title']}" + (f" needs {row['needs'].replace(' ', ', ')}" if row["needs"] else "")
        for number, row in rows.items()
    )
    svg = [
        f'<svg class="chapter-graph" viewBox="0 0 {width} {height}" role="group" aria-labelledby="graph-title">',
        f'<title id="graph-title">Which chapter needs which: {escape(summary)}.</title>',
    ]
    for number, row in rows.items():
        x, y = spot[number]
        for need in row["needs"].split():
            u, v = spot[need]
            bend = (x - u) / 2
            svg.append(f'<path d="M{u + 18},{v} C{u + 18 + bend},{v} {x - 18 - bend},{y} {x - 18},{y}"/>')
    for number, row in rows.items():
        x, y = spot[number]
        written = number in course.chapters
        label = f"{number} {row['title']}" + ("" if written else " (to come)")
        mark = (
            f'<g class="{"written" if written else "planned"}">'
            f"<title>{escape(label)}</title>"
            f'<circle cx="{x}" cy="{y}" r="18"/><text x="{x}" y="{y}">{number}</text></g>'
        )
        if written:
            href = f"../chapters/{course.chapters[number].slug}.html"
            mark = f'<a href="{href}" aria-label="{escape(label)}">{mark}</a>'
        svg.append(mark)
    yield "\n".join([*svg, "</svg>", ""])


GENERATED: dict[str, Callable[[Course], Iterator[str]]] = {
    "equation-index": equation_index,
    "reading-the-notes": reading_the_notes,
    "corrections": corrections,
    "reproductions": reproductions,
    "bug-museum": bug_museum,
    "api": api,
    "chapter-table": chapter_table,
    "chapter-graph": chapter_graph,
    "paths": paths,
    "samples": landing_samples,
}
MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.M)


def fill(text: str, course: Course) -> str:
    """The page with every `<!-- generated: name -->` line replaced."""
    return MARK.sub(lambda mark: "\n".join(GENERATED[mark[1]](course)), text)
