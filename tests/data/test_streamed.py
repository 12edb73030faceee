"""Rows read in blocks: each once an epoch, in an order that the seed alone decides."""

import gzip
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from neurarium.data import Data, DataError, csv_blocks, load, streamed
from neurarium.data.csv_blocks import CsvBlocks
from neurarium.data.readers import TextTable
from neurarium.data.streamed import Streamed

ROWS = 3000


@pytest.fixture
def little_memory(monkeypatch):
    """Whatever is large, and how little one holds of it."""
    monkeypatch.setattr(streamed, "memory", lambda: 2**12)
    monkeypatch.setattr(streamed, "_SMALL", 0)
    monkeypatch.setattr(streamed, "_PIECE_ROWS", 128)
    monkeypatch.setattr(streamed, "_BUFFER_BYTES", 2**14)
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 2**12)
    monkeypatch.setattr(csv_blocks, "_PIECE_CELLS", 150)


def write_table(folder: Path, **columns) -> Path:
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    a = np.arange(ROWS) / 7  # names the row
    frame = pd.DataFrame({"a": a, "b": rng.choice(["u", "v"], ROWS), "y": rng.normal(size=ROWS)})
    path = folder / "t.parquet"
    frame.assign(**columns).to_parquet(path, row_group_size=300)
    return path


def write_text(folder: Path, **columns) -> Path:
    frame = pd.read_parquet(write_table(folder, **columns))
    path = folder / "t.csv"
    frame.to_csv(path, index=False)
    return path


def write_arrays(folder: Path) -> Path:
    x = np.zeros((ROWS, 3), np.float32)
    x[:, 0] = np.arange(ROWS)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", np.arange(ROWS) % 3)
    return folder


def names_of(data: Data, split: str) -> list[int]:
    """Which rows of the file these are."""
    inputs = torch.cat([b["input"][:, 0] for b in data.split(split).batches(64)]).double()
    if hasattr(data.preprocessing, "median"):
        z = inputs.numpy() / np.sqrt(1 - (inputs.numpy() / 3) ** 2)
        inputs = z * data.preprocessing.spread[0] + data.preprocessing.median[0]
        return np.rint(inputs * 7).astype(int).tolist()
    return inputs.int().tolist()


@pytest.mark.parametrize("write", [write_table, write_text, write_arrays])
def test_every_row_is_in_exactly_one_split_and_once_an_epoch(write, tmp_path, little_memory):
    data = load(write(tmp_path), None if write is write_arrays else "y")
    assert isinstance(data.train, Streamed)
    parts = {split: names_of(data, split) for split in ("train", "val", "test")}
    assert sorted(itertools.chain(*parts.values())) == list(range(ROWS))
    assert len(parts["train"]) == len(data.train) == data.describe()["rows"]["train"]
    assert len(parts["test"]) == pytest.approx(0.2 * ROWS, rel=0.1)
    assert len(parts["val"]) == pytest.approx(0.2 * 0.8 * ROWS, rel=0.1)  # of what is no test row
    assert parts["train"] == sorted(parts["train"])  # in order where no seed is given


@pytest.mark.parametrize("write", [write_table, write_text, write_arrays])
def test_the_order_hangs_on_the_seed_alone_and_is_well_mixed(write, tmp_path, little_memory):
    data = load(write(tmp_path), None if write is write_arrays else "y")

    def order(seed: int) -> list[float]:
        batches = list(data.train.batches(32, seed))
        assert len(batches) == data.train.steps(32)
        assert {len(b["input"]) for b in batches[:-1]} <= {32, 33}
        return torch.cat([b["input"][:, 0] for b in batches]).tolist()

    first, again, other = order(1), order(1), order(2)
    assert first == again != other
    assert sorted(first) == sorted(other)
    values = torch.tensor(first)
    ranks = values.argsort().argsort().float()
    steps = (ranks[1:] - ranks[:-1]).abs()
    assert (steps == 1).float().mean() < 0.02  # neighbours in the file are none in the epoch
    assert steps.mean() > len(first) / 20


def test_a_last_row_left_alone_joins_the_batch_before_it(tmp_path, little_memory):
    data = load(write_arrays(tmp_path))
    size = len(data.train) - 1
    assert [len(b["input"]) for b in data.train.batches(size, 3)] == [size + 1]


@pytest.mark.parametrize("write", [write_table, write_text])
def test_a_streamed_table_is_prepared_as_a_resident_one(write, tmp_path, monkeypatch):
    path = write(tmp_path)
    whole = load(path, "y", test_size=0, val_size=0)
    monkeypatch.setattr(streamed, "memory", lambda: 2**12)
    monkeypatch.setattr(streamed, "_SMALL", 0)
    data = load(path, "y", test_size=0, val_size=0)
    assert data.val is None
    assert data.preprocessing.to_json() == whole.preprocessing.to_json()  # the sample is all
    (read,) = data.train.batches(ROWS)
    for name, tensor in whole.train.tensors.items():
        assert torch.equal(read[name], tensor)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_several_outputs_are_streamed_as_they_are_held(task, tmp_path, monkeypatch):
    write_arrays(tmp_path)
    y = np.random.default_rng(0).normal(size=(ROWS, 2))
    np.save(tmp_path / "y.npy", y if task == "regression" else y > 0)
    whole = load(tmp_path, test_size=0, val_size=0)
    monkeypatch.setattr(streamed, "memory", lambda: 2**12)
    data = load(tmp_path, test_size=0, val_size=0)
    (read,) = data.train.batches(ROWS)
    assert data.task == whole.task == task
    assert data.outputs == whole.outputs == 2
    assert data.preprocessing.target == whole.preprocessing.target
    assert torch.equal(read["target"], whole.train.tensors["target"])
    torch.testing.assert_close(data.example(8), whole.example(8))


@pytest.mark.parametrize("write", [write_table, write_text])
def test_rows_without_a_target_are_left_out(write, tmp_path, little_memory):
    y = np.arange(ROWS, dtype=float) % 11
    y[::10] = np.nan
    data = load(write(tmp_path, y=y), "y")
    total = sum(len(names_of(data, split)) for split in ("train", "val", "test"))
    assert total == ROWS - ROWS // 10


@pytest.mark.parametrize("write", [write_table, write_text])
def test_a_class_that_the_sample_lacks_is_an_error_before_training(
    write, tmp_path, little_memory, monkeypatch
):
    monkeypatch.setattr(streamed, "_SAMPLED_BLOCKS", 2)  # the first and the last
    words = np.where(np.arange(ROWS) % 2, "no", "yes").astype(object)
    words[1500] = "perhaps"
    with pytest.raises(DataError, match="target 'y' is 'perhaps' in row"):
        load(write(tmp_path, y=words), "y")


def test_a_word_among_numbers_that_the_sample_lacks_is_an_error_before_training(
    tmp_path, little_memory, monkeypatch
):
    monkeypatch.setattr(streamed, "_SAMPLED_BLOCKS", 2)
    c = np.arange(ROWS).astype(str).astype(object) + ".5"
    c[1500] = "many"
    with pytest.raises(DataError, match="column 'c' holds numbers, got 'many' in row 1501"):
        load(write_text(tmp_path, c=c), "y")


def test_blocks_of_text_are_its_rows_whatever_its_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 40)
    cells = [[str(i), f'"two\nlines {i}"' if i % 3 else "é;", "x" * (i % 7)] for i in range(50)]
    lines = ["\ufeffa;b;c", *[";".join(row if i % 3 else [row[0], '"é;"', row[2]])
                              for i, row in enumerate(cells)]]  # fmt: skip
    path = tmp_path / "t.csv"
    path.write_text("\r\n\r\n".join(lines), encoding="utf-8", newline="")
    table = TextTable(path)
    blocks = CsvBlocks(table)
    assert len(blocks.rows) > 20
    assert sum(blocks.rows) == 50
    read = [pd.concat(list(blocks.read(i))) for i in range(len(blocks.rows))]
    assert [len(frame) for frame in read] == blocks.rows
    (whole,) = table.frames()
    pd.testing.assert_frame_equal(pd.concat(read, ignore_index=True), whole)
    path.write_text("a;b;c\n" + "1;2\n" * 2000)
    with pytest.raises(DataError, match="has changed since it was first read"):
        list(blocks.read(0))


def test_text_that_cannot_be_read_from_the_middle_is_refused(tmp_path, little_memory, unchecked):
    path = write_text(tmp_path)
    raw = path.read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(DataError, match="compressed text cannot be read in blocks; unpack it or"):
        load(tmp_path / "t.csv.gz", "y")
    path.write_bytes(raw.decode().encode("utf-16"))
    with pytest.raises(
        DataError, match=r"utf-16 text cannot .* save it as utf-8 or, better, as Pa"
    ):
        load(path, "y")
    path.write_bytes(raw[:-100] + b"\xff" + raw[-100:])
    with pytest.raises(DataError, match="not utf-8: byte 0xff in line 29"):
        load(path, "y")


def test_a_flag_that_is_none_is_an_error_before_training(tmp_path, little_memory, monkeypatch):
    monkeypatch.setattr(streamed, "_SAMPLED_BLOCKS", 2)
    monkeypatch.setattr(streamed, "_PIECE_BYTES", 2**11)
    write_arrays(tmp_path)
    flags = np.random.default_rng(0).integers(0, 2, (ROWS, 2))
    flags[1500, 1] = 7
    np.save(tmp_path / "y.npy", flags)
    with pytest.raises(DataError, match="holds 7 elsewhere; correct it or use --task regression"):
        load(tmp_path)
    assert load(tmp_path, task="regression").outputs == 2


def test_a_graph_or_a_series_must_fit_into_the_memory(tmp_path, little_memory):
    path = write_table(tmp_path)
    with pytest.raises(DataError, match=r"'t.parquet' is too large .* rows of a series must fit"):
        load(path, "y", time="a")
    with pytest.raises(DataError, match=r"'t.parquet' is too large .* rows of a graph must fit"):
        load(path, "y", edges=tmp_path / "edges.csv")


def test_a_table_is_a_graph_or_a_series(tmp_path):
    with pytest.raises(DataError, match="graph or a series: leave out --edges or --time"):
        load(write_table(tmp_path), "y", edges=tmp_path / "edges.csv", time="a")


def test_arrays_that_fit_in_memory_are_held(tmp_path):
    data = load(write_arrays(tmp_path))
    assert not isinstance(data.train, Streamed)
    assert data.classes == ["0", "1", "2"]


def test_unequal_and_truncated_arrays_are_named(tmp_path):
    write_arrays(tmp_path)
    np.save(tmp_path / "y.npy", np.arange(5))
    with pytest.raises(DataError, match=r"x.npy has 3000 rows and y.npy 5; they must match"):
        load(tmp_path)
    raw = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(raw[:-1])
    with pytest.raises(DataError, match=r"'x.npy' is shorter than its header says"):
        load(tmp_path)


def test_a_changed_file_has_another_fingerprint(tmp_path, little_memory):
    before = load(write_arrays(tmp_path)).fingerprint()
    assert load(tmp_path).fingerprint() == before
    x = np.load(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", x + 1)
    assert load(tmp_path).fingerprint() != before


def test_a_streamed_run_resumes_within_an_epoch_to_the_same_bytes(tmp_path, little_memory):
    from neurarium.learning import Backprop
    from neurarium.networks import MLP
    from neurarium.training import Callback, Checkpoint, fit

    class Stop(Callback):
        def __init__(self, step):
            self.step = step

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            if trainer.step == self.step:
                raise KeyboardInterrupt

    def train(folder: str, stop: int = 0, resume: bool = False):
        torch.manual_seed(0)
        model = MLP([3, 8, 3])
        fit(
            model, load(tmp_path), rule=Backprop("adamw", lr=0.01), epochs=2, batch_size=64,
            seed=5, directory=tmp_path / folder, resume=resume, verbose=False,
            callbacks=[Checkpoint(every_n_steps=10), Stop(stop)],
        )  # fmt: skip
        return model.state_dict()

    write_arrays(tmp_path)
    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", 41)
    again = train("cut", resume=True)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


LIMITED = """
import json, resource, sys
from pathlib import Path
import neurarium.training.automatic, sklearn.model_selection, scipy.stats, pandas
from neurarium.cli import main
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 600 * 2**20  # of it threads reserve a part
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"code": code, "peak": peak}))
"""


def test_data_larger_than_the_memory_trains_in_it(tmp_path):
    rows = 400_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, 512))  # sparse
    y = np.random.default_rng(0).integers(0, 2, rows).astype(np.uint8)
    np.save(tmp_path / "y.npy", y)
    x[::1000] = y[::1000, None]
    del x
    assert (tmp_path / "x.npy").stat().st_size > 700e6
    words = ["fit", str(tmp_path), f"--directory={tmp_path / 'runs'}", "--no-report", "-q",
             "--network=MLP:hidden=8", "--lr=0.01", "--batch-size=8192", "--epochs=1"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["code"] == 0, done.stderr
    assert result["peak"] < 2**30  # bytes resident
