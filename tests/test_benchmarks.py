import json
import os
import subprocess
import sys
from pathlib import Path

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
