"""What does each part of a default training cost? LeNet-5 with it and without, epochs in turn.

`python -m benchmarks.components` prints JSON: the seconds of CPU of every stretch of steps, of each
part and of none. It runs on one thread: of two, one that waits for the other is CPU time too, and
on a busy machine swings by more than any part takes.
"""

import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

NAME, TITLE = "components", "LeNet-5, batch 128: CPU time that each part adds to a step"
LIMIT = 0.03
_STEPS, _TURNS = 10, 40
_NONE = "none of them"


def main() -> None:
    from neurarium import objectives, penalties
    from neurarium.training import callbacks

    plain: dict[str, Any] = {"objective": objectives.supervised("cross_entropy")}

    def penalized(penalty: Any) -> dict[str, Any]:
        return {"objective": objectives.supervised("cross_entropy", [penalty])}

    parts: dict[str, dict[str, Any]] = {
        _NONE: {},
        "schedule one_cycle": {"schedule": "one_cycle"},
        "EMA": {"callbacks": [callbacks.EMA()]},
        "clipping": {"max_grad_norm": 1.0},
        "penalty L1": penalized(penalties.L1(1e-4)),
        "penalty L2": penalized(penalties.L2(1e-4)),
    }
    runs = {name: _stretches({**plain, **part}) for name, part in parts.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for _ in range(_TURNS):
        for name in order.sample(list(runs), len(runs)):  # a slowing machine favours none
            seconds[name].append(next(runs[name]))
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
        model, data, part["objective"], rule, engine=engine.decide(facts, threads=1), epochs=1,
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
    """For each part what a step takes more: its lower quartile of stretches beside that of none.

    Other processes only ever add to a stretch, so the quicker ones say most of the part itself.
    """
    lines = [f"{TITLE} (wanted: at most {LIMIT:.0%})"]
    if errors := [report["error"] for report in reports if "error" in report]:
        return "\n".join([*lines, errors[0]])
    seconds = {
        name: [each for report in reports for each in report["seconds"][name]]
        for name in reports[0]["seconds"]
    }
    plain = seconds.pop(_NONE)
    for name, own in seconds.items():
        cost, error = added(own, plain)
        verdict = "reached" if cost <= LIMIT else "MISSED"
        step = 1e3 * _quartile(own) / reports[0]["steps"]
        lines.append(f"{name:20}{cost:+7.1%} +- {error:.1%} of {step:.1f} ms: {verdict}")
    return "\n".join(lines)


def added(own: list[float], plain: list[float]) -> tuple[float, float]:
    """How much more the lower quartile is, as a share, and its standard error by the bootstrap."""
    draw = random.Random(0)
    again = [
        _quartile(draw.choices(own, k=len(own))) / _quartile(draw.choices(plain, k=len(plain)))
        for _ in range(500)
    ]
    return _quartile(own) / _quartile(plain) - 1, statistics.stdev(again)


def _quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


if __name__ == "__main__":
    main()
