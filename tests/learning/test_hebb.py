"""Hebb, Oja, Sanger: by hand, and the principal components that they end in."""

import pytest
import torch
from sklearn.decomposition import PCA
from tests.learning.test_local_rules import resumes
from torch import nn

from neurarium.data import Data
from neurarium.learning import Hebb, NonFiniteError, Rule
from neurarium.training import fit


def variance(model, batch):
    """What Oja's unit climbs."""
    return -model(batch["input"]).square().mean()


def bound(rule, model, objective=variance):
    rule.bind(model, objective)
    return rule


def stretched(rows=300, columns=5):
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(columns, columns, generator=generator).double())[0]
    scale = torch.tensor([2.0, 1.4, 0.9, 0.5, 0.2]).double()
    x = torch.randn(rows, columns, generator=generator).double() * scale @ turn
    return x - x.mean(0)


def line(units=1, columns=5):
    torch.manual_seed(0)
    return nn.Linear(columns, units, bias=False).double()


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        # y = (3, 1) for x = (1, 2): yx is added; Oja takes off y_i^2 w_i = 9(1,1) and 1(-1,1);
        # Sanger from the second also y_2 y_1 w_1 = 3(1,1).
        ("hebb", [[3.0, 6.0], [1.0, 2.0]]),
        ("oja", [[3.0 - 9, 6.0 - 9], [1.0 + 1, 2.0 - 1]]),
        ("sanger", [[-6.0, -3.0], [2.0 - 3, 1.0 - 3]]),
    ],
)
def test_a_step_by_hand(variant, change):
    model = nn.Linear(2, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
        model.bias.fill_(7.0)  # which takes no part
    before = model.weight.detach().clone()
    rule = bound(Hebb(0.1, variant), model)
    outputs = rule.step({"input": torch.tensor([[1.0, 2.0]]).double()})
    torch.testing.assert_close(model.weight - before, 0.1 * torch.tensor(change).double())
    assert (model.bias == 7).all()
    torch.testing.assert_close(outputs["loss"], torch.tensor(-(10.0**2 + 8**2) / 2).double())


def test_oja_finds_the_first_principal_component_of_length_1():
    x, model = stretched(), line()
    first = torch.from_numpy(PCA(1).fit(x.numpy()).components_[0])
    rule = bound(Hebb(0.05), model)
    for _ in range(300):
        rule.step({"input": x})
    (w,) = model.weight.detach()
    assert w.norm().item() == pytest.approx(1, abs=1e-6)
    assert abs(w @ first).item() > 0.999999


def test_hebb_alone_finds_its_direction_and_no_length():
    x, model = stretched(), line()
    first = torch.from_numpy(PCA(1).fit(x.numpy()).components_[0])
    rule = bound(Hebb(0.05, "hebb"), model)
    for _ in range(100):
        rule.step({"input": x})
    (w,) = model.weight.detach()
    assert abs(w @ first / w.norm()).item() > 0.999
    assert w.norm() > 1e6


def test_sanger_finds_all_components_in_order():
    x, model = stretched(), line(3)
    components = torch.from_numpy(PCA(3).fit(x.numpy()).components_)
    data = Data({"input": x})
    rule = Hebb(0.1, "sanger")
    fit(model, data, variance, rule, epochs=150, batch_size=300, verbose=False, precision="32")
    cosines = model.weight.detach() @ components.T
    torch.testing.assert_close(cosines.abs(), torch.eye(3).double(), rtol=0, atol=1e-4)


def test_oja_climbs_the_variance_on_the_sphere():
    # At length 1 the change is half the gradient of the variance without its radial part, so the
    # cosine to descent along -variance is positive; the trial step leaves no trace.
    x, model = stretched(), line()
    with torch.no_grad():
        model.weight.div_(model.weight.norm())
    before = model.weight.detach().clone()
    rule = bound(Hebb(1e-3), model)
    assert 0 < rule.alignment({"input": x})[""] < 1
    assert bound(Hebb(1e-3, "hebb"), model).alignment({"input": x})[""] == pytest.approx(1)
    assert torch.equal(model.weight, before)
    assert isinstance(rule, Rule)


def test_every_layer_learns_from_its_own_inputs():
    x = stretched()
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    frozen = [p.detach().clone() for p in model.parameters()]
    seen = model[:2](x).detach()
    expected = model[2].weight + 0.01 * (seen @ model[2].weight.T).T @ seen / len(x)
    bound(Hebb(0.01, "hebb"), model).step({"input": x})
    torch.testing.assert_close(model[2].weight, expected)
    assert not torch.equal(model[0].weight, frozen[0])
    model[0].requires_grad_(False)
    first = model[0].weight.clone()
    bound(Hebb(0.01), model).step({"input": x})
    assert torch.equal(model[0].weight, first)


def test_a_resumed_run_ends_on_the_same_bytes(tmp_path):
    resumes(lambda: nn.Linear(4, 3), lambda: Hebb(0.1, "sanger"), tmp_path)


def test_models_and_rates_that_cannot_be_are_named(unchecked):
    with pytest.raises(ValueError, match="'0' is a Conv1d with weight, bias to train; freeze it"):
        bound(Hebb(), nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="no linear layer to train in this Linear"):
        bound(Hebb(), nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(ValueError, match="lr must be a positive number, got 0"):
        Hebb(0)
    with pytest.raises(ValueError, match="hebb, oja, sanger: 'bcm'"):
        Hebb(variant="bcm")
    model = line()
    rule = bound(Hebb(1e3), model)
    with pytest.raises(NonFiniteError, match="lr=1000 is too large"):
        rule.step({"input": 1e200 * stretched()})
    assert model.weight.isfinite().all()
