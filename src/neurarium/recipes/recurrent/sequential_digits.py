"""Handwritten digits read row by row, by three cells."""

from neurarium.data import load
from neurarium.learning import Backprop
from neurarium.networks import SequenceClassifier
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Le, Jaitly & Hinton (2015), arXiv:1504.00941, section 4.2, scaled down",
    figure="test accuracy, LSTM",
    expect=(0.94, None),
    minutes=0.5,
    quick={"epochs": 10},
    quick_expect=(0.85, None),
)
def sequential_digits(seed: int = 0, epochs: int = 40) -> dict[str, float]:
    """scikit-learn's digits as 8 steps of 8 pixels, 64 units, the state after the last row judged.

    The paper reads MNIST pixel by pixel, 784 steps; 8 steps do not separate the cells. Adam at
    0.003, batches of 64, one random fifth of the images for the test.
    """
    data = load("digits", val_size=0, seed=seed)

    def accuracy(cell: str) -> float:
        run = fit(
            SequenceClassifier(8, 10, cell=cell, hidden=64), data, rule=Backprop("adam", lr=3e-3),
            epochs=epochs, seed=seed, precision="32", verbose=False,
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    return {"LSTM": accuracy("lstm"), "GRU": accuracy("gru"), "tanh": accuracy("rnn")}
