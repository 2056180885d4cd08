"""Wrong variants of `dgmlib.discrete` (chapter 11)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.bugs.choices import gradients
from dgmlib.discrete import averaged_codebook, nearest_code, perplexity, vq_penalties


def _rows(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


CODEBOOK = _rows((0.0, 1.0), (2.0, -1.0), (-1.5, 0.5))
VECTORS = _rows((0.2, 0.6), (0.5, 0.1), (0.1, 1.9), (1.4, -1.2))
CODES = torch.tensor([0, 0, 0, 1, 3, 3])

# --- variants that need more than one expression --------------------------------------------------------------------


def _vq_gradients(z: Tensor, code: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda a, b: sum((w * p for w, p in zip((1.0, 0.25), vq_penalties(a, b), strict=True))), z, code)


def _vq_exchanged(z: Tensor, code: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda a, b: sum((w * p for w, p in zip((0.25, 1.0), vq_penalties(a, b), strict=True))), z, code)


def _vq_attached(z: Tensor, code: Tensor) -> tuple[Tensor, ...]:
    return gradients(lambda a, b: 1.25 * (a - b).square().sum(-1), z, code)


def _without_division(codebook: Tensor, counts: Tensor, z: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    made, new_counts = averaged_codebook(codebook, counts, z, decay)
    return made * new_counts[:, None], new_counts


def _batch_means_averaged(codebook: Tensor, counts: Tensor, z: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    means, _ = averaged_codebook(codebook, counts, z, 0.0)
    return decay * codebook + (1 - decay) * means, averaged_codebook(codebook, counts, z, decay)[1]


SUBJECTS = (
    Subject(
        "nearest-code",
        nearest_code,
        ((VECTORS, CODEBOOK),),
        (
            Bug(
                "nearest-by-product",
                "The largest inner product, without the codes' lengths.",
                lambda z, codebook: (z @ codebook.T).argmax(-1),
                "long codes take everything",
                "subtract half the squared length",
            ),
            Bug(
                "nearest-is-farthest",
                "The arg max of the distances.",
                lambda z, codebook: torch.cdist(z, codebook).argmax(-1),
                "distances grow while training",
                "arg min",
            ),
        ),
    ),
    Subject(
        "vq-gradients",
        _vq_gradients,
        ((VECTORS, CODEBOOK[nearest_code(VECTORS, CODEBOOK)]),),
        (
            Bug(
                "vq-stop-gradients-exchanged",
                "beta weighs the codes' term, the commitment has weight 1.",
                _vq_exchanged,
                "the encoder is pulled to codes that have not learnt yet",
                "sg on z for the codes, sg on e for beta",
            ),
            Bug(
                "vq-no-stop-gradient",
                "No stop-gradient: both terms move both sides.",
                _vq_attached,
                "a commitment of 1 + beta: the encoder shrinks onto the codes",
                "detach z in the first, e in the second",
            ),
        ),
    ),
    Subject(
        "averaged-codebook",
        averaged_codebook,
        ((CODEBOOK, _rows((2.0, 1.0, 3.0))[0], VECTORS, 0.9),),
        (
            Bug(
                "codebook-of-sums",
                "The running sums, not divided by the running counts.",
                _without_division,
                "codes far outside the data",
                "divide by the counts",
            ),
            Bug(
                "codebook-of-means",
                "Batch means averaged, whatever the number of vectors behind them.",
                _batch_means_averaged,
                "rare codes are dragged about by single vectors",
                "average sums and counts, then divide",
            ),
        ),
    ),
    Subject(
        "perplexity",
        perplexity,
        ((CODES, 5),),
        (
            Bug(
                "perplexity-two-to-the-nats",
                "2 to the entropy in nats.",
                lambda codes, n_codes: 2.0 ** perplexity(codes, n_codes).log(),
                "never reaches the number of codes",
                "e to the nats, 2 to the bits",
            ),
            Bug(
                "perplexity-counts-the-used",
                "The number of codes met at all.",
                lambda codes, n_codes: torch.tensor(float(len(codes.unique())), dtype=torch.float64),
                "blind to a code used once in a million",
                "exp of the entropy",
            ),
        ),
    ),
)

SLIPS = {
    "shrunk-by-both-terms": "The pull on the codes taken to move the encoder too.",
    "vq-commitment-forgotten": "The commitment term left out of the loss.",
    "shannon-two-to-the-nats": "2 to the entropy in nats in Shannon's bound.",
    "quantiser-meets-shannon": "Shannon's bound on the distortion quoted for a quantiser of one number at a time.",
    "uniform-quantiser": "Equally likely cells taken for the best ones.",
    "codes-equally-likely": "log K nats charged for a code, however rarely it is used.",
    "quantiser-beats-shannon": "Shannon's bound on distortion, the wrong way round.",
    "vq-bound-without-prior": "The likelihood given the codes, without the price of the codes.",
    "vq-codebook-gets-decoder": "The decoder's gradient said to reach the codebook through the straight-through code.",
}
