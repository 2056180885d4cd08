"""Measured runs: what the commands `python -m dgmlib.…` share, from their options to the best model of a long training.

parser = run_parser("dgmlib.nade", "Train a NADE ...")
parser.add_argument("--hidden", type=int, default=500)
options = run_options(parser, arguments, name="nade_{data}")
"""

import argparse
import copy
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dgmlib.train import fit, gradient_step

# --- options --------------------------------------------------------------------------------------------------------


def run_parser(module: str, description: str) -> argparse.ArgumentParser:
    """A parser for `python -m MODULE` with the options that every measured run has."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--published", nargs=2, metavar=("VALUE", "SOURCE"), help="what is to stand beside our number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", help="of the files written")
    parser.add_argument("--checkpoint", type=Path, help="default: runs/NAME.safetensors; a run is continued from it")
    parser.add_argument("--out", type=Path, default=Path("book/results"), help="folder for the .json and the .png")
    return parser


def run_options(parser: argparse.ArgumentParser, arguments: list[str] | None, name: str) -> argparse.Namespace:
    """The options in `arguments` (None: the command line), and `.command`, which a result records.

    `name`, with the other options in braces, is the default of `--name`. `.published` is what `save_result` takes.
    """
    options = parser.parse_args(arguments)
    options.command = f"{parser.prog} {shlex.join(sys.argv[1:] if arguments is None else arguments)}".strip()
    options.name = options.name or name.format(**vars(options))
    options.checkpoint = options.checkpoint or Path("runs") / f"{options.name}.safetensors"
    if options.published:
        value, source = options.published
        options.published = {"value": float(value), "source": source}
    return options


# --- the best model of a run ----------------------------------------------------------------------------------------


class BestModel(nn.Module):
    """A copy of the model that had the highest score so far, and the processor time that training has taken."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.register_buffer("score", torch.tensor(-math.inf))
        self.register_buffer("seconds", torch.zeros((), dtype=torch.float64))

    def consider(self, model: nn.Module, score: float) -> None:
        """Keep a copy of `model` if `score` beats what is kept."""
        if score > self.score:
            self.model.load_state_dict(model.state_dict())
            self.score.fill_(score)


def fit_best(
    step: gradient_step,
    batches: Iterable[Any] | None,
    n_steps: int,
    score: Callable[[nn.Module], float],
    *,
    every: int,
    checkpoint: str | os.PathLike | None = None,
) -> BestModel:
    """`fit`, where every `every` steps the averaged weights are judged by `score(model)`, as on validation data.

    Returns the best judged model, its score, and the seconds of processor time of the whole run, over all resumes.

    Raises: as `fit`; ValueError if `step` has no `ema`.
    """
    if step.ema is None:
        raise ValueError("step has no ema, expected a gradient_step with averaged weights to judge")
    best = BestModel(step.ema.model)
    mark = [time.process_time()]

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        value = score(step.ema.model)
        best.consider(step.ema.model, value)
        best.seconds += time.process_time() - mark[0]
        mark[0] = time.process_time()
        return {"score": value}

    state = {**step.state, "best": best}
    fit(
        step, batches, n_steps, state=state, checkpoint=checkpoint, every=every, evaluate=evaluate, evaluate_every=every
    )
    return best
