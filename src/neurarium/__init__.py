"""Neurarium: the neural-network zoo, alive.

Attributes load when first used (PEP 562), so `import neurarium` and `neurarium --help` cost
nothing; torch is imported by the first name that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurarium import (
        activations,
        data,
        estimators,
        explain,
        initialization,
        layers,
        learning,
        losses,
        metrics,
        networks,
        objectives,
        optim,
        penalties,
        recipes,
        report,
        study,
        training,
        zoo,
    )
    from neurarium.data import Data, load
    from neurarium.estimators import NetworkClassifier, NetworkRegressor
    from neurarium.learning import Backprop
    from neurarium.objectives.supervised import supervised
    from neurarium.training.fit import fit
    from neurarium.training.run import Run

__version__ = "0.1.0"

__all__ = [
    "Backprop",
    "Data",
    "NetworkClassifier",
    "NetworkRegressor",
    "Run",
    "activations",
    "data",
    "estimators",
    "explain",
    "fit",
    "initialization",
    "layers",
    "learning",
    "load",
    "losses",
    "metrics",
    "networks",
    "objectives",
    "optim",
    "penalties",
    "recipes",
    "report",
    "study",
    "supervised",
    "training",
    "zoo",
]

# Public names and the module each lives in; every other name in `__all__` is a module itself.
_HOME = {
    "Backprop": "learning",
    "Data": "data",
    "NetworkClassifier": "estimators",
    "NetworkRegressor": "estimators",
    "Run": "training",
    "fit": "training",
    "load": "data",
    "supervised": "objectives",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"neurarium.{_HOME[name]}"), name)
    elif name in __all__:
        value = import_module(f"neurarium.{name}")
    else:
        raise AttributeError(f"module 'neurarium' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
