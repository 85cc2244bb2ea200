"""What a collection would do, as a value that can be shown before anything is done. Pure: set operations over bitmaps; nothing is fetched here.

Owns which packs are marked and which have waited, which are worth repacking, which segments become one, which snapshots and checkpoints expire, and
the brake; what is needed at all is said by ``gc.judge``. Time is the store's, and safety does not depend on it. docs/format.md, "Order of writing and
reading".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from seedcorn.errors import IntegrityError, SeedcornError, UsageError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import CheckpointRef, PackCopy, SnapshotRef
from seedcorn.format.names import parse_receipt_key
from seedcorn.ids import HostId, PackId
from seedcorn.ops.gc.judge import Judgement, frames_only_in, judge, named_frames, sources_of
from seedcorn.ops.gc.survey import StoredPack, Survey
from seedcorn.quantities import parse_percentage, parse_size
from seedcorn.repo.rewriting.segments import SMALL_SEGMENT_BYTES, segment_name
from seedcorn.repo.roots.collections import Mark, Pack, named_packs
from seedcorn.repo.roots.needed import open_bitmap
from seedcorn.repo.roots.roots import RootSnapshot, Standing, UnreadableSnapshot

__all__ = [
    "GRACE_NS",
    "CollectionOptions",
    "CollectionPlan",
    "MaxUnused",
    "check_brake",
    "plan_collection",
    "segments_to_merge",
    "spent_marks",
    "stale_keys",
]

_HOUR_NS = 3600 * 10**9
GRACE_NS = 72 * _HOUR_NS
_YOUNG_NS = 24 * _HOUR_NS
_BRAKE_SHARE = 0.3
_MERGE_FROM = 8  # small segments of one host before they are worth rewriting


@dataclass(frozen=True, slots=True)
class MaxUnused:
    """How much of what stays may be unused: a share of it in percent, or bytes; neither: any amount."""

    percent: float | None = 5.0
    size_bytes: int | None = None

    @staticmethod
    def parse(text: str) -> MaxUnused:
        """From ``5%``, ``200M`` or ``unlimited``.

        Raises:
            UsageError: anything else.
        """
        if text == "unlimited":
            return MaxUnused(None)
        percent = parse_percentage(text)
        if percent is not None and percent < 100:
            return MaxUnused(percent)
        try:
            return MaxUnused(None, parse_size(text))
        except UsageError:
            raise UsageError(f"{text!r} of unused space: give a percentage below 100 (5%), a size (200M), or unlimited") from None

    def limit_bytes(self, used_bytes: int) -> float:
        """How many unused bytes may lie beside ``used_bytes``."""
        if self.percent is not None:
            return used_bytes * self.percent / (100 - self.percent)
        return float("inf") if self.size_bytes is None else self.size_bytes


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """``grace_ns``: how long what is marked waits, by the store's clock. ``allow_large``: without the brake. ``emptied`` packs are repacked however
    little is unused: hosts would go on reusing the frames in them that snapshots have just been relocated from."""

    grace_ns: int = GRACE_NS
    max_unused: MaxUnused = MaxUnused()
    allow_large: bool = False
    emptied: frozenset[Pack] = frozenset()


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """Packs to be marked now and to be deleted now, those that wait; packs whose needed frames move; what stops counting; what is removed, by key.

    Sizes in bytes, of packs as stored. ``unused_bytes`` lie in packs that stay.
    """

    new: frozenset[Pack]
    ripe: frozenset[Pack]
    waiting: frozenset[Pack]
    repack: tuple[Pack, ...]
    merge: tuple[str, ...]
    expired: tuple[SnapshotRef, ...]
    expired_checkpoints: tuple[CheckpointRef, ...]
    removed: tuple[SnapshotRef, ...]
    stale: tuple[str, ...]
    judgement: Judgement
    new_bytes: int
    ripe_bytes: int
    waiting_bytes: int
    repack_bytes: int
    repack_used_bytes: int
    used_bytes: int
    unused_bytes: int
    total_bytes: int

    @property
    def needs_sweep(self) -> bool:
        return bool(self.ripe or self.expired or self.expired_checkpoints or self.removed)

    @property
    def doomed(self) -> frozenset[Pack]:
        """The packs that go sooner or later by what is done now."""
        return self.new.union(self.ripe, self.repack)

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.repack or self.merge or self.stale or self.needs_sweep)


def plan_collection(survey: Survey, options: CollectionOptions) -> CollectionPlan:
    """Decide about every pack, segment, snapshot and checkpoint."""
    judgement, packs = judge(survey), survey.packs
    chosen = _choose_packs(survey, judgement, options)
    checkpoints = tuple(one.ref for one in survey.roots.checkpoints if one.is_root and _is_old(one.stored_ns, survey, options.grace_ns))
    staying = [use for name, use in judgement.uses.items() if name not in judgement.collectable]

    def size(some: Iterable[Pack]) -> int:
        return sum(packs[name].size_bytes for name in some)

    return CollectionPlan(
        new=chosen.new,
        ripe=chosen.ripe,
        waiting=chosen.waiting,
        repack=chosen.repack,
        merge=segments_to_merge(survey),
        expired=_snapshots_to_expire(survey, options.grace_ns),
        expired_checkpoints=checkpoints,
        removed=_snapshots_to_remove(survey, options.grace_ns, chosen.ripe),
        stale=stale_keys(survey),
        judgement=judgement,
        new_bytes=size(chosen.new),
        ripe_bytes=size(chosen.ripe),
        waiting_bytes=size(chosen.waiting),
        repack_bytes=size(chosen.repack),
        repack_used_bytes=sum(judgement.uses[name].used_bytes for name in chosen.repack),
        used_bytes=sum(use.used_bytes for use in staying),
        unused_bytes=sum(use.frame_bytes - use.used_bytes for use in staying),
        total_bytes=survey.total_bytes,
    )


def check_brake(survey: Survey, packs: Collection[Pack], judgement: Judgement, options: CollectionOptions) -> None:
    """Raises:
    SeedcornError: without these packs, but for what is needed of them and stays in copies, more than 30 % of all bytes would be gone.
    """
    kept = (judgement.uses[name].used_bytes if name in judgement.uses else 0 for name in packs)
    size_bytes = sum(survey.packs[name].size_bytes for name in packs) - sum(kept)
    if size_bytes > _BRAKE_SHARE * survey.total_bytes and not options.allow_large:
        share = 100 * size_bytes / survey.total_bytes
        raise SeedcornError(
            f"this collection would delete {size_bytes:,} of {survey.total_bytes:,} bytes ({share:.0f} %), and {100 * _BRAKE_SHARE:.0f} % is where "
            "it stops to ask: look at what `--dry-run` shows, and if that is what you want, add --allow-large"
        )


# -- packs -----------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The packs of a plan, as it names them."""

    new: frozenset[Pack]
    ripe: frozenset[Pack]
    waiting: frozenset[Pack]
    repack: tuple[Pack, ...]


def _choose_packs(survey: Survey, judgement: Judgement, options: CollectionOptions) -> _Chosen:
    """What nothing needs is marked once it is a day old, and waits for the grace; what a collector that did not end has left behind has had its own.
    A grace of less than a day makes that day as short, and without one all of it goes at once."""
    collections, packs = survey.collections, survey.packs
    marked = {mark: named_packs([mark.record]) for mark in collections.marks}
    left = named_packs(collections.unfinished_sweeps)
    old = left.union(*(named for mark, named in marked.items() if _is_old(mark.stored_ns, survey, options.grace_ns)))
    named = left.union(*marked.values())
    young_ns = min(_YOUNG_NS, options.grace_ns)
    aged = {name for name, pack in packs.items() if not pack.present or _is_old(pack.stored_ns, survey, young_ns)}
    new = (judgement.collectable - named) & aged
    ripe = judgement.collectable & old
    return _Chosen(
        new=new,
        ripe=ripe | new if options.grace_ns == 0 else ripe,
        waiting=(judgement.collectable & named) - old,
        repack=tuple(_choose_repacks(survey, judgement, aged - named - collections.swept(), options)),
    )


def _choose_repacks(survey: Survey, judgement: Judgement, eligible: Collection[Pack], options: CollectionOptions) -> Iterator[Pack]:
    """Packs that were emptied, then those with the smallest share of needed bytes first, until what stays unused is within its limit."""
    staying = {name: use for name, use in judgement.uses.items() if name not in judgement.collectable}
    limit_bytes = options.max_unused.limit_bytes(sum(use.used_bytes for use in staying.values()))
    uses = {name: use for name, use in staying.items() if _is_movable(survey.packs[name])}  # no move makes the garbage of others less
    unused_bytes = sum(use.frame_bytes - use.used_bytes for use in uses.values())
    partly = [
        (name not in options.emptied, use.used_bytes / use.frame_bytes, name)
        for name, use in uses.items()
        if use.used_bytes < use.frame_bytes and name in eligible
    ]
    for is_spared, _, name in sorted(partly):
        if is_spared and unused_bytes <= limit_bytes:
            return
        unused_bytes -= uses[name].frame_bytes - uses[name].used_bytes
        yield name


def _is_movable(pack: StoredPack) -> bool:
    """Not if two lists of it differ: nobody can tell here which of them is right. Nor if it would be read whole and no honest host has put it."""
    return len(pack.records) == 1 and pack.size_bytes <= Magic.PACK.limit_bytes


def spent_marks(survey: Survey, plan: CollectionPlan, grace_ns: int) -> Iterator[Mark]:
    """Marks that have nothing more to say once ``plan.ripe`` has been swept: what else they name is needed again.

    One stays while its copies hold all that a pack is needed for that they replace. It stays for a day while they may yet come to, since their
    segment may not have been put yet; copies that are swept never will.
    """
    gone = plan.ripe | survey.collections.swept()

    def may_replace(copy: PackCopy, *, is_young: bool) -> bool:
        left = {source for source in sources_of(copy).keys() - plan.ripe if source in survey.packs and survey.packs[source].present}
        pack = survey.packs.get((HostId(copy.host), PackId(copy.pack)))
        is_awaited = is_young and (pack is None or copy.digest not in {record.digest for record in pack.records})
        return bool(left) and (is_awaited or not left.isdisjoint(plan.judgement.covered))

    for mark in survey.collections.marks:
        copies = (copy for copy in mark.record.copies if (HostId(copy.host), PackId(copy.pack)) not in gone)
        is_young = not _is_old(mark.stored_ns, survey, _YOUNG_NS)
        if _is_old(mark.stored_ns, survey, grace_ns) and not any(may_replace(copy, is_young=is_young) for copy in copies):
            yield mark


# -- segments --------------------------------------------------------------------------------------------------------------------------------


def segments_to_merge(survey: Survey) -> tuple[str, ...]:
    """Segments that should become fewer: many small ones of one host, and those that list packs which others list too (a rewrite was interrupted)."""
    small: dict[HostId, list[str]] = defaultdict(list)
    listed: dict[Pack, list[str]] = defaultdict(list)
    for key, segment in survey.segments.items():
        if segment.size_bytes < SMALL_SEGMENT_BYTES:
            small[segment_name(key).host].append(key)
        for pack in segment.packs:
            listed[pack].append(key)
    many = chain.from_iterable(keys for keys in small.values() if len(keys) >= _MERGE_FROM)
    twice = chain.from_iterable(keys for pack, keys in listed.items() if len(keys) > len(survey.packs[pack].records))
    return tuple(sorted({*many, *twice}))


# -- snapshots and checkpoints ---------------------------------------------------------------------------------------------------------------


def _is_old(stored_ns: int, survey: Survey, age_ns: int) -> bool:
    return age_ns == 0 or survey.now_ns - stored_ns >= age_ns


def _snapshots_to_expire(survey: Survey, grace_ns: int) -> tuple[SnapshotRef, ...]:
    """Unconfirmed ones that nobody will confirm any more, and what is no root already and takes up room.

    None if there is no receipt at all: a listing that comes back empty must not make every snapshot look abandoned. And none whose receipt can not be
    read: it may have been confirmed.
    """
    roots = survey.roots
    if not roots.receipts.receipted:
        return ()
    gone = (Standing.SUPERSEDED, Standing.VOID, Standing.EXPIRED)

    def is_abandoned(root: RootSnapshot | UnreadableSnapshot) -> bool:
        if root.standing is Standing.UNCONFIRMED:
            return root.ref not in roots.receipts.doubtful
        return root.standing in gone and not roots.is_newest(root.ref)

    return tuple(root.ref for root in roots.objects if is_abandoned(root) and _is_old(root.stored_ns, survey, grace_ns))


def _snapshots_to_remove(survey: Survey, grace_ns: int, ripe: Collection[Pack]) -> tuple[SnapshotRef, ...]:
    """Forgotten ones that can not be taken back any more: for longer than the grace, or because packs that they need are going. What one needs that
    can not be read is not known."""
    forgotten = [root for root in survey.roots.objects if root.standing is Standing.FORGOTTEN]
    going = {entry.session: open_bitmap(entry) for entry in named_frames(survey, frames_only_in(survey, ripe))} if forgotten else {}
    removed, already = [], survey.collections.removed

    def loses(root: RootSnapshot | UnreadableSnapshot) -> bool:
        if isinstance(root, RootSnapshot):
            with suppress(IntegrityError):  # its set of frames is malformed
                return any(entry.session in going and open_bitmap(entry) & going[entry.session] for entry in root.maintain.needed)
        return False

    for root in forgotten:
        old = _is_old(survey.roots.forget_log.forgotten[root.ref], survey, grace_ns)
        if (old or loses(root)) and not (survey.roots.is_newest(root.ref) and root.ref in already):
            removed.append(root.ref)
    return tuple(removed)


def stale_keys(survey: Survey) -> tuple[str, ...]:
    """Objects that mean nothing any more: checkpoints of sessions that have ended, receipts of snapshots that were removed, and forgotten probes."""
    roots = survey.roots
    keys = list(roots.collections.probes)
    keys += [key for one in roots.checkpoints for key in (*one.older, *(() if one.is_root else (one.key,)))]
    known = roots.forget_log.forgotten.keys() | roots.collections.expired | roots.collections.removed
    gone = known - {root.ref for root in roots.objects}
    keys += [key for ref in sorted(gone) for key in roots.receipts.keys_of(ref)]
    damaged = ((problem.object_name, parse_receipt_key(problem.object_name)) for problem in roots.receipts.problems)
    keys += [key for key, name in damaged if name and SnapshotRef(name.host, name.seq, name.snapshot) in gone]
    return tuple(keys)
