"""The supervised objective: parts, means over unequal batches, and wrong uses it catches."""

import pytest
import torch
from torch import nn

from neurarium import losses
from neurarium.data import Data
from neurarium.objectives import Objective, supervised
from neurarium.penalties import L2
from neurarium.training import fit

LOGITS = torch.tensor([[2.0, 0, -1], [0, 1, 0]])


def batch_of(output, target):
    return {"input": output, "target": target}


def test_the_parts_sum_to_the_loss():
    model = nn.Linear(3, 1)
    batch = batch_of(torch.randn(5, 3), torch.randn(5))
    objective = supervised("huber:delta=0.5", [L2(0.1), L2(0.3)])
    assert isinstance(objective, Objective)
    parts = objective(model, batch)
    assert list(parts) == ["loss", "huber", "l2"]  # two of a name are one part
    torch.testing.assert_close(parts["loss"], parts["huber"] + parts["l2"])
    torch.testing.assert_close(parts["l2"], 0.4 * model.weight.square().sum())
    expected = losses.huber(model(batch["input"])[:, 0], batch["target"], delta=0.5)
    torch.testing.assert_close(parts["huber"], expected)


def test_without_penalties_the_loss_is_a_plain_scalar():
    loss = supervised("mse")(nn.Identity(), batch_of(torch.ones(2, 1), torch.zeros(2)))
    assert loss.item() == 1


def test_an_epochs_means_weigh_batches_by_their_rows():
    torch.manual_seed(0)
    x = torch.randn(10, 2)
    y = 100.0 * (torch.arange(10) >= 8)  # the short last batch alone has the large errors
    model = nn.Linear(2, 1)
    with torch.no_grad():
        expected = losses.mse(model(x)[:, 0], y).item()
    run = fit(model, Data((x, y), (x, y)), supervised("mse", [L2(1.0)]), lr=1e-12, epochs=1,
              batch_size=4, verbose=False)  # fmt: skip
    for split in ("train", "val"):
        assert run.history[f"{split}_mse"][0] == pytest.approx(expected, rel=1e-5)
        total = run.history[f"{split}_mse"][0] + run.history[f"{split}_l2"][0]
        assert run.history[f"{split}_loss"][0] == pytest.approx(total, rel=1e-6)


def test_a_loss_with_parameters_is_trained_with_the_model():
    objective = supervised(losses.AdaptiveRobust())
    assert len(list(objective.parameters())) == 2


@pytest.mark.parametrize(
    "loss",
    ["cross_entropy", "cross_entropy:label_smoothing=0.1", "focal", nn.CrossEntropyLoss(),
     nn.functional.cross_entropy],
)  # fmt: skip
def test_probabilities_given_as_logits_are_an_error_at_the_first_batch(loss):
    objective = supervised(loss)
    target = torch.tensor([0, 2])
    with pytest.raises(ValueError, match=r"needs logits, but the rows .* leave the softmax away"):
        objective(nn.Softmax(1), batch_of(LOGITS, target))
    assert supervised(loss)(nn.Identity(), batch_of(LOGITS, target)).isfinite()


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(4, 3),  # a last layer that starts at zero
        torch.tensor([[0.5, 0.5, 0], [0.5, 0.4, 0]]),  # one row by chance
        torch.tensor([[2.0, -1], [-3, 4]]),  # sums of 1, but not all positive
    ],
)
def test_logits_are_not_taken_for_probabilities(logits):
    target = torch.zeros(len(logits), dtype=torch.int64)
    assert supervised("cross_entropy")(nn.Identity(), batch_of(logits, target)) > 0


def test_other_losses_take_probabilities_and_the_check_is_made_once():
    p = LOGITS.softmax(1)
    assert supervised("mse")(nn.Identity(), batch_of(p, p)) == 0
    objective = supervised("cross_entropy")
    objective(nn.Identity(), batch_of(LOGITS, torch.tensor([0, 2])))
    objective(nn.Identity(), batch_of(p, torch.tensor([0, 2])))  # no time is spent on it again


def test_an_output_of_one_column_is_squeezed_and_others_must_fit(unchecked):
    column, row = torch.ones(4, 1), torch.zeros(4)
    assert supervised("mae")(nn.Identity(), batch_of(column, row)) == 1
    with pytest.raises(ValueError, match=r"one shape, got \(4,\) and \(4, 1\)"):
        supervised("mae")(nn.Identity(), batch_of(row, column))
