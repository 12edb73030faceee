import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from neurarium import _source, zoo

FINISHED = '''
def tukey(r: float, delta: float = 4.685, *, reduction: str = "mean") -> float:
    r"""Quadratic near zero, flat beyond `delta`,
    so an outlier pulls at nothing.

    $$\\rho(r)
      = r^2$$

    Args:
        delta: where it flattens.

    Source: Beaton & Tukey (1974), The fitting of power series,
    Technometrics 16(2).
    """
    return r
'''


def package(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def module(*definitions: str, public: str) -> str:
    return "\n".join([f"__all__ = {public.split()}", *definitions])


# The acceptance: every public technique says what it is, its equation and where it comes from.

CATALOGUE = zoo.techniques()


@pytest.mark.parametrize("technique", CATALOGUE, ids=lambda t: t.qualified)
def test_technique_has_summary_equation_and_source(technique):
    assert zoo.missing(technique) == [], (
        f"src/neurarium/{technique.file}:{technique.line} {technique.name} needs a docstring with "
        "a summary line, an equation between $$ and a `Source:` line; a helper that is no "
        "technique is listed in zoo.NOT_TECHNIQUES"
    )


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_all_names_no_technique_twice(family):
    file = _source.module_file(Path(zoo.__file__).parent, family)
    if file is not None:
        assert [name for name, times in Counter(file.public).items() if times > 1] == []


def test_qualified_names_are_unique():
    assert len({t.qualified for t in CATALOGUE}) == len(CATALOGUE)


def test_every_recipe_says_what_it_reproduces():
    for recipe in zoo.recipes():
        assert recipe.source, recipe.name
        assert recipe.figure, recipe.name
        assert recipe.expect, recipe.name
        assert recipe.docstring, recipe.name


# The same test fails where it should.


@pytest.mark.parametrize(
    ("docstring", "lacks"),
    [
        ('r"""Flat. $$r^2$$ Source: Tukey (1974)."""', []),
        ('r"""$r^2$ beyond. Source: Tukey (1974)."""', []),
        ('"""Flat beyond delta.\n\n    Source: Tukey (1974).\n    """', ["equation"]),
        ('r"""Flat beyond delta.\n\n    $$r^2$$\n    """', ["source"]),
        ('r"""Source: Tukey (1974).\n\n    $$r^2$$\n    """', ["summary"]),
        ("pass", ["summary", "equation", "source"]),
    ],
)
def test_what_a_docstring_lacks_is_named(tmp_path, docstring, lacks):
    source = module(f"def tukey(r):\n    {docstring}\n", public="tukey")
    (technique,) = zoo.techniques(package(tmp_path, {"losses.py": source}))
    assert zoo.missing(technique) == lacks


# Reading.


def test_docstring_parts_come_out_on_one_line_each(tmp_path):
    root = package(tmp_path, {"losses.py": module(FINISHED, public="tukey")})
    (tukey,) = zoo.techniques(root)
    assert tukey.summary == (
        "Quadratic near zero, flat beyond `delta`, so an outlier pulls at nothing."
    )
    assert tukey.equation == r"\rho(r) = r^2"
    assert tukey.source == (
        "Beaton & Tukey (1974), The fitting of power series, Technometrics 16(2)."
    )
    assert tukey.signature == (
        "tukey(r: float, delta: float = 4.685, *, reduction: str = 'mean') -> float"
    )
    assert tukey.code.startswith("def tukey")
    assert tukey.code.endswith("return r")
    assert (tukey.qualified, tukey.kind, tukey.family) == ("losses.tukey", "function", "Losses")


def test_packages_are_followed_to_where_the_name_is_defined(tmp_path):
    lines = (
        "from neurarium.losses import robust\n"  # a submodule, not a technique
        "from neurarium.losses.robust import tukey as biweight\n"
    )
    root = package(
        tmp_path,
        {
            "losses/__init__.py": lines + module(public="biweight robust"),
            "losses/robust.py": module(FINISHED, public="tukey"),
        },
    )
    (found,) = zoo.techniques(root)
    assert (found.name, found.file) == ("biweight", "losses/robust.py")


def test_a_technique_of_two_modules_is_listed_once_under_the_nearer(tmp_path):
    root = package(
        tmp_path,
        {
            "optim/__init__.py": "from neurarium.optim.schedules import tukey\n"
            + module(public="tukey"),
            "optim/schedules.py": module(FINISHED, public="tukey"),
        },
    )
    assert [t.qualified for t in zoo.techniques(root)] == ["optim.schedules.tukey"]


def test_a_class_is_called_as_its_constructor_its_base_s_or_its_fields(tmp_path):
    source = module(
        "class Base:\n    def __init__(self, lr: float, *rules, beta=0.9, **rest): ...\n",
        "class Momentum(Base): ...\n",
        "@dataclass\nclass Settings:\n    patience: int = 5\n",
        public="Momentum Settings",
    )
    found = zoo.techniques(package(tmp_path, {"learning.py": source}))
    assert [t.signature for t in found] == [
        "Momentum(lr: float, *rules, beta=0.9, **rest)",
        "Settings(patience: int = 5)",
    ]


def test_a_public_value_is_documented_by_the_string_below_it(tmp_path):
    source = module('silu = swish\n"""Other name. $$x$$ Source: Hendrycks."""', public="silu")
    (silu,) = zoo.techniques(package(tmp_path, {"activations.py": source}))
    assert silu.kind == "value"
    assert zoo.missing(silu) == []


def test_without_all_every_definition_without_underscore_is_public(tmp_path):
    source = FINISHED + "def _helper(): ...\nclass Huber: ...\n"
    found = zoo.techniques(package(tmp_path, {"losses.py": source}))
    assert [t.name for t in found] == ["tukey", "Huber"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (module(public="ghost"), "lists 'ghost' in `__all__` but does not define it"),
        ("from neurarium.nowhere import f\n" + module(public="f"), "which has no file"),
    ],
)
def test_a_broken_module_is_named(tmp_path, source, message):
    with pytest.raises(ValueError, match=message):
        zoo.techniques(package(tmp_path, {"losses.py": source}))


# Finding.


def two_families(root: Path) -> Path:
    other = FINISHED.replace("tukey", "FeedbackAlignment")
    return package(
        root,
        {
            "losses.py": module(FINISHED, public="tukey"),
            "penalties.py": module(FINISHED, public="tukey"),
            "learning.py": module(other, public="FeedbackAlignment"),
        },
    )


def test_find_takes_shell_patterns_of_names_and_modules(tmp_path):
    root = two_families(tmp_path)
    assert [t.qualified for t in zoo.find("losses.*", root)] == ["losses.tukey"]
    assert [t.qualified for t in zoo.find("TUK*", root)] == ["losses.tukey", "penalties.tukey"]
    assert zoo.find("nothing*", root) == []


@pytest.mark.parametrize("name", ["FeedbackAlignment", "feedback-alignment", "feedback_alignment"])
def test_show_takes_a_name_as_written_or_in_snake_case(tmp_path, name):
    assert zoo.show(name, two_families(tmp_path)).qualified == "learning.FeedbackAlignment"


def test_show_of_an_unknown_or_ambiguous_name_says_which_to_try(tmp_path):
    root = two_families(tmp_path)
    with pytest.raises(LookupError, match=r"did you mean learning\.FeedbackAlignment\?"):
        zoo.show("feedbakalignment", root)
    with pytest.raises(LookupError, match=r"2 techniques; say losses\.tukey or penalties\.tukey"):
        zoo.show("tukey", root)
    with pytest.raises(LookupError, match="neurarium zoo"):
        zoo.show("zzzz", root)


# Recipes.

ROBUST_LINE = '''
@recipe(source="Tukey (1974)", figure="slope", published=2.0, expect=(1.9, None), minutes=0.5)
def robust_line(seed: int = 0) -> float:
    """A line through outliers; alpha is not used.

    The full setting has more of them.
    """
    return fit(MLP(activation="swish:beta=2"), losses.tukey)
'''


def test_recipes_are_read_without_running_them(tmp_path):
    root = package(tmp_path, {"recipes/robust.py": "import nowhere\n" + ROBUST_LINE})
    (recipe,) = zoo.recipes(root)
    assert (recipe.name, recipe.source, recipe.figure) == ("robust-line", "Tukey (1974)", "slope")
    assert (recipe.published, recipe.expect) == (2.0, (1.9, None))
    assert recipe.summary == "A line through outliers; alpha is not used."


def test_a_computed_argument_of_a_recipe_is_an_error(tmp_path):
    source = ROBUST_LINE.replace("published=2.0", "published=MEAN")
    with pytest.raises(ValueError, match=r"robust\.py:3 @recipe's arguments must be literals"):
        zoo.recipes(package(tmp_path, {"recipes/robust.py": source}))


def test_a_technique_names_the_recipes_whose_code_uses_it(tmp_path):
    names = ("tukey", "swish", "MLP", "alpha")
    source = module(*(FINISHED.replace("tukey", n) for n in names), public=" ".join(names))
    files = {"losses.py": source, "recipes/robust.py": ROBUST_LINE}
    used = {t.name: t.recipe for t in zoo.techniques(package(tmp_path, files))}
    assert used == {n: ("robust-line",) if n != "alpha" else () for n in names}


def test_the_catalogue_needs_no_torch():
    code = (
        "import sys; from neurarium import zoo; zoo.techniques(); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
