"""A model as a function of one vector."""

import pytest
import torch
from torch import nn

from neurarium.learning.blackbox import BlackBox
from neurarium.learning.rule import NonFiniteError
from neurarium.losses import AdaptiveRobust
from neurarium.objectives import supervised

X = torch.arange(24.0).view(8, 3).sin()
BATCH = {"input": X, "target": X.sum(1).cos()}


class Deciding(nn.Linear):
    """Looks at its values, which no candidate has while all are judged together."""

    def forward(self, x):
        y = super().forward(x)
        return y if y.sum() > 0 else 2 * y


def network(*between):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), *between, nn.Linear(4, 1))


def box_of(model, objective=None):
    return BlackBox(model, objective or supervised("mse"), "Rule")


def by_hand(box, points):
    """Each point written into the model and judged there."""
    start = box.read()
    result = []
    for point in points:
        box.write(point)
        result.append(box.judge(BATCH)["loss"].item())
    box.write(start)
    return torch.tensor(result)


@pytest.mark.parametrize(
    "model",
    [
        network(nn.Tanh()),
        network(nn.BatchNorm1d(4), nn.ReLU()),
        nn.Sequential(Deciding(3, 4), nn.Tanh(), nn.Linear(4, 1)),
    ],
)
@pytest.mark.parametrize("penalties", [(), ("l2:0.1",)])
def test_candidates_are_judged_as_if_each_were_in_the_model(model, penalties, unchecked):
    box = box_of(model, supervised("mse", penalties))
    points = box.read() + torch.randn(5, box.dimension)
    expected = by_hand(box, points)
    torch.testing.assert_close(box.losses(points, BATCH).float(), expected)
    box.side_by_side = False
    torch.testing.assert_close(box.losses(points, BATCH).float(), expected)


def test_a_penalty_that_overlooks_candidates_is_judged_in_turn():
    # Candidates require no gradient: judged together, this penalty would silently be 0.
    def trained(model, batch):
        return sum(p.square().sum() for p in model.parameters() if p.requires_grad)

    box = box_of(network(), supervised("mse", [trained]))
    points = torch.randn(3, box.dimension)
    torch.testing.assert_close(box.losses(points, BATCH).float(), by_hand(box, points))
    assert box.side_by_side is False


def test_what_decides_by_values_is_judged_in_turn(unchecked):
    box = box_of(nn.Sequential(Deciding(3, 4), nn.Linear(4, 1)))
    box.losses(box.read()[None], BATCH)
    assert box.side_by_side is False
    usual = box_of(network(nn.BatchNorm1d(4)))
    usual.losses(usual.read()[None], BATCH)
    assert usual.side_by_side is True


def test_candidates_leave_the_model_and_its_statistics_alone():
    model = network(nn.BatchNorm1d(4))
    box = box_of(model)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    for box.side_by_side in (True, False):
        box.losses(torch.randn(3, box.dimension), BATCH)
        assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    box.judge(BATCH)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


@pytest.mark.parametrize("side_by_side", [True, False])
def test_all_candidates_drop_the_same_units_and_each_call_others(side_by_side):
    box = box_of(network(nn.Dropout(0.5)))
    box.side_by_side = side_by_side
    points = box.read().expand(4, -1)
    first, second = box.losses(points, BATCH), box.losses(points, BATCH)
    torch.testing.assert_close(first, first[:1].expand(4))
    assert first[0] != second[0]


def test_dropout_does_not_keep_candidates_apart():
    box = box_of(network(nn.Dropout(0.5)))
    box.losses(torch.randn(3, box.dimension), BATCH)
    assert box.side_by_side is True


def test_chunks_change_nothing(monkeypatch):
    box = box_of(network(nn.Dropout(0.5)))
    points = torch.randn(7, box.dimension)
    torch.manual_seed(1)
    whole = box.losses(points, BATCH)
    monkeypatch.setattr("neurarium.learning.blackbox._NUMBERS_AT_ONCE", 3 * box.dimension)
    torch.manual_seed(1)
    torch.testing.assert_close(box.losses(points, BATCH), whole)


def test_the_vector_holds_what_is_trained_also_of_the_objective_and_shared_weights_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 1))
    model[2].weight = model[0].weight
    model[3].requires_grad_(False)
    box = box_of(model, supervised(AdaptiveRobust()))
    own = sum(p.numel() for p in box.judgement.objective.parameters())
    assert own > 0
    assert box.dimension == 9 + 3 + 3 + own
    box.write(torch.arange(float(box.dimension)))
    assert box.read().tolist() == list(range(box.dimension))
    torch.testing.assert_close(
        box.losses(box.read()[None] / 9, BATCH).float(), by_hand(box, box.read()[None] / 9)
    )


def test_slopes_are_added_where_they_belong():
    model = network()
    box = box_of(model)
    for _ in range(2):
        box.add_slope(torch.arange(float(box.dimension)))
    assert model[0].weight.grad.flatten().tolist() == [2.0 * i for i in range(12)]
    assert model[1].bias.grad.tolist() == [2.0 * (box.dimension - 1)]


def test_what_is_not_finite_is_the_worst_or_named():
    box = box_of(network())
    points = torch.stack([box.read(), box.read() * torch.nan])
    assert box.losses(points, BATCH)[1] == torch.inf
    box.write(points[1])
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        box.judge(BATCH)


def test_wrong_use_is_named():
    frozen = network().requires_grad_(False)
    with pytest.raises(ValueError, match="Rule has nothing to train"):
        box_of(frozen)
    mixed = network()
    mixed[1].double()
    with pytest.raises(ValueError, match=r"one type and device, got torch.float32 on cpu, torch.f"):
        box_of(mixed)


def test_the_callers_own_error_comes_through():
    box = box_of(network())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        box.losses(box.read()[None], {"input": X[:, :2], "target": X[:, 0]})
