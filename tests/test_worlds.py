"""The six worlds against SciPy, autograd, enumeration, quadrature and simulation."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
import scipy.stats
import torch
from exact import rng

from dgmlib import worlds
from dgmlib.worlds import Circle, DiscreteLaw, GaussianMixture, Grid2d, LinearGaussian, OrnsteinUhlenbeck

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def random_cov(d, generator, k=None):
    a = torch.randn(*([] if k is None else [k]), d, d, generator=generator, dtype=torch.float64)
    return a @ a.mT + 0.2 * torch.eye(d, dtype=torch.float64)


def random_mixture(d, k=3, seed=1):
    g = rng(seed)
    means = 2 * torch.randn(k, d, generator=g, dtype=torch.float64)
    return GaussianMixture(
        torch.arange(1.0, k + 1, dtype=torch.float64) / sum(range(k + 1)), means, random_cov(d, g, k)
    )


def points(n, d, seed=2, requires_grad=False):
    x = 2 * torch.randn(n, d, generator=rng(seed), dtype=torch.float64)
    return x.requires_grad_(requires_grad)


def assert_mean(samples, truth):
    """Every column's mean within Z standard errors of the truth."""
    error = (samples.mean(0) - truth).abs() / (samples.std(0) / math.sqrt(len(samples)))
    assert float(error.max()) < Z, error


def assert_frequencies(counts, probs):
    """Chi-square goodness of fit at level 1e-7; cells of probability zero must be empty."""
    assert (counts[probs == 0] == 0).all()
    counts, probs = counts[probs > 0].double(), probs[probs > 0]
    statistic = float(((counts - counts.sum() * probs) ** 2 / (counts.sum() * probs)).sum())
    assert statistic < scipy.stats.chi2.isf(1e-7, len(probs) - 1), statistic


# --- Gaussian algebra -----------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-world-schur")
def test_schur_complement_is_the_inverse_of_a_block_of_the_inverse():
    matrix = random_cov(5, rng())
    keep = [0, 2, 4]
    precision = torch.linalg.inv(matrix)
    torch.testing.assert_close(
        worlds.schur_complement(matrix, [1, 3]), torch.linalg.inv(precision[keep][:, keep]), atol=1e-11, rtol=0
    )
    lopsided = matrix + torch.triu(matrix, 1)  # not symmetric: the two off-diagonal blocks must not be swapped
    torch.testing.assert_close(
        worlds.schur_complement(lopsided, [1, 3]),
        torch.linalg.inv(torch.linalg.inv(lopsided)[keep][:, keep]),
        atol=1e-9,
        rtol=0,
    )


@pytest.mark.equation("eq-world-conditional")
@pytest.mark.notes("H0-28")
def test_condition_is_joint_over_marginal():
    g = rng(3)
    mean, cov = torch.randn(4, generator=g, dtype=torch.float64), random_cov(4, g)
    given, keep = [3, 1], [0, 2]
    x = torch.randn(4, generator=g, dtype=torch.float64)
    m, c = worlds.condition(mean, cov, given, x[given])
    joint = scipy.stats.multivariate_normal(mean, cov).logpdf(x)
    marginal = scipy.stats.multivariate_normal(mean[given], cov[given][:, given]).logpdf(x[given])
    assert scipy.stats.multivariate_normal(m, c).logpdf(x[keep]) == pytest.approx(joint - marginal, abs=1e-11)


@pytest.mark.equation("eq-world-product")
def test_gaussian_product_multiplies_the_densities():
    g = rng(4)
    a, b = torch.randn(2, 3, generator=g, dtype=torch.float64)
    cov_a, cov_b = random_cov(3, g), random_cov(3, g)
    mean, cov, log_scale = worlds.gaussian_product(a, cov_a, b, cov_b)
    x = points(6, 3)
    pdf = [scipy.stats.multivariate_normal(m, c).logpdf(x) for m, c in ((a, cov_a), (b, cov_b), (mean, cov))]
    np.testing.assert_allclose(pdf[0] + pdf[1], float(log_scale) + pdf[2], atol=1e-11)


@pytest.mark.parametrize(
    "call,sentence",
    [
        (lambda: worlds.schur_complement(random_cov(3, rng()), []), r"drop is \[\], expected some but"),
        (
            lambda: worlds.schur_complement(random_cov(3, rng()), [0, 1, 2]),
            "expected some but not all of 0 to 2",
        ),
        (lambda: worlds.schur_complement(random_cov(3, rng()), [1, 1]), "each once"),
        (lambda: worlds.condition(f64([0.0, 0.0]), random_cov(3, rng()), [0], f64([1.0])), "cov has shape"),
        (
            lambda: worlds.condition(f64([0.0, 0.0]), random_cov(2, rng()), [0], f64([1.0, 2.0])),
            "value has shape",
        ),
        (
            lambda: worlds.gaussian_product(f64([0.0]), f64([[1.0]]), f64([0.0, 1.0]), f64([[1.0]])),
            r"mean_b has shape \(2,\), expected \(1,\)",
        ),
        (
            lambda: worlds.gaussian_product(f64([0.0]), f64([[1.0]]), f64([0.0]), random_cov(2, rng())),
            r"cov_b has shape \(2, 2\), expected \(1, 1\)",
        ),
        (lambda: LinearGaussian([[1.0], [2.0]], [0.0], 1.0), r"mean has shape \(1,\), expected \(2,\)"),
        (lambda: LinearGaussian([[1.0]], [0.0], 0.0), "noise_std is 0.0, expected a number in"),
    ],
)
def test_gaussians_refuse(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- 1: linear-Gaussian ---------------------------------------------------------------------------------------------


@pytest.fixture
def linear():
    g = rng(5)
    return LinearGaussian(torch.randn(4, 2, generator=g, dtype=torch.float64), f64([1.0, 0.0, -1.0, 2.0]), 0.6)


@pytest.mark.equation("eq-world-linear-evidence")
def test_linear_evidence_by_quadrature_over_the_latent(linear):
    x = points(3, 4)
    grid = Grid2d(8.0, 301)
    likelihood = torch.distributions.Normal(grid.points @ linear.weight.T + linear.mean, 0.6)
    log_likelihood = likelihood.log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(linear.log_prob(x), grid.posterior(log_likelihood)[0], atol=1e-10, rtol=0)


@pytest.mark.equation("eq-world-linear-posterior")
def test_linear_posterior_by_conditioning_the_joint(linear):
    x = points(3, 4)
    joint = torch.block_diag(torch.eye(2, dtype=torch.float64), linear.cov)
    joint[:2, 2:], joint[2:, :2] = linear.weight.T, linear.weight
    mean = torch.cat([torch.zeros(2, dtype=torch.float64), linear.mean])
    m, s = linear.posterior(x)
    for row, value in zip(m, x, strict=True):
        expected_mean, expected_cov = worlds.condition(mean, joint, [2, 3, 4, 5], value)
        torch.testing.assert_close(row, expected_mean, atol=1e-11, rtol=0)
        torch.testing.assert_close(s, expected_cov, atol=1e-11, rtol=0)


@pytest.mark.equation("eq-world-linear-score")
def test_linear_score_is_the_gradient(linear):
    x = points(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(linear.log_prob(x).sum(), x)
    torch.testing.assert_close(linear.score(x), gradient, atol=1e-11, rtol=0)


def test_linear_sample_has_the_evidence_for_law(linear):
    x = linear.sample(40_000, generator=rng(6))
    assert_mean(x, linear.mean)
    centred = x - linear.mean
    assert_mean((centred[:, :, None] * centred[:, None]).flatten(1), linear.cov.flatten())


# --- 2: mixture -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-world-mixture")
@pytest.mark.parametrize("d", [1, 3])
def test_mixture_log_prob_agrees_with_scipy(d):
    mixture, x = random_mixture(d), points(7, d)
    pdf = sum(
        float(w) * scipy.stats.multivariate_normal(m, c).pdf(x)
        for w, m, c in zip(mixture.weights, mixture.means, mixture.covs, strict=True)
    )
    np.testing.assert_allclose(mixture.log_prob(x), np.log(pdf), atol=1e-11)


def test_mixture_stays_finite_far_from_every_component():
    mixture, x = random_mixture(2), f64([[1e6, -1e6]])
    assert torch.isfinite(mixture.log_prob(x)).all() and torch.isfinite(mixture.score(x)).all()
    assert float(mixture.responsibilities(x).sum()) == pytest.approx(1.0)


@pytest.mark.equation("eq-world-responsibility")
def test_responsibilities_are_gradients_with_respect_to_the_log_weights():
    mixture, x = random_mixture(2), points(1, 2)
    logits = mixture.weights.log().requires_grad_()
    by_component = torch.distributions.MultivariateNormal(mixture.means, mixture.covs).log_prob(x[:, None])
    (gradient,) = torch.autograd.grad((logits + by_component).logsumexp(-1).sum(), logits)
    torch.testing.assert_close(mixture.responsibilities(x)[0], gradient, atol=1e-12, rtol=0)


@pytest.mark.equation("eq-world-mixture-score")
@pytest.mark.parametrize("d", [1, 3])
def test_mixture_score_is_the_gradient(d):
    mixture, x = random_mixture(d), points(7, d, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    torch.testing.assert_close(mixture.score(x), gradient, atol=1e-11, rtol=0)


@pytest.mark.equation("eq-world-noised")
def test_noised_density_by_convolution():
    mixture = random_mixture(1)
    alpha, sigma, x = 0.8, 0.7, points(5, 1)
    x0 = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    kernel = torch.distributions.Normal(alpha * x0, sigma).log_prob(x)
    convolution = torch.trapezoid((kernel + mixture.log_prob(x0[:, None])).exp(), x0)
    torch.testing.assert_close(mixture.noised(alpha, sigma).log_prob(x), convolution.log(), atol=1e-10, rtol=0)


@pytest.mark.equation("eq-world-denoiser")
@pytest.mark.parametrize("alpha,sigma", [(1.0, 0.5), (0.6, 0.8), (0.3, 2.0)])
def test_denoiser_obeys_tweedie_with_a_signal_rate(alpha, sigma):
    mixture, x = random_mixture(2), points(6, 2)
    score = mixture.noised(alpha, sigma).score(x)
    denoised = mixture.denoiser(x, alpha, sigma)
    torch.testing.assert_close(denoised, (x + sigma**2 * score) / alpha, atol=1e-10, rtol=0)
    wrong = (x + sigma * score) / alpha
    assert (denoised - wrong).abs().max() > 1e-2


def test_denoiser_at_the_ends_of_the_noise_scale():
    mixture, x = random_mixture(2), points(6, 2)
    torch.testing.assert_close(mixture.denoiser(x, 1.0, 0.0), x, atol=1e-10, rtol=0)
    mean = (mixture.weights @ mixture.means).expand(6, 2)
    torch.testing.assert_close(mixture.denoiser(x, 0.0, 1.0), mean, atol=1e-12, rtol=0)


@pytest.mark.equation("eq-world-mmse")
def test_mmse_of_one_gaussian_has_a_closed_form():
    mixture = GaussianMixture([1.0], [[3.0]], [[[4.0]]])
    assert float(mixture.mmse(0.5, 2.0)) == pytest.approx(4.0 * 4.0 / (0.25 * 4.0 + 4.0), abs=1e-12)
    plane = GaussianMixture([1.0], [[3.0, 0.0]], [[[4.0, 0.0], [0.0, 1.0]]])
    assert float(plane.mmse(0.5, 2.0)) == pytest.approx(16.0 / 5.0 + 4.0 / 4.25, abs=1e-10)


@pytest.mark.equation("eq-world-mmse")
def test_mmse_of_two_points_has_the_tanh_integral():
    points_ = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[[0.0]], [[0.0]]])
    u = np.linspace(-12, 12, 24_001)
    tanh = scipy.integrate.trapezoid(np.tanh(1 / 0.64 + u / 0.8) * scipy.stats.norm.pdf(u), u)
    assert float(points_.mmse(1.0, 0.8)) == pytest.approx(1 - tanh, abs=1e-10)


@pytest.mark.parametrize("d", [1, 2])
def test_mmse_is_the_denoisers_error_and_sampling_follows_the_density(d):
    mixture, alpha, sigma, g = random_mixture(d), 0.7, 0.6, rng(7)
    x0 = mixture.sample(40_000, generator=g)
    xt = alpha * x0 + sigma * torch.randn(x0.shape, generator=g, dtype=torch.float64)
    error = (x0 - mixture.denoiser(xt, alpha, sigma)).square().sum(1)
    assert_mean(error[:, None], mixture.mmse(alpha, sigma))
    assert_mean(x0, mixture.weights @ mixture.means)


def test_mixture_sample_frequencies_match_the_distribution_function():
    mixture = random_mixture(1)
    edges = torch.linspace(-4, 4, 21, dtype=torch.float64)
    cdf = (
        mixture.weights
        * torch.distributions.Normal(mixture.means[:, 0], mixture.covs[:, 0, 0].sqrt()).cdf(edges[:, None])
    ).sum(1)
    probs = torch.cat([cdf[:1], cdf.diff(), 1 - cdf[-1:]])
    x = mixture.sample(20_000, generator=rng(8))[:, 0]
    assert_frequencies(torch.bincount(torch.bucketize(x, edges), minlength=22), probs)


def test_point_masses_can_be_sampled_and_noised_but_have_no_density():
    law = GaussianMixture([0.25, 0.75], [[-2.0], [2.0]], [[[0.0]], [[0.0]]])
    assert set(law.sample(50, generator=rng()).flatten().tolist()) == {-2.0, 2.0}
    assert torch.isfinite(law.noised(1.0, 0.1).log_prob(f64([[0.0]]))).all()
    with pytest.raises(ValueError, match="covs has a zero matrix, a point mass, expected a density"):
        law.log_prob(f64([[0.0]]))


def test_float32_comes_in_and_float64_goes_out():
    mixture = random_mixture(2)
    x = points(4, 2)
    assert mixture.denoiser(x.float(), 0.9, 0.4).dtype == torch.float64
    torch.testing.assert_close(mixture.score(x.float()), mixture.score(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "weights,means,covs,sentence",
    [
        ([0.5, 0.6], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "weights sums to one only within"),
        ([1.5, -0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "weights has a negative entry"),
        ([0.5, 0.5], [[0.0]], [[[1.0]], [[1.0]]], r"means has shape \(1, 1\), expected \(2, 1\)"),
        ([1.0], [[0.0, 0.0]], [[[1.0]]], r"covs has shape \(1, 1, 1\), expected \(1, 2, 2\)"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], r"covs\[0\] is not positive definite"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.2, 1.0]]], "covs is asymmetric by 0.3"),
        ([1.0], [[math.nan]], [[[1.0]]], "means has 1 NaN or infinite values"),
        ([], [], [], r"weights has shape \(0,\), expected at least one element"),
    ],
)
def test_mixture_refuses_what_is_not_a_mixture(weights, means, covs, sentence):
    with pytest.raises(ValueError, match=sentence):
        GaussianMixture(weights, means, covs)


def test_mixture_refuses_wrong_points_and_levels():
    mixture = random_mixture(2)
    with pytest.raises(ValueError, match=r"x has shape \(4, 3\), expected \(4, 2\)"):
        mixture.log_prob(points(4, 3))
    with pytest.raises(ValueError, match=r"sigma is -1.0, expected a number in"):
        mixture.noised(1.0, -1.0)
    with pytest.raises(ValueError, match="n is 0, expected at least 1"):
        mixture.sample(0)
    with pytest.raises(ValueError, match="the mixture has dimension 3, expected at most 2"):
        random_mixture(3).mmse(1.0, 1.0)


# --- 3: bits --------------------------------------------------------------------------------------------------------


def random_law(d=4, seed=9):
    return DiscreteLaw(torch.rand(2**d, generator=rng(seed), dtype=torch.float64).log_softmax(0).exp())


def test_bit_states_count_upwards():
    states = worlds.bit_states(3)
    assert states.tolist()[:3] == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert len(states.unique(dim=0)) == 8


def test_bars_and_stripes_defeats_pairwise_models():
    law = worlds.bars_and_stripes()
    assert [int("".join(str(int(b)) for b in s), 2) for s in law.states[law.probs > 0]] == [0, 3, 5, 10, 12, 15]
    assert float(law.entropy()) == pytest.approx(math.log(6))
    pairs = [float(law.mutual_information([i], [j])) for i in range(4) for j in range(i)]
    assert pairs == pytest.approx([0.0566330] * 6, abs=1e-6)
    independent = sum(float(law.marginal([i]).entropy()) for i in range(4)) - float(law.entropy())
    assert independent == pytest.approx(0.981, abs=5e-4)
    assert independent - 3 * pairs[0] == pytest.approx(0.811, abs=5e-4)


@pytest.mark.parametrize("d", [2, 5])
def test_even_parity_hides_from_every_proper_marginal(d):
    law = worlds.even_parity(d)
    assert float(law.entropy()) == pytest.approx((d - 1) * math.log(2))
    assert float(law.marginal(range(d - 1)).entropy()) == pytest.approx((d - 1) * math.log(2))
    assert law.conditional(dict.fromkeys(range(d - 1), 1)).probs.tolist() == ([1.0, 0.0] if d % 2 else [0.0, 1.0])


@pytest.mark.equation("eq-world-marginal")
def test_marginal_by_enumeration():
    law = random_law()
    expected = torch.zeros(4, dtype=torch.float64)
    for state, p in zip(law.states.long().tolist(), law.probs, strict=True):
        expected[2 * state[3] + state[1]] += p
    torch.testing.assert_close(law.marginal([3, 1]).probs, expected)


@pytest.mark.equation("eq-world-bit-conditional")
def test_conditional_by_enumeration():
    law = random_law()
    keep = (law.states[:, 1] == 1) & (law.states[:, 2] == 0)
    torch.testing.assert_close(law.conditional({2: 0, 1: 1}).probs, law.probs[keep] / law.probs[keep].sum())


@pytest.mark.equation("eq-world-entropy")
def test_entropy_agrees_with_scipy():
    law = random_law()
    assert float(law.entropy()) == pytest.approx(scipy.stats.entropy(law.probs), abs=1e-12)
    assert abs(float(law.entropy()) - scipy.stats.entropy(law.probs, base=2)) > 0.1


@pytest.mark.equation("eq-world-information")
def test_mutual_information_is_a_divergence_from_independence():
    law = random_law()
    table = law.marginal([0, 3, 1]).probs.reshape(2, 4)
    product = table.sum(1, keepdim=True) * table.sum(0)
    expected = float((table * (table / product).log()).sum())
    assert float(law.mutual_information([0], [3, 1])) == pytest.approx(expected, abs=1e-12)


def test_bits_are_sampled_as_often_as_log_prob_says():
    law = worlds.bars_and_stripes()
    x = law.sample(6_000, generator=rng(10))
    index = (x @ f64([8.0, 4.0, 2.0, 1.0])).long()
    assert_frequencies(torch.bincount(index, minlength=16), law.log_prob(law.states).exp())


@pytest.mark.parametrize(
    "call,sentence",
    [
        (lambda: DiscreteLaw([0.2, 0.3, 0.5]), "probs has 3 entries, expected a power of two"),
        (lambda: worlds.bit_states(17), "d is 17, expected at most 16"),
        (lambda: random_law().log_prob(f64([[0.0, 0.5, 1.0, 0.0]])), "x has entries other than 0 and 1"),
        (lambda: random_law().marginal([0, 0]), r"bits is \[0, 0\], expected some of 0 to 3, each once"),
        (lambda: random_law().conditional({4: 1}), r"given is \[4\], expected some but not all of 0 to 3"),
        (lambda: random_law().conditional({0: 2}), "given is 2, expected one of 0, 1"),
        (lambda: worlds.even_parity(2).conditional({0: 1}).conditional({0: 0}), r"given is \[0\], expected some"),
        (lambda: DiscreteLaw([0.5, 0.5, 0.0, 0.0]).conditional({0: 1}), "expected an event of positive probability"),
    ],
)
def test_bits_refuse(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- 4: the plane ---------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-world-grid")
def test_grid_integrates_a_density_to_one():
    grid = Grid2d(9.0, 200)
    cov = f64([[1.0, 0.6], [0.6, 0.8]])
    log_f = torch.distributions.MultivariateNormal(f64([0.4, -0.3]), cov).log_prob(grid.points)
    assert float(grid.integrate(log_f)) == pytest.approx(0.0, abs=1e-12)
    assert float(grid.integrate(log_f + 700.0)) == pytest.approx(700.0, abs=1e-9)  # no overflow
    assert grid.integrate(log_f.expand(3, 5, -1)).shape == (3, 5)
    assert sorted(set(Grid2d(1.0, 4).points.flatten().tolist())) == [-0.75, -0.25, 0.25, 0.75]


@pytest.mark.equation("eq-world-grid-evidence")
def test_grid_posterior_agrees_with_the_linear_model(linear):
    x = points(3, 4)
    grid = Grid2d(8.0, 301)
    likelihood = torch.distributions.Normal(grid.points @ linear.weight.T + linear.mean, linear.noise_std)
    log_evidence, cells = grid.posterior(likelihood.log_prob(x[:, None]).sum(-1))
    torch.testing.assert_close(log_evidence, linear.log_prob(x), atol=1e-10, rtol=0)
    torch.testing.assert_close(cells.sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(cells @ grid.points, linear.posterior(x)[0], atol=1e-10, rtol=0)


def test_grid_refuses():
    with pytest.raises(ValueError, match=r"extent is -1.0, expected a number in"):
        Grid2d(-1.0, 10)
    with pytest.raises(ValueError, match=r"log_f has shape \(99,\), expected \(100,\)"):
        Grid2d(1.0, 10).integrate(torch.zeros(99))


# --- 5: Ornstein-Uhlenbeck ------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-world-transition")
def test_transition_solves_the_moment_equations_and_composes():
    ou = OrnsteinUhlenbeck(1.3, 0.8, 2.0)
    x, t = f64([-1.0, 0.5]), 0.7
    mean, variance = ou.transition(x, t)
    ahead, ahead_variance = ou.transition(x, t + 1e-6)
    behind, behind_variance = ou.transition(x, t - 1e-6)
    torch.testing.assert_close((ahead - behind) / 2e-6, -1.3 * (mean - 2.0), atol=1e-8, rtol=0)
    rate_of_variance = (ahead_variance - behind_variance) / 2e-6
    torch.testing.assert_close(rate_of_variance, -2 * 1.3 * variance + 0.64, atol=1e-8, rtol=0)
    halfway, halfway_variance = ou.transition(x, 0.3)
    rest, rest_variance = ou.transition(halfway, 0.4)
    torch.testing.assert_close(rest, mean, atol=1e-14, rtol=0)
    assert float(math.exp(-2 * 1.3 * 0.4) * halfway_variance + rest_variance) == pytest.approx(float(variance))
    assert float(ou.transition(x, 1e-12)[1]) == pytest.approx(0.64e-12, rel=1e-9)  # no cancellation at short times


@pytest.mark.equation("eq-world-autocovariance")
def test_stationary_paths_have_the_autocovariance():
    ou = OrnsteinUhlenbeck(0.9, 1.1, -0.5)
    times = f64([0.0, 0.3, 1.0, 2.5])
    x = ou.sample(times, 40_000, generator=rng(11))
    assert_mean(x, torch.full((4,), -0.5, dtype=torch.float64))
    products = ((x + 0.5)[:, :, None] * (x + 0.5)[:, None]).flatten(1)
    assert_mean(products, ou.autocovariance(times[:, None] - times).flatten())
    pinned = ou.sample(times, 40_000, start=3.0, generator=rng(12))
    assert (pinned[:, 0] == 3.0).all()
    mean, variance = ou.transition(f64([3.0]), 2.5)
    assert_mean(pinned[:, 3:], mean)
    assert_mean((pinned[:, 3:] - mean).square(), variance)


def test_ornstein_uhlenbeck_refuses():
    with pytest.raises(ValueError, match=r"rate is 0.0, expected a number in"):
        OrnsteinUhlenbeck(0.0, 1.0)
    with pytest.raises(ValueError, match="times do not increase"):
        OrnsteinUhlenbeck(1.0, 1.0).sample(f64([0.0, 0.0]), 3)
    with pytest.raises(ValueError, match=r"t is -1.0, expected a number in"):
        OrnsteinUhlenbeck(1.0, 1.0).transition(f64([0.0]), -1.0)


# --- 6: the circle --------------------------------------------------------------------------------------------------


def ring(sigma, x, n=4096):
    """Density and posterior mean by the trapezoid rule over the angle, exponentially accurate on a period."""
    angle = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    x0 = torch.stack([angle.cos(), angle.sin()], 1)
    log_kernel = -(x[:, None] - x0).square().sum(-1) / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)
    return log_kernel.logsumexp(1) - math.log(n), log_kernel.softmax(1) @ x0


@pytest.mark.equation("eq-world-circle")
@pytest.mark.equation("eq-world-circle-denoiser")
@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_circle_by_quadrature_over_the_angle(sigma):
    x = torch.cat([points(6, 2), f64([[0.0, 0.0], [1.0, 0.0], [1e-9, 0.0]])])
    log_prob, denoised = ring(sigma, x)
    circle = Circle(sigma)
    torch.testing.assert_close(circle.log_prob(x), log_prob, atol=1e-9, rtol=1e-11)
    torch.testing.assert_close(circle.denoiser(x), denoised, atol=1e-9, rtol=1e-11)


@pytest.mark.equation("eq-world-circle-score")
def test_circle_score_is_the_gradient_also_at_the_centre():
    circle = Circle(0.3)
    x = torch.cat([points(6, 2), f64([[0.0, 0.0]])]).requires_grad_()
    (gradient,) = torch.autograd.grad(circle.log_prob(x).sum(), x)
    torch.testing.assert_close(circle.score(x), gradient, atol=1e-9, rtol=1e-11)


def test_circle_sample_radii_follow_rice():
    x = Circle(0.3).sample(20_000, generator=rng(13))
    radius = torch.linalg.vector_norm(x, dim=1)
    edges = torch.linspace(0.4, 1.7, 21, dtype=torch.float64)
    cdf = torch.from_numpy(scipy.stats.rice(1 / 0.3, scale=0.3).cdf(edges))
    probs = torch.cat([cdf[:1], cdf.diff(), 1 - cdf[-1:]])
    assert_frequencies(torch.bincount(torch.bucketize(radius, edges), minlength=22), probs)
    quadrant = 2 * (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    assert_frequencies(torch.bincount(quadrant, minlength=4), torch.full((4,), 0.25, dtype=torch.float64))


def test_circle_refuses():
    with pytest.raises(ValueError, match=r"sigma is 0.0, expected a number in"):
        Circle(0.0)
    with pytest.raises(TypeError, match=r"x has dtype torch.int64, expected a floating dtype"):
        Circle.log_prob(Circle(1.0), torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"x has shape \(2,\), expected 2 axes"):
        Circle.log_prob(Circle(1.0), torch.zeros(2))


# --- a Markov chain -------------------------------------------------------------------------------------------------

CHAIN = [[0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.4, 0.1, 0.5]]


@pytest.mark.equation("eq-world-stationary")
@pytest.mark.notes("H0-21")
def test_stationary_law_is_the_left_eigenvector_and_the_limit():
    transition = f64(CHAIN)
    values, vectors = scipy.linalg.eig(transition.numpy().T)
    vector = np.real(vectors[:, np.argmax(np.real(values))])
    np.testing.assert_allclose(worlds.stationary(transition), vector / vector.sum(), atol=1e-12)
    np.testing.assert_allclose(torch.linalg.matrix_power(transition, 200)[1], vector / vector.sum(), atol=1e-12)


@pytest.mark.equation("eq-world-reversal")
@pytest.mark.equation("eq-world-flux")
def test_reversal_preserves_the_law_of_pairs():
    transition = f64(CHAIN)
    pi, reverse = worlds.stationary(transition), worlds.time_reversal(transition)
    torch.testing.assert_close(pi[:, None] * transition, (pi[:, None] * reverse).T)
    torch.testing.assert_close(reverse.sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(worlds.time_reversal(reverse), transition)
    assert worlds.net_flux(transition).abs().max() > 0.01
    torch.testing.assert_close(worlds.net_flux(transition).sum(1), torch.zeros(3, dtype=torch.float64))
    reversible = (transition + reverse) / 2
    torch.testing.assert_close(worlds.net_flux(reversible), torch.zeros(3, 3, dtype=torch.float64))


def test_markov_refuses():
    with pytest.raises(ValueError, match="transition sums to one only within"):
        worlds.stationary(f64([[0.5, 0.4], [0.5, 0.5]]))
    with pytest.raises(ValueError, match="transition falls apart into closed classes"):
        worlds.stationary(torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("n", [0, -3])
def test_worlds_refuse_to_draw_nothing(n, linear):
    for density in (
        linear,
        worlds.GaussianMixture([1.0], [[0.0]], [[[1.0]]]),
        worlds.bars_and_stripes(),
        worlds.Circle(0.3),
    ):
        with pytest.raises(ValueError, match="n is"):
            density.sample(n)
