"""Every recipe runs, scaled down where it is long, and finds what it should find."""

import pytest

from neurarium import recipes, zoo

NAMES = [recipe.name for recipe in zoo.recipes()]


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name, monkeypatch, data_path, unchecked):
    recipe = recipes.find(name)
    for file in recipe.needs:
        monkeypatch.setenv("NEURARIUM_DATA", str(data_path(file).parent))
    result = recipes.run(name, **recipe.quick)
    low, high = recipe.quick_expect
    assert low is None or result.mean >= low
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
