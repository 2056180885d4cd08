"""Arithmetic coding: an autoregressive model of bits or grey levels is a compressor (chapter 04)::

    code = encode(model, images)        # bytes
    images = decode(model, code)

Images of probability p take -log2 p bits each, and at most two more while no conditional falls near 2^-32. Encoder and
decoder must compute the same integer frequencies from the same model: they run the same `model.steps` in double
precision, round logits to a grid much coarser than what rounding errors can reach, and go on in Python's own numbers.
A checksum tells the rest.
"""

import copy
import math
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from dgmlib.autoregressive import Autoregressive
from dgmlib.core import checked, need_levels, need_shape
from dgmlib.heads import Bernoulli, Categorical

PRECISION = 32  # bits of an integer frequency: they sum to 2^32
GRID = 2.0**-16  # to whose multiples logits are rounded, before anything is computed from them
REGISTER = 62  # bits of the coder's two registers
HALF, QUARTER = 1 << (REGISTER - 1), 1 << (REGISTER - 2)

HEADER = struct.Struct("<4sIIIII")  # magic, checksums of model and images, images, pixels of each, bytes that follow
MAGIC = b"DGM4"
MOST = 1_000_000  # images in a file: a damaged header must not ask for all memory


@checked
def edges(logits: Sequence[float]) -> list[int]:
    """Where the slice of each value ends, as integers: 0 = e_0 < e_1 < … < e_K = 2^PRECISION, about softmax(logits).

    Implements :eq:`eq-coder-edges`. Every value keeps a slice of one at least, so that it can be coded. The result is
    the same for logits that differ by less than GRID, unless they lie on different sides of its middle.

    Raises: ValueError (fewer than two logits, or one that is not finite).

    >>> edges([0.0, 0.0]) == [0, 2**31, 2**32]
    True
    """
    if len(logits) < 2 or not all(map(math.isfinite, logits)):
        raise ValueError(f"logits is {list(logits)[:5]}, expected two or more finite numbers")
    rounded = [round(logit / GRID) for logit in logits]
    top = max(rounded)
    weights = [math.exp((logit - top) * GRID) for logit in rounded]
    total, spare = sum(weights), (1 << PRECISION) - len(weights)
    shares = [1 + int(spare * (weight / total)) for weight in weights]
    shares[rounded.index(top)] += (1 << PRECISION) - sum(shares)  # what rounding down has left
    return list(accumulate(shares, initial=0))


class Encoder:
    """Narrows an interval of numbers, value by value, and writes the binary digits its ends agree on.

    Witten, Neal & Cleary (1987), "Arithmetic coding for data compression".

    >>> encoder, ends = Encoder(), edges([0.0, 0.0])
    >>> for value in (0, 1, 1):  # of probability 1/2 each
    ...     encoder.push(ends[value], ends[value + 1])
    >>> encoder.finish()[:3]
    '011'
    """

    def __init__(self) -> None:
        self.low, self.high, self.pending = 0, 2 * HALF - 1, 0
        self.bits: list[str] = []

    @checked
    def push(self, start: int, stop: int) -> None:
        """Code a value whose slice of [0, 2^PRECISION) is [start, stop). Raises ValueError if that is none."""
        self.low, self.high = _narrowed(self.low, self.high, start, stop)
        while True:
            if self.high < HALF:
                self._write("0")
            elif self.low >= HALF:
                self._write("1")
                self.low, self.high = self.low - HALF, self.high - HALF
            elif (
                self.low >= QUARTER and self.high < 3 * QUARTER
            ):  # the digit is open, but the next will be its opposite
                self.pending += 1
                self.low, self.high = self.low - QUARTER, self.high - QUARTER
            else:
                return
            self.low, self.high = 2 * self.low, 2 * self.high + 1

    def finish(self) -> str:
        """All digits: with these, whatever follows, the number lies in the interval."""
        self.pending += 1
        self._write("0" if self.low < QUARTER else "1")
        return "".join(self.bits)

    def _write(self, bit: str) -> None:
        self.bits.append(bit + ("1" if bit == "0" else "0") * self.pending)
        self.pending = 0


class Decoder:
    """Follows `Encoder`: tells which value's slice the number lies in, then narrows its own interval alike.

    >>> decoder = Decoder("011")
    >>> [decoder.pull(edges([0.0, 0.0])) for _ in range(3)]
    [0, 1, 1]
    """

    @checked
    def __init__(self, bits: str):
        if bits.strip("01"):
            raise ValueError(f"bits is {bits[:20]!r}, expected only digits 0 and 1")
        self.bits, self.read = bits, REGISTER
        self.low, self.high = 0, 2 * HALF - 1
        self.number = int(bits[:REGISTER].ljust(REGISTER, "0") or "0", 2)

    @checked
    def pull(self, ends: Sequence[int]) -> int:
        """The next value, given where the slice of each ends (`edges`). Raises ValueError if those ends are none."""
        if ends[:1] != [0] or ends[-1] != 1 << PRECISION:
            raise ValueError(f"ends is {list(ends)[:5]}, expected whole numbers that rise from 0 to 2^{PRECISION}")
        place = (((self.number - self.low + 1) << PRECISION) - 1) // (self.high - self.low + 1)
        value = next(k for k, end in enumerate(ends[1:]) if place < end)
        self.low, self.high = _narrowed(self.low, self.high, ends[value], ends[value + 1])
        while True:
            if self.high < HALF:
                shift = 0
            elif self.low >= HALF:
                shift = HALF
            elif self.low >= QUARTER and self.high < 3 * QUARTER:
                shift = QUARTER
            else:
                return value
            self.low, self.high = 2 * (self.low - shift), 2 * (self.high - shift) + 1
            self.number = 2 * (self.number - shift) + (self.bits[self.read : self.read + 1] == "1")
            self.read += 1


def _narrowed(low: int, high: int, start: int, stop: int) -> tuple[int, int]:
    if not 0 <= start < stop <= 1 << PRECISION:
        raise ValueError(f"stop is {stop}, expected above start = {start}, both from 0 to 2^{PRECISION}")
    width = high - low + 1
    return low + (width * start >> PRECISION), low + (width * stop >> PRECISION) - 1


@checked
def code_words(model: Autoregressive, x: Float[Tensor, "n d"]) -> list[str]:
    """The binary digits of each row of `x`, decodable by itself: more than -log2 p(x) of them, by at most two.

    That is :eq:`eq-coder-length`, for conditionals well above 2^-PRECISION: no value costs more than PRECISION bits.

    Raises: TypeError (a model of real numbers; dtype), ValueError (shape; a value that the model has no slice for).

    >>> from dgmlib.autoregressive import FVSBN
    >>> words = code_words(FVSBN(4), torch.tensor([[0.0, 1.0, 1.0, 0.0]]))  # untrained, it pays a bit a pixel
    >>> words[0][:4], len(words[0]) <= 6
    ('0110', True)
    """
    encoders = [Encoder() for _ in x]
    _push(model, x, encoders)
    return [encoder.finish() for encoder in encoders]


@checked
def from_code_words(model: Autoregressive, words: Sequence[str]) -> Float[Tensor, "n d"]:
    """The rows that `code_words` coded. Any digits decode to something: it takes a checksum to tell (`decode`).

    >>> from dgmlib.autoregressive import FVSBN
    >>> from_code_words(FVSBN(4), ["0110"]).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """
    if not words:
        raise ValueError("words is empty, expected at least one")
    return _pull(model, [Decoder(word) for word in words])


@checked
def encode(model: Autoregressive, x: Float[Tensor, "n d"]) -> bytes:
    """A file that holds the rows of `x`: -log2 p of them all and at most two bits, filled up to bytes, and 24 bytes.

    The bound is that of `code_words`. One encoder takes the first pixel of every row, then the second of every row, and
    so on. Raises as `code_words`.

    >>> from dgmlib.autoregressive import FVSBN
    >>> len(encode(FVSBN(64), torch.zeros(2, 64))) <= 24 + 17
    True
    """
    encoder = Encoder()
    _push(model, x, [encoder] * len(x))
    digits = encoder.finish()
    body = int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8))
    return HEADER.pack(MAGIC, _fingerprint(model), _checksum(x), len(x), model.d, len(body)) + body


@checked
def decode(model: Autoregressive, code: bytes) -> Float[Tensor, "n d"]:
    """The rows that `encode` put into `code`.

    Raises: ValueError (not such a file, cut short or damaged, or of another model; or decoded by a machine whose
    rounding differs so much that other pixels came out), TypeError (a model of real numbers).

    >>> from dgmlib.autoregressive import FVSBN
    >>> model, x = FVSBN(4), torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    >>> torch.equal(decode(model, encode(model, x)), x)
    True
    """
    if len(code) < HEADER.size or not code.startswith(MAGIC):
        raise ValueError(
            f"code begins with {bytes(code[:4])!r}, expected {MAGIC!r} and a header of {HEADER.size} bytes"
        )
    _, fingerprint, checksum, n, d, size = HEADER.unpack_from(code)
    if (fingerprint, d) != (_fingerprint(model), model.d):
        raise ValueError(f"code was made by another model, of {d} pixels, expected this one, of {model.d}")
    if len(code) != HEADER.size + size:
        raise ValueError(f"code has {len(code)} bytes, expected {HEADER.size + size}")
    if not 1 <= n <= MOST:
        raise ValueError(f"code says that it holds {n} images, expected 1 to {MOST}")
    digits = format(int.from_bytes(code[HEADER.size :]), f"0{8 * size}b")
    x = _pull(model, [Decoder(digits)] * n)
    if _checksum(x) != checksum:
        raise ValueError(
            "the images decoded have another checksum than those encoded, expected the same: code is damaged"
        )
    return x


@torch.no_grad()
def _push(model: Autoregressive, x: Tensor, encoders: Sequence[Encoder]) -> None:
    """Give each value of `x`, column after column, to the encoder of its row."""
    need_levels("x", need_shape("x", x, (len(x), model.d)), _levels(model))
    steps, column = copy.deepcopy(model).double().steps(len(x)), None
    for _ in range(model.d):
        i, params = steps.send(column)
        column = x[:, i].double()
        for encoder, value, logits in zip(encoders, column.int().tolist(), _logits(params), strict=True):
            ends = edges(logits)
            encoder.push(ends[value], ends[value + 1])


@torch.no_grad()
def _pull(model: Autoregressive, decoders: Sequence[Decoder]) -> Tensor:
    """Take the values back in the order in which `_push` gave them."""
    _levels(model)
    x = model.bias.new_empty(len(decoders), model.d)
    steps, column = copy.deepcopy(model).double().steps(len(x)), None
    for _ in range(model.d):
        i, params = steps.send(column)
        values = [decoder.pull(edges(logits)) for decoder, logits in zip(decoders, _logits(params), strict=True)]
        column = torch.tensor(values, dtype=torch.float64, device=x.device)
        x[:, i] = column
    return x


def _levels(model: Autoregressive) -> int:
    if not isinstance(model.head, Bernoulli | Categorical):
        raise TypeError(f"model has a head {type(model.head).__name__}, expected Bernoulli or Categorical")
    return max(2, model.head.n_params)


def _logits(params: Float[Tensor, "n p"]) -> list[list[float]]:
    params = params.cpu()
    return (params if params.shape[1] > 1 else torch.cat([torch.zeros_like(params), params], 1)).tolist()


def _fingerprint(model: Autoregressive) -> int:
    crc = 0
    for value in model.state_dict().values():
        crc = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), crc)
    return crc


def _checksum(x: Tensor) -> int:
    return zlib.crc32(x.detach().cpu().to(torch.uint8).contiguous().numpy().tobytes())
