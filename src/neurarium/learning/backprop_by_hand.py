"""Backpropagation written out, for chains of linear layers: what autograd does, in the open."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium import activations, losses
from neurarium._names import resolve
from neurarium.learning.chain import Chain, Stage

__all__ = ["backprop_by_hand"]

Elementwise = Callable[[Tensor], Tensor]


@torch.no_grad()
def backprop_by_hand(
    model: nn.Module | Chain,
    x: Float[Tensor, "n ..."],
    d: Tensor,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "mse",
) -> dict[str, Tensor]:
    r"""The gradient of a multilayer perceptron by the chain rule, layer after layer from the last.

    $$\delta_L = \nabla_a L \odot \varphi'(z_L), \qquad
      \delta_l = \bigl(W_{l+1}^\top \delta_{l+1}\bigr) \odot \varphi'(z_l), \qquad
      \frac{\partial L}{\partial W_l} = \delta_l h_{l-1}^\top, \qquad
      \frac{\partial L}{\partial b_l} = \delta_l$$

    with $z_l = W_l h_{l-1} + b_l$ and $h_l = \varphi(z_l)$; one row is one example, and the sum
    over the rows is in the products of matrices. The derivatives $\varphi'$ are the closed forms of
    `activations.derivative`; only the loss's own slope $\nabla_a L$ is asked of torch. It is for
    reading and for checking: `learning.Analytic` trains by it.

    Args:
        model: linear layers with elementwise activations between, or the chain of such a model.
        d: what `loss` compares the output with.
        loss: a function of (output, d), or the name of one in `losses`.

    Returns:
        Slopes under the names of the model's parameters, which are left as they are.

    Raises:
        ValueError: if the model is something else; the message names the layer.

    Source: Linnainmaa (1970); Rumelhart, Hinton & Williams (1986), Learning representations by
    back-propagating errors, Nature 323.
    """
    chain = model if isinstance(model, Chain) else Chain(model, "backprop_by_hand")
    layers, slope_of = dense_layers(chain), torch.func.grad(resolve(loss, losses, "loss"))
    h = chain.enter(x)
    passed = []
    for layer in layers:
        z = h @ layer.weight.T + layer.bias
        passed.append((layer, h, z))
        h = layer.activation(z)
    gradients: dict[str, Tensor] = {}
    slope = slope_of(h, d)
    for layer, h, z in reversed(passed):
        delta = slope * layer.derivative(z)
        gradients[f"{layer.name}.weight"] = delta.T @ h
        if layer.linear.bias is not None:
            gradients[f"{layer.name}.bias"] = delta.sum(0)
        slope = delta @ layer.weight
    return gradients


@dataclass(frozen=True)
class Dense:
    r"""One layer of a perceptron, $\varphi(W h + b)$, with $\varphi'$.

    Attributes:
        function: what the activation is by name, such as `activations.relu`.
        activation: $\varphi$, with its arguments.
        derivative: $\varphi'$, of the same input.
    """

    name: str
    linear: nn.Linear
    function: Callable[..., Any]
    activation: Elementwise
    derivative: Elementwise

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    @property
    def bias(self) -> Tensor | float:
        return 0.0 if self.linear.bias is None else self.linear.bias


# The slope by the sums from the slope by the activations, in one kernel each.
_KERNELS: dict[Callable[..., Any], Callable[[Tensor, Tensor], Tensor]] = {
    activations.relu: lambda slope, after: torch.ops.aten.threshold_backward(slope, after, 0),
    activations.tanh: torch.ops.aten.tanh_backward,
}


def through(layer: Dense, slope: Tensor, z: Tensor, after: Tensor) -> Tensor:
    """Slope by a layer's sums z, given the slope by its activations."""
    if layer.function is activations.identity:
        return slope
    kernel = _KERNELS.get(layer.function)
    return slope * layer.derivative(z) if kernel is None else kernel(slope, after)


def dense_layers(chain: Chain) -> list[Dense]:
    """The layers of a chain that has none but linear ones and elementwise activations.

    Raises:
        ValueError: where something else stands; the message names the layer before it.
    """
    return [_dense(stage, chain.rule) for stage in chain.stages]


def _dense(stage: Stage, rule: str) -> Dense:
    if not isinstance(stage.layer, nn.Linear):
        raise _unknown(stage, rule, f"a {type(stage.layer).__name__}")
    if len(stage.parameters) > sum(p.requires_grad for p in stage.layer.parameters()):
        raise _unknown(stage, rule, "followed by a part with parameters of its own")
    steps = [step for step in stage.steps if not _is_identity(step)]
    if len(steps) > 1 or not all(isinstance(step, nn.Module) for step in steps):
        found = ", ".join(getattr(step, "__name__", type(step).__name__) for step in steps)
        raise _unknown(stage, rule, f"followed by {found}")
    activation: Any = steps[0] if steps else activations.Identity()
    try:
        derivative = activations.derivative(activation)
    except ValueError:
        found = f"followed by {activation}, whose derivative is not known"
        raise _unknown(stage, rule, found) from None
    if isinstance(activation, nn.RReLU) and activation.training:
        raise _unknown(stage, rule, "followed by RReLU, which draws its slopes at random")
    function, _ = activations.modules.unwrap(activation)
    return Dense(stage.name, stage.layer, function, activation, derivative)


def _is_identity(step: Any) -> bool:
    return isinstance(step, nn.Identity | nn.Flatten) or (
        isinstance(step, nn.Dropout) and not (step.p and step.training)
    )


def _unknown(stage: Stage, rule: str, found: str) -> ValueError:
    return ValueError(
        f"{rule} knows linear layers with one elementwise activation module after each, but "
        f"'{stage.name}' is {found}; take Backprop, which differentiates anything"
    )
