"""Attention whose cost grows with the length, not with its square."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LinearAttention"]

Rows = Float[Tensor, "*batch tokens features"]
Values = Float[Tensor, "*batch tokens out"]
State = tuple[Tensor, Tensor]


def _wide(x: Tensor) -> Tensor:
    """At least fp32: long sums in bf16 lose their terms."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _elu_plus_one(x: Tensor) -> Tensor:
    return F.elu(x) + 1


class LinearAttention(nn.Module):
    r"""Softmax's kernel replaced by a product of features, so that sums can be shared.

    $$z_i = \frac{\phi(q_i)^\top \sum_{j \le i} \phi(k_j) v_j^\top}
      {\phi(q_i)^\top \sum_{j \le i} \phi(k_j)}, \qquad \phi = \operatorname{elu} + 1$$

    Causal, it is a recurrent network: `step` needs the two sums alone, however long the past.

    Args:
        phi: features of queries and keys; must be positive.
        causal: whether a place sees only itself and the past.

    Source: Katharopoulos, Vyas, Pappas & Fleuret (2020), Transformers are RNNs, arXiv:2006.16236.
    """

    def __init__(
        self, phi: Callable[[Tensor], Tensor] = _elu_plus_one, causal: bool = True
    ) -> None:
        super().__init__()
        self.phi, self.causal = phi, causal

    def forward(self, query: Rows, keys: Rows, values: Values) -> Values:
        query, keys = self.phi(_wide(query)), self.phi(_wide(keys))
        if not self.causal:
            above = query @ (keys.mT @ _wide(values))
            below = query @ keys.sum(-2)[..., None]
            return (above / below).to(values)
        agreement = (query @ keys.mT).tril()
        return (agreement @ _wide(values) / agreement.sum(-1, keepdim=True)).to(values)

    def step(
        self,
        query: Float[Tensor, "*batch features"],
        key: Float[Tensor, "*batch features"],
        value: Float[Tensor, "*batch out"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "*batch out"], State]:
        """The next token, given the sums over those before; cost independent of their number."""
        query, key = self.phi(_wide(query)), self.phi(_wide(key))
        products, sums = key[..., :, None] * _wide(value)[..., None, :], key
        if state is not None:
            products, sums = products + state[0], sums + state[1]
        above = torch.einsum("...d,...de->...e", query, products)
        return (above / (query * sums).sum(-1, keepdim=True)).to(value), (products, sums)
