"""Feed-forward networks on handwritten digits."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from neurarium import activations
from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Nielsen (2015), Neural Networks and Deep Learning, chapter 1",
    figure="best test accuracy of 30 epochs",
    published=0.9542,
    expect=(0.945, None),
    minutes=2,
    quick={"epochs": 2, "rows": 10_000},
)
def nielsen_mnist(seed: int = 0, epochs: int = 30, rows: int = 50_000) -> dict[str, float]:
    """The book's first network: 30 sigmoid neurons, quadratic cost, batches of 10, rate 3.

    As in the book the first 50,000 images train, and the figure is the best of the accuracies
    on the 10,000 test images after each epoch, which flatters a little: the last one's is beside
    it. No departures. With the book's wide initial weights an output may stay dead for some
    epochs (seed 0: four epochs at 82 to 84 %) or for good.
    """
    mnist = load("mnist", val_size=0)

    def with_vectors(split: Any, rows: int) -> dict[str, Tensor]:
        image, digit = (split.tensors[name][:rows] for name in ("input", "target"))
        return {"input": image, "target": digit, "vector": one_hot(digit, 10).float()}

    data = Data(
        with_vectors(mnist.train, rows),
        val=with_vectors(mnist.test, 10_000),
        transform=MinMax(torch.tensor(0.0), torch.tensor(255.0)),
    )
    model = MLP([784, 30, 10], activation="sigmoid", out="sigmoid", init="nielsen")
    objective = supervised("quadratic_cost", target="vector")
    run = fit(
        model, data, objective, Backprop("sgd", lr=3.0), epochs=epochs, batch_size=10, seed=seed
    )
    accuracy = run.history["val_accuracy"]
    return {"best": max(accuracy), "last epoch": accuracy[-1]}


@recipe(
    source="Alpaydin & Kaynak (1998), the UCI digits as scikit-learn has them",
    figure="test accuracy",
    expect=(0.97, None),
    minutes=0.1,
    quick={"epochs": 10},
)
def digits_mlp(seed: int = 0, epochs: int = 60) -> float:
    """A 64-100-100-10 network on the 8 x 8 digits: four fifths train, the others test.

    There is no published figure for this split, which is scikit-learn's `train_test_split` with
    `test_size=0.2, stratify=y, random_state=0`.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    rule = Backprop("sgd:momentum=0.9", lr=0.05)
    model = MLP([64, 100, 100, 10])
    run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
    return run.evaluate("test")["accuracy"]


@recipe(
    source="Nielsen (2015), Neural Networks and Deep Learning, chapter 5",
    figure="first layer's gradient before training, relu's over sigmoid's",
    expect=(200, None),
    minutes=0.5,
    quick={"epochs": 1},
)
def activations_digits(seed: int = 0, epochs: int = 20) -> dict[str, float]:
    """Six hidden layers, every activation: sigmoids leave the first layer next to no gradient.

    All networks start from the same draw of N(0, 1/inputs), with biases 0, and see the same
    batches. The book shows the effect on four layers and publishes no ratio.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    objective = supervised("cross_entropy")
    flat = ("hardlim", "hardlims", "sign", "step")  # their gradient is zero everywhere
    names = [name for name in activations.__all__ if name not in (*flat, "softmax", "Swish")]
    gradient, accuracy = {}, {}
    for name in names:
        torch.manual_seed(seed)
        model = MLP([64, *[64] * 6, 10], activation=name, init="lecun")
        loss: Any = objective(model, digits.example(rows=1437))
        (first,) = torch.autograd.grad(loss, next(model.parameters()))
        gradient[name] = first.norm().item()
        run = fit(
            model,
            digits,
            objective,
            Backprop("adam", lr=1e-3),
            epochs=epochs,
            seed=seed,
            verbose=False,
        )
        accuracy[name] = run.evaluate("test")["accuracy"]
    return {
        "ratio": gradient["relu"] / gradient["sigmoid"],
        **{f"{name}, first gradient": value for name, value in gradient.items()},
        **{f"{name}, test accuracy": value for name, value in accuracy.items()},
    }
