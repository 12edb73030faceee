"""What does each part of a default training cost? LeNet-5 with it and without, epochs in turn.

`python -m benchmarks.components` prints JSON: for each part the seconds of CPU of every stretch,
and beside each the stretch without it that ran just before.
"""

import itertools
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

NAME, TITLE = "components", "LeNet-5, batch 128: CPU time that each part adds to a step"
LIMIT = 0.03
_STEPS, _TURNS = 10, 24


def main() -> None:
    from neurarium import objectives, penalties
    from neurarium.training import callbacks

    plain: dict[str, Any] = {"objective": objectives.supervised("cross_entropy")}

    def penalized(penalty: Any) -> dict[str, Any]:
        return {"objective": objectives.supervised("cross_entropy", [penalty])}

    parts: dict[str, dict[str, Any]] = {
        "schedule one_cycle": {"schedule": "one_cycle"},
        "EMA": {"callbacks": [callbacks.EMA()]},
        "clipping": {"max_grad_norm": 1.0},
        "penalty L1": penalized(penalties.L1(1e-4)),
        "penalty L2": penalized(penalties.L2(1e-4)),
    }
    without = _stretches(plain)
    runs = {name: _stretches({**plain, **part}) for name, part in parts.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(_TURNS):
        for name, stretches in runs.items():
            # In turn first and second: a slowing machine favours neither.
            order = (without, stretches) if turn % 2 else (stretches, without)
            times = {id(each): next(each) for each in order}
            seconds[name].append((times[id(without)], times[id(stretches)]))
    print(json.dumps({"seconds": seconds, "steps": _STEPS}))


def _stretches(part: dict[str, Any]) -> Iterator[float]:
    """CPU seconds of one stretch of steps after another, of a training that goes on and on."""
    import torch

    from neurarium.data import Data
    from neurarium.learning import Backprop
    from neurarium.networks import LeNet5
    from neurarium.training import engine
    from neurarium.training.trainer import Trainer

    torch.manual_seed(0)
    x, y = torch.randn(128 * _STEPS, 3, 32, 32), torch.randint(10, (128 * _STEPS,))
    data, model = Data((x, y)), LeNet5(in_channels=3, image_size=32)
    rule = Backprop(
        "adam", 1e-3, part.get("schedule"), max_grad_norm=part.get("max_grad_norm"),
        total_steps=100_000,
    )  # fmt: skip
    facts = engine.inspect(model, part["objective"], data.example(128), "cpu")
    trainer = Trainer(
        model, data, part["objective"], rule, engine=engine.decide(facts), epochs=1,
        batch_size=128, callbacks=part.get("callbacks", ()),
    )  # fmt: skip
    trainer.bind()
    for epochs in itertools.count(1):
        trainer.epochs = epochs
        start = time.process_time()
        trainer.run()
        if epochs > 2:  # what is done once is not the part's cost
            yield time.process_time() - start


def table(reports: list[dict[str, Any]]) -> str:
    """For each part the median of what a step takes more, of all rounds together."""
    lines = [f"{TITLE} (wanted: at most {LIMIT:.0%})"]
    if errors := [report["error"] for report in reports if "error" in report]:
        return "\n".join([*lines, errors[0]])
    for name in reports[0]["seconds"]:
        pairs = [pair for report in reports for pair in report["seconds"][name]]
        more = [part / plain - 1 for plain, part in pairs]
        spread = 1.25 * statistics.stdev(more) / len(more) ** 0.5  # standard error of a median
        cost = statistics.median(more)
        verdict = "reached" if cost <= LIMIT else "MISSED"
        step = statistics.median(part for _, part in pairs) / reports[0]["steps"]
        lines.append(f"{name:20}{cost:+7.1%} +- {spread:.1%} of {1e3 * step:.1f} ms: {verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
