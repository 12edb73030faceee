import pytest
import torch

from neurarium.learning import Backprop, BackpropThroughTime, RealTimeRecurrent
from neurarium.networks import LanguageModel, SequenceTagger
from neurarium.objectives import per_step


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch(length=None):
    found = {"input": torch.randn(3, 6, 2), "target": torch.randint(4, (3, 6))}
    return found if length is None else {**found, "length": torch.tensor(length)}


def gradients(model, batch):
    per_step()(model, batch).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return found


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "jordan"])
@pytest.mark.parametrize("length", [None, [6, 2, 4]])
def test_what_is_carried_forward_is_the_gradient_through_time(cell, length):
    model = SequenceTagger(2, 4, cell=cell, hidden=4)
    data = batch(length)
    expected = gradients(model, data)
    rule = RealTimeRecurrent("sgd", lr=1.0)
    rule.bind(model, per_step())
    told = rule.estimate(data)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(told["loss"], per_step()(model, data).detach(), atol=1e-12, rtol=0)


def test_two_layers_and_an_embedding():
    model = LanguageModel(5, width=3, hidden=4, cell="gru", layers=2)
    data = {"input": torch.randint(5, (2, 5)), "target": torch.randint(5, (2, 5))}
    expected = gradients(model, data)
    rule = RealTimeRecurrent("sgd", lr=1.0)
    rule.bind(model, per_step())
    rule.estimate(data)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-12, rtol=1e-10)


def test_a_step_is_backprops():
    torch.manual_seed(0)
    ours, theirs = (SequenceTagger(2, 4, cell="rnn", hidden=3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    data = batch()
    for model, rule in ((ours, RealTimeRecurrent), (theirs, Backprop)):
        made = rule("adam", lr=0.01, max_grad_norm=0.1)
        made.bind(model, per_step())
        for _ in range(3):
            made.step(data)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_online_it_moves_at_every_step_and_looks_further_back_than_a_window_of_one():
    data = batch()
    moved = {}
    for name in ("real time", "window of 1"):
        torch.manual_seed(0)
        model = SequenceTagger(2, 4, cell="rnn", hidden=3)
        rate = 1e-6  # so small that the weights of all steps are alike
        rule = (
            RealTimeRecurrent("sgd", lr=rate, online=True)
            if name == "real time"
            else BackpropThroughTime("sgd", lr=rate, window=1)
        )
        rule.bind(model, per_step())
        start = [p.detach().clone() for p in model.parameters()]
        expected = gradients(model, data)
        rule.step(data)
        assert rule.descent.steps == 6
        ends = zip(model.parameters(), start, strict=True)
        moved[name] = [(b - a.detach()) / rate / 6 for a, b in ends]
    errors = {
        name: max(float((a - b).abs().max()) for a, b in zip(m, expected.values(), strict=True))
        for name, m in moved.items()
    }
    assert errors["real time"] < 1e-4
    assert errors["window of 1"] > 1e-3


def test_what_cannot_be_carried_forward_is_refused(unchecked):
    rule = RealTimeRecurrent("sgd", lr=1.0)
    with pytest.raises(ValueError, match="step by step, which Linear cannot"):
        rule.bind(torch.nn.Linear(2, 2), per_step())
    with pytest.raises(ValueError, match="forward only"):
        rule.bind(SequenceTagger(2, 4, bidirectional=True), per_step())
    with pytest.raises(ValueError, match=r"draws at random \(dropout=0.5\)"):
        rule.bind(SequenceTagger(2, 4, dropout=0.5), per_step())
