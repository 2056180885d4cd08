"""Opens JupyterLab on the chapters, with a small extension that tells jupyterlab-myst what a label stands for.

jupyterlab-myst reads one notebook at a time: it knows neither the bibliography, nor the equations of other chapters,
nor the book's numbers, nor its TeX commands. The extension, written anew at each start, puts them in as a cell is
rendered; the notebooks stay as they are.
"""

import json
import os
import sys
from pathlib import Path

from labels import ROOT, Course, Labels

NAME = "course-labels"


def table(labels: Labels) -> dict:
    """All that the extension knows."""
    written_or_planned = {row["number"] for row in labels.course.plan} | labels.course.chapters.keys()
    return {
        "numbers": labels.numbers,
        "homes": labels.homes,
        "works": labels.works,
        "chapters": {number: labels.chapter(number) for number in sorted(written_or_planned)},
        "titles": labels.titles,
        "macros": labels.macros,
    }


def write(folder: Path, labels: Labels | None = None) -> None:
    """Write the extension into `folder`, a place where JupyterLab may look for such."""
    static = folder / NAME / "static"
    static.mkdir(parents=True, exist_ok=True)
    known = json.dumps(table(labels or Labels(Course(ROOT))), ensure_ascii=False)
    script = (ROOT / "book" / "lab.js").read_text(encoding="utf-8")
    (static / "labels.js").write_text(script.replace("__NAME__", NAME).replace("__KNOWN__", known), encoding="utf-8")
    description = {
        "name": NAME,
        "version": "1.0.0",
        "jupyterlab": {"extension": True, "_build": {"load": "static/labels.js", "extension": "./extension"}},
    }
    (folder / NAME / "package.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def command(extensions: Path, *options: str, root: Path = ROOT) -> list[str]:
    """What starts JupyterLab at the chapters, with the whole course below it, since figures stand beside them."""
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={root}",
        "--LabApp.default_url=/lab/tree/chapters",
        f"--LabApp.extra_labextensions_path={extensions}",
        *options,
    ]


if __name__ == "__main__":
    write(ROOT / "_build" / "lab")
    line = command(ROOT / "_build" / "lab", *sys.argv[1:])
    os.execv(line[0], line)
