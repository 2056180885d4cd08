"""Where a reader acts: sliders without a kernel, and a guess before an answer."""

import html
import io
import json
import re
from base64 import b64decode
from unittest import mock

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from dgmlib import interactive
from dgmlib.interactive import explore


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name in ("DGM_BUDGET", "DGM_STATIC"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


# --- sliders --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(environment, monkeypatch):
    """`explore` as in the book; returns its HTML and the data of its script."""
    environment(DGM_STATIC="1")
    shown = mock.Mock()
    monkeypatch.setattr(interactive, "display", shown)

    def make(*args, **kwargs):
        explore(*args, **kwargs)
        assert shown.call_args.kwargs == {"raw": True}  # else the notebook shows the dictionary
        markup = shown.call_args.args[0]["text/html"]
        return markup, json.loads(re.search(r"= (\{.*\});\n", markup)[1])

    return make


def line(sigma, k=1):
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, sigma], [0, k])
    return figure


def decoded(data):
    return Image.open(io.BytesIO(b64decode(data)))


def test_the_first_frame_stands_in_the_image_itself(page):
    markup, data = page(line, alt="a line to {sigma} < {k}", sigma=[0.5, 1.0, 2.0], k=["a", "b"])
    image = re.search(r'<img src="data:image/png;base64,([^"]+)" width="200" height="100" alt="([^"]*)"', markup)
    assert html.unescape(image[2]) == data["alts"][0] == "a line to 0.5 < a"
    assert decoded(image[1]).mode == "P" and decoded(image[1]).size == (200, 100)
    assert len(data["frames"]) == 5 and len(data["alts"]) == 6
    assert data["alts"][-1] == "a line to 2.0 < b" and data["texts"] == [["0.5", "1", "2"], ["a", "b"]]
    assert len({image[1], *data["frames"]}) == 6
    assert not plt.get_fignums()


def test_frames_stand_in_the_order_of_the_script(page):
    """frame = index of the first slider × stops of the second + index of the second."""
    _, data = page(line, alt="{sigma} {k}", sigma=[1, 2], k=[3, 4, 5])
    assert data["alts"] == ["1 3", "1 4", "1 5", "2 3", "2 4", "2 5"]
    alone = mock.Mock(return_value=line(2, 4))
    _, same = page(alone, alt="{sigma}", sigma=[0, 1])
    assert data["frames"][4 - 1] == same["frames"][0]


def test_the_smoke_budget_draws_only_the_ends(page, monkeypatch):
    monkeypatch.setenv("DGM_BUDGET", "smoke")
    _, data = page(line, alt="{sigma} {k}", sigma=[1, 2, 3], k=[4])
    assert data["alts"] == ["1 4", "3 4"] and data["texts"] == [["1", "3"], ["4"]]


def test_a_slider_is_labelled_and_hidden_where_scripts_do_not_run(page):
    markup, _ = page(line, alt="{sigma}", sigma=[0.25, 1.0])
    assert '<label>sigma <input type="range" min="0" max="1" step="1" value="0" aria-valuetext="0.25"' in markup
    assert "<div hidden>" in markup and "background:#fff" in markup
    assert "http" not in markup and "src=" in markup


def test_the_page_is_the_same_on_every_run_and_its_own(page):
    first, again, other = (page(line, alt="{sigma}", sigma=s)[0] for s in ([1, 2], [1, 2], [1, 3]))
    names = [re.search('data-explore="(\\w+)"', markup)[1] for markup in (first, again, other)]
    assert first == again and names[0] == names[1] != names[2]


def test_text_cannot_close_the_script(page):
    markup, data = page(line, alt='</script> "{k}"', sigma=[1, 2], k=["</script>"])
    assert markup.count("</script>") == 1 and data["alts"][0] == '</script> "</script>"'
    markup, data = page(line, alt="{k}", sigma=[1, 2], k=["<!--<script>"])  # which would swallow the rest of the page
    assert markup.count("<script") == 1 and "<!--" not in markup and data["alts"][0] == "<!--<script>"


@pytest.mark.parametrize(
    ("sliders", "draw", "alt", "error", "message"),
    [
        ({}, line, "x", ValueError, "sliders is {}, expected at least one"),
        ({"sigma": []}, line, "x", ValueError, "expected at least one keyword with the values"),
        ({"sigma": range(25)}, line, "x", ValueError, "sliders make 25 frames, expected at most 24"),
        ({"sigma": range(5), "k": range(5)}, line, "x", ValueError, "sliders make 25 frames"),
        ({"sigma": [1]}, line, "{rho}", ValueError, "alt names 'rho', expected only sigma in braces"),
        ({"sigma": [1]}, lambda sigma: None, "x", TypeError, "draw returned a NoneType, expected a matplotlib Figure"),
        (
            {"sigma": [1, 2]},
            lambda sigma: plt.figure(figsize=(sigma, 1)),
            "x",
            ValueError,
            r"figures of 2 sizes, \[\(100, 100\), \(200, 100\)\] pixels",
        ),
        (
            {"sigma": [1, 2]},
            lambda sigma: plt.figure(figsize=(6, 6)).figimage(np.random.default_rng(sigma).random((600, 600))).figure,
            "x",
            ValueError,
            r"the 2 frames weigh \d+ KB, expected at most 300 KB",
        ),
    ],
)
def test_a_slider_that_would_not_do_is_refused(page, sliders, draw, alt, error, message):
    with pytest.raises(error, match=message):
        page(draw, alt=alt, **sliders)


def test_live_a_slider_is_a_widget(environment, monkeypatch):
    environment()
    shown, made = mock.Mock(), []
    monkeypatch.setattr(interactive, "display", shown)
    monkeypatch.setattr(ipywidgets, "interact", lambda function, **controls: made.append((function, controls)))
    explore(line, alt="{sigma}", sigma=np.array([0.5, 2.0]), k=[1, 2])
    function, controls = made[0]
    assert {type(control) for control in controls.values()} == {ipywidgets.SelectionSlider}
    assert controls["sigma"].options == (("0.5", 0.5), ("2", 2.0)) and controls["sigma"].value == 0.5
    function(sigma=2.0, k=1)
    assert isinstance(shown.call_args.args[0], plt.Figure) and not plt.get_fignums()
