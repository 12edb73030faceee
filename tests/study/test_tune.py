"""The search finds a planted optimum, repeats itself, goes on after a stop, and prunes."""

import math
import warnings

import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.study import tune
from neurarium.training import fit

pytest.importorskip("optuna", reason='needs Optuna: pip install "neurarium[tune]"')

SPACE = {"rate": (1e-4, 1.0, "log"), "width": (1, 64), "kind": ["good", "bad"]}


def planted(rate, width, kind, seed=0):
    """Best, 0, at rate 0.01, width 32 and the good kind."""
    return -(math.log10(rate / 0.01) ** 2) - ((width - 32) / 32) ** 2 - (kind == "bad")


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notes on experimental samplers
        yield


def test_the_planted_optimum_is_found():
    found = tune(planted, SPACE, trials=60)
    assert found.best["kind"] == "good"
    assert 0.003 < found.best["rate"] < 0.03
    assert abs(found.best["width"] - 32) < 16
    assert found.value == pytest.approx(planted(**found.best))
    assert len(found.trials) == 60


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_trials(sampler):
    first, second = (tune(planted, SPACE, trials=8, sampler=sampler, seed=3) for _ in range(2))
    other = tune(planted, SPACE, trials=8, sampler=sampler, seed=4)
    assert first.trials["rate"].tolist() == second.trials["rate"].tolist()
    assert first.trials["rate"].tolist() != other.trials["rate"].tolist()


def test_a_grid_tries_every_combination_once():
    seen = []
    space = {"a": [1, 2], "b": ["x", "y", "z"]}
    tune(lambda a, b: seen.append((a, b)) or a, space, trials=6, sampler="grid")
    assert sorted(seen) == [(a, b) for a in (1, 2) for b in "xyz"]


def test_a_stopped_search_goes_on_and_repeats_no_trial(tmp_path):
    calls = []

    def counted(rate):
        calls.append(rate)
        return -rate

    address = f"sqlite:///{tmp_path}/study.db"
    tune(counted, {"rate": (0.0, 1.0)}, trials=4, storage=address)
    found = tune(counted, {"rate": (0.0, 1.0)}, trials=6, storage=address)
    assert len(calls) == len(set(calls)) == len(found.trials) == 6
    assert found.value == -min(calls)


def test_a_run_that_falls_behind_is_stopped_early():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(128, 2, generator=generator)
    rows = (x, (x[:, 0] > 0).long())
    data = Data(rows, rows)
    epochs = {}

    def experiment(lr, callbacks, seed=0):
        torch.manual_seed(seed)
        run = fit(
            nn.Linear(2, 2), data, rule=Backprop("sgd", lr=lr), epochs=9, batch_size=16,
            callbacks=callbacks, verbose=False,
        )  # fmt: skip
        epochs[lr] = len(run.history)
        return run.history["val_loss"][-1]

    found = tune(
        experiment, {"lr": [0.5, 0.3, 1e-5, 1e-6, 1e-7]}, trials=5, sampler="grid",
        direction="minimize", monitor="val_loss", pruner="hyperband", seed=1,
    )  # fmt: skip
    assert found.best["lr"] in (0.3, 0.5)
    assert found.pruned == sum(n < 9 for n in epochs.values())
    assert found.trials["state"].tolist().count("pruned") == found.pruned > 0


def test_a_trial_without_a_finite_figure_is_counted_and_stops_nothing():
    found = tune(lambda x: math.nan if x == 1 else x, {"x": [0, 1, 2]}, trials=3, sampler="grid")
    assert (found.value, found.failed) == (2, 1)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({}, {}, "needs a space"),
        ({"rate": (1.0, 0.1)}, {}, r"space\['rate'\] must be \(low, high\)"),
        ({"rate": (0.0, 1.0, "log")}, {}, "0 < low < high"),
        ({"rate": (0.1, 1.0)}, {"sampler": "grid"}, "a grid needs a list"),
        ({"rat": (0.1, 1.0)}, {}, "does not take 'rat'; it takes rate"),
        ({"kind": []}, {}, "empty list"),
    ],
)
def test_a_malformed_space_is_named_before_any_trial(space, options, message, unchecked):
    def never(rate=0, width=0, kind=0):
        raise AssertionError("it ran")

    with pytest.raises(ValueError, match=message):
        tune(never, space, **options)
