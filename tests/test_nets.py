"""The small networks."""

import pytest
import torch
from torch import nn

from dgmlib.nets import MLP


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


def test_mlp_runs_on_the_meta_device():
    with torch.device("meta"):
        assert MLP([3, 8, 2])(torch.empty(4, 3)).shape == (4, 2)


@pytest.mark.parametrize(
    "sizes, error, sentence",
    [
        ([3], ValueError, r"sizes is \[3\], expected the input size"),
        ([3, 0, 1], ValueError, "sizes is 0, expected at least 1"),
        ([3, True], TypeError, "sizes is True, expected an int"),
    ],
)
def test_mlp_refuses_sizes_that_make_no_network(sizes, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        MLP(sizes)
