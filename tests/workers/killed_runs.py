"""Runs that are killed at seeded moments and started again, each in a fork of this process; prints what came of them.

python killed_runs.py FOLDER     prints {"reference": digest, "runs": [[moment, signal, digest], ...]}
"""

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from dgmlib.data import Batches
from dgmlib.train import EMA, fit, gradient_step

N_STEPS, EVERY = 40, 7
MOMENTS = ("batch", "step", "evaluate", "half written", "before fsync", "before rename", "after rename", "folder fsync")


def build() -> tuple:
    """A small run that has all there is to lose: dropout, batch statistics, noise, a schedule, an average."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)

    def loss(model, x, *, generator):
        return (model(x + torch.randn(x.shape, generator=generator)) - x).square().sum(-1)

    ema = EMA(model, decay=0.9)
    step = gradient_step(model, loss, optimizer, clip=1.0, ema=ema, generator=generator, schedule=schedule)
    batches = Batches(torch.randn(20, 3), batch_size=6, generator=generator)
    return step, batches


def digest(step, batches, history) -> str:
    """One hash of everything that must be the same, read from the objects themselves."""
    sha = hashlib.sha256()

    def add(tree):
        if isinstance(tree, torch.Tensor):
            sha.update(tree.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(tree, dict):
            for key in tree:
                sha.update(str(key).encode())
                add(tree[key])
        elif isinstance(tree, list | tuple):
            for value in tree:
                add(value)
        else:
            sha.update(repr(tree).encode())

    for name, part in step.state.items():
        add(part.get_state() if name == "generator" else part.state_dict())
    add([batches.state_dict(), torch.get_rng_state(), history.step])
    add({name: [history.steps(name).tolist(), history[name].tolist()] for name in history})
    return sha.hexdigest()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, count: int, step, batches, evaluate) -> tuple:
    """Make the `count`-th arrival at `moment` the last thing this process does."""
    arrivals = 0

    def arrived() -> bool:
        nonlocal arrivals
        arrivals += 1
        return arrivals == count

    if moment in ("batch", "step", "evaluate"):

        def before(function):
            def wrapped(*arguments):
                if arrived():
                    die()
                return function(*arguments)

            return wrapped

        if moment == "batch":
            type(batches).__next__ = before(type(batches).__next__)
        if moment == "step":  # in its middle: the gradient is there, the weights are about to change
            step.optimizer.register_step_pre_hook(before(lambda *_: None))
        if moment == "evaluate":
            evaluate = before(evaluate)
        return evaluate
    fsync, replace = os.fsync, os.replace

    def new_fsync(fd):
        folder = os.fstat(fd).st_mode & 0o040000
        if moment == "folder fsync" and folder and arrived():
            die()
        if moment in ("half written", "before fsync") and not folder and arrived():
            if moment == "half written":
                os.ftruncate(fd, os.fstat(fd).st_size // 2)
            die()
        fsync(fd)

    def new_replace(old, new):
        ours = moment in ("before rename", "after rename") and arrived()
        if ours and moment == "before rename":
            die()
        replace(old, new)
        if ours:
            die()

    os.fsync, os.replace = new_fsync, new_replace
    return evaluate


def run(path: Path, result: Path, moment: str | None, count: int) -> None:
    step, batches = build()

    def evaluate():
        return {"weight": step.ema.model[0].weight.sum()}

    if moment is not None:
        evaluate = arm(moment, count, step, batches, evaluate)
    history = fit(
        step, batches, N_STEPS, checkpoint=path, every=EVERY, evaluate=evaluate, evaluate_every=5, progress=False
    )
    result.write_text(digest(step, batches, history))


def forked(*arguments) -> int:
    """The wait status of a child that does `run(*arguments)`."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(*arguments)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    step, _ = build()
    step.optimizer.step()  # imports what the first step imports, once for all children
    draw = random.Random(0)
    times = {"batch": N_STEPS, "step": N_STEPS, "evaluate": N_STEPS // 5}  # of the rest: one for each of 7 saves
    moments = [(moment, draw.randint(1, times.get(moment, 7))) for moment in (*MOMENTS, "half written", "after rename")]
    forked(folder / "reference.safetensors", folder / "reference", None, 0)
    runs = []
    for i, (moment, count) in enumerate(moments):
        path, result = folder / f"{i}.safetensors", folder / str(i)
        came = forked(path, result, moment, count)
        assert not result.exists()
        again = forked(path, result, None, 0)
        left = [p.name for p in folder.glob("*.partial")]
        runs.append([f"{moment} {count}", came, again, left, result.read_text() if result.exists() else None])
    print(json.dumps({"reference": (folder / "reference").read_text(), "runs": runs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
