"""What a host that lies can do: make others keep more, or stop collections until the owner does what messages say. Nothing promised is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from seedcorn.errors import IntegrityError
from seedcorn.repo.repository import HostRepository
from seedcorn.testing.simulation import liar
from seedcorn.testing.simulation.hosts import back_up
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.maintainers import THOROUGH, must_collect, prune
from seedcorn.testing.simulation.owner import get_out
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import InvariantViolationError, World, WorldOptions, open_world


@pytest.fixture
def world() -> Iterator[World]:
    """An honest host has backed up."""
    with open_world(WorldOptions("liar", hosts=1, maintainers=1), INVARIANTS) as made:
        run(made, lambda actor: back_up(made, actor, made.hosts[0]))
        yield made


def run(world: World, body: Callable[[Actor], object]) -> None:
    world.act("somebody", lambda actor: (body(actor), None)[1])
    world.run()


Lie = Callable[[World, HostRepository, random.Random], None]


def tell(world: World, monkeypatch: pytest.MonkeyPatch, told: Lie) -> None:
    monkeypatch.setattr(liar, "_LIES", (told,))
    run(world, lambda actor: liar.lie(world, actor, random.Random(1)))
    assert world.lies <= world.store.contents.objects.keys()


@pytest.mark.parametrize("told", [liar._claim_frames, liar._put_garbage_pack, liar._put_garbage_records])
def test_false_packs_and_records_take_nothing_away(world: World, monkeypatch: pytest.MonkeyPatch, told: Lie) -> None:
    run(world, lambda actor: back_up(world, actor, world.liar))
    tell(world, monkeypatch, told)
    run(world, lambda actor: must_collect(world, actor, world.maintainers[0]))
    world.end()
    assert len(world.confirmed) == 2


FALSE_HISTORY = [liar._put_garbage_snapshot, liar._sign_false_receipts, liar._sign_false_snapshot]
WAYS_OUT = [*((told, by_revoking) for told in FALSE_HISTORY for by_revoking in (False, True)), (liar._put_garbage_segment, True)]


@pytest.mark.parametrize(("told", "by_revoking"), WAYS_OUT)
def test_what_stops_a_collection_can_be_got_rid_of(world: World, monkeypatch: pytest.MonkeyPatch, told: Lie, by_revoking: bool) -> None:
    """By doing what the messages say. What the liar itself had backed up before stays, too: it may have been stolen since."""
    run(world, lambda actor: back_up(world, actor, world.liar))
    tell(world, monkeypatch, told)
    before = dict(world.store.contents.objects)

    def collect(actor: Actor) -> None:
        with pytest.raises(IntegrityError, match=r"nothing is collected"):
            prune(world, actor, world.maintainers[0], THOROUGH)

    run(world, collect)
    assert world.store.contents.objects == before
    run(world, lambda actor: get_out(world, actor, by_revoking=by_revoking))
    run(world, lambda actor: back_up(world, actor, world.hosts[0]))
    run(world, lambda actor: must_collect(world, actor, world.maintainers[0]))
    world.end()
    assert {one.host for one in world.confirmed.values()} == {world.hosts[0], world.liar}


def test_a_false_segment_is_not_got_rid_of_by_forgetting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(world, monkeypatch, liar._put_garbage_segment)
    assert not liar.may_stay(world.lies)
    with pytest.raises(InvariantViolationError, match="can not get rid"):
        run(world, lambda actor: get_out(world, actor, by_revoking=False))
