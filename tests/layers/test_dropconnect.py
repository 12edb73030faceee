"""Dropout and DropConnect as expectations over all masks."""

import itertools

import pytest
import torch
from torch import nn

from neurarium import layers

DOUBLE = {"dtype": torch.float64}
P = 0.3


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 1).double()


def outputs_under_all_masks(x, layer):
    """Every mask of the 4 connections, with its output and its probability."""
    for kept in itertools.product([0.0, 1], repeat=4):
        mask = torch.tensor(kept, **DOUBLE)
        share = P ** (4 - mask.sum()) * (1 - P) ** mask.sum()
        yield x @ (mask * layer.weight[0]) / (1 - P) + layer.bias, share


@torch.no_grad()
def test_dropconnect_draws_the_masked_layers_in_their_proportions():
    layer, x = linear(), torch.randn(6, 4, **DOUBLE)
    cut = layers.DropConnect(layer, P)
    table = list(outputs_under_all_masks(x, layer))
    counts = torch.zeros(16, **DOUBLE)
    for _ in range(4000):
        y = cut(x)[:, 0]
        counts[[torch.allclose(y, expected) for expected, _ in table].index(True)] += 1
    shares = torch.stack([share for _, share in table])
    assert shares.sum().item() == pytest.approx(1)
    error = (shares * (1 - shares) / 4000).sqrt()
    assert ((counts / 4000 - shares).abs() < 4.5 * error).all()


@torch.no_grad()
def test_the_mean_over_all_masks_is_the_layer_when_judged():
    layer, x = linear(), torch.randn(6, 4, **DOUBLE)
    mean = sum(share * y for y, share in outputs_under_all_masks(x, layer))
    torch.testing.assert_close(layers.DropConnect(layer, P).eval()(x)[:, 0], mean)


@pytest.mark.parametrize("kind", ["dropout", "dropconnect", "dropconnect per example"])
def test_in_linear_regression_the_expected_loss_is_a_ridge_loss(kind):
    # ‖y - Xw‖² + p/(1-p) Σ_j (X'X)_jj w_j², by the masks' variance p/(1-p), exact over all masks;
    # here the mean over draws of the modules themselves, within its standard error.
    torch.manual_seed(1)
    x, y = torch.randn(40, 4, **DOUBLE), torch.randn(40, **DOUBLE)
    line = linear()
    nn.init.zeros_(line.bias)
    w = line.weight.detach()[0]
    ridge = (y - x @ w).square().sum() + P / (1 - P) * (x.square().sum(0) * w.square()).sum()
    table = list(outputs_under_all_masks(x, line))
    losses = torch.stack([(y - out.detach()).square().sum() for out, _ in table])
    shares = torch.stack([share for _, share in table])
    torch.testing.assert_close(shares @ losses, ridge)
    module = {
        "dropout": nn.Sequential(nn.Dropout(P), line),
        "dropconnect": layers.DropConnect(line, P),
        "dropconnect per example": layers.DropConnect(line, P, per_example=True),
    }[kind]
    with torch.no_grad():
        draws = torch.stack([(y - module(x)[:, 0]).square().sum() for _ in range(4000)])
    assert abs(draws.mean() - ridge) < 4 * draws.std() / 4000**0.5
    # A mask for all examples moves their losses together, masks of their own average out.
    together = (shares @ (losses - ridge).square()).sqrt()
    assert (draws.std() > 0.9 * together) == (kind == "dropconnect")


def test_each_example_may_have_a_mask_of_its_own():
    x = torch.ones(2000, 3, 4, **DOUBLE)
    with torch.no_grad():
        y = layers.DropConnect(linear(), P, per_example=True)(x)
    assert y.shape == (2000, 3, 1)
    assert len(y.unique()) == 16
    assert len(layers.DropConnect(linear(), P)(x).unique()) == 1


def test_the_gradient_reaches_the_kept_connections_only():
    cut = layers.DropConnect(linear(), 0.5)
    x = torch.ones(1, 4, **DOUBLE)
    torch.manual_seed(3)
    cut(x).sum().backward()
    assert set(cut.linear.weight.grad[0].tolist()) == {0.0, 2.0}
    assert cut.linear.bias.grad.item() == 1


def test_a_share_outside_its_range_is_an_error():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\), got 1"):
        layers.DropConnect(linear(), 1)
