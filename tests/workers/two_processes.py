"""Data-parallel training on two gloo processes, forked here, and the same on one; prints what each ended with.

python two_processes.py FOLDER   writes FOLDER/NAME.RANK.json for each scenario, RANK "alone", 0 and 1
"""

import contextlib
import functools
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from dgmlib.commands.runs import fit_best
from dgmlib.core import bernoulli, data_parallel, rand_like, randn_like, share
from dgmlib.data import Batches
from dgmlib.train import EMA, fit, gradient_step, part_processes


def noisy(model, x, *, generator):
    """Uses all three noises, and lengths so unlike that the mean of the processes' means is not the mean."""
    mask = bernoulli(torch.full_like(x, 0.7), generator=generator)
    t = rand_like(x[:, 0], generator=generator)
    error = (model(x * mask + t[:, None] * randn_like(x, generator=generator)) - x).square().sum(-1)
    return {"loss": error, "t": t}


def local_noise(model, x, *, generator):
    return (model(x + torch.randn(x.shape, generator=generator, dtype=x.dtype)) - x).square().sum(-1)


def build(loss, rows=7, seed=0, step_type=gradient_step, **options):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5, dtype=torch.float64), nn.Tanh(), nn.Linear(5, 3, dtype=torch.float64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    step = step_type(model, loss, optimizer, clip=0.5, ema=EMA(model, 0.9), generator=generator, **options)
    data = torch.randn(23, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64).cumsum(0)
    return step, Batches(data, batch_size=rows, generator=generator)


def ends(step, history):
    end = {name: p.tolist() for name, p in step.ema.named_parameters()}
    end |= {name: history[name].tolist() for name in history if name != "rank"}
    return end | {"generator": step.state["generator"].get_state().tolist()}


def plain(folder, loss=noisy, **options):
    step, batches = build(loss, **options)
    return ends(step, fit(step, batches, 6, log_every=4))


class MeanOfMeans(gradient_step):
    """The wrong variant that weighs each process alike, however few rows it has."""

    def __call__(self, batch):
        n = len(batch[0])
        loss, world = self._mean_loss.loss, data_parallel()[1]
        total = torch.tensor(n)
        if world > 1:
            dist.all_reduce(total)

        def scaled(model, *batch, **noise):
            return {"loss": loss(model, *batch, **noise)["loss"] * int(total) / (world * n)}

        self._mean_loss.loss = scaled
        try:
            return super().__call__(batch)
        finally:
            self._mean_loss.loss = loss


def other_seeds(folder):
    """Processes that were seeded differently all start from the state of the first."""
    return plain(folder, seed=data_parallel()[0])


def resumed(folder):
    step, batches = build(noisy)
    fit(step, batches, 3, checkpoint=folder / "run", every=2)
    step, batches = build(noisy, seed=9)
    return ends(step, fit(step, batches, 6, checkpoint=folder / "run"))


def best(folder):
    """The best judged weights of a run that is resumed; the sixth step's are not the best."""
    held_out = torch.randn(50, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def score(model):
        return -abs(model(held_out).square().mean().item() - 0.4)

    for steps, seed in ((4, 0), (6, 9)):
        step, batches = build(noisy, seed=seed)
        found = fit_best(step, batches, steps, score, every=2, checkpoint=folder / "run")
    return {name: p.tolist() for name, p in found.model.named_parameters()} | {"score": found.score}


def two_players(folder):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    maker, critic = nn.Linear(3, 3, dtype=torch.float64), nn.Linear(3, 1, dtype=torch.float64)

    def critic_loss(critic, x, *, generator):
        return (critic(maker(randn_like(x, generator=generator)).detach()) - critic(x)).squeeze(1)

    def maker_loss(maker, x, *, generator):
        return -critic(maker(randn_like(x, generator=generator))).squeeze(1)

    critic_step = gradient_step(critic, critic_loss, torch.optim.Adam(critic.parameters(), 0.1), generator=generator)
    maker_step = gradient_step(maker, maker_loss, torch.optim.Adam(maker.parameters(), 0.1), generator=generator)
    batches = build(noisy)[1]
    state = {"critic": critic_step.state, "maker": maker_step.state}
    fit(lambda batch: critic_step(batch) | maker_step(batch), batches, 6, state=state)
    return {"maker": maker.weight.tolist(), "critic": critic.weight.tolist()}


def said(run):
    """The sentence with which a scenario is refused."""

    def scenario(folder):
        try:
            run(folder)
        except (ValueError, RuntimeError, FloatingPointError) as error:
            return str(error).replace(str(folder), "FOLDER")
        return "nothing"

    return scenario


def drifting(folder):
    """A step that updates by itself: each process would go its own way."""
    model = nn.Linear(3, 1)

    def step(batch):
        with torch.no_grad():
            model.weight += batch[0].mean()
        return {"x": 0.0}

    fit(step, build(noisy)[1], 3, state={"model": model})


def same_rows(folder):
    step, _ = build(noisy)
    fit(step, [torch.zeros(share(7).stop + 1, 3, dtype=torch.float64)], 3)


def nan_on_one(folder):
    def loss(model, x, *, generator):
        return model(x).sum(-1) * (float("nan") if data_parallel()[0] == 1 else 1.0)

    step, batches = build(loss)
    fit(step, batches, 3, checkpoint=folder / "nan")


def wrong_axis(folder):
    plain(folder, lambda model, x, *, generator: model(x + randn_like(x.T, generator=generator).T).sum(-1))


def scalar(folder):
    plain(folder, lambda model, x, *, generator: model(x).sum())


SCENARIOS = {
    "uneven": plain,
    "even": functools.partial(plain, rows=8),
    "local noise": functools.partial(plain, loss=local_noise),
    "mean of means": functools.partial(plain, step_type=MeanOfMeans),
    "other seeds": other_seeds,
    "resumed": resumed,
    "best": best,
    "two players": two_players,
    "drifting": said(drifting),
    "same rows": said(same_rows),
    "one row": said(functools.partial(plain, rows=1)),
    "nan": said(nan_on_one),
    "wrong axis": said(wrong_axis),
    "scalar": said(scalar),
}


def run(folder: Path, rank: int | None) -> None:
    for name, scenario in SCENARIOS.items():
        here = folder / name
        here.mkdir(exist_ok=True)
        if rank is not None:
            dist.init_process_group("gloo", init_method=f"file://{here}/store", rank=rank, world_size=2)
        try:
            with contextlib.redirect_stderr(open(here / f"bar.{rank}", "w")):
                end = scenario(here / ("alone" if rank is None else "two"))
        finally:
            if rank is not None:
                part_processes()
        (folder / f"{name}.{'alone' if rank is None else rank}.json").write_text(json.dumps(end))


def main(folder: Path) -> None:
    children = []
    for rank in (None, 0, 1):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(folder, rank)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(any(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
