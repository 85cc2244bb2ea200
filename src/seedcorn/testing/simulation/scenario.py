"""A whole run out of one seed: hosts that edit and back up, an owner who checks, restores, repairs and relocates, maintainers who forget and collect,
sometimes a host that lies, an owner who prunes deep, or somebody who copies it all elsewhere, faults in between, and a quiet end.

Owns who does what and when. A run is a function of its seed and options: the log of its store operations says so, byte for byte.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from seedcorn.ops.retention.policy import Newest, Policy
from seedcorn.testing.simulation.connection import Suspension
from seedcorn.testing.simulation.faults import FaultKind, Faults
from seedcorn.testing.simulation.hosts import back_up, move
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.liar import lie, may_stay
from seedcorn.testing.simulation.machines import Host, Maintainer
from seedcorn.testing.simulation.maintainers import choose_collection, choose_policy, forget, forget_by_policy, must_collect, prune, undelete
from seedcorn.testing.simulation.offsite import Offsite
from seedcorn.testing.simulation.owner import check, deep, get_out, repair, restore
from seedcorn.testing.simulation.scheduler import EPOCH_NS, Actor, Crash
from seedcorn.testing.simulation.world import Confirmed, Invariant, InvariantViolationError, World, WorldOptions, open_world

__all__ = ["RunReport", "SimulationOptions", "simulate"]

_TRIES = 3
_PAUSES_SECONDS = (0.0, 0.0, 5.0, 20.0, 60.0, 3 * 3600.0, 26 * 3600.0, 9 * 24 * 3600.0)  # up to: mostly so short that jobs overlap
_FAULT_SCALES = (0.0, 0.1, 0.3, 1.0, 3.0)
_PAUSES_IN_A_CROWD_SECONDS = (0.0, 5.0, 20.0, 60.0)
_SUSPENDED = 0.4  # of the backups and collections
_SUSPENDED_IN_A_CROWD = 0.8
_SUSPENSION_CALLS = 40
_SUSPENSIONS_SECONDS = (60.0, 120.0, 3600.0, 9 * 24 * 3600.0)  # up to
_STATE_LOSS = 0.3  # of the crashes
_DISK_LOSS = 0.06  # of the backups: the local state is gone before
_OF_LIAR = 0.3  # of what a maintainer forgets by policy, if there is one: packs are moved of which something has been forgotten
_LIARS = 0.25  # of the runs among hosts that do not trust each other
_REVOCATIONS = 0.5  # of the ways out of what such a host has done
_GARDENERS = 0.25  # of the runs with maintainers: one of them is the owner, who prunes deep
_WAITS_SECONDS = tuple(20.0 * 1.3**number for number in range(37))  # whoever waits looks often at first, and gives up after twelve days
_MOVES = 0.3  # of the owner's jobs where there are two domains
_LAST_CHECK = 0.3  # of the runs: it sees what the invariants see

_MaintainerJob = Callable[[Actor, Maintainer, random.Random], None]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """What a run is made of besides its seed. ``steps``: jobs of all actors together. ``weak``: an eventually consistent store. ``rollback``: a
    provider who may return to an earlier state. ``copies``: an owner who copies to a second repository. ``domains``: hosts of two dedup domains, some
    of which are moved to the other. ``crowd``: three or four maintainers at the same time, who stand still more often. ``wall``: other wall clocks,
    same run."""

    steps: int = 10
    weak: bool = False
    rollback: bool = False
    copies: bool = False
    domains: bool = False
    crowd: bool = False
    wall: int = 0

    @property
    def arguments(self) -> str:
        """What to give to the program for the same run."""
        chosen = {"--weak": self.weak, "--rollback": self.rollback, "--copy": self.copies, "--domains": self.domains, "--crowd": self.crowd}
        return " ".join([f"--steps {self.steps}", *(flag for flag, is_set in chosen.items() if is_set)])


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


def simulate(seed: int, options: SimulationOptions = SimulationOptions(), invariants: Sequence[Invariant] = INVARIANTS) -> RunReport:
    """Run one seed."""
    violation = ""
    with open_world(_world_options(seed, options), invariants) as world:
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


def _world_options(seed: int, options: SimulationOptions) -> WorldOptions:
    chosen = random.Random(f"{seed}/world")
    faults = (Faults.weak() if options.weak else Faults.strong()).scaled(chosen.choice(_FAULT_SCALES))
    if options.rollback:
        faults = faults.with_rollback()
    hosts, trust_hosts = chosen.choice((1, 2, 2, 3)), chosen.random() < 0.4
    maintainers = 0 if options.weak else chosen.choice((3, 4) if options.crowd else (0, 1, 1, 2, 2))  # who collects needs listings to be believed
    return WorldOptions(
        str(seed), hosts=hosts, maintainers=maintainers, trust_hosts=trust_hosts, domains=options.domains, faults=faults, wall=options.wall
    )


class _Scenario:
    """Deals the jobs to the actors."""

    def __init__(self, world: World, options: SimulationOptions) -> None:
        self._world = world
        self._suspended = _SUSPENDED_IN_A_CROWD if options.crowd else _SUSPENDED
        self._pauses_seconds = _PAUSES_IN_A_CROWD_SECONDS if options.crowd else _PAUSES_SECONDS
        names = [*(host.name for host in world.hosts), *(maintainer.name for maintainer in world.maintainers * 2), "owner"]
        jobs = Counter(world.random("jobs").choices(names, k=options.steps))
        for host in world.hosts:
            world.act(host.name, self._host_body(host, jobs[host.name] or 1))
        for maintainer in world.maintainers:
            is_gardener = maintainer is world.maintainers[0] and world.random("prune deep").random() < _GARDENERS
            work = self._gardener_job if is_gardener else self._maintainer_job
            world.act(maintainer.name, self._maintainer_body(maintainer, jobs[maintainer.name] or 1, work))
        if jobs["owner"]:
            world.act("owner", self._owner_body(jobs["owner"]))
        self._has_liar = not world.options.trust_hosts and world.random("liar").random() < _LIARS
        self._of_liar = world.random("snapshots of the liar")
        if self._has_liar:
            world.act("liar", self._liar_body)
        self._offsite = Offsite(world) if options.copies else None
        if self._offsite:
            world.act("copier", self._copier_body(self._offsite))

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
        if self._offsite:
            world.act("copier", self._offsite.must_copy)
            world.run()
        if world.maintainers and not world.store.rolled_back:  # else nobody may collect before somebody has looked at it
            if world.lies:
                by_revoking = world.random("way out").random() < _REVOCATIONS or not may_stay(world.lies)
                world.act("owner", lambda actor: get_out(world, actor, by_revoking=by_revoking))
                world.run()
            world.act("maintainer-1", lambda actor: must_collect(world, actor, world.maintainers[0]))
            world.run()
        world.end()

    def _host_body(self, host: Host, jobs: int) -> Callable[[Actor], None]:
        world, chosen = self._world, self._world.random(f"{host.name} jobs")

        def body(actor: Actor) -> None:
            for _ in range(jobs):
                actor.clock.sleep(chosen.random() * chosen.choice(self._pauses_seconds))
                host.source.edit()
                if chosen.random() < _DISK_LOSS:
                    host.state.lose()
                for _ in range(_TRIES):
                    self._suspend(actor, chosen)
                    try:
                        if world.attempt("backup", lambda: back_up(world, actor, host)):
                            break
                    except Crash:
                        if chosen.random() < _STATE_LOSS:
                            host.state.lose()

        return body

    def _owner_body(self, jobs: int) -> Callable[[Actor], None]:
        world, chosen = self._world, self._world.random("owner jobs")

        def body(actor: Actor) -> None:
            for _ in range(jobs):
                actor.clock.sleep(chosen.random() * chosen.choice(self._pauses_seconds))
                confirmed = list(world.confirmed.values())
                try:
                    self._owner_job(actor, chosen, confirmed)
                except Crash:
                    if chosen.random() < _STATE_LOSS:
                        world.lose_owner_state()

        return body

    def _owner_job(self, actor: Actor, chosen: random.Random, confirmed: Sequence[Confirmed]) -> None:
        world, what = self._world, chosen.random()
        if world.options.domains and chosen.random() < _MOVES:
            move(world, actor, chosen.choice(world.hosts))
        elif confirmed and what < 0.4:
            which = chosen.choice(confirmed)
            world.attempt("restore", lambda: restore(world, actor, which))
        elif what < 0.8 or world.options.faults.is_weak:
            read_data, publish = chosen.choice(((False, False), (True, False), (True, True)))
            world.attempt("check", lambda: check(world, actor, read_data=read_data, publish=publish))
        elif what < 0.9 and world.maintainers:
            self._suspend(actor, chosen)
            world.attempt("deep", lambda: deep(world, actor, world.owner_state))
        else:
            delete_damaged = chosen.random() < 0.5
            world.attempt("repair", lambda: repair(world, actor, delete_damaged=delete_damaged))

    def _maintainer_body(self, maintainer: Maintainer, jobs: int, work: _MaintainerJob) -> Callable[[Actor], None]:
        chosen = self._world.random(f"{maintainer.name} jobs")

        def body(actor: Actor) -> None:
            for _ in range(jobs):
                actor.clock.sleep(chosen.random() * chosen.choice(self._pauses_seconds))
                try:
                    work(actor, maintainer, chosen)
                except Crash:
                    if chosen.random() < _STATE_LOSS:
                        maintainer.state.lose()

        return body

    def _maintainer_job(self, actor: Actor, maintainer: Maintainer, chosen: random.Random) -> None:
        """Forget something, often, and collect; or take something back."""
        world, what = self._world, chosen.random()
        confirmed, forgotten = list(world.confirmed.values()), list(world.forgotten.values())
        if what < 0.15 and forgotten:
            which = chosen.choice(forgotten)
            world.attempt("undelete", lambda: undelete(world, actor, maintainer, [which]))
            return
        if what < 0.5 and confirmed:
            which = chosen.choice(confirmed[-3:])  # what a running backup reuses
            world.attempt("forget", lambda: forget(world, actor, maintainer, which))
        elif what < 0.75:
            host, policy = chosen.choice(world.hosts), choose_policy(chosen)
            if self._has_liar and self._of_liar.random() < _OF_LIAR:
                host = world.liar
            world.attempt("forget by policy", lambda: forget_by_policy(world, actor, maintainer, host, policy))
        self._suspend(actor, chosen)
        if what >= 0.25:
            options = choose_collection(chosen)
            world.attempt("prune", lambda: prune(world, actor, maintainer, options))

    def _gardener_job(self, actor: Actor, gardener: Maintainer, chosen: random.Random) -> None:
        """Forget what is old as soon as something is, and prune deep: frames are poor once what has gone shared them with what stays."""
        world, host = self._world, self._wait_for_something_old(actor, chosen)
        if host is None:
            return
        policy = Policy((Newest(1),), trust_store_times=True)
        world.attempt("forget by policy", lambda: forget_by_policy(world, actor, gardener, host, policy))
        options = choose_collection(chosen)

        def write_anew() -> None:
            nonlocal options
            options = replace(options, emptied=deep(world, actor, gardener.state))

        for _ in range(_TRIES):
            self._suspend(actor, chosen)
            if world.attempt("deep", write_anew):
                break
        self._suspend(actor, chosen)
        world.attempt("prune", lambda: prune(world, actor, gardener, options))

    def _wait_for_something_old(self, actor: Actor, chosen: random.Random) -> Host | None:
        """A host that has a snapshot beside its newest; None if there is none for long."""
        for seconds in _WAITS_SECONDS:
            snapshots = Counter(confirmed.host for confirmed in self._world.confirmed.values())
            if old := [host for host in self._world.hosts if snapshots[host] > 1]:
                return chosen.choice(old)
            actor.clock.sleep(seconds)
        return None

    def _suspend(self, actor: Actor, chosen: random.Random) -> None:
        """Let the next process of this actor stand still somewhere, now and then."""
        if chosen.random() < self._suspended:
            seconds = chosen.random() * chosen.choice(_SUSPENSIONS_SECONDS)
            self._world.suspensions[actor.name] = Suspension(chosen.randrange(1, _SUSPENSION_CALLS), seconds)

    def _liar_body(self, actor: Actor) -> None:
        world, chosen = self._world, self._world.random("lies")
        share_honest, is_unmasked = 0.8, False

        def tell() -> None:
            nonlocal is_unmasked
            is_unmasked |= lie(world, actor, chosen)

        for _ in range(chosen.randrange(2, 6)):
            actor.clock.sleep(chosen.random() * chosen.choice(self._pauses_seconds))
            with suppress(Crash):
                if not is_unmasked and chosen.random() < share_honest:
                    world.attempt("liar's backup", lambda: back_up(world, actor, world.liar))
                else:
                    world.attempt("lie", tell)
            share_honest = 0.4

    def _copier_body(self, offsite: Offsite) -> Callable[[Actor], None]:
        world, chosen = self._world, self._world.random("copier jobs")

        def body(actor: Actor) -> None:
            for _ in range(chosen.randrange(1, 4)):
                actor.clock.sleep(chosen.random() * chosen.choice(self._pauses_seconds))
                self._suspend(actor, chosen)
                try:
                    world.attempt("copy", lambda: offsite.copy(actor))
                except Crash:
                    if chosen.random() < _STATE_LOSS:
                        offsite.lose_states()

        return body

    def _last_backup(self, host: Host) -> Callable[[Actor], None]:
        def body(actor: Actor) -> None:
            host.source.edit()
            if not self._world.attempt("last backup", lambda: back_up(self._world, actor, host)):
                raise InvariantViolationError(f"I8: {host.name} can not back up any more")

        return body

    def _last_check(self, actor: Actor) -> None:
        """The check that everybody would make agrees that what was promised is there, and notices what was taken back."""
        world = self._world
        unnoticed = {key for key in world.taken_back & world.seen_by_owner if not world.truth.is_given_up(key)}  # a late record may say so
        result = check(world, actor, read_data=True)
        if unnoticed and not result.problems:
            raise InvariantViolationError(f"rollback: the owner has seen {len(unnoticed)} snapshots that are gone, and check says nothing")
        affected = world.confirmed.keys() & {damage.snapshot for damage in result.damage}
        if affected:
            raise InvariantViolationError(f"I1: check says that {len(affected)} confirmed snapshots can not be restored whole")
