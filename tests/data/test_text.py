import importlib.util

import pytest
import torch

from neurarium import networks
from neurarium.data import DataError, TextPreprocessing, Windows, load, text_data
from neurarium.data.preprocessing import preprocessing_from_json
from neurarium.data.tokens import BytePairs, Characters

TEXT = "the quick brown fox jumps over the lazy dog. " * 40


def test_characters_and_back():
    tokenizer = Characters.fit("banana")
    assert tokenizer.encode("nab") == [3, 1, 2]  # a, b, n behind the unknown
    assert tokenizer.decode([3, 1, 2]) == "nab"
    assert tokenizer.vocab == 4


def test_characters_that_were_never_seen_are_unknown():
    tokenizer = Characters.fit("banana")
    assert tokenizer.encode("bäh") == [2, 0, 0]
    assert tokenizer.unknown("bähä") == ["h", "ä"]
    assert tokenizer.decode([0]) == "\N{REPLACEMENT CHARACTER}"


def test_windows_hold_the_next_tokens_as_targets():
    windows = Windows(torch.arange(11, dtype=torch.uint8), 3)
    (batch,) = windows.batches(8)
    assert batch["input"].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert batch["target"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert batch["input"].dtype == torch.int64
    assert windows.tensors["input"].data_ptr() == windows.tokens.data_ptr()  # no copy


def test_windows_begin_elsewhere_each_epoch_and_are_as_many():
    windows = Windows(torch.arange(50), 7)
    starts = set()
    for seed in range(60):
        rows = torch.cat([b["input"] for b in windows.batches(3, seed=seed)])
        assert len(rows) == len(windows) == 7
        assert (rows[:, 1:] - rows[:, :-1] == 1).all()
        assert int(rows.max()) < 49  # its target exists
        assert len(set(rows[:, 0].tolist())) == 7
        starts.add(int(rows.min()))
    assert starts == set(range(7))
    one, two = (list(windows.batches(3, seed=5)) for _ in range(2))
    assert all(torch.equal(a["input"], b["input"]) for a, b in zip(one, two, strict=True))


def test_head_is_the_beginning():
    assert Windows(torch.arange(50), 7).head(2).tensors["target"].tolist() == [
        [1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14],
    ]  # fmt: skip


def test_a_text_is_split_in_order_and_its_vocabulary_is_of_the_training_part():
    text = "ab" * 500 + "z" * 100
    data = text_data(text, context=8, test_size=0.1, val_size=0.1)
    assert data.preprocessing.vocab == 3
    assert data.preprocessing.encode("abz").tolist() == [1, 2, 0]
    assert any("unknown" in note and "'z'" in note for note in data.notes)
    lengths = [len(data.split(name).tokens) for name in ("train", "val", "test")]
    assert sum(lengths) == len(text)
    assert data.task is None


def test_preprocessing_survives_json():
    prepared = text_data(TEXT, context=8).preprocessing
    again = preprocessing_from_json(prepared.to_json())
    assert isinstance(again, TextPreprocessing)
    assert again.encode("fox!").tolist() == prepared.encode("fox!").tolist()
    assert again.context == 8


def test_the_next_token_is_what_is_predicted():
    prepared = text_data(TEXT, context=8).preprocessing
    output = torch.zeros(2, 8, prepared.vocab)
    output[0, -1, int(prepared.encode("q"))] = 1
    output[1, -1, int(prepared.encode("x"))] = 1
    assert prepared.decode(output).tolist() == ["q", "x"]


def test_a_text_file_is_a_language_model(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT)
    data = load(path)
    assert isinstance(data.train, Windows)
    assert data.name == "book"
    assert data.notes[0] == "task: language model"
    assert data.source["source"] == str(path)
    again = load(**data.source)
    assert again.fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "x,y\n1,2\n3,4\n" * 20),
        ("a.txt", "x\ty\n1\t2\n3\t4\n" * 20),
        ("a.csv", "x,y\n1,2\n3,4\n" * 20),
    ],
)
def test_tables_are_not_taken_for_texts(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    assert not isinstance(load(path, header=True).train, Windows)


def test_a_text_called_a_table_is_one(tmp_path):
    from neurarium.data.from_text import find_text

    path = tmp_path / "a.txt"
    path.write_text("1 2 3\n4 5 6\n")
    assert find_text(path, "utf-8") is None
    path.write_text("To be, or not to be,\nthat is the question: Whether\n'tis nobler\n")
    assert find_text(path, "utf-8") is not None


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "the text is empty"), (b"short", "too few for rows of 64"),
     (b"caf\xe9 " * 400, "not utf-8 text .*--encoding latin-1")],
)  # fmt: skip
def test_texts_that_are_none_are_one_clear_sentence(tmp_path, content, says):
    path = tmp_path / "book.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        load(path)


def test_a_text_too_short_to_judge_says_what_to_do():
    prepared = text_data(TEXT, context=8).preprocessing
    with pytest.raises(DataError, match=r"5 tokens, fewer than a row of 8 .*neurarium generate"):
        prepared.transform("quick")
    assert prepared.transform(TEXT)["input"].shape[1] == 8


def test_a_wrong_kind_of_token():
    with pytest.raises(DataError, match="tokens must be 'characters' or 'byte_pairs', got 'words'"):
        text_data(TEXT, tokens="words")


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is not None, reason="it is installed")
def test_byte_pairs_without_their_package_say_how_to_get_it():
    with pytest.raises(DataError, match=r"pip install 'neurarium\[text\]', or use characters"):
        text_data(TEXT, tokens="byte_pairs")


def test_byte_pairs_spell_anything_and_survive_json():
    pytest.importorskip("tokenizers")
    tokenizer = BytePairs.fit(TEXT, vocab=300)
    for text in (TEXT[:60], "Ünseen 漢字\n", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(TEXT)) < len(TEXT) / 2
    data = text_data(TEXT * 3, tokens="byte_pairs", context=8, vocab=300)
    again = preprocessing_from_json(data.preprocessing.to_json())
    assert again.encode("fox").tolist() == data.preprocessing.encode("fox").tolist()


def test_a_network_fits_the_text():
    data = text_data(TEXT, context=8)
    model = networks.for_data(
        "GPT:dim=16,heads=2,layers=1", (8,), 0, vocab=data.preprocessing.vocab
    )
    assert model(data.example()["input"]).shape == (2, 8, data.preprocessing.vocab)
    rebuilt = networks.build(networks.config(model))
    rebuilt.load_state_dict(model.state_dict())
