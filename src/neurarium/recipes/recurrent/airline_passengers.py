"""A year of airline passengers, month by month, from the years before."""

import numpy as np
import torch

from neurarium import metrics
from neurarium.data import load
from neurarium.learning import Backprop
from neurarium.networks import Forecaster, NLinear
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit

_THOUSANDS = (
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118,
    115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114, 140,
    145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166,
    171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194,
    196, 196, 236, 235, 229, 243, 264, 272, 237, 211, 180, 201,
    204, 188, 235, 227, 234, 264, 302, 293, 259, 229, 203, 229,
    242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278,
    284, 277, 317, 313, 318, 374, 413, 405, 355, 306, 271, 306,
    315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336,
    340, 318, 362, 348, 363, 435, 491, 505, 404, 359, 310, 337,
    360, 342, 406, 396, 420, 472, 548, 559, 463, 407, 362, 405,
    417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432,
)  # fmt: skip


@recipe(
    source="Box & Jenkins (1970), Time Series Analysis: Forecasting and Control, series G",
    figure="MASE of an LSTM on seasonal differences, 12 months ahead",
    expect=(None, 1.0),
    minutes=0.3,
    quick={"epochs": 6},
    quick_expect=(None, 1.5),
)
def airline_passengers(seed: int = 0, epochs: int = 60) -> dict[str, float]:
    """The last 24 of 144 months are the test: 13 forecasts of a year each, scored in passengers.

    The LSTM reads by how much each month's logarithm exceeds that of a year ago, and answers that
    of the next twelve; told of the logarithms alone it does worse, and a linear map of these does
    better than both. MASE is a share of the error of last year's month in training, which a series
    that grows in proportion exceeds later: last year's months have 1.80 here.
    """
    import pandas as pd

    passengers = np.array(_THOUSANDS, dtype=float)
    months = [f"{1949 + i // 12}-{i % 12 + 1:02d}" for i in range(144)]
    logs = np.log(passengers)
    truth = np.stack([passengers[t : t + 12] for t in range(120, 133)])
    error = metrics.naive_error(passengers[:120], 12)
    a_year_ago = np.stack([logs[t - 12 : t] for t in range(120, 133)])

    def answers(series: np.ndarray, lstm: bool) -> np.ndarray:
        table = {"month": months[144 - len(series) :], "logs": series}
        data = load(
            pd.DataFrame(table), "logs", time="month", horizon=12, history=24,
            test_size=24 / len(series), val_size=0,
        )  # fmt: skip
        torch.manual_seed(seed)
        run = fit(
            Forecaster(1, 12, hidden=32) if lstm else NLinear(24, 12), data,
            rule=Backprop("adam", lr=5e-3, schedule="one_cycle", max_grad_norm=1.0),
            epochs=epochs, batch_size=16, metrics={}, precision="32", seed=seed, verbose=False,
        )  # fmt: skip
        return run.decode(run.outputs("test")[0])

    found = {
        "LSTM, seasonal differences": a_year_ago + answers(logs[12:] - logs[:-12], lstm=True),
        "LSTM, logarithms": answers(logs, lstm=True),
        "NLinear, logarithms": answers(logs, lstm=False),
        "last year": a_year_ago,
        "last month": np.repeat(np.stack([logs[t - 1 : t] for t in range(120, 133)]), 12, 1),
    }
    return {name: metrics.mase(truth, np.exp(guess), error) for name, guess in found.items()}
