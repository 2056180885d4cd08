"""Checkpoints: the state of a run as one safetensors file, written so that no moment of failure loses both old and new.

A state is a dict, nested at will, of modules, optimizers, schedules, `torch.Generator`s, tensors, and whatever else has
`state_dict` and `load_state_dict`. Loading fills these same objects; it makes no new ones. An optimizer's moments are
matched to the parameters of the state's modules by name, so a model that lists them in another order gets its own.
"""

import json
import os
import zlib
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor, nn

try:
    import fcntl
except ImportError:  # Windows has no such lock: there, two runs on one file go unnoticed
    fcntl = None

from dgmlib.core import checked


@checked
def save_checkpoint(path: str | os.PathLike, state: dict[str, Any]) -> None:
    """Write `state` as one safetensors file: tensors, and the rest as JSON in its metadata. No pickle.

    The file is complete on the disk under another name before it takes the place of the old one: a kill or a full
    disk at any moment leaves one of the two. Raises: TypeError (what cannot be saved), OSError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.safetensors", {"model": nn.Linear(2, 1)})
    ...     [path.name for path in Path(folder).iterdir()]
    ['run.safetensors']
    """
    if not isinstance(state, dict):  # a module, which `checked` lets stand in for another class
        raise TypeError(f"state is a {type(state).__name__}, expected a dict of what to save by name")
    tensors, leaves = pack(state)
    text = json.dumps(leaves)
    metadata = {"dgmlib_checkpoint": text, "crc32": str(_crc32(text, tensors))}
    replace_file(Path(path), safetensors.torch.save(tensors, metadata=metadata))


@checked
def load_checkpoint(path: str | os.PathLike, state: dict[str, Any], *, whole: bool = False) -> None:
    """Load into the objects of `state` what `save_checkpoint` wrote of them; into all that it wrote with `whole`.

    Of a file that `fit` wrote, `load_checkpoint(path, {"state": {"model": model}})` takes the model alone.

    Raises: OSError (no file that can be read), ValueError (a file that is damaged, or that does not fit).

    >>> import tempfile
    >>> x, y = torch.arange(3.0), torch.zeros(3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.safetensors", {"x": x})
    ...     load_checkpoint(f"{folder}/run.safetensors", {"x": y})
    >>> y.tolist()
    [0.0, 1.0, 2.0]
    """
    path = Path(path).expanduser()
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except OSError as error:
        raise type(error)(f"checkpoint {path} could not be read ({error})") from error
    except Exception as error:  # of a header with flipped bits, safetensors raises errors of many kinds
        raise ValueError(f"checkpoint {path} is damaged ({error}), expected a whole safetensors file") from error
    if "dgmlib_checkpoint" not in metadata:
        raise ValueError(f"checkpoint {path} holds tensors but no training state, expected a file that fit wrote")
    text = metadata["dgmlib_checkpoint"]
    if metadata.get("crc32") != str(_crc32(text, tensors)):
        raise ValueError(f"checkpoint {path} is damaged (its checksum differs), expected the bytes that were written")
    try:
        unpack(state, tensors, json.loads(text), f"checkpoint {path}", whole)
    except KeyError as error:  # the checksum is of contents, not of the names they go by
        raise ValueError(f"checkpoint {path} is damaged (it has no {error}), expected all that was written") from error


@checked
def pack(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`state` as tensors by name, copied to the CPU, and all the rest in a form that JSON holds.

    >>> tensors, rest = pack({"model": nn.Linear(2, 1)})
    >>> list(tensors), rest["model"]["kind"]
    (['model/weight', 'model/bias'], 'Module')
    """
    tensors: dict[str, Tensor] = {}
    found = leaves_of(state)
    names = _parameter_names(found)
    leaves = {
        name: {"kind": _kind(leaf), "content": _flatten(_content(name, leaf, names), name, tensors)}
        for name, leaf in found.items()
    }
    return tensors, leaves


def unpack(state: dict[str, Any], tensors: dict[str, Tensor], leaves: dict[str, Any], source: str, whole: bool) -> None:
    """Load what `pack` returned into the objects of `state`. Raises ValueError, naming `source`, if it does not fit.

    >>> x = torch.zeros(2)
    >>> unpack({"x": x}, *pack({"x": torch.ones(2)}), source="the other", whole=True)
    >>> x.tolist()
    [1.0, 1.0]
    """
    ours = leaves_of(state)
    lacking = sorted(ours.keys() - leaves.keys()) + (sorted(leaves.keys() - ours.keys()) if whole else [])
    if lacking:
        holder = "the run" if lacking[0] in leaves else "it"
        raise ValueError(f"{source} does not fit this run: {holder} has no {lacking[0]!r}")
    contents = {name: _unflatten(leaves[name]["content"], tensors) for name in ours}
    names = _parameter_names(ours)
    for name, leaf in ours.items():
        here, there = {"": _kind(leaf)}, {"": leaves[name]["kind"]}
        if here == there:
            here, there = _traits(leaf, _content(name, leaf, names)), _traits(leaf, contents[name])
        for key in [*here, *there]:
            if here.get(key) != there.get(key):
                what = f"{name}{key} is {there.get(key, 'absent')}, expected {here.get(key, 'none')}"
                raise ValueError(f"{source} does not fit this run: {what}")
    for name, leaf in ours.items():
        try:
            _restore(leaf, contents[name], names)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ValueError(f"{source} does not fit this run: {name} refused it ({error})") from error


@checked
def leaves_of(state: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The objects of a nested state, by path: {"state/model": model, ...}.

    >>> leaves_of({"state": {"x": 1, "y": 2}})
    {'state/x': 1, 'state/y': 2}
    """
    found = {}
    for name, leaf in state.items():
        found |= leaves_of(leaf, f"{prefix}{name}/") if isinstance(leaf, dict) else {f"{prefix}{name}": leaf}
    return found


def _kind(leaf: Any) -> str:
    if isinstance(leaf, torch.Generator):
        return f"{leaf.device.type} generator"
    return next((kind.__name__ for kind in (Tensor, nn.Module) if isinstance(leaf, kind)), type(leaf).__name__)


def _parameter_names(leaves: dict[str, Any]) -> dict[int, str]:
    """The name of each parameter of the modules among `leaves`, by the parameter's id."""
    modules = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, nn.Module)}
    return {id(p): f"{name}.{key}" for name, leaf in modules.items() for key, p in leaf.named_parameters()}


def _names_of(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> list[str]:
    """The parameters of `optimizer` in its own order, by name; by number where no module of the state has them."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [names.get(id(p), f"number {i}") for i, p in enumerate(parameters)]


def _content(name: str, leaf: Any, names: dict[int, str]) -> Any:
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, torch.Generator):
        return leaf.get_state()
    if not hasattr(leaf, "load_state_dict"):
        raise TypeError(f"{name} is a {type(leaf).__name__}, expected what has state_dict and load_state_dict")
    content = leaf.state_dict()
    if isinstance(leaf, torch.optim.Optimizer):
        called = _names_of(leaf, names)
        groups = [group | {"params": [called[i] for i in group["params"]]} for group in content["param_groups"]]
        content = content | {"state": {called[i]: x for i, x in content["state"].items()}, "param_groups": groups}
    return content


def _traits(leaf: Any, content: Any) -> dict[str, Any]:
    """What must agree between a checkpoint and the object it is loaded into, in words for a refusal."""
    if isinstance(leaf, Identity):
        return {f" {name}": value for name, value in content.items()}
    if isinstance(leaf, torch.optim.Optimizer):
        held = enumerate(content["param_groups"])
        return {f" of {p}": f"in group {i}" for i, group in held for p in group["params"]}
    if isinstance(leaf, Tensor):
        return {"": f"{tuple(content.shape)} {content.dtype}"}
    if isinstance(leaf, nn.Module):
        return {f".{key}": f"{tuple(x.shape)} {x.dtype}" for key, x in content.items() if isinstance(x, Tensor)}
    return {}


def _restore(leaf: Any, content: Any, names: dict[int, str]) -> None:
    if isinstance(leaf, Tensor):
        with torch.no_grad():
            leaf.copy_(content)
    elif isinstance(leaf, torch.Generator):
        leaf.set_state(content)
    elif isinstance(leaf, torch.optim.Optimizer):
        number = {called: i for i, called in enumerate(_names_of(leaf, names))}
        own = iter(number.values())  # the groups hold the same names, so the optimizer's own order is as good as any
        groups = [group | {"params": [next(own) for _ in group["params"]]} for group in content["param_groups"]]
        leaf.load_state_dict({"state": {number[p]: x for p, x in content["state"].items()}, "param_groups": groups})
    else:
        leaf.load_state_dict(content)
    if isinstance(leaf, torch.optim.Optimizer):
        for p, moments in leaf.state.items():
            for key, x in moments.items():
                # Files hold row-major tensors; fused kernels expect moments laid out as their parameter is.
                if isinstance(x, Tensor) and x.shape == p.shape and x.stride() != p.stride():
                    moments[key] = torch.empty_like(p, dtype=x.dtype).copy_(x)


def _flatten(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for `tree`, whose tensors go to `tensors`, each copied so that none shares memory with another."""
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[key, _flatten(value, f"{name}/{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [_flatten(value, f"{name}/{i}", tensors) for i, value in enumerate(tree)]}
    if isinstance(tree, bool | int | float | str | None):
        return tree
    raise TypeError(f"the state of {name} is a {type(tree).__name__}, expected tensors, numbers, strings and their kin")


def _unflatten(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unflatten(value, tensors) for key, value in content}
    return {"list": list, "tuple": tuple}[kind](_unflatten(value, tensors) for value in content)


def _crc32(text: str, tensors: dict[str, Tensor]) -> int:
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), crc)
    return crc


@checked
def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`; whenever this is cut short, what was there stays whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_file(Path(folder, "a.txt"), b"whole")
    ...     Path(folder, "a.txt").read_bytes()
    b'whole'
    """
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"{path} could not be written ({error.strerror})") from error
        raise
    if os.name == "posix":  # the rename itself reaches the disk with the folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Alone:
    """Holds a checkpoint's lock, so that no second run writes to the same file. The system lets go of it with us.

    Raises OSError where another run holds it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Alone(Path(folder) / "run.safetensors"):
    ...     [path.name for path in Path(folder).iterdir()]
    ['run.safetensors.lock']
    """

    @checked
    def __init__(self, path: Path | None):
        self.path, self.file = path, None

    def __enter__(self) -> None:
        if self.path is None or fcntl is None:
            return
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while self.file is None or not _same_file(self.file, lock):  # the last holder removes it when it ends
                self.file = open(lock, "w")
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.file.close()
            raise OSError(
                f"checkpoint {self.path} belongs to a run that goes on (it holds {lock.name}), expected one run a file"
            ) from error
        except OSError:  # a folder that cannot be written: the first checkpoint will say so
            self.file = None

    def __exit__(self, *_: Any) -> None:
        if self.file is not None:
            Path(self.file.name).unlink(missing_ok=True)
            self.file.close()


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


class GlobalGenerators:
    """torch's own generators, from which dropout and initialisation draw.

    >>> state = GlobalGenerators().state_dict()
    >>> x = torch.rand(3)
    >>> GlobalGenerators().load_state_dict(state)
    >>> torch.equal(torch.rand(3), x)
    True
    """

    def state_dict(self) -> dict[str, Tensor]:
        cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {}
        return {"cpu": torch.get_rng_state()} | cuda

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])


class Identity:
    """What shaped a run, by name: a part of its state that a checkpoint of another run does not have.

    Loading a checkpoint that holds other values is refused before anything is restored, naming the first difference.

    >>> Identity({"seed": 0, "objective": "elbo"}).state_dict()
    {'seed': '0', 'objective': 'elbo'}
    """

    @checked
    def __init__(self, values: dict[str, Any]):
        self.values = {name: str(value) for name, value in values.items()}

    def state_dict(self) -> dict[str, str]:
        return self.values

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Nothing to restore: the values agreed."""
