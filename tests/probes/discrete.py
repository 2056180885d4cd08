"""Example calls of `dgmlib.discrete`."""

import torch
from exact import f64, normal, rng

from dgmlib import discrete
from dgmlib.transformer import CausalTransformer

torch.manual_seed(0)
MODEL = discrete.VQVAE((4, 4), 3, 5, d_code=2, widths=(4,)).double()
PRIOR = CausalTransformer(5, 4, width=8, depth=1, n_heads=2).double()
X = torch.randint(3, (2, 1, 4, 4), generator=rng(0)).double()
VECTORS, Z, CODEBOOK, CODES = normal(2, 4, 2), normal(4, 2), normal(5, 2, seed=1), torch.tensor([[0, 4, 1, 2]])
ANY = {"NaN", "infinite"}  # of a network's outputs

CALLS = {
    "nearest_code": (discrete.nearest_code, {"z": Z, "codebook": CODEBOOK}),
    "vq_penalties": (discrete.vq_penalties, {"z": Z, "code": Z + 1}, {"z": ANY, "code": ANY}),
    "averaged_codebook": (
        discrete.averaged_codebook,
        {"codebook": CODEBOOK, "counts": f64(1, 2, 3, 4, 5), "z": Z, "decay": 0.9},
    ),
    "perplexity": (discrete.perplexity, {"codes": CODES, "n_codes": 5}),
    "lloyd_max": (discrete.lloyd_max, {"k": 3, "n_steps": 5}),
    "VQVAE": (
        discrete.VQVAE,
        {"shape": (4, 4), "levels": 3, "n_codes": 5, "d_code": 2, "widths": (4,), "n_blocks": 1},
    ),
    "VQVAE.outputs": (MODEL.outputs, {"x": X}),
    "VQVAE.encode": (MODEL.encode, {"x": X}),
    "VQVAE.logits": (MODEL.logits, {"vectors": VECTORS}, {"vectors": ANY}),
    "VQVAE.log_likelihood": (MODEL.log_likelihood, {"x": X, "vectors": VECTORS}, {"vectors": ANY}),
    "VQVAE.pixel_means": (MODEL.pixel_means, {"codes": CODES}),
    "VQVAE.loss_terms": (MODEL.loss_terms, {"x": X, "beta": 0.5}),
    "VQVAE.log_prob_bound": (MODEL.log_prob_bound, {"x": X, "prior": PRIOR}),
    "VQVAE.restart": (MODEL.restart, {"x": X, "generator": rng(0)}),
}
UNPROBED: dict[str, str] = {}
