"""The museum of wrong variants: mistakes that were made in print or in released code, and that run without complaint.

Each module of this package holds the variants of one library module in a tuple `SUBJECTS`, and the `CHAPTER` that
library module belongs to; what each is called, its story, symptom, place and cure stand beside it in a TOML file. One
table feeds the tests (every variant is rejected), `dgmlib.notebook.diagnose` (which mistake is mine?) and the book's
museum page. Wrong statements that no function computes (an inequality turned round, a missing condition) stand in the
TOML file alone, under `slips`.

A variant is an edit of the library's source where it can be: `edit("p.log()", "q.log()")`.
"""

import ast
import copy
import difflib
import importlib
import inspect
import pkgutil
import sys
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor

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

    def diff(self) -> str:
        """Lines of the library that the mistake takes out (-) and puts in (+); empty where no edit says it."""
        return self.wrong.diff() if isinstance(self.wrong, Edit) else ""


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


def subject(
    name: str,
    right: Callable[..., Any],
    probes: tuple[tuple[Any, ...], ...],
    wrong: Mapping[str, Callable[..., Any]],
    of: Callable[..., Any] | None = None,
) -> Subject:
    """A subject whose variants are given by id, and told of in the TOML files.

    An `edit` is one of `of`, or of `right` where that is the library's own, unless it says of what.
    """
    told = next((table[name] for table in _told().values() if name in table), {})
    if told.keys() != wrong.keys():
        odd = ", ".join(map(repr, sorted(told.keys() ^ wrong.keys())))
        raise ValueError(f"{name} has {odd} in one place only, expected a variant and a TOML table for each id")
    made = {
        id: replace(variant, of=variant.of or of or right, right=right) if isinstance(variant, Edit) else variant
        for id, variant in wrong.items()
    }
    return Subject(name, right, probes, tuple(Bug(id, wrong=made[id], **told[id]) for id in wrong), of)


@cache
def _told() -> dict[str, dict[str, dict[str, Any]]]:
    """By module: by subject: by id: what the TOML file tells; under `slips` by id the wrong statements."""
    tables = {path.name: path for path in files(__name__).iterdir() if path.name.endswith(".toml")}
    return {name.removesuffix(".toml"): tomllib.loads(path.read_text("utf-8")) for name, path in tables.items()}


def f64(*values: Any) -> Tensor:
    """A tensor of these in double precision, as probes are given.

    >>> f64(1, 2)
    tensor([1., 2.], dtype=torch.float64)
    """
    return torch.tensor(values, dtype=torch.float64)


# --- a bug is an edit -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Edit:
    """A wrong variant that is called as `right` is: `right`, with `changes` made in the source of `of`.

    It is compiled at its first call. What `right` calls by name follows the edit, and so does an argument whose class
    is edited.

    Attributes:
        changes: (text to go, text to come), in turn.
        of: the function, method or class of the library that is edited.
        right: the function it is a variant of.
    """

    changes: tuple[tuple[str, str], ...]
    of: Any = None
    right: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the edited function returns."""
        function, old, new = self._compiled
        if isinstance(old, type):
            args = tuple(_swapped(x, old, new) if type(x) is old else x for x in args)
        return function(*args, **kwargs)

    def diff(self) -> str:
        """The lines it takes out (-) and puts in (+), and one line above and below."""
        _, *texts = self._sources
        _, _, *lines = difflib.unified_diff(*(text.splitlines() for text in texts), n=1, lineterm="")
        return "\n".join("  ..." if line.startswith("@@") else line for line in lines[1:])

    @cached_property
    def _compiled(self) -> tuple[Callable[..., Any], Any, Any]:
        """The variant; what is edited, the class of a method; and that after the edit."""
        old, _, source = self._sources
        name = f"{old.__module__}.{old.__name__}"
        namespace = vars(sys.modules[old.__module__]).copy()
        exec(compile(source, f"<{name}, edited>", "exec", dont_inherit=True), namespace)
        new = namespace[old.__name__]
        variant = _swapped(self.right, old, new)
        if variant is self.right and not isinstance(old, type):
            raise ValueError(f"{variant.__module__}.{variant.__qualname__} does not call {name} by its name")
        return variant, old, new

    @cached_property
    def _sources(self) -> tuple[Any, str, str]:
        """What is edited, the class of a method; its source; and that after the edit."""
        of = inspect.unwrap(getattr(self.of, "__func__", getattr(self.of, "fget", self.of)))
        outer, *inner = of.__qualname__.split(".")
        old = getattr(sys.modules[of.__module__], outer)
        source = part = _source(old)
        if inner:
            (method,) = (node for node in ast.parse(source).body[0].body if getattr(node, "name", "") == inner[0])
            part = "\n".join(source.splitlines()[method.lineno - 1 : method.end_lineno])
        edited = part
        for go, come in self.changes:
            if (times := edited.count(go)) != 1:
                raise ValueError(f"{go!r} stands {times} times in {of.__module__}.{of.__qualname__}, expected once")
            edited = edited.replace(go, come)
        return old, source, source.replace(part, edited)


def edit(*texts: str, of: Any = None) -> Edit:
    """The variant that has the second text for the first in the source of `of`, the fourth for the third, and so on.

    Each text to go must stand there once, docstrings not counted, or the variant's first use raises ValueError.

    >>> from dgmlib.divergences import total_variation
    >>> print(edit(" / 2", "", of=total_variation).diff())
         p, q = _pair(p, q)
    -    return (p - q).abs().sum(-1) / 2
    +    return (p - q).abs().sum(-1)
    """
    return Edit(tuple(zip(texts[::2], texts[1::2], strict=True)), of)


@cache
def _source(old: Any) -> str:
    """The source of a function or class, without docstrings."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(old)))
    lines: list[str | None] = [*source.splitlines()]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(body=[first, _, *_]) | ast.ClassDef(body=[first, _, *_]):
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    lines[first.lineno - 1 : first.end_lineno] = [None] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


def _swapped(value: Any, old: Any, new: Any, seen: frozenset[int] = frozenset()) -> Any:
    """`new` if `value` is `old`; a copy where it is an object of the class `old` or reaches it by name; or `value`."""
    if value is old:
        return new
    if isinstance(old, type) and vars(old).get(getattr(value, "__name__", "")) is value:  # a method, of no object
        return getattr(new, value.__name__)
    if type(value) is old:
        value = copy.copy(value)
        object.__setattr__(value, "__class__", new)
    elif isinstance(value, MethodType):
        owner = _swapped(value.__self__, old, new)
        return value if owner is value.__self__ else getattr(owner, value.__name__)
    elif isinstance(value, FunctionType) and value.__module__.startswith("dgmlib.") and id(value) not in seen:
        function = inspect.unwrap(value)
        found = {name: function.__globals__[name] for name in _names(function.__code__) & function.__globals__.keys()}
        swapped = {name: _swapped(each, old, new, seen | {id(value)}) for name, each in found.items()}
        if any(swapped[name] is not found[name] for name in found):
            space, name, given = function.__globals__ | swapped, function.__name__, function.__defaults__
            value = FunctionType(function.__code__, space, name, given, function.__closure__)
            value.__kwdefaults__ = function.__kwdefaults__
    return value


def _names(code: CodeType) -> set[str]:
    """The names that a function's code looks up, with those of the functions within it."""
    return {*code.co_names}.union(*(_names(part) for part in code.co_consts if isinstance(part, CodeType)))


# --- the whole museum -----------------------------------------------------------------------------------------------


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


def _slips(module: ModuleType) -> dict[str, Slip]:
    told = _told().get(module.__name__.rpartition(".")[2], {})
    return {id: Slip(**fields) for id, fields in told.get("slips", {}).items()}


@cache
def slips() -> dict[str, Slip]:
    """The wrong statements of every module of this package, by id. Raises ValueError when an id stands twice."""
    found: dict[str, Slip] = {}
    for module in _modules():
        for name, slip in _slips(module).items():
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
        said |= _slips(module)
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
