"""The arithmetic coder: lengths, round trips, damaged streams, and rounding that differs."""

import itertools
import math
import random
import struct
from fractions import Fraction

import pytest
import torch

from dgmlib import coding, data
from dgmlib.autoregressive import FVSBN, MADE, NADE, Table
from dgmlib.bugs import wrong
from dgmlib.bugs.autoregressive import _filled as filled
from dgmlib.coding import HALF, PRECISION, Decoder, Encoder, code_words, decode, edges, encode, from_code_words
from dgmlib.heads import Categorical, Gaussian
from dgmlib.worlds import bit_states

WHOLE = 1 << PRECISION


@pytest.fixture(scope="module")
def model():
    return filled(MADE(64, (40,))).float()


@pytest.fixture(scope="module")
def images():
    return (torch.rand(1000, 64, generator=torch.Generator().manual_seed(0)) < 0.3).float()


# --- frequencies ----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-coder-edges")
def test_slices_are_the_softmax_and_none_is_empty():
    for logits in ([0.0, 0.0], [0.3, -1.2, 2.0], [0.0, 5.0] * 8, [-700.0, 0.0, -700.0], [60.0, 0.0]):
        ends = edges(logits)
        assert ends[0] == 0 and ends[-1] == WHOLE and all(isinstance(end, int) for end in ends)
        shares = torch.tensor([b - a for a, b in itertools.pairwise(ends)], dtype=torch.float64) / WHOLE
        assert shares.min() >= 1 / WHOLE
        expected = torch.tensor(logits, dtype=torch.float64).softmax(0)
        assert (shares - expected).abs().max() < 2e-5 * expected.max()  # half a step of the grid
    assert edges([0.0, 0.0]) == [0, WHOLE // 2, WHOLE] and edges([1.0, 1.0, 1.0])[1] - WHOLE // 3 in (0, 1, 2)
    assert wrong("coder-smallest-slice", "coder-empty-slice")(60.0, 0.0) == 0


def test_what_rounding_leaves_goes_to_the_likeliest():
    ends = edges([0.0, 1.0, -0.5, 0.5])
    widths = [b - a for a, b in itertools.pairwise(ends)]
    weights = [math.exp(v) for v in (0.0, 1.0, -0.5, 0.5)]
    down = [1 + int((WHOLE - 4) * (w / sum(weights))) for w in weights]
    assert widths[0] == down[0] and widths[2:] == down[2:] and down[1] <= widths[1] <= down[1] + 4


def test_rounding_errors_do_not_reach_the_slices():
    source = random.Random(1)
    for _ in range(500):
        logits = [source.gauss(0, 5) for _ in range(3)]
        assert edges(logits) == edges([logit * (1 + 1e-14) + 1e-14 for logit in logits])
    assert edges([0.0, 1.0]) != edges([0.0, 1.0 + 3e-5])


# --- the coder itself -----------------------------------------------------------------------------------------------


def values_and_slices(seed, n):
    source = random.Random(seed)
    for _ in range(n):
        ends = edges([source.gauss(0, source.choice([0.1, 3, 12])) for _ in range(source.choice([2, 5, 17]))])
        yield source.choices(range(len(ends) - 1), [b - a for a, b in itertools.pairwise(ends)])[0], ends


@pytest.mark.equation("eq-coder-length")
@pytest.mark.equation("eq-coder-interval")
@pytest.mark.parametrize("seed", range(20))
def test_digits_name_a_number_inside_the_exact_interval_and_are_few(seed):
    low, width, encoder = Fraction(0), Fraction(1), Encoder()
    coded = list(values_and_slices(seed, 60))
    for value, ends in coded:
        low, width = low + width * ends[value] / WHOLE, width * (ends[value + 1] - ends[value]) / WHOLE
        encoder.push(ends[value], ends[value + 1])
    bits = encoder.finish()
    number, step = Fraction(int(bits, 2), 2 ** len(bits)), Fraction(1, 2 ** len(bits))
    slack = width / 10**6  # the registers have 62 bits, the interval as many as it needs
    assert low - slack <= number and number + step <= low + width + slack
    exact = math.log2(width.denominator) - math.log2(width.numerator)
    assert -1e-6 < len(bits) - exact <= 2 + 1e-6
    decoder = Decoder(bits)
    assert [decoder.pull(ends) for _, ends in coded] == [value for value, _ in coded]
    noise = Decoder(bits + "10110" * 20)  # whatever follows
    assert [noise.pull(ends) for _, ends in coded] == [value for value, _ in coded]


def test_a_number_near_the_middle_is_waited_for():
    cut = [0, WHOLE // 4, 3 * WHOLE // 4, WHOLE]
    encoder = Encoder()
    for _ in range(200):
        encoder.push(cut[1], cut[2])
    assert encoder.pending > 100 and not encoder.bits
    bits = encoder.finish()
    decoder = Decoder(bits)
    assert [decoder.pull(cut) for _ in range(200)] == [1] * 200
    for first in (0, 2):
        encoder = Encoder()
        encoder.push(cut[1], cut[2]), encoder.push(cut[first], cut[first + 1])
        decoder = Decoder(encoder.finish())
        assert [decoder.pull(cut), decoder.pull(cut)] == [1, first]


def test_nothing_said_takes_two_digits_and_registers_are_as_wide_as_said():
    assert len(Encoder().finish()) == 2 and HALF == 1 << 61 and Encoder().high == (1 << 62) - 1
    sure = Encoder()
    for _ in range(1000):
        sure.push(0, WHOLE - 1)
    assert len(sure.finish()) <= 3


# --- images ---------------------------------------------------------------------------------------------------------


def test_a_thousand_images_come_back_exactly_in_as_many_bits_as_they_cost(model, images):
    code = encode(model, images)
    assert torch.equal(decode(model, code), images)
    words = code_words(model, images)
    with torch.no_grad():
        exact = -model.double().log_prob(images.double()) / math.log(2)
    model.float()
    gaps = torch.tensor([float(len(word)) for word in words]) - exact
    assert 0 < gaps.min() and gaps.max() <= 2
    assert -1 < 8 * (len(code) - coding.HEADER.size) - float(exact.sum()) < 2 + 8
    assert torch.equal(from_code_words(model, words), images)
    assert code[:4] == b"DGM4" and coding.HEADER.size == 24


def test_a_thousand_real_test_images_come_back_exactly(at_hand):
    published = at_hand("binarized_mnist")
    images, rng = data.load("binarized_mnist"), torch.Generator().manual_seed(0)
    x = data.subset(images.test, 1000, generator=rng).flatten(1).float()
    model = FVSBN(784)
    with torch.no_grad():  # pixels on their own, as often on as in the training images
        model.bias[:, 0] = torch.logit(images.train.flatten(1).float().mean(0).clamp(0.001, 0.999))
        bits = -float(model.double().log_prob(x.double()).sum()) / math.log(2)
    code = encode(model, x)
    assert torch.equal(decode(model, code).float(), x)
    assert 250_000 < bits < 350_000 or not published
    assert -1 < 8 * (len(code) - coding.HEADER.size) - bits < 2 + 8


@pytest.mark.parametrize("make", [lambda: FVSBN(12), lambda: NADE(12, 5), lambda: Table(12), lambda: MADE(12, (9, 9))])
def test_every_model_of_bits_codes(make):
    model, x = filled(make()), bit_states(12)[::37]
    assert torch.equal(decode(model, encode(model, x)), x)


def test_grey_levels_code():
    model = filled(NADE(5, 4, head=Categorical(7)))
    x = torch.randint(7, (50, 5), generator=torch.Generator().manual_seed(2)).double()
    assert torch.equal(decode(model, encode(model, x)), x)
    words = code_words(model, x)
    gaps = torch.tensor([float(len(word)) for word in words]) + model.log_prob(x) / math.log(2)
    assert 0 < gaps.min() and gaps.max() <= 2


def test_code_words_of_all_states_are_free_of_prefixes():
    words = code_words(filled(FVSBN(5)), bit_states(5))
    assert not any(b.startswith(a) for a, b in itertools.permutations(words, 2))
    assert sum(2.0 ** -len(word) for word in words) <= 1


def test_another_batch_shape_and_another_number_of_threads_decode(model, images):
    words = code_words(model, images[:100])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        halves = [from_code_words(model, part) for part in (words[:1], words[1:64], words[64:])]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.cat(halves), images[:100])


def test_two_hundred_damaged_or_random_streams_end(model, images):
    code, source = encode(model, images[:5]), random.Random(0)
    refused = 0
    for k in range(200):
        bad = bytearray(code)
        if k % 4 == 0:
            bad = bytearray(source.randbytes(source.randrange(200)))
        elif k % 4 == 1:
            del bad[source.randrange(len(bad)) :]
        elif k % 4 == 2:
            bad[source.randrange(len(bad))] ^= 1 << source.randrange(8)
        else:
            bad = bytearray(coding.HEADER.pack(*coding.HEADER.unpack_from(code)[:5], 60)) + source.randbytes(60)
        try:
            x = decode(model, bytes(bad))
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and "expected" in str(error)
        else:  # a flip in the padding of the last byte changes nothing
            assert k % 4 == 2 and torch.equal(x, images[:5])
        words = ["".join(source.choices("01", k=source.randrange(80))) for _ in range(2)]
        assert from_code_words(model, words).shape == (2, 64)
    assert refused > 195


def test_a_file_says_what_is_wrong_with_it(model, images):
    code = encode(model, images[:3])
    other = filled(MADE(64, (39,))).float()
    many = coding.HEADER.pack(*coding.HEADER.unpack_from(code)[:3], 2_000_000, 64, len(code) - 24) + code[24:]
    none = coding.HEADER.pack(*coding.HEADER.unpack_from(code)[:3], 0, 64, len(code) - 24) + code[24:]
    flipped = code[:30] + bytes([code[30] ^ 64]) + code[31:]
    for bad, by, sentence in [
        (b"", model, "code begins with b'', expected b'DGM4' and a header of 24 bytes"),
        (b"GIF8" + code[4:], model, "code begins with b'GIF8', expected"),
        (code[:-1], model, f"code has {len(code) - 1} bytes, expected {len(code)}"),
        (code + b"x", model, f"code has {len(code) + 1} bytes, expected {len(code)}"),
        (code, other, "code was made by another model, of 64 pixels, expected this one, of 64"),
        (many, model, "code says that it holds 2000000 images, expected 1 to 1000000"),
        (none, model, "code says that it holds 0 images, expected 1 to 1000000"),
        (flipped, model, "the images decoded have another checksum than those encoded, expected the same"),
    ]:
        with pytest.raises(ValueError) as refusal:
            decode(by, bad)
        assert str(refusal.value).startswith(sentence)
    assert struct.calcsize("<4sIIIII") == coding.HEADER.size


def test_improbable_values_cost_no_more_than_the_precision(model):
    """Where a conditional lies far below 2^-32 a code word is shorter than -log2 p, as documented."""
    sure = NADE(4, 1)
    with torch.no_grad():
        for p in sure.parameters():
            p.zero_()
        sure.bias.fill_(-40.0)
    (word,) = code_words(sure, torch.ones(1, 4))
    bits = float(-sure.log_prob(torch.ones(1, 4))) / math.log(2)
    assert bits > 200 and len(word) <= 4 * coding.PRECISION + 2


REFUSED = {
    "values": (lambda m: encode(m, torch.full((2, 64), 0.5)), ValueError, "x has values between whole numbers"),
    "too high": (lambda m: code_words(m, torch.full((2, 64), 2.0)), ValueError, "x has values from 2 to 2, expected"),
    "negative": (lambda m: code_words(m, -torch.ones(2, 64)), ValueError, "x has values from -1 to -1, expected"),
    "NaN": (lambda m: encode(m, torch.full((2, 64), math.nan)), ValueError, "x has values from nan to nan, expected"),
    "shape": (lambda m: encode(m, torch.ones(2, 63)), ValueError, "x has shape (2, 63), expected (2, 64)"),
    "dtype": (lambda m: encode(m, torch.ones(2, 64).long()), TypeError, "x has dtype torch.int64, expected a floating"),
    "real": (lambda m: encode(NADE(64, 3, head=Gaussian()), torch.ones(2, 64)), TypeError, "model has a head Gaussian"),
    "real, words": (lambda m: from_code_words(NADE(64, 3, head=Gaussian()), ["01"]), TypeError, "model has a head G"),
    "no words": (lambda m: from_code_words(m, []), ValueError, "words is empty, expected at least one"),
    "one logit": (lambda m: edges([0.0]), ValueError, "logits is [0.0], expected two or more finite numbers"),
    "empty slice": (lambda m: coding.Encoder().push(3, 3), ValueError, "stop is 3, expected above start = 3"),
    "backwards": (lambda m: coding.Encoder().push(5, 0), ValueError, "stop is 0, expected above start = 5"),
    "below": (lambda m: coding.Encoder().push(-1, 5), ValueError, "stop is 5, expected above start = -1"),
    "beyond": (lambda m: coding.Encoder().push(0, 2**33), ValueError, "stop is 8589934592, expected above start = 0"),
    "ends reversed": (lambda m: coding.Decoder("01").pull([2**32, 7, 0]), ValueError, "ends is [4294967296, 7, 0]"),
    "no digits": (lambda m: coding.Decoder("0x1"), ValueError, "bits is '0x1', expected only digits 0 and 1"),
    "infinite": (lambda m: edges([0.0, math.inf]), ValueError, "logits is [0.0, inf], expected two or more finite"),
}  # fmt: skip


@pytest.mark.parametrize("call, kind, sentence", REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused_in_a_sentence(call, kind, sentence, model, untyped):
    with pytest.raises(kind) as refusal:
        call(model)
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)
