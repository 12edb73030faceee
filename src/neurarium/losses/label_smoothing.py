"""Cross-entropy against targets that leave some probability to other classes."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from neurarium.losses._common import Reduction, _check_classes, _reduce

__all__ = ["label_smoothing"]


def label_smoothing(
    prediction: Float[Tensor, " n classes"],
    target: Int[Tensor, " n"],
    epsilon: float = 0.1,
    style: Literal["torch", "annotated"] = "torch",
    padding: int | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross-entropy against the true class mixed with all others.

    $$L = -\sum_k q'_k \log p_k, \qquad q' = (1 - \epsilon)\, \delta_y + \epsilon / K$$

    "annotated" is the Annotated Transformer's: $\epsilon$ is spread over the classes that are
    neither the true one nor padding, and the loss is the divergence $\sum_k q'_k \log(q'_k / p_k)$,
    which is 0 where $p = q'$.

    Args:
        padding: the class of padding: rows of it count for nothing, and "annotated" gives it no
            probability.

    Source: Szegedy et al. (2016), Rethinking the Inception Architecture, arXiv:1512.00567;
    annotated: Rush (2018), The Annotated Transformer, NLP-OSS.
    """
    _check_classes(prediction, target)
    if style not in ("torch", "annotated"):
        raise ValueError(f"style must be 'torch' or 'annotated', got {style!r}")
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon must lie in [0, 1), got {epsilon}; it is what others are given")
    real = torch.ones_like(target, dtype=torch.bool) if padding is None else target != padding
    if style == "torch":
        loss = F.cross_entropy(prediction, target, reduction="none", label_smoothing=epsilon)
    else:
        others = prediction.shape[1] - (1 if padding is None else 2)
        q = torch.full_like(prediction, epsilon / others)
        if padding is not None:
            q[:, padding] = 0
        q = q.scatter(1, target[:, None], 1 - epsilon)
        loss = F.kl_div(prediction.log_softmax(1), q, reduction="none").sum(1)
    if reduction == "mean" and bool(real.any()):
        return loss[real].mean()
    return _reduce(loss * real, reduction)
