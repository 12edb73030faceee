"""Run folders: `runs/<name>/<date-time>/`, and finding them again."""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from neurarium.cli.failures import USAGE, explain

CONFIG, RESULT, LOG, REPORT = "config.yaml", "result.json", "log.txt", "report.html"


@contextlib.contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder of this run alone, gone again if its arguments turn out wrong before it trains."""
    folder = _reserve(parent / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"))
    try:
        yield folder
    except BaseException as error:
        if explain(error)[0] == USAGE and not (folder / "checkpoints").exists():
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # of the folders above, those that are empty
            folder.rmdir()
        for above in (folder.parent, parent):
            with contextlib.suppress(OSError):
                above.rmdir()
        raise


def _reserve(parent: Path) -> Path:
    """Make the folder; one that another process has just made is left to it."""
    parent.mkdir(parents=True, exist_ok=True)
    moment = time.strftime("%Y-%m-%d_%H-%M-%S")
    count = 1
    while True:
        folder = parent / (moment if count == 1 else f"{moment}_{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            count += 1
        else:
            return folder


def find_run(run: str | Path, parent: str | Path = "runs", *, finished: bool = True) -> Path:
    """The folder of a run: as given, or the newest of those below it or below `runs/<name>`.

    Args:
        finished: whether, of several, a finished run is wanted or one to go on with.

    Raises:
        LookupError: if there is none.
    """
    for place in (Path(run), Path(parent) / run):
        if (place / CONFIG).is_file():
            return place
        runs = [path.parent for path in place.glob(f"*/{CONFIG}")]
        if runs:
            fitting = [folder for folder in runs if (folder / RESULT).is_file() == finished]
            return max(fitting or runs, key=lambda folder: (folder.stat().st_ctime, folder.name))
    raise LookupError(f"'{run}' is not the folder of a run: it has no {CONFIG}; {_known(parent)}")


def _known(parent: str | Path) -> str:
    names = sorted({path.parents[1].name for path in Path(parent).glob(f"*/*/{CONFIG}")})
    if not names:
        return "neurarium fit makes one below runs/"
    return f"below {parent}/ there are runs of {', '.join(names[:8])}"
