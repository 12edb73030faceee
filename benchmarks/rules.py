"""Every learning rule on one network and one data set: `python -m benchmarks.rules [--seeds 3]`.

The 8 x 8 digits (1437 train, 360 test) and a perceptron 64-100-100-10. Backpropagation and the same
network with random hidden layers frozen are the references. A rule of `neurarium.learning` without
an entry here is tried with its defaults; what it answers to a network it cannot train is its row.
"""

import argparse
import functools
import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine

_TITLE = "Digits 8 x 8, MLP 64-100-100-10: test accuracy by learning rule"
_FROZEN = "hidden layers frozen"
_NO_RULES = {"NonFiniteError", "Rule"}  # and functions, unless they make a rule
# Student's t at 97.5 %, by degrees of freedom.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Setting:
    """How one rule is run; what a rule's own recipe or source says is good for it."""

    rule: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 40
    batch_size: int | None = 32  # None is all rows
    activation: str = "tanh"
    frozen: bool = False


_MOMENTUM = {"optimizer": "sgd:momentum=0.9", "lr": 0.05}


def _feedback(mode: str) -> Setting:
    return Setting("FeedbackAlignment", {**_MOMENTUM, "mode": mode}, epochs=60)


SETTINGS = {
    "Backprop": Setting("Backprop", _MOMENTUM),
    _FROZEN: Setting("Backprop", _MOMENTUM, frozen=True),
    "SAM": Setting("SAM", _MOMENTUM),
    **{f"FeedbackAlignment {mode}": _feedback(mode) for mode in ("fa", "dfa", "sign", "kp")},
    "TargetPropagation": Setting(
        "TargetPropagation", {"optimizer": "sgd", "lr": 0.01, "inverse_lr": 0.01}
    ),
    "TargetPropagation, difference": Setting(
        "difference_target_propagation", {"lr": 0.05, "inverse_lr": 3e-3}
    ),
    "GradientTargetPropagation": Setting(
        "GradientTargetPropagation", {"optimizer": "adam", "lr": 0.002}
    ),
    "DynamicInversion": Setting("DynamicInversion", {"lr": 0.05}),
    "PredictiveCoding": Setting("PredictiveCoding", {"optimizer": "adam", "lr": 1e-3}),
    "SyntheticGradients": Setting("SyntheticGradients", {"optimizer": "adam", "lr": 1e-3}),
    "ADMM": Setting("ADMM", batch_size=None, activation="relu"),
    "DlADMM": Setting("DlADMM", epochs=100, batch_size=None, activation="relu"),
    "AltMin": Setting("AltMin", {"optimizer": "adam", "lr": 2e-3}, batch_size=50),
    "LPOM": Setting("LPOM", epochs=60, batch_size=200, activation="relu"),
    "MSA": Setting("MSA", epochs=20, batch_size=200),
    "ES": Setting("ES", {"lr": 0.03}, epochs=300, batch_size=None),
    "GA": Setting("GA", epochs=300, batch_size=None),
}


def main() -> None:
    arguments = _arguments()
    facts, settings = machine.facts(), _settings(arguments.only)
    measured: dict[str, Any] = {}
    print(_TITLE, flush=True)
    for name, setting in settings.items():
        try:
            measured[name] = [
                run(setting, seed, arguments.epochs) for seed in range(arguments.seeds)
            ]
        except ValueError as error:  # how a rule refuses
            measured[name] = str(error)
        print(row(name, measured[name]), flush=True)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": facts, "measured": measured}, indent=1))
    print(f"everything measured: {arguments.json}")


def run(setting: Setting, seed: int, epochs: int | None = None) -> dict[str, float | None]:
    """Train once: accuracy, seconds, and how far the first layer's first steps are a descent."""
    import torch
    from torch import nn

    from neurarium import learning
    from neurarium.networks import MLP
    from neurarium.objectives import supervised
    from neurarium.training import fit

    torch.manual_seed(seed)
    data = _digits()
    model = MLP([64, 100, 100, 10], activation=setting.activation)
    if setting.frozen:
        for layer in [m for m in model.modules() if isinstance(m, nn.Linear)][:-1]:
            layer.requires_grad_(False)
    rule = getattr(learning, setting.rule)(**setting.options)
    rows, found = len(data.train), []
    done = fit(
        model,
        data,
        supervised("cross_entropy"),
        rule,
        epochs=epochs or setting.epochs,
        batch_size=setting.batch_size or rows,
        seed=seed,
        callbacks=[_watch(found, None if setting.batch_size is None else 200)],
        verbose=False,
        precision="32",
    )
    accuracy = done.evaluate("test")["accuracy"]
    return {"accuracy": accuracy, "seconds": done.config["seconds"], "alignment": found[0]}


def _watch(found: list[float | None], rows: int | None) -> Any:
    """A callback that notes the first hidden layer's alignment after the first epoch."""
    from neurarium.training.callbacks import Callback

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Any) -> None:
            if not found:
                tensors = trainer.data.train.tensors
                batch = trainer.data.prepare({k: v[:rows].clone() for k, v in tensors.items()})
                found.append(_alignment(trainer.rule, batch))

    return Watch()


def _alignment(rule: Any, batch: Any) -> float | None:
    if not hasattr(rule, "alignment"):
        return None
    value = next(iter(rule.alignment(batch).values()))
    return value if math.isfinite(value) else None


@functools.cache
def _digits() -> Any:
    import torch

    from neurarium.data import MinMax, Resident, load

    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    rows = torch.arange(len(digits.train))  # rules with a state for each example ask for them
    digits.train = Resident({**digits.train.tensors, "index": rows})
    return digits


def _settings(only: list[str] | None) -> dict[str, Setting]:
    """Those above, then what else there is, with its defaults."""
    from neurarium import learning

    known = {setting.rule for setting in SETTINGS.values()}
    others = {
        name: Setting(name)
        for name in learning.__all__
        if name not in known | _NO_RULES and isinstance(getattr(learning, name), type)
    }
    settings = {n: s for n, s in SETTINGS.items() if hasattr(learning, s.rule)} | others
    if only is None:
        return settings
    chosen = {n: s for n, s in settings.items() if n in only or s.rule in only or _key(n) in only}
    if not chosen:
        raise SystemExit(f"no rule is called {' or '.join(only)}; there are {', '.join(settings)}")
    return chosen


def _key(name: str) -> str:
    return name.split(",")[0].lower()


def row(name: str, reports: list[dict[str, Any]] | str) -> str:
    """Mean and 95 % interval of the accuracy, seconds, cosine; or why there are none."""
    if isinstance(reports, str):
        return f"{name:32}{reports}"
    values = [report["accuracy"] for report in reports]
    cosines = [r["alignment"] for r in reports if r["alignment"] is not None]
    seconds = statistics.median(report["seconds"] for report in reports)
    cosine = f"{statistics.mean(cosines):6.2f}" if cosines else f"{'none':>6}"
    return f"{name:32}{_interval(values):>18}{seconds:8.1f} s  cosine{cosine}"


def _interval(values: list[float]) -> str:
    mean = f"{100 * statistics.mean(values):.1f} %"
    if len(values) < 2:
        return f"{mean} (1 seed)"
    t = _T[min(len(values) - 1, len(_T) - 1)]
    return f"{mean} +- {100 * t * statistics.stdev(values) / len(values) ** 0.5:.1f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--only", nargs="+", metavar="RULE")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of each rule's own")
    parser.add_argument("--json", type=Path, default=Path("runs") / "rules.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
