"""`neurarium compare`: verdicts, a folder that goes on, and refusals in one sentence."""

import csv
import json
from pathlib import Path

import pytest

SMALL = ["--network=MLP:hidden=8", "--epochs=2", "--lr=0.02", "--workers=1"]


def test_compare_says_what_it_found_and_where_it_is(neurarium):
    words = ["compare", "iris", "--vary", "rule=backprop,sam", "--seeds=2", *SMALL]
    code, out, err = neurarium(*words)
    assert (code, err) == (0, "")
    assert "4/4" in out
    assert "sam: " in out
    assert "Chosen: " in out
    assert "on the test rows, asked once" in out
    folder = Path("study/iris")
    assert {p.name for p in folder.iterdir()} >= {
        "trials.csv", "config.yaml", "result.json", "report.html", "trials", "chosen",
    }  # fmt: skip
    again = neurarium(*words, "-q")
    assert "4/4" not in again.out
    assert [line for line in again.out.splitlines() if line.startswith(("backprop", "sam"))] == [
        line for line in out.splitlines() if line.startswith(("backprop", "sam"))
    ]


def test_json_holds_the_study_and_nothing_else_is_on_stdout(neurarium):
    words = ["--vary", "lr=1e-6,0.05", "--vary=batch_size=16,32", "--grid", "--seeds=3"]
    base = ["--network=MLP:hidden=8", "--epochs=3", "--workers=1"]
    code, out, _ = neurarium("compare", "iris", *words, *base, "--json", "--no-report")
    (line,) = out.splitlines()
    result = json.loads(line)
    assert code == 0
    assert [arm["arm"] for arm in result["arms"]] == [
        "lr=1e-06, batch_size=16", "lr=1e-06, batch_size=32",
        "lr=0.05, batch_size=16", "lr=0.05, batch_size=32",
    ]  # fmt: skip
    assert result["metric"] == "accuracy"
    assert result["report"] is None
    assert result["complete"]
    for arm in result["arms"][1:]:
        excludes = arm["low"] > 0 or arm["high"] < 0
        assert (arm["verdict"] in ("better", "worse")) == excludes
    with Path("study/iris/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["batch_size"] for row in rows} == {"16", "32"}


def test_regression_is_compared_by_a_loss_downwards(neurarium):
    words = ["--vary", "lr=1e-7,0.03", "--metric=rmse", "--seeds=4", "--margin=0.1", "--json"]
    base = ["--network=MLP:hidden=8", "--epochs=4", "--workers=1", "--no-report", "-q"]
    result = json.loads(neurarium("compare", "diabetes", *words, *base).out)
    (_, better) = result["arms"]
    assert better["verdict"] == "better"
    assert better["high"] < 0
    assert result["chosen"] == "0.03"
    assert len(result["test"]["rmse"]) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--vary", "rul=sam"], "did you mean rule"),
        (["--vary", "rule=backprop,sma"], "did you mean SAM"),
        (["--vary", "rule"], "must look like rule=backprop,sam"),
        (["--vary", "network=MLP,LeNet5"], "LeNet5 cannot be trained here"),
        (["--vary", "augment=none,flip"], "flip cannot be trained here"),
        (["--vary", "lr=0.1,0.2", "--budget=soon"], "budget must be a time"),
        (["--vary", "lr=0.1,0.2", "--grid", "--random=2"], "take one of"),
        (["--vary", "lr=0.1,0.2", "--metric=acuracy"], "did you mean accuracy"),
        (["--vary", "epochs=9999999,2", "--budget=3s"], "allow at least"),
        ([], "vary"),
    ],
)
def test_a_wrong_argument_is_one_sentence(flags, message, neurarium):
    result = neurarium("compare", "iris", "-q", "--network=MLP:hidden=8", "--workers=1", *flags)
    assert result.code == 2
    assert result.is_one_sentence
    assert message in result.err


def test_series_and_graphs_are_compared_and_tuned_too(neurarium, workplace):
    rows = "\n".join(
        f"2024-01-01 {i // 60:02}:{i % 60:02},{(i % 7) ** 0.5:.3f}" for i in range(400)
    )
    (workplace / "load.csv").write_text(f"time,y\n{rows}\n")
    series = ["load.csv", "--time=time", "--target=y", "--horizon=3"]
    words = ["--vary=network=NLinear,DLinear", "--seeds=2", "--epochs=2", "--workers=1", "--json"]
    found = json.loads(neurarium("compare", *series, *words).out)
    assert [arm["seeds"] for arm in found["arms"]] == [2, 2]
    words = ["--trials=2", "--seeds=2", "--epochs=2", "--workers=1", "--json"]
    assert json.loads(neurarium("tune", *series, *words).out.splitlines()[-1])["trials"]
    nodes = "\n".join(f"n{i},{i % 3},{i % 5},{'xyz'[i % 3]}" for i in range(60))
    edges = "\n".join(f"n{i},n{(i + 3) % 60}" for i in range(60))
    (workplace / "nodes.csv").write_text(f"id,a,b,topic\n{nodes}\n")
    (workplace / "edges.csv").write_text(f"source,target\n{edges}\n")
    words = ["--vary=network=GCN,GAT", "--seeds=2", "--epochs=3", "--workers=1", "--json"]
    graph = ["nodes.csv", "--edges=edges.csv", "--target=topic"]
    found = json.loads(neurarium("compare", *graph, *words).out)
    assert [arm["seeds"] for arm in found["arms"]] == [2, 2]
