"""`diagnose`: one report on why a network does not learn, or that nothing is wrong."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from neurarium.data import Data, GraphPreprocessing
from neurarium.learning import Backprop, Rule
from neurarium.objectives import Objective, supervised
from neurarium.training.diagnostics.checks import CHECKS, Check
from neurarium.training.diagnostics.evidence import Evidence
from neurarium.training.diagnostics.flow import GradientFlow
from neurarium.training.diagnostics.rehearsal import update_ratios
from neurarium.training.diagnostics.units import DeadUnits
from neurarium.training.fit import _LOSSES
from neurarium.training.run import Run

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run, and what was measured.

    Args:
        checks: every question that was asked, with its answer.
        updates: of each weight, the size of a step in proportion to it; empty if not measured.
    """

    checks: Sequence[Check]
    flow: GradientFlow | None = None
    units: DeadUnits | None = None
    updates: Mapping[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> list[Check]:
        """The checks that found a fault."""
        return [check for check in self.checks if check.found]

    @property
    def names(self) -> list[str]:
        """Names of the faults: "vanishing gradients", "dead units", ..."""
        return [check.name for check in self.findings]

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(
            f"no check is called {name!r}, only {', '.join(c.name for c in self.checks)}"
        )

    def lines(self) -> list[str]:
        """The verdicts in plain words."""
        if not self.findings:
            asked = sum(check.found is not None for check in self.checks)
            return [f"No fault found in {asked} checks."]
        return [
            f"{check.name[0].upper()}{check.name[1:]}: {check.figure}. To do: {check.advice}."
            for check in self.findings
        ]

    def json(self) -> dict[str, Any]:
        """All checks and measurements as plain values."""
        return {
            "findings": self.names,
            "checks": [asdict(check) for check in self.checks],
            "gradient_flow": None if self.flow is None else asdict(self.flow),
            "dead_units": None if self.units is None else asdict(self.units),
            "update_ratios": dict(self.updates),
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())


def diagnose(
    model: Run | nn.Module,
    data: Any = None,
    objective: Objective | None = None,
    rule: Rule | None = None,
    history: Mapping[str, Sequence[Any]] | None = None,
    *,
    batch_size: int | None = None,
    rows: int = 2048,
    rehearsal_steps: int = 150,
    seed: int = 0,
) -> Diagnosis:
    r"""Say in words why a network does not learn, each verdict with the figure it rests on.

    $$\text{learning rate too high}: \quad
      L(\theta^{\text{fresh}}_{150 \text{ steps at } \eta/10}) + 0.1\, L_{\text{constant}}
      < L(\theta_{\text{trained at } \eta})$$

    and likewise too low with 10, 100 or 1000 times the rate, and weight decay too strong with none.
    Other checks: inputs not scaled, vanishing or exploding gradients (`gradient_flow`), dead and
    saturated units (`dead_units`), one answer for everything, under- and overfitting, and label
    noise (`confident_joint`). Nothing of the caller's changes: no weight, buffer, mode, or random
    state.

    Args:
        model: a `Run`, which knows the rest; or a module, with the data and objective it was
            trained by.
        objective: by default the usual loss of the data's task.
        rule: a `Backprop` lets other learning rates be tried.
        history: figures by name, one entry an epoch, as in `Run.history`.
        batch_size: of the trials; by default the run's, else 64.
        rows: at most so many rows of a split are looked at.
        rehearsal_steps: length of each trial of another learning rate, made only where the
            training loss is still large; 0 makes none.

    Raises:
        ValueError: if there is no data, or no objective and no task to choose one by.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.randn(200, 5)
        >>> net = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 2))
        >>> _ = nn.init.constant_(net[0].bias, -100)
        >>> found = diagnose(net, (x, (x[:, 0] > 0).long()), rehearsal_steps=0)
        >>> found["dead units"].figure
        '20 of 20 units of 1 pass no gradient on any of 200 training rows'

    Source: Goodfellow, Bengio & Courville (2016), Deep Learning, section 11.5 (debugging
    strategies); each check names its own.
    """
    run = model if isinstance(model, Run) else None
    module: nn.Module = run.model if run is not None else model  # type: ignore[assignment]
    if run is not None:
        data = run.data if data is None else data
        objective = objective or run.objective or _objective_of(run)
        rule = rule or getattr(run, "rule", None) or _rule_of(run)
        history = run.history if history is None else history
        batch_size = batch_size or run.config.get("batch_size")
    if data is None:
        raise ValueError(
            "diagnose needs the data that the model was trained on; pass data=, or attach it to "
            "the run: run.attach(data)"
        )
    data = data if isinstance(data, Data) else Data(data)
    if isinstance(data.preprocessing, GraphPreprocessing):
        raise ValueError(
            "diagnose looks at rows that are each by themselves, and these are of a graph; "
            "neurarium report shows what this network does"
        )
    if objective is None:
        if data.task is None:
            raise ValueError(
                "the task of this data is unknown, so there is no usual loss for it; pass the "
                "objective that the model was trained by"
            )
        objective = supervised(_LOSSES[data.task])
    evidence = Evidence(
        module,
        data,
        objective,
        rule if isinstance(rule, Backprop) else None,
        history or {},
        batch_size or 64,
        rows,
        rehearsal_steps,
        seed,
    )
    checks = [check(evidence) for check in CHECKS]
    return Diagnosis(checks, evidence.flow, evidence.units, _updates(evidence))


def _updates(evidence: Evidence) -> dict[str, float]:
    finite = all(torch.isfinite(p).all() for p in evidence.model.parameters())
    if evidence.rule is None or not evidence.rehearsal_steps or not finite:
        return {}
    return update_ratios(
        evidence.model,
        evidence.data,
        evidence.objective,
        evidence.rule,
        batch_size=evidence.batch_size,
        seed=evidence.seed,
    )


def _objective_of(run: Run) -> Objective | None:
    """The objective that the command line was told or chose, from a loaded run's record."""
    options = run.config.get("options") or {}
    if run.data is not None:
        from neurarium.training.automatic import usual_objective  # which builds on all of this

        with contextlib.suppress(ValueError):
            return usual_objective(run.data, options.get("loss"), options.get("penalties") or ())
    if run.task is None:
        return None
    loss = options.get("loss") or _LOSSES[run.task]
    return supervised(loss, options.get("penalties") or ())


def _rule_of(run: Run) -> Backprop | None:
    """The rule that was chosen from the data, from a run's record; None where it is not there."""
    choice, options = run.config.get("choice"), run.config.get("options") or {}
    if not choice or options.get("rule"):
        return None
    return Backprop(
        choice["optimizer"],
        choice["lr"],
        weight_decay=choice["weight_decay"],
        max_grad_norm=options.get("max_grad_norm"),
    )
