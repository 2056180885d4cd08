"""Example calls of `dgmlib.checkpoint`."""

import tempfile
from pathlib import Path

import torch

from dgmlib import checkpoint

STATE = {"x": torch.ones(2)}
FOLDER = tempfile.TemporaryDirectory()
PATH = Path(FOLDER.name) / "run.safetensors"
checkpoint.save_checkpoint(PATH, STATE)

CALLS = {
    "save_checkpoint": (
        checkpoint.save_checkpoint,
        {"path": PATH, "state": STATE},
        {"path": {"text"}},
    ),  # a file of that name
    "load_checkpoint": (checkpoint.load_checkpoint, {"path": PATH, "state": STATE, "whole": False}, {"path": {"text"}}),
    "leaves_of": (checkpoint.leaves_of, {"state": STATE, "prefix": "x"}),
    "pack": (checkpoint.pack, {"state": STATE}),
    "replace_file": (checkpoint.replace_file, {"path": PATH.with_name("note"), "content": b"x"}),
    "Alone": (checkpoint.Alone, {"path": PATH}),
    "Identity": (checkpoint.Identity, {"values": {"seed": 0}}),
}
UNPROBED = {
    "unpack": "takes what pack gave",
    "GlobalGenerators": "takes nothing",
    "GlobalGenerators.load_state_dict": "takes what state_dict gave",
    "Identity.load_state_dict": "takes what state_dict gave",
}
