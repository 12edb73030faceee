"""Accuracy by length: groups, figures and intervals worked out apart."""

import numpy as np
import pytest
import torch
from torch import nn

from neurarium import metrics
from neurarium.data import Data
from neurarium.objectives import per_step, supervised
from neurarium.report import render
from neurarium.report.facts import Facts
from neurarium.report.lengths import by_length, length_groups, right_of
from neurarium.report.page import percent
from neurarium.training import Run


class Answers(nn.Module):
    """What is written in the input is the answer."""

    reads = ("length",)

    def __init__(self, classes=2):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.classes = classes

    def forward(self, x, length=None):
        return self.weight * nn.functional.one_hot(x, self.classes).float()


class First(Answers):
    def forward(self, x, length=None):
        return super().forward(x[:, 0])


def test_groups_are_quantiles_and_no_length_is_in_two():
    assert length_groups(np.arange(1, 11)) == [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)]
    # Of ten rows six are of length 7: the quantiles at 0.2 to 1 are 2, 7, 7, 7 and 20.
    assert length_groups(np.array([7] * 6 + [1, 2, 9, 20])) == [(1, 2), (7, 7), (9, 20)]
    assert length_groups(np.array([3] * 9)) == [(3, 3)]
    assert length_groups(np.array([0, 0, 5, 5])) == [(0, 0), (5, 5)]
    assert length_groups(np.array([1, 2, 3])) == []


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_in_one_group(seed):
    rng = np.random.default_rng(seed)
    length = rng.geometric(0.2, size=rng.integers(4, 200))
    groups = length_groups(length)
    held = sum(((low <= length) & (length <= high)).astype(int) for low, high in groups)
    assert (held == 1).all()
    assert all({low, high} <= {*length.tolist()} for low, high in groups)


def rows(n=100):
    length = torch.arange(n) % 10 + 1
    x = torch.zeros(n, 10, dtype=torch.long)
    return {"input": x, "length": length, "target": (length > 8).long()}


def test_accuracy_by_length_of_sequences_with_one_answer():
    """Wrong exactly where there are more than 8 steps, the last of five groups."""
    data = Data(rows(), test=rows(), task="binary", classes=["no", "yes"])
    run = Run(First(), data=data, objective=supervised("cross_entropy"))
    page = str(by_length(Facts(run, ("test",))))
    assert f"{percent(metrics.wilson(20, 20)[0])} to {percent(1.0)}" in page
    cells = page.split("<tbody>")[1].split("9 to 10")
    assert cells[0].count(percent(1.0)) == 4 + 4  # each mean, and the end of its interval
    assert f">{percent(0.0)}<" in cells[1]
    assert "By length" in render(run)
    assert render(run) == render(run)


def test_steps_of_a_tagger_are_counted_up_to_the_length():
    n = 80
    tags = torch.randint(0, 3, (n, 6), generator=torch.Generator().manual_seed(0))
    length = torch.arange(n) % 6 + 1
    wrong = tags.clone()
    wrong[:, 0] = (tags[:, 0] + 1) % 3  # the first step is wrong, and all beyond the length
    real = torch.arange(6) < length[:, None]
    wrong = torch.where(real, wrong, (tags + 1) % 3)
    split = {"input": wrong, "target": tags, "length": length}
    run = Run(Answers(3), data=Data(split, test=split), objective=per_step())
    values, name, exact = right_of(Facts(run, ("test",)), run.data.test)
    assert (name, exact) == ("right steps", False)
    np.testing.assert_allclose(values, 1 - 1 / length.numpy())
    assert "right steps" in render(run)


def test_errors_of_a_regression_and_rows_without_lengths():
    split = rows()
    numbers = {**split, "target": split["length"].float()}

    class Guess(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.weight * torch.ones(len(x), 1)

    run = Run(Guess(), data=Data(numbers, test=numbers, task="regression"),
              objective=supervised("mse"))  # fmt: skip
    values, name, _ = right_of(Facts(run, ("test",)), run.data.test)
    assert name == "mean absolute error"
    np.testing.assert_allclose(values, split["length"].numpy() - 1)
    bare = {name: value for name, value in numbers.items() if name != "length"}
    alone = Run(Guess(), data=Data(bare, test=bare, task="regression"),
                objective=supervised("mse"))  # fmt: skip
    assert by_length(Facts(alone, ("test",))) is None
