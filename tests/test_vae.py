"""The VAE, its bounds and its two worlds against torch.distributions, closed forms, quadrature and each other."""

import itertools
import math

import jaxtyping
import pytest
import torch
from exact import close, f64, rng
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from dgmlib import core, vae, vi
from dgmlib.bugs import wrong
from dgmlib.core import global_batch
from dgmlib.divergences import kl_gaussian
from dgmlib.worlds import GaussianMixture, LinearGaussian

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


@pytest.fixture
def untyped():
    """The library as users run it: the tests' type checker would refuse before its own sentences."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def near(draws, truth):
    """The mean of independent draws is `truth` within Z standard errors."""
    error = (draws.mean() - truth).abs() / (draws.std() / math.sqrt(len(draws)))
    return bool(error < Z)


WORLD = LinearGaussian([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5]], [0.1, -0.2, 0.3], 0.6)
STRAIGHT = LinearGaussian([[1.0, 0.0], [0.0, 0.8], [0.5, 0.0]], [0.1, -0.2, 0.3], 0.6)  # diagonal posterior
X = f64([1.0, -0.5, 0.8], [0.2, 0.4, -1.0])


def network(world, shift=0.0, widen=0.0):
    """An affine VAE in float64 whose encoder is the best diagonal one of `world`, moved and widened."""
    model = vae.VAE(world.d, world.k, (), likelihood="gaussian", noise_var=world.noise_std**2).double()
    origin, log_var = vae.best_linear_encoder(world, torch.zeros(1, world.d, dtype=torch.float64))
    slope = vae.best_linear_encoder(world, torch.eye(world.d, dtype=torch.float64))[0] - origin
    with torch.no_grad():
        model.decoder[0].weight.copy_(world.weight)
        model.decoder[0].bias.copy_(world.mean)
        model.encoder[0].weight.zero_()
        model.encoder[0].weight[: world.k] = slope.T
        model.encoder[0].bias[: world.k] = origin[0] + shift
        model.encoder[0].bias[world.k :] = log_var[0] + widen
    model.log_noise_var.fill_(math.log(world.noise_std**2))
    return model


def small(seed=0, likelihood="bernoulli", **options):
    torch.manual_seed(seed)
    return vae.VAE(6, 2, (5,), likelihood=likelihood, activation=torch.nn.Tanh, **options).double()


def bits(n=4, seed=0):
    return (torch.rand(n, 6, generator=rng(seed)) < 0.5).double()


# --- the pieces -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-gaussian")
@pytest.mark.notes("E1-12", "N3-083")
def test_normal_log_prob_is_torchs():
    x, mean, log_var = (torch.randn(4, 3, generator=rng(i), dtype=torch.float64) for i in range(3))
    close(vae.normal_log_prob(x, mean, log_var), Independent(Normal(mean, (log_var / 2).exp()), 1).log_prob(x))
    one = torch.tensor(0.4, dtype=torch.float64)  # one variance for all pixels still counts once a pixel
    close(vae.normal_log_prob(x, mean, one), Independent(Normal(mean, (one / 2).exp()), 1).log_prob(x))
    with_sd = Independent(Normal(mean, (log_var / 4).exp()), 1).log_prob(x)
    assert not torch.allclose(vae.normal_log_prob(x, mean, log_var), with_sd)


@pytest.mark.equation("eq-vae-bernoulli")
@pytest.mark.notes("E0-32", "N0-088")
def test_bernoulli_log_prob_is_torchs_also_far_out():
    logits = f64([0.3, -2.0, 40.0, -800.0])
    for x in (f64([1.0, 0.0, 1.0, 0.0]), f64([0.0, 1.0, 0.0, 1.0])):
        close(vae.bernoulli_log_prob(x, logits), Independent(Bernoulli(logits=logits), 1).log_prob(x))
    logits = f64([900.0]).requires_grad_()
    (gradient,) = torch.autograd.grad(vae.bernoulli_log_prob(f64([1.0]), logits), logits)
    assert gradient.item() == 0.0


@pytest.mark.equation("eq-vae-continuous-bernoulli")
@pytest.mark.notes("E0-32")
def test_continuous_bernoulli_integrates_to_one():
    logits = torch.cat([f64(0.0, 1e-9, 1e-3, 0.0199, 0.0201, 3.0, -30.0, 700.0), torch.linspace(-5, 5, 9).double()])
    torchs = torch.distributions.ContinuousBernoulli(logits=f64(1.5, -3.0, 0.7))
    close(vae.continuous_bernoulli_log_norm(f64(1.5, -3.0, 0.7)), torchs._cont_bern_log_norm(), rtol=1e-8)
    x = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    for logit in logits[logits.abs() < 31]:
        plain = torch.exp(x * logit - torch.nn.functional.softplus(logit)).mean()
        assert abs((vae.continuous_bernoulli_log_norm(logit[None])[0].exp() * plain) - 1) < 1e-6
    assert (vae.continuous_bernoulli_log_norm(logits) >= math.log(2) - 1e-12).all()
    u = 0.0199 / 2  # the last of the series, where the quotient still has all its digits
    assert abs(vae.continuous_bernoulli_log_norm(f64(2 * u)).item() - math.log(2 * u / math.tanh(u))) < 1e-14
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(vae.continuous_bernoulli_log_norm(logits).sum(), logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.equation("eq-vae-kl")
@pytest.mark.notes("N4-070", "E0-29", "H3-26", "E0-43", "E4-20")
def test_kl_is_torchs_and_monte_carlos():
    mean, log_var = (torch.randn(5, 3, generator=rng(i), dtype=torch.float64) for i in range(2))
    q, p = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros_like(mean), 1.0)
    close(vae.kl_standard_normal(mean, log_var), torch_kl(q, p).sum(1))
    z = vae.reparameterise(mean[:1], log_var[:1], 100_000, generator=rng(3))[:, 0]
    draws = vae.normal_log_prob(z, mean[0], log_var[0]) - vae.normal_log_prob(z, 0 * mean[0], 0 * mean[0])
    assert near(draws, vae.kl_standard_normal(mean, log_var)[0])
    for bug in ("E0-29", "E0-43", "vae-kl-mean", "vae-kl-reversed"):
        assert not near(draws, wrong("vae-kl", bug)(mean, log_var)[0]), bug
    assert vae.kl_standard_normal(0 * mean, 0 * mean).eq(0).all()
    tiny = vae.kl_standard_normal(f64([0.0]), f64([1e-9]))  # expm1: digits survive near the prior
    close(tiny, f64(0.25e-18), rtol=1e-4, atol=0)


@pytest.mark.equation("eq-vae-kl-diagonal")
def test_kl_of_two_diagonal_gaussians():
    mean, lv, other, other_lv = (torch.randn(5, 3, generator=rng(i), dtype=torch.float64) for i in range(4))
    full = kl_gaussian(mean, torch.diag_embed(lv.exp()), other, torch.diag_embed(other_lv.exp()))
    close(vae.kl_diagonal(mean, lv, other, other_lv), full)
    for prior in ((other[:1], other_lv[:1]), (other[0], other_lv[0])):
        close(vae.kl_diagonal(mean, lv, *prior)[0], full[0])


@pytest.mark.equation("eq-vae-reparameterise")
@pytest.mark.notes("E0-43", "H0-11")
def test_draws_have_the_moments_and_are_independent():
    mean, log_var = f64([1.0, -2.0]).expand(4, 2), f64([0.3, -1.0]).expand(4, 2)
    z = vae.reparameterise(mean, log_var, 50_000, generator=rng())
    assert z.shape == (50_000, 4, 2) and z.dtype == torch.float64
    flat = ((z - mean) / (log_var / 2).exp()).flatten(1)  # eight coordinates that must be standard and independent
    assert flat.mean(0).abs().max() < Z / math.sqrt(50_000)
    assert (flat.T @ flat / 50_000 - torch.eye(8)).abs().max() < Z * math.sqrt(2 / 50_000)
    for bug in ("E0-43", "vae-one-noise"):
        bad = (wrong("vae-reparameterise", bug)(mean, log_var, 50_000, rng()) - mean) / (log_var / 2).exp()
        assert (bad.flatten(1).T @ bad.flatten(1) / 50_000 - torch.eye(8)).abs().max() > 0.1
    assert torch.equal(z, vae.reparameterise(mean, log_var, 50_000, generator=rng()))


def test_noise_is_dealt_out_by_rows_of_the_batch(monkeypatch):
    mean = torch.zeros(6, 2, dtype=torch.float64)
    whole = vae.reparameterise(mean, mean, 3, generator=rng())
    for rank in (0, 1):
        monkeypatch.setattr("dgmlib.core.data_parallel", lambda rank=rank: (rank, 2))
        with global_batch(6):
            mine = vae.reparameterise(mean[:3], mean[:3], 3, generator=rng())
        assert torch.equal(mine, whole[:, 3 * rank : 3 * rank + 3])


@pytest.mark.equation("eq-vae-gradient")
@pytest.mark.notes("E0-31", "N0-086", "N3-132")
def test_pathwise_gradient_is_right():
    mean = f64([0.5]).expand(100_000, 1).clone().requires_grad_()
    z = vae.reparameterise(mean, torch.zeros_like(mean), generator=rng())[0]
    (gradient,) = torch.autograd.grad((z - 3).square().sum(), mean)
    assert near(gradient[:, 0], -5.0)


# --- objectives -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-elbo")
@pytest.mark.notes("N2-029", "E1-07", "E0-40", "N0-101", "N1-010", "N0-078")
def test_elbo_has_the_closed_mean_and_stays_below_the_evidence():
    model = network(WORLD, shift=0.3, widen=0.4)
    mean, log_var = model.encode(X)
    exact = vae.linear_elbo(WORLD, X, mean, log_var)
    for i in range(2):
        draws = vae.elbo(model, X[i].expand(40_000, 3), generator=rng(i)).detach()
        assert near(draws, exact[i])
        rate = vae.kl_standard_normal(mean, log_var)[i]
        assert not near(draws, exact[i] + 2 * rate)
        hot = vae.elbo(model, X[i].expand(40_000, 3), beta=2.5, generator=rng(i)).detach()
        close(draws - hot, torch.full_like(draws, 1.5 * rate.item()), rtol=1e-8)
    assert (exact < WORLD.log_prob(X)).all()


@pytest.mark.equation("eq-vae-rate-distortion")
def test_terms_add_up_and_do_not_depend_on_the_batch():
    model = small()
    distortion, rate = vae.elbo_terms(model, bits(), generator=rng())
    close(-distortion - rate, vae.elbo(model, bits(), generator=rng()))
    assert distortion.shape == rate.shape == (4,)
    twice = torch.cat([bits(), bits()])
    close(vae.elbo_terms(model, twice, generator=rng())[1], torch.cat([rate, rate]))


@pytest.mark.equation("eq-vae-log-weights")
@pytest.mark.equation("eq-vae-importance")
def test_at_the_exact_posterior_every_bound_is_the_evidence():
    model, truth = network(STRAIGHT), STRAIGHT.log_prob(X)
    weights = vae.log_weights(model, X, 7, generator=rng())
    close(weights, truth.expand(7, 2))
    close(vae.iwae(model, X, 5, generator=rng()), truth)
    close(vae.dreg(model, X, 5, generator=rng()), truth)
    close(model.log_prob_is(X, 7, chunk=2, generator=rng()), truth)
    for alpha in (-1.0, 0.0, 0.5, 1.0, 2.0):
        close(vae.renyi_bound(weights, alpha), truth)


@pytest.mark.equation("eq-vae-iwae")
@pytest.mark.notes("E0-42", "H0-13", "N0-105")
def test_bounds_stand_in_order_and_estimates_are_unbiased():
    model = network(STRAIGHT, shift=0.5, widen=0.6)
    truth = STRAIGHT.log_prob(X[:1])[0]
    weights = vae.log_weights(model, X[:1].expand(20_000, 3), 32, generator=rng()).detach()
    assert near((weights - truth).exp().mean(0), 1.0)  # unbiased for p(x)
    ladder = [vi.iwae_bound(weights[:k]) for k in (1, 2, 8, 32)]
    for low, high in itertools.pairwise(ladder):
        gain = high - low
        assert gain.mean() > Z * gain.std() / math.sqrt(len(gain))
    assert ladder[-1].mean() < truth
    everything = weights.reshape(-1, 1)
    values = torch.cat([vae.renyi_bound(everything, alpha) for alpha in (2.0, 1.0, 0.5, 0.0, -0.5)])
    assert (values.diff() > 0).all()
    assert values[2] < truth < values[4]
    assert torch.equal(vae.renyi_bound(everything, 1.0), everything.mean(0))


@pytest.mark.equation("eq-vae-renyi")
def test_renyi_bound_has_its_limits():
    log_w = torch.randn(50, 3, generator=rng(), dtype=torch.float64)
    close(vae.renyi_bound(log_w, 0.0), vi.iwae_bound(log_w))
    close(vae.renyi_bound(log_w, 1 - 1e-6), log_w.mean(0), rtol=0, atol=1e-5)
    close(vae.renyi_bound(log_w, -1.0), (2 * log_w).exp().mean(0).log() / 2)
    close(vae.renyi_bound(log_w - 5000, 0.5), vae.renyi_bound(log_w, 0.5) - 5000)
    for alpha in (-3.0, 0.5, 1 - 1e-4, 1 + 1e-4, 4.0):  # where the logarithm of a mean power is tiny, and where large
        exact = ((1 - alpha) * log_w).exp().mean(0).log() / (1 - alpha)
        close(vae.renyi_bound(log_w, alpha), exact, rtol=1e-9, atol=1e-9)
        close(vae.renyi_bound(log_w.float(), alpha), exact, rtol=0, atol=3e-6)
        w = log_w.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(vae.renyi_bound(w, alpha).sum(), w)
        close(gradient, ((1 - alpha) * log_w).softmax(0), rtol=1e-8)
    close(vae.renyi_bound(log_w.float(), 1 - 1e-6), log_w.mean(0), rtol=0, atol=5e-6)
    nothing = log_w.clone()
    nothing[0, 0] = nothing[:, 1] = -math.inf
    for alpha, first in ((0.5, 2 * ((0.5 * log_w[1:, 0]).exp().sum() / 50).log()), (2.0, -math.inf)):
        close(vae.renyi_bound(nothing, alpha)[:2], f64(first, -math.inf))


@pytest.mark.equation("eq-vae-dreg")
def test_dreg_has_the_decoder_gradient_of_iwae_and_the_same_mean_in_the_encoder():
    def gradients(objective, model, x, seed):
        model.zero_grad()
        objective(model, x, 4, generator=rng(seed)).mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    model = network(WORLD, shift=0.4, widen=0.5)
    x = X[:1].expand(200, 3)
    runs = [(gradients(vae.iwae, model, x, seed), gradients(vae.dreg, model, x, seed)) for seed in range(300)]
    for plain, doubly in runs[:5]:
        for name in ("decoder.0.weight", "decoder.0.bias"):
            close(plain[name], doubly[name], rtol=1e-8, atol=1e-10)
    gaps = torch.stack([a["encoder.0.bias"] - b["encoder.0.bias"] for a, b in runs])
    spread = gaps.std(0) / math.sqrt(len(gaps))
    assert (gaps.mean(0).abs() < Z * spread).all()
    signal = torch.stack([b["encoder.0.bias"] for _, b in runs])
    assert (signal.mean(0).abs() > 20 * signal.std(0) / math.sqrt(len(runs))).any(), "a test of nothing"
    exact = network(STRAIGHT)
    assert all(g.abs().max() < 1e-10 for name, g in gradients(vae.dreg, exact, x, 0).items() if "encoder" in name)
    assert any(g.abs().max() > 1e-3 for name, g in gradients(vae.iwae, exact, x, 0).items() if "encoder" in name)


@pytest.mark.equation("eq-vae-importance")
def test_streaming_changes_nothing_but_memory():
    model = small()
    whole = model.log_prob_is(bits(), 60, chunk=60, generator=rng())
    close(whole, vi.log_prob_is(vae.log_weights(model, bits(), 60, generator=rng())))
    axis = torch.linspace(-6, 6, 121, dtype=torch.float64)
    truth = vae.grid_evidence(vae.grid_log_joint(model, bits(), axis), axis)
    for i in range(4):
        estimates = model.log_prob_is(bits()[i].expand(5000, 6), 10, chunk=3, generator=rng(i))
        assert near((estimates - truth[i]).exp(), 1.0)


# --- world 1 --------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-linear-elbo")
@pytest.mark.notes("E1-06", "N1-008", "E0-26", "E1-13", "N1-009", "N3-133", "N3-391")
def test_linear_elbo_and_its_gap():
    mean, log_var = f64([0.4, -0.3], [0.0, 1.0]), f64([-1.0, -0.2], [0.3, -2.0])
    post_mean, post_cov = WORLD.posterior(X)
    gap = kl_gaussian(mean, torch.diag_embed(log_var.exp()), post_mean, post_cov.expand(2, 2, 2))
    bound = vae.linear_elbo(WORLD, X, mean, log_var)
    close(bound + gap, WORLD.log_prob(X))
    outside = wrong("vae-linear-elbo", "E0-26")
    small_mean = f64([0.3])
    line = LinearGaussian([[1.0]], [0.0], 1.0)
    assert outside(line, f64([2.0]), small_mean, 0 * small_mean) > line.log_prob(f64([2.0]))


@pytest.mark.equation("eq-vae-linear-encoder")
@pytest.mark.equation("eq-vae-rotation")
@pytest.mark.notes("E0-44", "E3-043")
def test_best_linear_encoder_is_a_maximum():
    mean, log_var = (part.clone().requires_grad_() for part in vae.best_linear_encoder(WORLD, X))
    bound = vae.linear_elbo(WORLD, X, mean, log_var)
    for gradient in torch.autograd.grad(bound.sum(), (mean, log_var)):
        assert gradient.abs().max() < 1e-10
    precision = torch.linalg.inv(WORLD.posterior(X)[1])
    gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    close(WORLD.log_prob(X) - bound, gap.expand(2))
    assert gap > 0.01


@pytest.mark.equation("eq-vae-ppca")
@pytest.mark.equation("eq-vae-water")
@pytest.mark.notes("E4-24", "N0-068", "N4-074")
def test_ppca_is_the_optimum_and_water_fills():
    root = torch.randn(5, 5, generator=rng(), dtype=torch.float64)
    cov = root @ root.T
    values = torch.linalg.eigvalsh(cov).flip(0)

    def log_lik(weight, noise_var):
        total = weight @ weight.T + noise_var * torch.eye(5, dtype=torch.float64)
        return -0.5 * (torch.logdet(total) + torch.linalg.solve(total, cov).trace())

    for fixed in (None, float(values[1:3].mean())):
        weight, noise_var = vae.ppca(cov, 3, fixed)
        close(noise_var, values[3:].mean() if fixed is None else fixed)
        for seed in range(20):
            moved = weight + 1e-2 * torch.randn(5, 3, generator=rng(seed), dtype=torch.float64)
            assert log_lik(moved, noise_var) < log_lik(weight, noise_var)
        if fixed is None:
            assert all(log_lik(weight, noise_var * f) < log_lik(weight, noise_var) for f in (0.9, 1.1))
        rate, error = vae.water_filling(values, noise_var, 3)
        # the same from the encoder, averaged over data of this covariance and mean zero
        data = torch.linalg.cholesky(cov).T * math.sqrt(5)
        world = LinearGaussian(weight, torch.zeros(5), math.sqrt(noise_var))
        mean, log_var = vae.best_linear_encoder(world, data)
        close(vae.kl_standard_normal(mean, log_var).mean(), rate, rtol=1e-8)
        squared = (data - mean @ weight.T).square().sum(1).mean() + log_var[0].exp() @ weight.square().sum(0)
        close(squared, error, rtol=1e-8)
    close(torch.stack(vae.water_filling(f64(4.0, 2.0, 0.5), 1.0)), f64(1.5 * math.log(2), 2.5))
    close(torch.stack(vae.water_filling(f64(0.5, 4.0, 2.0), 1.0, 1)), f64(math.log(2), 3.5))
    for bug in ("vae-water-half-log", "vae-water-drops", "vae-water-never-dry"):
        pair = wrong("vae-water", bug)(f64(4.0, 2.0, 0.5), 1.0)
        assert not torch.allclose(torch.stack(pair), f64(1.5 * math.log(2), 2.5))


@pytest.mark.equation("eq-vae-activity")
def test_activity_is_the_variance_of_the_mean_codes():
    close(vae.unit_activity(f64([1.0, 0.0], [3.0, 0.0])), f64(1.0, 0.0))


@pytest.mark.equation("eq-vae-optimal-noise")
@pytest.mark.notes("N2-021")
def test_learnt_variance_starts_where_it_is_told():
    assert small(likelihood="gaussian").log_noise_var.item() == 0
    model = small(likelihood="gaussian", start_var=0.25)
    close(model.log_noise_var, math.log(0.25), rtol=1e-6)
    assert model.log_noise_var.requires_grad and small().log_noise_var is None


def test_learnt_variance_stands_still_at_the_squared_error():
    model = small(likelihood="gaussian")
    x, z = torch.randn(3, 6, generator=rng(), dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        model.log_noise_var.fill_((x - model.pixel_means(z)).square().mean().log())
    (gradient,) = torch.autograd.grad(model.log_likelihood(x, z).sum(), model.log_noise_var)
    assert abs(gradient) < 1e-10


# --- the aggregate --------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-aggregate")
@pytest.mark.notes("E0-30", "E0-75", "E3-046", "E2-07")
def test_aggregate_is_a_mixture():
    mean, log_var = (torch.randn(7, 2, generator=rng(i), dtype=torch.float64) for i in range(2))
    mixture = GaussianMixture(f64(*[1 / 7] * 7), mean, torch.diag_embed(log_var.exp()))
    z = 3 * torch.randn(9, 2, generator=rng(2), dtype=torch.float64)
    close(vae.aggregate_log_prob(z, mean, log_var), mixture.log_prob(z))


@pytest.mark.parametrize("sharpness", [0.0, -8.0, -12.0, -16.0])
def test_a_sharp_aggregate_keeps_its_digits_in_single_precision(sharpness):
    mean = 1.0 + 3 * torch.randn(200, 2, generator=rng())
    log_var = sharpness + torch.zeros_like(mean)
    z = mean[:50] + (log_var / 2).exp()[:50] * torch.randn(50, 2, generator=rng(1))
    laws = Independent(Normal(mean.double(), (log_var.double() / 2).exp()), 1)
    truth = laws.log_prob(z.double()[:, None]).logsumexp(1) - math.log(200)
    close(vae.aggregate_log_prob(z, mean, log_var), truth, rtol=1e-5, atol=1e-4)


def test_evaluation_goes_by_blocks_that_change_the_memory_only(monkeypatch):
    held = []
    model, x = small(), bits(9)
    model.decoder.register_forward_hook(lambda _, inputs, output: held.append(output.numel()))
    mean, log_var = (torch.randn(7, 2, generator=rng(i), dtype=torch.float64) for i in range(2))
    z = torch.randn(9, 2, generator=rng(2), dtype=torch.float64)
    whole = model.log_prob_is(x, 10, chunk=4, generator=rng()), vae.aggregate_log_prob(z, mean, log_var)
    assert held == [4 * 9 * 6, 4 * 9 * 6, 2 * 9 * 6]
    held.clear()
    monkeypatch.setattr(core, "BLOCK", 4 * 4 * 6 * 2)
    law = vae.normal_log_prob
    monkeypatch.setattr(vae, "normal_log_prob", lambda z, *law_of: held.append(len(z)) or law(z, *law_of))
    close(model.log_prob_is(x, 10, chunk=4, generator=rng()), whole[0])
    assert max(held) <= 4 * 2 * 6
    held.clear()
    with torch.no_grad():
        close(vae.aggregate_log_prob(z, mean, log_var), whole[1])
    assert held == [4, 4, 1]  # 192 numbers, at 3 * 14 a row


@pytest.mark.equation("eq-vae-ex-post")
def test_fitted_prior_finds_separate_blobs():
    shifts = f64(-3.0, 3.0)
    codes = (0.5 * torch.randn(2, 2000, 1, generator=rng(), dtype=torch.float64) + shifts[:, None, None]).flatten(0, 1)
    fitted = vae.fit_prior(codes, 2)
    order = fitted.means[:, 0].argsort()
    close(fitted.means[order, 0], shifts, rtol=0, atol=0.07)  # standard error 0.011
    close(fitted.weights, f64(0.5, 0.5), rtol=0, atol=0.01)


# --- world 2 --------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-grid-joint")
@pytest.mark.equation("eq-vae-grid-evidence")
@pytest.mark.equation("eq-vae-grid-elbo")
@pytest.mark.equation("eq-vae-gaps")
@pytest.mark.notes("H3-27", "N3-131")
def test_grid_agrees_with_enumeration_and_orders_the_gaps():
    model, axis = small(), torch.linspace(-6, 6, 121, dtype=torch.float64)
    states = torch.cartesian_prod(*[f64(0.0, 1.0)] * 6)
    joint = vae.grid_log_joint(model, states, axis)
    evidence = vae.grid_evidence(joint, axis)
    close(evidence.exp().sum(), 1.0, rtol=1e-8)  # over all 64 images
    z = f64([axis[3], axis[100]])
    with torch.no_grad():
        close(joint[5, 3, 100], model.log_likelihood(states[5:6], z)[0] + Normal(0.0, 1.0).log_prob(z).sum())
        start = model.encode(states)
    first, best = vae.grid_elbo(joint, axis, *start), vae.best_ellipse(joint, axis, *start, n_steps=150)
    second = vae.grid_elbo(joint, axis, *best)
    assert (first <= second).all() and (second <= evidence + 1e-9).all() and (second - first).max() > 1e-3
    mean, log_var = start[0][9], start[1][9]
    q = vae.normal_log_prob(torch.cartesian_prod(axis, axis), mean, log_var).view(121, 121)
    cell = (axis[1] - axis[0]) ** 2
    divergence = (q.exp() * (q - joint[9] + evidence[9])).sum() * cell
    close(evidence[9] - first[9], divergence, rtol=1e-6)
    with torch.no_grad():
        draws = vae.elbo(model, states[9:10].expand(50_000, 6), generator=rng())
    assert near(draws, first[9])


@pytest.mark.equation("eq-vae-gaps")
def test_best_ellipse_of_a_gaussian_posterior():
    axis = torch.linspace(-6, 6, 161, dtype=torch.float64)
    law = MultivariateNormal(f64(0.5, -0.3), f64([1.0, 0.8], [0.8, 1.0]))
    table = law.log_prob(torch.cartesian_prod(axis, axis)).view(1, 161, 161)
    mean, log_var = vae.best_ellipse(table, axis, f64([1.0, 1.0]), f64([0.0, 0.0]), n_steps=600)
    close(mean[0], f64(0.5, -0.3), atol=1e-3)
    close(log_var[0], f64(math.log(0.36), math.log(0.36)), atol=2e-3)
    close(-vae.grid_elbo(table, axis, mean, log_var)[0], -0.5 * math.log(0.36), atol=1e-4)
    close(vae.grid_evidence(table, axis), f64(0.0), atol=1e-3)
    kept = vae.best_ellipse(table, axis, mean, log_var, n_steps=1, learning_rate=5.0)  # a step that makes it worse
    assert torch.equal(kept[0], mean)
    start = f64([1.0, 1.0]).requires_grad_(), f64([0.0, 0.0])
    by_default, slow = (
        vae.best_ellipse(table, axis, *start, n_steps=3, **rate) for rate in ({}, {"learning_rate": 0.05})
    )
    assert torch.equal(by_default[0], slow[0]) and not any(part.requires_grad for part in (*by_default, *slow))


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.notes("N3-086", "E1-09", "N1-012", "N1-017", "N4-067", "E3-011", "E0-41")
def test_model_has_two_networks_with_gradients_and_a_state():
    for likelihood in ("bernoulli", "gaussian"):
        model = small(likelihood=likelihood)
        vae.elbo(model, bits(), generator=rng()).mean().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in model.parameters())
        other = small(seed=9, likelihood=likelihood)
        other.load_state_dict(model.state_dict())
        a, b = (vae.iwae(m, bits(), 3, generator=rng()) for m in (model, other))
        assert torch.equal(a, b) and a.dtype == torch.float64
        draws = model.sample(5, generator=rng())
        assert draws.shape == (5, 6) and torch.equal(draws, model.sample(5, generator=rng()))
    assert model.log_noise_var.requires_grad
    fixed = small(likelihood="gaussian", noise_var=0.5)
    assert "log_noise_var" in fixed.state_dict() and len(list(fixed.parameters())) == 8
    assert vae.VAE(6, 2, (5,)).to("meta").encode(torch.zeros(1, 6, device="meta"))[0].shape == (1, 2)


@pytest.mark.notes("N3-084", "N3-085", "E3-027", "E0-32")
def test_samples_have_the_models_law():
    model = network(WORLD)
    x = model.sample(100_000, generator=rng())
    centred = x - WORLD.mean
    assert (centred.mean(0).abs() < Z * WORLD.cov.diagonal().sqrt() / math.sqrt(len(x))).all()
    moments = centred[:, :, None] * centred[:, None]
    assert ((moments.mean(0) - WORLD.cov).abs() < Z * moments.std(0) / math.sqrt(len(x))).all()
    model, axis = small(), torch.linspace(-6, 6, 81, dtype=torch.float64)
    states = torch.cartesian_prod(*[f64(0.0, 1.0)] * 6)
    with torch.no_grad():
        probs = vae.grid_evidence(vae.grid_log_joint(model, states, axis), axis).exp()
        x = model.sample(100_000, generator=rng())
    counts = (x @ 2.0 ** torch.arange(5, -1, -1, dtype=torch.float64)).long().bincount(minlength=64)
    chi = ((counts - 1e5 * probs).square() / (1e5 * probs)).sum()
    assert chi < 63 + 7 * math.sqrt(126)  # beyond the 1 - 1e-7 quantile of chi-squared with 63 degrees


def test_a_wider_proposal_estimates_the_same_number():
    model = network(STRAIGHT, shift=0.4)
    truth = STRAIGHT.log_prob(X[:1])
    for widen in (0.8, 1.0, 1.3):
        estimates = model.log_prob_is(X[:1].expand(20_000, 3), 5, widen=widen, generator=rng())
        assert near((estimates - truth).exp(), 1.0)
    exact = network(STRAIGHT, widen=-2 * math.log(1.3))  # too narrow by 1.3: widened, it is the posterior
    close(exact.log_prob_is(X, 4, widen=1.3, generator=rng()), STRAIGHT.log_prob(X))


LEVEL = torch.linspace(-1, 1, 5)
REFUSED = {
    "x has values from 0 to 16, expected whole numbers from 0 to 1": lambda: vae.elbo(small(), 16 * bits()),
    "x has values from 0 to 255, expected whole numbers from 0 to 1": lambda: small().log_prob_is(255 * bits(), 3),
    "x has values between whole numbers, expected whole numbers from 0 to 1": lambda: vae.iwae(
        small(), 0.5 * bits(), 3
    ),
    "x has values from nan to nan, expected": lambda: vae.bernoulli_log_prob(f64([1.0, math.nan]), f64([0.0, 0.0])),
    "x has values from -1 to -0, expected whole numbers": lambda: vae.grid_log_joint(small(), -bits(), LEVEL.double()),
    "x has shape (4, 1), expected (4, 6)": lambda: vae.grid_log_joint(small(), bits()[:, :1], LEVEL.double()),
    "x has shape (2, 1), expected (2, 3)": lambda: vae.linear_elbo(WORLD, X[:, :1], X[:, :2], X[:, :2]),
    "mean has shape (2, 2), expected (1, 2)": lambda: vae.linear_elbo(WORLD, X[:1], X[:, :2], X[:, :2]),
    "log_var has shape (2, 2), expected (1, 2)": lambda: vae.linear_elbo(WORLD, X[:1], X[:1, :2], X[:, :2]),
    "x has shape (), expected": lambda: vae.linear_elbo(WORLD, X[0, 0], X[:, :2], X[:, :2]),
    "x has 6 NaN or infinite values": lambda: vae.linear_elbo(WORLD, X * math.nan, X[:, :2], X[:, :2]),
    "start_var is 0.0, expected a number in (0.0, inf)": lambda: small(likelihood="gaussian", start_var=0.0),
    "k is -3, expected at least 1": lambda: vae.water_filling(f64(4.0, 2.0), 1.0, -3),
    "k is 0, expected at least 1": lambda: vae.water_filling(f64(4.0, 2.0), 1.0, 0),
    "eigenvalues has a negative entry (-0.5)": lambda: vae.water_filling(f64(4.0, -0.5), 1.0),
    "cov has shape (3, 2), expected (3, 3)": lambda: vae.ppca(torch.ones(3, 2), 1),
    "cov is asymmetric by 1, expected symmetric matrices": lambda: vae.ppca(f64([2.0, 1.0], [0.0, 1.0]), 1),
    "n_components is 5, expected a number in [1, 4]": lambda: vae.fit_prior(torch.zeros(4, 1), 5),
    "axis has 5 points, expected two or more that rise by equal steps": lambda: vae.grid_evidence(
        torch.zeros(1, 5, 5), LEVEL.flip(0)
    ),
    "axis has 4 points, expected two or more": lambda: vae.grid_log_joint(small(), bits(), f64(0.0, 1.0, 2.0, 4.0)),
    "axis has 1 points, expected two or more": lambda: vae.grid_evidence(torch.zeros(1, 1, 1), LEVEL[:1]),
    "log_joint has 25 NaN": lambda: vae.best_ellipse(
        torch.full((1, 5, 5), math.nan), LEVEL, torch.zeros(1, 2), torch.zeros(1, 2)
    ),
    "mean has 2 NaN": lambda: vae.best_ellipse(
        torch.zeros(1, 5, 5), LEVEL, torch.full((1, 2), math.nan), torch.zeros(1, 2)
    ),
    "log_var has 2 NaN": lambda: vae.best_ellipse(
        torch.zeros(1, 5, 5), LEVEL, torch.zeros(1, 2), torch.full((1, 2), math.inf)
    ),
    "learning_rate is -1.0, expected a number in (0.0, inf)": lambda: vae.best_ellipse(
        torch.zeros(1, 5, 5), LEVEL, torch.zeros(1, 2), torch.zeros(1, 2), learning_rate=-1.0
    ),
    "x has shape (4, 5), expected (4, 6)": lambda: small().encode(bits()[:, :5]),
    "x has dtype torch.uint8, expected a floating dtype": lambda: small().encode(bits().to(torch.uint8)),
    "x has shape (0, 6), expected at least one element": lambda: small().encode(bits()[:0]),
    "d is 0, expected at least 1": lambda: vae.VAE(0, 2),
    "k is 2.0, expected an int": lambda: vae.VAE(6, 2.0),
    "likelihood is 'poisson'": lambda: vae.VAE(6, 2, likelihood="poisson"),
    "likelihood beside a noise_var is 'bernoulli'": lambda: vae.VAE(6, 2, noise_var=1.0),
    "noise_var is 0.0, expected": lambda: vae.VAE(6, 2, likelihood="gaussian", noise_var=0.0),
    "widen is 0.0, expected": lambda: small().log_prob_is(bits(), 5, widen=0.0),
    "beta is -1.0, expected": lambda: vae.elbo(small(), bits(), beta=-1.0),
    "n_samples is 0, expected at least 1": lambda: vae.iwae(small(), bits(), 0),
    "chunk is 0, expected at least 1": lambda: small().log_prob_is(bits(), 5, chunk=0),
    "log_var has shape (4, 3), expected (4, 2)": lambda: vae.kl_standard_normal(torch.ones(4, 2), torch.ones(4, 3)),
    "log_var has shape (1, 2), expected (4, 2)": lambda: vae.reparameterise(torch.ones(4, 2), torch.ones(1, 2)),
    "logits has dtype torch.int64": lambda: vae.continuous_bernoulli_log_norm(torch.ones(3, dtype=torch.long)),
    "alpha is nan": lambda: vae.renyi_bound(torch.zeros(3, 2), math.nan),
    "log_weights has shape (3,), expected 2 axes": lambda: vae.renyi_bound(torch.zeros(3), 0.0),
    "mean has shape (5, 2), expected (5, 3)": lambda: vae.aggregate_log_prob(
        torch.zeros(4, 3), torch.zeros(5, 2), torch.zeros(5, 2)
    ),
    "codes has 1 NaN": lambda: vae.fit_prior(torch.tensor([[0.0], [math.nan]]), 1),
    "n_components is 0": lambda: vae.fit_prior(torch.zeros(4, 1), 0),
    "eigenvalues has 1 NaN": lambda: vae.water_filling(f64(1.0, math.nan), 1.0),
    "noise_var is -1.0": lambda: vae.water_filling(f64(1.0), -1.0),
    "k is 3, expected a number in [1, 2]": lambda: vae.ppca(torch.eye(3), 3),
    "model has 2 latents and a gaussian likelihood": lambda: vae.grid_log_joint(
        small(likelihood="gaussian"), bits(), torch.linspace(-1, 1, 5)
    ),
    "axis has shape (5,), expected (4,)": lambda: vae.grid_evidence(torch.zeros(1, 4, 4), torch.linspace(-1, 1, 5)),
    "mean has shape (3, 2), expected (1, 2)": lambda: vae.grid_elbo(
        torch.zeros(1, 5, 5), torch.linspace(-1, 1, 5), torch.zeros(3, 2), torch.zeros(3, 2)
    ),
    "n_steps is 0": lambda: vae.best_ellipse(
        torch.zeros(1, 5, 5), torch.linspace(-1, 1, 5), torch.zeros(1, 2), torch.zeros(1, 2), n_steps=0
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_input_is_refused_in_one_sentence(sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


def test_latents_may_have_an_axis_of_samples():
    model, z = small(), torch.randn(3, 4, 2, generator=rng(), dtype=torch.float64)
    close(model.pixel_means(z)[1], model.pixel_means(z[1]))
    close(model.log_likelihood(bits(), z)[1], model.log_likelihood(bits(), z[1]))


AXIS, GRID = torch.linspace(-1, 1, 5), torch.zeros(1, 5, 5)
ALSO_REFUSED = {
    "normal, rows": (
        lambda: vae.normal_log_prob(X, X, X[:, :2]),
        "log_var has shape (2, 2), expected one to broadcast",
    ),
    "bernoulli, rows": (lambda: vae.bernoulli_log_prob(bits(3), bits()), "logits has shape (4, 6), expected one to"),
    "kl, rows": (
        lambda: vae.kl_diagonal(X, X, *GRID[:, :3, :3].expand(2, 3, 3)),
        "prior_log_var has shape (3, 3), expected one to",
    ),
    "grid, dtype": (
        lambda: vae.grid_log_joint(small(), bits(), AXIS),
        "axis has dtype torch.float32, expected",
    ),
    "linear elbo, half": (lambda: vae.linear_elbo(WORLD, X, X[:, :2].half(), X[:, :2]), "mean has dtype torch.float16"),
    "kl_standard_normal": (lambda: vae.kl_standard_normal([0.0], f64(0.0)), "mean is a list, expected a torch.Tensor"),
    "kl_diagonal": (lambda: vae.kl_diagonal(X, X[:1], X, X), "log_var has shape (1, 3), expected (2, 3)"),
    "kl_diagonal, prior": (lambda: vae.kl_diagonal(X, X, X, X[:, :1]), "prior_log_var has shape (2, 1), expected"),
    "normal": (lambda: vae.normal_log_prob(X, X[:, :1], X), "mean has shape (2, 1), expected (2, 3)"),
    "normal, dtype": (lambda: vae.normal_log_prob(X.long(), X, X), "x has dtype torch.int64, expected a floating"),
    "bernoulli": (lambda: vae.bernoulli_log_prob(X, X[:, :1]), "logits has shape (2, 1), expected (2, 3)"),
    "bernoulli, dtype": (lambda: vae.bernoulli_log_prob(X.bool(), X), "x has dtype torch.bool, expected a floating"),
    "pixel_means": (lambda: small().pixel_means(X), "z has shape (2, 3), expected (2, 2)"),
    "pixel_means, dtype": (lambda: small().pixel_means(X[:, :2].long()), "z has dtype torch.int64, expected"),
    "log_likelihood": (lambda: small().log_likelihood(bits(2), X), "z has shape (2, 3), expected (2, 2)"),
    "log_joint": (lambda: small().log_joint(bits()[:, :5], X[:1, :2]), "x has shape (4, 5), expected (4, 6)"),
    "reparameterise": (lambda: vae.reparameterise(X, X, 0), "n_samples is 0, expected at least 1"),
    "sample": (lambda: small().sample(0), "n is 0, expected at least 1"),
    "sample_prior": (lambda: small().sample_prior(2.0), "n is 2.0, expected an int"),
    "logits, empty": (lambda: vae.continuous_bernoulli_log_norm(X[:0]), "logits has shape (0, 3), expected at least"),
    "aggregate": (lambda: vae.aggregate_log_prob(X, X, X[:1]), "log_var has shape (1, 3), expected (2, 3)"),
    "activity, axes": (lambda: vae.unit_activity(X[0]), "mean has shape (3,), expected 2 axes"),
    "activity, dtype": (lambda: vae.unit_activity(X.long()), "mean has dtype torch.int64, expected a floating dtype"),
    "ppca, NaN": (lambda: vae.ppca(X[:, :2] * math.nan, 1), "cov has 4 NaN or infinite values"),
    "ppca, noise": (lambda: vae.ppca(torch.eye(3), 1, 0.0), "noise_var is 0.0, expected a number"),
    "water": (lambda: vae.water_filling(f64(1.0), 0.0), "noise_var is 0.0, expected a number in (0.0, inf)"),
    "linear encoder": (lambda: vae.best_linear_encoder(WORLD, X[:, :2]), "x has"),
    "linear elbo": (
        lambda: vae.linear_elbo(WORLD, X, X[:, :2], X[:1, :2]),
        "log_var has shape (1, 2), expected (2, 2)",
    ),
    "grid, latents": (lambda: vae.grid_log_joint(vae.VAE(6, 3), bits(), AXIS), "model has 3 latents and a bernoulli"),
    "evidence, axes": (lambda: vae.grid_evidence(GRID[0], AXIS), "log_joint has shape (5, 5), expected 3 axes"),
    "grid elbo": (lambda: vae.grid_elbo(GRID, AXIS, X[:1, :2], X[:, :2]), "log_var has shape (2, 2), expected (1, 2)"),
    "ellipse": (lambda: vae.best_ellipse(GRID, AXIS, X[:, :2], X[:, :2]), "mean has shape (2, 2), expected (1, 2)"),
}


@pytest.mark.parametrize("call, sentence", ALSO_REFUSED.values(), ids=ALSO_REFUSED)
def test_each_entry_point_refuses_more_than_one_thing(call, sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        call()
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "objective",
    [vae.elbo_terms, vae.elbo, *(lambda model, x, f=f: f(model, x, 3) for f in (vae.log_weights, vae.iwae, vae.dreg)),
     lambda model, x: model.log_prob_is(x, 3)],
    ids=["elbo_terms", "elbo", "log_weights", "iwae", "dreg", "log_prob_is"],
)  # fmt: skip
def test_every_objective_refuses_data_of_another_shape_or_kind(objective, untyped):
    with pytest.raises(ValueError, match=r"^x has shape \(4, 5\), expected \(4, 6\)"):
        objective(small(), bits()[:, :5])
    with pytest.raises(TypeError, match=r"^x has dtype torch.int64, expected a floating dtype"):
        objective(small(), bits().long())
