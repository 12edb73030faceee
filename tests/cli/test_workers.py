"""`--workers 2`: two real processes, one run."""

import json
import subprocess
import sys

import pytest

OPTIONS = ("--network=MLP:hidden=8", "--epochs=3", "--lr=0.01", "--seed=1", "--json")


def neurarium(*arguments, folder):
    command = [sys.executable, "-m", "neurarium", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=240)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    ways = {"1": (), "2": (), "2, in parts": ("--strategy=fsdp",)}
    done = {
        way: neurarium("fit", "iris", *OPTIONS, "--workers", way[0], *more, folder=folder)
        for way, more in ways.items()
    }
    return folder, done


def test_two_processes_end_where_one_does(results):
    folder, done = results
    histories, scores = [], []
    for each in done.values():
        assert each.returncode == 0, each.stderr
        result = json.loads(each.stdout)
        lines = (folder / result["run"] / "metrics.jsonl").read_text().splitlines()
        histories.append([json.loads(line)["train_loss"] for line in lines])
        scores.append(result["test"]["log_loss"])
    for history, score in zip(histories[1:], scores[1:], strict=True):
        assert history == pytest.approx(histories[0], rel=1e-5)
        assert score == pytest.approx(scores[0], rel=1e-4)


def test_one_folder_one_progress_and_one_result(results):
    folder, done = results
    assert len(list((folder / "runs" / "iris").iterdir())) == 3  # one each
    assert done["2"].stderr.count("epoch 3/3") == 1
    assert len(done["2"].stdout.splitlines()) == 1


def test_a_run_of_two_goes_on_with_one_and_loads_whole(results):
    folder, done = results
    run = folder / json.loads(done["2, in parts"].stdout)["run"]
    assert "strategy: fsdp" in (run / "config.yaml").read_text()
    (run / "result.json").unlink()
    again = neurarium("resume", run, "--json", "--no-report", folder=folder)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("begun by 2 processes, resumed by 1: weights, optimizer and") == 1
    assert "UserWarning" not in again.stderr
    first, second = (json.loads(each.stdout)["test"] for each in (done["2, in parts"], again))
    assert first == pytest.approx(second, rel=1e-5)


def test_a_mistake_is_said_once_with_its_exit_code(tmp_path):
    done = neurarium("fit", "iris", "--target=nothing", "--workers=2", folder=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "no column 'nothing'" in line
