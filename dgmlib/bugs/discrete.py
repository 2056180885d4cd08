"""Wrong variants of `dgmlib.discrete` (chapter 11)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.bugs.choices import gradients
from dgmlib.discrete import averaged_codebook, nearest_code, perplexity, vq_penalties

CHAPTER = "11"


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
                name="lengths of the codes ignored",
                symptom="long codes take everything",
                place="the term |e|^2 of the squared distance",
                cure="subtract half the squared length: arg max of z . e - |e|^2 / 2",
            ),
            Bug(
                "nearest-is-farthest",
                "The arg max of the distances.",
                lambda z, codebook: torch.cdist(z, codebook).argmax(-1),
                name="the farthest code",
                symptom="distances grow while training",
                place="the direction of the search",
                cure="arg min of the distances",
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
                name="the two weights exchanged",
                symptom="the encoder is pulled to codes that have not learnt yet",
                place="which side each term detaches",
                cure="|sg(z) - e|^2 + beta |z - sg(e)|^2: sg on z for the codes, sg on e for beta",
            ),
            Bug(
                "vq-no-stop-gradient",
                "No stop-gradient: both terms move both sides.",
                _vq_attached,
                name="nothing detached",
                symptom="a commitment of 1 + beta: the encoder shrinks onto the codes",
                place="the stop-gradients of both terms",
                cure="detach z in the first term, e in the second",
            ),
        ),
        of=vq_penalties,
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
                name="sums not divided",
                symptom="codes far outside the data",
                place="the division by the running counts",
                cure="divide the running sums by the running counts",
            ),
            Bug(
                "codebook-of-means",
                "Batch means averaged, whatever the number of vectors behind them.",
                _batch_means_averaged,
                name="batch means averaged",
                symptom="rare codes are dragged about by single vectors",
                place="what is averaged over time: means, or sums and counts",
                cure="average sums and counts, then divide",
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
                name="2 to the nats",
                symptom="never reaches the number of codes",
                place="the base of the power",
                cure="e to the nats, or 2 to the bits",
            ),
            Bug(
                "perplexity-counts-the-used",
                "The number of codes met at all.",
                lambda codes, n_codes: torch.tensor(float(len(codes.unique())), dtype=torch.float64),
                name="codes met counted",
                symptom="blind to a code used once in a million",
                place="the weight of a rare code",
                cure="exp of the entropy of the frequencies: exp(-sum p log p)",
            ),
        ),
    ),
)

SLIPS = {
    "shrunk-by-both-terms": Slip(
        "The pull on the codes taken to move the encoder too.",
        name="both terms move the encoder",
        holds="the codes' term detaches z: only the commitment, beta |z - sg(e)|^2, moves the encoder",
        misleads="values of both terms are equal, so the loss does not show it",
    ),
    "vq-commitment-forgotten": Slip(
        "The commitment term left out of the loss.",
        name="no commitment",
        holds="add beta |z - sg(e)|^2, or the encoder may outgrow its codes",
        misleads="as long as the codes follow fast enough",
    ),
    "shannon-two-to-the-nats": Slip(
        "2 to the entropy in nats in Shannon's bound.",
        name="2 to the nats in Shannon's bound",
        holds="D >= variance * exp(-2 R) with R in nats, 2^(-2 R) with R in bits",
        misleads="the bound looks beaten, or too easy",
    ),
    "quantiser-meets-shannon": Slip(
        "Shannon's bound on the distortion quoted for a quantiser of one number at a time.",
        name="one number at a time meets the bound",
        holds=(
            "at high rates a scalar quantiser with entropy coding lies (1/2) log2(pi e/6) = 0.25 bits above it; only "
            "long blocks come near"
        ),
        misleads="at low rates, where the two are close",
    ),
    "uniform-quantiser": Slip(
        "Equally likely cells taken for the best ones.",
        name="equally likely cells are best",
        holds=(
            "the K best cells are equally likely only for a uniform law: at high rates their density goes like p^(1/3)"
        ),
        misleads="for the uniform law, where both rules agree",
    ),
    "codes-equally-likely": Slip(
        "log K nats charged for a code, however rarely it is used.",
        name="log K nats a code",
        holds="a code costs -log of its frequency, on average the entropy, at most log K",
        misleads="when some codes are hardly used",
    ),
    "quantiser-beats-shannon": Slip(
        "Shannon's bound on distortion, the wrong way round.",
        name="Shannon's bound turned round",
        holds="distortion is at least Shannon's D(R)",
        misleads="when a bound is read as an achievement",
    ),
    "vq-bound-without-prior": Slip(
        "The likelihood given the codes, without the price of the codes.",
        name="the code's price left out",
        holds="-log p(x) <= -log p(x | codes) - log p(codes)",
        misleads="reported bits are then below what any decoder can do with",
    ),
    "vq-codebook-gets-decoder": Slip(
        "The decoder's gradient said to reach the codebook through the straight-through code.",
        name="decoder's gradient to the codebook",
        holds="z + sg(e - z) passes the gradient to z only; the codebook has its own term or running means",
        misleads="the codebook moves all the same",
    ),
}
