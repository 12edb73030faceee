"""Why a run does or does not learn: a section of the report, and a page of its own."""

import functools
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurarium.explain import HiddenView, Planar, planar
from neurarium.report import figures
from neurarium.report.facts import Facts
from neurarium.report.page import Html, element, number, page, paragraph, percent, section, table
from neurarium.training import Run
from neurarium.training.diagnostics import Check, Diagnosis, diagnose

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS_OF_REPORT = 512
_MOST_SUSPICIOUS = 20
# The plane is 15 x 15 losses, drawn where that takes seconds.
_LANDSCAPE_POINTS, _LANDSCAPE_ROWS, _LANDSCAPE_WORK = 15, 256, 3e10


def verdicts(facts: Facts) -> Html | None:
    """What a look at the trained network finds; other learning rates are not tried here."""
    if facts.data is None:
        return None
    try:
        found = diagnose(facts.run, rows=_ROWS_OF_REPORT, rehearsal_steps=0)
    except ValueError:  # neither objective nor task
        return None
    where = facts.run.directory
    more = "neurarium diagnose " + (shlex.quote(str(where)) if where else "RUN")
    words = paragraph(
        "From a few hundred rows; ", element("code", more), " looks at more, tries other learning "
        "rates, and draws what flows through the layers.", class_="soft",
    )  # fmt: skip
    return section("Diagnosis", _findings(found), words)


def write(run: Run, found: Diagnosis, path: str | Path | None = None) -> Path:
    """Write `diagnosis.html`: verdicts, all checks, and figures of the layers."""
    path = Path(path) if path is not None else (run.directory or Path()) / "diagnosis.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(render(run, found), encoding="utf-8")
    temporary.replace(path)
    return path


def render(run: Run, found: Diagnosis) -> str:
    """The page as text."""
    facts = Facts(run, ())
    title = f"Diagnosis of {facts.title}"
    header = element("header", element("h1", title), paragraph(_summary(found), class_="soft"))
    return page(
        title,
        header,
        section("Verdicts", _findings(found)),
        _layers(found),
        _suspicious(run, found),
        _landscape(run),
        _plane(run),
        _curves(run),
        _checks(found),
    )


def _summary(found: Diagnosis) -> str:
    asked = sum(check.found is not None for check in found.checks)
    return (
        f"{asked} of {len(found.checks)} checks could be made; {len(found.findings)} found a fault."
    )


def _findings(found: Diagnosis) -> Html:
    if not found.findings:
        return paragraph(*found.lines())
    items = [
        element("li", element("b", _sentence(check.name)), " ", _sentence(check.figure),
                " To do: ", check.advice, ".")
        for check in found.findings
    ]  # fmt: skip
    return element("ul", *items)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _checks(found: Diagnosis) -> Html:
    answers = {True: "yes", False: "no", None: "not checked"}
    rows = [[c.name, answers[c.found], c.figure, _limit(c)] for c in found.checks]
    return section(
        "All checks", table("What was asked", ["check", "found", "measured", "against"], rows)
    )


def _limit(check: Check) -> str:
    if math.isnan(check.value) or math.isnan(check.limit):
        return ""
    return f"{number(float(check.value))}, limit {number(float(check.limit))}"


# Layers


def _layers(found: Diagnosis) -> Html | None:
    drawn = [
        *([_flow_figure(found)] if found.flow is not None else []),
        *([_units_figure(found)] if found.units is not None and found.units.layers else []),
        *([_updates_figure(found)] if found.updates else []),
    ]
    if found.flow is None and not drawn:
        return None
    return section(
        "Layers", element("div", *drawn, class_="figures"), _flow_table(found), _units_table(found)
    )


def _flow_figure(found: Diagnosis) -> Html:
    assert found.flow is not None
    layers = found.flow.layers
    numbers = np.arange(1, len(layers) + 1)
    delta, weight = (
        np.array([getattr(layer, name) or np.nan for layer in layers], dtype=float)
        for name in ("delta", "weight_gradient")
    )

    def plot(axes: "Axes") -> None:
        axes.plot(numbers, delta, "o-", color=figures.BLUE, ms=4, label="layer outputs")
        axes.plot(numbers, weight, "s--", color=figures.ORANGE, ms=4, label="weights")
        _log(axes, np.concatenate([delta, weight]))
        _whole(axes)
        axes.set(xlabel="layer", ylabel="gradient")
        axes.legend()

    alt = "Line chart of the gradient's norm at each layer: " + "; ".join(
        f"{layer.name} {layer.delta:.2g}" for layer in layers
    )
    caption = "The error signal on its way from the last layer to the first"
    return figures.draw("gradient-flow", alt, caption, plot)


def _units_figure(found: Diagnosis) -> Html:
    assert found.units is not None
    layers = found.units.layers
    numbers = np.arange(1, len(layers) + 1)
    dead = np.array([layer.dead_share for layer in layers])
    asleep = np.array([layer.saturation for layer in layers])

    def plot(axes: "Axes") -> None:
        axes.bar(numbers - 0.18, dead, 0.36, color=figures.ORANGE, label="dead units")
        axes.bar(numbers + 0.18, asleep, 0.36, color=figures.BLUE, label="flat slopes")
        axes.set(xlabel="activation", ylabel="share", ylim=(0, 1.02))
        _whole(axes)
        axes.legend()

    alt = "Bar chart of the share of dead units behind each activation: " + "; ".join(
        f"{layer.name} {layer.dead_share:.0%}" for layer in layers
    )
    caption = (
        "Units that are flat on every row, and the share of all slopes below 0.01 (about a half "
        "is usual of rectifiers)"
    )
    return figures.draw("dead-units", alt, caption, plot)


def _updates_figure(found: Diagnosis) -> Html:
    names = list(found.updates)
    values = np.array([found.updates[name] or np.nan for name in names], dtype=float)
    values[~np.isfinite(values)] = np.nan
    numbers = np.arange(1, len(names) + 1)

    def plot(axes: "Axes") -> None:
        axes.axhline(1e-3, color=figures.INK, lw=0.8, ls=(0, (4, 3)))
        axes.plot(numbers, values, "o", color=figures.BLUE, ms=5)
        _log(axes, np.append(values, 1e-3))
        _whole(axes)
        axes.set(xlabel="weight", ylabel="update / weight")

    alt = "Size of a step in proportion to each weight: " + "; ".join(
        f"{name} {value:.2g}" for name, value in zip(names, values, strict=True)
    )
    caption = "How far a step moves each weight, in proportion; about 0.001 (dashed) is usual"
    return figures.draw("update-ratios", alt, caption, plot)


def _log(axes: "Axes", values: np.ndarray) -> None:
    """A logarithmic axis that reaches over at least one power of ten."""
    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = np.log10(known.min()), np.log10(known.max())
    room = max(0.6 - (high - low) / 2, 0.1 * (high - low))
    axes.set_ylim(10 ** (low - room), 10 ** (high + room))
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(_power))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _power(value: float, position: object) -> str:
    return f"{value:g}" if value > 1e-4 else f"{value:.0e}".replace("e-0", "e-")


def _whole(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _flow_table(found: Diagnosis) -> Html | None:
    if found.flow is None:
        return None
    rows = [
        [
            f"{i}. {layer.name}",
            float(layer.delta),
            float(layer.ratio),
            float(layer.weight_gradient),
            float(layer.mean),
            float(layer.std),
            float(found.updates.get(f"{layer.name}.weight", math.nan)),
        ]
        for i, layer in enumerate(found.flow.layers, 1)
    ]
    headers = [
        "layer", "error signal", "over the next", "weights' gradient", "mean output",
        "deviation", "update / weight",
    ]  # fmt: skip
    return table("The layers with weights, from the input on; on one batch", headers, rows)


def _units_table(found: Diagnosis) -> Html | None:
    if found.units is None or not found.units.layers:
        return None
    rows = [
        [
            f"{i}. {layer.name}",
            layer.units,
            len(layer.dead),
            len(layer.saturated),
            element("td", percent(layer.asleep), class_="number"),
            element("td", percent(layer.saturation), class_="number"),
        ]
        for i, layer in enumerate(found.units.layers, 1)
    ]
    headers = ["activation", "units", "dead", "saturated", "slope 0", "slope below 0.01"]
    caption = f"The activations, over {found.units.rows:,} training rows"
    return table(caption, headers, rows)


# Rows


def _suspicious(run: Run, found: Diagnosis) -> Html | None:
    check = found["label noise suspected"]
    if not check.found or not check.rows or run.data is None:
        return None
    output, target = run.outputs(check.split)
    p = output.softmax(1)
    known = (getattr(run.data, "indices", None) or {}).get(check.split)
    classes = run.classes or [str(i) for i in range(p.shape[1])]
    rows = []
    for row in check.rows[:_MOST_SUSPICIOUS]:
        label, answer = int(target[row]), int(p[row].argmax())
        rows.append(
            [
                f"row\N{NO-BREAK SPACE}{row if known is None else known[row]}",
                f"{classes[label]} ({percent(float(p[row, label]))})",
                f"{classes[answer]} ({percent(float(p[row, answer]))})",
            ]
        )
    count = len(check.rows)
    shown = f"the surest {len(rows)} of {count}" if len(rows) < count else f"all {count}"
    where = "in the data's own order" if known is not None else f"within the {check.split} rows"
    caption = f"Labels that the network contradicts, {shown}; rows are numbered from 0 {where}"
    return section("Suspicious labels", table(caption, ["row", "labelled", "answered"], rows))


# Loss and decisions


def _landscape(run: Run) -> Html | None:
    """The loss around the trained weights, where 225 of them are quickly computed."""
    from neurarium.data import Resident
    from neurarium.training import landscape
    from neurarium.training.diagnostics.diagnosis import _objective_of

    objective = run.objective or _objective_of(run)
    if run.data is None or objective is None or not isinstance(run.data.train, Resident):
        return None
    parameters = sum(p.numel() for p in run.model.parameters())
    if not run.data.input_shape or parameters * _LANDSCAPE_ROWS * _LANDSCAPE_POINTS**2 > (
        _LANDSCAPE_WORK
    ):
        return None
    head = type(run.data)(
        run.data.train.head(_LANDSCAPE_ROWS), task=run.data.task, classes=run.data.classes,
        transform=run.data.transform,
    )  # fmt: skip
    try:
        seen = landscape.plane(run.model, objective, head, points=_LANDSCAPE_POINTS)
    except (RuntimeError, ValueError):
        return None
    loss = np.ma.masked_invalid(seen.loss.numpy())
    if not loss.count() or not loss.max() > loss.min():
        return None

    def plot(axes: "Axes") -> None:
        low, high = float(loss.min()), float(loss.max())
        levels = np.geomspace(low, high, 12) if low > 0 else np.linspace(low, high, 12)
        axes.contourf(seen.x.numpy(), seen.y.numpy(), loss, levels, cmap="viridis_r")
        axes.plot(0, 0, "+", color="white", ms=8)
        axes.set(xlabel="first direction", ylabel="second direction")

    span = f"from {loss.min():.3g} to {loss.max():.3g}"
    alt = f"Contours of the loss around the trained weights, {span}."
    caption = (
        f"Loss on {len(head.train)} training rows, {span} (dark), over two random directions, each "
        "filter's as long as the filter; + marks the trained weights"
    )
    drawn = figures.draw("landscape", alt, caption, plot)
    return section("Loss around the weights", element("div", drawn, class_="figures"))


def _plane(run: Run) -> Html | None:
    """Decision regions and hidden layers of a network with two inputs."""
    if run.data is None or math.prod(run.data.input_shape or (0,)) != 2:
        return None
    if run.task not in ("binary", "multiclass"):
        return None
    seen = planar(run.model, run.data)
    drawn = [
        figures.draw(
            "regions",
            "Decision regions in the plane of the two inputs, with the training rows.",
            "Which class each point of the plane is given, and the training rows",
            seen.plot_regions,
        ),
        *(
            figures.draw(
                f"hidden-{i}",
                f"The plane's grid and the training rows as {view.layer} sees them.",
                f"The plane as {view.layer} bends it",
                functools.partial(_hidden, seen, view),
            )
            for i, view in enumerate(seen.views.values())
        ),
    ]
    return section("Decision regions", element("div", *drawn, class_="figures"))


def _hidden(seen: Planar, view: HiddenView, axes: "Axes") -> None:
    seen.plot_view(axes, view)
    axes.locator_params(nbins=3)
    axes.set_ylabel("")  # which has no room beside long numbers


def _curves(run: Run) -> Html | None:
    drawn = figures.curves(run.history)
    return section("Training", element("div", *drawn, class_="figures")) if drawn else None
