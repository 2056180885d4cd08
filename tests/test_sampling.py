"""Exact sampling: what comes out has the law asked for, and impossible requests are refused."""

import math

import pytest
import scipy.stats
import torch

from dgmlib.core import Density
from dgmlib.sampling import categorical, categorical_from_uniforms, inverse_cdf, rejection

LEVEL = 1e-7  # chance that one of these seeded tests of a right sampler fails


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def passes_chi_square(counts, probs):
    counts, probs = counts.double(), torch.as_tensor(probs, dtype=torch.float64)
    statistic = float(((counts - counts.sum() * probs) ** 2 / (counts.sum() * probs)).sum())
    return statistic < scipy.stats.chi2.isf(LEVEL, len(probs) - 1)


class Uniform(Density):
    """Uniform on [low, high]."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def log_prob(self, x):
        return torch.full(x.shape[:1], -math.log(self.high - self.low), dtype=torch.float64)

    def sample(self, n, *, generator=None):
        return self.low + (self.high - self.low) * torch.rand(n, 1, generator=generator, dtype=torch.float64)


def test_inverse_cdf_agrees_with_the_quantile_function():
    u = torch.tensor([0.0, 1e-12, 0.3, 0.5, 1 - 1e-9], dtype=torch.float64)
    x = inverse_cdf(lambda x: 1 - torch.exp(-x), u, 0.0, 100.0)
    torch.testing.assert_close(x, -torch.log1p(-u), atol=1e-12, rtol=1e-6)
    u32 = torch.tensor([[0.25], [0.75]])
    assert inverse_cdf(torch.special.ndtr, u32, -10.0, 10.0).dtype == torch.float32
    assert inverse_cdf(torch.special.ndtr, u32, -10.0, 10.0).shape == (2, 1)


def test_inverse_cdf_takes_the_left_end_of_a_flat_stretch_and_jumps_over_a_gap():
    steps = lambda x: 0.5 * (x >= 1).to(x.dtype) + 0.5 * (x >= 3).to(x.dtype)  # noqa: E731
    u = torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64)
    torch.testing.assert_close(inverse_cdf(steps, u, 0.0, 4.0), torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64))


def test_inverse_cdf_draws_have_the_law_and_a_wrong_law_is_seen():
    u = torch.rand(20_000, generator=rng(1), dtype=torch.float64)
    x = inverse_cdf(torch.special.ndtr, u, -12.0, 12.0)
    edges = torch.linspace(-2, 2, 11, dtype=torch.float64)
    counts = torch.bincount(torch.bucketize(x, edges), minlength=12)

    def bins(scale):
        cdf = torch.special.ndtr(edges / scale)
        return torch.cat([cdf[:1], cdf.diff(), 1 - cdf[-1:]])

    assert passes_chi_square(counts, bins(1.0))
    assert not passes_chi_square(counts, bins(1.1))


def test_inverse_cdf_refuses():
    u = torch.tensor([0.1, 0.999], dtype=torch.float64)
    with pytest.raises(ValueError, match="expected it to cover u"):
        inverse_cdf(torch.special.ndtr, u, -1.0, 1.0)
    with pytest.raises(ValueError, match="cdf falls somewhere"):
        inverse_cdf(lambda x: torch.special.ndtr(-x), u, -9.0, 9.0)
    with pytest.raises(ValueError, match=r"u reaches from 0.5 to 1, expected numbers in \[0, 1\)"):
        inverse_cdf(torch.special.ndtr, torch.tensor([0.5, 1.0]), -9.0, 9.0)


def test_categorical_from_uniforms_cuts_the_unit_interval():
    probs = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0], dtype=torch.float64)
    u = torch.tensor([0.0, 0.2499, 0.25, 1 - 2**-53], dtype=torch.float64)
    assert categorical_from_uniforms(probs, u).tolist() == [1, 1, 3, 3]


def test_categorical_never_falls_off_the_end_through_rounding():
    probs = torch.full((10,), 0.1)  # float32: sums to 1 + 1e-7
    probs[-1] -= 2e-7
    u = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert int(categorical_from_uniforms(probs, u)) == 9


def test_categorical_frequencies():
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    counts = torch.bincount(categorical(probs, 20_000, generator=rng(2)), minlength=4)
    assert passes_chi_square(counts, probs)
    assert not passes_chi_square(counts, probs.flip(0))
    assert not passes_chi_square(counts, [0.12, 0.18, 0.3, 0.4])
    assert torch.equal(categorical(probs, 50, generator=rng(3)), categorical(probs, 50, generator=rng(3)))


def test_categorical_refuses():
    with pytest.raises(ValueError, match="probs sums to one only within"):
        categorical(torch.tensor([0.5, 0.6]), 3)
    with pytest.raises(ValueError, match="n is 0, expected at least 1"):
        categorical(torch.tensor([0.5, 0.5]), 0)


def log_beta22(x):
    return torch.log(6 * x[:, 0] * (1 - x[:, 0]))


def test_rejection_draws_have_the_target_law_and_the_promised_rate():
    x, rate = rejection(log_beta22, Uniform(0.0, 1.0), math.log(1.5), 20_000, generator=rng(4))
    assert x.shape == (20_000, 1)
    edges = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    counts = torch.bincount(torch.bucketize(x[:, 0], edges), minlength=10)
    probs = torch.as_tensor(scipy.stats.beta(2, 2).cdf([0, *edges.tolist(), 1])).diff()
    assert passes_chi_square(counts, probs)
    assert not passes_chi_square(counts, [0.1] * 10)  # what the proposal alone would give
    # binomial share of about 30,000 proposals: 5.5 standard errors, two-sided failure rate 4e-8
    assert abs(rate - 1 / 1.5) < 5.5 * math.sqrt(1 / 1.5 * (1 - 1 / 1.5) / 30_000)


def test_rejection_refuses_a_bound_that_is_violated():
    with pytest.raises(ValueError, match=r"log_bound is 0.364643, expected at least 0.405"):
        rejection(log_beta22, Uniform(0.0, 1.0), math.log(1.44), 1000, generator=rng(5))


def test_rejection_refuses_nan_and_hopeless_proposals():
    with pytest.raises(ValueError, match="log_target is NaN at a proposal"):
        rejection(lambda x: torch.log(-x[:, 0]), Uniform(0.0, 1.0), 0.0, 10, generator=rng(6))
    with pytest.raises(ValueError, match="log_bound keeps 0 of 1000000 proposals"):
        rejection(log_beta22, Uniform(0.0, 1.0), 100.0, 100_000, generator=rng(7))
    with pytest.raises(ValueError, match=r"log_bound keeps [1-9]\d? of 1000000 proposals"):  # 50 expected
        rejection(log_beta22, Uniform(0.0, 1.0), math.log(20_000), 100_000, generator=rng(8))


def test_rejection_bears_a_poor_proposal():
    x, rate = rejection(log_beta22, Uniform(0.0, 1.0), math.log(500), 3_000, generator=rng(9))
    assert len(x) == 3_000
    assert abs(rate - 1 / 500) < 5.5 * math.sqrt(1 / 500 / 1_400_000)  # failure rate 4e-8
