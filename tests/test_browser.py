"""The real book, built once and opened from its files in headless Chromium, with every request to elsewhere refused."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
import yaml
from filelock import FileLock
from test_build import PIXEL, PLAN, check_output, code, markdown, stub_book, write_chapter
from test_interactive import VERDICTS, verdict

from dgmlib import interactive

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
MODULES = sorted(["bugs", *(path.stem for path in (ROOT / "dgmlib").glob("[!_]*.py"))])


def files(entries: list[dict]) -> list[str]:
    """The pages of a part of the contents, with those below them."""
    found = []
    for entry in entries:
        found += [f"book/api/{name}" for name in MODULES] if "glob" in entry else [entry["file"]]
        found += files(entry.get("sections", []))
    return found


PAGES = [TOC["root"], *(page for part in TOC["parts"] for page in files(part["chapters"]))]
# Against hangs alone: the first test waits for the whole book, and a page's thousand formulas may find a busy machine.
LIMIT = 1800
pytestmark = pytest.mark.timeout(LIMIT)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The book, built by the first worker that asks for it and opened by all."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    output, built = shared / "site", shared / "site-is-built"
    with FileLock(shared / "site.lock"):
        if not built.exists():
            jupyter_book = Path(sys.executable).with_name("jupyter-book")
            command = [jupyter_book, "build", ROOT, "--path-output", output, "-W", "-n", "--keep-going"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            result = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert result.returncode == 0, result.stderr[-4000:]
            built.touch()
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"no browser: none of {', '.join(BROWSERS)} is on the path"
        if os.environ.get("CI") or os.environ.get("DGM_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page opened from its file, with what it asked for elsewhere and what it complained of."""

    def __init__(self, browser, **context):
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(1000 * LIMIT)
        self.page = self.context.new_page()
        self.outside, self.complaints = [], []
        self.page.route(lambda url: not url.startswith(("file:", "data:", "blob:")), self._refuse)
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _refuse(self, route):
        self.outside.append(route.request.url)
        route.abort()

    def open(self, path: Path, query: str = ""):
        self.page.goto(path.as_uri() + query)
        return self.page


@pytest.fixture
def visit(browser):
    opened = []

    def start(**context) -> Visit:
        opened.append(Visit(browser, **context))
        return opened[-1]

    yield start
    for one in opened:
        one.context.close()


def lightest_page_with(site: Path, mark: str) -> Path:
    pages = [site / f"{name}.html" for name in PAGES]
    return min(
        (page for page in pages if mark in page.read_text(encoding="utf-8")), key=lambda page: page.stat().st_size
    )


# Formulas left as text (an unbalanced brace), marked as errors, or holding a command MathJax does not know (in red).
BAD_MATHS = """() => [
  ...[...document.querySelectorAll(".math")].filter(
    (node) => !node.querySelector("mjx-container") || /\\\\[[\\]()]/.test(node.textContent)),
  ...document.querySelectorAll("mjx-merror"),
  ...[...document.querySelectorAll("mjx-mtext")].filter((node) => node.style.color === "red"),
].map((node) => node.textContent || node.outerHTML)"""


def wait_for_maths(page):
    if page.locator(".math").count():
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_its_mathematics_fits_a_phone_and_complains_of_nothing(site, visit, name):
    seen = visit(color_scheme="light")
    page = seen.open(site / f"{name}.html")
    wait_for_maths(page)
    assert page.evaluate(BAD_MATHS) == []
    page.set_viewport_size({"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.complaints == []
    assert seen.outside == []


def test_no_page_of_the_book_is_left_unseen(site):
    built = {
        path.relative_to(site).as_posix() for folder in ("chapters", "book") for path in (site / folder).rglob("*.html")
    }
    assert {name for name in built if "broken" not in name} == {f"{name}.html" for name in PAGES}


@pytest.mark.parametrize("mistake", [r"\frac{1}{2", r"\nosuchcommand", r"\left( x", r"x^2^3"])
def test_bad_mathematics_would_be_seen(site, visit, mistake):
    path = lightest_page_with(site, '<div class="math')
    text = path.read_text(encoding="utf-8")
    end = text.index("\\]", text.index('<div class="math'))
    broken = path.with_name(f"broken-{os.getpid()}.html")
    broken.write_text(text[:end] + mistake + text[end:], encoding="utf-8")
    try:
        page = visit().open(broken)
        wait_for_maths(page)
        assert len(page.evaluate(BAD_MATHS)) == 1
    finally:
        broken.unlink()


def test_sliders_move_by_mouse_and_by_key(site, visit):
    seen = visit()
    page = seen.open(lightest_page_with(site, "data-explore="))
    for number in range(page.locator("[data-explore]").count()):
        figure = page.locator("[data-explore]").nth(number)
        image, slider = figure.locator("img"), figure.locator("input[type=range]").first
        state = lambda image=image, slider=slider: (  # noqa: E731
            image.get_attribute("src"),
            image.get_attribute("alt"),
            slider.get_attribute("aria-valuetext"),
        )
        slider.scroll_into_view_if_needed()
        begin = state()
        slider.focus()
        page.keyboard.press("ArrowRight")
        keyed = state()
        assert all(a != b for a, b in zip(begin, keyed, strict=True))
        page.keyboard.press("Home")
        assert state() == begin
        box = slider.bounding_box()
        page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
        clicked = state()
        assert all(a != b for a, b in zip(begin, clicked, strict=True))
        assert image.evaluate("node => node.complete && node.naturalWidth > 0")
    assert seen.complaints == []


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A page of questions, each as `predict` writes it for the book."""
    monkeypatch.setenv("DGM_STATIC", "1")
    shown = mock.Mock()
    monkeypatch.setattr(interactive, "display", shown)

    def make(*questions) -> Path:
        for question in questions:
            interactive.predict(**question)
        parts = [call.args[0]["text/html"] for call in shown.call_args_list]
        path = tmp_path / "asked.html"
        path.write_text("<!doctype html><meta charset=utf-8><title>Questions</title>" + "".join(parts), "utf-8")
        return path

    return make


def test_a_guess_is_typed_and_judged_by_key_alone(visit, asked):
    seen = visit()
    page = seen.open(asked(*({"question": "q", "answer": answer, "unit": "nats"} for answer, _, _ in VERDICTS)))
    for number, (answer, guess, said) in enumerate(VERDICTS):
        question = page.locator("[data-predict]").nth(number)
        assert not question.locator("details").evaluate("node => node.open")
        question.get_by_label("Your guess", exact=True).locator("input").focus()
        page.keyboard.type(guess)
        page.keyboard.press("Enter")
        assert question.get_by_role("status").inner_text() == verdict(f"{answer:g} nats", said)
        for target in question.locator("input, button, summary").all():
            box = target.bounding_box()
            assert box["height"] >= 24 and box["width"] >= 24
    assert seen.complaints == seen.outside == []


def test_a_choice_is_made_by_key_alone(visit, asked):
    page = visit().open(asked({"question": "q", "answer": "b", "options": ["a", "b"]}))
    status = page.get_by_role("status")
    page.get_by_role("button", name="Compare").click()
    assert status.inner_text() == "Make a guess first."
    page.get_by_role("radio", name="a").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    assert status.inner_text() == "The answer is b. You guessed a."
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert status.inner_text() == "The answer is b. Your guess is right."


def test_without_a_script_the_answer_unfolds(visit, asked):
    page = visit(java_script_enabled=False).open(asked({"question": "q", "answer": 0.5}))
    assert not page.get_by_role("button").is_visible() and not page.locator("data").is_visible()
    page.locator("summary").click()
    assert page.locator("data").is_visible() and page.locator("data").inner_text() == "0.5"


def test_search_finds_a_chapter(site, visit):
    page = visit().open(site / "search.html", "?q=entropy")
    page.wait_for_selector("#search-results li a")
    assert "chapters/" in "".join(page.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)"))


FOUND = {
    "05": ["PixelCNN", "Transformer"],
    "06": ["EM", "expectation maximization"],
    "08": ["ELBO", "reparameterization", "reparameterisation"],
    "09": ["VAE", "variational autoencoder"],
    "14": ["GAN", "gan"],
    "22": ["diffusion", "DDPM"],
}


@pytest.mark.parametrize(("chapter", "query"), [(home, query) for home, queries in FOUND.items() for query in queries])
def test_search_finds_the_chapter_first(site, visit, chapter, query):
    """Typed and sent; one that is to come is found in the table of chapters."""
    page = visit().open(site / "search.html")
    page.locator("main input[name=q]").first.fill(query)
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    first = page.locator("#search-results li a").first.get_attribute("href")
    written = any((site / "chapters").glob(f"{chapter}_*.html"))
    assert first.startswith(f"chapters/{chapter}_" if written else f"book/index.html#chapter-{chapter}")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_first_screen_shows_what_readers_will_make(site, visit, width, height):
    page = visit(viewport={"width": width, "height": height}).open(site / "book" / "index.html")
    images = page.locator(".samples img")
    boxes = [images.nth(i).bounding_box() for i in range(images.count())]
    assert sum(box["y"] + box["height"] <= height and box["width"] > 80 for box in boxes) >= 8
    assert images.evaluate_all("all => all.every(image => image.naturalWidth > 0 && image.alt)")


def test_paths_lead_through_written_chapters_alone(site, visit):
    page = visit().open(site / "book" / "index.html")
    assert page.locator("#three-paths dt").count() == 3
    assert page.locator("#three-paths .to-come").count() == 0 and page.locator("#three-paths dd a").count() > 12


def test_the_folded_museum_is_short_and_its_entries_are_whole(site, visit):
    page = visit(viewport={"width": 390, "height": 844}).open(site / "book" / "bugs.html")
    assert page.evaluate("document.documentElement.scrollHeight") < 5 * 844
    page.locator("article details").evaluate_all("all => all.forEach(fold => (fold.open = true))")
    names = page.locator("article details h4").all_inner_texts()
    assert len(names) > 300 and all(re.match("[^`<_]", name) for name in names)
    items = page.locator("article details li").all_inner_texts()
    assert len(items) > 3 * len(names) and not any(re.search(r":\s*$", item) for item in items)


def test_a_link_into_a_long_fold_leads_to_what_it_names(site, visit):
    page = visit(viewport={"width": 390, "height": 844}).open(site / "book" / "bugs.html")
    page.locator("article details summary").first.click()
    page.locator("article a[href='#museum-kl']").click()
    page.wait_for_function("0 <= document.getElementById('museum-kl').getBoundingClientRect().top")
    page.wait_for_function("document.getElementById('museum-kl').getBoundingClientRect().top < 844")


def test_tables_of_reproductions_have_no_empty_cell(site, visit):
    page = visit().open(site / "book" / "reproductions.html")
    cells = page.locator("article td").all_text_contents()
    assert len(cells) > 100 and all(text.strip() for text in cells)
    assert page.locator("article h2").all_text_contents()[0].startswith("Binarised MNIST")


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_are_shown_as_code(site, name):
    """Not as the block quotes that indented lines without `::` become."""
    text = (site / "book" / "api" / f"{name}.html").read_text(encoding="utf-8")
    assert "<blockquote" not in text
    assert "&gt;&gt;&gt;" not in re.sub(r'<div class="highlight.*?</pre>', "", text, flags=re.DOTALL)


def test_every_reference_is_an_author_and_a_year(site, visit):
    labels = visit().open(site / "book" / "bibliography.html").locator(".citation > .label").all_text_contents()
    assert len(labels) > 100 and all(re.fullmatch(r"\[\D+, \d{4}[a-z]?\]", label.strip()) for label in labels)


def test_the_front_door_leads_to_the_landing_page(site, visit):
    page = visit().open(site / "index.html")
    page.wait_for_url("**/book/index.html")
    assert page.locator(".chapter-graph circle").count() == 30
    page.locator(".chapter-graph a").first.click()
    page.wait_for_url("**/chapters/*.html")


# --- folds, paper, phones, and those who do not see ------------------------------------------------------------------


def checked_line(label: str, *rejects: str) -> dict:
    wrong = "; rejects " + "; ".join(f"{id} (2.000)" for id in rejects) if rejects else ""
    return check_output(f"✓ as words: 1.000 = 1.000{wrong}", label, list(rejects))


@pytest.fixture(scope="session")
def folded(tmp_path_factory) -> Path:
    """A chapter with a cell of each kind that folds, built by the book's own machinery."""
    root = tmp_path_factory.mktemp("folded") / "book"
    stub_book(root, PLAN[:1])
    image = {"output_type": "display_data", "metadata": {}, "data": {"image/png": PIXEL, "text/plain": "<Figure>"}}
    wide = " + ".join(f"x_{{{i}}}" for i in range(60))
    cells = [
        markdown("# Folds: what is inside?\n\nWords."),
        code("import dgmlib", 1, tags=["hide-cell"]),
        markdown("## One\n\n$$ 1 = 1 $$ (eq-near)"),
        code(
            'check.equal("eq-near by hand", 1, 1)',
            2,
            [checked_line("eq-near", "a", "b"), checked_line("eq-near", "a")],
            tags=["proof"],
        ),
        markdown(f"$$ 2 = 2 $$ (eq-far)\n\nBetween.\n\n$$ {wide} $$ (eq-wide)"),
        code('check.equal("eq-far", 2, 2)', 3, [checked_line("eq-far")], tags=["proof"]),
        code("plot()", 4, [image], tags=["hide-input"], mystnb={"image": {"alt": "A pixel"}}),
        code("#" * 72 + "\n" + "# " + "long " * 40, 5),
        markdown(":::{admonition} A common mistake\n:class: mistake\nNot so.\n:::"),
        markdown(":::{exercise} To do\n:label: ex-todo\n★★ *Proof.* Do it.\n:::\n\n:::{dropdown} Hint\nThink.\n:::"),
        code("mine = None", 6, tags=["starter"]),
        code("def judge(): ...", 7, tags=["hide-cell"]),
        markdown(":::{dropdown} Solution\nIn words, $a^2$.\n:::"),
        code("mine = 1", 8, tags=["solution"]),
        markdown("After all.\n\n:::{dropdown} For the curious: more\nAn aside.\n:::"),
    ]
    write_chapter(root, f"01_{PLAN[0]['slug']}", cells)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    result = subprocess.run([jupyter_book, "build", root], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    return root / "_build" / "html" / "chapters" / f"01_{PLAN[0]['slug']}.html"


def test_folds_are_closed_and_say_what_is_inside(visit, folded):
    page = visit().open(folded)
    folds = page.locator("details.fold")
    assert folds.locator("> summary").all_inner_texts() == [
        "Imports and settings",
        "✓ checked 2 ways, rejects 2 known mistakes",
        "✓ checked",
        "code of this figure",
        "What judges your answer, as code",
        "Solution, as code",
    ]
    assert not any(folds.evaluate_all("all => all.map(fold => fold.open)"))
    assert not page.get_by_text("by hand", exact=False).first.is_visible()
    for summary in page.locator("article summary").all():
        box = summary.bounding_box()
        assert box["height"] >= 24 and box["width"] >= 24
    proof = folds.nth(1)
    assert proof.locator(".cell_input").count() == 1 and proof.locator(".check-line").count() == 2
    proof.locator("> summary").focus()
    page.keyboard.press("Enter")
    assert proof.locator(".check-line").first.is_visible()
    image, toggle = page.locator(".cell_output img").bounding_box(), folds.nth(3).bounding_box()
    assert toggle["y"] >= image["y"] + image["height"]


def test_a_proof_directly_under_its_equation_is_its_link(visit, folded):
    page = visit().open(folded)
    near, far = page.locator("#equation-eq-near"), page.locator("#equation-eq-far")
    toggle = page.locator("details.proof > summary").first.bounding_box()
    assert abs(toggle["y"] - (near.bounding_box()["y"] + near.bounding_box()["height"])) < 24
    assert page.locator('a[href="#check-eq-near"]').count() == 0
    assert far.locator("xpath=following-sibling::p[1]").inner_text() == "checked"


@pytest.mark.parametrize("script", [True, False])
def test_a_link_that_leads_into_a_fold_opens_it(visit, folded, script):
    page = visit(java_script_enabled=script).open(folded)
    inside = page.locator("#check-eq-far")
    assert not inside.is_visible()
    page.locator('a[href="#check-eq-far"]').click()
    inside.locator(".cell_input").wait_for(state="visible")


def test_an_address_that_leads_into_a_fold_opens_it_and_a_second_click_too(visit, folded):
    page = visit().open(folded, "#check-eq-far")
    fold = page.locator("details.proof").nth(1)
    page.wait_for_function("document.querySelectorAll('details.proof')[1].open")
    assert fold.locator("> summary").evaluate("node => node === document.activeElement")
    fold.locator("> summary").click()
    assert not fold.evaluate("node => node.open")
    page.locator('a[href="#check-eq-far"]').click()
    page.wait_for_function("document.querySelectorAll('details.proof')[1].open")


def test_what_is_too_wide_for_a_phone_says_so_at_its_edge(visit, folded):
    page = visit(viewport={"width": 390, "height": 844}).open(folded)
    wait_for_maths(page)
    wide = page.locator("#equation-eq-wide mjx-container")
    page.wait_for_function("document.querySelector('#equation-eq-wide mjx-container').dataset.more === 'right'")
    assert "gradient" in wide.evaluate("node => getComputedStyle(node).maskImage")
    assert page.locator("#equation-eq-near mjx-container").get_attribute("data-more") is None
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#equation-eq-wide mjx-container').dataset.more === 'both'")
    number = page.locator("#equation-eq-wide .eqno").bounding_box()
    assert number["y"] + number["height"] <= wide.bounding_box()["y"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_seventy_two_columns_of_code_fit_the_column(visit, folded):
    page = visit(viewport={"width": 1280, "height": 900}).open(folded)
    block = page.locator(".cell_input pre", has_text="####").first
    room, letter = block.evaluate(
        """node => {
          const probe = document.createElement("span");
          probe.textContent = "x".repeat(100);
          node.append(probe);
          const width = probe.getBoundingClientRect().width / 100;
          probe.remove();
          const style = getComputedStyle(node);
          return [node.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight), width];
        }"""
    )
    assert room >= 72 * letter


def test_on_paper_answers_stand_at_the_end_and_nothing_is_cut(visit, folded):
    page = visit(viewport={"width": 680, "height": 960}).open(folded)
    wait_for_maths(page)
    state = "() => [document.querySelector('article').textContent, document.querySelectorAll('article [open]').length]"
    before = page.evaluate(state)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    answers = page.locator(".print-answers")
    words = answers.inner_text()
    assert [words.index(word) for word in ("To do", "Think.", "In words", "mine = 1")] == sorted(
        words.index(word) for word in ("To do", "Think.", "In words", "mine = 1")
    )
    assert answers.evaluate("node => !node.nextElementSibling")
    assert page.get_by_text("An aside.").is_visible()
    assert page.locator("details.proof > summary").first.is_visible()
    for unprinted in ("#check-eq-near", ".tag_hide-cell", "details.shown-by"):
        assert not page.locator(unprinted).first.is_visible()
    for block in page.locator("pre:visible").all():
        assert block.evaluate("node => node.scrollWidth <= node.clientWidth")
    link = page.locator(".equation-links a").first
    assert link.evaluate("node => getComputedStyle(node).textDecorationLine") == "none"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(state) == before


def axe_script() -> Path:
    return Path(importlib.util.find_spec("axe_playwright_python").origin).with_name("axe.min.js")


# MathJax's own: its hidden copy of a formula for screen readers can be reached by its menu's keys.
NOT_OURS = {"aria-hidden-focus"}


def findings(page) -> list[tuple[str, str, str]]:
    """What axe-core calls serious or critical: (rule, where, what)."""
    page.add_script_tag(path=axe_script())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], node["target"][0], node["html"][:200])
        for one in result["violations"]
        if one["impact"] in ("serious", "critical") and one["id"] not in NOT_OURS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_cells_fold(visit, folded, scheme):
    page = visit(color_scheme=scheme).open(folded)
    wait_for_maths(page)
    page.locator("article details").evaluate_all("all => all.forEach(fold => (fold.open = true))")
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["book/index", "book/notation", "book/corrections", "book/reproductions", "sliders"])
def test_axe_finds_nothing_serious(site, visit, name, scheme):
    path = lightest_page_with(site, "data-explore=") if name == "sliders" else site / f"{name}.html"
    page = visit(color_scheme=scheme).open(path)
    wait_for_maths(page)
    assert findings(page) == []


def test_the_general_index_fits_a_phone(site, visit):
    page = visit(viewport={"width": 390, "height": 844}).open(site / "genindex.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", ["equations", "reading_the_notes"])
def test_rows_of_an_index_are_cards_on_a_phone(site, visit, name):
    page = visit(viewport={"width": 390, "height": 844}).open(site / "book" / f"{name}.html")
    cells = page.locator("table.cards tbody tr").first.locator("td")
    boxes = [box for box in (cell.bounding_box() for cell in cells.all()) if box]
    assert len(boxes) > 1 and all(a["y"] + a["height"] <= b["y"] + 1 for a, b in pairwise(boxes))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_chapters_contents_fill_no_page_of_paper(site, visit):
    page = visit(viewport={"width": 680, "height": 960}).open(lightest_page_with(site, "data-explore="))
    page.emulate_media(media="print")
    assert page.locator("#jb-print-docs-body").bounding_box()["height"] < 480
