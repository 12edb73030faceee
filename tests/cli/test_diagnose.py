"""`neurarium diagnose`: verdicts in words, as JSON, and as a page."""

import json
from pathlib import Path

import pytest

FIT = ["--quiet", "--no-report"]


@pytest.fixture
def sigmoids(neurarium):
    network = "--network=MLP:hidden=32x32x32x32x32x32x32x32,activation=sigmoid"
    assert neurarium("fit", "digits", network, "--lr=0.001", "--epochs=1", *FIT).code == 0
    return "digits"


def test_a_network_that_does_not_learn_is_told_why(neurarium, sigmoids):
    code, out, err = neurarium("diagnose", sigmoids, "--trials=0")
    assert (code, err) == (0, "")
    assert "Vanishing gradients: the first of 9 layers gets" in out
    assert "To do: use rectifiers" in out
    page = Path(out.split()[-1])
    assert page.name == "diagnosis.html"
    assert page.read_text().startswith("<!")


def test_json_holds_the_checks_and_nothing_else_is_on_stdout(neurarium, sigmoids):
    result = json.loads(neurarium("diagnose", sigmoids, "--trials=0", "--json").out)
    assert "vanishing gradients" in result["findings"]
    assert len(result["gradient_flow"]["layers"]) == 9
    assert {check["name"] for check in result["checks"]} >= {"dead units", "overfitting"}
    assert Path(result["page"]).is_file()


def test_a_healthy_run_is_called_healthy_and_its_rate_is_known(neurarium):
    assert (
        neurarium("fit", "breast_cancer", "--network=MLP:hidden=32", "--epochs=15", *FIT).code == 0
    )
    result = json.loads(neurarium("diagnose", "breast_cancer", "--json").out)
    assert result["findings"] == []
    assert result["update_ratios"]


def test_a_run_that_is_none_says_so(neurarium):
    result = neurarium("diagnose", "nothing")
    assert result.code == 2
    assert result.is_one_sentence
