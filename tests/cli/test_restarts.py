"""Processes that were killed begin again where their run stood; those that failed do not."""

from types import SimpleNamespace

import pytest

from neurarium.cli import workers


@pytest.fixture
def launched(monkeypatch):
    """`launched([-9], [0])` gives the exit codes of one launch after another."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    def script(*codes):
        left = list(codes)

        def main(arguments):
            failed = [code for code in left.pop(0) if code]
            if failed:
                failures = {i: SimpleNamespace(exitcode=code) for i, code in enumerate(failed)}
                error = ChildFailedError.__new__(ChildFailedError)
                error.failures = failures
                raise error

        monkeypatch.setattr(run, "main", main)
        return left

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("NEURARIUM_JOB", "NEURARIUM_RESTARTS"):
        monkeypatch.setenv(name, "")  # so that what start() sets is undone
    return script


@pytest.mark.parametrize(
    ("codes", "launches", "exit_code"),
    [
        ([[0, 0]], 1, 0),
        ([[-9, -15], [0, 0]], 2, 0),
        ([[-9, 1], [-11], [0]], 3, 0),
        ([[1, -15]], 1, 1),  # a mistake, and the SIGTERM of those that were left
        ([[2, 2]], 1, 2),
        ([[-9]] * 5, 4, 1),  # it has been tried enough
    ],
)
def test_only_what_was_killed_begins_again(launched, codes, launches, exit_code, capsys):
    left = launched(*codes)
    assert workers.start(2, ["fit", "iris", "--workers", "2"]) == exit_code
    assert len(codes) - len(left) == launches
    assert capsys.readouterr().err.count("all begin again") == launches - 1


def test_the_folder_of_a_job_is_found_again_only_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-7")
    monkeypatch.delenv("NEURARIUM_JOB", raising=False)
    workers.take_note(tmp_path, tmp_path / "digits" / "now")
    assert workers.begun(tmp_path) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert workers.begun(tmp_path) == tmp_path / "digits" / "now"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-8")
    assert workers.begun(tmp_path) is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-7")
    workers.forget(tmp_path)
    assert workers.begun(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_process_alone_leaves_no_note(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    workers.take_note(tmp_path, tmp_path / "run")
    assert not list(tmp_path.iterdir())
