"""The end of a backup: what was named by a sweep that came after its first look, it does not rely on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.acceptance.workshop import SettledClock

from seedcorn.crypto.primitives import object_hash
from seedcorn.errors import IntegrityError, ObjectNotFoundError, SeedcornError
from seedcorn.events import RecordingMonitor, SystemClock
from seedcorn.format.codec import Magic
from seedcorn.format.collection import CollectionRecord, HostPacks, SnapshotRef, Stage
from seedcorn.format.names import collection_key, pack_key, parse_checkpoint_key, parse_numbered_key, parse_receipt_key
from seedcorn.ids import CollectionId, PackId, SessionId, SnapshotId
from seedcorn.ops import access
from seedcorn.ops.backup import entries
from seedcorn.ops.backup.backup import BackupOptions, backup_stream
from seedcorn.ops.browse import open_browser
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.repo.index import build_segment, open_segment, sync_state
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.records import build_record
from seedcorn.repo.roots.needed import open_bitmap
from seedcorn.repo.roots.receipts import read_receipts
from seedcorn.repo.state.state import SessionRecord
from seedcorn.store.api import Buffer, ObjectInfo
from seedcorn.store.wrappers import WrappedStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree, read_tree


class Interrupting(WrappedStore):
    """Does something of its own just before or after the first put into ``room``."""

    def __init__(self, inner: MemoryStore, room: str, before: Callable[[], None] | None = None, after: Callable[[], None] | None = None) -> None:
        super().__init__(inner)
        self._room, self._before, self._after = room, before, after

    def put(self, key: str, data: Buffer) -> None:
        mine = key.startswith(self._room)
        if mine and self._before:
            action, self._before = self._before, None
            action()
        super().put(key, data)
        if mine and self._after:
            action, self._after = self._after, None
            action()


class Theatre:
    """A repository with one backup of a tree of two files, one of which will change."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.repository = SmallRepository(self.store, folder / "states")
        self.tree = make_tree(folder / "tree", {"kept": b"kept " * 2000, "changed": b"old " * 2000})
        self.repository.backup(self.tree)
        (self.tree / "changed").write_bytes(b"new " * 2000)
        self.numbers = 0

    def put_collection(
        self, stage: Stage, packs: Iterable[str], *, number: int = 0, expired: tuple[SnapshotRef, ...] = (), removed: tuple[SnapshotRef, ...] = ()
    ) -> None:
        """A record as a maintainer puts it, about these packs."""
        self.numbers += 1
        number = number or self.numbers
        host = self.repository.made.host_file.key.host
        named = HostPacks(host, tuple(bytes.fromhex(key.rpartition("/")[2]) for key in packs))
        repository = self.repository.made.repository
        record = CollectionRecord(
            repository=repository,
            number=number,
            collection=number.to_bytes(8, "big"),
            stage=stage,
            packs=(named,),
            expired=expired,
            removed=removed,
            relocations=(),
        )
        data = build_record(Magic.COLLECTION, record, self.repository.owner().key.maintain_key().sign)
        self.store.put(collection_key(number, CollectionId(record.collection), stage), data)

    def keys(self, room: str) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith(room))

    def backup_through(self, store: WrappedStore) -> RecordingMonitor:
        monitor = RecordingMonitor()
        self.repository.first.store = store
        self.repository.first.backup(self.tree, monitor=monitor)
        return monitor

    def statuses(self) -> dict[int, str]:
        """By number: confirmed, void or unconfirmed, as receipts say."""
        owner = self.repository.owner()
        receipts = read_receipts(self.store, self.repository.owner_state(), owner.repository, access.registry(owner))
        assert receipts.problems == ()
        found = {}
        for key in self.keys("snapshots/"):
            name = parse_numbered_key(key)
            assert name is not None
            ref = SnapshotRef(name.host, name.number, name.object_id)
            found[name.number] = "void" if ref in receipts.void else "confirmed" if receipts.confirms(ref) else "unconfirmed"
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Theatre]:
    made = Theatre(tmp_path)
    yield made
    made.repository.__exit__()


def test_a_backup_puts_its_snapshot_then_its_receipt_then_looks_again(stage: Theatre) -> None:
    assert stage.statuses() == {1: "confirmed"}
    names = [parse_receipt_key(key) for key in stage.keys("receipts/")]
    assert [(name.seq, name.void) for name in names if name] == [(1, False)]


@pytest.mark.parametrize("moment", ["before the snapshot", "after the snapshot", "before the receipt", "after the receipt"])
def test_a_sweep_during_the_backup_makes_it_begin_anew(stage: Theatre, moment: str) -> None:
    packs = stage.keys("packs/")

    def sweep() -> None:
        stage.put_collection(Stage.SWEEP, packs)

    when, _, room = moment.partition(" the ")
    store = Interrupting(stage.store, room, **{when: sweep})
    monitor = stage.backup_through(store)
    assert stage.statuses() == {1: "confirmed", 2: "void", 3: "confirmed"}
    assert any("removed data" in note for note in monitor.notes)
    for key in packs:  # the collection does what it said
        del stage.store.objects[key]
    assert read_tree(stage.repository.browser(), "latest", bytes(stage.tree)) == {
        bytes(stage.tree / name): (stage.tree / name).read_bytes() for name in ("kept", "changed")
    }


def test_a_sweep_of_what_is_not_needed_tears_nothing(stage: Theatre) -> None:
    stage.repository.first.store = Interrupting(
        stage.store, "snapshot", after=lambda: stage.put_collection(Stage.SWEEP, ["packs/" + "ab" * 16 + "/" + "cd" * 32])
    )
    stage.repository.first.backup(stage.tree)
    assert stage.statuses() == {1: "confirmed", 2: "confirmed"}


def test_a_backup_that_needs_every_frame_is_not_torn_by_a_sweep_of_other_packs(tmp_path: Path, stage: Theatre) -> None:
    """A first one, that is: nothing is in the index but what it needs."""
    machine = stage.repository.machine("beta")
    machine.store = Interrupting(stage.store, "snapshot", after=lambda: stage.put_collection(Stage.SWEEP, ["packs/" + "ab" * 16 + "/" + "cd" * 32]))
    monitor = RecordingMonitor()
    assert machine.backup(stage.tree, monitor=monitor).seq == 1
    assert monitor.notes == []


class Forgetful(WrappedStore):
    """Answers once that there is nothing in ``gc/``, when it is asked for the second time."""

    asked = 0

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.asked += prefix == "gc/"
        return iter(()) if prefix == "gc/" and self.asked == 2 else super().list(prefix, after=after)


def test_a_listing_that_has_lost_old_sweeps_confirms_nothing(stage: Theatre) -> None:
    stage.put_collection(Stage.SWEEP, ["packs/" + "ab" * 16 + "/" + "cd" * 32])
    stage.repository.first.store = Forgetful(stage.store)
    with pytest.raises(IntegrityError, match="never removed"):
        stage.repository.first.backup(stage.tree)


def test_a_pack_that_was_swept_before_and_is_listed_only_now_is_not_relied_on(stage: Theatre, tmp_path: Path) -> None:
    """Another process of this machine stood still between its pack and the segment; a collection has come and gone meanwhile."""
    other = make_tree(tmp_path / "other", {"file": b"other " * 2000})
    before = set(stage.store.objects)
    with closing(stage.repository.machine_again()) as stopped:
        stopped.backup(other)
    late = {key: stage.store.objects.pop(key) for key in set(stage.store.objects) - before}
    (segment,) = [key for key in late if key.startswith("index/")]
    stage.put_collection(Stage.SWEEP, [key for key in late if key.startswith("packs/")], number=7)
    stage.put_collection(Stage.DONE, [], number=7)
    make_tree(stage.tree, {"d/other": b"other " * 2000})
    state, repository, registry = stage.repository.first.state, stage.repository.first.repository, access.registry(stage.repository.owner())
    name = parse_numbered_key(segment)
    assert name
    (row,) = open_segment(late[segment], name, repository.repository, repository.key.index_key, registry).public.key_rows
    state.begin_session(SessionRecord(SessionId(row.session), repository.host, 0), row.sealed_key)

    class GoesOn(WrappedStore):
        """The other process goes on when this one has loaded the index."""

        def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
            if prefix == "snapshots/" and segment not in stage.store.objects:
                stage.store.objects[segment] = late[segment]
                sync_state(stage.store, state, repository.repository, repository.key.index_key, registry, only=repository.host)
            return super().list(prefix, after=after)

    stage.backup_through(GoesOn(stage.store))
    assert stage.statuses() == {1: "confirmed", 2: "void", 3: "confirmed"}
    found = read_tree(stage.repository.browser(), "latest", bytes(stage.tree))
    assert found[bytes(stage.tree / "d" / "other")] == b"other " * 2000


def test_a_copy_that_is_listed_only_after_it_was_swept_is_not_relied_on(stage: Theatre) -> None:
    """A maintainer has put copies and lists them late; another one has swept them between. This host's index gets them, by another process, between
    its listing of sweeps and its look at the index."""
    repository, registry = stage.repository.first.repository, access.registry(stage.repository.owner())
    state = stage.repository.first.state
    packs, (segment,) = stage.keys("packs/"), stage.keys("index/")
    name = parse_numbered_key(segment)
    assert name
    opened = open_segment(stage.store.objects[segment], name, repository.repository, repository.key.index_key, registry)
    (row,) = opened.public.key_rows
    copies = [replace(entry, pack=object_hash(entry.pack)) for entry in opened.packs]

    class Meanwhile(Interrupting):
        """Asked for sweeps at the end, it answers as things were before."""

        has_swept = False

        def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
            found = list(super().list(prefix, after=after))
            if prefix == "gc/" and stage.keys("gc/") and not self.has_swept:
                self.has_swept = True
                stage.put_collection(Stage.SWEEP, [pack_key(repository.host, PackId(entry.pack)) for entry in copies])
                stage.store.put(*build_segment(repository, SessionId(row.session), 9, row, copies))
                sync_state(stage.store, state, repository.repository, repository.key.index_key, registry, only=repository.host)
            return iter(found)

    stage.backup_through(Meanwhile(stage.store, "receipt", after=lambda: stage.put_collection(Stage.SWEEP, packs)))
    assert stage.statuses() == {1: "confirmed", 2: "void", 3: "confirmed"}


@pytest.mark.parametrize("field", ["expired", "removed"])
def test_a_sweep_that_names_the_snapshot_tears_it(stage: Theatre, field: str) -> None:
    def expire() -> None:
        name = parse_numbered_key(stage.keys("snapshots/")[-1])
        assert name is not None
        ref = SnapshotRef(name.host, name.number, SnapshotId(name.object_id))
        stage.put_collection(Stage.SWEEP, [], expired=(ref,) if field == "expired" else (), removed=(ref,) if field == "removed" else ())
        stage.put_collection(Stage.SWEEP, [])  # one that names nothing is no counter-evidence

    stage.backup_through(Interrupting(stage.store, "receipts/", before=expire))
    assert stage.statuses() == {1: "confirmed", 2: "void", 3: "confirmed"}


@pytest.mark.parametrize("record", [Stage.MARK, Stage.SWEEP])
def test_packs_of_an_unfinished_collection_are_not_relied_on(stage: Theatre, record: Stage) -> None:
    packs = stage.keys("packs/")
    stage.put_collection(record, packs)
    stage.repository.first.backup(stage.tree)
    for key in packs:
        del stage.store.objects[key]
    assert stage.statuses() == {1: "confirmed", 2: "confirmed"}
    assert len(read_tree(stage.repository.browser(), "latest", bytes(stage.tree))) == 2


def test_a_damaged_collection_confirms_nothing(stage: Theatre) -> None:
    def damage() -> None:
        stage.put_collection(Stage.SWEEP, stage.keys("packs/"))
        (key,) = stage.keys("gc/")
        stage.store.objects[key] = stage.store.objects[key][:-1] + b"?"

    with pytest.raises(IntegrityError, match="gc/"):
        stage.backup_through(Interrupting(stage.store, "receipts/", before=damage))
    assert 2 not in {number for number, status in stage.statuses().items() if status == "void"}


def test_a_sweep_that_is_listed_and_can_not_be_read_confirms_nothing(stage: Theatre) -> None:
    class Lagging(WrappedStore):
        """Lists what it does not give yet."""

        def get(self, key: str) -> bytes:
            if key.endswith(".sweep"):
                raise ObjectNotFoundError("there is no such object yet", key=key)
            return super().get(key)

    store = Interrupting(stage.store, "receipts/", before=lambda: stage.put_collection(Stage.SWEEP, stage.keys("packs/")))
    with pytest.raises(IntegrityError, match="never removed"):
        stage.backup_through(Lagging(store))
    with pytest.raises(IntegrityError, match="never removed"):
        stage.backup_through(Lagging(stage.store))


def test_a_damaged_collection_lets_nothing_begin(stage: Theatre) -> None:
    stage.put_collection(Stage.SWEEP, stage.keys("packs/"))
    (key,) = stage.keys("gc/")
    stage.store.objects[key] = stage.store.objects[key][:-1] + b"?"
    before = dict(stage.store.objects)
    with pytest.raises(IntegrityError, match=key):
        stage.repository.backup(stage.tree)
    assert stage.store.objects == before


def test_a_stream_that_was_torn_is_void_and_says_so(stage: Theatre) -> None:
    content = b"kept " * 2000
    machine = stage.repository.first
    machine.store = Interrupting(stage.store, "receipts/", before=lambda: stage.put_collection(Stage.SWEEP, stage.keys("packs/")))
    parts = [content]

    def read_into(view: memoryview) -> int:
        data = parts.pop() if parts else b""
        view[: len(data)] = data
        return len(data)

    with pytest.raises(SeedcornError, match="run it again"):
        backup_stream(machine.repository, machine.state, read_into, b"dump", BackupOptions("alpha"), machine.clock, RecordingMonitor())
    assert stage.statuses() == {1: "confirmed", 2: "void"}


def test_a_backup_gives_up_when_every_attempt_is_torn(stage: Theatre) -> None:
    class Relentless(WrappedStore):
        def put(self, key: str, data: Buffer) -> None:
            if key.startswith("receipts/") and not key.endswith(".void"):
                stage.put_collection(Stage.SWEEP, stage.keys("packs/"))
            super().put(key, data)

    with pytest.raises(SeedcornError, match="5 times a collection"):
        stage.backup_through(Relentless(stage.store))
    assert set(stage.statuses().values()) == {"confirmed", "void"}


def test_force_does_not_take_for_lost_what_another_process_has_just_stored(stage: Theatre) -> None:
    machine = stage.repository.first

    class Meanwhile(WrappedStore):
        """Another process of this machine puts a pack, and lists it, when the packs have been listed."""

        def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
            found = list(super().list(prefix, after=after))
            if prefix.startswith("packs/"):
                machine.store = stage.store
                with closing(machine.writer()) as writer:
                    writer.store_content(BytesIO(b"meanwhile").readinto, 9)
                    writer.finish()
            return iter(found)

    monitor = RecordingMonitor()
    machine.store = Meanwhile(stage.store)
    machine.backup(stage.tree, monitor=monitor, options=BackupOptions("alpha", force=True))
    assert not [note for note in monitor.notes if "missing" in note]
    assert len(list(machine.state.packs())) == len(stage.keys("packs/"))


def test_what_another_host_has_lost_is_not_relied_on_by_whoever_shares_it(tmp_path: Path) -> None:
    """A repair has taken it out of the index, and nothing has changed on this host since it was stored."""
    store, files = MemoryStore(), {"file": b"shared " * 2000}
    tree = make_tree(tmp_path / "tree", files)
    with SmallRepository(store, tmp_path / "states", clock=SettledClock()) as repository:
        repository.backup(tree)
        check(repository.browser(), CheckOptions(read_data=True, publish=True), repository.clock, RecordingMonitor())
        beta = repository.machine("beta")
        beta.backup(tree)
        assert not [key for key in store.objects if key.startswith(f"packs/{beta.host_file.key.host.hex()}/")]
        for room in ("packs/", "index/"):
            store.delete([key for key in store.objects if key.startswith(room)])
        beta.backup(tree)
        found = read_tree(repository.browser(fresh=True), "latest", bytes(tree))
        assert found == {bytes(tree / name): content for name, content in files.items()}


def test_what_nobody_has_verified_is_not_relied_on_though_the_owner_has_read_the_index_on_this_machine(tmp_path: Path) -> None:
    """Both use one state, and another host may have listed noise under the names of the right chunks."""
    store, files = MemoryStore(), {"file": b"shared " * 2000}
    tree = make_tree(tmp_path / "tree", files)
    with SmallRepository(store, tmp_path / "states") as repository:
        repository.backup(tree)
        others = [key for key in store.objects if key.startswith("packs/")]
        beta = repository.machine("beta")
        open_browser(repository.owner(), beta.state)
        assert len(list(beta.state.packs())) == len(others)
        beta.backup(tree)
        store.delete(others)
        found = read_tree(repository.browser(fresh=True), "latest", bytes(tree))
        assert found == {bytes(tree / name): content for name, content in files.items()}


class LeapingClock(SystemClock):
    """More than half an hour goes by between any two looks at it."""

    def __init__(self) -> None:
        self._elapsed_ns = 0

    def elapsed_ns(self) -> int:
        self._elapsed_ns += 31 * 60 * 10**9
        return self._elapsed_ns


def test_what_a_long_run_needs_is_kept_by_checkpoints(stage: Theatre) -> None:
    """A collection that begins before the snapshot is there finds a root, and one that begins after it finds that it has served."""
    make_tree(stage.tree, {"d0/old": b"old" * 5000})
    stage.repository.backup(stage.tree)
    make_tree(stage.tree, {f"d{number}/new": f"{number}".encode() * 5000 for number in range(1, 5)})
    survey = Surveyor(maintained_by_owner(stage.repository.owner()), stage.repository.owner_state()).survey
    seen = []
    machine = stage.repository.first
    machine.clock = LeapingClock()
    machine.store = Interrupting(stage.store, "snapshots/", before=lambda: seen.append(survey()))
    machine.backup(stage.tree)
    (during,) = seen
    assert during.problems == ()
    (checkpoint,) = during.roots.checkpoints
    assert checkpoint.is_root
    needed = {entry.session for entry in checkpoint.maintain.needed if open_bitmap(entry)}
    assert len(needed) == 2  # that whose chunks are reused in directories that are done, and its own
    assert checkpoint.ref.session in needed
    after = survey()
    assert after.problems == ()
    assert [one.is_root for one in after.roots.checkpoints] == [False]


@pytest.mark.parametrize("sizes", [[5 << 20], [700_000] * 8], ids=["one file", "many files"])
def test_a_single_directory_that_takes_long_is_kept_by_checkpoints(stage: Theatre, monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    monkeypatch.setattr(entries, "LONG_BYTES", 1 << 20)
    make_tree(stage.tree, {f"image{number}": os.urandom(size) for number, size in enumerate(sizes)})
    stage.repository.first.clock = LeapingClock()
    stage.repository.first.backup(stage.tree)
    names = [parse_checkpoint_key(key) for key in stage.keys("checkpoints/")]
    assert len(names) >= 4
