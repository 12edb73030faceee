"""A permutation of three bits, learnt in both directions by one set of weights."""

import itertools

import torch
from torch import Tensor

from neurarium.data import Data
from neurarium.learning import BidirectionalBackprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Adigun & Kosko (2019), IEEE Trans. SMC: Systems 50(5)",
    figure="share of the bits right, the worse of both directions",
    expect=(1, None),
    minutes=0.1,
    quick={"epochs": 200},
)
def bidirectional_bijection(seed: int = 0, epochs: int = 500) -> dict[str, float]:
    """The eight rows of three bits and their images under a random permutation, by 3-16-3.

    Trained forward only, the network sends its outputs back to anything. With eight hidden units
    one of eight permutations stayed a bit short of right.
    """
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    images = bits[torch.randperm(8)]

    def right(logits: Tensor, truth: Tensor) -> float:
        return ((logits > 0) == (truth > 0)).float().mean().item()

    def trained(back_weight: float) -> tuple[float, float]:
        torch.manual_seed(seed)
        model = MLP([3, 16, 3], activation="sigmoid")
        rule = BidirectionalBackprop(
            "adam", 0.1, back_weight=back_weight, back_loss="binary_cross_entropy"
        )
        fit(
            model, Data((bits, images)), supervised("binary_cross_entropy"), rule, epochs=epochs,
            batch_size=8, metrics=(), seed=seed, verbose=False, precision="32",
        )  # fmt: skip
        return right(model(bits), images), right(rule.recall(images), bits)

    (forward, back), (forward_only, back_untrained) = trained(1), trained(0)
    return {
        "worse direction": min(forward, back),
        "forward": forward,
        "back": back,
        "forward, without the backward loss": forward_only,
        "back, without the backward loss": back_untrained,
    }
