"""Global and local attention of a recurrent decoder."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium.layers.attention.attend import attend
from neurarium.layers.attention.normalizers import Normalizer, normalizer
from neurarium.layers.attention.scores import Bilinear

__all__ = ["LuongAttention"]


class LuongAttention(nn.Module):
    r"""Reads the source states at each decoding step: all of them, or a window.

    $$\tilde h_t = \tanh\bigl(W_c\, [c_t; h_t]\bigr), \qquad c_t = \sum_s a_t(s)\, \bar h_s$$

    Local attention sees $[p_t - D, p_t + D]$. With `place="monotonic"` $p_t = t$; with
    "predictive" $p_t = S\, \sigma(v^\top \tanh(W h_t))$ and the weights are multiplied, after the
    softmax, by $\exp(-(s - p_t)^2 / 2 (D/2)^2)$, so they no longer sum to 1.

    Input feeding, $\tilde h_{t-1}$ beside the next input, is the decoder's part.

    Args:
        score: (query, keys) -> logits; by default the paper's best, "general".
        window: $D$, 10 in the paper; None is global attention.
        normalize: of `attend`, where no bell shapes the weights; "sigmoid" lets them sum to any
            number, so that as many things as there are can be added up.

    Source: Luong, Pham & Manning (2015), Effective Approaches to Attention-based Neural Machine
    Translation, arXiv:1508.04025.
    """

    def __init__(
        self,
        features: int,
        score: nn.Module | None = None,
        window: int | None = None,
        place: str = "predictive",
        normalize: str | Normalizer = "softmax",
    ) -> None:
        super().__init__()
        if place not in ("monotonic", "predictive"):
            raise ValueError(f"place must be 'monotonic' or 'predictive', got {place!r}")
        self.score = Bilinear(features, features) if score is None else score
        self.window, self.place, self.normalize = window, place, normalize
        self.combine = nn.Linear(2 * features, features, bias=False)
        self.locate = nn.Sequential()
        if window is not None and place == "predictive":
            self.locate = nn.Sequential(
                nn.Linear(features, features, bias=False),
                nn.Tanh(),
                nn.Linear(features, 1, bias=False),
                nn.Sigmoid(),
            )

    def forward(
        self,
        states: Float[Tensor, "batch target features"],
        source: Float[Tensor, "batch source features"],
        mask: Bool[Tensor, "batch source"] | None = None,
    ) -> tuple[Float[Tensor, "batch target features"], Float[Tensor, "batch target source"]]:
        seen = None if mask is None else mask[:, None]
        if self.window is None:
            context, weights = attend(states, source, source, self.score, seen, self.normalize)
        else:
            middle = self._middle(states, source, mask)
            away = torch.arange(source.shape[1], device=source.device) - middle
            near = away.abs() <= self.window
            seen = near if seen is None else near & seen
            normalize = self._gaussian(away) if self.place == "predictive" else self.normalize
            context, weights = attend(states, source, source, self.score, seen, normalize)
        return torch.tanh(self.combine(torch.cat([context, states], -1))), weights

    def _middle(self, states: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        if self.place == "monotonic":
            return torch.arange(states.shape[1], device=states.device)[:, None].to(states)
        length = source.shape[1] if mask is None else mask.sum(-1)[:, None, None]
        return length * self.locate(states)

    def _gaussian(self, away: Tensor) -> Normalizer:
        assert self.window is not None
        bell = torch.exp(-away.square() / (2 * max(self.window / 2, 0.5) ** 2))
        softmax = normalizer("softmax")
        return lambda logits, mask: softmax(logits, mask) * bell
