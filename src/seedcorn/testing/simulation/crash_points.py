"""A crash at every store call of a job: before the call, after it without an answer, after the answer; with the local state kept, and with it lost.

Owns the sweep; a job is any function over a world and an actor. Invariant of every case: the job, run again, ends well, and all that must hold does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from seedcorn.testing.simulation.connection import CrashMode, CrashPoint
from seedcorn.testing.simulation.hosts import back_up
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.maintainers import must_collect
from seedcorn.testing.simulation.scheduler import Actor, Crash
from seedcorn.testing.simulation.world import Invariant, InvariantViolationError, World, WorldOptions, open_world

__all__ = ["CrashScenario", "crash_points"]


@dataclass(frozen=True, slots=True)
class CrashScenario:
    """``prepare`` makes what is there before, ``job`` is what crashes and is run again, in the process of an actor called ``actor``; ``lose_state``
    takes away what that actor keeps on its disk. At the end all hosts back up and a maintainer collects, who must leave no garbage."""

    name: str
    actor: str
    prepare: Callable[[World, Actor], None]
    job: Callable[[World, Actor], object]
    lose_state: Callable[[World], None]
    hosts: int = 2
    trust_hosts: bool = False


def crash_points(scenario: CrashScenario, invariants: Sequence[Invariant] = INVARIANTS, *, every: int = 1) -> int:
    """Run every case, or one of ``every`` so many; how many there were.

    Raises:
        InvariantViolationError: names the case.
    """
    calls = _run(scenario, invariants, None, is_state_lost=False)
    cases = 0
    for point, is_state_lost in islice(product(_points(calls), (False, True)), 0, None, every):
        try:
            _run(scenario, invariants, point, is_state_lost=is_state_lost)
        except Exception as error:
            state = "lost" if is_state_lost else "kept"
            message = f"{scenario.name}, crash {point.mode.value} call {point.call} of {calls}, state {state}: {error}"
            raise InvariantViolationError(message) from error
        cases += 1
    return cases


def _points(calls: int) -> Iterator[CrashPoint]:
    return (CrashPoint(call, mode) for call in range(1, calls + 1) for mode in CrashMode)


def _run(scenario: CrashScenario, invariants: Sequence[Invariant], point: CrashPoint | None, *, is_state_lost: bool) -> int:
    """One case; the calls of the job's last run."""
    crashed = 0

    def body(actor: Actor) -> None:
        nonlocal crashed
        scenario.prepare(world, actor)
        if point is not None:
            world.crash_points[actor.name] = point
            try:
                scenario.job(world, actor)
            except Crash:
                crashed += 1
            world.crash_points.clear()
            if is_state_lost:
                scenario.lose_state(world)
        scenario.job(world, actor)

    def afterwards(actor: Actor) -> None:
        for host in world.hosts:
            back_up(world, actor, host)
        must_collect(world, actor, world.maintainers[0])

    options = WorldOptions(f"crash points of {scenario.name}", hosts=scenario.hosts, trust_hosts=scenario.trust_hosts)
    with open_world(options, invariants) as world:
        world.act(scenario.actor, body)
        world.run()
        calls = world.calls
        world.act("the others", afterwards)
        world.run()
        world.end()
    if point is not None and not crashed:
        raise InvariantViolationError("the job has not crashed where it should")
    return calls
