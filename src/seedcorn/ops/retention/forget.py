"""Forgetting snapshots, and taking that back. Both are one signed record; nothing is deleted here.

Invariant: a snapshot that ``undelete`` says is back is whole: the record is put, and *then* gc and index are read again, as a host does after its
receipt.
docs/format.md, sections "Forget record" and "Order of writing and reading".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo

from seedcorn.errors import IntegrityError, SeedcornError, UsageError
from seedcorn.events import Clock
from seedcorn.format.collection import CollectionRecord, ForgetRecord, SnapshotRef
from seedcorn.format.names import parse_numbered_key
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import HostId, SnapshotId, match_prefix
from seedcorn.ops.gc.survey import Survey, Surveyor, refuse_unsound
from seedcorn.ops.retention.freed import FrameSizes, Freed, freed_bytes
from seedcorn.ops.retention.plan import Decision, GroupBy, RetentionGroup, RetentionPlan, plan_retention, retention_time
from seedcorn.ops.retention.policy import Candidate, Policy
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.roots.forgetting import build_forget
from seedcorn.repo.roots.needed import IndexedFrames, NeededByAll
from seedcorn.repo.roots.roots import Roots, RootSnapshot, Standing, UnreadableSnapshot
from seedcorn.repo.state.state import PackRecord, State

__all__ = ["ForgetPlan", "choose_snapshots", "forget_snapshots", "plan_forget_by_id", "plan_forget_by_policy", "undelete_snapshots"]

_NUMBERS = re.compile(r"([0-9a-f]+):([0-9]{1,10})(?:-([0-9]{1,10}))?")
_NUMBERS_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """Which snapshots are to be forgotten, why, and what that would free in bytes once they are collected. Of those that can not be read, or are gone
    already, nobody knows what that is."""

    retention: RetentionPlan
    chosen: tuple[SnapshotRef, ...]
    freed: Freed
    roots: Roots

    @property
    def unreadable(self) -> tuple[UnreadableSnapshot, ...]:
        """Those of the chosen ones that can not be read."""
        chosen = set(self.chosen)
        return tuple(one for one in self.roots.unreadable if one.ref in chosen)

    @property
    def gone(self) -> tuple[SnapshotRef, ...]:
        """Those of the chosen ones that are not there; with an empty id those that are known by their number alone."""
        there = {one.ref for one in self.roots.objects}
        return tuple(ref for ref in self.chosen if ref not in there)


def plan_forget_by_policy(
    survey: Survey, policy: Policy, *, zone: tzinfo, grouping: Collection[GroupBy], accepts: Callable[[RootSnapshot], bool]
) -> ForgetPlan:
    """Apply a policy to the snapshots that ``accepts`` accepts.

    Raises:
        IntegrityError: something is damaged or missing: a policy could mistake what it still sees for all that there was.
    """
    refuse_unsound(survey, "nothing is forgotten by a policy")
    counted = (Standing.CONFIRMED, Standing.TORN, Standing.UNCONFIRMED)
    candidates = [_candidate(root) for root in survey.roots.snapshots if root.standing in counted and accepts(root)]
    return _plan(survey, plan_retention(candidates, policy, zone=zone, grouping=grouping), [])


def plan_forget_by_id(survey: Survey, references: Sequence[str]) -> ForgetPlan:
    """Forget these, whatever else is wrong: it may be the way to say that what is lost is lost. ``references``: beginnings of ids, keys of snapshots,
    or ``HOST:4`` and ``HOST:4-6`` for numbers that are lacking.

    Raises:
        UsageError: no or several snapshots have such an id, or a number is not lacking.
    """
    numbers = {reference: match for reference in references if (match := _NUMBERS.fullmatch(reference))}
    chosen = choose_snapshots(survey.roots, [reference for reference in references if reference not in numbers])
    for match in numbers.values():
        chosen += _lacking(survey, match)
    wanted = set(chosen)
    named = tuple(Decision(_candidate(root), False, ("named",)) for root in survey.roots.snapshots if root.ref in wanted)
    return _plan(survey, RetentionPlan((RetentionGroup(None, None, None, named),) if named else ()), chosen)


def _lacking(survey: Survey, match: re.Match[str]) -> Iterator[SnapshotRef]:
    """The snapshots that are meant by their numbers alone."""
    host = HostId(match_prefix(match[1], survey.registry.hosts, noun="host"))
    numbers = range(int(match[2]), int(match[3] or match[2]) + 1)
    if len(numbers) > _NUMBERS_LIMIT:
        raise UsageError(f"{match[0]}: more than {_NUMBERS_LIMIT:,} numbers: if that host lies, revoke it with `seedcorn host revoke --last-seq`")
    if not numbers or not any(numbers[0] in gap and numbers[-1] in gap for gap in survey.roots.gaps.get(host, ())):
        raise UsageError(f"{match[0]}: some of these are not lacking: what is there can be forgotten by its id")
    return (SnapshotRef(host, number, b"") for number in numbers)


def _plan(survey: Survey, retention: RetentionPlan, chosen: Sequence[SnapshotRef]) -> ForgetPlan:
    removed = retention.removed
    refs = [root.ref for root in survey.roots.snapshots if root.id in removed]
    return ForgetPlan(retention, tuple(dict.fromkeys((*refs, *chosen))), _freed(survey, removed), survey.roots)


def _candidate(root: RootSnapshot) -> Candidate:
    time_ns, flagged = retention_time(root.maintain.time_ns, root.stored_ns)
    confirmed = root.standing is Standing.CONFIRMED
    return Candidate(root.id, HostId(root.ref.host), root.maintain.group, root.maintain.tags, time_ns, flagged, confirmed, root.maintain.complete)


def _freed(survey: Survey, removed: Collection[SnapshotId]) -> Freed:
    records = [record for pack in survey.packs.values() if pack.present for record in pack.records]
    indexed = IndexedFrames(survey.sessions, records)
    snapshots, others = NeededByAll(indexed), NeededByAll(indexed)
    needed = {}
    for root, frames in survey.roots.needs():
        with suppress(IntegrityError):  # a malformed set: nothing is known to be freed with it
            if isinstance(root, RootSnapshot):
                snapshots.add(frames)
                needed[root.id] = snapshots.found(frames)
            else:
                others.add(frames)
    return freed_bytes(needed, removed, _frame_sizes(records), others=others.frames)


def _frame_sizes(records: Iterable[PackRecord]) -> FrameSizes:
    sizes: dict[int, dict[int, int]] = {}
    for record in records:
        sealed = iter(record.sealed_bytes)
        for number, seqs in record.frames().items():
            sizes.setdefault(number, {}).update(zip(seqs, sealed, strict=False))
    return sizes


def choose_snapshots(roots: Roots, references: Sequence[str]) -> list[SnapshotRef]:
    """The snapshots whose ids begin as said, or that have such a key; also those that can not be read, and those that are gone and that somebody
    knows.

    A host may give what it puts the id of another one's snapshot: an id means that which can be read.

    Raises:
        UsageError: none or several do.
    """
    spoken_of = sorted(roots.receipts.receipted | roots.receipts.doubtful | roots.missing)
    known = [*spoken_of, *(one.ref for one in roots.unreadable), *(root.ref for root in roots.snapshots)]
    by_id, all_known = {ref.snapshot: ref for ref in known}, set(known)

    def choose(reference: str) -> SnapshotRef:
        if not reference.startswith("snapshots/"):
            return by_id[match_prefix(reference, by_id, noun="snapshot")]
        name = parse_numbered_key(reference)
        ref = SnapshotRef(name.host, name.number, name.object_id) if name else None
        if ref is None or ref not in all_known:
            raise UsageError(f"{reference}: nobody knows of such a snapshot")
        return ref

    return [choose(reference) for reference in dict.fromkeys(references)]


def forget_snapshots(repository: MaintainRepository, roots: Roots, chosen: Collection[SnapshotRef], clock: Clock) -> None:
    """Put the record that says so; for those that are forgotten already there is nothing to say.

    Raises:
        IntegrityError: a forget record is damaged: nobody can say what is forgotten, and a record more would not help.
    """
    _put(repository, roots, forgotten=[ref for ref in chosen if ref not in roots.forget_log.forgotten], clock=clock)


def undelete_snapshots(repository: MaintainRepository, state: State, references: Sequence[str], clock: Clock) -> list[SnapshotId]:
    """Take back that snapshots were forgotten; their ids.

    Raises:
        UsageError: one of them is not forgotten.
        SeedcornError: a collection has taken, or is about to take, something that one of them needs. They are all forgotten then, as before.
    """
    surveyor = Surveyor(repository, state)
    before = _sound(surveyor.survey())
    chosen = choose_snapshots(before.roots, references)
    standing = {root.ref: root.standing for root in before.roots.objects}
    for ref in chosen:
        if ref in standing and standing[ref] is not Standing.FORGOTTEN:
            raise UsageError(f"snapshot {_short(ref)} is not forgotten: it is {standing[ref].value}")
    _refuse_lost(before, chosen, before.roots.collections.unfinished_sweeps)
    _put(repository, before.roots, taken_back=chosen, clock=clock)
    seen = {sweep.collection for sweep in before.collections.sweeps}
    after = _sound(surveyor.survey())
    try:
        _refuse_lost(after, chosen, [sweep for sweep in after.collections.sweeps if sweep.collection not in seen])
    except SeedcornError:
        _put(repository, after.roots, forgotten=chosen, clock=clock)
        raise
    return [SnapshotId(ref.snapshot) for ref in chosen]


def _sound(survey: Survey) -> Survey:
    """With records that can be believed. What else is wrong is no reason to lose a snapshot that can be saved."""
    for problem in (*survey.collections.problems, *survey.roots.forget_log.problems):
        raise problem
    return survey


def _refuse_lost(survey: Survey, chosen: Iterable[SnapshotRef], sweeps: Iterable[CollectionRecord]) -> None:
    """Raises:
    SeedcornError: one of these sweeps names a snapshot, its object is gone, or a frame that it needs lies in no pack that stays.
    """
    taken = {ref for sweep in sweeps for ref in sweep.removed}
    swept = survey.collections.swept()
    staying = (record for name, pack in survey.packs.items() if pack.present and name not in swept for record in pack.records)
    indexed = IndexedFrames(survey.sessions, staying)
    roots = {root.ref: root for root in survey.roots.snapshots}
    unreadable = {one.ref for one in survey.roots.unreadable}
    for ref in chosen:
        if ref in unreadable:
            raise SeedcornError(f"snapshot {_short(ref)} can not be taken back: its object can still not be read. It stays forgotten")
        if ref in taken or ref not in roots or not _is_whole((*roots[ref].maintain.needed, *survey.roots.announced(ref)), indexed):
            raise SeedcornError(f"snapshot {_short(ref)} can not be taken back: a collection has begun to remove what it needs. It stays forgotten")


def _is_whole(needed: Iterable[NeededFrames], indexed: IndexedFrames) -> bool:
    return not any(indexed.look_up(entry)[1] for entry in needed)


def _put(
    repository: MaintainRepository, roots: Roots, *, clock: Clock, forgotten: Iterable[SnapshotRef] = (), taken_back: Iterable[SnapshotRef] = ()
) -> None:
    for problem in roots.forget_log.problems:
        raise problem
    forgotten, taken_back = tuple(sorted(forgotten)), tuple(sorted(taken_back))
    if forgotten or taken_back:
        record = ForgetRecord(repository.repository, roots.forget_log.next_number, clock.now_ns(), forgotten, taken_back)
        repository.store.put(*build_forget(record, repository.key.sign))


def _short(ref: SnapshotRef) -> str:
    return ref.snapshot.hex()[:12]
