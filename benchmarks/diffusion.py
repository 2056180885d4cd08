"""Noising, sampling loops and a U-Net's step, beside diffusers and an equal plain module.

The loops run with a denoiser that costs nothing, so that what is measured is the sampler's own work. diffusers numbers
its steps from 0: its t is our (t + 1)/1000.
"""

import copy
from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from run import Row
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.diffusion import ancestral, ddim, v_loss
from dgmlib.nets import UNet, time_features
from dgmlib.noising import Cosine, Tabulated, q_sample, time_grid

COMMON = {"num_train_timesteps": 1000, "beta_schedule": "linear", "clip_sample": False, "prediction_type": "sample"}


class PlainBlock(nn.Module):
    """A residual block as one would write it."""

    def __init__(self, c_in: int, c_out: int, d_time: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.modulation = nn.Linear(d_time, 2 * c_out)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulation(time)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(F.silu(h))


class PlainUNet(nn.Module):
    """The two levels of our U-Net spelt out, with its names, so that it can take its weights."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, 4 * a), nn.SiLU(), nn.Linear(4 * a, 4 * a), nn.SiLU())
        self.enter = nn.Conv2d(4, a, 3, padding=1)
        self.down = nn.ModuleList([nn.ModuleList([PlainBlock(a, a, 4 * a)]), nn.ModuleList([PlainBlock(a, b, 4 * a)])])
        self.up = nn.ModuleList(
            [nn.ModuleList([PlainBlock(2 * b, b, 4 * a)]), nn.ModuleList([PlainBlock(2 * a, a, 4 * a)])]
        )
        self.shrink = nn.ModuleList([nn.Conv2d(a, a, 3, stride=2, padding=1)])
        self.grow = nn.ModuleList([nn.Conv2d(b, a, 3, padding=1)])
        attention = nn.ModuleDict(
            {"norm": nn.GroupNorm(8, b), "qkv": nn.Conv2d(b, 3 * b, 1), "out": nn.Conv2d(b, b, 1)}
        )
        self.across = nn.ModuleList([PlainBlock(b, b, 4 * a), attention, PlainBlock(b, b, 4 * a)])
        self.leave = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), nn.Conv2d(a, 4, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time(time_features(t, 64))
        h = self.enter(F.pixel_unshuffle(x, 2))
        first = self.down[0][0](h, time)
        second = self.down[1][0](self.shrink[0](first), time)
        before, attention, after = self.across
        h = before(second, time)
        query, key, value = attention["qkv"](attention["norm"](h)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(h.shape)
        h = after(h + attention["out"](seen), time)
        h = self.up[0][0](torch.cat([h, second], dim=1), time)
        h = self.grow[0](F.interpolate(h, scale_factor=2.0))
        h = self.up[1][0](torch.cat([h, first], dim=1), time)
        return F.pixel_shuffle(self.leave(h), 2)


def rows(generator: torch.Generator) -> list[Row]:
    """Float32, as both libraries are used; batches of MNIST's size."""
    x0 = torch.randn(64, 1, 28, 28, generator=generator)
    start = torch.randn(4, 1, 28, 28, generator=generator)
    step = torch.randint(1000, (64,), generator=generator)
    times = (step + 1).float() / 1000
    schedule = Tabulated(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    ddpm = DDPMScheduler(**COMMON, variance_type="fixed_small", timestep_spacing="trailing")
    ddim_peer = DDIMScheduler(**COMMON, timestep_spacing="trailing")

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    def peer_noising() -> Tensor:
        noise = torch.randn(x0.shape, generator=seeded())
        return ddpm.add_noise(x0, noise, step)

    def shrink(x: Tensor, t: Tensor | None = None) -> Tensor:
        return 0.9 * x

    def peer_loop(scheduler: DDPMScheduler | DDIMScheduler, n: int) -> Callable[[], Tensor]:
        def work() -> Tensor:
            noise, x = seeded(), start
            scheduler.set_timesteps(n)
            for t in scheduler.timesteps:
                x = scheduler.step(shrink(x), t, x, generator=noise).prev_sample
            return x

        return work

    torch.manual_seed(0)
    net = UNet(1, (32, 64), fold=2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p + 0.02 * torch.randn(p.shape, generator=generator))
    plain = PlainUNet(32, 64)
    plain.load_state_dict(net.state_dict())
    net, plain = (copy.deepcopy(model).to(memory_format=torch.channels_last) for model in (net, plain))
    cosine = Cosine()

    def training_step(model: nn.Module) -> Callable[[], Tensor]:
        def work() -> Tensor:
            loss = v_loss(model, x0, times, cosine, generator=seeded()).mean()
            return torch.autograd.grad(loss, list(model.parameters()))[0]

        return work

    return [
        (
            "x_t of 64 images at 64 times, noise included",
            "diffusers DDPMScheduler.add_noise",
            lambda: q_sample(x0, times, schedule, generator=seeded())[0],
            peer_noising,
        ),
        (
            "DDPM, 100 steps of 4 images, the sampler alone",
            "diffusers DDPMScheduler.step",
            lambda: ancestral(shrink, start, schedule, time_grid(100), generator=seeded()),
            peer_loop(ddpm, 100),
        ),
        (
            "DDIM, 50 steps of 4 images, the sampler alone",
            "diffusers DDIMScheduler.step",
            lambda: ddim(shrink, start, schedule, time_grid(50)),
            peer_loop(ddim_peer, 50),
        ),
        (
            "U-Net 32-64 on 2×2 folds, loss and gradient, batch 64",
            "the same layers spelt out in PyTorch",
            training_step(net),
            training_step(plain),
        ),
    ]
