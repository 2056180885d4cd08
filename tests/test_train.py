"""One step, the average, the loop, and its checkpoints, on one process."""

import functools
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dgmlib import train
from dgmlib.checkpoint import load_checkpoint, save_checkpoint
from dgmlib.data import Batches
from dgmlib.train import EMA, fit, gradient_step

WORKERS = Path(__file__).parent / "workers"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(WORKERS.parents[1]), "OMP_NUM_THREADS": "1"}


def squares(model, x):
    return (model(x) - 1).square().sum(-1)


def noisy(model, x, *, generator):
    return squares(model, x + torch.randn(x.shape, generator=generator, dtype=x.dtype))


def new_run(seed=0, width=4, optimizer=torch.optim.AdamW):
    """A step with all the parts a step can have, and its batches."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 2))
    opt = optimizer(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 3, 0.5)
    step = gradient_step(model, noisy, opt, clip=1.0, ema=EMA(model, 0.9), generator=generator, schedule=schedule)
    data = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))  # given anew, as a set read from disk is
    return step, Batches(data, batch_size=4, generator=generator)


def numbers(step):
    """Everything a run ends with, as one dict of tensors and plain values."""
    found = {"generator": step.state["generator"].get_state()} if "generator" in step.state else {}
    for name in step.state.keys() - {"generator"}:
        for key, value in step.state[name].state_dict().items():
            found[f"{name}.{key}"] = value
    return found


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def quick(*arguments, **options):
    return fit(*arguments, progress=False, **options)


# --- the step -------------------------------------------------------------------------------------------------------


def linear(dtype=torch.float64):
    return nn.Linear(3, 2, dtype=dtype)


def test_the_gradient_is_that_of_the_mean():
    torch.manual_seed(0)
    model, x = linear(), torch.randn(5, 3, dtype=torch.float64)
    gradient = torch.autograd.grad(squares(model, x).mean(), model.weight)[0]
    before = model.weight.detach().clone()
    values = gradient_step(model, squares, torch.optim.SGD(model.parameters(), lr=0.1))((x,))
    moved = (before - model.weight.detach()) / 0.1
    torch.testing.assert_close(moved, gradient, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(moved, 5 * gradient)  # the sum
    assert values.keys() == {"loss"} and values["loss"].shape == () and not values["loss"].requires_grad


def test_a_batch_twice_over_changes_nothing():
    torch.manual_seed(0)
    x = torch.randn(5, 3, dtype=torch.float64)
    ends = []
    for batch in (x, torch.cat([x, x])):
        torch.manual_seed(1)
        model = linear()
        values = gradient_step(model, squares, torch.optim.SGD(model.parameters(), lr=0.1))(batch)
        ends.append((values["loss"], model.weight.detach()))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clip", [0.1, 1e6, math.inf])
def test_clipping_is_that_of_torch(clip):
    ends = []
    for ours in (True, False):
        torch.manual_seed(0)
        model, x = linear(), torch.randn(5, 3, dtype=torch.float64)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if ours:
            norm = gradient_step(model, squares, optimizer, clip=clip)((x,))["grad_norm"]
        else:
            squares(model, x).mean().backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        ends.append((norm, model.weight.detach()))
    assert same(ends[0], ends[1])
    assert (ends[0][0] > 0.1).all()  # so that clip=0.1 did clip


def test_gradients_do_not_pile_up_and_the_schedule_moves_once_a_step():
    torch.manual_seed(0)
    model, x = linear(), torch.randn(5, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-30)
    step = gradient_step(model, squares, optimizer, schedule=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5))
    step((x,))
    first = model.weight.grad.clone()
    step((x,))
    torch.testing.assert_close(model.weight.grad, first)
    assert optimizer.param_groups[0]["lr"] == 1e-30 / 4


def test_other_terms_are_logged_as_means():
    model, x = linear(), torch.randn(4, 3, dtype=torch.float64)
    step = gradient_step(
        model,
        lambda model, x: {"loss": squares(model, x), "rate": torch.arange(4.0)},
        torch.optim.SGD(model.parameters()),
    )
    assert step((x,))["rate"] == 1.5


def test_a_batch_statistic_may_be_a_scalar():
    model, x = linear(), torch.randn(4, 3, dtype=torch.float64)
    step = gradient_step(model, lambda model, x: model(x).mean(0).square().sum(), torch.optim.SGD(model.parameters()))
    assert step((x,))["loss"].ndim == 0


def test_two_players_are_two_steps():
    """Each player's update is that of autograd with the other held fixed, whatever the other's loss left behind."""
    torch.manual_seed(0)
    a, b, x = linear(), linear(), torch.randn(4, 3, dtype=torch.float64)

    def first(model, x):
        return (model(x) * b(x)).sum(-1)

    def second(model, x):
        return -(a(x) * model(x)).sum(-1)

    start = a.weight.detach().clone(), b.weight.detach().clone()
    gradient = torch.autograd.grad(first(a, x).mean(), a.weight)[0]
    a_step = gradient_step(a, first, torch.optim.SGD(a.parameters(), lr=0.1))
    b_step = gradient_step(b, second, torch.optim.SGD(b.parameters(), lr=0.1))
    a_step(x)
    torch.testing.assert_close(a.weight.detach(), start[0] - 0.1 * gradient)
    gradient = torch.autograd.grad(second(b, x).mean(), b.weight)[0]
    b_step(x)
    torch.testing.assert_close(b.weight.detach(), start[1] - 0.1 * gradient)


@pytest.mark.parametrize(
    ("loss", "error", "sentence"),
    [
        (lambda m, x: squares(m, x)[:, None], ValueError, r"'loss' of loss has shape \(4, 1\), expected \(4,\)"),
        (lambda m, x: squares(m, x)[:2], ValueError, r"has shape \(2,\), expected \(4,\)"),
        (lambda m, x: {"elbo": squares(m, x)}, ValueError, "returned the terms 'elbo', expected 'loss' among them"),
        (lambda m, x: 3.0, TypeError, "is a float, expected a tensor of one value per example"),
        (lambda m, x: {"loss": squares(m, x), "kl": m(x)}, ValueError, r"'kl' of loss has shape \(4, 2\)"),
    ],
)
def test_a_loss_of_the_wrong_shape_is_refused(loss, error, sentence):
    model = linear()
    step = gradient_step(model, loss, torch.optim.SGD(model.parameters()))
    with pytest.raises(error, match=sentence):
        step((torch.zeros(4, 3, dtype=torch.float64),))


def test_wrong_parts_of_a_step_are_refused():
    model, other = linear(), linear()
    with pytest.raises(ValueError, match="optimizer holds 2 parameters that are not model's"):
        gradient_step(model, squares, torch.optim.SGD(other.parameters()))
    with pytest.raises(ValueError, match="clip is -1"):
        gradient_step(model, squares, torch.optim.SGD(model.parameters()), clip=-1.0)


@pytest.fixture(scope="module")
def alone():
    """What a process without the tests' type checks, which would refuse first and at length, says with TQDM_DISABLE."""
    code = """
import torch
from dgmlib.train import fit, gradient_step
linear = torch.nn.Linear(1, 1)
fit(lambda batch: {"x": 1.0}, None, 3)
for call in (
    lambda: gradient_step(len, len, torch.optim.SGD(linear.parameters())),
    lambda: gradient_step(linear, len, torch.optim.SGD),
    lambda: fit(len, None, 2.0),
):
    try:
        call()
    except TypeError as error:
        print(error)
"""
    environment = ENVIRONMENT | {"TQDM_DISABLE": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def test_wrong_types_are_refused_in_a_sentence(alone):
    assert alone.stdout.splitlines() == [
        "model is a builtin_function_or_method, expected a torch Module",
        "optimizer is a type, expected a torch Optimizer",
        "n_steps is 2.0, expected an int",
    ]


# --- the average ----------------------------------------------------------------------------------------------------


def average_of(path, decay):
    """What EMA makes of a parameter that takes the values `path`, the first one before any update."""
    model = nn.Module()
    model.w = nn.Parameter(torch.tensor(path[0], dtype=torch.float64))
    ema = EMA(model, decay)
    for value in path[1:]:
        with torch.no_grad():
            model.w.fill_(value)
        ema.update(model)
    return ema.model.w.item()


def test_ema_is_the_geometric_average():
    """With decay = 0.1 the warm-up, beta_1 = 1/10, never binds: weights are decay^(T - k) (1 - decay)."""
    path, decay = np.random.default_rng(0).normal(size=9), 0.1
    T = len(path) - 1

    def closed_form(shift):
        weights = (1 - decay) * decay ** (T - np.arange(1, T + 1) + shift)
        return decay ** (T + shift) * path[0] + weights @ path[1:]

    assert abs(average_of(path, decay) - closed_form(0)) < 1e-15
    assert abs(average_of(path, decay) - closed_form(1)) > 1e-3


def test_ema_warms_up_without_memory_of_the_start():
    """While t / (t + 9) < decay the weight of value k is 9 / (k + 9) binom(k + 9, 9) / binom(T + 9, 9)."""
    path = np.random.default_rng(1).normal(size=30)
    T = len(path) - 1

    def closed_form(first):  # updates counted from `first`: 1 is right, 0 and 2 are the off-by-one
        betas = [(t + first - 1) / (t + first + 8) for t in range(1, T + 1)]
        return path[0] * math.prod(betas) + sum(
            (1 - betas[k - 1]) * math.prod(betas[k:]) * path[k] for k in range(1, T + 1)
        )

    binomial = path[0] / math.comb(T + 9, 9) + sum(
        9 / (k + 9) * math.comb(k + 9, 9) / math.comb(T + 9, 9) * path[k] for k in range(1, T + 1)
    )
    ours = average_of(path, 0.9999)
    assert abs(ours - binomial) < 1e-14 and abs(ours - closed_form(1)) < 1e-14
    assert abs(ours - closed_form(0)) > 1e-4 and abs(ours - closed_form(2)) > 1e-4


def test_ema_copies_and_never_aliases():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema = EMA(model, 0.999)
    start = ema.model[0].weight.clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    torch.testing.assert_close(ema.model[0].weight, start, rtol=0, atol=0)
    model(torch.randn(8, 3))
    ema.update(model)
    torch.testing.assert_close(ema.model[0].weight, 0.1 * start + 0.9 * model[0].weight)
    # Buffers are those of the model, integers too, and again their own memory.
    assert same(dict(ema.model.named_buffers()), dict(model.named_buffers()))
    model(torch.randn(8, 3))
    assert not same(dict(ema.model.named_buffers()), dict(model.named_buffers()))
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        EMA(model, 1.5)


def test_ema_follows_the_step_after_the_optimizer():
    model, x = linear(), torch.randn(4, 3, dtype=torch.float64)
    ema, before = EMA(model, 0.999), model.weight.detach().clone()
    gradient_step(model, squares, torch.optim.SGD(model.parameters(), lr=0.1), ema=ema)((x,))
    torch.testing.assert_close(ema.model.weight, 0.1 * before + 0.9 * model.weight.detach())


# --- the loop -------------------------------------------------------------------------------------------------------


class Count:
    """A step that logs how many steps were made."""

    def __init__(self):
        self.n = 0

    def __call__(self, batch):
        self.n += 1
        return {"n": self.n, "seen": float(batch)}


def test_history_holds_every_step_and_every_evaluation():
    step = Count()
    history = quick(
        step, [10, 20, 30], 8, evaluate=lambda: {"valid": -step.n}, evaluate_every=3, log_every=5
    )  # the list is gone through again
    np.testing.assert_array_equal(history["n"], np.arange(1, 9))
    np.testing.assert_array_equal(history.steps("n"), np.arange(1, 9))
    np.testing.assert_array_equal(history["seen"], [10, 20, 30, 10, 20, 30, 10, 20])
    np.testing.assert_array_equal(history.steps("valid"), [3, 6, 8])
    np.testing.assert_array_equal(history["valid"], [-3, -6, -8])
    assert history["n"].dtype == np.float64 and history.step == 8 and history.seconds > 0
    assert list(history) == ["n", "seen", "valid"] and "n" in history and "loss" not in history


def test_a_step_may_draw_its_own_examples():
    assert quick(lambda batch: {"empty": len(batch)}, None, 3)["empty"].tolist() == [0, 0, 0]


def test_names_may_come_and_go():
    steps = iter(range(1, 7))
    history = quick(lambda batch: {"d": 1.0} | ({"g": 2.0} if next(steps) % 3 == 0 else {}), None, 6)
    assert history.steps("g").tolist() == [3, 6] and len(history["d"]) == 6


def costs(*numbers, name="cost"):
    """An evaluation that returns these, one after the other."""
    left = iter(numbers)
    return lambda: {name: next(left)}


def test_a_run_ends_when_what_is_watched_has_not_improved_for_so_many_evaluations():
    watched = {"evaluate_every": 2, "patience": 2}
    history = quick(Count(), [1], 99, evaluate=costs(3, 1, 2, 1, 0), watch="cost", **watched)
    assert history.step == 8 and history["cost"].tolist() == [3, 1, 2, 1]  # a tie is no improvement
    falling = costs(5, 6, 7, 6, math.nan, 0, name="accuracy")
    assert quick(Count(), [1], 99, evaluate=falling, watch="-accuracy", **watched).step == 10
    assert quick(Count(), [1], 5, evaluate=costs(3, 1, 2), watch="cost", **watched).step == 5


def test_a_run_out_of_patience_is_saved_and_stays_ended(tmp_path):
    path = tmp_path / "run.safetensors"
    ends = []
    for n_steps in (7, 50, 50):  # the first is cut short before its patience ends
        step, batches = new_run()
        history = fit(
            step, batches, n_steps, checkpoint=path, evaluate=lambda: {"cost": 9.0},
            evaluate_every=5, patience=3, watch="cost", progress=False,
        )  # fmt: skip
        ends.append(history.step)
    assert ends == [7, 15, 15] and history["cost"].tolist() == [9.0] * 4  # at steps 5, 7, 10, 15


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        ((Count(), [1], 2), {"patience": 0}, ValueError, "patience is 0, expected at least 1"),
        ((Count(), [1], 2), {"patience": 1}, ValueError, "evaluate is None beside a patience, expected a function"),
        (
            (Count(), [1], 2),
            {"patience": 1, "evaluate": lambda: {"cost": 1.0}},
            ValueError,
            "watch is 'loss', expected one that only evaluate returns, of 'cost'",
        ),
        (
            (Count(), [1], 2),
            {"patience": 1, "watch": "-n", "evaluate": lambda: {"n": 1.0}},
            ValueError,
            "watch is '-n', expected one that only evaluate returns, of 'n'",
        ),
        ((Count(), [1], 0), {}, ValueError, "n_steps is 0, expected at least 1"),
        ((Count(), [1], 2), {"every": 0}, ValueError, "every is 0"),
        ((Count(), [1], 2), {"log_every": 0}, ValueError, "log_every is 0"),
        ((Count(), iter([1]), 2), {}, ValueError, "batches ended after 1, expected more"),
        ((Count(), [], 2), {}, ValueError, "batches ended after 0"),
        ((lambda b: torch.zeros(()), [1], 2), {}, TypeError, "step returned a Tensor, expected a dict"),
        ((lambda b: {"x": torch.zeros(2)}, [1], 2), {}, ValueError, r"'x' returned by step has shape \(2,\)"),
        ((Count(), None, 2), {"checkpoint": "x"}, ValueError, r"state is None and step has no \.state"),
        ((Count(), [1], 2), {"checkpoint": "x", "state": {}}, ValueError, "batches has no state_dict"),
        ((Count(), None, 2), {"checkpoint": "x", "state": {"a": 3}}, TypeError, "state/a is a int, expected what has"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, error, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=sentence):
        quick(*arguments, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_bar_shows_rate_and_loss_and_is_silent_on_request(monkeypatch, capsys, alone):
    monkeypatch.setattr(train, "tqdm", functools.partial(train.tqdm, disable=False))
    fit(Count(), [1], 5)
    bar = capsys.readouterr().err
    assert "5/5" in bar and "step/s" in bar and "n=5" in bar
    fit(Count(), [1], 5, progress=False)
    assert capsys.readouterr().err == ""
    assert alone.stderr == ""


# --- NaN ------------------------------------------------------------------------------------------------------------


def test_nan_stops_the_run_and_leaves_the_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"

    def run(bad):
        step, batches = new_run()
        calls = iter(range(1, 100))

        def poisoned(batch):
            values = step(batch)
            return values | {"kl": torch.tensor(bad if next(calls) == 7 else 1.0)}

        return quick(poisoned, batches, 20, checkpoint=path, every=5, log_every=9, state=step.state)

    with pytest.raises(FloatingPointError) as stop:
        run(math.nan)
    assert str(stop.value) == f"training stopped after step 9: kl is nan at step 7; {path} holds step 5, intact"
    path.unlink()
    with pytest.raises(FloatingPointError, match="kl is inf at step 7"):
        run(math.inf)
    path.unlink()
    assert run(1.0).step == 20
    with pytest.raises(FloatingPointError, match="loss is nan at step 1; nothing was saved"):
        quick(lambda batch: {"loss": torch.tensor(math.nan)}, None, 3)


def test_parameters_that_just_broke_are_not_saved(tmp_path):
    """The loss of step 5 is finite, its update is not: a checkpoint then would resume into NaN for ever."""
    path = tmp_path / "run.safetensors"
    step, batches = new_run()

    def breaks(batch):
        values = step(batch)
        if step.ema.updates == 5:
            with torch.no_grad():
                step.model[0].weight[0, 0] = math.nan
        return values

    with pytest.raises(FloatingPointError, match=r"parameter model\.0\.weight has NaN .*; .* holds step 0, intact"):
        quick(breaks, batches, 10, checkpoint=path, every=5, state=step.state)
    step, batches = new_run()
    assert quick(step, batches, 10, checkpoint=path).step == 10


# --- exact resume ---------------------------------------------------------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    whole, batches = new_run()
    history = quick(whole, batches, 20, evaluate=lambda: {"mean": whole.ema.model[0].weight.mean()}, evaluate_every=4)
    path = tmp_path / "new" / "folder" / "run.safetensors"
    first, batches = new_run()
    quick(first, batches, 12, checkpoint=path, evaluate=lambda: {}, every=5)
    second, batches = new_run(seed=7)  # all that differs here must come from the file
    resumed = quick(second, batches, 20, checkpoint=path, log_every=3)
    assert same(numbers(second), numbers(whole)) and not same(numbers(first), numbers(whole))
    np.testing.assert_array_equal(resumed["loss"], history["loss"])
    np.testing.assert_array_equal(resumed.steps("loss"), np.arange(1, 21))
    third, batches = new_run(seed=8)  # a finished run is read, not run
    assert quick(third, batches, 20, checkpoint=path).step == 20 and same(numbers(third), numbers(whole))
    with pytest.raises(ValueError, match=r"of which checkpoint .* has made 20, is 19, expected at least 20"):
        quick(third, batches, 19, checkpoint=path)


@pytest.mark.parametrize("forgotten", ["model", "optimizer", "ema", "schedule", "generator", "batches", "random"])
def test_each_part_of_the_state_matters(forgotten, tmp_path, monkeypatch):
    """The comparison above sees each part: a run resumed without any one of them ends elsewhere."""
    whole, batches = new_run()
    quick(whole, batches, 20)
    for seed, n_steps in ((0, 12), (7, 20)):
        step, batches = new_run(seed=seed)
        state = {name: part for name, part in step.state.items() if name != forgotten}
        if forgotten == "batches":
            monkeypatch.setattr(Batches, "load_state_dict", lambda self, state: None)
        if forgotten == "random":
            monkeypatch.setattr(train.GlobalGenerators, "load_state_dict", lambda self, state: None)
        quick(step, batches, n_steps, checkpoint=tmp_path / "run", state=state)
    assert not same(numbers(step), numbers(whole))


@pytest.fixture
def terminal():
    """Ctrl-C as in a terminal, also when the tests themselves run in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_finishes_the_step_saves_and_stops(tmp_path, terminal):
    whole, batches = new_run()
    quick(whole, batches, 20)
    path = tmp_path / "run.safetensors"
    step, batches = new_run()
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(batch):
        if step.ema.updates == 6:  # in the middle of step 7
            signal.raise_signal(signal.SIGINT)
        return step(batch)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 7, which .* holds"):
        quick(interrupted, batches, 20, checkpoint=path, state=step.state)
    assert signal.getsignal(signal.SIGINT) is handler
    step, batches = new_run(seed=7)
    history = quick(step, batches, 20, checkpoint=path)
    assert same(numbers(step), numbers(whole)) and len(history["loss"]) == 20


def test_ctrl_c_stays_ignored_where_it_was(tmp_path, terminal):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def interrupted(batch):
        signal.raise_signal(signal.SIGINT)
        return {"loss": 0.0}

    assert quick(interrupted, None, 3, checkpoint=tmp_path / "run", state={"x": torch.zeros(1)}).step == 3


def test_a_second_ctrl_c_acts_at_once(tmp_path, terminal):
    def twice(batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was not heard")

    with pytest.raises(KeyboardInterrupt):
        quick(twice, None, 3, checkpoint=tmp_path / "run", state={"x": torch.zeros(1)})


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    worker = [sys.executable, str(WORKERS / "killed_runs.py"), str(folder)]
    done = subprocess.run(worker, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sigkill_at_ten_moments_loses_nothing(killed):
    assert len(killed["runs"]) == 10
    for moment, came, again, left, digest in killed["runs"]:
        assert came == -signal.SIGKILL, moment
        assert again == 0 and left == [], moment
        assert digest == killed["reference"], moment


# --- what a checkpoint may meet -------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_run_with_the_old_checkpoint_whole(tmp_path):
    """RLIMIT_FSIZE stands in for the full disk: the file at step 0, without moments, fits; the next does not."""
    path = tmp_path / "run.safetensors"
    step, batches = new_run(width=64)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(batch):
        if step.ema.updates == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
        return step(batch)

    try:
        with pytest.raises(OSError) as stop:
            quick(fill, batches, 20, checkpoint=path, every=5, state=step.state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = f"training stopped after step 5: [Errno 27] {path} could not be written (File too large); {path} holds step"
    assert str(stop.value) == said + " 0, intact"
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    whole, batches = new_run(width=64)
    quick(whole, batches, 8)
    again, batches = new_run(width=64, seed=7)
    quick(again, batches, 8, checkpoint=path)
    assert same(numbers(again), numbers(whole))


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    step, batches = new_run()
    with pytest.raises(OSError, match=r"training stopped after step 0: .*; nothing was saved"):
        quick(step, batches, 5, checkpoint=tmp_path / "file" / "run")
    with pytest.raises(OSError, match=f"checkpoint {tmp_path} could not be read"):
        quick(step, batches, 5, checkpoint=tmp_path)
    assert step.ema.updates == 0


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff" * len(content),
        lambda content: flip(content, len(content) - 1000),  # in a tensor: the format itself would not notice
        lambda content: content.replace(b"0.05", b"0.06"),  # in a number
    ],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(damage, tmp_path):
    path = tmp_path / "run.safetensors"
    quick(*new_run(), 3, checkpoint=path)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    step, batches = new_run(seed=3)
    before = {key: value.clone() for key, value in step.model.state_dict().items()}
    with pytest.raises(ValueError, match=r"checkpoint .*run\.safetensors is damaged \(.*\), expected") as refusal:
        quick(step, batches, 5, checkpoint=path)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == content and same(step.model.state_dict(), before)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"width": 5}, r"state/model\.0\.weight is \(4, 3\) torch.float32, expected \(5, 3\) torch.float32"),
        ({"optimizer": torch.optim.SGD}, "state/optimizer is AdamW, expected SGD"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(other, sentence, tmp_path):
    path = tmp_path / "run.safetensors"
    quick(*new_run(), 3, checkpoint=path)
    with pytest.raises(ValueError, match=f"checkpoint .* does not fit this run: {sentence}"):
        quick(*new_run(**other), 5, checkpoint=path)
    step, batches = new_run()
    with pytest.raises(ValueError, match="does not fit this run: the run has no 'state/ema'"):
        quick(step, batches, 5, checkpoint=path, state={k: v for k, v in step.state.items() if k != "ema"})
    with pytest.raises(ValueError, match="does not fit this run: it has no 'state/critic'"):
        quick(step, batches, 5, checkpoint=path, state=step.state | {"critic": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"this run: batches refused it \(state has batch_size 4"):
        quick(step, Batches(torch.zeros(11, 3), batch_size=5), 5, checkpoint=path)
    opt = torch.optim.AdamW([{"params": step.model[0].parameters()}, {"params": step.model[3].parameters()}])
    with pytest.raises(ValueError, match=r"of state/model\.3\.weight is in group 0, expected in group 1"):
        quick(step, batches, 5, checkpoint=path, state=step.state | {"optimizer": opt})


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="holds tensors but no training state"):
        load_checkpoint(tmp_path / "weights.safetensors", {})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere", {})


def test_a_partial_file_of_a_killed_run_is_removed(tmp_path):
    path = tmp_path / "run.safetensors"
    quick(*new_run(), 3, checkpoint=path)
    (tmp_path / "run.safetensors.partial").write_bytes(b"half")
    quick(*new_run(), 3, checkpoint=path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_weights_alone_can_be_taken(tmp_path):
    path = tmp_path / "run.safetensors"
    step, batches = new_run()
    quick(step, batches, 3, checkpoint=path)
    other = new_run(seed=5)[0]
    load_checkpoint(path, {"state": {"ema": other.ema}})
    assert same(other.ema.state_dict(), step.ema.state_dict())
    assert not same(other.model.state_dict(), step.model.state_dict())


def test_what_a_state_may_hold_comes_back_as_it_was(tmp_path):
    """Tied weights, layouts, dtypes, tuples, integer keys, floats to the last bit, tensors kept outside any module."""

    class Anything:
        def __init__(self, content):
            self.content = content

        def state_dict(self):
            return self.content

        def load_state_dict(self, content):
            self.content = content

    def make(scale):
        torch.manual_seed(scale)
        tied = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        tied[1].weight = tied[0].weight
        content = {
            3: (0.1 * scale, math.inf, -0.0, None, True, "é/\n"),
            "t": [torch.randn(2, 3).bfloat16(), torch.randn(3, 2).T, torch.tensor(scale), torch.empty(0, 2)],
        }
        return {"a": {"tied": tied, "any": Anything(content)}, "chain": torch.randn(4, 2)}

    was, now = make(1), make(2)
    save_checkpoint(tmp_path / "x", was)
    chain = now["chain"]
    load_checkpoint(tmp_path / "x", now, whole=True)
    assert chain is now["chain"] and torch.equal(chain, was["chain"])
    assert same(now["a"]["any"].content, was["a"]["any"].content)
    assert math.copysign(1, now["a"]["any"].content[3][2]) == -1
    assert same(now["a"]["tied"].state_dict(), was["a"]["tied"].state_dict())
    with pytest.raises(TypeError, match="the state of odd is a set, expected tensors"):
        save_checkpoint(tmp_path / "y", {"odd": Anything({1, 2})})


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_channels_last_moments_keep_their_layout(options, tmp_path):
    def run():
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        step = gradient_step(
            model, lambda m, x: m(x).square().mean((1, 2, 3)), torch.optim.AdamW(model.parameters(), 0.1, **options)
        )
        return step, Batches(torch.randn(8, 3, 5, 5), batch_size=4)

    whole, batches = run()
    quick(whole, batches, 10)
    for n_steps in (5, 10):
        step, batches = run()
        quick(step, batches, n_steps, checkpoint=tmp_path / "run")
    assert same(numbers(step), numbers(whole))
    assert step.optimizer.state[step.model.weight]["exp_avg"].stride() == step.model.weight.stride()


# --- a checkpoint belongs to its run --------------------------------------------------------------------------------


def with_parts(**change):
    """A run whose parts are made from settings, one of them changed."""
    made = {"act": nn.Tanh, "lr": 0.05, "decay": 0.9, "length": 12, "clip": 1.0, "p": 0.5, "beta": 0.99} | change
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), made["act"](), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=made["lr"], betas=(0.9, made["beta"]))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, made["length"])
    averaged = EMA(model, made["decay"])
    step = gradient_step(model, squares, optimizer, clip=made["clip"], ema=averaged, schedule=schedule)
    return step, Batches(torch.zeros(8, 3), batch_size=4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"act": nn.ReLU}, "option model.1 is Tanh, expected ReLU"),
        ({"lr": 0.1}, "option optimizer group 0 initial_lr is 0.05, expected 0.1"),
        ({"decay": 0.99}, "option ema decay is 0.9, expected 0.99"),
        ({"length": 20}, "option schedule T_max is 12, expected 20"),
        ({"clip": None}, "state/option clip is 1.0, expected None"),
    ],
)
def test_a_part_made_with_another_setting_is_refused_by_name(change, sentence, tmp_path):
    path = tmp_path / "run.safetensors"
    quick(*with_parts(), 3, checkpoint=path)
    content = path.read_bytes()
    step, batches = with_parts(**change)
    with pytest.raises(ValueError, match=re.escape(f"does not fit this run: {sentence}") + "$"):
        quick(step, batches, 6, checkpoint=path)
    assert step.ema.updates == 0 and path.read_bytes() == content
    assert quick(*with_parts(), 6, checkpoint=path).step == 6


def test_a_learning_rate_without_a_schedule_belongs_to_the_run_too(tmp_path):
    def run(lr):
        model = nn.Linear(3, 2)
        return gradient_step(model, squares, torch.optim.SGD(model.parameters(), lr=lr))

    data = torch.zeros(8, 3)
    quick(run(0.1), Batches(data, batch_size=4), 2, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"option optimizer group 0 lr is 0\.1, expected 0\.5"):
        quick(run(0.5), Batches(data, batch_size=4), 4, checkpoint=tmp_path / "run")


@pytest.mark.parametrize("kind", ["cosine", "one cycle"])
def test_more_steps_than_the_schedule_has_are_refused_before_any(kind, tmp_path):
    """Past its length a cosine climbs again, and OneCycleLR raises after the step was made."""

    def run(length):
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        schedules = torch.optim.lr_scheduler
        cosine = kind == "cosine"
        schedule = (
            schedules.CosineAnnealingLR(optimizer, length) if cosine else schedules.OneCycleLR(optimizer, 0.1, length)
        )
        return gradient_step(model, squares, optimizer, schedule=schedule)

    x, path = torch.zeros(8, 3), tmp_path / "run"
    step = run(10)
    before = step.model.weight.detach().clone()
    with pytest.raises(ValueError, match="n_steps is 11, expected at most 10, for which the schedule of step was made"):
        quick(step, Batches(x, batch_size=4), 11, checkpoint=path)
    assert torch.equal(step.model.weight, before) and not path.exists()
    quick(step, Batches(x, batch_size=4), 10, checkpoint=path)
    with pytest.raises(ValueError, match="schedule ends after 10 steps, all made"):  # as one of two players
        step(x)
    with pytest.raises(ValueError, match=r"does not fit this run: option schedule .* is 10, expected 20"):
        quick(run(20), Batches(x, batch_size=4), 20, checkpoint=path)


def test_moments_find_their_parameters_by_name(tmp_path):
    """Two layers of one shape, listed by the second run in the other order: by number they would swap moments."""

    def run(order):
        torch.manual_seed(0)
        model = nn.ModuleDict({name: nn.Linear(3, 3, dtype=torch.float64) for name in ("a", "b")})
        loss = lambda m, x: (m["b"](m["a"](x).tanh()) - 1).square().sum(-1)  # noqa: E731
        optimizer = torch.optim.Adam([p for name in order for p in model[name].parameters()], lr=0.05)
        generator = torch.Generator().manual_seed(0)
        data = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        return gradient_step(model, loss, optimizer), Batches(data, batch_size=4, generator=generator)

    whole, batches = run("ab")
    quick(whole, batches, 10)
    path = tmp_path / "run"
    quick(*run("ab"), 5, checkpoint=path)
    resumed, batches = run("ba")
    quick(resumed, batches, 10, checkpoint=path)
    assert same(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))


def test_a_second_run_on_one_file_is_refused_while_the_first_goes_on(tmp_path):
    path, refusals = tmp_path / "run.safetensors", []
    step, batches = new_run()

    def twice(batch):
        if step.ema.updates == 3:
            with pytest.raises(OSError) as refusal:
                quick(*new_run(seed=1), 20, checkpoint=path)
            refusals.append(str(refusal.value))
        return step(batch)

    quick(twice, batches, 5, checkpoint=path, state=step.state)
    said = f"checkpoint {path} belongs to a run that goes on (it holds run.safetensors.lock), expected one run a file"
    assert refusals == [said]
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    again, batches = new_run()
    assert quick(again, batches, 6, checkpoint=path).step == 6


def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path):
    (tmp_path / "run.lock").write_text("")
    assert quick(*new_run(), 2, checkpoint=tmp_path / "run").step == 2


def test_a_tilde_is_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    step, batches = new_run()
    quick(step, batches, 2, checkpoint="~/deep/run")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run"]
    load_checkpoint("~/deep/run", {"state": {"ema": new_run()[0].ema}})
    save_checkpoint("~/other", {"x": torch.zeros(1)})
    assert (tmp_path / "other").exists()


def test_sigterm_finishes_the_step_saves_and_ends_the_process(tmp_path):
    """In a process of its own, which must end as one that nobody caught the signal in."""
    path = tmp_path / "run.safetensors"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_train import new_run, quick
step, batches = new_run()
def interrupted(batch):
    if step.ema.updates == 6:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(batch)
quick(interrupted, batches, 20, checkpoint={str(path)!r}, state=step.state)
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    whole, batches = new_run()
    quick(whole, batches, 20)
    step, batches = new_run()
    load_checkpoint(path, {"state": step.state})
    assert step.ema.updates == 7 and [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    step, batches = new_run(seed=7)
    quick(step, batches, 20, checkpoint=path)
    assert same(numbers(step), numbers(whole))


def test_a_flipped_bit_is_always_told_in_a_sentence(tmp_path):
    """400 seeded bits of a checkpoint, one at a time: each is damage, and none is a bare KeyError."""
    path = tmp_path / "run"
    save_checkpoint(path, {"model": nn.Linear(2, 2), "number": torch.zeros(1)})
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(8 * len(content), size=400).tolist():
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"^checkpoint .*, expected") as refusal:
            load_checkpoint(path, {"model": nn.Linear(2, 2), "number": torch.zeros(1)}, whole=True)
        assert "\n" not in str(refusal.value)


def descent(**options):
    model = linear()
    return gradient_step(model, squares, torch.optim.SGD(model.parameters()), **options)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: descent(clip=0.0), ValueError, "clip is 0.0, expected a number above 0"),
        (lambda: descent(clip=math.nan), ValueError, "clip is nan, expected"),
        (lambda: EMA(linear().bfloat16()), TypeError, "model has the parameter weight in torch.bfloat16"),
        (lambda: fit(linear(), None, 3), TypeError, "step is a Linear, expected a function of a batch"),
        (lambda: save_checkpoint("x", linear()), TypeError, "state is a Linear, expected a dict"),
        (
            lambda: quick(lambda batch: {"x": 1.0}, None, 3, evaluate=lambda: None),
            TypeError,
            "evaluate returned a NoneType, expected a dict of scalars by name",
        ),
    ],
)  # fmt: skip
def test_what_cannot_train_is_refused_by_name(untyped, call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()


def test_a_world_size_left_over_is_told(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2 but RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not set"):
        quick(lambda batch: {"x": 1.0}, None, 3)


# --- CUDA -----------------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_a_gpu_resume_is_exact_and_steps_do_not_wait(tmp_path):
    def run(seed):
        torch.manual_seed(seed)
        generator = torch.Generator("cuda").manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 3)).cuda()

        def loss(model, x, *, generator):
            return squares(model, x + torch.randn(x.shape, generator=generator, device=x.device))

        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        step = gradient_step(model, loss, optimizer, clip=1.0, ema=EMA(model, 0.9), generator=generator)

        def unwaiting(batch):
            torch.cuda.set_sync_debug_mode("error")
            try:
                return step(batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return step, unwaiting, Batches(torch.randn(32, 3).cuda(), batch_size=8, generator=generator)

    whole, unwaiting, batches = run(0)
    quick(unwaiting, batches, 20, state=whole.state)
    for seed, n_steps in ((0, 12), (7, 20)):
        step, unwaiting, batches = run(seed)
        quick(unwaiting, batches, n_steps, checkpoint=tmp_path / "run", state=step.state)
    assert same(numbers(step), numbers(whole))


def test_saving_leaves_no_file_open(tmp_path):
    save_checkpoint(tmp_path / "a", {"x": torch.zeros(1)})
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[0], 512), limit[1]))
    try:
        for _ in range(520):
            save_checkpoint(tmp_path / "a", {"x": torch.zeros(1)})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
