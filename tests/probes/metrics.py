"""Example calls of `dgmlib.metrics`."""

import torch
from exact import rng

from dgmlib import metrics

X, Y = torch.randn(7, 3, generator=rng(0)), torch.randn(6, 3, generator=rng(1))
IMAGES = torch.rand(6, 1, 8, 8, generator=rng(2))
LABELS = torch.arange(12) % 10

CALLS = {
    "nearest": (metrics.nearest, {"x": X, "points": Y, "k": 2}),
    "class_histogram_kl": (metrics.class_histogram_kl, {"labels": LABELS, "reference": LABELS, "n_classes": 10}),
    "precision_recall": (metrics.precision_recall, {"samples": X, "reference": Y, "k": 3}),
    "nearest_neighbour_ratio": (metrics.nearest_neighbour_ratio, {"samples": X, "test": X + 1, "train": Y}),
    "scorecard": (
        metrics.scorecard,
        {"samples": IMAGES, "bits": 2.0, "seconds": 0.1, "bound": True, "reference": 1 - IMAGES},
    ),
}
UNPROBED = {"Scorecard": "a record, printed"}
