"""Events in Lightning's order; stopping, averaging and saving as their equations say."""

import io
import json
import math

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.learning import Backprop
from neurarium.training import EMA, Callback, Checkpoint, EarlyStopping, JSONLines, Progress, fit

QUIET = {"verbose": False, "lr": 0.01, "batch_size": 20}


class Script(Callback):
    """Replaces the validation loss by a scripted one, and marks the weights with the epoch."""

    order = -100

    def __init__(self, values):
        self.values = values

    def on_validation_epoch_end(self, trainer):
        trainer.history["val_loss"][-1] = self.values[trainer.epoch]
        with torch.no_grad():
            trainer.model[0].weight.fill_(trainer.epoch + 1)
            trainer.model[1].running_mean.fill_(trainer.epoch + 1)


@pytest.mark.parametrize(
    ("values", "options", "stops", "restored"),
    [
        ([5, 4, 3, 4, 4, 4, 4], {"patience": 2}, 5, 3),
        ([5, 4, 3, 2, 1, 0], {"patience": 2}, 6, 6),
        ([5, 4, 3.95, 3.9, 3.85, 3.8], {"patience": 3, "min_delta": 0.5}, 5, 2),
        ([1, 2, 3, 2, 2, 2], {"mode": "max", "patience": 2}, 5, 3),
        ([3, 1, 2, 2, 2, 2], {"patience": None}, 6, 2),
        ([math.nan, 1, 2, 3], {"patience": 2}, 4, 2),
    ],
)
def test_early_stopping_follows_a_scripted_figure(values, options, stops, restored, data):
    model = make_network()
    run = fit(model, data, epochs=len(values),
              callbacks=[Script(values), EarlyStopping(**options)], **QUIET)  # fmt: skip
    assert run.history["epoch"][-1] == stops
    assert (model[0].weight == restored).all()
    assert (model[1].running_mean == restored).all()  # buffers too


def test_an_unknown_monitor_names_those_there_are(data, network):
    with pytest.raises(ValueError, match=r"monitor='val_acc'.*val_loss, val_accuracy"):
        fit(network, data, callbacks=[EarlyStopping("val_acc")], **QUIET)


def test_the_events_of_a_run_come_in_lightnings_order(data, network):
    told = []

    class Tell(Callback):
        def on_fit_start(self, trainer):
            told.append("fit_start")

        def on_train_epoch_start(self, trainer):
            told.append("train_epoch_start")

        def on_train_batch_start(self, trainer, batch, batch_idx):
            told.append(f"batch_start {batch_idx}")

        def on_before_backward(self, trainer, loss):
            told.append("before_backward")
            assert loss.requires_grad

        def on_after_backward(self, trainer):
            told.append("after_backward")

        def on_before_optimizer_step(self, trainer):
            told.append("before_optimizer_step")
            assert all(p.grad is not None for p in trainer.model.parameters())

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            told.append(f"batch_end {batch_idx}")
            assert all(p.grad is None for p in trainer.model.parameters())

        def on_validation_epoch_start(self, trainer):
            told.append("validation_epoch_start")

        def on_validation_epoch_end(self, trainer):
            told.append("validation_epoch_end")

        def on_train_epoch_end(self, trainer):
            told.append("train_epoch_end")

        def on_fit_end(self, trainer):
            told.append("fit_end")

    fit(network, data, epochs=1, callbacks=[Tell()], **QUIET)
    step = ["before_backward", "after_backward", "before_optimizer_step"]
    assert told == [
        "fit_start", "train_epoch_start",
        "batch_start 0", *step, "batch_end 0", "batch_start 1", *step, "batch_end 1",
        "validation_epoch_start", "validation_epoch_end", "train_epoch_end", "fit_end",
    ]  # fmt: skip


def test_a_misspelt_event_is_refused_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"on_epoch_ends.*did you mean on_train_epoch_end"):
        type("Mine", (Callback,), {"on_epoch_ends": lambda self, trainer: None})


def test_on_exception_is_told(data, network):
    told = []

    class Tell(Callback):
        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            raise RuntimeError("mine")

        def on_exception(self, trainer, exception):
            told.append(str(exception))

    with pytest.raises(RuntimeError, match="mine"):
        fit(network, data, callbacks=[Tell()], **QUIET)
    assert told == ["mine"]


def test_ema_is_its_recursion_and_the_run_ends_on_it(data):
    model = make_network()
    seen = [model[0].weight.detach().clone()]

    class Watch(Callback):
        order = -100

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            seen.append(trainer.model[0].weight.detach().clone())

    fit(model, data, epochs=3, callbacks=[EMA(0.8), Watch()], **QUIET)
    average = seen[0]
    for t, weight in enumerate(seen[1:], 1):
        d = min(0.8, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weight
    torch.testing.assert_close(model[0].weight.detach(), average)


def test_training_goes_on_from_the_raw_weights_after_an_ema_was_judged(data):
    raw, with_ema = make_network(), make_network()
    steps = []

    class Watch(Callback):
        order = -100

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            steps.append(trainer.model[0].weight.detach().clone())

    fit(raw, data, epochs=3, callbacks=[Watch()], **QUIET)
    fit(with_ema, data, epochs=3, callbacks=[EMA(), Watch()], **QUIET)
    assert all(torch.equal(a, b) for a, b in zip(steps[:6], steps[6:], strict=True))


def test_early_stopping_keeps_the_averaged_weights_that_were_judged(data):
    model = make_network()
    run = fit(model, data, epochs=4, callbacks=[EarlyStopping(patience=None), EMA(0.9)], **QUIET)
    assert run.evaluate("val")["log_loss"] == pytest.approx(min(run.history["val_loss"]), rel=1e-5)


def test_checkpoints_keep_the_best_k_and_the_last(tmp_path, data):
    values = [5.0, 3.0, 4.0, 1.0, 2.0]
    model = make_network()
    fit(model, data, epochs=5, directory=tmp_path,
        callbacks=[Script(values), Checkpoint(save_top_k=2)], **QUIET)  # fmt: skip
    steps = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert steps == {"best", "last", "step-000008", "step-000010"}
    best = make_network(1)
    from neurarium.training.checkpoints import load_weights

    load_weights(best, tmp_path / "checkpoints/best/model.safetensors")
    # The best epoch is the fourth; its mark is written by Script before Checkpoint sees it.
    assert (best[0].weight == 4).all()


def test_metrics_are_logged_as_json_lines(tmp_path, data, network):
    run = fit(network, data, epochs=3, directory=tmp_path, callbacks=[JSONLines()], **QUIET)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history.rows()


def test_progress_is_plain_lines_where_there_is_no_terminal(data, network):
    stream = io.StringIO()
    fit(network, data, epochs=2, callbacks=[Progress(stream, interval=0)], **QUIET)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "train_loss " in lines[0]
    assert "\x1b" not in stream.getvalue()


def test_a_bar_is_drawn_on_a_terminal(data, network):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    fit(network, data, epochs=2, callbacks=[Progress(stream)], **QUIET)
    assert "epoch 2/2" in stream.getvalue()
    assert "100%" in stream.getvalue()


def test_the_rule_can_be_used_without_a_trainer():
    data, model = make_data(200), make_network(dropout=0)
    rule = Backprop("adam", lr=0.05, schedule="cosine", total_steps=40)
    from neurarium.objectives import supervised

    rule.bind(model, supervised("cross_entropy"))
    losses = [rule.step(data.train.tensors)["loss"].item() for _ in range(40)]
    assert losses[-1] < losses[0] / 2


def test_plain_user_modules_are_not_changed_in_kind(data):
    model = nn.Linear(4, 3)
    before = type(model), set(vars(model))
    fit(model, data, epochs=1, **QUIET)
    assert (type(model), set(vars(model))) == before
