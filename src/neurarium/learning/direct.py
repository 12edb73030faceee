"""The body of all rules that write parameters themselves instead of giving a gradient."""

import contextlib
import copy
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.pseudo_gradient import cosines, undisturbed
from neurarium.learning.rule import ignore, value_of
from neurarium.objectives import Objective

__all__ = ["Direct"]


class Direct(ABC):
    """A rule without an optimizer; from its steps it tells how far they follow the gradient."""

    model: nn.Module
    objective: Objective

    @abstractmethod
    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Keep both; one clear error if the rule cannot train the model."""

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Move the parameters once; return `loss` and other scalars to log, detached."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that the next step needs besides the parameters."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it, also to what it was before the first step."""

    def alignment(self, batch: Batch) -> dict[str, float]:
        """Cosine between one step's change and the descent along the true gradient, by module.

        The step is taken and undone: parameters, the rule's state and random numbers are as before.
        """
        parameters = dict(self.model.named_parameters())
        own = copy.deepcopy(self.state_dict())
        heard = getattr(self, "notify", None)
        if heard is not None:
            self.notify = ignore  # callbacks hear of steps only
        try:
            with self._undisturbed():
                before = {name: p.detach().clone() for name, p in parameters.items()}
                self.step(batch)
                moved = {name: before[name] - p.detach() for name, p in parameters.items()}
            with self._undisturbed():  # which sees the same dropout masks
                value_of(self.objective(self.model, batch))["loss"].backward()
                slopes = {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}
            return cosines(self.model, moved, slopes)
        finally:
            self.load_state_dict(own)
            if heard is not None:
                self.notify = heard

    @contextlib.contextmanager
    def _undisturbed(self) -> Any:
        with contextlib.ExitStack() as stack:
            for part in (self.model, self.objective):
                if isinstance(part, nn.Module):
                    stack.enter_context(undisturbed(part))
            yield
