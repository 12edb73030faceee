"""Graphs from the command line: a folder of Planetoid files, two tables."""

import csv
import json

import pytest
from tests.data.test_graphs import write_tables


def result(done):
    assert done.code == 0, done.err
    return json.loads(done.out.splitlines()[-1])


def test_cora_is_learnt_judged_and_predicted(data_path, neurarium, workplace):
    folder = data_path("planetoid")
    words = ("fit", folder, "--model", "GCN", "--epochs", "40", "--json", "--no-report")
    found = result(neurarium(*words))
    assert found["model"] == "GCN"
    assert found["test"]["accuracy"] > 0.7
    again = result(neurarium("evaluate", found["run"], "--json"))
    assert again["scores"]["accuracy"] == pytest.approx(found["test"]["accuracy"])
    assert neurarium("predict", found["run"], folder, "-o", "answers.csv").code == 0
    rows = list(csv.DictReader((workplace / "answers.csv").read_text().splitlines()))
    assert len(rows) == 2708
    assert set(rows[0]) == {"prediction"}


def test_two_tables_are_a_graph_whose_nodes_are_reported_and_predicted(neurarium, workplace):
    nodes, edges = write_tables(workplace, nodes=120)
    words = ("fit", nodes, "--edges", edges, "--target", "y", "--epochs", "40", "--json")
    found = result(neurarium(*words))
    assert found["model"] == "GCN"
    page = (workplace / found["run"] / "report.html").read_text()
    assert "The graph" in page
    assert "by number of neighbours" in page
    assert result(neurarium("evaluate", found["run"], "--json"))["rows"] == 24
    predicted = result(neurarium("predict", found["run"], nodes, "--json"))
    assert len(predicted["predictions"]["prediction"]) == 120


def test_a_network_of_the_wrong_kind_is_refused_in_one_sentence(neurarium, workplace):
    nodes, edges = write_tables(workplace)
    graph = ("fit", nodes, "--edges", edges, "--target", "y")
    refused = neurarium(*graph, "--model", "MLP")
    assert refused.code == 2
    assert "reads rows of numbers" in refused.err
    assert "choose GCN" in refused.err
    other = neurarium("fit", "iris", "--model", "GCN")
    assert other.code
    assert "GCN reads graphs, got Tensor" in other.err
    missing = neurarium("fit", nodes, "--edges", "nothing.csv", "--target", "y")
    assert missing.code == 2
    assert "there is no file of edges" in missing.err
