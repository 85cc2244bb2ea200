"""ops/doctor/doctor.py on stores that keep their promises, and on some that break one each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from seedcorn.errors import AccessDeniedError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.events import RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.ops.doctor.doctor import SHORT, Check, DoctorOptions, DoctorResult, Grade, Outcome, doctor, first_look
from seedcorn.store.api import Buffer, ObjectInfo, Store
from seedcorn.store.local import LocalStore
from seedcorn.store.wrappers import AppendOnlyStore, RecordingStore, WrappedStore
from seedcorn.testing.memory_store import MemoryStore

HOUR_NS = 3600 * 10**9


def examine(store: Store, options: DoctorOptions | None = None) -> DoctorResult:
    return doctor(store, options or DoctorOptions(), SystemClock(), VoidMonitor())


def outcomes(result: DoctorResult) -> dict[Check, Outcome]:
    return {finding.check: finding.outcome for finding in result.findings}


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(time.time_ns)


class Overwriting(WrappedStore):
    """Ignores the condition of a put."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.memory = inner

    def put(self, key: str, data: Buffer) -> None:
        self.memory.objects.pop(key, None)
        super().put(key, data)


class LateListing(WrappedStore):
    """Shows no object in the first listing after its put."""

    def __init__(self, inner: Store, room: str) -> None:
        super().__init__(inner)
        self.room = room
        self.fresh = ""

    def put(self, key: str, data: Buffer) -> None:
        super().put(key, data)
        self.fresh = key if self.room in key else ""

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        hidden, self.fresh = self.fresh, ""
        return (info for info in super().list(prefix, after=after) if info.key != hidden)


class StaleReads(WrappedStore):
    """Remembers for a while that there was nothing."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.asked: dict[str, int] = {}

    def get(self, key: str) -> bytes:
        self.asked[key] = self.asked.get(key, 0) + 1
        if self.asked[key] == 2:
            raise ObjectNotFoundError("nothing, as I said", key=key)
        return super().get(key)


class Rights(WrappedStore):
    """A store that refuses by itself, and a credential with the rights of its class."""

    overwrites = False
    deletes = False
    refuses_by_itself = True

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.memory = inner

    def overwrite(self, key: str, data: Buffer) -> None:
        if not self.overwrites:
            raise AccessDeniedError("no", key=key)
        self.memory.objects[key] = bytes(data)

    def clear_folder(self, prefix: str) -> None:
        pass

    def delete(self, keys: Sequence[str]) -> None:
        if not self.deletes:
            raise AccessDeniedError("no", key=keys[0])
        super().delete(keys)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if key.startswith(("packs/", "snapshots/")):
            raise AccessDeniedError("no", key=key)
        return super().get_range(key, start, length)


class Versioned(Rights):
    """May do everything, and keeps what was there before."""

    overwrites = deletes = True
    refuses_by_itself = False
    forgets = False

    def takes_checksum(self, key: str, data: Buffer, of: bytes) -> bool:
        return True

    def version_of(self, key: str) -> str | None:
        self.old = self.memory.objects[key]
        return "first"

    def get_version(self, key: str, version: str) -> bytes:
        assert version == "first"
        if self.forgets:
            raise ObjectNotFoundError("a version in name only", key=key)
        return self.old


def test_a_strict_store_is_grade_a_and_left_as_it_was(memory: MemoryStore) -> None:
    memory.put("packs/1", b"pack")
    memory.put("snapshots/1", b"snapshot")
    before = dict(memory.objects)
    recording = RecordingStore(memory)
    result = examine(recording)
    assert (result.grade, result.exit_code, result.broken, result.left) == (Grade.A, 0, (), ())
    assert memory.objects == before
    assert all(call.key.startswith("doctor/") for call in recording.calls if call.verb in ("put", "delete"))
    found = outcomes(result)
    untested = {check for check, outcome in found.items() if outcome is Outcome.UNTESTED}
    assert untested == {Check.CHECKSUM, Check.OVERWRITE, Check.VERSIONS}
    assert found[Check.DELETE] is Outcome.NOTE
    assert set(Check) == set(found)


def test_latencies_count_their_requests(memory: MemoryStore) -> None:
    result = examine(memory, DoctorOptions(fresh_listings=30, samples=7))
    assert {each.verb: each.requests for each in result.latencies} == {"put": 30, "list": 30, "get": 7, "get_range": 7, "head": 7, "delete": 7}
    assert all(0 <= each.p50_ms <= each.p90_ms <= each.p99_ms <= each.max_ms for each in result.latencies)
    assert result.requests.put >= 30


def test_an_ignored_condition_is_grade_c(memory: MemoryStore) -> None:
    result = examine(Overwriting(memory))
    assert (result.grade, result.exit_code) == (Grade.C, 0), "correctness does not depend on it"
    assert result.append_only is False
    assert "NOT enforced" in result.reason
    assert outcomes(result)[Check.CREATE_ONLY] is outcomes(result)[Check.RACE] is Outcome.WARNING


def test_a_late_listing_is_broken_whatever_is_enforced(memory: MemoryStore) -> None:
    result = examine(LateListing(memory, "/fresh/"))
    assert [finding.check for finding in result.broken] == [Check.FRESH_LISTING]
    assert (result.grade, result.exit_code) == (Grade.C, 1)


def test_a_listing_that_lacks_a_key_by_prefix_is_broken(memory: MemoryStore) -> None:
    result = examine(LateListing(memory, "/prefix/"))
    assert [finding.check for finding in result.broken] == [Check.PREFIX_LISTING]
    assert result.exit_code == 1


def test_a_stale_read_is_broken(memory: MemoryStore) -> None:
    result = examine(StaleReads(memory))
    assert [finding.check for finding in result.broken] == [Check.READ_AFTER_WRITE]
    assert result.exit_code == 1


def test_a_failing_range_is_broken(memory: MemoryStore) -> None:
    class NoRanges(WrappedStore):
        def get_range(self, key: str, start: int, length: int) -> bytes:
            raise StoreError("what is a range?", key=key)

    result = examine(NoRanges(memory))
    assert Check.RANGE in [finding.check for finding in result.broken]
    assert "what is a range?" in next(finding.seen for finding in result.broken if finding.check is Check.RANGE)


def test_a_second_winner_is_seen_though_nobody_else_asks_at_once(memory: MemoryStore) -> None:
    class Racy(WrappedStore):
        """Enforces, but not in a race; and tells the loser whose bytes are there that it has lost."""

        def put(self, key: str, data: Buffer) -> None:
            try:
                super().put(key, data)
            except StoreError:
                if key.endswith("/race"):
                    memory.objects[key] = bytes(data)
                raise

    result = examine(Racy(memory))
    assert outcomes(result)[Check.CREATE_ONLY] is Outcome.OK
    assert outcomes(result)[Check.RACE] is Outcome.WARNING
    assert result.grade is Grade.C


def test_a_host_with_a_hosts_rights(memory: MemoryStore) -> None:
    memory.put("packs/1", b"pack")
    memory.put("snapshots/1", b"snapshot")
    result = examine(Rights(memory), DoctorOptions(enrolled=True, fresh_listings=5))
    assert (result.grade, result.append_only) == (Grade.A, True)
    assert {finding.check: finding.outcome for finding in result.findings if finding.outcome is not Outcome.OK} == {
        Check.CHECKSUM: Outcome.UNTESTED,
        Check.VERSIONS: Outcome.UNTESTED,
    }
    assert sorted(result.left) == sorted(key for key in memory.objects if key.startswith("doctor/"))
    assert len(result.left) > 5


def test_a_host_that_may_do_too_much_is_told(memory: MemoryStore) -> None:
    class Mighty(Rights):
        overwrites = deletes = True

    memory.put("packs/1", b"pack")
    host, owner = (examine(Mighty(memory), DoctorOptions(enrolled=enrolled)) for enrolled in (True, False))
    assert outcomes(host)[Check.OVERWRITE] is outcomes(host)[Check.DELETE] is Outcome.WARNING
    assert outcomes(owner)[Check.OVERWRITE] is outcomes(owner)[Check.DELETE] is Outcome.NOTE
    for result in (host, owner):
        assert (result.grade, result.append_only) == (Grade.A, False)
        assert "NOT enforced against this credential" in result.reason


def test_versions_alone_are_grade_b(memory: MemoryStore) -> None:
    result = examine(Versioned(memory))
    assert (result.grade, result.exit_code) == (Grade.B, 0)
    assert outcomes(result)[Check.VERSIONS] is Outcome.OK
    assert outcomes(result)[Check.CHECKSUM] is Outcome.WARNING


def test_a_store_that_takes_no_checksum_at_all_does_not_pass_for_one_that_checks_it(memory: MemoryStore) -> None:
    class NoChecksums(Versioned):
        def takes_checksum(self, key: str, data: Buffer, of: bytes) -> bool:
            return False

    assert outcomes(examine(NoChecksums(memory)))[Check.CHECKSUM] is Outcome.WARNING


def test_a_version_that_can_not_be_read_again_is_none(memory: MemoryStore) -> None:
    class InNameOnly(Versioned):
        forgets = True

    result = examine(InNameOnly(memory))
    assert result.grade is Grade.C
    assert outcomes(result)[Check.VERSIONS] is Outcome.NOTE


@pytest.mark.parametrize(("offset_ns", "outcome"), [(0, Outcome.OK), (-HOUR_NS, Outcome.NOTE), (25 * HOUR_NS, Outcome.WARNING)])
def test_the_clocks_are_compared(offset_ns: int, outcome: Outcome) -> None:
    result = examine(MemoryStore(lambda: time.time_ns() + offset_ns), SHORT)
    assert outcomes(result)[Check.CLOCK] is outcome
    assert result.clock_offset_seconds == pytest.approx(offset_ns / 1e9, abs=5)


def test_a_directory_is_grade_c_and_keeps_nothing_of_the_probe(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("packs/1", b"pack")
    result = examine(store)
    assert (result.grade, result.exit_code, result.append_only) == (Grade.C, 0, False)
    assert "whoever may write here" in result.reason
    assert list((tmp_path / "doctor").iterdir()) == []
    assert store.get("packs/1") == b"pack"


def test_what_a_refused_delete_leaves_is_named(memory: MemoryStore) -> None:
    result = examine(AppendOnlyStore(memory), SHORT)
    assert outcomes(result)[Check.DELETE] is Outcome.OK
    assert set(result.left) == memory.objects.keys()


def test_who_may_not_write_is_told_what_it_takes(memory: MemoryStore) -> None:
    class ReadOnly(Versioned):  # somewhere behind a wire, where there are policies
        def put(self, key: str, data: Buffer) -> None:
            raise AccessDeniedError("read only", key=key)

    with pytest.raises(AccessDeniedError, match="host policy"):
        examine(ReadOnly(memory))


def test_a_store_that_goes_away_ends_the_probe_and_is_tidied_as_far_as_it_goes(memory: MemoryStore) -> None:
    class Leaving(WrappedStore):
        def get_range(self, key: str, start: int, length: int) -> bytes:
            raise StoreUnavailableError("gone", key=key)

    with pytest.raises(StoreUnavailableError):
        examine(Leaving(memory))
    assert memory.objects == {}


def test_who_may_not_read_its_own_objects_is_not_told_that_reads_are_stale(memory: MemoryStore) -> None:
    class WriteOnly(WrappedStore):
        def get(self, key: str) -> bytes:
            raise AccessDeniedError("no", key=key)

    result = examine(WriteOnly(memory), DoctorOptions(fresh_listings=3))
    assert (result.grade, result.broken) == (Grade.A, ())
    assert outcomes(result)[Check.READ_AFTER_WRITE] is Outcome.UNTESTED


def test_a_first_look_is_short(memory: MemoryStore) -> None:
    result = first_look(memory, SystemClock(), VoidMonitor())
    assert result
    assert result.grade is Grade.A
    assert result.requests.total <= 16
    assert memory.objects == {}


def test_a_first_look_that_fails_is_told_and_no_more() -> None:
    class Down(WrappedStore):
        def put(self, key: str, data: Buffer) -> None:
            raise StoreUnavailableError("down", key=key)

    monitor = RecordingMonitor()
    assert first_look(Down(MemoryStore()), SystemClock(), monitor) is None
    assert len(monitor.errors) == 1
