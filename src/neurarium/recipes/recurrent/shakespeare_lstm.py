"""Shakespeare by characters, by one LSTM that reads on from batch to batch."""

from typing import Any

from neurarium.data import Data, load, streams
from neurarium.learning import BackpropThroughTime
from neurarium.networks import LanguageModel
from neurarium.objectives import per_step
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Karpathy (2015), The unreasonable effectiveness of recurrent neural networks",
    figure="validation loss, nats per character",
    expect=(None, 1.63),
    minutes=3,
    quick={"max_steps": 60, "hidden": 64, "val_size": 0.01},
    quick_expect=(2.0, 3.2),
    needs=("tinyshakespeare",),
)
def shakespeare_lstm(
    seed: int = 0, max_steps: int = 2000, hidden: int = 256, val_size: float = 0.1
) -> float:
    """One layer of 256 LSTM cells; 32 streams of the text, 64 characters a step, states carried on.

    The first nine tenths train, the rest validates, read in 20 streams of 5,577 characters. Counts
    of three characters give 2.050, nanoGPT's transformer on a CPU 1.88, on a GPU 1.47. Departures:
    char-rnn's two layers of 128, RMSProp and 50 epochs are one layer, Adam with the 1cycle schedule
    to 0.004 and 4 epochs.
    """
    text: Any = load("shakespeare", test_size=0, val_size=val_size)
    train, val = (text.split(name).tokens.long() for name in ("train", "val"))
    rows = val[: (len(val) - 1) // 20 * 20 + 1]
    held = {"input": rows[:-1].view(20, -1), "target": rows[1:].view(20, -1)}
    data = Data(streams(train, 32, 64), held)
    steps = data.train.steps(32)
    assert steps is not None
    run = fit(
        LanguageModel(text.preprocessing.vocab, 64, hidden),
        data,
        per_step(),
        BackpropThroughTime(
            "adam", lr=4e-3, schedule="one_cycle", window=64, carry=True, max_grad_norm=1.0
        ),
        epochs=-(-max_steps // steps),
        max_steps=max_steps,
        limit_val_batches=1,
        seed=seed,
        precision="32",
        verbose=False,
    )
    return run.evaluate("val")["loss"]
