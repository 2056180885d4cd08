"""Example calls of `dgmlib.train`."""

import torch
from torch import nn

from dgmlib import train

MODEL = nn.Linear(2, 1)
ADAM = torch.optim.Adam(MODEL.parameters())


def squares(model, x):
    return model(x).square().sum(1)


def step(batch):
    return {"loss": torch.tensor(1.0)}


def evaluate():
    return {"accuracy": 0.5}


CALLS = {
    "EMA": (train.EMA, {"model": MODEL, "decay": 0.9}),
    "EMA.update": (train.EMA(MODEL).update, {"model": MODEL}),
    "gradient_step": (
        train.gradient_step,
        {"model": MODEL, "loss": squares, "optimizer": ADAM, "clip": 1.0},
        {"clip": {"infinite"}},
    ),
    "schedule_length": (train.schedule_length, {"schedule": None}),
    "fit": (
        train.fit,
        {
            "step": step,
            "batches": [(torch.ones(2, 2),)],
            "n_steps": 2,
            "every": 5,
            "evaluate": evaluate,
            "evaluate_every": 5,
            "state": {},
            "identity": {},
            "patience": 2,
            "watch": "accuracy",
            "log_every": 2,
            "progress": False,
        },
    ),
}
UNPROBED = {
    "History": "takes nothing",
    "History.steps": "looks a name up, as a dict does",
    "History.log": "takes what `fit` was given by evaluate, which it names",
    "History.log_later": "takes what `fit` was given by step, which it names",
    "EMA.set_extra_state": "takes what get_extra_state gave",
    "History.load_state_dict": "takes what state_dict gave",
}
