"""A study pairs its arms, keeps what it ran, refuses what cannot be, and never sees test rows."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.data.test_free_text import reviews
from torch import nn

from neurarium import networks
from neurarium.data import Data, Graph, Resident, load, node_data, text_data
from neurarium.study import study
from neurarium.study.arms import arms_of, parse_vary
from neurarium.study.budget import duration, parse_budget
from neurarium.study.configuration import Configured, canonical

BASE = {"network": "MLP:hidden=8", "epochs": 2, "batch_size": 16, "lr": 0.02}


def blobs(rows=60, test=True):
    """Three clouds of points."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(3 * rows) % 3
    x = torch.randn(3 * rows, 4, generator=generator) + 1.5 * nn.functional.one_hot(y, 4)
    parts = (x[:rows], y[:rows]), (x[rows : 2 * rows], y[rows : 2 * rows])
    return Data(*parts, (x[2 * rows :], y[2 * rows :]) if test else None)


def planted(seed=0, kind="plain", noise=0.0):
    """A figure with a large part of each seed's own."""
    jitter = 0.01 * ((7 * seed + 3 * len(kind)) % 5 - 2)
    return {"score": 10 * seed + {"plain": 0, "good": 1, "bad": -1}[kind] + noise + jitter}


# Arms


def test_one_at_a_time_changes_one_name_of_the_base():
    arms = arms_of({"epochs": 3}, {"rule": ["a", "b"], "lr": [0.1, 0.2, 0.3]})
    assert [arm.name for arm in arms] == ["base", "rule=b", "lr=0.2", "lr=0.3"]
    assert arms[0].settings == {"epochs": 3, "rule": "a", "lr": 0.1}
    assert arms[2].settings == {"epochs": 3, "rule": "a", "lr": 0.2}


def test_a_grid_has_every_combination_once_and_a_draw_some_of_them():
    vary = {"rule": ["a", "b"], "lr": [0.1, 0.2, 0.3]}
    grid = arms_of({}, vary, "grid")
    assert len({(a.settings["rule"], a.settings["lr"]) for a in grid}) == len(grid) == 6
    drawn = arms_of({}, vary, 2)
    assert len(drawn) == 3
    assert drawn[0].settings == {"rule": "a", "lr": 0.1}
    assert {a.name for a in drawn} <= {a.name for a in grid}
    assert [a.name for a in drawn] == [a.name for a in arms_of({}, vary, 2)]


def test_a_lone_value_stands_beside_what_the_base_has():
    (default, mish) = arms_of({}, {"activation": ["mish"]})
    assert (default.name, dict(default.settings)) == ("default", {})
    assert mish.settings == {"activation": "mish"}
    (own, _) = arms_of({"activation": "relu"}, {"activation": ["mish"]})
    assert own.name == "relu"


def test_values_are_parted_at_commas_that_begin_no_argument():
    found = parse_vary(["network=MLP:hidden=64,dropout=0.5,LeNet5", "penalty=none,l1:1e-4"])
    assert found == {
        "network": ["MLP:hidden=64,dropout=0.5", "LeNet5"],
        "penalty": [None, "l1:1e-4"],
    }
    assert parse_vary(["augment=elastic:34,4;shift"]) == {"augment": ["elastic:34,4", "shift"]}


@pytest.mark.parametrize("text", ["rule", "=sam", "rule=", "rule=a,,b"])
def test_what_is_no_variation_is_named(text):
    with pytest.raises(ValueError, match="must look like rule=backprop,sam"):
        parse_vary([text])


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "nothing is varied"),
        ({"rule": ["sam", "sam"]}, "one value twice"),
        ({"rule": []}, "no value"),
    ],
)
def test_a_study_of_nothing_is_refused(vary, message):
    with pytest.raises(ValueError, match=message):
        arms_of({}, vary)


def test_times_are_read_as_they_are_written():
    texts = {"90": 90, "90s": 90, "10m": 600, "1h30m": 5400, "00:10:00": 600, "2:30": 150}
    assert {text: parse_budget(text) for text in texts} == texts
    assert (parse_budget(None), parse_budget(90)) == (None, 90)
    for text in ("", "soon", "-5", "0"):
        with pytest.raises(ValueError, match="budget must be"):
            parse_budget(text)
    assert [duration(s) for s in (0.2, 75, 3700)] == ["1 s", "1 min 15 s", "1 h 1 min"]


# What a study is


def test_a_function_is_called_as_by_hand_for_every_arm_and_seed():
    found = study(planted, {"kind": ["plain", "good", "bad"]}, seeds=4, workers=1)
    assert found.metric == "score"
    for arm in ("plain", "good", "bad"):
        assert found.values(arm) == {s: planted(s, arm)["score"] for s in range(4)}
    verdicts = {name: c.verdict for name, c in found.comparisons.items()}
    assert verdicts == {"good": "better", "bad": "worse"}  # the seeds' own part is paired away
    assert found.chosen == "good"


def test_what_is_ahead_by_luck_is_not_chosen():
    def lucky(seed=0, kind="a"):
        return 0.8 + (0.01 if seed == 2 and kind == "b" else 0.0) + 0.001 * seed

    found = study(lucky, {"kind": ["a", "b"]}, seeds=4, workers=1)
    assert found.comparisons["b"].difference > 0
    assert found.comparisons["b"].verdict == "cannot tell"
    assert found.chosen == "a"


def test_every_arm_has_the_same_rows_and_first_weights_for_a_seed():
    data = blobs(test=False)
    made = Configured.of(Data(data.train), canonical(BASE))
    for seed in (0, 3):
        rows = [made.rows({**BASE, "rule": rule}, seed) for rule in ("backprop", "sam")]
        for split in ("train", "val"):
            first, second = (getattr(r, split).tensors["input"] for r in rows)
            assert torch.equal(first, second)
        first, second = (
            made.network(rows[0], {**BASE, "rule": r}, seed) for r in ("backprop", "sam")
        )
        assert torch.equal(first.layers[0].weight, second.layers[0].weight)
    other = made.rows(BASE, 1)
    assert not torch.equal(other.val.tensors["input"], rows[0].val.tensors["input"])
    both = torch.cat([other.train.tensors["input"], other.val.tensors["input"]])
    assert sorted(map(tuple, both.tolist())) == sorted(
        map(tuple, data.train.tensors["input"].tolist())
    )


def test_seeds_and_rates_trained_side_by_side_have_the_figures_of_each_alone(tmp_path):
    vary = {"lr": [0.02, 0.005], "dropout": [0.0, 0.3]}
    found = study(BASE, vary, blobs(), seeds=5, workers=2, directory=tmp_path)
    experiment = Configured.of(blobs(), BASE)
    companies = {key: o.config.get("trained_together") for key, o in found.outcomes.items()}
    assert [companies["base", seed] for seed in range(5)] == [5] * 5, "two arms on two processes"
    assert companies["lr=0.005", 0] == 5
    assert companies["dropout=0.3", 0] is None, "which draws at random"
    for (name, seed), outcome in found.outcomes.items():
        settings = next(arm.settings for arm in found.arms if arm.name == name)
        alone = experiment.run(settings, seed)
        assert outcome.history.keys() == alone.history.keys()
        for column in ("train_loss", "val_loss", "lr"):
            assert outcome.history[column] == pytest.approx(alone.history[column], rel=1e-4)
        for fact in ("memory", "multiply_adds", "parameters"):
            assert getattr(outcome, fact) == getattr(alone, fact), fact
        assert outcome.config["seed"] == seed
        assert outcome.config["network"] == alone.config["network"]


def test_one_whose_company_has_ended_has_the_same_company_again(tmp_path):
    first = study(BASE, {"lr": [0.02, 0.005]}, blobs(), seeds=4, workers=1, directory=tmp_path)
    files = sorted((tmp_path / "trials").glob("*.json"))
    kept = {path: path.stat().st_mtime_ns for path in files[3:]}
    for path in files[:3]:
        path.unlink()
        path.with_suffix(".safetensors").unlink()
    again = study(BASE, {"lr": [0.02, 0.005]}, blobs(), seeds=4, workers=1, directory=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files[3:]} == kept
    for key, outcome in first.outcomes.items():
        assert again.outcomes[key].scores == outcome.scores
        assert again.outcomes[key].history["train_loss"] == outcome.history["train_loss"]


def test_a_budget_that_may_end_a_study_keeps_trials_apart():
    seconds = study(BASE, {"lr": [0.02, 0.005]}, blobs(), seeds=3, workers=1).seconds
    found = study(
        BASE, {"lr": [0.02, 0.005]}, blobs(), seeds=200, workers=1, budget=max(3.0, 2 * seconds)
    )
    assert not found.complete
    assert {o.config.get("trained_together") for o in found.outcomes.values()} == {None}
    ended = [len(found.values(arm.name)) for arm in found.arms]
    assert max(ended) - min(ended) <= 1, "no arm is left behind"


def test_given_validation_rows_stay_as_they_are():
    data = blobs()
    made = Configured.of(data, canonical(BASE))
    assert made.overlap == 0
    assert torch.equal(made.rows(BASE, 5).val.tensors["input"], data.val.tensors["input"])


def test_a_rule_gets_the_studys_optimizer_unless_it_has_a_rate_of_its_own():
    made = Configured.of(blobs(), canonical({**BASE, "optimizer": "adam", "schedule": "cosine"}))
    from neurarium.study.configuration import _rule

    sam, own = _rule("sam", made.choice, 1.0), _rule("forward_forward", made.choice, None)
    assert sam.descent.lr == 0.02
    assert sam.descent._given is torch.optim.Adam
    assert sam.descent.max_grad_norm == 1.0
    assert own.descent.lr == 3e-3 if hasattr(own, "descent") else True
    said = _rule("sam:optimizer=sgd,rho=0.1", made.choice, None)
    assert (said.descent._given, said.rho) == (torch.optim.SGD, 0.1)


def test_the_network_is_varied_by_its_own_arguments():
    data = blobs()
    made = Configured.of(data, canonical(BASE))

    def layers(**settings):
        return made.network(data, canonical({**BASE, **settings}), 0).layers

    wide = [m.out_features for m in layers(width=5, depth=3) if isinstance(m, nn.Linear)]
    assert wide == [5, 5, 5, 3]
    assert "mish" in repr(layers(activation="mish")).lower()
    assert any(isinstance(m, nn.LayerNorm) for m in layers(normalization="layer"))
    assert (layers(initialization="constant:0.5")[0].weight == 0.5).all()


def test_one_step_of_a_dense_layer_costs_what_is_counted_by_hand():
    data = blobs(rows=48)
    settings = canonical({**BASE, "network": "MLP:hidden=8", "epochs": 1})
    made = Configured.of(data, settings)
    plain, sam = (made.run({**settings, "rule": rule}, 0) for rule in ("backprop", "sam"))
    # Forward 4*8 + 8*3, weights' slopes as many, the hidden layer's error 8*3; a row each of 48.
    assert plain.multiply_adds == 48 * (2 * (4 * 8 + 8 * 3) + 8 * 3)
    assert sam.multiply_adds == 2 * plain.multiply_adds
    assert plain.parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert plain.memory > 4 * 4 * plain.parameters  # weights, slopes and two moments of Adam


def test_the_same_arm_is_the_same_figure_and_cannot_be_told_apart():
    vary = {"rule": {"once": "backprop", "again": "backprop"}}
    found = study(BASE, vary, blobs(), seeds=2, workers=1)
    assert found.values("once") == found.values("again")
    assert found.comparisons["again"].words == "cannot tell: no difference was measured"
    assert found.chosen == "once"


# What it keeps


def test_finished_trials_are_never_run_again(tmp_path):
    log = tmp_path / "calls"

    def counted(seed=0, kind="a"):
        with log.open("a") as file:
            file.write(f"{kind}{seed} ")
        return {"a": 1.0, "b": 2.0, "c": 3.0}[kind] + 0.1 * seed

    first = study(counted, {"kind": ["a", "b"]}, seeds=2, workers=1, directory=tmp_path / "s")
    again = study(counted, {"kind": ["a", "b"]}, seeds=2, workers=1, directory=tmp_path / "s")
    assert log.read_text().split() == ["a0", "b0", "a1", "b1"]
    assert first.table.drop(columns="seconds").equals(again.table.drop(columns="seconds"))
    study(counted, {"kind": ["a", "c"]}, seeds=3, workers=1, directory=tmp_path / "s")
    assert log.read_text().split()[4:] == ["c0", "c1", "a2", "c2"]


def test_functions_of_one_name_are_not_taken_for_each_other(tmp_path):
    make = [lambda seed=0, k=0: 1.0 + k, lambda seed=0, k=0: 2.0 + k]
    values = [
        study(one, {"k": [0, 1]}, seeds=1, workers=1, directory=tmp_path).values("0")
        for one in make
    ]
    assert values == [{0: 1.0}, {0: 2.0}]


def test_a_failed_trial_is_recorded_and_stops_nothing(tmp_path):
    def fragile(seed=0, kind="a"):
        if kind == "b" and seed == 1:
            raise ArithmeticError("planted\nfailure")
        return float("nan") if kind == "c" and seed == 0 else 1.0 + 0.1 * seed

    found = study(fragile, {"kind": ["a", "b", "c"]}, seeds=3, workers=1, directory=tmp_path)
    errors = found.errors()
    assert set(errors) == {("b", 1), ("c", 0)}
    assert errors["b", 1].startswith("ArithmeticError: planted failure (test_study.py:")
    assert found.values("b") == {0: 1.0, 2: 1.2}
    assert found.comparisons["b"].seeds == 2
    written = (tmp_path / "trials.csv").read_text()
    assert "planted failure" in written
    assert len(written.splitlines()) == 10

    def mended(seed=0, kind="a"):
        return 1.0

    assert ("b", 1) in study(fragile, {"kind": ["a", "b", "c"]}, seeds=3, workers=1,
                             directory=tmp_path, retry=True).errors()  # fmt: skip


def test_a_damaged_file_is_a_trial_that_did_not_end(tmp_path):
    first = study(planted, {"kind": ["plain", "good"]}, seeds=2, workers=1, directory=tmp_path)
    for path in sorted((tmp_path / "trials").glob("*.json"))[:2]:
        path.write_text(path.read_text()[:40])
    again = study(planted, {"kind": ["plain", "good"]}, seeds=2, workers=1, directory=tmp_path)
    assert first.values("good") == again.values("good")


SCRIPT = """
import sys, time
from neurarium.study import study

def slow(seed=0, kind="a"):
    with open("calls", "a") as file:
        file.write(f"{kind}{seed}\\n")
    time.sleep(0.25)
    return ord(kind) + 0.1 * seed * seed

if __name__ == "__main__":
    found = study(slow, {"kind": ["a", "b", "c"]}, seeds=4, workers=int(sys.argv[1]),
                  directory="s", on_progress=lambda p: print(p.done, flush=True))
    print(found.table.drop(columns="seconds").to_json())
"""


def test_killed_at_any_moment_the_same_call_goes_on_to_the_same_table(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(workers):
        return subprocess.Popen(
            [sys.executable, "script.py", str(workers)], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    process = start(2)
    for _ in range(4):
        assert process.stdout.readline(), process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.communicate()  # which waits for its processes too: they leave when it is gone
    written = [json.loads(path.read_text()) for path in (tmp_path / "s/trials").glob("*.json")]
    kept = {f"{one['arm']}{one['seed']}" for one in written}
    assert len(kept) >= 3
    before = len((tmp_path / "calls").read_text().split())
    out, err = start(1).communicate(timeout=120)
    whole = study(
        lambda seed=0, kind="a": ord(kind) + 0.1 * seed * seed,
        {"kind": ["a", "b", "c"]}, seeds=4, workers=1,
    )  # fmt: skip
    assert out.splitlines()[-1] == whole.table.drop(columns="seconds").to_json(), err
    ran = (tmp_path / "calls").read_text().split()[before:]
    assert not kept & set(ran)
    assert len(ran) + len(kept) == 12


def test_a_process_that_dies_costs_its_own_trial_only():
    def deadly(seed=0, kind="a"):
        if kind == "b":
            os._exit(9)
        return 1.0 + seed

    found = study(deadly, {"kind": ["a", "b"]}, seeds=1, workers=2)
    assert set(found.errors()) == {("b", 0)}
    assert "its process died" in found.errors()["b", 0]
    assert found.values("a") == {0: 1.0}


# What it refuses


@pytest.mark.parametrize(
    ("base", "vary", "message"),
    [
        ({}, {"rul": ["sam"]}, r"unknown setting 'rul'; did you mean rule"),
        ({}, {"rule": ["backprop", "sma"]}, "did you mean SAM"),
        ({}, {"activation": ["relu", "misch"]}, "did you mean mish"),
        (
            {"network": "Perceptron"},
            {"activation": ["mish"]},
            "Perceptron has no activation to set",
        ),
        ({}, {"augment": [None, "flip"]}, "flip cannot be trained here"),
        ({}, {"fraction": [1.0, 1.5]}, "share of the training rows"),
        ({}, {"width": [8, 0]}, "whole numbers above 0"),
        ({}, {"penalty": [None, "l1"]}, "needs its weight"),
        ({}, {"lr": [0.1, -1.0]}, "lr"),
        ({}, {"lr": [0.1, "quick"]}, "lr must be a number, got 'quick'"),
    ],
)
def test_what_the_base_cannot_take_is_refused_before_the_first_trial(
    base, vary, message, unchecked, tmp_path
):
    ran = []
    with pytest.raises(ValueError, match=message):
        study({**BASE, **base}, vary, blobs(), seeds=2, workers=1, directory=tmp_path,
              on_progress=ran.append)  # fmt: skip
    assert ran == []
    assert not list((tmp_path / "trials").glob("*")) if (tmp_path / "trials").exists() else True


def test_an_experiment_without_the_name_is_refused():
    with pytest.raises(ValueError, match="does not take 'kin'; it takes seed, kind"):
        study(planted, {"kin": ["plain", "good"]}, workers=1)


def test_a_budget_too_small_says_the_least_that_would_do():
    with pytest.raises(ValueError, match="one seed of each of the 2 arms takes about") as raised:
        study({**BASE, "epochs": 20_000}, {"rule": ["backprop", "sam"]}, blobs(), seeds=3,
              workers=1, budget="5s")  # fmt: skip
    least = re.search(r"allow at least (.*), or", str(raised.value))[1]
    assert parse_budget(least.replace(" ", "").replace("min", "m")) > 5


def test_a_budget_ends_a_study_between_trials():
    def slow(seed=0, kind="a"):
        time.sleep(0.2)
        return 1.0 + seed

    found = study(slow, {"kind": ["a", "b"]}, seeds=50, workers=1, budget=1.1)
    assert 2 <= len(found.outcomes) <= 6
    assert not found.complete
    assert abs(len(found.values("a")) - len(found.values("b"))) <= 1  # whole seeds first


# Test rows


class Sealed(Resident):
    """Rows that whoever looks at is found out."""

    opened = 0

    @property
    def tensors(self):
        Sealed.opened += 1
        return self.hidden

    @tensors.setter
    def tensors(self, value):
        self.hidden = value


def test_no_trial_sees_the_test_rows_and_the_chosen_arm_alone_answers_them(monkeypatch):
    data = blobs(rows=90)
    data.test = Sealed({"input": data.test.tensors["input"], "target": data.test.tensors["target"]})
    asked = []
    forward = networks.MLP.forward

    def watched(self, x):
        if x.shape[0] == 90 and torch.equal(x, data.test.hidden["input"]):
            asked.append(id(self))
        return forward(self, x)

    monkeypatch.setattr(networks.MLP, "forward", watched)
    seen = []
    Sealed.opened = 0
    found = study(
        {**BASE, "epochs": 6}, {"lr": [1e-5, 0.05]}, data, seeds=3, workers=1,
        on_progress=lambda p: seen.append(Sealed.opened),
    )  # fmt: skip
    before = Sealed.opened
    assert seen == [0] * 6
    assert asked or before > 0
    assert found.chosen == "0.05"
    assert len(found.test["accuracy"]) == 3
    assert len(set(asked)) == len(asked) == 3  # each seed's network of that arm, once


def test_the_chosen_arm_is_kept_as_a_run_that_predicts(tmp_path):
    from neurarium.training import Run

    data = blobs()
    found = study({**BASE, "epochs": 6}, {"lr": [1e-5, 0.05]}, data, seeds=3, workers=1,
                  directory=tmp_path)  # fmt: skip
    run = Run.load(tmp_path / "chosen")
    accuracy = (run.forward(data.test).argmax(1) == data.test.tensors["target"]).float().mean()
    assert float(accuracy) in [pytest.approx(v) for v in found.test["accuracy"]]
    again = study({**BASE, "epochs": 6}, {"lr": [1e-5, 0.05]}, data, seeds=3, workers=1,
                  directory=tmp_path)  # fmt: skip
    assert again.test == found.test


def test_the_folder_holds_a_tidy_table_and_all_that_was_said(tmp_path):
    study(BASE, {"rule": ["backprop", "sam"]}, blobs(), seeds=2, workers=1, directory=tmp_path)
    import pandas as pd
    import yaml

    trials = pd.read_csv(tmp_path / "trials.csv")
    assert len(trials) == 4
    assert {"arm", "rule", "seed", "val_accuracy", "seconds", "memory", "multiply_adds"} <= {
        *trials
    }
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["arms"]["sam"]["rule"] == "sam"
    assert config["chosen"]["lr"] == 0.02
    result = json.loads(Path(tmp_path, "result.json").read_text())
    assert result["base"] == "backprop"


# Rows that are not each by themselves


def series(rows=120):
    """A wave by days, with a little noise."""
    import pandas as pd

    generator = torch.Generator().manual_seed(0)
    y = torch.sin(torch.arange(rows) * 0.9) + 0.1 * torch.randn(rows, generator=generator)
    return pd.DataFrame({"day": pd.date_range("2024-01-01", periods=rows), "y": y.numpy()})


def test_a_series_keeps_its_split_by_time(tmp_path):
    data = load(series(), "y", time="day", horizon=3, history=6, season=7)
    found = study({"epochs": 2}, {"network": ["NLinear", "DLinear"]}, data, seeds=2, workers=1)
    assert not found.errors()
    experiment = Configured.of(data, {})
    assert not experiment.redrawn
    for seed in (0, 1):
        rows = experiment.rows({}, seed)
        assert torch.equal(rows.val.tensors["target"], data.val.tensors["target"])
    with pytest.raises(ValueError, match="fraction of the training rows is drawn at random"):
        study({}, {"fraction": [1.0, 0.5]}, data, seeds=2, workers=1)


def test_texts_of_different_lengths_are_drawn_again():
    data = load(reviews(90), "liked")
    data.val.tensors["input"] = data.val.tensors["input"][:, :8]
    data.val.tensors["length"] = data.val.tensors["length"].clamp(max=8)
    found = study({"epochs": 2}, {"lr": [0.01, 0.003]}, data, seeds=2, workers=1)
    assert not found.errors()
    assert found.complete


def test_a_language_model_is_compared_by_its_loss_and_the_chosen_one_asked_once(tmp_path):
    data = text_data("to be or not to be, that is the question. " * 60, context=16)
    base = {"network": "GPT:dim=16,heads=2,layers=1", "max_steps": 4}
    found = study(base, {"lr": [0.01, 0.001]}, data, seeds=2, workers=1, directory=tmp_path)
    assert (found.metric, found.higher_is_better) == ("loss", False)
    assert not found.errors()
    assert set(found.test) == {"loss", "accuracy"}


def test_nodes_of_a_graph_are_compared_on_their_own_split(unchecked):
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    ends = torch.randint(40, (2, 160), generator=torch.Generator().manual_seed(1))
    numbers = torch.arange(40)
    graph = Graph(
        x, ends, y=(x[:, 0] > 0).long(), train_mask=numbers < 20,
        val_mask=(numbers >= 20) & (numbers < 30), test_mask=numbers >= 30,
    )  # fmt: skip
    found = study({"network": "GCN", "epochs": 3}, {"lr": [0.01, 0.1]}, node_data(graph), seeds=2,
                  workers=1)  # fmt: skip
    assert not found.errors()
    assert found.test
