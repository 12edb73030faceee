"""The energy network goes down its energy and comes to rest."""

import pytest
import torch

from neurarium import networks
from neurarium.networks import EnergyNetwork

X = torch.rand(4, 5, generator=torch.Generator().manual_seed(1)).double()


def network(sizes=(5, 7, 6, 3), **options):
    torch.manual_seed(0)
    model = EnergyNetwork(sizes, **options).double()
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.mul_(3.5 if layer is model.layers[-1] else 0.35)
            layer.bias.normal_(0.2, 0.1)
    return model


def test_a_step_goes_down_the_energy_and_stays_in_the_box():
    model = network(eps=0.3)
    states = [torch.rand(4, n).double().requires_grad_() for n in (7, 6, 3)]
    slopes = torch.autograd.grad(model.energy(X, states).sum(), states)
    expected = [(u - 0.3 * slope).clamp(0, 1) for u, slope in zip(states, slopes, strict=True)]
    torch.testing.assert_close(model.relax(X, states, 1), expected)
    assert any((u == 0).any() for u in expected)


def test_the_energy_of_one_unit_by_hand():
    # E = u^2/2 - u(w x + b) = 0.5 * 0.16 - 0.4 * (2 * 0.5 - 0.7): at rest u = w x + b.
    model = EnergyNetwork([1, 1]).double()
    with torch.no_grad():
        model.layers[0].weight.fill_(2.0)
        model.layers[0].bias.fill_(-0.7)
    x, u = torch.tensor([[0.5]]).double(), torch.tensor([[0.4]]).double()
    torch.testing.assert_close(model.energy(x, [u]), torch.tensor([0.08 - 0.12]).double())
    torch.testing.assert_close(model(x), torch.tensor([[0.3]]).double(), rtol=0, atol=1e-6)


def test_the_energy_falls_at_every_step_until_nothing_moves():
    model = network(eps=0.4)
    states, energies = model.start(X), []
    for _ in range(200):
        energies.append(model.energy(X, states))
        states = model.relax(X, states, 1)
    falls = torch.stack(energies).diff(dim=0)
    assert (falls <= 1e-15).all()
    assert falls[0].max() < -0.01
    torch.testing.assert_close(model.relax(X, states, 1), states, rtol=0, atol=1e-8)


def test_every_output_starts_within_reach_of_a_push():
    # One that rests below 0 by more than the push of 0.5 never moves, and its class is lost.
    x = torch.rand(50, 64, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        torch.manual_seed(seed)
        model = EnergyNetwork([64, 100, 10])
        *_, below, _ = model.relax(x, model.start(x))
        assert model.layers[-1](below).min() > -0.4


def test_a_push_moves_the_output_and_what_is_below():
    model = network(steps=100)
    rest = model.relax(X, model.start(X))
    pushed = model.relax(X, rest, 100, lambda output: 0.1 * (1 - output))
    assert (pushed[-1] >= rest[-1]).all()
    assert (pushed[0] - rest[0]).abs().max() > 1e-4


def test_it_is_rebuilt_from_its_configuration_and_fits_data():
    model = networks.for_data("EnergyNetwork:hidden=20x10,steps=7", (1, 4, 4), 3)
    again = networks.build(networks.config(model))
    assert [layer.weight.shape for layer in again.layers] == [(20, 16), (10, 20), (3, 10)]
    assert again.steps == 7
    again.load_state_dict(model.state_dict())
    images = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([5],), "inputs and outputs, got \\[5\\]"),
        (([5, 2], 0), "steps must be at least 1, got 0"),
        (([5, 2], 3, 1.5), r"eps must lie in \(0, 1\], got 1.5"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        EnergyNetwork(*arguments)
    with pytest.raises(ValueError, match="2 categorical columns; take MLP"):
        EnergyNetwork.for_data((4,), 2, (3, 5))
