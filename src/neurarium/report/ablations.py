"""The page of an ablation: what is lost without each part of a network, and how sure that is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurarium.report import figures
from neurarium.report.facts import METRIC_NAMES
from neurarium.report.overview import figure_text
from neurarium.report.page import Html, element, page, paragraph, section, table
from neurarium.study.parts import Part
from neurarium.training.checkpoints import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["render", "write"]

_DRAWN = 20  # parts of a kind; the table has all
_COLORS = {"matters": figures.ORANGE, "harms": figures.BLUE, "cannot tell": figures.INK}


def write(parts: Sequence[Part], metric: str, split: str, path: str | Path, name: str = "") -> Path:
    """Write the page.

    Args:
        metric: what the parts' figures are: "accuracy", "r2".
        split: the rows that were asked.
        name: of the run.
    """
    write_text(Path(path), render(parts, metric, split, name))
    return Path(path)


def render(parts: Sequence[Part], metric: str, split: str, name: str = "") -> str:
    """The page as text."""
    title = f"What matters in {name}" if name else "What matters"
    what = METRIC_NAMES.get(metric, metric)
    if not parts:
        return page(title, element("h1", title), paragraph("This network has no such parts."))
    whole = figure_text(metric, parts[0].whole)
    header = element(
        "header",
        element("h1", title),
        paragraph(
            f"{what[0].upper()}{what[1:]} on {split} rows: {whole} with every part. A part ",
            "matters, or harms, where the interval over rows, corrected for the number of parts, ",
            "excludes 0.",
            class_="soft",
        ),
    )
    kinds = {kind: [p for p in parts if p.kind == kind] for kind in (p.kind for p in parts)}
    return page(title, header, *(_kind(kind, own, metric) for kind, own in kinds.items()))


def _kind(kind: str, parts: Sequence[Part], metric: str) -> Html:
    what = METRIC_NAMES.get(metric, metric)
    recovered = any(part.recovered is not None for part in parts)
    header = ["without", what, "lost", "corrected interval", "verdict"]
    rows = []
    for part in parts:
        between = f"{figure_text(metric, part.low)} to {figure_text(metric, part.high)}"
        row = [part.name, figure_text(metric, part.figure), figure_text(metric, part.loss)]
        after = [] if part.recovered is None else [figure_text(metric, part.recovered)]
        rows.append([*row, between, part.verdict, *after])
    return section(
        kind.capitalize(),
        element("div", _picture(kind, parts[:_DRAWN], what), class_="figures"),
        table(
            f"Without one of the {kind} at a time, the most missed first",
            [*header, *(["after training on"] * recovered)],
            rows,
        ),
    )


def _picture(kind: str, parts: Sequence[Part], what: str) -> Html:
    """What is lost without each part, with its interval."""

    def plot(axes: "Axes") -> None:
        axes.axvline(0, color=figures.INK, lw=0.8, ls=(0, (4, 3)))
        for place, part in enumerate(parts):
            color = _COLORS[part.verdict]
            axes.plot([part.low, part.high], [place] * 2, color=color, lw=2)
            hollow = part.verdict == "cannot tell"
            axes.plot(part.loss, place, "o", color=color, ms=5, mfc="none" if hollow else color)
        figures.named_rows(axes, [part.name for part in parts])
        axes.set_xlabel(f"{what} lost")

    alt = f"{what} lost without each of the {kind}: " + "; ".join(
        f"{part.name} {part.loss:.3g}, {part.verdict}" for part in parts
    )
    return figures.draw(
        f"lost-{kind}", alt, f"{what} lost without each of the {kind}; hollow: cannot tell", plot
    )
