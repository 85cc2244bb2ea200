"""How running work is heard and how it knows the time. Owns the ``Monitor`` and ``Clock`` protocols; nothing below a front end prints.

A Monitor is the only thing that ops tell anything to while they run; terminal, JSON, web page and tests are four listeners.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import Counter as _Tally
from typing import Protocol

from seedcorn.errors import SeedcornError

__all__ = ["Clock", "Counter", "Monitor", "RecordingMonitor", "SystemClock", "VoidMonitor"]


class Counter(enum.Enum):
    """What a running operation counts. Values are the words of the JSON output; each name ends in its unit where it has one."""

    SOURCE_ENTRIES = "source_entries"  # directory entries looked at
    SOURCE_BYTES = "source_bytes"  # their content, whether it had to be read or not
    READ_BYTES = "read_bytes"  # content read from files
    NEW_BYTES = "new_bytes"  # content of new chunks, before compression
    SEALED_BYTES = "sealed_bytes"  # frames, after compression and sealing
    STORED_BYTES = "stored_bytes"  # bytes that puts have finished with
    RESTORED_ENTRIES = "restored_entries"
    RESTORED_BYTES = "restored_bytes"
    CHECKED_OBJECTS = "checked_objects"
    CHECKED_BYTES = "checked_bytes"
    COPIED_SNAPSHOTS = "copied_snapshots"
    COPIED_BYTES = "copied_bytes"  # content read from the source repository


class Monitor(Protocol):
    """Hears what an operation does. Called from several threads; must be quick and must not raise."""

    def count(self, counter: Counter, amount: int = 1) -> None:
        """``amount`` more of ``counter`` is done."""

    def expect(self, counter: Counter, total: int) -> None:
        """``counter`` is expected to end at about ``total`` (for an ETA)."""

    def error(self, error: SeedcornError) -> None:
        """Something failed and the operation goes on without it."""

    def note(self, message: str) -> None:
        """A fact that a person may want to know (a socket was skipped, a run is resumed)."""


class VoidMonitor:
    """Hears nothing."""

    def count(self, counter: Counter, amount: int = 1) -> None:
        pass

    def expect(self, counter: Counter, total: int) -> None:
        pass

    def error(self, error: SeedcornError) -> None:
        pass

    def note(self, message: str) -> None:
        pass


class RecordingMonitor:
    """Keeps everything, for tests and for callers of the library who want to look afterwards."""

    def __init__(self) -> None:
        self.counted: _Tally[Counter] = _Tally()
        self.expected: dict[Counter, int] = {}
        self.errors: list[SeedcornError] = []
        self.notes: list[str] = []
        self._lock = threading.Lock()

    def count(self, counter: Counter, amount: int = 1) -> None:
        with self._lock:
            self.counted[counter] += amount

    def expect(self, counter: Counter, total: int) -> None:
        self.expected[counter] = total

    def error(self, error: SeedcornError) -> None:
        self.errors.append(error)

    def note(self, message: str) -> None:
        self.notes.append(message)


class Clock(Protocol):
    """The time as an operation sees it."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch. For records that people read; never for a safety decision."""

    def elapsed_ns(self) -> int:
        """A clock that never steps back and counts suspended time, nanoseconds from an arbitrary start. For durations."""


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def elapsed_ns(self) -> int:
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
