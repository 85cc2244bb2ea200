"""ops/doctor/latency.py: percentiles as a ping's."""

from __future__ import annotations

import pytest

from seedcorn.ops.doctor.latency import Latency, Stopwatch


class Ticking:
    """Each look at it is a millisecond later than the last."""

    def __init__(self) -> None:
        self.ticks_ms = 0

    def now_ns(self) -> int:
        raise AssertionError("durations are not taken from a clock that can be set")

    def elapsed_ns(self) -> int:
        self.ticks_ms += 1
        return self.ticks_ms * 1_000_000


def test_percentiles_are_samples() -> None:
    latency = Latency.of("get", [number * 1_000_000 for number in range(100, 0, -1)])
    assert (latency.requests, latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms) == (100, 50, 90, 99, 100)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_of_few_samples(count: int) -> None:
    latency = Latency.of("get", [1_000_000] * (count - 1) + [5_000_000])
    assert latency.p99_ms == latency.max_ms == 5
    assert latency.p50_ms == (5 if count == 1 else 1)


def test_only_what_succeeds_is_timed() -> None:
    stopwatch = Stopwatch(Ticking())

    def fail() -> None:
        raise ValueError

    assert stopwatch.time("put", lambda: 7) == 7
    with pytest.raises(ValueError):
        stopwatch.time("put", fail)
    assert stopwatch.latencies == (Latency("put", 1, 1.0, 1.0, 1.0, 1.0),)
