"""Text as numbers: tokenizers fitted on the training part, and what they leave out."""

import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from neurarium.data.errors import DataError

__all__ = ["BytePairs", "Characters", "Tokenizer", "Words", "tokenizer_from_json"]

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@runtime_checkable
class Tokenizer(Protocol):
    """Text to numbers and back."""

    @property
    def vocab(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: Iterable[int]) -> str: ...
    def unknown(self, text: str) -> list[str]: ...
    def to_json(self) -> dict[str, Any]: ...


class Characters:
    """One token for each character of the training text; number 0 stands for all others."""

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = [UNKNOWN, *(c for c in characters if c != UNKNOWN)]
        self._number = {character: i for i, character in enumerate(self.characters)}

    @classmethod
    def fit(cls, text: str) -> "Characters":
        """The characters of this text, sorted."""
        return cls(sorted(set(text)))

    @property
    def vocab(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Numbers of the characters."""
        return [self._number.get(character, 0) for character in text]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these numbers."""
        return "".join(self.characters[token] for token in tokens)

    def unknown(self, text: str) -> list[str]:
        """Characters of this text that the training text did not have."""
        return sorted(set(text) - self._number.keys())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "characters", "characters": "".join(self.characters[1:])}


class Words:
    """One token for each word or mark, in small letters; 0 stands for all that were rare or unseen.

    Those with an apostrophe are one: "don't".
    """

    _PATTERN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")

    def __init__(self, words: Sequence[str]) -> None:
        self.words = [UNKNOWN, *(word for word in words if word != UNKNOWN)]
        self._number = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def of(cls, text: str) -> list[str]:
        """The words and marks of a text."""
        return cls._PATTERN.findall(text.lower())

    @classmethod
    def fit(cls, counts: Mapping[str, int], least: int = 2, most: int = 30_000) -> "Words":
        """The commonest words that occur at least so often; all, if none does."""
        order = sorted(counts, key=lambda word: (-counts[word], word))
        often = [word for word in order if counts[word] >= least]
        return cls((often or order)[: most - 1])

    @property
    def vocab(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """Numbers of the words."""
        return [self._number.get(word, 0) for word in self.of(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """The words of these numbers, a blank between them."""
        return " ".join(self.words[token] for token in tokens)

    def unknown(self, text: str) -> list[str]:
        """Words of this text that have no number of their own."""
        return sorted({*self.of(text)} - self._number.keys())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "words", "words": self.words[1:]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Words":
        return cls([str(word) for word in values["words"]])


class BytePairs:
    """Pieces of words, made by joining the commonest neighbours, of bytes to begin with.

    Nothing is unknown to it: what was never seen is spelled in bytes. Needs `neurarium[text]`.
    """

    def __init__(self, content: str) -> None:
        self._tokenizer = _tokenizers().Tokenizer.from_str(content)

    @classmethod
    def fit(cls, text: str, vocab: int = 4096) -> "BytePairs":
        """Pieces that spell this text shortly."""
        library = _tokenizers()
        made = library.Tokenizer(library.models.BPE())
        made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        made.train_from_iterator(text.splitlines(keepends=True), trainer)
        return cls(made.to_str())

    @property
    def vocab(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Numbers of the pieces."""
        return self._tokenizer.encode(text).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these numbers."""
        return self._tokenizer.decode(list(tokens))

    def unknown(self, text: str) -> list[str]:
        """Nothing: any text can be spelled in bytes."""
        return []

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "byte_pairs", "content": self._tokenizer.to_str()}


def has_byte_pairs() -> bool:
    """Whether the library behind `BytePairs` is installed."""
    return importlib.util.find_spec("tokenizers") is not None


def _tokenizers() -> Any:
    if not has_byte_pairs():
        raise DataError(
            "byte pairs need the package tokenizers; pip install 'neurarium[text]', or use "
            "characters"
        )
    import tokenizers

    return tokenizers


def tokenizer_from_json(values: dict[str, Any]) -> Tokenizer:
    """The tokenizer whose `to_json` gave these values."""
    if values["kind"] == "words":
        return Words.from_json(values)
    if values["kind"] == "characters":
        return Characters(values["characters"])
    return BytePairs(values["content"])
