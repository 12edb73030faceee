"""`Backprop` of perceptrons with all weights in one vector, for a stretch of steps."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.analytic import ByHand
from neurarium.learning.backprop import Backprop
from neurarium.learning.backprop_by_hand import Dense, through
from neurarium.learning.perceptron_in_numpy import (
    Array,
    PerceptronInNumpy,
    knows,
    small_products,
)
from neurarium.optim.parameters import FUSED_ADAM, is_heard

# Above, the products of matrices are the larger part of a step, and torch may share them out.
_LARGEST_IN_NUMPY = 50_000  # parameters


class FlatBackprop:
    r"""What `Backprop` with Adam does to a perceptron, with less to do.

    Weights, slopes and Adam's means are laid in one vector, the written-out backward pass of
    `learning.Analytic` works on views of it, and one kernel moves them all. Where a network has a
    few thousand weights, the passes are done in NumPy: a call of torch's takes microseconds before
    it computes, as long as the computing itself. In bf16 the vector is cast once a step. At the
    end everything is put back; the steps are `Backprop`'s to rounding.

    Args:
        rule: the bound rule whose steps these are.
        by_hand: the layers of its model.
        dtype: of the products; float32 weights may be multiplied as bfloat16.

    Attributes:
        rows: how many rows were seen since it was opened, and `loss` the sum over them.
    """

    def __init__(self, rule: Backprop, by_hand: ByHand, dtype: torch.dtype | None = None) -> None:
        self.rule, self.by_hand, self.dtype = rule, by_hand, dtype
        self.rows, self.loss, self.is_open = 0, 0.0, False
        self._own = {id(p) for layer in by_hand.layers for p in layer.linear.parameters()}
        self._vectors: list[_Vector] = []
        self._known: list[list[int]] = []  # parameters that lie in the vectors, by their ids

    @contextlib.contextmanager
    def opened(self, targets: Mapping[str, Tensor]) -> Iterator[bool]:
        """Ready to step, and all put back at the end; False where the rule does more than this.

        Args:
            targets: columns of all rows that will come.
        """
        if not self._serves() or not _are_usual(targets.get(self.by_hand.target), self.by_hand):
            yield False
            return
        with small_products():
            self._take()
            try:
                yield True
            finally:
                self.give_back()

    def _take(self) -> None:
        """Fetch weights and means from where torch keeps them."""
        groups = [group for group in self.rule.optimizer.param_groups if group["params"]]
        known = [[id(p) for p in group["params"]] for group in groups]
        if known != self._known:
            self._vectors, self._known = [_Vector(g, self.rule.optimizer) for g in groups], known
            self._network = self._build()
        for vector in self._vectors:
            vector.take()
        self.rows, self.loss, self.is_open = 0, 0.0, True

    def _build(self) -> "PerceptronInNumpy | _PerceptronInTorch":
        layers, loss = self.by_hand.layers, self.by_hand.loss
        whole = self.dtype in (None, layers[0].weight.dtype)
        small = sum(len(vector.weights) for vector in self._vectors) <= _LARGEST_IN_NUMPY
        if not (whole and small and all(knows(layer.function, loss.of) for layer in layers)):
            return _PerceptronInTorch(self._vectors, layers, loss, self.dtype)
        views = {number: view for v in self._vectors for number, view in v.views().items()}
        nothing = (None, None)
        return PerceptronInNumpy(
            [
                (*views[id(x.weight)], *views.get(id(x.linear.bias), nothing), x.function)
                for x in layers
            ],
            loss.of,
        )

    def give_back(self) -> None:
        """Put weights and means back, unless that was done."""
        if self.is_open:
            for vector in self._vectors:
                vector.give_back()
        self.is_open = False

    def step(self, batch: Batch) -> bool:
        """One step; False, and nothing done, for a batch that only `Backprop` can judge."""
        target = batch[self.by_hand.target]
        if not (self.is_open and self.by_hand.loss.applies(target)):
            return False
        x = self.by_hand.chain.enter(batch["input"]).detach()
        if x.ndim != 2 or x.dtype is not self._vectors[0].weights.dtype:
            return False
        if isinstance(self._network, PerceptronInNumpy):
            loss = float(self._network.gradients(x.numpy().T, target.numpy()))
        else:
            loss = self._network.gradients(x, target)
        if not math.isfinite(loss):
            return False
        for vector in self._vectors:
            vector.step()
        self.rule.advance()
        self.rows, self.loss = self.rows + len(x), self.loss + loss * len(x)
        return True

    def _serves(self) -> bool:
        """Whether the next steps can be done so: Adam along the whole gradient, and no more."""
        optimizer = self.rule.optimizer
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        return (
            self.rule.is_plain
            and self.by_hand.is_unheard()
            and type(optimizer) in FUSED_ADAM
            and not is_heard(optimizer)
            and set(map(id, parameters)) == self._own
            and all(_is_usual(g, optimizer) for g in optimizer.param_groups if g["params"])
        )


def find_flat(
    rule: Any, model: nn.Module, objective: Any, dtype: torch.dtype | None = None
) -> FlatBackprop | None:
    """The rule's steps with all weights in one vector; None where it or the model is no such."""
    if type(rule) is not Backprop or type(rule.optimizer) not in FUSED_ADAM:
        return None
    with contextlib.suppress(ValueError):
        return FlatBackprop(rule, rule.by_hand or ByHand(model, objective), dtype)
    return None


class _PerceptronInTorch:
    """Forward and backward pass on views of the vectors, in torch, perhaps in half precision."""

    def __init__(
        self, vectors: "list[_Vector]", layers: list[Dense], loss: Any, dtype: torch.dtype | None
    ) -> None:
        self.vectors, self.layers, self.loss = vectors, layers, loss
        whole = [(vector.weights, vector.slopes) for vector in vectors]
        self.working = [(w.to(dtype), s.to(dtype)) for w, s in whole]  # the same where it is theirs
        views: dict[int, tuple[Tensor, Tensor]] = {}
        for vector, (weights, slopes) in zip(vectors, self.working, strict=True):
            parts = zip(vector.cut(weights), vector.cut(slopes), strict=True)
            views |= dict(zip((id(p) for p in vector.group["params"]), parts, strict=True))
        self.views = [
            (views[id(layer.weight)], views.get(id(layer.linear.bias))) for layer in layers
        ]

    @torch.no_grad()
    def gradients(self, x: Tensor, target: Tensor) -> float:
        """The loss; the vectors' slopes then hold the gradient."""
        for vector, (weights, _) in zip(self.vectors, self.working, strict=True):
            if weights is not vector.weights:
                weights.copy_(vector.weights)
        h, passed = x.to(self.working[0][0].dtype), []
        for layer, ((weight, _), bias) in zip(self.layers, self.views, strict=True):
            z = torch.mm(h, weight.T) if bias is None else torch.addmm(bias[0], h, weight.T)
            after = layer.activation(z)
            passed.append((h, z, after))
            h = after
        loss, slope_of = self.loss(h.to(x.dtype), target)
        slope = slope_of(torch.ones_like(loss)).to(h.dtype)
        for layer, own, (before, z, after) in zip(
            reversed(self.layers), reversed(self.views), reversed(passed), strict=True
        ):
            (weight, weight_slope), bias = own
            delta = through(layer, slope, z, after)
            torch.mm(delta.T, before, out=weight_slope)
            if bias is not None:
                torch.sum(delta, 0, out=bias[1])
            if layer is not self.layers[0]:
                slope = torch.mm(delta, weight)
        for vector, (_, slopes) in zip(self.vectors, self.working, strict=True):
            if slopes is not vector.slopes:
                vector.slopes.copy_(slopes)
        return loss.item()


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
        self.weights, self.slopes = self.pieces[:2]
        self.parts = [self.cut(piece) for piece in self.pieces]
        self.steps = torch.zeros(())
        self.count = self.steps.numpy()
        self.kernel = FUSED_ADAM[type(optimizer)]
        self.arguments = [[piece] for piece in self.pieces]

    def cut(self, vector: Tensor) -> list[Tensor]:
        """Views of the parameters' shapes."""
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
