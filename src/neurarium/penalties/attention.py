"""A penalty of attention that looks twice at the same."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.penalties._selection import shown
from neurarium.penalties.weights import _positive

__all__ = ["AttentionRedundancy"]


class AttentionRedundancy:
    r"""How much the hops of structured self-attention look at the same tokens, or at many.

    $$\Omega = \frac{\lambda}{n} \sum_x \lVert A(x) A(x)^\top - I \rVert_F^2$$

    Of the batch that the model has just seen, over all its `StructuredSelfAttention` layers.

    Args:
        weight: $\lambda$; the paper's are 0.3 to 1.

    Raises:
        ValueError: if the model has no such layer.

    Source: Lin et al. (2017), A structured self-attentive sentence embedding, arXiv:1703.03130.
    """

    def __init__(self, weight: float) -> None:
        self.weight = _positive("weight", weight)

    __repr__ = shown

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        found: list[Any] = [m.redundancy for m in model.modules() if hasattr(m, "redundancy")]
        if not found:
            raise ValueError(
                f"{type(model).__name__} has no layer with `redundancy`, such as "
                "layers.attention.StructuredSelfAttention"
            )
        return self.weight * sum(found[1:], found[0])
