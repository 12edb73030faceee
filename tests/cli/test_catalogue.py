"""Verbs that tell of the package itself: help, zoo, show, reproduce --list, doctor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from neurarium import zoo

HEAVY = {"torch", "numpy", "pandas", "sklearn", "matplotlib", "jaxtyping"}


def loaded_by(*words: str) -> set[str]:
    """Top-level modules that the command has imported in the end."""
    code = (
        "import sys; from neurarium.cli import main; code = main(sys.argv[1:]); "
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.split())


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["--version"], ["zoo"]])
def test_help_and_zoo_import_nothing_heavy(words):
    assert not loaded_by(*words) & {*HEAVY, "rich"}


def test_show_imports_no_torch():
    assert not loaded_by("show", "relu") & HEAVY


def test_version(neurarium):
    import neurarium as package

    assert package.__version__ in neurarium("--version").out


def test_zoo_lists_every_technique_whole_when_it_is_no_terminal(neurarium):
    out = neurarium("zoo").out
    for technique in zoo.techniques():
        assert f"  {technique.name} " in out
        assert technique.summary in out
        assert technique.source in out


def test_zoo_as_json_and_by_pattern(neurarium):
    found = json.loads(neurarium("zoo", "*elu*", "--json").out)
    assert {"relu", "gelu"} <= {technique["name"] for technique in found}
    assert all("elu" in technique["name"].lower() for technique in found)
    result = neurarium("zoo", "xyzzy")
    assert result.code == 2
    assert "losses" in result.err


def test_show_has_equation_source_and_code(neurarium):
    out = neurarium("show", "tukey").out
    technique = zoo.show("tukey")
    for part in (technique.source, "def tukey(", f"{technique.line} ", "huber"):
        assert part in out
    assert "\x1b" not in out
    assert "tukey" in neurarium("show", "tukay").err


def test_reproduce_lists_the_recipes_and_names_the_nearest(neurarium):
    recipes = zoo.recipes()
    listed = json.loads(neurarium("reproduce", "--list", "--json").out.splitlines()[-1])
    assert [r["name"] for r in listed["recipes"]] == [r.name for r in recipes]
    result = neurarium("reproduce", "digits-mlq")
    assert result.code == 2
    assert result.is_one_sentence


def test_doctor_names_versions_and_traps(neurarium, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("NEURARIUM_DATA", "nowhere")
    code, out, _ = neurarium("doctor", "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0
    assert "torch" in found["packages"]
    assert any("PASSIVE" in warning for warning in found["warnings"])
    assert any("nowhere" in warning for warning in found["warnings"])


def test_an_error_of_our_own_is_a_sentence_or_with_debug_a_traceback(neurarium, monkeypatch):
    monkeypatch.setattr(zoo, "find", lambda *pattern: 1 / 0)
    result = neurarium("zoo")
    assert result.code == 1
    assert "ZeroDivisionError: division by zero; run again with --debug" in result.err
    with pytest.raises(ZeroDivisionError):
        neurarium("zoo", "--debug")
    monkeypatch.setenv("NEURARIUM_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        neurarium("zoo")


def test_a_reader_that_goes_away_ends_it_quietly():
    line = f"{sys.executable} -c 'from neurarium.cli import main; main()' zoo | head -n 1"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert run.stdout.startswith("Activations")
    assert run.stderr == ""


@pytest.mark.parametrize(("ours", "code", "verdict"), [(0.98, 0, ": holds"), (0.9, 1, "not hold")])
def test_reproduce_sets_ours_beside_the_published_figure(
    ours, code, verdict, neurarium, monkeypatch
):
    from neurarium import recipes

    def run(name, seeds):
        assert (name, seeds) == ("digits-mlp", 2)
        return recipes.Reproduction(
            name=name,
            source="Someone (1990)",
            figure="test accuracy",
            published=0.975,
            expect=(0.97, None),
            values=[ours, ours],
            mean=ours,
            interval=(ours - 0.01, ours + 0.01),
            holds=ours > 0.97,
            seconds=1.0,
            table={"linear": [0.5, 0.7]},
        )

    monkeypatch.setattr(recipes, "run", run)
    result = neurarium("reproduce", "digits_mlp", "--seeds", "2")
    assert result.code == code
    for part in (f"{ours:.4g} (", "0.975", "Someone (1990)", verdict, "0.6"):
        assert part in result.out
    found = json.loads(neurarium("reproduce", "digits-mlp", "--seeds=2", "--json").out)
    assert found["mean"] == ours
    assert json.loads(Path("runs/recipes/digits-mlp.json").read_text()) == found


def test_reproduce_family_runs_every_recipe_of_the_chapters(neurarium, monkeypatch):
    from neurarium import recipes

    def run(name, seeds):
        return recipes.Reproduction(
            name=name, source="Someone (1990)", figure="test accuracy", published=None,
            expect=(0.5, None), values=[0.25], mean=0.25, interval=None, holds=False, seconds=1.0,
        )  # fmt: skip

    monkeypatch.setattr(recipes, "run", run)
    result = neurarium("reproduce", "--family", "02", "neurons", "--json")
    assert result.code == 1
    ran = [r["name"] for r in json.loads(result.out.splitlines()[-1])["recipes"]]
    assert ran == [
        r.name for f in ("objectives", "neurons") for r in zoo.recipes() if r.family == f
    ]
    unknown = neurarium("reproduce", "--family", "07")
    assert unknown.code == 2
    assert "01 (neurons)" in unknown.err
