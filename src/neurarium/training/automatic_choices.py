"""What to train when nothing is said: chosen from plain facts of the training data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

# Of fewer rows none are put aside to validate on: a fifth of them is much to lose and little to
# judge by. For a table, cross-validation, which judges on every row, then chooses the network.
_SMALL_TABLE, _SMALL_IMAGES = 10_000, 2_000
# Cross-validation must end in seconds; 500 and 250 steps scored within 0.005 of these.
_LEAST_STEPS = 350
_SERIES_STEPS = 1_000
_BATCH_SIZES = ((1_000, 32), (5_000, 64), (30_000, 128))  # up to so many rows
_WORD_STEPS = 1_200
_WIDE, _NARROW = "MLP:hidden=256x256,dropout=0.1", "MLP:hidden=64,dropout=0.5"


@dataclass(frozen=True)
class Facts:
    """What a choice is made from.

    Args:
        rows: that are trained on; None for a stream of unknown length.
        input_shape: of one row; (channels, height, width) is an image.
        categories: cardinalities of a table's categorical columns.
        accelerated: whether a GPU computes.
        graph: whether rows are nodes or graphs; `whole_graph`, whether each pass is one step.
        text: whether rows are windows of a text, in tokens.
        streamed: whether rows are read anew each epoch, being too many for memory.
        series: whether rows are windows of a series, to be gone on with.
        words: whether rows are texts, as numbers of their words.
    """

    rows: int | None
    input_shape: Sequence[int]
    categories: Sequence[int] = ()
    validation_rows: int = 0
    accelerated: bool = False
    graph: bool = False
    whole_graph: bool = False
    text: bool = False
    streamed: bool = False
    series: bool = False
    words: bool = False

    @property
    def about(self) -> int:
        """Rows, or a guess where nobody knows."""
        return 20_000 if self.rows is None else self.rows

    @property
    def image(self) -> bool:
        """Whether convolutions apply."""
        return len(self.input_shape) == 3 and min(self.input_shape[1:]) >= 8

    @property
    def small(self) -> bool:
        """Whether there are too few rows to put some aside."""
        most = _SMALL_IMAGES if self.image else _SMALL_TABLE
        apart = self.graph or self.text or self.series or self.words
        return not apart and self.about + self.validation_rows < most


@dataclass(frozen=True)
class Choice:
    """Everything that `fit` is told; `reasons` are those of what was chosen, not said."""

    network: str
    epochs: int
    batch_size: int
    lr: float | None = None  # None: a range test is to tell
    weight_decay: float = 0.1
    optimizer: str = "adamw"
    schedule: str = "one_cycle"
    patience: int = 5
    reasons: Mapping[str, str] = field(default_factory=dict)

    def because(self, **reasons: str) -> "Choice":
        """The same with these reasons besides."""
        return replace(self, reasons={**self.reasons, **reasons})

    def overridden(self, said: Mapping[str, Any]) -> "Choice":
        """What was said in place of what was chosen; it needs no reason."""
        if "optimizer" in said and "weight_decay" not in said and not _decouples(said["optimizer"]):
            said = {**said, "weight_decay": 0.0}
        reasons = {name: why for name, why in self.reasons.items() if name not in said}
        return replace(self, reasons=reasons, **said)

    def lines(self) -> list[str]:
        """A line for each thing chosen: what, why, and the flag that overrides it."""
        return [
            f"{name.replace('_', ' ')}: {_shown(getattr(self, name))}, {self.reasons[name]} "
            f"(--{name.replace('_', '-')} overrides)"
            for name in (f.name for f in fields(self))
            if name in self.reasons
        ]


def _decouples(optimizer: str) -> bool:
    """Whether its decay is apart from the gradient, as the chosen amounts suppose.

    As a penalty they would hold the weights at zero.
    """
    return optimizer.partition(":")[0].strip().lower() in ("adamw", "lion", "muon")


def choose(facts: Facts) -> Choice:
    """Network, batch size, length and regularization for data of this kind and size."""
    if facts.graph:
        return _for_graph(facts)
    if facts.text:
        return _for_text(facts)
    if facts.series:
        return _for_series(facts)
    if facts.words:
        return _for_words(facts)
    network = _convolutional(facts) if facts.image else _NARROW if facts.small else _WIDE
    kind = "images" if facts.image else "a table"
    return _with_length(Choice(network, 0, 0), facts).because(
        network=f"usual for {kind} of {facts.about:,} rows", weight_decay="mild"
    )


def candidates(facts: Facts) -> dict[str, Choice]:
    """For a table, the simplest first; cross-validation is to pick one.

    Whether it takes a straight line, a little curvature or a deep network, and how much shrinking
    its noise asks for, cannot be told from counts of rows and columns. They were tuned by
    the scores on wine, breast_cancer, diabetes, iris, linnerud, moons, XOR, Friedman's function,
    mixtures of Gaussians, noisy lines, pure noise and tables made up like a census, so figures on
    those flatter them. On ten splits the choice was 0.008 below the best linear model at worst. The
    calm one makes 30 errors on the 1,797 digits as a table where the deep one makes 47, and loses
    where rows are fewer: about half a row each of wine, iris and breast_cancer.
    """
    networks = {
        "linear": Choice("Perceptron", 0, 0, lr=0.05, weight_decay=0.1),
        "shrunk": Choice(_NARROW, 0, 0, lr=0.01, weight_decay=3.0),
        "narrow": Choice(_NARROW, 0, 0, lr=0.01, weight_decay=1.0),
        "deep": Choice("MLP:hidden=64x64,dropout=0.1", 0, 0, lr=0.005, weight_decay=1.0),
        "calm": Choice(_WIDE, 0, 0, lr=0.01, weight_decay=1.0),
        "wide": Choice(_WIDE, 0, 0, lr=0.01, weight_decay=0.3),
    }
    if facts.about < 1_000:
        names = ["linear", "shrunk", "narrow", "deep"]
    elif facts.about < 2_000:
        names = ["linear", "narrow", "deep", "calm"]
    else:
        names = ["linear", "narrow", "calm", "wide"]
    if facts.categories:  # a Perceptron cannot read them
        names.remove("linear")
    why = {name: "tuned with that network" for name in ("lr", "weight_decay")}
    return {name: _with_length(networks[name], facts).because(**why) for name in names}


def _for_graph(facts: Facts) -> Choice:
    """Kipf and Welling's settings for nodes; for whole graphs sums, and batches as for tables.

    On Cora 200 steps give 81.4 % over ten seeds, up to 500 with the weights that validate best
    82.2 %.
    """
    if not facts.whole_graph:
        choice = Choice("GIN", 0, 0, lr=1e-3, weight_decay=1e-2)
        return _with_length(choice, facts).because(network="usual for whole graphs")
    why = dict.fromkeys(("lr", "weight_decay"), "as its authors had it")
    choice = Choice("GCN", 500, facts.about, 0.01, 5e-4, "adam", "constant", 50)
    return choice.because(network="usual for nodes of a graph", epochs="as many steps", **why)


def _for_text(facts: Facts) -> Choice:
    """A small GPT, nanoGPT's for a CPU, for as many steps as a user would wait."""
    tokens = facts.about * facts.input_shape[-1]
    # 4 epochs of the 1.0 M characters of Tiny Shakespeare; a book of any length takes as long.
    epochs = max(1, min(30, round(4e6 / tokens)))
    if facts.accelerated:
        epochs = 2 * epochs
    choice = Choice("GPT", epochs, 32, 3e-3, 0.1, "adamw", "one_cycle", max(2, epochs))
    why = f"{tokens:,} tokens"
    if tokens < 300_000:  # which a network without it would learn by heart
        choice = replace(choice, network="GPT:dropout=0.2")
    return choice.because(
        network="usual for text", epochs=why, batch_size="for text", lr="usual for its size"
    )


def _for_words(facts: Facts) -> Choice:
    """The mean of the words' vectors: on ten thousand sentences no network that reads in order,
    without vectors learnt elsewhere, does better, and none in ten times its time.
    """
    batch_size = next((size for up_to, size in _BATCH_SIZES if facts.about < up_to), 128)
    steps = math.ceil(facts.about / batch_size)
    epochs = max(3, min(60, round(_WORD_STEPS / steps)))
    choice = Choice("FastText", epochs, batch_size, 3e-3, 1.0, patience=max(3, epochs // 2))
    return choice.because(
        network="usual for texts", epochs=f"{epochs * steps:,} steps",
        batch_size=f"for {facts.about:,} texts", lr="usual for it", weight_decay="usual for it",
    )  # fmt: skip


def _for_series(facts: Facts) -> Choice:
    """A linear map of the past: few deeper networks forecast better, and none as quickly."""
    batch_size = next((size for up_to, size in _BATCH_SIZES if facts.about < up_to), 256)
    steps = math.ceil(facts.about / batch_size)
    epochs = max(10, math.ceil(_SERIES_STEPS / steps))
    choice = Choice("NLinear", epochs, batch_size, 1e-3, 0.0, patience=max(5, 3 * epochs // 4))
    return choice.because(
        network="hard to beat on series", epochs=f"{epochs * steps:,} steps",
        batch_size=f"for {facts.about:,} windows", lr="usual for it",
    )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """How candidates are compared: on how many rows, in how many parts, how many in turn."""

    rows: int
    parts: int
    turns: int


def comparison(facts: Facts) -> Comparison:
    """All rows in turn judge where rows are few; where they are many, a part of a sample does."""
    if facts.about < 2_000:
        return Comparison(facts.about, 5, 5)
    if facts.about < _SMALL_TABLE:
        return Comparison(facts.about, 3, 3)
    return Comparison(8_000, 5, 1)


def _convolutional(facts: Facts) -> str:
    if facts.input_shape[0] == 1 and max(facts.input_shape[1:]) <= 64:
        return "LeNet5:channels=16x32"
    return "ResNet:depth=20" if facts.accelerated else "ResNet:depth=8"


def _with_length(choice: Choice, facts: Facts) -> Choice:
    """Hundreds of steps from few rows; from many, larger and quicker steps, and fewer passes."""
    batch_size = next((size for up_to, size in _BATCH_SIZES if facts.about < up_to), 256)
    steps = math.ceil(facts.about / batch_size)
    passes = min(30, round(25 * (1_500 / facts.about) ** 0.4))
    epochs = max(5, passes, math.ceil(_LEAST_STEPS / steps))
    if facts.image:
        epochs = max(3, min(epochs, _affordable(facts)))
    # The schedule's high rates in mid-course look like a run that no longer improves.
    patience = max(5, 3 * epochs // 4)
    return replace(choice, epochs=epochs, batch_size=batch_size, patience=patience).because(
        epochs=f"{epochs * steps:,} steps", batch_size=f"for {facts.about:,} rows"
    )


def _affordable(facts: Facts) -> int:
    """Passes over so many pixels for which a user would wait."""
    pixels = facts.about * math.prod(facts.input_shape[1:])
    return round((5e9 if facts.accelerated else 5e8) / pixels)


def _shown(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
