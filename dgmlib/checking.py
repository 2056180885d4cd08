"""Checks with teeth: an equation holds, its known wrong forms do not, and one line says so to a reader."""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display
from torch import Tensor

from dgmlib import bugs
from dgmlib.core import checked


def in_kernel() -> bool:
    """Is there a notebook's page to show something on?

    >>> in_kernel()
    False
    """
    return hasattr(get_ipython(), "kernel")


def say(line: str) -> None:
    """Print, on a console of any encoding.

    >>> say("✓ as you see")
    ✓ as you see
    """
    try:
        print(line)
    except UnicodeEncodeError:
        print(line.translate(_PLAIN).encode("ascii", "backslashreplace").decode())


_PLAIN = str.maketrans({"✓": "ok", "≈": "~", "≤": "<=", "×": "x", "…": "..."})


class CheckFailed(AssertionError):
    """An equation, its implementation, or the negative control of its check is wrong.

    >>> Check().equal("eq-half", 0.5, 1.0)
    Traceback (most recent call last):
    dgmlib.checking.CheckFailed: ✗ eq-half: lhs 0.5000 ≠ rhs 1.000, off by up to 0.5000
    """


class Record(NamedTuple):
    """What one check found: its name, whether it passed, and the ids of the wrong forms it rejects.

    >>> record = Record("eq-kl Gaussian, against quadrature", True, ())
    >>> record.label, record.words
    ('eq-kl', 'Gaussian, against quadrature')
    """

    name: str
    passed: bool
    rejects: tuple[str, ...]

    @property
    def label(self) -> str:
        """The equation that the check guards."""
        return self.name.split()[0].rstrip(",:")

    @property
    def words(self) -> str:
        """What is said of it: the name without the label."""
        return " ".join(self.name.split()[1:])


class Check:
    """Checks that an equation holds and that the wrong forms of it do not, under one tolerance.

    A name begins with the label of the equation it guards: "eq-kl", or "eq-kl Gaussian, against quadrature". A side is
    a number, a tensor or an array; shapes must agree exactly, and NaN fails. `wrong` maps the id of an erratum or of a
    known bug to the value that the wrong form gives; the check fails when one of them would have passed.

    A check that holds says so in one line for readers: the name's other words, the values, the wrong forms by what the
    museum calls them. In a notebook the label and the ids stand in the output's metadata, and the book makes links of
    them. The line is compared when the book is tested: float64 values with 4 digits, fewer where the tolerance resolves
    fewer, and 0 for what is rounding (so compute them from fixed numbers, not from draws of `run.generator`, which move
    with the seed); lower precisions without.

    Attributes:
        log: a `Record` of every check made.

    >>> check = Check()
    >>> check.equal("eq-half of one", 0.5, 1 / 2, wrong={"upside-down": 2 / 1})
    ✓ of one: 0.5000 = 0.5000; rejects upside down (2.000)
    >>> check.chain("eq-sum", [1 + 2 + 3, 3 * 4 / 2, 6])
    ✓ 6.000 = 6.000 = 6.000
    >>> check.at_most("eq-bound", 0.5, 1.0)
    ✓ 0.5000 ≤ 1.000
    >>> check.estimate("eq-mean", torch.arange(100.0), 49.5)
    ✓ 49.50, and the mean of 100 samples agrees within 5 standard errors
    >>> check.log[0].label, check.log[0].rejects
    ('eq-half', ('upside-down',))
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
            told = (
                f"broken in {fails.sum()} of {fails.size} cases"
                if fails.shape
                else f"{bad_low.text()} > {bad_high.text()}"
            )
            rejects[key] = (fails & telling).any(), told * _exact(low, high, bad_low, bad_high)
        shown = scalar and _exact(low, high)
        told = f"{low.text()} ≤ {high.text()}" if shown else f"holds{_cases(holds.size)}"
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
        told = f"{target.text()}, and the mean of {n} samples agrees within 5 standard errors"
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
        told = f"{on_all} are {texts[0]}" if alike and sides[0].shape else (" = " if alike else " ≈ ").join(texts)
        told = told + sides[0].more() if _exact(*sides) else f"{on_all} agree"
        return self._settle(name, True, told, "", rejects)

    def _settle(self, name: str, holds: Any, told: str, broken: str, rejects: Mapping[str, tuple[Any, str]]) -> None:
        """Log the outcome; then print it, or raise it."""
        if not name.strip():
            raise ValueError(f"name is {name!r}, expected the label of an equation, then what you like")
        text_of = {key: f" ({text})" if text else "" for key, (_, text) in rejects.items()}
        passing = [key + text_of[key] for key, (rejected, _) in rejects.items() if not rejected]
        record = Record(name, bool(holds) and not passing, tuple(key for key in rejects if rejects[key][0]))
        self.log.append(record)
        if not holds:
            raise CheckFailed(f"✗ {name}: {broken}")
        if passing:
            raise CheckFailed(f"✗ {name}: the wrong form {' and '.join(passing)} would have passed")
        said = "; ".join(in_words(key) + text for key, text in text_of.items())
        line = "✓ " + f"{record.words}: " * bool(record.words) + told + f"; rejects {said}" * bool(said)
        if in_kernel():
            metadata = {"dgmlib": {"check": record.label, "rejects": list(record.rejects)}}
            display({"text/plain": line}, raw=True, metadata=metadata)
        else:
            say(line)


@checked
def in_words(key: str) -> str:
    """A wrong form by its name in the museum; a name of the check's own as it is.

    >>> in_words("entropy-bits"), in_words("twice-the-half")
    ('bits for nats', 'twice the half')
    """
    return bugs.names().get(key) or key.replace("-", " ")


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
        return f"[{first}{', …' * (self.values.size > 3)}]" + f" {self.shape}" * full

    def more(self) -> str:
        """How many values there are, where not all are shown."""
        return f" ({' × '.join(map(str, self.shape))} values)" if self.values.size > 3 else ""

    def _digits(self, x: Any, full: bool) -> str:
        size = abs(float(x))  # Python's number, since NumPy's 0 · inf warns
        tolerance = self.atol + self.rtol * size  # NaN or infinite where x is
        if size <= (self.atol if full else self.zero):
            return "0"
        resolved = _decade(size) - _decade(tolerance) + 1 if not full and 0 < tolerance < math.inf else 4
        digits = min(4, max(1, resolved))
        # Rounded twice, so that 1.0625 computed as 1.06249999999999 prints alike on every machine.
        return f"{float(f'{x:.9g}'):{'#' * (digits > 1)}.{digits}g}".rstrip(".")


def _cases(n: int) -> str:
    return {1: "", 2: " in both cases"}.get(n, f" in all {n} cases")


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
