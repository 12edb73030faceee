"""Two nodes under torchrun, one of which is lost and comes back."""

from benchmarks.fault_cases import Bench, outcome
from benchmarks.fault_nodes import Nodes, close


def test_a_job_of_two_nodes_survives_that_one_is_killed(tmp_path, neurarium):
    # Of its two processes one is new and one was started again; they must agree to go on.
    bench, short = Bench(tmp_path), "--epochs=80"
    with Nodes(bench.words(tmp_path / "cut", short), tmp_path, "2") as nodes:
        nodes.kill_one(tmp_path / "cut")
        nodes.start()
        assert "going on after" in nodes.finish()
    assert neurarium(*bench.words(tmp_path / "whole", short)).code == 0
    found, expected = (outcome(tmp_path / name)["history"] for name in ("cut", "whole"))
    assert len(found) == 80
    assert close(found, expected, 1e-4)
