"""`fit` is the loop anyone would write, and says what it did."""

import random
import time
import traceback

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.training.conftest import make_data, make_network
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from neurarium.data import Data, Resident
from neurarium.learning import Backprop, NonFiniteError
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import Callback, Run, fit
from neurarium.training.randomness import epoch_seed

QUIET = {"verbose": False, "lr": 0.01}


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_fit_equals_the_loop_written_by_hand_to_the_last_bit(data):
    ours, theirs = make_network(dropout=0), make_network(dropout=0)
    fit(ours, data, supervised("cross_entropy"), Backprop("adam", lr=0.01), epochs=3,
        batch_size=16, threads=torch.get_num_threads(), verbose=False)  # fmt: skip
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01, fused=True)
    x, y = data.train.tensors["input"], data.train.tensors["target"]
    for epoch in range(3):
        generator = torch.Generator().manual_seed(epoch_seed(0, epoch))
        for index in torch.randperm(40, generator=generator).split(16):
            F.cross_entropy(theirs(x[index]), y[index]).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(parameters(ours), parameters(theirs))


def test_a_rule_of_all_rows_gets_them_numbered_and_at_once():
    x = torch.randn(90, 4)
    run = fit(MLP([4, 8, 3]), (x, torch.arange(90) % 3), rule="dl_admm", epochs=3, verbose=False)
    assert run.config["batch_size"] == 90
    assert run.history["step"] == [1, 2, 3]
    assert torch.equal(run.data.train.tensors["index"], torch.arange(90))
    stopped = "keeps a state for each training example"
    with pytest.raises(ValueError, match=stopped):  # who says otherwise is told
        fit(MLP([4, 8, 3]), (x, torch.arange(90) % 3), rule="dl_admm", batch_size=64, verbose=False)


def test_an_epochs_loss_weighs_a_short_last_batch_by_its_rows():
    x, y = torch.randn(10, 4), torch.zeros(10, 1)
    model = nn.Linear(4, 1)
    expected = model(x).square().mean().item()
    rule = Backprop(torch.optim.SGD(model.parameters(), lr=0.0))  # by name, 0 is refused
    run = fit(model, (x, y), rule=rule, epochs=1, batch_size=4, verbose=False)
    assert run.history["train_loss"][0] == pytest.approx(expected, rel=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(data):
    def trained(seed):
        torch.manual_seed(random.randrange(10**6))  # whatever the caller did before
        model = make_network()
        fit(model, data, epochs=2, seed=seed, **QUIET)
        return parameters(model)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_the_callers_random_states_are_untouched(data, network, unchecked):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    fit(network, data, epochs=1, verbose=False)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()


def test_with_no_choice_at_all_a_small_problem_is_solved():
    data = make_data(400)
    run = fit(make_network(dropout=0), data, verbose=False)
    assert run.evaluate("train")["accuracy"] > 0.95
    assert run.history["val_accuracy"][-1] > 0.9


def _rows():
    source = make_data()
    return list(zip(source.train.tensors["input"], source.train.tensors["target"], strict=True))


class _Stream(IterableDataset):
    def __iter__(self):
        return iter(_rows())


class _Map(Dataset):
    def __init__(self):
        self.rows = _rows()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize(
    "train",
    [
        make_data().train.tensors,
        TensorDataset(*make_data().train.tensors.values()),
        DataLoader(_Map(), 8, shuffle=True),
        _Map(),
        _Stream(),
        [{"input": torch.randn(8, 4), "target": torch.arange(8) % 3}] * 5,
        tuple(t.numpy() for t in make_data().train.tensors.values()),
    ],
    ids=["mapping", "TensorDataset", "DataLoader", "Dataset", "IterableDataset", "list", "numpy"],
)
def test_any_kind_of_data_trains(train, network):
    data = Data(train, task="multiclass", classes="abc")
    before = parameters(network)
    run = fit(network, data, epochs=2, batch_size=8, rule=Backprop(lr=0.01), verbose=False)
    assert run.history["step"] == [5, 10]
    assert not torch.equal(parameters(network), before)


def test_a_one_shot_iterator_is_refused():
    with pytest.raises(TypeError, match="more than once"):
        Data(batch for batch in _rows())


def test_a_dataset_and_its_tensors_train_alike():
    runs = []
    for train in (_Map(), make_data().train):
        model = make_network(dropout=0)
        fit(model, Data(train, task="multiclass", classes="abc"), epochs=2, batch_size=8, **QUIET)
        runs.append(parameters(model))
    # The orders differ (a sampler draws its own), the outcome hardly does.
    assert (runs[0] - runs[1]).norm() < 0.2 * runs[1].norm()


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"fast_dev_run": True}, 1),
        ({"fast_dev_run": 2}, 2),
        ({"limit_train_batches": 2, "epochs": 3}, 6),
        ({"limit_train_batches": 0.5, "epochs": 2}, 4),
        ({"max_time": "00:00:00"}, 1),
    ],
)
def test_limits_end_a_run_after_so_many_steps(limits, steps, data, network):
    run = fit(network, data, **{"epochs": 20, "batch_size": 10, **limits, **QUIET})
    assert run.history["step"][-1] == steps


def test_max_time_ends_a_long_run(data, network):
    start = time.monotonic()
    fit(network, data, epochs=10**6, max_time=0.3, **QUIET)
    assert time.monotonic() - start < 5


def test_overfitting_one_batch_sees_only_that_batch(data, network):
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            seen.append(batch["input"])

    run = fit(network, data, overfit_batches=1, batch_size=8, epochs=3, callbacks=[Watch()],
              **QUIET)  # fmt: skip
    assert all(torch.equal(x, data.train.tensors["input"][:8]) for x in seen)
    assert len(seen) == 3
    assert run.data is not None
    assert run.data.train is not data.train


def test_a_mistake_in_an_objective_shows_its_own_line_within_three_frames(data, network):
    def objective(model, batch):
        return model(batch["input"]).mean() + batch["no_such_key"]

    with pytest.raises(KeyError) as info:
        fit(network, data, objective, **QUIET)
    frames = traceback.extract_tb(info.value.__traceback__)
    assert any('batch["no_such_key"]' in (frame.line or "") for frame in frames[-3:])


def test_a_nan_stops_at_once_and_names_module_and_step(data, network):
    class Poison(nn.Module):
        calls = 0

        def forward(self, x):
            if self.training:
                self.calls += 1
            return x / 0 if self.calls > 7 else x

    network.insert(3, Poison())
    with pytest.raises(NonFiniteError, match=r"step 7 .*epoch 2, batch 3.*module '3' \(Poison\)"):
        fit(network, data, batch_size=8, epochs=5, **QUIET)
    assert torch.isfinite(parameters(network)).all()


def test_a_nan_in_the_data_is_named_as_such(network):
    x, y = make_data().train.tensors.values()
    x = x.clone()
    x[3, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="the batch's 'input'"):
        fit(network, (x, y), rule=Backprop(lr=0.01), verbose=False)


@pytest.mark.parametrize("objective", [lambda m, b: m(b["input"]), lambda m, b: 1.0])
def test_an_objective_that_is_no_scalar_is_refused(objective, data, network, unchecked):
    with pytest.raises(ValueError, match="must return a scalar"):
        fit(network, data, objective, **QUIET)


def test_data_without_a_task_asks_for_an_objective(network):
    with pytest.raises(ValueError, match="pass an objective"):
        fit(network, Resident({"input": torch.randn(8, 4)}), verbose=False)


def test_a_losss_own_parameters_are_trained_with_the_model():
    from neurarium.losses import AdaptiveRobust

    x = torch.linspace(-1, 1, 64)[:, None]
    loss = AdaptiveRobust(1)
    before = [p.detach().clone() for p in loss.parameters()]
    fit(nn.Linear(1, 1), (x, 2 * x), supervised(loss), Backprop("adam", lr=0.05), epochs=5,
        verbose=False)  # fmt: skip
    assert all(not torch.equal(a, b) for a, b in zip(before, loss.parameters(), strict=True))


def test_parts_of_an_objective_are_logged_and_sum_to_the_loss(data, network):
    def small_weights(model, batch):
        return 0.1 * sum(p.square().sum() for p in model.parameters())

    run = fit(network, data, supervised("cross_entropy", [small_weights]), epochs=2, **QUIET)
    h = run.history
    for split in ("train", "val"):
        parts = zip(
            h[f"{split}_cross_entropy"], h[f"{split}_small_weights"], h[f"{split}_loss"],
            strict=True,
        )  # fmt: skip
        assert all(a + b == pytest.approx(total, rel=1e-5) for a, b, total in parts)


def test_metrics_may_be_names_or_functions(data, network):
    def largest(output, target):
        return output.max()

    run = fit(network, data, metrics=["f1", largest], epochs=1, **QUIET)
    output, _ = run.outputs("val")
    assert run.history["val_largest"][0] == pytest.approx(output.max().item(), rel=1e-5)
    assert run.history["val_f1"][0] == pytest.approx(run.evaluate("val")["f1"])


def test_the_figures_shown_are_the_figures_returned(data, network):
    run = fit(network, data, epochs=2, **QUIET)
    assert run.history["val_loss"][-1] == pytest.approx(run.evaluate("val")["log_loss"], rel=1e-5)
    assert run.history["val_accuracy"][-1] == pytest.approx(run.evaluate("val")["accuracy"])


def test_a_run_loads_from_its_folder_and_predicts_the_same(tmp_path, data):
    from neurarium.networks import MLP

    run = fit(MLP([4, 8, 3]), data, epochs=2, directory=tmp_path / "run", **QUIET)
    again = Run.load(tmp_path / "run")
    x = data.test.tensors["input"]
    assert np.array_equal(run.predict_proba(x), again.predict_proba(x))
    assert again.history.rows() == run.history.rows()
    assert again.config["seed"] == 0
    assert again.config["engine"]["precision"] == "32-true"


def test_a_run_of_ones_own_class_needs_the_module_to_load(tmp_path, data, network):
    run = fit(network, data, epochs=1, directory=tmp_path / "run", **QUIET)
    with pytest.raises(ValueError, match="your own class"):
        Run.load(tmp_path / "run")
    again = Run.load(tmp_path / "run", model=make_network(seed=5))
    assert torch.equal(parameters(again.model), parameters(run.model))


def test_a_file_alone_is_a_source_and_a_file_is_data_for_a_model(tmp_path):
    x, y = make_data(120).train.tensors.values()
    table = "a,b,c,d,kind\n" + "".join(
        ",".join(f"{v:.4f}" for v in row) + f",{'xyz'[k]}\n"
        for row, k in zip(x.tolist(), y.tolist(), strict=True)
    )
    (tmp_path / "t.csv").write_text(table)
    chosen = fit(tmp_path / "t.csv", target="kind", verbose=False, seed=1)
    assert chosen.evaluate("test")["accuracy"] > 0.7
    assert set(chosen.predict([{"a": 1, "b": 0, "c": 0, "d": 0}])) <= set("xyz")
    own = fit(make_network(), tmp_path / "t.csv", target="kind", seed=1, epochs=5, **QUIET)
    assert (
        own.data.fingerprint()
        == fit(
            make_network(), str(tmp_path / "t.csv"), target="kind", seed=1, epochs=1, **QUIET
        ).data.fingerprint()
    )
    with pytest.raises(TypeError, match=r"must be an nn\.Module, got int"):
        fit(3, tmp_path / "t.csv")


def test_a_network_with_a_function_inside_trains_and_saves(tmp_path, data):
    from neurarium.networks import MLP

    run = fit(MLP([4, 8, 3], torch.sin), data, epochs=1, directory=tmp_path, **QUIET)
    again = Run.load(tmp_path, model=MLP([4, 8, 3], torch.sin))
    assert torch.equal(parameters(again.model), parameters(run.model))


def test_the_trainer_reads_on_two_screens():
    import inspect

    from neurarium.training import trainer

    assert len(inspect.getsource(trainer).splitlines()) < 300


def test_augmentation_meets_training_batches_only_and_before_the_scaling():
    x, y = torch.ones(40, 3), torch.zeros(40)
    seen = []

    class Doubled(nn.Module):  # a transform that remembers what it was given
        def forward(self, x):
            seen.append(float(x.mean()))
            return x

    data = Data(
        (x, y), (x, y), transform=Doubled(), augment=lambda b: {**b, "input": b["input"] * 5}
    )
    seen.clear()
    fit(nn.Linear(3, 1), data, epochs=1, batch_size=20, lr=1e-3, verbose=False)
    # Two looks at an example (engine, record), two steps, one validation.
    assert seen == [1.0, 1.0, 5.0, 5.0, 1.0]


def test_metrics_are_of_the_first_answer_where_an_objective_asks_the_model_twice():
    def twice(model, batch):
        loss = nn.functional.mse_loss(model(batch["input"]), batch["target"])
        return loss + 0 * model(batch["input"] * 100).sum()

    x = torch.linspace(-1, 1, 300)[:, None]
    model = nn.Linear(1, 1)
    data = Data((x, 2 * x), (x, 2 * x))
    run = fit(model, data, twice, epochs=20, lr=0.1, verbose=False, metrics=["r2"])
    assert run.history["val_r2"][-1] > 0.99
