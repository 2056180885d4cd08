"""How good samples are: five numbers that every model of the course is given on the same digits::

    print(scorecard(samples, bits=2.1, seconds=0.001))      # samples: float (n, 1, 8, 8) in [0, 1]

None of them suffices. Likelihood may be high and samples poor; an empty picture, a thousand times, has a precision of
one; a copy of the training set scores like fresh digits, and only the nearest neighbours give it away.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from dgmlib import data
from dgmlib.classifier import load_classifier, unit_scale
from dgmlib.core import checked, distances, need_between, need_count, need_finite, need_levels, need_pixels
from dgmlib.divergences import kl_divergence

BLOCK = 2**24  # distances held at a time: 64 MiB in float32


@checked
def nearest(
    x: Float[Tensor, "n d"], points: Float[Tensor, "m d"], k: int = 1
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """Each row's distance to its k-th nearest among `points`, and which that is; some rows of the matrix at a time.

    >>> distance, place = nearest(torch.tensor([[0.0]]), torch.tensor([[2.0], [1.0]]))
    >>> distance.tolist(), place.tolist()
    ([1.0], [1])
    """
    need_finite("x", x), need_finite("points", points), need_between("k", need_count("k", k), 1, len(points))
    found = [distances(rows, points).kthvalue(k) for rows in _blocks(x, points)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def _blocks(x: Tensor, points: Tensor) -> tuple[Tensor, ...]:
    """The rows of `x`, as many at a time as have `BLOCK` distances to `points`."""
    return x.split(max(1, BLOCK // len(points)))


@checked
def class_histogram_kl(
    labels: Int64[Tensor, " n"], reference: Int64[Tensor, " m"], n_classes: int = 10
) -> Float[Tensor, ""]:
    """KL(h || r) in nats between the class frequencies h of `labels` and r of `reference`; labels from 0.

    Zero iff the frequencies agree, log n_classes when one class is drawn and r is uniform, infinite when a class is
    drawn that the reference lacks. It is biased upwards: n draws from r itself average about (n_classes - 1) / 2n.

    Raises: TypeError (labels that are not int64), ValueError (shape, a label outside 0 … n_classes - 1).

    >>> ones, reference = torch.ones(5, dtype=torch.int64), torch.arange(10)
    >>> round(class_histogram_kl(ones, reference).item(), 4)  # log 10
    2.3026
    """

    need_count("n_classes", n_classes, 2)
    need_levels("labels", labels, n_classes), need_levels("reference", reference, n_classes)
    ours, theirs = (y.bincount(minlength=n_classes).double() / len(y) for y in (labels, reference))
    return kl_divergence(ours, theirs)


@checked
def precision_recall(
    samples: Float[Tensor, "n d"], reference: Float[Tensor, "m d"], k: int = 3
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Precision: the share of samples inside the reference's manifold. Recall: the share of it inside the samples'.

    The manifold of a set is the union of balls, one around each point, that reach to its k-th nearest other point.
    Rows are feature vectors. Both numbers depend on the sizes of the sets: compare at the same n and m.

    Raises: TypeError (not floating), ValueError (shape, NaN, dimensions that differ, k or fewer points in a set).

    Kynkäänniemi et al. (2019), "Improved precision and recall metric for assessing generative models", equation 2.

    >>> same, reference = torch.zeros(5, 1), torch.arange(5.0)[:, None]
    >>> precision, recall = precision_recall(same, reference)
    >>> precision.item(), round(recall.item(), 4)
    (1.0, 0.2)
    """
    need_count("k", k)
    for name, x in (("samples", samples), ("reference", reference)):
        if len(need_finite(name, x)) <= k:
            raise ValueError(f"{name} has {len(x)} points, expected more than k = {k}")

    def inside(x: Float[Tensor, "n d"], points: Float[Tensor, "m d"]) -> Bool[Tensor, " n"]:
        radius, _ = nearest(points, points, k + 1)  # the nearest, at distance 0, is the point itself
        return torch.cat([(distances(rows, points) <= radius).any(1) for rows in _blocks(x, points)])

    precision, recall = inside(samples, reference), inside(reference, samples)
    return precision.to(samples.dtype).mean(), recall.to(samples.dtype).mean()


@checked
def nearest_neighbour_ratio(
    samples: Float[Tensor, "n d"], test: Float[Tensor, "m d"], train: Float[Tensor, "k d"]
) -> Float[Tensor, ""]:
    """Mean distance from a sample to the nearest training point, over that from a test point.

    0 for copies of training points, 1 for fresh draws from the law of the data, above 1 away from the data.

    Raises: TypeError (not floating), ValueError (shape, NaN, dimensions that differ, test points all in `train`).

    >>> train, test = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]])
    >>> nearest_neighbour_ratio(train, test, train).item()
    0.0
    """
    need_finite("samples", samples), need_finite("test", test), need_finite("train", train)
    ours, theirs = (nearest(x, train)[0].mean() for x in (samples, test))
    if theirs == 0:
        raise ValueError("test has no point that is not in train, expected held-out points")
    return ours / theirs


# --- the five lines -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Scorecard:
    """What `scorecard` found; printed, it is five lines.

    >>> card = Scorecard(2.1, True, class_kl=0.04, precision=0.9, recall=0.8, neighbour_ratio=1.0, seconds=0.001)
    >>> card
    bits per dimension       ≤ 2.100
    class-histogram KL       0.040 nats
    precision / recall       0.90 / 0.80
    nearest-neighbour ratio  1.00
    seconds a sample         0.001
    """

    bits: float | None
    bound: bool
    class_kl: float
    precision: float
    recall: float
    neighbour_ratio: float
    seconds: float

    def __repr__(self) -> str:
        bits = "none: no likelihood" if self.bits is None else f"{'≤ ' * self.bound}{self.bits:.3f}"
        return "\n".join(
            [
                f"bits per dimension       {bits}",
                f"class-histogram KL       {self.class_kl:.3f} nats",
                f"precision / recall       {self.precision:.2f} / {self.recall:.2f}",
                f"nearest-neighbour ratio  {self.neighbour_ratio:.2f}",
                f"seconds a sample         {self.seconds:.2g}",
            ]
        )


@checked
def scorecard(
    samples: Float[Tensor, "n 1 8 8"],
    *,
    bits: float | None,
    seconds: float,
    bound: bool = False,
    reference: Float[Tensor, "m 1 8 8"] | None = None,
) -> Scorecard:
    """The five lines on digits; the validation digits themselves get 0.040 nats, 0.91 / 0.86, and a ratio of 0.99.

    - `bits`: test code length in bits a pixel, or an upper `bound` on it; None for a model without a likelihood.
    - class-histogram KL: classes as the frozen digits classifier sees them, samples against reference.
    - precision and recall: in that classifier's features scaled to unit length, k = 3, on the first images of the
      larger set, as many as the smaller one has; so neither should be sorted.
    - nearest-neighbour ratio: distances between pixels, to the training images.
    - `seconds` it took to draw one sample.

    `reference` is the test split unless given. A hundred samples will do; compare models at equal numbers.

    Raises: TypeError (not floating), ValueError (shape, NaN, pixels outside [0, 1], three images or fewer; numbers
    that are negative or not finite; a bound on nothing).

    >>> digits = data.load("digits")
    >>> copies = unit_scale(digits.train[:20], digits.levels)
    >>> scorecard(copies, bits=None, seconds=0.0).neighbour_ratio
    0.0
    """
    if bits is None and bound:
        raise ValueError("bound is True while bits is None, expected the bits that bound the code length")
    for name, value in (("bits", bits), ("seconds", seconds)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}, expected a finite number of at least 0")
    judge, images = load_classifier("digits", samples.device), data.load("digits", samples.device)
    if reference is None:
        reference = unit_scale(images.test, images.levels).to(samples.dtype)
    for name, x in (("samples", samples), ("reference", reference)):
        need_pixels(name, x)
    classes = [judge.probabilities(x).argmax(1) for x in (samples, reference)]
    m = min(len(samples), len(reference))
    # Of unit length, because noise has features near the origin, where the large ball of one odd digit takes it all in.
    precision, recall = precision_recall(*(F.normalize(judge.features(x[:m]), dim=1) for x in (samples, reference)))
    train = unit_scale(images.train, images.levels).to(samples.dtype)
    ratio = nearest_neighbour_ratio(samples.flatten(1), reference.flatten(1), train.flatten(1))
    return Scorecard(
        bits, bound, float(class_histogram_kl(*classes)), float(precision), float(recall), float(ratio), seconds
    )
