"""Example calls of `dgmlib.recurrence`."""

import torch
from exact import normal

from dgmlib import recurrence
from dgmlib.recurrence import DiagonalLSTM, PixelRNN, Recurrent

BITS = (normal(2, 4) > 0).double()
IMAGE, MODEL, RNN = normal(2, 1, 3, 4), Recurrent(4, 2).double(), PixelRNN((1, 3, 4), 2).double()
PASSES = {"NaN", "infinite"}
CELL = {"x": normal(2, 3), "h": normal(2, 2), "weight_x": normal(2, 3), "weight_h": normal(2, 2), "bias": normal(2)}

CALLS = {
    "rnn_update": (recurrence.rnn_update, CELL, dict.fromkeys(CELL, PASSES)),
    "lstm_update": (
        recurrence.lstm_update,
        {"gates": normal(2, 8), "c": normal(2, 2)},
        {"gates": PASSES, "c": PASSES},
    ),
    "Recurrent": (Recurrent, {"length": 4, "hidden": 2, "cell": "rnn"}),
    "Recurrent.start": (MODEL.start, {"n": 2}),
    "Recurrent.step": (
        MODEL.step,
        {"x": normal(3, 2), "h": normal(3, 2), "c": normal(3, 2)},
        {"x": PASSES, "h": PASSES, "c": PASSES},
    ),
    "Recurrent.logits": (MODEL.logits, {"x": BITS}, {"x": PASSES}),
    "Recurrent.log_prob": (MODEL.log_prob, {"x": BITS}),
    "Recurrent.sample": (MODEL.sample, {"n": 2, "generator": torch.Generator()}),
    "skew": (recurrence.skew, {"x": IMAGE}, {"x": PASSES}),
    "unskew": (recurrence.unskew, {"x": recurrence.skew(IMAGE)}, {"x": PASSES}),
    "DiagonalLSTM": (DiagonalLSTM, {"c_in": 1, "hidden": 2}),
    "DiagonalLSTM.forward": (DiagonalLSTM(1, 2).double().forward, {"x": IMAGE}, {"x": PASSES}),
    "PixelRNN": (PixelRNN, {"shape": (1, 3, 4), "hidden": 2, "levels": 2}),
    "PixelRNN.features": (RNN.features, {"x": IMAGE, "label": None}, {"x": PASSES}),
}
