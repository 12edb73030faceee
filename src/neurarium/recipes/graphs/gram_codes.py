"""Codes that are hardly ever seen, understood by what stands above them in the ontology."""

from typing import Any

import torch
from torch import Tensor

from neurarium.data import Data
from neurarium.graphs import OntologyAttention, VisitPredictor
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Choi et al. (2017), GRAM, arXiv:1611.07012, figure 3, on generated patients",
    figure="gain in accuracy@5 after visits of rare codes",
    expect=(0.1, None),
    minutes=0.5,
    quick={"patients": 300, "epochs": 12},
    quick_expect=(0.02, None),
)
def gram_codes(seed: int = 0, patients: int = 600, epochs: int = 30) -> dict[str, float]:
    """What comes next after a diagnosis that training has seen five times or less.

    The patients are generated, since the paper's are not public: a tree of 4 chapters, 16 groups
    and 320 codes; a group follows another with a chance of 0.8, and of the codes of a group the
    k-th has a share of k^-2. Each visit has two codes of one group. Accuracy@5 is the share of the
    next visit's codes among the five that are held likeliest. Both networks are trained alike, the
    flat one without the tree.
    """
    groups, each, visits = 16, 20, 6
    leaves = groups * each
    generator = torch.Generator().manual_seed(seed)
    follows = torch.randperm(groups, generator=generator)

    def drawn(count: int) -> Tensor:
        group = torch.randint(groups, (count,), generator=generator)
        shares = torch.arange(1, each + 1).float().pow(-2)
        found = torch.zeros(count, visits, leaves)
        for t in range(visits):
            for _ in range(2):
                code = torch.multinomial(shares, count, replacement=True, generator=generator)
                found[torch.arange(count), t, group * each + code] = 1
            stray = torch.rand(count, generator=generator) > 0.8
            other = torch.randint(groups, (count,), generator=generator)
            group = torch.where(stray, other, follows[group])
        return found

    train, val, test = (drawn(count) for count in (patients, 200, 6000))
    seen = train.sum((0, 1))
    data = Data(*({"input": part[:, :-1], "target": part[:, 1:]} for part in (train, val)))
    # Leaves first, then 16 groups, 4 chapters and the root.
    parents = [[leaves + leaf // each] for leaf in range(leaves)]
    parents += [[leaves + groups + group // 4] for group in range(groups)]
    parents += [[leaves + groups + 4]] * 4

    def accuracy(codes: Any) -> tuple[float, float]:
        torch.manual_seed(seed)
        model = VisitPredictor(codes(), 32, 32, leaves)
        rule = Backprop("adam", lr=5e-3)
        how: dict[str, Any] = {"batch_size": 50, "seed": seed, "verbose": False}
        fit(model, data, VisitPredictor.loss, rule, epochs=epochs, **how)
        model.eval()
        with torch.no_grad():
            best = model(test[:, :-1]).topk(5).indices
        after = test[:, 1:]
        hits = after.gather(2, best).sum(2) / after.sum(2)
        rarest = torch.where(test[:, :-1] > 0, seen, torch.inf).amin(2)
        commonest = torch.where(test[:, :-1] > 0, seen, 0).amax(2)
        return float(hits[commonest <= 5].mean()), float(hits[rarest > 5].mean())

    rare, common = accuracy(lambda: OntologyAttention(parents, 32, 16))
    flat_rare, flat_common = accuracy(lambda: leaves)
    return {
        "gain": rare - flat_rare,
        "rare codes, ontology": rare,
        "rare codes, flat": flat_rare,
        "others, ontology": common,
        "others, flat": flat_common,
    }
