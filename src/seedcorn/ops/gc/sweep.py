"""Collecting garbage without locks: mark, and after the grace sweep, in steps that may be cut off anywhere.

The argument is that of ``commit``, from the other side: the sweep is put, and *then* gc, roots and index are read again; a host that could not see
the sweep has its receipt in that reading. Invariants: a pack is deleted only if this process named it in a sweep, and nothing read after that needs
it; a sweep is carried out by the process that put it and by no other.
docs/format.md, "Order of writing and reading" (G1 to G8).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from seedcorn.crypto.primitives import random_bytes
from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, ObjectNotFoundError, SeedcornError
from seedcorn.events import Monitor
from seedcorn.format.collection import CollectionRecord, CopiedPack, HostPacks, PackCopy, Stage
from seedcorn.format.names import SPARES, following_number, pack_key, probe_key, spare_key
from seedcorn.format.pack import FrameEntry, PackEntry
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import COLLECTION_ID_BYTES, HostId, PackId, SessionId
from seedcorn.ops.gc.judge import frames_of, frames_only_in, judge, named_frames
from seedcorn.ops.gc.plan import (
    CollectionOptions,
    CollectionPlan,
    check_brake,
    plan_collection,
    segments_to_merge,
    spent_marks,
    stale_keys,
)
from seedcorn.ops.gc.survey import Survey, Surveyor, refuse_unsound
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.packs import check_hash
from seedcorn.repo.rewriting.repacking import LiveFrames, NewPack, repack
from seedcorn.repo.rewriting.segments import fetch_segment, rewrite_segments, segment_name, write_segment
from seedcorn.repo.roots.collections import Pack, build_collection, list_collections, named_packs
from seedcorn.repo.roots.needed import SeqSet
from seedcorn.repo.roots.roots import RootSnapshot, Standing, UnreadableSnapshot
from seedcorn.repo.state.state import State

__all__ = ["CollectionResult", "Collector"]

_TRIES = 10  # of loading everything, while other maintainers rewrite the index


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """What was done. Sizes in bytes of packs as stored; ``kept_packs`` were swept and turned out to be needed, ``damaged_packs`` were to be repacked
    and are not what was put."""

    marked_packs: int = 0
    marked_bytes: int = 0
    repacked_packs: int = 0
    repacked_bytes: int = 0  # of the new packs
    deleted_packs: int = 0
    deleted_bytes: int = 0
    kept_packs: int = 0
    rewritten_segments: int = 0
    deleted_snapshots: int = 0
    damaged_packs: int = 0

    @property
    def exit_code(self) -> int:
        return EXIT_INTEGRITY if self.damaged_packs else EXIT_DONE


class Collector:
    """One process that collects. ``plan`` and then ``carry_out``; every put and delete is in the latter, but for the probe that asks for the time."""

    def __init__(self, repository: MaintainRepository, state: State, options: CollectionOptions, monitor: Monitor) -> None:
        self._repository = repository
        self._store = repository.store
        self._state = state
        self._options = options
        self._monitor = monitor
        self._surveyor = Surveyor(repository, state)
        self._now_ns = 0
        self._damaged_packs = 0
        self._surveyed: Survey | None = None
        self._spares: frozenset[str] | None = None  # listed once, if anything is deleted that may have one

    def plan(self, *, dry_run: bool = False) -> CollectionPlan:
        """What is to be done now (G1). A dry run puts nothing, not even the probe, and takes for the time that of the newest object.

        Raises:
            IntegrityError: a root, the index or a record is damaged or missing: what is needed can not be known, and nothing is collected.
        """
        if self._options.grace_ns and not dry_run:
            self._now_ns = self._ask_time_ns()
        self._surveyed = self._survey()
        return plan_collection(self._surveyed, self._options)

    def carry_out(self, plan: CollectionPlan) -> CollectionResult:
        """Mark what is new, sweep what has waited. ``plan`` is the last that ``plan`` returned.

        Raises:
            SeedcornError: it would delete more than the brake allows; or as ``plan`` does, at any later look at the roots.
        """
        survey = self._surveyed
        assert survey is not None, "plan comes first"
        check_brake(survey, plan.doomed, plan.judgement, self._options)
        result = self._mark(survey, plan)
        if plan.needs_sweep or (self._options.grace_ns == 0 and result.marked_packs):
            return self._sweep(plan, result)
        return self._tidy(survey, plan, result)

    def _survey(self) -> Survey:
        """A sound one."""
        survey = self._surveyor.survey()
        refuse_unsound(survey, "nothing is collected", self._monitor)
        for oddity in survey.roots.oddities:
            self._monitor.note(str(oddity))
        return replace(survey, now_ns=self._now_ns or survey.now_ns)  # an object whose time is in the future must not end the grace of all others

    def _ask_time_ns(self) -> int:
        """The store's own clock: the time of an object that is put for that, and deleted again."""
        for _ in range(_TRIES):
            key = probe_key(random_bytes(COLLECTION_ID_BYTES))
            self._store.put(key, b"")
            try:
                return self._store.head(key).modified_ns
            except ObjectNotFoundError:  # another maintainer took it for a leftover
                continue
            finally:
                self._store.delete([key])
        raise SeedcornError("objects vanish from the store as soon as they are put: are several collections running without pause?")

    # -- G2: mark ----------------------------------------------------------------------------------------------------------------------------

    def _mark(self, survey: Survey, plan: CollectionPlan) -> CollectionResult:
        """Move what is needed out of packs that are mostly garbage, and put the mark.

        New packs first, then the mark that vouches for them, then the segments that list them: a copy that is indexed is always known to be one.
        """
        moved: list[tuple[NewPack, int]] = []  # without its data, and how much that was
        with suppress(ObjectNotFoundError):  # another maintainer is doing the same: what has been moved so far is
            for pack in repack(self._repository, self._live_frames(survey, set(plan.repack))):
                if not pack.is_readable:  # no honest host has listed what it is made of; it stays as it is
                    self._monitor.note(f"{', '.join(pack_key(*source) for source in _sources(pack))}: too much is listed of it to be moved")
                    continue
                self._store.put(pack.key, pack.data)
                moved.append((replace(pack, data=b""), len(pack.data)))
        marked = plan.new.union(source for pack, _ in moved for source in _sources(pack))
        if marked:
            mark = self._put_record(survey, Stage.MARK, marked, copies=tuple(sorted(_copy_of(survey, pack) for pack, _ in moved)))
        if moved:
            rivals = self._taken_by_others(mark)
            alone = [(pack, size_bytes) for pack, size_bytes in moved if rivals.isdisjoint(_sources(pack))]
            if len(alone) < len(moved):
                self._monitor.note("another prune is moving the same packs at this moment: it is left to it, and what this one has copied is garbage")
            moved = alone
        numbers = _Numbers(survey)
        for pack, _ in moved:
            first = numbers.take(pack.host)
            self._store.put(*write_segment(self._repository, pack.host, pack.domain, first, pack.rows, [pack.entry]))
        return CollectionResult(
            marked_packs=len(marked),
            marked_bytes=_size(survey, marked),
            repacked_packs=sum(len(pack.sources) for pack, _ in moved),
            repacked_bytes=sum(size_bytes for _, size_bytes in moved),
            damaged_packs=self._damaged_packs,
        )

    def _taken_by_others(self, own: CollectionRecord) -> set[Pack]:
        """What other marks name by now, and sweeps. Two maintainers who move the same pack at the same moment would store it twice; whoever puts its
        mark last sees the other's, or what has become of it, and lists no copy."""
        repository = self._repository
        collections = list_collections(self._store).read_all(self._store, self._state, repository.repository, repository.key.public)
        return named_packs(mark.record for mark in collections.marks if mark.record.collection != own.collection) | collections.swept()

    def _live_frames(self, survey: Survey, chosen: set[Pack]) -> Iterator[LiveFrames]:
        """What is needed of each of these packs."""
        for key, segment in sorted(survey.segments.items()):
            if chosen.isdisjoint(segment.packs):
                continue
            opened = fetch_segment(self._repository, survey.registry, key)
            host, domain = HostId(opened.public.host), opened.public.domain
            for entry in opened.packs:
                name = host, PackId(entry.pack)
                if name in chosen:
                    chosen.discard(name)  # other segments list it in the same way
                    frames = _needed_frames(survey, name, entry)
                    sealed = self._sealed_frames(name, frames)
                    if sealed is not None:
                        sessions = {frame.session for frame in frames}
                        rows = tuple(row for row in opened.public.key_rows if row.session in sessions)
                        yield LiveFrames(host, name[1], entry.kind, domain, frames, sealed, rows)

    def _sealed_frames(self, name: Pack, frames: Iterable[FrameEntry]) -> tuple[bytes, ...] | None:
        """Frames as they are in a pack, which is read whole: its hash is all by which a maintainer can tell that they are what was put.

        None if they are not, and the pack stays as it is; or if another maintainer has removed it.
        """
        key = pack_key(*name)
        try:
            data = self._store.get(key)
            check_hash(data, name[1])
            sealed = tuple(data[frame.offset : frame.offset + frame.sealed_bytes] for frame in frames)
            if any(len(piece) != frame.sealed_bytes for piece, frame in zip(sealed, frames, strict=True)):
                raise IntegrityError("is shorter than the index says")
        except ObjectNotFoundError:
            return None
        except IntegrityError as error:
            self._monitor.error(error.named(key))
            self._damaged_packs += 1
            return None
        return sealed

    # -- G4 to G8: sweep ---------------------------------------------------------------------------------------------------------------------

    def _sweep(self, shown: CollectionPlan, result: CollectionResult) -> CollectionResult:
        before = self._survey()  # G4
        plan = _no_more_than(plan_collection(before, self._options), shown, before)
        check_brake(before, plan.ripe, plan.judgement, self._options)
        if not plan.needs_sweep:
            return self._tidy(before, plan, result)
        sweep = self._put_record(  # G5
            before,
            Stage.SWEEP,
            plan.ripe,
            frames=_explained(before, plan.ripe),
            expired=plan.expired,
            expired_checkpoints=plan.expired_checkpoints,
            removed=plan.removed,
            relocations=tuple(sorted(before.roots.relocations.done)),
        )
        survey, doomed, rewritten = self._unlist(sweep)
        self._delete(pack_key(*name) for name in sorted(doomed) if survey.packs[name].present)
        removed = [root for root in survey.roots.objects if _is_removed(root, survey, sweep)]
        self._delete_small(stale_keys(survey))
        self._delete_small(root.key for root in removed)
        self._delete_small(key for root in removed for key in survey.roots.receipts.keys_of(root.ref))
        kept = (plan.ripe - doomed) & survey.packs.keys()
        self._put_record(survey, Stage.DONE, kept, of=sweep, frames=named_frames(survey, frames_of(survey, kept)))  # G8
        self._delete_marks(before, replace(plan, ripe=doomed))
        return replace(
            result,
            deleted_packs=len(doomed),
            deleted_bytes=_size(survey, doomed),
            kept_packs=len(kept),
            rewritten_segments=rewritten,
            deleted_snapshots=len(removed),
        )

    def _unlist(self, sweep: CollectionRecord) -> tuple[Survey, frozenset[Pack], int]:
        """G6, and of G7 what concerns the index: (what was found, the packs that are not needed, how many segments there are less).

        While another maintainer rewrites the same segments, all of it is done anew: nothing has been deleted yet.
        """
        victims = named_packs([sweep])
        for _ in range(_TRIES):
            survey = self._survey()
            if sweep.collection not in {record.collection for record in survey.collections.sweeps}:
                raise IntegrityError("the sweep that has just been put is not listed: nothing is deleted", object_name="gc/")
            judgement = judge(survey, sweep=sweep.collection)
            doomed = frozenset(victims) & judgement.collectable
            if not doomed.isdisjoint(judgement.copied) and self._surveyor.knows_not_all_sweeps(survey):
                gone = "gc/"
                continue
            keys = {key for key, segment in survey.segments.items() if not doomed.isdisjoint(segment.packs)}
            try:
                return survey, doomed, self._rewrite(survey, keys.union(segments_to_merge(survey)), doomed)
            except ObjectNotFoundError as error:
                gone = error.key
        raise SeedcornError(f"others rewrite the index again and again (the last to go was {gone}): nothing is deleted, run `seedcorn prune` later")

    def _rewrite(self, survey: Survey, keys: Iterable[str], doomed: Collection[Pack]) -> int:
        """Put segments that list the same but for ``doomed`` packs, then delete the old ones, host by host. How many were replaced."""
        numbers = _Numbers(survey)
        rooms: dict[HostId, list[str]] = defaultdict(list)
        for key in sorted(keys):
            rooms[segment_name(key).host].append(key)
        for host, own in rooms.items():
            for key, data in rewrite_segments(self._repository, survey.registry, own, doomed, numbers.take(host)):
                self._store.put(key, data)
            self._delete(own)
        return sum(map(len, rooms.values()))

    def _tidy(self, survey: Survey, plan: CollectionPlan, result: CollectionResult) -> CollectionResult:
        """What needs no sweep, because nothing is lost by it."""
        self._delete_small(stale_keys(survey))
        self._delete_marks(survey, plan)
        try:
            return replace(result, rewritten_segments=self._rewrite(survey, segments_to_merge(survey), frozenset()))
        except ObjectNotFoundError:  # another maintainer is doing the same
            return result

    def _delete_marks(self, survey: Survey, plan: CollectionPlan) -> None:
        self._delete_small(mark.key for mark in spent_marks(survey, plan, self._options.grace_ns))

    # -- requests ----------------------------------------------------------------------------------------------------------------------------

    def _put_record(
        self,
        survey: Survey,
        stage: Stage,
        packs: Collection[Pack],
        *,
        of: CollectionRecord | None = None,
        relocations: tuple[bytes, ...] = (),
        **fields: Any,
    ) -> CollectionRecord:
        """Put a record with an id and a number of its own, or those of the sweep that it ends."""
        by_host: dict[HostId, list[PackId]] = defaultdict(list)
        for host, pack in sorted(packs):
            by_host[host].append(pack)
        named = tuple(HostPacks(host, tuple(own)) for host, own in by_host.items())
        number, name = (of.number, of.collection) if of else (survey.collections.next_number, random_bytes(COLLECTION_ID_BYTES))
        repository = self._repository.repository
        record = CollectionRecord(repository=repository, number=number, collection=name, stage=stage, packs=named, relocations=relocations, **fields)
        key, data = build_collection(record, self._repository.key.sign)
        self._store.put(key, data)
        self._state.cache_object(key, data)
        return record

    def _delete_small(self, keys: Iterable[str]) -> None:
        """Delete small objects, and before that what has been put beside those that were damaged: it would be left for ever."""
        listed = list(keys)
        if listed and self._spares is None:
            self._spares = frozenset(info.key for info in self._store.list(SPARES))
        self._delete(spare for key in listed if (spare := spare_key(key)) in (self._spares or ()))
        self._delete(listed)

    def _delete(self, keys: Iterable[str]) -> None:
        listed = list(keys)
        if listed:
            self._store.delete(listed)


class _Numbers:
    """Numbers for new segments, above all that are there."""

    def __init__(self, survey: Survey) -> None:
        self._newest: dict[HostId, int] = defaultdict(int)
        for name in map(segment_name, survey.segments):
            self._newest[name.host] = max(self._newest[name.host], name.number)

    def take(self, host: HostId) -> int:
        """The next number of this host."""
        self._newest[host] = following_number(self._newest[host])
        return self._newest[host]


def _no_more_than(plan: CollectionPlan, shown: CollectionPlan, survey: Survey) -> CollectionPlan:
    """As much of ``plan`` as ``shown`` has announced: what has become garbage since then, nobody has been shown, and the next collection takes it.
    Without a grace, what was going to be marked or repacked is swept at once."""
    ripe = plan.ripe & shown.ripe.union(shown.new, shown.repack)
    return replace(
        plan,
        ripe=ripe,
        ripe_bytes=_size(survey, ripe),
        expired=tuple(ref for ref in plan.expired if ref in shown.expired),
        expired_checkpoints=tuple(ref for ref in plan.expired_checkpoints if ref in shown.expired_checkpoints),
        removed=tuple(ref for ref in plan.removed if ref in shown.removed),
    )


def _sources(pack: NewPack) -> Iterator[Pack]:
    return ((pack.host, source) for source in pack.sources)


def _copy_of(survey: Survey, pack: NewPack) -> PackCopy:
    sources = (CopiedPack(source[1], survey.packs[source].records[0].digest) for source in _sources(pack))
    return PackCopy(pack.host, pack.entry.pack, pack.digest, tuple(sorted(sources)))


def _size(survey: Survey, packs: Iterable[Pack]) -> int:
    return sum(survey.packs[name].size_bytes for name in packs)


def _needed_frames(survey: Survey, name: Pack, entry: PackEntry) -> tuple[FrameEntry, ...]:
    """The frames of a pack that something needs, by offset."""
    (record,) = survey.packs[name].records
    needed = {survey.sessions[number].session: survey.needs.frames.get(number, SeqSet()) for number, _ in record.runs}
    return tuple(sorted((frame for frame in entry.frames if frame.seq in needed[SessionId(frame.session)]), key=lambda frame: frame.offset))


def _explained(survey: Survey, packs: Collection[Pack]) -> tuple[NeededFrames, ...]:
    """The frames that a sweep of these packs names, so that who lacks them counts as torn: all that no other pack holds."""
    return named_frames(survey, frames_only_in(survey, packs))


def _is_removed(root: RootSnapshot | UnreadableSnapshot, survey: Survey, sweep: CollectionRecord) -> bool:
    """Whether the snapshot's object goes with this sweep. One that has got its receipt meanwhile stays, and so does one that was taken back."""
    if survey.roots.is_newest(root.ref):
        return False
    if root.standing is Standing.FORGOTTEN:
        return root.ref in sweep.removed or root.ref in sweep.expired
    return root.standing in (Standing.EXPIRED, Standing.SUPERSEDED, Standing.VOID) and root.ref in sweep.expired
