"""Collections: the marks, sweeps and done records in ``gc/``, by which hosts and maintainers know of each other without locks.

Invariant: what is read here was signed by a maintainer of this repository, and its name is repeated in it. docs/format.md, sections "Collection" and
"Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from seedcorn.crypto.keys import PublicKeys
from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import CheckpointRef, CollectionRecord, SnapshotRef, Stage
from seedcorn.format.names import CollectionName, collection_key, is_probe_key, parse_collection_key
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import CollectionId, HostId, PackId, RepositoryId
from seedcorn.repo.records import build_record, open_record, read_small
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["CollectionLog", "Collections", "Mark", "Pack", "build_collection", "list_collections", "named_packs", "open_collection"]

Pack = tuple[HostId, PackId]


@dataclass(frozen=True, slots=True)
class CollectionLog:
    """What one LIST of ``gc/`` gave: every record by its name, and the keys of probes that were left behind."""

    records: dict[CollectionName, ObjectInfo]
    probes: tuple[str, ...] = ()

    @property
    def sweeps(self) -> frozenset[CollectionName]:
        """All sweeps, done or not: the base of a session."""
        return frozenset(name for name in self.records if name.stage is Stage.SWEEP)

    @property
    def next_number(self) -> int:
        return max((name.number for name in self.records), default=0) + 1

    def read(
        self, store: Store, state: State | None, repository: RepositoryId, public: PublicKeys, names: Iterable[CollectionName]
    ) -> list[CollectionRecord]:
        """The records of these names; a mark that has been deleted since it was listed is left out.

        Raises:
            IntegrityError: one is damaged or not there: nobody can say then what is about to be deleted.
        """
        found = []
        for name in names:
            info = self.records[name]
            try:
                found.append(read_small(store, state, info, Magic.COLLECTION, partial(open_collection, name, repository, public)))
            except ObjectNotFoundError as error:
                if name.stage is not Stage.MARK:
                    raise IntegrityError("is listed and not there, though it is never removed", object_name=info.key) from error
        return found

    def read_all(self, store: Store, state: State | None, repository: RepositoryId, public: PublicKeys) -> Collections:
        """Every record; without ``state`` each is fetched anew.

        A damaged sweep is a problem: nobody can say then what has been or will be deleted. A damaged mark says nothing, and whose done record is
        damaged counts as unfinished: a collection that was cut off leaves the same, and it gives nothing up.
        """
        marks: list[Mark] = []
        sweeps: list[CollectionRecord] = []
        done: dict[bytes, CollectionRecord] = {}
        problems: list[IntegrityError] = []
        oddities: list[IntegrityError] = []
        for name, info in sorted(self.records.items(), key=lambda item: item[0]):
            try:
                records = self.read(store, state, repository, public, [name])
            except IntegrityError as error:
                (problems if name.stage is Stage.SWEEP else oddities).append(error)
                records = []
                if name.stage is Stage.MARK:
                    records = [
                        CollectionRecord(repository=repository, number=name.number, collection=name.collection, stage=name.stage, relocations=())
                    ]
            for record in records:
                if record.stage is Stage.MARK:
                    marks.append(Mark(info.key, record, info.modified_ns))
                elif record.stage is Stage.SWEEP:
                    sweeps.append(record)
                else:
                    done[record.collection] = record
        return Collections(tuple(marks), tuple(sweeps), done, self.next_number, self.probes, tuple(problems), tuple(oddities))


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark and when the store says it was put."""

    key: str
    record: CollectionRecord
    stored_ns: int


@dataclass(frozen=True, slots=True)
class Collections:
    """Everything that ``gc/`` says. ``done`` are the records that say what finished sweeps have kept, by collection id. ``problems`` are damaged
    sweeps, ``oddities`` other damaged records."""

    marks: tuple[Mark, ...]
    sweeps: tuple[CollectionRecord, ...]
    done: dict[bytes, CollectionRecord]
    next_number: int
    probes: tuple[str, ...] = ()
    problems: tuple[IntegrityError, ...] = ()
    oddities: tuple[IntegrityError, ...] = ()

    @property
    def unfinished_sweeps(self) -> tuple[CollectionRecord, ...]:
        return tuple(record for record in self.sweeps if record.collection not in self.done)

    def swept(self, *, but: bytes = b"") -> frozenset[Pack]:
        """What is deleted or may be: the packs of every sweep (other than ``but``) that it has not, when it was done, said to keep."""
        taken: set[Pack] = set()
        for record in self.sweeps:
            if record.collection != but:
                done = self.done.get(record.collection)
                taken |= named_packs([record]) - (named_packs([done]) if done else set())
        return frozenset(taken)

    @property
    def expired(self) -> frozenset[SnapshotRef]:
        return frozenset(ref for record in self.sweeps for ref in record.expired)

    @property
    def expired_checkpoints(self) -> frozenset[CheckpointRef]:
        return frozenset(ref for record in self.sweeps for ref in record.expired_checkpoints)

    @property
    def removed(self) -> frozenset[SnapshotRef]:
        return frozenset(ref for record in self.sweeps for ref in record.removed)

    def taken_frames(self, relocations: Collection[bytes]) -> Iterator[tuple[tuple[NeededFrames, ...], tuple[NeededFrames, ...]]]:
        """Of each sweep the frames that it has named, and those of them that it has kept; of none that went by others than these relocations: what
        it took may be what a snapshot needs that was relocated."""
        for record in self.sweeps:
            if not set(record.relocations).issubset(relocations):
                continue
            done = self.done.get(record.collection)
            yield record.frames, done.frames if done else ()


def list_collections(store: Store) -> CollectionLog:
    """One LIST."""
    infos = list(store.list("gc/"))
    named = ((parse_collection_key(info.key), info) for info in infos)
    return CollectionLog({name: info for name, info in named if name is not None}, tuple(info.key for info in infos if is_probe_key(info.key)))


def named_packs(records: Iterable[CollectionRecord]) -> set[Pack]:
    """Every pack that these records name."""
    return {(HostId(of_host.host), PackId(pack)) for record in records for of_host in record.packs for pack in of_host.packs}


def build_collection(record: CollectionRecord, sign: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    """(store key, bytes) of a signed record."""
    return collection_key(record.number, CollectionId(record.collection), record.stage), build_record(Magic.COLLECTION, record, sign)


def open_collection(name: CollectionName, repository: RepositoryId, public: PublicKeys, data: bytes) -> CollectionRecord:
    """Verify and open one record.

    Raises:
        IntegrityError: with what is wrong.
    """
    record = open_record(Magic.COLLECTION, data, CollectionRecord, public.maintain_sign)
    if record.repository != repository or CollectionName(record.number, CollectionId(record.collection), record.stage) != name:
        raise IntegrityError("belongs to another collection or repository, or has been moved")
    return record
