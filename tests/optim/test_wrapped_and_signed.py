"""Lookahead around any optimizer, and Lion."""

import pytest
import torch
from torch import nn

from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.optim import Lion, Lookahead, get


def start():
    return torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)


def drive(optimizer, w, steps, begin=0):
    for t in range(begin, begin + steps):
        w.grad = torch.sin(w.detach() * (t + 1)) + w.detach()
        optimizer.step()
    return w.detach().clone()


def test_every_entry_moves_by_exactly_the_rate():
    w = start()
    w.grad = torch.tensor([[1e-9, -5.0], [3.0, 0.0]], dtype=torch.float64)
    before = w.detach().clone()
    Lion([w], lr=0.25).step()
    assert torch.equal(w.detach() - before, torch.tensor([[-0.25, 0.25], [-0.25, 0]]).double())


def test_lion_is_its_equation_with_the_momentum_taken_after_the_step():
    lr, (b1, b2), decay = 0.01, (0.7, 0.95), 0.3
    w = start()
    optimizer = Lion([w], lr=lr, betas=(b1, b2), weight_decay=decay)
    ours, m = w.detach().clone(), torch.zeros_like(w)
    for t in range(30):
        g = torch.sin(ours * (t + 1)) + ours
        ours = ours - lr * ((b1 * m + (1 - b1) * g).sign() + decay * ours)
        m = b2 * m + (1 - b2) * g
        drive(optimizer, w, 1, begin=t)
        torch.testing.assert_close(w.detach(), ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("inner", ["adam:lr=0.1", "sgd:lr=0.1,momentum=0.9"])
def test_lookahead_that_follows_at_once_is_the_inner_optimizer(inner):
    a, b = start(), start()
    assert torch.equal(
        drive(Lookahead(get(inner)([a]), k=1, alpha=1.0), a, 12), drive(get(inner)([b]), b, 12)
    )


def test_slow_weights_go_part_of_the_way_every_k_steps():
    w, alone = start(), start()
    slow = w.detach().clone()
    optimizer = Lookahead(get("sgd:lr=0.1")([w]), k=3, alpha=0.25)
    for t in (0, 3, 6):
        drive(optimizer, w, 2, begin=t)
        with torch.no_grad():
            alone.copy_(slow)
        fast = drive(get("sgd:lr=0.1")([alone]), alone, 2, begin=t)
        assert torch.equal(w.detach(), fast)  # in between, the fast weights alone
        fast = drive(get("sgd:lr=0.1")([alone]), alone, 1, begin=t + 2)
        drive(optimizer, w, 1, begin=t + 2)
        slow = slow + 0.25 * (fast - slow)
        torch.testing.assert_close(w.detach(), slow, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("cut", [2, 4, 5])
def test_lookahead_restored_goes_on_to_the_same_bytes(cut, tmp_path):
    def make(w):
        return Lookahead(get("adamw:lr=0.1")([w]), k=4)

    whole, w = start(), start()
    expected = drive(make(whole), whole, 10)
    first = make(w)
    drive(first, w, cut)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(w)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(drive(second, w, 10 - cut, begin=cut), expected)
    assert second.param_groups is second.optimizer.param_groups


def test_a_loaded_lookahead_shares_no_slow_weights_with_the_one_it_came_from():
    a, b = start(), start()
    first, second = (Lookahead(get("sgd:lr=0.1")([w]), k=1) for w in (a, b))
    drive(first, a, 1)
    second.load_state_dict(first.state_dict())
    kept = first.slow[0].clone()
    drive(second, b, 3)
    assert torch.equal(first.slow[0], kept)


@pytest.mark.parametrize("kind", ["ours", "torch"])
def test_a_schedule_reaches_the_inner_optimizer_inside_backprop(kind):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    inner = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer = Lookahead(inner, k=2)
    schedule = "linear" if kind == "ours" else torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    rule = Backprop(optimizer, schedule=schedule, total_steps=4)
    rule.bind(model, supervised("cross_entropy"))
    batch, rates = {"input": torch.randn(6, 4), "target": torch.arange(6) % 3}, []
    for _ in range(3):
        rates.append(inner.param_groups[0]["lr"])
        rule.step(batch)
    assert rates == ([1.0, 0.75, 0.5] if kind == "ours" else [1.0, 0.5, 0.25])
    kept = rule.state_dict()
    rule.step(batch)
    rule.load_state_dict(kept)
    assert inner.param_groups[0]["lr"] == pytest.approx(0.25 if kind == "ours" else 0.125)


def test_nonsense_is_refused(unchecked):
    w = start()
    with pytest.raises(ValueError, match="k must be at least 1 step, got 0"):
        Lookahead(get("sgd:lr=0.1")([w]), k=0)
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\], got 0"):
        Lookahead(get("sgd:lr=0.1")([w]), alpha=0)
    with pytest.raises(ValueError, match="lr must be positive, got -1"):
        Lion([w], lr=-1)
    with pytest.raises(ValueError, match=r"betas must lie in \[0, 1\)"):
        Lion([w], betas=(0.9, 1.0))
