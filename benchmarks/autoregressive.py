"""MADE and NADE on binary digits: log-likelihoods beside nflows and zuko, samplers beside one full pass a pixel.

The models, 784-500, are trained for a moment and then in double precision; all sides have the same weights, masks and
uniforms. nflows and zuko have MADE's network and no law of bits: they are given the same one. NADE has no peer that
could be installed (pytorch-generative): it stands beside the recursion written in torch, a pixel at a time.
"""

import copy

import torch
from nflows.transforms.made import MADE as NflowsMADE
from run import Row
from torch import Tensor, nn
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


def twin(peer: nn.Module, first: nn.Module, last: nn.Module, model: MADE) -> nn.Module:
    """The peer's network with our weights and masks; `first` and `last` are its layers."""
    biases = model.biases[0], model.bias[:, 0]
    for k, (layer, bias) in enumerate(zip((first, last), biases, strict=True)):
        layer.weight.copy_(model.weights[k]), layer.bias.copy_(bias), layer.mask.copy_(getattr(model, f"mask_{k}"))
    return peer


def nflows_twin(model: MADE) -> nn.Module:
    peer = NflowsMADE(D, HIDDEN, num_blocks=0, use_residual_blocks=False).double().requires_grad_(False)
    return twin(peer, peer.initial_layer, peer.final_layer, model)


def zuko_twin(model: MADE) -> nn.Module:
    peer = MaskedMLP(torch.ones(D, D).tril(-1).bool(), (HIDDEN,)).double().requires_grad_(False)
    return twin(peer, peer[0], peer[2], model)


def recursion(model: NADE, x: Tensor) -> Tensor:
    """NADE's log-likelihood, a pixel at a time."""
    a, logits = model.c.expand(len(x), -1), []
    for i in range(D):
        logits.append(model.bias[i, 0] + a.sigmoid() @ model.v[i, 0])
        a = a + x[:, i, None] * model.w[i]
    return bits_log_prob(x, torch.stack(logits, 1))


def rows(generator: torch.Generator) -> list[Row]:
    digits = (data.load("digits").train >= 8).float()
    images = F.pad(F.interpolate(digits, size=18), (5, 5, 5, 5)).flatten(1)  # 13 % ones, as MNIST has
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
    for name, peer in (("nflows", nflows_twin(made)), ("zuko", zuko_twin(made))):
        table.append(
            (
                f"log-likelihood of {N} images, MADE {D}-{HIDDEN}",
                f"{name}, network; torch, law",
                lambda: made.log_prob(x),
                lambda peer=peer: bits_log_prob(x, peer(x)),
            )
        )
    what = f"log-likelihood of {N} images, NADE {D}-{HIDDEN}"
    table.append((what, "torch, recursion", lambda: nade.log_prob(x), lambda: recursion(nade, x)))
    nade = copy.deepcopy(nade).requires_grad_()
    sides = [
        lambda f=f: torch.autograd.grad(f().sum(), nade.w)[0]
        for f in (lambda: nade.log_prob(x), lambda: recursion(nade, x))
    ]
    table.append((f"{what}, gradient", "torch, recursion", *sides))
    return table
