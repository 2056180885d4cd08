"""What a chapter's reader touches: the run's device and budget, checks with teeth, diagnosis, sliders, shown source."""

import ast
import base64
import hashlib
import html
import inspect
import io
import itertools
import json
import math
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partialmethod, reduce
from importlib import import_module
from operator import attrgetter
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import tqdm.auto
import tqdm.std
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dgmlib import bugs, plots
from dgmlib.core import checked, need_count, need_option

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
    shell = get_ipython()
    if hasattr(shell, "kernel"):
        shell.run_line_magic("matplotlib", "inline")  # registers its own formatter, which the next line replaces
        shell.display_formatter.formatters["image/png"].for_type(Figure, lambda figure: _base64(_png(figure, "tight")))
    if _static():
        for bar in (tqdm.std.tqdm, tqdm.auto.tqdm):
            bar.__init__ = partialmethod(bar.__init__, disable=True)
    device = "cuda" if budget == "gpu" and torch.cuda.is_available() else "cpu"
    return Run(torch.device(device), budget, int(seed))


def _static() -> bool:
    return os.environ.get("DGM_STATIC", "") not in ("", "0")


def _png(figure: Figure, bbox_inches: str | None = None) -> bytes:
    """The figure as a PNG of at most 128 colours, byte for byte the same on every run."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=figure.dpi, bbox_inches=bbox_inches, facecolor="white")
    image = Image.open(full).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(small, format="PNG", optimize=True)
    return small.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _say(line: str) -> None:
    """Print, on a console of any encoding."""
    try:
        print(line)
    except UnicodeEncodeError:
        print(line.translate(_PLAIN).encode("ascii", "backslashreplace").decode())


_PLAIN = str.maketrans({"✓": "ok", "≈": "~", "≤": "<=", "×": "x", "…": "..."})


# --- checks ---------------------------------------------------------------------------------------------------------


class CheckFailed(AssertionError):
    """An equation, its implementation, or the negative control of its check is wrong.

    >>> Check().equal("eq-half", 0.5, 1.0)
    Traceback (most recent call last):
    dgmlib.notebook.CheckFailed: ✗ eq-half: lhs 0.5000 ≠ rhs 1.000, off by up to 0.5000
    """


class Record(NamedTuple):
    """What one check found: its name, whether it passed, and the ids of the wrong forms it rejects.

    >>> Record("eq-kl Gaussian, against quadrature", True, ()).label
    'eq-kl'
    """

    name: str
    passed: bool
    rejects: tuple[str, ...]

    @property
    def label(self) -> str:
        """The equation that the check guards."""
        return self.name.split()[0].rstrip(",:")


class Check:
    """Checks that an equation holds and that the wrong forms of it do not, under one tolerance.

    A name begins with the label of the equation it guards: "eq-kl", or "eq-kl Gaussian, against quadrature". A side is
    a number, a tensor or an array; shapes must agree exactly, and NaN fails. `wrong` maps the id of an erratum or of a
    known bug to the value that the wrong form gives; the check fails when one of them would have passed.

    A check that holds prints one line, compared when the book is tested: float64 values with 4 digits, fewer where the
    tolerance resolves fewer, and 0 for what is rounding (so compute them from fixed numbers, not from draws of
    `run.generator`, which move with the seed); lower precisions without.

    Attributes:
        log: a `Record` of every check made.

    >>> check = Check()
    >>> check.equal("eq-half", 0.5, 1 / 2, wrong={"upside down": 2 / 1})
    ✓ eq-half: 0.5000 = 0.5000, rejects upside down (2.000)
    >>> check.chain("eq-sum", [1 + 2 + 3, 3 * 4 / 2, 6])
    ✓ eq-sum: 6.000 = 6.000 = 6.000
    >>> check.at_most("eq-bound", 0.5, 1.0)
    ✓ eq-bound: 0.5000 ≤ 1.000
    >>> check.estimate("eq-mean", torch.arange(100.0), 49.5)
    ✓ eq-mean: 49.50 within 5 standard errors of the mean of 100 samples
    >>> check.log[0].rejects
    ('upside down',)
    """

    def __init__(self) -> None:
        self.log: list[Record] = []

    def equal(
        self, name: str, lhs: Any, rhs: Any, atol: float = 1e-9, rtol: float = 0.0, wrong: Mapping[str, Any] = {}
    ) -> None:
        """lhs = rhs, elementwise, within atol + rtol |rhs|.

        Raises: CheckFailed; TypeError or ValueError when the call makes no sense, such as single precision under a
            tolerance it cannot meet.
        """
        self._compare(name, (lhs, rhs), atol, rtol, wrong)

    def chain(self, name: str, lines: Sequence[Any], atol: float = 1e-9, wrong: Mapping[str, Any] = {}) -> None:
        """A derivation: each line equals the one before; a wrong form differs from every line. Raises: as `equal`."""
        if len(lines) < 2:
            raise ValueError(f"lines has {len(lines)} entries, expected at least 2")
        self._compare(name, lines, atol, 0.0, wrong)

    def at_most(
        self, name: str, small: Any, large: Any, slack: float = 0.0, wrong: Mapping[str, tuple[Any, Any]] = {}
    ) -> None:
        """small <= large + slack, elementwise; a Python number bounds a whole array. Wrong pairs break it somewhere.

        Numbers below 1e-7, the distance between equal points by some libraries, are printed as 0.

        Raises: CheckFailed, TypeError, ValueError.
        """
        _need_tolerance("slack", slack)
        low, high = _Side("small", small, slack, zero=_FAINT), _Side("large", large, slack, zero=_FAINT)
        if low.shape != high.shape and not isinstance(small, int | float) and not isinstance(large, int | float):
            return self._settle(name, False, "", low.unlike(high), {})
        holds, scalar = low.values <= high.values + slack, low.shape == high.shape == ()
        rejects = {}
        for key, pair in _need_wrong(wrong):
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise TypeError(f"wrong[{key!r}] is a {type(pair).__name__}, expected a pair (small, large)")
            bad_low, bad_high = (_Side(f"wrong[{key!r}]", side, slack, zero=_FAINT) for side in pair)
            if bad_low.shape != bad_high.shape and () not in (bad_low.shape, bad_high.shape):
                raise ValueError(bad_low.unlike(bad_high))
            fails = ~(bad_low.values <= bad_high.values + slack)
            telling = _finite(bad_low, bad_high) | _finite(low, high).all()
            told = f"{fails.sum()} of {fails.size} cases" if fails.shape else f"{bad_low.text()} > {bad_high.text()}"
            rejects[key] = (fails & telling).any(), told * _exact(low, high, bad_low, bad_high)
        shown = scalar and _exact(low, high)
        told = f"{low.text()} ≤ {high.text()}" if shown else f"holds in {holds.size} case{'s' * (holds.size > 1)}"
        broken = f"{low.text(full=True)} > {high.text(full=True)}"
        broken = broken if scalar else f"broken in {(~holds).sum()} of {holds.size} cases"
        return self._settle(name, holds.all(), told, broken, rejects)

    def estimate(self, name: str, samples: Any, truth: Any, wrong: Mapping[str, Any] = {}) -> None:
        """The mean of independent `samples`, shape `(n,)`, lies within 5 standard errors of the number `truth`.

        A right formula fails with probability 5.7e-7 if the mean is near normal; a hundred exponential draws, 1.5e-4.
        Needs n >= 100. A wrong truth must lie further away.

        Raises: CheckFailed, TypeError, ValueError.
        """
        draws, target = _Side("samples", samples), _Side("truth", truth)
        n = draws.values.size
        if draws.values.ndim != 1 or n < 100:
            raise ValueError(f"samples has shape {draws.shape}, expected (n,) with n of at least 100")
        forms = {key: _Side(f"wrong[{key!r}]", value) for key, value in _need_wrong(wrong)}
        for side in (target, *forms.values()):
            if side.shape != ():
                raise ValueError(f"{side.what} has shape {side.shape}, expected one number")
        mean = draws.values.mean()
        # Beside the samples' spread the mean has a rounding error, all there is when every sample is the same.
        error = draws.values.std(ddof=1) / math.sqrt(n) + 4 * np.finfo(np.float64).eps * abs(mean) + 1e-300
        distance = {side.what: abs(mean - side.values) / error for side in (target, *forms.values())}
        rejects = {key: (not distance[side.what] <= 5, side.text()) for key, side in forms.items()}
        told = f"{target.text()} within 5 standard errors of the mean of {n} samples"
        broken = f"the mean of {n} samples, {mean:.4g}, is {distance['truth']:.3g} standard errors from {target.text()}"
        self._settle(name, distance["truth"] <= 5, told, broken, rejects)

    def _compare(self, name: str, lines: Sequence[Any], atol: float, rtol: float, wrong: Mapping[str, Any]) -> None:
        _need_tolerance("atol", atol)
        _need_tolerance("rtol", rtol)
        names = ("lhs", "rhs") if len(lines) == 2 else [f"line {i}" for i in range(1, len(lines) + 1)]
        sides = [_Side(what, line, atol, rtol) for what, line in zip(names, lines, strict=True)]
        for side in sides:
            if max(atol, rtol) < 8 * side.epsilon:
                least = f"{8 * side.epsilon:.1g}"
                raise TypeError(
                    f"{side.what} is {side.dtype}, expected torch.float64, or atol or rtol of at least {least}"
                )
        for left, right in itertools.pairwise(sides):
            if left.shape != right.shape:
                return self._settle(name, False, "", left.unlike(right), {})
            if not np.isclose(left.values, right.values, rtol, atol).all():
                values = f"{left.what} {left.text(full=True)} ≠ {right.what} {right.text(full=True)}"
                return self._settle(name, False, "", f"{values}, off by up to {left.distance(right, full=True)}", {})
        rejects = {}
        for key, value in _need_wrong(wrong):
            form = _Side(f"wrong[{key!r}]", value, atol, rtol)
            if form.shape != sides[0].shape:
                raise ValueError(form.unlike(sides[0]))
            telling = [_finite(side) | _finite(form) for side in sides]
            differs = [~np.isclose(form.values, side.values, rtol, atol) for side in sides]
            told = f"off by up to {form.distance(sides[-1])}" if form.shape else form.text()
            rejected = all((a & b).any() for a, b in zip(telling, differs, strict=True))
            rejects[key] = rejected, told * _exact(*sides, form)
        texts = [side.text() for side in sides]
        alike = len(set(texts)) == 1
        on_all = "both sides" if len(sides) == 2 else f"all {len(sides)} lines"
        told = f"{texts[0]} on {on_all}" if alike and sides[0].shape else (" = " if alike else " ≈ ").join(texts)
        return self._settle(name, True, told if _exact(*sides) else f"{on_all} agree", "", rejects)

    def _settle(self, name: str, holds: Any, told: str, broken: str, rejects: Mapping[str, tuple[Any, str]]) -> None:
        """Log the outcome; then print it, or raise it."""
        if not name.strip():
            raise ValueError(f"name is {name!r}, expected the label of an equation, then what you like")
        told_of = {key: f"{key} ({text})" if text else key for key, (_, text) in rejects.items()}
        passing = [told_of[key] for key, (rejected, _) in rejects.items() if not rejected]
        self.log.append(Record(name, bool(holds) and not passing, tuple(key for key in rejects if rejects[key][0])))
        if not holds:
            raise CheckFailed(f"✗ {name}: {broken}")
        if passing:
            raise CheckFailed(f"✗ {name}: the wrong form {' and '.join(passing)} would have passed")
        _say(f"✓ {name}: {told}" + (f", rejects {', '.join(told_of.values())}" if told_of else ""))


_FAINT = 1e-7  # a few √eps: what the expanded square |x|² + |y|² - 2 x·y leaves of a distance that is 0


class _Side:
    """One side of a check, as float64. `exact` when it came so: then its digits are worth showing.

    They are shown as far as atol + rtol |x| resolves them; what is at most `atol` or `zero` is shown as 0.
    """

    def __init__(self, what: str, value: Any, atol: float = 0.0, rtol: float = 0.0, zero: float = 0.0) -> None:
        if isinstance(value, bool | int | float | np.ndarray | np.number):
            value = torch.as_tensor(np.array(value))
        if not isinstance(value, Tensor):
            raise TypeError(f"{what} is a {type(value).__name__}, expected a number, a tensor or an array")
        if value.is_complex() or value.numel() == 0:
            raise TypeError(f"{what} has dtype {value.dtype} and shape {tuple(value.shape)}, expected real numbers")
        self.what, self.dtype, self.shape = what, value.dtype, tuple(value.shape)
        self.atol, self.rtol, self.zero = atol, rtol, max(atol, zero)
        self.epsilon = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        self.exact = self.epsilon <= torch.finfo(torch.float64).eps
        self.values: np.ndarray = value.detach().cpu().double().numpy()

    def unlike(self, other: "_Side") -> str:
        return f"{self.what} has shape {self.shape}, expected {other.shape} like {other.what}"

    def distance(self, other: "_Side", full: bool = False) -> str:
        with np.errstate(invalid="ignore"):
            return self._digits(np.abs(self.values - other.values).max(), full)

    def text(self, full: bool = False) -> str:
        """The value, or the first three; `full`, for a check that fails, with 4 digits whatever the tolerance."""
        if not self.shape:
            return self._digits(self.values, full)
        first = ", ".join(self._digits(x, full) for x in self.values.flat[:3])
        return f"[{first}{', …' * (self.values.size > 3)}] {self.shape}"

    def _digits(self, x: Any, full: bool) -> str:
        size = abs(float(x))  # Python's number, since NumPy's 0 · inf warns
        tolerance = self.atol + self.rtol * size  # NaN or infinite where x is
        if size <= (self.atol if full else self.zero):
            return "0"
        resolved = _decade(size) - _decade(tolerance) + 1 if not full and 0 < tolerance < math.inf else 4
        digits = min(4, max(1, resolved))
        # Rounded twice, so that 1.0625 computed as 1.06249999999999 prints alike on every machine.
        return f"{float(f'{x:.9g}'):{'#' * (digits > 1)}.{digits}g}".rstrip(".")


def _decade(x: float) -> int:
    """The power of 10 of the first digit of x > 0."""
    return int(f"{x:.8e}".partition("e")[2])


def _exact(*sides: _Side) -> bool:
    return all(side.exact for side in sides)


def _finite(*sides: _Side) -> Any:
    """Where every side is finite. NaN or infinity tells a wrong form from the truth only where the truth is finite."""
    return reduce(np.logical_and, (np.isfinite(side.values) for side in sides))


def _need_tolerance(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}, expected a finite non-negative number")


def _need_wrong(wrong: Any) -> list[tuple[str, Any]]:
    if not isinstance(wrong, Mapping) or not all(isinstance(key, str) for key in wrong):
        raise TypeError(f"wrong is {wrong!r}, expected a dict from ids to wrong values")
    return list(wrong.items())


check = Check()


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
    _say(f"{subject}: your function {sentence.rstrip('.')}{'' if sentence.endswith('?') else '.'}")
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


# --- sliders --------------------------------------------------------------------------------------------------------

_SLIDER = """<figure data-explore="{id}" style="margin:0;padding:0.5em;background:#fff;color:#222">
<img src="data:image/png;base64,{first}" width="{width}" height="{height}" alt="{alt}"
style="max-width:100%;height:auto">
<div hidden>{controls}</div>
</figure>
<script>
(() => {{
  const {{frames, alts, texts}} = {data};
  for (const root of document.querySelectorAll('[data-explore="{id}"]:not([data-ready])')) {{
    const image = root.querySelector("img"), first = image.src, sliders = [...root.querySelectorAll("input")];
    const show = () => {{
      let frame = 0;
      sliders.forEach((slider, i) => {{
        const text = texts[i][slider.value];
        frame = frame * texts[i].length + Number(slider.value);
        slider.setAttribute("aria-valuetext", text);
        slider.parentElement.nextElementSibling.textContent = text;
      }});
      image.src = frame ? "data:image/png;base64," + frames[frame - 1] : first;
      image.alt = alts[frame];
    }};
    sliders.forEach((slider) => slider.addEventListener("input", show));
    root.dataset.ready = "";
    root.querySelector("div").hidden = false;
    show();
  }}
}})();
</script>"""  # The controls stay hidden where scripts do not run; there the first frame stands alone.
_CONTROL = (
    '<label>{name} <input type="range" min="0" max="{last}" step="1" value="0" aria-valuetext="{text}" '
    'style="width:16em;max-width:70%;vertical-align:middle"></label> <span aria-hidden="true">{text}</span><br>'
)


@checked
def explore(draw: Callable[..., Figure], *, alt: str, **sliders: Iterable[Any]) -> None:
    """Show the figure `draw(**values)` under one slider for each keyword.

    Live it is an `ipywidgets` control. With DGM_STATIC=1, while outputs are made for the book, every frame is drawn
    once and the page needs no kernel and no network: at most 24 frames and 300 KB, all of one size. The smoke budget
    draws only the first and the last stop of each slider.

    Args:
        draw: returns a matplotlib Figure of fixed size for one value of each slider.
        alt: what a frame shows, for those who do not see it, with the values in braces: "… at sigma {sigma}".
        sliders: the values that each slider stops at; the first frame uses the first of each.

    Raises: ValueError (no values, an `alt` that names no slider, frames too many, too heavy or of several sizes),
        TypeError (`draw` returns no figure).

    >>> explore(lambda: None, alt="a line")
    Traceback (most recent call last):
    ValueError: sliders is {}, expected at least one keyword with the values it stops at
    """
    stops = {name: list(values) for name, values in sliders.items()}
    if not stops or not all(stops.values()):
        raise ValueError(f"sliders is {stops}, expected at least one keyword with the values it stops at")
    if os.environ.get("DGM_BUDGET") == "smoke":
        stops = {name: [values[0], values[-1]] if len(values) > 1 else values for name, values in stops.items()}
    settings = [dict(zip(stops, values, strict=True)) for values in itertools.product(*stops.values())]
    try:
        alts = [alt.format(**setting) for setting in settings]
    except (KeyError, IndexError) as missing:
        raise ValueError(f"alt names {missing}, expected only {', '.join(stops)} in braces") from None
    texts = {name: [f"{v:g}" if isinstance(v, float) else str(v) for v in values] for name, values in stops.items()}
    if _static():
        if len(settings) > 24:
            raise ValueError(f"sliders make {len(settings)} frames, expected at most 24")
        page = _page([_png(_figure(draw, setting)) for setting in settings], alts, texts)
        display({"text/html": page, "text/plain": alts[0]}, raw=True)
    else:
        import ipywidgets  # a second of start-up that only a live slider needs

        controls = {
            name: ipywidgets.SelectionSlider(options=list(zip(texts[name], values, strict=True)), description=name)
            for name, values in stops.items()
        }
        ipywidgets.interact(lambda **setting: display(_figure(draw, setting)), **controls)


def _figure(draw: Callable[..., Figure], setting: dict[str, Any]) -> Figure:
    """One frame, closed so that the notebook does not show it a second time."""
    figure = draw(**setting)
    if not isinstance(figure, Figure):
        raise TypeError(f"draw returned a {type(figure).__name__}, expected a matplotlib Figure")
    plt.close(figure)
    return figure


def _page(frames: list[bytes], alts: list[str], texts: dict[str, list[str]]) -> str:
    """The frames under their sliders as one piece of HTML."""
    sizes = {Image.open(io.BytesIO(frame)).size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"draw returned figures of {len(sizes)} sizes, {sorted(sizes)} pixels, expected one size")
    weight = sum(map(len, frames)) / 1000
    if weight > 300:
        raise ValueError(f"the {len(frames)} frames weigh {weight:.0f} KB, expected at most 300 KB: draw less or fewer")
    first, *rest = map(_base64, frames)
    data = json.dumps({"frames": rest, "alts": alts, "texts": list(texts.values())}).replace("<", "\\u003c")
    controls = "".join(
        _CONTROL.format(name=html.escape(name), last=len(values) - 1, text=html.escape(values[0]))
        for name, values in texts.items()
    )
    width, height = sizes.pop()
    return _SLIDER.format(
        # From the content, not at random: running a chapter again leaves its file as it was.
        id=hashlib.sha256((first + controls + data).encode()).hexdigest()[:12],
        first=first,
        width=width,
        height=height,
        alt=html.escape(alts[0]),
        controls=controls,
        data=data,
    )


# --- shown source ---------------------------------------------------------------------------------------------------


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


def source_markdown(source: str) -> str:
    """What `show_source` shows of "module:qualname", as Markdown. Raises ImportError, AttributeError.

    >>> source_markdown("dgmlib.core:data_parallel").splitlines()[:2]
    ['```python', 'def data_parallel() -> tuple[int, int]:']
    """
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
