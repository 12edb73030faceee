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


@pytest.fixture
def job(monkeypatch):
    """`job(restarts=1, name="none")` sets the environment that torchrun would, of one process."""

    def set_environment(restarts=0, name="none"):
        monkeypatch.setenv("WORLD_SIZE", "1")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", name)
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
        monkeypatch.delenv("NEURARIUM_JOB", raising=False)

    return set_environment


def test_the_folder_of_a_job_without_a_name_is_found_again_only_after_a_restart(tmp_path, job):
    job()
    workers.take_note(tmp_path, tmp_path / "digits" / "now", "fit digits")
    assert workers.begun(tmp_path, "fit digits") is None
    job(restarts=1)
    assert workers.begun(tmp_path, "fit digits") == tmp_path / "digits" / "now"
    workers.forget(tmp_path)
    assert workers.begun(tmp_path, "fit digits") is None
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_job_with_a_name_is_found_by_nodes_that_join_later(tmp_path, job):
    job(name="job-7")
    workers.take_note(tmp_path, tmp_path / "digits" / "now", "fit digits")
    assert workers.begun(tmp_path, "fit digits") == tmp_path / "digits" / "now"
    assert workers.begun(tmp_path, "fit digits --epochs=3") is None  # another command begins
    job(name="job-8")
    assert workers.begun(tmp_path, "fit digits") is None


def test_a_process_alone_leaves_no_note(tmp_path, monkeypatch):
    for name in ("WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    workers.take_note(tmp_path, tmp_path / "run", "fit digits")
    assert not list(tmp_path.iterdir())
