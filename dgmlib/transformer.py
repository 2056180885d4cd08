"""Attention, and a causal Transformer as an exact density of token sequences: pixels or characters (chapter 05).

`CausalTransformer` scores a whole sequence in one pass and draws one token after the other, each step reusing the keys
and values of the steps before. Tokens are integers 0 to n_values - 1; positions count from 0.
"""

import math
import re

import torch
from jaxtyping import Bool, Float, Int64, Integer, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from dgmlib.core import Density, by_blocks, checked, need_count, need_levels, need_shape, need_unit, uniform_dtype
from dgmlib.nets import MLP
from dgmlib.sequential import categorical_draw

# --- attention ------------------------------------------------------------------------------------------------------


@checked
def causal_mask(queries: int, keys: int, device: torch.device | str | None = None) -> Shaped[Tensor, "queries keys"]:
    """True where a query may look: at itself and before. The queries are the last of the `keys` positions.

    Implements :eq:`eq-causal-mask`. Raises: ValueError (more queries than keys, or none).

    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    if not 1 <= queries <= keys:
        raise ValueError(f"queries is {queries}, expected 1 to keys = {keys}")
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


@checked
def attention_weights(
    q: Float[Tensor, "*batch queries d"],
    k: Float[Tensor, "*batch keys d"],
    mask: Bool[Tensor, "queries keys"] | None = None,
) -> Float[Tensor, "*batch queries keys"]:
    """softmax(q k^T / sqrt(d)) along the keys, zero where `mask` is False: how much each query takes from each key.

    Implements :eq:`eq-attention-weights`. A query that may look nowhere gets NaN. Vaswani et al. (2017).

    >>> attention_weights(torch.zeros(2, 1), torch.zeros(2, 1), causal_mask(2, 2))
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000]])
    """
    scores = (q / math.sqrt(q.shape[-1])) @ k.mT
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -math.inf)
    return scores.softmax(-1)


@checked
def attention(
    q: Float[Tensor, "*batch queries d"],
    k: Float[Tensor, "*batch keys d"],
    v: Float[Tensor, "*batch keys e"],
    mask: Bool[Tensor, "queries keys"] | None = None,
) -> Float[Tensor, "*batch queries e"]:
    """For each query the mean of the values, weighted by `attention_weights`. Implements :eq:`eq-attention`.

    >>> attention(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([[1.5], [3.0]]), causal_mask(2, 2))
    tensor([[1.5000],
            [2.2500]])
    """
    return attention_weights(q, k, mask) @ v


class Cache:
    """The keys and values that one layer has computed so far, in memory taken once for `length` positions.

    >>> cache, new = Cache(length=3), torch.ones(1, 1, 2, 4)
    >>> keys, values = cache.extend(new, 2 * new)
    >>> keys.shape, values.unique().item(), cache.filled
    (torch.Size([1, 1, 2, 4]), 2.0, 2)
    """

    @checked
    def __init__(self, length: int):
        self.length, self.filled = need_count("length", length), 0
        self.memory: Float[Tensor, "2 batch heads length d"] | None = None

    @checked
    def extend(
        self, k: Float[Tensor, "batch heads new d"], v: Float[Tensor, "batch heads new d"]
    ) -> tuple[Float[Tensor, "batch heads all d"], Float[Tensor, "batch heads all d"]]:
        """Append the keys and values of the next positions; return those of all positions so far.

        Raises: ValueError (more positions than `length`).
        """
        first, self.filled = self.filled, self.filled + k.shape[2]
        if self.filled > self.length:
            raise ValueError(f"cache is extended to {self.filled} positions, expected at most {self.length}")
        if self.memory is None:
            self.memory = k.new_empty(2, *k.shape[:2], self.length, k.shape[3])
        self.memory[0, :, :, first : self.filled], self.memory[1, :, :, first : self.filled] = k, v
        keys, values = self.memory[:, :, :, : self.filled]
        return keys, values


class CausalSelfAttention(nn.Module):
    """`n_heads` attentions side by side, each on its own linear images of the same sequence, then mixed linearly.

    Raises: ValueError (`width` is no multiple of `n_heads`).

    >>> layer, x = CausalSelfAttention(width=8, n_heads=2), torch.ones(1, 3, 8)
    >>> layer.heads(x).shape, layer(x).shape
    (torch.Size([3, 1, 2, 3, 4]), torch.Size([1, 3, 8]))
    """

    @checked
    def __init__(self, width: int, n_heads: int):
        super().__init__()
        if need_count("width", width) % need_count("n_heads", n_heads):
            raise ValueError(f"width is {width}, expected a multiple of n_heads = {n_heads}")
        self.width, self.n_heads = width, n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    @checked
    def heads(self, x: Float[Tensor, "batch length width"]) -> Float[Tensor, "3 batch heads length d"]:
        """Queries, keys and values of every head."""
        return self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)

    @checked
    def forward(
        self, x: Float[Tensor, "batch length width"], cache: Cache | None = None
    ) -> Float[Tensor, "batch length width"]:
        """Row i depends on rows 0 to i; with a cache, x holds only the rows after those that it has seen.

        Implements :eq:`eq-attention-heads`.
        """
        q, k, v = self.heads(x)  # (batch, heads, length, d) each
        if cache is not None:
            k, v = cache.extend(k, v)
        first, rest = k.shape[2] == q.shape[2], q.shape[2] > 1
        mask = causal_mask(q.shape[2], k.shape[2], x.device) if rest and not first else None
        # `attention`, by a kernel that never holds the weights of all pairs at once.
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=first)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then an MLP at each position, both added to what they read: the pre-norm residual block.

    Xiong et al. (2020), "On layer normalization in the Transformer architecture".

    >>> block, x = Block(width=8, n_heads=2), torch.zeros(1, 3, 8, requires_grad=True)
    >>> torch.autograd.grad(block(x)[0, 0].sum(), x)[0][0, 1:].abs().sum().item()  # no look ahead
    0.0
    """

    @checked
    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.width = need_count("width", width)
        self.norm_1, self.attention = nn.LayerNorm(width), CausalSelfAttention(width, n_heads)
        self.norm_2, self.mlp = nn.LayerNorm(width), MLP([width, 4 * width, width], nn.GELU)

    @checked
    def forward(
        self, x: Float[Tensor, "batch length width"], cache: Cache | None = None
    ) -> Float[Tensor, "batch length width"]:
        """y = x + attention(norm x), then y + MLP(norm y). Implements :eq:`eq-transformer-block`."""
        x = x + self.attention(self.norm_1(x), cache)
        return x + self.mlp(self.norm_2(x))


# --- the density ----------------------------------------------------------------------------------------------------


class CausalTransformer(nn.Module, Density):
    """p(x) = prod_i p(x_i | x_0, ..., x_{i-1}) over sequences of `length` tokens, all factors in one pass.

    Position i is fed token x_{i-1}, position 0 a learned start token (with `n_classes`, one for each class: the model
    is then p(x | label)), and a learned vector for its place is added. Radford et al. (2018), "GPT"; Chen et al.
    (2020), "Image GPT".

    Args:
        n_values: how many values a token can have: 2 for binary pixels, 17 for the digits' grey levels.
        length: tokens in a sequence: h w for an image in raster order.
        width, depth, n_heads: of the network; `width` is a multiple of `n_heads`.
        n_classes: labels run from 0 to n_classes - 1; None: no condition.

    Methods refuse tokens and labels of another shape or dtype, and values out of range, which on an accelerator are
    read outside of training only. Likelihoods go in blocks of rows where no gradient is recorded.

    >>> from dgmlib.worlds import bit_states
    >>> model, x = CausalTransformer(2, length=3, width=8, depth=1), bit_states(3).long()
    >>> round(model.log_prob(x).exp().sum().item(), 4), model.logits(x).shape, model.token_log_probs(x).shape
    (1.0, torch.Size([8, 3, 2]), torch.Size([8, 3]))
    >>> u = torch.full((8, 3), 0.5)
    >>> model.draw(x, u).shape, model.sample(5).shape, torch.equal(model.sample_from(u, given=x), x)
    (torch.Size([8, 3]), torch.Size([5, 3]), True)
    """

    @checked
    def __init__(
        self, n_values: int, length: int, *, width: int = 64, depth: int = 2, n_heads: int = 4,
        n_classes: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.n_values, self.length = need_count("n_values", n_values, 2), need_count("length", length)
        self.n_classes = None if n_classes is None else need_count("n_classes", n_classes)
        need_count("width", width)
        self.token, self.start = nn.Embedding(n_values, width), nn.Embedding(n_classes or 1, width)
        self.place = nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width, n_heads) for _ in range(need_count("depth", depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_values)

    @checked
    def logits(
        self, x: Integer[Tensor, "batch length"], *, label: Integer[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length k"]:
        """Unnormalised log p(x_i = v | x_0, ..., x_{i-1}) for every position i and value v.

        Implements :eq:`eq-transformer-shift`. x_i itself is not an input of row i, and x's last token of none.
        """
        need_levels("x", x, self.n_values)
        start = self._start(len(x), label)
        return self._forward(torch.cat([start, self.token(x[:, :-1].long())], 1) + self.place)

    @checked
    def token_log_probs(
        self, x: Integer[Tensor, "batch length"], *, label: Integer[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length"]:
        """log p(x_i | x_0, ..., x_{i-1}) of each token, in nats: minus its surprise."""

        def score(x: Tensor, label: Tensor | None) -> Tensor:
            return self.logits(x, label=label).log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]

        n_heads, width = self.blocks[0].attention.n_heads, self.place.shape[1]
        held = self.length * (4 * n_heads * self.length + 10 * width + 3 * self.n_values)
        return by_blocks(score, held, x, label)

    @checked
    def log_prob(
        self, x: Integer[Tensor, "batch length"], *, label: Integer[Tensor, " batch"] | None = None
    ) -> Float[Tensor, " batch"]:
        """log p(x), or log p(x | label), exact, in nats. Implements :eq:`eq-transformer`."""
        return self.token_log_probs(x, label=label).sum(-1)

    @checked
    @torch.no_grad()
    def draw(
        self,
        x: Integer[Tensor, "batch length"] | Float[Tensor, "batch length"],
        u: Float[Tensor, "batch length"],
        label: Integer[Tensor, " batch"] | None = None,
    ) -> Int64[Tensor, "batch length"]:
        """One full pass: at every position the value that u selects given x before it: for `dgmlib.sequential`."""
        return categorical_draw(self.logits(need_levels("x", x, self.n_values).long(), label=label), u)

    @checked
    @torch.no_grad()
    def sample_from(
        self,
        u: Float[Tensor, "batch length"],
        label: Integer[Tensor, " batch"] | None = None,
        *,
        given: Integer[Tensor, "batch known"] | None = None,
    ) -> Int64[Tensor, "batch length"]:
        """The sample that the uniforms u select, one position a step, each layer keeping its keys and values.

        Implements :eq:`eq-kv-cache`: step i computes row i only. `given` fixes the first tokens, whose uniforms are not
        used; the rest is then a draw from the exact law given these.

        Raises: ValueError (shapes, labels, values out of range), TypeError (dtypes).
        """
        x = torch.empty(need_unit("u", u).shape, dtype=torch.int64, device=u.device)
        known = 0 if given is None else given.shape[1]
        if given is not None and known:
            need_shape("given", given, (len(u), min(known, self.length)))
            x[:, :known] = need_levels("given", given, self.n_values)
        caches = [Cache(self.length) for _ in self.blocks]
        row = self._start(len(u), label)
        for i in range(self.length):
            logits = self._forward(row + self.place[i], caches)[:, 0]
            if i >= known:
                x[:, i] = categorical_draw(logits, u[:, i])
            row = self.token(x[:, i, None])
        return x

    @checked
    def sample(
        self, n: int, *, label: Integer[Tensor, " batch"] | None = None, generator: torch.Generator | None = None
    ) -> Int64[Tensor, "n length"]:
        """`n` independent draws from p(x), or from p(x | label) for the `n` labels."""
        like = self.place
        options = {"dtype": uniform_dtype(like.dtype), "device": like.device}
        u = torch.rand(need_count("n", n), self.length, generator=generator, **options)
        return self.sample_from(u, label)

    def _forward(
        self, rows: Float[Tensor, "batch new width"], caches: list[Cache] | None = None
    ) -> Float[Tensor, "batch new k"]:
        for layer, block in enumerate(self.blocks):
            rows = block(rows, caches and caches[layer])
        return self.head(self.norm(rows))

    def _start(self, n: int, label: Tensor | None) -> Float[Tensor, "n 1 width"]:
        if (label is None) != (self.n_classes is None):
            wanted = "None" if label is not None else "one for each row"
            raise ValueError(f"label is {label}, expected {wanted}, as n_classes is {self.n_classes}")
        if label is None:
            return self.start.weight.expand(n, 1, -1)
        need_levels("label", need_shape("label", label, (n,)), self.n_classes)
        return self.start(label.long())[:, None]


# --- characters -----------------------------------------------------------------------------------------------------

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
"""Shannon's 27 symbols of English: what is no letter is a space, and spaces do not follow each other."""


@checked
def encode_text(text: str) -> Int64[Tensor, " n"]:
    """The text in the 27 symbols of `ALPHABET`, as tokens 0 to 26. Raises ValueError when no letter is in it.

    >>> encode_text("A cab!")
    tensor([1, 0, 3, 1, 2])
    """
    letters = re.sub("[^a-z]+", " ", text.lower()).strip()
    if not letters:
        raise ValueError(f"text is {text[:20]!r}, expected at least one letter")
    return torch.tensor([ALPHABET.index(letter) for letter in letters])


@checked
def decode_text(tokens: Integer[Tensor, " n"]) -> str:
    """The characters of a row of tokens. Raises ValueError (values that are none).

    >>> decode_text(torch.tensor([1, 0, 3, 1, 2]))
    'a cab'
    """
    need_levels("tokens", tokens, len(ALPHABET))
    return "".join(ALPHABET[token] for token in tokens.tolist())


def python_reference() -> Int64[Tensor, " n"]:
    """The prose of the Python language reference that ships with every Python (`help("topics")`), about 370,000 tokens.

    Its wording differs a little from one Python version to the next.

    >>> len(python_reference()) > 100_000
    True
    """
    from pydoc_data.topics import topics

    return encode_text(" ".join(topics[name] for name in sorted(topics)))
