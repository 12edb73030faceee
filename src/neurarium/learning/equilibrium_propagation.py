"""Equilibrium propagation: the gradient from two states of rest, without a backward pass."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.chain import add_gradient, answering, judge
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.learning.rule import value_of
from neurarium.networks.energy import EnergyNetwork, States
from neurarium.objectives import Objective

__all__ = ["EquilibriumPropagation"]

Sign = Literal["random", "symmetric", "positive"]


class EquilibriumPropagation(PseudoGradient):
    r"""Let the network rest, push its output a little towards less loss, and compare.

    $$\nabla_\theta C = \lim_{\beta \to 0} \frac1\beta \Bigl(
      \frac{\partial E}{\partial \theta}(u^\beta) - \frac{\partial E}{\partial \theta}(u^0)\Bigr),
      \qquad \frac{\partial E}{\partial W_l} = -u_l\, u_{l-1}^\top$$

    where $u^0$ is a minimum of the energy $E$ and $u^\beta$ one of $E + \beta C$. The change of a
    weight needs the activity at its two ends alone, and the second phase, which does what
    backpropagation does, is the same dynamics. Any objective of the output will do; the paper's
    is `quadratic_cost`. On the 8 x 8 digits it reaches 96.4 %, frozen hidden layers 95.8 % (recipe
    `equilibrium-propagation-digits`).

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`. The paper's is plain
            descent with a rate for each layer, largest at the input: pass a torch optimizer.
        beta: $\beta$; the error of the estimate grows with it, or with its square if symmetric.
        nudged: steps of the second phase, which need not come to rest.
        free: steps of the first; the network's own if not given.
        sign: "random": one push a step, with $\pm\beta$, which frees the mean from half the error;
            "symmetric": both, and their difference; "positive": one.
        persistent: go on from the states that each example had when it was last seen, as the
            paper does, so that fewer steps suffice; needs the batch key `index`.

    Raises:
        ValueError: at `bind`, if the model is no `networks.EnergyNetwork`.

    Source: Scellier & Bengio (2017), Equilibrium Propagation: Bridging the Gap between Energy-Based
    Models and Backpropagation, Frontiers in Computational Neuroscience 11, arXiv:1602.05179;
    symmetric: Laborieux et al. (2021), arXiv:2006.03824.
    """

    def __init__(
        self,
        optimizer: Any = "sgd",
        lr: float | None = 0.3,
        schedule: Any = None,
        *,
        beta: float = 0.5,
        nudged: int = 4,
        free: int | None = None,
        sign: Sign = "random",
        persistent: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not beta > 0:
            raise ValueError(f"beta must be positive, got {beta}; its sign is that of the push")
        if nudged < 1 or (free is not None and free < 1):
            raise ValueError(f"nudged and free must be at least 1, got {nudged} and {free}")
        if sign not in get_args(Sign):
            raise ValueError(f"sign must be one of {', '.join(get_args(Sign))}, got {sign!r}")
        self.beta, self.nudged, self.free, self.sign = beta, nudged, free, sign
        self.persistent, self.kept = persistent, list[Tensor]()

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Look whether there is an energy."""
        if not isinstance(model, EnergyNetwork):
            raise ValueError(
                f"EquilibriumPropagation trains a networks.EnergyNetwork, which has an energy and "
                f"states at rest, but got {type(model).__name__}; take PredictiveCoding or Backprop"
            )
        self.network, self.kept = model, []

    @torch.no_grad()
    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The two phases, and the difference of their activities' products."""
        x = batch["input"]
        rest = self.network.relax(x, self._start(batch), self.free)
        self._keep(batch, rest)
        outputs, _ = judge(self.objective, self.model, rest[-1], batch)
        self.notify("on_before_backward", outputs["loss"])
        if self.sign == "symmetric":
            up, down = self._pushed(batch, rest, self.beta), self._pushed(batch, rest, -self.beta)
            self._fill(x, up, down, 2 * self.beta)
        else:
            beta = self.beta
            if self.sign == "random" and torch.rand(()) < 0.5:
                beta = -beta
            self._fill(x, self._pushed(batch, rest, beta), rest, beta)
        return outputs

    def _pushed(self, batch: Batch, states: States, beta: float) -> States:
        """The states with the output pushed: each row by the slope of its own part of the loss."""
        strength = -beta * len(batch["input"])

        def push(output: Tensor) -> Tensor:
            with torch.enable_grad():
                output = output.detach().requires_grad_()
                loss = value_of(self.objective(answering(self.model, output), batch))["loss"]
                (slope,) = torch.autograd.grad(loss, output)
            return strength * slope

        return self.network.relax(batch["input"], states, self.nudged, push)

    def _fill(self, x: Tensor, one: States, other: States, distance: float) -> None:
        """Slopes of the energy at two states, their difference over that of the pushes."""
        share = 1 / (distance * len(x))
        below, below_other = x.flatten(1), x.flatten(1)
        for layer, u, v in zip(self.network.layers, one, other, strict=True):
            weight, bias = layer.weight, layer.bias
            if weight.requires_grad:
                add_gradient(weight, share * (v.T @ below_other - u.T @ below))
            if bias.requires_grad:
                add_gradient(bias, share * (v - u).sum(0))
            below, below_other = u, v

    # States of examples

    @property
    def numbers_rows(self) -> bool:
        """Whether `fit` has to number the rows."""
        return self.persistent

    def _start(self, batch: Batch) -> States:
        start = self.network.start(batch["input"])
        if not self.persistent:
            return start
        if "index" not in batch:
            raise ValueError(
                "EquilibriumPropagation(persistent=True) keeps the states of each example and "
                "needs its number; give the data a key 'index', such as torch.arange(rows)"
            )
        if not self.kept:
            self.kept = [u[:0].clone() for u in start]
        missing = int(batch["index"].max()) + 1 - len(self.kept[0])
        if missing > 0:
            self.kept = [torch.cat([k, k.new_zeros(missing, k.shape[1])]) for k in self.kept]
        return [kept[batch["index"]] for kept in self.kept]

    def _keep(self, batch: Batch, states: States) -> None:
        for kept, state in zip(self.kept, states, strict=False):
            kept[batch["index"]] = state

    def own_state(self) -> dict[str, Any]:
        """The states of the examples."""
        return {"kept": self.kept}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Take them, on the weights' device."""
        weight = self.network.layers[0].weight
        self.kept = [kept.to(weight, copy=True) for kept in state["kept"]]

    def __repr__(self) -> str:
        what = f"beta={self.beta}, nudged={self.nudged}, {self.sign}"
        return f"EquilibriumPropagation({self.descent!r}, {what})"
