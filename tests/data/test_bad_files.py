"""Whatever is wrong with a user's data is one DataError: what, what was found, what to do."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurarium.data import DataError, load

GOOD = "a,b,y\n" + "".join(f"{i % 7},{i % 5}.5,{('no', 'yes')[i % 2]}\n" for i in range(40))


def _rows(header: str, row: Callable[[int], str], rows: int = 40) -> bytes:
    return "\n".join([header, *(row(i) for i in range(rows))]).encode()


BAD = {
    "empty": (b"", r"'t.csv' is empty; a table needs a line of names"),
    "blank": (b"\n  \n\n", r"'t.csv' is empty"),
    "header only": (b"a,b,y\n", r"holds only a header; there are no rows"),
    "one class": (
        _rows("a,b,y", lambda i: f"{i % 7},{i},no"),
        r"target 'y' holds one value only \('no'\); .* add rows of another class",
    ),
    "target absent": (
        _rows("a,b,yy", lambda i: f"{i % 7},{i},{i % 2}"),
        r"there is no column 'y' to predict; did you mean 'yy'\?",
    ),
    "target all missing": (
        _rows("a,b,y", lambda i: f"{i % 7},{i}, ?"),
        r"target y is missing in every row; name another --target",
    ),
    "duplicated names": (
        _rows("a,a,y", lambda i: f"{i % 7},{i},{i % 2}"),
        r"'t.csv' has two columns named 'a'; rename or remove",
    ),
    "long row": (
        GOOD.encode() + b"1,2,yes,4\n",
        r"line 42 of 't.csv' has 4 cells, the first line 3",
    ),
    "short row": (b"a,b,y\n1,2\n" + GOOD.encode()[6:], r"line 2 of 't.csv' has 2 cells"),
    "encoding": (
        GOOD.replace("yes", "ja\u00e9").encode("cp1252"),
        r"'t.csv' is not utf-8: byte 0xe9 in line 3; .*--encoding cp1252",
    ),
    "infinity": (
        _rows("a,b,y", lambda i: f"{'inf' if i == 4 else i % 7},{i},{i % 2}"),
        r"column 'a' holds an infinity in row 5; leave the cell empty",
    ),
    "infinite target": (
        _rows("a,b,y", lambda i: f"{i % 7},{i},{'-inf' if i == 8 else i / 7}"),
        r"column 'y' holds an infinity in row 9",
    ),
    "5,000 classes": (
        _rows("a,b,y", lambda i: f"{i % 7},{i},name {i}", rows=5000),
        r"target 'y' has 5000 different values in 5000 rows, too many .* an id or free text",
    ),
    "3 rows": (
        _rows("a,b,y", lambda i: f"{i % 7},{i},{1.5 * i}", rows=3),
        r"3 rows are too few .*at least 10",
    ),
    "binary junk": (bytes(range(256)) * 40, r"'t.csv' is a binary file .*pass a CSV"),
    "class of one": (
        _rows("a,b,y", lambda i: f"{i % 7},{i},{'rare' if i == 5 else ('no', 'yes')[i % 2]}"),
        r"class 'rare' of target 'y' has a single row.*merge it into another",
    ),
    "open quote": (
        b'a,b,y\n1,2,"no\n' + GOOD.encode()[6:],
        r"line 42 of 't.csv' is not a table's: .*unclosed quote",
    ),
    "nothing to learn from": (
        _rows("a,b,y", lambda i: f"7,,{i % 2}"),
        r"no column is left to learn from: 'a' never varies; 'b' is empty",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_one_clear_error(case: str, tmp_path: Path):
    content, message = BAD[case]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "t.csv", "y")
    assert "\n" not in str(caught.value)


def test_the_good_table_of_these_tests_loads(tmp_path: Path):
    (tmp_path / "t.csv").write_text(GOOD)
    assert load(tmp_path / "t.csv", "y").classes == ["no", "yes"]


def test_a_missing_source_names_the_nearest_set_and_file(tmp_path: Path):
    (tmp_path / "train.csv").write_text(GOOD)
    with pytest.raises(DataError, match=r"no file, folder or data set 'digit'; did you mean 'digi"):
        load("digit")
    with pytest.raises(DataError, match=r"did you mean 'train.csv'\?"):
        load(tmp_path / "tain.csv")


def test_a_source_of_another_type_is_named():
    with pytest.raises(DataError, match=r"got ndarray; wrap arrays as Data\(train=\(x, y\)"):
        load(np.zeros((3, 3)))


def test_a_table_without_a_target_lists_its_columns():
    frame = pd.DataFrame({"a": range(20), "b": range(20)})
    with pytest.raises(DataError, match=r"--target: a, b"):
        load(frame)


def test_a_damaged_gzip_is_named(tmp_path: Path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(DataError, match=r"'t.csv.gz' is a damaged gzip file"):
        load(tmp_path / "t.csv.gz", "y")


def test_a_damaged_parquet_is_named(tmp_path: Path):
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"'t.parquet' is not a readable Parquet file"):
        load(tmp_path / "t.parquet", "y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": "aa=category"}, r"column 'aa', which the table does not have; did you mean 'a'"),
        (
            {"types": "a=word"},
            r"got 'a=word'; kinds are numeric, boolean, date, category, text and",
        ),
        ({"types": "y=category"}, r"'y' is the target: choose with --task"),
        ({"types": "c=numeric"}, r"column 'c' holds numbers, got 'u' in row 1"),
        ({"task": "multiclas"}, r"no task 'multiclas'; did you mean 'multiclass'"),
        ({"task": "regression"}, r"regression needs numbers, but target 'y' holds 'no'"),
        ({"task": "multilabel"}, r"multilabel needs several 0/1 target columns, got only 'y'"),
        ({"target": "c", "task": "binary"}, r"binary needs two classes, target 'c' has 3"),
        ({"target": "a,y"}, r"must all be 0/1 or all be numbers, but 'y' holds words"),
        ({"target": "a,b", "task": "multilabel"}, r"a, b make a regression problem"),
        ({"test_size": 1.5}, r"test_size must be a fraction"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str):
    frame = pd.DataFrame(
        {
            "a": np.arange(60) % 7,
            "b": np.linspace(0, 1, 60),
            "c": list("uvw") * 20,
            "y": ["no", "yes"] * 30,
        }
    )
    with pytest.raises(DataError, match=message):
        load(frame, **{"target": "y", **options})
