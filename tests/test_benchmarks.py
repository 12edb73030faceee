import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import components, page, tables
from benchmarks.workloads import WORKLOADS

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


def test_the_page_and_the_readme_say_what_was_measured(tmp_path):
    unit = {"others": 0.0}
    reports = {
        name: [
            {
                "units": [{**unit, "wall": wall, "cpu": wall}] * 4, "steps": 5, "start_up_cpu": 1.0,
                "rss_mb": 300.0,
                "engine": {"precision": "32-true", "channels_last": False, "threads": 1,
                           "compile": False},
            }
        ]
        for name, wall in (("plain", 0.9), ("neurarium", 0.3), ("python_cell", 3.0))
    }  # fmt: skip
    workload = WORKLOADS["lstm"]
    peaks = {"fp32": 2e11, "bf16": 4e11, "copy": 1e10, "cores": 2}
    text, verdicts = tables.table(workload, reports, peaks)
    assert [(v.speed, v.outcome) for v in verdicts] == [
        (pytest.approx(3.0), "reached"),
        (pytest.approx(0.3), "MISSED"),
    ]
    # 10 steps of 3 passes over 6400 rows of the layer's weights, and the last layer's.
    weights = 4 * 128 * (128 + 128 + 2)
    flops = 10 * 3 * 2 * (6400 * weights + 64 * 128 * 10)
    assert workload.arithmetic()["flops"] == pytest.approx(flops)
    assert f"floor of a unit: {1e3 * flops / 1e11:.1f} ms" in text
    file, readme = tmp_path / "benchmarks.md", tmp_path / "README.md"
    readme.write_text("# N\n<!-- performance -->\nold\n<!-- /performance -->\nrest\n")
    page.write(file, "2 cores", peaks, verdicts, [text])
    page.tell_readme(readme, verdicts, ["21.2 times as fast as GCNConv"])
    said = file.read_text()
    assert "neurarium over a plain loop | 3.00 | 1.50 | reached |" in said.lower()
    assert "200 GFLOP/s in fp32" in said
    assert "an LSTM 3.0" in readme.read_text()
    assert "21.2 times" in readme.read_text()
    assert "old" not in readme.read_text()
    assert readme.read_text().endswith("rest\n")


def test_peaks_are_those_of_this_machine():
    command = [sys.executable, "-m", "benchmarks.peaks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)
    assert all(1e8 < value < 1e16 for value in peaks.values())


def test_the_gpu_section_says_that_there_is_none():
    command = [sys.executable, "-m", "benchmarks.gpu"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "GPU: none here, so nothing was measured on one\n"
