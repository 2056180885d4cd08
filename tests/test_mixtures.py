"""Mixtures and EM: enumeration, autograd, scikit-learn iteration by iteration, and a thousand random climbs."""

import math
import warnings

import numpy as np
import pytest
import torch
from exact import f64, normal, rng
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch.distributions import MultivariateNormal

from dgmlib import mixtures as mix
from dgmlib.data import load
from dgmlib.vae import ppca
from dgmlib.worlds import GaussianMixture, bit_states

THEIR_NAME = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


def clusters(n=400, d=3, k=4, seed=0, spread=3.0):
    centres = spread * normal(k, d, seed=seed)
    return centres[torch.randint(k, (n,), generator=rng(seed + 1))] + normal(n, d, seed=seed + 2)


def close(a, b, atol=1e-10):
    a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (a, b))
    assert torch.allclose(a, b, atol=atol, rtol=0), float((a - b).abs().max())


# --- a hidden cause -------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mix-evidence")
@pytest.mark.notes("N0-087", "N4-040")
def test_evidence_is_the_sum_and_stays_finite_far_away():
    joint = f64((0.1, 0.3), (0.05, 0.2))
    close(mix.evidence(joint.log()), joint.sum(1).log())
    close(mix.evidence(f64((-1e4, -1e4 - 1))), f64(-1e4 + math.log(1 + math.exp(-1))))


@pytest.mark.equation("eq-mix-elbo")
@pytest.mark.notes("N3-107", "E3-034", "N4-037")
def test_evidence_is_bound_plus_divergence_and_the_posterior_touches_it():
    log_joint, q = normal(5, 3), normal(5, 3, seed=1).softmax(1)
    q[0] = f64(1.0, 0.0, 0.0)
    posterior = mix.responsibilities(log_joint)
    divergence = torch.where(q > 0, q * (q / posterior).log(), 0.0).sum(1)
    close(mix.elbo(log_joint, q) + divergence, mix.evidence(log_joint))
    close(mix.elbo(log_joint, posterior), mix.evidence(log_joint))
    impossible = f64((-math.inf, 0.5))
    close(mix.elbo(impossible, f64((0.0, 1.0))), f64(0.5))
    close(posterior.sum(1), torch.ones(5))


# --- the densities --------------------------------------------------------------------------------------------------


def some_gaussians(covariance, k=3, d=2, **options):
    root = normal(k, d, d, seed=4)
    full = root @ root.mT + 0.3 * torch.eye(d)
    covs = {"full": full, "tied": full[0], "diagonal": full.diagonal(dim1=1, dim2=2), "spherical": full[:, 0, 0]}
    return mix.Gaussians(f64(0.2, 0.5, 0.3), normal(k, d, seed=5), covs[covariance], covariance=covariance, **options)


@pytest.mark.equation("eq-mix-gaussians")
@pytest.mark.notes("N3-029", "N4-027", "N4-036")
@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_log_joint_is_torchs_normal_whatever_the_kind(covariance):
    model, x = some_gaussians(covariance), normal(6, 2, seed=6)
    parts = zip(model.weights, model.means, model.full_covs(), strict=True)
    exact = torch.stack([w.log() + MultivariateNormal(m, c).log_prob(x) for w, m, c in parts], 1)
    close(model.log_joint(x), exact)
    close(model.log_prob(x), GaussianMixture(model.weights, model.means, model.full_covs()).log_prob(x))
    assert model.log_prob(x.new_full((1, 2), 1e3)).isfinite()


def test_gaussians_keep_single_precision_and_their_digits_far_from_the_origin():
    """Variances of 0.01 and 1 about points 3e3 apart: by x^2 - mean^2 they would be lost."""
    x = torch.cat([normal(500, 2) * 0.1, normal(500, 2, seed=1) + 3e3]).float()
    for covariance in ("diagonal", "spherical"):
        start = mix.gaussians(x, torch.tensor([[0.0, 0.0], [3e3, 3e3]]), covariance=covariance)
        fitted, _ = mix.expectation_maximisation(start, x, n_steps=5, tol=0.0)
        assert fitted.covs.dtype == fitted.log_prob(x).dtype == torch.float32
        variances = fitted.covs.view(2, -1).mean(1)
        assert torch.allclose(variances, torch.tensor([0.01, 1.0]), rtol=0.15)


@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_log_prob_in_single_precision_keeps_its_digits_wherever_the_clusters_are(covariance):
    """Points that float32 holds exactly, 1/32 about means that lie nine thousand apart."""
    x = (normal(200, 2) * 32).round() / 1024 + f64((8192.0,), (-1024.0,)).repeat_interleave(100, 0)
    means, full = f64((8192.0, 8192.0), (-1024.0, -1024.0)), f64((2e-3, 1e-3), (1e-3, 1e-3))
    covs = {"full": full.expand(2, 2, 2), "tied": full, "diagonal": full.diagonal().expand(2, 2)}
    exact, single = (
        mix.Gaussians(*(t.to(kind) for t in (f64(0.5, 0.5), means, covs.get(covariance, full[:, 1]))),
                      covariance=covariance).log_prob(x.to(kind)) for kind in (torch.float64, torch.float32)
    )  # fmt: skip
    close(single, exact, atol=1e-5)
    assert single.dtype == torch.float32


@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_the_density_has_the_slope_that_autograd_finds(covariance):
    model, x = some_gaussians(covariance), normal(6, 2, seed=6).requires_grad_()
    exact = GaussianMixture(model.weights, model.means, model.full_covs()).log_prob(x).sum()
    close(*(torch.autograd.grad(height, x)[0] for height in (model.log_prob(x).sum(), exact)))


def test_an_impossible_image_has_probability_zero_and_no_posterior():
    model, states = mix.Bernoullis(f64(0.4, 0.6), f64((0.0, 0.5), (0.0, 1.0))), bit_states(2)
    close(model.log_prob(states).exp(), f64(0.2, 0.8, 0.0, 0.0))
    assert model.log_prob(states)[2] == -math.inf and model.log_joint(states)[0, 1] == -math.inf
    single = mix.Bernoullis(model.weights.float(), model.probs.float())
    assert torch.allclose(single.log_prob(states.float()).exp(), torch.tensor([0.2, 0.8, 0.0, 0.0]))
    with pytest.raises(ValueError, match=r"^x has 2 rows of probability 0, expected data"):
        mix.em_step(model, states)
    unseen = model.log_joint(states, f64((0.0, 1.0)).expand(4, 2))
    close(mix.evidence(unseen).exp(), f64(0.2, 0.8, 0.2, 0.8))


@pytest.mark.equation("eq-mix-bernoullis")
def test_bernoullis_sum_to_one_and_leave_out_what_was_not_seen():
    model = mix.Bernoullis(f64(0.3, 0.7), f64((0.2, 0.9, 0.5), (0.6, 0.1, 1.0)))
    states = bit_states(3)
    close(model.log_prob(states).exp().sum(), 1.0)
    coins = torch.where(states[:, None] == 1, model.probs, 1 - model.probs).prod(2) * model.weights
    close(model.log_joint(states).exp(), coins)
    seen = f64((1.0, 0.0, 1.0)).expand(8, 3)
    marginal = mix.evidence(model.log_joint(states, seen)).exp()
    for bits, value in zip(states, marginal, strict=True):
        same = (states[:, 0] == bits[0]) & (states[:, 2] == bits[2])
        close(value, coins[same].sum())


def test_completion_is_the_conditional_by_enumeration():
    model = mix.Bernoullis(f64(0.3, 0.7), f64((0.2, 0.9, 0.5), (0.6, 0.1, 0.8)))
    x, seen = f64((1.0, 0.0, 0.0)), f64((1.0, 0.0, 0.0))
    states = bit_states(3)
    mass = model.log_prob(states).exp() * (states[:, 0] == 1)
    expected = (mass @ states) / mass.sum()
    close(model.completed(x, seen)[0], f64(1.0, *expected[1:].tolist()))


# --- the M step -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mix-m-step")
@pytest.mark.notes("N4-032", "N4-033", "N4-034", "N4-038", "E4-08", "E4-09")
@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_the_m_step_is_where_the_expected_log_joint_is_flat(covariance):
    model, x = some_gaussians(covariance), clusters(60, 2)
    counts = mix.responsibilities(model.log_joint(x))
    best = model.maximised(x, counts)
    logits = best.weights.log().requires_grad_()
    means, covs = best.means.clone().requires_grad_(), best.covs.clone().requires_grad_()
    moved = mix.Gaussians(logits.softmax(0), means, covs, covariance=covariance)
    full = moved.full_covs()
    joint = torch.stack(
        [moved.weights[k].log() + MultivariateNormal(means[k], full[k]).log_prob(x) for k in range(3)], 1
    )
    for gradient in torch.autograd.grad((counts * joint).sum(), (logits, means, covs)):
        close(gradient, torch.zeros_like(gradient), atol=1e-9)


@pytest.mark.notes("E4-09")
def test_the_covariance_is_taken_about_the_new_mean():
    model, x = some_gaussians("full"), clusters(60, 2)
    counts = mix.responsibilities(model.log_joint(x))
    best = model.maximised(x, counts)
    share = counts / counts.sum(0)
    about_old = torch.stack([(s[:, None] * (x - m)).T @ (x - m) for s, m in zip(share.T, model.means, strict=True)])
    step = best.means - model.means
    close(about_old - best.covs, torch.einsum("ki,kj->kij", step, step))


@pytest.mark.equation("eq-mix-floor")
def test_no_covariance_above_the_floor_is_more_likely_than_the_floored_one():
    scatter, floor = torch.diag(f64(2.0, 0.5, 0.01)), 0.1
    turn = torch.linalg.qr(normal(3, 3))[0]
    scatter = turn @ scatter @ turn.T

    def likelihood(cov):
        return float(-torch.logdet(cov) - torch.linalg.solve(cov, scatter).trace())

    best = mix.floored(scatter, floor, matrices=True)
    assert float(torch.linalg.eigvalsh(best).min()) == pytest.approx(floor)
    for seed in range(200):
        root = 0.1 * normal(3, 3, seed=seed)
        other = mix.floored(best + root + root.T, floor, matrices=True)
        assert likelihood(other) <= likelihood(best) + 1e-12
    assert likelihood(scatter + floor * torch.eye(3)) < likelihood(best) - 0.1  # the ridge is no maximiser
    close(mix.floored(f64((2.0, 0.01)), floor, matrices=False), f64((2.0, 0.1)))


@pytest.mark.equation("eq-mix-coin-step")
def test_the_coins_m_step_is_the_mode_under_its_prior():
    x, counts = (normal(30, 4) > 0).double(), normal(30, 2, seed=1).softmax(1)
    model = mix.Bernoullis(f64(0.5, 0.5), torch.full((2, 4), 0.5, dtype=torch.float64), prior_counts=0.7)
    best = model.maximised(x, counts)
    probs = best.probs.clone().requires_grad_()
    log_coins = torch.log(torch.where(x[:, None] == 1, probs, 1 - probs)).sum(2)
    objective = (counts * log_coins).sum() + 0.7 * (probs.log() + (1 - probs).log()).sum()
    close(torch.autograd.grad(objective, probs)[0], torch.zeros(2, 4), atol=1e-9)
    close(best.weights, counts.mean(0))


def test_a_component_without_data_keeps_what_it_was_at_weight_zero():
    x = clusters(20, 2)
    counts = torch.cat([torch.ones(20, 1, dtype=torch.float64), torch.zeros(20, 1, dtype=torch.float64)], 1)
    for covariance in mix.COVARIANCES:
        covs = {"full": torch.eye(2).expand(2, 2, 2), "tied": torch.eye(2), "diagonal": torch.ones(2, 2)}
        start = mix.Gaussians(
            f64(0.5, 0.5), f64((0, 0), (9, 9)), covs.get(covariance, torch.ones(2)).double(), covariance=covariance
        )
        ended = start.maximised(x, counts)
        close(ended.means[1], f64(9, 9))
        assert ended.weights.tolist() == [1.0, 0.0] and ended.log_prob(x).isfinite().all()
    coins = mix.Bernoullis(f64(0.5, 0.5), f64((0.5, 0.5), (0.2, 0.9))).maximised((x > 0).double(), counts)
    close(coins.probs[1], f64(0.2, 0.9))


# --- EM -------------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mix-em")
@pytest.mark.notes("N4-031", "N4-035", "H4-15", "H3-21")
@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_em_is_scikit_learns_iteration_by_iteration(covariance):
    x = clusters(300, 3)
    ours = mix.gaussians(x, mix.kmeans_plus_plus(x, 4, generator=rng()), covariance=covariance)
    precisions = np.linalg.inv(ours.covs) if covariance in ("full", "tied") else 1 / ours.covs.numpy()
    theirs = SklearnMixture(
        4,
        covariance_type=THEIR_NAME[covariance],
        weights_init=ours.weights.numpy(),
        means_init=ours.means.numpy(),
        precisions_init=precisions,
        reg_covar=0.0,
        max_iter=1,
        tol=0.0,
        warm_start=True,
    )
    for _ in range(25):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(x.numpy())
        ours, log_likelihood = mix.em_step(ours, x)
        close(log_likelihood, theirs.lower_bound_, atol=1e-8)
        close(ours.weights, theirs.weights_, atol=1e-8)
        close(ours.means, theirs.means_, atol=1e-8)
        close(ours.covs, theirs.covariances_, atol=1e-8)


@pytest.mark.notes("N4-031", "E4-07")
def test_em_climbs_on_a_thousand_random_problems():
    """Every kind, duplicates, constant features, more components than the data deserve: with a floor, never down."""
    worst, draw = math.inf, rng(7)
    for problem in range(1000):
        n, d, k = (int(torch.randint(low, high, (), generator=draw)) for low, high in ((5, 30), (1, 4), (1, 5)))
        x = torch.randn(n, d, generator=draw, dtype=torch.float64) * 10 ** float(torch.randn((), generator=draw))
        if problem % 3 == 1:
            x = x[torch.randint(max(2, n // 3), (n,), generator=draw)]
        if problem % 5 == 2:
            x[:, 0] = 3.0
        if problem % 7 == 3:
            x = x + 1e6
        k = min(k, len(x.unique(dim=0)))
        covariance = mix.COVARIANCES[problem % 4]
        model = mix.gaussians(x, mix.kmeans_plus_plus(x, k, generator=draw), covariance=covariance, floor=1e-3)
        _, climb = mix.expectation_maximisation(model, x, n_steps=6, tol=0.0)
        worst = min(worst, float(climb.log_likelihood.diff().min())) if len(climb.log_likelihood) > 1 else worst
    assert worst > -1e-8


def test_em_of_coins_climbs_its_penalised_likelihood():
    x = (normal(80, 6) > 0.3).double()
    model = mix.Bernoullis(f64(0.4, 0.6), normal(2, 6, seed=1).sigmoid(), prior_counts=0.5)
    heights = []
    for _ in range(30):
        prior = 0.5 * (model.probs.log() + (1 - model.probs).log()).sum()
        heights.append(float(model.log_prob(x).sum() + prior))
        model, _ = mix.em_step(model, x)
    assert min(np.diff(heights)) > -1e-9 and heights[-1] > heights[0] + 1


@pytest.mark.notes("E4-07")
@pytest.mark.parametrize("copies", [1, 3])
def test_em_with_prior_counts_stops_at_the_top_of_what_it_climbs(copies):
    """From the plain frequencies the first step must leave the likelihood for the prior: not a reason to stop."""
    x = (normal(60, 5) > 0.8).double()
    first = torch.stack([x[:30].mean(0), x[30:].mean(0)])
    start, weights = mix.Bernoullis(f64(0.5, 0.5), first, prior_counts=3.0), torch.full((60,), float(copies)).double()
    best, climb = mix.expectation_maximisation(start, x, data_weights=weights, n_steps=3000, tol=1e-9)
    assert climb.converged and float(climb.log_likelihood.diff().min()) < -1e-3
    assert float(climb.objective.diff()[:-1].min()) >= 1e-9
    prior = 3.0 * (best.probs.log() + (1 - best.probs).log()).sum()
    close(climb.objective[-1], best.log_prob(x).mean() + prior / (60 * copies))
    close(best.log_prior(), prior)
    probs = best.probs.clone().requires_grad_()
    height = copies * mix.Bernoullis(best.weights, probs).log_prob(x).sum()
    (slope,) = torch.autograd.grad(height + 3.0 * (probs.log() + (1 - probs).log()).sum(), probs)
    close(slope, torch.zeros(2, 5), atol=0.02)
    close(mix.Bernoullis(f64(1.0), f64((0.0, 1.0))).log_prior(), 0.0)
    assert mix.Bernoullis(f64(1.0), f64((0.0, 1.0)), prior_counts=0.1).log_prior() == -math.inf
    close(some_gaussians("full").log_prior(), 0.0)


@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_a_start_below_the_floor_is_raised_to_it_so_that_em_never_falls(covariance):
    x = clusters(60, 2)
    tiny = {"full": 1e-3 * E.expand(3, 2, 2), "tied": 1e-3 * E, "diagonal": 1e-3 * torch.ones(3, 2).double()}
    covs = tiny.get(covariance, 1e-3 * torch.ones(3).double())
    start = mix.Gaussians(f64(0.2, 0.3, 0.5), x[:3], covs, covariance=covariance, floor=9.0)
    close(start.full_covs(), 9 * E.expand(3, 2, 2))
    _, climb = mix.expectation_maximisation(start, x, n_steps=20, tol=0.0)
    assert float(climb.log_likelihood.diff().min()) > -1e-12
    close(climb.objective, climb.log_likelihood)


def test_a_weight_of_two_is_a_datum_that_came_twice():
    x, weights = clusters(40, 2), torch.randint(0, 4, (40,), generator=rng()).double()
    start = some_gaussians("full")
    once = mix.em_step(start, x, weights)
    repeated = mix.em_step(start, x.repeat_interleave(weights.long(), 0))
    close(once[1], repeated[1])
    for name in ("weights", "means", "covs"):
        close(getattr(once[0], name), getattr(repeated[0], name))


def test_the_driver_stops_where_it_says_and_returns_what_it_logged():
    x = clusters(200, 2, spread=1.0)
    start = mix.gaussians(x, x[:3])
    fitted, climb = mix.expectation_maximisation(start, x, n_steps=500, tol=1e-6)
    assert climb.converged and 2 < len(climb.log_likelihood) < 500
    close(climb.log_likelihood[-1], fitted.log_prob(x).mean())
    close(climb.log_likelihood[0], start.log_prob(x).mean())
    rises = climb.log_likelihood.diff()
    assert float(rises[-1]) < 1e-6 <= float(rises[:-1].min())
    short, path = mix.expectation_maximisation(start, x, n_steps=2, tol=0.0)
    assert not path.converged and len(path.log_likelihood) == 3
    close(path.log_likelihood[-1], short.log_prob(x).mean())


@pytest.mark.notes("N4-039")
def test_equal_components_stay_equal():
    x = clusters(50, 2)
    model = mix.Gaussians(f64(0.3, 0.7), torch.zeros(2, 2).double(), torch.eye(2).expand(2, 2, 2).double())
    fitted, _ = mix.expectation_maximisation(model, x, n_steps=20, tol=0.0)
    close(fitted.means[0], fitted.means[1])
    close(fitted.weights, f64(0.3, 0.7))


@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_clusters_a_million_apart_are_found_exactly(covariance):
    x = torch.cat([normal(200, 2) + 1e6, normal(300, 2, seed=1) * 2 - 1e6, normal(100, 2, seed=2)])
    start = mix.gaussians(x, f64((1e6, 1e6), (-1e6, -1e6), (0, 0)), covariance=covariance)
    fitted, _ = mix.expectation_maximisation(start, x, n_steps=3, tol=0.0)
    close(fitted.weights * 600, f64(200, 300, 100), atol=1e-9)
    close(fitted.means[0], x[:200].mean(0), atol=1e-9)
    if covariance == "full":
        close(fitted.covs[0], x[:200].T.cov(correction=0), atol=1e-9)
    if covariance == "spherical":
        close(fitted.covs[1], x[200:500].var(0, correction=0).mean(), atol=1e-9)


@pytest.mark.notes("E4-07")
def test_a_collapse_is_an_error_without_a_floor_and_none_with_one():
    x = torch.cat([normal(50, 1), f64((30.0,))])
    start = mix.Gaussians(f64(0.9, 0.1), f64((0.0,), (30.0,)), f64(((1.0,),), ((1.0,),)))
    with pytest.raises(ValueError, match="covs has a singular full covariance: a component has collapsed"):
        mix.expectation_maximisation(start, x, n_steps=5, tol=0.0)
    safe = mix.Gaussians(start.weights, start.means, start.covs, floor=0.01)
    fitted, climb = mix.expectation_maximisation(safe, x, n_steps=5, tol=0.0)
    close(fitted.covs[1], f64((0.01,)))
    assert climb.log_likelihood.isfinite().all()


def test_more_components_than_data_is_an_error_or_works_with_a_floor():
    x = normal(3, 2)
    with pytest.raises(ValueError, match="x has 3 distinct rows, expected at least k = 5"):
        mix.kmeans_plus_plus(x, 5, generator=rng())
    model = mix.Gaussians(f64(*[0.2] * 5), normal(5, 2, seed=3), torch.ones(5).double(),
                          covariance="spherical", floor=0.1)  # fmt: skip
    _, climb = mix.expectation_maximisation(model, x, n_steps=10, tol=0.0)
    assert climb.log_likelihood.isfinite().all() and float(climb.log_likelihood.diff().min()) > -1e-10


# --- starts ---------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mix-seeding")
def test_kmeans_plus_plus_draws_by_squared_distance():
    """Of the points 0, 1, 3 the second mean given that 0 came first is 1 or 3 with odds 1 : 9; 4e-8 by chance."""
    x, draw = f64((0.0,), (1.0,), (3.0,)), rng(11)
    seconds = [m[1].item() for m in (mix.kmeans_plus_plus(x, 2, generator=draw) for _ in range(3000)) if m[0] == 0]
    share = seconds.count(3.0) / len(seconds)
    assert set(seconds) == {1.0, 3.0}
    assert abs(share - 0.9) < 5.5 * math.sqrt(0.09 / len(seconds))


def test_a_seed_draws_the_same_means_under_every_torch():
    means = mix.kmeans_plus_plus(torch.arange(20.0, dtype=torch.float64)[:, None], 4, generator=rng(5))
    assert means.flatten().tolist() == [11, 0, 17, 15]


@pytest.mark.equation("eq-mix-kmeans")
def test_kmeans_ends_at_its_own_fixed_point_and_lowers_its_cost():
    x = clusters(200, 2)
    start = mix.kmeans_plus_plus(x, 4, generator=rng())
    cost = lambda m: float((x[:, None] - m).square().sum(2).min(1).values.sum())  # noqa: E731
    costs = [cost(start)] + [cost(mix.kmeans(x, start, steps)[0]) for steps in range(1, 6)]
    assert (np.diff(costs) <= 1e-9).all()
    means, label = mix.kmeans(x, start)
    close(torch.stack([x[label == k].mean(0) for k in range(4)]), means)
    kept, _ = mix.kmeans(x, torch.cat([means, f64((1e3, 1e3))]))
    close(kept[4], f64(1e3, 1e3))


def test_kmeans_in_single_precision_finds_the_means_far_from_the_origin():
    """A hundred thousand rows of 8192 and a little: their sum alone would need ten digits."""
    x = 8192 + (normal(100_000, 1) * 32).round() / 1024
    exact = x.mean(0)
    means, _ = mix.kmeans(x.float(), x[:1].float())
    assert abs(float(means[0]) - float(exact)) < 2e-3


# --- sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_draws_have_the_moments_of_the_mixture(covariance):
    """Each of 5 moments within 5.5 standard errors: by chance 4e-8 each."""
    model = some_gaussians(covariance)
    x = model.sample(40_000, generator=rng(3))
    mean = model.weights @ model.means
    offset = model.means - mean
    cov = torch.einsum("k,kij->ij", model.weights, model.full_covs() + offset[:, :, None] * offset[:, None])
    centred = x - mean
    for draws, truth in ((centred[:, 0], 0.0), (centred[:, 1], 0.0), (centred[:, 0] ** 2, cov[0, 0]),
                         (centred[:, 1] ** 2, cov[1, 1]), (centred.prod(1), cov[0, 1])):  # fmt: skip
        assert abs(float(draws.mean() - truth)) < 5.5 * float(draws.std()) / math.sqrt(len(draws))


# --- a hidden vector ------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mix-factor-step")
def test_factor_steps_climb_to_scikit_learns_factor_analysis():
    x = normal(400, 2) @ normal(2, 8, seed=1) + normal(400, 8, seed=2)
    x = x - x.mean(0)
    cov = x.T @ x / len(x)
    weight, noise, seen = normal(8, 2, seed=3), torch.ones(8).double(), []
    for _ in range(500):
        weight, noise, log_likelihood = mix.factor_step(cov, weight, noise)
        seen.append(float(log_likelihood))
    assert min(np.diff(seen)) > -1e-10
    theirs = FactorAnalysis(2, tol=1e-9, max_iter=5000, svd_method="lapack").fit(x.numpy())
    assert seen[-1] == pytest.approx(theirs.score(x.numpy()), abs=1e-6)
    close(weight @ weight.T + torch.diag(noise), theirs.get_covariance(), atol=1e-3)
    exact = MultivariateNormal(torch.zeros(8).double(), weight @ weight.T + torch.diag(noise)).log_prob(x).mean()
    close(mix.factor_step(cov, weight, noise)[2], exact)


@pytest.mark.notes("N2-007", "E2-03", "E3-028")
def test_isotropic_factor_steps_find_the_closed_form_up_to_a_rotation():
    x = normal(300, 2) @ normal(2, 6, seed=1) + 0.4 * normal(300, 6, seed=2)
    cov = (x - x.mean(0)).T @ (x - x.mean(0)) / len(x)
    weight, noise = normal(6, 2, seed=3), torch.ones(6).double()
    for _ in range(400):
        weight, noise, _ = mix.factor_step(cov, weight, noise, isotropic=True)
    exact_weight, exact_noise = ppca(cov, 2)
    close(weight @ weight.T, exact_weight @ exact_weight.T, atol=1e-8)
    close(noise, torch.full((6,), exact_noise), atol=1e-8)
    assert not torch.allclose(weight, exact_weight, atol=1e-2)  # the axes are not identified


def test_a_coordinate_that_never_varies_collapses_at_once_or_stays_at_the_floor():
    x = load("digits").train.flatten(1).double() / 16
    cov = (x - x.mean(0)).T @ (x - x.mean(0)) / len(x)
    still = int((cov.diagonal() == 0).sum())
    start = 0.1 * normal(64, 3), torch.full((64,), 0.1).double()
    assert still > 0
    with pytest.raises(ValueError, match=f"^noise has collapsed to 0 in {still} of 64 coordinates, expected data that"):
        mix.factor_step(cov, *start)
    weight, noise, seen = *start, []
    for _ in range(50):
        weight, noise, log_likelihood = mix.factor_step(cov, weight, noise, floor=1e-4)
        seen.append(float(log_likelihood))
    assert min(np.diff(seen)) > -1e-9 and noise.min() == 1e-4 and int((noise == 1e-4).sum()) >= still
    _, even, _ = mix.factor_step(cov, *start, isotropic=True)
    close(even, even.mean().expand(64))
    assert mix.factor_step(cov, *start, isotropic=True, floor=0.5)[1].min() == 0.5


# --- refusals -------------------------------------------------------------------------------------------------------

X, E = clusters(20, 2), torch.eye(2).double()
HALF, ZERO = f64(0.5, 0.5), torch.zeros(2, 2).double()
COINS, BITS, DIGITS = mix.Bernoullis(HALF, 0.5 + ZERO), (X > 0).double(), (4 * X).round().abs()
SOFT, NAN, ASKEW = torch.full((20, 3), 1 / 3).double(), X.clone().fill_diagonal_(0), f64((1.0, 0.5), (0.0, 1.0))
NAN[1, 0] = math.nan
REFUSED = {
    "evidence": (lambda: mix.evidence(X[0]), ValueError, "log_joint has shape"),
    "elbo": (lambda: mix.elbo(X, X.softmax(1)[:3]), ValueError, r"q has shape \(3, 2\), expected \(20, 2\)"),
    "elbo law": (lambda: mix.elbo(X, X), ValueError, "q has a negative entry"),
    "weights": (lambda: mix.Gaussians(f64(0.5, 0.6), ZERO, E, covariance="tied"), ValueError, "weights sums to one"),
    "means": (lambda: mix.Gaussians(HALF, ZERO[:1], E, covariance="tied"), ValueError, "means has shape"),
    "covs": (lambda: mix.Gaussians(HALF, ZERO, E), ValueError, "covs has shape"),
    "kind": (lambda: mix.Gaussians(HALF, ZERO, E, covariance="diag"), ValueError, "covariance is 'diag'"),
    "floor": (lambda: mix.Gaussians(HALF, ZERO, E, covariance="tied", floor=-1.0), ValueError, "floor is -1.0"),
    "singular": (lambda: mix.Gaussians(HALF, ZERO, 0 * E, covariance="tied"), ValueError, "covs has a singular tied"),
    "zero": (lambda: mix.Gaussians(HALF, ZERO, 0 * E, covariance="diagonal"), ValueError, "covs has a singular diag"),
    "covs nan": (lambda: mix.Gaussians(HALF, ZERO, E / 0, covariance="tied"), ValueError, "covs has 4 NaN"),
    "x": (lambda: some_gaussians("full").log_prob(X[:, :1]), ValueError, r"x has shape \(20, 1\)"),
    "counts": (lambda: some_gaussians("full").maximised(X, X), ValueError, "counts has shape"),
    "data": (lambda: mix.expectation_maximisation(some_gaussians("full"), X / 0), ValueError, "x has .* NaN"),
    "data weights": (lambda: mix.em_step(some_gaussians("full"), X, -X[:, 0].abs()), ValueError, "data_weights has a"),
    "data shape": (lambda: mix.em_step(some_gaussians("full"), X, X[:3, 0]), ValueError, "data_weights has shape"),
    "steps": (lambda: mix.expectation_maximisation(some_gaussians("full"), X, n_steps=0), ValueError, "n_steps is 0"),
    "k": (lambda: mix.kmeans_plus_plus(X, 0), ValueError, "k is 0"),
    "seed data": (lambda: mix.kmeans_plus_plus(X / 0, 2), ValueError, "x has .* NaN"),
    "kmeans": (lambda: mix.kmeans(X, X[:2, :1]), ValueError, "means has shape"),
    "start": (lambda: mix.gaussians(X, X[:2], covariance="round"), ValueError, "covariance is 'round'"),
    "coins": (lambda: mix.Bernoullis(HALF, 2 * E), ValueError, "the largest of probs is 2.0"),
    "coin below": (lambda: mix.Bernoullis(HALF, -E), ValueError, "the smallest of probs is -1.0"),
    "prior": (lambda: mix.Bernoullis(HALF, E, prior_counts=-1.0), ValueError, "prior_counts is -1.0"),
    "bits": (lambda: mix.Bernoullis(HALF, E).log_joint(X[:, :1]), ValueError, "x has shape"),
    "seen": (lambda: mix.Bernoullis(HALF, E).log_joint(X, X[:3]), ValueError, "seen has shape"),
    "digits for bits": (lambda: COINS.log_prob(DIGITS), ValueError, "x has values from .* expected whole numbers"),
    "digits in the step": (
        lambda: COINS.maximised(DIGITS, SOFT[:, :2]),
        ValueError,
        "x has values from .* expected whole",
    ),
    "nan for a bit": (lambda: COINS.log_prob(DIGITS * math.nan), ValueError, "x has values from nan to nan"),
    "half seen": (lambda: COINS.completed(BITS, BITS / 2), ValueError, "seen has values between whole numbers"),
    "nan": (lambda: some_gaussians("tied").log_prob(X / 0), ValueError, "x has 40 NaN"),
    "nan in the step": (lambda: some_gaussians("tied").maximised(NAN, SOFT), ValueError, "x has 1 NaN"),
    "nan counts": (lambda: some_gaussians("full").maximised(X, SOFT / 0), ValueError, "counts has 60 NaN"),
    "negative counts": (lambda: some_gaussians("full").maximised(X, -SOFT), ValueError, "counts has a negative"),
    "no counts": (lambda: some_gaussians("full").maximised(X, 0 * SOFT), ValueError, "counts has a negative entry or"),
    "askew": (lambda: mix.Gaussians(HALF, ZERO, ASKEW, covariance="tied"), ValueError, "covs is asymmetric by 0.5"),
    "tol": (lambda: mix.expectation_maximisation(COINS, BITS, tol=-1.0), ValueError, "tol is -1.0"),
    "tol nan": (lambda: mix.expectation_maximisation(COINS, BITS, tol=math.nan), ValueError, "tol is nan"),
    "huge": (lambda: mix.kmeans_plus_plus(1e200 * X, 2), ValueError, "x squared has 40 NaN or infinite"),
    "no matrices": (
        lambda: mix.floored(HALF, 1.0, matrices=True),
        ValueError,
        r"covs has shape \(2,\), expected square",
    ),
    "factor overflow": (lambda: mix.factor_step(E, 1e200 * E, HALF), ValueError, "weight and noise make a covariance"),
    "kmeans nan": (lambda: mix.kmeans(NAN, X[:2]), ValueError, "x has 1 NaN"),
    "kmeans means nan": (lambda: mix.kmeans(X, NAN[:2]), ValueError, "means has 1 NaN"),
    "start nan": (lambda: mix.gaussians(NAN, X[:2]), ValueError, "x has 1 NaN"),
    "half precision": (lambda: mix.kmeans(X.half(), X[:2].half()), TypeError, "x has dtype torch.float16, expected"),
    "half covs": (lambda: mix.floored(E.half(), 1.0, matrices=True), TypeError, "covs has dtype torch.float16"),
    "half coins": (lambda: mix.Bernoullis(HALF.half(), E.half()), TypeError, "weights has dtype torch.float16"),
    "single into double": (
        lambda: COINS.log_prob(BITS.float()),
        TypeError,
        "x has dtype torch.float32, expected torch",
    ),
    "mixed": (
        lambda: mix.Gaussians(HALF, ZERO.float(), E, covariance="tied"),
        TypeError,
        "means has dtype torch.float",
    ),
    "infinite floor": (lambda: mix.floored(E, math.inf, matrices=True), ValueError, "floor is inf"),
    "floored": (lambda: mix.floored(E, -1.0, matrices=True), ValueError, "floor is -1.0"),
    "floored nan": (lambda: mix.floored(NAN[:2], 1.0, matrices=True), ValueError, "covs has 1 NaN"),
    "factor askew": (lambda: mix.factor_step(ASKEW, E, HALF), ValueError, "cov is asymmetric by 0.5"),
    "factor nan": (lambda: mix.factor_step(E, NAN[:2], HALF), ValueError, "weight has 1 NaN"),
    "factor floor": (lambda: mix.factor_step(E, E, HALF, floor=-1.0), ValueError, "floor is -1.0"),
    "factor cov": (lambda: mix.factor_step(E, ZERO[:1], HALF), ValueError, "weight has shape"),
    "factor noise": (lambda: mix.factor_step(E, E, -HALF), ValueError, "the smallest noise is -0.5"),
    "list": (lambda: mix.kmeans_plus_plus([[1.0]], 1), TypeError, "x is a list"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("call, error, sentence", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_sentence(call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()


# --- as modules, and started afresh ---------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", mix.COVARIANCES)
def test_a_mixture_is_a_module_that_moves_and_is_saved(covariance):
    x = clusters()
    mixture, other = (mix.gaussians(x, x[i : i + 3], covariance=covariance) for i in (0, 50))
    assert set(mixture.state_dict()) == {"weights", "means", "covs"} and not list(mixture.parameters())
    before = other.log_prob(x)
    other.load_state_dict(mixture.state_dict())
    assert torch.equal(other.log_prob(x), mixture.log_prob(x)) and not torch.allclose(before, mixture.log_prob(x))
    single = mixture.float()
    assert single is mixture and single.log_prob(x.float()).dtype == torch.float32
    close(single.log_prob(x.float()), other.log_prob(x), atol=1e-3)
    close(single.double().log_prob(x), mix.Gaussians(**single.state_dict(), covariance=covariance).log_prob(x), atol=0)


def test_a_state_that_is_no_mixture_is_refused_where_it_is_loaded():
    mixture = mix.gaussians(clusters(), 2, covariance="diagonal", generator=rng())
    with pytest.raises(ValueError, match="a component has collapsed"):
        mixture.load_state_dict({**mixture.state_dict(), "covs": torch.zeros(2, 3).double()})
    coins = mix.Bernoullis(f64(0.5, 0.5), f64((0.1,), (0.9,)))
    assert set(coins.state_dict()) == {"weights", "probs"} and coins.float().probs.dtype == torch.float32


def test_a_number_of_components_draws_its_own_means():
    x = clusters()
    drawn = mix.gaussians(x, 4, covariance="tied", generator=rng(3))
    given = mix.gaussians(x, mix.kmeans_plus_plus(x, 4, generator=rng(3)), covariance="tied")
    assert torch.equal(drawn.means, given.means) and torch.equal(drawn.covs, given.covs)


def test_the_best_of_several_climbs_is_kept_and_a_collapse_left_out():
    x = clusters()
    starts = [mix.gaussians(x, x[rows], covariance="diagonal") for rows in ([4, 5, 6, 7], [0, 1, 2, 3], [5, 6, 7, 4])]
    ends = [mix.expectation_maximisation(start, x)[1].objective[-1] for start in starts]
    assert ends[1] > ends[0] + 0.1

    def collapsed():
        return starts[0].maximised(x[:1], torch.ones(1, 4).double())

    left = iter([lambda: starts[0], collapsed, lambda: starts[1], lambda: starts[2]])
    found, climb = mix.best_of(lambda: next(left)(), x, 4)
    assert climb.objective[-1] == ends[1] == found.log_prob(x).mean()
    with pytest.raises(ValueError, match="a component has collapsed"):
        mix.best_of(collapsed, x, 2)


@pytest.mark.parametrize("covariance", ["diagonal", "spherical"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("width", [1.0, 1e-4], ids=["by products", "by differences"])
def test_densities_and_m_steps_are_those_of_the_differences(covariance, offset, width):
    x = clusters()
    x[:200] = x[:200] * width
    x = x + offset
    counts = normal(400, 4, seed=5).softmax(1)
    counts[:200, 0], counts[200:, 1] = 0.0, 0.0
    counts = counts / counts.sum(1, keepdim=True)
    shape = (4, 3) if covariance == "diagonal" else (4,)
    start = mix.Gaussians(
        torch.full((4,), 0.25).double(),
        x[::100],
        width**2 * f64(*range(1, 13))[: math.prod(shape)].view(shape),
        covariance=covariance,
    )
    precision = 1 / start.covs.view(4, -1)
    squares = ((x[:, None] - start.means) ** 2 * precision).sum(2)
    expected = -0.5 * (squares + (2 * math.pi / precision).log().expand(4, 3).sum(1)) + math.log(0.25)
    close(start.log_joint(x) / expected.abs().clamp(min=1), expected / expected.abs().clamp(min=1), atol=1e-9)
    after = start.maximised(x, counts)
    share = counts / counts.sum(0)
    variances = torch.einsum("nk,nkd->kd", share, (x[:, None] - after.means) ** 2)
    expected = variances if covariance == "diagonal" else variances.mean(1)
    close(after.covs / expected, torch.ones(shape), atol=1e-9)
