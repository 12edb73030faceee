import numpy as np
import pytest
import torch
from torch import nn

from neurarium.report.importance import affordable_rows, permutation_importance, saliency


def squared_error_of(weights, inputs):
    """Row losses of a model that is exact on the inputs as they are."""
    target = inputs @ weights
    return lambda x: (x @ weights - target.repeat(len(x) // len(target))).square()


def test_the_rise_of_a_linear_models_squared_error_is_twice_its_columns_share_of_the_variance():
    # E (w x' - w x)^2 = 2 w^2 Var x for x' drawn like x and independent of it
    torch.manual_seed(0)
    x = torch.randn(4000, 3, dtype=torch.float64)
    weights = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    found = permutation_importance(squared_error_of(weights, x), x, [[0], [1], [2]])
    assert found.mean == pytest.approx([8, 2, 0], rel=0.05)
    assert found.mean[2] == 0  # an unused column matters exactly nothing
    assert (found.rows, found.repeats) == (4000, 5)


def test_the_inputs_of_a_group_are_shuffled_together():
    # The two inputs always cancel: shuffled together they still do, apart they do not.
    torch.manual_seed(0)
    x = torch.randn(500, 1).repeat(1, 2)
    loss = squared_error_of(torch.tensor([1.0, -1.0]), x)
    assert permutation_importance(loss, x, [[0, 1]]).mean == pytest.approx([0])
    assert (permutation_importance(loss, x, [[0], [1]]).mean > 1).all()


def test_shuffling_repeats_with_its_seed_and_leaves_the_inputs_alone():
    torch.manual_seed(0)
    x = torch.randn(50, 2)
    kept = x.clone()
    loss = squared_error_of(torch.ones(2), x)
    first, second, third = (permutation_importance(loss, x, [[0], [1]], seed=s) for s in (0, 0, 1))
    assert (first.mean == second.mean).all()
    assert (first.mean != third.mean).any()
    assert torch.equal(x, kept)


def test_rows_shrink_as_the_work_grows():
    assert affordable_rows(360, groups=64, parameters=7510) == 360
    assert affordable_rows(10**6, groups=10, parameters=1000) == 2000
    # 1e10 multiplications / (1e6 parameters x 20 groups x 5 repeats)
    assert affordable_rows(10**6, groups=20, parameters=10**6) == 100


def test_the_saliency_of_a_linear_network_is_the_size_of_the_winning_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 3, 4)).double()
    x = torch.randn(5, 2, 3, 3, dtype=torch.float64)
    weights = model[1].weight[model(x).argmax(1)].view(5, 2, 3, 3).abs().amax(1)
    found = saliency(model, x)
    torch.testing.assert_close(found.double(), weights.detach(), rtol=1e-6, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


def test_saliency_takes_whole_numbers():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    found = saliency(model, torch.ones(1, 1, 2, 2, dtype=torch.uint8)).numpy()
    assert found.shape == (1, 2, 2)
    assert np.isfinite(found).all()
