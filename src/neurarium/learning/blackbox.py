"""A model as a function of one flat vector, for rules that only ask how good a point is."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from neurarium.data import Batch
from neurarium.learning.rule import NonFiniteError, value_of
from neurarium.objectives import Objective

__all__ = ["BlackBox"]

_NUMBERS_AT_ONCE = 2**22  # of candidates that are judged together: 16 MB in single precision


class BlackBox:
    """Whatever requires a gradient, of the model and of the objective, as one vector.

    The modules stay the caller's own: a point is written into their parameters. Candidates are
    judged side by side where the model allows, else in turn. All of them see the same dropout
    masks, and none moves the running statistics of a batch normalization: only `judge` does.
    """

    def __init__(self, model: nn.Module, objective: Objective, rule: str) -> None:
        self.judgement = _Judgement(model, objective)
        named = [(n, p) for n, p in self.judgement.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError(
                f"{rule} has nothing to train: no parameter of the model requires a gradient"
            )
        kinds = {(p.dtype, p.device) for _, p in named}
        if len(kinds) > 1:
            raise ValueError(
                f"{rule} takes all parameters as one vector, so they must share one type and "
                f"device, got {', '.join(sorted(f'{d} on {v}' for d, v in kinds))}"
            )
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        self.sizes = [p.numel() for p in self.parameters]
        self.dimension = sum(self.sizes)
        self.side_by_side: bool | None = None  # not known before the first batch

    def read(self) -> Tensor:
        """The point where the modules are."""
        return torch.cat([p.detach().flatten() for p in self.parameters])

    @torch.no_grad()
    def write(self, point: Tensor) -> None:
        """Move the modules there."""
        for parameter, part in zip(self.parameters, point.split(self.sizes), strict=True):
            parameter.copy_(part.view_as(parameter))

    def add_slope(self, slope: Tensor) -> None:
        """Add to the parameters' gradients."""
        for parameter, part in zip(self.parameters, slope.split(self.sizes), strict=True):
            part = part.view_as(parameter)
            parameter.grad = part.clone() if parameter.grad is None else parameter.grad + part

    @torch.no_grad()
    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """What the objective says of the modules as they are.

        Raises:
            NonFiniteError: when the loss is NaN or infinite; nothing has moved.
        """
        outputs = value_of(self.judgement.objective(self.judgement.model, batch))
        if not outputs["loss"].isfinite():
            raise NonFiniteError(f"the loss is {outputs['loss'].item()}")
        return {name: value.detach() for name, value in outputs.items()}

    @torch.no_grad()
    def losses(self, points: Tensor, batch: Batch) -> Tensor:
        """The loss at each of these points, a row each; infinite where it would be NaN.

        Call `judge` on the batch before: objectives look at their first batch more closely.
        """
        if self.side_by_side is None:
            self.side_by_side = self._agrees(points[:2], batch)
        found = (self._together if self.side_by_side else self._in_turn)(points, batch)
        return found.double().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def _agrees(self, points: Tensor, batch: Batch) -> bool:
        """Whether candidates can be judged side by side, with what they would get in the model.

        A model may decide by values, or call what has no batched form; a penalty may look for
        parameters where candidates have none.
        """
        before = torch.get_rng_state()
        expected = self._in_turn(points, batch)  # an error of the caller's comes from here
        torch.set_rng_state(before)
        try:
            found = self._together(points, batch)
        except (RuntimeError, ValueError, TypeError, NotImplementedError):
            return False
        finally:  # a run that is resumed looks again, and must draw the same numbers then
            torch.set_rng_state(before)
        return torch.allclose(found, expected, rtol=1e-2, atol=1e-5, equal_nan=True)

    def _together(self, points: Tensor, batch: Batch) -> Tensor:
        state = {n: b for n, b in self.judgement.named_buffers() if b is not None}

        def loss(point: Tensor, buffers: dict[str, Tensor]) -> Tensor:
            return self._loss(point, buffers, batch)

        chunk = max(1, _NUMBERS_AT_ONCE // self.dimension)
        parts = []
        with _same_random_numbers() as again:
            for some in points.split(chunk):
                again()
                copies = {n: b.expand(len(some), *b.shape).clone() for n, b in state.items()}
                parts.append(vmap(loss, randomness="same")(some, copies))
        return torch.cat(parts)

    def _loss(self, point: Tensor, buffers: dict[str, Tensor], batch: Batch) -> Tensor:
        parts = zip(self.names, self.parameters, point.split(self.sizes), strict=True)
        values = {name: part.view(parameter.shape) for name, parameter, part in parts}
        result: Tensor = functional_call(self.judgement, values | buffers, (batch,))
        return result

    def _in_turn(self, points: Tensor, batch: Batch) -> Tensor:
        here = self.read()
        state = {buffer: buffer.clone() for buffer in self.judgement.buffers()}
        parts = []
        try:
            with _same_random_numbers() as again:
                for point in points:
                    again()
                    self.write(point)
                    parts.append(self.judgement(batch).detach())
                    for buffer, value in state.items():
                        buffer.copy_(value)
        finally:
            self.write(here)
            for buffer, value in state.items():
                buffer.copy_(value)
        return torch.stack(parts)


class _Judgement(nn.Module):
    """Model and objective as one module, so that the parameters of both can be replaced."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> Tensor:
        return value_of(self.objective(self.model, batch))["loss"]


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[Callable[[], object]]:
    """Inside, what it yields goes back to the same random numbers; outside one was drawn."""
    seed = int(torch.randint(2**31, ()))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield lambda: torch.manual_seed(seed)
