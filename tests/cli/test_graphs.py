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


def test_a_citation_graph_of_any_name_and_size_with_lone_test_nodes(neurarium, workplace):
    """As Citeseer: test nodes that no file describes, papers without words, citations of itself."""
    folder = workplace / "my graphs"
    folder.mkdir()
    lone = citation_files(folder, "see-r.2")
    words = ("fit", folder, "--model", "GCN", "--epochs", "60", "--json")
    done = neurarium(*words)
    found = result(done)
    assert found["test"]["accuracy"] > 0.8
    assert f"{len(lone)} nodes have neither features nor a label" in done.err
    assert "60 nodes train, 140 nodes val, 95 nodes test" in done.err
    again = result(neurarium("evaluate", found["run"], "--json"))
    assert again["rows"] == 95
    predicted = result(neurarium("predict", found["run"], folder, "--json"))
    assert len(predicted["predictions"]["prediction"]) == 300


def citation_files(folder, name):
    """300 papers of 3 topics in Planetoid's form, 5 of the 100 test papers in no file."""
    import pickle
    from collections import defaultdict

    import numpy as np
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    topic = np.concatenate([np.arange(200) % 3, rng.integers(3, size=100)])
    chance = np.where(np.arange(90) // 30 == topic[:, None], 0.08, 0.02)
    words = (rng.random((300, 90)) < chance).astype(np.float32)
    words[150] = 0
    lone = np.array([203, 217, 240, 266, 298])
    test = rng.permutation(np.setdiff1d(np.arange(200, 300), lone))
    cited = defaultdict(list, {7: [7, 7]})
    for a in np.setdiff1d(np.arange(300), lone).tolist():
        same = np.setdiff1d(np.flatnonzero(topic == topic[a]), lone)
        for b in rng.choice(same, 2).tolist():
            cited[a].append(b)
            cited[b].append(a)
    for paper in lone.tolist():
        cited[paper] = []
    labels = np.eye(3, dtype=np.int32)[topic]
    rows = {"": slice(60), "all": slice(200), "t": test}
    for prefix, kept in rows.items():
        for part, value in (("x", csr_matrix(words[kept])), ("y", labels[kept])):
            part = f"{prefix}{part}"
            (folder / f"ind.{name}.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / f"ind.{name}.graph").write_bytes(pickle.dumps(cited, protocol=2))
    (folder / f"ind.{name}.test.index").write_text("".join(f"{number}\n" for number in test))
    return lone


BAD_TABLES = {
    "an edge to an unknown node": (["n0,nobody"], (), "edge 1 goes to node 'nobody'"),
    "an edge without an end": (["n0,n1", "n1,"], (), "edge 2 of 'edges.csv' lacks an end"),
    "no edge": ([], (), "edges.csv"),
    "a negative weight": (["n0,n1,-2"], (), "edge 1 of 'edges.csv' has the negative weight -2"),
    "a target that no column has": (["n0,n1"], ("--target", "z"), "'z'"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_graph_is_refused_in_one_sentence(name, neurarium, workplace):
    edges, more, message = BAD_TABLES[name]
    nodes, file = write_tables(workplace, edges=edges)
    if any(edge.count(",") == 2 for edge in edges):
        file.write_text("source,target,weight\n" + "\n".join(edges) + "\n")
    refused = neurarium("fit", nodes, "--edges", file, *(more or ("--target", "y")))
    assert refused.code == 2
    assert message in refused.err
    assert "Traceback" not in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_loops_repeats_and_lone_nodes_are_told_and_learnt_from(neurarium, workplace):
    edges = ["n0,n1", "n1,n0", "n0,n1", "n2,n2", "n3,n4"]
    nodes, file = write_tables(workplace, nodes=60, edges=edges)
    done = neurarium("fit", nodes, "--edges", file, "--target", "y", "--epochs", "3", "--json")
    assert 0 <= result(done)["test"]["accuracy"] <= 1
    assert "dropped 1 edges from a node to itself" in done.err
    assert "dropped 2 edges that come twice" in done.err
    assert "56 nodes have no edge" in done.err


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
