"""Sequences that training did not have: longer, empty, of unknown tokens, of mixed lengths."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from neurarium import networks
from neurarium.text import decode

SPEECH = "to be or not to be, that is the question.\nwhether 'tis nobler in the mind\n"
WRITERS = ["GPT:dim=16,heads=2,layers=1", "LanguageModel:hidden=8,width=8",
           "TransformerXL:dim=16,heads=2,layers=1"]  # fmt: skip
READERS = ["FastText:width=8", "SequenceClassifier:hidden=8,inputs=8",
           "SequenceClassifier:hidden=8,inputs=8,pool=attention,cell=gru"]  # fmt: skip
SHORT = ("--max-steps", 3, "--lr", "0.01", "--no-report")


@pytest.mark.parametrize("network", WRITERS)
def test_a_language_model_of_uncommon_texts(neurarium, workplace, network):
    (workplace / "book.txt").write_text(SPEECH * 60)
    fitted = neurarium("fit", "book.txt", "--network", network, *SHORT)
    assert fitted.code == 0, fitted.err
    for prompt in ("", "to be", SPEECH * 3, "Ω" * 99):  # 228 characters: the context has 64
        found = neurarium("generate", "book", "--prompt", prompt, "-n", 70)
        assert found.code == 0, found.err
        assert found.out.startswith(prompt)
        assert len(found.out) == len(prompt) + 70 + 1
        assert ("unknown: 'Ω'" in found.err) == ("Ω" in prompt)
    (workplace / "long.txt").write_text(SPEECH * 100 + "Ω")
    judged = neurarium("evaluate", "book", "long.txt", "--json")
    assert judged.code == 0, judged.err
    assert "unknown: 'Ω'" in judged.err
    assert json.loads(judged.out)["rows"] > 60
    (workplace / "empty.txt").write_text("")
    for verb in ("evaluate", "predict"):
        empty = neurarium(verb, "book", "empty.txt")
        assert (empty.code, empty.is_one_sentence) == (2, True)
        assert "has 0 tokens, fewer than a row" in empty.err


@pytest.mark.parametrize(
    ("make", "sees"),
    [
        (lambda: networks.GPT(9, context=8, dim=16, heads=2, layers=1), False),
        (lambda: networks.TransformerXL(9, 16, heads=2, layers=1, memory=8), True),
        (lambda: networks.LanguageModel(9, 8, 8), True),
    ],
)
def test_of_a_prompt_beyond_the_context_the_end_counts(make, sees):
    """One with places sees no more than those; others also what came before."""
    torch.manual_seed(0)
    step = decode.step_of(make().eval())
    end = torch.randint(9, (1, 8))
    with torch.no_grad():
        one, other = (
            step(torch.cat([torch.full((1, 12), first), end], 1), None)[0][:, -1]
            for first in (3, 5)
        )
    assert torch.isfinite(one).all()
    assert torch.equal(one, other) is not sees


def reviews(rows):
    words = {"pos": "good fine lovely film", "neg": "bad poor awful film"}
    table = [(" ".join(words[c].split() * (1 + i % 5)), c) for i, c in enumerate(rows)]
    return pd.DataFrame(table, columns=["review", "opinion"])


@pytest.mark.parametrize("network", READERS)
def test_a_classifier_of_uncommon_texts(neurarium, workplace, network):
    learnt = pd.concat([reviews(["pos", "neg"] * 60), pd.DataFrame([{"opinion": "pos"}] * 4)])
    learnt.to_csv(workplace / "reviews.csv", index=False)
    words = ("--target", "opinion", "--types", "review=text", "--network", network, *SHORT)
    fitted = neurarium("fit", "reviews.csv", *words)  # in half precision: attention's mask too
    assert fitted.code == 0, fitted.err

    def probabilities(*texts):
        frame = pd.DataFrame({"review": texts, "opinion": "pos"})
        frame.to_csv(workplace / "new.csv", index=False)
        assert neurarium("evaluate", "reviews", "new.csv").code == 0
        found = neurarium("predict", "reviews", "new.csv", "--proba", "--json")
        assert found.code == 0, found.err
        return np.array(json.loads(found.out)["predictions"]["probability_pos"])

    mixed = ("good film", "bad " * 900, "", "xyzzy plugh жжж", "...!!", "fine")
    together = probabilities(*mixed)
    assert np.isfinite(together).all()
    alone = np.array([probabilities(text)[0] for text in mixed])
    np.testing.assert_allclose(together, alone, atol=0.004)  # half precision rounds
    np.testing.assert_allclose(probabilities("", ""), [together[2]] * 2, atol=0.004)


def test_a_text_column_without_words_is_one_sentence(neurarium, workplace):
    empty = reviews(["pos", "neg"] * 30).assign(review="")
    empty.to_csv(workplace / "reviews.csv", index=False)
    result = neurarium("fit", "reviews.csv", "--target", "opinion", "--types", "review=text")
    assert (result.code, result.is_one_sentence) == (2, True)
    assert "'review' holds no words in any training row" in result.err


@pytest.mark.parametrize("network", ["Forecaster:hidden=8", "DLinear:kernel=5", "NLinear"])
def test_a_forecaster_of_pasts_of_any_length(neurarium, workplace, network):
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(400) / 4) + 0.1 * rng.normal(size=400)
    when = pd.date_range("2024-01-01", periods=400, freq="h")
    table = pd.DataFrame({"when": when, "load": wave})
    table[:300].to_csv(workplace / "power.csv", index=False)
    flags = ("--time", "when", "--target", "load", "--horizon", 4, "--history", 24)
    assert neurarium("fit", "power.csv", *flags, "--network", network, *SHORT).code == 0

    def predict(rows):
        rows.to_csv(workplace / "new.csv", index=False)
        return neurarium("predict", "power", "new.csv", "--json")

    longer, exact = predict(table[-90:]), predict(table[-24:])
    assert longer.code == exact.code == 0
    # What lies before the window is not read, so it changes nothing.
    assert json.loads(longer.out)["predictions"] == json.loads(exact.out)["predictions"]
    for rows, said in (
        (table[-23:], "looks back 24 rows, but these are 23"),
        (table[:0], "holds only a header"),
        (table[-60:].assign(load=np.nan), "load is empty in all 60 rows"),
        (table[-60::2], "must be 1 hour apart"),
    ):
        short = predict(rows)
        assert (short.code, short.is_one_sentence) == (2, True), short.err
        assert said in short.err


@pytest.mark.parametrize(
    ("source", "network", "said"),
    [
        ("iris", "GPT", "GPT reads the tokens of a text"),
        ("iris", "LanguageModel", "LanguageModel reads the tokens of a text"),
        ("digits", "TransformerXL", "TransformerXL reads the tokens of a text"),
        ("digits", "DLinear", "DLinear reads windows of a series"),
        ("iris", "Forecaster", "a row of these data is of shape (4,)"),
        ("book.txt", "MLP", "take GPT, LanguageModel, TransformerXL"),
    ],
)
def test_networks_of_other_data_are_one_sentence(neurarium, workplace, source, network, said):
    (workplace / "book.txt").write_text(SPEECH * 60)
    result = neurarium("fit", source, "--network", network, *SHORT, "--quiet")
    assert (result.code, result.is_one_sentence) == (2, True), result.err
    assert said in result.err


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "binary_cross_entropy"])
def test_a_loss_of_classes_on_a_series_is_one_sentence(neurarium, workplace, loss):
    when = pd.date_range("2024-01-01", periods=300, freq="h")
    wave = pd.DataFrame({"when": when, "load": np.sin(np.arange(300) / 4)})
    wave.to_csv(workplace / "power.csv", index=False)
    words = ("--time", "when", "--target", "load", "--horizon", 4, "--loss", loss, "--quiet")
    result = neurarium("fit", "power.csv", *words)
    assert (result.code, result.is_one_sentence) == (2, True), result.err
    assert f"{loss} is a loss of classes" in result.err
    assert not (workplace / "runs").exists()
    numbers = neurarium("fit", "diabetes", "--loss", "cross_entropy", "--quiet")
    assert (numbers.code, numbers.is_one_sentence) == (2, True)
