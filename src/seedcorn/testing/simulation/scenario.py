"""A whole run out of one seed: hosts that edit and back up, an owner who checks and restores, faults in between, and a quiet end.

Owns who does what and when. A run is a function of its seed and options: the log of its store operations says so, byte for byte.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seedcorn.testing.simulation.faults import FaultKind, Faults
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.scheduler import EPOCH_NS, Actor, Crash
from seedcorn.testing.simulation.world import Host, Invariant, InvariantViolationError, World, WorldOptions

__all__ = ["RunReport", "SimulationOptions", "scratch_parent", "simulate"]

_TRIES = 3
_PAUSES_SECONDS = (0.0, 10.0, 10.0, 60.0, 3 * 3600.0, 26 * 3600.0, 9 * 24 * 3600.0)  # up to: mostly so short that jobs overlap
_FAULT_SCALES = (0.0, 0.3, 1.0, 1.0, 3.0)
_STATE_LOSS = 0.3  # of the crashes
_DISK_LOSS = 0.06  # of the backups: the local state is gone before
_LAST_CHECK = 0.3  # of the runs: it sees what the invariants see


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """What a run is made of besides its seed. ``steps``: jobs of all actors together. ``weak``: an eventually consistent store. ``rollback``: a
    provider who may return to an earlier state. ``wall``: other wall clocks, for the same run."""

    steps: int = 10
    weak: bool = False
    rollback: bool = False
    wall: int = 0

    @property
    def arguments(self) -> str:
        """What to give to the program for the same run."""
        return f"--steps {self.steps}" + " --weak" * self.weak + " --rollback" * self.rollback


@dataclass(frozen=True, slots=True)
class RunReport:
    """What happened in one run. ``violation`` is empty if nothing did that must not; ``digest`` is of ``log``."""

    seed: int
    operations: int
    virtual_seconds: int
    faults: dict[FaultKind, int]
    outcomes: dict[str, int]
    confirmed: int
    violation: str
    log: tuple[str, ...] = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.log).encode()).hexdigest()[:16]


def scratch_parent() -> Path | None:
    """Where runs keep their files: in memory if there is such a place, because what is synced here need not survive anything."""
    memory = Path("/dev/shm")  # noqa: S108  # the folders made in it are private
    return memory if memory.is_dir() else None


def simulate(seed: int, options: SimulationOptions = SimulationOptions(), invariants: Sequence[Invariant] = INVARIANTS) -> RunReport:
    """Run one seed."""
    with tempfile.TemporaryDirectory(prefix="seedcorn-run-", dir=scratch_parent()) as folder:
        world = _world(Path(folder), seed, options, invariants)
        violation = ""
        with world:
            try:
                _Scenario(world, options).run()
            except InvariantViolationError as error:
                violation = str(error)
            except Exception as error:  # noqa: BLE001  # whatever production code lets escape is a finding of its own
                violation = f"a bug: {type(error).__name__}: {error}"
    return RunReport(
        seed=seed,
        operations=len(world.store.log),
        virtual_seconds=(world.scheduler.now_ns - EPOCH_NS) // 10**9,
        faults=dict(world.plan.counts),
        outcomes=dict(world.outcomes),
        confirmed=len(world.confirmed),
        violation=violation,
        log=tuple(map(str, world.store.log)),
    )


def _world(folder: Path, seed: int, options: SimulationOptions, invariants: Sequence[Invariant]) -> World:
    chosen = random.Random(f"{seed}/world")
    faults = (Faults.weak() if options.weak else Faults.strong()).scaled(chosen.choice(_FAULT_SCALES))
    if options.rollback:
        faults = faults.with_rollback()
    made = WorldOptions(str(seed), hosts=chosen.choice((1, 2, 2, 3)), trust_hosts=chosen.random() < 0.4, faults=faults, wall=options.wall)
    return World(folder, made, invariants)


class _Scenario:
    """Deals the jobs to the actors."""

    def __init__(self, world: World, options: SimulationOptions) -> None:
        self._world = world
        jobs = Counter(world.random("jobs").choices([*(host.name for host in world.hosts), "owner"], k=options.steps))
        for host in world.hosts:
            world.act(host.name, self._host_body(host, jobs[host.name] or 1))
        if jobs["owner"]:
            world.act("owner", self._owner_body(jobs["owner"]))

    def run(self) -> None:
        """Everything, and then once more for everybody when nothing fails any more."""
        world = self._world
        world.run()
        world.store.settle()
        for host in world.hosts:
            world.act(host.name, self._last_backup(host))
        world.run()
        if world.taken_back or world.random("last check").random() < _LAST_CHECK:
            world.act("owner", self._last_check)
            world.run()
        world.end()

    def _host_body(self, host: Host, jobs: int) -> Callable[[Actor], None]:
        world, chosen = self._world, self._world.random(f"{host.name} jobs")

        def body(actor: Actor) -> None:
            for _ in range(jobs):
                actor.clock.sleep(chosen.random() * chosen.choice(_PAUSES_SECONDS))
                host.source.edit()
                if chosen.random() < _DISK_LOSS:
                    host.state.lose()
                for _ in range(_TRIES):
                    try:
                        if world.attempt("backup", lambda: world.backup(actor, host)):
                            break
                    except Crash:
                        if chosen.random() < _STATE_LOSS:
                            host.state.lose()

        return body

    def _owner_body(self, jobs: int) -> Callable[[Actor], None]:
        world, chosen = self._world, self._world.random("owner jobs")

        def body(actor: Actor) -> None:
            for _ in range(jobs):
                actor.clock.sleep(chosen.random() * chosen.choice(_PAUSES_SECONDS))
                confirmed = list(world.confirmed.values())
                try:
                    if confirmed and chosen.random() < 0.5:
                        which = chosen.choice(confirmed)
                        world.attempt("restore", lambda which=which: world.restore(actor, which))  # type: ignore[misc]
                    else:
                        read_data = chosen.random() < 0.5
                        world.attempt("check", lambda read_data=read_data: world.check(actor, read_data=read_data))  # type: ignore[misc]
                except Crash:
                    if chosen.random() < _STATE_LOSS:
                        world.lose_owner_state()

        return body

    def _last_backup(self, host: Host) -> Callable[[Actor], None]:
        def body(actor: Actor) -> None:
            host.source.edit()
            if not self._world.attempt("last backup", lambda: self._world.backup(actor, host)):
                raise InvariantViolationError(f"I8: {host.name} can not back up any more")

        return body

    def _last_check(self, actor: Actor) -> None:
        """The check that everybody would make agrees that what was promised is there, and notices what was taken back."""
        unnoticed = self._world.taken_back & self._world.seen_by_owner
        result = self._world.check(actor, read_data=True)
        if unnoticed and not result.problems:
            raise InvariantViolationError(f"rollback: the owner has seen {len(unnoticed)} snapshots that are gone, and check says nothing")
        affected = self._world.confirmed.keys() & {damage.snapshot for damage in result.damage}
        if affected:
            raise InvariantViolationError(f"I1: check says that {len(affected)} confirmed snapshots can not be restored whole")
