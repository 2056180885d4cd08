"""Wrong variants of `dgmlib.hierarchical` (chapter 10)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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
    Subject(
        "hier-terms",
        linear_terms,
        ((CHAIN, turned(UPWARDS), X),),
        (
            Bug(
                "hier-unit-priors",
                "Every layer's rate is taken to N(0, I), as in a VAE: the model's own p(z_t | z_{t+1}) is forgotten.",
                _unit_priors,
                name="every prior N(0, I)",
                symptom="the layers above never matter, and no bound",
                place="the second law of each layer's divergence",
                cure="KL to the law that the layer above gives",
            ),
            Bug(
                "hier-top-rate-only",
                "Only the top layer's divergence is paid: the layers below speak for nothing.",
                _top_only,
                name="only the top rate paid",
                symptom="too high, without limit",
                place="the sum over layers",
                cure="one rate a layer",
            ),
            Bug(
                "hier-rate-at-the-mean",
                "The divergence of a layer at the mean of the one above, not averaged over it.",
                _at_the_mean,
                name="rate at the mean above",
                symptom="too high where q and p lean differently on the layer above",
                place="the average over the layer above",
                cure="add tr(C^-1 D P D^T)/2, or average the divergence over draws of that layer",
            ),
            Bug(
                "hier-decoded-mean",
                "Decoded at the mean code: nothing is paid for the spread of q.",
                _without_noise,
                name="mean code decoded",
                symptom="too high; the encoder's variances grow to the prior's",
                place="the average over draws in the distortion",
                cure="average log p(x | z_1) over draws of z_1",
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
                name="turned round with the prior",
                symptom="another joint law of the latents",
                place="the law that Bayes' rule starts from",
                cure="Bayes' rule with the encoder's own q(z_t | x)",
            ),
            Bug(
                "hier-turned-without-x",
                "q(z_t | z_{t+1}): the turned encoder forgets the datum.",
                _turned_without_x,
                name="the datum forgotten",
                symptom="the layers' means do not move with x",
                place="what the turned layers are conditioned on",
                cure="q(z_t | z_{t+1}, x): only upwards is the chain Markov without x",
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
                name="plain mean of two voices",
                symptom="a layer that x says nothing about still moves half way to 0",
                place="the weights of the two means",
                cure="weigh the means by their precisions, exp(-log_var)",
            ),
            Bug(
                "ladder-by-variance",
                "Weighted by variances: the vaguer voice counts more.",
                _by_variance,
                name="weighted by variances",
                symptom="the posterior runs away from the sharper of the two",
                place="the weights of the two means",
                cure="weigh the means by their precisions",
            ),
            Bug(
                "ladder-by-deviation",
                "Inverse standard deviations added for inverse variances.",
                _by_deviation,
                name="inverse deviations added",
                symptom="two equal voices: the variance falls to a quarter, where half is right",
                place="the power of the precision",
                cure="exp(-log_var) is the precision",
            ),
            Bug(
                "ladder-variances-add",
                "Variances add, as for a sum of two variables.",
                _variances_add,
                name="variances added",
                symptom="two witnesses know less than one",
                place="the rule for the new variance",
                cure="precisions add: 1/v = 1/v_1 + 1/v_2",
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
                name="minimum for maximum",
                symptom="the rates run away",
                place="the direction of the clamp",
                cure="at least the floor: max(rate, floor)",
            ),
            Bug(
                "free-bits-sum",
                "The floor on the sum over layers: one talkative layer pays for all.",
                _floor_on_the_sum,
                name="one floor for all layers",
                symptom="the top layer still falls silent",
                place="the order of sum and maximum",
                cure="one floor for each layer: max(rate_t, floor), then sum",
            ),
            Bug(
                "free-bits-hinge",
                "max(rate - floor, 0): the same gradient, but reported as a bound it is too high.",
                lambda rates, floor: (rates - floor).clamp(min=0),
                name="hinge reported as the bound",
                symptom="above log p(x) by the floor",
                place="the value below and above the floor",
                cure="max(rate, floor), and report the bound without it",
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
                name="closed form on the way up",
                symptom="a loose bound, that of an encoder whose layers do not know of each other",
                place="the layer that the prior is conditioned on, drawn from this very one",
                cure="log q(z_1 | x) - log p(z_1 | z_2) at the draw",
            ),
        ),
    ),
)

SLIPS = {
    "hier-unit-noise": Slip(
        "A layer that leans on the one above given noise of variance 1 all the same: its own law widens.",
        name="unit noise in every layer",
        holds="the noise of a layer is what is left of 1 after its lean on the layer above",
        misleads="each conditional looks like a standard prior, and the marginal is too wide",
    ),
    "hier-reversed-by-the-prior": Slip(
        "A step turned round with N(0, I) for the law that it starts from.",
        name="turned round with N(0, I)",
        holds="Bayes' rule starts from the law the step really starts from, q(z_t | x)",
        misleads="when that law is near N(0, I), as it is at the top",
    ),
    "hier-lower-layers-free": Slip(
        "The layers below the top pay no rate.",
        name="lower layers pay nothing",
        holds="every layer pays its KL to the law that the layer above gives",
        misleads="the top layer's rate is the only one that looks like a VAE's",
    ),
    "hier-directions-mixed": Slip(
        "One rate from the way down and one from the way up, in one bound.",
        name="rates of two directions",
        holds="all rates of one bound belong to one factorisation: all upwards or all downwards",
        misleads="each is right in its own bound",
    ),
    "hier-noiseless-layers": Slip(
        "The noise of the layers in between forgotten.",
        name="noise in between forgotten",
        holds="the covariance of x collects the noise of every layer, carried down",
        misleads="with little noise in between",
    ),
    "hier-joint-unit-priors": Slip(
        "Every layer scored under N(0, I), the top layer's law.",
        name="every layer under N(0, I)",
        holds="p(z) = p(z_L) prod p(z_t | z_{t+1}); only the top stands alone",
        misleads="when the marginals are standard, though the joint is not",
    ),
    "hier-one-top-for-all": Slip(
        "A lower layer that listens, taken at one draw of the top layer for the average over it.",
        name="one draw of the top for all",
        holds="a listening layer's rate is averaged over draws of the layer it listens to",
        misleads="with a sure top layer, whose draws agree",
    ),
    "hier-marginal-for-posterior": Slip(
        "The reversed chain started from the model's law of z_1 instead of p(z_1 | x).",
        name="started from the model's law",
        holds="the reversed chain starts from p(z_1 | x), not from p(z_1)",
        misleads="averaged over data both give the same marginals",
    ),
    "hier-information-counted-twice": Slip(
        "The informations of the layers each taken alone: what both know counts twice.",
        name="shared information counted twice",
        holds=(
            "what all layers tell is I(x; z_1, ..., z_L), less than the sum of the single ones when they repeat each "
            "other"
        ),
        misleads="with layers that know different things the sum is right",
    ),
    "hier-price-without-likelihood": Slip(
        "The price of factorising taken for the mutual information of the two latents.",
        name="price is the prior's information",
        holds="factorising q costs the mutual information of the latents under the posterior, which x has changed",
        misleads="when x says little, and posterior and prior are near",
    ),
    "hier-copy-is-free": Slip(
        "A copied layer taken to cost nothing under an encoder that cannot copy.",
        name="a copy costs nothing",
        holds="an independent q pays for the dependence of a layer on its copy",
        misleads="with an encoder that can copy, where it is free",
    ),
    "hier-diagonal-both-ways": Slip(
        "A diagonal encoder taken to be as good upwards as downwards.",
        name="diagonal encoders equal both ways",
        holds="a diagonal law upwards is not diagonal downwards: the two families differ",
        misleads="with one latent in each layer",
    ),
    "hier-escape-without-beta": Slip(
        "The threshold of collapse taken not to move with the weight of the rate.",
        name="collapse blind to beta",
        holds="the signal must exceed a threshold that grows with the weight of the rate",
        misleads="at beta = 1, where all formulas agree",
    ),
    "hier-warm-up-from-one": Slip(
        "A warm-up that starts from full weight.",
        name="warm-up from full weight",
        holds="start the weight of the rate at 0 and let it rise to 1",
        misleads="the end of training is the same, and the layers are silent by then",
    ),
    "hier-gain-unbounded": Slip(
        "The gain of a deeper prior taken to be the whole rate, not the misfit.",
        name="the whole rate gained",
        holds="a deeper prior gains at most the misfit KL(aggregate posterior || prior)",
        misleads="when the misfit is most of the rate",
    ),
    "hier-variance-for-rate": Slip(
        "A unit called active because its mean code varies, though it repeats the layer above.",
        name="a moving mean is activity",
        holds="a unit is active if its law differs from the one that the layer above predicts",
        misleads="it varies with x, and only repeats what is known",
    ),
    "hier-weights-without-top": Slip(
        "Importance weights that forget the ratio of the top layer.",
        name="weights without the top ratio",
        holds="log w holds log p(z_t | z_{t+1}) - log q for every layer, the top one too",
        misleads="when the top has collapsed and its ratio is one",
    ),
    "hier-diffusion-other-end": Slip(
        "The layers of a diffusion numbered from the noise.",
        name="layers numbered from the noise",
        holds="z_1 is the layer next to the data; a diffusion's x_T is the top",
        misleads="sums over all layers do not notice",
    ),
}
