"""Every public function of the library shows one example in its docstring, and the examples are true.

They run as after `import math, torch` and `from dgmlib.MODULE import *`.
"""

import doctest
import importlib
import inspect
import math
from pathlib import Path

import matplotlib
import pytest
import torch

LIBRARY = Path(__file__).resolve().parents[1] / "dgmlib"
MODULES = sorted(path.stem for path in LIBRARY.glob("[!_]*.py"))
WITHOUT = {"classifier.main": "a command, which trains for a minute and writes a file"}


def public(module: str) -> dict[str, object]:
    """The functions and classes that a module defines for its users, by name."""
    here = importlib.import_module(f"dgmlib.{module}")
    defined = {name: x for name, x in vars(here).items() if inspect.isfunction(x) or inspect.isclass(x)}
    return {name: x for name, x in defined.items() if name[0] != "_" and x.__module__ == here.__name__}


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_true(module):
    here, said = importlib.import_module(f"dgmlib.{module}"), []
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False)
    visible = {name: x for name, x in vars(here).items() if name[0] != "_"} | {"math": math, "torch": torch}
    with matplotlib.rc_context(), torch.random.fork_rng():
        # One by one: doctest by itself passes over what a decorator of another module returned.
        for name, thing in public(module).items():
            for test in finder.find(thing, f"{module}.{name}", module=False, globs=visible):
                runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_has_an_example(module):
    finder = doctest.DocTestFinder(exclude_empty=True)
    lacking = {
        f"{module}.{name}"
        for name, thing in public(module).items()
        if not any(test.examples for test in finder.find(thing, name, module=False, globs={}))
    }
    assert lacking == {name for name in WITHOUT if name.partition(".")[0] == module}
