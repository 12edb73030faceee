"""What a run says when memory, a disk or a weight gives out."""

import errno
import os
import shutil

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.cli.failures import explain
from neurarium.learning import Backprop, NonFiniteError
from neurarium.training import Callback, Checkpoint, checkpoints, fit
from neurarium.training.memory import OutOfMemoryError, explained


class Hungry(nn.Module):
    """A loss whose memory ends beyond so many rows."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, model, batch):
        if len(batch["input"]) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return model(batch["input"]).square().mean()


@pytest.mark.parametrize(("most", "fitting"), [(40, 32), (31, 16), (64, 64), (1, 1)])
def test_the_batch_size_that_would_fit_is_told(most, fitting):
    model, batch = nn.Linear(3, 2), {"input": torch.randn(128, 3)}
    with (
        pytest.raises(
            OutOfMemoryError, match=rf"of 128 rows; {fitting} fit: .*{fitting}\)$"
        ) as info,
        explained(model, Hungry(most), batch),
    ):
        Hungry(most)(model, batch)
    assert info.value.rows == fitting
    assert explain(info.value) == (1, str(info.value))


def test_where_no_row_fits_a_smaller_network_is_advised():
    model, batch = nn.Linear(3, 2), {"input": torch.randn(8, 3)}
    with pytest.raises(OutOfMemoryError, match="not even one"), explained(model, Hungry(0), batch):
        raise MemoryError


def test_other_errors_pass_untouched():
    model, batch = nn.Linear(3, 2), {"input": torch.randn(8, 3)}
    with pytest.raises(RuntimeError, match=r"^shapes$"), explained(model, Hungry(9), batch):
        raise RuntimeError("shapes")


def test_fit_tells_it_before_and_within_training(data):
    with pytest.raises(OutOfMemoryError, match="of 40 rows; 20 fit"):
        fit(make_network(), data, Hungry(25), Backprop(lr=0.1), batch_size=40, verbose=False)


def test_a_checkpoint_never_holds_a_nan(tmp_path):
    class Poison(Callback):
        order = 15  # before the checkpoint of the same step

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            if trainer.step == 8:
                with torch.no_grad():
                    next(trainer.model.parameters()).view(-1)[0] = torch.nan

    keep = Checkpoint(every_n_steps=2, every_n_seconds=0)
    with pytest.raises(
        NonFiniteError, match=r"keep a NaN .* in the parameter '.*weight'; last good"
    ):
        fit(
            make_network(), make_data(), rule=Backprop(lr=0.01), epochs=4, batch_size=9,
            directory=tmp_path, callbacks=[keep, Poison()], verbose=False,
        )  # fmt: skip
    assert checkpoints.read_meta(checkpoints.find(tmp_path))["step"] == 6


@pytest.mark.parametrize("free", [0, 2**30])
def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(free, tmp_path, monkeypatch):
    checkpoints.save(tmp_path / "last", {"w": torch.ones(2)}, {"step": 1}, {"step": 1})

    def fails(*arguments):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="Input/output error" if free else "No space left") as info:
        checkpoints.save(tmp_path / "last", {"w": torch.ones(2)}, {"step": 2}, {"step": 2})
    assert not (tmp_path / "last.new").exists()  # which would take the room that is lacking
    assert checkpoints.load_state(checkpoints.find(tmp_path)) == {"step": 1}
    code, sentence = explain(info.value)
    assert code == (2 if free else 1)
    assert ("neurarium resume" in sentence) == (not free)


def test_a_write_that_names_no_file_is_explained_too():
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert explain(error)[1].startswith("cannot write a file: No space left on device; what was")
