"""Unit tests check dgmlib's shape annotations at run time: the hook has to stand before dgmlib is first imported."""

import os
import sys
from pathlib import Path

import jaxtyping
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")  # not in the root's conftest.py: the chapters' kernels draw inline
jaxtyping.install_import_hook("dgmlib", "typecheck.checked")
sys.path += [str(Path(__file__).resolve().parents[1] / "book" / folder) for folder in ("", "_ext")]


@pytest.fixture(autouse=True)
def no_figure_outlives_its_test():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def untyped():
    """The library as users run it: the tests' type checker would refuse before its own sentences."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
