"""Graphs from files, networkx and PyG, and what is wrong with some."""

import pickle
import subprocess
import sys
import types

import networkx as nx
import numpy as np
import pytest
import torch

from neurarium.data import (
    DataError,
    Graph,
    as_graph,
    edge_data,
    graph_data,
    load,
    molecule,
    node_data,
)
from neurarium.data.from_graph import AllRows
from neurarium.data.molecules import parse_smiles
from neurarium.data.planetoid import read_planetoid


def test_collate_puts_graphs_side_by_side():
    a = Graph(torch.ones(2, 1), torch.tensor([[0], [1]]), y=torch.tensor([0, 1]))
    b = Graph(2 * torch.ones(3, 1), torch.tensor([[2], [0]]), y=torch.tensor([1, 1, 0]))
    both = Graph.collate([a, b])
    assert both.edge_index.tolist() == [[0, 4], [1, 2]]
    assert both.batch.tolist() == [0, 0, 1, 1, 1]
    assert both.x.flatten().tolist() == [1, 1, 2, 2, 2]
    assert both.y.tolist() == [0, 1, 1, 1, 0]
    assert len(both) == both.num_graphs == 2


def test_dense_and_back_is_the_same():
    graph = Graph(
        torch.eye(3), torch.tensor([[0, 1], [1, 2]]), edge_weight=torch.tensor([2.0, 3.0])
    )
    back = Graph.from_dense(graph.x, graph.to_dense())
    assert torch.equal(back.to_dense(), graph.to_dense())
    assert back.edge_weight.tolist() == [2, 3]


def test_networkx_keeps_direction_weights_and_labels():
    made = nx.DiGraph()
    made.add_node("a", size=1.5, kind="x")
    made.add_node("b", size=2.5, kind="y")
    made.add_edge("a", "b", weight=3.0)
    graph = Graph.from_networkx(made, features=["size"], target="kind")
    assert graph.x.flatten().tolist() == [1.5, 2.5]
    assert graph.edge_index.tolist() == [[0], [1]]
    assert graph.edge_weight.tolist() == [3]
    assert graph.y.tolist() == [0, 1]
    undirected = Graph.from_networkx(nx.Graph([(0, 1), (1, 1)]))
    assert sorted(undirected.edge_index.T.tolist()) == [[0, 1], [1, 0], [1, 1]]


def test_pygs_data_is_taken_by_its_names():
    found = types.SimpleNamespace(
        x=torch.eye(2), edge_index=torch.tensor([[0], [1]]), y=torch.tensor([0, 1]), num_nodes=2,
        train_mask=torch.tensor([True, False]), edge_attr=None,
    )  # fmt: skip
    graph = as_graph(found)
    assert torch.equal(graph.y, found.y)
    assert torch.equal(graph.train_mask, found.train_mask)
    assert "torch_geometric" not in sys.modules


def test_networkx_and_pyg_objects_are_data_as_they_are(unchecked):
    club = nx.karate_club_graph()
    sides = torch.tensor([club.nodes[n]["club"] == "Officer" for n in club]).long()
    data = node_data(club, y=sides)
    assert (data.task, data.input_shape, len(data.indices["train"])) == ("binary", (34,), 21)
    graph = data.transform.graph
    assert graph.num_edges == 2 * 78
    assert float(graph.edge_weight.max()) == 7
    found = types.SimpleNamespace(
        x=torch.eye(12), edge_index=graph.edge_index[:, :0], y=torch.arange(12) % 2, num_nodes=12
    )
    splits = node_data(found).indices
    assert sorted(row for rows in splits.values() for row in rows) == list(range(12))
    with pytest.raises(TypeError, match=r"a graph must be a Graph, .* got dict"):
        node_data({"x": torch.eye(2)})


def test_neither_networkx_nor_pyg_is_imported_with_the_package():
    code = "import sys, neurarium.graphs, neurarium.data, neurarium.explain; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"networkx", "torch_geometric"} & set(told.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"edge_index": torch.tensor([[0], [3]])}, r"names node 3, but x has 3 rows"),
        ({"edge_index": torch.tensor([[-1], [0]])}, r"names node -1"),
        ({"edge_index": torch.tensor([[0, 1]])}, r"shape \(2, edges\)"),
        ({"edge_weight": torch.ones(2)}, r"edge_weight must have one entry per edge \(1\), got 2"),
        ({"batch": torch.zeros(2).long()}, r"batch must have one entry per node \(3\), got 2"),
        ({"train_mask": torch.ones(3)}, "train_mask must be boolean"),
        (
            {
                "train_mask": torch.tensor([True, True, False]),
                "test_mask": torch.tensor([False, True, True]),
            },
            "train_mask and test_mask share 1 nodes",
        ),
    ],
)
def test_what_does_not_fit_is_named(arguments, message, unchecked):
    given = {"x": torch.eye(3), "edge_index": torch.tensor([[0], [1]])} | arguments
    with pytest.raises(ValueError, match=message):
        Graph(**given)


def test_a_network_for_rows_says_that_it_cannot_read_a_graph(unchecked):
    from neurarium.networks import MLP

    graph = Graph(torch.eye(3), torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match="reads rows of numbers"):
        MLP([3, 2])(graph)
    assert not hasattr(graph, "something")


# Planetoid


def write_planetoid(folder, name="toy", *, skip=0, edges=None):
    """Ten nodes, the last four of them for the test, given out of order."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    words = (rng.random((10 - skip, 5)) > 0.4).astype(np.float32)
    words[0] = 0  # a node without words
    labels = np.eye(2, dtype=np.int32)[np.arange(10 - skip) % 2]
    test = [9, 6, 8, 7]
    test = test[: 4 - skip]
    graph = edges or {i: [(i + 1) % 10, (i + 1) % 10, i] for i in range(10)}
    order = [sorted(test).index(t) + 6 for t in test]
    parts = {
        "x": csr_matrix(words[:2]), "y": labels[:2], "allx": csr_matrix(words[:6]),
        "ally": labels[:6], "tx": csr_matrix(words[order]), "ty": labels[order], "graph": graph,
    }  # fmt: skip
    for part, value in parts.items():
        (folder / f"ind.{name}.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / f"ind.{name}.test.index").write_text("\n".join(map(str, test)) + "\n")
    return words, labels, test


def test_planetoid_files_are_put_together(tmp_path):
    words, labels, test = write_planetoid(tmp_path)
    graph, notes = read_planetoid(tmp_path)
    total = words.sum(1, keepdims=True)
    expected = np.divide(words, total, out=np.zeros_like(words), where=total > 0)
    np.testing.assert_allclose(graph.x.to_dense().numpy(), expected, rtol=1e-6)
    assert graph.y.tolist() == labels.argmax(1).tolist()
    assert graph.test_mask.nonzero().flatten().tolist() == sorted(test)
    assert graph.train_mask.nonzero().flatten().tolist() == [0, 1]
    assert graph.val_mask.nonzero().flatten().tolist() == [2, 3, 4, 5]
    assert graph.num_edges == 20  # a ring, each edge once in both directions, no loops
    assert "10 undirected edges" in notes[0]


def test_test_nodes_that_no_file_describes_stay_without_features(tmp_path):
    _, _, test = write_planetoid(tmp_path, skip=1)  # node 7 is in no file, as in Citeseer
    assert test == [9, 6, 8]
    graph, notes = read_planetoid(tmp_path)
    assert graph.num_nodes == 10
    assert not graph.x.to_dense()[7].any()
    assert not graph.test_mask[7]
    assert any("1 nodes have neither features nor a label" in note for note in notes)


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


def test_a_pickle_that_would_run_something_is_refused(tmp_path, capsys):
    write_planetoid(tmp_path)
    for protocol in (0, 2, 4):
        (tmp_path / "ind.toy.graph").write_bytes(pickle.dumps(Evil(), protocol=protocol))
        with pytest.raises(DataError, match=r"it asks for .*print"):
            read_planetoid(tmp_path)
    assert "run!" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "ind.toy.tx").unlink(), "is missing"),
        (lambda f: (f / "ind.toy.allx").write_bytes(b"\x80\x02garbage"), "not a Planetoid file"),
        (lambda f: (f / "ind.toy.test.index").write_text("a b"), "one node number a line"),
        (
            lambda f: (f / "ind.toy.graph").write_bytes(pickle.dumps({0: [99]})),
            "do not fit together: an edge names node 99",
        ),
        (lambda f: (f / "ind.other.graph").write_bytes(b""), "holds 2 graphs"),
    ],
)
def test_spoilt_planetoid_folders_are_named(tmp_path, spoil, message):
    write_planetoid(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        read_planetoid(tmp_path)


def test_of_several_graphs_in_a_folder_a_file_names_one(tmp_path):
    write_planetoid(tmp_path, "toy")
    write_planetoid(tmp_path, "other-graph", skip=1)
    with pytest.raises(DataError, match=r"name one by its file, '.*ind.other-graph.graph'"):
        load(tmp_path)
    for part in ("graph", "x", "test.index"):
        data = load(tmp_path / f"ind.other-graph.{part}")
        assert data.name == "other-graph"
        assert len(data.test) == 3
    assert len(load(tmp_path / "ind.toy.tx").test) == 4
    assert load(**data.source).fingerprint() == data.fingerprint()


def test_cora_among_other_graphs_is_cora(data_path, tmp_path, monkeypatch):
    source = data_path("planetoid")
    folder = tmp_path / "planetoid"
    folder.mkdir()
    for file in source.glob("ind.cora.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    write_planetoid(folder, "toy")
    monkeypatch.setenv("NEURARIUM_DATA", str(tmp_path))
    assert load("cora").transform.graph.num_nodes == 2708
    (folder / "ind.cora.graph").unlink()
    with pytest.raises(DataError, match="cora is not downloaded"):
        load("cora")


def test_cora_is_the_public_split(data_path):
    data = load(str(data_path("planetoid")))
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [140, 500, 1000]
    graph = data.transform.graph
    assert (graph.num_nodes, graph.num_edges, graph.x.shape[1]) == (2708, 2 * 5278, 1433)
    assert torch.bincount(graph.y[graph.test_mask]).tolist() == [130, 91, 144, 319, 149, 103, 64]
    again = load(**data.source)
    assert again.fingerprint() == data.fingerprint()


# Tables of nodes and edges


def write_tables(folder, nodes=40, edges=None, extra=""):
    rng = np.random.default_rng(0)
    rows = ["id,size,colour,y"]
    for i in range(nodes):
        rows.append(f"n{i},{rng.normal():.3f},{'red' if i % 3 else 'blue'},{'a' if i % 2 else 'b'}")
    if edges is None:
        edges = [f"n{i},n{(i + 2) % nodes}" for i in range(nodes)]
    (folder / "nodes.csv").write_text("\n".join(rows) + "\n" + extra)
    (folder / "edges.csv").write_text("\n".join(["source,target", *edges]) + "\n")
    return folder / "nodes.csv", folder / "edges.csv"


def test_a_table_of_nodes_and_one_of_edges_are_a_graph(tmp_path):
    nodes, edges = write_tables(tmp_path)
    data = load(nodes, "y", edges=edges)
    graph = data.transform.graph
    assert data.task == "binary"
    assert data.classes == ["a", "b"]
    assert graph.num_nodes == 40
    assert graph.num_edges == 80
    assert data.preprocessing.features == ["size", "colour = blue", "colour = red"]
    assert torch.equal(graph.x[:3, 2], torch.tensor([0.0, 1.0, 1.0]))
    assert sum(len(data.split(name)) for name in ("train", "val", "test")) == 40
    assert isinstance(data.train, AllRows)
    assert load(**data.source).fingerprint() == data.fingerprint()
    one_way = load(nodes, "y", edges=edges, directed=True)
    assert one_way.transform.graph.num_edges == 40
    assert one_way.fingerprint() != data.fingerprint()


def test_repeated_edges_loops_and_lone_nodes_are_told(tmp_path):
    nodes, edges = write_tables(tmp_path, edges=["n0,n1", "n1,n0", "n0,n1", "n2,n2", "n3,n4"])
    data = load(nodes, "y", edges=edges)
    told = " ".join(data.notes)
    assert data.transform.graph.num_edges == 4
    assert "2 undirected edges" in told
    assert "dropped 1 edges from a node to itself" in told
    assert "dropped 2 edges that come twice" in told
    assert "36 nodes have no edge" in told


def test_nodes_without_a_target_stay_as_neighbours(tmp_path):
    edges = [f"n{i},n{(i + 2) % 42}" for i in range(42)]
    nodes, edges = write_tables(tmp_path, edges=edges, extra="n40,0.5,red,\nn41,0.1,blue,\n")
    data = load(nodes, "y", edges=edges)
    assert data.transform.graph.num_nodes == 42
    rows = [row for split in data.indices.values() for row in split]
    assert sorted(rows) == list(range(40))
    assert any("2 nodes have no target" in note for note in data.notes)


def test_rows_are_named_by_numbers_where_no_column_names_them(tmp_path):
    nodes = [f"{i / 7:.2f},{i % 2}" for i in range(20)]
    edges = [f"{i},{(i + 1) % 20},{i + 1}" for i in range(20)]
    (tmp_path / "n.csv").write_text("\n".join(["size,y", *nodes, ""]))
    (tmp_path / "e.csv").write_text("\n".join(["from,to,weight", *edges, ""]))
    data = load(tmp_path / "n.csv", "y", edges=tmp_path / "e.csv")
    graph = data.transform.graph
    assert graph.num_edges == 40
    assert sorted(set(graph.edge_weight.tolist())) == list(range(1, 21))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (["n0,n1", "n0,nobody"], r"edge 2 goes to node 'nobody', which the node table does not"),
        (["n0,"], "edge 1 .* lacks an end"),
        ([], "only a header"),
    ],
)
def test_edges_that_lead_nowhere_are_named(tmp_path, edges, message):
    nodes, file = write_tables(tmp_path, edges=edges)
    with pytest.raises(DataError, match=message):
        load(nodes, "y", edges=file)


def test_negative_weights_and_missing_files_are_named(tmp_path):
    nodes, _ = write_tables(tmp_path)
    (tmp_path / "w.csv").write_text("a,b,weight\nn0,n1,2\nn1,n2,-3\n")
    with pytest.raises(DataError, match=r"edge 2 of 'w.csv' has the negative weight -3"):
        load(nodes, "y", edges=tmp_path / "w.csv")
    with pytest.raises(DataError, match="there is no file of edges"):
        load(nodes, "y", edges=tmp_path / "none.csv")
    with pytest.raises(DataError, match="edges join the rows of a table"):
        load("digits", edges=tmp_path / "w.csv")


def test_a_name_that_comes_twice_is_told(tmp_path):
    nodes, edges = write_tables(tmp_path, extra="n3,0.5,red,a\n")
    with pytest.raises(DataError, match="names node 'n3' twice"):
        load(nodes, "y", edges=edges)


# Data of nodes, of pairs, of graphs


def test_masks_say_which_nodes_train(unchecked):
    graph = Graph(
        torch.eye(4), torch.tensor([[0], [1]]), y=torch.tensor([5, 7, 7, 5]),
        train_mask=torch.tensor([True, True, False, False]),
        test_mask=torch.tensor([False, False, True, False]),
    )  # fmt: skip
    data = node_data(graph)
    assert data.indices == {"train": [0, 1], "val": [], "test": [2]}
    assert data.classes == ["5", "7"]
    assert data.train.tensors["target"].tolist() == [0, 1]
    assert data.example()["input"].nodes.tolist() == [0, 1]
    assert data.input_shape == (4,)
    with pytest.raises(DataError, match="has no y"):
        node_data(Graph(torch.eye(4), torch.tensor([[0], [1]])))
    none = Graph(graph.x, graph.edge_index, y=graph.y, train_mask=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(DataError, match="train_mask marks no node"):
        node_data(none)


def test_a_node_regression_is_standardized(unchecked):
    y = torch.arange(20.0)
    graph = Graph(torch.eye(20), torch.tensor([[0], [1]]), y=y)
    data = node_data(graph)
    assert data.task == "regression"
    known = data.train.tensors["target"]
    torch.testing.assert_close(known.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    decoded = data.preprocessing.decode(known)
    np.testing.assert_allclose(decoded, y[data.indices["train"]], rtol=1e-5, atol=1e-5)


def test_whole_graphs_come_in_batches(unchecked):
    graphs = [molecule("C" * n) for n in range(2, 22)]
    data = graph_data(graphs, np.arange(20) % 2)
    batch = data.example(4)
    assert batch["input"].num_graphs == 4
    assert len(batch["input"]) == len(batch["target"]) == 4
    with pytest.raises(DataError, match="20 graphs but 3 targets"):
        graph_data(graphs, [0, 1, 0])


def test_edge_data_needs_edges(unchecked):
    with pytest.raises(DataError, match="too few to hide"):
        edge_data(Graph(torch.eye(3), torch.tensor([[0], [1]])))


# Molecules


@pytest.mark.parametrize(
    ("smiles", "hydrogens", "bonds"),
    [
        ("CCO", [3, 2, 1], [1, 1]),
        ("C=C", [2, 2], [2]),
        ("C#N", [1, 0], [3]),
        ("c1ccccc1", [1] * 6, [1.5] * 6),
        ("c1ccncc1", [1, 1, 1, 0, 1, 1], [1.5] * 6),
        ("c1cc[nH]c1", [1, 1, 1, 1, 1], [1.5] * 5),
        ("c1ccsc1", [1, 1, 1, 0, 1], [1.5] * 5),
        ("Cn1cccc1", [3, 0, 1, 1, 1, 1], [1, *[1.5] * 5]),
        ("CC(=O)O", [3, 0, 0, 1], [1, 2, 1]),
        ("C[N+](=O)[O-]", [3, 0, 0, 0], [1, 2, 1]),
        ("ClCCl", [0, 2, 0], [1, 1]),
        ("C1CC1", [2, 2, 2], [1, 1, 1]),
        ("[Na+].[Cl-]", [0, 0], []),
        ("CS(=O)(=O)C", [3, 0, 0, 0, 3], [1, 2, 2, 1]),
        ("F/C=C/F", [0, 1, 1, 0], [1, 2, 1]),
        ("C%12CC%12", [2, 2, 2], [1, 1, 1]),
    ],
)
def test_smiles_by_hand(smiles, hydrogens, bonds):
    atoms = parse_smiles(smiles)
    assert [atom.hydrogens for atom in atoms] == hydrogens
    assert sorted(b for a in atoms for b in a.bonds.values()) == sorted(2 * bonds)


@pytest.mark.parametrize("smiles", ["C(", "C1CC", "C)C", "", "1CC", "[C", "Cx"])
def test_what_is_no_smiles_is_refused(smiles):
    with pytest.raises(DataError, match="no SMILES"):
        parse_smiles(smiles)


def test_molecules_know_rings_and_both_directions_of_bonds():
    graph = molecule("CC1CC1")
    assert graph.num_edges == 8
    assert graph.x[:, -1].tolist() == [0, 1, 1, 1]  # in a ring
    ends = [tuple(e) for e in graph.edge_index.T.tolist()]
    assert all((b, a) in ends for a, b in ends)


def test_every_molecule_of_esol_is_read(data_path):
    import pandas as pd

    table = pd.read_csv(data_path("esol") / "delaney-processed.csv")
    weights = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998, "P": 30.974}
    weights |= {"S": 32.067, "Cl": 35.453, "Br": 79.904, "I": 126.904}
    for smiles, weight in zip(table["smiles"], table["Molecular Weight"], strict=True):
        atoms = parse_smiles(smiles)
        found = sum(weights[a.element] + a.hydrogens * weights["H"] for a in atoms)
        assert found == pytest.approx(weight, abs=0.02)  # so every hydrogen is counted


def test_hydrogens_are_those_of_rdkit(data_path):
    chem = pytest.importorskip("rdkit.Chem", reason="RDKit is not installed")
    import pandas as pd

    table = pd.read_csv(data_path("esol") / "delaney-processed.csv")
    for smiles in table["smiles"]:
        mol = chem.MolFromSmiles(smiles)
        assert [a.GetTotalNumHs() for a in mol.GetAtoms()] == [
            a.hydrogens for a in parse_smiles(smiles)
        ]
