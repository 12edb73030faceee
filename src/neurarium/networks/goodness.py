"""A network that judges whether a label belongs to an input, and answers by trying all labels."""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.networks._config import remember

__all__ = ["GoodnessNetwork"]


class GoodnessNetwork(nn.Module):
    r"""Each layer is as good as its activity is large; the label with the most goodness wins.

    $$h_l = \operatorname{relu}\bigl(W_l\, \hat h_{l-1} + b_l\bigr), \qquad
      \hat h = \frac{\sqrt n\, h}{\lVert h \rVert}, \qquad
      y_c = \sum_l \tfrac1n \lVert h_l(x, c) \rVert^2$$

    The label is part of the input, a 1 among zeros. Between layers activity is brought to one
    length, so that no layer can read off how good the one before was. Trained by
    `learning.ForwardForward`; gradients through it (`Backprop`, the outputs being logits) can too.

    Args:
        sizes: inputs without the label, then the layers' widths: `[784, 500, 500]`.
        classes: number of labels.

    Source: Hinton (2022), The Forward-Forward Algorithm: Some Preliminary Investigations,
    arXiv:2212.13345.
    """

    sizes: Sequence[int]
    classes: int

    def __init__(self, sizes: Sequence[int], classes: int) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes needs the inputs and at least a layer, got {list(sizes)}")
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}; there is a wrong label")
        remember(self, sizes=sizes, classes=classes)
        widths = [sizes[0] + classes, *sizes[1:]]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        hidden: int | Sequence[int] = (200, 200),
    ) -> "GoodnessNetwork":
        """A network between these inputs and labels, with `hidden` widths."""
        if categories:
            raise ValueError(
                f"GoodnessNetwork reads numbers only, and the data have {len(categories)} "
                "categorical columns; take MLP, which embeds them"
            )
        widths = (hidden,) if isinstance(hidden, int) else hidden
        return cls([math.prod(input_shape), *widths], outputs)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        x = x.flatten(1)
        labels = torch.arange(self.classes, device=x.device)
        goodness = self.goodness(x.repeat_interleave(self.classes, 0), labels.repeat(len(x)))
        return torch.stack(goodness).sum(0).view(len(x), self.classes)

    def goodness(self, x: Tensor, label: Tensor, *, cut: bool = False) -> list[Tensor]:
        """Mean square of each layer's activity, row by row.

        Args:
            label: class number of each row.
            cut: whether each layer takes what it receives as given, so that no gradient crosses.
        """
        result = []
        h = torch.cat([x.flatten(1), F.one_hot(label, self.classes).to(x)], 1)
        for i, layer in enumerate(self.layers):
            if i:
                h = normalized(h)
            h = layer(h.detach() if cut else h).relu()
            result.append(h.square().mean(1))
        return result


def normalized(h: Tensor) -> Tensor:
    """Scaled to a mean square of 1, as far as it is not silent."""
    return F.rms_norm(h, h.shape[1:], eps=1e-12)
