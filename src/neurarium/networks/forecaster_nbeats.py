"""Blocks that each explain a part of the past, take it away, and add its part of the future."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.networks._config import remember
from neurarium.networks.forecaster import ColumnForecaster, Quantiles, check_quantiles

__all__ = ["NBEATS"]

_STACKS = ("generic", "trend", "season")


class NBEATS(ColumnForecaster):
    r"""Doubly residual blocks: what one has explained of the past, the next does not see.

    $$x_{\ell + 1} = x_\ell - B_\ell\, \theta^b_\ell, \qquad \hat y = \sum_\ell F_\ell\,
      \theta^f_\ell, \qquad (\theta^b_\ell, \theta^f_\ell) = \text{MLP}_\ell(x_\ell)$$

    Columns of $B$ and $F$ are powers of time in a "trend" block, sines and cosines in a "season"
    block, learnt in a "generic" one. Each block has weights of its own.

    Args:
        history: steps that are seen.
        targets: how many of the columns, the first ones, are predicted, each by itself.
        quantiles: predict these of each value, in a last axis; train with `pinball`.
        stacks: kinds of the stacks, one after another; as text "trend+season".
        blocks: in each stack.
        hidden: width of the four layers of a block.
        degree: of a trend.
        theta: parameters of a generic block.

    Source: Oreshkin, Carpov, Chapados & Bengio (2020), N-BEATS, ICLR, arXiv:1905.10437.
    """

    def __init__(
        self,
        history: int,
        horizon: int,
        targets: int = 1,
        quantiles: Quantiles = (),
        stacks: str | tuple[str, ...] | list[str] = ("generic", "generic"),
        blocks: int = 3,
        hidden: int = 128,
        degree: int = 2,
        theta: int = 32,
    ) -> None:
        super().__init__()
        check_quantiles(quantiles)
        kinds = tuple(stacks.split("+")) if isinstance(stacks, str) else tuple(stacks)
        if not kinds or not set(kinds) <= set(_STACKS):
            raise ValueError(f"stacks must be among {', '.join(_STACKS)}, got {kinds}")
        remember(self, history=history, horizon=horizon, targets=targets, stacks=kinds)
        remember(self, quantiles=tuple(quantiles), blocks=blocks, hidden=hidden)
        remember(self, degree=degree, theta=theta)
        sizes = {"trend": degree + 1, "season": 2 * max(1, horizon // 2), "generic": theta}
        answers = max(len(quantiles), 1)
        self.parts = nn.ModuleList(
            _Block(kind, history, horizon, sizes[kind], hidden, answers)
            for kind in kinds
            for _ in range(blocks)
        )

    def ahead(
        self, series: Float[Tensor, "series steps"]
    ) -> Float[Tensor, "series horizon quantiles"]:
        return self.explain(series)[0].sum(0)

    def explain(
        self, series: Float[Tensor, "series steps"]
    ) -> tuple[Float[Tensor, "blocks series horizon quantiles"], Float[Tensor, "series steps"]]:
        """The forecast of each block, and what none explains of the past."""
        forecasts = []
        for block in self.parts:
            backcast, forecast = block(series)
            series = series - backcast
            forecasts.append(forecast)
        return torch.stack(forecasts), series


class _Block(nn.Module):
    past: Tensor
    future: Tensor

    def __init__(
        self, kind: str, history: int, horizon: int, size: int, hidden: int, answers: int
    ) -> None:
        super().__init__()
        widths = [history, *[hidden] * 4]
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.of_past = nn.Linear(hidden, size, bias=False)
        self.of_future = nn.Linear(hidden, size * answers, bias=False)
        for name, steps in (("past", history), ("future", horizon)):
            if kind == "generic":
                setattr(self, name, nn.Parameter(torch.randn(size, steps) / size**0.5))
            else:
                self.register_buffer(name, _basis(kind, size, steps), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        theta = self.of_future(h).unflatten(1, (len(self.future), -1))
        return self.of_past(h) @ self.past, torch.einsum("bkq,kt->btq", theta, self.future)


def _basis(kind: str, size: int, steps: int) -> Tensor:
    """Powers of time, or sines and cosines, a row for each."""
    time = torch.arange(steps) / steps
    if kind == "trend":
        return torch.stack([time**power for power in range(size)])
    turns = 2 * math.pi * torch.arange(size // 2).unsqueeze(1) * time
    return torch.cat([turns.cos(), turns.sin()])
