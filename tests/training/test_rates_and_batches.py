"""Batches that grow, and rates that fall on a plateau."""

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch.utils.data import DataLoader, TensorDataset

from neurarium.data import Data
from neurarium.learning import SAM, Backprop
from neurarium.training import BatchGrowth, Callback, ReduceOnPlateau, fit


class Watch(Callback):
    """What each epoch was made of."""

    def __init__(self):
        self.rows, self.sizes, self.rates, self.seen, self.total = [], [], [], [], 0

    def on_fit_start(self, trainer):
        self.total = trainer.total_steps

    def on_train_epoch_start(self, trainer):
        self.rows.append([])
        self.sizes.append(trainer.batch_size)
        self.rates.append(trainer.rule.current_lr)

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        self.rows[-1].append(len(batch["target"]))
        self.seen.append(batch["input"])


def grown(most=1.0, epochs=6, rule=None, data=None, callbacks=(), **options):
    watch = Watch()
    model = make_network()
    growth = BatchGrowth("batch_growth:milestones=2x4,factor=3", most)
    rule = rule or Backprop("sgd:momentum=0.9", lr=0.05)
    run = fit(model, data or make_data(60), rule=rule, epochs=epochs, batch_size=4, verbose=False,
              callbacks=[growth, *callbacks, watch], **options)  # fmt: skip
    return watch, run


def test_the_loader_emits_the_sizes_and_an_epoch_covers_the_data_once():
    watch, run = grown()
    assert watch.sizes == [4, 4, 12, 12, 36, 36]
    assert watch.rows == [[4] * 15] * 2 + [[12] * 5] * 2 + [[36, 24]] * 2
    assert run.history["step"] == [15, 30, 35, 40, 42, 44]
    assert watch.total == 44
    data = make_data(60).train.tensors["input"]
    for epoch in (torch.cat(watch.seen[30:35]), torch.cat(watch.seen[42:44])):
        assert torch.equal(epoch[epoch[:, 0].argsort()], data[data[:, 0].argsort()])
    assert watch.rates == [0.05] * 6  # all of the growth went into the batch


def test_beyond_the_largest_batch_the_rate_falls_and_the_noise_scale_is_that_of_decay():
    watch, _ = grown(most=0.1)  # of 60 rows
    assert watch.sizes == [4, 4, 6, 6, 6, 6]
    assert watch.rates == pytest.approx([0.05] * 2 + [0.05 / 2] * 2 + [0.05 / 6] * 2)
    decayed = [0.05 / 3 ** sum(epoch >= m for m in (2, 4)) / 4 for epoch in range(6)]
    scales = [rate / size for rate, size in zip(watch.rates, watch.sizes, strict=True)]
    assert scales == pytest.approx(decayed)  # N / (1 - m) is common to both


def test_a_schedule_of_the_rate_ends_with_the_last_of_the_fewer_steps():
    seen = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer, batch, batch_idx):
            seen.append(trainer.rule.current_lr)

    grown(rule=Backprop("sgd", lr=1.0, schedule="linear"), callbacks=[Rates()])
    assert seen == pytest.approx([1 - t / 44 for t in range(44)])


@pytest.mark.parametrize("stop", [7, 33, 41, 43])
def test_a_cut_run_goes_on_to_the_same_bytes(stop, tmp_path):
    class Stop(Callback):
        at = None

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            if trainer.step == self.at:
                trainer.save_checkpoint("last")
                raise KeyboardInterrupt

    def run(at, **options):
        stopper = Stop()
        stopper.at = at
        rule = Backprop("adamw", lr=0.01, schedule="one_cycle")
        _, run = grown(0.2, rule=rule, callbacks=[stopper], **options)
        return torch.cat([v.flatten().double() for v in run.model.state_dict().values()])

    whole = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(stop, directory=tmp_path)
    assert torch.equal(run(None, directory=tmp_path, resume=True), whole)


def test_a_dataset_grows_too_but_a_loader_has_its_own_size(unchecked):
    tensors = make_data(60).train.tensors
    dataset = TensorDataset(tensors["input"], tensors["target"])

    class Opaque(torch.utils.data.Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, i):
            return dataset[i]

    watch, _ = grown(data=Data(Opaque(), task="multiclass"))
    assert [len(rows) for rows in watch.rows] == [15, 15, 5, 5, 2, 2]
    with pytest.raises(ValueError, match="batches it can choose, got a loader"):
        grown(data=Data(DataLoader(dataset, 4), task="multiclass"))
    with pytest.raises(ValueError, match=r"most must lie in \(0, 1\], got 0"):
        BatchGrowth(most=0)


class Scripted(Callback):
    order = -100

    def __init__(self, values):
        self.values, self.rates = values, []

    def on_validation_epoch_end(self, trainer):
        trainer.history["val_loss"][-1] = self.values[trainer.epoch]

    def on_train_epoch_end(self, trainer):
        self.rates.append(trainer.rule.current_lr)


VALUES = [3.0, 2.0, 2.0, 1.9999, 2.5, 1.9, 1.95, 1.95, 1.95, 1.95, 1.95, 1.0, 1.1, 1.2, 1.3, 1.4]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("min_lr", [0.0, 0.04])
@pytest.mark.parametrize(
    "rule", [lambda: Backprop("sgd", lr=0.4), lambda: SAM("sgd", lr=0.4, schedule="constant")]
)
def test_on_a_plateau_the_rate_falls_as_torchs_scheduler_has_it(mode, min_lr, rule):
    script = Scripted(VALUES)
    reduce = ReduceOnPlateau(mode=mode, factor=0.3, patience=2, min_lr=min_lr)
    fit(make_network(), make_data(), rule=rule(), epochs=len(VALUES), verbose=False,
        callbacks=[reduce, script])  # fmt: skip
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor=0.3, patience=2, min_lr=min_lr
    )
    expected = []
    for value in VALUES:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    assert script.rates == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) >= 3


def test_the_count_of_a_plateau_survives_a_resume(tmp_path):
    def rates(epochs, **options):
        script = Scripted(VALUES)
        rule = Backprop("sgd", lr=0.4, schedule="constant")
        fit(make_network(), make_data(), rule=rule, epochs=epochs, verbose=False,
            callbacks=[ReduceOnPlateau(factor=0.3, patience=2), script], **options)  # fmt: skip
        return script.rates

    whole = rates(12)
    rates(8, directory=tmp_path)
    assert rates(12, directory=tmp_path, resume=True) == whole[8:]
    assert whole[8] < whole[7]  # by the count of two that the checkpoint kept


def test_a_factor_that_does_not_reduce_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"factor must lie in \(0, 1\), got 1"):
        ReduceOnPlateau(factor=1.0)
