"""Tables, FVSBN, NADE and MADE: enumerated, differentiated, sampled both ways, trained and resumed."""

import contextlib
import io
import itertools
import json
import math
from itertools import pairwise

import pytest
import torch
from commands import cut_short
from exact import f64, rng
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dgmlib import autoregressive, core, data, plots, sequential
from dgmlib.autoregressive import FVSBN, MADE, NADE, SparseNADE, Table, draw_degrees, masks
from dgmlib.bugs import wrong
from dgmlib.bugs.autoregressive import _filled as filled
from dgmlib.core import Density
from dgmlib.heads import Bernoulli, Categorical, Gaussian, MixtureOfGaussians
from dgmlib.worlds import bit_states, even_parity


def close(ours, theirs, atol=1e-10):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def spread(model, seed=0):
    """The model in double precision, with random parameters large enough to matter."""
    with torch.no_grad():
        source = rng(seed)
        for p in model.double().parameters():
            p.copy_(1.5 * torch.randn(p.shape, generator=source, dtype=torch.float64))
    return model


ORDER = [3, 1, 5, 2, 0, 4]
BITS = {
    "table": lambda: Table(6),
    "FVSBN": lambda: FVSBN(6),
    "NADE": lambda: NADE(6, 5),
    "MADE without hidden layers": lambda: MADE(6, ()),
    "MADE": lambda: MADE(6, (11,), order=ORDER),
    "MADE, two layers": lambda: MADE(6, (20, 30)),
    "MADE, three masks": lambda: MADE(6, (11, 7), n_masks=3, generator=rng(3)),
}
ALONE = [name for name in BITS if name != "MADE, three masks"]


def order_of(model):
    return model.degrees(0)[0].argsort().tolist() if isinstance(model, MADE) else list(range(model.d))


# --- what all models do ---------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-ar-chain")
@pytest.mark.notes("N3-023", "N3-136", "N3-055", "N3-074", "E4-01")
@pytest.mark.parametrize("name", BITS)
def test_the_probabilities_of_all_states_sum_to_one(name):
    model = spread(BITS[name]())
    assert isinstance(model, Density)
    assert model.log_prob(bit_states(6)).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ALONE)
def test_no_conditional_sees_itself_or_what_comes_later(name):
    model, states = spread(BITS[name]()), bit_states(6)
    logits = model.params(states)[..., 0]
    order = order_of(model)
    for t, i in enumerate(order):
        flipped = states.clone()
        flipped[:, order[t:]] = 1 - flipped[:, order[t:]]
        close(model.params(flipped)[:, i, 0], logits[:, i], 1e-12)
        if t:
            last = states.clone()
            last[:, order[t - 1]] = 1 - last[:, order[t - 1]]
            assert (model.params(last)[:, i, 0] - logits[:, i]).abs().max() > 1e-3, "the nearest one must be seen"


@pytest.mark.equation("eq-made-property")
@pytest.mark.notes("N3-045", "N3-046", "E3-013", "N4-019")
@pytest.mark.parametrize("name", [name for name in ALONE if name != "table"])
def test_the_jacobian_is_strictly_triangular_in_the_order(name):
    model = spread(BITS[name]())
    x = torch.rand(6, generator=rng(1), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model.params(x[None])[0, :, 0], x)
    order = order_of(model)
    jacobian = jacobian[order][:, order]
    assert not jacobian.triu().any() and (jacobian.diagonal(-1) != 0).any()


@pytest.mark.equation("eq-ar-sample")
@pytest.mark.notes("N3-035", "N3-054", "E3-014", "N3-047")
@pytest.mark.parametrize("name", ALONE)
def test_samples_are_those_of_one_full_pass_a_pixel(name):
    model = spread(BITS[name]())
    u = torch.rand(200, 6, generator=rng(2), dtype=torch.float64)
    naive = sequential.naive_sample(model.draw, u, order=order_of(model))
    drawn = model.sample(200, uniforms=u)
    assert torch.equal(drawn, naive) and drawn.dtype == torch.float64
    assert torch.equal(drawn, sequential.jacobi_sample(model.draw, u)[0])
    one_pass = model.draw(torch.zeros_like(u), u)
    assert not torch.equal(drawn, one_pass)
    assert torch.equal(drawn, model.sample(200, generator=None, uniforms=u))
    assert torch.equal(
        model.sample(50, generator=rng(4)),
        model.sample(50, uniforms=torch.rand(50, 6, generator=rng(4), dtype=torch.float64)),
    )


@pytest.mark.notes("H3-18")
@pytest.mark.equation("eq-ar-prefix")
@pytest.mark.parametrize("name", ALONE)
def test_what_is_given_is_kept_and_the_rest_is_drawn_from_its_law(name):
    model = spread(BITS[name]())
    order = order_of(model)
    known = f64(1.0, 0.0, 1.0).expand(20_000, 3)
    x = model.sample(20_000, given=known, generator=rng(5))
    assert torch.equal(x[:, order[:3]], known)
    states = bit_states(6)
    p = model.log_prob(states).exp() * (states[:, order[:3]] == known[0]).all(1)
    place = 2.0 ** torch.arange(5, -1, -1, dtype=torch.float64)
    counts = (x @ place).long().bincount(minlength=64)
    wanted = 20_000 * p / p.sum()
    assert ((counts - wanted) / (wanted + 1).sqrt()).abs().max() < 6.5  # 64 near-normal numbers: fails once in 10^8
    prefix = model.conditional_log_probs(x[:1])[0, order[:3]].sum().exp()
    close(prefix, p.sum())


def test_everything_may_be_given():
    x = bit_states(6)
    assert torch.equal(spread(NADE(6, 5)).sample(64, given=x), x)


# --- tables and logistic regressions --------------------------------------------------------------------------------


@pytest.mark.equation("eq-ar-table")
def test_a_table_is_its_counts():
    x = f64((0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1))
    table = Table(3).double().fit(x, 0.5)
    odds = table.bias[:, 0].exp()
    close(odds, f64(2.5 / 3.5, 2.5 / 1.5, 0.5 / 2.5, 1.5 / 0.5, 1.5 / 1.5, 1.5 / 1.5, 1))
    assert table.entries(f64((1, 0, 1))).tolist() == [[0, 2, 5]]
    close(Table(3).double().fit(x).bias, table.bias)
    big = Table(2).double().fit(f64((0, 0), (0, 1), (1, 1)).repeat(100_000, 1), 1e-9)
    close(big.log_prob(bit_states(2)).exp(), f64(1 / 3, 1 / 3, 0, 1 / 3), 1e-9)


@pytest.mark.notes("N3-036", "E3-008", "N4-016", "E4-03")
def test_models_have_as_many_numbers_as_the_text_says():
    assert Table(10).bias.numel() == 1023
    assert NADE(784, 500).w.numel() + NADE(784, 500).v.numel() == 2 * 784 * 500
    assert sum(p.numel() for p in NADE(784, 500).parameters()) == 785_284
    assert FVSBN(784).weight.tril(-1).shape == (784, 784)
    assert FVSBN(5).weight.abs().max() == 0 and FVSBN(5).bias.shape == (5, 1)


@pytest.mark.equation("eq-ar-fvsbn")
@pytest.mark.notes("N3-034", "H3-06", "N4-015", "N4-017", "E4-02", "N4-018")
def test_fvsbn_is_a_logistic_regression_for_each_bit():
    model = spread(FVSBN(3))
    w, b = model.weight, model.bias[:, 0]
    expected = torch.stack([b[0], b[1] + w[1, 0], b[2] + w[2, 0]])
    close(model.params(f64((1.0, 0.0, 1.0)))[0, :, 0], expected)
    flat = MADE(3, ()).double()
    with torch.no_grad():
        flat.weights[0].copy_(w), flat.bias.copy_(model.bias)
    close(flat.log_prob(bit_states(3)), model.log_prob(bit_states(3)))


@pytest.mark.equation("eq-ar-parity")
@pytest.mark.notes("N3-037")
@pytest.mark.parametrize("d", [3, 6])
def test_fvsbn_learns_nothing_of_parity(d):
    states, law = bit_states(d), even_parity(d)
    model = FVSBN(d).double()
    cost = -law.log_prob(states).exp() @ model.log_prob(states)
    cost.backward()
    assert cost.item() == pytest.approx(law.entropy().item() + math.log(2))
    close(model.weight.grad, torch.zeros(d, d, dtype=torch.float64))
    close(model.bias.grad, torch.zeros(d, 1, dtype=torch.float64))


# --- NADE -----------------------------------------------------------------------------------------------------------


def plain_nade(x, w, c, v):
    return torch.stack([(c + x[:, :i] @ w[:i]).sigmoid() @ v[i] for i in range(x.shape[1])], 1)


@pytest.mark.equation("eq-nade")
@pytest.mark.notes("N3-038", "N3-039", "H3-07")
def test_nade_is_its_definition_and_not_its_known_mistakes():
    model, x = spread(NADE(6, 5)), bit_states(6)
    expected = plain_nade(x, model.w, model.c, model.v[:, 0]) + model.bias[:, 0]
    close(model.params(x)[..., 0], expected)
    close(model.params(x.clone().requires_grad_())[..., 0], expected)
    for bug in ("nade-sees-itself", "nade-sees-the-rest", "nade-tied"):
        assert (wrong("nade", bug)(model, x)[..., 0] - expected).abs().max() > 0.1


@pytest.mark.equation("eq-nade-sparse")
@pytest.mark.parametrize("d", [2, 16, 17, 45])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_hidden_layers_made_once_give_the_logits_of_the_definition(d, share):
    x = (torch.rand(7, d, generator=rng(d), dtype=torch.float64) < share).double()
    w, v = (torch.randn(d, 4, generator=rng(k), dtype=torch.float64) for k in (1, 2))
    c = torch.randn(4, generator=rng(3), dtype=torch.float64)
    close(SparseNADE.apply(x, w, c, v), plain_nade(x, w, c, v), 1e-12)
    grey = x * torch.rand(7, d, generator=rng(4), dtype=torch.float64)
    close(SparseNADE.apply(grey, w, c, v), plain_nade(grey, w, c, v), 1e-12)


@pytest.mark.equation("eq-nade-backward")
@pytest.mark.parametrize("d", [3, 16, 40])
def test_gradients_derived_by_hand_are_those_of_autograd(d):
    x = (torch.rand(5, d, generator=rng(d), dtype=torch.float64) < 0.4).double()
    w, v = (torch.randn(d, 4, generator=rng(k), dtype=torch.float64).requires_grad_() for k in (1, 2))
    c = torch.randn(4, generator=rng(3), dtype=torch.float64).requires_grad_()
    upstream = torch.randn(5, d, generator=rng(4), dtype=torch.float64)
    ours = torch.autograd.grad(SparseNADE.apply(x, w, c, v), (w, c, v), upstream)
    theirs = torch.autograd.grad(plain_nade(x, w, c, v), (w, c, v), upstream)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 1e-11)


@pytest.mark.equation("eq-ar-gradient")
@pytest.mark.notes("N3-075", "N3-076", "E3-025", "E3-026", "H3-16")
def test_the_gradient_is_a_sum_over_data_and_conditionals():
    model, x = spread(NADE(4, 3)), bit_states(4)[[3, 7, 12]]
    whole = torch.autograd.grad(model.log_prob(x).sum(), model.c)[0]
    each = [torch.autograd.grad(model.conditional_log_probs(x)[j, i], model.c)[0] for j in range(3) for i in range(4)]
    close(torch.stack(each).sum(0), whole)
    assert (torch.stack(each).prod(0) - whole).abs().max() > 1e-3


def test_nade_starts_small_and_independent_of_its_order():
    torch.manual_seed(0)
    model = NADE(30, 400)
    for p in (model.w, model.v):
        assert p.abs().max() <= 1 / 20 and p.abs().max() > 0.9 / 20 and p.mean().abs() < 0.002
        assert p.std().item() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.03)
    assert not model.c.any() and not model.bias.any() and model.v.shape == (30, 1, 400)


# --- heads inside models --------------------------------------------------------------------------------------------


@pytest.mark.notes("N3-041", "N3-043", "N3-056")
@pytest.mark.parametrize("head", [Gaussian(), MixtureOfGaussians(3)], ids=["Gaussian", "mixture"])
@pytest.mark.parametrize(
    "make", [lambda head: NADE(2, 5, head=head), lambda head: MADE(2, (6, 6), head=head)], ids=["NADE", "MADE"]
)
def test_densities_of_the_plane_integrate_to_one_and_are_sampled(make, head):
    model = make(head).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.25 * torch.randn(p.shape, generator=rng(p.numel()), dtype=torch.float64))
    axis = torch.linspace(-15, 15, 601, dtype=torch.float64)
    mass = model.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)
    u = torch.rand(40, 2, generator=rng(1), dtype=torch.float64)
    close(model.sample(40, uniforms=u), sequential.naive_sample(model.draw, u))


@pytest.mark.parametrize(
    "make", [lambda head: NADE(3, 5, head=head), lambda head: MADE(3, (8,), head=head)], ids=["NADE", "MADE"]
)
def test_grey_levels_sum_to_one_and_enter_the_network_divided(make):
    model = spread(make(Categorical(4)))
    states = torch.cartesian_prod(*3 * [torch.arange(4, dtype=torch.float64)])
    assert model.log_prob(states).exp().sum().item() == pytest.approx(1, abs=1e-12)
    u = torch.rand(300, 3, generator=rng(1), dtype=torch.float64)
    assert torch.equal(model.sample(300, uniforms=u), sequential.naive_sample(model.draw, u))
    if isinstance(model, NADE):
        second = (model.c + states[:, 0, None] / 3 * model.w[0]).sigmoid() @ model.v[1].T + model.bias[1]
        close(model.params(states)[:, 1], second)


def dense_logits(model, x):
    """NADE's definition: all hidden layers at once."""
    a = torch.cumsum(F.pad(x[:, :-1, None] * model.w[:-1], (0, 0, 1, 0)), 1) + model.c
    return torch.einsum("bdh,dh->bd", a.sigmoid(), model.v[:, 0]) + model.bias[:, 0]


@pytest.mark.equation("eq-nade")
@pytest.mark.parametrize("d", [1, 2, 16, 17, 33])
def test_a_last_chunk_of_one_pixel_is_never_padded(d, monkeypatch):
    """PyTorch 2.6 refuses to pad a tensor whose padded result is empty; so must nothing here ask for it."""
    pad = F.pad

    def old(x, padding, *rest, **options):
        assert 0 not in x.shape, x.shape
        return pad(x, padding, *rest, **options)

    model, x = filled(NADE(d, 5)), (torch.rand(40, d, generator=rng(1), dtype=torch.float64) < 0.5).double()
    truth = dense_logits(model, x)
    expected = torch.autograd.grad(Bernoulli().log_prob(x, truth[..., None]).sum(), list(model.parameters()))
    monkeypatch.setattr(autoregressive.F, "pad", old)
    close(model.params(x)[..., 0], truth)
    for ours, theirs in zip(
        torch.autograd.grad(model.log_prob(x).sum(), list(model.parameters())), expected, strict=True
    ):
        close(ours, theirs, 1e-10)


@pytest.mark.equation("eq-nade-backward")
def test_nade_in_blocks_of_rows_is_nade(monkeypatch):
    model, x = filled(NADE(37, 5)), (torch.rand(50, 37, generator=rng(1), dtype=torch.float64) < 0.4).double()
    parameters = list(model.parameters())
    whole = model.log_prob(x)
    gradients = torch.autograd.grad(whole.sum(), parameters)
    sizes, walk = [], SparseNADE.walk
    monkeypatch.setattr(SparseNADE, "walk", staticmethod(lambda x, *rest: sizes.append(len(x)) or walk(x, *rest)))
    monkeypatch.setattr(autoregressive, "BLOCK", 700)  # a row has some 18 hidden layers of 5 units
    parts = model.log_prob(x)
    assert max(sizes) <= 9 and sum(sizes) == 50
    close(parts, whole)
    for ours, theirs in zip(torch.autograd.grad(parts.sum(), parameters), gradients, strict=True):
        close(ours, theirs, 1e-10)
    assert sum(sizes) == 100  # the hidden layers are made anew, not kept


@pytest.mark.parametrize(
    "model, held",
    [(lambda: NADE(30, 64), 30 * 64), (lambda: NADE(30, 64, head=Gaussian()), 30 * 64), (lambda: MADE(30, (8,)), 30)],
    ids=["bits", "numbers", "MADE"],
)
def test_an_evaluation_holds_a_block_of_rows_not_all(model, held, monkeypatch):
    """No tensor of it is much larger than a block; with a gradient to record, NADE of bits keeps no more either."""
    monkeypatch.setattr(autoregressive, "BLOCK", 40_000)
    monkeypatch.setattr(core, "BLOCK", 40_000)
    torch.manual_seed(0)
    model, largest = model(), [0]

    class Watch(TorchFunctionMode):
        def __torch_function__(self, f, types, args=(), kwargs=None):
            out = f(*args, **kwargs or {})
            if isinstance(out, torch.Tensor):
                largest[0] = max(largest[0], out.numel())
            return out

    x = (torch.rand(1000, 30) < 0.5).float()
    with torch.no_grad(), Watch():
        parts = model.log_prob(x)
    assert largest[0] <= 40_000 < 1000 * 30 * 2 and parts.shape == (1000,)
    close(parts.double(), torch.cat([model.log_prob(row) for row in x.split(100)]).detach().double(), 1e-4)


# --- MADE -----------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-made-degrees")
@pytest.mark.notes("H3-09")
def test_degrees_are_ranks_and_numbers_up_to_d_minus_one():
    inputs, first, second = draw_degrees(5, (8, 3), order=[2, 0, 4, 1, 3])
    assert inputs.tolist() == [2, 4, 1, 5, 3]
    assert first.tolist() == [1, 1, 2, 2, 3, 3, 4, 4] and second.tolist() == [1, 2, 3]
    assert draw_degrees(4, ())[0].tolist() == [1, 2, 3, 4]
    drawn = [draw_degrees(5, (400, 50), generator=rng(seed)) for seed in range(3)]
    for _, one, two in drawn:
        assert set(one.tolist()) == {1, 2, 3, 4} and set(two.tolist()) == {1, 2, 3, 4}
    for seed in range(5):
        _, one, two = draw_degrees(9, (1, 300), generator=rng(seed))
        assert set(two.tolist()) == set(range(int(one), 9))
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert torch.equal(drawn[0][1], draw_degrees(5, (400,), generator=rng(0))[1])


@pytest.mark.equation("eq-made-masks")
@pytest.mark.equation("eq-made-paths")
@pytest.mark.notes("N3-046", "H3-09")
@pytest.mark.parametrize("hidden", [(), (9,), (9, 12), (6, 6, 6)])
def test_masks_leave_a_path_from_every_earlier_input_and_no_other(hidden):
    degrees = draw_degrees(6, hidden, order=ORDER)
    into = torch.eye(6, dtype=torch.float64)
    for mask, (before, after) in zip(masks(degrees)[:-1], pairwise(degrees), strict=True):
        assert all(
            bool(mask[k, j]) == (after[k] >= before[j])
            for k, j in itertools.product(range(len(after)), range(len(before)))
        )
        into = mask.double() @ into
    paths = masks(degrees)[-1].double() @ into
    ranks = degrees[0]
    assert torch.equal(paths > 0, ranks[:, None] > ranks)
    square = draw_degrees(6, (6,) * len(hidden))
    for bug in ("made-output-not-strict", "made-hidden-strict", "made-mask-transposed"):
        if hidden or bug != "made-hidden-strict":
            found = torch.eye(6, dtype=torch.float64)
            for mask in wrong("made-masks", bug)(square):
                found = mask.double() @ found
            assert not torch.equal(found > 0, torch.ones(6, 6).tril(-1) > 0)


@pytest.mark.equation("eq-made")
def test_made_is_a_masked_network():
    model = spread(MADE(6, (11, 7)))
    x, h = bit_states(6), bit_states(6)
    for weight, bias, mask in zip(model.weights, model.biases, masks(model.degrees(0)), strict=False):
        h = F.relu(h @ (weight * mask).T + bias)
    close(model.params(x)[..., 0], h @ (model.weights[-1] * masks(model.degrees(0))[-1]).T + model.bias[:, 0])


@pytest.mark.equation("eq-made-ensemble")
def test_many_masks_are_a_mixture():
    model, x = spread(BITS["MADE, three masks"]()), bit_states(6)
    members = torch.stack([model.log_prob(x, degrees=model.degrees(k)) for k in range(3)])
    close(members.exp().sum(1), torch.ones(3, dtype=torch.float64))
    close(model.log_prob(x), members.exp().mean(0).log())
    assert (model.log_prob(x) >= members.mean(0)).all()
    assert (wrong("made-ensemble", "ensemble-mean-of-logs")(model, x) - model.log_prob(x)).abs().max() > 0.1
    orders = {tuple(model.degrees(k)[0].tolist()) for k in range(3)}
    assert len(orders) == 3 and len({tuple(model.degrees(k)[1].tolist()) for k in range(3)}) == 3
    close(model.params(x), model.params(x, degrees=model.degrees(0)), 0)
    again = MADE(6, (11, 7), n_masks=3, generator=rng(3))
    assert all(torch.equal(a, b) for k in range(3) for a, b in zip(model.degrees(k), again.degrees(k), strict=True))


def test_a_mixture_of_orders_has_no_conditionals_of_its_own():
    model, x = spread(BITS["MADE, three masks"]()), bit_states(6)
    for k in range(3):
        parts = model.conditional_log_probs(x, degrees=model.degrees(k))
        close(parts.sum(1), model.log_prob(x, degrees=model.degrees(k)))
    with pytest.raises(ValueError, match=r"^conditional_log_probs came without degrees, expected degrees"):
        model.conditional_log_probs(x)
    with pytest.raises(
        ValueError, match=r"^draw came without degrees, expected degrees, as each of 3 masks has its own"
    ):
        model.draw(x, torch.zeros(64, 6, dtype=torch.float64))


def test_the_mixture_is_sampled_one_mask_a_draw():
    model = spread(BITS["MADE, three masks"]())
    x = model.sample(40_000, generator=rng(1))
    p = model.log_prob(bit_states(6)).exp()
    place = 2.0 ** torch.arange(5, -1, -1, dtype=torch.float64)
    counts = (x @ place).long().bincount(minlength=64)
    assert ((counts - 40_000 * p) / (40_000 * p + 1).sqrt()).abs().max() < 6.5  # fails by chance once in 10^8
    one = model.sample(30, degrees=model.degrees(2), generator=rng(2))
    u = torch.rand(30, 6, generator=rng(2), dtype=torch.float64)
    assert torch.equal(one, model.sample(30, degrees=model.degrees(2), uniforms=u))
    naive = sequential.naive_sample(
        lambda x, u: model.draw(x, u, degrees=model.degrees(2)), u, order=model.degrees(2)[0].argsort().tolist()
    )
    assert torch.equal(one, naive)


def test_a_loaded_model_has_the_order_it_was_saved_with():
    model, other = spread(MADE(6, (11,), order=ORDER)), MADE(6, (11,)).double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.log_prob(bit_states(6)), other.log_prob(bit_states(6)))
    assert torch.equal(model.log_prob(bit_states(6), degrees=model.degrees(0)), other.log_prob(bit_states(6)))
    assert not [key for key in model.state_dict() if key.startswith("mask")]


def test_degrees_drawn_for_a_batch_are_a_law_too():
    model = spread(MADE(6, (11,)))
    degrees = draw_degrees(6, (11,), order=ORDER, generator=rng(7))
    assert model.log_prob(bit_states(6), degrees=degrees).exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert model.degrees(0)[0].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.equation("eq-made-incremental")
def test_each_unit_is_computed_once():
    model = MADE(6, (11, 7)).double()
    uses, steps = torch.zeros(4), model.steps(5)
    products = []

    def counted(bias, weight, below):
        products.append(weight.numel())
        return addmm(bias, weight, below)

    addmm = torch.addmm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "addmm", counted)
        value = None
        for _ in range(6):
            _, params = steps.send(value)
            value = Bernoulli().draw(params, torch.rand(5, generator=rng(1), dtype=torch.float64))
    used = sum(int(mask.sum()) for mask in masks(model.degrees(0))[:-1])
    assert sum(products) == used and not uses.any()


def test_the_entropy_is_a_floor_that_a_wrong_mask_falls_through(monkeypatch):
    law, states = even_parity(4), bit_states(4)
    mass = law.log_prob(states).exp()
    costs = {}
    for name in ("right", "made-output-not-strict"):
        torch.manual_seed(1)
        if name != "right":
            monkeypatch.setattr(autoregressive, "masks", wrong("made-masks", name))
        model = MADE(4, (30,)).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(150):
            optimizer.zero_grad()
            cost = -mass @ model.log_prob(states)
            cost.backward()
            optimizer.step()
        costs[name] = cost.item()
    assert costs["made-output-not-strict"] < 0.2 < law.entropy().item() < costs["right"] < law.entropy().item() + 0.1


# --- refusals -------------------------------------------------------------------------------------------------------

REFUSED = {
    "table, too large": (lambda: Table(21), "d is 21, expected a number in [1, 20]"),
    "table, no int": (lambda: Table(3.0), "d is 3.0, expected an int"),
    "table, shape": (lambda: Table(3).fit(torch.ones(2, 4)), "x has shape (2, 4), expected (2, 3)"),
    "table, counts": (lambda: Table(3).fit(torch.ones(2, 3), 0.0), "pseudo_count is 0.0, expected a number in (0.0"),
    "table, dtype": (lambda: Table(3).fit(torch.ones(2, 3).long()), "x has dtype torch.int64, expected a floating"),
    "FVSBN, d": (lambda: FVSBN(0), "d is 0, expected at least 1"),
    "FVSBN, type": (lambda: FVSBN("4"), "d is '4', expected an int"),
    "NADE, d": (lambda: NADE(0, 3), "d is 0, expected at least 1"),
    "NADE, hidden": (lambda: NADE(4, 0), "hidden is 0, expected at least 1"),
    "MADE, d": (lambda: MADE(1, (4,)), "d is 1, expected at least 2"),
    "MADE, hidden": (lambda: MADE(4, (0,)), "hidden is 0, expected at least 1"),
    "MADE, masks": (lambda: MADE(4, (3,), n_masks=0), "n_masks is 0, expected at least 1"),
    "MADE, order": (lambda: MADE(4, (3,), order=[0, 1, 1, 2]), "order is [0, 1, 1, 2]..., expected each of 0 to 3"),
    "MADE, order and masks": (lambda: MADE(3, (3,), order=[0, 1, 2], n_masks=2), "order came with n_masks 2"),
    "MADE, which": (lambda: MADE(4, (3,)).degrees(1), "k is 1, expected a number in [0, 0]"),
    "MADE, ensemble, given": (
        lambda: MADE(4, (3,), n_masks=2).sample(2, given=torch.ones(2, 1)),
        "uniforms or given came without degrees",
    ),
    "MADE, ensemble, uniforms": (
        lambda: MADE(4, (3,), n_masks=2).sample(2, uniforms=torch.ones(2, 4)),
        "uniforms or given came without degrees",
    ),
    "degrees, order": (lambda: draw_degrees(3, (2,), order=[1, 2, 3]), "order is [1, 2, 3]..., expected each of 0"),
    "degrees, d": (lambda: draw_degrees(1, (2,)), "d is 1, expected at least 2"),
    "sample, n": (lambda: FVSBN(4).sample(0), "n is 0, expected at least 1"),
    "sample, uniforms": (lambda: FVSBN(4).sample(2, uniforms=torch.ones(3, 4)), "uniforms has shape (3, 4), expected"),
    "sample, dtype": (lambda: FVSBN(4).sample(2, uniforms=torch.ones(2, 4).int()), "uniforms has dtype torch.int32"),
    "sample, given rows": (lambda: FVSBN(4).sample(2, given=torch.ones(3, 2)), "given has shape (3, 2), expected"),
    "sample, given too many": (lambda: FVSBN(4).sample(2, given=torch.ones(2, 5)), "given has shape (2, 5), expected"),
}  # fmt: skip


@pytest.mark.parametrize("call, sentence", REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused_in_a_sentence(call, sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        call()
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", BITS)
def test_data_of_another_shape_or_kind_are_refused(name, untyped):
    model = BITS[name]()
    for scores in (model.log_prob, model.conditional_log_probs):
        with pytest.raises(ValueError, match=r"^x has shape \(2, 5\), expected \(2, 6\)"):
            scores(torch.ones(2, 5))
        with pytest.raises(TypeError, match=r"^x has dtype torch.int64, expected a floating dtype"):
            scores(torch.ones(2, 6).long())


@pytest.mark.parametrize("name", BITS)
def test_values_that_are_no_bits_are_refused(name):
    model, rows = BITS[name](), {"a digit": 16.0, "a grey value": 0.5, "NaN": math.nan, "negative": -1.0}
    for bad in rows.values():
        x = torch.ones(2, 6)
        x[1, 3] = bad
        for score in (model.log_prob, lambda x: model.sample(2, given=x[:, :4])):
            if "three" not in name or score == model.log_prob:
                with pytest.raises(ValueError, match=r"^(x|given) has values .*, expected whole numbers from 0 to 1$"):
                    score(x)
    with pytest.raises(ValueError, match=r"^x has values from 0 to 3, expected whole numbers from 0 to 1$"):
        Table(3).fit(torch.tensor([[0.0, 3.0, 1.0]]))


def test_values_that_are_no_levels_are_refused():
    model = NADE(3, 4, head=Categorical(17))
    for bad, found in ((0.3, "between whole numbers"), (math.nan, "from nan to nan"), (17.0, "from 1 to 17")):
        with pytest.raises(ValueError, match=f"^x has values {found}, expected whole numbers from 0 to 16$"):
            model.log_prob(torch.tensor([[1.0, bad, 1.0]]))
    assert NADE(3, 4, head=Gaussian()).log_prob(torch.tensor([[1.0, math.nan, 1.0]])).isnan().all()


def test_an_empty_prompt_is_no_prompt():
    for model in (filled(NADE(4, 3)), filled(MADE(4, (5,)))):
        free = model.sample(3, generator=rng(2))
        assert torch.equal(model.sample(3, generator=rng(2), given=torch.empty(3, 0, dtype=torch.float64)), free)


def test_uniforms_outside_the_unit_interval_are_refused():
    for bad in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"^uniforms reaches from .*, expected numbers in \[0, 1\)$"):
            FVSBN(4).sample(2, uniforms=torch.full((2, 4), bad))


@pytest.mark.parametrize("name", BITS)
def test_rare_bits_come_at_their_rate_in_half_precision(name):
    """Uniforms in bfloat16 would bring a one of probability 0.001 three times as often."""
    model = BITS[name]()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.bias.fill_(math.log(0.001 / 0.999))
    x = model.bfloat16().sample(20_000, generator=rng(1))
    assert x.dtype == torch.bfloat16
    ones = x.float().sum().item()
    assert abs(ones - 120) < 5.5 * math.sqrt(120)  # fails by chance with probability 4e-8


# --- python -m dgmlib.autoregressive --------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """Binarised MNIST, of 8×8 pixels and few images."""
    digits = data.load("digits")
    few = [
        (getattr(digits, name)[:n] >= 8).to(torch.uint8) for name, n in (("train", 300), ("valid", 100), ("test", 40))
    ]
    for x in few:
        x[..., 0, 7] = 1  # a pixel that is always on, as others are always off
    tiny = data.Images("binarized_mnist", 2, *(F.interpolate(x, size=28) for x in few))
    monkeypatch.setattr(data, "load", lambda name, device: tiny if name == "binarized_mnist" else None)
    return tiny


def run(folder, *extra):
    options = ["--hidden", "8", "--epochs", "2", "--lr", "0.02", "--name", "t"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        autoregressive.main([*options, "--checkpoint", str(folder / "t.st"), "--out", str(folder), *extra])
    return json.loads((folder / "t.json").read_text()), printed.getvalue()


@pytest.mark.notes("N3-032", "N3-033", "H4-09")
@pytest.mark.parametrize("model", ["fvsbn", "nade", "made"])
def test_main_trains_scores_draws_and_saves(model, tiny, tmp_path, monkeypatch):
    shown, show = [], plots.show_images
    monkeypatch.setattr(plots, "show_images", lambda x, **options: shown.append((x, options)) or show(x, **options))
    result, printed = run(tmp_path, "--model", model, "--published", "1.5", "someone", "--seed", "3")
    value = result["ours"]["values"][0]
    share = tiny.train.flatten(1).float().mean(0).clamp(0.001, 0.999)
    apart = -Bernoulli().log_prob(tiny.test.flatten(1).float(), share.logit()[:, None]).sum(1).mean().item()
    assert 20 < value < apart and f"test NLL {value:.2f} nats, exact" in printed
    assert "validation log-likelihood of the best epoch: -" in printed
    assert result["published"] == {"value": 1.5, "source": "someone"} and result["seeds"] == [3]
    assert result["model"] == {"fvsbn": "FVSBN", "nade": "NADE 784-8", "made": "MADE 784-8"}[model]
    assert result["command"].startswith("python -m dgmlib.autoregressive --hidden 8") and result["minutes"] < 5
    assert "40 images, exact; the best validation epoch of 2" in result["metric"] and result["device"].startswith("cpu")
    (samples, first), (halves, _) = shown
    assert samples.shape == (60, 1, 28, 28) and set(samples.unique().tolist()) <= {0.0, 1.0}
    n = 20
    assert torch.equal(halves[:n], tiny.test[::2].float()) and first["title"] == "samples"
    for again in halves[n:].split(n):
        assert torch.equal(again[:, :, :14], halves[:n, :, :14])
    assert (tmp_path / "t.png").stat().st_size > 2000


def test_main_resumes_to_the_same_end(tiny, tmp_path):
    whole, _ = run(tmp_path)
    (tmp_path / "again").mkdir()
    cut_short(run, tmp_path / "again")
    resumed, _ = run(tmp_path / "again")
    assert resumed["ours"] == whole["ours"]


def test_main_cycles_through_masks_and_judges_their_mixture(tiny, tmp_path, monkeypatch):
    seen = {}

    def stop(step, batches, n_steps, score, **options):
        seen.update(step=step, n_steps=n_steps, score=score, batches=batches, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(autoregressive, "fit_best", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--model", "made", "--masks", "3", "--batch-size", "60")
    model, step = seen["step"].model, seen["step"]
    assert (seen["n_steps"], seen["every"], seen["batches"].batch_size) == (10, 5, 60)
    assert (step.schedule.T_max, step.schedule.base_lrs, step.ema is not None) == (10, [0.02], True)
    share = tiny.train.flatten(1).float().mean(0).clamp(0.001, 0.999)
    close(model.bias[:, 0].sigmoid(), share, 1e-6)
    x = tiny.valid
    with torch.no_grad():
        expected = model.log_prob(x.flatten(1).float()).double().mean().item()
        assert seen["score"](model) == pytest.approx(expected, abs=1e-3)
        assert autoregressive.mean_log_prob(model, x, 7) == pytest.approx(expected, abs=1e-3)
        flat = x.flatten(1)[:4]
        losses = [autoregressive.negative_log_prob(model, flat, generator=rng(k)) for k in range(12)]
        members = [-model.log_prob(flat.float(), degrees=model.degrees(k)) for k in range(3)]
    chosen = [next(k for k in range(3) if torch.equal(loss, members[k])) for loss in losses]
    assert set(chosen) == {0, 1, 2}
    assert autoregressive.negative_log_prob(filled(NADE(784, 3)).float(), flat, generator=rng()).shape == (4,)


def test_a_run_of_many_masks_shows_samples_only(tiny, tmp_path):
    result, _ = run(tmp_path, "--model", "made", "--masks", "2", "--epochs", "1")
    assert result["model"] == "MADE 784-8, 2 masks"
