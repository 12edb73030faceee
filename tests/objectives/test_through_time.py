import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.layers.recurrent import recurrent_
from neurarium.networks import SequenceTagger
from neurarium.objectives import ActivationL2, VanishingGradientPenalty, per_step


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch(rows=3, steps=6):
    return {"input": torch.randn(rows, steps, 2), "target": torch.randint(4, (rows, steps))}


def linear(scale):
    model = SequenceTagger(2, 4, cell="rnn:activation=identity", hidden=5)
    recurrent_(model.recurrent, "orthogonal")
    (cell,) = model.recurrent.cells()
    with torch.no_grad():
        cell.weight_hh.mul_(scale)
    return model, cell


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_a_scaled_rotation_is_priced_by_its_scale_at_every_step(scale):
    # Each of the 5 steps between 6 states multiplies the gradient's length by `scale`.
    model, _ = linear(scale)
    found = VanishingGradientPenalty(per_step(), 0.3)(model, batch())
    assert found["vanishing"].item() == pytest.approx(5 * (scale - 1) ** 2, abs=1e-12)
    plain = found["loss"] - 0.3 * found["vanishing"]
    assert plain.item() == pytest.approx(found["loss"].item() - 0.3 * 5 * (scale - 1) ** 2)


@pytest.mark.parametrize("fused", [True, False])
def test_price_and_gradient_by_a_loop_over_rows_and_steps(fused):
    model = SequenceTagger(2, 4, cell="rnn", hidden=5)
    if not fused:
        model.recurrent = type(model.recurrent)("rnn", 2, 5, fused=False)
    (cell,) = model.recurrent.cells()
    data = batch()
    states = [torch.zeros(3, 5)]
    for t in range(6):
        states.append(cell.step(cell.project(data["input"][:, t]), (states[-1],))[0])
    logits = model.out(torch.stack(states[1:], 1))
    loss = F.cross_entropy(logits.flatten(0, 1), data["target"].flatten())
    slopes = torch.autograd.grad(loss, states[1:], retain_graph=True)
    W = cell.weight_hh.detach().clone().requires_grad_()
    price = torch.zeros(())
    for k in range(1, 6):
        u = cell.project(data["input"][:, k]).detach()
        for row in range(3):
            slope = slopes[k][row].detach()
            h = torch.tanh(u[row] + W @ states[k][row].detach())
            back = (slope * (1 - h**2)) @ W
            price = price + (back.norm() / slope.norm() - 1) ** 2 / 3
    found = VanishingGradientPenalty(per_step())(model, data)
    torch.testing.assert_close(found["vanishing"], price)
    torch.testing.assert_close(found["loss"], loss + price)
    (expected,) = torch.autograd.grad(price, W)
    weight = next(p for n, p in model.named_parameters() if "weight_hh" in n)
    (gradient,) = torch.autograd.grad(found["vanishing"], weight)
    torch.testing.assert_close(gradient, expected)


def test_output_and_memory_of_an_lstm_are_apart():
    # 3 steps: what the last two do to (h, c), from the Jacobian of a step by brute force.
    model, data = SequenceTagger(2, 4, cell="lstm", hidden=3), batch(1, 3)
    (cell,) = model.recurrent.cells()
    us = cell.project(data["input"][0]).detach()

    def step(u, state):
        h, c = cell.step(u[None], (state[None, :3], state[None, 3:]))
        return torch.cat([h[0], c[0]])

    states = [torch.zeros(6)]
    for u in us:
        states.append(step(u, states[-1]).detach())

    def loss_from(k, state):
        logits = [model.out(state[:3])]
        for u in us[k:]:
            state = step(u, state)
            logits.append(model.out(state[:3]))
        return F.cross_entropy(torch.stack(logits), data["target"][0, k - 1 :], reduction="sum") / 3

    price = torch.zeros(())
    for k in (1, 2):
        slope = torch.func.grad(lambda s, k=k: loss_from(k + 1, s))(states[k + 1])
        J = torch.func.jacrev(lambda s, k=k: step(us[k], s))(states[k])
        price += ((slope @ J).norm() / slope.norm() - 1) ** 2
    found = VanishingGradientPenalty(per_step())(model, data)["vanishing"]
    torch.testing.assert_close(found, price)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gated_cells_padding_and_judging(cell):
    model, data = SequenceTagger(2, 4, cell=cell, hidden=3), batch(2, 5)
    objective = VanishingGradientPenalty(per_step())
    padded = {
        "input": F.pad(data["input"], (0, 0, 0, 2), value=9.0),
        "target": F.pad(data["target"], (0, 2)), "length": torch.tensor([5, 5]),
    }  # fmt: skip
    expected = objective(model, data)["vanishing"]
    assert expected > 0
    torch.testing.assert_close(objective(model, padded)["vanishing"], expected)
    with torch.no_grad():
        assert objective(model, data).keys() == {"loss", "accuracy"}


def test_paying_brings_the_gradients_length_back():
    model, _ = linear(0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    objective, data = VanishingGradientPenalty(per_step(), 1.0), batch()
    first = objective(model, data)["vanishing"].item()
    for _ in range(20):
        optimizer.zero_grad()
        objective(model, data)["loss"].backward()
        optimizer.step()
    assert objective(model, data)["vanishing"] < 0.3 * first


def test_activation_and_change_by_hand():
    model, data = SequenceTagger(2, 4, cell="gru", hidden=3), batch(2, 4)
    data["length"] = torch.tensor([4, 2])
    h, _ = model.recurrent(data["input"], data["length"])
    real = [(0, t) for t in range(4)] + [(1, t) for t in range(2)]
    activation = torch.stack([h[i, t].square().mean() for i, t in real]).mean()
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0)]
    change = torch.stack([(h[i, t + 1] - h[i, t]).square().mean() for i, t in pairs]).mean()
    found = ActivationL2(per_step(), ar=2.0, tar=3.0)(model, data)
    torch.testing.assert_close(found["activation"], activation)
    torch.testing.assert_close(found["change"], change)
    expected = per_step()(model, data) + 2 * activation + 3 * change
    torch.testing.assert_close(found["loss"], expected)
    with torch.no_grad():
        plain = ActivationL2(per_step())(model, data)
        assert plain["loss"] == per_step()(model, data)["loss"]


def test_the_mask_keeps_the_expectation_of_activation_over_its_keep_rate():
    # E (m h / (1 - p))^2 = h^2 / (1 - p)
    model, data = SequenceTagger(2, 4, cell="gru", hidden=40), batch(40, 10)
    plain = ActivationL2(per_step())(model, data)["activation"]
    masked = ActivationL2(per_step(), dropout=0.5)(model, data)["activation"]
    assert masked.item() == pytest.approx(2 * plain.item(), rel=0.05)


def test_networks_without_states_are_told(unchecked):
    data = {"input": torch.randn(2, 3, 2), "target": torch.randint(2, (2, 3))}
    for objective in (VanishingGradientPenalty, ActivationL2):
        with pytest.raises(ValueError, match=r"Linear has no layers.Recurrent"):
            objective(per_step())(nn.Linear(2, 2), data)
    with pytest.raises(ValueError, match="weight must be positive, got 0"):
        VanishingGradientPenalty(per_step(), 0)
