"""Several networks of one shape in one training: what `fit` would make of each, in less time.

A small network's step is mostly the calling of kernels; eight networks side by side call them once.
"""

import copy
import functools
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium import losses
from neurarium.data import Data, Resident
from neurarium.data.scale import Affine
from neurarium.learning import Backprop, NonFiniteError
from neurarium.learning.backprop_by_hand import Dense, dense_layers, through
from neurarium.learning.chain import Chain, answering
from neurarium.learning.perceptron_in_numpy import PerceptronInNumpy, knows, small_products
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.objectives.supervised import plain_loss
from neurarium.training import engine, randomness
from neurarium.training.callbacks import EarlyStopping
from neurarium.training.fit import metrics_for
from neurarium.training.history import History
from neurarium.training.run import Run, describe

__all__ = ["fit_together", "why_not_together"]

Loss = Callable[..., tuple[Tensor, Tensor]]
Metric = Callable[[Tensor, Tensor], Any]

_BATCHES_AT_ONCE = 32
# Above so many operations a step, a network keeps a core busy by itself and gains nothing.
_FLOPS_WORTH_STACKING = 2e8


def fit_together(
    models: Sequence[nn.Module],
    data: Data | Sequence[Data],
    objective: Objective,
    rules: Sequence[Backprop],
    *,
    seeds: Sequence[int],
    epochs: int = 20,
    batch_size: int = 64,
    metrics: Sequence[str | Metric] | Mapping[str, Metric] | None = None,
    patience: int | None = None,
    threads: int | None = None,
) -> list[Run | NonFiniteError]:
    r"""Train perceptrons of one shape side by side, each as `fit` would by itself.

    $$Z_l = H_{l-1} W_l^\top + b_l, \qquad
      \Delta_l = (\Delta_{l+1} W_{l+1}) \odot \varphi'(Z_l), \qquad
      \nabla W_l = \Delta_l^\top H_{l-1}$$

    where each letter holds one matrix a network and each product is one batched call. Every network
    has its own weights, order of the rows, and rule, so rates and schedules may differ; the figures
    are those of separate runs to rounding.

    Args:
        models: fresh networks of linear layers and elementwise activations; trained in place.
        data: the same for all, or for each its own, of equal lengths.
        rules: a `Backprop` for each, with any optimizer, schedule and clipping.
        seeds: of the order of each one's rows, as in `fit`.
        metrics: computed on the validation split each epoch, as in `fit`.
        patience: epochs without a lower validation loss after which a network is done, its best
            weights restored, as by `EarlyStopping`; None trains all to the end.
        threads: CPU threads; decided as by `fit` if None.

    Returns:
        For each network its run, or the error where its loss was no longer finite.

    Raises:
        ValueError: for anything else than such networks, data, objectives and rules; it says what.

    Source: none; batched products as in `torch.func.stack_module_state`.
    """
    own = _each(data, models)
    if reason := _obstacle(models, own, objective, rules):
        raise ValueError(f"these networks cannot be trained together: {reason}; take fit for each")
    facts = engine.inspect(models[0], objective, own[0].example(batch_size), "cpu")
    settings = engine.decide(facts, threads=threads)
    with (
        settings.active(),
        torch.random.fork_rng(),
        small_products(),
        _Stack(models, objective) as stack,
    ):
        return _train(
            stack,
            own,
            objective,
            rules,
            seeds,
            epochs,
            batch_size,
            metrics_for(metrics, own[0]),
            patience,
        )


def why_not_together(
    models: Sequence[nn.Module],
    data: Data | Sequence[Data],
    objective: Any,
    rules: Sequence[object],
    batch_size: int = 64,
) -> str | None:
    """Why `fit_together` would not serve, or would not be faster; None where it does and is."""
    own = _each(data, models)
    if reason := _obstacle(models, own, objective, rules):
        return reason
    facts = engine.inspect(models[0], objective, own[0].example(batch_size), "cpu")
    if facts.flops > _FLOPS_WORTH_STACKING:
        return f"with {facts.flops:.2g} operations a step each keeps a core busy by itself"
    if engine.decide(facts).precision != "32-true":
        return "each by itself is faster in bf16"
    return None


def _each(data: Data | Sequence[Data], models: Sequence[nn.Module]) -> list[Data]:
    return [data] * len(models) if isinstance(data, Data) else list(data)


def _obstacle(
    models: Sequence[nn.Module], data: Sequence[Data], objective: Any, rules: Sequence[Any]
) -> str | None:
    if len(models) < 2:
        return "there is only one"
    given = [split for one in data for split in (one.train, one.val) if split is not None]
    splits = [split for split in given if isinstance(split, Resident)]
    if len(splits) < len(given):
        return "the data are a stream"
    if len({tuple(len(s) for s in (one.train, one.val) if s is not None) for one in data}) > 1:
        return "their data have different lengths"
    if any(one.augment is not None for one in data):
        return "the data are augmented, which draws random numbers"
    if any(not isinstance(one.transform, Affine | None) for one in data):
        return "the data are transformed by more than a scale and a shift"
    if any(type(rule) is not Backprop for rule in rules):
        return "the rule is not Backprop"
    if any(rule.gradient_accumulation_steps > 1 for rule in rules):
        return "batches are cut into parts"
    slope = _slope_of(objective)
    if slope is None:
        return "the objective is not a plain cross-entropy or mean squared error"
    if not all(_usual(s.tensors[objective.target], slope) for s in splits):
        return "the targets are not plain class numbers, or numbers for mean squared error"
    if len({repr(model) for model in models}) > 1:
        return "they differ in more than their weights"
    try:
        chain = Chain(models[0].train(), "fit_together")
        layers = dense_layers(chain)
    except ValueError as error:
        return str(error)
    outputs = layers[-1].linear.out_features
    if slope is _cross_entropy and any(
        int(s.tensors[objective.target].max()) >= outputs for s in splits
    ):
        return f"some class numbers are beyond the {outputs} outputs"
    if not all(chain.enters_as_rows(one.example()["input"]) for one in data):
        return "their inputs are not rows of numbers, or are changed before the first layer"
    own = {id(p) for layer in layers for p in layer.linear.parameters()}
    if own != {id(p) for p in models[0].parameters() if p.requires_grad}:
        return "they have parameters besides those of their linear layers, or frozen ones"
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in models[0].parameters()):
        return "they are not in float32 on the CPU"
    return None


def _train(
    stack: "_Stack",
    data: Sequence[Data],
    objective: Any,
    rules: Sequence[Backprop],
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    metrics: dict[str, Metric],
    patience: int | None,
) -> list[Run | NonFiniteError]:
    ready = {id(one): [_prepared(one, s) for s in (one.train, one.val) if s] for one in data}
    train, *others = zip(*(ready[id(one)] for one in data), strict=True)
    val = others[0] if others else ()
    slope_of = _slope_of(objective)
    assert slope_of is not None
    moving = _bound(stack, objective, rules, epochs * train[0].steps(batch_size))
    seats = [_Seat(model) for model in stack.models]
    stopping = [EarlyStopping(patience=patience) for _ in seats] if patience and val else []
    failed: dict[int, NonFiniteError] = {}
    start = time.monotonic()
    for epoch in range(epochs):
        done = {k for k, seat in enumerate(seats) if seat.should_stop or k in failed}
        if len(done) == len(seats):
            break
        total, norms = torch.zeros(len(seeds)), [0.0] * len(seeds)
        for batch in _batches(train, batch_size, seeds, epoch):
            rows = batch["input"].shape[1]
            loss = stack.gradients(batch, slope_of, objective.target)
            if not math.isfinite(loss.sum().item()):
                for k in (~loss.isfinite()).nonzero().flatten().tolist():
                    what = f"the loss is {loss[k]} in epoch {epoch + 1}"
                    failed.setdefault(k, NonFiniteError(what))
            for k, rule in enumerate(moving):
                if len(moving) == 1 or (k not in failed and k not in done):
                    norms[k] += rows * float(rule.update({}).get("grad_norm", 0.0))
            total += loss * rows
        measured = _evaluate(stack, val, objective, metrics) if val else {}
        for k, seat in enumerate(seats):
            if k in done:
                continue
            rule = moving[k % len(moving)]
            row = {"epoch": epoch + 1, "step": rule.steps, "train_loss": float(total[k])}
            if rule.max_grad_norm or rule.max_grad_value:
                row["train_grad_norm"] = norms[k]
            for name in row.keys() - {"epoch", "step"}:
                row[name] /= len(train[0])
            own = {f"val_{name}": value[k] for name, value in measured.items()}
            share = round((time.monotonic() - start) / len(seeds), 3)
            seat.history.append({**row, "lr": rule.current_lr, **own, "seconds": share})
            seat.epoch = epoch
            if stopping:
                stopping[k].on_validation_epoch_end(cast(Any, seat))
    for stop, seat in zip(stopping, seats, strict=False):
        stop.on_fit_end(cast(Any, seat))
    results: list[Run | NonFiniteError] = []
    for k, model in enumerate(stack.models):
        config = {
            "data": data[k].describe(),
            "network": describe(model)["network"] or {"class": describe(model)["class"]},
            "objective": repr(objective),
            "rule": repr(rules[k]),
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seeds[k],
            "trained_together": len(seeds),
            "hardware": {"machine": platform.machine(), "threads": torch.get_num_threads()},
        }
        run = Run(model, data=data[k], objective=objective, history=seats[k].history, config=config)
        run.rule = moving[k % len(moving)]
        results.append(failed.get(k, run))
    return results


@dataclass
class _Seat:
    """Of a trainer, what `EarlyStopping` looks at; each network has one."""

    model: nn.Module
    history: History = field(default_factory=History)
    epoch: int = 0
    should_stop: bool = False


def _prepared(data: Data, split: Any) -> Resident:
    """The rows as the model meets them: scaling treats each by itself, so once is enough."""
    return Resident(data.prepare(dict(split.tensors)))


def _bound(
    stack: "_Stack", objective: Objective, rules: Sequence[Backprop], steps: int
) -> list[Backprop]:
    """The rules with their networks; one for all where they are alike and mix no numbers."""
    alike = len({repr(rule) for rule in rules}) == 1
    shared = copy.copy(rules[0])
    for model, rule in zip(stack.models, rules, strict=True):
        rule.plan(steps)
        rule.bind(model.train(), objective)
    if alike and shared.max_grad_norm is None is shared.max_grad_value and shared.is_elementwise:
        shared.plan(steps)
        shared.bind(stack.parameters(), objective)
        return [shared]
    return list(rules)


def _batches(
    splits: Sequence[Resident], batch_size: int, seeds: Sequence[int], epoch: int
) -> Iterator[dict[str, Tensor]]:
    """Each network's batches in its own order, side by side: (networks, rows, ...)."""
    orders = [
        split.order(randomness.epoch_seed(seed, epoch))
        for split, seed in zip(splits, seeds, strict=True)
    ]
    start = 0
    # So many at once that calls are few and memory is not doubled.
    sizes = splits[0].sizes(batch_size)
    for few in (sizes[i : i + _BATCHES_AT_ONCE] for i in range(0, len(sizes), _BATCHES_AT_ONCE)):
        rows = slice(start, start := start + sum(few))
        columns = {
            name: torch.stack(
                [
                    s.tensors[name].index_select(0, o[rows])
                    for s, o in zip(splits, orders, strict=True)
                ]
            ).split(few, 1)
            for name in splits[0].tensors
        }
        for parts in zip(*columns.values(), strict=True):
            yield dict(zip(columns, parts, strict=True))


@torch.no_grad()
def _evaluate(
    stack: "_Stack",
    splits: Sequence[Resident],
    objective: Objective,
    metrics: Mapping[str, Metric],
) -> dict[str, list[float]]:
    """Each figure of the validation split, for every network."""
    x = torch.stack([split.tensors["input"] for split in splits])
    outputs = torch.cat([stack.forward(part) for part in x.split(1024, 1)], 1)
    found: dict[str, list[float]] = {}
    for model, output, split in zip(stack.models, outputs, splits, strict=True):
        figures = value_of(objective(answering(model, output), split.tensors))
        target = split.tensors["target"]
        judged = {name: metric(output, target) for name, metric in metrics.items()}
        for name, value in {**figures, **judged}.items():
            found.setdefault(name, []).append(float(value))
    return found


class _Stack:
    """Networks whose parameters are, inside the context, views of one tensor a layer."""

    def __init__(self, models: Sequence[nn.Module], objective: Any) -> None:
        self.models = list(models)
        first = dense_layers(Chain(models[0], "fit_together"))
        self.layers = [
            _Layer(layer, [cast(nn.Linear, model.get_submodule(layer.name)) for model in models])
            for layer in first
        ]
        self.in_numpy: PerceptronInNumpy | None = None
        loss = plain_loss(objective)
        if all(knows(layer.first.function, loss) for layer in self.layers):
            self.in_numpy = PerceptronInNumpy([layer.arrays() for layer in self.layers], loss)

    def __enter__(self) -> "_Stack":
        return self

    def __exit__(self, *error: object) -> None:
        for layer in self.layers:
            layer.part()

    def parameters(self) -> nn.Module:
        """All networks' parameters, stacked, under names that tell weights from biases."""
        together = nn.Module()
        for number, layer in enumerate(self.layers):
            layer.stacked = {"weight": nn.Parameter(layer.weight)}
            if len(layer.bias):
                layer.stacked["bias"] = nn.Parameter(layer.bias)
            holder = nn.Module()
            for name, parameter in layer.stacked.items():
                holder.register_parameter(name, parameter)
            together.add_module(str(number), holder)
        return together

    @torch.no_grad()
    def forward(
        self, x: Float[Tensor, "networks rows ..."]
    ) -> Float[Tensor, "networks rows outputs"]:
        h = x.flatten(2)
        for layer in self.layers:
            h = layer.first.activation(layer.sums(h))
        return h

    @torch.no_grad()
    def gradients(
        self, batch: Mapping[str, Tensor], slope_of: Loss, target: str
    ) -> Float[Tensor, " networks"]:
        """Every network's loss; the gradients lie in its parameters."""
        if self.in_numpy is not None:
            x = batch["input"].flatten(2).mT.numpy()
            loss = torch.from_numpy(self.in_numpy.gradients(x, batch[target].numpy()))
            for layer in self.layers:
                layer.hand_over()
            return loss
        h, passed = batch["input"].flatten(2), []
        for layer in self.layers:
            z = layer.sums(h)
            after = layer.first.activation(z)
            passed.append((layer, h, z, after))
            h = after
        loss, slope = slope_of(h, batch[target])
        for layer, h, z, after in reversed(passed):
            delta = through(layer.first, slope, z, after)
            layer.fill(delta, h)
            if layer is not self.layers[0]:
                slope = delta @ layer.weight
        return loss


class _Layer:
    """The same layer of all networks."""

    def __init__(self, first: Dense, linears: list[nn.Linear]) -> None:
        self.first, self.linears = first, linears
        self.stacked: dict[str, nn.Parameter] = {}  # where one rule moves all networks
        self.weight = torch.stack([one.weight.detach() for one in self.linears])
        self.weight_slope = torch.empty_like(self.weight)
        self.bias = self.bias_slope = torch.empty(0)
        if self.first.linear.bias is not None:
            self.bias = torch.stack([one.bias.detach() for one in self.linears])
            self.bias_slope = torch.empty_like(self.bias)
        for k, one in enumerate(self.linears):
            one.weight.data = self.weight[k]
            if one.bias is not None:
                one.bias.data = self.bias[k]

    def sums(self, h: Tensor) -> Tensor:
        transposed = self.weight.transpose(1, 2)
        if not len(self.bias):
            return torch.bmm(h, transposed)
        return torch.baddbmm(self.bias.unsqueeze(1), h, transposed)

    def fill(self, delta: Tensor, h: Tensor) -> None:
        torch.bmm(delta.transpose(1, 2), h, out=self.weight_slope)
        if len(self.bias):
            torch.sum(delta, 1, out=self.bias_slope)
        self.hand_over()

    def arrays(self) -> tuple[Any, Any, Any, Any, Any]:
        """Views of all numbers for `PerceptronInNumpy`."""
        weight, slope = self.weight.numpy(), self.weight_slope.numpy()
        if not len(self.bias):
            return weight, slope, None, None, self.first.function
        bias = self.bias.numpy()[..., None]
        return weight, slope, bias, self.bias_slope.numpy(), self.first.function

    def hand_over(self) -> None:
        """Make the slopes the parameters' gradients."""
        if self.stacked:
            for name, parameter in self.stacked.items():
                parameter.grad = self.weight_slope if name == "weight" else self.bias_slope
            return
        for k, one in enumerate(self.linears):
            one.weight.grad = self.weight_slope[k]
            if one.bias is not None:
                one.bias.grad = self.bias_slope[k]

    def part(self) -> None:
        """Give every network tensors of its own back."""
        for one in self.linears:
            for parameter in one.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None


def _cross_entropy(
    logits: Float[Tensor, "networks rows classes"], target: Int[Tensor, "networks rows"]
) -> tuple[Float[Tensor, " networks"], Float[Tensor, "networks rows classes"]]:
    log_p = torch.log_softmax(logits, -1)
    at = target.unsqueeze(-1)
    loss = -log_p.gather(-1, at).mean((1, 2))
    slope = log_p.exp().scatter_add_(-1, at, torch.full_like(at, -1, dtype=log_p.dtype))
    return loss, slope.div_(target.shape[1])


def _mse(
    output: Float[Tensor, "networks rows outputs"], target: Float[Tensor, "networks rows ..."]
) -> tuple[Float[Tensor, " networks"], Float[Tensor, "networks rows outputs"]]:
    error = output - target.reshape(output.shape)
    return error.square().mean((1, 2)), error.mul_(2 / error[0].numel())


_SLOPES: dict[Any, Loss] = {losses.cross_entropy: _cross_entropy, losses.mse: _mse}


def _slope_of(objective: Any) -> Loss | None:
    loss: Any = plain_loss(objective)
    return None if isinstance(loss, functools.partial) else _SLOPES.get(loss)


def _usual(target: Tensor, slope: Loss) -> bool:
    """Whether it is one class, none of them left out, or one number for each output."""
    if slope is _mse:
        return target.is_floating_point()
    return target.ndim == 1 and target.dtype == torch.int64 and bool((target >= 0).all())
