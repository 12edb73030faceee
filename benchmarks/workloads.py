"""The problems: one model and data of one shape each, for all contenders alike.

The data are random: the time of dense arithmetic does not depend on the values.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Workload:
    """What is trained, and for how long.

    `units` stretches of `rows` samples are timed in each process. On equal terms everybody trains
    in fp32 with the same fused Adam on resident data where that is possible; otherwise everybody
    by its own defaults.
    """

    name: str
    title: str
    model: Callable[[], nn.Module]
    keras_model: Callable[[], Any]
    shape: tuple[int, ...]
    rows: int
    batch_size: int
    units: int
    threads: int
    contenders: tuple[str, ...]
    targets: tuple[tuple[str, str, float], ...]  # whose speed, if whose is 1, should be how much
    measure: str = "wall"  # or "cpu", which others on the machine disturb less
    equal_terms: bool = False
    epochs_per_unit: int | None = None  # a unit is a whole call of so many epochs, set-up included
    tokens: int | None = None  # the input is numbers of so many tokens, and the target those after

    @property
    def baseline(self) -> str:
        """The one whose speed is 1."""
        return self.targets[0][1]

    @property
    def steps(self) -> int:
        """Steps of one unit."""
        return -(-self.rows // self.batch_size) * (self.epochs_per_unit or 1)

    def arithmetic(self) -> dict[str, float]:
        """What one unit cannot do without: operations, and bytes from and to memory.

        The bytes are those of the inputs, read once, and of the weights: read forward and backward,
        their slopes written, and Adam's step, which reads slopes and reads and writes weights and
        two means. Activations may stay in a cache.
        """
        from neurarium.objectives import per_step, supervised
        from neurarium.training import engine

        model = self.model()
        x, y = (column[: self.batch_size] for column in self.data())
        objective = per_step("cross_entropy") if self.tokens else supervised("cross_entropy")
        facts = engine.inspect(model, objective, {"input": x, "target": y}, "cpu")
        flops = facts.flops
        if self.tokens:  # scores and sums of attention, of which half is masked
            places = self.shape[0]
            flops += 3 * 2 * 2 * model.layers * self.batch_size * places**2 * model.dim / 2
        weights = 4 * sum(p.numel() for p in model.parameters())
        return {
            "flops": self.steps * flops,
            "bytes": self.steps * (10 * weights + x.numel() * x.element_size()),
        }

    @staticmethod
    def loss(output: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy, of every place where there are several."""
        return F.cross_entropy(output.flatten(0, -2), target.flatten())

    def data(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        if self.tokens is not None:
            shape = self.rows, self.shape[0] + 1
            text = torch.randint(self.tokens, shape, generator=generator)
            return text[:, :-1].contiguous(), text[:, 1:].contiguous()
        x = torch.randn(self.rows, *self.shape, generator=generator)
        return x, torch.randint(10, (self.rows,), generator=generator)


class _Digits(Workload):
    def data(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return torch.from_numpy(x / 16).float()[: self.rows], torch.from_numpy(y)[: self.rows]


def _mlp(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _lenet() -> nn.Module:
    from neurarium.networks import LeNet5

    return LeNet5(in_channels=3, image_size=32)


def _resnet() -> nn.Module:
    from neurarium.networks import ResNet

    return ResNet(depth=20)


class _LSTM(nn.Module):
    """The last state of one layer, judged."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(128, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1])


def _gpt() -> nn.Module:
    from neurarium.networks import GPT

    return GPT(65, context=128, dim=128, heads=4, layers=4)


def _keras_lstm() -> Any:
    from keras import Sequential, layers

    return Sequential([layers.Input((100, 128)), layers.LSTM(128), layers.Dense(10)])


def _keras_gpt() -> Any:
    from keras import Input, Model, layers

    class Places(layers.Layer):
        def build(self, shape: Any) -> None:
            self.places = self.add_weight(shape=shape[1:], initializer="random_normal")

        def call(self, h: Any) -> Any:
            return h + self.places

    tokens = Input((128,), dtype="int64")
    h = Places()(layers.Embedding(65, 128)(tokens))
    for _ in range(4):
        x = layers.LayerNormalization(epsilon=1e-5)(h)
        h = h + layers.MultiHeadAttention(4, 32)(x, x, use_causal_mask=True)
        x = layers.LayerNormalization(epsilon=1e-5)(h)
        h = h + layers.Dense(128)(layers.Dense(512, activation="gelu")(x))
    return Model(tokens, layers.Dense(65)(layers.LayerNormalization(epsilon=1e-5)(h)))


def _keras_mlp(*sizes: int) -> Any:
    from keras import Sequential, layers

    hidden = [layers.Dense(width, activation="relu") for width in sizes[1:-1]]
    return Sequential([layers.Input((sizes[0],)), *hidden, layers.Dense(sizes[-1])])


def _keras_lenet() -> Any:
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )


def _keras_resnet() -> Any:
    from keras import Input, Model, layers, ops

    def convolve(x: Any, width: int, stride: int = 1) -> Any:
        x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)

    inputs = Input((32, 32, 3))
    x = layers.ReLU()(convolve(inputs, 16))
    for width, stride in [(16, 1)] * 3 + [(32, 2)] + [(32, 1)] * 2 + [(64, 2)] + [(64, 1)] * 2:
        shortcut = x
        if stride == 2:  # the paper's option A: every second pixel, zeros for the new channels
            shortcut = ops.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [0, width // 2]])
        y = convolve(layers.ReLU()(convolve(x, width, stride)), width)
        x = layers.ReLU()(layers.Add()([shortcut, y]))
    return Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


_PEERS = ("accelerate", "lightning", "keras", "skorch")
_DEFAULTS = ("plain", "neurarium", *_PEERS)

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="step",
            title="MLP 64-64-10, batch 32, on equal terms: CPU time of a step",
            model=lambda: _mlp(64, 64, 10),
            keras_model=lambda: _keras_mlp(64, 64, 10),
            shape=(64,),
            rows=12_800,
            batch_size=32,
            units=4,
            threads=1,
            contenders=("bare", "neurarium", *_PEERS),
            targets=(("neurarium", "bare", 1 / 1.15),),
            measure="cpu",
            equal_terms=True,
        ),
        Workload(
            name="mlp",
            title="MLP 784-512-512-10, Adam, batch 128, 30,000 samples, own defaults",
            model=lambda: _mlp(784, 512, 512, 10),
            keras_model=lambda: _keras_mlp(784, 512, 512, 10),
            shape=(784,),
            rows=30_000,
            batch_size=128,
            units=2,
            threads=2,
            contenders=(*_DEFAULTS, "autocast", "transformers", "keras_jax"),
            targets=(("neurarium", "plain", 2.2), ("neurarium", "autocast", 1.1)),
        ),
        Workload(
            name="lenet",
            title="LeNet-5 on 32x32x3, Adam, batch 128, 2,560 samples, own defaults",
            model=_lenet,
            keras_model=_keras_lenet,
            shape=(3, 32, 32),
            rows=2_560,
            batch_size=128,
            units=4,
            threads=2,
            contenders=(*_DEFAULTS, "keras_jax"),
            targets=(("neurarium", "plain", 1.4),),
        ),
        Workload(
            name="resnet",
            title="ResNet-20 on 32x32x3, Adam, batch 128, 1,280 samples, own defaults",
            model=_resnet,
            keras_model=_keras_resnet,
            shape=(3, 32, 32),
            rows=1_280,
            batch_size=128,
            units=1,
            threads=2,
            contenders=_DEFAULTS,
            targets=(("neurarium", "plain", 1.9),),
        ),
        Workload(
            name="lstm",
            title="LSTM 128, 100 steps of 128 numbers, Adam, batch 64, 640 samples, own defaults",
            model=_LSTM,
            keras_model=_keras_lstm,
            shape=(100, 128),
            rows=640,
            batch_size=64,
            units=4,
            threads=2,
            contenders=(*_DEFAULTS, "python_cell", "keras_jax"),
            targets=(("neurarium", "plain", 1.5), ("python_cell", "plain", 1 / 2.5)),
        ),
        Workload(
            name="gpt",
            title="GPT of 4 layers of 128, 128 tokens, Adam, batch 32, 320 samples, own defaults",
            model=_gpt,
            keras_model=_keras_gpt,
            shape=(128,),
            rows=320,
            batch_size=32,
            units=2,
            threads=2,
            contenders=("plain", "neurarium", "transformers", "lightning", "keras"),
            targets=(("neurarium", "plain", 1.5),),
            tokens=65,
        ),
        _Digits(
            name="digits",
            title="digits 64-100-10, Adam, batch 64, 20 epochs: the whole call",
            model=lambda: _mlp(64, 100, 10),
            keras_model=lambda: _keras_mlp(64, 100, 10),
            shape=(64,),
            rows=1_400,
            batch_size=64,
            units=5,
            threads=2,
            contenders=("sklearn", "neurarium", "fused", "plain"),
            targets=(("neurarium", "sklearn", 2.5), ("neurarium", "fused", 3.0)),
            epochs_per_unit=20,
        ),
    )
}
