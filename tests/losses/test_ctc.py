import itertools
import math

import pytest
import torch

from neurarium import losses
from neurarium.networks import SequenceTagger
from neurarium.objectives import transcription
from neurarium.text import ctc

CASES = [(4, 3, [1, 2]), (5, 3, [1, 1]), (5, 3, [2, 1, 2]), (3, 4, [3]), (4, 3, [])]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def every_labelling(log_p):
    """Probability of every sequence of labels, by going through all paths."""
    steps, classes = log_p.shape
    found = {}
    for path in itertools.product(range(classes), repeat=steps):
        labels = tuple(ctc.collapse(list(path)))
        p = math.exp(sum(log_p[t, c].item() for t, c in enumerate(path)))
        found[labels] = found.get(labels, 0) + p
    return found


def test_repetitions_go_before_blanks():
    assert ctc.collapse([1, 1, 0, 1, 2, 2]) == [1, 1, 2]
    assert ctc.collapse([0, 0]) == []
    assert ctc.collapse([2, 2, 0], blank=2) == [0]


@pytest.mark.parametrize(("steps", "classes", "labels"), CASES)
def test_the_loss_is_the_sum_over_all_paths(steps, classes, labels):
    logits = torch.randn(1, steps, classes, dtype=torch.float64)
    paths = every_labelling(logits.log_softmax(-1)[0])
    target = torch.tensor([labels], dtype=torch.long)
    loss = losses.ctc(logits, target).item()
    assert loss == pytest.approx(-math.log(paths[tuple(labels)]), abs=1e-9)


def test_padding_changes_nothing():
    logits, target = torch.randn(2, 6, 4), torch.tensor([[1, 2, 3], [2, 2, 1]])
    length, labels = torch.tensor([6, 4]), torch.tensor([3, 2])
    rows = losses.ctc(logits, target, length, labels, reduction="none")
    alone = losses.ctc(logits[1:, :4], target[1:, :2])
    torch.testing.assert_close(rows[1], alone)
    torch.testing.assert_close(losses.ctc(logits, target, length, labels), rows.mean())


@pytest.mark.parametrize("steps", [3, 5])
def test_a_wide_beam_finds_the_probability_of_every_labelling(steps):
    logits = 2 * torch.randn(1, steps, 3, dtype=torch.float64)
    expected = every_labelling(logits.log_softmax(-1)[0])
    (found,) = ctc.prefix_beam(logits, width=1000)
    assert {tuple(labels): math.exp(p) for labels, p in found} == pytest.approx(expected)
    assert found[0][0] == list(max(expected, key=expected.get))


def test_the_best_path_need_not_spell_the_best_labels():
    # Two steps, p(blank) = 0.6, p(a) = 0.4: the best path is empty with 0.36, "a" has 0.64.
    logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    assert ctc.best_path(logits) == [[]]
    labels, p = ctc.prefix_beam(logits, width=2)[0][0]
    assert labels == [1]
    assert math.exp(p) == pytest.approx(0.64)


def test_lengths_end_the_reading():
    logits = torch.eye(3)[torch.tensor([[1, 0, 1, 2], [2, 2, 1, 1]])] * 50
    length = torch.tensor([4, 2])
    assert ctc.best_path(logits, length) == [[1, 1, 2], [2]]
    assert [row[0][0] for row in ctc.prefix_beam(logits, 4, length)] == [[1, 1, 2], [2]]


def test_accuracy_counts_rows_spelled_without_a_mistake():
    logits = torch.eye(3)[torch.tensor([[1, 0, 1, 2], [2, 2, 1, 1], [2, 0, 0, 0]])] * 50
    tagger = torch.nn.Identity()
    batch = {
        "input": logits, "target": torch.tensor([[1, 1, 2], [2, 1, 0], [1, 0, 0]]),
        "target_length": torch.tensor([3, 2, 1]),
    }  # fmt: skip
    with torch.no_grad():
        assert transcription()(tagger, batch)["accuracy"].item() == pytest.approx(2 / 3)
        batch["target_length"] = torch.tensor([2, 2, 1])
        assert transcription()(tagger, batch)["accuracy"].item() == pytest.approx(1 / 3)


def test_what_cannot_be_spelled_is_one_clear_sentence(unchecked):
    logits = torch.zeros(2, 3, 3)
    with pytest.raises(ValueError, match="row 1 has 3 steps, but its 3 labels need 4"):
        losses.ctc(logits, torch.tensor([[1, 2, 1], [1, 1, 2]]))
    with pytest.raises(ValueError, match="a label is 0, which is the blank"):
        losses.ctc(logits, torch.tensor([[1], [0]]))
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        ctc.prefix_beam(logits, 0)


def test_unaligned_labels_are_learnt():
    # Each symbol lasts 1 to 3 steps; where it begins nobody says.
    def strings(rows):
        labels = torch.randint(1, 4, (rows, 3))
        inputs = torch.zeros(rows, 12, dtype=torch.long)
        for row in range(rows):
            t = 0
            for label in labels[row]:
                lasts = int(torch.randint(1, 4, ()))
                inputs[row, t : t + lasts] = label
                t += lasts + 1
        return {"input": inputs, "target": labels}

    model = SequenceTagger(8, 4, vocabulary=4, cell="gru", hidden=16)
    optimizer, objective = torch.optim.Adam(model.parameters(), 2e-2), transcription()
    for _ in range(100):
        loss = objective(model, strings(32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert objective(model, strings(200))["accuracy"] > 0.9
