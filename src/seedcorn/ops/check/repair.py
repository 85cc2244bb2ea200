"""Doing what a repair plan says, in an order in which it may be killed anywhere: small objects, packs, then segments that list those, and only then
removals.

What is put is signed as a maintainer. A collection at the same time could delete a pack that is just being listed: who repairs is told of one.

docs/format.md, sections "Index segment" and "Order of writing and reading"; the rules are in ``check.repair_plan``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.events import Counter, Monitor
from seedcorn.format.names import following_number, pack_key, parse_numbered_key, parse_pack_key
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.ids import HostId, PackId
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import Examination
from seedcorn.ops.check.put_back import SmallObjects
from seedcorn.ops.check.repair_packs import PackLook, PackRemains, opens
from seedcorn.ops.check.repair_plan import PackRepair, RepairPlan
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.packs import entries_digest, open_pack
from seedcorn.repo.rewriting.repacking import LiveFrames, NewPack, repack
from seedcorn.repo.rewriting.segments import SegmentSeries, fetch_segment
from seedcorn.repo.roots.collections import list_collections

__all__ = ["RepairResult", "execute_repair"]


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What has been put and removed, by key. ``collected_meanwhile``: a collection began or went on during the repair, so check again."""

    put_back: tuple[str, ...]
    new_packs: tuple[str, ...]
    new_segments: tuple[str, ...]
    removed_segments: tuple[str, ...]
    removed_packs: tuple[str, ...]
    collected_meanwhile: bool


def execute_repair(browser: Browser, examination: Examination, plan: RepairPlan, monitor: Monitor) -> RepairResult:
    """Do it. The browser is out of date afterwards.

    Raises:
        IntegrityError: something is other than it was when the plan was made; what has been done by then does no harm. Plan again.
        StoreError: the store fails.
    """
    return _Repair(browser, examination, plan, monitor).execute()


class _Repair:
    def __init__(self, browser: Browser, examination: Examination, plan: RepairPlan, monitor: Monitor) -> None:
        self._repository = browser.repository
        self._maintained = maintained_by_owner(browser.repository)
        self._store = browser.repository.store
        self._examination = examination
        self._plan = plan
        self._monitor = monitor
        self._look_at = PackLook(browser.repository, examination)
        self._small = SmallObjects(browser)
        self._series: dict[HostId, SegmentSeries] = {}
        self._new_packs: list[str] = []
        self._new_segments: list[str] = []

    def execute(self) -> RepairResult:
        plan = self._plan
        for damaged in plan.put_back:
            self._small.put_back(damaged)
        for repair in plan.give_up:
            self._must_be_lost(repair)
        for repair in plan.list_again:
            self._list_again(repair)
        for new in repack(self._maintained, (self._what_is_good(repair) for repair in plan.move)):
            self._put_moved(new)
        self._copy_entries()
        for series in self._series.values():
            self._put_segments(series.finish())
        removed = (*plan.replace_segments, *plan.remove_segments)
        removed_packs = tuple(key for key in plan.delete_packs if self._is_still_corrupt(key))
        for keys in (removed, removed_packs):
            if keys:
                self._store.delete(keys)
        return RepairResult(
            put_back=tuple(damaged.key for damaged in plan.put_back),
            new_packs=tuple(self._new_packs),
            new_segments=tuple(self._new_segments),
            removed_segments=removed,
            removed_packs=removed_packs,
            collected_meanwhile=not list_collections(self._store).records.keys() <= self._examination.records.log.records.keys(),
        )

    def _must_be_lost(self, repair: PackRepair) -> None:
        """A store may have answered wrongly; after this the index does not know the pack any more."""
        with suppress(ObjectNotFoundError):
            remains = self._look_at.remains(repair.host, repair.pack, repair.key)
            if remains.is_whole or self._look_at.unsafe(remains):
                raise _changed(repair.key)

    def _list_again(self, repair: PackRepair) -> None:
        remains = self._read_again(repair)
        opened = remains.opened
        if opened is None or not remains.is_whole:
            raise _changed(repair.key)
        self._list(repair.host, opened.head.domain, PackEntry(repair.pack, opened.head.kind, opened.frames), opened.head.key_rows)

    def _what_is_good(self, repair: PackRepair) -> LiveFrames:
        remains = self._read_again(repair)
        unsafe = self._look_at.unsafe(remains)
        if remains.opened is None or len(unsafe) != repair.frames:
            raise _changed(repair.key)
        head = remains.opened.head
        sessions = {entry.session for entry in unsafe}
        rows = tuple(row for row in head.key_rows if row.session in sessions)
        sealed = tuple(map(remains.opened.sealed_frame, unsafe))
        return LiveFrames(repair.host, repair.pack, head.kind, head.domain, tuple(unsafe), sealed, rows)

    def _put_moved(self, new: NewPack) -> None:
        """What is moved is opened again in its new place before it goes up."""
        opened = open_pack(new.data, new.host, self._repository.repository, self._repository.key)
        if not all(opens(opened, entry) for entry in opened.frames):
            raise _changed(", ".join(pack_key(new.host, source) for source in new.sources))
        self._store.put(new.key, new.data)
        self._monitor.count(Counter.STORED_BYTES, len(new.data))
        self._new_packs.append(new.key)
        self._list(new.host, new.domain, new.entry, new.rows)

    def _read_again(self, repair: PackRepair) -> PackRemains:
        """Nothing is kept of a pack between plan and execution but a digest: a whole index may have to be made anew."""
        remains = self._look_at.remains(repair.host, repair.pack, repair.key)
        if remains.opened is None or remains.digest != repair.digest:
            raise _changed(repair.key)
        return remains

    def _is_still_corrupt(self, key: str) -> bool:
        """A store may have answered wrongly once; this is the last chance to see that."""
        name = parse_pack_key(key)
        assert name is not None, "the plan names packs"
        try:
            return not self._look_at.remains(*name, key).is_intact
        except ObjectNotFoundError:
            return False

    def _copy_entries(self) -> None:
        """What the segments that go list besides is listed by new ones: once, or in each way in which a host that lies has listed it."""
        unlisted = self._plan.unlisted
        copied: set[tuple[str, bytes]] = set()
        for segment_key in self._plan.replace_segments:
            segment = fetch_segment(self._maintained, self._examination.registry, segment_key)
            host = HostId(segment.public.host)
            for entry in segment.packs:
                name = pack_key(host, PackId(entry.pack)), entries_digest(segment.public.domain, entry.kind, entry.frames, segment.public.key_rows)
                if name[0] not in unlisted and name not in copied:
                    self._list(host, segment.public.domain, entry, segment.public.key_rows)
                copied.add(name)

    def _list(self, host: HostId, domain: int, entry: PackEntry, rows: Sequence[KeyRow]) -> None:
        series = self._series.get(host)
        if series is None:
            series = self._series[host] = SegmentSeries(self._maintained, host, self._next_number(host))
        self._put_segments(series.add(domain, entry, rows))

    def _put_segments(self, segments: Iterable[tuple[str, bytes]]) -> None:
        for key, data in segments:
            self._store.put(key, data)
            self._new_segments.append(key)

    def _next_number(self, host: HostId) -> int:
        numbers = [name.number for info in self._store.list(f"index/{host.hex()}/") if (name := parse_numbered_key(info.key))]
        return following_number(max(numbers, default=0))


def _changed(key: str) -> IntegrityError:
    return IntegrityError("is not as it was when the repair was planned: run the same command again", object_name=key)
