"""Which parameters are penalized, and how penalties are named and logged."""

import pytest
import torch
from torch import nn

from neurarium import penalties
from neurarium.objectives import supervised
from neurarium.penalties import L1, L2, GroupLasso


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.slopes = nn.PReLU(2)
        self.recurrent = nn.LSTM(3, 2)
        self.bilinear = nn.Bilinear(2, 2, 1)
        self.tied = self.shared = nn.Linear(2, 2)


def chosen(on):
    model = Net()
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for p in L1(1.0, on=on).select(model)]


def test_weights_are_neither_biases_nor_normalizations_nor_slopes():
    assert chosen("weights") == [
        "convolution.weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0",
        "bilinear.weight", "tied.weight",
    ]  # fmt: skip


def test_all_are_all_and_a_function_chooses_by_name_and_parameter():
    assert len(chosen("all")) == len(list(Net().parameters()))
    assert chosen(lambda name, p: "norm" in name and p.ndim == 1) == ["norm.weight", "norm.bias"]


def test_frozen_parameters_are_not_penalized_and_shared_ones_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[2].weight = model[0].weight
    model[1].requires_grad_(False)
    expected = model[0].weight.abs().sum()
    torch.testing.assert_close(L1(1.0)(model), expected)
    torch.testing.assert_close(L1(1.0, on="all")(model) - expected,
                               model[0].bias.abs().sum() + model[2].bias.abs().sum())  # fmt: skip


def test_an_empty_selection_is_an_error_at_first_use(unchecked):
    model = nn.Sequential(nn.BatchNorm1d(2), nn.PReLU())
    with pytest.raises(ValueError, match=r"L1\(on='weights'\) selects none of the 3 .*Sequential"):
        L1(1.0)(model)
    with pytest.raises(ValueError, match="found no convolution in Linear"):
        GroupLasso(1.0, "filters")(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"on must be 'weights', 'all' or a function .*'biases'"):
        L2(1.0, on="biases")


def test_the_penalty_is_its_value_over_the_selected_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2], [0, 3]]))
        model[1].weight.copy_(torch.tensor([[-4.0, 0.5]]))
    assert L1(0.5)(model).item() == pytest.approx(0.5 * 10.5)
    assert L2(0.5)(model).item() == pytest.approx(0.5 * (14 + 16.25))


def test_named_penalties_are_added_and_logged_each_under_its_name():
    model = nn.Linear(3, 1)
    batch = {"input": torch.randn(5, 3), "target": torch.randn(5)}
    objective = supervised("mse", ["l1:0.1", L2(0.2, on="all"), "group_lasso:0.3,groups=columns"])
    parts = objective(model, batch)
    assert list(parts) == ["loss", "mse", "l1", "l2", "group_lasso"]
    torch.testing.assert_close(parts["loss"], sum(parts[k] for k in list(parts)[1:]))
    torch.testing.assert_close(parts["l1"], 0.1 * model.weight.abs().sum())
    # What a run's record says of it.
    assert repr(objective) == (
        "supervised(mse, [L1(on='weights', weight=0.1), L2(on='all', weight=0.2), "
        "GroupLasso(weight=0.3, on='weights', groups='columns')])"
    )


def test_an_unknown_or_weightless_penalty_is_an_error():
    with pytest.raises(ValueError, match=r"unknown penalty 'l3'; did you mean L"):
        supervised("mse", ["l3:1"])
    with pytest.raises(ValueError, match=r"'l1' needs its weight, such as 'l1:1e-4'"):
        supervised("mse", ["l1"])


@pytest.mark.parametrize("name", ["L1", "L2", "MCP", "SCAD", "GroupLasso", "Nuclear"])
def test_every_penalty_of_parameters_passes_gradcheck(name):
    torch.manual_seed(0)
    theta = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(penalties, name)(0.3).value, theta)
