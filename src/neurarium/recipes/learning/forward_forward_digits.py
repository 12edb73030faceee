"""Forward-forward on the 8 x 8 digits."""

from typing import Any

import torch

from neurarium.data import MinMax, load
from neurarium.learning import ForwardForward
from neurarium.networks import GoodnessNetwork
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Hinton (2022), arXiv:2212.13345",
    figure="test accuracy",
    expect=(0.925, None),
    minutes=0.3,
    quick={"epochs": 7},
    quick_expect=(0.7, None),
)
def forward_forward_digits(seed: int = 0, epochs: int = 60) -> dict[str, float]:
    """Two layers of 200 units on 64 pixels and 10 label units; wrong labels for negative data.

    The label with the most goodness in both layers is the answer; what each layer says alone is
    beside it. The paper has no figure for these digits. A network of this size with frozen
    hidden layers under a trained output gives 95.8 %.
    """
    digits = load("digits", val_size=0)
    digits.transform = minmax = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    model = GoodnessNetwork([64, 200, 200], 10)
    rule = ForwardForward("adam", lr=0.01)
    objective = supervised("cross_entropy")
    run = fit(
        model, digits, objective, rule, epochs=epochs, batch_size=32, seed=seed, verbose=False
    )
    test: Any = digits.test
    x, target = minmax(test.tensors["input"]), test.tensors["target"]
    with torch.no_grad():
        goodness = model.goodness(x.repeat_interleave(10, 0), torch.arange(10).repeat(len(x)))
    alone = [(g.view(-1, 10).argmax(1) == target).float().mean().item() for g in goodness]
    return {
        "both layers": run.evaluate("test")["accuracy"],
        "first layer": alone[0],
        "second layer": alone[1],
    }
