"""Example calls of `dgmlib.nets`."""

import torch
from exact import f64, rng
from torch import nn

from dgmlib import nets

torch.manual_seed(0)
X = f64((1.0, 2.0), (0.5, -1.0), (0.0, 3.0))
UNET = nets.UNet(1, (8, 8))
IMAGES = torch.randn(2, 1, 8, 8, generator=rng(0))
T = torch.tensor([0.1, 0.9])
ANY = {"NaN", "infinite"}  # a network shows what it is given

CALLS = {
    "MLP": (nets.MLP, {"sizes": [2, 3, 1], "activation": nn.SiLU}),
    "MLP.forward": (nets.MLP([2, 3, 1]).double().forward, {"x": X}, {"x": ANY}),
    "Residual": (nets.Residual, {"branch": nn.Identity(), "scale": 0.5}),
    "Residual.forward": (nets.Residual(nn.Tanh()).forward, {"x": X}, {"x": ANY}),
    "backpropagate": (
        nets.backpropagate,
        {"weights": [X.mT], "biases": [f64(0.1, 0.2)], "x": X.mT, "y": X[:2]},
        {key: ANY for key in ("weights", "biases", "x", "y")},
    ),
    "signal_map": (nets.signal_map, {"variance": f64(0.5, 2.0), "activation": torch.tanh, "weight_var": 1.0}),
    "critical_gain": (nets.critical_gain, {"activation": torch.tanh}),
    "normal_init": (nets.normal_init, {"net": nets.MLP([2, 3, 1]), "gain": 1.0, "generator": rng(0)}),
    "time_features": (nets.time_features, {"t": T, "n_features": 8}, {"t": ANY}),
    "ResBlock": (nets.ResBlock, {"c_in": 4, "c_out": 8, "d_time": 6}),
    "ResBlock.forward": (
        nets.ResBlock(1, 4, 6).forward,
        {"x": IMAGES, "time": torch.ones(2, 6)},
        {"x": ANY, "time": ANY},
    ),
    "SelfAttention": (nets.SelfAttention, {"channels": 4}),
    "SelfAttention.forward": (nets.SelfAttention(1).forward, {"x": IMAGES}, {"x": ANY}),
    "UNet": (nets.UNet, {"channels": 1, "widths": (8, 8), "n_blocks": 1, "fold": 1}),
    "UNet.forward": (UNET.forward, {"x": IMAGES, "t": T}, {"x": ANY, "t": ANY}),
}
