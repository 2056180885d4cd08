"""Attention and the causal Transformer against torch, enumeration, Jacobians, and samplers that do everything anew."""

import itertools
import math

import pytest
import torch
from exact import normal, rng
from torch import nn
from torch.nn import functional as F

from dgmlib import core
from dgmlib.bugs import wrong
from dgmlib.bugs.transformer import MODEL
from dgmlib.sequential import jacobi_sample, naive_sample
from dgmlib.transformer import (
    ALPHABET,
    Block,
    Cache,
    CausalSelfAttention,
    CausalTransformer,
    attention,
    attention_weights,
    causal_mask,
    decode_text,
    encode_text,
    python_reference,
)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def small(n_values=2, length=6, seed=0, **options):
    torch.manual_seed(seed)
    model = CausalTransformer(n_values, length, **{"width": 8, "depth": 2, "n_heads": 2} | options).double()
    with torch.no_grad():  # sharper laws than those of an untrained network
        model.head.weight.mul_(4)
    return model.requires_grad_(False)


def sequences(n_values, length):
    return torch.tensor(list(itertools.product(range(n_values), repeat=length)))


# --- attention ------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-attention")
@pytest.mark.notes("N4-004", "H4-02", "H3-11")
def test_attention_is_torchs():
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 6, seed=2)
    mask = torch.rand(5, 7, generator=rng(3)) < 0.6
    mask[:, 0] = True
    close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    close(attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    q, k, v = normal(2, 5, 4), normal(2, 5, 4, seed=1), normal(2, 5, 4, seed=2)
    causal = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    close(attention(q, k, v, causal_mask(5, 5)), causal)
    for bug in ("attention-no-scale", "attention-mask-zero", "attention-mask-after", "attention-softmax-axis"):
        assert not torch.allclose(wrong("attention", bug)(q, k, v, causal_mask(5, 5)), causal, atol=1e-3), bug


@pytest.mark.equation("eq-attention-weights")
def test_weights_are_a_law_over_the_keys_that_are_visible():
    weights = attention_weights(normal(5, 4), normal(5, 4, seed=1), causal_mask(5, 5))
    close(weights.sum(-1), torch.ones(5, dtype=torch.float64))
    assert (weights.triu(1) == 0).all() and (weights.tril() == weights).all() and (weights >= 0).all()
    q, k = normal(4), normal(2, 4, seed=1)
    by_hand = torch.tensor([math.exp(float(q @ key) / 2) for key in k], dtype=torch.float64)
    close(attention_weights(q[None], k)[0], by_hand / by_hand.sum())


@pytest.mark.equation("eq-causal-mask")
def test_the_mask_lets_the_last_queries_look_back():
    assert causal_mask(3, 3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert causal_mask(1, 4).tolist() == [[True] * 4]
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True] * 4]
    assert causal_mask(2, 4).dtype == torch.bool


@pytest.mark.equation("eq-attention-equivariance")
@pytest.mark.notes("H3-11")
def test_without_places_attention_does_not_know_the_order():
    torch.manual_seed(0)
    layer, x, order = CausalSelfAttention(8, 2).double(), normal(1, 5, 8), torch.tensor([3, 0, 4, 1, 2])
    q, k, v = layer.heads(x)
    close(attention(q[:, :, order], k[:, :, order], v[:, :, order]), attention(q, k, v)[:, :, order])
    close(attention(q, k[:, :, order], v[:, :, order]), attention(q, k, v))  # keys and values are a set
    assert not torch.allclose(layer(x[:, order]), layer(x)[:, order])  # the causal mask breaks the symmetry


@pytest.mark.equation("eq-attention-heads")
def test_the_layer_is_torchs_multihead_attention():
    torch.manual_seed(0)
    layer, peer = CausalSelfAttention(12, 3).double(), nn.MultiheadAttention(12, 3, batch_first=True).double()
    peer.in_proj_weight.data, peer.in_proj_bias.data = layer.qkv.weight.data, layer.qkv.bias.data
    peer.out_proj.weight.data, peer.out_proj.bias.data = layer.out.weight.data, layer.out.bias.data
    x = normal(2, 5, 12)
    theirs = peer(x, x, x, attn_mask=~causal_mask(5, 5), need_weights=False)[0]
    close(layer(x), theirs)


@pytest.mark.equation("eq-transformer-block")
def test_the_block_is_torchs_pre_norm_layer():
    torch.manual_seed(0)
    block = Block(8, 2).double()
    peer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
    peer.self_attn.in_proj_weight.data, peer.self_attn.in_proj_bias.data = (
        p.data for p in block.attention.qkv.parameters()
    )
    peer.self_attn.out_proj.load_state_dict(block.attention.out.state_dict())
    peer.linear1.load_state_dict(block.mlp[0].state_dict())
    peer.linear2.load_state_dict(block.mlp[2].state_dict())
    for mine, theirs in ((block.norm_1, peer.norm1), (block.norm_2, peer.norm2)):
        nn.init.normal_(mine.weight)
        theirs.load_state_dict(mine.state_dict())
    x = normal(3, 6, 8)
    close(block(x), peer(x, src_mask=~causal_mask(6, 6)))


@pytest.mark.equation("eq-attention-reach")
@pytest.mark.notes("N3-051")
def test_attention_reaches_every_lag_alike():
    """With equal scores row t of the result moves by 1/t of any value before it; an RNN's by a power of the lag."""
    v = normal(6, 1).requires_grad_()
    zero = torch.zeros(6, 2, dtype=torch.float64)
    out = attention(zero, zero, v, causal_mask(6, 6))[:, 0]
    for t in range(6):
        (gradient,) = torch.autograd.grad(out[t], v, retain_graph=True)
        close(gradient[:, 0], torch.tensor([1 / (t + 1)] * (t + 1) + [0.0] * (5 - t), dtype=torch.float64))


# --- the density ----------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-transformer")
@pytest.mark.notes("N3-050")
@pytest.mark.parametrize(("n_values", "length"), [(2, 10), (2, 1), (5, 4), (3, 6)])
def test_probabilities_sum_to_one(n_values, length):
    model = small(n_values, length)
    total = model.log_prob(sequences(n_values, length)).exp().sum()
    close(total, torch.ones((), dtype=torch.float64), atol=1e-12)


@pytest.mark.equation("eq-transformer")
def test_wrong_models_do_not_sum_to_one():
    x = sequences(2, 5)
    close(MODEL.log_prob(x).exp().sum(), torch.ones((), dtype=torch.float64))
    for bug in ("transformer-not-shifted", "transformer-not-causal", "transformer-no-start", "transformer-mean"):
        assert abs(wrong("transformer", bug)(x).exp().sum() - 1) > 1e-3, bug
    twice = wrong("transformer", "transformer-shifted-twice")(x)
    close(twice.exp().sum(), torch.ones((), dtype=torch.float64))  # a law, but another one
    assert not torch.allclose(twice, MODEL.log_prob(x), atol=1e-3)


@pytest.mark.equation("eq-transformer-shift")
@pytest.mark.notes("N3-050", "N4-004")
def test_a_rows_logits_depend_on_the_tokens_before_it_and_on_all_of_them():
    model, x = small(4, 7), torch.randint(0, 4, (1, 7), generator=rng())
    base = model.logits(x)[0]
    for i, value in itertools.product(range(7), range(4)):
        if value != x[0, i]:
            y = x.clone()
            y[0, i] = value
            moved = (model.logits(y)[0] != base).any(-1)
            assert moved.tolist() == [row > i for row in range(7)]  # exactly, in floating point


@pytest.mark.equation("eq-transformer-shift")
@pytest.mark.notes("N3-050")
def test_the_jacobian_of_the_logits_in_the_embeddings_is_strictly_lower_triangular():
    model, x = small(2, 6), torch.randint(0, 2, (1, 6), generator=rng())
    rows = model.token(x)

    def logits(rows):
        shifted = torch.cat([model.start.weight[None], rows[:, :-1]], 1)
        return model._forward(shifted + model.place)[0]

    close(logits(rows), model.logits(x)[0], atol=0)
    jacobian = torch.autograd.functional.jacobian(logits, rows)  # (row, value, 1, token, width)
    reach = jacobian.abs().sum((1, 2, 4))
    assert (reach.triu() == 0).all() and (reach[torch.tril_indices(6, 6, -1).unbind(0)] > 0).all()


def test_places_matter_and_one_place_serves_one_position():
    model = small(2, 5)
    before = model.logits(sequences(2, 5))
    model.place[2] += 0.5
    after = model.logits(sequences(2, 5))
    assert [(before[:, i] != after[:, i]).any().item() for i in range(5)] == [False, False, True, True, True]


def test_token_log_probs_are_the_log_softmax_at_the_token():
    model, x = small(3, 4), sequences(3, 4)
    by_hand = torch.log(model.logits(x).softmax(-1))
    parts = torch.stack([by_hand[torch.arange(81), i, x[:, i]] for i in range(4)], 1)
    close(model.token_log_probs(x), parts)
    close(model.log_prob(x), parts.sum(1))
    assert torch.equal(model.log_prob(x.to(torch.uint8)), model.log_prob(x))


@pytest.mark.equation("eq-transformer")
def test_with_a_label_each_class_has_a_law_of_its_own():
    model, x = small(2, 6, n_classes=3), sequences(2, 6)
    laws = torch.stack([model.log_prob(x, label=torch.full((64,), y)) for y in range(3)])
    close(laws.exp().sum(1), torch.ones(3, dtype=torch.float64))
    assert (laws[0] - laws[1]).abs().max() > 0.01 and (laws[1] - laws[2]).abs().max() > 0.01
    mixed = torch.arange(64) % 3
    close(model.log_prob(x, label=mixed), laws[mixed, torch.arange(64)])
    u = torch.rand(9, 6, generator=rng(), dtype=torch.float64)
    y = torch.arange(9) % 3
    assert model.sample_from(u, y).equal(naive_sample(lambda x, v: model.draw(x, v, y), u))
    assert model.sample(9, label=y, generator=rng(1)).shape == (9, 6)


def test_the_options_change_the_network_they_name():
    count = lambda **options: sum(p.numel() for p in small(**options).parameters())  # noqa: E731
    width, length = 8, 6
    block = (
        4 * width + (width + 1) * 3 * width + (width + 1) * width + (width + 1) * 4 * width + (4 * width + 1) * width
    )
    rest = 2 * width + width + length * width + 2 * width + (width + 1) * 2
    assert count() == rest + 2 * block and count(depth=1) == rest + block
    assert count(n_classes=5) == count() + 4 * width
    assert small(n_heads=4).blocks[0].attention.n_heads == 4
    fresh = CausalTransformer(2, 3)
    assert (len(fresh.blocks), fresh.place.shape, fresh.blocks[0].attention.n_heads) == (2, (3, 64), 4)
    assert 0.08 < CausalTransformer(2, 100).place.std() < 0.12  # 6400 draws of standard deviation 0.1


def test_it_learns_a_law_that_needs_all_of_the_past():
    """Even parity of 4 bits: the last bit is certain, the others are coins. H = 3 log 2, and no less."""
    torch.manual_seed(0)
    model, x = CausalTransformer(2, 4, width=16, depth=2, n_heads=2), sequences(2, 4)
    x = x[x.sum(1) % 2 == 0]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = -model.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert 3 * math.log(2) - 1e-5 < loss < 3 * math.log(2) + 0.05


# --- samplers -------------------------------------------------------------------------------------------------------


@pytest.mark.equation("eq-kv-cache")
@pytest.mark.notes("H3-11")
@pytest.mark.parametrize("options", [{}, {"n_values": 5, "length": 9}, {"depth": 1, "n_heads": 4}, {"length": 1}])
def test_cached_naive_and_jacobi_sampling_give_the_same_sample(options):
    model = small(**options)
    u = torch.rand(60, model.length, generator=rng(), dtype=torch.float64)
    cached, naive = model.sample_from(u), naive_sample(model.draw, u)
    assert cached.dtype == torch.int64 and cached.equal(naive)
    assert jacobi_sample(model.draw, u)[0].equal(naive)


@pytest.mark.equation("eq-kv-cache")
def test_a_cache_off_by_one_is_found_out():
    u = torch.rand(200, 5, generator=rng(), dtype=torch.float64)
    right = naive_sample(MODEL.draw, u)
    assert MODEL.sample_from(u).equal(right)
    for bug in ("cache-position-behind", "cache-forgets-newest", "cache-place-stuck"):
        assert not wrong("kv-cache", bug)(u).equal(right), bug


@pytest.mark.equation("eq-kv-cache")
def test_a_cached_layer_repeats_the_full_pass_in_pieces():
    torch.manual_seed(0)
    layer, x, cache = CausalSelfAttention(8, 2).double(), normal(3, 7, 8), Cache(7)
    pieces = [layer(part, cache) for part in x.split([1, 3, 1, 2], 1)]
    close(torch.cat(pieces, 1), layer(x))
    assert cache.filled == 7


def test_sample_draws_its_own_uniforms():
    model = small(3, 4)
    u = torch.rand(20, 4, generator=rng(5), dtype=torch.float64)
    assert model.sample(20, generator=rng(5)).equal(model.sample_from(u))
    assert not model.sample(20, generator=rng(6)).equal(model.sample(20, generator=rng(5)))
    assert model.float().sample(7, generator=rng()).shape == (7, 4)


def test_no_token_given_is_no_prompt_and_likelihoods_go_in_blocks(monkeypatch):
    model = small()
    free = model.sample_from(U)
    assert model.sample_from(U, given=free[:, :0]).equal(free)
    whole, sizes, logits = model.log_prob(free), [], model.logits
    monkeypatch.setattr(core, "BLOCK", 2000)
    monkeypatch.setattr(model, "logits", lambda x, label: sizes.append(len(x)) or logits(x, label=label))
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(free), whole)
    assert len(sizes) > 1 and max(sizes) < 3


def test_given_tokens_stay_and_the_rest_follows_the_exact_law():
    model = small(2, 5)
    given = torch.tensor([[1, 0]])
    law = model.log_prob(torch.cat([given.expand(8, 2), sequences(2, 3)], 1)).softmax(0)
    n = 40_000
    u = torch.rand(n, 5, generator=rng(), dtype=torch.float64)
    x = model.sample_from(u, given=given.expand(n, 2))
    assert x[:, :2].equal(given.expand(n, 2))
    counts = (x[:, 2:] @ torch.tensor([4, 2, 1])).bincount(minlength=8)
    assert ((counts - n * law).abs() < 6 * (n * law * (1 - law)).sqrt()).all()  # by chance once in 6e7
    assert model.sample_from(u[:4], given=x[:4]).equal(x[:4])  # everything given


def test_sampling_leaves_no_graph():
    model = small().requires_grad_(True)
    u = torch.rand(2, 6, dtype=torch.float64)
    assert not model.sample_from(u).requires_grad and not model.draw(torch.zeros(2, 6), u).requires_grad
    assert model.log_prob(model.sample_from(u)).requires_grad


# --- characters -----------------------------------------------------------------------------------------------------


def test_text_in_27_symbols():
    tokens = encode_text("  It's 3 o'clock,\nAND all\tis well!  ")
    assert decode_text(tokens) == "it s o clock and all is well"
    assert len(ALPHABET) == 27 and tokens.min() == 0 and tokens.max() < 27 and tokens.dtype == torch.int64
    assert decode_text(torch.arange(27)) == " abcdefghijklmnopqrstuvwxyz"
    assert encode_text("zA").tolist() == [26, 1]


def test_the_python_reference_is_there():
    tokens = python_reference()
    assert len(tokens) > 200_000 and tokens.unique().tolist() == list(range(27))
    assert tokens.equal(python_reference())
    text = decode_text(tokens)
    assert " the " in text and " exception " in text and "  " not in text
    assert text.index("the assert statement") < text.index("the for statement is used")  # topics in alphabetical order


# --- refusals -------------------------------------------------------------------------------------------------------

TOKENS, U = torch.zeros(3, 6, dtype=torch.int64), torch.rand(3, 6, dtype=torch.float64)
LABELLED = small(n_classes=3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: small().log_prob(TOKENS[:, :5]), ValueError, r"x has shape \(3, 5\), expected \(3, 6\)"),
        (lambda: small().log_prob(TOKENS.double()), TypeError, "x has dtype torch.float64, expected an integer dtype"),
        (lambda: small().log_prob(TOKENS.bool()), TypeError, "x has dtype torch.bool"),
        (
            lambda: small().log_prob(TOKENS + 2),
            ValueError,
            "x has values from 2 to 2, expected whole numbers from 0 to 1",
        ),
        (lambda: small().log_prob(TOKENS - 1), ValueError, "x has values from -1 to -1"),
        (lambda: small().log_prob(TOKENS[:0]), ValueError, "x has shape"),
        (lambda: small().logits([0, 1]), TypeError, "x is a list"),
        (lambda: small().log_prob(TOKENS, label=torch.zeros(3).long()), ValueError, "label is .*expected None"),
        (
            lambda: LABELLED.log_prob(TOKENS),
            ValueError,
            "label is None, expected one for each row, as n_classes is 3",
        ),
        (
            lambda: LABELLED.log_prob(TOKENS, label=torch.zeros(2).long()),
            ValueError,
            r"label has shape \(2,\), expected \(3,\)",
        ),
        (
            lambda: LABELLED.log_prob(TOKENS, label=torch.full((3,), 3)),
            ValueError,
            "label has values from 3 to 3.* 0 to 2",
        ),
        (lambda: LABELLED.log_prob(TOKENS, label=torch.zeros(3)), TypeError, "label has dtype torch.float32"),
        (lambda: small().sample_from(U[:, :4]), ValueError, r"u has shape \(3, 4\), expected \(3, 6\)"),
        (lambda: small().sample_from(TOKENS), TypeError, "u has dtype torch.int64"),
        (lambda: small().sample_from(U, given=TOKENS[:2]), ValueError, r"given has shape \(2, 6\), expected \(3, 6\)"),
        (lambda: small().sample_from(U, given=TOKENS[:, :2] + 5), ValueError, "given has values from 5 to 5"),
        (lambda: small().sample_from(U, given=torch.zeros(3, 7).long()), ValueError, r"given has shape \(3, 7\)"),
        (lambda: small().sample_from(U + 1), ValueError, r"u reaches from .*, expected numbers in \[0, 1\)"),
        (
            lambda: small().draw(0.5 + TOKENS, U),
            ValueError,
            "x has values between whole numbers, expected",
        ),
        (lambda: small().draw(math.nan * TOKENS, U), ValueError, "x has values from nan to nan"),
        (
            lambda: decode_text(torch.tensor([3, -1])),
            ValueError,
            "tokens has values from -1 to 3, expected .* 26",
        ),
        (lambda: small().sample(0), ValueError, "n is 0"),
        (lambda: small().sample(2.0), TypeError, "n is 2.0"),
        (lambda: small(1), ValueError, "n_values is 1, expected at least 2"),
        (lambda: small(length=0), ValueError, "length is 0"),
        (lambda: small(depth=0), ValueError, "depth is 0"),
        (lambda: small(n_classes=0), ValueError, "n_classes is 0"),
        (lambda: small(width=0), ValueError, "width is 0, expected at least 1"),
        (lambda: small(width=9), ValueError, "width is 9, expected a multiple of n_heads = 2"),
        (lambda: CausalSelfAttention(8, 0), ValueError, "n_heads is 0"),
        (lambda: causal_mask(3, 2), ValueError, "queries is 3, expected 1 to keys = 2"),
        (lambda: causal_mask(0, 2), ValueError, "queries is 0"),
        (lambda: Cache(0), ValueError, "length is 0"),
        (
            lambda: Cache(2).extend(normal(1, 1, 3, 2), normal(1, 1, 3, 2)),
            ValueError,
            "cache is extended to 3 positions",
        ),
        (lambda: encode_text("1234 !"), ValueError, "text is '1234 !', expected at least one letter"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, error, words, untyped):
    with pytest.raises(error, match=words):
        call()


def test_the_meta_device_is_enough():
    model = CausalTransformer(2, 6, width=8, n_heads=2, n_classes=2).to("meta")
    x, y = torch.zeros(3, 6, dtype=torch.int64, device="meta"), torch.zeros(3, dtype=torch.int64, device="meta")
    assert model.log_prob(x, label=y).device.type == "meta"
    assert model.sample_from(torch.zeros(3, 6, device="meta"), y, given=x[:, :2]).device.type == "meta"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_cuda_gives_the_same_sample():
    model = small(3, 8)
    u = torch.rand(20, 8, generator=rng(), dtype=torch.float64)
    assert model.to("cuda").sample_from(u.to("cuda")).cpu().equal(model.cpu().sample_from(u))


@pytest.mark.parametrize("pieces", [(7,), (1, 1, 5), (3, 4), (6, 1)])
def test_a_layer_attends_as_attention_does_however_its_rows_come(pieces):
    layer, x = CausalSelfAttention(8, 2).double(), normal(2, 7, 8)
    q, k, v = layer.heads(x)
    expected = layer.out(attention(q, k, v, causal_mask(7, 7)).transpose(1, 2).flatten(2))
    cache = Cache(7) if len(pieces) > 1 else None
    ours = torch.cat([layer(rows, cache) for rows in x.split(pieces, 1)], 1)
    assert torch.allclose(ours, expected, atol=1e-12)
