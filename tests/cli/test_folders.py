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


def test_a_mistake_before_training_removes_the_folder_and_those_above(tmp_path):
    with pytest.raises(ValueError, match="wrong"), folders.new_folder(tmp_path / "runs", "t") as at:
        (at / "config.yaml").write_text("x")
        raise ValueError("wrong")
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_checkpoints_is_never_removed(tmp_path):
    with pytest.raises(ValueError, match="late"), folders.new_folder(tmp_path, "t") as folder:
        (folder / "checkpoints" / "last").mkdir(parents=True)
        raise ValueError("late")
    assert folder.is_dir()


def test_a_run_is_found_by_folder_by_name_and_by_the_folder_of_its_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1", "2"):
        (tmp_path / "runs" / "t" / name).mkdir(parents=True)
        (tmp_path / "runs" / "t" / name / "config.yaml").touch()
    assert folders.find_run("runs/t/1").name == "1"
    assert folders.find_run("runs/t").name == "2"
    assert folders.find_run("t").name == "2"
    with pytest.raises(LookupError, match="'u' is not the folder of a run.*runs of t"):
        folders.find_run("u")
