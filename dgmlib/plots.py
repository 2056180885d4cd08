"""One visual language for the whole course: what a colour means, how a figure looks at book width."""

import io
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from torch import Tensor

from dgmlib.core import checked, need_count, need_option, need_shape

COLORS = {
    "data": "#1F5FA8",
    "model": "#DB6A00",
    "latent": "#1B9E77",
    "noise": "#D070B0",
    "wrong": "#9E1B1B",
    "muted": "#BBBBBB",
}
"""What a colour means in every figure. All six differ under each kind of colour blindness; `muted` is context."""


def style() -> None:
    """Set matplotlib's defaults for the book: 7 inches wide at 100 dots an inch, white ground, the course's colours.

    >>> style()
    >>> plt.rcParams["figure.figsize"], plt.rcParams["image.cmap"]
    ([7.0, 3.0], 'gray')
    """
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.0),
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=list(COLORS.values())),
            "image.cmap": "gray",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )


@checked
def show_images(
    images: Tensor, *, ncols: int = 10, levels: int = 256, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Tile a batch of images, row by row, with one white pixel between them.

    Args:
        images: `(n, h, w)`, `(n, 1, h, w)` or `(n, 3, h, w)`; floating in [0, 1], or integer in {0, …, levels − 1}.
        ncols: images in a row.
        levels: how many grey values integer images have: 256, or 17 for the digits that ship with the course.
        title: a line above the tiles.
        ax: where to draw; a new figure of the right height when absent.

    Returns: the axes drawn on, without ticks.
    Raises: TypeError (not a tensor), ValueError (shape, NaN, values out of range).

    >>> ax = show_images(torch.zeros(6, 8, 8), ncols=3, ax=plt.Figure().subplots())
    >>> ax.images[0].get_array().shape  # two rows of three, one pixel between them
    (17, 26)
    """
    pixels = _pixels(images, levels)
    n, h, w, channels = pixels.shape
    ncols = min(need_count("ncols", ncols), n)
    nrows = math.ceil(n / ncols)
    tiles = np.ones((nrows * ncols, h + 1, w + 1, channels))
    tiles[:n, :h, :w] = pixels
    grid = tiles.reshape(nrows, ncols, h + 1, w + 1, channels).swapaxes(1, 2)
    grid = grid.reshape(nrows * (h + 1), ncols * (w + 1), channels)[:-1, :-1]
    if ax is None:
        width = plt.rcParams["figure.figsize"][0]
        ax = plt.figure(figsize=(width, width * grid.shape[0] / grid.shape[1] + 0.3 * (title is not None))).subplots()
    ax.imshow(grid.squeeze(-1) if channels == 1 else grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    return ax


@checked
def density_2d(
    ax: Axes,
    log_prob: Callable[[Float[Tensor, "n 2"]], Float[Tensor, " n"]],
    extent: tuple[float, float, float, float],
    *,
    n: int = 200,
    color: str = "data",
) -> AxesImage:
    """Draw the density exp(log_prob) on an n × n float64 grid, white where it vanishes, in one of the course's colours.

    Args:
        ax: where to draw.
        log_prob: log density of each row of a `(n², 2)` tensor; minus infinity is allowed.
        extent: `(left, right, bottom, top)`.
        n: grid points on a side.
        color: what is drawn, a key of `COLORS`.

    Raises: ValueError (extent, colour, or a log density of the wrong shape, NaN or plus infinity).

    >>> log_normal = lambda x: -x.square().sum(1) / 2
    >>> image = density_2d(plt.Figure().subplots(), log_normal, (-3.0, 3.0, -3.0, 3.0), n=20)
    >>> image.get_array().shape, image.get_array().argmax() in (189, 190, 209, 210)  # one of the four in the middle
    ((20, 20), True)
    """
    need_option("color", color, COLORS)
    left, right, bottom, top = extent
    if not (math.isfinite(sum(extent)) and left < right and bottom < top):
        raise ValueError(f"extent is {tuple(extent)}, expected (left, right, bottom, top) in increasing pairs")
    half = 0.5 / need_count("n", n)
    across, up = torch.linspace(half, 1 - half, n, dtype=torch.float64).expand(2, n)  # centres of the drawn pixels
    y, x = torch.meshgrid(bottom + (top - bottom) * up, left + (right - left) * across, indexing="ij")
    with torch.no_grad():
        values = need_shape("log_prob(x)", log_prob(torch.stack([x.flatten(), y.flatten()], 1)), (n * n,)).cpu()
    if not (values < math.inf).all():
        raise ValueError("log_prob(x) is NaN or plus infinity somewhere on the grid, expected log densities")
    white_to_color = LinearSegmentedColormap.from_list(color, ["white", COLORS[color]])
    density = values.double().exp().reshape(n, n).numpy()
    return ax.imshow(density, extent=extent, origin="lower", cmap=white_to_color, vmin=0, aspect="auto")


def _pixels(images: Tensor, levels: int) -> np.ndarray:
    """`images` as float64 `(n, h, w, channels)` in [0, 1]."""
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ValueError(f"images has shape {tuple(images.shape)}, expected (n, h, w), (n, 1, h, w) or (n, 3, h, w)")
    top = 1 if images.is_floating_point() else need_count("levels", levels, 2) - 1
    pixels = images.detach().cpu().double().permute(0, 2, 3, 1).numpy()
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= top):
        raise ValueError(f"images has values from {low:.4g} to {high:.4g}, expected values from 0 to {top} without NaN")
    return pixels / top


@checked
def palette_png(figure: Figure, bbox_inches: str | None = None) -> bytes:
    """The figure as a PNG of at most 128 colours, a quarter of its usual weight; the same bytes on every run.

    Args:
        bbox_inches: "tight" cuts the margins off, None leaves the figure's size.

    Raises: TypeError, ValueError.

    >>> palette_png(plt.figure())[:4]
    b'\\x89PNG'
    """
    if bbox_inches is not None:
        need_option("bbox_inches", bbox_inches, ("tight",))
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=figure.dpi, bbox_inches=bbox_inches, facecolor="white")
    image = Image.open(full).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(small, format="PNG", optimize=True)
    return small.getvalue()
