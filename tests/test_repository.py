"""The repository as a stranger finds it: tied to no machine, and what it promises exists."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import neurarium

ROOT = Path(__file__).parents[1]
MAX_LINES = 600


def tracked() -> list[Path]:
    """Files under version control; without git (a source archive), what is in the folders."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if git.returncode == 0:
        names = [ROOT / name for name in git.stdout.decode().split("\0") if name]
        return [path for path in names if path.is_file()]  # deleted but not yet committed
    folders = ("src", "tests", "docs", "benchmarks")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.is_file()]


FILES = tracked()
MODULES = [path for path in FILES if path.suffix == ".py"]
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:home|Users|root|opt|work|mnt|tmp)/\w+")


def test_no_file_names_a_path_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in FILES
        for match in MACHINE_PATH.finditer(path.read_bytes())
        if path != Path(__file__) and b"\0" not in path.read_bytes()[:1000]
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_python_file_is_short_enough_to_read(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{lines} lines: look for the second idea and give it its own file"


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_of_the_documents_exists(name):
    text = (ROOT / name).read_text()
    blocks = "\n".join(text.split("```")[1::2])
    wanted = re.findall(r"^make ([a-z]+)", blocks, re.MULTILINE) + re.findall(r"`make (\w+)", text)
    assert set(wanted) <= makefile_targets()


def test_every_make_target_is_phony():
    """A file called `test` or `docs`, and there are such folders, must not satisfy the target."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(phony.split()) == makefile_targets()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_is_the_same_everywhere():
    assert neurarium.__version__ == project()["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'version: "{neurarium.__version__}"' in citation


def test_no_dependency_has_an_upper_bound():
    """An upper bound would keep users from the next release of torch."""
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    assert [line for group in groups for line in group if "<" in line or "==" in line] == []


def imported_by(statement: str) -> set[str]:
    """Top-level modules loaded once `statement` has run in a fresh interpreter."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert not imported_by("import neurarium") & {"torch", "numpy", "pandas", "sklearn", "rich"}


def test_every_public_name_can_be_reached():
    for name in neurarium.__all__:
        assert getattr(neurarium, name) is not None, name
    assert set(neurarium.__all__) <= set(dir(neurarium))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        neurarium.fitt  # noqa: B018
