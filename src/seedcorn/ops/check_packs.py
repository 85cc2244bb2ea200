"""The packs: are they there, and, if asked, are they what they should be, frame by frame. Finds out which frames are lost.

Memory: one pack for each thread. docs/format.md, sections "Frame" and "Pack".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.events import Counter, Monitor
from seedcorn.format.codec import Magic
from seedcorn.format.names import pack_key
from seedcorn.format.pack import FrameEntry
from seedcorn.ids import HostId, SessionId
from seedcorn.ops.browse import Browser
from seedcorn.ops.check_findings import Findings
from seedcorn.ops.check_objects import IndexedPack
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.needed import FrameSet
from seedcorn.repo.packs import OpenedPack, check_hash, entries_digest, open_pack
from seedcorn.repo.state import State, frame_ordinal

__all__ = ["PackCheck"]


class PackCheck:
    """``lost`` collects the frames that can not be had from the packs in which the index places them."""

    def __init__(self, browser: Browser, findings: Findings, packs: Mapping[str, IndexedPack]) -> None:
        self._repository = browser.repository
        self._store = browser.repository.store
        self._reader = browser.reader
        self._state = browser.state
        self._findings = findings
        self._packs = packs
        self._frames = _frames_by_pack(browser.state)
        self._numbers = {(record.host, record.session): number for number, record in browser.state.sessions().items()}
        self.sizes: dict[str, int] = {}
        self.lost = FrameSet()

    def presence(self) -> None:
        """Compare a LIST with the index. Packs that no segment lists are nobody's loss: a session may be running, or have been killed."""
        self.sizes = {info.key: info.size_bytes for info in self._store.list("packs/")}
        for key, indexed in self._packs.items():
            size = self.sizes.get(key)
            if size is None:
                self._findings.problem(IntegrityError("is missing from the store", object_name=key))
                self.lost |= self._frames.get(key, FrameSet())
            elif size not in indexed.sizes or size > Magic.PACK.limit_bytes:
                self._findings.problem(IntegrityError(f"is {size} bytes long, which does not fit what the index says of it", object_name=key))
                self.lost |= self._frames_beyond(key, size)

    def _frames_beyond(self, key: str, size: int) -> FrameSet:
        places = self._state.frame_places(self._frames.get(key, FrameSet()))
        return FrameSet([ordinal for ordinal, place in places.items() if place.offset + place.sealed_bytes > size])

    def read_all(self, threads: int, monitor: Monitor) -> None:
        """Fetch every listed pack whole, and open every frame in it."""
        present = [indexed for key, indexed in sorted(self._packs.items()) if 0 < self.sizes.get(key, 0) <= Magic.PACK.limit_bytes]
        monitor.expect(Counter.CHECKED_BYTES, self._findings.checked_bytes + sum(self.sizes[indexed.key] for indexed in present))
        for lost in work_ahead(self._read_one, present, threads=threads):
            self.lost |= lost

    def _read_one(self, indexed: IndexedPack) -> FrameSet:
        """The frames of one pack that are lost; its first problem is reported."""
        try:
            data = self._store.get(indexed.key)
        except ObjectNotFoundError:
            self._findings.problem(IntegrityError("is missing from the store", object_name=indexed.key))
            return self._frames.get(indexed.key, FrameSet())
        problem: IntegrityError | None = None
        try:
            check_hash(data, indexed.pack)
        except IntegrityError as error:
            problem = error
        try:
            opened = open_pack(data, indexed.host, self._repository.repository, self._repository.key)
            _compare(opened, indexed)
            lost, first = self._read_frames(opened)
        except IntegrityError as error:
            lost, first = self._salvage(indexed, data), error
        problem = problem or first
        if problem is not None:
            message = f"{problem.message} ({len(lost)} of its {indexed.frame_count} frames are lost)"
            self._findings.problem(IntegrityError(message, object_name=indexed.key))
        self._findings.checked(len(data))
        return lost

    def _read_frames(self, opened: OpenedPack) -> tuple[FrameSet, IntegrityError | None]:
        lost, first = FrameSet(), None
        for entry in opened.frames:
            try:
                opened.open_frame(entry)
            except IntegrityError as error:
                first = first or error
                lost.update(self._ordinal(opened, entry))
        return lost, first

    def _ordinal(self, opened: OpenedPack, entry: FrameEntry) -> list[int]:
        number = self._numbers.get((HostId(opened.head.host), SessionId(entry.session)))
        return [] if number is None else [frame_ordinal(number, entry.seq)]

    def _salvage(self, indexed: IndexedPack, data: bytes) -> FrameSet:
        """The pack's own description is of no use: which frames open where the index says that they are?"""
        lost = FrameSet()
        view = memoryview(data)
        for ordinal, place in self._state.frame_places(self._frames.get(indexed.key, FrameSet())).items():
            try:
                self._reader.open_frame(ordinal, place, view[place.offset : place.offset + place.sealed_bytes])
            except IntegrityError:
                lost.add(ordinal)
        return lost


def _compare(opened: OpenedPack, indexed: IndexedPack) -> None:
    if opened.head.kind != indexed.kind or entries_digest(opened.frames) != indexed.digest:
        raise IntegrityError("its footer does not say the same as the index")


def _frames_by_pack(state: State) -> dict[str, FrameSet]:
    found: dict[str, FrameSet] = defaultdict(FrameSet)
    for pack in state.packs():
        found[pack_key(pack.host, pack.pack)].update(pack.ordinals())
    return found
