"""Samples for the landing page, cut at build time out of the figures that the measured runs and the chapters made."""

import base64
import csv
import io
from html import escape

import numpy as np
from course import Course
from PIL import Image

ACROSS, DOWN, SIDE = 3, 2, 32  # tiles of one picture, and their side in pixels


def tiles(figure: Image.Image, columns: int) -> list[list[Image.Image]]:
    """The rows of `columns` square pictures in a figure: light on dark, on white, at equal distances."""
    picture = figure.convert("L")
    dark = np.asarray(picture) < 128
    edges = np.flatnonzero(np.diff(np.pad(dark.mean(axis=1) > 0.15, 1).astype(int)))
    rows = []
    for top, bottom in edges.reshape(-1, 2).tolist():
        side = bottom - top
        if side < 12:  # an axis, a line of text
            continue
        left, *_, right = np.flatnonzero(dark[top:bottom].mean(axis=0) > 0.25).tolist()
        step = (right + 1 - side - left) / (columns - 1)
        starts = [round(left + i * step) for i in range(columns)]
        rows.append([picture.crop((start, top, start + side, bottom)) for start in starts])
    return rows


def figure_of(course: Course, chapter: str, source: str) -> Image.Image | None:
    """The figure of a measured run, or else of the chapter's cell with that id; None while there is neither."""
    path = course.root / "book" / "results" / f"{source}.png"
    if path.exists():
        return Image.open(path)
    cells = course.chapters[chapter].cells if chapter in course.chapters else []
    for output in (output for cell in cells if cell.get("id") == source for output in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            return Image.open(io.BytesIO(base64.b64decode("".join(output["data"]["image/png"]))))
    return None


def first_samples(figure: Image.Image, columns: int, row: int) -> str | None:
    """The first six pictures from the figure's given row on, as a data address; None if it has fewer."""
    found = [tile for line in tiles(figure, columns)[row : row + DOWN] for tile in line[: ACROSS * DOWN]]
    if len(found) < ACROSS * DOWN:
        return None
    sheet = Image.new("L", (ACROSS * (SIDE + 2) - 2, DOWN * (SIDE + 2) - 2), 119)
    for i, tile in enumerate(found[: ACROSS * DOWN]):
        corner = (i % ACROSS * (SIDE + 2), i // ACROSS * (SIDE + 2))
        sheet.paste(tile.resize((SIDE, SIDE), Image.Resampling.BOX), corner)
    content = io.BytesIO()
    sheet.quantize(16).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def strip(course: Course) -> str:
    """One picture a family, each a link to its chapter; families without figure or chapter are left out."""
    with (course.root / "book" / "samples.csv").open(encoding="utf-8", newline="") as file:
        families = list(csv.DictReader(file))
    cards = []
    for family in families:
        figure = figure_of(course, family["chapter"], family["source"])
        picture = figure and first_samples(figure, int(family["columns"]), int(family["row"]))
        if not picture or family["chapter"] not in course.chapters:
            continue
        name, chapter = escape(family["family"]), course.chapters[family["chapter"]]
        alt = f"Six unselected samples of chapter {chapter.number}, handwritten digits: {name}."
        cards.append(
            f'<a href="../chapters/{chapter.slug}.html">'
            f'<img src="{picture}" alt="{alt}" width="{ACROSS * SIDE}" height="{DOWN * SIDE}"/>'
            f"<span>{name}</span></a>"
        )
    return f'<div class="samples">{"".join(cards)}</div>\n' if cards else ""
