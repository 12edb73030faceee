import math

import pytest
import torch

from neurarium.layers.positions import (
    ALiBi,
    LearnedPositions,
    RelativeShaw,
    Rotary,
    Sinusoidal,
    TransformerXLRelative,
)


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_sinusoidal_codes_by_hand():
    table = Sinusoidal(4).table(3)
    expected = [[math.sin(t), math.cos(t), math.sin(t / 100), math.cos(t / 100)] for t in range(3)]
    torch.testing.assert_close(table, torch.tensor(expected).float())


def test_a_place_moved_is_a_fixed_rotation_of_its_code():
    table = Sinusoidal(8).table(50).double()
    k = 7
    rotation = torch.zeros(8, 8)
    for i in range(4):
        angle = k / 10000 ** (2 * i / 8)
        cos, sin = math.cos(angle), math.sin(angle)
        rotation[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[cos, sin], [-sin, cos]])
    torch.testing.assert_close(table[k:], table[:-k] @ rotation.T, atol=1e-6, rtol=0)


def test_offsets_continue_the_sequence():
    x = torch.zeros(1, 6, 4)
    for module in (Sinusoidal(4), LearnedPositions(6, 4)):
        whole = module(x)
        torch.testing.assert_close(module(x[:, 4:], 4), whole[:, 4:])


def test_a_sequence_longer_than_the_learnt_places_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"knows 4 places .* got 5 tokens; cut the sequence"):
        LearnedPositions(4, 2)(torch.zeros(1, 5, 2))


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_scores_depend_on_the_distance_alone(interleaved):
    rotary = Rotary(8, interleaved=interleaved)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(m, n):
        return (rotary(q, m) * rotary(k, n)).sum()

    torch.testing.assert_close(score(3, 7), score(103, 107))
    torch.testing.assert_close(score(0, 0), (q * k).sum())
    assert abs(score(3, 7) - score(7, 3)) > 1e-3


def test_both_layouts_of_rotary_are_one_up_to_the_order_of_features():
    x = torch.randn(1, 1, 5, 8)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # half-split -> interleaved
    halves, pairs = Rotary(8)(x), Rotary(8, interleaved=True)(x[..., order])
    torch.testing.assert_close(halves[..., order], pairs)


def test_alibi_by_hand():
    # Two heads: slopes 2^-4 and 2^-8.
    q = torch.zeros(1, 2, 3, 4)
    logits = ALiBi(2)(q, q)
    away = torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    torch.testing.assert_close(logits[0], torch.stack([-away / 16, -away / 256]))
    with pytest.raises(ValueError, match="heads, got 6"):
        ALiBi(6)


def test_shaws_vectors_by_a_loop():
    shaw = RelativeShaw(4, max_distance=2)
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    logits = shaw(q, k)
    weights = logits.softmax(-1)
    context = weights @ v + shaw.values(weights)
    for i in range(5):
        expected = torch.zeros(1, 2, 4)
        for j in range(5):
            d = max(-2, min(2, j - i)) + 2
            s = (q[:, :, i] * (k[:, :, j] + shaw.of_keys[d])).sum(-1) / 2
            torch.testing.assert_close(logits[:, :, i, j], s)
            expected += weights[:, :, i, j, None] * (v[:, :, j] + shaw.of_values[d])
        torch.testing.assert_close(context[:, :, i], expected)


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (3, 7), (1, 5)])
@pytest.mark.parametrize("both", [False, True])
def test_the_relative_shift_is_a_naive_gather(queries, keys, both):
    score = TransformerXLRelative(8, 2, both=both)
    torch.nn.init.normal_(score.u)
    torch.nn.init.normal_(score.v)
    q, k = torch.randn(1, 2, queries, 4), torch.randn(1, 2, keys, 4)
    found = score(q, k)
    frequency = 10000 ** -(torch.arange(0, 8, 2) / 8)
    for i in range(queries):
        for j in range(keys):
            distance = i + keys - queries - j
            if distance < 0 and not both:
                continue
            angles = distance * frequency
            code = score.W_R(torch.cat([angles.sin(), angles.cos()])).view(2, 4)
            expected = ((q[0, :, i] + score.u) * k[0, :, j]).sum(-1)
            expected += ((q[0, :, i] + score.v) * code).sum(-1)
            torch.testing.assert_close(found[0, :, i, j], expected / 2)
