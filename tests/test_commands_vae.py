"""python -m dgmlib.vae: trained, judged, saved, resumed."""

import contextlib
import io
import json
import re

import matplotlib.pyplot as plt
import pytest
import torch
from commands import cut_short, files, under_torchrun
from exact import close, rng

from dgmlib import data, plots, vae
from dgmlib.commands import vae as command
from dgmlib.core import bernoulli


def arguments(folder, *extra):
    small_run = "--data digits --latents 3 --hidden 16 --eval-samples 5 --judge digits --epochs 3"
    return [*small_run.split(), *files(folder), *extra]


SHOWN = []  # what `main` drew: (images, options of show_images)
OPEN = []  # the figures it left open
ENCODED = []  # what its encoder returned
CODES = []  # what it counted the active units of, and what the encoder returned last


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, show = tmp_path_factory.mktemp("vae"), plots.show_images
    encode, activity = vae.VAE.encode, command.unit_activity
    SHOWN.clear()
    ENCODED.clear()
    CODES.clear()

    def recorded(images, **options):
        SHOWN.append((images, options))
        return show(images, **options)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(plots, "show_images", recorded)
        patch.setattr(vae.VAE, "encode", lambda self, x: ENCODED.append(encode(self, x)) or ENCODED[-1])
        patch.setattr(command, "unit_activity", lambda codes: CODES.append((codes, ENCODED[-3:])) or activity(codes))
        before = plt.get_fignums()
        command.main(arguments(folder))
    OPEN[:] = set(plt.get_fignums()) - set(before)
    (folder / "printed").write_text(printed.getvalue())
    return folder


def test_main_trains_evaluates_samples_and_saves(finished):
    result = json.loads((finished / "t.json").read_text())
    assert 15 < result["ours"] < 44 and result["seed"] == 0
    assert result["command"].startswith("python -m dgmlib.vae --data digits")
    assert 0 <= json.loads((finished / "t_samples.json").read_text())["ours"] <= 1
    assert (finished / "t.png").stat().st_size > 5000


def test_main_draws_test_images_and_samples_and_prints_what_it_found(finished):
    (pairs, first), *sampled = SHOWN
    test = data.fixed_binarisation(data.load("digits").test, 17)
    assert torch.equal(pairs[:20].flatten(1), test[::12][:20]) and len(pairs) == 40 and len(sampled) == 2
    assert not torch.equal(sampled[0][0], sampled[1][0])
    names = ("the prior", "ten Gaussians fitted to the codes")
    printed = (finished / "printed").read_text()
    for name, (images, options) in zip(names, sampled, strict=True):
        assert images.shape == (60, 1, 8, 8) and options["ncols"] == 20
        share, real = re.search(
            rf"latents from {name}: (\d+)\.\d% \(test images: (\d+)\.\d%\); by class", printed
        ).groups()
        title = re.fullmatch(rf"latents from {name}: (\d+)% recognised \(test images: (\d+)%\)", options["title"])
        assert abs(int(title[1]) - int(share)) <= 1 and abs(int(title[2]) - int(real)) <= 1
    assert [options["ax"].get_subplotspec().rowspan.start for _, options in SHOWN] == [0, 1, 2]
    assert "test images" in first["title"] and first["ncols"] == 20
    assert re.search(r"validation bound of the best epoch: -\d\d\.\d\d\n", printed)
    assert re.search(r"; [0-2] of 3 units active$", printed, re.MULTILINE)
    (codes, encoded), *_ = CODES
    assert torch.equal(codes, torch.cat([mean for mean, _ in encoded])) and codes.shape == (len(test), 3)
    found = re.search(
        r"test NLL (\S+) nats, 5 importance samples of the encoder; -ELBO (\S+)\n(\S+) with its deviations times ",
        printed,
    )
    plain, bound, widened = map(float, found.groups())
    assert widened < plain + 1 and plain < bound  # five samples bound more tightly than one
    result = json.loads((finished / "t.json").read_text())
    others = {re.sub(" times.*", "", name): value for name, value in result["also"].items()}
    assert plain == pytest.approx(result["ours"], abs=0.006) and others["-ELBO"] == pytest.approx(bound, abs=0.006)
    assert others["with its deviations"] == pytest.approx(widened, abs=0.006) and 0 <= others["units active"] < 3
    assert result["parameters"] == 64 * 16 + 16 + 2 * (16 * 3 + 3) + 3 * 16 + 16 + 16 * 64 + 64
    assert plt.imread(finished / "t.png").shape[:2] == (420, 700) and not OPEN


def test_main_resumes_to_the_same_end(finished, tmp_path):
    cut_short(command.main, arguments(tmp_path))
    command.main(arguments(tmp_path))
    a, b = (json.loads((folder / "t.json").read_text())["ours"] for folder in (finished, tmp_path))
    assert a == b


def test_two_processes_learn_what_one_does(tmp_path):
    extra = ("--batch-size", "101", "--objective", "dreg", "--samples", "3")
    one, two = (
        under_torchrun("dgmlib.vae", lambda folder: arguments(folder, *extra), tmp_path, processes)
        for processes in (1, 2)
    )
    assert abs(one - two) < 1e-3 and one != pytest.approx(44.36, abs=0.01)


def test_grey_levels_are_drawn_afresh_and_two_levels_are_taken_as_they_are():
    model, x = vae.VAE(6, 2, (5,)), torch.tensor([[0, 1, 2, 2, 0, 1]], dtype=torch.uint8)
    loss = {"n_samples": 1, "objective": "elbo"}
    noise = rng()
    drawn = bernoulli(x / 2.0, generator=noise)
    assert torch.equal(
        -vae.elbo(model, drawn, generator=noise), command.negative_bound(model, x, levels=3, **loss, generator=rng())
    )
    ones = (x > 0).to(torch.uint8)
    assert torch.equal(
        -vae.elbo(model, ones.float(), generator=rng()),
        command.negative_bound(model, ones, levels=2, **loss, generator=rng()),
    )
    images = x.view(1, 1, 2, 3)
    assert torch.equal(data.fixed_binarisation(images, 3), bernoulli(x / 2.0, generator=rng(0)))


def test_a_run_starts_from_the_mean_image_and_is_scored_with_noise_of_its_own(tmp_path, monkeypatch):
    seen = {}

    class Stop(Exception):
        pass

    def stop(step, batches, n_steps, score, **options):
        seen.update(step=step, n_steps=n_steps, score=score, **options)
        raise Stop

    monkeypatch.setattr(command, "fit_best", stop)
    with pytest.raises(Stop):
        command.main(arguments(tmp_path, "--samples", "2", "--objective", "iwae"))
    images, step = data.load("digits"), seen["step"]
    share = images.train.flatten(1).double().mean(0) / 16
    close(step.model.decoder[-1].bias.double().sigmoid(), share.clamp(0.001, 0.999), rtol=1e-5)
    assert (seen["n_steps"], seen["every"], seen["checkpoint"]) == (3 * 12, 12, tmp_path / "t.safetensors")
    assert (step.schedule.eta_min, step.schedule.T_max, step.schedule.base_lrs) == (0.02 * 1e-3, 36, [1e-3])
    with torch.no_grad():
        valid = data.fixed_binarisation(images.valid, 17)
        assert seen["score"](step.model) == vae.iwae(step.model, valid, 2, generator=rng(1)).mean().item()
