"""Where in a sequence something stands, said to layers that would not know."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = [
    "ALiBi",
    "LearnedPositions",
    "RelativeShaw",
    "Rotary",
    "Sinusoidal",
    "TransformerXLRelative",
]

Rows = Float[Tensor, "*batch tokens dim"]
Heads = Float[Tensor, "*batch heads tokens features"]
Queries = Float[Tensor, "*batch heads Q features"]
Keys = Float[Tensor, "*batch heads K features"]
Logits = Float[Tensor, "*batch heads Q K"]


def _angles(places: Tensor, dim: int, base: float) -> Tensor:
    """Place times each of dim/2 frequencies, in double precision: far places need it."""
    frequency = base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return places.double()[:, None] * frequency.to(places.device)


class Sinusoidal(nn.Module):
    r"""Adds sines and cosines of each place, in wavelengths from $2\pi$ to $10^4 \cdot 2\pi$.

    $$P_{t,2i} = \sin\bigl(t / 10000^{2i/d}\bigr), \qquad
      P_{t,2i+1} = \cos\bigl(t / 10000^{2i/d}\bigr)$$

    So the code of a place moved by $k$ is a fixed rotation of its own. Any length will do.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(self, dim: int, base: float = 10_000.0) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim must be even (sines and cosines come in pairs), got {dim}")
        self.dim, self.base = dim, base

    def table(self, tokens: int, offset: int = 0) -> Float[Tensor, "tokens dim"]:
        """The codes of these places."""
        angles = _angles(torch.arange(offset, offset + tokens), self.dim, self.base)
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).float()

    def forward(self, x: Rows, offset: int = 0) -> Rows:
        return x + self.table(x.shape[-2], offset).to(x)


class LearnedPositions(nn.Module):
    r"""Adds a learnt vector for each place, up to `context` of them.

    $$h_t = x_t + P_t$$

    Raises:
        ValueError: for a sequence longer than `context`.

    Source: Gehring et al. (2017), Convolutional Sequence to Sequence Learning, arXiv:1705.03122.
    """

    def __init__(self, context: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(context, dim))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Rows, offset: int = 0) -> Rows:
        end = offset + x.shape[-2]
        if end > len(self.weight):
            raise ValueError(
                f"this network knows {len(self.weight)} places (its context), got {end} tokens; "
                "cut the sequence, or build with positions='rotary' or 'alibi', which have no end"
            )
        return x + self.weight[offset:end]


class Rotary(nn.Module):
    r"""Turns pairs of features by an angle that grows with the place.

    $$\langle R_m q, R_n k \rangle = q^\top R_{n-m}\, k, \qquad
      R_t = \operatorname{diag}_i \begin{pmatrix} \cos t\theta_i & -\sin t\theta_i \\
      \sin t\theta_i & \cos t\theta_i \end{pmatrix}, \quad \theta_i = 10000^{-2i/d}$$

    Args:
        interleaved: whether feature 2i is paired with 2i+1, as in the paper; or i with i + d/2,
            as in LLaMA's weights.

    Source: Su et al. (2021), RoFormer: Enhanced Transformer with Rotary Position Embedding,
    arXiv:2104.09864.
    """

    def __init__(self, features: int, base: float = 10_000.0, interleaved: bool = False) -> None:
        super().__init__()
        if features % 2:
            raise ValueError(f"features of a head must be even, to be turned in pairs: {features}")
        self.features, self.base, self.interleaved = features, base, interleaved

    def forward(self, x: Heads, offset: int = 0) -> Heads:
        places = torch.arange(offset, offset + x.shape[-2], device=x.device)
        angles = _angles(places, self.features, self.base)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        if self.interleaved:
            even, odd = x[..., ::2], x[..., 1::2]
            return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class ALiBi(nn.Module):
    r"""A score that falls linearly with the distance, at a rate of each head's own.

    $$s(q_i, k_j) = \frac{q_i^\top k_j}{\sqrt d} - m_h\, |i - j|, \qquad m_h = 2^{-8h/H}$$

    Trained on short sequences it goes on working on longer ones. The paper has causal attention,
    where the distance is $i - j$.

    Raises:
        ValueError: if `heads` is not a power of 2, for which alone the slopes are defined.

    Source: Press, Smith & Lewis (2022), Train Short, Test Long, arXiv:2108.12409.
    """

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        if heads & (heads - 1):
            raise ValueError(f"ALiBi's slopes are defined for 1, 2, 4, 8, ... heads, got {heads}")
        slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)
        self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        ago = _distances(query.shape[-2], keys.shape[-2], query.device).abs()
        return _scaled(query, keys) - (self.slopes[:, None, None] * ago).to(query)


class RelativeShaw(nn.Module):
    r"""Learnt vectors of the distance, beside each key and each value.

    $$s(q_i, k_j) = \frac{q_i^\top (k_j + a^K_{j-i})}{\sqrt d}, \qquad
      z_i = \sum_j \alpha_{ij} (v_j + a^V_{j-i})$$

    Args:
        max_distance: beyond which all distances share a vector.

    Source: Shaw, Uszkoreit & Vaswani (2018), Self-Attention with Relative Position
    Representations, arXiv:1803.02155.
    """

    def __init__(self, features: int, max_distance: int = 16) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.of_keys = nn.Parameter(torch.empty(2 * max_distance + 1, features))
        self.of_values = nn.Parameter(torch.empty(2 * max_distance + 1, features))
        nn.init.normal_(self.of_keys, std=0.02)
        nn.init.normal_(self.of_values, std=0.02)

    def _index(self, queries: int, keys: int, device: torch.device) -> Tensor:
        ahead = -_distances(queries, keys, device)
        return ahead.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def forward(self, query: Queries, keys: Keys) -> Logits:
        index = self._index(query.shape[-2], keys.shape[-2], query.device)
        of_distance = query @ self.of_keys.T  # one product for all keys
        relative = of_distance.gather(-1, index.expand(*query.shape[:-2], -1, -1))
        return _scaled(query, keys) + relative * query.shape[-1] ** -0.5

    def values(self, weights: Logits) -> Queries:
        """What the distances add to the context."""
        index = self._index(weights.shape[-2], weights.shape[-1], weights.device)
        sums = weights.new_zeros(*weights.shape[:-1], len(self.of_values))
        sums = sums.scatter_add(-1, index.expand_as(weights), weights)
        return sums @ self.of_values


def _scaled(query: Tensor, keys: Tensor) -> Tensor:
    return (query * query.shape[-1] ** -0.5) @ keys.mT


def _distances(queries: int, keys: int, device: torch.device) -> Tensor:
    """How far each key lies before each query; the queries are the last places."""
    here = torch.arange(queries, device=device)[:, None] + (keys - queries)
    return here - torch.arange(keys, device=device)


class TransformerXLRelative(nn.Module):
    r"""A score of content and of distance, each with a bias that every query shares.

    $$s(q_i, k_j) = \frac{(q_i + u)^\top k_j + (q_i + v)^\top W_R R_{i-j}}{\sqrt d}$$

    with $R$ the sinusoidal codes, sines first and then cosines.

    Args:
        both: whether places ahead are scored too, as XLNet needs; else the distances only go back.

    Source: Dai et al. (2019), Transformer-XL, arXiv:1901.02860.
    """

    def __init__(self, dim: int, heads: int, both: bool = False) -> None:
        super().__init__()
        self.dim, self.heads, self.both = dim, heads, both
        self.W_R = nn.Linear(dim, dim, bias=False)
        self.u = nn.Parameter(torch.zeros(heads, dim // heads))
        self.v = nn.Parameter(torch.zeros(heads, dim // heads))

    def codes(self, queries: int, keys: int) -> Float[Tensor, "distances dim"]:
        """R of every distance that occurs, the largest first."""
        last = -queries if self.both else -1
        angles = _angles(torch.arange(keys - 1, last, -1), self.dim, 10_000.0)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        Q, K = query.shape[-2], keys.shape[-2]
        codes = self.W_R(self.codes(Q, K).to(query))
        codes = codes.unflatten(-1, (self.heads, -1)).transpose(0, 1)
        content = (query + self.u[:, None]) @ keys.mT
        distance = _shifted((query + self.v[:, None]) @ codes.mT, K)
        return (content + distance) * query.shape[-1] ** -0.5


def _shifted(scores: Tensor, keys: int) -> Tensor:
    """Row i of `scores` belongs to distances K-1, K-2, ...; move it so that column j is key j.

    The last row (the last query, K-1 back from it to key 0) stays; each row above moves one left.
    """
    Q, R = scores.shape[-2:]
    # Distances that lie ahead, of which the causal score has none, are masked whatever they say.
    padded = nn.functional.pad(scores, (0, max(0, Q + keys - 1 - R)))
    index = torch.arange(keys, device=scores.device) + torch.arange(
        Q - 1, -1, -1, device=scores.device
    ).unsqueeze(-1)
    return padded.gather(-1, index.expand(*scores.shape[:-1], keys))
