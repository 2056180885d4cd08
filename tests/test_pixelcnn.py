"""Masked convolutions as densities of images: sums over all of them, gradients that are exactly zero, equal samples."""

import itertools
import math
from functools import partial

import pytest
import torch
from exact import close, f64, rng
from torch.distributions import TransformedDistribution, Uniform
from torch.distributions.transforms import AffineTransform, SigmoidTransform

from dgmlib import core, pixelcnn
from dgmlib.pixelcnn import CopyRule, GatedPixelCNN, MaskedConv2d, PixelCNN, receptive_field
from dgmlib.sequential import jacobi_sample, naive_sample


def made(kind, *args, seed=0, **options):
    torch.manual_seed(seed)
    return kind(*args, **options).double()


def every_image(channels, height, width, levels=2):
    return f64(*itertools.product(range(levels), repeat=channels * height * width)).view(-1, channels, height, width)


def past(height, width, row, column):
    place = torch.arange(height * width).view(height, width)
    return (place < place[row, column]).double()


# --- masks ----------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mask")
@pytest.mark.notes("N3-052", "H3-12", "N4-024", "H4-13")
@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize(("rows", "columns", "channels"), [(3, 3, 1), (3, 5, 3), (1, 3, 3), (5, 1, 2)])
def test_a_mask_looks_up_and_left_and_at_its_centre_in_the_order_of_channels(rows, columns, channels, kind):
    c_in, c_out = 2 * channels, 3 * channels
    mask = pixelcnn.causal_mask(rows, columns, kind, c_in, c_out, channels)
    assert mask.shape == (c_out, c_in, rows, columns)
    for b, a, i, j in itertools.product(*map(range, mask.shape)):
        before = (i, j) < (rows // 2, columns // 2)
        at_centre = (i, j) == (rows // 2, columns // 2)
        ours, theirs = b // 3, a // 2
        assert mask[b, a, i, j] == (before or (at_centre and (theirs < ours or (kind == "B" and theirs == ours))))


@pytest.mark.notes("E3-016", "N4-023", "H4-12")
@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
def test_masked_networks_sum_to_one_and_unmasked_ones_do_not(kind):
    model, images = made(kind, (1, 2, 3), 6, 3), every_image(1, 2, 3)
    close(model.log_prob(images).exp().sum(), 1.0)
    for module in model.modules():
        if isinstance(module, MaskedConv2d):
            module.mask.fill_(1)
    assert abs(model.log_prob(images).exp().sum() - 1) > 0.01


def test_a_masked_convolution_is_a_convolution_with_a_masked_kernel():
    torch.manual_seed(0)
    conv = MaskedConv2d(2, 4, 3, 5, "B", 2).double()
    x = torch.randn(3, 2, 6, 7, generator=rng(), dtype=torch.float64)
    close(conv(x), torch.nn.functional.conv2d(x, conv.weight * conv.mask, conv.bias, padding=(1, 2)))
    assert "mask" not in conv.state_dict()


# --- the blind spot -------------------------------------------------------------------------------------------------


def plain_reach(height, width, row, column, depth, a):
    seen = torch.zeros(height, width, dtype=torch.float64)
    for r, c in itertools.product(range(row + 1), range(width)):
        j, m = row - r, c - column
        up, across = math.ceil(j / a), math.ceil(m / a)
        if j >= 1 and m >= 0:
            seen[r, c] = max(up, across) <= min(j, depth)
        elif m < 0:
            seen[r, c] = up <= depth and -m <= a * depth
    return seen


@pytest.mark.equation("eq-plain-reach")
@pytest.mark.notes("N3-053", "N4-024", "H3-12", "H4-13")
@pytest.mark.parametrize(("depth", "kernel", "count"), [(1, 3, 4), (2, 3, 11), (4, 3, 29), (8, 3, 47), (4, 5, 53)])
def test_the_blind_spot_is_where_it_was_proved_to_be(depth, kernel, count):
    seen = receptive_field(made(PixelCNN, (1, 9, 9), 6, depth, kernel=kernel), 6, 3)[0]
    assert torch.equal(seen, plain_reach(9, 9, 6, 3, depth, kernel // 2))
    assert seen.sum() == count < 57


@pytest.mark.notes("N4-024")
def test_twenty_one_pixels_are_unseen_in_the_middle_of_15_by_15():
    one, two = made(PixelCNN, (1, 15, 15), 4, 9), made(GatedPixelCNN, (1, 15, 15), 4, 9)
    before = past(15, 15, 7, 7)
    assert (before - receptive_field(one, 7, 7)[0]).sum() == 21
    assert torch.equal(receptive_field(two, 7, 7)[0], before)


@pytest.mark.equation("eq-gated-reach")
@pytest.mark.parametrize(("depth", "kernel"), [(1, 3), (2, 3), (1, 5), (5, 5)])
@pytest.mark.parametrize("place", [(6, 4), (0, 0), (0, 5), (8, 8)])
def test_two_stacks_see_a_rectangle_and_the_row(depth, kernel, place):
    row, column = place
    reach = depth * (kernel // 2)
    up, across = row - torch.arange(9)[:, None], torch.arange(9)[None] - column
    above = (up >= 1) & (up <= reach + 1) & (across.abs() <= reach)
    expected = above | ((up == 0) & (across < 0) & (across >= -reach))
    model = made(GatedPixelCNN, (1, 9, 9), 4, depth, kernel=kernel)
    assert torch.equal(receptive_field(model, row, column)[0], expected.double())


@pytest.mark.equation("eq-rgb")
@pytest.mark.notes("N4-020", "N4-021", "H4-10")
@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_colours_are_seen_in_their_order(kind, channel):
    model = made(kind, (3, 4, 4), 12, 6)
    seen = receptive_field(model, 2, 1, channel)
    for other in range(3):
        expected = past(4, 4, 2, 1)
        expected[2, 1] = other < channel
        if kind is PixelCNN:  # the blind spot of (2, 1) is (1, 3)
            expected[1, 3] = 0
        assert torch.equal(seen[other], expected)


def test_a_receptive_field_is_exact_in_single_precision_with_classes_and_without_touching_anything():
    model = made(GatedPixelCNN, (1, 5, 5), 4, 6, n_classes=3, levels=17, mixtures=2).float()
    before = torch.get_rng_state()
    assert torch.equal(receptive_field(model, 3, 2)[0], past(5, 5, 3, 2))
    assert next(model.parameters()).dtype == torch.float32 and next(model.parameters()).grad is None
    assert torch.equal(torch.get_rng_state(), before)


# --- densities ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-raster")
@pytest.mark.parametrize(
    ("shape", "levels", "options"),
    [
        ((1, 2, 3), 2, {}),
        ((3, 1, 2), 2, {}),
        ((1, 2, 2), 4, {"mixtures": 2}),
        ((2, 1, 2), 5, {"mixtures": 3, "n_classes": 2}),
        ((1, 3, 4), 2, {"n_classes": 3, "kernel": 5}),
    ],
)
def test_gated_networks_sum_to_one(shape, levels, options):
    model = made(GatedPixelCNN, shape, 6, 2, levels=levels, **options)
    images = every_image(*shape, levels)
    label = torch.ones(len(images), dtype=torch.long) if "n_classes" in options else None
    close(model.log_prob(images, label=label).exp().sum(), 1.0)


@pytest.mark.equation("eq-rgb")
@pytest.mark.notes("E4-04", "N4-020")
def test_the_channels_of_a_pixel_factorise_given_the_pixels_before():
    model = made(GatedPixelCNN, (3, 1, 2), 12, 2, seed=1)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    states = every_image(3, 1, 2)
    table = model.log_prob(states).exp()
    first, second = f64(1, 0, 1), f64(0, 1, 1)
    same = [(states[:, :, 0, i] == pixel).all(1) for i, pixel in enumerate((first, second))]
    conditional = table[same[0] & same[1]].sum() / table[same[0]].sum()
    factors = model(torch.stack([first, second], 1).view(1, 3, 1, 2))[0, :, 0, 1].softmax(-1)
    close(factors[torch.arange(3), second.long()].prod(), conditional)
    assert abs(table[same[1]].sum() - conditional) > 1e-3  # the marginal, as E4-04 has it


def test_grey_levels_are_scaled_to_one_and_minus_one():
    seen = []

    class Probe(PixelCNN):
        def features(self, x, label):
            seen.append(x)
            return super().features(x, label)

    made(Probe, (1, 1, 3), 4, 1, levels=17)(f64([[[0, 8, 16]]]))
    close(seen[0].flatten(), f64(-1, 0, 1))


def test_parameters_stand_at_their_channel_and_pixel():
    model = made(GatedPixelCNN, (3, 4, 5), 6, 2, levels=7)
    assert model(torch.zeros(2, 3, 4, 5).double()).shape == (2, 3, 4, 5, 7)
    x = torch.randint(7, (2, 3, 4, 5), generator=rng()).double()
    params = model(x).log_softmax(-1)
    total = sum(
        params[:, c, r, k].gather(1, x[:, c, r, k].long()[:, None])[:, 0]
        for c, r, k in itertools.product(*map(range, (3, 4, 5)))
    )
    close(model.log_prob(x), total)


def test_a_mixture_starts_spread_over_the_levels():
    model = made(GatedPixelCNN, (2, 2, 2), 4, 1, levels=17, mixtures=3)
    start = model.head[-1].bias.view(2, 3, 3)
    close(start[:, 1], f64([4, 8, 12], [4, 8, 12]))
    close(start[:, 2], torch.full((2, 3), math.log(17 / 8)))


def test_depth_is_the_number_of_layers_and_only_the_first_has_mask_a():
    one, two = made(PixelCNN, (1, 4, 4), 3, 4), made(GatedPixelCNN, (1, 4, 4), 3, 4)
    assert len(one.layers) == len(two.layers) == 4
    assert [layer.mask[0, 0, 1, 1].item() for layer in one.layers] == [0, 1, 1, 1]
    assert [layer.horizontal.mask[0, 0, 0, 1].item() for layer in two.layers] == [0, 1, 1, 1]
    assert [layer.residual for layer in two.layers] == [False, True, True, True]


def test_layers_after_the_first_add_to_their_input():
    x = torch.randn(2, 1, 4, 4, generator=rng(), dtype=torch.float64)
    model = made(PixelCNN, (1, 4, 4), 3, 2)
    first, second = model.layers
    close(model.features(x, None), first(x) + second(torch.nn.functional.silu(first(x))))
    model = made(GatedPixelCNN, (1, 4, 4), 3, 2)
    v, h = model.layers[0](pixelcnn.shift_down(x), x, None)
    with torch.no_grad():
        model.layers[1].out.weight.zero_()
        model.layers[1].out.bias.zero_()
    close(model.layers[1](v, h, None)[1], h)


def test_the_image_one_row_lower():
    x = torch.arange(6.0).view(1, 1, 3, 2)
    assert torch.equal(pixelcnn.shift_down(x)[0, 0], torch.tensor([[0.0, 0], [0, 1], [2, 3]]))


@pytest.mark.equation("eq-gated-unit")
def test_a_gated_unit():
    a = torch.randn(2, 6, 3, generator=rng(), dtype=torch.float64)
    expected = torch.stack([a[:, 2 * j].tanh() / (1 + (-a[:, 2 * j + 1]).exp()) for j in range(3)], 1)
    close(pixelcnn.gated_unit(a), expected)


@pytest.mark.notes("N4-023")
def test_a_class_moves_both_gates_of_both_stacks_of_every_layer():
    model = made(GatedPixelCNN, (1, 3, 3), 4, 3, n_classes=2)
    x = every_image(1, 3, 3)[:50]
    two = torch.zeros(50, dtype=torch.long), torch.ones(50, dtype=torch.long)
    assert (model.log_prob(x, label=two[0]) - model.log_prob(x, label=two[1])).abs().min() > 1e-6
    for layer in model.layers:
        assert layer.condition.weight.shape == (2, 16)
    model.log_prob(x, label=two[0]).sum().backward()
    for i, layer in enumerate(model.layers):
        above, beside = layer.condition.weight.grad[0].chunk(2)
        assert (beside != 0).all() and (above != 0).all() == (i < 2)  # nobody asks the last vertical layer
        assert (layer.condition.weight.grad[1] == 0).all()


# --- heads ----------------------------------------------------------------------------------------------------------

PARAMS = f64(0.4, -0.3, 1.0, 5.5, 90.0, 240.0, 0.2, 2.6, 3.0)


@pytest.mark.equation("eq-logistic-mixture")
@pytest.mark.notes("N4-023", "H4-12", "H4-10")
@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("log_scale", [-6.0, 0.0, 3.0])
def test_a_discretised_mixture_sums_to_one_and_is_rounded_logistic(levels, log_scale):
    params = torch.cat([PARAMS[:3], PARAMS[3:6] * levels / 256, torch.full((3,), log_scale, dtype=torch.float64)])
    x = torch.arange(levels, dtype=torch.float64)
    mass = pixelcnn.logistic_mixture_log_prob(x, params.expand(levels, 9), levels).exp()
    close(mass.sum(), 1.0)
    base = TransformedDistribution(Uniform(f64(0.0), f64(1.0)), SigmoidTransform().inv)
    cdf = torch.zeros(levels + 1, dtype=torch.float64)
    cdf[-1] = 1
    for weight, mean in zip(params[:3].softmax(0), params[3:6], strict=True):
        law = TransformedDistribution(base, AffineTransform(mean, math.exp(log_scale)))
        cdf[1:-1] += weight * ((x[:-1] + 0.5 - mean) / math.exp(log_scale)).sigmoid()
        assert torch.isfinite(law.log_prob(mean))
    close(mass, cdf.diff(), atol=1e-12)
    close(pixelcnn.logistic_mixture_cdf(params, levels), cdf[1:-1])


@pytest.mark.parametrize(
    ("level", "exact"), [(62.0, -60.5 + math.log(math.e - 1)), (0.0, math.log(1 / (1 + math.e**1.5)))]
)
def test_the_tails_of_a_discretised_logistic_are_exact(level, exact):
    ours = pixelcnn.logistic_mixture_log_prob(f64(level), f64([0.0, 2.0, 0.0]), 256)
    close(ours, [exact], rtol=1e-13)


def test_gradients_stay_finite_in_single_precision_far_away():
    params = torch.tensor([0.0, 0.0, 1e4, -1e4, -8.0, 8.0], requires_grad=True)
    x = torch.arange(256.0)
    loss = pixelcnn.logistic_mixture_log_prob(x, params.expand(256, 6), 256).sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(params.grad).all()


@pytest.mark.parametrize("mixtures", [None, 2])
def test_a_draw_is_the_level_whose_slice_holds_u(mixtures):
    model = made(GatedPixelCNN, (1, 1, 1), 4, 1, levels=5, mixtures=mixtures)
    mass = model.log_prob(torch.arange(5.0).double().view(5, 1, 1, 1)).exp().detach()
    edges = torch.cat([f64(0.0), mass.cumsum(0)])
    u = torch.cat([edges[:-1] + 1e-9, edges[1:] - 1e-9]).view(-1, 1, 1, 1)
    params = model(torch.zeros_like(u))
    assert model.draw(params, u).flatten().tolist() == [0, 1, 2, 3, 4] * 2


# --- samplers -------------------------------------------------------------------------------------------------------


@pytest.mark.notes("H4-12", "N3-053")
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 5, 4), {}),
        ((1, 4, 5), {"kernel": 5, "n_classes": 3}),
        ((3, 3, 3), {"levels": 4, "n_classes": 2}),
        ((2, 3, 4), {"levels": 9, "mixtures": 2, "kernel": 5}),
    ],
)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("rows", [0, 2])
def test_every_sampler_makes_the_same_images(shape, options, depth, rows):
    features = 4 * shape[0]
    model = made(GatedPixelCNN, shape, features, depth, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)  # so that pixels depend on each other
    n = 12
    label = torch.arange(n) % options["n_classes"] if "n_classes" in options else None
    top = None
    if rows:
        top = torch.randint(options.get("levels", 2), (n, shape[0], rows, shape[2]), generator=rng(1)).double()
    draws = [model.sample(n, generator=rng(3), label=label, top=top, method=m) for m in ("naive", "jacobi", "cached")]
    assert draws[0].shape == (n, *shape) and draws[0].dtype == torch.float64
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])
    assert draws[0].unique().numel() > 1
    if rows:
        assert torch.equal(draws[0][:, :, :rows], top)


def test_the_default_sampler_and_the_order():
    model = made(PixelCNN, (2, 2, 2), 4, 2)
    assert model.order == [0, 4, 1, 5, 2, 6, 3, 7]
    assert torch.equal(model.sample(9, generator=rng(1)), model.sample(9, generator=rng(1), method="naive"))
    u = torch.rand(9, 2, 2, 2, generator=rng(1), dtype=torch.float64)
    assert torch.equal(naive_sample(model.proposal(), u, order=model.order), model.sample(9, generator=rng(1)))
    x, passes = jacobi_sample(model.proposal(), u)
    assert torch.equal(x, model.proposal()(x, u)) and 1 < passes <= 8


def test_given_rows_are_kept_and_the_rest_follows_its_conditional_law(n=40_000):
    """Pearson's statistic of 8 completions against exact conditionals: fails by chance once in 10^9."""
    model = made(GatedPixelCNN, (1, 2, 3), 8, 3)
    images = every_image(1, 2, 3)
    table = model.log_prob(images).exp().detach()
    top = f64(1, 0, 1).view(1, 1, 1, 3)
    fits = (images[:, 0, 0] == top[0, 0, 0]).all(1)
    expected = n * table[fits] / table[fits].sum()
    drawn = model.sample(n, generator=rng(5), top=top.expand(n, 1, 1, 3), method="cached")
    counts = (drawn[:, 0, 1] @ f64(4, 2, 1)).long().bincount(minlength=8)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < 59.5  # chi-squared with 7 degrees of freedom: 1e-9


# --- the copy rule --------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-copy-rule", "eq-copy-entropy")
def test_the_copy_rule_sums_to_one_and_has_its_entropy():
    rule, images = CopyRule(4, 0.9), every_image(1, 4, 4)
    log_p = rule.log_prob(images)
    close(log_p.exp().sum(), 1.0)
    close(rule.entropy(), -(log_p.exp() * log_p).sum())
    assert (rule.copies, CopyRule().copies, CopyRule().size, CopyRule().keep) == (6, 42, 8, 0.95)
    assert 64 * math.log(2) - CopyRule().entropy() == pytest.approx(20.7745, abs=1e-4)


def test_the_copy_rule_copies_the_pixel_above_and_two_to_the_right():
    rule = CopyRule(5, 0.75)
    x = torch.zeros(1, 1, 5, 5).double()
    before = rule.log_prob(x)
    x[0, 0, 2, 4] = 1  # copied by (3, 2) and by nothing else; copies nothing
    close(rule.log_prob(x) - before, [math.log(0.25 / 0.75)])


def test_the_copy_rule_draws_what_it_scores(n=100_000):
    """Means of 16 fair coins and 6 copies, each within 6.5 standard errors: fails by chance once in 10^9."""
    rule = CopyRule(4, 0.9)
    torch.set_default_dtype(torch.float64)
    try:
        x = rule.sample(n, generator=rng(2))
        assert x.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert ((x.mean(0) - 0.5).abs() < 6.5 * 0.5 / math.sqrt(n)).all() and set(x.unique().tolist()) == {0.0, 1.0}
    kept = (x[..., 1:, :-2] == x[..., :-1, 2:]).double().mean(0)
    assert ((kept - 0.9).abs() < 6.5 * math.sqrt(0.09 / n)).all()


def test_no_rows_given_is_no_prompt_and_likelihoods_go_in_blocks(monkeypatch):
    model = MODEL()
    free = model.sample(3, generator=rng(1))
    for method in ("naive", "jacobi", "cached"):
        assert torch.equal(model.sample(3, generator=rng(1), top=torch.empty(3, 1, 0, 4), method=method), free)
    whole, sizes, features = model.log_prob(free), [], model.features
    monkeypatch.setattr(core, "BLOCK", 1500)
    monkeypatch.setattr(model, "features", lambda x, label: sizes.append(len(x)) or features(x, label))
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(free), whole)
    assert len(sizes) > 1 and max(sizes) < 3


def test_a_model_in_half_precision_draws_from_uniforms_in_single():
    model = MODEL().bfloat16()
    samples = [model.sample(5, generator=rng(1), method=method) for method in ("naive", "jacobi", "cached")]
    assert all(x.shape == (5, 1, 4, 4) for x in samples)


# --- bad input ------------------------------------------------------------------------------------------------------

MODEL = partial(GatedPixelCNN, (1, 4, 4), 4, 2)
ZERO = torch.zeros(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: pixelcnn.causal_mask(2, 3, "A", 1, 1), ValueError, "rows is 2, expected an odd number"),
        (lambda: pixelcnn.causal_mask(3, 4, "A", 1, 1), ValueError, "columns is 4, expected an odd number"),
        (lambda: pixelcnn.causal_mask(3, 3, "C", 1, 1), ValueError, "kind is 'C', expected one of 'A', 'B'"),
        (lambda: pixelcnn.causal_mask(3, 3, "A", 4, 3, 3), ValueError, "c_in is 4, expected a multiple of the 3"),
        (lambda: pixelcnn.causal_mask(3, 3, "A", 3, 4, 3), ValueError, "c_out is 4, expected a multiple of the 3"),
        (lambda: PixelCNN((1, 0, 4), 4, 2), ValueError, "shape is 0, expected at least 1"),
        (lambda: PixelCNN((1, 4, 4), 4, 0), ValueError, "depth is 0, expected at least 1"),
        (lambda: GatedPixelCNN((1, 4, 4), 4, 0), ValueError, "depth is 0, expected at least 1"),
        (lambda: GatedPixelCNN((1, 4, 4), 4, 2, levels=1), ValueError, "levels is 1, expected at least 2"),
        (lambda: GatedPixelCNN((1, 4, 4), 4, 2, mixtures=0), ValueError, "mixtures is 0, expected at least 1"),
        (lambda: GatedPixelCNN((1, 4, 4), 4, 2, n_classes=0), ValueError, "n_classes is 0, expected at least 1"),
        (lambda: MODEL().log_prob(ZERO[:, 0]), ValueError, "x has shape"),
        (lambda: MODEL().log_prob(ZERO.long()), TypeError, "x has dtype torch.int64, expected a floating dtype"),
        (lambda: MODEL().log_prob(ZERO[..., :3]), ValueError, "x has shape"),
        (lambda: MODEL().log_prob(ZERO, label=torch.zeros(2).long()), ValueError, "label is given, expected no label"),
        (lambda: MODEL(n_classes=3).log_prob(ZERO), ValueError, "label is None, expected one of 3 classes"),
        (lambda: MODEL(n_classes=3).log_prob(ZERO, label=torch.zeros(5).long()), ValueError, "label has shape"),
        (lambda: MODEL().sample(0), ValueError, "n is 0, expected at least 1"),
        (lambda: MODEL().sample(2, method="fast"), ValueError, "method is 'fast', expected one of 'naive', 'jacobi'"),
        (lambda: PixelCNN((1, 4, 4), 4, 2).sample(2, method="cached"), ValueError, "method is 'cached', expected"),
        (lambda: MODEL().sample(2, top=torch.zeros(2, 1, 5, 4)), ValueError, "the rows of top is 5, expected a number"),
        (lambda: MODEL().sample(2, top=torch.zeros(3, 1, 2, 4)), ValueError, "top has shape"),
        (
            lambda: pixelcnn.logistic_mixture_log_prob(f64(1.0), PARAMS, 256),
            ValueError,
            "params has shape (9,), expected",
        ),
        (lambda: pixelcnn.logistic_mixture_log_prob(f64(1.0), PARAMS[None, :8], 256), ValueError, "params has shape"),
        (
            lambda: MODEL().log_prob(ZERO + 0.5),
            ValueError,
            "x has values between whole numbers, expected whole numbers",
        ),
        (lambda: MODEL().log_prob(ZERO + 99), ValueError, "x has values from 99 to 99, expected whole numbers from 0"),
        (lambda: MODEL().log_prob(ZERO + math.nan), ValueError, "x has values from nan to nan, expected"),
        (
            lambda: GatedPixelCNN((1, 4, 4), 4, 2, levels=17).log_prob(torch.rand(2, 1, 4, 4)),
            ValueError,
            "x has values between whole numbers, expected whole numbers from 0 to 16",
        ),
        (
            lambda: GatedPixelCNN((1, 4, 4), 4, 2, levels=17, mixtures=2).log_prob(torch.rand(2, 1, 4, 4)),
            ValueError,
            "x has values between whole numbers, expected whole numbers from 0 to 16",
        ),
        (
            lambda: MODEL(n_classes=3).log_prob(ZERO, label=torch.tensor([0, 3])),
            ValueError,
            "label has values from 0 to 3",
        ),
        (lambda: MODEL(n_classes=3).sample(2, label=torch.ones(2)), TypeError, "label has dtype torch.float32"),
        (lambda: MODEL().sample(2, top=torch.full((2, 1, 2, 4), 0.5)), ValueError, "top has values between"),
        (lambda: MODEL().sample_cached(torch.ones(2, 1, 4, 4)), ValueError, "u reaches from 1 to 1"),
        (lambda: MODEL().sample_cached(torch.zeros(2, 1, 4, 5)), ValueError, "u has shape (2, 1, 4, 5), expected"),
        (lambda: MODEL().draw(torch.zeros(2, 2), torch.full((2,), math.nan)), ValueError, "u reaches from nan to nan"),
        (lambda: PixelCNN((1, 4, 4), 4, 2, kernel=4), ValueError, "kernel is 4, expected an odd number"),
        (lambda: GatedPixelCNN((1, 4, 4), 4, 2, kernel=2), ValueError, "kernel is 2, expected an odd number"),
        (lambda: PixelCNN((1, 4), 4, 2), ValueError, "shape has 2 entries, expected 3"),
        (lambda: pixelcnn.receptive_field(MODEL(), 4, 0), ValueError, "row is 4, expected a number in [0, 3]"),
        (lambda: pixelcnn.receptive_field(MODEL(), 0, -1), ValueError, "column is -1, expected a number in [0, 3]"),
        (lambda: pixelcnn.logistic_mixture_log_prob(f64(0.5), PARAMS[None], 9), ValueError, "x has values between"),
        (lambda: CopyRule(4).log_prob(torch.full((2, 1, 4, 4), 16.0)), ValueError, "x has values from 16 to 16"),
        (lambda: CopyRule(2), ValueError, "size is 2, expected at least 3"),
        (lambda: CopyRule(4, 1.0), ValueError, "keep is 1.0, expected a number in"),
        (lambda: CopyRule(4).log_prob(torch.zeros(2, 1, 4, 5)), ValueError, "x has shape"),
        (lambda: CopyRule(4).sample(0), ValueError, "n is 0, expected at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, error, sentence, untyped):
    with pytest.raises(error) as refusal:
        call()
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)
