"""A column of sentences: found, split without a leak, numbered, and read again from files."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from neurarium.data import DataError, FreeTextPreprocessing, load, preprocessing_from_json
from neurarium.data.tokens import Words


def reviews(rows=60):
    """Sentences that a word gives away, and as many words that tell nothing."""
    generator = np.random.default_rng(0)
    fill = ["the", "film", "was", "a", "story", "of", "people", "and", "their", "town"]
    liked = np.arange(rows) % 2 == 0
    text = [
        " ".join([*generator.permutation(fill)[: 4 + i % 5], "fine" if good else "dull", f"x{i}"])
        for i, good in enumerate(liked)
    ]
    return pd.DataFrame({"review": text, "liked": np.where(liked, "yes", "no")})


def test_sentences_alone_are_read_as_text():
    data = load(reviews(), "liked")
    assert isinstance(data.preprocessing, FreeTextPreprocessing)
    assert data.task == "binary"
    assert any(note.startswith("text: 'review'") for note in data.notes)
    batch = data.train.tensors
    assert batch["input"].dtype == torch.int64
    rows = reviews().iloc[data.indices["train"]]
    assert batch["length"].tolist() == [len(text.split()) for text in rows["review"]]
    words = data.preprocessing.words
    shown = words.decode(batch["input"][0, : batch["length"][0]].tolist()).split()
    told = rows["review"].iloc[0].split()
    assert shown[:-1] == told[:-1], "in order; the last word occurs once, so it has no number"
    assert shown[-1] == words.words[0]


def test_the_vocabulary_is_of_the_training_rows_alone():
    data = load(reviews(), "liked")
    frame = reviews()
    for row in data.indices["test"] + data.indices["val"]:
        frame.loc[row, "review"] = f"zebra zebra zebra zebra q{row}"
    other = load(frame, "liked")
    assert other.indices == data.indices
    assert other.preprocessing.to_json() == data.preprocessing.to_json()
    assert torch.equal(other.train.tensors["input"], data.train.tensors["input"])


def test_a_table_stays_a_table_unless_it_is_told():
    frame = reviews().assign(stars=np.arange(60) % 5)
    table = load(frame, "liked")
    assert any("--types review=text" in note for note in table.notes)
    told = load(frame, "liked", types="review=text")
    assert isinstance(told.preprocessing, FreeTextPreprocessing)
    assert any("left out stars" in note or "left out 'stars'" in note for note in told.notes)
    with pytest.raises(DataError, match="one column of text can be read"):
        load(frame.assign(more=frame["review"]), "liked", types="review=text,more=text")
    with pytest.raises(DataError, match="did you mean"):
        load(frame, "liked", types="reviw=text")


def test_a_row_is_the_same_alone_and_among_others_and_from_json():
    data = load(reviews(), "liked")
    fitted = preprocessing_from_json(json.loads(json.dumps(data.preprocessing.to_json())))
    whole = fitted.transform(reviews(), with_target=True)
    alone = fitted.transform(reviews().iloc[7].to_dict(), with_target=True)
    n = alone["length"].item()
    assert torch.equal(alone["input"][0, :n], whole["input"][7, :n])
    assert alone["target"] == whole["target"][7]
    for given in ("a fine film", ["a fine film"], {"review": "a fine film"}):
        assert fitted.transform(given)["length"].tolist() == [3]
    assert fitted.transform(["", None])["length"].tolist() == [0, 0]
    with pytest.raises(DataError, match="lacks the column 'review'"):
        fitted.transform(pd.DataFrame({"text": ["a"]}))


def test_words_are_found_as_a_reader_would():
    assert Words.of("Don't STOP, l’été 3.5!") == ["don't", "stop", ",", "l’été", "3", ".", "5", "!"]
    fitted = Words.fit({"b": 3, "a": 3, "rare": 1})
    assert fitted.words[1:] == ["a", "b"]
    assert fitted.encode("A rare b") == [1, 0, 2]
    assert Words.fit({"once": 1}).words[1:] == ["once"], "rather than none"
    assert fitted.unknown("rare a") == ["rare"]
