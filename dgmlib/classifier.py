"""A small image classifier that judges samples: what share of them is recognised, as which class, and how spread out::

    judge = load_classifier("digits", device)
    share, counts = judge.recognised(samples)      # samples: float (n, 1, 8, 8) in [0, 1]

The weights ship with the library; `python -m dgmlib.classifier --data mnist --out mnist.safetensors` makes them anew.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib import data
from dgmlib.checkpoint import load_checkpoint, save_checkpoint
from dgmlib.core import checked, need_between, need_count, need_levels, need_option, need_pixels
from dgmlib.train import fit, gradient_step

SIDES = {"digits": 8, "mnist": 28}
WEIGHTS = Path(__file__).parent / "weights"


class Recognised(NamedTuple):
    """`share` of the images given to some class with enough probability; how many of these to each class.

    >>> judge, digits = load_classifier("digits"), data.load("digits")
    >>> share, counts = judge.recognised(unit_scale(digits.test, digits.levels))
    >>> share > 0.9, len(counts)
    (True, 10)
    """

    share: float
    counts: Int64[Tensor, " classes"]


class ConvClassifier(nn.Module):
    """Three convolutions and two linear maps: square grey images with values in [0, 1] to logits of ten classes.

    `features`, `probabilities` and `recognised` refuse what is not such an image: TypeError (not floating),
    ValueError (shape, NaN, a value outside [0, 1]). `provenance` says how the weights were made.

    >>> classifier, images = ConvClassifier(8), torch.zeros(2, 1, 8, 8)
    >>> classifier(images).shape, classifier.features(images).shape
    (torch.Size([2, 10]), torch.Size([2, 64]))
    >>> classifier.probabilities(images).sum(1).round(decimals=4).tolist()
    [1.0, 1.0]
    """

    @checked
    def __init__(self, side: int, width: int = 24, n_features: int = 64, n_classes: int = 10, dropout: float = 0.25):
        super().__init__()
        need_count("width", width), need_count("n_features", n_features), need_count("n_classes", n_classes, 2)
        self.side, dropout = need_count("side", side, 4), need_between("dropout", dropout, 0.0, 1.0)
        self.provenance: dict[str, Any] = {}
        self.body = nn.Sequential(  # (batch, 1, side, side)
            nn.Conv2d(1, width, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),  # (batch, width, side/2, side/2)
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),  # (batch, 2 width, side/4, side/4)
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * (side // 4) ** 2, n_features),
            nn.SiLU(),  # (batch, n_features)
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_features, n_classes))

    @checked
    def forward(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.head(self.body(x))

    @checked
    def features(self, images: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch features"]:
        """The last layer before the logits: where images of one kind lie close together."""
        return self._evaluate(self.body, images)

    @checked
    def probabilities(self, images: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch classes"]:
        """p(class | image)."""
        return self._evaluate(self, images).softmax(1)

    @checked
    def recognised(self, images: Float[Tensor, "batch 1 side side"], threshold: float = 0.9) -> Recognised:
        """The share of images whose likeliest class has probability `threshold` or more, and their count by class.

        Not a test of being real: it was trained to answer 1/10 each to images of independent pixels, and noise is not
        recognised, but a digit upside down, or an empty picture, may well be.
        """
        need_between("threshold", threshold, 0, 1)
        probability, label = self.probabilities(images).max(1)
        sure = probability >= threshold
        return Recognised(float(sure.double().mean()), label[sure].bincount(minlength=self.head[-1].out_features))

    @torch.no_grad()
    def _evaluate(self, network: nn.Module, images: Tensor) -> Tensor:
        need_pixels("images", images)
        dtype = self.head[-1].weight.dtype
        return torch.cat([network(x.to(dtype)) for x in images.split(1000)]).to(images.dtype)

    def get_extra_state(self) -> dict[str, Any]:
        return self.provenance

    @checked
    def set_extra_state(self, provenance: dict[str, Any]) -> None:
        self.provenance = provenance


@checked
def load_classifier(name: str, device: torch.device | str = "cpu") -> ConvClassifier:
    """The shipped classifier of "digits" (8×8) or "mnist" (28×28), frozen, in eval mode.

    Raises: ValueError (unknown name; a weights file that is damaged or does not fit), FileNotFoundError.

    >>> judge = load_classifier("digits")
    >>> judge.training, sorted(judge.provenance)
    (False, ['accuracy', 'command', 'torch'])
    """
    path = WEIGHTS / f"{need_option('name', name, SIDES)}.safetensors"
    with torch.random.fork_rng(devices=[]):  # weights about to be replaced should not move the caller's dice
        classifier = ConvClassifier(SIDES[name]).float()  # whatever the caller's default dtype is
    load_checkpoint(path, {"classifier": classifier})
    return classifier.requires_grad_(False).eval().to(device)


@checked
def accuracy(
    classifier: ConvClassifier, images: Float[Tensor, "batch 1 side side"], labels: Int64[Tensor, " batch"]
) -> float:
    """The share of images whose likeliest class is their label.

    >>> digits = data.load("digits")
    >>> accuracy(load_classifier("digits"), unit_scale(digits.test, digits.levels), digits.test_labels) > 0.97
    True
    """
    probabilities = classifier.probabilities(images)
    need_levels("labels", labels, probabilities.shape[1])
    return float((probabilities.argmax(1) == labels).double().mean())


# --- training -------------------------------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """What was chosen for a data set, on its valid images.

    >>> RECIPES["mnist"]
    Recipe(epochs=6, batch_size=128, shift=2)
    """

    epochs: int
    batch_size: int
    shift: int


RECIPES = {"digits": Recipe(epochs=200, batch_size=64, shift=1), "mnist": Recipe(epochs=6, batch_size=128, shift=2)}


@checked
def unit_scale(x: UInt8[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """Grey values 0 to levels - 1 as numbers from 0 to 1, in the default dtype.

    >>> unit_scale(torch.tensor([0, 8, 16], dtype=torch.uint8), levels=17).tolist()
    [0.0, 0.5, 1.0]
    """
    return need_levels("x", x, need_count("levels", levels, 2)).to(torch.get_default_dtype()) / (levels - 1)


@checked
def augmented(
    x: UInt8[Tensor, "batch 1 h w"], levels: int, shift: int, generator: torch.Generator
) -> Float[Tensor, "batch 1 h w"]:
    """Images moved by up to `shift` pixels and shown in every form that samples come in.

    Half of them as grey values, a quarter dequantised, a quarter cut to black and white.

    >>> images = torch.full((3, 1, 8, 8), 16, dtype=torch.uint8)
    >>> augmented(images, levels=17, shift=1, generator=torch.Generator()).shape
    torch.Size([3, 1, 8, 8])
    """
    need_count("shift", shift, 0)
    n, _, h, w = x.shape
    top, left = torch.randint(2 * shift + 1, (2, n, 1), generator=generator, device=x.device)
    rows, columns = top + torch.arange(h, device=x.device), left + torch.arange(w, device=x.device)  # (n, h), (n, w)
    image = torch.arange(n, device=x.device)[:, None, None]
    x = F.pad(x, (shift,) * 4)[image, 0, rows[:, :, None], columns[:, None, :]][:, None]  # (n, 1, h, w)
    grey = unit_scale(x, levels)
    form = torch.randint(4, (n, 1, 1, 1), generator=generator, device=x.device)
    black_and_white = (grey >= 0.5).to(grey.dtype)
    return torch.where(
        form > 1, grey, torch.where(form == 1, black_and_white, data.dequantize(x, levels, generator=generator))
    )


@checked
def scrambled(x: Float[Tensor, "batch 1 h w"], generator: torch.Generator) -> Float[Tensor, "batch 1 h w"]:
    """Images of independent pixels: each pixel is that of another image of the batch, chosen at random.

    >>> x = torch.arange(4.0).view(1, 1, 2, 2).expand(3, 1, 2, 2)  # three images, all alike
    >>> torch.equal(scrambled(x, torch.Generator()), x)
    True
    """
    flat = x.flatten(1)
    return flat.gather(0, torch.randint(len(x), flat.shape, generator=generator, device=x.device)).view_as(x)


@checked
def train_classifier(name: str, seed: int = 0, device: torch.device | str = "cpu") -> ConvClassifier:
    """Train on the train images alone; the accuracies on valid and test are noted in `provenance`.

    A sixteenth of each batch is scrambled and has the uniform distribution as its target: without that, a classifier
    is sure of the class of many a picture of noise.

    Hendrycks, Mazeika & Dietterich (2019), "Deep anomaly detection with outlier exposure".

    >>> train_classifier("letters")
    Traceback (most recent call last):
    ValueError: name is 'letters', expected one of 'digits', 'mnist'
    """
    images, recipe = data.load(need_option("name", name, RECIPES), device), RECIPES[name]
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    classifier = ConvClassifier(SIDES[name]).to(device)

    def loss(model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator) -> Tensor:
        x, target = augmented(x, images.levels, recipe.shift, generator), F.one_hot(y, 10).to(torch.get_default_dtype())
        noise = torch.arange(len(x), device=x.device)[:, None] < len(x) // 16
        x = torch.where(noise[:, :, None, None], scrambled(x, generator), x)
        target = torch.where(noise, 0.1, target)
        return F.cross_entropy(model(x), target, reduction="none")

    batches = data.Batches(images.train, images.train_labels, batch_size=recipe.batch_size, generator=generator)
    n_steps = recipe.epochs * len(images.train) // recipe.batch_size
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=n_steps)
    fit(gradient_step(classifier, loss, optimizer, generator=generator, schedule=schedule), batches, n_steps)

    classifier.eval()
    scores = {
        split: accuracy(
            classifier, unit_scale(getattr(images, split), images.levels), getattr(images, f"{split}_labels")
        )
        for split in ("valid", "test")
    }
    command = f"python -m dgmlib.classifier --data {name} --seed {seed}"
    classifier.provenance = {"command": command, "torch": torch.__version__, "accuracy": scores}
    return classifier


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dgmlib.classifier", description="Train the judge of samples.")
    parser.add_argument("--data", choices=RECIPES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    classifier = train_classifier(options.data, options.seed, options.device)
    save_checkpoint(options.out, {"classifier": classifier})
    print(f"{options.out}: {classifier.provenance}")


if __name__ == "__main__":
    main()
