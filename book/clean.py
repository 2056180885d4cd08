"""Undoes what reading and running left in the chapters, and keeps what was edited: `make clean-outputs`.

A cell whose text is as committed gets its committed outputs, count and metadata back; an edited or new cell keeps its
text and its outputs, without progress bars and timings. What was only opened and run becomes the committed file again.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMINGS = {"execution", "papermill", "ExecuteTime", "user_expressions", "trusted", "collapsed", "scrolled"}


def text(cell: dict) -> tuple[str, str]:
    return cell["cell_type"], "".join(cell["source"])


def cleaned(now: dict, committed: dict) -> dict:
    """The notebook as it is now, with what running changed put back."""
    before = {cell.get("id"): cell for cell in committed["cells"]}
    cells = []
    for cell in now["cells"]:
        same = before.get(cell.get("id"))
        cells.append(same if same and text(same) == text(cell) else stripped(cell))
    return committed | {"cells": cells}


def stripped(cell: dict) -> dict:
    """An edited cell without what differs from run to run."""
    cell = cell | {"metadata": {key: value for key, value in cell["metadata"].items() if key not in TIMINGS}}
    if "outputs" in cell:
        cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    return cell


def clean(path: Path) -> bool:
    """Clean one chapter in place; did it change? Raises ValueError when it is no notebook or was never committed."""
    shown = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True)
    if shown.returncode:
        raise ValueError(f"{path.name} is not in the last commit, so there is nothing to put back")
    old, now = shown.stdout.decode("utf-8"), path.read_text(encoding="utf-8")
    committed = json.loads(old)
    made = cleaned(json.loads(now), committed)
    new = old if made == committed else json.dumps(made, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    if new != now:
        path.write_text(new, encoding="utf-8")
    return new != now


def main() -> None:
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        try:
            if clean(path):
                print(f"cleaned {path.stem}")
        except ValueError as error:
            print(f"left {path.stem} as it is: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
