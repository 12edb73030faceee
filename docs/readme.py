"""Write README's picture, real output and table of techniques: `python docs/readme.py`.

README holds nothing measured that this program did not measure: it replaces what stands between
the markers `<!-- NAME -->` and `<!-- /NAME -->`.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

import neurarium as nr
from neurarium import zoo
from neurarium.report.importance import saliency

INK, BLUE, ORANGE = "#222222", "#3267b8", "#d9822b"


def draw(run: nr.Run) -> Figure:
    figure = Figure(figsize=(10.5, 3.3), layout="constrained")
    left, middle, right = figure.add_gridspec(1, 3, width_ratios=(1.15, 1, 1.15))
    _curves(figure.add_subplot(left), run)
    _confusions(figure.add_subplot(middle), run)
    _hardest(figure, right, run)
    return figure


def _curves(axes, run):
    axes.plot(run.history["epoch"], run.history["train_loss"], color=BLUE)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    rate = axes.twinx()
    rate.plot(run.history["epoch"], run.history["lr"], color=ORANGE, linestyle=":")
    rate.set_ylabel("learning rate", color=ORANGE)
    accuracy = run.evaluate("test")["accuracy"]
    axes.set_title(f"test accuracy {accuracy:.1%}", fontsize=10, color=INK)
    for each in (axes, rate):
        each.spines["top"].set_visible(False)


def _confusions(axes, run):
    output, target = run.outputs("test")
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (target.numpy(), output.argmax(1).numpy()), 1)
    axes.imshow(np.sqrt(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if row == column else INK
            axes.text(column, row, count, ha="center", va="center", fontsize=6, color=colour)
    axes.set(xticks=range(10), yticks=range(10), xlabel="predicted", ylabel="true")
    axes.tick_params(length=0, labelsize=7)
    axes.set_title("confusions", fontsize=10, color=INK)


def _hardest(figure, place, run):
    output, target = run.outputs("test")
    loss = torch.nn.functional.cross_entropy(output, target, reduction="none")
    rows = loss.argsort(descending=True)[:4]
    pixels = run.data.test.tensors["input"][rows]
    grid = GridSpecFromSubplotSpec(2, 4, place)
    heat = saliency(run.model, run.transform(pixels))
    for i, row in enumerate(rows.tolist()):
        line, column = divmod(i, 2)
        digit, looked = (figure.add_subplot(grid[line, 2 * column + k]) for k in (0, 1))
        digit.imshow(pixels[i, 0], cmap="gray_r")
        looked.imshow(heat[i], cmap="inferno")
        digit.set_title(f"a {target[row]}", fontsize=9, color=INK)
        looked.set_title(f"taken for {output[row].argmax()}", fontsize=9, color=INK)
        for axes in (digit, looked):
            axes.set(xticks=[], yticks=[])


def output() -> str:
    """What `neurarium fit digits` says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "neurarium", "fit", "digits"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return f"```text\n$ neurarium fit digits\n{done.stdout.strip()}\n```"


def table() -> str:
    """The families and their techniques."""
    families: dict[str, list[str]] = {}
    for technique in zoo.techniques():
        families.setdefault(technique.family, []).append(technique.name)
    lines = ["| family | techniques | |", "|---|---|---|"]
    for family, names in families.items():
        twice = Counter(name.lower().replace("_", "") for name in names)
        shown = [n for n in names if twice[n.lower().replace("_", "")] == 1 or n.islower()]
        lines.append(f"| {family} | {len(shown)} | {', '.join(f'`{name}`' for name in shown)} |")
    recipes = ", ".join(f"`{recipe.name}`" for recipe in zoo.recipes())
    return "\n".join([*lines, f"| Recipes | {len(zoo.recipes())} | {recipes} |"])


if __name__ == "__main__":
    docs = Path(__file__).parent
    (docs / "images").mkdir(exist_ok=True)
    draw(nr.fit("digits", verbose=False)).savefig(docs / "images" / "digits.png", dpi=110)
    readme = docs.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, content in (("output", output()), ("table", table())):
        marked = re.compile(f"(<!-- {name} -->\\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda m, new=content: f"{m[1]}{new}\n{m[2]}", text)
    readme.write_text(text, encoding="utf-8")
