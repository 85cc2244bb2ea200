"""Where a command's words go: results to standard output, everything about the run to standard error; or JSON lines.

Owns both streams. Invariant: nothing that comes from a repository or a file system reaches the terminal with a control character in it.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

from seedcorn.cli.render_json import error_fields
from seedcorn.errors import SeedcornError, printable

__all__ = ["Output", "prepare_streams", "shown"]

PROGRAM = "seedcorn"


def prepare_streams() -> None:
    """Let no name, however strange, stop a line from being written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a stream that cannot is left as it is


def shown(text: str) -> str:
    """Any text with its control characters escaped; line ends stay."""
    return "\n".join(printable(line.encode("utf-8", "surrogateescape")) for line in text.split("\n"))


class Output:
    """One command's output. May be used from several threads."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: int = 0) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self._lock = threading.Lock()

    def line(self, text: str = "") -> None:
        """A line of what was asked for, for a person. Names in it have been escaped."""
        if not self.as_json:
            self._write(sys.stdout, text)

    def report(self, text: str) -> None:
        """A line about the run: what was done, or is about to be. Not for who wants to hear of errors only."""
        if not self.quiet:
            self.line(text)

    def plan(self, text: str, *, dry_run: bool) -> None:
        """A line of a plan: what was asked for if nothing else is done."""
        (self.line if dry_run else self.report)(text)

    def emit(self, message_type: str, **fields: Any) -> None:
        """A line of the result, for a program."""
        if self.as_json:
            self._write(sys.stdout, _json({"message_type": message_type, **fields}))
            sys.stdout.flush()

    def warn(self, text: str) -> None:
        """Something to know that is no failure."""
        with suppress(OSError):
            self._write(sys.stderr, f"{PROGRAM}: warning: {shown(text)}")

    def note(self, text: str) -> None:
        """Something to know for who asked for more."""
        if self.verbose and not self.as_json:
            with suppress(OSError):
                self._write(sys.stderr, f"{PROGRAM}: {shown(text)}")

    def error(self, error: SeedcornError) -> None:
        """Something failed and the run goes on."""
        with suppress(OSError):  # a monitor must not raise; the exit status will tell
            if self.as_json:
                self.emit("error", **error_fields(error))
            else:
                self._write(sys.stderr, f"{PROGRAM}: error: {shown(str(error))}")

    def fatal(self, message: str, code: int) -> None:
        """The run ends here."""
        with suppress(OSError):
            self._write(sys.stderr, f"{PROGRAM}: error: {shown(message)}")
            if self.as_json:
                self._write(sys.stderr, _json({"message_type": "exit_error", "code": code, "message": message}))

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            stream.write(text + "\n")


def _json(fields: dict[str, Any]) -> str:
    import json  # for who asked for it

    return json.dumps(fields, separators=(",", ":"))
