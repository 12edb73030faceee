"""The report measures both sides with the same weights, changes nothing, and calls it by name."""

import pytest
import torch
from tests.training.conftest import make_data, make_network
from tests.training.test_resume import StopAt, loader

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.metrics import accuracy
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import EMA, Interrupted, fit
from neurarium.training.callbacks import GeneralizationReport


def noise(rows=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 20, generator=generator)
    y = torch.randint(2, (rows,), generator=generator)
    return Data((x[:40], y[:40]), (x[40:], y[40:]), classes="ab", task="multiclass")


def test_gaps_are_validation_minus_training_in_evaluation_mode():
    data, report, model = make_data(), GeneralizationReport(), make_network()
    run = fit(model, data, rule=Backprop("adam", lr=0.02), epochs=3, batch_size=9,
              callbacks=[report], verbose=False)  # fmt: skip
    row = run.history.rows()[-1]
    with torch.no_grad():
        for name, measure in (
            ("loss", lambda s: supervised("cross_entropy")(model, s.tensors)),
            ("accuracy", lambda s: accuracy(model(s.tensors["input"]), s.tensors["target"])),
        ):
            train, val = float(measure(data.train)), float(measure(data.val))
            assert row[f"gap_{name}"] == pytest.approx(val - train, abs=1e-6)
            assert row[f"val_{name}"] == pytest.approx(val)
    assert row["train_accuracy"] == pytest.approx(row["val_accuracy"] - row["gap_accuracy"])
    assert row["train_loss"] != pytest.approx(report.train[-1])  # the steps' own mean stays


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("make", [make_data, loader], ids=["tensors", "loader that draws"])
def test_the_run_is_what_it_is_without_the_report(make, averaged):
    def trained(*extra):
        model = make_network()
        run = fit(model, make(), rule=Backprop("adam", lr=0.02), epochs=3, batch_size=9,
                  callbacks=[*[EMA(0.5)] * averaged, *extra], verbose=False)  # fmt: skip
        return model.state_dict(), run.history

    (plain, history), (reported, more) = trained(), trained(GeneralizationReport())
    assert all(torch.equal(plain[name], reported[name]) for name in plain)
    assert all(more[name] == history[name] for name in history if name != "seconds")


def judged(start, train, val, tolerance=0.05):
    report = GeneralizationReport(tolerance)
    report.load_state_dict({"start": start, "train": train, "val": val})
    return report.verdict


def test_each_verdict_names_its_figures():
    assert judged(2.3, [2.2, 2.1], [2.2, 2.15]).startswith("underfits: training loss 2.1,")
    over = judged(2.3, [1.0, 0.5, 0.1], [1.1, 0.8, 0.9])
    assert over.startswith("overfits since epoch 2: training loss 0.1, validation loss 0.9")
    assert "after 0.5 and 0.8 in epoch 2" in over
    assert judged(2.3, [1.0, 0.5], [1.1, 0.8]).startswith("still learning")
    # Within the tolerance of the best, or risen together with the training loss: no overfitting.
    assert judged(2.3, [1.0, 0.5, 0.1], [1.1, 0.8, 0.83]).startswith("converged")
    assert judged(2.3, [1.0, 0.5, 0.1], [1.1, 0.8, 0.83], 0.01).startswith("overfits")
    assert judged(2.3, [1.0, 0.5, 0.6], [1.1, 0.8, 0.9]).startswith("converged")
    # Losses below zero, such as of densities, have no half to go below.
    assert judged(-1.0, [-2.0, -3.0], [-2.0, -1.5]).startswith("overfits since epoch 1")
    assert judged(None, [], []) == "nothing was measured yet"


def test_a_network_that_learns_noise_by_heart_overfits():
    torch.manual_seed(0)
    report = GeneralizationReport()
    run = fit(MLP([20, 64, 2]), noise(), rule=Backprop("adam", lr=0.01), epochs=30, batch_size=20,
              callbacks=[report], verbose=False)  # fmt: skip
    assert run.history["train_accuracy"][-1] == 1
    assert report.verdict.startswith("overfits")
    assert report.best_epoch < 20
    assert run.history["gap_accuracy"][-1] < -0.2
    report.plot().canvas.draw()


def test_a_rate_too_small_to_learn_underfits(data):
    report = GeneralizationReport()
    fit(make_network(), data, rule=Backprop("sgd", lr=1e-5), callbacks=[report], epochs=2,
        verbose=False)  # fmt: skip
    assert report.verdict.startswith("underfits")


def test_a_resumed_run_reports_as_if_it_had_not_stopped(tmp_path):
    def trained(directory, stop=0, **options):
        report = GeneralizationReport()
        fit(make_network(), make_data(), rule=Backprop("adam", lr=0.02), epochs=3, batch_size=9,
            callbacks=[report, StopAt(stop)], directory=directory, verbose=False,
            **options)  # fmt: skip
        return report.state_dict(), report.verdict

    whole = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", stop=7)
    assert trained(tmp_path / "cut", resume=True) == whole


def test_wrong_use_is_told(unchecked):
    with pytest.raises(ValueError, match="tolerance must be at least 0, got -1"):
        GeneralizationReport(-1)
    with pytest.raises(ValueError, match="no validation split; pass Data"):
        fit(make_network(), make_data().train.tensors, rule=Backprop(), epochs=1,
            callbacks=[GeneralizationReport()], verbose=False)  # fmt: skip
