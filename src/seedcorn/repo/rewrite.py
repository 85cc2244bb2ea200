"""What a maintainer writes in the room of a host: segments that list packs anew, and packs to which frames have been moved.

Owns their form. Needs the domain's index key and the maintainers' signing key; never a read key, for a frame is sealed to its session and its number,
whatever pack it lies in. Invariant: an entry is listed with the key rows of all its sessions, and memory does not depend on how many there are.

docs/format.md, sections "Frame", "Pack" and "Index segment".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from seedcorn import compression
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.keys import MaintainKey
from seedcorn.format.codec import encode
from seedcorn.format.names import pack_key
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackHead, SegmentPublic, build_pack_head, build_trailer
from seedcorn.ids import RANDOM_ID_BYTES, HostId, PackId
from seedcorn.repo.bindings import footer_binding
from seedcorn.repo.index import seal_segment
from seedcorn.store.api import Store

__all__ = ["NO_SESSION", "SegmentRewriter", "build_moved_pack"]

NO_SESSION = bytes(RANDOM_ID_BYTES)
_SEGMENT_BYTES = 8 << 20  # of chunk records, after which a segment is put: what every host fetches anew when one pack in it goes


class SegmentRewriter:
    """Lists packs of one host and domain in new segments, numbered from ``number`` on."""

    def __init__(self, store: Store, key: MaintainKey, host: HostId, domain: int, index_key: bytes, number: int) -> None:
        self._store = store
        self._key = key
        self._host = host
        self._domain = domain
        self._index_key = index_key
        self._number = number
        self._packs: list[PackEntry] = []
        self._rows: dict[bytes, KeyRow] = {}
        self._records_bytes = 0
        self.segments: list[str] = []  # keys of those that have been put

    def add(self, entry: PackEntry, rows: Iterable[KeyRow]) -> None:
        """One more pack; ``rows`` has at least the keys of its sessions."""
        sessions = {frame.session for frame in entry.frames}
        wanted = {row.session: row for row in rows if row.session in sessions}
        records_bytes = sum(len(frame.records) for frame in entry.frames)
        is_claimed = any(
            self._rows.get(session, row) != row for session, row in wanted.items()
        )  # the same session under another key: only from a liar
        if self._packs and (is_claimed or self._records_bytes + records_bytes > _SEGMENT_BYTES):
            self.finish()
        self._packs.append(entry)
        self._rows |= wanted
        self._records_bytes += records_bytes

    def finish(self) -> None:
        """Put what has been added."""
        if not self._packs:
            return
        packs, rows = self._packs, tuple(row for _, row in sorted(self._rows.items()))
        names = tuple(entry.pack for entry in packs)
        public = SegmentPublic(self._key.repository, self._host, NO_SESSION, self._number, self._domain, names, rows)
        key, data = seal_segment(public, packs, self._index_key, self._key.sign)
        self._store.put(key, data)
        self.segments.append(key)
        self._number += 1
        self._packs, self._rows, self._records_bytes = [], {}, 0


def build_moved_pack(head: PackHead, index_key: bytes, frames: Sequence[tuple[FrameEntry, bytes | memoryview]]) -> tuple[PackEntry, str, bytes]:
    """(entry, store key, bytes) of a pack that holds these frames (entry as it was, sealed bytes), whose sessions all have a row in ``head``."""
    sessions = {entry.session for entry, _ in frames}
    head = msgspec.structs.replace(head, key_rows=tuple(row for row in head.key_rows if row.session in sessions))
    pieces: list[bytes | memoryview] = [build_pack_head(head)]
    at = len(pieces[0])
    entries: list[FrameEntry] = []
    for entry, sealed in frames:
        entries.append(msgspec.structs.replace(entry, offset=at))
        pieces.append(sealed)
        at += len(sealed)
    footer = Sealer(index_key, "footer").seal(compression.compress(encode(entries)), footer_binding(head, len(entries)))
    data = b"".join([*pieces, footer, build_trailer(len(entries), len(footer))])
    pack = PackId(primitives.object_hash(data))
    return PackEntry(pack, head.kind, tuple(entries)), pack_key(HostId(head.host), pack), data
