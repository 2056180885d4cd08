"""One's own data: an array, a table, or a folder of images, read whole, and refused by name where it is not sound::

    rows = data.load("mine.csv")                # Table(mine: 800/100/100 train/valid/test, 16 columns)
    faces = data.load("faces")                  # Images(faces: 160/20/20 train/valid/test, 28×20, 256 levels, cpu)

`dgmlib.data.load` comes here when it is given a path. The split is a seeded permutation: the last tenth is the test
set, the tenth before it validates, and the same file is always split alike.
"""

import csv
import math
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dgmlib.core import checked
from dgmlib.data import SPLITS, Images, Table

SUFFIXES = (".npz", ".npy", ".csv")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".webp")
GAPS = ("", "na", "n/a", "nan", "null", "none", "?")


@checked
def read(path: str | os.PathLike) -> Images | Table:
    """The data that a file or a folder holds, split by a seeded permutation into 80 % train, 10 % valid and 10 % test.

    - A folder of images of one size: grey values 0 to 255, colour turned to grey. No square is needed.
    - `.npy`, or `.npz` with one array, or with `train`, `valid` and `test`, whose split is kept. The dtype says what it
      holds: uint8 and bool are grey values, (n, h, w) or a row each, of 2 levels if none is above 1, else 256; other
      numbers are a `Table`, a row each.
    - `.csv`, comma-separated: a `Table` of numbers, whose first line may name the columns.

    Raises: FileNotFoundError, OSError (an image that cannot be read), ValueError (no such kind of file, damaged, empty,
    fewer than three rows, no numbers, gaps, NaN, images of several sizes): by file, line, column or place.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "mine.csv"
    ...     _ = path.write_text("height,weight\\n1.8,75\\n1.7,\\n")
    ...     try: read(path)
    ...     except ValueError as error: print(str(error).replace(folder, "")[1:])
    mine.csv has a gap in line 3, column 'weight', expected a number everywhere (1 gaps in all)
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _grey(path.name, _pictures(path))
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist, expected a folder of images, or {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix!r}, expected a folder of images, or {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".csv":
        columns, rows = _rows(path)
        return _table(path.stem, columns, {"": rows})
    arrays = {key: _sound(f"{path} {key}".strip(), array) for key, array in _arrays(path).items()}
    if len({(array.dtype, array.shape[1:]) for array in arrays.values()}) > 1:
        came = ", ".join(f"{key} {array.dtype} {array.shape[1:]}" for key, array in arrays.items())
        raise ValueError(f"{path} holds {came}, expected the same dtype and shape of a row in each")
    if next(iter(arrays.values())).dtype == np.uint8:
        return _grey(path.stem, arrays)
    width = math.prod(next(iter(arrays.values())).shape[1:])
    return _table(path.stem, tuple(map(str, range(width))), arrays)


def _parts(name: str, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Three tensors: those given, or the one given dealt out."""
    if len(arrays) > 1:
        return {key: torch.from_numpy(array) for key, array in arrays.items()}
    (rows,) = arrays.values()
    if len(rows) < 3:
        raise ValueError(f"{name} has {len(rows)} rows, expected at least three: to train, to validate and to test")
    x, tenth = torch.from_numpy(rows[np.random.default_rng(0).permutation(len(rows))]), max(1, len(rows) // 10)
    return dict(zip(SPLITS, x.split([len(x) - 2 * tenth, tenth, tenth]), strict=True))


def _grey(name: str, arrays: dict[str, np.ndarray]) -> Images:
    levels = 2 if max(int(array.max()) for array in arrays.values()) < 2 else 256
    shaped = {key: array.reshape(len(array), 1, *(1, 1, *array.shape[1:])[-2:]) for key, array in arrays.items()}
    return Images(name, levels, **_parts(name, shaped))


def _table(name: str, columns: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Table:
    shape = next(iter(arrays.values())).shape[1:] or (1,)
    return Table(name, columns, shape, **{key: x.reshape(len(x), -1) for key, x in _parts(name, arrays).items()})


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """What a NumPy file holds: one array, or one for each split."""
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else {key: found[key] for key in found.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} could not be read ({error}), expected arrays of numbers as NumPy saves them"
        ) from None
    if len(arrays) == 1 or set(arrays) == set(SPLITS):
        return arrays
    raise ValueError(f"{path} holds {', '.join(arrays) or 'no arrays'}, expected one array, or train, valid and test")


def _sound(name: str, array: np.ndarray) -> np.ndarray:
    """The array as grey values, uint8, or as real numbers, float64."""
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} has dtype {array.dtype}, expected numbers")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one row and one number in it")
    if array.dtype in (np.bool_, np.uint8):
        if array.ndim == 4 and array.shape[1] != 1:
            raise ValueError(f"{name} has shape {array.shape}, expected grey images (n, h, w)")
        if not 2 <= array.ndim <= 4:
            raise ValueError(f"{name} has shape {array.shape}, expected grey images (n, h, w) or rows (n, d)")
        return array.astype(np.uint8)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        place = ", ".join(map(str, bad[0]))
        raise ValueError(f"{name} has {array[tuple(bad[0])]} at [{place}] ({len(bad)} in all), expected finite numbers")
    return array


def _rows(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the columns of a CSV file, and its numbers."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} could not be read ({error}), expected comma-separated text in UTF-8") from None
    named = bool(lines) and any(cell.lower() not in GAPS and _number(cell) is None for cell in lines[0][1])
    columns = tuple(lines[0][1]) if named else tuple(map(str, range(len(lines[0][1]) if lines else 0)))
    lines = lines[named:]
    if not lines:
        raise ValueError(f"{path} has no rows, expected rows of numbers")
    gaps = [(n, name) for n, row in lines for name, cell in zip(columns, row, strict=False) if cell.lower() in GAPS]
    for n, row in lines:
        if len(row) != len(columns):
            raise ValueError(f"{path} has {len(row)} values in line {n}, expected {len(columns)} as in the first line")
        for name, cell in zip(columns, row, strict=True):
            where = f"in line {n}, column {name!r}"
            if cell.lower() in GAPS:
                raise ValueError(f"{path} has a gap {where}, expected a number everywhere ({len(gaps)} gaps in all)")
            if _number(cell) is None:
                raise ValueError(f"{path} has {cell!r} {where}, expected a finite number")
    return columns, np.array([[float(cell) for cell in row] for _, row in lines])


def _number(cell: str) -> float | None:
    try:
        return value if math.isfinite(value := float(cell)) else None
    except ValueError:
        return None


def _pictures(folder: Path) -> dict[str, np.ndarray]:
    """The images of a folder, grey, in the order of their names."""
    from PIL import Image  # which only pictures need

    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"{folder} holds no images, expected files that end in {', '.join(PICTURES)}")
    images: list[np.ndarray] = []
    for path in files:
        try:
            with Image.open(path) as image:
                mode, pixels = image.mode, np.array(image.convert("L"))
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(f"{path} could not be read as an image ({error})") from error
        if mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
            raise ValueError(f"{path} has pixels of kind {mode}, expected 8 bits each")
        if images and pixels.shape != images[0].shape:
            (h, w), (height, width) = pixels.shape, images[0].shape
            raise ValueError(f"{path} is {h}×{w}, expected {height}×{width} like {files[0].name}: images of one size")
        images.append(pixels)
    return {"": np.stack(images)}
