"""What the micro-benchmarks share: sizes, a repository in memory, and a closing table of the time for each item.

Under ``--benchmark-disable`` everything is tiny and runs once: that is how the tests see to it that the benchmarks still run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from seedcorn.events import SystemClock
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

Measure = Callable[..., None]
Setup = Callable[[], tuple[object, ...]]
_LINES = pytest.StashKey[list[str]]()
_UNITS = ((1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class SettledClock(SystemClock):
    """Runs ahead of the file system's, so that new files count as unchanged at once."""

    def now_ns(self) -> int:
        return super().now_ns() + 10 * 10**9


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> int:
    """How many items to measure with."""
    return 5 if request.config.getoption("benchmark_disable") else 1000


@pytest.fixture
def rng() -> random.Random:
    return random.Random(1)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[SmallRepository]:
    with SmallRepository(MemoryStore(), tmp_path / "states", clock=SettledClock()) as made:
        yield made


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Measure:
    """``measure(items, noun, function, *arguments)``: a call handles so many items. In place of arguments, ``setup`` can give new ones each time."""

    def run(items: int, noun: str, function: Callable[..., object], *arguments: object, setup: Setup | None = None) -> None:
        if setup is None:
            benchmark(function, *arguments)
        else:
            benchmark.pedantic(function, setup=lambda: (setup(), {}), rounds=7)  # type: ignore[no-untyped-call]  # the library's own lack
        if benchmark.stats is not None:
            seconds = benchmark.stats.stats.min / items  # what it costs when nothing else runs
            benchmark.extra_info[f"seconds per {noun}"] = seconds
            unit_seconds, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
            request.config.stash[_LINES].append(f"{request.node.name[5:].replace('_', ' '):48} {seconds / unit_seconds:9.2f} {unit} per {noun}")

    return run


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_LINES]:
        terminalreporter.write_line(line)
