"""Index segments written anew by a maintainer: without packs that go, and several small ones as one.

Owns how many entries stand in one segment. Entries are kept byte for byte, so that they keep their digest. Invariant: what is put lists everything
that the old segments list but for the packs that go, and only after that may the old ones be deleted: two maintainers at once lose nothing.
docs/format.md, section "Index segment".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from seedcorn.errors import IntegrityError
from seedcorn.format.names import NumberedKey, following_number, parse_numbered_key
from seedcorn.format.pack import NO_SESSION, KeyRow, PackEntry, SegmentPublic
from seedcorn.ids import HostId, PackId
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.index import SEGMENT_RAW_LIMIT_BYTES, OpenedSegment, open_segment, seal_segment
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.packs import entries_digest, listed_bytes
from seedcorn.repo.roots.collections import Pack

__all__ = [
    "SEGMENT_TARGET_BYTES",
    "SMALL_SEGMENT_BYTES",
    "SegmentSeries",
    "fetch_segment",
    "rewrite_segments",
    "segment_name",
    "write_segment",
]

SEGMENT_TARGET_BYTES = 8 << 20  # before compression, which takes little off chunk ids
SMALL_SEGMENT_BYTES = 4 << 20  # as stored; a merged segment is larger than this, so that none is merged again and again


def fetch_segment(repository: MaintainRepository, registry: HostRegistry, key: str) -> OpenedSegment:
    """A verified segment.

    Raises:
        IntegrityError: it is damaged; named.
    """
    try:
        return open_segment(repository.store.get(key), segment_name(key), repository.repository, repository.index_key, registry)
    except IntegrityError as error:
        raise error.named(key) from error


def rewrite_segments(
    repository: MaintainRepository, registry: HostRegistry, keys: Sequence[str], doomed: Collection[Pack], first_number: int
) -> Iterator[tuple[str, bytes]]:
    """(store key, bytes) of segments that list what those at ``keys``, all of one host, list, but for ``doomed`` packs.

    Numbered from ``first_number``, which has to be above all others of the host: who lists the index meanwhile then meets the old or the new one.
    """
    series: SegmentSeries | None = None
    for key in keys:
        host = segment_name(key).host
        series = series or SegmentSeries(repository, host, first_number)
        opened = fetch_segment(repository, registry, key)
        for entry in opened.packs:
            if (host, PackId(entry.pack)) not in doomed:
                yield from series.add(opened.public.domain, entry, opened.public.key_rows)
    if series is not None:
        yield from series.finish()


class SegmentSeries:
    """Entries of one host, in as many segments as they need, numbered from ``first_number``. One segment for each domain is in memory at a time."""

    def __init__(self, repository: MaintainRepository, host: HostId, first_number: int) -> None:
        self._repository = repository
        self._host = host
        self._number = first_number
        self._batches: dict[int, _Batch] = {}  # by domain

    def add(self, domain: int, entry: PackEntry, rows: Sequence[KeyRow]) -> Iterator[tuple[str, bytes]]:
        """One more pack; ``rows`` has at least the keys of its sessions. (Store key, bytes) of a segment that is full."""
        batch = self._batches.setdefault(domain, _Batch(self._host, domain))
        own_rows = _rows_of(entry, rows)
        if not batch.takes(entry, own_rows):
            yield self._write(batch)
            batch = self._batches[domain] = _Batch(self._host, domain)
        batch.add(entry, own_rows)

    def finish(self) -> Iterator[tuple[str, bytes]]:
        """(Store key, bytes) of the segments that are left."""
        for batch in self._batches.values():
            yield self._write(batch)
        self._batches = {}

    def _write(self, batch: _Batch) -> tuple[str, bytes]:
        number, self._number = self._number, following_number(self._number)
        return batch.write(self._repository, number)


def write_segment(
    repository: MaintainRepository, host: HostId, domain: int, number: int, rows: Sequence[KeyRow], packs: Sequence[PackEntry]
) -> tuple[str, bytes]:
    """(store key, bytes) of a maintainer's segment."""
    ids = tuple(entry.pack for entry in packs)
    public = SegmentPublic(repository.repository, host, NO_SESSION, number, domain, ids, tuple(rows))
    return seal_segment(public, packs, repository.index_key(domain), repository.key.sign)


@dataclass(slots=True)
class _Batch:
    """What is going to stand in one segment."""

    host: HostId
    domain: int
    rows: dict[bytes, KeyRow] = field(default_factory=dict)
    packs: dict[tuple[bytes, bytes], PackEntry] = field(default_factory=dict)  # by id and digest
    size_bytes: int = 0

    def takes(self, entry: PackEntry, rows: Sequence[KeyRow]) -> bool:
        """Whether there is room, and no session in it goes by another key. What fills a segment by itself, as a host may have listed it, has one."""
        if self.packs and self.size_bytes + listed_bytes(entry.frames, rows) > SEGMENT_RAW_LIMIT_BYTES:
            return False
        return self.size_bytes < SEGMENT_TARGET_BYTES and all(self.rows.get(row.session, row) == row for row in rows)

    def add(self, entry: PackEntry, rows: Sequence[KeyRow]) -> None:
        name = entry.pack, entries_digest(self.domain, entry.kind, entry.frames, rows)
        if name not in self.packs:
            self.packs[name] = entry
            self.size_bytes += listed_bytes(entry.frames, [row for row in rows if row.session not in self.rows])
        self.rows.update((row.session, row) for row in rows)

    def write(self, repository: MaintainRepository, number: int) -> tuple[str, bytes]:
        return write_segment(repository, self.host, self.domain, number, list(self.rows.values()), list(self.packs.values()))


def _rows_of(entry: PackEntry, rows: Sequence[KeyRow]) -> list[KeyRow]:
    sessions = {frame.session for frame in entry.frames}
    return [row for row in rows if row.session in sessions]


def segment_name(key: str) -> NumberedKey:
    """What the key of a loaded segment says."""
    name = parse_numbered_key(key)
    assert name is not None, "only keys of segments are loaded"
    return name
