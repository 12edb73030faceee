"""What a trial costs, counted in its first step: operations and bytes."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

from neurarium.training import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

# Beyond so many calls a step is a search of its own, and counting it would take as long again.
_MOST_CALLS = 20_000


class _Counting(TorchDispatchMode):
    """Counts the operations of products and convolutions, and the bytes of tensors that live."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations = self.bytes = self.peak = self.calls = 0
        self._known = weakref.WeakSet[Any]()
        for tensor in held:
            self._hold(tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would load its compiler, a second, only to tell it to stay out

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if self.calls > _MOST_CALLS:
            return result
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=result)
        tree_map_only(Tensor, self._hold, result)
        return result

    def _hold(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided:  # a sparse one has no single storage
            return
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._release, storage.nbytes()).atexit = False

    def _release(self, size: int) -> None:
        self.bytes -= size


class Meter(Callback):
    """What the training costs: that of its first step, for as many rows as were seen."""

    order = -100

    def __init__(self) -> None:
        self.counting: _Counting | None = None
        self.rows = 0
        self.per_row: float | None = None
        self.memory: int | None = None

    @property
    def multiply_adds(self) -> float | None:
        """Of all steps so far."""
        return None if self.per_row is None else self.per_row * self.rows

    def on_train_batch_start(self, trainer: "Trainer", batch: Any, batch_idx: int) -> None:
        if trainer.step == 0 and not trainer.engine.compile:
            model = trainer.model
            plain = [value for value in batch.values() if type(value) is Tensor]  # no graph
            self.counting = _Counting([*model.parameters(), *model.buffers(), *plain])
            self.counting.__enter__()

    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rows = len(next(iter(batch.values())))
        if self.counting is not None:
            counted = self._stop()
            if counted.calls <= _MOST_CALLS:
                self.per_row, self.memory = counted.operations / 2 / rows, counted.peak
        self.rows += rows

    def on_exception(self, trainer: "Trainer", exception: BaseException) -> None:
        if self.counting is not None:
            self._stop()

    def _stop(self) -> _Counting:
        assert self.counting is not None
        counting, self.counting = self.counting, None
        counting.__exit__(None, None, None)
        return counting
