"""Feasible target propagation: hard thresholds learn from the signs that they should have had."""

import contextlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurarium import activations
from neurarium.activations import modules
from neurarium.data import Batch
from neurarium.layers import QuantizedReLU
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.objectives import Objective

__all__ = ["FTPROP"]

Loss = Literal["soft_hinge", "saturated_hinge", "hinge"]


class FTPROP(PseudoGradient):
    r"""Give every threshold unit a sign to take, and let its sum descend a hinge towards it.

    $$t = -\operatorname{sign} \frac{\partial L}{\partial h}, \qquad
      \frac{\partial L}{\partial z} := \frac{1}{n}\, \ell'(z), \qquad
      \ell(z) = \tanh(-t z) + 1$$

    A unit $h = \operatorname{sign}(z)$ has no slope, but it has a side on which the layers above
    would have it. $L$ is what those layers pay in their own $\ell$, up to the objective on top. So
    each layer has a problem of its own, whose targets come from the layer above; $n$ is the number
    of examples.

    The network may be any module with hard thresholds as modules (`activation="hardlims"`, "sign",
    "hardlim", "step", or `layers.QuantizedReLU`), of which each threshold counts by itself; all
    else between them is differentiated. Batch normalization before them keeps sums where $\ell$ has
    a slope. 64-200-200-10 on the 8 x 8 digits is the recipe `ftprop-digits`.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        loss: $\ell$: "soft_hinge"; "hinge" $\max(0, 1 - t z)$, which makes a layer's problem
            convex; or "saturated_hinge", that one but never above 2.
        weighted: $\ell$ times $\lvert \partial L / \partial h \rvert$ instead of over $n$. With
            "saturated_hinge" this is the straight-through estimate.

    Raises:
        ValueError: at `bind`, if the model has no threshold unit.

    Source: Friesen & Domingos (2018), Deep Learning as a Mixed Convex-Combinatorial Optimization
    Problem, ICLR, arXiv:1710.11573.
    """

    def __init__(
        self,
        optimizer: Any = "adam",
        lr: float | None = None,
        schedule: Any = None,
        *,
        loss: Loss = "soft_hinge",
        weighted: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if loss not in get_args(Loss):
            raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}")
        self.loss, self.weighted = loss, weighted

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Find the thresholds."""
        found = {module: _thresholds(module) for module in model.modules()}
        self.units = {module: places for module, places in found.items() if places}
        if not self.units:
            raise ValueError(
                "FTPROP trains networks with hard thresholds, and this "
                f'{type(model).__name__} has no such module; build it with activation="hardlims", '
                "or take Backprop"
            )

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Evaluate the objective and differentiate it, with targets where the thresholds are."""
        with contextlib.ExitStack() as stack:
            for unit, places in self.units.items():

                def aim(
                    module: nn.Module,
                    inputs: tuple[Tensor],
                    output: Tensor,
                    places: tuple[float, ...] = places,
                ) -> Tensor:
                    return _Aimed.apply(inputs[0], output.detach(), places, self.slope)

                stack.callback(unit.register_forward_hook(aim).remove)
            return self.descent.gradients(batch)

    def slope(self, z: Tensor, wanted: Tensor) -> Tensor:
        r"""A unit's slope by its sum, given the slope $\partial L / \partial h$ by its output."""
        t = -wanted.sign()
        slope = -t * _SLOPES[self.loss](t * z)
        return slope * wanted.abs() if self.weighted else slope / len(z)

    def __repr__(self) -> str:
        return f"FTPROP({self.descent!r}, loss={self.loss}, weighted={self.weighted})"


# By the agreement a = t z, how fast a unit's loss falls.
_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "soft_hinge": lambda a: 1 - torch.tanh(a).square(),
    "hinge": lambda a: (a <= 1).to(a),
    "saturated_hinge": lambda a: (a.abs() <= 1).to(a),
}


class _Aimed(torch.autograd.Function):
    """What a threshold unit has answered; errors return as slopes of its own loss."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, h: Tensor, places: tuple[float, ...], slope: Callable[..., Tensor]
    ) -> Tensor:
        ctx.save_for_backward(z)
        ctx.places, ctx.slope = places, slope
        return h.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (z,) = ctx.saved_tensors
        places = ctx.places  # each jump is a unit that makes its share of the output
        slopes = [ctx.slope(z - place, grads[0] / len(places)) for place in places]
        return torch.stack(slopes).sum(0), None, None, None


_AT_ZERO = (activations.hardlim, activations.hardlims, activations.sign, activations.step)


def _thresholds(module: nn.Module) -> tuple[float, ...]:
    """Where a unit jumps up; empty if it does not."""
    if isinstance(module, QuantizedReLU):
        return module.thresholds
    return (0.0,) if modules.unwrap(module)[0] in _AT_ZERO else ()
