"""Labels for every hidden layer: how well its units alone would tell the classes apart."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.chain import Chain, judge
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.objectives import Objective

__all__ = ["OmnipresentSupervision", "discriminant_information", "discriminant_scores"]


def discriminant_information(
    x: Float[Tensor, "rows ..."], labels: Int[Tensor, " rows"], rho: float = 1.0
) -> Float[Tensor, ""]:
    r"""How much of a classification least squares could read from these features: 0 to classes - 1.

    $$\operatorname{DI} = \operatorname{tr}\bigl((\bar S + \rho I)^{-1} S_B\bigr), \qquad
      \bar S = X_c^\top X_c, \quad S_B = \sum_c n_c\, (\mu_c - \mu)(\mu_c - \mu)^\top$$

    What ridge regression to the classes' indicators, each divided by $\sqrt{n_c}$ and all centred,
    leaves over is $C - 1 - \operatorname{DI}$, with $C$ the classes among the labels. It depends on
    the features' scale only by $\rho$. Everything but the axis of rows is flattened.

    Args:
        labels: class numbers.
        rho: $\rho$ of the regression, which must be positive.

    Source: Kung, Hou & Liu (2019), Methodical design and trimming of deep learning networks:
    enhancing external BP learning with internal omnipresent-supervision training paradigm, ICASSP.
    """
    inverse, between = _scatters(x, labels, rho)
    return (inverse * between).sum()


def discriminant_scores(
    x: Float[Tensor, "rows ..."], labels: Int[Tensor, " rows"], rho: float = 1.0
) -> Float[Tensor, " features"]:
    r"""What each feature alone adds to the discriminant information: what its removal would lose.

    $$s_j = \operatorname{DI} - \operatorname{DI}_{-j}
      = \frac{(M S_B M)_{jj}}{M_{jj}}, \qquad M = (\bar S + \rho I)^{-1}$$

    Two features that say the same have low scores both, until one is gone: trim in a few rounds.
    It scores the units of a layer from that layer's outputs (recipe `di-trimming-digits`).

    Source: Kung, Hou & Liu (2019), Methodical design and trimming of deep learning networks:
    enhancing external BP learning with internal omnipresent-supervision training paradigm, ICASSP.
    """
    inverse, between = _scatters(x, labels, rho)
    return (inverse @ between @ inverse).diagonal() / inverse.diagonal()


class OmnipresentSupervision(PseudoGradient):
    r"""Backpropagation, and each hidden layer is told by the labels themselves what to keep apart.

    $$\nabla_{\theta_l} = \frac{\partial L}{\partial \theta_l}
      - \lambda\, \frac{\partial \operatorname{DI}(h_l)}{\partial \theta_l}$$

    A layer's discriminant information moves its own parameters only, not those of the layers
    before; without $\lambda$ this is backpropagation. The labels are the class numbers in the
    batch's `target`, so a batch should have several rows of each class.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        weight: $\lambda$; DI is at most the number of classes less 1.
        rho: $\rho$ of `discriminant_information`.

    Raises:
        ValueError: at `bind`, for models that are not a chain of layers or have no hidden one; at a
            step, for targets that are not class numbers.

    Source: Kung, Hou & Liu (2019), Methodical design and trimming of deep learning networks:
    enhancing external BP learning with internal omnipresent-supervision training paradigm, ICASSP.
    """

    def __init__(
        self,
        optimizer: Any = "sgd:momentum=0.9",
        lr: float | None = None,
        schedule: Any = None,
        *,
        weight: float = 0.1,
        rho: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, got {weight}; 0 is backpropagation")
        if not rho > 0:
            raise ValueError(f"rho must be positive, got {rho}; it keeps the inverse finite")
        self.weight, self.rho = weight, rho

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Cut the model between its layers."""
        self.chain = Chain(model, "OmnipresentSupervision")
        if len(self.chain) < 2:
            raise ValueError(
                f"OmnipresentSupervision is for hidden layers, and this {type(model).__name__} has "
                "none; take Backprop"
            )

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The loss's slopes from the last layer on, and each hidden layer's own."""
        labels = self._labels(batch)
        found = self.chain.forward(batch["input"])
        values, slope = judge(self.objective, self.model, found.outputs[-1], batch)
        self.notify("on_before_backward", values["loss"])
        total = values["loss"].new_zeros(())
        for index in reversed(range(len(self.chain))):
            told = torch.zeros_like(slope)
            if index < len(self.chain) - 1:
                information, told = self._told(found.outputs[index], labels)
                total = total + information
            found.fill(index, slope - self.weight * told)
            if index:
                slope = found.through_layer(index, found.through_activation(index, slope))
        return {**values, "discriminant_information": total / (len(self.chain) - 1)}

    def _told(self, output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's discriminant information, and its slope by the layer's output."""
        h = output.detach().requires_grad_()
        with torch.enable_grad():
            information = discriminant_information(h, labels, self.rho)
        (slope,) = torch.autograd.grad(information, h)
        return information.detach(), slope

    def _labels(self, batch: Batch) -> Tensor:
        labels = batch.get("target")
        if labels is None or labels.dim() != 1 or labels.is_floating_point():
            found = "none" if labels is None else f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise ValueError(
                "OmnipresentSupervision reads class numbers, one for each row, from the batch's "
                f"target, and found {found}; take Backprop for other tasks"
            )
        return labels

    def __repr__(self) -> str:
        return f"OmnipresentSupervision({self.descent!r}, weight={self.weight}, rho={self.rho})"


def _scatters(x: Tensor, labels: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """The inverse of all rows' scatter with its ridge, and the scatter of the classes' means."""
    if not rho > 0:
        raise ValueError(f"rho must be positive, got {rho}; it keeps the inverse finite")
    if x.dim() < 2 or labels.shape != x.shape[:1]:
        raise ValueError(
            "labels must be one class number for each row of x, got shapes "
            f"{tuple(labels.shape)} and {tuple(x.shape)}"
        )
    centred = x.flatten(1) - x.flatten(1).mean(0)
    all_rows = centred.T @ centred
    ridge = rho * torch.eye(len(all_rows)).to(all_rows)
    _, which = labels.unique(return_inverse=True)
    member = nn.functional.one_hot(which).to(centred)
    sums = (member / member.sum(0).sqrt()).T @ centred  # sqrt(n_c) (mu_c - mu)
    return torch.linalg.inv(all_rows + ridge), sums.T @ sums
