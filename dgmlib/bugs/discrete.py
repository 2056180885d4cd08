"""Wrong variants of `dgmlib.discrete` (chapter 11)."""

import torch
from torch import Tensor

from dgmlib.bugs import edit, f64, subject
from dgmlib.bugs.choices import gradients
from dgmlib.discrete import averaged_codebook, nearest_code, perplexity, vq_penalties

CHAPTER = "11"

CODEBOOK = f64((0.0, 1.0), (2.0, -1.0), (-1.5, 0.5))
VECTORS = f64((0.2, 0.6), (0.5, 0.1), (0.1, 1.9), (1.4, -1.2))
CODES = torch.tensor([0, 0, 0, 1, 3, 3])


def _vq_gradients(z: Tensor, code: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda a, b: sum((w * p for w, p in zip((1.0, 0.25), vq_penalties(a, b), strict=True))), z, code)


def _batch_means_averaged(codebook: Tensor, counts: Tensor, z: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    means, _ = averaged_codebook(codebook, counts, z, 0.0)
    return decay * codebook + (1 - decay) * means, averaged_codebook(codebook, counts, z, decay)[1]


SUBJECTS = (
    subject(
        "nearest-code",
        nearest_code,
        ((VECTORS, CODEBOOK),),
        {
            "nearest-by-product": edit("distances(rows, codebook).argmin(1)", "(rows @ codebook.T).argmax(1)"),
            "nearest-is-farthest": edit("argmin", "argmax"),
        },
    ),
    subject(
        "vq-gradients",
        _vq_gradients,
        ((VECTORS, CODEBOOK[nearest_code(VECTORS, CODEBOOK)]),),
        {
            "vq-stop-gradients-exchanged": edit(
                *("(z.detach() - code)", "(z - code.detach())"), *(", (z - code.detach())", ", (z.detach() - code)")
            ),
            "vq-no-stop-gradient": edit("z.detach()", "z", "code.detach()", "code"),
        },
        of=vq_penalties,
    ),
    subject(
        "averaged-codebook",
        averaged_codebook,
        ((CODEBOOK, f64((2.0, 1.0, 3.0))[0], VECTORS, 0.9),),
        {
            "codebook-of-sums": edit("sums / new_counts[:, None]", "sums"),
            "codebook-of-means": _batch_means_averaged,
        },
    ),
    subject(
        "perplexity",
        perplexity,
        ((CODES, 5),),
        {
            "perplexity-two-to-the-nats": edit(".exp()", ".exp2()"),
            "perplexity-counts-the-used": edit("torch.special.entr(p).sum().exp()", "(p > 0).double().sum()"),
        },
    ),
)
