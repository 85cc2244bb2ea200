"""How much a repository holds, and what it saved: sizes by set operations over bitmaps and the index, no tree is walked.

What snapshots need is known exactly; what the store holds is taken from a LIST.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seedcorn.format.names import pack_key
from seedcorn.format.pack import PackKind
from seedcorn.ops.browse import Browser, Snapshot
from seedcorn.repo.roots.needed import FrameSet, IndexedFrames
from seedcorn.repo.state.state import FramePlace, State
from seedcorn.store.api import Store

__all__ = ["StoredBytes", "Usage", "usage"]

_PLACES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """What lies in the store, in bytes and objects, whoever needs it. Unreferenced packs are those that no segment lists."""

    data_packs: int = 0
    listing_packs: int = 0
    unreferenced_packs: int = 0
    index: int = 0
    snapshots: int = 0
    other: int = 0  # header, key slots, host records, receipts and what is small beside these
    objects: int = 0

    @property
    def total(self) -> int:
        return self.data_packs + self.listing_packs + self.unreferenced_packs + self.index + self.snapshots + self.other


@dataclass(frozen=True, slots=True)
class Usage:
    """Figures of some snapshots and of the store that holds them. Sizes in bytes."""

    snapshots: int
    logical_bytes: int  # what restoring each of them would write, added up
    frames: int  # distinct ones that they need
    packs: int  # distinct ones that hold those
    raw_data_bytes: int  # distinct file content in them, before compression
    raw_listing_bytes: int
    sealed_bytes: int  # the same frames as stored
    framing_bytes: int  # heads and footers of all data packs
    stored: StoredBytes

    @property
    def raw_bytes(self) -> int:
        return self.raw_data_bytes + self.raw_listing_bytes

    @property
    def deduplication_ratio(self) -> float:
        """How many times the content would be there without deduplication."""
        return self.logical_bytes / self.raw_data_bytes if self.raw_data_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """How many times larger it would be uncompressed."""
        return self.raw_bytes / self.sealed_bytes if self.sealed_bytes else 1.0

    @property
    def overhead_percent(self) -> float:
        """The share of what is stored that is not file content: index, listings, heads and footers of packs, snapshots, header and keys."""
        stored = self.stored
        overhead = stored.listing_packs + stored.index + stored.snapshots + stored.other + self.framing_bytes
        return 100 * overhead / stored.total if stored.total else 0.0


def usage(browser: Browser, snapshots: Sequence[Snapshot]) -> Usage:
    """Count what ``snapshots`` need, and everything that the store holds.

    Raises:
        IntegrityError: a snapshot's set of frames is malformed; named.
    """
    indexed = IndexedFrames.of(browser.state)
    needed = FrameSet()
    for snapshot in snapshots:
        needed |= indexed.needed_by(snapshot).frames
    packs: set[str] = set()
    raw = dict.fromkeys(PackKind, 0)
    sealed_bytes = 0
    for place in _places(browser.state, needed):
        packs.add(pack_key(place.host, place.pack))
        raw[PackKind(place.kind)] += place.raw_bytes
        sealed_bytes += place.sealed_bytes
    kinds, sealed_data_bytes = _pack_kinds(browser.state)
    stored = _stored(browser.repository.store, kinds)
    return Usage(
        snapshots=len(snapshots),
        logical_bytes=sum(snapshot.owner.statistics.source_file_size for snapshot in snapshots),
        frames=len(needed),
        packs=len(packs),
        raw_data_bytes=raw[PackKind.DATA],
        raw_listing_bytes=raw[PackKind.LISTING],
        sealed_bytes=sealed_bytes,
        framing_bytes=max(0, stored.data_packs - sealed_data_bytes),
        stored=stored,
    )


def _places(state: State, ordinals: Iterable[int]) -> Iterator[FramePlace]:
    batch: list[int] = []
    for ordinal in ordinals:
        batch.append(ordinal)
        if len(batch) == _PLACES_AT_ONCE:
            yield from state.frame_places(batch).values()
            batch = []
    yield from state.frame_places(batch).values()


def _pack_kinds(state: State) -> tuple[dict[str, PackKind], int]:
    """The kind of every indexed pack by store key, and the sealed bytes of all indexed data frames."""
    kinds: dict[str, PackKind] = {}
    sealed_data_bytes = 0
    for place in _places(state, (ordinal for ordinal, _, _, _ in state.frames())):
        kind = kinds[pack_key(place.host, place.pack)] = PackKind(place.kind)
        if kind is PackKind.DATA:
            sealed_data_bytes += place.sealed_bytes
    return kinds, sealed_data_bytes


def _stored(store: Store, kinds: dict[str, PackKind]) -> StoredBytes:
    sizes = dict.fromkeys(StoredBytes.__dataclass_fields__, 0)
    for info in store.list(""):
        sizes[_place_in_stored(info.key, kinds)] += info.size_bytes
        sizes["objects"] += 1
    return StoredBytes(**sizes)


def _place_in_stored(key: str, kinds: dict[str, PackKind]) -> str:
    room = key.partition("/")[0]
    if room == "packs":
        kind = kinds.get(key)
        return "unreferenced_packs" if kind is None else "data_packs" if kind is PackKind.DATA else "listing_packs"
    return room if room in ("index", "snapshots") else "other"
