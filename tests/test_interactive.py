"""Where a reader acts: sliders without a kernel, and a guess before an answer."""

import html
import io
import json
import math
import re
from base64 import b64decode
from configparser import ConfigParser
from pathlib import Path
from unittest import mock

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from dgmlib import interactive
from dgmlib.interactive import explore, predict


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
def in_the_book(environment, monkeypatch):
    """Calls a function as in the book; returns what it shows, by kind."""
    environment(DGM_STATIC="1")
    shown = mock.Mock()
    monkeypatch.setattr(interactive, "display", shown)

    def call(function, *args, **kwargs):
        function(*args, **kwargs)
        assert shown.call_args.kwargs == {"raw": True}  # else the notebook shows the dictionary
        return shown.call_args.args[0]

    return call


@pytest.fixture
def page(in_the_book):
    """`explore` as in the book; returns its HTML and the data of its script."""

    def make(*args, **kwargs):
        markup = in_the_book(explore, *args, **kwargs)["text/html"]
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


# --- guesses --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(in_the_book):
    """`predict` as in the book; returns its HTML and its text."""

    def make(*args, **kwargs):
        shown = in_the_book(predict, *args, **kwargs)
        return shown["text/html"], shown["text/plain"]

    return make


def test_a_question_hides_its_answer_and_unfolds_it_without_a_script(asked):
    markup, text = asked("nats lost in < 5 steps", answer=torch.tensor(0.12345, dtype=torch.float64), unit="nats")
    assert text == "nats lost in < 5 steps" and "nats lost in &lt; 5 steps</p>" in markup
    still = markup[: markup.index("<script>")]
    assert re.search(r"<details><summary[^>]*>The answer</summary><data>0.123 nats</data></details>", still)
    assert still.count("0.12") == 2 and 'data-answer="0.12345"' in still  # folded, and for the script
    assert '<div hidden role="group"' in still and '<label>Your guess <input type="number" step="any"' in still
    assert "http" not in markup and "src=" not in markup


@pytest.mark.parametrize(
    ("answer", "told"),
    [(7, "7"), (np.float64(0.5), "0.5"), (123456, "123456"), (1234.56, "1235"), (-2e-7, "-2e-07"), (1e20, "1e+20")],
)
def test_an_answer_has_three_digits_or_all_before_the_point(asked, answer, told):
    assert f"<data>{told}</data>" in asked("how many", answer=answer)[0]


def test_a_choice_is_made_among_its_options(asked):
    markup, _ = asked("which", answer='b "<"', options=["a", 'b "<"'])
    assert markup.count('type="radio"') == 2 and "<data>b &quot;&lt;&quot;</data>" in markup
    assert html.unescape(re.search('data-answer="([^"]*)"', markup)[1]) == 'b "<"'
    name = re.search('data-predict="(\\w+)"', markup)[1]
    assert markup.count(f'name="{name}"') == 2


def test_what_is_compared_does_not_depend_on_the_answer(asked):
    """nbval compares outputs at the smoke budget, where the answer is another one."""
    config = ConfigParser()
    config.read(Path(__file__).with_name("nbval_sanitize.cfg"))

    def seen(**kwargs):
        shown = asked("how much", **kwargs)
        for section in config.sections():
            shown = [re.sub(config[section]["regex"], config[section]["replace"], text) for text in shown]
        return shown

    assert seen(answer=0.25, unit="nats") == seen(answer=-3, unit="nats") != seen(answer=3, unit="bits")
    assert seen(answer="yes", options=["yes", "no"]) == seen(answer="no", options=["yes", "no"])
    assert asked("how much", answer=1) == asked("how much", answer=1) != asked("how much", answer=2)


VERDICTS = [
    (0.125, "0.125", "Your guess is right."),
    (0.125, "0.12501", "Your guess is right."),
    (0.125, "0.25", "Your guess is 0.125 too high, 2 times the answer."),
    (0.125, "0.05", "Your guess is 0.075 too low; the answer is 2.5 times as large."),
    (0.125, "0.13", "Your guess is 0.005 too high."),
    (0.125, "-1.375", "Your guess is 1.5 too low."),
    (0.125, "0", "Your guess is 0.125 too low."),
    (0.0, "2", "Your guess is 2 too high."),
    (-2, "-8", "Your guess is 6 too low, 4 times the answer."),
    (0.125, "", None),
]


def verdict(told, said):
    return f"The answer is {told}. {said}" if said else "Make a guess first."


@pytest.mark.parametrize(("answer", "guess", "said"), VERDICTS)
def test_live_a_question_is_a_widget(environment, monkeypatch, answer, guess, said):
    environment()
    shown = mock.Mock()
    monkeypatch.setattr(interactive, "display", shown)
    predict("how <much>", answer=answer, unit="nats")
    asked, (typed, unit, button), told = (getattr(part, "children", part) for part in shown.call_args.args[0].children)
    assert "how &lt;much&gt;" in asked.value and unit.value == "nats" and told.value == ""
    typed.value = guess
    button.click()
    assert html.unescape(told.value) == verdict(f"{answer:g} nats", said)


def test_live_a_choice_begins_with_none(environment, monkeypatch):
    environment()
    shown = mock.Mock()
    monkeypatch.setattr(interactive, "display", shown)
    predict("which", answer="b", options=("a", "b"))
    _, row, told = shown.call_args.args[0].children
    choice, _, button = row.children
    said = []
    for value in (None, "a", "b"):
        choice.value = value
        button.click()
        said.append(told.value)
    assert said == ["Make a guess first.", "The answer is b. You guessed a.", "The answer is b. Your guess is right."]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"question": " ", "answer": 1}, ValueError, "question is ' ', expected words"),
        ({"question": 3, "answer": 1}, TypeError, "question is"),
        ({"question": "x"}, TypeError, "answer"),
        ({"question": "x", "answer": math.nan}, ValueError, "answer is nan, expected a finite number"),
        ({"question": "x", "answer": torch.tensor(math.inf)}, ValueError, "answer is inf, expected a finite number"),
        ({"question": "x", "answer": None}, TypeError, "answer is a NoneType, expected a number"),
        ({"question": "x", "answer": True}, TypeError, "answer is a bool, expected a number"),
        ({"question": "x", "answer": "a"}, TypeError, "answer is a str, expected a number, or a text among options"),
        ({"question": "x", "answer": torch.ones(2)}, TypeError, "answer is a Tensor, expected a number"),
        ({"question": "x", "answer": 1, "unit": 1}, TypeError, "unit is"),
        (
            {"question": "x", "answer": "a", "options": ["b", "c"]},
            ValueError,
            "answer is 'a', expected one of 'b', 'c'",
        ),
        ({"question": "x", "answer": 1, "options": ["1", "2"]}, TypeError, "answer is a int, expected a text"),
        ({"question": "x", "answer": "a", "options": ["a"]}, ValueError, r"options is \['a'\], expected at least two"),
        ({"question": "x", "answer": "a", "options": ["a", "a"]}, ValueError, "expected at least two different"),
        ({"question": "x", "answer": "a", "options": "ab"}, (TypeError, ValueError), "options is"),
        (
            {"question": "x", "answer": "a", "options": ["a", "b"], "unit": "m"},
            ValueError,
            "unit is 'm', expected none",
        ),
    ],
)
def test_a_question_that_would_not_do_is_refused(asked, arguments, error, message):
    with pytest.raises(error, match=message):
        asked(**arguments)
