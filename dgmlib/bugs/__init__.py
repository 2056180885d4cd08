"""The museum of wrong variants: mistakes that were made in print or in released code, and that run without complaint.

Each module of this package holds the variants of one library module in a tuple `SUBJECTS`, and the `CHAPTER` that
library module belongs to. One table feeds the tests (every variant is rejected), `dgmlib.notebook.diagnose` (which
mistake is mine?) and the book's museum page. Wrong statements that no function computes (an inequality turned round, a
missing condition) stand in a dict `SLIPS`.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cache
from types import ModuleType
from typing import Any

from dgmlib.bugs._errata import ERRATA


@dataclass(frozen=True)
class Bug:
    """A wrong variant.

    Attributes:
        id: erratum id of the notes ("E0-28"), or a slug ("kl-reversed").
        story: two lines at most: what is wrong, and who wrote it so.
        wrong: the variant, called as the right function is.
        name: what it is called in words, as in "rejects: the product runs to T".
        symptom: what one notices in the loss or the samples, or what the exact number gets wrong.
        place: where to look: the term, the factor, the axis, the index.
        cure: what to write instead.
    """

    id: str
    story: str
    wrong: Callable[..., Any]
    _: KW_ONLY
    name: str
    symptom: str
    place: str
    cure: str


@dataclass(frozen=True)
class Slip:
    """A wrong statement.

    Attributes:
        story: what is said or written.
        name: what it is called in words.
        holds: what holds instead.
        misleads: where it is tempting, or goes unseen.
    """

    story: str
    _: KW_ONLY
    name: str
    holds: str
    misleads: str


@dataclass(frozen=True)
class Subject:
    """A library function, arguments that tell its wrong variants apart, and those variants.

    Attributes:
        name: what a reader calls it, as in `diagnose("gaussian-kl", mine)`.
        right: the library's function, or a wrapper that gives it plain arguments or results.
        probes: tuples of positional arguments, float64 where they float.
        bugs: the wrong variants.
        of: the library's function or class where `right` is a wrapper.
    """

    name: str
    right: Callable[..., Any]
    probes: tuple[tuple[Any, ...], ...]
    bugs: tuple[Bug, ...]
    of: Callable[..., Any] | None = None

    @property
    def function(self) -> str:
        """Qualified name of what the library calls this."""
        named = self.of or self.right
        return f"{named.__module__}.{named.__qualname__}"


def _modules() -> list[ModuleType]:
    return [
        importlib.import_module(f"{__name__}.{name}")
        for name in sorted(i.name for i in pkgutil.iter_modules(__path__))
        if not name.startswith("_")
    ]


@cache
def subjects() -> dict[str, Subject]:
    """Every subject of every module of this package, by name. Raises ValueError when two share a name."""
    found: dict[str, Subject] = {}
    for module in _modules():
        for subject in module.SUBJECTS:
            if subject.name in found:
                raise ValueError(f"subject {subject.name!r} stands twice, the second time in {module.__name__}")
            found[subject.name] = subject
    return found


@cache
def slips() -> dict[str, Slip]:
    """The wrong statements of every module of this package, by id. Raises ValueError when an id stands twice."""
    found: dict[str, Slip] = {}
    for module in _modules():
        for name, slip in getattr(module, "SLIPS", {}).items():
            if name in found or any(name == bug.id for subject in subjects().values() for bug in subject.bugs):
                raise ValueError(f"slip {name!r} stands twice, the second time in {module.__name__}")
            found[name] = slip
    return found


@cache
def names() -> dict[str, str]:
    """What each known mistake is called in words, by id: wrong variants, wrong statements, the notes' other errata."""
    variants = {bug.id: bug.name for subject in reversed(subjects().values()) for bug in subject.bugs}
    return ERRATA | variants | {id: slip.name for id, slip in slips().items()}


def by_chapter() -> dict[str, tuple[list[Subject], dict[str, Slip]]]:
    """Number of each chapter that has any, in order: its subjects, and its wrong statements by id."""
    found: dict[str, tuple[list[Subject], dict[str, Slip]]] = {}
    for module in sorted(_modules(), key=lambda module: module.CHAPTER):
        of_chapter, said = found.setdefault(module.CHAPTER, ([], {}))
        of_chapter += module.SUBJECTS
        said |= getattr(module, "SLIPS", {})
    return found


def need_subject(name: str) -> Subject:
    """The subject called `name`. Raises ValueError, listing those there are."""
    if name not in subjects():
        raise ValueError(f"subject is {name!r}, expected one of {', '.join(map(repr, subjects())) or '(none yet)'}")
    return subjects()[name]


def wrong(subject: str, bug_id: str) -> Callable[..., Any]:
    """The wrong variant `bug_id` of `subject`. Raises ValueError when either is unknown."""
    variants = {bug.id: bug.wrong for bug in need_subject(subject).bugs}
    if bug_id not in variants:
        raise ValueError(f"bug_id is {bug_id!r}, expected one of {', '.join(map(repr, variants))}")
    return variants[bug_id]
