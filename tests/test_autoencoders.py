"""Autoencoders: eigen-decompositions, enumeration, quadrature and autograd against what the module says."""

import copy
import io
import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from exact import close, f64, normal, rng
from torch import nn

from dgmlib import autoencoders as ae
from dgmlib import mixtures as mix
from dgmlib.bugs.autoencoders import SUBJECTS
from dgmlib.worlds import Circle, GaussianMixture

VARIANCES = f64(5.0, 3.0, 1.0, 0.5, 0.1)
AXES = torch.linalg.qr(normal(5, 5, seed=9))[0]
COV = AXES @ torch.diag(VARIANCES) @ AXES.mT


def linear(decoder, encoder):
    """x -> U V x as an `Autoencoder`."""
    pair = ae.Autoencoder(*(nn.Linear(*w.shape[::-1], bias=False).double() for w in (encoder, decoder)))
    pair.encoder.weight.data, pair.decoder.weight.data = encoder.clone(), decoder.clone()
    return pair


def sigmoid_layer(d=4, k=3, seed=0):
    layer = nn.Sequential(nn.Linear(d, k), nn.Sigmoid()).double().requires_grad_(False)
    layer[0].weight.copy_(normal(k, d, seed=seed))
    layer[0].bias.copy_(normal(k, seed=seed + 1))
    return layer


def curvatures(loss, decoder, encoder):
    """Eigenvalues of the Hessian of loss(decoder, encoder)."""

    def flat(theta):
        return loss(theta[: decoder.numel()].view_as(decoder), theta[decoder.numel() :].view_as(encoder))

    return torch.linalg.eigvalsh(torch.func.hessian(flat)(torch.cat([decoder.flatten(), encoder.flatten()])))


# --- the linear autoencoder -----------------------------------------------------------------------------------------


@pytest.mark.equation("eq-ae-pca")
def test_principal_axes_are_orthonormal_ordered_and_rebuild_the_covariance():
    variances, axes = ae.principal_axes(COV)
    close(variances, VARIANCES)
    close(axes.mT @ axes, torch.eye(5))
    close(axes @ torch.diag(variances) @ axes.mT, COV)
    assert ae.principal_axes(COV.float())[1].dtype == torch.float32
    askew = torch.zeros(5, 5).double()
    askew[0, 1] = float(COV.abs().max())
    close(ae.principal_axes(COV + 0.9e-5 * askew)[0], VARIANCES, 1e-4)  # rounding in single precision passes
    with pytest.raises(ValueError, match="asymmetric"):
        ae.principal_axes(COV + 1.1e-5 * askew)


@pytest.mark.equation("eq-ae-linear-loss")
@pytest.mark.notes("N0-049", "N0-050")
def test_linear_loss_is_the_mean_reconstruction_error_and_its_gradient_the_formula():
    x, decoder, encoder = normal(60, 5), normal(5, 2, seed=1), normal(2, 5, seed=2)
    cov = x.mT @ x / 60
    close(ae.linear_loss(decoder, encoder, cov), ae.reconstruction_error(linear(decoder, encoder), x).mean())
    residual = torch.eye(5) - decoder @ encoder
    slopes = torch.func.grad(ae.linear_loss, argnums=(0, 1))(decoder, encoder, cov)
    close(slopes[0], -2 * residual @ cov @ encoder.mT)
    close(slopes[1], -2 * decoder.mT @ residual @ cov)
    wide = normal(5, 7, seed=3)
    close(ae.linear_loss(wide, torch.linalg.pinv(wide), cov), 0.0)
    assert ae.linear_loss(decoder.float(), encoder.float(), cov.float()).dtype == torch.float32


@pytest.mark.equation("eq-ae-critical")
@pytest.mark.notes("N0-051", "N0-048", "E0-19", "H0-09")
def test_every_choice_of_axes_is_critical_and_all_but_the_first_are_saddles():
    loss = lambda decoder, encoder: ae.linear_loss(decoder, encoder, COV)  # noqa: E731
    for which in itertools.combinations(range(5), 2):
        mixing = normal(2, 2, seed=sum(which))
        decoder, encoder = ae.critical_point(COV, which, mixing)
        close(encoder @ decoder, torch.eye(2), atol=1e-9)
        close(loss(decoder, encoder), VARIANCES.sum() - VARIANCES[list(which)].sum(), atol=1e-9)
        for slope in torch.func.grad(loss, argnums=(0, 1))(decoder, encoder):
            close(slope, torch.zeros_like(slope), atol=1e-8)
        spectrum = curvatures(loss, *ae.critical_point(COV, which))
        missed = sum(m < j for j in which for m in range(5) if m not in which)
        assert int((spectrum < -1e-9).sum()) == missed
        assert int((spectrum.abs() < 1e-9).sum()) == 4


@pytest.mark.equation("eq-ae-flat")
@pytest.mark.notes("E0-19")
def test_decay_and_nesting_break_the_symmetry_to_rotations_and_to_scales():
    k, decay = 3, 0.2
    squares = lambda decoder, encoder: decay * (decoder.square().sum() + encoder.square().sum())  # noqa: E731
    best = ae.decayed_optimum(COV, k, decay)
    cases = [
        (lambda u, v: ae.linear_loss(u, v, COV), ae.critical_point(COV, range(k)), k * k),
        (lambda u, v: ae.linear_loss(u, v, COV) + squares(u, v), (best, best.mT), k * (k - 1) // 2),
        (lambda u, v: ae.nested_loss(u, v, COV), ae.critical_point(COV, range(k)), k),
    ]
    for loss, point, flat in cases:
        for slope in torch.func.grad(loss, argnums=(0, 1))(*point):
            close(slope, torch.zeros_like(slope), atol=1e-9)
        spectrum = curvatures(loss, *point)
        assert int((spectrum.abs() < 1e-9).sum()) == flat and spectrum.min() > -1e-9


@pytest.mark.equation("eq-ae-decay")
def test_decayed_optimum_shrinks_by_the_formula_and_drops_what_is_narrower_than_the_decay():
    best = ae.decayed_optimum(COV, 5, 0.7)
    close(best.norm(dim=0), (1 - 0.7 / VARIANCES).clamp(min=0).sqrt())
    close(ae.decayed_optimum(COV, 2, 0.0) @ ae.decayed_optimum(COV, 2, 0.0).mT, AXES[:, :2] @ AXES[:, :2].mT)
    flat = torch.diag(f64(1.0, 0.0))
    assert ae.decayed_optimum(flat, 2, 0.5).isfinite().all()


@pytest.mark.equation("eq-ae-nested")
def test_nested_loss_is_the_mean_over_prefixes():
    decoder, encoder = normal(5, 3, seed=4), normal(3, 5, seed=5)
    residuals = [torch.eye(5) - decoder[:, :j] @ encoder[:j] for j in (1, 2, 3)]
    close(ae.nested_loss(decoder, encoder, COV), sum(torch.trace(r @ COV @ r.mT) for r in residuals) / 3)


@pytest.mark.equation("eq-ae-angles")
def test_principal_angles_are_scipys_and_see_spaces_not_columns():
    a, b = normal(6, 3), normal(6, 3, seed=1)
    close(ae.principal_angles(a, b), np.sort(scipy.linalg.subspace_angles(a.numpy(), b.numpy())))
    close(ae.principal_angles(a, a @ normal(3, 3, seed=2)), torch.zeros(3), atol=1e-12)
    tiny = a + 1e-9 * b
    assert 0 < float(ae.principal_angles(a, tiny)[-1]) < 1e-8
    close(ae.principal_angles(f64((1.0,), (0.0,)), f64((0.0,), (-2.0,))), f64(math.pi / 2))
    assert (ae.principal_angles(a, b).diff() >= 0).all()


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-ae-two-layer")
@pytest.mark.notes("N0-042", "N0-045", "N2-012", "N3-044", "E3-012", "N4-081")
def test_dense_autoencoder_has_its_layers_where_they_belong():
    model = ae.dense_autoencoder([6, 5, 2], nn.Tanh, nn.Sigmoid).double()
    kinds = [type(part).__name__ for half in (model.encoder, model.decoder) for part in half]
    assert kinds == ["Linear", "Tanh", "Linear", "Sigmoid", "Linear", "Tanh", "Linear"]
    defaults = ae.dense_autoencoder([6, 5, 2])
    kinds = [type(part).__name__ for half in (defaults.encoder, defaults.decoder) for part in half]
    assert kinds == ["Linear", "ReLU", "Linear", "Identity", "Linear", "ReLU", "Linear"]
    x = normal(7, 6)
    codes = model.encode(x)
    assert codes.shape == (7, 2) and ((codes > 0) & (codes < 1)).all()
    assert torch.equal(model(x), model.decode(codes)) and model(x).shape == (7, 6)
    one, _, two, _ = model.encoder
    merged = torch.sigmoid(x @ (two.weight @ one.weight).mT + two.weight @ one.bias + two.bias)
    assert (merged - codes).abs().max() > 1e-2


@pytest.mark.parametrize("k", [2, 9])
def test_every_parameter_learns_the_state_survives_and_the_model_runs_on_the_meta_device(k):
    make = lambda: ae.dense_autoencoder([6, 5, k])  # noqa: E731
    model, twin, x = make(), make(), torch.randn(11, 6, generator=rng())
    ae.denoising_error(model, x, 0.3, generator=rng(1)).mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all() and (p.grad != 0).any(), name
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model(x), twin(x))
    model, far = model.to("meta"), x.to("meta")
    assert ae.reconstruction_error(model, far).shape == (11,)
    assert ae.denoising_error(model, far, 0.3).shape == (11,)
    assert ae.contraction(model.encode, far).shape == (11,)


@pytest.mark.equation("eq-ae-lipschitz")
@pytest.mark.notes("N0-059", "N0-061", "E0-20")
def test_no_pair_of_inputs_is_stretched_beyond_the_bound_and_a_linear_map_attains_it():
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    a, b = normal(500, 4), normal(500, 4, seed=1)
    slopes = (net(a) - net(b)).norm(dim=1) / (a - b).norm(dim=1)
    assert slopes.max() < ae.lipschitz_bound(net)
    plain = nn.Sequential(nn.Linear(4, 3)).double()
    close(ae.lipschitz_bound(plain), torch.linalg.svdvals(plain[0].weight)[0])
    singular = [torch.linalg.svdvals(net[i].weight)[0] for i in (0, 2)]
    close(ae.lipschitz_bound(net), singular[0] * singular[1])


@pytest.mark.equation("eq-ae-index")
@pytest.mark.notes("N0-046", "N2-011", "N0-063", "E0-18", "E0-22", "E2-04")
def test_the_index_code_is_perfect_on_its_list_and_lost_off_it():
    examples, fresh = torch.rand(50, 40, generator=rng()).double(), torch.rand(50, 40, generator=rng(1)).double()
    for shuffled in (examples, examples[torch.randperm(50, generator=rng(2))]):
        code = ae.IndexCode(shuffled)
        assert torch.equal(code.decode(code.encode(examples)), examples)
    close(ae.IndexCode(examples).encode(examples)[:, 0], torch.arange(50.0))
    remembered = (code.decode(code.encode(fresh)) - fresh).square().sum(1).mean()
    assert remembered > 1.2 * (examples.mean(0) - fresh).square().sum(1).mean()
    code = ae.IndexCode(examples)
    close(code.decode(f64((3.25,), (48.5,))), torch.lerp(examples[[3, 48]], examples[[4, 49]], f64((0.25,), (0.5,))))
    close(code.decode(f64((-2.0,), (49.0,), (99.0,))), examples[[0, 49, 49]])
    single = ae.IndexCode(examples[:2].float())
    assert single.encode(fresh.float()).dtype == single.decode(torch.tensor([[0.5]])).dtype == torch.float32
    close(single.decode(torch.tensor([[1.0]])).double(), examples[1:2].float().double())


@pytest.mark.notes("E0-22")
def test_noise_in_the_code_costs_reconstruction():
    """The optimum of a one-dimensional linear VAE, by quadrature, beside the plain autoencoder's 0."""
    nodes, mass = (torch.tensor(part) for part in np.polynomial.hermite_e.hermegauss(20))
    mass = mass / mass.sum()
    x, noise = torch.meshgrid(2 * nodes, 0.5 * nodes, indexing="ij")
    w = math.sqrt(3)
    close(mass @ (x - w * (w / 4 * x + noise)).square() @ mass, 1.0)


@pytest.mark.notes("E0-20b", "N0-058")
def test_with_few_points_training_error_says_nothing():
    """Five standard errors of 4,000 sets of 5 points in 12 dimensions: fails by chance with probability 6e-7."""
    d, n = 12, 5
    sets = normal(4000, n + 1, d)
    seen, new = sets[:, :n], sets[:, n]
    centre = seen.mean(1, keepdim=True)
    basis = torch.linalg.qr((seen - centre)[:, : n - 1].mT)[0]
    for points, error in ((seen - centre, 0.0), (new[:, None] - centre, (1 + 1 / n) * (d - n + 1))):
        missed = (points - points @ basis @ basis.mT).square().sum(2).flatten()
        assert abs(missed.mean() - error) < 5 * missed.std() / math.sqrt(4000) + 1e-12


# --- objectives -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-ae-loss")
@pytest.mark.notes("N2-013")
def test_reconstruction_error_sums_over_coordinates():
    model, x = ae.dense_autoencoder([4, 2]).double(), normal(6, 4)
    close(ae.reconstruction_error(model, x), torch.stack([(row - model(row[None])[0]).square().sum() for row in x]))


@pytest.mark.equation("eq-ae-denoising")
@pytest.mark.notes("N4-082", "N0-043")
def test_denoising_error_spoils_the_input_and_compares_with_the_clean():
    model, x = ae.dense_autoencoder([4, 7]).double(), normal(6, 4)
    noise = torch.randn(6, 4, generator=rng(3), dtype=torch.float64)
    close(ae.denoising_error(model, x, 0.7, generator=rng(3)), (x - model(x + 0.7 * noise)).square().sum(1))
    close(ae.denoising_error(model, x, 0.0), ae.reconstruction_error(model, x))
    close(ae.denoising_error(nn.Identity(), x, 0.7, generator=rng(3)), 0.49 * noise.square().sum(1))


@pytest.mark.equation("eq-ae-wiener")
@pytest.mark.notes("E0-17", "N0-043", "N0-053")
def test_the_wiener_filter_is_the_least_squares_map_and_its_residual_the_score():
    """The sampled error is within 5 standard errors of the formula: fails by chance with probability 6e-7."""
    sigma = 0.7
    filtered = ae.wiener_filter(COV, sigma)
    close(filtered, AXES @ torch.diag(VARIANCES / (VARIANCES + 0.49)) @ AXES.mT)
    population = lambda w: ae.linear_loss(w, torch.eye(5).double(), COV) + 0.49 * w.square().sum()  # noqa: E731
    close(torch.func.grad(population)(filtered), torch.zeros(5, 5))
    close(population(filtered), 0.49 * filtered.trace())
    x = normal(3, 5)
    close((x @ filtered.mT - x) / 0.49, -x @ torch.linalg.inv(COV + 0.49 * torch.eye(5).double()))
    root = torch.linalg.cholesky(COV)
    clean = normal(200_000, 5, seed=1) @ root.mT
    sampled = ae.denoising_error(linear(filtered, torch.eye(5).double()), clean, sigma, generator=rng(2))
    assert abs(sampled.mean() - 0.49 * filtered.trace()) < 5 * sampled.std() / math.sqrt(200_000)
    identity = ae.denoising_error(nn.Identity(), clean, sigma, generator=rng(2))
    assert identity.mean() > 1.2 * sampled.mean()


@pytest.mark.equation("eq-ae-tweedie")
@pytest.mark.notes("N0-060", "E0-21", "N4-082")
def test_the_residual_of_the_best_denoiser_is_the_score():
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.2], [1.5, 0.0]], [[[0.2, 0.0], [0.0, 0.1]], [[0.3, 0.1], [0.1, 0.2]]])
    x = normal(5, 2)
    noised = law.noised(1.0, 0.6)
    slope = torch.func.grad(lambda at: noised.log_prob(at).sum())(x)
    close((law.denoiser(x, 1.0, 0.6) - x) / 0.36, slope)
    circle = Circle(0.4)
    slope = torch.func.grad(lambda at: circle.log_prob(at).sum())(x)
    close((circle.denoiser(x) - x) / 0.16, slope)


@pytest.mark.notes("N4-082", "E0-17")
def test_a_wide_denoising_autoencoder_of_a_gaussian_learns_the_filter_not_the_identity():
    """Two units for one dimension more than the data have, trained in double precision on the population loss."""
    torch.manual_seed(0)
    cov, sigma = torch.diag(f64(4.0, 0.3)), 0.7
    decoder, encoder = (0.5 * normal(2, 3, seed=1)).requires_grad_(), (0.5 * normal(3, 2, seed=2)).requires_grad_()
    optimizer = torch.optim.LBFGS([decoder, encoder], max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        loss = ae.linear_loss(decoder, encoder, cov) + sigma**2 * (decoder @ encoder).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    close((decoder @ encoder).detach(), ae.wiener_filter(cov, sigma), atol=1e-5)
    assert (decoder @ encoder - torch.eye(2)).abs().max() > 0.1


@pytest.mark.equation("eq-ae-contraction")
@pytest.mark.notes("N4-084")
def test_contraction_is_the_frobenius_norm_of_autograds_jacobian_and_trains():
    layer, x = sigmoid_layer(), normal(6, 4, seed=3)
    jacobians = torch.stack([torch.autograd.functional.jacobian(layer, row) for row in x])
    close(ae.contraction(layer, x), jacobians.square().sum((1, 2)))
    close(ae.sigmoid_contraction(layer[0].weight, layer(x)), jacobians.square().sum((1, 2)))
    model = ae.dense_autoencoder([4, 5, 2], nn.Tanh).double()
    ae.contraction(model.encode, x).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters() if p.ndim == 2)
    assert (model.encoder[0].weight.grad != 0).any()


@pytest.mark.equation("eq-ae-small-noise")
@pytest.mark.notes("N4-084")
def test_denoising_with_little_noise_is_contraction_where_reconstruction_is_good():
    nodes, mass = (torch.tensor(part) for part in np.polynomial.hermite_e.hermegauss(12))
    mass = mass / mass.sum()
    grid, weight = torch.cartesian_prod(nodes, nodes), torch.outer(mass, mass).flatten()
    first, second = normal(6, 2), normal(2, 6, seed=1) / 3
    point = f64(0.6, -0.8)
    shift = point - torch.tanh(point[None] @ first.mT) @ second.mT  # makes the reconstruction at `point` exact
    for offset in (torch.zeros(1, 2).double(), shift):
        r = lambda x, offset=offset: torch.tanh(x @ first.mT) @ second.mT + offset  # noqa: E731
        mean = lambda s, r=r: weight @ (point - r(point + s * grid)).square().sum(1)  # noqa: E731
        slope = (8 * mean(0.02) - mean(0.04) / 2 - 7.5 * mean(0.0)) / (6 * 0.02**2)
        laplacian = torch.func.hessian(lambda v, r=r: r(v[None])[0])(point).diagonal(dim1=1, dim2=2).sum(1)
        stiffness = ae.contraction(r, point[None])[0]
        miss = (point - r(point[None])[0]) @ laplacian
        close(slope, stiffness - miss, atol=1e-4)
        assert offset.any() == (miss.abs() < 1e-12)


@pytest.mark.equation("eq-ae-sparsity-kl")
@pytest.mark.notes("N4-083")
def test_sparsity_kl_is_that_of_coins_and_judges_means_only():
    codes = torch.rand(30, 4, generator=rng(), dtype=torch.float64)
    coins = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(f64(0.1, 0.1, 0.1, 0.1)), torch.distributions.Bernoulli(codes.mean(0))
    )
    close(ae.sparsity_kl(codes, 0.1), coins.sum())
    loud = torch.zeros(10, 2).double()
    loud[0] = 1.0
    close(ae.sparsity_kl(loud, 0.1), 0.0)
    close(ae.sparsity_kl(torch.full((10, 2), 0.1).double(), 0.1), 0.0)


@pytest.mark.equation("eq-ae-l1")
@pytest.mark.notes("N4-083")
def test_l1_penalty_does_not_see_the_scale_of_a_code():
    codes, dictionary = normal(5, 3), normal(4, 3, seed=1)
    by_hand = sum(codes[:, j].abs() * dictionary[:, j].norm() for j in range(3))
    close(ae.l1_penalty(codes, dictionary), by_hand)
    scale = f64(0.1, 5.0, 2.0)
    close(ae.l1_penalty(codes / scale, dictionary * scale), by_hand)


@pytest.mark.notes("N4-083")
def test_l1_finds_a_planted_dictionary():
    """Eight orthonormal columns, each active one time in ten: found to a cosine of 0.95, as no mixture is."""
    torch.manual_seed(1)
    planted = torch.linalg.qr(torch.randn(8, 8, generator=rng(5)))[0]
    active = torch.rand(4000, 8, generator=rng(6)) * (torch.rand(4000, 8, generator=rng(7)) < 0.1)
    x = active @ planted.mT
    model = ae.dense_autoencoder([8, 8], code=nn.ReLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(600):
        optimizer.zero_grad()
        codes = model.encode(x)
        loss = (x - model.decode(codes)).square().sum(1) + 0.1 * ae.l1_penalty(codes, model.decoder[0].weight)
        loss.mean().backward()
        optimizer.step()
    columns = model.decoder[0].weight.detach()
    cosines = (columns / columns.norm(dim=0)).mT @ planted
    assert float(cosines.max(0).values.min()) > 0.95


# --- stacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-ae-greedy")
@pytest.mark.notes("N0-014", "N4-085", "E0-04")
def test_greedy_training_hands_codes_up_and_leaves_what_is_below_alone():
    x, seen = normal(20, 6), []

    def train(layer, inputs):
        seen.append((layer, inputs, copy.deepcopy(layer)))
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        ae.reconstruction_error(layer, inputs).mean().backward()
        optimizer.step()

    layers = ae.greedy_layers(x, [6, 5, 3], train)
    assert [layer for layer, _, _ in seen] == layers and torch.equal(seen[0][1], x)
    assert torch.equal(seen[1][1], layers[0].encode(x)) and not seen[1][1].requires_grad
    for layer, _, before in seen:
        assert all((p != q).any() for p, q in zip(layer.parameters(), before.parameters(), strict=True))
    close(seen[1][1], layers[0].encode(x).detach())  # the first layer has not moved since it was done
    tower = ae.stacked(layers)
    optimizer = torch.optim.SGD(tower.parameters(), lr=0.1)
    tower.zero_grad()
    before = [p.clone() for p in tower.parameters()]
    ae.reconstruction_error(tower, x).mean().backward()
    optimizer.step()
    assert all((p != q).any() for p, q in zip(tower.parameters(), before, strict=True))


@pytest.mark.equation("eq-ae-stacked")
def test_a_stack_goes_up_through_all_encoders_and_down_in_reverse():
    layers = ae.greedy_layers(normal(5, 6), [6, 5, 3, 2], lambda layer, inputs: None, nn.Tanh)
    tower, x = ae.stacked(layers), normal(4, 6, seed=1)
    up = layers[2].encode(layers[1].encode(layers[0].encode(x)))
    close(tower.encode(x), up)
    close(tower(x), layers[0].decode(layers[1].decode(layers[2].decode(up))))
    assert {id(p) for p in tower.parameters()} == {id(p) for layer in layers for p in layer.parameters()}
    assert isinstance(layers[0].encoder[-1], nn.Tanh) and layers[0].encoder[0].weight.dtype == torch.float64
    assert isinstance(ae.greedy_layers(normal(5, 6), [6, 2], lambda layer, inputs: None)[0].encoder[-1], nn.Sigmoid)


# --- laws of codes, and uses ----------------------------------------------------------------------------------------


@pytest.mark.equation("eq-ae-ex-post")
@pytest.mark.notes("N2-018", "E2-06", "N0-062", "N4-079", "N4-080", "E4-23")
def test_a_gaussian_on_linear_codes_gives_back_the_principal_part():
    x = normal(500, 5) @ torch.linalg.cholesky(COV).mT
    x = x - x.mean(0)
    variances, axes = ae.principal_axes(x.mT @ x / 500)
    fitted = mix.gaussians(x @ axes[:, :2], x[:1] @ axes[:, :2])
    drawn = axes[:, :2] @ fitted.full_covs()[0] @ axes[:, :2].mT
    close(drawn, axes[:, :2] @ torch.diag(variances[:2]) @ axes[:, :2].mT)
    assert (axes[:, :2] @ axes[:, :2].mT - drawn).abs().max() > 0.5


@pytest.mark.equation("eq-ae-wasserstein")
@pytest.mark.parametrize("seed", range(5))
def test_the_law_of_reconstructions_is_within_the_reconstruction_error(seed):
    """W_2 between Gaussians; PCA attains the bound."""

    def w2(a, b):
        root = scipy.linalg.sqrtm(a.numpy()).real
        return float(torch.trace(a + b)) - 2 * float(np.trace(scipy.linalg.sqrtm(root @ b.numpy() @ root).real))

    decoder, encoder = normal(5, 4, seed=seed), normal(4, 5, seed=seed + 10)
    carried = decoder @ encoder @ COV @ (decoder @ encoder).mT
    assert w2(COV, carried) <= float(ae.linear_loss(decoder, encoder, COV)) + 1e-6
    best = ae.critical_point(COV, range(3))
    projected = best[0] @ best[1]
    assert w2(COV, projected @ COV @ projected.mT) == pytest.approx(float(VARIANCES[3:].sum()), abs=1e-5)


@pytest.mark.equation("eq-ae-psnr")
def test_psnr_is_in_decibels_and_a_mean_over_pixels():
    x, y = f64((0.2, 0.6), (0.0, 1.0)), f64((0.1, 0.8), (0.0, 1.0))
    close(ae.psnr(x, y)[0], -10 * math.log10(0.025))
    assert ae.psnr(x, y)[1] == math.inf
    close(ae.psnr(255 * x, 255 * y, peak=255.0)[0], -10 * math.log10(0.025))


@pytest.mark.equation("eq-ae-bits")
@pytest.mark.notes("N0-056", "N2-015")
def test_code_lengths_are_those_of_a_code_and_stay_finite_far_out():
    mean, std, step = f64(0.3, -0.2), f64(1.2, 0.4), 0.5
    codes = 2 * normal(6, 2)
    cell = (codes / step).round() * step
    cdf = lambda at: torch.tensor(scipy.stats.norm.cdf((at - mean) / std))  # noqa: E731
    close(ae.code_length(codes, mean, std, step), -(cdf(cell + step / 2) - cdf(cell - step / 2)).log2().sum(1))
    every = torch.arange(-60, 61.0).double()[:, None] * step
    close((2.0 ** -ae.code_length(every, mean[:1], std[:1], step)).sum(), 1.0)
    far = ae.code_length(f64((60.0, -60.0)), mean, std, step)
    assert far.isfinite().all() and far > 1000
    close(ae.code_length(2 * mean - codes, mean, std, 0.01), ae.code_length(codes, mean, std, 0.01), atol=0.2)


@pytest.mark.equation("eq-ae-bits")
@pytest.mark.parametrize("step", [0.5, 2e-3, 1e-3, 5e-4, 1e-7, 1e-14])
def test_code_lengths_hold_for_cells_of_any_width(step):
    """By quadrature over the cell, whose ends no distribution function tells apart when it is narrow."""
    mean, std, codes = f64(0.3, -0.2, 0.0), f64(1.2, 0.4, 1.0), f64((0.1, 1.5, -6.0), (0.9, -0.7, 20.0))
    nodes, weights = (torch.tensor(part) for part in np.polynomial.legendre.leggauss(40))
    points = (codes / step).round() * step + step / 2 * nodes[:, None, None]
    log_density = torch.tensor(scipy.stats.norm.logpdf(points, mean, std)) + math.log(step / 2)
    exact = -(log_density + weights.log()[:, None, None]).logsumexp(0).sum(1) / math.log(2)
    close(ae.code_length(codes, mean, std, step), exact, atol=2e-9)
    single = ae.code_length(codes.float(), mean.float(), std.float(), max(step, 1e-7))
    assert single.dtype == torch.float32 and single.isfinite().all()
    if step == 1e-7:
        close(single, exact, rtol=1e-4)


@pytest.mark.equation("eq-ae-invariance")
@pytest.mark.notes("N2-016", "E2-05", "H2-04")
def test_what_an_invariant_code_costs():
    x = normal(7, 3)
    close(ae.orbit_variance(torch.stack([x, -x], 1)), x.square().sum(1))
    orbits = normal(7, 4, 3, seed=1)
    for answer in (orbits[:, 0], orbits[:, 1] + 0.3, normal(7, 3, seed=2)):
        paid = (orbits - answer[:, None]).square().sum(2).mean(1)
        assert (ae.orbit_variance(orbits) <= paid + 1e-12).all()
    by_hand = sum((orbits[:, i] - orbits.mean(1)).square().sum(1) for i in range(4)) / 4
    close(ae.orbit_variance(orbits), by_hand)


@pytest.mark.notes("N2-017")
def test_principal_codes_say_nothing_twice_and_mixed_ones_do():
    def total_correlation(cov):
        scale = cov.diagonal().rsqrt()
        return -0.5 * torch.logdet(scale[:, None] * cov * scale)

    axes = ae.principal_axes(COV)[1]
    close(total_correlation(axes.mT @ COV @ axes), 0.0)
    mixed = ae.critical_point(COV, (0, 1), f64((1.0, -1.0), (0.0, 1.0)))[1]
    assert total_correlation(mixed @ COV @ mixed.mT) > 0.1


@pytest.mark.notes("N0-047")
def test_one_number_on_an_arc_beats_the_best_line_fivefold():
    torch.manual_seed(0)
    theta = 4 * torch.rand(500, generator=rng()) - 2
    arc = torch.stack([theta.cos(), theta.sin()], 1)
    model = ae.dense_autoencoder([2, 32, 32, 1], nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(500):
        optimizer.zero_grad()
        ae.reconstruction_error(model, arc).mean().backward()
        optimizer.step()
    centred = arc - arc.mean(0)
    line = ae.principal_axes(centred.mT @ centred / 500)[0][1]
    assert ae.reconstruction_error(model, arc).mean() < line / 5
    assert abs(scipy.stats.spearmanr(theta, model.encode(arc).detach()[:, 0]).statistic) > 0.95


# --- known bugs and bad input ---------------------------------------------------------------------------------------


def test_a_noisy_target_makes_the_identity_best():
    x = normal(9, 3)
    known = next(subject for subject in SUBJECTS if subject.name == "denoising-error")
    wrong = next(bug.wrong for bug in known.bugs if bug.id == "denoise-noisy-target")
    close(wrong(torch.eye(3).double(), x, 0.5, rng()), torch.zeros(9))
    assert (known.right(torch.eye(3).double(), x, 0.5, rng()) > 0.01).all()


SQUARE, TALL = torch.eye(3).double(), torch.ones(3, 2).double()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: ae.principal_axes(TALL), ValueError, "cov has shape"),
        (lambda: ae.principal_axes(f64((1.0, 2.0), (0.0, 1.0))), ValueError, "asymmetric"),
        (lambda: ae.principal_axes(f64((math.nan,))), ValueError, "NaN"),
        (lambda: ae.principal_axes([[1.0]]), TypeError, "cov is a list"),
        (lambda: ae.linear_loss(TALL, TALL, SQUARE), ValueError, "encoder has shape"),
        (lambda: ae.linear_loss(TALL, TALL.mT, TALL), ValueError, "cov has shape"),
        (lambda: ae.linear_loss(TALL[0], TALL.mT, SQUARE), ValueError, "decoder has shape"),
        (lambda: ae.nested_loss(TALL, TALL, SQUARE), ValueError, "encoder has shape"),
        (lambda: ae.nested_loss(TALL[0], TALL, SQUARE), ValueError, "decoder has shape"),
        (lambda: ae.critical_point(SQUARE, [0, 0]), ValueError, "which is"),
        (lambda: ae.critical_point(SQUARE, [3]), ValueError, "which is"),
        (lambda: ae.critical_point(SQUARE, []), ValueError, "which is"),
        (lambda: ae.critical_point(SQUARE, [0, 1], SQUARE), ValueError, "mixing has shape"),
        (lambda: ae.decayed_optimum(SQUARE, 4, 0.1), ValueError, "k is 4"),
        (lambda: ae.decayed_optimum(SQUARE, 2, -0.1), ValueError, "decay is"),
        (lambda: ae.decayed_optimum(SQUARE, 0, 0.1), ValueError, "k is 0"),
        (lambda: ae.principal_angles(TALL, SQUARE), ValueError, "b has shape"),
        (lambda: ae.principal_angles(TALL, SQUARE[:, :2]), ValueError, "a has linearly dependent"),
        (lambda: ae.principal_angles(SQUARE[:, :2], TALL), ValueError, "b has linearly dependent"),
        (lambda: ae.Autoencoder(nn.Identity(), len), TypeError, "decoder is a"),
        (lambda: ae.Autoencoder(len, nn.Identity()), TypeError, "encoder is a"),
        (lambda: ae.dense_autoencoder([4]), ValueError, "sizes is"),
        (lambda: ae.dense_autoencoder([4, 0]), ValueError, "sizes is 0"),
        (lambda: ae.dense_autoencoder([4, 2]).encode(torch.ones(4)), ValueError, "x has shape"),
        (lambda: ae.dense_autoencoder([4, 2]).encode(torch.ones(2, 4).int()), TypeError, "x has dtype"),
        (lambda: ae.dense_autoencoder([4, 2]).decode(torch.ones(0, 2)), ValueError, "z has shape"),
        (lambda: ae.lipschitz_bound(nn.Tanh()), ValueError, "no nn.Linear"),
        (lambda: ae.lipschitz_bound(nn.Sequential()), ValueError, "no nn.Linear"),
        (lambda: ae.IndexCode(torch.ones(1, 3)), ValueError, "number of examples"),
        (lambda: ae.IndexCode(torch.full((3, 3), math.nan)), ValueError, "NaN"),
        (lambda: ae.IndexCode(SQUARE).encode(torch.ones(2, 4).double()), ValueError, "x has shape"),
        (lambda: ae.IndexCode(SQUARE).decode(torch.ones(2, 2).double()), ValueError, "z has shape"),
        (lambda: ae.reconstruction_error(nn.Identity(), torch.ones(3)), ValueError, "x has shape"),
        (lambda: ae.reconstruction_error(nn.Identity(), torch.ones(3, 2).int()), TypeError, "x has dtype"),
        (lambda: ae.denoising_error(nn.Identity(), SQUARE, -1.0), ValueError, "noise_std is"),
        (lambda: ae.denoising_error(nn.Identity(), torch.ones(3), 1.0), ValueError, "x has shape"),
        (lambda: ae.contraction(nn.Identity(), torch.ones(3)), ValueError, "x has shape"),
        (lambda: ae.contraction(nn.Identity(), torch.ones(3, 2).int()), TypeError, "x has dtype"),
        (lambda: ae.sigmoid_contraction(TALL, TALL), ValueError, "codes has shape"),
        (lambda: ae.sigmoid_contraction(TALL[0], TALL), ValueError, "weight has shape"),
        (lambda: ae.sparsity_kl(SQUARE, 0.0), ValueError, "rate is"),
        (lambda: ae.sparsity_kl(SQUARE, 1.0), ValueError, "rate is"),
        (lambda: ae.sparsity_kl(SQUARE[0], 0.1), ValueError, "codes has shape"),
        (lambda: ae.l1_penalty(TALL, SQUARE), ValueError, "dictionary has shape"),
        (lambda: ae.l1_penalty(SQUARE, SQUARE[0]), ValueError, "dictionary has shape"),
        (lambda: ae.greedy_layers(SQUARE, [3], lambda *_: None), ValueError, "sizes is"),
        (lambda: ae.greedy_layers(SQUARE, [], lambda *_: None), ValueError, "x has shape"),
        (lambda: ae.greedy_layers(SQUARE, [4, 2], lambda *_: None), ValueError, "x has shape"),
        (lambda: ae.stacked([]), ValueError, "layers is empty"),
        (lambda: ae.stacked(()), ValueError, "layers is empty"),
        (lambda: ae.wiener_filter(SQUARE, 0.0), ValueError, "noise_std is"),
        (lambda: ae.wiener_filter(TALL, 1.0), ValueError, "cov has shape"),
        (lambda: ae.psnr(SQUARE, TALL), ValueError, "y has shape"),
        (lambda: ae.psnr(SQUARE, SQUARE, peak=0.0), ValueError, "peak is"),
        (lambda: ae.code_length(TALL, f64(0.0), f64(1.0, 1.0), 1.0), ValueError, "mean has shape"),
        (lambda: ae.code_length(TALL, f64(0.0, 0.0), f64(1.0), 1.0), ValueError, "std has shape"),
        (lambda: ae.code_length(TALL, f64(0.0, 0.0), f64(1.0, 0.0), 1.0), ValueError, "smallest std"),
        (lambda: ae.code_length(TALL, f64(0.0, 0.0), f64(1.0, 1.0), 0.0), ValueError, "step is"),
        (lambda: ae.orbit_variance(TALL), ValueError, "orbits has shape"),
        (lambda: ae.critical_point(SQUARE, (0, 1), torch.ones(2, 2).double()), ValueError, "^mixing is singular"),
        (lambda: ae.principal_angles(SQUARE, SQUARE / 0), ValueError, "^b has .* NaN"),
        (lambda: ae.wiener_filter(SQUARE / 0, 1.0), ValueError, "^cov has .* NaN"),
        (lambda: ae.IndexCode(TALL).encode(TALL / 0), ValueError, "^x has .* NaN"),
        (lambda: ae.IndexCode(TALL).decode(TALL[:, :1] / 0), ValueError, "^z has .* NaN"),
        (lambda: ae.reconstruction_error(lambda x: x[:, :1], TALL), ValueError, r"^model\(x\) has shape"),
        (lambda: ae.denoising_error(lambda x: x[:, 0], TALL, 0.1), ValueError, r"^model\(x\) has shape"),
        (lambda: ae.contraction(lambda x: x[:, 0], TALL), ValueError, r"^encoder\(x\) has shape"),
        (lambda: ae.contraction(torch.relu, TALL / 0), ValueError, "^x has .* NaN"),
        (lambda: ae.dense_autoencoder([3, 2])(SQUARE), TypeError, "^x has dtype torch.float64, expected torch.float32"),
        (lambda: ae.dense_autoencoder([3, 2]).double()(TALL), ValueError, r"^x has shape \(3, 2\), expected"),
        (lambda: ae.orbit_variance(torch.ones(2, 3, 4).int()), TypeError, "orbits has dtype"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, error, says, untyped):
    with pytest.raises(error, match=says) as refusal:
        call()
    assert "\n" not in str(refusal.value)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_objectives_run_on_a_gpu():
    model, x = ae.dense_autoencoder([6, 4, 2], code=nn.Sigmoid).cuda(), torch.randn(5, 6, device="cuda")
    noise = torch.Generator("cuda").manual_seed(0)
    for value in (
        ae.reconstruction_error(model, x),
        ae.denoising_error(model, x, 0.1, generator=noise),
        ae.contraction(model.encode, x),
        ae.sparsity_kl(model.encode(x), 0.1),
        ae.IndexCode(x).decode(ae.IndexCode(x).encode(x)),
        ae.wiener_filter(x.mT @ x, 0.1),
    ):
        assert value.is_cuda and value.isfinite().all()
