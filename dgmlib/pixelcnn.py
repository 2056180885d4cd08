"""Masked convolutions as exact densities of images: PixelCNN, with its blind spot and without (chapter 05).

An image is `(batch, channels, height, width)` in floating point, its values the grey levels 0, 1, ..., levels - 1. Its
numbers are predicted one after another in raster order: row by row, in a row from the left, in a pixel the channels.

`python -m dgmlib.pixelcnn` trains a gated PixelCNN on binarised MNIST and measures its exact test likelihood; run
again, it resumes.
"""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import (
    Density,
    by_blocks,
    checked,
    need_between,
    need_count,
    need_levels,
    need_option,
    need_shape,
    need_unit,
    uniform_dtype,
)
from dgmlib.sequential import Draw, categorical_draw, jacobi_sample, naive_sample

Image = Float[Tensor, "batch channels height width"]
Rows = Float[Tensor, "batch channels rows width"]  # some of an image's
Top = Float[Tensor, "batch channels known width"]  # its first ones, or none
Features = Float[Tensor, "batch features height width"]

# --- what a pixel predicts ------------------------------------------------------------------------------------------


@checked
def logistic_mixture_log_prob(
    x: Float[Tensor, "*shape"], params: Float[Tensor, "*shape three_k"], levels: int
) -> Float[Tensor, "*shape"]:
    """log P(x) of a mixture of logistic laws rounded to the levels 0, ..., levels - 1, in nats.

    Implements :eq:`eq-logistic-mixture`. `params` holds k weights (as logits), k means and k log-scales, in units of
    one level; the first and the last level take the half-lines beyond them. No difference of nearly equal numbers is
    taken: sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)). Raises ValueError (values that are no
    levels, a last axis that is not three times something). Salimans et al. (2017), PixelCNN++.

    >>> mass = logistic_mixture_log_prob(torch.arange(4.0), torch.zeros(4, 3), levels=4).exp()
    >>> round(mass[0].item(), 4), round(mass.sum().item(), 4)  # sigmoid(1/2)
    (0.6225, 1.0)
    """
    need_levels("x", x, need_count("levels", levels, 2))
    need_shape("params", params, (*x.shape, params.shape[-1] // 3 * 3))
    logits, means, log_scales = params.chunk(3, -1)
    inverse = (-log_scales).exp()
    above, below = (x[..., None] + 0.5 - means) * inverse, (x[..., None] - 0.5 - means) * inverse
    log_above, log_below = F.logsigmoid(above), F.logsigmoid(-below)
    middle = log_above + log_below + torch.log(-torch.expm1(-inverse))
    first, last = (x == 0)[..., None], (x == levels - 1)[..., None]
    log_mass = torch.where(first, log_above, torch.where(last, log_below, middle))
    return (logits.log_softmax(-1) + log_mass).logsumexp(-1)


@checked
def logistic_mixture_cdf(
    params: Float[Tensor, "*shape three_k"], levels: int
) -> Float[Tensor, "*shape levels_but_one"]:
    """P(x <= j) for j = 0, ..., levels - 2, the steps of `logistic_mixture_log_prob`'s law.

    Implements :eq:`eq-logistic-cdf`.

    >>> logistic_mixture_cdf(torch.tensor([0.0, 0.5, 0.0]), levels=3)  # sigmoid at 0 and 1
    tensor([0.5000, 0.7311])
    """
    need_count("levels", levels, 2)
    logits, means, log_scales = params[..., None, :].chunk(3, -1)
    edges = torch.arange(levels - 1, dtype=params.dtype, device=params.device)[:, None] + 0.5
    return (logits.softmax(-1) * ((edges - means) * (-log_scales).exp()).sigmoid()).sum(-1)


# --- images, pixel by pixel -----------------------------------------------------------------------------------------


@checked
def causal_mask(
    rows: int, columns: int, kind: str, c_in: int, c_out: int, channels: int = 1
) -> Float[Tensor, "c_out c_in rows columns"]:
    """The 0/1 mask of a kernel of odd sizes that may look up, and left, and at its centre as `kind` says.

    Implements :eq:`eq-mask`. Features are dealt out to the image's `channels` in order, feature j of n to channel
    j * channels // n. At the centre a feature of channel a sees features of channels before a (kind "A"), or up to and
    including a ("B"). van den Oord, Kalchbrenner & Kavukcuoglu (2016).

    >>> causal_mask(3, 3, "A", c_in=1, c_out=1).int().tolist()
    [[[[1, 1, 1], [1, 0, 0], [0, 0, 0]]]]
    """
    _need_odd("rows", rows), _need_odd("columns", columns), need_count("channels", channels)
    need_option("kind", kind, ("A", "B"))
    for name, count in (("c_in", c_in), ("c_out", c_out)):
        if need_count(name, count, channels) % channels:
            raise ValueError(f"{name} is {count}, expected a multiple of the {channels} channels")
    mask = torch.zeros(c_out, c_in, rows, columns)
    row, column = rows // 2, columns // 2
    mask[:, :, :row] = 1
    mask[:, :, row, :column] = 1
    ours, theirs = (torch.arange(c)[:, None] * channels // c for c in (c_out, c_in))
    mask[:, :, row, column] = (theirs.T < ours if kind == "A" else theirs.T <= ours).to(mask.dtype)
    return mask


def _need_odd(name: str, size: int) -> int:
    if need_count(name, size) % 2 == 0:
        raise ValueError(f"{name} is {size}, expected an odd number")
    return size


class MaskedConv2d(nn.Conv2d):
    """A convolution that keeps the size of the image and multiplies its kernel by `causal_mask`.

    >>> conv = MaskedConv2d(1, 1, 3, 3, "A")
    >>> conv(torch.zeros(1, 1, 4, 5)).shape, conv.mask.sum().item()
    (torch.Size([1, 1, 4, 5]), 4.0)
    """

    @checked
    def __init__(self, c_in: int, c_out: int, rows: int, columns: int, kind: str, channels: int = 1):
        mask = causal_mask(rows, columns, kind, c_in, c_out, channels)
        super().__init__(c_in, c_out, (rows, columns), padding=(rows // 2, columns // 2))
        self.register_buffer("mask", mask, persistent=False)

    @checked
    def forward(self, x: Image) -> Features:
        """The convolution with the masked kernel."""
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class PixelModel(nn.Module, Density):
    """p(x) = product of p(x_i | x_<i) in raster order; a subclass says how a network computes all factors at once.

    `shape` is (channels, height, width). A number is predicted by a softmax over its `levels`, or, with `mixtures`, by
    so many discretised logistic laws. With `n_classes`, `log_prob` and `sample` take a `label`. `log_prob` refuses
    numbers that are no levels, images in [0, 1] among these, and goes in blocks of rows where no gradient is recorded.

    >>> from dgmlib.worlds import bit_states
    >>> model, x = PixelCNN((1, 2, 2), features=4, depth=1), bit_states(4).float().view(16, 1, 2, 2)
    >>> round(model.log_prob(x).exp().sum().item(), 4), model(x).shape, model.order
    (1.0, torch.Size([16, 1, 2, 2, 2]), [0, 1, 2, 3])
    >>> model.draw(torch.zeros(2, 2), torch.tensor([0.4, 0.6])).tolist(), model.proposal()(x, 0.5 * x).shape
    ([0.0, 1.0], torch.Size([16, 1, 2, 2]))
    >>> model.sample(5, top=torch.ones(5, 1, 1, 2)).shape
    torch.Size([5, 1, 2, 2])
    """

    @checked
    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 2,
        *,
        features: int,
        mixtures: int | None = None,
        n_classes: int | None = None,
    ):
        super().__init__()
        self.shape = channels, _, _ = tuple(need_count("shape", size) for size in shape)
        self.levels, self.mixtures = need_count("levels", levels, 2), mixtures
        self.n_params = levels if mixtures is None else 3 * need_count("mixtures", mixtures)
        self.n_classes = n_classes if n_classes is None else need_count("n_classes", n_classes)
        need_count("features", features)
        self.head = nn.Sequential(
            nn.SiLU(),
            MaskedConv2d(features, features, 1, 1, "B", channels),
            nn.SiLU(),
            MaskedConv2d(features, channels * self.n_params, 1, 1, "B", channels),
        )
        if mixtures is not None:  # means start spread over the levels, each law an eighth of them wide
            start = self.head[-1].bias.data.view(channels, 3, mixtures)
            start[:, 1] = torch.linspace(0, levels - 1, mixtures + 2)[1:-1]
            start[:, 2] = math.log(levels / 8)

    @checked
    def features(self, x: Image, label: Integer[Tensor, " batch"] | None) -> Features:
        """What the network makes of the image (scaled to [-1, 1]) at each pixel, from the numbers before it only."""
        raise NotImplementedError

    def _params(self, features: Features) -> Float[Tensor, "batch channels height width k"]:
        out = self.head(features)
        return out.unflatten(1, (self.shape[0], self.n_params)).movedim(2, -1)

    def _scaled(self, x: Tensor) -> Tensor:
        return 2 * x / (self.levels - 1) - 1

    @checked
    def forward(
        self, x: Image, label: Integer[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch channels height width k"]:
        """The parameters of every conditional law, in one pass."""
        need_shape("x", x, (len(x), *self.shape))
        self._need_label(label, len(x))
        return self._params(self.features(self._scaled(x), label))

    def _need_label(self, label: Tensor | None, n: int) -> None:
        if (label is None) != (self.n_classes is None):
            wanted = "no label" if self.n_classes is None else f"one of {self.n_classes} classes for each image"
            raise ValueError(f"label is {'None' if label is None else 'given'}, expected {wanted}")
        if label is not None:
            need_levels("label", need_shape("label", label, (n,)), self.n_classes)

    @checked
    def log_prob(self, x: Image, *, label: Integer[Tensor, " batch"] | None = None) -> Float[Tensor, " batch"]:
        """log p(x), exact, in nats. Implements :eq:`eq-raster`."""
        need_levels("x", x, self.levels)

        def score(x: Tensor, label: Tensor | None) -> Tensor:
            params = self(x, label)
            if self.mixtures is None:
                log_mass = params.log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]
            else:
                log_mass = logistic_mixture_log_prob(x, params, self.levels)
            return log_mass.flatten(1).sum(1)

        held = x[0, 0].numel() * (10 * self.head[1].in_channels + 3 * self.head[-1].out_channels)
        return by_blocks(score, held, x, label)

    @checked
    def draw(self, params: Float[Tensor, "*shape k"], u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The level whose slice of [0, 1) holds u: #{j : P(x <= j) <= u}."""
        if self.mixtures is None:
            return categorical_draw(params, u).to(params.dtype)
        need_unit("u", u)
        return (logistic_mixture_cdf(params, self.levels) <= u[..., None]).sum(-1).to(params.dtype)

    @property
    def order(self) -> list[int]:
        """The raster order: positions of the flattened image from first to last generated, channels innermost."""
        channels, height, width = self.shape
        return torch.arange(channels * height * width).view(channels, -1).T.flatten().tolist()

    @checked
    def proposal(self, label: Integer[Tensor, " batch"] | None = None, top: Top | None = None) -> Draw:
        """draw(x, u): in one full pass, what each number would be drawn as by its own u, given those before it in x.

        This is what the samplers of `dgmlib.sequential` ask for. `top` holds the first rows, when they are given.
        """

        def draw(x: Image, u: Image) -> Image:
            drawn = self.draw(self(x.to(self.head[-1].weight.dtype), label), u)
            return drawn if top is None else torch.cat([top, drawn[:, :, top.shape[2] :]], 2)

        return draw

    @checked
    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        label: Integer[Tensor, " batch"] | None = None,
        top: Top | None = None,
        method: str = "jacobi",
    ) -> Image:
        """`n` images, of the classes `label` and below the rows `top` if given.

        One uniform number is drawn for each of an image's numbers; every `method` makes the same images of them:
        "naive" (one full pass a number), "jacobi" (full passes until nothing changes), and, where the model has it,
        "cached".
        """
        need_option("method", method, ("naive", "jacobi") + ("cached",) * hasattr(self, "sample_cached"))
        self._need_label(label, need_count("n", n))
        self._need_top(top, n)
        like = self.head[-1].weight
        u = torch.rand(n, *self.shape, generator=generator, dtype=uniform_dtype(like.dtype), device=like.device)
        if method == "cached":
            return self.sample_cached(u, label, top)
        draw = self.proposal(label, top)
        return naive_sample(draw, u, order=self.order) if method == "naive" else jacobi_sample(draw, u)[0]

    def _need_top(self, top: Tensor | None, n: int) -> None:
        if top is not None and top.shape[2]:
            rows = int(need_between("the rows of top", top.shape[2], 1, self.shape[1]))
            need_levels("top", need_shape("top", top, (n, self.shape[0], rows, self.shape[2])), self.levels)


@checked
def receptive_field(
    model: PixelModel, row: int, column: int, channel: int = 0
) -> Float[Tensor, "channels height width"]:
    """Which numbers of an image the law of the one at (channel, row, column) depends on: 1, or exactly 0.

    Implements :eq:`eq-receptive-field`: what is predicted there is propagated back to an image of noise, in double
    precision, in which no unit of these networks is ever quite off.

    >>> receptive_field(PixelCNN((1, 2, 2), features=4, depth=1), row=1, column=1).tolist()
    [[[1.0, 1.0], [1.0, 0.0]]]
    """
    for name, place, n in zip(("channel", "row", "column"), (channel, row, column), model.shape, strict=True):
        need_between(name, place, 0, n - 1)
    device = model.head[-1].weight.device
    noise = torch.rand(1, *model.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (noise * (model.levels - 1)).to(device).requires_grad_()
    label = None if model.n_classes is None else torch.zeros(1, dtype=torch.long, device=device)
    weights = {name: value.double() for name, value in (*model.named_parameters(), *model.named_buffers())}
    params = torch.func.functional_call(model, weights, (x, label))
    (gradient,) = torch.autograd.grad(params[0, channel, row, column].sum(), x)
    return (gradient[0] != 0).double()


# --- one stack of masked convolutions -------------------------------------------------------------------------------


class PixelCNN(PixelModel):
    """`depth` masked convolutions: mask A in the first, mask B and a residual connection in the others.

    Above and to the right there is a cone of pixels that no depth can see: `GatedPixelCNN` can. van den Oord,
    Kalchbrenner & Kavukcuoglu (2016).

    >>> model = PixelCNN((1, 3, 4), features=4, depth=2)
    >>> receptive_field(model, row=2, column=0)[0].int().tolist()  # blind to the right of a cone
    [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    """

    @checked
    def __init__(self, shape: tuple[int, int, int], features: int, depth: int, *, kernel: int = 3, levels: int = 2):
        super().__init__(shape, levels, features=features)
        _need_odd("kernel", kernel)
        kinds = "A" + "B" * (need_count("depth", depth) - 1)
        self.layers = nn.ModuleList(
            MaskedConv2d(features if i else shape[0], features, kernel, kernel, kind, shape[0])
            for i, kind in enumerate(kinds)
        )

    @checked
    def features(self, x: Image, label: Integer[Tensor, " batch"] | None) -> Features:
        """See `PixelModel.features`."""
        h = self.layers[0](x)
        for layer in self.layers[1:]:
            h = h + layer(F.silu(h))
        return h


# --- two stacks, gated ----------------------------------------------------------------------------------------------


@checked
def gated_unit(a: Float[Tensor, "batch two_f *event"]) -> Float[Tensor, "batch f *event"]:
    """tanh of the even entries of axis 1, times the sigmoid of the odd ones.

    Implements :eq:`eq-gated-unit`. van den Oord et al. (2016), Conditional PixelCNN.

    >>> gated_unit(torch.tensor([[1.0, 0.0]]))  # tanh(1)/2
    tensor([[0.3808]])
    """
    if a.shape[1] % 2:
        raise ValueError(f"a has {a.shape[1]} features, expected an even number")
    return a[:, 0::2].tanh() * a[:, 1::2].sigmoid()


@checked
def shift_down(x: Image) -> Image:
    """The image one row lower: row r holds what was in row r - 1, the first row 0.

    >>> shift_down(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).tolist()
    [[[[0.0, 0.0], [1.0, 2.0]]]]
    """
    return F.pad(x, (0, 0, 1, -1))


class GatedLayer(nn.Module):
    """One layer of both stacks: the vertical one sees the rows above, the horizontal one its own row from the left.

    >>> layer, x = GatedLayer(1, 2, 3, "A", channels=1, n_classes=None), torch.zeros(5, 1, 4, 4)
    >>> [part.shape for part in layer(x, x, None)]
    [torch.Size([5, 2, 4, 4]), torch.Size([5, 2, 4, 4])]
    >>> [part.shape for part in layer.look_up(x[:, :, :2], None)]  # a row, from itself and the one above
    [torch.Size([5, 2, 1, 4]), torch.Size([5, 4, 1, 4])]
    >>> [tuple(matrix.shape) for matrix in layer.matrices()]
    [(2, 4), (2, 2)]
    """

    @checked
    def __init__(self, c_in: int, features: int, kernel: int, kind: str, channels: int, n_classes: int | None):
        super().__init__()
        for name, count in {
            "c_in": c_in,
            "features": features,
            "channels": channels,
            "n_classes": n_classes or 1,
        }.items():
            need_count(name, count)
        self.reach, self.residual = _need_odd("kernel", kernel) // 2, kind == "B"
        self.vertical = nn.Conv2d(c_in, 2 * features, (self.reach + 1, kernel))
        self.horizontal = MaskedConv2d(c_in, 2 * features, 1, kernel, kind, channels)
        self.link = nn.Conv2d(2 * features, 2 * features, 1)
        self.out = MaskedConv2d(features, features, 1, 1, "B", channels)
        self.condition = None if n_classes is None else nn.Embedding(n_classes, 4 * features)

    @checked
    def look_up(self, v: Rows, label: Integer[Tensor, " batch"] | None) -> tuple[Features, Tensor]:
        """The vertical stack's next features, from `v` with `reach` earlier rows on top, and what they tell the row."""
        a = self.vertical(F.pad(v, (self.reach, self.reach)))
        link = self.link(a)
        if self.condition is not None:
            above, beside = self.condition(label)[:, :, None, None].chunk(2, 1)
            a, link = a + above, link + beside
        return gated_unit(a), link

    @checked
    def forward(self, v: Image, h: Image, label: Integer[Tensor, " batch"] | None) -> tuple[Features, Features]:
        """The next features of both stacks."""
        v, link = self.look_up(F.pad(v, (0, 0, self.reach, 0)), label)
        new = self.out(gated_unit(self.horizontal(h) + link))
        return v, h + new if self.residual else new

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The horizontal convolution and the one after it, as matrices that act on a window of columns."""
        window = (self.horizontal.weight * self.horizontal.mask)[:, :, 0, : self.reach + 1]  # (2f, c_in, reach + 1)
        return window.transpose(1, 2).flatten(1).T, (self.out.weight * self.out.mask)[:, :, 0, 0].T


class GatedPixelCNN(PixelModel):
    """`depth` layers of a vertical and a horizontal stack of gated convolutions: no blind spot.

    With r = kernel // 2, a prediction sees depth * r pixels to its left, and of the depth * r + 1 rows above all that
    are at most depth * r columns away. van den Oord et al. (2016), Conditional PixelCNN.

    >>> model = GatedPixelCNN((1, 3, 4), features=4, depth=2)
    >>> receptive_field(model, row=2, column=1)[0].int().tolist()  # no blind spot
    [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]]
    >>> model.sample(2, method="cached").shape, model.sample_cached(torch.rand(2, 1, 3, 4)).shape
    (torch.Size([2, 1, 3, 4]), torch.Size([2, 1, 3, 4]))
    """

    @checked
    def __init__(
        self,
        shape: tuple[int, int, int],
        features: int,
        depth: int,
        *,
        kernel: int = 3,
        levels: int = 2,
        mixtures: int | None = None,
        n_classes: int | None = None,
    ):
        super().__init__(shape, levels, features=features, mixtures=mixtures, n_classes=n_classes)
        _need_odd("kernel", kernel)
        kinds = "A" + "B" * (need_count("depth", depth) - 1)
        self.layers = nn.ModuleList(
            GatedLayer(features if i else shape[0], features, kernel, kind, shape[0], n_classes)
            for i, kind in enumerate(kinds)
        )

    @checked
    def features(self, x: Image, label: Integer[Tensor, " batch"] | None) -> Features:
        """See `PixelModel.features`."""
        v, h = shift_down(x), x
        for layer in self.layers:
            v, h = layer(v, h, label)
        return h

    @checked
    @torch.no_grad()
    def sample_cached(self, u: Image, label: Integer[Tensor, " batch"] | None = None, top: Top | None = None) -> Image:
        """The images that the uniform numbers `u` select, computing each feature once.

        The vertical stack advances row by row and keeps the rows it will look up to; the horizontal stack advances
        pixel by pixel and keeps the columns it will look left to. Ramachandran et al. (2017).
        """
        channels, height, width = need_unit("u", need_shape("u", u, (len(u), *self.shape))).shape[1:]
        self._need_label(label, len(u)), self._need_top(top, len(u))
        known = 0 if top is None else top.shape[2]
        x, reach = self.head[-1].weight.new_zeros(u.shape), self.layers[0].reach
        if top is not None:
            x[:, :, :known] = top
        matrices = [layer.matrices() for layer in self.layers]
        inputs = [layer.vertical.in_channels for layer in self.layers]
        above = [x.new_zeros(len(u), c, reach, width) for c in inputs]
        for r in range(height):
            v = self._scaled(x[:, :, r - 1 : r]) if r else torch.zeros_like(x[:, :, :1])
            links = []
            for i, layer in enumerate(self.layers):
                rows = torch.cat([above[i], v], 2)
                above[i] = rows[:, :, 1:]
                v, link = layer.look_up(rows, label)
                links.append((link[:, :, 0] + layer.horizontal.bias[:, None]).permute(2, 0, 1).contiguous())
            if r < known:
                continue
            row = [x.new_zeros(len(u), reach + width, c) for c in inputs]  # each layer's input, padded on the left
            for column in range(width):
                for channel in range(channels):
                    for i, (layer, (window, out)) in enumerate(zip(self.layers, matrices, strict=True)):
                        seen = row[i][:, column : column + reach + 1]
                        new = gated_unit(torch.addmm(links[i][column], seen.flatten(1), window))
                        h = torch.addmm(layer.out.bias, new, out) + (seen[:, -1] if layer.residual else 0)
                        if i + 1 < len(row):
                            row[i + 1][:, reach + column] = h
                    params = self._params(h[:, :, None, None])[:, channel, 0, 0]
                    x[:, channel, r, column] = self.draw(params, u[:, channel, r, column])
                    row[0][:, reach + column, channel] = self._scaled(x[:, channel, r, column])
        return x


# --- a world with a known answer ------------------------------------------------------------------------------------


class CopyRule(Density):
    """Binary images in which x[r, c] repeats x[r - 1, c + 2] with probability `keep`; where that is outside, a coin.

    Nothing else is dependent: to whom (r - 1, c + 2) is hidden, every pixel is a fair coin.

    >>> world = CopyRule(size=3, keep=0.5)  # all coins
    >>> world.copies, round(world.entropy(), 4), round(world.log_prob(world.sample(1)).item(), 4)  # 9 log 2
    (2, 6.2383, -6.2383)
    """

    @checked
    def __init__(self, size: int = 8, keep: float = 0.95):
        self.size = need_count("size", size, 3)
        self.keep = need_between("keep", keep, 0, 1, open_ends=True)

    @property
    def copies(self) -> int:
        """How many pixels have another to copy."""
        return (self.size - 1) * (self.size - 2)

    def entropy(self) -> float:
        """H(x) in nats. Implements :eq:`eq-copy-entropy`."""
        noise = -self.keep * math.log(self.keep) - (1 - self.keep) * math.log(1 - self.keep)
        return (self.size**2 - self.copies) * math.log(2) + self.copies * noise

    @checked
    def log_prob(self, x: Float[Tensor, "batch 1 size size"]) -> Float[Tensor, " batch"]:
        """log p(x) in nats. Implements :eq:`eq-copy-rule`. Raises ValueError (values that are no bits)."""
        need_levels("x", x, 2)
        kept = (x[..., 1:, :-2] == x[..., :-1, 2:]).flatten(1).sum(1).to(x.dtype)
        log_coins = -(self.size**2 - self.copies) * math.log(2)
        return log_coins + kept * math.log(self.keep) + (self.copies - kept) * math.log(1 - self.keep)

    @checked
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 1 size size"]:
        """`n` images, row by row."""
        device = "cpu" if generator is None else generator.device
        shape = (need_count("n", n), 1, self.size, self.size)
        x = torch.randint(2, shape, generator=generator, device=device).to(torch.get_default_dtype())
        flip = torch.rand(shape, generator=generator, device=device, dtype=x.dtype) >= self.keep
        for r in range(1, self.size):
            x[..., r, :-2] = (x[..., r - 1, 2:] - flip[..., r, :-2].to(x.dtype)).abs()
        return x


if __name__ == "__main__":  # python -m dgmlib.pixelcnn
    from dgmlib.commands import run

    run("pixelcnn")
