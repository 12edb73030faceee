import json
import os
import signal
import time
from pathlib import Path

import pytest

WEIGHTS = "model/model.safetensors"
LONG = ["fit", "digits", "--network=MLP", "--epochs=40", "--patience=100", "--quiet"]
LONG += ["--no-report", "--penalty=l1:1e-6", "--augment=shift:1", "--callback=ema:0.9"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> bytes:
    """The weights at the end of a run that nothing stopped."""
    import jaxtyping

    from neurarium.cli import main

    jaxtyping.config.update("jaxtyping_disable", True)
    parent = tmp_path_factory.mktemp("whole")
    assert main([*LONG, "--directory", str(parent)]) == 0
    jaxtyping.config.update("jaxtyping_disable", False)
    (weights,) = parent.glob(f"*/*/{WEIGHTS}")
    return weights.read_bytes()


def stop(process, number: int, epochs: int = 3) -> Path:
    """Send the signal once so many epochs are done; the folder of the run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for log in Path("runs").glob("*/*/metrics.jsonl"):
            if len(log.read_text().splitlines()) >= epochs:
                process.send_signal(number)
                return log.parent
        time.sleep(0.01)
    raise AssertionError(f"the run did not get to epoch {epochs}: {process.communicate()}")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    name, code, shell, neurarium, uninterrupted
):
    process = shell(*LONG)
    folder = stop(process, getattr(signal, name))
    _, err = process.communicate()
    assert process.returncode == code
    assert err.count("\n") == 1
    assert f"interrupted by {name}; saved" in err
    assert f"neurarium resume {folder}" in err
    assert not (folder / "result.json").exists()

    result = neurarium("resume", folder, "--no-report")
    assert result.code == 0
    assert "going on after" in result.out
    assert (folder / WEIGHTS).read_bytes() == uninterrupted


def test_a_run_killed_before_its_first_checkpoint_starts_over(shell, neurarium, uninterrupted):
    process = shell(*LONG)
    folder = stop(process, signal.SIGKILL, epochs=0)
    process.communicate()
    for path in (folder / "checkpoints").rglob("meta.json"):
        path.unlink()  # as if killed while the first was being written
    result = neurarium("resume", "digits", "--no-report")
    assert result.code == 0
    assert "no checkpoint yet; starting over in the same way" in result.out
    assert (folder / WEIGHTS).read_bytes() == uninterrupted


def test_a_finished_run_says_so(neurarium):
    assert (
        neurarium("fit", "iris", "--network=MLP", "--epochs=1", "--quiet", "--no-report").code == 0
    )
    result = neurarium("resume", "iris", "--json")
    assert result.code == 0
    assert "is finished" in result.err
    assert json.loads(result.out)["epochs"] == 1


def test_a_run_whose_data_has_changed_is_not_resumed(neurarium, workplace):
    lines = [f"{i % 9},{'yes' if i % 9 > 4 else 'no'}" for i in range(60)]
    (workplace / "t.csv").write_text("\n".join(["a,y", *lines]))
    assert (
        neurarium("fit", "t.csv", "--network=MLP", "--epochs=1", "--quiet", "--no-report").code == 0
    )
    (folder,) = Path("runs/t").iterdir()
    (folder / "result.json").unlink()
    (workplace / "t.csv").write_text("\n".join(["a,y", *lines[3:]]))
    result = neurarium("resume", "t")
    assert result.code == 2
    assert result.is_one_sentence
    assert "is not what it was" in result.err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_run_stopped_before_its_first_step_starts_over_to_the_same_weights(
    name, code, workplace, shell, neurarium
):
    # Its candidates are compared for seconds before a network is chosen.
    words = ["fit", "wine", "--epochs=3", "--no-report"]
    assert neurarium(*words, "--directory=whole").code == 0
    (expected,) = Path("whole").glob(f"*/*/{WEIGHTS}")
    process = shell(*words)
    deadline = time.monotonic() + 60
    while not list(Path("runs").glob("*/*/config.yaml")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate()
    (folder,) = Path("runs").glob("*/*")
    assert process.returncode == code
    assert err == f"neurarium: interrupted by {name}; go on with: neurarium resume {folder}\n"
    assert not (folder / "checkpoints").exists()

    result = neurarium("resume", folder, "--no-report")
    assert result.code == 0
    assert f"{folder} has no checkpoint yet; starting over in the same way" in result.out
    assert (folder / WEIGHTS).read_bytes() == expected.read_bytes()


def test_a_signal_before_there_is_a_run_says_so(monkeypatch, neurarium):
    def load(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("neurarium.data.load", load)
    result = neurarium("fit", "digits")
    assert result.code == 143
    assert result.err == "neurarium: interrupted by SIGTERM; no run was begun yet: say it again\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not Path("runs").exists()
