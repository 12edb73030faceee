"""Backpropagation of a perceptron without autograd: the backward pass written out."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as hooks

from neurarium import losses
from neurarium.data import Batch
from neurarium.learning.backprop import Backprop
from neurarium.learning.backprop_by_hand import Dense, dense_layers, through
from neurarium.learning.chain import Chain
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.networks import MLP
from neurarium.objectives import Objective
from neurarium.objectives.supervised import plain_loss

__all__ = ["Analytic"]


class Analytic(PseudoGradient):
    r"""`Backprop` for perceptrons, without autograd: the same steps, less bookkeeping.

    $$\delta_L = \frac{\operatorname{softmax}(z_L) - d}{n}, \qquad
      \delta_l = (\delta_{l+1} W_{l+1}) \odot \varphi'(z_l), \qquad
      \nabla W_l = \delta_l^\top h_{l-1}, \qquad \nabla b_l = \delta_l^\top 1$$

    The steps are `Backprop`'s to rounding. No graph is recorded, so in small networks, whose time
    is mostly bookkeeping, a step takes a third less. `fit` with `Backprop` computes this way by
    itself where it can; this rule insists.

    It serves linear layers with elementwise activations, `supervised` with cross-entropy of class
    numbers or mean squared error, no penalty, and all parameters trained.

    Args:
        optimizer: as of `Backprop`, like the rest.

    Raises:
        ValueError: at `bind`, for any other model or objective; the message says which. At a step,
            for soft targets and for inputs that are not rows of numbers.
        RuntimeError: at a step, under autocast.

    Source: Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating
    errors, Nature 323.
    """

    whole_batches = False

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Find the layers and the loss, or say why not."""
        self.by_hand = ByHand(model, objective)

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Forward and backward, written out."""
        if torch.is_autocast_enabled(batch["input"].device.type):
            raise RuntimeError(
                "Analytic computes in the precision of the weights and not under autocast; "
                'pass precision="32", or take Backprop'
            )
        target = batch[self.by_hand.target]
        if not self.by_hand.loss.applies(target):
            raise ValueError(
                f"Analytic needs class numbers (n,), got {target.dtype} {tuple(target.shape)}; "
                "take Backprop"
            )
        if not self.by_hand.chain.enters_as_rows(batch["input"]):
            shape = tuple(batch["input"].shape)
            raise ValueError(
                f"Analytic needs rows of numbers (n, features) at the first layer, got an input "
                f"{shape}; take Backprop"
            )
        passed = self.by_hand.forward(batch)
        self.notify("on_before_backward", passed.loss)
        self.by_hand.backward(passed)
        return {"loss": passed.loss}


class Passed(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    loss: Tensor
    slope: Callable[[Tensor], Tensor]
    layers: list[tuple[Dense, Tensor, Tensor, Tensor]]


class ByHand:
    """Loss and gradient of a perceptron, by the kernels that autograd would call, without it.

    Raises:
        ValueError: for a model or an objective that it does not know.
    """

    def __init__(self, model: nn.Module, objective: Any) -> None:
        self.chain = Chain(model, "Analytic")
        self.layers = dense_layers(self.chain)
        self.loss, self.target = _loss(objective), objective.target
        _check_parameters(model, self.layers)
        self.modules = list(model.modules())

    def serves(self, batch: Batch) -> bool:
        """Whether this batch can be done so: nobody listens inside, and the target is usual."""
        autocast = torch.is_autocast_enabled(batch["input"].device.type)
        return not autocast and self.fits(batch) and self.is_unheard()

    def fits(self, batch: Batch) -> bool:
        """Whether the batch is rows of numbers with the loss's usual target."""
        return self.loss.applies(batch[self.target]) and self.chain.enters_as_rows(batch["input"])

    def is_unheard(self) -> bool:
        """Whether no hook waits for what happens inside the model, nor a layer was frozen since."""
        return (
            all(p.requires_grad for layer in self.layers for p in layer.linear.parameters())
            and not (hooks._global_forward_hooks or hooks._global_forward_pre_hooks)
            and not any(
                m._forward_hooks or m._forward_pre_hooks or m._backward_hooks
                or m._backward_pre_hooks
                for m in self.modules
            )
        )  # fmt: skip

    @torch.no_grad()
    def forward(self, batch: Batch) -> Passed:
        """The loss, and what `backward` needs."""
        h, passed = self.chain.enter(batch["input"]), []
        for layer in self.layers:
            z = F.linear(h, layer.linear.weight, layer.linear.bias)
            after = layer.activation(z)
            passed.append((layer, h, z, after))
            h = after
        loss, slope = self.loss(h, batch[self.target])
        return Passed(loss, slope, passed)

    @torch.no_grad()
    def backward(self, passed: Passed, share: float = 1.0) -> None:
        """Add `share` times the gradient to that of the parameters."""
        slope = passed.slope(torch.full_like(passed.loss, share))
        for layer, h, z, after in reversed(passed.layers):
            delta = through(layer, slope, z, after)
            _add(layer.linear.weight, torch.mm(delta.T, h))
            if layer.linear.bias is not None:
                _add(layer.linear.bias, delta.sum(0))
            if layer is not self.layers[0]:
                slope = delta @ layer.linear.weight


# A forward pass of somebody's own may do more than a trace shows.
PLAIN_MODELS = (nn.Sequential, nn.Linear, MLP)


def spare_autograd(rule: object, model: nn.Module, objective: Objective) -> None:
    """Let a bound `Backprop` do without autograd, where the model is nothing but its layers."""
    if type(rule) is Backprop and type(model) in PLAIN_MODELS:
        with contextlib.suppress(ValueError):
            rule.by_hand = ByHand(model, objective)


def _check_parameters(model: nn.Module, layers: list[Dense]) -> None:
    own = [p for layer in layers for p in layer.linear.parameters()]
    every = list(model.parameters())
    if {id(p) for p in own} != {id(p) for p in every} or len(own) != len(every):
        raise ValueError(
            "Analytic knows linear layers only, and this model has other or shared parameters; "
            "take Backprop"
        )
    for layer in layers:
        if type(layer.linear) is not nn.Linear:
            raise ValueError(
                f"Analytic knows nn.Linear, and '{layer.name}' is a "
                f"{type(layer.linear).__name__}; take Backprop"
            )
    for name, module in model.named_modules():
        if (isinstance(module, nn.Dropout) and module.p) or isinstance(module, nn.RReLU):
            raise ValueError(f"Analytic draws nothing at random, and '{name}' does; take Backprop")
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    if frozen:
        raise ValueError(
            f"Analytic trains every layer, but {', '.join(frozen)} is frozen; take Backprop"
        )


def _add(parameter: Tensor, gradient: Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient


class _CrossEntropy:
    of = staticmethod(losses.cross_entropy)

    def applies(self, target: Tensor) -> bool:
        return target.ndim == 1 and target.dtype == torch.int64

    def __call__(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        aten = torch.ops.aten
        log_p = torch.log_softmax(logits, 1)
        loss, total = aten.nll_loss_forward(log_p, target, None, _MEAN, _IGNORED)

        def slope(outer: Tensor) -> Tensor:
            inner = aten.nll_loss_backward(outer, log_p, target, None, _MEAN, _IGNORED, total)
            return aten._log_softmax_backward_data(inner, log_p, 1, log_p.dtype)

        return loss, slope


class _MeanSquaredError:
    of = staticmethod(losses.mse)

    def applies(self, target: Tensor) -> bool:
        return target.is_floating_point()

    def __call__(self, output: Tensor, target: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        squeezed = output.squeeze(-1) if output.shape == (*target.shape, 1) else output

        def slope(outer: Tensor) -> Tensor:
            inner = torch.ops.aten.mse_loss_backward(outer, squeezed, target, _MEAN)
            return inner.view_as(output)

        return losses.mse(squeezed, target), slope


_MEAN, _IGNORED = 1, -100  # as torch's kernels number them
_LOSSES: dict[Any, Any] = {losses.cross_entropy: _CrossEntropy(), losses.mse: _MeanSquaredError()}


def _loss(objective: Any) -> Any:
    if getattr(objective, "penalties", ()):
        raise ValueError("Analytic knows no penalties, but the objective has some; take Backprop")
    loss = plain_loss(objective)
    if not isinstance(loss, functools.partial) and loss in _LOSSES:
        return _LOSSES[loss]
    raise ValueError(
        "Analytic needs the objective supervised('cross_entropy') or supervised('mse'), without "
        f"options and in full precision, got {objective!r}; take Backprop"
    )
