"""Unit tests check dgmlib's shape annotations at run time: the hook has to stand before dgmlib is first imported."""

import functools
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


@pytest.fixture(scope="session")
def made_in_place(tmp_path_factory):
    """A folder for image sets that are not at hand, and what writes one there, once."""
    import standins

    folder = tmp_path_factory.mktemp("standins")
    return folder, functools.cache(functools.partial(standins.write, folder))


@pytest.fixture
def at_hand(made_in_place, monkeypatch):
    """`at_hand("mnist")` sees to it that `load` finds the set: are its files the published ones, or made in place?"""
    from dgmlib import data

    def see_to(*names: str) -> bool:
        if all(map(data.cached, names)):
            return True
        folder, write = made_in_place
        monkeypatch.setenv("DGMLIB_DATA", str(folder))
        for name in names:
            for key, digest in write(name).items():
                monkeypatch.setitem(data.SHA256, key, digest)
        return False

    return see_to
