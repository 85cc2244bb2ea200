"""Copying between two repositories with keys of their own: what is restored from a copy is what was there, and little moves twice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.acceptance.workshop import Workshop, open_workshop, remove_tree
from tests.collections.interrupted import Crash, CrashingStore, When

from seedcorn.errors import IntegrityError, UsageError
from seedcorn.events import RecordingMonitor, SystemClock
from seedcorn.format.pack import PackKind
from seedcorn.format.snapshot import CopiedFrom
from seedcorn.format.tree import Kind, content_records
from seedcorn.ids import ChunkId, HostId, SnapshotId
from seedcorn.ops.access import open_host
from seedcorn.ops.browse import Browser, Snapshot
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.ops.copy.copy import CopyResult, copy_snapshots, plan_copy
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.repo.roots.roots import Standing
from seedcorn.store.api import Buffer, Requests, Store
from seedcorn.store.local import LocalStore
from seedcorn.store.wrappers import WrappedStore
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.fixtures import FreshStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository, read_tree
from seedcorn.testing.servers import SeaweedFS
from seedcorn.testing.trees import describe, differences, make_every_kind

_MIB = 1 << 20


class Copies:
    """The workshop's repository, and another one that its snapshots are copied to by a machine that is enrolled there."""

    def __init__(self, workshop: Workshop, other: SmallRepository) -> None:
        self.workshop = workshop
        self.other = other
        self.machine: Machine = other.first
        self.monitor = RecordingMonitor()
        self._restores = 0

    def copy(self, *, store: Store | None = None, machine: Machine | None = None, again: bool = False, only: int | None = None) -> CopyResult:
        """Copy every confirmed snapshot, or number ``only``, as an owner whose state remembers the last time."""
        machine = machine or self.machine
        destination = open_host(store or self.other.store, machine.host_file)
        browser = self.workshop.repository.browser()
        chosen = [snapshot for snapshot in browser.snapshots if snapshot.standing is Standing.CONFIRMED]
        if only is not None:
            chosen = [chosen[only]]
        plan = plan_copy(browser, chosen, destination, machine.state, again=again)
        self.monitor = RecordingMonitor()
        return copy_snapshots(browser, destination, machine.state, plan, WriterOptions(), SystemClock(), self.monitor)

    def sources(self) -> list[Snapshot]:
        return list(self.workshop.repository.browser().snapshots)

    def copied(self) -> list[Snapshot]:
        return list(self.other.browser().snapshots)

    def assert_equal(self, source: Snapshot, copy: Snapshot) -> None:
        """The copy restores as the original does, and says the same of itself."""
        trees = []
        for repository, snapshot in ((self.workshop.repository, source), (self.other, copy)):
            self._restores += 1
            target = self.workshop.folder / f"compared-{self._restores}"
            browser = repository.browser()
            assert restore(browser, snapshot, b"/", RestoreOptions(target, processes=0), RecordingMonitor()).errors == ()
            trees.append(describe(target))
            del trees[-1][b"."]  # the target's own
            remove_tree(target)
        assert differences(*trees) == []
        root = msgspec.structs.replace(source.owner.root, content=copy.owner.root.content, extra=copy.owner.root.extra)
        assert copy.owner == msgspec.structs.replace(source.owner, root=root, copied_from=CopiedFrom(source.public.repository, source.id))
        assert copy.maintain.complete == source.maintain.complete
        assert copy.maintain.tags == source.maintain.tags and copy.maintain.time_ns == source.maintain.time_ns


@pytest.fixture
def copies(workshop: Workshop, folder: Path) -> Iterator[Copies]:
    with SmallRepository(MemoryStore(url="memory://other"), folder / "other-states", host_name="copier") as other:
        yield Copies(workshop, other)


def fill(source: Path, seed: int = 7) -> None:
    """Some megabytes in small and large files."""
    generator = random.Random(seed)
    for name in ("a", "b", "c"):
        (source / name).mkdir()
        for number in range(12):
            (source / name / f"small {number}").write_bytes(generator.randbytes(generator.randrange(9_000)))
        (source / name / "large").write_bytes(generator.randbytes(2 * _MIB))


def test_every_kind_of_file(disk_folder: Path) -> None:
    with (
        open_workshop(disk_folder, settled=True) as workshop,
        SmallRepository(MemoryStore(url="memory://other"), disk_folder / "other-states", host_name="copier") as other,
    ):
        copies = Copies(workshop, other)
        make_every_kind(workshop.source, as_root=os.geteuid() == 0)
        workshop.backup(tags=("first",))
        (workshop.source / "sizes" / "text-4096").write_bytes(b"another day")
        workshop.backup(tags=("second", "more"))
        result = copies.copy()
        assert result.exit_code == 0 and len(result.copies) == 2
        sources, copied = copies.sources(), copies.copied()
        assert [copy.owner.tags for copy in copied] == [("first",), ("second", "more")]
        for source, copy in zip(sources, copied, strict=True):
            copies.assert_equal(source, copy)
        assert copied[0].maintain.group == copied[1].maintain.group != sources[0].maintain.group
        assert {copy.standing for copy in copied} == {Standing.CONFIRMED}
        assert {HostId(copy.public.host) for copy in copied} == {copies.machine.host_file.key.host}


def test_a_second_copy_reads_what_has_changed(copies: Copies) -> None:
    source = copies.workshop.source
    fill(source)
    copies.workshop.backup()
    first = copies.copy()
    assert first.copies[0].read_bytes > 6 * _MIB
    assert first.source_requests.get <= 12  # frames are fetched some at a time

    (source / "b" / "small 3").write_bytes(b"changed")
    (source / "b" / "new").write_bytes(b"new" * 1000)
    os.rename(source / "a", source / "renamed")
    copies.workshop.backup()
    second = copies.copy()
    assert len(second.copies) == 1 and second.copies[0].read_bytes == len(b"changed") + 3000
    assert second.source_requests.get <= 6 and second.source_requests.get_bytes < 100_000
    assert second.requests.put_bytes < 100_000
    for original, copy in zip(copies.sources(), copies.copied(), strict=True):
        copies.assert_equal(original, copy)

    third = copies.copy()
    assert third.copies == () and third.requests == Requests()


def test_a_lost_state_costs_reading_and_no_storing(copies: Copies) -> None:
    fill(copies.workshop.source)
    copies.workshop.backup()
    copies.copy()
    copies.machine.forget_state()
    result = copies.copy()
    assert result.copies[0].read_bytes > 6 * _MIB and result.copies[0].new_bytes == 0
    assert result.requests.put_bytes < 20_000
    source = copies.sources()[0]
    for copy in copies.copied():
        copies.assert_equal(source, copy)


def test_another_machine_goes_on(copies: Copies) -> None:
    """Hosts share content only when they may: the copies of both are whole."""
    fill(copies.workshop.source)
    copies.workshop.backup()
    copies.copy()
    copies.copy(machine=copies.other.machine("second"))
    for copy in copies.copied():
        copies.assert_equal(copies.sources()[0], copy)


def test_again_makes_one_more(copies: Copies) -> None:
    fill(copies.workshop.source)
    copies.workshop.backup()
    copies.copy()
    result = copies.copy(again=True)
    assert result.copies[0].read_bytes == 0 and len(copies.copied()) == 2


def test_the_tenth_of_a_large_file(copies: Copies) -> None:
    """Of a file that has changed all is read, and what is new is stored."""
    large = copies.workshop.source / "large"
    large.write_bytes(random.Random(1).randbytes(8 * _MIB))
    copies.workshop.backup()
    copies.copy()
    with open(large, "r+b") as file:
        file.seek(3 * _MIB)
        file.write(b"in place")
    copies.workshop.backup()
    second = copies.copy().copies[0]
    assert second.read_bytes == 8 * _MIB and 0 < second.new_bytes < _MIB
    copies.assert_equal(copies.sources()[1], copies.copied()[1])


def test_to_itself(copies: Copies) -> None:
    fill(copies.workshop.source)
    copies.workshop.backup()
    browser = copies.workshop.repository.browser()
    machine = copies.workshop.machine
    with pytest.raises(UsageError, match="same repository"):
        plan_copy(browser, browser.snapshots, machine.repository, machine.state)


# -- damage ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(copies: Copies) -> Callable[[], None]:
    """A copy of a snapshot one file of which can not be read; what is returned puts it right."""
    source = copies.workshop.source
    fill(source)
    (source / "b" / "large").unlink()
    copies.workshop.backup()
    before = set(copies.workshop.objects)
    (source / "b" / "large").write_bytes(random.Random(3).randbytes(2 * _MIB))
    copies.workshop.backup()
    objects = copies.workshop.objects
    packs = [key for key in keys_by_kind(copies.workshop.store)["data pack"] if key not in before]  # type: ignore[arg-type]
    good = objects[packs[0]]
    objects[packs[0]] = flip_byte(good, _MIB)

    def heal() -> None:
        objects[packs[0]] = good

    return heal


def test_a_damaged_file_is_named_and_left_out(copies: Copies, damaged: Callable[[], None]) -> None:
    result = copies.copy()
    assert result.exit_code == 13
    whole, hurt = result.copies
    assert whole.problems == () and len(hurt.problems) == 1
    path = os.fsencode(copies.workshop.source / "b" / "large")
    assert os.fsdecode(path) in str(hurt.problems[0]) and hurt.source.id.hex()[:12] in str(hurt.problems[0])
    assert copies.monitor.errors == list(hurt.problems)
    first, second = copies.copied()
    copies.assert_equal(copies.sources()[0], first)
    assert not second.maintain.complete and second.owner.error_count == 1
    assert second.owner.errors[0][0] == path and "damaged" in second.owner.errors[0][1]
    browser = copies.other.browser()
    listed = {child.node.name: child.node for child in browser.children(browser.entry(second, os.path.dirname(path)))}
    assert b"large" not in listed and b"small 7" in listed
    assert browser.entry(second, os.path.dirname(path)).node.size == len(listed)

    again = copies.copy()  # says so as long as it is so, and adds nothing
    assert again.exit_code == 13 and again.copies[0].copy is None
    assert len(copies.copied()) == 2

    damaged()
    healed = copies.copy()
    assert healed.exit_code == 0 and len(healed.copies) == 1
    copies.assert_equal(copies.sources()[1], copies.copied()[-1])
    assert copies.copy().copies == ()


def test_a_damaged_listing(copies: Copies) -> None:
    fill(copies.workshop.source)
    copies.workshop.backup()
    copies.workshop.backup(force=True)
    key = keys_by_kind(copies.workshop.store)["listing pack"][0]  # type: ignore[arg-type]
    copies.workshop.objects[key] = flip_byte(copies.workshop.objects[key], len(copies.workshop.objects[key]) // 2)
    result = copies.copy()
    assert result.exit_code == 13 and copies.monitor.errors
    assert all(isinstance(error, IntegrityError) for error in copies.monitor.errors)
    for copy in copies.copied():
        assert not copy.maintain.complete


def test_nothing_is_moved_as_it_is(copies: Copies) -> None:
    """No chunk of the source is known by its id in the destination."""
    fill(copies.workshop.source)
    copies.workshop.backup()
    copies.copy()
    source, other = copies.workshop.repository.browser(), copies.other.browser()
    ids = [set(_chunk_ids(browser)) for browser in (source, other)]
    assert ids[0] and ids[1] and not ids[0] & ids[1]
    with pytest.raises(IntegrityError):
        other.reader.chunk(PackKind.DATA, next(iter(ids[0])), 1)


def _chunk_ids(browser: Browser) -> Iterator[ChunkId]:
    for entry in browser.walk(browser.entry(browser.find("latest"), b"/"), RecordingMonitor()):
        if entry.node.kind == Kind.FILE:
            yield from (chunk_id for chunk_id, _ in content_records(browser.reader.records(entry.node)))


# -- interruptions ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True], ids=["state kept", "state lost"])
@pytest.mark.parametrize("when", When)
def test_killed_at_every_call_of_the_destination(when: When, lost: bool, workshop: Workshop, folder: Path) -> None:
    for name in ("a", "b"):
        (workshop.source / name).mkdir()
        (workshop.source / name / "file").write_bytes(name.encode() * 20_000)
    workshop.backup()
    (workshop.source / "a" / "file").write_bytes(b"another")
    workshop.backup()
    originals = {source.id: read_tree(workshop.repository.browser(), source.id.hex()) for source in workshop.repository.browser().snapshots}
    calls = _calls_of_a_copy(workshop, folder)
    crashes = 0
    for call in range(1, calls + 1):
        with SmallRepository(MemoryStore(url="memory://other"), folder / f"other-{call}", host_name="copier") as other:
            copies = Copies(workshop, other)
            store = CrashingStore(other.store, call, when)
            try:
                copies.copy(store=store)
            except Crash:
                if lost:
                    copies.machine.forget_state()
            if not store.crashed:
                continue  # only what changes the store can be done without an answer
            crashes += 1
            assert copies.copy().exit_code == 0
            assert copies.copy().copies == ()
            _assert_copied(copies, originals)
    assert crashes == calls if when is When.BEFORE else crashes >= 10


def _calls_of_a_copy(workshop: Workshop, folder: Path) -> int:
    with SmallRepository(MemoryStore(url="memory://other"), folder / "other", host_name="copier") as other:
        store = CrashingStore(other.store, -1, When.BEFORE)
        assert Copies(workshop, other).copy(store=store).exit_code == 0
        return store.calls


def _assert_copied(copies: Copies, originals: dict[SnapshotId, dict[bytes, bytes | None]]) -> None:
    """Every snapshot has a confirmed copy, or more if it was killed before it could note the first; and each is what the original is."""
    browser = copies.other.browser()
    assert browser.problems == ()
    confirmed = [copy for copy in browser.snapshots if copy.standing is Standing.CONFIRMED]
    found: dict[bytes, int] = {}
    for copy in confirmed:
        origin = copy.owner.copied_from
        assert origin and read_tree(browser, copy.id.hex()) == originals[SnapshotId(origin.snapshot)]
        found[origin.snapshot] = found.get(origin.snapshot, 0) + 1
    assert found.keys() == originals.keys() and max(found.values()) <= 2


class _Without(WrappedStore):
    """Kills whoever puts something below ``room``."""

    def __init__(self, inner: Store, room: str) -> None:
        super().__init__(inner)
        self._room = room

    def put(self, key: str, data: Buffer) -> None:
        if key.startswith(self._room):
            raise Crash
        super().put(key, data)


def test_an_interrupted_copy_goes_on(copies: Copies) -> None:
    """What was read and stored before a store failed is neither read nor stored again."""
    fill(copies.workshop.source)
    copies.workshop.backup()
    with pytest.raises(Crash):
        copies.copy(store=_Without(copies.other.store, "snapshots/"))
    result = copies.copy()
    assert result.copies[0].read_bytes == 0 and result.copies[0].new_bytes == 0
    assert result.requests.put_bytes < 20_000
    copies.assert_equal(copies.sources()[0], copies.copied()[-1])


# -- a real server ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to_server", [True, False], ids=["to a server", "from a server"])
def test_between_a_directory_and_a_server(to_server: bool, seaweedfs: SeaweedFS, fresh_store: FreshStore, folder: Path) -> None:
    """Killed twice on the way, gone on with, and verified byte by byte."""
    directory, server = LocalStore(folder / "repository"), fresh_store(seaweedfs)
    source, destination = (directory, server) if to_server else (server, directory)
    with (
        open_workshop(folder, source, settled=True) as workshop,
        SmallRepository(destination, folder / "other-states", host_name="copier") as other,
    ):
        copies = Copies(workshop, other)
        fill(workshop.source)
        workshop.backup(tags=("first",))
        (workshop.source / "b" / "small 3").write_bytes(b"changed")
        os.rename(workshop.source / "a", workshop.source / "renamed")
        workshop.backup(tags=("second",))

        with pytest.raises(Crash):
            copies.copy(store=_Without(destination, "index/"))  # its packs are there, and nothing lists them
        with pytest.raises(Crash):
            copies.copy(store=_Without(destination, "receipts/"))  # and now the first copy is there, unconfirmed
        resumed = copies.copy()
        assert resumed.exit_code == 0
        assert [copy.read_bytes for copy in resumed.copies] == [0, len(b"changed")]
        assert resumed.requests.put_bytes < 100_000 and resumed.source_requests.get_bytes < 100_000
        assert copies.copy().copies == ()

        browser = other.browser()
        result = check(browser, CheckOptions(read_data=True), SystemClock(), copies.monitor)
        assert result.problems == () and result.read_packs > 0
        confirmed = [copy for copy in browser.snapshots if copy.standing is Standing.CONFIRMED]
        assert [copy.owner.tags for copy in confirmed] == [("first",), ("second",)]
        for original, copy in zip(copies.sources(), confirmed, strict=True):
            copies.assert_equal(original, copy)
