"""Networks for sequences: one answer for each, one for each step, or steps out of one input.

All take `length`, the real steps of each row of a padded batch, and go on from a `state` by
`unroll`; what lies beyond a row's length changes nothing.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers import masks
from neurarium.layers.attention import LuongAttention
from neurarium.layers.recurrent import Recurrent, State
from neurarium.networks._config import remember, tokens_of

__all__ = ["LanguageModel", "SequenceClassifier", "SequenceGenerator", "SequenceTagger"]

Length = Int[Tensor, " batch"] | None
Pool = Literal["last", "mean", "max", "attention", "luong"]


class _Reader(nn.Module):
    """Numbers or tokens, to a recurrent network's outputs."""

    reads = ("length",)

    def __init__(self, inputs: int, vocabulary: int | None, dropout: float, **options: Any) -> None:
        super().__init__()
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, inputs)
        self.drop = nn.Dropout(dropout)
        self.recurrent = Recurrent(input_size=inputs, dropout=dropout, **options)

    def states(
        self, x: Num[Tensor, "batch steps ..."], length: Length, state: list[State] | None
    ) -> tuple[Float[Tensor, "batch steps features"], list[State]]:
        if self.embedding is not None:
            x = self.drop(self.embedding(x))
        elif x.ndim == 2:  # one number a step
            x = x.unsqueeze(2)
        return self.recurrent(x.flatten(2), length, state)

    def forward(self, x: Num[Tensor, "batch steps ..."], length: Length = None) -> Tensor:
        return self.unroll(x, length)[0]

    def unroll(
        self,
        x: Num[Tensor, "batch steps ..."],
        length: Length = None,
        state: list[State] | None = None,
    ) -> tuple[Tensor, list[State]]:
        """The answer, and the state to go on from."""
        raise NotImplementedError


class SequenceClassifier(_Reader):
    r"""One answer for each sequence, from all that was read.

    $$\hat y = V\, \mathrm{pool}(H_1, \dots, H_n) + c$$

    Args:
        inputs: features of a step; of tokens the width of their embedding.
        outputs: classes, or numbers to predict.
        vocabulary: how many tokens there are, where the input is their numbers.
        cell: of `layers.Recurrent`, as are the next ones.
        pool: "last", where each direction has read all; "mean" or "max" over the real steps;
            "attention", a mean weighted by a learnt score of each step; or "luong", where the last
            state asks all others.

    Source: Graves (2012), Supervised Sequence Labelling with Recurrent Neural Networks, section
    2.3; attention: Yang et al. (2016), Hierarchical attention networks, NAACL; luong: Luong, Pham &
    Manning (2015), arXiv:1508.04025, as in philipperemy/keras-attention.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        vocabulary: int | None = None,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pool: Pool = "last",
    ) -> None:
        super().__init__(
            inputs,
            vocabulary,
            dropout,
            cell=cell,
            hidden_size=hidden,
            layers=layers,
            bidirectional=bidirectional,
        )
        if pool not in get_args(Pool):
            raise ValueError(f"pool must be one of {', '.join(get_args(Pool))}, got {pool!r}")
        remember(self, inputs=inputs, outputs=outputs, vocabulary=vocabulary, cell=cell)
        remember(self, hidden=hidden, layers=layers, bidirectional=bidirectional, dropout=dropout)
        remember(self, pool=pool)
        width = self.recurrent.output_size
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        if pool != "attention":
            self.score = nn.Sequential()
        self.ask = LuongAttention(width) if pool == "luong" else None
        self.out = nn.Linear(width, outputs)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        **arguments: Any,
    ) -> "SequenceClassifier":
        """Steps are the first axis, or the rows of an image of one channel, or words."""
        if "vocabulary" in arguments:
            return cls(arguments.pop("inputs", 64), outputs, **arguments)
        if categories:
            raise ValueError("a sequence of columns has no categories; encode them as numbers")
        shape = input_shape[1:] if len(input_shape) == 3 and input_shape[0] == 1 else input_shape
        return cls(shape[1] if len(shape) > 1 else 1, outputs, **arguments)

    def unroll(
        self,
        x: Num[Tensor, "batch steps ..."],
        length: Length = None,
        state: list[State] | None = None,
    ) -> tuple[Float[Tensor, "batch outputs"], list[State]]:
        if x.ndim == 4 and x.shape[1] == 1:  # an image, row by row
            x = x.squeeze(1)
        h, state = self.states(x, length, state)
        return self.out(self.drop(self._pooled(h, length))), state

    def _pooled(self, h: Tensor, length: Length) -> Tensor:
        if self.pool == "last":
            return self.recurrent.summary(h, length)
        if length is None:
            length = torch.full((len(h),), h.shape[1], device=h.device)
        real = masks.padding(length, h.shape[1]).unsqueeze(2)
        if self.ask is not None:
            last = self.recurrent.summary(h, length).unsqueeze(1)
            return self.ask(last, h, real.squeeze(2))[0].squeeze(1)
        if self.pool == "max":  # an empty row's is 0
            lowest = torch.finfo(h.dtype).min
            return torch.where(real.any(1), h.masked_fill(~real, lowest).amax(1), 0)
        if self.pool == "mean":  # outputs beyond the length are 0
            return h.sum(1) / length.clamp(min=1).unsqueeze(1)
        score = self.score(h)  # of half precision under autocast, whatever that of h
        score = score.masked_fill(~real, torch.finfo(score.dtype).min)
        return (torch.where(real, score.softmax(1), 0) * h).sum(1)


class SequenceTagger(_Reader):
    r"""One answer for each step, from what was read so far, or in both directions from all.

    $$\hat y_t = V H_t + c$$

    Args:
        inputs: features of a step; of tokens the width of their embedding.
        outputs: classes, or numbers to predict.
        vocabulary: how many tokens there are, where the input is their numbers.

    Source: Elman (1990), Finding structure in time, Cognitive Science 14(2); in both directions:
    Graves & Schmidhuber (2005), Framewise phoneme classification, Neural Networks 18(5-6).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        vocabulary: int | None = None,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            inputs,
            vocabulary,
            dropout,
            cell=cell,
            hidden_size=hidden,
            layers=layers,
            bidirectional=bidirectional,
        )
        remember(self, inputs=inputs, outputs=outputs, vocabulary=vocabulary, cell=cell)
        remember(self, hidden=hidden, layers=layers, bidirectional=bidirectional, dropout=dropout)
        self.out = nn.Linear(self.recurrent.output_size, outputs)

    def unroll(
        self,
        x: Num[Tensor, "batch steps ..."],
        length: Length = None,
        state: list[State] | None = None,
    ) -> tuple[Float[Tensor, "batch steps outputs"], list[State]]:
        h, state = self.states(x, length, state)
        return self.out(self.drop(h)), state


class LanguageModel(_Reader):
    r"""The next token at each step, from those before.

    $$p(x_{t+1} \mid x_{\le t}) = \operatorname{softmax}(V H_t + c)$$

    Args:
        vocabulary: how many tokens there are.
        width: of their vectors.
        tie: whether $V$ is the embedding itself, through a linear map where widths differ.

    Source: Mikolov et al. (2010), Recurrent neural network based language model, Interspeech;
    tied: Press & Wolf (2017), arXiv:1608.05859; by characters: Karpathy (2015), The unreasonable
    effectiveness of recurrent neural networks.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 128,
        hidden: int = 256,
        cell: str = "lstm",
        layers: int = 1,
        dropout: float = 0.0,
        tie: bool = False,
        bidirectional: bool = False,
    ) -> None:
        if bidirectional:
            raise ValueError(
                "a language model that reads backwards has seen what it should predict; take "
                "bidirectional=False, or a SequenceTagger to mark each step"
            )
        super().__init__(width, vocabulary, dropout, cell=cell, hidden_size=hidden, layers=layers)
        remember(self, vocabulary=vocabulary, width=width, hidden=hidden, cell=cell)
        remember(self, layers=layers, dropout=dropout, tie=tie, bidirectional=False)
        wide = self.recurrent.output_size
        narrow = tie and wide != width
        self.narrow = nn.Linear(wide, width) if narrow else nn.Identity()
        self.out = nn.Linear(width if narrow else wide, vocabulary)
        if tie:
            assert self.embedding is not None
            nn.init.normal_(self.embedding.weight, std=width**-0.5)
            self.out.weight = self.embedding.weight

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        *,
        vocab: int | None = None,
        width: int = 128,
        hidden: int = 256,
        cell: str = "lstm",
        layers: int = 1,
        dropout: float = 0.0,
        tie: bool = False,
    ) -> "LanguageModel":
        """A model of the tokens of a text."""
        return cls(tokens_of(vocab, cls), width, hidden, cell, layers, dropout, tie)

    def unroll(
        self,
        x: Num[Tensor, "batch steps ..."],
        length: Length = None,
        state: list[State] | None = None,
    ) -> tuple[Float[Tensor, "batch steps vocabulary"], list[State]]:
        h, state = self.states(x, length, state)
        return self.out(self.narrow(self.drop(h))), state


class SequenceGenerator(nn.Module):
    r"""Many steps out of one input, each from the answer before.

    $$H_0 = \tanh(A x + a), \qquad H_t = \mathrm{cell}(y_{t-1}, H_{t-1}), \qquad
      y_t = V H_t + c$$

    In training $y_{t-1}$ is the true one (teacher forcing), or with probability 1 - `forcing` its
    own, drawn for each row and step; in evaluation always its own. Of classes it is the likeliest.

    Args:
        inputs: features of the one input.
        outputs: numbers of a step, or with `classes` how many classes there are.
        steps: how many to make.
        classes: whether a step is a class, fed back as a one-hot vector.

    Source: Karpathy & Fei-Fei (2015), Deep visual-semantic alignments, arXiv:1412.2306; teacher
    forcing: Williams & Zipser (1989), Neural Computation 1(2); scheduled: Bengio, Vinyals, Jaitly &
    Shazeer (2015), arXiv:1506.03099.
    """

    reads = ("target",)
    outputs: int
    steps: int
    classes: bool
    step: Any

    def __init__(
        self,
        inputs: int,
        outputs: int,
        steps: int,
        cell: str = "lstm",
        hidden: int = 128,
        classes: bool = False,
    ) -> None:
        super().__init__()
        remember(self, inputs=inputs, outputs=outputs, steps=steps, cell=cell, hidden=hidden)
        remember(self, classes=classes)
        self.forcing = 1.0
        self.step = next(Recurrent(cell, outputs, hidden, fused=False).cells())
        self.start = nn.Linear(inputs, sum(self.step.widths))
        self.out = nn.Linear(self.step.widths[0], outputs)

    def forward(
        self, x: Float[Tensor, "batch ..."], target: Tensor | None = None
    ) -> Float[Tensor, "batch steps outputs"]:
        """All steps.

        Args:
            target: the true steps, which training needs unless `forcing` is 0.
        """
        if self.training and target is None and self.forcing > 0:
            raise ValueError("training with teacher forcing needs target, the true steps")
        state = torch.tanh(self.start(x.flatten(1))).split(self.step.widths, dim=1)
        before = x.new_zeros(len(x), self.outputs)
        forced = None if target is None or not self.training else self._fed_back(target)
        answers = []
        for t in range(self.steps):
            state = self.step.step(self.step.project(before), tuple(state))
            answers.append(self.out(state[0]))
            before = self._chosen(answers[-1].detach())
            if forced is not None:
                true = torch.rand(len(x), 1, device=x.device) < self.forcing
                before = torch.where(true, forced[:, t], before)
        return torch.stack(answers, dim=1)

    def _chosen(self, answer: Tensor) -> Tensor:
        return self._fed_back(answer.argmax(-1)) if self.classes else answer

    def _fed_back(self, steps: Tensor) -> Tensor:
        dtype = self.out.weight.dtype
        return F.one_hot(steps, self.outputs).to(dtype) if self.classes else steps.to(dtype)
