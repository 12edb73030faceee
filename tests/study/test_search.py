"""The search never sees test rows, goes on where it stopped, and claims only what they show."""

import json

import numpy as np
import pytest
import torch
from tests.study.test_study import Sealed

from neurarium.data import Data, Resident
from neurarium.study.search import crossed_interval, parse_space, tune_on
from neurarium.study.tune import tune

pytest.importorskip("optuna", reason='needs Optuna: pip install "neurarium[tune]"')

BASE = {"network": "MLP:hidden=8", "epochs": 3, "batch_size": 16, "lr": 1e-5}


def clouds(seed=0, rows=120):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % 3
    x = torch.randn(rows, 4, generator=generator) + 2 * torch.nn.functional.one_hot(y, 4)
    return x, y


def test_the_search_sees_no_test_row_and_the_end_finds_what_is_better():
    x, y = clouds(1)
    data = Data(clouds(), test={"input": x, "target": y})
    data.test = Sealed({"input": x, "target": y})
    opened = []
    Sealed.opened = 0
    base = {name: value for name, value in BASE.items() if name != "lr"}
    found = tune_on(
        data, {"lr": [1e-5, 0.05]}, base={**base, "optimizer": "sgd"}, trials=3, seeds=3,
        on_trial=lambda done: opened.append(Sealed.opened),
    )  # fmt: skip
    assert opened == [0, 0, 0]
    assert found.best in ({}, {"lr": 0.05})


def test_better_is_said_where_the_test_rows_show_it(tmp_path):
    data = Data(clouds(), test=clouds(1))
    found = tune_on(data, {"lr": (0.02, 0.1)}, base=BASE, trials=3, seeds=3, directory=tmp_path)
    assert found.verdict == "better"
    assert 0 < found.low < found.difference < found.high
    assert found.difference == pytest.approx(np.mean(found.tuned) - np.mean(found.default))
    assert {p.name for p in tmp_path.iterdir()} >= {
        "search.db",
        "trials.csv",
        "result.json",
        "tuned",
    }
    kept = [json.loads(path.read_text()) for path in (tmp_path / "trials").glob("*.json")]
    assert sorted(one["seed"] for one in kept) == [1000, 1000, 1001, 1001, 1002, 1002]
    again = tune_on(data, {"lr": (0.02, 0.1)}, base=BASE, trials=3, seeds=3, directory=tmp_path)
    assert len(again.search.trials) == 3
    assert (again.best, again.tuned) == (found.best, found.tuned)


def test_nothing_is_claimed_where_nothing_is_better():
    # Labels that nothing tells: every setting is as good as chance.
    generator = torch.Generator().manual_seed(0)
    rows = [
        (torch.randn(90, 3, generator=generator), torch.randint(2, (90,), generator=generator))
        for _ in range(2)
    ]
    data = Data(rows[0], test=rows[1])
    found = tune_on(data, {"lr": (1e-3, 1e-1, "log")}, base=BASE, trials=3, seeds=3)
    assert found.verdict == "cannot tell"


def test_the_interval_allows_for_rows_and_for_seeds():
    rng = np.random.default_rng(0)
    covered, times = 0, 150
    for _ in range(times):
        gain = 0.05 + rng.normal(0, 0.05, (6, 1)) + rng.normal(0, 0.3, (1, 60))
        low, high = crossed_interval(gain)
        covered += low < 0.05 < high
    assert covered / times > 0.85  # over rows alone: 0.7
    alike = np.tile(rng.normal(0, 1, 80), (5, 1))
    low, high = crossed_interval(alike)
    assert high - low == pytest.approx(2 * 1.96 * alike[0].std() / np.sqrt(80), rel=0.1)


def test_processes_share_a_search(tmp_path):
    address = f"sqlite:///{tmp_path}/search.db"
    found = tune(lambda x: -x * x, {"x": (-1.0, 1.0)}, trials=4, workers=2, storage=address)
    assert len(found.trials) == 4
    assert found.value == pytest.approx(-min(found.trials["x"] ** 2))
    assert found.trials["x"].nunique() == 4


def test_a_trial_that_falls_behind_after_a_fold_is_given_up():
    steps = []

    def experiment(x, report):
        for fold in range(1, 5):
            report(x, fold)
        steps.append(x)
        return x

    found = tune(experiment, {"x": [3, 2, 1, 0, -1, -2]}, trials=6, sampler="grid",
                 pruner="halving", seed=2)  # fmt: skip
    assert found.value == 3
    assert found.pruned == 6 - len(steps) > 0


def test_spaces_are_read_as_they_are_written():
    texts = ["lr=1e-4..1e-1:log", "width=16..256", "activation=relu,mish"]
    assert parse_space(texts) == {
        "lr": (1e-4, 1e-1, "log"), "width": (16, 256), "activation": ["relu", "mish"],
    }  # fmt: skip
    for text in ("lr=a..b", "lr=1..2:exp"):
        with pytest.raises(ValueError, match="must look like lr="):
            parse_space([text])


def test_what_the_network_cannot_take_is_refused_before_the_search():
    data = Data(clouds(), test=clouds(1))
    with pytest.raises(ValueError, match="did you mean mish"):
        tune_on(data, {"activation": ["relu", "misch"]}, base=BASE, trials=2)
    with pytest.raises(ValueError, match="unknown setting 'learning'"):
        tune_on(data, {"learning": (0.1, 0.2)}, base=BASE, trials=2)


def test_sealed_rows_are_found_out():
    before = Sealed.opened
    sealed = Sealed({"input": torch.zeros(2, 1)})
    assert isinstance(sealed, Resident)
    assert sealed.tensors["input"].shape == (2, 1)
    assert Sealed.opened > before
