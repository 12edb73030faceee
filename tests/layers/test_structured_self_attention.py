import pytest
import torch
from torch import nn

from neurarium.layers.attention import StructuredSelfAttention
from neurarium.penalties import AttentionRedundancy


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_the_means_by_hand():
    layer, h = StructuredSelfAttention(4, da=5, hops=3), torch.randn(2, 6, 4)
    means, A = layer(h)
    W1, W2 = layer.W_s1.weight, layer.W_s2.weight
    for row in range(2):
        expected = (W2 @ torch.tanh(W1 @ h[row].T)).softmax(-1)
        torch.testing.assert_close(A[row], expected)
        torch.testing.assert_close(means[row], expected @ h[row])


def test_rows_sum_to_1_over_real_tokens_alone():
    layer, h = StructuredSelfAttention(4, da=5, hops=3), torch.randn(2, 6, 4)
    real = torch.arange(6) < torch.tensor([[6], [4]])
    means, A = layer(h, real)
    torch.testing.assert_close(A.sum(-1), torch.ones(2, 3))
    assert (A[1, :, 4:] == 0).all()
    torch.testing.assert_close(means[1:], layer(h[1:, :4])[0])


def test_the_penalty_is_0_where_hops_look_at_single_tokens_of_their_own():
    layer = StructuredSelfAttention(4, da=4, hops=3)
    with torch.no_grad():
        layer.W_s1.weight.copy_(torch.eye(4) * 10)
        layer.W_s2.weight.copy_(torch.eye(4)[:3] * 100)
    layer(torch.eye(4)[None])
    penalty = AttentionRedundancy(0.5)
    assert penalty(layer, {}).item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        layer.W_s2.weight[1] = layer.W_s2.weight[0]  # two look at one: A A' has two ones more
    layer(torch.eye(4)[None])
    assert penalty(layer, {}).item() == pytest.approx(0.5 * 2)
    with torch.no_grad():  # all look everywhere alike: A A' = 1/4, of 9 entries
        layer.W_s2.weight.zero_()
    layer(torch.eye(4)[None])
    assert penalty(layer, {}).item() == pytest.approx(0.5 * (6 / 16 + 3 * 9 / 16))


def test_paying_parts_the_hops():
    layer, h = StructuredSelfAttention(4, da=8, hops=2), torch.randn(16, 5, 4)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    overlaps = []
    for _ in range(60):
        _, A = layer(h)
        overlaps.append(float((A[:, 0] * A[:, 1]).sum(-1).mean().detach()))
        optimizer.zero_grad()
        AttentionRedundancy(1.0)(nn.Sequential(layer), {}).backward()
        optimizer.step()
    assert overlaps[-1] < 0.5 * overlaps[0]


def test_a_model_without_hops_is_told():
    with pytest.raises(ValueError, match="Linear has no layer with `redundancy`"):
        AttentionRedundancy(1.0)(nn.Linear(1, 1), {})
