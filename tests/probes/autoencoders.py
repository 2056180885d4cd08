"""Example calls of `dgmlib.autoencoders`."""

import torch
from exact import f64, normal, rng
from torch import nn

from dgmlib import autoencoders as ae

X, CODES = normal(6, 3), normal(6, 2, seed=1).sigmoid()
DECODER, ENCODER = normal(3, 2, seed=2), normal(2, 3, seed=3)
COV = X.mT @ X + torch.eye(3)
MODEL, INDEX = ae.dense_autoencoder([3, 4, 2]).double(), ae.IndexCode(X)
ANY = {"NaN", "infinite"}  # objectives and networks show what they are given

CALLS = {
    "principal_axes": (ae.principal_axes, {"cov": COV}),
    "linear_loss": (
        ae.linear_loss,
        {"decoder": DECODER, "encoder": ENCODER, "cov": COV},
        {key: ANY for key in ("decoder", "encoder", "cov")},
    ),
    "nested_loss": (
        ae.nested_loss,
        {"decoder": DECODER, "encoder": ENCODER, "cov": COV},
        {key: ANY for key in ("decoder", "encoder", "cov")},
    ),
    "critical_point": (ae.critical_point, {"cov": COV, "which": [0, 1], "mixing": f64((1.0, 1.0), (0.0, 1.0))}),
    "decayed_optimum": (ae.decayed_optimum, {"cov": COV, "k": 2, "decay": 0.1}),
    "principal_angles": (ae.principal_angles, {"a": DECODER, "b": ENCODER.mT.contiguous()}),
    "Autoencoder": (ae.Autoencoder, {"encoder": MODEL.encoder, "decoder": MODEL.decoder}),
    "Autoencoder.encode": (MODEL.encode, {"x": X}, {"x": ANY}),
    "Autoencoder.decode": (MODEL.decode, {"z": CODES}, {"z": ANY}),
    "Autoencoder.forward": (MODEL.forward, {"x": X}, {"x": ANY}),
    "dense_autoencoder": (ae.dense_autoencoder, {"sizes": [3, 4, 2], "activation": nn.ReLU, "code": nn.Identity}),
    "lipschitz_bound": (ae.lipschitz_bound, {"network": MODEL}),
    "IndexCode": (ae.IndexCode, {"examples": X}),
    "IndexCode.encode": (INDEX.encode, {"x": X}),
    "IndexCode.decode": (INDEX.decode, {"z": f64((0.0,), (1.5,))}),
    "reconstruction_error": (ae.reconstruction_error, {"model": MODEL, "x": X}, {"x": ANY}),
    "denoising_error": (
        ae.denoising_error,
        {"model": MODEL, "x": X, "noise_std": 0.1, "generator": rng(0)},
        {"x": ANY},
    ),
    "contraction": (ae.contraction, {"encoder": MODEL.encode, "x": X}),
    "sigmoid_contraction": (
        ae.sigmoid_contraction,
        {"weight": ENCODER, "codes": CODES},
        {"weight": ANY, "codes": ANY},
    ),
    "sparsity_kl": (ae.sparsity_kl, {"codes": CODES, "rate": 0.1}, {"codes": ANY | {"negative"}}),
    "l1_penalty": (ae.l1_penalty, {"codes": CODES, "dictionary": DECODER}, {"codes": ANY, "dictionary": ANY}),
    "greedy_layers": (
        ae.greedy_layers,
        {"x": X, "sizes": [3, 2], "train": lambda layer, inputs: None, "activation": nn.Sigmoid},
        {"x": ANY},
    ),
    "stacked": (ae.stacked, {"layers": [MODEL]}),
    "wiener_filter": (ae.wiener_filter, {"cov": COV, "noise_std": 0.1}),
    "psnr": (ae.psnr, {"x": X, "y": X + 0.1, "peak": 1.0}, {"x": ANY, "y": ANY}),
    "code_length": (
        ae.code_length,
        {"codes": CODES, "mean": f64(0.5, 0.4), "std": f64(1.0, 2.0), "step": 0.1},
        {"codes": ANY, "mean": ANY, "std": ANY},
    ),
    "orbit_variance": (ae.orbit_variance, {"orbits": normal(3, 4, 2)}, {"orbits": ANY}),
}
