"""Two real processes, on gloo: they end where one does, and where the simulator says."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.distributed import worker

from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit
from neurarium.training.distributed import SimulatedWorkers, TernGrad
from neurarium.training.distributed.processes import Processes
from neurarium.training.distributed.shares import part_of, shares

ROOT = Path(__file__).parents[3]


def run_two(*arguments: str, seconds: float = 180) -> None:
    """`python worker.py ...` twice, as torchrun would; fails at once if one of them does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
              "OMP_NUM_THREADS": "1", "PYTHONPATH": path}  # fmt: skip
    command = [sys.executable, "-W", "error", "-m", "tests.training.distributed.worker"]
    running = [
        subprocess.Popen(
            [*command, *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        )
        for rank in range(2)
    ]  # fmt: skip
    deadline = time.monotonic() + seconds
    while any(p.poll() is None for p in running) and not any(p.poll() for p in running):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    failed = [p for p in running if p.poll() != 0]
    for process in failed:
        process.kill()
    outputs = [p.communicate()[0] for p in running]
    assert not failed, "\n".join(outputs)
    Path(arguments[0], "output").write_text(outputs[0])
    Path(arguments[0], "output1").write_text(outputs[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("two")
    for source in worker.SOURCES:  # for two processes to go on with
        worker.half(path, source)
    with contextlib.suppress(Interrupted):  # likewise
        worker.tower(directory=path / "tower-1", stop=8)
    run_two(str(path), *worker.TASKS)
    return path


def of(folder, task, rank=0):
    weights = load_file(folder / f"{task}{rank}.safetensors")
    return weights, json.loads((folder / f"{task}{rank}.json").read_text())


@pytest.mark.parametrize("task", ["plain", "unused"])
def test_two_processes_end_where_one_does(task, folder, tmp_path, unchecked, capsys):
    weights, figures = of(folder, task)
    model, alone = worker.TASKS[task](tmp_path)
    torch.testing.assert_close(weights, dict(model.state_dict()), rtol=1e-4, atol=1e-6)
    assert figures["history"].keys() == alone["history"].keys()
    for name, values in alone["history"].items():
        assert figures["history"][name] == pytest.approx(values, rel=1e-4), name
    assert figures["test"] == pytest.approx(alone["test"], rel=1e-4)


@pytest.mark.parametrize("task", ["plain", "unused", "few_rows", "loader", "whole", "cut"])
def test_all_processes_end_alike(task, folder):
    (weights, figures), (their_weights, their_figures) = of(folder, task), of(folder, task, 1)
    assert figures["history"] == their_figures["history"]
    assert figures["test"] == pytest.approx(their_figures["test"])
    for name in weights:
        torch.testing.assert_close(weights[name], their_weights[name], rtol=1e-6, atol=1e-7)


def test_a_loaders_rows_are_shared_out_once(folder):
    # A loader draws its order anew in each process; all must draw the same.
    seen = [of(folder, "loader", rank)[1]["rows"] for rank in range(2)]
    assert abs(len(seen[0]) - len(seen[1])) <= 12  # batches of 7: 3 and 4 rows
    assert sorted(seen[0] + seen[1]) == pytest.approx(sorted(worker.tensors(82)[0][:, 0].tolist()))


def test_dropout_differs_between_processes(folder):
    first, second = (of(folder, "loader", rank)[1]["noise"] for rank in range(2))
    assert first != second


def test_a_resumed_run_ends_in_the_same_bytes_on_both(folder):
    # Dropout differs between the processes and so do the compressors' residuals: all are kept.
    for rank in range(2):
        (weights, figures), (again, after) = of(folder, "whole", rank), of(folder, "cut", rank)
        assert all(torch.equal(weights[name], again[name]) for name in weights)
        assert figures["history"] == after["history"]


def test_the_first_process_alone_writes_and_shows(folder):
    assert "epoch 3/3" in (folder / "output").read_text()
    assert "epoch" not in (folder / "output1").read_text()
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    _, figures = of(folder, "whole")
    assert figures["config"]["processes"] == 2
    assert "DGC(sparsity=0.5" in figures["config"]["communication"]


def test_a_rule_whose_processes_part_is_refused(folder):
    for rank in range(2):
        assert "have different weights" in of(folder, "parted", rank)[1]["error"]


def assert_ends_alike(found, expected):
    (weights, figures), (model, alone) = found, expected
    torch.testing.assert_close(weights, dict(model.state_dict()), rtol=1e-5, atol=1e-6)
    for name, values in alone["history"].items():
        assert figures["history"][name] == pytest.approx(values, rel=1e-5), name


@pytest.mark.parametrize("source", worker.SOURCES)
def test_two_processes_go_on_exactly_with_what_one_began(source, folder, unchecked):
    task = "more_processes" + "_with_a_loader" * (source == "loader")
    assert_ends_alike(of(folder, task), worker.uninterrupted(source))
    (sentence,) = of(folder, task)[1]["told"]
    assert sentence.startswith("begun by 1 process, resumed by 2: weights, optimizer and place")
    assert of(folder, task, 1)[1]["told"] == []


@pytest.mark.parametrize("source", worker.SOURCES)
def test_one_process_goes_on_exactly_with_what_two_began(source, folder, unchecked):
    model, figures = worker.other_half(folder, source, begun_by=2)
    assert_ends_alike((dict(model.state_dict()), figures), worker.uninterrupted(source))
    (sentence,) = figures["told"]
    assert sentence.startswith("begun by 2 processes, resumed by 1: ")


def test_what_processes_drew_and_held_back_begins_anew_where_they_are_fewer(folder, unchecked):
    # The compressors' residuals were of two; one process alone has no exchange to compress.
    directory = folder / "again"
    shutil.copytree(folder / "halved", directory)
    runs = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="held back is dropped"):
            model, figures = worker.whole(folder, "halved", resume=True, communication=None)
        runs.append((model.state_dict(), figures["history"]))
        shutil.rmtree(folder / "halved")
        shutil.copytree(directory, folder / "halved")
    (weights, history), (again, history_again) = runs
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert history == history_again


# Weights of which each process holds a part


@pytest.fixture(scope="module")
def whole_tower():
    return worker.tower()


@pytest.mark.parametrize(
    "task", ["sharded", "sharded_cut", "sharded_after_one", "sharded_after_ddp"]
)
def test_weights_in_parts_end_where_whole_ones_do(task, folder, whole_tower):
    assert_ends_alike(of(folder, task), whole_tower)
    assert_ends_alike(of(folder, task, 1), whole_tower)


def test_one_process_goes_on_with_weights_that_were_in_parts(folder, whole_tower):
    with pytest.warns(UserWarning, match="begun by 2 processes, resumed by 1"):
        model, figures = worker.tower(directory=folder / "c", resume=folder / "sharded")
    assert_ends_alike((dict(model.state_dict()), figures), whole_tower)


def test_penalties_read_weights_in_parts(folder, tmp_path, unchecked):
    model, alone = worker.plain(tmp_path)
    assert_ends_alike(of(folder, "sharded_with_penalties"), (model, alone))
    assert of(folder, "sharded_with_penalties")[1]["blocks"] == ["", "4"]


def test_each_process_holds_its_part_and_gives_the_whole_back(folder, whole_tower):
    figures = [of(folder, "sharded", rank)[1] for rank in range(2)]
    # `read` is asked for its weight by the model, `out` and `tied` share one, `recurrent` gives a
    # view: they stay with the whole.
    blocks = ["", "inner", "blocks.0.0", "blocks.0.2", "blocks.1.0", "blocks.1.2"]
    assert figures[0]["blocks"] == [*blocks, "blocks.2.0", "blocks.2.2"]
    model, _ = whole_tower
    count = sum(p.numel() for p in model.parameters())
    here = [each["here"] for each in figures]
    assert sum(here) == count
    assert max(here) < 0.6 * count
    assert figures[0]["kinds"] == sorted({type(module).__name__ for module in model.modules()})
    assert figures[0]["tied"]
    assert figures[0]["calls"] > model.calls / 2
    assert figures[0]["config"]["strategy"] == "fsdp"
    assert figures[0]["config"]["network"] == {"class": "__main__.Tower"}


def test_what_needs_whole_weights_is_refused_before_any_step(folder):
    for rank in range(2):
        said = of(folder, "sharded", rank)[1]["said"]
        for sentence, reason in zip(
            said,
            [
                "communication averages whole gradients",
                "the rule must be Backprop, not Aimless",
                "pass its name or class",
                "the callback MaxNorm was not made for parts",
                "compile is not for weights in parts",
                "reads them before it calls model",
            ],
            strict=True,
        ):
            assert reason in sentence


@pytest.mark.parametrize("number", range(len(worker.HOOKS)))
def test_hooks_average_as_the_simulator_does(number, folder, unchecked):
    found = [load_file(folder / f"hook{number}-{rank}.safetensors") for rank in range(2)]
    model = worker.make_network().double()
    rule = Backprop("sgd", lr=0.1)
    simulated = SimulatedWorkers(2, compressor=worker.HOOKS[number] or None, rule=rule)
    simulated.bind(model, supervised("cross_entropy"))
    x, y = worker.tensors(64)
    for x_part, y_part in zip(x.double().split(8), y.split(8), strict=True):
        simulated.step({"input": x_part, "target": y_part})
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[0][name], value)
        assert torch.equal(found[0][name], found[1][name])


def test_power_sgd_runs_and_keeps_the_processes_together(folder):
    number = len(worker.HOOKS)
    found = [load_file(folder / f"hook{number}-{rank}.safetensors") for rank in range(2)]
    exact = load_file(folder / "hook0-0.safetensors")
    for name in exact:
        assert torch.equal(found[0][name], found[1][name])
    assert not torch.equal(found[0]["0.weight"], exact["0.weight"])
    torch.testing.assert_close(found[0]["0.weight"], exact["0.weight"], rtol=0, atol=0.1)


# How batches are shared out


@pytest.mark.parametrize("rows", range(1, 20))
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_every_row_goes_to_one_worker_and_none_is_left_alone(rows, workers):
    parts = shares(rows, workers)
    assert len(parts) == workers
    taken = [row for part in parts for row in range(rows)[part]]
    assert taken == list(range(rows))
    sizes = [part.stop - part.start for part in parts]
    busy = [size for size in sizes if size]
    assert max(busy) - min(busy) <= 1
    assert rows == 1 or min(busy) > 1 or workers == 1


def test_a_part_of_a_batch_leaves_what_has_no_rows():
    batch = {"input": torch.arange(6), "edges": torch.arange(4), "scale": torch.tensor(2.0)}
    found = part_of(batch, slice(2, 4))
    assert found["input"].tolist() == [2, 3]
    assert found["edges"].tolist() == [0, 1, 2, 3]
    assert found["scale"] == 2


def test_one_process_alone_changes_nothing():
    alone = Processes()
    batch = {"input": torch.ones(3, 1)}
    assert alone.share(batch) is batch
    assert alone.agree(2, 0) == (2, 0)
    assert alone.seed(5) == 5
    assert alone.wrap(len, torch.nn.Linear(1, 1)) is len


def test_refusals(unchecked):
    with pytest.raises(ValueError, match="needs several processes; start this program by torchrun"):
        fit(worker.make_network(), worker.make_data(), lr=0.1, communication="dgc", verbose=False)


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [("fsdp", "needs several processes; start this program by torchrun"), ("zero", "ddp, fsdp")],
)
def test_refused_strategies(strategy, reason, unchecked):
    network, data = worker.make_network(), worker.make_data()
    with pytest.raises(ValueError, match=reason):
        fit(network, data, lr=0.1, strategy=strategy, verbose=False)


def test_a_compressor_and_accumulated_gradients_do_not_go_together():
    alone = Processes()
    alone.how = TernGrad()
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2 adds several up"):
        alone.plan(10, Backprop("sgd", lr=0.1, gradient_accumulation_steps=2))
