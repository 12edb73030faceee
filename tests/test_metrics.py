import numpy as np
import pytest
import sklearn.metrics as sk
import torch

from neurarium import metrics


def logits(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=n)
    output = rng.normal(size=(n, classes))
    output[np.arange(n), target] += 1
    return target, output


# Scores


@pytest.mark.parametrize("classes", [2, 5])
def test_classification_scores_equal_scikit_learns(classes):
    target, output = logits(200, classes)
    p = torch.tensor(output).softmax(1).numpy()
    predicted = output.argmax(1)
    binary = classes == 2
    expected = {
        "accuracy": sk.accuracy_score(target, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(target, predicted),
        "f1": sk.f1_score(target, predicted, average="binary" if binary else "macro"),
        "log_loss": sk.log_loss(target, p),
        "roc_auc": sk.roc_auc_score(target, p[:, 1] if binary else p, multi_class="ovr"),
    }
    found = metrics.scores("binary" if binary else "multiclass", target, output)
    assert found == pytest.approx(expected)


def test_regression_scores_equal_scikit_learns_over_several_outputs():
    rng = np.random.default_rng(0)
    target, output = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    assert metrics.scores("regression", torch.tensor(target), torch.tensor(output)) == (
        pytest.approx(
            {
                "r2": sk.r2_score(target, output),
                "mae": sk.mean_absolute_error(target, output),
                "rmse": sk.root_mean_squared_error(target, output),
            }
        )
    )


def test_multilabel_scores_equal_scikit_learns():
    rng = np.random.default_rng(0)
    target, output = rng.integers(2, size=(80, 4)), rng.normal(size=(80, 4))
    assert metrics.scores("multilabel", target, output) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(target, output > 0),
            "f1": sk.f1_score(target, output > 0, average="macro"),
            "roc_auc": sk.roc_auc_score(target, output),
        }
    )


def test_regression_is_scored_in_the_users_units():
    standardized = torch.tensor([[-1.0], [1.0]]), torch.tensor([[-1.0], [2.0]])
    found = metrics.scores("regression", *standardized, decode=lambda y: 10 * y.numpy() + 100)
    assert found["mae"] == pytest.approx(5)  # targets 90, 110; outputs 90, 120


def test_a_class_absent_from_the_split_costs_one_figure_and_no_warning():
    target, output = logits(100, 4)
    rows = target != 2
    found = metrics.scores("multiclass", target[rows], output[rows])
    assert sorted(found) == ["accuracy", "balanced_accuracy", "f1", "log_loss"]
    assert np.isfinite(list(found.values())).all()
    one_class = metrics.scores("binary", np.zeros(3, int), np.eye(3, 2))
    assert "roc_auc" not in one_class


def test_one_row_has_errors_but_no_r2_and_no_rows_have_nothing():
    assert metrics.scores("regression", np.ones((1, 1)), np.zeros((1, 1))) == {"mae": 1, "rmse": 1}
    assert metrics.scores("binary", np.ones(0, int), np.ones((0, 2))) == {}


def test_log_loss_of_a_confident_mistake_is_the_gap_of_its_logits():
    found = metrics.scores("binary", np.array([0, 1]), np.array([[0.0, 1000.0], [0.0, 1000.0]]))
    assert found["log_loss"] == 500
    assert found["roc_auc"] == 0.5  # equal rows: one tie


@pytest.mark.parametrize(
    ("task", "target", "output", "match"),
    [
        ("ranking", np.zeros(3), np.zeros((3, 2)), "task must be one of binary"),
        ("binary", np.zeros((3, 1)), np.zeros((3, 2)), r"got \(3, 2\) and \(3, 1\)"),
        ("regression", np.zeros(3), np.zeros((3, 2)), r"got \(3, 2\) and \(3, 1\)"),
        ("binary", np.zeros(3), np.full((3, 2), np.nan), "3 of 3 rows"),
    ],
)
def test_what_cannot_be_scored_is_an_error(task, target, output, match):
    with pytest.raises(ValueError, match=match):
        metrics.scores(task, target, output)


def test_as_many_classes_as_logits():
    with pytest.raises(ValueError, match="2 classes, got 3"):
        metrics.scores("multiclass", np.zeros(4, int), np.zeros((4, 3)), classes=["a", "b"])


def test_accuracy_of_logits_and_of_labels():
    output = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert metrics.accuracy(output, torch.tensor([0, 1, 1])).item() == pytest.approx(2 / 3)
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    assert metrics.accuracy(output, labels).item() == pytest.approx(2 / 3)


# Intervals


def test_wilson_equals_a_worked_value_and_stays_inside_zero_and_one():
    # n = 10, p = 0.5, z = 1.96: centre 0.5, half (1.96 sqrt(0.025 + 0.0096)) / 1.384 = 0.2634
    assert metrics.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert metrics.wilson(0, 10)[0] == 0
    assert metrics.wilson(10, 10)[1] == 1
    with pytest.raises(ValueError, match="got 3 of 2"):
        metrics.wilson(3, 2)


def bootstrap(task, target, output, resamples=150):
    """The bootstrap written out: score the drawn rows one resample after another."""
    rng = np.random.default_rng(1)
    drawn = rng.integers(len(target), size=(resamples, len(target)))
    found = [metrics.scores(task, target[rows], output[rows]) for rows in drawn]
    return {name: np.quantile([f[name] for f in found], [0.025, 0.975]) for name in found[0]}


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_intervals_equal_the_bootstrap_written_out(task):
    if task in ("binary", "multiclass"):
        target, output = logits(80, 2 if task == "binary" else 4)
        output = output.round(1)  # so that there are ties
    else:
        rng = np.random.default_rng(0)
        target = rng.normal(size=(80, 3)) if task == "regression" else rng.integers(2, size=(80, 3))
        output = target + rng.normal(size=(80, 3))
    expected = bootstrap(task, target, output)
    for name, interval in metrics.intervals(task, target, output, resamples=4000).items():
        low, high = expected[name]
        assert interval == pytest.approx((low, high), abs=0.25 * (high - low)), name


def test_the_resampled_roc_area_is_the_weighted_one_with_half_for_ties():
    rng = np.random.default_rng(0)
    target, ranking = rng.integers(2, size=40), rng.integers(4, size=40).astype(float)
    counts = rng.integers(1, 4, size=(3, 40)).astype(float)
    expected = [sk.roc_auc_score(target, ranking, sample_weight=c) for c in counts]
    area = metrics._area_under_resampled_curve(target, ranking)
    assert area(counts) == pytest.approx(expected)


def test_intervals_narrow_as_the_root_of_the_rows_and_repeat_with_their_seed():
    def width(n):
        low, high = metrics.intervals("multiclass", *logits(n, 3))["log_loss"]
        return high - low

    assert width(400) / width(6400) == pytest.approx(4, rel=0.2)
    assert width(400) == width(400)


def test_regression_intervals_are_in_the_users_units():
    rng = np.random.default_rng(0)
    target, output = rng.normal(size=(2, 50, 1))
    plain = metrics.intervals("regression", target, output)
    scaled = metrics.intervals("regression", target, output, decode=lambda y: y.numpy() * 10)
    assert scaled["mae"] == pytest.approx([10 * x for x in plain["mae"]])
    assert scaled["r2"] == pytest.approx(plain["r2"])


# Calibration


def test_reliability_table_worked_by_hand():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.35, 0.65], [0.7, 0.3]])
    target = np.array([0, 0, 1, 0])
    table = metrics.calibration(p, target, bins=5)
    # (0.6, 0.8] holds 0.8 wrong, 0.65 and 0.7 right; (0.8, 1] holds 0.9 right
    assert table.count.tolist() == [0, 0, 0, 3, 1]
    assert table.confidence[3:] == pytest.approx([(0.8 + 0.65 + 0.7) / 3, 0.9])
    assert table.accuracy[3:] == pytest.approx([2 / 3, 1])
    assert np.isnan(table.accuracy[:3]).all()
    ece = (3 * abs(2 / 3 - 2.15 / 3) + 0.1) / 4
    assert metrics.expected_calibration_error(p, target, bins=5) == pytest.approx(ece)


def test_a_network_that_draws_its_labels_from_its_probabilities_is_calibrated():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], size=50_000)
    target = (p.cumsum(1) < rng.random((50_000, 1))).sum(1)
    assert metrics.expected_calibration_error(p, target) < 0.01


def test_one_column_of_probabilities_is_an_error():
    with pytest.raises(ValueError, match=r"stack \(1 - p, p\)"):
        metrics.calibration(np.zeros(3), np.zeros(3))


# Entities


def test_entities_count_only_with_exact_words_and_type():
    # "Ann Lee flew to New York": truly a person 0-1 and a location 4-5; found are the person
    # exactly, and of the location one word, so precision 1/2, recall 1/2
    true = [["B-person", "I-person", "O", "O", "B-location", "I-location"], ["O", "B-group"]]
    found = [["B-person", "I-person", "O", "O", "B-location", "O"], ["O", "O"]]
    assert metrics.entity_f1(true, true) == 1
    assert metrics.entity_f1(true, found) == pytest.approx(2 * 1 / (3 + 2))
    wrong_type = [["B-group", "I-group", "O", "O", "B-location", "I-location"], ["O", "O"]]
    assert metrics.entity_f1(true, wrong_type) == pytest.approx(2 * 1 / (3 + 2))
    elsewhere = [["O"] * 6, ["B-group", "O"]]
    assert metrics.entity_f1(true, elsewhere) == 0
    assert metrics.entity_f1([["O", "O"]], [["O", "O"]]) == 0


@pytest.mark.parametrize(
    ("tags", "same"),
    [
        ("I-a I-a O", "B-a I-a O"),  # begins without a B-
        ("B-a I-b O", "B-a B-b O"),  # the type changes
        ("O I-a I-b", "O B-a B-b"),
    ],
)
def test_tags_that_break_the_scheme_are_read_as_conlleval_does(tags, same):
    assert metrics.entity_f1([tags.split()], [same.split()]) == 1


def test_neighbours_of_one_type_are_two_entities():
    assert metrics.entity_f1([["B-a", "B-a"]], [["B-a", "I-a"]]) == 0


def conlleval(sentences):
    """The script's own rules, `startOfChunk` and `endOfChunk`, line by line."""
    chunks, start = set(), 0
    for number, tags in enumerate(sentences):
        before, type_before = "O", ""
        for i, whole in enumerate([*tags, "O"]):
            tag, _, kind = whole.partition("-")
            ends = (before in "BI" and tag in "BO") or (before != "O" and type_before != kind)
            begins = tag == "B" or (before == "O" and tag == "I")
            begins |= tag != "O" and type_before != kind
            if before != "O" and ends:
                chunks.add((number, start, i, type_before))
            if begins:
                start = i
            before, type_before = tag, kind
    return chunks


def test_entity_f1_is_conllevals_on_any_tags():
    rng = np.random.default_rng(0)
    names = ["O", "O", "B-a", "I-a", "B-b", "I-b"]
    lengths = rng.integers(1, 9, 300)
    true, found = ([[str(t) for t in rng.choice(names, n)] for n in lengths] for _ in "tp")
    found = [t if i % 2 else f for i, (t, f) in enumerate(zip(true, found, strict=True))]
    a, b = conlleval(true), conlleval(found)
    precision, recall = len(a & b) / len(b), len(a & b) / len(a)
    expected = 2 * precision * recall / (precision + recall)
    assert 0.5 < expected < 0.9
    assert metrics.entity_f1(true, found) == pytest.approx(expected)


def test_tags_that_cannot_be_compared_are_errors(unchecked):
    with pytest.raises(ValueError, match="one tag for each word"):
        metrics.entity_f1([["O", "O"]], [["O"]])
    with pytest.raises(ValueError, match="got 'S-person'"):
        metrics.entity_f1([["O"]], [["S-person"]])
    with pytest.raises(ValueError, match="got 'B'"):
        metrics.entity_f1([["O"]], [["B"]])
