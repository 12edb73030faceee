"""Half the units of a layer are enough, where the right ones stay."""

import torch
from torch import Tensor, nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, OmnipresentSupervision, Rule, discriminant_scores
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Kung, Hou & Liu (2019), ICASSP",
    figure="test accuracy gained over ten units by chance",
    expect=(0.02, None),
    minutes=0.3,
    quick={"epochs": 6, "again": 2},
    quick_expect=(0.02, None),
)
def di_trimming_digits(seed: int = 0, epochs: int = 20, again: int = 10) -> dict[str, float]:
    """A network 64-100-10 that learns under omnipresent supervision and then loses, five at a time,
    the hidden units whose removal costs least discriminant information; afterwards the output layer
    alone learns on.

    The source has larger networks and trains all layers between rounds of trimming. Half the units
    lose nothing, whichever they are: 0 to half a point. With ten left the choice tells, though
    that by the length of the outgoing weights is as good here as that by information.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(model: MLP, rule: Rule, epochs: int) -> float:
        run = fit(
            model, digits, supervised("cross_entropy"), rule, epochs=epochs, batch_size=50,
            seed=seed, verbose=False, precision="32",
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    torch.manual_seed(seed)
    model = MLP([64, 100, 10])
    whole = accuracy(model, OmnipresentSupervision(lr=0.05, weight=0.3), epochs)
    hidden, last = _linear(model)

    def with_units(kept: Tensor) -> float:
        small = MLP([64, len(kept), 10])
        first, top = _linear(small)
        with torch.no_grad():
            first.weight.copy_(hidden.weight[kept])
            first.bias.copy_(hidden.bias[kept])
            top.weight.copy_(last.weight[:, kept])
            top.bias.copy_(last.bias)
        first.requires_grad_(False)
        return accuracy(small, Backprop("sgd:momentum=0.9", lr=0.05), again)

    train = digits.prepare(next(digits.train.batches(len(digits.train))))
    with torch.no_grad():
        h = model.layers[:2](train["input"].flatten(1))
    informed = {100: torch.arange(100)}
    for size in range(95, 5, -5):
        kept = informed[size + 5]
        ranked = discriminant_scores(h[:, kept], train["target"]).argsort(descending=True)
        informed[size] = kept[ranked[:size]]
    longest = last.weight.norm(dim=0).argsort(descending=True)
    chance = [torch.randperm(100) for _ in range(3)]
    few = with_units(informed[10])
    few_by_chance = sum(with_units(units[:10]) for units in chance) / 3
    return {
        "gained with 10 units": few - few_by_chance,
        "all 100": whole,
        "50 by information": with_units(informed[50]),
        "50 by chance": sum(with_units(units[:50]) for units in chance) / 3,
        "10 by information": few,
        "10 by weight": with_units(longest[:10]),
        "10 by chance": few_by_chance,
    }


def _linear(model: MLP) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]
