"""Batches of most of the data: momentum, LARS and LAMB."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.optim import cosine, warmup
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="You, Gitman & Ginsburg (2017), arXiv:1708.03888; You et al. (2020), arXiv:1904.00962",
    figure="test accuracy by LARS at batch 1024",
    expect=(0.94, 0.985),
    minutes=0.1,
    quick={"epochs": 15},
    quick_expect=(0.9, None),
)
def large_batch(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """Two steps an epoch over the 8 x 8 digits: rates in proportion to weights gain nothing here.

    Warm-up over a tenth of the steps, then a cosine; every rate is the best of three tried. The
    papers' gain is at batches of 8 192 and more, of ImageNet and of text, where plain momentum no
    longer trains; a network of two layers has no layers of different scale to even out.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def schedule(step: int, total: int) -> float:
        return warmup(step, total, steps=max(1, total // 10), then=cosine)

    def accuracy(optimizer: str, lr: float) -> float:
        torch.manual_seed(seed)
        rule = Backprop(optimizer, lr=lr, schedule=schedule)
        model = MLP([64, 100, 10])
        run = fit(
            model, digits, rule=rule, epochs=epochs, batch_size=1024, seed=seed, verbose=False
        )
        return run.evaluate("test")["accuracy"]

    return {
        "LARS": accuracy("lars:trust=0.02", 1.0),
        "test accuracy by LAMB": accuracy("lamb", 0.1),
        "test accuracy by momentum SGD": accuracy("sgd:momentum=0.9", 1.0),
    }
