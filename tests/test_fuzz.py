"""Damaged files of every kind through every loader: the fast form of `make fuzz`."""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


def test_a_damaged_file_is_loaded_or_refused_in_one_sentence():
    command = [sys.executable, str(FUZZ), "--files", "312", "--seed", "7", "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = done.stdout.splitlines()[-1].split()
    assert cells[:2] == ["all", "312"]
    loaded, refused = (int(cell) for cell in cells[2:4])
    assert loaded > 20  # the damage is not so great that nothing is read
    assert refused > 100
