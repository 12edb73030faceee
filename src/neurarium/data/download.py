"""Files from the network: checked, cached, never half written."""

import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from neurarium.data.errors import DataError

_TIMEOUT = 30.0  # seconds without an answer before the next mirror is tried


def cache_directory() -> Path:
    """Where downloads are kept: `$NEURARIUM_CACHE`, else ~/.cache/neurarium."""
    return Path(os.environ.get("NEURARIUM_CACHE") or Path.home() / ".cache" / "neurarium")


def fetch(urls: Sequence[str], path: Path, digest: str) -> Path:
    """The file at `path`, downloaded from the first mirror that gives the right bytes.

    Args:
        urls: mirrors of one file (http, https or file).
        digest: what the bytes must hash to, as "sha256:..." or "md5:...".

    Raises:
        DataError: if no mirror has the file; says what each answered.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in urls:
        try:
            _download(url, path, digest)
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
        else:
            return path
    raise DataError(
        f"'{path.name}' could not be downloaded ({'; '.join(failures)}); "
        f"put the file into {path.parent} by hand, or set NEURARIUM_DATA to a folder that has it"
    )


def _download(url: str, path: Path, digest: str) -> None:
    if not url.startswith(("http://", "https://", "file://")):
        raise ValueError("only http, https and file addresses are allowed")
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        partial = Path(file.name)
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                shutil.copyfileobj(answer, file)
            file.flush()
            os.fsync(file.fileno())
            check(partial, digest)
            partial.replace(path)  # readers see the whole file or none
        finally:
            partial.unlink(missing_ok=True)


def check(path: Path, digest: str) -> None:
    """Raise ValueError unless the file's bytes have this "algorithm:hexadecimal" digest."""
    algorithm, _, expected = digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ValueError(f"its {algorithm} is {found}, not {expected}")
