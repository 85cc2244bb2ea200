"""repo/roots/collections.py: what ``gc/`` says, and what it is not believed."""

from __future__ import annotations

import pytest

from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import CheckpointRef, CollectionRecord, HostPacks, SnapshotRef, Stage
from seedcorn.format.names import CollectionName, collection_key, probe_key
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import CollectionId, HostId, PackId
from seedcorn.repo.records import build_record
from seedcorn.repo.roots.collections import Collections, build_collection, list_collections, named_packs
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

ALPHA, BETA = HostId(b"a" * 16), HostId(b"b" * 16)
P, Q, R = (PackId(letter * 32) for letter in (b"p", b"q", b"r"))
ONE, TWO = CollectionId(b"1" * 8), CollectionId(b"2" * 8)
REF, OTHER_REF = SnapshotRef(ALPHA, 1, b"s" * 32), SnapshotRef(ALPHA, 2, b"t" * 32)


def record(stage: Stage, collection: CollectionId = ONE, *packs: PackId, number: int = 1, repository: bytes = b"r" * 16) -> CollectionRecord:
    return CollectionRecord(
        repository=repository,
        number=number,
        collection=collection,
        stage=stage,
        packs=(HostPacks(ALPHA, packs), HostPacks(BETA, packs[:1])),
        relocations=(),
    )


def both(*packs: PackId) -> set[tuple[HostId, PackId]]:
    """The packs that a record of ``packs`` names."""
    return {(ALPHA, pack) for pack in packs} | {(BETA, pack) for pack in packs[:1]}


# -- values ----------------------------------------------------------------------------------------------------------------------------------


def test_what_is_swept_is_what_was_named_and_not_kept() -> None:
    kept = CollectionRecord(repository=b"r" * 16, number=1, collection=ONE, stage=Stage.DONE, packs=(HostPacks(ALPHA, (P,)),), relocations=())
    found = Collections((), (record(Stage.SWEEP, ONE, P, Q), record(Stage.SWEEP, TWO, R)), {ONE: kept}, 3)
    assert found.swept() == (both(P, Q) - {(ALPHA, P)}) | both(R)
    assert found.swept(but=ONE) == both(R)
    assert found.swept(but=TWO) == both(P, Q) - {(ALPHA, P)}
    assert [one.collection for one in found.unfinished_sweeps] == [TWO]


def test_what_counts_no_more_is_what_any_sweep_says() -> None:
    checkpoint = CheckpointRef(ALPHA, b"c" * 16)
    named, spared = (NeededFrames(b"s" * 16, b"named"),), (NeededFrames(b"s" * 16, b"spared"),)
    sweeps = (
        CollectionRecord(
            repository=b"r" * 16,
            number=1,
            collection=ONE,
            stage=Stage.SWEEP,
            frames=named,
            expired=(REF,),
            expired_checkpoints=(checkpoint,),
            relocations=(),
        ),
        CollectionRecord(repository=b"r" * 16, number=2, collection=TWO, stage=Stage.SWEEP, frames=named, removed=(OTHER_REF,), relocations=()),
    )
    found = Collections(
        (), sweeps, {TWO: CollectionRecord(repository=b"r" * 16, number=2, collection=TWO, stage=Stage.DONE, frames=spared, relocations=())}, 4
    )
    assert found.expired == {REF} and found.removed == {OTHER_REF}
    assert found.expired_checkpoints == {checkpoint}
    assert list(found.taken_frames(())) == [(named, ()), (named, spared)]


# -- records in the store ----------------------------------------------------------------------------------------------------------------------


class Room:
    """``gc/`` of a repository, with records that a maintainer signs."""

    def __init__(self, repository: SmallRepository, store: MemoryStore) -> None:
        self.store = store
        self.owner = repository.owner()
        self.state = repository.new_state()
        self.sign = self.owner.key.maintain_key().sign

    def put(self, stage: Stage, collection: CollectionId, number: int, *packs: PackId) -> CollectionRecord:
        made = record(stage, collection, *packs, number=number, repository=self.owner.repository)
        self.store.put(*build_collection(made, self.sign))
        return made

    def read(self) -> Collections:
        return list_collections(self.store).read_all(self.store, self.state, self.owner.repository, self.owner.key.public)


@pytest.fixture
def room(repository: SmallRepository, store: MemoryStore) -> Room:
    return Room(repository, store)


def test_nothing(room: Room) -> None:
    assert room.read() == Collections((), (), {}, 1)


def test_records_by_stage_in_the_order_of_their_numbers(room: Room) -> None:
    sweep, mark = room.put(Stage.SWEEP, TWO, 7, P), room.put(Stage.MARK, ONE, 9, Q)
    first, done = room.put(Stage.SWEEP, ONE, 2, R), room.put(Stage.DONE, ONE, 2)
    room.store.put(probe_key(b"x" * 8), b"")
    room.store.put("gc/something", b"")
    log = list_collections(room.store)
    assert log.sweeps == {CollectionName(7, TWO, Stage.SWEEP), CollectionName(2, ONE, Stage.SWEEP)}
    found = room.read()
    assert [(one.key, one.record) for one in found.marks] == [(collection_key(9, ONE, Stage.MARK), mark)]
    assert found.marks[0].stored_ns == room.store.head(found.marks[0].key).modified_ns > 0
    assert (found.sweeps, found.done) == ((first, sweep), {ONE: done})
    assert (found.next_number, found.probes, found.problems) == (10, (probe_key(b"x" * 8),), ())


@pytest.mark.parametrize("harm", ["number", "id", "repository", "signer", "cut"])
def test_a_record_that_is_not_what_its_name_says(room: Room, repository: SmallRepository, harm: str) -> None:
    good = record(Stage.SWEEP, ONE, P, number=5, repository=b"q" * 16 if harm == "repository" else room.owner.repository)
    name = CollectionName(6 if harm == "number" else 5, TWO if harm == "id" else ONE, Stage.SWEEP)
    key = collection_key(name.number, name.collection, name.stage)
    data = build_record(Magic.COLLECTION, good, repository.first.host_file.key.sign if harm == "signer" else room.sign)
    room.store.put(key, data[:-1] if harm == "cut" else data)
    sound = room.put(Stage.SWEEP, TWO, 7, Q)
    for _ in range(2):
        found = room.read()
        assert (found.marks, found.sweeps) == ((), (sound,))
        assert [problem.object_name for problem in found.problems] == [key]
    log = list_collections(room.store)
    with pytest.raises(IntegrityError, match=key):
        log.read(room.store, room.state, room.owner.repository, room.owner.key.public, [name])
    assert room.state.cached_object(key) is None


def test_a_damaged_mark_says_nothing_and_stops_nobody(room: Room) -> None:
    """It may be deleted by whoever finds nothing in it, as any mark may."""
    good = record(Stage.SWEEP, ONE, P, number=5, repository=room.owner.repository)  # not what its name says
    key = collection_key(5, ONE, Stage.MARK)
    room.store.put(key, build_record(Magic.COLLECTION, good, room.sign))
    found = room.read()
    assert [(mark.key, mark.record.packs, mark.record.copies) for mark in found.marks] == [(key, (), ())]
    assert (found.sweeps, found.problems, [oddity.object_name for oddity in found.oddities]) == ((), (), [key])
    assert room.state.cached_object(key) is None


def test_a_sweep_with_a_damaged_done_record_is_unfinished(room: Room) -> None:
    sweep = room.put(Stage.SWEEP, ONE, 5, P, Q)
    room.put(Stage.DONE, ONE, 5, P)
    assert room.read().swept() < frozenset(named_packs([sweep]))
    key = collection_key(5, ONE, Stage.DONE)
    room.store.objects[key] = flip_byte(room.store.objects[key], 40)
    room.state.close()
    found = list_collections(room.store).read_all(room.store, None, room.owner.repository, room.owner.key.public)
    assert found.unfinished_sweeps == (sweep,) and found.swept() == frozenset(named_packs([sweep]))
    assert (found.problems, [oddity.object_name for oddity in found.oddities]) == ((), [key])


def test_a_mark_that_is_deleted_as_it_is_read(room: Room) -> None:
    room.put(Stage.MARK, ONE, 1, P)
    sweep = room.put(Stage.SWEEP, TWO, 2, Q)
    log = list_collections(room.store)
    room.store.delete([collection_key(1, ONE, Stage.MARK)])
    found = log.read_all(room.store, room.state, room.owner.repository, room.owner.key.public)
    assert (found.marks, found.sweeps, found.problems) == ((), (sweep,), ())


def test_each_is_fetched_once_with_a_state_and_anew_without(room: Room) -> None:
    room.put(Stage.SWEEP, ONE, 1, P)
    room.read()
    before = room.store.requests.get
    room.read()
    assert room.store.requests.get == before
    list_collections(room.store).read_all(room.store, None, room.owner.repository, room.owner.key.public)
    assert room.store.requests.get == before + 1
