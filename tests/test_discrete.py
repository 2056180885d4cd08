"""Quantisers against closed forms, a VQ-VAE against enumeration, and its command end to end."""

import math

import pytest
import torch
from exact import close, f64, rng
from torch.nn import functional as F

from dgmlib import core, discrete
from dgmlib.bugs import wrong
from dgmlib.discrete import VQVAE
from dgmlib.transformer import CausalTransformer
from dgmlib.worlds import bit_states

STATES = bit_states(3)


# --- quantisation ---------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-dis-nearest")
def test_the_nearest_code_is_nearest():
    z, codebook = torch.randn(50, 4, 3, generator=rng()).double(), torch.randn(7, 3, generator=rng(1)).double()
    ours = discrete.nearest_code(z, codebook)
    assert torch.equal(ours, torch.cdist(z, codebook).argmin(-1)) and ours.shape == (50, 4)
    assert not torch.equal(ours, wrong("nearest-code", "nearest-by-product")(z, codebook))


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
def test_the_nearest_code_is_nearest_far_from_the_origin_in_single_precision(offset):
    z, codebook = (torch.randn(n, 4, generator=rng(n)) + offset for n in (2000, 64))
    exact = (z.double()[:, None] - codebook.double()).square().sum(-1).argmin(1)
    assert torch.equal(discrete.nearest_code(z, codebook), exact)


def test_the_nearest_code_is_found_in_blocks_in_half_precision_and_of_one_vector(monkeypatch):
    z, codebook = torch.randn(5, 3, 2, generator=rng()), torch.randn(7, 2, generator=rng(1))
    whole = discrete.nearest_code(z, codebook)
    assert torch.equal(whole[2, 1], discrete.nearest_code(z[2, 1], codebook))
    half = z.bfloat16(), codebook.bfloat16()
    assert torch.equal(discrete.nearest_code(*half), discrete.nearest_code(*(x.float() for x in half)))
    held, distances = [], discrete.distances
    monkeypatch.setattr(core, "BLOCK", 30)
    monkeypatch.setattr(discrete, "distances", lambda *pair: held.append(distances(*pair)) or held[-1])
    assert torch.equal(discrete.nearest_code(z.requires_grad_(), codebook), whole)
    assert [table.numel() for table in held] == [28, 28, 28, 21] and not held[0].requires_grad


@pytest.mark.equation("eq-dis-vq-penalties")
def test_one_penalty_moves_the_code_and_one_the_encoder():
    z, code = f64((1.0, 2.0), (0.0, -1.0)).requires_grad_(), f64((0.5, 2.5), (1.0, 0.0)).requires_grad_()
    pull, commitment = discrete.vq_penalties(z, code)
    close(pull, (z - code).square().sum(1))
    close(commitment, pull)
    close(torch.autograd.grad(pull.sum(), code, retain_graph=True)[0], 2 * (code - z))
    assert torch.autograd.grad(pull.sum(), z, allow_unused=True)[0] is None
    close(torch.autograd.grad(commitment.sum(), z, retain_graph=True)[0], 2 * (z - code))
    assert torch.autograd.grad(commitment.sum(), code, allow_unused=True)[0] is None


@pytest.mark.equation("eq-dis-averaged")
def test_an_averaged_codebook_is_k_means_without_memory_and_a_running_mean_with_it():
    z, codebook = f64((0.0,), (1.0,), (2.0,), (10.0,)), f64((0.4,), (8.0,), (-99.0,))
    made, counts = discrete.averaged_codebook(codebook, torch.zeros(3).double(), z, 0.0)
    close(made, f64((1.0,), (10.0,), (-99.0,)))
    close(counts, f64(3.0, 1.0, 0.0))
    made, counts = discrete.averaged_codebook(codebook, f64(5.0, 2.0, 1.0), z, 0.9)
    close(counts, f64(4.8, 1.9, 0.9))
    close(made, f64(((4.5 * 0.4 + 0.1 * 3.0) / 4.8,), ((1.8 * 8 + 0.1 * 10) / 1.9,), (-99.0,)))


@pytest.mark.equation("eq-dis-perplexity")
def test_perplexity_counts_codes_by_their_use():
    close(discrete.perplexity(torch.arange(12).view(3, 4) % 4, 9), f64(4.0)[0])
    close(discrete.perplexity(torch.zeros(5, dtype=torch.int64), 1), f64(1.0)[0])
    p = f64(0.5, 0.25, 0.25)
    close(discrete.perplexity(torch.tensor([0, 0, 1, 2]), 3), torch.exp(-(p * p.log()).sum()))


@pytest.mark.equation("eq-dis-lloyd")
def test_lloyd_max_has_the_published_table_and_is_a_fixed_point():
    """Max (1960), table I: distortions 0.3634, 0.1175, 0.03454 and entropies 1, 1.911, 2.825 bits at 2, 4, 8 levels."""
    for k, distortion, bits in ((1, 1.0, 0.0), (2, 0.3634, 1.0), (4, 0.1175, 1.911), (8, 0.03454, 2.825)):
        levels, error, entropy = discrete.lloyd_max(k)
        assert float(error) == pytest.approx(distortion, abs=6e-5)
        assert float(entropy) / math.log(2) == pytest.approx(bits, abs=6e-4)
        assert levels.dtype == torch.float64 and torch.equal(levels, levels.sort().values)
        close(levels, -levels.flip(0), atol=1e-9)
        assert float(error) >= 2 ** (-2 * float(entropy) / math.log(2)) - 1e-12  # Shannon's bound
    close(discrete.lloyd_max(2)[0][1], math.sqrt(2 / math.pi) * f64(1.0)[0])
    z = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000)
    levels, error, _ = discrete.lloyd_max(4)
    nearest = levels[discrete.nearest_code(z[:, None], levels[:, None])]
    close((z - nearest).square().mean(), error, rtol=1e-4)
    again, _ = discrete.averaged_codebook(levels[:, None], torch.zeros(4).double(), z[:, None], 0.0)
    close(again[:, 0], levels, rtol=1e-4)
    assert discrete.lloyd_max(4, 1)[1] > error


# --- VQ-VAE ---------------------------------------------------------------------------------------------------------


def vqvae(shape=(6, 5), levels=3, n_codes=4, **options):
    torch.manual_seed(0)
    return VQVAE(shape, levels, n_codes, d_code=2, **{"widths": (4, 6)} | options).double()


def pictures(n=3, shape=(6, 5), levels=3):
    return torch.randint(levels, (n, 1, *shape), generator=rng(7)).double()


def test_sides_are_halved_rounding_up_and_given_back():
    for shape, widths, places in (
        ((28, 28), (4, 4, 4), 16),
        ((8, 8), (4, 4), 4),
        ((6, 5), (4,), 9),
        ((7, 3), (2, 2), 2),
    ):
        model, x = vqvae(shape, widths=widths), pictures(2, shape)
        assert model.n_places == places and model.outputs(x).shape == (2, places, 2)
        assert model.logits(model.outputs(x)).shape == (2, *shape, 3)


@pytest.mark.equation("eq-dis-vq-bound")
def test_the_mass_of_images_sums_to_one_given_codes_and_the_bound_is_one_term():
    model = vqvae((2, 2), 2, 3, widths=(4,))
    images = bit_states(4).view(-1, 1, 2, 2)
    codes = torch.tensor([[1]])
    mass = model.log_likelihood(images, model.codebook[codes].expand(16, 1, 2)).exp()
    close(mass.sum(), f64(1.0)[0])
    means = model.pixel_means(codes)
    close(means[0, 0].flatten(), mass @ images.flatten(1))
    torch.manual_seed(1)
    prior = CausalTransformer(3, 1, width=4, depth=1, n_heads=1).double()
    every = torch.tensor([[0], [1], [2]])
    joint = torch.stack(
        [
            model.log_likelihood(images, model.codebook[c][None].expand(16, 1, 2)) + prior.log_prob(c[None])
            for c in every
        ]
    )
    bound = model.log_prob_bound(images, prior)
    assert (bound < joint.logsumexp(0)).all()
    close(bound, joint.gather(0, model.encode(images).T)[0])


@pytest.mark.equation("eq-dis-vq-loss")
def test_each_part_of_a_vqvae_learns_from_its_own_term():
    model, x = vqvae(), pictures()
    terms = model.loss_terms(x, beta=0.5)
    z = model.outputs(x)
    code = model.codebook[model.encode(x)]
    close(terms["distortion"], -model.log_likelihood(x, code))
    close(terms["commitment"], (z - code).square().sum((1, 2)))
    close(terms["loss"], terms["distortion"] + 1.5 * terms["commitment"])
    (codebook,) = torch.autograd.grad(terms["loss"].sum(), model.codebook, retain_graph=True)
    chosen = F.one_hot(model.encode(x), 4).double()
    close(codebook, 2 * torch.einsum("bpk,bpd->kd", chosen, (code - z).detach()))
    weight = model.before[-1].weight
    (encoder,) = torch.autograd.grad(terms["loss"].sum(), weight, retain_graph=True)
    (slope,) = torch.autograd.grad(terms["distortion"].sum(), weight, retain_graph=True)
    vectors = code.detach().requires_grad_()
    (at_codes,) = torch.autograd.grad(-model.log_likelihood(x, vectors).sum(), vectors)
    passed = torch.autograd.grad((z * (at_codes + (z - code).detach())).sum(), weight)[0]  # beta = 1/2 of the slope 2
    close(encoder, passed)
    assert slope.abs().max() > 1e-6


def test_a_restart_moves_dead_codes_onto_outputs_and_no_others():
    model, x = vqvae(), pictures(8)
    with torch.no_grad():
        model.codebook[1:3] = 1e3
    before = model.codebook.detach().clone()
    live = model.encode(x).unique()
    dead = [k for k in range(4) if k not in live]
    assert {1, 2} <= set(dead)
    assert model.restart(x, generator=rng()) == len(dead)
    close(model.codebook[live], before[live])
    distance = torch.cdist(model.codebook[dead], model.outputs(x).flatten(0, 1))
    assert distance.min(1).values.max() < 1e-6 and (model.codebook[1] != model.codebook[2]).any()
    assert not model.restart(x, generator=rng()) or len(model.encode(x).unique()) < 4


def test_every_parameter_of_a_vqvae_learns_and_it_runs_on_the_meta_device():
    model, x = vqvae(), pictures(20)
    with torch.no_grad():
        model.codebook.copy_(model.outputs(x).flatten(0, 1)[::20][:4])
    model.loss_terms(x)["loss"].sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and (p.grad != 0).any(), name
    assert model.to("meta").loss_terms(x.to("meta"))["loss"].shape == (20,)


def test_the_encoder_sees_grey_levels_from_minus_one_to_one(monkeypatch):
    model, seen = vqvae(widths=(4,)), []
    model.down[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.outputs(pictures())
    close(seen[0], pictures() - 1)


# --- wrong input ----------------------------------------------------------------------------------------------------

Q, LOGITS = torch.ones(8).double(), torch.ones(3).double()
REFUSED = {
    "z has 3 NaN or infinite values among 24, expected finite ones": lambda: discrete.nearest_code(
        torch.cat([STATES[:7], STATES[:1] + math.nan]), STATES
    ),
    "codebook has 24 NaN or infinite values among 24, expected finite ones": lambda: discrete.nearest_code(
        STATES, STATES + math.inf
    ),
    "x has values between whole numbers, expected whole numbers from 0 to 2": lambda: vqvae().loss_terms(
        pictures().clamp(max=0.5)
    ),
    "x has values from 0 to 4, expected whole numbers from 0 to 2": lambda: vqvae().encode(2 * pictures()),
    "x has values from nan to nan, expected whole numbers from 0 to 2": lambda: vqvae().encode(pictures() * math.nan),
    "x has values from 0 to 4, expected whole numbers from 0 to 2 ": lambda: vqvae().log_likelihood(
        2 * pictures(), torch.zeros(3, 4, 2).double()
    ),
    "x has shape (3, 6, 5), expected 4 axes: (batch, 1, h, w)  ": lambda: vqvae().log_likelihood(
        pictures()[:, 0], torch.zeros(3, 4, 2).double()
    ),
    "codes has values from 0 to 5, expected whole numbers from 0 to 3": lambda: vqvae().pixel_means(
        torch.tensor([[0, 1, 2, 5]])
    ),
    "codebook has shape (8, 2), expected (8, 3)": lambda: discrete.nearest_code(STATES, STATES[:, :2]),
    "codebook has shape (3,), expected 2 axes: (k, 3)": lambda: discrete.nearest_code(STATES, LOGITS),
    "code has shape (7, 3), expected (8, 3)": lambda: discrete.vq_penalties(STATES, STATES[:7]),
    "z has dtype torch.int64, expected a floating dtype ": lambda: discrete.vq_penalties(STATES.long(), STATES),
    "decay is 1.5, expected a number in [0.0, 1.0]": lambda: discrete.averaged_codebook(STATES, Q, STATES, 1.5),
    "z has shape (8, 2), expected (8, 3) ": lambda: discrete.averaged_codebook(STATES, Q, STATES[:, :2], 0.5),
    "counts has shape (7,), expected (8,)": lambda: discrete.averaged_codebook(STATES, Q[:7], STATES, 0.5),
    "codes has values from 0 to 3, expected whole numbers from 0 to 2": lambda: discrete.perplexity(torch.arange(4), 3),
    "codes has values from -1 to 0, expected whole numbers from 0 to 2": lambda: discrete.perplexity(
        torch.tensor([-1, 0]), 3
    ),
    "n_codes is 0, expected at least 1": lambda: discrete.perplexity(torch.arange(4), 0),
    "k is 0, expected at least 1": lambda: discrete.lloyd_max(0),
    "n_steps is 0, expected at least 1": lambda: discrete.lloyd_max(2, 0),
    "levels is 1, expected at least 2": lambda: VQVAE((4, 4), 1, 3),
    "shape is 0, expected at least 1": lambda: VQVAE((0, 4), 2, 3),
    "widths is empty, expected the channels after one halving or more": lambda: VQVAE((4, 4), 2, 3, widths=()),
    "widths is 0, expected at least 1": lambda: VQVAE((4, 4), 2, 3, widths=(0,)),
    "n_codes is 0, expected at least 1 ": lambda: VQVAE((4, 4), 2, 0),
    "x has shape (3, 1, 4, 4), expected (3, 1, 6, 5)": lambda: vqvae().encode(pictures(shape=(4, 4))),
    "x has dtype torch.int64, expected a floating dtype  ": lambda: vqvae().loss_terms(pictures().long()),
    "beta is -1.0, expected a number in [0.0, inf)": lambda: vqvae().loss_terms(pictures(), beta=-1.0),
    "codes has shape (3, 5), expected (3, 4)": lambda: vqvae().pixel_means(torch.zeros(3, 5).long()),
    "codes has shape (4,), expected 2 axes: (batch, places)": lambda: vqvae().pixel_means(torch.zeros(4).long()),
    "x has shape (3, 6, 5), expected 4 axes: (batch, 1, h, w)": lambda: vqvae().restart(pictures()[:, 0]),
    "x has shape (3, 6, 5), expected 4 axes: (batch, 1, h, w) ": lambda: vqvae().log_prob_bound(pictures()[:, 0], None),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_input_is_refused_in_one_sentence(sentence, untyped):
    with pytest.raises((ValueError, TypeError)) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value) == sentence.strip()
