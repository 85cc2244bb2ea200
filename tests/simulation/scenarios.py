"""Jobs that are crashed at every store call."""

from __future__ import annotations

from dataclasses import replace

from seedcorn.ops.gc.plan import CollectionOptions, MaxUnused
from seedcorn.testing.simulation.crash_points import CrashScenario
from seedcorn.testing.simulation.hosts import back_up
from seedcorn.testing.simulation.maintainers import THOROUGH, forget, prune, undelete
from seedcorn.testing.simulation.owner import deep, repair
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import World

__all__ = ["BACKUPS", "MAINTENANCE", "SECOND_BACKUP"]

_DAY_SECONDS = 24 * 3600.0
PATIENT = CollectionOptions(grace_ns=int(3 * _DAY_SECONDS) * 10**9, max_unused=MaxUnused(None), allow_large=True)


def _back_up(world: World, actor: Actor) -> None:
    back_up(world, actor, world.hosts[0])


def _nothing(world: World, actor: Actor) -> None:
    pass


def _change(world: World) -> None:
    before = dict(world.hosts[0].source.tree)
    while world.hosts[0].source.tree == before:
        world.hosts[0].source.edit()


def _others_first(world: World, actor: Actor) -> None:
    """Both hosts have backed up, and the first one's files have changed since."""
    for host in (world.hosts[1], world.hosts[0]):
        back_up(world, actor, host)
    _change(world)


def _lose_host_state(world: World) -> None:
    world.hosts[0].state.lose()


FIRST_BACKUP = CrashScenario("first backup", "host-1", _nothing, _back_up, _lose_host_state)
SECOND_BACKUP = CrashScenario("second backup", "host-1", _others_first, _back_up, _lose_host_state)
TRUSTING_BACKUP = CrashScenario(
    "second backup among hosts that trust each other", "host-1", _others_first, _back_up, _lose_host_state, trust_hosts=True
)
BACKUPS = (FIRST_BACKUP, SECOND_BACKUP, TRUSTING_BACKUP)


# -- maintainers -------------------------------------------------------------------------------------------------------------------------------


def _two_snapshots(world: World, actor: Actor) -> None:
    """Of the first host, and one of the other; what differs between them lies in packs of its own and in packs that both need."""
    _others_first(world, actor)
    _back_up(world, actor)


def _one_forgotten(world: World, actor: Actor) -> None:
    _two_snapshots(world, actor)
    _forget_first(world, actor)


def _forget_first(world: World, actor: Actor) -> None:
    oldest = [one for one in world.confirmed.values() if one.host is world.hosts[0]]
    if len(oldest) > 1:
        forget(world, actor, world.maintainers[0], oldest[0])


def _take_back(world: World, actor: Actor) -> None:
    """Unless the run that crashed has done it already: that is no promise then."""
    forgotten = [one for one in world.forgotten.values() if one.snapshot in world.truth.forgotten()]
    if forgotten:
        undelete(world, actor, world.maintainers[0], forgotten)


def _prune_at_once(world: World, actor: Actor) -> None:
    prune(world, actor, world.maintainers[0], replace(THOROUGH, max_unused=MaxUnused(None)))


def _repack(world: World, actor: Actor) -> None:
    prune(world, actor, world.maintainers[0], THOROUGH)


def _mark(world: World, actor: Actor) -> None:
    actor.clock.sleep(2 * _DAY_SECONDS)
    prune(world, actor, world.maintainers[0], PATIENT)


def _marked(world: World, actor: Actor) -> None:
    _one_forgotten(world, actor)
    _mark(world, actor)


def _sweep(world: World, actor: Actor) -> None:
    actor.clock.sleep(4 * _DAY_SECONDS)
    prune(world, actor, world.maintainers[0], PATIENT)


def _damaged(world: World, actor: Actor) -> None:
    """A pack that no segment lists, and a segment whose bytes are not those of its name."""
    _two_snapshots(world, actor)
    index = sorted(key for key in world.store.contents.objects if key.startswith(f"index/{world.hosts[0].host_file.key.host.hex()}/"))
    data = world.store.contents.objects[index[-1]]
    world.store.contents.objects[index[-1]] = data[:-1] + bytes([data[-1] ^ 1])


def _repair(world: World, actor: Actor) -> None:
    repair(world, actor, delete_damaged=False)


def _deep(world: World, actor: Actor) -> None:
    deep(world, actor, world.owner_state)


def _lose_maintainer_state(world: World) -> None:
    world.maintainers[0].state.lose()


MAINTENANCE = (
    CrashScenario("forget", "maintainer-1", _two_snapshots, _forget_first, _lose_maintainer_state),
    CrashScenario("undelete", "maintainer-1", _one_forgotten, _take_back, _lose_maintainer_state),
    CrashScenario("prune at once", "maintainer-1", _one_forgotten, _prune_at_once, _lose_maintainer_state),
    CrashScenario("mark", "maintainer-1", _one_forgotten, _mark, _lose_maintainer_state),
    CrashScenario("sweep", "maintainer-1", _marked, _sweep, _lose_maintainer_state),
    CrashScenario("repack", "maintainer-1", _one_forgotten, _repack, _lose_maintainer_state),
    CrashScenario("deep", "owner", _one_forgotten, _deep, World.lose_owner_state),
    CrashScenario("repair", "owner", _damaged, _repair, World.lose_owner_state),
)
