"""Where the states are the network's own, freeing them changes nothing."""

import torch
from torch.nn import functional as F

from neurarium.recipes.learning.tp_language_model import Recurrent, lifted, surprise


def make():
    torch.manual_seed(0)
    codes = torch.randint(7, (4, 6))
    return Recurrent(7, 5).double(), {"input": codes[:, :-1], "target": codes[:, 1:]}


def test_at_the_networks_own_states_the_value_is_the_loss_through_time():
    model, batch = make()
    states = model(batch["input"])
    h, nats = torch.zeros(4, 5).double(), 0.0
    for t in range(5):
        symbol = F.one_hot(batch["input"][:, t], 7).double() @ model.symbol.weight
        h = torch.tanh(h @ model.recurrent.weight.T + model.recurrent.bias + symbol)
        nats += F.cross_entropy(model.out(h), batch["target"][:, t]) / 5
    torch.testing.assert_close(lifted(model, states, batch, 3.0), nats)
    torch.testing.assert_close(surprise(model, states, batch), nats)


def test_off_them_it_has_the_squared_distance_besides():
    model, batch = make()
    states = model(batch["input"]).detach()
    states[0, -1, 2] += 0.5  # the last state has none after it
    expected = surprise(model, states, batch) + 3.0 * 0.25 / 20
    torch.testing.assert_close(lifted(model, states, batch, 3.0), expected)


def test_a_small_move_of_one_state_gives_the_weights_their_gradient_through_time():
    # Moved by -a times the loss's slope, the last state asks of the weights that make it
    # 2 mu a times what backpropagation does.
    model, batch = make()
    batch = {name: codes[:, :1] for name, codes in batch.items()}
    states = model(batch["input"])
    (exact,) = torch.autograd.grad(surprise(model, states, batch), model.recurrent.bias)
    states = states.detach().requires_grad_()
    (slope,) = torch.autograd.grad(4 * surprise(model, states, batch), states)
    moved = states.detach() - 0.1 * slope
    (found,) = torch.autograd.grad(lifted(model, moved, batch, 3.0), model.recurrent.bias)
    torch.testing.assert_close(found, 2 * 3.0 * 0.1 * exact)
