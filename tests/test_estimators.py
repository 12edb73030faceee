"""Networks are scikit-learn estimators, by scikit-learn's own checks."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

from neurarium.estimators import NetworkClassifier, NetworkRegressor

QUICK = {"network": "MLP:hidden=32", "epochs": 60}
EXPECTED_FAILURES: dict[str, str] = {}


@pytest.mark.parametrize("kind", [NetworkClassifier, NetworkRegressor])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_own_checks_pass(kind, unchecked):
    failed = {}
    for estimator, check in estimator_checks_generator(kind(**QUICK)):
        try:
            check(estimator)
        except Exception as error:
            if type(error).__name__ != "SkipTest":
                failed[check.func.__name__] = repr(error)[:300]
    assert failed.keys() == EXPECTED_FAILURES.keys(), failed


def test_it_searches_and_pipes():
    x, y = load_digits(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), NetworkClassifier(**QUICK))
    search = GridSearchCV(pipe, {"networkclassifier__lr": [1e-6, 0.01]}, cv=2)
    search.fit(x[::4], y[::4])
    assert search.best_params_ == {"networkclassifier__lr": 0.01}
    assert search.score(x[1::4], y[1::4]) > 0.9


def test_labels_of_any_kind_come_back_as_they_were():
    x, y = load_digits(return_X_y=True)
    names = np.array([f"digit {n}" for n in y])
    model = NetworkClassifier(**QUICK).fit(x[:300], names[:300])
    assert set(model.predict(x[300:400])) <= set(names)
    assert model.predict_proba(x[:5]).sum(1) == pytest.approx(1)


def test_a_fitted_estimator_survives_pickling_and_cloning():
    x, y = load_diabetes(return_X_y=True)
    model = NetworkRegressor(**QUICK).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(x), model.predict(x))
    assert not hasattr(clone(model), "module_")


def test_a_users_own_module_is_copied_not_trained():
    module = nn.Sequential(nn.Linear(64, 10))
    before = module[0].weight.detach().clone()
    x, y = load_digits(return_X_y=True)
    model = NetworkClassifier(module, epochs=20).fit(x, y)
    assert torch.equal(module[0].weight, before)
    assert model.score(x, y) > 0.95


def test_the_same_random_state_gives_the_same_bytes():
    x, y = load_digits(return_X_y=True)
    a, b, c = (
        NetworkClassifier(**QUICK, random_state=s).fit(x[:200], y[:200]).predict_proba(x)
        for s in (1, 1, 2)
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_held_out_rows_choose_the_best_epoch():
    x, y = load_diabetes(return_X_y=True)
    model = NetworkRegressor("MLP:hidden=200", epochs=100, lr=0.02, validation_fraction=0.2)
    model.fit(x[::2], y[::2])
    free = clone(model).set_params(validation_fraction=0.0).fit(x[::2], y[::2])
    assert np.argmin(model.history_["val_loss"]) < 75  # the end is overfitted
    assert model.score(x[1::2], y[1::2]) > free.score(x[1::2], y[1::2])


def test_several_targets_are_predicted_in_their_own_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = np.c_[1000 + 500 * x[:, 0], 0.001 * x[:, 1]]
    model = NetworkRegressor(**QUICK).fit(x, y)
    assert model.predict(x).shape == (300, 2)
    assert model.score(x, y) > 0.98
