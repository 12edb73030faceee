"""Predictive coding: activities settle between what is predicted and what is to come out."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.chain import Chain, add_gradient, answering
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["PredictiveCoding"]


class PredictiveCoding(PseudoGradient):
    r"""Activities first give way to the error, then each layer learns to predict them.

    $$F = \sum_{l < L} \tfrac12 \lVert x_l - f_l(x_{l-1}) \rVert^2 + C\bigl(f_L(x_{L-1})\bigr),
      \qquad x_l \leftarrow x_l - \gamma\, \frac{\partial F}{\partial x_l}, \qquad
      \Delta W_l \propto -\frac{\partial F}{\partial W_l}$$

    Activities start where the model puts them. The error $x_l - f_l$ of a layer is local to it,
    and so are both changes. With $C = \tfrac12 \lVert d - f_L \rVert^2$ it is the paper's network
    with its output held at $d$; here $C$ is any objective, for one example. Where it is small, or
    $C$ has little weight, the errors at rest are those of backpropagation: the two agree in the
    limit. Far from it the layers' errors are smaller and turn.

    It works on any chain of layers and functions of one value each. A pass costs one forward and
    one backward pass for each of the `steps`, after which an error has come that many layers down.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        steps: of the activities. As many as there are layers, at the least.
        rate: $\gamma$; 1 divided by it is the number of steps in which an error settles.

    Raises:
        ValueError: at `bind`, if the model branches, or has dropout or batch normalization, which
            are different at every step.

    Source: Whittington & Bogacz (2017), An Approximation of the Error Backpropagation Algorithm in
    a Predictive Coding Network with Local Hebbian Synaptic Plasticity, Neural Computation 29(5).
    """

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        *,
        steps: int = 20,
        rate: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}; without, no error moves down")
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.steps, self.rate = steps, rate

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Cut the model into layers."""
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) or (
                isinstance(module, nn.modules.dropout._DropoutNd) and module.p
            ):
                raise ValueError(
                    f"PredictiveCoding evaluates each layer many times for a step, and '{name}', "
                    f"an nn.{type(module).__name__}, is different each time; leave it out, or take "
                    "norm='layer'"
                )
        self.chain = Chain(model, "PredictiveCoding")

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Settle the activities; then the slope of the energy by the parameters."""
        hidden = [h.detach() for h in self.chain.forward(batch["input"]).outputs[:-1]]
        outputs: dict[str, Tensor] = {}
        with torch.enable_grad():
            for step in range(self.steps if hidden else 0):
                hidden = [h.requires_grad_() for h in hidden]
                energy, values = self.energy(hidden, batch)
                outputs = outputs if step else values
                slopes = torch.autograd.grad(energy, hidden)
                moved = zip(hidden, slopes, strict=True)
                hidden = [(h - self.rate * slope).detach() for h, slope in moved]
            energy, values = self.energy(hidden, batch)
            outputs = outputs or values
            self.notify("on_before_backward", outputs["loss"])
            trained = self.descent.trained
            found = torch.autograd.grad(energy / len(batch["input"]), trained, allow_unused=True)
        for parameter, gradient in zip(trained, found, strict=True):
            if gradient is not None:
                add_gradient(parameter, gradient)
        result = {name: value.detach() for name, value in outputs.items()}
        return {**result, "energy": energy.detach() / len(batch["input"])}

    def energy(self, hidden: list[Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """F, the sum over the rows, at given outputs of all stages but the last; and the loss."""
        below = self.chain.enter(batch["input"])
        total = below.new_zeros(())
        for stage, h in zip(self.chain.stages, hidden, strict=False):
            total = total + (h - stage.after(stage.layer(below))).square().sum() / 2
            below = h
        last = self.chain.stages[-1]
        output = last.after(last.layer(below))
        values = value_of(self.objective(answering(self.model, output), batch))
        return total + len(below) * values["loss"], values

    def __repr__(self) -> str:
        return f"PredictiveCoding({self.descent!r}, steps={self.steps}, rate={self.rate})"
