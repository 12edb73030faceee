"""The mechanism: seeds, intervals, verdicts, files, names."""

import inspect
import json
import math

import pytest
import torch
from PIL import Image

from neurarium import recipes, zoo
from neurarium.recipes import Recipe, recipe, reproduction
from neurarium.report.recipes import draw_curves


def declared(function, expect=(0.0, 1.0)):
    return recipe(source="here", figure="a figure", expect=expect, minutes=0.0)(function)


@pytest.fixture
def only(monkeypatch):
    """`only(function)` is what every name finds."""

    def use(function, **arguments):
        found = declared(function, **arguments)
        monkeypatch.setattr(reproduction, "find", lambda name: found)
        return found

    return use


def test_interval_is_students_t():
    # Mean 2, deviation 1, n = 3: 4.302653 / sqrt(3) on either side (t with 2 degrees, 97.5 %).
    low, high = reproduction.interval([1.0, 2.0, 3.0])
    assert low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)


def test_one_seed_has_no_interval(only):
    only(lambda seed=0: 0.5)
    assert recipes.run("any").interval is None


def test_the_mean_over_seeds_is_judged_not_each_seed(only):
    only(lambda seed=0: [0.1, 0.9][seed], expect=(0.4, 0.6))
    result = recipes.run("any", seeds=2)
    assert result.values == [0.1, 0.9]
    assert result.mean == pytest.approx(0.5)
    assert result.holds


@pytest.mark.parametrize(
    ("value", "expect", "holds"),
    [
        (0.5, (0.5, None), True),  # ends belong to the range
        (0.4999, (0.5, None), False),
        (2.05, (1.95, 2.05), True),
        (2.06, (1.95, 2.05), False),
        (-9.0, (None, 0.0), True),
        (math.nan, (None, None), False),
    ],
)
def test_holds_is_being_within_the_range(only, value, expect, holds):
    only(lambda seed=0: value, expect=expect)
    assert recipes.run("any").holds is holds


def test_the_first_of_several_values_is_the_figure_and_the_others_are_the_table(only):
    only(lambda seed=0: {"best": 0.75 + seed, "last": 0.5 + seed}, expect=(0.7, None))
    result = recipes.run("any", seeds=2)
    assert (result.figure, result.values) == ("a figure", [0.75, 1.75])
    assert result.table == {"last": [0.5, 1.5]}


def test_curves_are_means_over_the_seeds_and_are_drawn(only, tmp_path):
    size = "size by layer"
    only(lambda seed=0: {"best": 0.5, size: {"relu, a": [1.0 + seed, 2.0], "tanh, a": [3.0, 4.0]}})
    result = recipes.run("any", seeds=2)
    assert result.curves == {size: {"relu, a": [1.5, 2.0], "tanh, a": [3.0, 4.0]}}
    assert result.table == {}
    assert json.loads(result.save(tmp_path / "it.json").read_text())["curves"] == result.curves
    drawn = draw_curves(result.curves, tmp_path / "it.png")
    with Image.open(drawn) as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height, "two panels, side by side"


def test_the_seed_decides_the_initial_weights_and_the_callers_randomness_stays(only):
    only(lambda seed=0: float(torch.rand(())))
    torch.manual_seed(7)
    first = recipes.run("any", seeds=2)
    left = torch.rand(())
    assert left == torch.rand((), generator=torch.Generator().manual_seed(7))
    assert recipes.run("any", seeds=2).values == first.values
    assert first.values[0] != first.values[1]


def test_overrides_reach_the_recipe_and_are_recorded(only):
    only(lambda seed=0, epochs=60: epochs / 100)
    result = recipes.run("any", epochs=2)
    assert (result.mean, result.overrides) == (0.02, {"epochs": 2})


def test_json_is_whole_and_needs_no_reader_of_ours(only, tmp_path, monkeypatch):
    only(lambda seed=0: {"best": 0.5, "last": 0.25})
    monkeypatch.chdir(tmp_path)
    result = recipes.run("any", seeds=3)
    path = result.save()
    assert path.parts == ("runs", "recipes", f"{result.name}.json")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # no temporary left
    read = json.loads(path.read_text())
    assert read == result.to_json()
    assert read["values"] == [0.5] * 3
    assert read["interval"] == [0.5, 0.5]
    assert read["table"] == {"last": [0.25] * 3}
    assert read["holds"] is True
    assert result.save(tmp_path / "kept" / "it.json").read_text() == path.read_text()


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(LookupError, match=r"no recipe 'robust-lime'; did you mean 'robust-line'"):
        recipes.run("robust-lime")


def test_names_may_be_typed_with_underscores():
    assert recipes.find("Robust_Line") is recipes.find("robust-line")


def test_an_argument_that_the_recipe_lacks_is_an_error(unchecked):
    with pytest.raises(ValueError, match="robust-line has no argument 'epoch'; it has epochs"):
        recipes.run("robust-line", epoch=3)


def test_seeds_must_be_positive(unchecked):
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        recipes.run("robust-line", seeds=0)


@pytest.mark.parametrize("entry", zoo.recipes(), ids=lambda entry: entry.name)
def test_what_the_catalogue_reads_is_what_runs(entry):
    found = recipes.find(entry.name)
    assert isinstance(found, Recipe)
    for name in ("name", "source", "figure", "published", "expect", "minutes"):
        assert getattr(found, name) == getattr(entry, name)
    arguments = inspect.signature(found.function).parameters
    assert next(iter(arguments)) == "seed"
    assert found.quick.keys() <= arguments.keys()
