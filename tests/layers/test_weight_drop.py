import pytest
import torch
from torch import nn

from neurarium.layers import Recurrent, WeightDrop
from neurarium.networks import LanguageModel


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("fused", [True, False])
def test_one_mask_serves_all_steps(fused):
    # Hidden weights of 1, no input: h_1 = b, h_2 = b + W h_1, ...: what W was can be solved for.
    layer = Recurrent("rnn:activation=relu", 1, 6, fused=fused)
    dropped = WeightDrop(layer, 0.4).train()
    (cell,) = layer.cells()
    with torch.no_grad():
        cell.weight_hh.fill_(1.0)
        cell.bias_ih.copy_(torch.rand(6) + 0.1)
        cell.bias_hh.zero_()
    h, _ = dropped(torch.zeros(1, 8, 1))
    ahead, behind = (h[0, 1:] - cell.bias_ih).double(), h[0, :-1].double()
    W = torch.linalg.lstsq(behind, ahead).solution.T.detach()
    torch.testing.assert_close(behind @ W.T, ahead, rtol=1e-3, atol=1e-3)
    again, _ = dropped(torch.zeros(1, 8, 1))
    assert not torch.allclose(again, h)  # another pass, another mask
    assert (cell.weight_hh == 1).all()


def test_weights_are_dropped_as_often_as_said_and_scaled_up():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight_hh, self.weight_ih = (nn.Parameter(torch.ones(100, 100)) for _ in range(2))

        def forward(self, x):
            seen.append((self.weight_hh, self.weight_ih))
            return x

    layer = WeightDrop(Watch(), 0.3)
    layer(torch.zeros(1))
    held, other = seen[0]
    assert held.unique().tolist() == pytest.approx([0, 1 / 0.7])
    share = float((held == 0).float().mean())
    assert abs(share - 0.3) < 3 * (0.3 * 0.7 / 1e4) ** 0.5
    assert (other == 1).all()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_without_dropping_it_is_its_layer(cell):
    layer, x = Recurrent(cell, 2, 4, layers=2), torch.randn(3, 5, 2)
    expected = layer(x)[0]
    torch.testing.assert_close(WeightDrop(layer, 0.0).train()(x)[0], expected)
    torch.testing.assert_close(WeightDrop(layer, 0.5).eval()(x)[0], expected)
    assert not torch.allclose(WeightDrop(layer, 0.5).train()(x)[0], expected)


def test_it_stands_in_for_its_layer_and_gradients_reach_the_weights():
    model = LanguageModel(7, width=3, hidden=4)
    model.recurrent = WeightDrop(model.recurrent, 0.5)
    model.train()(torch.randint(7, (2, 5))).square().sum().backward()
    gradient = model.recurrent.stack[0].rnn.weight_hh_l0.grad
    assert gradient.abs().max() > 0
    assert (gradient == 0).float().mean() > 0.2  # dropped weights have no part in it
    assert model.recurrent.output_size == 4


def test_names_that_no_weight_has(unchecked):
    with pytest.raises(ValueError, match="Linear has no weight whose name begins with weight_hh"):
        WeightDrop(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="p must be a probability below 1, got 1"):
        WeightDrop(nn.Linear(2, 2), 1.0, ("weight",))
