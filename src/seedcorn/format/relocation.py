"""Relocations: where what snapshots need lies now, after the owner has written the chunks of poor frames anew.

docs/format.md, section "Relocation".
"""

from __future__ import annotations

import enum

import msgspec

from seedcorn.format.collection import SnapshotRef
from seedcorn.format.snapshot import NeededFrames

__all__ = ["RelocatedSnapshot", "RelocationRecord", "RelocationStage"]


class RelocationStage(enum.IntEnum):
    """How far a relocation is."""

    ANNOUNCED = 1
    DONE = 2


class RelocatedSnapshot(msgspec.Struct, array_like=True, frozen=True):
    """A snapshot, and which of the record's ``frames`` it needs, by their place there."""

    host: bytes
    seq: int
    snapshot: bytes
    needed: tuple[int, ...]

    @property
    def ref(self) -> SnapshotRef:
        return SnapshotRef(self.host, self.seq, self.snapshot)


class RelocationRecord(msgspec.Struct, array_like=True, frozen=True):
    """One stage of a relocation. That it is done says nothing more; ``earlier`` are those that were done before it was announced."""

    repository: bytes
    number: int
    relocation: bytes
    stage: RelocationStage
    frames: tuple[NeededFrames, ...] = ()
    snapshots: tuple[RelocatedSnapshot, ...] = ()
    earlier: tuple[bytes, ...] = ()
