"""Arms are paired by seed, and each differs from its reference by one part."""

import pytest

from neurarium.study import ablate


def experiment(seed=0, bonus=1.0, inert=3, noise=10.0):
    """A figure with a large part of its own for each seed, which pairing has to remove."""
    return {"figure": noise * seed + bonus, "other": 0.0}


FACTORS = {"bonus": {"bonus": 0.0}, "inert": {"inert": 0}}


def test_each_arm_is_the_experiment_called_by_hand():
    found = ablate(experiment, FACTORS, seeds=3)
    assert found.values["everything"] == [experiment(s)["figure"] for s in range(3)]
    assert found.values["without bonus"] == [experiment(s, bonus=0)["figure"] for s in range(3)]


def test_an_inert_part_makes_no_difference_for_any_seed_and_a_real_one_does_for_every():
    found = ablate(experiment, FACTORS, seeds=4)
    assert found.differences("without inert") == [0.0] * 4
    assert found.differences("without bonus") == [-1.0] * 4
    table = found.table.set_index("arm")
    # The seeds' own spread (12.9) is no part of a paired interval.
    assert table.loc["without bonus", ["low", "high"]].tolist() == [-1, -1]
    assert table.loc["everything", "mean"] == 16


def test_adding_holds_each_arm_against_the_one_before():
    found = ablate(
        lambda seed, a=1, b=1, c=1: a + 10 * b + 100 * c,
        {"a": {"a": 0}, "b": {"b": 0}, "c": {"c": 0}},
        seeds=2,
        order="add",
    )
    assert found.values == {
        "none of them": [0, 0],
        "+ a": [1, 1],
        "+ b": [11, 11],
        "+ c": [111] * 2,
    }
    assert found.reference == {"+ a": "none of them", "+ b": "+ a", "+ c": "+ b"}
    assert found.differences("+ c") == [100, 100]


def test_plot_has_a_point_for_each_part():
    axes = ablate(experiment, FACTORS, seeds=2).plot().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "without inert",
        "without bonus",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": {}}, "at least one factor"),
        ({"factors": FACTORS, "seeds": 0}, "one seed, got 2 and 0"),
        ({"factors": {"x": {"bonsu": 0}}}, "'bonsu', which the experiment does not take; .*bonus"),
        (
            {"factors": {"x": {"bonus": 0}, "y": {"bonus": 1}}, "order": "add"},
            "'x' and 'y' both set 'bonus'",
        ),
    ],
)
def test_a_mistake_is_named_before_anything_runs(arguments, message, unchecked):
    def never(seed=0, bonus=1, inert=1):
        raise AssertionError("it ran")

    with pytest.raises(ValueError, match=message):
        ablate(never, **arguments)
