"""The small signed records as a check sees them: form, signature, place, and what they excuse."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import new_session_id
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.codec import Magic
from seedcorn.format.collection import (
    CheckpointMaintain,
    CollectionRecord,
    ForgetRecord,
    HostPacks,
    SnapshotRef,
    Stage,
    VerifiedPack,
)
from seedcorn.format.names import collection_key, forget_key
from seedcorn.format.relocation import RelocatedSnapshot, RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import CollectionId, HostId, PackId, RelocationId, SnapshotId
from seedcorn.ops.check.check import CheckOptions, Examination, examine
from seedcorn.repo.records import build_record
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.receipts import build_receipt
from seedcorn.repo.roots.relocations import build_relocation
from seedcorn.repo.roots.verified import publish_verified
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

COLLECTION = CollectionId(b"collect!")
RELOCATION = RelocationId(b"relocate")
EMPTY_BITMAP = bytes.fromhex("3a30000000000000")
RECORDS = ("receipt", "void record", "checkpoint", "mark", "sweep", "done", "forget record", "verified record", "relocation", "done relocation")


class Recorded:
    """A repository with one snapshot and a way to put a record of each kind."""

    def __init__(self, repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
        result = repository.backup(tree)
        assert result.snapshot is not None
        store.delete([key for key in store.objects if key.startswith(("receipts/", "checkpoints/"))])
        self.repository = repository
        self.store = store
        self.host = repository.first.host_file.key.host
        self.snapshot = SnapshotRef(self.host, result.seq, result.snapshot)

    def put(self, kind: str) -> str:
        """Its key."""
        key, data = self._make(kind)
        self.store.put(key, data)
        return key

    def _make(self, kind: str) -> tuple[str, bytes]:
        machine, owner = self.repository.first.repository, self.repository.owner()
        if kind in ("receipt", "void record"):
            return build_receipt(machine, self.snapshot.seq, SnapshotId(self.snapshot.snapshot), void=kind == "void record")
        if kind == "checkpoint":
            maintain = CheckpointMaintain(5, b"g" * 16, (NeededFrames(b"s" * 16, EMPTY_BITMAP),))
            return build_checkpoint(machine, new_session_id(machine.host), 1, maintain)
        if kind in ("mark", "sweep", "done"):
            stage = Stage[kind.upper()]
            packs = (HostPacks(self.host, (b"p" * 32,)),) if kind != "done" else ()
            record = CollectionRecord(repository=owner.repository, number=1, collection=COLLECTION, stage=stage, packs=packs, relocations=())
            return collection_key(1, COLLECTION, stage), build_record(Magic.COLLECTION, record, owner.key.maintain_key().sign)
        if kind == "forget record":
            return self.forget(1, [self.snapshot], [])
        if kind in ("relocation", "done relocation"):
            announced = RelocationRecord(
                owner.repository,
                1,
                RELOCATION,
                RelocationStage.ANNOUNCED,
                (NeededFrames(b"s" * 16, EMPTY_BITMAP),),
                (RelocatedSnapshot(self.host, 9, b"o" * 32, (0,)),),
            )
            done = RelocationRecord(owner.repository, 1, RELOCATION, RelocationStage.DONE)
            return build_relocation(done if kind == "done relocation" else announced, owner.key)
        key = publish_verified(owner, [VerifiedPack(self.host, b"p" * 32, b"d" * 32)], 5)
        assert key is not None
        return key, self.store.objects[key]

    def forget(self, number: int, forgotten: list[SnapshotRef], taken_back: list[SnapshotRef]) -> tuple[str, bytes]:
        """(key, bytes) of a forget record."""
        owner = self.repository.owner()
        record = ForgetRecord(owner.repository, number, 5, tuple(forgotten), tuple(taken_back))
        data = build_record(Magic.FORGET, record, owner.key.maintain_key().sign)
        return forget_key(number, primitives.object_hash(data)), data

    def examine(self) -> Examination:
        return examine(self.repository.browser(fresh=True), CheckOptions(), SystemClock(), VoidMonitor())

    def problems(self) -> list[str]:
        """Names of the objects with which something is wrong."""
        return [problem.object_name for problem in self.examine().result.problems]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    store = MemoryStore()
    with SmallRepository(store, tmp_path / "machines") as repository:
        yield Recorded(repository, store, make_tree(tmp_path / "tree", {"f": os.urandom(5_000)}))


def test_good_records_are_no_problem_and_all_are_read(recorded: Recorded) -> None:
    before = recorded.examine().result.checked_bytes
    keys = [recorded.put(kind) for kind in RECORDS if kind != "forget record"]  # what is forgotten is not read
    result = recorded.examine().result
    assert result.problems == ()
    assert result.checked_bytes - before == sum(len(recorded.store.objects[key]) for key in keys)


@pytest.mark.parametrize("kind", RECORDS)
def test_every_byte_of_a_record_counts(kind: str, recorded: Recorded) -> None:
    key = recorded.put(kind)
    pristine = recorded.store.objects[key]
    for place in {0, 9, 17, len(pristine) // 2, len(pristine) - 70, len(pristine) - 1}:
        recorded.store.objects[key] = flip_byte(pristine, place)
        assert recorded.problems() == [key], place


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_under_another_name(kind: str, recorded: Recorded) -> None:
    key = recorded.put(kind)
    data = recorded.store.objects.pop(key)
    moved = {
        "receipt": key + ".void",
        "void record": key.removesuffix(".void"),
        "checkpoint": key[:-1] + "2",
        "mark": key.replace(".mark", ".sweep"),
        "sweep": key.replace(".sweep", ".mark"),
        "done": key.replace("0000000001-", "0000000002-"),
    }.get(kind, key.replace("0000000001-", "0000000002-"))
    recorded.store.put(moved, data)
    assert recorded.problems() == [moved]


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_is_too_large_is_not_read(kind: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    key = recorded.put(kind)
    for magic in (Magic.RECEIPT, Magic.CHECKPOINT, Magic.COLLECTION, Magic.FORGET, Magic.VERIFIED, Magic.RELOCATION):
        monkeypatch.setattr(magic, "limit_bytes", 60)
    (problem,) = recorded.examine().result.problems
    assert (problem.object_name, "larger" in problem.message) == (key, True)


def test_a_receipt_of_another_host_is_nothing(recorded: Recorded) -> None:
    other = recorded.repository.machine("beta")
    key, data = build_receipt(other.repository, 1, SnapshotId(recorded.snapshot.snapshot))
    forged = key.replace(other.host_file.key.host.hex(), recorded.host.hex())
    recorded.store.put(forged, data)
    assert recorded.problems() == [forged]


def test_a_forgotten_or_void_snapshot_need_not_be_whole(recorded: Recorded) -> None:
    del recorded.store.objects[keys_by_kind(recorded.store)["segment"][0]]
    assert recorded.problems()
    pristine = dict(recorded.store.objects)
    recorded.put("void record")
    assert recorded.problems() == []
    recorded.store.objects = dict(pristine)
    recorded.store.put(*recorded.forget(1, [recorded.snapshot], []))
    assert recorded.problems() == []
    recorded.store.put(*recorded.forget(2, [], [recorded.snapshot]))
    assert recorded.problems()
    recorded.store.put(*recorded.forget(3, [recorded.snapshot], []))
    assert recorded.problems() == []


def test_which_packs_a_collection_deletes(recorded: Recorded) -> None:
    pack = (HostId(recorded.host), PackId(b"p" * 32))
    steps: list[tuple[str, Callable[[], object], set[object]]] = [
        ("mark", lambda: recorded.put("mark"), set()),
        ("sweep", lambda: recorded.put("sweep"), {pack}),
        ("done", lambda: recorded.put("done"), {pack}),  # it has kept nothing
    ]
    for name, step, expected in steps:
        step()
        assert recorded.examine().records.collections.swept() == expected, name
