"""Optimisers against torch.optim step by step; rates, noise and the product of two weights against recursions."""

import math

import numpy as np
import pytest
import torch
from exact import f64
from scipy.linalg import solve_discrete_lyapunov

from dgmlib.bugs import wrong
from dgmlib.optim import adam_step, best_momentum, contraction, product_flow, sgd_step, sgd_variance


def bowl(theta):
    """Not quadratic, not separable: every part of an optimiser shows."""
    return (theta[0] ** 2 - theta[1]) ** 2 + 0.1 * (theta**4).sum() + theta.prod().sin()


START = (0.7, -1.2, 0.4)
GRADIENT = torch.func.grad(bowl)


def torchs_path(optimizer, n_steps=40):
    theta = f64(*START).requires_grad_()
    optimizer, path = optimizer([theta]), []
    for _ in range(n_steps):
        optimizer.zero_grad()
        bowl(theta).backward()
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)


def our_path(step, memory, n_steps=40):
    theta, path = f64(*START), []
    for t in range(1, n_steps + 1):
        theta, memory = step(theta, GRADIENT(theta), memory, t)
        path.append(theta)
    return torch.stack(path)


# --- steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-opt-momentum")
@pytest.mark.notes("N0-013", "H0-06")
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_is_torchs(momentum):
    theirs = torchs_path(lambda p: torch.optim.SGD(p, lr=0.02, momentum=momentum))
    ours = our_path(lambda x, g, v, t: sgd_step(x, g, v, step_size=0.02, momentum=momentum), f64(0, 0, 0))
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)


def test_momentum_as_a_running_mean_is_another_optimiser():
    theirs = torchs_path(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    bad = our_path(lambda x, g, v, t: wrong("momentum-step", "momentum-averaged")(x, g, v), f64(0, 0, 0))
    assert not torch.allclose(bad, theirs, atol=1e-2, rtol=0)


@pytest.mark.equation("eq-opt-adam")
@pytest.mark.notes("N0-013", "H0-06")
@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.7)}, {"eps": 0.1}])
def test_adam_is_torchs(options):
    theirs = torchs_path(lambda p: torch.optim.Adam(p, lr=0.03, **options))
    zeros = (f64(0, 0, 0), f64(0, 0, 0))
    ours = our_path(lambda x, g, m, t: adam_step(x, g, m, t, step_size=0.03, **options), zeros)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)


def test_adam_with_weight_decay_is_torchs_adamw_and_not_its_adam():
    theirs = torchs_path(lambda p: torch.optim.AdamW(p, weight_decay=0.3))  # the default step size, too
    coupled = torchs_path(lambda p: torch.optim.Adam(p, weight_decay=0.3))
    zeros = (f64(0, 0, 0), f64(0, 0, 0))
    ours = our_path(lambda x, g, m, t: adam_step(x, g, m, t, weight_decay=0.3), zeros)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
    assert not torch.allclose(ours, coupled, atol=1e-4, rtol=0)


def test_adam_s_first_step_forgets_the_size_of_the_gradient():
    zeros = (f64(0, 0), f64(0, 0))
    for scale in (1e-3, 1.0, 1e3):
        theta, _ = adam_step(f64(1.0, 1.0), scale * f64(2.0, -5.0), zeros, 1, step_size=0.1, eps=0.0)
        assert torch.allclose(theta, f64(0.9, 1.1), atol=1e-12, rtol=0)


def test_steps_keep_the_shape_and_precision_and_write_into_nothing():
    x, g, v = torch.ones(2, 3), torch.full((2, 3), 0.5), torch.zeros(2, 3)
    theta, velocity = sgd_step(x, g, v, step_size=0.1, momentum=0.9)
    other, (m, s) = adam_step(x, g, (v, v), 1)
    assert {t.dtype for t in (theta, velocity, other, m, s)} == {torch.float32}
    assert {t.shape for t in (theta, velocity, other, m, s)} == {(2, 3)}
    assert torch.equal(x, torch.ones(2, 3)) and torch.equal(v, torch.zeros(2, 3))
    assert torch.equal(sgd_step(x, g, v, step_size=0.0)[0], x)


# --- quadratics -----------------------------------------------------------------------------------------------------


def recursion(curvature, step_size, momentum):
    """(theta, velocity) -> (theta, velocity) after one step on curvature theta^2 / 2."""
    return np.array([[1 - step_size * curvature, -step_size * momentum], [curvature, momentum]])


@pytest.mark.equation("eq-opt-roots")
@pytest.mark.notes("N0-013", "H0-06")
@pytest.mark.parametrize("step_size, momentum", [(0.1, 0.0), (0.5, 0.0), (0.3, 0.5), (0.4, 0.9), (0.05, 0.99)])
def test_contraction_is_the_spectral_radius_of_the_recursion(step_size, momentum):
    curvature = f64(0.01, 0.5, 1.0, 3.0, 7.0, 20.0)
    radius = [abs(np.linalg.eigvals(recursion(c, step_size, momentum))).max() for c in curvature.tolist()]
    assert torch.allclose(contraction(curvature, step_size, momentum), f64(*radius), atol=1e-7, rtol=0)


@pytest.mark.notes("N0-013")
def test_descent_contracts_by_the_condition_number_and_diverges_beyond_two_over_the_curvature():
    low, high = 0.5, 4.0
    curvature = torch.linspace(low, high, 30, dtype=torch.float64)
    assert float(contraction(curvature, 1 / high).max()) == pytest.approx(1 - low / high)
    assert float(contraction(curvature, 1.99 / high).max()) < 1 < float(contraction(curvature, 2.01 / high).max())


@pytest.mark.equation("eq-opt-best")
@pytest.mark.parametrize("low, high", [(1.0, 1.0), (1.0, 9.0), (0.3, 120.0)])
def test_best_momentum_is_where_no_other_setting_is_faster(low, high):
    curvature = torch.linspace(low, high, 50, dtype=torch.float64)
    step_size, momentum = best_momentum(low, high)
    best = float(contraction(curvature, step_size, momentum).max())
    root = math.sqrt(high / low)
    assert best == pytest.approx((root - 1) / (root + 1), abs=1e-6)
    for factor in (0.9, 0.97, 1.03, 1.1):
        assert float(contraction(curvature, step_size * factor, momentum).max()) >= best - 1e-9
        assert float(contraction(curvature, step_size, min(momentum * factor, 0.99)).max()) >= best - 1e-9


@pytest.mark.equation("eq-opt-noise")
@pytest.mark.notes("H0-06")
@pytest.mark.parametrize("step_size, momentum", [(0.3, 0.0), (0.1, 0.5), (0.4, 0.9)])
def test_sgd_variance_solves_the_recursion_of_the_covariance(step_size, momentum):
    for curvature in (0.2, 1.0, 4.0):
        push = np.array([-step_size, 1.0])
        exact = solve_discrete_lyapunov(recursion(curvature, step_size, momentum), 0.7 * np.outer(push, push))[0, 0]
        ours = sgd_variance(f64(curvature), step_size, 0.7, momentum)
        assert float(ours) == pytest.approx(exact, rel=1e-9)


def test_sgd_variance_is_infinite_where_nothing_settles():
    settles = sgd_variance(f64(-1.0, 0.0, 10.0, 19.9, 20.0, 21.0), 0.1, 1.0).isfinite()
    assert settles.tolist() == [False, False, True, True, False, False]
    assert sgd_variance(f64(1.0), 0.1, 0.0).tolist() == [0.0]


# --- the product of two weights -------------------------------------------------------------------------------------


@pytest.mark.equation("eq-opt-product")
def test_product_flow_is_what_small_steps_on_both_weights_do():
    def mean_error(step_size):
        a = b = math.sqrt(0.01)
        path = [a * b]
        for _ in range(round(4 / step_size)):
            slope = 1.5 - a * b
            a, b = a + step_size * b * slope, b + step_size * a * slope
            path.append(a * b)
        time = step_size * torch.arange(len(path), dtype=torch.float64)
        return float((f64(*path) - product_flow(0.01, 1.5, time)).abs().max())

    coarse, fine = mean_error(2e-3), mean_error(1e-3)
    assert fine < 3e-3
    assert coarse / fine == pytest.approx(2, abs=0.05)  # first order: what is left is the steps', not the formula's


def test_product_flow_starts_and_ends_where_it_should():
    u = product_flow(0.2, 3.0, f64(0.0, 40.0))
    assert torch.allclose(u, f64(0.2, 3.0), atol=1e-12, rtol=0)
    assert torch.allclose(product_flow(5.0, 3.0, f64(0.0, 40.0)), f64(5.0, 3.0), atol=1e-12, rtol=0)  # from above, too


# --- refusals -------------------------------------------------------------------------------------------------------

T = f64(1.0, 2.0)
REFUSED = {
    "sgd step size": (lambda: sgd_step(T, T, T, step_size=-0.1), ValueError, "step_size is -0.1"),
    "sgd momentum": (lambda: sgd_step(T, T, T, step_size=0.1, momentum=1.0), ValueError, "momentum is 1.0"),
    "sgd gradient": (lambda: sgd_step(T, T[:1], T, step_size=0.1), ValueError, r"gradient has shape \(1,\)"),
    "sgd velocity": (lambda: sgd_step(T, T, T[:1], step_size=0.1), ValueError, r"velocity has shape \(1,\)"),
    "sgd list": (lambda: sgd_step([1.0], T, T, step_size=0.1), TypeError, "theta is a list"),
    "adam t": (lambda: adam_step(T, T, (T, T), 0), ValueError, "t is 0, expected at least 1"),
    "adam t kind": (lambda: adam_step(T, T, (T, T), 1.5), TypeError, "t is 1.5, expected an int"),
    "adam beta": (lambda: adam_step(T, T, (T, T), 1, betas=(0.9, 1.0)), ValueError, "betas is 1.0"),
    "adam step": (lambda: adam_step(T, T, (T, T), 1, step_size=-1.0), ValueError, "step_size is -1.0"),
    "adam v": (lambda: adam_step(T, T, (T, T[:1]), 1), ValueError, r"moments\[1\] has shape \(1,\), expected \(2,\)"),
    "adam integer": (lambda: adam_step(T, T.long(), (T, T), 1), TypeError, "gradient has dtype torch.int64"),
    "contraction": (lambda: contraction(T, -1.0), ValueError, "step_size is -1.0"),
    "contraction number": (lambda: contraction(1.0, 0.1), TypeError, "curvature is a float"),
    "best low": (lambda: best_momentum(0.0, 1.0), ValueError, "low is 0.0"),
    "best order": (lambda: best_momentum(2.0, 1.0), ValueError, "high is 1.0"),
    "best infinite": (lambda: best_momentum(2.0, math.inf), ValueError, "high is inf"),
    "noise": (lambda: sgd_variance(T, 0.1, -1.0), ValueError, "noise_var is -1.0"),
    "noise momentum": (lambda: sgd_variance(T, 0.1, 1.0, 1.0), ValueError, "momentum is 1.0"),
    "product start": (lambda: product_flow(0.0, 1.0, T), ValueError, "start is 0.0"),
    "product target": (lambda: product_flow(1.0, 0.0, T), ValueError, "target is 0.0"),
    "product time": (lambda: product_flow(1.0, 1.0, 3.0), TypeError, "time is a float"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("call, error, sentence", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_sentence(call, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        call()
