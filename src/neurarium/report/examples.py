"""Sections that look at single rows and single inputs."""

import base64
import io
import math

import numpy as np
import torch
from torch import Tensor

from neurarium.report.facts import Facts, SplitFacts
from neurarium.report.importance import (
    Importance,
    affordable_rows,
    permutation_importance,
    saliency,
)
from neurarium.report.page import Html, element, number, paragraph, percent, section, table, text
from neurarium.report.tables import Column, cells, columns

PICTURES, ROWS, SHOWN_COLUMNS = 12, 8, 6


def is_picture(inputs: Tensor | None) -> bool:
    """Whether rows can be drawn: `(N, 1 or 3, H, W)`."""
    return inputs is not None and inputs.ndim == 4 and inputs.shape[1] in (1, 3)


# Worst rows


@torch.no_grad()
def worst_examples(facts: Facts, importance: Importance | None) -> Html | None:
    """The rows with the largest loss, beside what the network made of them."""
    main = facts.main
    if main is None:
        return None
    losses = facts.row_losses(main.output, main.target).numpy()
    count = PICTURES if is_picture(main.inputs) else ROWS
    worst = np.argsort(-losses, kind="stable")[:count]
    title = "Largest errors" if facts.task == "regression" else "Most confidently wrong"
    if facts.task in ("binary", "multiclass"):
        wrong = worst[main.predicted[worst] != main.target[worst]]
        title, worst = (title, wrong) if len(wrong) else ("Least sure of the right answer", worst)
    if is_picture(main.inputs):
        assert main.inputs is not None
        shown = element("div", *_captioned(facts, main, worst), class_="pictures")
    else:
        shown = _rows(facts, main, worst, importance)
    return section(title, _explanation(facts, main), shown)


def _explanation(facts: Facts, main: SplitFacts) -> Html:
    where = "the data's own order" if main.numbers is not None else f"the {main.name} split"
    words = f"Rows are numbered from 0 in {where}."
    if facts.task in ("binary", "multiclass"):
        words = f"In brackets the probability that the network gives to the class. {words}"
    return paragraph(words, class_="soft")


def _captioned(facts: Facts, main: SplitFacts, rows: np.ndarray) -> list[Html]:
    assert main.inputs is not None
    low, high = _range(main.inputs)
    found = []
    for row in map(int, rows):
        answers = _answers(facts, main, row)
        caption = element("figcaption", *_lines(answers), Html("<br>"), main.row_name(row))
        said = f"{main.row_name(row)}: " + ", ".join(f"{k} {v}" for k, v in answers.items())
        picture = _picture(main.inputs[row], low, high)
        found.append(element("figure", image(picture, said), caption))
    return found


def _lines(answers: dict[str, str]) -> list[Html]:
    parts = [
        element("b", value) if key == "true" else text(value) for key, value in answers.items()
    ]
    labels = [text(f"{key} ") for key in answers]
    lines: list[Html] = []
    for i, (label, part) in enumerate(zip(labels, parts, strict=True)):
        lines += [Html("<br>")] * (i > 0) + [label, part]
    return lines


def _answers(facts: Facts, main: SplitFacts, row: int) -> dict[str, str]:
    """True and predicted answer of one row in the user's words."""
    if facts.task == "regression":
        return {
            "true": ", ".join(number(float(v)) for v in main.target[row][:5]),
            "predicted": ", ".join(number(float(v)) for v in main.predicted[row][:5]),
        }
    if facts.task == "multilabel":
        named = (
            ", ".join(n for n, on in zip(facts.classes, v[row], strict=True) if on) or "none"
            for v in (main.target > 0.5, main.predicted > 0.5)
        )
        return dict(zip(("true", "predicted"), named, strict=True))
    true, predicted = int(main.target[row]), int(main.predicted[row])
    p = main.probabilities[row]
    return {
        "true": f"{facts.classes[true]} ({percent(p[true])})",
        "predicted": f"{facts.classes[predicted]} ({percent(p[predicted])})",
    }


def _rows(facts: Facts, main: SplitFacts, rows: np.ndarray, importance: Importance | None) -> Html:
    preprocessing, shown = facts.run.preprocessing, _shown_columns(facts, main, importance)
    lines = []
    for row in map(int, rows):
        answers = _answers(facts, main, row)
        values = [cells(preprocessing, c, main.inputs[row]) for c in shown]  # type: ignore[index]
        lines.append([main.row_name(row), *answers.values(), *values])
    headers = ["row", "true", "predicted", *(c.name for c in shown)]
    which = "; the columns that mattered most" if importance and shown else ""
    return table(f"{main.name.capitalize()} rows with the largest loss{which}", headers, lines)


def _shown_columns(facts: Facts, main: SplitFacts, importance: Importance | None) -> list[Column]:
    if main.inputs is None or main.inputs.ndim != 2:
        return []
    known = columns(facts.run.preprocessing, main.inputs.shape[1])
    order = range(len(known)) if importance is None else np.argsort(-importance.mean)
    return [known[i] for i in order][:SHOWN_COLUMNS]


# Columns


def measure_importance(facts: Facts) -> Importance | None:
    """Permutation importance of the columns on rows of the main split, where it is affordable."""
    main = facts.main
    if main is None or main.inputs is None or main.inputs.ndim != 2 or len(main) < 2:
        return None
    groups = [column.positions for column in columns(facts.run.preprocessing, main.inputs.shape[1])]
    count = affordable_rows(len(main), len(groups), facts.parameters)
    if count < min(len(main), 50):
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(len(main))[:count])
    inputs, target = main.inputs[torch.from_numpy(chosen)], main.target[chosen]
    facts.run.model.eval()

    def row_loss(rows: Tensor) -> Tensor:
        output = facts.run.model(facts.prepare(rows))
        return facts.row_losses(output, np.concatenate([target] * (len(rows) // count)))

    return permutation_importance(row_loss, inputs, groups)


def important_columns(facts: Facts, importance: Importance | None) -> Html | None:
    """What the loss gains when each column is shuffled."""
    main = facts.main
    if importance is None or main is None or main.inputs is None:
        return None
    known = columns(facts.run.preprocessing, main.inputs.shape[1])
    order = np.argsort(-importance.mean, kind="stable")[:20]
    largest = max(float(importance.mean.max()), 1e-12)
    digits = min(max(2 - math.floor(math.log10(largest)), 0), 6)  # three of the largest's
    unit = "mean absolute error" if facts.task == "regression" else "log loss"
    if facts.task == "regression" and len(facts.output_names) > 1:
        unit = "mean absolute error in standard deviations"
    rows = []
    for i in order:
        mean, std = importance.mean[i], importance.std[i]
        bar = element("i", style=f"width: {100 * max(mean, 0) / largest:.1f}%")
        written = f"{mean:+.{digits}f} ± {std:.{digits}f}".replace("-", "−")
        value = element("td", written, class_="number")
        rows.append([known[i].name, value, element("td", bar, class_="bar", aria_hidden="true")])
    of = f"{importance.rows:,}" + f" of {len(main):,}" * (importance.rows < len(main))
    words = (
        f"Rise of the {unit} when a column is shuffled among {of} {main.name} rows, mean ± "
        f"standard deviation of {importance.repeats} shuffles. It shows what this network uses; "
        "columns that tell the same share their weight."
    )
    more = f" (20 of {len(known)})" if len(known) > 20 else ""
    headers = ["column", f"rise of the {unit}", ""]
    return section("What mattered", paragraph(words), table(f"Columns{more}", headers, rows))


# Pictures


def important_pixels(facts: Facts) -> Html | None:
    """Where the winning logit reacts to a small change: on average, and for a few rows."""
    main = facts.main
    if main is None or not is_picture(main.inputs) or facts.task not in ("binary", "multiclass"):
        return None
    assert main.inputs is not None
    rows = np.sort(np.random.default_rng(0).permutation(len(main))[:256])
    inputs = main.inputs[torch.from_numpy(rows)]
    facts.run.model.eval()
    maps = saliency(facts.run.model, facts.prepare(inputs)).numpy()
    low, high = _range(main.inputs)
    average = maps.mean(0)
    said = f"Mean size of the gradient over {len(rows)} {main.name} rows"
    drawn = [element("figure", image(_heat(average), said), element("figcaption", said))]
    for i in _one_of_each(main.predicted[rows]):
        blend = 0.35 * _picture(inputs[i], low, high) + 0.65 * _heat(maps[i])
        name = facts.classes[int(main.predicted[rows[i]])]
        words = f"{main.row_name(int(rows[i]))}, predicted {name}"
        alt = f"Gradient over the picture of {words}"
        drawn.append(element("figure", image(blend, alt), element("figcaption", words)))
    explained = (
        "Brighter: a small change of the pixel would change the predicted class's logit more "
        "(size of the gradient). It shows where the network is sensitive, not why it decides."
    )
    return section(
        "Where it looks", paragraph(explained), element("div", *drawn, class_="pictures")
    )


def _one_of_each(predicted: np.ndarray, most: int = 11) -> np.ndarray:
    return np.sort(np.unique(predicted, return_index=True)[1][:most])


def _range(inputs: Tensor) -> tuple[float, float]:
    """Darkest and brightest value; not all whole numbers reach to 255 (digits have 17 shades)."""
    return float(inputs.min()), float(inputs.max())


def _picture(pixels: Tensor, low: float, high: float) -> np.ndarray:
    """`(H, W, 3)` between 0 and 1."""
    scaled = (pixels.cpu().float().numpy() - low) / max(high - low, 1e-12)
    return np.broadcast_to(scaled.transpose(1, 2, 0), (*scaled.shape[1:], 3))


def _heat(values: np.ndarray) -> np.ndarray:
    """Values as colours from dark to bright; the largest hundredth is cut off."""
    from matplotlib import colormaps

    top = max(np.quantile(values, 0.99), 1e-12)
    return colormaps["inferno"](np.clip(values / top, 0, 1))[..., :3]


def image(pixels: np.ndarray, alt: str) -> Html:
    """An `<img>` that carries its PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return Html(f'<img src="data:image/png;base64,{data}" alt="{text(alt)}">')
