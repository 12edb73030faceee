"""A learning rule says how parameters move on one batch; it knows nothing of epochs or loaders."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.objectives import Objective

__all__ = ["NonFiniteError", "Rule", "value_of"]


@runtime_checkable
class Rule(Protocol):
    """What `fit` asks of a rule; an object with these four methods needs no base class."""

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Take the model and objective; a clear error if this rule cannot train them."""

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Move the parameters once; return `loss` and other scalars to log, detached."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NonFiniteError(FloatingPointError):
    """The loss became NaN or infinite; the parameters are still those before this step."""


def value_of(result: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an objective returned as a mapping with the key `loss`, checked."""
    outputs: dict[str, Any] = dict(result) if isinstance(result, Mapping) else {"loss": result}
    loss = outputs.get("loss")
    if not isinstance(loss, Tensor) or loss.ndim:
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(
            "an objective must return a scalar tensor, or a mapping whose key 'loss' is one, "
            f"got {found}; take the mean over the batch"
        )
    return outputs


Notify = Callable[..., None]


def ignore(event: str, *arguments: Any) -> None:
    """The listener of a rule that works outside a trainer."""
