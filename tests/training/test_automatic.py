"""What is chosen where nothing is said: from facts, or by cross-validation; and it is told."""

import pytest
import torch
import torch.nn.functional as F

from neurarium import losses
from neurarium.data import Data, load
from neurarium.learning import Backprop
from neurarium.networks import MLP, Perceptron
from neurarium.objectives import supervised
from neurarium.training import LRFinder, automatic
from neurarium.training.automatic_choices import (
    Choice,
    Facts,
    candidates,
    choose,
    comparison,
)
from neurarium.training.automatic_folds import HeldOut, StackedMLP, cross_validate, folds


def test_stacked_networks_are_the_networks_side_by_side():
    torch.manual_seed(0)
    members = [MLP([3, 8, 8, 2], categories=[4, 5]).eval() for _ in range(3)]
    x = torch.cat([torch.randn(10, 3), torch.randint(0, 4, (10, 2)).float()], 1)
    together = StackedMLP(members)(x)
    apart = torch.stack([member(x) for member in members])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_no_network_learns_from_its_own_fold():
    model = StackedMLP([Perceptron(4, 3, transfer="identity") for _ in range(3)])
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    fold = torch.arange(9) // 3
    loss = HeldOut(losses.cross_entropy)(model, {"input": x, "target": y, "fold": fold})
    output = model(x)
    apart = sum(F.cross_entropy(output[k][fold != k], y[fold != k]) for k in range(3))
    torch.testing.assert_close(loss, apart)


def test_folds_share_out_rows_and_classes_evenly():
    target = torch.arange(100) % 4
    fold = folds(target, 5)
    assert fold.bincount().tolist() == [20] * 5
    for k in range(5):
        assert target[fold == k].bincount().tolist() == [5] * 4
    assert torch.equal(fold, folds(target, 5))
    assert not torch.equal(fold, folds(target, 5, seed=1))


def test_cross_validation_prefers_the_network_that_fits():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator)
    data = Data((x, (x[:, 0] * x[:, 1] > 0).long()))  # no line separates these

    def score(make):
        torch.manual_seed(0)
        members = [make() for _ in range(4)]
        rule = Backprop(lr=0.02, schedule="one_cycle")
        return cross_validate(
            members, data, losses.cross_entropy, rule, parts=4, epochs=40, batch_size=20
        )

    curved = score(lambda: MLP([2, 32, 2]))
    straight = score(lambda: Perceptron(2, 2, transfer="identity"))
    assert curved < 0.4 < 0.6 < straight


@pytest.mark.parametrize(
    ("facts", "network"),
    [
        (Facts(60_000, (1, 28, 28)), "LeNet5"),
        (Facts(50_000, (3, 32, 32)), "ResNet:depth=8"),
        (Facts(50_000, (3, 32, 32), accelerated=True), "ResNet:depth=20"),
        (Facts(300, (10,)), "MLP:hidden=64"),
        (Facts(50_000, (10,)), "MLP:hidden=256x256"),
        (Facts(None, (10,)), "MLP:hidden=256x256"),
    ],
)
def test_the_kind_and_number_of_rows_choose_the_network(facts, network):
    assert choose(facts).network.startswith(network)


@pytest.mark.parametrize("rows", [3, 50, 1_000, 9_999, 30_000, 10**6, 10**8])
@pytest.mark.parametrize("shape", [(5,), (1, 28, 28)])
def test_a_choice_is_sane_for_any_number_of_rows(rows, shape):
    choice = choose(Facts(rows, shape))
    steps = choice.epochs * -(-rows // choice.batch_size)
    assert choice.epochs >= 3
    assert steps >= 300 or choice.epochs >= 300
    assert 16 <= choice.batch_size <= 256
    assert set(choice.reasons) >= {"network", "epochs", "batch_size"}


def test_a_line_cannot_be_a_candidate_where_there_are_words():
    assert "linear" in candidates(Facts(300, (5,)))
    assert "linear" not in candidates(Facts(300, (5,), categories=[4]))


def test_wide_networks_are_candidates_where_rows_are_many_and_heavy_shrinking_where_they_are_few():
    few, some, many = (candidates(Facts(rows, (5,))) for rows in (999, 1_000, 2_000))
    assert [*few] == ["linear", "shrunk", "narrow", "deep"]
    assert [*some] == ["linear", "narrow", "deep", "calm"]
    assert [*many] == ["linear", "narrow", "calm", "wide"]


def test_what_is_said_replaces_what_is_chosen_and_its_line():
    choice = choose(Facts(300, (10,))).overridden({"epochs": 7})
    assert choice.epochs == 7
    assert not any(line.startswith("epochs") for line in choice.lines())
    assert any("--batch-size overrides" in line for line in choice.lines())


@pytest.fixture(scope="module")
def wine():
    lines: list[str] = []
    return automatic.fit_source(load("wine"), tell=lines.append, verbose=False), lines


def test_a_small_table_is_judged_well_and_every_choice_is_told_with_its_flag(wine):
    run, lines = wine
    assert run.evaluate("test")["accuracy"] > 0.95
    assert run.config["choices"] == lines
    told = {line.split(":")[0] for line in lines}
    assert told == {"network", "epochs", "batch size", "lr", "weight decay"}
    assert all(" overrides)" in line for line in lines)
    assert "cross-validation" in next(line for line in lines if line.startswith("network"))


def test_a_small_table_trains_on_all_rows_but_the_test_rows(wine):
    run, _ = wine
    assert run.data is not None
    assert run.data.val is None
    assert (len(run.data.train), len(run.data.test)) == (142, 36)
    same = load("wine")
    assert torch.equal(run.data.test.tensors["target"], same.test.tensors["target"])


def test_validation_rows_stay_apart_if_asked_and_stop_the_run():
    run = automatic.fit_source(load("wine"), validate=True, epochs=5, network="MLP:hidden=8",
                               verbose=False)  # fmt: skip
    assert "val_loss" in run.history
    assert "EarlyStopping" in run.config["callbacks"]


def test_an_earlier_choice_is_made_again_to_the_same_bytes(wine):
    run, _ = wine
    again = automatic.fit_source(load("wine"), choice=Choice(**run.config["choice"]), verbose=False)
    for a, b in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_overrides_reach_the_network_the_rule_and_the_loss():
    run = automatic.fit_source(
        load("wine"), network="MLP:hidden=4", optimizer="sgd:momentum=0.9", lr=0.05, epochs=2,
        batch_size=16, loss="focal", weight_decay=0.0, schedule="cosine", verbose=False,
    )  # fmt: skip
    assert run.model.layers[0].out_features == 4
    assert run.config["rule"] == "Backprop(SGD, lr=0.05, schedule=cosine)"
    assert run.config["objective"] == "supervised(focal)"
    assert (run.config["epochs"], run.config["batch_size"]) == (2, 16)
    assert run.config["choices"] == []


@pytest.mark.parametrize(
    ("optimizer", "decay"),
    [("adam", 0.0), ("sgd:momentum=0.9", 0.0), ("AdamW", 0.1), ("lion", 0.1)],
)
def test_a_chosen_decay_is_for_optimizers_that_decay_apart_from_the_gradient(optimizer, decay):
    chosen = Choice("MLP", 1, 1, weight_decay=0.1)
    assert chosen.overridden({"optimizer": optimizer}).weight_decay == decay
    said = chosen.overridden({"optimizer": optimizer, "weight_decay": 0.3})
    assert said.weight_decay == 0.3


def test_few_rows_all_judge_in_turn_and_many_send_a_sample():
    few, some, many = (comparison(Facts(rows, (5,))) for rows in (300, 5_000, 40_000))
    assert (few.rows, few.parts, few.turns) == (300, 5, 5)
    assert (some.rows, some.parts, some.turns) == (5_000, 3, 3)
    assert many.rows < 40_000
    assert many.turns == 1


def test_a_sample_draws_no_row_twice_and_keeps_inputs_with_their_targets():
    data = Data((torch.arange(50.0)[:, None], torch.arange(50.0)))
    drawn = automatic._sample(data, 20, seed=0).train.tensors
    assert len(drawn["target"].unique()) == 20
    assert torch.equal(drawn["input"][:, 0], drawn["target"])


def test_rows_of_validation_join_those_of_training_without_a_source_too():
    x = torch.arange(12.0)[:, None]
    data = Data((x[:6], x[:6]), (x[6:9], x[6:9]), (x[9:], x[9:]))
    joined = automatic.without_validation(data)
    assert joined.val is None
    assert torch.equal(joined.train.tensors["input"], x[:9])
    assert torch.equal(joined.test.tensors["input"], x[9:])


def test_a_range_test_of_a_chosen_network_is_held_within_what_suits_it():
    chosen = automatic.fit_source(load("digits"), max_steps=3, verbose=False).config["choice"]
    assert 5e-3 <= chosen["lr"] <= 1e-2
    assert chosen["epochs"] == 1  # as many as 3 steps take
    assert "by a range test" in chosen["reasons"]["lr"]


def test_a_diverging_candidate_loses():
    data = Data((torch.randn(40, 2), torch.randn(40, 1)))
    rule = Backprop("sgd", lr=1e30)
    members = [Perceptron(2, 1, transfer="identity") for _ in range(2)]
    options = {"parts": 2, "epochs": 5, "batch_size": 10}
    assert cross_validate(members, data, losses.mse, rule, **options) == float("inf")


def test_a_row_is_judged_by_the_network_that_has_not_seen_it():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 20, generator=generator), torch.arange(60) % 2  # nothing to learn
    torch.manual_seed(0)
    members = [MLP([20, 64, 2]) for _ in range(3)]
    rule = Backprop(lr=0.02)
    options = {"parts": 3, "epochs": 30, "batch_size": 20}
    lost = cross_validate(members, Data((x, y)), losses.cross_entropy, rule, **options)
    assert lost > 0.7  # a network that had learned the row by heart would lose nearly nothing


def test_the_least_loss_wins(monkeypatch):
    scores = iter([0.3, 0.1, 0.2, 0.4])
    monkeypatch.setattr(automatic, "cross_validate", lambda *args, **kwargs: next(scores))
    data = Data((torch.randn(50, 3), torch.arange(50) % 2))
    best = automatic.compare(data, losses.cross_entropy, {})
    assert best.weight_decay == 3.0
    assert "shrunk" in best.reasons["network"]


@pytest.mark.parametrize(("found", "taken"), [(1e-5, 5e-3), (7e-3, 7e-3), (1.0, 1e-2)])
@pytest.mark.parametrize("said", [False, True])
def test_a_range_test_is_held_in_bounds_for_networks_it_chose_itself(
    monkeypatch, found, taken, said
):
    falling = LRFinder([found, found * 5, found * 10], [2.0, 1.0, 0.0])
    monkeypatch.setattr(automatic, "lr_find", lambda *args, **kwargs: falling)
    data = Data((torch.randn(50, 3), torch.arange(50) % 2))
    choice = choose(Facts(50, (3,))).overridden({"network": "Perceptron"} if said else {})
    model, objective = Perceptron(3, 2, transfer="identity"), supervised("cross_entropy")
    tested = automatic._range_tested(choice, model, data, objective, 0, "cpu")
    assert tested.lr == pytest.approx(found if said else taken)


def test_first_weights_depend_on_the_seed_alone():
    data = Data((torch.randn(50, 3), torch.arange(50) % 2))
    weights = []
    for state, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(state)
        weights.append(automatic._build("MLP:hidden=4", data, seed).layers[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
