"""`python -m neurarium` is the command `neurarium`."""

import sys

from neurarium.cli import main

sys.exit(main())
