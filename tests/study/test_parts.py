"""Parts that are known to matter, or not to, are found so; nothing stays changed."""

import copy

import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.networks import MLP
from neurarium.study.parts import ablate_parts, ablate_tricks
from neurarium.training import Run, fit


@pytest.fixture(scope="module")
def run():
    """A network made by hand: class 1 where the first of three inputs is positive.

    Unit 0 of the hidden layer carries the first input; unit 1 is connected to nothing behind it.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=generator)
    y = (x[:, 0] > 0).long()
    model = MLP([3, 2, 2])
    first, last = model.layers[0], model.layers[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
        first.bias.fill_(10.0)  # so that the rectifier passes everything
        last.weight.copy_(torch.tensor([[-1.0, 0], [1.0, 0]]))
        last.bias.copy_(torch.tensor([10.0, -10.0]))
    data = Data((x[:200], y[:200]), val=(x[200:], y[200:]), classes=["no", "yes"])
    config = {"data": data.describe(), "choice": {"lr": 1.0, "optimizer": "adam"}}
    return Run(model, data=data, config=config)


def found(run, **options):
    return {part.name: part for part in ablate_parts(run, **options)}


def test_planted_parts_matter_and_idle_ones_lose_nothing(run):
    parts = found(run)
    assert all(part.whole == 1.0 for part in parts.values())
    assert parts["layers.0, unit 0"].figure < 0.7
    assert parts["layers.0, unit 0"].verdict == "matters"
    assert parts["layers.0, unit 1"].loss == 0
    assert parts["layers.0, unit 1"].verdict == "cannot tell"
    assert parts["input 0"].figure == pytest.approx(0.5, abs=0.12)
    assert parts["input 1"].loss == parts["input 2"].loss == 0
    assert parts["layers.1 (ReLU)"].loss == 0  # it only ever passes what it gets
    assert parts["layers.0 (Linear)"].figure < 0.7
    # Four of the first layer's six weights are 0, so half of them are none of those that count.
    assert parts["layers.0, smallest 50 %"].loss == 0


def test_a_unit_that_another_doubles_can_be_its_mean_but_not_0(run):
    # Both units rise with the first input; the answer is yes where their sum is above 2.
    model = MLP([3, 2, 2])
    first, last = model.layers[0], model.layers[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0, 0], [0.5, 0, 0]]))
        first.bias.fill_(1.0)
        last.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        last.bias.copy_(torch.tensor([2.0, 0.0]))
    x, y = (run.data.val.tensors[key] for key in ("input", "target"))
    with torch.no_grad():
        hidden = first(x)
        hidden[:, 0] = first(run.data.train.tensors["input"])[:, 0].mean()
        by_hand = float((last(hidden.relu()).argmax(1) == y).double().mean())
    parts = found(Run(model, data=run.data, config=run.config), kinds=["units"])
    assert parts["layers.0, unit 0"].figure == pytest.approx(by_hand)
    assert by_hand > 0.9  # with 0 in its place the other would have to reach 2 alone: 0.5


def test_the_network_is_afterwards_what_it_was(run):
    before = copy.deepcopy(run.model.state_dict())
    ablate_parts(run, recover=1, rows=50)
    after = run.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in run.model.modules())
    assert "held" not in vars(run.model)


def test_the_rest_recovers_what_it_can_and_no_more(run):
    # From inputs that are shuffled nothing can be learnt; a unit can be replaced by the other.
    parts = found(run, kinds=["units", "inputs"], recover=60)
    assert parts["layers.0, unit 0"].recovered > 0.9
    assert parts["input 0"].recovered < 0.65


def test_connections_stay_out_while_the_rest_learns(run):
    from neurarium.study.parts import _thinned

    model = copy.deepcopy(run.model)
    with _thinned("layers.0", 0.5)(model):
        held = vars(model)["held"]
        fit(model, run.data, lr=0.1, epochs=1, callbacks=[held], verbose=False)
        weight = model.layers[0].weight
        assert int((weight == 0).sum()) >= 3
        assert torch.equal(weight * held.mask, weight)


def test_many_units_are_taken_out_in_groups():
    x = torch.randn(40, 3)
    data = Data((x, (x[:, 0] > 0).long()), val=(x, (x[:, 0] > 0).long()))
    run = Run(MLP([3, 30, 10, 2]), data=data, config={"data": data.describe()})
    parts = found(run, kinds=["units"], most_units=10)
    assert len(parts) == 8 + 3
    assert "layers.0, units 28 to 29" in parts


def test_a_regression_loses_parts_of_r2():
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[3.0], [0.0]])
    model = nn.Sequential(nn.Linear(2, 1))
    model.load_state_dict({"0.weight": torch.tensor([[3.0, 0.0]]), "0.bias": torch.zeros(1)})
    data = Data((x[:150], y[:150]), val=(x[150:], y[150:]))
    parts = found(Run(model, data=data, config={"data": data.describe()}), kinds=["inputs"])
    assert parts["input 0"].whole == pytest.approx(1.0)
    # Shuffled, prediction and target are independent: r2 is 1 - 2 var / var.
    assert parts["input 0"].figure == pytest.approx(-1, abs=0.4)
    assert parts["input 1"].loss == pytest.approx(0, abs=1e-9)


def test_images_are_taken_out_in_patches():
    x = torch.randn(30, 1, 8, 8)
    data = Data((x, torch.arange(30) % 2), val=(x, torch.arange(30) % 2))
    run = Run(MLP([64, 4, 2]), data=data, config={"data": data.describe()})
    assert set(found(run, kinds=["inputs"])) == {
        f"pixels from ({top}, {left})" for top in (0, 4) for left in (0, 4)
    }


def test_every_trick_of_a_run_is_left_out_in_turn():
    from neurarium.study.parts import _tricks

    base = {"optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.1, "epochs": 30,
            "patience": 5, "penalties": ["l1:1e-4"]}  # fmt: skip
    tricks = _tricks(base, {"dropout": 0.5, "norm": None})
    assert {name: found["without"] for name, found in tricks.items()} == {
        "dropout": 0.0, "penalties": None, "weight_decay": 0.0, "schedule": "constant",
        "optimizer": "sgd:momentum=0.9", "patience": 30,
    }  # fmt: skip


def test_a_run_whose_tricks_nobody_knows_says_so(run):
    bare = Run(run.model, data=run.data, config={"data": run.data.describe()})
    with pytest.raises(ValueError, match="not begun by neurarium fit"):
        ablate_tricks(bare)
    with pytest.raises(ValueError, match="attach"):
        ablate_parts(Run(run.model))
