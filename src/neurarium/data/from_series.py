"""A table with a column of times becomes `Data` to forecast from, split by time."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurarium.data.columns import Boolean, Numeric
from neurarium.data.data import Data
from neurarium.data.errors import DataError, listing, nearest
from neurarium.data.from_table import Columns, find_targets
from neurarium.data.readers import check_names
from neurarium.data.schema import Types, infer_columns, parse_types
from neurarium.data.series import SeriesPreprocessing, SeriesWindows, check_known, read_numbers
from neurarium.data.series_clock import Clock
from neurarium.data.tables import Table
from neurarium.data.values import DataFrame, texts
from neurarium.metrics import naive_error

__all__ = ["from_series"]

_WORDS = {"train": "training", "val": "validation", "test": "test"}


def from_series(
    table: Table,
    target: Columns,
    time: str,
    *,
    horizon: int | None = None,
    history: int | None = None,
    season: int | None = None,
    types: Types = None,
    split: Mapping[str, Any],
    name: str = "series",
) -> Data:
    """Order the rows by time, cut them in three, fit on the first part, and cut windows.

    Each window belongs to the part that what it predicts lies in; what it looks back on may lie
    before. So nothing of a later part is in an earlier one.
    """
    frame = table.frame.rename(columns=str)
    check_names(list(frame.columns), "the table")
    if time not in frame.columns:
        raise DataError(f"there is no column '{time}' of times; {nearest(time, frame.columns)}")
    names, target_notes = find_targets(frame, target)
    if time in names:
        raise DataError(f"'{time}' is the time of each row; name another column with --target")
    clock, times, time_notes = Clock.fit(frame[time], lambda: _groups(frame, time))
    frame = frame.iloc[times.order]
    ends, cuts = _cut(len(frame), split)
    # Kinds of columns are told from the training rows too: what comes later is not known then.
    columns, column_notes = _columns(frame.iloc[: ends["train"]].drop(columns=time), names, types)
    found, size_notes = _sizes(clock, ends, horizon, history, season)
    sizes: dict[str, Any] = found
    fitted = SeriesPreprocessing(clock, columns, len(names), [], [], **sizes)
    numbers = fitted.numbers(frame)
    fitted.mean, fitted.std = _scale(numbers[: ends["train"]], fitted)
    values = fitted.standardize(numbers)
    _check_targets(fitted, numbers[: ends["train"]])
    fitted.naive_error = _naive_errors(numbers[: ends["train"], : len(names)], fitted.season)
    splits: dict[str, Any] = {}
    origins: dict[str, list[int]] = {}
    left_out: dict[str, int] = {}
    reach, ahead = fitted.history, fitted.horizon
    for part, (begin, end) in cuts.items():
        first = max(0, begin - reach)
        rows = values[first:end]
        words = [times.words[i] for i in times.order[first:end]]
        missing = np.isnan(numbers[first:end, : len(names)])
        check_known(missing[reach:], ahead, names, f"{_WORDS[part]} ")
        splits[part] = SeriesWindows(rows, reach, ahead, len(names), words, missing.any(1))
        origins[part] = times.order[first + reach + splits[part].kept].tolist()
        left_out[part] = len(rows) - reach - ahead + 1 - len(splits[part])
    notes = [
        f"task: forecast {listing(names)} {ahead} rows ahead from {reach} (--horizon, --history)",
        *size_notes,
        f"time: '{time}', rows {clock.every} apart; a season has {fitted.season} (--season)",
        *([f"rows were put in order of '{time}'"] * bool((np.diff(times.order) < 0).any())),
        *_told_parts(cuts, times.words, times.order),
        *_told_gaps(numbers, fitted.features, left_out),
    ]
    return Data(
        **splits,
        task="regression",
        preprocessing=fitted,
        name=name,
        notes=[*notes, *target_notes, *time_notes, *column_notes],
        indices=origins,
    )


def _cut(rows: int, split: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Where each part ends, and the rows of those there are."""
    rest = rows - round(rows * split["test_size"])
    train = rest - round(rest * split["val_size"])
    parts = {"train": (0, train), "val": (train, rest), "test": (rest, rows)}
    cuts = {name: (a, b) for name, (a, b) in parts.items() if b > a}
    return {name: b for name, (_, b) in parts.items()}, cuts


def _columns(
    train: DataFrame, names: list[str], types: Types
) -> tuple[list[Numeric | Boolean], list[str]]:
    """The columns of numbers, those to be predicted first."""
    told = parse_types(types)
    if both := [name for name in names if name in told]:
        raise DataError(f"'{both[0]}' is the target, which is read as numbers; not in --types")
    order = [*names, *(name for name in train.columns if name not in names)]
    for name in names:
        read_numbers(Numeric(name), train)
    found, notes = infer_columns(train[order], {**told, **dict.fromkeys(names, "numeric")})
    kept = [column for column in found if isinstance(column, Numeric | Boolean)]
    words = [column.name for column in found if not isinstance(column, Numeric | Boolean)]
    if words:
        notes.append(f"left out {listing(words)}: only numbers are read as series")
    return kept, notes


def _sizes(
    clock: Clock, ends: Mapping[str, int], horizon: int | None, history: int | None,
    season: int | None,
) -> tuple[dict[str, int], list[str]]:  # fmt: skip
    """Horizon, history and season, checked or chosen; with notes on those lowered to fit."""
    for flag, value in (("horizon", horizon), ("history", history), ("season", season)):
        if value is not None and value < 1:
            raise DataError(f"{flag} must be at least 1, got {value}")
    train = ends["train"]
    cycle = clock.season if season is None else season
    if season is None and 3 * cycle > train:
        cycle = 1
    notes = []
    parts = {"val": ends["val"] - train, "test": ends["test"] - ends["val"]}
    ahead = cycle if horizon is None else horizon
    if horizon is None:
        limits = {f"{part} {_WORDS[name]} rows": part for name, part in parts.items() if part}
        beside = f"{train} training rows beside what is looked back on"
        limits[beside] = max(train // 2 if history is None else train - history, 1)
        tightest = min(limits, key=lambda name: limits[name])
        if limits[tightest] < ahead:
            ahead = limits[tightest]
            notes.append(f"the horizon of a season, {cycle} rows, is lowered to fit the {tightest}")
    for name, part in parts.items():
        if 0 < part < ahead:
            raise DataError(
                f"a horizon of {ahead} rows is longer than the {part} {_WORDS[name]} rows; lower "
                f"--horizon, raise --{name}-size or give more rows"
            )
    wanted = max(3 * ahead, 2 * cycle)
    reach = min(wanted, (train - ahead) // 2) if history is None else history
    if history is None and 1 <= reach < wanted:
        notes.append(
            f"the history, usually {wanted} rows, is lowered to fit the {train} training rows"
        )
    if reach < 1 or reach + ahead > train:
        raise DataError(
            f"a window of {max(reach, 1)} rows and the {ahead} after it does not fit into the "
            f"{train} training rows; lower --horizon or --history, or give more rows"
        )
    return {"horizon": ahead, "history": reach, "season": cycle}, notes


def _scale(train: np.ndarray, fitted: SeriesPreprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column over its known training values."""
    empty = [n for n, c in zip(fitted.features, train.T, strict=True) if np.isnan(c).all()]
    if empty:
        raise DataError(f"'{empty[0]}' is empty in every training row; remove it, or give more")
    return np.nanmean(train, 0), np.nanstd(train, 0)


def _check_targets(fitted: SeriesPreprocessing, train: np.ndarray) -> None:
    for i, name in enumerate(fitted.target_names):
        if not fitted.std[i] > 0:
            raise DataError(
                f"target '{name}' has the same value in every training row; there is nothing to "
                "forecast, name another --target"
            )
        if np.isnan(train[0, i]):
            row = int((~np.isnan(train[:, i])).argmax())
            raise DataError(f"target '{name}' is missing in the first {row} rows; remove these")


def _naive_errors(train: np.ndarray, season: int) -> tuple[float, ...]:
    """`naive_error` of each target, from known cells; 0 where none are a season apart."""
    pairs = ~np.isnan(train[season:] - train[:-season])
    return tuple(
        float(naive_error(column, season)) if known.any() else 0.0
        for column, known in zip(train.T, pairs.T, strict=True)
    )


def _groups(frame: DataFrame, time: str) -> str:
    """A sentence on the column that tells several series apart, if there is one."""
    times = texts(frame[time])
    for name in frame.columns:
        cells = texts(frame[name])
        few = name != time and 1 < len({*cells}) <= len(cells) // 3
        if few and len({*zip(times, cells, strict=True)}) == len(cells):
            return (
                f"there seems to be one series for each of the {len({*cells})} values of "
                f"'{name}': keep the rows of one, or make a column of each"
            )
    return ""


def _told_parts(
    cuts: Mapping[str, tuple[int, int]], words: list[str], order: np.ndarray
) -> list[str]:
    told = [f"{part} from {words[order[a]]} ({b - a:,} rows)" for part, (a, b) in cuts.items()]
    return [f"split by time: {', '.join(told)} (--test-size, --val-size)"]


def _told_gaps(numbers: np.ndarray, names: list[str], left_out: Mapping[str, int]) -> list[str]:
    gaps = np.isnan(numbers).sum(0)
    some = [f"{n} in {name}" for n, name in zip(gaps, names, strict=True) if n]
    told = [f"missing cells that are looked back on hold the value before: {listing(some)}"]
    parts = [f"{n:,} in {part}" for part, n in left_out.items() if n]
    windows = [f"left out windows in which a cell to be predicted is missing: {listing(parts)}"]
    return [*told * bool(some), *windows * bool(parts)]
