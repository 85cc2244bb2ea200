"""What is left of a pack: read by its own footer or, if that is of no use, by what the index says of it; every frame opened, every id recomputed.

docs/format.md, section "Pack".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Magic
from seedcorn.format.pack import FrameEntry, PackEntry, PackHead
from seedcorn.ids import HostId, PackId
from seedcorn.ops.check.check import Examination
from seedcorn.repo.index import OpenedSegment
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.packs import OpenedPack, open_indexed_pack, open_pack
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.rewriting.segments import fetch_segment

__all__ = ["PackLook", "PackRemains", "opens"]


@dataclass(frozen=True, slots=True)
class PackRemains:
    """The frames of a pack that are as they were written, and how many are not.

    ``is_intact``: its bytes are those of its name; ``describes_itself``: its own footer is good. ``opened`` is None if nothing in it can be read.
    """

    size_bytes: int
    is_intact: bool
    describes_itself: bool
    opened: OpenedPack | None
    good: tuple[FrameEntry, ...] = ()
    lost_frames: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing wrong with it, whatever the index says."""
        return self.is_intact and self.describes_itself and not self.lost_frames

    @property
    def digest(self) -> bytes:
        """Of what it was opened with; empty if nothing in it can be read."""
        return self.opened.digest if self.opened is not None else b""

    @property
    def is_strange(self) -> bool:
        """Whether it is just what was put, and yet can not be understood here."""
        return self.is_intact and not self.describes_itself and not self.lost_frames


class PackLook:
    """Reads packs one at a time, whatever state they are in. Thread-safe."""

    def __init__(self, repository: OwnerRepository, examination: Examination) -> None:
        self._repository = repository
        self._maintained = maintained_by_owner(repository)
        self._store = repository.store
        self._examination = examination

    def remains(self, host: HostId, pack: PackId, key: str) -> PackRemains:
        """Read a pack whole; twice, if its bytes are not those of its name, for a store may answer wrongly once. One that is too large is read as far
        as a pack may reach.

        Raises:
            ObjectNotFoundError: it is not there.
        """
        size_bytes, data = self._read(key)
        if primitives.object_hash(data) != pack:
            size_bytes, data = self._read(key)
        is_intact = len(data) == size_bytes and primitives.object_hash(data) == pack
        try:
            readings, describes_itself = [open_pack(data, host, self._repository.repository, self._repository.key)], True
            self._examination.registry.check_domain(host, readings[0].head.domain)  # nobody would believe a segment that lists it
        except IntegrityError:
            readings, describes_itself = list(self._as_indexed(data, host, pack, key)), False
        if not readings:
            return PackRemains(size_bytes, is_intact, describes_itself, None)
        found = [(tuple(entry for entry in opened.frames if opens(opened, entry)), opened) for opened in readings]
        good, opened = max(found, key=lambda one: len(one[0]))
        return PackRemains(size_bytes, is_intact, describes_itself, opened, good, len(opened.frames) - len(good))

    def _read(self, key: str) -> tuple[int, bytes]:
        limit_bytes = Magic.PACK.limit_bytes
        size_bytes = self._store.head(key).size_bytes
        return size_bytes, self._store.get(key) if size_bytes <= limit_bytes else self._store.get_range(key, 0, limit_bytes)

    def _as_indexed(self, data: bytes, host: HostId, pack: PackId, key: str) -> Iterator[OpenedPack]:
        """In each way in which segments list it: one may be a lie."""
        digests = set()
        for segment_key in self._examination.index.listed_in.get(key, ()):
            segment = fetch_segment(self._maintained, self._examination.registry, segment_key)
            for entry in (entry for entry in segment.packs if entry.pack == pack):
                with suppress(IntegrityError):
                    opened = open_indexed_pack(data, _head_of(segment, host, entry), entry.frames, self._repository.key)
                    if opened.digest not in digests:
                        yield opened
                    digests.add(opened.digest)

    def unsafe(self, remains: PackRemains) -> list[FrameEntry]:
        """The good frames that no other pack is known to hold."""
        is_safe = self._examination.packs.is_safe
        return [entry for entry in remains.good if not is_safe(entry.session, entry.seq)]


def _head_of(segment: OpenedSegment, host: HostId, entry: PackEntry) -> PackHead:
    public = segment.public
    return PackHead(entry.kind, public.repository, host, public.session, public.domain, public.key_rows)


def opens(opened: OpenedPack, entry: FrameEntry) -> bool:
    """Whether a frame is what was sealed, with the very chunks that its entry says."""
    try:
        opened.open_frame(entry)
    except IntegrityError:
        return False
    return True
