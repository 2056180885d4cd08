"""What a chapter's reader touches: the run's device and budget, checks, controls, diagnosis, shown source."""

import ast
import base64
import inspect
import math
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partialmethod
from importlib import import_module
from operator import attrgetter
from typing import Any

import numpy as np
import torch
import tqdm.auto
import tqdm.std
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor

from dgmlib import bugs, plots
from dgmlib.checking import Check as Check
from dgmlib.checking import CheckFailed as CheckFailed
from dgmlib.checking import Record as Record
from dgmlib.checking import check as check
from dgmlib.checking import in_kernel, say
from dgmlib.core import checked, need_count, need_option
from dgmlib.interactive import explore as explore
from dgmlib.interactive import is_static
from dgmlib.interactive import predict as predict

# --- the run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Where and how generously a chapter runs.

    Attributes:
        device: CUDA at the `gpu` budget when there is one, else the CPU.
        budget: "smoke" (what tests run), "cpu" (what the book shows) or "gpu".
        seed: every generator of the chapter derives from it.

    >>> run = Run(torch.device("cpu"), budget="smoke", seed=0)
    >>> run.pick(smoke=2, cpu=100, gpu=10_000)
    2
    >>> draws = [torch.rand(3, generator=run.generator(stream)) for stream in (1, 1, 2)]
    >>> torch.equal(draws[0], draws[1]), torch.equal(draws[0], draws[2])
    (True, False)
    """

    device: torch.device
    budget: str
    seed: int

    @checked
    def generator(self, stream: int = 0, device: torch.device | str | None = None) -> torch.Generator:
        """A generator on `device` (the run's own by default), seeded by the run's seed and `stream`.

        Streams are independent. On one device type the same stream gives the same numbers at every budget.
        """
        words = np.random.SeedSequence((self.seed, need_count("stream", stream, 0))).generate_state(1, np.uint64)
        return torch.Generator(device or self.device).manual_seed(int(words[0]) >> 1)

    def pick(self, *, smoke: Any, cpu: Any, gpu: Any) -> Any:
        """The value meant for this run's budget."""
        return {"smoke": smoke, "cpu": cpu, "gpu": gpu}[self.budget]


def setup() -> Run:
    """Read DGM_BUDGET and DGM_SEED, find the device, seed torch's global generator, set the figures' style.

    Inside a notebook figures are stored as palette PNGs, three to four times smaller; with DGM_STATIC=1, while outputs
    are made for the book, progress bars are silent. Prints nothing: what it finds differs from machine to machine.

    Raises: ValueError when a variable has a value it cannot have.

    >>> setup().budget in ("smoke", "cpu", "gpu")
    True
    """
    budget = need_option("DGM_BUDGET", os.environ.get("DGM_BUDGET", "cpu"), ("smoke", "cpu", "gpu"))
    seed = os.environ.get("DGM_SEED", "0")
    if not seed.isdecimal() or int(seed) >= 2**62:  # generators add to it, and take no more than 64 bits
        raise ValueError(f"DGM_SEED is {seed!r}, expected a non-negative int below 2^62")
    torch.manual_seed(int(seed))
    plots.style()
    if in_kernel():
        shell = get_ipython()
        shell.run_line_magic("matplotlib", "inline")  # registers its own formatter, which the next line replaces
        shell.display_formatter.formatters["image/png"].for_type(Figure, _stored)
    if is_static():
        for bar in (tqdm.std.tqdm, tqdm.auto.tqdm):
            bar.__init__ = partialmethod(bar.__init__, disable=True)
    device = "cuda" if budget == "gpu" and torch.cuda.is_available() else "cpu"
    return Run(torch.device(device), budget, int(seed))


def _stored(figure: Figure) -> str:
    return base64.b64encode(plots.palette_png(figure, "tight")).decode("ascii")


# --- which mistake is mine? -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found: `verdict` is "right", "known bug" (then `bug` is it), "unknown" or "error".

    >>> Diagnosis("unknown").bug is None
    True
    """

    verdict: str
    bug: bugs.Bug | None = None


@checked
def diagnose(subject: str, function: Callable[..., Any], tell: str = "all") -> Diagnosis:
    """Say whether `function` computes what the library's function for `subject` does, or which known mistake it equals.

    It is called on the subject's probes, and on nothing else. Of a known mistake `tell` says one thing at a time, for
    those who want to find the rest themselves: "symptom" (what one notices), "place" (where to look) or "cure"; "all"
    names it, tells its story and the cure.

    Raises: ValueError (no such subject, listing those there are; another `tell`), TypeError (not a function).

    >>> from dgmlib.divergences import kl_gaussian
    >>> diagnose("gaussian-kl", kl_gaussian).verdict
    gaussian-kl: your function is right.
    'right'
    >>> diagnose("gaussian-kl", lambda *args: 3 * kl_gaussian(*args)).verdict
    gaussian-kl: your function is 3 × the right value.
    'unknown'
    """
    need_option("tell", tell, ("all", "symptom", "place", "cure"))
    known = bugs.need_subject(subject)
    try:
        mine = outcome(function, known.probes)
    except Exception as error:
        return _tell(subject, "error", f"raises {type(error).__name__}: {error}")
    right = outcome(known.right, known.probes)
    if alike(mine, right):
        return _tell(subject, "right", "is right")
    for bug in known.bugs:
        if alike(mine, outcome(bug.wrong, known.probes)):
            if tell == "all":
                said = f"equals the known mistake {bug.id}: {bug.story.rstrip('.')}. Cure: {bug.cure.rstrip('.')}"
            else:
                said = f"equals a known mistake. {tell.capitalize()}: {getattr(bug, tell)}"
            return _tell(subject, "known bug", said, bug)
    return _tell(subject, "unknown", _pattern(mine, right))


def outcome(function: Callable[..., Any], probes: Sequence[tuple[Any, ...]]) -> list[Tensor]:
    """Every tensor or number that `function` returns on `probes`. Raises TypeError when it returns anything else.

    >>> outcome(lambda x: 2 * x, [(torch.ones(2),), (3.0,)])
    [tensor([2., 2.]), tensor(6., dtype=torch.float64)]
    """
    results: list[Tensor] = []
    for probe in probes:
        results += _leaves(function(*map(_fresh, probe)))
    return results


def alike(a: Sequence[Tensor], b: Sequence[Tensor], loosened: float = 1.0) -> bool:
    """Are two outcomes the same numbers in the same shapes, to the precision of the coarser dtype?

    |a - b| <= tolerance (1 + |b|), with a tolerance of 1e-8 in double precision and 1e-4 below, times `loosened`.

    >>> x = torch.ones(2)
    >>> alike([x], [x + 1e-6]), alike([x], [x + 1e-2]), alike([x], [x, x])
    (True, False, False)
    """
    if [x.shape for x in a] != [y.shape for y in b]:
        return False
    for x, y in zip(a, b, strict=True):
        tolerance = (1e-8 if x.dtype == y.dtype == torch.float64 else 1e-4) * loosened
        if not torch.isclose(x.double(), y.double(), rtol=tolerance, atol=tolerance, equal_nan=True).all():
            return False
    return True


def _tell(subject: str, verdict: str, sentence: str, bug: bugs.Bug | None = None) -> Diagnosis:
    say(f"{subject}: your function {sentence.rstrip('.')}{'' if sentence.endswith('?') else '.'}")
    return Diagnosis(verdict, bug)


def _fresh(argument: Any) -> Any:
    """A copy, so that a function that writes into its arguments spoils no later call."""
    if isinstance(argument, Tensor):
        return argument.clone()
    if isinstance(argument, torch.Generator):
        return torch.Generator(argument.device).set_state(argument.get_state())
    return argument


def _leaves(result: Any) -> list[Tensor]:
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in _leaves(part)]
    if isinstance(result, bool | int | float | np.ndarray | np.number):
        return [torch.as_tensor(np.array(result))]
    if not isinstance(result, Tensor):
        raise TypeError(f"the result is a {type(result).__name__}, expected a number or a tensor")
    return [result.detach().cpu()]


def _pattern(mine: list[Tensor], right: list[Tensor]) -> str:
    """What can be said of a result that equals no known mistake."""
    if len(mine) != len(right):
        return f"returns {len(mine)} results on the probes where {len(right)} were expected"
    for x, y in zip(mine, right, strict=True):
        if x.shape != y.shape:
            if x.ndim == 0 and y.ndim == 1:
                return "returns one number where one value per example was expected"
            return f"returns shape {tuple(x.shape)} where {tuple(y.shape)} was expected"
    x, y = (torch.cat([part.double().flatten() for part in parts]) for parts in (mine, right))
    finite = y.isfinite()
    if not torch.equal(x[~finite], y[~finite]):
        return f"is {x[~finite][0]:.4g} where {y[~finite][0]:.4g} was expected"
    x, y = x[finite], y[finite]
    if not x.isfinite().all():
        return f"gives {int((~x.isfinite()).sum())} NaN or infinite values where finite ones were expected"
    ratio, offset = (x / y)[y != 0], x - y
    if ratio.numel() > 1 and ratio.max() - ratio.min() <= 1e-4 * ratio.abs().min() and not x[y == 0].any():
        why = {-1.0: ": the sign is wrong", 1 / math.log(2): ": bits for nats?", math.log(2): ": nats for bits?"}
        hint = next((text for value, text in why.items() if math.isclose(ratio[0], value, rel_tol=1e-4)), "")
        return f"is {ratio[0]:.5g} × the right value{hint}"
    if y.max() > y.min() and offset.max() - offset.min() <= 1e-4 * offset.abs().min():
        return f"is the right value {offset[0]:+.5g}"
    return f"is off by up to {offset.abs().max():.4g}, and equals no known mistake"


# --- shown source ---------------------------------------------------------------------------------------------------


@checked
def show_source(obj: Callable[..., Any]) -> None:
    """Show the real source of a function, method or class, its docstrings cut to their first paragraph.

    The output's metadata name what is shown, so that the book can refresh it without running the chapter.

    Raises: TypeError when `obj` is none of these.

    >>> from functools import partial
    >>> show_source(partial(round, ndigits=4))
    Traceback (most recent call last):
    TypeError: obj is a partial, expected a function, a method or a class
    """
    if not (inspect.isroutine(obj) or inspect.isclass(obj)):
        raise TypeError(f"obj is a {type(obj).__name__}, expected a function, a method or a class")
    source = f"{obj.__module__}:{obj.__qualname__}"
    display({"text/markdown": source_markdown(source)}, raw=True, metadata={"dgmlib": {"source": source}})


@checked
def source_markdown(source: str) -> str:
    """What `show_source` shows of "module:qualname", as Markdown. Raises ValueError, ImportError, AttributeError.

    >>> source_markdown("dgmlib.core:data_parallel").splitlines()[:2]
    ['```python', 'def data_parallel() -> tuple[int, int]:']
    """
    if source.count(":") != 1:
        raise ValueError(f"source is {source!r}, expected 'module:qualname'")
    module, qualname = source.split(":")
    code = textwrap.dedent(inspect.getsource(attrgetter(qualname)(import_module(module))))
    lines = code.splitlines()
    documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, documented) and ast.get_docstring(node)]
    for node in sorted(nodes, key=lambda node: -node.lineno):
        first, last = node.body[0].lineno - 1, node.body[0].end_lineno
        blank = next((i for i in range(first, last) if not lines[i].strip()), None)
        if blank is not None:
            quotes = lines[last - 1].rstrip()[-3:]
            lines[first:last] = [*lines[first : blank - 1], lines[blank - 1] + quotes]
    return "```python\n" + "\n".join(lines) + "\n```"
