"""How a backup ends without locks: what a host looks at before it relies on anything, and what it looks at again after its snapshot and receipt.

The argument: the host puts its snapshot and receipt and then lists the sweeps; a collection puts its sweep and then lists snapshots and receipts. One
of the two always sees the other. No clock and no duration is part of it. docs/format.md, "Order of writing and reading" (H0, H6, H7).
"""

from __future__ import annotations

from dataclasses import dataclass

from seedcorn.errors import IntegrityError
from seedcorn.format.collection import SnapshotRef
from seedcorn.format.names import CollectionName
from seedcorn.ids import HostId, PackId
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.roots.collections import list_collections, named_packs
from seedcorn.repo.state.state import FrameSet, State

__all__ = ["Base", "is_torn", "read_base"]


@dataclass(frozen=True, slots=True)
class Base:
    """What a session knew before it relied on anything: all sweeps by name, and the packs that were marked, those that any sweep has named and not
    kept (a maintainer who rewrote a segment at the same time may list a deleted one again), and those known to be lost."""

    sweeps: frozenset[CollectionName]
    packs: frozenset[tuple[HostId, PackId]]


def read_base(repository: HostRepository, state: State) -> Base:
    """H0. The index is to be loaded after this, and ``Base.packs`` are to be avoided.

    Raises:
        IntegrityError: a record of a collection is damaged.
    """
    log = list_collections(repository.store)
    collections = log.read_all(repository.store, state, repository.repository, repository.key.public)
    if collections.problems:
        raise collections.problems[0]
    return Base(log.sweeps, collections.swept() | named_packs(mark.record for mark in collections.marks))


def is_torn(repository: HostRepository, state: State, base: Base, snapshot: SnapshotRef, needed: FrameSet) -> bool:
    """H7, when the receipt is in the store: whether a sweep that was not there at H0 names this snapshot, or all packs that hold a needed frame.

    A frame without any place is lost, too: another process on this machine may have taken a swept pack out of the index already. And one in a pack
    that was swept before H0 may have come in since, by a process that stood still and has listed that pack only now. What counts as a place is looked
    up before the listing: a copy that another process brings in after it may have been swept while nothing listed it, by a sweep not seen here.

    Raises:
        IntegrityError: a new sweep is damaged, or old ones are not listed any more, so that nobody can say; the snapshot is not confirmed then.
    """
    seen, dead = base.sweeps, base.packs
    while True:
        safe = state.outside(dead) if dead else needed
        log = list_collections(repository.store)
        if not seen <= log.sweeps:
            raise IntegrityError("a listing lacks records that are never removed: whether this backup is whole can not be known", object_name="gc/")
        records = log.read(repository.store, state, repository.repository, repository.key.public, sorted(log.sweeps - seen))
        if not records:
            return not needed <= safe
        if any(snapshot in record.expired or snapshot in record.removed for record in records):
            return True
        seen, dead = log.sweeps, dead | named_packs(records)
