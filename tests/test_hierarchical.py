"""Hierarchies against joint Gaussians, grids, quadrature, torch.distributions and one another."""

import copy
import math
import re

import pytest
import torch
from exact import close, f64, rng
from torch.distributions import Bernoulli, MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from dgmlib import core, diffusion, noising, vae
from dgmlib import hierarchical as hier
from dgmlib.bugs import wrong
from dgmlib.bugs.hierarchical import CHAIN, RATES, UPWARDS, X
from dgmlib.core import global_batch
from dgmlib.vae import VAE
from dgmlib.worlds import condition

Z = 5.5  # standard errors: a seeded two-sided test fails by chance with probability 4e-8


def near(draws, truth):
    """The mean of independent draws is `truth` within Z standard errors."""
    error = (draws.mean() - truth).abs() / (draws.std() / math.sqrt(len(draws)))
    return bool(error < Z)


def total(terms):
    return -terms.distortion - terms.rates.sum(1)


def small(inference="top_down", latents=(2, 3), hidden=(5, 4), d=6, seed=0):
    torch.manual_seed(seed)
    model = hier.HierarchicalVAE(d, latents, hidden, inference=inference, activation=torch.nn.Tanh).double()
    for weight in model.parameters():
        weight.data.mul_(1.7)
    return model.requires_grad_(False)


def bits(n=4, d=6, seed=0):
    return (torch.rand(n, d, generator=rng(seed)) < 0.5).double()


def gaussian(law):
    mean, log_var = law
    return Normal(mean, (log_var / 2).exp())


# --- the world ------------------------------------------------------------------------------------------------------


def joint(upwards, first_mean, first_cov):
    """Mean and covariance of a chain of kernels that starts from one Gaussian, all coordinates in their order."""
    mean, cov, last = first_mean, first_cov, len(first_mean)
    for kernel in upwards:
        cross = kernel.weight @ cov[len(mean) - last :]
        own = kernel.weight @ cov[len(mean) - last :, len(mean) - last :] @ kernel.weight.T + kernel.cov
        cov = torch.cat([torch.cat([cov, cross.T], 1), torch.cat([cross, own], 1)])
        mean = torch.cat([mean, kernel.weight @ mean[len(mean) - last :] + kernel.shift])
        last = len(kernel.shift)
    return mean, cov


def posterior_at(x):
    """Mean and covariance of (z_3, z_2, z_1) given x in CHAIN, from the Gaussian of everything."""
    mean, cov = joint(CHAIN.kernels[::-1], f64(0.0), torch.eye(1, dtype=torch.float64))
    return condition(mean, cov, [5, 6, 7], x)


@pytest.mark.equation("eq-hier-push")
@pytest.mark.equation("eq-hier-reverse")
def test_push_and_reverse_are_the_two_ways_to_factorise_a_joint_gaussian():
    kernel, mean, cov = CHAIN.kernels[0], f64(0.3, -0.8), f64([0.6, 0.2], [0.2, 0.9])
    both_mean, both_cov = joint([kernel], mean, cov)
    mean_b, cov_b = hier.push(kernel, mean, cov)
    close(mean_b, both_mean[2:])
    close(cov_b, both_cov[2:, 2:])
    back = hier.reverse(kernel, mean, cov)
    for b in X:
        there_mean, there_cov = condition(both_mean, both_cov, [2, 3, 4], b)
        close(back.weight @ b + back.shift, there_mean)
        close(back.cov, there_cov)


@pytest.mark.equation("eq-hier-evidence")
@pytest.mark.notes("N3-392", "N4-090")
def test_the_chain_is_a_gaussian_and_draws_what_it_scores():
    mean, cov = joint(CHAIN.kernels[::-1], f64(0.0), torch.eye(1, dtype=torch.float64))
    close(CHAIN.log_prob(X), MultivariateNormal(mean[5:], cov[5:, 5:]).log_prob(X))
    for (m, c), (i, j) in zip(CHAIN.marginals(), ((5, 8), (3, 5), (1, 3), (0, 1)), strict=True):
        close(m, mean[i:j])
        close(c, cov[i:j, i:j])
    draws = CHAIN.sample(40_000, generator=rng())
    assert draws.shape == (40_000, 3) and (CHAIN.d, CHAIN.n_layers) == (3, 3)
    for direction in (*torch.eye(3).tolist(), [1.0, -1.0, 0.5]):
        along = draws @ f64(*direction)
        centre, variance = mean[5:] @ f64(*direction), f64(*direction) @ cov[5:, 5:] @ f64(*direction)
        assert near(along, centre) and near((along - centre) ** 2, variance)
    assert torch.equal(CHAIN.sample(3, generator=rng(1)), CHAIN.sample(3, generator=rng(1)))


@pytest.mark.equation("eq-hier-posterior")
@pytest.mark.notes("N4-092", "E4-26", "N4-135")
def test_the_posterior_of_a_chain_is_a_chain():
    first, *rest = CHAIN.posterior()
    for x in X:
        mean, cov = joint(rest, first.weight @ x + first.shift, first.cov)  # z1, z2, z3
        slow_mean, slow_cov = posterior_at(x)
        order = [3, 4, 1, 2, 0]
        close(mean, slow_mean[order])
        close(cov, slow_cov[order][:, order])
    close(total(hier.linear_terms(CHAIN, hier.turned([first, *rest]), X)), CHAIN.log_prob(X))
    assert (total(hier.linear_terms(CHAIN, hier.turned(UPWARDS), X)) < CHAIN.log_prob(X) - 0.5).all()  # a model of it


@pytest.mark.notes("N4-092", "E4-26")
def test_given_the_layer_below_nothing_above_depends_on_the_datum():
    tables = [
        torch.rand(shape, generator=rng(i), dtype=torch.float64) for i, shape in enumerate(((3,), (3, 4), (4, 5)))
    ]
    top, down, see = (table / table.sum(-1, keepdim=True) for table in tables)
    p = torch.einsum("c,cb,bx->xbc", top, down, see)
    above = p / p.sum(2, keepdim=True)
    close(above, above[:1].expand_as(above))
    below = p / p.sum((1, 2), keepdim=True)
    assert (below[0].sum(1) - below[1].sum(1)).abs().max() > 1e-2  # the bottom layer does


@pytest.mark.notes("N4-093", "N3-393", "E4-25")
def test_the_bound_of_a_table_and_the_number_that_a_forgotten_condition_gives():
    p = torch.rand(2, 6, generator=rng(), dtype=torch.float64) / 6
    q = torch.rand(2, 6, generator=rng(1), dtype=torch.float64)
    q = q / q.sum(1, keepdim=True)
    evidence = p.sum(1)
    close((q * (p / q)).sum(1), evidence)
    assert ((q * (p / q.mean(0))).sum(1) - evidence).abs().max() > 1e-3
    bound = (q * (p / q).log()).sum(1)
    assert (bound < evidence.log()).all()
    posterior = p / evidence[:, None]
    close(evidence.log() - bound, (q * (q / posterior).log()).sum(1))


@pytest.mark.equation("eq-hier-turned")
def test_a_turned_encoder_is_the_same_joint_law():
    layers = hier.turned(UPWARDS)
    for x in X:
        mean, cov = joint(UPWARDS[1:], UPWARDS[0].weight @ x + UPWARDS[0].shift, UPWARDS[0].cov)
        at_x = [
            hier.Kernel(layer.weight[:, :-3], layer.weight[:, -3:] @ x + layer.shift, layer.cov) for layer in layers
        ]
        other_mean, other_cov = joint([at_x[1], at_x[0]], at_x[2].shift, at_x[2].cov)  # z3, z2, z1
        order = [3, 4, 1, 2, 0]
        close(other_mean[order], mean)
        close(other_cov[order][:, order], cov)


def by_draws(encoder, x, n):
    """(distortion, rates) at n draws from a turned encoder, from log-densities: (n,) and (n, 3)."""
    above, rates = torch.zeros(n, 0, dtype=torch.float64), []
    models = [*CHAIN.kernels[1:], hier.Kernel(torch.zeros(1, 0).double(), f64(0.0), torch.eye(1).double())]
    for t in (2, 1, 0):
        inputs = torch.cat([above, x.expand(n, -1)], 1)
        q = MultivariateNormal(inputs @ encoder[t].weight.T + encoder[t].shift, encoder[t].cov)
        noise = torch.randn(n, len(encoder[t].shift), generator=rng(t), dtype=torch.float64)
        z = q.mean + noise @ torch.linalg.cholesky(encoder[t].cov).T
        p = MultivariateNormal(above @ models[t].weight.T + models[t].shift, models[t].cov)
        rates.insert(0, q.log_prob(z) - p.log_prob(z))
        above = z
    decoder = CHAIN.kernels[0]
    return -MultivariateNormal(above @ decoder.weight.T + decoder.shift, decoder.cov).log_prob(x), torch.stack(rates, 1)


@pytest.mark.equation("eq-hier-linear-terms")
@pytest.mark.notes("N4-091", "H3-76")
def test_every_term_is_what_draws_average_to():
    encoder = hier.turned(UPWARDS)
    terms = hier.linear_terms(CHAIN, encoder, X)
    assert terms.rates.shape == (2, 3) and (terms.rates > 0).all()
    distortion, rates = by_draws(encoder, X[0], 100_000)
    assert near(distortion, terms.distortion[0])
    for t in range(3):
        assert near(rates[:, t], terms.rates[0, t])
    at_means = wrong("hier-terms", "hier-rate-at-the-mean")(CHAIN, encoder, X)
    assert not near(rates[:, 1], at_means.rates[0, 1])
    single = hier.linear_terms(CHAIN, encoder, X.float())
    assert single.rates.dtype == torch.float64


@pytest.mark.equation("eq-hier-factorised")
def test_the_best_encoder_of_layers_apart():
    layers = hier.factorised(CHAIN)
    mean, cov = posterior_at(X[0])
    precision = torch.linalg.inv(cov)
    for layer, (i, j), above in zip(layers, ((3, 5), (1, 3), (0, 1)), (2, 1, 0), strict=True):
        assert layer.weight.shape == (j - i, above + 3) and not layer.weight[:, :above].any()
        close(layer.weight[:, above:] @ X[0] + layer.shift, mean[i:j])
        close(layer.cov, torch.linalg.inv(precision[i:j, i:j]))
    best = total(hier.linear_terms(CHAIN, layers, X))
    blocks = sum(torch.logdet(precision[i:j, i:j]) for i, j in ((3, 5), (1, 3), (0, 1)))
    close(CHAIN.log_prob(X) - best, (0.5 * (blocks - torch.logdet(precision))).expand(2))
    for t in range(3):
        for change in ({"shift": layers[t].shift + 0.1}, {"cov": 1.2 * layers[t].cov}, {"cov": 0.8 * layers[t].cov}):
            other = [*layers[:t], layers[t]._replace(**change), *layers[t + 1 :]]
            assert (total(hier.linear_terms(CHAIN, other, X)) < best).all()


def shared(rho, s2=0.1):
    return hier.LinearChain([([[1.0]], [0.0], [[s2]]), ([[rho]], [0.0], [[1 - rho**2]])])


@pytest.mark.equation("eq-hier-price")
@pytest.mark.notes("H4-24")
@pytest.mark.parametrize(("rho", "price"), [(0.0, 0.0), (0.9, 0.16377), (0.99, 0.85031)])
def test_the_price_of_layers_apart_grows_with_their_tie(rho, price):
    x, world = f64([0.3], [-2.0]), shared(rho)
    close(world.log_prob(x), Normal(f64(0.0), math.sqrt(1.1)).log_prob(x)[:, 0])
    close(world.log_prob(x) - total(hier.linear_terms(world, hier.factorised(world), x)), [price] * 2, atol=1e-5)
    typical = math.sqrt(1.1) * f64([-1.0], [1.0])
    lower, upper = hier.linear_terms(world, hier.turned(world.posterior()), typical).rates.mean(0)
    close(upper, -0.5 * math.log(1 - rho**2 / 1.1))
    close(lower, 0.5 * math.log(1 + (1 - rho**2) / 0.1))


@pytest.mark.notes("N4-135", "H3-76")
def test_a_nailed_encoder_gives_the_number_of_the_diffusion():
    betas, slopes, variances = [0.2, 0.3, 0.4], [0.9, 0.7, 0.5], [0.3, 0.4, 0.6]
    decoder = hier.LinearChain([([[w]], [0.0], [[v]]) for w, v in zip(slopes, variances, strict=True)])
    nailed = [hier.Kernel(f64([math.sqrt(1 - b)]), f64(0.0), f64([b])) for b in betas]
    terms = hier.linear_terms(decoder, hier.turned(nailed), f64([0.9]))
    schedule, stops, draws = noising.Tabulated(f64(*betas)), [1.0, 2 / 3, 1 / 3, 0.0], 40_000

    def denoiser(z, t):
        i = round(3 * float(t[0]))
        step = noising.posterior(schedule, (i - 1) / 3, i / 3)
        return (slopes[i - 1] - step.c_x) / step.c_0 * z

    path = noising.forward_path(f64(0.9).expand(draws, 1), schedule, stops, generator=rng())
    theirs = diffusion.kl_terms(denoiser, path, schedule, stops, variances[::-1])
    for ours, column in zip((terms.distortion[0], *terms.rates[0]), theirs.T, strict=True):
        assert near(column, ours) or float((column - ours).abs().max()) < 1e-9
    close(-total(terms), [1.486277], atol=1e-6)


# --- the pieces -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-hier-combine")
def test_combine_is_the_normalised_product():
    first, second = (f64(0.5, -1.0), f64(-0.7, 60.0)), (f64(2.0, 0.3), f64(0.4, -1.2))
    mean, log_var = hier.combine(first, second)
    grid = torch.linspace(-40, 40, 160_001, dtype=torch.float64)
    product = (gaussian((first[0][:, None], first[1][:, None])).log_prob(grid)
               + gaussian((second[0][:, None], second[1][:, None])).log_prob(grid)).softmax(1)  # fmt: skip
    close(mean, product @ grid, rtol=1e-8)
    close(log_var, (product @ grid**2 - (product @ grid) ** 2).log(), rtol=1e-8, atol=1e-8)
    for part, other in zip((mean, log_var), hier.combine(second, first), strict=True):
        close(part, other)


@pytest.mark.equation("eq-hier-free-bits")
def test_free_bits_floor_each_rate():
    close(hier.floored(RATES, 1.0), f64([1.0, 3.0], [1.5, 1.0], [2.5, 1.0]))
    close(hier.floored(RATES, 0.0), RATES)


@pytest.mark.equation("eq-hier-warm-up")
def test_warm_up_rises_to_one_and_is_part_of_a_checkpoint():
    warm_up = hier.WarmUp(4)
    assert [float(warm_up()) for _ in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    again = hier.WarmUp(4)
    warm_up = hier.WarmUp(4)
    warm_up()
    again.load_state_dict(warm_up.state_dict())
    assert float(again()) == 0.25


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-hier-joint")
@pytest.mark.notes("N3-392", "N4-092", "N4-135")
def test_the_joint_is_the_product_of_its_conditionals():
    model, x = small(), bits(3)
    z1, z2 = (torch.randn(5, 3, k, generator=rng(k), dtype=torch.float64) for k in (2, 3))
    below = gaussian(model.down[1](z2).chunk(2, -1)).log_prob(z1).sum(-1)
    see = Bernoulli(logits=model.down[0](z1)).log_prob(x).sum(-1)
    close(model.log_joint(x, [z1, z2]), Normal(f64(0.0), 1.0).log_prob(z2).sum(-1) + below + see)
    close(model.log_likelihood(x, z1), see)
    close(model.pixel_means(z1), torch.sigmoid(model.down[0](z1)))
    unit = Normal(f64(0.0), 1.0).log_prob(z2).sum(-1) + Normal(f64(0.0), 1.0).log_prob(z1).sum(-1) + see
    assert not torch.allclose(model.log_joint(x, [z1, z2]), unit)


@pytest.mark.notes("N4-090")
def test_one_layer_is_chapter_nines_vae():
    model, x = small(latents=(2,), hidden=(5,)), bits()
    one = VAE(6, 2, (5,), activation=torch.nn.Tanh).double()
    one.encoder[0].load_state_dict(model.up[0][0].state_dict())
    one.encoder[2].load_state_dict(model.heads[0].state_dict())
    one.decoder.load_state_dict(model.down[0].state_dict())
    for inference in hier.INFERENCES:
        model.inference = inference
        close(hier.elbo(model, x, generator=rng(5)), vae.elbo(one, x, generator=rng(5)))
        close(hier.elbo(model, x, beta=0.3, generator=rng(5)), vae.elbo(one, x, beta=0.3, generator=rng(5)))
        for widen in (1.0, 0.8):  # wider than the prior's is another matter
            theirs = vae.log_weights(one, x, 7, widen=widen, generator=rng(6))
            close(hier.log_weights(model, x, 7, widen=widen, generator=rng(6)), theirs)
    close(model.sample(9, generator=rng(7)), one.sample(9, generator=rng(7)))


def noise_of(x, n_samples, sizes, seed):
    generator = rng(seed)
    return [torch.randn(len(x), n_samples, k, generator=generator, dtype=torch.float64).transpose(0, 1) for k in sizes]


@pytest.mark.equation("eq-hier-infer")
@pytest.mark.parametrize("widen", [1.0, 1.4])
def test_inference_walks_as_it_says(widen):
    x, log = bits(), 2 * math.log(widen)
    for inference in hier.INFERENCES:
        model = small(inference)
        low, high = model.infer(x, 3, widen=widen, generator=rng(4))
        h = torch.tanh(model.up[0][0](x))
        hint = model.heads[0](h).expand(3, -1, -1).chunk(2, -1)
        if inference == "bottom_up":
            eps1, eps2 = noise_of(x, 3, (2, 3), 4)
            q1 = (hint[0], hint[1] + log)
            z1 = q1[0] + (q1[1] / 2).exp() * eps1
            mean, log_var = model.heads[1](torch.tanh(model.up[1][0](z1))).chunk(2, -1)
            q2 = (mean, log_var + log)
            z2 = mean + (q2[1] / 2).exp() * eps2
            p1 = model.down[1](z2).chunk(2, -1)
        else:
            eps2, eps1 = noise_of(x, 3, (3, 2), 4)
            mean, log_var = model.heads[1](torch.tanh(model.up[1][0](h))).expand(3, -1, -1).chunk(2, -1)
            wide = log_var + log
            q2 = (mean, torch.where(wide > log_var.clamp(min=0), log_var.clamp(min=0), wide))
            z2 = mean + (q2[1] / 2).exp() * eps2
            p1 = model.down[1](z2).chunk(2, -1)
            mean, log_var = hint
            if inference == "top_down":
                precision = (-hint[1]).exp() + (-p1[1]).exp()
                mean = (hint[0] * (-hint[1]).exp() + p1[0] * (-p1[1]).exp()) / precision
                log_var = -precision.log()
            most = torch.maximum(log_var, p1[1])
            q1 = (mean, torch.minimum(log_var + log, most))
            z1 = q1[0] + (q1[1] / 2).exp() * eps1
        zeros = (torch.zeros_like(z2), torch.zeros_like(z2))
        for layer, (z, q, p) in zip((low, high), ((z1, q1, p1), (z2, q2, zeros)), strict=True):
            close(layer.z, z)
            for ours, theirs in zip((*layer.q, *layer.p), (*q, *p), strict=True):
                close(ours, theirs)


@pytest.mark.equation("eq-hier-log-weights")
@pytest.mark.notes("N4-093", "N3-393")
@pytest.mark.parametrize("inference", hier.INFERENCES)
def test_weights_average_to_the_evidence_and_the_bound_lies_below(inference, n=40_000):
    model, x = small(inference, (1, 1), (5, 4), seed=3), bits(1)
    for head in model.heads:  # broad enough for weights of finite variance
        head.bias.data[1] += 1.5
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)[:, None, :]
    truth = model.log_joint(x, list(plane.split(1, 2))).logsumexp(0) + 2 * torch.log(axis[1] - axis[0])
    layers = model.infer(x, n, generator=rng(1))
    weights = hier.log_weights(model, x, n, generator=rng(1))[:, 0]
    q = sum(gaussian(layer.q).log_prob(layer.z).sum(-1) for layer in layers)
    close(weights, (model.log_joint(x, [layer.z for layer in layers]) - q)[:, 0])
    assert near(weights.exp(), truth.exp())
    many = x.expand(n, -1)
    terms = hier.elbo_terms(model, many, generator=rng(2))
    assert near(total(terms), weights.mean()) or abs(float(total(terms).mean() - weights.mean())) < 0.05
    assert weights.mean() < truth[0] and hier.elbo(model, many, generator=rng(3)).mean() < truth[0]
    estimate = model.log_prob_is(x, n, chunk=7_000, generator=rng(4))
    assert estimate.shape == (1,) and abs(float(estimate - truth)) < 0.15
    chunks = [hier.log_weights(model, x, k, generator=noise) for noise in (rng(5),) for k in (4, 4, 2)]
    close(model.log_prob_is(x, 10, chunk=4, generator=rng(5)), torch.cat(chunks).logsumexp(0) - math.log(10))


@pytest.mark.equation("eq-hier-unit-rates")
@pytest.mark.equation("eq-hier-terms")
@pytest.mark.notes("H3-76", "N4-091")
def test_rates_are_divergences_downwards_and_ratios_upwards():
    x = bits()
    for inference in hier.INFERENCES:
        model = small(inference)
        layers = model.infer(x, 3, generator=rng(2))
        closed = [torch_kl(gaussian(layer.q), gaussian(layer.p)) for layer in layers]
        drawn = gaussian(layers[0].q).log_prob(layers[0].z) - gaussian(layers[0].p).log_prob(layers[0].z)
        low, high = hier.unit_rates(model, layers)
        close(low, drawn if inference == "bottom_up" else closed[0])
        close(high, closed[1])
        assert low.shape == (3, 4, 2) and high.shape == (3, 4, 3)
        one = model.infer(x, generator=rng(3))
        terms = hier.elbo_terms(model, x, generator=rng(3))
        close(terms.distortion, -Bernoulli(logits=model.down[0](one[0].z[0])).log_prob(x).sum(1))
        close(terms.rates, torch.stack([rate[0].sum(1) for rate in hier.unit_rates(model, one)], 1))
    model = small("bottom_up")
    loose = wrong("hier-unit-rates", "hier-closed-form-upwards")(model, model.infer(x[:1], 5000, generator=rng(4)))
    tight = hier.unit_rates(model, model.infer(x[:1], 5000, generator=rng(4)))
    assert loose[0].sum(2).mean() > tight[0].sum(2).mean() + 0.1


@pytest.mark.equation("eq-hier-elbo")
def test_the_objective_weighs_and_floors_the_rates():
    x = bits()
    for inference in hier.INFERENCES:
        model = small(inference)
        distortion, rates = hier.elbo_terms(model, x, generator=rng(1))
        close(hier.elbo(model, x, generator=rng(1)), -distortion - rates.sum(1))
        close(hier.elbo(model, x, beta=torch.tensor(0.25), generator=rng(1)), -distortion - 0.25 * rates.sum(1))
        floor = float(rates.median())
        found = hier.elbo(model, x, beta=0.5, floor=floor, generator=rng(1))
        close(found, -distortion - 0.5 * rates.clamp(min=floor).sum(1))
        one = hier.elbo(model, x[:1].repeat(2, 1), generator=rng(1))
        assert one.shape == (2,) and one[0] != one[1]  # fresh noise for each example


@pytest.mark.equation("eq-hier-active")
def test_statistics_of_units_over_a_data_set():
    model, x = small(), bits(7)
    noise = rng(3)
    layers = [model.infer(part, 4, generator=noise) for part in x.split(3)]
    rates, activities = hier.unit_statistics(model, x, 4, batch_size=3, generator=rng(3))
    for t in range(2):
        each = torch.cat([torch_kl(gaussian(part[t].q), gaussian(part[t].p)).mean(0) for part in layers])
        codes = torch.cat([part[t].q[0].mean(0) for part in layers])
        close(rates[t], each.mean(0))
        close(activities[t], codes.var(0, unbiased=False))
    assert not rates[0].requires_grad


@pytest.mark.notes("H4-24")
def test_a_silent_top_layer_changes_nothing():
    model, x = small(latents=(1, 1)), bits(2)
    model.down[1][0].weight.data.zero_()
    axis = torch.linspace(-12, 12, 401, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)[:, None, :].expand(-1, 2, -1)
    both = model.log_joint(x, list(plane.split(1, 2))).logsumexp(0) + 2 * torch.log(axis[1] - axis[0])
    line = axis[:, None, None].expand(-1, 2, 1)
    top = Normal(f64(0.0), 1.0).log_prob(f64(1.3))
    one = (model.log_joint(x, [line, torch.full_like(line, 1.3)]) - top).logsumexp(0) + torch.log(axis[1] - axis[0])
    close(both, one, rtol=1e-8)
    draws = model.sample_latents(4, f64([1.0], [1.0], [-2.0], [-2.0]), generator=rng())
    again = model.sample_latents(4, f64([0.0], [3.0], [1.0], [0.5]), generator=rng())
    close(draws[0], again[0])


def test_samples_come_from_the_top_down():
    model = small(latents=(2, 1, 3), hidden=(4, 5, 6))
    generator = rng(8)
    z3 = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    mean, log_var = model.down[2](z3).chunk(2, 1)
    z2 = mean + (log_var / 2).exp() * torch.randn(5, 1, generator=generator, dtype=torch.float64)
    mean, log_var = model.down[1](z2).chunk(2, 1)
    z1 = mean + (log_var / 2).exp() * torch.randn(5, 2, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(model.sample_latents(5, generator=rng(8)), (z1, z2, z3), strict=True):
        close(ours, theirs)
    pixels = (torch.rand(5, 6, generator=generator, dtype=torch.float64) < model.down[0](z1).sigmoid()).double()
    assert torch.equal(model.sample(5, generator=rng(8)), pixels)
    assert torch.equal(model.sample_latents(5, z3, generator=rng(1))[2], z3)
    assert repr(model).count("Linear") == 3 * 4 and sum(p.numel() for p in model.parameters()) > 100


@pytest.mark.parametrize("inference", hier.INFERENCES)
def test_every_parameter_learns_and_the_model_runs_anywhere(inference):
    model, x = small(inference, (2, 3, 2), (4, 5, 3)).requires_grad_(True), bits()
    hier.elbo(model, x, generator=rng()).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name
    twin = small(inference, (2, 3, 2), (4, 5, 3), seed=9)
    twin.load_state_dict(model.state_dict())
    close(hier.elbo(twin, x, generator=rng(1)), hier.elbo(model, x, generator=rng(1)))
    assert hier.elbo(copy.deepcopy(model).to("meta"), x.to("meta")).shape == (4,)
    assert model.to("meta").sample(3).device.type == "meta"
    assert small(inference).float().log_prob_is(bits().float(), 3).dtype == torch.float32


@pytest.mark.parametrize("inference", hier.INFERENCES)
def test_evaluation_goes_by_blocks_that_change_the_memory_only(inference, monkeypatch):
    held, model, x = [], small(inference), bits(9)
    model.down[0].register_forward_hook(lambda _, inputs, output: held.append(output.numel()))
    whole = model.log_prob_is(x, 10, chunk=4, generator=rng())
    assert held == [4 * 9 * 6, 4 * 9 * 6, 2 * 9 * 6]
    held.clear()
    monkeypatch.setattr(core, "BLOCK", 4 * 4 * 6 * 2)
    close(model.log_prob_is(x, 10, chunk=4, generator=rng()), whole)
    assert max(held) == 4 * 2 * 6


def test_noise_is_dealt_out_by_rows_of_the_batch(monkeypatch):
    model, x = small(), bits(5)
    whole = hier.elbo(model, x, generator=rng())
    parts = []
    for rank in range(2):
        monkeypatch.setattr("dgmlib.core.data_parallel", lambda rank=rank: (rank, 2))
        with global_batch(5):
            parts.append(hier.elbo(model, x[:2] if rank == 0 else x[2:], generator=rng()))
    close(torch.cat(parts), whole)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_the_model_runs_on_a_gpu():
    model, x = small().cuda(), bits().cuda()
    assert hier.elbo(model, x, beta=hier.WarmUp(3).cuda()()).device.type == "cuda"


# --- refusals -------------------------------------------------------------------------------------------------------


FLAT = f64([1.0, 1.0], [1.0, 1.0])
ORIGIN = f64(0.0, 0.0)
STEP = hier.Kernel(FLAT, ORIGIN, FLAT)


def test_bad_input_is_refused_in_one_sentence(untyped):
    chain, model = CHAIN, small()
    cases = (
        (lambda: hier.LinearChain([]), ValueError, "kernels is empty"),
        (lambda: hier.LinearChain([([1.0], [0.0], [[1.0]])]), ValueError, "weight of kernels"),
        (lambda: hier.LinearChain([([[1.0]], [0.0, 1.0], [[1.0]])]), ValueError, "shift of kernels"),
        (lambda: hier.LinearChain([([[1.0]], [0.0], [[1.0, 0.0]])]), ValueError, "cov of kernels"),
        (lambda: hier.LinearChain([([[math.nan]], [0.0], [[1.0]])]), ValueError, "NaN"),
        (lambda: hier.LinearChain([([[1.0, 1.0]], [0.0], [[1.0]]), ([[1.0]], [0.0], [[1.0]])]), ValueError, "weight"),
        (lambda: hier.LinearChain([([[1.0]], [0.0], [[-1.0]])]), ValueError, "not symmetric positive definite"),
        (lambda: hier.LinearChain([(FLAT, [0.0, 0.0], [[2.0, 1.0], [0.0, 1.0]])]), ValueError, "not symmetric pos"),
        (lambda: hier.push(STEP, f64(0.0), FLAT), ValueError, "cov has shape (2, 2), expected (1, 1)"),
        (lambda: hier.push(STEP, f64(0.0), FLAT[:1, :1]), ValueError, "mean has shape (1,), expected (2,)"),
        (lambda: hier.combine((FLAT, FLAT), (FLAT, FLAT[:1])), ValueError, "second[1] has shape (1, 2), expected"),
        (lambda: hier.combine((FLAT,), (FLAT, FLAT)), ValueError, "first has 1 entries, expected 2"),
        (lambda: hier.push(STEP, f64(0.0, 0.0), FLAT[:1]), ValueError, "cov has shape (1, 2), expected"),
        (lambda: hier.push(STEP._replace(shift=f64(0.0)), ORIGIN, FLAT), ValueError, "shift has shape (1,), exp"),
        (lambda: hier.push(STEP._replace(cov=FLAT[:1]), ORIGIN, FLAT), ValueError, "kernel_cov has shape"),
        (lambda: hier.reverse(STEP._replace(cov=0 * FLAT), f64(0.0, 0.0), FLAT), ValueError, "the cov of b is not sym"),
        (lambda: hier.turned([]), ValueError, "upwards is empty"),
        (lambda: hier.linear_terms(chain, UPWARDS, X), ValueError, "weight has shape"),
        (lambda: hier.linear_terms(chain, hier.turned(UPWARDS), X * math.nan), ValueError, "x has"),
        (lambda: hier.elbo(model, 16 * bits()), ValueError, "x has values from 0 to 16, expected whole"),
        (lambda: model.log_prob_is(0.5 * bits(), 2), ValueError, "x has values between whole numbers"),
        (lambda: chain.log_prob(X[:, :2]), ValueError, "x has shape"),
        (lambda: chain.sample(0), ValueError, "n is 0"),
        (lambda: chain.sample(1.5), TypeError, "n is 1.5"),
        (lambda: hier.linear_terms(chain, hier.turned(UPWARDS), X[0]), ValueError, "x has shape"),
        (lambda: hier.linear_terms(chain, hier.turned(UPWARDS), X[:, :2]), ValueError, "x has shape"),
        (lambda: hier.linear_terms(chain, UPWARDS[:1], X), ValueError, "encoder has 1 layers"),
        (lambda: hier.floored(RATES, -1.0), ValueError, "floor is -1"),
        (lambda: hier.floored(RATES[0], 1.0), ValueError, "rates has shape"),
        (lambda: hier.WarmUp(0), ValueError, "n_calls is 0"),
        (lambda: hier.WarmUp(2.0), TypeError, "n_calls is 2.0"),
        (lambda: hier.HierarchicalVAE(6, (), ()), ValueError, "latents has 0"),
        (lambda: hier.HierarchicalVAE(6, (2, 3), (5,)), ValueError, "latents has 2 and hidden 1"),
        (lambda: hier.HierarchicalVAE(0, (2,), (5,)), ValueError, "d is 0"),
        (lambda: hier.HierarchicalVAE(6, (0,), (5,)), ValueError, "latents is 0"),
        (lambda: hier.HierarchicalVAE(6, (2,), (5,), inference="up"), ValueError, "inference is 'up'"),
        (lambda: model.infer(bits(d=5)), ValueError, "x has shape"),
        (lambda: model.infer(bits().long()), TypeError, "x has dtype"),
        (lambda: model.infer(bits(), 0), ValueError, "n_samples is 0"),
        (lambda: model.infer(bits(), widen=0.0), ValueError, "widen is 0.0"),
        (lambda: model.log_prob_is(bits(), 0), ValueError, "n_samples is 0"),
        (lambda: model.log_prob_is(bits(), 2, chunk=0), ValueError, "chunk is 0"),
        (lambda: model.log_likelihood(bits(), bits()), ValueError, "z has shape"),
        (lambda: model.pixel_means(bits()), ValueError, "z has shape"),
        (lambda: model.sample(0), ValueError, "n is 0"),
        (lambda: model.sample_latents(2, bits(2)), ValueError, "top has shape"),
        (lambda: hier.elbo(model, bits(), beta=-1.0), ValueError, "beta is -1.0"),
        (lambda: hier.elbo(model, bits(), floor=-1.0), ValueError, "floor is -1.0"),
        (lambda: hier.elbo_terms(model, bits(d=7)), ValueError, "x has shape"),
        (lambda: hier.log_weights(model, bits(), 0), ValueError, "n_samples is 0"),
        (lambda: hier.unit_statistics(model, bits()[0]), ValueError, "x has shape"),
        (lambda: hier.unit_statistics(model, bits(), batch_size=0), ValueError, "batch_size is 0"),
    )  # fmt: skip
    for call, kind, sentence in cases:
        with pytest.raises(kind, match=re.escape(sentence)):
            call()


def test_what_is_not_given_to_a_model():
    model = hier.HierarchicalVAE(3)
    assert model.latents == (100, 50) and model.inference == "top_down"
    assert [head.in_features for head in model.heads] == [400, 200] and isinstance(model.up[0][1], torch.nn.ReLU)
    model, x = small(), bits(3)
    for ours, theirs in zip(
        hier.unit_statistics(model, x, generator=rng(1)),
        hier.unit_statistics(model, x, 10, batch_size=100, generator=rng(1)),
        strict=True,
    ):
        close(torch.cat(ours), torch.cat(theirs))
    close(model.log_prob_is(x, 60, generator=rng(2)), model.log_prob_is(x, 60, chunk=50, generator=rng(2)))
    assert model.infer(x, generator=rng(3))[0].z.shape == (1, 3, 2)
