"""The picture of a recipe that measured curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw_curves(curves: Mapping[str, Mapping[str, Sequence[float]]], path: str | Path) -> Path:
    """Write a PNG: a row for each "y by x", a panel for what names have before their comma.

    Args:
        curves: "y by x" -> "panel, line" -> the y of x = 1, 2, ...
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    panels = {
        title: list(dict.fromkeys(name.partition(", ")[0] for name in lines))
        for title, lines in curves.items()
    }
    columns = max(map(len, panels.values()))
    figure = Figure(figsize=(4.2 * columns, 3.4 * len(curves)), dpi=130, layout="constrained")
    grid = figure.subplots(len(curves), columns, squeeze=False)
    for row, (title, lines) in zip(grid, curves.items(), strict=True):
        y, _, x = title.partition(" by ")
        every = [value for line in lines.values() for value in line]
        spread = min(every) > 0 and max(every) > 100 * min(every)
        for axes, panel in zip(row, panels[title], strict=False):
            own = {name: line for name, line in lines.items() if name.partition(", ")[0] == panel}
            colours = matplotlib.colormaps["viridis"]
            for number, (name, line) in enumerate(own.items()):
                axes.plot(
                    range(1, len(line) + 1),
                    line,
                    marker="o",
                    markersize=3,
                    label=name.partition(", ")[2] or name,
                    color=colours(0.9 * number / max(1, len(own) - 1)),
                )
            axes.set(title=panel if len(panels[title]) > 1 else "", xlabel=x, ylabel=y)
            axes.set_yscale("log" if spread else "linear")
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        for axes in row[len(panels[title]) :]:
            axes.set_axis_off()
    figure.savefig(path)
    return Path(path)
