"""Example calls of `dgmlib.transformer`."""

import torch
from exact import normal

from dgmlib import transformer
from dgmlib.transformer import Block, Cache, CausalSelfAttention, CausalTransformer

TOKENS, U = torch.tensor([[0, 1, 1], [2, 0, 1]]), normal(2, 3).sigmoid()
MODEL = CausalTransformer(3, 3, width=4, n_heads=2, n_classes=2).double().requires_grad_(False)
LABEL = torch.tensor([0, 1])
Q, MASK = normal(2, 3, 4), transformer.causal_mask(3, 3)
ROWS, BLOCK = normal(2, 3, 4), Block(4, 2).double()
PASSES = {"NaN", "infinite"}  # what attention mixes

CALLS = {
    "causal_mask": (transformer.causal_mask, {"queries": 2, "keys": 3}),
    "attention_weights": (
        transformer.attention_weights,
        {"q": Q, "k": Q, "mask": MASK},
        {"q": PASSES, "k": PASSES},
    ),
    "attention": (
        transformer.attention,
        {"q": Q, "k": Q, "v": Q, "mask": MASK},
        {"q": PASSES, "k": PASSES, "v": PASSES},
    ),
    "Cache": (Cache, {"length": 3}),
    "Cache.extend": (
        lambda k, v: Cache(3).extend(k, v),
        {"k": normal(2, 2, 1, 2), "v": normal(2, 2, 1, 2)},
        {"k": PASSES, "v": PASSES},
    ),
    "CausalSelfAttention": (CausalSelfAttention, {"width": 4, "n_heads": 2}),
    "CausalSelfAttention.heads": (BLOCK.attention.heads, {"x": ROWS}, {"x": PASSES}),
    "CausalSelfAttention.forward": (BLOCK.attention.forward, {"x": ROWS}, {"x": PASSES}),
    "Block": (Block, {"width": 4, "n_heads": 2}),
    "Block.forward": (BLOCK.forward, {"x": ROWS}, {"x": PASSES}),
    "CausalTransformer": (
        CausalTransformer,
        {"n_values": 3, "length": 3, "width": 4, "depth": 1, "n_heads": 2, "n_classes": 2},
    ),
    "CausalTransformer.logits": (MODEL.logits, {"x": TOKENS, "label": LABEL}),
    "CausalTransformer.token_log_probs": (MODEL.token_log_probs, {"x": TOKENS, "label": LABEL}),
    "CausalTransformer.log_prob": (MODEL.log_prob, {"x": TOKENS, "label": LABEL}),
    "CausalTransformer.draw": (MODEL.draw, {"x": TOKENS, "u": U, "label": LABEL}),
    "CausalTransformer.sample_from": (MODEL.sample_from, {"u": U, "label": LABEL, "given": TOKENS[:, :1]}),
    "CausalTransformer.sample": (MODEL.sample, {"n": 2, "label": LABEL, "generator": torch.Generator()}),
    "encode_text": (transformer.encode_text, {"text": "it is"}),
    "decode_text": (transformer.decode_text, {"tokens": torch.tensor([1, 5])}),
}
