"""Wrong variants of `dgmlib.coding` (chapter 04)."""

import math
from itertools import pairwise

from dgmlib.bugs import subject
from dgmlib.coding import PRECISION, edges

CHAPTER = "04"


def smallest_slice(*logits: float) -> float:
    """What `edges` leaves to the least likely value, in units of 2^-PRECISION."""
    ends = edges(logits)
    return float(min(b - a for a, b in pairwise(ends)))


SUBJECTS = (
    subject(
        "coder-smallest-slice",
        smallest_slice,
        ((40.0, 0.0), (0.0, -30.0, 1.0)),
        {
            "coder-empty-slice": lambda *logits: float(
                int(2**PRECISION * math.exp(min(logits)) / sum(math.exp(logit) for logit in logits))
            ),
        },
        of=edges,
    ),
)
