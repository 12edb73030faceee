"""`neurarium tune`: settings, and an honest word on whether they are better."""

import json

import pytest

pytest.importorskip("optuna", reason='needs Optuna: pip install "neurarium[tune]"')

SMALL = ["--network=MLP:hidden=8", "--epochs=3", "--trials=2", "--seeds=2", "--workers=1"]


def test_tune_says_what_it_found_and_goes_on(neurarium, workplace):
    words = ["tune", "iris", "--space=lr=0.01..0.1:log", *SMALL]
    code, out, err = neurarium(*words)
    assert (code, err) == (0, "")
    assert "2 settings tried" in out
    assert "on validation rows: defaults" in out
    folder = workplace / "study/iris-tune"
    assert (folder / "search.db").is_file()
    result = json.loads(neurarium(*words, "--trials=3", "--json", "-q").out)
    assert result["trials"] == 3
    assert result["verdict"] in ("better", "worse", "cannot tell")
    assert json.loads((folder / "result.json").read_text())["best"] == result["best"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--space=lr=1..b", "must look like lr=1e-4"),
        ("--space=rate=0.1..0.2", "unknown setting 'rate'"),
        ("--space=activation=relu,misch", "did you mean mish"),
        ("--budget=never", "budget must be a time"),
    ],
)
def test_a_wrong_argument_is_one_sentence(flag, message, neurarium):
    result = neurarium("tune", "iris", "-q", *SMALL, flag)
    assert result.code == 2
    assert result.is_one_sentence
    assert message in result.err
