"""Exact sampling: what comes out has the law asked for, and impossible requests are refused."""

import math

import pytest
import scipy.stats
import torch
from exact import rng

from dgmlib.core import Density
from dgmlib.sampling import (
    box_muller,
    bridge_mass,
    categorical,
    categorical_from_uniforms,
    copula_sample,
    inverse_cdf,
    metropolis,
    metropolis_kernel,
    rejection,
)
from dgmlib.worlds import GaussianMixture, bars_and_stripes, net_flux

LEVEL = 1e-7  # chance that one of these seeded tests of a right sampler fails


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


@pytest.mark.equation("eq-inverse-cdf")
@pytest.mark.notes("E0-02")
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


@pytest.mark.equation("eq-inverse-cdf")
def test_inverse_cdf_takes_one_distribution_function_for_each_number():
    scale = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    u = torch.tensor([0.1, 0.5, 0.999], dtype=torch.float64)
    x = inverse_cdf(lambda x: torch.special.ndtr(x / scale), u, -30.0, 30.0)
    torch.testing.assert_close(x, scale * torch.special.ndtri(u), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match=r"cdf runs from 0.369 to 0.631 on .* expected it to cover u"):
        inverse_cdf(lambda x: torch.special.ndtr(x / scale), torch.tensor([0.5, 0.5, 0.7]).double(), -1.0, 1.0)


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


@pytest.mark.equation("eq-slices")
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


@pytest.mark.equation("eq-rejection")
@pytest.mark.notes("H0-03")
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


@pytest.mark.equation("eq-rejection")
def test_rejection_divides_by_a_proposal_that_is_not_flat():
    narrow, wide = (GaussianMixture([1.0], [[1.0]], [[[var]]]) for var in (0.25, 1.0))
    x, rate = rejection(lambda x: narrow.log_prob(x) + 3, wide, 3 + math.log(2), 20_000, generator=rng(19))
    edges = torch.linspace(0.25, 1.75, 7, dtype=torch.float64)
    counts = torch.bincount(torch.bucketize(x[:, 0].contiguous(), edges), minlength=8)
    law = lambda std: torch.cat([torch.zeros(1), torch.special.ndtr((edges - 1) / std), torch.ones(1)]).diff()  # noqa: E731
    assert passes_chi_square(counts, law(0.5))
    assert not passes_chi_square(counts, law(1 / math.sqrt(5)))  # f q, the proposal multiplied instead of divided by
    assert abs(rate - 0.5) < 5.5 * math.sqrt(0.25 / 40_000)  # failure rate 4e-8


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


# --- Box-Muller -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-box-muller")
def test_box_muller_makes_two_independent_normals():
    u = torch.rand(40_000, 2, generator=rng(10), dtype=torch.float64)
    x = box_muller(u)
    edges = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5], dtype=torch.float64)
    cdf = torch.cat([torch.zeros(1), torch.special.ndtr(edges), torch.ones(1)]).diff()
    cell = torch.bucketize(x.contiguous(), edges)
    counts = torch.bincount(cell[:, 0] * 6 + cell[:, 1], minlength=36)
    assert passes_chi_square(counts, torch.outer(cdf, cdf).flatten())
    half = torch.bucketize((x / math.sqrt(2)).contiguous(), edges)
    assert not passes_chi_square(
        torch.bincount(half[:, 0] * 6 + half[:, 1], minlength=36), torch.outer(cdf, cdf).flatten()
    )


@pytest.mark.equation("eq-box-muller")
def test_box_muller_is_a_radius_and_an_angle():
    x = box_muller(torch.tensor([[0.0, 0.3], [1 - math.exp(-2), 0.125], [0.5, 0.75]], dtype=torch.float64))
    wanted = torch.tensor([[0.0, 0.0], [2**0.5, 2**0.5], [0.0, -math.sqrt(2 * math.log(2))]], dtype=torch.float64)
    torch.testing.assert_close(x, wanted, atol=1e-12, rtol=0)


def test_box_muller_refuses(untyped):
    with pytest.raises(ValueError, match=r"u has shape \(2, 3\), expected \(2, 2\)"):
        box_muller(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"u reaches from 0.5 to 1, expected numbers in \[0, 1\)"):
        box_muller(torch.tensor([[0.5, 1.0]]))


# --- walking --------------------------------------------------------------------------------------------------------


def random_proposal(k, seed=0):
    return torch.rand(k, k, generator=rng(seed), dtype=torch.float64).pow(2).softmax(1)


@pytest.mark.equation("eq-metropolis")
def test_the_kernel_balances_and_keeps_its_law():
    for seed in range(5):
        weights = 0.05 + torch.rand(5, generator=rng(seed), dtype=torch.float64)
        kernel = metropolis_kernel(weights, random_proposal(5, seed))
        assert (kernel >= -1e-15).all()
        torch.testing.assert_close(kernel.sum(1), torch.ones(5, dtype=torch.float64))
        torch.testing.assert_close(weights @ kernel, weights)
        assert net_flux(kernel).abs().max() < 1e-12
        torch.testing.assert_close(kernel, metropolis_kernel(7 * weights, random_proposal(5, seed)))


@pytest.mark.equation("eq-metropolis")
def test_the_kernel_accepts_with_hastings_ratio():
    weights, proposal = torch.tensor([1.0, 3.0]).double(), torch.tensor([[0.2, 0.8], [0.5, 0.5]]).double()
    up, down = 0.8 * min(1, 3 * 0.5 / 0.8), 0.5 * min(1, 0.8 / (3 * 0.5))
    wanted = torch.tensor([[1 - up, up], [down, 1 - down]], dtype=torch.float64)
    torch.testing.assert_close(metropolis_kernel(weights, proposal), wanted)
    one_way = metropolis_kernel(weights, torch.tensor([[0.2, 0.8], [0.0, 1.0]]).double())
    torch.testing.assert_close(one_way, torch.eye(2, dtype=torch.float64))  # what cannot be undone is not done


def test_flips_of_one_pixel_never_leave_a_picture_of_bars_and_stripes():
    law = bars_and_stripes()
    six = law.states[law.probs > 0]
    assert ((six[:, None] - six).abs().sum(-1) == 1).sum() == 0


@pytest.mark.equation("eq-metropolis-rate")
def test_the_walk_has_the_law_and_the_promised_rate():
    start = torch.randn(60_000, 1, generator=rng(11), dtype=torch.float64)
    path, accepted = metropolis(lambda x: -0.5 * x[:, 0] ** 2 + 3, start, 1.5, 3, generator=rng(12))
    assert path.shape == (4, 60_000, 1) and torch.equal(path[0], start) and accepted.shape == (60_000,)
    moved = (path.diff(dim=0) != 0).double().mean((0, 2))
    torch.testing.assert_close(accepted, moved)
    truth = 2 / math.pi * math.atan(2 / 1.5)
    assert abs(float(accepted.mean()) - truth) < 5.5 * float(accepted.std()) / math.sqrt(60_000)  # failure 4e-8
    edges = torch.linspace(-2, 2, 9, dtype=torch.float64)
    cdf = torch.cat([torch.zeros(1), torch.special.ndtr(edges), torch.ones(1)]).diff()
    for x in path[1:]:
        assert passes_chi_square(torch.bincount(torch.bucketize(x[:, 0].contiguous(), edges), minlength=10), cdf)
    step = (path[1] - path[0])[path[1] != path[0]]
    assert 0.8 < float(step.std()) < 1.5  # shorter steps are accepted more often


@pytest.mark.equation("eq-metropolis")
def test_the_walk_finds_a_law_it_did_not_start_in():
    def log_target(x):  # a square with two unequal halves, unnormalised
        inside = ((x >= 0) & (x < 1)).all(1)
        return torch.where(inside, torch.where(x[:, 0] < 0.5, math.log(3.0), 0.0), -math.inf)

    start = torch.full((20_000, 2), 0.9, dtype=torch.float64)
    path, _ = metropolis(log_target, start, 0.5, 60, generator=rng(13))
    left = (path[-1, :, 0] < 0.5).double()
    counts = torch.stack([(1 - left).sum(), left.sum()])
    assert passes_chi_square(counts, [0.25, 0.75])
    assert not passes_chi_square(counts, [0.5, 0.5])
    assert ((path >= 0) & (path < 1)).all()


def test_walks_repeat_and_keep_their_dtype():
    start = torch.zeros(3, 2)
    walk = lambda: metropolis(lambda x: -x.square().sum(1), start, 0.3, 5, generator=rng(14))  # noqa: E731
    assert torch.equal(walk()[0], walk()[0]) and walk()[0].dtype == walk()[1].dtype == torch.float32


def test_walks_and_kernels_refuse(untyped):
    start, law = torch.zeros(2, 1), lambda x: -x.square().sum(1)
    with pytest.raises(ValueError, match="log_target is NaN or minus infinity where a walk starts"):
        metropolis(lambda x: torch.log(x[:, 0]), start, 0.3, 5)
    with pytest.raises(ValueError, match="step_size is 0"):
        metropolis(law, start, 0.0, 5)
    with pytest.raises(ValueError, match="n_steps is 0"):
        metropolis(law, start, 0.3, 0)
    with pytest.raises(ValueError, match=r"x has shape \(2,\), expected 2 axes"):
        metropolis(law, torch.zeros(2), 0.3, 5)
    with pytest.raises(ValueError, match="x has 1 NaN"):
        metropolis(law, torch.tensor([[0.0], [math.nan]]), 0.3, 5)
    proposal = torch.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="probs reaches down to 0, expected weights above zero"):
        metropolis_kernel(torch.tensor([0.0, 1.0]), proposal)
    with pytest.raises(ValueError, match="probs has 1 NaN"):
        metropolis_kernel(torch.tensor([math.nan, 1.0]), proposal)
    with pytest.raises(ValueError, match=r"proposal has shape \(2, 2\), expected \(3, 3\)"):
        metropolis_kernel(torch.ones(3), proposal)
    with pytest.raises(ValueError, match="proposal sums to one only within"):
        metropolis_kernel(torch.ones(2), 2 * proposal)


# --- pushing noise --------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-bridge")
@pytest.mark.notes("N1-004", "E1-05")
def test_the_bridge_is_what_a_clipped_line_leaves_and_no_map_leaves_less():
    z = torch.special.ndtri((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    for half_gap, lipschitz in ((2.0, 5.0), (1.0, 1.0), (0.5, 20.0)):
        bound = bridge_mass(half_gap, lipschitz)
        assert bound == pytest.approx(2 * scipy.stats.norm.cdf(half_gap / lipschitz) - 1)
        clipped = ((lipschitz * z).abs() < half_gap).double().mean()
        assert float(clipped) == pytest.approx(bound, abs=2e-5)
        for f in (torch.sin, torch.tanh, lambda x: x - 0.5 * torch.tanh(x)):  # 1-Lipschitz, odd
            assert float(((lipschitz * f(z)).abs() < half_gap).double().mean()) >= bound - 2e-5


def test_bridges_refuse():
    with pytest.raises(ValueError, match="half_gap is 0"):
        bridge_mass(0.0, 2.0)
    with pytest.raises(ValueError, match="lipschitz is 0"):
        bridge_mass(1.0, 0.0)


def table(n=200, seed=15):
    x = torch.randn(n, 3, generator=rng(seed), dtype=torch.float64)
    return torch.stack([x[:, 0].exp(), x[:, 0] + 0.5 * x[:, 1], -(x[:, 0] ** 3) + x[:, 2]], 1)


@pytest.mark.equation("eq-copula")
def test_made_rows_keep_each_column_and_the_ranks_together():
    data = table()
    rows = copula_sample(data, 20_000, generator=rng(16))
    assert rows.shape == (20_000, 3) and rows.dtype == torch.float64
    for made, real in zip(rows.T, data.T, strict=True):
        counts = torch.bincount(torch.searchsorted(real.sort().values, made.contiguous()), minlength=200)
        assert passes_chi_square(counts, [1 / 200] * 200)
    ranks = (data.argsort(0).argsort(0) + 0.5) / 200
    wanted = torch.corrcoef(torch.special.ndtri(ranks).T)
    found = torch.corrcoef(torch.special.ndtri((rows.argsort(0).argsort(0) + 0.5) / 20_000).T)
    # ties: each of 200 values is drawn about 100 times, which blunts a correlation by less than 0.02
    assert (wanted - found).abs().max() < 0.05 and wanted.abs().min() > 0.6


def test_made_rows_repeat_and_bear_ties():
    data = torch.tensor([[1.0, 5.0], [1.0, 5.0], [2.0, 7.0], [1.0, 9.0]])
    rows = copula_sample(data, 50, generator=rng(17))
    assert torch.equal(rows, copula_sample(data, 50, generator=rng(17))) and rows.dtype == torch.float32
    assert set(rows[:, 0].tolist()) <= {1.0, 2.0} and set(rows[:, 1].tolist()) <= {5.0, 7.0, 9.0}
    single = copula_sample(data[:, :1], 1000, generator=rng(18))
    assert single.shape == (1000, 1) and 0.1 < float((single == 2).double().mean()) < 0.4


def test_ties_make_no_dependence(n=2000):
    coins = torch.randint(2, (n, 2), generator=rng(19)).double()
    rows = copula_sample(coins, 40_000, generator=rng(20))
    found, wanted = torch.corrcoef(rows.T)[0, 1], torch.corrcoef(coins.T)[0, 1]
    assert abs(wanted) < 5.5 / math.sqrt(n) and abs(found - wanted) < 5.5 / math.sqrt(40_000) + 0.4 * abs(wanted)


def test_tables_that_cannot_be_copied_are_refused(untyped):
    with pytest.raises(ValueError, match="table has a column with a single value"):
        copula_sample(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), 5)
    with pytest.raises(ValueError, match="table has columns whose ranks determine one another"):
        copula_sample(torch.arange(5.0)[:, None].expand(5, 2), 5)
    with pytest.raises(ValueError, match="table has 1 NaN"):
        copula_sample(torch.tensor([[1.0, 2.0], [math.nan, 3.0]]), 5)
    with pytest.raises(ValueError, match="n is 0"):
        copula_sample(table(), 0)
