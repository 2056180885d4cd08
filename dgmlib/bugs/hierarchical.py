"""Wrong variants of `dgmlib.hierarchical` (chapter 10)."""

import torch
from torch import Tensor

from dgmlib.bugs import subject
from dgmlib.hierarchical import (
    HierarchicalVAE,
    Kernel,
    Law,
    Layer,
    LinearChain,
    Terms,
    combine,
    floored,
    linear_terms,
    reverse,
    turned,
    unit_rates,
)
from dgmlib.vae import kl_diagonal

CHAPTER = "10"


def _rows(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


CHAIN = LinearChain(
    [
        (
            _rows((1.0, 0.4), (-0.3, 0.8), (0.5, 0.5)),
            [0.1, -0.2, 0.3],
            _rows((0.5, 0.1, 0), (0.1, 0.4, 0), (0, 0, 0.6)),
        ),
        (_rows((0.7, -0.2), (0.3, 0.9)), [0.2, -0.1], _rows((0.5, 0.2), (0.2, 0.6))),
        (_rows((0.5,), (-0.8,)), [-0.3, 0.4], _rows((0.3, 0.1), (0.1, 0.7))),
    ]
)
UPWARDS = [  # an encoder that is not the posterior
    Kernel(_rows((0.4, 0.1, 0.2), (0.0, 0.5, 0.3)), _rows((0.1, 0.2))[0], _rows((0.3, 0.1), (0.1, 0.2))),
    Kernel(_rows((0.6, 0.2), (-0.1, 0.7)), _rows((-0.2, 0.1))[0], _rows((0.4, -0.1), (-0.1, 0.5))),
    Kernel(_rows((0.3, -0.6)), _rows((0.2,))[0], _rows((0.6,))),
]
X = _rows((1.0, -0.5, 0.8), (0.0, 2.0, -1.0))
SAYS, EXPECTS = (_rows((0.5, -1.0)), _rows((-0.7, 0.7))), (_rows((2.0, 0.3)), _rows((0.4, -1.2)))
RATES = _rows((0.2, 3.0), (1.5, 0.1), (2.5, 0.7))


def _network() -> tuple[HierarchicalVAE, list[Layer]]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model = HierarchicalVAE(4, (2, 2), (3, 3), inference="bottom_up", activation=torch.nn.Tanh).double()
        for i, weight in enumerate(model.parameters()):
            weight.copy_((torch.arange(weight.numel()) * 1.7 + i).cos().view_as(weight))
        x = _rows((1.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.0))
        return model, model.infer(x, 3, generator=torch.Generator().manual_seed(0))


# --- variants that need more than one expression --------------------------------------------------------------------


def _with_kernels(chain: LinearChain, change) -> LinearChain:
    return LinearChain([chain.kernels[0], *(change(kernel) for kernel in chain.kernels[1:])])


def _unit_priors(chain: LinearChain, encoder: list[Kernel], x: Tensor) -> Terms:
    def unit(kernel: Kernel) -> Kernel:
        return Kernel(0 * kernel.weight, 0 * kernel.shift, torch.eye(len(kernel.shift), dtype=x.dtype))

    return linear_terms(_with_kernels(chain, unit), encoder, x)


def _top_only(chain: LinearChain, encoder: list[Kernel], x: Tensor) -> Terms:
    distortion, rates = linear_terms(chain, encoder, x)
    return Terms(distortion, torch.cat([0 * rates[:, :-1], rates[:, -1:]], 1))


def _at_the_mean(chain: LinearChain, encoder: list[Kernel], x: Tensor) -> Terms:
    distortion, rates = linear_terms(chain, encoder, x)
    cov, rates = encoder[-1].cov, rates.clone()
    for t in range(chain.n_layers - 2, -1, -1):
        own = encoder[t].weight[:, : len(cov)]
        tilt = own - chain.kernels[t + 1].weight
        rates[:, t] -= 0.5 * torch.trace(torch.linalg.solve(chain.kernels[t + 1].cov, tilt @ cov @ tilt.mT))
        cov = own @ cov @ own.mT + encoder[t].cov
    return Terms(distortion, rates)


def _without_noise(chain: LinearChain, encoder: list[Kernel], x: Tensor) -> Terms:
    still = [Kernel(kernel.weight, kernel.shift, 1e-12 * kernel.cov) for kernel in encoder]
    return Terms(linear_terms(chain, still, x).distortion, linear_terms(chain, encoder, x).rates)


def _turned_by_the_prior(upwards: list[Kernel]) -> list[Kernel]:
    layers = turned(upwards)
    for t, kernel in enumerate(upwards[1:]):
        k = kernel.weight.shape[1]
        back = reverse(kernel, kernel.weight.new_zeros(k), torch.eye(k, dtype=kernel.weight.dtype))
        own = layers[t].weight[:, back.weight.shape[1] :]
        layers[t] = Kernel(torch.cat([back.weight, own], 1), back.shift, back.cov)
    return layers


def _turned_without_x(upwards: list[Kernel]) -> list[Kernel]:
    layers, d = turned(upwards), upwards[0].weight.shape[1]
    blind = [
        Kernel(torch.cat([layer.weight[:, :-d], 0 * layer.weight[:, -d:]], 1), *layer[1:]) for layer in layers[:-1]
    ]
    return [*blind, layers[-1]]


def _plain_mean(first: Law, second: Law) -> Law:
    return (first[0] + second[0]) / 2, combine(first, second)[1]


def _by_variance(first: Law, second: Law) -> Law:
    share = torch.sigmoid(first[1] - second[1])
    return share * first[0] + (1 - share) * second[0], combine(first, second)[1]


def _by_deviation(first: Law, second: Law) -> Law:
    mean, log_std = combine((first[0], first[1] / 2), (second[0], second[1] / 2))
    return mean, 2 * log_std


def _variances_add(first: Law, second: Law) -> Law:
    return combine(first, second)[0], torch.logaddexp(first[1], second[1])


def _floor_on_the_sum(rates: Tensor, floor: float) -> Tensor:
    total = rates.sum(1, keepdim=True)
    return rates * total.clamp(min=floor) / total


def _closed_form(model: HierarchicalVAE, layers: list[Layer]) -> list[Tensor]:
    return [kl_diagonal(*(part[..., None] for law in (q, p) for part in law)) for _, q, p in layers]


SUBJECTS = (
    subject(
        "hier-terms",
        linear_terms,
        ((CHAIN, turned(UPWARDS), X),),
        {
            "hier-unit-priors": _unit_priors,
            "hier-top-rate-only": _top_only,
            "hier-rate-at-the-mean": _at_the_mean,
            "hier-decoded-mean": _without_noise,
        },
    ),
    subject(
        "hier-turned",
        turned,
        ((UPWARDS,),),
        {
            "hier-turned-by-the-prior": _turned_by_the_prior,
            "hier-turned-without-x": _turned_without_x,
        },
    ),
    subject(
        "ladder",
        combine,
        ((SAYS, EXPECTS),),
        {
            "ladder-plain-mean": _plain_mean,
            "ladder-by-variance": _by_variance,
            "ladder-by-deviation": _by_deviation,
            "ladder-variances-add": _variances_add,
        },
    ),
    subject(
        "free-bits",
        floored,
        ((RATES, 1.0),),
        {
            "free-bits-min": lambda rates, floor: rates.clamp(max=floor),
            "free-bits-sum": _floor_on_the_sum,
            "free-bits-hinge": lambda rates, floor: (rates - floor).clamp(min=0),
        },
    ),
    subject(
        "hier-unit-rates",
        unit_rates,
        (_network(),),
        {
            "hier-closed-form-upwards": _closed_form,
        },
    ),
)
