"""Targets by descent: each layer looks for inputs with which the layer above meets its target."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.chain import Chain, Pass, judge
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.objectives import Objective

__all__ = ["GradientTargetPropagation"]

Start = Literal["forward", "zero"]


class GradientTargetPropagation(PseudoGradient):
    r"""Find each layer's target by gradient descent through the layer above, without inverses.

    $$t \leftarrow t - \tau\, W_{l+1}^\top \bigl[(\varphi(\hat x) - T_{l+1}) \odot
      \varphi'(\hat x)\bigr], \qquad \hat x = W_{l+1} t + b_{l+1}, \qquad T_l = t$$
    $$\Delta W_l \propto \bigl[(T_l - h_l) \odot \varphi'(x_l)\bigr]\, h_{l-1}^\top$$

    taken `period` times from $t = h_l$ ("forward") or from 0 ("zero"), the first time with
    $\hat x$ of the forward pass. On top $T_L$ is the output less the loss's slope, one example's:
    the label itself under half the squared error; the objective has to be a mean over the batch.
    Output weights have the true gradient.

    A distance is divided by $\tau\,\mathrm{period}$ for each layer that its target has passed, so
    that one step from "forward" is backpropagation, and from "zero" tends to it as $\tau$ grows. On
    the 8 x 8 digits it reaches 97 % (recipe `gradient-target-propagation-digits`).

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        tau: $\tau$; with more than one step it must stay below $2/\lVert W \rVert^2$. This,
            `period` and `start` are by default those of the authors' program.

    Source: de Souza Farias & Maziero (2018), Gradient target propagation, arXiv:1810.09284.
    """

    def __init__(
        self,
        optimizer: Any = "sgd:momentum=0.9",
        lr: float | None = None,
        schedule: Any = None,
        *,
        tau: float = 100.0,
        period: int = 1,
        start: Start = "zero",
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not tau > 0:
            raise ValueError(f"tau must be positive, got {tau}; it is the rate of the targets")
        if period < 1:
            raise ValueError(f"period must be at least 1 (a number of steps), got {period}")
        if start not in get_args(Start):
            raise ValueError(f"start must be 'forward' or 'zero', got {start!r}")
        self.tau, self.period, self.start = tau, period, start

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Cut the model into stages."""
        self.chain = Chain(model, "GradientTargetPropagation")

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Targets from the top down; each stage's gradient is its distance to its own."""
        found = self.chain.forward(batch["input"])
        values, slope = judge(self.objective, self.model, found.outputs[-1], batch)
        self.notify("on_before_backward", values["loss"])
        last = len(self.chain) - 1
        found.fill(last, slope)
        target = found.outputs[last].detach() - len(slope) * slope
        scale = float(len(slope))
        for index in range(last - 1, -1, -1):
            target = self.descend(found, index, target)
            scale *= self.tau * self.period
            found.fill(index, (found.outputs[index].detach() - target) / scale)
        return values

    def descend(self, found: Pass, index: int, above: Tensor) -> Tensor:
        """The target of stage `index`, given that of the stage above."""
        stage, entered = self.chain.stages[index + 1], found.inputs[index + 1].detach()
        off = found.outputs[index + 1].detach() - above
        slope = found.through_layer(index + 1, found.through_activation(index + 1, off))
        t = (entered if self.start == "forward" else torch.zeros_like(entered)) - self.tau * slope
        for _ in range(self.period - 1):
            with torch.enable_grad():
                t.requires_grad_()
                made = stage.after(stage.layer(t))
            (slope,) = torch.autograd.grad(made, t, (made - above).detach())
            t = t.detach() - self.tau * slope
        return t

    def __repr__(self) -> str:
        return (
            f"GradientTargetPropagation({self.descent!r}, tau={self.tau:g}, "
            f"period={self.period}, start={self.start})"
        )
