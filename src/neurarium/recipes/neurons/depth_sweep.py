"""The factor by which a layer changes the error signal decides whether a deep network learns."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, NonFiniteError
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.diagnostics import gradient_flow


@recipe(
    source="Bengio, Simard & Frasconi (1994), IEEE Trans. Neural Networks 5(2); He, Zhang, Ren & "
    "Sun (2015), arXiv:1502.01852",
    figure="accuracy of the deepest network at a rate near 1, less the best at any other",
    expect=(0.2, None),
    minutes=0.4,
    quick={"depths": [14], "epochs": 3},
    quick_expect=(0.1, None),
)
def depth_sweep(
    seed: int = 0, epochs: int = 10, depths: tuple[int, ...] = (3, 10, 20)
) -> dict[str, float]:
    """Rectifier networks whose Kaiming weights are multiplied by 0.5 to 2, and sigmoids.

    The rate is measured by `gradient_flow` before training. Three layers learn at every rate of
    rectifiers; of twenty layers only those learn well whose rate is near 1. A run that diverges
    counts as accuracy 0. The papers show curves on other data and publish no such figure.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    objective = supervised("cross_entropy")
    settings = [("relu", "kaiming", scale) for scale in (0.5, 0.7, 1.0, 1.4, 2.0)]
    table: dict[str, float] = {}
    near, other = [0.0], [0.0]
    for depth in depths:
        for activation, init, scale in [*settings, ("sigmoid", "lecun", 1.0)]:
            torch.manual_seed(seed)
            model = MLP([64, *[64] * (depth - 1), 10], activation=activation, init=init)
            for parameter in model.parameters():
                parameter.data *= scale  # the biases are 0
            rate = gradient_flow(model, digits.example(512), objective).rate
            rule = Backprop("sgd:momentum=0.9", lr=0.01)
            try:
                run = fit(
                    model, digits, objective, rule, epochs=epochs, batch_size=32, seed=seed,
                    verbose=False,
                )  # fmt: skip
                accuracy = run.evaluate("test")["accuracy"]
            except NonFiniteError:
                accuracy = 0.0
            name = f"{depth} layers, {activation} x {scale}"
            table |= {f"{name}, rate": rate, f"{name}, accuracy": accuracy}
            if depth == max(depths):
                (near if 0.8 < rate < 1.25 else other).append(accuracy)
    return {"gain": max(near) - max(other), **table}
