import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults.py"


def test_a_run_killed_anywhere_and_resumed_ends_on_the_same_weights():
    command = [sys.executable, str(FAULTS), "--trials", "3", "--only", ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert "3 of 3 resumed to the same bytes" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(" nothing ") == 1  # lost, in the table's one row
