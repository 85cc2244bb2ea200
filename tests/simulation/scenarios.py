"""Jobs that are crashed at every store call."""

from __future__ import annotations

from seedcorn.testing.simulation.crash_points import CrashScenario
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import World

__all__ = ["FIRST_BACKUP", "SECOND_BACKUP", "TRUSTING_BACKUP"]


def _back_up(world: World, actor: Actor) -> None:
    world.backup(actor, world.hosts[0])


def _lose_state(world: World) -> None:
    world.hosts[0].state.lose()


def _nothing(world: World, actor: Actor) -> None:
    pass


def _others_first(world: World, actor: Actor) -> None:
    """Both hosts have backed up, and the first one's files have changed since."""
    for host in (world.hosts[1], world.hosts[0]):
        world.backup(actor, host)
    before = dict(world.hosts[0].source.tree)
    while world.hosts[0].source.tree == before:
        world.hosts[0].source.edit()


FIRST_BACKUP = CrashScenario("first backup", "host-1", _nothing, _back_up, _lose_state)
SECOND_BACKUP = CrashScenario("second backup", "host-1", _others_first, _back_up, _lose_state)
TRUSTING_BACKUP = CrashScenario("second backup among hosts that trust each other", "host-1", _others_first, _back_up, _lose_state, trust_hosts=True)
