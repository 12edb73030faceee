"""Nodes as points without features: in hyperbolic space, or by random walks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from neurarium.data import Batch
from neurarium.data.graph import Graph

__all__ = [
    "NodeEmbedding",
    "NodesOfWalks",
    "PoincareEmbedding",
    "RiemannianSGD",
    "poincare_distance",
    "random_walks",
]

_RIM = 1 - 1e-5


def poincare_distance(
    u: Float[Tensor, "... dim"], v: Float[Tensor, "... dim"]
) -> Float[Tensor, "..."]:
    r"""Distance in the Poincaré ball, in which the rim is infinitely far.

    $$d(u, v) = \operatorname{arcosh}\Bigl(1 + 2 \frac{\lVert u - v \rVert^2}
      {(1 - \lVert u \rVert^2)(1 - \lVert v \rVert^2)}\Bigr)$$

    Computed as $2 \operatorname{arsinh} \sqrt{x / 2}$ of the excess $x$, which loses no digits for
    near points; its slope is kept finite where they coincide.

    Source: Nickel & Kiela (2017), Poincaré Embeddings for Learning Hierarchical Representations,
    arXiv:1705.08039.
    """
    inside_u, inside_v = 1 - u.square().sum(-1), 1 - v.square().sum(-1)
    half_excess = (u - v).square().sum(-1) / (inside_u * inside_v)
    return 2 * torch.asinh((half_excess + torch.finfo(u.dtype).tiny).sqrt())


def to_hyperboloid(u: Tensor) -> Tensor:
    """The point of the upper sheet $x_0^2 - |x|^2 = 1$ that is the ball's point u."""
    square = u.square().sum(-1, keepdim=True)
    return torch.cat([1 + square, 2 * u], -1) / (1 - square)


def to_ball(x: Tensor) -> Tensor:
    """The ball's point that is x of the hyperboloid."""
    return x[..., 1:] / (1 + x[..., :1])


def lorentz_distance(x: Tensor, y: Tensor) -> Tensor:
    """Distance on the hyperboloid: arcosh of minus the Minkowski product."""
    product = x[..., 0] * y[..., 0] - (x[..., 1:] * y[..., 1:]).sum(-1)
    return torch.acosh(product.clamp(min=1 + 1e-12))


class PoincareEmbedding(nn.Module):
    r"""A point of the hyperbolic ball for each node, near where there is an edge.

    $$L = -\sum_{(u, v)} \log \frac{e^{-d(u, v)}}{e^{-d(u, v)} + \sum_{v' \in N(u)} e^{-d(u, v')}}$$

    with negatives $N(u)$ drawn among the nodes not joined to u. Room grows exponentially towards
    the rim, as a tree does with its depth. It is model and objective in one: called with (u, v,
    negatives) it gives their distances.

    Args:
        euclidean: plain distances in plain space, for comparison.

    Source: Nickel & Kiela (2017), Poincaré Embeddings for Learning Hierarchical Representations,
    arXiv:1705.08039.
    """

    def __init__(self, nodes: int, dim: int = 2, euclidean: bool = False) -> None:
        super().__init__()
        self.euclidean = euclidean
        start = torch.empty(nodes, dim, dtype=torch.float64).uniform_(-1e-3, 1e-3)
        self.points = nn.Parameter(start)

    def distance(self, u: Tensor, v: Tensor) -> Tensor:
        """Between nodes by number."""
        a, b = self.points[u], self.points[v]
        if self.euclidean:
            return ((a - b).square().sum(-1) + torch.finfo(a.dtype).tiny).sqrt()
        return poincare_distance(a, b)

    def forward(self, rows: Tensor) -> Tensor:
        """Minus the distances from each row's first node to the others: logits, the first true."""
        return -self.distance(rows[:, :1], rows[:, 1:])

    @staticmethod
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        """The objective above, summed over the batch."""
        return -model(batch["input"]).log_softmax(1)[:, 0].sum()


class WithNegatives(nn.Module):
    """Behind each edge (u, v) of a batch, so many nodes that u is not joined to, drawn anew."""

    free: Tensor

    def __init__(self, graph: Graph, count: int = 10) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("free", graph.to_dense().fill_diagonal_(1) == 0)

    def forward(self, edges: Tensor) -> Tensor:
        odds = self.free[edges[:, 0]].double()
        return torch.cat([edges, torch.multinomial(odds, self.count, replacement=True)], 1)


class RiemannianSGD(torch.optim.Optimizer):
    r"""Gradient descent in the Poincaré ball: the step shrinks with the metric towards the rim.

    $$\theta \leftarrow \operatorname{proj}\Bigl(\theta - \eta\, \tfrac14 (1 -
      \lVert\theta\rVert^2)^2\, \nabla_\theta L\Bigr), \quad
      \lVert \operatorname{proj}(\theta) \rVert \le 1 - 10^{-5}$$

    Args:
        exact: move along the geodesic, by the exponential map of the hyperboloid, instead.

    Source: Nickel & Kiela (2017), arXiv:1705.08039; exact: Wilson & Leimeister (2018), Gradient
    descent in hyperbolic space, arXiv:1805.08207.
    """

    def __init__(
        self, params: Iterator[nn.Parameter] | list[nn.Parameter], lr: float, exact: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "exact": exact})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every point that has a gradient."""
        for group in self.param_groups:
            for point in group["params"]:
                if point.grad is None:
                    continue
                inside = 1 - point.square().sum(-1, keepdim=True)
                slope = -group["lr"] * inside.square() / 4 * point.grad
                moved = _geodesic(point, slope) if group["exact"] else point + slope
                norm = moved.norm(dim=-1, keepdim=True)
                point.copy_(torch.where(norm > _RIM, moved / norm * _RIM, moved))


def _geodesic(point: Tensor, tangent: Tensor) -> Tensor:
    """The end of the geodesic from `point` with this first velocity: Möbius addition."""
    length = tangent.norm(dim=-1, keepdim=True).clamp(min=1e-15)
    inside = 1 - point.square().sum(-1, keepdim=True)
    y = torch.tanh(length / inside) * tangent / length
    xy, xx, yy = ((a * b).sum(-1, keepdim=True) for a, b in ((point, y), (point, point), (y, y)))
    return ((1 + 2 * xy + yy) * point + (1 - xx) * y) / (1 + 2 * xy + xx * yy)


def ranking_precision(distance: Tensor, graph: Graph) -> float:
    r"""Mean average precision of neighbours among all nodes ranked by distance (N, N).

    $$\text{MAP} = \frac{1}{N} \sum_u \frac{1}{|N(u)|} \sum_{v \in N(u)}
      \frac{|N(u) \cap \{v' : d(u, v') \le d(u, v)\}|}{|\{v' \ne u : d(u, v') \le d(u, v)\}|}$$
    """
    joined = graph.to_dense() > 0
    order = distance.clone().fill_diagonal_(torch.inf).argsort(1)
    hit = joined.gather(1, order).double()
    places = torch.arange(1, len(distance) + 1)
    precision = (hit.cumsum(1) / places * hit).sum(1) / hit.sum(1).clamp(min=1)
    return float(precision[hit.sum(1) > 0].mean())


def random_walks(
    graph: Graph, length: int, p: float = 1.0, q: float = 1.0, walks: int = 1, seed: int = 0
) -> Tensor:
    r"""Walks from every node; p and q set how readily they return and how far they stray.

    $$P(c_{t+1} = x \mid c_t = v, c_{t-1} = s) \propto w_{vx} \cdot \begin{cases}
      1/p & x = s \\ 1 & s \to x \\ 1/q & \text{else} \end{cases}$$

    A walk that comes to a node without outgoing edges stays there.

    Args:
        length: number of nodes of a walk.
        walks: number of walks from each node.

    Returns:
        (walks * nodes, length) node numbers; p = q = 1 is DeepWalk's uniform walk.

    Source: Grover & Leskovec (2016), node2vec, arXiv:1607.00653; Perozzi et al. (2014), DeepWalk,
    arXiv:1403.6652.
    """
    if not (p > 0 and q > 0):
        raise ValueError(f"p and q must be positive, got {p} and {q}")
    generator = np.random.default_rng(seed)
    source, target = graph.edge_index.cpu().numpy()
    weight = np.ones(len(source)) if graph.edge_weight is None else graph.edge_weight.numpy()
    order = np.lexsort((target, source))
    ends, weight = target[order], weight[order].astype(float)
    starts = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=graph.num_nodes))])
    steps = np.empty((walks * graph.num_nodes, length), np.int64)
    for row in range(len(steps)):
        node, before = row % graph.num_nodes, -1
        for t in range(length):
            steps[row, t] = node
            onward = slice(starts[node], starts[node + 1])
            if onward.start == onward.stop:
                continue
            odds = weight[onward]
            if before >= 0 and not p == q == 1:
                known = ends[starts[before] : starts[before + 1]]
                to = ends[onward]
                bias = np.where(np.isin(to, known), 1.0, 1 / q)
                odds = odds * np.where(to == before, 1 / p, bias)
            cumulative = np.cumsum(odds)
            choice = np.searchsorted(cumulative, generator.random() * cumulative[-1], "right")
            before, node = node, int(ends[onward][choice])
    return torch.from_numpy(steps)


class NodeEmbedding(nn.Module):
    r"""Vectors of nodes by skip-gram with negative sampling over random walks.

    $$L = -\log \sigma(z_u^\top c_v) - \sum_{k=1}^{K} \log \sigma(-z_u^\top c_{n_k}), \qquad
      v \text{ within a window of } u$$

    Args:
        window: nodes before and after that count as context.
        negatives: $K$, drawn by the walks' frequencies to the power 3/4.

    Source: Perozzi et al. (2014), DeepWalk, arXiv:1403.6652; Mikolov et al. (2013),
    arXiv:1310.4546.
    """

    def __init__(self, nodes: int, dim: int = 16, window: int = 5, negatives: int = 5) -> None:
        super().__init__()
        self.window, self.negatives = window, negatives
        self.vectors = nn.Embedding(nodes, dim)
        self.contexts = nn.Embedding(nodes, dim)
        nn.init.uniform_(self.vectors.weight, -0.5 / dim, 0.5 / dim)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, walks: Tensor) -> Tensor:
        """The vectors of nodes given by number."""
        return self.vectors(walks)

    @staticmethod
    def loss(model: Any, batch: Batch) -> Tensor:
        """The objective above, over all windows of a batch of walks."""
        walks = batch["input"]
        pairs = [
            torch.stack([walks[:, :-gap].flatten(), walks[:, gap:].flatten()])
            for gap in range(1, min(model.window, walks.shape[1] - 1) + 1)
        ]
        u, v = torch.cat([*pairs, *(pair.flip(0) for pair in pairs)], 1)
        count = torch.bincount(walks.flatten(), minlength=model.vectors.num_embeddings)
        drawn = torch.multinomial(count.float() ** 0.75, len(u) * model.negatives, replacement=True)
        z = model.vectors(u)
        near = logsigmoid((z * model.contexts(v)).sum(1))
        far = logsigmoid(-(z[:, None] * model.contexts(drawn.view(len(u), -1))).sum(2)).sum(1)
        return -(near + far).mean()


class NodesOfWalks(nn.Module):
    r"""Nodes that walks visit close together get like outputs, others unlike ones; no labels.

    $$L = -\log \sigma(z_u^\top z_v) - \sum_{k=1}^{Q} \log \sigma(-z_u^\top z_{n_k})$$

    with $z$ the outputs of a network on the graph, $v$ a node that a walk from $u$ visits and
    $n_k$ drawn by the degrees to the power 3/4. An objective for any network that answers about
    nodes; batches hold the graph as `input`.

    Args:
        length: nodes of a walk, its beginning included.
        walks: number of walks from each node; they are drawn once.
        pairs: so many (u, v) are drawn for each step.
        negatives: $Q$.

    Source: Hamilton, Ying & Leskovec (2017), arXiv:1706.02216, equation 1.
    """

    pairs: Tensor
    odds: Tensor

    def __init__(
        self,
        graph: Graph,
        length: int = 5,
        walks: int = 10,
        pairs: int = 512,
        negatives: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.drawn, self.negatives = pairs, negatives
        paths = random_walks(graph, length, walks=walks, seed=seed)
        first, later = paths[:, :1].expand(-1, length - 1), paths[:, 1:]
        both = torch.stack([first.flatten(), later.flatten()], 1)
        both = both[both[:, 0] != both[:, 1]]
        if not len(both):
            raise ValueError("no walk leaves its first node; the graph needs edges, length 2 nodes")
        degree = torch.bincount(graph.edge_index[0], minlength=graph.num_nodes)
        self.register_buffer("pairs", both)
        self.register_buffer("odds", degree.double() ** 0.75)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        graph: Any = batch["input"]
        z = model(graph.asking(None))
        u, v = self.pairs[torch.randint(len(self.pairs), (self.drawn,))].T
        far = torch.multinomial(self.odds, self.drawn * self.negatives, replacement=True)
        near = logsigmoid((z[u] * z[v]).sum(1))
        others = z[far.view(self.drawn, -1)]
        return -(near + logsigmoid(-(z[u, None] * others).sum(2)).sum(1)).mean()
