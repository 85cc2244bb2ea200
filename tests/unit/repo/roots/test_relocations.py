"""Relocations: which one rules, how long an announced one keeps what it names, and that none can be missing unnoticed."""

from __future__ import annotations

import pytest

from seedcorn.format.codec import Magic
from seedcorn.format.collection import SnapshotRef
from seedcorn.format.names import parse_relocation_key
from seedcorn.format.relocation import RelocatedSnapshot, RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames
from seedcorn.repo.records import build_record
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.roots.relocations import Relocations, build_relocation, read_relocations
from seedcorn.repo.state.state import State
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

FIRST, SECOND, THIRD = (SnapshotRef(b"h" * 16, seq, bytes([seq]) * 32) for seq in (1, 2, 3))


class Relocator:
    """Puts records as the owner, and reads them."""

    def __init__(self, repository: SmallRepository, store: MemoryStore) -> None:
        self.store = store
        self.repository = repository
        self.owner: OwnerRepository = repository.owner()

    def announce(self, number: int, name: str, *refs: SnapshotRef, earlier: tuple[bytes, ...] = (), places: tuple[int, ...] = (0,)) -> str:
        snapshots = tuple(RelocatedSnapshot(ref.host, ref.seq, ref.snapshot, places) for ref in refs)
        frames = (NeededFrames(name.encode() * 8, b"bitmap"),)
        stage = RelocationStage.ANNOUNCED
        return self.put(RelocationRecord(self.owner.repository, number, name.encode() * 8, stage, frames, snapshots, earlier))

    def finish(self, number: int, name: str) -> str:
        return self.put(RelocationRecord(self.owner.repository, number, name.encode() * 8, RelocationStage.DONE))

    def put(self, record: RelocationRecord) -> str:
        key, data = build_relocation(record, self.owner.key)
        self.store.put(key, data)
        return key

    def read(self, state: State | None = None) -> Relocations:
        return read_relocations(self.store, state, self.owner.repository, self.owner.key.public)

    def ruling(self) -> dict[SnapshotRef, bytes]:
        """The first byte of the name of the one that rules each snapshot."""
        return {ref: one.record.relocation[:1] for ref, one in self.read().ruling.items()}

    def pending(self, *roots: SnapshotRef) -> list[bytes]:
        return [one.record.relocation[:1] for one in self.read().pending(roots)]


@pytest.fixture
def state(repository: SmallRepository) -> State:
    return repository.new_state()


@pytest.fixture
def relocator(store: MemoryStore, repository: SmallRepository) -> Relocator:
    return Relocator(repository, store)


def test_one_that_is_announced_rules_only_when_it_is_done(relocator: Relocator) -> None:
    relocator.announce(1, "a", FIRST, SECOND)
    assert relocator.ruling() == {} and relocator.read().next_number == 2
    assert relocator.pending(FIRST) == relocator.pending(FIRST, SECOND) == [b"a"]
    assert relocator.pending(THIRD) == relocator.pending() == []
    relocator.finish(1, "a")
    assert relocator.ruling() == {FIRST: b"a", SECOND: b"a"}
    assert relocator.pending(FIRST, SECOND) == []
    assert relocator.read().ruling[FIRST].needed[FIRST] == (NeededFrames(b"a" * 8, b"bitmap"),)


def test_the_higher_one_rules_whichever_was_done_last(relocator: Relocator) -> None:
    relocator.announce(1, "b", FIRST, SECOND)
    relocator.announce(1, "a", FIRST)
    relocator.finish(1, "b")
    assert relocator.pending(FIRST) == []  # what has a lower name can not rule any more
    relocator.finish(1, "a")
    assert relocator.ruling() == {FIRST: b"b", SECOND: b"b"}
    relocator.announce(2, "c", FIRST, earlier=(b"a" * 8, b"b" * 8))
    assert relocator.pending(FIRST) == [b"c"] and relocator.pending(SECOND) == []
    relocator.finish(2, "c")
    assert relocator.ruling() == {FIRST: b"c", SECOND: b"b"}


def test_an_announced_one_is_over_once_higher_ones_rule_all_that_it_names(relocator: Relocator) -> None:
    relocator.announce(1, "a", FIRST, SECOND)
    relocator.announce(2, "b", FIRST)
    relocator.finish(2, "b")
    assert relocator.pending(FIRST) == [] and relocator.pending(FIRST, SECOND) == [b"a"]
    relocator.announce(3, "c", SECOND)
    relocator.finish(3, "c")
    assert relocator.pending(FIRST, SECOND) == []


def test_one_that_is_done_and_not_there_is_a_problem(relocator: Relocator) -> None:
    first = relocator.announce(1, "a", FIRST)
    done = relocator.finish(1, "a")
    relocator.announce(2, "b", SECOND, earlier=(b"a" * 8,))
    assert relocator.read().problems == ()
    kept = relocator.store.objects.pop(first)
    assert [problem.object_name for problem in relocator.read().problems] == [done]
    relocator.store.objects[first] = kept
    relocator.store.objects.pop(done)
    assert "before it" in str(relocator.read().problems[0])


def test_what_this_machine_has_seen_must_stay(relocator: Relocator, state: State) -> None:
    key = relocator.announce(1, "a", FIRST)
    assert relocator.read(state).problems == ()
    relocator.store.objects.pop(key)
    assert relocator.read().problems == ()
    assert "never removed" in str(relocator.read(state).problems[0])
    assert "never removed" in str(relocator.read(state).problems[0])  # as long as it is so


def test_what_is_not_the_owners_or_not_what_its_name_says_is_a_problem(relocator: Relocator, state: State) -> None:
    record = RelocationRecord(relocator.owner.repository, 1, b"a" * 8, RelocationStage.ANNOUNCED)
    key, data = build_relocation(record, relocator.owner.key)
    forged = build_record(Magic.RELOCATION, record, relocator.owner.key.maintain_key().sign)
    relocator.store.put(key, forged)
    assert [problem.object_name for problem in relocator.read(state).problems] == [key]
    relocator.store.objects[key] = data
    assert relocator.read(state).problems == ()
    relocator.store.put(key + ".done", data)
    assert "moved" in str(relocator.read(state).problems[0])


def test_places_that_are_not_in_the_record(relocator: Relocator) -> None:
    relocator.announce(1, "a", FIRST, places=(1,))
    assert "not in it" in str(relocator.read().problems[0])
    assert relocator.read().announced == ()


def test_keys() -> None:
    assert parse_relocation_key("relocations/0000000001-0011223344556677") is not None
    assert parse_relocation_key("relocations/0000000001-0011223344556677.done") is not None
    assert parse_relocation_key("relocations/0000000001-0011223344556677.mark") is None
