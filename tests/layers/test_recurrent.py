"""`Recurrent`: torch's fused layers, our loop, lengths, directions, layers, dropout."""

import copy
import itertools

import pytest
import torch
from torch import nn

from neurarium.layers import recurrent
from neurarium.layers.recurrent import CELLS, LSTMCell, Recurrent, record_states

FUSED = ["rnn", "rnn:activation=relu", "lstm", "gru"]
B, T, I, H = 4, 7, 3, 5  # noqa: E741


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def batch(dtype=torch.float64):
    return torch.randn(B, T, I, dtype=dtype), torch.tensor([7, 3, 1, 5])


def both(cell, layers=1, bidirectional=False, **options):
    """The same weights in torch's kernel and in our loop."""
    fast = Recurrent(cell, I, H, layers, bidirectional, **options).double()
    slow = Recurrent(cell, I, H, layers, bidirectional, fused=False, **options).double()
    slow.load_state_dict(fast.state_dict())
    return fast, slow


def peer(cell, layers, bidirectional):
    """torch's own module for `cell`."""
    kind = {"r": nn.RNN, "l": nn.LSTM, "g": nn.GRU}[cell[0]]
    more = {"nonlinearity": "relu"} if "relu" in cell else {}
    return kind(I, H, layers, batch_first=True, bidirectional=bidirectional, **more).double()


def flat(states):
    return torch.cat([part.flatten() for state in states for part in state])


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "fused"),
    [*itertools.product(FUSED, (1, 2), (False, True), (True, False))],
)
def test_weights_of_torch_give_torchs_outputs_and_states(cell, layers, bidirectional, fused):
    theirs = peer(cell, layers, bidirectional)
    ours = Recurrent(cell, I, H, layers, bidirectional, fused=fused).double()
    ours.load_state_dict(theirs.state_dict())
    x, _ = batch()
    expected, last = theirs(x)
    out, states = ours(x)
    torch.testing.assert_close(out, expected)
    last = last if isinstance(last, tuple) else (last,)
    for i, state in enumerate(states):  # torch's order: layer by layer, direction by direction
        for part, whole in zip(state, last, strict=True):
            torch.testing.assert_close(part, whole[i])


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional"), [*itertools.product(FUSED, (1, 2), (False, True))]
)
def test_loop_equals_the_fused_layer_with_lengths_and_gradients(cell, layers, bidirectional):
    fast, slow = both(cell, layers, bidirectional)
    x, length = batch()
    results = []
    for model in (fast, slow):
        inputs = x.clone().requires_grad_()
        out, states = model(inputs, length)
        loss = out.square().sum() + flat(states).sin().sum()
        loss.backward()
        results.append((out, flat(states), model.summary(out, length), inputs.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
    slow.load_state_dict({k: p.grad for k, p in fast.named_parameters()})
    for name, p in slow.named_parameters():
        torch.testing.assert_close(p.grad, p.data, msg=name)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cell", FUSED)
def test_states_go_on_where_they_ended(cell, fused):
    model = Recurrent(cell, I, H, layers=2, fused=fused).double()
    x, _ = batch()
    whole, last = model(x)
    first, states = model(x[:, :3])
    second, states = model(x[:, 3:], None, states)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(flat(states), flat(last))


VARIANTS = [f"lstm:{o}" for o in ("peephole=true", "coupled=true", "without=f", "norm=layer")]
VARIANTS += [
    "lstm:full_recurrence=true",
    "gru:reset=before",
    "gru:keep=1-z",
    "jordan:output_size=4",
]
EVERY = [*CELLS, *VARIANTS]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", EVERY)
def test_padding_changes_nothing(cell, bidirectional):
    model = Recurrent(cell, I, H, layers=2, bidirectional=bidirectional).double()
    x, length = batch()
    for b, n in enumerate(length.tolist()):
        x[b, n:] = torch.nan  # whatever it is
    x.requires_grad_()
    out, states = model(x, length)
    for b, n in enumerate(length.tolist()):
        alone, state = model(x[b : b + 1, :n].detach())
        torch.testing.assert_close(out[b, :n], alone[0])
        assert (out[b, n:] == 0).all()
        torch.testing.assert_close(model.summary(out, length)[b], model.summary(alone)[0])
        for mixed, own in zip(states, state, strict=True):
            for part, part_alone in zip(mixed, own, strict=True):
                torch.testing.assert_close(part[b], part_alone[0])
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("cell", EVERY)
def test_no_output_depends_on_the_future(cell):
    model = Recurrent(cell, I, H).double()
    x, _ = batch()
    x.requires_grad_()
    out, _ = model(x)
    (grad,) = torch.autograd.grad(out[:, 3].sum(), x)
    assert (grad[:, 4:] == 0).all()
    assert (grad[:, :4] != 0).any(2).all()


@pytest.mark.parametrize("cell", EVERY)
def test_gradients_of_every_cell(cell):
    model = Recurrent(cell, 2, 3, fused=False).double()
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model(x)[0], x)


def test_rnn_without_squashing_is_a_convolution():
    # h_t = W h_{t-1} + U x_t, so h_t = sum_k W^k U x_{t-k}.
    model = Recurrent("rnn:activation=identity", I, H).double()
    cell = model.stack[0].cells[0]
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)
    x, _ = batch()
    powers = [torch.linalg.matrix_power(cell.weight_hh, k) @ cell.weight_ih for k in range(T)]
    expected = torch.stack(
        [sum(x[:, t - k] @ powers[k].T for k in range(t + 1)) for t in range(T)], 1
    )
    torch.testing.assert_close(model(x)[0], expected)


def test_two_directions_are_two_passes():
    model = Recurrent("gru", I, H, bidirectional=True).double()
    forth, back = (Recurrent("gru", I, H).double() for _ in range(2))
    weights = model.state_dict()
    forth.load_state_dict({k: v for k, v in weights.items() if "reverse" not in k})
    back.load_state_dict({k[: -len("_reverse")]: v for k, v in weights.items() if "reverse" in k})
    x, length = batch()
    out, _ = model(x, length)
    for b, n in enumerate(length.tolist()):
        one = x[b : b + 1, :n]
        halves = forth(one)[0], back(one.flip(1))[0].flip(1)
        torch.testing.assert_close(out[b : b + 1, :n], torch.cat(halves, 2))


def test_a_palindrome_read_with_tied_weights_is_symmetric():
    model = Recurrent("lstm", I, H, bidirectional=True).double()
    weights = model.state_dict()
    model.load_state_dict({k: weights[k.removesuffix("_reverse")] for k in weights})
    x, _ = batch()
    out, _ = model(torch.cat([x, x.flip(1)], 1))
    forth, back = out.chunk(2, 2)
    torch.testing.assert_close(forth, back.flip(1))


@pytest.mark.parametrize("lengths", [None, [7, 3, 1, 5]])
def test_a_summary_is_the_state_in_which_each_direction_ends(lengths):
    model = Recurrent("gru", I, H, bidirectional=True).double()
    length = None if lengths is None else torch.tensor(lengths)
    out, ((forward,), (backward,)) = model(batch()[0], length)
    torch.testing.assert_close(model.summary(out, length), torch.cat([forward, backward], 1))


@pytest.mark.parametrize("features", [I, H])
def test_layers_are_modules_one_after_the_other(features):
    deep = Recurrent("gru", features, H, layers=3, residual=True).double()
    _, length = batch()
    x = y = torch.randn(B, T, features, dtype=torch.float64)
    for i, layer in enumerate(deep.stack):
        single = Recurrent("gru", y.shape[2], H).double()
        single.load_state_dict({k.removeprefix("rnn."): v for k, v in layer.state_dict().items()})
        out, _ = single(y, length)
        y = out + y if i else out
    torch.testing.assert_close(deep(x, length)[0], y)


def test_a_pyramid_halves_the_steps_and_reaches_its_pairs():
    model = Recurrent("gru", I, H, layers=3, pyramid=2).double()
    x, length = batch()
    out, _ = model(x, length)
    assert out.shape == (B, 2, H)  # 7 -> 4 -> 2
    assert model.lengths(length).tolist() == [2, 1, 1, 2]  # 7, 3, 1, 5
    x.requires_grad_()
    (grad,) = torch.autograd.grad(model(x)[0][:, 0].sum(), x)
    assert (grad[:, 4:] == 0).all()
    assert (grad[:, 3] != 0).any()
    for b, n in enumerate(length.tolist()):
        alone, _ = model(x[b : b + 1, :n])
        torch.testing.assert_close(out[b, : alone.shape[1]], alone[0])


def test_deeper_transitions_squash_between_the_steps():
    model = Recurrent("rnn", I, H, transition=3).double()
    cell = model.stack[0].cells[0]
    assert len(cell.deeper) == 2  # with the cell's own step three
    x, _ = batch()
    h = torch.zeros(B, H, dtype=torch.float64)
    for t in range(T):
        (h,) = cell.cell.step(cell.cell.project(x[:, t]), (h,))
        for layer in cell.deeper:
            h = torch.tanh(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(model(x)[0][:, -1], h)


def test_an_empty_row_gives_zeros_and_keeps_its_state():
    for fused in (True, False):
        model = Recurrent("lstm", I, H, bidirectional=True, fused=fused).double()
        x, length = batch()
        length[2] = 0
        given = [tuple(torch.randn(B, H).double() for _ in range(2)) for _ in range(2)]
        out, states = model(x, length, given)
        assert (out[2] == 0).all()
        assert (model.summary(out, length)[2] == 0).all()
        for state, before in zip(states, given, strict=True):
            for part, old in zip(state, before, strict=True):
                torch.testing.assert_close(part[2], old[2])
                assert not torch.equal(part[0], old[0])


def test_one_dropout_mask_serves_a_whole_sequence():
    # With weights 1 and no squashing, h_t = m h_{t-1} + n x_t shows the masks m and n themselves.
    model = Recurrent("rnn:activation=identity", 1, 1, recurrent_dropout=0.5).double()
    cell = model.stack[0].cells[0]
    for p, value in zip(cell.parameters(), (1.0, 1.0, 0.0, 0.0), strict=True):
        nn.init.constant_(p, value)
    x = torch.ones(200, 5, 1, dtype=torch.float64)
    out = model(x)[0].squeeze(2)
    n = out[:, 0]
    assert set(n.tolist()) == {0.0, 2.0}
    m = ((out[:, 1] - n) / n)[n > 0]
    assert set(m.tolist()) == {0.0, 2.0}
    for t in range(1, 5):
        torch.testing.assert_close(out[n > 0, t], m * out[n > 0, t - 1] + n[n > 0])
    assert torch.equal(model.eval()(x)[0], model(x)[0])
    assert model(x)[0][0, -1].item() == 5


def test_zoneout_keeps_units_and_its_expectation():
    model = Recurrent("rnn", I, H, zoneout=0.3).double()
    plain = Recurrent("rnn", I, H, fused=False).double()
    plain.load_state_dict(model.state_dict())
    x = torch.randn(1, 1, I).double().expand(20000, 1, I)
    start = [(torch.full((20000, H), 0.7, dtype=torch.float64),)]
    (fresh,) = plain(x[:1], None, [(start[0][0][:1],)])[1][0]
    zoned = model(x, None, start)[1][0][0]
    kept = zoned == 0.7
    torch.testing.assert_close(zoned[~kept], fresh.expand(20000, H)[~kept])
    assert abs(kept.double().mean().item() - 0.3) < 0.006
    model.eval()
    torch.testing.assert_close(model(x, None, start)[1][0][0][:1], 0.3 * 0.7 + 0.7 * fresh)


def test_zoneout_of_output_and_memory_may_differ():
    model = Recurrent("lstm", I, H, zoneout=(0.0, 0.999999)).double()
    x, _ = batch()
    _, ((h, c),) = model(x)
    assert (c == 0).all()
    assert (h != 0).any()


def test_states_of_a_fused_layer_are_recorded():
    model = Recurrent("lstm", I, H, layers=2, bidirectional=True).double()
    x, length = batch()
    expected, _ = model(x, length)
    with record_states() as traces:
        out, _ = model(x, length)
    torch.testing.assert_close(out, expected)
    assert [(len(t.states), t.reverse) for t in traces] == [(8, False), (8, True)] * 2
    hidden = torch.stack([s[0] for s in traces[2].states[1:]], 1)
    torch.testing.assert_close(hidden[0], out[0, :, :H])
    with record_states() as traces:
        assert traces == []
    model(x)
    assert traces == []


def test_recording_leaves_the_random_state_alone():
    model = Recurrent("gru", I, H)
    before = torch.random.get_rng_state()
    with record_states():
        model(torch.randn(1, 2, I, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_copy_and_a_saved_state_are_the_same_network():
    model = Recurrent("lstm:peephole=true", I, H, layers=2, bidirectional=True)
    twin = Recurrent("lstm:peephole=true", I, H, layers=2, bidirectional=True)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(B, T, I)
    assert torch.equal(model(x)[0], twin(x)[0])
    assert torch.equal(copy.deepcopy(model)(x)[0], twin(x)[0])


def test_the_forget_gate_starts_open_by_one_bias_alone():
    for fused in (True, False):
        state = Recurrent("lstm", I, H, forget_bias=1.5, fused=fused).state_dict()
        biases = [v.view(4, H) for k, v in state.items() if "bias" in k]
        assert (biases[0][1] == 1.5).all()
        assert (biases[1][1] == 0).all()
        assert (biases[0][0] != 1.5).all()


def test_a_cell_of_ones_own(unchecked):
    class Average(recurrent.Cell):
        def project(self, x):
            return x.mean(-1, keepdim=True)

        def step(self, u, state):
            return (0.5 * state[0] + 0.5 * u,)

    model = Recurrent(Average, I, 1)
    x = torch.ones(1, 3, I)
    assert model(x)[0].flatten().tolist() == [0.5, 0.75, 0.875]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be a probability below 1, got 1.0"),
        ({"zoneout": (0.1, 2.0)}, "zoneout must be a probability below 1, got 2.0"),
        ({"layers": 2, "residual": True, "pyramid": 2}, "residual adds each layer's input"),
        ({"cell": "gru:before"}, "'gru:before' gives before without a name"),
        ({"cell": "lsmt"}, "unknown cell 'lsmt'; did you mean lstm"),
    ],
)
def test_options_that_make_no_network(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        Recurrent(**{"cell": "gru", "input_size": I, "hidden_size": H, **options})


def test_inputs_that_make_no_sequence(unchecked):
    model = Recurrent("gru", I, H)
    with pytest.raises(ValueError, match="has no step; pad empty sequences"):
        model(torch.zeros(2, 0, I))
    with pytest.raises(ValueError, match="length must lie between 0 and the 4 steps"):
        model(torch.zeros(2, 4, I), torch.tensor([5, 1]))


def test_memory_alone_carries_its_gradient_unchanged():
    # f = 1 and i = 0: the constant error carousel.
    cell = LSTMCell(I, H).double()
    with torch.no_grad():
        for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh):
            p.zero_()
        cell.bias_ih[:H], cell.bias_ih[H : 2 * H] = -800.0, 800.0
    model = Recurrent(lambda i, h: cell, I, H)
    c = torch.randn(1, H).double()
    x = torch.randn(1, 50, I).double()

    def last(c):
        return model(x, None, [(torch.zeros_like(c), c)])[1][0][1]

    assert torch.equal(last(c), c)
    jacobian = torch.autograd.functional.jacobian(last, c).view(H, H)
    assert torch.equal(jacobian, torch.eye(H).double())
