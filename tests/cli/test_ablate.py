"""`neurarium ablate`: parts of a run, ranked, in words and as JSON."""

import json
from pathlib import Path

from tests.report.test_report import Page

FIT = ["--network=MLP:hidden=8", "--epochs=8", "--lr=0.02", "--quiet", "--no-report"]


def test_parts_are_ranked_and_kept(neurarium):
    assert neurarium("fit", "iris", *FIT).code == 0
    code, out, err = neurarium("ablate", "iris")
    assert (code, err) == (0, "")
    for kind in ("layers", "units", "connections", "inputs"):
        assert f"without {kind}" in out
    assert "petal length" in out
    page = Path(out.split()[-1])
    drawn = Page(page.read_text())
    assert sorted(drawn.titles) == ["Connections", "Inputs", "Layers", "Units"]
    assert len(drawn.alts) == 4
    assert any("petal length" in alt for alt in drawn.alts)
    assert drawn.links == [] or all(link.startswith(("data:", "#")) for link in drawn.links)
    kept = json.loads(page.with_suffix(".json").read_text())
    assert [part["loss"] for part in kept["parts"]] == sorted(
        (part["loss"] for part in kept["parts"]), reverse=True
    )
    words = ["--part=layer", "--recover", "--epochs=2", "--json", "-q"]
    result = json.loads(neurarium("ablate", "iris", *words).out)
    assert {part["kind"] for part in result["parts"]} == {"layers"}
    assert all(part["recovered"] is not None for part in result["parts"])


def test_tricks_are_left_out_in_turn(neurarium):
    assert neurarium("fit", "iris", *FIT).code == 0
    words = ["--part=layers", "--tricks", "--seeds=2", "--workers=1", "--json", "-q"]
    result = json.loads(neurarium("ablate", "iris", *words).out)
    arms = [arm["arm"] for arm in result["tricks"]["arms"]]
    assert arms[0] == "base"
    assert "schedule=without" in arms


def test_what_is_no_part_is_named(neurarium):
    result = neurarium("ablate", "nothing", "--part=layr")
    assert result.code == 2
    assert result.is_one_sentence
    assert "did you mean" in result.err


def test_a_run_on_a_series_says_what_it_is(neurarium, workplace):
    rows = "\n".join(f"2024-01-01 {i // 60:02}:{i % 60:02},{i % 7}" for i in range(400))
    (workplace / "load.csv").write_text(f"time,y\n{rows}\n")
    words = ["--time=time", "--target=y", "--horizon=3", "--epochs=2", "--quiet", "--no-report"]
    assert neurarium("fit", "load.csv", *words).code == 0
    result = neurarium("ablate", "load")
    assert result.code == 2
    assert result.is_one_sentence
    assert "windows of a series" in result.err
    assert neurarium("diagnose", "load").code == 0
