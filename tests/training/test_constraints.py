"""Callbacks that change the parameters after each step: Proximal and MaxNorm."""

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.penalties import L1, GroupLasso, Jacobian
from neurarium.training import Callback, fit
from neurarium.training.callbacks import EMA, MaxNorm, Proximal


def test_proximal_gradient_descent_on_a_linear_model_is_sklearns_lasso():
    from sklearn.linear_model import Lasso

    torch.manual_seed(0)
    x = torch.randn(60, 12, dtype=torch.float64)
    beta = torch.zeros(12, dtype=torch.float64)
    beta[:3] = torch.tensor([2.0, -1, 0.5])
    y = x @ beta + 0.3 * torch.randn(60, dtype=torch.float64)
    lasso = Lasso(alpha=0.1, fit_intercept=False, tol=1e-12).fit(x.numpy(), y.numpy())

    model = nn.Linear(12, 1, bias=False).double()
    # sklearn's loss is half the mean square.
    objective = supervised(lambda p, t: (p - t).square().mean() / 2)
    fit(model, Data((x, y)), objective, Backprop("sgd", lr=0.3), epochs=300, batch_size=60,
        callbacks=[Proximal(L1(0.1))], verbose=False)  # fmt: skip
    ours, theirs = model.weight.detach()[0], torch.from_numpy(lasso.coef_)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert ((ours == 0) == (theirs == 0)).all()
    assert (theirs == 0).sum() >= 5


def test_the_subgradient_alone_gives_no_zeros():
    model, data = make_network(), make_data()
    rule = Backprop("sgd", lr=0.1)
    objective = supervised("cross_entropy", [L1(0.05)])
    fit(model, data, objective, rule, epochs=30, batch_size=20, verbose=False)
    assert (model[0].weight != 0).all()
    proximal = make_network()
    fit(proximal, data, supervised("cross_entropy"), Backprop("sgd", lr=0.1), epochs=30,
        batch_size=20, callbacks=[Proximal(L1(0.05))], verbose=False)  # fmt: skip
    assert (proximal[0].weight == 0).sum() >= 3


def test_the_step_is_that_steps_rate_of_each_parameters_group():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    still = supervised(lambda p, t: 0 * p.sum())  # only the penalty moves anything
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters()}], lr=0.01
    )
    halving = Backprop(optimizer, schedule=lambda step, total: 0.5**step)
    fit(model, (torch.zeros(4, 2), torch.zeros(4)), still, halving, epochs=1, batch_size=2,
        callbacks=[Proximal(L1(1.0))], verbose=False)  # fmt: skip
    # Two steps: 0.1 + 0.05, and 0.01 + 0.005.
    torch.testing.assert_close(model[0].weight.detach(), torch.full((2, 2), 0.85))
    torch.testing.assert_close(model[1].weight.detach(), torch.full((1, 2), 0.985))
    assert (model[0].bias == 1).all()


def test_proximal_group_lasso_removes_whole_hidden_units():
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    only_first = GroupLasso(0.02, on=lambda name, p: name == "0.weight")
    fit(model, make_data(), rule=Backprop("sgd", lr=0.2), epochs=60, batch_size=20,
        callbacks=[Proximal(only_first)], verbose=False)  # fmt: skip
    zero = model[0].weight == 0
    assert zero.all(1).any()
    assert (zero.all(1) == zero.any(1)).all()


def test_proximal_needs_a_prox_and_a_rate(unchecked):
    with pytest.raises(ValueError, match="Jacobian has no proximal step; pass a penalty of"):
        Proximal(Jacobian(0.1))

    class Still:
        def bind(self, model, objective): ...
        def step(self, batch):
            return {"loss": torch.zeros(())}

        def state_dict(self):
            return {}

        def load_state_dict(self, state): ...

    with pytest.raises(ValueError, match="needs the rule's learning rate, which Still does not"):
        fit(make_network(), make_data(), rule=Still(), callbacks=[Proximal(L1(0.1))], verbose=False)


def _norms_after_each_step(callback, steps=6):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight[:4] *= 0.01
    seen = []

    class Watch(Callback):
        order = 100

        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            seen.append([model[i].weight.detach().clone() for i in (0, 2)])

    fit(model, make_data(), rule=Backprop("sgd", lr=0.5), epochs=3, batch_size=20,
        callbacks=[callback, Watch()], verbose=False)  # fmt: skip
    return seen


@pytest.mark.parametrize("dim", [0, 1])
def test_no_unit_is_longer_than_c_after_any_step(dim):
    seen = _norms_after_each_step(MaxNorm(0.5, dim=dim))
    assert len(seen) == 6
    for weights in seen:
        for weight in weights:
            lengths = weight.norm(dim=1 - dim)
            assert (lengths <= 0.5 + 1e-6).all()
    # It binds: some unit lies on the sphere.
    assert max(w.norm(dim=1 - dim).max() for w in seen[-1]) > 0.5 - 1e-3


def test_shorter_units_are_left_alone_and_longer_ones_keep_their_direction():
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4], [0.1, 0.2]]))
        model[1].weight.copy_(torch.tensor([[1.0, 1, 1, 1], [0.1, 0, 0, 0]]).reshape(2, 1, 2, 2))
    trainer = type("Trainer", (), {"model": model})
    MaxNorm(1.0).on_train_batch_end(trainer, None, None, 0)
    expected = torch.tensor([[0.6, 0.8], [0.1, 0.2]])
    torch.testing.assert_close(model[0].weight.detach(), expected)
    flat = model[1].weight.detach().flatten(1)
    torch.testing.assert_close(flat, torch.tensor([[0.5] * 4, [0.1, 0, 0, 0]]))


def test_the_global_scope_is_one_ball_around_all_weights():
    for first, second in _norms_after_each_step(MaxNorm(0.7, scope="global")):
        assert torch.cat([first.flatten(), second.flatten()]).norm() <= 0.7 + 1e-6
    model = nn.Linear(2, 2)
    weight = model.weight.detach().clone()
    MaxNorm(100.0, scope="global").on_train_batch_end(
        type("Trainer", (), {"model": model}), None, None, 0
    )
    assert (model.weight == weight).all()


def test_averages_are_taken_of_the_constrained_weights():
    assert EMA.order > MaxNorm.order > Proximal.order


def test_constraints_out_of_range_are_errors(unchecked):
    with pytest.raises(ValueError, match="c must be positive, got 0"):
        MaxNorm(0)
    with pytest.raises(ValueError, match="scope must be 'unit' or 'global', got 'layer'"):
        MaxNorm(1.0, scope="layer")
