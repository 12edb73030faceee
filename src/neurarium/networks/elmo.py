"""ELMo: two language models, one for each direction, whose layers describe words in context."""

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.networks._config import remember

__all__ = ["ELMo"]

Words = Int[Tensor, "batch words *characters"]
Length = Int[Tensor, " batch"] | None


class CharacterCNN(nn.Module):
    """A word from its characters: filters of several widths, the largest answer of each, highways.

    Character 0 fills words up, and counts for nothing.
    """

    def __init__(
        self,
        characters: int,
        features: int,
        width: int = 16,
        filters: Sequence[Sequence[int]] = ((1, 32), (2, 32), (3, 64), (4, 128)),
        highways: int = 2,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width, padding_idx=0)
        self.filters = nn.ModuleList(nn.Conv1d(width, count, size) for size, count in filters)
        total = sum(count for _, count in filters)
        self.highways = nn.ModuleList(nn.Linear(total, 2 * total) for _ in range(highways))
        for highway in self.highways:  # open at first: what comes in goes on
            nn.init.constant_(highway.bias[total:], 1.0)  # type: ignore[index]
        self.out = nn.Linear(total, features)

    def forward(
        self, words: Int[Tensor, "batch words characters"]
    ) -> Float[Tensor, "batch words features"]:
        x = self.embedding(words.flatten(0, 1)).mT
        widest = max(f.kernel_size[0] for f in self.filters)  # type: ignore[index]
        x = F.pad(x, (0, max(0, widest - x.shape[-1])))
        x = torch.cat([f(x).amax(-1) for f in self.filters], -1).relu()
        for highway in self.highways:
            new, gate = highway(x).chunk(2, -1)
            x = torch.lerp(new.relu(), x, gate.sigmoid())
        return self.out(x).unflatten(0, words.shape[:2])


class ELMo(nn.Module):
    r"""A forward and a backward language model that share their words and their softmax.

    $$\max \sum_k \log p(t_k \mid t_{<k}) + \log p(t_k \mid t_{>k}), \qquad
      h_{k,0} = [x_k; x_k], \quad h_{k,j} = [\overrightarrow{h}_{k,j}; \overleftarrow{h}_{k,j}]$$

    Neither sees what it should guess: these are two networks, not one that reads both ways. From
    the second on a layer adds its input. `encode` gives all layers, which `layers.ScalarMix` mixes
    for another network; `objectives.bidirectional_language_model` trains this one. A sentence
    should begin and end with tokens of its own, from which its first and last word are guessed.

    Args:
        vocab: number of words that the softmax knows.
        characters: how many characters there are, where words come as rows of their numbers, 0
            filling them up; None where words come as numbers themselves.
        filters: width and number of each kind of filter over characters. The paper's are 2048 in
            all, of widths 1 to 7.
        hidden: memory cells of each layer and direction.
        projection: what a layer tells, to the next one and to its own next step.

    Source: Peters et al. (2018), Deep contextualized word representations, arXiv:1802.05365;
    characters: Kim et al. (2016), Character-aware neural language models, arXiv:1508.06615.
    """

    reads = ("length",)

    def __init__(
        self,
        vocab: int,
        characters: int | None = None,
        filters: Sequence[Sequence[int]] = ((1, 32), (2, 32), (3, 64), (4, 128)),
        layers: int = 2,
        hidden: int = 4096,
        projection: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.words: nn.Module = (
            nn.Embedding(vocab, projection)
            if characters is None
            else CharacterCNN(characters, projection, filters=filters)
        )
        self.onward, self.backward = (
            nn.ModuleList(
                nn.LSTM(projection, hidden, batch_first=True, proj_size=projection)
                for _ in range(layers)
            )
            for _ in range(2)
        )
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(projection, vocab)

    def encode(
        self, words: Words, length: Length = None
    ) -> Float[Tensor, "layers batch words features"]:
        """Every layer's vectors of each word, the words' own first, both directions side by side.

        Args:
            length: real words of each row.
        """
        x = self.words(words.long())
        ahead = self._run(self.onward, x)
        back = [_turned(h, length) for h in self._run(self.backward, _turned(x, length))]
        pairs = zip([x, *ahead], [x, *back], strict=True)
        return torch.stack([torch.cat(pair, -1) for pair in pairs])

    def forward(
        self, words: Words, length: Length = None
    ) -> Float[Tensor, "two batch words vocab"]:
        """Logits of the word after each, and of the word before each."""
        ahead, back = self.encode(words, length)[-1].chunk(2, -1)
        return self.head(self.drop(torch.stack([ahead, back])))

    def _run(self, layers: nn.ModuleList, x: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = []
        with warnings.catch_warnings():  # that oneDNN has no projections is nobody's business
            warnings.filterwarnings("ignore", "LSTM with projections", UserWarning)
            for layer in layers:
                h, _ = layer(self.drop(x))
                x = h + x if outputs else h
                outputs.append(x)
        return outputs


def _turned(x: Tensor, length: Tensor | None) -> Tensor:
    """Each row from its last real step to its first; what fills it up stays."""
    if length is None:
        return x.flip(1)
    place = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    last = length[:, None] - 1
    place = torch.where(place <= last, last - place, place)
    return x.gather(1, place[..., None].expand_as(x))
