"""A classifier and the network that augments its images, trained by one objective."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium import losses
from neurarium._names import resolve
from neurarium.data import Batch
from neurarium.data.augment.neural import NeuralAugment, partners
from neurarium.objectives.supervised import Objective

__all__ = ["augment_and_classify"]

Kind = Literal["none", "content", "style"]


def augment_and_classify(
    augmenter: NeuralAugment,
    kind: Kind = "none",
    alpha: float = 0.75,
    beta: float = 0.25,
    loss: str | Callable[..., Tensor] = "cross_entropy",
) -> Objective:
    r"""Classify real and painted images; the painter learns from the classifier's loss.

    $$J = \alpha\, L\bigl(f(x \cup \tilde x),\, y\bigr) + \beta\, L_a(\tilde x, t), \qquad
      L_\text{content} = \tfrac{1}{CHW} \lVert \tilde x - t\rVert^2, \qquad
      L_\text{style} = \tfrac{1}{C^2} \lVert G(\tilde x) - G(t)\rVert^2$$

    with $t$ a third image of the class and $G(x)_{cd} = \tfrac{1}{HW}\sum_{ij} x_{cij}\, x_{dij}$
    the Gram matrix of the channels. A model in evaluation mode is judged on the real images alone.
    The augmenter's parameters are the objective's own, so a rule trains them too.

    Args:
        kind: what the painted image is compared by: "none", "content" or "style". With grey
            images the style is their mean square.
        alpha: weight of the classification.
        beta: weight of the comparison.

    Source: Perez & Wang (2017), The Effectiveness of Data Augmentation in Image Classification
    using Deep Learning, arXiv:1712.04621.
    """
    return _AugmentAndClassify(augmenter, kind, alpha, beta, resolve(loss, losses, "loss"))


class _AugmentAndClassify(nn.Module):
    def __init__(
        self,
        augmenter: NeuralAugment,
        kind: Kind,
        alpha: float,
        beta: float,
        loss: Callable[..., Tensor],
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        self.augmenter, self.kind, self.alpha, self.beta = augmenter, kind, alpha, beta
        self.loss = loss

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        images, target = batch["input"], batch["target"]
        if not model.training:
            return self.loss(model(images).float(), target)
        painted = self.augmenter(images, target)
        # Both in one batch: normalizations see them together, and hooks one call.
        output = model(torch.cat((images, painted.to(images.dtype)))).float()
        parts = {"classification": self.loss(output, torch.cat((target, target)))}
        total = self.alpha * parts["classification"]
        if self.kind != "none":
            compare = content_loss if self.kind == "content" else style_loss
            parts[self.kind] = compare(painted.float(), images[partners(target)])
            total = total + self.beta * parts[self.kind]
        return {"loss": total, **parts}

    def __repr__(self) -> str:
        weights = f"alpha={self.alpha}, beta={self.beta}"
        return f"augment_and_classify({self.kind!r}, {weights})"


def content_loss(
    painted: Float[Tensor, "n c h w"], real: Float[Tensor, "n c h w"]
) -> Float[Tensor, ""]:
    """Mean squared difference of the pixels."""
    return (painted - real).square().mean()


def style_loss(
    painted: Float[Tensor, "n c h w"], real: Float[Tensor, "n c h w"]
) -> Float[Tensor, ""]:
    """Mean squared difference of the Gram matrices of the channels."""
    return (_gram(painted) - _gram(real)).square().mean()


def _gram(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c c"]:
    rows = x.flatten(2)
    return rows @ rows.mT / rows.shape[2]
