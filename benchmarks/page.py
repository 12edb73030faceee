"""docs/benchmarks.md, and what README says of speed, from one run."""

import platform
import re
from importlib import metadata
from pathlib import Path

from benchmarks.tables import Verdict

_PEERS = (
    "torch", "numpy", "scikit-learn", "lightning", "keras", "jax", "skorch", "accelerate",
    "transformers", "torch_geometric",
)  # fmt: skip
_MISSING = """\
Not compared: fastai, whose vision part needs a torchvision that does not go with CPU builds of
torch; and what this project has no technique for yet (PPO, word vectors, restricted Boltzmann
machines, integrated gradients)."""
_MARK = re.compile(r"(<!-- performance -->\n).*?(<!-- /performance -->)", re.S)


def write(
    page: Path, heading: str, peaks: dict[str, float], verdicts: list[Verdict], tables: list[str]
) -> None:
    """The page, written anew."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`: every measurement is a process of its own, the contenders take",
        "turns, and speeds are medians of undisturbed stretches of the same run. Where not said",
        "otherwise everybody trains as by their own defaults. A plain loop is the tutorials': a",
        "DataLoader, and the loss read at every step.",
        "",
        f"{heading}. {versions()}.",
        "",
        _peaks(peaks),
        "",
        "| | speed | wanted | |",
        "|---|---|---|---|",
        *(
            f"| {_short(v.title)}: {_name(v.whose)} over {_name(v.versus)} | {v.speed:.2f} "
            f"| {v.wanted:.2f} | {v.outcome} |"
            for v in verdicts
        ),
        "",
        _MISSING,
    ]
    for table in tables:
        lines += ["", "```text", table.strip(), "```"]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _short(title: str) -> str:
    return title.split(":")[0].removesuffix(", own defaults")


def _name(contender: str) -> str:
    names = {"sklearn": "scikit-learn", "plain": "a plain loop", "bare": "the shortest loop",
             "fused": "a fused loop", "autocast": "an autocast loop",
             "python_cell": "a cell in Python"}  # fmt: skip
    return names.get(contender, contender.capitalize())


def versions() -> str:
    """Which libraries were measured."""
    found = []
    for name in _PEERS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, {', '.join(found)}"


def _peaks(peaks: dict[str, float]) -> str:
    if not peaks:
        return "The machine's peaks were not measured."
    return (
        f"The machine's peaks, of which a floor is the share that a unit cannot do without: "
        f"{peaks['fp32'] / 1e9:.0f} GFLOP/s in fp32, {peaks['bf16'] / 1e9:.0f} in bf16, "
        f"{peaks['copy'] / 1e9:.0f} GB/s copied, on {peaks['cores']:.0f} cores."
    )


def tell_readme(readme: Path, verdicts: list[Verdict], tables: list[str]) -> None:
    """Replace README's paragraph on speed."""
    speeds = {(v.title.split(",")[0].split(" ")[0], v.whose, v.versus): v.speed for v in verdicts}
    said = ", ".join(
        f"{name} {speeds[key]:.1f}"
        for name, key in (
            ("a wide perceptron", ("MLP", "neurarium", "plain")),
            ("LeNet-5", ("LeNet-5", "neurarium", "plain")),
            ("ResNet-20", ("ResNet-20", "neurarium", "plain")),
            ("an LSTM", ("LSTM", "neurarium", "plain")),
            ("a small GPT", ("GPT", "neurarium", "plain")),
        )
        if key in speeds
    )
    small = speeds.get(("digits", "neurarium", "sklearn"))
    lines = [
        f"How many times as fast `fit` is, by its own defaults, as a plain torch loop: {said}.",
    ]
    if small:
        lines.append(f"A small perceptron trains {small:.1f} times as fast as scikit-learn's.")
    graphs = re.search(r"([\d.]+) times as fast as GCNConv", "\n".join(tables))
    if graphs:
        lines.append(
            f"A GCN on a graph of Cora's size trains {graphs[1]} times as fast as by PyTorch"
        )
        lines.append("Geometric.")
    lines.append("Two CPU cores without a GPU, one run of `make bench`:")
    lines.append("[tables, versions, floors](docs/benchmarks.md).")
    text = readme.read_text(encoding="utf-8")
    block = "\n".join(lines)
    readme.write_text(_MARK.sub(lambda m: f"{m[1]}{block}\n{m[2]}", text), encoding="utf-8")
