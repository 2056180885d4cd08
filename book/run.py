"""Runs the chapters whose code has changed and keeps their outputs: python book/run.py [--check] [--all] [chapter …].

A chapter is stale when its own code, or a function of dgmlib that it reaches, is no longer what its outputs were made
with. It runs in a copy that replaces the notebook only when it ran to the end, so an interruption loses nothing.
Shown source is refreshed without running. One runner works at a time; a second one waits.
"""

import argparse
import contextlib
import fcntl
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]

from course import Course  # noqa: E402
from freshness import Library, fingerprint  # noqa: E402

RECORDED = ("torch", "numpy", "scipy", "matplotlib")
LIMITS = {"smoke": 15, "cpu": 180, "gpu": 180}  # seconds a chapter may take
KEPT_METADATA = {"kernelspec", "language_info", "accelerator", "colab"}
DROPPED_CELL_METADATA = {"papermill", "execution", "ExecuteTime"}


# --- chapters --------------------------------------------------------------------------------------------------------


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def is_stale(path: Path, library: Library) -> bool:
    notebook = read(path)
    return notebook.metadata.get("dgmlib", {}).get("hash") != fingerprint(notebook, library)


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

    Raises: what the chapter raised, or RuntimeError if the notebook was edited meanwhile or the runner killed; then it
        stays as it is.
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
    hashed = fingerprint(read(path), Library(root))
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
    if (runner := multiprocessing.parent_process()) and not runner.is_alive():
        raise RuntimeError("the runner is gone, so the notebook was left as it is; run it again")
    write(notebook, path, scratch)
    return seconds


def end_with_the_runner() -> None:
    """Let a worker end as soon as its runner does, even by `kill -9`. Its kernel, which watches it, follows."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def device(budget: str) -> str:
    import torch

    return torch.cuda.get_device_name() if budget == "gpu" and torch.cuda.is_available() else "cpu"


def run_chapters(paths: list[Path], budget: str) -> int:
    """Run them, two at a time; the number that failed."""
    failed = 0
    workers = min(2, len(paths), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, initializer=end_with_the_runner) as pool:
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


@contextlib.contextmanager
def alone(root: Path = ROOT) -> Iterator[int]:
    """Wait until no other runner works on this course; the descriptor of the lock.

    The system frees it when we end, killed or not. Workers hold it as well, so nothing begins before a killed runner's
    last one has ended.
    """
    path = root / "_build" / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another `make book` or `make chapters` is at work here; this one waits for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def build_pages(lock: int) -> None:
    """Become the Sphinx build, which keeps the lock to its end."""
    sys.stdout.flush()
    os.set_inheritable(lock, True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    os.execv(jupyter_book, [str(jupyter_book), "build", str(ROOT), "-W", "-n", "--keep-going"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers or names; all of them by default")
    parser.add_argument("--all", action="store_true", help="run also what is fresh")
    parser.add_argument("--check", action="store_true", help="run nothing; name what is stale and exit 1")
    parser.add_argument("--pages", action="store_true", help="then build the pages of the book")
    parser.add_argument("--budget", choices=LIMITS, default=os.environ.get("DGM_BUDGET", "cpu"))
    arguments = parser.parse_args()
    if arguments.check:
        return check(chosen(parser, arguments.chapters))
    with alone() as lock:
        failed = renew(chosen(parser, arguments.chapters), arguments.all, arguments.budget)
        if arguments.pages and not failed:
            build_pages(lock)
    return int(failed > 0)


def chosen(parser: argparse.ArgumentParser, names: list[str]) -> list[Path]:
    """The chapters named on the command line, or all of them."""
    try:
        chapters = {chapter.number: chapter.path for chapter in Course(ROOT).chapters.values()}
    except ValueError as unreadable:
        sys.exit(str(unreadable))
    wanted = {Path(name).stem.split("_")[0] for name in names} or set(chapters)
    if unknown := wanted - set(chapters):
        parser.error(f"no chapter {', '.join(sorted(unknown))} among {', '.join(chapters) or 'none written yet'}")
    return [path for number, path in chapters.items() if number in wanted]


def check(paths: list[Path]) -> int:
    """Name what is stale; 1 if anything is."""
    library = Library(ROOT)
    stale = [path for path in paths if is_stale(path, library) or refresh_source(read(path))]
    for path in stale:
        print(f"{path.stem} is stale: run `make book`")
    return int(bool(stale))


def renew(paths: list[Path], all_of_them: bool, budget: str) -> int:
    """Run what is stale, or all, and refresh the shown source of the others; the number that failed."""
    library = Library(ROOT)
    stale = [path for path in paths if all_of_them or is_stale(path, library)]
    failed = run_chapters(stale, budget) if stale else 0
    for path in paths:
        if path not in stale and refresh_source(notebook := read(path)):
            write(notebook, path, ROOT / "_build" / "run" / path.name)
            print(f"{path.stem}: shown source refreshed")
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; every notebook is as it was or complete")
