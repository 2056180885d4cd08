"""Data-parallel training: two gloo processes must do what one does, on the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dgmlib.core import data_parallel, global_batch, rand_like, randn_like, share
from dgmlib.train import join_processes

WORKERS = Path(__file__).parent / "workers"
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
ENVIRONMENT |= {"PYTHONPATH": str(WORKERS.parents[1]), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two processes")
    worker = [sys.executable, str(WORKERS / "two_processes.py"), str(folder)]
    done = subprocess.run(worker, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def read(folder, name):
    return [json.loads((folder / f"{name}.{who}.json").read_text()) for who in ("alone", 0, 1)]


def gap(a, b):
    """The largest difference between two ends of a run: parameters, average, every logged value, generators."""
    assert a.keys() == b.keys()
    pairs = [(torch.tensor(a[key], dtype=torch.float64), torch.tensor(b[key], dtype=torch.float64)) for key in a]
    return max(float((x - y).abs().max()) for x, y in pairs)


@pytest.mark.parametrize("name", ["uneven", "even", "other seeds", "resumed", "best", "two players"])
def test_two_processes_do_what_one_does(name, folder):
    alone, *two = read(folder, name)
    assert gap(alone, two[0]) < 1e-10 and gap(alone, two[1]) < 1e-10
    if name != "other seeds":
        return
    assert gap(alone, read(folder, "uneven")[0]) == 0  # the seed of the first process, not the second's, is the run's


@pytest.mark.parametrize("name", ["mean of means", "local noise"])
def test_the_comparison_sees_wrong_weights_and_wrong_noise(name, folder):
    alone, *two = read(folder, name)
    assert gap(alone, two[0]) > 1e-4


def test_the_first_process_alone_writes_and_shows_progress(folder):
    assert "6/6" in (folder / "resumed" / "bar.0").read_text()
    assert (folder / "resumed" / "bar.1").read_text() == ""
    assert [p.name for p in (folder / "resumed" / "two").iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("drifting", ["parameter model.weight differs between processes: under torchrun only gradient_step keeps"] * 2),
        ("same rows", [f"batch has {n} of 12 rows on process {r} of 2, expected 6" for r, n in ((0, 4), (1, 8))]),
        ("one row", ["the global batch has 1 rows, expected at least one for each of 2 processes"] * 2),
        ("nan", ["training stopped after step 3: loss is nan at step 1; FOLDER/nan holds step 0, intact"] * 2),
        ("wrong axis", [None, "x has shape (3, 4), expected (4, 4)"]),
        ("scalar", ["the term 'loss' of loss is a scalar, expected one value per example"] * 2),
    ],
)
def test_what_would_train_wrongly_is_refused(name, sentences, folder):
    alone, *two = read(folder, name)
    assert alone == "nothing"
    for said, sentence in zip(two, sentences, strict=True):
        assert sentence is None or said.startswith(sentence), said


def test_torchrun(folder, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    worker = [*torchrun, str(WORKERS / "under_torchrun.py"), str(tmp_path)]
    done = subprocess.run(worker, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "destroy_process_group" not in done.stderr  # torch's complaint about a group that was left open
    for rank in (0, 1):
        end = json.loads((tmp_path / f"{rank}.json").read_text())
        assert end["world"] == 2
        assert end["refusal"] == "training stopped after step 3: loss is nan at step 1; FOLDER/nan holds step 0, intact"
        assert gap(end["end"], read(folder, "resumed")[0]) < 1e-10


@pytest.mark.parametrize("world", [None, "1"])
def test_a_process_alone_joins_nothing(world, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world is not None:
        monkeypatch.setenv("WORLD_SIZE", world)
    join_processes()
    assert data_parallel() == (0, 1) and share(7) == slice(0, 7)


def test_noise_is_drawn_for_the_global_batch():
    """One process has all rows; with rows of its own alone it would take the first draws of another's noise."""
    x, generator = torch.zeros(5, 2, dtype=torch.float64), torch.Generator()
    for draw, like in ((torch.randn, randn_like), (torch.rand, rand_like)):
        expected = draw(5, 2, dtype=torch.float64, generator=generator.manual_seed(3))
        assert torch.equal(like(x, generator=generator.manual_seed(3)), expected)
        with global_batch(5):
            assert torch.equal(like(x, generator=generator.manual_seed(3)), expected)
        with global_batch(6), pytest.raises(ValueError, match=r"x has shape \(5, 2\), expected \(6, 2\)"):
            like(x)
        assert torch.equal(like(x, generator=generator.manual_seed(3)), expected)  # outside again
