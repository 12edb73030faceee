"""Shapes or textures: what a network goes by, and how to change its mind."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Data, load
from neurarium.data.augment import Stylize
from neurarium.explain import shape_bias
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, ICLR, "
    "arXiv:1811.12231",
    figure="shape bias that random textures give a network of small fields",
    expect=(0.5, 1.0),
    minutes=0.7,
    quick={"epochs": 4},
    quick_expect=(0.3, 1.0),
)
def shape_texture(seed: int = 0, epochs: int = 12, rows: int = 1437) -> dict[str, float]:
    """Digits cut out of gratings whose angle is 18 degrees times the class, then at random.

    Silhouettes of the 8 x 8 digits at 32 x 32, filled with a grating; where shape and angle
    disagree, which does the network name? One that sees 5 x 5 pixels and forgets places goes by the
    grating alone. One that reads out places goes by the shape mostly, and wholly once gratings are
    drawn at random in training.

    The paper has ImageNet, styles of paintings by AdaIN and ResNet-50, whose bias rises from 0.22
    to 0.81 (people's is 0.96). After random textures the local network names neither cue in most
    conflicts, for it can hardly tell shapes: read its bias beside the shapes it names.
    """
    digits: Any = load("digits", val_size=0)

    def silhouettes(images: Tensor) -> Tensor:
        return F.interpolate(images.float(), scale_factor=4, mode="bilinear") > 7

    def gratings(classes: Tensor) -> Tensor:
        places = torch.arange(32.0)
        angle = (classes * math.pi / 10).reshape(-1, 1, 1)
        phase = 2 * math.pi * torch.rand(len(classes), 1, 1)
        along = angle.cos() * places + angle.sin() * places[:, None]
        return (0.6 + 0.4 * torch.cos(2 * math.pi * along / 4 + phase))[:, None]

    def filled(shapes: Tensor, textures: Tensor) -> Tensor:
        return (shapes > 0) * textures

    train, test = (
        (silhouettes(split.tensors["input"][:rows]), split.tensors["target"][:rows])
        for split in (digits.train, digits.split("test"))
    )
    texture = (test[1] + torch.randint(1, 10, test[1].shape)) % 10
    conflict = {"input": filled(test[0], gratings(texture)), "shape": test[1], "texture": texture}
    any_grating = Stylize(gratings(torch.randint(10, (200,))), filled)

    def local() -> nn.Module:
        see = [nn.Conv2d(1, 32, 5), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU()]
        return nn.Sequential(*see, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

    def placed() -> nn.Module:
        see = [nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU()]
        return nn.Sequential(*see, nn.Flatten(), nn.Linear(32 * 6 * 6, 10))

    found = {"rise": 0.0}
    for name, network, augment in (
        ("CNN, stylized", placed, any_grating),
        ("CNN", placed, None),
        ("local net, stylized", local, any_grating),
        ("local net", local, None),
    ):
        torch.manual_seed(seed)
        model = network()
        data = Data((filled(train[0], gratings(train[1])), train[1]), augment=augment)
        rule = Backprop("adam", lr=3e-3)
        fit(model, data, rule=rule, epochs=epochs, batch_size=64, seed=seed, verbose=False)
        found[name] = shape_bias(model, conflict)
        with torch.no_grad():
            right = model(conflict["input"]).argmax(1) == conflict["shape"]
        found[f"{name}: shapes named"] = float(right.float().mean())
    found["rise"] = found["local net, stylized"] - found["local net"]
    return found
