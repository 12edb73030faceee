"""Every recipe runs, scaled down where it is long, and finds what it should find."""

import itertools

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


def _an_output_that_starts_dead_is_a_class_lost(table):
    assert table["dead outputs, biases 1"] == 0 < table["dead outputs, usual start"]
    assert table["rectifier, usual start"] < table["rectifier, biases 1"] - 0.05


def _wide_weights_and_binary_outputs_are_worse(table):
    assert set(table) == {
        "N(0, 1)", "N(0, 1/inputs), epoch 5", "N(0, 1), epoch 5", "four binary outputs"
    }  # fmt: skip
    assert table["four binary outputs"] < table["N(0, 1/inputs), epoch 5"]


def _every_variant_of_the_perceptron_learns(table):
    assert len(table) == 4
    assert min(table.values()) > 0.85


def _units_are_robust_to_their_widths(table):
    assert min(table["widths times 2"], table["widths times 4"]) > 0.9
    assert table["two stages, then gradients"] > 0.9


def _doubling_the_pieces_halves_the_error_each_time(table):
    errors = [table[f"{n} pieces, constructed"] for n in (50, 100, 200, 400, 800)]
    assert all(1.9 < a / b < 2.1 for a, b in itertools.pairwise(errors))
    assert 0 < table["50 units, learnt"] < 0.4


CHECKS = {
    "activations-digits": _every_activation_is_in_the_table,
    "nielsen-digits": _wide_weights_and_binary_outputs_are_worse,
    "nielsen-mnist": _last_epoch_is_beside_the_best,
    "perceptron-digits": _every_variant_of_the_perceptron_learns,
    "rbf-digits": _units_are_robust_to_their_widths,
    "relu-classifier": _an_output_that_starts_dead_is_a_class_lost,
    "universal-approximation": _doubling_the_pieces_halves_the_error_each_time,
    "robust-line": _outliers_pull_in_the_order_of_influence,
}
