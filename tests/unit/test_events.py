"""Monitors: what is counted from several threads adds up. And clocks: one of them never steps back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from seedcorn.errors import SeedcornError
from seedcorn.events import Counter, Monitor, RecordingMonitor, SystemClock, VoidMonitor


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """The interpreter changes threads as often as it can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_nothing_is_lost_between_threads() -> None:
    monitor = RecordingMonitor()

    def work(_: int) -> None:
        for _ in range(50_000):
            monitor.count(Counter.SEALED_BYTES, 3)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert monitor.counted[Counter.SEALED_BYTES] == 4 * 50_000 * 3


def test_a_recording_monitor_keeps_everything() -> None:
    monitor = RecordingMonitor()
    problem = SeedcornError("something failed")
    listen(monitor, problem)
    assert (monitor.counted, monitor.expected) == ({Counter.READ_BYTES: 1}, {Counter.READ_BYTES: 5})
    assert (monitor.errors, monitor.notes) == ([problem], ["a fact"])
    listen(VoidMonitor(), problem)


def listen(monitor: Monitor, problem: SeedcornError) -> None:
    monitor.count(Counter.READ_BYTES)
    monitor.expect(Counter.READ_BYTES, 5)
    monitor.error(problem)
    monitor.note("a fact")


def test_the_clock_of_durations_goes_on() -> None:
    clock = SystemClock()
    first = clock.elapsed_ns()
    assert clock.elapsed_ns() >= first
    assert clock.now_ns() > 1_700_000_000 * 10**9
