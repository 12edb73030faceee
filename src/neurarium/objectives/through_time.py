"""Objectives that look at the states of recurrent layers too."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Batch
from neurarium.layers import masks
from neurarium.layers.recurrent import Recurrent, record_states
from neurarium.objectives.supervised import Objective

__all__ = ["ActivationL2", "VanishingGradientPenalty"]


class VanishingGradientPenalty(nn.Module):
    r"""An objective, and a price on gradients that shrink or grow on their way back in time.

    $$L + \lambda \sum_k \left( \frac{\bigl\lVert \frac{\partial L}{\partial x_{k+1}}
      \frac{\partial x_{k+1}}{\partial x_k} \bigr\rVert}
      {\bigl\lVert \frac{\partial L}{\partial x_{k+1}} \bigr\rVert} - 1 \right)^2$$

    as a mean over the rows, $x_k$ being a layer's whole state. States and $\partial L / \partial
    x_{k+1}$ are held constant: the price is paid by what one step does by itself. When nothing is
    trained there is no price. Recurrent layers go through the package's own loop.

    Args:
        objective: what is wanted otherwise.
        weight: $\lambda$.

    Source: Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural
    networks, arXiv:1211.5063, section 3.3.
    """

    def __init__(self, objective: Objective, weight: float = 1.0) -> None:
        super().__init__()
        if not weight > 0:
            raise ValueError(f"weight must be positive, got {weight}; it is the price's factor")
        self.objective, self.weight = objective, weight

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if not torch.is_grad_enabled():
            return _parts(self.objective(model, batch))
        with record_states() as traces:
            outputs = _parts(self.objective(model, batch))
        if not traces:
            raise ValueError(
                f"{type(model).__name__} has no layers.Recurrent, whose gradients could vanish"
            )
        prices = [_price(outputs["loss"], trace, batch.get("length")) for trace in traces]
        price = torch.stack(prices).sum()
        return {**outputs, "loss": outputs["loss"] + self.weight * price, "vanishing": price}

    def __repr__(self) -> str:
        return f"VanishingGradientPenalty({self.objective!r}, weight={self.weight})"


def _price(loss: Tensor, trace: Any, length: Tensor | None) -> Tensor:
    """One pass's sum over its steps, from a state that it made itself to the next."""
    states = trace.states[1:]
    steps, rows, parts = len(states), len(states[0][0]), len(states[0])
    wanted = [part for state in states[1:] for part in state]
    if not wanted:
        return loss * 0
    slopes = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
    ahead = [
        torch.stack([
            torch.zeros_like(part) if slope is None else slope
            for part, slope in zip(wanted[i::parts], slopes[i::parts], strict=True)
        ])
        for i in range(parts)
    ]  # fmt: skip
    before = [torch.stack([s[i] for s in states[:-1]]).detach() for i in range(parts)]
    flat = [part.flatten(0, 1).requires_grad_() for part in before]
    inputs = (trace.inputs.flip(0) if trace.reverse else trace.inputs)[1:].detach()
    after = trace.cell.step(inputs.flatten(0, 1), tuple(flat))
    pairs = zip(after, ahead, strict=True)
    dot = torch.stack([(new * slope.flatten(0, 1)).sum() for new, slope in pairs]).sum()
    back = torch.autograd.grad(dot, flat, create_graph=True, allow_unused=True)
    arrived = sum(b.square().sum(1) for b in back if b is not None)
    left = sum(slope.flatten(0, 1).square().sum(1) for slope in ahead)
    assert isinstance(arrived, Tensor)
    assert isinstance(left, Tensor)
    counted = left > 0
    if length is not None and not trace.reverse and trace.inputs.shape[0] == steps:
        counted = counted & masks.padding(length, steps).t()[1:].flatten()
    ratio = torch.where(counted, arrived, 1) / torch.where(counted, left, 1)
    # The root's slope is infinite at 0, where a gradient has wholly vanished.
    return (ratio.clamp(min=1e-30).sqrt() - 1).square().sum() / rows


class ActivationL2(nn.Module):
    r"""An objective, and a price on the outputs of the last recurrent layer and on their changes.

    $$L + \alpha\, \operatorname{mean} \lVert m \odot h_t \rVert^2 +
      \beta\, \operatorname{mean} \lVert h_t - h_{t+1} \rVert^2$$

    Means over real steps and units. $m$ is a mask of dropout, drawn for this.

    Args:
        objective: what is wanted otherwise.
        ar: $\alpha$, the price of activation.
        tar: $\beta$, the price of change.
        dropout: of $m$; the paper's is that of the output.

    Source: Merity, McCann & Socher (2017), Revisiting activation regularization for language RNNs,
    arXiv:1708.01009; Merity, Keskar & Socher (2018), arXiv:1708.02182.
    """

    def __init__(
        self, objective: Objective, ar: float = 2.0, tar: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(ar, tar) < 0:
            raise ValueError(f"ar and tar must be at least 0, got {ar} and {tar}")
        self.objective, self.ar, self.tar, self.dropout = objective, ar, tar, dropout

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        layers = [m for m in model.modules() if isinstance(m, Recurrent)]
        if not layers:
            raise ValueError(f"{type(model).__name__} has no layers.Recurrent to be calmed")
        heard: list[Tensor] = []
        hook = layers[-1].register_forward_hook(lambda module, x, out: heard.append(out[0]))
        try:
            outputs = _parts(self.objective(model, batch))
        finally:
            hook.remove()
        if not torch.is_grad_enabled():
            return outputs
        h = heard[-1]
        real = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
        if "length" in batch:
            real = masks.padding(layers[-1].lengths(batch["length"]), h.shape[1])
        ar = F.dropout(h, self.dropout)[real].square()
        tar = (h[:, 1:] - h[:, :-1])[real[:, 1:]].square()
        activation, change = (part.sum() / max(part.numel(), 1) for part in (ar, tar))
        loss = outputs["loss"] + self.ar * activation + self.tar * change
        return {**outputs, "loss": loss, "activation": activation, "change": change}

    def __repr__(self) -> str:
        return f"ActivationL2({self.objective!r}, ar={self.ar}, tar={self.tar})"


def _parts(found: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"loss": found} if isinstance(found, Tensor) else dict(found)
