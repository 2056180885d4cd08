"""Losses, bound and samplers against enumeration, closed forms and each other; what ships ran on point masses first."""

import math
from functools import partial

import pytest
import torch
from exact import close, f64, rng
from moments import law_along
from torch.distributions import Normal

from dgmlib import diffusion, noising, worlds
from dgmlib.bugs import wrong
from dgmlib.divergences import kl_gaussian
from dgmlib.nets import UNet
from dgmlib.noising import Cosine, Linear, Tabulated, time_grid

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8
LINE, COSINE = Linear(), Cosine()
TABLE = Tabulated(torch.linspace(1e-3, 0.2, 50, dtype=torch.float64))
DDPM = Tabulated(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))


def near(draws, truth):
    """The mean of independent draws is `truth` within Z standard errors."""
    return bool((draws.mean() - truth).abs() < Z * draws.std() / math.sqrt(len(draws)))


def gaussian_denoiser(schedule, mean, variance):
    """The perfect denoiser of N(mean, variance)."""

    def denoiser(x, t):
        alpha, sigma = noising.rates(schedule, t, x)
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)

    return denoiser


# --- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-simple")
@pytest.mark.equation("eq-diff-v-loss")
@pytest.mark.notes("E3-145", "N3-397", "E2-27", "N2-079", "H2-13", "H0-24")
def test_losses_compare_with_the_noise_that_made_the_state():
    x0, t = torch.randn(5, 2, 3, generator=rng(), dtype=torch.float64), f64(0.1, 0.3, 0.5, 0.7, 0.9)
    alpha, sigma = noising.rates(COSINE, t, x0)
    exact_eps, exact_v = (
        partial(lambda convert, x, t: convert(x, x0, alpha, sigma), convert)
        for convert in (noising.eps_from_x0, noising.v_from_x0)
    )
    assert diffusion.eps_loss(exact_eps, x0, t, COSINE, generator=rng(1)).max() < 1e-20
    assert diffusion.v_loss(exact_v, x0, t, COSINE, generator=rng(1)).max() < 1e-20
    eps = noising.q_sample(x0, t, COSINE, generator=rng(1))[1]
    off = diffusion.eps_loss(lambda x, t: exact_eps(x, t) + 0.5, x0, t, COSINE, generator=rng(1))
    close(off, torch.full((5,), 0.25))
    zero = diffusion.eps_loss(lambda x, t: 0 * x, x0, t, COSINE, generator=rng(1))
    close(zero, eps.square().mean((1, 2)))
    zero = diffusion.v_loss(lambda x, t: 0 * x, x0, t, COSINE, generator=rng(1))
    close(zero, (alpha * eps - sigma * x0).square().mean((1, 2)))
    for bug in ("E3-145", "diffusion-time-off-by-one", "diffusion-one-noise-for-all"):
        assert wrong("diffusion-noise-target", bug)(f64([0.5, -1.0], [1.0, -0.2]), f64(0.4, 0.9), 3).max() > 1e-4, bug


@pytest.mark.equation("eq-diff-importance")
@pytest.mark.notes("E0-71", "N0-171", "E3-144")
def test_drawn_times_have_their_frequencies_and_weights():
    x0, probs = torch.zeros(200_000, 1, dtype=torch.float64), f64(0.1, 0.2, 0.3, 0.4)
    t, weight = diffusion.draw_times(x0, 4, probs, generator=rng())
    for i in range(4):
        share = (t == (i + 1) / 4).double().mean()
        assert abs(share - probs[i]) < Z * math.sqrt(0.25 / 2e5)
        close(weight[t == (i + 1) / 4], 1 / (4 * probs[i]).expand(int((t == (i + 1) / 4).sum())))
    loss = t.square() + 1
    assert near(weight * loss, (f64(0.25, 0.5, 0.75, 1.0).square() + 1).mean())
    assert not near(loss, (f64(0.25, 0.5, 0.75, 1.0).square() + 1).mean())
    t, weight = diffusion.draw_times(x0, 10, generator=rng())
    assert t.unique().tolist() == pytest.approx([i / 10 for i in range(1, 11)]) and (weight == 1).all()
    assert diffusion.draw_times(torch.zeros(3, 2), 5, generator=rng())[0].dtype == torch.float32


@pytest.mark.equation("eq-diff-importance")
def test_times_in_proportion_to_the_root_mean_square_have_the_least_spread():
    losses = f64(4.0, 1.0, 0.5, 0.1)
    x0 = torch.zeros(100_000, 1, dtype=torch.float64)
    spread = []
    for probs in (losses / losses.sum(), f64(0.25, 0.25, 0.25, 0.25)):
        t, weight = diffusion.draw_times(x0, 4, probs, generator=rng())
        spread.append((weight * losses[(t * 4 - 1).round().long()]).std())
    assert spread[0] < 1e-12 < spread[1]


@pytest.mark.equation("eq-diff-weights")
@pytest.mark.notes("E3-143", "N3-396", "N0-170", "E0-70")
@pytest.mark.parametrize("s,t", [(0.38, 0.4), (0.3, 0.6)])
def test_every_weight_gives_the_same_term(s, t):
    x0, guess = torch.randn(2, 3, 4, generator=rng(), dtype=torch.float64)
    alpha, sigma = float(TABLE.alpha(t)), float(TABLE.sigma(t))
    x = alpha * x0 + sigma * torch.randn(3, 4, generator=rng(1), dtype=torch.float64)
    weights = diffusion.bound_weights(TABLE, s, t)
    least = float(noising.posterior(TABLE, s, t).variance)
    term = diffusion.step_kl(x0, guess, TABLE, s, t, least)
    converts = (lambda x, x0, *_: x0, noising.eps_from_x0, noising.v_from_x0, noising.score_from_x0)
    for w, convert in zip(weights, converts, strict=True):
        error = convert(x, x0, alpha, sigma) - convert(x, guess, alpha, sigma)
        close(w * error.square().sum(1), term, rtol=1e-8)
    snr = [float(TABLE.log_snr(u).exp()) for u in (s, t)]
    close(weights.x0, (snr[0] - snr[1]) / 2, rtol=1e-9)
    beta = float(noising.transition(TABLE, s, t)[1])
    ddpm = beta**2 / (2 * least * (1 - beta) * sigma**2)  # Ho et al. (2020), equation 12
    close(weights.eps, ddpm, rtol=1e-9)
    other = diffusion.bound_weights(TABLE, s, t, beta)
    close(other.eps, ddpm * least / beta, rtol=1e-9)
    assert abs(float(wrong("diffusion-weights", "diffusion-weights-next-step")(TABLE, s, t)[0] / weights.x0) - 1) > 0.1


# --- the bound ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-diff-prior-term")
@pytest.mark.equation("eq-diff-kl-term")
@pytest.mark.notes("H3-75", "N1-019", "E1-15")
def test_terms_are_divergences_of_gaussians():
    x0, guess, x = torch.randn(3, 2, 3, generator=rng(), dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    alpha, sigma = float(TABLE.alpha(1.0)), float(TABLE.sigma(1.0))
    zero = torch.zeros(3, dtype=torch.float64)
    close(diffusion.prior_kl(x0, TABLE), kl_gaussian(alpha * x0, sigma**2 * eye.expand(2, 3, 3), zero, eye))
    assert (diffusion.prior_kl(x0, TABLE, 0.5) > diffusion.prior_kl(x0, TABLE)).all()
    c_x, c_0, least = (float(number) for number in noising.posterior(TABLE, 0.2, 0.5))
    for variance in (f64(0.3, 0.3, 0.3), f64(0.1, 0.2, 0.9)):
        truth = kl_gaussian(
            c_x * x + c_0 * x0, least * eye.expand(2, 3, 3), c_x * x + c_0 * guess, variance.diag().expand(2, 3, 3)
        )
        close(diffusion.step_kl(x0, guess, TABLE, 0.2, 0.5, variance), truth, rtol=1e-8)
    close(
        diffusion.step_kl(x0, guess, TABLE, 0.2, 0.5, 0.3),
        diffusion.step_kl(x0, guess, TABLE, 0.2, 0.5, f64(0.3, 0.3, 0.3)),
    )
    assert diffusion.step_kl(x0, x0, TABLE, 0.2, 0.5, least).abs().max() < 1e-12


@pytest.mark.equation("eq-diff-decoder")
@pytest.mark.notes("H4-34")
def test_masses_sum_to_one_and_survive_in_the_tails():
    x = torch.linspace(-1, 1, 17, dtype=torch.float64)[:, None]
    for mean, variance in ((0.0, 0.3), (0.93, 1e-3), (-4.0, 0.01), (0.1, 1e-6)):
        log_mass = diffusion.discretized_log_prob(x, torch.full_like(x, mean), variance, 17)
        close(log_mass.exp().sum(), 1.0, rtol=1e-9)
        assert torch.isfinite(log_mass).all()
    law = Normal(f64(0.13), 0.2)
    close(
        diffusion.discretized_log_prob(x[8:9], f64([0.13]), 0.04, 17),
        (law.cdf(f64(1 / 16)) - law.cdf(f64(-1 / 16))).log(),
        rtol=1e-9,
    )
    per_pixel = diffusion.discretized_log_prob(f64([0.5, -1.0]), f64([0.4, -0.8]), f64(0.1, 0.2), 17)
    parts = [
        diffusion.discretized_log_prob(f64([a]), f64([b]), v, 17) for a, b, v in ((0.5, 0.4, 0.1), (-1, -0.8, 0.2))
    ]
    close(per_pixel, parts[0] + parts[1])
    assert wrong("diffusion-decoder", "diffusion-decoder-open")(x, 0.93 + 0 * x, 0.01, 17).exp().sum() < 0.95


TWO = ([0.9, 0.4, 0.0], [0.35, 0.2])  # times and variances of a chain with two steps


def exact_log_prob(denoiser, schedule, times, variances, x0):
    """log p(x_0) of a two-step chain on the line, by the midpoint rule over x_1 and x_2."""
    grid = -8 + 16 * (torch.arange(1600, dtype=torch.float64) + 0.5) / 1600
    laws = []
    for (t, s), variance in zip(((times[0], times[1]), (times[1], 0.0)), variances, strict=True):
        c_x, c_0, _ = (float(number) for number in noising.posterior(schedule, s, t))
        laws.append(
            Normal(c_x * grid + c_0 * denoiser(grid[:, None], grid.new_full((1600,), t))[:, 0], math.sqrt(variance))
        )
    step = 16 / 1600
    first = (Normal(0.0, 1.0).log_prob(grid).exp() * laws[0].log_prob(grid[:, None]).exp()).sum(1) * step  # p(x_1)
    return (first * laws[1].log_prob(f64(x0)).exp()).sum().mul(step).log()


@pytest.mark.equation("eq-diff-elbo-kl")
@pytest.mark.equation("eq-diff-elbo-joint")
@pytest.mark.notes("N4-139", "N3-390", "E3-141", "N3-394", "E3-142", "N1-024", "E1-20", "E1-19", "E1-14", "N1-018")
def test_both_forms_have_one_mean_below_the_evidence():
    schedule, (times, variances), x0, n = TABLE, TWO, 0.8, 100_000
    denoiser = gaussian_denoiser(schedule, 0.3, 0.5)
    path = noising.forward_path(f64([x0]).expand(n, 1), schedule, times, generator=rng())
    kl, joint = (
        form(denoiser, path, schedule, times, variances) for form in (diffusion.kl_terms, diffusion.joint_terms)
    )
    assert kl.shape == joint.shape == (n, 3)
    gap = (kl - joint).sum(1)
    assert near(gap, 0.0) and gap.std() > 0.1
    evidence = exact_log_prob(denoiser, schedule, times, variances, x0)
    for form in (kl, joint):
        total = form.sum(1)
        assert total.mean() > -evidence + Z * total.std() / math.sqrt(n)  # minus the ELBO: an upper bound on -log p
    assert (evidence.exp() * joint.sum(1)).isfinite().all()
    assert near((-joint.sum(1) - evidence).exp(), 1.0)  # the joint form's weights are unbiased for p(x_0) itself
    fresh = torch.stack(
        [noising.q_sample(path[-1], f64(t).expand(n), schedule, generator=rng(i))[0] for i, t in enumerate(times[:-1])]
        + [path[-1]]
    )
    independent = diffusion.kl_terms(denoiser, fresh, schedule, times, variances)
    difference = independent.sum(1) - kl.sum(1)
    assert near(difference, 0.0)
    flipped = path.flip(0)
    assert not near(diffusion.kl_terms(denoiser, flipped, schedule, times, variances).sum(1) - kl.sum(1), 0.0)


@pytest.mark.equation("eq-diff-elbo-joint")
@pytest.mark.notes("N4-131", "E3-138", "E4-38")
def test_at_the_exact_reversal_the_joint_form_is_the_evidence_without_any_spread():
    """Data N(0, 1): the reverse chain with beta is exact, so every path gives -log p(x_0) to rounding."""
    schedule, times = TABLE, time_grid(10, 50)
    denoiser = gaussian_denoiser(schedule, 0.0, 1.0)
    beta = noising.reverse_variances(schedule, times, "forward").tolist()
    x0 = torch.randn(6, 2, generator=rng(), dtype=torch.float64)
    path = noising.forward_path(x0, schedule, times, generator=rng(1))
    joint = diffusion.joint_terms(denoiser, path, schedule, times, beta)
    close(joint.sum(1), -Normal(0.0, 1.0).log_prob(x0).sum(1), rtol=1e-9)
    kl = diffusion.kl_terms(denoiser, path, schedule, times, beta)
    assert joint[:, 3].std() > 5 * kl[:, 3].std() / 5 and kl.sum(1).std() > 0.01


@pytest.mark.equation("eq-diff-elbo-kl")
def test_levels_turn_the_last_term_into_a_mass():
    schedule, times, variances = TABLE, [0.5, 0.02, 0.0], [0.1, 0.001]
    x0 = f64([-1.0, 0.5], [0.25, 1.0])
    path = noising.forward_path(x0, schedule, times, generator=rng())
    denoiser = gaussian_denoiser(schedule, 0.0, 0.4)
    density, mass = (
        diffusion.kl_terms(denoiser, path, schedule, times, variances, levels=levels) for levels in (None, 17)
    )
    close(density[:, 1:], mass[:, 1:])
    guess = denoiser(path[1], f64(0.02, 0.02))
    close(density[:, 0], -Normal(guess, math.sqrt(0.001)).log_prob(x0).sum(1))
    close(mass[:, 0], -diffusion.discretized_log_prob(x0, guess, 0.001, 17))
    per_pixel = [torch.full((2,), v, dtype=torch.float64) for v in variances]
    close(diffusion.kl_terms(denoiser, path, schedule, times, per_pixel), density)


@pytest.mark.equation("eq-diff-expected-terms")
@pytest.mark.equation("eq-diff-error-curve")
def test_the_error_curve_gives_the_mean_of_every_term():
    schedule, times, n = LINE, time_grid(5, 5), 40_000
    denoiser = gaussian_denoiser(schedule, 0.2, 0.6)
    x0 = 0.2 + math.sqrt(0.6) * torch.randn(n, 2, generator=rng(), dtype=torch.float64)
    curve = diffusion.error_curve(denoiser, x0, schedule, times, 20_000, generator=rng(1))
    t = f64(*times[:-1])
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    truth = 0.6 * sigma**2 / (alpha**2 * 0.6 + sigma**2)
    assert curve.shape == (5, 20_000) and all(near(curve[i], truth[i]) for i in range(5))
    variances = noising.reverse_variances(schedule, times, "forward")
    path = noising.forward_path(x0, schedule, times, generator=rng(2))
    terms = diffusion.kl_terms(denoiser, path, schedule, times, variances) / 2
    expected = noising.expected_terms(truth, schedule, times, variances, 0.64)
    for i in range(6):
        assert near(terms[:, i], expected[i]), i


@pytest.mark.equation("eq-diff-bits")
def test_bits_are_those_of_the_masses():
    schedule, times, levels, n = COSINE, time_grid(40, 40), 17, 400
    grey = torch.randint(17, (800, 3), generator=rng(), dtype=torch.int64).to(torch.uint8)
    x0 = diffusion.to_unit(grey, levels).double()
    assert x0[grey == 0].eq(-1).all() and x0[grey == 16].eq(1).all() and x0[grey == 8].eq(0).all()
    denoiser = diffusion.clipped(gaussian_denoiser(schedule, 0.0, float(x0.var())))
    errors = diffusion.error_curve(denoiser, x0, schedule, times, n, generator=rng(1))
    variances = noising.optimal_variances(schedule, times, errors.mean(1))
    bits = diffusion.bits_per_dim_terms(denoiser, x0, errors, schedule, times, variances, levels, generator=rng(2))
    path = torch.stack(
        [noising.q_sample(x0, f64(t).expand(800), schedule, generator=rng(i))[0] for i, t in enumerate(times[:-1])]
        + [x0]
    )
    whole = diffusion.kl_terms(denoiser, path, schedule, times, variances, levels=levels).sum(1) / (3 * math.log(2))
    assert bits.shape == (n, 41)
    clock, half = f64(times[-2]).expand(800), 1 / 16
    law = Normal(denoiser(noising.q_sample(x0, clock, schedule, generator=rng(2))[0], clock), variances[-1].sqrt())
    below = torch.where(x0 > 1 - half, 1.0, law.cdf(x0 + half)) - torch.where(x0 < half - 1, 0.0, law.cdf(x0 - half))
    close(bits[:, 0], -below.log2().view(n, 2, 3).mean((1, 2)), rtol=1e-6)
    assert abs(bits.sum(1).mean() - whole.mean()) < Z * math.hypot(whole.std() / 28, bits.sum(1).std() / 20)
    assert math.log2(17) < bits.sum(1).mean() < math.log2(17) + 0.5  # uniform levels cannot be coded shorter


# --- samplers -------------------------------------------------------------------------------------------------------

SAMPLERS = {
    "ancestral": diffusion.ancestral,
    "DDIM": diffusion.ddim,
    "DDIM, eta 0.5": partial(diffusion.ddim, eta=0.5),
    "DDIM, eta 1": partial(diffusion.ddim, eta=1.0),
}
GRIDS = [(n, spacing) for n in (1, 7, 13, 50, 300) for spacing in ("leading", "trailing", "linspace")]


@pytest.mark.equation("eq-diff-ancestral")
@pytest.mark.equation("eq-diff-ddim")
@pytest.mark.notes("H4-36", "N4-140", "N2-078", "N2-080")
@pytest.mark.parametrize("n,spacing", GRIDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_point_mass_keeps_its_marginal_at_every_visited_time(name, n, spacing, monkeypatch):
    for schedule in (DDPM, COSINE):
        times = time_grid(n, 1000, spacing)
        means, variances = law_along(monkeypatch, SAMPLERS[name], schedule, times, 1.7, 0.0)
        t = f64(*times)
        close(means, 1.7 * schedule.alpha(t), rtol=0, atol=1e-10)
        close(variances, schedule.sigma(t).square(), rtol=0, atol=1e-10)


@pytest.mark.notes("E0-64", "E2-28")
@pytest.mark.parametrize(
    "bug",
    ["diffusion-previous-is-t-minus-one", "diffusion-even-stride", "diffusion-strided-alpha-bar",
     "diffusion-noise-at-the-end", "diffusion-deviation-is-variance", "E0-64", "diffusion-forward-variance"],
)  # fmt: skip
def test_the_time_step_bugs_that_shipped_do_not_keep_it(bug, monkeypatch):
    """Each of them leaves the marginal of a point mass on a grid whose steps are uneven."""
    times = time_grid(13, 50)

    def sampler(denoiser, x, schedule, times, callback):
        return diffusion.walk(denoiser, x, times, wrong("ancestral-steps", bug)(schedule, times), callback=callback)

    means, variances = law_along(monkeypatch, sampler, TABLE, times, 1.7, 0.0)
    t = f64(*times)
    off = max((means - 1.7 * TABLE.alpha(t)).abs().max(), (variances - TABLE.sigma(t).square()).abs().max())
    assert off > 1e-4


@pytest.mark.notes("E3-145", "H3-77", "E1-18", "N1-022")
def test_a_walk_is_its_steps_noise_and_callback():
    times, seen = [0.9, 0.5, 0.2, 0.0], []
    steps = noising.Steps([0.5, 0.4, 0.3], [0.1, 0.2, 0.3], [0.25, f64(0.04, 0.09), 0.0])
    x = torch.randn(3, 2, generator=rng(), dtype=torch.float64)
    calls = []

    def denoiser(x, t):
        calls.append(t.clone())
        return x + t[:, None]

    out = diffusion.walk(denoiser, x, times, steps, generator=rng(1), callback=lambda x, t: seen.append((x.clone(), t)))
    noise = rng(1)
    z = [torch.randn(3, 2, generator=noise, dtype=torch.float64) for _ in range(2)]
    first = 0.5 * x + 0.1 * (x + 0.9) + 0.5 * z[0]
    second = 0.4 * first + 0.2 * (first + 0.5) + f64(0.2, 0.3) * z[1]
    third = 0.3 * second + 0.3 * (second + 0.2)
    for (state, t), wanted, time in zip(seen, (first, second, third), times[1:], strict=True):
        close(state, wanted)
        assert t == time
    close(out, third)
    assert [c.tolist() for c in calls] == [[t] * 3 for t in times[:-1]] and out.dtype == torch.float64
    one = diffusion.ancestral(gaussian_denoiser(LINE, 0.0, 0.5), x, LINE, times, generator=rng(2))
    again = diffusion.ancestral(gaussian_denoiser(LINE, 0.0, 0.5), x, LINE, times, generator=rng(2))
    other = diffusion.ancestral(gaussian_denoiser(LINE, 0.0, 0.5), x, LINE, times, generator=rng(3))
    assert torch.equal(one, again) and not torch.equal(one, other)  # one start, several ends
    ends = [diffusion.ddim(gaussian_denoiser(LINE, 0.0, 0.5), x, LINE, times, generator=rng(s)) for s in (2, 3)]
    assert torch.equal(*ends)
    assert x.float().dtype == diffusion.ddim(gaussian_denoiser(LINE, 0.0, 0.5), x.float(), LINE, times).dtype


@pytest.mark.notes("E3-138", "N4-130", "N4-132")
def test_samples_of_a_mixture_have_its_law():
    law = worlds.GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [[[0.04]], [[0.04]]])
    x = torch.randn(20_000, 1, generator=rng(), dtype=torch.float64)
    perfect = noising.mixture_denoiser(law, LINE)
    for sampler in (diffusion.ancestral, diffusion.ddim):
        out = sampler(perfect, x, LINE, time_grid(100), generator=rng(1))[:, 0]
        share = (out > 0).double().mean()
        assert abs(share - 0.7) < 0.02 + Z * math.sqrt(0.21 / 20_000)
        assert abs(out[out > 0].mean() - 1) < 0.02 and abs(out[out > 0].std() - 0.2) < 0.03
    removed = diffusion.ancestral(perfect, x, LINE, time_grid(100), variance=[0.0] * 100)[:, 0]
    assert removed[removed > 0].std() < 0.1  # 'gradually removing noise': the spread of each bump is lost


@pytest.mark.equation("eq-diff-copying")
@pytest.mark.notes("E0-68")
def test_the_perfect_minimiser_returns_its_training_set():
    points = torch.randn(20, 4, generator=rng(), dtype=torch.float64)
    x = torch.randn(400, 4, generator=rng(1), dtype=torch.float64)
    out = diffusion.ancestral(noising.copier(points, COSINE), x, COSINE, time_grid(200), generator=rng(2))
    distance, which = torch.cdist(out, points).min(1)
    assert distance.max() < 1e-6 and len(which.unique()) == 20
    assert torch.cdist(points.mean(0)[None], points).min() > 0.1


def test_every_step_is_drawn_in_half_precision_too():
    """bfloat16 has 500 of the 1,000 times and draws 256 of them."""
    x0 = torch.zeros(100_000, 1, dtype=torch.bfloat16)
    for probs in (None, torch.full((1000,), 1e-3, dtype=torch.float64)):
        t, weight = diffusion.draw_times(x0, 1000, probs, generator=rng())
        assert t.dtype == weight.dtype == torch.float32
        assert (1000 * t).round().unique().tolist() == list(range(1, 1001))  # misses one once in 10^40
        x, eps = noising.q_sample(x0[:5], t[:5], COSINE, generator=rng(1))
        assert x.dtype == eps.dtype == torch.bfloat16


def test_clipping_keeps_guesses_where_the_data_live():
    clipped = diffusion.clipped(lambda x, t, gain: gain * x)
    assert clipped(f64([3.0, -0.1, -7.0]), f64(0.5), gain=2.0).tolist() == [[1.0, -0.2, -1.0]]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_everything_runs_where_the_images_are():
    device = "cuda"
    x0 = torch.rand(8, 1, 8, 8, device=device) * 2 - 1
    noise = torch.Generator(device).manual_seed(0)
    network = UNet(1, (16, 32)).to(device)
    t, weight = diffusion.draw_times(x0, 1000, generator=noise)
    loss = diffusion.v_loss(network, x0, t, TABLE, generator=noise) * weight
    loss.mean().backward()
    denoiser = diffusion.clipped(noising.denoiser_from_v(network, TABLE))
    times = time_grid(10)
    out = diffusion.ancestral(denoiser, torch.randn_like(x0), TABLE, times, generator=noise)
    curve = diffusion.error_curve(denoiser, x0, TABLE, times, 4, generator=noise)
    best = noising.optimal_variances(TABLE, times, curve.mean(1))
    path = noising.forward_path(x0, TABLE, times, generator=noise)
    terms = diffusion.kl_terms(denoiser, path, TABLE, times, best, levels=17)
    bits = diffusion.bits_per_dim_terms(denoiser, x0, curve, TABLE, times, best, 17, generator=noise)
    copied = diffusion.ddim(noising.copier(x0, TABLE), torch.randn_like(x0), TABLE, times)
    for result in (loss, out, terms, copied):
        assert result.device.type == device and result.isfinite().all()
    assert bits.isfinite().all()


LONG, ONE = [0.5, 0.0], torch.ones(1, 1)


def echo(x, t):
    return x


REFUSED = {
    "x0 has dtype torch.uint8": lambda: diffusion.draw_times(torch.ones(3, 2).to(torch.uint8), 5),
    "n_steps is 0": lambda: diffusion.draw_times(torch.ones(3, 2), 0),
    "probs sums to one only within": lambda: diffusion.draw_times(torch.ones(3, 2), 2, f64(0.5, 0.6)),
    "probs has shape (3,), expected (2,)": lambda: diffusion.draw_times(torch.ones(3, 2), 2, f64(0.5, 0.25, 0.25)),
    "t has shape (2,), expected (3,)": lambda: diffusion.eps_loss(echo, torch.ones(3, 2), f64(0.1, 0.2), LINE),
    "t has dtype torch.int64": lambda: diffusion.v_loss(echo, torch.ones(1, 2), torch.ones(1).long(), LINE),
    "x0 is a float": lambda: diffusion.prior_kl(0.5, LINE),
    "levels is 1, expected at least 2": lambda: diffusion.discretized_log_prob(ONE, ONE, 0.1, 1),
    "path is a list": lambda: diffusion.kl_terms(echo, [], LINE, LONG, [0.1]),
    "times has 2 entries": lambda: diffusion.kl_terms(echo, torch.ones(2, 1, 1), LINE, [0.0, 0.5], [0.1]),
    "n is 0": lambda: diffusion.error_curve(echo, torch.ones(2, 1), LINE, LONG, 0),
    "x has dtype torch.int64": lambda: diffusion.ddim(echo, torch.ones(2, 1).long(), LINE, LONG),
    "x has shape (0, 1)": lambda: diffusion.ancestral(echo, torch.ones(0, 1), LINE, LONG),
    "the denoiser's answer has shape (2,), expected (2, 1)": lambda: diffusion.ddim(
        lambda x, t: x[:, 0], torch.ones(2, 1), LINE, LONG
    ),
    "times is -0.1": lambda: diffusion.ancestral(echo, torch.ones(2, 1), LINE, [0.5, -0.1]),
    "eta is nan": lambda: diffusion.ddim(echo, torch.ones(2, 1), LINE, LONG, eta=math.nan),
    "probs reaches from 0 to 1, expected positive": lambda: diffusion.draw_times(torch.ones(3, 2), 2, f64(0.0, 1.0)),
    "the network's answer has shape (3, 1), expected (3, 2)": lambda: diffusion.eps_loss(
        lambda x, t: x[:, :1], torch.ones(3, 2), f64(0.1, 0.2, 0.3), LINE
    ),
    "the network's answer has shape (2,), expected (2, 1)": lambda: diffusion.v_loss(
        lambda x, t: x[:, 0], torch.ones(2, 1), f64(0.1, 0.2), LINE
    ),
    "t reaches from 500 to 500, expected": lambda: diffusion.v_loss(echo, torch.ones(1, 2), f64(500.0), LINE),
    "sigma at t = 0.0 is 0.0, expected a number in (0.0": lambda: diffusion.prior_kl(torch.ones(2, 1), LINE, 0.0),
    "s is 0.0, expected a number in (0.0": lambda: diffusion.step_kl(ONE, ONE, LINE, 0.0, 0.5, 0.1),
    "s is 0.5 where t is 0.2, expected each s before": lambda: diffusion.step_kl(ONE, ONE, LINE, 0.5, 0.2, 0.1),
    "guess has shape (2,), expected (1, 1)": lambda: diffusion.step_kl(ONE, torch.ones(2), LINE, 0.1, 0.2, 0.1),
    "variance is 0.0, expected a number in (0.0": lambda: diffusion.step_kl(ONE, ONE, LINE, 0.1, 0.2, 0.0),
    "variance has shape (4,), expected (2,)": lambda: diffusion.step_kl(
        torch.ones(4, 2), torch.ones(4, 2), LINE, 0.1, 0.2, torch.ones(4)
    ),
    "s is 0.5 where t is 0.5, expected each s before": lambda: diffusion.bound_weights(LINE, 0.5, 0.5),
    "the posterior's variance reaches from 0 to 0, expected": lambda: diffusion.bound_weights(LINE, 0.0, 0.5),
    "variance is -1.0, expected": lambda: diffusion.bound_weights(LINE, 0.2, 0.5, -1.0),
    "x has values off the 17 levels from -1 to 1": lambda: diffusion.discretized_log_prob(0.3 * ONE, ONE, 0.1, 17),
    "x has values off the 3 levels": lambda: diffusion.discretized_log_prob(2.0 * ONE, ONE, 0.1, 3),
    "x has values off the 5 levels": lambda: diffusion.discretized_log_prob(math.nan * ONE, ONE, 0.1, 5),
    "mean has shape (1,), expected (1, 1)": lambda: diffusion.discretized_log_prob(ONE, torch.ones(1), 0.1, 3),
    "times falls to 0.2, expected to 0.0": lambda: diffusion.kl_terms(
        echo, torch.ones(2, 1, 1), LINE, [0.5, 0.2], [0.1]
    ),
    "times falls to 0.1, expected to 0.0": lambda: diffusion.joint_terms(
        echo, torch.ones(2, 1, 1), LINE, [0.5, 0.1], [0.1]
    ),
    "path has 3 entries, expected one for each of 2 times": lambda: diffusion.kl_terms(
        echo, torch.ones(3, 1, 1), LINE, [0.5, 0.0], [0.1]
    ),
    "variances has 2 entries, expected one for each of 1 steps": lambda: diffusion.joint_terms(
        echo, torch.ones(2, 1, 1), LINE, [0.5, 0.0], [0.1, 0.2]
    ),
    "variances[0] is nan, expected a number": lambda: diffusion.kl_terms(
        echo, torch.ones(2, 1, 1), LINE, [0.5, 0.0], [math.nan]
    ),
    "steps has 1 entries, expected one for each of 2 steps": lambda: diffusion.walk(
        echo, torch.ones(2, 1), [0.5, 0.2, 0.0], noising.ddim_steps(LINE, [0.5, 0.0])
    ),
    "variance reaches from -1 to -1, expected numbers from 0": lambda: diffusion.walk(
        echo, torch.ones(2, 1), [0.5, 0.0], noising.Steps([0.5], [0.5], [-1.0])
    ),
    "x has 2 NaN or infinite values": lambda: diffusion.ancestral(echo, torch.full((2, 1), math.nan), LINE, LONG),
    "the number of columns of errors is 4, expected a number in [1, 2]": lambda: diffusion.bits_per_dim_terms(
        echo, torch.ones(2, 1), torch.ones(2, 4), LINE, [0.5, 0.2, 0.0], torch.ones(2), 3
    ),
    "kind of variance is 'large'": lambda: diffusion.ancestral(echo, torch.ones(2, 1), LINE, LONG, variance="large"),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_input_is_refused_in_one_sentence(sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)
