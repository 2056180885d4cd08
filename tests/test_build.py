"""The book's machinery on thirty stub chapters: everything resolves, every index is whole, a mistake stops it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAN = list(csv.DictReader((ROOT / "book" / "chapters.csv").open(encoding="utf-8")))
HOMES, NOTES = {}, set()
for row in csv.DictReader((ROOT / "book" / "notes.csv").open(encoding="utf-8")):
    HOMES.setdefault(row["chapter"], []).append(row)
    NOTES.add(row["id"])
FIRST_CELL = "from dgmlib.notebook import check"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
RECORD = {
    "budget": "cpu",
    "device": "cpu",
    "versions": {"python": "3.11.0", "torch": "2.6.0"},
    "hash": "0123456789abcdef",
    "seconds": 42,
    "date": "2026-01-02",
}


COMPANIONS = {"09"}


def markdown(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(source: str, count: int, outputs: list[dict] | None = None, **metadata) -> dict:
    outputs = outputs or []
    return {"cell_type": "code", "execution_count": count, "metadata": metadata, "outputs": outputs, "source": source}


def check_output(line: str, label: str, rejects: list[str]) -> dict:
    metadata = {"dgmlib": {"check": label, "rejects": rejects}}
    return {"output_type": "display_data", "metadata": metadata, "data": {"text/plain": line}}


def stub_cells(number: str, title: str, after: str | None) -> list[dict]:
    """A chapter with an equation for each habit of a real one: links, checks, a figure, an exercise."""
    items = [row["id"] for row in HOMES.get(number, []) if row["id"][0] != "E"][:5]
    errata = [row for row in HOMES.get(number, []) if row["severity"]]
    label = f"eq-stub-{number}"
    before = f"It continues {{eq}}`eq-stub-{after}` and the {{prf:ref}}`thm-{after}`." if after else "It begins."
    figure = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": PIXEL, "text/plain": "<Figure size 1x1 with 1 Axes>"},
    }
    rejects = ["kl-reversed", "stub-turned", *(row["id"] for row in errata[:1]), "its-own"]
    named = [
        "turned N(0, I) (2.000)",
        "turned (broken in 2 of 3 cases)",
        *("an erratum" for _ in errata[:1]),
        "its own",
    ]
    said = [
        check_output("✓ discrete: 1.000 = 1.000; rejects " + "; ".join(named), label, rejects),
        check_output("✓ 1.000 = 1.000", f"{label}-b", []),
        check_output("✓ of no equation: 1.000 = 1.000", "ref-stub", []),
    ]
    cells = [
        markdown(f"# {title}: why?\n\n{before} See {{cite}}`cover2006elements` and {{chapter}}`01`."),
        code(FIRST_CELL, 1),
        markdown(
            f"## The law of $p_{{{int(number)}}}(x\\mid z)$ | a *bar*\n\n<!-- {' '.join(items)} -->\n\nAs all know,"
        ),
        markdown(f"$$\n\\E[x] = {int(number)}\n$$ ({label})\n\n### Again\n\n$$ \\KL = 0 $$ ({label}-b)\n\nand so on."),
        code(
            f'check.equal("{label}", 1, 1, wrong={{"kl-reversed": 2}})\ncheck.chain(f"{label}-b by {{1}}", [1])',
            2,
            said,
        ),
        code("plot()", 3, [figure], mystnb={"image": {"alt": "A stub's figure"}}),
        markdown(f":::{{prf:theorem}}\n:label: thm-{number}\nTrue by {{eq}}`{label}`.\n:::"),
        markdown(f":::{{exercise}}\n:label: ex-{number}\nProve {{eq}}`{label}`.\n:::"),
        markdown(":::{dropdown} Solution\nEasy.\n:::"),
    ]
    return cells


def companion_cells(number: str) -> list[dict]:
    """A companion with an equation of its own."""
    label = f"eq-more-{number}"
    return [
        markdown(f"# More of {number}: what else?\n\nIt continues {{eq}}`eq-stub-{number}`."),
        code(FIRST_CELL, 1),
        markdown(f"## Again\n\n$$ 1 = 1 $$ ({label})"),
        code(f'check.equal("{label}", 1, 1)', 2),
    ]


def corrections_of(number: str) -> str:
    """A correction of a statement and one of a slip, if the chapter has both."""
    errata = [row for row in HOMES.get(number, []) if row["severity"]]
    return "\n".join(
        f"## {row['id']}\n\n> “stub {number}”\n\nNot so: $x_{{{int(number)}}}$ | holds.\n\nCheck: eq-stub-{number}\n"
        for row in errata[:1] + [row for row in errata[1:] if row["severity"] == "typo"][:1]
    )


def write_chapter(root: Path, slug: str, cells: list[dict]) -> None:
    for i, cell in enumerate(cells):
        cell["id"] = f"c{i}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"name": "python", "pygments_lexer": "ipython3"}
    metadata = {"kernelspec": kernel, "language_info": language, "dgmlib": RECORD}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (root / "chapters" / f"{slug}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def stub_book(root: Path, rows: list[dict]) -> None:
    """A tree with the real book/ and configuration, and stub chapters, library and tests."""
    left_out = shutil.ignore_patterns("results", "corrections", "api", "__pycache__")
    shutil.copytree(ROOT / "book", root / "book", ignore=left_out)
    shutil.copy(ROOT / "_config.yml", root)
    for folder in ("chapters", "dgmlib/bugs", "tests", "book/results", "book/corrections"):
        (root / folder).mkdir(parents=True)
    pages = [page.group(1) for page in re.finditer(r"- file: (book/\w+)", (ROOT / "_toc.yml").read_text("utf-8"))]
    toc = ["format: jb-book", "root: book/index", "parts:"]
    for part in dict.fromkeys(row["part"] for row in rows):
        toc += [f"  - caption: {part}", "    numbered: 1", "    chapters:"]
        for row in (row for row in rows if row["part"] == part):
            toc.append(f"      - file: chapters/{row['number']}_{row['slug']}")
            if row["number"] in COMPANIONS:
                toc += ["        sections:", f"          - file: chapters/{row['number']}b_more"]
    toc += ["  - caption: Indexes", "    chapters:", *(f"      - file: {page}" for page in pages)]
    toc.insert(toc.index("      - file: book/api") + 1, "        sections: [{glob: 'book/api/*'}]")
    (root / "_toc.yml").write_text("\n".join(toc) + "\n", encoding="utf-8")
    functions, previous = [], None
    for row in rows:
        number = row["number"]
        write_chapter(root, f"{number}_{row['slug']}", stub_cells(number, row["title"], previous))
        (root / "book" / "corrections" / f"{number}.md").write_text(corrections_of(number), encoding="utf-8")
        if number in COMPANIONS:
            write_chapter(root, f"{number}b_more", companion_cells(number))
        functions.append(
            f'def stub_{number}(x: int) -> int:\n    """A stub. Implements :eq:`eq-stub-{number}`."""\n    return x\n'
        )
        previous = number
    (root / "dgmlib" / "__init__.py").write_text('"""A stub."""\n')
    (root / "dgmlib" / "stubs.py").write_text('"""Stubs."""\n\n\n' + "\n\n".join(functions))
    (root / "dgmlib" / "bugs" / "__init__.py").write_text(
        '"""Stub museum."""\n\nfrom types import SimpleNamespace as S\n\nfrom dgmlib.stubs import stub_01\n\n\n'
        'def by_chapter():\n    """The museum."""\n'
        '    told = {"name": "turned", "symptom": "a | b", "place": "x_1", "cure": "*it*"}\n'
        '    bug = S(id="kl-reversed", story="It went\\nwrong.", diff=lambda: "-one\\n+two", **told)\n'
        '    stub = S(name="stub", function="dgmlib.stubs.stub_01", bugs=(bug,))\n'
        '    slip = S(story="The stub turned round.", name="turned", holds="The stub.", misleads="in stubs")\n'
        '    return {"01": ([stub], {"stub-turned": slip})}\n'
    )
    (root / "tests" / "test_stub.py").write_text(
        'import pytest\n\n\n@pytest.mark.equation("eq-stub-01")\ndef test_one():\n    assert True\n'
    )
    (root / "dgmlib" / "results.py").write_bytes((ROOT / "dgmlib" / "results.py").read_bytes())
    for name, change in RUNS.items():
        (root / "book" / "results" / f"{name}.json").write_text(json.dumps(RUN | change))
    (root / "book" / "published.csv").write_text(
        "table,model,value,kind,source,transcribed\n"
        "stubs,their stub,1.27,exact,Stub et al. (2020),yes\nstubs,a better stub,1.10,exact,Stub (2021),\n"
        "others,no stub,0.10,exact,Nobody,\n"
    )


RUN = {
    "title": "A stub's long run",
    "model": "stub",
    "parameters": 1234,
    "data": "digits",
    "measure": "bits per dimension",
    "ours": 1.2,
    "also": {"the bound": 1.5, "units": "3 of 4"},
    "table": "stubs",
    "seed": 0,
    "command": "python -m dgmlib.stubs",
    "commit": "abcdef0123456789",
    "device": "cpu (x86_64)",
    "threads": 1,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "minutes": {"processor": 3.0, "wall": 4.0},
    "date": "2026-01-02",
}
RUNS = {
    "stub": {},
    "stub_seed1": {"seed": 1, "ours": 1.3, "command": "python -m dgmlib.stubs --seed 1"},
    "stub_dirty": {"model": "dirty stub", "commit": "abcdef0123456789-dirty"},
}


def start(root: Path) -> subprocess.Popen:
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", root, "-W", "-n", "--keep-going"]
    environment, pipe = {**os.environ, "PYTHONPATH": str(root)}, subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=root)


def build(root: Path) -> subprocess.CompletedProcess:
    process = start(root)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Text(HTMLParser):
    """The text of a page, and the targets of its links and images."""

    def __init__(self, page: Path):
        super().__init__()
        self.words, self.links, self.ids = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [value for name, value in attributes.items() if name in ("href", "src") and value]
        if attributes.get("id"):
            self.ids.add(attributes["id"])


def broken_links(site: Path) -> list[str]:
    """Links of the built site whose page or anchor does not exist."""
    pages = {page.resolve(): Text(page) for page in site.rglob("*.html") if "_static" not in page.parts}
    broken = []
    for page, parsed in pages.items():
        for link in parsed.links:
            if re.match(r"(https?|mailto|data):", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path.split("?")[0]).resolve() if path else page
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].ids):
                broken.append(f"{page.name}: {link}")
    return broken


@pytest.fixture(scope="module")
def thirty(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("thirty")
    stub_book(root, PLAN)
    result = build(root)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return root / "_build" / "html"


def test_every_chapter_is_numbered_by_its_file(thirty):
    for row in PLAN:
        page = Text(thirty / "chapters" / f"{row['number']}_{row['slug']}.html").text
        assert f"{int(row['number'])}. {row['title']}: why?" in page
        assert f"({int(row['number'])}.1)" in page


def test_contents_show_the_first_half_of_a_title_and_companions_under_their_chapter(thirty):
    contents = (thirty / "chapters" / f"09_{PLAN[8]['slug']}.html").read_text(encoding="utf-8")
    sidebar = re.search(r'<nav class="bd-links.*?</nav>', contents, re.DOTALL)[0]
    entries = [" ".join(re.sub("<[^>]+>", "", entry).split()) for entry in re.findall("<a .*?</a>", sidebar, re.DOTALL)]
    assert {f"{int(row['number'])}. {row['title']}" for row in PLAN} <= set(entries)
    assert "9b. More of 09" in entries and not any("why?" in entry or "what else?" in entry for entry in entries)
    page = Text(thirty / "chapters" / "09b_more.html")
    assert "9b. More of 09: what else?" in page.text and "(9b.1)" in page.text and "9b. Again" not in page.text
    assert "a companion of 09" in page.text
    assert "(9b.1) eq-more-09" in Text(thirty / "book" / "equations.html").text


def test_the_head_of_a_page_says_how_long_it_is_and_what_it_needs(thirty):
    page = Text(thirty / "chapters" / f"09_{PLAN[8]['slug']}.html")
    assert re.search(r"\d+ words · 3 minutes to read and 42 seconds to run · 2 equations · needs 07", page.text)
    assert "more in 09b More of 09" in page.text
    assert f"07_{PLAN[6]['slug']}.html" in " ".join(page.links)


def test_search_knows_all_of_a_title(thirty):
    titles = search_index(thirty)["titles"]
    assert {f"{row['title']}: why?" for row in PLAN} <= set(titles)


def test_key_words_lead_to_their_chapter_or_to_its_row(tmp_path):
    from course_sphinx import keywords

    stub_book(tmp_path, PLAN[:2])
    assert build(tmp_path).returncode == 0
    index = search_index(tmp_path / "_build" / "html")
    for row in PLAN:
        place = f"chapters/{row['number']}_{row['slug']}", ""
        page, anchor = place if row in PLAN[:2] else ("book/index", f"chapter-{row['number']}")
        for word in keywords(row):
            assert [index["docnames"].index(page), anchor, True] in index["indexentries"][word.lower()], word
    landing = Text(tmp_path / "_build" / "html" / "book" / "index.html")
    assert "chapter-14" in landing.ids and "In the order of the notes" not in landing.text
    american = ["initialization", "quantized"]
    words = ["Noise", "initialisation", "quantised"]
    assert keywords({"title": words[0], "keywords": "; ".join(words[1:])}) == words + american


def test_equation_index_is_whole(thirty):
    page = Text(thirty / "book" / "equations.html")
    for row in PLAN:
        number = row["number"]
        assert f"({int(number)}.1) eq-stub-{number}" in page.text
        assert f"({int(number)}.2) eq-stub-{number}-b" in page.text
        assert f"stubs.stub_{number}" in page.text
        assert f"../chapters/{number}_{row['slug']}.html#check-eq-stub-{number}" in page.links
    assert "test_stub::test_one" in page.text
    assert "rejects kl-reversed" in page.text


def test_notes_page_lists_every_heading_and_counts(thirty):
    page = Text(thirty / "book" / "reading_the_notes.html")
    total = sum(len(rows) for rows in HOMES.values())
    done = set()
    for path in (thirty.parents[1] / "chapters").glob("*.ipynb"):
        text = "".join(cell["source"] for cell in json.loads(path.read_text())["cells"])
        done |= set(re.findall(r"\b[NHE]\d-\d+\b", text))
    for path in (thirty.parents[1] / "book" / "corrections").glob("*.md"):
        done |= set(re.findall(r"^## (.*)$", path.read_text(), re.M))
    assert f"So far {len(done)} of {total} items are treated." in page.text
    for row in (row for rows in HOMES.values() for row in rows):
        assert " ".join(row["heading"].split()) in page.text


def test_a_checks_line_begins_with_its_equation_and_leads_to_the_mistakes(thirty):
    path = thirty / "chapters" / f"{PLAN[0]['number']}_{PLAN[0]['slug']}.html"
    lines = re.findall(r'<p class="check-line">(.*?)</p>', path.read_text("utf-8"), re.DOTALL)
    links = [re.findall(r'href="([^"]*)"[^>]*>(.*?)</a>', line) for line in lines]
    text = [re.sub("<[^>]+>", "", line) for line in lines]
    erratum = next(row["id"] for row in HOMES["01"] if row["severity"])
    assert text == [
        "✓ (1.1) discrete: 1.000 = 1.000; rejects turned N(0, I) (2.000); turned (broken in 2 of 3 cases); "
        "an erratum; its own",
        "✓ (1.2) 1.000 = 1.000",
        "✓ of no equation: 1.000 = 1.000",
    ]
    assert [[url.partition("#")[::2] for url, _ in line] for line in links] == [
        [
            ("", "equation-eq-stub-01"),
            ("../book/bugs.html", "museum-bug-kl-reversed"),
            ("../book/bugs.html", "museum-bug-stub-turned"),
            ("../book/corrections.html", f"correction-{erratum}"),
        ],
        [("", "equation-eq-stub-01-b")],
        [],
    ]
    assert "turned N(0, I)" in links[0][1][1] and "mime" not in lines[0]


def test_corrections_page_carries_each_correction_once(thirty):
    page = Text(thirty / "book" / "corrections.html")
    for rows in HOMES.values():
        errata = [row for row in rows if row["severity"]]
        for row in errata[:1]:
            assert page.text.count("“stub") == len(page.ids & {f"correction-{id}" for id in NOTES})
            assert f"correction-{row['id']}" in page.ids
            if row["severity"] != "typo":
                assert f"{row['id']}: {row['heading']}" in page.text
    assert "Slips of the pen" in page.text


def test_other_pages(thirty):
    museum = Text(thirty / "book" / "bugs.html")
    assert "It went wrong." in museum.text and "eq-stub-01 in 01" in museum.text
    assert "The stub turned round." in museum.text and "What holds: The stub." in museum.text
    assert "Symptom: a | b" in museum.text and "Look at: x_1" in museum.text and "Cure: *it*" in museum.text
    assert {"museum-01", "museum-stub", "museum-statements-01", "museum-bug-kl-reversed"} <= set(museum.ids)
    assert museum.text.count("turned kl-reversed") == 1
    results = Text(thirty / "book" / "reproductions.html")
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", (thirty / "book" / "reproductions.html").read_text(), re.DOTALL)
    rows = [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in rows]
    assert rows[1] == "1 1.10 a better stub exact Stub (2021)"
    ours = "2 1.250 ± 0.071 stub (a stub’s long run) bits per dimension this course: seeds 0, 1; 3.0 min each"
    assert rows[2].replace("'", "’") == ours and rows[3] == "3 1.27 their stub exact Stub et al. (2020) †"
    apart = "1.200 dirty stub A stub’s long run: bits per dimension seed 0; 3.0 min"
    assert rows[4] == "value model what was measured run" and rows[5].replace("'", "’") == apart
    assert rows[7:9] == ["the bound 1.500, 1.500", "units 3 of 4, 3 of 4"]
    assert "python -m dgmlib.stubs --seed 1" in results.text and "1,234 parameters" in results.text
    assert "no stub" not in results.text and "1.200 (seed 0), made from code that no commit holds" in results.text
    landing = Text(thirty / "book" / "index.html")
    assert landing.text.count("42 s") == 30 and "(to come)" not in landing.text
    assert "Without likelihoods 01 · 02 · 14 · 15" in landing.text and "Straight to diffusion" not in landing.text
    foot = Text(thirty / "chapters" / f"{PLAN[2]['number']}_{PLAN[2]['slug']}.html")
    assert "Run on 2026-01-02 with the cpu budget on cpu in 42 s" in foot.text
    assert "note-N0-020" in foot.ids
    assert "stubs.stub_03 · checked" in foot.text
    assert "stubs Stubs." in Text(thirty / "book" / "api.html").text
    assert "Implements (30.1)" in Text(thirty / "book" / "api" / "stubs.html").text


def test_no_link_is_broken_and_nothing_is_fetched(thirty):
    assert broken_links(thirty) == []
    for page in thirty.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+href="([^"]+)"', text)
        outside = [url for pair in loaded for url in pair if url.startswith(("http", "//"))]
        assert outside == [], page
        assert "unpkg" not in text and "jsdelivr" not in text


def test_a_second_build_reads_what_changed_and_corrects_every_number(tmp_path):
    stub_book(tmp_path, PLAN[:2])
    assert build(tmp_path).returncode == 0
    second = Text(tmp_path / "_build" / "html" / "chapters" / f"02_{PLAN[1]['slug']}.html")
    assert "It continues (1.1)" in second.text
    again = build(tmp_path)
    assert again.returncode == 0 and "0 added, 0 changed, 0 removed" in again.stdout
    assert "no targets are out of date" in again.stdout
    cells = stub_cells("01", "A stub", None)
    cells.insert(1, markdown("$$ 0 = 0 $$ (eq-new)"))
    cells.append(code('check.equal("eq-new", 0, 0)', 4))
    write_chapter(tmp_path, f"01_{PLAN[0]['slug']}", cells)
    assert build(tmp_path).returncode == 0
    site = tmp_path / "_build" / "html"
    assert "It continues (1.2)" in Text(site / "chapters" / f"02_{PLAN[1]['slug']}.html").text
    assert "(1.1) eq-new" in Text(site / "book" / "equations.html").text


def test_a_build_killed_while_it_writes_is_followed_by_one_that_works(tmp_path):
    stub_book(tmp_path, PLAN[:6])
    process, site = start(tmp_path), tmp_path / "_build" / "html"
    while not list((site / "chapters").glob("*.html")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (site / "searchindex.js").exists()
    again = build(tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(list((site / "chapters").glob("*.html"))) == 6


def search_index(site: Path) -> dict:
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    for places in index["indexentries"].values():
        places.sort()  # whose order depends on which page was written first
    return index


def test_a_build_that_writes_one_page_keeps_the_search_index_whole(tmp_path):
    stub_book(tmp_path, PLAN[:1])
    assert build(tmp_path).returncode == 0
    before = search_index(tmp_path / "_build" / "html")
    assert any("stub_01" in name for name in before["indexentries"])
    (tmp_path / "_build" / "html" / "book" / "notation.html").unlink()  # nothing has changed, one page is missing
    again = build(tmp_path)
    assert again.returncode == 0 and "0 added, 0 changed, 0 removed" in again.stdout
    assert search_index(tmp_path / "_build" / "html") == before


MISTAKES = {
    "$$ 1 = 1 $$ (eq-unchecked)": "the equation eq-unchecked has no check",
    "<!-- N9-999 -->": "N9-999 is not in book/notes.csv",
    "$$ 1 = 1 $$ (eq-stub-01)": "the equation label eq-stub-01 is defined twice",
    "See {chapter}`99`.": "no chapter 99",
    "![](../book/_static/logo.svg)": "a figure has no alternative text",
    "See {cite}`nobody1900nothing`.": "nobody1900nothing",
}


def test_an_undefined_equation_stops_the_build(tmp_path):
    stub_book(tmp_path, PLAN[:1])
    cells = stub_cells("01", "A stub", None)
    write_chapter(tmp_path, f"01_{PLAN[0]['slug']}", [*cells, markdown("See {eq}`eq-nowhere`.")])
    result = build(tmp_path)
    assert result.returncode != 0
    assert "equation not found: eq-nowhere" in result.stderr


def test_every_gap_is_named(tmp_path):
    stub_book(tmp_path, PLAN[:1])
    stderr = {"output_type": "stream", "name": "stderr", "text": "a warning"}
    cells = [*stub_cells("01", "A stub", None), *map(markdown, MISTAKES), code("warn()", 4, [stderr])]
    cells.append(code('check.equal("eq-elsewhere", 1, 1)', 5))
    write_chapter(tmp_path, f"01_{PLAN[0]['slug']}", cells)
    (tmp_path / "book" / "corrections" / "02.md").write_text("## E3-020\n\n> “so”\n\nNot so.\n\nCheck: eq-other\n")
    (tmp_path / "dgmlib" / "more.py").write_text('"""See :eq:`eq-ghost`."""\n')
    (tmp_path / "tests" / "test_more.py").write_text(
        'import pytest\n\npytestmark = [pytest.mark.equation("eq-ghost"), pytest.mark.notes("E9-1")]\n'
    )
    result = build(tmp_path)
    assert result.returncode != 0
    for complaint in [
        *MISTAKES.values(),
        "stderr was found in the cell outputs",
        "a check names eq-elsewhere",
        "book/corrections/02.md: E3-020 names the check eq-other",
        "dgmlib.more: its docstring cites eq-ghost",
        "tests/test_more.py: its marker names eq-ghost",
        "tests/test_more.py: its marker names E9-1",
    ]:
        assert complaint in result.stderr, complaint
    assert build(tmp_path).returncode != 0  # a second try does not pass because nothing changed


def test_a_docstrings_prose_is_escaped_and_its_code_is_not():
    from course_sphinx import escape_docstring

    lines = ["|x| of p_", "", ">>> a | b_", "{1} | c_", "", "As in::", "", "    a | b_", "", "|y|"]
    escape_docstring(None, "function", "f", None, None, lines)
    assert lines == [r"\|x\| of p\_", "", ">>> a | b_", "{1} | c_", "", "As in::", "", "    a | b_", "", r"\|y\|"]
