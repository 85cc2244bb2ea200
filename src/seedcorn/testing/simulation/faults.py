"""What can go wrong with a store and its clients: every kind with its weight, drawn by a seeded generator, and counted when it bites.

Owns the kinds and the choice; what a kind does is the store's business. A weight is the probability of that fault at one call that it can befall.
"""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["FaultKind", "FaultPlan", "Faults", "Verb"]


class Verb(enum.Enum):
    """The calls of a store. A listing is one call for each page."""

    PUT = "put"
    GET = "get"
    GET_RANGE = "get_range"
    HEAD = "head"
    LIST = "list"
    DELETE = "delete"


_ALL = frozenset(Verb)
_WRITES = frozenset({Verb.PUT, Verb.DELETE})
_BODIES = frozenset({Verb.GET, Verb.GET_RANGE})
_PUT, _LIST, _DELETE = frozenset({Verb.PUT}), frozenset({Verb.LIST}), frozenset({Verb.DELETE})


class FaultKind(enum.Enum):
    """One way to go wrong, and the calls that it can befall."""

    verbs: frozenset[Verb]

    def __new__(cls, value: str, verbs: frozenset[Verb]) -> FaultKind:
        kind = object.__new__(cls)
        kind._value_ = value
        kind.verbs = verbs
        return kind

    ERROR_BEFORE_APPLY = "error before apply", _ALL
    LOST_ANSWER = "error after apply", _WRITES
    LATE_PUT = "late apply", _PUT  # one that never comes is an error before apply
    STORM = "503 storm", _ALL
    TRUNCATED_BODY = "truncated body", _BODIES
    FLIPPED_BODY = "flipped body", _BODIES
    LIST_CUT = "LIST fails mid-page", _LIST
    LIST_EMPTY = "LIST empty with 200", _LIST
    IGNORED_CONDITION = "ignored If-None-Match", _PUT
    UNFINISHED_DELETE = "unfinished DELETE", _DELETE
    SKEWED_TIME = "skewed LastModified", _PUT
    STALE_GET = "stale GET", _PUT  # decided when the object is put
    STALE_LIST = "LIST misses a fresh key", _PUT
    ROLLBACK = "provider rollback", _ALL
    SUSPENSION = "client suspended for days", _ALL
    CLOCK_STEP = "clock step", _ALL
    CRASH = "crash", _ALL


_STRONG: Mapping[FaultKind, float] = {
    FaultKind.ERROR_BEFORE_APPLY: 0.01,
    FaultKind.LOST_ANSWER: 0.01,
    FaultKind.LATE_PUT: 0.01,
    FaultKind.STORM: 0.002,
    FaultKind.TRUNCATED_BODY: 0.006,
    FaultKind.FLIPPED_BODY: 0.006,
    FaultKind.LIST_CUT: 0.006,
    FaultKind.LIST_EMPTY: 0.004,
    FaultKind.IGNORED_CONDITION: 0.02,
    FaultKind.UNFINISHED_DELETE: 0.05,
    FaultKind.SKEWED_TIME: 0.05,
    FaultKind.SUSPENSION: 0.004,
    FaultKind.CLOCK_STEP: 0.01,
    FaultKind.CRASH: 0.01,
}


@dataclass(frozen=True, slots=True)
class Faults:
    """How a store and its clients behave: the weight of each kind of fault. Whoever wants others makes one of their own."""

    weights: Mapping[FaultKind, float] = field(default_factory=dict)
    is_weak: bool = False  # LIST and GET may lag behind puts: outside of what the protocol claims to survive

    @classmethod
    def none(cls) -> Faults:
        """A store that always does what it should, and clients that never stumble."""
        return cls()

    @classmethod
    def strong(cls) -> Faults:
        """Every fault that a store with strong listings can have."""
        return cls(_STRONG)

    @classmethod
    def weak(cls) -> Faults:
        """The same on an eventually consistent store."""
        return cls({**_STRONG, FaultKind.STALE_GET: 0.1, FaultKind.STALE_LIST: 0.1}, is_weak=True)

    def with_rollback(self, weight: float = 0.005) -> Faults:
        """The same by a provider who may return to an earlier state, once."""
        return replace(self, weights={**self.weights, FaultKind.ROLLBACK: weight})

    def scaled(self, factor: float) -> Faults:
        """The same, that much more often."""
        return replace(self, weights={kind: min(1.0, weight * factor) for kind, weight in self.weights.items()})


class FaultPlan:
    """Draws the fault of each call. ``counts`` says how often each kind has bitten."""

    def __init__(self, faults: Faults, chosen: random.Random) -> None:
        self.faults = faults
        self.random = chosen
        self.counts: Counter[FaultKind] = Counter()
        self._tables: dict[Verb, list[tuple[float, FaultKind]]] = {}

    def stop(self) -> None:
        """From now on nothing fails."""
        self.go_on_with(Faults.none())

    def go_on_with(self, faults: Faults) -> None:
        """From now on it is these."""
        self.faults = faults
        self._tables.clear()

    def draw(self, verb: Verb) -> FaultKind | None:
        """What befalls a call of ``verb``: mostly nothing. Whoever acts on it counts it."""
        at = self.random.random()
        for limit, kind in self._table(verb):
            if at < limit:
                return kind
        return None

    def _table(self, verb: Verb) -> list[tuple[float, FaultKind]]:
        table = self._tables.get(verb)
        if table is None:
            limit, table = 0.0, []
            for kind, weight in self.faults.weights.items():
                if verb in kind.verbs:
                    limit += weight
                    table.append((limit, kind))
            self._tables[verb] = table
        return table

    def count(self, kind: FaultKind) -> None:
        """``kind`` has bitten."""
        self.counts[kind] += 1
