"""Example calls of `dgmlib.classifier`."""

import torch
from exact import rng

from dgmlib import classifier

JUDGE = classifier.load_classifier("digits")
IMAGES = torch.rand(5, 1, 8, 8, generator=rng(0))
BYTES = (16 * IMAGES).byte()
ANY = {"NaN", "infinite"}  # a network shows what it is given

CALLS = {
    "ConvClassifier": (
        classifier.ConvClassifier,
        {"side": 8, "width": 4, "n_features": 6, "n_classes": 3, "dropout": 0.1},
    ),
    "ConvClassifier.forward": (JUDGE.forward, {"x": IMAGES}, {"x": ANY}),
    "ConvClassifier.features": (JUDGE.features, {"images": IMAGES}),
    "ConvClassifier.probabilities": (JUDGE.probabilities, {"images": IMAGES}),
    "ConvClassifier.recognised": (JUDGE.recognised, {"images": IMAGES, "threshold": 0.9}),
    "load_classifier": (classifier.load_classifier, {"name": "digits", "device": "cpu"}),
    "accuracy": (classifier.accuracy, {"classifier": JUDGE, "images": IMAGES, "labels": torch.arange(5)}),
    "unit_scale": (classifier.unit_scale, {"x": BYTES, "levels": 17}),
    "augmented": (classifier.augmented, {"x": BYTES, "levels": 17, "shift": 1, "generator": rng(0)}),
    "scrambled": (classifier.scrambled, {"x": IMAGES, "generator": rng(0)}, {"x": ANY}),
}
UNPROBED = {
    "ConvClassifier.set_extra_state": "torch's own",
    "train_classifier": "trains for minutes",
    "main": "a command",
}
