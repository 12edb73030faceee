"""The checks behind `diagnose`: each gives a verdict in words, and the figure it rests on."""

import math
from dataclasses import dataclass

import torch

from neurarium.metrics import wilson
from neurarium.training.diagnostics.evidence import Evidence
from neurarium.training.diagnostics.label_noise import confident_joint, suspicious_labels
from neurarium.training.diagnostics.units import LayerUnits

__all__ = ["CHECKS", "Check"]

# Limits, each met by every healthy run that was tried and passed by every planted fault.
UNSCALED, DEAD, SATURATED = 5.0, 0.5, 0.5
UNEVEN = 30.0  # a column's size over the median column's
ONE_CLASS, SPREAD = 0.99, 0.01
GAP_ACCURACY, GAP_LOSS, SIGNIFICANT = 0.1, 0.25, 3.0
UNLEARNT, MARGIN, LEARNT = 0.1, 0.1, 0.9
NOISE, DISCERNMENT, WRONG, KAPPA = 0.03, 0.75, 10, 0.3


@dataclass(frozen=True)
class Check:
    """One question asked of a run, and the answer.

    Args:
        name: "dead units".
        found: whether the fault is there; None where it could not be checked.
        figure: what was measured, in words.
        value: the number behind the verdict.
        limit: what it was compared with.
        advice: what to do.
        rows: numbers of the rows in question, the worst first.
        split: the split that they are of: "val" or "test".
    """

    name: str
    found: bool | None
    figure: str
    value: float = math.nan
    limit: float = math.nan
    advice: str = ""
    rows: tuple[int, ...] = ()
    split: str = ""


def inputs(evidence: Evidence) -> Check:
    """Whether the first layer's inputs are of the order of 1, and of each other."""
    name = "inputs not scaled"
    layer = evidence.first_layer
    if layer is None or not layer.input.count:
        return Check(name, None, "no layer with weights was found")
    if layer.normalized:
        return Check(name, False, "a normalization comes before the first layer")
    columns = layer.input.column_rms
    alive = columns[columns > 0]
    if not len(alive):
        return Check(name, True, "all inputs are 0", 0.0, UNSCALED, "look at how they are read")
    size = layer.input.rms
    uneven = float(columns.max() / alive.median())
    if size > UNSCALED or size < 1 / (10 * UNSCALED):
        figure = f"the inputs' root mean square is {size:.3g}"
        advice = (
            "give the data a transform that brings them to about 1, such as data.Standardize "
            "or data.MinMax"
        )
        return Check(name, True, figure, size, UNSCALED, advice)
    figure = f"the largest column is {uneven:.3g} times the median one"
    advice = "standardize each column (data.Standardize.fit)"
    found = uneven > UNEVEN
    return Check(name, found, figure, uneven, UNEVEN, advice)


def vanishing(evidence: Evidence) -> Check:
    """Whether the error signal dies out on its way to the first layer."""
    return _flow(evidence, "vanishing gradients", "vanishing")


def exploding(evidence: Evidence) -> Check:
    """Whether the error signal grows on its way to the first layer."""
    return _flow(evidence, "exploding gradients", "exploding")


def _flow(evidence: Evidence, name: str, verdict: str) -> Check:
    flow = evidence.flow
    if flow is None:
        return Check(name, None, "the gradients could not be measured, or are not finite")
    if math.isnan(flow.reach):
        return Check(name, None, "there are no two layers to compare, or no error signal at all")
    figure = (
        f"the first of {len(flow.layers)} layers gets {flow.reach:.2g} times the last layer's "
        f"error signal, a factor of {flow.rate:.2g} a layer"
    )
    if flow.reach == 0 and any(u.dead_share == 1 for u in _hidden(evidence)):
        return Check(name, False, "a layer of dead units stops the error signal", 0.0)
    limit = 1e-3 if verdict == "vanishing" else 1e3
    advice = {
        "vanishing": "use rectifiers with init='kaiming', a norm between layers, residual "
        "connections, or fewer layers",
        "exploding": "start from smaller weights (init='kaiming' or 'xavier'), add a norm between "
        "layers, or clip with max_grad_norm=1",
    }[verdict]
    return Check(name, flow.verdict() == verdict, figure, flow.reach, limit, advice)


def dead(evidence: Evidence) -> Check:
    """Whether many hidden units of a layer pass no gradient on any row."""
    name = "dead units"
    hidden = _hidden(evidence)
    if not hidden:
        return Check(name, None, "no activation between two layers was found")
    worst = max(hidden, key=lambda layer: layer.dead_share)
    figure = (
        f"{len(worst.dead)} of {worst.units} units of {worst.name} pass no gradient on any of "
        f"{evidence.train.rows:,} training rows"
    )
    advice = "lower the learning rate, start with init='kaiming', or use leaky_relu"
    return Check(name, worst.dead_share > DEAD, figure, worst.dead_share, DEAD, advice)


def _hidden(evidence: Evidence) -> list[LayerUnits]:
    units = evidence.units
    return [] if units is None else [layer for layer in units.layers if layer.hidden]


def saturated(evidence: Evidence) -> Check:
    """Whether hidden units that flatten on both sides are mostly there."""
    name = "saturated units"
    layers = [layer for layer in _hidden(evidence) if layer.squashing]
    if not layers:
        return Check(name, None, "no hidden activation flattens on both sides")
    worst = max(layers, key=lambda layer: layer.saturation)
    figure = f"{worst.saturation:.0%} of the slopes of {worst.name} are below 0.01"
    advice = (
        "start from smaller weights (init='xavier'), scale the inputs, lower the learning rate, or "
        "put a norm before the activation"
    )
    return Check(name, worst.saturation > SATURATED, figure, worst.saturation, SATURATED, advice)


def one_answer(evidence: Evidence) -> Check:
    """Whether the network says the same of every row."""
    name = "one answer for everything"
    output, target = evidence.train.output, evidence.train.target
    if output is None or target is None:
        return Check(name, None, "the model's outputs are not a tensor of one row each")
    advice = (
        "look for the fault named above; else check that inputs and targets belong together, "
        "lower the learning rate, and give rare classes more weight"
    )
    if not torch.isfinite(output).all():
        return Check(name, True, "the outputs are not finite", math.nan, math.nan, advice)
    if evidence.classification:
        counts = torch.bincount(output.argmax(1), minlength=output.shape[1])
        share = float(counts.max()) / len(output)
        own = float((target == counts.argmax()).float().mean())
        called = evidence.data.classes
        word = called[int(counts.argmax())] if called else str(int(counts.argmax()))
        figure = f"{share:.1%} of the training rows are called {word}, {own:.1%} are"
        return Check(name, share >= ONE_CLASS > own, figure, share, ONE_CLASS, advice)
    if evidence.data.task != "regression":
        return Check(name, None, "the task has no single answer for each row")
    spread = float(output.std(0).mean() / target.float().std(0).mean().clamp(min=1e-12))
    figure = f"the outputs vary {spread:.2g} times as much as the targets"
    return Check(name, spread < SPREAD, figure, spread, SPREAD, advice)


def rate_too_high(evidence: Evidence) -> Check:
    """Whether a short training with a lower rate ends better than the real one."""
    return _rate(evidence, "learning rate too high", (0.1, 0.01))


def rate_too_low(evidence: Evidence) -> Check:
    """Whether a short training with a higher rate ends better than the real one."""
    return _rate(evidence, "learning rate too low", (10.0, 100.0, 1000.0))


def _rate(evidence: Evidence, name: str, factors: tuple[float, ...]) -> Check:
    explained, constant = evidence.explained, evidence.constant_loss
    if explained is None or constant is None:
        return Check(name, None, "the loss of a constant answer is unknown here")
    own = evidence.train.loss
    if explained > LEARNT:
        figure = f"the training loss is down to {own:.3g} from a constant answer's {constant:.3g}"
        return Check(name, False, figure, 1 - explained, 1 - LEARNT)
    if evidence.rule is None:
        return Check(name, None, "the rule is unknown, or has no rate to vary; pass rule=")
    if not evidence.trials:
        return Check(name, None, "no trials were asked for")
    trials = evidence.trials
    # What fresh weights gain at the old rate is no merit of the new one.
    rivals = [evidence.losses, trials[1.0].losses]
    gains = {factor: trial.gain(rivals) for factor, trial in trials.items()}
    best, side = max(gains, key=gains.__getitem__), max(factors, key=gains.__getitem__)
    trial, gain = trials[side], gains[side] / constant
    lr, loss = trial.rehearsal.lr, trial.losses[0]
    ended = f"end at a training loss of {loss:.3g}" if loss < 1e30 else "diverge"
    figure = (
        f"from fresh weights, {trial.rehearsal.steps} steps at {lr:.2g} {ended}; "
        f"{f'{evidence.steps:,} steps' if evidence.steps else 'training'} at {lr / side:.2g} ended "
        f"at {own:.3g}"
    )
    lower = "warm up, or clip with max_grad_norm=1" if side < 1 else "train longer otherwise"
    advice = f"train with lr={lr:.2g} or let lr_find choose; {lower}"
    return Check(name, best == side and gain > MARGIN, figure, gain, MARGIN, advice)


def decay_too_strong(evidence: Evidence) -> Check:
    """Whether a short training without weight decay ends better than the real one, and with it."""
    name = "weight decay too strong"
    explained, constant = evidence.explained, evidence.constant_loss
    if explained is None or constant is None:
        return Check(name, None, "the loss of a constant answer is unknown here")
    if explained > LEARNT:
        figure = f"the training loss is down to {evidence.train.loss:.3g}"
        return Check(name, False, figure, 1 - explained, 1 - LEARNT)
    free = evidence.without_decay
    if free is None:
        return Check(name, None, "no trials were made: the rule is unknown, or none were asked for")
    with_it = evidence.trials[1.0]
    gain = free.gain([evidence.losses, with_it.losses]) / constant
    figure = (
        f"from fresh weights, {free.rehearsal.steps} steps without it end at a training loss of "
        f"{free.losses[0]:.3g}, with it at {with_it.losses[0]:.3g}"
    )
    return Check(name, gain > MARGIN, figure, gain, MARGIN, "lower weight_decay, or set it to 0")


def underfitting(evidence: Evidence) -> Check:
    """Whether the network has learnt less from its training rows than a simple model does."""
    name = "underfitting"
    explained, constant = evidence.explained, evidence.constant_loss
    if explained is None or constant is None:
        return Check(name, None, "the loss of a constant answer is unknown here")
    own = evidence.train.loss
    advice = "train longer, with a better learning rate, or give the network more or wider layers"
    if explained < UNLEARNT:
        figure = f"the training loss is {own:.3g}; the best constant answer has {constant:.3g}"
        return Check(name, True, figure, explained, UNLEARNT, advice)
    linear = evidence.linear if explained < LEARNT else None
    if linear is None:
        figure = f"the network saves {explained:.0%} of a constant answer's training loss"
        return Check(name, False, figure, explained, UNLEARNT)
    train, unseen = linear
    worse = (own - train) / constant
    figure = f"on training rows the loss is {own:.3g}, that of a linear model {train:.3g}"
    if unseen is not None and evidence.unseen is not None:
        split, answers = evidence.unseen
        worse = min(worse, (answers.loss - unseen) / constant)
        figure += f"; on {_called(split)} rows {answers.loss:.3g} and {unseen:.3g}"
    elif evidence.train.rows < 10 * evidence.train.batches[0]["input"][0].numel():
        worse = -math.inf  # so few rows a linear model knows by heart
    return Check(name, worse > MARGIN, figure, worse, MARGIN, advice)


def overfitting(evidence: Evidence) -> Check:
    """Whether training rows are answered much better than others."""
    name = "overfitting"
    if evidence.unseen is None:
        return Check(name, None, "there are no rows that were not trained on")
    split, answers = evidence.unseen
    called = _called(split)
    advice = (
        "get more rows or augment them, add weight_decay or dropout, use a smaller network, or "
        "stop early"
    )
    losses = evidence.val_losses
    turned = ""
    if losses and losses[-1] > 1.1 * min(losses):
        turned = f"; the validation loss was least after epoch {losses.index(min(losses)) + 1}"
    if evidence.classification:
        train, other = evidence.train.accuracy(), answers.accuracy()
        n, m = evidence.train.rows, answers.rows
        pooled = (train * n + other * m) / (n + m)
        error = math.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / n + 1 / m))
        gap = train - other
        figure = (
            f"{train:.1%} of training rows are right, {other:.1%} of {_called(split)} rows{turned}"
        )
        found = gap > GAP_ACCURACY and gap > SIGNIFICANT * error
        return Check(name, found, figure, gap, GAP_ACCURACY, advice)
    if evidence.constant_loss is None or not evidence.constant_loss > 0:
        return Check(name, None, "the loss of a constant answer is unknown here")
    gap = (answers.loss - evidence.train.loss) / evidence.constant_loss
    figure = (
        f"the loss is {evidence.train.loss:.3g} on training rows, {answers.loss:.3g} on "
        f"{called} rows{turned}"
    )
    return Check(name, gap > GAP_LOSS, figure, gap, GAP_LOSS, advice)


def label_noise(evidence: Evidence) -> Check:
    """Whether the network contradicts labels of rows it never saw as surely as it agrees.

    Confident learning counts the contradictions. A weak network makes them too, but knows them
    for its less sure answers (a large area under the curve of confidence against being right).
    """
    name = "label noise suspected"
    if not evidence.classification:
        return Check(name, None, "only labels of classes can be judged")
    if evidence.unseen is None:
        return Check(name, None, "there are no rows that were not trained on")
    split, answers = evidence.unseen
    assert answers.target is not None
    p, labels = evidence.probabilities(answers), answers.target.long()
    right = p.argmax(1) == labels
    base = float(torch.bincount(labels).max()) / len(labels)
    kappa = (float(right.float().mean()) - base) / max(1 - base, 1e-9)
    joint = confident_joint(p, labels)
    counted = int(joint.sum())
    wrong = counted - int(joint.diag().sum())
    figure = (
        f"{wrong} of {counted} {_called(split)} rows are confidently of another class than labelled"
    )
    explained = evidence.explained
    if kappa < KAPPA or (explained is not None and explained < UNLEARNT):
        return Check(name, None, "the network is too bad to judge labels by")
    if int((~right).sum()) < WRONG or not right.any():
        return Check(name, False, figure, wrong / max(counted, 1), NOISE)
    area = _discernment(p.max(1).values, right)
    least = wilson(wrong, counted)[0]
    figure += f"; its wrong answers are hardly less sure than its right ones (area {area:.2f})"
    advice = "look at these rows first, and correct them or use a robust loss "
    found = wrong / counted > NOISE and least > NOISE / 3 and area < DISCERNMENT
    if not found:
        figure = figure.split(";")[0] + f"; wrong answers are less sure (area {area:.2f})"
        return Check(name, False, figure, wrong / counted, NOISE)
    suspicious = suspicious_labels(p, labels)
    numbers = () if answers.numbers is None else tuple(answers.numbers[suspicious].tolist())
    return Check(name, True, figure, wrong / counted, NOISE, advice, numbers, split)


def _called(split: str) -> str:
    return {"val": "validation"}.get(split, split)


def _discernment(confidence: torch.Tensor, right: torch.Tensor) -> float:
    """Chance that a right answer is surer than a wrong one: the area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right.numpy(), confidence.numpy()))


CHECKS = (
    inputs, exploding, vanishing, dead, saturated, one_answer,
    rate_too_high, rate_too_low, decay_too_strong, underfitting, overfitting, label_noise,
)  # fmt: skip
