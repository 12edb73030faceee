"""One step of each cell: equations by hand, the conventions of the GRU, the LSTM's variants."""

import math

import pytest
import torch
from torch import nn

from neurarium.layers.recurrent import (
    CELLS,
    GRUCell,
    JordanCell,
    LSTMCell,
    MGUCell,
    MUT1Cell,
    MUT2Cell,
    MUT3Cell,
    RNNCell,
)

I, H = 3, 4  # noqa: E741


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def sigma(a):
    return 1 / (1 + math.exp(-a))


def filled(cell, value=0.5):
    """Every weight one number, so that a step can be worked by hand."""
    for p in cell.parameters():
        nn.init.constant_(p, value)
    return cell.double()


def step_by_hand(cell, x=0.3, h=0.2):
    return cell(torch.tensor([[x]]).double(), (torch.tensor([[h]]).double(),))[0].item()


@pytest.mark.parametrize(("ours", "theirs"), [(RNNCell, nn.RNNCell), (GRUCell, nn.GRUCell)])
def test_a_step_is_that_of_torchs_cell(ours, theirs):
    cell, peer = ours(I, H).double(), theirs(I, H).double()
    cell.load_state_dict(peer.state_dict())
    x, h = torch.randn(2, I).double(), torch.randn(2, H).double()
    torch.testing.assert_close(cell(x, (h,))[0], peer(x, h))
    torch.testing.assert_close(cell(x)[0], peer(x))


def test_an_lstm_step_is_that_of_torchs_cell():
    cell, peer = LSTMCell(I, H).double(), nn.LSTMCell(I, H).double()
    cell.load_state_dict(peer.state_dict())
    x, h, c = torch.randn(2, I).double(), torch.randn(2, H).double(), torch.randn(2, H).double()
    _, (h_new, c_new) = cell(x, (h, c))
    expected = peer(x, (h, c))
    torch.testing.assert_close(h_new, expected[0])
    torch.testing.assert_close(c_new, expected[1])


def test_jordan_sees_its_answer():
    # All weights 1/2, x = .3, O = .2: H = tanh(.1 + .15 + .5), O' = sigma(H/2 + .5).
    value = step_by_hand(filled(JordanCell(1, 1)))
    assert value == pytest.approx(sigma(math.tanh(0.75) / 2 + 0.5))
    cell = JordanCell(I, H, output_size=2)
    out, state = cell(torch.randn(5, I))
    assert out.shape == (5, 2)
    assert out is state[0]


def test_the_minimal_gated_unit_by_hand():
    # f = sigma(.15 + .1 + .5), candidate tanh(.15 + .5 f .2 + .5), h' = (1-f) .2 + f candidate.
    f = sigma(0.75)
    expected = (1 - f) * 0.2 + f * math.tanh(0.65 + 0.1 * f)
    assert step_by_hand(filled(MGUCell(1, 1))) == pytest.approx(expected)


def test_the_found_cells_by_hand():
    # All weights 1/2, x = .3, h = .2, equal widths, so x enters bare.
    x, h = 0.3, 0.2

    def mixed(z, r, fresh):
        return math.tanh(0.5 * r * h + fresh + 0.5) * z + h * (1 - z)

    mut1 = mixed(sigma(0.65), sigma(0.75), math.tanh(x))
    mut2 = mixed(sigma(0.75), sigma(x + 0.1 + 0.5), 0.15)
    mut3 = mixed(sigma(0.65 + math.tanh(h) / 2), sigma(0.75), 0.15)
    for cell, expected in ((MUT1Cell, mut1), (MUT2Cell, mut2), (MUT3Cell, mut3)):
        assert step_by_hand(filled(cell(1, 1))) == pytest.approx(expected), cell.__name__


@pytest.mark.parametrize("cell", [MUT1Cell, MUT2Cell])
def test_a_bare_input_is_mapped_only_where_widths_differ(cell):
    assert not list(cell(H, H).widen.parameters())
    assert cell(I, H).widen.weight.shape == (H, I)
    assert not any("widen" in name for name, _ in MUT3Cell(I, H).named_parameters())


def gru(**options):
    cell = GRUCell(I, H, **options).double()
    return cell, torch.randn(2, I).double(), torch.randn(2, H).double()


def test_keeping_z_or_one_minus_z_is_the_gates_sign():
    for reset in ("after", "before"):
        cell, x, h = gru(reset=reset, keep="z")
        flipped, *_ = gru(reset=reset, keep="1-z")
        state = {k: v.clone() for k, v in cell.state_dict().items()}
        for value in state.values():
            value[H : 2 * H] *= -1
        flipped.load_state_dict(state)
        torch.testing.assert_close(cell(x, (h,))[0], flipped(x, (h,))[0])


def test_reset_before_and_after_are_two_models_but_for_a_diagonal_matrix():
    after, x, h = gru(reset="after")
    before, *_ = gru(reset="before")
    after.bias_hh.data[2 * H :] = 0  # which lies inside the reset's product in one form only
    before.load_state_dict(after.state_dict())
    assert (after(x, (h,))[0] - before(x, (h,))[0]).abs().max() > 1e-3
    after.weight_hh.data[2 * H :] = torch.diag(torch.randn(H))
    before.load_state_dict(after.state_dict())
    torch.testing.assert_close(after(x, (h,))[0], before(x, (h,))[0])


@pytest.mark.parametrize("reset", ["after", "before"])
def test_an_open_gru_that_keeps_nothing_is_elmans_network(reset):
    cell, x, h = gru(reset=reset)
    cell.bias_ih.data[:H], cell.bias_ih.data[H : 2 * H] = 800.0, -800.0
    W, U, b = (t[2 * H :] for t in (cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh))
    torch.testing.assert_close(cell(x, (h,))[0], torch.tanh(x @ W.T + h @ U.T + b))


def test_gru_before_by_hand():
    # r = z = sigma(.15 + .1 + 1); n = tanh(.15 + .5 + .5 r .2 + .5); h' = z .2 + (1-z) n.
    z = sigma(1.25)
    expected = 0.2 * z + (1 - z) * math.tanh(1.15 + 0.1 * z)
    assert step_by_hand(filled(GRUCell(1, 1, reset="before"))) == pytest.approx(expected)


# LSTM --------------------------------------------------------------------------------------------


def lstm_by_hand(cell, x=0.3, h=0.2, c=0.4):
    """h' and c' of a cell whose weights are all one half (and LayerNorm does not matter)."""
    values = zip(cell.widths, (h, c, 0.1), strict=False)
    state = tuple(torch.full((1, width), v).double() for width, v in values)
    return [part.item() for part in cell(torch.tensor([[x]]).double(), state)[1][:2]]


A = 0.5 * 0.3 + 0.5 * 0.2 + 1.0  # what every gate is given, both biases 1/2
S, G = sigma(A), math.tanh(A)
C32 = float(torch.tensor(0.4))


@pytest.mark.parametrize(
    ("options", "c", "read"),
    [
        ({}, S * C32 + S * G, lambda c: S * math.tanh(c)),
        ({"coupled": True}, (1 - S) * C32 + S * G, lambda c: S * math.tanh(c)),
        ({"without": "f"}, C32 + S * G, lambda c: S * math.tanh(c)),
        ({"without": "i"}, S * C32 + G, lambda c: S * math.tanh(c)),
        ({"without": "o"}, S * C32 + S * G, math.tanh),
        ({"without": "g"}, S * C32 + S * A, lambda c: S * math.tanh(c)),
        ({"without": "h"}, S * C32 + S * G, lambda c: S * c),
        (
            {"without": "f", "squash": "1997"},
            C32 + S * (4 * sigma(A) - 2),
            lambda c: S * (2 * sigma(c) - 1),
        ),
        (
            {"peephole": True},
            sigma(A + 0.5 * C32) * (C32 + G),
            lambda c: sigma(A + 0.5 * c) * math.tanh(c),
        ),
        (
            {"full_recurrence": True},  # each gate also sees half of three gates of 0.1
            sigma(A + 0.15) * (C32 + G),
            lambda c: sigma(A + 0.15) * math.tanh(c),
        ),
    ],
)
def test_variants_by_hand(options, c, read):
    h_new, c_new = lstm_by_hand(filled(LSTMCell(1, 1, **options)))
    assert c_new == pytest.approx(c, abs=1e-8)
    assert h_new == pytest.approx(read(c), abs=1e-8)


def test_peepholes_of_zero_are_the_plain_cell():
    plain, peeping = LSTMCell(I, H).double(), LSTMCell(I, H, peephole=True).double()
    peeping.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, I).double()
    state = torch.randn(2, H).double(), torch.randn(2, H).double()
    torch.testing.assert_close(plain(x, state)[0], peeping(x, state)[0])


def test_coupled_gates_need_three_quarters_of_the_weights():
    count = [sum(p.numel() for p in LSTMCell(I, H, coupled=c).parameters()) for c in (False, True)]
    assert count[1] / count[0] == 0.75


def test_full_recurrence_shows_every_gate_all_gates_of_the_step_before():
    cell = LSTMCell(I, H, full_recurrence=True).double()
    x = torch.randn(2, I).double()
    _, (h, c, gates) = cell(x)
    inputs = x @ cell.weight_ih.T + cell.bias_ih + cell.bias_hh
    i, f, g, o = inputs.chunk(4, 1)
    torch.testing.assert_close(gates, torch.cat([i, f, o], 1).sigmoid())
    i, f, g, o = (inputs + h @ cell.weight_hh.T).chunk(4, 1)
    fed = (gates @ cell.weight_gg.T).chunk(3, 1)
    i, f, o = ((own + more).sigmoid() for own, more in zip((i, f, o), fed, strict=True))
    _, (h_next, c_next, _) = cell(x, (h, c, gates))
    torch.testing.assert_close(c_next, f * c + i * g.tanh())
    torch.testing.assert_close(h_next, o * c_next.tanh())


def test_a_normalized_step_by_hand():
    """Layer normalization by its definition: of each product, and of the memory that is read."""
    cell = LSTMCell(I, H, norm="layer").double()
    for norm in (cell.norm_x, cell.norm_h, cell.norm_c):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x, h, c = (torch.randn(2, n).double() for n in (I, H, H))

    def normalized(norm, z):
        centred = z - z.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight

    a = normalized(cell.norm_x, x @ cell.weight_ih.T) + cell.norm_x.bias
    a = a + normalized(cell.norm_h, h @ cell.weight_hh.T) + cell.norm_h.bias
    i, f, g, o = (a + cell.bias_ih + cell.bias_hh).chunk(4, 1)
    c_next = f.sigmoid() * c + i.sigmoid() * g.tanh()
    read = normalized(cell.norm_c, c_next) + cell.norm_c.bias
    _, (h_new, c_new) = cell(x, (h, c))
    torch.testing.assert_close(c_new, c_next)
    torch.testing.assert_close(h_new, o.sigmoid() * read.tanh())


@pytest.mark.parametrize(("options", "gate", "bias"), [({}, 1, 2.5), ({"coupled": True}, 0, -2.5)])
def test_the_forget_bias_is_the_sum_of_two(options, gate, bias):
    cell = LSTMCell(I, H, forget_bias=2.5, **options)
    total = (cell.bias_ih + cell.bias_hh).view(len(cell.gates), H)
    assert torch.equal(total[gate], torch.full((H,), bias))


def test_a_normalized_cell_ignores_the_scale_of_its_matrices():
    cell = LSTMCell(6, 8, norm="layer").double()
    x = torch.randn(3, 6).double()
    state = torch.randn(3, 8).double(), torch.randn(3, 8).double()
    before = cell(x, state)[0]
    for name in ("weight_hh", "weight_ih"):
        scaled = LSTMCell(6, 8, norm="layer").double()
        scaled.load_state_dict(
            {k: v * (5 if k == name else 1) for k, v in cell.state_dict().items()}
        )
        torch.testing.assert_close(scaled(x, state)[0], before, atol=1e-3, rtol=0)
    # No statistic is shared with the others of a batch.
    alone = cell(x[:1], (state[0][:1], state[1][:1]))[0]
    torch.testing.assert_close(alone, before[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": "x"}, "without may hold the letters"),
        ({"coupled": True, "without": "f"}, "coupled makes the forget gate"),
        ({"full_recurrence": True, "coupled": True}, "full_recurrence feeds all three gates back"),
        ({"norm": "batch"}, "norm must be 'layer' or None"),
    ],
)
def test_variants_that_contradict_each_other(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        LSTMCell(I, H, **options)


def test_gru_forms_must_exist(unchecked):
    with pytest.raises(ValueError, match="reset must be 'after' or 'before'"):
        GRUCell(I, H, reset="never")


@pytest.mark.parametrize("name", CELLS)
def test_sizes_must_be_positive(name, unchecked):
    with pytest.raises(ValueError, match="must be at least 1"):
        CELLS[name](0, H)
