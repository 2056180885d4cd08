"""What every committed chapter must be, read from its file."""

import csv
import json
import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import run
import yaml
from address import first_cell, is_first_cell
from citations import AuthorYearLabels
from course import Chapter, Course, read_chapter, read_corrections, source
from PIL import Image
from pybtex.database import parse_file
from samples import strip, tiles

from dgmlib import bugs
from dgmlib.bugs._errata import ERRATA

ROOT = Path(__file__).resolve().parents[1]
COURSE = Course(ROOT)
TAGS = {"nbval-ignore-output", "build", "hide-cell", "hide-input", "proof", "solution", "starter"}
MEASURED = re.compile(r"\d\.\d{2,}|\de[-+]\d")
RESULT = {"title", "model", "parameters", "data", "measure", "ours", "also", "table", "minutes"}
RESULT |= {"seed", "command", "commit", "device", "threads", "versions", "date"}


def outputs(cell: dict) -> list[dict]:
    return cell.get("outputs", [])


def text(value: str | list[str]) -> str:
    return "".join(value)


def printed(cell: dict) -> str:
    """What it prints, and the lines of its checks."""
    lines = [text(output["text"]) for output in outputs(cell) if output["output_type"] == "stream"]
    made = [output for output in outputs(cell) if "check" in output.get("metadata", {}).get("dgmlib", {})]
    return "\n".join([*lines, *(text(output["data"]["text/plain"]) for output in made)])


def cell_faults(number: int, cell: dict) -> list[str]:
    """What is wrong with one cell."""
    found = []
    tags = set(cell["metadata"].get("tags", []))
    if tags - TAGS:
        found.append(f"cell {number}: tags {sorted(tags - TAGS)}")
    if "NBVAL_" in source(cell):
        found.append(f"cell {number}: an nbval comment; use a tag")
    ids = [item for group in re.findall(r"<!--(.*?)-->", source(cell)) for item in re.findall(r"[NHE]\d-\d+", group)]
    if cell["cell_type"] == "markdown" and len(ids) > 5:
        found.append(f"cell {number}: {len(ids)} ids of the notes, at most 5")
    for output in outputs(cell):
        data = output.get("data", {})
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if output["output_type"] == "error" or output.get("name") == "stderr":
            found.append(f"cell {number}: an error or a warning among its outputs")
        if "image/png" in data and not alt.strip():
            found.append(f"cell {number}: a figure without mystnb.image.alt")
        images = re.findall(r"<img\b[^>]*>", text(data.get("text/html", "")))
        if any(not re.search(r'\balt="[^"]', image) for image in images):
            found.append(f"cell {number}: an <img> without alt")
        words = text(output.get("text", "")) + text(data.get("text/plain", ""))
        if re.search(r"/(home|root|tmp|Users|usr)/\w", words):
            found.append(f"cell {number}: a path of the machine it ran on")
    return found


def faults(chapter: Chapter, course: Course) -> list[str]:
    """Everything that keeps a chapter from being published, one sentence each."""
    found = [fault for number, cell in enumerate(chapter.cells) for fault in cell_faults(number, cell)]
    code = [cell for cell in chapter.cells if cell["cell_type"] == "code" and source(cell).strip()]
    if not code or not is_first_cell(source(code[0])):
        found.append("its first code cell is not the one all chapters share")
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        found.append("not run from top to bottom in one go")
    family = course.family(chapter.number)
    compared = [cell for part in family for cell in part.cells if cell["cell_type"] == "code"]
    compared = [cell for cell in compared if "nbval-ignore-output" not in cell["metadata"].get("tags", [])]
    telling = sum(bool(MEASURED.search(printed(cell))) for cell in compared)
    if telling < 8 and not chapter.is_companion:
        found.append(f"{telling} compared cells print measured digits, at least 8")
    controls = sum(bool(check.wrong) for part in family for check in part.checks)
    if controls < 4 and not chapter.is_companion:
        found.append(f"{controls} checks reject a wrong form, at least 4")
    if (size := chapter.path.stat().st_size) > 700_000:
        found.append(f"{size // 1000} KB, at most 700")
    planned = {row["number"]: row["slug"] for row in course.plan}
    if chapter.number.isdigit() and chapter.slug != f"{chapter.number}_{planned.get(chapter.number)}":
        found.append("its name is not the one in book/chapters.csv")
    slugs = {part.slug for part in family}
    here = {item for item, places in course.treated.items() if any(place.chapter in slugs for place in places)}
    for item, row in course.notes.items():
        if row["chapter"] != chapter.number:
            continue
        if item not in here:
            found.append(f"{item} has its home here and stands nowhere")
        decisive = row["severity"] in ("false", "misleading") or row["kind"] in ("equation", "derivation")
        if decisive and not course.settled(item):
            found.append(f"{item} is neither checked nor tested")
    return found


@pytest.mark.parametrize("chapter", COURSE.chapters.values(), ids=lambda chapter: chapter.slug)
def test_chapter(chapter):
    assert faults(chapter, COURSE) == []


def test_indexes_have_no_gap():
    assert COURSE.problems() == []


def test_every_mistake_that_a_check_rejects_has_a_name():
    """An id in a cell's code is one of the notes' errata; readers meet it in words. No erratum has two names."""
    cells = [(chapter.number, code) for chapter in COURSE.chapters.values() for _, code in chapter.code]
    used = {id: number for number, code in cells for id in re.findall(r"""["'](E\d-\d+[a-z]?)["']""", code)}
    assert used and {id: number for id, number in used.items() if id not in bugs.names()} == {}
    told = {bug.id for subject in bugs.subjects().values() for bug in subject.bugs} | set(bugs.slips())
    assert not told & set(ERRATA) and set(ERRATA) <= set(COURSE.notes)


def test_contents_list_every_chapter():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in contents["parts"] for entry in part["chapters"]]
    files = [below.get("file", "") for entry in entries for below in [entry, *entry.get("sections", [])]]
    for entry in entries:
        if number := re.match(r"chapters/(\d+)_", entry["file"]):
            assert all(below["file"].startswith(f"chapters/{number[1]}") for below in entry.get("sections", []))
    assert [file for file in files if file.startswith("chapters/")] == [
        f"chapters/{chapter.slug}" for chapter in COURSE.chapters.values()
    ]
    pages = {path.stem for path in (ROOT / "book").glob("*.md")}
    assert {Path(file).name for file in files if file.startswith("book/")} | {"index"} >= pages - {"README"}


def test_corrections_are_typeset():
    """No TeX stands outside of mathematics, where a page would show it raw, and no mathematics is left open."""
    for correction in COURSE.corrections:
        for text in (correction.quote, correction.body):
            prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", "", text, flags=re.DOTALL)
            assert not re.search(r"\\[a-zA-Z]|[_^]\{|\$", prose), correction.id


def test_plan_needs_only_earlier_chapters():
    numbers = [row["number"] for row in COURSE.plan]
    assert numbers == [f"{n:02}" for n in range(1, 31)]
    for row in COURSE.plan:
        assert all(need < row["number"] and need in numbers for need in row["needs"].split()), row


def test_titles_name_the_topic_and_ask_the_question():
    for row in (row for row in COURSE.plan if row["number"] in COURSE.chapters):
        title = f"{row['title']}: {row['question'][0].lower()}{row['question'][1:]}"
        assert COURSE.chapters[row["number"]].title == title


def test_no_two_chapters_are_looked_up_by_one_word():
    words = [word.strip().lower() for row in COURSE.plan for word in row["keywords"].split(";")]
    assert all(words) and len(set(words)) == len(words)


def test_the_landing_page_shows_samples_of_every_family():
    with (ROOT / "book" / "samples.csv").open(encoding="utf-8", newline="") as file:
        families = [row["family"] for row in csv.DictReader(file)]
    cards = re.findall(r'<img [^>]*alt="([^"]+)"[^>]*/><span>(.*?)</span>', strip(COURSE))
    assert [name for _, name in cards] == families and len(families) >= 8
    assert all(name in alt for alt, name in cards)


def test_pictures_are_found_where_they_stand():
    figure = Image.new("L", (250, 120), 255)
    for row in range(2):
        for column in range(4):
            figure.paste(15 * (4 * row + column), (10 + 60 * column, 10 + 55 * row, 50 + 60 * column, 50 + 55 * row))
    figure.paste(0, (10, 115, 240, 117))  # an axis
    found = tiles(figure, 4)
    assert [[tile.size for tile in row] for row in found] == [[(40, 40)] * 4] * 2
    assert [[tile.getpixel((5, 5)) for tile in row] for row in found] == [[0, 15, 30, 45], [60, 75, 90, 105]]


# Books, reports and papers without an identifier that is known for certain.
NO_LINK = {"csiszar1967", "huber1967", "kong1992", "attias1999", "hoffmanjohnson2016", "higgins2017", "vonneumann1951"}
NO_LINK |= {"ng2002", "chen2020igpt", "frey1998", "arthur2007", "rifai2011", "ng2011", "bengio2007", "kool2019"}


def test_references_have_a_link_and_a_label_of_their_own():
    entries = parse_file(str(ROOT / "book" / "references.bib")).entries
    linked = {key for key, entry in entries.items() if {"doi", "eprint", "url"} & set(entry.fields)}
    assert entries.keys() - linked == NO_LINK
    for entry in entries.values():
        assert re.fullmatch(r"\d{4}\.\d{4,5}|[a-z]+/\d{7}", entry.fields.get("eprint", "0000.0000"))
        assert re.fullmatch(r"10\.\d{4,5}/\S+", entry.fields.get("doi", "10.0000/0"))
    labels = list(AuthorYearLabels().format_labels(entries.values()))
    assert len(set(labels)) == len(labels)
    assert {"Csiszár, 1967", "Uria et al., 2016", "Kingma & Welling, 2014", "van den Oord et al., 2016a"} <= set(labels)


def test_notes_are_listed_once_and_have_a_home():
    with (ROOT / "book" / "notes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(COURSE.notes) == 1341
    homes = {row["number"] for row in COURSE.plan}
    assert all(row["chapter"] in homes and row["heading"] for row in rows)
    assert all(bool(row["severity"]) == (row["kind"] == "erratum") for row in rows)


def test_results_are_complete_and_come_from_a_commit():
    """Each names a commit of this history, or is told to have had none, and a command that gives its seed."""
    git = ["git", "-C", str(ROOT), "merge-base", "--is-ancestor"]
    clone = (ROOT / ".git").exists()
    for path in (ROOT / "book" / "results").glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result.keys() == RESULT, path
        assert re.fullmatch("[0-9a-f]{40}(-dirty)?", result["commit"]), path
        dirty = result["commit"].endswith("-dirty")
        assert dirty or not clone or subprocess.run([*git, result["commit"], "HEAD"], check=False).returncode == 0, path
        module = re.match(r"python -m (dgmlib\.\w+)", result["command"])[1]
        assert (ROOT / "dgmlib" / "commands" / f"{module.split('.')[1]}.py").exists(), path
        assert (f"--seed {result['seed']}" in result["command"]) == (result["seed"] != 0), path


def test_published_numbers_are_numbers_with_a_source():
    with (ROOT / "book" / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(10 > float(row["value"]) > 0 or float(row["value"]) > 70 for row in rows)
    assert all(row["model"] and row["kind"] and row["source"] and row["transcribed"] in ("", "yes") for row in rows)
    tables = {json.loads(path.read_text())["table"] for path in (ROOT / "book" / "results").glob("*.json")}
    assert tables - {None} <= {row["table"] for row in rows}


def test_chapters_are_fresh():
    command = [sys.executable, ROOT / "book" / "run.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr


def test_tracked_tree_is_light():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    size = sum((ROOT / name).stat().st_size for name in listed.split("\0") if name and (ROOT / name).exists())
    assert size < 24e6


# --- companions and corrections ---------------------------------------------------------------------------------------


def small_course(root: Path, correction: str) -> Course:
    """Chapter 03, whose companion defines, treats and checks, and a file of corrections."""
    (root / "chapters").mkdir()
    (root / "book" / "corrections").mkdir(parents=True)
    for name in ("notes.csv", "chapters.csv"):
        (root / "book" / name).symlink_to(ROOT / "book" / name)
    check = {"cell_type": "code", "metadata": {}, "source": 'check.equal("eq-more", 1, 1)'}
    check |= {"execution_count": 1, "outputs": []}
    more = {"cell_type": "markdown", "metadata": {}, "source": "# More\n\n## Here\n<!-- N3-065 -->\n$$ 1 $$ (eq-more)"}
    for name, cells in {"03_x": [], "03b_more": [more, check]}.items():
        (root / "chapters" / f"{name}.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}))
    (root / "book" / "corrections" / "03.md").write_text(correction)
    return Course(root)


CORRECTION = "## E3-020\n\n> “so”\n\n<!-- N3-066 -->\nNot so.\n\nCheck: eq-more\n"


def test_a_companion_and_a_file_of_corrections_count_for_their_chapter(tmp_path):
    course = small_course(tmp_path, CORRECTION)
    assert list(course.chapters) == ["03", "03b"]
    assert [chapter.slug for chapter in course.family("03")] == ["03_x", "03b_more"]
    assert course.chapters["03b"].is_companion and course.chapters["03b"].home == "03"
    (correction,) = course.corrections
    assert (correction.quote, correction.body, correction.checks) == ("“so”", "Not so.", ("eq-more",))
    place = course.equations["eq-more"]
    assert course.treated == {"N3-065": [place], "E3-020": [place], "N3-066": [place]}
    assert course.settled("E3-020") and course.settled("N3-065") and not course.settled("N3-066")
    assert course.problems() == []
    found = "\n".join(faults(course.chapters["03"], course))
    assert "E3-020" not in found and "N3-065" not in found and "N3-067 has its home here" in found
    assert "at least" not in "\n".join(faults(course.chapters["03b"], course))


def test_the_runner_knows_a_companion_by_its_number(tmp_path, monkeypatch):
    small_course(tmp_path, CORRECTION)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    paths = [tmp_path / "chapters" / name for name in ("03_x.ipynb", "03b_more.ipynb")]
    for named, expected in {"03": paths[:1], "03b": paths[1:], "chapters/03b_more.ipynb": paths[1:]}.items():
        assert run.chosen(ArgumentParser(), [named]) == expected
    assert run.chosen(ArgumentParser(), []) == paths


def test_gaps_of_companions_and_corrections_are_named(tmp_path):
    course = small_course(tmp_path, CORRECTION + CORRECTION.replace("eq-more", "eq-other"))
    del course.chapters["03"]
    assert course.problems() == [
        "book/corrections/03.md: E3-020 names the check eq-other, which neither its chapter nor a companion of it runs",
        "book/corrections: E3-020 stands twice",
        "chapters/03b_more: a companion of 03, which is not written",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Some words.\n" + CORRECTION, "begins with 'Some', expected a heading"),
        (CORRECTION.replace("> ", ""), "E3-020 is not a quotation"),
        ("## E3-020\n\n> “so”\n\nCheck: eq-more\n\n## E3-021\n\n> “so”\n", "E3-021 is not a quotation"),
    ],
)
def test_a_correction_that_is_none_is_refused(tmp_path, text, complaint):
    (tmp_path / "03.md").write_text(text)
    with pytest.raises(ValueError, match=rf"03\.md: .*{complaint}"):
        read_corrections(tmp_path / "03.md")


# --- the inspector itself ---------------------------------------------------------------------------------------------


def bad_chapter(path: Path) -> Chapter:
    """A chapter with every fault there is."""
    errata = ["E3-020", "N3-065", "N3-066", "N3-067", "N3-068", "N3-069"]
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": f"# Bad\n<!-- {' '.join(errata)} -->"},
        {
            "cell_type": "code",
            "execution_count": 2,
            "metadata": {"tags": ["raises-exception"]},
            "source": "# NBVAL_SKIP\nprint('/usr/x')",
            "outputs": [
                {"output_type": "stream", "name": "stderr", "text": "/usr/x"},
                {"output_type": "display_data", "data": {"image/png": "", "text/html": "<img src=x>"}},
            ],
        },
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {"padding": "x" * 700_000}}))
    return read_chapter(path)


def test_the_inspector_sees_every_fault(tmp_path):
    course = Course(ROOT)
    bad = bad_chapter(tmp_path / "03_bad.ipynb")
    course.chapters, course.tests, course.corrections = {"03": bad}, [], []  # in the place of the real ones
    found = "\n".join(faults(bad, course))
    for complaint in [
        "tags ['raises-exception']",
        "an nbval comment",
        "6 ids of the notes",
        "an error or a warning",
        "without mystnb.image.alt",
        "an <img> without alt",
        "a path of the machine",
        "not the one all chapters share",
        "not run from top to bottom",
        "0 compared cells",
        "0 checks reject",
        "KB, at most 700",
        "not the one in book/chapters.csv",
        "N0-020 has its home here and stands nowhere",
        "E3-020 is neither checked nor tested",
        "N3-069 is neither checked nor tested",
    ]:
        assert complaint in found, complaint
    assert "N3-065 has its home here" not in found


def test_the_inspector_passes_what_is_right():
    cell = {
        "cell_type": "code",
        "metadata": {"tags": ["nbval-ignore-output"], "mystnb": {"image": {"alt": "Two bumps."}}},
        "source": first_cell(),
        "outputs": [{"output_type": "display_data", "data": {"image/png": "", "text/html": '<img alt="Two bumps.">'}}],
    }
    assert cell_faults(0, cell) == []
