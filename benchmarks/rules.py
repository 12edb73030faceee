"""Every learning rule on one network and one data set: `python -m benchmarks.rules [--seeds 3]`.

The 8 x 8 digits (1437 train, 360 test) and a perceptron 64-100-100-10. Backpropagation and the same
network with random hidden layers frozen are the references. Rules that train another kind of
network have one of about that size. A rule of `neurarium.learning` without an entry here is tried
with its defaults; what it answers to a network it cannot train is its row. Each rule has a process
of its own, on one thread. `--page docs/learning-rules.md` writes the table for readers.
"""

import argparse
import functools
import inspect
import json
import math
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, rules_table

_FROZEN = "hidden layers frozen"
_NO_RULES = {"NonFiniteError", "Rule"}  # and functions, unless they make a rule
_CREDIT = 0.958  # what random hidden layers reach at best: below, a rule taught them nothing
_CHANCES = 0.8  # for rules that see nothing but how good a candidate is


@dataclass(frozen=True)
class Setting:
    """How one rule is run; what a rule's own recipe or source says is good for it."""

    rule: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 40
    batch_size: int | None = 32  # None is all rows
    network: str = "MLP"
    activation: str = "tanh"
    objective: str = "cross_entropy"
    frozen: bool = False
    rates: tuple[float, ...] = ()  # plain descent with a rate for each layer
    least: float | None = None  # the accuracy wanted
    elsewhere: str = ""  # why it is not run here


_MOMENTUM = {"optimizer": "sgd:momentum=0.9", "lr": 0.05}
_REFERENCE = {"optimizer": "sgd:momentum=0.9", "lr": 0.1, "schedule": "one_cycle"}


def _feedback(mode: str) -> Setting:
    options = {**_MOMENTUM, "mode": mode}
    return Setting("FeedbackAlignment", options, epochs=60, least=_CREDIT)


SETTINGS = {
    "Backprop": Setting("Backprop", _REFERENCE, epochs=60, least=0.975),
    _FROZEN: Setting("Backprop", _REFERENCE, epochs=60, frozen=True),
    "SAM": Setting("SAM", _REFERENCE, epochs=60, least=0.975),
    "Analytic": Setting("Analytic", _REFERENCE, epochs=60, least=0.975),
    **{
        f"FeedbackAlignment {mode}": _feedback(mode)
        for mode in ("fa", "dfa", "sign", "usf", "mirror", "kp")
    },
    "TargetPropagation": Setting(
        "TargetPropagation", {"optimizer": "sgd", "lr": 0.01, "inverse_lr": 0.01}
    ),
    "TargetPropagation, difference": Setting(
        "difference_target_propagation", {"lr": 0.05, "inverse_lr": 3e-3}, least=_CREDIT
    ),
    "GradientTargetPropagation": Setting(
        "GradientTargetPropagation", {"optimizer": "adam", "lr": 0.005}, least=_CREDIT
    ),
    "DynamicInversion": Setting("DynamicInversion", {"lr": 0.05}, least=_CREDIT),
    "EquilibriumPropagation": Setting(
        "EquilibriumPropagation",
        {"lr": None, "persistent": True},
        rates=(0.2, 0.1),
        epochs=25,
        batch_size=20,
        network="EnergyNetwork",
        objective="quadratic_cost",
        least=_CREDIT,
    ),
    "PredictiveCoding": Setting(
        "PredictiveCoding", {"optimizer": "adam", "lr": 3e-3}, epochs=20, least=_CREDIT
    ),
    "ForwardForward": Setting(
        "ForwardForward", {"optimizer": "adam", "lr": 0.01}, epochs=60, network="GoodnessNetwork"
    ),
    "SyntheticGradients": Setting(
        "SyntheticGradients", {"optimizer": "adam", "lr": 1e-3}, least=_CREDIT
    ),
    "ADMM": Setting("ADMM", batch_size=None, activation="relu", least=_CREDIT),
    "DlADMM": Setting("DlADMM", epochs=100, batch_size=None, activation="relu", least=_CREDIT),
    "AltMin": Setting("AltMin", {"optimizer": "adam", "lr": 2e-3}, batch_size=50, least=_CREDIT),
    "LPOM": Setting("LPOM", epochs=60, batch_size=200, activation="relu", least=_CREDIT),
    "MSA": Setting("MSA", epochs=20, batch_size=200, least=_CREDIT),
    "ES": Setting("ES", {"lr": 0.03}, epochs=50, batch_size=200, least=_CHANCES),
    "GA": Setting("GA", epochs=100, batch_size=360, least=_CHANCES),
    "SimulatedAnnealing": Setting(
        "SimulatedAnnealing",
        {"T0": 0.0, "ns": 1, "nt": 10**9, "width": 0.1, "moves": 250},
        epochs=30,
        batch_size=360,
        least=_CHANCES,
    ),
    "FTPROP": Setting(
        "FTPROP", {"lr": 1e-3}, epochs=60, network="MLP of signs, normalized", least=_CREDIT
    ),
    "BidirectionalBackprop": Setting("BidirectionalBackprop", {"lr": 3e-3}),
    "OmnipresentSupervision": Setting(
        "OmnipresentSupervision", _MOMENTUM, epochs=60, least=_CREDIT
    ),
    "PerceptronRule": Setting("PerceptronRule", network="Perceptron"),
    "DeltaRule": Setting("DeltaRule", network="Adaline"),
    "PANNRule": Setting("PANNRule", {"lr": 0.3}, epochs=10, batch_size=50, network="PNeuron"),
    **{
        name: Setting(name, elsewhere=f"learns features without labels: {where}")
        for name, where in (
            ("Hebb", "principal components, `Hebb(variant='oja')`"),
            ("CompetingUnits", "recipe `competing-units-digits`"),
        )
    },
}


def main() -> None:
    arguments = _arguments()
    settings = _settings(arguments.only)
    report = {"machine": machine.facts(), "versions": _versions(), "rows": {}}
    if arguments.add and arguments.json.exists():
        report["rows"] = json.loads(arguments.json.read_text())["rows"]
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    print(rules_table.TITLE, flush=True)
    for name, setting in settings.items():
        row = {"setting": asdict(setting)}
        row["runs"] = _apart(measure, setting, arguments.seeds, arguments.epochs)
        report["rows"][name] = row
        print(rules_table.line(name, row), flush=True)
        arguments.json.write_text(json.dumps(report, indent=1))
    report["lenet"] = _apart(lenet)
    print(rules_table.cost(report["lenet"]), flush=True)
    order = {name: place for place, name in enumerate(_settings(None))}
    report["rows"] = dict(sorted(report["rows"].items(), key=lambda item: order[item[0]]))
    arguments.json.write_text(json.dumps(report, indent=1))
    print(f"everything measured: {arguments.json}")
    if arguments.page is not None:
        arguments.page.write_text(rules_table.page(report), encoding="utf-8")
        print(f"page: {arguments.page}")


def _apart(work: Any, *arguments: Any) -> Any:
    """What `work` returns in a new process, whose memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_one_thread) as pool:
        return pool.submit(work, *arguments).result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def measure(
    setting: Setting, seeds: int, epochs: int | None = None
) -> list[dict[str, float | None]] | str:
    """All seeds of one rule, or in what words it refuses."""
    if setting.elsewhere:
        return f"{setting.rule} {setting.elsewhere}"
    run(Setting("Backprop", _MOMENTUM), 0, epochs=1)  # what every rule's process has anyway
    before, runs = _peak(), []
    try:
        for seed in range(seeds):
            runs.append({**run(setting, seed, epochs), "megabytes": _peak() - before})
    except ValueError as error:
        return str(error)
    return runs


def run(setting: Setting, seed: int, epochs: int | None = None) -> dict[str, float | None]:
    """Train once: accuracy, CPU seconds, how far the first layer's first steps are a descent."""
    import torch

    from neurarium.objectives import supervised
    from neurarium.training import fit

    torch.manual_seed(seed)
    data, found = _digits(), []
    model = _network(setting)
    target = "vector" if setting.objective == "quadratic_cost" else "target"
    start = time.process_time()
    done = fit(
        model,
        data,
        supervised(setting.objective, target=target),
        _rule(setting, model, seed),
        epochs=epochs or setting.epochs,
        batch_size=setting.batch_size or len(data.train),
        seed=seed,
        callbacks=[_watch(found, None if setting.batch_size is None else 200)],
        verbose=False,
        precision="32",
    )
    seconds = time.process_time() - start
    accuracy = done.evaluate("test")["accuracy"]
    return {"accuracy": accuracy, "seconds": seconds, "alignment": found[0]}


def lenet(steps: int = 200) -> dict[str, float]:
    """CPU milliseconds of a step on LeNet-5 and 64 images: the middle of many, taken in turn.

    Step by step in turn, since what else the machine does changes the speed of both within seconds.
    """
    import torch

    from neurarium.learning import Backprop, FeedbackAlignment
    from neurarium.networks import LeNet5
    from neurarium.objectives import supervised

    torch.manual_seed(0)
    batch = {"input": torch.randn(64, 1, 28, 28), "target": torch.randint(10, (64,))}
    rules = {"Backprop": Backprop(**_MOMENTUM), "FeedbackAlignment": FeedbackAlignment(**_MOMENTUM)}
    for rule in rules.values():
        rule.bind(LeNet5(), supervised("cross_entropy"))
        rule.step(batch)
    found: dict[str, list[float]] = {name: [] for name in rules}
    for _ in range(steps):
        for name, rule in rules.items():
            start = time.process_time()
            rule.step(batch)
            found[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(times) for name, times in found.items()}


def _peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _network(setting: Setting) -> Any:
    from torch import nn

    from neurarium import layers, networks

    sizes = [64, 100, 100, 10]
    makers: dict[str, Any] = {
        "MLP": lambda: networks.MLP(sizes, activation=setting.activation),
        "MLP of signs, normalized": lambda: networks.MLP(
            sizes, activation="hardlims", norm="batch"
        ),
        "EnergyNetwork": lambda: networks.EnergyNetwork([64, 100, 10]),
        "GoodnessNetwork": lambda: networks.GoodnessNetwork([64, 100, 100], 10),
        "Perceptron": lambda: networks.Perceptron(64, 10),
        "Adaline": lambda: networks.Adaline(64, 10),
        "PNeuron": lambda: nn.Sequential(nn.Flatten(), layers.PNeuron(64, 10, 4)),
    }
    model = makers[setting.network]()
    if setting.frozen:
        model.layers[:-1].requires_grad_(False)
    return model


def _rule(setting: Setting, model: Any, seed: int) -> Any:
    import torch

    from neurarium import learning

    make, options = getattr(learning, setting.rule), dict(setting.options)
    if "seed" in inspect.signature(make).parameters:
        options["seed"] = seed
    if setting.rates:
        layers = zip(model.layers, setting.rates, strict=True)
        groups = [{"params": layer.parameters(), "lr": rate} for layer, rate in layers]
        options["optimizer"] = torch.optim.SGD(groups)
    return make(**options)


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
    from torch.nn.functional import one_hot

    from neurarium.data import Data, MinMax, load

    digits = load("digits", val_size=0)

    def prepared(split: Any) -> dict[str, Any]:
        image, digit = (split.tensors[name] for name in ("input", "target"))
        # Rules with a state for each example ask for the row's number.
        index = torch.arange(len(digit))
        return {
            "input": image, "target": digit, "vector": one_hot(digit, 10).float(), "index": index
        }  # fmt: skip

    transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    return Data(prepared(digits.train), test=prepared(digits.test), transform=transform)


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


def _versions() -> dict[str, str]:
    import torch

    import neurarium

    return {"neurarium": neurarium.__version__, "torch": str(torch.__version__)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--only", nargs="+", metavar="RULE")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of each rule's own")
    parser.add_argument("--json", type=Path, default=Path("runs") / "rules.json")
    parser.add_argument("--add", action="store_true", help="keep the other rules' rows of --json")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    main()
