"""Schedules equal torch's own, step by step."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from neurarium.optim import constant, cosine, linear, one_cycle, step_decay, warmup

TOTAL = 1000


def torch_rates(make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(TOTAL - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (one_cycle, lambda o: lr_scheduler.OneCycleLR(o, 1.0, TOTAL)),
        (cosine, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
        (lambda s, t: cosine(s, t, 0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, 0.1)),
        (lambda s, t: linear(s, t, 0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, TOTAL)),
        (constant, lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (lambda s, t: step_decay(s, t, 0.5, 4), lambda o: lr_scheduler.StepLR(o, 250, 0.5)),
    ],
    ids=["one_cycle", "cosine", "cosine-final", "linear", "constant", "step_decay"],
)
def test_a_schedule_equals_torchs(ours, theirs):
    expected = torch_rates(theirs)
    assert max(abs(ours(s, TOTAL) - r) for s, r in enumerate(expected)) < 1e-12


def test_warmup_rises_in_a_line_and_hands_over():
    rates = [warmup(s, 50, steps=10, then=cosine) for s in range(50)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[10:] == pytest.approx([(1 + math.cos(math.pi * s / 40)) / 2 for s in range(40)])


@pytest.mark.parametrize("total", [1, 2, 3, 5])
def test_one_cycle_is_finite_on_the_shortest_runs(total):
    assert all(0 < one_cycle(s, total) <= 1 for s in range(total))
