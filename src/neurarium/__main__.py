"""`python -m neurarium` is the command `neurarium`."""

from neurarium.cli import main

main()
