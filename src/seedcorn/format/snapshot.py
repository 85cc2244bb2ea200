"""Snapshots: a public part, one for maintainers, one for the owner.

docs/format.md, section "Snapshot".
"""

from __future__ import annotations

import msgspec

from seedcorn.format.tree import Node

__all__ = ["CopiedFrom", "Head", "NeededFrames", "SnapshotMaintain", "SnapshotOwner", "SnapshotPublic", "Statistics"]


class SnapshotPublic(msgspec.Struct, array_like=True, frozen=True):
    """Part 1."""

    repository: bytes
    host: bytes
    seq: int
    previous: bytes  # snapshot id, empty for the host's first
    session: bytes
    domain: int


class NeededFrames(msgspec.Struct, array_like=True, frozen=True):
    """The frames of one session that a snapshot needs: a portable 32-bit roaring bitmap over their sequence numbers."""

    session: bytes
    bitmap: bytes


class Head(msgspec.Struct, array_like=True, frozen=True):
    """The newest snapshot of a host, as somebody saw it."""

    host: bytes
    seq: int
    snapshot: bytes


class SnapshotMaintain(msgspec.Struct, array_like=True, frozen=True):
    """Part 2."""

    time_ns: int
    group: bytes
    tags: tuple[str, ...]
    complete: bool
    needed: tuple[NeededFrames, ...]
    heads: tuple[Head, ...]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one backup did. The first thirteen are duplicity's lines in duplicity's order; docs/guide says what each counts. Sizes in bytes."""

    source_files: int = 0
    source_file_size: int = 0
    new_files: int = 0
    new_file_size: int = 0
    deleted_files: int = 0
    changed_files: int = 0
    changed_file_size: int = 0
    changed_delta_size: int = 0  # bytes of new chunks in changed files
    delta_entries: int = 0
    raw_delta_size: int = 0  # bytes of all new chunks, before compression
    total_destination_size_change: int = 0  # every byte put before the snapshot itself, all object kinds
    errors: int = 0
    read_bytes: int = 0
    deduplicated_bytes: int = 0  # read, and found to be stored already
    listing_bytes: int = 0  # new listing chunks, before compression
    data_packs: int = 0
    listing_packs: int = 0


class CopiedFrom(msgspec.Struct, array_like=True, frozen=True):
    """The snapshot of another repository that one is a copy of."""

    repository: bytes
    snapshot: bytes


class SnapshotOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Part 3, a map."""

    host_name: str
    paths: tuple[bytes, ...]
    tags: tuple[str, ...] = ()
    root: Node
    start_ns: int
    end_ns: int
    statistics: Statistics
    errors: tuple[tuple[bytes, str], ...] = ()
    error_count: int = 0
    excludes: tuple[str, ...] = ()
    program: str = ""
    users: dict[int, str] = {}
    groups: dict[int, str] = {}
    source: str = "files"
    copied_from: CopiedFrom | msgspec.UnsetType = msgspec.UNSET  # absent from all but copies
