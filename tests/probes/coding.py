"""Example calls of `dgmlib.coding`."""

import torch

from dgmlib import coding
from dgmlib.autoregressive import NADE

MODEL = NADE(3, 2)
X = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
END = 1 << coding.PRECISION

CALLS = {
    "edges": (coding.edges, {"logits": [0.0, 1.0, -2.0]}),
    "Encoder.push": (lambda start, stop: coding.Encoder().push(start, stop), {"start": 5, "stop": 9}),
    "Decoder": (coding.Decoder, {"bits": "0110"}),
    "Decoder.pull": (lambda ends: coding.Decoder("0110").pull(ends), {"ends": [0, 7, END]}),
    "code_words": (coding.code_words, {"model": MODEL, "x": X}),
    "from_code_words": (coding.from_code_words, {"model": MODEL, "words": ["0101", "1"]}),
    "encode": (coding.encode, {"model": MODEL, "x": X}),
    "decode": (coding.decode, {"model": MODEL, "code": coding.encode(MODEL, X)}),
}
UNPROBED = {"Encoder": "takes nothing"}
