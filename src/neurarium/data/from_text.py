"""A text file becomes `Data` for a language model: windows of tokens, each with the next ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data.data import Data
from neurarium.data.errors import DataError, listing, show
from neurarium.data.plain import fits
from neurarium.data.splits import Resident
from neurarium.data.tokens import (
    BytePairs,
    Characters,
    Tokenizer,
    has_byte_pairs,
    tokenizer_from_json,
)
from neurarium.data.values import is_number

__all__ = ["TextPreprocessing", "Windows", "from_text", "text_data"]

TEXTS = (".txt", ".text", ".md", ".markdown", ".rst", ".tex")
# Below this, pieces of words are too rare to learn from.
_WORTH_BYTE_PAIRS = 5_000_000
_CONTEXT = 64


class Windows(Resident):
    """A long sequence of tokens, cut into rows of `context` tokens and the ones that follow.

    In training the cuts begin at another place each epoch, so that every token is seen in every
    place of a row. Nothing is copied: rows are views of the one sequence.
    """

    def __init__(self, tokens: Tensor, context: int) -> None:
        self.tokens, self.context = tokens, context
        rows = (len(tokens) - 1) // context
        end = rows * context
        cuts = tokens[:end].view(rows, context), tokens[1 : end + 1].view(rows, context)
        super().__init__(dict(zip(("input", "target"), cuts, strict=True)))

    def to(self, device: torch.device) -> "Windows":
        return Windows(self.tokens.to(device), self.context)

    def head(self, rows: int) -> "Windows":
        """The first rows."""
        return Windows(self.tokens[: rows * self.context + 1], self.context)

    def batches(self, batch_size: int, seed: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches in order, or shifted and in the order drawn by `seed`."""
        starts = torch.arange(len(self)) * self.context
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            shift = torch.randint(self.context, (), generator=generator)
            # The last row begins earlier where the text would end before it does.
            starts = (starts + shift).clamp(max=len(self.tokens) - 1 - self.context)
            starts = starts[torch.randperm(len(self), generator=generator)]
        starts = starts.to(self.tokens.device)[:, None]
        places = torch.arange(self.context + 1, device=self.tokens.device)
        for start in starts.split(self.sizes(batch_size)):
            rows = self.tokens[start + places].long()
            yield {"input": rows[:, :-1], "target": rows[:, 1:]}


class TextPreprocessing:
    """What turns text into tokens and back.

    Args:
        context: tokens of a row.
    """

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        self.tokenizer, self.context = tokenizer, context

    @property
    def vocab(self) -> int:
        """Number of tokens."""
        return self.tokenizer.vocab

    @property
    def features(self) -> list[str]:
        return [f"token {i}" for i in range(self.context)]

    def encode(self, text: str) -> Tensor:
        """The numbers of a text, in the smallest type that holds them."""
        return _tokens(self.tokenizer.encode(text), self.vocab)

    def start(self, prompt: str) -> Tensor:
        """A prompt as a batch of one; an empty one becomes a line's end."""
        return self.encode(prompt or "\n").long()[None]

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Any]:
        """The rows of another text, or of a file that holds one."""
        text = source if isinstance(source, str) else read_text(source)
        return {name: value.long() for name, value in self.rows(text).tensors.items()}

    def rows(self, text: str) -> Windows:
        """Another text, cut into rows.

        Raises:
            DataError: if it is too short for one.
        """
        tokens = self.encode(text)
        if len(tokens) <= self.context:
            raise DataError(
                f"this text has {len(tokens)} tokens, fewer than a row of {self.context} and the "
                "one after it; to go on with a short text use `neurarium generate`"
            )
        return Windows(tokens, self.context)

    def decode(self, output: Tensor) -> np.ndarray:
        """The likeliest next token after each row, as text."""
        following = output[:, -1].argmax(-1).tolist()
        return np.array([self.tokenizer.decode([token]) for token in following], dtype=object)

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        return {"kind": "text", "context": self.context, "tokenizer": self.tokenizer.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TextPreprocessing":
        if not fits(values["context"], int) or values["context"] < 1:
            raise DataError(f"a row has {show(values['context'])} tokens, which is damaged")
        return cls(tokenizer_from_json(values["tokenizer"]), values["context"])


def _tokens(numbers: list[int], vocab: int) -> Tensor:
    kind = np.uint8 if vocab <= 256 else np.int16 if vocab <= 2**15 else np.int32
    return torch.from_numpy(np.array(numbers, kind))


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file.

    Raises:
        DataError: if it is not text in this encoding.
    """
    path = Path(path)
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{path.name}' is not {encoding} text (byte {error.start}); say its encoding, such "
            "as --encoding latin-1"
        ) from None


def text_data(
    text: str,
    *,
    tokens: str | None = None,
    context: int = _CONTEXT,
    vocab: int = 4096,
    test_size: float = 0.1,
    val_size: float = 0.1,
    name: str = "text",
) -> Data:
    """A `Data` for a language model: the text's beginning trains, its end validates and tests.

    Args:
        tokens: "characters" or "byte_pairs"; by default byte pairs for long texts.
        context: tokens of a row.
        vocab: number of byte pairs.
        test_size: share of the text, at its end, kept for the test.
        val_size: share of the rest, at its end, kept for validation.

    Raises:
        DataError: if the text is too short to cut.
    """
    if tokens not in (None, "characters", "byte_pairs"):
        raise DataError(f"tokens must be 'characters' or 'byte_pairs', got '{tokens}'")
    parts = _parts(text, test_size, val_size)
    tokenizer, note = _tokenizer(parts["train"], tokens, vocab)
    prepared = TextPreprocessing(tokenizer, context)
    encoded = {key: prepared.encode(part) for key, part in parts.items()}
    counts = {key: len(part) for key, part in encoded.items()}
    if counts["train"] <= 2 * context:
        raise DataError(
            f"the text has {counts['train']} tokens to train on, too few for rows of {context}; a "
            "language model needs thousands"
        )
    splits: dict[str, Any] = {
        key: Windows(part, context) for key, part in encoded.items() if len(part) > context
    }
    told = ", ".join(f"{counts[key]:,} {key}" for key in splits)
    notes = ["task: language model", note, f"tokens in order: {told}"]
    strange = sorted({c for key in parts if key != "train" for c in tokenizer.unknown(parts[key])})
    if strange:
        notes.append(f"not in the training part, so unknown: {listing([repr(c) for c in strange])}")
    return Data(**splits, preprocessing=prepared, name=name, notes=notes)


@dataclass(frozen=True)
class Text:
    """What a text file holds."""

    content: str


def find_text(path: Path, encoding: str) -> Text | None:
    """The text of a file that is one; None for tables, also those called .txt."""
    if path.suffix.lower() not in TEXTS or not path.is_file():
        return None
    text = read_text(path, encoding)
    return None if _is_table(text) else Text(text)


def _is_table(text: str) -> bool:
    """Whether the first lines have as many cells each, or hold numbers alone."""
    lines = [line for line in text[:20_000].splitlines()[:50] if line.strip()]
    if len(lines) > 1 and any(
        len({line.count(mark) for line in lines}) == 1 and mark in lines[0] for mark in "\t,;|"
    ):
        return True
    return bool(lines) and all(is_number(word) for line in lines for word in line.split())


def from_text(text: Text, split: dict[str, Any], name: str) -> Data:
    """The language-model data of a text: its end is kept for validation and test."""
    sizes = {key: split[key] for key in ("test_size", "val_size")}
    return text_data(text.content, name=name, **sizes)


def _parts(text: str, test_size: float, val_size: float) -> dict[str, str]:
    rest = round(len(text) * (1 - test_size))
    train = round(rest * (1 - val_size))
    return {"train": text[:train], "val": text[train:rest], "test": text[rest:]}


def _tokenizer(text: str, tokens: str | None, vocab: int) -> tuple[Tokenizer, str]:
    if not text:
        raise DataError("the text is empty; a language model needs thousands of words")
    if tokens is None and len(text) >= _WORTH_BYTE_PAIRS:
        if has_byte_pairs():
            tokens = "byte_pairs"
        else:
            made = Characters.fit(text)
            return made, f"{made.vocab} characters ('pip install neurarium[text]' for pieces)"
    if tokens == "byte_pairs":
        pieces = BytePairs.fit(text, vocab)
        return pieces, f"{pieces.vocab:,} pieces of words, byte pairs"
    made = Characters.fit(text)
    return made, f"{made.vocab} characters"
