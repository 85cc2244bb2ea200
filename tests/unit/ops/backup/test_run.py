"""ops/backup/run.py: one attempt, from who may begin it to what it says of itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from seedcorn.errors import IntegrityError, SeedcornError, SourceError, UsageError
from seedcorn.events import RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.snapshot import Statistics
from seedcorn.ops.backup import run as backup_run
from seedcorn.ops.backup.backup import BackupOptions
from seedcorn.ops.backup.run import BackupResult, BackupRun
from seedcorn.repo.content.writer import Writer, WriterOptions
from seedcorn.repo.state.state import FrameSet
from seedcorn.store.api import Requests
from seedcorn.store.wrappers import DryRunStore, RecordingStore
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", {"kept": b"k" * 500, "changed": os.urandom(600), "deleted": b"d"})


def keys(store: MemoryStore, room: str) -> list[str]:
    return sorted(key for key in store.objects if key.startswith(room + "/"))


class SetClock(SystemClock):
    """``minutes`` go by when the test says so."""

    minutes = 0

    def elapsed_ns(self) -> int:
        return self.minutes * 60 * 10**9


@pytest.mark.parametrize(("dry_run", "counts"), [(False, (0, 1, 1, 1, 2)), (True, (0, 0, 0, 0, 0))])
def test_a_checkpoint_every_half_hour(repository: SmallRepository, store: MemoryStore, dry_run: bool, counts: tuple[int, ...]) -> None:
    clock, machine = SetClock(), repository.first
    options = BackupOptions("alpha", dry_run=dry_run)
    with BackupRun(machine.repository, machine.state, [b"/tree"], options, clock, VoidMonitor()) as run:
        found = []
        for minutes in (29, 30, 31, 59, 60):
            clock.minutes = minutes
            run.heartbeat(FrameSet())
            found.append(len(keys(store, "checkpoints")))
    assert tuple(found) == counts
    assert [key[-2:] for key in keys(store, "checkpoints")] == ["01", "02"][: counts[-1]]


def test_what_a_backup_says_of_itself(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    first = repository.backup(tree)
    assert first.statistics.deleted_files == first.statistics.changed_files == 0
    (tree / "deleted").unlink()
    make_tree(tree, {"changed": os.urandom(700), "new": b"n" * 1_000, "also new": b"a"})
    before = sum(map(len, store.objects.values()))
    requests = repository.first.store.requests
    told = repository.backup(tree)
    assert told.requests.put_bytes == told.statistics.total_destination_size_change == sum(map(len, store.objects.values())) - before
    assert 0 < told.requests.put < requests.put
    statistics = told.statistics
    assert (statistics.new_files, statistics.deleted_files, statistics.errors) == (2, 1, 0)
    assert statistics.changed_files >= 1
    assert statistics.delta_entries == statistics.new_files + statistics.changed_files + statistics.deleted_files
    assert statistics.raw_delta_size == 700 + 1_000 + 1
    assert (statistics.data_packs, statistics.listing_packs) == (1, 1)
    assert statistics.listing_bytes > 0
    assert (told.seq, told.exit_code, told.errors, told.problems) == (2, 0, (), ())
    assert told.start_ns <= told.end_ns
    assert 0 < told.elapsed_ns < 60 * 10**9
    stored = repository.browser().snapshots[-1]
    assert stored.id == told.snapshot and stored.maintain.complete
    assert stored.owner.statistics.delta_entries == statistics.delta_entries
    assert stored.owner.start_ns == told.start_ns == stored.maintain.time_ns
    assert stored.owner.users[os.getuid()] and stored.owner.groups[os.getgid()]


def test_a_dry_run_keeps_nothing(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    before, machine = dict(store.objects), repository.first
    machine.store = DryRunStore(store)
    told = machine.backup(tree, options=BackupOptions("alpha", dry_run=True))
    assert (told.snapshot, told.seq, store.objects) == (None, 1, before)
    assert not machine.state.discard_writes
    machine.store = store
    real = machine.backup(tree)
    assert (real.seq, real.exit_code) == (1, 0)
    assert real.statistics.new_files == told.statistics.new_files > 0
    assert real.statistics.raw_delta_size == told.statistics.raw_delta_size
    assert repository.browser().problems == ()


NOT_UTF_8 = b"caf\xe9".decode("utf-8", "surrogateescape")  # as the command line gives it


@pytest.mark.parametrize("refused", [{"tags": ("fine", NOT_UTF_8)}, {"host_name": NOT_UTF_8}])
def test_what_snapshots_hold_as_text_is_text(refused: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^(tag|host name) 'caf\\udce9': is not UTF-8"):
        BackupOptions(**{"host_name": "alpha", **refused})


def test_a_pattern_may_name_what_is_not_utf_8(repository: SmallRepository, tree: Path) -> None:
    name = os.fsencode(tree) + b"/caf\xe9"
    with open(name, "wb"):
        pass
    told = repository.backup(tree, options=BackupOptions("alpha", excludes=(NOT_UTF_8,)))
    assert told.exit_code == 0
    browser = repository.browser()
    (snapshot,) = browser.snapshots
    assert snapshot.owner.excludes == ("caf\\udce9",)
    assert name not in {entry.path for entry in browser.children(browser.entry(snapshot, bytes(tree)))}


def test_what_can_not_be_read_is_told_up_to_a_limit(repository: SmallRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_run, "ERRORS_LIMIT", 2)
    told = repository.backup(tree, *(tree.parent / f"missing {number}" / "below" for number in range(3)), tree.parent / "none")
    assert told.exit_code == 3
    assert len(told.errors) == told.statistics.errors == 4
    (snapshot,) = repository.browser().snapshots
    assert snapshot.owner.error_count == len(told.errors)
    assert snapshot.owner.errors == tuple((error.path, error.message) for error in told.errors[:2])
    assert not snapshot.maintain.complete


@pytest.mark.parametrize(
    ("errors", "problems", "code"), [((), (), 0), ((SourceError(b"p", "m"),), (), 3), ((SourceError(b"p", "m"),), (IntegrityError("m"),), 13)]
)
def test_exit_status(errors: tuple[SourceError, ...], problems: tuple[IntegrityError, ...], code: int) -> None:
    assert BackupResult(None, 1, Statistics(), 0, 0, 0, Requests(), errors, problems).exit_code == code


# -- who may begin ---------------------------------------------------------------------------------------------------------------------------


def test_a_host_without_a_record(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    store.delete(keys(store, "hosts"))
    with pytest.raises(SeedcornError, match="alpha is not enrolled in memory://: its record is missing"):
        repository.backup(tree)
    assert not keys(store, "packs")


def test_a_damaged_record_stops_its_own_host_alone(store: MemoryStore, tmp_path: Path, tree: Path) -> None:
    with SmallRepository(store, tmp_path / "trusting", trust_hosts=True) as repository:
        other = repository.machine("beta")
        (key,) = [key for key in keys(store, "hosts") if other.host_file.key.host.hex() in key]
        store.objects[key] = flip_byte(store.objects[key], 100)
        with pytest.raises(IntegrityError, match=key):
            other.backup(tree)
        monitor = RecordingMonitor()
        told = repository.first.backup(tree, monitor=monitor)
        assert told.exit_code == 13
        assert [problem.object_name for problem in told.problems] == [key]
        assert list(told.problems) == monitor.errors


def test_only_who_trusts_others_looks_at_their_segments(repository: SmallRepository, store: MemoryStore, tmp_path: Path, tree: Path) -> None:
    repository.machine("beta").backup(tree)
    recording = RecordingStore(store)
    repository.first.store = recording
    assert repository.backup(tree).statistics.deduplicated_bytes == 0
    assert not [call for call in recording.calls if call.verb == "get" and call.key.startswith("index/")]
    with SmallRepository(MemoryStore(), tmp_path / "trusting", trust_hosts=True) as trusting:
        other = trusting.machine("beta")
        other.backup(tree)
        assert trusting.backup(tree).statistics.raw_delta_size == 0
        trusting.store.delete([key for key in trusting.store.objects if key.startswith("packs/")])  # type: ignore[attr-defined]  # a MemoryStore
        monitor = RecordingMonitor()
        healed = trusting.first.backup(tree, options=BackupOptions("alpha", force=True), monitor=monitor)
        assert healed.statistics.raw_delta_size > 0
        assert any("packs that the index lists are missing" in note for note in monitor.notes)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_dry_run_lists_no_pack_before_its_end(repository: SmallRepository, dry_run: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packs are nowhere, so what they hold must not become known as stored."""
    seen: list[WriterOptions] = []

    class Watched(Writer):
        def __init__(self, repository: Any, state: Any, options: WriterOptions, *rest: Any) -> None:
            seen.append(options)
            super().__init__(repository, state, options, *rest)

    monkeypatch.setattr(backup_run, "Writer", Watched)
    machine, wanted = repository.first, WriterOptions(checkpoint_packs=3)
    with BackupRun(machine.repository, machine.state, [b"/tree"], BackupOptions("a", dry_run=dry_run, writer=wanted), SetClock(), VoidMonitor()):
        pass
    (used,) = seen
    assert (used == wanted) is not dry_run
    assert min(used.checkpoint_packs, used.checkpoint_seconds) == (sys.maxsize if dry_run else 3)


def test_packs_of_others_are_their_own_loss(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    """With ``force`` a host looks for its own packs; what another one has lost, it can not store again."""
    repository.backup(tree)
    other = repository.machine("beta")
    other.backup(tree)
    lost = [key for key in keys(store, "packs") if other.host_file.key.host.hex() in key]
    store.delete(lost)
    monitor = RecordingMonitor()
    repository.first.backup(tree, options=BackupOptions("alpha", force=True), monitor=monitor)
    assert not monitor.notes
    other.backup(tree, options=BackupOptions("beta", force=True), monitor=monitor)
    assert [note[: len("2 packs that")] for note in monitor.notes] == [f"{len(lost)} packs that"]
    assert [key for key in keys(store, "packs") if other.host_file.key.host.hex() in key]
