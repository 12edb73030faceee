"""Names in short messages: people, places and works that the training text never mentioned."""

import os
import re
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from neurarium.data import Batch, Data
from neurarium.layers import masks
from neurarium.layers.attention import ChainCRF
from neurarium.learning import Backprop
from neurarium.metrics import entity_f1
from neurarium.networks import SequenceTagger
from neurarium.objectives import Objective, per_step
from neurarium.recipes.reproduction import recipe
from neurarium.training import EarlyStopping, fit

Sentences = list[tuple[list[str], list[str]]]


@recipe(
    source="Derczynski, Nichols, van Erp & Limsopatham (2017), WNUT 2017 shared task",
    figure="test entity F1, BiLSTM with spelling, chain of labels",
    expect=(0.1, None),
    minutes=2,
    quick={"epochs": 8, "kinds": ("spelling",), "sentences": 600, "lr": 0.03},
    quick_expect=(0.005, None),
    needs=("wnut17",),
)
def wnut17_tagging(
    seed: int = 0,
    epochs: int = 8,
    kinds: tuple[str, ...] = ("spelling, chain", "spelling", "words"),
    sentences: int = 3394,
    lr: float = 3e-3,
    hidden: int = 100,
) -> dict[str, float]:
    """Two directions of 100 LSTM cells over words and how they are spelled, and labels in a chain.

    A word is the sum of 100 numbers for itself, its shape, its beginnings and its ends of one to
    four letters, as far as the training text has them twice. The best of seven systems has 0.4186,
    by vectors of words and lists of names from elsewhere, the last 0.263; here is neither, and most
    names of the test are unknown. The epoch of the least validation loss is kept. The first two
    seeds have 0.20 and 0.13.
    """
    folder = Path(os.environ["NEURARIUM_DATA"]) / "wnut17"
    train = _read(folder / "wnut17train.conll")[:sentences]
    val, test = (
        _read(folder / f"emerging.{part}")[:sentences] for part in ("dev.conll", "test.annotated")
    )
    labels = sorted({tag for _, tags in train + val + test for tag in tags})

    def f1(kind: str) -> float:
        torch.manual_seed(seed)
        spelled, chained = "spelling" in kind, "chain" in kind
        counts = Counter(f for words, _ in train for w in words for f in _features(w, spelled))
        numbers = {f: i for i, f in enumerate((f for f in counts if counts[f] > 1), 1)}
        splits = [_tensors(part, numbers, labels, spelled) for part in (train, val, test)]
        model = _Tagger(len(numbers) + 1, len(labels), hidden)
        chain = _Chain(len(labels))
        objective: Objective = chain if chained else per_step()
        run = fit(
            model, Data(*splits), objective,
            Backprop("adam", lr=lr, schedule="one_cycle", max_grad_norm=1.0),
            epochs=epochs, batch_size=32, callbacks=[EarlyStopping(patience=None)], seed=seed,
            precision="32", verbose=False,
        )  # fmt: skip
        scores, target = run.outputs("test")
        real = masks.padding(splits[2]["length"], target.shape[1])
        best = chain.crf.decode(scores, real) if chained else scores.argmax(2)
        found = [
            [labels[i] for i in row[own].tolist()] for row, own in zip(best, real, strict=True)
        ]
        return entity_f1([tags for _, tags in test], found)

    return {kind: f1(kind) for kind in kinds}


class _Tagger(nn.Module):
    """A word is the sum of what is known of it; of some words only the spelling is told."""

    reads = ("length",)

    def __init__(self, features: int, labels: int, hidden: int, width: int = 100) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(features, width, mode="sum", padding_idx=0)
        nn.init.normal_(self.embedding.weight[1:], std=0.3)
        self.drop = nn.Dropout(0.5)
        self.tagger = SequenceTagger(width, labels, hidden=hidden, bidirectional=True, dropout=0.5)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        if self.training:
            told = torch.rand(x.shape[:2]) > 0.3
            x = torch.cat([x[..., :1] * told[..., None], x[..., 1:]], 2)
        words = self.embedding(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.tagger(self.drop(words), length)


class _Chain(nn.Module):
    """Labels judged together."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.crf = ChainCRF(labels)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        scores = model(batch["input"], batch["length"])
        real = masks.padding(batch["length"], scores.shape[1])
        likely = self.crf.log_likelihood(scores, batch["target"].clamp(min=0), real)
        return -likely.sum() / batch["length"].sum()


def _read(path: Path) -> Sentences:
    """Words and tags; sentences are apart by a blank line."""
    blocks = re.split(r"\n\s*\n", path.read_text(encoding="utf-8").strip())
    pairs = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    return [([word for word, _ in rows], [tag for _, tag in rows]) for rows in pairs]


def _features(word: str, spelled: bool) -> list[str]:
    """The word in small letters; its shape, beginnings and ends."""
    low = word.lower()
    if not spelled:
        return [low]
    shape = "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word
    )
    shape = re.sub(r"(.)\1+", r"\1", shape)
    cuts = [f"{low[:n]}-" for n in (1, 2, 3, 4)] + [f"-{low[-n:]}" for n in (1, 2, 3, 4)]
    return [low, f"={shape}", *cuts]


def _tensors(
    sentences: Sentences, numbers: dict[str, int], labels: list[str], spelled: bool
) -> dict[str, Tensor]:
    """`input` (sentences, words, features), `target` and `length`."""
    longest = max(len(words) for words, _ in sentences)
    x = torch.zeros(len(sentences), longest, 10 if spelled else 1, dtype=torch.long)
    y = torch.zeros(len(sentences), longest, dtype=torch.long)
    for i, (words, tags) in enumerate(sentences):
        x[i, : len(words)] = torch.tensor(
            [[numbers.get(f, 0) for f in _features(w, spelled)] for w in words]
        )
        y[i, : len(tags)] = torch.tensor([labels.index(tag) for tag in tags])
    return {"input": x, "target": y, "length": torch.tensor([len(w) for w, _ in sentences])}
