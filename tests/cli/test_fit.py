import json
import shlex
from pathlib import Path

import pytest
import yaml


def table(path: Path, rows: int = 60) -> Path:
    """A small table of mixed columns whose answer is in its first."""
    words = ["red", "green", "blue"]
    lines = [f"{i % 9},{words[i % 3]},{'yes' if i % 9 > 4 else 'no'}" for i in range(rows)]
    path.write_text("\n".join(["size,colour,answer", *lines]) + "\n")
    return path


BAD = {
    "empty": b"",
    "header only": b"a,b,y\n",
    "one class": b"a,b,y\n" + b"1,2,no\n3,4,no\n" * 10,
    "target absent": b"a,b,z\n" + b"1,2,no\n3,4,yes\n" * 10,
    "target all missing": b"a,b,y\n" + b"1,2,\n3,4,NA\n" * 10,
    "duplicated names": b"a,a,y\n" + b"1,2,no\n3,4,yes\n" * 10,
    "ragged": b"a,b,y\n" + b"1,2,no\n3,4,yes,5\n" * 10,
    "encoding": b"a,b,y\n" + "1,2,né\n3,4,yes\n".encode("cp1252") * 10,
    "infinity": b"a,b,y\n" + b"inf,2,no\n3,4,yes\n" * 10,
    "huge category count": b"a,b,y\n" + b"".join(b"1,2,w%d\n" % i for i in range(1000)),
    "three rows": b"a,b,y\n1,2,no\n3,4,yes\n5,6,no\n",
    "binary junk": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_sentence_and_leaves_nothing(kind, neurarium, workplace):
    (workplace / "bad.csv").write_bytes(BAD[kind])
    result = neurarium("fit", "bad.csv", "--target", "y")
    assert result.code == 2
    assert result.is_one_sentence
    assert [path.name for path in workplace.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--network MPL", "did you mean MLP"),
        ("--optimizer adamm", "did you mean"),
        ("--loss hubber", "did you mean"),
        ("--penalty l3", "did you mean L2 or L1"),
        ("--augment flop", "did you mean"),
        ("--augment flip --network MLP", "Flip"),
        ("--callback emma", "did you mean EMA"),
        ("--device tpu9", "device 'tpu9'"),
        ("--epoch 3", "did you mean --epochs"),
        ("--epochs 0", "--epochs"),
        ("--max-time soon", "HH:MM:SS"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_leaves_nothing(flags, message, neurarium, workplace):
    result = neurarium("fit", "iris", "--quiet", *flags.split())
    assert result.code == 2
    assert result.is_one_sentence
    assert message in result.err
    assert list(workplace.iterdir()) == []


def test_a_verb_misspelt_names_the_nearest(neurarium):
    code, _, err = neurarium("fti", "digits")
    assert code == 2
    assert "did you mean fit?" in err


def test_fit_tells_what_it_inferred_and_found_and_where_it_is(neurarium, workplace):
    table(workplace / "t.csv")
    code, out, err = neurarium("fit", "t.csv", "--target", "answer", "--network=MLP", "--epochs=2")
    assert code == 0
    assert "--task overrides" in out
    assert "accuracy" in out
    assert "95 % interval" in out
    assert "epoch 2/2" in err
    (folder,) = Path("runs/t").iterdir()
    assert f"neurarium predict {folder}" in out
    assert {path.name for path in folder.iterdir()} >= {
        "config.yaml", "metrics.jsonl", "log.txt", "model", "result.json", "report.html",
    }  # fmt: skip
    log = (folder / "log.txt").read_text()
    assert set(out.splitlines()) <= set(log.splitlines())
    assert "epoch 2/2" in log
    assert "\x1b" not in out + err + log


def test_json_is_the_last_line_and_the_only_one(neurarium):
    code, out, err = neurarium(
        "fit", "iris", "--network=MLP", "--epochs=2", "--json", "--no-report"
    )
    (line,) = out.splitlines()
    result = json.loads(line)
    assert code == 0
    assert list(result) == ["run", "task", "model", "seconds", "epochs", "test"]
    assert result["task"] == "multiclass"
    assert result["epochs"] == 2
    assert set(result["test"]) >= {"accuracy", "balanced_accuracy", "log_loss", "roc_auc"}
    assert json.loads(Path(result["run"], "result.json").read_text()) == result
    assert "accuracy" in err
    assert not Path(result["run"], "report.html").exists()


def test_the_recorded_command_makes_the_same_network(neurarium, workplace):
    table(workplace / "t.csv")
    words = [
        "t.csv",
        "--target=-1",
        "--network=MLP",
        "--epochs=2",
        "--lr=0.01",
        "--no-compile",
        "--quiet",
    ]
    assert neurarium("fit", *words).code == 0
    (first,) = Path("runs/t").iterdir()
    command = shlex.split(yaml.safe_load((first / "config.yaml").read_text())["command"])
    assert command[0] == "neurarium"
    assert neurarium(*command[1:], "--name", "again").code == 0
    (second,) = Path("runs/again").iterdir()
    weights = "model/model.safetensors"
    assert (first / weights).read_bytes() == (second / weights).read_bytes()


def test_a_trial_run_saves_nothing(neurarium, workplace):
    code, out, _ = neurarium("fit", "iris", "--network=MLP", "--fast-dev-run")
    assert code == 0
    assert "nothing was saved" in out
    assert list(workplace.iterdir()) == []


def test_a_loss_that_explodes_fails_with_the_step_and_keeps_the_folder(neurarium):
    result = neurarium("fit", "diabetes", "--optimizer", "sgd", "--lr=1e30", "--network=MLP", "-q")
    assert result.code == 1
    assert result.is_one_sentence
    assert "epoch" in result.err
    (folder,) = Path("runs/diabetes").iterdir()
    assert "epoch" in (folder / "log.txt").read_text()
