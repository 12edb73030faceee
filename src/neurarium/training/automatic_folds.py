"""Cross-validation in one run: a network per fold, stacked, all trained on the same batches."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.data import Batch, Data, Resident
from neurarium.learning import NonFiniteError, Rule
from neurarium.networks import MLP, Perceptron
from neurarium.training.fit import fit


def cross_validate(
    members: Sequence[nn.Module],
    data: Data,
    loss: Callable[..., Tensor],
    rule: Rule,
    *,
    parts: int,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    device: str = "cpu",
) -> float:
    r"""Mean loss on training rows of the network that was trained without them.

    $$\mathrm{CV} = \frac{1}{n} \sum_{i=1}^n L\bigl(f_{-k(i)}(x_i), d_i\bigr)$$

    Args:
        members: fresh networks; the k-th is trained without the k-th part, and judged on it.
        loss: a function that takes `reduction="none"`.
        parts: number of equal parts of the rows; fewer members judge the first of them only.

    Source: Stone (1974), Cross-validatory choice and assessment of statistical predictions, J.
    Royal Statistical Society B 36(2).
    """
    assert isinstance(data.train, Resident)
    fold = folds(data.train.tensors["target"], parts, seed)
    rows = {**data.train.tensors, "fold": fold}
    model = StackedMLP(members)
    try:
        fit(
            model,
            Data(rows, task=data.task, classes=data.classes, transform=data.transform),
            HeldOut(loss),
            rule,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            device=device,
            metrics=(),
            verbose=False,
        )
    except NonFiniteError:
        return float("inf")
    judged = fold < len(members)
    batch = data.prepare({name: value[judged].to(device) for name, value in rows.items()})
    with torch.no_grad():
        output = model.eval()(batch["input"])
        own = output[batch["fold"], torch.arange(output.shape[1], device=device)]
        return float(row_losses(loss, own.unsqueeze(0), batch["target"]).mean())


class StackedMLP(nn.Module):
    r"""Several MLPs of one shape side by side, each with its own weights, on the same input.

    $$Y_k = f_{\theta_k}(X), \qquad k = 1, \dots, K$$

    A layer of all of them is one batched product, so that five cost little more than one.

    Args:
        networks: each an MLP or each a Perceptron, alike but for their weights, which only linear
            layers and embeddings may have.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(networks)
        tables, chains = zip(*map(_parts, networks), strict=True)
        self.embeddings = nn.ModuleList(_stacked(of) for of in zip(*tables, strict=True))
        self.layers = nn.Sequential(*(_stacked(of) for of in zip(*chains, strict=True)))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "networks batch outputs"]:
        x = x.flatten(1)
        numeric, codes = x.tensor_split([x.shape[1] - len(self.embeddings)], dim=1)
        columns = zip(self.embeddings, codes.long().unbind(1), strict=True)
        own = [table(code) for table, code in columns]
        return self.layers(torch.cat([numeric.expand(self.count, -1, -1), *own], dim=-1))


class _StackedLinear(nn.Module):
    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([one.weight.detach().T for one in layers]))
        self.bias = nn.Parameter(torch.stack([one.bias.detach() for one in layers]).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class _StackedEmbedding(nn.Module):
    def __init__(self, tables: Sequence[nn.Embedding]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([table.weight.detach() for table in tables]))

    def forward(self, codes: Tensor) -> Tensor:
        return self.weight[:, codes]


def _parts(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The embeddings and the layers of a network that has no other parts."""
    if isinstance(network, Perceptron):
        return [], [network.linear, network.threshold]
    assert isinstance(network, MLP), f"{type(network).__name__} has no stacked form"
    return list(network.embeddings), list(network.layers)


def _stacked(layers: Sequence[nn.Module]) -> nn.Module:
    if isinstance(layers[0], nn.Linear):
        return _StackedLinear(layers)  # type: ignore[arg-type]
    if isinstance(layers[0], nn.Embedding):
        return _StackedEmbedding(layers)  # type: ignore[arg-type]
    assert not layers[0].state_dict(), f"{type(layers[0]).__name__} has no stacked form"
    return layers[0]


class HeldOut:
    """Each network's mean loss on the rows that are not in its own fold, summed over them."""

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        self.loss = loss

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        output = model(batch["input"])
        own = torch.arange(len(output), device=output.device).unsqueeze(1)
        learns = (batch["fold"] != own).to(output.dtype)
        lost = row_losses(self.loss, output, batch["target"])
        return ((lost * learns).sum(1) / learns.sum(1).clamp(min=1)).sum()


def row_losses(
    loss: Callable[..., Tensor], output: Float[Tensor, "networks batch outputs"], target: Tensor
) -> Float[Tensor, "networks batch"]:
    """What every network loses on every row."""
    networks, rows, _ = output.shape
    flat, repeated = output.flatten(0, 1), target.repeat(networks, *[1] * (target.ndim - 1))
    if flat.shape == (*repeated.shape, 1):
        flat = flat.squeeze(-1)
    return loss(flat, repeated, reduction="none").reshape(networks, rows, -1).mean(-1)


def folds(target: Tensor, count: int, seed: int = 0) -> Int[Tensor, " rows"]:
    """A fold for every row, at random; the rows of each class are shared out evenly."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(target), generator=generator)
    if target.ndim == 1 and not target.is_floating_point():
        order = order[target[order].argsort(stable=True)]
    fold = torch.empty(len(target), dtype=torch.int64)
    fold[order] = torch.arange(len(target)) % count
    return fold
