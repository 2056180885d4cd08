"""Gradients through choices against sums over all of them; VAEs of bits and of labels against enumeration."""

import itertools
import math

import pytest
import torch
from exact import close, f64, rng
from torch.nn import functional as F

from dgmlib import choices
from dgmlib.bugs import wrong
from dgmlib.choices import BitVAE, LabelVAE
from dgmlib.worlds import bit_states

LOGITS = torch.tensor([0.8, -0.4, 1.3], dtype=torch.float64)
SLOPE = torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64)
CURVATURE = torch.tensor([[-1.0, 0.6, 0.2], [0.6, 0.8, -0.5], [0.2, -0.5, -0.4]], dtype=torch.float64)


def quadratic(z):
    return z @ SLOPE + 0.5 * ((z @ CURVATURE) * z).sum(-1)


STATES = bit_states(3)
Q = torch.where(STATES == 1, LOGITS.sigmoid(), (-LOGITS).sigmoid()).prod(1)
SCORE = STATES - LOGITS.sigmoid()
TRUTH = (Q * quadratic(STATES)) @ SCORE


def mean_and_variance(estimates, weights):
    mean = weights @ estimates
    return mean, weights @ (estimates - mean).square()


# --- the score function ---------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-dis-exact")
@pytest.mark.equation("eq-dis-bit-score")
@pytest.mark.notes("H4-20", "N4-076")
def test_the_exact_gradient_is_autograds():
    logits = LOGITS.clone().requires_grad_()
    q = torch.where(STATES == 1, logits.sigmoid(), (-logits).sigmoid()).prod(1)
    (gradient,) = torch.autograd.grad(q @ quadratic(STATES), logits)
    close(choices.exact_gradient(quadratic, LOGITS), gradient)
    close(choices.bit_score(STATES, LOGITS), SCORE)
    close(Q @ SCORE, torch.zeros(3).double(), atol=1e-15)
    at_the_mean = torch.autograd.grad(quadratic(logits.sigmoid()[None])[0], logits)[0]
    assert (gradient - at_the_mean).abs().max() > 0.01


@pytest.mark.equation("eq-dis-score-function")
@pytest.mark.notes("H3-23", "H4-20", "N4-076")
def test_the_score_function_is_unbiased_with_any_baseline_that_looks_away():
    values, variances = quadratic(STATES), []
    for baseline in (0.0, 3.0, Q @ values):
        mean, variance = mean_and_variance(choices.score_function_gradient(values, SCORE, baseline), Q)
        close(mean, TRUTH)
        variances.append(variance.sum())
    assert variances[1] > variances[0] > variances[2]
    each = f64(*range(8))
    close(choices.score_function_gradient(values, SCORE, each), (values - each)[:, None] * SCORE)


def pairs(k):
    """All k-tuples of states, as places, and their probabilities."""
    rows = torch.tensor(list(itertools.product(range(8), repeat=k)))
    return rows, Q[rows].prod(1)


@pytest.mark.equation("eq-dis-leave-one-out")
@pytest.mark.notes("H4-20", "N4-076")
@pytest.mark.parametrize("k", [2, 3])
def test_leave_one_out_is_unbiased_and_the_own_sample_shrinks(k):
    rows, weights = pairs(k)
    values = quadratic(STATES)[rows].T  # (k, tuples)

    def mean(baseline):
        return weights @ ((values - baseline)[..., None] * SCORE[rows].transpose(0, 1)).mean(0)

    close(mean(choices.leave_one_out(values)), TRUTH)
    close(mean(wrong("leave-one-out", "baseline-own-sample")(values)), (k - 1) / k * TRUTH)
    for i in range(k):
        close(choices.leave_one_out(values)[i], values[[j for j in range(k) if j != i]].mean(0))


@pytest.mark.equation("eq-dis-control")
@pytest.mark.notes("H4-20")
def test_a_plane_is_a_control_variate_and_exact_for_a_linear_f():
    values = quadratic(STATES)
    for height, slope in ((0.0, SLOPE), (1.3, -SLOPE), (Q @ values, TRUTH / (LOGITS.sigmoid() * (-LOGITS).sigmoid()))):
        estimates = choices.plane_gradient(values, STATES, LOGITS, height, slope)
        close(Q @ estimates, TRUTH)
        forgotten = wrong("plane-gradient", "control-not-added-back")(values, STATES, LOGITS, height, slope)
        assert (Q @ forgotten - TRUTH).abs().max() > 0.01
    best = mean_and_variance(estimates, Q)[1].sum()
    assert best < mean_and_variance(choices.score_function_gradient(values, SCORE, Q @ values), Q)[1].sum()
    exact = choices.plane_gradient(STATES @ SLOPE, STATES, LOGITS, LOGITS.sigmoid() @ SLOPE, SLOPE)
    close(exact, (SLOPE * LOGITS.sigmoid() * (-LOGITS).sigmoid()).expand(8, 3))


@pytest.mark.equation("eq-dis-surrogate")
def test_the_surrogate_has_the_value_and_the_gradient():
    theta = f64(0.3, -0.7).requires_grad_()
    values, log_q = theta.square() + 1, theta.sin()
    made = choices.surrogate(values, log_q, f64(0.5, 2.0))
    close(made, values)
    (gradient,) = torch.autograd.grad(made.sum(), theta)
    close(gradient, 2 * theta + (theta.square() + 1 - f64(0.5, 2.0)) * theta.cos())
    close(choices.surrogate(values, log_q), values)


@pytest.mark.notes("H4-20", "N4-076")
def test_a_policy_finds_the_best_arm():
    """Ten arms, rewards j/10 and noise: softmax policy by REINFORCE with leave-one-out. Failure: reward gaps of 5
    standard errors of the averaged gradient, far below 1e-6."""
    logits, arms, noise = torch.zeros(10).double().requires_grad_(), torch.arange(10).double() / 10, rng(1)
    for _ in range(300):
        drawn = torch.multinomial(logits.detach().softmax(0), 64, replacement=True, generator=noise)
        rewards = arms[drawn] + 0.1 * torch.randn(64, generator=noise, dtype=torch.float64)
        log_q = logits.log_softmax(0)[drawn]
        objective = choices.surrogate(rewards, log_q, choices.leave_one_out(rewards)).mean()
        (gradient,) = torch.autograd.grad(objective, logits)
        logits = (logits + 2.0 * gradient).detach().requires_grad_()
    assert logits.argmax() == 9 and logits.softmax(0)[9] > 0.8


# --- relaxations ----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-dis-gumbel")
@pytest.mark.equation("eq-dis-gumbel-softmax")
def test_gumbels_choose_with_the_right_odds():
    """40,000 draws, five standard errors in four cells: fails with probability below 3e-6... six: below 1e-8."""
    n, logits = 40_000, f64(0.5, -1.0, 0.0, 1.2)
    gumbels = choices.gumbel_like(torch.empty(n, 4).double(), generator=rng())
    u = torch.rand(n, 4, generator=rng(), dtype=torch.float64)
    close(gumbels, -torch.log(-torch.log(u)))
    p = logits.softmax(0)
    for temperature in (0.1, 2.0):
        soft = choices.gumbel_softmax(logits, gumbels, temperature)
        close(soft.sum(1), torch.ones(n).double())
        frequency = soft.argmax(1).bincount(minlength=4) / n
        assert ((frequency - p).abs() < 6 * (p * (1 - p) / n).sqrt()).all()
        close(soft[:5], torch.softmax((logits + gumbels[:5]) / temperature, 1))
    uniform = (logits + u).argmax(1).bincount(minlength=4) / n
    assert (uniform - p).abs().max() > 0.05
    assert torch.isfinite(choices.gumbel_like(torch.empty(100_000), generator=rng(3))).all()


@pytest.mark.equation("eq-dis-relaxed-bits")
def test_relaxed_bits_are_a_gumbel_softmax_of_two():
    gumbels = choices.gumbel_like(torch.empty(5, 3, 2).double(), generator=rng())
    two = torch.stack([torch.zeros(3).double(), LOGITS], 1)
    pair = choices.gumbel_softmax(two, gumbels, 0.7)[..., 1]
    close(choices.relaxed_bits(LOGITS, gumbels[..., 1] - gumbels[..., 0], 0.7), pair)
    noise = choices.logistic_like(torch.empty(40_000, 3).double(), generator=rng(1))
    u = torch.rand(40_000, 3, generator=rng(1), dtype=torch.float64)
    close(noise, u.log() - (1 - u).log(), rtol=1e-7)
    frequency = (choices.relaxed_bits(LOGITS, noise, 0.3) > 0.5).double().mean(0)
    p = LOGITS.sigmoid()
    assert ((frequency - p).abs() < 6 * (p * (1 - p) / 40_000).sqrt()).all()  # six standard errors: below 1e-8
    assert torch.isfinite(choices.logistic_like(torch.zeros(200_000), generator=rng(2))).all()


@pytest.mark.equation("eq-dis-straight-through")
def test_straight_through_has_one_value_and_the_others_gradient():
    soft = f64(0.2, 0.8).requires_grad_()
    hard = f64(0.0, 1.0)
    passed = choices.straight_through(hard, soft)
    close(passed, hard)
    close(torch.autograd.grad((passed * f64(2.0, -3.0)).sum(), soft)[0], f64(2.0, -3.0))
    assert torch.autograd.grad((hard * soft.detach() + 0 * soft).sum(), soft)[0].abs().max() == 0


@pytest.mark.equation("eq-dis-straight-through-gradient")
@pytest.mark.notes("N4-076")
def test_the_bias_of_straight_through_is_the_curvature_along_an_edge():
    estimates = choices.straight_through_gradient(quadratic, LOGITS, STATES)
    p = LOGITS.sigmoid()
    slopes = SLOPE + STATES @ CURVATURE
    close(estimates, slopes * p * (1 - p))
    close(Q @ estimates - TRUTH, CURVATURE.diagonal() * p * (1 - p) * (p - 0.5))
    bilinear = CURVATURE - torch.diag(CURVATURE.diagonal())

    def f(z):
        return z @ SLOPE + 0.5 * ((z @ bilinear) * z).sum(-1)

    unbiased = Q @ choices.straight_through_gradient(f, LOGITS, STATES)
    close(unbiased, (Q * f(STATES)) @ SCORE)


@pytest.mark.equation("eq-dis-relaxed-gradient")
@pytest.mark.equation("eq-dis-relaxed-moments")
@pytest.mark.notes("N4-076", "H4-20")
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.5])
def test_the_moments_of_a_relaxed_gradient_are_those_of_its_draws(temperature, hard):
    """200,000 draws: means within six standard errors, below 1e-7 for the six of a case; variances within 6 %."""
    noise = choices.logistic_like(torch.empty(200_000, 3).double(), generator=rng())
    drawn = choices.relaxed_gradient(quadratic, LOGITS, noise, temperature, **({"hard": True} if hard else {}))
    mean, variance = choices.relaxed_moments(SLOPE, CURVATURE, LOGITS, temperature, hard)
    assert ((drawn.mean(0) - mean).abs() < 6 * (variance / 200_000).sqrt()).all()
    assert (drawn.var(0) / variance - 1).abs().max() < 0.06
    soft = torch.sigmoid((LOGITS + noise[:9]) / temperature)
    at = (soft > 0.5).double() if hard else soft
    close(drawn[:9], (SLOPE + at @ CURVATURE) * soft * (1 - soft) / temperature)


def test_the_moments_have_their_limits():
    cold, _ = choices.relaxed_moments(SLOPE, CURVATURE, LOGITS, 1e-3)
    close(cold, TRUTH, rtol=0, atol=2e-3)
    mean, variance = choices.relaxed_moments(SLOPE, 0 * CURVATURE, LOGITS, 1.0, True)
    hot, _ = choices.relaxed_moments(SLOPE, CURVATURE, LOGITS, 50.0)
    assert hot.abs().max() < 0.02 and (variance > 0).all()
    noise = torch.linspace(-40, 40, 400_001, dtype=torch.float64)[:, None]
    density = torch.exp(-F.softplus(noise) - F.softplus(-noise)) * (noise[1] - noise[0])
    soft = torch.sigmoid(LOGITS + noise)
    close(mean, SLOPE * (density * soft * (1 - soft)).sum(0), rtol=1e-9)
    close(variance, SLOPE**2 * (density * (soft * (1 - soft)).square()).sum(0) - mean**2, rtol=1e-8)
    assert (choices.relaxed_moments(SLOPE, CURVATURE, LOGITS, 1.0)[0] - TRUTH).abs().max() > 0.01


# --- a VAE of bits --------------------------------------------------------------------------------------------------


def bit_vae(d=4, bits=3):
    torch.manual_seed(0)
    return BitVAE(d, bits, (6,)).double()


X = f64((1, 0, 1, 1), (0, 0, 1, 0), (1, 1, 0, 0))


@pytest.mark.equation("eq-dis-evidence")
@pytest.mark.equation("eq-dis-elbo")
@pytest.mark.equation("eq-dis-entropy")
def test_the_evidence_is_a_sum_and_the_bound_is_below_by_the_divergence():
    model = bit_vae()
    joint = torch.stack([model.log_likelihood(X, z.expand(3, 3)) for z in STATES]) - 3 * math.log(2)
    close(model.log_prob(X), joint.logsumexp(0))
    close(model.table(X), joint + 3 * math.log(2))
    logits = model.encoder(X)
    q = torch.distributions.Bernoulli(logits=logits)
    log_q = torch.stack([q.log_prob(z.expand(3, 3)).sum(1) for z in STATES])
    close(model.elbo(X, "exact"), (log_q.exp() * (joint - log_q)).sum(0))
    posterior = joint - joint.logsumexp(0)
    close(model.log_prob(X) - model.elbo(X, "exact"), (log_q.exp() * (log_q - posterior)).sum(0))
    close(choices.bit_entropy(logits), q.entropy())


@pytest.mark.parametrize("estimator", ["score", "leave-one-out", "straight-through", "relaxed"])
def test_estimates_of_the_bound_are_right_in_the_mean(estimator):
    """40,000 draws of a bounded value: six standard errors, below 1e-8; the relaxed bound is of another objective."""
    model = bit_vae()
    rows = X[:1].expand(20_000, -1)
    with torch.no_grad():
        drawn = model.elbo(rows, estimator, n_samples=2, temperature=2.0, generator=rng())
        error = (drawn.mean() - model.elbo(X[:1], "exact")[0]).abs() / (drawn.std() / 20_000**0.5)
    assert drawn.shape == (20_000,) and (error > 6 if estimator == "relaxed" else error < 6)


@pytest.mark.notes("N4-076", "H4-20")
@pytest.mark.parametrize("estimator", choices.ESTIMATORS)
def test_only_score_functions_reach_the_encoder_without_bias(estimator):
    """Twenty means of 10,000 draws: within ten standard errors of their mean; fails below 1e-6 by Student's t."""
    model = bit_vae()
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(4)
    bias = model.encoder[-1].bias
    (truth,) = torch.autograd.grad(model.elbo(X[:1], "exact").sum(), bias)
    drawn = []
    for seed in range(20):
        value = model.elbo(X[:1].expand(10_000, -1), estimator, n_samples=2, temperature=2.0, generator=rng(seed))
        drawn.append(torch.autograd.grad(value.mean(), bias)[0])
    drawn = torch.stack(drawn)
    errors = (drawn.mean(0) - truth).abs() / (drawn.std(0) / 20**0.5 + 1e-12)
    assert errors.max() > 20 if estimator in ("relaxed", "straight-through") else errors.max() < 10


def test_the_decoder_has_the_same_gradient_from_every_hard_estimator():
    model = bit_vae()
    weight = model.decoder[-1].weight
    made = {
        name: torch.autograd.grad(model.elbo(X, name, generator=rng(4)).sum(), weight)[0]
        for name in ("score", "leave-one-out", "straight-through")
    }
    close(made["score"], made["leave-one-out"])
    close(made["score"], made["straight-through"])


def test_a_bit_vae_draws_coins_for_bits_and_pixels():
    model = bit_vae()
    drawn = model.sample(40_000, generator=rng())
    states = bit_states(4)
    p = model.log_prob(states).exp().detach()
    frequency = (drawn @ f64(8, 4, 2, 1)).long().bincount(minlength=16) / 40_000
    assert ((frequency - p).abs() < 6 * (p / 40_000).sqrt()).all()  # six standard errors: below 1e-7 for the sixteen


# --- a VAE with labels ----------------------------------------------------------------------------------------------


def label_vae():
    torch.manual_seed(0)
    return LabelVAE(4, 2, (5,), n_classes=3).double()


@pytest.mark.equation("eq-dis-unlabelled")
def test_the_sum_over_labels_is_a_bound_that_the_posterior_makes_tight():
    bounds, logits = f64(-3.0, -1.0, -2.5), f64(0.1, 0.5, -0.2)
    q = logits.softmax(0)
    close(choices.label_sum(bounds[None], logits[None])[0], (q * bounds).sum() - (q * q.log()).sum())
    close(choices.label_sum(bounds[None], bounds[None])[0], bounds.logsumexp(0))
    assert choices.label_sum(bounds[None], logits[None])[0] < bounds.logsumexp(0)


@pytest.mark.equation("eq-dis-labelled")
def test_the_labelled_bound_has_its_three_terms():
    model, label = label_vae(), torch.tensor([2, 0, 1])
    y = F.one_hot(label, 3).double()
    mean, log_var = model.encoder(torch.cat([X, y], 1)).chunk(2, 1)
    z = mean + (log_var / 2).exp() * torch.randn(3, 1, 2, generator=rng(), dtype=torch.float64)[:, 0]
    coin = torch.distributions.Bernoulli(logits=model.decoder(torch.cat([z, y], 1)))
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    close(model.labelled_elbo(X, label, generator=rng()), coin.log_prob(X).sum(1) - math.log(3) - kl)


def test_the_sum_over_labels_weighs_each_label_by_the_classifier():
    model = label_vae()
    each = model.labelled_elbo(X.repeat_interleave(3, 0), torch.arange(3).repeat(3), generator=rng()).view(3, 3)
    close(model.unlabelled_elbo(X, generator=rng()), choices.label_sum(each, model.classifier(X)))


def test_drawn_labels_estimate_the_sum_and_its_gradient():
    """20,000 rows, ten times: means within 0.01 of the sum's, some ten standard errors."""
    model, n = label_vae(), 20_000
    bias, rows = model.classifier[-1].bias, X[:1].expand(n, -1)
    found = {}
    for name, options in (("sum", {}), ("drawn", {"n_samples": 2}), ("three", {"n_samples": 3})):
        made = [model.unlabelled_elbo(rows, generator=rng(seed), **options).mean() for seed in range(5)]
        gradient = torch.stack([torch.autograd.grad(value, bias)[0] for value in made]).mean(0)
        found[name] = torch.stack(made).mean().detach(), gradient
    for name in ("drawn", "three"):
        close(found[name][0], found["sum"][0], rtol=0, atol=0.01)
        close(found[name][1], found["sum"][1], rtol=0, atol=0.01)


def test_the_models_run_on_the_meta_device():
    assert bit_vae().to("meta").elbo(X.to("meta"), "exact").shape == (3,)
    assert label_vae().to("meta").unlabelled_elbo(X.to("meta")).shape == (3,)


@pytest.mark.parametrize("draw", [choices.gumbel_like, choices.logistic_like])
def test_noise_in_half_precision_has_the_tails_of_its_law(draw):
    """A million draws: a share of exp(-8) = 3.4e-4 lies above 8, six standard errors are 1.1e-4."""
    noise = draw(torch.zeros(1_000_000, dtype=torch.bfloat16), generator=rng())
    assert noise.dtype == torch.bfloat16
    assert abs((noise > 8.0).double().mean() - math.exp(-8.0)) < 1.1e-4


# --- wrong input ----------------------------------------------------------------------------------------------------

ROW = f64((0.1, 0.2, 0.3))
REFUSED = {
    "baseline has shape (3, 1), expected one number, or (8,)": lambda: choices.surrogate(Q, Q, torch.zeros(3, 1)),
    "baseline has shape (8, 1), expected one number, or (8,)": lambda: choices.score_function_gradient(
        Q, SCORE, Q[:, None]
    ),
    "baseline has shape (3,), expected one number, or (8,)": lambda: choices.surrogate(Q, Q, LOGITS),
    "height has shape (8,), expected 0 axes: ()": lambda: choices.plane_gradient(Q, STATES, LOGITS, Q, SLOPE),
    "f(z) has shape (8, 1), expected (8,)": lambda: choices.exact_gradient(lambda z: z[:, :1], LOGITS),
    "f(z) has shape (8, 1), expected (8,) ": lambda: choices.relaxed_gradient(lambda z: z[:, :1], LOGITS, STATES, 1.0),
    "f(z) has shape (8, 1), expected (8,)  ": lambda: choices.straight_through_gradient(
        lambda z: z[:, :1], LOGITS, STATES
    ),
    "curvature is not symmetric, expected the second derivatives of f": lambda: choices.relaxed_moments(
        SLOPE, CURVATURE.triu(), LOGITS, 1.0
    ),
    "bits is 17, expected a number in [1, 16]": lambda: BitVAE(4, 17),
    "x has values from 0 to 16, expected whole numbers from 0 to 1": lambda: bit_vae().log_prob(16 * X),
    "x has values from 0 to 16, expected whole numbers from 0 to 1 ": lambda: bit_vae().elbo(16 * X, "score"),
    "x has values between whole numbers, expected whole numbers from 0 to 1": lambda: label_vae().unlabelled_elbo(
        0.5 * X
    ),
    "label has values from 0 to 3, expected whole numbers from 0 to 2": lambda: label_vae().labelled_elbo(
        X, torch.tensor([0, 3, 1])
    ),
    "logits has shape (2,), expected (3,)": lambda: choices.bit_score(STATES, LOGITS[:2]),
    "z has dtype torch.int64, expected a floating dtype": lambda: choices.bit_score(STATES.long(), LOGITS),
    "logits has shape (1, 3), expected 1 axes: (bits,)": lambda: choices.exact_gradient(quadratic, LOGITS[None]),
    "d is 17, expected at most 16: 2^d states are listed": lambda: choices.exact_gradient(sum, torch.zeros(17)),
    "score has shape (8, 3), expected (7, 3)": lambda: choices.score_function_gradient(Q[:7], SCORE),
    "values has shape (1, 8), expected 1 axes: (n,)": lambda: choices.score_function_gradient(Q[None], SCORE),
    "values has 1 draws, expected at least 2, as each is judged by the others": lambda: choices.leave_one_out(Q[:1]),
    "values has shape (), expected (k, *batch)": lambda: choices.leave_one_out(Q[0]),
    "z has shape (8, 3), expected (7, 3)": lambda: choices.plane_gradient(Q[:7], STATES, LOGITS, 0.0, SLOPE),
    "slope has shape (2,), expected (3,)": lambda: choices.plane_gradient(Q, STATES, LOGITS, 0.0, SLOPE[:2]),
    "log_q has shape (7,), expected (8,)": lambda: choices.surrogate(Q, Q[:7]),
    "log_q is a float, expected a torch.Tensor": lambda: choices.surrogate(Q, 0.5),
    "x has dtype torch.int64, expected a floating dtype": lambda: choices.gumbel_like(STATES.long()),
    "x is a int, expected a torch.Tensor": lambda: choices.logistic_like(3),
    "temperature is 0.0, expected a number in (0.0, inf)": lambda: choices.gumbel_softmax(LOGITS, STATES, 0.0),
    "gumbels has shape (8, 3), expected (8, 2)": lambda: choices.gumbel_softmax(LOGITS[:2], STATES, 1.0),
    "temperature is -1.0, expected a number in (0.0, inf)": lambda: choices.relaxed_bits(LOGITS, STATES, -1.0),
    "logistic has shape (8, 3), expected (8, 2)": lambda: choices.relaxed_bits(LOGITS[:2], STATES, 1.0),
    "soft has shape (2,), expected (3,)": lambda: choices.straight_through(LOGITS, LOGITS[:2]),
    "hard is a list, expected a torch.Tensor": lambda: choices.straight_through([1.0], LOGITS),
    "logistic has shape (8, 2), expected (8, 3)": lambda: choices.relaxed_gradient(
        quadratic, LOGITS, STATES[:, :2], 1.0
    ),
    "temperature is 0, expected a number in (0.0, inf)": lambda: choices.relaxed_gradient(quadratic, LOGITS, STATES, 0),
    "z has shape (8, 2), expected (8, 3)": lambda: choices.straight_through_gradient(quadratic, LOGITS, STATES[:, :2]),
    "z has shape (3,), expected 2 axes: (n, 3)": lambda: choices.straight_through_gradient(
        quadratic, LOGITS, STATES[0]
    ),
    "logits has shape (2,), expected (3,)  ": lambda: choices.relaxed_moments(SLOPE, CURVATURE, LOGITS[:2], 1.0),
    "curvature has shape (2, 3), expected (3, 3)": lambda: choices.relaxed_moments(SLOPE, CURVATURE[:2], LOGITS, 1.0),
    "temperature is inf, expected a number in (0.0, inf)": lambda: choices.relaxed_moments(
        SLOPE, CURVATURE, LOGITS, math.inf
    ),
    "bits is 0, expected at least 1": lambda: BitVAE(4, 0),
    "d is 2.0, expected an int": lambda: BitVAE(2.0, 3),
    "x has shape (3, 3), expected (3, 4)": lambda: bit_vae().log_prob(X[:, :3]),
    "x has shape (3, 3), expected (3, 4) ": lambda: bit_vae().elbo(X[:, :3], "exact"),
    "x has shape (4,), expected 2 axes: (batch, 4)": lambda: bit_vae().log_likelihood(X[0], STATES[:1]),
    "estimator is 'best', expected one of 'exact', 'score', 'leave-one-out', 'relaxed', 'straight-through'": lambda: (
        bit_vae().elbo(X, "best")
    ),
    "n_samples is 0, expected at least 1": lambda: bit_vae().elbo(X, "score", n_samples=0),
    "values has 1 draws, expected at least 2, as each is judged by the others ": lambda: bit_vae().elbo(
        X, "leave-one-out", n_samples=1
    ),
    "n is 0, expected at least 1": lambda: bit_vae().sample(0),
    "logits is a float, expected a torch.Tensor": lambda: choices.bit_entropy(0.5),
    "logits has dtype torch.int64, expected a floating dtype": lambda: choices.bit_entropy(STATES.long()),
    "n_classes is 1, expected at least 2": lambda: LabelVAE(4, 2, n_classes=1),
    "k is 0, expected at least 1 ": lambda: LabelVAE(4, 0),
    "x has shape (3, 3), expected (3, 4)  ": lambda: label_vae().labelled_elbo(X[:, :3], torch.arange(3)),
    "label has shape (2,), expected (3,)": lambda: label_vae().labelled_elbo(X, torch.arange(2)),
    "x has shape (3, 3), expected (3, 4)   ": lambda: label_vae().unlabelled_elbo(X[:, :3]),
    "n_samples is 1, expected at least 2": lambda: label_vae().unlabelled_elbo(X, n_samples=1),
    "logits has shape (1, 2), expected (1, 3)": lambda: choices.label_sum(ROW, ROW[:, :2]),
    "bounds has shape (3,), expected 2 axes: (batch, classes)": lambda: choices.label_sum(ROW[0], ROW[0]),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_input_is_refused_in_one_sentence(sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value) == sentence.strip()
