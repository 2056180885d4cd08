"""Small networks that several chapters share; a backward pass by hand; what a random network does to a signal.

A network does not look at values: a NaN in goes to NaN out.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import checked, need_between, need_count, need_finite, need_like, need_shape, need_tensor

# --- layers ---------------------------------------------------------------------------------------------------------


class MLP(nn.Sequential):
    """A fully connected network: linear maps of the given sizes with `activation` between them, none after the last.

    `MLP([2, 64, 64, 1])` maps `(*batch, 2)` to `(*batch, 1)` through two hidden layers of 64 units.

    Raises: ValueError (fewer than two sizes, or one below 1; shapes), TypeError (a size that is no int; dtypes).

    >>> net = MLP([2, 64, 1])
    >>> net(torch.zeros(5, 2)).shape, len(net), len(net[:2])
    (torch.Size([5, 1]), 3, 2)
    """

    @checked
    def __init__(self, sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.SiLU):
        if len(sizes) < 2:
            raise ValueError(f"sizes is {list(sizes)}, expected the input size, any hidden sizes, and the output size")
        layers: list[nn.Module] = []
        for d_in, d_out in pairwise(sizes):
            layers += [nn.Linear(need_count("sizes", d_in), need_count("sizes", d_out)), activation()]
        super().__init__(*layers[:-1])
        self.d_in = sizes[0]

    @checked
    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The layers one after another."""
        return super().forward(need_like("x", x, self[0].weight))

    def __getitem__(self, index: int | slice) -> nn.Module:
        """A layer, or some of the layers as an `nn.Sequential`."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)


class Residual(nn.Module):
    """x + scale branch(x): the branch learns a correction, and a gradient always has the direct way back.

    With `scale` = 1 / sqrt(number of blocks) the variance of a signal stays bounded at every depth. `branch` keeps the
    shape of its input. Raises ValueError (a branch that does not, or a scale not in (0, inf)). He et al. (2016).

    >>> Residual(nn.Identity(), scale=0.5)(torch.tensor([2.0])).tolist()
    [3.0]
    """

    @checked
    def __init__(self, branch: nn.Module, scale: float = 1.0):
        super().__init__()
        self.branch, self.scale = branch, need_between("scale", scale, 0.0, math.inf, open_ends=True)

    @checked
    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """x + scale branch(x). Implements :eq:`eq-net-residual`."""
        return x + self.scale * need_shape("branch(x)", self.branch(x), tuple(x.shape))


# --- the backward pass, by hand -------------------------------------------------------------------------------------


@checked
def backpropagate(
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, " _"]],
    x: Float[Tensor, "batch d_in"],
    y: Float[Tensor, "batch d_out"],
) -> tuple[Float[Tensor, " batch"], list[Tensor], list[Tensor]]:
    """Each example's loss |output - y|^2 / 2, and the gradients of its mean in every weight matrix and every bias.

    Implements :eq:`eq-net-backprop`, for layers h <- tanh(W h + b) with no tanh after the last. `weights[l]` is
    `(d_l, d_{l-1})`, `biases[l]` `(d_l,)`. Raises ValueError (no layer, shapes), TypeError (no tensors).
    Rumelhart, Hinton & Williams (1986).

    >>> one, two = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    >>> loss, weight_gradients, bias_gradients = backpropagate([two], [torch.zeros(1)], one, one)
    >>> loss.tolist(), weight_gradients[0].tolist(), bias_gradients[0].tolist()
    ([0.5], [[1.0]], [1.0])
    """
    if not weights or len(weights) != len(biases):
        raise ValueError(
            f"weights has {len(weights)} and biases {len(biases)} entries, expected equally many, and some"
        )
    h, inputs = x, []
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        inputs.append(h.tanh() if i else h)
        need_shape(f"weights[{i}]", need_like(f"weights[{i}]", weight, x), (len(bias), inputs[-1].shape[1]))
        h = inputs[-1] @ weight.T + bias  # (batch, d_l), before its tanh
    error = h - need_shape("y", y, h.shape)
    delta, weight_gradients, bias_gradients = error / len(x), [], []
    for weight, h in zip(reversed(weights), reversed(inputs), strict=True):
        weight_gradients.insert(0, delta.T @ h)
        bias_gradients.insert(0, delta.sum(0))
        delta = (delta @ weight) * (1 - h**2)  # the derivative of tanh, in terms of its value; unused at the input
    return error.square().sum(1) / 2, weight_gradients, bias_gradients


# --- signals in random networks -------------------------------------------------------------------------------------


@checked
def signal_map(
    variance: Float[Tensor, "*shape"], activation: Callable[[Tensor], Tensor], weight_var: float
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """What one wide layer does to the variance of pre-activations, and to the square of a gradient on its way back.

    Implements :eq:`eq-net-variance`: (weight_var E phi(u)^2, weight_var E phi'(u)^2) with u ~ N(0, variance), for
    weights of variance weight_var / fan_in and no bias. `activation` acts elementwise; a kink may only stand at 0.
    Raises ValueError (a variance or weight_var negative or not finite). Poole et al. (2016).

    >>> signal, gradient = signal_map(torch.tensor(3.0), torch.relu, weight_var=2.0)
    >>> round(signal.item(), 4), round(gradient.item(), 4)
    (3.0, 1.0)
    """
    need_between("weight_var", weight_var, 0.0, math.inf)
    need_finite("variance", variance)
    need_between("the smallest variance", float(variance.min()), 0.0, math.inf)
    # Midpoints, symmetric about 0 without 0 itself: exponentially accurate also for functions with a kink there.
    u = torch.linspace(-10, 10, 2001, dtype=torch.float64, device=variance.device)
    u = (u[1:] + u[:-1]) / 2
    density = torch.exp(-(u**2) / 2) * (0.01 / math.sqrt(2 * math.pi))
    u = variance.double().sqrt()[..., None] * u
    need_shape("activation(u)", need_tensor("activation(u)", activation(u)), tuple(u.shape))
    value, pullback = torch.func.vjp(activation, u)
    squares = (part.square() @ density for part in (value, *pullback(torch.ones_like(u))))
    signal, gradient = (weight_var * square.to(variance.dtype) for square in squares)
    return signal, gradient


@checked
def critical_gain(activation: Callable[[Tensor], Tensor]) -> float:
    """The g for which weights of standard deviation g / sqrt(fan_in) keep a signal of variance 1: (E phi(u)^2)^(-1/2).

    Implements :eq:`eq-net-gain`. sqrt(2) for ReLU (He et al., 2015). Raises ValueError (an activation that passes
    nothing on).

    >>> round(critical_gain(torch.relu), 4)
    1.4142
    """
    kept = float(signal_map(torch.ones((), dtype=torch.float64), activation, 1.0)[0])
    return need_between("E activation(u)^2", kept, 0.0, math.inf, open_ends=True) ** -0.5


@checked
@torch.no_grad()
def normal_init(net: nn.Module, gain: float, *, generator: torch.Generator | None = None) -> nn.Module:
    """`net` itself, each weight of its linear maps redrawn from N(0, gain^2 / fan_in) and each bias set to 0.

    Raises ValueError (a gain below 0, or no linear map).

    >>> normal_init(nn.Linear(3, 2), gain=1.0).bias.tolist()
    [0.0, 0.0]
    """
    maps = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not maps:
        raise ValueError("net has no nn.Linear, expected at least one")
    for linear in maps:
        linear.weight.normal_(
            0, need_between("gain", gain, 0.0, math.inf) / math.sqrt(linear.in_features), generator=generator
        )
        if linear.bias is not None:
            linear.bias.zero_()
    return net


# --- U-Net ------------------------------------------------------------------------------------------------------------


@checked
def time_features(t: Float[Tensor, " batch"], n_features: int) -> Float[Tensor, "batch features"]:
    """cos and sin of 1000 t w, the frequencies w falling geometrically from 1 to 1/10,000: a time a network can read.

    Implements :eq:`eq-diff-time`. `n_features` is even. Vaswani et al. (2017), section 3.5; Ho et al. (2020).

    >>> time_features(torch.zeros(1), n_features=4).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    half, odd = divmod(need_count("n_features", n_features, 4), 2)
    if odd:
        raise ValueError(f"n_features is {n_features}, expected an even number")
    precise = torch.promote_types(t.dtype, torch.float32)  # half precision has no 1000 t
    place = torch.arange(half, dtype=precise, device=t.device) / (half - 1)
    angle = 1000 * t.to(precise)[:, None] * torch.exp(-math.log(10_000) * place)  # (batch, half)
    return torch.cat([angle.cos(), angle.sin()], 1).to(t.dtype)


class ResBlock(nn.Module):
    """Two normalised convolutions beside a shortcut; the time scales and shifts between them.

    He et al. (2016); the second convolution starts at zero, so that the block starts as its shortcut.

    >>> block = ResBlock(4, 4, d_time=16)
    >>> x = torch.ones(2, 4, 8, 8)
    >>> torch.equal(block(x, torch.ones(2, 16)), x)  # until it is trained
    True
    """

    @checked
    def __init__(self, c_in: int, c_out: int, d_time: int):
        super().__init__()
        self.c_in, self.d_time = need_count("c_in", c_in), need_count("d_time", d_time)
        need_count("c_out", c_out)
        self.norm1, self.conv1 = _norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(c_out), _zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.modulation = nn.Linear(d_time, 2 * c_out)
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    @checked
    def forward(self, x: Float[Tensor, "batch c_in h w"], time: Float[Tensor, "batch d_time"]) -> Tensor:
        """`c_out` channels at the same resolution."""
        need_like("time", time, need_like("x", x, self.conv1.weight))
        scale, shift = self.modulation(time)[:, :, None, None].chunk(2, 1)  # (batch, c_out, 1, 1) each
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale)))


class SelfAttention(nn.Module):
    """Every pixel looks at every other (one head of `channels` numbers), beside a shortcut; starts as the shortcut.

    >>> x = torch.ones(2, 4, 8, 8)
    >>> torch.equal(SelfAttention(4)(x), x)  # until it is trained
    True
    """

    @checked
    def __init__(self, channels: int):
        super().__init__()
        self.channels = need_count("channels", channels)
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    @checked
    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """The picture plus what each place gathers from all."""
        need_like("x", x, self.qkv.weight)
        query, key, value = self.qkv(self.norm(x)).flatten(2).mT.chunk(3, 2)  # (batch, h w, c)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(seen.mT.reshape(x.shape))


class UNet(nn.Module):
    """A network from an image and a time to an image of the same shape: down, across, up, with skips on each level.

    Level i has `widths[i]` channels at 1/2^i of the resolution and `n_blocks` residual blocks on the way down and on
    the way up; one attention layer sits at the bottom. `fold` > 1 first folds each square of fold × fold pixels into
    channels, and unfolds at the end: fold^2 times fewer places to visit. The side must divide by fold 2^(levels - 1).

    `forward(x, t)`: x (batch, channels, h, w), t (batch,) in [0, 1]. The output starts at zero. A step number for a
    time would not be seen.

    Raises: TypeError, ValueError (counts; shapes of `x` and `t`).

    Ronneberger, Fischer & Brox (2015), "U-Net"; Ho, Jain & Abbeel (2020), appendix B.

    >>> net = UNet(channels=1, widths=(8, 16))
    >>> y = net(torch.ones(2, 1, 8, 8), t=torch.tensor([0.1, 0.9]))
    >>> y.shape, y.abs().max().item()
    (torch.Size([2, 1, 8, 8]), 0.0)
    """

    @checked
    def __init__(self, channels: int, widths: Sequence[int] = (32, 64), *, n_blocks: int = 1, fold: int = 1):
        super().__init__()
        self.channels, self.fold = need_count("channels", channels), need_count("fold", fold)
        if not widths:
            raise ValueError("widths is empty, expected the channels of one level or more")
        need_count("n_blocks", n_blocks)
        for width in widths:
            need_count("widths", width)
        self.multiple = fold * 2 ** (len(widths) - 1)
        d_time, folded = 4 * widths[0], channels * fold**2
        self.time = nn.Sequential(nn.Linear(64, d_time), nn.SiLU(), nn.Linear(d_time, d_time), nn.SiLU())
        self.enter = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for above, width in pairwise((widths[0], *widths)):
            self.down.append(nn.ModuleList(ResBlock(width if i else above, width, d_time) for i in range(n_blocks)))
            self.up.insert(0, nn.ModuleList(ResBlock(2 * width, width, d_time) for _ in range(n_blocks)))
        self.shrink = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(list(pairwise(widths))))
        self.across = nn.ModuleList(
            [ResBlock(width, width, d_time), SelfAttention(width), ResBlock(width, width, d_time)]
        )
        self.leave = nn.Sequential(_norm(widths[0]), nn.SiLU(), _zeroed(nn.Conv2d(widths[0], folded, 3, padding=1)))

    @checked
    def forward(self, x: Float[Tensor, "batch channels h w"], t: Float[Tensor, " batch"]) -> Tensor:
        """The prediction for each image at its time, in the shape of `x`."""
        need_like("t", t, need_like("x", x, self.enter.weight))
        if any(side % self.multiple for side in x.shape[2:]):
            raise ValueError(f"x has sides {tuple(x.shape[2:])}, expected multiples of {self.multiple}")
        time = self.time(time_features(t, 64))  # (batch, d_time)
        h = self.enter(F.pixel_unshuffle(x, self.fold))  # (batch, widths[0], h/fold, w/fold)
        skips = []
        for i, blocks in enumerate(self.down):
            h = self.shrink[i - 1](h) if i else h
            for block in blocks:
                h = block(h, time)
                skips.append(h)
        first, attention, second = self.across
        h = second(attention(first(h, time)), time)
        for i, blocks in enumerate(self.up):
            h = self.grow[i - 1](F.interpolate(h, scale_factor=2.0)) if i else h
            for block in blocks:
                h = block(torch.cat([h, skips.pop()], 1), time)
        return F.pixel_shuffle(self.leave(h), self.fold)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
