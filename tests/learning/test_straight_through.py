"""The straight-through estimate: the function forward, the identity back, within the clip."""

import pickle

import pytest
import torch

from neurarium import activations
from neurarium.activations.straight_through import straight_through

W = torch.tensor([-2.0, -1.0, -0.4, 0.0, 0.6, 1.0, 1.5], dtype=torch.float64)


def ternary(w):
    return torch.where(w.abs() > 0.5, w.sign(), 0)


@pytest.mark.parametrize("fn", [torch.sign, torch.round, ternary])
@pytest.mark.parametrize(
    ("clip", "passed"),
    [(1, [0, 1, 1, 1, 1, 1, 0]), (0.5, [0, 0, 1, 1, 0, 0, 0]), (None, [1] * 7)],
)
def test_the_value_is_the_functions_and_errors_pass_within_the_clip(fn, clip, passed):
    w = W.clone().requires_grad_()
    error = torch.arange(1, 8, dtype=torch.float64)
    y = straight_through(fn, clip)(w)
    assert torch.equal(y, fn(W))
    y.backward(error)
    assert torch.equal(w.grad, error * torch.tensor(passed))


def test_it_is_what_the_thresholds_of_activations_do():
    ours, theirs = W.clone().requires_grad_(), W.clone().requires_grad_()
    straight_through(activations.hardlims)(ours).square().cos().sum().backward()
    activations.hardlims(theirs, straight_through=True).square().cos().sum().backward()
    assert ours.grad.abs().sum() > 0
    assert torch.equal(ours.grad, theirs.grad)


def test_it_maps_over_a_batch_and_survives_a_pickle():
    q = pickle.loads(pickle.dumps(straight_through(torch.round, clip=2)))
    slope = torch.func.vmap(torch.func.grad(lambda w: (3 * q(w)).sum()))(W.view(7, 1))
    assert slope.flatten().tolist() == [3.0] * 7


def test_the_identity_itself_passes_too():
    w = W.clone().requires_grad_()
    straight_through(lambda z: z, clip=0.5)(w).sum().backward()
    assert w.grad.tolist() == [0, 0, 1, 1, 0, 0, 0]


def test_wrong_use_is_named(unchecked):
    with pytest.raises(ValueError, match="clip must be positive, or None"):
        straight_through(torch.sign, clip=0)
    with pytest.raises(ValueError, match=r"got the shape \(\) from \(7,\)"):
        straight_through(torch.sum)(W)
