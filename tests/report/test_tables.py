import numpy as np
import pandas as pd
import pytest

import neurarium as nr
from neurarium.report.facts import Facts
from neurarium.report.tables import cells, columns


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"price": np.round(rng.normal(1000, 50, 200), 2)})
    frame.loc[::7, "price"] = np.nan
    frame["heavy"] = np.exp(rng.normal(size=200) * 2)
    frame.loc[[5, 6, 8, 10], "heavy"] = [1e3, 1e5, -1e5, 0]
    frame["city"] = rng.choice(["Oslo", "Rome"], 200)
    frame["day"] = pd.date_range("2021-02-03", periods=200).strftime("%Y-%m-%d")
    frame["member"] = rng.choice(["yes", "no"], 200)
    frame["y"] = rng.normal(size=200)
    frame.loc[3, "y"] = np.nan  # a row that is dropped must not shift the others' numbers
    return frame, nr.load(frame, target="y")


def test_each_column_owns_its_numbers_its_indicator_and_its_code(data):
    width = data[1].input_shape[0]
    found = {c.name: c for c in columns(data[1].preprocessing, width)}
    names = data[1].preprocessing.features
    assert [names[i] for i in found["price"].positions] == ["price", "price is missing"]
    assert [names[i] for i in found["city"].positions] == ["city"]
    assert all(names[i].startswith("day") for i in found["day"].positions)
    assert sorted(i for c in found.values() for i in c.positions) == list(range(width))


def test_cells_are_those_of_the_users_table(data):
    frame, loaded = data
    known = columns(loaded.preprocessing, loaded.input_shape[0])
    for row, number in enumerate(loaded.indices["train"]):
        shown = {c.name: cells(loaded.preprocessing, c, loaded.train.tensors["input"][row])
                 for c in known}  # fmt: skip
        raw = frame.iloc[number]
        heavy = shown["heavy"]
        if heavy.startswith(("above ", "below ")):
            assert abs(float(heavy.split()[1])) < abs(raw["heavy"])
        else:
            assert float(heavy) == pytest.approx(raw["heavy"], rel=1e-3, abs=1e-5)
            decimals = len(heavy.partition(".")[2])
            assert decimals == 0 or abs(float(heavy) - raw["heavy"]) < 10**-decimals
        assert shown["city"] == raw["city"]
        assert shown["day"] == raw["day"]
        assert shown["member"] == raw["member"]
        missing = np.isnan(raw["price"])
        assert (shown["price"] == "missing") == missing
        if not missing:
            assert float(shown["price"]) == pytest.approx(raw["price"], rel=1e-5)


def test_inputs_without_a_table_are_numbered():
    assert [c.name for c in columns(None, 2)] == ["input 0", "input 1"]


def test_facts_name_rows_by_their_number_in_the_source(data):
    run = nr.fit(
        nr.networks.for_data(
            "MLP:hidden=4", data[1].input_shape, 1, data[1].preprocessing.categories
        ),
        data[1],
        epochs=1,
        lr=0.01,
        verbose=False,
    )
    main = Facts(run, ["test"]).main
    assert main.row_name(0).split()[-1] == str(data[1].indices["test"][0])
    raw = data[0]["y"].iloc[data[1].indices["test"]]
    assert main.target[:, 0] == pytest.approx(raw.to_numpy(), abs=1e-5)
