"""One linear layer through time, which many a deeper forecaster does not beat."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.networks._config import remember
from neurarium.networks.forecaster import ColumnForecaster, Quantiles, check_quantiles

__all__ = ["DLinear", "NLinear"]


class NLinear(ColumnForecaster):
    r"""A linear map of what the past was above its last value to what the future will be.

    $$\hat y = x_T + W (x_{1 \dots T} - x_T) + b$$

    A series whose level has moved since the training is forecast from its new level. It begins as
    the naive forecast, $W = 0$.

    Args:
        history: $T$, steps that are seen.
        targets: how many of the columns, the first ones, are predicted, each by itself.
        quantiles: predict these of each value, in a last axis; train with `pinball`.

    Source: Zeng, Chen, Zhang & Xu (2023), Are Transformers Effective for Time Series Forecasting?,
    AAAI, arXiv:2205.13504.
    """

    def __init__(
        self, history: int, horizon: int, targets: int = 1, quantiles: Quantiles = ()
    ) -> None:
        super().__init__()
        check_quantiles(quantiles)
        remember(self, history=history, horizon=horizon, targets=targets)
        remember(self, quantiles=tuple(quantiles))
        self.linear = _zeros(history, horizon * max(len(quantiles), 1))

    def ahead(
        self, series: Float[Tensor, "series steps"]
    ) -> Float[Tensor, "series horizon quantiles"]:
        last = series[:, -1:]
        change = self.linear(series - last).unflatten(1, (self.horizon, -1))
        return last.unsqueeze(2) + change


class DLinear(ColumnForecaster):
    r"""A linear map of the trend, a moving average, and another of what is left.

    $$\hat y = W_t\, \bar x + W_s\, (x - \bar x) + b, \qquad
      \bar x_t = \tfrac{1}{K} \sum_{|k| \le K / 2} x_{t + k}$$

    Beyond its ends the series goes on with its first and last value.

    Args:
        history: steps that are seen.
        targets: how many of the columns, the first ones, are predicted, each by itself.
        quantiles: predict these of each value, in a last axis; train with `pinball`.
        kernel: $K$, odd.

    Source: Zeng, Chen, Zhang & Xu (2023), Are Transformers Effective for Time Series Forecasting?,
    AAAI, arXiv:2205.13504.
    """

    kernel: int

    def __init__(
        self,
        history: int,
        horizon: int,
        targets: int = 1,
        quantiles: Quantiles = (),
        kernel: int = 25,
    ) -> None:
        super().__init__()
        check_quantiles(quantiles)
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that it has a middle, got {kernel}")
        remember(self, history=history, horizon=horizon, targets=targets)
        remember(self, quantiles=tuple(quantiles), kernel=kernel)
        outputs = horizon * max(len(quantiles), 1)
        self.trend, self.rest = (_mean(history, outputs) for _ in range(2))

    def ahead(
        self, series: Float[Tensor, "series steps"]
    ) -> Float[Tensor, "series horizon quantiles"]:
        reach = self.kernel // 2
        wide = F.pad(series.unsqueeze(1), (reach, reach), mode="replicate")
        trend = F.avg_pool1d(wide, self.kernel, stride=1).squeeze(1)
        both = self.trend(trend) + self.rest(series - trend)
        return both.unflatten(1, (self.horizon, -1))


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _mean(inputs: int, outputs: int) -> nn.Linear:
    """As its authors begin: with the mean of the past."""
    layer = _zeros(inputs, outputs)
    with torch.no_grad():
        layer.weight.fill_(1 / inputs)
    return layer
