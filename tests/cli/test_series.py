"""Series from the command line: fit, predict what comes next, evaluate, and the sentences."""

import json

import numpy as np
import pandas as pd
import pytest


def hours(rows, start=0):
    """A daily wave with a little noise, and a column that leads it by an hour."""
    when = pd.date_range("2024-01-01", periods=start + rows, freq="h").strftime("%Y-%m-%d %H:%M")
    wave = 20 + 5 * np.sin(2 * np.pi * np.arange(start + rows + 1) / 24)
    wave += np.random.default_rng(0).normal(0, 0.3, len(wave))
    made = {"when": when, "heat": wave[1:], "load": wave[:-1]}
    return pd.DataFrame(made).iloc[start:]


@pytest.fixture
def power(workplace):
    hours(600).to_csv(workplace / "power.csv", index=False)
    return "power.csv"


FLAGS = ("--time", "when", "--target", "load", "--horizon", "12")


def test_fit_predict_and_evaluate(neurarium, workplace, power):
    result = neurarium("fit", power, *FLAGS, "--json")
    assert result.code == 0, result.err
    answer = json.loads(result.out)
    naive = answer["baselines"]["last value"]["mae"]
    assert answer["test"]["mae"] < 0.5 * naive
    assert answer["test"]["mase"] < 1.2  # the noise alone leaves the seasonal naive 0.3 * 1.13
    assert 0.6 < answer["test"]["coverage"] <= 1
    assert set(answer["baselines"]) == {"last value", "last season", "linear"}
    assert "split by time" in result.err
    report = (workplace / answer["run"] / "report.html").read_text()
    assert "last season (24 rows), repeated" in report
    assert "forecast-0-0" in report

    new = hours(60, start=600)
    new.to_csv(workplace / "recent.csv", index=False)
    predicted = neurarium("predict", "power", "recent.csv", "--json")
    table = json.loads(predicted.out)["predictions"]
    assert list(table) == ["when", "prediction", "quantile_0.1", "quantile_0.9"]
    expected = hours(12, start=660)
    assert table["when"] == expected["when"].tolist()
    assert np.abs(np.array(table["prediction"]) - expected["load"]).mean() < 0.5 * naive
    assert all(np.array(table["quantile_0.1"]) <= np.array(table["prediction"]))

    judged = neurarium("evaluate", "power", "recent.csv", "--json")
    assert judged.code == 0, judged.err
    figures = json.loads(judged.out)
    assert figures["scores"]["mae"] < 0.5 * figures["baselines"]["last value"]["mae"]
    assert "linear" not in figures["baselines"]  # which needs the rows trained on

    again = neurarium("evaluate", "power", "--json")
    assert json.loads(again.out)["scores"] == pytest.approx(answer["test"])

    new.assign(load=new["load"].where(np.arange(60) < 58)).to_csv("open.csv", index=False)
    early = neurarium("predict", "power", "open.csv", "--json")
    assert "load is empty in the last 2 rows" in early.err
    assert json.loads(early.out)["predictions"]["when"] == hours(12, start=658)["when"].tolist()

    new.head(20).to_csv(workplace / "short.csv", index=False)
    short = neurarium("predict", "power", "short.csv")
    assert short.code == 2
    assert short.is_one_sentence
    assert "looks back 48 rows, but these are 20" in short.err


@pytest.mark.parametrize("likelihood", ["gaussian", "negative_binomial"])
def test_a_network_of_likelihoods_is_trained_by_them(neurarium, power, likelihood):
    network = f"DeepAR:hidden=8,samples=20,likelihood={likelihood}"
    result = neurarium("fit", power, *FLAGS, "--network", network, "--epochs", "1", "--json")
    if likelihood == "gaussian":
        assert "coverage" in json.loads(result.out)["test"]
    else:  # these values are no counts
        assert result.code == 2
        assert "a negative binomial is of counts" in result.err


@pytest.mark.parametrize("network", ["DLinear:kernel=5", "Forecaster:hidden=8,cell=gru"])
def test_other_networks_and_losses(neurarium, power, network):
    words = ("--network", network, "--epochs", "1", "--json", "--target", "load,heat")
    result = neurarium("fit", power, "--time", "when", "--horizon", "3", *words)
    assert result.code == 0, result.err
    assert "coverage" in json.loads(result.out)["test"]
    judged = json.loads(neurarium("evaluate", "power", "--json").out)
    each = [judged["targets"][name]["mae"] for name in ("load", "heat")]
    assert judged["scores"]["mae"] == pytest.approx(np.mean(each))
    plain = neurarium("fit", power, *FLAGS, "--loss", "mse", "--network", network, "--epochs", "1",
                      "--json")  # fmt: skip
    assert plain.code == 0, plain.err
    assert "coverage" not in json.loads(plain.out)["test"]


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (lambda t: t.drop(index=30), (), "not equally far apart"),
        (lambda t: pd.concat([t, t.head(3)]), (), "comes twice"),
        (lambda t: t.replace({"when": {"2024-01-03 05:00": ""}}), (), "is missing in row 54"),
        (lambda t: t.replace({"when": {"2024-01-03 05:00": "dawn"}}), (), "'dawn' in row 54"),
        (lambda t: t.head(12), (), "a horizon of 12 rows is longer than the 2 validation rows"),
        (lambda t: t, ("--horizon", "300"), "longer than the 96 validation rows"),
        (lambda t: t, ("--history", "380"), "does not fit into the 384 training rows"),
        (lambda t: t, ("--time", "hour"), "there is no column 'hour' of times"),
        (lambda t: t, ("--network", "MLP"), "take Forecaster, DeepAR, DLinear, NLinear, NBEATS"),
        (lambda t: t, ("--network", "MLP", "--network", "MLP"), "MLP does not fit these data"),
        (
            lambda t: pd.concat([t.assign(site="a"), t.assign(site="b")]),
            (),
            "one series for each of the 2 values of 'site'",
        ),
    ],
)
def test_what_is_no_series_is_one_sentence(neurarium, workplace, spoil, words, said):
    spoil(hours(600)).to_csv(workplace / "bad.csv", index=False)
    result = neurarium("fit", "bad.csv", *FLAGS, *words, "--quiet")
    assert result.code == 2
    assert result.is_one_sentence, result.err
    assert said in result.err
    assert not (workplace / "runs").exists()


def test_a_horizon_without_times_is_one_sentence(neurarium, power):
    result = neurarium("fit", power, "--target", "load", "--horizon", "12")
    assert (result.code, result.is_one_sentence) == (2, True)
    assert "--horizon is of a series: name the column of its times with --time" in result.err
