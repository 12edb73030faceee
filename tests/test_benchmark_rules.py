"""The common table of learning rules runs, and says why a rule has no row of figures."""

import json

import pytest
from benchmarks import rules


@pytest.mark.usefixtures("unchecked")
def test_a_rule_is_trained_or_says_why_not(monkeypatch, capsys, tmp_path):
    figures = tmp_path / "rules.json"
    words = ["--seeds", "2", "--epochs", "2", "--json", str(figures)]
    words += ["--only", "FeedbackAlignment fa", "hidden layers frozen", "STDP"]
    monkeypatch.setattr("sys.argv", ["rules", *words])
    rules.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "hidden layers frozen", "FeedbackAlignment fa", "STDP",
    ]  # fmt: skip
    assert "STDP needs an nn.Linear" in lines[3]
    measured = json.loads(figures.read_text())["measured"]
    aligned = measured["FeedbackAlignment fa"]
    assert all(0.5 < report["accuracy"] <= 1 for report in aligned)
    assert all(0 < report["alignment"] < 1 for report in aligned)
    assert measured["hidden layers frozen"][0]["alignment"] is None


def test_the_interval_is_students():
    # Mean 0.6, standard deviation 0.1, t of 2 degrees of freedom 4.303: 4.303 * 0.1 / sqrt(3).
    assert rules._interval([0.5, 0.6, 0.7]) == "60.0 % +- 24.8"


def test_every_rule_there_is_has_a_setting_and_unknown_names_an_error():
    from neurarium import learning

    settings = rules._settings(None)
    tried = {setting.rule for setting in settings.values()}
    public = {n for n in learning.__all__ if isinstance(getattr(learning, n), type)}
    assert public - tried == rules._NO_RULES
    with pytest.raises(SystemExit, match="no rule is called Backpropp; there are Backprop, "):
        rules._settings(["Backpropp"])
