"""Estimators and likelihoods against SciPy, scikit-learn, autograd, enumeration and quadrature."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from exact import f64, normal, rng
from sklearn.linear_model import Lasso, Ridge
from torch.distributions import MultivariateNormal

from dgmlib.bugs import wrong
from dgmlib.divergences import cross_entropy, entropy, kl_divergence
from dgmlib.estimation import (
    bernoulli_log_prob,
    bernoulli_mle,
    beta_mode,
    beta_posterior,
    bits_per_dim,
    categorical_log_prob,
    categorical_mle,
    categorical_predictive,
    code_lengths,
    gaussian_map,
    gaussian_mle,
    gradient_descent,
    lasso,
    least_squares,
    monte_carlo,
    newton,
    normal_posterior,
    predicted_zero_share,
    ridge,
    sandwich,
    score_moments,
    soft_threshold,
)

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


def bits(n, d, seed=0, p=0.4):
    return (torch.rand(n, d, generator=rng(seed)) < p).double()


def flips(k, n):
    """`k` ones among `n` rows of one column."""
    return (torch.arange(n) < k).double()[:, None]


def levels_of(n, d, levels, seed=0):
    return torch.randint(levels, (n, d), generator=rng(seed))


def close(a, b, rtol=1e-12, atol=1e-14):
    a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (a, b))
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# --- maximum likelihood in closed form ------------------------------------------------------------------------------


@pytest.mark.equation("eq-mle-bernoulli")
@pytest.mark.notes("N0-022")
def test_bernoulli_mle_is_the_top_of_the_likelihood_and_the_bottom_of_kl():
    x = bits(30, 3)
    best = bernoulli_mle(x)
    close(best, f64(*(sum(column.tolist()) / 30 for column in x.T)))
    grid = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    for column in range(3):
        likelihood = torch.stack([bernoulli_log_prob(x[:, [column]], p[None]).sum() for p in grid])
        data = torch.stack([1 - best[column], best[column]]).expand(999, 2)
        kl = kl_divergence(data, torch.stack([1 - grid, grid], -1))
        assert likelihood.argmax() == kl.argmin()
        close(grid[likelihood.argmax()], best[column], rtol=0, atol=0.0006)


@pytest.mark.equation("eq-mle-categorical")
@pytest.mark.notes("N0-022")
def test_categorical_mle():
    x = levels_of(40, 3, 5)
    table = categorical_mle(x, 5)
    for j, level in itertools.product(range(3), range(5)):
        close(table[j, level], (x[:, j] == level).sum().item() / 40)
    assert table.dtype == torch.float64
    close(categorical_mle(x.to(torch.uint8), 6)[:, 5], torch.zeros(3))
    total = categorical_log_prob(x, table).sum()
    for seed in range(20):
        other = (table.log() + 0.3 * normal(3, 5, seed=seed)).softmax(-1)
        assert categorical_log_prob(x, other).sum() < total
    close(-total / 40, entropy(table).sum())  # data coded with their own law cost its entropy


@pytest.mark.equation("eq-mle-gaussian")
@pytest.mark.notes("N0-022")
def test_gaussian_mle_is_stationary_and_best():
    x = normal(30, 3) @ normal(3, 3, seed=1) + 2
    mean, cov = gaussian_mle(x)
    close(mean, np.mean(x.numpy(), 0))
    close(cov, np.cov(x.numpy().T, bias=True))
    mean, root = mean.requires_grad_(), torch.linalg.cholesky(cov).requires_grad_()
    top = MultivariateNormal(mean, scale_tril=root).log_prob(x).sum()
    for gradient in torch.autograd.grad(top, (mean, root)):
        close(gradient.tril() if gradient.ndim == 2 else gradient, 0 * gradient, atol=1e-10)
    unbiased = wrong("gaussian-mle", "E0-11")(x)[1]
    assert MultivariateNormal(mean, unbiased).log_prob(x).sum() < top - 1e-3
    assert gaussian_mle(x.float())[1].dtype == torch.float32


@pytest.mark.equation("eq-mle-gaussian")
@pytest.mark.notes("E0-11")
@pytest.mark.equation("eq-mle-bias")
def test_ml_variance_is_biased_by_one_minus_one_over_n():
    # Exactly: over all 3^n samples of a law on three points.
    points, probs = f64(-1.0, 0.5, 3.0), f64(0.3, 0.5, 0.2)
    variance = probs @ points**2 - (probs @ points) ** 2
    for n in (1, 2, 4):
        ml = unbiased = 0.0
        for draw in itertools.product(range(3), repeat=n):
            weight, x = probs[list(draw)].prod(), points[list(draw), None]
            ml += weight * gaussian_mle(x)[1].item()
            if n > 1:
                unbiased += weight * wrong("gaussian-mle", "E0-11")(x)[1].item()
        close(ml, (n - 1) / n * variance, atol=1e-12)
        if n > 1:
            close(unbiased, variance)
    x = normal(5, 1)
    close(gaussian_mle(x)[1].squeeze(), x.var(correction=0))
    assert abs(gaussian_mle(x)[1].item() - x.var().item()) > 0.01  # torch's default divides by n - 1


@pytest.mark.equation("eq-least-squares")
@pytest.mark.notes("N0-022")
def test_least_squares():
    features, y = normal(30, 4), normal(30, seed=1)
    w = least_squares(features, y)
    close(w, np.linalg.lstsq(features.numpy(), y.numpy(), rcond=None)[0], rtol=1e-10)
    close(features.T @ (y - features @ w), torch.zeros(4), atol=1e-10)
    assert least_squares(features.float(), y.float()).dtype == torch.float32
    wide = normal(3, 8)
    shortest = least_squares(wide, y[:3])
    close(wide @ shortest, y[:3], rtol=1e-9)
    close(shortest, wide.T @ torch.linalg.solve(wide @ wide.T, y[:3]), rtol=1e-9)
    twins = torch.cat([features, features[:, :1]], 1)  # a repeated feature shares its weight
    close(least_squares(twins, y)[[0, 4]], w[0].expand(2) / 2, rtol=1e-9)


# --- by iteration ---------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-gradient-descent")
def test_gradient_descent_follows_its_recursion():
    scale = f64(1.0, 4.0)
    path = gradient_descent(lambda w: (scale * w**2).sum() / 2, f64(3.0, -2.0), 0.1, 7)
    assert path.shape == (8, 2)
    close(path, f64(3.0, -2.0) * (1 - 0.1 * scale) ** torch.arange(8)[:, None])
    assert gradient_descent(lambda w: (w**2).sum(), torch.ones(1), 0.1, 1).dtype == torch.float32


@pytest.mark.equation("eq-newton")
def test_newton_finds_the_maximum():
    hessian = f64((2.0, 0.5), (0.5, 1.0))
    path = newton(lambda w: w @ hessian @ w / 2 - w.sum(), f64(10.0, -3.0), 1)
    assert path.shape == (2, 2)
    close(path[0], f64(10.0, -3.0))
    close(path[1], torch.linalg.solve(hessian, torch.ones(2, dtype=torch.float64)), rtol=1e-10)
    x = f64(1.0, 3.0, 0.0, 2.0, 2.0)  # Poisson with log rate w: the maximum is at log of the mean
    path = newton(lambda w: (w.exp() - x * w).mean(), f64(0.0), 8)
    close(path[-1, 0], x.mean().log(), rtol=1e-12)
    error = (path[:, 0] - x.mean().log()).abs()
    assert (error[1:5] < error[:4] ** 2).all()  # quadratic convergence
    # theta <- theta - 2 theta on sqrt(1 + theta^2) from afar: Newton's step is -theta (1 + theta^2), and diverges
    path = newton(lambda w: (1 + w**2).sqrt().sum(), f64(1.5), 2)
    close(path[:, 0], f64(1.5, -(1.5**3), 1.5**9), rtol=1e-9)


@pytest.mark.equation("eq-gradient-descent")
@pytest.mark.notes("E0-14")
@pytest.mark.equation("eq-null-space")
def test_nothing_averages_out_what_the_data_do_not_determine():
    features, y = normal(5, 20) / 20**0.5, normal(5, seed=1)
    shortest = least_squares(features, y)
    unseen = torch.eye(20, dtype=torch.float64) - torch.linalg.pinv(features) @ features
    for scale in (0.0, 1.0, 5.0):
        start = scale * normal(20, seed=2)
        path = gradient_descent(lambda w: (features @ w - y).square().sum() / 2, start, 0.5, 1500)
        close(path @ unseen.T, (unseen @ start).expand(1501, 20), atol=1e-9)  # kept at every step
        close(path[-1], shortest + unseen @ start, atol=1e-7)
    assert (unseen @ start).norm() > 10  # what 20 random parameters "average out" to


# --- how good the estimate is ---------------------------------------------------------------------------------------


def log_normal(theta, x):
    """log N(x; theta[0], exp(2 theta[1])) up to a constant."""
    return -(x - theta[0]).square() * torch.exp(-2 * theta[1]) / 2 - theta[1]


GRID = torch.linspace(-14, 15, 4001, dtype=torch.float64)


@pytest.mark.equation("eq-fisher-information")
@pytest.mark.equation("eq-score-mean")
def test_fisher_information_of_a_gaussian():
    mean, scale = 0.7, 1.3
    weights = (-((GRID - mean) ** 2) / (2 * scale**2)).softmax(-1)
    score, second_moment, curvature = score_moments(log_normal, f64(mean, math.log(scale)), GRID, weights)
    information = torch.diag(f64(1 / scale**2, 2.0))
    close(score, f64(0.0, 0.0), atol=1e-10)
    close(second_moment, information, rtol=1e-9, atol=1e-10)
    close(curvature, information, rtol=1e-9, atol=1e-10)


@pytest.mark.equation("eq-fisher-information")
def test_fisher_information_of_a_bernoulli():
    theta, x = f64(0.3), f64(0.0, 1.0)

    def log_prob(theta, x):
        return x * theta[0].log() + (1 - x) * (1 - theta[0]).log()

    score, second_moment, curvature = score_moments(log_prob, theta, x, f64(0.7, 0.3))
    close(score, f64(0.0), atol=1e-12)
    for information in (second_moment, curvature):
        close(information, f64((1 / (0.3 * 0.7),)))
    # Under another law of x the score has a mean and the two matrices part.
    score, second_moment, curvature = score_moments(log_prob, theta, x, f64(0.4, 0.6))
    close(score, f64(0.6 / 0.3 - 0.4 / 0.7))
    close(second_moment, f64((0.6 / 0.3**2 + 0.4 / 0.7**2,)))
    close(curvature, second_moment)
    # Same numbers by autograd, two coordinates, vector data
    x = normal(6, 2)

    def correlated(theta, x):
        return -(theta[0] * x[0] - x[1] * theta[1] ** 2).square()

    weights, theta = torch.full((6,), 1 / 6, dtype=torch.float64), f64(0.4, -1.1)
    score, second_moment, curvature = score_moments(correlated, theta, x, weights)
    rows = [torch.autograd.functional.jacobian(lambda t, row=row: correlated(t, row), theta) for row in x]
    hessians = [torch.autograd.functional.hessian(lambda t, row=row: correlated(t, row), theta) for row in x]
    close(score, sum(rows) / 6)
    close(second_moment, sum(torch.outer(row, row) for row in rows) / 6)
    close(curvature, -sum(hessians) / 6)


@pytest.mark.equation("eq-sandwich")
@pytest.mark.notes("E3-057")
def test_sandwich_is_right_where_the_inverse_information_is_not():
    # The model N(theta, 1), the data of variance v: the MLE is the mean, whose variance is v/n whatever the model says.
    v = 3.0
    weights = (-((GRID - 0.5) ** 2) / (2 * v)).softmax(-1)
    score, second_moment, curvature = score_moments(
        lambda theta, x: -((x - theta[0]) ** 2) / 2, f64(0.5), GRID, weights
    )
    close(score, f64(0.0), atol=1e-9)
    close(sandwich(second_moment, curvature), f64((v,)), rtol=1e-6)
    close(wrong("sandwich", "sandwich-inverse-curvature")(second_moment, curvature), f64((1.0,)))
    b, a = (root @ root.T + torch.eye(3) for root in (normal(3, 3), normal(3, 3, seed=1)))
    inverse = np.linalg.inv(a.numpy())
    close(sandwich(b, a), inverse @ b.numpy() @ inverse, rtol=1e-10)
    close(sandwich(a, a), inverse, rtol=1e-10)


@pytest.mark.equation("eq-fisher-information")
@pytest.mark.notes("E3-057", "E0-09")
@pytest.mark.equation("eq-cramer-rao")
def test_maximum_likelihood_is_efficient_but_not_best_and_not_alone():
    # Exact mean squared errors of three estimators of a coin, over all outcomes of n flips.
    n = 10

    def errors(p):
        weights = torch.as_tensor(scipy.stats.binom.pmf(np.arange(n + 1), n, p))
        mle, mode, mean = torch.zeros(3, n + 1, dtype=torch.float64)
        for k in range(n + 1):
            a, b = beta_posterior(flips(k, n), 2.0, 2.0)
            mle[k], mode[k], mean[k] = bernoulli_mle(flips(k, n))[0], beta_mode(a, b)[0], (a / (a + b))[0]
        return [(weights @ (estimate - p) ** 2).item() for estimate in (mle, mode, mean)]

    def information(p):
        law = f64(1 - p, p)
        return score_moments(
            lambda theta, x: x * theta[0].log() + (1 - x) * (1 - theta[0]).log(), f64(p), f64(0.0, 1.0), law
        )[1].item()

    for p in (0.1, 0.5):
        close(errors(p)[0], 1 / (n * information(p)))  # the MLE meets the Cramér-Rao bound,
    assert errors(0.5)[2] < errors(0.5)[1] < errors(0.5)[0]  # which biased estimators beat for some coins
    assert errors(0.02)[0] < errors(0.02)[1] < errors(0.02)[2]  # and not for others


@pytest.mark.equation("eq-monte-carlo")
def test_monte_carlo():
    values = f64(1.0, 2.0, 4.0, 9.0)
    mean, error = monte_carlo(values)
    close(mean, 4.0)
    close(error, scipy.stats.sem(values.numpy()))
    # The squared error is unbiased for the variance of the mean: exactly, over all samples of two from three points.
    points, probs = f64(-1.0, 0.5, 3.0), f64(0.3, 0.5, 0.2)
    pairs = [(probs[i] * probs[j], monte_carlo(points[[i, j]])) for i in range(3) for j in range(3)]
    variance = probs @ points**2 - (probs @ points) ** 2
    close(sum(weight * error**2 for weight, (_, error) in pairs), variance / 2)
    assert monte_carlo(values.float())[1].dtype == torch.float32


# --- priors and posteriors ------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-beta-posterior")
@pytest.mark.notes("N0-027")
@pytest.mark.equation("eq-bayes")
def test_beta_posterior_is_bayes_rule_on_a_grid():
    x = bits(12, 2)
    a, b = beta_posterior(x, 2.0, 3.5)
    close(a, 2.0 + x.sum(0))
    close(b, 3.5 + (1 - x).sum(0))
    theta = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for j in range(2):
        likelihood = torch.stack([bernoulli_log_prob(x[:, [j]], p[None]).sum() for p in theta[::50]])
        joint = likelihood.exp() * torch.as_tensor(scipy.stats.beta(2.0, 3.5).pdf(theta[::50]))
        evidence = scipy.integrate.quad(
            lambda p, j=j: bernoulli_log_prob(x[:, [j]], f64(p)).sum().exp().item() * scipy.stats.beta(2.0, 3.5).pdf(p),
            0,
            1,
        )[0]
        close(joint / evidence, scipy.stats.beta(a[j].item(), b[j].item()).pdf(theta[::50]), rtol=1e-6, atol=1e-9)


def test_beta_posterior_counts_are_whole():
    x = flips(1, 49).float()  # 49 * (1/49) is not 1 in float32
    a, b = beta_posterior(x, 1.0, 1.0)
    assert a.item() == 2.0 and b.item() == 49.0 and a.dtype == torch.float32


@pytest.mark.equation("eq-bernoulli")
@pytest.mark.notes("E0-10")
@pytest.mark.equation("eq-likelihood")
def test_likelihood_is_no_law_over_the_parameter():
    x = flips(3, 10)
    area = scipy.integrate.quad(lambda p: bernoulli_log_prob(x, f64(p)).sum().exp().item(), 0, 1)[0]
    close(area, 1 / 1320, rtol=1e-9)  # B(4, 8)
    a, b = beta_posterior(x, 1.0, 1.0)  # what does integrate to one: the posterior, which needs a prior
    posterior = scipy.integrate.quad(scipy.stats.beta(a.item(), b.item()).pdf, 0, 1)[0]
    close(posterior, 1.0, rtol=1e-9)
    narrow = f64((0.001,), (-0.002,))  # a likelihood of continuous data is a density: it may exceed one
    mean, cov = gaussian_mle(narrow)
    assert MultivariateNormal(mean, cov).log_prob(narrow).sum() > 0


@pytest.mark.equation("eq-map-coordinates")
@pytest.mark.notes("E0-12")
@pytest.mark.parametrize(
    "power, to_p",
    [(0.0, lambda phi: phi), (0.5, lambda phi: torch.sin(phi) ** 2), (1.0, torch.sigmoid)],
    ids=["p", "arcsin sqrt p", "logit p"],
)
def test_the_mode_depends_on_the_coordinate(power, to_p):
    a, b = 4.0, 8.0  # a flat prior in p, 3 ones of 10
    phi = {0.0: (1e-4, 1 - 1e-4), 0.5: (1e-3, math.pi / 2 - 1e-3), 1.0: (-9.0, 9.0)}[power]
    phi = torch.linspace(*phi, 40_001, dtype=torch.float64).requires_grad_()
    p = to_p(phi)
    (slope,) = torch.autograd.grad(p.sum(), phi)  # dp/dphi, by autograd: densities carry it, likelihoods do not
    log_density = torch.distributions.Beta(a, b).log_prob(p) + slope.log()
    close(p[log_density.argmax()].item(), beta_mode(a, b, power), atol=2e-4, rtol=0)
    likelihood = 3 * p.log() + 7 * (1 - p).log()
    close(p[likelihood.argmax()].item(), 0.3, atol=2e-4, rtol=0)  # the MLE is the same in every coordinate


@pytest.mark.equation("eq-map-coordinates")
@pytest.mark.notes("E0-12")
def test_a_flat_prior_in_another_coordinate_gives_another_mode():
    close(beta_mode(4.0, 8.0), 0.3)  # flat in p
    close(beta_mode(3.0, 7.0), 0.25)  # flat in logit p, mode in p
    close(beta_mode(3.0, 7.0, 1.0), 0.3)  # flat in logit p, mode in logit p
    close(beta_mode(f64(4.0, 3.0), f64(8.0, 7.0)), f64(0.3, 0.25))
    close(beta_mode(f64(2.0), 5.0, 0.5), f64(1.5 / 6))
    assert beta_mode(1e-3, 1e-3, 1.0) == 0.5  # no peak in p, one in logit p
    assert isinstance(beta_mode(4.0, 8.0), float)


@pytest.mark.equation("eq-dirichlet-predictive")
def test_categorical_predictive():
    x, levels, c = levels_of(15, 2, 3), 3, 1.7
    table = categorical_predictive(x, levels, c)
    close(table.sum(-1), torch.ones(2))
    # Its own definition: the ratio of Dirichlet evidences with and without the new datum
    for j, level in itertools.product(range(2), range(3)):
        counts = np.bincount(x[:, j], minlength=3)

        def log_evidence(counts):
            gamma = scipy.special.gammaln
            return gamma(levels * c) - gamma(counts.sum() + levels * c) + (gamma(counts + c) - gamma(c)).sum()

        close(table[j, level], np.exp(log_evidence(counts + np.eye(3)[level]) - log_evidence(counts)), rtol=1e-9)
    assert (categorical_predictive(x, 256, 1e-3) > 0).all()
    assert table.dtype == torch.float64


@pytest.mark.equation("eq-normal-posterior")
@pytest.mark.notes("N0-027")
@pytest.mark.equation("eq-bayes")
def test_normal_posterior_is_bayes_rule_on_a_grid():
    x, variance, prior_mean, prior_variance = normal(5) + 1, 1.7, -0.5, 0.6
    mean, posterior_variance = normal_posterior(x, variance, prior_mean, prior_variance)
    grid = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    log_joint = -((x[:, None] - grid) ** 2).sum(0) / (2 * variance) - (grid - prior_mean) ** 2 / (2 * prior_variance)
    weights = log_joint.softmax(-1)
    close(mean, weights @ grid, rtol=1e-9)
    close(posterior_variance, weights @ (grid - mean) ** 2, rtol=1e-9)
    assert normal_posterior(x.float(), 1.0, 0.0, 1.0)[0].dtype == torch.float32


@pytest.mark.equation("eq-normal-posterior")
@pytest.mark.equation("eq-ridge")
@pytest.mark.notes("E0-13")
def test_a_prior_changes_the_answer_not_the_optimiser():
    # Mean squared error at the truth 0, exactly: data enter through their mean, of variance 1/n.
    n, prior_mean, prior_variance = 20, 10.0, 0.01
    at_zero, _ = normal_posterior(torch.zeros(n, dtype=torch.float64), 1.0, prior_mean, prior_variance)
    at_one, _ = normal_posterior(torch.ones(n, dtype=torch.float64), 1.0, prior_mean, prior_variance)
    error_map, error_mle = at_zero**2 + (at_one - at_zero) ** 2 / n, 1 / n
    assert error_map > 1000 * error_mle  # a confident wrong prior
    close(at_zero, prior_mean / (1 + n * prior_variance))
    # Where a prior does help optimisation: it conditions the Hessian, and so speeds gradient descent.
    features, y = torch.diag(f64(10.0, 0.1)), f64(10.0, 0.1)

    def left(penalty):
        def loss(w):
            return (features @ w - y).square().sum() / 2 + penalty * w.square().sum() / 2

        path = gradient_descent(loss, f64(0.0, 0.0), 1 / (100 + penalty), 300)
        best = ridge(features, y, penalty) if penalty else least_squares(features, y)
        return (path[-1] - best).norm()

    assert left(0.0) > 0.9 and left(1.0) < 0.1


@pytest.mark.equation("eq-map-gaussian")
@pytest.mark.parametrize("n, degrees", [(6, 4.0), (1, 1.5)])
def test_gaussian_map_is_the_mode(n, degrees):
    x, scale = normal(n, 2), 0.8
    mean, cov = gaussian_map(x, scale, degrees)

    def log_posterior(mean, cov):
        likelihood = scipy.stats.multivariate_normal(mean.numpy(), cov.numpy()).logpdf(x.numpy()).sum()
        return (
            likelihood
            + scipy.stats.invwishart(max(degrees, 2), scale * np.eye(2)).logpdf(cov.numpy())
            - (
                degrees - max(degrees, 2)  # SciPy wants degrees >= d; the density's shape needs d - 1 only
            )
            / 2
            * np.linalg.slogdet(cov.numpy())[1]
        )

    top = log_posterior(mean, cov)
    for seed in range(40):
        root = torch.eye(2) + 0.01 * normal(2, 2, seed=seed)
        assert log_posterior(mean, root @ cov @ root.T) < top
        assert log_posterior(mean + 0.01 * normal(2, seed=seed), cov) < top
    close(mean, x.mean(0))
    assert torch.linalg.eigvalsh(cov).min() > 0
    assert gaussian_map(x.float(), scale, degrees)[1].dtype == torch.float32


def test_gaussian_map_prior_fades():
    x = normal(100_000, 2)
    close(gaussian_map(x, 1.0, 2.0)[1], gaussian_mle(x)[1], rtol=1e-3, atol=1e-3)


@pytest.mark.equation("eq-ridge")
def test_ridge():
    features, y = normal(30, 5), normal(30, seed=1)
    for penalty in (0.01, 1.0, 30.0):
        w = ridge(features, y, penalty)
        close(w, Ridge(alpha=penalty, fit_intercept=False).fit(features, y).coef_, rtol=1e-9)
    close(ridge(features, y, 1e-12), least_squares(features, y), rtol=1e-9)
    wide = normal(3, 8)
    close(wide @ ridge(wide, y[:3], 1e-9), y[:3], rtol=1e-6)  # one answer where least squares has many
    assert ridge(features.float(), y.float(), 1.0).dtype == torch.float32


@pytest.mark.equation("eq-soft-threshold")
def test_soft_threshold():
    u = f64(-3.0, -0.7, -0.2, 0.0, 0.2, 0.7, 3.0)
    w = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    for threshold in (0.0, 0.5, 2.0):
        cost = (u[:, None] - w) ** 2 / 2 + threshold * w.abs()
        close(soft_threshold(u, threshold), w[cost.argmin(-1)], rtol=0, atol=1e-4)
    close(soft_threshold(f64(2.0, 2.0), f64(0.5, 3.0)), f64(1.5, 0.0))
    assert soft_threshold(u.float(), 0.5).dtype == torch.float32


@pytest.mark.equation("eq-lasso")
@pytest.mark.parametrize("penalty", [0.1, 3.0, 12.0])
def test_lasso(penalty):
    features = normal(40, 6) @ (torch.eye(6, dtype=torch.float64) + 0.3 * normal(6, 6, seed=2))
    y = features[:, 0] - 2 * features[:, 1] + normal(40, seed=1)
    w = lasso(features, y, penalty)
    peer = Lasso(alpha=penalty / 40, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(features, y)
    close(w, peer.coef_, rtol=1e-6, atol=1e-9)
    slope = features.T @ (y - features @ w)
    close(slope[w != 0], penalty * w[w != 0].sign(), rtol=1e-5)
    assert (slope[w == 0].abs() <= penalty).all()


def test_lasso_extremes():
    features, y = normal(40, 6), normal(40, seed=1)
    assert (lasso(features, y, (features.T @ y).abs().max().item() * 1.001) == 0).all()
    assert (lasso(features, y, (features.T @ y).abs().max().item() * 0.999) != 0).any()
    close(lasso(features, y, 1e-9), least_squares(features, y), rtol=1e-6)
    orthonormal = torch.linalg.qr(features).Q
    close(lasso(orthonormal, y, 0.3, 1), soft_threshold(orthonormal.T @ y, 0.3), atol=1e-12)  # exact in one sweep
    before = y.clone()
    assert lasso(features.float(), y.float(), 1.0).dtype == torch.float32
    assert torch.equal(y, before)


def test_lasso_sweeps_are_coordinate_steps():
    features, y = f64((1.0, 0.5), (0.0, 1.0)), f64(2.0, 1.0)
    first = soft_threshold(features[:, 0] @ y, 0.1)  # then the second coordinate given the first
    second = soft_threshold(features[:, 1] @ (y - features[:, 0] * first) / 1.25, 0.1 / 1.25)
    close(lasso(features, y, 0.1, 1), torch.stack([first, second]))


# --- likelihoods of images, and their price in bits -----------------------------------------------------------------


@pytest.mark.equation("eq-bernoulli")
def test_bernoulli_log_prob():
    probs, every = f64(0.2, 0.7, 0.5), f64(*itertools.product([0.0, 1.0], repeat=3))
    log_prob = bernoulli_log_prob(every, probs)
    close(log_prob, torch.distributions.Bernoulli(probs).log_prob(every).sum(-1), rtol=1e-6)
    close(log_prob.exp().sum(), 1.0)
    close(bernoulli_log_prob(f64((0.0, 1.0)), f64(0.0, 1.0)), f64(0.0))
    assert (bernoulli_log_prob(f64((1.0, 1.0), (0.0, 0.0)), f64(0.0, 1.0)) == -math.inf).all()
    close(bernoulli_log_prob(f64((1.0,)), f64(1e-300)), f64(-300 * math.log(10)))
    assert bernoulli_log_prob(every.float(), probs.float()).dtype == torch.float32
    logits = normal(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: bernoulli_log_prob(every, logits.sigmoid()), logits)


def test_bernoulli_log_prob_has_a_gradient_where_a_sigmoid_saturates():
    logits = torch.tensor([40.0, -200.0], requires_grad=True)  # in float32 exactly 1 and 0
    bernoulli_log_prob(torch.tensor([[1.0, 0.0]]), logits.sigmoid()).sum().backward()
    assert (logits.grad == 0).all()


@pytest.mark.equation("eq-categorical")
def test_categorical_log_prob():
    probs = normal(2, 3).softmax(-1)
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    log_prob = categorical_log_prob(every, probs)
    close(log_prob, torch.distributions.Categorical(probs).log_prob(every).sum(-1), rtol=1e-10)
    close(log_prob.exp().sum(), 1.0)
    assert categorical_log_prob(every.to(torch.uint8), probs.float()).dtype == torch.float32
    impossible = f64((0.5, 0.5, 0.0), (0.2, 0.3, 0.5))
    assert categorical_log_prob(torch.tensor([[2, 0]]), impossible).item() == -math.inf


@pytest.mark.equation("eq-categorical")
@pytest.mark.notes("N3-073")
@pytest.mark.equation("eq-likelihood")
def test_the_product_of_likelihoods_has_the_same_maximum_and_underflows():
    grid = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    few, many = bits(20, 1), bits(10_000, 1)
    each = torch.stack([bernoulli_log_prob(few, p[None]) for p in grid])
    assert each.exp().prod(-1).argmax() == each.sum(-1).argmax() == (grid - few.mean()).abs().argmin()
    each = torch.stack([bernoulli_log_prob(many, p[None]) for p in grid])
    assert (each.exp().prod(-1) == 0).all()
    assert each.sum(-1).isfinite().all()
    assert abs(grid[each.sum(-1).argmax()] - many.mean()) <= 0.026


@pytest.mark.equation("eq-bernoulli")
@pytest.mark.notes("N3-072", "E3-024")
@pytest.mark.equation("eq-empirical")
def test_mean_log_likelihood_estimates_the_expected_one():
    truth, model, n = f64(0.2, 0.5), f64(0.3, 0.4), 100_000
    x = (torch.rand(n, 2, generator=rng(), dtype=torch.float64) < truth).double()
    mean, error = monte_carlo(bernoulli_log_prob(x, model))
    p, q = (torch.stack([1 - probs, probs], -1) for probs in (truth, model))
    assert abs(mean + cross_entropy(p, q).sum()) < Z * error
    assert abs(mean + entropy(p).sum()) > Z * error  # E log p_data is another number
    weights = bernoulli_log_prob(x[:0].new_tensor(list(itertools.product([0.0, 1.0], repeat=2))), truth).exp()
    terms = bernoulli_log_prob(f64(*itertools.product([0.0, 1.0], repeat=2)), model)
    spread = (weights @ terms**2 - (weights @ terms) ** 2).sqrt()
    close(error * math.sqrt(n), spread, rtol=0.05)  # sd/sqrt(n)


@pytest.mark.equation("eq-bits-per-dim")
def test_bits_per_dim():
    d = 12
    # Uniform over 256 levels costs 8 bits whichever scale the density uses.
    close(bits_per_dim(f64(-d * math.log(256)), d), f64(8.0))
    close(bits_per_dim(f64(0.0), d, 256), f64(8.0))
    close(bits_per_dim(f64(0.0), d), f64(0.0))
    close(bits_per_dim(f64(-10.0, -20.0), 5, 4), f64(2 / math.log(2) + 2, 4 / math.log(2) + 2))
    # The mean code length of a law is its entropy in bits.
    table = categorical_mle(levels_of(50, 3, 7), 7)
    every = torch.tensor(list(itertools.product(range(7), repeat=3)))
    log_prob = categorical_log_prob(every, table)
    possible = log_prob > -math.inf
    mean = (log_prob.exp()[possible] * bits_per_dim(log_prob[possible], 3)).sum()
    close(mean, scipy.stats.entropy(table.numpy(), base=2, axis=-1).mean(), rtol=1e-9)
    assert bits_per_dim(torch.zeros(2), 3).dtype == torch.float32


@pytest.mark.equation("eq-code-length")
def test_code_lengths():
    close(code_lengths(f64(0.5, 0.25, 0.125, 0.125)), f64(1, 2, 3, 3))
    for seed in range(50):
        p = (2 * normal(9, seed=seed)).softmax(-1)
        lengths, bits_of_entropy = code_lengths(p), scipy.stats.entropy(p.numpy(), base=2)
        assert (lengths == lengths.round()).all() and (lengths >= 1).all()
        assert (2.0**-lengths).sum() <= 1  # Kraft: a prefix code has these lengths
        assert bits_of_entropy <= (p * lengths).sum() < bits_of_entropy + 1
    assert code_lengths(f64(1.0, 0.0))[1] == math.inf


@pytest.mark.equation("eq-good-turing")
@pytest.mark.parametrize("seed, p", [(0, 0.1), (1, 0.8), (2, 0.97)])
def test_predicted_zeros_are_what_leaving_one_out_counts(seed, p):
    x = bits(12, 9, seed=seed, p=p)
    impossible = 0
    for i in range(12):
        rest = torch.cat([x[:i], x[i + 1 :]])
        impossible += bernoulli_log_prob(x[i : i + 1], bernoulli_mle(rest)).item() == -math.inf
    assert predicted_zero_share(x) == impossible / 12 > 0


@pytest.mark.equation("eq-good-turing")
def test_predicted_zeros_predict():
    # Means over 200 sets of the predicted share (n images) and of the true one (n - 1): equal in expectation.
    probs, n, differences = torch.linspace(0.005, 0.3, 30, dtype=torch.float64), 40, []
    for seed in range(200):
        x = (torch.rand(n, 30, generator=rng(seed), dtype=torch.float64) < probs).double()
        fitted = bernoulli_mle(x[1:])
        possible = torch.where(fitted == 0, 1 - probs, torch.where(fitted == 1, probs, 1.0)).prod()
        differences.append(predicted_zero_share(x) - (1 - possible))
    mean, error = monte_carlo(torch.stack(differences))
    assert abs(mean) < Z * error


# --- refusals -------------------------------------------------------------------------------------------------------

X = f64((0.0, 1.0), (1.0, 1.0))
Y = f64(1.0, 2.0)
NAN = f64((0.0, math.nan), (1.0, 1.0))
GREY = torch.tensor([[0, 1], [2, 1]])
TABLE = f64((0.2, 0.3, 0.5), (0.2, 0.3, 0.5))


def square(w):
    return w.square().sum()


def gradient_of(theta, x):
    return -((x - theta[0]) ** 2)


REFUSALS = {
    "bernoulli_mle grey": (
        lambda: bernoulli_mle(X / 2),
        ValueError,
        "x has values between whole numbers, expected",
    ),
    "bernoulli_mle NaN": (lambda: bernoulli_mle(NAN), ValueError, "x has values from nan to nan, expected"),
    "bernoulli_mle rank": (lambda: bernoulli_mle(X[0]), ValueError, r"x has shape \(2,\), expected 2 axes"),
    "bernoulli_mle int": (lambda: bernoulli_mle(X.long()), TypeError, "x has dtype torch.int64"),
    "categorical_mle range": (
        lambda: categorical_mle(GREY, 2),
        ValueError,
        "x has values from 0 to 2, expected whole numbers from 0 to 1",
    ),
    "categorical_mle low": (
        lambda: categorical_mle(GREY - 1, 3),
        ValueError,
        "x has values from -1 to 1",
    ),
    "categorical_mle float": (
        lambda: categorical_mle(X, 2),
        TypeError,
        "x has dtype torch.float64, expected an integer",
    ),
    "categorical_mle levels": (lambda: categorical_mle(0 * GREY, 1), ValueError, "levels is 1, expected at least 2"),
    "categorical_mle rank": (lambda: categorical_mle(GREY[0], 3), ValueError, r"x has shape \(2,\), expected 2 axes"),
    "gaussian_mle NaN": (lambda: gaussian_mle(NAN), ValueError, "x has 1 NaN"),
    "gaussian_mle rank": (lambda: gaussian_mle(Y), ValueError, r"x has shape \(2,\), expected 2 axes"),
    "gaussian_mle empty": (lambda: gaussian_mle(X[:0]), ValueError, r"x has shape \(0, 2\), expected at least one"),
    "least_squares y": (lambda: least_squares(X, Y[:1]), ValueError, r"y has shape \(1,\), expected \(2,\)"),
    "least_squares y NaN": (lambda: least_squares(X, NAN[0]), ValueError, "y has 1 NaN"),
    "least_squares y rank": (lambda: least_squares(X, X), ValueError, r"y has shape \(2, 2\), expected 1 axes"),
    "least_squares NaN": (lambda: least_squares(NAN, Y), ValueError, "features has 1 NaN"),
    "least_squares rank": (lambda: least_squares(Y, Y), ValueError, r"features has shape \(2,\), expected 2 axes"),
    "descent rank": (lambda: gradient_descent(square, X, 0.1, 1), ValueError, r"start has shape \(2, 2\), expected 1"),
    "descent steps": (lambda: gradient_descent(square, Y, 0.1, 0), ValueError, "n_steps is 0, expected at least 1"),
    "newton steps": (lambda: newton(square, Y, 1.5), TypeError, "n_steps is 1.5, expected an int"),
    "newton NaN": (lambda: newton(square, NAN[0], 1), ValueError, "start has 1 NaN"),
    "newton rank": (lambda: newton(square, X, 1), ValueError, r"start has shape \(2, 2\), expected 1 axes"),
    "moments weights": (
        lambda: score_moments(gradient_of, Y, Y, f64(0.2, 0.3, 0.5)),
        ValueError,
        r"weights has shape \(3,\), expected \(2,\)",
    ),
    "moments no law": (lambda: score_moments(gradient_of, Y, Y, Y), ValueError, "weights sums to one only within 2"),
    "moments rank": (
        lambda: score_moments(gradient_of, Y, Y, TABLE),
        ValueError,
        r"weights has shape \(2, 3\), expected 1",
    ),
    "moments theta": (
        lambda: score_moments(gradient_of, NAN[0], Y, f64(0.5, 0.5)),
        ValueError,
        "theta has 1 NaN",
    ),
    "moments theta rank": (
        lambda: score_moments(gradient_of, X, Y, f64(0.5, 0.5)),
        ValueError,
        r"theta has shape \(2, 2\), expected 1 axes",
    ),
    "moments x": (lambda: score_moments(gradient_of, Y, [1.0], f64(1.0)), TypeError, "x is a list"),
    "sandwich shape": (lambda: sandwich(X, TABLE), ValueError, r"curvature has shape \(2, 3\), expected \(2, 2\)"),
    "sandwich rank": (lambda: sandwich(X, Y), ValueError, r"curvature has shape \(2,\), expected 2 axes"),
    "sandwich other": (
        lambda: sandwich(TABLE, X),
        ValueError,
        r"score_second_moment has shape \(2, 3\), expected \(2, 2\)",
    ),
    "sandwich list": (lambda: sandwich([[1.0]], X), TypeError, "score_second_moment is a list"),
    "monte_carlo one": (lambda: monte_carlo(Y[:1]), ValueError, "values has one element, expected at least two"),
    "monte_carlo NaN": (lambda: monte_carlo(NAN[0]), ValueError, "values has 1 NaN"),
    "monte_carlo rank": (lambda: monte_carlo(X), ValueError, r"values has shape \(2, 2\), expected 1 axes"),
    "beta_posterior a": (lambda: beta_posterior(X, 0.0, 1.0), ValueError, r"a is 0.0, expected a number in \(0, inf\)"),
    "beta_posterior b": (lambda: beta_posterior(X, 1.0, math.inf), ValueError, "b is inf, expected a number in"),
    "beta_posterior x": (lambda: beta_posterior(X / 2, 1.0, 1.0), ValueError, "x has values between whole numbers"),
    "beta_mode a": (
        lambda: beta_mode(1.0, 3.0),
        ValueError,
        r"Beta\(1.0, 3.0\) has no interior peak in this coordinate",
    ),
    "beta_mode b": (lambda: beta_mode(3.0, 0.5, 0.5), ValueError, ".*expected a and b above 0.5"),
    "beta_mode one of many": (lambda: beta_mode(f64(3.0, 0.4), 2.0), ValueError, "Beta.*expected a and b above 1.0"),
    "predictive c": (lambda: categorical_predictive(GREY, 3, 0.0), ValueError, "concentration is 0.0, expected"),
    "predictive inf": (lambda: categorical_predictive(GREY, 3, math.inf), ValueError, "concentration is inf, expected"),
    "predictive x": (lambda: categorical_predictive(GREY, 2, 1.0), ValueError, "x has values from 0 to 2"),
    "normal_posterior variance": (lambda: normal_posterior(Y, 0.0, 0.0, 1.0), ValueError, "variance is 0.0, expected"),
    "normal_posterior inf": (lambda: normal_posterior(Y, math.inf, 0.0, 1.0), ValueError, "variance is inf, expected"),
    "normal_posterior prior": (
        lambda: normal_posterior(Y, 1.0, 0.0, 0.0),
        ValueError,
        "prior_variance is 0.0, expected",
    ),
    "normal_posterior flat": (
        lambda: normal_posterior(Y, 1.0, 0.0, math.inf),
        ValueError,
        "prior_variance is inf, expected",
    ),
    "normal_posterior NaN": (lambda: normal_posterior(NAN[0], 1.0, 0.0, 1.0), ValueError, "x has 1 NaN"),
    "normal_posterior rank": (lambda: normal_posterior(X, 1.0, 0.0, 1.0), ValueError, "x has shape .* expected 1 axes"),
    "gaussian_map scale": (lambda: gaussian_map(X, 0.0, 3.0), ValueError, "scale is 0.0, expected a number in"),
    "gaussian_map scale inf": (
        lambda: gaussian_map(X, math.inf, 3.0),
        ValueError,
        "scale is inf, expected a number in",
    ),
    "gaussian_map degrees": (lambda: gaussian_map(X, 1.0, 1.0), ValueError, r"degrees is 1.0, expected .* \(1, inf\)"),
    "gaussian_map sure": (lambda: gaussian_map(X, 1.0, math.inf), ValueError, "degrees is inf, expected"),
    "gaussian_map x": (lambda: gaussian_map(NAN, 1.0, 3.0), ValueError, "x has 1 NaN"),
    "ridge penalty": (lambda: ridge(X, Y, 0.0), ValueError, r"penalty is 0.0, expected a number in \(0, inf\)"),
    "ridge penalty inf": (lambda: ridge(X, Y, math.inf), ValueError, "penalty is inf, expected a number in"),
    "ridge y": (lambda: ridge(X, Y[:1], 1.0), ValueError, r"y has shape \(1,\), expected \(2,\)"),
    "ridge y rank": (lambda: ridge(X, X, 1.0), ValueError, r"y has shape \(2, 2\), expected 1 axes"),
    "ridge rank": (lambda: ridge(Y, Y, 1.0), ValueError, r"features has shape \(2,\), expected 2 axes"),
    "threshold": (lambda: soft_threshold(Y, -0.1), ValueError, "threshold is -0.1, expected no negative number"),
    "threshold NaN": (lambda: soft_threshold(Y, math.nan), ValueError, "threshold is nan, expected a number"),
    "threshold, one of many": (lambda: soft_threshold(Y, f64(1.0, -1.0)), ValueError, "threshold is tensor"),
    "threshold u": (lambda: soft_threshold(1.0, 0.1), TypeError, "u is a float, expected a torch.Tensor"),
    "lasso penalty": (lambda: lasso(X, Y, 0.0), ValueError, r"penalty is 0.0, expected a number in \(0, inf\)"),
    "lasso penalty inf": (lambda: lasso(X, Y, math.inf), ValueError, "penalty is inf, expected a number in"),
    "lasso column": (lambda: lasso(X * f64(0.0, 1.0), Y, 1.0), ValueError, "features has a column of zeros"),
    "lasso sweeps": (lambda: lasso(X, Y, 1.0, 0), ValueError, "n_sweeps is 0, expected at least 1"),
    "lasso y": (lambda: lasso(X, Y[:1], 1.0), ValueError, r"y has shape \(1,\), expected \(2,\)"),
    "lasso y rank": (lambda: lasso(X, X, 1.0), ValueError, r"y has shape \(2, 2\), expected 1 axes"),
    "lasso rank": (lambda: lasso(Y, Y, 1.0), ValueError, r"features has shape \(2,\), expected 2 axes"),
    "bernoulli probs": (lambda: bernoulli_log_prob(X, Y[:1]), ValueError, r"probs has shape \(1,\), expected \(2,\)"),
    "bernoulli probs rank": (
        lambda: bernoulli_log_prob(X, X),
        ValueError,
        r"probs has shape \(2, 2\), expected 1 axes",
    ),
    "bernoulli rank": (lambda: bernoulli_log_prob(Y, Y), ValueError, r"x has shape \(2,\), expected 2 axes"),
    "bernoulli grey": (
        lambda: bernoulli_log_prob(X / 2, Y / 4),
        ValueError,
        "x has values between whole numbers",
    ),
    "bernoulli over": (lambda: bernoulli_log_prob(X, Y), ValueError, "probs has values from 1 to 2, expected prob"),
    "bernoulli under": (lambda: bernoulli_log_prob(X, -Y / 4), ValueError, "probs has values from -0.5 to -0.25"),
    "bernoulli NaN": (lambda: bernoulli_log_prob(X, NAN[0]), ValueError, "probs has values from nan to nan"),
    "categorical probs": (lambda: categorical_log_prob(GREY, X), ValueError, "probs sums to one only within 1"),
    "categorical rank": (
        lambda: categorical_log_prob(GREY, TABLE[0]),
        ValueError,
        r"probs has shape \(3,\), expected 2",
    ),
    "categorical d": (lambda: categorical_log_prob(GREY[:, :1], TABLE), ValueError, r"probs has shape \(2, 3\), exp"),
    "categorical range": (lambda: categorical_log_prob(GREY + 1, TABLE), ValueError, "x has values from 1 to 3"),
    "bits d": (lambda: bits_per_dim(Y, 0), ValueError, "d is 0, expected at least 1"),
    "bits levels": (lambda: bits_per_dim(Y, 1, 0), ValueError, "levels is 0, expected at least 1"),
    "bits log_prob": (lambda: bits_per_dim(-3.0, 1), TypeError, "log_prob is a float, expected a torch.Tensor"),
    "code rank": (lambda: code_lengths(TABLE), ValueError, r"p has shape \(2, 3\), expected 1 axes"),
    "code law": (lambda: code_lengths(Y), ValueError, "p sums to one only within 2"),
    "zeros grey": (lambda: predicted_zero_share(X / 2), ValueError, "x has values between whole numbers"),
    "zeros rank": (lambda: predicted_zero_share(X[0]), ValueError, r"x has shape \(2,\), expected 2 axes"),
}


@pytest.mark.parametrize("call, error, sentence", REFUSALS.values(), ids=REFUSALS)
def test_wrong_arguments_are_refused_by_name(untyped, call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()
