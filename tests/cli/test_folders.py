import pytest

from neurarium.cli import folders


def test_runs_of_one_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.time, "strftime", lambda form: "2026-01-02_03-04-05")
    with folders.new_folder(tmp_path, "t") as first, folders.new_folder(tmp_path, "t") as second:
        assert first.name == "2026-01-02_03-04-05"
        assert second.name == "2026-01-02_03-04-05_2"


def test_a_name_cannot_leave_the_folder_of_runs(tmp_path):
    with folders.new_folder(tmp_path / "runs", "../../etc/x y") as folder:
        assert folder.parent == tmp_path / "runs" / "etc-x-y"


def give_up(parent, file):
    """End with a mistake after `file` was written."""

    def run():
        with folders.new_folder(parent, "t") as folder:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        run()


def test_a_mistake_before_training_removes_the_folder_and_those_above(tmp_path):
    give_up(tmp_path / "runs", "config.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_checkpoints_is_never_removed(tmp_path):
    give_up(tmp_path / "runs", "checkpoints/last/meta.json")
    assert len(list(tmp_path.rglob("meta.json"))) == 1


def test_a_run_is_found_by_folder_by_name_and_by_the_folder_of_its_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1", "2"):
        (tmp_path / "runs" / "t" / name).mkdir(parents=True)
        (tmp_path / "runs" / "t" / name / "config.yaml").touch()
    assert folders.find_run("runs/t/1").name == "1"
    assert folders.find_run("runs/t").name == "2"
    assert folders.find_run("t").name == "2"
    (tmp_path / "runs" / "t" / "1" / "result.json").touch()
    assert folders.find_run("t").name == "1"
    assert folders.find_run("t", finished=False).name == "2"
    with pytest.raises(LookupError, match=r"'u' is not the folder of a run.*runs of t"):
        folders.find_run("u")
