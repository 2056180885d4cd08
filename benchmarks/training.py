"""`fit` beside the loop one writes by hand, in single precision: the same steps, the same losses.

On a VAE of the usual size, where the work of a step counts, and on a line through four numbers, where nothing but the
loop's own cost does.
"""

from collections.abc import Callable

import torch
from run import Row
from torch import Tensor, nn

from dgmlib.data import Batches
from dgmlib.train import fit, gradient_step
from dgmlib.vae import VAE, elbo


def fitted(
    build: Callable[[], nn.Module], loss: Callable[..., Tensor], x: Tensor, n_steps: int
) -> Callable[[], Tensor]:
    """`fit`, as the chapters call it; the result is what it logged."""

    def work() -> Tensor:
        torch.manual_seed(0)
        model = build()
        step = gradient_step(model, loss, torch.optim.Adam(model.parameters(), fused=True))
        batches = Batches(x, batch_size=100, generator=torch.Generator().manual_seed(0))
        return torch.from_numpy(fit(step, batches, n_steps, progress=False)["loss"])

    return work


def by_hand(
    build: Callable[[], nn.Module], loss: Callable[..., Tensor], x: Tensor, n_steps: int
) -> Callable[[], Tensor]:
    def work() -> Tensor:
        torch.manual_seed(0)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        batches = Batches(x, batch_size=100, generator=torch.Generator().manual_seed(0))
        losses = []
        for _ in range(n_steps):
            optimizer.zero_grad()
            value = loss(model, *next(batches)).mean()
            value.backward()
            optimizer.step()
            losses.append(value.detach())
        return torch.stack(losses).double()

    return work


def rows(generator: torch.Generator) -> list[Row]:
    bits = (torch.rand(1000, 784, generator=generator) < 0.2).float()
    numbers = torch.randn(1000, 4, generator=generator)
    cases = {
        "a VAE 784-400-40": (lambda: VAE(784, 40, (400,)), lambda model, x: -elbo(model, x), bits, 20),
        "a line through 4 numbers": (lambda: nn.Linear(4, 1), lambda model, x: model(x).square().sum(1), numbers, 200),
    }
    return [
        (f"{case[-1]} steps of {what}, batch 100", "a loop by hand", fitted(*case), by_hand(*case))
        for what, case in cases.items()
    ]
