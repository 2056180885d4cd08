"""Measured runs: their options, what a checkpoint belongs to, and the result they write."""

import argparse
import functools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from dgmlib import train
from dgmlib.commands import runs
from dgmlib.commands.runs import (
    Clock,
    Minutes,
    fit_best,
    number,
    run_options,
    run_parser,
    save_figure,
    save_result,
    whole,
)
from dgmlib.data import Batches
from dgmlib.train import EMA, gradient_step

ROOT = Path(__file__).resolve().parents[1]


def squares(model, x):
    return (model(x) - 1).square().sum(-1)


def new_run(ema=True):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    averaged = EMA(model, 0.9) if ema else None
    step = gradient_step(model, squares, torch.optim.AdamW(model.parameters(), lr=0.05), ema=averaged)
    generator = torch.Generator().manual_seed(0)
    return step, Batches(torch.randn(11, 3, generator=generator), batch_size=4, generator=generator)


# --- options --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(runs, "commit_of_code", lambda: ("c0ffee", ""))


def thing():
    parser = run_parser("dgmlib.thing", "Train a thing.")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--lr", type=number(above=0), default=1e-3)
    parser.add_argument("--eval-samples", type=whole(1), default=5)
    return parser


def test_options_name_the_files_and_remember_the_command(clean):
    options = run_options(thing(), ["--seed", "2", "--data", "a b"], name="thing_{data}")
    assert options.command == "python -m dgmlib.thing --seed 2 --data 'a b'" and options.commit == "c0ffee"
    assert (options.name, options.checkpoint) == ("thing_a b_seed2", Path("runs/thing_a b_seed2.safetensors"))
    assert options.out == Path("book/results") and options.device == "cpu"
    options = run_options(thing(), ["--name", "mine", "--checkpoint", "~/a", "--out", "~/b"], name="thing_{data}")
    assert (options.name, options.checkpoint) == ("mine", Path.home() / "a") and options.out == Path.home() / "b"


def test_options_come_from_the_command_line(clean, monkeypatch):
    monkeypatch.setattr("sys.argv", ["thing.py", "--seed", "4"])
    options = run_options(thing(), None, name="thing")
    assert (options.seed, options.command) == (4, "python -m dgmlib.thing --seed 4")


def test_the_identity_is_every_option_that_shapes_training(clean):
    options = run_options(thing(), ["--lr", "0.5", "--name", "x"], "thing", free=("eval_samples",))
    assert options.identity == {"seed": 0, "data": "digits", "lr": 0.5, "commit": "c0ffee"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("--seed -1", "--seed: -1 was given, expected a whole number of at least 0"),
        ("--seed 1e3", "--seed: 1e3 was given, expected a whole number"),
        (f"--seed {2**63}", f"--seed: {2**63} was given, expected a whole number"),
        ("--eval-samples 0", "--eval-samples: 0 was given, expected a whole number of at least 1"),
        ("--lr 0", "--lr: 0 was given, expected a number above 0"),
        ("--lr nan", "--lr: nan was given, expected a number above 0"),
        ("--lr inf", "--lr: inf was given, expected a number above 0"),
        ("--lr abc", "--lr: abc was given, expected a number above 0"),
        ("--device gpu", "--device: gpu was given, expected cpu, cuda, or cuda with a number"),
        ("--device cuda:99", "--device: cuda:99 was given, expected a device of this machine, which has"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(clean, given, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        run_options(thing(), given.split(), name="thing")
    assert end.value.code == 2 and sentence in capsys.readouterr().err


def test_a_number_may_be_bounded_from_below():
    assert number(at_least=0)("0") == 0.0
    with pytest.raises(argparse.ArgumentTypeError, match=r"^-1 was given, expected a number of at least 0$"):
        number(at_least=0)("-1")


def test_uncommitted_code_is_refused_unless_the_run_says_so(monkeypatch, capsys):
    monkeypatch.setattr(runs, "commit_of_code", lambda: ("c0ffee", "dgmlib/vae.py"))
    with pytest.raises(SystemExit):
        run_options(thing(), [], name="thing")
    said = "the code has changes that no commit holds (dgmlib/vae.py): commit them, or say --allow-dirty"
    assert said in capsys.readouterr().err
    assert run_options(thing(), ["--allow-dirty"], name="thing").commit == "c0ffee-dirty"


def test_the_commit_is_that_of_the_code_and_results_do_not_make_it_dirty(tmp_path):
    """In a clone of our own: changes are named, but not those of results; a library outside a clone has no commit."""

    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def asked():
        code = "from dgmlib.commands.runs import commit_of_code as f; print(*f(), sep='|')"
        where = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=where, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    (tmp_path / "dgmlib").symlink_to(ROOT / "dgmlib")
    assert asked().split("|")[0] == str(subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or None
    )  # fmt: skip  # the file's own clone, wherever it is imported from
    (tmp_path / "dgmlib").unlink()
    package = tmp_path / "dgmlib"
    for folder in (package, package / "commands", tmp_path / "book" / "results"):
        folder.mkdir(parents=True)
    for name in ("__init__.py", "train.py", "checkpoint.py", "core.py", "commands/__init__.py", "commands/runs.py"):
        (package / name).write_bytes((ROOT / "dgmlib" / name).read_bytes())
    assert asked() == "None|"
    git("init", "-q")
    assert asked() == "None|"  # a repository, but not the library's
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git("add", "-A")
    git("commit", "-qm", "all")
    head = git("rev-parse", "HEAD")
    (tmp_path / "book" / "results" / "x.json").write_text("{}")
    assert asked() == f"{head}|"
    (package / "core.py").write_bytes((package / "core.py").read_bytes() + b"\n")
    (tmp_path / "new.py").write_text("")
    assert asked() == f"{head}|dgmlib/core.py, new.py"


# --- the best model of a run ----------------------------------------------------------------------------------------


def test_the_best_judged_weights_are_kept_over_a_resume(tmp_path):
    scores = [-3.0, 2.0, 1.0, 2.0]  # the second is the first of the two best
    seen, kept = [], []

    def score(model):
        assert not torch.is_grad_enabled()
        seen.append(model.weight.detach().clone())
        return scores[len(seen) - 1]

    path = tmp_path / "run.safetensors"
    for n_steps in (10, 20):
        step, batches = new_run()
        best = fit_best(step, batches, n_steps, score, every=5, checkpoint=path)
        kept.append(best.minutes)
        assert best.score == 2.0 and torch.equal(best.model.weight, seen[1])
        assert torch.equal(seen[-1], step.ema.model.weight)
    assert not torch.equal(seen[1], seen[-1])
    assert len(seen) == 4
    for first, second in zip(*kept, strict=True):
        assert 0 < first < second  # the second run adds its time to the first's
    assert not any(p.requires_grad for p in best.model.parameters())


def test_a_run_without_averaged_weights_judges_the_model_itself():
    step, batches = new_run(ema=False)
    seen = []

    def score(model):
        assert not model.training
        seen.append(model.weight.detach().clone())
        return [1.0, 2.0, 0.0][len(seen) - 1]

    best = fit_best(step, batches, 6, score, every=2)
    assert best.score == 2.0 and torch.equal(best.model.weight, seen[1]) and best.model is not step.model
    assert step.model.training and torch.equal(seen[2], step.model.weight) and not torch.equal(*seen[1:])


def test_a_run_without_a_better_model_ends_early_and_silently(monkeypatch, capsys):
    monkeypatch.setattr(train, "tqdm", functools.partial(train.tqdm, disable=False))
    step, batches = new_run()
    scores = iter([1.0, 2.0, 2.0, 0.0, 9.0])
    best = fit_best(step, batches, 50, lambda model: next(scores), every=5, patience=2, progress=False)
    assert best.score == 2.0 and step.ema.updates == 20 and capsys.readouterr().err == ""


def test_another_identity_is_refused_by_name(tmp_path):
    path = tmp_path / "run.safetensors"
    for identity, n_steps in (({"seed": 0, "objective": "elbo"}, 2), ({"seed": 0, "objective": "iwae"}, 4)):
        step, batches = new_run()
        if n_steps == 2:
            fit_best(step, batches, 2, lambda model: 0.0, every=1, checkpoint=path, identity=identity)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"does not fit this run: option objective is elbo, expected iwae$"):
        fit_best(step, batches, 4, lambda model: 0.0, every=1, checkpoint=path, identity=identity)
    assert path.read_bytes() == before


def test_a_clock_counts_over_resumes(monkeypatch):
    now = {"process": 60.0, "wall": 600.0}
    monkeypatch.setattr("time.process_time", lambda: now["process"])
    monkeypatch.setattr("time.perf_counter", lambda: now["wall"])
    clock = Clock()
    now.update(process=180.0, wall=900.0)
    assert clock.minutes == Minutes(2.0, 5.0)
    state = clock.state_dict()
    now.update(process=0.0, wall=0.0)
    later = Clock()
    later.load_state_dict(state)
    now.update(process=6.0, wall=60.0)
    assert later.minutes == pytest.approx((2.1, 6.0))
    assert later.minutes.plus(Minutes(1.0, 2.0)) == pytest.approx((3.1, 8.0))


# --- results --------------------------------------------------------------------------------------------------------

ROW = {
    "title": "VAE on MNIST",
    "model": "VAE 784-400-40",
    "parameters": 12,
    "data": "mnist",
    "measure": "test NLL in nats",
    "ours": 84.5,
    "also": {"-ELBO": 86.0, "units": "3 of 4"},
    "table": "binarised MNIST",
    "minutes": Minutes(3.14159, 4.0),
}


def options(folder):
    given = {"out": folder / "new", "name": "vae", "seed": 3, "command": "python -m dgmlib.vae", "commit": "c0ffee"}
    return argparse.Namespace(**given, device="cpu")


def test_a_result_says_what_was_run(tmp_path):
    save_result(options(tmp_path), **ROW, suffix="_samples")
    read = json.loads((tmp_path / "new" / "vae_samples.json").read_text())
    added = {"seed", "command", "commit", "date", "device", "threads", "versions"}
    assert read.keys() == ROW.keys() | added
    assert (read["ours"], read["also"], read["minutes"]) == (84.5, ROW["also"], {"processor": 3.14, "wall": 4.0})
    assert (read["seed"], read["commit"], read["threads"]) == (3, "c0ffee", torch.get_num_threads())
    assert read["versions"]["torch"] == torch.__version__ and read["device"].startswith("cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"title": " "}, "title is empty"),
        ({"ours": math.nan}, "ours is nan, expected a finite number"),
        ({"also": {"bound": math.inf}}, "bound is inf, expected a finite number"),
        ({"minutes": Minutes(1.0, math.inf)}, "wall is inf, expected a finite number"),
    ],
)
def test_an_incomplete_result_is_refused(change, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        save_result(options(tmp_path), **ROW | change)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure, _ = plt.subplots(figsize=(2, 1))
    save_figure(options(tmp_path), figure)
    path = tmp_path / "new" / "vae.png"
    assert plt.imread(path).shape[:2] == (100, 200) and figure.number not in plt.get_fignums()
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"vae.png could not be written \(No space left on device\)"):
        save_figure(options(tmp_path), figure)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def full(_):
    raise OSError(28, "No space left on device")
