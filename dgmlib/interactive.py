"""Where a reader acts: a slider under a figure, and a guess before an answer; without a kernel in the book."""

import base64
import hashlib
import html
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dgmlib import plots
from dgmlib.core import checked, need_option


def is_static() -> bool:
    """Are outputs being made for the book, whose pages have no kernel (DGM_STATIC=1)?

    >>> is_static() in (False, True)
    True
    """
    return os.environ.get("DGM_STATIC", "") not in ("", "0")


# --- sliders --------------------------------------------------------------------------------------------------------

_SLIDER = """<figure data-explore="{id}" style="margin:0;padding:0.5em;background:#fff;color:#222">
<img src="data:image/png;base64,{first}" width="{width}" height="{height}" alt="{alt}"
style="max-width:100%;height:auto">
<div hidden>{controls}</div>
</figure>
<script>
(() => {{
  const {{frames, alts, texts}} = {data};
  for (const root of document.querySelectorAll('[data-explore="{id}"]:not([data-ready])')) {{
    const image = root.querySelector("img"), first = image.src, sliders = [...root.querySelectorAll("input")];
    const show = () => {{
      let frame = 0;
      sliders.forEach((slider, i) => {{
        const text = texts[i][slider.value];
        frame = frame * texts[i].length + Number(slider.value);
        slider.setAttribute("aria-valuetext", text);
        slider.parentElement.nextElementSibling.textContent = text;
      }});
      image.src = frame ? "data:image/png;base64," + frames[frame - 1] : first;
      image.alt = alts[frame];
    }};
    sliders.forEach((slider) => slider.addEventListener("input", show));
    root.dataset.ready = "";
    root.querySelector("div").hidden = false;
    show();
  }}
}})();
</script>"""  # The controls stay hidden where scripts do not run; there the first frame stands alone.
_CONTROL = (
    '<label>{name} <input type="range" min="0" max="{last}" step="1" value="0" aria-valuetext="{text}" '
    'style="width:16em;max-width:70%;vertical-align:middle"></label> <span aria-hidden="true">{text}</span><br>'
)


@checked
def explore(draw: Callable[..., Figure], *, alt: str, **sliders: Iterable[Any]) -> None:
    """Show the figure `draw(**values)` under one slider for each keyword.

    Live it is an `ipywidgets` control. With DGM_STATIC=1, while outputs are made for the book, every frame is drawn
    once and the page needs no kernel and no network: at most 24 frames and 300 KB, all of one size. The smoke budget
    draws only the first and the last stop of each slider.

    Args:
        draw: returns a matplotlib Figure of fixed size for one value of each slider.
        alt: what a frame shows, for those who do not see it, with the values in braces: "… at sigma {sigma}".
        sliders: the values that each slider stops at; the first frame uses the first of each.

    Raises: ValueError (no values, an `alt` that names no slider, frames too many, too heavy or of several sizes),
        TypeError (no values to stop at, `draw` returns no figure).

    >>> explore(lambda: None, alt="a line")
    Traceback (most recent call last):
    ValueError: sliders is {}, expected at least one keyword with the values it stops at
    """
    for name, values in sliders.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"{name} is {values!r}, expected the values that its slider stops at")
    stops = {name: list(values) for name, values in sliders.items()}
    if not stops or not all(stops.values()):
        raise ValueError(f"sliders is {stops}, expected at least one keyword with the values it stops at")
    if os.environ.get("DGM_BUDGET") == "smoke":
        stops = {name: [values[0], values[-1]] if len(values) > 1 else values for name, values in stops.items()}
    settings = [dict(zip(stops, values, strict=True)) for values in itertools.product(*stops.values())]
    try:
        alts = [alt.format(**setting) for setting in settings]
    except (KeyError, IndexError) as missing:
        raise ValueError(f"alt names {missing}, expected only {', '.join(stops)} in braces") from None
    texts = {name: [f"{v:g}" if isinstance(v, float) else str(v) for v in values] for name, values in stops.items()}
    if is_static():
        if len(settings) > 24:
            raise ValueError(f"sliders make {len(settings)} frames, expected at most 24")
        page = _page([plots.palette_png(_figure(draw, setting)) for setting in settings], alts, texts)
        display({"text/html": page, "text/plain": alts[0]}, raw=True)
    else:
        import ipywidgets  # a second of start-up that only a live slider needs

        controls = {
            name: ipywidgets.SelectionSlider(options=list(zip(texts[name], values, strict=True)), description=name)
            for name, values in stops.items()
        }
        ipywidgets.interact(lambda **setting: display(_figure(draw, setting)), **controls)


def _figure(draw: Callable[..., Figure], setting: dict[str, Any]) -> Figure:
    """One frame, closed so that the notebook does not show it a second time."""
    figure = draw(**setting)
    if not isinstance(figure, Figure):
        raise TypeError(f"draw returned a {type(figure).__name__}, expected a matplotlib Figure")
    plt.close(figure)
    return figure


def _page(frames: list[bytes], alts: list[str], texts: dict[str, list[str]]) -> str:
    """The frames under their sliders as one piece of HTML."""
    sizes = {Image.open(io.BytesIO(frame)).size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"draw returned figures of {len(sizes)} sizes, {sorted(sizes)} pixels, expected one size")
    weight = sum(map(len, frames)) / 1000
    if weight > 300:
        raise ValueError(f"the {len(frames)} frames weigh {weight:.0f} KB, expected at most 300 KB: draw less or fewer")
    first, *rest = (base64.b64encode(frame).decode("ascii") for frame in frames)
    data = json.dumps({"frames": rest, "alts": alts, "texts": list(texts.values())}).replace("<", "\\u003c")
    controls = "".join(
        _CONTROL.format(name=html.escape(name), last=len(values) - 1, text=html.escape(values[0]))
        for name, values in texts.items()
    )
    width, height = sizes.pop()
    return _SLIDER.format(
        # From the content, not at random: running a chapter again leaves its file as it was.
        id=hashlib.sha256((first + controls + data).encode()).hexdigest()[:12],
        first=first,
        width=width,
        height=height,
        alt=html.escape(alts[0]),
        controls=controls,
        data=data,
    )


# --- guesses --------------------------------------------------------------------------------------------------------

_GUESS = """<div data-predict="{id}" data-answer="{answer}"
style="margin:0.5em 0;padding:0.5em 1em;border-left:4px solid #1F5FA8;background:#fff;color:#222;color-scheme:light">
<p style="margin:0.25em 0"><strong>Predict:</strong> {question}</p>
<div hidden role="group" aria-label="Your guess">{control}
<button type="button" style="font:inherit;min-height:2em;min-width:24px">Compare</button></div>
<p role="status" style="margin:0.25em 0"></p>
<details><summary style="min-height:24px">The answer</summary><data>{told}</data></details>
</div>
<script>
(() => {{
  const rounded = (x) => Number(x.toPrecision(3)), far = (x) => Number(x.toPrecision(2));
  const distance = (guess, answer) => {{
    if (rounded(guess) === rounded(answer)) return "Your guess is right.";
    const off = `Your guess is ${{rounded(Math.abs(guess - answer))}} too ${{guess > answer ? "high" : "low"}}`;
    const ratio = guess / answer, more = Math.max(ratio, 1 / ratio);
    if (!(more >= 1.1 && more < Infinity)) return off + ".";
    return off + (ratio > 1 ? `, ${{far(more)}} times the answer.` : `; the answer is ${{far(more)}} times as large.`);
  }};
  const verdict = (root) => {{
    const chosen = root.querySelector("input[type=radio]:checked"), typed = root.querySelector("input[type=number]");
    if (chosen === null && !(typed && Number.isFinite(typed.valueAsNumber))) return "Make a guess first.";
    const told = `The answer is ${{root.querySelector("data").textContent}}. `;
    if (typed) return told + distance(typed.valueAsNumber, Number(root.dataset.answer));
    return told + (chosen.value === root.dataset.answer ? "Your guess is right." : `You guessed ${{chosen.value}}.`);
  }};
  for (const root of document.querySelectorAll('[data-predict="{id}"]:not([data-ready])')) {{
    const compare = () => {{ root.querySelector("[role=status]").textContent = verdict(root); }};
    root.querySelector("button").addEventListener("click", compare);
    root.querySelectorAll("input").forEach((input) => input.addEventListener("keydown", (event) => {{
      if (event.key === "Enter") {{ event.preventDefault(); compare(); }}
    }}));
    root.dataset.ready = "";
    root.querySelector("[hidden]").hidden = false;
  }}
}})();
</script>"""  # Where scripts do not run, the question and what unfolds the answer stand alone.
_TYPED = (
    '<label>Your guess <input type="number" step="any" style="font:inherit;min-height:2em;width:8em"></label> {unit}'
)
_CHOICE = (
    '<label style="display:block;min-height:24px;line-height:24px">'
    '<input type="radio" name="{id}" value="{option}"> {option}</label>'
)


@checked
def predict(question: str, *, answer: Any, unit: str = "", options: Sequence[str] | None = None) -> None:
    """Ask for a guess before the answer is seen; then say the answer and how far off the guess was.

    Live it is an `ipywidgets` control. With DGM_STATIC=1 the page needs no kernel and no network, and where scripts do
    not run the answer can be unfolded. As text the output is the question alone, and nbval passes over the answer, so
    that another budget's answer compares equal.

    Args:
        question: in words, without formulas, and the same at every budget.
        answer: a number, or one of `options`.
        unit: of the number, in words.
        options: the texts to choose from, where the answer is not a number.

    Raises: ValueError (no question, an answer that is NaN, infinite or no option, options that repeat), TypeError.

    >>> predict("nats lost with four perfect steps", answer=math.nan, unit="nats")
    Traceback (most recent call last):
    ValueError: answer is nan, expected a finite number
    """
    if not question.strip():
        raise ValueError(f"question is {question!r}, expected words")
    if options is not None:
        if len(options) < 2 or len({option.strip() for option in options} - {""}) < len(options):
            raise ValueError(f"options is {options!r}, expected at least two different texts")
        if unit:
            raise ValueError(f"unit is {unit!r}, expected none beside options")
        if not isinstance(answer, str):
            raise TypeError(f"answer is a {type(answer).__name__}, expected a text among options")
        need_option("answer", answer, tuple(options))
        told = answer
    else:
        answer = _finite_number(answer)
        told = f"{_told(answer)} {unit}".rstrip()
    if is_static():
        page = _guess_page(question, str(answer), told, unit, options)
        display({"text/html": page, "text/plain": question}, raw=True)
    else:
        display(_guess_widget(question, answer, told, unit, options))


def _finite_number(answer: Any) -> float | int:
    if isinstance(answer, Tensor | np.ndarray | np.generic) and np.prod(answer.shape) == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise TypeError(f"answer is a {type(answer).__name__}, expected a number, or a text among options")
    if not math.isfinite(answer):
        raise ValueError(f"answer is {answer}, expected a finite number")
    return answer


def _told(x: float) -> str:
    """A number with three digits, or with all that stand before its point."""
    if isinstance(x, int) or abs(x) >= 1000:
        return f"{x:.0f}" if abs(x) < 1e15 else f"{x:.3g}"
    return f"{x:.3g}"


def _guess_page(question: str, answer: str, told: str, unit: str, options: Sequence[str] | None) -> str:
    """Question, control and folded answer as one piece of HTML, which differs in nothing but the answer."""
    asked = html.escape(question)
    # Of all but the answer, which differs from budget to budget.
    name = hashlib.sha256(repr((question, unit, options and [*options])).encode()).hexdigest()[:12]
    if options is None:
        control = _TYPED.format(unit=html.escape(unit))
    else:
        control = "".join(_CHOICE.format(id=name, option=html.escape(option)) for option in options)
    return _GUESS.format(id=name, answer=html.escape(answer), question=asked, control=control, told=html.escape(told))


def _guess_widget(question: str, answer: Any, told: str, unit: str, options: Sequence[str] | None) -> Any:
    import ipywidgets

    if options is None:
        control = ipywidgets.Text(placeholder="your guess", continuous_update=False)
    else:
        control = ipywidgets.RadioButtons(options=list(options), value=None)
    button, said = ipywidgets.Button(description="Compare"), ipywidgets.HTML()

    def compare(_: Any) -> None:
        said.value = html.escape(_verdict(control.value, answer, told))

    button.on_click(compare)
    asked = ipywidgets.HTML(f"<strong>Predict:</strong> {html.escape(question)}")
    return ipywidgets.VBox([asked, ipywidgets.HBox([control, ipywidgets.Label(unit), button]), said])


def _verdict(guess: str | None, answer: Any, told: str) -> str:
    """What the script of the page says, for a widget."""
    if isinstance(answer, str):
        if guess is None:
            return "Make a guess first."
        return f"The answer is {told}. " + ("Your guess is right." if guess == answer else f"You guessed {guess}.")
    try:
        number = float(guess or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return "Make a guess first."
    return f"The answer is {told}. {_distance(number, answer)}"


def _distance(guess: float, answer: float) -> str:
    if f"{guess:.3g}" == f"{answer:.3g}":
        return "Your guess is right."
    off = f"Your guess is {_told(float(f'{abs(guess - answer):.3g}'))} too {'high' if guess > answer else 'low'}"
    ratio = guess / answer if answer else math.inf
    more = max(ratio, 1 / ratio if ratio else math.inf)
    if not 1.1 <= more < math.inf:
        return off + "."
    told = _told(float(f"{more:.2g}"))
    return off + (f", {told} times the answer." if ratio > 1 else f"; the answer is {told} times as large.")
