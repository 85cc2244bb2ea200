"""Moving frames into new packs without being able to read them: sealed bytes are copied as they are. Pure: who calls it fetches and puts.

Owns how large the new packs become. Invariant: a frame is sealed to its session and number and not to its pack, so it opens in the new pack as it did
in the old one. Whether the bytes are what was sealed can not be told here, and the new pack has a name of its own, so nobody can tell later: whoever
hands frames in has checked them. docs/format.md, sections "Frame" and "Pack".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace as with_fields

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.primitives import object_hash
from seedcorn.format.codec import Magic, encode
from seedcorn.format.names import pack_key
from seedcorn.format.pack import NO_SESSION, FrameEntry, KeyRow, PackEntry, PackHead, PackKind, build_pack_head, build_trailer
from seedcorn.ids import HostId, PackId
from seedcorn.repo.bindings import footer_binding
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.packs import FOOTER_RAW_LIMIT_BYTES, entries_digest, listed_bytes

__all__ = ["LiveFrames", "NewPack", "repack"]

PACK_TARGET_BYTES = 32 << 20
LISTED_TARGET_BYTES = 8 << 20  # what a segment and the footer say of a pack; an honest host's is a tenth of that


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """What is worth keeping of one pack: its frames, the sealed bytes of each, and the keys of their sessions."""

    host: HostId
    pack: PackId
    kind: PackKind
    domain: int
    frames: tuple[FrameEntry, ...]
    sealed: tuple[bytes, ...]
    rows: tuple[KeyRow, ...]


@dataclass(frozen=True, slots=True)
class NewPack:
    """A pack to be put, and how a segment lists it."""

    host: HostId
    domain: int
    data: bytes
    entry: PackEntry
    rows: tuple[KeyRow, ...]
    sources: tuple[PackId, ...]  # whose frames end in this pack

    @property
    def digest(self) -> bytes:
        """Of what a segment says of it."""
        return entries_digest(self.domain, self.entry.kind, self.entry.frames, self.rows)

    @property
    def key(self) -> str:
        return pack_key(self.host, PackId(self.entry.pack))

    @property
    def is_readable(self) -> bool:
        """Whether it is within the caps of those who read it. A host may say so much of one pack that no other can say it."""
        return len(self.data) <= Magic.PACK.limit_bytes and len(encode(self.entry.frames)) <= FOOTER_RAW_LIMIT_BYTES


@dataclass(slots=True)
class _Open:
    """A pack being filled."""

    host: HostId
    kind: PackKind
    domain: int
    rows: dict[bytes, KeyRow] = field(default_factory=dict)
    frames: list[FrameEntry] = field(default_factory=list)
    sealed: list[bytes] = field(default_factory=list)
    sealed_bytes: int = 0
    listed_bytes: int = 0
    sources: list[PackId] = field(default_factory=list)


def repack(repository: MaintainRepository, live: Iterable[LiveFrames]) -> Iterator[NewPack]:
    """Fill packs with live frames, by host, kind and domain. One pack of each is in memory at a time."""
    packs: dict[tuple[HostId, PackKind, int], _Open] = {}
    for source in live:
        place = source.host, source.kind, source.domain
        pack = packs.setdefault(place, _Open(*place))
        if pack.frames and not _takes(pack, source):
            yield _finish(repository, pack)
            pack = packs[place] = _Open(*place)
        _copy(source, pack)
    for pack in packs.values():
        yield _finish(repository, pack)


def _takes(pack: _Open, source: LiveFrames) -> bool:
    """Whether there is room, and no session in it goes by another key."""
    sealed_bytes = pack.sealed_bytes + sum(frame.sealed_bytes for frame in source.frames)
    is_room = sealed_bytes <= PACK_TARGET_BYTES and pack.listed_bytes + listed_bytes(source.frames, source.rows) <= LISTED_TARGET_BYTES
    return is_room and all(pack.rows.get(row.session, row) == row for row in source.rows)


def _copy(source: LiveFrames, pack: _Open) -> None:
    for frame, sealed in zip(source.frames, source.sealed, strict=True):
        pack.sealed.append(sealed)
        pack.frames.append(with_fields(frame, offset=pack.sealed_bytes))  # from the first frame on, until the head is known
        pack.sealed_bytes += frame.sealed_bytes
    pack.listed_bytes += listed_bytes(source.frames, source.rows)
    pack.rows.update((row.session, row) for row in source.rows)
    pack.sources.append(source.pack)


def _finish(repository: MaintainRepository, pack: _Open) -> NewPack:
    rows = tuple(pack.rows.values())
    head = PackHead(pack.kind, repository.repository, pack.host, NO_SESSION, pack.domain, rows)
    first = build_pack_head(head)
    frames = tuple(with_fields(frame, offset=len(first) + frame.offset) for frame in pack.frames)
    footer = Sealer(repository.index_key(pack.domain), "footer").seal(compression.compress(encode(frames)), footer_binding(head, len(frames)))
    data = b"".join([first, *pack.sealed, footer, build_trailer(len(frames), len(footer))])
    return NewPack(pack.host, pack.domain, data, PackEntry(object_hash(data), pack.kind, frames), rows, tuple(pack.sources))
