"""What a store does when it is asked: the experiments of the conformance probe. Gathers facts; what they mean is said by ``doctor.findings``.

Writes under one folder ``doctor/<random id>/`` and nowhere else, small objects that are deleted again as far as the credential allows.
docs/threat-model.md, "Grades of a store".
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from seedcorn.errors import AccessDeniedError, ObjectExistsError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.events import Clock, Counter, Monitor
from seedcorn.ops.doctor.facts import WANTED_BYTES, Check, Observed
from seedcorn.ops.doctor.latency import Stopwatch
from seedcorn.ops.doctor.reach import may_read_packs, may_read_snapshots
from seedcorn.store.api import Store
from seedcorn.store.probe import Probeable, RemoteProbeable, race

__all__ = ["Probe"]

_RANGED = bytes(range(256)) * 16
_RANGE_START = 1000


class Probe:
    """One run of the experiments on one store: ``create_only``, then the others in any order, at last ``tidy``."""

    def __init__(self, store: Store, folder: str, clock: Clock, monitor: Monitor) -> None:
        self.observed = Observed(remote=isinstance(store, RemoteProbeable))
        self._store = store
        self._folder = folder
        self._clock = clock
        self._monitor = monitor
        self._stopwatch = Stopwatch(clock)
        self._put: list[str] = []  # every key that may be there now

    def run(self, check: Check, experiment: Callable[[], None]) -> None:
        """One experiment. A store that does not answer at all ends the probe; what it refuses, or does wrong, is a fact.

        Raises:
            StoreUnavailableError: no answer.
        """
        try:
            experiment()
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.observed.stopped[check] = error

    def create_only(self) -> None:
        """A key that was asked for before it was there, then put, read, and put again with other bytes. The first request that writes.

        Raises:
            StoreError: nothing can be written here, so there is nothing to find out.
        """
        key = self._key("once")
        with suppress(ObjectNotFoundError, AccessDeniedError):  # who may not list is told that he may not read what is not there
            self._store.get(key)  # some stores remember for a while that there was nothing
        asked_ns = self._clock.now_ns()
        try:
            self._store.put(key, b"first")
        except AccessDeniedError as error:
            if not self.observed.remote:
                raise
            policy = "as the policy of `seedcorn host policy` allows on a store that knows its condition s3:if-none-match"
            raise AccessDeniedError(f"{error}; the probe has to write below doctor/, {policy}") from error
        done_ns = self._clock.now_ns()
        self.run(Check.READ_AFTER_WRITE, lambda: self._read_fresh(key))
        self.run(Check.CREATE_ONLY, lambda: self._put_again(key))
        self.run(Check.CLOCK, lambda: self._compare_clocks(key, (asked_ns + done_ns) / 2))
        self.observed.refused_by_store = not isinstance(self._store, Probeable) or self._store.refuses_by_itself

    def _read_fresh(self, key: str) -> None:
        try:
            self.observed.reads_fresh = self._store.get(key) == b"first"
        except ObjectNotFoundError:
            self.observed.reads_fresh = False

    def _put_again(self, key: str) -> None:
        try:
            self._store.put(key, b"other")
        except ObjectExistsError:
            with suppress(AccessDeniedError):
                self.observed.create_only = self._store.get(key) == b"first"
                return
            self.observed.create_only = True  # as the store says
        else:
            self.observed.create_only = False

    def _compare_clocks(self, key: str, put_ns: float) -> None:
        listed = {info.key: info for info in self._store.list(self._folder)}
        if key in listed:  # else the experiment with listings will say so
            self.observed.clock_offset_seconds = (listed[key].modified_ns - put_ns) / 1e9

    def race(self, racers: int) -> None:
        """Many puts of one key at once."""
        key = self._key("race")
        told = race(self._store, key, racers=racers)
        self.observed.racers, self.observed.winners = racers, len(told)
        with suppress(AccessDeniedError):
            if self._store.get(key) not in told:
                self.observed.winners += 1  # who was told to have lost, and has written

    def fresh_listings(self, count: int) -> None:
        """Put a key, list its folder, and so on: each must be in the first listing after its put."""
        seen = self.observed
        seen.fresh_listings, unlisted = count, 0
        self._monitor.expect(Counter.CHECKED_OBJECTS, count)
        for number in range(count):
            key = self._key(f"fresh/{number:06}")
            self._stopwatch.time("put", partial(self._store.put, key, key.encode()))
            listed = self._stopwatch.time("list", partial(self._keys, f"{self._folder}fresh/"))
            unlisted += key not in listed
            self._monitor.count(Counter.CHECKED_OBJECTS)
            self._monitor.count(Counter.CHECKED_BYTES, len(key))
        seen.unlisted = unlisted

    def reads(self, count: int) -> None:
        """Read what ``fresh_listings`` has put, in the three ways that there are, for their times."""
        for key in [key for key in self._put if "/fresh/" in key][:count]:
            read = self._stopwatch.time("get", partial(self._store.get, key))
            self.observed.reads_fresh = self.observed.reads_fresh is not False and read == key.encode()
            self._stopwatch.time("get_range", partial(self._store.get_range, key, 1, 8))
            self._stopwatch.time("head", partial(self._store.head, key))

    def prefix_listing(self) -> None:
        """A folder is no prefix of another's name, and a listing begins after any key."""
        keys = [self._key(f"prefix/{name}") for name in ("a/1", "a/2", "ab/1", "b")]
        for key in keys:
            self._store.put(key, b"")
        below = f"{self._folder}prefix/"
        listed = self._keys(below), self._keys(f"{below}a/"), self._keys(below, keys[1])
        self.observed.lists_by_prefix = listed == (keys, keys[:2], keys[2:])

    def range(self) -> None:
        """Some bytes out of the middle."""
        key, start, length = self._key("range"), _RANGE_START, WANTED_BYTES
        self._store.put(key, _RANGED)
        before_bytes = self._store.requests.get_bytes
        self.observed.range_is_right = self._store.get_range(key, start, length) == _RANGED[start : start + length]
        self.observed.range_bytes = self._store.requests.get_bytes - before_bytes

    def checksum(self) -> None:
        """A put with its checksum, then one with that of other bytes."""
        if not isinstance(self._store, RemoteProbeable):
            return
        sent, arrived = b"as it was sent", b"as it arrives"
        if not self._store.takes_checksum(self._key("checksum/right"), sent, of=sent):
            raise StoreError("it refuses a right checksum, too")
        self.observed.takes_wrong_checksum = self._store.takes_checksum(self._key("checksum/wrong"), arrived, of=sent)

    def rights(self) -> None:
        """Overwrite, then delete, an object of ours; if either was allowed, look for the version that was there before."""
        seen, store, key, data = self.observed, self._store, self._key("rights"), b"before"
        store.put(key, data)
        version = None
        if isinstance(store, RemoteProbeable):
            with suppress(StoreError):
                version = store.version_of(key)
        if isinstance(store, Probeable):
            self.run(Check.OVERWRITE, lambda: self._overwrite(store, key))
        self.run(Check.DELETE, lambda: self._delete(key))
        if isinstance(store, RemoteProbeable) and (seen.may_overwrite or seen.may_delete):
            self.run(Check.VERSIONS, lambda: self._find_version(store, key, version, data))

    def _overwrite(self, store: Probeable, key: str) -> None:
        if _is_refused(lambda: store.overwrite(key, b"after")):
            self.observed.may_overwrite = False
            return
        self.observed.may_overwrite = True
        with suppress(AccessDeniedError, ObjectNotFoundError):  # taken and forgotten: not overwritten either
            self.observed.may_overwrite = self._store.get(key) == b"after"

    def _delete(self, key: str) -> None:
        self.observed.may_delete = not _is_refused(lambda: self._store.delete([key]))
        if self.observed.may_delete:
            with suppress(ObjectNotFoundError, AccessDeniedError):
                self._store.get(key)
                self.observed.may_delete = False

    def _find_version(self, store: RemoteProbeable, key: str, version: str | None, data: bytes) -> None:
        kept = False
        if version is not None:
            with suppress(ObjectNotFoundError):
                kept = store.get_version(key, version) == data
        self.observed.keeps_versions = kept

    def reach(self) -> None:
        """Read a byte of a pack and of a snapshot, if there are any."""
        self.run(Check.READ_PACKS, self._reach_packs)
        self.run(Check.READ_SNAPSHOTS, self._reach_snapshots)

    def _reach_packs(self) -> None:
        self.observed.may_read_packs = may_read_packs(self._store)

    def _reach_snapshots(self) -> None:
        self.observed.may_read_snapshots = may_read_snapshots(self._store)

    def tidy(self, timed: int) -> None:
        """Delete what was put, the first ``timed`` objects one by one for their times, and note what could not be."""
        left = self._put
        try:
            self._remove(timed)
            left = self._keys(self._folder)
        except StoreUnavailableError:
            pass  # asking once more may take minutes
        except StoreError:
            with suppress(StoreError):
                left = self._keys(self._folder)
        self.observed.left = tuple(left)
        self.observed.latencies = self._stopwatch.latencies

    def _remove(self, timed: int) -> None:
        for key in self._put[:timed] if self.observed.may_delete else ():
            self._stopwatch.time("delete", partial(self._store.delete, [key]))
        self._store.delete(self._put)
        if isinstance(self._store, Probeable):
            self._store.clear_folder(self._folder)

    def _keys(self, prefix: str, after: str = "") -> list[str]:
        return [info.key for info in self._store.list(prefix, after=after)]

    def _key(self, name: str) -> str:
        self._put.append(f"{self._folder}{name}")
        return self._put[-1]


def _is_refused(request: Callable[[], None]) -> bool:
    """Whether the store says no, for whatever reason it has (a policy, a lock, an immutable container)."""
    try:
        request()
    except StoreUnavailableError:
        raise
    except StoreError:
        return True
    return False
