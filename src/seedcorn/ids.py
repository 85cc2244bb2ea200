"""Typed identifiers: bytes inside, hex outside. Owns their lengths and how a person may shorten them.

docs/format.md, section "Identifiers".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NewType

from seedcorn.errors import UsageError

__all__ = [
    "CHUNK_ID_BYTES",
    "COLLECTION_ID_BYTES",
    "OBJECT_ID_BYTES",
    "RANDOM_ID_BYTES",
    "RELOCATION_ID_BYTES",
    "ChunkId",
    "CollectionId",
    "HostId",
    "PackId",
    "RelocationId",
    "RepositoryId",
    "SegmentId",
    "SessionId",
    "SlotId",
    "SnapshotId",
    "belongs_to",
    "host_mark",
    "match_prefix",
]

CHUNK_ID_BYTES = 24
OBJECT_ID_BYTES = 32
RANDOM_ID_BYTES = 16
COLLECTION_ID_BYTES = 8
RELOCATION_ID_BYTES = 8

ChunkId = NewType("ChunkId", bytes)  # 24 bytes: keyed BLAKE3 of a chunk's plaintext
PackId = NewType("PackId", bytes)  # 32 bytes: BLAKE3 of the pack's bytes
SegmentId = NewType("SegmentId", bytes)  # 32 bytes: BLAKE3 of the segment's bytes
SnapshotId = NewType("SnapshotId", bytes)  # 32 bytes: BLAKE3 of the snapshot's bytes
RepositoryId = NewType("RepositoryId", bytes)  # 16 random bytes
HostId = NewType("HostId", bytes)  # 16 random bytes
SessionId = NewType("SessionId", bytes)  # 8 bytes of its host's id, and 8 random ones
CollectionId = NewType("CollectionId", bytes)  # 8 random bytes
RelocationId = NewType("RelocationId", bytes)  # 8 random bytes
SlotId = NewType("SlotId", bytes)  # 16 random bytes

_HEX = re.compile(r"[0-9a-f]+")
_MARK_BYTES = 8


def host_mark(host: bytes) -> bytes:
    """The 8 bytes with which the ids of all sessions of a host begin."""
    return host[:_MARK_BYTES]


def belongs_to(session: bytes, host: bytes) -> bool:
    """Whether that is a session of this host. Ids are public and hosts may sign anything, so whoever reads what a host says of its own asks this."""
    return len(session) == RANDOM_ID_BYTES and session[:_MARK_BYTES] == host_mark(host)


def match_prefix(prefix: str, candidates: Iterable[bytes], *, noun: str) -> bytes:
    """The one candidate whose hex form starts with ``prefix``.

    Raises:
        UsageError: not lower-case hex, nothing matches, or more than one does; the message uses ``noun``.
    """
    if not _HEX.fullmatch(prefix):
        raise UsageError(f"{prefix!r} is not a {noun} id: ids are written in the hexadecimal digits 0-9 a-f")
    found = {candidate for candidate in candidates if candidate.hex().startswith(prefix)}
    if not found:
        raise UsageError(f"no {noun} has an id that starts with {prefix}")
    if len(found) > 1:
        shown = ", ".join(sorted(candidate.hex()[:12] for candidate in found)[:5])
        raise UsageError(f"{len(found)} {noun}s have ids that start with {prefix} ({shown}): give more digits")
    return found.pop()
