"""Untrained, the layers are ISTA's steps; ISTA tends to the Lasso; training comes nearer."""

import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn
from torch.nn import functional as F

from neurarium.networks import LISTA, _config, ista, unroll


def made(rows=12, atoms=20, count=7):
    torch.manual_seed(0)
    dictionary = F.normalize(torch.randn(rows, atoms, dtype=torch.float64), dim=0)
    codes = torch.randn(count, atoms) * (torch.rand(count, atoms) < 0.2)
    return dictionary, codes.double() @ dictionary.T, codes.double()


class Shrinkage(nn.Module):
    """One step of ISTA as its definition says, with a threshold that could be learnt."""

    def __init__(self, dictionary, lam):
        super().__init__()
        self.dictionary = dictionary
        self.L = torch.linalg.svdvals(dictionary)[0] ** 2
        self.threshold = nn.Parameter(lam / self.L)

    def forward(self, x, y):
        u = x + (y - x @ self.dictionary.T) @ self.dictionary / self.L
        return u.sign() * (u.abs() - self.threshold).clamp(min=0)


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("tied", [True, False])
def test_untrained_it_is_ista_of_as_many_steps(layers, tied):
    dictionary, y, _ = made()
    step = Shrinkage(dictionary, 0.05)
    x = torch.zeros(7, 20, dtype=torch.float64)
    for _ in range(layers):
        x = step(x, y)
    assert x.any()
    torch.testing.assert_close(LISTA(dictionary, layers, tied, 0.05)(y), x)
    torch.testing.assert_close(ista(y, dictionary, 0.05, layers), x.detach())
    unrolled = unroll(step, layers, tied, start=lambda y: y.new_zeros(len(y), 20))
    torch.testing.assert_close(unrolled(y), x)


def test_many_steps_are_the_lasso():
    dictionary, y, _ = made()
    peer = Lasso(alpha=0.05 / 12, fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = torch.stack(
        [torch.from_numpy(peer.fit(dictionary.numpy(), row.numpy()).coef_) for row in y]
    )
    found = ista(y, dictionary, 0.05, 20_000)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert 0.3 < (found == 0).double().mean() < 0.95


def test_the_value_falls_at_every_step():
    dictionary, y, _ = made()

    def value(x):
        return (y - x @ dictionary.T).square().sum() / 2 + 0.05 * x.abs().sum()

    values = torch.stack([value(ista(y, dictionary, 0.05, steps)) for steps in range(0, 60, 3)])
    assert (values.diff() < 0).all()


@pytest.mark.parametrize(("tied", "matrices"), [(True, 2), (False, 9)])
def test_tied_layers_share_their_matrices_and_not_their_thresholds(tied, matrices):
    model = LISTA((12, 20), 5, tied)
    assert sum(p.dim() == 2 for p in model.parameters()) == matrices
    assert model.threshold.shape == (5,)


def test_untied_layers_follow_the_equation_whatever_has_been_learnt():
    model = LISTA((4, 6), 3, tied=False).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator).double() - 0.3
    y = torch.randn(4, generator=generator).double()
    x = torch.zeros(6).double()
    S = [torch.zeros(6, 6).double(), *model.inhibit]  # the first step starts from 0
    for W, S_k, theta in zip(model.encode, S, model.threshold, strict=True):
        u = W @ y + S_k @ x
        x = (u - theta).relu() - (-u - theta).relu()
    torch.testing.assert_close(model(y[None])[0], x)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_reach_every_layer(tied):
    dictionary, y, codes = made(4, 6, 3)
    model = LISTA(dictionary, 4, tied, 0.02)
    inputs = tuple(p.detach().clone().requires_grad_() for p in model.parameters())
    names = [n for n, _ in model.named_parameters()]

    def loss(*parts):
        found = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), y)
        return (found - codes).square().sum()

    assert torch.autograd.gradcheck(loss, inputs)
    loss(*inputs).backward()
    assert all(part.grad.any() for part in inputs)
    assert inputs[names.index("threshold")].grad.all()


def test_a_threshold_below_zero_keeps_the_sign_and_the_slope():
    model = LISTA(torch.eye(3, dtype=torch.float64), 1)
    with torch.no_grad():
        model.threshold.fill_(-0.5)
    # Odd, 2u near zero and u + 0.5 beyond: relu(u + 0.5) - relu(0.5 - u).
    y = torch.tensor([[0.25, 2.0, -3.0]], dtype=torch.float64)
    assert model(y).tolist() == [[0.5, 2.5, -3.5]]


@pytest.mark.parametrize("tied", [True, False])
def test_training_comes_nearer_in_the_same_number_of_steps(tied):
    torch.manual_seed(0)
    dictionary = F.normalize(torch.randn(20, 40), dim=0)
    model = LISTA(dictionary, 4, tied, lam=0.2)

    def signals(count):
        codes = torch.randn(count, 40) * (torch.rand(count, 40) < 0.1)
        return codes @ dictionary.T, codes

    y, x = signals(500)
    start = (model(y) - x).square().mean().item()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(150):
        inputs, codes = signals(64)
        optimizer.zero_grad()
        (model(inputs) - codes).square().sum(1).mean().backward()
        optimizer.step()
    assert (model(y) - x).square().mean().item() < 0.6 * start


def test_it_is_rebuilt_from_its_configuration_and_weights():
    dictionary, y, _ = made()
    model = LISTA(dictionary, 3, tied=False, lam=0.05)
    kept = _config.arguments(model)
    assert kept == {"dictionary": [12, 20], "layers": 3, "tied": False, "lam": 0.05}
    twin = LISTA(**kept).double()
    assert not torch.equal(twin(y), model(y))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(y), model(y))
    fitted = LISTA.for_data((3, 4), 20, (), layers=2)
    assert fitted(torch.randn(5, 3, 4)).shape == (5, 20)


def test_unrolled_steps_are_copies_unless_tied():
    step = nn.Bilinear(3, 3, 3)
    free, tied = unroll(step, 4), unroll(step, 4, tied=True)
    assert len(list(free.parameters())) == 8
    assert len(list(tied.parameters())) == 2
    x = torch.randn(2, 3)
    torch.testing.assert_close(free(x), tied(x))
    # From 0 the first step is the bias, and every step sees the input.
    h = step(torch.zeros(2, 3), x)
    for _ in range(3):
        h = step(h, x)
    torch.testing.assert_close(free(x), h)


def test_wrong_arguments_are_refused(unchecked):
    for wrong in (torch.ones(3), torch.zeros(3, 4), torch.ones(3, 4).long()):
        with pytest.raises(ValueError, match="dictionary must be a matrix of numbers with an atom"):
            LISTA(wrong)
    with pytest.raises(ValueError, match=r"must be a matrix or its \(rows, atoms\), got \(3,\)"):
        LISTA((3,))
    with pytest.raises(ValueError, match="layers must be at least 1 and lam positive, got 0"):
        LISTA((3, 4), 0)
    with pytest.raises(ValueError, match="n must be at least 1, the number of steps, got 0"):
        unroll(nn.Identity(), 0)
    with pytest.raises(ValueError, match="the data have 1 categorical columns"):
        LISTA.for_data((3,), 4, (5,))
