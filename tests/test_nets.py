"""The small networks, the backward pass by hand, and signals in random networks."""

import math

import pytest
import torch
from exact import close, f64, rng
from scipy import integrate
from torch import nn
from torch.nn import functional as F

from dgmlib.bugs import wrong
from dgmlib.nets import (
    MLP,
    ResBlock,
    Residual,
    SelfAttention,
    UNet,
    backpropagate,
    critical_gain,
    normal_init,
    signal_map,
    time_features,
)

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


# --- layers ---------------------------------------------------------------------------------------------------------


def test_mlp_is_the_maps_and_activations_it_says():
    net = MLP([3, 5, 4, 2], nn.Tanh).double()
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (a, a0), (b, b0), (c, c0) = ((m.weight, m.bias) for m in net if isinstance(m, nn.Linear))
    expected = torch.tanh(torch.tanh(x @ a.T + a0) @ b.T + b0) @ c.T + c0
    assert torch.allclose(net(x), expected, atol=1e-12, rtol=0)
    assert not torch.allclose(net(x), expected.tanh(), atol=1e-3, rtol=0)  # no activation after the last map
    assert (len(net), net(x).dtype, net(x[None]).shape) == (5, torch.float64, (1, 7, 2))


def test_mlp_without_hidden_layer_is_linear():
    net = MLP([3, 2])
    assert [type(m) for m in net] == [nn.Linear]


def test_mlp_every_parameter_gets_a_finite_gradient_and_state_round_trips():
    net, other = MLP([3, 8, 2]), MLP([3, 8, 2])
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    net(x).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in net.parameters())
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    assert torch.allclose(net(x)[:2], net(x[:2]), atol=1e-6)


def test_mlp_can_be_cut_into_layers():
    net = MLP([3, 8, 2])
    x = torch.randn(6, 3, generator=rng())
    assert isinstance(net[1], nn.SiLU) and net[-1].out_features == 2
    assert torch.equal(net[2:](net[:2](x)), net(x))


def test_mlp_runs_on_the_meta_device():
    with torch.device("meta"):
        assert MLP([3, 8, 2])(torch.empty(4, 3)).shape == (4, 2)


@pytest.mark.parametrize(
    "sizes, error, sentence",
    [
        ([3], ValueError, r"sizes is \[3\], expected the input size"),
        ([3, 0, 1], ValueError, "sizes is 0, expected at least 1"),
        ([3, True], TypeError, r"sizes\[1\] is True, expected an int"),
    ],
)
def test_mlp_refuses_sizes_that_make_no_network(sizes, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        MLP(sizes)


@pytest.mark.equation("eq-net-residual")
@pytest.mark.notes("N4-005", "H4-03")
def test_a_residual_block_adds_its_branch_and_the_identity_to_the_jacobian():
    branch = MLP([3, 5, 3], nn.Tanh).double()
    x = torch.randn(3, generator=rng(1), dtype=torch.float64)
    jacobian, inner = (torch.autograd.functional.jacobian(f, x) for f in (Residual(branch, 0.25), branch))
    assert torch.allclose(jacobian, torch.eye(3) + 0.25 * inner, atol=1e-12, rtol=0)
    assert not torch.allclose(jacobian, 0.25 * inner, atol=1e-3, rtol=0)
    assert torch.allclose(Residual(branch)(x), x + branch(x), atol=1e-12, rtol=0)
    assert len(list(Residual(branch).parameters())) == 4


# --- the backward pass ----------------------------------------------------------------------------------------------


def network(*sizes, seed=0):
    torch.manual_seed(seed)
    net = MLP(sizes, nn.Tanh).double()
    maps = [m for m in net if isinstance(m, nn.Linear)]
    return net, [m.weight.detach() for m in maps], [m.bias.detach() for m in maps]


@pytest.mark.equation("eq-net-backprop")
@pytest.mark.notes("N0-010", "N4-009", "H0-05")
@pytest.mark.parametrize("sizes", [(3, 2), (2, 4, 1), (3, 4, 4, 2), (1, 1, 1, 1, 1)])
def test_backpropagation_by_hand_is_autograds(sizes):
    net, weights, biases = network(*sizes)
    x, y = (torch.randn(5, d, generator=rng(d), dtype=torch.float64) for d in (sizes[0], sizes[-1]))
    losses = (net(x) - y).square().sum(1) / 2
    losses.mean().backward()
    ours, weight_gradients, bias_gradients = backpropagate(weights, biases, x, y)
    assert torch.allclose(ours, losses, atol=1e-12, rtol=0)
    maps = [m for m in net if isinstance(m, nn.Linear)]
    for m, w, b in zip(maps, weight_gradients, bias_gradients, strict=True):
        assert torch.allclose(w, m.weight.grad, atol=1e-12, rtol=0)
        assert torch.allclose(b, m.bias.grad, atol=1e-12, rtol=0)


def test_backpropagation_agrees_with_finite_differences_and_its_wrong_variant_does_not():
    _, weights, biases = network(2, 3, 1)
    x, y = torch.randn(4, 2, generator=rng(), dtype=torch.float64), f64([0.5], [1.0], [-1.0], [0.0])

    def loss(entry):
        moved = weights[0].clone()
        moved[1, 0] = entry
        return float(backpropagate([moved, weights[1]], biases, x, y)[0].mean())

    at = float(weights[0][1, 0])
    difference = (loss(at + 1e-5) - loss(at - 1e-5)) / 2e-5
    assert float(backpropagate(weights, biases, x, y)[1][0][1, 0]) == pytest.approx(difference, rel=1e-7)
    bad = wrong("backpropagation", "backprop-no-slope")(weights, biases, x, y)[1][0][1, 0]
    assert float(bad) != pytest.approx(difference, rel=1e-3)


def test_backpropagation_leaves_its_arguments_alone_and_keeps_single_precision():
    weights, biases = [torch.ones(2, 3), torch.ones(1, 2)], [torch.zeros(2), torch.zeros(1)]
    losses, dw, db = backpropagate(weights, biases, torch.ones(4, 3), torch.zeros(4, 1))
    assert {t.dtype for t in (losses, *dw, *db)} == {torch.float32}
    assert torch.equal(weights[0], torch.ones(2, 3)) and torch.equal(biases[1], torch.zeros(1))


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-net-variance")
@pytest.mark.notes("H0-05")
@pytest.mark.parametrize("phi, slope", [(math.tanh, lambda u: 1 - math.tanh(u) ** 2), (math.sin, math.cos)])
def test_signal_map_is_the_gaussian_integral(phi, slope):
    q = f64(0.3, 1.0, 4.0)
    ours, back = signal_map(q, getattr(torch, phi.__name__), 1.7)

    def mean_square(f, sd):
        density = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
        return integrate.quad(lambda z: density(z) * f(sd * z) ** 2, -9, 9, epsabs=1e-13)[0]

    for i, variance in enumerate(q.tolist()):
        assert float(ours[i]) == pytest.approx(1.7 * mean_square(phi, math.sqrt(variance)), abs=1e-11)
        assert float(back[i]) == pytest.approx(1.7 * mean_square(slope, math.sqrt(variance)), abs=1e-11)


def test_signal_map_of_a_relu_halves_both_at_every_variance():
    for q in (f64(1e-6, 1.0, 50.0), f64([[2.0]])):
        ours, back = signal_map(q, torch.relu, 2.0)
        assert torch.allclose(ours, q, atol=0, rtol=1e-12)
        assert torch.allclose(back, torch.ones_like(q), atol=0, rtol=1e-12)
        assert ours.shape == back.shape == q.shape
    assert signal_map(torch.ones(2), torch.relu, 2.0)[0].dtype == torch.float32
    for half in (torch.float16, torch.bfloat16):
        ours = signal_map(torch.ones(1, dtype=half), torch.relu, 2.0)
        assert all(part.dtype == half and abs(float(part) - 1) <= torch.finfo(half).eps for part in ours)


@pytest.mark.equation("eq-net-gain")
def test_critical_gain_is_he_s_for_a_relu_and_keeps_variance_one():
    assert critical_gain(torch.relu) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert critical_gain(lambda u: 3 * u) == pytest.approx(1 / 3, rel=1e-12)
    for phi in (torch.tanh, nn.functional.silu):
        assert float(signal_map(f64(1.0), phi, critical_gain(phi) ** 2)[0]) == pytest.approx(1, rel=1e-12)
        assert float(signal_map(f64(1.0), phi, wrong("critical-gain", "gain-squared")(phi) ** 2)[0]) > 1.5


def test_normal_init_draws_what_it_says():
    net = nn.Sequential(nn.Linear(400, 500), nn.ReLU(), nn.Linear(500, 300, bias=False)).double()
    assert normal_init(net, 1.5, generator=rng(3)) is net
    assert not net[0].bias.any()
    for linear in (net[0], net[2]):
        w = linear.weight.detach() * math.sqrt(linear.in_features) / 1.5
        n = w.numel()
        assert abs(float(w.mean())) < Z / math.sqrt(n)
        assert abs(float(w.square().mean()) - 1) < Z * math.sqrt(2 / n)
    again = normal_init(MLP([4, 3]), 1.0, generator=rng(5))[0].weight
    assert torch.equal(again, normal_init(MLP([4, 3]), 1.0, generator=rng(5))[0].weight)
    assert normal_init(MLP([4, 3]), 0.0)[0].weight.abs().sum() == 0


# --- refusals -------------------------------------------------------------------------------------------------------

W, B, X, Y = [torch.ones(2, 3), torch.ones(1, 2)], [torch.ones(2), torch.ones(1)], torch.ones(4, 3), torch.ones(4, 1)
REFUSED = {
    "no layer": (lambda: backpropagate([], [], X, Y), ValueError, "weights has 0 and biases 0 entries"),
    "biases": (lambda: backpropagate(W, B[:1], X, Y), ValueError, "weights has 2 and biases 1 entries"),
    "chain": (
        lambda: backpropagate(W, B, X[:, :2], Y),
        ValueError,
        r"weights\[0\] has shape \(2, 3\), expected \(2, 2\)",
    ),
    "target": (lambda: backpropagate(W, B, X, Y[:3]), ValueError, r"y has shape \(3, 1\), expected \(4, 1\)"),
    "list": (lambda: backpropagate(W, B, [[1.0]], Y), TypeError, "x is a list"),
    "variance": (lambda: signal_map(f64(1.0, -1.0), torch.tanh, 1.0), ValueError, "the smallest variance is -1.0"),
    "weights": (lambda: signal_map(f64(1.0), torch.tanh, -1.0), ValueError, "weight_var is -1.0"),
    "bias list": (lambda: backpropagate(W, [[0.0] * 2] * 2, X, Y), TypeError, r"biases\[0\] is a list"),
    "weight list": (lambda: backpropagate([[0.0]] * 2, B, X, Y), TypeError, r"weights\[0\] is a list"),
    "infinite variance": (lambda: signal_map(f64(math.inf), torch.tanh, 1.0), ValueError, "variance has 1 NaN or inf"),
    "infinite weights": (lambda: signal_map(f64(1.0), torch.tanh, math.inf), ValueError, "weight_var is inf"),
    "single": (lambda: MLP([3, 2]).double()(X.float()), TypeError, "x has dtype torch.float32, expected torch.float64"),
    "wide": (lambda: MLP([3, 2]).double()(X[:, :2]), ValueError, r"x has shape \(4, 2\), expected .*3"),
    "not elementwise": (lambda: signal_map(f64(1.0), torch.sum, 1.0), ValueError, r"activation\(u\) has shape"),
    "infinite gain": (lambda: normal_init(MLP([2, 1]), math.inf), ValueError, "gain is inf"),
    "block": (lambda: ResBlock(8, 0, 4), ValueError, "c_out is 0"),
    "silent": (lambda: critical_gain(torch.zeros_like), ValueError, r"E activation\(u\)\^2 is 0.0"),
    "number": (lambda: signal_map(1.0, torch.tanh, 1.0), TypeError, "variance is a float"),
    "gain": (lambda: normal_init(MLP([2, 1]), -1.0), ValueError, "gain is -1.0"),
    "no map": (lambda: normal_init(nn.ReLU(), 1.0), ValueError, "net has no nn.Linear"),
    "scale": (lambda: Residual(nn.ReLU(), 0.0), ValueError, "scale is 0.0"),
    "branch": (lambda: Residual(nn.Linear(3, 2))(X), ValueError, r"branch\(x\) has shape \(4, 2\), expected \(4, 3\)"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("call, error, sentence", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_sentence(call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()


# --- what a duplicated unit is --------------------------------------------------------------------------------------


def test_a_duplicated_unit_can_stand_at_a_local_minimum_though_two_do_better():
    """Fukumizu & Amari (2000): residuals across the gradient's space, chosen so that the form across the set is 1."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    value = torch.tanh(x + 0.5)
    first, second = 1 - value**2, -2 * value * (1 - value**2)
    tangent = torch.stack([value, first, first * x], 1)
    across = torch.stack([second, second * x, second * x**2], 1)
    across = across - tangent @ torch.linalg.lstsq(tangent, across).solution
    residual = across @ torch.linalg.solve(across.mT @ across, f64(1.0, 0.0, 1.0))
    y = value - 0.1 * residual / residual.norm()

    def loss(theta):
        w, b, v = theta.view(3, 2)
        return ((torch.tanh(x[:, None] * w + b) @ v - y) ** 2).sum() / 2

    twice = f64(1.0, 1.0, 0.5, 0.5, 0.5, 0.5)
    close(torch.func.grad(loss)(twice), torch.zeros(6), atol=1e-12)
    spectrum = torch.linalg.eigvalsh(torch.func.hessian(loss)(twice))
    assert abs(float(spectrum[0])) < 1e-10 and spectrum[1] > 1e-4  # flat only in how the two share v
    better = f64(-0.02614, 0.86593, -0.01449, 0.43695, 2.12723, 1.16301)  # one unit tanh, the other nearly a line
    assert loss(better) < 0.75 * loss(twice)


# --- U-Net ----------------------------------------------------------------------------------------------------------


def awake(network, seed=0):
    """The network with every zero that it starts from replaced by small noise."""
    generator = rng(seed)
    with torch.no_grad():
        for p in network.parameters():
            if not p.any():
                p.copy_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network


def small_unet(**options):
    torch.manual_seed(0)
    return awake(UNet(**{"channels": 2, "widths": (16, 24), "n_blocks": 2} | options).double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_time_features_of_half_precision_are_those_of_its_own_times(dtype):
    t = torch.tensor([0.1, 0.37, 0.999]).to(dtype)
    ours, exact = time_features(t, 16), time_features(t.double(), 16)
    assert ours.dtype == dtype and float((ours.double() - exact).abs().max()) < torch.finfo(dtype).eps


@pytest.mark.equation("eq-diff-time")
def test_time_features_are_cosines_and_sines_of_falling_frequency():
    t, n = f64(0.0, 0.3, 1.0), 6
    w = f64(1.0, 10_000**-0.5, 1e-4)
    expected = torch.cat([(1000 * t[:, None] * w).cos(), (1000 * t[:, None] * w).sin()], 1)
    assert torch.allclose(time_features(t, n), expected, rtol=0, atol=1e-10)
    steps = time_features(torch.arange(1001, dtype=torch.float64) / 1000, 64)
    assert torch.cdist(steps, steps).add(9 * torch.eye(1001)).min() > 0.1  # no two of a thousand steps look alike


@pytest.mark.notes("H0-23")
def test_unet_keeps_the_shape_starts_at_zero_and_reads_its_time():
    torch.manual_seed(0)
    x, t = torch.randn(3, 2, 8, 12, generator=rng()), torch.tensor([0.1, 0.5, 0.9])
    assert not UNet(2, (8, 12))(x, t).any()
    net = small_unet()
    x, t = x.double(), t.double()
    y = net(x, t)
    assert y.shape == x.shape and y.dtype == torch.float64
    assert torch.allclose(torch.cat([net(x[i : i + 1], t[i : i + 1]) for i in range(3)]), y, rtol=0, atol=1e-10)
    moved = (net(x, t + 0.01) - y).abs().flatten(1).amax(1)
    assert (moved > 1e-4).all()


@pytest.mark.parametrize(
    "options", [{}, {"fold": 2}, {"widths": (16,), "n_blocks": 1}, {"widths": (16, 16, 24)}], ids=str
)
def test_unet_learns_with_every_parameter_and_its_state_survives(options):
    net, x, t = small_unet(**options), torch.randn(3, 2, 8, 8, generator=rng(), dtype=torch.float64), f64(0.1, 0.5, 0.9)
    y = net(x, t)
    (y * torch.randn(y.shape, generator=rng(1), dtype=y.dtype)).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 1e-9, name
    twin = UNet(**{"channels": 2, "widths": (16, 24), "n_blocks": 2} | options).double()
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(x, t), y)
    last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), t)
    assert torch.allclose(last, y, rtol=0, atol=1e-9)
    with torch.device("meta"):
        made = UNet(2, (8, 12), fold=2)(torch.empty(3, 2, 8, 8), torch.empty(3))
    assert made.shape == (3, 2, 8, 8)


def test_unet_sees_far_and_its_skips_carry_detail():
    net, t = small_unet(), f64(0.4)
    x = torch.randn(1, 2, 8, 8, generator=rng(), dtype=torch.float64).requires_grad_()
    (far,) = torch.autograd.grad(net(x, t)[0, 0, 0, 0], x)
    assert (far != 0).all()  # one output sees every pixel, through the bottom
    with torch.no_grad():
        for p in net.across.parameters():
            p.zero_()
        for p in net.grow.parameters():
            p.zero_()  # nothing comes up from below
    (near,) = torch.autograd.grad(net(x, t)[0, 0, 3, 3], x)
    assert (near != 0).any() and net.down[0][0](net.enter(x), net.time(time_features(t, 64))).shape[-1] == 8
    half = [module for module in net.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
    assert len(half) == 1 == len(net.grow)


def test_a_folded_unet_is_the_unet_of_the_folded_picture():
    folded = small_unet(channels=1, fold=2)
    plain = UNet(4, (16, 24), n_blocks=2).double()
    plain.load_state_dict(folded.state_dict())
    x, t = torch.randn(2, 1, 8, 8, generator=rng(), dtype=torch.float64), f64(0.2, 0.7)
    expected = F.pixel_shuffle(plain(F.pixel_unshuffle(x, 2), t), 2)
    assert torch.allclose(folded(x, t), expected, rtol=0, atol=1e-12)


def test_a_residual_block_is_what_it_says():
    torch.manual_seed(0)
    block = ResBlock(8, 12, 5).double()
    x, time = torch.randn(2, 8, 4, 4, generator=rng(), dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(block(x, time), block.shortcut(x))  # as it starts
    awake(block)
    h = F.conv2d(
        F.silu(F.group_norm(x, 8, block.norm1.weight, block.norm1.bias)),
        block.conv1.weight,
        block.conv1.bias,
        padding=1,
    )
    scale, shift = (time @ block.modulation.weight.T + block.modulation.bias).split(12, 1)
    h = F.group_norm(h, 4, block.norm2.weight, block.norm2.bias) * (1 + scale[..., None, None]) + shift[..., None, None]
    expected = block.shortcut(x) + F.conv2d(F.silu(h), block.conv2.weight, block.conv2.bias, padding=1)
    assert torch.allclose(block(x, time), expected, rtol=0, atol=1e-10)
    assert isinstance(ResBlock(8, 8, 5).shortcut, nn.Identity)


def test_self_attention_is_a_softmax_over_places():
    torch.manual_seed(0)
    layer = SelfAttention(8).double()
    x = torch.randn(2, 8, 3, 2, generator=rng(), dtype=torch.float64)
    assert torch.equal(layer(x), x)  # as it starts
    awake(layer)
    q, k, v = (
        F.group_norm(x, 8, layer.norm.weight, layer.norm.bias).flatten(2).mT @ layer.qkv.weight[:, :, 0, 0].T
        + layer.qkv.bias
    ).split(8, 2)
    seen = (q @ k.mT / math.sqrt(8)).softmax(-1) @ v
    out = (seen @ layer.out.weight[:, :, 0, 0].T + layer.out.bias).mT.reshape(x.shape)
    assert torch.allclose(layer(x), x + out, rtol=0, atol=1e-10)


PICTURE, CLOCK = torch.zeros(2, 1, 8, 8), torch.zeros(2)
UNET_REFUSED = {
    "n_features is 7, expected an even number": lambda: time_features(CLOCK, 7),
    "n_features is 2, expected at least 4": lambda: time_features(CLOCK, 2),
    "t has shape (2, 1), expected 1 axes": lambda: time_features(CLOCK[:, None], 8),
    "t has dtype torch.int64": lambda: time_features(CLOCK.long(), 8),
    "channels is 0, expected at least 1": lambda: UNet(0),
    "widths is empty": lambda: UNet(1, ()),
    "widths is 0, expected at least 1": lambda: UNet(1, (8, 0)),
    "n_blocks is 0, expected at least 1": lambda: UNet(1, (8,), n_blocks=0),
    "fold is 2.0, expected an int": lambda: UNet(1, (8,), fold=2.0),
    "x has shape (2, 1, 8, 8), expected (2, 2, 8, 8)": lambda: UNet(2, (8,))(PICTURE, CLOCK),
    "x has dtype torch.uint8": lambda: UNet(1, (8,))(PICTURE.to(torch.uint8), CLOCK),
    "t has shape (2,), expected (1,)": lambda: UNet(1, (8,))(PICTURE[:1], CLOCK),
    "x has sides (8, 8), expected multiples of 16": lambda: UNet(1, (8, 8), fold=8)(PICTURE, CLOCK),
}


@pytest.mark.parametrize("sentence", UNET_REFUSED)
def test_a_unet_refuses_in_one_sentence(sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        UNET_REFUSED[sentence]()
    assert str(refusal.value).startswith(sentence)
