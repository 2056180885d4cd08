"""python -m dgmlib.autoregressive: trained, judged, saved, resumed."""

import contextlib
import io
import json

import pytest
import torch
from commands import cut_short, files
from exact import rng
from torch.nn import functional as F

from dgmlib import data, plots
from dgmlib.autoregressive import NADE
from dgmlib.bugs.autoregressive import _filled as filled
from dgmlib.commands import autoregressive as command
from dgmlib.heads import Bernoulli


@pytest.fixture
def tiny(monkeypatch):
    """Binarised MNIST, of 8×8 pixels and few images."""
    digits = data.load("digits")
    few = [
        (getattr(digits, name)[:n] >= 8).to(torch.uint8) for name, n in (("train", 300), ("valid", 100), ("test", 40))
    ]
    for x in few:
        x[..., 0, 7] = 1  # a pixel that is always on, as others are always off
    tiny = data.Images("binarized_mnist", 2, *(F.interpolate(x, size=28) for x in few))
    monkeypatch.setattr(data, "load", lambda name, device: tiny if name == "binarized_mnist" else None)
    return tiny


def run(folder, *extra):
    options = ["--hidden", "8", "--epochs", "2", "--lr", "0.02"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        command.main([*options, *files(folder), *extra])
    return json.loads((folder / "t.json").read_text()), printed.getvalue()


@pytest.mark.notes("N3-032", "N3-033", "H4-09")
@pytest.mark.parametrize("model", ["fvsbn", "nade", "made"])
def test_main_trains_scores_draws_and_saves(model, tiny, tmp_path, monkeypatch):
    shown, show = [], plots.show_images
    monkeypatch.setattr(plots, "show_images", lambda x, **options: shown.append((x, options)) or show(x, **options))
    result, printed = run(tmp_path, "--model", model, "--seed", "3")
    value = result["ours"]
    share = tiny.train.flatten(1).float().mean(0).clamp(0.001, 0.999)
    apart = -Bernoulli().log_prob(tiny.test.flatten(1).float(), share.logit()[:, None]).sum(1).mean().item()
    assert 20 < value < apart and f"test NLL {value:.2f} nats, exact" in printed
    assert "validation log-likelihood of the best epoch: -" in printed
    assert result["table"] == "binarised MNIST" and result["seed"] == 3
    assert result["model"] == {"fvsbn": "FVSBN", "nade": "NADE 784-8", "made": "MADE 784-8"}[model]
    assert (
        result["command"].startswith("python -m dgmlib.autoregressive --hidden 8")
        and result["minutes"]["processor"] < 5
    )
    assert result["measure"] == "test NLL in nats, 40 images, exact" and result["device"].startswith("cpu")
    (samples, first), (halves, _) = shown
    assert samples.shape == (60, 1, 28, 28) and set(samples.unique().tolist()) <= {0.0, 1.0}
    n = 20
    assert torch.equal(halves[:n], tiny.test[::2].float()) and first["title"] == "samples"
    for again in halves[n:].split(n):
        assert torch.equal(again[:, :, :14], halves[:n, :, :14])
    assert (tmp_path / "t.png").stat().st_size > 2000


def test_main_resumes_to_the_same_end(tiny, tmp_path):
    whole, _ = run(tmp_path)
    (tmp_path / "again").mkdir()
    cut_short(run, tmp_path / "again")
    resumed, _ = run(tmp_path / "again")
    assert resumed["ours"] == whole["ours"]


def test_main_cycles_through_masks_and_judges_their_mixture(tiny, tmp_path, monkeypatch):
    seen = {}

    def stop(step, batches, n_steps, score, **options):
        seen.update(step=step, n_steps=n_steps, score=score, batches=batches, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "fit_best", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--model", "made", "--masks", "3", "--batch-size", "60")
    model, step = seen["step"].model, seen["step"]
    assert (seen["n_steps"], seen["every"], seen["batches"].batch_size) == (10, 5, 60)
    assert (step.schedule.T_max, step.schedule.base_lrs, step.ema is not None) == (10, [0.02], True)
    share = tiny.train.flatten(1).float().mean(0).clamp(0.001, 0.999)
    torch.testing.assert_close(model.bias[:, 0].sigmoid(), share, rtol=0, atol=1e-6)
    x = tiny.valid
    with torch.no_grad():
        expected = model.log_prob(x.flatten(1).float()).double().mean().item()
        assert seen["score"](model) == pytest.approx(expected, abs=1e-3)
        assert command.mean_log_prob(model, x, 7) == pytest.approx(expected, abs=1e-3)
        flat = x.flatten(1)[:4]
        losses = [command.negative_log_prob(model, flat, generator=rng(k)) for k in range(12)]
        members = [-model.log_prob(flat.float(), degrees=model.degrees(k)) for k in range(3)]
    chosen = [next(k for k in range(3) if torch.equal(loss, members[k])) for loss in losses]
    assert set(chosen) == {0, 1, 2}
    assert command.negative_log_prob(filled(NADE(784, 3)).float(), flat, generator=rng()).shape == (4,)


def test_a_run_of_many_masks_shows_samples_only(tiny, tmp_path):
    result, _ = run(tmp_path, "--model", "made", "--masks", "2", "--epochs", "1")
    assert result["model"] == "MADE 784-8, 2 masks"
