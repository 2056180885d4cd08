"""Another machine's rounding, made on this one: what a chapter prints must not move under it.

Where DGM_NOISE holds a seed, the root's conftest.py has every kernel of nbval call `start(seed)` before its first cell.
From then on, in float64 and complex128:

* sums and products of matrices are off by a few units in the last place of the same sum over absolute values, which is
  what another order of summation does, and `cdist` by what its matrix path loses;
* a factorisation, solution or determinant is that of a matrix a few units away, since that is all LAPACK promises; the
  signs that QR, SVD and eigenvectors leave free are drawn;
* functions of one element are off by one unit, and those that a library writes by hand (softmax, norms) by a few;
* of equal largest or smallest values the last is named where this machine names the first.

Whole numbers stay exact. So do +, -, ×, ÷ and roots, which IEEE 754 rounds alike everywhere. The noise is a function of
the seed, the function and its value: the same call twice gives the same bits, as it does on any machine. A constant is
added, or the matrix moved by one, so gradients are those of the function itself.

Not reached: ndarray's `@` and methods, NumPy's functions of one element, SciPy, in-place functions and `out=`, backward
passes, scripted code. Single precision is left alone: checks print no digit of it, logs of training are not compared,
and another DGM_SEED moves it further than rounding would.
"""

import functools
import inspect
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

DOUBLE = (torch.float64, torch.complex128)
EPS = torch.finfo(torch.float64).eps
FEW, ONE = 4.0, 0.6  # 0.6 eps |x| rounds to one unit, wherever x stands between two powers of 2

SUMS = set(
    "matmul rmatmul mm bmm mv dot vdot inner einsum tensordot vecdot multi_dot chain_matmul matrix_power linear "
    "bilinear addmm addmv addbmm baddbmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "sum nansum mean nanmean cumsum trace trapezoid trapz".split()
)
BY_HAND = set(
    "prod cumprod var std var_mean std_mean cov corrcoef norm vector_norm matrix_norm softmax log_softmax logsumexp "
    "logcumsumexp cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss kl_div "
    "gaussian_nll_loss layer_norm group_norm batch_norm rms_norm cosine_similarity pairwise_distance "
    "scaled_dot_product_attention".split()
)
ELEMENTWISE = set(
    "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan arcsin arccos arctan atan2 arctan2 sinh cosh tanh "
    "asinh acosh atanh arcsinh arccosh arctanh sigmoid expit logit logsigmoid softplus silu gelu elu selu celu mish "
    "erf erfc erfinv erfcx ndtr ndtri log_ndtr lgamma gammaln digamma psi polygamma multigammaln zeta xlogy xlog1py "
    "entr i0 i0e i1 i1e bessel_j0 bessel_j1 sinc pow rpow float_power logaddexp logaddexp2 lerp addcmul addcdiv "
    "randn randn_like normal".split()
)
# These mix all entries of a matrix by rotations; the others keep zeros and whole numbers where they are.
ROTATING = set("qr svd svdvals eig eigvals eigh eigvalsh pinv lstsq".split())
FACTORED = ROTATING | set(
    "cholesky cholesky_ex cholesky_inverse cholesky_solve inv inv_ex inverse solve solve_ex solve_triangular "
    "tensorsolve tensorinv det logdet slogdet lu lu_factor ldl_factor matrix_exp".split()
)
# Where each takes its dimension, and what that is by default.
ORDERED = {"argmax": (1, None), "argmin": (1, None), "max": (1, None), "min": (1, None)}
ORDERED |= {"sort": (1, -1), "argsort": (1, -1), "topk": (2, -1)}
EXACT_POWERS = (-2, -1, -0.5, 0.5, 1, 2, 3)  # made of products, quotients and roots


def noisy(seed: int, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`function(*args, **kwargs)` on tensors as another machine might give it, if it has a known name."""
    phase = zlib.crc32(f"{seed} {name}".encode()) / 2**32 * 2 * math.pi
    if name in ORDERED:
        return _other_tie(name, function, args, kwargs)
    if name in FACTORED:
        return _free_signs(name, function(*_moved(name, args, phase), **kwargs), phase, kwargs)
    result = function(*args, **kwargs)
    if kwargs.get("out") is not None:
        return result
    if name == "cdist":
        return _matrix_path(result, args, kwargs, phase)
    if name in SUMS:
        if not _double(result):
            return result
        with torch.no_grad():
            scale = function(*_map(torch.abs, args), **_map(torch.abs, kwargs)).abs()
            if name in ("mean", "nanmean") and not result.is_complex():  # a whole sum, and one quotient
                parts = function(*_map(lambda x: (x != x.round()).to(x.dtype), args), **kwargs)
                scale = scale.masked_fill(parts == 0, 0.0)
        return _off(result, scale, FEW, phase)
    if name in BY_HAND:
        return _map(lambda part: _off(part, part.detach().abs(), FEW, phase), result)
    if name in ELEMENTWISE and not ("pow" in name and _exact_power(args, kwargs)):
        return _map(lambda part: _off(part, part.detach().abs(), ONE, phase, whole_units=True), result)
    return result


def _double(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in DOUBLE and value.device.type != "meta" and value.numel() > 0


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with `function` applied to every tensor of double precision in it."""
    if _double(value):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(function, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return _like(value, [_map(function, part) for part in value])
    return value


def _like(old: Any, parts: list[Any]) -> Any:
    """The parts in the kind of sequence that `old` is; torch's named results are made of one list, Python's of many."""
    return type(old)(*parts) if hasattr(old, "_fields") else type(old)(parts)


def _exact_power(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    exponent = kwargs.get("exponent", args[1] if len(args) > 1 else None)
    return isinstance(exponent, int | float) and exponent in EXACT_POWERS


def _off(value: Tensor, scale: Tensor, units: float, phase: float, whole_units: bool = False) -> Tensor:
    """`value` plus a constant of up to `units` last places of `scale`, and exactly that many for `whole_units`."""
    with torch.no_grad():
        seen = value.detach()
        wave = torch.sin(1e4 * seen.abs().log() + phase)
        error = (wave.sign() if whole_units else wave) * (EPS * units) * scale
        parts = torch.view_as_real(seen) if seen.is_complex() else seen
        whole = parts == parts.round()  # infinity among them
        if seen.is_complex():
            whole = whole.all(-1)
        error = error.masked_fill(whole, 0.0)
    return value + error


def _matrix_path(result: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], phase: float) -> Tensor:
    """|x|² + |y|² - 2 x·y has a rounding error of the size of |x|², however small the distance."""
    x, y, *rest = *args, *(kwargs[key] for key in ("x1", "x2") if key in kwargs)
    mode = kwargs.get("compute_mode", "use_mm_for_euclid_dist_if_necessary")
    few_points = "if" in mode and max(x.shape[-2], y.shape[-2]) <= 25
    euclidean = (rest[0] if rest else kwargs.get("p", 2.0)) == 2.0
    if not euclidean or few_points or mode.startswith("donot") or not _double(result):
        return _map(lambda part: _off(part, part.detach().abs(), FEW, phase), result)
    with torch.no_grad():
        scale = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
        wave = torch.sin(1e4 * scale.log() + phase)
        whole = (x == x.round()).all(-1)[..., :, None] & (y == y.round()).all(-1)[..., None, :]
        other = (result.square() + FEW * EPS * scale * wave).clamp(min=0).sqrt()
        error = torch.where(whole | ~other.isfinite(), torch.zeros_like(result), other - result)
    return result + error


def _moved(name: str, args: tuple[Any, ...], phase: float) -> tuple[Any, ...]:
    """The arguments, the matrix among them moved by a few units in the last place."""
    matrix, *rest = args or (None,)
    if not _double(matrix) or matrix.ndim < 2:
        return args
    with torch.no_grad():
        seen = matrix.detach()
        if name in ROTATING:
            largest = seen.abs().amax((-2, -1), keepdim=True)
            error = 2 * EPS * largest * _draws(phase, seen.shape).to(seen.device)
            if seen.shape[-2] == seen.shape[-1]:  # LAPACK leaves a diagonal matrix as it is
                full = (seen != torch.diag_embed(seen.diagonal(dim1=-2, dim2=-1))).any(-1).any(-1)
                error = torch.where(full[..., None, None], error, 0 * error)
        else:
            error = _off(seen, seen.abs(), FEW, phase) - seen
        error = torch.where(error.isfinite(), error, torch.zeros_like(error))
    return (matrix + error, *rest)


def _draws(phase: float, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1) that depend on nothing else."""
    return torch.from_numpy(np.random.default_rng(int(phase * 2**40)).uniform(-1, 1, tuple(shape)))


def _free_signs(name: str, result: Any, phase: float, kwargs: dict[str, Any]) -> Any:
    if name not in ("qr", "svd", "eigh", "eig") or not isinstance(result, tuple) or not _double(result[-1]):
        return result
    parts = list(result)
    vectors = parts[0] if name in ("qr", "svd") else parts[1]
    wide = max(vectors.shape[-1], parts[-1].shape[-2])
    sign = torch.where(_draws(phase, (wide,)) < 0, -1.0, 1.0).to(vectors.device, torch.float64)
    columns, rows = lambda v: v * sign[: v.shape[-1]], lambda v: v * sign[: v.shape[-2], None]
    if name in ("eigh", "eig"):
        parts[1] = columns(parts[1])
    else:
        legacy = type(result).__name__ == "svd"  # torch.svd gives V where all others give its transpose
        parts[0], parts[-1] = columns(parts[0]), (columns if legacy else rows)(parts[-1])
    return _like(result, parts)


def _other_tie(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same order, asked from the other end."""
    x = args[0] if args else None
    place, default = ORDERED[name]
    dim = kwargs.get("dim", args[place] if len(args) > place else default)
    integer = not isinstance(x, Tensor) or not x.is_floating_point()
    if integer or x.ndim == 0 or x.device.type == "meta" or kwargs.get("stable") or kwargs.get("out") is not None:
        return function(*args, **kwargs)
    if dim is None and name in ("argmax", "argmin"):
        return x.numel() - 1 - function(x.flatten().flip(0))
    if not isinstance(dim, int) or isinstance(dim, bool):
        return function(*args, **kwargs)
    result = function(x.flip(dim), *args[1:], **kwargs)
    if isinstance(result, tuple):
        return _like(result, [result[0], x.shape[dim] - 1 - result[1]])
    return x.shape[dim] - 1 - result


class Noise(TorchFunctionMode):
    """Noise in every function of torch that runs inside the block."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name.endswith("_") and not name.startswith("__"):
            return function(*args, **kwargs)
        name = name.strip("_").removeprefix("linalg_").removeprefix("special_")
        return noisy(self.seed, name, function, args, kwargs)


NUMPY = {np: "dot vdot inner matmul tensordot einsum argmax argmin argsort".split()}
NUMPY[np.linalg] = "qr svd svdvals eig eigvals eigh eigvalsh inv pinv solve lstsq det slogdet cholesky norm".split()
NUMPY[np.linalg] += ["multi_dot", "matrix_power", "matmul", "vecdot", "tensordot", "matrix_norm", "vector_norm"]


def hooked(seed: int, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy with the same noise: between arrays and tensors there and back."""
    parameters = inspect.signature(function).parameters if name in ORDERED else {}

    def on_tensors(*args: Any, **kwargs: Any) -> Any:
        kwargs = {"axis" if key == "dim" else key: value for key, value in kwargs.items()}
        return _tensors(function(*_arrays(args), **_arrays(kwargs)))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(parameters, args, strict=False)) | kwargs
        if kwargs.get("out") is not None or given.get("kind") in ("stable", "mergesort"):
            return function(*args, **kwargs)
        kwargs = {"dim" if key == "axis" and name in ORDERED else key: value for key, value in kwargs.items()}
        first = () if name == "einsum" else (np.asarray(args[0]),) if args else ()
        tensors = _tensors((*first, *args[len(first) :]))
        if not any(map(_double, tensors)):
            return function(*args, **{"axis" if key == "dim" else key: value for key, value in kwargs.items()})
        return _arrays(noisy(seed, name, on_tensors, tensors, kwargs))

    return call


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype in (np.float64, np.complex128, np.int64):
        return torch.from_numpy(np.array(value))
    if isinstance(value, tuple | list):
        return _like(value, [_tensors(part) for part in value])
    return value


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy() if value.ndim else value.numpy()[()]
    if isinstance(value, dict):
        return {key: _arrays(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return _like(value, [_arrays(part) for part in value])
    return value


def start(seed: int) -> None:
    """Noise for the rest of the process."""
    for module, names in NUMPY.items():
        for name in names:
            if hasattr(module, name):  # NumPy 1 has fewer
                setattr(module, name, hooked(seed, name, getattr(module, name)))
    Noise(seed).__enter__()
