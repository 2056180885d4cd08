"""Divergences against SciPy, torch.distributions, enumeration, quadrature, and the inequalities between them."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from exact import f64, rng
from scipy.spatial.distance import jensenshannon
from torch.distributions import MultivariateNormal
from torch.distributions import kl_divergence as torch_kl

from dgmlib.bugs import wrong
from dgmlib.divergences import (
    GENERATORS,
    Generator,
    chi_squared,
    cross_entropy,
    entropy,
    f_divergence,
    fisher_divergence,
    hellinger_squared,
    js_divergence,
    kl_divergence,
    kl_gaussian,
    kl_terms,
    kl_terms_nonnegative,
    mmd_squared,
    renyi_divergence,
    total_variation,
    wasserstein_1,
    wasserstein_samples,
)

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8
LOG2 = math.log(2)


def laws(*shape, seed=0, sharpness=1.0):
    """Random laws of full support, `(*shape)` with the states last; the larger `sharpness`, the more uneven."""
    return (sharpness * torch.randn(shape, generator=rng(seed), dtype=torch.float64)).softmax(-1)


def close(a, b, rtol=1e-12, atol=1e-14):
    a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (a, b))
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def sized(make, law):
    """`make(states)` in the law's dtype; for a list, which is no law, anything will do."""
    return make(2) if isinstance(law, list) else make(law.shape[-1]).to(law)


DISCRETE = {
    "kl": kl_divergence,
    "reverse kl": lambda p, q: kl_divergence(q, p),
    "js": js_divergence,
    "total variation": total_variation,
    "hellinger squared": hellinger_squared,
    "chi squared": chi_squared,
}
PAIRS = {
    **DISCRETE,
    "cross-entropy": cross_entropy,
    "renyi 0.3": lambda p, q: renyi_divergence(p, q, 0.3),
    "renyi 2": lambda p, q: renyi_divergence(p, q, 2.0),
    **{f"f: {name}": lambda p, q, name=name: f_divergence(p, q, name) for name in GENERATORS},
    "wasserstein": lambda p, q: wasserstein_1(sized(torch.arange, p), p, q),
    "mmd": lambda p, q: mmd_squared(sized(torch.eye, p), p, q),
}
every_pair = pytest.mark.parametrize("divergence", PAIRS.values(), ids=PAIRS)
every_f = pytest.mark.parametrize("name", GENERATORS)

# Many random pairs at once, some close, some far apart
P, Q = laws(10_000, 5, seed=1, sharpness=1.5), laws(10_000, 5, seed=2, sharpness=1.5)
P, Q = torch.cat([P, P]), torch.cat([Q, 0.99 * P + 0.01 * Q])


# --- against SciPy and by hand --------------------------------------------------------------------------------------


@pytest.mark.equation("eq-entropy")
def test_entropy():
    close(entropy(P), scipy.stats.entropy(P.numpy(), axis=-1))
    close(entropy(f64(0.5, 0.5)), LOG2)
    close(entropy(f64(0.5, 0.5, 0.0)), LOG2)
    assert entropy(f64(1.0, 0.0)) == 0


@pytest.mark.equation("eq-cross-entropy")
def test_cross_entropy():
    p, q = laws(4, 6), laws(4, 6, seed=1)
    by_hand = [-sum(a * math.log(b) for a, b in zip(*rows, strict=True)) for rows in zip(p, q, strict=True)]
    close(cross_entropy(p, q), f64(*by_hand))
    close(cross_entropy(p, p), entropy(p))
    assert cross_entropy(f64(0.5, 0.5), f64(1.0, 0.0)) == math.inf
    close(cross_entropy(f64(1.0, 0.0), f64(0.25, 0.75)), math.log(4))


@pytest.mark.equation("eq-kl")
def test_kl():
    close(kl_divergence(P, Q), scipy.special.rel_entr(P.numpy(), Q.numpy()).sum(-1), atol=1e-13)
    close(kl_divergence(f64(0.5, 0.5, 0.0), f64(0.25, 0.25, 0.5)), LOG2)
    assert kl_divergence(f64(0.5, 0.5), f64(1.0, 0.0)) == math.inf


@pytest.mark.equation("eq-js")
def test_js():
    close(js_divergence(P, Q), jensenshannon(P.numpy(), Q.numpy(), axis=-1) ** 2, rtol=1e-9, atol=1e-13)
    close(js_divergence(P, Q), js_divergence(Q, P))
    close(js_divergence(f64(1.0, 0.0), f64(0.0, 1.0)), LOG2)
    close(js_divergence(f64(1.0, 0.0), f64(0.5, 0.5)), 3 * math.log(4 / 3) / 4)


@pytest.mark.equation("eq-js-information")
def test_js_is_the_information_a_draw_gives_on_its_origin():
    close(js_divergence(P, Q), entropy((P + Q) / 2) - (entropy(P) + entropy(Q)) / 2, atol=1e-13)


def test_js_of_the_smallest_numbers():
    assert 0 <= js_divergence(f64(5e-324, 1.0), f64(0.0, 1.0)) < 1e-300
    p, q = f64(3e-323, 1.0), f64(0.0, 1.0)
    assert js_divergence(p, q).isfinite() and js_divergence(q, p).isfinite()


def test_js_of_nearly_equal_laws_has_a_root():
    p = laws(2000, 7)
    q = p + 1e-10 * (laws(2000, 7, seed=1) - 1 / 7)
    assert js_divergence(p, q).sqrt().isfinite().all()


@pytest.mark.equation("eq-renyi")
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 1.5, 2.0, 10.0])
def test_renyi(alpha):
    close(renyi_divergence(P, Q, alpha), (P**alpha * Q ** (1 - alpha)).sum(-1).log() / (alpha - 1), 1e-10, 1e-12)


@pytest.mark.equation("eq-renyi")
def test_renyi_relatives():
    close(renyi_divergence(P, Q, 2.0), chi_squared(P, Q).log1p(), 1e-10, 1e-12)
    close(renyi_divergence(P, Q, 0.5), -2 * (-hellinger_squared(P, Q)).log1p(), 1e-10, 1e-12)
    close(renyi_divergence(P, Q, 0.3), 0.3 / 0.7 * renyi_divergence(Q, P, 0.7), 1e-10, 1e-12)


@pytest.mark.equation("eq-tv")
def test_tv_is_the_largest_difference_an_event_can_have():
    p, q = laws(20, 5), laws(20, 5, seed=1)
    events = f64(*itertools.product([0.0, 1.0], repeat=5))
    close(total_variation(p, q), ((p - q) @ events.T).abs().amax(-1))


@pytest.mark.equation("eq-hellinger")
def test_hellinger():
    close(hellinger_squared(P, Q), 1 - (P * Q).sqrt().sum(-1), 1e-9, 1e-14)
    p, step = 0.5, 1e-9  # close laws: H^2 = step^2/(8 p (1 - p)) to leading order, far below the rounding of 1 - sum
    close(hellinger_squared(f64(p, 1 - p), f64(p + step, 1 - p - step)), step**2 / 2, rtol=1e-6, atol=0)


@pytest.mark.equation("eq-chi-squared")
def test_chi_squared():
    close(chi_squared(P, Q), (P**2 / Q).sum(-1) - 1, 1e-9, 1e-12)
    counts = np.array([18, 30, 52])
    statistic, _ = scipy.stats.chisquare(counts, 100 * np.array([0.25, 0.25, 0.5]))
    close(chi_squared(torch.tensor(counts / 100), f64(0.25, 0.25, 0.5)), statistic / 100)
    assert chi_squared(f64(0.5, 0.5), f64(1.0, 0.0)) == math.inf
    assert chi_squared(f64(1.0, 0.0), f64(0.5, 0.5)) == 1
    assert chi_squared(f64(0.5, 0.5, 0.0), f64(0.5, 0.5, 0.0)) == 0


# --- what all of them share -----------------------------------------------------------------------------------------


@every_pair
def test_a_batch_is_its_rows(divergence):
    p, q = laws(2, 3, 4), laws(2, 3, 4, seed=1)
    batch = divergence(p, q)
    assert batch.shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        close(batch[i, j], divergence(p[i, j], q[i, j]))


@every_pair
@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_dtype_in_is_dtype_out(divergence, dtype, rtol):
    p, q = laws(3, 4), laws(3, 4, seed=1)
    value = divergence(p.to(dtype), q.to(dtype))
    assert value.dtype == dtype
    close(value.double(), divergence(p, q), rtol=rtol, atol=1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_entropy_keeps_shape_and_dtype(dtype):
    assert entropy(laws(2, 3, 4).to(dtype)).shape == (2, 3)
    assert entropy(laws(2, 3, 4).to(dtype)).dtype == dtype


@every_pair
def test_gradients_agree_with_differences(divergence):
    p_logits, q_logits = (torch.randn(3, 4, generator=rng(s), dtype=torch.float64).requires_grad_() for s in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: divergence(a.softmax(-1), b.softmax(-1)), (p_logits, q_logits))


@pytest.mark.parametrize("name", ["kl", "js", "chi squared", "cross-entropy", "renyi 0.3", "renyi 2", "f: kl", "f: js"])
def test_states_outside_both_supports_change_neither_value_nor_gradient(name):
    p, q = f64(0.3, 0.7), f64(0.6, 0.4)
    padded = [torch.cat([law, f64(0.0)]).requires_grad_() for law in (p, q)]
    value = PAIRS[name](*padded)
    close(value, PAIRS[name](p, q))
    gradients = torch.autograd.grad(value, padded)
    plain = torch.autograd.grad(PAIRS[name](p.requires_grad_(), q.requires_grad_()), (p, q))
    for gradient, expected in zip(gradients, plain, strict=True):
        close(gradient[:2], expected)
        assert gradient[2].isfinite()


def test_entropy_has_a_finite_gradient_beside_an_impossible_state():
    p = f64(0.5, 0.5, 0.0).requires_grad_()
    (gradient,) = torch.autograd.grad(entropy(p), p)
    close(gradient[:2], f64(LOG2 - 1, LOG2 - 1))
    assert gradient[2].isfinite()


def test_cross_entropy_gradient_counts_states_that_q_alone_has():
    p = f64(1.0, 0.0).requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(p, f64(0.25, 0.75)), p)
    close(gradient, -f64(0.25, 0.75).log())


@pytest.mark.parametrize("name", DISCRETE)
def test_zero_iff_equal(name):
    assert (DISCRETE[name](P, P).abs() < 1e-15).all()
    assert (DISCRETE[name](P[:10_000], Q[:10_000]) > 1e-9).all()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("kl", math.inf),
        ("reverse kl", math.inf),
        ("js", LOG2),
        ("total variation", 1.0),
        ("hellinger squared", 1.0),
        ("chi squared", math.inf),
        ("cross-entropy", math.inf),
        ("renyi 0.3", math.inf),
        ("renyi 2", math.inf),
    ],
)
def test_disjoint_supports(name, expected):
    p, q = f64(0.4, 0.6, 0.0, 0.0), f64(0.0, 0.0, 0.7, 0.3)
    close(PAIRS[name](p, q), expected)
    if f"f: {name}" in PAIRS:
        close(PAIRS[f"f: {name}"](p, q), expected)


def test_tiny_probabilities():
    p, q = f64(0.5, 0.5), f64(1e-300, 1.0)
    close(kl_divergence(p, q), -LOG2 + 150 * math.log(10))
    close(kl_divergence(q, p), LOG2)
    close(f_divergence(p, q, "kl"), kl_divergence(p, q))
    close(entropy(q), 1e-300 * 300 * math.log(10), rtol=1e-12, atol=0)
    close(chi_squared(p, q), 0.25e300)
    close(renyi_divergence(p, q, 2.0), math.log(0.25) + 300 * math.log(10))
    close(renyi_divergence(p, q, 50.0), (50 * math.log(0.5) + 49 * 300 * math.log(10)) / 49)
    close(js_divergence(p, q), jensenshannon([0.5, 0.5], [1e-300, 1.0]) ** 2)
    close(total_variation(p, q), 0.5)
    for name in ("js", "total variation", "hellinger squared"):
        close(f_divergence(p, q, name), DISCRETE[name](p, q))


# --- inequalities and invariances -----------------------------------------------------------------------------------


@pytest.mark.equation("eq-pinsker")
def test_pinsker():
    tv, kl = total_variation(P, Q), kl_divergence(P, Q)
    assert (tv <= (kl / 2).sqrt() + 1e-9).all()
    p, q = f64(0.5, 0.5), f64(0.5 + 1e-3, 0.5 - 1e-3)
    assert total_variation(p, q) > 0.999 * (kl_divergence(p, q) / 2).sqrt()  # the constant is the best
    assert (total_variation(P, Q) > (wrong("kl", "kl-mean")(P, Q) / 2).sqrt()).any()


@pytest.mark.equation("eq-hellinger-tv")
def test_hellinger_encloses_total_variation():
    tv, h2 = total_variation(P, Q), hellinger_squared(P, Q)
    assert (h2 <= tv + 1e-14).all()
    assert (tv <= (h2 * (2 - h2)).sqrt() + 1e-12).all()
    assert (wrong("hellinger", "hellinger-no-half")(P, Q) > tv).any()
    assert (wrong("tv", "tv-l1")(P, Q) > (h2 * (2 - h2)).sqrt()).any()


def test_kl_is_below_the_log_of_chi_squared():
    assert (kl_divergence(P, Q) <= chi_squared(P, Q).log1p() + 1e-12).all()


@pytest.mark.notes("E3-067")
@pytest.mark.equation("eq-js")
@pytest.mark.equation("eq-js-bounds")
def test_js_is_bounded_and_not_jeffreys():
    js, jeffreys = js_divergence(P, Q), wrong("js", "E3-067")(P, Q)
    assert (js <= LOG2).all() and (js <= jeffreys / 4 + 1e-14).all()
    close(jeffreys, kl_divergence(P, Q) + kl_divergence(Q, P))
    p, q = f64(1.0, 0.0), f64(1e-20, 1.0)
    assert js_divergence(p, q) <= LOG2 and wrong("js", "E3-067")(p, q) > 40


def test_root_of_js_is_a_metric_and_js_is_not():
    p, q, r = laws(3, 10_000, 3, seed=5, sharpness=3.0)
    js = [js_divergence(a, b) for a, b in ((p, r), (p, q), (q, r))]
    assert (js[0].sqrt() <= js[1].sqrt() + js[2].sqrt() + 1e-12).all()
    assert (js[0] > js[1] + js[2] + 1e-3).any()


@pytest.mark.parametrize("metric", [total_variation, lambda p, q: hellinger_squared(p, q).sqrt()])
def test_metrics_obey_the_triangle(metric):
    p, q, r = laws(3, 10_000, 3, seed=5, sharpness=3.0)
    assert (metric(p, r) <= metric(p, q) + metric(q, r) + 1e-12).all()


@pytest.mark.notes("E3-018")
@pytest.mark.equation("eq-kl")
def test_kl_is_no_distance():
    a, b, c = f64(0.5, 0.5), f64(0.25, 0.75), f64(0.1, 0.9)
    assert kl_divergence(a, c) > 2 * (kl_divergence(a, b) + kl_divergence(b, c))
    assert abs(kl_divergence(a, c) - kl_divergence(c, a)) > 0.1
    for metric in (total_variation, lambda p, q: js_divergence(p, q).sqrt()):
        assert metric(a, c) <= metric(a, b) + metric(b, c) + 1e-15
        close(metric(a, c), metric(c, a))


@pytest.mark.notes("E3-020")
@pytest.mark.equation("eq-kl-asymmetry")
def test_kl_is_asymmetric_because_one_law_does_the_averaging():
    # Averaging log p/q under the middle law makes it antisymmetric; dividing and multiplying alone does no harm.
    log_ratio = P.log() - Q.log()
    close(kl_divergence(P, Q) - kl_divergence(Q, P), ((P + Q) * log_ratio).sum(-1), atol=1e-12)
    assert ((kl_divergence(P, Q) - kl_divergence(Q, P)).abs() > 0.01).any()
    triangular = wrong("chi-squared", "chi-squared-symmetric")
    close(triangular(P, Q), triangular(Q, P))
    close(triangular(P, Q), 2 * chi_squared(P, (P + Q) / 2), rtol=1e-9, atol=1e-13)


@pytest.mark.notes("E0-38")
@pytest.mark.equation("eq-gibbs")
def test_kl_is_not_negative_though_half_of_its_log_ratios_are():
    log_ratio = P.log() - Q.log()
    assert 0.3 < (log_ratio < 0).double().mean() < 0.7
    assert (kl_divergence(P, Q) > -1e-15).all()
    # Jensen: -KL <= log E_p[q/p], which is the mass q has on the support of p
    p, q = f64(0.4, 0.6, 0.0), f64(0.3, 0.2, 0.5)
    assert kl_divergence(p, q) >= -math.log(0.5)
    close(kl_divergence(p, f64(0.2, 0.3, 0.5)), LOG2)  # equality: q is p restricted and rescaled


@pytest.mark.equation("eq-renyi")
def test_renyi_grows_with_its_order_through_kl():
    orders = [0.05, 0.2, 0.5, 0.8, 0.999999, 1.000001, 1.5, 2.0, 5.0, 50.0]
    values = torch.stack([renyi_divergence(P, Q, alpha) for alpha in orders])
    assert (values.diff(dim=0) >= -1e-9).all()
    close(renyi_divergence(P, Q, 1 + 1e-6), kl_divergence(P, Q), rtol=1e-4, atol=1e-8)
    close(renyi_divergence(P, Q, 1 - 1e-6), kl_divergence(P, Q), rtol=1e-4, atol=1e-8)
    close(renyi_divergence(P, Q, 1000.0), (P / Q).amax(-1).log(), rtol=0.01, atol=0.02)


def test_renyi_where_supports_differ():
    p, q = f64(0.5, 0.5, 0.0), f64(0.5, 0.0, 0.5)
    close(renyi_divergence(p, q, 0.5), 2 * LOG2)
    assert renyi_divergence(p, q, 2.0) == math.inf
    close(renyi_divergence(f64(1.0, 0.0), f64(0.25, 0.75), 3.0), math.log(4))


@pytest.mark.equation("eq-kl-chain-rule")
def test_kl_chain_rule():
    p, q = (laws(50, 12, seed=seed).view(50, 3, 4) for seed in (3, 4))
    p_x, q_x = p.sum(-1), q.sum(-1)
    conditional = kl_divergence(p / p_x[..., None], q / q_x[..., None])
    joint = kl_divergence(p.flatten(1), q.flatten(1))
    close(joint, kl_divergence(p_x, q_x) + (p_x * conditional).sum(-1))
    assert ((joint - kl_divergence(p_x, q_x) - (q_x * conditional).sum(-1)).abs() > 1e-3).any()


def test_divergences_of_independent_pairs():
    p, q, r, s = laws(4, 100, 4, seed=6)
    pr, qs = ((a[..., :, None] * b[..., None, :]).flatten(1) for a, b in ((p, r), (q, s)))
    close(kl_divergence(pr, qs), kl_divergence(p, q) + kl_divergence(r, s))
    close(renyi_divergence(pr, qs, 0.7), renyi_divergence(p, q, 0.7) + renyi_divergence(r, s, 0.7))
    close(1 - hellinger_squared(pr, qs), (1 - hellinger_squared(p, q)) * (1 - hellinger_squared(r, s)))
    close(1 + chi_squared(pr, qs), (1 + chi_squared(p, q)) * (1 + chi_squared(r, s)))


# --- the f-family ---------------------------------------------------------------------------------------------------


@every_f
@pytest.mark.equation("eq-f-divergence")
def test_f_divergence_gives_the_named_divergence(name):
    close(f_divergence(P, Q, name), DISCRETE[name](P, Q), rtol=1e-8, atol=1e-13)
    if name != "reverse kl":
        p, q = f64(0.5, 0.5, 0.0), f64(0.3, 0.3, 0.4)
        close(f_divergence(p, q, name), DISCRETE[name](p, q))


@every_f
def test_generators_are_convex_and_vanish_at_one(name):
    f, slope = GENERATORS[name].f, GENERATORS[name].slope
    u, v = torch.rand(2, 10_000, generator=rng(), dtype=torch.float64) * 10 + 1e-6
    assert (f((u + v) / 2) <= (f(u) + f(v)) / 2 + 1e-12).all()
    assert f(f64(1.0)) == 0
    far = f(f64(1e8)).item() / 1e8
    if math.isinf(slope):
        assert far > 10
    else:
        close(far, slope, rtol=1e-3, atol=1e-6)


@pytest.mark.notes("E3-068")
@pytest.mark.equation("eq-f-divergence")
def test_convex_means_chord_on_or_above_not_line_and_not_strictly():
    f = GENERATORS["chi squared"].f
    u, v = f64(0.0), f64(1.0)

    def line(at):
        return f(u) + (f(v) - f(u)) * at

    assert line(f64(0.5)) > f(f64(0.5))
    assert line(f64(2.0)) < f(f64(2.0)) and line(f64(-1.0)) < f(f64(-1.0))  # the line, beyond the chord, is below
    g = GENERATORS["total variation"].f
    close(g(f64(2.0)), (g(f64(1.0)) + g(f64(3.0))) / 2)  # an affine piece: chord and graph coincide


@every_f
def test_an_affine_term_through_one_changes_nothing(name):
    plain = GENERATORS[name]
    tilted = Generator(lambda u: plain.f(u) + 3 * (u - 1), plain.slope + 3)
    close(f_divergence(P, Q, tilted), f_divergence(P, Q, name), rtol=1e-9, atol=1e-12)
    p, q = f64(0.5, 0.5, 0.0), f64(0.2, 0.0, 0.8)
    close(f_divergence(p, q, tilted), f_divergence(p, q, name))


@every_f
def test_u_f_of_one_over_u_exchanges_the_laws(name):
    f = GENERATORS[name].f
    twin = Generator(lambda u: u * f(1 / u), f(f64(1e-300)).item())
    close(f_divergence(P, Q, twin), f_divergence(Q, P, name), rtol=1e-9, atol=1e-12)


@every_f
@pytest.mark.equation("eq-data-processing")
def test_data_processing(name):
    # Every random channel, and every merging of two states, brings the laws closer.
    channel = laws(5, 4, seed=8, sharpness=2.0)
    merged = [torch.cat([law[:, :3], law[:, 3:].sum(-1, keepdim=True)], -1) for law in (P, Q)]
    before = f_divergence(P, Q, name)
    for after in (f_divergence(P @ channel, Q @ channel, name), f_divergence(*merged, name)):
        assert (after <= before + 1e-13).all()
        assert (after < before - 1e-4).any()


@every_f
@pytest.mark.notes("N3-208", "E3-070")
@pytest.mark.equation("eq-f-nonnegative")
def test_f_divergence_is_not_negative_whatever_the_supports(name):
    holes = (torch.rand(2, 10_000, 5, generator=rng(9)) < 0.3).to(torch.float64)
    holes[..., 0] = 0  # every law keeps a state
    p, q = ((1 - hole) * law[:10_000] for hole, law in zip(holes, (P, Q), strict=True))
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    assert (f_divergence(p, q, name) >= -1e-14).all()
    assert (f_divergence(P, Q, name) >= -1e-14).all()  # p << q: Jensen needs no extra term


@pytest.mark.notes("E3-070")
@pytest.mark.equation("eq-f-divergence")
def test_f_divergence_charges_for_mass_that_q_cannot_see():
    p, q, without = f64(0.5, 0.5), f64(1.0, 0.0), wrong("f-divergence", "E3-070")
    close(without(p, q, "kl"), -LOG2 / 2)
    assert without(p, q, "kl") < 0 and f_divergence(p, q, "kl") == math.inf
    close(f_divergence(p, q, "total variation"), 0.5)
    close(without(p, q, "total variation"), 0.25)
    for name in ("js", "total variation", "hellinger squared", "kl", "chi squared"):
        close(f_divergence(p, q, name), DISCRETE[name](p, q))
    close(f_divergence(p, q, "reverse kl"), LOG2)
    close(f_divergence(q, p, "kl"), LOG2)


def test_f_divergence_takes_a_generator_of_the_caller():
    triangular = Generator(lambda u: (u - 1).square() / (u + 1), 1.0)
    close(f_divergence(P, Q, triangular), ((P - Q).square() / (P + Q)).sum(-1), 1e-9, 1e-13)
    close(f_divergence(f64(1.0, 0.0), f64(0.0, 1.0), triangular), 2.0)


# --- codes, likelihood, expectation: what the notes get wrong -------------------------------------------------------


@pytest.mark.notes("E0-28", "E3-021")
@pytest.mark.equation("eq-kl")
@pytest.mark.equation("eq-extra-bits")
def test_kl_is_the_price_of_the_second_laws_code_on_draws_of_the_first():
    p, q = f64(0.5, 0.25, 0.125, 0.125), f64(0.125, 0.125, 0.25, 0.5)
    own, other = f64(1, 2, 3, 3), f64(3, 3, 2, 1)  # the codewords' lengths: powers of two, so no rounding
    extra_bits = (p * other).sum() - (p * own).sum()
    close(kl_divergence(p, q) / LOG2, extra_bits)
    close(wrong("kl", "E3-021")(p, q), extra_bits)
    assert abs(kl_divergence(p, q) - extra_bits) > 0.1  # nats are not bits
    skewed = f64(0.7, 0.1, 0.1, 0.1)
    price = (skewed * other).sum() - entropy(skewed) / LOG2
    close(kl_divergence(skewed, q) / LOG2, price)
    assert abs(wrong("kl", "E0-28")(skewed, q) / LOG2 - price) > 0.1


@pytest.mark.notes("E3-022")
@pytest.mark.equation("eq-kl")
def test_kl_is_a_sum_whose_terms_may_be_negative():
    terms = wrong("kl", "E3-022")(f64(0.2, 0.8), f64(0.5, 0.5))
    assert terms[0] < 0 < terms.sum()
    close(terms.sum(), kl_divergence(f64(0.2, 0.8), f64(0.5, 0.5)))


@pytest.mark.notes("N3-069", "E3-056")
@pytest.mark.equation("eq-kl-split")
def test_minimum_kl_is_maximum_expected_log_likelihood():
    data = f64(0.15, 0.5, 0.05, 0.3)
    theta = torch.linspace(0.02, 0.98, 481, dtype=torch.float64)  # a family that does not contain the data law
    model = torch.stack([theta**k * (1 - theta) ** (3 - k) * math.comb(3, k) for k in range(4)], -1)
    data_law = data.expand_as(model)
    kl, expected = kl_divergence(data_law, model), -cross_entropy(data_law, model)
    close(kl + expected, -entropy(data_law))
    assert kl.argmin() == expected.argmax()
    close(theta[kl.argmin()], (data * torch.arange(4)).sum() / 3, rtol=0, atol=0.0011)
    assert abs(kl_divergence(model, data_law).argmin() - kl.argmin()) > 10  # the other direction: another model


@pytest.mark.notes("E3-056")
@pytest.mark.equation("eq-kl")
@pytest.mark.equation("eq-moments")
def test_forward_kl_matches_moments_and_reverse_kl_picks_a_mode():
    x = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    data = (torch.logaddexp(-((x - 3) ** 2) / 0.98, -((x + 3) ** 2) / 0.98)).softmax(-1)
    mean, scale = (
        a.flatten() for a in torch.meshgrid(torch.linspace(-4, 4, 33), torch.linspace(0.3, 4, 38), indexing="ij")
    )
    model = (-((x - mean[:, None]) ** 2) / (2 * scale[:, None] ** 2)).double().softmax(-1)
    data_law = data.expand_as(model)
    forward, reverse = kl_divergence(data_law, model).argmin(), kl_divergence(model, data_law).argmin()
    variance = (data * x**2).sum().item()
    assert mean[forward] == 0 and abs(scale[forward] - variance**0.5) < 0.1
    assert abs(abs(mean[reverse]) - 3) < 0.15 and abs(scale[reverse] - 0.7) < 0.15


@pytest.mark.notes("E3-023")
@pytest.mark.equation("eq-cross-entropy")
@pytest.mark.equation("eq-expectation")
def test_expectation_is_of_the_function_not_of_the_index():
    x, p, q = f64(1.0, 2.0, 3.0), f64(0.2, 0.3, 0.5), f64(0.5, 0.3, 0.2)
    draws = torch.multinomial(p, 100_000, replacement=True, generator=rng())

    def differs(values, truth):
        return abs(values.mean() - truth) > Z * values.std() / math.sqrt(len(values))

    assert not differs(-q.log()[draws], cross_entropy(p, q))
    assert not differs(p[draws], (p * p).sum())  # E_p[p(x)] is sum p^2 ...
    assert differs(p[draws], (x * p).sum())  # ... and not sum x p(x), which is E_p[x]
    assert not differs(x[draws], (x * p).sum())


@pytest.mark.notes("E3-024", "N3-072")
@pytest.mark.equation("eq-cross-entropy")
@pytest.mark.equation("eq-empirical")
def test_mean_log_likelihood_tends_to_minus_cross_entropy():
    p, q = f64(0.2, 0.3, 0.5), f64(0.5, 0.3, 0.2)
    draws = torch.multinomial(p, 200_000, replacement=True, generator=rng(1))
    spread = ((p * q.log() ** 2).sum() - cross_entropy(p, q) ** 2).sqrt()
    error = Z * spread / math.sqrt(len(draws))
    empirical = q.log()[draws].mean()
    assert abs(empirical + cross_entropy(p, q)) < error
    assert abs(empirical + entropy(p) + kl_divergence(p, q)) < error
    assert abs(empirical + wrong("cross-entropy", "E3-024")(p, q)) > 20 * error  # E_p log p
    # The error's own size: 2000 samples of 100 have the spread sd/sqrt(100), within Z/sqrt(2 * 2000) = 9 %.
    means = q.log()[draws].view(2000, 100).mean(-1)
    assert abs(means.std() * 10 / spread - 1) < Z / math.sqrt(4000)


# --- laws on a line, kernels, scores --------------------------------------------------------------------------------


@pytest.mark.equation("eq-wasserstein")
def test_wasserstein_on_points():
    points = f64(-2.0, -0.5, 0.0, 1.0, 7.0)
    values = wasserstein_1(points, P, Q)
    for i in range(0, 200, 10):
        expected = scipy.stats.wasserstein_distance(points, points, P[i], Q[i])
        close(values[i], expected, rtol=1e-9, atol=1e-12)
    close(wasserstein_1(points, f64(1, 0, 0, 0, 0), f64(0, 0, 0, 0, 1)), 9.0)
    close(wasserstein_1(3 * points + 1, P, Q), 3 * values)
    assert wasserstein_1(f64(5.0), f64(1.0), f64(1.0)) == 0


@pytest.mark.equation("eq-wasserstein-quantile")
def test_wasserstein_of_samples():
    x, y = torch.randn(2, 3, 50, generator=rng(), dtype=torch.float64)
    y = 2 * y + 1
    expected = [scipy.stats.wasserstein_distance(a, b) for a, b in zip(x, y, strict=True)]
    close(wasserstein_samples(x, y), f64(*expected), rtol=1e-10)
    close(wasserstein_samples(x, x + 3.0, 2.0), f64(3.0, 3.0, 3.0))
    assert wasserstein_samples(x.float(), y.float(), 2.0).dtype == torch.float32


@pytest.mark.equation("eq-wasserstein-quantile")
@pytest.mark.parametrize("order", [1.0, 1.5, 2.0, 4.0])
def test_sorted_is_the_best_of_all_matchings(order):
    x, y = f64(0.3, -1.0, 2.0, 0.9, 0.1), f64(5.0, -2.0, 0.1, 4.0, -3.0)
    cost = [(x - y[list(order_)]).abs().pow(order).mean() for order_ in itertools.permutations(range(5))]
    close(wasserstein_samples(x, y, order), min(cost) ** (1 / order))


def test_wasserstein_of_infinite_order_is_the_largest_gap():
    x, y = f64(0.0, 1.0, 5.0), f64(2.5, 0.5, -0.5)
    close(wasserstein_samples(x, y, math.inf), 2.5)
    close(wasserstein_samples(x, y, 200.0), 2.5, rtol=0.01)


def test_wasserstein_has_a_finite_gradient_at_equal_samples():
    x = f64(0.3, -1.0, 2.0).requires_grad_()
    (gradient,) = torch.autograd.grad(wasserstein_samples(x, x.detach(), 2.0), x)
    assert gradient.isfinite().all()


@pytest.mark.equation("eq-mmd")
def test_mmd():
    x = f64(0.0, 0.4, 1.0, 3.0, 3.5)
    gram = torch.exp(-((x[:, None] - x) ** 2) / 2)
    p, q = P[:20], Q[:20]
    expected = torch.zeros(20, dtype=torch.float64)
    for i, j in itertools.product(range(5), repeat=2):
        expected += gram[i, j] * (p[:, i] * p[:, j] - 2 * p[:, i] * q[:, j] + q[:, i] * q[:, j])
    close(mmd_squared(gram, p, q), expected, rtol=1e-9, atol=1e-14)
    assert (mmd_squared(gram, P, Q) > 0).all()
    assert (mmd_squared(gram, P, P) == 0).all()
    linear = x[:, None] * x  # not characteristic: it sees the means alone
    close(mmd_squared(linear, p, q), ((p - q) @ x).square())
    close(mmd_squared(linear, f64(0.5, 0, 0.5, 0, 0), f64(0, 0, 0.5, 0, 0) + f64(0.5, 0, 0, 0, 0)), 0.0)
    same_mean = f64(0.0, 0.0, 0.0, 6 / 7, 1 / 7), f64(1 / 7, 0.0, 0.0, 0.0, 6 / 7)
    assert mmd_squared(gram, *same_mean) > 0


@pytest.mark.equation("eq-fisher-divergence")
def test_fisher_divergence():
    a, b = torch.randn(2, 6, 3, generator=rng(), dtype=torch.float64)
    close(
        fisher_divergence(a, b),
        f64(*(sum((u - v) ** 2 for u, v in zip(*row, strict=True)) / 2 for row in zip(a, b, strict=True))),
    )
    # N(0, 1) against N(m, s^2): E_p |-x + (x - m)/s^2|^2 / 2 by quadrature, and by expanding the square
    x = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    m, s2 = 0.7, 1.6
    weights = (-(x**2) / 2).softmax(-1)
    by_quadrature = weights @ fisher_divergence(-x[:, None], -(x[:, None] - m) / s2)
    close(by_quadrature, ((1 - 1 / s2) ** 2 + (m / s2) ** 2) / 2, rtol=1e-9)
    assert fisher_divergence(a.float(), b.float()).dtype == torch.float32


# --- Gaussians ------------------------------------------------------------------------------------------------------


def gaussians(n, d, seed=0):
    mean = torch.randn(n, d, generator=rng(seed), dtype=torch.float64)
    root = torch.randn(n, d, d, generator=rng(seed + 1), dtype=torch.float64)
    return mean, root @ root.mT + 0.3 * torch.eye(d, dtype=torch.float64)


@pytest.mark.equation("eq-kl-gaussian")
@pytest.mark.parametrize("d", [1, 2, 5])
def test_kl_gaussian_against_torch(d):
    p, q = gaussians(40, d, 0), gaussians(40, d, 2)
    close(kl_gaussian(*p, *q), torch_kl(MultivariateNormal(*p), MultivariateNormal(*q)), rtol=1e-9)
    close(kl_gaussian(*p, *p), torch.zeros(40), atol=1e-12)
    close(kl_gaussian(p[0][3], p[1][3], q[0][3], q[1][3]), kl_gaussian(*p, *q)[3])
    assert kl_gaussian(*(a.float() for a in (*p, *q))).dtype == torch.float32


@pytest.mark.equation("eq-kl-gaussian")
def test_kl_gaussian_against_quadrature():
    x = torch.linspace(-12, 12, 6001, dtype=torch.float64)
    log_p, log_q = (-((x - m) ** 2) / (2 * v) for m, v in ((0.5, 1.3), (-0.4, 2.1)))
    fine = kl_divergence(log_p.softmax(-1), log_q.softmax(-1))
    args = f64(0.5), f64(1.3)[None], f64(-0.4), f64(2.1)[None]
    close(kl_gaussian(*args), fine, rtol=1e-8)
    for bug in ("gaussian-kl-no-half", "gaussian-kl-squared-scale", "gaussian-kl-reversed", "gaussian-kl-no-d"):
        assert abs(wrong("gaussian-kl", bug)(*args) - fine) > 0.01


@pytest.mark.equation("eq-kl-gaussian")
def test_kl_gaussian_shift_and_scale():
    mean, cov = gaussians(1, 3)
    mean, cov, shift = mean[0], cov[0], f64(0.3, -1.0, 2.0)
    close(kl_gaussian(mean, cov, mean + shift, cov), shift @ torch.linalg.inv(cov) @ shift / 2, rtol=1e-10)
    for scale in (0.1, 1.0, 5.0):
        close(kl_gaussian(mean, scale * cov, mean, cov), 3 * (scale - 1 - math.log(scale)) / 2, rtol=1e-9, atol=1e-12)


@pytest.mark.equation("eq-kl-gaussian")
def test_kl_gaussian_is_invariant_under_affine_maps():
    p, q = gaussians(1, 4, 0), gaussians(1, 4, 2)
    matrix = torch.randn(4, 4, generator=rng(5), dtype=torch.float64)
    moved = [(mean @ matrix.T + 1.0, matrix @ cov @ matrix.T) for mean, cov in (p, q)]
    close(kl_gaussian(*moved[0], *moved[1]), kl_gaussian(*p, *q), rtol=1e-8)


def test_kl_gaussian_gradient():
    p, q = gaussians(2, 2, 0), gaussians(2, 2, 2)
    roots = [torch.linalg.cholesky(cov).requires_grad_() for cov in (p[1], q[1])]
    means = [mean.requires_grad_() for mean in (p[0], q[0])]
    assert torch.autograd.gradcheck(
        lambda mean_p, root_p, mean_q, root_q: kl_gaussian(mean_p, root_p @ root_p.mT, mean_q, root_q @ root_q.mT),
        (means[0], roots[0], means[1], roots[1]),
    )


def test_kl_gaussian_takes_float32_rounding_for_symmetric():
    x = 100 * torch.randn(500, 20, generator=rng())
    cov = x.T @ x / 500
    cov[0, 1] *= 1 + 1e-4 * cov.abs().max().item() / abs(cov[0, 1].item()) * 0.9
    mean = torch.zeros(20)
    assert kl_gaussian(mean, cov, mean, cov).abs() < 1


# --- Monte Carlo ----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-kl-monte-carlo")
@pytest.mark.equation("eq-kl-control")
def test_kl_terms_are_unbiased():
    p, q = f64(0.4, 0.3, 0.2, 0.1), f64(0.1, 0.3, 0.2, 0.4)
    truth = kl_divergence(p, q)
    for terms in (kl_terms, kl_terms_nonnegative):
        close((p * terms(p.log(), q.log())).sum(), truth)  # exactly: the average over the law
        draws = torch.multinomial(p, 50_000, replacement=True, generator=rng())
        values = terms(p.log()[draws], q.log()[draws])
        assert abs(values.mean() - truth) < Z * values.std() / math.sqrt(len(values))
    for subject, bug in (
        ("kl-terms", "kl-terms-absolute"),
        ("kl-terms", "kl-terms-squared"),
        ("kl-terms", "kl-terms-weighted"),
        ("kl-control", "kl-control-inverted"),
        ("kl-control", "kl-control-no-one"),
    ):
        assert abs((p * wrong(subject, bug)(p.log(), q.log())).sum() - truth) > 0.01


@pytest.mark.equation("eq-kl-control")
def test_controlled_terms_are_not_negative_and_plain_ones_are():
    log_p, log_q = torch.randn(2, 10_000, generator=rng(), dtype=torch.float64)
    assert (kl_terms_nonnegative(log_p, log_q) >= 0).all()
    assert (kl_terms(log_p, log_q) < 0).any()
    close(kl_terms(log_p, log_q), log_p - log_q)
    close(kl_terms_nonnegative(log_p, log_q), (log_q - log_p).exp() - 1 - (log_q - log_p), 1e-9, 1e-13)
    tiny = 1e-6  # no cancellation near r = 1: r - 1 - log r is (log r)^2/2 to leading order
    close(kl_terms_nonnegative(f64(0.0), f64(tiny)), f64(tiny**2 / 2), rtol=1e-3, atol=0)
    assert kl_terms_nonnegative(f64(0.0), f64(-math.inf)) == math.inf


def test_controlled_terms_miss_what_q_has_alone():
    p, q = f64(0.5, 0.5, 0.0), f64(0.25, 0.25, 0.5)
    biased = (p[:2] * kl_terms_nonnegative(p[:2].log(), q[:2].log())).sum()
    close(biased, kl_divergence(p, q) - 0.5)  # E_p r = 1/2 here, not 1


@pytest.mark.equation("eq-kl-control")
def test_the_control_can_cost_variance():
    p, q = f64(0.01, 0.99), f64(0.6, 0.4)  # r = 60 on a rare state

    def variance(terms):
        return (p * (terms - (p * terms).sum()) ** 2).sum()

    logs = p.log(), q.log()
    assert variance(kl_terms_nonnegative(*logs)) > 10 * variance(kl_terms(*logs))
    near = p, 0.9 * p + 0.1 * q
    assert variance(kl_terms_nonnegative(*(a.log() for a in (f64(0.5, 0.5), f64(0.55, 0.45))))) < 0.1 * variance(
        kl_terms(*(a.log() for a in near))
    )


@pytest.mark.parametrize("gap", [1e-3, -1e-3, 1e-6, -1e-6, 1e-9])
def test_renyi_keeps_its_digits_near_kl(gap):
    p, q = laws(50, 6, seed=21), laws(50, 6, seed=22)
    log_r = (p / q).log()
    kl = (p * log_r).sum(-1)
    slope = ((p * log_r.square()).sum(-1) - kl.square()) / 2  # of D_alpha in alpha, at 1
    curb = 20 * gap**2 * (1 + log_r.abs().amax(-1)) ** 3
    assert ((renyi_divergence(p, q, 1 + gap) - kl - gap * slope).abs() < curb + 1e-12).all()
    single = renyi_divergence(p.float(), q.float(), 1 + gap).double()
    assert torch.allclose(single, kl + gap * slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GENERATORS)
def test_f_divergences_do_not_overflow_in_float32(name):
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([1e-42, 1.0])
    if name != "chi squared":  # which is 2.5e41, infinite in float32
        assert f_divergence(p, q, name).dtype == torch.float32
        wanted = f_divergence(p.double(), torch.tensor([float(q[0]), 1.0], dtype=torch.float64), name)
        assert torch.allclose(f_divergence(p, q, name).double(), wanted, rtol=1e-6)
        assert wanted < 60
    assert f_divergence(f64(0.5, 0.5), f64(5e-324, 1.0), name) >= 0


def test_the_gradient_of_hellinger_is_finite_where_no_law_has_mass():
    p, q = f64(0.0, 0.3, 0.7).requires_grad_(), f64(0.0, 0.5, 0.5).requires_grad_()
    hellinger_squared(p, q).backward()
    for law, other in ((p, q), (q, p)):
        wanted = (1 - (other / law).sqrt().detach()) / 2
        assert law.grad[0] == 0 and torch.allclose(law.grad[1:], wanted[1:])


def test_a_divergence_of_a_law_from_itself_is_never_far_below_zero():
    """Laws that sum to one within what is allowed: the Kullback-Leibler divergence stays above minus that."""
    p = f64(0.5, 0.5 + 9e-7)
    assert -1e-6 < kl_divergence(f64(0.5, 0.5), p) < 0
    with pytest.raises(ValueError, match="sums to one only within"):
        kl_divergence(f64(0.5, 0.5), f64(0.5, 0.5 + 2e-6))


# --- refusals -------------------------------------------------------------------------------------------------------

GOOD = f64(0.5, 0.5)
ON_TWO_POINTS = {
    "reverse kl": lambda p, q: kl_divergence(p, q),  # straight: its q is the library's p
    "wasserstein": lambda p, q: wasserstein_1(f64(0, 1), p, q),
    "mmd": lambda p, q: mmd_squared(f64((1, 0), (0, 1)), p, q),
}
NAMED = (PAIRS | ON_TWO_POINTS).values()
BAD_LAWS = {
    "a list": ([0.5, 0.5], TypeError, "is a list, expected a torch.Tensor"),
    "integers": (torch.tensor([0, 1]), TypeError, "has dtype torch.int64, expected a floating dtype"),
    "negative": (f64(1.5, -0.5), ValueError, r"has a negative entry \(-0.5\), expected probabilities"),
    "not summing to one": (f64(0.5, 0.4), ValueError, "sums to one only within 0.1"),
    "NaN": (f64(math.nan, 0.5), ValueError, "has 1 NaN or infinite values among 2"),
    "empty": (f64(), ValueError, r"has shape \(0,\), expected at least one element"),
}


@pytest.mark.parametrize("law, error, sentence", BAD_LAWS.values(), ids=BAD_LAWS)
def test_what_is_no_law_is_refused_by_name(untyped, law, error, sentence):
    with pytest.raises(error, match=f"^p {sentence}"):
        entropy(law)
    for divergence in NAMED:
        with pytest.raises(error, match=f"^p {sentence}"):
            divergence(law, GOOD)
        with pytest.raises(error, match=f"^q {sentence}"):
            divergence(GOOD, law)


@pytest.mark.parametrize("divergence", NAMED)
def test_laws_of_different_sizes_are_refused(untyped, divergence):
    with pytest.raises(ValueError, match=r"^q has shape \(3,\), expected \(2,\)"):
        divergence(GOOD, f64(0.2, 0.3, 0.5))


NAN2 = f64(0.0, math.nan)
EYE = torch.eye(2, dtype=torch.float64)
REFUSALS = {
    "order 1": (lambda: renyi_divergence(GOOD, GOOD, 1.0), ValueError, "alpha is 1, expected another order"),
    "order 0": (
        lambda: renyi_divergence(GOOD, GOOD, 0.0),
        ValueError,
        r"alpha is 0.0, expected a number in \(0, inf\)",
    ),
    "order inf": (lambda: renyi_divergence(GOOD, GOOD, math.inf), ValueError, "alpha is inf, expected a number"),
    "no such f": (
        lambda: f_divergence(GOOD, GOOD, "KL"),
        ValueError,
        "generator is 'KL', expected one of 'kl', 'reverse",
    ),
    "a bare f": (
        lambda: f_divergence(GOOD, GOOD, torch.square),
        ValueError,
        "generator is <built-in .*expected one of",
    ),
    "points": (
        lambda: wasserstein_1(f64(0, 1, 2), GOOD, GOOD),
        ValueError,
        r"p has shape \(2,\), expected \(3,\)",
    ),
    "points, a list": (lambda: wasserstein_1([0.0, 1.0], GOOD, GOOD), TypeError, "points is a list"),
    "points fall": (lambda: wasserstein_1(f64(1, 0), GOOD, GOOD), ValueError, "points are not increasing"),
    "points tie": (lambda: wasserstein_1(f64(1, 1), GOOD, GOOD), ValueError, "points are not increasing"),
    "points NaN": (lambda: wasserstein_1(NAN2, GOOD, GOOD), ValueError, "points are not increasing"),
    "sample sizes": (lambda: wasserstein_samples(f64(0, 1), f64(0, 1, 2)), ValueError, r"y has shape \(3,\), expected"),
    "sample x NaN": (lambda: wasserstein_samples(NAN2, GOOD), ValueError, "x has 1 NaN"),
    "sample y NaN": (lambda: wasserstein_samples(GOOD, NAN2), ValueError, "y has 1 NaN"),
    "sample x list": (lambda: wasserstein_samples([1.0], f64(1)), TypeError, "x is a list"),
    "sample y list": (lambda: wasserstein_samples(f64(1), [1.0]), TypeError, "y is a list"),
    "W order": (lambda: wasserstein_samples(GOOD, GOOD, 0.5), ValueError, r"order is 0.5, expected a number in \[1"),
    "gram": (lambda: mmd_squared(torch.eye(3), GOOD, GOOD), ValueError, r"p has shape \(2,\), expected \(3,\)"),
    "gram list": (lambda: mmd_squared([[1.0]], GOOD, GOOD), TypeError, "gram is a list"),
    "score_q": (lambda: fisher_divergence(EYE, EYE[:1]), ValueError, r"score_q has shape \(1, 2\), expected \(2, 2\)"),
    "score_p": (lambda: fisher_divergence(GOOD, GOOD), ValueError, r"score_p has shape \(2,\), expected 2 axes"),
    "score_q int": (lambda: fisher_divergence(EYE, EYE.long()), TypeError, "score_q has dtype torch.int64"),
    "mean_p": (lambda: kl_gaussian([0.0, 0.0], EYE, GOOD, EYE), TypeError, "mean_p is a list"),
    "mean_p NaN": (lambda: kl_gaussian(NAN2, EYE, GOOD, EYE), ValueError, "mean_p has 1 NaN"),
    "mean_q NaN": (lambda: kl_gaussian(GOOD, EYE, NAN2, EYE), ValueError, "mean_q has 1 NaN"),
    "mean_q int": (lambda: kl_gaussian(GOOD, EYE, torch.ones(2).long(), EYE), TypeError, "mean_q has dtype"),
    "cov_p int": (lambda: kl_gaussian(GOOD, EYE.long(), GOOD, EYE), TypeError, "cov_p has dtype torch.int64"),
    "cov_p inf": (lambda: kl_gaussian(GOOD, EYE / 0, GOOD, EYE), ValueError, "cov_p has 4 NaN or infinite"),
    "cov_q shape": (
        lambda: kl_gaussian(GOOD, EYE, GOOD, torch.eye(3)),
        ValueError,
        r"cov_q has shape \(3, 3\), expected \(2, 2\)",
    ),
    "cov_p singular": (lambda: kl_gaussian(GOOD, 0 * EYE, GOOD, EYE), ValueError, "cov_p is not symmetric positive"),
    "cov_q indefinite": (lambda: kl_gaussian(GOOD, EYE, GOOD, -EYE), ValueError, "cov_q is not symmetric positive"),
    "one of a batch": (
        lambda: kl_gaussian(EYE, torch.stack([EYE, -EYE]), EYE, torch.stack([EYE, EYE])),
        ValueError,
        "cov_p is not symmetric positive definite",
    ),
    "a Cholesky factor": (
        lambda: kl_gaussian(GOOD, f64((1.0, 0.0), (2e-4, 1.0)), GOOD, EYE),
        ValueError,
        "cov_p is not symmetric positive definite",
    ),
    "log_q": (lambda: kl_terms(GOOD, GOOD[:1]), ValueError, r"log_q has shape \(1,\), expected \(2,\)"),
    "log_p": (lambda: kl_terms(EYE, EYE), ValueError, r"log_p has shape \(2, 2\), expected 1 axes"),
    "log_q, control": (lambda: kl_terms_nonnegative(GOOD, GOOD[:1]), ValueError, r"log_q has shape \(1,\)"),
    "log_p, control": (lambda: kl_terms_nonnegative([0.0], f64(0)), TypeError, "log_p is a list"),
}


@pytest.mark.parametrize("call, error, sentence", REFUSALS.values(), ids=REFUSALS)
def test_wrong_arguments_are_refused_by_name(untyped, call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()
