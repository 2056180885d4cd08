"""Example calls of `dgmlib.plots`."""

import matplotlib.pyplot as plt
import torch

from dgmlib import data, plots

AX = plt.figure().subplots()
CALLS = {
    "show_images": (
        plots.show_images,
        {"images": torch.rand(3, 1, 4, 4), "ncols": 2, "levels": 17, "title": "three", "ax": AX},
        {"images": {"whole"}},
    ),
    "density_2d": (
        plots.density_2d,
        {"ax": AX, "log_prob": data.ring().log_prob, "extent": (-4.0, 4.0, -4.0, 4.0), "n": 8, "color": "data"},
    ),
    "palette_png": (plots.palette_png, {"figure": AX.figure, "bbox_inches": "tight"}),
}
