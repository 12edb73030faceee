"""The page of a study: every verdict, every picture, nothing from outside, names escaped."""

import pytest
from tests.report.test_report import Page

from neurarium.report import studies
from neurarium.study import nemenyi, study
from neurarium.study.trials import Outcome

KINDS = ["plain", "good", "<b>bad</b>"]


def planted(seed=0, kind="plain"):
    jitter = 0.001 * ((7 * seed + 3 * len(kind)) % 5)
    return {"accuracy": 0.8 + 0.01 * seed + {"plain": 0, "good": 0.05}.get(kind, -0.05) + jitter}


@pytest.fixture(scope="module")
def found():
    made = study(planted, {"kind": KINDS}, seeds=4, workers=1)
    for (arm, seed), outcome in made.outcomes.items():
        made.outcomes[arm, seed] = Outcome(
            scores=outcome.scores,
            history={"val_accuracy": [0.5, 0.7, outcome.scores["accuracy"]]},
            seconds=1.0,
            multiply_adds={"plain": 1e9, "good": 2e9}.get(arm, 9e9),
        )
    made.test = {"accuracy": [0.85, 0.86]}
    return made


def test_the_page_says_and_draws_everything(found, tmp_path):
    path = studies.write(found, tmp_path / "r.html")
    page = Page(path.read_text())
    assert page.titles == [
        "Verdicts",
        "Pictures",
        "The chosen arm, on test rows",
        "Cost and record",
    ]
    assert page.links == [] or all(link.startswith(("data:", "#")) for link in page.links)
    assert len(set(page.ids)) == len(page.ids)
    assert len(page.alts) == 5
    assert "better: good; worse: &lt;b&gt;bad&lt;/b&gt;" in page.text
    assert "<b>bad" not in page.text
    assert "Chosen: good, better than plain on validation rows." in page.text
    assert "mathdefault" not in page.text  # powers of ten on an axis come as equations


def test_failures_and_what_a_budget_left_out_are_said(found):
    cut = study(planted, {"kind": KINDS}, seeds=4, workers=1)
    del cut.outcomes["good", 3]
    cut.outcomes["good", 2] = Outcome(error="ValueError: <script>")
    page = Page(studies.render(cut))
    assert "What is missing" in page.titles
    assert "left out 1 trials" in page.text
    assert "&lt;script&gt;" in page.text
    assert len(page.alts) == 4  # no curves: a function has none


def test_the_front_holds_what_nothing_beats_in_both():
    points = [(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8), (4, 0.9), (0.5, 0.1)]
    assert studies.front(points) == [5, 0, 2]
    assert studies.front([(1, 0.5), (2, 0.4)], higher_is_better=False) == [0, 1]


def test_bars_join_the_longest_runs_within_the_critical_difference():
    assert studies._groups([1.0, 1.5, 2.4, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert studies._groups([1.0, 1.1, 1.2], 1.0) == [(0, 2)]
    assert studies._groups([1.0, 3.0], 1.0) == []
    _, distance = nemenyi({"a": [1, 2], "b": [3, 4], "c": [5, 6]})
    assert distance > 0
