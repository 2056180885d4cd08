"""One's own data: what files hold comes back as it was, split alike each time, and what is unsound is told by name."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from dgmlib import data
from dgmlib.data import Images, Table

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(50.0, 9.0, (60, 16))


def csv(path, rows=NUMBERS, header=None):
    lines = [header] * (header is not None) + [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pngs(folder, n=200, size=(28, 20), mode="L"):
    """`n` images of h × w = `size`; the grey value of the top left pixel is the image's number."""
    folder.mkdir()
    for i in range(n):
        pixels = RNG.integers(0, 256, size, dtype=np.uint8)
        pixels[0, 0] = i % 256
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03}.png")
    return folder


def whole(found):
    return torch.cat([found.train, found.valid, found.test])


def sets(rows):
    return {tuple(row) for row in rows.tolist()}


def test_a_table_of_numbers_comes_back_as_it_was(tmp_path):
    names = ",".join(f"c{i}" for i in range(16))
    table = data.load(csv(tmp_path / "mine.csv", header=names))
    assert isinstance(table, Table) and repr(table) == "Table(mine: 48/6/6 train/valid/test, 16 columns)"
    assert table.columns == tuple(names.split(",")) and table.shape == (16,)
    assert sets(whole(table)) == sets(torch.from_numpy(NUMBERS)) and table.train.dtype == torch.float64
    bare = data.load(str(csv(tmp_path / "bare.csv")))
    assert bare.columns == tuple(map(str, range(16)))
    for split in data.SPLITS:  # by the permutation alone
        assert torch.equal(getattr(bare, split), getattr(table, split))
    np.save(tmp_path / "mine.npy", NUMBERS)
    assert torch.equal(data.load(tmp_path / "mine.npy").train, table.train)


def test_standardised_rows_have_the_scale_of_one_and_go_back(tmp_path):
    rows = np.column_stack([NUMBERS + 1e6, np.full(60, 0.1)])  # the last column does not vary
    table = data.load(csv(tmp_path / "mine.csv", rows))
    scaled = table.standardised()
    assert scaled.train.dtype == torch.float32 and scaled.train[:, -1].abs().max() < 1e-12
    assert torch.allclose(scaled.train.mean(0), torch.zeros(17), atol=1e-5)
    assert torch.allclose(scaled.train[:, :-1].std(0, correction=0), torch.ones(16), atol=1e-5)
    assert torch.allclose(table.restored(scaled.test.double()), table.test, rtol=0, atol=1e-5)
    normal = torch.distributions.Normal(table.mean, table.std)
    unit = torch.distributions.Normal(torch.zeros(17), torch.ones(17))
    ours = unit.log_prob(scaled.test.double()).sum(1) - table.std.log().sum()
    assert torch.allclose(ours, normal.log_prob(table.test).sum(1), atol=1e-3)


def test_a_folder_of_grey_images_need_not_be_square(tmp_path):
    images = data.load(pngs(tmp_path / "mine"))
    assert isinstance(images, Images) and images.levels == 256 and images.train_labels is None
    assert repr(images) == "Images(mine: 160/20/20 train/valid/test, 28×20, 256 levels, cpu)"
    assert sorted(whole(images)[:, 0, 0, 0].tolist()) == list(range(200))
    i = int(images.test[3, 0, 0, 0])
    assert np.array_equal(images.test[3, 0].numpy(), np.array(Image.open(tmp_path / "mine" / f"{i:03}.png")))
    coloured = data.load(pngs(tmp_path / "rgb", n=5, mode="RGB"))
    assert coloured.train.shape == (3, 1, 28, 20)


def test_the_dtype_of_an_array_says_what_it_holds(tmp_path):
    def load(**arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return data.load(tmp_path / "x.npz")

    grey = RNG.integers(0, 256, (10, 28, 20), dtype=np.uint8)
    assert load(x=grey).train.shape == (8, 1, 28, 20) and load(x=grey[:, None]).levels == 256
    assert load(x=grey > 128).levels == 2 and load(x=(grey > 128)[:, 0]).train.shape == (8, 1, 1, 20)
    reals = load(x=grey / 255.0)
    assert isinstance(reals, Table) and reals.shape == (28, 20) and reals.train.shape == (8, 560)
    assert load(x=grey.astype(np.int64)[:, 0]).train.dtype == torch.float64
    own = load(train=grey, valid=grey[:2], test=grey[2:5])
    assert np.array_equal(own.test[:, 0].numpy(), grey[2:5]) and len(own.train) == 10
    assert load(train=NUMBERS, valid=NUMBERS[:1], test=NUMBERS[:2]).columns[-1] == "15"


def gappy():
    rows = NUMBERS.astype(object)
    rows[4, 3], rows[9, 15] = "", "NA"
    return rows


def replaced(value):
    rows = NUMBERS.astype(object)
    rows[4, 3] = value
    return rows


HEADER = ",".join(f"c{i}" for i in range(16))
UNSOUND = {
    "x.csv has a gap in line 6, column 'c3', expected a number everywhere (2 gaps in all)": lambda p: csv(
        p / "x.csv", gappy(), HEADER
    ),
    "x.csv has a gap in line 5, column '3'": lambda p: csv(p / "x.csv", gappy()),
    "x.csv has a gap in line 1, column '0'": lambda p: csv(p / "x.csv", [["", 1], [2, 3], [4, 5]]),
    "x.csv has 'tall' in line 6, column 'c3', expected a finite number": lambda p: csv(
        p / "x.csv", replaced("tall"), HEADER
    ),
    "x.csv has 'inf' in line 5, column '3', expected a finite number": lambda p: csv(p / "x.csv", replaced("inf")),
    "x.csv has 2 values in line 3, expected 3 as in the first line": lambda p: csv(
        p / "x.csv", [[1, 2, 3], [1, 2, 3], [1, 2]]
    ),
    "x.csv has no rows, expected rows of numbers": lambda p: csv(p / "x.csv", [], HEADER),
    "empty.csv has no rows": lambda p: csv(p / "empty.csv", []),
    "x has 2 rows, expected at least three": lambda p: csv(p / "x.csv", NUMBERS[:2]),
    "x.npy has nan at [4, 3] (1 in all), expected finite numbers": lambda p: npy(p, replaced(np.nan).astype(float)),
    "x.npy has dtype <U1, expected numbers": lambda p: npy(p, np.array(["a", "b", "c"])),
    "x.npy has dtype complex128": lambda p: npy(p, np.ones(3, complex)),
    "x.npy has shape (0, 3), expected at least one row": lambda p: npy(p, np.ones((0, 3))),
    "x.npy has shape (), expected at least one row": lambda p: npy(p, np.array(1.0)),
    "x.npy has shape (4, 2, 2, 3), expected grey images (n, h, w)": lambda p: npy(p, np.ones((4, 2, 2, 3), np.uint8)),
    "x.npy has shape (4,), expected grey images": lambda p: npy(p, np.ones(4, np.uint8)),
    "x.npy could not be read (": lambda p: npy(p, np.array([None, {}])),
    "x.npz could not be read (": lambda p: text(p / "x.npz"),
    "x.npz holds a, b, expected one array, or train, valid and test": lambda p: npz(p, a=NUMBERS, b=NUMBERS),
    "x.npz holds no arrays, expected one array": lambda p: npz(p),
    "expected the same dtype and shape of a row in each": lambda p: npz(
        p, train=NUMBERS, valid=NUMBERS[:, :3], test=NUMBERS
    ),
    "x.txt ends in '.txt', expected a folder of images, or .npz, .npy, .csv": lambda p: text(p / "x.txt"),
    "mine holds no images, expected files that end in .png": lambda p: pngs(p / "mine", 0),
    "003.png is 28×21, expected 28×20 like 000.png: images of one size": lambda p: odd(p),
    "000.png has pixels of kind I;16, expected 8 bits each": lambda p: deep(p),
    "name is 'mnits', expected one of 'digits', 'mnist', 'fashion', 'binarized_mnist'": lambda p: "mnits",
}


def npy(folder, array):
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def npz(folder, **arrays):
    np.savez(folder / "x.npz", **arrays)
    return folder / "x.npz"


def text(path):
    path.write_text("not numbers")
    return path


def odd(folder):
    Image.fromarray(np.zeros((28, 21), np.uint8)).save(pngs(folder / "mine", 3) / "003.png")
    return folder / "mine"


def deep(folder):
    Image.fromarray(np.zeros((28, 20), np.uint16)).save(pngs(folder / "mine", 0) / "000.png")
    return folder / "mine"


@pytest.mark.parametrize("sentence", UNSOUND)
def test_what_is_not_sound_is_told_by_name(tmp_path, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        data.load(UNSOUND[sentence](tmp_path))


def test_what_is_not_there_or_no_image_is_told_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mine\.csv does not exist, expected a folder of images, or \.npz"):
        data.load(tmp_path / "mine.csv")
    folder = pngs(tmp_path / "mine", 2)
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:60])
    with pytest.raises(OSError, match=r"001\.png could not be read as an image"):
        data.load(folder)
