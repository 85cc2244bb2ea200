"""What everything else is kept for: snapshots with their standing, and checkpoints, read with a maintainer's key and without the owner's.

Owns what is read and what is wrong with the history: objects that do not open, gaps that nothing explains, receipts without a snapshot, heads that
have moved back. Must never know names or content: the owner's part of a snapshot stays sealed here.

Invariant: whatever a host puts into its own rooms, the owner can get out of what that stops: by forgetting single snapshots, or by revoking the host.
docs/threat-model.md, "What a host can stop".

Lists in the order ``relocations/``, ``gc/``, ``forget/``, ``receipts/``, ``checkpoints/``, ``snapshots/``: a snapshot is listed after its receipt,
and a sweep before anything that it takes can be missing. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import msgspec

from seedcorn.crypto.keys import PublicKeys
from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import CheckpointMaintain, CheckpointRef, SnapshotRef
from seedcorn.format.names import CollectionName, NumberedKey, parse_checkpoint_key, parse_numbered_key, receipt_key
from seedcorn.format.snapshot import Head, NeededFrames
from seedcorn.ids import HostId, RepositoryId
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import read_small
from seedcorn.repo.roots.chains import (
    Gaps,
    Heads,
    HistoryNames,
    Link,
    check_gaps,
    check_links,
    check_overtaken,
    check_rollback,
    check_twins,
    check_witnesses,
    find_gaps,
    ref_of,
    remember_heads,
    remembered_heads,
)
from seedcorn.repo.roots.checkpoints import open_checkpoint
from seedcorn.repo.roots.collections import Collections, list_collections
from seedcorn.repo.roots.forgetting import ForgetLog, read_forget_log
from seedcorn.repo.roots.receipts import Receipts, read_receipts
from seedcorn.repo.roots.relocations import NO_RELOCATIONS, Relocation, Relocations, read_relocations
from seedcorn.repo.roots.snapshots import open_snapshot
from seedcorn.repo.roots.standings import (
    RootCheckpoint,
    RootSnapshot,
    Said,
    Standing,
    UnreadableSnapshot,
    judge_checkpoints,
    judge_snapshots,
    judge_unreadable,
    key_of,
    way_out,
)
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["RootCheckpoint", "RootKey", "RootRepository", "RootSnapshot", "Roots", "RootsReader", "Standing", "UnreadableSnapshot"]

_NOTHING = CheckpointMaintain(0, b"", ())
_TRIES = 2  # a collection that ran while we listed explains in the second reading what was missing in the first


class RootKey(Protocol):
    """What maintainers hold, and the owner too."""

    @property
    def public(self) -> PublicKeys: ...

    def open_maintain(self, info: bytes, sealed: bytes) -> bytes: ...


class RootRepository(Protocol):
    """A repository opened as maintainer or owner."""

    @property
    def store(self) -> Store: ...

    @property
    def repository(self) -> RepositoryId: ...

    @property
    def key(self) -> RootKey: ...


@dataclass(frozen=True, slots=True)
class Roots:
    """Everything that was read. ``problems``: something is damaged or missing, so that nobody can say what is needed. ``oddities``: wrong, but what
    is needed is known all the same (a cloned host, a receipt that does not open).

    ``heads`` go by names alone, be they of objects that can be read or not. ``missing`` are snapshots that are not there and that somebody knows by
    their ids, ``gaps`` the numbers of those that nobody does. ``ignored`` are keys that count for nothing: the owner has revoked their host."""

    snapshots: tuple[RootSnapshot, ...]
    checkpoints: tuple[RootCheckpoint, ...]
    collections: Collections
    receipts: Receipts
    forget_log: ForgetLog
    heads: Heads
    problems: tuple[IntegrityError, ...]
    oddities: tuple[IntegrityError, ...]
    unreadable: tuple[UnreadableSnapshot, ...] = ()
    missing: frozenset[SnapshotRef] = frozenset()
    gaps: Gaps = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    relocations: Relocations = NO_RELOCATIONS

    @property
    def objects(self) -> tuple[RootSnapshot | UnreadableSnapshot, ...]:
        """Every snapshot's object that counts, whether it can be read or not."""
        return (*self.snapshots, *self.unreadable)

    def needs(self) -> Iterator[tuple[RootSnapshot | RootCheckpoint | Relocation, tuple[NeededFrames, ...]]]:
        """Every root and what it needs."""
        for snapshot in self.snapshots:
            if snapshot.standing.is_root:
                yield snapshot, snapshot.maintain.needed
        for checkpoint in self.checkpoints:
            if checkpoint.is_root:
                yield checkpoint, checkpoint.maintain.needed
        for relocation in self.relocations.pending({snapshot.ref for snapshot in self.snapshots if snapshot.standing.is_root}):
            yield relocation, relocation.record.frames

    def announced(self, ref: SnapshotRef) -> Iterator[NeededFrames]:
        """What this snapshot may come to need: a relocation that was announced while it was a root may still be done."""
        for relocation in self.relocations.pending({ref}):
            yield from relocation.needed[ref]

    def is_newest(self, ref: SnapshotRef) -> bool:
        """Whether this is the last snapshot of its host: its object keeps the number from being used again."""
        return self.heads[HostId(ref.host)].seq == ref.seq

    @property
    def explained(self) -> frozenset[SnapshotRef]:
        """The snapshots that may be missing."""
        return frozenset(self.forget_log.forgotten) | self.collections.expired | self.collections.removed | self.receipts.void


class RootsReader:
    """Reads the roots of one repository, as often as it is asked to. Objects never change, so each is opened once.

    Checkpoints are for collectors; who only reads snapshots may do without that listing.
    """

    def __init__(self, repository: RootRepository, state: State, *, checkpoints: bool = True) -> None:
        self._repository = repository
        self._with_checkpoints = checkpoints
        self._state = state
        self._sweeps: frozenset[CollectionName] = frozenset()  # all that have been listed
        self._snapshots: dict[str, RootSnapshot] = {}
        self._checkpoints: dict[str, RootCheckpoint] = {}

    def read(self, registry: HostRegistry) -> Roots:
        """The roots as they are now; the newest snapshots are remembered."""
        for _ in range(_TRIES):
            roots = self._read(registry)
            if not roots.problems:
                break
        doubtful = {problem.object_name for problem in roots.problems}
        newest = {ref.host: Head(ref.host, ref.seq, ref.snapshot) for ref in sorted(snapshot.ref for snapshot in roots.snapshots)}
        sound = {HostId(host): head for host, head in newest.items() if f"snapshots/{host.hex()}" not in doubtful}
        remember_heads(self._state, sound)  # of the others the old ones, so that it goes on being said what is wrong
        return roots

    def _read(self, registry: HostRegistry) -> Roots:
        store, state, repository, public = self._repository.store, self._state, self._repository.repository, self._repository.key.public
        relocations = read_relocations(store, state, repository, public)
        log = list_collections(store)
        collections = log.read_all(store, state, repository, public)
        if not self._sweeps <= log.sweeps:
            error = IntegrityError("a listing lacks records that are never removed", object_name="gc/")
            collections = replace(collections, problems=(*collections.problems, error))
        self._sweeps |= log.sweeps
        forget_log = read_forget_log(store, state, repository, public)
        receipts = read_receipts(store, state, repository, registry)
        oddities = [*collections.oddities, *receipts.problems]
        listed_checkpoints = self._read_checkpoints(registry, oddities) if self._with_checkpoints else []
        listed = self._read_snapshots(registry)
        said = Said(receipts, forget_log.forgotten, collections.expired)
        snapshots = judge_snapshots(_relocated(listed.snapshots, relocations), said)
        counting, noise = _without_noise(listed, registry, forget_log)
        unreadable = judge_unreadable(counting, said)
        checkpoints = judge_checkpoints(listed_checkpoints, snapshots, collections.expired_checkpoints, registry.revoked)
        readable = _names(snapshots)
        heads = {host: Head(host, own[-1].number, own[-1].object_id) for host, own in _names([*snapshots, *unreadable]).items()}
        ignored = (*listed.ignored, *noise)
        roots = Roots(snapshots, checkpoints, collections, receipts, forget_log, heads, (), (), unreadable, ignored=ignored, relocations=relocations)
        lack = _what_is_missing(roots, registry, remembered_heads(state))
        problems = [*registry.problems, *relocations.problems, *collections.problems, *forget_log.problems]
        problems += [one.problem for one in unreadable if one.standing is Standing.UNREADABLE]
        problems += [*lack.problems, *self._vanished_receipts(roots)]
        oddities += check_twins(_receipted(readable, receipts))
        oddities += check_links([Link(snapshot.key, snapshot.public) for snapshot in snapshots], readable)
        return replace(roots, problems=tuple(problems), oddities=tuple(oddities), missing=lack.missing, gaps=lack.gaps)

    def _read_snapshots(self, registry: HostRegistry) -> _Listed:
        listed = _Listed([], [], [])
        for info in self._repository.store.list("snapshots/"):
            name = parse_numbered_key(info.key)
            if name is None:
                continue
            if not registry.counts(name.host, name.number):
                listed.ignored.append(info.key)
                continue
            try:
                listed.snapshots.append(self._snapshot(info, name, registry))
            except IntegrityError as error:
                ref = SnapshotRef(name.host, name.number, name.object_id)
                listed.unreadable.append(UnreadableSnapshot(ref, info.key, info.size_bytes, info.modified_ns, error.message))
            except ObjectNotFoundError:  # a collection has just removed it
                continue
        return listed

    def _snapshot(self, info: ObjectInfo, name: NumberedKey, registry: HostRegistry) -> RootSnapshot:
        if info.key not in self._snapshots:
            repository = self._repository
            open_one = partial(open_snapshot, name, repository.repository, repository.key.open_maintain, registry)
            opened = read_small(repository.store, self._state, info, Magic.SNAPSHOT, open_one)
            ref = SnapshotRef(name.host, name.number, name.object_id)
            self._snapshots[info.key] = RootSnapshot(ref, info.key, opened.public, opened.maintain, opened.parts, info.modified_ns)
        return self._snapshots[info.key]

    def _vanished_receipts(self, roots: Roots) -> list[IntegrityError]:
        """One problem for each receipt that this machine has fetched once and that is not listed with its snapshot.

        Not of a snapshot that was forgotten or taken back: a collection deletes the two one after the other, and may be cut off in between.
        """
        problems = []
        listed = roots.receipts.receipted | roots.receipts.doubtful
        for root in roots.snapshots:
            if root.ref in listed or root.ref in roots.forget_log.forgotten:
                continue
            receipt, void = (receipt_key(HostId(root.ref.host), root.ref.seq, root.id, void=void) for void in (False, True))
            if self._state.cached_object(receipt) is not None and self._state.cached_object(void) is None:
                problems.append(IntegrityError("has been seen, and is gone although its snapshot is not", object_name=receipt))
        return problems

    def _read_checkpoints(self, registry: HostRegistry, oddities: list[IntegrityError]) -> list[RootCheckpoint]:
        """Of each session the newest. One that does not open needs nothing (a checkpoint saves work; safety is in the commit of the snapshot), and
        neither does one of a revoked host."""
        by_session: dict[CheckpointRef, list[ObjectInfo]] = defaultdict(list)  # by number, as listed
        for info in self._repository.store.list("checkpoints/"):
            name = parse_checkpoint_key(info.key)
            if name:
                by_session[CheckpointRef(name.host, name.session)].append(info)
        checkpoints, revoked = [], registry.revoked
        for ref, infos in by_session.items():
            newest = RootCheckpoint(ref, infos[-1].key, (), _NOTHING, infos[-1].modified_ns)
            try:
                if ref.host not in revoked:
                    newest = self._checkpoint(infos[-1], ref, registry)
            except IntegrityError as error:
                oddities.append(error)
            except ObjectNotFoundError:
                continue
            checkpoints.append(replace(newest, older=tuple(info.key for info in infos[:-1])))
        return checkpoints

    def _checkpoint(self, info: ObjectInfo, ref: CheckpointRef, registry: HostRegistry) -> RootCheckpoint:
        if info.key not in self._checkpoints:
            name = parse_checkpoint_key(info.key)
            assert name is not None, "it has been listed by its name"
            repository = self._repository
            open_one = partial(open_checkpoint, name, repository.repository, repository.key.open_maintain, registry)
            maintain = read_small(repository.store, self._state, info, Magic.CHECKPOINT, open_one)
            self._checkpoints[info.key] = RootCheckpoint(ref, info.key, (), maintain, info.modified_ns)
        return self._checkpoints[info.key]


@dataclass(frozen=True, slots=True)
class _Listed:
    """What there is under ``snapshots/``: what opens, what does not, and the keys of what comes after the last number of a revoked host."""

    snapshots: list[RootSnapshot]
    unreadable: list[UnreadableSnapshot]
    ignored: list[str]


def _without_noise(listed: _Listed, registry: HostRegistry, forget_log: ForgetLog) -> tuple[list[UnreadableSnapshot], list[str]]:
    """(the unreadable objects that count, the keys of the others). Of a revoked host only those count that a signed snapshot names as the one before
    it: what else may have been there is a gap up to its last number."""
    linked = {SnapshotRef(one.ref.host, one.ref.seq - 1, one.public.previous) for one in listed.snapshots}
    revoked = registry.revoked
    counting, noise = [], []
    for one in listed.unreadable:
        if one.ref.host in revoked and one.ref not in linked and one.ref not in forget_log.forgotten:
            noise.append(one.key)
        else:
            counting.append(one)
    return counting, noise


def _names(objects: Iterable[RootSnapshot | UnreadableSnapshot]) -> HistoryNames:
    names: dict[HostId, list[NumberedKey]] = defaultdict(list)
    for ref in sorted(one.ref for one in objects):
        names[HostId(ref.host)].append(NumberedKey(HostId(ref.host), ref.seq, ref.snapshot))
    return names


@dataclass(frozen=True, slots=True)
class _Lack:
    """What must be there and is not."""

    problems: list[IntegrityError]
    missing: frozenset[SnapshotRef]
    gaps: Gaps


def _what_is_missing(roots: Roots, registry: HostRegistry, remembered: Heads) -> _Lack:
    """Snapshots that must be there, are not, and that no forget record, sweep or void record explains."""
    names, revoked = _names(roots.objects), registry.revoked
    known = roots.explained.union(one.ref for one in roots.objects)
    counting = {host: head for host, head in remembered.items() if registry.counts(host, head.seq)}
    seen = {ref_of(head) for head in counting.values()}
    unseen = {host: head for host, head in counting.items() if ref_of(head) not in known}
    receipted = {ref for ref in roots.receipts.receipted - known if ref.host not in revoked}  # of those the last number says what must be there
    witnessed = {ref_of(head) for snapshot in roots.snapshots for head in snapshot.maintain.heads} - known - _refs(roots.ignored)
    witnessed = {ref for ref in witnessed if _is_name(ref) and registry.counts(HostId(ref.host), ref.seq)}
    gaps = find_gaps(_last_numbers(roots, registry, seen & known), known)
    problems = [
        IntegrityError(f"has a receipt, and is gone without having been forgotten; {way_out(key_of(ref))}", object_name=key_of(ref))
        for ref in sorted(receipted)
    ]
    problems += check_gaps(gaps) + check_witnesses(witnessed) + check_rollback(unseen, roots.heads)
    problems += check_overtaken(counting, names, known).values()
    return _Lack(problems, frozenset((seen - known) | receipted | witnessed), gaps)


def _last_numbers(roots: Roots, registry: HostRegistry, seen: Collection[SnapshotRef]) -> dict[HostId, int]:
    """The highest number of each host that something signed, or this machine's memory, vouches for: a name alone proves nothing."""
    vouched = [*(one.ref for one in roots.snapshots), *(one.ref for one in roots.unreadable if one.ref in roots.receipts.receipted), *seen]
    last = {HostId(ref.host): ref.seq for ref in sorted(vouched)}
    return last | {host: registry.hosts[host].public.last_seq for host in registry.revoked}


def _is_name(ref: SnapshotRef) -> bool:
    """Whether a snapshot can be called so: a host may claim to have seen anything."""
    with suppress(IntegrityError):
        return parse_numbered_key(key_of(ref)) is not None
    return False


def _refs(keys: Iterable[str]) -> set[SnapshotRef]:
    """Hosts see names, and can not tell what counts."""
    return {SnapshotRef(name.host, name.number, name.object_id) for key in keys if (name := parse_numbered_key(key))}


def _receipted(names: HistoryNames, receipts: Receipts) -> HistoryNames:
    """Without snapshots that have no receipt: a put that was given up may arrive after its number has been used again, and is nobody's clone."""
    return {host: [name for name in own if SnapshotRef(host, name.number, name.object_id) in receipts.receipted] for host, own in names.items()}


def _relocated(snapshots: Sequence[RootSnapshot], relocations: Relocations) -> tuple[RootSnapshot, ...]:
    """The same with what each of them needs now."""
    needed = {ref: relocation.needed[ref] for ref, relocation in relocations.ruling.items()}

    def relocated(snapshot: RootSnapshot) -> RootSnapshot:
        if snapshot.ref not in needed:
            return snapshot
        return replace(snapshot, maintain=msgspec.structs.replace(snapshot.maintain, needed=needed[snapshot.ref]))

    return tuple(map(relocated, snapshots))
