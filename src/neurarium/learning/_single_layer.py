"""The one layer that Rosenblatt's and Widrow's rules train, as a matrix with the bias inside."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neurarium import activations
from neurarium.activations import modules
from neurarium.data import Batch
from neurarium.learning.rule import NonFiniteError, value_of
from neurarium.objectives import Objective

BINARY = (activations.hardlim, activations.step)
SIGNED = (activations.hardlims, activations.sign)


class SingleLayer:
    """The only trainable `nn.Linear` of a model, whose outputs are the model's or their signs.

    Attributes:
        transfer: what the units do with their sums; None where the model returns the sums.
        binary: whether that gives 0 and 1 rather than -1 and 1.
    """

    def __init__(self, model: nn.Module, objective: Objective, rule: str) -> None:
        self.model, self.objective = model, objective
        self.layer = _only_trained_layer(model, rule)
        self.transfer, self.binary = _transfer_after(self.layer, model, rule)

    @property
    def units(self) -> int:
        return self.layer.out_features

    def read(self) -> Tensor:
        """A copy of weights and bias, one row per unit, the bias last."""
        parameters = [self.layer.weight]
        if self.layer.bias is not None:
            parameters.append(self.layer.bias[:, None])
        return torch.cat(parameters, 1).detach()

    @torch.no_grad()
    def write(self, point: Tensor) -> None:
        self.layer.weight.copy_(point[:, : self.layer.in_features])
        if self.layer.bias is not None:
            self.layer.bias.copy_(point[:, -1])

    @torch.no_grad()
    def judge(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """The objective's values, and the layer's inputs with a 1 appended where it has a bias."""
        seen: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        try:
            outputs = value_of(self.objective(self.model, batch))
        finally:
            hook.remove()
        loss = outputs["loss"]
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            raise NonFiniteError(f"the loss is {loss.item()}")
        x = seen[-1].flatten(0, -2).to(self.layer.weight)
        if self.layer.bias is not None:
            x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        return outputs, x

    def decisions(self, target: Tensor) -> Tensor:
        """-1 or 1 for each row and unit, of class numbers or of targets coded by 0 or -1, and 1."""
        like = self.layer.weight
        if target.dim() == 1 and self.units > 1 and not target.is_floating_point():
            if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < self.units:
                raise ValueError(
                    f"target must hold class numbers below {self.units}, the number of units, got "
                    f"{int(target.min())} to {int(target.max())}"
                )
            return 2 * nn.functional.one_hot(target.long(), self.units).to(like) - 1
        values = self.values(target)
        if not (((values == 1) | (values == 0)).all() or (values.abs() == 1).all()):
            raise ValueError(
                "target must hold 0 and 1, or -1 and 1, for each unit, got "
                f"{values.unique()[:5].tolist()}; for other numbers take DeltaRule"
            )
        return torch.where(values > 0, 1.0, -1.0).to(like)

    def values(self, target: Tensor) -> Tensor:
        """The targets as numbers, one for each row and unit."""
        values = target[:, None] if target.dim() == 1 else target
        if values.dim() != 2 or values.shape[1] != self.units:
            raise ValueError(
                f"target must have a number for each of the {self.units} units, or be integer "
                f"class numbers, got {target.dtype} of shape {tuple(target.shape)}"
            )
        return values.to(self.layer.weight)


def _only_trained_layer(model: nn.Module, rule: str) -> nn.Linear:
    trained = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    for module in model.modules():
        own = {id(p) for p in module.parameters(recurse=False)}
        if isinstance(module, nn.Linear) and own == trained.keys():
            return module
    raise ValueError(
        f"{rule} trains the weights and biases of one nn.Linear, but the trainable parameters of "
        f"this {type(model).__name__} are {_listed(list(trained.values()))}; freeze all but its "
        "last layer with requires_grad_(False), or take Backprop"
    )


def _transfer_after(
    layer: nn.Linear, model: nn.Module, rule: str
) -> tuple[Callable[[Tensor], Tensor] | None, bool]:
    leaves = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    place = next(i for i, (_, module) in enumerate(leaves) if module is layer)
    after = [(n, m) for n, m in leaves[place + 1 :] if not isinstance(m, nn.Identity)]
    if not after:
        return None, False
    function, arguments = modules.unwrap(after[0][1])
    if len(after) > 1 or function not in (*BINARY, *SIGNED):
        raise ValueError(
            f"{rule} needs threshold units or plain sums at the model's end, but in this "
            f"{type(model).__name__} its layer is followed by "
            f"{_listed([f'{name} = {module}' for name, module in after])}; "
            'end with hardlim, hardlims, step, sign or "identity", or take Backprop'
        )

    def transfer(z: Tensor, function: Any = function) -> Tensor:
        return function(z, **arguments)

    return transfer, function in BINARY


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return shown or "none"
