"""How an actor's process reaches the simulated store: a ``Store`` whose every call is a step of the run.

Owns what befalls a call on its way: errors, bad bodies, broken listings, and the end of the process. A connection belongs to one process of an actor
and dies with it. At each call (each page of a listing) others run first, then all of it happens at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seedcorn.errors import StoreError, StoreUnavailableError
from seedcorn.store.api import Buffer, ObjectInfo, Requests, check_folder, check_key, check_range
from seedcorn.store.meter import RequestMeter
from seedcorn.testing.simulation.faults import FaultKind, Verb
from seedcorn.testing.simulation.scheduler import Actor, Crash
from seedcorn.testing.simulation.store import PAGE_KEYS, Operation, SimulatedStore

__all__ = ["Connection", "CrashMode", "CrashPoint", "Suspension"]

_T = TypeVar("_T")
_SUSPENSION_NS = 5 * 24 * 3600 * 10**9


class CrashMode(enum.Enum):
    """When a process dies: the store has not got the call; it has, and nobody hears of it; the answer has been worked with, up to the next call."""

    BEFORE = "before"
    UNACKNOWLEDGED = "unacknowledged"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Suspension:
    """Before the ``call``-th call of a connection, from 1, the process stands still."""

    call: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The ``call``-th call of a connection, from 1."""

    call: int
    mode: CrashMode


class Connection:
    """A ``Store`` for one process. ``calls`` counts its operations; ``acknowledged`` has the keys of puts that it knows to have succeeded."""

    def __init__(self, store: SimulatedStore, actor: Actor, *, crash: CrashPoint | None = None, suspension: Suspension | None = None) -> None:
        self._store = store
        self._actor = actor
        self._crash = crash
        self._suspension = suspension
        self._alive = True
        self._doomed = False  # dies at the next call, or at its end
        self._content: bytes | None = None  # of the call that is being made
        self._meter = RequestMeter()
        self._has_seen_collections = False
        self.calls = 0
        self.acknowledged: set[str] = set()

    @property
    def url(self) -> str:
        return self._store.contents.url

    @property
    def requests(self) -> Requests:
        return self._meter.requests

    def put(self, key: str, data: Buffer) -> None:
        content = bytes(data)
        check_key(key)
        self._meter.put(len(content))
        self._call(Verb.PUT, key, lambda fault: self._put(key, content, fault), content)
        self.acknowledged.add(key)
        self._has_seen_collections |= key.endswith(".sweep")

    def get(self, key: str) -> bytes:
        check_key(key)
        data = self._call(Verb.GET, key, lambda fault: self._body(self._store.get(key), fault))
        self._meter.get(len(data))
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_range(key, start, length)
        data = self._call(Verb.GET_RANGE, key, lambda fault: self._body(self._store.get(key)[start : start + length], fault))
        self._meter.get(len(data))
        if len(data) != length:
            raise StoreError(f"the object ends before byte {start + length}", key=key)
        return data

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        self._meter.head()
        return self._call(Verb.HEAD, key, lambda _: self._store.contents.head(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        check_folder(prefix)
        page = None
        while page is None or len(page) == PAGE_KEYS:
            self._meter.list()
            fault, page = self._call(Verb.LIST, prefix, lambda fault, after=after: (fault, self._store.page(prefix, after)))  # type: ignore[misc]
            if fault is FaultKind.LIST_EMPTY and page and not after and self._can_tell(prefix):
                self._store.plan.count(fault)
                return
            self._has_seen_collections |= prefix == "gc/" and any(info.key.endswith(".sweep") for info in page)
            if fault is FaultKind.LIST_CUT:
                self._store.plan.count(fault)
                yield from page[: len(page) // 2]
                raise StoreUnavailableError("the store broke off in the middle of a listing", key=prefix)
            yield from page
            after = page[-1].key if page else after

    def _can_tell(self, prefix: str) -> bool:
        """Whether an empty listing can be known for what it is. A repository in which nothing was ever swept has an empty ``gc/``, too; so that
        fault is outside of what is claimed unless this process has seen a sweep there."""
        return prefix != "gc/" or self._has_seen_collections

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        self._meter.delete()
        self._call(Verb.DELETE, " ".join(keys), lambda fault: self._delete(keys, fault))

    def close(self) -> None:
        pass

    def finish(self) -> None:
        """The process has come to its end.

        Raises:
            Crash: it was to die after its last call.
        """
        if self._doomed:
            self._die()

    # -- one operation -----------------------------------------------------------------------------------------------------------------------------

    def _call(self, verb: Verb, key: str, work: Callable[[FaultKind | None], _T], content: bytes | None = None) -> _T:
        store = self._store
        self._content = content
        if not self._alive or self._doomed:
            self._die()
        if self._suspension is not None and self._suspension.call == self.calls + 1:
            self._actor.clock.sleep(self._suspension.seconds)
        store.scheduler.pause(self._actor)
        store.begin()
        self.calls += 1
        fault = store.draw(verb)
        mode = self._crash.mode if self._crash is not None and self._crash.call == self.calls else None
        if fault is FaultKind.CRASH:
            store.plan.count(fault)
            mode = store.plan.random.choice(list(CrashMode))
        elif fault in (FaultKind.SUSPENSION, FaultKind.CLOCK_STEP):
            self._disturb_clock(fault)
            fault = None
        elif fault is FaultKind.ROLLBACK:
            store.roll_back()
            fault = None
        if mode is CrashMode.BEFORE:
            self._log(verb, key, "crashed before")
            self._die()
        self._doomed = mode is CrashMode.AFTER
        try:
            result = self._happen(verb, key, fault, work)
        except StoreError:
            if mode is CrashMode.UNACKNOWLEDGED:
                self._die()
            raise
        if mode is CrashMode.UNACKNOWLEDGED:
            self._die()
        return result

    def _happen(self, verb: Verb, key: str, fault: FaultKind | None, work: Callable[[FaultKind | None], _T]) -> _T:
        plan, removed = self._store.plan, verb is Verb.DELETE
        if fault in (FaultKind.ERROR_BEFORE_APPLY, FaultKind.STORM):
            plan.count(fault)
            self._log(verb, key, fault.value)
            raise StoreUnavailableError("the store does not answer", key=key)
        bitten = plan.counts[fault] if fault else 0
        try:
            result = work(fault)
        except StoreError as error:
            self._log(verb, key, fault.value if fault and plan.counts[fault] > bitten else type(error).__name__, removed=removed)
            raise
        if fault is FaultKind.LOST_ANSWER:
            plan.count(fault)
            self._log(verb, key, fault.value, removed=removed)
            raise StoreUnavailableError("the store did not answer in time", key=key)
        self._log(verb, key, fault.value if fault and plan.counts[fault] > bitten else "ok", removed=removed)
        return result

    def _disturb_clock(self, fault: FaultKind) -> None:
        plan = self._store.plan
        plan.count(fault)
        if fault is FaultKind.SUSPENSION:
            self._actor.clock.sleep(plan.random.randrange(_SUSPENSION_NS) / 10**9)
            self._store.begin()
        else:
            self._actor.clock.step()

    def _put(self, key: str, content: bytes, fault: FaultKind | None) -> None:
        if fault is FaultKind.LATE_PUT:
            self._store.plan.count(fault)
            self._store.put_late(key, content)
            raise StoreUnavailableError("the store did not answer in time", key=key)
        self._store.put(key, content, fault)

    def _body(self, data: bytes, fault: FaultKind | None) -> bytes:
        plan = self._store.plan
        if not data or fault not in (FaultKind.TRUNCATED_BODY, FaultKind.FLIPPED_BODY):
            return data
        plan.count(fault)
        at = int(plan.random.random() * len(data))
        return data[:at] if fault is FaultKind.TRUNCATED_BODY else data[:at] + bytes([data[at] ^ 1 << plan.random.randrange(8)]) + data[at + 1 :]

    def _delete(self, keys: Sequence[str], fault: FaultKind | None) -> None:
        if not self._store.delete(keys, fault) and self._store.plan.random.random() < 0.5:
            raise StoreUnavailableError("the store deleted only some of the objects", key=keys[0])

    def _log(self, verb: Verb, key: str, outcome: str, *, removed: bool = False) -> None:
        self._store.end(Operation(self._actor.name, verb, key, outcome, self._content), removed=removed)

    def _die(self) -> None:
        self._alive = False
        raise Crash
