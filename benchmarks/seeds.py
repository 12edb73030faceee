"""Eight seeds of one network: trained side by side against one after another.

`python -m benchmarks.seeds` prints JSON: CPU seconds of both, in turn, on one thread, and how far
the seeds' losses differ.
"""

import json
import statistics
import time
from typing import Any

NAME, TITLE = "seeds", "Eight seeds: CPU time one after another against side by side"
_MEMBERS, _TURNS = 8, 3
_SHAPES = {  # name: sizes, rows, epochs
    "64-30-10": ((64, 30, 10), 1437, 10),
    "64-100-10": ((64, 100, 10), 1437, 10),
    "784-512-512-10": ((784, 512, 512, 10), 1024, 1),
}
_ONE_BY_ONE, _TOGETHER, _AUTOMATIC = "one by one", "together", "one by one, engine's precision"


def main() -> None:
    import torch

    torch.set_num_threads(1)
    print(json.dumps({name: _measure(*shape) for name, shape in _SHAPES.items()}))


def _measure(sizes: tuple[int, ...], rows: int, epochs: int) -> dict[str, Any]:
    import torch

    from neurarium.data import Data
    from neurarium.learning import Backprop
    from neurarium.networks import MLP
    from neurarium.objectives import supervised
    from neurarium.training import fit, fit_together
    from neurarium.training.together import why_not_together

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, sizes[0], generator=generator)
    y = (x @ torch.randn(sizes[0], sizes[-1], generator=generator)).argmax(1)
    data, objective, seeds = Data((x, y)), supervised("cross_entropy"), range(_MEMBERS)

    def fresh() -> list[Any]:
        models = []
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(MLP(list(sizes)))
        return models

    def rules() -> list[Backprop]:
        return [Backprop("adamw", lr=1e-3, schedule="one_cycle") for _ in seeds]

    def separately(precision: str) -> list[Any]:
        return [
            fit(model, data, objective, rule, seed=seed, epochs=epochs, precision=precision,
                threads=1, verbose=False)
            for model, rule, seed in zip(fresh(), rules(), seeds, strict=True)
        ]  # fmt: skip

    ways = {
        _ONE_BY_ONE: lambda: separately("32"),
        _AUTOMATIC: lambda: separately("auto"),
        _TOGETHER: lambda: fit_together(
            fresh(), data, objective, rules(), seeds=seeds, epochs=epochs
        ),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    losses: dict[str, list[list[float]]] = {}
    for turn in range(_TURNS + 1):
        for way, train in ways.items():
            start = time.process_time()
            runs = train()
            if turn:  # the first loads what is loaded once
                seconds[way].append(time.process_time() - start)
            losses[way] = [run.history["train_loss"] for run in runs]
    pairs = zip(losses[_ONE_BY_ONE], losses[_TOGETHER], strict=True)
    apart = max(abs(a - b) / a for own, other in pairs for a, b in zip(own, other, strict=True))
    reason = why_not_together(fresh(), data, objective, rules())
    return {"seconds": seconds, "apart": apart, "reason": reason}


def table(reports: list[dict[str, Any]]) -> str:
    """Ratios of the medians, and whether a study would train them together."""
    lines = [TITLE]
    if errors := [report["error"] for report in reports if "error" in report]:
        return "\n".join([*lines, errors[0]])
    for name in reports[0]:
        medians = {
            way: statistics.median(s for report in reports for s in report[name]["seconds"][way])
            for way in reports[0][name]["seconds"]
        }
        ratios = [medians[way] / medians[_TOGETHER] for way in (_ONE_BY_ONE, _AUTOMATIC)]
        apart = max(report[name]["apart"] for report in reports)
        used = reports[0][name]["reason"]
        lines.append(
            f"{name:16}{ratios[0]:5.2f} x ({ratios[1]:.2f} x in the engine's precision)   losses "
            f"differ by {apart:.0e}   " + (f"not used: {used}" if used else "used")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
