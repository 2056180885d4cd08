"""Bounds, estimators and gradients of chapter 08 against closed forms, quadrature, enumeration and torch."""

import itertools
import math

import numpy as np
import pytest
import torch
from exact import close, f64, rng
from torch.distributions import Dirichlet, MultivariateNormal, Normal

from dgmlib import vi
from dgmlib.bugs import wrong
from dgmlib.estimation import normal_posterior
from dgmlib.worlds import LinearGaussian

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def assert_mean(samples, truth):
    """The mean over the first axis within Z standard errors of `truth`, everywhere."""
    error = (samples.mean(0) - truth).abs() / (samples.std(0) / math.sqrt(len(samples)))
    assert float(error.max()) < Z, error


def roots(n, d, seed=3):
    """Lower triangular roots of random covariances."""
    return torch.linalg.cholesky(randn(n, d, d, seed=seed) @ randn(n, d, d, seed=seed).mT + 0.3 * torch.eye(d).double())


WORLD = LinearGaussian([[1.0, 0.3], [0.2, -0.8], [0.5, 0.5]], [0.1, 0.2, 0.3], 0.6)
X = f64((0.5, -0.2, 1.0), (2.0, 1.0, -0.4), (-1.0, 0.6, 0.2))
EVIDENCE = WORLD.log_prob(X)
POSTERIOR, POSTERIOR_COV = WORLD.posterior(X)
ROOT = torch.linalg.cholesky(POSTERIOR_COV).expand(3, -1, -1)
PRIOR, IDENTITY = torch.zeros(3, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64).expand(3, -1, -1)


def log_joint(z):
    return vi.log_likelihood_linear(WORLD, X, z) + vi.standard_normal_log_prob(z)


def weights(mean, chol, n, seed=0):
    z = vi.gaussian_sample(mean, chol, n, generator=rng(seed))
    return log_joint(z) - vi.gaussian_log_prob(z, mean, chol)


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-log-mean-exp")
def test_log_mean_exp():
    w = randn(7, 4)
    close(vi.log_mean_exp(w, 0), w.exp().mean(0).log())
    close(vi.log_mean_exp(w, 1), w.exp().mean(1).log())
    close(vi.log_mean_exp(w - 5000, 0), vi.log_mean_exp(w, 0) - 5000, atol=1e-9)
    close(vi.log_mean_exp(f64(-math.inf, -math.inf), 0), -math.inf)
    halves = torch.stack([vi.log_prob_is(w[:3]), vi.log_prob_is(w[4:])])
    close(vi.log_mean_exp(halves, 0), vi.log_prob_is(torch.cat([w[:3], w[4:]])))
    assert vi.log_prob_is(w.float()).dtype == torch.float32


@pytest.mark.equation("eq-importance")
def test_importance_sampling_is_unbiased_for_the_evidence():
    for mean, chol in ((PRIOR, IDENTITY), (POSTERIOR + 0.2, 1.3 * ROOT)):
        w = weights(mean, chol, 200_000)
        assert_mean((w - EVIDENCE).exp(), torch.ones(3).double())
        close(vi.log_prob_is(w), w.exp().mean(0).log())
        for bug in ("is-mean-of-logs", "is-no-k"):
            assert ((wrong("importance-evidence", bug)(w) - EVIDENCE).abs() > 0.1).all()


@pytest.mark.notes("N3-097", "E3-030")
def test_a_proposal_that_misses_states_is_biased_low():
    joint = f64(0.02, 0.05, 0.10, 0.08, 0.04, 0.01)
    full, half = torch.full((6,), 1 / 6).double(), f64(1, 1, 1, 0, 0, 0) / 3
    close((full * joint / full).sum(), 0.30)
    close((half[:3] * joint[:3] / half[:3]).sum(), 0.17)


def test_the_posterior_has_weights_without_variance():
    w = weights(POSTERIOR, ROOT, 5)
    close(w, EVIDENCE.expand(5, 3))
    close(vi.effective_sample_size(w), f64(5.0, 5.0, 5.0))


@pytest.mark.equation("eq-ess")
def test_effective_sample_size():
    w = randn(50, 3)
    p = w.softmax(0)
    close(vi.effective_sample_size(w), 1 / p.square().sum(0))
    close(vi.effective_sample_size(w - 3000), 1 / p.square().sum(0), rtol=1e-8)
    close(vi.effective_sample_size(f64((0.0,), (-math.inf,), (-math.inf,))), f64(1.0))
    close(vi.effective_sample_size(f64((-math.inf, 0.0), (-math.inf, 0.0))), f64(0.0, 2.0))


@pytest.mark.equation("eq-renyi2-gaussian")
@pytest.mark.equation("eq-importance-variance")
def test_the_variance_of_a_weight():
    grid = torch.linspace(-40, 40, 160_001, dtype=torch.float64)
    for m, v in ((0.5, 1.4), (-1.0, 0.8)):
        log_p, log_q = Normal(0.2, 1.1).log_prob(grid).double(), Normal(m, math.sqrt(v)).log_prob(grid).double()
        moment = torch.trapezoid((2 * log_p - log_q).exp(), grid)
        close(vi.renyi2_gaussian(f64(0.2), f64((1.21,)), f64(m), f64((v,))), moment.log(), rtol=1e-5, atol=1e-6)
    truth = vi.renyi2_gaussian(POSTERIOR, POSTERIOR_COV, PRIOR, IDENTITY)
    shift = (POSTERIOR[..., None] * torch.linalg.solve(2 * IDENTITY - POSTERIOR_COV, POSTERIOR[..., None])).sum((1, 2))
    close(truth, shift - (torch.logdet(POSTERIOR_COV) + torch.logdet(2 * IDENTITY - POSTERIOR_COV)) / 2)
    ratio = (weights(PRIOR, IDENTITY, 300_000) - EVIDENCE).exp()
    assert_mean(ratio.square(), truth.exp())
    assert vi.renyi2_gaussian(f64(0.0), f64((1.0,)), f64(0.0), f64((0.5,))) == math.inf
    assert vi.renyi2_gaussian(f64(0.0), f64((1.0,)), f64(0.0), f64((0.51,))) < math.inf
    cov = torch.stack([torch.eye(2), torch.diag(torch.tensor([1.0, 0.4]))]).double()
    both = vi.renyi2_gaussian(torch.zeros(2, 2).double(), torch.eye(2).double(), torch.zeros(2, 2).double(), cov)
    close(both, f64(0.0, math.inf))
    zeros = torch.zeros(3, 2, 2).double()
    close(vi.renyi2_gaussian(zeros, torch.eye(2).double(), zeros, cov.expand(3, 2, 2, 2)), both.expand(3, 2))


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-elbo")
@pytest.mark.equation("eq-elbo-linear")
def test_elbo_is_below_the_evidence_by_a_kl():
    mean, chol = POSTERIOR + randn(3, 2), roots(3, 2)
    q, p = MultivariateNormal(mean, scale_tril=chol), MultivariateNormal(POSTERIOR, POSTERIOR_COV)
    bound = vi.elbo_linear(WORLD, X, mean, chol)
    close(EVIDENCE - bound, torch.distributions.kl_divergence(q, p))
    close(vi.elbo_linear(WORLD, X, POSTERIOR, ROOT), EVIDENCE)
    close(vi.elbo_linear(WORLD, X[:1], mean[:1], chol[:1]), bound[:1])
    z = vi.gaussian_sample(mean, chol, 100_000, generator=rng())
    log_q = vi.gaussian_log_prob(z, mean, chol)
    assert_mean(log_joint(z) - log_q, bound)
    close(vi.elbo(log_joint(z), log_q), (log_joint(z) - log_q).mean(0))
    assert ((wrong("elbo", "elbo-no-entropy")(log_joint(z), log_q) - bound).abs() > 0.05).all()


@pytest.mark.equation("eq-iwae-bound")
@pytest.mark.notes("N3-102", "H3-20")
def test_iwae_rises_with_k_to_the_evidence():
    joint, q = f64(0.05, 0.12, 0.08, 0.15), torch.full((4,), 0.25).double()
    w = (joint / q).log()
    means = []
    for k in (1, 2, 4, 6):  # by enumeration of all 4^k draws
        draws = torch.cartesian_prod(*[w] * k).reshape(-1, k).T
        means.append(vi.iwae_bound(draws).mean())
    truth, variance = joint.sum().log(), (q * w.exp() ** 2).sum() - joint.sum() ** 2
    assert all(a < b for a, b in itertools.pairwise([*means, truth]))
    close(means[0], (q * w).sum())
    close(truth - means[-1], variance / (12 * joint.sum() ** 2), rtol=0.05, atol=0)


# --- Gaussian laws --------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-gaussian-log-prob")
@pytest.mark.equation("eq-gaussian-entropy")
@pytest.mark.parametrize("d", [1, 2, 5])
def test_gaussian_density_and_entropy(d):
    mean, chol, z = randn(4, d), roots(4, d), randn(6, 4, d, seed=8)
    law = MultivariateNormal(mean, scale_tril=chol)
    close(vi.gaussian_log_prob(z, mean, chol), law.log_prob(z))
    close(vi.gaussian_entropy(chol), law.entropy())
    close(vi.standard_normal_log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1), rtol=1e-6)
    assert vi.gaussian_log_prob(z.float(), mean.float(), chol.float()).dtype == torch.float32


def test_a_root_may_have_a_negative_diagonal():
    mean, chol, z = randn(4, 3), roots(4, 3) * f64(-1.0, 1.0, -1.0), randn(6, 4, 3, seed=8)  # the same covariances
    law = MultivariateNormal(mean, scale_tril=roots(4, 3))
    close(vi.gaussian_log_prob(z, mean, chol), law.log_prob(z))
    close(vi.gaussian_entropy(chol), law.entropy())


@pytest.mark.equation("eq-reparameterisation")
def test_gaussian_samples_have_their_moments_and_gradients():
    mean, chol = randn(2, 3).requires_grad_(), roots(2, 3).requires_grad_()
    z = vi.gaussian_sample(mean, chol, 100_000, generator=rng())
    assert z.shape == (100_000, 2, 3) and z.dtype == torch.float64
    with torch.no_grad():
        assert_mean(z, mean)
        offset = z - mean
        assert_mean(torch.einsum("kbi,kbj->kbij", offset, offset), chol @ chol.mT)
    noise = randn(5, 2, 3)
    close(vi.reparameterize(mean, chol, noise)[4, 1], mean[1] + chol[1] @ noise[4, 1])
    (gradient,) = torch.autograd.grad(vi.reparameterize(mean, chol, noise).sum(), mean)
    close(gradient, torch.full((2, 3), 5.0))
    again = vi.gaussian_sample(mean, chol, 100_000, generator=rng())
    assert torch.equal(z, again) and not torch.equal(z[:, 0] - mean[0], z[:, 1] - mean[1])


@pytest.mark.equation("eq-linear-likelihood")
def test_likelihood_of_the_linear_model():
    z = randn(4, 3, 2)
    law = MultivariateNormal(z @ WORLD.weight.T + WORLD.mean, 0.36 * torch.eye(3).double())
    close(vi.log_likelihood_linear(WORLD, X, z), law.log_prob(X))


# --- gradients ------------------------------------------------------------------------------------------------------

NODES, NODE_WEIGHTS = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(60))
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()


def moments(gradient):
    mean = NODE_WEIGHTS @ gradient[:, 0]
    return mean, NODE_WEIGHTS @ (gradient[:, 0] - mean) ** 2


@pytest.mark.equation("eq-pathwise")
@pytest.mark.equation("eq-score-function")
@pytest.mark.equation("eq-best-baseline")
def test_gradients_of_a_parabola():
    a, mean, std = 0.4, 1.7, 0.8
    delta = mean - a
    law = f64(mean), f64(std), NODES[:, None]

    def f(z):
        return (z[:, 0] - a) ** 2

    path, score = vi.pathwise_gradient(f, *law), vi.score_function_gradient(f, *law)
    for estimate in (path, score):
        close(moments(estimate[0])[0], 2 * delta)
        close(moments(estimate[1])[0], 2 * std)
    close(moments(path[0])[1], 4 * std**2)
    close(moments(score[0])[1], 15 * std**2 + 14 * delta**2 + delta**4 / std**2)
    baseline = vi.best_baseline(f(mean + std * NODES[:, None]), NODES[:, None] / std, NODE_WEIGHTS)
    close(baseline, f64(delta**2 + 3 * std**2))
    close(moments(vi.score_function_gradient(f, *law, baseline)[0])[1], 6 * std**2 + 8 * delta**2)
    for other in (delta**2 + std**2, 0.0, 10.0):  # E f is not the best constant
        assert moments(vi.score_function_gradient(f, *law, other)[0])[1] > 6 * std**2 + 8 * delta**2


@pytest.mark.notes("E3-041")
def test_pathwise_gradient_of_a_step_is_zero_and_the_score_functions_is_not():
    noise = randn(200_000, 1)
    law = f64(0.3), f64(1.2), noise

    def step(z):
        return (z[:, 0] > 0).double()

    assert (vi.pathwise_gradient(step, *law)[0] == 0).all()
    truth = Normal(0.0, 1.0).log_prob(torch.tensor(0.25)).exp().double() / 1.2
    assert_mean(vi.score_function_gradient(step, *law)[0], truth)


def test_gradients_in_several_dimensions():
    mean, std, noise = f64(0.3, -1.0), f64(0.5, 2.0), randn(300_000, 2)

    def f(z):
        return (z[:, 0] * z[:, 1]).sin() + z[:, 1] ** 2

    path, score = vi.pathwise_gradient(f, mean, std, noise), vi.score_function_gradient(f, mean, std, noise, 4.0)
    for ours, theirs in zip(path, score, strict=True):
        assert_mean(ours - theirs, torch.zeros(2).double())


# --- fits -----------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-cavi")
def test_mean_field_of_a_gaussian():
    mean, precision = f64(1.0, -1.0), f64((2.0, 1.2), (1.2, 1.0))
    path = vi.cavi_gaussian(mean, precision, torch.zeros(2).double(), 60)
    close(path[-1], mean, atol=1e-8)
    close(path[1], f64(1 - 1.2 * 1 / 2, -1 - 1.2 * (0.4 - 1)))
    ratio = (path[5] - mean) / (path[4] - mean)
    close(ratio, f64(0.72, 0.72))  # r^2 = precision_12^2 / (precision_11 precision_22) a sweep
    start = f64(0.5, 0.5)
    vi.cavi_gaussian(mean, precision, start, 1)
    assert start.tolist() == [0.5, 0.5]


def exact_mixture_evidence(x, k, concentration, prior_std, noise_std):
    """log p(x) of the Bayesian mixture, over all k^n assignments."""
    terms, n = [], len(x)
    for assignment in itertools.product(range(k), repeat=n):
        counts = torch.bincount(torch.tensor(assignment), minlength=k).double()
        prior = torch.full((k,), concentration).double()
        term = torch.lgamma(prior.sum()) - torch.lgamma(prior.sum() + n)
        term = term + (torch.lgamma(prior + counts) - torch.lgamma(prior)).sum()
        for j in range(k):
            rows = x[torch.tensor(assignment) == j]
            if len(rows):
                cov = noise_std**2 * torch.eye(len(rows)).double() + prior_std**2
                term = term + MultivariateNormal(torch.zeros(len(rows)).double(), cov).log_prob(rows.T).sum()
        terms.append(term)
    return torch.stack(terms).logsumexp(0)


@pytest.mark.equation("eq-cavi-mixture")
@pytest.mark.parametrize("d", [1, 2])
def test_mean_field_of_a_mixture(d):
    x = f64(-2.0, -1.5, -2.2, 1.0, 1.4, 2.0)[:, None] * torch.ones(d).double() + 0.1 * randn(6, d)
    start = randn(6, 2, seed=4).softmax(-1)
    fit = vi.cavi_mixture(x, start, 1.0, 3.0, 0.7, 40)
    truth = exact_mixture_evidence(x, 2, 1.0, 3.0, 0.7)
    assert (fit.elbo.diff() > -1e-10).all()
    assert math.log(2) < truth - fit.elbo[-1] < math.log(2) + 0.2  # one of two equal labellings
    # Term by term, with torch's divergences
    r, alpha, mean, variance, bounds = fit
    log_pi = torch.digamma(alpha) - torch.digamma(alpha.sum())
    square = (x[:, None] - mean).square().sum(-1) + d * variance
    fit_terms = Normal(0.0, 0.7).log_prob(torch.zeros(())).double() * d - square / (2 * 0.7**2)
    by_hand = (r * (fit_terms + log_pi - r.log())).sum()
    by_hand = by_hand - torch.distributions.kl_divergence(Dirichlet(alpha), Dirichlet(torch.ones(2).double()))
    for m, v in zip(mean, variance, strict=True):
        law = MultivariateNormal(m, v * torch.eye(d).double())
        prior = MultivariateNormal(torch.zeros(d).double(), 9.0 * torch.eye(d).double())
        by_hand = by_hand - torch.distributions.kl_divergence(law, prior)
    close(bounds[-1], by_hand, rtol=1e-6, atol=1e-6)
    # Broad components, soft assignments: the bound is that of its own definition, by Monte Carlo
    fit = vi.cavi_mixture(x, start, 1.0, 3.0, 1.5, 40)
    assert 0 < exact_mixture_evidence(x, 2, 1.0, 3.0, 1.5) - fit.elbo[-1] < 2
    n = 100_000
    torch.manual_seed(0)
    pi = Dirichlet(fit.concentration).sample((n,))
    mu = fit.mean + fit.variance.sqrt()[:, None] * torch.randn(n, 2, d, dtype=torch.float64)
    c = torch.stack([torch.multinomial(row, n, True) for row in fit.responsibilities], 1)  # (n, 6)
    picked = mu[torch.arange(n)[:, None], c]
    log_p = Normal(0.0, 3.0).log_prob(mu).sum((1, 2)) + Dirichlet(torch.ones(2).double()).log_prob(pi)
    log_p = log_p + pi.log().gather(1, c).sum(1) + Normal(picked, 1.5).log_prob(x).sum((1, 2))
    log_q = Normal(fit.mean, fit.variance.sqrt()[:, None]).log_prob(mu).sum((1, 2))
    log_q = log_q + Dirichlet(fit.concentration).log_prob(pi)
    log_q = log_q + fit.responsibilities.log().expand(n, -1, -1).gather(2, c[..., None]).sum((1, 2))
    assert_mean(log_p - log_q, fit.elbo[-1])


@pytest.mark.equation("eq-cavi-mixture")
def test_a_sweep_of_the_mixture_is_the_conjugate_update_of_each_component():
    x, r = randn(5, 1), torch.eye(2, dtype=torch.float64)[[0, 0, 1, 0, 1]]
    fit = vi.cavi_mixture(x, r, 0.7, 3.0, 0.5, 1)
    for j in (0, 1):
        mean, variance = normal_posterior(x[r[:, j] == 1][:, 0], 0.5**2, 0.0, 3.0**2)
        close(fit.mean[j, 0], mean)
        close(fit.variance[j], variance)
    close(fit.concentration, f64(3.7, 2.7))


@pytest.mark.notes("H4-18")
def test_a_small_concentration_prunes_components():
    x = torch.cat([randn(40, 1) * 0.3 - 2, randn(40, 1, seed=1) * 0.3 + 2])
    start = randn(80, 6, seed=2).mul(0.3).softmax(-1)
    sizes = [(vi.cavi_mixture(x, start, a, 3.0, 0.3, 400).responsibilities.sum(0) > 1).sum() for a in (0.001, 10.0)]
    assert sizes[0] <= 3 < sizes[1]


@pytest.mark.equation("eq-svi")
@pytest.mark.notes("N3-117")
def test_svi_finds_each_datums_posterior():
    world = LinearGaussian([[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0], 0.5)  # a diagonal posterior: no noise at the end
    x = randn(4, 2)
    posterior, cov = world.posterior(x)

    def joint(z):
        return vi.log_likelihood_linear(world, x, z) + vi.standard_normal_log_prob(z)

    start = torch.zeros(4, 2, dtype=torch.float64)
    mean, log_std = vi.svi(joint, start, start, 400, 0.1, generator=rng())
    close(mean, posterior, atol=1e-6)
    close((2 * log_std).exp(), cov.diagonal().expand(4, 2), atol=1e-6)
    assert not mean.requires_grad and (start == 0).all()


def test_the_defaults_of_svi_are_those_of_its_signature():
    unsaid, said, other = (
        vi.svi(log_joint, PRIOR, PRIOR, 3, *options, generator=rng()) for options in ((), (0.05, 8), (0.05, 9))
    )
    assert all(map(torch.equal, unsaid, said)) and not torch.equal(unsaid[0], other[0])


@pytest.mark.notes("N4-066", "N4-057")
def test_svi_underestimates_correlated_variances():
    start = torch.zeros(3, 2, dtype=torch.float64)
    mean, log_std = vi.svi(log_joint, start, start, 1500, 0.05, 32, generator=rng())
    precision = torch.linalg.inv(POSTERIOR_COV)
    close((2 * log_std).exp(), (1 / precision.diagonal()).expand(3, 2), rtol=0.03)
    close(mean, POSTERIOR, atol=0.02)
    gap = EVIDENCE - vi.elbo_linear(WORLD, X, mean, torch.diag_embed(log_std.exp()))
    best = (precision.diagonal().log().sum() - torch.logdet(precision)) / 2
    assert (gap > best).all() and (gap < best + 0.002).all()


# --- annealing ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-tempered")
def test_tempered_posterior():
    close(vi.tempered_posterior(WORLD, X, 1.0)[0], POSTERIOR)
    close(vi.tempered_posterior(WORLD, X, 1.0)[1], POSTERIOR_COV)
    close(vi.tempered_posterior(WORLD, X, 0.0)[0], PRIOR)
    close(vi.tempered_posterior(WORLD, X, 0.0)[1], IDENTITY[0])
    mean, cov = vi.tempered_posterior(WORLD, X, 0.3)
    z = randn(5, 3, 2)
    log_f = vi.standard_normal_log_prob(z) + 0.3 * vi.log_likelihood_linear(WORLD, X, z)
    ratio = log_f - MultivariateNormal(mean, cov).log_prob(z)
    close(ratio, ratio[0].expand(5, 3))


@pytest.mark.equation("eq-tempered-step")
@pytest.mark.parametrize("persistence", [0.0, 0.6, 1.0])
def test_tempered_step_leaves_its_law_alone(persistence):
    mean, cov = vi.tempered_posterior(WORLD, X, 0.3)
    at_mean = vi.tempered_step(WORLD, X, mean[None], 0.3, persistence, 0 * mean[None])
    close(at_mean[0], mean)
    z, noise = randn(1, 3, 2), randn(1, 3, 2, seed=1)
    jz, jn = torch.autograd.functional.jacobian(
        lambda z, e: vi.tempered_step(WORLD, X, z, 0.3, persistence, e)[0, 1], (z, noise)
    )
    close(jz[:, 0, 1], persistence * torch.eye(2).double())
    close(jz[:, 0, 1] @ cov @ jz[:, 0, 1].T + jn[:, 0, 1] @ jn[:, 0, 1].T, cov)


def kernel(persistence):
    def move(z, beta, generator):
        noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        return vi.tempered_step(WORLD, X, z, beta, persistence, noise)

    return move


def likelihood(z):
    return vi.log_likelihood_linear(WORLD, X, z)


def test_ais_moves_at_every_inner_temperature_and_at_no_other():
    visited = []

    def stay(z, beta, generator):
        visited.append(beta)
        return z

    log_weights = vi.annealed_importance(likelihood, PRIOR[None], stay, f64(0.1, 0.3, 0.6, 1.0))
    assert visited == [0.3, 0.6]
    close(log_weights, 0.9 * likelihood(PRIOR[None]))


@pytest.mark.equation("eq-ais")
@pytest.mark.notes("H0-12")
def test_ais_is_unbiased_both_ways():
    betas = torch.linspace(0, 1, 9, dtype=torch.float64)
    for persistence in (0.0, 0.8):
        z = vi.gaussian_sample(PRIOR, IDENTITY, 100_000, generator=rng())
        up = vi.annealed_importance(likelihood, z, kernel(persistence), betas, generator=rng(1))
        assert_mean((up - EVIDENCE).exp(), torch.ones(3).double())
        z = vi.gaussian_sample(POSTERIOR, ROOT, 100_000, generator=rng(2))
        down = vi.annealed_importance(likelihood, z, kernel(persistence), betas.flip(0), generator=rng(3))
        assert_mean((down + EVIDENCE).exp(), torch.ones(3).double())
        assert (up.mean(0) < EVIDENCE).all() and (-down.mean(0) > EVIDENCE).all()
    late = wrong("annealed-importance", "ais-late-weight")
    z = vi.gaussian_sample(PRIOR, IDENTITY, 100_000, generator=rng())
    biased = late(likelihood, z, lambda z, beta, _: kernel(0.0)(z, beta, rng(5)), betas)
    assert ((biased - EVIDENCE).exp().mean(0) > 1.1).all()


@pytest.mark.equation("eq-ais-gap")
def test_the_gap_of_independent_annealing_is_a_sum_of_kls():
    betas = f64(0.0, 0.2, 1.0)
    z = vi.gaussian_sample(PRIOR, IDENTITY, 100_000, generator=rng())
    up = vi.annealed_importance(likelihood, z, kernel(0.0), betas, generator=rng(1))
    laws = [MultivariateNormal(*vi.tempered_posterior(WORLD, X, beta)) for beta in betas.tolist()]
    gap = sum(torch.distributions.kl_divergence(a, b) for a, b in itertools.pairwise(laws))
    assert_mean(up, EVIDENCE - gap)


# --- refusals -------------------------------------------------------------------------------------------------------

W2 = f64((0.0, 1.0), (2.0, 3.0))
SKEW, FLAT = f64((2.0, 1.0), (0.0, 1.0)), f64((1.0, 1.0), (1.0, 1.0))
EYE = torch.eye(2, dtype=torch.float64)
REFUSALS = {
    "renyi, NaN": (lambda: vi.renyi2_gaussian(W2[0], EYE, W2[0] * math.nan, EYE), ValueError, "mean_q has 2 NaN"),
    "renyi, NaN mean": (lambda: vi.renyi2_gaussian(W2[0] / 0, EYE, W2[0], EYE), ValueError, "mean_p has 2 NaN"),
    "renyi, NaN cov": (lambda: vi.renyi2_gaussian(W2[0], EYE, W2[0], EYE * math.nan), ValueError, "cov_q has 4 NaN"),
    "renyi, skew": (
        lambda: vi.renyi2_gaussian(W2[0], SKEW, W2[0], EYE),
        ValueError,
        "cov_p is not symmetric pos",
    ),
    "renyi, flat": (lambda: vi.renyi2_gaussian(W2[0], EYE, W2[0], FLAT), ValueError, "cov_q is not symmetric pos"),
    "gradient, negative std": (
        lambda: vi.score_function_gradient(torch.sum, W2[0], f64(1.0, -2.0), W2),
        ValueError,
        "std reaches from -2 to 1, expected positive finite numbers",
    ),
    "gradient, NaN std": (
        lambda: vi.pathwise_gradient(torch.sum, W2[0], f64(1.0, math.nan), W2),
        ValueError,
        "std reaches from nan to nan",
    ),
    "pathwise, column": (
        lambda: vi.pathwise_gradient(lambda z: z[:, :1], W2[0], W2[1], W2),
        ValueError,
        r"f\(z\) has shape \(2, 1\), expected \(2,\)",
    ),
    "score function, column": (
        lambda: vi.score_function_gradient(lambda z: z[:, :1], W2[0], W2[1], W2),
        ValueError,
        r"f\(z\) has shape \(2, 1\), expected \(2,\)",
    ),
    "baseline, no score": (
        lambda: vi.best_baseline(W2[0], W2 * f64(1.0, 0.0), f64(0.5, 0.5)),
        ValueError,
        "the mean square of score reaches from 0 to",
    ),
    "baseline, NaN": (lambda: vi.best_baseline(W2[0], W2 / 0, f64(0.5, 0.5)), ValueError, "score has 4 NaN or inf"),
    "cavi, skew": (lambda: vi.cavi_gaussian(W2[0], SKEW, W2[0], 1), ValueError, "precision is not symmetric"),
    "cavi, NaN": (lambda: vi.cavi_gaussian(W2[0], EYE, W2[0] / 0, 1), ValueError, "start has 2 NaN or infinite"),
    "cavi, mean": (lambda: vi.cavi_gaussian(W2[0] / 0, EYE, W2[0], 1), ValueError, "mean has 2 NaN or infinite"),
    "beta, inf": (lambda: vi.tempered_posterior(WORLD, X, math.inf), ValueError, r"beta is inf, expected a number in"),
    "tempered, NaN": (lambda: vi.tempered_posterior(WORLD, X / 0, 0.5), ValueError, "x has 9 NaN or infinite"),
    "betas, range": (
        lambda: vi.annealed_importance(likelihood, PRIOR[None], kernel(0.0), f64(0.0, 1.5)),
        ValueError,
        r"betas reaches from 0 to 1.5, expected numbers in \[0, 1\]",
    ),
    "betas, NaN": (
        lambda: vi.annealed_importance(likelihood, PRIOR[None], kernel(0.0), f64(0.0, math.nan)),
        ValueError,
        "betas reaches from nan to nan",
    ),
    "weights, list": (lambda: vi.log_prob_is([0.0]), TypeError, "log_weights is a list, expected a torch.Tensor"),
    "weights, axes": (lambda: vi.log_prob_is(f64(0.0)), ValueError, r"log_weights has shape \(1,\), expected 2 axes"),
    "weights, iwae": (lambda: vi.iwae_bound(f64(0.0)), ValueError, r"log_weights has shape \(1,\), expected 2 axes"),
    "weights, int": (lambda: vi.log_mean_exp(torch.ones(2).long(), 0), TypeError, "log_weights has dtype torch.int64"),
    "weights, empty": (lambda: vi.log_mean_exp(f64(), 0), ValueError, r"log_weights has shape \(0,\), expected at"),
    "ess": (lambda: vi.effective_sample_size(f64(0.0)), ValueError, r"log_weights has shape \(1,\), expected 2 axes"),
    "iwae, int": (
        lambda: vi.iwae_bound(W2.long()),
        TypeError,
        "log_weights has dtype torch.int64, expected a floating",
    ),
    "ess, empty": (
        lambda: vi.effective_sample_size(W2[:0]),
        ValueError,
        r"log_weights has shape \(0, 2\), expected at",
    ),
    "elbo, log_q": (lambda: vi.elbo(W2, W2[:1]), ValueError, r"log_q has shape \(1, 2\), expected \(2, 2\)"),
    "elbo, axes": (lambda: vi.elbo(W2[0], W2[0]), ValueError, r"log_joint has shape \(2,\), expected 2 axes"),
    "renyi": (
        lambda: vi.renyi2_gaussian(W2[0], W2, W2[0][:1], W2),
        ValueError,
        r"mean_q has shape \(1,\), expected \(2,\)",
    ),
    "renyi, int": (lambda: vi.renyi2_gaussian(W2[0].long(), W2, W2[0], W2), TypeError, "mean_p has dtype torch.int64"),
    "chol": (
        lambda: vi.gaussian_sample(W2, W2, 3),
        ValueError,
        r"chol has shape \(2, 2\), expected 3 axes: \(2, 2, 2\)",
    ),
    "n_samples": (lambda: vi.gaussian_sample(PRIOR, ROOT, 0), ValueError, "n_samples is 0, expected at least 1"),
    "noise": (
        lambda: vi.reparameterize(PRIOR, ROOT, randn(4, 1, 2)),
        ValueError,
        r"noise has shape \(4, 1, 2\), expected \(4, 3, 2\)",
    ),
    "reparameterize, chol": (
        lambda: vi.reparameterize(PRIOR, ROOT[:1], randn(4, 3, 2)),
        ValueError,
        r"chol has shape \(1, 2, 2\), expected \(3, 2, 2\)",
    ),
    "z": (lambda: vi.gaussian_log_prob(W2, PRIOR, ROOT), ValueError, r"z has shape \(2, 2\), expected 3 axes"),
    "z, batch": (
        lambda: vi.gaussian_log_prob(randn(4, 1, 2), PRIOR, ROOT),
        ValueError,
        r"mean has shape \(3, 2\), expected \(1, 2\)",
    ),
    "entropy": (lambda: vi.gaussian_entropy(W2), ValueError, r"chol has shape \(2, 2\), expected 3 axes"),
    "entropy, int": (lambda: vi.gaussian_entropy(ROOT.long()), TypeError, "chol has dtype torch.int64"),
    "prior, list": (lambda: vi.standard_normal_log_prob([0.0]), TypeError, "z is a list, expected a torch.Tensor"),
    "prior": (lambda: vi.standard_normal_log_prob(W2), ValueError, r"z has shape \(2, 2\), expected 3 axes"),
    "likelihood, x": (
        lambda: vi.log_likelihood_linear(WORLD, W2, randn(4, 2, 2)),
        ValueError,
        r"x has shape \(2, 2\), expected \(2, 3\)",
    ),
    "likelihood, z": (
        lambda: vi.log_likelihood_linear(WORLD, X, randn(4, 2, 2)),
        ValueError,
        r"z has shape \(4, 2, 2\), expected \(4, 3, 2\)",
    ),
    "elbo-linear": (lambda: vi.elbo_linear(WORLD, X, PRIOR, W2), ValueError, r"chol has shape \(2, 2\), expected"),
    "elbo-linear, x": (
        lambda: vi.elbo_linear(WORLD, W2, PRIOR[:2], ROOT[:2]),
        ValueError,
        r"x has shape \(2, 2\), expected \(2, 3\)",
    ),
    "elbo-linear, batch": (
        lambda: vi.elbo_linear(WORLD, W2, PRIOR, ROOT),
        ValueError,
        r"mean has shape \(3, 2\), expected \(2, 2\)",
    ),
    "pathwise, noise": (
        lambda: vi.pathwise_gradient(torch.sum, W2[0], W2[0], randn(3, 1)),
        ValueError,
        r"noise has shape \(3, 1\), expected \(3, 2\)",
    ),
    "score function, std": (
        lambda: vi.score_function_gradient(torch.sum, W2[0], f64(1.0), W2),
        ValueError,
        r"std has shape \(1,\), expected \(2,\)",
    ),
    "gradient, std": (
        lambda: vi.pathwise_gradient(torch.sum, W2[0], f64(1.0), W2),
        ValueError,
        r"std has shape \(1,\), expected \(2,\)",
    ),
    "gradient, noise": (
        lambda: vi.score_function_gradient(torch.sum, W2[0], W2[0], randn(3, 1)),
        ValueError,
        r"noise has shape \(3, 1\), expected \(3, 2\)",
    ),
    "baseline": (
        lambda: vi.best_baseline(f64(1.0), W2, f64(0.5, 0.5)),
        ValueError,
        r"score has shape \(2, 2\), expected \(1, 2\)",
    ),
    "baseline, score": (
        lambda: vi.best_baseline(W2[0], W2[:1], f64(0.5, 0.5)),
        ValueError,
        r"score has shape \(1, 2\), expected \(2, 2\)",
    ),
    "baseline, weights": (
        lambda: vi.best_baseline(W2[0], W2, f64(0.5, 0.6)),
        ValueError,
        "weights sums to one only within",
    ),
    "svi, steps": (lambda: vi.svi(log_joint, PRIOR, PRIOR, 0), ValueError, "n_steps is 0, expected at least 1"),
    "svi, step": (lambda: vi.svi(log_joint, PRIOR, PRIOR, 1, 0.0), ValueError, "step_size is 0.0, expected a number"),
    "svi, log_std": (lambda: vi.svi(log_joint, PRIOR, W2, 1), ValueError, r"log_std has shape \(2, 2\), expected"),
    "svi, NaN": (lambda: vi.svi(log_joint, PRIOR * math.nan, PRIOR, 1), ValueError, "mean has 6 NaN or infinite"),
    "cavi, precision": (
        lambda: vi.cavi_gaussian(f64(0.0), W2, f64(0.0), 1),
        ValueError,
        r"precision has shape \(2, 2\), expected \(1, 1\)",
    ),
    "cavi, start": (
        lambda: vi.cavi_gaussian(W2[0], W2, f64(0.0), 1),
        ValueError,
        r"start has shape \(1,\), expected \(2,\)",
    ),
    "cavi, sweeps": (lambda: vi.cavi_gaussian(W2[0], W2, W2[0], 0), ValueError, "n_sweeps is 0, expected at least 1"),
    "mixture, x": (
        lambda: vi.cavi_mixture(W2 * math.nan, W2, 1.0, 1.0, 1.0, 1),
        ValueError,
        "x has 4 NaN or infinite",
    ),
    "mixture, responsibilities": (
        lambda: vi.cavi_mixture(W2, W2, 1.0, 1.0, 1.0, 1),
        ValueError,
        "responsibilities sums to one only within",
    ),
    "mixture, rows": (
        lambda: vi.cavi_mixture(W2, f64((0.5, 0.5)), 1.0, 1.0, 1.0, 1),
        ValueError,
        r"responsibilities has shape \(1, 2\), expected \(2, 2\)",
    ),
    "mixture, concentration": (
        lambda: vi.cavi_mixture(W2, W2 * 0 + 0.5, 0.0, 1.0, 1.0, 1),
        ValueError,
        "concentration is 0.0, expected a number",
    ),
    "mixture, prior": (
        lambda: vi.cavi_mixture(W2, W2 * 0 + 0.5, 1.0, -1.0, 1.0, 1),
        ValueError,
        "prior_std is -1.0, expected a number",
    ),
    "mixture, noise": (
        lambda: vi.cavi_mixture(W2, W2 * 0 + 0.5, 1.0, 1.0, 0.0, 1),
        ValueError,
        "noise_std is 0.0, expected a number",
    ),
    "mixture, sweeps": (
        lambda: vi.cavi_mixture(W2, W2 * 0 + 0.5, 1.0, 1.0, 1.0, 0),
        ValueError,
        "n_sweeps is 0, expected at least 1",
    ),
    "beta": (lambda: vi.tempered_posterior(WORLD, X, -0.1), ValueError, "beta is -0.1, expected a number"),
    "tempered, x": (lambda: vi.tempered_posterior(WORLD, W2, 0.5), ValueError, r"x has shape \(2, 2\), expected"),
    "persistence": (
        lambda: vi.tempered_step(WORLD, X, PRIOR[None], 0.5, 1.1, PRIOR[None]),
        ValueError,
        "persistence is 1.1, expected a number",
    ),
    "step, z": (
        lambda: vi.tempered_step(WORLD, X, PRIOR[None, :2], 0.5, 0.1, PRIOR[None, :2]),
        ValueError,
        r"z has shape \(1, 2, 2\), expected \(1, 3, 2\)",
    ),
    "step, noise": (
        lambda: vi.tempered_step(WORLD, X, PRIOR[None], 0.5, 0.1, PRIOR[None, :2]),
        ValueError,
        r"noise has shape \(1, 2, 2\), expected \(1, 3, 2\)",
    ),
    "betas": (
        lambda: vi.annealed_importance(likelihood, PRIOR[None], kernel(0.0), f64(0.0)),
        ValueError,
        "betas has one entry, expected a path",
    ),
    "ais, z": (
        lambda: vi.annealed_importance(likelihood, PRIOR, kernel(0.0), f64(0.0, 1.0)),
        ValueError,
        r"z has shape \(3, 2\), expected 3 axes",
    ),
}


@pytest.mark.parametrize("call, error, sentence", REFUSALS.values(), ids=REFUSALS)
def test_wrong_arguments_are_refused_by_name(untyped, call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()
