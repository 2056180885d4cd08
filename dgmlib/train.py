"""Training: one gradient step, an averaged copy of the weights, and a loop that survives being killed::

    step = gradient_step(model, loss, torch.optim.AdamW(model.parameters()), clip=1.0)
    history = fit(step, batches, 10_000, checkpoint="runs/vae.safetensors")
    plt.plot(history["loss"])

`fit` knows nothing of models: any callable `step(batch) -> {name: number}` will do. Two players are two gradient
steps::

    def step(batch):
        return critic_step(batch) | generator_step(batch)

    fit(step, batches, 10_000, state={"critic": critic_step.state, "generator": generator_step.state})

Under `torchrun` the same code trains on every process, PyTorch's DistributedDataParallel joining the gradients.
"""

import atexit
import copy
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from dgmlib.checkpoint import (
    Alone,
    GlobalGenerators,
    Identity,
    leaves_of,
    load_checkpoint,
    pack,
    save_checkpoint,
    unpack,
)
from dgmlib.core import checked, data_parallel, global_batch, need_between, need_count, need_shape, share

# --- one step -------------------------------------------------------------------------------------------------------


class EMA(nn.Module):
    """Exponential moving average of a model's parameters; `.model` is the averaged copy, ready for evaluation.

    At update t = 1, 2, ...    average <- beta_t average + (1 - beta_t) parameter,   beta_t = min(decay, t / (t + 9)).

    The average starts as a copy of the untrained model. Under the plain `decay` a share decay^t of that start would
    remain; beta_t leaves at most 1 / binom(t + 9, 9) of it (0.1, 0.018, 0.0045, ...) and averages over the last
    tenth of the run until `decay` takes over. Buffers (batch statistics) are copied, not averaged.

    Parameters of half precision are refused: beside an average of 0.999 their steps of 1e-3 would be rounded away.

    Polyak & Juditsky (1992), "Acceleration of stochastic approximation by averaging".

    >>> model = nn.Linear(1, 1)
    >>> _ = nn.init.zeros_(model.weight)
    >>> ema = EMA(model)
    >>> _ = nn.init.ones_(model.weight)
    >>> ema.update(model)  # beta_1 = 0.1
    >>> round(ema.model.weight.item(), 4)
    0.9
    """

    @checked
    def __init__(self, model: nn.Module, decay: float = 0.999):
        super().__init__()
        for name, p in model.named_parameters():
            if p.dtype in (torch.float16, torch.bfloat16):
                raise TypeError(
                    f"model has the parameter {name} in {p.dtype}, expected float32 or float64, whose average can move "
                    "(torch.autocast multiplies in half precision and keeps such parameters)"
                )
        self.decay = need_between("decay", decay, 0.0, 1.0)
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.updates = 0

    @torch.no_grad()
    @checked
    def update(self, model: nn.Module) -> None:
        """Move the average towards the parameters that `model` has now. Call once after each optimizer step."""
        self.updates += 1
        beta = min(self.decay, self.updates / (self.updates + 9))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - beta)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)

    def get_extra_state(self) -> int:
        return self.updates

    def set_extra_state(self, updates: int) -> None:
        self.updates = updates


class _MeanLoss(nn.Module):
    """The mean of a loss over the global batch, as a module, which is what DistributedDataParallel wraps."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any], noise: dict[str, torch.Generator]):
        super().__init__()
        self.model, self.loss, self.noise = model, loss, noise

    def forward(self, weight: float | None, *batch: Any) -> dict[str, Tensor]:
        terms = self.loss(self.model, *batch, **self.noise)
        terms = terms if isinstance(terms, dict) else {"loss": terms}
        if "loss" not in terms:
            raise ValueError(f"loss returned the terms {', '.join(map(repr, terms))}, expected 'loss' among them")
        return {name: self._mean(f"the term {name!r} of loss", x, weight, batch) for name, x in terms.items()}

    @staticmethod
    def _mean(name: str, x: Any, weight: float | None, batch: tuple[Any, ...]) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is a {type(x).__name__}, expected a tensor of one value per example")
        if x.ndim == 0:
            if weight is not None:
                raise ValueError(f"{name} is a scalar, expected one value per example, as several processes share it")
            return x
        need_shape(name, x, (len(batch[0]) if batch else len(x),))
        return x.mean() if weight is None else x.sum() * weight


class gradient_step:
    """`step(batch) -> {name: value}`: one optimizer step on the mean of `loss` over the batch.

    `loss(model, *batch)`, or `loss(model, *batch, generator=generator)` when `generator` is given, returns one value
    per example, shape `(batch,)`, or a dict of such terms of which "loss" is minimised and the others are logged. A
    batch statistic (MMD, Sinkhorn) may return a scalar. `clip` bounds the global norm of the gradient and logs it as
    "grad_norm"; `schedule` is a torch scheduler stepped once a step; `ema` follows the model after each step. The
    values are detached scalars left on the device; nothing here waits for the device.

    Under torchrun the mean is over the rows of all processes, so the gradient is that of one process, provided each
    process is given its `core.share` of the rows and noise is drawn with `core.randn_like` and its kin. Dropout and
    batch statistics remain each process's own.

    `.state` names what a checkpoint must hold for an exact resume.

    Raises: TypeError (`model` or `optimizer` of another kind), ValueError (parameters not the model's, shapes, more
    steps than a schedule of fixed length has).

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> loss = lambda model, x: model(x).square().sum(1)
    >>> step = gradient_step(model, loss, torch.optim.SGD(model.parameters(), lr=0.25))
    >>> step(torch.ones(4, 1))["loss"].item(), model.weight.item()
    (1.0, 0.5)
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any],
        optimizer: torch.optim.Optimizer,
        *,
        clip: float | None = None,
        ema: EMA | None = None,
        generator: torch.Generator | None = None,
        schedule: Any = None,
    ):
        for name, value, kind in (("model", model, nn.Module), ("optimizer", optimizer, torch.optim.Optimizer)):
            if not isinstance(value, kind):
                raise TypeError(f"{name} is a {type(value).__name__}, expected a torch {kind.__name__}")
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        strangers = {id(p) for p in self.parameters} - {id(p) for p in model.parameters()}
        if strangers:
            raise ValueError(f"optimizer holds {len(strangers)} parameters that are not model's, expected only model's")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip is {clip}, expected a number above 0, or None not to clip")
        self.model, self.optimizer, self.clip, self.ema, self.schedule = model, optimizer, clip, ema, schedule
        parts = {"model": model, "optimizer": optimizer, "ema": ema, "schedule": schedule, "generator": generator}
        self.state = {name: part for name, part in parts.items() if part is not None}
        self.state["option"] = Identity({"clip": clip})
        self._mean_loss = _MeanLoss(model, loss, {} if generator is None else {"generator": generator})
        self._engine: tuple[Any, nn.Module] | None = None

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        length = schedule_length(self.schedule)
        if length is not None and self.schedule.last_epoch >= length:
            raise ValueError(f"schedule ends after {length} steps, all made, expected a schedule of the whole run")
        batch = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        self.optimizer.zero_grad(set_to_none=True)
        world = data_parallel()[1]
        if world == 1:
            values = self._mean_loss(None, *batch)
            values["loss"].backward()
        else:
            rows = _global_rows(batch)
            with global_batch(rows):
                # DistributedDataParallel averages over processes: a share's sum, times world / rows, makes the mean.
                values = self._distributed()(world / rows, *batch)
                values["loss"].backward()
        values = {name: value.detach() for name, value in values.items()}
        if self.clip is not None:
            values["grad_norm"] = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.ema is not None:
            self.ema.update(self.model)
        return values

    def _distributed(self) -> nn.Module:
        if self._engine is None or self._engine[0] is not dist.group.WORLD:
            self._engine = dist.group.WORLD, nn.parallel.DistributedDataParallel(self._mean_loss)
        return self._engine[1]


SCHEDULE_SETTINGS = ("T_max", "total_steps", "total_iters", "eta_min", "step_size", "gamma", "factor", "power")


def schedule_length(schedule: Any) -> int | None:
    """After how many steps a torch schedule has nothing sensible left: the steps it was given, None if any number.

    >>> optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    >>> schedule_length(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10))
    10
    """
    return getattr(schedule, "total_steps", None) or getattr(schedule, "T_max", None)


# --- the loop -------------------------------------------------------------------------------------------------------


class History:
    """What was logged: `history["loss"]`, one float64 value per logged step, and `history.steps("loss")`, which steps.

    Steps count from 1. `history.step` is how many were made, `history.seconds` the time they took, over all resumes.

    >>> history = History()
    >>> history.step = 3
    >>> history.log({"accuracy": 0.5})
    >>> history.log_later({"loss": torch.tensor(2.0)})
    >>> history.fetch()
    >>> sorted(history), history["loss"].tolist(), history.steps("loss").tolist()
    (['accuracy', 'loss'], [2.0], [3])
    """

    def __init__(self):
        self.step = 0
        self.seconds = 0.0
        self._logged: dict[str, tuple[list[int], list[float]]] = {}
        self._pending: dict[str, tuple[list[int], list[Tensor]]] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array(self._logged[name][1], dtype=np.float64)

    def __contains__(self, name: str) -> bool:
        return name in self._logged

    def __iter__(self) -> Iterator[str]:
        return iter(self._logged)

    def steps(self, name: str) -> np.ndarray:
        """The steps at which `name` was logged, counted from 1. Raises KeyError."""
        return np.array(self._logged[name][0], dtype=np.int64)

    def log(self, values: dict[str, Any]) -> None:
        """Note numbers that the step just made has led to."""
        for name, value in values.items():
            steps, numbers = self._logged.setdefault(name, ([], []))
            steps.append(self.step)
            numbers.append(float(value))

    def log_later(self, values: Any) -> None:
        """Note scalars where they are: a device's queue is not waited for until `fetch`."""
        for name, value in _named_numbers("step", values).items():
            steps, scalars = self._pending.setdefault(name, ([], []))
            steps.append(self.step)
            scalar = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
            if scalar.ndim:
                need_shape(f"{name!r} returned by step", scalar, ())
            scalars.append(scalar)

    def fetch(self) -> None:
        """Read the pending scalars, averaged over processes. Raises FloatingPointError at the first NaN or infinity."""
        bad = []
        for name, (steps, scalars) in self._pending.items():
            column = torch.stack(scalars)
            if data_parallel()[1] > 1:
                dist.all_reduce(column)
                column = column / data_parallel()[1]
            numbers = column.cpu().double().tolist()
            logged = self._logged.setdefault(name, ([], []))
            logged[0].extend(steps)
            logged[1].extend(numbers)
            bad += [(n, f"{name} is {x}") for n, x in zip(steps, numbers, strict=True) if not math.isfinite(x)]
        self._pending = {}
        if bad:
            n, what = min(bad, key=lambda found: found[0])
            raise FloatingPointError(f"{what} at step {n}")

    def state_dict(self) -> dict[str, Any]:
        logged = {
            name: {"steps": torch.from_numpy(self.steps(name)), "values": torch.from_numpy(self[name])} for name in self
        }
        return {"step": self.step, "seconds": self.seconds, "logged": logged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds, self._pending = state["step"], state["seconds"], {}
        self._logged = {name: (x["steps"].tolist(), x["values"].tolist()) for name, x in state["logged"].items()}


@checked
def fit(
    step: Callable[[Any], dict[str, Any]],
    batches: Iterable[Any] | None,
    n_steps: int,
    *,
    checkpoint: str | os.PathLike | None = None,
    every: int = 1000,
    evaluate: Callable[[], dict[str, Any]] | None = None,
    evaluate_every: int = 1000,
    state: dict[str, Any] | None = None,
    identity: dict[str, Any] | None = None,
    patience: int | None = None,
    watch: str = "loss",
    log_every: int = 50,
    progress: bool = True,
) -> History:
    """Call `step` on `n_steps` batches; return what it logged.

    `batches` is gone through again whenever it ends; None stands for steps that draw their own examples. `evaluate()`
    returns numbers to log, every `evaluate_every` steps and at the end, and leaves the models in the mode it found.
    Logged values are read from the device every `log_every` steps: there, a NaN or infinity stops the run. With
    `patience` the run ends early, once so many evaluations in a row have not lowered the number called `watch`, or not
    raised it where a minus stands before the name, as in "-accuracy".

    With `checkpoint`, a path, the run is saved there every `every` steps and at the end, and when the file is there
    already, `fit` continues it: a run killed at any moment and started again ends bit for bit as the uninterrupted
    one (same machine, same number of threads, operations that repeat). The file holds `state`, by default
    `step.state`: a dict, nested at will, of modules, optimizers, schedules, generators, tensors, and whatever has
    `state_dict` and `load_state_dict`; also torch's global generators, the history, and the place in `batches`, which
    must have these two methods, as `data.Batches` has. Moments find their parameters by name. `identity` names what
    else shaped the run (the seed, the objective, …): a file of a run with another value is refused, and so is one
    whose modules, optimizers or schedules were made with other settings, such as another learning rate or length.
    Ctrl-C finishes the step, saves, and raises KeyboardInterrupt; SIGTERM finishes the step, saves, and ends the
    process. A second run on the same file is refused while the first goes on.

    Under torchrun every process calls `fit` with the same arguments; all start from the state of the first, which
    alone writes and shows progress; all evaluate. Ctrl-C then stops the processes at different steps: the last
    checkpoint holds. Models that live on GPUs are built after `join_processes()`.

    Raises: TypeError, ValueError (arguments; more steps than `step.schedule` was made for; a checkpoint damaged or of
    another run), FloatingPointError (NaN), OSError (a checkpoint that cannot be written, or that another run holds).
    The file of the last checkpoint survives them all.

    >>> history = fit(lambda batch: {"loss": batch}, [1.0, 2.0], n_steps=4, progress=False)
    >>> history["loss"].tolist(), history.step
    ([1.0, 2.0, 1.0, 2.0], 4)
    """
    if isinstance(step, nn.Module) or not callable(step):
        raise TypeError(f"step is a {type(step).__name__}, expected a function of a batch, as gradient_step makes one")
    need_count("n_steps", n_steps)
    length = schedule_length(getattr(step, "schedule", None))
    if length is not None and n_steps > length:
        raise ValueError(f"n_steps is {n_steps}, expected at most {length}, for which the schedule of step was made")
    for name, value in (("every", every), ("evaluate_every", evaluate_every), ("log_every", log_every)):
        need_count(name, value)
    if patience is not None and need_count("patience", patience) and evaluate is None:
        raise ValueError("evaluate is None beside a patience, expected a function that returns numbers to watch")
    state = getattr(step, "state", None) if state is None else state
    if checkpoint is not None and state is None:
        raise ValueError("state is None and step has no .state, expected a dict of what the checkpoint must hold")
    if checkpoint is not None and batches is not None and not hasattr(batches, "load_state_dict"):
        raise ValueError("batches has no state_dict and load_state_dict, so no checkpoint of it could be resumed")

    history = History()
    run = {"state": state or {}, "history": history, "random": GlobalGenerators()}
    run["option"] = Identity(_settings(run["state"]) | (identity or {}))
    if hasattr(batches, "load_state_dict"):
        run["batches"] = batches
    path = None if checkpoint is None else Path(checkpoint).expanduser()
    saved = None
    join_processes()
    rank, world = data_parallel()
    with _Interrupt(enabled=path is not None and world == 1) as interrupt, Alone(path if rank == 0 else None):
        try:
            if path is not None and rank == 0:
                path.with_name(path.name + ".partial").unlink(missing_ok=True)  # of a run that was killed
                if path.exists():
                    load_checkpoint(path, run, whole=True)
                else:
                    save_checkpoint(path, run)  # says now, not in an hour, when it cannot be written
            if world > 1:
                _copy_from_first_process(run)
            saved = history.step
            need_count(f"n_steps, of which checkpoint {path} has made {saved},", n_steps, saved)
            quiet = {} if progress and rank == 0 else {"disable": True}  # left out, TQDM_DISABLE decides
            with tqdm(total=n_steps, initial=saved, unit="step", **quiet) as bar:
                source, started = _endless(batches), time.perf_counter() - history.seconds
                stop = patience is not None and _vain(history, watch) >= patience
                while history.step < n_steps and not stop:
                    values = step(next(source))
                    history.step += 1
                    history.log_later(values)
                    stop, end = interrupt.came, history.step == n_steps
                    evaluates = evaluate is not None and (end or history.step % evaluate_every == 0)
                    saves = path is not None and (end or stop or history.step % every == 0)
                    if end or evaluates or saves or history.step % log_every == 0:
                        history.fetch()
                        history.seconds = time.perf_counter() - started
                        bar.set_postfix({name: f"{history[name][-1]:.4g}" for name in values}, refresh=False)
                    if end or saves or evaluates:
                        _need_sound_parameters(run["state"])
                    if evaluates:
                        numbers = _named_numbers("evaluate", evaluate())
                        name = watch.removeprefix("-")
                        if patience is not None and (name not in numbers or name in values):
                            came = ", ".join(map(repr, numbers))
                            raise ValueError(f"watch is {watch!r}, expected one that only evaluate returns, of {came}")
                        history.log(numbers)
                        if patience is not None and _vain(history, watch) >= patience:
                            stop, saves = True, path is not None
                    if saves and rank == 0:
                        save_checkpoint(path, run)
                    if saves:
                        saved = history.step
                    bar.update()
        except (FloatingPointError, OSError) as error:
            kept = "nothing was saved" if path is None or saved is None else f"{path} holds step {saved}, intact"
            kind = FloatingPointError if isinstance(error, FloatingPointError) else OSError
            raise kind(f"training stopped after step {history.step}: {error}; {kept}") from error
        if world > 1:
            dist.all_reduce(torch.zeros(()))  # nobody leaves before the last checkpoint is written
    interrupt.act(f"training stopped after step {history.step}, which {path} holds")
    return history


def _vain(history: History, watch: str) -> int:
    """How many evaluations have come since the best of what is watched."""
    name, sign = watch.removeprefix("-"), -1 if watch.startswith("-") else 1
    if name not in history:
        return 0
    costs = np.nan_to_num(sign * history[name], nan=math.inf)
    return len(costs) - 1 - int(costs.argmin())


def _named_numbers(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise TypeError(f"{name} returned a {type(values).__name__}, expected a dict of scalars by name")
    return values


def _settings(state: dict[str, Any]) -> dict[str, Any]:
    """What the parts of a run were made with, by name: all that training depends on and their own state lacks."""
    found: dict[str, Any] = {}
    for path, leaf in leaves_of(state).items():
        if isinstance(leaf, nn.Module):
            kinds = {name: type(part).__name__ for name, part in leaf.named_modules()}
            found |= {f"{path}.{name}" if name else path: kind for name, kind in kinds.items()}
        if isinstance(leaf, EMA):
            found[f"{path} decay"] = leaf.decay
        if isinstance(leaf, torch.optim.Optimizer):
            for i, group in enumerate(leaf.param_groups):
                # A schedule moves the learning rate and the momentum, and keeps what it began from as initial_lr.
                given = {key: x for key, x in group.items() if isinstance(x, int | float | str)}
                moved = {"lr", "betas", "momentum"} if "initial_lr" in group else set()
                found |= {f"{path} group {i} {key}": x for key, x in given.items() if key not in moved}
        if isinstance(leaf, torch.optim.lr_scheduler.LRScheduler):
            found |= {f"{path} {key}": x for key, x in leaf.state_dict().items() if key in SCHEDULE_SETTINGS}
    return found


def _endless(batches: Iterable[Any] | None) -> Iterator[Any]:
    if batches is None:
        yield from itertools.repeat(())
    drawn = 0
    while True:
        before = drawn
        for batch in batches:
            drawn += 1
            yield batch
        if drawn == before:
            raise ValueError(
                f"batches ended after {drawn}, expected more, or an iterable that can be gone through again"
            )


class _Interrupt:
    """Turns the first Ctrl-C or SIGTERM into `.came`, to be acted on between steps; a second one acts at once."""

    def __init__(self, enabled: bool):
        here = enabled and threading.current_thread() is threading.main_thread()
        # A run put in the background was told to ignore Ctrl-C.
        heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        self.numbers = heard if here else []
        self.came: int | None = None

    def __enter__(self) -> "_Interrupt":
        self.before = {number: signal.signal(number, self._note) for number in self.numbers}
        return self

    def _note(self, number: int, _: Any) -> None:
        self.came = number
        self._forget()

    def _forget(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: Any) -> None:
        self._forget()

    def act(self, message: str) -> None:
        """Let the signal that came, if any, do what it would have done, now that the step is saved."""
        if self.came == signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)
        if self.came is not None:
            raise KeyboardInterrupt(message)


def _need_sound_parameters(state: dict[str, Any]) -> None:
    """Refuse to save parameters that are not finite, or that differ between processes."""
    for name, leaf in leaves_of(state).items():
        for key, p in leaf.named_parameters() if isinstance(leaf, nn.Module) else ():
            p = p.detach().cpu().double()
            if not torch.isfinite(p).all():
                raise FloatingPointError(f"parameter {name}.{key} has NaN or infinite values")
            if data_parallel()[1] > 1:
                ends = torch.stack([p.sum(), -p.sum()])
                dist.all_reduce(ends, dist.ReduceOp.MAX)
                if ends[0] != -ends[1]:
                    raise RuntimeError(
                        f"parameter {name}.{key} differs between processes: under torchrun only gradient_step "
                        "keeps them the same"
                    )


# --- many processes -------------------------------------------------------------------------------------------------


def join_processes() -> None:
    """Join the processes that `torchrun` started, each on its own GPU where there are GPUs; alone, do nothing.

    `fit` does it by itself. A program does it first, so that "cuda" means this process's GPU when it builds models;
    `core.data_parallel` then says which process this is. They part when the program ends, also by an error.

    >>> join_processes()  # without torchrun: nothing to join
    >>> data_parallel()
    (0, 1)
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or dist.is_initialized():
        return
    lacking = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if lacking:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {', '.join(lacking)} not set, expected all from torchrun, "
            "or WORLD_SIZE unset for one process"
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(part_processes)


def part_processes() -> None:
    """Part the processes that are joined, as they do by themselves when the program ends; alone, do nothing.

    >>> part_processes()
    >>> dist.is_initialized()
    False
    """
    if dist.is_initialized():
        # gloo waits for its threads, which may be waiting for Python's lock to drop a tensor. torch 2.6 holds that lock
        # while it lets a group go, but not while it lets a backend go: so the backend goes last.
        last = dist.group.WORLD._get_backend(torch.device("cpu"))
        dist.destroy_process_group()
        del last


def _global_rows(batch: tuple[Any, ...]) -> int:
    """How many rows the processes have together. Raises ValueError unless each has exactly its `core.share`."""
    rank, world = data_parallel()
    mine = len(batch[0]) if batch else 0
    total = torch.tensor(mine)  # on the CPU: a GPU would have to be waited for
    dist.all_reduce(total)
    rows = int(total)
    if rows < world:
        raise ValueError(f"the global batch has {rows} rows, expected at least one for each of {world} processes")
    part = share(rows)
    if mine != part.stop - part.start:
        raise ValueError(
            f"batch has {mine} of {rows} rows on process {rank} of {world}, expected {part.stop - part.start}, those "
            "that core.share names"
        )
    return rows


def _copy_from_first_process(run: dict[str, Any]) -> None:
    packed = [pack(run) if data_parallel()[0] == 0 else None]
    dist.broadcast_object_list(packed)
    if data_parallel()[0] > 0:
        unpack(run, *packed[0], "the first process", whole=True)
