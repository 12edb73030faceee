"""Steps of `Backprop` on a small perceptron in NumPy, whose calls cost less than torch's."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from neurarium.data import Batch
from neurarium.learning.analytic import ByHand
from neurarium.learning.backprop import Backprop
from neurarium.learning.perceptron_in_numpy import (
    Array,
    PerceptronInNumpy,
    knows,
    small_products,
)
from neurarium.optim.parameters import FUSED_ADAM, is_heard

# Above, the products of matrices are the larger part of a step, and torch may share them out.
_LARGEST = 50_000  # parameters


class BackpropInNumpy:
    r"""What `Backprop` with Adam does to a perceptron of a few thousand weights, with less to do.

    A call of torch's takes microseconds before it computes, as long as the computing itself where
    a layer is small. So weights, slopes and Adam's means are laid in one vector for a stretch of
    steps, the written-out backward pass of `learning.Analytic` works on views of it in NumPy, and
    one kernel moves them all. At the end everything is put back. The steps are `Backprop`'s to
    rounding. Inside, a column is an example, as in $W h + b$.

    Attributes:
        rows: how many rows were seen since it was opened, and `loss` the sum over them.
    """

    def __init__(self, rule: Backprop, by_hand: ByHand) -> None:
        self.rule, self.by_hand = rule, by_hand
        self.rows, self.loss, self.is_open = 0, 0.0, False
        groups = [group for group in rule.optimizer.param_groups if group["params"]]
        self._vectors = [_Vector(group, rule.optimizer) for group in groups]
        views = {number: view for v in self._vectors for number, view in v.views().items()}
        nothing = (None, None)
        self._network = PerceptronInNumpy(
            [
                (*views[id(x.weight)], *views.get(id(x.linear.bias), nothing), x.function)
                for x in by_hand.layers
            ],
            by_hand.loss.of,
        )

    @classmethod
    @contextlib.contextmanager
    def opened(cls, rule: Any, targets: Mapping[str, Tensor]) -> Iterator["BackpropInNumpy | None"]:
        """Ready to step, and all put back at the end; None where the rule does more than it can.

        Args:
            targets: columns of all rows that will come.
        """
        if not serves(rule) or not _are_usual(targets.get(rule.by_hand.target), rule.by_hand):
            yield None
            return
        quick = rule.by_hand.in_numpy = rule.by_hand.in_numpy or cls(rule, rule.by_hand)
        with small_products():
            quick.take()
            try:
                yield quick
            finally:
                quick.give_back()

    def take(self) -> None:
        """Fetch weights and means from where torch keeps them."""
        self.rows, self.loss, self.is_open = 0, 0.0, True
        for vector in self._vectors:
            vector.take()

    def give_back(self) -> None:
        """Put weights and means back, unless that was done."""
        if self.is_open:
            for vector in self._vectors:
                vector.give_back()
        self.is_open = False

    def step(self, batch: Batch) -> bool:
        """One step; False, and nothing done, for a batch that only torch can judge."""
        target = batch[self.by_hand.target]
        if not (self.is_open and self.by_hand.loss.applies(target)):
            return False
        x, d = self.by_hand.chain.enter(batch["input"]).detach().numpy(), target.numpy()
        if x.ndim != 2 or x.dtype != self._network.dtype:
            return False
        loss = float(self._network.gradients(x.T, d))
        if not math.isfinite(loss):
            return False
        for vector in self._vectors:
            vector.step()
        self.rule.advance()
        self.rows, self.loss = self.rows + len(x), self.loss + loss * len(x)
        return True


def serves(rule: Any) -> bool:
    """Whether a rule's next steps can be done so: a small perceptron, Adam, and nothing besides."""
    if type(rule) is not Backprop or rule.by_hand is None or not rule.is_plain:
        return False
    optimizer, layers = rule.optimizer, rule.by_hand.layers
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return (
        rule.by_hand.is_unheard()
        and type(optimizer) in FUSED_ADAM
        and not is_heard(optimizer)
        and all(knows(layer.function, rule.by_hand.loss.of) for layer in layers)
        and sum(p.numel() for p in parameters) <= _LARGEST
        and {id(p) for p in parameters} == {id(p) for x in layers for p in x.linear.parameters()}
        and all(_is_usual(group, optimizer) for group in optimizer.param_groups if group["params"])
    )


def _are_usual(target: Tensor | None, by_hand: ByHand) -> bool:
    """Whether all targets are such that NumPy and torch do the same with them."""
    if target is None or not target.is_cpu or not by_hand.loss.applies(target):
        return False
    outputs = by_hand.layers[-1].linear.out_features
    if target.is_floating_point():  # shapes that differ would be broadcast
        same_type = target.dtype is by_hand.layers[0].weight.dtype
        return same_type and math.prod(target.shape[1:]) == outputs and target.ndim <= 2
    return int(target.min()) >= 0 and int(target.max()) < outputs


def _is_usual(group: dict[str, Any], optimizer: torch.optim.Optimizer) -> bool:
    """Whether a group's parameters have moved, all as often, by the fused kernel on the CPU."""
    states, kernel = optimizer.state, FUSED_ADAM[type(optimizer)]
    return (
        bool(group["fused"])
        and not group["amsgrad"]
        and not isinstance(group["lr"], Tensor)
        and group["decoupled_weight_decay"] is (kernel is torch._fused_adamw_)
        and all(p.is_cpu and p.dtype is group["params"][0].dtype for p in group["params"])
        and group["params"][0].dtype in (torch.float32, torch.float64)
        and all(p.grad is None and "exp_avg" in states.get(p, ()) for p in group["params"])
        and len({float(states[p]["step"]) for p in group["params"]}) == 1
    )


class _Vector:
    """A group's weights, slopes and means, each in one piece."""

    def __init__(self, group: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        self.group, self.optimizer = group, optimizer
        one = torch.cat([p.detach().reshape(-1) for p in group["params"]])
        self.pieces = [torch.zeros_like(one) for _ in range(4)]
        self.parts = [self._cut(piece) for piece in self.pieces]
        self.steps = torch.zeros(())
        self.count = self.steps.numpy()
        self.kernel = FUSED_ADAM[type(optimizer)]
        self.arguments = [[piece] for piece in self.pieces]

    def _cut(self, vector: Tensor) -> list[Tensor]:
        parameters = self.group["params"]
        pieces = vector.split([p.numel() for p in parameters])
        return [piece.view(p.shape) for piece, p in zip(pieces, parameters, strict=True)]

    def views(self) -> dict[int, tuple[Array, Array]]:
        """Each parameter's weights and slopes, by its id; those of a bias are a column."""
        weights, slopes = self.parts[:2]
        return {
            id(p): (w.numpy() if w.ndim > 1 else w.numpy()[:, None], s.numpy())
            for p, w, s in zip(self.group["params"], weights, slopes, strict=True)
        }

    def _of_torch(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Weights, both means and the counts of steps."""
        states = [self.optimizer.state[p] for p in self.group["params"]]
        return (
            [p.detach() for p in self.group["params"]],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["step"] for state in states],
        )

    @torch.no_grad()
    def take(self) -> None:
        weights, means, squares, steps = self._of_torch()
        for own, theirs in zip((0, 2, 3), (weights, means, squares), strict=True):
            torch._foreach_copy_(self.parts[own], theirs)
        self.steps.copy_(steps[0])

    @torch.no_grad()
    def give_back(self) -> None:
        weights, means, squares, steps = self._of_torch()
        for own, theirs in zip((0, 2, 3), (weights, means, squares), strict=True):
            torch._foreach_copy_(theirs, self.parts[own])
        torch._foreach_copy_(steps, [self.steps] * len(steps))

    def step(self) -> None:
        group = self.group
        self.count += 1
        self.kernel(
            *self.arguments, [], [self.steps],
            amsgrad=False, lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=group["maximize"],
        )  # fmt: skip
