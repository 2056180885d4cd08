"""Wrong variants of `dgmlib.nets` (chapter 02)."""

import torch
from torch import Tensor

from dgmlib.bugs import subject
from dgmlib.nets import backpropagate, critical_gain, signal_map

CHAPTER = "02"


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


WEIGHTS = [_t((0.5, -0.3), (0.2, 0.8), (-0.7, 0.4)), _t((0.6, -0.2, 0.3), (0.1, 0.9, -0.5), (0.4, 0.2, 0.7))]
WEIGHTS = [*WEIGHTS, _t((1.0, -0.6, 0.3), (0.2, 0.5, -0.8))]
BIASES = [_t(0.1, -0.2, 0.3), _t(0.0, 0.2, -0.1), _t(0.3, -0.4)]
X, Y = _t((1.0, -0.5), (0.3, 0.8), (-1.2, 0.4)), _t((0.5, 0.0), (-1.0, 0.7), (0.2, 0.9))
VARIANCES = _t(0.5, 1.0, 2.0)


def _slope(h: Tensor) -> Tensor:
    return 1 - h**2


def _backward(
    weights, biases, x, y, slope=_slope, carry=lambda delta, weight: delta @ weight, rows=None, bias=torch.sum
):
    """The backward pass with its parts exchangeable."""
    inputs = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(torch.tanh(inputs[-1] @ w.T + b))
    error = inputs[-1] @ weights[-1].T + biases[-1] - y
    delta, found = error / (rows or len(x)), []
    for layer in reversed(range(len(weights))):
        found.insert(0, (delta.T @ inputs[layer], bias(delta, 0)))
        if layer:
            delta = carry(delta, weights[layer]) * slope(inputs[layer])
    return error.square().sum(1) / 2, [w for w, _ in found], [b for _, b in found]


def _square_transposed(delta: Tensor, weight: Tensor) -> Tensor:
    return delta @ (weight.T if weight.shape[0] == weight.shape[1] else weight)


SUBJECTS = (
    subject(
        "backpropagation",
        backpropagate,
        ((WEIGHTS, BIASES, X, Y),),
        {
            "backprop-no-slope": lambda w, b, x, y: _backward(w, b, x, y, slope=torch.ones_like),
            "backprop-sigmoid-slope": lambda w, b, x, y: _backward(w, b, x, y, slope=lambda h: h * (1 - h)),
            "backprop-slope-of-the-value": lambda w, b, x, y: _backward(w, b, x, y, slope=lambda h: 1 - h.tanh() ** 2),
            "backprop-untransposed": lambda w, b, x, y: _backward(w, b, x, y, carry=_square_transposed),
            "backprop-bias-mean": lambda w, b, x, y: _backward(w, b, x, y, bias=torch.mean),
            "backprop-sum": lambda w, b, x, y: _backward(w, b, x, y, rows=1),
        },
    ),
    subject(
        "signal-map",
        signal_map,
        ((VARIANCES, torch.tanh, 1.7), (VARIANCES, torch.relu, 1.3)),
        {
            "signal-as-linear": lambda q, phi, w: (w * q, w * torch.ones_like(q)),
            "signal-variance-for-std": lambda q, phi, w: signal_map(q**2, phi, w),
            "signal-std-for-variance": lambda q, phi, w: signal_map(q, phi, w**2),
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
            "gain-squared": lambda phi: critical_gain(phi) ** 2,
        },
    ),
)
