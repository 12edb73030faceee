"""Strings of digits read pixel column by pixel column; nobody said where a digit begins."""

import torch
from torch import Tensor, nn

from neurarium.data import Batch, Data, Resident, load
from neurarium.learning import Backprop
from neurarium.losses import ctc
from neurarium.networks import SequenceTagger
from neurarium.recipes.reproduction import recipe
from neurarium.text.ctc import best_path, prefix_beam
from neurarium.training import fit


@recipe(
    source="Graves, Fernández, Gomez & Schmidhuber (2006), ICML, on strings of digits",
    figure="label error rate on strings of unseen digits",
    expect=(None, 0.05),
    minutes=0.5,
    quick={"rows": 800, "epochs": 6, "longest": 2},
    quick_expect=(None, 0.3),
)
def ctc_digits(
    seed: int = 0, rows: int = 4000, epochs: int = 10, longest: int = 4
) -> dict[str, float]:
    """One to four of scikit-learn's digits side by side, up to two empty columns before each.

    Two directions of 64 gated units, a class more for "no label"; Adam to 0.01 by the 1cycle
    schedule, batches of 32, norm of the gradient at most 1. The images of the test's strings are
    not among those trained on. The label error rate counts the insertions, deletions and
    replacements that turn the labels of the best path into the right ones, per right label. The
    paper has 0.3047 on phonemes of speech.
    """
    digits = load("digits", val_size=0, seed=seed)
    assert isinstance(digits.train, Resident)
    assert isinstance(digits.test, Resident)
    train = _strings(digits.train.tensors, rows, longest, seed)
    test = _strings(digits.test.tensors, 500, longest, seed + 10**6)
    run = fit(
        SequenceTagger(8, 11, cell="gru", hidden=64, bidirectional=True),
        Data(train, None, test), _spelled,
        Backprop("adam", lr=0.01, schedule="one_cycle", max_grad_norm=1.0),
        epochs=epochs, batch_size=32, metrics={}, seed=seed, precision="32", verbose=False,
    )  # fmt: skip
    with torch.no_grad():
        logits = run.model.eval()(test["input"], test["length"])
    labels = zip(test["target"], test["labels"], strict=True)
    right = [row[:n].tolist() for row, n in labels]
    path = best_path(logits, test["length"])
    beam = [row[0][0] for row in prefix_beam(logits, 8, test["length"])]
    return {
        "label error rate": _error_rate(path, right),
        "label error rate, prefix beam of 8": _error_rate(beam, right),
        "strings without an error": sum(map(list.__eq__, path, right)) / len(right),
    }


def _spelled(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(batch["input"], batch["length"])
    return ctc(logits, batch["target"], batch["length"], batch["labels"])


def _strings(split: dict[str, Tensor], rows: int, longest: int, seed: int) -> dict[str, Tensor]:
    """Columns of pixels; labels are 1 to 10, as 0 is the blank."""
    draw = torch.Generator().manual_seed(seed)
    images, digits = split["input"].float().squeeze(1) / 16, split["target"]
    labels = torch.randint(1, longest + 1, (rows,), generator=draw)
    chosen = torch.randint(len(images), (rows, longest), generator=draw)
    gaps = torch.randint(3, (rows, longest), generator=draw)
    real = torch.arange(longest) < labels[:, None]
    ends = ((gaps + 8) * real).cumsum(1)
    columns = (ends - 8)[..., None] + torch.arange(8)
    x = torch.zeros(rows, 10 * longest, 8)
    row = torch.arange(rows)[:, None, None].expand_as(columns)
    x[row[real], columns[real]] = images[chosen].transpose(2, 3)[real]
    return {
        "input": x, "length": ends[:, -1], "target": (digits[chosen] + 1) * real, "labels": labels
    }  # fmt: skip


def _error_rate(told: list[list[int]], right: list[list[int]]) -> float:
    edits = sum(map(_edits, told, right))
    return edits / sum(map(len, right))


def _edits(a: list[int], b: list[int]) -> int:
    """The least number of insertions, deletions and replacements (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]
