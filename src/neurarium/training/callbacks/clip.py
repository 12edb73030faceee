"""Gradients clipped between the backward pass and the optimizer's step."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from neurarium.optim import clipping
from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["Clip"]


class Clip(Callback):
    r"""Make gradients that are too long shorter, all together, layer by layer or unit by unit.

    $$g \leftarrow g\,\min\Bigl(1, \frac{c}{\lVert g \rVert}\Bigr), \qquad
      g_{ij} \leftarrow \max(-c, \min(c, g_{ij})), \qquad
      g_i \leftarrow g_i\,\min\Bigl(1, c\,\frac{\max(\lVert w_i \rVert, 10^{-3})}
      {\lVert g_i \rVert}\Bigr)$$

    by `norm`, by `value` and by `adaptive`, in the order value, adaptive, norm where several are
    given. It happens once per step, on the whole batch's gradient, whatever parts it was
    accumulated from and with 16-bit scaling undone. The history's `train_grad_norm` is the norm
    before anything was clipped. `Backprop(max_grad_norm=)` does the same to all parameters.

    Args:
        norm: $c$, the most that the gradient of all parameters together may measure.
        value: the most that an entry may be.
        per_layer: let `norm` hold for each layer (a module's own parameters) by itself.
        adaptive: the most that an output unit's gradient may measure, as a share of the unit's
            weights; 0.01 in the paper. As there, the last layer with weights is spared.

    Raises:
        ValueError: by rules that compute no gradients, where nothing could be clipped.

    Source: Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural
    networks, arXiv:1211.5063; adaptive: Brock et al. (2021), High-performance large-scale image
    recognition without normalization, arXiv:2102.06171.
    """

    order = 10  # after what others add to the gradients

    def __init__(
        self,
        norm: float | None = None,
        value: float | None = None,
        per_layer: bool = False,
        adaptive: float | None = None,
    ) -> None:
        if norm is value is adaptive is None:
            raise ValueError("say what to clip: give norm, value or adaptive")
        if per_layer and norm is None:
            raise ValueError("per_layer says how norm is meant; give norm as well")
        clipping.check(norm=norm, value=value, adaptive=adaptive)
        self.norm, self.value = norm, value
        self.per_layer, self.adaptive = per_layer, adaptive
        self._before: Tensor | None = None  # this step's norm

    def on_before_optimizer_step(self, trainer: "Trainer") -> None:
        layers = list(_layers(trainer))
        everything = [p for layer in layers for p in layer]
        self._before = clipping.clip_gradients_(everything, value=self.value)
        if self.adaptive is not None:
            spared = {id(p) for p in _last_layer(trainer.model)}
            units = [p for p in everything if id(p) not in spared]
            clipping.clip_adaptively_(units, self.adaptive)
        if self.norm is not None:
            for group in layers if self.per_layer else [everything]:
                clipping.clip_gradients_(group, self.norm)

    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._before is None:
            raise ValueError(
                f"{type(trainer.rule).__name__} announces no gradients before its step, so Clip "
                "has nothing to clip; leave Clip out, or take a rule such as Backprop"
            )
        if "grad_norm" not in outputs:  # a rule that clips has told its own
            rows = len(next(iter(batch.values())))
            before = self._before.float() * rows
            trainer.totals["grad_norm"] = trainer.totals.get("grad_norm", 0) + before
        self._before = None


def _layers(trainer: "Trainer") -> Iterator[list[nn.Parameter]]:
    """The trained parameters, module by module, those of the objective too; shared ones once."""
    roots = (trainer.model, trainer.objective)
    met: set[int] = set()
    for root in (r for r in roots if isinstance(r, nn.Module)):
        for module in root.modules():
            own = [p for p in module.parameters(recurse=False) if id(p) not in met]
            met |= {id(p) for p in own}
            own = [p for p in own if p.grad is not None]
            if own:
                yield own


def _last_layer(model: nn.Module) -> list[nn.Parameter]:
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    layers = [module for module in model.modules() if isinstance(module, kinds)]
    return list(layers[-1].parameters()) if layers else []
