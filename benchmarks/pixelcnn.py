"""A gated PixelCNN on 8×8 binary digits: its samplers beside one full pass a pixel, from the same uniform numbers.

All give the same images: the model, trained for a moment, is in double precision.
"""

import torch
from run import Row

from dgmlib import data
from dgmlib.pixelcnn import GatedPixelCNN
from dgmlib.sequential import jacobi_sample, naive_sample
from dgmlib.train import fit, gradient_step


def trained(generator: torch.Generator) -> GatedPixelCNN:
    """A model after 200 steps."""
    images = (data.load("digits").train >= 8).float()
    torch.manual_seed(0)
    model = GatedPixelCNN((1, 8, 8), 24, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    step = gradient_step(model, lambda model, x: -model.log_prob(x), optimizer)
    fit(step, data.Batches(images, batch_size=64, generator=generator), 200)
    return model.double()


def rows(generator: torch.Generator) -> list[Row]:
    model = trained(generator)
    u = torch.rand(64, 1, 8, 8, generator=generator, dtype=torch.float64)
    draw = torch.no_grad()(model.proposal())
    passes = jacobi_sample(draw, u)[1]
    peer = "one full pass a pixel"

    return [
        (
            "64 samples of a gated PixelCNN, row cache",
            peer,
            lambda: model.sample_cached(u),
            lambda: naive_sample(draw, u),
        ),
        (
            f"64 samples of a gated PixelCNN, Jacobi in {passes} passes",
            peer,
            lambda: jacobi_sample(draw, u)[0],
            lambda: naive_sample(draw, u),
        ),
    ]
