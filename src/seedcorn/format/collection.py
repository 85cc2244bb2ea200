"""What makes deletion safe without locks: receipts, checkpoints, forget records, collections and verified sets.

docs/format.md, sections "Receipt" to "Verified set" and "Order of writing and reading".
"""

from __future__ import annotations

import enum

import msgspec

from seedcorn.format.snapshot import NeededFrames

__all__ = [
    "CheckpointMaintain",
    "CheckpointPublic",
    "CheckpointRef",
    "CollectionRecord",
    "CopiedPack",
    "ForgetRecord",
    "HostPacks",
    "PackCopy",
    "Receipt",
    "ReceiptState",
    "SnapshotRef",
    "Stage",
    "VerifiedPack",
    "VerifiedRecord",
]


class SnapshotRef(msgspec.Struct, array_like=True, frozen=True, order=True):
    """One snapshot, named as its object is."""

    host: bytes
    seq: int
    snapshot: bytes


class CheckpointRef(msgspec.Struct, array_like=True, frozen=True, order=True):
    """All checkpoints of one session."""

    host: bytes
    session: bytes


class ReceiptState(enum.IntEnum):
    """What a host says of its snapshot after it has put it."""

    RECEIPT = 1
    VOID = 2


class Receipt(msgspec.Struct, array_like=True, frozen=True):
    """A receipt, or a void record."""

    repository: bytes
    host: bytes
    seq: int
    snapshot: bytes
    state: ReceiptState


class CheckpointPublic(msgspec.Struct, array_like=True, frozen=True):
    """Part 1 of a checkpoint."""

    repository: bytes
    host: bytes
    session: bytes
    number: int
    domain: int


class CheckpointMaintain(msgspec.Struct, array_like=True, frozen=True):
    """Part 2 of a checkpoint: what a session that is still running needs so far."""

    time_ns: int
    group: bytes
    needed: tuple[NeededFrames, ...]


class ForgetRecord(msgspec.Struct, array_like=True, frozen=True):
    """Snapshots that were forgotten, and forgotten ones that were taken back."""

    repository: bytes
    number: int
    time_ns: int
    forgotten: tuple[SnapshotRef, ...]
    taken_back: tuple[SnapshotRef, ...]


class Stage(enum.IntEnum):
    """How far a collection is."""

    MARK = 1
    SWEEP = 2
    DONE = 3


class HostPacks(msgspec.Struct, array_like=True, frozen=True):
    """Packs in the room of one host."""

    host: bytes
    packs: tuple[bytes, ...]


class CopiedPack(msgspec.Struct, array_like=True, frozen=True, order=True):
    """A pack out of which frames have been moved; ``digest`` is that of what was said of it then."""

    pack: bytes
    digest: bytes


class PackCopy(msgspec.Struct, array_like=True, frozen=True, order=True):
    """A pack into which a maintainer has moved all that was needed of ``sources``, packs of the same host; ``digest`` as of a source."""

    host: bytes
    pack: bytes
    digest: bytes
    sources: tuple[CopiedPack, ...]


class CollectionRecord(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One stage of a collection.

    ``packs`` are those of a mark or sweep, or those that a finished sweep has kept; ``frames`` those that only the packs of a sweep hold, or those in
    what it has kept; ``copies`` are the packs that make packs of a mark superfluous; ``relocations`` those by which a sweep was planned.
    """

    repository: bytes
    number: int
    collection: bytes
    stage: Stage
    packs: tuple[HostPacks, ...] = ()
    frames: tuple[NeededFrames, ...] = ()
    expired: tuple[SnapshotRef, ...] = ()
    expired_checkpoints: tuple[CheckpointRef, ...] = ()
    removed: tuple[SnapshotRef, ...] = ()
    copies: tuple[PackCopy, ...] = ()
    relocations: tuple[bytes, ...]  # without a default: so no record that is cut short is read


class VerifiedPack(msgspec.Struct, array_like=True, frozen=True):
    """A pack whose every chunk the owner has recomputed; ``digest`` is that of what is said of it."""

    host: bytes
    pack: bytes
    digest: bytes


class VerifiedRecord(msgspec.Struct, array_like=True, frozen=True):
    """Part of the verified set."""

    repository: bytes
    number: int
    time_ns: int
    packs: tuple[VerifiedPack, ...]
