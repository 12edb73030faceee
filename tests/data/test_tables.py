"""What a table becomes: kinds, codes, scales, and the same row the same tensor everywhere."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

from neurarium.data import DataError, load, preprocessing_from_json
from neurarium.data.values import MISSING


def mixed(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Every kind of column, with missing cells."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows).round(1),
            "income": rng.lognormal(10, 2, rows),
            "rooms": rng.integers(1, 7, rows),
            "member": rng.choice([True, False], rows),
            "city": rng.choice(["Ulm", "Kiel", "Bonn"], rows),
            "since": pd.Timestamp("2019-12-30") + pd.to_timedelta(rng.integers(0, 900, rows), "D"),
            "y": rng.choice(["no", "yes"], rows),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::9, "city"] = None
    frame.loc[::11, "since"] = pd.NaT
    return frame


DATA = load(mixed(), "y")


def test_each_column_gets_its_kind():
    p = DATA.preprocessing
    assert {c.name: c.kind for c in p.columns} == {
        "age": "numeric",
        "income": "numeric",
        "rooms": "numeric",
        "member": "boolean",
        "city": "category",
        "since": "date",
    }
    assert p.features == [
        *["age", "income", "rooms", "member"],
        *[f"since.{part}" for part in ("year", "month", "day", "weekday", "days")],
        "age is missing",
        "since is missing",
        "city",
    ]
    assert p.categories == [4]  # missing or unseen, Bonn, Kiel, Ulm
    assert DATA.train.tensors["input"].shape == (128, 12)
    assert DATA.train.tensors["input"].dtype == torch.float32


def test_a_number_is_counted_in_quartile_distances_from_the_median_and_bent_below_3():
    frame = pd.DataFrame({"a": [0, 1, 2, 3, 4] * 20, "b": [0] * 96 + [8] * 4, "y": [0, 1] * 50})
    p = load(frame, "y", test_size=0, val_size=0).preprocessing
    # a: median 2, quartiles 1 and 3, spread 2; b: the quartiles coincide, half the range is 4
    rows = p.transform({"a": 5, "b": 8})["input"][0].double()
    expected = [1.5 / (1 + 0.25) ** 0.5, 2 / (1 + 4 / 9) ** 0.5]
    torch.testing.assert_close(rows, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
    far = p.transform({"a": 1e300, "b": -1.7e308})["input"][0]
    torch.testing.assert_close(far, torch.tensor([3.0, -3.0]))


def test_scaling_is_fitted_on_the_training_rows_and_a_missing_number_is_their_median():
    x, rows = DATA.train.tensors["input"], mixed().iloc[DATA.indices["train"]]
    age = rows["age"]
    z = (age - age.median()) / (age.quantile(0.75) - age.quantile(0.25))
    bent = (z / np.sqrt(1 + (z / 3) ** 2)).fillna(0)
    np.testing.assert_allclose(x[:, 0], bent, rtol=1e-6)
    np.testing.assert_array_equal(x[:, 9], age.isna())
    np.testing.assert_array_equal(x[:, 10], rows["since"].isna())


def test_words_are_coded_in_alphabetical_order_from_1():
    rows = mixed().iloc[DATA.indices["train"]]
    codes = rows["city"].map({"Bonn": 1, "Kiel": 2, "Ulm": 3}).fillna(0)
    np.testing.assert_array_equal(DATA.train.tensors["input"][:, -1], codes)
    seen = DATA.preprocessing.transform(mixed(3).assign(city=["Ulm ", "Rom", None]))["input"]
    assert seen[:, -1].tolist() == [3, 0, 0]


def test_parts_of_a_date_by_hand():
    frame = mixed()
    frame["since"] = frame["since"].fillna(pd.Timestamp("2020-02-29 06:30"))
    p = load(frame, "y").preprocessing
    parts = p.columns[-1].read(pd.Series(["2020-02-29 06:30", None, "1970-01-02"]))
    # 2020-02-29 was a Saturday, 18,321 days after 1970-01-01
    np.testing.assert_array_equal(parts[0], [2020, 2, 29, 5, 6.5, 18321 + 6.5 / 24])
    assert np.isnan(parts[1]).all()
    np.testing.assert_array_equal(parts[2], [1970, 1, 2, 4, 0, 1])


CELLS = {
    "age": st.one_of(st.floats(-1e6, 1e6), st.none(), st.sampled_from(["?", " 31 ", "41.5"])),
    "income": st.one_of(st.floats(-1e300, 1e300), st.just(float("nan"))),
    "rooms": st.one_of(st.integers(-(2**70), 2**70), st.sampled_from(["3", " N/A", "2.0"])),
    "member": st.one_of(st.booleans(), st.sampled_from(["TRUE", "no ", "maybe", None])),
    "city": st.one_of(
        st.sampled_from(["Ulm", " Kiel", "-", None, "Bonn"]), st.text(), st.integers()
    ),
    "since": st.one_of(
        st.datetimes().map(str),
        st.dates(),
        st.none(),
        st.sampled_from(["2020-01-31", "", "2020-01-31T10:00:00+02:00"]),
    ),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=6), st.data())
def test_a_row_alone_is_transformed_exactly_as_inside_any_table(rows: list, draw: st.DataObject):
    frame = pd.DataFrame(rows)
    order = draw.draw(st.permutations(list(frame.columns)))
    together = DATA.preprocessing.transform(frame.assign(further="column")[list(order)])["input"]
    assert together.isfinite().all()
    for i, row in enumerate(rows):
        alone = DATA.preprocessing.transform(pd.DataFrame([row]))["input"]
        assert torch.equal(alone[0], together[i])
        assert torch.equal(DATA.preprocessing.transform(row)["input"][0], together[i])
        assert torch.equal(
            DATA.preprocessing.transform(frame.iloc[i : i + 1])["input"][0], together[i]
        )


def test_training_rows_as_text_are_the_same_tensors(tmp_path: Path):
    mixed().to_csv(tmp_path / "t.csv", index=False)
    text = load(tmp_path / "t.csv", "y")
    assert torch.equal(text.train.tensors["input"], DATA.train.tensors["input"])
    assert torch.equal(text.test.tensors["target"], DATA.test.tensors["target"])
    assert text.preprocessing.features == DATA.preprocessing.features


def test_preprocessing_survives_json():
    again = preprocessing_from_json(json.loads(json.dumps(DATA.preprocessing.to_json())))
    expected = DATA.preprocessing.transform(mixed(50, seed=1), with_target=True)
    found = again.transform(mixed(50, seed=1), with_target=True)
    assert all(torch.equal(expected[key], found[key]) for key in ("input", "target"))
    assert again.to_json() == DATA.preprocessing.to_json()
    assert again.features == DATA.preprocessing.features
    assert again.categories == DATA.preprocessing.categories


def test_an_absent_column_is_one_error_and_an_absent_target_is_fine():
    frame = mixed(5).drop(columns=["y", "city"])
    with pytest.raises(DataError, match=r"lacks the column\(s\) city; there is age, income"):
        DATA.preprocessing.transform(frame)
    assert set(DATA.preprocessing.transform(mixed(5).drop(columns="y"))) == {"input"}


def test_a_word_where_a_number_was_is_an_error_naming_the_cell():
    frame = mixed(5).astype({"age": object})
    frame.loc[3, "age"] = "old"
    with pytest.raises(DataError, match=r"column 'age' holds numbers, got 'old' in row 4"):
        DATA.preprocessing.transform(frame)


def test_an_unknown_label_at_evaluation_is_an_error_naming_it():
    with pytest.raises(DataError, match=r"target 'y' is 'maybe' in row 2, .*\('no', 'yes'\)"):
        DATA.preprocessing.transform(mixed(5).assign(y=["no", "maybe", "no", "no", "no"]), True)


def test_an_array_without_names_must_have_the_columns():
    x = load_breast_cancer().data
    p = load("breast_cancer").preprocessing
    expected = p.transform(load_breast_cancer(as_frame=True).data)["input"]
    assert torch.equal(p.transform(x)["input"], expected)
    with pytest.raises(DataError, match=r"must have shape \(rows, 30\), got \(569, 29\)"):
        p.transform(x[:, 1:])


@pytest.mark.parametrize(
    ("labels", "kind", "expected"),
    [
        ([3, 7], np.integer, [3, 7]),
        ([True, False], np.bool_, [False, True]),
        (["b", "a"], np.str_, ["a", "b"]),
        ([1.0, 0.0], np.integer, [0, 1]),
    ],
)
def test_labels_come_back_as_the_users_own_values(labels, kind, expected, tmp_path: Path):
    frame = mixed().assign(y=np.array(labels)[np.arange(200) % 2])
    frame.to_csv(tmp_path / "t.csv", index=False)
    for data in (load(frame, "y"), load(tmp_path / "t.csv", "y")):
        decoded = data.preprocessing.decode(torch.eye(2))
        assert decoded.tolist() == expected
        assert issubclass(decoded.dtype.type, kind)
        own = frame["y"].to_numpy()[data.indices["test"]]
        target = torch.nn.functional.one_hot(data.test.tensors["target"], 2)
        assert (data.preprocessing.decode(target) == own).all()


def test_regression_comes_back_in_its_own_units():
    y = load_diabetes().target
    data = load("diabetes")
    assert data.task == "regression"
    train = data.train.tensors["target"]
    assert train.shape == (282, 1)
    torch.testing.assert_close(train.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(correction=0), torch.tensor(1.0))
    units = data.preprocessing.decode(data.test.tensors["target"])
    np.testing.assert_allclose(units, y[data.indices["test"]], rtol=1e-6)


def test_several_targets_are_multilabel_or_several_outputs():
    frame = mixed().drop(columns="y")
    frame["p"], frame["q"] = np.arange(200) % 2, np.arange(200) % 3 == 0
    data = load(frame, "p,q")
    assert (data.task, data.classes, data.outputs) == ("multilabel", ["p", "q"], 2)
    target = data.test.tensors["target"]
    assert target.dtype == torch.float32
    expected = frame[["p", "q"]].to_numpy(int)[data.indices["test"]]
    np.testing.assert_array_equal(target, expected)
    np.testing.assert_array_equal(data.preprocessing.decode(target - 0.5), expected)

    frame["q"] = np.arange(200) / 7
    data = load(frame, ["p", "q"])
    assert (data.task, data.outputs) == ("regression", 2)
    units = data.preprocessing.decode(data.test.tensors["target"])
    np.testing.assert_allclose(units, frame[["p", "q"]].to_numpy()[data.indices["test"]], atol=1e-5)


def test_the_test_split_is_scikit_learns():
    x, y = load_breast_cancer(return_X_y=True)
    data = load("breast_cancer", seed=3)
    rest, test = train_test_split(np.arange(569), test_size=0.2, random_state=3, stratify=y)
    train, val = train_test_split(rest, test_size=0.2, random_state=3, stratify=y[rest])
    assert data.indices == {"train": train.tolist(), "val": val.tolist(), "test": test.tolist()}
    np.testing.assert_array_equal(data.test.tensors["target"], y[test])
    rank = data.test.tensors["input"][:, 0].argsort(stable=True)
    np.testing.assert_array_equal(rank, np.argsort(x[test, 0], kind="stable"))


def test_a_class_too_small_to_stratify_is_said():
    frame = mixed(30).assign(y=list("abcdefghij") * 3)
    data = load(frame, "y")  # 6 test rows cannot hold 10 classes
    assert any("too small for the test rows" in note for note in data.notes)
    assert data.classes == list("abcdefghij")
    expected = train_test_split(np.arange(30), test_size=0.2, random_state=0)[1]
    assert data.indices["test"] == expected.tolist()


def test_rows_without_a_target_are_left_out_and_said():
    frame = mixed()
    frame.loc[[3, 5, 100], "y"] = [None, " ? ", np.nan]
    data = load(frame, "y")
    assert "left out 3 rows whose target is missing" in data.notes
    rows = itertools.chain(*data.indices.values())
    assert sorted(rows) == sorted(set(range(200)) - {3, 5, 100})
    own = frame["y"].to_numpy()[data.indices["val"]]
    codes = data.val.tensors["target"].numpy()
    assert (np.array(data.classes)[codes] == own).all()


def test_the_same_source_gives_the_same_data(tmp_path: Path):
    mixed().to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", "y", types={"rooms": "category"}, seed=5, val_size=0.1)
    source = json.loads(json.dumps(data.source))
    assert load(**source).fingerprint() == data.fingerprint()
    assert load(tmp_path / "t.csv", "y", seed=6).fingerprint() != data.fingerprint()


@pytest.mark.parametrize("mark", sorted(MISSING))
def test_every_mark_of_a_missing_value_is_missing(mark: str, tmp_path: Path):
    lines = [f"{i},w{i % 3},{i % 2}" for i in range(60)]
    lines[7] = f" {mark.upper()} , {mark} ,1"
    (tmp_path / "t.csv").write_text("\n".join(["n,w,y", *lines]))
    data = load(tmp_path / "t.csv", "y", types="n=numeric", test_size=0, val_size=0)
    row = data.train.tensors["input"][7]
    assert data.preprocessing.categories == [4]
    assert row[1:].tolist() == [1, 0]  # the indicator, and the code of nothing
    assert data.train.tensors["input"][:, 1].sum() == 1
