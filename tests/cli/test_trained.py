"""What one does with a trained network: predict, evaluate, report."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

SIZES = {"red": 0, "green": 1, "blue": 2}


def lines(rows: int = 90) -> list[str]:
    """Rows of size, colour, when and an answer that follows from the first two."""
    colours = list(SIZES)
    cells = []
    for i in range(rows):
        colour = colours[i % 3]
        missing = i % 10 == 7
        answer = "big" if i % 9 + 3 * SIZES[colour] > 7 else "small"
        cells.append(f"{'' if missing else i % 9},{colour},2024-01-{i % 28 + 1:02d},{answer}")
    return cells


@pytest.fixture
def trained(neurarium, workplace) -> str:
    """The name of a run on a table of mixed columns."""
    (workplace / "t.csv").write_text("\n".join(["size,colour,when,answer", *lines()]) + "\n")
    words = [
        "t.csv",
        "--target=answer",
        "--network=MLP:hidden=32",
        "--epochs=3",
        "--quiet",
        "--no-report",
    ]
    assert neurarium("fit", *words).code == 0
    return "t"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_with_a_missing_value_and_an_unseen_word_is_predicted(neurarium, trained, workplace):
    (workplace / "new.csv").write_text("when,colour,size\n2031-07-01,violet,\n,red,3\n")
    code, out, err = neurarium("predict", trained, "new.csv", "--proba")
    assert (code, err) == (0, "")
    answers = rows_of(out)
    assert list(answers[0]) == ["prediction", "probability_big", "probability_small"]
    assert {row["prediction"] for row in answers} <= {"big", "small"}
    for row in answers:
        total = float(row["probability_big"]) + float(row["probability_small"])
        assert total == pytest.approx(1, abs=1e-5)


def test_predictions_of_a_file_are_those_of_its_rows_alone(neurarium, trained, workplace):
    together = rows_of(neurarium("predict", trained, "t.csv", "--proba").out)
    for i in (0, 7, 44):
        (workplace / "one.csv").write_text(f"size,colour,when,answer\n{lines()[i]}\n")
        (alone,) = rows_of(neurarium("predict", trained, "one.csv", "--proba").out)
        assert alone == together[i]


def test_predictions_go_to_a_file_and_json_says_how_many(neurarium, trained):
    code, out, err = neurarium("predict", trained, "t.csv", "--output", "answers.csv", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 90
    assert "90 predictions in answers.csv" in err
    assert len(rows_of(Path("answers.csv").read_text())) == 90


def test_rows_that_lack_a_column_name_it(neurarium, trained, workplace):
    (workplace / "new.csv").write_text("when,colr\n2031-07-01,red\n")
    result = neurarium("predict", trained, "new.csv")
    assert result.code == 2
    assert result.is_one_sentence
    assert "size, colour" in result.err


def test_a_run_that_is_none_says_so(neurarium):
    result = neurarium("predict", "nothing", "new.csv")
    assert result.code == 2
    assert result.is_one_sentence


def test_the_own_test_rows_give_the_figures_of_fit(neurarium, trained):
    result = json.loads(neurarium("evaluate", trained, "--json").out)
    kept = json.loads(Path(result["run"], "result.json").read_text())
    assert result["scores"] == kept["test"]
    assert result["rows"] == 18
    low, high = result["intervals"]["accuracy"]
    assert low <= result["scores"]["accuracy"] <= high


def test_new_rows_are_judged_as_scikit_learn_would(neurarium, trained):
    from sklearn.metrics import accuracy_score

    result = json.loads(neurarium("evaluate", trained, "t.csv", "--json").out)
    predicted = [row["prediction"] for row in rows_of(neurarium("predict", trained, "t.csv").out)]
    answers = [line.rsplit(",", 1)[1] for line in lines()]
    assert result["rows"] == 90
    assert result["scores"]["accuracy"] == pytest.approx(accuracy_score(answers, predicted))


def test_data_that_has_changed_is_refused(neurarium, trained, workplace):
    (workplace / "t.csv").write_text("\n".join(["size,colour,when,answer", *lines(60)]) + "\n")
    for verb in ("evaluate", "report"):
        result = neurarium(verb, trained)
        assert result.code == 2
        assert result.is_one_sentence
        assert "is not what it was" in result.err


def test_a_file_without_a_header_is_predicted_with_and_without_its_target(neurarium, workplace):
    data = [f"{i % 9},{i % 5}.5,{'yes' if i % 9 > 4 else 'no'}" for i in range(60)]
    (workplace / "t.csv").write_text("\n".join(data))
    words = ["--target=-1", "--network=MLP:hidden=32", "--epochs=2", "--quiet", "--no-report"]
    assert neurarium("fit", "t.csv", *words).code == 0
    whole = neurarium("predict", "t", "t.csv").out
    (workplace / "new.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in data))
    assert neurarium("predict", "t", "new.csv").out == whole


def test_arrays_and_named_sets_are_predicted_and_judged(neurarium, workplace):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)).astype(np.float32)
    np.savez(workplace / "a.npz", x=x, y=(x[:, 0] > 0).astype(int))
    np.save(workplace / "x.npy", x[:5])
    assert (
        neurarium(
            "fit", "a.npz", "--network=MLP:hidden=32", "--epochs=2", "--quiet", "--no-report"
        ).code
        == 0
    )
    assert len(rows_of(neurarium("predict", "a", "x.npy").out)) == 5
    assert neurarium("evaluate", "a", "a.npz").code == 0
    result = neurarium("evaluate", "a", "x.npy")
    assert result.code == 2
    assert "no target" in result.err


def test_a_folder_of_arrays_is_predicted_and_judged_as_it_was_fitted(neurarium, workplace):
    x = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    (workplace / "a").mkdir()
    np.save(workplace / "a" / "x.npy", x)
    np.save(workplace / "a" / "y.npy", x[:, :2])
    words = ("--network=MLP:hidden=32", "--epochs=2", "--quiet", "--no-report")
    assert neurarium("fit", "a", *words).code == 0
    answers = rows_of(neurarium("predict", "a", "a").out)
    assert [*answers[0]] == ["prediction_y_0", "prediction_y_1"]
    assert len(answers) == 80
    judged = neurarium("evaluate", "a", "a", "--json")
    assert judged.code == 0, judged.err
    assert json.loads(judged.out)["rows"] == 80


@pytest.fixture
def book(neurarium, workplace) -> str:
    """The name of a run on a text in latin-1."""
    text = "être ou ne pas être, là est la question\nest-il plus noble\n" * 60
    (workplace / "book.txt").write_text(text, encoding="latin-1")
    words = ("--network=GPT:dim=16,heads=2,layers=1", "--max-steps=2", "--lr=0.01", "--no-report")
    result = neurarium("fit", "book.txt", "--encoding=latin-1", "--quiet", *words)
    assert result.code == 0, result.err
    return "book"


def test_a_text_is_read_in_the_encoding_of_the_one_trained_on(neurarium, book, workplace):
    result = neurarium("evaluate", book, "book.txt")
    assert result.code == 0, result.err
    assert "unknown" not in result.out
    (workplace / "new.txt").write_text("être ou ne pas être\n" * 10, encoding="utf-8")
    result = neurarium("evaluate", book, "new.txt", "--encoding=utf-8")
    assert result.code == 0, result.err
    assert "unknown" not in result.out


def test_characters_unknown_to_the_training_text_are_told(neurarium, book, workplace):
    (workplace / "odd.txt").write_text("QUEUE ZEBRA\n" * 20)
    result = neurarium("evaluate", book, "odd.txt")
    assert result.code == 0, result.err
    assert "so unknown: 'A', 'B', 'E', 'Q', 'R', 'U', 'Z'\n" in result.out


def test_report_is_written_again(neurarium, workplace):
    assert (
        neurarium("fit", "digits", "--network=MLP", "--epochs=1", "--quiet", "--no-report").code
        == 0
    )
    code, out, _ = neurarium("report", "digits")
    assert code == 0
    path = Path(out.split()[-1])
    assert path.read_text().startswith("<!")
