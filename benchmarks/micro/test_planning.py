"""Planning of forget and prune: see ``benchmarks.planning``, which `make benchmark` runs too. The target is 2 s."""

from __future__ import annotations

from benchmarks.micro.conftest import Measure
from benchmarks.planning import planner


def test_forget_and_prune(measure: Measure, scale: int) -> None:
    measure(1, "plan", planner(scale))
