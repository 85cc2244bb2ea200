"""One process of an actor, as the invariants see it: what it asked of the store, and what it is about to do.

Owns the questions about the order of its operations. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from seedcorn.testing.simulation.connection import Connection
from seedcorn.testing.simulation.faults import Verb
from seedcorn.testing.simulation.store import Operation

__all__ = ["Process", "Purpose"]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a process is for. ``writes``: more than verified sets. ``may_forget``: the hosts whose snapshots it may forget, and ``by_policy`` whether
    it is a policy that says so; ``has_brake``: a collection that must not delete much."""

    name: str
    writes: bool = False
    may_forget: Collection[bytes] = ()
    by_policy: bool = False
    has_brake: bool = False


@dataclass(eq=False)
class Process:
    """``log`` are its operations so far. ``bases``: of each listing of ``gc/`` its place in the log, and the packs that nothing may rely on by it.

    ``doomed``: packs that it deletes, once it has decided; ``is_rolled_back``: the provider has taken back an earlier state while it ran.
    """

    purpose: Purpose
    connection: Connection
    log: list[Operation] = field(default_factory=list)
    bases: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    doomed: frozenset[str] = frozenset()
    is_rolled_back: bool = False

    def begins_listing(self, prefix: str) -> bool:
        """Whether its last operation is the first page of a listing."""
        return self._is_listing(-1, prefix) and not (len(self.log) > 1 and self._is_listing(-2, prefix))

    def _is_listing(self, at: int, prefix: str) -> bool:
        return self.log[at].verb is Verb.LIST and self.log[at].key == prefix

    def position(self, verb: Verb, key: str) -> int:
        """Where it last did this with success; -1 if never."""
        for at in range(len(self.log) - 1, -1, -1):
            if self.log[at].verb is verb and self.log[at].key == key and self.log[at].is_done:
                return at
        return -1

    def outcomes(self, verb: Verb, after: int = -1) -> dict[str, str]:
        """What came of its last operation of this kind on each key."""
        return {operation.key: operation.outcome for operation in self.log[after + 1 :] if operation.verb is verb}

    def puts(self, ending: str) -> Iterator[tuple[int, Operation]]:
        """Its successful puts of keys with this ending, newest first, and where they are in the log."""
        for at in range(len(self.log) - 1, -1, -1):
            operation = self.log[at]
            if operation.verb is Verb.PUT and operation.is_done and operation.key.endswith(ending):
                yield at, operation
