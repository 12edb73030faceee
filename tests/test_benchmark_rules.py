"""The common table of learning rules runs, and says why a rule has no row of figures."""

import dataclasses
import json

import pytest
from benchmarks import rules, rules_table


def setting(name, **changes):
    return dataclasses.replace(rules.SETTINGS[name], **changes)


@pytest.mark.usefixtures("unchecked")
def test_a_rule_is_trained_or_says_why_not():
    aligned, _ = rules.measure(setting("FeedbackAlignment fa"), 2, epochs=1)
    assert 0.5 < aligned["accuracy"] <= 1
    assert 0 < aligned["alignment"] < 1
    assert aligned["megabytes"] >= 0
    frozen = rules.run(setting(rules._FROZEN), 0, epochs=1)
    assert frozen["alignment"] is None
    assert frozen["accuracy"] < aligned["accuracy"]
    assert rules.measure(setting("Hebb"), 1).startswith("Hebb learns features without labels")
    assert "STDP needs an nn.Linear" in rules.measure(rules.Setting("STDP"), 1, epochs=1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "name", ["EquilibriumPropagation", "ForwardForward", "DeltaRule", "FTPROP"]
)
def test_a_rule_for_another_network_has_it(name):
    report = rules.run(setting(name, batch_size=360), 0, epochs=1)
    assert 0 <= report["accuracy"] <= 1


def test_the_program_prints_keeps_and_publishes_what_it_measured(monkeypatch, capsys, tmp_path):
    figures, page = tmp_path / "rules.json", tmp_path / "rules.md"
    figures.write_text(json.dumps({"rows": {"Backprop": row([0.9, 0.91], least=0.975)}}))
    monkeypatch.setattr(rules, "_apart", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(rules, "measure", lambda *arguments: "STDP needs another model")
    monkeypatch.setattr(rules, "lenet", lambda: {"Backprop": 10.0, "FeedbackAlignment": 17.0})
    words = ["--only", "STDP", "--add", "--json", str(figures), "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["rules", *words])
    rules.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "STDP"
    assert "costs 1.70 of backpropagation's" in lines[2]
    assert lines[2].endswith("MISSED")
    assert list(json.loads(figures.read_text())["rows"]) == ["Backprop", "STDP"]
    text = page.read_text()
    assert "| Backprop | 90.5 % ± 6.4 | 2.0 | 3 | 0.50 | below what is wanted |" in text
    assert "- `STDP` needs another model." in text


def test_a_step_on_lenet_is_timed():
    timed = rules.lenet(steps=2)
    assert set(timed) == {"Backprop", "FeedbackAlignment"}
    assert min(timed.values()) > 0


def row(accuracies, **wanted):
    runs = [
        {"accuracy": accuracy, "seconds": 2.0, "alignment": 0.5, "megabytes": 3.0}
        for accuracy in accuracies
    ]
    return {"setting": dataclasses.asdict(rules.Setting("Backprop", **wanted)), "runs": runs}


def test_what_is_wanted_and_missed_is_said():
    assert rules_table.verdicts(row([0.97, 0.979], least=0.975)) == ["MISSED 97.5 %"]
    assert rules_table.verdicts(row([0.97, 0.981], least=0.975)) == []
    slow = row([1.0])
    slow["runs"][0]["seconds"] = 61.0
    assert rules_table.verdicts(slow) == ["MISSED 60 s"]


def test_the_interval_is_students():
    # Mean 0.6, standard deviation 0.1, t of 2 degrees of freedom 4.303: 4.303 * 0.1 / sqrt(3).
    assert rules_table.interval([0.5, 0.6, 0.7]) == "60.0 % +- 24.8"


def test_every_rule_there_is_has_a_setting_and_unknown_names_an_error():
    from neurarium import learning

    settings = rules._settings(None)
    tried = {setting.rule for setting in settings.values()}
    public = {n for n in learning.__all__ if isinstance(getattr(learning, n), type)}
    assert public - tried == rules._NO_RULES
    with pytest.raises(SystemExit, match="no rule is called Backpropp; there are Backprop, "):
        rules._settings(["Backpropp"])
