"""Linear recurrences, adaptive computation, matrices that neither shrink nor stretch."""

import math

import pytest
import torch
from torch import nn

from neurarium.layers.recurrent import (
    Adaptive,
    LinearRecurrence,
    Recurrent,
    RNNCell,
    linear_scan,
    recurrent_,
)

KINDS = ["mingru", "qrnn", "lru", "s4d"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def loop(a, b):
    h, states = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 33])
def test_the_scan_is_the_loop_with_zeros_and_signs(steps, dtype):
    a, b = (torch.randn(2, steps, 3, dtype=dtype) for _ in range(2))
    a[:, steps // 2] = 0
    for t in (a, b):
        t.requires_grad_()
    torch.testing.assert_close(linear_scan(a, b), loop(a, b))
    if steps == 1:  # whose a multiplies nothing
        return
    grads = [
        torch.autograd.grad(scan(a, b).abs().square().sum(), (a, b)) for scan in (linear_scan, loop)
    ]
    for ours, slow in zip(*grads, strict=True):
        torch.testing.assert_close(ours, slow)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_of_each_kind_is_a_loop_and_causal(kind):
    layer = LinearRecurrence(3, 4, kind).double()
    x = torch.randn(2, 9, 3).double().requires_grad_()
    out = layer(x)
    torch.testing.assert_close(out, layer(x, scan=loop))
    (grad,) = torch.autograd.grad(out[:, 5].sum(), x)
    assert (grad[:, 6:] == 0).all()
    assert (grad[:, :6].abs() > 0).any(2).all()


def test_mingru_and_qrnn_by_hand():
    x = torch.randn(1, 4, 2).double()
    layer = LinearRecurrence(2, 3, "mingru").double()
    z, fresh = layer.inputs(x).chunk(2, -1)
    z, h = z.sigmoid(), torch.zeros(1, 3).double()
    for t in range(4):
        h = (1 - z[:, t]) * h + z[:, t] * fresh[:, t]
    torch.testing.assert_close(layer(x)[:, -1], h)

    layer = LinearRecurrence(2, 3, "qrnn").double()
    w, b = layer.inputs.weight, layer.inputs.bias
    h, before = torch.zeros(3).double(), torch.zeros(2).double()
    for x_t in x[0]:
        z, f, o = (w[:, :, 0] @ before + w[:, :, 1] @ x_t + b).chunk(3)
        h = f.sigmoid() * h + (1 - f.sigmoid()) * z.tanh()
        before = x_t
    torch.testing.assert_close(layer(x)[0, -1], o.sigmoid() * h)


def test_s4d_is_the_convolution_of_its_kernel_and_its_continuous_system():
    layer = LinearRecurrence(3, 3, "s4d").double()
    x = torch.randn(2, 12, 3).double()
    kernel = layer.kernel(12)
    expected = torch.stack(
        [sum(kernel[:, k] * x[:, t - k] for k in range(t + 1)) for t in range(12)], 1
    )
    torch.testing.assert_close(layer(x), expected + layer.D * x)
    # Zero-order hold is exact: h' = A h + x with x = 1 over a step has h = (e^{A d} - 1) / A.
    A = torch.complex(-layer.alpha.exp(), layer.beta)
    fine = torch.zeros_like(A)
    d = layer.step.exp() / 2000
    for _ in range(2000):
        fine = fine + d * (A * fine + 1)
    a, _ = layer.discrete()
    torch.testing.assert_close(fine, (a - 1) / A, rtol=5e-3, atol=1e-5)


def test_an_lru_never_explodes():
    layer = LinearRecurrence(3, 8, "lru")
    assert (torch.exp(-layer.nu.exp()) < 1).all()
    x = torch.zeros(1, 5000, 3)
    x[:, 0] = 1
    assert layer(x)[:, -1].abs().max() < 0.2


def test_kinds_must_exist(unchecked):
    with pytest.raises(ValueError, match="kind must be"):
        LinearRecurrence(2, 2, "mamba")
    with pytest.raises(ValueError, match="kind must be 'orthogonal' or 'identity'"):
        recurrent_(nn.RNN(2, 2), "zero")
    with pytest.raises(ValueError, match="Linear has no parameter weight_hh"):
        recurrent_(nn.Linear(2, 2))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "lstm:coupled=true"])
def test_every_gates_matrix_is_orthogonal(cell):
    model = Recurrent(cell, 3, 5, layers=2, bidirectional=True).double()
    recurrent_(model)
    weights = [p for name, p in model.named_parameters() if "weight_hh" in name]
    assert len(weights) == 4
    for weight in weights:
        for block in weight.split(5):
            torch.testing.assert_close(block @ block.T, torch.eye(5).double())


def test_an_identity_network_adds_up_and_keeps_its_gradient():
    model = Recurrent("rnn:activation=relu", 2, 4).double()
    recurrent_(model, "identity")
    x = torch.rand(1, 50, 2).double()
    out, _ = model(x)
    w = next(p for name, p in model.named_parameters() if "weight_ih" in name)
    assert w.abs().max() < 0.01
    w.data.abs_()
    torch.testing.assert_close(model(x)[0][:, -1], x.sum(1) @ w.T)
    assert out.shape == (1, 50, 4)
    start = torch.ones(4).double()
    last = torch.autograd.functional.jacobian(
        lambda h: model(x, None, [(h[None],)])[1][0][0][0], start
    )
    torch.testing.assert_close(last, torch.eye(4).double())


# Adaptive computation time -----------------------------------------------------------------------


def adaptive(bias=0.0, **options):
    layer = Adaptive(RNNCell(3, 4), **options).double()
    nn.init.constant_(layer.halt.bias, bias)
    return layer


def test_an_eager_cell_takes_one_step_of_the_bare_cell():
    layer = adaptive(bias=20.0)
    x = torch.randn(2, 5, 2).double()
    out, _ = layer(x)
    assert (layer.steps == 1).all()
    assert layer.ponder.item() == 5 * 2  # N = R = 1 at each of 5 steps
    bare = Recurrent(lambda i, h: layer.cell, 3, 4)
    flagged = torch.cat([x, torch.ones(2, 5, 1).double()], 2)
    torch.testing.assert_close(out, bare(flagged)[0])


def test_a_thoughtful_cell_mixes_its_steps_by_hand():
    layer = adaptive()
    nn.init.zeros_(layer.halt.weight)  # h = 1/2, 1/2: the second step reaches 1 - epsilon
    layer.halt.bias.data.fill_(-math.log(2.0))  # h = 1/3: N = 3, R = 1/3
    x, (h0,) = torch.randn(2, 2).double(), (torch.randn(2, 4).double(),)
    state, count, rest = layer.think(x, (h0,))
    h, states = h0, []
    for flag in (1.0, 0.0, 0.0):
        h, _ = layer.cell(torch.cat([x, torch.full((2, 1), flag).double()], 1), (h,))
        states.append(h)
    assert count.tolist() == [3, 3]
    torch.testing.assert_close(rest, torch.full((2,), 1 / 3).double())
    torch.testing.assert_close(state[0], sum(states) / 3)


def test_the_cost_falls_as_each_step_before_the_last_says_stop_louder():
    # rho = N + R and R = 1 - sum_{n<N} h^n, so d rho / d h^n = -1 for n < N and 0 at N.
    layer = adaptive()
    nn.init.zeros_(layer.halt.weight)
    layer.halt.bias.data.fill_(-math.log(2.0))
    _, count, rest = layer.think(torch.randn(1, 2).double(), (torch.zeros(1, 4).double(),))
    (grad,) = torch.autograd.grad((count + rest).sum(), layer.halt.bias)
    torch.testing.assert_close(grad, torch.tensor([-2 * (1 / 3) * (2 / 3)]).double())


def test_rows_stop_by_themselves_and_at_the_limit():
    layer = adaptive(max_steps=4)
    nn.init.zeros_(layer.halt.weight)
    layer.halt.bias.data.fill_(-20.0)
    _, count, rest = layer.think(torch.randn(2, 2).double(), (torch.zeros(2, 4).double(),))
    assert count.tolist() == [4, 4]
    assert rest.min() > 0.999
    layer = adaptive()
    nn.init.normal_(layer.halt.weight, std=3)
    x = torch.randn(50, 3, 2).double()
    together, _ = layer(x)
    steps = layer.steps
    assert len(steps.unique()) > 1
    alone, _ = layer(x[7:8])
    torch.testing.assert_close(together[7:8], alone)
    assert torch.equal(layer.steps, steps[7:8])


def test_a_price_on_thought_makes_it_short():
    layer = adaptive(bias=-2.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    x = torch.randn(8, 3, 2).double()
    layer(x)
    before = layer.steps.mean()
    for _ in range(40):
        layer(x)
        if (layer.steps == 1).all():  # N = R = 1 are constants
            break
        optimizer.zero_grad()
        layer.ponder.backward()
        optimizer.step()
    layer(x)
    assert before > 3
    assert layer.steps.mean() == 1


def test_adaptive_options_are_checked(unchecked):
    with pytest.raises(ValueError, match="epsilon must lie between 0 and 1"):
        adaptive(epsilon=0.0)


def test_a_row_that_has_halted_waits_for_the_others():
    torch.manual_seed(0)
    model = Adaptive(RNNCell(3, 4)).double()
    with torch.no_grad():
        model.halt.weight.mul_(8)
        model.halt.bias.fill_(-1)
    x = 3 * torch.randn(6, 5, 2).double()
    out, _ = model(x)
    assert len(model.steps.unique()) > 2
    for row, together in zip(x, out, strict=True):
        torch.testing.assert_close(model(row[None])[0][0], together)
