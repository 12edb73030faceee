"""A feed-forward model as a chain of layers, which is what layerwise rules work on."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jaxtyping
import torch
from torch import Tensor, fx, nn

from neurarium.activations import modules
from neurarium.data import Batch
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["Chain", "Pass", "Stage", "answering"]

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    r"""One layer and what follows it up to the next: $z = W h + b$, then $h' = \varphi(z)$.

    Attributes:
        name: the layer's name in the model.
        layer: an `nn.Linear` or a convolution.
        steps: what follows, in order: activation, pooling, dropout, flattening...
    """

    name: str
    layer: Any
    steps: tuple[Step, ...]

    def after(self, z: Tensor) -> Tensor:
        """The stage's output from its layer's: activation, pooling and so on."""
        for step in self.steps:
            z = step(z)
        return z

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that are trained: the layer's, then those of what follows it."""
        own = [self.layer, *(step for step in self.steps if isinstance(step, nn.Module))]
        return [p for module in own for p in module.parameters() if p.requires_grad]

    @property
    def activation(self) -> Any:
        """The elementwise function after the layer, None where nothing changes the values.

        Raises:
            ValueError: where more than one function follows, or one that is not elementwise.
        """
        acting = [step for step in self.steps if not _keeps_values(step)]
        if not acting:
            return None
        if len(acting) > 1 or isinstance(acting[0], _MIXING):
            raise ValueError(
                f"behind layer {self.name} there must be one elementwise activation, found "
                f"{', '.join(map(_called, acting))}"
            )
        return acting[0]


@dataclass
class Pass:
    """A forward pass cut between the stages, so that each can be differentiated by itself.

    Attributes:
        inputs: what entered each stage, cut off from the stage before.
        sums: each layer's output z.
        outputs: each stage's output; the last is the model's.
    """

    chain: "Chain"
    inputs: list[Tensor]
    sums: list[Tensor]
    outputs: list[Tensor]

    def through_activation(self, index: int, slope: Tensor) -> Tensor:
        """Slope by the layer's output, given the slope by the stage's output."""
        if self.outputs[index] is self.sums[index]:
            return slope
        (result,) = torch.autograd.grad(
            self.outputs[index], self.sums[index], slope, retain_graph=True
        )
        return result

    def through_layer(self, index: int, slope: Tensor) -> Tensor:
        """Slope by the stage's input, given the slope by its layer's output."""
        (result,) = torch.autograd.grad(
            self.sums[index], self.inputs[index], slope, retain_graph=True
        )
        return result

    def fill(self, index: int, slope: Tensor) -> None:
        """Add to the gradients of a stage's parameters, given the slope by its output."""
        trained = self.chain.stages[index].parameters
        if not trained:
            return
        found = torch.autograd.grad(
            self.outputs[index], trained, slope, retain_graph=True, allow_unused=True
        )
        for parameter, gradient in zip(trained, found, strict=True):
            if gradient is not None:
                add_gradient(parameter, gradient)


class Chain:
    """A model seen as stages, each fed by the one before: `Chain(model).stages`.

    Any module will do whose forward pass is a straight line of linear or convolutional layers and
    functions of one value: it is traced, not run, and left as it is.

    Raises:
        ValueError: where the model branches, has a layer of another kind, uses one twice, or
            cannot be traced; the message names the place.
    """

    def __init__(self, model: nn.Module, rule: str = "this rule") -> None:
        self.model, self.rule = model, rule
        self.prefix, self.stages = _split(model, list(_steps(model, rule)), rule)

    def __len__(self) -> int:
        return len(self.stages)

    def enters_as_rows(self, x: Tensor) -> bool:
        """Whether the first layer sees this input as rows of the same numbers, (n, features)."""
        return all(map(_keeps_values, self.prefix)) and self.enter(x).ndim == 2

    def enter(self, x: Tensor) -> Tensor:
        """What the first layer sees."""
        for step in self.prefix:
            x = step(x)
        return x

    def forward(self, x: Tensor) -> Pass:
        """All values of a forward pass, equal to the model's own, cut between the stages."""
        found = Pass(self, [], [], [])
        h = self.enter(x)
        with torch.enable_grad():
            for stage in self.stages:
                h = h.detach().requires_grad_()
                z = stage.layer(h)
                found.inputs.append(h)
                found.sums.append(z)
                h = stage.after(z)
                found.outputs.append(h)
        return found


def answering(model: nn.Module, output: Tensor) -> nn.Module:
    """A stand-in for the model that answers `output` to anything: what an objective is asked with.

    Its parameters are the model's, so penalties find them.
    """
    return _Answering(model, output)


class _Answering(nn.Module):
    def __init__(self, model: nn.Module, output: Tensor) -> None:
        super().__init__()
        self.model, self.output = model, output
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        return self.output

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        return self.model.named_parameters(*args, **kwargs)

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        return self.model.modules(remove_duplicate)


def judge(
    objective: Objective, model: nn.Module, output: Tensor, batch: Batch
) -> tuple[dict[str, Tensor], Tensor]:
    """The objective's values, and its slope by the model's output.

    What depends on parameters without the output (penalties) is added to their gradients.
    """
    output = output.detach().requires_grad_()
    with torch.enable_grad():
        values = value_of(objective(answering(model, output), batch))
    own = list(objective.parameters()) if isinstance(objective, nn.Module) else []
    trained = [p for p in [*model.parameters(), *own] if p.requires_grad]
    slope, *rest = torch.autograd.grad(values["loss"], [output, *trained], allow_unused=True)
    for parameter, gradient in zip(trained, rest, strict=True):
        if gradient is not None:
            add_gradient(parameter, gradient)
    return {name: value.detach() for name, value in values.items()}, slope


@torch.no_grad()
def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to `parameter.grad`, which may not exist yet."""
    if parameter.grad is None:
        parameter.grad = gradient.detach().clone()
    else:
        parameter.grad += gradient


# Tracing -----------------------------------------------------------------------------------------

_MIXING = (
    nn.Softmax, nn.LogSoftmax, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm,
)  # fmt: skip


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return next(m.children(), None) is None


@contextlib.contextmanager
def _unchecked_shapes() -> Iterator[None]:
    """What goes through a model in a trace has no shape, which type checks would refuse."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _steps(model: nn.Module, rule: str) -> Iterator[tuple[str, Step]]:
    """Name and function of everything the model does to its input, in order."""
    if isinstance(model, LAYERS):  # a trace would look inside
        yield "", model
        return
    if type(model) is nn.Sequential and all(next(m.children(), None) is None for m in model):
        yield from model._modules.items()  # which a trace would find, in more time  # type: ignore[misc]
        return
    try:
        with _unchecked_shapes():
            graph = _Tracer().trace(model)
    except Exception as error:
        raise ValueError(
            f"{rule} needs a plain chain of layers, and the forward pass of this "
            f"{type(model).__name__} cannot be followed ({error}); write it as an nn.Sequential, "
            "or take Backprop"
        ) from None
    named = dict(model.named_modules())
    before: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder":
            if before is not None:
                raise _no_chain(model, rule, f"takes a second input, {node.name}")
        elif node.op == "output":
            if node.args != (before,):
                raise _no_chain(model, rule, "returns something else than its last value")
        elif node.all_input_nodes != [before]:
            raise _no_chain(model, rule, f"branches or joins at {node.target} ({node.name})")
        else:
            yield str(node.target), _step(node, named)
        before = node


def _step(node: fx.Node, named: Mapping[str, nn.Module]) -> Step:
    if node.op == "call_module":
        return named[str(node.target)]

    def call(x: Tensor) -> Tensor:
        arguments = fx.map_arg(node.args, lambda _: x)
        options = fx.map_arg(node.kwargs, lambda _: x)
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
        return node.target(*arguments, **options)  # type: ignore[operator]

    call.__name__ = getattr(node.target, "__name__", str(node.target))
    return call


def _split(
    model: nn.Module, steps: list[tuple[str, Step]], rule: str
) -> tuple[list[Step], list[Stage]]:
    prefix: list[Step] = []
    stages: list[Stage] = []
    seen: set[int] = set()
    for name, step in steps:
        if isinstance(step, LAYERS):
            if id(step) in seen:
                raise _no_chain(model, rule, f"uses {name} more than once")
            seen.add(id(step))
            stages.append(Stage(name, step, ()))
        elif isinstance(step, nn.Embedding | nn.RNNBase | nn.MultiheadAttention):
            raise _no_chain(model, rule, f"has {name}, an nn.{type(step).__name__}")
        elif stages:
            stages[-1] = Stage(stages[-1].name, stages[-1].layer, (*stages[-1].steps, step))
        else:
            prefix.append(step)
    if not stages:
        raise _no_chain(model, rule, "has no linear or convolutional layer")
    return prefix, stages


def _no_chain(model: nn.Module, rule: str, why: str) -> ValueError:
    return ValueError(
        f"{rule} needs a plain chain of linear or convolutional layers, but this "
        f"{type(model).__name__} {why}; take Backprop, or another model"
    )


def _keeps_values(step: Step) -> bool:
    """Whether a step only reshapes, or does nothing outside training."""
    return isinstance(step, nn.Flatten | nn.Identity | nn.Unflatten | nn.Dropout) or (
        getattr(step, "__name__", "") in ("flatten", "view", "reshape", "squeeze", "unsqueeze")
    )


def _called(step: Step) -> str:
    function = modules.unwrap(step)[0] if isinstance(step, nn.Module) else step
    return getattr(function, "__name__", type(step).__name__)
