"""The command line: `neurarium fit digits`."""

from neurarium.cli.app import main

__all__ = ["main"]
