"""An owner writes poor frames anew while a maintainer collects: what is relocated is there, because collections are looked at again before that."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest
from tests.simulation.races import violation_in

from seedcorn.ops.deep import relocate
from seedcorn.testing.simulation.connection import Suspension
from seedcorn.testing.simulation.hosts import back_up
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.maintainers import THOROUGH, forget, must_collect, prune
from seedcorn.testing.simulation.owner import deep
from seedcorn.testing.simulation.scenario import simulate
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import WorldOptions, open_world

SEEDS = 40
ORDINARY_SEEDS = range(200, 300)  # the first of them are enough


def race(seed: int) -> tuple[str, Counter[str]]:
    """(the violation, what happened) where one of two snapshots that have frames in common is forgotten, the owner prunes deep, and a maintainer
    collects at once: both pause once."""
    chosen = random.Random(f"relocation {seed}")

    def first(actor: Actor) -> None:
        for day in range(2):
            world.hosts[0].source.write(b"a", b"%d" % day * 3000)
            back_up(world, actor, world.hosts[0])
        forget(world, actor, world.maintainers[0], next(iter(world.confirmed.values())))

    def owner(actor: Actor) -> None:
        actor.clock.sleep(chosen.random() * 10)
        world.suspensions[actor.name] = Suspension(chosen.randrange(10, 50), chosen.random() * 60)
        world.attempt("deep", lambda: deep(world, actor, world.owner_state))

    def maintainer(actor: Actor) -> None:
        actor.clock.sleep(chosen.random() * 40)
        world.suspensions[actor.name] = Suspension(chosen.randrange(12, 40), chosen.random() * 60)
        world.attempt("prune", lambda: prune(world, actor, world.maintainers[0], THOROUGH))

    options = WorldOptions(f"relocation {seed}", hosts=1, maintainers=1)
    with open_world(options, INVARIANTS) as world:
        phases = (
            {"host-1": first},
            {"owner": owner, "maintainer-1": maintainer},
            {"maintainer-1": lambda actor: must_collect(world, actor, world.maintainers[0])},
        )
        return violation_in(world, *phases), world.outcomes


def test_a_race_harms_nobody_and_is_close() -> None:
    """Some relocations come too late, and say so."""
    runs = [race(seed) for seed in range(SEEDS)]
    assert {violation for violation, _ in runs} == {""}
    together = sum((outcomes for _, outcomes in runs), Counter[str]())
    assert together["frames written anew"] and together["packs kept after all"] and together["deep: SeedcornError"]


def test_a_relocation_that_does_not_look_at_collections_again_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relocate, "_check", lambda *_: None)
    assert any(race(seed)[0].startswith("I1: ") for seed in range(SEEDS))


def test_ordinary_runs_relocate_too() -> None:
    """Somebody has to come at the right moment: a deep job at any other finds nothing poor."""
    relocating = (seed for seed in ORDINARY_SEEDS if simulate(seed).outcomes.get("frames written anew"))
    assert len(list(islice(relocating, 2))) == 2
