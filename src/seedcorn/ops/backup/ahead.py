"""What a scan will read next, for the readers ahead of it. Owns which entries these are; ``fs.read_ahead`` owns when and how much.

Invariant: nothing is asked for that will be taken over unread.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Self

from seedcorn.fs.read_ahead import ReadAhead
from seedcorn.fs.walk import Listed
from seedcorn.ops.backup.scanned import ScannedDirectory

__all__ = ["Outlook"]


class Outlook:
    """The readers ahead of one tree's scan; a context manager, at whose end they have ended. ``force``: everything will be read."""

    def __init__(self, *, force: bool) -> None:
        self._readers = ReadAhead()
        self._force = force

    def __enter__(self) -> Self:
        self._readers.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._readers.__exit__(kind, error, trace)

    def begin_block(self, directory: ScannedDirectory) -> None:
        """The scan has the entries of a block, and what was known of them."""
        if self._readers.is_worth_while():
            self.look(directory)

    def look(self, directory: ScannedDirectory) -> None:
        """Have the next entries that will be read brought into memory. To be called again when the scan comes to ``directory.ahead_last``."""
        if directory.ahead is not None:
            self._readers.come_to(directory.ahead)
        directory.ahead = self._readers.ask_for(directory.fd, directory.st.st_dev, self._next_wanted(directory))
        directory.ahead_last = directory.ahead.last if directory.ahead is not None else None

    def _next_wanted(self, directory: ScannedDirectory) -> Iterator[Listed]:
        """Of the entries still to come, those that the scan can not do without reading."""
        for entry in islice(directory.entries, directory.at, None):
            name, st = entry
            old = directory.old.get(name)
            if old is None or old.ctime_ns != st.st_ctime_ns or self._force or stat.S_ISDIR(st.st_mode):
                yield entry
