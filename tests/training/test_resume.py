"""A run that stopped anywhere goes on to the same bytes."""

import json
import os
import signal

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch.utils.data import DataLoader, Dataset

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.training import (
    EMA,
    Callback,
    Checkpoint,
    CheckpointError,
    EarlyStopping,
    Interrupted,
    checkpoints,
    fit,
)


class Augmented(Dataset):
    """Draws from the global random state for every row, as users' transforms do."""

    def __init__(self):
        self.x, self.y = make_data().train.tensors.values()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.1 * torch.randn(4), self.y[index]


def loader() -> Data:
    val = make_data().val
    return Data(DataLoader(Augmented(), 9, shuffle=True), val, task="multiclass", classes="abc")


class StopAt(Callback):
    """Sends this process a signal at a step."""

    def __init__(self, step=0, number=signal.SIGINT):
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


def train(data, directory, stop=0, number=signal.SIGINT, more=(), **options):
    model = make_network()
    run = fit(
        model,
        data,
        rule=Backprop("adamw", lr=0.01, schedule="one_cycle", max_grad_norm=1.0),
        epochs=4,
        batch_size=9,
        callbacks=[EMA(0.9), EarlyStopping(patience=3), StopAt(stop, number), *more],
        directory=directory,
        verbose=False,
        **options,
    )
    return model.state_dict(), [{**row, "seconds": 0} for row in run.history.rows()]


# 40 rows in batches of 9: five batches an epoch, twenty steps.
@pytest.mark.parametrize("stop", [1, 4, 5, 6, 12, 19, 20])
@pytest.mark.parametrize("make", [make_data, loader], ids=["tensors", "loader"])
def test_a_run_resumed_after_any_step_ends_in_the_same_bytes(stop, make, tmp_path):
    weights, history = train(make(), tmp_path / "whole")
    with pytest.raises(Interrupted, match="neurarium resume"):
        train(make(), tmp_path / "cut", stop)
    again, history_again = train(make(), tmp_path / "cut", resume=True)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert history == history_again


def test_a_script_that_resumes_by_itself_begins_and_goes_on(tmp_path, data):
    weights, history = train(data, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(data, tmp_path / "cut", 12, resume="auto")
    again, history_again = train(data, tmp_path / "cut", resume="auto")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert history == history_again


def test_a_damaged_checkpoint_is_no_reason_to_begin_again_unseen(tmp_path, data, unchecked):
    train(data, tmp_path)
    for weights in tmp_path.glob("checkpoints/*/model.safetensors"):
        weights.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(CheckpointError, match="every checkpoint in"),
    ):
        train(data, tmp_path, resume="auto")


def test_a_checkpoint_is_tensors_numbers_and_json_only(tmp_path, data):
    train(data, tmp_path)
    last = tmp_path / "checkpoints" / "last"
    assert {p.name for p in last.iterdir()} == {"model.safetensors", "state.pt", "meta.json"}
    state = torch.load(last / "state.pt", weights_only=True)
    assert state["step"] == 20
    from safetensors.torch import load_file

    assert set(load_file(last / "model.safetensors")) == set(make_network().state_dict())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_exit_code_and_handlers_are_given_back(number, code, tmp_path, data):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as info:
        train(data, tmp_path, 3, number)
    assert info.value.exit_code == code
    assert info.value.checkpoint == tmp_path / "checkpoints" / "last"
    assert signal.getsignal(number) is before


def test_a_signal_without_a_directory_says_that_nothing_is_saved(data):
    with pytest.raises(Interrupted, match="nothing saved"):
        train(data, None, 3)


def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path):
    checkpoints.save(tmp_path / "last", {"w": torch.ones(2)}, {"step": 1}, {"step": 1})
    unwritable = {"w": torch.ones(2), "model": object()}
    with pytest.raises(ValueError, match="invalid"):
        checkpoints.save(tmp_path / "last", unwritable, {"step": 2}, {"step": 2})
    assert checkpoints.find(tmp_path) == tmp_path / "last"
    assert checkpoints.load_state(tmp_path / "last") == {"step": 1}


def test_what_says_that_a_checkpoint_is_whole_is_written_last_and_in_one_step(
    tmp_path, monkeypatch
):
    seen = []

    def spy(path, text):
        seen.append({p.name: p.stat().st_size for p in path.parent.iterdir()})
        write_text(path, text)

    write_text = checkpoints.write_text
    monkeypatch.setattr(checkpoints, "write_text", spy)
    checkpoints.save(tmp_path / "last", {"w": torch.ones(2)}, {"step": 1}, {"step": 1})
    assert len(seen) == 1
    assert set(seen[0]) == {"model.safetensors", "state.pt"}
    assert all(seen[0].values())


def test_a_crash_between_the_renames_leaves_one_to_be_found(tmp_path):
    checkpoints.save(tmp_path / "last", {"w": torch.ones(2)}, {"step": 1}, {"step": 1})
    (tmp_path / "last").rename(tmp_path / "last.old")
    assert checkpoints.load_state(checkpoints.find(tmp_path)) == {"step": 1}


@pytest.mark.parametrize("file", ["model.safetensors", "state.pt"])
def test_a_truncated_checkpoint_is_one_clear_error(file, tmp_path, data):
    train(data, tmp_path)
    last = tmp_path / "checkpoints" / "last"
    (last / file).write_bytes((last / file).read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is not what was written there"):
        train(data, tmp_path, resume=last)
    forget_checksums(last)  # there were none in the past
    with pytest.raises(CheckpointError, match="cannot read the"):
        train(data, tmp_path, resume=last)


def forget_checksums(last):
    meta = checkpoints.read_meta(last)
    del meta["sha256"]
    (last / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("file", ["model.safetensors", "state.pt", "meta.json"])
@pytest.mark.parametrize("seconds", [0, 10])  # those before: `last.old`, or `best` alone
def test_from_a_damaged_checkpoint_a_run_goes_back_to_the_one_before_it(
    file, seconds, tmp_path, data
):
    weights, history = train(data, tmp_path, more=[Checkpoint(every_n_seconds=seconds)])
    path = tmp_path / "checkpoints" / "last" / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 8 if file != "meta.json" else 0x80
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match=r"last is damaged .* so an older one is taken"):
        again, history_again = train(
            data, tmp_path, resume=True, more=[Checkpoint(every_n_seconds=seconds)]
        )
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert history == history_again


def test_of_damaged_checkpoints_only_the_best_one_is_left(tmp_path, data):
    train(data, tmp_path)
    told = []
    (tmp_path / "checkpoints" / "last" / "state.pt").write_bytes(b"")
    assert checkpoints.find(tmp_path, told.append).name == "best"
    assert len(told) == 1
    (tmp_path / "checkpoints" / "best" / "state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="every checkpoint in"):
        checkpoints.find(tmp_path, told.append)


def test_resuming_with_other_callbacks_seed_or_model_is_refused(tmp_path, data):
    train(data, tmp_path)
    with pytest.raises(CheckpointError, match="callbacks"):
        fit(make_network(), data, lr=0.01, directory=tmp_path, resume=True, verbose=False)
    with pytest.raises(CheckpointError, match="seed"):
        train(data, tmp_path, resume=True, seed=1)
    with pytest.raises(CheckpointError, match="not of this model"):
        fit(torch.nn.Linear(4, 3), data, lr=0.01, directory=tmp_path / "new", verbose=False,
            callbacks=[EMA(0.9), EarlyStopping(), StopAt()], resume=tmp_path)  # fmt: skip
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        train(data, tmp_path / "nothing", resume=True)


def test_resuming_a_finished_run_changes_nothing(tmp_path, data):
    weights, history = train(data, tmp_path)
    again, history_again = train(data, tmp_path, resume=True)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert history == history_again


def test_checkpoints_inside_an_epoch_are_written_as_asked(tmp_path, data):
    steps = []

    class Watch(Checkpoint):
        def _save_last(self, trainer):
            steps.append(trainer.step)
            super()._save_last(trainer)

    fit(make_network(), data, lr=0.01, epochs=2, batch_size=10, directory=tmp_path, verbose=False,
        callbacks=[Watch(every_n_steps=3), Checkpoint(save_last=False)])  # fmt: skip
    assert steps == [3, 6, 8]
