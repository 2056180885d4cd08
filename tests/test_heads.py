"""The laws of one coordinate, against torch.distributions; draws, against distribution functions."""

import math

import pytest
import torch
from exact import f64
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import MixtureSameFamily, Normal

from dgmlib.bugs import wrong
from dgmlib.heads import Bernoulli, Categorical, Gaussian, MixtureOfGaussians


def close(ours, theirs, atol=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol, check_dtype=True)


LEVELS = (torch.arange(401, dtype=torch.float64) + 0.5) / 401


@pytest.mark.equation("eq-ar-bernoulli")
@pytest.mark.notes("N3-040")
def test_a_bit_has_the_log_mass_of_its_logit_also_far_out():
    x, logits = f64(0.0, 1.0, 1.0, 0.0), f64(0.3, -2.0, 30.0, 800.0)
    close(Bernoulli().log_prob(x, logits[:, None]), f64(-0.8543552444685272, -2.1269280110429727, -9.3576e-14, -800.0))
    for bug in ("double-sigmoid", "bernoulli-ones-only"):
        assert (
            wrong("bernoulli-head", bug)(x, logits[:, None]) - Bernoulli().log_prob(x, logits[:, None])
        ).abs().max() > 0.1


def test_a_bit_is_one_below_its_probability():
    p = f64(0.0, 0.2, 0.2, 0.9)
    u = f64(0.0, 0.1999, 0.2001, 0.8)
    assert Bernoulli().draw(p.logit()[:, None], u).tolist() == [0, 1, 0, 1]
    assert Bernoulli().draw(p.logit()[:, None], u).dtype == torch.float64


@pytest.mark.equation("eq-ar-categorical")
@pytest.mark.notes("N3-040", "N3-042")
def test_levels_have_the_log_softmax_of_their_logits():
    logits = f64((0.5, -1.0, 2.0), (0.0, 700.0, -3.0))
    x = f64(2.0, 0.0)
    close(Categorical(3).log_prob(x, logits), TorchCategorical(logits=logits).log_prob(x))
    close(Categorical(3).log_prob(x, logits + 5), Categorical(3).log_prob(x, logits))
    head = Categorical(3)
    assert (head.n_params, head.scale) == (3, 2.0)
    drawn = head.draw(logits[:1].expand(401, 3), LEVELS)
    assert drawn.dtype == torch.float64
    close(drawn.long().bincount(minlength=3).double() / 401, logits[0].softmax(0), atol=1 / 401)
    assert (drawn.diff() >= 0).all()


@pytest.mark.equation("eq-ar-gaussian")
@pytest.mark.notes("N3-041")
def test_a_gaussian_scores_and_draws_as_torch_does():
    params = f64((0.5, -0.2), (-1.0, 0.7))
    x, law = f64(0.1, 3.0), Normal(params[:, 0], params[:, 1].exp())
    close(Gaussian().log_prob(x, params), law.log_prob(x))
    u = f64(0.03, 0.7)
    close(law.cdf(Gaussian().draw(params, u)), u)
    assert Gaussian().n_params == 2 and Gaussian().scale == Bernoulli().scale == MixtureOfGaussians(1).scale == 1


@pytest.mark.equation("eq-ar-mixture")
@pytest.mark.notes("N3-043", "H3-08")
def test_a_mixture_scores_as_torch_does_and_draws_its_own_law():
    params = f64(0.4, -0.6, 0.1, -2.0, 0.5, 3.0, -0.3, 0.2, -1.0)
    head, law = MixtureOfGaussians(3), MixtureSameFamily(
        TorchCategorical(logits=params[:3]), Normal(params[3:6], params[6:].exp())
    )  # fmt: skip
    x = f64(-2.5, 0.0, 0.4, 3.1)
    close(head.log_prob(x, params.expand(4, 9)), law.log_prob(x))
    assert head.n_params == 9
    for bug in ("mixture-weights-not-normalised", "mixture-of-parameters", "mixture-variance-for-std"):
        assert (wrong("mixture-head", bug)(x, params.expand(4, 9)) - law.log_prob(x)).abs().max() > 0.01
    many = (torch.arange(30_000, dtype=torch.float64) + 0.5) / 30_000
    drawn = head.draw(params.expand(30_000, 9), many)
    close(law.cdf(drawn.sort().values), many, atol=2e-4)  # equally spaced uniforms leave no room for chance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_at_the_ends_give_finite_draws(dtype):
    u = torch.tensor([0.0, 1 - torch.finfo(dtype).eps / 2], dtype=dtype)
    for head in (Gaussian(), MixtureOfGaussians(2)):
        drawn = head.draw(torch.zeros(2, head.n_params, dtype=dtype), u)
        assert torch.isfinite(drawn).all() and drawn.dtype == dtype
        assert 5 < drawn[1] < 9 and -9 < drawn[0] < -5


HEADS = {"bit": Bernoulli(), "levels": Categorical(4), "number": Gaussian(), "mixture": MixtureOfGaussians(2)}


@pytest.mark.parametrize("name", HEADS)
def test_a_draw_takes_one_uniform_for_each_law(name, untyped):
    head = HEADS[name]
    params = torch.zeros(3, head.n_params)
    with pytest.raises(ValueError, match=r"^u has shape \(5, 3\), expected \(3,\)"):
        head.draw(params, torch.zeros(5, 3))
    for bad in (1.0, math.nan):
        with pytest.raises(ValueError, match=r"^u reaches from .*, expected numbers in \[0, 1\)"):
            head.draw(params, torch.full((3,), bad))


def test_bits_and_levels_are_read_numbers_are_not():
    for head, bad in ((Bernoulli(), 16.0), (Bernoulli(), 0.5), (Categorical(17), 0.5), (Categorical(4), math.nan)):
        with pytest.raises(ValueError, match=rf"^x has values .*, expected whole numbers from 0 to {head.levels - 1}$"):
            head.log_prob(torch.tensor([bad, 1.0]), torch.zeros(2, head.n_params))
    for head in (Gaussian(), MixtureOfGaussians(2)):
        log_p = head.log_prob(torch.tensor([math.nan, 0.5]), torch.zeros(2, head.n_params))
        assert head.levels is None and log_p.isnan().tolist() == [True, False]


def test_heads_refuse_too_few_levels_or_components(untyped):
    with pytest.raises(ValueError, match=r"^levels is 1, expected at least 2"):
        Categorical(1)
    with pytest.raises(TypeError, match=r"^levels is 2.0, expected an int"):
        Categorical(2.0)
    with pytest.raises(ValueError, match=r"^k is 0, expected at least 1"):
        MixtureOfGaussians(0)
    with pytest.raises(TypeError, match=r"^k is 'two', expected an int"):
        MixtureOfGaussians("two")
