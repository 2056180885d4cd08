"""Example calls of `dgmlib.data`."""

import torch
from exact import f64, rng

from dgmlib import data

BYTES = torch.arange(12, dtype=torch.uint8).view(3, 4)
X, LOGIT, BOARD = f64((0.1, 0.9), (0.5, 1.0)), data.Logit(0.1), data.Checkerboard()

TABLE = data.Table("two", ("a", "b"), (2,), X, X, X)


def batches(tensors, batch_size, generator):
    return data.Batches(tensors, batch_size=batch_size, generator=generator)


CALLS = {
    "load": (data.load, {"name": "digits", "device": "cpu"}),
    "cached": (data.cached, {"name": "digits"}),
    "subset": (data.subset, {"x": X, "n": 2, "generator": rng(0)}, {"x": {"NaN", "infinite", "half", "whole"}}),
    "Images.to": (data.load("digits").to, {"device": "cpu"}),
    "Table.to": (TABLE.to, {"device": "cpu"}),
    "Table.restored": (TABLE.restored, {"x": X}, {"x": {"NaN", "infinite"}}),
    "Batches": (batches, {"tensors": X, "batch_size": 2, "generator": rng(0)}, {"tensors": {"NaN", "infinite"}}),
    "dequantize": (data.dequantize, {"x": BYTES, "levels": 17, "generator": rng(0)}),
    "fixed_binarisation": (data.fixed_binarisation, {"x": BYTES.view(1, 1, 3, 4), "levels": 17}),
    "Logit": (data.Logit, {"alpha": 0.1}),
    "Logit.forward": (LOGIT.forward, {"x": X}),
    "Logit.inverse": (LOGIT.inverse, {"z": X}),
    "ring": (data.ring, {"k": 3, "radius": 2.0, "std": 0.3, "device": "cpu"}),
    "grid": (data.grid, {"k": 3, "spacing": 2.0, "std": 0.3, "device": "cpu"}),
    "moons": (data.moons, {"std": 0.3, "device": "cpu"}),
    "spirals": (data.spirals, {"std": 0.3, "device": "cpu"}),
    "target": (data.target, {"device": "cpu"}),
    "Checkerboard": (data.Checkerboard, {"device": "cpu"}),
    "Checkerboard.log_prob": (BOARD.log_prob, {"x": X}),
    "Checkerboard.score": (BOARD.score, {"x": X}),
    "Checkerboard.sample": (BOARD.sample, {"n": 3, "generator": rng(0)}),
    "checkerboard": (data.checkerboard, {"device": "cpu"}),
}
UNPROBED = {
    "Images": "a record, made by load",
    "Table": "a record, made by load",
    "Batches.load_state_dict": "takes what state_dict gave",
}
