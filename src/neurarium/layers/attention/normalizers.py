"""From scores to weights: softmax and what may stand in its place."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium._names import resolve
from neurarium.layers.masks import fill

__all__ = ["HardAttention", "entmax15", "normalizer", "sparsemax"]

Scores = Float[Tensor, "..."]
Normalizer = Callable[[Tensor, Tensor | None], Tensor]


def sparsemax(z: Scores, dim: int = -1) -> Scores:
    r"""The nearest point of the simplex: like softmax, but small scores get exactly nothing.

    $$\operatorname{sparsemax}(z) = \operatorname*{argmin}_{p \in \Delta} \lVert p - z \rVert^2
      = (z - \tau)_+$$

    Source: Martins & Astudillo (2016), From Softmax to Sparsemax, arXiv:1602.02068.
    """
    z, ranked = _ranked(z, dim)
    k = _count(ranked, dim)
    threshold = (ranked.cumsum(dim) - 1) / k
    support = (ranked > threshold).sum(dim, keepdim=True)
    return (z - threshold.gather(dim, support - 1)).clamp(min=0)


def entmax15(z: Scores, dim: int = -1) -> Scores:
    r"""Halfway between softmax and sparsemax: smooth, yet with exact zeros.

    $$\operatorname{entmax}_{1.5}(z) = \bigl(\tfrac{z}{2} - \tau\bigr)_+^2, \qquad
      \textstyle\sum_i p_i = 1$$

    Source: Peters, Niculae & Martins (2019), Sparse Sequence-to-Sequence Models, arXiv:1905.05702.
    """
    z, ranked = _ranked(z / 2, dim)
    k = _count(ranked, dim)
    mean = ranked.cumsum(dim) / k
    spread = k * (ranked.square().cumsum(dim) / k - mean.square())
    below = ((1 - spread) / k).clamp(min=0)
    # The root's slope is infinite at 0, where the clamp's zero would turn it into NaN.
    threshold = mean - torch.where(below > 0, below, 1).sqrt() * (below > 0)
    support = (threshold <= ranked).sum(dim, keepdim=True)
    return (z - threshold.gather(dim, support - 1)).clamp(min=0).square()


def _ranked(z: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    # All that is further than 1 below the largest is outside the support, however far.
    z = (z - z.amax(dim, keepdim=True)).clamp(min=-2)
    return z, z.sort(dim, descending=True).values


def _count(ranked: Tensor, dim: int) -> Tensor:
    k = torch.arange(1, ranked.shape[dim] + 1, device=ranked.device, dtype=ranked.dtype)
    return k.view(-1, *[1] * (-1 - (dim if dim < 0 else dim - ranked.ndim)))


class HardAttention(nn.Module):
    r"""One place is drawn, and only that is looked at.

    $$s \sim \operatorname{Cat}(\alpha), \quad z = v_s, \qquad
      \nabla L \approx \nabla_\theta \log p(y \mid s) + \lambda_r
      \bigl(\log p(y \mid s) - b\bigr) \nabla_\theta \log \alpha_s + \lambda_e \nabla H[\alpha]$$

    With "reinforce" the draw itself has no gradient; add `surrogate(log_likelihood)` to what is
    maximized. When judged the likeliest place is taken.

    Args:
        estimator: "straight-through" sends the gradient of the weights through as if they were
            used; "reinforce" needs `surrogate`.
        soft: share of the training draws that are replaced by their expectation, the paper's 0.5.
        decay: of the running mean that is the baseline $b$.

    Source: Xu et al. (2015), Show, Attend and Tell, arXiv:1502.03044.
    """

    baseline: Tensor

    def __init__(
        self,
        estimator: Literal["reinforce", "straight-through"] = "reinforce",
        soft: float = 0.0,
        decay: float = 0.9,
    ) -> None:
        super().__init__()
        if estimator not in ("reinforce", "straight-through"):
            raise ValueError(
                f"estimator must be 'reinforce' or 'straight-through', got {estimator!r}"
            )
        self.estimator, self.soft, self.decay = estimator, soft, decay
        self.register_buffer("baseline", torch.zeros(()))
        self.drawn: list[tuple[Tensor, Tensor]] = []  # log-probability and entropy of each draw

    def forward(self, logits: Scores, mask: Bool[Tensor, "..."] | None = None) -> Scores:
        log_weights = fill(logits, mask).log_softmax(-1)
        weights = log_weights.exp()
        if not self.training:
            return _one_hot(weights.argmax(-1), weights)
        flat = weights.detach().flatten(0, -2)
        place = torch.multinomial(flat, 1).view(weights.shape[:-1])
        hard = _one_hot(place, weights)
        if self.estimator == "straight-through":
            hard = hard + weights - weights.detach()
        else:
            entropy = -(weights * log_weights).sum(-1)
            self.drawn.append((log_weights.gather(-1, place[..., None]).squeeze(-1), entropy))
        if not self.soft:
            return hard
        keep = torch.rand(weights.shape[:-1], device=weights.device)[..., None] < self.soft
        return torch.where(keep, weights, hard)

    def surrogate(
        self, log_likelihood: Float[Tensor, " batch"], reward: float = 1.0, entropy: float = 0.0
    ) -> Float[Tensor, ""]:
        """What to maximize beside the log-likelihood, for the draws since the last call."""
        gain = (log_likelihood - self.baseline).detach()
        total = torch.zeros((), device=gain.device, dtype=gain.dtype)
        for log_probability, spread in self.drawn:
            own = log_probability.flatten(1).sum(1), spread.flatten(1).sum(1)
            total = total + (reward * gain * own[0] + entropy * own[1]).mean()
        self.drawn.clear()
        mean = log_likelihood.detach().mean().to(self.baseline.dtype)
        self.baseline.lerp_(mean, 1 - self.decay)
        return total


def _one_hot(place: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).scatter(-1, place[..., None], 1.0)


def _plain(function: Callable[..., Tensor], *arguments: Any) -> Normalizer:
    return lambda logits, mask: function(fill(logits, mask), *arguments)


_NAMED: dict[str, Any] = {
    "softmax": _plain(torch.softmax, -1),
    "sparsemax": _plain(sparsemax),
    "entmax15": _plain(entmax15),
    "sigmoid": _plain(torch.sigmoid),
}


def normalizer(spec: str | Normalizer) -> Normalizer:
    """A callable (logits, mask) -> weights from "softmax", "sparsemax", "entmax15", "sigmoid"."""
    return resolve(spec, _NAMED, "normalizer")
