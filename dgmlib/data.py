"""Data: four image sets or one's own, exact minibatches, dequantisation, and 2-D densities whose every number is known.

Images are downloaded once, checked against a sha256, and kept in `$DGMLIB_DATA` (else the user's cache folder).
"""

import gzip
import hashlib
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

from dgmlib.core import (
    Density,
    Transform,
    bernoulli,
    checked,
    need_between,
    need_count,
    need_finite,
    need_levels,
    need_option,
    need_shape,
    rand_like,
    share,
)
from dgmlib.worlds import GaussianMixture

# --- images ---------------------------------------------------------------------------------------------------------

FOLDERS = {"mnist": "mnist", "fashion": "fashion-mnist", "binarized_mnist": "binarized-mnist"}
SETS = ("digits", *FOLDERS)

SPLITS = ("train", "valid", "test")

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    "fashion-mnist": (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    "binarized-mnist": ("https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",),
}

SHA256 = {
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "mnist/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "mnist/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "fashion-mnist/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "fashion-mnist/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "fashion-mnist/t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "binarized-mnist/binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "binarized-mnist/binarized_mnist_valid.amat": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "binarized-mnist/binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
    "binarized-mnist/binarized_mnist_train.amat.gz": "3daacdec8912b91d242fc67e6a4905c8a5d111b6a355510b024e6fb628e8f43d",
    "binarized-mnist/binarized_mnist_valid.amat.gz": "442e6edec307bcba59c5b46c055c9871e640fc43eeae0a8bf8f60d760e0d883a",
    "binarized-mnist/binarized_mnist_test.amat.gz": "ca5952aa9aa5bdd98f53bdd270c026af273351bc255d1ea373668ea83a773ede",
    "mnist/t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "mnist/t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "mnist/train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "mnist/train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "fashion-mnist/t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "fashion-mnist/t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "fashion-mnist/train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "fashion-mnist/train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}

"""Of the file that mirrors serve first, then of the same file packed or unpacked."""


@dataclass(frozen=True, repr=False, eq=False)
class Images:
    """One image set, whole in memory: grey values 0 to `levels` - 1, and class labels where the set has them.

    >>> Images("blank", 2, *torch.zeros(3, 4, 1, 8, 8, dtype=torch.uint8)).to("cpu")
    Images(blank: 4/4/4 train/valid/test, 8×8, 2 levels, cpu)
    """

    name: str
    levels: int
    train: UInt8[Tensor, "n_train 1 h w"]
    valid: UInt8[Tensor, "n_valid 1 h w"]
    test: UInt8[Tensor, "n_test 1 h w"]
    train_labels: Int64[Tensor, " n_train"] | None = None
    valid_labels: Int64[Tensor, " n_valid"] | None = None
    test_labels: Int64[Tensor, " n_test"] | None = None

    @checked
    def to(self, device: torch.device | str) -> "Images":
        """The same images on another device."""
        return replace(self, **{key: x.to(device) for key, x in vars(self).items() if isinstance(x, Tensor)})

    def __repr__(self) -> str:
        h, w = self.train.shape[-2:]
        sizes = "/".join(str(len(x)) for x in (self.train, self.valid, self.test))
        return f"Images({self.name}: {sizes} train/valid/test, {h}×{w}, {self.levels} levels, {self.train.device})"


@dataclass(frozen=True, repr=False, eq=False)
class Table:
    """Rows of real numbers, kept as they came, in float64. `shape` is that of one row before it was laid flat.

    >>> x = torch.tensor([[0.0], [2.0], [7.0]]).double()
    >>> table = Table("mine", ("height",), (1,), x[:2], x[2:], x[2:])
    >>> table, table.standardised().train.tolist()
    (Table(mine: 2/1/1 train/valid/test, 1 columns), [[-1.0], [1.0]])
    >>> table.restored(table.standardised().test).tolist()
    [[7.0]]
    """

    name: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    train: Float[Tensor, "n_train d"]
    valid: Float[Tensor, "n_valid d"]
    test: Float[Tensor, "n_test d"]

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Of each column over the training rows."""
        return self.train.double().mean(0)

    @property
    def std(self) -> Float[Tensor, " d"]:
        """Of each column over the training rows; 1 where a column does not vary, which has no scale of its own."""
        varies = self.train.amax(0) > self.train.amin(0)
        return torch.where(varies, self.train.double().std(0, correction=0), 1.0)

    def standardised(self) -> "Table":
        """The table in the default dtype, each column with mean 0 and variance 1 over the training rows.

        A log-density of these rows is one of the original rows after `std.log().sum()` is taken off.
        """
        scaled = {key: (getattr(self, key) - self.mean) / self.std for key in SPLITS}
        return replace(self, **{key: x.to(torch.get_default_dtype()) for key, x in scaled.items()})

    @checked
    def restored(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Standardised rows, a model's samples perhaps, in the units of this table."""
        return self.mean + self.std * need_shape("x", x, (len(x), self.train.shape[1]))

    @checked
    def to(self, device: torch.device | str) -> "Table":
        """The same rows on another device."""
        return replace(self, **{key: getattr(self, key).to(device) for key in SPLITS})

    def __repr__(self) -> str:
        sizes = "/".join(str(len(getattr(self, key))) for key in SPLITS)
        return f"Table({self.name}: {sizes} train/valid/test, {math.prod(self.shape)} columns)"


@checked
def load(name: str | os.PathLike, device: torch.device | str = "cpu") -> Images | Table:
    """An image set by its name, or one's own data by its path, split once and for all into train, valid and test.

    - `"digits"`: scikit-learn's 8×8 digits (17 levels), 1297/250/250 by a fixed permutation; ships with the install.
    - `"mnist"`, `"fashion"`: 28×28, 256 levels. The published 60,000 training images are split into the first 50,000
      (train) and the last 10,000 (valid), as likelihood tables do; the published 10,000 test images are the test set.
    - `"binarized_mnist"`: Larochelle's fixed 0/1 images, 50,000/10,000/10,000, without labels. Its test images are
      sorted by digit, zeros first: judge on all of them or on a `subset`.
    - a path: a `.npz`, `.npy` or `.csv` file, or a folder of images, as `dgmlib.files.read` tells.

    Raises: ValueError (unknown name, data of one's own that are not sound), OSError (a file missing or corrupt, and no
    mirror could mend that). A corrupt file that was downloaded afresh is reported as a warning.

    Larochelle & Murray (2011), "The neural autoregressive distribution estimator"; LeCun et al. (1998); Xiao, Rasul &
    Vollgraf (2017).

    >>> load("digits")
    Images(digits: 1297/250/250 train/valid/test, 8×8, 17 levels, cpu)
    """
    from dgmlib import files  # which knows what images are from here

    if str(name) not in SETS and (Path(name).suffix.lower() in files.SUFFIXES or Path(name).expanduser().exists()):
        return files.read(name).to(device)
    if need_option("name", str(name), SETS) == "digits":
        images = _digits()
    elif name == "binarized_mnist":
        images = Images(name, 2, *(_amat(f"binarized_mnist_{split}.amat") for split in ("train", "valid", "test")))
    else:
        images = _idx(name)
    return images.to(device)


@checked
def subset(
    x: Shaped[Tensor, "rows *event"], n: int, *, generator: torch.Generator | None = None
) -> Shaped[Tensor, "n *event"]:
    """`n` rows of `x` drawn without replacement. The first `n` of a published set need not be a fair sample of it.

    Raises: ValueError (more rows asked for than there are).

    >>> sorted(subset(torch.arange(4), 4).tolist())
    [0, 1, 2, 3]
    """
    need_between("n", need_count("n", n), 1, len(x))
    device = "cpu" if generator is None else generator.device
    return x[torch.randperm(len(x), generator=generator, device=device)[:n].to(x.device)]


@checked
def cached(name: str) -> bool:
    """Whether every file of an image set lies in the cache folder, so that `load` asks no mirror for a missing one.

    >>> cached("digits")  # they ship with scikit-learn
    True
    """
    if need_option("name", name, SETS) == "digits":
        return True
    stems = {key.removesuffix(".gz") for key in SHA256 if key.startswith(f"{FOLDERS[name]}/")}
    return all(any((_cache() / form).is_file() for form in (stem, f"{stem}.gz")) for stem in stems)


def _digits() -> Images:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    x = torch.from_numpy(pixels[order].astype(np.uint8)).view(-1, 1, 8, 8).split([1297, 250, 250])
    y = torch.from_numpy(labels[order].astype(np.int64)).split([1297, 250, 250])
    return Images("digits", 17, *x, *y)


def _idx(name: str) -> Images:
    def values(stem: str, header: int) -> UInt8[Tensor, " n"]:
        return torch.frombuffer(_read(FOLDERS[name], stem), dtype=torch.uint8, offset=header)

    def images(stem: str) -> UInt8[Tensor, "n 1 28 28"]:
        return values(f"{stem}-images-idx3-ubyte", 16).view(-1, 1, 28, 28)  # after magic number, count, height, width

    def labels(stem: str) -> Int64[Tensor, " n"]:
        return values(f"{stem}-labels-idx1-ubyte", 8).long()  # after magic number, count

    x, y = images("train"), labels("train")
    return Images(name, 256, x[:50_000], x[50_000:], images("t10k"), y[:50_000], y[50_000:], labels("t10k"))


def _amat(stem: str) -> Tensor:
    text = torch.frombuffer(_read("binarized-mnist", stem), dtype=torch.uint8)
    return (text.view(-1, 784, 2)[..., 0] - ord("0")).view(-1, 1, 28, 28)  # every digit is followed by a separator


def _cache() -> Path:
    import pooch  # here and below: not everyone who imports this module downloads

    return Path(os.environ.get("DGMLIB_DATA") or pooch.os_cache("dgmlib")).expanduser()


def _read(folder: str, stem: str) -> bytearray:
    """The unpacked content of a data file: the cached one if it is sound, else the first mirror's that is."""
    cache = _cache() / folder
    names = [Path(key).name for key in SHA256 if key in (f"{folder}/{stem}", f"{folder}/{stem}.gz")]
    problem = f"{cache / names[0]} is missing"
    for path in (cache / name for name in names):
        if path.is_file():
            content = path.read_bytes()
            found, expected = hashlib.sha256(content).hexdigest(), SHA256[f"{folder}/{path.name}"]
            if found == expected:
                return _unpacked(path, content)
            problem = f"{path} is corrupt (sha256 {found}, expected {expected})"
    path = _download(folder, names[0], cache, problem)
    return _unpacked(path, path.read_bytes())


def _unpacked(path: Path, content: bytes) -> bytearray:
    return bytearray(gzip.decompress(content) if path.suffix == ".gz" else content)


def _download(folder: str, name: str, cache: Path, problem: str) -> Path:
    """Fetch one file beside its final place, check it, then rename: a bad file never stands under the final name."""
    import pooch
    from requests import RequestException

    expected, tried = SHA256[f"{folder}/{name}"], []
    for url in (mirror + name for mirror in MIRRORS[folder]):
        try:
            pooch.retrieve(url, f"sha256:{expected}", name, cache, downloader=pooch.HTTPDownloader(timeout=30))
        except (RequestException, ValueError) as error:  # ValueError: another checksum
            tried.append(f"{url} ({'wrong checksum' if isinstance(error, ValueError) else type(error).__name__})")
        except OSError as error:
            raise OSError(f"{problem}, and {url} cannot be saved in {cache}: {error.strerror or error}") from error
        else:
            if "corrupt" in problem:
                warnings.warn(f"{problem}, so it was downloaded again from {url}", stacklevel=2)
            return cache / name
    raise OSError(
        f"{problem}; put a file with sha256 {expected} in its place, since no mirror gave it: {', '.join(tried)}"
    )


# --- minibatches ----------------------------------------------------------------------------------------------------


class Batches(Iterator[tuple[Tensor, ...]]):
    """Endless shuffled minibatches of tensors that share their first axis, selected on the device they live on.

    The stream is one fresh permutation of the rows after another, cut into pieces of `batch_size`: each epoch holds
    every row exactly once, and every batch is full (one that straddles two epochs may hold a row twice). The order is
    a function of one number, drawn from `generator` at the start: it owes nothing to noise drawn later, it is the same
    wherever the tensors live, and `state_dict` is that number and the count of batches. In data-parallel training
    `batch_size` is the global one: processes whose generators have the same seed draw the same batch, and each yields
    its share. `len` is the number of batches in which an epoch begins and ends.

    Raises: TypeError (no tensor), ValueError (lengths or devices differ, or a batch larger than the set).

    >>> batches = Batches(torch.arange(6), batch_size=3)
    >>> len(batches)
    2
    >>> sorted(torch.cat([*next(batches), *next(batches)]).tolist())  # an epoch
    [0, 1, 2, 3, 4, 5]
    >>> state = batches.state_dict()
    >>> (third,) = next(batches)
    >>> batches.load_state_dict(state)
    >>> torch.equal(*next(batches), third)
    True
    """

    @checked
    def __init__(self, *tensors: Tensor, batch_size: int, generator: torch.Generator | None = None):
        if not tensors:
            raise TypeError("tensors is empty, expected at least one tensor to draw rows from")
        if any(x.ndim == 0 for x in tensors):
            raise ValueError("tensors holds a single number, expected tensors of rows")
        if len({(len(x), x.device) for x in tensors}) > 1:
            came = ", ".join(f"{len(x)} on {x.device}" for x in tensors)
            raise ValueError(f"tensors have rows {came}, expected the same number on the same device")
        self.tensors = tensors
        self.batch_size = need_count("batch_size", need_between("batch_size", batch_size, 1, len(tensors[0])))
        device = "cpu" if generator is None else generator.device
        self.seed = int(torch.randint(2**31, (), generator=generator, device=device))
        self.drawn = 0
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def __next__(self) -> tuple[Tensor, ...]:
        epoch, first = divmod(self.drawn * self.batch_size, len(self.tensors[0]))
        rows = self._permutation(epoch)[first : first + self.batch_size]
        if len(rows) < self.batch_size:
            rows = torch.cat([rows, self._permutation(epoch + 1)[: self.batch_size - len(rows)]])
        self.drawn += 1
        rows = rows[share(self.batch_size)]
        return tuple(x[rows] for x in self.tensors)

    def _permutation(self, epoch: int) -> Int64[Tensor, " n"]:
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(len(self.tensors[0]), generator=torch.Generator().manual_seed(self.seed + epoch))
            self._order = epoch, order.to(self.tensors[0].device)
        return self._order[1]

    def state_dict(self) -> dict[str, int]:
        """All that the next batch depends on besides the tensors."""
        return {"seed": self.seed, "drawn": self.drawn, "rows": len(self.tensors[0]), "batch_size": self.batch_size}

    @checked
    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue exactly where `state` was taken. Raises ValueError if it was taken from other sizes."""
        for key, ours in (("rows", len(self.tensors[0])), ("batch_size", self.batch_size)):
            if state[key] != ours:
                raise ValueError(f"state has {key} {state[key]}, expected {ours} as in these batches")
        self.seed, self.drawn, self._order = state["seed"], state["drawn"], None


# --- grey levels to real numbers ------------------------------------------------------------------------------------


@checked
def dequantize(
    x: UInt8[Tensor, "*shape"], levels: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """y = (x + u) / levels with u uniform on [0, 1): grey values spread over [0, 1), in the default dtype.

    A density p of y then bounds the mass of x: E_u[log p(y)] - d log(levels) <= log P(x), d pixels an image. Always
    y < 1, and `floor(levels * y)` gives x back exactly, also when the sum or the quotient was rounded.

    Raises: TypeError (`x` not uint8), ValueError (a grey value not below `levels`).

    Theis, van den Oord & Bethge (2016), "A note on the evaluation of generative models", section 3.1.

    >>> y = dequantize(torch.tensor([0, 3], dtype=torch.uint8), levels=4)
    >>> (4 * y).floor().tolist()
    [0.0, 3.0]
    """
    need_between("levels", need_count("levels", levels), 2, 256)
    u = rand_like(need_levels("x", x, levels).to(torch.get_default_dtype()), generator=generator)
    eps = torch.finfo(u.dtype).eps  # two roundings away from either edge, so that no third one crosses it
    return ((x + u) / levels).clamp(x / levels * (1 + 2 * eps), (x + 1.0) / levels * (1 - 2 * eps))


@checked
def fixed_binarisation(x: UInt8[Tensor, "n 1 h w"], levels: int) -> Float[Tensor, "n d"]:
    """0/1 images whose pixels were drawn once, with a seed of their own, by their grey values 0 to `levels` - 1.

    Raises: TypeError (`x` not uint8), ValueError (a grey value not below `levels`).

    >>> fixed_binarisation(torch.tensor([[[[0, 16]]]], dtype=torch.uint8), levels=17).tolist()
    [[0.0, 1.0]]
    """
    need_levels("x", x, need_count("levels", levels, 2))
    probs = x.flatten(1).to(torch.get_default_dtype()) / (levels - 1)
    return bernoulli(probs, generator=torch.Generator(x.device).manual_seed(0))


class Logit(Transform):
    """z = logit(alpha + (1 - 2 alpha) x), elementwise: [0, 1] onto an interval around 0 that grows as alpha shrinks.

    `forward` refuses x outside [0, 1]; `inverse` takes any z, and gives x outside [0, 1], by at most
    alpha / (1 - 2 alpha), where z lies beyond the image of [0, 1].

    Dinh, Sohl-Dickstein & Bengio (2017), "Density estimation using Real NVP", section 4.1.

    >>> z, log_det = Logit(0.25).forward(torch.tensor([[0.5]]))
    >>> z.tolist(), round(float(log_det.exp()), 4)
    ([[0.0]], 2.0)
    >>> Logit(0.25).inverse(z)[0].tolist()
    [[0.5]]
    """

    @checked
    def __init__(self, alpha: float):
        self.alpha = need_between("alpha", alpha, 0, 0.5, open_ends=True)

    @checked
    def forward(
        self, x: Float[Tensor, "batch *event"]
    ) -> tuple[Float[Tensor, "batch *event"], Float[Tensor, " batch"]]:
        """z and log|det dz/dx| = sum log(1 - 2 alpha) - log s - log(1 - s), s = alpha + (1 - 2 alpha) x."""
        if not ((x >= 0) & (x <= 1)).all():
            raise ValueError(f"x has values from {x.min():.3g} to {x.max():.3g}, expected all in [0, 1]")
        log_s = (self.alpha + (1 - 2 * self.alpha) * x).log()
        log_not_s = (self.alpha + (1 - 2 * self.alpha) * (1 - x)).log()  # not log(1 - s): keeps its digits near x = 1
        return log_s - log_not_s, (math.log(1 - 2 * self.alpha) - log_s - log_not_s).reshape(len(x), -1).sum(1)

    @checked
    def inverse(
        self, z: Float[Tensor, "batch *event"]
    ) -> tuple[Float[Tensor, "batch *event"], Float[Tensor, " batch"]]:
        """x = (s - alpha) / (1 - 2 alpha), s = sigmoid(z), and log|det dx/dz|, minus that of `forward`."""
        x = (need_finite("z", z).sigmoid() - self.alpha) / (1 - 2 * self.alpha)
        return x, (F.logsigmoid(z) + F.logsigmoid(-z) - math.log(1 - 2 * self.alpha)).reshape(len(x), -1).sum(1)


# --- densities in the plane -----------------------------------------------------------------------------------------
# All exact and in float64: `log_prob`, `score` and `sample` have no approximation in them.


def _round_bumps(means: Float[Tensor, "k 2"], std: float, device: torch.device | str) -> GaussianMixture:
    """Equal round Gaussians at the given points."""
    k, std = len(means), need_between("std", std, 0, math.inf, open_ends=True)
    weights = torch.full((k,), 1 / k, dtype=torch.float64)
    covs = std**2 * torch.eye(2, dtype=torch.float64).expand(k, 2, 2)
    return GaussianMixture(weights.to(device), means.to(device), covs.to(device))


@checked
def ring(k: int = 8, radius: float = 3.0, std: float = 0.25, device: torch.device | str = "cpu") -> GaussianMixture:
    """`k` equal Gaussians of standard deviation `std` on a circle.

    >>> ring(4, radius=3.0).means.norm(dim=1).round(decimals=4).tolist()
    [3.0, 3.0, 3.0, 3.0]
    """
    angle = torch.arange(need_count("k", k), dtype=torch.float64) * (2 * math.pi / k)
    need_between("radius", radius, -math.inf, math.inf)
    return _round_bumps(radius * torch.stack([angle.cos(), angle.sin()], 1), std, device)


@checked
def grid(k: int = 5, spacing: float = 1.5, std: float = 0.15, device: torch.device | str = "cpu") -> GaussianMixture:
    """`k` × `k` equal Gaussians on a square grid centred at the origin.

    >>> grid(2, spacing=2.0).means.tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    need_between("spacing", spacing, -math.inf, math.inf)
    axis = (torch.arange(need_count("k", k), dtype=torch.float64) - (k - 1) / 2) * spacing
    return _round_bumps(torch.cartesian_prod(axis, axis), std, device)


@checked
def moons(std: float = 0.2, device: torch.device | str = "cpu") -> GaussianMixture:
    """Two interleaved half circles, each a string of 24 equal round Gaussians close enough to look like one ridge.

    >>> moons().means.shape
    torch.Size([48, 2])
    """
    angle = torch.linspace(0, math.pi, 24, dtype=torch.float64)
    upper = 2 * torch.stack([angle.cos(), angle.sin()], 1) - torch.tensor([1.0, 0.5])
    return _round_bumps(torch.cat([upper, -upper]), std, device)


@checked
def spirals(std: float = 0.15, device: torch.device | str = "cpu") -> GaussianMixture:
    """Two interleaved spiral arms of one and a half turns, each a string of 80 equal round Gaussians.

    >>> spirals().means.shape
    torch.Size([160, 2])
    """
    s = torch.linspace(0.02, 1, 80, dtype=torch.float64).sqrt()  # near-equal steps along the arm
    arm = 3.5 * s[:, None] * torch.stack([(3 * math.pi * s).cos(), (3 * math.pi * s).sin()], 1)
    return _round_bumps(torch.cat([arm, -arm]), std, device)


@checked
def target(device: torch.device | str = "cpu") -> GaussianMixture:
    """The course's question mark: a curved ridge of falling weight and, across a gap, a small dot of weight 0.06.

    Eight Gaussians inside [-4, 4]². Six lie along an arc and one along the stem, stretched along the curve (standard
    deviation 0.42 along, 0.2 across); the dot at (0, -2.8) is round (0.25).

    >>> target().means[-1].tolist(), target().weights[-1].item()  # the dot
    ([0.0, -2.8], 0.06)
    """
    numbers = partial(torch.tensor, dtype=torch.float64)
    angle = torch.deg2rad(numbers([165, 118, 71, 24, -23, -70]))
    arc = 1.35 * torch.stack([angle.cos(), angle.sin()], 1) + numbers([0.0, 1.6])
    means = torch.cat([arc, numbers([[0.0, -0.55], [0.0, -2.8]])])
    along = torch.cat([torch.stack([-angle.sin(), angle.cos()], 1), numbers([[0.0, 1.0], [0.0, 1.0]])])[:, :, None]
    stretch = numbers([0.42**2 - 0.2**2] * 7 + [0.0])[:, None, None]
    across = numbers([0.2**2] * 7 + [0.25**2])[:, None, None]
    covs = stretch * along * along.mT + across * torch.eye(2, dtype=torch.float64)
    weights = numbers([0.19, 0.18, 0.16, 0.13, 0.11, 0.09, 0.08, 0.06])
    return GaussianMixture(weights.to(device), means.to(device), covs.to(device))


class Checkerboard(Density):
    """Uniform on the eight dark squares, of side 2, of a 4 × 4 board on [-4, 4]².

    >>> board = Checkerboard()
    >>> x = torch.tensor([[-3.0, -3.0], [-1.0, -3.0]])  # on a dark square, on a light one
    >>> (32 * board.log_prob(x).exp()).round(decimals=4).tolist()
    [1.0, 0.0]
    >>> bool(board.log_prob(board.sample(100)).isfinite().all())
    True
    """

    @checked
    def __init__(self, device: torch.device | str = "cpu"):
        i = torch.arange(8, device=device)
        self.corners = torch.stack([i % 4, 2 * (i // 4) + i % 2], 1) * 2.0 - 4.0  # lower left, one a row

    @checked
    def log_prob(self, x: Float[Tensor, "batch 2"]) -> Float[Tensor, " batch"]:
        """-log 32 on the dark squares, minus infinity elsewhere."""
        x = need_finite("x", x).to(torch.float64)
        column, row = ((x + 4) / 2).floor().unbind(1)
        dark = (x >= -4).all(1) & (x < 4).all(1) & ((column + row) % 2 == 0)
        return x.new_full((len(x),), -math.log(32)).masked_fill(~dark, -math.inf)

    @checked
    def score(self, x: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch 2"]:
        """Zero: the density is flat wherever its gradient exists. All of its shape is in the edges a score misses."""
        return torch.zeros_like(need_finite("x", x), dtype=torch.float64)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        """`n` draws: a square, then a point in it."""
        device = self.corners.device
        square = torch.randint(8, (need_count("n", n),), generator=generator, device=device)
        return self.corners[square] + 2 * torch.rand(n, 2, generator=generator, dtype=torch.float64, device=device)


@checked
def checkerboard(device: torch.device | str = "cpu") -> Checkerboard:
    """The checkerboard density.

    >>> checkerboard().score(torch.zeros(1, 2)).tolist()
    [[0.0, 0.0]]
    """
    return Checkerboard(device)
