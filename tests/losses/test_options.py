"""Options that meet: class weights with soft targets, Tukey's scale from the residuals."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium import losses
from neurarium.losses import robust

DOUBLE = {"dtype": torch.float64}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("weighted", "smoothing", "ignored"),
    list(itertools.product([False, True], [0.0, 0.1], [False, True])),
)
def test_soft_targets_combine_with_weights_smoothing_and_ignored_rows(
    weighted, smoothing, ignored, reduction
):
    logits, target = draw(6, 4), draw(6, 4, seed=1).softmax(1)
    real = torch.tensor([True, True, not ignored, True, not ignored, True])
    weight = torch.tensor([1.0, 2, 0.5, 3], **DOUBLE) if weighted else None
    ours = losses.cross_entropy(
        logits, target * real[:, None], weight, label_smoothing=smoothing, reduction=reduction
    )
    # H(d, p) with d smoothed and each class's term weighted; the mean is over the real rows, as
    # torch's is over all rows: only class numbers have one weight per row.
    w = torch.ones(4, **DOUBLE) if weight is None else weight
    d = target * (1 - smoothing) + smoothing / 4
    each = -(w * d * logits.log_softmax(1)).sum(1) * real
    expected = {"none": each, "sum": each.sum(), "mean": each.sum() / real.sum()}[reduction]
    torch.testing.assert_close(ours, expected)
    if not ignored:
        peer = nn.CrossEntropyLoss(weight, label_smoothing=smoothing, reduction=reduction)
        torch.testing.assert_close(ours, peer(logits, target))


def test_nll_of_log_softmax_is_cross_entropy():
    logits, target = draw(5, 3), torch.tensor([0, 2, -7, 1, 1])
    weight = torch.tensor([1.0, 2, 0.5], **DOUBLE)
    for reduction in ("mean", "sum", "none"):
        options = {"weight": weight, "ignore_index": -7, "reduction": reduction}
        torch.testing.assert_close(
            losses.nll(logits.log_softmax(1), target, **options),
            losses.cross_entropy(logits, target, **options),
        )
    # -log 1/4 and -log 1/2, by hand.
    log_p = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    ours = losses.nll(log_p, torch.tensor([0, 1]))
    assert ours.item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_nll_takes_class_numbers_in_their_shape(unchecked):
    with pytest.raises(ValueError, match=r"\(4,\), got \(4, 1\); squeeze it"):
        losses.nll(torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64))


def test_tukeys_scale_is_the_gaussians_deviation_whatever_half_of_the_outliers_do():
    r = 3 * draw(100_000)
    assert robust._mad(r) == pytest.approx(3, rel=0.01)
    r[:20_000] = 1e9
    assert robust._mad(r) == pytest.approx(4, rel=0.1)  # the median of the good ones moves up


def test_tukey_with_a_scale_is_tukey_with_its_reach_and_unit_curvature_at_zero():
    r, zero = draw(50), torch.zeros(50, **DOUBLE)
    scaled = losses.tukey(r, zero, delta=2.0, scale=0.7)
    torch.testing.assert_close(scaled, losses.tukey(r, zero, delta=1.4))
    by_mad = losses.tukey(r, zero, scale="mad")
    reach = 4.685 * 1.4826 * r.abs().median().item()
    torch.testing.assert_close(by_mad, losses.tukey(r, zero, delta=reach))
    # ρ(r) = s² ρ₁(r/s), whose second derivative at 0 is 1 for every s.
    for scale in (0.1, 1.0, 30.0):
        h = torch.tensor(1e-4 * scale, **DOUBLE)
        assert (2 * robust.rho(h, "tukey", scale=scale) / h**2).item() == pytest.approx(1)
        x = draw(9)
        torch.testing.assert_close(
            robust.rho(x, "tukey", scale=scale), scale**2 * robust.rho(x / scale, "tukey")
        )
        torch.testing.assert_close(
            robust.psi(x, "tukey", scale=scale), scale * robust.psi(x / scale, "tukey")
        )


def test_with_the_scale_from_the_residuals_even_a_distant_start_has_a_gradient():
    start = torch.full((20,), 100.0, requires_grad=True)
    target = torch.arange(20.0)
    losses.tukey(start, target).backward()
    assert (start.grad == 0).all()
    losses.tukey(start, target, scale="mad").backward()
    assert (start.grad > 0).all()


def test_a_perfect_fit_has_a_scale_too():
    r = torch.zeros(5, requires_grad=True)
    loss = losses.tukey(r, torch.zeros(5), scale="mad")
    loss.backward()
    assert loss == 0
    assert r.grad.tolist() == [0] * 5


def test_an_unknown_or_negative_scale_is_an_error(unchecked):
    with pytest.raises(ValueError, match="scale must be a number or 'mad', got 'iqr'"):
        losses.tukey(torch.zeros(2), torch.zeros(2), scale="iqr")
    with pytest.raises(ValueError, match="scale must be positive, got -1"):
        losses.tukey(torch.zeros(2), torch.zeros(2), scale=-1)


def test_tukey_by_reweighting_with_the_scale_of_the_residuals_finds_the_line():
    # Iteratively reweighted least squares from `weight`, with the scale from the residuals: the
    # estimator that statistics packages call RLM with TukeyBiweight.
    x = torch.linspace(-1, 1, 100, **DOUBLE)
    y = 2 * x + 0.1 * draw(100)
    y[::5] = 5  # at all x: outliers at one end pull the first line over, whatever follows
    design = torch.stack([x, torch.ones_like(x)], 1)
    w = torch.ones(100, **DOUBLE)
    for loss in ["huber"] * 20 + ["tukey"] * 20:
        line = torch.linalg.lstsq(design * w.sqrt()[:, None], (y * w.sqrt())[:, None])[0][:, 0]
        r = y - design @ line
        s = robust._mad(r)
        w = robust.weight(r / s, loss, delta={"huber": 1.345, "tukey": 4.685}[loss])
    assert line[0].item() == pytest.approx(2, abs=0.05)
    good = torch.arange(100) % 5 > 0
    assert F.mse_loss(design[good] @ line, y[good]).item() < 0.013
