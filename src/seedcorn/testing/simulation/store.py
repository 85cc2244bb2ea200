"""The one object store of a run, and the connections through which its actors reach it. Owns what is stored, what goes wrong, and the log.

A connection belongs to one process of an actor and dies with it. Each call of it (each page of a listing) is one step of the run: others run first,
then all of it happens at once. What the store really holds is ``contents``, which the run's judges read without a step.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from seedcorn.errors import ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.store.api import Buffer, ObjectInfo, Requests, check_folder, check_key, check_range
from seedcorn.store.meter import RequestMeter
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.simulation.faults import FaultKind, FaultPlan, Verb
from seedcorn.testing.simulation.scheduler import Actor, Crash, Scheduler

__all__ = ["Connection", "CrashMode", "CrashPoint", "Operation", "SimulatedStore"]

_T = TypeVar("_T")
_PAGE_KEYS = 5  # so that listings of small repositories have pages between which something happens
_STORM_CALLS = 25
_LATE_OPERATIONS = 120
_STALE_NS = 6 * 3600 * 10**9
_SKEW_NS = 36 * 3600 * 10**9
_SUSPENSION_NS = 5 * 24 * 3600 * 10**9
_ROLLBACK_WRITES = 12


class CrashMode(enum.Enum):
    """When a process dies: the store has not got the call; it has, and nobody hears of it; the answer has been worked with, up to the next call."""

    BEFORE = "before"
    UNACKNOWLEDGED = "unacknowledged"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The ``call``-th call of a connection, from 1."""

    call: int
    mode: CrashMode


@dataclass(frozen=True, slots=True)
class Operation:
    """A call as the log has it. ``outcome``: ``ok``, or what the caller got instead."""

    actor: str
    verb: Verb
    key: str
    outcome: str
    content: bytes | None = field(default=None, repr=False, compare=False)  # of a put

    @property
    def keys(self) -> list[str]:
        """The keys of a delete; of any other call the one."""
        return self.key.split(" ")

    def __str__(self) -> str:
        return f"{self.actor} {self.verb.value} {self.key} {self.outcome}"


@dataclass(slots=True)
class _LatePut:
    due: int  # operation number
    key: str
    data: bytes


class SimulatedStore:
    """``after_operation`` is called after each one, ``after_removal`` if objects have gone."""

    def __init__(self, scheduler: Scheduler, plan: FaultPlan) -> None:
        self.scheduler = scheduler
        self.plan = plan
        self.contents = MemoryStore(lambda: self._stamp_ns, url="simulated://")
        self.log: list[Operation] = []
        self.after_operation: Callable[[Operation], None] = lambda _: None
        self.after_removal: Callable[[], None] = lambda: None
        self.on_rollback: Callable[[frozenset[str]], None] = lambda _: None
        self._stamp_ns = 0
        self._late: list[_LatePut] = []
        self._storm_calls = 0
        self._unseen_ns: dict[tuple[FaultKind, str], int] = {}  # until when a key is missing from answers of a kind
        self._journal: deque[tuple[str, bytes | None]] = deque(maxlen=_ROLLBACK_WRITES)  # what was there before each of the last writes
        self.rolled_back = False

    def connect(self, actor: Actor, *, crash: CrashPoint | None = None) -> Connection:
        """A new process's way in."""
        return Connection(self, actor, crash)

    def settle(self) -> None:
        """The faults are over: puts that are on their way arrive now, and every answer is up to date."""
        self.plan.stop()
        self._storm_calls = 0
        self._unseen_ns.clear()
        for late in self._late:
            self._arrive(late)
        self._late.clear()

    # -- what connections ask for, each at one moment --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Time has come to the next operation."""
        due = [late for late in self._late if late.due <= len(self.log)]
        for late in due:
            self._late.remove(late)
            self._arrive(late)

    def end(self, operation: Operation, *, removed: bool) -> None:
        """An operation is done: let the judges look."""
        self.log.append(operation)
        self.after_operation(operation)
        if removed:
            self.after_removal()

    def draw(self, verb: Verb) -> FaultKind | None:
        """What befalls the next call. Storms last for some calls."""
        if self._storm_calls:
            self._storm_calls -= 1
            return FaultKind.STORM
        kind = self.plan.draw(verb)
        if kind is FaultKind.STORM:
            self._storm_calls = self.plan.random.randrange(_STORM_CALLS)
        return kind

    def put(self, key: str, data: bytes, fault: FaultKind | None) -> None:
        """As the protocol of stores says, but for the fault."""
        held = self.contents.objects.get(key)
        if held is not None and held != data and fault is FaultKind.IGNORED_CONDITION:
            self.plan.count(fault)
            self._journal.append((key, held))
            self.contents.objects[key] = data
            return
        self._stamp_ns = self.scheduler.now_ns
        if fault is FaultKind.SKEWED_TIME:
            self.plan.count(fault)
            self._stamp_ns += self.plan.random.randint(-_SKEW_NS, _SKEW_NS)
        self.contents.put(key, data)
        if held is None:
            self._journal.append((key, None))
            if fault in (FaultKind.STALE_GET, FaultKind.STALE_LIST):
                self._unseen_ns[fault, key] = self.scheduler.now_ns + self.plan.random.randrange(_STALE_NS)

    def put_late(self, key: str, data: bytes) -> None:
        """A put whose sender has given up, and which arrives after some operations."""
        self._late.append(_LatePut(len(self.log) + self.plan.random.randint(1, _LATE_OPERATIONS), key, data))

    def _arrive(self, late: _LatePut) -> None:
        if late.key not in self.contents.objects:
            self.put(late.key, late.data, None)

    def get(self, key: str) -> bytes:
        if self._is_unseen(FaultKind.STALE_GET, key):
            raise ObjectNotFoundError("there is no such object yet", key=key)
        return self.contents.get(key)

    def page(self, prefix: str, after: str) -> list[ObjectInfo]:
        """The next page of a listing."""
        found = (info for info in self.contents.list(prefix, after=after) if not self._is_unseen(FaultKind.STALE_LIST, info.key))
        return list(islice(found, _PAGE_KEYS))

    def delete(self, keys: Sequence[str], fault: FaultKind | None) -> bool:
        """Whether all are gone."""
        gone = list(keys)
        if fault is FaultKind.UNFINISHED_DELETE:
            self.plan.count(fault)
            gone = [key for key in keys if self.plan.random.random() < 0.5]
        for key in gone:
            if key in self.contents.objects:
                self._journal.append((key, self.contents.objects[key]))
        self.contents.delete(gone)
        return len(gone) == len(keys)

    def roll_back(self) -> None:
        """The provider returns to an earlier state, once in a run."""
        if self.rolled_back or not self._journal:
            return
        self.plan.count(FaultKind.ROLLBACK)
        self.rolled_back = True
        before = frozenset(self.contents.objects)
        for _ in range(self.plan.random.randint(1, len(self._journal))):
            key, held = self._journal.pop()
            if held is None:
                self.contents.delete([key])
            else:
                self.contents.objects[key] = held
        self.on_rollback(before - self.contents.objects.keys())

    def _is_unseen(self, kind: FaultKind, key: str) -> bool:
        until_ns = self._unseen_ns.get((kind, key), 0)
        if until_ns <= self.scheduler.now_ns:
            return False
        self.plan.count(kind)
        return True


class Connection:
    """A ``Store`` for one process. ``calls`` counts its operations; ``acknowledged`` has the keys of puts that it knows to have succeeded."""

    def __init__(self, store: SimulatedStore, actor: Actor, crash: CrashPoint | None) -> None:
        self._store = store
        self._actor = actor
        self._crash = crash
        self._alive = True
        self._doomed = False  # dies at the next call, or at its end
        self._content: bytes | None = None  # of the call that is being made
        self._meter = RequestMeter()
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
        while page is None or len(page) == _PAGE_KEYS:
            self._meter.list()
            fault, page = self._call(Verb.LIST, prefix, lambda fault, after=after: (fault, self._store.page(prefix, after)))  # type: ignore[misc]
            if fault is FaultKind.LIST_EMPTY and page:
                self._store.plan.count(fault)
                return
            if fault is FaultKind.LIST_CUT:
                self._store.plan.count(fault)
                yield from page[: len(page) // 2]
                raise StoreUnavailableError("the store broke off in the middle of a listing", key=prefix)
            yield from page
            after = page[-1].key if page else after

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
