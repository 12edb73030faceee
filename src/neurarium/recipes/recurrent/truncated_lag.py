"""A lag longer than the window through which gradients flow cannot be learnt."""

from neurarium.data import Data
from neurarium.data.synthetic import planted_lag
from neurarium.learning import BackpropThroughTime
from neurarium.networks import SequenceTagger
from neurarium.objectives import per_step
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Williams & Peng (1990), Neural Computation 2(4)",
    figure="accuracy on bits 4 steps ago, window 16",
    expect=(0.97, None),
    minutes=0.5,
    quick={"rows": 1024, "epochs": 3},
    quick_expect=(0.9, None),
)
def truncated_lag(seed: int = 0, rows: int = 4096, epochs: int = 3) -> dict[str, float]:
    """Random bits; at each step the bit 4 steps ago is wanted: an LSTM of 32 units, two windows.

    Adam at 0.01, batches of 32 sequences of 32 bits. Windows of 4 steps carry the state on, but no
    gradient reaches the bit that counts: what is learnt stays near chance, one half.
    """
    data = Data(planted_lag(rows, 32, 4, seed), None, planted_lag(256, 32, 4, seed + 10**6))

    def accuracy(window: int) -> float:
        rule = BackpropThroughTime("adam", lr=0.01, window=window)
        model = SequenceTagger(4, 2, vocabulary=2, hidden=32)
        run = fit(
            model, data, per_step(), rule,
            epochs=epochs, batch_size=32, seed=seed, precision="32", verbose=False,
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    return {"window 16": accuracy(16), "window 4": accuracy(4)}
