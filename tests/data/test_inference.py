"""What is inferred of a file or a column, what the user is told, and how to overrule it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurarium.data import load, read_table
from neurarium.data.columns import Category, date_formats
from neurarium.data.schema import infer_columns, parse_types

N = 60
Y = ["no", "yes"] * (N // 2)


def kinds(types=None, **columns) -> dict[str, str]:
    found, _ = infer_columns(pd.DataFrame({"z": np.linspace(0, 1, N), **columns}), types)
    return {column.name: column.kind for column in found if column.name != "z"}


def notes(types=None, **columns) -> str:
    return "\n".join(infer_columns(pd.DataFrame({"z": np.linspace(0, 1, N), **columns}), types)[1])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([0.5, 1.5, 2.5], "numeric"),
        ([1, 2, 3], "numeric"),
        (["1", " 2", "3.5e2"], "numeric"),
        (["1,5", "2,25", "3"], "numeric"),
        (["?", "2", "3"], "numeric"),
        (["a", "b", "c"], "category"),
        (["1", "b", "c"], "category"),
        ([True, False, True], "boolean"),
        (["yes", "No", " ?"], "boolean"),
        (["TRUE", "false", "true"], "boolean"),
        (["yes", "true", "no"], "category"),
        (["2020-01-31", "2020-02-29", ""], "date"),
        (["31/01/2020", "01/02/2020", "NA"], "date"),
        (["31.12.2020 10:15", "01.02.2021 00:00", "NA"], "date"),
        (["Jan 5, 2020", "Feb 6, 2021", "May 7, 2022"], "date"),
        (["2020-01-31T10:00:00Z", "2020-01-31T10:00:00+02:00", "2020-01-31"], "date"),
        ([pd.Timestamp("2020-01-31"), pd.NaT, pd.Timestamp("2021-01-31")], "date"),
        (["2020-13-31", "2020-02-29", "2020-01-01"], "category"),
    ],
)
def test_the_kind_of_a_column_is_told_from_its_cells(cells: list, kind: str):
    assert kinds(c=cells * (N // 3)) == {"c": kind}


def test_a_typed_categorical_column_of_numbers_is_a_category_if_told():
    assert kinds(c=pd.Categorical(["u", "v"] * 30)) == {"c": "category"}
    assert kinds({"c": "category"}, c=[1, 2] * 30) == {"c": "category"}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([7] * N, "never varies"),
        (["u"] * N, "never varies"),
        ([None] * N, "is empty"),
        (["?"] * N, "is empty"),
        (list(range(N)), "numbers the rows"),
        (list(range(N + 3, 3, -1)), "numbers the rows"),
        ([f"u{i}" for i in range(N)], "differs in nearly every row"),
        ([f"the customer said {i} things" for i in range(N)], "is free text"),
        (np.linspace(0, 1, N), "repeats 'z'"),
    ],
)
def test_a_useless_column_is_dropped_said_and_kept_on_demand(cells, reason: str):
    assert kinds(c=cells) == {}
    assert f"dropped c: {reason} (--types c=" in notes(c=cells)
    assert kinds("c=category", c=cells) == {"c": "category"}


def test_the_note_on_a_dropped_number_keeps_it_a_number():
    assert "dropped c: numbers the rows (--types c=numeric keeps it)" in notes(c=list(range(N)))


def test_an_empty_cell_is_information_a_constant_is_not():
    assert kinds(c=[7, None] * 30) == {"c": "numeric"}
    assert kinds(c=["u", None] * 30) == {"c": "category"}


def test_distinct_numbers_are_a_feature_unless_they_count_or_are_called_id():
    unique = (np.arange(N) ** 2).tolist()
    assert kinds(weight=unique) == {"weight": "numeric"}
    assert kinds(user_id=unique, ID=[-u for u in unique]) == {}
    assert kinds(humid=unique) == {"humid": "numeric"}


def test_a_few_words_among_numbers_are_missing_values_of_that_column():
    cells = ["12", "unknown", *map(str, range(13, 71))]
    found, said = infer_columns(pd.DataFrame({"c": cells}))
    assert found[0].marks == ("unknown",)
    values = found[0].read(pd.Series(["unknown", "12"]))[:, 0]
    np.testing.assert_array_equal(values, [np.nan, 12])
    assert "numbers but for 1 of 60 cells ('unknown'), which count as missing" in "\n".join(said)


def test_dates_that_can_be_read_two_ways_are_read_day_first_and_said():
    cells = ["01/02/2020", "03/04/2021", "05/06/2022"] * 20
    assert "--types c=date:%m/%d/%Y reads them month first" in notes(c=cells)
    (column,) = infer_columns(pd.DataFrame({"c": cells}), "c=date:%m/%d/%Y")[0]
    assert column.read(pd.Series(["01/02/2020"]))[0, :3].tolist() == [2020, 1, 2]
    assert date_formats(["01/02/2020", "03/31/2020"]) == ["%m/%d/%Y"]


def test_rare_words_share_the_code_of_unseen_ones():
    words = np.repeat([f"word{i:04}" for i in range(400)], 25)
    words[:60] = [f"rare{i // 5}" for i in range(60)]
    frame = pd.DataFrame({"c": words, "y": np.arange(10_000) % 2})
    data = load(frame, "y")
    assert not [word for word in data.preprocessing.words[0].known if word.startswith("rare")]
    assert data.preprocessing.categories == [399]  # 400 words - 3 displaced + 2 gone, and code 0


@pytest.mark.parametrize(
    ("words", "rows", "known"),
    [
        (list("abc"), 3, 3),  # one row each is enough among few words
        ([f"w{i}" for i in range(50)], 50, 50),
        ([f"w{i}" for i in range(51)], 51, 0),  # not among many
        ([f"w{i}" for i in range(51)] * 2, 102, 51),
        (["a"] * 9_980 + ["b"] * 11 + ["c"] * 9, 10_000, 2),  # 10 of 10,000 rows are
        (["a"] * 99_980 + ["b"] * 11 + ["c"] * 9, 100_000, 2),  # and of any more
    ],
)
def test_how_many_rows_a_word_needs_to_be_known(words: list, rows: int, known: int):
    series = pd.Series(words)
    assert len(series) == rows
    assert len(Category("c").fit(series).known) == known


def test_exactly_the_least_rows_are_enough():
    series = pd.Series(["a"] * 9_990 + ["b"] * 10)
    assert Category("c").fit(series).known == ("a", "b")


def test_types_may_be_a_mapping_or_text():
    expected = {"zip": "category", "when": "date:%d/%m/%Y", "n": "numeric"}
    assert parse_types("zip=categorical, when=date:%d/%m/%Y,n=int") == expected
    assert parse_types(expected) == expected
    assert parse_types(None) == parse_types("") == {}


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1], "binary"),
        ([1, 2], "binary"),
        ([-1.0, 1.0], "binary"),
        (["u", "v"], "binary"),
        ([True, False], "binary"),
        ([1, 2, 3], "multiclass"),
        (["u", "v", "w"], "multiclass"),
        ([0.5, 1.5], "regression"),
        (range(30), "regression"),
    ],
)
def test_the_task_is_told_from_the_target(values, task: str):
    frame = pd.DataFrame({"z": np.linspace(0, 1, N), "y": np.resize(list(values), N)})
    data = load(frame, "y")
    assert data.task == task
    assert any(f"task: {task}" in note and "--task" in note for note in data.notes)


def test_the_task_can_be_told():
    frame = pd.DataFrame({"z": np.linspace(0, 1, N), "y": np.arange(N) % 3})
    assert load(frame, "y", task="regression").outputs == 1
    frame["y"] = np.arange(N) % 2 + 0.5
    data = load(frame, "y", task="classification")
    assert (data.task, data.classes) == ("binary", ["0.5", "1.5"])


def test_a_last_column_called_like_a_target_is_the_target():
    frame = pd.DataFrame({"z": np.linspace(0, 1, N), "Label": Y})
    assert "target: 'Label' by its name (--target overrides)" in load(frame).notes
    assert load(frame, -1).classes == load(frame, "-1").classes == load(frame, 1).classes


def test_columns_named_by_numbers_are_found_by_name_first():
    frame = pd.DataFrame({1: Y, 0: np.linspace(0, 1, N)})
    assert load(frame, 1).classes == ["no", "yes"]


def _table(path: Path, text: str, **options):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, **options)


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")]
)
def test_the_delimiter_is_found_and_said(delimiter: str, name: str, tmp_path: Path):
    text = "a;b\n1,5;2,5\n3,5;4,5\n".replace(";", delimiter)
    frame, said = _table(tmp_path / "t.csv", text)
    assert frame.to_dict("list") == {"a": ["1,5", "3,5"], "b": ["2,5", "4,5"]}
    assert any(name in note and "--delimiter" in note for note in said)


def test_a_quoted_cell_may_hold_the_delimiter_and_a_line_break(tmp_path: Path):
    frame, said = _table(tmp_path / "t.csv", 'a,b\n"1, or ""2""\nor 3",4\n')
    assert frame["a"].tolist() == ['1, or "2"\nor 3']
    assert said == []


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        ("a,b\n1,2\n3,4", True),
        ("1,2\n3,4\n5,6", False),
        ("0,1\n3.5,4\n5,6", True),  # a frame without names, saved
        (",a\n0,5\n1,6", True),  # a saved index has no name
        ("name,2019,2020\nu,1,2\nv,3,4", False),  # words and numbers as in any row
        ("id,2019,2020\n1,1,2\n2,3,4", True),  # a word above numbers
        ("u,v\nu,w\nx,v", False),  # the words come again
        ("city,colour\nUlm,red\nBonn,blue", True),
        ("?,2,u\n3,4,v", False),
    ],
)
def test_whether_the_first_line_is_a_header(lines: str, header: bool, tmp_path: Path):
    frame, said = _table(tmp_path / "t.csv", lines)
    assert len(frame) == len(lines.splitlines()) - header
    assert any("--header" in note for note in said) == (not header)
    if not header:
        assert frame.columns[0] == "column_1"
    frame, said = _table(tmp_path / "t.csv", lines, header=not header)
    assert len(frame) == len(lines.splitlines()) - (not header)
    assert said == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str, tmp_path: Path):
    frame, _ = _table(tmp_path / "t.csv", "größe,b\n1,ä\n".encode(encoding))
    assert frame.to_dict("list") == {"größe": ["1"], "b": ["ä"]}


def test_the_encoding_can_be_told(tmp_path: Path):
    frame, _ = _table(tmp_path / "t.csv", "a\n€\n".encode("cp1252"), encoding="cp1252")
    assert frame["a"].tolist() == ["€"]


def test_parquet_keeps_its_types(tmp_path: Path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"z": np.linspace(0, 1, N), "b": [True, None, False] * 20, "y": Y})
    frame["when"] = pd.date_range("2020-01-01 05:00", periods=N)
    frame.to_parquet(tmp_path / "t.parquet")
    data, same = load(tmp_path / "t.parquet", "y"), load(frame, "y")
    assert [column.kind for column in data.preprocessing.columns] == ["numeric", "boolean", "date"]
    assert data.fingerprint() == same.fingerprint()


CTR = {
    "criteo_sample.txt": ("label", {0, 1}, 200),
    "avazu_sample.txt": ("click", {0, 1}, 100),
    "movielens_sample.txt": ("rating", {1, 2, 3, 4, 5}, 200),
    "census-income.sample": (-1, {"- 50000.", "50000+."}, 200),
}


@pytest.mark.parametrize("name", CTR)
def test_files_from_the_wild_load(name: str, data_path):
    target, labels, rows = CTR[name]
    data = load(data_path("ctr") / name, target)
    assert set(data.preprocessing.target.labels) == labels
    assert len(data.train) + len(data.val) + len(data.test) == rows
    assert data.train.tensors["input"].isfinite().all()
    width = len(data.preprocessing.features)
    assert data.input_shape == (width,)
    assert all(re.search(r"--\w+", note) for note in data.notes)


def test_the_census_without_a_header_is_read_as_such(data_path):
    data = load(data_path("ctr") / "census-income.sample", -1)
    assert data.preprocessing.columns[0].name == "column_1"
    words = {c.name: c.known for c in data.preprocessing.words}
    assert "Private" in words["column_3"]  # written " Private"
    assert "?" not in words["column_27"]
