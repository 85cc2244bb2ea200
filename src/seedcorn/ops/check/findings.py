"""What a check finds, collected from several threads: problems without repeats, and the files that they hit."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from seedcorn.errors import IntegrityError
from seedcorn.events import Counter, Monitor
from seedcorn.ids import SnapshotId

__all__ = ["AFFECTED_LIMIT", "AffectedPath", "Findings", "SnapshotDamage"]

AFFECTED_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class AffectedPath:
    """A file that can not be restored whole, or a directory (and all below it) that can not be listed, in one snapshot. ``path`` is raw bytes."""

    snapshot: SnapshotId
    path: bytes
    lost_bytes: int  # of the file's content; 0 for a directory, as nobody knows what was in it

    @property
    def is_directory(self) -> bool:
        return not self.lost_bytes


@dataclass(slots=True)
class SnapshotDamage:
    """How much of one snapshot can not be restored. Of the ``paths``, ``directories`` can not be listed: what was below them is not counted."""

    snapshot: SnapshotId
    paths: int = 0
    directories: int = 0
    lost_bytes: int = 0


class Findings:
    """Tells the monitor of every new problem, and counts what has been checked."""

    def __init__(self, monitor: Monitor, problems: Iterable[IntegrityError] = ()) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._problems: dict[str, IntegrityError] = {}
        self.affected: list[AffectedPath] = []
        self.damage: dict[SnapshotId, SnapshotDamage] = {}
        self.checked_bytes = 0
        for problem in problems:
            self.problem(problem)

    @property
    def problems(self) -> tuple[IntegrityError, ...]:
        """In the order in which they were found."""
        return tuple(self._problems.values())

    def problem(self, error: IntegrityError) -> None:
        """Something is wrong; the check goes on."""
        with self._lock:
            new = self._problems.setdefault(str(error), error) is error
        if new:
            self._monitor.error(error)

    def hit(self, snapshot: SnapshotId, path: bytes, lost_bytes: int) -> None:
        """Damage makes this path unrestorable. The first ``AFFECTED_LIMIT`` are kept, all are counted."""
        damage = self.damage.setdefault(snapshot, SnapshotDamage(snapshot))
        affected = AffectedPath(snapshot, path, lost_bytes)
        damage.paths += 1
        damage.directories += affected.is_directory
        damage.lost_bytes += lost_bytes
        if self.names_more:
            self.affected.append(affected)

    def hit_again(self, snapshot: SnapshotId, paths: int, directories: int, lost_bytes: int) -> None:
        """Damage that is known makes so many paths more unrestorable, which are not named."""
        damage = self.damage.setdefault(snapshot, SnapshotDamage(snapshot))
        damage.paths += paths
        damage.directories += directories
        damage.lost_bytes += lost_bytes

    @property
    def names_more(self) -> bool:
        """Whether a path that is hit would be named."""
        return len(self.affected) < AFFECTED_LIMIT

    def checked(self, size_bytes: int) -> None:
        """One more object has been read and looked at."""
        with self._lock:
            self.checked_bytes += size_bytes
        self._monitor.count(Counter.CHECKED_OBJECTS)
        self._monitor.count(Counter.CHECKED_BYTES, size_bytes)
