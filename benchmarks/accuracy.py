"""Is the precision that `fit` chooses as accurate as fp32? MNIST, four epochs, one seed a round.

`python -m benchmarks.accuracy PRECISION SEED` trains once and prints JSON.
"""

import json
import statistics
import sys
from typing import Any

NAME, TITLE = "accuracy", "MNIST, MLP 784-512-512-10, Adam, batch 128: test accuracy after 4 epochs"
PRECISIONS = ("32", "auto")
_EPOCHS, _BATCH_SIZE = 4, 128


def main(precision: str, seed: int) -> None:
    import torch

    from benchmarks.workloads import WORKLOADS
    from neurarium.data import load
    from neurarium.learning import Backprop
    from neurarium.training import fit

    torch.manual_seed(seed)
    run = fit(
        torch.nn.Sequential(torch.nn.Flatten(), WORKLOADS["mlp"].model()),
        load("mnist"),
        rule=Backprop("adam", lr=1e-3),
        epochs=_EPOCHS,
        batch_size=_BATCH_SIZE,
        seed=seed,
        precision=precision,
        verbose=False,
    )
    engine = run.config["engine"]
    accuracy = run.evaluate("test")["accuracy"]
    report = {"accuracy": accuracy, "seconds": run.config["seconds"], "engine": engine}
    print(json.dumps(report))


def table(measured: dict[str, list[dict[str, Any]]]) -> str:
    """Mean and spread of each precision, and whether their difference is noise."""
    lines, figures = [TITLE], {}
    for precision, reports in measured.items():
        errors = [report["error"] for report in reports if "error" in report]
        if errors:
            lines.append(f"{precision:6}{errors[0]}")
            continue
        values = [report["accuracy"] for report in reports]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        figures[precision] = (statistics.mean(values), spread, len(values))
        chosen = reports[0]["engine"]["precision"]
        lines.append(
            f"{precision:6}{chosen:12}{statistics.mean(values):.4f} +- {spread:.4f} "
            f"({len(values)} seeds; {', '.join(f'{value:.4f}' for value in values)})"
        )
    if len(figures) == len(PRECISIONS):
        (a, spread_a, n), (b, spread_b, _) = figures.values()
        error = ((spread_a**2 + spread_b**2) / n) ** 0.5
        lines.append(f"difference {b - a:+.4f}, its standard error {error:.4f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
