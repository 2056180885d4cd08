"""What every density and every transform must do: a new model is one more line in a table below.

A density sums or integrates to one, draws what it scores, treats the rows of a batch apart, repeats itself for the same
generator and leaves the global one alone; if it has parameters, all of them learn, its state survives a round trip, and
it runs on the meta device. A transform goes there and back, with the log-determinants that autograd finds both ways.
"""

import io
import math
from functools import partial
from itertools import pairwise

import pytest
import scipy.stats
import torch
from exact import f64
from moments import law_along

from dgmlib import data, diffusion, factorisations, mixtures, worlds
from dgmlib.autoregressive import FVSBN, MADE, NADE, Table
from dgmlib.bugs.autoregressive import _filled as filled
from dgmlib.bugs.factorisations import CHAIN, NETWORK
from dgmlib.bugs.transformer import MODEL as FIXED_TRANSFORMER
from dgmlib.choices import BitVAE
from dgmlib.core import Density, Transform
from dgmlib.heads import MixtureOfGaussians
from dgmlib.hierarchical import LinearChain
from dgmlib.noising import Cosine, Linear, ancestral_steps, ddim_steps, gaussian_moments, time_grid
from dgmlib.pixelcnn import GatedPixelCNN, PixelCNN
from dgmlib.recurrence import PixelRNN, Recurrent
from dgmlib.transformer import CausalTransformer

FALSE_ALARM = 1e-9  # of each chi-squared test, seeded


class Tokens(Density):
    """A model of integer tokens, asked for and about rows of floats."""

    def __init__(self, model):
        self.model = model

    def log_prob(self, x):
        return self.model.log_prob(x.long())

    def sample(self, n, *, generator=None):
        return self.model.sample(n, generator=generator).double()


class Rows(Density):
    """A model of images, asked for and about rows of pixels."""

    def __init__(self, make, *options):
        torch.manual_seed(0)
        self.model = make(*options).double().requires_grad_(False)

    def log_prob(self, x):
        return self.model.log_prob(x.view(-1, *self.model.shape))

    def sample(self, n, *, generator=None):
        return self.model.sample(n, generator=generator).flatten(1)


# --- the tables -----------------------------------------------------------------------------------------------------

PLANE = {  # densities of the plane that live in [-8, 8]^2
    "mixture": lambda: worlds.GaussianMixture(
        f64(0.3, 0.7), f64((-1.0, 0.5), (1.0, 0.0)), f64(((0.5, 0.2), (0.2, 0.4)), ((1.0, -0.3), (-0.3, 0.5)))
    ),
    "noised mixture": lambda: data.target().noised(0.8, 0.6),
    "linear-Gaussian": lambda: worlds.LinearGaussian(f64((1.0,), (-0.5,)), f64(0.3, 0.0), 0.7),
    "linear chain": lambda: LinearChain(
        [([[1.0], [-0.5]], [0.3, 0.0], [[0.5, 0.1], [0.1, 0.3]]), ([[0.8]], [0.2], [[0.4]])]
    ),
    "circle": lambda: worlds.Circle(0.3),
    "ring": data.ring,
    "grid": partial(data.grid, std=0.3),
    "moons": data.moons,
    "spirals": data.spirals,
    "target": data.target,
    "checkerboard": data.checkerboard,
    "counted plane": lambda: factorisations.CountedPlane(f64((3.0, 1.0), (0.0, 4.0)), 4.0, 0.5),
    "tied mixture": lambda: mixtures.Gaussians(
        f64(0.3, 0.7), f64((-1.0, 0.5), (1.0, 0.0)), f64((0.5, 0.2), (0.2, 0.4)), covariance="tied"
    ),
}
BITS = {  # densities over all states of a few bits
    "bars and stripes": worlds.bars_and_stripes,
    "even parity": partial(worlds.even_parity, 5),
    "uneven": lambda: worlds.DiscreteLaw(f64(0.1, 0.2, 0.0, 0.7)),
    "Bayesian network": lambda: NETWORK,
    "Markov chain": lambda: Tokens(CHAIN),
    "causal Transformer": lambda: Tokens(FIXED_TRANSFORMER),
    "PixelCNN": lambda: Rows(PixelCNN, (1, 2, 3), 6, 2),
    "gated PixelCNN": lambda: Rows(GatedPixelCNN, (3, 1, 2), 6, 2),
    "PixelRNN": lambda: Rows(PixelRNN, (1, 2, 3), 4),
    "LSTM": lambda: Recurrent(5, 4).double().requires_grad_(False),
    "table": lambda: filled(Table(5)).requires_grad_(False),
    "FVSBN": lambda: filled(FVSBN(5)).requires_grad_(False),
    "NADE": lambda: filled(NADE(5, 4)).requires_grad_(False),
    "MADE": lambda: filled(MADE(5, (9, 7), order=[2, 0, 4, 1, 3])).requires_grad_(False),
    "MADE, three masks": lambda: filled(
        MADE(5, (9,), n_masks=3, generator=torch.Generator().manual_seed(0))
    ).requires_grad_(False),
    "bit VAE": lambda: filled(BitVAE(4, 3, (6,))).requires_grad_(False),
    "coins": lambda: mixtures.Bernoullis(f64(0.3, 0.7), f64((0.2, 0.9, 0.5), (0.6, 0.1, 1.0))),
}
TRANSFORMS = {  # transforms, with inputs of both directions that reach their extremes
    "logit": (
        partial(data.Logit, 0.05),
        f64((0.0, 0.5, 1.0), (1e-9, 1 - 1e-9, 0.3)),
        f64((-2.9, 0.0, 2.9), (1.0, -1.0, 0.1)),
    ),
}
SAMPLERS = {  # diffusion samplers, their steps, and the slope of their error on a Gaussian against the number of steps
    "ancestral": (diffusion.ancestral, ancestral_steps, -1),
    "DDIM": (diffusion.ddim, ddim_steps, -1),
    "DDIM, eta 0.5": (partial(diffusion.ddim, eta=0.5), partial(ddim_steps, eta=0.5), -1),
}
LEARNERS = {  # models with parameters, and a batch to learn from
    "causal Transformer": (lambda: CausalTransformer(2, 5, width=8, n_heads=2), worlds.bit_states(5).long()),
    "PixelCNN": (partial(PixelCNN, (3, 2, 2), 6, 3), worlds.bit_states(12).float().view(-1, 3, 2, 2)),
    "gated PixelCNN": (
        partial(GatedPixelCNN, (1, 3, 3), 6, 3, mixtures=2),
        worlds.bit_states(9).float().view(-1, 1, 3, 3),
    ),
    "PixelRNN": (partial(PixelRNN, (1, 3, 3), 4), worlds.bit_states(9).float().view(-1, 1, 3, 3)),
    "LSTM": (partial(Recurrent, 5, 4), worlds.bit_states(5).float()),
    "RNN": (partial(Recurrent, 5, 4, "rnn"), worlds.bit_states(5).float()),
    "table": (partial(Table, 5), worlds.bit_states(5)[9:20].float()),
    "FVSBN": (partial(FVSBN, 5), worlds.bit_states(5)[9:20].float()),
    "NADE": (partial(NADE, 5, 4), worlds.bit_states(5)[9:20].float()),
    "RNADE": (partial(NADE, 2, 4, head=MixtureOfGaussians(2)), torch.randn(9, 2)),
    "MADE": (partial(MADE, 5, (9, 12)), worlds.bit_states(5)[9:20].float()),
}
DENSITIES = PLANE | BITS


def cells_of_the_plane(density, n=64, inner=5):
    """Probabilities of n^2 square cells of [-8, 8]^2, each by its own inner midpoint rule."""
    fine = -8 + 16 * (torch.arange(n * inner, dtype=torch.float64) + 0.5) / (n * inner)
    points = torch.cartesian_prod(fine, fine)
    mass = density.log_prob(points).exp() * (16 / (n * inner)) ** 2
    return mass.view(n, inner, n, inner).sum((1, 3)).flatten()


def place(x, n=64):
    """Which cell of `cells_of_the_plane` each row lies in."""
    column, row = ((x + 8) / 16 * n).floor().long().clamp(0, n - 1).unbind(1)
    return column * n + row


def p_value(counts, expected):
    """Pearson's test with the cells of small expectation pooled."""
    big = expected >= 8
    observed = torch.cat([counts[big], counts[~big].sum()[None]]).double()
    wanted = torch.cat([expected[big], expected[~big].sum()[None]])
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    return scipy.stats.chi2(len(wanted) - 1).sf(float(statistic))


def need_normalised_and_sampled(density, n=100_000):
    """A density of the plane integrates to one, and its draws fall where it says. Fails by chance once in 10^9."""
    mass = cells_of_the_plane(density)
    assert float(mass.sum()) == pytest.approx(1, abs=2e-4)
    x = density.sample(n, generator=torch.Generator().manual_seed(0))
    assert x.shape == (n, 2) and x.dtype == torch.float64
    assert p_value(place(x).bincount(minlength=len(mass)), n * mass / mass.sum()) > FALSE_ALARM


# --- densities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANE)
def test_a_density_of_the_plane_draws_what_it_scores(name):
    need_normalised_and_sampled(PLANE[name]())


@pytest.mark.parametrize("name", BITS)
def test_a_law_over_bits_sums_to_one_and_draws_what_it_scores(name, n=40_000):
    law = BITS[name]()
    states = worlds.bit_states(law.sample(1).shape[1])
    mass = law.log_prob(states).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    x = law.sample(n, generator=torch.Generator().manual_seed(0))
    which = (x @ 2 ** torch.arange(states.shape[1] - 1, -1, -1, dtype=x.dtype)).long()
    assert p_value(which.bincount(minlength=len(mass)), n * mass) > FALSE_ALARM


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_keeps_the_rows_of_a_batch_apart(name):
    density = DENSITIES[name]()
    x = density.sample(7, generator=torch.Generator().manual_seed(1))
    together = density.log_prob(x)
    assert together.shape == (7,) and together.dtype == torch.float64
    assert torch.allclose(together, torch.cat([density.log_prob(row[None]) for row in x]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_repeats_its_draws_and_leaves_the_global_generator_alone(name):
    density = DENSITIES[name]()
    before = torch.get_rng_state()
    first, again, other = (density.sample(50, generator=torch.Generator().manual_seed(s)) for s in (2, 2, 3))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def need_learnable(make, x):
    """Every parameter gets a gradient, the state survives a round trip, and the model runs on the meta device."""
    model, twin = make(), make()
    model.log_prob(x).sum().backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all() and (p.grad != 0).any(), key
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model.log_prob(x), twin.log_prob(x))
    assert model.to("meta").log_prob(x.to("meta")).shape == (len(x),)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_parameter_of_a_model_learns(name):
    need_learnable(*LEARNERS[name])


class Line(torch.nn.Module):
    """N(mean, 1) on the line with its mean to be learnt; spoilt, it also has a parameter that nothing uses."""

    def __init__(self, spoilt=False):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.randn(1))
        if spoilt:
            self.idle = torch.nn.Parameter(torch.zeros(1))

    def log_prob(self, x):
        return -0.5 * (x - self.mean).square().sum(1)


# --- transforms -----------------------------------------------------------------------------------------------------


def need_transform(transform, x, z):
    """There and back both ways, log-determinants that cancel, and that are autograd's."""
    for there, back, points in ((transform.forward, transform.inverse, x), (transform.inverse, transform.forward, z)):
        image, log_det = there(points)
        home, log_det_back = back(image)
        assert torch.allclose(home, points, rtol=0, atol=1e-12) and torch.isfinite(log_det).all()
        assert torch.allclose(log_det, -log_det_back, rtol=0, atol=1e-9)
        rows = [torch.autograd.functional.jacobian(lambda row, map=there: map(row[None])[0][0], row) for row in points]
        jacobian = torch.stack(rows)
        assert torch.allclose(torch.linalg.slogdet(jacobian).logabsdet, log_det, rtol=0, atol=1e-9)


class SignFlipped(Transform):
    """A logit whose log-determinants have the wrong sign both ways: every round trip still passes (normflows #27)."""

    def __init__(self):
        self.inner = data.Logit(0.05)

    def forward(self, x):
        z, log_det = self.inner.forward(x)
        return z, -log_det

    def inverse(self, z):
        x, log_det = self.inner.inverse(z)
        return x, -log_det


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_goes_there_and_back(name, untyped):
    make, x, z = TRANSFORMS[name]
    need_transform(make(), x, z)


# --- diffusion samplers ---------------------------------------------------------------------------------------------


def need_point_mass_kept(monkeypatch, sampler, schedule, times):
    """On data that are one point every visited state has its exact marginal, with no draw made."""
    means, variances = law_along(monkeypatch, sampler, schedule, times, -0.7, 0.0)
    t = f64(*times)
    assert (means + 0.7 * schedule.alpha(t)).abs().max() < 1e-10
    assert (variances - schedule.sigma(t).square()).abs().max() < 1e-10


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_keeps_a_point_mass_at_every_visited_time(name, spacing, monkeypatch):
    for n in (5, 13, 40):
        need_point_mass_kept(monkeypatch, SAMPLERS[name][0], Linear(), time_grid(n, 100, spacing))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_follows_its_affine_map_and_converges_at_its_rate(name, monkeypatch, mean=0.4, variance=0.3):
    sampler, steps, slope = SAMPLERS[name]
    schedule, errors = Cosine(), []
    for n in (256, 512):
        times = time_grid(n, n)[1:]
        alpha, noise = float(schedule.alpha(times[0])), float(schedule.sigma(times[0])) ** 2
        start = (alpha * mean, alpha**2 * variance + noise)
        found = law_along(monkeypatch, sampler, schedule, times, mean, variance)
        wanted = gaussian_moments(steps(schedule, times), schedule, times, mean, variance, start)
        for ours, theirs in zip(found, wanted, strict=True):
            assert (ours - theirs).abs().max() < 1e-10
        errors.append(abs(float(found[1][-1]) - variance))
    for coarse, fine in pairwise(errors):
        assert abs(math.log2(fine / coarse) - slope) < 0.1


# --- the inspectors inspected ---------------------------------------------------------------------------------------


class Shifted(Density):
    """Draws from one law, scores another."""

    def __init__(self, shift=0.0, scale=1.0):
        self.law, self.shift, self.scale = data.target(), shift, scale

    def log_prob(self, x):
        return self.law.log_prob(x) + self.scale

    def sample(self, n, *, generator=None):
        return self.law.sample(n, generator=generator) + self.shift


def test_a_density_that_is_wrong_is_found_out():
    with pytest.raises(AssertionError):
        need_normalised_and_sampled(Shifted(scale=0.001))  # integrates to 1.001
    with pytest.raises(AssertionError):
        need_normalised_and_sampled(Shifted(shift=0.05, scale=0.0))  # draws elsewhere
    need_normalised_and_sampled(Shifted(scale=0.0))


def test_a_log_determinant_of_the_wrong_sign_is_found_out(untyped):
    _, x, z = TRANSFORMS["logit"]
    with pytest.raises(AssertionError):
        need_transform(SignFlipped(), x, z)


def test_a_parameter_that_nothing_uses_is_found_out():
    x = torch.randn(16, 1, generator=torch.Generator().manual_seed(5))
    need_learnable(Line, x)
    with pytest.raises(AssertionError, match="idle"):
        need_learnable(partial(Line, spoilt=True), x)


def test_a_sampler_that_takes_the_step_before_for_granted_is_found_out(monkeypatch):
    def strided(denoiser, x, schedule, times, callback):
        steps = ancestral_steps(schedule, time_grid(100, 100)[-len(times) :])  # those of a walk without strides
        return diffusion.walk(denoiser, x, times, steps, callback=callback)

    with pytest.raises(AssertionError):
        need_point_mass_kept(monkeypatch, strided, Linear(), time_grid(13, 100))
