"""Faults of several processes and machines: a worker, or a whole node, that dies."""

import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.fault_cases import PATIENCE, Bench, neurarium, outcome, start, wait_for


def killed_worker(bench: Bench, folder: Path) -> str:
    """kill -9 of one of two --workers"""
    whole = neurarium(bench.words(folder / "whole", "--workers=2"))
    assert whole.returncode == 0, whole.stderr
    child = start(bench.words(folder / "cut", "--workers=2"))
    wait_for(folder / "cut", "*/*/checkpoints/best/meta.json", child)
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err
    assert "a process died of SIGKILL; all begin again" in err
    assert "going on after" in out
    assert outcome(folder / "cut") == outcome(folder / "whole")
    return "both began again by themselves, from the last checkpoint, to the same bytes"


def lost_node(bench: Bench, folder: Path) -> str:
    """kill -9 of one of two nodes (torchrun)"""
    whole = neurarium(bench.words(folder / "whole", "--workers=2"))
    assert whole.returncode == 0, whole.stderr
    with Nodes(bench.words(folder / "cut"), folder, "2") as nodes:
        nodes.kill_one(folder / "cut")
        nodes.start()
        said = nodes.finish()
    assert "going on after" in said, said
    assert outcome(folder / "cut") == outcome(folder / "whole")
    return "started again, it joined; both went on from the last checkpoint to the same bytes"


def surviving_node(bench: Bench, folder: Path) -> str:
    """kill -9 of a node that stays away"""
    with Nodes(bench.words(folder / "cut"), folder, "1:2") as nodes:
        nodes.kill_one(folder / "cut")
        said = nodes.finish()
    assert "begun by 2 processes, resumed by 1" in said, said
    found, expected = outcome(folder / "cut"), bench.expected
    assert close(found["history"], expected["history"], 1e-4), "the curve is another one"
    return "the other went on alone from the last checkpoint, along the same curve"


class Nodes:
    """Two nodes on this machine that train together: a `torchrun` each, and its process.

    Args:
        nodes: with how many the job goes on, as `--nnodes` of torchrun.
    """

    def __init__(self, words: list[str], folder: Path, nodes: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.torchrun = [
            sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}",
            "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}",
            "--local-addr=127.0.0.1", "--rdzv-id=job", "--max-restarts=20",
            "--monitor-interval=0.2",
        ]  # fmt: skip
        self.words = ["-m", "neurarium", *words]
        self.folder, self.running, self.logs = folder, list[subprocess.Popen](), list[Path]()

    def __enter__(self) -> "Nodes":
        self.start()
        self.start()
        return self

    def start(self) -> None:
        """Let a node join."""
        meeting = f"--rdzv-conf=last_call_timeout=3,is_host={not self.logs}"  # where the first is
        self.logs.append(self.folder / f"node{len(self.logs)}.log")
        # A node that joins later is told the address of the others only so, as of torch 2.13.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
               "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # fmt: skip
        with self.logs[-1].open("w") as log:
            command = [*self.torchrun, meeting, *self.words]
            child = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.running.append(child)

    def kill_one(self, place: Path) -> None:
        """Kill the second node, agent and process, after the first checkpoint."""
        wait_for(place, "*/*/checkpoints/best/meta.json", self.running[0])
        _kill_tree(self.running.pop())

    def finish(self) -> str:
        """Wait for those that are left; what they said."""
        codes = [child.wait(PATIENCE) for child in self.running]
        said = "".join(log.read_text() for log in self.logs)
        assert not any(codes), said
        return said

    def __exit__(self, *error: object) -> None:
        for child in self.running:
            if child.poll() is None:
                _kill_tree(child)


def _kill_tree(child: subprocess.Popen) -> None:
    def with_children(pid: int) -> list[int]:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(each for number in children for each in with_children(int(number)))]

    for pid in with_children(child.pid):
        os.kill(pid, signal.SIGKILL)
    child.wait()


def close(
    found: list[dict[str, float]], expected: list[dict[str, float]], tolerance: float
) -> bool:
    """Whether two histories are the same to this relative difference."""
    return len(found) == len(expected) and all(
        math.isclose(ours[name], value, rel_tol=tolerance)
        for ours, theirs in zip(found, expected, strict=True)
        for name, value in theirs.items()
    )


CASES: dict[str, Callable[[Bench, Path], str]] = {
    case.__name__: case for case in (killed_worker, lost_node, surviving_node)
}
