"""What all roots need together, and what of it is not there: by a collection (torn) or for no known reason (damage).

Invariants: what a root needs and what is indexed is in ``Needs.frames``, whatever else is wrong with that root; and a void record takes nothing away
that is whole, or whoever steals a host could take back all that it has ever backed up. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from seedcorn.errors import IntegrityError
from seedcorn.format.collection import SnapshotRef
from seedcorn.ids import belongs_to
from seedcorn.repo.roots.collections import Collections
from seedcorn.repo.roots.needed import BySession, IndexedFrames, Missing, NeededByAll, SeqSet, open_bitmap
from seedcorn.repo.roots.relocations import Relocation, Relocations
from seedcorn.repo.roots.roots import Roots, RootSnapshot, Standing
from seedcorn.repo.roots.standings import way_out
from seedcorn.repo.state.state import PackRecord, SessionRecord

__all__ = ["ListedFrames", "Needs", "assess_needs", "explains", "listed_frames", "taken_frames", "with_standings"]

ListedFrames = Mapping[bytes, SeqSet]  # by session


@dataclass(frozen=True, slots=True)
class Needs:
    """``frames`` by session number of the state. ``problems`` name the confirmed snapshots that lack frames and what to do about it. ``whole`` are
    those that have a receipt and a void record, and lack nothing."""

    frames: BySession
    torn: frozenset[SnapshotRef]
    problems: tuple[IntegrityError, ...]
    whole: frozenset[SnapshotRef] = frozenset()


def assess_needs(roots: Roots, indexed: IndexedFrames, taken: ListedFrames = MappingProxyType({})) -> Needs:
    """Look at every root. What an unconfirmed one or a checkpoint lacks is no problem: its session may be about to put it, or has ended.

    ``taken``: frames in packs that sweeps have named and that are gone, as the index lists them now. A sweep knows no frames of a pack that is listed
    only later, by a host that stood still; of its own snapshots a host is believed.
    """
    whole = _whole_though_void(roots, indexed)
    together = NeededByAll(indexed)
    swept: Mapping[bytes, SeqSet] | None = None
    torn: set[SnapshotRef] = set()
    problems: list[IntegrityError] = []
    for root, needed in _with(roots, dict.fromkeys(whole, Standing.CONFIRMED)).needs():
        try:
            missing = together.add(needed)
        except IntegrityError as error:
            if isinstance(root, RootSnapshot):  # a checkpoint that says nothing needs nothing
                problems.append(IntegrityError(f"{error.message}; {way_out(root.key)}", object_name=root.key))
            elif isinstance(root, Relocation):
                problems.append(error.named(root.key))
            continue
        if not missing or not isinstance(root, RootSnapshot) or root.standing is Standing.UNCONFIRMED:
            continue
        swept = taken_frames(roots.collections, roots.relocations) if swept is None else swept
        own = {session: seqs for session, seqs in taken.items() if belongs_to(session, root.ref.host)}
        if all(absent.seqs <= swept.get(absent.session, SeqSet()) | own.get(absent.session, SeqSet()) for absent in missing):
            torn.add(root.ref)
        else:
            problems.append(_lacks(root, missing))
    return Needs(together.frames, frozenset(torn), tuple(problems), whole)


def _whole_though_void(roots: Roots, indexed: IndexedFrames) -> frozenset[SnapshotRef]:
    apart = NeededByAll(indexed)

    def is_whole(root: RootSnapshot) -> bool:
        with suppress(IntegrityError):
            return not apart.add(root.maintain.needed)
        return False

    void = (root for root in roots.snapshots if root.standing is Standing.VOID and root.ref in roots.receipts.receipted)
    return frozenset(root.ref for root in void if is_whole(root))


def listed_frames(sessions: Mapping[int, SessionRecord], packs: Iterable[PackRecord]) -> ListedFrames:
    """What these packs hold as segments list it."""
    frames: dict[bytes, SeqSet] = {}
    for pack in packs:
        for number, seqs in pack.frames().items():
            session = sessions[number].session
            frames[session] = frames.get(session, SeqSet()) | seqs
    return frames


def with_standings(roots: Roots, needs: Needs) -> Roots:
    """The same, with the standings that only the index tells: of torn snapshots, and of void ones that are whole."""
    return _with(roots, dict.fromkeys(needs.torn, Standing.TORN) | dict.fromkeys(needs.whole, Standing.CONFIRMED))


def _with(roots: Roots, standings: Mapping[SnapshotRef, Standing]) -> Roots:
    snapshots = (replace(root, standing=standings[root.ref]) if root.ref in standings else root for root in roots.snapshots)
    return replace(roots, snapshots=tuple(snapshots)) if standings else roots


def taken_frames(collections: Collections, relocations: Relocations) -> dict[bytes, SeqSet]:
    """Every frame that a sweep has deleted or may be deleting, by session id."""
    together: dict[bytes, SeqSet] = {}
    for named, kept in collections.taken_frames(relocations.done):
        spared = {entry.session: open_bitmap(entry) for entry in kept}
        for entry in named:
            taken = open_bitmap(entry) - spared.get(entry.session, SeqSet())
            together[entry.session] = together.get(entry.session, SeqSet()) | taken
    return together


def explains(taken: Mapping[bytes, SeqSet], missing: Iterable[Missing]) -> bool:
    """Whether collections have taken all that is missing."""
    return all(absent.seqs <= taken.get(absent.session, SeqSet()) for absent in missing)


def _lacks(root: RootSnapshot, missing: list[Missing]) -> IntegrityError:
    count = sum(absent.count for absent in missing)
    frames = "1 frame that is" if count == 1 else f"{count} frames that are"
    repair = "run `seedcorn check --repair`, which also tells whether a later backup has stored again what they held"
    return IntegrityError(f"needs {frames} in no pack of the store: {repair}; {way_out(root.key)}", object_name=root.key)
