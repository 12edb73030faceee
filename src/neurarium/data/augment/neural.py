"""Augmentation that is learnt: a network makes new images of a class out of two."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.data.augment.base import Images

__all__ = ["NeuralAugment"]


class NeuralAugment(nn.Module):
    r"""A network that sees two images of one class and paints a third.

    $$\tilde x_i = g_\phi(x_i \oplus x_{j}), \qquad j \sim \mathcal U\{j \ne i : y_j = y_i\}$$

    with $\oplus$ stacking the channels. It is trained together with the classifier, by
    `objectives.augment_and_classify`, and left out in judging. An image that is alone of its class
    in the batch is its own partner.

    Args:
        net: from images of twice the channels to images; by default the paper's, five 3 x 3
            convolutions with 16 maps between.
        channels: of the images, for the default net.

    Source: Perez & Wang (2017), The Effectiveness of Data Augmentation in Image Classification
    using Deep Learning, arXiv:1712.04621.
    """

    def __init__(self, net: nn.Module | None = None, channels: int = 3) -> None:
        super().__init__()
        self.net = _painter(channels) if net is None else net

    def forward(
        self, images: Images, target: Int[Tensor, " n"]
    ) -> Float[Tensor, "n channels height width"]:
        return self.paint(images, images[partners(target)])

    def paint(self, images: Images, others: Images) -> Float[Tensor, "n channels height width"]:
        """The images that the network makes out of these pairs."""
        painted: Tensor = self.net(torch.cat((images, others), 1))
        if painted.shape != images.shape:
            raise ValueError(
                "net must turn images stacked to twice the channels into images, got "
                f"{tuple(painted.shape)} for images of {tuple(images.shape)}"
            )
        return painted


def partners(target: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """For each row another one of its class, drawn at random."""
    order = torch.randperm(len(target), device=target.device)
    order = order[target[order].argsort(stable=True)]  # classes together, within them by chance
    labels = target[order]
    ends = torch.ones_like(labels, dtype=torch.bool)
    ends[:-1] = labels[1:] != labels[:-1]
    # Each takes the next of its class, the last the first: no row is its own unless alone.
    following = torch.arange(1, len(order) + 1, device=order.device)
    first = torch.searchsorted(labels, labels[ends])
    following[ends] = first
    found = torch.empty_like(order)
    found[order] = order[following]
    return found


def _painter(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 2 * channels
    for _ in range(4):
        layers += [nn.Conv2d(before, 16, 3, padding=1), nn.ReLU()]
        before = 16
    return nn.Sequential(*layers, nn.Conv2d(16, channels, 3, padding=1))
