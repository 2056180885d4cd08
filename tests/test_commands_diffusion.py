"""python -m dgmlib.diffusion: trained, judged, saved, resumed."""

import contextlib
import io
import itertools
import json
import math
import re

import pytest
from commands import files, under_torchrun
from matplotlib.figure import Figure

from dgmlib.commands import diffusion as command
from dgmlib.commands.runs import Minutes


def arguments(folder, *extra):
    run = "--data digits --widths 8 16 --fold 1 --steps 12 --batch-size 32 --samples 20 --sample-steps 4"
    bound = "--bound-steps 12 --bound-images 6"
    return [*run.split(), *bound.split(), *files(folder), *extra]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, figures, savefig = tmp_path_factory.mktemp("diffusion"), [], Figure.savefig

    def kept(figure, *given, **more):
        figures.append(figure)
        savefig(figure, *given, **more)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(Figure, "savefig", kept)
        patch.setattr(command.Clock, "minutes", Minutes(2.0, 3.0))
        command.main(arguments(folder))
    (folder / "printed").write_text(printed.getvalue())
    return folder, figures[0]


def test_main_trains_samples_bounds_and_saves(finished):
    finished, figure = finished
    result = json.loads((finished / "t.json").read_text())
    images, curves = figure.axes
    assert curves.get_xscale() == "log" and curves.get_ylim()[0] == 0 and "step t" in curves.get_xlabel()
    assert len(curves.lines) == 3 and curves.get_legend() is not None
    steps, spent = curves.lines[2].get_data()
    assert list(steps) == list(range(1, 13)) and abs(spent[0] - result["ours"]) < 0.01
    assert all(a > b for a, b in itertools.pairwise(spent)) and curves.lines[0].get_ydata()[0] > spent[0]
    assert "20 samples in 4 steps" in images.get_title()
    assert 2 < result["ours"] < math.log2(17) + 1 and result["seed"] == 0
    assert result["command"].startswith("python -m dgmlib.diffusion --data digits")
    samples = json.loads((finished / "t_samples.json").read_text())
    also = samples["also"]
    assert 0 <= also["share of the rarest class"] <= also["share of the commonest class"] <= 1
    assert 0 <= samples["ours"] <= 1 and 0.97 < also["real test images"] < 0.98
    assert (finished / "t.png").stat().st_size > 5000
    assert result["minutes"] == {"processor": 2.0, "wall": 3.0}
    assert samples["minutes"] == {"processor": 4.0, "wall": 6.0}  # training, and drawing


def test_main_says_what_it_found(finished):
    finished, _ = finished
    result, samples = (json.loads((finished / f"{name}.json").read_text()) for name in ("t", "t_samples"))
    printed, number = (finished / "printed").read_text(), r"(\d+\.\d+)"
    near = re.search(f"median distance to the nearest training image: samples {number}, test images {number}", printed)
    told = [samples["also"][name] for name in ("median distance to the nearest training image", "that of test images")]
    assert list(map(float, near.groups())) == pytest.approx(told, abs=6e-4)
    share, real = re.search(rf"recognised: {number}% \(test images: {number}%\); by class \[", printed).groups()
    assert float(share) == pytest.approx(100 * samples["ours"], abs=0.06) and 97 < float(real) < 98
    bits = re.search(
        f"bits per dimension at most {number} ± {number} "
        rf"\(L_0 {number}, L_1 to L_0 {number}, later {number}, L_T {number}\); "
        f"by variance: forward {number}, posterior {number}, best {number}",
        printed,
    )
    mean, error, *parts, forward, posterior, best = map(float, bits.groups())
    assert mean == best == pytest.approx(result["ours"], abs=6e-4) and sum(parts) == pytest.approx(mean, abs=3e-3)
    assert best < min(forward, posterior)
    names = ("standard error", "of which L_0", "with DDPM's variance beta", "with DDPM's variance beta-tilde")
    told = [result["also"][name] for name in names]
    assert told == pytest.approx([error, parts[0], forward, posterior], abs=6e-4)


def test_main_resumes_to_the_same_end(finished, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    calls, loss = [], command.v_loss

    def interrupted(*given, **more):
        calls.append(0)
        if len(calls) == 8:
            raise Stop
        return loss(*given, **more)

    every = command.fit
    monkeypatch.setattr(command, "fit", lambda *given, **more: every(*given, **more | {"every": 5}))
    monkeypatch.setattr(command, "v_loss", interrupted)
    with pytest.raises(Stop):
        command.main(arguments(tmp_path))
    monkeypatch.setattr(command, "v_loss", loss)
    command.main(arguments(tmp_path))
    a, b = (json.loads((folder / "t.json").read_text())["ours"] for folder in (finished[0], tmp_path))
    assert a == b


def test_two_processes_learn_what_one_does(tmp_path):
    extra = ("--batch-size", "33", "--steps", "4")
    one, two = (
        under_torchrun("dgmlib.diffusion", lambda folder: arguments(folder, *extra), tmp_path, processes)
        for processes in (1, 2)
    )
    assert abs(one - two) < 1e-3
