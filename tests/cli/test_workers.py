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
    done = {
        count: neurarium("fit", "iris", *OPTIONS, "--workers", count, folder=folder)
        for count in ("1", "2")
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
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_one_folder_one_progress_and_one_result(results):
    folder, done = results
    assert len(list((folder / "runs" / "iris").iterdir())) == 2  # one each
    assert done["2"].stderr.count("epoch 3/3") == 1
    assert len(done["2"].stdout.splitlines()) == 1


def test_a_mistake_is_said_once_with_its_exit_code(tmp_path):
    done = neurarium("fit", "iris", "--target=nothing", "--workers=2", folder=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "no column 'nothing'" in line
