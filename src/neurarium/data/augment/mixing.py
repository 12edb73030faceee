"""Images and their targets mixed with those of other rows."""

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from neurarium.data.augment.base import Images, Transform, per_image
from neurarium.data.augment.erasing import inside

__all__ = ["CutMix", "Mixup"]


class _Mix(Transform):
    """Each row with another row of its batch, targets in the same shares as images.

    Class numbers become probabilities (N, classes), which `losses.cross_entropy` takes as they
    are. Metrics are not mixed: those of a run are of whole images.

    Args:
        alpha: of the Beta distribution that the share is drawn from.
        classes: how many there are, where targets are class numbers.
        per: one share for the "batch", as in the paper, or one for each "row".
        regression: set it to mix targets that are numbers, not classes.
    """

    def __init__(
        self,
        alpha: float,
        classes: int | None,
        per: Literal["batch", "row"],
        regression: bool,
    ) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be positive, got {alpha}; near 0 it mixes hardly at all")
        if per not in ("batch", "row"):
            raise ValueError(f"per must be 'batch' or 'row', got {per!r}")
        self.alpha, self.classes, self.per, self.regression = alpha, classes, per, regression

    def _transform(self, batch: dict[str, Any]) -> dict[str, Any]:
        if placed := [key for key in ("boxes", "masks") if key in batch]:
            raise ValueError(
                f"{type(self).__name__} mixes images and one target each, and this batch has "
                f"{' and '.join(placed)} too; leave them or the mixing out"
            )
        images, target = batch["input"], self._soft(batch.get("target"))
        n = len(images)
        share = torch.full(
            (n if self.per == "row" else 1,), float(self.alpha), device=images.device
        )
        share = torch.distributions.Beta(share, share).sample().expand(n)
        other = torch.randperm(n, device=images.device)
        batch["input"], share = self._mixed(images, images[other], share)
        share = share.reshape(n, *(1,) * (target.ndim - 1)).to(target.dtype)
        batch["target"] = share * target + (1 - share) * target[other]
        return batch

    @abstractmethod
    def _mixed(self, images: Images, others: Images, share: Tensor) -> tuple[Images, Tensor]:
        """The mixed images, and the share that each image's own content has in it."""

    def _soft(self, target: Tensor | None) -> Tensor:
        """The target as numbers that can be mixed."""
        name = type(self).__name__
        if target is None:
            raise ValueError(f"{name} mixes targets too, and this batch has none")
        if self.regression:
            return target if target.is_floating_point() else target.float()
        if target.is_floating_point():
            if target.ndim == 2 and target.shape[1] == self.classes:
                return target  # probabilities already, from a mixing before this one
            raise ValueError(
                f"{name} takes class numbers, got a target of {target.dtype} and shape "
                f"{tuple(target.shape)}; say regression=True to mix the numbers themselves"
            )
        if self.classes is None:
            raise ValueError(
                f"{name} turns class numbers into probabilities and needs to know how many "
                "classes there are; pass classes=, such as data.outputs"
            )
        if target.ndim != 1:
            raise ValueError(f"{name} needs one class per image, got shape {tuple(target.shape)}")
        return F.one_hot(target.long(), self.classes).float()


class Mixup(_Mix):
    r"""Blend each image, and its target, with another one.

    $$\tilde x = \lambda x_i + (1 - \lambda) x_j, \qquad
      \tilde y = \lambda y_i + (1 - \lambda) y_j, \qquad
      \lambda \sim \operatorname{Beta}(\alpha, \alpha)$$

    Cross-entropy is linear in the target, so the loss is $\lambda$ times that of $y_i$ and
    $1 - \lambda$ times that of $y_j$. Images of integers become floats of the same values; put it
    last in a chain.

    Args:
        alpha: 0.2 rarely mixes much, 1 takes every share alike.
        classes: how many there are, where targets are class numbers.
        per: one share for the "batch", as in the paper's code, or one for each "row".
        regression: set it to mix targets that are numbers, not classes.

    Source: Zhang, Cisse, Dauphin & Lopez-Paz (2018), mixup: Beyond Empirical Risk Minimization,
    arXiv:1710.09412.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        classes: int | None = None,
        per: Literal["batch", "row"] = "batch",
        regression: bool = False,
    ) -> None:
        super().__init__(alpha, classes, per, regression)

    def _mixed(self, images: Images, others: Images, share: Tensor) -> tuple[Images, Tensor]:
        if not images.is_floating_point():
            images, others = images.float(), others.float()
        return torch.lerp(others, images, per_image(share).to(images.dtype)), share


class CutMix(_Mix):
    r"""Paste a rectangle of another image; the target mixes by what can be seen of each.

    $$\tilde x = M \odot x_i + (1 - M) \odot x_j, \qquad
      \tilde y = \lambda y_i + (1 - \lambda) y_j, \qquad \lambda = \frac{1}{HW} \sum_{h,w} M_{hw}$$

    The rectangle has sides $\sqrt{1 - \lambda_0}$ of the image's, with
    $\lambda_0 \sim \operatorname{Beta}(\alpha, \alpha)$, and any pixel as its centre; what sticks
    out is cut, and $\lambda$ is counted after that.

    Args:
        alpha: the paper's 1 takes every share alike.
        classes: how many there are, where targets are class numbers.
        per: one rectangle for the "batch", as in the paper's code, or one for each "row".
        regression: set it to mix targets that are numbers, not classes.

    Source: Yun et al. (2019), CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features, arXiv:1905.04899.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        classes: int | None = None,
        per: Literal["batch", "row"] = "batch",
        regression: bool = False,
    ) -> None:
        super().__init__(alpha, classes, per, regression)

    def _mixed(self, images: Images, others: Images, share: Tensor) -> tuple[Images, Tensor]:
        n, _, height, width = images.shape
        rows = n if self.per == "row" else 1
        side = (1 - share).sqrt()
        edges = []
        for length in (height, width):
            center = torch.randint(length, (rows,), device=images.device).expand(n)
            extent = (length * side).long()
            start = center - extent // 2
            edges.append((start, start + extent))
        (top, bottom), (left, right) = edges
        pasted = inside(images, top, left, bottom, right)
        own = 1 - pasted.float().mean((1, 2, 3))
        return torch.where(pasted, others, images), own
