"""The neural tangent kernel: a network near its initial weights, as the kernel machine it is."""

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vmap
from torch.nn.utils import parametrize

__all__ = ["kernel", "linearize", "parametrize_", "predict"]

_CHUNK_NUMBERS = 2**25  # of a chunk's Jacobian; 128 MiB in single precision


def kernel(
    model: nn.Module,
    x1: Float[Tensor, "n ..."],
    x2: Float[Tensor, "m ..."] | None = None,
) -> Float[Tensor, "n m *outputs"]:
    r"""The tangent kernel at the present weights: inner products of the outputs' gradients.

    $$\Theta(x, x') = \nabla_\theta f(x)\, \nabla_\theta f(x')^\top$$

    Taken in evaluation mode over the parameters that require a gradient. Shape (n, m) for a
    network with one output, (n, m, C, C) for C outputs. Rows are taken in chunks, so memory is
    bounded however many there are.

    Args:
        x2: other inputs; `x1` itself if not given.

    Source: Jacot, Gabriel & Hongler (2018), Neural tangent kernel, arXiv:1806.07572.
    """
    function, parameters = _function(model)
    numbers = sum(p.numel() for p in parameters.values())
    with _evaluation(model), torch.no_grad():
        outputs = function(parameters, x1[:1]).flatten(1).shape[1]
        rows = max(1, _CHUNK_NUMBERS // (outputs * numbers))

        def jacobian(x: Tensor) -> list[Tensor]:
            def one(p: dict[str, Tensor], row: Tensor) -> Tensor:
                return function(p, row.unsqueeze(0)).flatten()

            parts = vmap(jacrev(one), (None, 0))(parameters, x)
            return [part.flatten(2) for part in parts.values()]

        def block(left: list[Tensor], right: list[Tensor]) -> Tensor:
            pairs = zip(left, right, strict=True)
            return sum(torch.einsum("ncp,mdp->nmcd", a, b) for a, b in pairs)  # type: ignore[return-value]

        others = x1 if x2 is None else x2
        whole = jacobian(others) if len(others) <= rows else None
        theta = torch.cat(
            [
                torch.cat([block(left, whole or jacobian(part)) for part in others.split(rows)], 1)
                for left in map(jacobian, x1.split(rows))
            ]
        )
    return theta.flatten(1) if outputs == 1 else theta


class Linearized(nn.Module):
    r"""A network's first-order expansion in its parameters, around those it was built with.

    $$f_{\text{lin}}(x) = f_0(x) + \nabla_\theta f_0(x)\,\omega, \qquad \omega = \theta - \theta_0$$

    Its parameters are the displacement $\omega$, zero at first, one tensor for each of the
    network's; so a weight decay pulls towards $\theta_0$. The network inside is a frozen copy in
    evaluation mode.

    Source: Lee et al. (2019), Wide neural networks of any depth evolve as linear models under
    gradient descent, arXiv:1902.06720.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        with warnings.catch_warnings():  # torch's first use of forward mode loads TorchScript
            warnings.simplefilter("ignore", DeprecationWarning)
            jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))
        _, parameters = _function(model)
        self.names = list(parameters)
        self.base = copy.deepcopy(model).eval().requires_grad_(False)
        self.displacement = nn.ParameterList(torch.zeros_like(p) for p in parameters.values())

    def train(self, mode: bool = True) -> "Linearized":
        super().train(mode)
        self.base.eval()  # dropout would make another function of every call
        return self

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        frozen = dict(self.base.named_parameters())
        origin = {name: frozen[name] for name in self.names}
        step = dict(zip(self.names, self.displacement, strict=True))

        def function(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(self.base, parameters, (x,))

        value, slope = jvp(function, (origin,), (step,))  # type: ignore[misc]
        return value + slope


def linearize(model: nn.Module) -> Linearized:
    r"""The network's first-order expansion around its present weights: trains as any other.

    $$f_{\text{lin}}(x) = f_0(x) + \nabla_\theta f_0(x)\,(\theta - \theta_0)$$

    Source: Lee et al. (2019), Wide neural networks of any depth evolve as linear models under
    gradient descent, arXiv:1902.06720.
    """
    return Linearized(model)


def predict(
    model: nn.Module,
    x: Float[Tensor, "n ..."],
    y: Float[Tensor, "n ..."],
    x_new: Float[Tensor, "m ..."],
    t: float = math.inf,
    lr: float = 1.0,
    flow: bool = True,
) -> Float[Tensor, "m ..."]:
    r"""What the linearized network says at `x_new` after training for time t, in closed form.

    $$f_t(x') = f_0(x') + \Theta(x', X)\, \Theta^{-1}
      \bigl(I - e^{-\eta\Theta t}\bigr)\bigl(Y - f_0(X)\bigr)$$

    This is gradient flow on the loss $\tfrac12 \sum_i \lVert f(x_i) - y_i\rVert^2$; for t steps of
    gradient descent $(I - \eta\Theta)^t$ takes the place of the exponential. A mean over n rows
    instead of the sum is a rate n times smaller.

    Args:
        y: targets, of the shape of the network's outputs.
        t: time, or number of steps; infinity is the end of training.
        flow: gradient flow, or discrete steps of gradient descent.

    Raises:
        ValueError: if `y` has not the shape of the outputs, or discrete steps are not a whole
            number or diverge.

    Source: Jacot, Gabriel & Hongler (2018), arXiv:1806.07572; Lee et al. (2019), Wide neural
    networks of any depth evolve as linear models under gradient descent, arXiv:1902.06720.
    """
    with _evaluation(model), torch.no_grad():
        before, start = model(x), model(x_new)
    if y.shape == before.shape[:1] and before.shape[1:] == (1,):
        y = y.unsqueeze(-1)
    if y.shape != before.shape:
        raise ValueError(
            f"y must have the shape of the model's outputs, got {tuple(y.shape)} and "
            f"{tuple(before.shape)}; classes need one-hot targets"
        )
    if not flow and not math.isinf(t) and t != int(t):
        raise ValueError(f"t must be a whole number of steps when flow=False, got {t}")
    values, vectors = torch.linalg.eigh(_matrix(kernel(model, x)).double())
    values = values.clamp(min=0)
    if not flow and lr * float(values[-1]) > 2:
        raise ValueError(
            f"steps of lr={lr} diverge; the largest eigenvalue of the kernel is "
            f"{float(values[-1]):.4g}, so lr must be below {2 / float(values[-1]):.4g}"
        )
    weights = vectors @ (
        _learnt(values, t, lr, flow) * (vectors.T @ (y - before).flatten().double())
    )
    change = _matrix(kernel(model, x_new, x)).double() @ weights
    return start + change.reshape(start.shape).to(start)


def parametrize_(model: nn.Module, gains: float | Sequence[float] = 1.0) -> nn.Module:
    r"""Put linear and convolutional layers into the NTK parametrization, with fresh weights.

    $$W = \frac{g}{\sqrt{n_{\text{in}}}}\, V, \qquad V_{ij} \sim N(0, 1), \qquad b = 0$$

    The wider such a network, the closer it stays to its linearization at one and the same
    learning rate. In place; `torch.nn.utils.parametrize` keeps $V$.

    Args:
        gains: $g$, one for all layers or one for each in order: what follows a rectifier takes
            $\sqrt2$.

    Source: Jacot, Gabriel & Hongler (2018), Neural tangent kernel, arXiv:1806.07572, section 2.
    """
    affine = (nn.Linear, nn.modules.conv._ConvNd)
    layers = [module for module in model.modules() if isinstance(module, affine)]
    each = [float(gains)] * len(layers) if isinstance(gains, int | float) else list(gains)
    if len(each) != len(layers):
        raise ValueError(f"gains must be one number or one per layer, got {len(each)} for "
                         f"{len(layers)} layers")  # fmt: skip
    for layer, gain in zip(layers, each, strict=True):
        nn.init.normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        scale = gain / math.sqrt(layer.weight[0].numel())
        parametrize.register_parametrization(layer, "weight", _Scaled(scale), unsafe=True)
    return model


class _Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return self.scale * weight


def _learnt(values: Tensor, t: float, lr: float, flow: bool) -> Tensor:
    """How much of each mode is learnt by t, over its eigenvalue."""
    if math.isinf(t):
        # What rounding made of an eigenvalue 0 must not be divided by.
        rounding = torch.finfo(torch.float32).eps * len(values) * values[-1]
        return torch.where(values <= rounding, 0.0, 1 / values)
    gone = -torch.expm1(-lr * values * t) if flow else 1 - (1 - lr * values) ** t
    return torch.where(lr * values * t < 1e-8, lr * t, gone / values)  # the limit at 0 is lr t


def _matrix(theta: Tensor) -> Tensor:
    """(n, m, C, C) as the (nC, mC) matrix over all outputs of all rows."""
    if theta.ndim == 2:
        return theta
    n, m, c, d = theta.shape
    return theta.transpose(1, 2).reshape(n * c, m * d)


def _function(
    model: nn.Module,
) -> tuple[Callable[[dict[str, Tensor], Tensor], Tensor], dict[str, Tensor]]:
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError(
            "no parameter of the model requires a gradient; call model.requires_grad_() first"
        )
    return lambda p, x: functional_call(model, p, (x,)), parameters


@contextlib.contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    modes: list[tuple[Any, bool]] = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
