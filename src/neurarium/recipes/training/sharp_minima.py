"""The same function, as sharp as one likes."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.landscape import line, rescale_relu, top_eigenvalues


@recipe(
    source="Dinh et al. (2017), arXiv:1703.04933",
    figure="sharpness after rescaling by 100, over that by 10 (theory: 100)",
    expect=(99, 101),
    minutes=0.1,
    quick={"epochs": 5},
)
def sharp_minima(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """Rescaling a rectifier network's layers keeps every output and makes its minimum sharp.

    Sharpness is the largest eigenvalue of the training loss's Hessian. The filter-normalized
    line of Li et al. (2018) is what rescaling leaves alone. The paper proves the law and
    publishes no such figure.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    objective = supervised("cross_entropy")
    rule = Backprop("sgd:momentum=0.9", lr=0.05)
    run = fit(MLP([64, 100, 10]), digits, objective, rule, epochs=epochs, seed=seed, verbose=False)
    x = digits.transform(digits.split("test").tensors["input"])  # type: ignore[union-attr]
    networks = {alpha: rescale_relu(run.model, alpha) for alpha in (1.0, 10.0, 100.0)}
    sharpness = {a: float(top_eigenvalues(m, objective, digits)) for a, m in networks.items()}
    with torch.no_grad():
        outputs = {alpha: network(x) for alpha, network in networks.items()}
    lines = {alpha: line(m, objective, digits, points=11).loss for alpha, m in networks.items()}
    return {
        "ratio": sharpness[100.0] / sharpness[10.0],
        **{f"sharpness, alpha = {alpha:g}": value for alpha, value in sharpness.items()},
        "largest change of an output": float((outputs[100.0] - outputs[1.0]).abs().max()),
        "largest change along a filter-normalized line": float(
            (lines[100.0] - lines[1.0]).abs().max()
        ),
    }
