"""Files of a restore that are written in parts, perhaps by several processes at once.

Owns when such a file is complete. Must never know where content comes from. Thread-safe. Invariant: a file is finished or discarded once, after the
last of its parts has been reported, or when all are closed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from seedcorn.errors import TargetError
from seedcorn.fs.files import FileWriter, PartialFile, PendingFile
from seedcorn.ops.restore.plan import Span, WantedFile

__all__ = ["BigFile", "BigFiles"]


@dataclass(slots=True, eq=False)
class BigFile:
    """How far a file is."""

    pending: PendingFile
    partial: PartialFile
    parts_under_way: int = 0
    all_begun: bool = False
    is_damaged: bool = False
    error: TargetError | None = None


class BigFiles:
    """All files that are being written in parts."""

    def __init__(self, files: FileWriter) -> None:
        self._files = files
        self._open: dict[WantedFile, BigFile] = {}
        self._refused: set[WantedFile] = set()
        self._lock = threading.Lock()

    def begin_part(self, span: Span) -> PartialFile | None:
        """Where to write the part that ``span`` is; None if the file could not be created, which has been raised for its first part.

        Raises:
            TargetError: it can not be created.
        """
        wanted = span.big
        assert wanted is not None, "a span of whole files has no parts"
        if wanted in self._refused:
            return None
        with self._lock:
            big = self._open.get(wanted)
            if big is None:
                self._refused.add(wanted)
                pending = self._files.create_file(wanted.directory, wanted.node.name)
                big = self._open[wanted] = BigFile(pending, self._files.partial(pending))
                self._refused.remove(wanted)
            big.parts_under_way += 1
            big.all_begun = span.is_last
            big.is_damaged |= not span.is_placed
        return big.partial

    def end_part(self, wanted: WantedFile, error: TargetError | None, *, is_damaged: bool) -> BigFile | None:
        """Note what became of a part; after the last one, the file, which is the caller's to finish or to discard."""
        with self._lock:
            big = self._open[wanted]
            big.parts_under_way -= 1
            big.is_damaged |= is_damaged
            big.error = big.error or error
            if big.parts_under_way or not big.all_begun:
                return None
            return self._open.pop(wanted)

    def close(self) -> None:
        """Discard what is not complete. No part may be under way any more."""
        while self._open:
            self._files.discard_file(self._open.popitem()[1].pending)
