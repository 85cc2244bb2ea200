"""Collections: the marks, sweeps and done records in ``gc/``, by which hosts and maintainers know of each other without locks.

Invariant: what is read here was signed by a maintainer of this repository, and its name is repeated in it. docs/format.md, sections "Collection" and
"Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from seedcorn.crypto.keys import PublicKeys
from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import CollectionRecord, Stage
from seedcorn.format.names import CollectionName, parse_collection_key
from seedcorn.ids import CollectionId, HostId, PackId, RepositoryId
from seedcorn.repo.records import fetch_small, open_record
from seedcorn.repo.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["CollectionLog", "list_collections", "named_packs"]

Pack = tuple[HostId, PackId]


@dataclass(frozen=True, slots=True)
class CollectionLog:
    """What one LIST of ``gc/`` gave: every record by its name."""

    records: dict[CollectionName, ObjectInfo]

    @property
    def sweeps(self) -> frozenset[CollectionName]:
        """All sweeps, done or not: the base of a session."""
        return frozenset(name for name in self.records if name.stage is Stage.SWEEP)

    @property
    def unfinished(self) -> list[CollectionName]:
        """Marks and sweeps of collections that are not done; whoever is not part of the collection relies on no pack that they name."""
        return sorted(name for name in self.records if name.stage is not Stage.DONE and not self.is_done(name))

    @property
    def next_number(self) -> int:
        return max((name.number for name in self.records), default=0) + 1

    def is_done(self, name: CollectionName) -> bool:
        """Whether the collection of which this is a record has ended."""
        return CollectionName(name.number, name.collection, Stage.DONE) in self.records

    def read(
        self, store: Store, state: State, repository: RepositoryId, public: PublicKeys, names: Iterable[CollectionName]
    ) -> list[CollectionRecord]:
        """The records of these names; a mark that has been removed since it was listed is left out, for its collection is done.

        Raises:
            IntegrityError: one is damaged: nobody can say then what is about to be deleted.
        """
        found = []
        for name in names:
            info = self.records[name]
            with suppress(ObjectNotFoundError):
                try:
                    found.append(_read_one(store, state, info, name, repository, public))
                except IntegrityError as error:
                    raise error.named(info.key) from error
        return found


def list_collections(store: Store) -> CollectionLog:
    """One LIST."""
    named = ((parse_collection_key(info.key), info) for info in store.list("gc/"))
    return CollectionLog({name: info for name, info in named if name is not None})


def named_packs(records: Iterable[CollectionRecord]) -> set[Pack]:
    """Every pack that these records name."""
    return {(HostId(of_host.host), PackId(pack)) for record in records for of_host in record.packs for pack in of_host.packs}


def _read_one(store: Store, state: State, info: ObjectInfo, name: CollectionName, repository: RepositoryId, public: PublicKeys) -> CollectionRecord:
    data = fetch_small(store, state, info, Magic.COLLECTION)
    record = open_record(Magic.COLLECTION, data, CollectionRecord, public.maintain_sign)
    if record.repository != repository or CollectionName(record.number, CollectionId(record.collection), record.stage) != name:
        raise IntegrityError("belongs to another collection or repository, or has been moved")
    state.cache_object(info.key, data)
    return record
