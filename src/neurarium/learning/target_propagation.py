"""Target propagation: send down not errors but the values that each layer should have had."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurarium import activations
from neurarium.data import Batch
from neurarium.learning.chain import Chain, Pass, Stage, judge
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.objectives import Objective

__all__ = ["TargetPropagation", "difference_target_propagation"]

Inverses = Literal["learn", "pinv"]
Top = Literal["output", "hidden"]


class TargetPropagation(PseudoGradient):
    r"""Give every layer a target by inverting the layers above; each then learns its own.

    $$\hat h_L = h_L - s \nabla_{h_L} L, \qquad \hat h_{l-1} = g_l(\hat h_l), \qquad
      \Delta W_l \propto -\nabla_{W_l}
      \tfrac{1}{2s} \bigl\lVert f_l(h_{l-1}) - \hat h_l \bigr\rVert^2$$

    No error passes a layer: where $g_l = f_l^{-1}$ and $L$ is half the squared error, the targets
    are the Gauss-Newton step. The slope is that of one example, so the objective has to be a mean
    over the batch; by the factor $1/s$ the topmost layer with a target has the true gradient.

    - "learn": $g_l(h) = \varphi_{l-1}(V h + c)$, trained by Adam after each step to undo the layer,
      $\lVert g_l(f_l(h + \epsilon)) - (h + \epsilon) \rVert^2$. Any chain of layers will do; the
      inverse of a convolution is a full matrix.
    - "pinv": $g_l(h) = W^+ (\varphi_l^{-1}(h) - b)$, for linear layers under invertible
      activations; targets out of reach are first brought to what twice the batch's largest sum
      gives.

    With `difference` the inverses' own errors cancel (`difference_target_propagation`). Without it
    they act as errors of the layers: on the 8 x 8 digits (64-100-100-10, tanh, 40 epochs, seed 0)
    92.8 %, no more than frozen hidden layers reach; differences of pseudo-inverses 93.6 %.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        difference: $\hat h_{l-1} = h_{l-1} + g_l(\hat h_l) - g_l(h_l)$ instead.
        top: whose target is set by the gradient, the "output" or the last "hidden" layer's.
        step: $s$.
        noise: standard deviation of $\epsilon$.
        inverse_lr: Adam's rate of the inverses.
        seed: of the inverses' first weights.

    Attributes:
        inverses: the learnt ones, by the name of the layer that they undo.

    Source: Bengio (2014), How Auto-Encoders Could Provide Credit Assignment in Deep Networks via
    Target Propagation, arXiv:1407.7906; Le Cun (1986), Learning process in an asymmetric threshold
    network.
    """

    def __init__(
        self,
        optimizer: Any = "sgd:momentum=0.9",
        lr: float | None = None,
        schedule: Any = None,
        *,
        inverses: Inverses = "learn",
        difference: bool = False,
        top: Top = "output",
        step: float = 0.5,
        noise: float = 0.1,
        inverse_lr: float = 1e-3,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if inverses not in get_args(Inverses):
            raise ValueError(f"inverses must be 'learn' or 'pinv', got {inverses!r}")
        if top not in get_args(Top):
            raise ValueError(f"top must be 'output' or 'hidden', got {top!r}")
        for name, value in (("step", step), ("inverse_lr", inverse_lr)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not noise >= 0:
            raise ValueError(f"noise must not be negative, got {noise}; it is a deviation")
        self.kind, self.difference, self.top = inverses, difference, top
        self.length, self.noise, self.inverse_lr, self.seed = step, noise, inverse_lr, seed
        self.inverses: dict[str, nn.Linear] = {}
        self._adam: torch.optim.Adam | None = None
        self._entered: list[Tensor] = []

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Cut the model into stages; refuse those that cannot be inverted as wished."""
        self._forget()
        self.chain = Chain(model, "TargetPropagation")
        if self.kind == "pinv":
            for index in self._inverted:
                _check_invertible(self.chain.stages[index])

    @property
    def _inverted(self) -> range:
        """The stages through which a target passes."""
        return range(1, len(self.chain) - (self.top == "hidden"))

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Targets from the top down; each stage's gradient is its distance to its own."""
        found = self.chain.forward(batch["input"])
        values, slope = judge(self.objective, self.model, found.outputs[-1], batch)
        self.notify("on_before_backward", values["loss"])
        found.fill(len(self.chain) - 1, slope)
        push = self.length * len(slope)
        for index, target in self.targets(found, slope).items():
            if index < len(self.chain) - 1:
                found.fill(index, (found.outputs[index].detach() - target) / push)
        self._entered = [h.detach() for h in found.inputs]
        return values

    @torch.no_grad()
    def targets(self, found: Pass, slope: Tensor) -> dict[int, Tensor]:
        """What each stage's output should be, given the loss's slope by the model's output."""
        index = len(self.chain) - 1
        if self.top == "hidden":
            slope = found.through_layer(index, found.through_activation(index, slope))
            index -= 1
        if index < 0:
            return {}
        target = found.outputs[index].detach() - self.length * len(slope) * slope
        result = {index: target}
        for index in reversed(self._inverted):
            target = self.invert(found, index, target)
            if self.difference:
                target += found.inputs[index] - self.invert(found, index, found.outputs[index])
            result[index - 1] = target
        return result

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Estimate, step; then the inverses follow the layers."""
        outputs = super().step(batch)
        if self.kind == "learn" and len(self._inverted):
            outputs["inverse_loss"] = self._train_inverses()
        return outputs

    # The inverses

    def invert(self, found: Pass, index: int, h: Tensor) -> Tensor:
        """The input that stage `index` needs for the output `h`, as far as it is known."""
        if self.kind == "pinv":
            return _pseudo_inverse(self.chain.stages[index], found.sums[index].detach(), h)
        return self._undo(index, h, found.inputs[index])

    def _undo(self, index: int, h: Tensor, entered: Tensor) -> Tensor:
        by_place = h.shape[:-1] == entered.shape[:-1]  # else every place has its own weights
        name = self.chain.stages[index].name
        h = h if by_place else h.flatten(1)
        if name not in self.inverses:
            outputs = entered.shape[-1] if by_place else entered[0].numel()
            self._build(index, h.shape[-1], outputs)
        below = _elementwise(self.chain.stages[index - 1])
        return below(self.inverses[name](h).view_as(entered))

    def _build(self, index: int, inputs: int, outputs: int) -> None:
        stage, inverse = self.chain.stages[index], nn.Linear(inputs, outputs)
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + index)
        nn.init.xavier_uniform_(inverse.weight, generator=generator)
        nn.init.zeros_(inverse.bias)
        self.inverses[stage.name] = inverse.to(stage.layer.weight)

    def _train_inverses(self) -> Tensor:
        total = torch.zeros(())
        for index in self._inverted:
            stage, h = self.chain.stages[index], self._entered[index]
            h = h + self.noise * torch.randn_like(h)
            buffers = [(b, b.clone()) for b in _buffers(stage)]
            with torch.no_grad():
                made = stage.after(stage.layer(h))
                for buffer, before in buffers:  # this was no example
                    buffer.copy_(before)
            with torch.enable_grad():
                loss = (self._undo(index, made, h) - h).square().sum() / len(h)
            total = total.to(loss) + loss.detach()
            inverse = self.inverses[stage.name]
            gradients = torch.autograd.grad(loss, list(inverse.parameters()))
            for parameter, gradient in zip(inverse.parameters(), gradients, strict=True):
                parameter.grad = gradient
        if self._adam is None:
            self._adam = self._optimizer()
        self._adam.step()
        self._adam.zero_grad()
        return total

    def _optimizer(self) -> torch.optim.Adam:
        own = [p for inverse in self.inverses.values() for p in inverse.parameters()]
        return torch.optim.Adam(own, lr=self.inverse_lr)

    def _forget(self) -> None:
        self.inverses, self._adam, self._entered = {}, None, []

    # State

    def own_state(self) -> dict[str, Any]:
        """The inverses and how they learn."""
        return {
            "inverses": {name: g.state_dict() for name, g in self.inverses.items()},
            "adam": None if self._adam is None else self._adam.state_dict(),
        }

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Take them, on the weights' device."""
        self._forget()
        like = self.chain.stages[0].layer.weight
        for name, saved in state["inverses"].items():
            outputs, inputs = saved["weight"].shape
            self.inverses[name] = nn.Linear(inputs, outputs).to(like)
            self.inverses[name].load_state_dict(saved)
        if state["adam"] is not None:
            self._adam = self._optimizer()
            self._adam.load_state_dict(state["adam"])

    def __repr__(self) -> str:
        return (
            f"TargetPropagation({self.descent!r}, inverses={self.kind}, "
            f"difference={self.difference}, top={self.top}, step={self.length:g})"
        )


def difference_target_propagation(
    optimizer: Any = "sgd:momentum=0.9",
    lr: float | None = None,
    schedule: Any = None,
    *,
    step: float = 0.5,
    noise: float = 0.1,
    inverse_lr: float = 1e-3,
    seed: int = 0,
    **options: Any,
) -> TargetPropagation:
    r"""Target propagation whose targets move only by what differs above, however poor the inverses.

    $$\hat h_{l-1} = h_{l-1} + g_l(\hat h_l) - g_l(h_l), \qquad
      \hat h_{L-1} = h_{L-1} - s \nabla_{h_{L-1}} L$$

    A layer that has its target asks nothing of those below, whatever $g_l$; the last hidden layer
    has the true gradient. It is `TargetPropagation(difference=True, top="hidden")` with learnt
    inverses, whose arguments these are. On the 8 x 8 digits it reaches 96.7 to 97.8 % in 40 epochs
    (recipe `difference-target-propagation-digits`), frozen hidden layers 92.8 %.

    Source: Lee, Zhang, Fischer & Bengio (2015), Difference Target Propagation, arXiv:1412.7525.
    """
    return TargetPropagation(
        optimizer, lr, schedule, difference=True, top="hidden", step=step, noise=noise,
        inverse_lr=inverse_lr, seed=seed, **options,
    )  # fmt: skip


def _buffers(stage: Stage) -> list[Tensor]:
    modules = [stage.layer, *(step for step in stage.steps if isinstance(step, nn.Module))]
    return [buffer for module in modules for buffer in module.buffers()]


def _elementwise(stage: Stage) -> Any:
    """The stage's activation, whose range its outputs have; the identity where it is not alone."""
    try:
        return stage.activation or activations.identity
    except ValueError:
        return activations.identity


def _check_invertible(stage: Stage) -> None:
    rule = "TargetPropagation(inverses='pinv')"
    if not isinstance(stage.layer, nn.Linear):
        raise ValueError(
            f"{rule} inverts linear layers, but {stage.name} is an "
            f"nn.{type(stage.layer).__name__}; take inverses='learn'"
        )
    followed = [step for step in stage.steps if not isinstance(step, nn.Identity)]
    try:
        assert len(followed) < 2
        if followed:
            activations.inverse(followed[0])
    except (AssertionError, ValueError):
        raise ValueError(
            f"{rule} needs one invertible activation behind layer {stage.name}, such as tanh, "
            f"found {', '.join(map(repr, followed))}; take another, or inverses='learn'"
        ) from None


def _pseudo_inverse(stage: Stage, z: Tensor, h: Tensor) -> Tensor:
    """Undo the activation, then the layer."""
    if stage.activation is not None:
        most = 2 * z.abs().max()
        h = h.clamp(stage.activation(-most), stage.activation(most))
        h = activations.inverse(stage.activation)(h).clamp(-most, most)
    if stage.layer.bias is not None:
        h = h - stage.layer.bias
    return h @ torch.linalg.pinv(stage.layer.weight).T
