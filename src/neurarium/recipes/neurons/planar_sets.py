"""A disc in a ring, two moons, two spirals: the sets that one can watch a network learn."""

import numpy as np
import torch
from sklearn.datasets import make_circles, make_moons

from neurarium.explain import planar
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Karpathy (2014), ConvNetJS, demo classify2d",
    figure="training accuracy on the spirals",
    expect=(0.96, None),
    minutes=0.3,
    quick={"epochs": 60},
    quick_expect=(0.85, None),
)
def planar_sets(seed: int = 0, epochs: int = 250) -> dict[str, float]:
    """A 2-64-64-2 network learns circle, moons and spirals; the last take most of the time.

    The demo publishes no figures. Beside the accuracies stands how often the class of a point is
    that of its pixel in a picture of 400 x 400.
    """
    turn = np.tile(np.linspace(0, 1, 200), 2)
    arm = np.repeat([0, 1], 200)
    angle = np.pi * (3.5 * turn + arm)
    spirals = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1)
    spirals += np.random.default_rng(seed).normal(0, 0.02, spirals.shape)
    sets = {
        "spirals": (spirals, arm),
        "circle": make_circles(400, noise=0.05, factor=0.5, random_state=seed),
        "moons": make_moons(400, noise=0.1, random_state=seed),
    }
    accuracy, agreement = {}, {}
    for name, (x, y) in sets.items():
        rows = (torch.from_numpy(x).float(), torch.from_numpy(y))
        torch.manual_seed(seed)
        model = MLP([2, 64, 64, 2])
        rule = Backprop("adam", lr=0.02, schedule="one_cycle")
        count = epochs if name == "spirals" else epochs // 2
        run = fit(model, rows, rule=rule, epochs=count, batch_size=40, seed=seed, verbose=False)
        accuracy[name] = run.evaluate("train")["accuracy"]
        view = planar(model, rows, resolution=400)
        columns = np.abs(view.x - view.points[:, :1]).argmin(1)
        lines = np.abs(view.y - view.points[:, 1:]).argmin(1)
        shown = view.classes[lines, columns]
        agreement[name] = float((shown == run.predict(rows[0])).mean())
    return {
        **accuracy,
        **{f"{name}, points like their pixel": value for name, value in agreement.items()},
    }
