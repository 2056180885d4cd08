"""Example calls of `dgmlib.autoregressive`."""

import torch
from exact import f64

from dgmlib import autoregressive
from dgmlib.autoregressive import FVSBN, MADE, NADE, Table, draw_degrees

BITS, U = f64((0.0, 1.0, 1.0), (1.0, 0.0, 1.0)), f64((0.2, 0.7, 0.4), (0.1, 0.6, 0.9))
MODELS = {"Table": Table(3), "FVSBN": FVSBN(3), "NADE": NADE(3, 4), "MADE": MADE(3, (5,))}
PASSES = {"x": {"NaN", "infinite"}}  # `params` and `draw` read no values but a table's
CALLS = {
    "Table": (Table, {"d": 3}),
    "FVSBN": (FVSBN, {"d": 3}),
    "NADE": (NADE, {"d": 3, "hidden": 4}),
    "MADE": (MADE, {"d": 3, "hidden": (5,), "order": [0, 2, 1], "n_masks": 1}),
    "Table.fit": (MODELS["Table"].double().fit, {"x": BITS, "pseudo_count": 0.5}),
    "Table.entries": (MODELS["Table"].entries, {"x": BITS}),
    "MADE.degrees": (MODELS["MADE"].degrees, {"k": 0}),
    "draw_degrees": (draw_degrees, {"d": 3, "hidden": (5, 4), "order": [0, 2, 1], "generator": torch.Generator()}),
    "masks": (autoregressive.masks, {"degrees": draw_degrees(3, (5, 4))}),
}
for name, model in MODELS.items():
    model.double().requires_grad_(False)
    read = {} if name == "Table" else PASSES
    own = {
        "log_prob": (model.log_prob, {"x": BITS}),
        "conditional_log_probs": (model.conditional_log_probs, {"x": BITS}),
        "params": (model.params, {"x": BITS}, read),
        "draw": (model.draw, {"x": BITS, "u": U}, read),
        "sample": (model.sample, {"n": 2, "generator": torch.Generator(), "uniforms": U, "given": BITS[:, :1]}),
        "steps": (model.steps, {"n": 2}),
    }
    CALLS |= {f"{name}.{method}": row for method, row in own.items() if method in vars(type(model))}
UNPROBED = {"SparseNADE": "what NADE.params applies"}
