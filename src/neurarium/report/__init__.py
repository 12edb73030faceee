"""Reports: a finished run as one page that anyone can open."""

from neurarium.report.writer import render, write

__all__ = ["render", "write"]
