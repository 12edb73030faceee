import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from benchmarks import components

ROOT = Path(__file__).parents[1]


def test_a_round_times_every_contender_in_a_process_of_its_own(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--only", "step"]
    command += ["--contenders", "neurarium", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "neurarium / bare by CPU time: speed" in done.stdout
    measured = json.loads(figures.read_text())["measured"]["step"]
    assert measured.keys() == {"bare", "neurarium"}
    for (report,) in measured.values():
        assert all(unit["cpu"] > 0 for unit in report["units"])
        assert report["threads"] == 1


def test_a_contender_that_fails_leaves_the_others_their_figures(tmp_path):
    (tmp_path / "accelerate.py").write_text("raise ImportError('no such peer')")
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--only", "step"]
    command += ["--contenders", "accelerate", "--json", str(tmp_path / "figures.json")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "accelerate  ImportError: no such peer" in done.stdout
    assert "bare " in done.stdout


def test_a_part_that_costs_a_twentieth_is_found_among_stretches_that_others_disturb():
    torch.manual_seed(0)
    quick, disturbed = 1 + 0.005 * torch.randn(2, 200), 0.5 * torch.rand(2, 200)
    plain, own = (quick + disturbed * (torch.rand(2, 200) < 0.4)).tolist()
    cost, error = components.added([1.05 * each for each in own], plain)
    assert abs(cost - 0.05) < 3 * error
    assert 0 < error < 0.005
    missed = {"seconds": {components._NONE: plain, "slow": [1.05 * each for each in own]}}
    assert "MISSED" in components.table([{**missed, "steps": 10}])
    reached = {"seconds": {components._NONE: plain, "quick": own}}
    assert "reached" in components.table([{**reached, "steps": 10}])
