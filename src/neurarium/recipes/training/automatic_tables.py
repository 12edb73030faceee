"""Five small tables with no setting said, beside a network tuned by grid search."""

import math
import warnings
from typing import Any

import numpy as np

from neurarium.data import load
from neurarium.recipes.reproduction import recipe
from neurarium.training.automatic import fit_source


@recipe(
    source="scikit-learn's MLPClassifier and MLPRegressor, tuned on the same folds",
    figure="least margin: ours minus theirs over what may be lost (0.01, or 0.03 of R2)",
    expect=(-1, None),
    minutes=6,
    quick={"names": ("iris",), "folds": 2, "rows": 1},
    quick_expect=(-6, None),  # 75 rows train, and one row of 75 is more than a point
)
def automatic_tables(
    seed: int = 0,
    names: tuple[str, ...] = ("iris", "wine", "breast_cancer", "digits", "diabetes"),
    folds: int = 5,
    rows: int = 500,
) -> dict[str, float]:
    """`fit(table)` without an argument against a grid-tuned network, in cross-validation.

    Theirs standardizes, and chooses its weight decay by a cross-validation of its own on the rows
    of each fold that train. Digits are here a table of 64 columns. Folds, the same for both, are
    drawn anew until a score is the mean of so many answers: one drawing of wine's 178 rows, where
    0.01 is less than two of them, gave margins from -1.1 to 0. The least margin is always wine's:
    -0.9, -0.5 and -0.2 with seeds 0 to 2; ours is above on the other four, or equal.
    """
    margins: list[float] = []
    table: dict[str, float] = {}
    for name in names:
        ours, theirs = _cross_validated(name, folds, rows, seed)
        margins.append((ours - theirs) / (0.03 if name == "diabetes" else 0.01))
        table |= {name: ours, f"{name}, theirs": theirs}
    return {"margin": min(margins), **table}


def _cross_validated(name: str, folds: int, rows: int, seed: int) -> tuple[float, float]:
    from sklearn import datasets
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
    from threadpoolctl import threadpool_limits

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    numeric = name == "diabetes"
    score = r2_score if numeric else accuracy_score
    cut = (RepeatedKFold if numeric else RepeatedStratifiedKFold)(
        n_splits=folds, n_repeats=math.ceil(rows / len(frame)), random_state=seed
    )
    ours, theirs = [], []
    for train, test in cut.split(frame, frame["target"]):
        known, asked = frame.iloc[train], frame.iloc[test]
        answers = asked["target"].to_numpy()
        run = fit_source(load(known, "target", test_size=0, seed=seed), seed=seed, verbose=False)
        predicted = run.predict(asked.drop(columns="target"))
        ours.append(score(answers, predicted.astype(answers.dtype)))
        # Its products are too small for two threads to share. On diabetes it warns that 1,000
        # epochs are too few for it; the others converge.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            tuned = _grid_tuned(numeric, seed).fit(known.drop(columns="target"), known["target"])
        theirs.append(score(answers, tuned.predict(asked.drop(columns="target"))))
    return float(np.mean(ours)), float(np.mean(theirs))


def _grid_tuned(numeric: bool, seed: int) -> Any:
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind = MLPRegressor if numeric else MLPClassifier
    network = kind(max_iter=1000, random_state=seed)
    pipeline = make_pipeline(StandardScaler(), network)
    step = kind.__name__.lower()
    return GridSearchCV(pipeline, {f"{step}__alpha": [1e-3, 0.1, 3.0]}, cv=3)
