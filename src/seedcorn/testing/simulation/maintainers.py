"""What maintainers do in a world: forget, take back, collect. Production code, each time in a process of its own.

Owns these jobs. A forget record ends promises when it is in the store, whoever put it; what ``undelete`` says is back is a promise again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from seedcorn.events import VoidMonitor
from seedcorn.format.collection import CollectionRecord
from seedcorn.format.names import pack_key
from seedcorn.ids import SnapshotId
from seedcorn.ops import access
from seedcorn.ops.gc.plan import CollectionOptions, MaxUnused
from seedcorn.ops.gc.survey import Survey, Surveyor
from seedcorn.ops.gc.sweep import CollectionResult, Collector
from seedcorn.ops.retention.forget import ForgetPlan, forget_snapshots, plan_forget_by_id, plan_forget_by_policy, undelete_snapshots
from seedcorn.ops.retention.plan import GroupBy
from seedcorn.ops.retention.policy import Newest, Period, Policy
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.state.state import State
from seedcorn.testing.simulation.machines import Host, Maintainer
from seedcorn.testing.simulation.process import Process, Purpose
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import Confirmed, InvariantViolationError, Moment, World

__all__ = ["THOROUGH", "choose_collection", "choose_policy", "forget", "forget_by_policy", "must_collect", "prune", "undelete"]

_HOUR_NS = 3600 * 10**9
THOROUGH = CollectionOptions(grace_ns=0, max_unused=MaxUnused(0.0), allow_large=True)


def choose_collection(chosen: random.Random) -> CollectionOptions:
    """Any grace, any patience with unused space, mostly without the brake: small repositories are all of one piece."""
    return CollectionOptions(
        grace_ns=chosen.choice((0, 0, 0, _HOUR_NS, 72 * _HOUR_NS)),
        max_unused=MaxUnused(chosen.choice((0.0, 0.0, 20.0, None))),
        allow_large=chosen.random() < 0.8,
    )


def choose_policy(chosen: random.Random) -> Policy:
    """The clocks of hosts are often wrong: without trust in the store's a policy would mostly keep everything."""
    return Policy((Newest(chosen.choice((1, 1, 2)), chosen.choice((None, Period.DAILY))),), trust_store_times=chosen.random() < 0.8)


def forget(world: World, actor: Actor, maintainer: Maintainer, confirmed: Confirmed) -> None:
    """Forget one snapshot by its id."""
    host = confirmed.host.host_file.key.host
    with world.process(actor, maintainer.state, Purpose("forget", writes=True, may_forget={host})) as connection:
        repository = access.open_maintainer(connection, world.maintain_file)
        survey = Surveyor(repository, maintainer.state.opened).survey()
        _forget(repository, plan_forget_by_id(survey, [confirmed.snapshot.hex()]), actor)


def forget_by_policy(world: World, actor: Actor, maintainer: Maintainer, host: Host, policy: Policy) -> None:
    """Keep what a policy keeps of the snapshots of one host."""
    of_host = host.host_file.key.host
    with world.process(actor, maintainer.state, Purpose("policy", writes=True, may_forget={of_host}, by_policy=True)) as connection:
        repository = access.open_maintainer(connection, world.maintain_file)
        survey = Surveyor(repository, maintainer.state.opened).survey()
        _forget(repository, _plan_by_policy(survey, of_host, policy), actor)


def _plan_by_policy(survey: Survey, host: bytes, policy: Policy) -> ForgetPlan:
    return plan_forget_by_policy(survey, policy, zone=UTC, grouping={GroupBy.HOST, GroupBy.PATHS}, accepts=lambda root: root.ref.host == host)


def _forget(repository: MaintainRepository, plan: ForgetPlan, actor: Actor) -> None:
    forget_snapshots(repository, plan.roots, plan.chosen, actor.clock)


def undelete(world: World, actor: Actor, maintainer: Maintainer, forgotten: Sequence[Confirmed]) -> list[SnapshotId]:
    """Take back that these were forgotten; they are promised again."""
    hosts = {confirmed.host.host_file.key.host for confirmed in forgotten}
    with world.process(actor, maintainer.state, Purpose("undelete", writes=True, may_forget=hosts)) as connection:
        process = world.processes[actor.name]
        repository = access.open_maintainer(connection, world.maintain_file)
        references = [confirmed.snapshot.hex() for confirmed in forgotten]
        back = undelete_snapshots(repository, maintainer.state.opened, references, actor.clock)
        if not process.is_rolled_back:
            world.promise_again(back)
    return back


def prune(world: World, actor: Actor, maintainer: Maintainer, options: CollectionOptions) -> CollectionResult:
    """Collect once."""
    with world.process(actor, maintainer.state, Purpose("prune", writes=True, has_brake=not options.allow_large)) as connection:
        repository = access.open_maintainer(connection, world.maintain_file)
        watch = _Watch(world, world.processes[actor.name])
        collector = _WatchedCollector(repository, maintainer.state.opened, options, watch)
        result = collector.carry_out(collector.plan())
    counts = {"deleted": result.deleted_packs, "kept after all": result.kept_packs, "repacked": result.repacked_packs}
    world.outcomes.update({f"packs {what}": count for what, count in counts.items() if count})
    return result


@dataclass(frozen=True, slots=True)
class _Watch:
    """Tells the world what a collector is about to delete."""

    world: World
    process: Process

    def decided(self, doomed: frozenset[str]) -> None:
        self.process.doomed = doomed
        self.world.ask(Moment.DECIDED)


class _WatchedCollector(Collector):
    def __init__(self, repository: MaintainRepository, state: State, options: CollectionOptions, watch: _Watch) -> None:
        super().__init__(repository, state, options, VoidMonitor())
        self._watch = watch

    def _unlist(self, sweep: CollectionRecord) -> tuple[Survey, frozenset[tuple[bytes, bytes]], int]:  # type: ignore[override]
        survey, doomed, rewritten = super()._unlist(sweep)
        self._watch.decided(frozenset(pack_key(*name) for name in doomed))
        return survey, doomed, rewritten


def must_collect(world: World, actor: Actor, maintainer: Maintainer) -> None:
    """I8 and I11, when nothing fails any more: whatever was interrupted is finished, and two collections leave no garbage.

    Raises:
        InvariantViolationError: they do not.
    """
    for _ in range(2):
        if not world.attempt("last prune", lambda: prune(world, actor, maintainer, THOROUGH)):
            raise InvariantViolationError(f"I8: {maintainer.name} can not collect any more: {world.last_error}")
    truth = world.truth
    needed = [truth.needed_now(key, truth.needed_by(key)) for key in truth.counting_snapshots()]
    needed += [*truth.announced(), *truth.doubtful_needs(world.lies)]
    garbage = [key for key in world.store.contents.objects if key.startswith("packs/") and not world.truth.seems_needed(key, needed)]
    if garbage:
        raise InvariantViolationError(f"I11: two collections have left {len(garbage)} packs that nothing needs, such as {garbage[0]}")
