"""Wrong variants of `dgmlib.nets` (chapter 02)."""

import torch

from dgmlib.bugs import edit, f64, subject
from dgmlib.nets import backpropagate, critical_gain, signal_map

CHAPTER = "02"

WEIGHTS = [f64((0.5, -0.3), (0.2, 0.8), (-0.7, 0.4)), f64((0.6, -0.2, 0.3), (0.1, 0.9, -0.5), (0.4, 0.2, 0.7))]
WEIGHTS = [*WEIGHTS, f64((1.0, -0.6, 0.3), (0.2, 0.5, -0.8))]
BIASES = [f64(0.1, -0.2, 0.3), f64(0.0, 0.2, -0.1), f64(0.3, -0.4)]
X, Y = f64((1.0, -0.5), (0.3, 0.8), (-1.2, 0.4)), f64((0.5, 0.0), (-1.0, 0.7), (0.2, 0.9))
VARIANCES = f64(0.5, 1.0, 2.0)

SUBJECTS = (
    subject(
        "backpropagation",
        backpropagate,
        ((WEIGHTS, BIASES, X, Y),),
        {
            "backprop-no-slope": edit(" * (1 - h**2)", ""),
            "backprop-sigmoid-slope": edit("(1 - h**2)", "(h * (1 - h))"),
            "backprop-slope-of-the-value": edit("1 - h**2", "1 - h.tanh() ** 2"),
            "backprop-untransposed": edit(
                "(delta @ weight)", "delta @ (weight.T if weight.shape[0] == weight.shape[1] else weight)"
            ),
            "backprop-bias-mean": edit("delta.sum(0)", "delta.mean(0)"),
            "backprop-sum": edit("error / len(x)", "error"),
        },
    ),
    subject(
        "signal-map",
        signal_map,
        ((VARIANCES, torch.tanh, 1.7), (VARIANCES, torch.relu, 1.3)),
        {
            "signal-as-linear": lambda q, phi, w: (w * q, w * torch.ones_like(q)),
            "signal-variance-for-std": edit("variance.double().sqrt()", "variance.double()"),
            "signal-std-for-variance": edit("(weight_var *", "(weight_var**2 *"),
            "signal-at-the-origin": lambda q, phi, w: (
                signal_map(q, phi, w)[0],
                w * torch.full_like(q, float(phi(torch.tensor(1e-6)) / 1e-6) ** 2),
            ),
        },
    ),
    subject(
        "critical-gain",
        critical_gain,
        ((torch.relu,), (torch.tanh,)),
        {
            "gain-one": lambda phi: 1.0,
            "gain-squared": edit("-0.5", "-1.0"),
        },
    ),
)
