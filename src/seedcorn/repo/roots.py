"""What everything else is kept for: snapshots with their standing, and checkpoints, read with a maintainer's key and without the owner's.

Owns which snapshots count, and what is wrong with the history: objects that do not open, gaps that nothing explains, receipts without a snapshot,
heads that have moved back. Must never know names or content: the owner's part of a snapshot stays sealed here.

Lists in the order ``gc/``, ``forget/``, ``receipts/``, ``checkpoints/``, ``snapshots/``: a snapshot is listed after its receipt, and a sweep before
anything that it takes can be missing. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import PublicKeys
from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.collection import CheckpointMaintain, CheckpointPublic, CheckpointRef, SnapshotRef
from seedcorn.format.names import CheckpointName, CollectionName, NumberedKey, parse_checkpoint_key, parse_numbered_key, receipt_key, snapshot_key
from seedcorn.format.snapshot import Head, NeededFrames, SnapshotMaintain, SnapshotPublic
from seedcorn.ids import HostId, RepositoryId, SnapshotId
from seedcorn.repo.bindings import checkpoint_maintain_binding, snapshot_maintain_binding
from seedcorn.repo.chains import (
    Heads,
    HistoryNames,
    Link,
    check_gaps,
    check_links,
    check_overtaken,
    check_rollback,
    check_twins,
    check_witnesses,
    remember_heads,
    remembered_heads,
)
from seedcorn.repo.collections import Collections, list_collections
from seedcorn.repo.forgetting import ForgetLog, read_forget_log
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.receipts import Receipts, read_receipts
from seedcorn.repo.records import fetch_small
from seedcorn.repo.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["RootCheckpoint", "RootKey", "RootRepository", "RootSnapshot", "Roots", "RootsReader", "Standing"]

T = TypeVar("T")
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


class Standing(enum.Enum):
    """What a snapshot is worth. The first three are roots: what they need is kept."""

    CONFIRMED = "confirmed"
    TORN = "torn"  # confirmed, but a collection has taken frames of it: its host never reported success
    UNCONFIRMED = "unconfirmed"  # its host has not said yet that it is whole
    SUPERSEDED = "superseded"  # unconfirmed, and a later one of its group is confirmed
    EXPIRED = "expired"  # unconfirmed for longer than a collection waits
    VOID = "void"  # its host has taken it back
    FORGOTTEN = "forgotten"

    @property
    def is_root(self) -> bool:
        return self in (Standing.CONFIRMED, Standing.TORN, Standing.UNCONFIRMED)


@dataclass(frozen=True, slots=True)
class RootSnapshot:
    """A verified snapshot as a maintainer sees it. ``parts`` are as stored: public, for maintainers, for the owner."""

    ref: SnapshotRef
    key: str
    public: SnapshotPublic
    maintain: SnapshotMaintain
    parts: tuple[bytes, ...]
    stored_ns: int
    standing: Standing = Standing.UNCONFIRMED

    @property
    def id(self) -> SnapshotId:
        return SnapshotId(self.ref.snapshot)


@dataclass(frozen=True, slots=True)
class RootCheckpoint:
    """The newest checkpoint of one session, and the keys of those before it. ``is_root``: the session may still be running."""

    ref: CheckpointRef
    key: str
    older: tuple[str, ...]
    maintain: CheckpointMaintain
    stored_ns: int
    is_root: bool = True


@dataclass(frozen=True, slots=True)
class Roots:
    """Everything that was read. ``problems``: something is damaged or missing, so that nobody can say what is needed. ``oddities``: wrong, but what
    is needed is known all the same (a cloned host, a snapshot written after its host was revoked)."""

    snapshots: tuple[RootSnapshot, ...]
    checkpoints: tuple[RootCheckpoint, ...]
    collections: Collections
    receipts: Receipts
    forget_log: ForgetLog
    heads: Heads
    problems: tuple[IntegrityError, ...]
    oddities: tuple[IntegrityError, ...]

    def needs(self) -> Iterator[tuple[RootSnapshot | RootCheckpoint, tuple[NeededFrames, ...]]]:
        """Every root and what it needs."""
        for snapshot in self.snapshots:
            if snapshot.standing.is_root:
                yield snapshot, snapshot.maintain.needed
        for checkpoint in self.checkpoints:
            if checkpoint.is_root:
                yield checkpoint, checkpoint.maintain.needed

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
        sound = {host: head for host, head in roots.heads.items() if f"snapshots/{host.hex()}" not in doubtful}
        remember_heads(self._state, sound)  # of the others the old ones, so that it goes on being said what is wrong
        return roots

    def _read(self, registry: HostRegistry) -> Roots:
        store, state, repository, public = self._repository.store, self._state, self._repository.repository, self._repository.key.public
        log = list_collections(store)
        collections = log.read_all(store, state, repository, public)
        if not self._sweeps <= log.sweeps:
            error = IntegrityError("a listing lacks records that are never removed", object_name="gc/")
            collections = replace(collections, problems=(*collections.problems, error))
        self._sweeps |= log.sweeps
        forget_log = read_forget_log(store, state, repository, public)
        receipts = read_receipts(store, state, repository, registry)
        problems = [*registry.problems, *collections.problems, *forget_log.problems, *receipts.problems]
        oddities: list[IntegrityError] = []
        listed_checkpoints = self._read_checkpoints(registry, problems) if self._with_checkpoints else []
        names, snapshots = self._read_snapshots(registry, problems, oddities)
        heads = {host: Head(host, own[-1].number, own[-1].object_id) for host, own in names.items()}
        roots = Roots(tuple(snapshots), (), collections, receipts, forget_log, heads, (), ())
        problems += _what_is_missing(roots, names, remembered_heads(state))
        problems += self._vanished_receipts(roots)
        oddities += check_twins(_receipted(names, receipts)) + check_links([Link(snapshot.key, snapshot.public) for snapshot in snapshots], names)
        judged = _judged(roots)
        checkpoints = _judged_checkpoints(listed_checkpoints, judged, collections)
        return replace(roots, snapshots=judged, checkpoints=checkpoints, problems=tuple(problems), oddities=tuple(oddities))

    def _read_snapshots(
        self, registry: HostRegistry, problems: list[IntegrityError], oddities: list[IntegrityError]
    ) -> tuple[HistoryNames, list[RootSnapshot]]:
        names: dict[HostId, list[NumberedKey]] = defaultdict(list)
        snapshots: list[RootSnapshot] = []
        for info in self._repository.store.list("snapshots/"):
            name = parse_numbered_key(info.key)
            if name is None:
                continue
            names[name.host].append(name)
            enrolled = registry.hosts.get(name.host)
            if enrolled and enrolled.revoked and name.number > enrolled.public.last_seq:
                oddities.append(IntegrityError("was written after its host had been revoked", object_name=info.key))
                continue
            try:
                snapshots.append(self._snapshot(info, name, registry))
            except IntegrityError as error:
                problems.append(error.named(info.key))
            except ObjectNotFoundError:  # a collection has just removed it
                names[name.host].pop()
        return {host: own for host, own in names.items() if own}, snapshots

    def _snapshot(self, info: ObjectInfo, name: NumberedKey, registry: HostRegistry) -> RootSnapshot:
        if info.key not in self._snapshots:
            data = fetch_small(self._repository.store, self._state, info, Magic.SNAPSHOT)
            self._snapshots[info.key] = self._open_snapshot(data, info, name, registry)
            self._state.cache_object(info.key, data)
        return self._snapshots[info.key]

    def _open_snapshot(self, data: bytes, info: ObjectInfo, name: NumberedKey, registry: HostRegistry) -> RootSnapshot:
        if primitives.object_hash(data) != name.object_id:
            raise IntegrityError("its bytes do not match the hash in its name")
        envelope = Envelope.parse(Magic.SNAPSHOT, data)
        registry.verify(Magic.SNAPSHOT, name.host, envelope)
        public = decode(envelope.parts[0], SnapshotPublic)
        if public.repository != self._repository.repository or public.host != name.host or public.seq != name.number:
            raise IntegrityError("belongs to another repository or host, or has been moved")
        maintain = self._open(snapshot_maintain_binding, envelope, SnapshotMaintain)
        ref = SnapshotRef(name.host, name.number, name.object_id)
        return RootSnapshot(ref, info.key, public, maintain, envelope.parts, info.modified_ns)

    def _vanished_receipts(self, roots: Roots) -> list[IntegrityError]:
        """One problem for each receipt that this machine has fetched once and that is not listed with its snapshot.

        Not of a snapshot that was forgotten or taken back: a collection deletes the two one after the other, and may be cut off in between.
        """
        problems = []
        for root in roots.snapshots:
            if root.ref in roots.receipts.receipted or root.ref in roots.forget_log.forgotten:
                continue
            receipt, void = (receipt_key(HostId(root.ref.host), root.ref.seq, root.id, void=void) for void in (False, True))
            if self._state.cached_object(receipt) is not None and self._state.cached_object(void) is None:
                problems.append(IntegrityError("has been seen, and is gone although its snapshot is not", object_name=receipt))
        return problems

    def _read_checkpoints(self, registry: HostRegistry, problems: list[IntegrityError]) -> list[RootCheckpoint]:
        by_session: dict[CheckpointRef, list[ObjectInfo]] = defaultdict(list)  # by number, as listed
        for info in self._repository.store.list("checkpoints/"):
            name = parse_checkpoint_key(info.key)
            if name:
                by_session[CheckpointRef(name.host, name.session)].append(info)
        checkpoints = []
        for ref, infos in by_session.items():
            try:
                newest = self._checkpoint(infos[-1], ref, registry)
                checkpoints.append(replace(newest, older=tuple(info.key for info in infos[:-1])))
            except IntegrityError as error:
                problems.append(error.named(infos[-1].key))
            except ObjectNotFoundError:
                continue
        return checkpoints

    def _checkpoint(self, info: ObjectInfo, ref: CheckpointRef, registry: HostRegistry) -> RootCheckpoint:
        if info.key not in self._checkpoints:
            name = parse_checkpoint_key(info.key)
            assert name is not None
            data = fetch_small(self._repository.store, self._state, info, Magic.CHECKPOINT)
            maintain = self._open_checkpoint(data, name, registry)
            self._checkpoints[info.key] = RootCheckpoint(ref, info.key, (), maintain, info.modified_ns)
            self._state.cache_object(info.key, data)
        return self._checkpoints[info.key]

    def _open_checkpoint(self, data: bytes, name: CheckpointName, registry: HostRegistry) -> CheckpointMaintain:
        envelope = Envelope.parse(Magic.CHECKPOINT, data)
        registry.verify(Magic.CHECKPOINT, name.host, envelope)
        public = decode(envelope.parts[0], CheckpointPublic)
        if public.repository != self._repository.repository or (public.host, public.session, public.number) != (name.host, name.session, name.number):
            raise IntegrityError("belongs to another repository or session, or has been moved")
        return self._open(checkpoint_maintain_binding, envelope, CheckpointMaintain)

    def _open(self, binding: Callable[[bytes], bytes], envelope: Envelope, kind: type[T]) -> T:
        public_part, sealed = envelope.parts[:2]
        return decode(self._repository.key.open_maintain(binding(public_part), sealed), kind)


def _what_is_missing(roots: Roots, names: HistoryNames, remembered: Heads) -> list[IntegrityError]:
    """Snapshots that must be there, are not, and that no forget record, sweep or void record explains."""
    explained = roots.explained
    listed = {SnapshotRef(host, name.number, name.object_id) for host, own in names.items() for name in own}
    problems = [
        IntegrityError(
            "has a receipt, and is gone without having been forgotten: if the store can not bring it back, `seedcorn forget` with its id says so",
            object_name=snapshot_key(HostId(ref.host), ref.seq, SnapshotId(ref.snapshot)),
        )
        for ref in sorted(roots.receipts.receipted - listed - explained)
    ]
    known = listed | explained
    problems += check_gaps(names, known)
    problems += check_witnesses((head for snapshot in roots.snapshots for head in snapshot.maintain.heads), known)
    return problems + check_rollback(remembered, roots.heads) + list(check_overtaken(remembered, names, known).values())


def _receipted(names: HistoryNames, receipts: Receipts) -> HistoryNames:
    """Without snapshots that have no receipt: a put that was given up may arrive after its number has been used again, and is nobody's clone."""
    return {host: [name for name in own if SnapshotRef(host, name.number, name.object_id) in receipts.receipted] for host, own in names.items()}


def _judged(roots: Roots) -> tuple[RootSnapshot, ...]:
    """Every snapshot with its standing."""
    confirmed: dict[tuple[bytes, bytes], int] = {}  # host and group -> highest number
    for snapshot in roots.snapshots:
        if roots.receipts.confirms(snapshot.ref):
            place = snapshot.ref.host, snapshot.maintain.group
            confirmed[place] = max(confirmed.get(place, 0), snapshot.ref.seq)
    expired = roots.collections.expired

    def standing(snapshot: RootSnapshot) -> Standing:
        ref = snapshot.ref
        if ref in roots.receipts.void:
            return Standing.VOID
        if ref in roots.forget_log.forgotten:
            return Standing.FORGOTTEN
        if ref in roots.receipts.receipted:
            return Standing.CONFIRMED
        if ref in expired:
            return Standing.EXPIRED
        followed = confirmed.get((ref.host, snapshot.maintain.group), 0) > ref.seq
        return Standing.SUPERSEDED if followed else Standing.UNCONFIRMED

    return tuple(replace(snapshot, standing=standing(snapshot)) for snapshot in roots.snapshots)


def _judged_checkpoints(
    checkpoints: Sequence[RootCheckpoint], snapshots: Sequence[RootSnapshot], collections: Collections
) -> tuple[RootCheckpoint, ...]:
    """A checkpoint is a root until its session has a snapshot, a later backup of the same is confirmed, or a sweep has expired it."""
    ended = {(snapshot.ref.host, snapshot.public.session) for snapshot in snapshots}
    expired = collections.expired_checkpoints
    confirmed: dict[tuple[bytes, bytes], int] = {}  # host and group -> when the last one was put
    for snapshot in snapshots:
        if snapshot.standing is Standing.CONFIRMED:
            place = snapshot.ref.host, snapshot.maintain.group
            confirmed[place] = max(confirmed.get(place, 0), snapshot.stored_ns)

    def is_root(checkpoint: RootCheckpoint) -> bool:
        ref = checkpoint.ref
        if (ref.host, ref.session) in ended or ref in expired:
            return False
        return confirmed.get((ref.host, checkpoint.maintain.group), 0) <= checkpoint.stored_ns

    return tuple(replace(checkpoint, is_root=is_root(checkpoint)) for checkpoint in checkpoints)
