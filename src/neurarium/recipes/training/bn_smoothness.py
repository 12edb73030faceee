"""What batch normalization does: stable distributions, or a smoother loss?"""

import copy
import statistics
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import Callback, fit

_DISTANCES = (0.5, 1, 2, 4)  # in steps of the learning rate, as in the paper
_OBJECTIVE = supervised("cross_entropy")


@recipe(
    source="Santurkar et al. (2018), How does batch normalization help, arXiv:1805.11604, figure 4",
    figure="range of the loss along a step, without normalization over with",
    expect=(3, None),
    minutes=0.4,
    quick={"epochs": 4},
)
def bn_smoothness(seed: int = 0, epochs: int = 15, lr: float = 0.1) -> dict[str, float]:
    r"""Six layers of rectifiers without, with, and with normalization that is then disturbed.

    At every tenth step the network looks ahead along its gradient, half to four times as far as
    it will go: the range of the losses there, the largest change of the gradient, and the most
    that it changes per distance ($\beta$-smoothness), each as the mean over training. The
    disturbance shifts and stretches every unit after its normalization by amounts drawn anew at
    each step, the paper's noise.

    The paper shows a VGG on CIFAR-10 in plots, without numbers. On 8 x 8 digits with He's weights
    its first two findings hold many times over, and the disturbed network is as smooth as the
    undisturbed by both. $\beta$ falls by less than half, and is largest with the disturbance. With
    torch's smaller weights the plain network's loss is flat rather than rough: it learns nothing.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    table = {}

    def measure(name: str, norm: Literal["batch"] | None, disturbed: bool) -> float:
        torch.manual_seed(seed)
        model = MLP([64, *[100] * 6, 10], norm=norm, init="kaiming")
        for module in model.modules():
            if disturbed and isinstance(module, nn.BatchNorm1d):
                module.register_forward_hook(_disturb)
        probe = _Probe(lr)
        run = fit(
            model,
            digits,
            _OBJECTIVE,
            Backprop("sgd", lr=lr),
            epochs=epochs,
            batch_size=64,
            seed=seed,
            callbacks=[probe],
            verbose=False,
        )
        ranges, changes, betas = map(statistics.fmean, zip(*probe.seen, strict=True))
        table[f"{name}: range of the loss"] = ranges
        table[f"{name}: change of the gradient"] = changes
        table[f"{name}: beta"] = betas
        table[f"{name}: test accuracy"] = run.evaluate("test")["accuracy"]
        return ranges

    plain = measure("plain", None, False)
    normalized = measure("batch norm", "batch", False)
    measure("disturbed batch norm", "batch", True)
    return {"ratio": plain / normalized, **table}


class _Probe(Callback):
    """Every tenth step: range of the loss, change of the gradient and beta along the gradient."""

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.seen: list[tuple[float, float, float]] = []

    def on_train_batch_start(self, trainer: Any, batch: Any, batch_idx: int) -> None:
        if trainer.step % 10 == 0:
            # A copy, lest the batches seen here count in the running statistics.
            self.seen.append(_look_along(copy.deepcopy(trainer.model), batch, self.lr))


def _look_along(model: nn.Module, batch: Any, lr: float) -> tuple[float, float, float]:
    def slope() -> tuple[float, Tensor]:
        loss: Any = _OBJECTIVE(model, batch)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        return loss.item(), nn.utils.parameters_to_vector(gradients)

    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    loss, gradient = slope()
    losses, changes, betas = [loss], [], []
    for distance in _DISTANCES:
        step = distance * lr * gradient
        nn.utils.vector_to_parameters(start - step, model.parameters())
        there, changed = slope()
        losses.append(there)
        changes.append((changed - gradient).norm().item())
        betas.append(changes[-1] / step.norm().item())
    return max(losses) - min(losses), max(changes), max(betas)


def _disturb(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
    """A mean in [-.5, .5] and a deviation in [1, 1.25] for each unit, and .1 more for each row."""
    if not module.training:
        return None
    mean, deviation = torch.rand(2, output.shape[1])
    shift = mean - 0.5 + 0.2 * (torch.rand_like(output) - 0.5)
    return output * (1 + deviation / 4 + 0.1 * torch.randn_like(output)) + shift
