"""dgmlib beside its peers: `make bench`. The same work, outputs asserted equal, one thread.

`python benchmarks/run.py vae` measures one family, `benchmarks/vae.py`, whose `rows(generator)` names the work; without
a name every family is measured, each in a process of its own, for some peers change PyTorch when they are imported
(zuko turns off the validation of its distributions' arguments).

A row is the median over 11 interleaved pairs of (peer's seconds / ours) of processor time, so that a busy machine falls
on both. At least 0.9 is parity; a lower row ends the run with status 1. The tables are printed and kept in
`results.json`. The peers live in an environment of their own, `benchmarks/.venv`, made from `requirements.lock` beside
this file; pytorch-generative is not among them, for it could not be installed as a package when the lock was made.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PAIRS = 11
PARITY = 0.9
SECONDS_A_SIDE = 0.05  # calls are repeated to fill this, so that the clock's own cost does not count
RESULTS = Path(__file__).with_name("results.json")
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "diffusers", "nflows", "pythae", "zuko")

Work = Callable[[], object]
Row = tuple[str, str, Work, Work]  # what, the peer, our work, the peer's: a tensor, an array, or a tuple of them


def families() -> list[str]:
    """The modules beside this file, each with `rows(generator) -> list[Row]`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.name != Path(__file__).name)


def seconds(work: Work, repeats: int) -> float:
    """Processor seconds of one call, averaged over `repeats` calls."""
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def assert_equal(ours: object, theirs: object, name: str) -> None:
    """Raise AssertionError unless both are the same numbers: float64 within 1e-9, float32 within 1e-4."""
    ours, theirs = (side if isinstance(side, tuple) else (side,) for side in (ours, theirs))
    for mine, other in zip(ours, theirs, strict=True):
        mine, other = (np.asarray(x.detach() if isinstance(x, Tensor) else x) for x in (mine, other))
        rough = np.float32 in (mine.dtype, other.dtype)
        np.testing.assert_allclose(mine, other, 1e-4 if rough else 1e-9, 1e-5 if rough else 1e-12, err_msg=name)


def measure(what: str, peer: str, ours: Work, theirs: Work) -> dict[str, object]:
    """One row of the table. Raises AssertionError if the two sides do not compute the same numbers."""
    assert_equal(ours(), theirs(), f"{what}: {peer}")
    ours_repeats, theirs_repeats = (max(1, int(SECONDS_A_SIDE / seconds(work, 3))) for work in (ours, theirs))
    pairs = [(seconds(ours, ours_repeats), seconds(theirs, theirs_repeats)) for _ in range(PAIRS)]
    return {
        "what": what,
        "peer": peer,
        "ours_ms": round(1e3 * statistics.median(mine for mine, _ in pairs), 4),
        "peer_ms": round(1e3 * statistics.median(other for _, other in pairs), 4),
        "ratio": round(statistics.median(other / mine for mine, other in pairs), 3),
    }


def measure_family(name: str) -> bool:
    """Print the family's table, put it in `results.json`, and say whether each row is at parity."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = [measure(*row) for row in import_module(name).rows(torch.Generator().manual_seed(0))]
    print(f"{name + ':':58} {'peer':40} {'ours':>10} {'peer':>10}  peer/ours")
    for row in table:
        verdict = "" if row["ratio"] >= PARITY else "  below parity"
        times = f"{row['ours_ms']:7.2f} ms {row['peer_ms']:7.2f} ms"
        print(f"{row['what']:58} {row['peer']:40} {times}  {row['ratio']:.2f}{verdict}")
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    machine = {"date": str(date.today()), "machine": platform.machine(), "threads": 1}
    record[name] = {**machine, "versions": {package: version(package) for package in PACKAGES}, "rows": table}
    RESULTS.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n", encoding="utf-8")
    return all(row["ratio"] >= PARITY for row in table)


def main(names: list[str]) -> int:
    names = names or families()
    if len(names) == 1:
        return 0 if measure_family(names[0]) else 1
    return max(subprocess.run([sys.executable, __file__, name], check=False).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
