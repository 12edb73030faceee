"""Tangent prop and the Jacobian penalty against linear maps, differences and invariance."""

import pytest
import torch
from torch import nn

from neurarium.penalties import Jacobian, TangentProp

DOUBLE = {"dtype": torch.float64}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def test_tangent_prop_of_a_linear_map_is_the_length_of_wv():
    model, x, v = nn.Linear(4, 3).double(), draw(5, 4), draw(5, 2, 4, seed=1)
    expected = (v @ model.weight.detach().T).square().sum() / 5
    value = TangentProp(0.3)(model, {"input": x, "tangents": v})
    torch.testing.assert_close(value.detach(), 0.3 * expected)


def test_tangent_prop_is_the_limit_of_differences():
    model, x, v, h = network(), draw(5, 4), draw(5, 2, 4, seed=1), 1e-5
    slopes = [(model(x + h * v[:, i]) - model(x - h * v[:, i])) / (2 * h) for i in range(2)]
    expected = torch.stack(slopes).square().sum() / 5
    value = TangentProp(1.0)(model, {"input": x, "tangents": v})
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-10)


def test_an_invariant_function_is_not_penalized():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(1, keepdim=True).tanh()

    v = draw(5, 3, 4)
    v = v - v.mean(-1, keepdim=True)  # directions that leave the mean alone
    value = TangentProp(1.0)(Mean(), {"input": draw(5, 4, seed=1), "tangents": v})
    assert value < 1e-30


@pytest.mark.parametrize("penalty", [TangentProp(0.5), Jacobian(0.5, projections=None)])
def test_the_gradient_by_parameters_is_the_limit_of_differences(penalty):
    model, batch, h = network(), {"input": draw(5, 4), "tangents": draw(5, 2, 4, seed=1)}, 1e-5
    parameters = list(model.parameters())[:3]  # the last bias moves no slope
    gradients = torch.autograd.grad(penalty(model, batch), parameters)
    directions = [draw(*p.shape, seed=2) for p in parameters]
    ends = []
    for sign in (1, -2):
        with torch.no_grad():
            torch._foreach_add_(parameters, directions, alpha=sign * h)
            ends.append(penalty(model, batch))
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


def test_tangents_may_be_a_function_of_the_input():
    model, x = network(), draw(5, 4)
    given = TangentProp(1.0)(model, {"input": x, "tangents": torch.stack([x, -2 * x], 1)})
    computed = TangentProp(1.0, lambda x: torch.stack([x, -2 * x], 1))(model, {"input": x})
    torch.testing.assert_close(given, computed)


def test_missing_or_misshapen_tangents_are_errors(unchecked):
    x = draw(5, 4)
    with pytest.raises(ValueError, match="needs the batch key 'tangents', found input; add"):
        TangentProp(1.0)(network(), {"input": x})
    with pytest.raises(ValueError, match=r"got \(5, 2, 3\) for an input of \(5, 4\)"):
        TangentProp(1.0)(network(), {"input": x, "tangents": draw(5, 2, 3)})


def test_the_whole_jacobian_of_a_linear_map_is_its_weight():
    model = nn.Linear(4, 3).double()
    value = Jacobian(0.5, projections=None)(model, {"input": draw(5, 4)})
    torch.testing.assert_close(value, 0.5 * model.weight.square().sum())


def test_random_projections_estimate_the_jacobian_without_bias():
    torch.manual_seed(0)
    model, batch = network(), {"input": draw(5, 4)}
    exact = Jacobian(1.0, projections=None)(model, batch).item()
    assert exact == pytest.approx(_jacobian_norm(model, batch["input"]))
    for projections in (1, 4):
        penalty = Jacobian(1.0, projections)
        draws = torch.stack([penalty(model, batch).detach() for _ in range(600)])
        assert abs(draws.mean().item() - exact) < 4 * draws.std().item() / 600**0.5
        assert draws.std() < 0.7 * exact / projections**0.5


def _jacobian_norm(model, x):
    rows = [torch.autograd.functional.jacobian(model, row).square().sum() for row in x]
    return torch.stack(rows).mean().item()


def test_both_are_measured_without_gradients_and_unheard_by_hooks():
    model, batch, heard = network(), {"input": draw(5, 4), "tangents": draw(5, 1, 4)}, []
    model.register_forward_hook(lambda module, inputs, output: heard.append(output))
    with torch.no_grad():
        for penalty in (TangentProp(1.0), Jacobian(1.0)):
            value = penalty(model, batch)
            assert value > 0
            assert not value.requires_grad
    assert heard == []  # an evaluation's outputs are those of the data alone


def test_convolutional_networks_with_pooling_and_dropout_have_slopes():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(18, 3),
    ).double()  # fmt: skip
    batch = {"input": draw(4, 1, 8, 8), "tangents": draw(4, 2, 1, 8, 8, seed=1)}
    for penalty in (TangentProp(1.0), Jacobian(1.0)):
        penalty(model, batch).backward()
        assert model[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "penalty", [TangentProp(0.1, lambda x: torch.ones_like(x).unsqueeze(1)), Jacobian(0.1)]
)
def test_a_slope_penalty_looks_at_a_batch_without_counting_it_again(penalty):
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    penalty(model, {"input": x}).backward()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model[1].track_running_stats
    assert model[0].weight.grad.abs().sum() > 0
