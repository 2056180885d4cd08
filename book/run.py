"""Runs the chapters whose code has changed and keeps their outputs: python book/run.py [--check] [--all] [chapter …].

A chapter is stale when its own code, or the code of a dgmlib module it imports, is no longer what its outputs were made
with. It runs in a copy that replaces the notebook only when it ran to the end, so an interruption loses nothing.
Shown source is refreshed without running.
"""

import argparse
import ast
import hashlib
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]

from course import Course, without_magics  # noqa: E402

UNHASHED = {"dgmlib", "dgmlib.notebook", "dgmlib.plots"}  # version number; how results are told and drawn
RECORDED = ("torch", "numpy", "scipy", "matplotlib")
LIMITS = {"smoke": 15, "cpu": 180, "gpu": 180}  # seconds a chapter may take
KEPT_METADATA = {"kernelspec", "language_info", "accelerator", "colab"}
DROPPED_CELL_METADATA = {"papermill", "execution", "ExecuteTime"}


# --- freshness -------------------------------------------------------------------------------------------------------


def fingerprint(notebook: nbformat.NotebookNode, root: Path = ROOT) -> str:
    """Hash of the chapter's code and of the dgmlib modules it imports, transitively, docstrings left out.

    The first code cell is the same everywhere and changes only with the repository's address: left out as well.
    """
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"][1:]
    digest = hashlib.sha256("\0".join(cells).encode())
    tree = ast.parse("\n".join(map(without_magics, cells)))
    direct = set(imported(tree, "", root))
    if "dgmlib.bugs" in direct or any(isinstance(n, ast.Name) and n.id == "diagnose" for n in ast.walk(tree)):
        # The museum finds its parts at run time: those that stand beside what the chapter imports count as imported.
        direct |= {"dgmlib.bugs"} | {name.replace("dgmlib.", "dgmlib.bugs.", 1) for name in direct}
    waiting, seen = direct, set()
    while waiting:
        seen |= waiting
        trees = [parse(name, root) for name in sorted(waiting) if module_file(name, root)]
        waiting = {name for code, package in trees for name in imported(code, package, root)} - seen
    for name in sorted(seen - UNHASHED):
        if module_file(name, root):
            digest.update(f"{name}\0{ast.dump(without_docstrings(parse(name, root)[0]))}".encode())
    return digest.hexdigest()[:16]


def module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def parse(name: str, root: Path) -> tuple[ast.Module, str]:
    """The module's syntax tree and the package that relative imports in it start from."""
    path = module_file(name, root)
    return ast.parse(path.read_text("utf-8")), name if path.name == "__init__.py" else name.rpartition(".")[0]


def imported(tree: ast.Module, package: str, root: Path) -> list[str]:
    """dgmlib modules that the code imports, except those that change no result."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [
        name for name in names if name.split(".")[0] == "dgmlib" and name not in UNHASHED and module_file(name, root)
    ]


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def is_stale(path: Path, root: Path = ROOT) -> bool:
    notebook = read(path)
    return notebook.metadata.get("dgmlib", {}).get("hash") != fingerprint(notebook, root)


# --- running ---------------------------------------------------------------------------------------------------------


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs from run to run; keep ids, execution counts and what Colab reads."""
    notebook.metadata = nbformat.from_dict({k: v for k, v in notebook.metadata.items() if k in KEPT_METADATA})
    notebook.metadata.language_info = nbformat.from_dict({"name": "python", "pygments_lexer": "ipython3"})
    for cell in notebook.cells:
        for key in DROPPED_CELL_METADATA & cell.metadata.keys():
            del cell.metadata[key]
        if cell.metadata.get("tags") == []:  # papermill adds it
            del cell.metadata["tags"]
    return notebook


def write(notebook: nbformat.NotebookNode, path: Path, scratch: Path) -> None:
    """Replace the file in one step; `scratch` is on the same file system."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, scratch)
    os.replace(scratch, path)


def run_chapter(path: Path, budget: str, root: Path = ROOT) -> float:
    """Run one chapter and keep its outputs; the seconds it took.

    Raises: what the chapter raised, or RuntimeError if the notebook was edited meanwhile; then it stays as it is.
    """
    os.environ |= {
        "DGM_STATIC": "1",
        "DGM_BUDGET": budget,
        "DGM_SEED": "0",
        "TQDM_DISABLE": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # chapters run side by side; two threads each would be far slower
    import papermill
    from kernel import Kernel

    scratch = root / "_build" / "run" / path.name
    scratch.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes()
    hashed = fingerprint(read(path), root)
    start = time.perf_counter()
    papermill.execute_notebook(
        path, scratch, kernel_name="python3", kernel_manager_class=Kernel, cwd=path.parent, progress_bar=False
    )
    seconds = time.perf_counter() - start
    notebook = strip(read(scratch))
    notebook.metadata.dgmlib = {
        "budget": budget,
        "device": device(budget),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in RECORDED}},
        "hash": hashed,
        "seconds": round(seconds),
        "date": datetime.now(UTC).date().isoformat(),
    }
    if path.read_bytes() != before:
        raise RuntimeError("the notebook was edited while it ran, so it was left as it is; run it again")
    write(notebook, path, scratch)
    return seconds


def device(budget: str) -> str:
    import torch

    return torch.cuda.get_device_name() if budget == "gpu" and torch.cuda.is_available() else "cpu"


def run_chapters(paths: list[Path], budget: str) -> int:
    """Run them, two at a time; the number that failed."""
    failed = 0
    with ProcessPoolExecutor(min(2, len(paths), os.cpu_count() or 1)) as pool:
        running = {pool.submit(run_chapter, path, budget): path for path in paths}
        for job in as_completed(running):
            name = running[job].stem
            if error := job.exception():
                failed += 1
                print(f"{name}: {failure(error)}", file=sys.stderr, flush=True)
            else:
                over = f", over the {LIMITS[budget]} s of the {budget} budget" if job.result() > LIMITS[budget] else ""
                print(f"{name}: {job.result():.0f} s{over}", flush=True)
    return failed


def failure(error: BaseException) -> str:
    """One sentence for an error in a chapter: cell and message if papermill knows them."""
    if hasattr(error, "ename"):
        return f"cell {error.cell_index}, In [{error.exec_count}]: {error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {error}"


# --- shown source ----------------------------------------------------------------------------------------------------


def shown(notebook: nbformat.NotebookNode) -> list[tuple[nbformat.NotebookNode, str]]:
    """(output, "module:qualname") for every output that shows source."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [(o, o.metadata.dgmlib.source) for o in outputs if "source" in o.get("metadata", {}).get("dgmlib", {})]


def refresh_source(notebook: nbformat.NotebookNode) -> bool:
    """Put the present source into the outputs that show it; did anything change?"""
    changed = False
    for output, name in shown(notebook):
        from dgmlib.notebook import source_markdown

        text = source_markdown(name)
        changed |= output.data["text/markdown"] != text
        output.data["text/markdown"] = text
    return changed


# --- command ---------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers or names; all of them by default")
    parser.add_argument("--all", action="store_true", help="run also what is fresh")
    parser.add_argument("--check", action="store_true", help="run nothing; name what is stale and exit 1")
    parser.add_argument("--budget", choices=LIMITS, default=os.environ.get("DGM_BUDGET", "cpu"))
    arguments = parser.parse_args()
    try:
        chapters = {chapter.number: chapter.path for chapter in Course(ROOT).chapters.values()}
    except ValueError as unreadable:
        sys.exit(str(unreadable))
    wanted = {Path(name).stem.split("_")[0] for name in arguments.chapters} or set(chapters)
    if unknown := wanted - set(chapters):
        parser.error(f"no chapter {', '.join(sorted(unknown))} among {', '.join(chapters) or 'none written yet'}")
    paths = [path for number, path in chapters.items() if number in wanted]
    stale = [path for path in paths if arguments.all or is_stale(path)]
    if arguments.check:
        aged = [path for path in paths if path not in stale and refresh_source(read(path))]
        for path in [*stale, *aged]:
            print(f"{path.stem} is stale: run `make book`")
        return int(bool(stale or aged))
    failed = run_chapters(stale, arguments.budget) if stale else 0
    for path in paths:
        if path not in stale and refresh_source(notebook := read(path)):
            write(notebook, path, ROOT / "_build" / "run" / path.name)
            print(f"{path.stem}: shown source refreshed")
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; every notebook is as it was or complete")
