import functools
import types

import pytest

from neurarium._names import parse_arguments, parse_value, resolve


def swish(x, beta=1.0):
    return x, beta


class Swish:
    pass


class FeedbackAlignment:
    def __init__(self, mode="fa"):
        self.mode = mode


NAMES = {"swish": swish, "Swish": Swish, "FeedbackAlignment": FeedbackAlignment}


@pytest.mark.parametrize(
    "spec", ["FeedbackAlignment", "feedback_alignment", "feedback-alignment", "FEEDBACKALIGNMENT"]
)
def test_a_name_is_found_in_any_spelling(spec):
    assert resolve(spec, NAMES, "rule") is FeedbackAlignment


def test_as_written_decides_between_a_function_and_its_twin_and_the_first_wins_otherwise():
    assert resolve("swish", NAMES, "activation") is swish
    assert resolve("Swish", NAMES, "activation") is Swish
    assert resolve("SWISH", NAMES, "activation") is swish


def test_arguments_after_the_colon_are_bound():
    bound = resolve("swish:beta=2", NAMES, "activation")
    assert isinstance(bound, functools.partial)
    assert bound(3) == (3, 2)
    assert resolve("feedback_alignment:dfa", NAMES, "rule")().mode == "dfa"


def test_a_value_without_a_name_never_takes_the_place_of_the_input():
    assert resolve("swish:2", NAMES, "activation")(3) == (3, 2)
    with pytest.raises(ValueError, match="too many values without a name"):
        resolve("swish:2,3", NAMES, "activation")
    with pytest.raises(ValueError, match="too many values without a name"):
        resolve("swish:2,beta=3", NAMES, "activation")


def test_a_module_is_read_through_its_public_list_only():
    module = types.ModuleType("zoo")
    module.lion, module.cat, module.__all__ = 1, 2, ["lion"]
    assert resolve("lion", module, "animal") == 1
    with pytest.raises(ValueError, match=r"unknown animal 'cat'; choose from lion"):
        resolve("cat", module, "animal")


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"unknown activation 'swich'; did you mean swish\?"):
        resolve("swich", NAMES, "activation")


def test_an_unknown_argument_names_the_known_ones():
    with pytest.raises(ValueError, match=r"unexpected keyword argument 'bta'\); it takes x, beta"):
        resolve("swish:bta=2", NAMES, "activation")


def test_anything_but_a_string_passes_through():
    assert resolve(swish, NAMES, "activation") is swish
    assert resolve(None, NAMES, "activation") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1e-3", 1e-3),
        ("0.5", 0.5),
        ("-inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("none", None),
        ("256x128x64", (256, 128, 64)),
        ("relu", "relu"),
        ("x", "x"),
        ("2x", "2x"),
    ],
)
def test_values_are_read_as_python_would(text, value):
    read = parse_value(text)
    assert read == value
    assert type(read) is type(value)


def test_arguments_are_positional_then_named():
    assert parse_arguments("1e-4, hidden=256x256,max-epochs=3,") == (
        [1e-4],
        {"hidden": (256, 256), "max_epochs": 3},
    )
    assert parse_arguments("") == ([], {})
    with pytest.raises(ValueError, match="'5' in 'a=1,5' must come before the named arguments"):
        parse_arguments("a=1,5")
