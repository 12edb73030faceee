"""The events of a run, under Lightning's names."""

import difflib
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["Callback"]


class Callback:
    """Something that happens at certain events of a run; override the ones you need.

    Callbacks run in ascending `order`, those of equal order as given. Within a step the events are
    `on_train_batch_start`, `on_before_backward`, `on_after_backward`,
    `on_before_optimizer_step`, `on_train_batch_end`; the three in the middle are told by rules that
    compute gradients. Validation ends before `on_train_epoch_end`.
    """

    order = 0
    first_process_only = False  # whether it writes or shows, so that one process does for all
    reads_steps = True  # whether events within an epoch look at weights, slopes, batch or outputs

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_events(cls)

    def on_fit_start(self, trainer: "Trainer") -> None: ...
    def on_fit_end(self, trainer: "Trainer") -> None: ...
    def on_train_epoch_start(self, trainer: "Trainer") -> None: ...
    def on_train_batch_start(self, trainer: "Trainer", batch: Any, batch_idx: int) -> None: ...
    def on_before_backward(self, trainer: "Trainer", loss: Tensor) -> None: ...
    def on_after_backward(self, trainer: "Trainer") -> None: ...
    def on_before_optimizer_step(self, trainer: "Trainer") -> None: ...
    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None: ...
    def on_train_epoch_end(self, trainer: "Trainer") -> None: ...
    def on_validation_epoch_start(self, trainer: "Trainer") -> None: ...
    def on_validation_epoch_end(self, trainer: "Trainer") -> None: ...
    def on_exception(self, trainer: "Trainer", exception: BaseException) -> None: ...
    def on_save_checkpoint(self, trainer: "Trainer", checkpoint: dict[str, Any]) -> None: ...
    def on_load_checkpoint(self, trainer: "Trainer", checkpoint: dict[str, Any]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to keep of this callback: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
STEP_EVENTS = EVENTS[EVENTS.index("on_train_batch_start") : EVENTS.index("on_train_epoch_end")]


def check_events(cls: type) -> None:
    """Refuse a method `on_...` that no trainer would ever call."""
    for name in vars(cls):
        if name.startswith("on_") and name not in EVENTS:
            near = difflib.get_close_matches(name, EVENTS, n=1) or ["one of " + ", ".join(EVENTS)]
            raise TypeError(f"{cls.__name__}.{name} is not an event; did you mean {near[0]}?")


def listeners(callbacks: list[Callback]) -> dict[str, list[Any]]:
    """For each event the bound methods that do something, so that silence costs nothing."""
    return {
        event: [
            getattr(callback, event)
            for callback in callbacks
            if getattr(type(callback), event, None) is not getattr(Callback, event)
        ]
        for event in EVENTS
    }
