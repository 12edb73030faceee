"""The report of a run: one HTML file that asks for nothing from outside."""

from collections.abc import Sequence
from pathlib import Path

from neurarium.report import (
    diagnostics,
    examples,
    forecasts,
    graphs,
    language,
    lengths,
    overview,
    results,
    texts,
)
from neurarium.report.facts import Facts
from neurarium.report.page import Html, page
from neurarium.training import Run


def write(run: Run, path: str | Path | None = None, *, splits: Sequence[str] = ("test",)) -> Path:
    """Write `report.html`: figures with intervals, curves, errors, calibration, what mattered.

    Args:
        path: the file; by default `report.html` in the run's folder, or here if it has none.
        splits: the splits to report; rows of the first are shown in detail.

    Raises:
        ValueError: if a split's name is unknown.
    """
    for name in splits:
        if name not in ("train", "val", "test"):
            raise ValueError(f"splits must be among train, val, test, got {name!r}")
    path = Path(path) if path is not None else (run.directory or Path()) / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(render(run, splits), encoding="utf-8")
    temporary.replace(path)
    return path


def render(run: Run, splits: Sequence[str] = ("test",)) -> str:
    """The report as text."""
    training = run.model.training
    facts = Facts(run, splits)
    try:
        found = forecasts.forecasts_of(facts)
        judged = _of_rows(facts) if found is None else forecasts.sections(facts, found)
        sections = [
            *judged,
            overview.training(facts),
            diagnostics.verdicts(facts),
            overview.choices(facts),
            overview.data_summary(facts),
            overview.rerun(facts),
            overview.record(facts),
        ]
    finally:
        run.model.train(training)
    return page(facts.title, *sections)


def _of_rows(facts: Facts) -> list[Html | None]:
    """How good the answers are for rows that are each by themselves."""
    spoken = language.language_of(facts)
    if spoken is not None:
        return language.sections(facts, spoken)
    written = texts.of_texts(facts)
    if written is not None:
        judged = [overview.headline(facts), results.test_figures(facts), results.errors(facts)]
        return [*judged, lengths.by_length(facts), *written, results.calibration(facts)]
    importance = examples.measure_importance(facts)
    return [
        overview.headline(facts),
        results.test_figures(facts),
        results.errors(facts),
        graphs.of_nodes(facts),
        lengths.by_length(facts),
        examples.worst_examples(facts, importance),
        examples.important_columns(facts, importance),
        examples.important_pixels(facts),
        results.calibration(facts),
    ]
