"""What the tests of the measured runs (`python -m dgmlib.…`) share: a run cut short, and runs under torchrun."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from dgmlib.commands.runs import BestModel

ROOT = Path(__file__).resolve().parents[1]


def files(folder):
    """The options that name a run's files, all in `folder`, and let it run whatever the tree holds."""
    return ["--name", "t", "--checkpoint", str(folder / "t.safetensors"), "--out", str(folder), "--allow-dirty"]


class Stop(Exception):
    """The end of a run that was cut short."""


def cut_short(run, *arguments):
    """`run(*arguments)` until its model is to be judged a second time, where it dies."""
    calls, consider = itertools.count(1), BestModel.consider

    def dying(self, *given):
        if next(calls) == 2:
            raise Stop
        consider(self, *given)

    with mock.patch.object(BestModel, "consider", dying), pytest.raises(Stop):
        run(*arguments)


def under_torchrun(module, arguments, folder, processes):
    """`python -m module` with `arguments(folder)`, which name the result t.json, on so many processes; its mean."""
    folder = folder / str(processes)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    done = subprocess.run(
        [*command, module, *arguments(folder)], cwd=folder.parent, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "t.json").read_text())["ours"]
