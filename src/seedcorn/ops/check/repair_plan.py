"""What a repair would do, as a value that can be shown before anything is done. Reads the store and changes nothing.

Owns the rules of a repair. Nothing that could be of use is ever given up:

- A small signed object that is damaged is put once more, beside it, with the bytes that this machine remembers.
- A pack that is good, and that no good segment lists, is listed again.
- Frames that are still good in a damaged pack, and in no other one, go to a new pack.
- Only then segments that list damaged or missing packs are replaced, and segments whose bytes are not those of their name are removed. So are those
  of another host's session: nobody believes them, and `check` would name them for ever.
- A damaged pack stays where it is, unless who repairs wants it gone.
- A pack that a sweep names, and that is gone, stays listed where it is: that may be all there is to tell what a torn snapshot lacks.
- A pack that a sweep names is not listed again, unless it was kept or a snapshot needs it: then the collection leaves it, too.
- Nothing else happens to snapshots and records, and of two snapshots with one number both stay.

An object with the right bytes that can not be opened here is not damaged: a newer program may know it.

docs/format.md, sections "Index segment" and "Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from seedcorn.crypto import primitives
from seedcorn.errors import ForeignSessionError, IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Magic
from seedcorn.format.names import pack_key, parse_numbered_key, parse_pack_key
from seedcorn.format.pack import FrameEntry
from seedcorn.ids import HostId, PackId
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import Examination
from seedcorn.ops.check.put_back import PutBack, SmallObjects
from seedcorn.ops.check.repair_packs import PackLook
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.index import open_segment
from seedcorn.repo.roots.needed import needed_by_any

__all__ = ["PackRepair", "RepairOptions", "RepairPlan", "plan_repair"]


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """``delete_damaged``: packs whose bytes are not those of their name go, once everything good in them is elsewhere."""

    delete_damaged: bool = False
    readers: int = 2  # packs in memory at a time


@dataclass(frozen=True, slots=True)
class PackRepair:
    """One pack: how many of its frames are good and are not safe elsewhere, how many are lost, and its own description as it was read."""

    host: HostId
    pack: PackId
    size_bytes: int = 0
    frames: int = 0
    lost_frames: int = 0
    digest: bytes = b""

    @property
    def key(self) -> str:
        return pack_key(self.host, self.pack)


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """In the order in which it is done. ``swept`` packs are left alone: a collection deletes them, or has been interrupted when it did. ``unknown``
    are the keys of damaged small objects that this machine can not put back, for it does not remember them."""

    put_back: tuple[PutBack, ...]
    list_again: tuple[PackRepair, ...]
    move: tuple[PackRepair, ...]
    give_up: tuple[PackRepair, ...]
    replace_segments: tuple[str, ...]
    remove_segments: tuple[str, ...]
    delete_packs: tuple[str, ...]
    swept: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.put_back or self.list_again or self.move or self.give_up or self.remove_segments or self.delete_packs)

    @property
    def unlisted(self) -> frozenset[str]:
        """Keys of the packs that no old segment is to list any more."""
        return frozenset(pack.key for pack in (*self.list_again, *self.move, *self.give_up))


@dataclass(frozen=True, slots=True)
class _Looked:
    """What has been found out about one pack. ``is_swept``: it belongs to a collection."""

    repair: PackRepair
    verdict: _Verdict
    is_listed: bool
    is_swept: bool = False


class _Verdict(Enum):
    WHOLE = auto()  # to be listed as it describes itself
    CORRUPT = auto()  # its bytes are not those of its name
    WRONG = auto()  # they are, and yet it does not hold what it should: nobody but a host can do that
    MISSING = auto()
    UNKNOWN = auto()  # not understood here


def plan_repair(browser: Browser, examination: Examination, options: RepairOptions) -> RepairPlan:
    """Look at everything that the examination found wrong, and at every pack that no segment lists: those are read whole.

    Raises:
        StoreError: the store fails to answer.
    """
    return _Planner(browser, examination).plan(options)


class _Planner:
    def __init__(self, browser: Browser, examination: Examination) -> None:
        self._packs = examination.packs
        self._index = examination.index
        self._repository = browser.repository
        self._registry = examination.registry
        self._look_at = PackLook(browser.repository, examination)
        swept = examination.records.collections.swept() | browser.collections.swept()  # of a damaged sweep this machine may remember what it says
        self._swept = {pack_key(host, pack) for host, pack in swept}
        self._small = SmallObjects(browser)
        self._result = examination.result
        self._is_needed = needed_by_any(browser.snapshots)

    def plan(self, options: RepairOptions) -> RepairPlan:
        worthless = tuple(key for key in sorted(self._index.damaged) if self._is_worthless(key))
        suspects = sorted({*self._packs.suspects, *self._unlisted(), *self._beside(worthless)})
        looked = list(work_ahead(self._look, suspects, threads=options.readers))
        acted = [found for found in looked if not found.is_swept and not self._is_well(found)]
        broken = [found for found in acted if found.verdict is not _Verdict.WHOLE]
        replaced = {segment for found in acted if found.is_listed for segment in self._index.listed_in[found.repair.key]}
        put_back, unknown = self._small.plan(self._result)
        corrupt = [found.repair.key for found in looked if found.verdict is _Verdict.CORRUPT]
        return RepairPlan(
            put_back=put_back,
            list_again=tuple(found.repair for found in acted if found.verdict is _Verdict.WHOLE),
            move=tuple(found.repair for found in broken if found.repair.frames),
            give_up=tuple(found.repair for found in broken if found.is_listed and not found.repair.frames),
            replace_segments=tuple(sorted(replaced)),
            remove_segments=worthless,
            delete_packs=tuple(corrupt) if options.delete_damaged else (),
            swept=tuple(found.repair.key for found in looked if found.is_swept),
            unknown=unknown,
        )

    def _unlisted(self) -> Iterator[str]:
        """Of enrolled hosts: a segment of another one would not be believed."""
        for key in self._packs.sizes:
            name = parse_pack_key(key)
            if key not in self._index.packs and name is not None and name[0] in self._registry.hosts:
                yield key

    def _beside(self, segments: Iterable[str]) -> Iterator[str]:
        """All packs of the hosts of these segments. One of them may be listed by a lie alone once the segment is gone that told the truth of it, and
        what is moved by a lie is lost."""
        hosts = {name.host for segment in segments if (name := parse_numbered_key(segment))}
        for key in self._packs.sizes:
            pack = parse_pack_key(key)
            if pack is not None and pack[0] in hosts:
                yield key

    def _look(self, key: str) -> _Looked:
        name = parse_pack_key(key)
        assert name is not None, "keys come from the index or have been parsed before"
        indexed = self._index.packs.get(key)
        all_lost = PackRepair(*name, lost_frames=indexed.frame_count if indexed else 0)
        try:
            remains = self._look_at.remains(*name, key)
        except ObjectNotFoundError:
            return _Looked(all_lost, _Verdict.MISSING, indexed is not None)
        if remains.is_strange:
            return _Looked(all_lost, _Verdict.UNKNOWN, indexed is not None)
        verdict = _Verdict.WHOLE if remains.is_whole else _Verdict.WRONG if remains.is_intact else _Verdict.CORRUPT
        if remains.opened is None:
            return _Looked(replace(all_lost, size_bytes=remains.size_bytes), verdict, indexed is not None)
        unsafe = self._look_at.unsafe(remains)
        frames = len(remains.good) if remains.is_whole else len(unsafe)
        repair = PackRepair(*name, remains.size_bytes, frames, remains.lost_frames, remains.digest)
        return _Looked(repair, verdict, indexed is not None, indexed is None and key in self._swept and not self._is_wanted(unsafe))

    def _is_wanted(self, frames: Iterable[FrameEntry]) -> bool:
        return any(self._is_needed(entry.session, entry.seq) for entry in frames)

    def _is_well(self, found: _Looked) -> bool:
        """Whether there is nothing to do: a second look finds nothing wrong with it, or it is not for us to judge."""
        indexed = self._index.packs.get(found.repair.key)
        is_undisputed = indexed is not None and not indexed.is_disputed and indexed.listed_as(found.repair.digest)
        is_as_indexed = found.verdict is _Verdict.WHOLE and is_undisputed
        is_as_should_be = found.verdict is _Verdict.MISSING and (not found.is_listed or found.repair.key in self._swept)
        return is_as_indexed or is_as_should_be or found.verdict is _Verdict.UNKNOWN

    def _is_worthless(self, key: str) -> bool:
        """Whether a segment that did not load says nothing that anybody could ever use."""
        name = parse_numbered_key(key)
        if name is None or name.host not in self._registry.hosts:
            return False
        try:
            if self._repository.store.head(key).size_bytes > Magic.SEGMENT.limit_bytes:
                return False  # not ours to judge unread
            data = self._repository.store.get(key)
            if primitives.object_hash(data) != name.object_id:
                return True
            open_segment(data, name, self._repository.repository, self._repository.key.index_key, self._registry)
        except ForeignSessionError:
            return True
        except (ObjectNotFoundError, IntegrityError):
            return False
        return False
