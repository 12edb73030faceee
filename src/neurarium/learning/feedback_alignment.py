"""Feedback alignment in its variants: errors that do not return by the transposed weights."""

import contextlib
import math
from collections import Counter
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Batch
from neurarium.learning import feedback
from neurarium.learning.pseudo_gradient import Backpropagating
from neurarium.objectives import Objective

__all__ = ["FeedbackAlignment"]

Mode = Literal["fa", "dfa", "sign", "usf", "mirror", "kp"]

_NOISE_ROWS = 32
_RATES = {"mirror": 0.02, "kp": 1e-3}


class FeedbackAlignment(Backpropagating):
    r"""Send errors back through other matrices than the transposed weights; it learns all the same.

    $$\delta_l = \bigl(B_{l+1}\, \delta_{l+1}\bigr) \odot \varphi'(z_l), \qquad
      \Delta W_l \propto \delta_l h_{l-1}^\top$$

    Backpropagation is $B = W^\top$, which no synapse can know. The modes are what $B$ is instead:

    - "fa": fixed, random. The weights turn towards it until the errors are of use.
    - "dfa": fixed, random, from the output at once: $\delta_l = (B_l\, e) \odot \varphi'(z_l)$ with
      the slope $e$ by the model's output. No layer waits for the one above. What lies between two
      layers (pooling, normalization) is passed exactly, and so are ways around layers.
    - "sign": the signs of $W^\top$, fixed random sizes. "usf": the signs, one size for all.
    - "mirror": $B$ learns $W^\top$ from what the layer makes of noise, after each step:
      $B \leftarrow (1 - r) B + r\, \overline{\xi (W \xi)^\top}$, over 32 rows of signs $\xi$.
    - "kp" (Kolen and Pollack): $B$ takes the updates of $W$, and both forget alike, so that their
      difference shrinks by $1 - r$ at each step, whatever the optimizer.

    It works on any model: linear layers and convolutions of every kind return errors by $B$, all
    else (normalizations, a module's own products of matrices) is differentiated. "dfa" needs layers
    that are used once. On the 8 x 8 digits (recipe `feedback-alignment-digits`)
    all modes reach 97.0 to 97.7 %, backpropagation 97.5 % and frozen hidden layers 93.5 %. Deep
    convolutional networks learn little by fixed matrices, as the sources found; "sign", "mirror"
    and "kp" are for these.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        rate: $r$ of "mirror" (0.02) and "kp" (0.001).
        seed: of the random matrices, whose entries are normal with variance 1/outputs.

    Attributes:
        feedback: what is kept of $B$ for each layer that has passed an error on, in the form of the
            layer's weight; with "dfa" (outputs, inputs of the layer).

    Source: Lillicrap, Cownden, Tweed & Akerman (2016), Random synaptic feedback weights support
    error backpropagation for deep learning, Nature Communications 7; dfa: Nøkland (2016),
    arXiv:1609.01596; sign, usf: Liao, Leibo & Poggio (2016), arXiv:1510.05067, and on large
    networks Xiao et al. (2019), arXiv:1811.03567; mirror and kp: Akrout et al. (2019),
    arXiv:1904.05391.
    """

    whole_batches = False

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        *,
        mode: Mode = "fa",
        rate: float | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        if rate is not None and mode not in _RATES:
            raise ValueError(f"rate is of the modes mirror and kp, got {rate} with mode={mode!r}")
        if rate is not None and not 0 < rate <= 1:
            raise ValueError(f"rate must lie in (0, 1], got {rate}; it is what a step replaces")
        self.mode, self.seed = mode, seed
        self.rate = _RATES.get(mode, 0.0) if rate is None else rate
        self.feedback: dict[str, Tensor] = {}

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Find the layers; refuse those that this mode cannot serve."""
        rule = f"FeedbackAlignment(mode={self.mode!r})"
        self.layers: dict[str, Any] = feedback.layers_of(model, rule)
        self.feedback = {}
        if self.mode == "dfa":
            self.errors = feedback.OutputErrors(model, rule)
            names = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
            for name, layer in self.layers.items():
                if names[id(layer)] > 1:
                    raise feedback.used_twice(rule, name)
        for name, layer in self.layers.items():
            if self.mode == "kp" and not isinstance(layer.weight, nn.Parameter):
                raise ValueError(
                    f"{rule} lets the weights forget, but those of layer '{name}' are computed "
                    "from other parameters; remove the parametrization, or take mode='mirror'"
                )

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Evaluate the objective and differentiate it, with B in the place of the transposes."""
        for name, kept in self.feedback.items():  # the model may have moved
            self.feedback[name] = kept.to(self.layers[name].weight)
        with contextlib.ExitStack() as stack:
            if self.mode == "dfa":
                stack.enter_context(self.errors.watched())
            stack.enter_context(feedback.rerouted(self.layers, self._route))
            return self.descent.gradients(batch)

    def _route(self, name: str, x: Tensor) -> tuple[Tensor, feedback.Pullback]:
        if self.mode == "dfa":
            return self.errors.projected(name, x, self._projection)
        return feedback.transposed(self.layers[name], self.matrix(name), x)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Estimate, step; then the feedback learns where it does."""
        weights = {name: self.layers[name].weight.detach() for name in self.feedback}
        before = {n: w.clone() for n, w in weights.items()} if self.mode == "kp" else {}
        outputs = super().step(batch)
        if self.mode == "mirror":
            self._mirror()
        for name, old in before.items():
            if self.layers[name].weight.requires_grad:
                self.feedback[name].add_(weights[name] - old).mul_(1 - self.rate)
                weights[name].mul_(1 - self.rate)
        return outputs

    @torch.no_grad()
    def _mirror(self) -> None:
        for name, matrix in self.feedback.items():
            weight = self.layers[name].weight.flatten(1)
            generator = torch.Generator(weight.device)
            generator.manual_seed(self._seed_of(name) + 7_919 * self.descent.steps)
            noise = torch.empty(_NOISE_ROWS, weight.shape[1]).to(weight)
            noise.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
            # Of a convolution one patch, as if its kernel were a matrix.
            seen = (noise @ weight.T).T @ noise / _NOISE_ROWS
            matrix.lerp_(seen.view_as(matrix), self.rate)

    # The matrices

    def matrix(self, name: str) -> Tensor:
        """What the errors of a layer return by, in the form of its weight."""
        layer = self.layers[name]
        weight = layer.weight.detach()
        if name not in self.feedback:
            size = feedback.fan_out(layer) ** -0.5
            if self.mode == "usf":
                self.feedback[name] = weight.new_tensor(size)
            else:
                drawn = self._draw(name, weight.shape, weight) * size
                self.feedback[name] = drawn.abs() if self.mode == "sign" else drawn
        kept = self.feedback[name]
        return kept * weight.sign() if self.mode in ("sign", "usf") else kept

    def _projection(self, name: str, outputs: int, x: Tensor) -> Tensor:
        features = x[0].numel()
        if name not in self.feedback:
            like = self.layers[name].weight
            self.feedback[name] = self._draw(name, (outputs, features), like) * outputs**-0.5
        matrix = self.feedback[name]
        if matrix.shape != (outputs, features):
            raise ValueError(
                f"FeedbackAlignment(mode='dfa') needs examples of one size: layer '{name}' has "
                f"{features} inputs and the model {outputs} outputs where it had {matrix.shape[1]} "
                f"and {matrix.shape[0]}; take mode='fa'"
            )
        return matrix

    def _draw(self, name: str, shape: Any, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed_of(name))
        return torch.randn(shape, generator=generator).to(like)

    def _seed_of(self, name: str) -> int:
        return 1_000_003 * self.seed + list(self.layers).index(name)

    def angles(self) -> dict[str, float]:
        """Degrees between each layer's weights and the matrix that its errors return by."""
        if self.mode == "dfa":
            raise ValueError("with mode='dfa' no error returns by a layer's weights; see alignment")
        found = {}
        for name in self.feedback:
            weight = self.layers[name].weight.detach().flatten()
            cosine = F.cosine_similarity(self.matrix(name).flatten(), weight, 0).item()
            found[name] = math.degrees(math.acos(min(max(cosine, -1), 1)))
        return found

    # State

    def own_state(self) -> dict[str, Any]:
        """The matrices."""
        return {"feedback": self.feedback}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Take them, on the weights' device."""
        self.feedback = {
            name: matrix.to(self.layers[name].weight, copy=True)
            for name, matrix in state["feedback"].items()
        }

    def __repr__(self) -> str:
        return f"FeedbackAlignment({self.descent!r}, mode={self.mode}, seed={self.seed})"
