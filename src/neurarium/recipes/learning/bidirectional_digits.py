"""A network that names digits, and run backwards draws what it takes a class to be."""

import torch
from torch import Tensor

from neurarium.data import MinMax, load
from neurarium.learning import BidirectionalBackprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Adigun & Kosko (2019), IEEE Trans. SMC: Systems 50(5), on the UCI digits",
    figure="distance of the classes drawn from their mean images",
    expect=(None, 0.06),
    minutes=0.2,
    quick={"epochs": 10},
    quick_expect=(None, 0.12),
)
def bidirectional_digits(seed: int = 0, epochs: int = 40) -> dict[str, float]:
    """A network 64-100-10 of tanh units, with and without the loss of the backward pass.

    The network is asked backwards for each class. The squared distance between what it draws and
    the mean of the class's training images is given as a share of that between the mean of all
    images and the classes' own. What the weights do for the way back costs two points of accuracy
    on the way forward.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    everything = digits.example(len(digits.train))
    images, target = everything["input"].flatten(1), everything["target"]
    means = torch.stack([images[target == label].mean(0) for label in range(10)])

    def missed(drawn: Tensor) -> float:
        return ((drawn - means).square().sum() / (means - means.mean(0)).square().sum()).item()

    def trained(back_weight: float) -> tuple[float, float]:
        torch.manual_seed(seed)
        model = MLP([64, 100, 10], activation="tanh")
        rule = BidirectionalBackprop("adam", 3e-3, back_weight=back_weight)
        run = fit(
            model, digits, rule=rule, epochs=epochs, batch_size=64, seed=seed, verbose=False,
            precision="32",
        )  # fmt: skip
        return run.evaluate("test")["accuracy"], missed(rule.recall(torch.arange(10)))

    (accuracy, distance), (plain, untrained) = trained(1), trained(0)
    return {
        "distance": distance,
        "distance, forward only": untrained,
        "accuracy": accuracy,
        "accuracy, forward only": plain,
    }
