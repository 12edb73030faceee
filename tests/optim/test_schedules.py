"""Schedules equal torch's own, step by step."""

import itertools
import math

import pytest
import torch
from torch.optim import lr_scheduler

from neurarium.optim import (
    batch_growth,
    constant,
    cosine,
    exp_range,
    linear,
    noam,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    sgdr,
    slanted_triangular,
    step_decay,
    triangular,
    triangular2,
    warmup,
)

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


def cyclic(optimizer, mode):
    return lr_scheduler.CyclicLR(
        optimizer, 0.25, 1.0, 100, mode=mode, gamma=0.999, cycle_momentum=False
    )


def restarts(optimizer, *arguments):
    return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, *arguments)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (one_cycle, lambda o: lr_scheduler.OneCycleLR(o, 1.0, TOTAL)),
        (cosine, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
        (lambda s, t: cosine(s, t, 0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, 0.1)),
        (lambda s, t: linear(s, t, 0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, TOTAL)),
        (constant, lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (lambda s, t: step_decay(s, t, 0.5, 4), lambda o: lr_scheduler.StepLR(o, 250, 0.5)),
        (lambda s, t: triangular(s, t, 5, 0.25), lambda o: cyclic(o, "triangular")),
        (lambda s, t: triangular2(s, t, 5, 0.25), lambda o: cyclic(o, "triangular2")),
        (lambda s, t: exp_range(s, t, 5, 0.25, 0.999), lambda o: cyclic(o, "exp_range")),
        (lambda s, t: sgdr(s, t, 4, 1), lambda o: restarts(o, 250)),
        (lambda s, t: sgdr(s, 1500, 4, 2, 0.1), lambda o: restarts(o, 100, 2, 0.1)),
        (lambda s, t: polynomial(s, t, 2.0), lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 2.0)),
    ],
    ids=[
        "one_cycle", "cosine", "cosine-final", "linear", "constant", "step_decay", "triangular",
        "triangular2", "exp_range", "sgdr-equal", "sgdr-doubling", "polynomial",
    ],
)  # fmt: skip
def test_a_schedule_equals_torchs(ours, theirs):
    expected = torch_rates(theirs)
    assert max(abs(ours(s, TOTAL) - r) for s, r in enumerate(expected)) < 1e-12


def test_warmup_rises_in_a_line_and_hands_over():
    rates = [warmup(s, 50, steps=10, then=cosine) for s in range(50)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[10:] == pytest.approx([(1 + math.cos(math.pi * s / 40)) / 2 for s in range(40)])


@pytest.mark.parametrize("total", [1, 2, 3, 5])
def test_every_schedule_is_finite_on_the_shortest_runs(total):
    for schedule in (one_cycle, triangular, triangular2, exp_range, sgdr, polynomial, cosine):
        assert all(0 <= schedule(s, total) <= 1 for s in range(total + 1))
    assert all(0.85 <= one_cycle_momentum(s, total) <= 0.95 for s in range(total))


@pytest.mark.parametrize("momentum", ["momentum", "betas"])
def test_the_momentum_of_one_cycle_is_torchs(momentum):
    w = [torch.zeros(1, requires_grad=True)]
    sgd = momentum == "momentum"
    optimizer = torch.optim.SGD(w, lr=1.0, momentum=0.9) if sgd else torch.optim.Adam(w, lr=1.0)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, TOTAL)
    for s in range(TOTAL):
        group = optimizer.param_groups[0]
        theirs = group["momentum"] if sgd else group["betas"][0]
        assert abs(one_cycle_momentum(s, TOTAL) - theirs) < 1e-12
        optimizer.step()
        if s < TOTAL - 1:
            scheduler.step()


def test_the_last_cycle_ends_with_the_run_however_the_lengths_divide():
    for cycles, growth in ((3, 2.0), (4, 1.5), (2, 1.0)):
        rates = [sgdr(s, 777, cycles, growth) for s in range(778)]
        assert rates[-1] == pytest.approx(0, abs=1e-12)
        assert sum(b > a for a, b in itertools.pairwise(rates)) == cycles - 1
    assert triangular(600, 600, 3, 0.2) == pytest.approx(0.2)


def test_the_batch_grows_where_the_rate_would_fall():
    by_epoch = [batch_growth(e, 30, (8, 18), 5) for e in range(30)]
    assert by_epoch == [1] * 8 + [5] * 10 + [25] * 12
    assert [batch_growth(e, 30) for e in (9, 10, 19, 20)] == [1, 5, 5, 25]  # thirds
    pieces = [step_decay(s, 30, 1 / 5, 3) for s in range(30)]
    assert [1 / batch_growth(e, 30) for e in range(30)] == pytest.approx(pieces)


def test_noam_peaks_at_the_end_of_its_warmup():
    rates = [noam(step, 0, warmup=400, dim=512) for step in range(2000)]
    assert max(range(2000), key=rates.__getitem__) == 399
    assert rates[399] == pytest.approx((512 * 400) ** -0.5)
    assert rates[0] == pytest.approx(512**-0.5 * 400**-1.5)
    assert rates[1599] == pytest.approx(rates[399] / 2)  # with the root of the steps
    assert noam(399, 0, warmup=400) == pytest.approx(1)


def test_slanted_triangle_by_hand():
    # T = 100, cut = 10: up from 1/32 to 1 at step 10, down to 1/32 at step 100.
    assert slanted_triangular(0, 100) == pytest.approx(1 / 32)
    assert slanted_triangular(5, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(10, 100) == pytest.approx(1)
    assert slanted_triangular(55, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(100, 100) == pytest.approx(1 / 32)
