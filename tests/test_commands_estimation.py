"""python -m dgmlib.estimation: its row and its figure."""

import json
import math

import pytest
import torch

from dgmlib import data
from dgmlib.commands import estimation as command


def test_the_measured_run_writes_its_row_and_its_figure(tmp_path, monkeypatch, capsys):
    pixels = torch.zeros(1200, 1, 4, 4, dtype=torch.uint8)
    pixels[torch.arange(1200), 0, 0, torch.arange(1200) % 4] = 1
    test = pixels[:1100].clone()
    pixels[0, 0, 2, 2] = 1  # the only owner of this value
    test[:11, 0, 3, 3] = 1  # impossible: never seen in training
    tiny = data.Images("binarized_mnist", 2, pixels, pixels[:100], test)
    monkeypatch.setattr(data, "load", lambda name: tiny)
    command.main(["--out", str(tmp_path), "--allow-dirty"])
    row = json.loads((tmp_path / "zeros_binarized_mnist.json").read_text())
    quarter, once, never = 300.1 / 1200.2, 1.1 / 1200.2, 0.1 / 1200.2
    expected = -math.log(quarter) - 3 * math.log(1 - quarter) - math.log(1 - once) - 11 * math.log(1 - never)
    expected += 0.01 * (math.log(1 - never) - math.log(never))
    assert row["ours"] == pytest.approx(expected, abs=1e-9)
    assert (tmp_path / "zeros_binarized_mnist.png").stat().st_size > 5000
    assert "impossible 1.000%, predicted 0.083%" in capsys.readouterr().out
