"""The loss as a function of the parameters; the model itself is never written to."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from neurarium.data import Batch, Data
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.training import randomness

__all__ = ["Judge", "LossFunction", "parameters_of"]

Parameters = Mapping[str, Tensor]


class Judge(nn.Module):
    """Model and objective as one module of the batch, so that parameters can be exchanged."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> Tensor:
        return value_of(self.objective(self.model, batch))["loss"]

    def at(self, parameters: Parameters, buffers: Parameters, batch: Batch) -> Tensor:
        """The loss with these parameters and buffers; what the model does not name is ignored."""
        values = {f"model.{name}": value for name, value in {**buffers, **parameters}.items()}
        return functional_call(self, values, (batch,))


class LossFunction:
    r"""An objective's mean over a split as a function of the model's parameters.

    Judged in evaluation mode, every point with the same random draws.

    Args:
        data: a `Data`, of which `split` is taken, or what `Data` takes as its training split.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: Any,
        split: str = "train",
        batch_size: int = 1024,
    ) -> None:
        self.judge = Judge(model, objective)
        self.data = data if isinstance(data, Data) else Data(data)
        self.split, self.batch_size = split, batch_size
        self.data.split(split)  # an error where there is none
        self.parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(
                "no parameter of the model requires a gradient, so there is nothing to move; "
                "call model.requires_grad_() first"
            )
        self.buffers = {name: b.detach().clone() for name, b in model.named_buffers()}

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Evaluation mode and random states of our own; all is given back, come what may."""
        modes = [(module, module.training) for module in self.judge.modules()]
        try:
            with randomness.isolated():
                self.judge.eval()
                yield
        finally:
            for module, training in modes:
                module.training = training

    def batches(self, split: str | None = None) -> Iterator[dict[str, Tensor]]:
        """The split's rows in order, as the model meets them."""
        for batch in self.data.split(split or self.split).batches(self.batch_size):
            moved = {name: value.to(self.device) for name, value in batch.items()}
            yield self.data.prepare(moved)

    def on_batch(
        self, parameters: Parameters, batch: Batch, buffers: Parameters | None = None
    ) -> Tensor:
        """The loss of one batch; differentiable in the parameters."""
        torch.manual_seed(0)  # the same draws at every point, else they would look like relief
        copies = {name: b.clone() for name, b in (buffers or self.buffers).items()}
        return self.judge.at(parameters, copies, batch)

    @torch.no_grad()
    def __call__(self, parameters: Parameters, buffers: Parameters | None = None) -> float:
        """The mean loss of the split; NaN and infinity are answers too."""
        total, rows = 0.0, 0
        for batch in self.batches():
            count = len(next(iter(batch.values())))
            total += float(self.on_batch(parameters, batch, buffers)) * count
            rows += count
        return total / rows

    @torch.no_grad()
    def with_statistics(self, parameters: Parameters) -> Parameters:
        """Buffers whose batch-normalization statistics are those of the training rows here.

        Running averages were gathered elsewhere: at weights between two networks they are wrong.
        """
        buffers = {name: b.clone() for name, b in self.buffers.items()}
        normalizations = {
            name: module
            for name, module in self.judge.model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
        }
        if not normalizations:
            return buffers
        momenta = {name: module.momentum for name, module in normalizations.items()}
        try:
            for name, module in normalizations.items():
                prefix = f"{name}." if name else ""
                buffers[prefix + "running_mean"].zero_()
                buffers[prefix + "running_var"].fill_(1)
                buffers[prefix + "num_batches_tracked"].zero_()
                module.training, module.momentum = True, None  # None: a plain average
            for batch in self.batches("train"):
                torch.manual_seed(0)
                self.judge.at(parameters, buffers, batch)
        finally:
            for name, module in normalizations.items():
                module.training, module.momentum = False, momenta[name]
        return buffers


def parameters_of(source: nn.Module | Parameters) -> dict[str, Tensor]:
    """Parameters and buffers by name, of a module or of its state dict."""
    if isinstance(source, nn.Module):
        named = [*source.named_parameters(), *source.named_buffers()]
        return {name: value.detach() for name, value in named}
    return dict(source)
