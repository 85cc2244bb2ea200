"""``seedcorn version``."""

from __future__ import annotations

import sys

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.parser import Command
from seedcorn.errors import EXIT_DONE
from seedcorn.version import __version__


def version(invocation: Invocation) -> int:
    """Show the version of seedcorn and of the Python that runs it."""
    output = invocation.output
    python = ".".join(map(str, sys.version_info[:3]))
    output.line(f"seedcorn {__version__} (Python {python})")
    output.emit("version", version=__version__, python=python)
    return EXIT_DONE


COMMAND = Command(version)
