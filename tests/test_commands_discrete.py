"""python -m dgmlib.discrete: trained, judged, saved, resumed."""

import contextlib
import io
import json
import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from commands import cut_short, files, under_torchrun
from exact import rng

from dgmlib import data, plots
from dgmlib.commands import discrete as command
from dgmlib.commands.runs import Minutes, Trained
from dgmlib.discrete import VQVAE


def arguments(folder, *extra):
    small = "--data digits --codes 8 --d-code 3 --widths 6 8 --epochs 6 --prior-width 8 --prior-depth 1"
    small += " --prior-epochs 4 --samples 30"
    return [*small.split(), *files(folder), *extra]


SHOWN = []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, show = tmp_path_factory.mktemp("vqvae"), plots.show_images
    SHOWN.clear()

    def recorded(images, **options):
        SHOWN.append((images, options))
        return show(images, **options)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(plots, "show_images", recorded)
        command.main(arguments(folder))
    (folder / "printed").write_text(printed.getvalue())
    return folder


def test_main_trains_bounds_judges_and_saves(finished):
    result, judged = (json.loads((finished / f"{name}.json").read_text()) for name in ("t", "t_samples"))
    assert 60 < result["ours"] < 64 * math.log(17) and result["seed"] == 0
    assert result["command"].startswith("python -m dgmlib.discrete --data digits")
    assert 0 <= judged["ours"] <= 1 and "30 samples" in judged["measure"]
    assert judged["minutes"]["wall"] >= result["minutes"]["wall"] > 0
    printed = (finished / "printed").read_text()
    found = re.search(
        r"test NLL at most (\S+) nats: (\S+) given the codes, (\S+) for the codes\n(\d) of 8 codes in use, "
        r"perplexity (\S+)\n",
        printed,
    )
    total, given, rate, used, use = map(float, found.groups())
    assert total == pytest.approx(given + rate, abs=0.02) and total == pytest.approx(result["ours"], abs=0.006)
    assert 0 < rate < 4 * math.log(8) * 1.5 and 1 <= use <= used <= 8
    assert re.search(r"recognised: \d+\.\d% \(test images: 97\.6%\); by class \[", printed)
    assert result["also"]["of 8 codes in use on test images"] == used
    assert result["also"]["perplexity of the codes"] == pytest.approx(use, abs=0.06)
    assert plt.imread(finished / "t.png").shape[:2] == (340, 700)
    (pairs, first), (samples, second) = SHOWN
    assert pairs.shape == (40, 1, 8, 8) and samples.shape == (30, 1, 8, 8)
    assert first["ncols"] == second["ncols"] == 20 and second["title"].startswith("30 samples: ")
    assert pairs[:20].max() == 1 and (16 * pairs[:20] % 1 == 0).all() and (16 * pairs[20:] % 1 != 0).any()


def test_main_resumes_to_the_same_end(finished, tmp_path):
    cut_short(command.main, arguments(tmp_path))  # in the middle of the second stage
    assert (tmp_path / "t_prior.safetensors").exists()
    command.main(arguments(tmp_path))
    a, b = (json.loads((folder / "t_samples.json").read_text())["ours"] for folder in (finished, tmp_path))
    assert a == b


def test_two_processes_learn_what_one_does(tmp_path):
    extra = ("--epochs", "0.5", "--prior-epochs", "0.5", "--batch-size", "101")
    one, two = (
        under_torchrun("dgmlib.discrete", lambda folder: arguments(folder, *extra), tmp_path, processes)
        for processes in (1, 2)
    )
    assert one == pytest.approx(two, abs=1e-2)


def test_codes_are_restarted_in_the_first_half_only(monkeypatch):
    seen, images = [], data.load("digits")
    options = {"codes": 4, "d_code": 2, "widths": [4], "blocks": 0, "beta": 0.25, "epochs": 12.0, "batch_size": 64}
    options |= {"lr": 1e-3, "seed": 0, "checkpoint": None, "identity": {}}
    restart = VQVAE.restart
    monkeypatch.setattr(
        VQVAE, "restart", lambda self, x, generator: seen.append((x.shape, restart(self, x, generator=generator)))
    )
    command.train_codes(command.argparse.Namespace(**options), images)
    assert [shape for shape, _ in seen] == [(512, 1, 8, 8)] * 2  # 240 steps: before steps 0 and 100


def test_grey_images_become_bits_and_levels_stay():
    x = torch.tensor([[[[0, 255], [128, 3]]]], dtype=torch.uint8)
    assert torch.equal(command.pixel_levels(x, 17), x.float())
    drawn = torch.cat([command.pixel_levels(x, 256, generator=rng(seed)) for seed in range(400)])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    means = drawn.mean(0)[0]
    assert means[0, 0] == 0 and means[0, 1] == 1 and abs(means[1, 0] - 0.5) < 0.15 and means[1, 1] < 0.1
    assert command._parts(1000, 250) == [250] * 4 and command._parts(30, 250) == [30]
    assert command._parts(7, 3) == [3, 3, 1]


OPTIONS = {"codes": 4, "d_code": 2, "widths": [4], "blocks": 0, "beta": 0.25, "epochs": 1.5, "batch_size": 64}
OPTIONS |= {"seed": 0, "lr": 1e-3, "checkpoint": Path("here/t.safetensors"), "identity": {"seed": 0}}
OPTIONS |= {"prior_width": 8, "prior_depth": 2, "prior_epochs": 30}


def kept(step, *_):
    return Trained(step.model, 0.0, Minutes(0.0, 0.0))


def test_both_stages_follow_their_recipe(monkeypatch):
    """What `fit_best` is given: steps, schedule, what is kept as the best, and where a run would be continued."""
    given, images, options = [], data.load("digits"), command.argparse.Namespace(**OPTIONS)
    monkeypatch.setattr(command, "fit_best", lambda *args, **kwargs: given.append((args, kwargs)) or kept(*args))
    command.train_codes(options, images)
    (step, batches, n_steps, score), kwargs = given[0]
    assert (
        n_steps == 30
        and kwargs == {"every": 30, "checkpoint": options.checkpoint, "identity": {"seed": 0}}
        and batches.batch_size == 64
    )
    assert (step.clip, step.every, step.last, step.levels) == (10.0, 100, 15, 17) and step.images is images.train
    assert step.schedule.total_steps == 30 and step.schedule._schedule_phases[0]["end_step"] == 0.05 * 30 - 1
    model = step.model
    assert (model.levels, len(model.codebook), model.codebook.shape[1], model.sides) == (17, 4, 2, [(8, 8), (4, 4)])
    terms = model.loss_terms(images.valid.float())
    assert score(model) == pytest.approx(-terms["distortion"].mean().item(), rel=1e-5)
    assert set(step(next(batches))) == {"loss", "distortion", "commitment", "grad_norm"}

    command.train_prior(options, images, model)
    (step, batches, n_steps, score), kwargs = given[1]
    assert n_steps == 600 and kwargs == {
        "every": 500,
        "checkpoint": Path("here/t_prior.safetensors"),
        "identity": {"seed": 0},
    }
    assert step.clip == 1.0 and step.schedule.total_steps == 600 and step.optimizer.defaults["weight_decay"] == 0.01
    assert step.schedule._schedule_phases[0]["end_step"] == 0.05 * 600 - 1 and batches.batch_size == 64
    prior = step.model
    assert (prior.n_values, prior.length, len(prior.blocks), prior.place.shape[1]) == (4, 16, 2, 8)
    with torch.no_grad():
        mean = prior.log_prob(model.encode(images.valid.float())).mean().item()
    assert score(prior) == pytest.approx(mean, rel=1e-5)
    before = [p.clone() for p in model.parameters()]
    step(next(batches))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))  # the codes are frozen


def test_grey_images_of_256_levels_are_modelled_as_bits(monkeypatch):
    given, images = [], data.load("digits")
    grey = data.Images("grey", 256, *(15 * x for x in (images.train, images.valid, images.test)))
    monkeypatch.setattr(command, "fit_best", lambda *args, **kwargs: given.append(args) or kept(*args))
    command.train_codes(command.argparse.Namespace(**OPTIONS), grey)
    step, batches, *_, score = given[0]
    assert step.model.levels == 2 and step(next(batches))["loss"] > 0 and score(step.model) < 0
