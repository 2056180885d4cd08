"""Wrong variants of `dgmlib.nets` (chapter 02)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Subject
from dgmlib.nets import backpropagate, critical_gain, signal_map


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
    Subject(
        "backpropagation",
        backpropagate,
        ((WEIGHTS, BIASES, X, Y),),
        (
            Bug(
                "backprop-no-slope",
                "The derivative of the activation is left out on the way back.",
                lambda w, b, x, y: _backward(w, b, x, y, slope=torch.ones_like),
                "the loss falls all the same, to a worse value",
                "delta_l = (W^T delta_{l+1}) times phi'(a_l)",
            ),
            Bug(
                "backprop-sigmoid-slope",
                "h (1 - h), the sigmoid's derivative, for tanh.",
                lambda w, b, x, y: _backward(w, b, x, y, slope=lambda h: h * (1 - h)),
                "layers far from the output move at random",
                "1 - h^2",
            ),
            Bug(
                "backprop-slope-of-the-value",
                "phi' evaluated at the activation h instead of at the pre-activation a.",
                lambda w, b, x, y: _backward(w, b, x, y, slope=lambda h: 1 - h.tanh() ** 2),
                "a small relative error that grows with depth",
            ),
            Bug(
                "backprop-untransposed",
                "W delta for W^T delta: shapes agree wherever two neighbouring layers are equally wide.",
                lambda w, b, x, y: _backward(w, b, x, y, carry=_square_transposed),
                "runs without complaint when all layers have one width",
            ),
            Bug(
                "backprop-bias-mean",
                "The batch is averaged a second time in the gradient of the biases.",
                lambda w, b, x, y: _backward(w, b, x, y, bias=torch.mean),
            ),
            Bug(
                "backprop-sum",
                "The gradient of the summed loss beside the value of the mean one.",
                lambda w, b, x, y: _backward(w, b, x, y, rows=1),
                "the best step size depends on the batch size",
            ),
        ),
    ),
    Subject(
        "signal-map",
        signal_map,
        ((VARIANCES, torch.tanh, 1.7), (VARIANCES, torch.relu, 1.3)),
        (
            Bug(
                "signal-as-linear",
                "The activation is taken for the identity: weights of variance 1 / fan_in for every network.",
                lambda q, phi, w: (w * q, w * torch.ones_like(q)),
                "a ReLU network halves its signal at each layer",
            ),
            Bug(
                "signal-variance-for-std",
                "u drawn with the variance in the place of the standard deviation.",
                lambda q, phi, w: signal_map(q**2, phi, w),
            ),
            Bug(
                "signal-std-for-variance",
                "weight_var used as a standard deviation.",
                lambda q, phi, w: signal_map(q, phi, w**2),
            ),
            Bug(
                "signal-at-the-origin",
                "phi'(0)^2 for the mean of phi'(u)^2: right for tiny signals only, and 0 or 1 for a ReLU.",
                lambda q, phi, w: (
                    signal_map(q, phi, w)[0],
                    w * torch.full_like(q, float(phi(torch.tensor(1e-6)) / 1e-6) ** 2),
                ),
            ),
        ),
    ),
    Subject(
        "critical-gain",
        critical_gain,
        ((torch.relu,), (torch.tanh,)),
        (
            Bug(
                "gain-one",
                "Gain 1 whatever the activation.",
                lambda phi: 1.0,
                "the signal of a 50-layer ReLU network is 2^-50 of what came in",
            ),
            Bug(
                "gain-squared",
                "The factor of the variance used for the standard deviation: 2 for a ReLU, not its root.",
                lambda phi: critical_gain(phi) ** 2,
                "activations overflow",
            ),
        ),
    ),
)

SLIPS = {
    "unit-without-bias": "A unit without its bias: its plane has to pass through the origin.",
    "xor-by-a-line": "One unit is expected to separate what no line separates.",
    "mlp-activation-at-the-end": "An activation after the last map: the output cannot leave its range.",
    "mlp-no-biases": "Parameters counted without the biases.",
    "difference-one-sided": "A one-sided difference, whose error is of first order, where a central one was meant.",
    "width-is-infinite": "The limit of infinite width used for a deep and narrow network: the spread is missed.",
    "residual-without-the-identity": "The Jacobian of a residual block written as that of its branch.",
    "residual-blocks-add-variance-once": "Fifty residual blocks multiply the variance by 2^50; they do not add fifty.",
    "convolution-for-correlation": "The kernel flipped: deep-learning layers correlate.",
    "dense-layers-are-equivariant": "A layer without shared weights expected to follow a shift of its input.",
    "transposed-for-inverse": "A transposed convolution taken for the inverse of a convolution.",
    "norm-unbiased-variance": "Normalisation by the n - 1 variance where layers use n.",
    "batch-norm-is-per-example": "Batch norm in training taken for a map of single examples.",
    "norm-gradient-unchanged": "The gradient behind a normalisation taken to be blind to the size of its input.",
    "units-differ-by-themselves": "Hidden units with equal weights expected to part during training.",
}
