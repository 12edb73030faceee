import json

import pytest

SPEECH = "to be or not to be, that is the question.\nwhether 'tis nobler in the mind\n"


@pytest.fixture
def book(workplace):
    (workplace / "book.txt").write_text(SPEECH * 60)
    return "book.txt"


def test_a_book_becomes_a_model_that_writes(neurarium, book, workplace):
    network = "GPT:dim=16,heads=2,layers=1"
    fitted = neurarium("fit", book, "--network", network, "--max-steps", 3, "--lr", "0.01")
    assert fitted.code == 0, fitted.err
    assert "task: language model" in fitted.out
    assert "loss" in fitted.out
    assert (next((workplace / "runs" / "book").iterdir()) / "report.html").exists()

    first = neurarium("generate", "book", "--prompt", "to be", "-n", 30, "--seed", 1)
    assert first.code == 0
    assert first.out.startswith("to be")
    assert len(first.out) == len("to be") + 30 + 1
    again = neurarium("generate", "book", "--prompt", "to be", "-n", 30, "--seed", 1)
    assert again.out == first.out
    other = neurarium("generate", "book", "--prompt", "to be", "-n", 30, "--seed", 2)
    assert other.out != first.out
    likeliest = [
        neurarium("generate", "book", "-p", "be", "-n", 9, "--temperature", 0, "--seed", s).out
        for s in (1, 2)
    ]
    assert likeliest[0] == likeliest[1]

    found = neurarium("generate", "book", "--prompt", "Ω", "-n", 5, "--json")
    assert json.loads(found.out)["prompt"] == "Ω"
    assert "unknown: 'Ω'" in found.err
    long = neurarium("generate", "book", "--prompt", SPEECH * 3, "-n", 80)  # beyond the context
    assert long.code == 0
    empty = neurarium("generate", "book", "-n", 4)
    assert empty.code == 0


def test_a_model_is_judged_on_another_text(neurarium, book, workplace):
    network = "GPT:dim=16,heads=2,layers=1"
    words = ("--network", network, "--max-steps", 40, "--lr", "0.01", "--no-report")
    assert neurarium("fit", book, *words).code == 0
    (workplace / "same.txt").write_text(SPEECH * 4)
    (workplace / "other.txt").write_text("QUEUE ZEBRA, JUMPING VEXED\n" * 12)
    losses = []
    for name in ("same.txt", "other.txt"):
        found = json.loads(neurarium("evaluate", "book", name, "--json").out)["scores"]
        assert found["perplexity"] == pytest.approx(2 ** found["bits"])
        losses.append(found["loss"])
    assert losses[0] < losses[1]
    own = json.loads(neurarium("evaluate", "book", "--json").out)
    fitted = json.loads(next((workplace / "runs" / "book").glob("*/result.json")).read_text())
    assert own["scores"]["loss"] == pytest.approx(fitted["test"]["loss"])
    (workplace / "short.txt").write_text("to be")
    short = neurarium("evaluate", "book", "short.txt")
    assert short.code == 2
    assert short.is_one_sentence
    assert "fewer than a row" in short.err


def test_a_run_without_a_text_cannot_write(neurarium):
    assert neurarium("fit", "iris", "--max-steps", 2, "--network", "Perceptron").code == 0
    result = neurarium("generate", "iris")
    assert result.code == 2
    assert result.is_one_sentence
    assert "was not trained on a text" in result.err
