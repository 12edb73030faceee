"""Rows larger than memory are predicted piece by piece, and an answer is whole or not there."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from neurarium.cli import rows

FIT = ("--network=MLP:hidden=8", "--lr=0.01", "--epochs=1", "--quiet", "--no-report", "--name=run")


@pytest.fixture
def table(neurarium, workplace) -> str:
    """The name of a run on a table, whose rows are read seven at a time."""
    words = ["u", "v", "w"]
    lines = [f"{i * 7 % 13},{words[i % 3]},{i % 2}" for i in range(50)]
    (workplace / "t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    assert neurarium("fit", "t.csv", "--target=y", *FIT).code == 0
    return "run"


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_a_table_in_pieces_has_the_answers_of_the_whole(
    suffix, neurarium, table, workplace, monkeypatch
):
    frame = pd.read_csv("t.csv")
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet("new.parquet", row_group_size=7)
    else:
        frame.to_csv(f"new.{suffix}", index=False)
    whole = neurarium("predict", table, "t.csv", "--proba").out
    monkeypatch.setattr(rows, "_PIECE_ROWS", 7)
    assert neurarium("predict", table, f"new.{suffix}", "--proba").out == whole
    assert len(whole.splitlines()) == 51
    found = json.loads(neurarium("predict", table, f"new.{suffix}", "--json").out)
    assert len(found["predictions"]["prediction"]) == found["rows"] == 50


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_pieces_have_the_answers_of_the_whole(order, neurarium, workplace, monkeypatch):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez("a.npz", x=x, y=np.arange(60) % 3)
    assert neurarium("fit", "a.npz", *FIT).code == 0
    (workplace / "folder").mkdir()
    np.save("folder/x.npy", x)
    np.save("folder/y.npy", np.arange(60))
    np.save("x.npy", np.asarray(x, order=order))
    np.savetxt("x.csv", x, delimiter=",", fmt="%.9g")
    whole = neurarium("predict", "run", "a.npz").out
    assert len(whole.splitlines()) == 61
    monkeypatch.setattr(rows, "_PIECE_ROWS", 7)
    for source in ("folder", "x.npy", "x.csv"):
        assert neurarium("predict", "run", source).out == whole


def test_an_error_counts_the_rows_from_the_beginning(neurarium, table, workplace, monkeypatch):
    monkeypatch.setattr(rows, "_PIECE_ROWS", 7)
    lines = (workplace / "t.csv").read_text().splitlines()
    (workplace / "new.csv").write_text("\n".join([*lines[:31], "wide,u,0", *lines[31:]]))
    result = neurarium("predict", table, "new.csv", "-o", "answers.csv")
    assert result.is_one_sentence
    assert "got 'wide' in row 31" in result.err


def test_what_could_not_be_predicted_leaves_the_older_answers(neurarium, table, workplace):
    (workplace / "bad.csv").write_text("a,b\n1,u\n" + "2,v\n" * 40_000 + "3\n")
    for _ in ("none there yet", "older ones"):
        there = sorted(workplace.glob("**/*"))
        assert "line 40003" in neurarium("predict", table, "bad.csv", "-o", "answers.csv").err
        assert sorted(workplace.glob("**/*")) == there
        (workplace / "answers.csv").write_text("old")
    assert (workplace / "answers.csv").read_text() == "old"
    assert neurarium("predict", table, "t.csv", "-o", "answers.csv").code == 0
    assert len((workplace / "answers.csv").read_text().splitlines()) == 51


def test_answers_may_go_to_a_pipe_or_behind_a_link(neurarium, table, workplace):
    (workplace / "link.csv").symlink_to("real.csv")
    assert neurarium("predict", table, "t.csv", "-o", "link.csv").code == 0
    assert (workplace / "link.csv").is_symlink()
    assert len((workplace / "real.csv").read_text().splitlines()) == 51
    assert neurarium("predict", table, "t.csv", "-o", os.devnull).code == 0
    assert not os.path.isfile(os.devnull)


LIMITED = """
import resource, sys
from pathlib import Path
import pandas, scipy.stats, neurarium.cli.predict, neurarium.training.automatic
from neurarium.cli import main
pandas.DataFrame({"a": ["b"]})  # Arrow, where it is there, reserves its own memory
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for source in sys.argv[1:]:
    if main(["predict", "run", source, "-o", source + ".answers"]):
        sys.exit(1)
"""


def test_rows_larger_than_the_memory_are_predicted(neurarium, workplace):
    numbers = np.random.default_rng(0).normal(size=(60, 1024)).astype(np.float32)
    np.savez("a.npz", x=numbers, y=np.arange(60) % 2)
    assert neurarium("fit", "a.npz", *FIT).code == 0
    x = np.lib.format.open_memmap(
        "x.npy", "w+", np.float32, (120_000, 1024)
    )  # 490 MB, nearly all a hole
    x[::1000] = 1
    del x
    line = ",".join(f"{value:.3f}" for value in numbers[0])
    (workplace / "x.csv").write_text((line + "\n") * 4000)  # 24 MB, 4 million cells of 60 bytes
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "x.npy", "x.csv"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers = (workplace / "x.npy.answers").read_text().splitlines()
    assert len(answers) == 120_001
    assert answers[1] == answers[1001]
    assert len((workplace / "x.csv.answers").read_text().splitlines()) == 4001
