r"""What splitting rules share: the sums and outputs of every layer are variables of their own.

A network is a chain of equations $z_l = W_l a_{l-1} + b_l$, $a_l = \varphi(z_l)$. Splitting rules
let each of them fail a little at a price, and then solve for one block after another.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.activations import modules
from neurarium.data import Batch
from neurarium.learning.chain import Chain, Stage, answering
from neurarium.learning.direct import Direct
from neurarium.learning.rule import NonFiniteError, value_of
from neurarium.objectives import Objective

__all__ = ["DenseChain", "Piece", "SameRows", "Splitting", "minimize", "nearest_sums", "pieces"]

Piece = tuple[float, float, float, float]


# The chain ---------------------------------------------------------------------------------------


def check_repeatable(chain: Chain) -> None:
    """Refuse what answers differently each time it is asked, or remembers that it was."""
    steps: list[Any] = [*chain.prefix, *(step for stage in chain.stages for step in stage.steps)]
    for step in steps:
        dropping = isinstance(step, nn.modules.dropout._DropoutNd) and step.p > 0
        if dropping or isinstance(step, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"{chain.rule} evaluates pieces of the model many times a step, so it cannot have "
                f"{step}; leave it away, or take Backprop"
            )


def check_all_trained(chain: Chain, objective: Objective, own: list[nn.Parameter]) -> None:
    """Refuse a trainable parameter that the rule would leave as it is."""
    known = {id(p) for p in own}
    named = list(chain.model.named_parameters())
    if isinstance(objective, nn.Module):
        named += [(f"objective.{name}", p) for name, p in objective.named_parameters()]
    for name, parameter in named:
        if parameter.requires_grad and id(parameter) not in known:
            raise ValueError(
                f"{chain.rule} trains {', '.join(s.name for s in chain.stages)} only, but "
                f"{name} is trainable too; freeze it with requires_grad_(False), or take Backprop"
            )
    if not any(p.requires_grad for p in own):
        raise ValueError(f"{chain.rule} has nothing to train: all layers are frozen")


def judged(objective: Objective, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The objective's values before a step, detached; an error if the loss is not finite."""
    with torch.no_grad():
        values = value_of(objective(model, batch))
    loss = values["loss"]
    if loss.device.type == "cpu" and not math.isfinite(loss.item()):
        raise NonFiniteError(f"the loss is {loss.item()}")
    return {name: value.detach() for name, value in values.items()}


def of_output(
    objective: Objective, model: nn.Module, last: Stage, z: Tensor, batch: Batch
) -> tuple[Tensor, Tensor]:
    """The loss summed over rows and its slope by the last layer's sums; nothing else is touched."""
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        loss = value_of(objective(answering(model, last.after(z)), batch))["loss"] * len(z)
    (slope,) = torch.autograd.grad(loss, z)
    return loss.detach(), slope


class DenseChain(Chain):
    """A chain of linear layers with elementwise functions between them, judged by its last sums.

    Whatever follows the last layer counts as a part of the loss.

    Raises:
        ValueError: for convolutions, pooling, normalization, dropout or other trainable parts.
    """

    def __init__(self, model: nn.Module, objective: Objective, rule: str) -> None:
        super().__init__(model, rule)
        for stage in self.stages:
            if not isinstance(stage.layer, nn.Linear):
                raise ValueError(
                    f"{rule} solves for the weights of linear layers, but layer {stage.name} is an "
                    f"nn.{type(stage.layer).__name__}; take AltMin or Backprop"
                )
        for stage in self.stages[:-1]:
            _ = stage.activation  # which refuses what is not elementwise
        check_repeatable(self)
        self.objective = objective
        self.layers: list[nn.Linear] = [stage.layer for stage in self.stages]
        check_all_trained(self, objective, [p for layer in self.layers for p in layer.parameters()])

    def features(self, batch: Batch) -> Tensor:
        """What the first layer sees, one vector for each example."""
        x = self.enter(batch["input"])
        if x.dim() != 2:
            raise ValueError(
                f"{self.rule} needs one vector for each example, but the first layer sees "
                f"{tuple(x.shape)}; flatten the input"
            )
        return x

    def check_objective(self, batch: Batch, z: Tensor) -> None:
        """Refuse penalties, which the solutions for the weights would leave out."""
        with torch.enable_grad():
            found = self.objective(answering(self.model, self.stages[-1].after(z)), batch)
            if value_of(found)["loss"].requires_grad:
                raise ValueError(
                    f"{self.rule} solves for weights without the objective's penalties, and this "
                    "loss depends on parameters besides the model's output; leave them away, or "
                    "take AltMin or MSA"
                )

    def judge(self, z: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over rows, and its slope by the last layer's sums."""
        return of_output(self.objective, self.model, self.stages[-1], z, batch)


# Blocks ------------------------------------------------------------------------------------------


@torch.no_grad()
def solve_weights(layer: nn.Linear, inputs: Tensor, sums: Tensor, ridge: float) -> None:
    r"""Minimize $\lVert Z - A W^\top - b \rVert^2 + \varepsilon\,(\lVert W \rVert^2 + b^2)$."""
    a, z = inputs.double(), sums.double()  # normal equations square the condition number
    weight, bias = layer.weight, layer.bias
    fits_bias = bias is not None and bias.requires_grad
    if not weight.requires_grad:
        if fits_bias:
            bias.copy_((z - a @ weight.double().T).sum(0) / (len(a) + ridge))
        return
    if fits_bias:
        a = torch.cat([a, a.new_ones(len(a), 1)], 1)
    elif bias is not None:
        z = z - bias.double()
    found = solve_ridge(a, z, ridge).T
    weight.copy_(found[:, : weight.shape[1]])
    if fits_bias:
        bias.copy_(found[:, -1])


def solve_ridge(a: Tensor, z: Tensor, ridge: float) -> Tensor:
    r"""$(A^\top A + \varepsilon I)^{-1} A^\top Z$; without $\varepsilon$ the shortest solution."""
    if ridge == 0:
        return torch.linalg.pinv(a) @ z
    gram = a.T @ a
    gram.diagonal().add_(ridge)
    return torch.linalg.solve(gram, a.T @ z)


def pieces(stage: Stage, rule: str) -> list[Piece]:
    """A piecewise linear activation as (from, to, slope, offset) for each piece."""
    activation = stage.activation
    if activation is None:
        return [(-math.inf, math.inf, 1.0, 0.0)]

    def at(x: float) -> float:
        return float(activation(torch.tensor([x])))

    function = modules.unwrap(activation)[0] if isinstance(activation, nn.Module) else activation
    name = getattr(function, "__name__", type(function).__name__)
    if name in ("relu", "leaky_relu"):
        return [(-math.inf, 0.0, -at(-1.0), 0.0), (0.0, math.inf, 1.0, 0.0)]
    if name == "hardtanh":
        low, high = at(-1e9), at(1e9)
        flat = [(-math.inf, low, 0.0, low), (high, math.inf, 0.0, high)]
        return [flat[0], (low, high, 1.0, 0.0), flat[1]]
    raise ValueError(
        f"{rule} solves for the sums of each unit in closed form, which it can for relu, "
        f"leaky_relu, hardtanh and identity; layer {stage.name} is followed by {name}; take "
        "AltMin, or another activation"
    )


def nearest_sums(
    outputs: Tensor, sums: Tensor, parts: list[Piece], gamma: float, beta: float
) -> Tensor:
    r"""Entrywise $\arg\min_z\ \gamma\,(a - \varphi(z))^2 + \beta\,(z - m)^2$, exactly.

    A parabola on each linear piece of $\varphi$: its lowest point there, then the best of them.
    """
    best = cost = torch.empty(0)
    for index, (low, high, slope, offset) in enumerate(parts):
        z = (gamma * slope * (outputs - offset) + beta * sums) / (gamma * slope**2 + beta)
        z = z.clamp(low, high)
        price = gamma * (outputs - slope * z - offset).square() + beta * (z - sums).square()
        if index:
            better = price < cost
            best, cost = torch.where(better, z, best), torch.where(better, price, cost)
        else:
            best, cost = z, price
    return best


def minimize(
    judge: Callable[[Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    center: Tensor,
    weight: float,
    steps: int = 50,
) -> Tensor:
    r"""$\arg\min_z\ J(z) + \tfrac{w}{2} \lVert z - c \rVert^2$ by FISTA, never above its start.

    The step is found by doubling, and the momentum starts anew where it would lead upwards (Beck &
    Teboulle 2009; O'Donoghue & Candès 2015).
    """

    def whole(z: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = judge(z)
        away = z - center
        return value.double() + weight / 2 * away.double().square().sum(), slope + weight * away

    epsilon = torch.finfo(start.dtype).eps
    z, (lowest, slope) = start, whole(start)
    ahead, value = z, lowest
    curvature, t = weight + 0.25, 1.0
    for _ in range(steps):
        while True:
            new = ahead - slope / curvature
            reached, _ = whole(new)
            promised = value - slope.double().square().sum() / (2 * curvature)
            if reached <= promised + 4 * epsilon * value.abs() or curvature > 1e12:
                break
            curvature *= 2
        if reached > lowest:
            if ahead is z:
                break  # no step leads down any more
            ahead, t = z, 1.0
        else:
            momentum = (1 + math.sqrt(1 + 4 * t * t)) / 2
            ahead = new + (t - 1) / momentum * (new - z)
            change = (new - z).abs().max()
            z, lowest, t = new, reached, momentum
            if change <= 4 * epsilon * (1 + z.abs().max()):
                break
        value, slope = whole(ahead)
    return z


# A state for each example ------------------------------------------------------------------------


class SameRows:
    """The same examples at every step, brought into one order by the batch's key `index`.

    Without the key they have to come in one order, which their means tell.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.rows: Tensor | None = None

    def arrange(self, batch: Batch) -> dict[str, Tensor]:
        """The batch in the order of the first step."""
        batch = dict(batch)
        if "index" in batch:
            rows, order = batch["index"].sort()
            batch = {n: v[order] if len(v) == len(order) else v for n, v in batch.items()}
        else:
            rows = batch["input"].flatten(1).double().mean(1)
        if self.rows is None:
            self.rows = rows.clone()
        elif not torch.equal(self.rows, rows):
            raise ValueError(
                f"{self.rule} keeps a state for each training example, so every step needs all of "
                f"them, but this batch of {len(rows)} has others than the first of "
                f"{len(self.rows)}, or another order; take batch_size=len(x) and number the rows: "
                'Data({"input": x, "target": y, "index": torch.arange(len(x))})'
            )
        return batch


class Splitting(Direct):
    """Sums `z`, outputs `a` and one `dual` for each training example, swept block by block.

    A rule says how it sweeps. All start from the forward pass at the first step; the loss that is
    reported is the model's before the sweep.
    """

    numbers_rows = takes_all_rows = True  # which `fit` then sees to

    def __init__(self) -> None:
        self.sweeps = 0
        self.z: list[Tensor] = []
        self.a: list[Tensor] = []
        self.dual = torch.empty(0)

    @abstractmethod
    def sweep(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Update all blocks once; return figures."""

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the layers; the variables start at the first step."""
        self.model, self.objective = model, objective
        rule = type(self).__name__
        self.chain = DenseChain(model, objective, rule)
        self.pieces = [pieces(stage, rule) for stage in self.chain.stages[:-1]]
        self.rows = SameRows(rule)
        self.sweeps, self.z, self.a, self.dual = 0, [], [], torch.empty(0)

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One sweep over all blocks, for all examples."""
        batch = self.rows.arrange(batch)
        x = self.chain.features(batch)
        values = judged(self.objective, self.model, batch)
        if not self.z:
            found = self.chain.forward(batch["input"])
            self.z = [z.detach() for z in found.sums]
            self.a = [a.detach() for a in found.outputs[:-1]]
            self.dual = torch.zeros_like(self.z[-1])
            self.chain.check_objective(batch, self.z[-1])
        figures = self.sweep(x, batch)
        self.sweeps += 1
        return {**values, **figures}

    def entering(self, index: int, x: Tensor) -> Tensor:
        """What a layer sees: the data, or the outputs below, which are variables."""
        return self.a[index - 1] if index else x

    def residual(self, index: int, x: Tensor) -> Tensor:
        """By how much a layer's equation fails."""
        return self.z[index] - self.chain.layers[index](self.entering(index, x))

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE} | {"rows": self.rows.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        like = self.chain.layers[0].weight

        def taken(value: Any) -> Any:
            if isinstance(value, list):
                return [taken(part) for part in value]
            return value.to(like.device, copy=True) if isinstance(value, Tensor) else value

        for name in _STATE:
            setattr(self, name, taken(state[name]))
        self.rows.rows = taken(state["rows"])


_STATE = ("sweeps", "z", "a", "dual")
