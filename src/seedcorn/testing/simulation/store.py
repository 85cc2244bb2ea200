"""The one object store of a run. Owns what is stored, what it does wrong, and the log; actors reach it through a ``Connection``.

What the store really holds is ``contents``, which the run's judges read without a step of the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from seedcorn.errors import ObjectNotFoundError
from seedcorn.store.api import ObjectInfo
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.simulation.faults import FaultKind, FaultPlan, Verb
from seedcorn.testing.simulation.scheduler import Scheduler

__all__ = ["PAGE_KEYS", "Operation", "SimulatedStore"]

PAGE_KEYS = 5  # so that listings of small repositories have pages between which something happens
_STORM_CALLS = 25
_LATE_OPERATIONS = 120
_STALE_NS = 6 * 3600 * 10**9
_SKEW_NS = 36 * 3600 * 10**9
_ROLLBACK_WRITES = 12
_DONE = {"ok", FaultKind.SKEWED_TIME.value, FaultKind.IGNORED_CONDITION.value, FaultKind.STALE_GET.value, FaultKind.STALE_LIST.value}


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

    @property
    def is_done(self) -> bool:
        """Whether the caller was told that it has been done, as it should be."""
        return self.outcome in _DONE

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

    @property
    def late_puts(self) -> list[tuple[str, bytes]]:
        """The puts that are on their way, and whose senders have given up."""
        return [(late.key, late.data) for late in self._late]

    def _arrive(self, late: _LatePut) -> None:
        if late.key not in self.contents.objects:
            self.put(late.key, late.data, None)
            self.end(Operation("nobody", Verb.PUT, late.key, "arrives late", late.data), removed=False)

    def get(self, key: str) -> bytes:
        if self._is_unseen(FaultKind.STALE_GET, key):
            raise ObjectNotFoundError("there is no such object yet", key=key)
        return self.contents.get(key)

    def page(self, prefix: str, after: str) -> list[ObjectInfo]:
        """The next page of a listing."""
        found = (info for info in self.contents.list(prefix, after=after) if not self._is_unseen(FaultKind.STALE_LIST, info.key))
        return list(islice(found, PAGE_KEYS))

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
