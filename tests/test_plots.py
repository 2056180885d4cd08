"""The visual language: colours everyone can tell apart, images and densities drawn as they are."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from dgmlib.plots import COLORS, density_2d, show_images, style

# Machado, Oliveira and Fernandes, 2009, severity 1, on linear RGB.
EYES = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(color, eye):
    xyz = RGB_TO_XYZ @ np.clip(np.array(EYES[eye]) @ linear(color), 0, 1) / (0.95047, 1, 1.08883)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colors, eye):
    """The two colours that this eye confuses most, and how far apart it sees them (CIE 1976; 2.3 is just seen)."""
    gap = {pair: np.linalg.norm(lab(colors[pair[0]], eye) - lab(colors[pair[1]], eye)) for pair in pairs(colors)}
    return min(gap.items(), key=lambda item: item[1])


def pairs(colors):
    return itertools.combinations(colors, 2)


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_the_colors_apart(eye):
    pair, gap = nearest(COLORS, eye)
    assert gap > 15, pair


def test_the_ruler_sees_red_beside_green():
    _, gap = nearest({"red": "#C04040", "green": "#708020"}, "deuteranopia")
    assert gap < 15 < nearest({"red": "#C04040", "green": "#708020"}, "all cones")[1]


@pytest.mark.parametrize("name", [name for name in COLORS if name != "muted"])
def test_colors_stand_out_from_white(name):
    luminance = RGB_TO_XYZ[1] @ linear(COLORS[name])
    assert 1.05 / (luminance + 0.05) > 3  # what WCAG 2.1 asks of graphics


@pytest.fixture(autouse=True)
def closed():
    with plt.rc_context():
        style()
        yield
    plt.close("all")


def test_style_is_the_books():
    figure = plt.figure()
    assert figure.dpi == 100 and figure.get_figwidth() == 7
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert next(iter(plt.rcParams["axes.prop_cycle"]))["color"] == COLORS["data"]


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 1, 4, 3), (5, 3, 4, 3)])
def test_images_are_tiled_in_reading_order(shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    ax = show_images(images, ncols=3, title="Five")
    drawn = np.asarray(ax.images[0].get_array())
    assert drawn.shape[:2] == (2 * 5 - 1, 3 * 4 - 1) and ax.get_title() == "Five"
    last = images[4].reshape(-1, 4, 3).movedim(0, -1).squeeze(-1)
    np.testing.assert_allclose(drawn[5:, 4:7], last.numpy(), atol=1e-7)
    assert (drawn[4] == 1).all() and (drawn[:, 3] == 1).all() and (drawn[5:, 8:] == 1).all()


def test_integer_images_are_divided_by_their_top_level():
    digits = torch.tensor([[[0, 8], [16, 4]]], dtype=torch.uint8)
    ax = show_images(digits, levels=17)
    assert ax.images[0].get_array().tolist() == [[0, 0.5], [1, 0.25]]
    assert ax.images[0].get_clim() == (0, 1)


def test_images_land_on_the_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    assert show_images(torch.zeros(1, 2, 2), ax=right) is right
    assert not left.images


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.full((1, 2, 2), math.nan), ValueError, "images has values from nan to nan"),
        (torch.full((1, 2, 2), 1.01), ValueError, "from 1.01 to 1.01, expected values from 0 to 1"),
        (torch.full((1, 2, 2), -0.5), ValueError, "from -0.5 to -0.5"),
        (torch.full((1, 2, 2), 256), ValueError, "expected values from 0 to 255"),
        (torch.zeros(2, 2), ValueError, "images has shape"),
        (torch.zeros(2, 2, 2, 2), ValueError, "images has shape"),
        (torch.zeros(0, 1, 2, 2), ValueError, "images has shape"),
        (np.zeros((1, 2, 2)), TypeError, "images"),
    ],
)
def test_what_is_no_image_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        show_images(images)


def test_one_nan_among_many_is_seen():
    images = torch.zeros(3, 2, 2)
    images[1, 0, 0] = math.nan
    with pytest.raises(ValueError, match="without NaN"):
        show_images(images)


def bump(x):
    """log N((1, −2), diag(1, ½²)), which no reflection and no swap of the axes leaves alone."""
    return -(((x - torch.tensor([1.0, -2.0])) / torch.tensor([1.0, 0.5])) ** 2).sum(1) / 2 - math.log(math.pi)


def test_a_density_is_drawn_where_it_is():
    _, ax = plt.subplots()
    image = density_2d(ax, bump, (-4.0, 4.0, -6.0, 6.0), n=120, color="model")
    drawn = np.asarray(image.get_array())
    left, right, bottom, top = image.get_extent()
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    assert left + (column + 0.5) / 120 * (right - left) == pytest.approx(1, abs=8 / 120)
    assert bottom + (row + 0.5) / 120 * (top - bottom) == pytest.approx(-2, abs=12 / 120)
    assert image.origin == "lower"
    assert drawn.sum() * (8 / 120) * (12 / 120) == pytest.approx(1, abs=2e-3)  # the 3 sd cut off at the right
    assert image.cmap(0.0)[:3] == (1, 1, 1) and image.cmap(1.0)[:3] == pytest.approx(
        to_rgb(COLORS["model"]), abs=1 / 255
    )


@pytest.mark.parametrize(
    ("log_prob", "extent", "color", "message"),
    [
        (lambda x: x[:, 0] * math.nan, (-1.0, 1.0, -1.0, 1.0), "data", "log_prob"),
        (lambda x: x[:, 0] * 0 + math.inf, (-1.0, 1.0, -1.0, 1.0), "data", "plus infinity"),
        (lambda x: x, (-1.0, 1.0, -1.0, 1.0), "data", "log_prob"),
        (bump, (1.0, -1.0, -1.0, 1.0), "data", "extent is"),
        (bump, (-1.0, 1.0, -1.0, math.inf), "data", "extent is"),
        (bump, (-1.0, 1.0, -1.0, 1.0), "pink", "color is 'pink', expected one of 'data'"),
    ],
)
def test_what_is_no_density_is_refused(log_prob, extent, color, message):
    with pytest.raises((ValueError, TypeError), match=message):
        density_2d(plt.figure().subplots(), log_prob, extent, n=5, color=color)


def test_a_density_may_vanish():
    half = lambda x: torch.where(x[:, 0] > 0, 0.0, -math.inf)  # noqa: E731
    drawn = np.asarray(density_2d(plt.figure().subplots(), half, (-1.0, 1.0, -1.0, 1.0), n=4).get_array())
    assert drawn.tolist() == [[0, 0, 1, 1]] * 4
