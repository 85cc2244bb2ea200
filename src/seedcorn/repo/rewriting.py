"""Index segments written anew by a maintainer: without packs that go, and several small ones as one.

Entries are kept byte for byte, so that they keep their digest. Invariant: what is put lists everything that the old segments list but for the packs
that go, and only after that may the old ones be deleted: two maintainers at once lose nothing. docs/format.md, section "Index segment".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from seedcorn.errors import IntegrityError
from seedcorn.format.names import NumberedKey, parse_numbered_key
from seedcorn.ids import HostId, PackId
from seedcorn.repo.collections import Pack
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.index import OpenedSegment, open_segment
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.packs import entries_digest
from seedcorn.repo.rewrite import SegmentRewriter

__all__ = ["SMALL_SEGMENT_BYTES", "fetch_segment", "new_rewriter", "rewrite_segments"]

SMALL_SEGMENT_BYTES = 4 << 20  # as stored; a merged segment is larger than this, so that none is merged again and again


def fetch_segment(repository: MaintainRepository, registry: HostRegistry, key: str) -> OpenedSegment:
    """A verified segment.

    Raises:
        IntegrityError: it is damaged; named.
    """
    try:
        return open_segment(repository.store.get(key), _parsed(key), repository.repository, repository.index_key, registry)
    except IntegrityError as error:
        raise error.named(key) from error


def new_rewriter(repository: MaintainRepository, host: HostId, domain: int, number: int) -> SegmentRewriter:
    """Puts segments in the room of a host, numbered from ``number`` on."""
    return SegmentRewriter(repository.store, repository.key, host, domain, repository.index_key(domain), number)


def rewrite_segments(
    repository: MaintainRepository, registry: HostRegistry, keys: Sequence[str], doomed: Collection[Pack], first_number: int
) -> None:
    """Put segments that list what those at ``keys``, all of one host, list, but for ``doomed`` packs, each entry once.

    Numbered from ``first_number``, which has to be above all others of the host: who lists the index meanwhile then meets the old or the new one.
    """
    rewriters: dict[int, SegmentRewriter] = {}  # by domain
    listed: set[tuple[bytes, bytes]] = set()  # pack, digest of its entries
    for key in keys:
        host = _parsed(key).host
        opened = fetch_segment(repository, registry, key)
        domain = opened.public.domain
        for entry in opened.packs:
            name = entry.pack, entries_digest(entry.frames)
            if (host, PackId(entry.pack)) in doomed or name in listed:
                continue
            listed.add(name)
            if domain not in rewriters:
                rewriters[domain] = new_rewriter(repository, host, domain, first_number)
            rewriters[domain].add(entry, opened.public.key_rows)
    for rewriter in rewriters.values():
        rewriter.finish()


def _parsed(key: str) -> NumberedKey:
    name = parse_numbered_key(key)
    assert name is not None, "only keys of segments are loaded"
    return name
