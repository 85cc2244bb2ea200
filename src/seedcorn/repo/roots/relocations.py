"""Relocations: what snapshots need in place of what they say themselves, since the owner has written the chunks of poor frames anew.

Owns which of them rules for a snapshot, and how long one that was announced and is not done keeps what it names. Invariants: only what the owner
signed counts; records are never removed, so a listing that lacks one is a problem and not believed: what it says would look lost, and be collected.

docs/format.md, section "Relocation".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import msgspec

from seedcorn.crypto.keys import OwnerKey, PublicKeys
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import SnapshotRef
from seedcorn.format.names import RelocationName, parse_relocation_key, relocation_key
from seedcorn.format.relocation import RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import RelocationId, RepositoryId
from seedcorn.repo.records import build_record, open_record, read_small
from seedcorn.repo.state.state import State
from seedcorn.store.api import Store

__all__ = ["NO_RELOCATIONS", "ROOM", "Relocation", "Relocations", "build_relocation", "open_relocation", "read_relocations"]

ROOM = "relocations/"
_SEEN = "relocations"


@dataclass(frozen=True)
class Relocation:
    """One that was announced, and whether it is done: only then it rules."""

    key: str
    record: RelocationRecord
    is_done: bool

    @property
    def order(self) -> tuple[int, bytes]:
        """The higher one rules."""
        return self.record.number, self.record.relocation

    @cached_property
    def needed(self) -> dict[SnapshotRef, tuple[NeededFrames, ...]]:
        """What each snapshot that it names needs."""
        frames = self.record.frames
        return {snapshot.ref: tuple(frames[place] for place in snapshot.needed) for snapshot in self.record.snapshots}


@dataclass(frozen=True)
class Relocations:
    """Everything that ``relocations/`` says, by number; ``names`` are those of all records, good or not."""

    announced: tuple[Relocation, ...] = ()
    names: frozenset[RelocationName] = frozenset()
    problems: tuple[IntegrityError, ...] = ()

    @property
    def done(self) -> frozenset[bytes]:
        """The ids of those that are done."""
        return frozenset(relocation.record.relocation for relocation in self.announced if relocation.is_done)

    @property
    def next_number(self) -> int:
        return max((name.number for name in self.names), default=0) + 1

    @cached_property
    def ruling(self) -> dict[SnapshotRef, Relocation]:
        """By snapshot, the one that says what it needs."""
        return {ref: relocation for relocation in self.announced if relocation.is_done for ref in relocation.needed}

    def pending(self, roots: Collection[SnapshotRef]) -> list[Relocation]:
        """Those that may yet be done: of at least one of ``roots`` none rules that would go before it."""
        return [
            relocation
            for relocation in self.announced
            if any(ref in roots and (ref not in self.ruling or self.ruling[ref].order < relocation.order) for ref in relocation.needed)
        ]


NO_RELOCATIONS = Relocations()


def read_relocations(store: Store, state: State | None, repository: RepositoryId, public: PublicKeys) -> Relocations:
    """One LIST, and a GET for each record that the state does not have; without ``state`` each is fetched anew and nothing is remembered."""
    listed = {name: info for info in store.list(ROOM) if (name := parse_relocation_key(info.key))}
    records: dict[RelocationName, RelocationRecord] = {}
    problems: list[IntegrityError] = []
    for name, info in sorted(listed.items(), key=lambda item: item[0]):
        try:
            records[name] = read_small(store, state, info, Magic.RELOCATION, partial(open_relocation, name, repository, public))
        except IntegrityError as error:
            problems.append(error)
    if state is not None:
        problems += _remember(state, listed, records)
    done = {name.relocation for name in records if name.stage is RelocationStage.DONE}
    stages = ((name, record) for name, record in records.items() if name.stage is RelocationStage.ANNOUNCED)
    announced = tuple(Relocation(listed[name].key, record, name.relocation in done) for name, record in stages)
    return Relocations(announced, frozenset(listed), (*problems, *_what_is_missing(announced, done, listed)))


def open_relocation(name: RelocationName, repository: RepositoryId, public: PublicKeys, data: bytes) -> RelocationRecord:
    """Verify and open one record.

    Raises:
        IntegrityError: with what is wrong.
    """
    record = open_record(Magic.RELOCATION, data, RelocationRecord, public.owner_sign)
    if record.repository != repository or RelocationName(record.number, RelocationId(record.relocation), record.stage) != name:
        raise IntegrityError("belongs to another relocation or repository, or has been moved")
    if any(not 0 <= place < len(record.frames) for snapshot in record.snapshots for place in snapshot.needed):
        raise IntegrityError("names frames that are not in it")
    return record


def build_relocation(record: RelocationRecord, key: OwnerKey) -> tuple[str, bytes]:
    """(store key, bytes) of a signed record."""
    return _key(RelocationName(record.number, RelocationId(record.relocation), record.stage)), build_record(Magic.RELOCATION, record, key.sign)


def _remember(state: State, listed: Collection[RelocationName], good: Iterable[RelocationName]) -> list[IntegrityError]:
    """Keep what has been seen, by key; a problem if something of it is not listed any more."""
    packed = state.fact(_SEEN)
    seen = msgspec.msgpack.decode(packed, type=set[str]) if packed else set()
    if now := seen.union(_key(name) for name in good) - seen:
        state.remember(_SEEN, msgspec.msgpack.encode(sorted(seen | now)))
    if seen <= {_key(name) for name in listed}:
        return []
    return [IntegrityError("a listing lacks records that are never removed", object_name=ROOM)]


def _what_is_missing(announced: Sequence[Relocation], done: Collection[bytes], listed: Iterable[RelocationName]) -> list[IntegrityError]:
    """One problem for each that is said to be done, by its own record or by a later one, and is not there whole."""
    known = {relocation.record.relocation for relocation in announced}
    problems = [
        IntegrityError("is done, and the record that says what it did is missing", object_name=_key(name))
        for name in listed
        if name.relocation in done and name.relocation not in known
    ]
    return problems + [
        IntegrityError("names one before it that is missing", object_name=relocation.key)
        for relocation in announced
        if not set(relocation.record.earlier) <= set(done)
    ]


def _key(name: RelocationName) -> str:
    return relocation_key(name.number, name.relocation, name.stage)
