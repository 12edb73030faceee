"""What comes next in a series: at once or step by step, as numbers or as quantiles."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers.recurrent import Recurrent, State
from neurarium.networks._config import remember

__all__ = ["Forecaster", "pinball"]

Quantiles = tuple[float, ...] | list[float]


class Forecaster(nn.Module):
    r"""The next `horizon` steps of some columns of a series, from a window of all.

    $$\hat y_{T+1 \dots T+H} = V h_T + c \quad \text{("direct")}, \qquad
      \hat y_{T+k} = V h_{T+k-1} + c \quad \text{("recursive")}$$

    A recursive forecast feeds each answer back as the next input, so it needs all columns as
    targets, and beyond one step its errors add up; a direct one has weights of its own for each
    step. Both predict what is to be added to the last value seen, so an untrained network is near
    the naive forecast.

    Args:
        inputs: columns of the series.
        horizon: $H$.
        targets: how many of the columns, the first ones, are predicted; all if not given.
        cell: of `layers.Recurrent`.
        quantiles: predict these of each value, in a last axis; train with `pinball`.

    Source: Taieb, Bontempi, Atiya & Sorjamaa (2012), A review and comparison of strategies for
    multi-step ahead time series forecasting, Expert Systems with Applications 39(8).
    """

    reads = ("length",)
    quantiles: tuple[float, ...]

    def __init__(
        self,
        inputs: int,
        horizon: int,
        targets: int | None = None,
        strategy: Literal["direct", "recursive"] = "direct",
        cell: str = "lstm",
        hidden: int = 64,
        layers: int = 1,
        quantiles: Quantiles = (),
    ) -> None:
        super().__init__()
        if strategy not in ("direct", "recursive"):
            raise ValueError(f"strategy must be 'direct' or 'recursive', got {strategy!r}")
        if strategy == "recursive" and (targets not in (None, inputs) or quantiles):
            raise ValueError(
                "a recursive forecast is fed back as the next input: it predicts all columns, as "
                "numbers; take strategy='direct' for some of them or for quantiles"
            )
        check_quantiles(quantiles)
        remember(self, inputs=inputs, horizon=horizon, targets=targets, strategy=strategy)
        remember(self, cell=cell, hidden=hidden, layers=layers, quantiles=tuple(quantiles))
        self.columns, self.steps = targets or inputs, horizon
        self.recurrent = Recurrent(cell, inputs, hidden, layers)
        ahead = 1 if strategy == "recursive" else horizon
        each = self.columns * max(len(quantiles), 1)
        self.out = nn.Linear(self.recurrent.output_size, ahead * each)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)
        self.recursive = strategy == "recursive"

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int] = (),
        *,
        targets: int | None = None,
        quantiles: Quantiles = (),
        **options: Any,
    ) -> "Forecaster":
        """For windows of shape (steps, columns), `outputs` steps ahead."""
        check_windows(cls, input_shape)
        return cls(input_shape[1], outputs, targets, quantiles=quantiles, **options)

    def forward(
        self, x: Float[Tensor, "batch steps ..."], length: Any = None
    ) -> Float[Tensor, "batch horizon ..."]:
        """Forecasts of shape (batch, horizon, targets), with quantiles also (..., quantiles).

        A series without columns, (batch, steps), has forecasts (batch, horizon).
        """
        series = x.unsqueeze(2) if x.ndim == 2 else x
        h, state = self.recurrent(series, length)
        summary = self.recurrent.summary(h, length)
        last = self._last(series, length)
        if self.recursive:
            forecast = self._fed_back(summary, last, state)
        else:
            change = self.out(summary).view(len(x), self.steps, self.columns, -1)
            forecast = last[:, None, : self.columns, None] + change
            forecast = forecast if self.quantiles else forecast.squeeze(3)
        return forecast.squeeze(2) if x.ndim == 2 else forecast

    def _last(self, series: Tensor, length: Tensor | None) -> Tensor:
        if length is None:
            return series[:, -1]
        rows = torch.arange(len(series), device=series.device)
        return series[rows, (length - 1).clamp(min=0)]

    def _fed_back(self, summary: Tensor, last: Tensor, state: list[State]) -> Tensor:
        answers = [last + self.out(summary)]
        while len(answers) < self.steps:
            h, state = self.recurrent(answers[-1].unsqueeze(1), None, state)
            answers.append(answers[-1] + self.out(h[:, 0]))
        return torch.stack(answers, dim=1)


class ColumnForecaster(nn.Module):
    """The next steps of each of the first columns from its own past, by one network for all.

    Columns after the first `targets` are not read.
    """

    targets: int
    horizon: int
    quantiles: Quantiles

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int] = (),
        *,
        targets: int = 1,
        quantiles: Quantiles = (),
        **options: Any,
    ) -> "ColumnForecaster":
        """For windows of shape (steps, columns), `outputs` steps ahead."""
        check_windows(cls, input_shape)
        sizes = {"horizon": outputs, "targets": targets, "quantiles": quantiles}
        return cls(history=input_shape[0], **sizes, **options)

    def forward(self, x: Float[Tensor, "batch steps ..."]) -> Float[Tensor, "batch horizon ..."]:
        """Forecasts of shape (batch, horizon, targets), with quantiles also (..., quantiles).

        A series without columns, (batch, steps), has forecasts (batch, horizon).
        """
        ahead = self.ahead(by_column(x, self.targets))
        ahead = ahead.unflatten(0, (len(x), -1)).transpose(1, 2)
        ahead = ahead if self.quantiles else ahead.squeeze(3)
        return ahead.squeeze(2) if x.ndim == 2 else ahead

    def ahead(
        self, series: Float[Tensor, "series steps"]
    ) -> Float[Tensor, "series horizon quantiles"]:
        """The forecasts of single series, in a last axis of length 1 if not of quantiles."""
        raise NotImplementedError


def by_column(x: Tensor, targets: int) -> Tensor:
    """The first columns of windows as so many series: (batch * targets, steps)."""
    series = x.unsqueeze(2) if x.ndim == 2 else x
    if series.shape[2] < targets:
        raise ValueError(f"there are {targets} targets, but the series has {series.shape[2]}")
    return series[..., :targets].transpose(1, 2).flatten(0, 1)


def check_windows(network: type[nn.Module], input_shape: Sequence[int]) -> None:
    """Refuse what is no window of a series."""
    if len(input_shape) != 2:
        raise ValueError(
            f"{network.__name__} reads windows of a series, (steps, columns), and a row of these "
            f"data is of shape {tuple(input_shape)}; take an MLP"
        )


def check_quantiles(quantiles: Quantiles) -> None:
    """Refuse what is no quantile."""
    if not all(0 < q < 1 for q in quantiles):
        raise ValueError(f"quantiles must lie between 0 and 1, got {tuple(quantiles)}")


def pinball(
    prediction: Float[Tensor, "*shape quantiles"],
    target: Float[Tensor, "*shape"],
    quantiles: tuple[float, ...],
) -> Float[Tensor, ""]:
    r"""The loss whose minimum is a quantile: errors below and above it are weighed unequally.

    $$L_q(y, \hat y) = \max\bigl(q (y - \hat y),\; (q - 1)(y - \hat y)\bigr)$$

    The mean over all entries and quantiles; twice that over many quantiles is the CRPS.

    Source: Koenker & Bassett (1978), Regression quantiles, Econometrica 46(1).
    """
    if prediction.shape != (*target.shape, len(quantiles)):
        raise ValueError(
            f"prediction must have one more axis than target, of {len(quantiles)} quantiles, got "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    q = torch.tensor(quantiles, dtype=prediction.dtype, device=prediction.device)
    error = target.unsqueeze(-1) - prediction
    return F.relu(error).mul(q).add(F.relu(-error).mul(1 - q)).mean()
