"""How well a key answers a query: the scores that attention normalizes."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Additive", "Bilinear", "Concat", "Cosine", "Dot", "LocationBased", "ScaledDot"]

Queries = Float[Tensor, "*batch_q Q query_features"]
Keys = Float[Tensor, "*batch_k K key_features"]
Logits = Float[Tensor, "*batch Q K"]


class Dot(nn.Module):
    r"""The score is the inner product of query and key.

    $$s(q, k) = q^\top k$$

    Source: Luong, Pham & Manning (2015), Effective Approaches to Attention-based Neural Machine
    Translation, arXiv:1508.04025.
    """

    def forward(self, query: Queries, keys: Keys) -> Logits:
        return query @ keys.transpose(-2, -1)


class ScaledDot(nn.Module):
    r"""The inner product, divided so that its variance does not grow with the features.

    $$s(q, k) = \frac{q^\top k}{\sqrt d}$$

    Args:
        scale: "sqrt" keeps the variance 1 for independent unit entries; "d" divides by $d$, for
            features that have learnt to correlate (Yang et al., arXiv:2203.03466); or a number to
            divide by.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(self, scale: Literal["sqrt", "d"] | float = "sqrt") -> None:
        super().__init__()
        if isinstance(scale, str) and scale not in ("sqrt", "d"):
            raise ValueError(f"scale must be 'sqrt', 'd' or a number to divide by, got {scale!r}")
        self.scale = scale

    def factor(self, features: int) -> float:
        """What the inner product is multiplied by."""
        if self.scale == "sqrt":
            return 1 / math.sqrt(features)
        return 1 / features if self.scale == "d" else 1 / float(self.scale)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        return (query * self.factor(query.shape[-1])) @ keys.transpose(-2, -1)


class Bilinear(nn.Module):
    r"""A learnt inner product between spaces of different sizes ("general").

    $$s(q, k) = k^\top W q$$

    Source: Luong, Pham & Manning (2015), arXiv:1508.04025.
    """

    def __init__(self, key_features: int, query_features: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(key_features, query_features))
        nn.init.xavier_uniform_(self.W)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        return (query @ self.W.T) @ keys.transpose(-2, -1)


class Additive(nn.Module):
    r"""One hidden layer that reads key and query.

    $$s(q, k) = v^\top \tanh(W k + U q)$$

    Source: Bahdanau, Cho & Bengio (2015), Neural Machine Translation by Jointly Learning to Align
    and Translate, arXiv:1409.0473.
    """

    def __init__(
        self, features: int, hidden_features: int, query_features: int | None = None
    ) -> None:
        super().__init__()
        self.W = nn.Linear(features, hidden_features, bias=False)
        self.U = nn.Linear(query_features or features, hidden_features, bias=False)
        self.v = nn.Linear(hidden_features, 1, bias=False)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        hidden = self.W(keys).unsqueeze(-3) + self.U(query).unsqueeze(-2)
        return self.v(torch.tanh(hidden)).squeeze(-1)


class Concat(nn.Module):
    r"""One hidden layer on key and query put end to end; `Additive` in other words.

    $$s(q, k) = v^\top \tanh\bigl(W\, [k; q]\bigr)$$

    Source: Luong, Pham & Manning (2015), arXiv:1508.04025.
    """

    def __init__(
        self, features: int, hidden_features: int, query_features: int | None = None
    ) -> None:
        super().__init__()
        self.W = nn.Linear(features + (query_features or features), hidden_features, bias=False)
        self.v = nn.Linear(hidden_features, 1, bias=False)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        Q, K = query.shape[-2], keys.shape[-2]
        keys = keys.unsqueeze(-3).expand(*keys.shape[:-2], Q, K, -1)
        query = query.unsqueeze(-2).expand(*query.shape[:-1], K, -1)
        return self.v(torch.tanh(self.W(torch.cat([keys, query], -1)))).squeeze(-1)


class Cosine(nn.Module):
    r"""The angle between query and key, sharpened by $\beta$, which is learnt unless `fixed`.

    $$s(q, k) = \beta\, \frac{q^\top k}{\lVert q \rVert\, \lVert k \rVert}$$

    Source: Graves, Wayne & Danihelka (2014), Neural Turing Machines, arXiv:1410.5401.
    """

    def __init__(self, beta: float = 1.0, fixed: bool = False) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(float(beta)), requires_grad=not fixed)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        return self.beta * (F.normalize(query, dim=-1) @ F.normalize(keys, dim=-1).mT)


class LocationBased(nn.Module):
    r"""A score of places from the query alone, whatever the keys hold.

    $$s(q, \cdot) = W q$$

    Args:
        size: the largest number of keys; with fewer the first rows of $W$ are used.

    Raises:
        ValueError: for more keys than `size`.

    Source: Luong, Pham & Manning (2015), arXiv:1508.04025.
    """

    def __init__(self, query_features: int, size: int) -> None:
        super().__init__()
        self.W = nn.Linear(query_features, size, bias=False)

    def forward(self, query: Queries, keys: Keys) -> Logits:
        if keys.shape[-2] > self.W.out_features:
            raise ValueError(
                f"this score knows {self.W.out_features} places, got {keys.shape[-2]} keys; build "
                "it with a larger size"
            )
        return self.W(query)[..., : keys.shape[-2]]
