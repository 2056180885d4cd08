"""Measured runs: what the commands `python -m dgmlib.…` share, from their options to the result they write.

    parser = run_parser("dgmlib.nade", "Train a NADE ...")
    parser.add_argument("--hidden", type=whole(1), default=500)
    options = run_options(parser, arguments, name="nade_{data}")
    best = fit_best(step, batches, n_steps, score, every=500, checkpoint=options.checkpoint, identity=options.identity)
    save_result(options, title="NADE", model="NADE 784-500", ours=nll, minutes=best.minutes, ...)

A checkpoint belongs to the options that shaped its training, and a result to the clean commit it was made from.
"""

import argparse
import copy
import datetime
import io
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from dgmlib.checkpoint import replace_file
from dgmlib.train import fit, gradient_step

if TYPE_CHECKING:
    from dgmlib.data import Images, Table

# --- options --------------------------------------------------------------------------------------------------------


def whole(at_least: int = 1) -> Callable[[str], int]:
    """The type of an option that is a whole number of at least `at_least`."""

    def parse(text: str) -> int:
        if not text.lstrip("+-").isdecimal() or not at_least <= int(text) < 2**63:
            raise argparse.ArgumentTypeError(f"{text} was given, expected a whole number of at least {at_least}")
        return int(text)

    return parse


def number(above: float | None = None, at_least: float | None = None) -> Callable[[str], float]:
    """The type of an option that is a finite number `above` one value or `at_least` another."""
    low = f"above {above:g}" if above is not None else f"of at least {at_least:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not (value > above if above is not None else value >= at_least):
            raise argparse.ArgumentTypeError(f"{text} was given, expected a number {low}")
        return value

    return parse


def device(text: str) -> str:
    """The type of an option that is a device this machine has: cpu, cuda, cuda:1."""
    kind, _, index = text.partition(":")
    if kind == "cuda" and (not index or index.isdecimal()):
        n = torch.cuda.device_count()
        if int(index or 0) >= n:
            raise argparse.ArgumentTypeError(f"{text} was given, expected a device of this machine, which has {n} GPUs")
    elif text != "cpu":
        raise argparse.ArgumentTypeError(f"{text} was given, expected cpu, cuda, or cuda with a number, as in cuda:1")
    return text


def dataset(*names: str) -> Callable[[str], str | Path]:
    """The type of an option that is one of these image sets, or the path of one's own data."""

    def parse(text: str) -> str | Path:
        if text in names:
            return text
        if not (own := path(text)).exists():
            ours = f"one of {', '.join(names)}, or your own .npz, .npy or .csv file or folder of images"
            raise argparse.ArgumentTypeError(f"{text} was given, expected {ours}")
        return own

    return parse


def path(text: str) -> Path:
    """The type of an option that is a path, in which `~` is the user's folder."""
    return Path(text).expanduser()


def run_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m MODULE` with the options that every measured run has."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--name", help="of the files written")
    parser.add_argument("--checkpoint", type=path, help="default: runs/NAME.safetensors; a run is continued from it")
    parser.add_argument(
        "--out", type=path, help="folder for what is found; default: book/results, or runs for own data"
    )
    parser.add_argument("--allow-dirty", action="store_true", help="run uncommitted code; the book will not show it")
    return parser


def run_options(
    parser: argparse.ArgumentParser, arguments: list[str] | None, name: str, free: Iterable[str] = ()
) -> argparse.Namespace:
    """The options in `arguments` (None: the command line), with three more: `.command` and `.commit`, which a result
    records, and `.identity`, which a checkpoint holds: every option that shapes training, so all but the general ones
    and those named in `free`, which serve the judging or may grow, as a number of steps on no schedule may.

    `name`, with the other options in braces, and with the seed if it is not 0, is the default of `--name`. A working
    tree with changes that no commit holds is refused here, before any work, unless `--allow-dirty` says that the result
    need not be shown, as it is not where the data are one's own.
    """
    options = parser.parse_args(arguments)
    general = {"device", "name", "checkpoint", "out", "allow_dirty"}
    shaping = {key: value for key, value in vars(options).items() if key not in general | set(free)}
    own = options.data if isinstance(vars(options).get("data"), Path) else None
    options.out = options.out or Path("runs" if own else "book/results")
    commit, changes = commit_of_code()
    if changes and not (options.allow_dirty or own):
        parser.error(f"the code has changes that no commit holds ({changes}): commit them, or say --allow-dirty")
    options.command = f"{parser.prog} {shlex.join(sys.argv[1:] if arguments is None else arguments)}".strip()
    options.commit = f"{commit}-dirty" if changes else commit
    options.identity = shaping | {"commit": options.commit} | ({"data": own.name} if own else {})
    named = vars(options) | ({"data": own.stem} if own else {})
    options.name = options.name or name.format(**named) + f"_seed{options.seed}" * (options.seed > 0)
    options.checkpoint = options.checkpoint or Path("runs") / f"{options.name}.safetensors"
    return options


def load_data(options: argparse.Namespace) -> "Images | Table":
    """The data that `--data` names, on the device. A checkpoint belongs to one's own data as they were read."""
    from dgmlib import data

    found = data.load(options.data, options.device)
    if isinstance(options.data, Path):
        options.identity["rows"] = zlib.crc32(found.train.cpu().numpy().tobytes())
    return found


def commit_of_code() -> tuple[str | None, str]:
    """The commit that holds the code that runs, and what was changed since, in words. (None, "") outside a clone.

    Results themselves may lie there uncommitted: a run reads none.
    """
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.rstrip("\n") if done.returncode == 0 else None

    if not git("ls-files", "--error-unmatch", "runs.py"):  # no git, no clone, or somebody else's
        return None, ""
    changes = (git("status", "--porcelain", "--", ":/", ":(top,exclude)book/results") or "").splitlines()
    more = f" and {len(changes) - 3} more" * (len(changes) > 3)
    return git("rev-parse", "HEAD"), ", ".join(line[3:] for line in changes[:3]) + more


# --- the best model of a run ----------------------------------------------------------------------------------------


class Minutes(NamedTuple):
    """What a run took: minutes of processor time (of all threads together) and minutes of the clock on the wall."""

    processor: float
    wall: float

    def plus(self, other: "Minutes") -> "Minutes":
        """Both together."""
        return Minutes(self.processor + other.processor, self.wall + other.wall)


class Clock:
    """The time a run has taken, over all its resumes: part of its state."""

    def __init__(self):
        self.load_state_dict({"processor": 0.0, "wall": 0.0})

    @property
    def minutes(self) -> Minutes:
        """Up to now."""
        return Minutes(self.processor + time.process_time() / 60, self.wall + time.perf_counter() / 60)

    def state_dict(self) -> dict[str, float]:
        return self.minutes._asdict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.processor = state["processor"] - time.process_time() / 60
        self.wall = state["wall"] - time.perf_counter() / 60


class BestModel(nn.Module):
    """A copy of the model that had the highest score so far."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.register_buffer("score", torch.tensor(-math.inf))

    def consider(self, model: nn.Module, score: float) -> None:
        """Keep a copy of `model` if `score` beats what is kept."""
        if score > self.score:
            self.model.load_state_dict(model.state_dict())
            self.score.fill_(score)


class Trained(NamedTuple):
    """The best judged model of a run, its score, and the time of the whole run."""

    model: Any
    score: float
    minutes: Minutes


def fit_best(
    step: gradient_step,
    batches: Iterable[Any] | None,
    n_steps: int,
    score: Callable[[nn.Module], float],
    *,
    every: int,
    checkpoint: str | os.PathLike | None = None,
    identity: dict[str, Any] | None = None,
    patience: int | None = None,
    progress: bool = True,
) -> Trained:
    """`fit`, where every `every` steps the model is judged by `score(model)`, as on validation data, and the best kept.

    The model judged is the averaged one if `step` has an `ema`, else `step.model` itself, in evaluation mode. With
    `patience` the run ends once so many judgements in a row have brought no higher score. Raises: as `fit`.
    """
    model = step.model if step.ema is None else step.ema.model
    best, clock = BestModel(model), Clock()

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        trains = model.training
        value = score(model.eval())
        model.train(trains)
        best.consider(model, value)
        return {"score": value}

    fit(
        step,
        batches,
        n_steps,
        state={**step.state, "best": best, "clock": clock},
        checkpoint=checkpoint,
        identity=identity,
        every=every,
        evaluate=evaluate,
        evaluate_every=every,
        patience=patience,
        watch="-score",
        progress=progress,
    )
    return Trained(best.model, best.score.item(), clock.minutes)


# --- results --------------------------------------------------------------------------------------------------------


def save_result(
    options: argparse.Namespace,
    *,
    title: str,
    model: str,
    parameters: int,
    data: str,
    measure: str,
    ours: float,
    minutes: Minutes,
    also: dict[str, float | str] | None = None,
    table: str | None = None,
    suffix: str = "",
) -> None:
    """Write one row of the reproductions page, `options.out / options.name + suffix + .json`.

    `measure` says in words what `ours` measures; `also` what else was measured, by name; `table` names the table of
    book/published.csv whose rows are comparable with `ours`. Command, seed, device, versions, commit and date are
    added. Raises ValueError (an empty text, a number that is not finite).
    """
    texts = {"title": title, "model": model, "data": data, "measure": measure}
    for name, text in texts.items():
        if not text.strip():
            raise ValueError(f"{name} is empty, expected a text")
    numbers = {"ours": ours, "parameters": parameters, **minutes._asdict(), **(also or {})}
    for name, value in numbers.items():
        if not isinstance(value, str) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}, expected a finite number")
    result = texts | {
        "parameters": parameters,
        "ours": ours,
        "also": also or {},
        "table": table,
        "seed": options.seed,
        "command": options.command,
        "commit": options.commit,
        "device": device_name(options.device),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "minutes": {name: round(value, 2) for name, value in minutes._asdict().items()},
        "date": datetime.date.today().isoformat(),
    }
    file = Path(options.out) / f"{options.name}{suffix}.json"
    replace_file(file, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())


def save_figure(options: argparse.Namespace, figure: Any) -> None:
    """Write a figure as `options.out / options.name + .png`, whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    content = io.BytesIO()
    figure.savefig(content, dpi=100, format="png")
    plt.close(figure)
    replace_file(Path(options.out) / f"{options.name}.png", content.getvalue())


def rows_figure(parts: dict[str, torch.Tensor], columns: Sequence[str]) -> Any:
    """Sets of rows as points, by name: the first column against the last."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    for name, x in parts.items():
        ax.plot(*x[:, [0, -1]].T.cpu(), ".", markersize=4, label=name)
    ax.set(xlabel=f"column {columns[0]}", ylabel=f"column {columns[-1]}")
    ax.legend()
    return figure


def save_samples(options: argparse.Namespace, x: torch.Tensor) -> None:
    """Write draws from the model as `options.out / options.name + _samples.npy`."""
    content = io.BytesIO()
    np.save(content, x.cpu().numpy())
    replace_file(Path(options.out) / f"{options.name}_samples.npy", content.getvalue())


def device_name(name: str) -> str:
    """The device in words: the GPU's own name, or the processor's kind."""
    return torch.cuda.get_device_name(name) if name.startswith("cuda") else f"cpu ({platform.machine()})"


def n_parameters(*models: nn.Module) -> int:
    """How many numbers training chose: the elements of all parameters."""
    return sum(p.numel() for model in models for p in model.parameters())
