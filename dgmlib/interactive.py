"""Where a reader acts: a slider under a figure, and a guess before an answer; without a kernel in the book."""

import base64
import hashlib
import html
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from dgmlib import plots
from dgmlib.core import checked


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
        TypeError (`draw` returns no figure).

    >>> explore(lambda: None, alt="a line")
    Traceback (most recent call last):
    ValueError: sliders is {}, expected at least one keyword with the values it stops at
    """
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
