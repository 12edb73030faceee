"""Layers that solve a convex problem: what comes out is the argument that minimizes it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import cvxpy

__all__ = ["Convex", "argmin_activation"]

# SCS stops at 1e-5 by itself, and slopes there are off by as much; this costs twice the steps.
_ACCURATE = {"eps": 1e-10, "max_iters": 100_000}


class Convex(nn.Module):
    r"""The minimizer of a convex problem whose parameters are the input, learned, or both.

    $$y^*(\theta) = \arg\min_y f(y, \theta) \;\text{ subject to }\; y \in C(\theta), \qquad
      \frac{\partial y^*}{\partial \theta} =
      -\Bigl(\frac{\partial G}{\partial y}\Bigr)^{-1} \frac{\partial G}{\partial \theta}$$

    with $G(y, \theta) = 0$ the conditions that hold at the minimum (for a smooth $f$ without
    constraints, $G = \nabla_y f$). It is called with one tensor for each parameter that is not
    learned, in their order, each with or without a leading batch axis. It computes in float64 on
    the CPU, example by example, and answers in the precision of the input.

    Args:
        problem: a `cvxpy.Problem` that is convex for every value of its parameters (cvxpy's DPP).
        learned: its parameters that are the layer's own, starting from their `value`.
        variables: those whose values are returned, a tensor if it is one; by default all, in the
            order in which they were made.
        solver_args: of the solver SCS.

    Raises:
        ImportError: without cvxpylayers.
        ValueError: if a learned parameter has no value to start from, or for an input there is no
            solution.

    Source: Agrawal, Amos, Barratt, Boyd, Diamond & Kolter (2019), Differentiable Convex
    Optimization Layers, arXiv:1910.12430.
    """

    def __init__(
        self,
        problem: "cvxpy.Problem",
        learned: Sequence["cvxpy.Parameter"] = (),
        variables: Sequence["cvxpy.Variable"] | None = None,
        solver_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        parameters = sorted(problem.parameters(), key=lambda each: each.id)
        if variables is None:
            variables = sorted(problem.variables(), key=lambda each: each.id)
        own = {each.id for each in learned}
        self.is_learned = [each.id in own for each in parameters]
        if foreign := own - {each.id for each in parameters}:
            raise ValueError(f"learned has {len(foreign)} parameters that the problem has not")
        if without := [each.name() for each in learned if each.value is None]:
            raise ValueError(
                f"a learned parameter starts from its value, and {', '.join(without)} has none; "
                "set `.value`"
            )
        start = [torch.as_tensor(each.value) for each in parameters if each.id in own]
        self.learned = nn.ParameterList(each.to(torch.get_default_dtype()) for each in start)
        self._solve = _Solver(
            problem, parameters, list(variables), {**_ACCURATE, **(solver_args or {})}
        )

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        wanted = self.is_learned.count(False)
        if len(inputs) != wanted:
            raise ValueError(
                f"the problem has {wanted} parameters that are not learned, got {len(inputs)} "
                "tensors; pass one for each, in the order in which they were made"
            )
        given, own = iter(inputs), iter(self.learned)
        values = [next(own) if learned else next(given) for learned in self.is_learned]
        like = values[0]
        solution = self._solve(*(value.to("cpu", torch.float64) for value in values))
        solution = tuple(each.to(like.device, like.dtype) for each in solution)
        return solution[0] if len(solution) == 1 else solution


class _Solver:
    """No module, as nobody may cast it; copies of a layer share it, as it has no state."""

    def __init__(
        self, problem: Any, parameters: list[Any], variables: list[Any], arguments: dict[str, Any]
    ) -> None:
        self.layer = _module("cvxpylayers.torch").CvxpyLayer(
            problem, parameters=parameters, variables=variables, solver_args=arguments
        )

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        try:
            return self.layer(*values)
        except _module("diffcp").SolverError as error:
            raise ValueError(
                f"no solution of the convex problem was found ({error}); check that its "
                "constraints can hold together and that its objective is bounded"
            ) from error

    def __deepcopy__(self, memory: dict[int, Any]) -> "_Solver":
        return self


def argmin_activation(name: str, count: int | None = None) -> nn.Module:
    r"""An activation as the answer to the optimization problem that it solves.

    $$\begin{aligned}
      \operatorname{relu}(x) &= \arg\min_{y \ge 0} \tfrac12 \lVert y - x \rVert^2 &
      \operatorname{sigmoid}(x) &= \arg\min_y -x^\top y - H_b(y) \\
      \operatorname{sparsemax}(x) &= \arg\min_{y \in \Delta} \tfrac12 \lVert y - x \rVert^2 &
      \operatorname{softmax}(x) &= \arg\min_{y \in \Delta} -x^\top y - H(y) \\
      \operatorname{LML}_N(x) &= \arg\min_{1^\top y = N} -x^\top y - H_b(y)
    \end{aligned}$$

    with $\Delta$ the probability vectors, $H(y) = -\sum_i y_i \log y_i$ and $H_b(y) = H(y) +
    H(1 - y)$. "csoftmax" and "csparsemax" are the constrained ones, $y \le u$, and are called as
    `(x, u)`. The limited multi-label projection, "lml", gives N of the entries about 1: a soft
    choice of N. The vectors are the last axis; each is solved by itself, so it is slow: where a
    closed form exists, it is in `activations`, and this shows that it is the minimizer.

    Args:
        name: "relu", "sigmoid", "softmax", "sparsemax", "csoftmax", "csparsemax" or "lml".
        count: N of "lml".

    Raises:
        ValueError: for another name; if `count` is missing or out of place, or not below the
            number of entries; if the bounds u sum to less than 1.

    Source: Agrawal et al. (2019), Differentiable Convex Optimization Layers, arXiv:1910.12430;
    sparsemax: Martins & Astudillo (2016), arXiv:1602.02068; LML: Amos, Koltun & Kolter (2019), The
    Limited Multi-Label Projection Layer, arXiv:1906.08707; constrained: Malaviya, Ferreira &
    Martins (2018), Sparse and Constrained Attention for Neural Machine Translation,
    arXiv:1805.08241.
    """
    if name not in _PROGRAMS:
        raise ValueError(f"name must be one of {', '.join(_PROGRAMS)}, got {name!r}")
    if (count is None) == (name == "lml") or (count is not None and count < 1):
        raise ValueError(
            f"count is the number, at least 1, that 'lml' selects; got {count!r} for {name!r}"
        )
    return _Argmin(name, count)


def _square(cp: Any, x: Any, y: Any) -> Any:
    return cp.sum_squares(y - x) / 2


def _entropy(cp: Any, x: Any, y: Any) -> Any:
    return -x @ y - cp.sum(cp.entr(y))


def _binary_entropy(cp: Any, x: Any, y: Any) -> Any:
    return _entropy(cp, x, y) - cp.sum(cp.entr(1 - y))


# Objective; whether y >= 0 must be said (entropies say it themselves); whether it sums to 1.
_PROGRAMS: dict[str, tuple[Callable[..., Any], bool, bool]] = {
    "relu": (_square, True, False),
    "sigmoid": (_binary_entropy, False, False),
    "softmax": (_entropy, False, True),
    "sparsemax": (_square, True, True),
    "csoftmax": (_entropy, False, True),
    "csparsemax": (_square, True, True),
    "lml": (_binary_entropy, False, False),
}


class _Argmin(nn.Module):
    """Builds the problem once for each length of vectors it meets."""

    def __init__(self, name: str, count: int | None) -> None:
        super().__init__()
        self.name, self.count, self.bounded = name, count, name.startswith("c")
        self._layers: dict[int, Convex] = {}

    def forward(self, x: Tensor, upper: Tensor | None = None) -> Tensor:
        if self.bounded != (upper is not None):
            wanted = "the bounds u too" if self.bounded else "x alone"
            raise ValueError(f"{self.name} is called with {wanted}")
        size = x.shape[-1]
        if self.count is not None and self.count >= size:
            raise ValueError(f"count must be below the {size} entries of x, got {self.count}")
        rows = [x.reshape(-1, size)]
        if upper is not None:
            if (total := upper.sum(-1).min()) < 1:
                raise ValueError(f"the bounds u must sum to at least 1, as y does, got {total:g}")
            rows.append(upper.to(x.dtype).expand_as(x).reshape(-1, size))
        if size not in self._layers:
            self._layers[size] = self._build(size)
        return self._layers[size](*rows).reshape(x.shape)

    def _build(self, size: int) -> Convex:
        cp = _module("cvxpy")
        objective, positive, normalized = _PROGRAMS[self.name]
        x, y = cp.Parameter(size), cp.Variable(size)
        constraints = [y >= 0] if positive else []
        if self.bounded:
            constraints.append(y <= cp.Parameter(size))
        if normalized or self.count:
            constraints.append(cp.sum(y) == (self.count or 1))
        return Convex(cp.Problem(cp.Minimize(objective(cp, x, y)), constraints))

    def __repr__(self) -> str:
        return f"argmin_activation({self.name!r}" + (f", {self.count})" if self.count else ")")


def _module(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            'layers that solve need cvxpylayers; pip install "neurarium[science]"'
        ) from None
