"""Run chapters in this process, and change one library function at a time while their checks run again."""

import contextlib
import copy
import inspect
import itertools
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import torch
import tqdm.auto
import tqdm.std
from course import Chapter, Course, without_magics

from dgmlib import bugs, checking, interactive, notebook

ROOT = Path(__file__).resolve().parents[1]

# --- a chapter, run -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Cell:
    """A code cell that was run: what it held, and the state it started from."""

    number: int
    code: str
    namespace: dict[str, Any]
    generators: dict[torch.Generator, torch.Tensor]
    dtype: torch.dtype
    failed: Counter[str]  # labels of the checks it made, and how often each failed
    made: tuple[checking.Record, ...] = ()  # those checks, the last time it ran

    @classmethod
    def starting(cls, number: int, code: str, namespace: dict[str, Any]) -> "Cell":
        found = [value for value in namespace.values() if isinstance(value, torch.Generator)]
        states = {generator: generator.get_state() for generator in (*found, torch.default_generator)}
        return cls(number, code, dict(namespace), states, torch.get_default_dtype(), Counter())

    def run(self, namespace: dict[str, Any], name: str) -> Counter[str]:
        """Run the code, and return the label of each check it made with the number of its failures."""
        start = len(checking.check.log)
        try:
            exec(compile(self.code, f"{name}[{self.number}]", "exec"), namespace)
        finally:
            plt.close("all")
            self.made = tuple(checking.check.log[start:])
            failed = Counter({record.label: 0 for record in self.made})
            failed.update(record.label for record in self.made if not record.passed)
            self.last = failed
        return failed


class Execution:
    """A chapter run once from top to bottom. Raises whatever a cell raises."""

    def __init__(self, chapter: Chapter):
        self.name = chapter.slug
        self.cells: list[Cell] = []
        self.unreal: list[str] = []  # wrong forms that are NaN or infinite everywhere
        self.namespace: dict[str, Any] = {"__name__": "__main__", "display": print}
        with in_chapter():
            for number, code in chapter.code:
                cell = Cell.starting(number, without_magics(code), self.namespace)
                with mock.patch.object(checking, "_need_wrong", self._watched(number)):
                    cell.failed = cell.run(self.namespace, self.name)
                self.cells.append(cell)

    def _watched(self, number: int) -> Callable[[Any], list[tuple[str, Any]]]:
        """`_need_wrong`, noting the forms that hold no number: such a form is rejected by any check."""
        need = checking._need_wrong

        def watched(wrong: Any) -> list[tuple[str, Any]]:
            for key, form in need(wrong):
                sides = form if isinstance(form, tuple) else (form,)
                if not all(torch.as_tensor(side).isfinite().any() for side in sides):
                    self.unreal.append(f"[{number}] {key}")
            return need(wrong)

        return watched

    def guards(self, label: str) -> list[Cell]:
        """The cells that check the equation `label`."""
        return [cell for cell in self.cells if label in cell.failed]

    def turns_red(self, label: str) -> bool:
        """Does a check of `label` fail now that did not before, in its own cell or, if not, in the whole chapter?"""
        return any(self._again(label, [cell]) for cell in self.guards(label)) or self._again(label, self.cells)

    def _again(self, label: str, cells: list[Cell]) -> bool:
        self._rerun(cells)
        return sum(cell.last[label] - cell.failed[label] for cell in cells) > 0

    def _rerun(self, cells: list[Cell]) -> None:
        # In the dictionary they were first run in, which the functions that cells define look names up in.
        self.namespace.clear()
        self.namespace.update(cells[0].namespace)
        for generator, state in cells[0].generators.items():
            generator.set_state(state)
        with in_chapter(), lenient():
            torch.set_default_dtype(cells[0].dtype)
            for cell in cells:
                with contextlib.suppress(Exception):  # what the change breaks besides the checks
                    cell.run(self.namespace, self.name)

    def rejected_though_right(self) -> list[str]:
        """The museum's wrong forms that a check rejects even when the right function stands in the wrong one's place.

        Such a control proves nothing: it does not call the bug whose name it bears, or the inputs alone make it fail.
        """
        right = {id(bug.wrong): subject.right for subject in bugs.subjects().values() for bug in subject.bugs}
        museum = {bug.id for subject in bugs.subjects().values() for bug in subject.bugs}
        named = {cell: {(r.name, id) for r in cell.made for id in r.rejects if id in museum} for cell in self.cells}
        with changed(find("dgmlib.bugs.wrong"), lambda variant: right[id(variant)]):
            for alone in (True, False):  # a wrong form may be made in an earlier cell than its check
                for cells in [[cell] for cell in named if named[cell]] if alone else [self.cells]:
                    self._rerun(cells)
                    for cell in cells:
                        passed = {(r.name, id) for r in cell.made for id in museum - {*r.rejects}}
                        named[cell] -= passed
                if not any(named.values()):
                    break
        return [f"[{cell.number}] {name}: {id}" for cell, names in named.items() for name, id in sorted(names)]


@contextlib.contextmanager
def in_chapter() -> Iterator[None]:
    """What a chapter's cells find around them, without figures on a page."""
    nothing, dtype = mock.MagicMock(name="shown"), torch.get_default_dtype()
    with (
        mock.patch.object(notebook, "display", nothing),
        mock.patch.object(interactive, "display", nothing),
        mock.patch.object(notebook, "explore", nothing),
        mock.patch.object(plt, "show", nothing),
        plt.rc_context(),
        mock.patch.object(tqdm.std.tqdm, "__init__", tqdm.std.tqdm.__init__),  # which `setup` silences
        mock.patch.object(tqdm.auto.tqdm, "__init__", tqdm.auto.tqdm.__init__),
        contextlib.chdir(ROOT / "chapters"),
        mock.patch.dict("os.environ", DGM_BUDGET="smoke", DGM_STATIC="1"),
    ):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Let a failing check be logged, and the cell go on."""
    settle = checking.Check._settle

    def log_only(*args: Any) -> None:
        with contextlib.suppress(checking.CheckFailed):
            settle(*args)

    with mock.patch.object(checking.Check, "_settle", log_only):
        yield


# --- a function, changed --------------------------------------------------------------------------------------------


def find(name: str) -> FunctionType:
    """The function behind "dgmlib.module.function" or "dgmlib.module.Class.method", without its wrappers."""
    found = pkgutil.resolve_name(name)
    found = getattr(found, "fget", None) or getattr(found, "func", None) or found
    function = inspect.unwrap(getattr(found, "__func__", found))
    if not isinstance(function, FunctionType):
        raise TypeError(
            f"{name} is a {type(found).__name__}, expected the function or method that implements its equation"
        )
    return function


@dataclass
class Change:
    """Multiplies the `part`-th floating part of each result by 1.01; when none floats, adds 1 to or negates one."""

    part: int
    parts: int = 0  # in the results seen
    called: bool = False
    felt: bool = False  # was what it changed ever other than 0, up to rounding?

    def __call__(self, result: Any) -> Any:
        self.called = True
        for floating in (True, False):
            counter = itertools.count()
            changed = self._changed(result, floating, lambda counter=counter: next(counter) == self.part)
            if parts := next(counter):
                self.parts = max(self.parts, parts)
                return changed
        return result

    def _changed(self, value: Any, floating: bool, chosen: Callable[[], bool]) -> Any:
        """`value` with those of its parts changed for which `chosen()`, asked in order, is true.

        A tuple has parts; a list of numbers is an array.
        """
        if isinstance(value, torch.Tensor | np.ndarray | np.generic | bool | int | float):
            numbers = torch.as_tensor(value)
            if numbers.is_floating_point() != floating or not chosen():
                return value
            try:
                self.felt |= not floating or bool((numbers.isfinite() & (numbers.abs() > 1e-9)).any())
            except RuntimeError:  # inside torch.func values cannot be read
                self.felt = True
            if numbers.dtype == torch.bool:  # a number would be refused by the type checker, which samples a list
                return not value if isinstance(value, bool) else ~value
            return value * 1.01 if floating else value + 1
        if isinstance(value, list) and value and all(isinstance(number, int | float) for number in value):
            return self._changed(
                torch.tensor(value, dtype=None if isinstance(value[0], int) else torch.float64), floating, chosen
            ).tolist()
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self._changed(part, floating, chosen) for part in value))
        if isinstance(value, tuple | list):
            return type(value)(self._changed(part, floating, chosen) for part in value)
        if isinstance(value, dict):
            return {key: self._changed(part, floating, chosen) for key, part in value.items()}
        if isinstance(value, FunctionType):
            return (lambda *a, **k: self._changed(value(*a, **k), floating, lambda: True)) if chosen() else value
        if hasattr(value, "__dict__") and floating and chosen():  # an object is one part: all it holds
            value = copy.copy(value)
            vars(value).update({key: self._changed(held, True, lambda: True) for key, held in vars(value).items()})
        return value


@contextlib.contextmanager
def changed(function: FunctionType, change: Callable[[Any], Any]) -> Iterator[None]:
    """Pass the results of `function` through `change`, by whatever name it is called and wherever it was imported.

    Its code is replaced, not its name: tables, partial applications and earlier cells hold the function itself.
    """
    code, key = function.__code__, "__changed_by_a_test__"
    original = FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__
    free = ", ".join(code.co_freevars)  # new code must close over the same variables
    made: dict[str, Any] = {}
    exec(f"def outer({free}):\n def inner(*a, **k):\n  {free or 'pass'}\n  return {key}(*a, **k)\n return inner", made)
    function.__globals__[key] = lambda *args, **kwargs: change(original(*args, **kwargs))
    try:
        function.__code__ = made["outer"](*[None] * len(code.co_freevars)).__code__
        yield
    finally:
        function.__code__ = code
        del function.__globals__[key]


# --- the two together -----------------------------------------------------------------------------------------------


class Sensitivity:
    """Which functions of `course` could be 1 % wrong without the named check of their equation noticing?"""

    def __init__(self, course: Course, chapter: Chapter):
        self.course, self.chapter = course, chapter

    @cached_property
    def execution(self) -> Execution:
        return Execution(self.chapter)

    def complaints(self) -> list[str]:
        """One sentence for each function that could."""
        return [
            complaint
            for label in self.labels()
            for name in self.course.implementing(label)
            for complaint in self._of(label, name)
        ]

    def labels(self) -> list[str]:
        """Equations whose check stands on this page: its own, or its companion's; and its own that have none."""
        family = self.course.family(self.chapter.number)
        homes = {label: place.chapter for page in family for label, place in page.equations.items()}
        checks = {label: self.course.runs(self.chapter.number, label) for label in homes}
        return [k for k, home in homes.items() if self.chapter.slug == (checks[k].place.chapter if checks[k] else home)]

    def _of(self, label: str, name: str) -> Iterator[str]:
        if not self.execution.guards(label):
            yield f"{label}: no check of {self.chapter.slug} is named after it, though {name} implements it"
            return
        try:
            function = find(name)
        except TypeError as not_one:
            yield f"{label}: {not_one}"
            return
        part, parts = 0, 1
        while part < parts:
            change = Change(part)
            with changed(function, change):
                red = self.execution.turns_red(label)
            if not change.called:
                yield f"{label}: its checks never call {name}"
            elif not change.parts:
                yield f"{label}: {name} returns nothing that could be 1 % wrong"
            elif not red and (change.felt or change.parts == 1):  # 1 % of a part that is 0 by theory is nothing
                which = f" (part {part + 1} of {change.parts} of its result)" if change.parts > 1 else ""
                yield f"{label}: stays green when {name} is 1 % wrong{which}"
            part, parts = part + 1, change.parts
