"""Example calls of `dgmlib.interactive`, as for the book: the tests set DGM_STATIC."""

import matplotlib.pyplot as plt

from dgmlib import interactive


def draw(k):
    return plt.figure(figsize=(1, 1))


CALLS = {
    "explore": (interactive.explore, {"draw": draw, "alt": "at {k}", "k": [1, 2]}, {"k": {"array", "list"}}),
    "predict": (interactive.predict, {"question": "how much", "answer": 0.5, "unit": "nats", "options": None}),
}
