import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neurarium import networks
from neurarium.networks import NeuralProgrammer
from neurarium.networks.neural_programmer import OPERATIONS, execute
from neurarium.objectives import table_answer


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


TABLE = torch.tensor([[3.0, -1.0], [5.0, 2.0], [1.0, 4.0], [-2.0, 0.5]], dtype=torch.float64)
A, B = TABLE.numpy().T
G, L = 0.9, 3.5  # what "greater" and "lesser" compare with


def run(*program):
    names, columns = zip(*program, strict=True)
    operations = F.one_hot(torch.tensor([OPERATIONS.index(n) for n in names]), len(OPERATIONS))
    chosen = F.one_hot(torch.tensor(columns), 2)
    scalar, lookup = execute(
        TABLE[None], operations[None].double(), chosen[None].double(), torch.tensor([[G, L]])
    )
    return scalar.item(), lookup[0].numpy()


PROGRAMS = [
    ([("sum", 0)], A.sum()),
    ([("count", 0)], 4),
    ([("greater", 0), ("sum", 1)], B[A > G].sum()),
    ([("lesser", 0), ("count", 0)], (A < L).sum()),
    # and, or: of the last two selections
    ([("greater", 0), ("lesser", 1), ("and", 0), ("sum", 0)], A[(A > G) & (B < L)].sum()),
    ([("greater", 1), ("lesser", 0), ("or", 0), ("count", 0)], ((B > G) | (A < L)).sum()),
    ([("greater", 0), ("reset", 0), ("count", 0)], 4),
    ([("sum", 0), ("count", 0)], 0),  # a step that selects nothing leaves nothing selected
    # three steps ago less the last one
    ([("sum", 0), ("reset", 0), ("sum", 1), ("difference", 0)], A.sum() - B.sum()),
    ([("difference", 0)], 0),
]


@pytest.mark.parametrize(("program", "expected"), PROGRAMS)
def test_a_hard_program_is_numpys(program, expected):
    assert run(*program)[0] == pytest.approx(float(expected))


def test_assign_points_at_the_selected_cells_of_its_column():
    _, lookup = run(("greater", 0), ("assign", 1))
    np.testing.assert_array_equal(lookup, np.stack([np.zeros(4), A > G], 1))


def test_soft_programs_mix_the_results_of_hard_ones():
    operations = torch.zeros(1, 1, 9)
    operations[0, 0, [0, 1]] = torch.tensor([0.25, 0.75])
    columns = torch.tensor([[[0.5, 0.5]]])
    scalar, _ = execute(TABLE[None], operations, columns, torch.zeros(1, 2))
    expected = 0.25 * (A.sum() + B.sum()) / 2 + 0.75 * 4
    assert scalar.item() == pytest.approx(expected)


def test_comparisons_attend_to_the_questions_numbers():
    model = NeuralProgrammer(7, 2, hidden=5)
    tokens, numbers = torch.randint(7, (2, 6)), torch.tensor([[2.0, 7.0], [3.0, 99.0]])
    places = torch.tensor([[1, 4], [2, -1]])
    *_, pivots = model.program(tokens, numbers, places)
    states, _ = model.question(model.embedding(tokens))
    for kind in range(2):
        scores = torch.stack([states[0, 1] @ model.U[3 + kind], states[0, 4] @ model.U[3 + kind]])
        torch.testing.assert_close(pivots[0, kind], scores.softmax(0) @ numbers[0])
    torch.testing.assert_close(pivots[1], torch.tensor([3.0, 3.0]))


def test_padding_of_the_question_changes_nothing():
    model = NeuralProgrammer(7, 2, hidden=5)
    tokens = torch.randint(7, (2, 4))
    table, length = TABLE.expand(2, 4, 2), torch.tensor([4, 4])
    padded = F.pad(tokens, (0, 3), value=6)
    expected = model(tokens, table)
    torch.testing.assert_close(model(padded, table, None, None, length), expected)


def test_the_loss_of_numbers_and_of_cells():
    answer = torch.tensor([[3.0, 0.9, 0.2], [1.0, 0.5, 0.5]])

    class Says(torch.nn.Module):
        def forward(self, tokens):
            return answer

    batch = {
        "input": torch.zeros(2, 1), "target": torch.tensor([float("nan"), 1.5]),
        "cells": torch.tensor([[[1.0], [0.0]], [[0.0], [0.0]]]),
    }  # fmt: skip
    found = table_answer(weight=4.0)(Says(), batch)
    cells = -(np.log(0.9) + np.log(0.8)) / 2
    assert found.item() == pytest.approx((4 * cells + 0.5 * 0.5**2) / 2)
    with torch.no_grad():
        assert table_answer()(Says(), batch)["accuracy"] == 0
        answer[1, 0] = 1.505
        assert table_answer()(Says(), batch)["accuracy"] == 1


def test_judged_it_takes_the_likeliest_operation_and_column():
    model = NeuralProgrammer(7, 2, hidden=5, steps=3)
    tokens, table = torch.randint(7, (2, 4)), TABLE.expand(2, 4, 2)
    operations, columns, pivots = model.program(tokens)
    hard = [F.one_hot(w.argmax(-1), w.shape[-1]).double() for w in (operations, columns)]
    expected, _ = execute(table, *hard, pivots)
    torch.testing.assert_close(model.eval()(tokens, table)[:, 0], expected)
    assert not torch.allclose(model.train()(tokens, table)[:, 0], expected)


def test_it_is_rebuilt_from_its_configuration():
    model = NeuralProgrammer(7, 2, hidden=5)
    again = networks.build(networks.config(model))
    again.load_state_dict(model.state_dict())
    tokens, table = torch.randint(7, (2, 4)), TABLE.expand(2, 4, 2)
    torch.testing.assert_close(again(tokens, table), model(tokens, table))
