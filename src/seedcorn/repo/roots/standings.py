"""What a snapshot is worth by what its host, the maintainers and collections say of it, and until when a checkpoint is a root. Pure.

Owns the order in which what is said counts. Invariant: what can not be read is never taken for less than it could be: of a snapshot with a record
that does not open nobody may say that it was never whole. docs/format.md, sections "Receipt" and "Order of writing and reading".
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from seedcorn.errors import IntegrityError
from seedcorn.format.collection import CheckpointMaintain, CheckpointRef, SnapshotRef
from seedcorn.format.names import snapshot_key
from seedcorn.format.snapshot import SnapshotMaintain, SnapshotPublic
from seedcorn.ids import HostId, SnapshotId
from seedcorn.repo.roots.receipts import Receipts

__all__ = [
    "RootCheckpoint",
    "RootSnapshot",
    "Said",
    "Standing",
    "UnreadableSnapshot",
    "judge_checkpoints",
    "judge_snapshots",
    "judge_unreadable",
    "key_of",
    "way_out",
]


class Standing(enum.Enum):
    """What a snapshot is worth. The first three are roots: what they need is kept."""

    CONFIRMED = "confirmed"
    TORN = "torn"  # confirmed, but a collection has taken frames of it: its host never reported success
    UNCONFIRMED = "unconfirmed"  # its host has not said yet that it is whole, or what it says can not be read
    SUPERSEDED = "superseded"  # unconfirmed, and a later one of its group is confirmed
    EXPIRED = "expired"  # unconfirmed for longer than a collection waits
    VOID = "void"  # its host has taken it back, and has never confirmed it, or it lacks frames (``needs`` tells)
    FORGOTTEN = "forgotten"
    UNREADABLE = "unreadable"  # and nobody has given it up: what it needs can not be known, so nothing may be collected

    @property
    def is_root(self) -> bool:
        return self in (Standing.CONFIRMED, Standing.TORN, Standing.UNCONFIRMED)


@dataclass(frozen=True, slots=True)
class RootSnapshot:
    """A verified snapshot as a maintainer sees it. ``parts`` are as stored: public, for maintainers, for the owner. If the owner has relocated what
    it needs, ``maintain`` says what that is now."""

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
class UnreadableSnapshot:
    """An object with the name of a snapshot that does not open as one: what its name and the store say of it, and why it is none."""

    ref: SnapshotRef
    key: str
    size_bytes: int
    stored_ns: int
    reason: str
    standing: Standing = Standing.UNREADABLE

    @property
    def id(self) -> SnapshotId:
        return SnapshotId(self.ref.snapshot)

    @property
    def problem(self) -> IntegrityError:
        """What is wrong, and how to go on."""
        return IntegrityError(f"{self.reason}; {way_out(self.key)}", object_name=self.key)


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
class Said:
    """What is said of snapshots: by their hosts, by the owner and maintainers, and by sweeps that waited for a receipt in vain."""

    receipts: Receipts
    forgotten: Collection[SnapshotRef]
    expired: Collection[SnapshotRef]


def way_out(key: str) -> str:
    """How an operator says that a snapshot will not come back. By its whole name: a host may give its objects any id, that of another host's too."""
    return f"if it can not be brought back, `seedcorn forget {key}` gives it up"


def key_of(ref: SnapshotRef) -> str:
    """The store key of a snapshot."""
    return snapshot_key(HostId(ref.host), ref.seq, SnapshotId(ref.snapshot))


def judge_snapshots(snapshots: Sequence[RootSnapshot], said: Said) -> tuple[RootSnapshot, ...]:
    """Every snapshot with its standing."""
    confirmed: dict[tuple[bytes, bytes], int] = {}  # host and group -> highest number
    for snapshot in snapshots:
        if said.receipts.confirms(snapshot.ref):
            place = snapshot.ref.host, snapshot.maintain.group
            confirmed[place] = max(confirmed.get(place, 0), snapshot.ref.seq)

    def standing(snapshot: RootSnapshot) -> Standing:
        ref = snapshot.ref
        if ref in said.forgotten:
            return Standing.FORGOTTEN
        if ref in said.receipts.void:
            return Standing.VOID
        if ref in said.receipts.receipted:
            return Standing.CONFIRMED
        if ref in said.receipts.doubtful:
            return Standing.UNCONFIRMED
        if ref in said.expired:
            return Standing.EXPIRED
        followed = confirmed.get((ref.host, snapshot.maintain.group), 0) > ref.seq
        return Standing.SUPERSEDED if followed else Standing.UNCONFIRMED

    return tuple(replace(snapshot, standing=standing(snapshot)) for snapshot in snapshots)


def judge_unreadable(unreadable: Iterable[UnreadableSnapshot], said: Said) -> tuple[UnreadableSnapshot, ...]:
    """Every one with its standing: a host's word alone does not make one harmless."""
    receipted = said.receipts.receipted | said.receipts.doubtful

    def standing(ref: SnapshotRef) -> Standing:
        if ref in said.forgotten:
            return Standing.FORGOTTEN
        return Standing.EXPIRED if ref in said.expired and ref not in receipted else Standing.UNREADABLE

    return tuple(replace(one, standing=standing(one.ref)) for one in unreadable)


def judge_checkpoints(
    checkpoints: Sequence[RootCheckpoint], snapshots: Sequence[RootSnapshot], expired: Collection[CheckpointRef], revoked: Collection[bytes]
) -> tuple[RootCheckpoint, ...]:
    """A checkpoint is a root until its session has a snapshot, a later backup of the same is confirmed, a sweep has expired it, or its host is
    ``revoked``."""
    ended = {snapshot.public.session for snapshot in snapshots}
    confirmed: dict[tuple[bytes, bytes], int] = {}  # host and group -> when the last one was put
    for snapshot in snapshots:
        if snapshot.standing is Standing.CONFIRMED:
            place = snapshot.ref.host, snapshot.maintain.group
            confirmed[place] = max(confirmed.get(place, 0), snapshot.stored_ns)

    def is_root(checkpoint: RootCheckpoint) -> bool:
        ref = checkpoint.ref
        if ref.session in ended or ref in expired or ref.host in revoked:
            return False
        return confirmed.get((ref.host, checkpoint.maintain.group), 0) <= checkpoint.stored_ns

    return tuple(replace(checkpoint, is_root=is_root(checkpoint)) for checkpoint in checkpoints)
