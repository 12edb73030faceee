"""Every recipe runs, scaled down where it is long, and finds what it should find."""

import pytest

from neurarium import recipes, zoo

# At least what each scaled-down run must reach, well above a network that learns nothing.
QUICK = {
    "activations-digits": (200, None),  # the full claim: no training goes into it
    "digits-mlp": (0.93, None),
    "mnist-lenet": (0.85, None),
    "nielsen-mnist": (0.6, None),  # a dead output in one seed of three costs a tenth
    "robust-line": (1.95, 2.05),  # the full claim
}
NEEDS = {"mnist-lenet": "mnist", "nielsen-mnist": "mnist"}
NAMES = [recipe.name for recipe in zoo.recipes()]


def test_every_recipe_is_exercised():
    assert sorted(QUICK) == sorted(NAMES)


@pytest.fixture
def data_folder(monkeypatch, data_path):
    def use(name):
        monkeypatch.setenv("NEURARIUM_DATA", str(data_path(name).parent))

    return use


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name, data_folder, unchecked):
    if name in NEEDS:
        data_folder(NEEDS[name])
    result = recipes.run(name, **recipes.find(name).quick)
    low, high = QUICK[name]
    assert result.mean >= low
    assert high is None or result.mean <= high
    check = CHECKS.get(name)
    if check is not None:
        check({key: values[0] for key, values in result.table.items()})


def _outliers_pull_in_the_order_of_influence(table):
    assert table["mean squared error"] < 0 < table["Huber"] < 1.8
    assert table["Barron, alpha = -2"] == pytest.approx(2, abs=0.06)
    assert table["Barron, alpha learnt"] == pytest.approx(2, abs=0.06)
    assert table["alpha learnt"] < 0.5


def _last_epoch_is_beside_the_best(table):
    assert list(table) == ["last epoch"]


def _every_activation_is_in_the_table(table):
    gradients = {k.split(",")[0]: v for k, v in table.items() if k.endswith("first gradient")}
    assert {"relu", "sigmoid", "tanh", "swish", "maxout", "prelu"} <= gradients.keys()
    assert min(gradients, key=gradients.get) == "sigmoid"
    assert len(table) == 2 * len(gradients)


CHECKS = {
    "activations-digits": _every_activation_is_in_the_table,
    "nielsen-mnist": _last_epoch_is_beside_the_best,
    "robust-line": _outliers_pull_in_the_order_of_influence,
}
