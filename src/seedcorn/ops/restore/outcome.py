"""What a restore has come to so far: counted, and every failure named as the person who asked for it knows the file.

Owns what a failure means for the run: a full disk ends it, everything else does not. Thread-safe.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedcorn.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTEGRITY, IntegrityError, SeedcornError, printable
from seedcorn.events import Counter, Monitor

__all__ = ["Outcome", "RestoreResult"]


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What has been restored (or, in a dry run, would be). ``skipped`` entries were there already and were kept."""

    entries: int
    files: int
    bytes: int
    skipped: int
    errors: tuple[SeedcornError, ...]

    @property
    def exit_code(self) -> int:
        if any(isinstance(error, IntegrityError) for error in self.errors):
            return EXIT_INTEGRITY
        return EXIT_FAILED if self.errors else EXIT_DONE


class Outcome:
    """Of one restore into ``target``."""

    def __init__(self, target: Path, monitor: Monitor) -> None:
        self._target = target
        self._monitor = monitor
        self._lock = threading.Lock()
        self._errors: list[SeedcornError] = []
        self._entries = self._files = self._bytes = self._skipped = 0

    @property
    def has_errors(self) -> bool:
        return bool(self._errors)

    def error(self, error: SeedcornError) -> None:
        """Something is not there, or not as it should be; the run goes on."""
        self._errors.append(error)
        self._monitor.error(error)

    def fail(self, path: bytes, error: SeedcornError) -> None:
        """The entry at ``path`` of the snapshot is not restored.

        Raises:
            SeedcornError: because the disk is full.
        """
        self.refuse_full_disk(error)
        if isinstance(error, IntegrityError):
            where = f" in {error.object_name}" if error.object_name else ""
            error = IntegrityError(f"not restored, its content is damaged{where}: {error.message}", object_name=printable(path))
        self.error(error)

    def refuse_full_disk(self, error: SeedcornError) -> None:
        """A full disk ends the run: every other file would fail as this one did.

        Raises:
            SeedcornError: because it is.
        """
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SeedcornError(
                f"{self._target}: its disk is full; {self._entries} entries have been restored. Make room there and restore once more "
                "with --overwrite always, or into another target"
            ) from error

    def done(self, entries: int, file_sizes: Sequence[int] = ()) -> None:
        """So many entries more are there, among them files of these sizes."""
        size = sum(file_sizes)
        with self._lock:
            self._entries += entries
            self._files += len(file_sizes)
            self._bytes += size
        self._monitor.count(Counter.RESTORED_ENTRIES, entries)
        if size:
            self._monitor.count(Counter.RESTORED_BYTES, size)

    def would_be_done(self, file_sizes: Sequence[int] = ()) -> None:
        """As ``done`` of one entry, which a dry run does not write."""
        self._entries += 1
        self._files += len(file_sizes)
        self._bytes += sum(file_sizes)

    def skip(self) -> None:
        """An entry was there already and is kept."""
        self._skipped += 1

    def result(self) -> RestoreResult:
        return RestoreResult(self._entries, self._files, self._bytes, self._skipped, tuple(self._errors))
