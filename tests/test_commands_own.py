"""The commands on one's own data: a table of 16 columns, and grey images of 28×20, from the file to what is found."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import rng
from test_files import HEADER, csv, gappy, pngs

from dgmlib import data
from dgmlib.checkpoint import load_checkpoint
from dgmlib.commands import hierarchical, mixtures, vae
from dgmlib.vae import VAE

VAE_OPTIONS = "--epochs 15 --lr 0.01 --hidden 16 --latents 3 --eval-samples 5"
CASES = {
    "vae": (vae, VAE_OPTIONS, "vae_mine"),
    "mixtures": (mixtures, "--components 5 --steps 5", "coins_mine_5"),
    "hierarchical": (hierarchical, "--epochs 2 --hidden 16 8 --latents 3 2 --eval-samples 5", "hierarchical_mine"),
}
ROWS = torch.randn(600, 16, generator=rng(0)).double() * torch.arange(1, 17) + 50


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What a command finds in a file of one's own: its result, and where its files are, none of them named by us."""
    monkeypatch.chdir(tmp_path)

    def main(command, path):
        module, options, name = CASES[command]
        module.main([*f"--data {path}".split(), *options.split()])
        folder = tmp_path / "runs"
        return json.loads((folder / f"{name}.json").read_text()), folder / name

    return main


@pytest.mark.parametrize("command", ["vae", "mixtures"])
def test_a_table_is_fitted_in_its_own_units(command, run, tmp_path):
    found, stem = run(command, csv(tmp_path / "mine.csv", ROWS.tolist()))
    truth = 8 * math.log(2 * math.pi * math.e) + math.lgamma(17)  # the entropy: the columns' deviations are 1 to 16
    assert found["data"] == "mine" and "60 rows" in found["measure"] and truth - 2 < found["ours"] < truth + 4
    samples = np.load(f"{stem}_samples.npy")
    assert samples.shape == (2000, 16) and abs(samples[:, -1].mean() - 50) < 5 and 10 < samples[:, -1].std() < 24
    assert stem.with_suffix(".png").stat().st_size > 3000
    if command == "vae":  # loaded again, by its file
        model = VAE(16, 3, (16,), likelihood="gaussian")
        load_checkpoint(stem.with_suffix(".safetensors"), {"state": {"model": model}})
        table = data.load(tmp_path / "mine.csv")
        nll = -model.log_prob_is(table.standardised().test, 5, generator=rng()).mean() + table.std.log().sum()
        assert abs(nll - found["ours"]) < 2


@pytest.mark.parametrize("command", CASES)
def test_images_need_not_be_square(command, run, tmp_path):
    found, stem = run(command, pngs(tmp_path / "mine"))
    assert found["data"] == "mine" and "20 images" in found["measure"] and 300 < found["ours"] < 480  # 388 for coins
    assert stem.with_suffix(".png").stat().st_size > 3000
    if command != "hierarchical":
        samples = np.load(f"{stem}_samples.npy")
        assert samples.shape == (2000, 1, 28, 20) and 0 <= samples.min() < samples.max() <= 1


@pytest.mark.parametrize("command", CASES)
def test_gaps_are_told_by_line_and_column(command, run, tmp_path):
    with pytest.raises(ValueError, match=r"mine\.csv has a gap in line 6, column 'c3', expected a number everywhere"):
        run(command, csv(tmp_path / "mine.csv", gappy(), HEADER))
    assert not (tmp_path / "runs").exists()


def test_a_run_on_other_rows_is_refused(run, tmp_path):
    run("mixtures", csv(tmp_path / "mine.csv", ROWS.tolist()))
    with pytest.raises(ValueError, match="does not fit this run: option rows is"):
        run("mixtures", csv(tmp_path / "mine.csv", (ROWS + 1).tolist()))


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        (
            "vae",
            "--data nowhere.csv",
            "nowhere.csv was given, expected one of digits, mnist, fashion, binarized_mnist, or",
        ),
        ("vae", "--data mine.csv --judge digits", "argument --judge: mine.csv holds no images, expected images"),
        ("hierarchical", "--data mine.csv", "argument --data: mine.csv holds real numbers, expected images"),
        ("mixtures", "--data mine.csv", "--components: 500 were given, expected at most one of 480 training rows"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_in_a_sentence(
    command, arguments, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    csv(tmp_path / "mine.csv", ROWS.tolist())
    with pytest.raises(SystemExit):
        CASES[command][0].main(arguments.split())
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_the_readme_s_lines_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    csv(tmp_path / "mine.csv", ROWS.tolist())
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(lines.replace("2000", "20"), {})
    assert (tmp_path / "runs/mine.safetensors").exists() and "tensor" in capsys.readouterr().out
