"""Series: rows in order of time as numbers, and windows of them with what follows."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data import columns as kinds
from neurarium.data.columns import Boolean, Numeric
from neurarium.data.errors import DataError, listing, nearest
from neurarium.data.plain import check_values
from neurarium.data.series_clock import Clock, Times
from neurarium.data.splits import Resident
from neurarium.data.values import DataFrame

__all__ = ["SeriesPreprocessing", "SeriesWindows"]

SeriesColumn = Numeric | Boolean


class SeriesWindows(Resident):
    """Every stretch of `history` rows of a series and the `horizon` after it, as views.

    Args:
        values: the series, a row for each time; the first `targets` columns are to be predicted.
        times: of the rows, as the user wrote them.
        missing: rows that must not be predicted; windows that would are left out, the rest copied.

    Attributes:
        kept: the windows there are, by their first row.
        times: the last time that window i looks back on is `times[history - 1 + i]`.
    """

    def __init__(
        self,
        values: Tensor,
        history: int,
        horizon: int,
        targets: int,
        times: Sequence[str] = (),
        missing: np.ndarray | None = None,
    ) -> None:
        parts = values.unfold(0, history + horizon, 1).movedim(-1, 1)
        self.values, self.history, self.times = values, history, times
        self.kept = np.arange(len(parts))
        if missing is not None and missing[history:].any():
            self.kept = self.kept[known_windows(missing[history:], horizon)]
            parts = parts[torch.from_numpy(self.kept)]
            first = history - 1
            self.times = [*times[:first], *(times[first + i] for i in self.kept.tolist() if times)]
        super().__init__({"input": parts[:, :history], "target": parts[:, history:, :targets]})


class SeriesPreprocessing:
    r"""Columns of a series as numbers, standardized by the rows that are trained on.

    $$y = \frac{x - \mu_\text{train}}{\sigma_\text{train}}$$

    A missing cell is given the last known value before it, so nothing later is told.

    Args:
        columns: how to read each, those to be predicted first.
        targets: how many these are.
        mean, std: of each column in the training rows.
        history: rows of an input.
        horizon: rows of a forecast.
        season: rows of a cycle, for the seasonal naive forecast; 1 for none.
        naive_error: mean absolute error of that forecast, of each target, in the training rows.
        widening: what the outer quantiles are moved outwards, (horizon, targets), in deviations;
            `callbacks.ConformalIntervals` finds it.

    Source: Zhou et al. (2021), Informer, AAAI, arXiv:2012.07436, section 5.
    """

    def __init__(
        self,
        clock: Clock,
        columns: Sequence[SeriesColumn],
        targets: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        history: int,
        horizon: int,
        season: int,
        naive_error: Sequence[float] = (),
        widening: Sequence[Sequence[float]] = (),
    ) -> None:
        self.clock, self.columns, self.targets = clock, tuple(columns), targets
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        self.history, self.horizon, self.season = history, horizon, season
        self.naive_error = tuple(naive_error)
        self.widening = np.asarray(widening, np.float64) if len(widening) else None

    def moved(self, widening: np.ndarray | None) -> "SeriesPreprocessing":
        """A copy whose outer quantiles are moved so far, (horizon, targets), or not at all."""
        found = copy.copy(self)
        found.widening = widening
        return found

    @property
    def features(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def target_names(self) -> list[str]:
        """The columns that are predicted."""
        return self.features[: self.targets]

    def numbers(self, frame: DataFrame) -> np.ndarray:
        """The columns of rows in order of time, in the user's units; NaN until a first value."""
        return np.concatenate([read_numbers(column, frame) for column in self.columns], 1)

    def standardize(self, numbers: np.ndarray) -> Tensor:
        """Numbers as the network has them: gaps filled from before, the rest by the mean."""
        scaled = (filled(numbers) - self.mean) / np.where(self.std > 0, self.std, 1)
        return torch.from_numpy(np.nan_to_num(scaled).astype(np.float32))

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Tensor]:
        """The last `history` rows as the one `input`; or, with targets, every window.

        Rows at the end in which every target is missing are left out of the former, with a warning.

        Raises:
            DataError: if a column is absent, there are too few rows, or their times are not as far
                apart as in training.
        """
        times, numbers = self._rows(source)
        if not with_target and (last := self._known(numbers)) < len(numbers):
            gone, empty = len(numbers) - last, f"{listing(self.target_names)} is empty"
            if not last:
                raise DataError(f"{empty} in all {gone} rows; give the past to forecast from")
            warnings.warn(
                f"{empty} in the last {gone} rows, which are left out: the forecast follows "
                f"{times.words[times.order[last - 1]]}",
                stacklevel=2,
            )
            numbers = numbers[:last]
        values = self.standardize(numbers)
        needed = self.history + self.horizon * with_target
        if len(values) < needed:
            more = f" and {self.horizon} to compare with" * with_target
            raise DataError(
                f"a forecast looks back {self.history} rows{more}, but these are {len(values)}; "
                "give more of the past"
            )
        if not with_target:
            return {"input": values[None, -self.history :]}
        missing = np.isnan(numbers[:, : self.targets])
        check_known(missing[self.history :], self.horizon, self.target_names, "")
        rows = missing.any(1)
        return SeriesWindows(values, self.history, self.horizon, self.targets, missing=rows).tensors

    def _rows(self, source: Any) -> tuple[Times, np.ndarray]:
        """The times of a table, and the numbers of its rows in their order."""
        import pandas as pd

        frame = source if isinstance(source, pd.DataFrame) else pd.DataFrame(source)
        frame = frame.rename(columns=str)
        absent = [name for name in (self.clock.name, *self.features) if name not in frame.columns]
        if absent:
            hint = nearest(absent[0], frame.columns)
            raise DataError(f"the series lacks the column(s) {listing(absent)}; {hint}")
        if not len(frame):
            raise DataError(f"there are no rows; a forecast looks back {self.history}")
        times = self.clock.read(frame[self.clock.name])
        return times, self.numbers(frame.iloc[times.order])

    def following(self, source: Any) -> list[str]:
        """The times of the forecast that goes on from these rows."""
        times, numbers = self._rows(source)
        known = times.order[: self._known(numbers)]
        past = Times([times.words[i] for i in known], times.places[known])
        return self.clock.after(past, self.horizon)

    def _known(self, numbers: np.ndarray) -> int:
        """Rows up to the last one in which a target is known."""
        known = ~np.isnan(numbers[:, : self.targets])
        return int(np.flatnonzero(known.any(1))[-1]) + 1 if known.any() else 0

    def decode(self, output: Tensor) -> np.ndarray:
        """Forecasts or targets in the user's units, (rows, horizon) or (rows, horizon, targets).

        Of quantiles, the middle one.
        """
        units = self.in_units(output)
        return units[..., 0] if self.targets == 1 else units

    def in_units(self, values: Tensor) -> np.ndarray:
        """Forecasts, targets or their past in the user's units: (rows, steps, targets)."""
        if values.ndim == 4:
            return self.quantiles(values)[..., values.shape[-1] // 2]
        numbers = values.detach().cpu().double().numpy()
        return numbers * self.std[: self.targets] + self.mean[: self.targets]

    def quantiles(self, output: Tensor) -> np.ndarray:
        """All of them, (rows, horizon, targets, quantiles), put in order where they cross."""
        values = np.sort(output.detach().cpu().double().numpy(), -1)
        if self.widening is not None and values.shape[-1] > 1:
            out = self.widening[..., None]
            middle = values[..., [values.shape[-1] // 2]]  # which narrowed ones never pass
            low = np.minimum(values[..., :1] - out, middle)
            high = np.maximum(values[..., -1:] + out, middle)
            values = np.concatenate([low, np.clip(values[..., 1:-1], low, high), high], -1)
        scale, shift = (s[: self.targets, None] for s in (self.std, self.mean))
        return values * scale + shift

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        return {
            "kind": "series",
            "clock": vars(self.clock),
            "columns": [kinds.to_json(column) for column in self.columns],
            "targets": self.targets,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "history": self.history,
            "horizon": self.horizon,
            "season": self.season,
            "naive_error": list(self.naive_error),
            "widening": [] if self.widening is None else self.widening.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SeriesPreprocessing":
        rest = {key: value for key, value in values.items() if key != "kind"}
        clock = Clock(**check_values(rest.pop("clock"), Clock, "the clock"))
        columns: Any = [kinds.from_json(column) for column in rest.pop("columns")]
        made = cls(clock, columns, **check_values(rest, cls.__init__, "the series"))
        sizes = made.targets, made.history, made.horizon, made.season
        scales = {len(made.mean), len(made.std)}
        if min(sizes) < 1 or made.targets > len(columns) or scales != {len(columns)}:
            raise DataError("the series is damaged: its columns, scales and sizes do not fit")
        return made


def filled(numbers: np.ndarray) -> np.ndarray:
    """Each gap with the last value before it; NaN where there is none yet."""
    rows = np.where(np.isnan(numbers), 0, np.arange(len(numbers))[:, None])
    return np.take_along_axis(numbers, np.maximum.accumulate(rows, 0), 0)


def read_numbers(column: SeriesColumn, frame: DataFrame) -> np.ndarray:
    """A column of a table; of words a sentence that fits a series, whose columns are numbers."""
    try:
        return column.read(frame[column.name])
    except DataError as error:
        what, _, _ = str(error).rpartition("; ")
        raise DataError(
            f"{what}; a series is of numbers: write one (1 and 0 for yes and no), or leave the "
            "cell empty"
        ) from None


def known_windows(missing: np.ndarray, horizon: int) -> np.ndarray:
    """For each stretch of `horizon` rows, whether none of them is missing."""
    before = np.concatenate([[0], np.cumsum(missing)])
    return before[horizon:] == before[:-horizon]


def check_known(missing: np.ndarray, horizon: int, names: Sequence[str], part: str) -> None:
    """Refuse rows to be predicted, (rows, targets), no stretch of which is fully known."""
    if not known_windows(np.asarray(missing.any(1)), horizon).any():
        counts = missing.sum(0)
        raise DataError(
            f"target '{names[counts.argmax()]}' is missing in {counts.max():,} of the "
            f"{len(missing):,} {part}rows to be predicted, so that no {horizon} in a row are "
            "known; fill these cells or leave these rows out"
        )
