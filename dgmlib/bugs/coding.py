"""Wrong variants of `dgmlib.coding` (chapter 04)."""

import math
from itertools import pairwise

from dgmlib.bugs import Bug, Subject
from dgmlib.coding import PRECISION, edges


def smallest_slice(*logits: float) -> float:
    """What `edges` leaves to the least likely value, in units of 2^-PRECISION."""
    ends = edges(logits)
    return float(min(b - a for a, b in pairwise(ends)))


SUBJECTS = (
    Subject(
        name="coder-smallest-slice",
        right=smallest_slice,
        probes=((40.0, 0.0), (0.0, -30.0, 1.0)),
        bugs=(
            Bug(
                id="coder-empty-slice",
                story="Frequencies are rounded down, and improbable values end with none.",
                wrong=lambda *logits: float(
                    int(2**PRECISION * math.exp(min(logits)) / sum(math.exp(logit) for logit in logits))
                ),
                symptom="works for months, then one image cannot be coded",
                cure="one unit for each value before the rest is shared out",
            ),
        ),
    ),
)

SLIPS = {
    "coder-forgets-the-past": "Each pixel is coded with its law given an empty image.",
    "coder-whole-bytes": "Each image's code word is filled up to whole bytes.",
    "softmax-free-logits": "The K outputs of a softmax are K free numbers.",
    "logistic-without-tails": "The outermost bins of the discretised logistic are as narrow as the others.",
    "suffix-as-prefix": "The marginal of the last pixels is the product of their conditionals, whatever came before.",
}
