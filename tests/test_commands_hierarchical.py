"""python -m dgmlib.hierarchical: trained, judged, saved, resumed."""

import contextlib
import copy
import io
import json
import re

import matplotlib.pyplot as plt
import pytest
import torch
from commands import cut_short, files
from exact import close, rng

from dgmlib import data, plots
from dgmlib import hierarchical as hier
from dgmlib.commands import hierarchical as command


def arguments(folder, *extra):
    small_run = "--data digits --latents 4 3 --hidden 16 8 --warm-up 1 --eval-samples 5 --epochs 3"
    return [*small_run.split(), *files(folder), *extra]


SHOWN = []  # what `main` drew: (images, options of show_images)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, show = tmp_path_factory.mktemp("hierarchical"), plots.show_images
    SHOWN.clear()

    def recorded(images, **options):
        SHOWN.append((images, options))
        return show(images, **options)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(plots, "show_images", recorded)
        before = plt.get_fignums()
        command.main(arguments(folder))
        assert plt.get_fignums() == before
    (folder / "printed").write_text(printed.getvalue())
    return folder


def test_main_trains_evaluates_and_saves(finished):
    result = json.loads((finished / "t.json").read_text())
    nll, printed = result["ours"], (finished / "printed").read_text()
    assert 15 < nll < 44.3 and result["seed"] == 0 and 0 <= result["minutes"]["processor"] < 5
    assert result["command"].startswith("python -m dgmlib.hierarchical --data digits")
    assert result["model"] == "HVAE 64-16-8, latents 4+3 (top-down)" and result["data"] == "digits"
    assert re.search(r"validation bound of the best epoch: -\d\d\.\d\d\n", printed)
    assert result["measure"] == "test NLL in nats, 250 images, 5 importance samples of the encoder"
    assert f"{nll:.2f}: {result['measure']}" in printed
    widened, bound, used, moving, costs = result["also"].values()
    assert widened < nll + 1 and nll < bound
    assert re.fullmatch("[0-4] of 4, [0-3] of 3", used) and re.fullmatch("[0-4], [0-3]", moving)
    assert re.fullmatch(r"\d+\.\d, \d+\.\d", costs)
    (free, first), (same, second) = SHOWN
    assert free.shape == (60, 1, 8, 8) and same.shape == (100, 1, 8, 8) and first["title"] == "samples"
    assert first["ncols"] == second["ncols"] == 20
    assert [options["ax"].get_subplotspec().rowspan.start for _, options in SHOWN] == [0, 1]
    assert plt.imread(finished / "t.png").shape[:2] == (540, 700)


def test_main_resumes_to_the_same_end(finished, tmp_path):
    cut_short(command.main, arguments(tmp_path))
    command.main(arguments(tmp_path))
    a, b = (json.loads((folder / "t.json").read_text())["ours"] for folder in (finished, tmp_path))
    assert a == b


def test_a_run_starts_from_the_mean_image_and_warms_up(tmp_path, monkeypatch):
    seen = {}

    class Stop(Exception):
        pass

    def stop(step, batches, n_steps, score, **options):
        seen.update(step=step, batches=batches, n_steps=n_steps, score=score, **options)
        raise Stop

    monkeypatch.setattr(command, "fit_best", stop)
    with pytest.raises(Stop):
        command.main(arguments(tmp_path, "--inference", "bottom_up", "--free-bits", "1.5", "--warm-up", "2"))
    images, step = data.load("digits"), seen["step"]
    train = data.fixed_binarisation(images.train, 17)
    close(step.model.down[0][-1].bias.double().sigmoid(), train.double().mean(0).clamp(0.001, 0.999), rtol=1e-5)
    assert (seen["n_steps"], seen["every"], seen["checkpoint"]) == (3 * 12, 12, tmp_path / "t.safetensors")
    assert (step.schedule.eta_min, step.schedule.T_max, step.schedule.base_lrs) == (0.02 * 1e-3, 36, [1e-3])
    warm_up = step.state["warm_up"]
    assert warm_up.n_calls == 24 and step.model.inference == "bottom_up" and step.ema is not None
    with torch.no_grad():
        valid = data.fixed_binarisation(images.valid, 17)
        assert seen["score"](step.model) == hier.elbo(step.model, valid, generator=rng(1)).mean().item()
        warm_up.calls += 12
        x, expected = train[:9], copy.deepcopy(step.state["generator"])
        loss = command.negative_elbo(step.model, x, warm_up=warm_up, floor=1.5, generator=step.state["generator"])
        close(loss, -hier.elbo(step.model, x, beta=0.5, floor=1.5, generator=expected), rtol=1e-6)
    assert int(warm_up.calls) == 13


def test_main_judges_on_a_drawn_subset(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    judged = []

    def stop(model, x, **options):
        judged.append(x)
        raise Stop

    monkeypatch.setattr(command, "unit_statistics", stop)
    with pytest.raises(Stop):
        command.main(arguments(tmp_path, "--test-images", "30", "--epochs", "1"))
    test = data.fixed_binarisation(data.load("digits").test, 17)
    assert torch.equal(judged[0], data.subset(test, 30, generator=rng()))


def test_the_options_that_are_not_given(monkeypatch):
    class Stop(Exception):
        pass

    seen = {}

    def stop(options, images):
        seen.update(vars(options), images=images)
        raise Stop

    monkeypatch.setattr(command, "train", stop)
    monkeypatch.setattr(data, "load", lambda name, device: (name, device))
    with pytest.raises(Stop):
        command.main(["--allow-dirty"])
    assert seen["images"] == ("binarized_mnist", "cpu") and seen["name"] == "hierarchical_binarized_mnist"
    assert (seen["latents"], seen["hidden"], seen["inference"]) == ([100, 50], [400, 200], "top_down")
    assert (seen["warm_up"], seen["free_bits"], seen["epochs"], seen["batch_size"]) == (50, 0.0, 100, 100)
    assert (seen["lr"], seen["eval_samples"], seen["test_images"]) == (1e-3, 200, None)
