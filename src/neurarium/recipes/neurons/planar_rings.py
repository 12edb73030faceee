"""Two rings, one inside the other: what layers of two units cannot undo, and three can."""

import torch
from sklearn.datasets import make_circles

from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Olah (2014), Neural Networks, Manifolds, and Topology",
    figure="share of networks that separate the rings with layers of 3 units, less with 2",
    expect=(0.7, None),
    minutes=0.4,
    quick={"starts": 2},
    quick_expect=(0.5, None),
)
def planar_rings(seed: int = 0, starts: int = 8, epochs: int = 300) -> dict[str, float]:
    """Tanh layers of two units never separate nested rings; layers of three nearly always do.

    With an invertible matrix such a layer is a homeomorphism of the plane, and one ring stays
    inside the other; with a third dimension it can be lifted out. `explain.planar` draws how the
    layers bend the plane. Separated means that every training point is classified rightly.
    """
    x, y = make_circles(400, factor=0.4, random_state=seed)
    rings = (torch.from_numpy(x).float(), torch.from_numpy(y))
    accuracy: dict[int, list[float]] = {2: [], 3: []}
    for width, found in accuracy.items():
        for start in range(starts):
            torch.manual_seed(100 * seed + start)
            model = MLP([2, width, width, 2], activation="tanh")
            rule = Backprop("adam", lr=0.05, schedule="one_cycle")
            run = fit(
                model, rings, rule=rule, epochs=epochs, batch_size=100, seed=seed, verbose=False
            )
            found.append(run.evaluate("train")["accuracy"])
    separated = {width: sum(a == 1 for a in found) / starts for width, found in accuracy.items()}
    return {
        "difference": separated[3] - separated[2],
        "2 units, separated": separated[2],
        "2 units, best accuracy": max(accuracy[2]),
        "3 units, separated": separated[3],
        "3 units, worst accuracy": min(accuracy[3]),
    }
