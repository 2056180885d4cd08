"""Example calls of `dgmlib.choices`."""

import torch
from exact import normal, rng

from dgmlib import choices

torch.manual_seed(0)
BITS, LABELS = choices.BitVAE(4, 3, (5,)).double(), choices.LabelVAE(4, 2, (5,), n_classes=3).double()
X, Z, VALUES, LOGITS = (normal(3, 4) > 0).double(), (normal(4, 3) > 0).double(), normal(4), normal(3)
ANY = {"NaN", "infinite"}  # logits, noise and values of f are not read: see the module
BOUNDLESS = {"infinite", "minus infinity"}


def height(z):
    return z.sum(-1)


CALLS = {
    "bit_score": (choices.bit_score, {"z": Z, "logits": LOGITS}, {"z": ANY, "logits": ANY}),
    "exact_gradient": (choices.exact_gradient, {"f": height, "logits": LOGITS}, {"logits": ANY}),
    "score_function_gradient": (
        choices.score_function_gradient,
        {"values": VALUES, "score": Z, "baseline": VALUES},
        {"values": ANY, "score": ANY, "baseline": ANY},
    ),
    "leave_one_out": (choices.leave_one_out, {"values": Z}, {"values": ANY}),
    "plane_gradient": (
        choices.plane_gradient,
        {"values": VALUES, "z": Z, "logits": LOGITS, "height": 0.5, "slope": LOGITS},
        {"values": ANY, "z": ANY, "logits": ANY, "height": BOUNDLESS, "slope": ANY},
    ),
    "surrogate": (
        choices.surrogate,
        {"values": VALUES, "log_q": VALUES, "baseline": 0.5},
        {"values": ANY, "log_q": ANY, "baseline": BOUNDLESS},
    ),
    "gumbel_like": (choices.gumbel_like, {"x": Z, "generator": rng(0)}, {"x": ANY}),
    "logistic_like": (choices.logistic_like, {"x": Z, "generator": rng(0)}, {"x": ANY}),
    "gumbel_softmax": (
        choices.gumbel_softmax,
        {"logits": LOGITS, "gumbels": Z, "temperature": 0.5},
        {"logits": ANY, "gumbels": ANY},
    ),
    "relaxed_bits": (
        choices.relaxed_bits,
        {"logits": LOGITS, "logistic": Z, "temperature": 0.5},
        {"logits": ANY, "logistic": ANY},
    ),
    "straight_through": (choices.straight_through, {"hard": Z, "soft": Z}, {"hard": ANY, "soft": ANY}),
    "relaxed_gradient": (
        choices.relaxed_gradient,
        {"f": height, "logits": LOGITS, "logistic": Z, "temperature": 0.5, "hard": False},
        {"logits": ANY, "logistic": ANY},
    ),
    "straight_through_gradient": (
        choices.straight_through_gradient,
        {"f": height, "logits": LOGITS, "z": Z},
        {"logits": ANY, "z": ANY},
    ),
    "relaxed_moments": (
        choices.relaxed_moments,
        {"slope": LOGITS, "curvature": torch.eye(3).double(), "logits": LOGITS, "temperature": 0.5, "hard": False},
        {"slope": ANY, "curvature": ANY, "logits": ANY},
    ),
    "BitVAE": (choices.BitVAE, {"d": 4, "bits": 3, "hidden": (5,)}),
    "BitVAE.log_likelihood": (BITS.log_likelihood, {"x": X, "z": Z[:3]}, {"z": ANY}),
    "BitVAE.table": (BITS.table, {"x": X}),
    "BitVAE.log_prob": (BITS.log_prob, {"x": X}),
    "BitVAE.sample": (BITS.sample, {"n": 2, "generator": rng(0)}),
    "BitVAE.elbo": (BITS.elbo, {"x": X, "estimator": "score", "n_samples": 2, "temperature": 0.5}),
    "bit_entropy": (choices.bit_entropy, {"logits": LOGITS}, {"logits": ANY}),
    "LabelVAE": (choices.LabelVAE, {"d": 4, "k": 2, "hidden": (5,), "n_classes": 3}),
    "LabelVAE.labelled_elbo": (LABELS.labelled_elbo, {"x": X, "label": torch.tensor([0, 1, 2])}),
    "LabelVAE.unlabelled_elbo": (LABELS.unlabelled_elbo, {"x": X, "n_samples": 2, "generator": rng(0)}),
    "label_sum": (choices.label_sum, {"bounds": Z, "logits": Z}, {"bounds": ANY, "logits": ANY}),
}
