"""Files in the formats of the published image sets, for machines without them: scikit-learn's digits, enlarged."""

import functools
import gzip
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

FOLDERS = {"mnist": "mnist", "fashion": "fashion-mnist"}
TRAIN, VALID, TEST = slice(50_000), slice(50_000, 60_000), slice(60_000, 70_000)


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """70,000 images (n, 28, 28) and their labels, all uint8: the 1,797 there are, in turn, with steep edges."""
    pixels, labels = load_digits(return_X_y=True)
    x = F.interpolate(torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16, (20, 20), mode="bicubic")
    x = F.pad((3 * x - 0.7).clamp(0, 1), (4, 4, 4, 4))
    grey = (255 * x).round().to(torch.uint8).numpy()[:, 0]
    return np.resize(grey, (70_000, 28, 28)), np.resize(labels, 70_000).astype(np.uint8)


def write(folder: Path, name: str) -> dict[str, str]:
    """Write the files of a set under `folder`; the SHA-256 of each, by its key in `dgmlib.data.SHA256`."""
    made = {}
    for key, content in _binarized() if name == "binarized_mnist" else _idx(FOLDERS[name]):
        path = folder / f"{key}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, 1, mtime=0))
        made[f"{key}.gz"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return made


def _idx(folder: str) -> Iterator[tuple[str, bytes]]:
    x, y = digits()
    for part, rows in (("train", slice(60_000)), ("t10k", TEST)):
        n = len(x[rows])
        yield f"{folder}/{part}-images-idx3-ubyte", struct.pack(">4I", 0x803, n, 28, 28) + x[rows].tobytes()
        yield f"{folder}/{part}-labels-idx1-ubyte", struct.pack(">2I", 0x801, n) + y[rows].tobytes()


def _binarized() -> Iterator[tuple[str, bytes]]:
    """Each pixel drawn once from its grey value; the test images sorted by digit, as in the published files."""
    random = np.random.default_rng(0)
    for split, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        x, y = (part[rows] for part in digits())
        if split == "test":
            x = x[np.argsort(y, kind="stable")]
        text = np.full((len(x), 784, 2), ord(" "), np.uint8)
        text[:, :, 0] = ord("0") + (255 * random.random((len(x), 784), np.float32) < x.reshape(-1, 784))
        text[:, -1, 1] = ord("\n")
        yield f"binarized-mnist/binarized_mnist_{split}.amat", text.tobytes()
