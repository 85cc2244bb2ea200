"""Receipts: what a host says of its snapshot once it has put it, and whether it had to take that back.

Invariant: a receipt counts only if the snapshot's own host signed it; one that does not open is no reason to keep less, and stops nobody.
docs/format.md, section "Receipt".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.collection import Receipt, ReceiptState, SnapshotRef
from seedcorn.format.names import ReceiptName, parse_receipt_key, receipt_key
from seedcorn.ids import HostId, RepositoryId, SnapshotId
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import build_record, read_small
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["Receipts", "build_receipt", "open_receipt", "read_receipts"]


@dataclass(frozen=True, slots=True)
class Receipts:
    """Every snapshot with a good receipt, every one with a good void record, and the records that are damaged, with the snapshots that they are about
    (``doubtful``): nobody can say what their hosts have said of those."""

    receipted: frozenset[SnapshotRef]
    void: frozenset[SnapshotRef]
    problems: tuple[IntegrityError, ...] = ()
    doubtful: frozenset[SnapshotRef] = frozenset()

    def confirms(self, snapshot: SnapshotRef) -> bool:
        """Whether the backup that made this snapshot ended well."""
        return snapshot in self.receipted and snapshot not in self.void

    def keys_of(self, snapshot: SnapshotRef) -> list[str]:
        """Where the good records about this snapshot are."""
        said = ((False, self.receipted), (True, self.void))
        return [receipt_key(HostId(snapshot.host), snapshot.seq, SnapshotId(snapshot.snapshot), void=void) for void, refs in said if snapshot in refs]


def build_receipt(repository: HostRepository, seq: int, snapshot: SnapshotId, *, void: bool = False) -> tuple[str, bytes]:
    """(store key, bytes) of the receipt or void record of one's own snapshot; always the same bytes."""
    state = ReceiptState.VOID if void else ReceiptState.RECEIPT
    receipt = Receipt(repository.repository, repository.host, seq, snapshot, state)
    return receipt_key(repository.host, seq, snapshot, void=void), build_record(Magic.RECEIPT, receipt, repository.key.sign)


def read_receipts(store: Store, state: State, repository: RepositoryId, registry: HostRegistry) -> Receipts:
    """List and verify all that count; those seen before come from the state."""
    receipted: set[SnapshotRef] = set()
    void: set[SnapshotRef] = set()
    doubtful: set[SnapshotRef] = set()
    problems: list[IntegrityError] = []
    for info, name in _listed(store):
        if not registry.counts(name.host, name.seq):
            continue
        snapshot = SnapshotRef(name.host, name.seq, name.snapshot)
        try:
            with suppress(ObjectNotFoundError):  # its snapshot has just been collected
                read_small(store, state, info, Magic.RECEIPT, partial(open_receipt, name, repository, registry))
                (void if name.void else receipted).add(snapshot)
        except IntegrityError as error:
            problems.append(error)
            doubtful.add(snapshot)
    return Receipts(frozenset(receipted), frozenset(void), tuple(problems), frozenset(doubtful))


def _listed(store: Store) -> Iterator[tuple[ObjectInfo, ReceiptName]]:
    for info in store.list("receipts/"):
        name = parse_receipt_key(info.key)
        if name is not None:
            yield info, name


def open_receipt(name: ReceiptName, repository: RepositoryId, registry: HostRegistry, data: bytes) -> None:
    """Verify a receipt or void record, which says no more than its name.

    Raises:
        IntegrityError: with what is wrong.
    """
    envelope = Envelope.parse(Magic.RECEIPT, data)
    registry.verify(Magic.RECEIPT, HostId(name.host), envelope)
    wanted = ReceiptState.VOID if name.void else ReceiptState.RECEIPT
    if decode(envelope.parts[0], Receipt) != Receipt(repository, name.host, name.seq, name.snapshot, wanted):
        raise IntegrityError("belongs to another snapshot or repository, or has been moved")
