"""Streams, windows and the tasks made to order: each answer recomputed from its question."""

import math

import pytest
import torch

from neurarium.data import streams, synthetic, windows


def test_streams_read_on_from_batch_to_batch():
    batches = list(streams(torch.arange(50), rows=3, steps=5).batches(99))
    assert [b["start"].tolist() for b in batches] == [[True] * 3, [False] * 3, [False] * 3]
    rows = torch.cat([b["input"] for b in batches], 1)
    assert rows.tolist() == [list(range(i, i + 15)) for i in (0, 15, 30)]
    for b in batches:
        assert torch.equal(b["target"], b["input"] + 1)


def test_windows_by_hand():
    made = windows(torch.arange(6.0), history=2, horizon=2, stride=2)
    assert made["input"].tolist() == [[0, 1], [2, 3]]
    assert made["target"].tolist() == [[2, 3], [4, 5]]
    columns = windows(torch.randn(9, 3), 4, 1)
    assert columns["input"].shape == (5, 4, 3)
    assert columns["target"].shape == (5, 1, 3)


def test_too_little_is_said(unchecked):
    with pytest.raises(ValueError, match="3 streams of 5 steps need 16 tokens, got 12"):
        streams(torch.arange(12), 3, 5)
    with pytest.raises(ValueError, match=r"4 \+ 3 steps does not fit into 6"):
        windows(torch.zeros(6), 4, 3)
    with pytest.raises(ValueError, match="at least 10 steps, got 9"):
        synthetic.temporal_order(2, 9)
    with pytest.raises(ValueError, match="length must be even"):
        synthetic.dyck(2, 5)


def test_adding():
    made = synthetic.adding(2000, 20)
    values, marks = made["input"].unbind(2)
    assert (marks.sum(1) == 2).all()
    assert (marks[:, :10].sum(1) == 1).all()
    torch.testing.assert_close((values * marks).sum(1), made["target"])
    assert (made["target"] - 1).square().mean().item() == pytest.approx(1 / 6, rel=0.1)


def test_copy_memory():
    made = synthetic.copy_memory(50, delay=7, symbols=4, items=3)
    x, y = made["input"], made["target"]
    assert x.shape == y.shape == (50, 13)
    assert torch.equal(x[:, :3], y[:, -3:])
    assert (x[:, 3:9] == 4).all()
    assert (x[:, 9] == 5).all()
    assert (y[:, :-3] == 4).all()
    assert x[:, :3].unique().tolist() == [0, 1, 2, 3]


def test_temporal_order():
    made = synthetic.temporal_order(500, 30)
    symbols = made["input"].argmax(2)
    for row, label in zip(symbols.tolist(), made["target"].tolist(), strict=True):
        places = [t for t, s in enumerate(row) if s < 2]
        assert len(places) == 2
        assert 3 <= places[0] <= 6
        assert 12 <= places[1] <= 15
        assert label == 2 * row[places[0]] + row[places[1]]
    assert made["target"].bincount().min() > 80


def test_parity_and_lag():
    made = synthetic.parity(30, 9)
    assert torch.equal(made["target"][:, 4], made["input"][:, :5].sum(1) % 2)
    made = synthetic.planted_lag(30, 9, lag=2)
    assert torch.equal(made["target"][:, 2:], made["input"][:, :-2])
    assert (made["target"][:, :2] == 0).all()


def test_arithmetic():
    made = synthetic.arithmetic(200, digits=2)
    for x, y, n in zip(*(made[k].tolist() for k in ("input", "target", "length")), strict=True):
        text = "".join("0123456789+=."[c] for c in x[:n])
        question, answer = text.split("=")
        a, b = map(int, question.split("+"))
        assert int(answer) == a + b
        told = "".join("0123456789+=."[c] for c in y if c >= 0)
        assert told == f"{a + b}."
        assert y.index(next(c for c in y if c >= 0)) == len(question)
        assert all(c == -100 for c in y[n:])


@pytest.mark.parametrize("letters", [2, 3])
def test_anbn(letters):
    made = synthetic.anbn(100, low=2, high=6, letters=letters)
    for x, y, length in zip(
        *(made[k].tolist() for k in ("input", "target", "length")), strict=True
    ):
        n = length // letters
        word = [k for k in range(letters) for _ in range(n)]
        assert x[:length] == word
        assert y[:length] == [-100] * n + [*word, letters][n + 1 : length + 1]
        assert y[length:] == [-100] * (letters * 6 - length)
    assert made["length"].unique().tolist() == [letters * n for n in range(2, 7)]


def test_dyck():
    made = synthetic.dyck(100, length=10, kinds=3)
    for x, y in zip(made["input"].tolist(), made["target"].tolist(), strict=True):
        stack = []
        for bracket, top in zip(x, y, strict=True):
            if bracket < 3:
                stack.append(bracket)
            else:
                assert stack.pop() == bracket - 3
            assert top == (stack[-1] if stack else 3)
        assert not stack


@pytest.mark.parametrize("name", synthetic.__all__)
def test_a_seed_gives_the_same_rows_and_another_others(name):
    make = getattr(synthetic, name)
    first, again, other = make(8), make(8), make(8, seed=1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["input"], other["input"])
    assert math.prod(first["input"].shape) > 0
