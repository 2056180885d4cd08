"""Wrong variants of `dgmlib.hierarchical` (chapter 10)."""

import torch

from dgmlib.bugs import edit, f64, subject
from dgmlib.hierarchical import (
    HierarchicalVAE,
    Kernel,
    Layer,
    LinearChain,
    combine,
    floored,
    linear_terms,
    turned,
    unit_rates,
)

CHAPTER = "10"

CHAIN = LinearChain(
    [
        (
            f64((1.0, 0.4), (-0.3, 0.8), (0.5, 0.5)),
            [0.1, -0.2, 0.3],
            f64((0.5, 0.1, 0), (0.1, 0.4, 0), (0, 0, 0.6)),
        ),
        (f64((0.7, -0.2), (0.3, 0.9)), [0.2, -0.1], f64((0.5, 0.2), (0.2, 0.6))),
        (f64((0.5,), (-0.8,)), [-0.3, 0.4], f64((0.3, 0.1), (0.1, 0.7))),
    ]
)
UPWARDS = [  # an encoder that is not the posterior
    Kernel(f64((0.4, 0.1, 0.2), (0.0, 0.5, 0.3)), f64((0.1, 0.2))[0], f64((0.3, 0.1), (0.1, 0.2))),
    Kernel(f64((0.6, 0.2), (-0.1, 0.7)), f64((-0.2, 0.1))[0], f64((0.4, -0.1), (-0.1, 0.5))),
    Kernel(f64((0.3, -0.6)), f64((0.2,))[0], f64((0.6,))),
]
X = f64((1.0, -0.5, 0.8), (0.0, 2.0, -1.0))
SAYS, EXPECTS = (f64((0.5, -1.0)), f64((-0.7, 0.7))), (f64((2.0, 0.3)), f64((0.4, -1.2)))
RATES = f64((0.2, 3.0), (1.5, 0.1), (2.5, 0.7))


def _network() -> tuple[HierarchicalVAE, list[Layer]]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model = HierarchicalVAE(4, (2, 2), (3, 3), inference="bottom_up", activation=torch.nn.Tanh).double()
        for i, weight in enumerate(model.parameters()):
            weight.copy_((torch.arange(weight.numel()) * 1.7 + i).cos().view_as(weight))
        x = f64((1.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.0))
        return model, model.infer(x, 3, generator=torch.Generator().manual_seed(0))


SUBJECTS = (
    subject(
        "hier-terms",
        linear_terms,
        ((CHAIN, turned(UPWARDS), X),),
        {
            "hier-unit-priors": edit("chain.kernels[t + 1] if t + 1 < chain.n_layers else top", "top"),
            "hier-top-rate-only": edit(
                "torch.stack(rates, 1)", "torch.stack([*(0 * rate for rate in rates[:-1]), rates[-1]], 1)"
            ),
            "hier-rate-at-the-mean": edit("encoder[t].cov + tilt @ cov @ tilt.mT", "encoder[t].cov"),
            "hier-decoded-mean": edit("decoder.weight @ cov @ decoder.weight.mT", "0 * decoder.cov"),
        },
    ),
    subject(
        "hier-turned",
        turned,
        ((UPWARDS,),),
        {
            "hier-turned-by-the-prior": edit(
                "downwards.append(",
                "back = reverse(kernel, 0 * shift, torch.eye(len(shift), dtype=cov.dtype))\n        downwards.append(",
            ),
            "hier-turned-without-x": edit("[back.weight, own]", "[back.weight, 0 * own]"),
        },
    ),
    subject(
        "ladder",
        combine,
        ((SAYS, EXPECTS),),
        {
            "ladder-plain-mean": edit(
                "mean_a * (log_var - log_var_a).exp() + mean_b * (log_var - log_var_b).exp()", "(mean_a + mean_b) / 2"
            ),
            "ladder-by-variance": edit("return mean_a", "return mean_b", "+ mean_b", "+ mean_a"),
            "ladder-by-deviation": edit(
                *("    log_var = ", "    log_var_a, log_var_b = log_var_a / 2, log_var_b / 2\n    log_var = "),
                *("exp(), log_var", "exp(), 2 * log_var"),
            ),
            "ladder-variances-add": edit("exp(), log_var", "exp(), torch.logaddexp(log_var_a, log_var_b)"),
        },
    ),
    subject(
        "free-bits",
        floored,
        ((RATES, 1.0),),
        {
            "free-bits-min": edit("clamp(min=", "clamp(max="),
            "free-bits-sum": lambda rates, floor: (
                rates * (total := rates.sum(1, keepdim=True)).clamp(min=floor) / total
            ),
            "free-bits-hinge": edit(
                'rates.clamp(min=need_between("floor", floor, 0.0, math.inf))', "(rates - floor).clamp(min=0)"
            ),
        },
    ),
    subject(
        "hier-unit-rates",
        unit_rates,
        (_network(),),
        {
            "hier-closed-form-upwards": edit("normal_log_prob(z, *q) - normal_log_prob(z, *p) if drawn else ", ""),
        },
    ),
)
