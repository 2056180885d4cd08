"""The measured runs: what the commands `python -m dgmlib.…` wrote into book/results, read again and shown as a table.

A run from code that no commit holds is told to be one, and ranked nowhere. Runs that differ in their seed alone are one
line: their mean, its spread over the seeds, and every seed's number.
"""

import html
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from dgmlib.core import checked, need_option

FOLDER = Path("../book/results")  # as seen from chapters/
UNCOMMITTED = "made from code that no commit holds, so to be measured again"


class Run(NamedTuple):
    """One model and one measure, with one result a seed.

    >>> rows = [{"seed": seed, "ours": 1.0 + seed, "commit": "a1b2c3d", "minutes": {"wall": 2.0}} for seed in (0, 2)]
    >>> run = Run("vae", rows)
    >>> run.result
    '2.000 ± 1.414 (seeds 0, 2: 1.000, 3.000)'
    >>> run.values, run.mean, round(run.spread, 4)
    ([1.0, 3.0], 2.0, 1.4142)
    >>> run.clean, run.minutes_of("wall"), run.commit
    (True, '2.0', 'a1b2c3d')
    """

    name: str
    rows: list[dict[str, Any]]

    def __getattr__(self, key: str) -> Any:
        """What all seeds have in common, as `run.model`."""
        try:
            return self.rows[0][key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def values(self) -> list[float]:
        """The result of each seed."""
        return [row["ours"] for row in self.rows]

    @property
    def mean(self) -> float:
        """Their mean."""
        return sum(self.values) / len(self.values)

    @property
    def spread(self) -> float | None:
        """Their standard deviation, if there are several."""
        n = len(self.values)
        return math.sqrt(sum((x - self.mean) ** 2 for x in self.values) / (n - 1)) if n > 1 else None

    @property
    def clean(self) -> bool:
        """Whether each was made from code that a commit holds."""
        return all(row["commit"] and not row["commit"].endswith("-dirty") for row in self.rows)

    @property
    def result(self) -> str:
        """The mean with its spread, and the seeds."""
        digits = 3 if abs(self.mean) < 10 else 2
        seeds = ", ".join(str(row["seed"]) for row in self.rows)
        if self.spread is None:
            return f"{self.mean:.{digits}f} (seed {seeds})"
        each = ", ".join(f"{value:.{digits}f}" for value in self.values)
        return f"{self.mean:.{digits}f} ± {self.spread:.{digits}f} (seeds {seeds}: {each})"

    @checked
    def minutes_of(self, kind: str) -> str:
        """Minutes a seed, of the "processor" or on the "wall"; a dash where they were not noted."""
        need_option("kind", kind, ("processor", "wall"))
        each = [row["minutes"][kind] for row in self.rows]
        return "–" if None in each else f"{sum(each) / len(each):.1f}"


@checked
def read(folder: str | os.PathLike = FOLDER) -> list[Run]:
    """All runs of a folder, in the order of their names, seeds together.

    >>> read(Path("a folder without runs"))
    []
    """
    runs: dict[tuple, Run] = {}
    for path in sorted(Path(folder).glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        key = tuple(row[name] for name in ("title", "model", "data", "measure"))
        runs.setdefault(key, Run(path.stem, [])).rows.append(row)
    for run in runs.values():
        run.rows.sort(key=lambda row: row["seed"])
    return list(runs.values())


@checked
def told(value: float | str) -> str:
    """A number that a run noted beside its result, as a page says it.

    >>> told(0.12345), told(12.341), told(7)
    ('0.123', '12.34', '7')
    """
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


class Table:
    """Rows of text under headings, which a notebook shows as a table and a console as lines.

    With `cards` the book shows a card a row, where six columns of words would leave room for none.

    >>> Table(["model", "bits"], [["NADE", "2.1"], ["VAE", "at most 2.2"]])
    NADE
        bits: 2.1
    VAE
        bits: at most 2.2
    """

    @checked
    def __init__(self, headings: list[str], rows: list[list[str]], note: str = "", *, cards: bool = False):
        self.headings, self.rows, self.note, self.cards = headings, rows, note, cards

    def _repr_html_(self) -> str:
        cell = lambda kind, text: f"<{kind}>{html.escape(text).replace(chr(10), '<br>')}</{kind}>"  # noqa: E731
        head = "".join(cell("th", text) for text in self.headings)
        body = "\n".join("<tr>" + "".join(cell("td", text) for text in row) + "</tr>" for row in self.rows)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        start = '<table class="measured">' if self.cards else "<table>"
        return f"{start}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{note}"

    def __repr__(self) -> str:
        lines = []
        for row in self.rows:
            first, *rest = zip(self.headings, row, strict=True)
            lines.append(first[1])
            lines += [f"    {heading}: {text}".replace("\n", "\n        ") for heading, text in rest if text]
        return "\n".join(lines + [self.note] * bool(self.note))


@checked
def measured(*names: str, folder: str | os.PathLike = FOLDER) -> Table:
    """The runs of these names, each with the seeds that belong to it, as a table.

    Raises: ValueError (no such run).

    >>> measured("vae", folder=Path("no such folder"))
    The measured runs lie in book/results of a clone of the course, which is not here.
    """
    if not Path(folder).is_dir():
        return Table([], [], "The measured runs lie in book/results of a clone of the course, which is not here.")
    runs = {run.name: run for run in read(folder)}
    unknown = [name for name in names if name not in runs]
    if unknown:
        raise ValueError(f"names has {unknown[0]!r}, expected names of runs in {folder}")
    rows = []
    for run in (runs[name] for name in names):
        also = "\n".join(f"{what}: {told(value)}" for what, value in run.also.items())
        result = run.result if run.clean else f"{run.result}, {UNCOMMITTED}"
        rows.append(
            [
                f"{run.model}, {run.parameters:,} parameters",
                run.measure,
                result,
                also,
                run.minutes_of("processor"),
                run.command,
            ]
        )
    return Table(["model", "measure", "result", "also", "processor minutes a seed", "command"], rows, cards=True)
