"""What a world promises to those who add actors and invariants: when they are asked, what a rollback excuses, and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from seedcorn.errors import StoreUnavailableError
from seedcorn.ops.retention.policy import Newest, Policy
from seedcorn.testing.simulation.connection import Connection
from seedcorn.testing.simulation.faults import FaultKind, Faults
from seedcorn.testing.simulation.hosts import back_up
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.maintainers import THOROUGH, forget, forget_by_policy, must_collect, prune, undelete
from seedcorn.testing.simulation.owner import check, repair, restore
from seedcorn.testing.simulation.process import Purpose
from seedcorn.testing.simulation.protocol import PROTOCOL
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import Invariant, InvariantViolationError, Moment, World, WorldOptions, open_world

WITHOUT_PROTOCOL = [invariant for invariant in INVARIANTS if invariant not in PROTOCOL]


@contextmanager
def world_with(faults: Faults | None = None, invariants: Sequence[Invariant] = INVARIANTS, *, hosts: int = 1) -> Iterator[World]:
    with open_world(WorldOptions("world", hosts=hosts, faults=faults or Faults.none()), invariants) as world:
        yield world


def run(world: World, body: Callable[[Actor], object], name: str = "host-1") -> None:
    """One actor from begin to end."""

    def discard(actor: Actor) -> None:
        body(actor)

    world.act(name, discard)
    world.run()


def test_a_pack_that_is_deleted_is_missed_at_that_operation() -> None:
    def collector(actor: Actor) -> None:
        with world.process(actor, world.owner_state, Purpose("tidying", writes=True)) as connection:
            connection.delete([next(key for key in world.store.contents.objects if key.startswith("packs/"))])
            pytest.fail("the run goes on")

    with world_with(invariants=WITHOUT_PROTOCOL) as world:
        run(world, lambda actor: back_up(world, actor, world.hosts[0]))
        with pytest.raises(InvariantViolationError, match=r"^I1: "):
            run(world, collector, "maintainer")


def test_a_pack_that_no_sweep_names_must_not_go_even_if_nobody_needs_it() -> None:
    def collector(actor: Actor) -> None:
        with world.process(actor, world.owner_state, Purpose("tidying", writes=True)) as connection:
            connection.delete(["packs/none"])

    with world_with() as world, pytest.raises(InvariantViolationError, match=r"^I4: "):
        run(world, collector, "maintainer")


def test_a_pack_that_nobody_needs_can_go() -> None:
    def collector(actor: Actor) -> None:
        with world.process(actor, world.owner_state, Purpose("tidying", writes=True)) as connection:
            connection.put("packs/none", b"left by a killed run")
            connection.delete(["packs/none"])

    with world_with(invariants=WITHOUT_PROTOCOL) as world:
        run(world, lambda actor: back_up(world, actor, world.hosts[0]))
        run(world, collector, "maintainer")
        world.end()


def test_invariants_are_asked_at_their_moments() -> None:
    asked: list[Moment] = []

    def asking(moment: Moment, *, is_weak_too: bool = True) -> Invariant:
        return Invariant(str(moment), frozenset({moment}), lambda _: asked.append(moment), is_weak_too)

    with world_with(invariants=[asking(moment) for moment in Moment]) as world:
        run(world, lambda actor: check(world, actor, read_data=False), "owner")
        assert set(asked) == {Moment.OPERATION}
        assert len(asked) == len(world.store.log)
        world.end()
        assert asked[-1] is Moment.END
    asked.clear()
    weak = Faults({}, is_weak=True)
    with world_with(weak, [asking(Moment.END), asking(Moment.OPERATION, is_weak_too=False)]) as world:
        run(world, lambda actor: back_up(world, actor, world.hosts[0]))
        world.end()
    assert asked == [Moment.END]


def test_a_check_of_an_honest_repository_finds_nothing() -> None:
    def owner(actor: Actor) -> None:
        assert check(world, actor, read_data=True).exit_code == 0
        for confirmed in world.confirmed.values():
            assert restore(world, actor, confirmed).exit_code == 0

    with world_with(hosts=2) as world:
        for host in world.hosts * 2:
            host.source.edit()
            run(world, lambda actor, host=host: back_up(world, actor, host), host.name)  # type: ignore[misc]
        run(world, owner, "owner")
        assert len(world.confirmed) == 4
        world.end()


def test_an_attempt_notes_what_the_program_reports() -> None:
    with world_with(Faults({FaultKind.ERROR_BEFORE_APPLY: 1.0})) as world:
        run(world, lambda actor: world.attempt("backup", lambda: back_up(world, actor, world.hosts[0])))
        assert +world.outcomes == {f"backup: {StoreUnavailableError.__name__}": 1}
        assert not world.confirmed


def roll_back_to(world: World, objects: dict[str, bytes]) -> None:
    """The provider returns to ``objects``."""
    gone = frozenset(world.store.contents.objects.keys() - objects.keys())
    world.store.contents.objects.clear()
    world.store.contents.objects.update(objects)
    world.store.on_rollback(gone)


def test_what_a_rollback_takes_back_is_no_promise_and_the_owner_hears_of_it() -> None:
    """Also if the host has lost its state, and has since put other snapshots under the numbers that were taken back."""

    def host(actor: Actor) -> None:
        world.hosts[0].source.edit()
        back_up(world, actor, world.hosts[0])

    with world_with() as world:
        run(world, host)
        before = dict(world.store.contents.objects)
        run(world, host)
        run(world, lambda actor: check(world, actor, read_data=False), "owner")
        roll_back_to(world, before)
        assert len(world.confirmed) == len(world.taken_back) == 1
        assert world.taken_back <= world.seen_by_owner
        world.hosts[0].state.lose()
        for _ in range(3):
            run(world, host)
        results = []
        run(world, lambda actor: results.append(check(world, actor, read_data=False)), "owner")
        assert results[0].exit_code == 13
        world.end()


def back_up_twice(world: World) -> None:
    """The second time everything is another."""
    for number in range(2):
        for path in list(world.hosts[0].source.tree):
            world.hosts[0].source.write(path, path + b"%d" % number * 2000)
        run(world, lambda actor: back_up(world, actor, world.hosts[0]))


def test_what_is_forgotten_is_no_promise_until_it_is_taken_back() -> None:
    with world_with() as world:
        back_up_twice(world)
        first, second = world.confirmed.values()
        run(world, lambda actor: forget(world, actor, world.maintainers[0], first), "maintainer-1")
        assert list(world.confirmed.values()) == [second]
        assert list(world.forgotten.values()) == [first]
        run(world, lambda actor: undelete(world, actor, world.maintainers[1], [first]), "maintainer-2")
        assert set(world.confirmed) == {first.snapshot, second.snapshot}
        policy = Policy((Newest(1),), trust_store_times=True)
        run(world, lambda actor: forget_by_policy(world, actor, world.maintainers[0], world.hosts[0], policy), "maintainer-1")
        assert list(world.confirmed.values()) == [second]
        world.end()


def test_collections_take_what_is_forgotten_and_nothing_else() -> None:
    def packs() -> set[str]:
        return {key for key in world.store.contents.objects if key.startswith("packs/")}

    with world_with(hosts=2) as world:
        run(world, lambda actor: back_up(world, actor, world.hosts[1]), "host-2")
        back_up_twice(world)
        before, first = packs(), next(one for one in world.confirmed.values() if one.host is world.hosts[0])
        run(world, lambda actor: forget(world, actor, world.maintainers[0], first), "maintainer-1")
        run(world, lambda actor: prune(world, actor, world.maintainers[0], THOROUGH), "maintainer-1")
        assert before - packs()
        assert len(world.confirmed) == 2
        run(world, lambda actor: must_collect(world, actor, world.maintainers[1]), "maintainer-2")
        world.end()


def test_garbage_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_delete", lambda self, keys, fault: None)
    with world_with() as world:
        back_up_twice(world)
        first = next(iter(world.confirmed.values()))
        run(world, lambda actor: forget(world, actor, world.maintainers[0], first), "maintainer-1")
        with pytest.raises(InvariantViolationError, match=r"^I11: "):
            run(world, lambda actor: must_collect(world, actor, world.maintainers[0]), "maintainer-1")


def test_a_repair_finds_nothing_to_do_where_nothing_is_wrong() -> None:
    with world_with() as world:
        back_up_twice(world)
        before = dict(world.store.contents.objects)
        run(world, lambda actor: repair(world, actor, delete_damaged=True), "owner")
        assert world.store.contents.objects == before
