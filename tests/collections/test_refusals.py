"""What a collection refuses to go on with, and what it must not fall for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from tests.collections.garden import Garden, noise, open_garden

from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.errors import IntegrityError
from seedcorn.events import SystemClock
from seedcorn.format.collection import CollectionRecord, HostPacks, Stage
from seedcorn.format.names import LAST_NUMBER, pack_key
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.format.tree import pack_content
from seedcorn.ids import ChunkId, PackId, SessionId
from seedcorn.jobs.maintain_session import MaintainSession
from seedcorn.ops.gc.plan import CollectionOptions
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.retention.forget import choose_snapshots, forget_snapshots
from seedcorn.ops.retention.policy import Newest, Policy
from seedcorn.repo.index import build_segment
from seedcorn.repo.roots.collections import build_collection
from seedcorn.repo.roots.roots import Standing
from seedcorn.store.api import Buffer, ObjectInfo
from seedcorn.store.wrappers import RecordingStore, WrappedStore
from seedcorn.testing.damage import copy_store, flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine


@pytest.fixture
def garden() -> Iterator[Garden]:
    """One forgotten snapshot, two that are needed, and records of an earlier collection."""
    with open_garden() as made:
        gone = made.back_up({"z": noise(9)})
        first = made.back_up({"a": noise(1)})
        made.forget(gone)
        made.prune()
        made.back_up({"a": noise(1), "b": noise(2)})
        made.back_up({"c": noise(3)})
        made.forget(first)
        yield made


def assert_refused(garden: Garden, match: str, **how: object) -> None:
    """And nothing has been put or deleted."""
    before = dict(garden.store.objects)
    with pytest.raises(IntegrityError, match=match):
        garden.prune(state=garden.state(), **how)  # type: ignore[arg-type]
    assert garden.store.objects == before


@pytest.mark.parametrize("room", ["snapshots", "forget", "gc", "index", "hosts"])
def test_a_damaged_object(garden: Garden, room: str) -> None:
    key = garden.keys(room)[-1]
    garden.store.objects[key] = flip_byte(garden.store.objects[key], len(garden.store.objects[key]) // 2)
    assert_refused(garden, key if room != "hosts" else "hosts/")


def test_a_snapshot_that_is_missing_and_what_to_do_about_it(garden: Garden) -> None:
    lost = next(iter(garden.expected))
    (key,) = [key for key in garden.keys("snapshots") if key.endswith(lost.hex())]
    del garden.store.objects[key]
    assert_refused(garden, "gone without having been forgotten")
    maintainer = garden.maintainer()
    roots = Surveyor(maintainer, garden.repository.owner_state()).survey().roots
    forget_snapshots(maintainer, roots, choose_snapshots(roots, [lost.hex()[:12]]), garden.repository.clock)
    garden.expected.pop(lost)
    garden.prune()
    garden.assert_whole()


def test_a_snapshot_that_was_taken_back_is_missed_like_any_other(garden: Garden) -> None:
    lost = next(iter(garden.expected))
    files = garden.expected[lost]
    garden.forget(lost)
    garden.undelete(lost, files)
    (key,) = [key for key in garden.keys("snapshots") if key.endswith(lost.hex())]
    del garden.store.objects[key]
    assert_refused(garden, "gone without having been forgotten")


def test_a_pack_that_is_missing(garden: Garden) -> None:
    for key in garden.keys("packs"):
        del garden.store.objects[key]
    assert_refused(garden, "in no pack of the store")


def test_a_host_that_has_moved_back(garden: Garden) -> None:
    garden.prune()
    key = garden.keys("snapshots")[-1]
    for doomed in (key, key.replace("snapshots", "receipts")):
        del garden.store.objects[doomed]
    with pytest.raises(IntegrityError, match="rolled back"):
        garden.prune()


class _EmptyListing(WrappedStore):
    """Answers that there is nothing under a prefix."""

    def __init__(self, inner: WrappedStore | object, prefix: str) -> None:
        super().__init__(inner)  # type: ignore[arg-type]
        self._prefix = prefix

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return iter(()) if prefix == self._prefix else super().list(prefix, after=after)


@pytest.mark.parametrize("room", ["snapshots/", "index/", "packs/", "hosts/"])
def test_an_empty_listing(garden: Garden, room: str) -> None:
    assert_refused(garden, "as long as this is so", store=_EmptyListing(garden.store, room))


class _NothingAfterTheSweep(_EmptyListing):
    """Answers so once a sweep has been put."""

    def put(self, key: str, data: Buffer) -> None:
        super().put(key, data)
        self._prefix = "gc/" if key.endswith(".sweep") else self._prefix


def test_a_sweep_that_is_not_listed(garden: Garden) -> None:
    """What hosts do not see either must not be acted upon."""
    packs = garden.keys("packs")
    with pytest.raises(IntegrityError, match="never removed"):
        garden.prune(store=_NothingAfterTheSweep(garden.store, "nothing/"))
    assert garden.keys("packs") == packs


def test_a_first_sweep_that_is_not_listed() -> None:
    with open_garden() as garden:
        gone = garden.back_up({"z": noise(9)})
        garden.back_up({"a": noise(1)})
        garden.forget(gone)
        packs = garden.keys("packs")
        with pytest.raises(IntegrityError, match="just been put is not listed"):
            garden.prune(store=_NothingAfterTheSweep(garden.store, "nothing/"))
        assert garden.keys("packs") == packs


def test_a_forged_record(garden: Garden) -> None:
    """Signed by somebody who is no maintainer: neither hosts nor maintainers go on before they know what is about to be deleted."""
    host = garden.repository.first.host_file.key
    packs = tuple(PackId(bytes.fromhex(key[-64:])) for key in garden.keys("packs"))
    record = CollectionRecord(
        repository=host.repository, number=9, collection=random_bytes(8), stage=Stage.SWEEP, packs=(HostPacks(host.host, packs),), relocations=()
    )
    key, data = build_collection(record, host.sign)
    garden.store.put(key, data)
    assert_refused(garden, key)
    with pytest.raises(IntegrityError, match=key):
        garden.back_up({"d": b"new"})
    assert [key] == [str(problem).partition(":")[0] for problem in garden.browser().problems]


def test_receipts_that_are_not_listed(garden: Garden) -> None:
    """Without them every snapshot looks abandoned. Who has seen them refuses; who has not expires nothing."""
    garden.prune()
    with pytest.raises(IntegrityError, match="has been seen, and is gone"):
        garden.prune(store=_EmptyListing(garden.store, "receipts/"))
    snapshots = garden.keys("snapshots")
    garden.prune(store=_EmptyListing(garden.store, "receipts/"), state=garden.state())
    assert garden.keys("snapshots") == snapshots
    garden.assert_whole()


def test_a_receipt_that_went_before_its_forgotten_snapshot(garden: Garden) -> None:
    """A collection that was cut off between the two deletes leaves such a pair: the next one goes on."""
    garden.prune()
    oldest = min(garden.browser().snapshots, key=lambda snapshot: snapshot.public.seq)
    garden.forget(oldest.id)
    (receipt,) = [key for key in garden.keys("receipts") if key.endswith(oldest.id.hex())]
    garden.store.delete([receipt])
    garden.prune()
    garden.prune()
    garden.assert_whole()
    assert oldest.key not in garden.keys("snapshots")


# -- hosts that lie --------------------------------------------------------------------------------------------------------------------------


def entries_of(garden: Garden, machine: Machine | None = None) -> tuple[Sequence[KeyRow], list[PackEntry]]:
    """What the newest segment of the first host, or another one, says."""
    host = (machine or garden.repository.first).host_file.key.host
    opened = garden.open_segment([key for key in garden.keys("index") if host.hex() in key][-1])
    return opened.public.key_rows, opened.packs


def put_lie(garden: Garden, machine: Machine, entries: list[PackEntry], row: KeyRow, *, idle_bytes: int = 0) -> None:
    """A segment in which the machine lists packs of its own that hold these frames, and packs full of nothing under these names.

    ``idle_bytes`` of each pack are in a frame that nothing needs.
    """
    lies = []
    for entry in entries:
        end = max(frame.offset + frame.sealed_bytes for frame in entry.frames)
        idle = (FrameEntry(row.session, 1 << 30, end, idle_bytes, 1, pack_content([(ChunkId(bytes(24)), 1)])),) if idle_bytes else ()
        data = random_bytes(end + idle_bytes)
        garden.store.put(pack_key(machine.host_file.key.host, PackId(object_hash(data))), data)
        lies.append(PackEntry(object_hash(data), entry.kind, entry.frames + idle))
    garden.store.put(*build_segment(machine.repository, SessionId(row.session), 77, row, lies))


def test_a_host_that_claims_copies_of_its_own_frames(garden: Garden) -> None:
    """Others may rely on the true ones; and once a maintainer has rewritten the segment, it is no truer than before."""
    (row,), entries = entries_of(garden)
    put_lie(garden, garden.repository.first, entries, row)
    for number in range(8):
        garden.back_up({"n": noise(20 + number, 100)})
    for _ in range(3):
        garden.prune()
        garden.assert_whole()


@pytest.mark.parametrize("number", [0, 77])
@pytest.mark.parametrize("what", ["key", "kind"])
def test_a_host_that_lists_its_packs_once_more_as_they_are_not(garden: Garden, number: int, what: str) -> None:
    """Others may rely on them, and read them as they were listed at first."""
    (row,), entries = entries_of(garden)
    if what == "key":
        row = KeyRow(row.session, row.host, row.suite, random_bytes(len(row.sealed_key)))
    else:
        entries = [PackEntry(entry.pack, PackKind(3 - entry.kind), entry.frames) for entry in entries]
    garden.store.put(*build_segment(garden.repository.first.repository, SessionId(row.session), number, row, entries))
    garden.assert_whole()
    for _ in range(2):
        garden.prune()
        garden.assert_whole()


def test_a_host_that_has_used_the_last_number(garden: Garden) -> None:
    """Others rely on its packs, and a maintainer who rewrites its segments puts new ones where they are found."""
    (row,), entries = entries_of(garden)
    garden.store.put(*build_segment(garden.repository.first.repository, SessionId(row.session), LAST_NUMBER, row, entries))
    garden.prune()
    garden.assert_whole()
    garden.back_up({"d": b"new"})
    garden.assert_whole()


def test_a_host_whose_claims_a_maintainer_copies(garden: Garden) -> None:
    """What is moved out of a pack of noise is no copy of the pack that others rely on."""
    (row,), entries = entries_of(garden)
    put_lie(garden, garden.repository.first, entries, row, idle_bytes=1_000_000)
    assert garden.prune().repacked_packs >= len(entries)
    garden.assert_whole()
    for _ in range(2):
        garden.prune()
        garden.assert_whole()


class _Ahead(SystemClock):
    """Ten years."""

    def now_ns(self) -> int:
        return super().now_ns() + 3653 * 86400 * 10**9


def test_a_snapshot_that_claims_to_be_of_the_future_takes_no_place_from_a_true_one() -> None:
    with open_garden(MemoryStore(time.time_ns)) as garden:
        for number in range(2):
            garden.back_up({"a": noise(number)})
        garden.repository.first.clock = _Ahead()
        future = garden.back_up({"a": noise(7)})
        session = MaintainSession(garden.maintainer(), garden.repository.owner_state(), garden.repository.clock)
        plan = session.plan_forget(Policy((Newest(2),)))
        assert not plan.chosen
        (flagged,) = [decision for group in plan.retention.groups for decision in group.decisions if decision.candidate.flagged]
        assert flagged.candidate.id == future and flagged.keep
        garden.prune()
        garden.assert_whole()


def test_what_comes_after_a_revocation_counts_for_nothing(garden: Garden) -> None:
    """A thief who is not told of it puts a snapshot that is as good as any: it is garbage, and what the host had before stays."""
    stolen = garden.repository.machine("stolen")
    kept = garden.back_up({"s": noise(5)}, machine=stolen)
    stolen.store = thiefs = copy_store(garden.store)
    after = garden.back_up({"s": noise(6)}, machine=stolen)
    garden.expected.pop(after)
    garden.repository.revoke("stolen", 1)
    for key in thiefs.objects.keys() - garden.store.objects.keys():
        garden.store.put(key, thiefs.objects[key])
    packs = garden.keys("packs")
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert kept in garden.expected and after not in {snapshot.id for snapshot in garden.browser().snapshots}
    assert len(garden.keys("packs")) < len(packs)


# -- what does not block ---------------------------------------------------------------------------------------------------------------------


def test_an_unconfirmed_snapshot_that_lacks_frames_does_not_block(garden: Garden) -> None:
    other = garden.repository.machine("other")
    half = garden.back_up({"h": noise(7)}, machine=other)
    garden.expected.pop(half)
    for room in ("receipts", "index", "packs"):
        for key in garden.keys(room):
            if other.host_file.key.host.hex() in key:
                del garden.store.objects[key]
    garden.prune(state=garden.state())
    (standing,) = [snapshot.standing for snapshot in garden.browser().all_snapshots if snapshot.id == half]
    assert standing is Standing.EXPIRED
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_snapshot_that_a_collection_has_torn_is_no_damage(garden: Garden) -> None:
    """Its host got the receipt to the store and ended before it could look again."""
    other = garden.repository.machine("other")
    torn = garden.back_up({"h": noise(7)}, machine=other)
    garden.expected.pop(torn)
    (receipt,) = [key for key in garden.keys("receipts") if torn.hex() in key]
    data = garden.store.objects.pop(receipt)
    for _ in range(2):
        garden.prune()
    garden.store.put(receipt, data)
    garden.assert_whole()
    (standing,) = [snapshot.standing for snapshot in garden.browser().all_snapshots if snapshot.id == torn]
    assert standing is Standing.TORN
    garden.prune()


def test_a_snapshot_whose_packs_were_swept_before_they_were_listed_is_no_damage(garden: Garden) -> None:
    """Its host stood still between packs and segments, and ended before it could look again."""
    other = garden.repository.machine("other")
    torn = garden.back_up({"h": noise(7)}, machine=other)
    garden.expected.pop(torn)
    of_host = other.host_file.key.host.hex()
    later = {key: garden.store.objects.pop(key) for room in ("index", "snapshots", "receipts") for key in garden.keys(room) if of_host in key}
    garden.prune(state=garden.state())
    for key, data in later.items():
        garden.store.put(key, data)
    for _ in range(2):
        garden.prune(state=garden.state())
    garden.assert_whole()


def test_planning_asks_for_no_pack(garden: Garden) -> None:
    store = RecordingStore(garden.store)
    plan = garden.collector(CollectionOptions(), store=store, state=garden.state()).plan(dry_run=True)
    assert plan.total_bytes > 0
    assert {call.verb for call in store.calls} == {"list", "get"}
    assert not [call for call in store.calls if call.verb == "get" and call.key.startswith("packs/")]
    again = RecordingStore(garden.store)
    state = garden.state()
    garden.collector(store=again, state=state).plan(dry_run=True)
    again.calls.clear()
    garden.collector(store=again, state=state).plan(dry_run=True)
    assert sorted((call.verb, call.key) for call in again.calls) == [
        ("get", "seedcorn.json"),
        *(
            ("list", f"{room}/")
            for room in ("checkpoints", "forget", "gc", "hosts", "index", "index", "packs", "receipts", "relocations", "snapshots")
        ),
    ]
