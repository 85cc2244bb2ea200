"""``seedcorn version``."""

from __future__ import annotations

import platform

import seedcorn
from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import add_command, new_app
from seedcorn.errors import EXIT_DONE

app = new_app()


@add_command(app)
def version(invocation: Invocation) -> int:
    """Show the version of seedcorn and of the Python that runs it."""
    output = invocation.output
    output.line(f"seedcorn {seedcorn.__version__} (Python {platform.python_version()})")
    output.emit("version", version=seedcorn.__version__, python=platform.python_version())
    return EXIT_DONE
