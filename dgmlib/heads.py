"""Heads: what a network's outputs mean as the law of one coordinate, a bit, a grey level or a real number (chapter 04).

A head has `n_params`, how many outputs it takes; `log_prob(x, params)`, in nats; `draw(params, u)`, the value that u
selects, which has the head's law when u is uniform; `scale`, what inputs are divided by for a network; and `levels`,
how many values x can take, None for a real number. A bit or level is refused that is none; NaN in a real number or in
the parameters passes through to the log-density.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dgmlib.core import checked, need_count, need_levels, need_unit, uniform_dtype
from dgmlib.sequential import categorical_draw
from dgmlib.worlds import LOG_2PI


class Bernoulli:
    """A bit, from one logit.

    >>> Bernoulli().log_prob(torch.ones(1), torch.zeros(1, 1))  # -log 2
    tensor([-0.6931])
    >>> Bernoulli().draw(torch.zeros(2, 1), torch.tensor([0.4, 0.6])).tolist()
    [1.0, 0.0]
    """

    n_params = 1
    scale = 1.0
    levels = 2

    @checked
    def log_prob(self, x: Float[Tensor, "*#batch"], params: Float[Tensor, "*#batch 1"]) -> Float[Tensor, "..."]:
        """log sigmoid(l) at 1, log sigmoid(-l) at 0. Implements :eq:`eq-ar-bernoulli`."""
        need_levels("x", x, self.levels)
        return F.logsigmoid((2 * x - 1) * params[..., 0])

    @checked
    def draw(self, params: Float[Tensor, "*batch 1"], u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """1 where u < p."""
        need_unit("u", u)
        return (u < params[..., 0].sigmoid()).to(u.dtype)


class Categorical:
    """A grey level 0 … levels - 1, from `levels` logits; the network sees it divided by levels - 1.

    >>> Categorical(3).log_prob(torch.ones(1), torch.zeros(1, 3))  # -log 3
    tensor([-1.0986])
    >>> Categorical(3).draw(torch.zeros(2, 3), torch.tensor([0.2, 0.9])).tolist()
    [0.0, 2.0]
    """

    @checked
    def __init__(self, levels: int):
        self.n_params = self.levels = need_count("levels", levels, 2)
        self.scale = levels - 1.0

    @checked
    def log_prob(self, x: Float[Tensor, "*#batch"], params: Float[Tensor, "*#batch n_params"]) -> Float[Tensor, "..."]:
        """l_x - log sum_k exp(l_k). Implements :eq:`eq-ar-categorical`."""
        level, logits = need_levels("x", x, self.levels).long()[..., None], params.log_softmax(-1)
        shape = torch.broadcast_shapes(level.shape[:-1], logits.shape[:-1])
        return logits.expand(*shape, -1).gather(-1, level.expand(*shape, 1))[..., 0]

    @checked
    def draw(self, params: Float[Tensor, "*batch n_params"], u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The level whose slice of [0, 1) holds u."""
        return categorical_draw(params, u).to(u.dtype)


class Gaussian:
    """A real number, from its mean and log standard deviation.

    >>> Gaussian().log_prob(torch.zeros(1), torch.zeros(1, 2))  # -log(2 pi)/2
    tensor([-0.9189])
    >>> Gaussian().draw(torch.zeros(1, 2), torch.tensor([0.8]))  # the quantile of order 0.8
    tensor([0.8416])
    """

    n_params = 2
    scale = 1.0
    levels = None

    @checked
    def log_prob(self, x: Float[Tensor, "*#batch"], params: Float[Tensor, "*#batch 2"]) -> Float[Tensor, "..."]:
        """log N(x; mean, std^2). Implements :eq:`eq-ar-gaussian`."""
        mean, log_std = params.unbind(-1)
        return -0.5 * (LOG_2PI + ((x - mean) * (-log_std).exp()).square()) - log_std

    @checked
    def draw(self, params: Float[Tensor, "*batch 2"], u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The quantile of order u."""
        need_unit("u", u)
        mean, log_std = params.unbind(-1)
        return mean + log_std.exp() * _normal_quantile(u)


class MixtureOfGaussians:
    """A real number, from k logits of weights, k means and k log standard deviations: RNADE's output law.

    Uria, Murray & Larochelle (2013), "RNADE: the real-valued neural autoregressive density-estimator".

    >>> MixtureOfGaussians(2).log_prob(torch.zeros(1), torch.zeros(1, 6))  # two equal components
    tensor([-0.9189])
    >>> MixtureOfGaussians(2).draw(torch.zeros(1, 6), torch.tensor([0.4]))  # at 0.8 of the first one's half
    tensor([0.8416])
    """

    scale = 1.0
    levels = None

    @checked
    def __init__(self, k: int):
        self.n_params = 3 * need_count("k", k)

    @checked
    def log_prob(self, x: Float[Tensor, "*#batch"], params: Float[Tensor, "*#batch n_params"]) -> Float[Tensor, "..."]:
        """log sum_k w_k N(x; mean_k, std_k^2). Implements :eq:`eq-ar-mixture`."""
        weights, means, log_stds = params.chunk(3, -1)
        log_normal = -0.5 * (LOG_2PI + ((x[..., None] - means) * (-log_stds).exp()).square()) - log_stds
        return (weights.log_softmax(-1) + log_normal).logsumexp(-1)

    @checked
    def draw(self, params: Float[Tensor, "*batch n_params"], u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """u chooses the component, and its place within that component's slice, uniform again, the quantile."""
        weights, means, log_stds = params.chunk(3, -1)
        chosen = categorical_draw(weights, u)[..., None]
        edges = weights.softmax(-1).cumsum(-1)
        width = weights.softmax(-1).gather(-1, chosen)[..., 0]
        within = ((u - edges.gather(-1, chosen)[..., 0]) / width + 1).clamp(0, 1)
        return means.gather(-1, chosen)[..., 0] + log_stds.exp().gather(-1, chosen)[..., 0] * _normal_quantile(within)


def _normal_quantile(u: Tensor) -> Tensor:
    u = u.to(uniform_dtype(u.dtype))
    tiny = torch.finfo(u.dtype).eps / 2  # a uniform of exactly 0, or rounded to 1, has a quantile too
    return torch.special.ndtri(u.clamp(tiny, 1 - tiny))


Head = Bernoulli | Categorical | Gaussian | MixtureOfGaussians
