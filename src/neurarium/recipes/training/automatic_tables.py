"""Five small tables with no setting said, beside a network tuned by grid search."""

from typing import Any

import numpy as np

from neurarium.data import load
from neurarium.recipes.reproduction import recipe
from neurarium.training.automatic import fit_source


@recipe(
    source="scikit-learn's MLPClassifier and MLPRegressor, tuned on the same folds",
    figure="least margin: ours minus theirs over what may be lost (0.01, or 0.03 of R2)",
    expect=(-1, None),
    minutes=12,
    quick={"names": ("iris",), "folds": 2},
    quick_expect=(-6, None),  # 75 rows train, and one row of 75 is more than a point
)
def automatic_tables(
    seed: int = 0,
    names: tuple[str, ...] = ("iris", "wine", "breast_cancer", "digits", "diabetes"),
    folds: int = 5,
) -> dict[str, float]:
    """`fit(table)` without an argument against a grid-tuned network, in cross-validation.

    Theirs standardizes, and chooses its weight decay by a cross-validation of its own on the rows
    of each fold that train. Digits are here a table of 64 columns. With seed 0 it does not hold:
    ours is 1.1 points below on wine, which are two of its 178 rows, and within 0.7 or above on the
    other four.
    """
    margins: list[float] = []
    table: dict[str, float] = {}
    for name in names:
        ours, theirs = _cross_validated(name, folds, seed)
        margins.append((ours - theirs) / (0.03 if name == "diabetes" else 0.01))
        table |= {name: ours, f"{name}, theirs": theirs}
    return {"margin": min(margins), **table}


def _cross_validated(name: str, folds: int, seed: int) -> tuple[float, float]:
    from sklearn import datasets
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import KFold, StratifiedKFold

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    numeric = name == "diabetes"
    score = r2_score if numeric else accuracy_score
    cut = (KFold if numeric else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    ours, theirs = [], []
    for train, test in cut.split(frame, frame["target"]):
        known, asked = frame.iloc[train], frame.iloc[test]
        answers = asked["target"].to_numpy()
        rows = load(known, "target", test_size=0, seed=seed)
        run = fit_source(rows, seed=seed, verbose=False)
        predicted = run.predict(asked.drop(columns="target"))
        ours.append(score(answers, predicted.astype(answers.dtype)))
        tuned = _grid_tuned(numeric, seed).fit(known.drop(columns="target"), known["target"])
        theirs.append(score(answers, tuned.predict(asked.drop(columns="target"))))
    return float(np.mean(ours)), float(np.mean(theirs))


def _grid_tuned(numeric: bool, seed: int) -> Any:
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind = MLPRegressor if numeric else MLPClassifier
    # 1,000 epochs let Adam converge on all of these; without, scikit-learn warns.
    network = kind(max_iter=1000, random_state=seed)
    pipeline = make_pipeline(StandardScaler(), network)
    step = kind.__name__.lower()
    return GridSearchCV(pipeline, {f"{step}__alpha": [1e-3, 0.1, 3.0]}, cv=3)
