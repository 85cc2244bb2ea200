"""What is shown while an operation runs: a bar on a terminal, plain lines for who asked for them, JSON lines for programs, or nothing.

Owns the monitors of the command line. Counting is on the hot path, so it only adds; a thread of its own looks at the sums now and then and shows
them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from seedcorn.cli.output import Output
from seedcorn.cli.render_text import count_text, duration_text, size_text
from seedcorn.errors import SeedcornError
from seedcorn.events import Counter

__all__ = ["BACKUP", "CHECK", "COPY", "PROBE", "RESTORE", "SCRUB", "RunMonitor", "watched"]

BAR_SECONDS = 0.2
STATUS_SECONDS = 1.0
LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """What counts as progress of one operation: ``entries`` of something and their ``bytes``."""

    verb: str
    entries: Counter
    noun: str
    bytes: Counter


BACKUP = Work("Backing up", Counter.SOURCE_ENTRIES, "entry", Counter.SOURCE_BYTES)
RESTORE = Work("Restoring", Counter.RESTORED_ENTRIES, "entry", Counter.RESTORED_BYTES)
CHECK = Work("Checking", Counter.CHECKED_OBJECTS, "object", Counter.CHECKED_BYTES)
SCRUB = Work("Hashing", Counter.CHECKED_OBJECTS, "object", Counter.CHECKED_BYTES)
COPY = Work("Copying", Counter.COPIED_SNAPSHOTS, "snapshot", Counter.COPIED_BYTES)
PROBE = Work("Probing", Counter.CHECKED_OBJECTS, "object", Counter.CHECKED_BYTES)


class RunMonitor:
    """Adds up what it hears; errors and notes go to the output at once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.counted: defaultdict[Counter, int] = defaultdict(int)
        self.expected: dict[Counter, int] = {}

    def count(self, counter: Counter, amount: int = 1) -> None:
        self.counted[counter] += amount  # without a lock: a count lost between two threads matters to no one, results are counted elsewhere

    def expect(self, counter: Counter, total: int) -> None:
        self.expected[counter] = total

    def error(self, error: SeedcornError) -> None:
        self._output.error(error)

    def note(self, message: str) -> None:
        self._output.note(message)


class _Display(Protocol):
    interval_seconds: float

    def show(self, counted: Mapping[Counter, int], expected: Mapping[Counter, int], elapsed_seconds: float) -> None: ...

    def close(self) -> None: ...


@contextmanager
def watched(output: Output, work: Work) -> Iterator[RunMonitor]:
    """A monitor for one operation, shown in the way that fits until the block ends."""
    monitor = RunMonitor(output)
    display = _display_for(output, work)
    if display is None:
        yield monitor
        return
    stop = threading.Event()
    begun = time.monotonic()

    def watch() -> None:
        while not stop.wait(display.interval_seconds):
            display.show(dict(monitor.counted), dict(monitor.expected), time.monotonic() - begun)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join()
        display.close()


def _display_for(output: Output, work: Work) -> _Display | None:
    if output.quiet:
        return None
    if output.as_json:
        return _JsonLines(output)
    if sys.stderr.isatty():
        return _Bar(work)
    return _PlainLines(output, work) if output.verbose else None


class _JsonLines:
    interval_seconds = STATUS_SECONDS

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, counted: Mapping[Counter, int], expected: Mapping[Counter, int], elapsed_seconds: float) -> None:
        sums = {counter.value: amount for counter, amount in counted.items()}
        totals = {f"expected_{counter.value}": amount for counter, amount in expected.items()}
        self._output.emit("status", elapsed_seconds=round(elapsed_seconds, 1), **sums, **totals)

    def close(self) -> None:
        pass


class _PlainLines:
    interval_seconds = LINE_SECONDS

    def __init__(self, output: Output, work: Work) -> None:
        self._output = output
        self._work = work

    def show(self, counted: Mapping[Counter, int], expected: Mapping[Counter, int], elapsed_seconds: float) -> None:
        self._output.note(f"{self._work.verb.lower()}, {duration_text(elapsed_seconds)}: {_progress_text(self._work, counted, elapsed_seconds)}")

    def close(self) -> None:
        pass


class _Bar:
    """A bar once the total is known, a pulse before; rate and, with a total, the time that is left."""

    interval_seconds = BAR_SECONDS

    def __init__(self, work: Work) -> None:
        from rich.console import Console  # a tenth of a second to load: only for who will see it
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._work = work
        columns = (TextColumn(work.verb), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def show(self, counted: Mapping[Counter, int], expected: Mapping[Counter, int], elapsed_seconds: float) -> None:
        measure = self._work.bytes if self._work.bytes in expected else self._work.entries
        text = _progress_text(self._work, counted, elapsed_seconds)
        self._progress.update(self._task, completed=counted.get(measure, 0), total=expected.get(measure), description=text, refresh=True)

    def close(self) -> None:
        self._progress.stop()


def _progress_text(work: Work, counted: Mapping[Counter, int], elapsed_seconds: float) -> str:
    done_bytes = counted.get(work.bytes, 0)
    return f"{count_text(counted.get(work.entries, 0), work.noun)}, {size_text(done_bytes)}, {size_text(done_bytes / max(elapsed_seconds, 0.001))}/s"
