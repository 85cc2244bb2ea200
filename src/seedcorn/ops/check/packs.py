"""The packs: are they there, and, if asked, are they what they should be, frame by frame. Finds out which frames are lost.

A frame is lost if every pack in which the index places it has lost it. Where segments contradict each other, what is in the pack decides if packs are
read, and all of them are believed if not. Memory: one pack for each thread. docs/format.md, sections "Frame" and "Pack".
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.events import Counter, Monitor
from seedcorn.format.codec import Magic
from seedcorn.format.collection import VerifiedPack
from seedcorn.format.names import pack_key
from seedcorn.format.pack import FrameEntry
from seedcorn.ids import PackId
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.choice import Subset
from seedcorn.ops.check.findings import Findings
from seedcorn.ops.check.objects import IndexedPack
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.packs import OpenedPack, check_hash, open_pack
from seedcorn.repo.roots.needed import FrameSet
from seedcorn.repo.state.state import FramePlace, State, frame_ordinal

__all__ = ["PackCheck", "Reading"]

_DISPUTED = "is listed in {} ways, of which one can be true: whoever has the key of its host has lied. Revoke the host; --repair lists what is in it"


@dataclass(frozen=True, slots=True)
class Reading:
    """Which packs to read: those verified at a moment in ``recent_ns`` (by this machine's clock) are left out, of the others ``subset`` is read."""

    recent_ns: range
    subset: Subset | None
    rng: random.Random
    threads: int


@dataclass(frozen=True, slots=True)
class _Present:
    """A pack of the index that the store has."""

    indexed: IndexedPack
    size_bytes: int

    @property
    def pack_id(self) -> bytes:
        return self.indexed.pack


class PackCheck:
    """``missing``, ``damaged`` and ``disputed`` are keys of packs that the index lists, the last in more ways than one; ``verified`` are the packs in
    which everything has been found good.

    ``swept`` are keys of packs that a collection deletes: that one is missing is no problem, as long as no snapshot needs what was in it.
    """

    def __init__(self, browser: Browser, findings: Findings, packs: Mapping[str, IndexedPack], swept: Collection[str]) -> None:
        self._repository = browser.repository
        self._store = browser.repository.store
        self._reader = browser.reader
        self._state = browser.state
        self._findings = findings
        self._packs = packs
        self._swept = swept
        self._frames = _frames_by_pack(browser.state)
        self._numbers: dict[bytes, list[int]] = defaultdict(list)  # by session; more than one if its host says that it has two keys
        for number, record in browser.state.sessions().items():
            self._numbers[record.session].append(number)
        self._lost_in: dict[str, FrameSet] = {}
        self.sizes: dict[str, int] = {}
        self.missing: set[str] = set()
        self.damaged: set[str] = set()
        self.disputed = {key for key, indexed in packs.items() if indexed.is_disputed}
        self.verified: list[VerifiedPack] = []
        self.read_packs = 0
        self.skipped_packs = 0

    def presence(self) -> None:
        """Compare a LIST with the index. Packs that no segment lists are nobody's loss: a session may be running, or have been killed."""
        self.sizes = {info.key: info.size_bytes for info in self._store.list("packs/")}
        for key, indexed in self._packs.items():
            if indexed.is_disputed:
                self._findings.problem(IntegrityError(_DISPUTED.format(len(indexed.listings)), object_name=key))
            size = self.sizes.get(key)
            if size is None:
                self._is_missing(key)
                continue
            if indexed.is_disputed or not indexed.may_be_of(size):
                self._lost_in[key] = self._frames_beyond(key, size)
            if not indexed.may_be_of(size) or size > Magic.PACK.limit_bytes:
                self._findings.problem(IntegrityError(f"is {size} bytes long, which does not fit what the index says of it", object_name=key))
                self.damaged.add(key)

    def _is_missing(self, key: str) -> None:
        if key not in self._swept:
            self._findings.problem(IntegrityError("is missing from the store", object_name=key))
        self.missing.add(key)
        self._lost_in[key] = self._frames.get(key, FrameSet())

    def _frames_beyond(self, key: str, size: int) -> FrameSet:
        return self._lost_of(key, lambda _, place: place.offset + place.sealed_bytes <= size)

    def _lost_of(self, key: str, is_good: Callable[[int, FramePlace], bool]) -> FrameSet:
        """The frames that the index places in a pack, and that are good in none of their places there."""
        lost = FrameSet()
        for ordinal in self._frames.get(key, ()):
            places = (place for place in self._state.all_frame_places(ordinal) if pack_key(place.host, place.pack) == key)
            if not any(is_good(ordinal, place) for place in places):
                lost.add(ordinal)
        return lost

    @property
    def lost(self) -> FrameSet:
        """The frames that can not be had from any pack in which the index places them."""
        return self._lost_for_good(self._lost_in)

    @property
    def collected(self) -> FrameSet:
        """Those of ``lost`` that were in packs which a collection has deleted."""
        return self._lost_for_good(key for key in self.missing if key in self._swept)

    def _lost_for_good(self, keys: Iterable[str]) -> FrameSet:
        lost = FrameSet()
        for key in keys:
            lost.update([ordinal for ordinal in self._lost_in[key] if not self._is_had(ordinal)])
        return lost

    def _is_had(self, ordinal: int) -> bool:
        """Whether a good segment places this frame in a pack that has not lost it."""
        return any(ordinal not in self._lost_in.get(key, ()) for key in self._places(ordinal))

    def is_safe(self, session: bytes, seq: int) -> bool:
        """Whether a good segment places this frame in a pack in which nothing is known to be wrong."""
        ordinals = (frame_ordinal(number, seq) for number in self._numbers.get(session, ()))
        suspects = self.missing, self.damaged, self.disputed
        return any(not any(key in some for some in suspects) for ordinal in ordinals for key in self._places(ordinal))

    @property
    def suspects(self) -> set[str]:
        """Keys of the packs with which something is known to be wrong."""
        return self.missing | self.damaged | self.disputed

    def _places(self, ordinal: int) -> list[str]:
        """Keys of the packs in which good segments place a frame."""
        keys = (pack_key(place.host, place.pack) for place in self._state.all_frame_places(ordinal))
        return [key for key in keys if key in self._packs]

    # -- content -----------------------------------------------------------------------------------------------------------------------------

    def read(self, reading: Reading, monitor: Monitor) -> None:
        """Fetch packs whole, and open every frame in them."""
        present = [
            _Present(indexed, self.sizes[key]) for key, indexed in sorted(self._packs.items()) if 0 < self.sizes.get(key, 0) <= Magic.PACK.limit_bytes
        ]
        chosen = [pack for pack in present if not self._is_recent(pack.indexed, reading.recent_ns)]
        if reading.subset is not None:
            chosen = reading.subset.choose(chosen, reading.rng)
        self.skipped_packs = len(present) - len(chosen)
        monitor.expect(Counter.CHECKED_BYTES, self._findings.checked_bytes + sum(pack.size_bytes for pack in chosen))
        for indexed, digest, lost in work_ahead(self._read_one, (pack.indexed for pack in chosen), threads=reading.threads):
            self.read_packs += 1
            self._lost_in[indexed.key] = lost
            if digest:
                self.verified.append(VerifiedPack(indexed.host, indexed.pack, digest))
            elif indexed.key not in self.missing:
                self.damaged.add(indexed.key)

    def _is_recent(self, indexed: IndexedPack, recent_ns: range) -> bool:
        if not recent_ns or indexed.is_disputed:
            return False
        (listing,) = indexed.listings
        verified_ns = self._state.verifications().verified_ns(indexed.pack, listing.digest)
        return verified_ns is not None and verified_ns in recent_ns

    def remember(self, now_ns: int) -> list[VerifiedPack]:
        """Note in the state what has been verified; the same as the verified set names it."""
        self._state.verifications().note(((PackId(pack.pack), pack.digest) for pack in self.verified), now_ns)
        return self.verified

    def _read_one(self, indexed: IndexedPack) -> tuple[IndexedPack, bytes, FrameSet]:
        """What one pack says of itself, if nothing is wrong with it, and the frames that the index places in it and that are not there; its first
        problem is reported."""
        try:
            data = self._store.get(indexed.key)
        except ObjectNotFoundError:
            self._is_missing(indexed.key)
            return indexed, b"", self._lost_in[indexed.key]
        problem: IntegrityError | None = None
        digest = b""
        try:
            check_hash(data, indexed.pack)
        except IntegrityError as error:
            problem = error
        try:
            opened = open_pack(data, indexed.host, self._repository.repository, self._repository.key)
            if not indexed.listed_as(opened.digest):
                raise IntegrityError("does not say of itself what the index says")
            digest = opened.digest
            good, first = self._read_frames(opened)
            lost = self._frames.get(indexed.key, FrameSet()) - good
        except IntegrityError as error:
            lost, first = self._salvage(indexed, data), error
        problem = problem or first
        self._findings.checked(len(data))
        if problem is None:
            return indexed, digest, lost
        message = f"{problem.message} ({len(lost)} of its {indexed.frame_count} frames are lost)"
        self._findings.problem(IntegrityError(message, object_name=indexed.key))
        return indexed, b"", lost

    def _read_frames(self, opened: OpenedPack) -> tuple[FrameSet, IntegrityError | None]:
        good, first = FrameSet(), None
        for entry in opened.frames:
            try:
                opened.open_frame(entry)
                good.update(self._ordinals(entry))
            except IntegrityError as error:
                first = first or error
        return good, first

    def _ordinals(self, entry: FrameEntry) -> list[int]:
        return [frame_ordinal(number, entry.seq) for number in self._numbers.get(entry.session, ())]

    def _salvage(self, indexed: IndexedPack, data: bytes) -> FrameSet:
        """The pack's own description is of no use: which frames do not open where the index says that they are?"""
        view = memoryview(data)

        def opens(ordinal: int, place: FramePlace) -> bool:
            try:
                self._reader.open_frame(ordinal, place, view[place.offset : place.offset + place.sealed_bytes])
            except IntegrityError:
                return False
            return True

        return self._lost_of(indexed.key, opens)


def _frames_by_pack(state: State) -> dict[str, FrameSet]:
    found: dict[str, FrameSet] = defaultdict(FrameSet)
    for pack in state.packs():
        found[pack_key(pack.host, pack.pack)].update(pack.ordinals())
    return found
