"""From the true past to one's own: how often a decoder is told the truth."""

import math
from typing import TYPE_CHECKING, Any, Literal

from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["ScheduledSampling"]


class ScheduledSampling(Callback):
    r"""Feed a decoder its own last answer more and more often, instead of the true one.

    $$\epsilon_i = \begin{cases} \max(\epsilon,\, k - c\, i) & \text{linear} \\
      k^i & \text{exponential, } k < 1 \\ k / (k + e^{i/k}) & \text{sigmoid, } k \ge 1
      \end{cases}$$

    $\epsilon_i$ is the probability of the truth at mini-batch $i$, drawn for each row and step by
    the model, whose attribute `forcing` this sets: `networks.SequenceGenerator` has it. With
    $\epsilon = 1$ it is teacher forcing. No gradient flows through what is fed back.

    Steps are counted, not epochs, so a schedule means the same for any size of data. Huszár
    (arXiv:1511.05101) shows that the objective is not consistent: let $\epsilon$ come near 0.

    Args:
        schedule: which of the three.
        k: as above; 1 for "linear", 0.999 for "exponential" and 1,000 for "sigmoid" by default.
        c: fall per mini-batch of "linear".
        floor: $\epsilon$, below which "linear" does not fall.

    Raises:
        ValueError: where no part of the model has `forcing`.

    Source: Bengio, Vinyals, Jaitly & Shazeer (2015), Scheduled Sampling for Sequence Prediction
    with Recurrent Neural Networks, arXiv:1506.03099.
    """

    def __init__(
        self,
        schedule: Literal["linear", "exponential", "sigmoid"] = "linear",
        k: float | None = None,
        c: float = 1e-3,
        floor: float = 0.0,
    ) -> None:
        usual = {"linear": 1.0, "exponential": 0.999, "sigmoid": 1000.0}
        if schedule not in usual:
            raise ValueError(
                f"schedule must be 'linear', 'exponential' or 'sigmoid', got {schedule!r}"
            )
        k = usual[schedule] if k is None else k
        if schedule == "exponential" and not 0 <= k <= 1:
            raise ValueError(f"k of the exponential schedule must lie in [0, 1], got {k}")
        if schedule == "sigmoid" and k < 1:
            raise ValueError(f"k of the sigmoid schedule must be at least 1, got {k}")
        if not 0 <= floor <= 1 or c < 0:
            raise ValueError(f"floor must lie in [0, 1] and c be at least 0, got {floor} and {c}")
        self.schedule, self.k, self.c, self.floor = schedule, k, c, floor

    def epsilon(self, i: int) -> float:
        """Probability of the truth at mini-batch `i`, counted from 0."""
        if self.schedule == "linear":
            return min(1.0, max(self.floor, self.k - self.c * i))
        if self.schedule == "exponential":
            return self.k**i
        exponent = i / self.k - math.log(self.k)
        return 1 / (1 + math.exp(min(exponent, 700)))

    def on_fit_start(self, trainer: "Trainer") -> None:
        self._decoders: list[Any] = [m for m in trainer.model.modules() if hasattr(m, "forcing")]
        if not self._decoders:
            raise ValueError(
                f"{type(trainer.model).__name__} has no decoder with `forcing`, the share of true "
                "steps it is fed; scheduled sampling needs one, such as networks.SequenceGenerator"
            )

    def on_train_batch_start(self, trainer: "Trainer", batch: Any, batch_idx: int) -> None:
        for decoder in self._decoders:
            decoder.forcing = self.epsilon(trainer.step)
