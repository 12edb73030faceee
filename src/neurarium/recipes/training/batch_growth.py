"""A batch that grows where the rate would fall."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.optim import schedules
from neurarium.recipes.reproduction import recipe
from neurarium.training import BatchGrowth, fit


@recipe(
    source="Smith, Kindermans, Ying & Le (2018), arXiv:1711.00489",
    figure="test accuracy with a batch that grows",
    expect=(0.965, 0.985),
    minutes=0.1,
    quick={"epochs": 6},
    quick_expect=(0.94, None),
)
def batch_growth(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """Times five at 8/30 and 18/30 of the training: as good as a rate that is divided by five.

    A 64-100-10 network on the 8 x 8 digits from batch 16, momentum 0.9, rate 0.05. The batch
    stops growing at a tenth of the rows, beyond which the rate falls instead, or not at all
    ("uncapped"). The paper shows the same curves for wide ResNets on CIFAR-10, where a step on
    more rows costs no more time.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def growth(now: int, total: int) -> float:
        return schedules.batch_growth(now, total, milestones=(8 / 30, 18 / 30), factor=5)

    def decay(step: int, total: int) -> float:
        return 1 / growth(step, total)

    def trained(
        callbacks: list[BatchGrowth], schedule: schedules.Schedule | None = None
    ) -> tuple[float, int]:
        torch.manual_seed(seed)
        rule = Backprop("sgd:momentum=0.9", lr=0.05, schedule=schedule)
        model = MLP([64, 100, 10])
        run = fit(model, digits, rule=rule, epochs=epochs, batch_size=16, seed=seed,
                  callbacks=callbacks, verbose=False)  # fmt: skip
        return run.evaluate("test")["accuracy"], run.history["step"][-1]

    grown, steps = trained([BatchGrowth(growth)])
    uncapped, steps_uncapped = trained([BatchGrowth(growth, most=1.0)])
    decayed, steps_decayed = trained([], decay)
    return {
        "grown": grown,
        "test accuracy, uncapped": uncapped,
        "test accuracy with a rate that falls": decayed,
        "updates": steps,
        "updates, uncapped": steps_uncapped,
        "updates with a rate that falls": steps_decayed,
    }
