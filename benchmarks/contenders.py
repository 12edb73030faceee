"""The same training under each library: `contender(workload, x, y, epochs, mark)`.

`mark` is called once before the first epoch and after each. Logging, checkpoints and progress bars
are off everywhere. What differs on equal terms is noted where it does.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.workloads import Workload

LR = 1e-3

Batches = Callable[[], Iterator[Any]]


class _Resident:
    """An iterable of shuffled batches of tensors in memory."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int) -> None:
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.randperm(len(self.x)).split(self.batch_size):
            yield self.x.index_select(0, index), self.y.index_select(0, index)


def _batches(workload: Workload, x: Tensor, y: Tensor) -> Any:
    if workload.equal_terms:
        return _Resident(x, y, workload.batch_size)
    return DataLoader(TensorDataset(x, y), workload.batch_size, shuffle=True)


def _adam(workload: Workload, model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), LR, fused=True if workload.equal_terms else None)


def bare(workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]) -> None:
    """The shortest loop there is: nothing is read, logged or checked."""
    model = workload.model()
    optimizer, batches = _adam(workload, model), _batches(workload, x, y)
    mark()
    for _ in range(epochs):
        for inputs, target in batches:
            loss = workload.loss(model(inputs), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        mark()


def plain(workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]) -> None:
    """The tutorials' loop: a DataLoader, and the loss read at every step."""
    model = workload.model()
    optimizer, batches = _adam(workload, model), _batches(workload, x, y)
    mark()
    for _ in range(epochs):
        total = 0.0
        for inputs, target in batches:
            optimizer.zero_grad()
            loss = workload.loss(model(inputs), target)
            loss.backward()
            optimizer.step()
            total += loss.item()
        mark()


def fused(workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]) -> None:
    """What a careful user writes: data in memory, fused Adam, nothing read."""
    _resident(workload, x, y, epochs, mark)


def autocast(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    """The same under bf16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        _resident(workload, x, y, epochs, mark)


def _resident(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    model, batches = workload.model(), _Resident(x, y, workload.batch_size)
    optimizer = torch.optim.Adam(model.parameters(), LR, fused=True)
    mark()
    for _ in range(epochs):
        for inputs, target in batches:
            workload.loss(model(inputs), target).backward()
            optimizer.step()
            optimizer.zero_grad()
        mark()


def python_cell(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    """Neurarium's own LSTM cell, in Python and step by step, where torch's fused layer stood."""
    from neurarium.layers import Recurrent

    class Stepwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = Recurrent("lstm", 128, 128, fused=False)
            self.out = nn.Linear(128, 10)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.out(self.recurrent(inputs)[0][:, -1])

    neurarium(dataclasses.replace(workload, model=Stepwise), x, y, epochs, mark)


def neurarium(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> dict[str, Any]:
    from neurarium.data import Data
    from neurarium.learning import Backprop
    from neurarium.objectives import per_step, supervised
    from neurarium.training import Callback, fit

    class Marks(Callback):
        def on_fit_start(self, trainer: Any) -> None:
            mark()

        def on_train_epoch_end(self, trainer: Any) -> None:
            mark()

    model = workload.model()
    equal = workload.equal_terms
    objective = per_step("cross_entropy") if workload.tokens else supervised("cross_entropy")
    run = fit(
        model,
        Data((x, y)),
        objective,
        rule=Backprop(_adam(workload, model)) if equal else Backprop("adam", lr=LR),
        epochs=epochs,
        batch_size=workload.batch_size,
        precision="32" if equal else "auto",
        threads=1 if equal else None,
        callbacks=[Marks()],
        verbose=False,
    )
    return run.config["engine"]


def accelerate(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = workload.model()
    model, optimizer = accelerator.prepare(model, _adam(workload, model))
    batches = _batches(workload, x, y)
    if isinstance(batches, DataLoader):
        batches = accelerator.prepare(batches)
    mark()
    for _ in range(epochs):
        for inputs, target in batches:
            loss = workload.loss(model(inputs), target)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        mark()


def lightning(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = workload.model()

        def training_step(self, batch: Any, index: int) -> Tensor:
            inputs, target = batch
            return workload.loss(self.model(inputs), target)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return _adam(workload, self.model)

    class Marks(L.Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            mark()

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            mark()

    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Marks()],
    )
    trainer.fit(Module(), _batches(workload, x, y))


def transformers(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    """Hugging Face's Trainer, with the same model and its own AdamW, undecayed."""
    import tempfile

    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = workload.model()

        def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": workload.loss(self.model(inputs), labels)}

    class Marks(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **unused: Any) -> None:
            mark()

        def on_epoch_end(self, *arguments: Any, **unused: Any) -> None:
            mark()

    rows = [{"inputs": a, "labels": b} for a, b in zip(x, y, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=workload.batch_size,
            num_train_epochs=epochs,
            learning_rate=LR,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        Trainer(Model(), arguments, train_dataset=rows, callbacks=[Marks()]).train()


def keras(workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]) -> None:
    """On torch, with Keras's own Adam and its own reading of arrays, also on equal terms."""
    import keras as K

    class Marks(K.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            mark()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            mark()

    model = workload.keras_model()
    loss = K.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=K.optimizers.Adam(LR), loss=loss)
    inputs = x.movedim(1, -1).contiguous() if x.ndim == 4 else x
    model.fit(
        inputs.numpy(),
        y.numpy(),
        batch_size=workload.batch_size,
        epochs=epochs,
        callbacks=[Marks()],
        verbose=0,
    )


keras_jax = keras  # Keras reads its backend from the environment


def skorch(workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]) -> None:
    """A prediction's log softmax and the loss are one cross-entropy; accuracy is not computed."""
    from skorch import NeuralNet
    from skorch.callbacks import Callback

    class Marks(Callback):
        def on_train_begin(self, net: Any, **unused: Any) -> None:
            mark()

        def on_epoch_end(self, net: Any, **unused: Any) -> None:
            mark()

    def resident(dataset: Any, batch_size: int, **unused: Any) -> _Resident:
        return _Resident(dataset.X, dataset.y, batch_size)

    net = NeuralNet(
        workload.model(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        max_epochs=epochs,
        batch_size=workload.batch_size,
        train_split=None,
        iterator_train__shuffle=True,
        callbacks=[("marks", Marks())],
        verbose=0,
        **({"optimizer__fused": True, "iterator_train": resident} if workload.equal_terms else {}),
    )
    net.fit(x, y)


def sklearn(
    workload: Workload, x: Tensor, y: Tensor, epochs: int, mark: Callable[[], None]
) -> None:
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(
        (100,),
        batch_size=workload.batch_size,
        learning_rate_init=LR,
        alpha=0,
        max_iter=epochs,
        tol=0,
    )
    mark()
    with warnings.catch_warnings():  # it says that 20 epochs are not convergence
        warnings.simplefilter("ignore")
        classifier.fit(x.numpy(), y.numpy())
    for _ in range(epochs):
        mark()
