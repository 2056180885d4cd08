"""A VAE 784-400-40 on a batch of 100, beside pythae and the same lines written with torch.distributions.

All sides have the same weights and noise. pythae's IWAE has the gradient of the bound, and not its value.
"""

import copy
import math
from collections.abc import Callable

import torch
from pythae.models import IWAE as PythaeIWAE
from pythae.models import VAE as PythaeVAE
from pythae.models import IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from run import Row, Work
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from dgmlib.train import gradient_step
from dgmlib.vae import VAE, elbo, iwae, kl_standard_normal

K = 40


class Encoder(BaseEncoder):
    """Our encoder in pythae's clothes."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_var = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    """Our decoder in pythae's clothes."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z).sigmoid())


def as_pythae(model: VAE, n_samples: int | None = None) -> PythaeVAE:
    model, settings = copy.deepcopy(model), {"input_dim": (784,), "latent_dim": K, "reconstruction_loss": "bce"}
    networks = Encoder(model.encoder), Decoder(model.decoder)
    if n_samples is None:
        return PythaeVAE(VAEConfig(**settings), *networks)
    return PythaeIWAE(IWAEConfig(number_samples=n_samples, **settings), *networks)


def posterior(model: VAE, x: Tensor) -> Normal:
    mean, log_var = model.encoder(x).chunk(2, -1)
    return Normal(mean, (0.5 * log_var).exp())


def likelihood(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    return Independent(Bernoulli(logits=model.decoder(z)), 1).log_prob(x)


def torch_elbo(model: VAE, x: Tensor) -> Tensor:
    q = posterior(model, x)
    return likelihood(model, x, q.rsample()) - torch_kl(q, Normal(torch.zeros_like(q.mean), 1.0)).sum(-1)


def torch_iwae(model: VAE, x: Tensor, n: int) -> Tensor:
    q, prior = posterior(model, x), Independent(Normal(torch.zeros(K, dtype=x.dtype), 1.0), 1)
    noise = torch.randn(len(x), n, K, generator=seeded(), dtype=x.dtype).transpose(0, 1)
    z = q.mean + q.stddev * noise
    return (likelihood(model, x, z) + prior.log_prob(z) - Independent(q, 1).log_prob(z)).logsumexp(0) - math.log(n)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def training_step(network: nn.Module, weight: Tensor, loss: Callable[[], Tensor]) -> Work:
    """A step of Adam as one writes it; the result is the weight after it."""
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> Tensor:
        torch.manual_seed(1)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        return weight

    return step


def our_training_step(model: VAE, x: Tensor) -> Work:
    noise = torch.Generator()
    adam = torch.optim.Adam(model.parameters())
    step = gradient_step(model, lambda model, x, generator: -elbo(model, x, generator=generator), adam, generator=noise)

    def work() -> Tensor:
        noise.manual_seed(1)
        step(x)
        return model.encoder[0].weight

    return work


def rows(generator: torch.Generator) -> list[Row]:
    model = VAE(784, K, (400,)).double()
    x = (torch.rand(100, 784, generator=generator) < 0.2).double()
    mean, log_var = (torch.randn(5000, K, generator=generator, dtype=torch.float64) for _ in range(2))
    pixel = torch.full((5000, 1), 0.5, dtype=torch.float64)
    pythae, weighted, written = as_pythae(model), as_pythae(model, 5), copy.deepcopy(model)

    def gradient(bound: Callable[[], Tensor], weight: Tensor = model.encoder[0].weight) -> Tensor:
        return torch.autograd.grad(bound().mean(), weight)[0]

    def pythae_bound() -> Tensor:
        torch.manual_seed(1)
        return -weighted({"data": x}).loss

    def pythae_nll() -> float:
        torch.manual_seed(1)
        return pythae.get_nll(x, n_samples=50, batch_size=50)

    kl = f"KL of 5000 diagonal Gaussians from N(0, I), d = {K}"
    step = "training step of a VAE with Adam, batch 100"
    bound = "IWAE-5 bound of a VAE and its gradient, batch 100"
    trained = as_pythae(model)
    evaluated = "importance-sampled likelihood, 50 samples, batch 100"
    return [
        (
            kl,
            "torch.distributions.kl_divergence",
            lambda: kl_standard_normal(mean, log_var),
            lambda: torch_kl(Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros_like(mean), 1.0)).sum(-1),
        ),
        (
            kl,
            "pythae VAE.loss_function, one pixel",
            lambda: kl_standard_normal(mean, log_var).mean(),
            lambda: pythae.loss_function(pixel, pixel, mean, log_var, None)[2],
        ),
        (
            step,
            "torch.distributions",
            our_training_step(copy.deepcopy(model), x),
            training_step(written, written.encoder[0].weight, lambda: -torch_elbo(written, x).mean()),
        ),
        (
            step,
            "pythae VAE",
            our_training_step(copy.deepcopy(model), x),
            training_step(trained, trained.encoder.network[0].weight, lambda: trained({"data": x}).loss),
        ),
        (
            bound,
            "torch.distributions",
            lambda: gradient(lambda: iwae(model, x, 5, generator=seeded())),
            lambda: gradient(lambda: torch_iwae(model, x, 5)),
        ),
        (
            bound,
            "pythae IWAE",
            lambda: gradient(lambda: iwae(model, x, 5, generator=seeded())),
            lambda: gradient(pythae_bound, weighted.encoder.network[0].weight),
        ),
        (
            evaluated,
            "torch.distributions",
            lambda: model.log_prob_is(x, 50, generator=seeded()),
            torch.no_grad()(lambda: torch_iwae(model, x, 50)),
        ),
        (
            evaluated,
            "pythae VAE.get_nll",
            lambda: model.log_prob_is(x, 50, generator=seeded()).mean(),
            torch.no_grad()(pythae_nll),
        ),
    ]
