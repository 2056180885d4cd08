"""The form of a chapter, counted: python book/lesson.py [chapter …] prints a table; --fold sets what folds.

With --fold the cells tagged as plumbing, figures, proofs and solutions are marked to start folded in JupyterLab and in
Colab, and no others.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book" / "_ext")]

from counts import FOLDING, KINDS, Counts, count, tags  # noqa: E402
from course import Chapter, Course  # noqa: E402

HEADER = ("words", "eqs", "figs", "lines", "cell", "build", "loop", "samples", "predict", "minutes", "exercises")


def fold(cell: dict) -> dict:
    """A code cell with the metadata that fold it, or without."""
    metadata = dict(cell["metadata"])
    jupyter = {key: value for key, value in metadata.pop("jupyter", {}).items() if key != "source_hidden"}
    metadata.pop("cellView", None)
    if tags(cell) & FOLDING:
        jupyter["source_hidden"] = True
        metadata["cellView"] = "form"
    if jupyter:
        metadata["jupyter"] = jupyter
    return cell | {"metadata": metadata}


def fold_chapter(text: str) -> str:
    """A notebook's JSON with every code cell folded as its tags say; the rest as it was."""
    notebook = json.loads(text)
    notebook["cells"] = [fold(cell) if cell["cell_type"] == "code" else cell for cell in notebook["cells"]]
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def row(counts: Counts) -> list[str]:
    exercises = [f"{counts.exercises}:", *(f"{counts.kinds[kind]} {kind}" for kind in KINDS if counts.kinds[kind])]
    numbers = (counts.words, counts.equations, counts.figures, counts.lines, counts.longest, counts.build or None)
    told = ["–" if number is None else str(number) for number in (*numbers, counts.loop, counts.samples)]
    return [*told, str(counts.predictions), f"{counts.minutes:.0f}", " ".join(exercises)]


def chosen(names: list[str]) -> list[Chapter]:
    """The chapters named by number or file, or all of them."""
    chapters = Course(ROOT).chapters
    wanted = {Path(name).stem.split("_")[0] for name in names} or set(chapters)
    if unknown := wanted - set(chapters):
        sys.exit(f"no chapter {', '.join(sorted(unknown))} among {', '.join(chapters)}")
    return [chapter for number, chapter in chapters.items() if number in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers or names; all of them by default")
    parser.add_argument("--fold", action="store_true", help="set what folds, and count nothing")
    arguments = parser.parse_args()
    chapters = chosen(arguments.chapters)
    if not arguments.fold:
        print("    " + "  ".join(HEADER))
    for chapter in chapters:
        if not arguments.fold:
            cells = [value.rjust(len(name)) for name, value in zip(HEADER, row(count(chapter)), strict=True)]
            print(chapter.number.ljust(4) + "  ".join(cells))
            continue
        before = chapter.path.read_text(encoding="utf-8")
        if (after := fold_chapter(before)) != before:
            chapter.path.write_text(after, encoding="utf-8")
            print(f"folded {chapter.slug}")


if __name__ == "__main__":
    main()
