"""The command `neurarium`: its verbs, and how a failure leaves it.

Nothing heavy is imported here nor at the top of a verb's file, so that help comes at once.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from neurarium.cli import failures
from neurarium.cli.ablate import ablate
from neurarium.cli.compare import compare
from neurarium.cli.diagnose import diagnose
from neurarium.cli.doctor import doctor
from neurarium.cli.evaluate import evaluate
from neurarium.cli.fit import fit
from neurarium.cli.generate import generate
from neurarium.cli.predict import predict
from neurarium.cli.report import report
from neurarium.cli.reproduce import reproduce
from neurarium.cli.resume import resume
from neurarium.cli.show import show
from neurarium.cli.tune import tune
from neurarium.cli.zoo import zoo

app = typer.Typer(
    name="neurarium",
    help="Neural networks, from a file to a judged model.",
    rich_markup_mode=None,  # plain help: importing rich would treble its time
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class _Carried(Exception):
    """Takes interrupts and failures of files past typer, which would answer them itself."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _carrying(verb: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(verb)
    def call(*arguments: Any, **options: Any) -> None:
        try:
            verb(*arguments, **options)
        except (KeyboardInterrupt, OSError) as error:
            raise _Carried(error) from error

    return call


for verb in (
    fit, predict, evaluate, generate, resume, report, diagnose, compare, tune, ablate, zoo, show,
    reproduce, doctor,
):  # fmt: skip
    app.command()(_carrying(verb))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from neurarium import __version__

        print(
            f"neurarium {__version__} (torch {version('torch')}, python {sys.version.split()[0]})"
        )
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show where an error comes from; also NEURARIUM_DEBUG=1."),
    ] = False,
) -> None:
    """Neural networks, from a file to a judged model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 usage, 130 interrupted."""
    # Before torch is imported: OpenMP threads that spin while they wait can stall a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("NEURARIUM_DEBUG", "") not in ("", "0")
    given = [word for word in given if word != "--debug"]  # wherever it was written
    try:
        code = app(given, prog_name="neurarium", standalone_mode=False, obj=given) or 0
        sys.stdout.flush()
        return int(code)
    except (Exception, KeyboardInterrupt) as raised:
        error = raised.error if isinstance(raised, _Carried) else raised
    if isinstance(error, BrokenPipeError):
        return failures.quietly()
    if debug and not hasattr(error, "format_message"):
        raise error
    return failures.report(error)
