"""Feedback alignment on the 8 x 8 digits, beside backpropagation and frozen hidden layers."""

from typing import Any

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, FeedbackAlignment, Rule
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Lillicrap et al. (2016), Nature Communications 7, on the UCI digits",
    figure="test accuracy, feedback alignment",
    expect=(0.962, None),
    minutes=0.4,
    quick={"epochs": 4},
    quick_expect=(0.9, None),
)
def feedback_alignment_digits(seed: int = 0, epochs: int = 60) -> dict[str, float]:
    """A 64-100-100-10 tanh network, whose errors return by other matrices than its weights'.

    The references are backpropagation above and, below, the same network with its random hidden
    layers frozen: what is gained over them is what the errors taught. The angle between the last
    layer's weights and its fixed feedback falls, though nothing asks for it; the angle between a
    hidden layer's update and the gradient is why it learns.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    momentum: dict[str, Any] = {"optimizer": "sgd:momentum=0.9", "lr": 0.05}

    def trained(rule: Rule, frozen: bool = False) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 100, 100, 10], activation="tanh")
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        for layer in layers[:-1]:
            layer.requires_grad_(not frozen)
        run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    rules = {
        mode: FeedbackAlignment(**momentum, mode=mode, seed=seed)
        for mode in ("fa", "dfa", "sign", "usf", "mirror", "kp")
    }
    table = {mode: trained(rule) for mode, rule in rules.items()}
    first, *_, last = (name for name, _ in rules["fa"].layers.items())
    return {
        **table,
        "backpropagation": trained(Backprop(**momentum)),
        "hidden layers frozen": trained(Backprop(**momentum), frozen=True),
        "degrees between last weights and feedback": rules["fa"].angles()[last],
        "cosine of first update and gradient": rules["fa"].alignment(digits.example(200))[first],
    }
