"""Example calls of `dgmlib.pixelcnn`."""

import torch
from exact import normal

from dgmlib import pixelcnn
from dgmlib.pixelcnn import CopyRule, GatedLayer, GatedPixelCNN, MaskedConv2d, PixelCNN

BITS, IMAGE = (normal(2, 1, 3, 3) > 0).double(), normal(2, 1, 3, 3)
U, LABEL, GENERATOR = normal(2, 1, 3, 3).sigmoid(), torch.tensor([0, 1]), torch.Generator()
GATED = GatedPixelCNN((1, 3, 3), 2, 2, n_classes=2).double().requires_grad_(False)
PLAIN = PixelCNN((1, 3, 3), 2, 2).double().requires_grad_(False)
LAYER, MASKED = GATED.layers[0], MaskedConv2d(1, 2, 3, 3, "A").double()
PARAMS, LEVELS = normal(4, 6), torch.tensor([0.0, 3.0, 4.0, 1.0], dtype=torch.float64)
PASSES = {"NaN", "infinite"}  # pixels on their way through a network, and its answers

CALLS = {
    "logistic_mixture_log_prob": (
        pixelcnn.logistic_mixture_log_prob,
        {"x": LEVELS, "params": PARAMS, "levels": 5},
        {"params": PASSES},
    ),
    "logistic_mixture_cdf": (
        pixelcnn.logistic_mixture_cdf,
        {"params": PARAMS, "levels": 5},
        {"params": PASSES},
    ),
    "causal_mask": (
        pixelcnn.causal_mask,
        {"rows": 3, "columns": 3, "kind": "A", "c_in": 1, "c_out": 2, "channels": 1},
    ),
    "MaskedConv2d": (
        MaskedConv2d,
        {"c_in": 1, "c_out": 2, "rows": 3, "columns": 3, "kind": "A", "channels": 1},
    ),
    "MaskedConv2d.forward": (MASKED.forward, {"x": IMAGE}, {"x": PASSES}),
    "PixelModel.forward": (GATED.forward, {"x": BITS, "label": LABEL}, {"x": PASSES}),
    "PixelModel.log_prob": (GATED.log_prob, {"x": BITS, "label": LABEL}),
    "PixelModel.draw": (GATED.draw, {"params": normal(3, 2), "u": U[0, 0, 0]}, {"params": PASSES}),
    "PixelModel.proposal": (GATED.proposal, {"label": LABEL, "top": BITS[:, :, :1]}, {"top": PASSES}),
    "PixelModel.sample": (
        GATED.sample,
        {"n": 2, "generator": GENERATOR, "label": LABEL, "top": BITS[:, :, :1], "method": "cached"},
    ),
    "receptive_field": (pixelcnn.receptive_field, {"model": PLAIN, "row": 1, "column": 1, "channel": 0}),
    "PixelCNN": (PixelCNN, {"shape": (1, 3, 3), "features": 2, "depth": 2, "kernel": 3, "levels": 2}),
    "PixelCNN.features": (PLAIN.features, {"x": IMAGE, "label": None}, {"x": PASSES}),
    "gated_unit": (pixelcnn.gated_unit, {"a": normal(2, 4)}, {"a": PASSES}),
    "shift_down": (pixelcnn.shift_down, {"x": IMAGE}, {"x": PASSES}),
    "GatedLayer": (
        GatedLayer,
        {"c_in": 1, "features": 2, "kernel": 3, "kind": "A", "channels": 1, "n_classes": 2},
    ),
    "GatedPixelCNN": (
        GatedPixelCNN,
        {"shape": (1, 3, 3), "features": 2, "depth": 2, "kernel": 3, "levels": 4, "mixtures": 2, "n_classes": 2},
    ),
    "GatedPixelCNN.sample_cached": (GATED.sample_cached, {"u": U, "label": LABEL, "top": BITS[:, :, :1]}),
    "CopyRule": (CopyRule, {"size": 3, "keep": 0.9}),
    "CopyRule.log_prob": (CopyRule(3).log_prob, {"x": BITS}),
    "CopyRule.sample": (CopyRule(3).sample, {"n": 2, "generator": GENERATOR}),
}
UNPROBED = {
    "PixelModel": "has no network of its own",
    "GatedPixelCNN.features": "what PixelModel.forward applies",
    "PixelModel.features": "for its subclasses to give",
    "GatedLayer.look_up": "what GatedPixelCNN.features applies",
    "GatedLayer.forward": "what GatedPixelCNN.features applies",
}
