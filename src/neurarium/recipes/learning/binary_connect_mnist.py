"""BinaryConnect on MNIST: weights of one bit, learnt as real numbers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, straight_through
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import Callback, fit


@recipe(
    source="Courbariaux, Bengio & David (2015), arXiv:1511.00363, Table 2",
    figure="test error",
    published=0.0129,
    expect=(None, 0.018),
    minutes=2.5,
    quick={"max_steps": 60, "real": False},
    quick_expect=(None, 0.2),
    needs=("mnist",),
)
def binary_connect_mnist(
    seed: int = 0, epochs: int = 8, max_steps: int | None = None, real: bool = True
) -> dict[str, float]:
    """Three hidden layers of rectifiers whose weights are all +c or -c; batches of 200.

    The real weights, from which the signs are taken, learn by the slope of the signs and are kept
    in [-c, c], with Glorot's c of the layer. The test is of the signs too. Beside it is the same
    network with real weights, 1.30 % in the paper.

    Departures: scaled down to 512 units of 1024 and 8 epochs of 1000; cross-entropy for the squared
    hinge, and no normalization behind the output.
    """
    mnist = load("mnist", val_size=0)
    mnist.transform = MinMax(torch.tensor(0.0), torch.tensor(255.0))

    class Binary(nn.Module):
        def __init__(self, c: float) -> None:
            super().__init__()
            self.c = c

        def forward(self, weight: Tensor) -> Tensor:
            return self.c * straight_through(torch.sign, clip=None)(weight / self.c)

    class Within(Callback):
        @torch.no_grad()
        def on_train_batch_end(self, trainer: Any, outputs: Any, batch: Any, step: int) -> None:
            for layer in linear(trainer.model):
                (binary,) = layer.parametrizations.weight
                layer.parametrizations.weight.original.clamp_(-binary.c, binary.c)

    def linear(model: nn.Module) -> list[Any]:
        return [module for module in model.modules() if isinstance(module, nn.Linear)]

    def error(binary: bool) -> float:
        torch.manual_seed(seed)
        model = MLP([784, 512, 512, 512, 10], norm="batch")
        for layer in linear(model) if binary else []:
            c = (1.5 / (layer.in_features + layer.out_features)) ** 0.5
            parametrize.register_parametrization(layer, "weight", Binary(c))
        rule = Backprop("adam", lr=1e-3, schedule="linear")
        run = fit(
            model, mnist, rule=rule, epochs=epochs, max_steps=max_steps, batch_size=200, seed=seed,
            callbacks=[Within()] if binary else [], verbose=False,
        )  # fmt: skip
        return 1 - run.evaluate("test")["accuracy"]

    figure = {"binary weights": error(True)}
    return figure | ({"real weights": error(False)} if real else {})
