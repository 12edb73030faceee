"""The wider a network, the more it trains like its linearization."""

import copy
import math

import torch

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit, ntk


@recipe(
    source="Lee et al. (2019), arXiv:1902.06720, theorem 2.1",
    figure="slope of log distance between network and linearization over log width",
    expect=(None, -0.5),
    minutes=0.3,
    quick={"starts": 3, "widths": (64, 512), "times": (10, 30, 100)},
    quick_expect=(None, -0.3),
)
def ntk_linearization(
    seed: int = 0,
    starts: int = 10,
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
    times: tuple[int, ...] = (10, 30, 100, 300),
) -> dict[str, float]:
    """How far a network strays from its linearization while both train, from width 64 to 1024.

    One tanh layer in the NTK parametrization, 16 points to learn, full gradient descent. The
    distance is the largest root mean square difference on these and 16 new points after some
    numbers of steps; the linearization is evaluated in closed form. The theorem bounds the
    distance by a constant over the root of the width: a slope of -1/2 or below.
    """
    n, lr = 16, 0.3

    def distance(width: int, start: int) -> float:
        torch.manual_seed(1000 * seed + start)
        x, y = torch.randn(2 * n, 4), torch.randn(n, 1)
        model = ntk.parametrize_(MLP([4, width, 1], activation="tanh"), gains=1.0)
        # The mean square over n rows has the gradient of half the sum at a rate 2 lr / n.
        first = copy.deepcopy(model)
        far = 0.0
        for before, t in zip((0, *times), times, strict=False):
            fit(
                model,
                Data((x[:n], y)),
                supervised("mse"),
                Backprop("sgd", lr=lr),
                epochs=t - before,
                batch_size=n,
                verbose=False,
            )
            linear = ntk.predict(first, x[:n], y, x, t=t, lr=2 * lr / n, flow=False)
            with torch.no_grad():
                far = max(far, float((model(x) - linear).square().mean().sqrt()))
        return far

    distances = {
        width: math.exp(sum(math.log(distance(width, s)) for s in range(starts)) / starts)
        for width in widths
    }
    logs = torch.tensor([[math.log(w), math.log(d)] for w, d in distances.items()])
    centred = logs - logs.mean(0)
    slope = (centred[:, 0] @ centred[:, 1]) / centred[:, 0].square().sum()
    return {
        "slope": float(slope),
        **{f"distance at width {width}": value for width, value in distances.items()},
    }
