"""LeNet-5 on MNIST."""

from neurarium.data import load
from neurarium.learning import Backprop
from neurarium.networks import LeNet5
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="LeCun, Bottou, Bengio & Haffner (1998), Proc. IEEE 86(11), section III",
    figure="test accuracy",
    published=0.9905,
    expect=(0.992, None),
    minutes=2,
    quick={"max_steps": 60},
    quick_expect=(0.85, None),
    needs=("mnist",),
)
def mnist_lenet(seed: int = 0, epochs: int = 12, max_steps: int | None = None) -> float:
    """LeNet-5 on the 60,000 images as they are: the paper's figure without distortions.

    Departures: the network is today's LeNet-5 (see `LeNet5`); pixels are standardized; 12 epochs
    of AdamW with the 1cycle schedule instead of 20 of a diagonal Levenberg-Marquardt method.
    """
    mnist = load("mnist", val_size=0)
    run = fit(
        LeNet5(),
        mnist,
        rule=Backprop("adamw", lr=5e-3, schedule="one_cycle"),
        epochs=epochs,
        batch_size=128,
        seed=seed,
        max_steps=max_steps,
    )
    return run.evaluate("test")["accuracy"]
