"""Every form of a chapter in JupyterLab, in headless Chromium: what jupyterlab-myst and our extension make of it.

The server listens on a free port of this machine, with a token, in a temporary folder, and ends with the tests.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import lab
import pytest
from test_browser import LIMIT, browser  # noqa: F401 (a fixture)

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else cells out of sight are not rendered
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
FORMS = r"""# Every form

{cite}`kullback1951information` and {eq}`eq-kl`, {doc}`chapter 01 <01_what_is_a_generative_model>`,
{doc}`the runs </book/reproductions>`, {chapter}`01` and {chapter}`03 30`.

<!-- N0-001 -->
$$
\E[x]=1,\ x\in\R
$$

:::{exercise} Why?
:label: ex-draws

★ Say why.
:::

:::{dropdown} Hint
Think.
:::

:::{admonition} A common mistake
:class: mistake

Not this.
:::

:::{prf:theorem} Bayes
:label: thm-bayes

Turn it round.
:::

:::{figure} ../book/results/figure.png
:alt: One pixel.
:name: fig-pixel

A pixel.
:::
"""


def code(text: str, **metadata) -> dict:
    return {"cell_type": "code", "metadata": metadata, "source": text, "outputs": [], "execution_count": None}


def forms() -> dict:
    hidden = {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": FORMS},
        code("open = 1"),
        code("secret = 2\nsecond = 3", **hidden),
    ]
    cells = [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A course of one chapter that holds every form."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "course" / "chapters").mkdir(parents=True)
    (folder / "course" / "chapters" / "90_forms.ipynb").write_text(json.dumps(forms()), encoding="utf-8")
    shutil.copytree(ROOT / "book" / "results", folder / "course" / "book" / "results")
    figure = next((ROOT / "book" / "results").glob("*.png"))
    shutil.copy(figure, folder / "course" / "book" / "results" / "figure.png")
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """The address of JupyterLab, and its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    lab.write(folder / "extensions")
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    home = {f"JUPYTER_{name}": str(folder / name.lower()) for name in names} | {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "PYTHONPATH": str(ROOT),
    }
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}"]
    command = lab.command(folder / "extensions", *options, root=folder / "course")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=os.environ | home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api", process, folder / "log")
        yield f"http://127.0.0.1:{port}", token
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it has nothing to save, and may wait for kernels when asked
        process.wait()


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    while process.poll() is None:  # the test's own limit ends it
        try:
            return urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            continue
    pytest.fail(log.read_text(encoding="utf-8")[-2000:])


class Opened:
    """A chapter opened in JupyterLab, all its cells rendered, with what was missing and what was complained of."""

    def __init__(self, browser, server, name: str, cells: int):  # noqa: F811
        address, token = server
        self.page = browser.new_page()
        self.page.set_default_timeout(1000 * LIMIT)
        self.complaints, self.missing, self.outside = [], [], []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda got: self.missing.append(got.url) if got.status >= 400 else None)
        self.page.route(
            lambda url: not url.startswith((address, "data:", "blob:", address.replace("http", "ws"))), self._refuse
        )
        self.page.goto(f"{address}/lab/tree/chapters/{name}?token={token}")
        self.page.wait_for_function(
            "count => document.querySelectorAll('.jp-MarkdownCell .jp-InputArea > .myst').length === count", arg=cells
        )

    def _refuse(self, route):
        self.outside.append(route.request.url)
        route.abort()

    @property
    def prose(self):
        return self.page.locator(".jp-MarkdownCell .jp-MarkdownOutput, .jp-MarkdownCell .myst")

    @property
    def text(self) -> str:
        return "\n".join(self.prose.all_inner_texts())

    @property
    def raw(self) -> list[str]:
        """Markup that stands in the prose as it was typed."""
        return RAW.findall(self.prose.evaluate_all(WITHOUT_MATHS))


@pytest.fixture
def opened(browser, server, folder):  # noqa: F811
    seen = []

    def start(name: str) -> Opened:
        notebook = json.loads((folder / "course" / "chapters" / name).read_text(encoding="utf-8"))
        prose = sum(cell["cell_type"] == "markdown" for cell in notebook["cells"])
        seen.append(Opened(browser, server, name, prose))
        return seen[-1]

    yield start
    for one in seen:
        one.page.close()


RAW = re.compile(r"\{[a-z:]+\}|:::|Unknown|\beq-[a-z]|\bex-[a-z]+\b|⚠|⛔|\?\?\?")
WITHOUT_MATHS = """all => all.map(node => {
  const copy = node.cloneNode(true);
  copy.querySelectorAll(".katex, code").forEach(part => part.remove());
  return copy.textContent;
}).join("\\n")"""


@pytest.mark.timeout(LIMIT)
def test_every_form_reads(opened):
    seen = opened("90_forms.ipynb")
    text = " ".join(seen.text.split())
    number = lab.Labels(lab.Course(ROOT)).numbers
    for words in (
        f"Kullback & Leibler, 1951 and ({number['eq-kl']}), chapter 01, the runs,",
        f"Exercise {number['ex-draws']}",
        "A common mistake",
        "Bayes",
        "A pixel.",
        "03 · 30",
    ):
        assert words in text
    assert seen.raw == []
    page = seen.page
    assert page.locator(".myst details").count() == 1
    assert page.locator(".myst details[open]").count() == 0 and not seen.prose.get_by_text("Think.").first.is_visible()
    assert page.locator(".katex").count() and page.locator(".katex-error").count() == 0
    assert page.locator(".myst .eqno, .myst [aria-label*='equation' i]").count() == 0, "only labelled ones are numbered"
    image = page.locator(".myst figure img").first
    page.wait_for_function("image => image.complete", arg=image.element_handle())
    assert image.evaluate("image => image.naturalWidth") > 0
    assert page.get_by_text("open = 1").is_visible() and not page.get_by_text("second = 3").is_visible()
    links = page.locator(".myst a").evaluate_all("all => all.map(a => decodeURI(a.getAttribute('href')))")
    assert any("03_likelihood_and_divergences.ipynb" in link for link in links)
    assert seen.complaints == seen.missing == seen.outside == []
