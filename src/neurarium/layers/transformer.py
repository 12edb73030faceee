"""Blocks of attention and feed-forward layers, and stacks of them: encoder and decoder."""

from typing import Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium._names import resolve
from neurarium.layers import masks
from neurarium.layers.attention import MultiHead
from neurarium.layers.feedforward import FeedForward, MoE, SwiGLU
from neurarium.layers.positions import (
    ALiBi,
    LearnedPositions,
    RelativeShaw,
    Rotary,
    Sinusoidal,
)

__all__ = ["Block", "Decoder", "Encoder"]

Rows = Float[Tensor, "batch tokens dim"]
Memory = Float[Tensor, "batch others dim"]
Mask = Bool[Tensor, "..."] | Literal["causal"] | None
State = tuple[Any, ...]

_FEEDFORWARDS = {"FeedForward": FeedForward, "SwiGLU": SwiGLU, "MoE": MoE}
_NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
POSITIONS = ("sinusoidal", "learned", "rotary", "alibi", "shaw", "none")


class Block(nn.Module):
    r"""Self-attention, attention to a memory if there is one, and a feed-forward layer.

    $$\text{pre: } x \leftarrow x + f(\operatorname{LN}(x)), \qquad
      \text{post: } x \leftarrow \operatorname{LN}(x + f(x))$$

    Args:
        cross: whether it also attends to a memory.
        placement: "pre" trains without warm-up (Xiong et al., arXiv:2002.04745); "post" is the
            paper's.
        norm: "layer" or "rms" (Zhang & Sennrich, arXiv:1910.07467).
        feedforward: "feed_forward", "swi_glu" or "moe:experts=8,top=2".
        positions: those that act inside attention: "rotary", "alibi" or "shaw".
        window: how far back causal steps see.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        *,
        cross: bool = False,
        dropout: float = 0.0,
        placement: Literal["pre", "post"] = "pre",
        norm: Literal["layer", "rms"] = "layer",
        activation: Any = "relu",
        feedforward: str = "feed_forward",
        positions: str = "none",
        kv_heads: int | None = None,
        bias: bool = True,
        eps: float = 1e-5,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if placement not in ("pre", "post"):
            raise ValueError(f"placement must be 'pre' or 'post', got {placement!r}")
        self.placement, self.window = placement, window
        make_norm = resolve(norm, _NORMS, "norm")
        arguments: dict[str, Any] = {"kv_heads": kv_heads, "bias": bias, "dropout": dropout}
        self.attention = MultiHead(dim, heads, **arguments, **_inside(positions, dim, heads))
        self.norm_attention = make_norm(dim, eps=eps)
        self.cross = MultiHead(dim, heads, **arguments) if cross else None
        self.norm_cross = make_norm(dim, eps=eps) if cross else None
        self.feedforward = _feedforward(
            feedforward, dim, hidden or 4 * dim, activation, dropout, bias
        )
        self.norm_feedforward = make_norm(dim, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Rows,
        memory: Memory | None = None,
        mask: Mask = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
    ) -> Rows:
        x = self._around(self.norm_attention, x, lambda h: self.attention(h, mask=mask))
        if self.cross is not None:
            cross = self.cross
            x = self._around(self.norm_cross, x, lambda h: cross(h, memory, memory_mask))
        return self._around(self.norm_feedforward, x, self.feedforward)

    def step(
        self,
        x: Rows,
        past: State | None = None,
        memory: tuple[Tensor, Tensor] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Rows, State]:
        """The next tokens, given what an earlier step kept of those before.

        Args:
            memory: what `cross.remember` made of the memory.
        """
        kept: list[State] = []

        def attend(h: Tensor) -> Tensor:
            out, new = self.attention.step(h, past, self.window)
            kept.append(new)
            return out

        x = self._around(self.norm_attention, x, attend)
        if self.cross is not None:
            assert memory is not None
            cross, remembered = self.cross, memory
            x = self._around(self.norm_cross, x, lambda h: cross.recall(h, remembered, memory_mask))
        return self._around(self.norm_feedforward, x, self.feedforward), kept[0]

    def _around(self, norm: Any, x: Tensor, function: Any) -> Tensor:
        if self.placement == "pre":
            return x + self.dropout(function(norm(x)))
        return norm(x + self.dropout(function(x)))


def _inside(positions: str, dim: int, heads: int) -> dict[str, Any]:
    """The parts of attention that know places."""
    name, _, options = positions.partition(":")
    size = dim // heads
    if name == "rotary":
        return {"rotary": Rotary(size, base=float(options or 10_000.0))}
    if name == "alibi":
        return {"score": ALiBi(heads)}
    if name == "shaw":
        return {"score": RelativeShaw(size, int(options or 16))}
    if name not in POSITIONS:
        raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}")
    return {}


def added_positions(positions: str, context: int | None, dim: int) -> nn.Module | None:
    """What is added to the embeddings."""
    if positions == "sinusoidal":
        return Sinusoidal(dim)
    if positions == "learned":
        if context is None:
            raise ValueError("learned positions need to know their number; pass context")
        return LearnedPositions(context, dim)
    return None


def _feedforward(
    spec: str, dim: int, hidden: int, activation: Any, dropout: float, bias: bool
) -> nn.Module:
    make = resolve(spec, _FEEDFORWARDS, "feed-forward layer")
    if getattr(make, "func", make) is SwiGLU:
        return make(dim, hidden, dropout=dropout, bias=bias)
    return make(dim, hidden, activation=activation, dropout=dropout, bias=bias)


class Encoder(nn.Module):
    r"""A stack of blocks in which every token sees every other.

    $$h^{l+1} = \operatorname{Block}_l(h^l), \qquad l = 1, \dots, L$$

    Pre-norm stacks end in one more normalization; post-norm ones already have.

    Args:
        block: arguments of each `Block`.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(self, dim: int, heads: int, layers: int, **block: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, **block) for _ in range(layers))
        self.norm = _last_norm(dim, block)

    def forward(self, x: Rows, mask: Mask = None) -> Rows:
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.norm(x)


class Decoder(nn.Module):
    r"""A stack of causal blocks, which may attend to an encoder's memory.

    $$h^{l+1} = \operatorname{Block}_l(h^l, m), \qquad
      \frac{\partial h_t}{\partial x_{t' > t}} = 0$$

    Args:
        cross: whether there is a memory.
        window: how far back each token sees; None is everything.
        block: arguments of each `Block`.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        cross: bool = False,
        window: int | None = None,
        **block: Any,
    ) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            Block(dim, heads, cross=cross, window=window, **block) for _ in range(layers)
        )
        self.norm = _last_norm(dim, block)

    def forward(
        self,
        x: Rows,
        memory: Memory | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
    ) -> Rows:
        seen: Mask = "causal"
        if self.window is not None:
            seen = masks.window(self.window, x.shape[1], device=x.device)
        if mask is not None:
            past = masks.causal(x.shape[1], device=x.device) if seen == "causal" else seen
            seen = masks.combine(past, mask)
        for block in self.blocks:
            x = block(x, memory, seen, memory_mask)
        return self.norm(x)

    def remember(self, memory: Memory) -> tuple[Any, ...]:
        """What `step` needs of the memory."""
        crosses: list[Any] = [block.cross for block in self.blocks]
        return tuple(cross.remember(memory) for cross in crosses)

    def step(
        self,
        x: Rows,
        past: State | None = None,
        memory: tuple[Any, ...] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Rows, State]:
        """The next tokens, given what an earlier step returned beside its output."""
        kept = []
        for number, block in enumerate(self.blocks):
            x, new = block.step(  # type: ignore[operator]
                x,
                None if past is None else past[number],
                None if memory is None else memory[number],
                memory_mask,
            )
            kept.append(new)
        return self.norm(x), tuple(kept)


def _last_norm(dim: int, block: dict[str, Any]) -> nn.Module:
    if block.get("placement", "pre") == "post":
        return nn.Identity()
    return resolve(block.get("norm", "layer"), _NORMS, "norm")(dim, eps=block.get("eps", 1e-5))
