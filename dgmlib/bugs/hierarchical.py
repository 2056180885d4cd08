"""Wrong variants of `dgmlib.hierarchical` (chapter 10)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
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
    Subject(
        "hier-terms",
        linear_terms,
        ((CHAIN, turned(UPWARDS), X),),
        (
            Bug(
                "hier-unit-priors",
                "Every layer's rate is taken to N(0, I), as in a VAE: the model's own p(z_t | z_{t+1}) is forgotten.",
                _unit_priors,
                "the layers above never matter, and no bound",
                "KL to the law that the layer above gives",
            ),
            Bug(
                "hier-top-rate-only",
                "Only the top layer's divergence is paid: the layers below speak for nothing.",
                _top_only,
                "too high, without limit",
                "one rate a layer",
            ),
            Bug(
                "hier-rate-at-the-mean",
                "The divergence of a layer at the mean of the one above, not averaged over it.",
                _at_the_mean,
                "too high where q and p lean differently on the layer above",
                "add tr(C^-1 D P D^T)/2, or average over draws",
            ),
            Bug(
                "hier-decoded-mean",
                "Decoded at the mean code: nothing is paid for the spread of q.",
                _without_noise,
                "too high; the encoder's variances grow to the prior's",
                "average over draws",
            ),
        ),
    ),
    Subject(
        "hier-turned",
        turned,
        ((UPWARDS,),),
        (
            Bug(
                "hier-turned-by-the-prior",
                "The encoder is turned round with N(0, I) for the law of its layers, not with its own q(z_t | x).",
                _turned_by_the_prior,
                "another joint law of the latents",
                "Bayes' rule with q(z_t | x)",
            ),
            Bug(
                "hier-turned-without-x",
                "q(z_t | z_{t+1}): the turned encoder forgets the datum.",
                _turned_without_x,
                "the layers' means do not move with x",
                "only upwards is the chain Markov without x",
            ),
        ),
    ),
    Subject(
        "ladder",
        combine,
        ((SAYS, EXPECTS),),
        (
            Bug(
                "ladder-plain-mean",
                "The plain mean of the two means.",
                _plain_mean,
                "a layer that x says nothing about still moves half way to 0",
                "weigh the means by their precisions",
            ),
            Bug(
                "ladder-by-variance",
                "Weighted by variances: the vaguer voice counts more.",
                _by_variance,
                "the posterior runs away from the sharper of the two",
                "weigh the means by their precisions",
            ),
            Bug(
                "ladder-by-deviation",
                "Inverse standard deviations added for inverse variances.",
                _by_deviation,
                "twice as precise as either for two equals, by variance four times",
                "exp(-log_var) is the precision",
            ),
            Bug(
                "ladder-variances-add",
                "Variances add, as for a sum of two variables.",
                _variances_add,
                "two witnesses know less than one",
                "precisions add",
            ),
        ),
    ),
    Subject(
        "free-bits",
        floored,
        ((RATES, 1.0),),
        (
            Bug(
                "free-bits-min",
                "Minimum for maximum: what exceeds the floor is free.",
                lambda rates, floor: rates.clamp(max=floor),
                "the rates run away",
                "at least the floor",
            ),
            Bug(
                "free-bits-sum",
                "The floor on the sum over layers: one talkative layer pays for all.",
                _floor_on_the_sum,
                "the top layer still falls silent",
                "one floor for each layer",
            ),
            Bug(
                "free-bits-hinge",
                "max(rate - floor, 0): the same gradient, but reported as a bound it is too high.",
                lambda rates, floor: (rates - floor).clamp(min=0),
                "above log p(x) by the floor",
                "max(rate, floor), and report the bound without it",
            ),
        ),
    ),
    Subject(
        "hier-unit-rates",
        unit_rates,
        (_network(),),
        (
            Bug(
                "hier-closed-form-upwards",
                "KL(q(z_1 | x) || p(z_1 | z_2)) in closed form, though z_2 was drawn from this very z_1.",
                _closed_form,
                "a loose bound, that of an encoder whose layers do not know of each other",
                "log q - log p at the draw",
            ),
        ),
    ),
)

SLIPS = {
    "hier-unit-noise": "A layer that leans on the one above given noise of variance 1 all the same: its law widens.",
    "hier-reversed-by-the-prior": "A step turned round with N(0, I) for the law that it starts from.",
    "hier-lower-layers-free": "The layers below the top pay no rate.",
    "hier-directions-mixed": "One rate from the way down and one from the way up, in one bound.",
    "hier-noiseless-layers": "The noise of the layers in between forgotten.",
    "hier-joint-unit-priors": "Every layer scored under N(0, I), the top layer's law.",
    "hier-one-top-for-all": "A lower layer that listens, taken at one draw of the top layer for the average over it.",
    "hier-marginal-for-posterior": "The reversed chain started from the model's law of z_1 instead of p(z_1 | x).",
    "hier-information-counted-twice": "The informations of the layers each taken alone: what both know counts twice.",
    "hier-price-without-likelihood": "The price of factorising taken for the mutual information of the two latents.",
    "hier-copy-is-free": "A copied layer taken to cost nothing under an encoder that cannot copy.",
    "hier-diagonal-both-ways": "A diagonal encoder taken to be as good upwards as downwards.",
    "hier-escape-without-beta": "The threshold of collapse taken not to move with the weight of the rate.",
    "hier-warm-up-from-one": "A warm-up that starts from full weight.",
    "hier-gain-unbounded": "The gain of a deeper prior taken to be the whole rate, not the misfit.",
    "hier-variance-for-rate": "A unit called active because its mean code varies, though it repeats the layer above.",
    "hier-weights-without-top": "Importance weights that forget the ratio of the top layer.",
    "hier-diffusion-other-end": "The layers of a diffusion numbered from the noise.",
}
