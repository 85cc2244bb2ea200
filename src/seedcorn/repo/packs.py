"""A whole pack, read by itself: its hash, head, trailer, footer and every frame.

Owns what makes a pack whole. Uses no index, so that the index can be compared with it, and rebuilt from it. Invariant: after ``open_pack`` every byte
of the object is accounted for: the head, then the frames end to end, then the footer and the trailer.

docs/format.md, section "Pack".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from seedcorn import compression
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import SEAL_OVERHEAD, Sealer
from seedcorn.crypto.keys import DomainSecrets, OwnerKey
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import SUITE, Magic, decode, encode
from seedcorn.format.pack import (
    TRAILER_BYTES,
    FrameEntry,
    KeyRow,
    PackHead,
    PackKind,
    check_frames,
    check_sessions,
    parse_pack_head,
    parse_trailer,
)
from seedcorn.ids import HostId, PackId, RepositoryId
from seedcorn.repo.bindings import footer_binding, frame_binding, session_binding
from seedcorn.repo.frames import open_frame, verify_chunks

__all__ = [
    "FOOTER_RAW_LIMIT_BYTES",
    "OpenedPack",
    "check_hash",
    "entries_digest",
    "listed_bytes",
    "open_indexed_pack",
    "open_pack",
    "plausible_sizes",
]

FOOTER_RAW_LIMIT_BYTES = 64 << 20
_ENTRY_BYTES = 48  # of a frame, a pack or a key, beside chunk records and the key itself
_ENTRIES_SLACK_BYTES = 1 << 10  # seal, zstd header, and what zstd adds to bytes that it can not compress


def check_hash(data: bytes | memoryview, pack: PackId) -> None:
    """Needs no key.

    Raises:
        IntegrityError: the bytes are not those that the pack's name stands for.
    """
    if primitives.object_hash(data) != pack:
        raise IntegrityError("its bytes do not match the hash in its name")


def entries_digest(domain: int, kind: PackKind, frames: Iterable[FrameEntry], rows: Iterable[KeyRow]) -> bytes:
    """32 bytes that are equal for packs of which the same is said, in whatever order: for comparing a footer with an index without keeping either.

    ``rows`` has at least the keys of the frames' sessions. Domain, kind and keys belong to it: who lists a good pack with others makes it unreadable.
    """
    entries = sorted(frames, key=lambda frame: frame.offset)
    sessions = {frame.session for frame in entries}
    keys = sorted({(row.session, row.suite, row.sealed_key) for row in rows if row.session in sessions})
    return primitives.object_hash(encode((domain, int(kind), entries, keys)))


def listed_bytes(frames: Iterable[FrameEntry], rows: Iterable[KeyRow]) -> int:
    """No less than one pack with these frames and keys has in a segment, before compression."""
    frames_bytes = sum(_ENTRY_BYTES + len(frame.records) for frame in frames)
    return _ENTRY_BYTES + frames_bytes + sum(_ENTRY_BYTES + len(row.sealed_key) for row in rows)


def plausible_sizes(frames: tuple[FrameEntry, ...]) -> range:
    """The lengths that a pack of these frames can have; the compressed footer leaves some room."""
    frames_end = max((frame.offset + frame.sealed_bytes for frame in frames), default=0)
    footer_bytes = len(encode(frames))
    least = frames_end + SEAL_OVERHEAD + TRAILER_BYTES
    return range(least, least + footer_bytes + footer_bytes // 64 + _ENTRIES_SLACK_BYTES)


@dataclass(frozen=True, slots=True)
class OpenedPack:
    """A pack whose head, trailer and footer have been opened and agree with each other; ``frames`` are sorted by offset."""

    data: memoryview
    head: PackHead
    frames: tuple[FrameEntry, ...]
    _sealers: Mapping[bytes, Sealer]
    _secrets: DomainSecrets

    @property
    def digest(self) -> bytes:
        """Of what it says of itself."""
        return entries_digest(self.head.domain, self.head.kind, self.frames, self.head.key_rows)

    def sealed_frame(self, entry: FrameEntry) -> bytes:
        """The sealed bytes of a frame."""
        return bytes(self.data[entry.offset : entry.offset + entry.sealed_bytes])

    def open_frame(self, entry: FrameEntry) -> bytes | memoryview:
        """The raw bytes of a frame, every chunk id in it recomputed.

        Raises:
            IntegrityError: with what is wrong.
        """
        binding = frame_binding(self.head.kind, self.head.repository, entry.session, entry.seq)
        sealed = self.data[entry.offset : entry.offset + entry.sealed_bytes]
        try:
            raw = open_frame(self._sealers[entry.session], binding, sealed, entry.raw_bytes, memoryview(bytearray(len(sealed))))
            verify_chunks(self._id_key, memoryview(raw), 0, entry.records)
        except IntegrityError as error:
            raise IntegrityError(f"frame {entry.seq}: {error.message}") from error
        return raw

    @property
    def _id_key(self) -> bytes:
        return self._secrets.chunk_id_key if self.head.kind is PackKind.DATA else self._secrets.listing_id_key


def open_pack(data: bytes | memoryview, host: HostId, repository: RepositoryId, key: OwnerKey) -> OpenedPack:
    """Open everything of a pack but its frames. Its hash is not looked at.

    Raises:
        IntegrityError: with what is wrong.
    """
    if len(data) > Magic.PACK.limit_bytes:
        raise IntegrityError("is larger than a pack may be")
    view = memoryview(data)
    head, frames_begin = parse_pack_head(view)
    if head.repository != repository or head.host != host:
        raise IntegrityError("belongs to another repository or host, or has been moved")
    check_sessions(host, head.session, head.key_rows)
    secrets = key.domain(head.domain)
    frames, frames_end = _open_footer(view, head, secrets)
    _check_layout(frames, frames_begin, frames_end)
    return OpenedPack(view, head, frames, _open_keys(head, frames, key), secrets)


def open_indexed_pack(data: bytes | memoryview, head: PackHead, frames: Iterable[FrameEntry], key: OwnerKey) -> OpenedPack:
    """A pack as the index describes it, whatever its own head and footer have become.

    Raises:
        IntegrityError: the key of a session does not open.
    """
    entries = tuple(sorted(frames, key=lambda frame: frame.offset))
    return OpenedPack(memoryview(data), head, entries, _open_keys(head, entries, key), key.domain(head.domain))


def _open_footer(view: memoryview, head: PackHead, secrets: DomainSecrets) -> tuple[tuple[FrameEntry, ...], int]:
    """(frame entries, where the footer begins)."""
    frame_count, footer_bytes = parse_trailer(view)
    end = len(view) - TRAILER_BYTES
    begin = end - footer_bytes
    if begin < 0:
        raise IntegrityError("the length of its footer is wrong")
    packed = Sealer(secrets.index_key, "footer").open(view[begin:end], footer_binding(head, frame_count))
    frames = decode(compression.decompress_bounded(packed, limit_bytes=FOOTER_RAW_LIMIT_BYTES), tuple[FrameEntry, ...])
    if len(frames) != frame_count:
        raise IntegrityError("its footer lists another number of frames than its trailer")
    check_frames(frames)
    return frames, begin


def _check_layout(frames: tuple[FrameEntry, ...], begin: int, end: int) -> None:
    at = begin
    for frame in frames:
        if frame.offset != at:
            raise IntegrityError(f"frame {frame.seq} does not follow the one before it")
        at += frame.sealed_bytes
    if at != end:
        raise IntegrityError("its frames do not reach to its footer")


def _open_keys(head: PackHead, frames: tuple[FrameEntry, ...], key: OwnerKey) -> dict[bytes, Sealer]:
    rows = {row.session: row for row in head.key_rows}
    sealers: dict[bytes, Sealer] = {}
    for session in {frame.session for frame in frames}:
        row = rows.get(session)
        if row is None:
            raise IntegrityError("has frames of a session whose key it does not carry")
        if row.suite != SUITE:
            raise IntegrityError(f"the key of a session is of suite {row.suite}, which this program does not know")
        session_key = key.open_read(session_binding(head.repository, head.host, session), row.sealed_key)
        if len(session_key) != primitives.KEY_BYTES:
            raise IntegrityError("the key of a session has the wrong length")
        sealers[session] = Sealer(session_key, "frame")
    return sealers
