"""Defaults for every test, the chapters' kernels included: small budget, one thread, outputs as for the book.

DGM_NOISE=0 (or another seed) gives the kernels the rounding of another machine: see tests/noise.py.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

for name, value in {"DGM_BUDGET": "smoke", "DGM_STATIC": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}.items():
    os.environ.setdefault(name, value)

STARTUP = "import sys\nsys.path.insert(0, {tests!r})\n__import__('noise').start({seed})\ndel sys.path[0], sys\n"

if seed := os.environ.get("DGM_NOISE"):
    if not seed.isdecimal():
        raise pytest.UsageError(f"DGM_NOISE is {seed!r}, expected a non-negative int")
    # IPython runs what it finds in its profile before a kernel's first cell, and writes its history there.
    profile = Path(tempfile.mkdtemp(prefix="dgm-noise-"))
    atexit.register(shutil.rmtree, profile, ignore_errors=True)
    startup = profile / "profile_default" / "startup" / "noise.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(STARTUP.format(tests=str(Path(__file__).parent / "tests"), seed=int(seed)), "utf-8")
    os.environ["IPYTHONDIR"] = str(profile)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("nbval", False):
        # Where HOME cannot be written, Matplotlib says so at its first import; a chapter's first cell is compared.
        import matplotlib.font_manager  # noqa: F401
