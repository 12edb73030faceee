"""Figures: matplotlib's SVG, cut down to what a page needs and coloured with the page."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurarium.metrics import CalibrationTable, wilson
from neurarium.report.facts import METRIC_NAMES
from neurarium.report.page import Html, element, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A colour no figure uses: in the SVG it becomes the text colour of the page, light or dark.
INK = "#010203"
BLUE, ORANGE = "#3d7cc9", "#d97f27"
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's own font
    "text.parse_math": False,  # a class named "$x$" is not an equation
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,  # the numbers of an axis are its values
}
# More points than this are drawn as a picture inside the SVG.
MOST_VECTORS = 600


def draw(name: str, alt: str, caption: str, plot: Callable[["Axes"], None]) -> Html:
    """One small figure; `plot` draws on its axes and `alt` says what can be seen."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(3.5, 2.5), dpi=110)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.215, right=0.97, bottom=0.19, top=0.93)
        plot(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    svg = _inline(buffer.getvalue(), name, alt)
    return element("figure", svg, element("figcaption", caption))


def _inline(svg: str, name: str, alt: str) -> Html:
    """The `<svg>` element alone: no size, no metadata, no name that another figure could have."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "",
                 svg, flags=re.DOTALL)  # fmt: skip
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    svg = re.sub(r"<svg.*?>", "", svg, count=1, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href").replace(INK, "currentColor")
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Html(f'<svg {view[0]} role="img" aria-label="{text(alt)}">{svg.strip()}')


def named_rows(axes: "Axes", names: Sequence[str]) -> None:
    """A row for each name, the first at the top, and room for the names."""
    axes.figure.set_size_inches(3.5, 0.8 + 0.32 * max(len(names), 3))  # type: ignore[union-attr]
    longest = min(max(map(len, names)), 26)
    height = 0.8 + 0.32 * max(len(names), 3)
    axes.figure.subplots_adjust(
        left=min(0.09 + 0.0235 * longest, 0.6), bottom=0.5 / height, top=1 - 0.12 / height
    )
    shown = [name if len(name) <= 26 else f"{name[:25]}…" for name in names]
    axes.set_yticks(range(len(names)), shown)
    axes.set_ylim(len(names) - 0.5, -0.5)


# Curves


def curves(history: Mapping[str, Sequence[Any]]) -> list[Html]:
    """Loss, the validation metric and the learning rate, as far as they were recorded."""
    epochs = [*history.get("epoch", range(1, 1 + max(map(len, history.values()), default=0)))]
    metric = _metric(history)
    panels = [
        ("loss", {"training": "train_loss", "validation": "val_loss"}),
        *(
            [(metric, {"training": f"train_{metric}", "validation": f"val_{metric}"})]
            * bool(metric)
        ),
        *([("lr", {"learning rate": "lr"})] * _varies(history.get("lr", ()))),
    ]
    return [
        _curve(title, epochs, lines)
        for title, names in panels
        if (lines := {label: _floats(history[n]) for label, n in names.items() if n in history})
    ]


def _metric(history: Mapping[str, Sequence[Any]]) -> str:
    names = [name[4:] for name in history if name.startswith("val_") and name != "val_loss"]
    return names[0] if names else ""


def _varies(values: Sequence[Any]) -> bool:
    return len({v for v in values if v is not None}) > 1


def _floats(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _curve(title: str, epochs: Sequence[float], lines: Mapping[str, np.ndarray]) -> Html:
    label = "learning rate" if title == "lr" else METRIC_NAMES.get(title, title)
    colors = {"validation": ORANGE}

    def plot(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        for name, values in lines.items():
            known = np.isfinite(values)
            marker = "o" if known.sum() < 3 else None
            x = np.asarray(epochs)[known]
            axes.plot(x, values[known], colors.get(name, BLUE), label=name, marker=marker, lw=1.6)
        low, high = axes.get_ylim()
        middle = (low + high) / 2
        if high - low < 0.02 * abs(middle):  # a curve that hardly moves must not look as if it did
            axes.set_ylim(middle - 0.01 * abs(middle), middle + 0.01 * abs(middle))
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if len(lines) > 1:
            axes.legend()

    ends = "; ".join(
        f"{name} from {values[0]:.4g} to {values[-1]:.4g}" for name, values in lines.items()
    )
    alt = f"Line chart of the {label} over {len(epochs)} epochs: {ends}."
    return draw(f"curve-{title}", alt, _caption(label, epochs, lines), plot)


def _caption(label: str, epochs: Sequence[float], lines: Mapping[str, np.ndarray]) -> str:
    validation = lines.get("validation")
    if label != "loss" or validation is None or not np.isfinite(validation).any():
        return label[0].upper() + label[1:]
    best = int(np.nanargmin(validation))
    return f"Loss; lowest on validation rows at epoch {epochs[best]:g}: {validation[best]:.4g}"


# Results


def reliability(table: CalibrationTable) -> Html:
    """Accuracy in each bin of confidence, with 95 % intervals, against the diagonal."""
    filled = table.count > 0
    counts, right = table.count[filled], table.accuracy[filled]
    bounds = np.array([wilson(round(c * a), int(c)) for c, a in zip(counts, right, strict=True)])
    errors = np.abs(bounds.T - right)

    def plot(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.errorbar(
            table.confidence[filled], right, errors, fmt="o", color=BLUE, ms=5, lw=1.2, capsize=2
        )
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))

    alt = "Reliability diagram, accuracy at each confidence: " + "; ".join(
        f"{c:.2f} claimed, {a:.2f} right in {n} rows"
        for c, a, n in zip(table.confidence[filled], right, counts, strict=True)
    )
    caption = "Accuracy of the rows in each tenth of confidence, with 95 % intervals; on the dashed"
    return draw("reliability", alt, f"{caption} line the two agree", plot)


def agreement(true: np.ndarray, predicted: np.ndarray, name: str, key: str) -> Html:
    """Predicted against true values."""
    rows = _subsample(len(true))

    def plot(axes: "Axes") -> None:
        low = min(true.min(), predicted.min())
        high = max(true.max(), predicted.max())
        axes.plot([low, high], [low, high], color=INK, lw=0.8, ls=(0, (4, 3)))
        dots = axes.scatter(true[rows], predicted[rows], s=12, c=BLUE, alpha=0.5, lw=0)
        dots.set_rasterized(len(rows) > MOST_VECTORS)
        axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")

    correlation = np.corrcoef(true, predicted)[0, 1] if true.std() * predicted.std() else math.nan
    alt = f"Scatter plot of predicted against true {name}; correlation {correlation:.2f}."
    shown = f" ({len(rows):,} of {len(true):,} rows drawn)" if len(rows) < len(true) else ""
    caption = f"Predicted against true {name}{shown}; on the dashed line they agree"
    return draw(f"agreement-{key}", alt, caption, plot)


def residuals(true: np.ndarray, predicted: np.ndarray, name: str, key: str) -> Html:
    """Distribution of predicted minus true."""
    error = predicted - true
    counts, edges = np.histogram(error, bins=min(40, max(8, int(len(error) ** 0.5))))

    def plot(axes: "Axes") -> None:
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75)
        axes.axvline(0, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.set(xlabel=f"predicted − true {name}", ylabel="rows")

    low, middle, high = np.quantile(error, [0.05, 0.5, 0.95])
    fact = f"median {middle:.4g}, nine in ten between {low:.4g} and {high:.4g}"
    alt = f"Histogram of the errors: {fact}."
    return draw(f"residuals-{key}", alt, f"Errors (predicted − true): {fact}", plot)


def _subsample(n: int, most: int = 5000) -> np.ndarray:
    return np.arange(n) if n <= most else np.random.default_rng(0).choice(n, most, replace=False)
