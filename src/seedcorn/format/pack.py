"""Packs, and the frame entries that packs and index segments have in common.

docs/format.md, sections "Frame", "Pack" and "Index segment".
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable

import msgspec

from seedcorn.errors import ForeignSessionError, IntegrityError
from seedcorn.format.codec import ENVELOPE_HEAD_BYTES, Envelope, Magic, check_head, decode, encode
from seedcorn.format.tree import CONTENT_RECORD_BYTES, content_records
from seedcorn.ids import RANDOM_ID_BYTES, belongs_to

__all__ = [
    "FRAME_RAW_LIMIT_BYTES",
    "NO_SESSION",
    "TRAILER_BYTES",
    "FrameEntry",
    "KeyRow",
    "PackEntry",
    "PackHead",
    "PackKind",
    "SegmentPublic",
    "build_pack_head",
    "build_trailer",
    "check_frames",
    "check_sessions",
    "parse_pack_head",
    "parse_trailer",
]

FRAME_RAW_LIMIT_BYTES = 4 << 20
NO_SESSION = bytes(RANDOM_ID_BYTES)  # what a segment or pack of a maintainer has in the place of its session
_END = b"SEEDPEND"
_TRAILER = struct.Struct("<II8s")
TRAILER_BYTES = _TRAILER.size


class PackKind(enum.IntEnum):
    """What the frames of a pack hold; also bound into each frame."""

    DATA = 1
    LISTING = 2


class KeyRow(msgspec.Struct, array_like=True, frozen=True):
    """A session key, sealed to the owner. ``host`` is the one whose session it is."""

    session: bytes
    host: bytes
    suite: int
    sealed_key: bytes


class PackHead(msgspec.Struct, array_like=True, frozen=True):
    """The readable first part of a pack."""

    kind: PackKind
    repository: bytes
    host: bytes
    session: bytes
    domain: int
    key_rows: tuple[KeyRow, ...]


class FrameEntry(msgspec.Struct, array_like=True, frozen=True):
    """Where a frame lies in its pack and which chunks it holds (content records, in the order of their bytes)."""

    session: bytes
    seq: int
    offset: int
    sealed_bytes: int
    raw_bytes: int
    records: bytes


class PackEntry(msgspec.Struct, array_like=True, frozen=True):
    """One pack in an index segment."""

    pack: bytes
    kind: PackKind
    frames: tuple[FrameEntry, ...]


class SegmentPublic(msgspec.Struct, array_like=True, frozen=True):
    """The readable part of an index segment."""

    repository: bytes
    host: bytes
    session: bytes
    number: int
    domain: int
    packs: tuple[bytes, ...]
    key_rows: tuple[KeyRow, ...]


def build_pack_head(head: PackHead) -> bytes:
    """The bytes before the first frame."""
    return Envelope.build(Magic.PACK, [encode(head)])


def parse_pack_head(data: bytes | memoryview) -> tuple[PackHead, int]:
    """(head, offset of the first frame) from a pack's first bytes.

    Raises:
        IntegrityError: not a pack, or cut short.
    """
    check_head(Magic.PACK, data)
    begin = ENVELOPE_HEAD_BYTES + 4
    length = int.from_bytes(data[ENVELOPE_HEAD_BYTES:begin], "little")
    if begin + length > len(data):
        raise IntegrityError("pack is cut short")
    return decode(data[begin : begin + length], PackHead), begin + length


def build_trailer(frame_count: int, footer_bytes: int) -> bytes:
    return _TRAILER.pack(frame_count, footer_bytes, _END)


def parse_trailer(data: bytes | memoryview) -> tuple[int, int]:
    """(number of frames, length of the sealed footer before the trailer) from a pack's last bytes.

    Raises:
        IntegrityError: the pack does not end as packs do.
    """
    if len(data) < TRAILER_BYTES:
        raise IntegrityError("pack is cut short")
    frame_count, footer_bytes, end = _TRAILER.unpack(bytes(data[-TRAILER_BYTES:]))
    if end != _END:
        raise IntegrityError("pack does not end with its end mark: it is cut short or damaged")
    return frame_count, footer_bytes


def check_sessions(host: bytes, session: bytes, rows: Iterable[KeyRow]) -> None:
    """Refuse a pack or segment in the room of ``host`` that is of another host's session, or carries the key of one. Rows bound what frame entries
    may name, and there are a thousand times as many of those: so rows are looked at.

    Raises:
        ForeignSessionError: it is of another host.
    """
    if session != NO_SESSION and not belongs_to(session, host):
        raise ForeignSessionError("says that a session is its host's which is not: it counts for nothing")
    if any(row.host != host or not belongs_to(row.session, host) for row in rows):
        raise ForeignSessionError("carries the key of another host's session: it counts for nothing")


def check_frames(frames: tuple[FrameEntry, ...], *, pack_bytes_limit: int = Magic.PACK.limit_bytes) -> None:
    """Refuse entries that no honest host writes: sizes over their caps, records that do not add up, more than a pack can hold: a few bytes of entries
    that overlap would keep whoever looks at each frame busy for days.

    Raises:
        IntegrityError: with the first entry that is wrong.
    """
    if sum(frame.sealed_bytes for frame in frames) > pack_bytes_limit:
        raise IntegrityError("lists more in a pack than it can hold")
    for frame in frames:
        if not 0 < frame.raw_bytes <= FRAME_RAW_LIMIT_BYTES or not 0 < frame.sealed_bytes <= 2 * FRAME_RAW_LIMIT_BYTES or len(frame.session) != 16:
            raise IntegrityError(f"frame {frame.seq} has an impossible size")
        if frame.offset < 0 or frame.offset + frame.sealed_bytes > pack_bytes_limit or not 0 <= frame.seq < 1 << 32:
            raise IntegrityError(f"frame {frame.seq} lies outside its pack")
        if len(frame.records) < CONTENT_RECORD_BYTES or sum(length for _, length in content_records(frame.records)) != frame.raw_bytes:
            raise IntegrityError(f"the chunks of frame {frame.seq} do not add up to its length")
