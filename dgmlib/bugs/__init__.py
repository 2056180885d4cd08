"""The museum of wrong variants: mistakes that were made in print or in released code, and that run without complaint.

Each module of this package holds the variants of one library module in a tuple `SUBJECTS`. One table feeds the tests
(every variant is rejected), `dgmlib.notebook.diagnose` (which mistake is mine?) and the book's museum page. Wrong
statements that no function computes (an inequality turned round, a missing condition) stand in a dict `SLIPS`.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Bug:
    """A wrong variant.

    Attributes:
        id: erratum id of the notes ("E0-28"), or a slug ("kl-reversed").
        story: two lines at most: what is wrong, and who wrote it so.
        wrong: the variant, called as the right function is.
        symptom: what one would notice.
        cure: what to write instead.
    """

    id: str
    story: str
    wrong: Callable[..., Any]
    symptom: str = ""
    cure: str = ""


@dataclass(frozen=True)
class Subject:
    """A library function, arguments that tell its wrong variants apart, and those variants.

    Attributes:
        name: what a reader calls it, as in `diagnose("gaussian-kl", mine)`.
        right: the library's function.
        probes: tuples of positional arguments, float64 where they float.
        bugs: the wrong variants.
    """

    name: str
    right: Callable[..., Any]
    probes: tuple[tuple[Any, ...], ...]
    bugs: tuple[Bug, ...]


@cache
def subjects() -> dict[str, Subject]:
    """Every subject of every module of this package, by name. Raises ValueError when two share a name."""
    found: dict[str, Subject] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for subject in importlib.import_module(f"{__name__}.{module}").SUBJECTS:
            if subject.name in found:
                raise ValueError(f"subject {subject.name!r} stands twice, the second time in {__name__}.{module}")
            found[subject.name] = subject
    return found


@cache
def slips() -> dict[str, str]:
    """The wrong statements of every module of this package: id to story. Raises ValueError when an id stands twice."""
    found: dict[str, str] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for name, story in getattr(importlib.import_module(f"{__name__}.{module}"), "SLIPS", {}).items():
            if name in found or any(name == bug.id for subject in subjects().values() for bug in subject.bugs):
                raise ValueError(f"slip {name!r} stands twice, the second time in {__name__}.{module}")
            found[name] = story
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
