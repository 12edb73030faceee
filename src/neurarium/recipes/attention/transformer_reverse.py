"""An encoder-decoder transformer that reverses sequences."""

import torch

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import Transformer
from neurarium.objectives import per_step
from neurarium.recipes.reproduction import recipe
from neurarium.text.decode import greedy
from neurarium.training import fit


@recipe(
    source="Vaswani et al. (2017), arXiv:1706.03762 (the architecture; the task is a usual test)",
    figure="sequences of 10 reversed without an error",
    expect=(0.97, None),
    minutes=2,
    quick={"steps": 200, "dim": 32, "layers": 1, "symbols": 5, "length": 4},
    quick_expect=(0.9, None),
)
def transformer_reverse(
    seed: int = 0,
    steps: int = 1200,
    dim: int = 64,
    layers: int = 2,
    symbols: int = 20,
    length: int = 10,
) -> dict[str, float]:
    """10 symbols out of 20, decoded greedily from the encoder's memory alone.

    Pre-norm and no dropout, Adam with the 1cycle schedule: a post-norm stack would want a longer
    warm-up. The second figure is the share of single symbols that are right.
    """
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(1, symbols + 1, (64 * steps + 500, length), generator=generator)
    target = source.flip(1)
    previous = torch.cat([torch.zeros(len(source), 1, dtype=torch.long), target[:, :-1]], 1)
    rows = {"input": source, "previous": previous, "target": target}
    train = {name: value[:-500] for name, value in rows.items()}
    model = Transformer(
        symbols + 1, dim, heads=4, layers=layers, hidden=4 * dim, dropout=0.0, placement="pre"
    )
    rule = Backprop("adam", lr=2e-3, schedule="one_cycle", max_grad_norm=1.0)
    fit(model, Data(train), per_step(), rule, epochs=1, batch_size=64, seed=seed, verbose=False)
    model.eval()
    state = model.start(source[-500:])
    found = greedy(model.step, torch.zeros(500, 1, dtype=torch.long), length, state=state)
    right = found == target[-500:]
    return {"exact": right.all(1).float().mean().item(), "symbols": right.float().mean().item()}
