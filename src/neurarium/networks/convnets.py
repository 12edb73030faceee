"""Convolutional networks for images (N, channels, height, width)."""

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium import activations, initialization
from neurarium.networks._config import remember

__all__ = ["LeNet5", "ResNet"]


class LeNet5(nn.Module):
    r"""Two convolutions with pooling, three linear layers: LeNet-5 as it is built today.

    $$H_i = \operatorname{maxpool}_2(\operatorname{relu}(C_i * H_{i-1})), \qquad
      y = W_3\operatorname{relu}(W_2\operatorname{relu}(W_1 H_2))$$

    Departures from the paper: rectifiers for scaled tanh, maximum for trainable average pooling,
    every map of the second convolution sees all of the first, and logits for distances to bit
    maps. With 28 x 28 images padded by 2, as the paper's 32 x 32 frames were, 61 706 parameters.

    Args:
        image_size: height and width, or one number for both; at least 8. Below 16 the second
            convolution is padded too.
        channels: maps of the two convolutions; the paper's 6 and 16.

    Source: LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document
    recognition, Proc. IEEE 86(11).
    """

    def __init__(
        self,
        in_channels: int = 1,
        outputs: int = 10,
        image_size: int | Sequence[int] = 28,
        channels: Sequence[int] = (6, 16),
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        remember(self, in_channels=in_channels, outputs=outputs, image_size=image_size)
        remember(self, channels=channels, activation=activation, dropout=dropout)
        size = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        if min(size) < 8:
            raise ValueError(f"image_size must be at least 8, got {image_size}; enlarge the images")
        padding = 2 if min(size) < 16 else 0
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, channels[0], 5, padding=2),
            activations.module(activation, channels[0]),
            nn.MaxPool2d(2),
            nn.Conv2d(channels[0], channels[1], 5, padding=padding),
            activations.module(activation, channels[1]),
            nn.MaxPool2d(2),
        )
        height, width = ((n // 2 + 2 * padding - 4) // 2 for n in size)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[1] * height * width, 120),
            activations.module(activation, 120),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(120, 84),
            activations.module(activation, 84),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(84, outputs),
        )

    @classmethod
    def for_data(
        cls, input_shape: Sequence[int], outputs: int, categories: Sequence[int], **arguments: Any
    ) -> "LeNet5":
        """A LeNet-5 for images of this shape."""
        channels, height, width = _image_shape(input_shape, categories, cls.__name__)
        return cls(channels, outputs, (height, width), **arguments)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch outputs"]:
        return self.classifier(self.convolutions(x))


class ResNet(nn.Module):
    r"""The residual network for small images: blocks learn what to add to their input.

    $$y = \operatorname{relu}(x + F(x)), \qquad
      F(x) = \operatorname{BN}(W_2 * \operatorname{relu}(\operatorname{BN}(W_1 * x)))$$

    Three stages of n blocks with `width`, 2 `width` and 4 `width` channels, halving the image
    between stages; the mean over the last maps goes to one linear layer. Depth 6n + 2 counts
    the layers with weights. ResNet-20 has 269 722 parameters, ResNet-110 1 727 962.

    Args:
        shortcut: where the shape changes, "pad" takes every second pixel and zeros for the new
            channels (the paper's option A, no parameters); "projection" a 1x1 convolution (B);
            "pool" the mean of 2x2 pixels before it, which looks at all of them (ResNet-D).

    Source: He, Zhang, Ren & Sun (2015), Deep Residual Learning for Image Recognition, section
    4.2, arXiv:1512.03385; ResNet-D: He T. et al. (2019), arXiv:1812.01187, section 4.2.
    """

    def __init__(
        self,
        depth: int = 20,
        in_channels: int = 3,
        outputs: int = 10,
        width: int = 16,
        shortcut: Literal["pad", "projection", "pool"] = "pad",
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110), got {depth}")
        remember(self, depth=depth, in_channels=in_channels, outputs=outputs)
        remember(self, width=width, shortcut=shortcut)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(channels, width * 2**stage, stride, shortcut))
                channels = width * 2**stage
        self.stem = nn.Sequential(_conv3(in_channels, width), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, outputs)
        initialization.init_(self, "kaiming")

    @classmethod
    def for_data(
        cls, input_shape: Sequence[int], outputs: int, categories: Sequence[int], **arguments: Any
    ) -> "ResNet":
        """A residual network for images of this shape."""
        channels, _, _ = _image_shape(input_shape, categories, cls.__name__)
        return cls(in_channels=channels, outputs=outputs, **arguments)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch outputs"]:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class ResidualBlock(nn.Module):
    r"""Two 3x3 convolutions and a way around them.

    $$y = \operatorname{relu}(s(x) + F(x)), \qquad s(x) = x \text{ where the shape allows}$$

    Source: He, Zhang, Ren & Sun (2015), Deep Residual Learning for Image Recognition,
    arXiv:1512.03385.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "pad"
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv3(in_channels, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            _conv3(channels, channels),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = _shortcut(in_channels, channels, stride, shortcut)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch channels new_height new_width"]:
        return F.relu(self.shortcut(x) + self.residual(x))


class _PadShortcut(nn.Module):
    """Every `stride`-th pixel; the new channels are zero."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


def _shortcut(in_channels: int, channels: int, stride: int, kind: str) -> nn.Module:
    if kind not in ("pad", "projection", "pool"):
        raise ValueError(f"shortcut must be 'pad', 'projection' or 'pool', got {kind!r}")
    if in_channels == channels and stride == 1:
        return nn.Identity()
    if kind == "pad":
        return _PadShortcut(channels - in_channels, stride)
    pool: list[nn.Module] = []
    if kind == "pool" and stride > 1:
        # As in the branch, an odd last row or column counts, here by itself.
        pool, stride = [nn.AvgPool2d(stride, ceil_mode=True)], 1
    convolution = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
    return nn.Sequential(*pool, convolution, nn.BatchNorm2d(channels))


def _conv3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    # No bias: the batch norm that follows would subtract it.
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


def _image_shape(
    input_shape: Sequence[int], categories: Sequence[int], name: str
) -> tuple[int, int, int]:
    if categories or len(input_shape) != 3:
        raise ValueError(
            f"{name} reads images (channels, height, width), and the data have inputs of shape "
            f"{tuple(input_shape)}; take MLP"
        )
    channels, height, width = input_shape
    return channels, height, width
