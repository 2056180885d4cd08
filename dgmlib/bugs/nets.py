"""Wrong variants of `dgmlib.nets` (chapter 02)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
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
    Subject(
        "backpropagation",
        backpropagate,
        ((WEIGHTS, BIASES, X, Y),),
        (
            Bug(
                "backprop-no-slope",
                "The derivative of the activation is left out on the way back.",
                lambda w, b, x, y: _backward(w, b, x, y, slope=torch.ones_like),
                name="slope left out",
                symptom="the loss falls all the same, to a worse value",
                place="the factor phi' of each hidden layer",
                cure="delta_l = (W^T delta_{l+1}) times phi'(a_l)",
            ),
            Bug(
                "backprop-sigmoid-slope",
                "h (1 - h), the sigmoid's derivative, for tanh.",
                lambda w, b, x, y: _backward(w, b, x, y, slope=lambda h: h * (1 - h)),
                name="sigmoid's slope",
                symptom="layers far from the output move at random",
                place="the derivative of the activation",
                cure="1 - h^2 for tanh",
            ),
            Bug(
                "backprop-slope-of-the-value",
                "phi' evaluated at the activation h instead of at the pre-activation a.",
                lambda w, b, x, y: _backward(w, b, x, y, slope=lambda h: 1 - h.tanh() ** 2),
                name="slope at the activation",
                symptom="a small relative error that grows with depth",
                place="the argument of phi'",
                cure="take phi' at the pre-activation: 1 - tanh(a)^2 = 1 - h^2",
            ),
            Bug(
                "backprop-untransposed",
                "W delta for W^T delta: shapes agree wherever two neighbouring layers are equally wide.",
                lambda w, b, x, y: _backward(w, b, x, y, carry=_square_transposed),
                name="not transposed",
                symptom="runs without complaint when all layers have one width",
                place="the matrix that carries delta back",
                cure="carry back with the transpose: delta_l = (W^T delta_{l+1}) phi'(a_l)",
            ),
            Bug(
                "backprop-bias-mean",
                "The batch is averaged a second time in the gradient of the biases.",
                lambda w, b, x, y: _backward(w, b, x, y, bias=torch.mean),
                name="biases averaged twice",
                symptom="biases learn slower by the size of the batch; autograd disagrees on the biases alone",
                place="the reduction over the batch in the biases' gradient",
                cure="sum delta over the batch: the 1/n is in delta already",
            ),
            Bug(
                "backprop-sum",
                "The gradient of the summed loss beside the value of the mean one.",
                lambda w, b, x, y: _backward(w, b, x, y, rows=1),
                name="gradient of the sum",
                symptom="the best step size depends on the batch size",
                place="the 1/n in the first delta",
                cure="divide the error by the number of rows once: delta = (f - y)/n",
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
                name="activation ignored",
                symptom="a ReLU network halves its signal at each layer",
                place="the moments of phi(u) and phi'(u)",
                cure="w E phi(u)^2 and w E phi'(u)^2, u ~ N(0, q)",
            ),
            Bug(
                "signal-variance-for-std",
                "u drawn with the variance in the place of the standard deviation.",
                lambda q, phi, w: signal_map(q**2, phi, w),
                name="variance as deviation",
                symptom="right at a variance of one, wrong at every other",
                place="the scale of u",
                cure="draw u with standard deviation sqrt(q)",
            ),
            Bug(
                "signal-std-for-variance",
                "weight_var used as a standard deviation.",
                lambda q, phi, w: signal_map(q, phi, w**2),
                name="weights' variance squared",
                symptom="right at weight_var = 1 only",
                place="the factor of the two moments",
                cure="multiply by weight_var as it is",
            ),
            Bug(
                "signal-at-the-origin",
                "phi'(0)^2 for the mean of phi'(u)^2: right for tiny signals only, and 0 or 1 for a ReLU.",
                lambda q, phi, w: (
                    signal_map(q, phi, w)[0],
                    w * torch.full_like(q, float(phi(torch.tensor(1e-6)) / 1e-6) ** 2),
                ),
                name="slope at the origin",
                symptom="the signal is right, its sensitivity wrong for all but tiny signals",
                place="the mean of phi'(u)^2",
                cure="average over u: w E phi'(u)^2, u ~ N(0, q)",
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
                name="gain one",
                symptom="the signal of a 50-layer ReLU network is 2^-50 of what came in",
                place="the gain of the activation",
                cure="sqrt(2) for a ReLU: the gain that makes signals keep their size",
            ),
            Bug(
                "gain-squared",
                "The factor of the variance used for the standard deviation: 2 for a ReLU, not its root.",
                lambda phi: critical_gain(phi) ** 2,
                name="factor of the variance",
                symptom="activations overflow",
                place="the power of the gain",
                cure="take the root: the gain multiplies standard deviations",
            ),
        ),
    ),
)

SLIPS = {
    "unit-without-bias": Slip(
        "A unit without its bias: its plane has to pass through the origin.",
        name="no bias",
        holds="w . x + b: the bias moves the plane off the origin",
        misleads="with data centred at the border",
    ),
    "xor-by-a-line": Slip(
        "One unit is expected to separate what no line separates.",
        name="one unit for exclusive or",
        holds="no line separates it; two hidden units do",
        misleads="three of four points can be right",
    ),
    "mlp-activation-at-the-end": Slip(
        "An activation after the last map: the output cannot leave its range.",
        name="activation at the end",
        holds="the last map is affine, so that any value can come out",
        misleads="with targets inside the activation's range",
    ),
    "mlp-no-biases": Slip(
        "Parameters counted without the biases.",
        name="biases not counted",
        holds="a layer has fan_in * fan_out + fan_out numbers",
        misleads="with wide layers, where biases are few",
    ),
    "difference-one-sided": Slip(
        "A one-sided difference, whose error is of first order, where a central one was meant.",
        name="one-sided difference",
        holds="(f(x + h) - f(x - h))/2h has an error of order h^2, one-sided h",
        misleads="with small h, until rounding takes over",
    ),
    "width-is-infinite": Slip(
        "The limit of infinite width used for a deep and narrow network: the spread is missed.",
        name="width taken for infinite",
        holds="the spread of the log signal grows with depth over width",
        misleads="in shallow and wide networks",
    ),
    "residual-without-the-identity": Slip(
        "The Jacobian of a residual block written as that of its branch.",
        name="identity forgotten",
        holds="the Jacobian of x + f(x) is I + J_f",
        misleads="when gradients of a deep stack are estimated",
    ),
    "residual-blocks-add-variance-once": Slip(
        "Fifty residual blocks multiply the variance by 2^50; they do not add fifty.",
        name="variances add",
        holds="each block multiplies the variance by 1 + s^2: by 2^50 after fifty blocks with s = 1",
        misleads="with small s and few blocks both agree",
    ),
    "convolution-for-correlation": Slip(
        "The kernel flipped: deep-learning layers correlate.",
        name="kernel flipped",
        holds="y_i = sum_k w_k x_{i+k}: layers correlate",
        misleads="with symmetric kernels",
    ),
    "dense-layers-are-equivariant": Slip(
        "A layer without shared weights expected to follow a shift of its input.",
        name="dense layers follow a shift",
        holds="only shared weights commute with a shift",
        misleads="the data are often centred, so nobody shifts them",
    ),
    "transposed-for-inverse": Slip(
        "A transposed convolution taken for the inverse of a convolution.",
        name="transposed is inverse",
        holds="it has the adjoint matrix: right shapes, not the values that went in",
        misleads="with orthogonal kernels",
    ),
    "norm-unbiased-variance": Slip(
        "Normalisation by the n - 1 variance where layers use n.",
        name="divided by n - 1",
        holds="layers divide by n",
        misleads="with wide layers",
    ),
    "batch-norm-is-per-example": Slip(
        "Batch norm in training taken for a map of single examples.",
        name="batch norm sees one example",
        holds="in training each output depends on the whole batch; use running moments to evaluate",
        misleads="with large batches the dependence is weak",
    ),
    "norm-gradient-unchanged": Slip(
        "The gradient behind a normalisation taken to be blind to the size of its input.",
        name="gradient blind to size",
        holds="behind a normalisation the gradient falls like 1/size of the input",
        misleads="outputs do not change with the size",
    ),
    "units-differ-by-themselves": Slip(
        "Hidden units with equal weights expected to part during training.",
        name="equal units part",
        holds="equal weights get equal gradients and stay equal: draw them at random",
        misleads="with noise in the forward pass, such as dropout, they do part",
    ),
}
