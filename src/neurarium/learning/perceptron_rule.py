"""Rosenblatt's rule: whoever is wrong moves by the example."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning._single_layer import SingleLayer
from neurarium.objectives import Objective

__all__ = ["PerceptronRule"]


class PerceptronRule:
    r"""Show one example after another; a unit that is wrong adds or subtracts the example.

    $$w \leftarrow w + \eta\, (d - y)\, x, \qquad b \leftarrow b + \eta\, (d - y)$$

    A unit of hardlim or step answers $y \in \{0, 1\}$. For one of hardlims, sign or plain sums
    $z$ the targets are $d = \pm 1$, it is wrong where $d\,z \le 0$ (so on the boundary always) and
    moves by $\eta\, d\, x$. If some hyperplane separates the classes with margin $\gamma$ and all
    examples have length at most $R$ (with the 1 of the bias), there are at most $(R/\gamma)^2$
    mistakes when starting from zero. The rows of a batch are taken in turn, so its size does not
    matter; the objective is only reported, and so is `mistakes`, the share of wrong answers.

    Args:
        lr: $\eta$; from zero weights it changes no decision.
        variant: what the model gets. "plain": the last weights; "averaged": their mean over all
            examples so far; "pocket": for each unit those that were right longest without a
            mistake. The latter two settle down where the classes overlap.
        multiclass: for class numbers, "one_vs_rest" teaches each unit whether it is its class;
            "argmax" moves the true class's unit and the one with the largest sum instead of it.

    Raises:
        ValueError: at `bind`, unless all that can be trained is one layer with thresholds or
            nothing behind it. Frozen layers may come before.

    Source: Rosenblatt (1958), The perceptron, Psychological Review 65; the bound: Novikoff (1962),
    On convergence proofs on perceptrons; pocket: Gallant (1990), Perceptron-based learning
    algorithms, IEEE Trans. Neural Networks 1(2); averaged: Freund & Schapire (1999), Large margin
    classification using the perceptron algorithm, Machine Learning 37.
    """

    def __init__(
        self,
        lr: float = 1.0,
        variant: Literal["plain", "pocket", "averaged"] = "plain",
        multiclass: Literal["one_vs_rest", "argmax"] = "one_vs_rest",
    ) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        if variant not in ("plain", "pocket", "averaged"):
            raise ValueError(f"variant must be plain, pocket or averaged, got {variant!r}")
        if multiclass not in ("one_vs_rest", "argmax"):
            raise ValueError(f"multiclass must be one_vs_rest or argmax, got {multiclass!r}")
        self.lr, self.variant, self.multiclass = lr, variant, multiclass

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the layer; averages and pockets start anew from its weights."""
        self.layer = SingleLayer(model, objective, "PerceptronRule")
        if self.multiclass == "argmax" and self.layer.units == 1:
            raise ValueError("multiclass='argmax' needs a unit for each class, got 1 unit")
        self.point = self.layer.read()
        self.seen, self.total = 0, torch.zeros_like(self.point)
        self.pocket = self.point.clone()
        self.runs, self.best = self.point.new_zeros(2, self.layer.units)

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Show the rows of the batch one by one."""
        outputs, x = self.layer.judge(batch)
        targets = self.layer.decisions(batch["target"])
        if self.multiclass == "argmax" and not (targets.sum(1) == 2 - self.layer.units).all():
            raise ValueError("multiclass='argmax' needs one true class in every row of target")
        if self.variant == "plain":
            self.point = self.layer.read()
        mistakes = torch.zeros_like(self.runs)
        for row, target in zip(x, targets, strict=True):
            error = self._error(self.point @ row, target)
            self.point.addr_(error, row, alpha=self.lr)
            mistakes += error != 0
            if self.variant == "averaged":
                self.total += self.point
            elif self.variant == "pocket":
                self._keep_the_best(error != 0)
        self.seen += len(x)
        self.layer.write(self._result())
        return {**outputs, "mistakes": mistakes.mean() / len(x)}

    def _error(self, z: Tensor, target: Tensor) -> Tensor:
        """How often each unit adds the example: 1, 0 or -1."""
        if self.multiclass == "argmax":
            error = torch.zeros_like(z)
            error[target.argmax()] += 1
            error[z.argmax()] -= 1
            return error
        if self.layer.transfer is not None and self.layer.binary:
            return (target + 1) / 2 - self.layer.transfer(z)
        return target * (target * z <= 0)

    def _keep_the_best(self, wrong: Tensor) -> None:
        if self.multiclass == "argmax":  # whose units are right only together
            wrong = wrong.any().expand_as(wrong)
        self.runs = torch.where(wrong, 0, self.runs + 1)
        better = self.runs > self.best
        self.best = torch.where(better, self.runs, self.best)
        self.pocket = torch.where(better[:, None], self.point, self.pocket)

    def _result(self) -> Tensor:
        if self.variant == "averaged":
            return self.total / self.seen
        return self.pocket if self.variant == "pocket" else self.point

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _STATE:
            value = state[name]
            value = value.to(self.point, copy=True) if isinstance(value, Tensor) else value
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"PerceptronRule(lr={self.lr}, {self.variant}, {self.multiclass})"


_STATE = ("point", "seen", "total", "pocket", "runs", "best")
