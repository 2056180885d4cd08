"""The options of measured runs, and the best model of a run over its resumes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dgmlib.data import Batches
from dgmlib.runs import fit_best, run_options, run_parser
from dgmlib.train import EMA, gradient_step


def squares(model, x):
    return (model(x) - 1).square().sum(-1)


def new_run(ema=True):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    averaged = EMA(model, 0.9) if ema else None
    step = gradient_step(model, squares, torch.optim.AdamW(model.parameters(), lr=0.05), ema=averaged)
    generator = torch.Generator().manual_seed(0)
    return step, Batches(torch.randn(11, 3, generator=generator), batch_size=4, generator=generator)


def test_options_name_the_files_and_remember_the_command():
    parser = run_parser("dgmlib.thing", "Train a thing.")
    parser.add_argument("--data", default="digits")
    options = run_options(parser, ["--published", "88.3", "A Source (2016)", "--seed", "2"], name="thing_{data}")
    assert options.command == "python -m dgmlib.thing --published 88.3 'A Source (2016)' --seed 2"
    assert options.published == {"value": 88.3, "source": "A Source (2016)"} and options.seed == 2
    assert (options.name, options.checkpoint) == ("thing_digits", Path("runs/thing_digits.safetensors"))
    assert options.out == Path("book/results") and options.device == "cpu"
    options = run_options(parser, ["--name", "mine", "--checkpoint", "a/b"], name="thing_{data}")
    assert (options.name, options.checkpoint, options.published) == ("mine", Path("a/b"), None)


def test_options_come_from_the_command_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["thing.py", "--seed", "4"])
    options = run_options(run_parser("dgmlib.thing", "Train a thing."), None, name="thing")
    assert (options.seed, options.command) == (4, "python -m dgmlib.thing --seed 4")


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
        kept.append(best.seconds.item())
        assert best.score == 2.0 and torch.equal(best.model.weight, seen[1])
        assert torch.equal(seen[-1], step.ema.model.weight)
    assert not torch.equal(seen[1], seen[-1])
    assert len(seen) == 4 and 0 < kept[0] < kept[1]  # the second run adds its time to the first's
    assert not any(p.requires_grad for p in best.model.parameters())


def test_a_run_without_averaged_weights_has_no_best():
    step, batches = new_run(ema=False)
    with pytest.raises(ValueError, match="step has no ema, expected a gradient_step with averaged weights to judge"):
        fit_best(step, batches, 2, lambda model: 0.0, every=1)
