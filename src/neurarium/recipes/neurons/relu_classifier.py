"""A rectifier in the place of softmax's logits."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Agarap (2018), Deep Learning using Rectified Linear Units, arXiv:1803.08375",
    figure="accuracy above softmax's, output biases started at 1",
    expect=(-0.02, 0.02),
    minutes=0.3,
    quick={"epochs": 8},
    quick_expect=(-0.03, 0.03),
)
def relu_classifier(seed: int = 0, epochs: int = 40) -> dict[str, float]:
    r"""Scores $\max(0, \theta^\top h + b)$ under cross-entropy: as good, if no output starts dead.

    With the usual weights some outputs are silent on every example from the start, get no
    gradient, and their classes are never learnt. The paper, on MNIST, finds softmax equal or
    better too and does not mention this.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def trained(out: str | None, bias: float | None = None) -> tuple[float, float, float]:
        torch.manual_seed(seed)
        model = MLP([64, 100, 100, 10], out=out)
        if bias is not None:
            head = [layer for layer in model.layers if isinstance(layer, nn.Linear)][-1]
            nn.init.constant_(head.bias, bias)
        run = fit(
            model,
            digits,
            supervised("cross_entropy"),
            Backprop("adam", lr=1e-3),
            epochs=epochs,
            seed=seed,
            verbose=False,
        )
        scores, _ = run.outputs("test")
        dead = (scores <= 0).all(0).sum().item()
        silent = (scores <= 0).all(1).float().mean().item()
        return run.evaluate("test")["accuracy"], dead, silent

    softmax, _, _ = trained(None)
    started, started_dead, started_silent = trained("relu", bias=1.0)
    usual, usual_dead, usual_silent = trained("relu")
    return {
        "above softmax": started - softmax,
        "softmax": softmax,
        "rectifier, biases 1": started,
        "rectifier, usual start": usual,
        "dead outputs, biases 1": started_dead,
        "dead outputs, usual start": usual_dead,
        "rows without a score, biases 1": started_silent,
        "rows without a score, usual start": usual_silent,
    }
