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
        check({key: values[0] for key, values in result.table.items()} | result.curves)


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


def _sigmoids_stay_at_chance_without_normalization(table):
    assert table["test accuracy without"] < 0.15


def _the_explosion_is_batch_normalizations_and_not_the_weights(table):
    ten_times = table["batch norm, weights 10 times as large"]
    assert ten_times == pytest.approx(1.467, rel=0.03)
    assert table["no batch norm, He's weights"] == pytest.approx(1, abs=0.1)


def _a_disturbed_normalization_is_still_smoother_than_none(table):
    for figure in ("range of the loss", "change of the gradient"):
        assert table[f"disturbed batch norm: {figure}"] < table[f"plain: {figure}"] / 2


def _a_clipped_loss_stays_finite(table):
    assert table["steps with the norm clipped to 1"] == 100
    assert table["last loss with the norm clipped to 1"] < 0.4


def _each_initialization_has_its_rate(table):
    expected = {
        "relu, twice kaiming": 2,
        "tanh, xavier": 0.92,
        "tanh, N(0, 0.05^2)": 0.4,
        "sigmoid, N(0, 1/n)": 0.23,
    }
    assert {k: table[k] for k in expected} == pytest.approx(expected, rel=0.07)


def _small_weights_silence_and_large_ones_saturate(table):
    signals = table["root mean square signal by hidden layer"]
    last = {name: sizes[-1] for name, sizes in signals.items()}
    assert last["relu, std 0.01"] < 1e-5
    assert last["tanh, std 0.01"] < 1e-5
    assert last["relu, std 0.3"] > 5
    assert 0.7 < last["tanh, std 0.3"] < 1


def _the_concave_penalties_find_the_columns_and_shrink_nothing(table):
    assert table["columns found wrongly, SCAD"] <= 1
    assert table["error, MCP"] < table["error, LASSO"] / 2


def _only_the_proximal_step_gives_zeros(table):
    assert table["zeros, in the loss"] == 0
    assert table["accuracy, 0.001"] > 0.7


def _the_minimum_is_on_its_way_to_infinity(table):
    assert table["a e^b"] == pytest.approx(1, abs=0.05)
    assert table["a"] < 0.4 < 0.9 < table["b"]
    assert 0.577 < table["loss, last"] < 0.62


def _outputs_hardly_change_along_the_tangents(table):
    assert table["slope with"] < table["slope without"] / 5


def _an_open_gate_lets_gradients_through(table):
    open_gate, closed = table["LSTM with forget bias 1"], table["LSTM with forget bias 0"]
    assert open_gate > closed + 0.1
    # An untrained tanh network: the spectral radius of U(-1/sqrt(n), 1/sqrt(n)) is 1/sqrt(3).
    assert table["tanh"] == pytest.approx(3**-0.5, abs=0.05)
    lines = table["share of the gradient by steps back"]
    assert lines["at the start, IRNN"][-1] > 0.5 > 1e-6 > lines["at the start, GRU"][-1]


CHECKS = {
    "activations-digits": _every_activation_is_in_the_table,
    "bad-minima": _the_minimum_is_on_its_way_to_infinity,
    "batch-norm-sigmoid": _sigmoids_stay_at_chance_without_normalization,
    "bn-gradient-explosion": _the_explosion_is_batch_normalizations_and_not_the_weights,
    "bn-smoothness": _a_disturbed_normalization_is_still_smoother_than_none,
    "clipping-rnn": _a_clipped_loss_stays_finite,
    "depth-rates": _each_initialization_has_its_rate,
    "gradient-memory": _an_open_gate_lets_gradients_through,
    "init-sweep": _small_weights_silence_and_large_ones_saturate,
    "l1-digits": _only_the_proximal_step_gives_zeros,
    "nielsen-digits": _wide_weights_and_binary_outputs_are_worse,
    "nielsen-mnist": _last_epoch_is_beside_the_best,
    "perceptron-digits": _every_variant_of_the_perceptron_learns,
    "rbf-digits": _units_are_robust_to_their_widths,
    "relu-classifier": _an_output_that_starts_dead_is_a_class_lost,
    "robust-line": _outliers_pull_in_the_order_of_influence,
    "sparse-regression": _the_concave_penalties_find_the_columns_and_shrink_nothing,
    "tangent-prop-mnist": _outputs_hardly_change_along_the_tangents,
    "universal-approximation": _doubling_the_pieces_halves_the_error_each_time,
}
