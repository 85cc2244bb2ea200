"""Actors let loose on each other in a world of their own, apart from the ordinary runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import InvariantViolationError, World

__all__ = ["violation_in"]


def violation_in(world: World, *phases: Mapping[str, Callable[[Actor], None]]) -> str:
    """Let the actors of each phase act at once, one phase after the other, and end the world; what has been violated, empty if nothing."""
    try:
        for bodies in phases:
            for name, body in bodies.items():
                world.act(name, body)
            world.run()
        world.end()
    except InvariantViolationError as error:
        return str(error)
    return ""
