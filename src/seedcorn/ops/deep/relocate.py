"""How snapshots come to need other frames than they say, without locks and without a moment in which what they need is kept by nobody.

The argument is that of ``commit`` once more: the relocation is announced, which makes a root of everything that snapshots are going to need, and
*then* gc and relocations are read again. A collection that could not see the announcement had put its sweep before, and is seen. Only after that the
relocation is done, and what the snapshots needed before is given up. Invariant: an announced relocation stays a root as long as it may yet be done,
whoever has put it, so a process that stood still in between does no harm. docs/format.md, sections "Relocation" and "Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from seedcorn.crypto.primitives import random_bytes
from seedcorn.errors import SeedcornError
from seedcorn.format.collection import SnapshotRef
from seedcorn.format.names import RelocationName
from seedcorn.format.relocation import RelocatedSnapshot, RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import RELOCATION_ID_BYTES, RelocationId
from seedcorn.ops.gc.survey import Survey, Surveyor, refuse_unsound
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.roots.collections import Pack, named_packs
from seedcorn.repo.roots.needed import SeqSet, open_bitmap
from seedcorn.repo.roots.relocations import build_relocation
from seedcorn.repo.roots.roots import Standing

__all__ = ["MovedFrames", "needed_after", "relocate"]

Frame = tuple[bytes, int]  # session id, sequence number
MovedFrames = Mapping[Frame, Collection[Frame]]  # a poor frame -> those that hold all of it that is used


def relocate(repository: OwnerRepository, surveyor: Surveyor, walked: Collection[SnapshotRef], moved: MovedFrames, packs: Collection[Pack]) -> None:
    """Let the snapshots ``walked``, as far as they are still confirmed, need the new frames of ``moved`` in place of the poor ones.

    ``packs`` are those of the new frames: this process has put them and the segments that list them. ``moved`` has every chunk of a poor frame that
    one of ``walked`` uses.

    Raises:
        SeedcornError: a collection is about to take new frames, or somebody else has relocated something meanwhile. All is as it was before.
        IntegrityError: something is damaged or missing.
    """
    before = surveyor.survey()
    refuse_unsound(before, "nothing is relocated")
    record = _plan(repository, before, walked, moved)
    if not record.snapshots:
        return
    repository.store.put(*build_relocation(record, repository.key))
    _check(surveyor.survey(), before, _name(record), packs)
    done = RelocationRecord(record.repository, record.number, record.relocation, RelocationStage.DONE)
    repository.store.put(*build_relocation(done, repository.key))


def _name(record: RelocationRecord) -> RelocationName:
    return RelocationName(record.number, RelocationId(record.relocation), record.stage)


def _check(after: Survey, before: Survey, own: RelocationName, packs: Collection[Pack]) -> None:
    """Whether the relocation that has been announced may be done."""
    refuse_unsound(after, "nothing is relocated")
    if after.roots.relocations.names != before.roots.relocations.names | {own}:
        raise SeedcornError("somebody else is relocating at the same time: nothing was relocated; run it again when the other one has ended")
    swept = named_packs(after.collections.sweeps)
    if not swept.isdisjoint(packs) or not all(name in after.packs and after.packs[name].present and after.packs[name].records for name in packs):
        raise SeedcornError("a collection is taking what has just been written: nothing was relocated; run it again")


def _plan(repository: OwnerRepository, survey: Survey, walked: Collection[SnapshotRef], moved: MovedFrames) -> RelocationRecord:
    """Names every snapshot whose needs change, and those that a relocation names which was never done: so that it keeps nothing any more."""
    relocations = survey.roots.relocations
    confirmed = {root.ref: root.maintain.needed for root in survey.roots.snapshots if root.standing is Standing.CONFIRMED and root.ref in walked}
    left = {ref for relocation in relocations.pending(confirmed) for ref in relocation.needed}
    frames: dict[NeededFrames, int] = {}
    snapshots = []
    for (ref, needed), now in zip(confirmed.items(), needed_after(confirmed.values(), moved), strict=True):
        if now != needed or ref in left:
            places = tuple(frames.setdefault(entry, len(frames)) for entry in now)
            snapshots.append(RelocatedSnapshot(ref.host, ref.seq, ref.snapshot, places))
    return RelocationRecord(
        repository.repository,
        relocations.next_number,
        random_bytes(RELOCATION_ID_BYTES),
        RelocationStage.ANNOUNCED,
        tuple(frames),
        tuple(snapshots),
        tuple(sorted(relocations.done)),
    )


def needed_after(needs: Iterable[tuple[NeededFrames, ...]], moved: MovedFrames) -> list[tuple[NeededFrames, ...]]:
    """What each of several sets becomes when ``moved`` is what it says. Most have most bitmaps in common: each different one is looked at once."""
    poor: dict[bytes, SeqSet] = {}
    for session, seq in moved:
        poor.setdefault(session, SeqSet()).add(seq)
    seen: dict[NeededFrames, tuple[SeqSet, SeqSet]] = {}

    def split(entry: NeededFrames) -> tuple[SeqSet, SeqSet]:
        """(what stays of it, what goes)."""
        if entry not in seen:
            seqs, going = open_bitmap(entry), poor.get(entry.session, SeqSet())
            seen[entry] = seqs - going, seqs & going
        return seen[entry]

    def after(needed: tuple[NeededFrames, ...]) -> tuple[NeededFrames, ...]:
        if not any(split(entry)[1] for entry in needed):
            return needed
        together: dict[bytes, SeqSet] = {}
        for entry in needed:
            stays, goes = split(entry)
            together[entry.session] = together.get(entry.session, SeqSet()) | stays
            for seq in goes:
                for session, number in moved[entry.session, seq]:
                    together.setdefault(session, SeqSet()).add(number)
        return tuple(NeededFrames(session, seqs.serialize()) for session, seqs in sorted(together.items()) if seqs)

    return [after(needed) for needed in needs]
