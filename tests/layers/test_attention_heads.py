"""Several heads, linear attention, and masks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.layers import masks
from neurarium.layers.attention import (
    LinearAttention,
    MultiHead,
    attend,
    recording,
)
from neurarium.layers.attention.normalizers import normalizer
from neurarium.layers.positions import ALiBi, RelativeShaw, Rotary


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rows(*shape):
    return torch.randn(*shape)


def some(*shape):
    """A mask that hides about half and leaves every query something."""
    mask = torch.rand(*shape) < 0.5
    mask[..., 0] = True
    return mask


# Multi-head


@pytest.mark.parametrize("mask", [None, "causal", "padding"])
@pytest.mark.parametrize("cross", [False, True])
def test_multi_head_equals_torchs(mask, cross):
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    ours = MultiHead(12, 3).load_torch(theirs)
    x = rows(2, 5, 12)
    memory = rows(2, 5, 12) if cross else None
    arguments, seen = {}, mask
    if mask == "causal":
        arguments["attn_mask"] = masks.to_torch_mha(masks.causal(5))
    elif mask == "padding":
        real = masks.padding(torch.tensor([3, 5]), 5)
        arguments["key_padding_mask"] = masks.to_torch_mha(real)
        seen = real[:, None, None]
    other = x if memory is None else memory
    expected, weights = theirs(x, other, other, average_attn_weights=False, **arguments)
    with recording() as maps:
        torch.testing.assert_close(ours(x, memory, seen), expected, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(maps[0], weights, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(ours(x, memory, seen), expected, atol=1e-12, rtol=1e-9)


def test_without_positions_self_attention_is_equivariant():
    layer, x, order = MultiHead(12, 3), rows(2, 5, 12), torch.randperm(5)
    torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]))


@torch.no_grad()
def test_one_head_with_identity_weights_is_attend():
    layer, x = MultiHead(6, 1, bias=False), rows(2, 5, 6)
    layer.project.weight.copy_(torch.eye(6).repeat(3, 1))
    layer.out.weight.copy_(torch.eye(6))
    torch.testing.assert_close(layer(x), attend(x, x, x)[0])


@torch.no_grad()
def test_grouped_queries_are_heads_that_share_keys_and_values():
    grouped, full, x = MultiHead(12, 6, kv_heads=2), MultiHead(12, 6), rows(2, 5, 12)
    query, keys, values = grouped.project.weight.split([12, 4, 4])
    repeated = [w.view(2, 2, 12).repeat_interleave(3, 0).reshape(12, 12) for w in (keys, values)]
    full.project.weight.copy_(torch.cat([query, *repeated]))
    biases = grouped.project.bias.split([12, 4, 4])
    shared = [b.view(2, 2).repeat_interleave(3, 0).flatten() for b in biases[1:]]
    full.project.bias.copy_(torch.cat([biases[0], *shared]))
    full.out.load_state_dict(grouped.out.state_dict())
    torch.testing.assert_close(grouped(x), full(x))


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize(
    "position", [lambda: {}, lambda: {"rotary": Rotary(4)}, lambda: {"score": ALiBi(4)},
                 lambda: {"score": RelativeShaw(4, 3)}],
)  # fmt: skip
def test_a_step_at_a_time_equals_the_whole_sequence(position, window):
    layer, x = MultiHead(16, 4, kv_heads=2, **position()), rows(2, 6, 16)
    mask = "causal" if window is None else masks.window(window, 6)
    whole = layer(x, mask=mask)
    past, parts = None, []
    for part in x.split([1, 3, 2], 1):
        out, past = layer.step(part, past, window)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_what_is_remembered_of_a_memory_is_recalled():
    layer, x, memory = MultiHead(12, 3), rows(2, 5, 12), rows(2, 4, 12)
    seen = masks.padding(torch.tensor([2, 4]), 4)[:, None, None]
    found = layer.recall(x, layer.remember(memory), seen)
    torch.testing.assert_close(found, layer(x, memory, seen))


def test_heads_that_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match="heads must divide dim, got 5 heads of 12"):
        MultiHead(12, 5)
    with pytest.raises(ValueError, match="kv_heads must divide heads, got 2 for 3"):
        MultiHead(12, 3, kv_heads=2)


def test_long_attention_leaves_autocast_where_gradients_are_wanted(unchecked):
    q = rows(1, 2, 257, 8).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        half = q.bfloat16()
        assert attend(half, half, half, return_weights=False)[0].dtype == torch.float32
        with torch.no_grad():
            out, _ = attend(half, half, half, return_weights=False)
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize("mask", [None, "causal"])
def test_short_attention_in_autocast_is_two_products(mask, unchecked):
    q, k, v = (rows(2, 3, 9, 8).float().requires_grad_() for _ in range(3))
    exact, _ = attend(q, k, v, mask=mask, return_weights=False)
    slope = torch.randn_like(exact)
    wanted = torch.autograd.grad(exact, (q, k, v), slope)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attend(q, k, v, mask=mask, return_weights=False)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.03, atol=0.03)
    for own, other in zip(torch.autograd.grad(found, (q, k, v), slope.bfloat16()), wanted,
                          strict=True):  # fmt: skip
        torch.testing.assert_close(own, other, rtol=0.05, atol=0.05)
    if mask == "causal":
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = attend(q, k, v, mask=mask, return_weights=False)
        (ahead,) = torch.autograd.grad(found[:, :, 3].sum(), k)
        assert (ahead[:, :, 4:] == 0).all()


# Linear attention


def test_linear_attention_is_attention_with_a_product_of_features():
    q, k, v = rows(2, 5, 4), rows(2, 5, 4), rows(2, 5, 3)
    agreement = (F.elu(q) + 1) @ (F.elu(k) + 1).mT
    whole = agreement / agreement.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(LinearAttention(causal=False)(q, k, v), whole)
    agreement = agreement.tril()
    causal = agreement / agreement.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(LinearAttention()(q, k, v), causal)


def test_the_recurrent_form_equals_the_parallel_one():
    layer = LinearAttention()
    q, k, v = rows(2, 5, 4), rows(2, 5, 4), rows(2, 5, 3)
    state, parts = None, []
    for t in range(5):
        out, state = layer.step(q[:, t], k[:, t], v[:, t], state)
        parts.append(out)
    torch.testing.assert_close(torch.stack(parts, 1), layer(q, k, v))


def test_half_precision_sums_are_kept_in_full(unchecked):
    q, k, v = (rows(1, 400, 4).bfloat16() for _ in range(3))
    found = LinearAttention()(q, k, v)
    exact = LinearAttention()(q.double(), k.double(), v.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, atol=0.01, rtol=0.01)


# Masks


def test_masks_by_hand():
    assert masks.padding(torch.tensor([2, 0]), 3).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert masks.causal(2, 3).tolist() == [[1, 1, 0], [1, 1, 1]]
    assert masks.window(1, 3).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    # Order 2, 0, 1: place 2 comes first and sees nothing, place 0 sees 2, place 1 sees both.
    order = torch.tensor([2, 0, 1])
    assert masks.permutation(order).tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]
    assert masks.permutation(order, content=True).tolist() == [[1, 0, 1], [1, 1, 1], [0, 0, 1]]
    assert masks.combine(None, masks.causal(2), torch.tensor([True, False])).tolist() == [
        [1, 0], [1, 0],
    ]  # fmt: skip
    assert masks.combine(None, None) is None


def test_a_window_as_wide_as_the_sequence_is_causal():
    assert (masks.window(5, 6) == masks.causal(6)).all()
    with pytest.raises(ValueError, match="width must be at least 0"):
        masks.window(-1, 3)


def test_identity_order_sees_the_past():
    assert (masks.permutation(torch.arange(5), content=True) == masks.causal(5)).all()
    assert (masks.permutation(torch.arange(5)) == masks.causal(5).tril(-1)).all()


def test_named_normalizers_clear_what_is_masked():
    logits, mask = rows(3, 5), some(3, 5)
    for name in ("softmax", "sparsemax", "entmax15", "sigmoid"):
        assert (normalizer(name)(logits, mask)[~mask] == 0).all()
