"""Networks trained side by side end where separate fits do."""

import copy

import pytest
import torch
from torch import nn

from neurarium.data import Data, Standardize
from neurarium.learning import SAM, Backprop, NonFiniteError
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import EarlyStopping, Run, fit
from neurarium.training.together import fit_together, why_not_together

CLASSES = supervised("cross_entropy")


def make_data(task: str = "multiclass") -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(97, 6, generator=generator) * 3 + 1
    y = x @ torch.randn(6, 3, generator=generator)
    y = y.argmax(1) if task == "multiclass" else y[:, 0] / 3
    return Data((x[:71], y[:71]), (x[71:], y[71:]), transform=Standardize.fit(x[:71]))


def make_networks(count: int = 3, outputs: int = 3, activation: str = "relu") -> list[nn.Module]:
    networks = []
    for seed in range(count):
        torch.manual_seed(seed)
        networks.append(MLP([6, 8, 7, outputs], activation=activation))
    return networks


def compare(networks, data, objective, rules, epochs=4):
    alone = copy.deepcopy(networks)
    seeds = [5, 6, 7]
    runs = fit_together(
        networks, data, objective, rules(), seeds=seeds, epochs=epochs, batch_size=16
    )
    for network, own, rule, seed, run in zip(networks, alone, rules(), seeds, runs, strict=True):
        other = fit(own, data, objective, rule, seed=seed, epochs=epochs, batch_size=16,
                    verbose=False, precision="32")  # fmt: skip
        assert run.history.keys() == other.history.keys()
        for name in other.history.keys() - {"seconds"}:
            assert run.history[name] == pytest.approx(other.history[name], rel=1e-4), name
        torch.testing.assert_close(network.state_dict(), own.state_dict(), rtol=1e-3, atol=1e-5)
        assert run.evaluate("val") == pytest.approx(other.evaluate("val"), rel=1e-4)
        assert run.config["seed"] == seed
        assert run.config["rule"] == other.config["rule"]


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_classifiers_end_where_separate_fits_do(activation):
    rules = lambda: [Backprop("adamw", lr=0.01, schedule="one_cycle") for _ in range(3)]  # noqa: E731
    compare(make_networks(activation=activation), make_data(), CLASSES, rules)


def test_regressors_end_where_separate_fits_do():
    rules = lambda: [Backprop("sgd:momentum=0.9", lr=0.05) for _ in range(3)]  # noqa: E731
    compare(make_networks(outputs=1), make_data("regression"), supervised("mse"), rules)


def test_rates_schedules_and_clipping_may_differ():
    def rules():
        return [
            Backprop("adam", lr=0.01, max_grad_norm=0.5),
            Backprop("adam", lr=0.003, schedule="cosine", max_grad_norm=0.1),
            Backprop("LAMB", lr=0.02, max_grad_value=0.01),
        ]

    compare(make_networks(), make_data(), CLASSES, rules)


def test_afterwards_each_network_has_its_own_storage():
    networks = make_networks()
    rules = [Backprop("sgd", lr=0.1) for _ in networks]
    fit_together(networks, make_data(), CLASSES, rules, seeds=range(3), epochs=1)
    sizes = {p.untyped_storage().nbytes() // 4 for p in networks[0].parameters()}
    assert sizes == {p.numel() for p in networks[0].parameters()}
    assert all(p.grad is None for p in networks[0].parameters())


def test_each_may_have_rows_of_its_own():
    generator = torch.Generator().manual_seed(0)
    own = []
    for _ in range(3):
        x, y = torch.randn(50, 6, generator=generator), torch.arange(50) % 3
        own.append(Data((x[:37], y[:37]), (x[37:], y[37:]), transform=Standardize.fit(x[:37])))
    networks = make_networks()
    alone, rules = copy.deepcopy(networks), [Backprop("adam", lr=0.01) for _ in own]
    runs = fit_together(networks, own, CLASSES, rules, seeds=[3, 3, 3], epochs=2, batch_size=9)
    for network, data, run in zip(alone, own, runs, strict=True):
        rule = Backprop("adam", lr=0.01)
        other = fit(network, data, rule=rule, seed=3, epochs=2, batch_size=9, verbose=False)
        for name in ("train_loss", "val_loss", "val_accuracy"):
            assert run.history[name] == pytest.approx(other.history[name], rel=1e-4), name
    longer = [*own[:2], make_data()]
    assert "different lengths" in str(why_not_together(networks, longer, CLASSES, rules))


def test_one_that_diverges_does_not_stop_the_others():
    networks = make_networks()
    rates = [0.1, 1e30, 0.1]
    rules = [Backprop("sgd", lr=rate) for rate in rates]
    runs = fit_together(networks, make_data(), CLASSES, rules, seeds=range(3), epochs=3)
    assert [isinstance(run, Run) for run in runs] == [True, False, True]
    assert isinstance(runs[1], NonFiniteError)
    alone = make_networks()[2]
    other = fit(alone, make_data(), CLASSES, Backprop("sgd", lr=0.1), seed=2, epochs=3,
                verbose=False, precision="32")  # fmt: skip
    assert runs[2].history["train_loss"] == pytest.approx(other.history["train_loss"], rel=1e-4)


def test_each_stops_early_by_itself_with_its_best_weights():
    data, networks = make_data(), make_networks()
    data.train.tensors["target"][::2] = 0  # labels that are learned by heart, then cost validation
    rates, alone = [0.3, 0.05, 1e-4], copy.deepcopy(networks)
    rules = [Backprop("adam", lr=rate) for rate in rates]
    runs = fit_together(
        networks, data, CLASSES, rules, seeds=[1, 2, 3], epochs=12, batch_size=16, patience=2
    )
    for network, rate, seed, run in zip(alone, rates, [1, 2, 3], runs, strict=True):
        other = fit(network, data, CLASSES, Backprop("adam", lr=rate), seed=seed, epochs=12,
                    batch_size=16, callbacks=[EarlyStopping(patience=2)], precision="32",
                    verbose=False)  # fmt: skip
        assert len(run.history) == len(other.history)
        assert run.history["val_loss"] == pytest.approx(other.history["val_loss"], rel=1e-4)
        torch.testing.assert_close(
            run.model.state_dict(), network.state_dict(), rtol=1e-3, atol=1e-5
        )
    assert len({len(run.history) for run in runs}) > 1, "they stop in different epochs"


def test_says_why_not():
    data, networks = make_data(), make_networks()
    rules = [Backprop("adam", lr=0.01)] * 3
    assert why_not_together(networks, data, CLASSES, rules) is None
    ignoring = make_data()
    ignoring.train.tensors["target"][3] = -100
    reasons = {
        "only one": (networks[:1], data, CLASSES, rules),
        "plain class numbers": (networks, ignoring, CLASSES, rules),
        "not Backprop": (networks, data, CLASSES, [SAM()] * 3),
        "objective": (networks, data, supervised("cross_entropy", ["l2:0.1"]), rules),
        "augmented": (networks, Data(*_splits(data), augment=lambda b: b), CLASSES, rules),
        "stream": (networks, Data([(torch.ones(2, 6), torch.ones(2).long())]), CLASSES, rules),
        "more than their weights": ([*networks, MLP([6, 9, 3])], data, CLASSES, rules),
        "activation": ([nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))] * 2, data, CLASSES, rules),
        "before the first layer": (
            [nn.Sequential(nn.ReLU(), nn.Linear(6, 3))] * 2,
            data,
            CLASSES,
            rules,
        ),
        "frozen": ([nn.Linear(6, 3).requires_grad_(False)] * 2, data, CLASSES, rules),
        "float32": ([MLP([6, 3]).double()] * 2, data, CLASSES, rules),
        "busy": ([MLP([6, 3000, 3000, 3])] * 2, data, CLASSES, rules),
    }
    for words, arguments in reasons.items():
        assert words in str(why_not_together(*arguments)), words
    with pytest.raises(ValueError, match="cannot be trained together: there is only one"):
        fit_together(networks[:1], data, CLASSES, rules[:1], seeds=[0])


def _splits(data):
    return data.train.tensors, data.val.tensors
