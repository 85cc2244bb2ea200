"""What a host that lies can do: make others keep more, or stop a collection. Nothing that was promised to anybody else is lost."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedcorn.errors import IntegrityError
from seedcorn.repo.repository import HostRepository
from seedcorn.testing.simulation import liar
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.maintainers import THOROUGH, must_collect, prune
from seedcorn.testing.simulation.scenario import scratch_parent
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import World, WorldOptions


@pytest.fixture
def world() -> Iterator[World]:
    """An honest host has backed up."""
    with (
        tempfile.TemporaryDirectory(prefix="seedcorn-liar-", dir=scratch_parent()) as folder,
        World(Path(folder), WorldOptions("liar", hosts=1, maintainers=1), INVARIANTS) as made,
    ):
        run(made, lambda actor: made.backup(actor, made.hosts[0]))
        yield made


def run(world: World, body: Callable[[Actor], object]) -> None:
    world.act("somebody", lambda actor: (body(actor), None)[1])
    world.run()


Lie = Callable[[World, HostRepository, random.Random], None]


def tell(world: World, monkeypatch: pytest.MonkeyPatch, told: Lie) -> None:
    monkeypatch.setattr(liar, "_LIES", (told,))
    run(world, lambda actor: liar.lie(world, actor, random.Random(1)))
    assert world.lies <= world.store.contents.objects.keys()


@pytest.mark.parametrize("told", [liar._claim_frames, liar._put_garbage_pack])
def test_false_packs_take_nothing_away(world: World, monkeypatch: pytest.MonkeyPatch, told: Lie) -> None:
    tell(world, monkeypatch, told)
    run(world, lambda actor: must_collect(world, actor, world.maintainers[0]))
    world.end()
    assert len(world.confirmed) == 1


def test_a_false_snapshot_stops_a_collection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(world, monkeypatch, liar._put_garbage_snapshot)
    before = dict(world.store.contents.objects)

    def collect(actor: Actor) -> None:
        with pytest.raises(IntegrityError, match=r"nothing is collected"):
            prune(world, actor, world.maintainers[0], THOROUGH)

    run(world, collect)
    assert world.store.contents.objects == before
    world.end()
