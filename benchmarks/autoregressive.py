"""MADE and NADE on binary digits: log-likelihoods beside nflows and zuko, samplers beside one full pass a pixel.

The models, 784-500, are trained for a moment and then in double precision; all sides have the same weights, masks and
uniforms. nflows and zuko have MADE's network and no law of bits: they are given the same one. NADE has no peer that
could be installed (pytorch-generative): it stands beside the recursion written in torch, a pixel at a time.
"""

import torch
from nflows.transforms.made import MADE as NflowsMADE
from run import Row
from torch import Tensor
from torch.nn import functional as F
from zuko.nn import MaskedMLP

from dgmlib import data
from dgmlib.autoregressive import MADE, NADE, Autoregressive
from dgmlib.sequential import naive_sample
from dgmlib.train import fit, gradient_step

D, HIDDEN, N = 784, 500, 64


def trained(model: Autoregressive, images: Tensor, generator: torch.Generator) -> Autoregressive:
    """The model after 100 steps."""
    step = gradient_step(model, lambda model, x: -model.log_prob(x), torch.optim.Adam(model.parameters(), lr=2e-3))
    fit(step, data.Batches(images, batch_size=N, generator=generator), 100, progress=False)
    return model.double().requires_grad_(False)


def bits_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


def nflows_twin(model: MADE) -> tuple[NflowsMADE, list[Tensor]]:
    """nflows' network with our weights, and the degrees that its masks stand for."""
    peer = NflowsMADE(D, HIDDEN, num_blocks=0, use_residual_blocks=False).double().requires_grad_(False)
    layers = peer.initial_layer, peer.final_layer
    for layer, weight, bias in zip(layers, model.weights, (model.biases[0], model.bias[:, 0]), strict=True):
        layer.weight.copy_(weight), layer.bias.copy_(bias)
    return peer, [model.degrees(0)[0], peer.initial_layer.degrees.long()]


def zuko_twin(model: MADE) -> tuple[MaskedMLP, list[Tensor]]:
    """zuko's network with our weights, and the degrees that its masks stand for."""
    peer = MaskedMLP(torch.ones(D, D).tril(-1).bool(), (HIDDEN,)).double().requires_grad_(False)
    layers = peer[0], peer[2]
    for layer, weight, bias in zip(layers, model.weights, (model.biases[0], model.bias[:, 0]), strict=True):
        layer.weight.copy_(weight), layer.bias.copy_(bias)
    return peer, [model.degrees(0)[0], peer[0].mask.sum(1)]


def recursion(model: NADE, x: Tensor) -> Tensor:
    """NADE's log-likelihood, a pixel at a time."""
    a, logits = model.c.expand(len(x), -1), []
    for i in range(D):
        logits.append(model.bias[i, 0] + a.sigmoid() @ model.v[i, 0])
        a = a + x[:, i, None] * model.w[i]
    return bits_log_prob(x, torch.stack(logits, 1))


def rows(generator: torch.Generator) -> list[Row]:
    images = F.interpolate((data.load("digits").train >= 8).float(), size=28).flatten(1)
    torch.manual_seed(0)
    made, nade = (trained(model, images, generator) for model in (MADE(D, (HIDDEN,)), NADE(D, HIDDEN)))
    x = images[:N].double()
    halved = images.view(-1, 28, 28)[:, ::2, ::2].flatten(
        1
    )  # for the naive loop's sake, which takes NADE 30 times longer
    few = trained(NADE(D // 4, HIDDEN), halved, generator)
    uniforms = {model: torch.rand(N, model.d, generator=generator, dtype=torch.float64) for model in (made, few)}
    table: list[Row] = [
        (
            f"{N} samples of {type(model).__name__} {model.d}-{HIDDEN}",
            "one full pass a pixel",
            lambda model=model, u=u: model.sample(N, uniforms=u),
            lambda model=model, u=u: naive_sample(model.draw, u),
        )
        for model, u in uniforms.items()
    ]
    for name, (peer, degrees) in (("nflows", nflows_twin(made)), ("zuko", zuko_twin(made))):
        table.append(
            (
                f"log-likelihood of {N} images, MADE {D}-{HIDDEN}",
                f"{name}, network; torch, law",
                lambda degrees=degrees: made.log_prob(x, degrees=degrees),
                lambda peer=peer: bits_log_prob(x, peer(x)),
            )
        )
    what = f"log-likelihood of {N} images, NADE {D}-{HIDDEN}"
    table.append((what, "torch, recursion", lambda: nade.log_prob(x), lambda: recursion(nade, x)))
    return table
