"""What the chapters' prose says of measured runs, derived again from book/results."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = dict(enumerate("nought one two three four five six seven eight nine ten eleven twelve".split()))
NUMBERS |= dict(enumerate("thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split(), 13))


def prose(number: str) -> str:
    """All words of a chapter and its companions, their figures' alt texts among them."""
    paths = [*(ROOT / "chapters").glob(f"{number}_*.ipynb"), *(ROOT / "chapters").glob(f"{number}[a-z]_*.ipynb")]
    cells = [cell for path in paths for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def result(name: str) -> dict:
    return json.loads((ROOT / "book" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def percent(name: str, what: str, digits: int) -> str:
    return f"{100 * result(name)['also'][what]:.{digits}f}"


ZEROS, COINS, FVSBN = "zeros_binarized_mnist", "coins_binarized_mnist_500", "fvsbn_binarized_mnist"
DIFFUSION = "diffusion_mnist"
SHARE = "share called impossible without the prior, n = {:,}"
CLAIMS = [
    ("03", lambda: " over ".join([
        f"falls from {percent(ZEROS, SHARE.format(100), 2)} per cent at 100 training images",
        f"{percent(ZEROS, SHARE.format(1000), 2)} and {percent(ZEROS, SHARE.format(10_000), 2)} to "
        f"{percent(ZEROS, SHARE.format(50_000), 2)} per cent at 50,000",
    ])),
    ("03", lambda: f"to {result(ZEROS)['ours']:.1f} nats, while a dotted line at "
                   f"{result(ZEROS)['also']['the first 1,000 test images alone']:.1f} marks"),
    ("06", lambda: f"about {result(COINS)['ours']:.0f} nats an image, against {result(ZEROS)['ours']:.0f} for"),
    ("06", lambda: f"get below {int(result(FVSBN)['ours']) + 1}"),
    ("22", lambda: f"{NUMBERS[round(result(DIFFUSION)['minutes']['processor'])]} minutes of one processor thread"),
]  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim[0])
def test_sentences_about_measured_runs_are_true(claim):
    number, sentence = claim
    assert sentence() in prose(number)


def test_what_comparisons_say_of_the_order_holds():
    """10: the ladder beats its control, which gains next to nothing; 09: more samples beat fewer; 11: half is codes."""
    ladder, control, flat = (
        result(name)["ours"]
        for name in ("hierarchical_binarized_mnist", "hierarchical_one_layer", "vae_binarized_mnist")
    )
    assert ladder < control - 2 and abs(control - flat) < 0.5
    assert result("vae_compare_dreg5")["ours"] < result("vae_compare_elbo")["ours"]
    codes = result("vqvae_mnist")
    assert codes["also"]["of which for the codes"] > codes["ours"] / 2
    widened = result("vae_binarized_mnist")["also"]["with its deviations times 1.2, which validation images prefer"]
    assert widened < flat
