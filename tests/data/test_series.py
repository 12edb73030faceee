"""Series from tables: times, parts that know nothing of later ones, windows, ways back."""

import numpy as np
import pandas as pd
import pytest
import torch

from neurarium.data import DataError, SeriesPreprocessing, load, preprocessing_from_json
from neurarium.data.series import filled
from neurarium.data.series_clock import Clock


def frame(rows=120, start="2024-01-01", freq="h", **columns):
    rng = np.random.default_rng(0)
    made = {"when": pd.date_range(start, periods=rows, freq=freq).strftime("%Y-%m-%d %H:%M")}
    made |= {"load": np.sin(np.arange(rows) / 4) + rng.normal(0, 0.1, rows)}
    return pd.DataFrame(made | {"heat": rng.normal(5, 2, rows)} | columns)


def series(table, target="load", **options):
    return load(table, target, **{"time": "when", "horizon": 6, "history": 12, **options})


def test_every_part_predicts_its_own_rows_only():
    table = frame()
    data = series(table)  # 120 rows: 77 train, 19 val, 24 test
    x = data.preprocessing.standardize(table[["load", "heat"]].to_numpy())
    for part, begin, end in (("train", 12, 77), ("val", 77, 96), ("test", 96, 120)):
        tensors = getattr(data, part).tensors
        origins = list(range(begin, end - 5))
        assert data.indices[part] == origins
        for row, origin in enumerate(origins):
            torch.testing.assert_close(tensors["input"][row], x[origin - 12 : origin])
            torch.testing.assert_close(tensors["target"][row], x[origin : origin + 6, :1])


def mutated(table, first):
    changed = table.copy()
    changed.loc[first:, "load"] = 1e3 * np.arange(len(table) - first)[::-1] - 7
    changed.loc[first:, "heat"] = np.nan
    return changed


@pytest.mark.parametrize("part", ["val", "test"])
def test_what_comes_later_changes_nothing_that_is_earlier(part):
    table = frame()
    first = {"val": 77, "test": 96}[part]
    before, after = series(table), series(mutated(table, first))
    assert before.preprocessing.to_json() == after.preprocessing.to_json()
    for earlier in ("train", "val")[: 1 + (part == "test")]:
        one, two = getattr(before, earlier).tensors, getattr(after, earlier).tensors
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(before.test.tensors["target"], after.test.tensors["target"])


def test_even_the_kind_of_a_column_is_told_from_the_training_rows():
    late = np.where(np.arange(120) < 77, 3.0, np.arange(120))  # constant while it is trained on
    assert series(frame(late=late)).preprocessing.features == ["load", "heat"]


def test_the_scale_is_that_of_the_training_rows():
    table = frame()
    fitted = series(table).preprocessing
    train = table[["load", "heat"]].to_numpy()[:77]
    np.testing.assert_allclose(fitted.mean, train.mean(0))
    np.testing.assert_allclose(fitted.std, train.std(0))
    target = series(table).test.tensors["target"]
    units = fitted.decode(target)
    np.testing.assert_allclose(units[0], table["load"][96:102], rtol=1e-5)
    quantiles = torch.stack([target - 1, target, target + 1], -1)
    np.testing.assert_allclose(fitted.decode(quantiles), units)


def test_a_gap_is_filled_from_before_never_from_after():
    column = np.array([[np.nan], [1.0], [np.nan], [np.nan], [4.0], [np.nan]])
    np.testing.assert_array_equal(filled(column)[:, 0], [np.nan, 1, 1, 1, 4, 4])


def test_rows_in_any_order_make_the_same_series():
    table = frame()
    shuffled = table.sample(frac=1, random_state=3)
    one, two = series(table), series(shuffled)
    assert torch.equal(one.train.tensors["input"], two.train.tensors["input"])
    origin = two.indices["test"][0]
    assert shuffled.iloc[origin]["when"] == table["when"][96]
    assert any("put in order" in note for note in two.notes)


def test_windows_are_views_of_one_series():
    train = series(frame()).train
    assert train.tensors["input"].data_ptr() == train.values.data_ptr()


def test_preprocessing_comes_back_from_json_and_goes_on_with_the_times():
    table = frame()
    fitted = series(table).preprocessing
    twin = preprocessing_from_json(fitted.to_json())
    assert isinstance(twin, SeriesPreprocessing)
    x = twin.transform(table)["input"]
    assert x.shape == (1, 12, 2)
    assert torch.equal(x, fitted.transform(table.tail(12))["input"])
    assert twin.following(table) == [f"2024-01-06 {hour:02d}:00" for hour in range(6)]
    assert len(twin.transform(table, with_target=True)["target"]) == 120 - 18 + 1


@pytest.mark.parametrize(
    ("words", "every", "season", "following"),
    [
        (["2024-01-31", "2024-02-29", "2024-03-31"], "1 month", 12, "2024-04-30"),
        (["2024-01-30", "2024-02-28", "2024-03-30"], None, None, None),
        (["1949-10", "1949-11", "1949-12"], "1 month", 12, "1950-01"),
        (["2024-01-15", "2024-04-15", "2024-07-15"], "3 months", 4, "2024-10-15"),
        (["2024-02-27", "2024-02-28", "2024-02-29"], "1 day", 7, "2024-03-01"),
        (["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-04"], "1 business day", 5,
         "2024-03-05"),
        (["2024-02-15", "2024-02-22", "2024-02-29"], "1 week", 52, "2024-03-07"),
        (["2024-12-31T23:15:00Z", "2024-12-31T23:30:00Z", "2024-12-31T23:45:00Z"], "15 minutes",
         96, "2025-01-01T00:00:00Z"),
        (["31/12/2024", "01/01/2025", "02/01/2025"], "1 day", 7, "03/01/2025"),
        (["2001", "2002", "2003"], "1", 1, "2004"),
        (["0.5", "0.75", "1"], "0.25", 1, "1.25"),
        (["2024-01-01 00:00:00.000", "2024-01-01 00:00:00.100", "2024-01-01 00:00:00.200"],
         "100 milliseconds", 1, "2024-01-01 00:00:00.300"),
        (["2024-01-01T23:59:59.999998Z", "2024-01-01T23:59:59.999999Z", "2024-01-02T00:00:00Z"],
         "1 microsecond", 1, "2024-01-02T00:00:00.000001Z"),
        (["2024-01-01 00:00:58.5", "2024-01-01 00:01:00", "2024-01-01 00:01:01.5"],
         "1.5 seconds", 1, "2024-01-01 00:01:03.0"),
        (["1704067200000", "1704067200100", "1704067200200"], "100", 1, "1704067200300"),
        (["1704067200000000001", "1704067200000000002", "1704067200000000003"], "1", 1,
         "1704067200000000004"),
        (["1704067200.0", "1704067200.1", "1704067200.2"], "0.1", 1, "1704067200.3"),
    ],
)  # fmt: skip
def test_clocks(words, every, season, following):
    column = pd.Series(words, name="t", dtype=object)
    if every is None:
        with pytest.raises(DataError, match="not equally far apart"):
            Clock.fit(column)
        return
    clock, times, _ = Clock.fit(column)
    assert (clock.every, clock.season) == (every, season)
    assert clock.after(times, 1) == [following]
    assert clock.read(column.iloc[1:]).places.tolist() == times.places[1:].tolist()


def test_a_hole_in_fractions_of_large_numbers_is_found():
    words = [f"1704067200.{i}" for i in (0, 1, 2, 3, 5)]
    with pytest.raises(DataError, match=r"mostly 0\.1, but 0\.2 from 1704067200\.3 to"):
        Clock.fit(pd.Series(words, name="t", dtype=object))


def without(table, row):
    return table.drop(index=row)


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (without(frame(), 40), {}, r"mostly 1 hour, but 2 hours from 2024-01-02 15:00 to .* 17:00"),
        (pd.concat([frame(), frame().head(1)]), {}, r"comes twice in 'when' \(rows 1 and 121\)"),
        (frame().replace({"when": {"2024-01-02 15:00": ""}}), {}, "'when' is missing in row 40"),
        (frame().replace({"when": {"2024-01-02 15:00": "soon"}}), {}, "'soon' in row 40"),
        (frame(20), {}, "horizon of 6 rows is longer than the 3 validation rows"),
        (frame(20), {"val_size": 0, "test_size": 0, "history": 15}, "does not fit into the 20"),
        (frame(), {"horizon": 30}, "longer than the 19 validation rows"),
        (frame(), {"horizon": 0}, "horizon must be at least 1"),
        (frame(), {"time": "hour"}, "no column 'hour' of times"),
        (frame(), {"target": "when"}, "is the time of each row"),
        (frame(), {"time": None}, "--horizon is of a series"),
        (frame(load=2.0), {}, "the same value in every training row"),
        (frame(load=["a", "b"] * 60), {}, r"got 'a' in row 1; a series is of numbers: write"),
        (frame(load=["True", "False"] * 60), {}, r"got 'True' .* \(1 and 0 for yes and no\)"),
        (frame(heat=[0.5, 2] * 50 + ["hot"] * 20), {}, "got 'hot' .*; a series is of numbers"),
        (frame(load=[np.nan] * 9 + [1.0, 2.0, 3.0] * 37), {}, "missing in the first 9 rows"),
        (frame(), {"task": "binary"}, "a forecast is of numbers"),
    ],
)
def test_what_is_no_series_is_refused_in_one_sentence(table, options, said):
    with pytest.raises(DataError, match=said) as raised:
        series(table, **options)
    assert "\n" not in str(raised.value)


def test_several_series_in_one_table_are_named():
    table = pd.concat([frame(60, shop="north"), frame(60, shop="south")])
    with pytest.raises(DataError, match="one series for each of the 2 values of 'shop'"):
        series(table)


def test_new_rows_must_fit_what_was_trained_on():
    fitted = series(frame()).preprocessing
    for table, said in (
        (frame(11), "looks back 12 rows, but these are 11"),
        (frame(freq="D"), "must be 1 hour apart"),
        (frame().drop(columns="heat"), "lacks the column"),
        (without(frame(), 40), "must be 1 hour apart"),
    ):
        with pytest.raises(DataError, match=said):
            fitted.transform(table)
    with pytest.raises(DataError, match="12 rows and 6 to compare with, but these are 17"):
        fitted.transform(frame(17), with_target=True)


def gapped(*cells, **columns):
    table = frame(**columns)
    table.loc[list(cells), "load"] = np.nan
    return table


def test_windows_that_would_predict_a_missing_cell_are_left_out():
    table, whole = gapped(40, 100, 101), series(frame())
    data = series(table)
    x = data.preprocessing.standardize(table[["load", "heat"]].to_numpy())
    for part, missing in (("train", [40]), ("val", []), ("test", [100, 101])):
        origins = [o for o in whole.indices[part] if not {*range(o, o + 6)} & {*missing}]
        assert data.indices[part] == origins
        split = getattr(data, part)
        for row, origin in enumerate(origins):
            torch.testing.assert_close(split.tensors["input"][row], x[origin - 12 : origin])
            torch.testing.assert_close(split.tensors["target"][row], x[origin : origin + 6, :1])
            assert split.times[11 + row] == table["when"][origin - 1]
    assert any("is missing: 6 in train, 6 in test" in note for note in data.notes), data.notes
    judged = data.preprocessing.transform(table, with_target=True)["target"]
    assert len(judged) == 120 - 18 + 1 - 6 - 7


def test_the_naive_error_is_of_known_pairs():
    known = frame()["load"].to_numpy()[:77]
    steps = np.delete(np.abs(np.diff(known)), [39, 40])
    np.testing.assert_allclose(series(gapped(40), season=1).preprocessing.naive_error, steps.mean())
    alternate = np.where(np.arange(120) % 2, np.nan, np.sin(np.arange(120)))
    found = series(frame(load=alternate), horizon=1, season=1).preprocessing
    assert found.naive_error == (0.0,)  # no two neighbours are known


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (96, "'load' is missing in 24 of the 24 test rows to be predicted.*; fill these cells"),
        (77, "'load' is missing in 19 of the 19 validation rows"),
    ],
)
def test_a_part_without_known_cells_is_refused(first, said):
    end = 96 if first == 77 else 120
    with pytest.raises(DataError, match=said):
        series(gapped(*range(first, end)))
    fitted = series(frame()).preprocessing
    with pytest.raises(DataError, match=r"in 3 of the 12 rows to be predicted, so that no 6 in"):
        fitted.transform(gapped(15, 16, 20).head(24), with_target=True)


def test_a_forecast_begins_after_the_last_known_row():
    table, fitted = frame(), series(frame()).preprocessing
    empty = gapped(118, 119)
    shuffled = empty.sample(frac=1, random_state=3)
    for given in (empty, shuffled):
        with pytest.warns(UserWarning, match="load is empty in the last 2 rows.* 2024-01-05 21:00"):
            x = fitted.transform(given)["input"]
        assert torch.equal(x, fitted.transform(table.head(118))["input"])
        assert fitted.following(given) == fitted.following(table.head(118))
    with pytest.raises(DataError, match="load is empty in all 120 rows"):
        fitted.transform(gapped(*range(120)))


@pytest.mark.parametrize(
    ("table", "said", "sizes", "lowered"),
    [
        (frame(60, freq="MS"), {}, (10, 14), "12 rows, is lowered to fit the 10 validation rows"),
        (frame(300, freq="W"), {}, (48, 72), "52 rows, is lowered to fit the 48 validation rows"),
        (frame(60, freq="MS"), {"history": 30}, (8, 30), "fit the 38 training rows beside"),
        (
            frame(60, freq="MS"),
            {"horizon": 4},
            (4, 17),
            "usually 24 rows, is lowered to fit the 38",
        ),
    ],
)
def test_chosen_sizes_are_lowered_to_fit(table, said, sizes, lowered):
    data = series(table, **{"horizon": None, "history": None, **said})
    assert (data.preprocessing.horizon, data.preprocessing.history) == sizes
    assert any(lowered in note for note in data.notes), data.notes
    with pytest.raises(DataError, match="longer than the"):
        series(table, horizon=55)
