"""Through time: deltas by hand, windows as cut edges, states carried from batch to batch."""

import copy

import pytest
import torch
from torch import nn

from neurarium.data import Data, streams
from neurarium.layers.recurrent import LSTMCell, RNNCell
from neurarium.learning import Backprop, BackpropThroughTime, bptt_gradients
from neurarium.networks import LanguageModel, SequenceTagger
from neurarium.objectives import per_step
from neurarium.training import fit

STILL = 1e-30  # a rate that moves nothing


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", [RNNCell, LSTMCell])
def test_deltas_by_hand_are_autograds(kind):
    cell, out = kind(3, 4).double(), nn.Linear(4, 5).double()
    x, y = torch.randn(9, 3).double(), torch.randint(5, (9,))
    state, states = cell.initial_state(1, x), []
    for x_t in x:
        h, state = cell(x_t[None], state)
        states.append(h)
    nn.functional.cross_entropy(out(torch.cat(states)), y, reduction="sum").backward()
    by_hand = bptt_gradients(cell, out.weight, out.bias, x, y)
    for name, grad in (
        ("weight_ih", cell.weight_ih.grad),
        ("weight_hh", cell.weight_hh.grad),
        ("bias", cell.bias_ih.grad),
        ("bias", cell.bias_hh.grad),
        ("V", out.weight.grad),
        ("c", out.bias.grad),
    ):
        torch.testing.assert_close(by_hand[name], grad, rtol=0, atol=1e-12)


def tagger(cell="gru"):
    return SequenceTagger(2, 3, cell=cell, hidden=4).double()


def batch(steps=12, rows=4):
    x, y = torch.randn(rows, steps, 2).double(), torch.randint(3, (rows, steps))
    return {"input": x, "target": y}


def gradients(model, rule, *batches):
    """The gradient before each step of the weights."""
    found = []

    def hear(event, *_):
        if event == "on_after_backward":
            found.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))

    rule.bind(model, per_step())
    rule.notify = hear
    for one in batches:
        rule.step(one)
    return found


@pytest.mark.parametrize("window", [None, 12, 100])
def test_a_window_as_long_as_the_sequence_is_backprop(window):
    model, one = tagger(), batch()
    one["length"] = torch.tensor([12, 3, 7, 1])
    (ours,) = gradients(model, BackpropThroughTime("sgd", STILL, window=window), one)
    (full,) = gradients(model, Backprop("sgd", STILL), one)
    torch.testing.assert_close(ours, full)


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (6, 3), (5, None), (8, 4)])
def test_windows_are_the_full_graph_with_its_edges_cut(window, stride):
    model, one = tagger("lstm"), batch()
    rule = BackpropThroughTime("sgd", STILL, window=window, stride=stride)
    found = gradients(model, rule, one)
    stride = stride or window
    expected = []
    for begin in range(0, 12, stride):
        end, cut = min(begin + stride, 12), max(0, begin + stride - window)
        state = None
        if cut:
            with torch.no_grad():
                _, state = model.unroll(one["input"][:, :cut])
        out, _ = model.unroll(one["input"][:, cut:end], None, state)
        part = out[:, begin - cut :].flatten(0, 1), one["target"][:, begin:end].flatten()
        model.zero_grad()
        nn.functional.cross_entropy(*part).backward()
        expected.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        model.zero_grad()
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_lengths_end_inside_and_before_a_window():
    model, one = tagger(), batch()
    one["length"] = torch.tensor([12, 3, 7, 5])
    found = gradients(model, BackpropThroughTime("sgd", STILL, window=4), one)
    with torch.no_grad():
        _, state = model.unroll(one["input"][:, :4], one["length"].clamp(max=4))
    part = {"input": one["input"][:, 4:8], "target": one["target"][:, 4:8].clone()}
    left = torch.tensor([4, 0, 3, 1])
    part["target"][torch.arange(4) >= left[:, None]] = -100
    out, _ = model.unroll(part["input"], left, state)
    model.zero_grad()
    nn.functional.cross_entropy(out.flatten(0, 1), part["target"].flatten()).backward()
    torch.testing.assert_close(found[1], torch.cat([p.grad.flatten() for p in model.parameters()]))


def test_carried_states_make_two_batches_one_sequence_and_start_makes_them_two():
    model, one = tagger(), batch()
    halves = [{k: v[:, i : i + 6] for k, v in one.items()} for i in (0, 6)]
    whole = gradients(model, BackpropThroughTime("sgd", STILL, window=6), one)
    carried = gradients(model, BackpropThroughTime("sgd", STILL, carry=True), *halves)
    for a, b in zip(whole, carried, strict=True):
        torch.testing.assert_close(a, b)
    anew = {"start": torch.ones(4, dtype=torch.bool)}
    marked = [halves[0] | anew, halves[1] | anew]
    reset = gradients(model, BackpropThroughTime("sgd", STILL, carry=True), *marked)
    apart = gradients(model, BackpropThroughTime("sgd", STILL), *halves)
    for a, b in zip(reset, apart, strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(carried[1], apart[1])


def test_a_checkpoint_keeps_what_is_carried():
    first, second = (batch(6) for _ in range(2))
    model, twin = tagger(), tagger()
    rule, other = (BackpropThroughTime("adam", 0.01, carry=True) for _ in range(2))
    rule.bind(model, per_step())
    rule.step(first)
    other.bind(twin, per_step())
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    assert torch.equal(rule.step(second)["loss"], other.step(second)["loss"])
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_loss_told_is_the_mean_of_all_steps():
    model, one = tagger(), batch()
    rule = BackpropThroughTime("sgd", STILL, window=5)
    rule.bind(model, per_step())
    with torch.no_grad():
        expected = per_step()(model, one)["loss"]
    torch.testing.assert_close(rule.step(one)["loss"], expected)


def test_a_schedule_knows_how_many_steps_the_windows_make():
    data = Data({k: v.float() if v.is_floating_point() else v for k, v in batch(12, 8).items()})
    rule = BackpropThroughTime("sgd", 1.0, schedule="linear", window=4)
    fit(tagger().float(), data, per_step(), rule, epochs=2, batch_size=4, verbose=False)
    assert rule.descent.steps == 2 * 2 * 3
    assert rule.descent.planned_steps == 12


def test_what_cannot_be_cut_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"window \(5\) must be a multiple of stride \(2\)"):
        BackpropThroughTime(window=5, stride=2)
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        BackpropThroughTime(window=0)
    with pytest.raises(ValueError, match="Linear cannot go on: it needs unroll"):
        BackpropThroughTime().bind(nn.Linear(2, 2), per_step())
    rule = BackpropThroughTime("sgd", 0.1, carry=True)
    rule.bind(tagger(), per_step())
    rule.step(batch(4))
    with pytest.raises(ValueError, match="got 4 rows and then 3"):
        rule.step(batch(4, rows=3))


def test_a_text_in_streams_trains_with_its_state():
    text = torch.arange(20).repeat(40) % 7
    data = Data(streams(text, rows=4, steps=10))
    run = fit(
        LanguageModel(7, 8, hidden=16), data, per_step(),
        BackpropThroughTime("adam", 0.02, carry=True), epochs=6, verbose=False, precision="32",
    )  # fmt: skip
    assert run.history["train_loss"][-1] < 0.2
