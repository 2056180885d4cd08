"""The noising chain against products, Bayes' rule on a grid, autograd, conditioning of Gaussians, DDPM's formulas."""

import itertools
import math

import pytest
import torch
from exact import close, f64, rng
from torch.distributions import Normal

from dgmlib import noising, worlds
from dgmlib.bugs import need_subject, wrong
from dgmlib.core import Schedule
from dgmlib.noising import Cosine, Linear, Tabulated, time_grid

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8
BETA = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
SCHEDULES = {"linear": Linear(), "cosine": Cosine(), "DDPM's table": Tabulated(BETA)}
MIXTURE = worlds.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[[0.04]], [[0.04]]])


def numbers(steps):
    return tuple(float(x) for x in steps)


class Bridge(Schedule):
    """A schedule that does not preserve variance: alpha = 1 - t, sigma = t."""

    def alpha(self, t):
        return 1 - torch.as_tensor(t, dtype=torch.float64)

    def sigma(self, t):
        return torch.as_tensor(t, dtype=torch.float64)

    def dalpha(self, t):
        return -torch.ones_like(self.sigma(t))

    def dsigma(self, t):
        return torch.ones_like(self.sigma(t))


# --- schedules ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-snr")
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_keeps_variance_falls_and_has_its_derivatives(name):
    schedule = SCHEDULES[name]
    t = f64(0.00131, 0.2507, 0.50011, 0.9703).requires_grad_()
    for rate, slope in ((schedule.alpha, schedule.dalpha), (schedule.sigma, schedule.dsigma)):
        (gradient,) = torch.autograd.grad(rate(t).sum(), t)
        close(slope(t), gradient, rtol=1e-7)
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    close(alpha.square() + sigma.square(), torch.ones(1001), rtol=1e-12)
    assert (alpha.diff() < 0).all() and alpha[0] == 1 and sigma[0] == 0 and 0 < alpha[-1] < 0.01
    close(schedule.log_snr(grid[1:]), (alpha[1:] / sigma[1:]).log() * 2, rtol=1e-9)
    close(Schedule.log_snr(schedule, grid[1:]), schedule.log_snr(grid[1:]), rtol=1e-9)
    assert schedule.log_snr(0.0) == math.inf
    assert schedule.alpha(grid.float()).dtype == torch.float32 and schedule.sigma(0.5).dtype == torch.float64
    assert schedule.sigma(f64(0.25)).shape == (1,)


@pytest.mark.equation("eq-diff-linear")
@pytest.mark.notes("E0-66", "N0-163")
def test_the_linear_schedule_is_the_integral_of_its_rate():
    schedule = Linear(0.3, 7.0)
    s = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    integral = (0.3 + 6.7 * 0.6 * s).mean() * 0.6
    close(schedule.alpha(0.6), (-integral / 2).exp(), rtol=1e-9)
    close(Linear().discretize(1000).beta[1:], BETA, rtol=0.11)  # DDPM's steps, but for the rounding of a rate to steps
    close(Linear().discretize(1000).beta[500:], BETA[499:], rtol=0.012)
    ends = [float(Tabulated(torch.linspace(1e-4, 0.02, T)).alpha(1.0)) ** 2 for T in (10, 100, 1000)]
    close(f64(*ends), f64(0.9035, 0.3633, 4.036e-5), rtol=1e-3)  # a table made for 1000 steps, cut short: no noise
    assert all(abs(float(Linear().discretize(T).alpha_bar[-1]) - 4.3e-5) < 1e-6 for T in (10, 100, 1000))


@pytest.mark.equation("eq-diff-cosine")
def test_the_cosine_schedule_is_nichols_and_dhariwals():
    schedule, t = Cosine(), f64(0.0, 0.1, 0.5, 0.999)
    angle = (t + 0.008) / 1.008 * math.pi / 2
    close(schedule.alpha(t), angle.cos() / math.cos(0.008 / 1.008 * math.pi / 2))
    assert (
        abs(schedule.alpha(1.0) - 1e-4) < 1e-15 and schedule.dalpha(1.0) == 0 and Cosine(floor=1e-9).alpha(1.0) < 1.1e-9
    )
    close(Cosine(s=0.1).alpha(0.5), math.cos(0.6 / 1.1 * math.pi / 2) / math.cos(0.1 / 1.1 * math.pi / 2))
    beta = schedule.discretize(1000).beta
    assert 0.99 < beta[-1] < 0.999 and beta[1:].min() > 0


@pytest.mark.equation("eq-diff-alpha-bar")
@pytest.mark.equation("eq-diff-tables")
@pytest.mark.notes("E3-140", "N3-387", "E3-139")
def test_tables_are_products_up_to_t():
    tables = Tabulated(BETA).discretize(1000)
    product = f64(1.0, *itertools.accumulate((1 - BETA).tolist(), lambda a, b: a * b))
    close(tables.alpha_bar, product)
    close(tables.beta[1:], BETA, rtol=1e-9)
    close(tables.beta_tilde[1:], (1 - product[:-1]) / (1 - product[1:]) * BETA, rtol=1e-9)
    assert tables.beta[0] == 0 == tables.beta_tilde[0] == tables.beta_tilde[1] and tables.alpha_bar[0] == 1
    to_the_end = wrong("diffusion-alpha-bar", "E3-140")(BETA)
    assert (to_the_end[1:-1] - product[1:-1]).abs().min() > 1e-7 and to_the_end[1] != 1 - BETA[0]
    # Of a guess of the noise, for data N(0, 1), alpha-bar is the least squared error: the bug's loss looks perfect.
    assert to_the_end[1:].max() < 1e-4
    (bug,) = (bug for bug in need_subject("diffusion-alpha-bar").bugs if bug.id == "E3-140")
    assert "almost nothing" in bug.symptom
    between = Tabulated([0.1, 0.3]).alpha(f64(0.25, 0.5, 0.75)).square()
    close(between, f64(0.9**0.5, 0.9, 0.9 * 0.7**0.5))
    for T in (7, 13, 1000):  # k/T is not always what k * (1/T) rounds to; every row is hit all the same
        close(
            Tabulated([0.1] * T).alpha(torch.arange(T + 1).double() / T).square(),
            0.9 ** torch.arange(T + 1).double(),
            rtol=1e-12,
        )
    with pytest.raises(ValueError, match="expected a variance-preserving schedule"):
        Bridge().discretize(4)
    assert Cosine().discretize(1).beta_tilde.tolist() == [0.0, 0.0]


# --- forward --------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-transition")
@pytest.mark.equation("eq-diff-chain")
@pytest.mark.notes("N0-162", "N1-021", "N4-137", "N3-385", "N4-128", "N4-136", "N3-386", "E1-17", "E4-37", "N4-138")
@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), Bridge()], ids=[*SCHEDULES, "bridge"])
def test_transitions_compose_to_the_marginal(schedule):
    times = [0.0, 0.1, 0.15, 0.5, 0.98]
    scale, variance = 1.0, 0.0
    for s, t in itertools.pairwise(times):
        a, v = numbers(noising.transition(schedule, s, t))
        scale, variance = a * scale, a**2 * variance + v
        close(scale, schedule.alpha(t))
        close(variance, schedule.sigma(t).square())
    tables = Tabulated(BETA).discretize(1000)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    a, v = noising.transition(Tabulated(BETA), t - 1e-3, t)
    close(a, (1 - BETA).sqrt(), rtol=1e-9)
    close(v, tables.beta[1:], rtol=1e-8)


@pytest.mark.equation("eq-diff-marginal")
@pytest.mark.notes("E3-139", "E3-145", "N3-397")
def test_q_sample_is_alpha_x0_plus_sigma_times_the_noise_it_returns():
    schedule, x0 = Cosine(), torch.randn(4, 2, 3, generator=rng(), dtype=torch.float64)
    t = f64(0.0, 0.3, 0.6, 1.0)
    x, eps = noising.q_sample(x0, t, schedule, generator=rng(1))
    for i in range(4):
        close(x[i], schedule.alpha(t[i]) * x0[i] + schedule.sigma(t[i]) * eps[i])
    assert torch.equal(x[0], x0[0]) and x.dtype == torch.float64
    assert torch.equal(noising.q_sample(x0, t, schedule, generator=rng(1))[1], eps)
    many = noising.q_sample(f64([0.7]).expand(200_000, 1), f64(0.4).expand(200_000), schedule, generator=rng())[0]
    alpha, sigma = float(schedule.alpha(0.4)), float(schedule.sigma(0.4))
    assert abs(many.mean() - 0.7 * alpha) < Z * sigma / math.sqrt(2e5)
    assert abs(many.var() - sigma**2) < Z * sigma**2 * math.sqrt(2 / 2e5)
    assert abs(many.std() - wrong("diffusion-marginal", "diffusion-variance-for-deviation")(schedule, 0.4)[1]) > 0.01
    small = noising.q_sample(x0.float(), t.float(), schedule, generator=rng())[0]
    assert small.dtype == torch.float32


@pytest.mark.equation("eq-diff-chain")
@pytest.mark.notes("N4-132", "N0-161")
def test_a_walk_has_the_chains_covariance():
    schedule, times, n = Linear(), [0.9, 0.5, 0.2, 0.0], 200_000
    path = noising.forward_path(f64([1.5]).expand(n, 1), schedule, times, generator=rng())
    assert path.shape == (4, n, 1) and (path[3] == 1.5).all()
    alpha, sigma = schedule.alpha(f64(*times)), schedule.sigma(f64(*times))
    for i in range(3):
        assert abs(path[i].mean() - 1.5 * alpha[i]) < Z * sigma[i] / math.sqrt(n)
        assert abs(path[i].var() - sigma[i] ** 2) < Z * sigma[i] ** 2 * math.sqrt(2 / n)
    centred = path[:2, :, 0] - 1.5 * alpha[:2, None]
    shared = (alpha[0] / alpha[1]) * sigma[1] ** 2  # cov(x_t, x_s) of the Markov chain
    assert abs((centred[0] * centred[1]).mean() - shared) < Z * math.sqrt(2 / n)
    assert shared > 20 * Z * math.sqrt(2 / n) / 10


@pytest.mark.equation("eq-diff-posterior")
@pytest.mark.notes("H3-75", "H0-22", "H4-35")
@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), Bridge()], ids=[*SCHEDULES, "bridge"])
def test_the_posterior_is_bayes_rule(schedule):
    s, t, x_t, x0 = 0.3, 0.45, 0.4, -0.8
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)
    scale, added = numbers(noising.transition(schedule, s, t))
    log_p = Normal(scale * grid, math.sqrt(added)).log_prob(f64(x_t)) + Normal(
        schedule.alpha(s) * x0, schedule.sigma(s)
    ).log_prob(grid)
    p = log_p.softmax(0)
    mean = (p * grid).sum()
    c_x, c_0, variance = numbers(noising.posterior(schedule, s, t))
    close(c_x * x_t + c_0 * x0, mean, rtol=1e-8)
    close(variance, (p * (grid - mean).square()).sum(), rtol=1e-8)
    # the same by conditioning the joint Gaussian of (x_s, x_t) given x_0
    kept = float(schedule.sigma(s)) ** 2
    cov = f64([kept, scale * kept], [scale * kept, float(schedule.sigma(t)) ** 2])
    joint_mean = f64(float(schedule.alpha(s)) * x0, float(schedule.alpha(t)) * x0)
    there, spread = worlds.condition(joint_mean, cov, [1], f64(x_t))
    close(there, f64(c_x * x_t + c_0 * x0), rtol=1e-9)
    close(spread, f64([variance]), rtol=1e-8)
    # averaged over x_t it is the marginal again
    close(c_x * float(schedule.alpha(t)) + c_0, schedule.alpha(s))
    close(c_x**2 * float(schedule.sigma(t)) ** 2 + variance, kept)
    bugs = ("diffusion-beta-for-beta-tilde", "diffusion-alpha-bar-t", "diffusion-s-for-t")
    for bug in bugs if schedule is SCHEDULES["linear"] else ():
        c_x, c_0, variance = numbers(wrong("diffusion-posterior", bug)(schedule, s, t))
        fits = abs(c_x * x_t + c_0 * x0 - mean) < 1e-6
        assert not (fits and abs(variance - (p * (grid - mean).square()).sum()) < 1e-6), bug
    last = noising.posterior(schedule, 0.0, 0.2)
    assert numbers(last)[0] == 0 == numbers(last)[2]
    close(last.c_0, 1.0)


# --- one prediction, four names -------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-eps")
@pytest.mark.equation("eq-diff-v")
@pytest.mark.equation("eq-diff-score")
@pytest.mark.notes("N3-398", "E4-35", "N4-134", "E3-146")
@pytest.mark.parametrize("alpha,sigma", [(0.8, 0.6), (0.3, 1.9)])
def test_predictions_name_the_same_thing(alpha, sigma):
    x0, eps = torch.randn(2, 5, 3, generator=rng(), dtype=torch.float64)
    x = alpha * x0 + sigma * eps
    v, score = alpha * eps - sigma * x0, -eps / sigma
    pairs = (
        (noising.x0_from_eps, noising.eps_from_x0, eps),
        (noising.x0_from_v, noising.v_from_x0, v),
        (noising.x0_from_score, noising.score_from_x0, score),
    )
    for there, back, prediction in pairs:
        close(there(x, prediction, alpha, sigma), x0, rtol=1e-9)
        close(back(x, x0, alpha, sigma), prediction, rtol=1e-9)


@pytest.mark.equation("eq-diff-score")
@pytest.mark.equation("eq-diff-perfect")
@pytest.mark.notes("N3-396", "H0-23")
def test_tweedie_is_the_mixtures_own_score_and_adapters_agree():
    schedule, t = Cosine(), f64(0.3, 0.3, 0.6)
    x = f64([0.4], [-1.3], [0.1])
    perfect = noising.mixture_denoiser(MIXTURE, schedule)
    expected = torch.cat(
        [MIXTURE.denoiser(x[i : i + 1], float(schedule.alpha(t[i])), float(schedule.sigma(t[i]))) for i in range(3)]
    )
    close(perfect(x, t), expected)
    alpha, sigma = noising.rates(schedule, t, x)
    score = torch.cat([MIXTURE.noised(float(alpha[i]), float(sigma[i])).score(x[i : i + 1]) for i in range(3)])
    close(noising.score_from_x0(x, perfect(x, t), alpha, sigma), score, rtol=1e-8)
    forgotten = x + sigma.square() * score  # alpha left out
    assert not torch.allclose(forgotten, expected, rtol=1e-2)
    for adapt, convert in (
        (noising.denoiser_from_eps, noising.eps_from_x0),
        (noising.denoiser_from_v, noising.v_from_x0),
        (noising.denoiser_from_score, noising.score_from_x0),
    ):

        def network(x, t, scale=1.0, convert=convert):
            return scale * convert(x, perfect(x, t), *noising.rates(schedule, t, x))

        close(adapt(network, schedule)(x, t), expected, rtol=1e-9)
        assert not torch.allclose(adapt(network, schedule)(x, t, scale=0.5), expected)  # a condition is passed on


# --- where a sampler stops ------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-grid")
def test_grids_are_the_ones_in_use():
    def visited(n, T, spacing):
        return [round(t * T) for t in time_grid(n, T, spacing)]

    assert visited(5, 1000, "trailing") == [1000, 800, 600, 400, 200, 0]
    assert visited(5, 1000, "leading") == [801, 601, 401, 201, 1, 0]
    assert visited(5, 1000, "linspace") == [1000, 750, 500, 251, 1, 0]
    assert visited(3, 10, "trailing") == [10, 7, 3, 0] and visited(3, 10, "leading") == [7, 4, 1, 0]
    assert visited(1, 10, "linspace") == [10, 0] == visited(1, 10, "trailing")
    assert visited(4, 4, "trailing") == [4, 3, 2, 1, 0] == visited(4, 4, "leading") == visited(4, 4, "linspace")
    for n, spacing in itertools.product((1, 7, 13, 999, 1000), ("trailing", "leading", "linspace")):
        assert noising.need_times(time_grid(n, 1000, spacing)) and len(time_grid(n, 1000, spacing)) == n + 1


# --- steps and variances --------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-ancestral")
@pytest.mark.notes("N3-395", "N0-165", "N1-020", "H3-77")
def test_ancestral_steps_are_ddpms():
    schedule, times = Tabulated(BETA), time_grid(1000)
    tables = schedule.discretize(1000)
    steps = noising.ancestral_steps(schedule, times)
    beta, bar = tables.beta[1:].flip(0), tables.alpha_bar[1:].flip(0)
    x, eps = 0.7, -0.4
    x0 = (x - (1 - bar).sqrt() * eps) / bar.sqrt()
    close(steps.c_x * x + steps.c_0 * x0, (x - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt(), rtol=1e-8, atol=1e-8)
    close(f64(*steps.variance), tables.beta_tilde[1:].flip(0), rtol=1e-8)
    forward = noising.ancestral_steps(schedule, times, "forward").variance
    close(f64(*forward[:-1]), tables.beta[2:].flip(0), rtol=1e-8)
    assert forward[-1] == 0.0  # no noise at the end
    own = noising.ancestral_steps(schedule, [0.5, 0.2, 0.1], [0.3, torch.ones(2)]).variance
    assert own[0] == 0.3 and torch.equal(own[1], torch.ones(2))  # a walk that stops early keeps its noise
    numbers = noising.ancestral_steps(schedule, times, torch.rand(1000)).variance
    assert numbers.dtype == torch.float64 and numbers.shape == (1000,)  # one column, which the walk makes into floats


@pytest.mark.equation("eq-diff-ddim")
@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), Bridge()], ids=[*SCHEDULES, "bridge"])
def test_ddim_at_eta_one_is_ancestral_and_at_zero_follows_the_noise(schedule):
    times = time_grid(13) if schedule is not SCHEDULES["cosine"] else [0.99, 0.6, 0.3, 0.0]
    one, walk = noising.ddim_steps(schedule, times, 1.0), noising.ancestral_steps(schedule, times)
    for a, b in zip(one, walk, strict=True):
        close(f64(*a), f64(*b), rtol=1e-9, atol=1e-12)
    zero = noising.ddim_steps(schedule, times)
    assert not zero.variance.any()
    x0, eps = 0.3, -1.2
    t = f64(*times)
    state = schedule.alpha(t) * x0 + schedule.sigma(t) * eps
    close(zero.c_x * state[:-1] + zero.c_0 * x0, state[1:], rtol=1e-9)
    close(noising.ddim_steps(schedule, times, 0.5).variance, 0.25 * one.variance, rtol=1e-12)


@pytest.mark.equation("eq-diff-variances")
@pytest.mark.equation("eq-diff-optimal-variance")
@pytest.mark.equation("eq-diff-price")
@pytest.mark.notes("E0-67", "N0-166", "N0-167")
def test_the_best_variance_lies_between_its_extremes():
    schedule, times = Linear(), time_grid(50)
    t = f64(*times[:-1])
    forward, least = (noising.reverse_variances(schedule, times, kind) for kind in ("forward", "posterior"))
    assert (least[:-1] < forward[:-1]).all() and least[-1] == forward[-1]
    standard = schedule.sigma(t).square()  # E|x_0 - x0_hat|^2 for N(0, 1) data
    close(noising.optimal_variances(schedule, times, standard), forward, rtol=1e-8)
    close(noising.optimal_variances(schedule, times, 0 * t)[:-1], least[:-1])
    law = worlds.GaussianMixture([0.5, 0.5], [[-(0.96**0.5)], [0.96**0.5]], [[[0.04]], [[0.04]]])  # of variance 1
    errors = torch.stack([law.mmse(float(schedule.alpha(u)), float(schedule.sigma(u))) for u in t])
    best = noising.optimal_variances(schedule, times, errors)
    assert ((least < best) & (best < (1 + 1e-6) * forward))[:-1].all() and (best < 0.9 * forward)[-6:].all()
    power, total = 1.0, {}
    for name, used in {"best": best, "forward": forward, "posterior": least, "more": 1.01 * best}.items():
        terms = noising.expected_terms(errors, schedule, times, used, power)
        total[name] = terms.sum()
        paid = noising.variance_price(best, used)
        assert (paid >= 0).all()
        close(terms.sum() - total["best"], paid.sum(), rtol=1e-7, atol=1e-10)
    assert total["best"] < min(total["forward"], total["posterior"], total["more"])
    per_pixel = noising.optimal_variances(schedule, times, errors[:, None, None] * torch.ones(1, 2, 3))
    assert per_pixel.shape == (50, 2, 3)
    close(per_pixel[:, 1, 2], best)


@pytest.mark.equation("eq-diff-optimal-variance")
def test_the_best_variance_is_that_of_the_true_reverse_step():
    """Data N(m, v): q(x_s | x_t) is Gaussian, and its variance is the closed conditional one."""
    schedule, v, times = Cosine(), 0.3, [0.8, 0.5]
    (a_t, s_t), (a_s, s_s) = ((float(schedule.alpha(t)), float(schedule.sigma(t))) for t in times)
    total = a_t**2 * v + s_t**2
    best = noising.optimal_variances(schedule, times, f64(v * s_t**2 / total))
    scale = float(noising.transition(schedule, 0.5, 0.8)[0])
    here = a_s**2 * v + s_s**2
    close(best, f64(here - (scale * here) ** 2 / total), rtol=1e-9)


# --- laws whose denoiser is known -----------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-copier")
@pytest.mark.equation("eq-diff-copying")
@pytest.mark.notes("E0-68")
def test_the_copier_is_the_mixture_of_points():
    schedule, data = Linear(), torch.randn(6, 2, generator=rng(), dtype=torch.float64)
    points = worlds.GaussianMixture(f64(*[1 / 6] * 6), data, torch.zeros(6, 2, 2, dtype=torch.float64))
    x, t = torch.randn(5, 2, generator=rng(1), dtype=torch.float64), f64(0.1, 0.3, 0.5, 0.5, 0.9)
    close(noising.copier(data, schedule)(x, t), noising.mixture_denoiser(points, schedule)(x, t), rtol=1e-9)
    alpha, sigma = float(schedule.alpha(0.3)), float(schedule.sigma(0.3))
    expected = points.noised(alpha, sigma).responsibilities(x)
    close(noising.copier_weights(x, data, alpha, sigma), expected, rtol=1e-9)
    images = data.view(6, 1, 1, 2)
    close(noising.copier(images, schedule)(x.view(5, 1, 1, 2), t).flatten(1), noising.copier(data, schedule)(x, t))


@pytest.mark.equation("eq-diff-expected-terms")
@pytest.mark.equation("eq-diff-immse")
@pytest.mark.notes("N4-141", "H4-34", "E0-67")
def test_the_gap_of_a_perfect_denoiser_closes_like_one_over_T_and_the_area_is_the_entropy():
    x = torch.linspace(-3.5, 3.5, 8001, dtype=torch.float64)[:, None]
    log_p = MIXTURE.log_prob(x)
    entropy = -(log_p.exp() * log_p).sum() * (x[1, 0] - x[0, 0])
    gaps = []
    for T in (32, 64, 128):
        schedule, times = Linear(), time_grid(T, T)
        errors = torch.stack([MIXTURE.mmse(float(schedule.alpha(t)), float(schedule.sigma(t))) for t in times[:-1]])
        best = noising.optimal_variances(schedule, times, errors)
        gaps.append(float(noising.expected_terms(errors, schedule, times, best, 1.04).sum() - entropy))
    assert gaps[-1] > 0
    for a, b in itertools.pairwise(gaps):
        assert abs(math.log2(a / b) - 1) < 0.1
    log_snr = torch.linspace(-14, 18, 1201, dtype=torch.float64)
    errors = torch.stack([MIXTURE.mmse(math.sqrt(g), 1.0) for g in log_snr.exp().tolist()])
    close(noising.entropy_from_mmse(log_snr, errors, 1.04), entropy, rtol=0, atol=2e-6)
    close(noising.entropy_from_mmse(log_snr, errors, 0.5), entropy, rtol=0, atol=2e-6)  # any reference will do
    assert noising.entropy_from_mmse(log_snr, errors, 1.04) == noising.entropy_from_mmse(log_snr, errors, 1.04, 1)
    gaussian = 3 * 0.7 / (1 + 0.7 * log_snr.exp())  # N(0, 0.7 I_3)
    close(noising.entropy_from_mmse(log_snr, gaussian, 0.7, 3), 1.5 * math.log(2 * math.pi * math.e * 0.7))


@pytest.mark.equation("eq-diff-expected-terms")
def test_for_a_gaussian_the_bound_is_tight_but_for_what_the_chain_ends_in():
    v, schedule = 0.3, Cosine()
    times = time_grid(6, 6)
    alpha, sigma = schedule.alpha(f64(*times)), schedule.sigma(f64(*times))
    errors = (v * sigma**2 / (alpha**2 * v + sigma**2))[:-1]
    best = noising.optimal_variances(schedule, times, errors)
    terms = noising.expected_terms(errors, schedule, times, best, v)
    entropy = 0.5 * math.log(2 * math.pi * math.e * v)
    end = alpha[0] ** 2 * v + sigma[0] ** 2
    close(terms.sum() - entropy, 0.5 * (end - 1 - end.log()), rtol=1e-6)
    assert terms.shape == (7,) and (terms[1:] >= 0).all()


@pytest.mark.equation("eq-diff-moments")
@pytest.mark.notes("E0-64", "E2-28", "N2-080")
def test_moments_of_both_samplers_on_gaussians():
    schedule, times = Linear(), time_grid(40)
    start = (0.0, 1.0)
    forward = noising.ancestral_steps(schedule, times, noising.reverse_variances(schedule, times, "forward").tolist())
    mean, variance = noising.gaussian_moments(forward, schedule, times, 0.0, 1.0, start)
    close(variance[:-1], torch.ones(40), rtol=1e-9)  # beta keeps N(0, 1)
    least = noising.ancestral_steps(schedule, times)
    mean, variance = noising.gaussian_moments(least, schedule, times, 0.0, 1.0)
    assert not mean.any() and variance[0] == 1 and (variance[1:] < 1).all()  # beta-tilde shrinks it
    still = noising.Steps(least.c_x, least.c_0, [0.0] * 40)
    assert noising.gaussian_moments(still, schedule, times, 0.0, 1.0)[1][-1] < 0.05  # no noise: everything in one place
    m, v = 1.5, 0.04
    errors = (
        v * schedule.sigma(f64(*times)) ** 2 / (schedule.alpha(f64(*times)) ** 2 * v + schedule.sigma(f64(*times)) ** 2)
    )
    best = noising.ancestral_steps(schedule, times, noising.optimal_variances(schedule, times, errors[:-1]))
    right = (float(schedule.alpha(1.0)) * m, float(schedule.alpha(1.0)) ** 2 * v + float(schedule.sigma(1.0)) ** 2)
    mean, variance = noising.gaussian_moments(best, schedule, times, m, v, right)
    t = f64(*times)
    close(mean, schedule.alpha(t) * m, rtol=1e-9, atol=1e-10)
    close(variance[:-1], (schedule.alpha(t).square() * v + schedule.sigma(t).square())[:-1], rtol=1e-9)
    assert mean.shape == variance.shape == (41,) and (mean[0], variance[0]) == right


def test_the_copiers_weights_are_those_of_the_distances_wherever_the_data_are():
    """Single precision, data far from the origin: expanded squares of 10,000 have no digits left for a distance."""
    points = torch.randn(30, 4, generator=rng(), dtype=torch.float64).float()
    x = (points[:5] + 0.05 * torch.randn(5, 4, generator=rng(1))).float()
    for far in (0.0, 100.0, 10_000.0):
        data, here = points + far, 0.99 * (x + far)
        distance = (here.double()[:, None] - 0.99 * data.double()).square().sum(-1)
        weights = noising.copier_weights(here, data, 0.99, 0.1)
        assert weights.dtype == torch.float32
        close(weights, (-distance / 0.02).softmax(1), rtol=1e-3, atol=1e-6)


def test_a_time_outside_the_unit_interval_is_nan_where_reading_it_would_stall():
    """On an accelerator; here the meta device, which has no values, shows that nothing is read."""
    for schedule in SCHEDULES.values():
        assert schedule.alpha(torch.full((3,), 0.5, device="meta")).shape == (3,)
        noising.q_sample(torch.ones(3, 2, device="meta"), torch.ones(3, device="meta"), schedule)


REFUSED = {
    "beta_0 is -1.0, expected": lambda: Linear(-1.0),
    "beta_1 is 0.05, expected a number in [0.1": lambda: Linear(0.1, 0.05),
    "s is 1.5, expected": lambda: Cosine(1.5),
    "floor is 0.0, expected": lambda: Cosine(floor=0.0),
    "beta[1] is nan": lambda: Tabulated([0.1, math.nan]),
    "beta is 1.0, expected": lambda: Tabulated([0.1, 1.0]),
    "beta has shape (0,), expected at least one": lambda: Tabulated([]),
    "t is 1.2, expected a number in [0.0, 1.0]": lambda: Linear().alpha(1.2),
    "t is -0.1, expected": lambda: Tabulated([0.1]).log_snr(-0.1),
    "t is nan": lambda: noising.transition(Cosine(), 0.1, math.nan),
    "n_steps is 0, expected at least 1": lambda: Linear().discretize(0),
    "n_steps is 2.0, expected an int": lambda: Linear().discretize(2.0),
    "t has shape (3,), expected (4,)": lambda: noising.q_sample(torch.ones(4, 2), torch.ones(3), Linear()),
    "t has dtype torch.int64": lambda: noising.q_sample(torch.ones(4, 2), torch.ones(4).long(), Linear()),
    "x0 has dtype torch.uint8": lambda: noising.q_sample(torch.ones(4, 2).to(torch.uint8), torch.ones(4), Linear()),
    "times is 1.5, expected a number in [0.0, 1.0]": lambda: noising.need_times([1.5, 0.0]),
    "times[0] is nan": lambda: noising.need_times([math.nan, 0.0]),
    "times has 1 entries": lambda: noising.need_times([0.5]),
    "times has 3 entries from [0.5] to [0.0], expected two": lambda: noising.need_times([0.5, 0.5, 0.0]),
    "x0 is a float": lambda: noising.forward_path(0.5, Linear(), [0.5, 0.0]),
    "n_steps is 11, expected a number in [1, 10]": lambda: time_grid(11, 10),
    "spacing is 'log'": lambda: time_grid(5, 10, "log"),
    "kind of variance is 'small'": lambda: noising.reverse_variances(Linear(), [0.5, 0.0], "small"),
    "variance has 1 entries, expected one for each of 2 steps": lambda: noising.ancestral_steps(
        Linear(), [0.5, 0.2, 0.0], [0.1]
    ),
    "eta is 1.5, expected": lambda: noising.ddim_steps(Linear(), [0.5, 0.0], 1.5),
    "errors has shape (3,), expected (1,)": lambda: noising.optimal_variances(Linear(), [0.5, 0.0], torch.ones(3)),
    "errors has shape (2,), expected (1,)": lambda: noising.expected_terms(
        torch.ones(2), Linear(), [0.5, 0.0], torch.ones(2), 1.0
    ),
    "t reaches from 500 to 500, expected numbers in [0, 1]": lambda: noising.q_sample(
        torch.ones(1, 2), torch.tensor([500.0]), Linear()
    ),
    "t reaches from nan to nan, expected": lambda: Cosine().sigma(torch.tensor([0.5, math.nan])),
    "t has dtype torch.int64, expected a floating dtype": lambda: Cosine().alpha(torch.tensor([0, 1])),
    "t has dtype torch.int64, expected": lambda: noising.denoiser_from_eps(lambda x, t: x, Linear())(
        torch.ones(1, 2), torch.tensor([1])
    ),
    "s is 0.9 where t is 0.1, expected each s before its t": lambda: noising.transition(Linear(), 0.9, 0.1),
    "s is 0.5 where t is 0.4, expected each s before": lambda: noising.posterior(
        Linear(), f64(0.1, 0.5), f64(0.2, 0.4)
    ),
    "s is 0 where t is 0, expected each s before its t": lambda: noising.posterior(Linear(), 0.0, 0.0),
    "s reaches from -0.1 to -0.1, expected": lambda: noising.transition(Linear(), f64(-0.1), f64(0.5)),
    "alpha has shape (4,), expected a number or 2 axes": lambda: noising.x0_from_eps(
        torch.ones(4, 4), torch.ones(4, 4), torch.ones(4), torch.ones(4)
    ),
    "sigma has shape (3,), expected a number or 2 axes": lambda: noising.copier_weights(
        torch.ones(4, 2), torch.ones(3, 2), torch.ones(4, 1), torch.ones(3)
    ),
    "eps has shape (4, 1), expected (4, 4)": lambda: noising.x0_from_eps(torch.ones(4, 4), torch.ones(4, 1), 0.8, 0.6),
    "alpha is 0.0, expected a number in (0.0": lambda: noising.x0_from_score(torch.ones(4), torch.ones(4), 0.0, 1.0),
    "sigma is 0.0, expected": lambda: noising.score_from_x0(torch.ones(4), torch.ones(4), 1.0, 0.0),
    "sigma reaches from 0 to 1, expected positive": lambda: noising.v_from_x0(
        torch.ones(2, 1), torch.ones(2, 1), 1.0, f64([0.0], [1.0])
    ),
    "alpha^2 + sigma^2 is 0.0, expected": lambda: noising.x0_from_v(torch.ones(4), torch.ones(4), 0.0, 0.0),
    "times falls to 0.1, expected to 0.0": lambda: noising.forward_path(torch.ones(4, 2), Linear(), [0.5, 0.1]),
    "times falls to 0.2, expected": lambda: noising.expected_terms(
        torch.ones(1), Linear(), [0.5, 0.2], torch.ones(1), 1.0
    ),
    "variances reaches from -1 to -1, expected positive": lambda: noising.expected_terms(
        torch.ones(1), Linear(), [0.5, 0.0], -torch.ones(1), 1.0
    ),
    "variance reaches from -0.1 to -0.1, expected numbers from 0": lambda: noising.ancestral_steps(
        Linear(), [0.5, 0.2, 0.0], [-0.1, 0.1]
    ),
    "errors reaches from nan to nan, expected": lambda: noising.optimal_variances(
        Linear(), [0.5, 0.0], torch.full((1, 3), math.nan)
    ),
    "steps has 1 entries, expected one for each of 2 steps": lambda: noising.gaussian_moments(
        noising.ddim_steps(Linear(), [0.5, 0.0]), Linear(), [0.5, 0.2, 0.0], 0.0, 1.0
    ),
    "used reaches from 0 to 1, expected positive": lambda: noising.variance_price(f64(1.0, 1.0), f64(0.0, 1.0)),
    "log_snr falls or stands still": lambda: noising.entropy_from_mmse(f64(2.0, 1.0), f64(0.5, 0.5), 1.0),
    "beta_1 is inf, expected": lambda: Linear(0.1, math.inf),
    "beta_1 is 0.0, expected": lambda: Linear(0.0, 0.0),
    "x has dtype torch.int64": lambda: noising.copier_weights(torch.ones(2, 2).long(), torch.ones(3, 2), 0.5, 0.5),
    "data is a list": lambda: noising.copier_weights(torch.ones(2, 2), [1.0], 0.5, 0.5),
    "variance is -1.0, expected": lambda: noising.entropy_from_mmse(torch.ones(3), torch.ones(3), -1.0),
    "mmse has shape (2,), expected (3,)": lambda: noising.entropy_from_mmse(torch.ones(3), torch.ones(2), 1.0),
    "variance is nan": lambda: noising.gaussian_moments(
        noising.ddim_steps(Linear(), [0.5, 0.0]), Linear(), [0.5, 0.0], 0.0, math.nan
    ),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_input_is_refused_in_one_sentence(sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)
