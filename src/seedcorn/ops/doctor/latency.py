"""How long a store takes to answer, verb by verb, in the figures of a ping. Owns the samples and their percentiles; knows no store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seedcorn.events import Clock

__all__ = ["Latency", "Stopwatch"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that ``requests`` calls of one verb took; the p-th percentile is the smallest sample that p % of them do not exceed."""

    verb: str
    requests: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, verb: str, samples_ns: Sequence[int]) -> Latency:
        """From at least one sample."""
        ordered = [sample / 1e6 for sample in sorted(samples_ns)]
        p50, p90, p99 = (ordered[math.ceil(percent * len(ordered) / 100) - 1] for percent in (50, 90, 99))
        return cls(verb, len(ordered), p50, p90, p99, ordered[-1])


class Stopwatch:
    """Takes the time of calls that succeed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples_ns: dict[str, list[int]] = {}

    def time(self, verb: str, call: Callable[[], R]) -> R:
        """What ``call`` returns; its time counts for ``verb``."""
        begun_ns = self._clock.elapsed_ns()
        result = call()
        self._samples_ns.setdefault(verb, []).append(self._clock.elapsed_ns() - begun_ns)
        return result

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """In the order in which verbs were first timed."""
        return tuple(Latency.of(verb, samples) for verb, samples in self._samples_ns.items())
