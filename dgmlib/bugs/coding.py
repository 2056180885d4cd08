"""Wrong variants of `dgmlib.coding` (chapter 04)."""

import math
from itertools import pairwise

from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.coding import PRECISION, edges

CHAPTER = "04"


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
                "coder-empty-slice",
                "Frequencies are rounded down, and improbable values end with none.",
                lambda *logits: float(
                    int(2**PRECISION * math.exp(min(logits)) / sum(math.exp(logit) for logit in logits))
                ),
                name="empty slice",
                symptom="works for months, then one image cannot be coded",
                place="the rounding of frequencies",
                cure="give one unit to each value before the rest is shared out in proportion",
            ),
        ),
        of=edges,
    ),
)

SLIPS = {
    "coder-forgets-the-past": Slip(
        "Each pixel is coded with its law given an empty image.",
        name="every pixel coded blind",
        holds="code pixel i with p(x_i | x_<i), as the decoder will know those pixels too",
        misleads="round trips succeed, with more bits than the model promises",
    ),
    "coder-whole-bytes": Slip(
        "Each image's code word is filled up to whole bytes.",
        name="each image filled to whole bytes",
        holds="one stream for all images rounds up once; up to 7 bits an image are lost otherwise",
        misleads="with large images, where 7 bits are nothing",
    ),
    "softmax-free-logits": Slip(
        "The K outputs of a softmax are K free numbers.",
        name="K free numbers",
        holds="adding a constant to all logits changes nothing: K - 1 are free",
        misleads="when parameters are counted",
    ),
    "logistic-without-tails": Slip(
        "The outermost bins of the discretised logistic are as narrow as the others.",
        name="narrow outer bins",
        holds="the first and the last bin reach to minus and plus infinity, so that the masses sum to one",
        misleads="with means well inside the range",
    ),
    "suffix-as-prefix": Slip(
        "The marginal of the last pixels is the product of their conditionals, whatever came before.",
        name="last pixels by their conditionals",
        holds="the marginal of the last pixels sums over all that may come before them",
        misleads="when an image is completed from below",
    ),
}
