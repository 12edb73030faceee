"""Images found by 32 bits each, which a network learns layer by layer."""

import numpy as np
import torch
from torch import Tensor

from neurarium import initialization
from neurarium.data import MinMax, load
from neurarium.learning import AltMin, Backprop, Rule
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Zhang, Chen & Saligrama (2016), CVPR, arXiv:1511.04524",
    figure="mean average precision gained over random hyperplanes",
    expect=(0.35, None),
    minutes=1.5,
    quick={"epochs": 3, "deep_epochs": 0},
    quick_expect=(0.2, None),
)
def vdsh(seed: int = 0, epochs: int = 30, deep_epochs: int = 30) -> dict[str, float]:
    """Codes are the signs of 32 tanh units, which a linear classifier has to do with; the network
    64-100-32-10 is split by auxiliary variables and never sees a gradient that crosses a layer.

    The 360 test digits each ask for the 1437 others of their class, in the order of the codes'
    distance. The source splits by ADMM with sums of rectifiers and trains 64 layers of 1024; ADMM
    as it is here classifies as well, but its codes' signs stay near those of the hyperplanes (.58),
    so the split is alternating minimization, with the same variables. Backpropagation gives codes
    as good. The deep network has 16 layers, of rectifiers, where plain descent with sigmoids does
    not leave chance.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    parts = (digits.train, digits.split("test"))
    base, asked = (digits.prepare(next(part.batches(len(part)))) for part in parts)
    images = [part["input"].flatten(1) for part in (base, asked)]

    def precision(codes: list[Tensor]) -> float:
        """The mean over queries of the average precision; equal distances count together."""
        from sklearn.metrics import average_precision_score

        of_base, of_asked = (torch.where(z > 0, 1.0, -1.0) for z in codes)
        near = (of_asked @ of_base.T).numpy()
        same = (asked["target"][:, None] == base["target"]).numpy()
        rows = zip(same, near, strict=True)
        return float(np.mean([average_precision_score(*row) for row in rows]))

    def learnt(rule: Rule, epochs: int, hidden: list[int], activation: str) -> float:
        torch.manual_seed(seed)
        names = [activation] * len(hidden) + ["tanh"]
        model = MLP([64, *hidden, 32, 10], activation=names)
        if len(hidden) > 1:  # torch's own start fades within a few layers
            initialization.init_(model, "kaiming")
        fit(
            model, digits, supervised("cross_entropy"), rule, epochs=epochs, batch_size=50,
            seed=seed, verbose=False, precision="32",
        )  # fmt: skip
        with torch.no_grad():
            return precision([model.layers[:-1](x) for x in images])

    torch.manual_seed(seed)
    planes = torch.randn(64, 32)
    chance = precision([(x - images[0].mean(0)) @ planes for x in images])
    split = learnt(AltMin("adam", lr=2e-3), epochs, [100], "relu")
    result = {
        "gained": split - chance,
        "split": split,
        "hyperplanes": chance,
        "backpropagation": learnt(Backprop("adam", lr=2e-3), epochs, [100], "relu"),
    }
    if deep_epochs:
        sgd = Backprop("sgd:momentum=0.9", lr=0.1)
        result["16 layers, split"] = learnt(AltMin("adam", lr=1e-3), deep_epochs, [64] * 14, "relu")
        result["16 layers, descent, sigmoids"] = learnt(sgd, deep_epochs, [64] * 14, "sigmoid")
    return result
