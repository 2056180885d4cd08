"""The few ideas every module shares: what a density and a transform are, how noise is drawn, how bad input is refused.

A refusal is one sentence that names the argument, what came, and what was expected.
"""

import functools
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, jaxtyped
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.compiler import is_compiling

# --- arguments are what their annotations say -----------------------------------------------------------------------

F = TypeVar("F", bound=Callable[..., Any])
PLAIN = (NoneType, str, bytes, Real, complex, list, tuple, set, dict, np.ndarray, np.generic, Tensor)
SIMPLE: set[type] = set()  # types met of which nothing but the type is read
NUMBERS = {float: Real, int: Integral, bool: (bool, np.bool_)}
WORDS = {NoneType: "None", Tensor: "a torch.Tensor", Callable: "a function"}
WORDS |= {float: "a number", int: "an int", str: "a string", Sequence: "a sequence"}
DTYPES = {"Float": "a floating dtype", "Int": "a signed integer dtype", "Integer": "an integer dtype"}


def checked(function: F) -> F:
    """`function`, with its arguments held to their annotations: what is not as annotated is refused in one sentence.

    A letter of a shape has one size in all arguments, and in a method the size of the attribute of that name, if `self`
    has one: `x: Float[Tensor, "batch d"]` must have `self.d` columns. A tensor has at least one element, but an axis
    called `known`, that of a prompt, may be empty. A `float` may be any real number but NaN, an `int` any integer, a
    bool neither. Where a class is annotated, an object of another may stand in for it, but no plain data.

    Nothing is read of a tensor but its shape and dtype, and what has passed once passes: a call costs microseconds.
    Compiled, or inside a transform of `torch.func`, where shapes are not as written, `function` runs alone. Raises
    TypeError (kind, dtype; also where torch finds two dtypes within), ValueError (shape, NaN).

    >>> @checked
    ... def mean(x: Float[Tensor, "n d"]) -> Tensor:
    ...     return x.mean()
    >>> mean(torch.ones(3))
    Traceback (most recent call last):
    ValueError: x has shape (3,), expected 2 axes: (n, d)
    """
    passed: set[Any] = set()
    simple = SIMPLE  # a local name is found sooner
    letters: tuple[str, ...] = ()
    if next(iter(inspect.signature(function).parameters), "") == "self":
        letters = _letters(hint for name, hint in function.__annotations__.items() if name != "return")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or peek_interpreter_stack() is not None:
            return function(*args, **kwargs)
        key = [(x.shape, x.dtype) if (t := type(x)) is Tensor else t if t in simple else _kind(x) for x in args]
        if kwargs:
            key += [(name, _kind(x)) for name, x in kwargs.items()]
        if letters and args:
            own = getattr(args[0], "__dict__", {})
            key += [size if type(size := own.get(letter)) is int else None for letter in letters]
        if (known := tuple(key)) in passed:
            return function(*args, **kwargs)
        _inspect(function, args, kwargs, dict(zip(letters, key[-len(letters) :], strict=bool(letters))))
        try:
            result = function(*args, **kwargs)
        except RuntimeError as error:  # of float64 in a float32 model, or half precision where torch has none
            if not re.search(r"dtype|scalar type|types other|Half|BFloat16|Low precision", str(error)):
                raise
            bound = inspect.signature(function).bind(*args, **kwargs).arguments
            came = ", ".join(f"{name} has dtype {x.dtype}" for name, x in bound.items() if isinstance(x, Tensor))
            if not came:
                raise
            raise TypeError(f"{came}, expected one that {function.__name__} can compute with ({error})") from error
        if len(passed) == 1000:  # sequences of ever new lengths
            passed.clear()
        passed.add(known)
        return result

    return call  # type: ignore[return-value]


def _kind(x: Any) -> Any:
    """All that `checked` reads of an argument."""
    if isinstance(x, Tensor):
        return x.shape, x.dtype
    if isinstance(x, (float, np.floating)):
        return type(x), x == x
    if isinstance(x, (list, tuple)):
        return type(x), *map(_kind, x)
    if isinstance(x, str):
        return x if len(x) < 9 else str  # the name of a device
    SIMPLE.add(type(x))
    return type(x)


def _letters(hints: Iterable[Any]) -> tuple[str, ...]:
    """The names of single axes in annotations."""
    axes = (getattr(hint, "dim_str", "").split() or _letters(get_args(hint)) for hint in hints)
    return tuple({axis for some in axes for axis in some if axis.isidentifier()})


def _inspect(function: Callable[..., Any], args: tuple, kwargs: dict[str, Any], own: dict[str, int | None]) -> None:
    """Refuse the first argument that is not as annotated, where `own` are the sizes that `self` gives."""
    signature, hints = inspect.signature(function), inspect.get_annotations(function, eval_str=True)
    sizes: dict[str, Any] = {letter: size for letter, size in own.items() if size is not None}
    for name, x in signature.bind(*args, **kwargs).arguments.items():
        hint = hints.get(name, Any)
        several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        if error := _misfit(name, x, tuple[hint, ...] if several else hint, sizes):
            raise error


def _misfit(name: str, x: Any, hint: Any, sizes: dict[str, Any]) -> Exception | None:
    """The refusal of `x` where `hint` is annotated, or None; a hint of no form known here is met by everything."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    is_tensor = hint is Tensor or hasattr(hint, "dim_str")
    plainly = isinstance(x, NoneType | str | Real) and not is_tensor
    wrong = TypeError(f"{name} is {repr(x) if plainly else 'a ' + type(x).__name__}, expected {_wanted(hint)}")
    if kind in (Union, UnionType):
        errors = [_misfit(name, x, option, sizes) for option in inner]
        if torch.device in inner and isinstance(x, str):
            try:
                return None if torch.device(x) else wrong
            except RuntimeError:
                return ValueError(f"{name} is {x!r}, expected a device as torch names it, such as 'cpu'")
        precise = [error for error in errors if type(error) is ValueError or not str(error).startswith(f"{name} is ")]
        return None if None in errors else (*precise, wrong)[0]
    if is_tensor:
        return _misfit_of_tensor(name, x, hint, sizes) if isinstance(x, Tensor) else wrong
    if kind in NUMBERS:
        fits = isinstance(x, NUMBERS[kind]) and isinstance(x, NUMBERS[bool]) == (kind is bool)
        return wrong if not fits else None if x == x else ValueError(f"{name} is nan, expected a number")
    if kind in (list, tuple, Sequence):
        if isinstance(x, str) or not isinstance(x, Sequence):
            return wrong
        wanted = inner if kind is tuple and inner and ... not in inner else (*inner, Any)[:1] * len(x)
        if len(wanted) != len(x):
            return ValueError(f"{name} has {len(x)} entries, expected {len(wanted)}")
        errors = [_misfit(f"{name}[{i}]", part, wanted[i], sizes) for i, part in enumerate(x)]
        return next((error for error in errors if error), None)
    stands_in = not isinstance(x, PLAIN) and kind not in (NoneType, str, torch.Generator, Callable)
    return None if kind is Any or not inspect.isclass(kind) or stands_in or isinstance(x, kind) else wrong


def _misfit_of_tensor(name: str, x: Tensor, hint: Any, sizes: dict[str, Any]) -> Exception | None:
    """What is wrong with the dtype or shape of `x`; None if nothing, and the sizes of its axes are noted."""
    shape, axes = tuple(x.shape), getattr(hint, "dim_str", "...").split()
    if hint is not Tensor and not isinstance(x, hint.dtype[Tensor, "..."]):
        dtype = hint.dtype.__name__
        return TypeError(f"{name} has dtype {x.dtype}, expected {DTYPES.get(dtype, 'torch.' + dtype.lower())}")
    if not x.numel() and [axis for axis, size in zip(axes, shape, strict=False) if size == 0] != ["known"]:
        return ValueError(f"{name} has shape {shape}, expected at least one element")
    star = next((i for i, axis in enumerate(axes) if axis[0] in "*."), len(axes))
    rest = len(shape) - len(axes[star + 1 :])
    came = (*shape[:star], shape[star:rest], *shape[rest:]) if star < len(axes) else shape
    known = {axis: int(axis) for axis in axes if axis.isdigit()} | sizes
    if len(came) != len(axes):  # in letters where no size is given
        wanted, rank = [known.get(axis, axis) for axis in axes], f"{len(axes)} axes: " * (star == len(axes))
    else:  # a letter not met before may have the size that came
        wanted, rank = [known.setdefault(axis, size) for axis, size in zip(axes, came, strict=True)], ""
        with jaxtyped("context"):  # its letters are this argument's alone
            if isinstance(x, hint) and all(map(_agree, axes, came, wanted)):
                sizes |= {axis: size for axis, size in known.items() if axis.strip("*#").isidentifier() and axis != "_"}
                return None
    flat = [str(n) for size in wanted for n in (size if isinstance(size, tuple) else (size,))]
    return ValueError(f"{name} has shape {shape}, expected {rank}({', '.join(flat)}{',' * (len(flat) == 1)})")


def _agree(axis: str, came: Any, known: Any) -> bool:
    """Whether the size of an axis is that known from before; an axis with # may also be broadcast to it."""
    if "#" not in axis:
        return came == known or axis in ("_", "...")
    a, b = (size[::-1] if isinstance(size, tuple) else (size,) for size in (came, known))
    return all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=False))


def _wanted(hint: Any) -> str:
    """What a hint asks for, in words."""
    kind = get_origin(hint) or hint
    if kind in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_wanted, get_args(hint))))
    kind = Tensor if hasattr(hint, "dim_str") else kind
    return WORDS.get(kind) or f"a {getattr(kind, '__name__', kind)}"


# --- interfaces -----------------------------------------------------------------------------------------------------


class Density(ABC):
    """A law whose density (or mass) can be evaluated exactly and sampled.

    >>> from dgmlib.worlds import DiscreteLaw
    >>> law = DiscreteLaw([0.25, 0.75])  # of one bit
    >>> isinstance(law, Density), law.log_prob(law.sample(5)).shape
    (True, torch.Size([5]))
    """

    @abstractmethod
    def log_prob(self, x: Tensor, **condition: Any) -> Float[Tensor, " batch"]:
        """Log density in nats of each row of `x`, shape `(batch, *event)`."""

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator | None = None, **condition: Any) -> Tensor:
        """`n` independent draws, shape `(n, *event)`."""


class Transform(ABC):
    """An invertible map, data to noise; both directions also return the log-determinant of the map just applied.

    >>> from dgmlib.data import Logit
    >>> z, log_det = Logit(0.25).forward(torch.tensor([[0.5]]))
    >>> x, back = Logit(0.25).inverse(z)
    >>> z.tolist(), x.tolist(), abs(float(log_det + back)) < 1e-6
    ([[0.0]], [[0.5]], True)
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Float[Tensor, " batch"]]:
        """z = T(x) and log|det dz/dx|."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Float[Tensor, " batch"]]:
        """x = T^{-1}(z) and log|det dx/dz|."""


class Tables(NamedTuple):
    """What DDPM calls alpha-bar, beta and beta-tilde, float64, indexed by the step t = 0 .. T (so each has T + 1 rows).

    alpha_bar[0] = 1 and beta[0] = 0; beta[t] is the noise that step t adds, beta_tilde[t] the variance of
    q(x_{t-1} | x_t, x_0).

    >>> from dgmlib.noising import Cosine
    >>> tables = Cosine().discretize(1000)
    >>> tables.alpha_bar.shape, tables.alpha_bar[0].item(), tables.beta[0].item()
    (torch.Size([1001]), 1.0, 0.0)
    """

    alpha_bar: Float[Tensor, " states"]
    beta: Float[Tensor, " states"]
    beta_tilde: Float[Tensor, " states"]


class Schedule(ABC):
    """How signal turns into noise: x_t = alpha(t) x_0 + sigma(t) eps, eps ~ N(0, I), for t from 0 (data) to 1 (noise).

    Each method takes a number or a tensor of numbers in [0, 1], computes in float64, and returns the dtype of a tensor,
    float64 for a number. `dalpha` and `dsigma` are derivatives in t; sigma'(0) may be infinite.

    >>> from dgmlib.noising import Linear
    >>> schedule = Linear()
    >>> schedule.alpha(0.0).item(), schedule.sigma(0.0).item(), schedule.log_snr(0.0).item()
    (1.0, 0.0, inf)
    >>> alpha, sigma = schedule.alpha_sigma(0.5)
    >>> round((alpha**2 + sigma**2).item(), 4), (schedule.dalpha(0.5) < 0 < schedule.dsigma(0.5)).item()
    (1.0, True)
    """

    @abstractmethod
    def alpha(self, t: Tensor | float) -> Tensor:
        """The signal rate."""

    @abstractmethod
    def sigma(self, t: Tensor | float) -> Tensor:
        """The standard deviation of the noise."""

    @abstractmethod
    def dalpha(self, t: Tensor | float) -> Tensor:
        """d alpha / dt."""

    @abstractmethod
    def dsigma(self, t: Tensor | float) -> Tensor:
        """d sigma / dt."""

    def alpha_sigma(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Both rates, for schedules to which the second comes cheap."""
        return self.alpha(t), self.sigma(t)

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha^2 / sigma^2): infinite where there is no noise."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    @checked
    def discretize(self, n_steps: int) -> Tables:
        """DDPM's tables of a chain of `n_steps` steps that visits t = 0, 1/n_steps, ..., 1.

        Implements :eq:`eq-diff-tables`. Raises ValueError where alpha^2 + sigma^2 is not 1, as these tables assume.

        >>> from dgmlib.noising import Linear
        >>> tables = Linear().discretize(2)  # t = 0, 1/2, 1
        >>> (tables.alpha_bar[1] - Linear().alpha(0.5) ** 2).abs().item() < 1e-12
        True
        """
        t = torch.arange(need_count("n_steps", n_steps) + 1, dtype=torch.float64) / n_steps
        alpha_bar, noise = self.alpha(t).square(), self.sigma(t).square()
        excess = float((alpha_bar + noise - 1).abs().max())
        if excess > 1e-9:
            raise ValueError(
                f"alpha^2 + sigma^2 differs from 1 by {excess:.3g}, expected a variance-preserving schedule"
            )
        beta = torch.zeros_like(t)
        beta[1:] = (noise[1:] - alpha_bar[1:] / alpha_bar[:-1] * noise[:-1]).clamp(0, 1)
        beta_tilde = torch.zeros_like(t)
        beta_tilde[1:] = noise[:-1] / noise[1:] * beta[1:]
        return Tables(alpha_bar, beta, beta_tilde)


# --- noise ----------------------------------------------------------------------------------------------------------


def data_parallel() -> tuple[int, int]:
    """(rank, world size) of this process in data-parallel training; (0, 1) outside it.

    >>> data_parallel()
    (0, 1)
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(n: int) -> slice:
    """The rows of a global batch of `n` that belong to this process: contiguous, sizes differing by at most one.

    >>> share(10)  # one process has all of them
    slice(0, 10, None)
    """
    rank, world = data_parallel()
    return slice(rank * n // world, (rank + 1) * n // world)


_global_rows: ContextVar[int | None] = ContextVar("rows of the global batch", default=None)


@contextmanager
def global_batch(rows: int | None) -> Iterator[None]:
    """Inside: `randn_like`, `rand_like` and `bernoulli` draw for a global batch of `rows`, of which each process has
    its share; None is one process's own batch. `train.gradient_step` enters it around the loss, and only there.

    >>> with global_batch(4):
    ...     randn_like(torch.zeros(4, 2)).shape
    torch.Size([4, 2])
    """
    token = _global_rows.set(rows)
    try:
        yield
    finally:
        _global_rows.reset(token)


def _like(draw: Callable[..., Tensor], x: Tensor, generator: torch.Generator | None) -> Tensor:
    rows = _global_rows.get()
    if rows is None:
        return draw(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    noise = draw((rows, *x.shape[1:]), generator=generator, dtype=x.dtype, device=x.device)[share(rows)]
    need_shape("x", x, tuple(noise.shape))
    return noise


@checked
def randn_like(x: Float[Tensor, "*shape"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*shape"]:
    """Standard normal draws in the shape, dtype and device of `x`, whose first axis is the batch.

    In a data-parallel loss every process draws for the global batch and keeps its rows, so that processes whose
    generators agree see together what one process would see alone. Raises ValueError there if `x` is not such rows.

    >>> draws = [randn_like(torch.zeros(3), generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    >>> torch.equal(*draws)
    True
    """
    return _like(torch.randn, x, generator)


@checked
def rand_like(x: Float[Tensor, "*shape"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*shape"]:
    """Uniform draws on [0, 1) like `x`; in a data-parallel loss drawn globally, as `randn_like` does.

    >>> u = rand_like(torch.zeros(1000))
    >>> bool(((0 <= u) & (u < 1)).all())
    True
    """
    return _like(torch.rand, x, generator)


@checked
def bernoulli(probs: Float[Tensor, "*shape"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*shape"]:
    """0/1 draws with the given probabilities of a one, in the dtype of `probs`; drawn globally as `randn_like`.

    NaN where `probs` is no probability. Half precision draws in float32, whose steps are finer than a small rate.

    >>> bernoulli(torch.tensor([0.0, 1.0, 2.0])).tolist()
    [0.0, 1.0, nan]
    """
    fine = probs.float() if probs.dtype.itemsize < 4 else probs
    draws = (rand_like(fine, generator=generator) < fine).to(probs.dtype)
    return torch.where((probs >= 0) & (probs <= 1), draws, torch.nan)


def uniform_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which uniform numbers for a model of that dtype are drawn: single precision at least.

    Half precision has too few numbers below 1 for an event of probability 0.001 to come at its rate.

    >>> uniform_dtype(torch.float16), uniform_dtype(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


# --- refusals -------------------------------------------------------------------------------------------------------


def need_tensor(name: str, x: Any, ndim: int | None = None, floating: bool = True) -> Tensor:
    """Return `x` if it is a non-empty tensor of the wanted rank and kind; else say in one sentence what it is.

    Raises: TypeError (not a tensor, or not floating), ValueError (rank, or no element).

    >>> need_tensor("x", [1.0])
    Traceback (most recent call last):
    TypeError: x is a list, expected a torch.Tensor
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}, expected a torch.Tensor")
    if floating and not x.is_floating_point():
        raise TypeError(f"{name} has dtype {x.dtype}, expected a floating dtype")
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {ndim} axes")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected at least one element")
    return x


def need_shape(name: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return `x` if its shape is exactly `shape`. Raises ValueError.

    >>> need_shape("x", torch.zeros(2, 3), (2, 4))
    Traceback (most recent call last):
    ValueError: x has shape (2, 3), expected (2, 4)
    """
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {tuple(shape)}")
    return x


def need_like(name: str, x: Tensor, like: Tensor) -> Tensor:
    """Return `x` if it has the dtype (autocast apart) and device of `like`, a module's parameter. Raises TypeError.

    >>> need_like("x", torch.zeros(2).double(), torch.zeros(3))
    Traceback (most recent call last):
    TypeError: x has dtype torch.float64, expected torch.float32 like the module's parameters
    """
    if x.device != like.device:
        raise TypeError(f"{name} is on {x.device}, expected {like.device} like the module's parameters")
    if x.dtype != like.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"{name} has dtype {x.dtype}, expected {like.dtype} like the module's parameters")
    return x


def _readable(x: Tensor) -> bool:
    """Whether values can be read: not on the meta device, while compiling, or inside a transform of `torch.func`."""
    return not (x.is_meta or is_compiling() or peek_interpreter_stack() is not None)


def can_read(x: Tensor) -> bool:
    """Whether a look at the values of `x` is possible and holds nothing up: on an accelerator, where it waits for all
    work under way, only outside of training, when no gradient is recorded.

    >>> can_read(torch.zeros(2)), can_read(torch.zeros(2, device="meta"))
    (True, False)
    """
    return _readable(x) and (x.device.type == "cpu" or not torch.is_grad_enabled())


def need_levels(name: str, x: Tensor, levels: int) -> Tensor:
    """Return `x` if all its values are whole numbers from 0 to levels - 1. Raises ValueError. See `can_read`.

    >>> need_levels("x", torch.tensor([0, 2]), 2)
    Traceback (most recent call last):
    ValueError: x has values from 0 to 2, expected whole numbers from 0 to 1
    """
    if can_read(x):
        low, high = torch.stack(x.aminmax()).tolist()  # Python's numbers: 255 < 256 is false in uint8
        if not (low >= 0 and high < levels):
            came = f"has values from {low:.4g} to {high:.4g}"
        elif x.is_floating_point() and (x != x.round()).any():
            came = "has values between whole numbers"
        else:
            return x
        raise ValueError(f"{name} {came}, expected whole numbers from 0 to {levels - 1}")
    return x


def _all_finite(x: Tensor) -> bool:
    """Whether the ends are finite, which takes one pass over the values."""
    return not x.numel() or bool(torch.stack(x.aminmax()).isfinite().all())


def need_finite(name: str, x: Tensor) -> Tensor:
    """Return `x` if no element is NaN or infinite. Raises ValueError. Reads the values: use where data enter.

    >>> need_finite("x", torch.tensor([1.0, math.inf]))
    Traceback (most recent call last):
    ValueError: x has 1 NaN or infinite values among 2, expected finite ones
    """
    if not _readable(x) or (x.dtype in (torch.float32, torch.float64) and _all_finite(x.detach())):
        return x
    if bad := int((~torch.isfinite(x)).sum()):
        raise ValueError(f"{name} has {bad} NaN or infinite values among {x.numel()}, expected finite ones")
    return x


def need_pixels(name: str, x: Tensor) -> Tensor:
    """Return `x` if all its values lie in [0, 1]. Raises ValueError. Reads the values.

    >>> need_pixels("x", torch.tensor([0.0, 255.0]))
    Traceback (most recent call last):
    ValueError: x has values from 0 to 255, expected all in [0, 1]
    """
    low, high = need_finite(name, x).aminmax()
    if _readable(x) and (low < 0 or high > 1):
        raise ValueError(f"{name} has values from {low:.3g} to {high:.3g}, expected all in [0, 1]")
    return x


def need_cholesky(name: str, cov: Tensor) -> Tensor:
    """The lower Cholesky factor of `cov`, both halves read lest it be a factor itself. Raises ValueError.

    >>> need_cholesky("cov", torch.tensor([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    factor, failed = torch.linalg.cholesky_ex(need_finite(name, cov))
    if _readable(cov) and (failed.any() or (cov - cov.mT).abs().max() > 1e-4 * cov.abs().max()):
        raise ValueError(f"{name} is not symmetric positive definite, expected a covariance matrix")
    return factor


def need_between(name: str, value: float, low: float, high: float, *, open_ends: bool = False) -> float:
    """Return `value` if it lies in [low, high], or in (low, high) with `open_ends`. Raises ValueError.

    No infinite end belongs to its interval.

    >>> need_between("decay", 1.5, 0.0, 1.0)
    Traceback (most recent call last):
    ValueError: decay is 1.5, expected a number in [0.0, 1.0]
    """
    inside = low < value < high if open_ends else low <= value <= high and abs(value) < math.inf
    if not inside:
        ends = "()" if open_ends else ("[("[low == -math.inf], "])"[high == math.inf])
        raise ValueError(f"{name} is {value}, expected a number in {ends[0]}{low}, {high}{ends[1]}")
    return value


def need_count(name: str, value: Any, at_least: int = 1) -> int:
    """`value` as an int, if it is an integer (NumPy's too) of at least `at_least`. Raises TypeError, ValueError.

    >>> need_count("n", 0)
    Traceback (most recent call last):
    ValueError: n is 0, expected at least 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}, expected an int")
    if value < at_least:
        raise ValueError(f"{name} is {value}, expected at least {at_least}")
    return int(value)


def need_option(name: str, value: Any, options: Collection[Any]) -> Any:
    """Return `value` if it is one of `options`. Raises ValueError.

    >>> need_option("budget", "big", ("smoke", "cpu", "gpu"))
    Traceback (most recent call last):
    ValueError: budget is 'big', expected one of 'smoke', 'cpu', 'gpu'
    """
    if value not in options:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, options))}")
    return value


def need_probabilities(name: str, p: Tensor, ndim: int | None = None) -> Tensor:
    """Return `p` if it is a probability vector along its last axis (non-negative, sums to one). Raises ValueError.

    >>> need_probabilities("p", torch.tensor([0.5, 1.0]))
    Traceback (most recent call last):
    ValueError: p sums to one only within 0.5, expected probabilities along the last axis
    """
    need_finite(name, need_tensor(name, p, ndim))
    if not _readable(p):
        return p
    if p.ndim == 0:
        raise ValueError(f"{name} is a single number, expected probabilities along the last axis")
    if (p < 0).any():
        raise ValueError(f"{name} has a negative entry ({p.min():.3g}), expected probabilities")
    excess = (p.sum(-1) - 1).abs().max().item()
    if excess > 1e-6 + (10 + 4 * p.shape[-1]) * torch.finfo(p.dtype).eps:
        raise ValueError(f"{name} sums to one only within {excess:.3g}, expected probabilities along the last axis")
    return p


def need_precise(name: str, x: Tensor) -> Tensor:
    """Return `x` if it is float32 or float64, in which distances and factorisations are computed. Raises TypeError.

    >>> need_precise("x", torch.zeros(2, dtype=torch.float16))
    Traceback (most recent call last):
    TypeError: x has dtype torch.float16, expected torch.float32 or torch.float64
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} has dtype {x.dtype}, expected torch.float32 or torch.float64")
    return x


def need_symmetric(name: str, x: Tensor) -> Tensor:
    """Return `x` (..., d, d) if it is finite and equals its transpose up to rounding in single precision.

    Raises TypeError (half precision), ValueError (not square, NaN, asymmetric).

    >>> need_symmetric("cov", torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    Traceback (most recent call last):
    ValueError: cov is asymmetric by 2, expected symmetric matrices
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected square matrices")
    need_finite(name, need_precise(name, x))
    if _readable(x) and (asymmetry := (x - x.mT).abs().max().item()) > 1e-5 * x.abs().max().item():
        raise ValueError(f"{name} is asymmetric by {asymmetry:.3g}, expected symmetric matrices")
    return x


def need_one_dtype(**tensors: Tensor) -> None:
    """Refuse the first tensor of another dtype than the one named first, and half precision, in which torch solves no
    system. Raises TypeError.

    >>> need_one_dtype(mean=torch.zeros(2), cov=torch.eye(2).double())
    Traceback (most recent call last):
    TypeError: cov has dtype torch.float64, expected torch.float32 like mean
    """
    (first, like), *_ = tensors.items()
    for name, x in tensors.items():
        if need_precise(name, x).dtype != like.dtype:
            raise TypeError(f"{name} has dtype {x.dtype}, expected {like.dtype} like {first}")


def need_broadcast(**tensors: Tensor) -> None:
    """Refuse, by the last name, tensors that do not broadcast. Raises ValueError.

    >>> need_broadcast(mean=torch.zeros(2, 3), log_var=torch.zeros(4))
    Traceback (most recent call last):
    ValueError: log_var has shape (4,), expected one to broadcast with mean (2, 3)
    """
    *_, (name, last) = tensors.items()
    try:
        torch.broadcast_shapes(*(x.shape for x in tensors.values()))
    except RuntimeError:
        others = ", ".join(f"{other} {tuple(x.shape)}" for other, x in tensors.items() if other != name)
        raise ValueError(f"{name} has shape {tuple(last.shape)}, expected one to broadcast with {others}") from None


def need_unit(name: str, u: Tensor) -> Tensor:
    """Return `u` if its numbers lie in [0, 1). Raises ValueError. See `can_read`.

    >>> need_unit("u", torch.tensor([0.5, 1.0]))
    Traceback (most recent call last):
    ValueError: u reaches from 0.5 to 1, expected numbers in [0, 1)
    """
    if can_read(u) and not ((u >= 0) & (u < 1)).all():
        raise ValueError(f"{name} reaches from {u.min():.3g} to {u.max():.3g}, expected numbers in [0, 1)")
    return u


# --- distances ------------------------------------------------------------------------------------------------------


@checked
def distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """|x_i - y_j| from the differences themselves: exactly 0 between a point and its copy. In float32 at least.

    The faster way, by an inner product and expanded squares, gives copies distances above 0. NaN and infinity in a
    point pass to its distances.

    >>> distances(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[5.0, 0.0]]
    """
    wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return torch.cdist(x.to(wide), y.to(wide), compute_mode="donot_use_mm_for_euclid_dist")


# --- bounded memory -------------------------------------------------------------------------------------------------

BLOCK = 2**26
"""How many numbers an evaluation holds at a time: 256 MiB in single precision."""


def by_blocks(f: Callable[..., Tensor], held: int, *rows: Tensor | None) -> Tensor:
    """`f(*rows)` for an `f` that treats the rows apart, on as many at a time as need `BLOCK` numbers at `held` a row.

    Where a gradient is recorded, which keeps all those numbers anyway, f is called once.

    >>> by_blocks(lambda x: x.sum(1), 2, torch.ones(3, 2)).tolist()
    [2.0, 2.0, 2.0]
    """
    n, size = len(rows[0]), max(1, BLOCK // held)
    if torch.is_grad_enabled() or n <= size:
        return f(*rows)
    return torch.cat([f(*(x if x is None else x[i : i + size] for x in rows)) for i in range(0, n, size)])
