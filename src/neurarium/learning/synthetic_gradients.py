"""Decoupled layers: each steps along a prediction of its gradient, before the true one arrives."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Batch
from neurarium.learning import chain
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.objectives import Objective

__all__ = ["SyntheticGradients"]

_KERNEL = 5
_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


class SyntheticGradients(PseudoGradient):
    r"""Predict each hidden layer's gradient from its output, and step without waiting for it.

    $$\hat\delta_l = M_l(h_l), \qquad
      \Delta W_l \propto \hat\delta_l\, \frac{\partial h_l}{\partial W_l}, \qquad
      M_l \leftarrow \operatorname*{arg\,min} \Bigl\lVert M_l(h_l)
      - \frac{\partial h_{l+1}}{\partial h_l}^{\!\top} \hat\delta_{l+1} \Bigr\rVert^2$$

    A decoupled neural interface: below the output no layer sees the loss. A predictor's own target
    is the layer above's prediction, passed down through that one layer; at the top it is exact. The
    predictors are linear in $h_l$ (for images, 5 x 5 convolutions), start at zero, and predict
    slopes by the loss of a row, whose size does not depend on the batch's. Where a prediction is
    exact, the step is backpropagation's.

    The predictors learn by normalized least mean squares, where the paper has Adam at 3e-5: slopes
    are small and shrink as the network learns, and this rule needs no scale.

    On the 8 x 8 digits a 64-100-100-10 tanh network reaches 97.3 % with lr=0.003, where frozen
    hidden layers give 93.5 % and backpropagation 97.5 %. Without the target it stays below them, at
    89 %: linear predictors then teach the hidden layers nothing.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        conditional: let the predictors see the target too (the paper's cDNI), which makes their
            task much easier; class numbers enter as unit vectors.
        predictor_lr: share of its error that a predictor corrects on a batch of equal rows; below
            2 it is stable.
        target: batch key of what `conditional` shows them.

    Raises:
        ValueError: at `bind`, if the model is not a chain of layers.

    Source: Jaderberg et al. (2017), Decoupled Neural Interfaces using Synthetic Gradients,
    arXiv:1608.05343; the predictors' rule: Widrow & Hoff (1960), normalized.
    """

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        *,
        conditional: bool = True,
        predictor_lr: float = 1.0,
        target: str = "target",
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not 0 < predictor_lr < 2:
            raise ValueError(
                f"predictor_lr must lie between 0 and 2, where least mean squares is stable, "
                f"got {predictor_lr}"
            )
        self.conditional, self.predictor_lr, self.target = conditional, predictor_lr, target

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """View the model as a chain; the predictors are made when their sizes are seen."""
        self.chain = chain.Chain(model, "SyntheticGradients")
        self.predictors: list[nn.Module] = []
        self.lessons: list[tuple[Tensor, Tensor]] = []

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Fill each stage's gradients from its predictor; the last stage's are exact."""
        found = self.chain.forward(batch["input"])
        values, exact = chain.judge(self.objective, self.model, found.outputs[-1], batch)
        self.notify("on_before_backward", values["loss"])
        hidden = [h.detach() for h in found.outputs[:-1]]
        rows = len(exact)
        seen = [self._with_target(h, batch, found.outputs[-1]) for h in hidden]
        if not self.predictors:
            self._make(
                [(x.shape[1], h.shape[1], h.ndim) for x, h in zip(seen, hidden, strict=True)]
            )
        with torch.no_grad():
            slopes = [m(x) / rows for m, x in zip(self.predictors, seen, strict=True)]
        self.lessons = []
        for index, slope in enumerate([*slopes, exact]):
            found.fill(index, slope)
            if index:
                below = found.through_layer(index, found.through_activation(index, slope))
                self.lessons.append((seen[index - 1], below * rows))
        return values

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Step along the predictions, then let the predictors learn.

        Adds `agreement`, the mean cosine between the predictions and what arrived in their place.
        """
        outputs = super().step(batch)
        if not self.predictors:
            return outputs
        cosines = []
        for predictor, (x, below) in zip(self.predictors, self.lessons, strict=True):
            predicted = predictor(x)
            cosines.append(F.cosine_similarity(predicted.detach().flatten(), below.flatten(), 0))
            self._learn(predictor, x, predicted, below)
        self.lessons = []
        return {**outputs, "agreement": torch.stack(cosines).mean()}

    def _learn(self, predictor: Any, x: Tensor, predicted: Tensor, below: Tensor) -> None:
        """One step of normalized least mean squares: stable whatever the scales are."""
        parameters = list(predictor.parameters())
        slopes = torch.autograd.grad((predicted - below).square().sum() / 2, parameters)
        taps = predictor.weight[0, 0].numel()  # of a convolution, which sees each value so often
        size = taps * x.square().sum() + below.numel() / below.shape[1]  # the bias's input is 1
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.sub_(slope / size, alpha=self.predictor_lr)

    def _with_target(self, h: Tensor, batch: Batch, output: Tensor) -> Tensor:
        if not self.conditional:
            return h
        if self.target not in batch:
            raise ValueError(
                f"SyntheticGradients(conditional=True) shows the batch key {self.target!r} to the "
                f"predictors, found {', '.join(batch)}; name another target, or take "
                "conditional=False"
            )
        target = batch[self.target]
        if not target.is_floating_point():
            target = F.one_hot(target.long(), output.shape[1])
        target = target.reshape(len(h), -1, *[1] * (h.ndim - 2)).to(h)
        return torch.cat([h, target.expand(-1, -1, *h.shape[2:])], 1)

    def _make(self, sizes: list[tuple[int, int, int]]) -> None:
        """Predictors of `(inputs, outputs, dimensions)` each, all zero, on the model's device."""
        like = next(self.model.parameters())
        for inputs, outputs, dimensions in sizes:
            predictor: nn.Module
            if dimensions == 2:
                predictor = nn.Linear(inputs, outputs)
            else:
                kind = _CONVOLUTIONS[dimensions]
                predictor = kind(inputs, outputs, _KERNEL, padding=_KERNEL // 2)
            for parameter in predictor.parameters():
                nn.init.zeros_(parameter)
            self.predictors.append(predictor.to(like))

    # State

    def own_state(self) -> dict[str, Any]:
        """The predictors."""
        return {"predictors": [predictor.state_dict() for predictor in self.predictors]}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Build the predictors from their weights' shapes, and restore them."""
        self.predictors = []
        shapes = [saved["weight"].shape for saved in state["predictors"]]
        self._make([(shape[1], shape[0], len(shape)) for shape in shapes])
        for predictor, saved in zip(self.predictors, state["predictors"], strict=True):
            predictor.load_state_dict(saved)
