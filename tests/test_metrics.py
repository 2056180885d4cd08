"""The numbers that samples are judged by: closed forms, sets whose manifolds are drawn by hand, known defects."""

import math

import pytest
import torch
from exact import rng
from torch.nn import functional as F

from dgmlib import data, metrics
from dgmlib.classifier import load_classifier, unit_scale
from dgmlib.metrics import (
    Scorecard,
    class_histogram_kl,
    distances,
    nearest,
    nearest_neighbour_ratio,
    precision_recall,
    scorecard,
)


def line(*numbers):
    """Points on a line, as rows."""
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def digits(split):
    return unit_scale(getattr(data.load("digits"), split), 17)


# --- class frequencies ----------------------------------------------------------------------------------------------


def test_class_histogram_kl_is_the_kl_between_the_frequencies():
    labels, reference = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1, 2, 2])
    expected = 0.75 * math.log(0.75 / (1 / 6)) + 0.25 * math.log(0.25 / 0.5)
    assert class_histogram_kl(labels, reference, 3).item() == pytest.approx(expected, abs=1e-12)
    assert class_histogram_kl(reference, labels, 3).item() == math.inf
    assert class_histogram_kl(labels, reference).item() == pytest.approx(expected, abs=1e-12)


def test_class_histogram_kl_of_one_class_is_log_of_their_number_and_of_equal_frequencies_zero():
    uniform = torch.arange(10).repeat(5)
    assert class_histogram_kl(torch.full((7,), 9), uniform).item() == pytest.approx(math.log(10), abs=1e-12)
    assert class_histogram_kl(torch.full((7,), 1), torch.tensor([0, 1]), 2).item() == pytest.approx(math.log(2))
    assert class_histogram_kl(uniform, uniform.flip(0)[:10]).item() == 0


def test_class_histogram_kl_of_fresh_draws_has_the_bias_it_states():
    """2n KL is about chi-squared with 9 degrees of freedom: mean 9, variance 18; five standard errors of 400 draws."""
    draws = torch.randint(10, (400, 500), generator=rng())
    mean = torch.stack([class_histogram_kl(y, torch.arange(10)) for y in draws]).mean().item()
    assert abs(2 * 500 * mean - 9) < 5 * math.sqrt(18 / 400)


# --- precision and recall -------------------------------------------------------------------------------------------


def test_precision_and_recall_of_points_on_a_line():
    """k = 1: balls of radius 1, 1, 2, 2 about 0, 1, 3, 5 cover [-1, 7]; radius 1 about 6.5, 7.5; 12.5 about 20."""
    reference, samples = line(0, 1, 3, 5), line(6.5, 7.5, 20)
    precision, recall = precision_recall(samples, reference, 1)
    assert (precision.item(), recall.item()) == (pytest.approx(1 / 3), 0)
    swapped = precision_recall(reference, samples, 1)
    assert [value.item() for value in swapped] == [0, pytest.approx(1 / 3)]


def test_the_k_th_neighbour_is_another_point_and_the_ball_is_closed():
    """About 0, 1, 3 the 1st other points lie at 1, 1, 2 and the 2nd at 3, 2, 3: the balls end at 5, and at 6."""
    reference = line(0, 1, 3)
    for k, edge in ((1, 5), (2, 6)):
        for x, share in ((edge, 1.0), (edge + 1e-9, 0.0)):
            assert precision_recall(line(x, x, x, x), reference, k)[0].item() == share
    assert precision_recall(line(0, 1, 3), line(0, 1, 3, 4), 2) == (1, 1)


def test_three_neighbours_are_the_default():
    samples, reference = (torch.randn(60, 3, generator=rng(), dtype=torch.float64) + shift for shift in (0, 1))
    assert precision_recall(samples, reference) == precision_recall(samples, reference, 3)
    assert precision_recall(samples, reference) != precision_recall(samples, reference, 2)
    assert precision_recall(samples, reference) != precision_recall(samples, reference, 4)


def test_a_collapsed_model_is_precise_and_has_no_recall_and_a_diffuse_one_the_reverse():
    real = torch.randn(1000, 2, generator=rng())
    tiny, wide = 0.01 * real[:500].roll(1), 40 * real
    assert precision_recall(tiny, real)[0] > 0.95 and precision_recall(tiny, real)[1] < 0.02
    assert precision_recall(wide, real)[0] < 0.05 and precision_recall(wide, real)[1] > 0.95
    fresh = precision_recall(torch.randn(1000, 2, generator=rng(1)), real)
    assert min(fresh) > 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_metrics_keep_the_dtype(dtype):
    x = torch.rand(20, 2, generator=rng(), dtype=dtype)
    assert {value.dtype for value in precision_recall(x, x + 1)} == {dtype}
    assert nearest_neighbour_ratio(x, x + 1, x + 2).dtype == dtype


# --- nearest neighbours ---------------------------------------------------------------------------------------------


def test_nearest_neighbour_ratio_is_of_mean_distances_to_the_nearest():
    train, test = line(0, 10), line(1, 8)  # 1 and 2 away: 1.5 on average
    assert nearest_neighbour_ratio(line(3, 13, 10), test, train).item() == pytest.approx(2 / 1.5)
    assert nearest_neighbour_ratio(test, test, train).item() == 1
    assert nearest_neighbour_ratio(line(0, 10, 10), test, train).item() == 0


def test_many_samples_are_measured_in_pieces_and_a_copy_lies_at_no_distance():
    train = torch.rand(50, 64, generator=rng())
    copies = train.repeat(45, 1)  # float32: by an inner product these would be about 1e-3 away
    assert nearest_neighbour_ratio(copies, train + 1, train).item() == 0
    copies[-1] += 1.0
    assert nearest_neighbour_ratio(copies, train + 1, train).item() == pytest.approx(1 / 2250, rel=0.2)


# --- the scorecard --------------------------------------------------------------------------------------------------


def test_real_digits_get_the_numbers_the_docstring_states():
    card = scorecard(digits("valid"), bits=None, seconds=0.5)
    said = (card.class_kl, card.precision, card.recall, card.neighbour_ratio)
    assert said == pytest.approx((0.040, 0.91, 0.86, 0.99), abs=0.0101)  # another machine may move a point or two
    for number in ("0.040 nats", "0.91 / 0.86", "0.99"):
        assert number in scorecard.__doc__


def test_the_scorecard_is_its_parts():
    judge, x = load_classifier("digits"), digits("valid")[:120]
    reference, train = digits("test"), digits("train")
    card = scorecard(x, bits=2.5, seconds=0.25, bound=True)
    labels, ours = judge.probabilities(reference).argmax(1), judge.probabilities(x).argmax(1)
    assert card.class_kl == class_histogram_kl(ours, labels).item()
    features = F.normalize(judge.features(x), dim=1), F.normalize(judge.features(reference[:120]), dim=1)
    assert (card.precision, card.recall) == tuple(value.item() for value in precision_recall(*features))
    ratio = nearest_neighbour_ratio(x.flatten(1), reference.flatten(1), train.flatten(1))
    assert card.neighbour_ratio == ratio.item()
    assert (card.bits, card.bound, card.seconds) == (2.5, True, 0.25)
    larger = torch.cat([x, digits("train")])
    assert scorecard(larger, bits=None, seconds=0).precision == scorecard(larger[:250], bits=None, seconds=0).precision
    itself = scorecard(x, bits=None, seconds=0, reference=x)
    assert (itself.class_kl, itself.precision, itself.recall, itself.neighbour_ratio) == (0, 1, 1, 1)


def test_each_defect_shows_in_its_line_and_in_no_other():
    """The real digits beside copies of training digits, half the classes, one image again and again, and noise."""
    valid, labels = digits("valid"), data.load("digits").valid_labels
    real, copied, halved, repeated, noise = (
        scorecard(x, bits=None, seconds=0)
        for x in (
            valid,
            digits("train")[:250],
            valid[labels < 5],
            valid[:1].repeat(250, 1, 1, 1),
            torch.rand(250, 1, 8, 8, generator=rng()),
        )
    )
    assert copied.neighbour_ratio == 0 and min(copied.precision, copied.recall) > 0.8 and copied.class_kl < 0.1
    assert halved.class_kl > 0.5 and halved.recall < 0.6 and halved.precision > 0.85
    assert repeated.class_kl > 2 and repeated.recall == 0
    assert noise.precision < 0.05 and noise.neighbour_ratio > 3
    assert 0.9 < real.neighbour_ratio < 1.1 and real.class_kl < 0.1
    judge, test = load_classifier("digits"), digits("test")
    unscaled = precision_recall(judge.features(torch.rand(250, 1, 8, 8, generator=rng())), judge.features(test))
    assert unscaled[0] > 0.8, "features that are not scaled take noise for digits"


def test_a_scorecard_prints_five_lines():
    card = Scorecard(2.34567, False, 0.0312, 0.876, 0.664, 1.0849, 0.000213)
    assert str(card).splitlines() == [
        "bits per dimension       2.346",
        "class-histogram KL       0.031 nats",
        "precision / recall       0.88 / 0.66",
        "nearest-neighbour ratio  1.08",
        "seconds a sample         0.00021",
    ]
    assert "bits per dimension       ≤ 2.346\n" in str(Scorecard(2.34567, True, *[0.0] * 5))
    assert "bits per dimension       none: no likelihood\n" in str(Scorecard(None, False, *[0.0] * 5))


def test_a_hundred_float64_samples_suffice_and_the_generator_is_left_alone():
    before = torch.get_rng_state()
    card = scorecard(digits("valid")[:100].double(), bits=0, seconds=0)
    assert all(math.isfinite(value) for value in (card.class_kl, card.precision, card.recall, card.neighbour_ratio))
    assert (card.bits, card.bound) == (0, False) and torch.equal(torch.get_rng_state(), before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_cuda_judges_as_the_cpu_does():
    there, here = (scorecard(digits("valid").to(device), bits=None, seconds=0) for device in ("cuda", "cpu"))
    assert there.neighbour_ratio == pytest.approx(here.neighbour_ratio, rel=1e-4)
    assert (there.class_kl, there.precision) == pytest.approx((here.class_kl, here.precision), abs=0.03)


# --- refusals -------------------------------------------------------------------------------------------------------

LABELS, POINTS, IMAGES = torch.arange(10), torch.zeros(5, 2), torch.zeros(5, 1, 8, 8)
CARD = {"bits": 2.0, "seconds": 0.1}


def test_distances_are_those_of_the_differences():
    x = 1e4 + torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    exact = (x[:, None].double() - x.double()).norm(dim=-1)
    assert torch.allclose(distances(x, x).double(), exact, rtol=1e-5, atol=0)
    assert (distances(x, x).diagonal() == 0).all()
    assert distances(x.half(), x[:7]).shape == (300, 7) and distances(x, x.double()).dtype == torch.float64


def test_nearest_goes_through_the_rows_in_blocks(monkeypatch):
    x, points = (torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (50, 40))
    whole = torch.cdist(x.double(), points.double()).sort(1)
    seen = []
    monkeypatch.setattr(metrics, "distances", lambda x, y: seen.append(len(x)) or distances(x, y))
    monkeypatch.setattr(metrics, "BLOCK", 40 * 7 + 3)
    for k in (1, 2, 40):
        near, which = nearest(x, points, k)
        assert torch.equal(which, whole.indices[:, k - 1])
        assert torch.allclose(near.double(), whole.values[:, k - 1], rtol=1e-6)
    assert max(seen) == 7
    with pytest.raises(ValueError, match=r"k is 41, expected a number in \[1, 40\]"):
        nearest(x, points, 41)


REFUSED = {
    "float labels": (
        lambda: class_histogram_kl(LABELS.float(), LABELS),
        TypeError,
        r"labels has dtype torch.float32, expected torch.int64",
    ),
    "no labels": (lambda: class_histogram_kl(LABELS, LABELS[:0]), ValueError, r"reference has shape \(0,\)"),
    "label 10": (
        lambda: class_histogram_kl(LABELS + 1, LABELS),
        ValueError,
        "labels has values from 1 to 10",
    ),
    "label -1": (
        lambda: class_histogram_kl(LABELS, LABELS - 1),
        ValueError,
        "reference has values from -1 to 8",
    ),
    "one class": (lambda: class_histogram_kl(LABELS, LABELS, 1), ValueError, "n_classes is 1, expected at least 2"),
    "k = 0": (lambda: precision_recall(POINTS, POINTS, 0), ValueError, "k is 0, expected at least 1"),
    "few samples": (
        lambda: precision_recall(POINTS[:3], POINTS),
        ValueError,
        "samples has 3 points, expected more than k = 3",
    ),
    "few references": (
        lambda: precision_recall(POINTS, POINTS, 5),
        ValueError,
        "samples has 5 points, expected more than k = 5",
    ),
    "one axis": (lambda: precision_recall(POINTS[:, 0], POINTS), ValueError, r"samples has shape \(5,\), expected 2"),
    "NaN": (lambda: precision_recall(POINTS, POINTS + math.nan), ValueError, "reference has 10 NaN or infinite values"),
    "dimensions": (
        lambda: precision_recall(POINTS, POINTS[:, :1]),
        ValueError,
        r"reference has shape \(5, 1\), expected \(5, 2\)",
    ),
    "train": (
        lambda: nearest_neighbour_ratio(POINTS, POINTS, POINTS[:, :1]),
        ValueError,
        r"train has shape \(5, 1\), expected \(5, 2\)",
    ),
    "test": (
        lambda: nearest_neighbour_ratio(POINTS, POINTS[:, :1], POINTS),
        ValueError,
        r"test has shape \(5, 1\), expected \(5, 2\)",
    ),
    "NaN among test points": (
        lambda: nearest_neighbour_ratio(POINTS, POINTS + math.nan, POINTS),
        ValueError,
        "test has 10 NaN or infinite values",
    ),
    "integers": (
        lambda: nearest_neighbour_ratio(POINTS.long(), POINTS, POINTS),
        TypeError,
        "samples has dtype torch.int64, expected a floating dtype",
    ),
    "test in train": (
        lambda: nearest_neighbour_ratio(POINTS + 1, POINTS, POINTS),
        ValueError,
        "test has no point that is not in train, expected held-out points",
    ),
    "grey levels": (lambda: scorecard(IMAGES + 2, **CARD), ValueError, "samples has values from 2 to 2"),
    "28 by 28": (lambda: scorecard(torch.zeros(5, 1, 28, 28), **CARD), ValueError, r"samples has shape \(5, 1, 28"),
    "three images": (lambda: scorecard(IMAGES[:3], **CARD), ValueError, "samples has 3 points"),
    "a list": (lambda: scorecard([0.0], **CARD), TypeError, "samples is a list, expected a torch.Tensor"),
    "NaN bits": (
        lambda: scorecard(IMAGES, bits=math.nan, seconds=0),
        ValueError,
        "bits is nan, expected a number",
    ),
    "seconds": (lambda: scorecard(IMAGES, bits=None, seconds=-1), ValueError, "seconds is -1, expected a finite"),
    "bound": (
        lambda: scorecard(IMAGES, bits=None, seconds=0, bound=True),
        ValueError,
        "bound is True while bits is None, expected the bits that bound the code length",
    ),
}


@pytest.mark.parametrize("call, error, sentence", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_sentence(untyped, call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}") as refusal:
        call()
    assert "\n" not in str(refusal.value)
