"""One argument at a time is replaced by what it should not be: the answer is a sentence about it, and never NaN."""

import importlib
import inspect
import pkgutil
import re
import warnings

import numpy as np
import probes
import pytest
import torch
from torch import Tensor

import dgmlib
from dgmlib.core import _misfit

TABLES = {name: importlib.import_module(f"probes.{name}") for _, name, _ in pkgutil.iter_modules(probes.__path__)}
ROWS = {f"{module}.{name}": row for module, table in TABLES.items() for name, row in table.CALLS.items()}

KINDS = {  # what is no argument at all, unless the annotation says so
    "None": None,
    "text": "text",
    "flag": True,
    "list": [1.0, 2.0],
    "array": np.ones((3, 2)),
    "complex number": 1j,
}
TENSORS = {  # what becomes of a tensor
    "half": lambda x: x.half() if x.is_floating_point() else x.float(),
    "whole": lambda x: (x * 3).long() if x.is_floating_point() else x.double(),
    "complex": lambda x: x.to(torch.complex64),
    "scalar": lambda x: x.flatten()[0],
    "empty": lambda x: x[:0] if x.ndim else x.new_empty(0),
    "one axis more": lambda x: x[None],
    "one axis fewer": lambda x: x[0] if x.ndim else x[None],
    "one column more": lambda x: torch.cat([x, x[..., -1:]], -1) if x.ndim else x.expand(2),
    "one row more": lambda x: torch.cat([x, x[-1:]]) if x.ndim else x.expand(2),
    "NaN": lambda x: _with(x, torch.nan),
    "infinite": lambda x: _with(x, torch.inf),
    "negative": lambda x: -x.abs() - 1 if x.is_floating_point() else x,
}
NUMBERS = {
    "NaN": float("nan"),
    "infinite": float("inf"),
    "minus infinity": float("-inf"),
    "negative": -1.5,
    "zero": 0.0,
}
COUNTS = {"fraction": 2.5, "zero": 0, "negative": -3, "NaN": torch.nan}
NEVER = ("NaN", "infinite", "minus infinity")  # answered only where the row says so


def _with(x: Tensor, value: float) -> Tensor | None:
    if not x.is_floating_point():
        return None
    flat = x.flatten().clone()
    flat[0] = value
    return flat.view(x.shape)


def replacements(value):
    """What may stand in the place of a valid argument, by name."""
    if isinstance(value, Tensor):
        mine = {name: change(value) for name, change in TENSORS.items()}
    elif isinstance(value, bool | str) or value is None or callable(value):
        mine = {"number": 1.5, "tensor": torch.ones(2)}
    elif isinstance(value, int):
        mine = COUNTS
    elif isinstance(value, float):
        mine = NUMBERS
    elif isinstance(value, list | tuple):
        mine = {"empty": type(value)(), "one entry wrong": type(value)((*value[:-1], None)), "number": 1.5}
    else:
        mine = {"number": 1.5, "tensor": torch.ones(2)}
    return {**KINDS, **{name: bad for name, bad in mine.items() if bad is not None}}


def leaves(result):
    if isinstance(result, Tensor):
        return [result] if result.is_floating_point() else []
    if isinstance(result, float):
        return [torch.tensor(result)]
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves(part)]
    return []


def complaint(call, arguments, argument, probe, bad, through):
    """What is wrong with the answer to a bad argument, or None."""
    hints = inspect.get_annotations(inspect.unwrap(call.__init__ if inspect.isclass(call) else call))
    names = {*arguments, *hints} - {"return"}
    if probe in through.get(argument, ()):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            results = leaves(call(**{**arguments, argument: bad}))
    except (TypeError, ValueError) as error:
        said = str(error)
        if "expected" not in said or not any(re.search(rf"\b{name}\b", said) for name in names) or "\n" in said:
            return f"says {type(error).__name__}: {said[:150]}"
        return None
    except Exception as error:
        return f"dies of {type(error).__name__}: {str(error)[:150]}"
    if probe in KINDS and _misfit(argument, bad, hints.get(argument, object), {}) is not None:
        return f"answers {results}"
    if probe in NEVER or any(leaf.isnan().any() for leaf in results):
        return f"answers {results} without a word"
    return None


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_wrong_argument_is_refused_in_a_sentence(untyped, row):
    call, arguments, *rest = row
    through = rest[0] if rest else {}
    call(**arguments)  # the example is valid
    complaints = [
        f"{argument} = {probe}: {trouble}"
        for argument, value in arguments.items()
        for probe, bad in replacements(value).items()
        if (trouble := complaint(call, arguments, argument, probe, bad, through))
    ]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("module", TABLES)
def test_every_public_callable_has_a_row(module):
    library = importlib.import_module(f"{dgmlib.__name__}.{module}")
    there = set()
    for name, thing in vars(library).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != library.__name__:
            continue
        if inspect.isclass(thing) and not inspect.isabstract(thing) and not issubclass(thing, tuple | Exception):
            there.add(name)
            there |= {
                f"{name}.{method}" for method, f in vars(thing).items() if not method.startswith("_") and takes(f)
            }
        elif inspect.isfunction(thing) and takes(thing):
            there.add(name)
    rows, excused = set(TABLES[module].CALLS), set(getattr(TABLES[module], "UNPROBED", {}))
    assert there - rows - excused == set()
    assert rows - there == set() == excused - there


def takes(function):
    """Whether it is a function with an argument besides `self`."""
    return inspect.isfunction(function) and bool(set(inspect.signature(function).parameters) - {"self"})
